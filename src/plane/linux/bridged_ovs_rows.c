/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Bridge has Ports, a Port has Interfaces. A row of the latter two that nobody names is removed by the server, so a port goes
 * by being taken out of its bridge. In the protocol a map is ["map", [[key, value], …]] and a set ["set", [value, …]].
 */
#include "plane/linux/bridged_ovs_rows.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "plane/linux/bridged_ovs_legs.h"

#define POLL_MS 10 /* of what is not monitored */

#define OWNER "openvmnet-network" /* in external_ids: whose a row is */

int ovs_rows_read(struct ovsdb *db, const char *bridge, const char *network,
                  struct ovs_rows *ret_rows, char ret_reason[256])
{
    json_t *ours =
        json_pack("[[s, s, [s, [[s, s]]]]]", "external_ids", "includes", "map", OWNER, network);
    json_t *operations = json_pack(
        "[{s:s, s:s, s:[[s, s, s]], s:[s, s]}, {s:s, s:s, s:O, s:[s, s]}, {s:s, s:s, s:O, s:[s, s, "
        "s]}]",
        "op", "select", "table", "Bridge", "where", "name", "==", bridge, "columns", "ports",
        "datapath_type", "op", "select", "table", "Port", "where", ours, "columns", "_uuid", "name",
        "op", "select", "table", "Interface", "where", ours, "columns", "name", "ofport", "error");
    const json_t *of[3] = {0};
    const char *datapath;
    int result;

    json_decref(ours);
    *ret_rows = (struct ovs_rows){0};
    result = ovsdb_transact(db, operations, &ret_rows->results, ret_reason);
    if (result < 0)
        return result;
    for (size_t i = 0; i < 3; i++)
        of[i] = json_object_get(json_array_get(ret_rows->results, i), "rows");
    ret_rows->bridge = json_array_get(of[0], 0);
    ret_rows->ports = of[1];
    ret_rows->interfaces = of[2];
    datapath = json_string_value(json_object_get(ret_rows->bridge, "datapath_type"));
    ret_rows->userspace = datapath && strcmp(datapath, "netdev") == 0;
    return 0;
}

void ovs_rows_free(struct ovs_rows *rows)
{
    json_decref(rows->results);
    *rows = (struct ovs_rows){0};
}

static bool has_name(const json_t *row, const char *name)
{
    const char *found = json_string_value(json_object_get(row, "name"));

    return found && strcmp(found, name) == 0;
}

const json_t *ovs_rows_port(const struct ovs_rows *rows, const char *name)
{
    const char *uuid = NULL, *of;
    const json_t *row = NULL;
    size_t i;

    json_array_foreach(rows->ports, i, row)
    {
        if (has_name(row, name)) {
            uuid = ovsdb_atom(json_object_get(row, "_uuid"), 0);
            break;
        }
    }
    for (size_t k = 0; uuid && (of = ovsdb_atom(json_object_get(rows->bridge, "ports"), k)); k++)
        if (strcmp(of, uuid) == 0)
            return row;
    return NULL;
}

int ovs_rows_state(const struct ovs_rows *rows, const char *name, char ret_reason[256])
{
    const json_t *row;
    size_t i;

    json_array_foreach(rows->interfaces, i, row)
    {
        const char *error = ovsdb_atom(json_object_get(row, "error"), 0);

        if (!has_name(row, name))
            continue;
        if (error)
            snprintf(ret_reason, 256, "%s", error);
        return error ? -EIO : json_is_integer(json_object_get(row, "ofport"));
    }
    return 0;
}

static void put_add(json_t *operations, const char *bridge, const char *network, const char *name,
                    const struct plane_port *port)
{
    char mac[MAC_TEXT_MAX], interface_row[32], port_row[32], comment[128];
    json_t *facts =
        json_pack("[[s, s], [s, s], [s, s], [s, s]]", "attached-mac", mac_format(&port->mac, mac),
                  "iface-id", port->interface_id, "iface-status", "active", OWNER, network);
    size_t number = json_array_size(operations);

    if (port->name[0])
        json_array_append_new(facts, json_pack("[s, s]", "vm-id", port->name));
    /* Rows of a transaction know each other by names of its own. */
    snprintf(interface_row, sizeof(interface_row), "interface%zu", number);
    snprintf(port_row, sizeof(port_row), "port%zu", number);
    snprintf(comment, sizeof(comment), "openvmnet: network %s", network);
    json_array_append_new(operations,
                          json_pack("{s:s, s:s, s:s, s:{s:s, s:[s, o]}}", "op", "insert", "table",
                                    "Interface", "uuid-name", interface_row, "row", "name", name,
                                    "external_ids", "map", facts));
    json_array_append_new(operations,
                          json_pack("{s:s, s:s, s:s, s:{s:s, s:[s, s], s:[s, [[s, s]]]}}", "op",
                                    "insert", "table", "Port", "uuid-name", port_row, "row", "name",
                                    name, "interfaces", "named-uuid", interface_row, "external_ids",
                                    "map", OWNER, network));
    json_array_append_new(operations,
                          json_pack("{s:s, s:s, s:[[s, s, s]], s:[[s, s, [s, s]]]}", "op", "mutate",
                                    "table", "Bridge", "where", "name", "==", bridge, "mutations",
                                    "ports", "insert", "named-uuid", port_row));
    json_array_append_new(operations, json_pack("{s:s, s:s}", "op", "comment", "comment", comment));
}

void ovs_rows_put_remove(json_t *operations, const json_t *port)
{
    json_t *uuid = json_object_get(port, "_uuid");

    json_array_append_new(operations,
                          json_pack("{s:s, s:s, s:[[s, s, O]], s:[[s, s, O]]}", "op", "mutate",
                                    "table", "Bridge", "where", "ports", "includes", uuid,
                                    "mutations", "ports", "delete", uuid));
}

bool ovs_rows_compare(const struct ovs_rows *rows, const struct place *place, const char *bridge,
                      const struct plane_port *ports, size_t len, json_t *operations)
{
    char name[IFNAMSIZ];
    const json_t *row;
    bool removes;
    size_t i;

    json_array_foreach(rows->ports, i, row)
    {
        bool wanted = false;

        for (size_t k = 0; k < len && !wanted; k++) {
            ovs_legs_name(place, ports[k].interface, name);
            wanted = has_name(row, name) && ovs_rows_port(rows, name);
        }
        if (!wanted)
            ovs_rows_put_remove(operations, row);
    }
    removes = json_array_size(operations);
    for (i = 0; i < len && rows->bridge; i++) {
        ovs_legs_name(place, ports[i].interface, name);
        if (!ovs_rows_port(rows, name))
            put_add(operations, bridge, place->config->name, name, &ports[i]);
    }
    return removes;
}

static json_t *select_number(const char *column)
{
    return json_pack("{s:s, s:s, s:[], s:[s]}", "op", "select", "table", "Open_vSwitch", "where",
                     "columns", column);
}

/* Of the last result, which is of select_number(). */
static json_int_t take_number(json_t *results, const char *column)
{
    const json_t *last = json_array_get(results, json_array_size(results) - 1);
    json_int_t number = json_integer_value(
        json_object_get(json_array_get(json_object_get(last, "rows"), 0), column));

    json_decref(results);
    return number;
}

int ovs_rows_settle(struct ovsdb *db, json_t *operations, int wait_ms, char ret_reason[256])
{
    uint64_t deadline_ms = clock_now_ms() + (uint64_t)wait_ms;
    json_int_t wanted = 0, done = -1;
    json_t *results;
    int result;

    json_array_append_new(operations,
                          json_pack("{s:s, s:s, s:[], s:[[s, s, i]]}", "op", "mutate", "table",
                                    "Open_vSwitch", "where", "mutations", "next_cfg", "+=", 1));
    json_array_append_new(operations, select_number("next_cfg"));
    result = ovsdb_transact(db, operations, &results, ret_reason);
    if (result == 0)
        wanted = take_number(results, "next_cfg");
    while (result == 0 && done < wanted && clock_now_ms() < deadline_ms) {
        result =
            ovsdb_transact(db, json_pack("[o]", select_number("cur_cfg")), &results, ret_reason);
        if (result == 0)
            done = take_number(results, "cur_cfg");
        if (result == 0 && done < wanted)
            result = ovsdb_wait(db, POLL_MS);
    }
    return result;
}
