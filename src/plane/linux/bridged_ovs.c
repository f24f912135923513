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
#include "plane/linux/bridged_ovs_private.h"
#include "plane/linux/bridged_ovs_rows.h"
#include "plane/linux/port.h"

#define SETTLE_MS 20      /* changes come in groups */
#define AWAY_MS 1000      /* until it is looked whether what was away is back, */
#define AWAY_MAX_MS 30000 /* twice as long each time that it was asked and did not answer */

/* ---- what is told */

void bridged_ovs_warn(struct bridged_ovs *ovs, const struct err *warning)
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

void bridged_ovs_lose(struct bridged_ovs *ovs, int reason)
{
    struct err warning;

    disconnect(ovs);
    err_set(&warning, 0,
            "Open vSwitch's database does not answer (%s/db.sock: %s): machines that come have no "
            "connection until it does; %s",
            ovsdb_directory(), strerror(-reason),
            reason == -EACCES ? "it takes CAP_DAC_OVERRIDE (openvmnet(7), BRIDGED NETWORKS)"
                              : OVS_START_IT);
    bridged_ovs_warn(ovs, &warning);
    ovs->away_ms = reason == -ETIMEDOUT && ovs->away_ms ? ovs->away_ms * 2 : AWAY_MS;
    if (ovs->away_ms > AWAY_MAX_MS)
        ovs->away_ms = AWAY_MAX_MS;
    if (ovs->loop)
        loop_timer_set(ovs->loop, &ovs->timer, ovs->away_ms);
}

/* ---- ports */

/* Where ovs-vswitchd takes a port it does so soon. Where it did not, the next attach does not wait for it. */
static int wait_until_taken(struct bridged_ovs *ovs, const struct plane_port *port, struct err *err)
{
    uint64_t deadline_ms = clock_now_ms() + OVS_TAKE_MS, now_ms;
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
            bridged_ovs_lose(ovs, result);
    }
    if (state < 0)
        return err_set(err, state, "Open vSwitch does not take port %s on bridge %s: %s", name,
                       ovs->bridge, reason);
    if (state == 0 && ovs->db) {
        ovs->slow = true;
        err_set(&warning, 0,
                "ovs-vswitchd does not take port %s of machine '%s', which has no connection until "
                "it does; " OVS_START_IT,
                name, port->name);
        bridged_ovs_warn(ovs, &warning);
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
        result = ovs_rows_settle(ovs->db, json_array(), OVS_TAKE_MS, reason);
        if (result < 0 && result != -EPROTO)
            bridged_ovs_lose(ovs, result);
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
    int result = bridged_ovs_connect(ovs, port);

    if (result < 0)
        return err_set(err, result, "cannot set up %s: %s", port->interface, strerror(-result));
    if (ovs->db)
        result = bridged_ovs_refresh(ovs, port, NULL, err);
    return result == 0 && ovs->db && !ovs->daemon.away ? wait_until_taken(ovs, port, err) : result;
}

void bridged_ovs_remove(struct bridged_ovs *ovs, const struct plane_port *port)
{
    struct err err;

    ovs_legs_remove(&ovs->legs, port->interface);
    if (ovs->db && bridged_ovs_refresh(ovs, NULL, port, &err) < 0)
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
            bridged_ovs_lose(ovs, result);
            return;
        }
    }
    if (bridged_ovs_refresh(ovs, NULL, NULL, &err) < 0) {
        bridged_ovs_warn(ovs, &err);
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
        bridged_ovs_lose(ovs, result);
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
        bridged_ovs_lose(ovs, result);
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
        bridged_ovs_lose(ovs, result);
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
        result = bridged_ovs_refresh(ovs, NULL, NULL, err);
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
