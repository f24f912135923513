/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A packet is cut into pieces here, by hand for IPv4, with the headers spelled out; then pieces are
 * left out, doubled, moved and mixed. Time is a number.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/reassembly.h"

#define PAYLOAD_BYTES 3000
#define PIECE_BYTES 1024

struct fixture {
    struct reassembly *reassembly;
    const uint8_t *data; /* of the last whole packet */
    size_t len_bytes;
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    fixture->reassembly = reassembly_new();
    *state = fixture;
    return fixture->reassembly ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;

    reassembly_free(fixture->reassembly);
    free(fixture);
    return 0;
}

static uint8_t content(size_t offset)
{
    return (uint8_t)(offset * 7 + offset / 256);
}

/* Which packet a piece belongs to. */
struct whole {
    bool v6;
    uint8_t source; /* last byte of its address */
    unsigned sender;
    uint8_t protocol;
    uint16_t id;
};

static const struct whole plain4 = {.source = 2, .protocol = 253, .id = 77};
static const struct whole plain6 = {.v6 = true, .source = 2, .protocol = 253, .id = 77};

static int add(struct fixture *fixture, const struct whole *whole, size_t offset, size_t len_bytes,
               bool more, uint64_t now_ms)
{
    static const uint8_t v4[20] = {0x45, 0x10, 0,  0, 0, 0, 0,  0, 60, 0,
                                   0,    0,    10, 0, 0, 0, 10, 0, 0,  9};
    static const uint8_t v6[48] = {0x62, 0x0f, 0xee, 0xdd,        0,       0,
                                   44,   60,   0xfd, [24] = 0xfd, [39] = 9};
    static uint8_t bytes[48 + WIRE_PACKET_MAX];
    size_t header_bytes = whole->v6 ? sizeof(v6) : sizeof(v4);
    size_t total_bytes = header_bytes + len_bytes;
    struct wire_packet fragment;

    memcpy(bytes, whole->v6 ? v6 : v4, header_bytes);
    if (whole->v6) {
        bytes[4] = (uint8_t)((total_bytes - 40) >> 8);
        bytes[5] = (uint8_t)(total_bytes - 40);
        bytes[23] = whole->source;
        bytes[40] = whole->protocol;
        bytes[42] = (uint8_t)(offset >> 8);
        bytes[43] = (uint8_t)(offset | more);
        bytes[46] = (uint8_t)(whole->id >> 8);
        bytes[47] = (uint8_t)whole->id;
    } else {
        uint16_t checksum;

        bytes[2] = (uint8_t)(total_bytes >> 8);
        bytes[3] = (uint8_t)total_bytes;
        bytes[4] = (uint8_t)(whole->id >> 8);
        bytes[5] = (uint8_t)whole->id;
        bytes[6] = (uint8_t)(offset / 8 >> 8 | (more ? 0x20 : 0));
        bytes[7] = (uint8_t)(offset / 8);
        bytes[9] = whole->protocol;
        bytes[15] = whole->source;
        checksum = wire_checksum_fold(wire_checksum_add(0, bytes, sizeof(v4)));
        bytes[10] = (uint8_t)(checksum >> 8);
        bytes[11] = (uint8_t)checksum;
    }
    for (size_t i = 0; i < len_bytes; i++)
        bytes[header_bytes + i] = content(offset + i);
    assert_int_equal(wire_parse(bytes, total_bytes, &fragment), WIRE_PARSE_OK);
    assert_true(fragment.is_fragment);
    return reassembly_add(fixture->reassembly, &fragment, whole->sender, now_ms, &fixture->data,
                          &fixture->len_bytes);
}

/* The pieces of PAYLOAD_BYTES: 0, 1 and, shorter, 2. */
static int add_piece(struct fixture *fixture, const struct whole *whole, unsigned piece,
                     uint64_t now_ms)
{
    size_t offset = (size_t)piece * PIECE_BYTES;
    bool more = piece < 2;

    return add(fixture, whole, offset, more ? PIECE_BYTES : PAYLOAD_BYTES - offset, more, now_ms);
}

static void assert_whole(const struct fixture *fixture, const struct whole *whole,
                         size_t payload_bytes)
{
    struct wire_packet packet;

    assert_int_equal(wire_parse(fixture->data, fixture->len_bytes, &packet), WIRE_PARSE_OK);
    assert_int_equal(packet.len_bytes, fixture->len_bytes);
    assert_int_equal(fixture->len_bytes, payload_bytes + (whole->v6 ? 40 : 20));
    assert_false(packet.is_fragment);
    assert_int_equal(packet.protocol, whole->protocol);
    assert_int_equal(packet.src.bytes[whole->v6 ? 15 : 3], whole->source);
    assert_int_equal(packet.dst.bytes[whole->v6 ? 15 : 3], 9);
    assert_int_equal(packet.ttl, 60);
    assert_int_equal(packet.tos, whole->v6 ? 0x20 : 0x10);
    assert_int_equal(packet.l4_len_bytes, payload_bytes);
    for (size_t i = 0; i < payload_bytes; i++)
        if (packet.l4[i] != content(i))
            fail_msg("byte %zu differs", i);
}

static void test_in_order(void **state)
{
    const struct whole *const both[] = {&plain4, &plain6};

    for (int i = 0; i < 2; i++) {
        assert_int_equal(add_piece(*state, both[i], 0, 1000), 0);
        assert_int_equal(add_piece(*state, both[i], 1, 1000), 0);
        assert_int_equal(add_piece(*state, both[i], 2, 1000), 1);
        assert_whole(*state, both[i], PAYLOAD_BYTES);
        /* It is forgotten then: a late duplicate finds nothing. */
        assert_int_equal(add_piece(*state, both[i], 2, 1000), -EBADMSG);
    }
}

/* What is not in order forgets the packet: the rest does not make it whole either. */
static void test_out_of_order(void **state)
{
    static const struct {
        const char *title;
        unsigned pieces[4];
        int results[4];
    } all[] = {
        {"gap", {0, 2, 1, 2}, {0, -EBADMSG, -EBADMSG, -EBADMSG}},
        {"first piece twice", {0, 0, 1, 2}, {0, -EBADMSG, -EBADMSG, -EBADMSG}},
        {"middle piece twice", {0, 1, 1, 2}, {0, 0, -EBADMSG, -EBADMSG}},
        {"last piece first", {2, 1, 0, 2}, {-EBADMSG, -EBADMSG, 0, -EBADMSG}},
        {"back again", {0, 1, 0, 2}, {0, 0, -EBADMSG, -EBADMSG}},
    };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        for (int v6 = 0; v6 < 2; v6++) {
            struct whole whole = v6 ? plain6 : plain4;

            whole.id = (uint16_t)(100 + i);
            for (int j = 0; j < 4; j++) {
                int result = add_piece(*state, &whole, all[i].pieces[j], 1000);

                if (result != all[i].results[j])
                    fail_msg("%s, step %d: %d", all[i].title, j, result);
            }
        }
}

static void test_overlap(void **state)
{
    assert_int_equal(add(*state, &plain4, 0, 1024, true, 0), 0);
    assert_int_equal(add(*state, &plain4, 1016, 1024, true, 0), -EBADMSG);
    assert_int_equal(add(*state, &plain4, 1024, 8, false, 0), -EBADMSG);
}

/* Packets that differ in one part of the key only do not get into each other's way. */
static void test_keys(void **state)
{
    struct whole other[] = {plain4, plain4, plain4, plain6, plain6};

    other[0].id++;
    other[1].source++;
    other[2].protocol++;
    other[3].id++;
    assert_int_equal(add_piece(*state, &plain4, 0, 0), 0);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(add_piece(*state, &other[i], 0, 0), 0);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(add_piece(*state, &other[i], 1, 0), 0);
    assert_int_equal(add_piece(*state, &plain4, 1, 0), 0);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(add_piece(*state, &other[i], 2, 0), 1);
        assert_whole(*state, &other[i], PAYLOAD_BYTES);
    }
    assert_int_equal(add_piece(*state, &plain4, 2, 0), 1);
    assert_whole(*state, &plain4, PAYLOAD_BYTES);
}

/* RFC 8200 4.5: of IPv6 fragments, the next header of the first counts and others may differ. */
static void test_ipv6_next_header(void **state)
{
    struct whole later = plain6;

    later.protocol = 252;
    assert_int_equal(add_piece(*state, &plain6, 0, 0), 0);
    assert_int_equal(add_piece(*state, &later, 1, 0), 0);
    assert_int_equal(add_piece(*state, &later, 2, 0), 1);
    assert_whole(*state, &plain6, PAYLOAD_BYTES);
}

static void test_timeout(void **state)
{
    assert_int_equal(add_piece(*state, &plain4, 0, 1000), 0);
    assert_int_equal(add_piece(*state, &plain4, 1, 1000 + REASSEMBLY_TIMEOUT_MS), 0);
    assert_int_equal(add_piece(*state, &plain4, 2, 1001 + REASSEMBLY_TIMEOUT_MS), -EBADMSG);

    /* A first piece after the time is a new packet, not a duplicate. */
    assert_int_equal(add_piece(*state, &plain4, 0, 20000), 0);
    assert_int_equal(add_piece(*state, &plain4, 0, 20001 + REASSEMBLY_TIMEOUT_MS), 0);
}

static void test_longest(void **state)
{
    struct whole whole = plain4;

    assert_int_equal(add(*state, &whole, 0, 65504, true, 0), 0);
    assert_int_equal(add(*state, &whole, 65504, 11, false, 0), 1);
    assert_whole(*state, &whole, WIRE_PACKET_MAX - 20);

    whole = plain6;
    assert_int_equal(add(*state, &whole, 0, 65520, true, 0), 0);
    assert_int_equal(add(*state, &whole, 65520, 15, false, 0), 1);
    assert_whole(*state, &whole, WIRE_PACKET_MAX);
}

/* wire_parse() refuses such a piece; one that says it is where it is not must be refused here. */
static void test_too_long(void **state)
{
    struct fixture *fixture = *state;
    static uint8_t bytes[20 + 65504] = {0x45};
    struct wire_packet first = {
        .data = bytes,
        .len_bytes = sizeof(bytes),
        .protocol = 253,
        .src = ip_from_u32(0x0a000001),
        .dst = ip_from_u32(0x0a000002),
        .l4 = bytes + 20,
        .l4_len_bytes = 65504,
        .is_fragment = true,
        .more_fragments = true,
    };
    struct wire_packet last = first;

    last.fragment_offset_bytes = 65504;
    last.more_fragments = false;
    last.l4_len_bytes = 12;
    assert_int_equal(
        reassembly_add(fixture->reassembly, &first, 0, 0, &fixture->data, &fixture->len_bytes), 0);
    assert_int_equal(
        reassembly_add(fixture->reassembly, &last, 0, 0, &fixture->data, &fixture->len_bytes),
        -EBADMSG);
    last.l4_len_bytes = 11;
    assert_int_equal(
        reassembly_add(fixture->reassembly, &last, 0, 0, &fixture->data, &fixture->len_bytes),
        -EBADMSG);
}

static void test_flood_of_one_sender(void **state)
{
    struct whole flood = plain4;

    flood.sender = 66;
    assert_int_equal(add_piece(*state, &plain4, 0, 0), 0);
    /* Whatever addresses it has. */
    for (unsigned i = 0; i < 1000; i++) {
        flood.id = (uint16_t)i;
        flood.source = (uint8_t)(66 + i % 100);
        assert_int_equal(add_piece(*state, &flood, 0, 0), 0);
    }
    assert_int_equal(add_piece(*state, &plain4, 1, 0), 0);
    assert_int_equal(add_piece(*state, &plain4, 2, 0), 1);

    /* The latest of the flood are still there, and no more than its share. */
    flood.id = 1000 - REASSEMBLY_SLOTS_A_SENDER;
    flood.source = 66 + (1000 - REASSEMBLY_SLOTS_A_SENDER) % 100;
    assert_int_equal(add_piece(*state, &flood, 1, 0), 0);
    flood.id = 1000 - REASSEMBLY_SLOTS_A_SENDER - 1;
    flood.source--;
    assert_int_equal(add_piece(*state, &flood, 1, 0), -EBADMSG);
}

static void test_oldest_gives_way(void **state)
{
    struct whole whole = plain4;

    for (unsigned i = 0; i <= REASSEMBLY_SLOTS; i++) {
        whole.source = (uint8_t)(10 + i);
        whole.sender = i;
        assert_int_equal(add_piece(*state, &whole, 0, 0), 0);
    }
    whole.source = 10;
    assert_int_equal(add_piece(*state, &whole, 1, 0), -EBADMSG);
    for (unsigned i = 1; i <= REASSEMBLY_SLOTS; i++) {
        whole.source = (uint8_t)(10 + i);
        whole.sender = i;
        assert_int_equal(add_piece(*state, &whole, 1, 0), 0);
    }
}

/* Destination options in front of another fragment header: the whole would be a piece again. */
static void test_fragment_within(void **state)
{
    struct fixture *fixture = *state;
    uint8_t first[48 + 16] = {
        0x60, [5] = 24, [6] = 44, [8] = 0xfd, [24] = 0xfd, [40] = 60, [43] = 1};
    uint8_t last[48 + 8] = {
        0x60, [5] = 16, [6] = 44, [8] = 0xfd, [24] = 0xfd, [40] = 60, [43] = 16};
    struct wire_packet fragment;

    first[48] = 44; /* destination options, then the fragment header: offset 8 */
    first[56] = 17;
    first[59] = 8;
    assert_int_equal(wire_parse(first, sizeof(first), &fragment), WIRE_PARSE_OK);
    assert_int_equal(
        reassembly_add(fixture->reassembly, &fragment, 0, 0, &fixture->data, &fixture->len_bytes),
        0);
    assert_int_equal(wire_parse(last, sizeof(last), &fragment), WIRE_PARSE_OK);
    assert_int_equal(
        reassembly_add(fixture->reassembly, &fragment, 0, 0, &fixture->data, &fixture->len_bytes),
        -EBADMSG);
}

static void test_free_of_nothing(void **state)
{
    (void)state;
    reassembly_free(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_in_order),
        TEST(test_out_of_order),
        TEST(test_overlap),
        TEST(test_keys),
        TEST(test_ipv6_next_header),
        TEST(test_timeout),
        TEST(test_longest),
        TEST(test_too_long),
        TEST(test_flood_of_one_sender),
        TEST(test_oldest_gives_way),
        TEST(test_fragment_within),
        cmocka_unit_test(test_free_of_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
