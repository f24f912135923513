/* SPDX-License-Identifier: Apache-2.0 */
/* What a plane is made of, for the files that are it: plane.c and ports.c. */
#ifndef OPENVMNET_PLANE_LINUX_PLANE_STATE_H
#define OPENVMNET_PLANE_LINUX_PLANE_STATE_H

#include "base/loop.h"
#include "plane/linux/bridged_net.h"
#include "plane/linux/learn.h"
#include "plane/linux/netlink.h"
#include "plane/linux/place.h"
#include "plane/linux/ruleset.h"
#include "plane/linux/service.h"
#include "plane/linux/system.h"
#include "plane/plane.h"

struct plane {
    const struct net_config *config;
    struct place place;
    struct system *system;       /* a network that the host routes for, or NULL */
    struct bridged_net *bridged; /* a bridged one, or NULL */
    bool created;                /* by this process, and it has had no port yet */
    bool ended;                  /* plane_cut_off(): no port comes any more */
    bool names_used;             /* a port may have gone, whose name the next one gets */
    bool router6;                /* guests are told that this is their router for IPv6 */
    struct plane_outside outside;
    struct nft_ctx *nft;
    struct mnl_socket *elements; /* of nftables' sets */
    struct netlink netlink;
    struct netlink monitor;
    struct loop *loop;
    struct loop_source monitor_source;
    struct learn learn;
    struct service service;
    struct plane_events events;
};

/* Of plane->monitor_source: ports that have gone are told. */
void ports_on_monitor(struct loop_source *source, unsigned events);
/* Ports may have gone without a word: makes rules and names those of the ports that there are. 0 or -errno. */
int ports_look_again(struct plane *plane, struct err *err);

#endif
