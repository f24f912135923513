/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a virtio-net header says of a packet: one of datagrams that are to be cut, and one with another packet
 * in its payload, each right and then broken a field at a time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "wire/packet.h"

#define PAYLOAD_BYTES 3000
#define SEGMENT_BYTES 1400
#define UDP_BYTES 8

struct made {
    struct wire_vnet_hdr vnet;
    struct wire_packet packet;
    uint8_t *data;
    uint8_t buf[WIRE_HEADROOM + WIRE_PACKET_MAX];
};

static const struct wire_ip_fields fields = {.ttl = 63, .tos = 0xb9, .id = 7};

static struct ip_endpoint endpoint(int family, uint8_t last)
{
    struct ip_endpoint result = {.port = (uint16_t)(40000 + last)};

    result.addr.family = (uint8_t)family;
    result.addr.bytes[0] = family == AF_INET ? 192 : 0xfd;
    result.addr.bytes[family == AF_INET ? 3 : 15] = last;
    return result;
}

static void make(struct made *made, int family, size_t payload_bytes, size_t segment_bytes)
{
    struct ip_endpoint src = endpoint(family, 1), dst = endpoint(family, 2);
    uint8_t *payload = made->buf + WIRE_HEADROOM;

    for (size_t i = 0; i < payload_bytes; i++)
        payload[i] = (uint8_t)(i * 7 + i / 256);
    made->data = wire_prepend_udp_offload(payload, payload_bytes, segment_bytes, &src, &dst,
                                          &fields, &made->vnet);
    assert_int_equal(
        wire_parse(made->data, (size_t)(payload - made->data) + payload_bytes, &made->packet),
        WIRE_PARSE_OK);
}

static bool is_right(const struct made *made, size_t expected_bytes)
{
    size_t segment_bytes = 0;

    if (!wire_offload_segments(&made->vnet, &made->packet, &segment_bytes))
        return false;
    assert_int_equal(segment_bytes, expected_bytes);
    return true;
}

static void test_datagrams_to_be_cut(void **state)
{
    static struct made made;
    const int families[] = {AF_INET, AF_INET6};

    for (size_t i = 0; i < 2; i++) {
        make(&made, families[i], PAYLOAD_BYTES, SEGMENT_BYTES);
        assert_true(is_right(&made, SEGMENT_BYTES));
        assert_int_equal(made.vnet.gso_type, WIRE_VNET_GSO_UDP_L4);
        assert_int_equal(made.vnet.hdr_len, made.packet.payload - made.data);
        assert_int_equal(made.packet.tos, fields.tos);
        assert_int_equal(made.packet.ttl, fields.ttl);
        assert_false(wire_checksum_ok(&made.packet));
        /* The sum of the pseudo header makes the rest right. */
        assert_true(wire_offload_finish(&made.vnet, made.data, made.packet.len_bytes));
        assert_true(wire_checksum_ok(&made.packet));
        /* As many as there may be, and one datagram that only says so. */
        make(&made, families[i], (size_t)WIRE_SEGMENTS_MAX * 100, 100);
        assert_true(is_right(&made, 100));
        make(&made, families[i], 100, 60);
        made.vnet.gso_size = 100;
        assert_true(is_right(&made, 100));
        made.vnet.gso_size = 5000;
        assert_true(is_right(&made, 100));
        /* None to be cut. */
        make(&made, families[i], 0, 0);
        assert_true(is_right(&made, 0));
    }
}

static void test_headers_that_lie(void **state)
{
    static struct made made;
    const uint8_t types[] = {1, 3, 4, 6, 0x80, 0x85, 0xff};

#define BROKEN(change)                                                                             \
    do {                                                                                           \
        make(&made, AF_INET, PAYLOAD_BYTES, SEGMENT_BYTES);                                        \
        change;                                                                                    \
        assert_false(is_right(&made, 0));                                                          \
    } while (0)

    for (size_t i = 0; i < sizeof(types); i++)
        BROKEN(made.vnet.gso_type = types[i]);
    BROKEN(made.vnet.gso_size = 0);
    BROKEN(made.vnet.gso_size = PAYLOAD_BYTES / WIRE_SEGMENTS_MAX);
    BROKEN(made.vnet.flags = 0);
    BROKEN(made.vnet.flags = WIRE_VNET_DATA_VALID);
    BROKEN(made.vnet.csum_start++);
    BROKEN(made.vnet.csum_start = 0);
    BROKEN(made.vnet.csum_offset = 16);
    BROKEN(made.packet.protocol = WIRE_PROTO_TCP);
    BROKEN(made.packet.is_fragment = true);
    BROKEN(made.packet.payload_len_bytes = 0);
    BROKEN(made.packet.l4_len_bytes++);
#undef BROKEN
}

static void test_checksum_within_the_payload(void **state)
{
    static struct made made;
    const size_t inner_at = 20 + UDP_BYTES + 50;
    uint32_t sum;

    /* A datagram whose own checksum is whole but for what the inner one changes, as Linux leaves it. */
    make(&made, AF_INET, 500, 500);
    memset(made.data + inner_at + 16, 0, 2);
    made.vnet.csum_start = inner_at;
    made.vnet.csum_offset = 16;
    assert_true(wire_offload_checksum(&made.vnet, made.data, &made.packet));
    assert_int_equal(made.vnet.flags, 0);
    sum = wire_checksum_add(0, made.data + inner_at, made.packet.len_bytes - inner_at);
    assert_int_equal(wire_checksum_fold(sum), 0);

    /* Its own is left alone, and so is one that nobody asks for. */
    make(&made, AF_INET, 500, 500);
    assert_true(wire_offload_checksum(&made.vnet, made.data, &made.packet));
    assert_int_equal(made.vnet.flags, WIRE_VNET_NEEDS_CSUM);
    assert_false(wire_checksum_ok(&made.packet));
    made.vnet.flags = 0;
    made.vnet.csum_start = 0;
    assert_true(wire_offload_checksum(&made.vnet, made.data, &made.packet));
}

static void test_checksum_elsewhere(void **state)
{
    static struct made made;
    static const struct {
        uint16_t start, offset;
    } wrong[] = {
        {0, 6},   /* an address */
        {0, 9},   /* the protocol */
        {20, 2},  /* a port */
        {27, 16}, /* the last byte of the header */
        {27, 6},  {28, 499}, {28, 65535}, {527, 0}, {528, 0}, {65535, 0}, {65535, 65535},
    };

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        uint8_t before[528];

        make(&made, AF_INET, 500, 500);
        memcpy(before, made.data, sizeof(before));
        made.vnet.csum_start = wrong[i].start;
        made.vnet.csum_offset = wrong[i].offset;
        assert_false(wire_offload_checksum(&made.vnet, made.data, &made.packet));
        assert_memory_equal(made.data, before, sizeof(before));
    }
}

static void test_cuts(void **state)
{
    static struct made made;
    static uint8_t buf[WIRE_HEADROOM + WIRE_PACKET_MAX];
    const int families[] = {AF_INET, AF_INET6};
    struct wire_packet cut;

    for (size_t i = 0; i < 2; i++) {
        size_t len_bytes, headers_bytes;

        make(&made, families[i], PAYLOAD_BYTES, SEGMENT_BYTES);
        headers_bytes = (size_t)(made.packet.payload - made.data);
        len_bytes = wire_cut_segment(buf, sizeof(buf), &made.packet, 2 * SEGMENT_BYTES,
                                     PAYLOAD_BYTES - 2 * SEGMENT_BYTES);
        assert_int_equal(len_bytes, headers_bytes + PAYLOAD_BYTES - 2 * SEGMENT_BYTES);
        assert_int_equal(wire_parse(buf, len_bytes, &cut), WIRE_PARSE_OK);
        assert_int_equal(cut.len_bytes, len_bytes);
        assert_int_equal(cut.payload_len_bytes, PAYLOAD_BYTES - 2 * SEGMENT_BYTES);
        assert_memory_equal(cut.payload, made.packet.payload + 2 * SEGMENT_BYTES,
                            cut.payload_len_bytes);
        assert_int_equal(cut.src_port, made.packet.src_port);
        assert_true(ip_equal(&cut.dst, &made.packet.dst));
        assert_int_equal(wire_cut_segment(buf, 100, &made.packet, 0, SEGMENT_BYTES), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_datagrams_to_be_cut),
        cmocka_unit_test(test_headers_that_lie),
        cmocka_unit_test(test_checksum_within_the_payload),
        cmocka_unit_test(test_checksum_elsewhere),
        cmocka_unit_test(test_cuts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
