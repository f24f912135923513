/* SPDX-License-Identifier: Apache-2.0 */
#include "compat/vmnet/offload.h"

#include <netinet/in.h>
#include <string.h>

#include "compat/vmnet/iov.h"

#define ETHERNET_BYTES 14
#define VLAN_BYTES 4
#define VLAN_TAGS_MAX 2
#define EXTENSIONS_MAX 8
#define TCP_BYTES_MIN 20
#define UDP_BYTES 8

enum kind {
    OTHER,     /* nothing that has a checksum which is our business */
    MALFORMED, /* says of itself what it is not */
    IP,
};

/* Offsets are from the frame's first byte. */
struct headers {
    uint8_t version, protocol;
    size_t ip, l4, l4_bytes; /* its header and payload */
    size_t l4_header_bytes;  /* of TCP and UDP; 0 for others, and for fragments */
    size_t checksum;         /* where that is, of TCP and UDP */
};

static uint16_t get16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

/* TCP and UDP. */
static enum kind parse_l4(const uint8_t *head, size_t head_bytes, struct headers *headers)
{
    size_t at = headers->l4, need = headers->protocol == IPPROTO_TCP ? TCP_BYTES_MIN : UDP_BYTES;

    if (headers->protocol != IPPROTO_TCP && headers->protocol != IPPROTO_UDP)
        return IP;
    if (headers->l4_bytes < need || head_bytes < at + need)
        return MALFORMED;
    if (headers->protocol == IPPROTO_TCP) {
        size_t bytes = (size_t)(head[at + 12] >> 4) * 4;

        if (bytes < TCP_BYTES_MIN || bytes > headers->l4_bytes || head_bytes < at + bytes)
            return MALFORMED;
        headers->l4_header_bytes = bytes;
        headers->checksum = at + 16;
    } else {
        size_t bytes = get16(head + at + 4);

        if (bytes < UDP_BYTES || bytes > headers->l4_bytes)
            return MALFORMED;
        headers->l4_bytes = bytes;
        headers->l4_header_bytes = UDP_BYTES;
        headers->checksum = at + 6;
    }
    return IP;
}

/* RFC 791. */
static enum kind parse_ipv4(const uint8_t *head, size_t head_bytes, size_t frame_bytes,
                            struct headers *headers)
{
    const uint8_t *ip = head + headers->ip;
    size_t header_bytes, total_bytes;

    if (head_bytes < headers->ip + 20 || ip[0] >> 4 != 4)
        return MALFORMED;
    header_bytes = (size_t)(ip[0] & 15) * 4;
    total_bytes = get16(ip + 2);
    if (header_bytes < 20 || total_bytes < header_bytes ||
        total_bytes > frame_bytes - headers->ip || head_bytes < headers->ip + header_bytes)
        return MALFORMED;
    headers->version = 4;
    headers->protocol = ip[9];
    headers->l4 = headers->ip + header_bytes;
    headers->l4_bytes = total_bytes - header_bytes;
    return get16(ip + 6) & 0x3fff ? IP : parse_l4(head, head_bytes, headers);
}

/* RFC 8200. */
static enum kind parse_ipv6(const uint8_t *head, size_t head_bytes, size_t frame_bytes,
                            struct headers *headers)
{
    const uint8_t *ip = head + headers->ip;
    size_t end;

    if (head_bytes < headers->ip + 40 || ip[0] >> 4 != 6)
        return MALFORMED;
    headers->version = 6;
    headers->protocol = ip[6];
    headers->l4 = headers->ip + 40;
    end = headers->l4 + get16(ip + 4);
    if (end > frame_bytes)
        return MALFORMED;
    for (int i = 0; i < EXTENSIONS_MAX; i++) {
        const uint8_t *extension = head + headers->l4;

        headers->l4_bytes = end - headers->l4;
        if (headers->protocol == IPPROTO_FRAGMENT)
            return IP;
        if (headers->protocol != IPPROTO_HOPOPTS && headers->protocol != IPPROTO_ROUTING &&
            headers->protocol != IPPROTO_DSTOPTS)
            return parse_l4(head, head_bytes, headers);
        if (headers->l4_bytes < 8 || head_bytes < headers->l4 + 8)
            return MALFORMED;
        headers->protocol = extension[0];
        headers->l4 += ((size_t)extension[1] + 1) * 8;
        if (headers->l4 > end)
            return MALFORMED;
    }
    return MALFORMED;
}

static enum kind parse(const uint8_t *head, size_t head_bytes, size_t frame_bytes,
                       struct headers *ret_headers)
{
    size_t at = ETHERNET_BYTES;
    uint16_t type;

    if (head_bytes < ETHERNET_BYTES)
        return MALFORMED;
    type = get16(head + 12);
    for (int i = 0; i < VLAN_TAGS_MAX && (type == 0x8100 || type == 0x88a8); i++) {
        at += VLAN_BYTES;
        if (head_bytes < at)
            return MALFORMED;
        type = get16(head + at - 2);
    }
    *ret_headers = (struct headers){.ip = at};
    if (type == 0x0800)
        return parse_ipv4(head, head_bytes, frame_bytes, ret_headers);
    if (type == 0x86dd)
        return parse_ipv6(head, head_bytes, frame_bytes, ret_headers);
    return OTHER;
}

/* RFC 9293 3.1, RFC 8200 8.1: addresses, length and protocol. */
static uint16_t pseudo_sum(const uint8_t *head, const struct headers *headers)
{
    uint8_t tail[8] = {(uint8_t)(headers->l4_bytes >> 24),
                       (uint8_t)(headers->l4_bytes >> 16),
                       (uint8_t)(headers->l4_bytes >> 8),
                       (uint8_t)headers->l4_bytes,
                       0,
                       0,
                       0,
                       headers->protocol};
    uint16_t addresses = headers->version == 4 ? sum_bytes(head + headers->ip + 12, 8)
                                               : sum_bytes(head + headers->ip + 8, 32);

    return sum_add(addresses, sum_bytes(tail, sizeof(tail)));
}

static void set_ipv4_checksum(uint8_t *ip, size_t header_bytes)
{
    uint16_t sum;

    memset(ip + 10, 0, 2);
    sum = (uint16_t)~sum_bytes(ip, header_bytes);
    memcpy(ip + 10, &sum, 2);
}

/* The kernel adds the sum of the rest (virtio 1.2, 5.1.6.2) and, of a large frame, cuts it. */
static void leave_to_kernel(const struct offload *offload, const struct headers *headers,
                            bool segments, struct offload_frame *frame)
{
    uint16_t sum = pseudo_sum(frame->head, headers);

    memcpy(frame->head + headers->checksum, &sum, 2);
    frame->header.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
    frame->header.csum_start = (uint16_t)headers->l4;
    frame->header.csum_offset = (uint16_t)(headers->checksum - headers->l4);
    if (segments) {
        size_t header_bytes = headers->l4 + headers->l4_header_bytes;

        frame->header.gso_type =
            headers->version == 4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6;
        frame->header.hdr_len = (uint16_t)header_bytes;
        frame->header.gso_size = (uint16_t)(offload->mtu - (header_bytes - headers->ip));
    }
}

/* What is behind the packet (RFC 894: padding) is none of its sum, and the kernel would add it: so we sum. */
static void set_checksum(const struct headers *headers, const struct iovec *iov, unsigned iov_len,
                         uint8_t *head)
{
    size_t payload = headers->l4 + headers->l4_header_bytes;
    uint16_t sum = pseudo_sum(head, headers);

    memset(head + headers->checksum, 0, 2);
    sum = sum_add(sum, sum_bytes(head + headers->l4, headers->l4_header_bytes));
    sum = (uint16_t)~sum_add(
        sum, iov_sum(iov, iov_len, payload, headers->l4_bytes - headers->l4_header_bytes));
    if (!sum)
        sum = 0xffff; /* as in complete() */
    memcpy(head + headers->checksum, &sum, 2);
}

bool offload_write(const struct offload *offload, const struct iovec *iov, unsigned iov_len,
                   size_t frame_bytes, struct offload_frame *ret_frame)
{
    bool segments, padded;
    struct headers headers;
    size_t head_bytes;
    enum kind kind;

    ret_frame->header = (struct virtio_net_hdr){0};
    ret_frame->head_bytes = 0;
    if (!offload->checksum && frame_bytes <= offload->mtu + ETHERNET_BYTES)
        return true;
    head_bytes = iov_read(iov, iov_len, 0, ret_frame->head,
                          frame_bytes < OFFLOAD_HEAD_MAX ? frame_bytes : OFFLOAD_HEAD_MAX);
    kind = parse(ret_frame->head, head_bytes, frame_bytes, &headers);
    segments = kind == IP && frame_bytes > headers.ip + offload->mtu;
    padded = kind == IP && headers.l4 + headers.l4_bytes < frame_bytes;
    if (kind == MALFORMED || (segments && !(offload->tso && headers.protocol == IPPROTO_TCP &&
                                            headers.l4_header_bytes && !padded)))
        return false;
    if (kind == OTHER)
        return frame_bytes <= offload->mtu + ETHERNET_BYTES + VLAN_TAGS_MAX * VLAN_BYTES;
    if (!offload->checksum && !segments)
        return true;
    if (headers.version == 4)
        set_ipv4_checksum(ret_frame->head + headers.ip, headers.l4 - headers.ip);
    if (headers.l4_header_bytes && padded)
        set_checksum(&headers, iov, iov_len, ret_frame->head);
    else if (headers.l4_header_bytes)
        leave_to_kernel(offload, &headers, segments, ret_frame);
    /* Where nothing was changed the headers may be longer than what was looked at (extensions of IPv6). */
    if (headers.version == 4 || headers.l4_header_bytes)
        ret_frame->head_bytes = headers.l4 + headers.l4_header_bytes;
    return true;
}

/* ---- reading */

/* Puts the checksum where the kernel says: the place holds the sum of the pseudo header. */
static bool complete(const struct virtio_net_hdr *header, const struct iovec *iov, unsigned iov_len,
                     size_t frame_bytes)
{
    size_t start = header->csum_start, at = start + header->csum_offset;
    uint16_t sum;

    if (at + 2 > frame_bytes)
        return false;
    sum = (uint16_t)~iov_sum(iov, iov_len, start, frame_bytes - start);
    if (!sum)
        sum = 0xffff; /* to UDP 0 means "none" (RFC 768), to TCP both are the same */
    iov_write(iov, iov_len, at, &sum, 2);
    return true;
}

/* False for a frame whose headers or checksums are wrong. */
static bool verify(const struct iovec *iov, unsigned iov_len, size_t frame_bytes)
{
    uint8_t head[OFFLOAD_HEAD_MAX];
    struct headers headers;
    size_t head_bytes =
        iov_read(iov, iov_len, 0, head, frame_bytes < sizeof(head) ? frame_bytes : sizeof(head));
    enum kind kind = parse(head, head_bytes, frame_bytes, &headers);

    if (kind != IP)
        return kind == OTHER;
    if (headers.version == 4 &&
        sum_bytes(head + headers.ip, (size_t)(head[headers.ip] & 15) * 4) != 0xffff)
        return false;
    if (!headers.l4_header_bytes)
        return true;
    if (headers.protocol == IPPROTO_UDP && headers.version == 4 &&
        get16(head + headers.checksum) == 0)
        return true;
    return sum_add(pseudo_sum(head, &headers),
                   iov_sum(iov, iov_len, headers.l4, headers.l4_bytes)) == 0xffff;
}

bool offload_read(const struct offload *offload, const struct virtio_net_hdr *header,
                  const struct iovec *iov, unsigned iov_len, size_t frame_bytes)
{
    if (header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
        return complete(header, iov, iov_len, frame_bytes);
    if (offload->checksum && !(header->flags & VIRTIO_NET_HDR_F_DATA_VALID))
        return verify(iov, iov_len, frame_bytes);
    return true;
}
