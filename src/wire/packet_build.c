/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing packets: from the payload outwards, so that a checksum is taken once over bytes that are
 * already in place. Answers to a packet (RST, ICMP errors) are small and must not provoke answers
 * themselves; who may be answered is decided here.
 */
#include <string.h>

#include "wire/format.h"
#include "wire/packet.h"

#define ANSWER_TTL 64
#define ICMPV4_ERROR_MAX 576
/* Precedence "internetwork control", RFC 1812 4.3.2.5. */
#define ICMPV4_ERROR_TOS 0xc0

static_assert(WIRE_HEADROOM >= sizeof(struct wire_ipv6) + sizeof(struct wire_udp), "headroom");
static_assert(WIRE_HEADROOM >= sizeof(struct wire_ipv6) + sizeof(struct wire_icmp), "headroom");
static_assert(WIRE_RST_MAX >= sizeof(struct wire_ipv6) + sizeof(struct wire_tcp), "RST");

struct ip_fields {
    const struct ip_addr *src, *dst;
    uint8_t protocol, tos, ttl;
    bool dont_fragment;
    uint16_t id;
};

static size_t ip_header_bytes(const struct ip_addr *addr)
{
    return addr->family == AF_INET ? sizeof(struct wire_ipv4) : sizeof(struct wire_ipv6);
}

/* Writes the IP header directly in front of @l4 and returns where it begins. */
static uint8_t *prepend_ip(uint8_t *l4, size_t l4_len_bytes, const struct ip_fields *fields)
{
    assert(fields->src->family == fields->dst->family);
    if (fields->src->family == AF_INET) {
        struct wire_ipv4 *ip = (void *)(l4 - sizeof(*ip));

        assert(l4_len_bytes <= WIRE_PACKET_MAX - sizeof(*ip));
        *ip = (struct wire_ipv4){
            .version_ihl = 0x45,
            .tos = fields->tos,
            .ttl = fields->ttl,
            .protocol = fields->protocol,
        };
        put16(ip->total_len, (uint16_t)(sizeof(*ip) + l4_len_bytes));
        put16(ip->id, fields->id);
        put16(ip->fragment, fields->dont_fragment ? WIRE_IPV4_DF : 0);
        memcpy(ip->src, fields->src->bytes, sizeof(ip->src));
        memcpy(ip->dst, fields->dst->bytes, sizeof(ip->dst));
        put16(ip->checksum, wire_checksum_fold(wire_checksum_add(0, ip, sizeof(*ip))));
        return (uint8_t *)ip;
    }
    struct wire_ipv6 *ip = (void *)(l4 - sizeof(*ip));

    assert(fields->src->family == AF_INET6 && l4_len_bytes <= WIRE_PACKET_MAX);
    *ip = (struct wire_ipv6){.next_header = fields->protocol, .hop_limit = fields->ttl};
    put32(ip->version_class_flow, 6u << 28 | (uint32_t)fields->tos << 20);
    put16(ip->payload_len, (uint16_t)l4_len_bytes);
    memcpy(ip->src, fields->src->bytes, sizeof(ip->src));
    memcpy(ip->dst, fields->dst->bytes, sizeof(ip->dst));
    return (uint8_t *)ip;
}

/* The checksum of TCP, UDP or ICMP, whose own field is still zero. */
static uint16_t l4_checksum(const uint8_t *l4, size_t l4_len_bytes, const struct ip_fields *fields)
{
    uint32_t sum = 0;

    if (fields->protocol != WIRE_PROTO_ICMP)
        sum = wire_checksum_pseudo(fields->src, fields->dst, fields->protocol, l4_len_bytes);
    return wire_checksum_fold(wire_checksum_add(sum, l4, l4_len_bytes));
}

static struct ip_fields udp_ip_fields(const struct ip_endpoint *src, const struct ip_endpoint *dst,
                                      const struct wire_ip_fields *fields)
{
    return (struct ip_fields){
        .src = &src->addr,
        .dst = &dst->addr,
        .protocol = WIRE_PROTO_UDP,
        .ttl = fields->ttl,
        .tos = fields->tos,
        .id = fields->id,
    };
}

/* Writes the UDP header, with a checksum of zero, in front of @payload. */
static struct wire_udp *prepend_udp_header(uint8_t *payload, size_t len_bytes, uint16_t src_port,
                                           uint16_t dst_port)
{
    struct wire_udp *udp = (void *)(payload - sizeof(*udp));

    assert(len_bytes <= WIRE_PACKET_MAX);
    *udp = (struct wire_udp){0};
    put16(udp->src_port, src_port);
    put16(udp->dst_port, dst_port);
    put16(udp->len, (uint16_t)len_bytes);
    return udp;
}

uint8_t *wire_prepend_udp(uint8_t *payload, size_t payload_len_bytes, const struct ip_endpoint *src,
                          const struct ip_endpoint *dst, const struct wire_ip_fields *fields)
{
    const struct ip_fields ip = udp_ip_fields(src, dst, fields);
    size_t len_bytes = sizeof(struct wire_udp) + payload_len_bytes;
    struct wire_udp *udp = prepend_udp_header(payload, len_bytes, src->port, dst->port);
    uint16_t checksum = l4_checksum((const uint8_t *)udp, len_bytes, &ip);

    put16(udp->checksum, checksum ? checksum : 0xffff); /* RFC 768: zero means that there is none */
    return prepend_ip((uint8_t *)udp, len_bytes, &ip);
}

uint8_t *wire_prepend_udp_offload(uint8_t *end, size_t payload_len_bytes, size_t segment_bytes,
                                  const struct ip_endpoint *src, const struct ip_endpoint *dst,
                                  const struct wire_ip_fields *fields,
                                  struct wire_vnet_hdr *ret_vnet)
{
    const struct ip_fields ip = udp_ip_fields(src, dst, fields);
    size_t len_bytes = sizeof(struct wire_udp) + payload_len_bytes;
    struct wire_udp *udp = prepend_udp_header(end, len_bytes, src->port, dst->port);
    uint32_t sum = wire_checksum_pseudo(&src->addr, &dst->addr, WIRE_PROTO_UDP, len_bytes);
    uint8_t *packet = prepend_ip((uint8_t *)udp, len_bytes, &ip);

    put16(udp->checksum, (uint16_t)~wire_checksum_fold(sum));
    *ret_vnet = (struct wire_vnet_hdr){
        .flags = WIRE_VNET_NEEDS_CSUM,
        .csum_start = (uint16_t)((uint8_t *)udp - packet),
        .csum_offset = offsetof(struct wire_udp, checksum),
    };
    if (segment_bytes < payload_len_bytes) {
        ret_vnet->gso_type = WIRE_VNET_GSO_UDP_L4;
        ret_vnet->gso_size = (uint16_t)segment_bytes;
        ret_vnet->hdr_len = (uint16_t)(end - packet);
    }
    return packet;
}

uint8_t *wire_prepend_echo(uint8_t *payload, size_t payload_len_bytes, const struct ip_addr *src,
                           const struct ip_addr *dst, bool request, uint16_t echo_id,
                           uint16_t echo_seq, uint8_t tos, uint8_t ttl, uint16_t ip_id)
{
    bool v4 = src->family == AF_INET;
    const struct ip_fields fields = {
        .src = src,
        .dst = dst,
        .protocol = v4 ? WIRE_PROTO_ICMP : WIRE_PROTO_ICMPV6,
        .tos = tos,
        .ttl = ttl,
        .id = ip_id,
    };
    struct wire_icmp *icmp = (void *)(payload - sizeof(*icmp));
    size_t len_bytes = sizeof(*icmp) + payload_len_bytes;

    *icmp = (struct wire_icmp){0};
    if (v4)
        icmp->type = request ? WIRE_ICMP_ECHO : WIRE_ICMP_ECHO_REPLY;
    else
        icmp->type = request ? WIRE_ICMPV6_ECHO : WIRE_ICMPV6_ECHO_REPLY;
    put16(icmp->rest, echo_id);
    put16(icmp->rest + 2, echo_seq);
    put16(icmp->checksum, l4_checksum((const uint8_t *)icmp, len_bytes, &fields));
    return prepend_ip((uint8_t *)icmp, len_bytes, &fields);
}

/*
 * An answer goes to one host and comes from one host: RFC 1122 3.2.2 and 4.2.3.10, RFC 4443 2.4 e.
 * Directed broadcasts are not known here; the namespace's kernel does not forward them.
 */
static bool may_answer(const struct wire_packet *cause)
{
    const uint8_t *src = cause->src.bytes, *dst = cause->dst.bytes;

    if (ip_is_multicast(&cause->src) || ip_is_multicast(&cause->dst))
        return false;
    if (cause->src.family == AF_INET)
        return src[0] != 0 && src[0] != 127 && src[0] < 240 && dst[0] != 0 && dst[0] < 240;
    return !IN6_IS_ADDR_UNSPECIFIED(&cause->src.v6) && !IN6_IS_ADDR_LOOPBACK(&cause->src.v6) &&
           !IN6_IS_ADDR_UNSPECIFIED(&cause->dst.v6);
}

size_t wire_build_rst(uint8_t *buf, const struct wire_packet *cause)
{
    const struct ip_fields fields = {
        .src = &cause->dst,
        .dst = &cause->src,
        .protocol = WIRE_PROTO_TCP,
        .ttl = ANSWER_TTL,
        .dont_fragment = true, /* so the identification may be anything, RFC 6864 4.1 */
    };
    struct wire_tcp *tcp = (void *)(buf + ip_header_bytes(&cause->src));

    if (cause->protocol != WIRE_PROTO_TCP || cause->is_fragment ||
        (cause->tcp_flags & WIRE_TCP_RST) || !may_answer(cause))
        return 0;
    *tcp = (struct wire_tcp){.offset = sizeof(*tcp) / 4 << 4, .flags = WIRE_TCP_RST};
    put16(tcp->src_port, cause->dst_port);
    put16(tcp->dst_port, cause->src_port);
    if (cause->tcp_flags & WIRE_TCP_ACK) {
        put32(tcp->seq, cause->tcp_ack);
    } else {
        uint32_t ack = cause->tcp_seq + (uint32_t)cause->payload_len_bytes;

        /* SYN and FIN each take one sequence number. */
        ack += !!(cause->tcp_flags & WIRE_TCP_SYN) + !!(cause->tcp_flags & WIRE_TCP_FIN);
        put32(tcp->ack, ack);
        tcp->flags |= WIRE_TCP_ACK;
    }
    put16(tcp->checksum, l4_checksum((const uint8_t *)tcp, sizeof(*tcp), &fields));
    return (size_t)((uint8_t *)(tcp + 1) - prepend_ip((uint8_t *)tcp, sizeof(*tcp), &fields));
}

/* Whether @cause is, or might be, an ICMP error or a redirect: those are never answered. */
static bool is_icmp_error(const struct wire_packet *cause)
{
    bool v4 = cause->src.family == AF_INET;
    uint8_t type;

    /* Behind a further extension header that wire_parse() left in a first fragment, who knows. */
    if (!v4 && cause->is_fragment &&
        (cause->protocol == WIRE_EXT_DESTINATION || cause->protocol == WIRE_EXT_ROUTING))
        return true;
    if (cause->protocol != (v4 ? WIRE_PROTO_ICMP : WIRE_PROTO_ICMPV6))
        return false;
    if (cause->l4_len_bytes == 0)
        return true;
    type = cause->l4[0];
    if (!v4)
        return type <= WIRE_ICMPV6_ERROR_LAST || type == WIRE_ICMPV6_REDIRECT;
    return type == WIRE_ICMP_UNREACHABLE || type == WIRE_ICMP_QUENCH ||
           type == WIRE_ICMP_REDIRECT || type == WIRE_ICMP_TIME_EXCEEDED ||
           type == WIRE_ICMP_PARAMETER || type > WIRE_ICMP_TYPE_LAST;
}

/* What stands in the last four bytes of an error's header; false where @type is no error to pass on. */
static bool icmp_error_rest(bool v4, uint8_t type, uint8_t code, uint32_t info, uint8_t rest[4])
{
    put32(rest, 0);
    if (!v4) {
        if (type == WIRE_ICMPV6_TOO_BIG || type == WIRE_ICMPV6_PARAMETER)
            put32(rest, info);
        return type >= WIRE_ICMPV6_UNREACHABLE && type <= WIRE_ICMPV6_PARAMETER;
    }
    /* RFC 1191 4 has 16 bits for the MTU, behind 16 of zero. */
    if (type == WIRE_ICMP_UNREACHABLE && code == WIRE_ICMP_CODE_TOO_BIG)
        put32(rest, info > UINT16_MAX ? UINT16_MAX : info);
    else if (type == WIRE_ICMP_PARAMETER)
        rest[0] = (uint8_t)info;
    return type == WIRE_ICMP_UNREACHABLE || type == WIRE_ICMP_TIME_EXCEEDED ||
           type == WIRE_ICMP_PARAMETER;
}

size_t wire_build_icmp_error_as(uint8_t *buf, const struct ip_addr *from,
                                const struct wire_packet *cause, uint8_t type, uint8_t code,
                                uint32_t info)
{
    bool v4 = from->family == AF_INET;
    const struct ip_fields fields = {
        .src = from,
        .dst = &cause->src,
        .protocol = v4 ? WIRE_PROTO_ICMP : WIRE_PROTO_ICMPV6,
        .tos = v4 ? ICMPV4_ERROR_TOS : 0,
        .ttl = ANSWER_TTL,
        .dont_fragment = true,
    };
    struct wire_icmp *icmp = (void *)(buf + ip_header_bytes(from));
    size_t quoted_max_bytes =
        (v4 ? ICMPV4_ERROR_MAX : WIRE_ICMP_ERROR_MAX) - ip_header_bytes(from) - sizeof(*icmp);
    size_t quoted_bytes = cause->len_bytes < quoted_max_bytes ? cause->len_bytes : quoted_max_bytes;
    size_t len_bytes = sizeof(*icmp) + quoted_bytes;

    assert(from->family == cause->src.family);
    if (cause->fragment_offset_bytes != 0 || !may_answer(cause) || is_icmp_error(cause))
        return 0;
    *icmp = (struct wire_icmp){.type = type, .code = code};
    if (!icmp_error_rest(v4, type, code, info, icmp->rest))
        return 0;
    memcpy(icmp + 1, cause->data, quoted_bytes);
    put16(icmp->checksum, l4_checksum((const uint8_t *)icmp, len_bytes, &fields));
    prepend_ip((uint8_t *)icmp, len_bytes, &fields);
    return ip_header_bytes(from) + len_bytes;
}

size_t wire_build_icmp_error(uint8_t *buf, const struct ip_addr *from,
                             const struct wire_packet *cause, enum wire_unreachable why,
                             uint32_t mtu_bytes)
{
    static const struct {
        uint8_t v4_type, v4_code, v6_type, v6_code;
    } messages[] = {
        [WIRE_UNREACHABLE_NET] = {3, 0, 1, 0},     [WIRE_UNREACHABLE_HOST] = {3, 1, 1, 3},
        [WIRE_UNREACHABLE_PORT] = {3, 3, 1, 4},    [WIRE_UNREACHABLE_PROHIBITED] = {3, 13, 1, 1},
        [WIRE_UNREACHABLE_TOO_BIG] = {3, 4, 2, 0}, [WIRE_UNREACHABLE_TTL] = {11, 0, 3, 0},
    };
    bool v4 = from->family == AF_INET;

    assert(why <= WIRE_UNREACHABLE_TTL);
    return wire_build_icmp_error_as(buf, from, cause,
                                    v4 ? messages[why].v4_type : messages[why].v6_type,
                                    v4 ? messages[why].v4_code : messages[why].v6_code, mtu_bytes);
}

int wire_fragment_v6(const uint8_t *packet, size_t len_bytes, size_t mtu_bytes,
                     uint32_t fragment_id,
                     int (*emit)(void *context, const uint8_t *fragment, size_t len_bytes),
                     void *context)
{
    uint8_t buf[sizeof(struct wire_ipv6) + WIRE_PACKET_MAX];
    struct wire_ipv6 *ip = (void *)buf;
    struct wire_ipv6_fragment *head = (void *)(ip + 1);
    const size_t headers_bytes = sizeof(*ip) + sizeof(*head);
    size_t piece_max_bytes, payload_bytes;

    assert(len_bytes >= sizeof(*ip) && len_bytes <= sizeof(buf));
    assert(mtu_bytes >= WIRE_IPV6_MTU_MIN);
    if (len_bytes <= mtu_bytes)
        return emit(context, packet, len_bytes);

    /* A piece of mtu_bytes is smaller than the packet, so it fits in buf whatever the MTU. */
    piece_max_bytes = (mtu_bytes - headers_bytes) & ~(size_t)7;
    payload_bytes = len_bytes - sizeof(*ip);
    memcpy(ip, packet, sizeof(*ip));
    *head = (struct wire_ipv6_fragment){.next_header = ip->next_header};
    put32(head->id, fragment_id);
    ip->next_header = WIRE_EXT_FRAGMENT;
    for (size_t offset = 0; offset < payload_bytes;) {
        size_t left_bytes = payload_bytes - offset;
        bool more = left_bytes > piece_max_bytes;
        size_t piece_bytes = more ? piece_max_bytes : left_bytes;
        int error;

        put16(ip->payload_len, (uint16_t)(sizeof(*head) + piece_bytes));
        put16(head->offset_more, (uint16_t)(offset | (more ? WIRE_IPV6_MORE : 0)));
        memcpy(head + 1, packet + sizeof(*ip) + offset, piece_bytes);
        error = emit(context, buf, headers_bytes + piece_bytes);
        if (error)
            return error;
        offset += piece_bytes;
    }
    return 0;
}
