/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two DNS messages, the first behind its length (two bytes, big endian): what is taken for a query, and an answer to
 * it of anything. What is built as an answer must be one.
 */
#include "fuzz.h"
#include "uplink/dns_names.h"

/* A network whose names do not leave it. */
static const struct net_config net = {
    .gateway = 0xc0a84001,
    .prefix_len = 24,
    .prefix6 = {.family = AF_INET6, .bytes = {0xfd, 0x12}},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
    uint8_t empty[WIRE_DNS_EMPTY_MAX], *query;
    struct wire_dns_question question;
    size_t query_bytes, built;

    if (len_bytes < 2)
        return 0;
    query_bytes = (size_t)data[0] << 8 | data[1];
    data += 2;
    len_bytes -= 2;
    if (query_bytes > len_bytes)
        query_bytes = len_bytes;
    query = malloc(query_bytes ? query_bytes
                               : 1); /* of its own, so that reading behind it is noticed */
    REQUIRE(query);
    memcpy(query, data, query_bytes);
    if (wire_dns_parse_query(query, query_bytes, &question)) {
        REQUIRE(strlen(question.name) < WIRE_DNS_NAME_MAX);
        dns_is_inside(&net, &question);
        REQUIRE(WIRE_DNS_HEADER_BYTES + question.len_bytes <= query_bytes);
        wire_dns_is_answer(query, &question, data + query_bytes, len_bytes - query_bytes);
        built = wire_dns_build_empty(query, &question, WIRE_DNS_NOERROR, empty);
        REQUIRE(wire_dns_is_answer(query, &question, empty, built));
        REQUIRE(wire_dns_answer_code(empty) == WIRE_DNS_NOERROR);
    }
    free(query);
    return 0;
}
