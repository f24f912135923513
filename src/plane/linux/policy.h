/* SPDX-License-Identifier: Apache-2.0 */
/* The rules for packets that a network routes, loaded as one batch: all of it or nothing. */
#ifndef OPENVMNET_PLANE_LINUX_POLICY_H
#define OPENVMNET_PLANE_LINUX_POLICY_H

#include "base/err.h"
#include "base/netconfig.h"
#include "plane/linux/ruleset.h"

/* Packet marks, and the routing tables of the same numbers. See policy.c for what they mean. */
enum {
    POLICY_MARK_LOCAL = 1,
    POLICY_MARK_UPLINK = 2,
};

/* Ports of the transparent listeners; @port6 is 0 without IPv6. Replaces what an earlier call loaded. */
int policy_load(struct nft_ctx *nft, const struct net_config *config, const char *bridge,
                const char *uplink, unsigned port4, unsigned port6, struct err *err);

#endif
