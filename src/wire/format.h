/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Headers as they are on the wire; private to src/wire.
 *
 * Every member is a byte or an array of bytes: no padding, no alignment, no byte order. A pointer
 * into a packet may therefore be cast to any of these once the length is known, and integers are
 * read and written with the get and put functions only. The system's own headers are not used, as
 * each system spells them differently.
 */
#ifndef OPENVMNET_WIRE_FORMAT_H
#define OPENVMNET_WIRE_FORMAT_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

/* RFC 791 3.1 */
struct wire_ipv4 {
    uint8_t version_ihl;
    uint8_t tos;
    uint8_t total_len[2];
    uint8_t id[2];
    uint8_t fragment[2]; /* WIRE_IPV4_* and the offset in units of 8 bytes */
    uint8_t ttl;
    uint8_t protocol;
    uint8_t checksum[2];
    uint8_t src[4];
    uint8_t dst[4];
};
static_assert(sizeof(struct wire_ipv4) == 20, "RFC 791");
#define WIRE_IPV4_DF 0x4000
#define WIRE_IPV4_MF 0x2000
#define WIRE_IPV4_OFFSET 0x1fff

/* RFC 8200 3 */
struct wire_ipv6 {
    uint8_t version_class_flow[4];
    uint8_t payload_len[2];
    uint8_t next_header;
    uint8_t hop_limit;
    uint8_t src[16];
    uint8_t dst[16];
};
static_assert(sizeof(struct wire_ipv6) == 40, "RFC 8200");

/* RFC 8200 4.5 */
struct wire_ipv6_fragment {
    uint8_t next_header;
    uint8_t reserved;
    uint8_t offset_more[2]; /* the offset in bytes, a multiple of 8, and WIRE_IPV6_MORE */
    uint8_t id[4];
};
static_assert(sizeof(struct wire_ipv6_fragment) == 8, "RFC 8200");
#define WIRE_IPV6_MORE 1

/* Extension headers, IANA. Those after the blank line are known but not walked over. */
enum {
    WIRE_EXT_HOP_BY_HOP = 0,
    WIRE_EXT_ROUTING = 43,
    WIRE_EXT_FRAGMENT = 44,
    WIRE_EXT_DESTINATION = 60,

    WIRE_EXT_AUTHENTICATION = 51,
    WIRE_EXT_MOBILITY = 135,
    WIRE_EXT_HIP = 139,
    WIRE_EXT_SHIM6 = 140,
};

/* RFC 9293 3.1 */
struct wire_tcp {
    uint8_t src_port[2];
    uint8_t dst_port[2];
    uint8_t seq[4];
    uint8_t ack[4];
    uint8_t offset; /* upper four bits, in units of 4 bytes */
    uint8_t flags;
    uint8_t window[2];
    uint8_t checksum[2];
    uint8_t urgent[2];
};
static_assert(sizeof(struct wire_tcp) == 20, "RFC 9293");

/* RFC 768 */
struct wire_udp {
    uint8_t src_port[2];
    uint8_t dst_port[2];
    uint8_t len[2];
    uint8_t checksum[2];
};
static_assert(sizeof(struct wire_udp) == 8, "RFC 768");

/* RFC 792, RFC 4443 2.1: the first eight bytes of every message that is built here. */
struct wire_icmp {
    uint8_t type;
    uint8_t code;
    uint8_t checksum[2];
    uint8_t rest[4]; /* echo: identifier and sequence number; errors: zero or the MTU */
};
static_assert(sizeof(struct wire_icmp) == 8, "RFC 792");

enum {
    WIRE_ICMP_ECHO_REPLY = 0,
    WIRE_ICMP_UNREACHABLE = 3,
    WIRE_ICMP_CODE_TOO_BIG = 4, /* of it: fragmentation needed, RFC 1191 */
    WIRE_ICMP_QUENCH = 4,
    WIRE_ICMP_REDIRECT = 5,
    WIRE_ICMP_ECHO = 8,
    WIRE_ICMP_TIME_EXCEEDED = 11,
    WIRE_ICMP_PARAMETER = 12,
    WIRE_ICMP_TYPE_LAST = 18, /* no type after it was in use when its meaning was last assigned */

    WIRE_ICMPV6_UNREACHABLE = 1,
    WIRE_ICMPV6_TOO_BIG = 2,
    WIRE_ICMPV6_PARAMETER = 4,
    WIRE_ICMPV6_ERROR_LAST = 127, /* RFC 4443 2.1: error messages have the high bit clear */
    WIRE_ICMPV6_ECHO = 128,
    WIRE_ICMPV6_ECHO_REPLY = 129,
    WIRE_ICMPV6_NEIGHBOUR_ADVERT = 136,
    WIRE_ICMPV6_REDIRECT = 137,
};

/* IEEE 802.3 3.1 */
struct wire_ethernet {
    uint8_t dst[6];
    uint8_t src[6];
    uint8_t type[2]; /* WIRE_ETHERTYPE_* */
};
static_assert(sizeof(struct wire_ethernet) == 14, "IEEE 802.3");
enum {
    WIRE_ETHERTYPE_ARP = 0x0806,
    WIRE_ETHERTYPE_RARP = 0x8035,
    WIRE_ETHERTYPE_IPV6 = 0x86dd,
};

/* RFC 826 and RFC 903, of IPv4 on Ethernet */
struct wire_arp {
    uint8_t hardware_type[2];
    uint8_t protocol_type[2];
    uint8_t hardware_len, protocol_len;
    uint8_t operation[2];
    uint8_t sender_mac[6], sender_ip[4];
    uint8_t target_mac[6], target_ip[4];
};
static_assert(sizeof(struct wire_arp) == 28, "RFC 826");
enum {
    WIRE_ARP_REQUEST = 1,
    WIRE_ARP_REVERSE_REQUEST = 3,
};

/* RFC 4861 4.4, with the one option that a neighbour advertisement has (4.6.1) */
struct wire_neighbour_advert {
    uint8_t type;
    uint8_t code;
    uint8_t checksum[2];
    uint8_t flags[4]; /* WIRE_ND_OVERRIDE and others, and reserved bits */
    uint8_t target[16];
    uint8_t option_type, option_len; /* the latter in units of 8 bytes */
    uint8_t mac[6];
};
static_assert(sizeof(struct wire_neighbour_advert) == 32, "RFC 4861");
#define WIRE_ND_OVERRIDE 0x20000000
#define WIRE_ND_TARGET_LINK_LAYER 2

static inline uint16_t get16(const uint8_t bytes[2])
{
    return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static inline uint32_t get32(const uint8_t bytes[4])
{
    return (uint32_t)get16(bytes) << 16 | get16(bytes + 2);
}

static inline void put16(uint8_t bytes[2], uint16_t value)
{
    bytes[0] = (uint8_t)(value >> 8);
    bytes[1] = (uint8_t)value;
}

static inline void put32(uint8_t bytes[4], uint32_t value)
{
    put16(bytes, (uint16_t)(value >> 16));
    put16(bytes + 2, (uint16_t)value);
}

/* The sum of the pseudo header of TCP, UDP (RFC 9293 3.1, RFC 768) and, in IPv6, ICMPv6. */
uint32_t wire_checksum_pseudo(const struct ip_addr *src, const struct ip_addr *dst,
                              uint8_t protocol, size_t l4_len_bytes);

#endif
