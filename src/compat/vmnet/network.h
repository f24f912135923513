/* SPDX-License-Identifier: Apache-2.0 */
/* Network objects and their configurations, as network.c and configuration.c know them. */
#ifndef OPENVMNET_COMPAT_VMNET_NETWORK_H
#define OPENVMNET_COMPAT_VMNET_NETWORK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <vmnet/vmnet.h>

#include "compat/vmnet/rule.h"

#define RULES_MAX 128 /* of one configuration */
#define RESERVATIONS_MAX 64
#define RESERVATION_TEXT_MAX 48

enum wanted {
    NO_NAT44 = 1,
    NO_NAT66 = 2,
    NO_DHCP = 4,
    NO_DNS = 8,
    NO_RA = 16,
};

/* The head of both objects. */
struct object {
    atomic_uint refs;
    void (*free)(void *object);
};

struct vmnet_network_configuration {
    struct object object;
    vmnet_mode_t mode;
    unsigned wanted; /* enum wanted */
    unsigned mtu;
    bool has_subnet, has_prefix;
    struct in_addr subnet, mask;
    struct in6_addr prefix;
    char reservations[RESERVATIONS_MAX][RESERVATION_TEXT_MAX]; /* options, "dhcp-host=…" */
    unsigned reservations_len;
    struct rule *rules;
    unsigned rules_len;
};

/* What the caller of a function that returns an object wants to know, or not (NULL). */
static inline void set_status(vmnet_return_t *ret_status, vmnet_return_t status)
{
    if (ret_status)
        *ret_status = status;
}

#endif
