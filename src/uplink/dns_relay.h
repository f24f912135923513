/* SPDX-License-Identifier: Apache-2.0 */
/* What the two ways of a DNS query, dns.c (UDP) and dns_tcp.c, have in common. Only for them. */
#ifndef OPENVMNET_UPLINK_DNS_RELAY_H
#define OPENVMNET_UPLINK_DNS_RELAY_H

#include "base/table.h"
#include "uplink/dns.h"
#include "uplink/resolvers.h"
#include "wire/dns.h"

#define DNS_MESSAGE_MAX 65535

struct dns_tcp;

struct dns {
    struct loop *loop;
    struct dns_config config;
    struct resolvers resolvers;
    struct loop_source udp_source;
    struct loop_timer timer;
    struct list queries; /* oldest first */
    unsigned queries_len;
    struct dns_tcp *tcp;
    uint8_t buffer[DNS_MESSAGE_MAX];
};

/* Which resolver a question is with. */
struct dns_attempt {
    unsigned generation, tried; /* a set, of resolvers->generation */
    int resolver;
    enum wire_dns_code code; /* of the last answer that was no help */
};

/* Begins anew, with the resolvers as they are now. */
void dns_attempt_init(struct dns *dns, struct dns_attempt *attempt);
/* Goes on to the next resolver. Its address, or NULL where all have been asked. */
const struct sockaddr_storage *dns_attempt_next(struct dns *dns, struct dns_attempt *attempt);
bool dns_attempt_left(const struct dns *dns, const struct dns_attempt *attempt);
/* The one that was asked is silent, or there is nobody. */
void dns_attempt_failed(struct dns *dns, const struct dns_attempt *attempt);
/* It has said something. False: it is broken, or does not serve us, and another one may. */
bool dns_attempt_answered(struct dns *dns, struct dns_attempt *attempt, const uint8_t *answer);
/* For how long the one that was asked may be silent before the next is. */
unsigned dns_attempt_patience_ms(const struct dns *dns, const struct dns_attempt *attempt);

int dns_tcp_new(struct dns *dns, int listen_fd, struct dns_tcp **ret_tcp);
void dns_tcp_free(struct dns_tcp *tcp);

#endif
