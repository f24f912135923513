/* SPDX-License-Identifier: Apache-2.0 */
/* `vmnet interfaces`, but for how they are found: interfaces_linux.c */
#include "cli/interfaces.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bridging.h"
#include "cli/cli.h"
#include "cli/output.h"

static const struct output_column columns[] = {
    {"NAME", "name"},   {"KIND", "kind"}, {"STATE", "shown"},
    {"SPEED", "speed"}, {"MAC", "mac"},   {"BRIDGED", "bridged"},
};

static enum bridging_way choose(const struct interface *interface, char buf[96],
                                const char **ret_reason)
{
    const struct bridging_facts facts = {
        .kind = interface->kind,
        .master = interface->master,
        .ethernet = interface->ethernet,
        .loopback = interface->loopback,
        .wireless = interface->wireless,
    };

    return bridging_choose(&facts, buf, ret_reason);
}

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

static json_t *describe(const struct interface *interface)
{
    const char *reason, *state = interface->carrier ? "up" : "no carrier";
    char buf[96], mac[MAC_TEXT_MAX];
    enum bridging_way way = choose(interface, buf, &reason);

    return json_pack(
        "{s:s, s:s?, s:s, s:s, s:b, s:o, s:b, s:s, s:s, s:s?}", "name", interface->name, "mac",
        interface->ethernet ? mac_format(&interface->mac, mac) : NULL, "kind", interface->kind,
        "state", interface->up ? state : "down", "default", interface->is_default, "speedMbps",
        interface->speed_mbps ? json_integer(interface->speed_mbps) : json_null(), "canBridge",
        way != BRIDGING_NONE, "way", bridging_name(way), "why", reason, "partOf",
        interface->master[0] ? interface->master : NULL);
}

/* Adds what people get in fewer columns. */
static void describe_shown(const struct interface *interface, json_t *object)
{
    const char *state = json_string_value(json_object_get(object, "state"));
    char speed[24];

    if (json_is_true(json_object_get(object, "canBridge")))
        json_object_set(object, "bridged", json_object_get(object, "way"));
    else
        json_object_set_new(
            object, "bridged",
            json_sprintf("no: %s", json_string_value(json_object_get(object, "why"))));
    json_object_set_new(object, "speed", json_string(speed_text(interface->speed_mbps, speed)));
    json_object_set_new(object, "shown",
                        json_sprintf("%s%s", state, interface->is_default ? " default" : ""));
}

enum cli_exit cmd_interfaces(const struct cli_args *args)
{
    bool json = cli_value(args, "json") != NULL;
    json_t *rows = json_array();
    struct interface *interfaces;
    struct err err = {0};
    size_t len;

    if (interfaces_list(&interfaces, &len, &err) < 0) {
        json_decref(rows);
        return cli_fail(CLI_FAILED, "interfaces: %s", err.text);
    }
    for (size_t i = 0; i < len; i++) {
        json_t *row = describe(&interfaces[i]);

        if (!json)
            describe_shown(&interfaces[i], row);
        json_array_append_new(rows, row);
    }
    if (json)
        output_json(rows);
    else
        output_table(rows, columns, sizeof(columns) / sizeof(columns[0]), "");
    free(interfaces);
    json_decref(rows);
    return CLI_DONE;
}
