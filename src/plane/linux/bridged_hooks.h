/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What filters of traffic control do at an interface (bridged_wire.h), done by nftables' hooks there: where another
 * program's filters end the matter before ours, and where machines are to have the interface's MAC (bridged_macnat.h).
 *
 * A table of the netdev family, which has the name of the link to the network. It has two chains at the interface, and
 * their names have its index. So a start finds tables whose network is gone, and whose interface is taken.
 */
#ifndef OPENVMNET_PLANE_LINUX_BRIDGED_HOOKS_H
#define OPENVMNET_PLANE_LINUX_BRIDGED_HOOKS_H

#include "base/err.h"
#include "plane/linux/bridged_wire.h"

/* The table, as it has to be for @wire's interface, link and machines. -EOPNOTSUPP with nftables' words. */
int hooks_set(struct wire *wire, struct err *err);
/* The same for machines alone, of a table that is there. */
int hooks_set_machines(struct wire *wire, struct err *err);
void hooks_clear(struct wire *wire);
/* Whether the table is there. */
bool hooks_found(struct wire *wire);

/* The link of another network that lives and has a table at the interface; "" where there is none. */
void hooks_find_other(struct wire *wire, char ret_leg[16]);
/* Removes tables of networks that are gone. Their number or -errno. */
int hooks_clear_dead(struct netlink *host, struct nft_ctx *nft);

#endif
