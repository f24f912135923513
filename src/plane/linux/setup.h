/* SPDX-License-Identifier: Apache-2.0 */
/* What is in the namespace of a network before it has a port: links, addresses, routes, rules, settings. */
#ifndef OPENVMNET_PLANE_LINUX_SETUP_H
#define OPENVMNET_PLANE_LINUX_SETUP_H

#include "base/err.h"
#include "plane/linux/netlink.h"
#include "plane/linux/place.h"
#include "plane/linux/ruleset.h"
#include "plane/plane.h"

#define SETUP_UPLINK "up" /* and the number of its worker */

/*
 * Fills the namespace that the caller is in, which must be new. Opens the descriptors of @handles but for
 * those of the namespaces; they are the caller's, also on failure. 0, or -errno with the reason.
 */
int setup_namespace(const struct place *place, struct netlink *netlink, struct nft_ctx *nft,
                    struct plane_handles *handles, struct err *err);

/*
 * The two sockets on 127.0.0.1 at which the engine answers what dnsmasq does not know itself: UDP and TCP, of one
 * port. *port 0: any that is free, and is set then. 0 or -errno; what was opened is the caller's.
 */
int setup_dns_sockets(unsigned *port, int *ret_udp_fd, int *ret_tcp_fd);

/* A socket that may have any address as its own, not blocking; IPv6 without IPv4. -1 with errno. */
int setup_open_transparent(int family, int type);

/*
 * Writes a setting below /proc/sys/net. One that the kernel does not have (IPv6, br_netfilter) is passed over: there is
 * nothing to set then.
 */
int setup_sysctl(const char *name, const char *value, struct err *err);

#endif
