/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checksums and segmentation that a virtio-net header leaves to us. A kernel wrote the header, but from what
 * a guest had told it: nothing in it is taken for true.
 */
#include <string.h>

#include "wire/format.h"
#include "wire/packet.h"

#define TCP_CHECKSUM_AT offsetof(struct wire_tcp, checksum)
#define UDP_CHECKSUM_AT offsetof(struct wire_udp, checksum)
#define ICMP_CHECKSUM_AT offsetof(struct wire_icmp, checksum)

static bool is_own_checksum(const struct wire_vnet_hdr *vnet, const struct wire_packet *packet)
{
    size_t at = UDP_CHECKSUM_AT;

    if (packet->protocol == WIRE_PROTO_TCP)
        at = TCP_CHECKSUM_AT;
    else if (packet->protocol == WIRE_PROTO_ICMPV6)
        at = ICMP_CHECKSUM_AT;
    else if (packet->protocol != WIRE_PROTO_UDP)
        return false;
    return vnet->csum_start == packet->l4 - packet->data && vnet->csum_offset == at;
}

bool wire_offload_finish(const struct wire_vnet_hdr *vnet, uint8_t *data, size_t len_bytes)
{
    size_t start = vnet->csum_start, at = start + vnet->csum_offset;
    uint16_t sum;

    if (at + sizeof(sum) > len_bytes)
        return false;
    /* The field holds the sum of the pseudo header. */
    sum = wire_checksum_fold(wire_checksum_add(0, data + start, len_bytes - start));
    if (sum == 0 && vnet->csum_offset == UDP_CHECKSUM_AT)
        sum = 0xffff; /* RFC 768: 0 would mean that there is none */
    put16(data + at, sum);
    return true;
}

bool wire_offload_checksum(struct wire_vnet_hdr *vnet, uint8_t *data,
                           const struct wire_packet *packet)
{
    if (!(vnet->flags & WIRE_VNET_NEEDS_CSUM) || is_own_checksum(vnet, packet))
        return true;
    /* Anything before has been read already, and is not to change any more. */
    if (!packet->payload || vnet->csum_start < packet->payload - packet->data ||
        !wire_offload_finish(vnet, data, packet->len_bytes))
        return false;
    vnet->flags = 0;
    return true;
}

bool wire_offload_segments(const struct wire_vnet_hdr *vnet, const struct wire_packet *packet,
                           size_t *ret_segment_bytes)
{
    *ret_segment_bytes = packet->payload_len_bytes;
    if (vnet->gso_type == 0)
        return true;
    if (vnet->gso_type != WIRE_VNET_GSO_UDP_L4 || packet->protocol != WIRE_PROTO_UDP ||
        packet->is_fragment || !(vnet->flags & WIRE_VNET_NEEDS_CSUM) ||
        !is_own_checksum(vnet, packet) || packet->payload_len_bytes == 0 || vnet->gso_size == 0 ||
        packet->payload_len_bytes > (size_t)vnet->gso_size * WIRE_SEGMENTS_MAX ||
        packet->l4_len_bytes != sizeof(struct wire_udp) + packet->payload_len_bytes)
        return false;
    if (vnet->gso_size < packet->payload_len_bytes)
        *ret_segment_bytes = vnet->gso_size;
    return true;
}

size_t wire_cut_segment(uint8_t *buf, size_t size_bytes, const struct wire_packet *packet,
                        size_t offset_bytes, size_t len_bytes)
{
    size_t headers_bytes = (size_t)(packet->payload - packet->data);
    size_t l4_at = (size_t)(packet->l4 - packet->data);

    assert(packet->protocol == WIRE_PROTO_UDP && !packet->is_fragment &&
           offset_bytes <= packet->payload_len_bytes &&
           len_bytes <= packet->payload_len_bytes - offset_bytes);
    if (headers_bytes + len_bytes > size_bytes)
        return 0;
    memcpy(buf, packet->data, headers_bytes);
    memcpy(buf + headers_bytes, packet->payload + offset_bytes, len_bytes);
    put16(buf + l4_at + offsetof(struct wire_udp, len),
          (uint16_t)(sizeof(struct wire_udp) + len_bytes));
    if (packet->src.family == AF_INET) {
        struct wire_ipv4 *ip = (void *)buf;

        put16(ip->total_len, (uint16_t)(headers_bytes + len_bytes));
        put16(ip->checksum, 0);
        put16(ip->checksum, wire_checksum_fold(wire_checksum_add(0, ip, l4_at)));
    } else {
        struct wire_ipv6 *ip = (void *)buf;

        put16(ip->payload_len, (uint16_t)(headers_bytes - sizeof(*ip) + len_bytes));
    }
    return headers_bytes + len_bytes;
}
