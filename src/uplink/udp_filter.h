/* SPDX-License-Identifier: Apache-2.0 */
/*
 * To whom a guest's port has sent, where only they may answer it (RFC 4787 5). A peer is a keyed hash of its
 * address, or of address and port: 64 bits that nobody outside can aim at.
 */
#ifndef OPENVMNET_UPLINK_UDP_FILTER_H
#define OPENVMNET_UPLINK_UDP_FILTER_H

#include <stdbool.h>
#include <stdint.h>

/* Of one port. One more takes the place of the one that came first, which may answer again once asked again. */
#define UDP_FILTER_PEERS_MAX 128

struct udp_filter {
    unsigned len, next; /* next: the one that gives way */
    uint64_t peers[UDP_FILTER_PEERS_MAX];
};

void udp_filter_add(struct udp_filter *filter, uint64_t peer);
bool udp_filter_has(const struct udp_filter *filter, uint64_t peer);

#endif
