/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two looks at the networks, as one list of ports with what passes there in a second.
 *
 * A look is an array of replies to Status. Ports and networks come and go between two of them, and a name
 * may come back as something else: a port is the same where its network's first process, its interface and
 * its MAC are. What is not the same, and a counter that went backwards, has a rate of 0. Does no I/O.
 */
#ifndef OPENVMNET_CLI_RATES_H
#define OPENVMNET_CLI_RATES_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

enum rates_order {
    RATES_BY_NAME, /* network, then interface */
    RATES_BY_UP,
    RATES_BY_DOWN,
    RATES_BY_DROPS,
};

struct rates_port {
    const json_t *port; /* the Port of the later look, as long as that lives */
    const char *network;
    uint64_t up_bytes, down_bytes;    /* since the port is there */
    uint64_t up_s, down_s, packets_s; /* bytes and packets in a second; up is from the guest */
    uint64_t drops;                   /* of all reasons, since the port is there */
};

struct rates {
    struct rates_port *ports;
    size_t len;
    size_t networks;
    uint64_t up_s, down_s, packets_s, drops; /* of all ports */
    uint64_t tcp_open, udp_open, forward_open;
};

/* @before may be NULL: then all rates are 0. 0 or -ENOMEM. The caller ends with rates_done(). */
int rates_compute(const json_t *before, const json_t *after, uint64_t interval_ms,
                  struct rates *ret_rates);
void rates_done(struct rates *rates);

/* The largest first, those that are equal by name; interfaces by their numbers: tap2 before tap10. */
void rates_sort(struct rates *rates, enum rates_order order);

/* All drops of a port of Status: those by reason, and what the guest did not take. */
uint64_t rates_drops(const json_t *port);
/* A counter's value; 0 where it is missing, no number or negative. */
uint64_t rates_number(const json_t *object, const char *key);

#endif
