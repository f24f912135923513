/* SPDX-License-Identifier: Apache-2.0 */
/* Machines of a network and rows of Open vSwitch's database, compared and made the same. */
#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/ovsdb.h"
#include "plane/linux/bridged_ovs_private.h"
#include "plane/linux/bridged_ovs_rows.h"
#include "plane/linux/port.h"

int bridged_ovs_connect(struct bridged_ovs *ovs, const struct plane_port *port)
{
    int ifindex = (int)if_nametoindex(port->interface);
    int result = ovs_legs_make(&ovs->legs, port->interface, &port->mac);

    if (result == 0)
        result =
            netlink_set_up(ovs->legs.inside, ifindex, 0, ovs_legs_bridge(port->interface), NULL);
    return result < 0 ? result : bridged_link_set_port(ovs->legs.inside, ifindex, true);
}

/* Those that somebody has deleted; and all, where the datapath is another and wants other links. */
static void connect_ports(struct bridged_ovs *ovs, const struct port_list *list, bool userspace)
{
    for (size_t i = 0; i < list->len && userspace != ovs->legs.userspace; i++)
        ovs_legs_remove(&ovs->legs, list->ports[i].interface);
    ovs->legs.userspace = userspace;
    for (size_t i = 0; i < list->len; i++) {
        int result = ovs_legs_there(&ovs->legs, list->ports[i].interface)
                         ? 0
                         : bridged_ovs_connect(ovs, &list->ports[i]);

        if (result < 0)
            log_warn("port %s has no way to bridge %s: %s", list->ports[i].interface, ovs->bridge,
                     strerror(-result));
    }
}

static void judge(struct bridged_ovs *ovs, const struct ovs_rows *rows,
                  const struct port_list *list)
{
    struct err warning = {""};
    char name[IFNAMSIZ], reason[256];
    bool pending = false;

    if (ovs->daemon.away)
        err_set(&warning, 0,
                "ovs-vswitchd has ended: machines have no connection until it runs; " OVS_START_IT);
    else if (!rows->bridge)
        err_set(&warning, 0,
                "Open vSwitch has no bridge %s any more: machines have no connection until it is "
                "made again (ovs-vsctl add-br %s)",
                ovs->bridge, ovs->bridge);
    for (size_t i = 0; i < list->len && !warning.text[0]; i++) {
        int state;

        ovs_legs_name(ovs->legs.place, list->ports[i].interface, name);
        state = ovs_rows_state(rows, name, reason);
        pending |= state == 0;
        ovs->slow &= state <= 0;
        if (state < 0)
            err_set(&warning, 0, "Open vSwitch does not take port %s of machine '%s': %s", name,
                    list->ports[i].name, reason);
    }
    /* What is still to be taken will be told: that all is well can be said then. */
    if (warning.text[0] || !pending)
        bridged_ovs_warn(ovs, &warning);
}

/*
 * A link that somebody has deleted: ovs-vswitchd does not look for another one of its name until it has seen the port go.
 * True: there was such a port, and @rows are not what they were.
 */
static bool remove_lost(struct bridged_ovs *ovs, const struct ovs_rows *rows,
                        const struct port_list *list)
{
    json_t *operations = json_array();
    char name[IFNAMSIZ], reason[256];
    bool any;

    for (size_t i = 0; i < list->len; i++) {
        const json_t *row;

        ovs_legs_name(ovs->legs.place, list->ports[i].interface, name);
        row = ovs_rows_port(rows, name);
        if (!row || ovs_legs_there(&ovs->legs, list->ports[i].interface))
            continue;
        log_warn("interface %s was removed by somebody; making it again", name);
        ovs_rows_put_remove(operations, row);
    }
    any = json_array_size(operations);
    if (any)
        ovs_rows_settle(ovs->db, json_incref(operations), OVS_TAKE_MS, reason);
    json_decref(operations);
    return any;
}

/* The rows as they are; before, ports that have lost their links are taken out. */
static int read_rows(struct bridged_ovs *ovs, const struct port_list *list,
                     struct ovs_rows *ret_rows, char ret_reason[256])
{
    int result = ovs_rows_read(ovs->db, ovs->bridge, ovs->network, ret_rows, ret_reason);

    if (result < 0 || !remove_lost(ovs, ret_rows, list))
        return result;
    ovs_rows_free(ret_rows);
    return ovs_rows_read(ovs->db, ovs->bridge, ovs->network, ret_rows, ret_reason);
}

/* Machines that there are, and whose MAC is known; but for @gone, and with what is known of @come since its alias was written. */
static int read_ports(struct bridged_ovs *ovs, const struct plane_port *come,
                      const struct plane_port *gone, struct port_list *ret_list, struct err *err)
{
    int result = port_list_read(ovs->legs.inside, ovs->legs.place, ret_list, err);
    size_t len = 0;

    for (size_t i = 0; i < ret_list->len; i++) {
        struct plane_port *port = &ret_list->ports[i];

        if (gone && strcmp(port->interface, gone->interface) == 0)
            continue;
        if (come && strcmp(port->interface, come->interface) == 0)
            *port = *come;
        if (!mac_is_zero(&port->mac))
            ret_list->ports[len++] = *port;
    }
    ret_list->len = len;
    return result;
}

int bridged_ovs_refresh(struct bridged_ovs *ovs, const struct plane_port *come,
                        const struct plane_port *gone, struct err *err)
{
    json_t *operations = json_array();
    struct port_list list;
    struct ovs_rows rows;
    char reason[256];
    int result = read_ports(ovs, come, gone, &list, err);

    if (result < 0) {
        json_decref(operations);
        return result;
    }
    result = read_rows(ovs, &list, &rows, reason);
    if (result == 0) {
        if (rows.bridge)
            connect_ports(ovs, &list, rows.userspace);
        if (ovs_rows_compare(&rows, ovs->legs.place, ovs->bridge, list.ports, list.len, operations))
            ovs->removed = true;
        if (json_array_size(operations))
            result = ovsdb_transact(ovs->db, json_incref(operations), NULL, reason);
        if (result == 0)
            judge(ovs, &rows, &list);
        ovs_rows_free(&rows);
    }
    json_decref(operations);
    free(list.ports);
    if (result == -EPROTO)
        return err_set(err, result, "Open vSwitch's database refuses ports on bridge %s: %s",
                       ovs->bridge, reason);
    if (result < 0)
        bridged_ovs_lose(ovs, result);
    return 0;
}
