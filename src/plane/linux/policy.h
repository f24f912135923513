/* SPDX-License-Identifier: Apache-2.0 */
/* The rules for packets that a network routes, in nftables' words. */
#ifndef OPENVMNET_PLANE_LINUX_POLICY_H
#define OPENVMNET_PLANE_LINUX_POLICY_H

#include <stdio.h>

#include "base/netconfig.h"

/* Packet marks, and the routing tables of the same numbers. See policy.c for what they mean. */
enum {
    POLICY_MARK_LOCAL = 1,
    POLICY_MARK_UPLINK = 2, /* of worker 0; that of worker N is N more */
};

/* Ports of a worker's transparent listeners. */
struct policy_ports {
    unsigned port4, port6; /* port6 is 0 without IPv6 */
};

/* Writes them. @ports of config->workers workers; @uplink is the name of their devices without its number. */
void policy_write(FILE *file, const struct net_config *config, const char *bridge,
                  const char *uplink, const struct policy_ports *ports);

#endif
