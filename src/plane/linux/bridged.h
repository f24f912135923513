/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network of machines on a wired interface of the host, of which nothing is changed: no address, no route, no
 * setting, no master.
 *
 *     the network's own namespace                the host's
 *
 *     tap0 ─┐  (guard)                                          ┌── the host's stack
 *     tap1 ─┼─ br0 ── up0 ════ veth ════ vmnet-NAME ─── tc ─── eth0
 *     tap2 ─┘                                                   └── the wire
 *
 * The bridge has no address, and no process of ours touches a frame. Filters (tc.h) on the two links of the host:
 *
 *     eth0, received or about to be sent   to a machine: out of vmnet-NAME instead, to the bridge
 *                                          to a group, not from a machine: a copy of it there
 *     vmnet-NAME, received                 to the interface's own MAC: received by eth0, which is the host
 *                                          to a group: a copy for the host, and out of eth0
 *                                          to anybody else: out of eth0
 *
 * Nearly all frames between a machine and another station have a shorter way, past the bridge (bridged_shortcut.h).
 *
 * Where filters at eth0 do not do, hooks of nftables are there instead (bridged_hooks.h), and so they are where machines
 * are to have the interface's MAC (bridged_macnat.h).
 *
 * vmnet-NAME has the MAC of eth0, so that the kernel takes what is for the host as its own (eth_type_trans());
 * it has no address of a protocol, and its filters leave nothing for the host's stack. The bridge is told where each
 * machine is and learns nothing, so what it does not know can only be outside.
 *
 * What is in the host's namespace is followed by rtnetlink: the interface may be down for a while, change its MAC or
 * MTU, vanish and come back under its name, and others may delete our filters.
 */
#ifndef OPENVMNET_PLANE_LINUX_BRIDGED_H
#define OPENVMNET_PLANE_LINUX_BRIDGED_H

#include <stdbool.h>
#include <stddef.h>

#include "base/addr.h"
#include "base/err.h"
#include "base/loop.h"
#include "plane/linux/bridged_link.h"
#include "plane/linux/netlink.h"
#include "plane/plane.h"

#define BRIDGED_LEG_PREFIX "up"            /* of names of ports that lead outside */
#define BRIDGED_LEG BRIDGED_LEG_PREFIX "0" /* the one of the network's bridge */

struct bridged;

/*
 * In the host's namespace; the sockets stay in it when the caller goes into the network's own. @leg is the name for the
 * link there. With @mac_nat machines have the interface's MAC (bridged_macnat.h).
 * @mtu_max is what they have where the interface has more, or 0. -EADDRINUSE with the reason where the interface is another network's.
 */
int bridged_open(const struct bridged_link *nic, const char *network, const char *leg, bool mac_nat,
                 unsigned mtu_max, struct bridged **ret_bridged, struct err *err);

/*
 * In the network's namespace: makes the link to the host where there is none, as a port of @bridge, and the filters.
 * @inside is a socket there that outlives the object. A @fresh network, which has no machine yet, is also tested:
 * frames must pass each way. Where one does not, hooks of nftables take the place of filters at the interface. Where that
 * does not do either, -EPROTO with the way; whatever was made is taken back then.
 */
int bridged_join(struct bridged *bridged, struct netlink *inside, const char *bridge, bool fresh,
                 struct err *err);

/* After bridged_join(): what is other than it should be, or "". */
const char *bridged_warning(const struct bridged *bridged);

/* The MTU that the interface has now, for machines to come. */
unsigned bridged_mtu(const struct bridged *bridged);

/*
 * Before bridged_join(): @mac is a machine's that an earlier process has added. After it: frames for @mac reach the bridge from now on, where @port has that MAC. -EEXIST: another machine has it, or the host;
 * -ENOSPC: an interface has a bound for its machines.
 */
int bridged_add(struct bridged *bridged, const struct mac_addr *mac, int port_ifindex,
                struct err *err);
/* The port of a machine of an earlier process, after bridged_join(): its frames have the short way. */
void bridged_shorten(struct bridged *bridged, const struct mac_addr *mac, int port_ifindex);
void bridged_remove(struct bridged *bridged, const struct mac_addr *mac);
/* Removes all machines that are not at one of @ports. */
void bridged_keep(struct bridged *bridged, const struct plane_port *ports, size_t len);

/* Follows what happens in the host's namespace, and mends. @on_mtu (may be NULL): bridged_mtu() is another. 0 or -errno. */
int bridged_watch(struct bridged *bridged, struct loop *loop, void (*on_mtu)(void *context),
                  void *context);

/* While somebody looks at the network's bridge, which sees all frames then: none has the short way. */
void bridged_be_looked_at(struct bridged *bridged, bool looked_at);

/* Takes back what is in the host's namespace. */
void bridged_leave(struct bridged *bridged);
/* What is there stays, for the next process. */
void bridged_free(struct bridged *bridged);

/*
 * Removes filters and hooks whose network is gone, of any network and from any interface of the caller's namespace: what stays
 * where nobody was left to clean up. Returns their number or -errno.
 */
int bridged_clean(void);

#endif
