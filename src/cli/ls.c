/* SPDX-License-Identifier: Apache-2.0 */
/* `vmnet ls` */
#include <errno.h>

#include "cli/cli.h"
#include "cli/output.h"
#include "client/client.h"

static const struct output_column columns[] = {
    {"NAME", "name"},   {"MODE", "mode"},       {"SUBNET", "subnet"}, {"IPV6-PREFIX", "ipv6Prefix"},
    {"PORTS", "ports"}, {"LASTING", "lasting"},
};

enum cli_exit cmd_ls(const struct cli_args *args)
{
    json_t *names, *networks = json_array();
    enum cli_exit code = CLI_DONE;
    struct err err = {0};
    json_t *name;
    size_t i;

    if (client_list(&names, &err) < 0) {
        json_decref(networks);
        return cli_fail(CLI_FAILED, "ls: %s", err.text);
    }
    json_array_foreach(names, i, name)
    {
        json_t *network;
        int rc = client_call(json_string_value(name), "Describe", NULL, &network, &err);

        if (rc == 0) {
            json_array_append(networks, json_object_get(network, "network"));
            json_decref(network);
        } else if (rc != -ENOENT) { /* else it ended since it was listed */
            code = cli_fail(CLI_FAILED, "ls: network '%s': %s", json_string_value(name), err.text);
        }
    }
    if (cli_value(args, "json"))
        output_json(networks);
    else
        output_table(networks, columns, sizeof(columns) / sizeof(columns[0]), "");
    json_decref(names);
    json_decref(networks);
    return code;
}
