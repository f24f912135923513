/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What rules of nftables make of a packet, found by reading them. A rule may ask for what is not known here (marks,
 * matches of xtables, the time of day): then both is possible, and who wants to be sure looks whether only one is.
 */
#ifndef OPENVMNET_PLANE_LINUX_VERDICT_H
#define OPENVMNET_PLANE_LINUX_VERDICT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"

enum {
    VERDICT_ACCEPT = 1,
    VERDICT_DROP = 2,
};

/* The first of a flow, or with @established one of its answers. */
struct verdict_packet {
    int family;
    const char *iif, *oif; /* names; @oif "": to the host itself */
    const char *
        named; /* whoever drops what is of this interface by its name means it: that is no drop here */
    struct ip_addr from, to; /* family 0: none of those that rules name */
    uint8_t protocol;
    uint16_t to_port; /* 0: none of those that rules name */
    uint8_t to_type;  /* RTN_UNICAST, RTN_LOCAL, … */
    bool established, dnat;
};

/*
 * @table is an array of all objects of one table, as nft(8) lists them in JSON, @chain a base chain in it. The verdicts that
 * are possible, as bits; both also where the rules are too many to be sure.
 */
unsigned verdict_of_chain(const json_t *table, const json_t *chain,
                          const struct verdict_packet *packet);

#endif
