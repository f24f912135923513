/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading packets that a guest may have made up, and Internet checksums.
 *
 * All reads go through a cursor that knows how much is left: a header is used only after
 * cursor_take() gave it. Once the IP header is read the cursor is cut to the length it tells, so
 * nothing behind the packet, such as the padding of a short Ethernet frame, is ever looked at.
 */
#include "wire/packet.h"

#include <string.h>

#include "wire/format.h"

#define EXTENSIONS_MAX 8 /* headers a packet; honest ones have one or two */

struct cursor {
    const uint8_t *at;
    size_t left_bytes;
};

/* The next @len_bytes, or NULL where the packet ends before. */
static const void *cursor_take(struct cursor *cursor, size_t len_bytes)
{
    const uint8_t *taken = cursor->at;

    if (len_bytes > cursor->left_bytes)
        return NULL;
    cursor->at += len_bytes;
    cursor->left_bytes -= len_bytes;
    return taken;
}

const char *wire_parse_name(enum wire_parse_result result)
{
    static const char *const names[WIRE_PARSE_RESULTS] = {
        [WIRE_PARSE_OK] = "ok",
        [WIRE_PARSE_SHORT] = "short",
        [WIRE_PARSE_VERSION] = "version",
        [WIRE_PARSE_HEADER] = "header",
        [WIRE_PARSE_EXTENSION] = "extension",
        [WIRE_PARSE_CHECKSUM] = "checksum",
        [WIRE_PARSE_FRAGMENT] = "fragment",
    };

    return (unsigned)result < WIRE_PARSE_RESULTS ? names[result] : "unknown";
}

/*
 * Option lengths must add up. Loose and strict source routes are refused: the destination address
 * of such a packet is not where it wants to go, so no address rule would hold (RFC 7126 4.3,
 * 4.4).
 */
static enum wire_parse_result parse_ipv4_options(struct cursor options)
{
    enum {
        END = 0,
        NOP = 1,
        LOOSE_ROUTE = 131,
        STRICT_ROUTE = 137
    };

    for (;;) {
        const uint8_t *type = cursor_take(&options, 1), *len;

        if (!type || *type == END)
            return WIRE_PARSE_OK;
        if (*type == NOP)
            continue;
        if (*type == LOOSE_ROUTE || *type == STRICT_ROUTE)
            return WIRE_PARSE_HEADER;
        len = cursor_take(&options, 1);
        if (!len || *len < 2 || !cursor_take(&options, *len - 2u))
            return WIRE_PARSE_HEADER;
    }
}

/*
 * @whole_bytes is how long the reassembled packet would be at least, as its length field counts. A
 * piece without payload is refused too: it never makes a packet complete, it only costs.
 */
static enum wire_parse_result check_fragment(const struct wire_packet *packet, size_t whole_bytes)
{
    if (whole_bytes > WIRE_PACKET_MAX || packet->l4_len_bytes == 0 ||
        (packet->more_fragments && packet->l4_len_bytes % 8 != 0))
        return WIRE_PARSE_FRAGMENT;
    return WIRE_PARSE_OK;
}

static enum wire_parse_result parse_ipv4(struct wire_packet *packet, struct cursor cursor)
{
    const struct wire_ipv4 *ip = cursor_take(&cursor, sizeof(*ip));
    struct cursor options;
    size_t header_bytes;
    uint16_t fragment;

    if (!ip)
        return WIRE_PARSE_SHORT;
    header_bytes = (ip->version_ihl & 15u) * 4;
    packet->len_bytes = get16(ip->total_len);
    if (header_bytes < sizeof(*ip) || packet->len_bytes < header_bytes)
        return WIRE_PARSE_HEADER;
    if (packet->len_bytes > sizeof(*ip) + cursor.left_bytes)
        return WIRE_PARSE_SHORT;
    cursor.left_bytes = packet->len_bytes - sizeof(*ip);
    if (wire_checksum_fold(wire_checksum_add(0, ip, header_bytes)) != 0)
        return WIRE_PARSE_CHECKSUM;

    options.left_bytes = header_bytes - sizeof(*ip);
    options.at = cursor_take(&cursor, options.left_bytes);
    if (parse_ipv4_options(options) != WIRE_PARSE_OK)
        return WIRE_PARSE_HEADER;

    packet->src.family = packet->dst.family = AF_INET;
    memcpy(packet->src.bytes, ip->src, sizeof(ip->src));
    memcpy(packet->dst.bytes, ip->dst, sizeof(ip->dst));
    packet->protocol = ip->protocol;
    packet->ttl = ip->ttl;
    packet->tos = ip->tos;
    packet->l4 = cursor.at;
    packet->l4_len_bytes = cursor.left_bytes;

    fragment = get16(ip->fragment);
    packet->dont_fragment = fragment & WIRE_IPV4_DF;
    if (!(fragment & (WIRE_IPV4_MF | WIRE_IPV4_OFFSET)))
        return WIRE_PARSE_OK;
    packet->is_fragment = true;
    packet->more_fragments = fragment & WIRE_IPV4_MF;
    packet->fragment_offset_bytes = (uint16_t)((fragment & WIRE_IPV4_OFFSET) * 8);
    packet->fragment_id = get16(ip->id);
    return check_fragment(packet,
                          header_bytes + packet->fragment_offset_bytes + packet->l4_len_bytes);
}

/*
 * Hop-by-hop and destination options, RFC 8200 4.2. We recognise none but the paddings; the two
 * upper bits of a type say whether one who does not may pass over it. That also refuses
 * jumbograms and Mobile IPv6 home addresses.
 */
static enum wire_parse_result parse_ipv6_options(struct cursor options)
{
    enum {
        PAD1 = 0,
        MUST_RECOGNISE = 0xc0
    };

    for (;;) {
        const uint8_t *type = cursor_take(&options, 1), *len;

        if (!type)
            return WIRE_PARSE_OK;
        if (*type == PAD1)
            continue;
        len = cursor_take(&options, 1);
        if (!len || !cursor_take(&options, *len))
            return WIRE_PARSE_HEADER;
        if (*type & MUST_RECOGNISE)
            return WIRE_PARSE_EXTENSION;
    }
}

/* Takes a hop-by-hop, routing or destination options header of @type and tells what comes next. */
static enum wire_parse_result parse_extension(struct cursor *cursor, uint8_t type,
                                              uint8_t *ret_next)
{
    const uint8_t *head = cursor_take(cursor, 8);
    struct cursor options;

    if (!head || !cursor_take(cursor, head[1] * 8u))
        return WIRE_PARSE_SHORT;
    *ret_next = head[0];
    if (type == WIRE_EXT_ROUTING) /* byte 3: segments left */
        return head[3] == 0 ? WIRE_PARSE_OK : WIRE_PARSE_EXTENSION;
    options = (struct cursor){head + 2, 6 + head[1] * 8u};
    return parse_ipv6_options(options);
}

/* Walks from the header @type to the payload, or to the piece of it that a fragment carries. */
static enum wire_parse_result parse_extensions(struct wire_packet *packet, uint8_t type,
                                               struct cursor *cursor)
{
    bool fragment_seen = false;

    for (unsigned count = 0;; count++) {
        enum wire_parse_result result = WIRE_PARSE_OK;
        const struct wire_ipv6_fragment *fragment;

        switch (type) {
        case WIRE_EXT_HOP_BY_HOP:
            if (count > 0) /* RFC 8200 4.1: it immediately follows the IPv6 header */
                return WIRE_PARSE_EXTENSION;
            result = parse_extension(cursor, type, &type);
            break;
        case WIRE_EXT_ROUTING:
        case WIRE_EXT_DESTINATION:
            if (count >= EXTENSIONS_MAX)
                return WIRE_PARSE_EXTENSION;
            result = parse_extension(cursor, type, &type);
            break;
        case WIRE_EXT_FRAGMENT:
            if (fragment_seen || count >= EXTENSIONS_MAX)
                return WIRE_PARSE_EXTENSION;
            fragment = cursor_take(cursor, sizeof(*fragment));
            if (!fragment)
                return WIRE_PARSE_SHORT;
            fragment_seen = true;
            type = fragment->next_header;
            packet->more_fragments = fragment->offset_more[1] & WIRE_IPV6_MORE;
            packet->fragment_offset_bytes = get16(fragment->offset_more) & 0xfff8;
            packet->is_fragment = packet->more_fragments || packet->fragment_offset_bytes;
            if (!packet->is_fragment)
                break; /* RFC 6946: an atomic fragment is a whole packet */
            packet->fragment_id = get32(fragment->id);
            packet->protocol = type;
            /* Neither may begin what is reassembled, where it would pass for the first header. */
            if (type == WIRE_EXT_HOP_BY_HOP || type == WIRE_EXT_FRAGMENT)
                return WIRE_PARSE_EXTENSION;
            return WIRE_PARSE_OK;
        case WIRE_EXT_AUTHENTICATION:
        case WIRE_EXT_MOBILITY:
        case WIRE_EXT_HIP:
        case WIRE_EXT_SHIM6: return WIRE_PARSE_EXTENSION;
        default: packet->protocol = type; return WIRE_PARSE_OK;
        }
        if (result != WIRE_PARSE_OK)
            return result;
    }
}

static enum wire_parse_result parse_ipv6(struct wire_packet *packet, struct cursor cursor)
{
    const struct wire_ipv6 *ip = cursor_take(&cursor, sizeof(*ip));
    enum wire_parse_result result;
    size_t payload_bytes;

    if (!ip)
        return WIRE_PARSE_SHORT;
    payload_bytes = get16(ip->payload_len);
    if (payload_bytes > cursor.left_bytes)
        return WIRE_PARSE_SHORT;
    cursor.left_bytes = payload_bytes;
    packet->len_bytes = sizeof(*ip) + payload_bytes;
    packet->src.family = packet->dst.family = AF_INET6;
    memcpy(packet->src.bytes, ip->src, sizeof(ip->src));
    memcpy(packet->dst.bytes, ip->dst, sizeof(ip->dst));
    packet->ttl = ip->hop_limit;
    packet->tos = (uint8_t)(get16(ip->version_class_flow) >> 4);
    packet->dont_fragment = true;

    result = parse_extensions(packet, ip->next_header, &cursor);
    if (result != WIRE_PARSE_OK)
        return result;
    packet->l4 = cursor.at;
    packet->l4_len_bytes = cursor.left_bytes;
    if (packet->is_fragment)
        return check_fragment(packet, packet->fragment_offset_bytes + packet->l4_len_bytes);
    return WIRE_PARSE_OK;
}

static enum wire_parse_result parse_tcp(struct wire_packet *packet, struct cursor cursor)
{
    const struct wire_tcp *tcp = cursor_take(&cursor, sizeof(*tcp));
    size_t header_bytes;

    if (!tcp)
        return WIRE_PARSE_SHORT;
    header_bytes = (tcp->offset >> 4) * 4u;
    if (header_bytes < sizeof(*tcp))
        return WIRE_PARSE_HEADER;
    if (!cursor_take(&cursor, header_bytes - sizeof(*tcp)))
        return WIRE_PARSE_SHORT;
    packet->src_port = get16(tcp->src_port);
    packet->dst_port = get16(tcp->dst_port);
    packet->tcp_flags = tcp->flags;
    packet->tcp_seq = get32(tcp->seq);
    packet->tcp_ack = get32(tcp->ack);
    packet->payload = cursor.at;
    packet->payload_len_bytes = cursor.left_bytes;
    return WIRE_PARSE_OK;
}

static enum wire_parse_result parse_udp(struct wire_packet *packet, struct cursor cursor)
{
    const struct wire_udp *udp = cursor_take(&cursor, sizeof(*udp));
    size_t len_bytes;

    if (!udp)
        return WIRE_PARSE_SHORT;
    len_bytes = get16(udp->len);
    if (len_bytes < sizeof(*udp))
        return WIRE_PARSE_HEADER;
    if (len_bytes - sizeof(*udp) > cursor.left_bytes)
        return WIRE_PARSE_SHORT;
    packet->src_port = get16(udp->src_port);
    packet->dst_port = get16(udp->dst_port);
    packet->payload = cursor.at;
    packet->payload_len_bytes = len_bytes - sizeof(*udp);
    return WIRE_PARSE_OK;
}

static enum wire_parse_result parse_icmp(struct wire_packet *packet, struct cursor cursor)
{
    const struct wire_icmp *icmp = (const void *)cursor.at;

    if (cursor.left_bytes < offsetof(struct wire_icmp, rest))
        return WIRE_PARSE_SHORT;
    packet->icmp_type = icmp->type;
    packet->icmp_code = icmp->code;
    if (packet->protocol == WIRE_PROTO_ICMP
            ? icmp->type != WIRE_ICMP_ECHO && icmp->type != WIRE_ICMP_ECHO_REPLY
            : icmp->type != WIRE_ICMPV6_ECHO && icmp->type != WIRE_ICMPV6_ECHO_REPLY)
        return WIRE_PARSE_OK;
    if (!cursor_take(&cursor, sizeof(*icmp)))
        return WIRE_PARSE_SHORT;
    packet->echo_id = get16(icmp->rest);
    packet->echo_seq = get16(icmp->rest + 2);
    packet->payload = cursor.at;
    packet->payload_len_bytes = cursor.left_bytes;
    return WIRE_PARSE_OK;
}

/* ICMP belongs to IPv4 and ICMPv6 to IPv6; the other way round they are an unknown protocol. */
static bool is_icmp(const struct wire_packet *packet)
{
    return packet->protocol ==
           (packet->src.family == AF_INET ? WIRE_PROTO_ICMP : WIRE_PROTO_ICMPV6);
}

enum wire_parse_result wire_parse(const uint8_t *data, size_t len_bytes,
                                  struct wire_packet *ret_packet)
{
    struct cursor cursor = {data, len_bytes};
    enum wire_parse_result result;

    *ret_packet = (struct wire_packet){.data = data};
    if (len_bytes == 0)
        return WIRE_PARSE_SHORT;
    if (data[0] >> 4 == 4)
        result = parse_ipv4(ret_packet, cursor);
    else if (data[0] >> 4 == 6)
        result = parse_ipv6(ret_packet, cursor);
    else
        return WIRE_PARSE_VERSION;
    if (result != WIRE_PARSE_OK || ret_packet->is_fragment)
        return result;

    cursor = (struct cursor){ret_packet->l4, ret_packet->l4_len_bytes};
    if (ret_packet->protocol == WIRE_PROTO_TCP)
        return parse_tcp(ret_packet, cursor);
    if (ret_packet->protocol == WIRE_PROTO_UDP)
        return parse_udp(ret_packet, cursor);
    if (is_icmp(ret_packet))
        return parse_icmp(ret_packet, cursor);
    return WIRE_PARSE_OK;
}

/* Source, destination and what comes behind the IP header; the cursor stands there then. */
static enum wire_parse_result parse_quoted_ip(struct wire_packet *packet, struct cursor *cursor)
{
    const struct wire_ipv6_fragment *fragment;
    const struct wire_ipv4 *ip4;
    const struct wire_ipv6 *ip6;

    if (packet->data[0] >> 4 == 4) {
        ip4 = cursor_take(cursor, sizeof(*ip4));
        if (!ip4 || (ip4->version_ihl & 15u) * 4 < sizeof(*ip4) ||
            !cursor_take(cursor, (ip4->version_ihl & 15u) * 4 - sizeof(*ip4)))
            return WIRE_PARSE_SHORT;
        packet->src.family = packet->dst.family = AF_INET;
        memcpy(packet->src.bytes, ip4->src, sizeof(ip4->src));
        memcpy(packet->dst.bytes, ip4->dst, sizeof(ip4->dst));
        packet->protocol = ip4->protocol;
        packet->tos = ip4->tos;
        packet->ttl = ip4->ttl;
        packet->dont_fragment = get16(ip4->fragment) & WIRE_IPV4_DF;
        return get16(ip4->fragment) & WIRE_IPV4_OFFSET ? WIRE_PARSE_FRAGMENT : WIRE_PARSE_OK;
    }
    if (packet->data[0] >> 4 != 6)
        return WIRE_PARSE_VERSION;
    ip6 = cursor_take(cursor, sizeof(*ip6));
    if (!ip6)
        return WIRE_PARSE_SHORT;
    packet->src.family = packet->dst.family = AF_INET6;
    memcpy(packet->src.bytes, ip6->src, sizeof(ip6->src));
    memcpy(packet->dst.bytes, ip6->dst, sizeof(ip6->dst));
    packet->protocol = ip6->next_header;
    packet->tos = (uint8_t)(get16(ip6->version_class_flow) >> 4);
    packet->ttl = ip6->hop_limit;
    if (packet->protocol != WIRE_EXT_FRAGMENT)
        return WIRE_PARSE_OK;
    fragment = cursor_take(cursor, sizeof(*fragment));
    if (!fragment)
        return WIRE_PARSE_SHORT;
    packet->protocol = fragment->next_header;
    return get16(fragment->offset_more) & 0xfff8 ? WIRE_PARSE_FRAGMENT : WIRE_PARSE_OK;
}

enum wire_parse_result wire_parse_quoted(const uint8_t *data, size_t len_bytes,
                                         struct wire_packet *ret_packet)
{
    const size_t quoted_bytes = 8;
    struct cursor cursor = {data, len_bytes};
    enum wire_parse_result result;

    *ret_packet = (struct wire_packet){.data = data, .len_bytes = len_bytes};
    if (len_bytes == 0)
        return WIRE_PARSE_SHORT;
    result = parse_quoted_ip(ret_packet, &cursor);
    if (result != WIRE_PARSE_OK)
        return result;
    if (cursor.left_bytes < quoted_bytes)
        return WIRE_PARSE_SHORT;
    ret_packet->l4 = cursor.at;
    ret_packet->l4_len_bytes = cursor.left_bytes;
    if (is_icmp(ret_packet))
        return parse_icmp(ret_packet, cursor);
    if (ret_packet->protocol == WIRE_PROTO_TCP || ret_packet->protocol == WIRE_PROTO_UDP) {
        ret_packet->src_port = get16(cursor.at);
        ret_packet->dst_port = get16(cursor.at + 2);
    }
    if (ret_packet->protocol == WIRE_PROTO_TCP)
        ret_packet->tcp_seq = get32(cursor.at + 4);
    return WIRE_PARSE_OK;
}

uint32_t wire_checksum_add(uint32_t sum, const void *data, size_t len_bytes)
{
    const uint8_t *at = data;
    uint64_t wide = 0;
    uint32_t word = 0;
    uint16_t half;

    /*
     * RFC 1071 2 (B), (C): the sum may be taken over words of any width in any byte order, as
     * long as the carries come round and its two bytes are put right in the end. Four bytes at a
     * time in an accumulator that cannot overflow (16 GiB) is what compilers turn into vector
     * instructions.
     */
    for (; len_bytes >= sizeof(word); at += sizeof(word), len_bytes -= sizeof(word)) {
        memcpy(&word, at, sizeof(word));
        wide += word;
    }
    if (len_bytes > 0) {
        word = 0;
        memcpy(&word, at, len_bytes);
        wide += word;
    }
    wide = (wide & UINT32_MAX) + (wide >> 32);
    wide = (wide & 0xffff) + (wide >> 16 & 0xffff) + (wide >> 32);
    wide = (wide & 0xffff) + (wide >> 16);
    half = (uint16_t)(wide + (wide >> 16));
    return (sum & 0xffff) + (sum >> 16) + ntohs(half);
}

uint16_t wire_checksum_fold(uint32_t sum)
{
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

uint32_t wire_checksum_pseudo(const struct ip_addr *src, const struct ip_addr *dst,
                              uint8_t protocol, size_t l4_len_bytes)
{
    uint32_t sum = (uint32_t)(protocol + (l4_len_bytes & 0xffff) + (l4_len_bytes >> 16));

    sum = wire_checksum_add(sum, src->bytes, ip_len_bytes(src));
    return wire_checksum_add(sum, dst->bytes, ip_len_bytes(dst));
}

bool wire_checksum_ok(const struct wire_packet *packet)
{
    size_t len_bytes = packet->l4_len_bytes;
    uint32_t sum = 0;

    if (packet->is_fragment)
        return false;
    if (packet->protocol == WIRE_PROTO_UDP) {
        const struct wire_udp *udp = (const void *)packet->l4;

        if (get16(udp->checksum) == 0)
            return packet->src.family == AF_INET;
        len_bytes = get16(udp->len); /* what follows is no part of the datagram */
    } else if (packet->protocol != WIRE_PROTO_TCP && !is_icmp(packet)) {
        return false;
    }
    if (packet->protocol != WIRE_PROTO_ICMP)
        sum = wire_checksum_pseudo(&packet->src, &packet->dst, packet->protocol, len_bytes);
    return wire_checksum_fold(wire_checksum_add(sum, packet->l4, len_bytes)) == 0;
}
