/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The system plane: what a network is in the host's own namespace beside its ports. A bridge with the gateway's
 * address, a table of rules, and settings of the interfaces that lead out, all of which outlive their processes and so
 * have to be removed. It needs CAP_NET_ADMIN, CAP_NET_RAW and CAP_NET_BIND_SERVICE, and no more.
 */
#ifndef OPENVMNET_PLANE_LINUX_SYSTEM_H
#define OPENVMNET_PLANE_LINUX_SYSTEM_H

#include "base/err.h"
#include "base/loop.h"
#include "plane/linux/netlink.h"
#include "plane/linux/place.h"
#include "plane/linux/ruleset.h"
#include "plane/plane.h"

struct system;

/*
 * Makes the network, after what one of the same name has left that ended without removing it; ports that are still
 * held become its ports. Refused where its addresses have some in common with a route of the host, or where its bridge's
 * name is somebody else's. Opens the namespace and the DNS sockets of @handles. @place, @netlink and @nft are borrowed, for good. 0, or
 * -errno with the reason, and then nothing stays.
 */
int system_create(const struct place *place, struct netlink *netlink, struct nft_ctx *nft,
                  struct plane_handles *handles, struct system **ret_system, struct err *err);
/* Takes over the network from a process that has ended; it stands as that left it. */
int system_join(const struct place *place, struct netlink *netlink, struct nft_ctx *nft,
                const struct plane_handles *handles, struct system **ret_system, struct err *err);
/*
 * From now on follows the host's routes, and mends what others have changed. Calls, from @loop, @on_warning when
 * system_warning() is another, and @on_bridge when the bridge is another: who listens there has to do so anew. 0, or
 * -errno with the reason.
 */
int system_run(struct system *system, struct loop *loop, void (*on_warning)(void *context),
               void (*on_bridge)(void *context), void *context, struct err *err);
/* What the administrator should know and do, or "". */
const char *system_warning(const struct system *system);
/* A port is no interface of the host's for itself: it gets no IPv6 address. Before it is up. 0 or -errno. */
int system_prepare_port(const char *interface, struct err *err);
/* The port on 127.0.0.1 at which the engine answers dnsmasq. */
unsigned system_dns_port(const struct system *system);
/* See plane_set_forwards(). */
void system_set_forwards(struct system *system, const struct plane_forward *forwards, size_t len);
/* Removes what system_create() has made, and puts the host's settings back. */
void system_destroy(struct system *system);
void system_free(struct system *system);

#endif
