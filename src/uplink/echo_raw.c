/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Echo over raw sockets, where root starts a network on a host that allows nobody ping sockets.
 *
 * Such a socket sees every message of the types that its filter lets through (raw_linux.c), whoever it was
 * meant for: replies are taken by id and address, and errors by the request that they quote. What quotes
 * an id of ours but a destination that was not asked, or a source that is not the host, is forged.
 */
#include <errno.h>

#include "uplink/echo.h"

static struct echo_mapping *raw_find(struct echo *echo, uint16_t id)
{
    unsigned slot = (unsigned)id - ECHO_RAW_ID_BASE;

    if (slot < echo->len && echo->slots[slot].used && echo->slots[slot].socket.source.fd < 0)
        return &echo->slots[slot];
    return NULL;
}

static bool is_ours(const struct echo *echo, uint16_t id)
{
    return (unsigned)id - ECHO_RAW_ID_BASE < echo->worker->config.limits.echo_mappings;
}

static uint32_t info_of(bool ipv4, const uint8_t *header)
{
    uint32_t rest = (uint32_t)header[4] << 24 | (uint32_t)header[5] << 16 |
                    (uint32_t)(header[6] << 8 | header[7]);

    if (!ipv4)
        return rest;
    /* RFC 1191 4: the MTU has the lower 16 bits; RFC 792: the pointer has the upper 8. */
    return header[0] == ICMP4_PARAMETER ? rest >> 24 : rest & 0xffff;
}

static void raw_take_error(struct echo *echo, bool ipv4, struct echo_message *message)
{
    struct host_error error = {
        .type = message->data[0],
        .code = message->data[1],
        .info = info_of(ipv4, message->data),
        .from = message->from,
    };
    struct echo_mapping *mapping;
    struct wire_packet quoted;

    if (wire_parse_quoted(message->data + ECHO_HEADER_BYTES, message->len_bytes - ECHO_HEADER_BYTES,
                          &quoted) != WIRE_PARSE_OK ||
        quoted.src.family != (ipv4 ? AF_INET : AF_INET6) ||
        quoted.protocol != (ipv4 ? WIRE_PROTO_ICMP : WIRE_PROTO_ICMPV6) ||
        quoted.icmp_type != (ipv4 ? ICMP4_ECHO_REQUEST : ICMP6_ECHO_REQUEST) ||
        !is_ours(echo, quoted.echo_id))
        return; /* about something that another program has sent */
    mapping = raw_find(echo, quoted.echo_id);
    if (!mapping || !echo_mapping_asked(mapping, &quoted.dst) ||
        !host_view_owns(echo->worker->host, &quoted.src)) {
        COUNT(echo->worker->config.counters, drop_icmp_forged);
        return;
    }
    echo_mapping_report(mapping, &quoted.dst, message->data + (quoted.l4 - message->data),
                        quoted.l4_len_bytes, &error);
}

static void raw_take(struct echo *echo, bool ipv4, struct echo_message *message)
{
    struct echo_mapping *mapping;

    if (ipv4) {
        /* Raw IPv4 sockets give the IP header too (raw(7)), raw IPv6 ones do not (RFC 3542 3). */
        size_t header_bytes = message->len_bytes > 0 ? (size_t)(message->data[0] & 15) * 4 : 0;

        if (message->len_bytes < header_bytes + ECHO_HEADER_BYTES || header_bytes < 20)
            return;
        message->tos = message->data[1];
        message->ttl = message->data[8];
        message->data += header_bytes;
        message->len_bytes -= header_bytes;
        /* They get a message before the kernel has looked at its checksum. */
        if (wire_checksum_fold(wire_checksum_add(0, message->data, message->len_bytes)) != 0)
            return;
    }
    if (message->len_bytes < ECHO_HEADER_BYTES)
        return;
    if (message->data[0] != (ipv4 ? ICMP4_ECHO_REPLY : ICMP6_ECHO_REPLY)) {
        raw_take_error(echo, ipv4, message);
        return;
    }
    mapping = raw_find(echo, (uint16_t)(message->data[4] << 8 | message->data[5]));
    if (mapping && echo_mapping_asked(mapping, &message->from))
        echo_mapping_answer(mapping, message);
}

static void on_raw(struct echo *echo, bool ipv4)
{
    struct echo_message message;

    for (int i = 0; i < ECHO_MESSAGES_A_TURN; i++) {
        int result = echo_receive(echo, echo->raw[!ipv4].source.fd, &message);

        if (result == -EAGAIN)
            return;
        if (result == 0)
            raw_take(echo, ipv4, &message);
    }
}

static void on_raw4(struct loop_source *source, unsigned events)
{
    on_raw(CONTAINER_OF(source, struct echo, raw[0].source), true);
}

static void on_raw6(struct loop_source *source, unsigned events)
{
    on_raw(CONTAINER_OF(source, struct echo, raw[1].source), false);
}

int echo_raw_start(struct echo *echo, const int fd[2])
{
    int result = 0;

    for (int i = 0; i < 2; i++)
        echo->raw[i].source =
            (struct loop_source){.on_event = i == 0 ? on_raw4 : on_raw6, .fd = -1};
    for (int i = 0; i < 2 && result == 0; i++) {
        if (fd[i] < 0)
            continue;
        echo_socket_options(fd[i], i == 0 ? AF_INET : AF_INET6);
        result = loop_add(echo->worker->loop, &echo->raw[i].source, fd[i], LOOP_IN);
    }
    return result;
}
