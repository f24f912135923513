/* SPDX-License-Identifier: Apache-2.0 */
/* What the two parts of a wired network share: bridged.c makes it, bridged_watch.c follows what happens on the host. */
#ifndef OPENVMNET_PLANE_LINUX_BRIDGED_PRIVATE_H
#define OPENVMNET_PLANE_LINUX_BRIDGED_PRIVATE_H

#include "plane/linux/bridged.h"
#include "plane/linux/bridged_wire.h"
#include "plane/linux/ruleset_watch.h"

struct bridged {
    char ifname[16], network[64];
    struct netlink host;
    struct wire wire;
    int host_ns_fd;
    int test_fd, inside_fd; /* for tests, until bridged_join() has been; -1 */
    struct netlink *inside;
    char bridge[16];
    struct loop *loop;
    struct netlink monitor;
    struct ruleset_watch *rules; /* of hooks */
    struct loop_source source;
    struct loop_timer timer;
    char warning[160];
    bool filters_lost; /* or hooks */
    bool looked_at;
    uint64_t repaired_ms;
    void (*on_mtu)(void *context);
    void *context;
};

/* The link where there is none, and all that is at both ends. */
int bridged_join_wire(struct bridged *bridged);
/* Frames have the long way alone from now on, because of @why, -errno. */
void bridged_drop_shortcut(struct bridged *bridged, int why);
/* An interface that is new has forgotten what it had to take. */
void bridged_listen_to_all(const struct wire *wire);

#endif
