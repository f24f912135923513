/* SPDX-License-Identifier: Apache-2.0 */
/* Announcements, byte by byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

#include <cmocka.h>

#include "wire/announce.h"
#include "wire/packet.h"

static const struct mac_addr mac = {{0x52, 0x56, 1, 2, 3, 4}};

static size_t announce(const char *text, uint8_t frame[WIRE_ANNOUNCE_MAX])
{
    struct ip_addr addr = {0};

    if (text)
        assert_int_equal(ip_parse(text, &addr), 0);
    memset(frame, 0xaa, WIRE_ANNOUNCE_MAX);
    return wire_announce(frame, &mac, &addr);
}

static void test_ipv4(void **state)
{
    static const uint8_t expected[60] = {
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x56, 1, 2, 3, 4, 8, 6, /* to all, ARP */
        0,    1,    8,    0,    6,    4,    0,    1,                      /* a request */
        0x52, 0x56, 1,    2,    3,    4,    192,  0,    2, 7,             /* sender */
        0,    0,    0,    0,    0,    0,    192,  0,    2, 7,             /* target */
    };
    uint8_t frame[WIRE_ANNOUNCE_MAX];

    assert_int_equal(announce("192.0.2.7", frame), sizeof(expected));
    assert_memory_equal(frame, expected, sizeof(expected));
}

static void test_without_address(void **state)
{
    static const uint8_t expected[60] = {
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x56, 1, 2, 3, 4, 0x80, 0x35, /* to all, RARP */
        0,    1,    8,    0,    6,    4,    0,    3,          /* a reverse request */
        0x52, 0x56, 1,    2,    3,    4,    0,    0,    0, 0, /* sender */
        0x52, 0x56, 1,    2,    3,    4,    0,    0,    0, 0, /* whose address is asked for */
    };
    uint8_t frame[WIRE_ANNOUNCE_MAX];

    assert_int_equal(announce(NULL, frame), sizeof(expected));
    assert_memory_equal(frame, expected, sizeof(expected));
}

static void test_ipv6(void **state)
{
    static const uint8_t ethernet[] = {0x33, 0x33, 0, 0, 0, 1, 0x52, 0x56, 1, 2, 3, 4, 0x86, 0xdd};
    static const uint8_t link_layer[] = {2, 1, 0x52, 0x56, 1, 2, 3, 4};
    uint8_t frame[WIRE_ANNOUNCE_MAX];
    struct wire_packet packet;
    struct ip_addr addr, all_nodes;

    ip_parse("2001:db8::7", &addr);
    ip_parse("ff02::1", &all_nodes);
    assert_int_equal(announce("2001:db8::7", frame), WIRE_ANNOUNCE_MAX);
    assert_memory_equal(frame, ethernet, sizeof(ethernet));
    assert_int_equal(wire_parse(frame + 14, sizeof(frame) - 14, &packet), WIRE_PARSE_OK);
    assert_int_equal(packet.len_bytes, sizeof(frame) - 14);
    assert_true(wire_checksum_ok(&packet));
    assert_true(ip_equal(&packet.src, &addr) && ip_equal(&packet.dst, &all_nodes));
    assert_int_equal(packet.ttl, 255);
    assert_int_equal(packet.icmp_type, 136);
    assert_int_equal(packet.icmp_code, 0);
    assert_int_equal(packet.l4[4], 0x20); /* not solicited, overrides */
    assert_memory_equal(packet.l4 + 8, addr.bytes, 16);
    assert_memory_equal(packet.l4 + 24, link_layer, sizeof(link_layer));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ipv4),
        cmocka_unit_test(test_without_address),
        cmocka_unit_test(test_ipv6),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
