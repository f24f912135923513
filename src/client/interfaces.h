/* SPDX-License-Identifier: Apache-2.0 */
/* The host's network interfaces; base/bridging.h says how a bridged network could stand on each. */
#ifndef OPENVMNET_CLIENT_INTERFACES_H
#define OPENVMNET_CLIENT_INTERFACES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/addr.h"
#include "base/err.h"
#include "base/netspec.h"

#define INTERFACE_NAME_MAX 16 /* IFNAMSIZ */

struct interface {
    unsigned index;
    char name[INTERFACE_NAME_MAX];
    char kind[24]; /* "wired", "wireless", or the system's word for a device that is made by it */
    char master[INTERFACE_NAME_MAX]; /* the bridge or bond that it is a part of; or "" */
    struct mac_addr mac;
    bool ethernet, loopback, wireless;
    bool up, carrier;
    bool is_default;     /* a default route leads there */
    char by[16];         /* the way that a bridged network on it says that it has; or "" */
    unsigned speed_mbps; /* 0: not known */
    char network[NET_NAME_MAX + 1]; /* of ours, whose link it is; or "" */
    /* What Open vSwitch says of it, where it does (struct bridging_facts). */
    bool ovs_asked, ovs_closed, ovs;
    char ovs_bridge[64];
};

/* All of the calling process's network namespace, by index; the caller's, to be freed. 0 or -errno. */
int interfaces_list(struct interface **ret_interfaces, size_t *ret_len, struct err *err);

#endif
