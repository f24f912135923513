/* SPDX-License-Identifier: Apache-2.0 */
/* What is in the namespace of a network before it has a port: links, addresses, routes, rules, settings. */
#ifndef OPENVMNET_PLANE_LINUX_SETUP_H
#define OPENVMNET_PLANE_LINUX_SETUP_H

#include "base/err.h"
#include "base/netconfig.h"
#include "plane/linux/netlink.h"
#include "plane/linux/ruleset.h"
#include "plane/plane.h"

#define SETUP_BRIDGE "br0"
#define SETUP_UPLINK "up" /* and the number of its worker */

/*
 * Fills the namespace that the caller is in, which must be new. Opens the descriptors of @handles but for
 * those of the namespaces; they are the caller's, also on failure. 0, or -errno with the reason.
 */
int setup_namespace(const struct net_config *config, struct netlink *netlink, struct nft_ctx *nft,
                    struct plane_handles *handles, struct err *err);

/* A socket that may have any address as its own, not blocking; IPv6 without IPv4. -1 with errno. */
int setup_open_transparent(int family, int type);

#endif
