/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Machines on an Open vSwitch bridge of the host's: each has a port there, with what controllers know machines by in its
 * external_ids (ovs-vswitchd.conf.db(5)): iface-id, attached-mac, iface-status, vm-id; and openvmnet-network, which says that
 * it is this network's.
 *
 * What is to be there follows from the machines that are in the network's namespace, and what is there stands in the
 * database, so nothing is remembered: whenever either has changed they are compared and made the same. While Open
 * vSwitch is away that waits.
 */
#ifndef OPENVMNET_PLANE_LINUX_BRIDGED_OVS_H
#define OPENVMNET_PLANE_LINUX_BRIDGED_OVS_H

#include "base/err.h"
#include "base/loop.h"
#include "plane/linux/bridged_link.h"
#include "plane/linux/netlink.h"
#include "plane/linux/place.h"
#include "plane/plane.h"

struct bridged_ovs;

/*
 * In the host's namespace, whose bridge @link is. Where the database does not answer that is told, and what needs it waits.
 * @network is borrowed, for good. 0, or -errno with the reason.
 */
int bridged_ovs_open(const struct bridged_link *link, const char *network,
                     struct bridged_ovs **ret_ovs, struct err *err);
/*
 * In the network's. @place and @inside, a socket there, are borrowed, for good. A @fresh network removes first what one of its name has
 * left, and is refused where the database does not answer.
 */
int bridged_ovs_join(struct bridged_ovs *ovs, const struct place *place, struct netlink *inside,
                     bool fresh, struct err *err);
/* Before a port is at its own bridge (bridged_ovs_legs.h), and when it is. 0 or -errno with the reason. */
int bridged_ovs_prepare(struct bridged_ovs *ovs, const struct plane_port *port, struct err *err);
int bridged_ovs_add(struct bridged_ovs *ovs, const struct plane_port *port, struct err *err);
void bridged_ovs_remove(struct bridged_ovs *ovs, const struct plane_port *port);
/* Follows what happens, and mends. @on_warning: bridged_ovs_warning() is another. */
int bridged_ovs_watch(struct bridged_ovs *ovs, struct loop *loop, void (*on_warning)(void *context),
                      void *context);
/* What the administrator should know and do, or "". */
const char *bridged_ovs_warning(const struct bridged_ovs *ovs);
/* Removes what is in the host's namespace and in the database. */
void bridged_ovs_leave(struct bridged_ovs *ovs);
/* What is there stays, for the next process. */
void bridged_ovs_free(struct bridged_ovs *ovs);

#endif
