/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bridged network, by whichever way its interface takes (base/bridging.h): what there is beside ports and guard.
 *
 *   wired    a switch in a namespace of its own, joined to the interface (bridged.h); MAC-NAT is the same
 *   bridge   nothing: ports join that bridge, in the host's namespace. The guard looks at them alone (bridged_bridge.h)
 *   openvswitch   in a namespace of its own each port has a way to that bridge (bridged_ovs.h)
 */
#ifndef OPENVMNET_PLANE_LINUX_BRIDGED_NET_H
#define OPENVMNET_PLANE_LINUX_BRIDGED_NET_H

#include "base/err.h"
#include "base/loop.h"
#include "plane/linux/netlink.h"
#include "plane/linux/place.h"
#include "plane/linux/ruleset.h"
#include "plane/plane.h"

struct bridged_net;

/*
 * In the host's namespace: looks at the interface, opens what has to be open there, and says where the network's objects
 * are. Removes what networks have left at interfaces that ended without doing so. -errno with the reason.
 */
int bridged_net_find(const struct net_config *config, struct place *ret_place,
                     struct bridged_net **ret_net, struct err *err);

/*
 * In the network's place. @place, @netlink and @nft are borrowed, for good. With @fresh all is made; else it is taken
 * over from a process that has ended. 0, or -errno with the reason, and then nothing stays.
 */
int bridged_net_start(struct bridged_net *net, const struct place *place, struct netlink *netlink,
                      struct nft_ctx *nft, bool fresh, struct err *err);
/* Follows what happens to the interface. @on_change: bridged_net_warning() or bridged_net_mtu() is another. 0 or -errno. */
int bridged_net_run(struct bridged_net *net, struct loop *loop, void (*on_change)(void *context),
                    void *context);
/* What an administrator should know, or "". */
const char *bridged_net_warning(const struct bridged_net *net);
/* The interface's now, or what was asked for where that is less: what machines are told. */
unsigned bridged_net_mtu(const struct bridged_net *net);
/* What a port has to have to come; on a bridge of the host's it may be more (bridged_bridge.h). */
unsigned bridged_net_port_mtu(const struct bridged_net *net);
/* The index of the bridge that @port joins, after this: before a port joins it. 0 or -errno with the reason. */
int bridged_net_prepare_port(struct bridged_net *net, const struct plane_port *port,
                             struct err *err);
int bridged_net_bridge(const struct bridged_net *net, const struct plane_port *port);
/* A port that is in the guard and at the bridge. 0 or -errno with the reason. */
int bridged_net_add_port(struct bridged_net *net, const struct plane_port *port, struct err *err);
void bridged_net_remove_port(struct bridged_net *net, const struct plane_port *port);
/* Where it was not told what has happened to links: @ports are those that are left. Who looks at the bridge is asked anew. */
void bridged_net_keep_ports(struct bridged_net *net, const struct plane_port *ports, size_t len);
/* What the kernel says of a link in the network's place (RTM_NEWLINK). */
void bridged_net_on_link(struct bridged_net *net, const struct nlmsghdr *header);
/* Removes what was made, but for ports and namespaces. */
void bridged_net_destroy(struct bridged_net *net);
void bridged_net_free(struct bridged_net *net);

#endif
