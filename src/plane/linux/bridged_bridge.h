/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bridged network whose ports are those of a Linux bridge of the host's: what others do to that bridge and to the
 * guard's rules, which are in the host's namespace, too.
 */
#ifndef OPENVMNET_PLANE_LINUX_BRIDGED_BRIDGE_H
#define OPENVMNET_PLANE_LINUX_BRIDGED_BRIDGE_H

#include "base/err.h"
#include "base/loop.h"
#include "plane/linux/netlink.h"
#include "plane/linux/place.h"

struct bridged_bridge;

/*
 * Follows both from @loop. When rules of the network are removed @mend makes them all anew (0 or -errno with the reason;
 * it is called again later where it fails). While the bridge is gone ports are down: without it a machine would be on a
 * link with the host alone. When there is one of its name again they join that. All but @ret_bridge is borrowed. 0 or -errno.
 */
int bridged_bridge_watch(const struct place *place, struct netlink *netlink, struct loop *loop,
                         int (*mend)(void *context, struct err *err), void *context,
                         struct bridged_bridge **ret_bridge);
void bridged_bridge_free(struct bridged_bridge *bridge);

#endif
