/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "cli/cli.h"
#include "client/client.h"

enum cli_exit cli_ask_all(const char *command, const char *method, json_t **ret_replies)
{
    enum cli_exit code = CLI_DONE;
    struct err err = {0};
    json_t *names, *name;
    size_t i;

    *ret_replies = json_array();
    if (client_list(&names, &err) < 0)
        return cli_fail(CLI_FAILED, "%s: %s", command, err.text);
    json_array_foreach(names, i, name)
    {
        json_t *reply;
        int rc = client_call(json_string_value(name), method, NULL, &reply, &err);

        if (rc == 0)
            json_array_append_new(*ret_replies, reply);
        else if (rc != -ENOENT) /* else it ended since it was listed */
            code = cli_fail(CLI_FAILED, "%s: network '%s': %s", command, json_string_value(name),
                            err.text);
    }
    json_decref(names);
    return code;
}
