/* SPDX-License-Identifier: Apache-2.0 */
/* `vmnet ls` */
#include "cli/cli.h"
#include "cli/output.h"

static const struct output_column columns[] = {
    {"NAME", "name"},   {"MODE", "mode"},       {"SUBNET", "subnet"}, {"IPV6-PREFIX", "ipv6Prefix"},
    {"PORTS", "ports"}, {"LASTING", "lasting"}, {"SYSTEM", "system"},
};

enum cli_exit cmd_ls(const struct cli_args *args)
{
    json_t *replies, *reply, *networks = json_array();
    enum cli_exit code = cli_ask_all("ls", "Describe", &replies);
    size_t i;

    json_array_foreach(replies, i, reply)
        json_array_append(networks, json_object_get(reply, "network"));
    if (cli_value(args, "json"))
        output_json(networks);
    else
        output_table(networks, columns, sizeof(columns) / sizeof(columns[0]), "");
    json_decref(networks);
    json_decref(replies);
    return code;
}
