/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bridged network whose ports are those of a Linux bridge of the host's: what others do to that bridge and to the
 * guard's rules, which are in the host's namespace, too.
 *
 * A bridge whose MTU nobody has set has the least of its ports' (br_mtu_auto_adjust() in the kernel's net/bridge/br_if.c),
 * and nobody can ask which kind it is. So no port of any network may be what holds it down: theirs is the least of all other
 * ports', or the bridge's where that is greater or there are no others. By that rule two networks on one bridge agree, too.
 */
#ifndef OPENVMNET_PLANE_LINUX_BRIDGED_BRIDGE_H
#define OPENVMNET_PLANE_LINUX_BRIDGED_BRIDGE_H

#include "base/err.h"
#include "base/loop.h"
#include "plane/linux/netlink.h"
#include "plane/linux/place.h"

struct bridged_bridge;

/* What happens. */
struct bridged_bridge_events {
    int (*mend)(void *context, struct err *err); /* all rules are to be made anew */
    void (*on_mtu)(void *context);               /* bridged_bridge_mtu() is another */
    void *context;
};

/*
 * Follows both from @loop. When rules of the network are removed mend() makes them all anew (0 or -errno with the reason;
 * it is called again later where it fails). While the bridge is gone ports are down: without it a machine would be on a
 * link with the host alone. When there is one of its name again they join that. @mtu was
 * the bridge's. All but @ret_bridge is borrowed, and @events copied. 0 or -errno.
 */
int bridged_bridge_watch(const struct place *place, struct netlink *netlink, struct loop *loop,
                         unsigned mtu, const struct bridged_bridge_events *events,
                         struct bridged_bridge **ret_bridge);
/* Sees what has happened until now, and not only until the loop was last there. */
void bridged_bridge_catch_up(struct bridged_bridge *bridge);
/* The bridge's MTU; and what a port has to have. */
unsigned bridged_bridge_mtu(const struct bridged_bridge *bridge);
unsigned bridged_bridge_port_mtu(const struct bridged_bridge *bridge);
void bridged_bridge_free(struct bridged_bridge *bridge);

#endif
