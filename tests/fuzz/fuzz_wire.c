/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes of a guest into everything that reads a packet, and into everything that answers one.
 *
 * The input is a series of packets, each behind its length (two bytes, big endian), so that the
 * fuzzer can make fragments follow each other. IPv4 header checksums are mended first: a fuzzer
 * does not guess them. What is built must be a packet that we would accept, with the right
 * checksum.
 */
#include "fuzz.h"
#include "wire/packet.h"
#include "wire/reassembly.h"

static volatile uint8_t sink;

static void read_all(const uint8_t *data, size_t len_bytes)
{
    uint8_t sum = 0;

    for (size_t i = 0; i < len_bytes; i++)
        sum ^= data[i];
    sink = sum;
}

static void require_valid(const uint8_t *data, size_t len_bytes)
{
    struct wire_packet packet;

    REQUIRE(wire_parse(data, len_bytes, &packet) == WIRE_PARSE_OK);
    REQUIRE(packet.len_bytes == len_bytes && wire_checksum_ok(&packet));
}

static void mend_checksum(uint8_t *data, size_t len_bytes)
{
    size_t header_bytes = len_bytes ? (data[0] & 15u) * 4 : 0;
    uint16_t checksum;

    if (len_bytes < 20 || data[0] >> 4 != 4 || header_bytes < 20 || header_bytes > len_bytes)
        return;
    data[10] = data[11] = 0;
    checksum = wire_checksum_fold(wire_checksum_add(0, data, header_bytes));
    data[10] = (uint8_t)(checksum >> 8);
    data[11] = (uint8_t)checksum;
}

static void require_inside(const struct wire_packet *packet, const uint8_t *part, size_t part_bytes)
{
    size_t at = (size_t)(part - packet->data);

    REQUIRE(at <= packet->len_bytes && part_bytes <= packet->len_bytes - at);
    read_all(part, part_bytes);
}

/* As what an ICMP error quotes: of any length, with any lengths in it. */
static void quoted(const uint8_t *data, size_t len_bytes)
{
    struct wire_packet packet;

    if (wire_parse_quoted(data, len_bytes, &packet) != WIRE_PARSE_OK)
        return;
    REQUIRE(packet.len_bytes == len_bytes && packet.l4_len_bytes >= 8);
    require_inside(&packet, packet.l4, packet.l4_len_bytes);
    if (packet.payload)
        require_inside(&packet, packet.payload, packet.payload_len_bytes);
}

static void answer(const struct wire_packet *packet)
{
    uint8_t buf[WIRE_ICMP_ERROR_MAX];
    struct ip_addr from = packet->dst;
    size_t len_bytes = wire_build_rst(buf, packet);

    REQUIRE(len_bytes <= WIRE_RST_MAX);
    if (len_bytes)
        require_valid(buf, len_bytes);
    for (int why = WIRE_UNREACHABLE_NET; why <= WIRE_UNREACHABLE_TTL; why++) {
        len_bytes = wire_build_icmp_error(buf, &from, packet, (enum wire_unreachable)why, 1400);
        REQUIRE(len_bytes <= (from.family == AF_INET ? 576 : WIRE_ICMP_ERROR_MAX));
        if (len_bytes)
            require_valid(buf, len_bytes);
    }
}

/* The bytes behind a packet's headers as a virtio-net header: what it asks for stays within the packet. */
static void offload(const struct wire_packet *packet)
{
    uint8_t *copy = malloc(packet->len_bytes), *cut = malloc(packet->len_bytes);
    struct wire_vnet_hdr vnet;
    struct wire_packet again;
    size_t segment_bytes;

    REQUIRE(copy && cut);
    memcpy(copy, packet->data, packet->len_bytes);
    REQUIRE(wire_parse(copy, packet->len_bytes, &again) == WIRE_PARSE_OK);
    if (again.payload && again.payload_len_bytes >= sizeof(vnet)) {
        memcpy(&vnet, again.payload, sizeof(vnet));
        if (wire_offload_checksum(&vnet, copy, &again) &&
            wire_offload_segments(&vnet, &again, &segment_bytes) && vnet.gso_type) {
            REQUIRE(segment_bytes > 0 && segment_bytes <= again.payload_len_bytes);
            REQUIRE(wire_cut_segment(cut, packet->len_bytes, &again,
                                     again.payload_len_bytes - segment_bytes, segment_bytes));
        }
    }
    free(copy);
    free(cut);
}

static int take_fragment(void *context, const uint8_t *fragment, size_t len_bytes)
{
    struct wire_packet packet;

    (void)context;
    REQUIRE(len_bytes <= WIRE_IPV6_MTU_MIN);
    REQUIRE(wire_parse(fragment, len_bytes, &packet) == WIRE_PARSE_OK);
    return 0;
}

static void one_packet(struct reassembly *reassembly, const uint8_t *data, size_t len_bytes,
                       uint64_t now_ms)
{
    struct wire_packet packet;
    const uint8_t *whole;
    size_t whole_bytes;

    quoted(data, len_bytes);
    if (wire_parse(data, len_bytes, &packet) != WIRE_PARSE_OK)
        return;
    REQUIRE(packet.len_bytes <= len_bytes);
    require_inside(&packet, packet.l4, packet.l4_len_bytes);
    if (packet.payload)
        require_inside(&packet, packet.payload, packet.payload_len_bytes);
    (void)wire_checksum_ok(&packet);
    answer(&packet);
    if (!packet.is_fragment && packet.src.family == AF_INET6 && packet.l4 == packet.data + 40)
        wire_fragment_v6(packet.data, packet.len_bytes, WIRE_IPV6_MTU_MIN, 1, take_fragment, NULL);
    if (!packet.is_fragment) {
        offload(&packet);
        return;
    }
    if (reassembly_add(reassembly, &packet, packet.src.bytes[3], now_ms, &whole, &whole_bytes) != 1)
        return;
    read_all(whole, whole_bytes);
    if (wire_parse(whole, whole_bytes, &packet) != WIRE_PARSE_OK)
        return;
    REQUIRE(!packet.is_fragment && packet.len_bytes == whole_bytes);
    (void)wire_checksum_ok(&packet);
    answer(&packet);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
    struct reassembly *reassembly = reassembly_new();
    uint64_t now_ms = 0;

    REQUIRE(reassembly);
    while (len_bytes >= 2) {
        size_t told_bytes = (size_t)(data[0] << 8 | data[1]);
        size_t packet_bytes = told_bytes < len_bytes - 2 ? told_bytes : len_bytes - 2;
        uint8_t *packet = malloc(packet_bytes ? packet_bytes : 1);

        REQUIRE(packet);
        memcpy(packet, data + 2, packet_bytes);
        mend_checksum(packet, packet_bytes);
        one_packet(reassembly, packet, packet_bytes, now_ms);
        free(packet);
        data += 2 + packet_bytes;
        len_bytes -= 2 + packet_bytes;
        now_ms += 100;
    }
    reassembly_free(reassembly);
    return 0;
}
