/* SPDX-License-Identifier: Apache-2.0 */
/* Between bridged_ovs.c, which does what is asked and follows what happens, and bridged_ovs_compare.c. */
#ifndef OPENVMNET_PLANE_LINUX_BRIDGED_OVS_PRIVATE_H
#define OPENVMNET_PLANE_LINUX_BRIDGED_OVS_PRIVATE_H

#include "base/table.h"
#include "plane/linux/bridged_ovs.h"
#include "plane/linux/bridged_ovs_daemon.h"
#include "plane/linux/bridged_ovs_legs.h"

/* Within which ovs-vswitchd takes a port, which it does in some 20. */
#define OVS_TAKE_MS 2000
#define OVS_START_IT "start it (systemctl start openvswitch-switch)"

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

/* bridged_ovs.c: what is told from now on; "": all is well. */
void bridged_ovs_warn(struct bridged_ovs *ovs, const struct err *warning);
/* The connection to the database is of no use any more: it is made anew later. */
void bridged_ovs_lose(struct bridged_ovs *ovs, int reason);

/* bridged_ovs_compare.c: the way from a port to the host's bridge. 0 or -errno. */
int bridged_ovs_connect(struct bridged_ovs *ovs, const struct plane_port *port);
/*
 * With a database: compares and makes the same. @come (or NULL) is known better than by its alias, @gone (or NULL) is there no
 * more. A database that is lost on the way is no error; what it refuses is, with the reason.
 */
int bridged_ovs_refresh(struct bridged_ovs *ovs, const struct plane_port *come,
                        const struct plane_port *gone, struct err *err);

#endif
