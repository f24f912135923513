/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/linux/bridged_ovs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/ovsdb.h"
#include "base/table.h"
#include "plane/linux/bridged_ovs_daemon.h"
#include "plane/linux/bridged_ovs_legs.h"
#include "plane/linux/bridged_ovs_rows.h"
#include "plane/linux/port.h"

#define SETTLE_MS 20      /* changes come in groups */
#define TAKE_MS 2000      /* within which ovs-vswitchd takes a port, which it does in some 20 */
#define AWAY_MS 1000      /* until it is looked whether what was away is back, */
#define AWAY_MAX_MS 30000 /* twice as long each time that it was asked and did not answer */

#define START_IT "start it (systemctl start openvswitch-switch)"

struct bridged_ovs {
    char bridge[16];
    const char *network;
    struct ovs_legs legs;
    struct netlink host;
    struct ovsdb *db; /* NULL: away */
    uint64_t away_ms; /* until the next try */
    struct loop *loop;
    struct loop_source db_source, link_source;
    struct netlink monitor; /* of links in the network's namespace: the other ends of the host's */
    struct loop_timer timer;
    struct ovs_daemon daemon;
    bool removed; /* a port, and ovs-vswitchd may not have seen it go yet */
    struct err warning;
    bool told;      /* it, or that there is none */
    bool slow;      /* ovs-vswitchd has not taken a port in time, and none since */
    bool connected; /* to the database, in the life of this process */
    void (*on_warning)(void *context);
    void *context;
};

/* ---- what is told */

static void set_warning(struct bridged_ovs *ovs, const struct err *warning)
{
    bool changed = strcmp(ovs->warning.text, warning->text) != 0;

    if (changed && warning->text[0])
        log_warn("network '%s': %s", ovs->network, warning->text);
    else if (changed)
        log_info("network '%s': its machines are on bridge %s again", ovs->network, ovs->bridge);
    ovs->warning = *warning;
    /* What the process before this one has told last is not known. */
    if (ovs->on_warning && (changed || !ovs->told))
        ovs->on_warning(ovs->context);
    ovs->told = ovs->on_warning;
}

const char *bridged_ovs_warning(const struct bridged_ovs *ovs)
{
    return ovs->warning.text;
}

/* ---- the database */

static void on_update(void *context)
{
    struct bridged_ovs *ovs = context;

    if (ovs->loop && !ovs->timer.due_ms)
        loop_timer_set(ovs->loop, &ovs->timer, SETTLE_MS);
}

static void disconnect(struct bridged_ovs *ovs)
{
    if (ovs->loop)
        loop_remove(ovs->loop, &ovs->db_source);
    ovsdb_close(ovs->db);
    ovs->db = NULL;
}

static int connect_db(struct bridged_ovs *ovs)
{
    int result = ovsdb_open(on_update, ovs, &ovs->db);

    if (result == 0)
        result = ovsdb_call(ovs->db, "monitor",
                            json_pack("[s, n, {s:{s:[s, s, s]}, s:{s:[s, s]}}]", "Open_vSwitch",
                                      "Bridge", "columns", "name", "ports", "datapath_type",
                                      "Interface", "columns", "ofport", "error"),
                            NULL);
    if (result == 0 && ovs->loop)
        result = loop_add(ovs->loop, &ovs->db_source, ovsdb_fd(ovs->db), LOOP_IN);
    if (result < 0)
        disconnect(ovs);
    else
        ovs->connected = true;
    return result;
}

/* The connection is of no use any more: it is made anew later. */
static void lose_db(struct bridged_ovs *ovs, int reason)
{
    struct err warning;

    disconnect(ovs);
    err_set(&warning, 0,
            "Open vSwitch's database does not answer (%s/db.sock: %s): machines that come have no "
            "connection until it does; %s",
            ovsdb_directory(), strerror(-reason),
            reason == -EACCES ? "it takes CAP_DAC_OVERRIDE (openvmnet(7), BRIDGED NETWORKS)"
                              : START_IT);
    set_warning(ovs, &warning);
    ovs->away_ms = reason == -ETIMEDOUT && ovs->away_ms ? ovs->away_ms * 2 : AWAY_MS;
    if (ovs->away_ms > AWAY_MAX_MS)
        ovs->away_ms = AWAY_MAX_MS;
    if (ovs->loop)
        loop_timer_set(ovs->loop, &ovs->timer, ovs->away_ms);
}

/* ---- machines and rows */

static int connect_port(struct bridged_ovs *ovs, const struct plane_port *port)
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
                         : connect_port(ovs, &list->ports[i]);

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
                "ovs-vswitchd has ended: machines have no connection until it runs; " START_IT);
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
        set_warning(ovs, &warning);
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
        ovs_rows_settle(ovs->db, json_incref(operations), TAKE_MS, reason);
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

/* Compares and makes the same. @come and @gone: as above, or NULL. */
static int refresh(struct bridged_ovs *ovs, const struct plane_port *come,
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
        lose_db(ovs, result);
    return 0;
}

/* Where ovs-vswitchd takes a port it does so soon. Where it did not, the next attach does not wait for it. */
static int wait_until_taken(struct bridged_ovs *ovs, const struct plane_port *port, struct err *err)
{
    uint64_t deadline_ms = clock_now_ms() + TAKE_MS, now_ms;
    char name[IFNAMSIZ], reason[256];
    struct err warning;
    int state = 0;

    ovs_legs_name(ovs->legs.place, port->interface, name);
    while (state == 0 && ovs->db && !ovs->slow && (now_ms = clock_now_ms()) < deadline_ms) {
        struct ovs_rows rows;
        int result = ovs_rows_read(ovs->db, ovs->bridge, ovs->network, &rows, reason);

        if (result == 0) {
            state = ovs_rows_state(&rows, name, reason);
            ovs_rows_free(&rows);
        }
        if (result == 0 && state == 0)
            result = ovsdb_wait(ovs->db, (int)(deadline_ms - now_ms));
        if (result < 0)
            lose_db(ovs, result);
    }
    if (state < 0)
        return err_set(err, state, "Open vSwitch does not take port %s on bridge %s: %s", name,
                       ovs->bridge, reason);
    if (state == 0 && ovs->db) {
        ovs->slow = true;
        err_set(&warning, 0,
                "ovs-vswitchd does not take port %s of machine '%s', which has no connection until "
                "it does; " START_IT,
                name, port->name);
        set_warning(ovs, &warning);
    }
    return 0;
}

int bridged_ovs_prepare(struct bridged_ovs *ovs, const struct plane_port *port, struct err *err)
{
    struct bridged_link link;
    char reason[256];
    int result;

    if (bridged_link_read(&ovs->host, ovs->bridge, 0, &link) == 0 &&
        memcmp(&link.mac, &port->mac, sizeof(port->mac)) == 0)
        return err_set(err, -EEXIST,
                       "the MAC is that of bridge %s: give the machine another one (mac=)",
                       ovs->bridge);
    /* The new port may have the name of one that is gone: that another one came would not be seen. */
    if (ovs->removed && ovs->db && !ovs->daemon.away && !ovs->slow) {
        result = ovs_rows_settle(ovs->db, json_array(), TAKE_MS, reason);
        if (result < 0 && result != -EPROTO)
            lose_db(ovs, result);
    }
    ovs->removed = false;
    result = ovs_legs_make(&ovs->legs, port->interface, &port->mac);
    return result < 0 ? err_set(err, result,
                                "cannot make a link to bridge %s: %s; the kernel needs veth and "
                                "bridge, and sch_ingress and cls_bpf for datapath_type=netdev (as "
                                "root: modprobe -a veth bridge sch_ingress cls_bpf)",
                                ovs->bridge, strerror(-result))
                      : 0;
}

int bridged_ovs_add(struct bridged_ovs *ovs, const struct plane_port *port, struct err *err)
{
    int result = connect_port(ovs, port);

    if (result < 0)
        return err_set(err, result, "cannot set up %s: %s", port->interface, strerror(-result));
    if (ovs->db)
        result = refresh(ovs, port, NULL, err);
    return result == 0 && ovs->db && !ovs->daemon.away ? wait_until_taken(ovs, port, err) : result;
}

void bridged_ovs_remove(struct bridged_ovs *ovs, const struct plane_port *port)
{
    struct err err;

    ovs_legs_remove(&ovs->legs, port->interface);
    if (ovs->db && refresh(ovs, NULL, port, &err) < 0)
        log_warn("%s", err.text);
}

/* ---- what happens by itself */

static void on_timer(struct loop_timer *timer)
{
    struct bridged_ovs *ovs = CONTAINER_OF(timer, struct bridged_ovs, timer);
    struct err err;
    int result;

    ovs_daemon_look(&ovs->daemon);
    if (!ovs->db) {
        result = connect_db(ovs);
        /* This process has given up the right that it takes. The next one has it, until it is connected. */
        if (result == -EACCES && ovs->connected) {
            log_info("network '%s': Open vSwitch's database is there again: a new router connects "
                     "to it",
                     ovs->network);
            _exit(1);
        }
        if (result < 0) {
            lose_db(ovs, result);
            return;
        }
    }
    if (refresh(ovs, NULL, NULL, &err) < 0) {
        set_warning(ovs, &err);
        loop_timer_set(ovs->loop, timer, AWAY_MAX_MS);
    } else if (ovs->db && ovs->daemon.away) {
        loop_timer_set(ovs->loop, timer, AWAY_MS);
    }
}

static int on_link(const struct nlmsghdr *header, void *context)
{
    const struct ifinfomsg *link = mnl_nlmsg_get_payload(header);

    return header->nlmsg_type == RTM_DELLINK && link->ifi_family == AF_UNSPEC ? MNL_CB_STOP
                                                                              : MNL_CB_OK;
}

static void on_links_changed(struct loop_source *source, unsigned events)
{
    struct bridged_ovs *ovs = CONTAINER_OF(source, struct bridged_ovs, link_source);
    char buf[NETLINK_MESSAGE_BYTES];
    ssize_t len;

    while ((len = recv(source->fd, buf, sizeof(buf), MSG_DONTWAIT)) != 0) {
        if (len < 0 && errno != ENOBUFS)
            break;
        if (len < 0 || mnl_cb_run(buf, (size_t)len, 0, 0, on_link, NULL) == MNL_CB_STOP)
            on_update(ovs);
    }
}

static void on_readable(struct loop_source *source, unsigned events)
{
    struct bridged_ovs *ovs = CONTAINER_OF(source, struct bridged_ovs, db_source);
    int result = ovsdb_receive(ovs->db);

    if (result < 0)
        lose_db(ovs, result);
}

int bridged_ovs_watch(struct bridged_ovs *ovs, struct loop *loop, void (*on_warning)(void *context),
                      void *context)
{
    int group = RTNLGRP_LINK, result = netlink_open(&ovs->monitor);

    if (result == 0)
        result = netlink_join(&ovs->monitor, &group, 1);
    ovs->loop = loop;
    ovs->on_warning = on_warning;
    ovs->context = context;
    ovs->link_source.on_event = on_links_changed;
    ovs->timer.on_timer = on_timer;
    ovs->db_source.on_event = on_readable;
    ovs_daemon_open(&ovs->daemon, loop, on_update, ovs);
    if (result == 0)
        result = loop_add(loop, &ovs->link_source, mnl_socket_get_fd(ovs->monitor.socket), LOOP_IN);
    if (result == 0 && ovs->db)
        result = loop_add(loop, &ovs->db_source, ovsdb_fd(ovs->db), LOOP_IN);
    loop_timer_set(loop, &ovs->timer, 0);
    return result;
}

/* ---- the whole */

int bridged_ovs_open(const struct bridged_link *link, const char *network,
                     struct bridged_ovs **ret_ovs, struct err *err)
{
    struct bridged_ovs *ovs = calloc(1, sizeof(*ovs));
    int result;

    if (!ovs)
        return err_set(err, -ENOMEM, "out of memory");
    snprintf(ovs->bridge, sizeof(ovs->bridge), "%s", link->name);
    ovs->network = network;
    ovs->db_source.fd = ovs->link_source.fd = -1;
    result = netlink_open(&ovs->host);
    ovs->legs = (struct ovs_legs){
        .host = &ovs->host,
        .host_ns_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC),
        .mtu = link->mtu,
    };
    if (result == 0 && ovs->legs.host_ns_fd < 0)
        result = -errno;
    if (result < 0) {
        bridged_ovs_free(ovs);
        return err_set(err, result, "cannot open sockets for bridging: %s", strerror(-result));
    }
    result = connect_db(ovs);
    if (result < 0)
        lose_db(ovs, result);
    *ret_ovs = ovs;
    return 0;
}

int bridged_ovs_join(struct bridged_ovs *ovs, const struct place *place, struct netlink *inside,
                     bool fresh, struct err *err)
{
    struct port_list list;
    struct ovs_rows rows;
    char reason[256];
    int result, others;

    ovs->legs.place = place;
    ovs->legs.inside = inside;
    if (fresh && !ovs->db)
        return err_set(err, -ENOTCONN, "%s", ovs->warning.text);
    result = port_list_read(inside, place, &list, err);
    if (result < 0)
        return result;
    others = ovs_legs_keep(&ovs->legs, list.ports, list.len);
    free(list.ports);
    if (fresh && others > 0)
        log_warn("machines of an earlier process of this network are cut off from %s: start them "
                 "anew",
                 ovs->bridge);
    if (!ovs->db)
        return 0;
    result = ovs_rows_read(ovs->db, ovs->bridge, ovs->network, &rows, reason);
    if (result < 0 && !fresh) {
        lose_db(ovs, result);
        return 0;
    }
    if (result < 0)
        return err_set(err, result, "Open vSwitch's database: %s", reason);
    if (fresh && !rows.bridge)
        result = err_set(err, -ENODEV, "Open vSwitch has no bridge %s (ovs-vsctl show lists them)",
                         ovs->bridge);
    ovs->legs.userspace = rows.userspace;
    ovs_rows_free(&rows);
    if (result == 0)
        result = refresh(ovs, NULL, NULL, err);
    /* Machines that are there go on, and it is tried again. */
    if (result < 0 && !fresh) {
        log_warn("network '%s': %s", ovs->network, err->text);
        result = 0;
    }
    return result;
}

void bridged_ovs_leave(struct bridged_ovs *ovs)
{
    json_t *operations = json_array();
    struct ovs_rows rows;
    const json_t *row;
    char reason[256];
    size_t i;
    int result =
        ovs->db ? ovs_rows_read(ovs->db, ovs->bridge, ovs->network, &rows, reason) : -ENOTCONN;

    if (result == 0) {
        json_array_foreach(rows.ports, i, row) ovs_rows_put_remove(operations, row);
        ovs_rows_free(&rows);
        result = ovsdb_transact(ovs->db, json_incref(operations), NULL, reason);
    }
    json_decref(operations);
    if (result < 0)
        log_warn("ports of network '%s' stay in Open vSwitch's database until it is started again: "
                 "%s",
                 ovs->network, result == -EPROTO ? reason : strerror(-result));
    if (ovs->legs.place) /* it has joined */
        ovs_legs_keep(&ovs->legs, NULL, 0);
}

void bridged_ovs_free(struct bridged_ovs *ovs)
{
    if (!ovs)
        return;
    if (ovs->loop) {
        loop_timer_clear(ovs->loop, &ovs->timer);
        loop_remove(ovs->loop, &ovs->link_source);
    }
    ovs_daemon_close(&ovs->daemon);
    disconnect(ovs);
    netlink_close(&ovs->monitor);
    netlink_close(&ovs->host);
    if (ovs->legs.host_ns_fd >= 0)
        close(ovs->legs.host_ns_fd);
    free(ovs);
}
