/* SPDX-License-Identifier: Apache-2.0 */
/* `vmnet forward`: forwards of a network that runs. The network knows what a forward is and says so. */
#include <string.h>

#include "base/forward.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "client/client.h"

static const struct output_column columns[] = {
    {"FORWARD", "forward"},
    {"GUEST", "guest"},
    {"PORT", "interface"},
};

/* A name may come to the network later, or be a mistake. */
static void tell_waiting(const char *network, const json_t *forward)
{
    const char *text = json_string_value(json_object_get(forward, "forward"));
    struct forward_spec spec;

    if (text && json_is_null(json_object_get(forward, "guest")) &&
        forward_parse(text, &spec, NULL) == 0 && spec.guest_name[0])
        cli_fail(CLI_DONE,
                 "forward: network '%s': %s: no machine '%s' is on the network now; the forward "
                 "waits for it",
                 network, text, spec.guest_name);
}

/* Each is tried, whatever becomes of the others. */
static enum cli_exit change_all(const struct cli_args *args, const char *method)
{
    const char *network = args->argv[0];
    enum cli_exit code = CLI_DONE;

    if (args->argc < 3)
        return cli_fail(CLI_USAGE,
                        "forward: no forward given to %s; the usage is: vmnet forward %s",
                        args->argv[1], args->command->arguments);
    for (int i = 2; i < args->argc; i++) {
        struct err err = {0};
        json_t *reply = NULL, *forward;
        const char *text;

        if (client_call(network, method, json_pack("{s:s}", "forward", args->argv[i]), &reply,
                        &err) < 0)
            code = cli_fail(CLI_FAILED, "forward: network '%s': %s: %s", network, args->argv[i],
                            err.text);
        forward = json_object_get(reply, "forward");
        text = json_string_value(json_object_get(forward, "forward"));
        if (text)
            puts(text);
        tell_waiting(network, forward);
        json_decref(reply);
    }
    return code;
}

static enum cli_exit add(const struct cli_args *args)
{
    return change_all(args, "AddForward");
}

static enum cli_exit remove_each(const struct cli_args *args)
{
    return change_all(args, "RemoveForward");
}

static enum cli_exit list(const struct cli_args *args)
{
    const char *network = args->argv[0];
    struct err err = {0};
    json_t *status, *forwards;

    if (args->argc > 2)
        return cli_fail(CLI_USAGE,
                        "forward: unexpected argument '%s'; the usage is: vmnet forward %s",
                        args->argv[2], args->command->arguments);
    if (client_call(network, "Status", NULL, &status, &err) < 0)
        return cli_fail(CLI_FAILED, "forward: network '%s': %s", network, err.text);
    forwards = json_object_get(status, "forwards");
    if (cli_value(args, "json"))
        output_json(forwards);
    else
        output_table(forwards, columns, sizeof(columns) / sizeof(columns[0]), "");
    json_decref(status);
    return CLI_DONE;
}

static const struct {
    const char *name;
    enum cli_exit (*run)(const struct cli_args *args);
} actions[] = {{"add", add}, {"rm", remove_each}, {"ls", list}};

enum cli_exit cmd_forward(const struct cli_args *args)
{
    struct err err = {0};

    if (net_name_check(args->argv[0], &err) < 0)
        return cli_fail(CLI_USAGE, "forward: %s", err.text);
    for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++)
        if (strcmp(args->argv[1], actions[i].name) == 0)
            return actions[i].run(args);
    return cli_fail(CLI_USAGE, "forward: '%s' is unknown; write add, rm or ls", args->argv[1]);
}
