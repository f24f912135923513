/* SPDX-License-Identifier: Apache-2.0 */
/* `vmnet up` */
#include "cli/cli.h"
#include "client/client.h"

/*
 * The command's options are those of a network: names and values go to base/netspec.h as they are.
 * What the network's file says beside them is the daemon's to read, and to compare with them.
 */
static int read_spec(const struct cli_args *args, struct net_spec *spec, struct err *err)
{
    int rc;

    for (int i = 0; i < args->given_len; i++) {
        const char *option = args->command->options[args->given[i].option].name;

        rc = net_spec_set(spec, option, args->given[i].value, err);
        if (rc < 0)
            return err_prefix(err, rc, "up: --%s '%s'", option, args->given[i].value);
    }
    rc = args->argc > 0 ? net_spec_set(spec, "network", args->argv[0], err) : 0;
    if (rc == 0)
        rc = net_spec_complete(spec, err);
    return rc < 0 ? err_prefix(err, rc, "up") : 0;
}

enum cli_exit cmd_up(const struct cli_args *args)
{
    struct net_spec spec = {0};
    struct err err = {0};

    if (args->argc == 0 && args->given_len == 0)
        return cli_fail(CLI_USAGE,
                        "up: no network given; name one ('vmnet up shared'), or say what "
                        "it is to be ('vmnet up --mode shared')");
    if (read_spec(args, &spec, &err) < 0)
        return cli_fail(CLI_USAGE, "%s", err.text);
    if (client_start(&spec, &err) < 0)
        return cli_fail(CLI_FAILED, "up: network '%s': %s", spec.name, err.text);
    cli_warn("up", spec.name, &err);
    puts(spec.name);
    return CLI_DONE;
}
