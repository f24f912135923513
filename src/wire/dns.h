/* SPDX-License-Identifier: Apache-2.0 */
/* DNS messages (RFC 1035 4), as much of them as one needs who passes them on. */
#ifndef OPENVMNET_WIRE_DNS_H
#define OPENVMNET_WIRE_DNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_DNS_HEADER_BYTES 12
#define WIRE_DNS_NAME_MAX 255 /* encoded; as text it is shorter */
#define WIRE_DNS_EMPTY_MAX (WIRE_DNS_HEADER_BYTES + WIRE_DNS_NAME_MAX + 4)

/* RFC 1035 4.1.1 */
enum wire_dns_code {
    WIRE_DNS_NOERROR = 0,
    WIRE_DNS_SERVFAIL = 2,
    WIRE_DNS_NOTIMP = 4,
    WIRE_DNS_REFUSED = 5,
};

/* RFC 1035 3.2.2, RFC 4034 */
enum wire_dns_type {
    WIRE_DNS_NS = 2,
    WIRE_DNS_SOA = 6,
    WIRE_DNS_DS = 43,
    WIRE_DNS_DNSKEY = 48,
};

struct wire_dns_question {
    /* Labels with a dot between, in small letters; what is not printable ASCII is a '?'. "": the root. */
    char name[WIRE_DNS_NAME_MAX + 1];
    unsigned labels;
    uint16_t type;
    size_t len_bytes; /* of the question section, which follows the header */
};

/* Reads a query that asks exactly one thing. False where it is none. */
bool wire_dns_parse_query(const uint8_t *message, size_t len_bytes,
                          struct wire_dns_question *ret_question);
/*
 * Whether @answer is one to @query, a message that wire_dns_parse_query() has taken: the same id and the same
 * question (RFC 5452 9.1). An answer that only says an error may leave the question out.
 */
bool wire_dns_is_answer(const uint8_t *query, const struct wire_dns_question *question,
                        const uint8_t *answer, size_t len_bytes);
/* Of a message that wire_dns_is_answer() has taken. */
enum wire_dns_code wire_dns_answer_code(const uint8_t *answer);
/* Writes an answer to @query with no records in it. Returns its length. */
size_t wire_dns_build_empty(const uint8_t *query, const struct wire_dns_question *question,
                            enum wire_dns_code code, uint8_t ret_answer[WIRE_DNS_EMPTY_MAX]);

#endif
