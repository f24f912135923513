/* SPDX-License-Identifier: Apache-2.0 */
/* `vmnet ls` */
#include <string.h>

#include "cli/cli.h"
#include "cli/output.h"
#include "client/client.h"

static const struct output_column columns[] = {
    {"NAME", "name"},   {"MODE", "mode"},   {"SUBNET", "subnet"}, {"IPV6-PREFIX", "ipv6Prefix"},
    {"PORTS", "ports"}, {"STATE", "state"}, {"SYSTEM", "system"},
};

static bool has_name(const json_t *networks, const char *name)
{
    json_t *network;
    size_t i;

    json_array_foreach(networks, i, network)
    {
        const char *other = json_string_value(json_object_get(network, "name"));

        if (other && strcmp(other, name) == 0)
            return true;
    }
    return false;
}

static void append_running(json_t *networks, json_t *reply)
{
    json_t *network = json_object_get(reply, "network");
    bool lasting = json_is_true(json_object_get(network, "lasting"));

    json_object_set_new(network, "state", json_string(lasting ? "lasting" : "running"));
    json_array_append(networks, network);
}

enum cli_exit cmd_ls(const struct cli_args *args)
{
    json_t *replies, *reply, *listening = NULL, *name, *networks = json_array();
    enum cli_exit code;
    size_t i;

    /* First: one that starts meanwhile runs. Where it fails the others cannot be listed either. */
    client_list_listening(&listening, NULL);
    code = cli_ask_all("ls", "Describe", &replies);
    json_array_foreach(replies, i, reply) append_running(networks, reply);
    json_array_foreach(listening, i, name)
    {
        if (!has_name(networks, json_string_value(name)))
            json_array_append_new(networks, json_pack("{s:O, s:s, s:b}", "name", name, "state",
                                                      "listening", "system", true));
    }
    if (cli_value(args, "json"))
        output_json(networks);
    else
        output_table(networks, columns, sizeof(columns) / sizeof(columns[0]), "");
    json_decref(networks);
    json_decref(listening);
    json_decref(replies);
    return code;
}
