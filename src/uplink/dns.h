/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Carries what the network's DNS server does not know to the host's resolvers, over UDP and TCP, and the
 * answers back. Which resolvers these are stands in resolv.conf(5); a change there counts from the next query on.
 * docs/decisions/0017-names-and-a-host-that-changes.md says what happens when one of them does not answer.
 */
#ifndef OPENVMNET_UPLINK_DNS_H
#define OPENVMNET_UPLINK_DNS_H

#include "base/loop.h"
#include "uplink/uplink.h"

struct dns;

/* Everything is borrowed. */
struct dns_config {
    const struct net_config *net;
    int udp_fd, tcp_fd;      /* sockets inside the network: queries arrive there; -1: nobody asks */
    const char *resolv_conf; /* a path: RESOLV_CONF_PATH but for tests */
    struct uplink_counters *counters;
    /* What resolv.conf says has changed. Not called from within dns_new(). */
    void (*on_change)(void *context);
    void *context;
};

/* 0 or -errno. */
int dns_new(struct loop *loop, const struct dns_config *config, struct dns **ret_dns);
void dns_free(struct dns *dns);

/* resolv.conf may have changed, or the host's network may have: resolvers that failed before get another chance. */
void dns_look_again(struct dns *dns);
/* The host's search domains, as in struct resolv_conf. */
const char *dns_search(const struct dns *dns);

#endif
