/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IP packets as bytes: read and checked once, and written.
 *
 * Nothing here knows sockets, clocks or devices. Packets begin with the IP header (a TUN device's
 * view); the virtio-net header in front of them is the caller's, its layout is below.
 */
#ifndef OPENVMNET_WIRE_PACKET_H
#define OPENVMNET_WIRE_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

#define WIRE_PACKET_MAX 65535 /* of an IPv4 total length; IPv6 without jumbograms, plus 40 */
#define WIRE_IPV6_MTU_MIN 1280
#define WIRE_HEADROOM 64 /* what the wire_prepend_ functions may write in front of a payload */

/* Protocol numbers, IANA. */
enum {
    WIRE_PROTO_ICMP = 1,
    WIRE_PROTO_TCP = 6,
    WIRE_PROTO_UDP = 17,
    WIRE_PROTO_ICMPV6 = 58,
};

/* TCP flags, RFC 9293 3.1. */
enum {
    WIRE_TCP_FIN = 1,
    WIRE_TCP_SYN = 2,
    WIRE_TCP_RST = 4,
    WIRE_TCP_ACK = 16,
};

/* virtio-net header as TUN devices use it by default: 10 bytes, native order (virtio 1.2, 5.1.6). */
struct wire_vnet_hdr {
    uint8_t flags;
    uint8_t gso_type;
    uint16_t hdr_len;
    uint16_t gso_size;
    uint16_t csum_start;
    uint16_t csum_offset;
};
#define WIRE_VNET_NEEDS_CSUM 1 /* flags: the checksum is not computed yet */
#define WIRE_VNET_DATA_VALID 2 /* flags: the checksum was verified */
#define WIRE_VNET_GSO_UDP_L4                                                                       \
    5 /* gso_type: datagrams of gso_size under one header, the last as it comes */

/* Why a packet was not understood. Order and names are those of wire_parse_name(). */
enum wire_parse_result {
    WIRE_PARSE_OK,
    WIRE_PARSE_SHORT,     /* ends before its own headers or lengths say */
    WIRE_PARSE_VERSION,   /* neither IPv4 nor IPv6 */
    WIRE_PARSE_HEADER,    /* a header length or option that cannot be */
    WIRE_PARSE_EXTENSION, /* an IPv6 extension header that is not walked over */
    WIRE_PARSE_CHECKSUM,  /* IPv4 header checksum */
    WIRE_PARSE_FRAGMENT,  /* an offset and length beyond 65535 (RFC 791 3.2), or an odd tail */
    WIRE_PARSE_RESULTS,
};

/* A packet that wire_parse() accepted. Points into the caller's buffer. */
struct wire_packet {
    const uint8_t *data;
    size_t len_bytes; /* as the IP header says; the buffer may have been longer */
    struct ip_addr src, dst;
    uint8_t protocol;   /* of the payload, behind any IPv6 extension headers */
    uint8_t ttl;        /* or hop limit */
    uint8_t tos;        /* or traffic class */
    bool dont_fragment; /* true for IPv6, whose packets are never cut on their way */

    /* The payload of IP: for a fragment, the piece it carries. */
    const uint8_t *l4;
    size_t l4_len_bytes;

    bool is_fragment;
    bool more_fragments;
    uint16_t fragment_offset_bytes;
    uint32_t fragment_id;

    /*
     * Of TCP, UDP, and ICMP echo, where the packet is not a fragment: their headers were checked. For
     * other ICMP messages only icmp_type and icmp_code are set.
     */
    uint16_t src_port, dst_port;
    uint8_t tcp_flags;
    uint32_t tcp_seq, tcp_ack;
    uint8_t icmp_type, icmp_code;
    uint16_t echo_id, echo_seq;
    const uint8_t *payload; /* behind the TCP, UDP or ICMP echo header */
    size_t payload_len_bytes;
};

/*
 * Reads a packet of at most @len_bytes. Every field of @ret_packet is set on WIRE_PARSE_OK, none is
 * to be used otherwise. UDP: the length field must fit; TCP: the data offset must. IPv6 hop-by-hop,
 * routing (only with zero segments left), fragment and destination options headers are walked over,
 * at most 8 of them. Refused are IPv4 source routes, and IPv6 options that may not be passed over
 * unrecognised (RFC 8200 4.2). The walk ends at a fragment header that is not atomic (RFC 6946): the
 * protocol may then be that of a further extension header. Checks the IPv4 header checksum, not the
 * payload's.
 */
enum wire_parse_result wire_parse(const uint8_t *data, size_t len_bytes,
                                  struct wire_packet *ret_packet);
/*
 * Reads what is left of a packet that an ICMP error quotes (RFC 792, RFC 4443 2.4 c): it may end anywhere
 * behind the first eight bytes of its payload, so lengths are those of what is there, no checksum is looked
 * at, and of TCP only ports and sequence number are known. Of IPv6 extension headers an initial
 * fragment's is walked over. WIRE_PARSE_FRAGMENT where it is a later one.
 */
enum wire_parse_result wire_parse_quoted(const uint8_t *data, size_t len_bytes,
                                         struct wire_packet *ret_packet);
/* "short", "version", … for counters. */
const char *wire_parse_name(enum wire_parse_result result);

/*
 * True where the TCP, UDP or ICMP checksum of a whole (unfragmented) packet is right; false for all
 * other protocols. RFC 768: an IPv4 UDP checksum of 0 is right; RFC 8200 8.1: an IPv6 one is not.
 */
bool wire_checksum_ok(const struct wire_packet *packet);

/*
 * Whose work a virtio-net header leaves to us (virtio 1.2, 5.1.6.2), which a guest may have made up.
 *
 * wire_offload_checksum() makes the checksum of a packet right where it is nobody's business later: where
 * the header points at another field than the checksum of the TCP, UDP or ICMPv6 packet itself, as for what
 * is inside a tunnel, it is computed here and @vnet says nothing of it any more. False where the field is
 * not in the payload. True, with nothing done, where the packet's own checksum is not computed or @vnet asks
 * for none. @data is the packet of @packet, which is not a fragment.
 */
bool wire_offload_checksum(struct wire_vnet_hdr *vnet, uint8_t *data,
                           const struct wire_packet *packet);
/* Computes the checksum that @vnet asks for, of any packet or frame. False where it is not within. */
bool wire_offload_finish(const struct wire_vnet_hdr *vnet, uint8_t *data, size_t len_bytes);
/*
 * How a packet is to be cut: *ret_segment_bytes of payload each, the last one what is left. For a packet that
 * is none to cut, all of its payload. False where it cannot be: another kind of segmentation, a fragment, no
 * datagram, nothing in it, a size of 0, more than WIRE_SEGMENTS_MAX, a checksum that is not to be computed
 * or is another one, or bytes behind the datagram.
 */
#define WIRE_SEGMENTS_MAX 128 /* UDP_MAX_SEGMENTS of Linux; 64 before 6.9 */
bool wire_offload_segments(const struct wire_vnet_hdr *vnet, const struct wire_packet *packet,
                           size_t *ret_segment_bytes);

/*
 * Writes to @buf the packet that @packet, a datagram or several, is cut to: with its headers and @len_bytes of
 * its payload from @offset_bytes on. The UDP checksum is not made right. Returns its length, 0 where it does
 * not fit @size_bytes.
 */
size_t wire_cut_segment(uint8_t *buf, size_t size_bytes, const struct wire_packet *packet,
                        size_t offset_bytes, size_t len_bytes);

/* RFC 1071 sum over bytes, to be folded; @sum carries on from an earlier part of even length. */
uint32_t wire_checksum_add(uint32_t sum, const void *data, size_t len_bytes);
uint16_t wire_checksum_fold(uint32_t sum); /* the complement, in host order */

/* What a packet's IP header says beside addresses. */
struct wire_ip_fields {
    uint8_t ttl; /* or hop limit */
    uint8_t tos; /* or traffic class */
    uint16_t id; /* IPv4 */
};

/*
 * The wire_prepend_ functions write headers directly in front of @payload, where the caller has left
 * WIRE_HEADROOM bytes, and return the packet's first byte; its length is then
 * payload + payload_len_bytes - returned. Both addresses are of one family. Payload lengths that do not
 * fit an IP packet (65535 - 28 for UDP in IPv4, 65535 - 8 for IPv6) are the caller's mistake (assert).
 * Checksums are complete. IPv4 packets have DF clear and @ip_id as identification.
 */
uint8_t *wire_prepend_udp(uint8_t *payload, size_t payload_len_bytes, const struct ip_endpoint *src,
                          const struct ip_endpoint *dst, const struct wire_ip_fields *fields);
/*
 * The same, but the payload is elsewhere, and the checksum is left to who gets the packet with @ret_vnet in
 * front. @segment_bytes less than the payload: the packet is cut into datagrams of that size on its way.
 */
uint8_t *wire_prepend_udp_offload(uint8_t *end, size_t payload_len_bytes, size_t segment_bytes,
                                  const struct ip_endpoint *src, const struct ip_endpoint *dst,
                                  const struct wire_ip_fields *fields,
                                  struct wire_vnet_hdr *ret_vnet);
/* An ICMP or ICMPv6 echo, by the addresses' family; a reply, or with @request a request. */
uint8_t *wire_prepend_echo(uint8_t *payload, size_t payload_len_bytes, const struct ip_addr *src,
                           const struct ip_addr *dst, bool request, uint16_t echo_id,
                           uint16_t echo_seq, uint8_t tos, uint8_t ttl, uint16_t ip_id);

/*
 * Writes to @buf (at least WIRE_RST_MAX bytes) the RST that answers TCP packet @cause from its
 * destination (RFC 9293 3.5.2, all three cases). Returns its length, 0 where none may be sent (@cause
 * is a RST itself, no TCP segment, or not from one host to one host).
 */
#define WIRE_RST_MAX 60
size_t wire_build_rst(uint8_t *buf, const struct wire_packet *cause);

/*
 * Why a packet could not be delivered, independent of the family. To ICMP type and code: RFC 792, RFC
 * 1812 5.2.7.1 and RFC 4443 3.1-3.3.
 */
enum wire_unreachable {
    WIRE_UNREACHABLE_NET,        /* v4 3/0, v6 1/0 */
    WIRE_UNREACHABLE_HOST,       /* v4 3/1, v6 1/3 */
    WIRE_UNREACHABLE_PORT,       /* v4 3/3, v6 1/4 */
    WIRE_UNREACHABLE_PROHIBITED, /* v4 3/13, v6 1/1 */
    WIRE_UNREACHABLE_TOO_BIG,    /* v4 3/4, v6 2/0; carries the MTU */
    WIRE_UNREACHABLE_TTL,        /* v4 11/0, v6 3/0 */
};

/*
 * Writes to @buf (at least WIRE_ICMP_ERROR_MAX bytes) the ICMP error, sent by @from, about @cause, to
 * its source: at most 576 bytes for IPv4 (RFC 1812 4.3.2.3), 1280 for IPv6 (RFC 4443 2.4 c). Returns
 * its length, 0 where none may be sent (RFC 1122 3.2.2, RFC 4443 2.4 e: about ICMP errors, later
 * fragments, multicast or unspecified addresses). @mtu_bytes is used by TOO_BIG alone. @from must be of
 * the family of @cause.
 */
#define WIRE_ICMP_ERROR_MAX 1280
size_t wire_build_icmp_error(uint8_t *buf, const struct ip_addr *from,
                             const struct wire_packet *cause, enum wire_unreachable why,
                             uint32_t mtu_bytes);

/*
 * The same with the type and code of an error that the host got (RFC 792, RFC 4443), and @info: the MTU of
 * a packet too big, the pointer of a parameter problem. 0 also where @type is no error of @from's family
 * that tells about a packet (a redirect or a source quench is passed on to nobody, RFC 5508 7).
 */
size_t wire_build_icmp_error_as(uint8_t *buf, const struct ip_addr *from,
                                const struct wire_packet *cause, uint8_t type, uint8_t code,
                                uint32_t info);

/*
 * Cuts a whole IPv6 packet without extension headers into fragments of at most @mtu_bytes (at least
 * WIRE_IPV6_MTU_MIN) and hands each to @emit in order, in a buffer that is reused (RFC 8200 4.5).
 * A packet that fits is handed on as it is. Stops at the first emit that does not return 0 and returns
 * that; else 0. Uses 64 KiB of stack.
 */
int wire_fragment_v6(const uint8_t *packet, size_t len_bytes, size_t mtu_bytes,
                     uint32_t fragment_id,
                     int (*emit)(void *context, const uint8_t *fragment, size_t len_bytes),
                     void *context);

#endif
