/* SPDX-License-Identifier: Apache-2.0 */
/* What others on this host have that a network of the system plane needs for itself. It is refused then, and they are named. */
#ifndef OPENVMNET_PLANE_LINUX_CONFLICTS_H
#define OPENVMNET_PLANE_LINUX_CONFLICTS_H

#include "base/err.h"
#include "base/netconfig.h"
#include "plane/linux/netlink.h"

/*
 * The network's addresses are the host's: they must not be anybody else's there. -EADDRINUSE with the route by which they
 * are, but for those over @own, the network's bridge (0: there is none yet).
 */
int conflicts_check_routes(const struct net_config *config, unsigned own, struct netlink *netlink,
                           struct err *err);
/*
 * The gateway's port for DNS, which another program may have of all addresses: dnsmasq would end and be started again
 * for ever. When it has the address.
 */
int conflicts_check_dns(const struct net_config *config, struct err *err);

#endif
