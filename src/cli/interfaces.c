/* SPDX-License-Identifier: Apache-2.0 */
/* `vmnet interfaces` */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/output.h"
#include "client/client.h"

static const struct output_column columns[] = {
    {"NAME", "name"},   {"KIND", "kind"}, {"STATE", "shown"},
    {"SPEED", "speed"}, {"MAC", "mac"},   {"BRIDGED", "bridged"},
};

static const char *speed_text(unsigned speed_mbps, char buf[24])
{
    if (speed_mbps == 0)
        snprintf(buf, 24, "-");
    else if (speed_mbps < 1000)
        snprintf(buf, 24, "%uM", speed_mbps);
    else if (speed_mbps % 1000 == 0)
        snprintf(buf, 24, "%uG", speed_mbps / 1000);
    else
        snprintf(buf, 24, "%u.%uG", speed_mbps / 1000, speed_mbps % 1000 / 100);
    return buf;
}

/* Adds what people get in fewer columns. */
static void describe_shown(json_t *interface)
{
    json_int_t speed_mbps = json_integer_value(json_object_get(interface, "speedMbps"));
    const char *state = json_string_value(json_object_get(interface, "state"));
    bool is_default = json_is_true(json_object_get(interface, "default"));
    char speed[24];

    if (json_is_true(json_object_get(interface, "canBridge")))
        json_object_set(interface, "bridged", json_object_get(interface, "way"));
    else
        json_object_set_new(
            interface, "bridged",
            json_sprintf("no: %s", json_string_value(json_object_get(interface, "why"))));
    json_object_set_new(interface, "speed", json_string(speed_text((unsigned)speed_mbps, speed)));
    json_object_set_new(interface, "shown",
                        json_sprintf("%s%s", state, is_default ? " default" : ""));
}

enum cli_exit cmd_interfaces(const struct cli_args *args)
{
    json_t *rows, *row;
    struct err err = {0};
    size_t i;

    if (client_interfaces(&rows, &err) < 0)
        return cli_fail(CLI_FAILED, "interfaces: %s", err.text);
    if (cli_value(args, "json")) {
        output_json(rows);
    } else {
        json_array_foreach(rows, i, row) describe_shown(row);
        output_table(rows, columns, sizeof(columns) / sizeof(columns[0]), "");
    }
    json_decref(rows);
    return CLI_DONE;
}
