/* SPDX-License-Identifier: Apache-2.0 */
/* A DHCP server's acknowledgement, and the same broken field by field. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "plane/macos/lease.h"

#define FRAME_BYTES 300
#define IP 14
#define UDP (IP + 20)
#define DHCP (UDP + 8)
#define OPTIONS (DHCP + 240)

static const struct mac_addr mac = {{0x52, 0x54, 0, 1, 2, 3}};

static void make(uint8_t frame[FRAME_BYTES])
{
    memset(frame, 0, FRAME_BYTES);
    memcpy(frame, mac.bytes, 6);
    frame[12] = 0x08;
    frame[IP] = 0x45;
    frame[IP + 9] = 17;
    memcpy(frame + IP + 12, "\xc0\xa8\x40\x01", 4);
    frame[UDP + 1] = 67;
    frame[UDP + 3] = 68;
    frame[DHCP] = 2;
    memcpy(frame + DHCP + 16, "\xc0\xa8\x40\x05", 4);
    memcpy(frame + DHCP + 28, mac.bytes, 6);
    memcpy(frame + DHCP + 236, "\x63\x82\x53\x63", 4);
    memcpy(frame + OPTIONS, "\x00\x36\x04\xc0\xa8\x40\x01\x35\x01\x05\xff", 11);
}

static bool reads(const uint8_t *frame, size_t len_bytes)
{
    uint32_t ipv4 = 0;
    bool found = lease_read(frame, len_bytes, &mac, 0xc0a84001, &ipv4);

    assert_int_equal(ipv4, found ? 0xc0a84005 : 0);
    return found;
}

static void test_acknowledgement(void **state)
{
    uint8_t frame[FRAME_BYTES];

    make(frame);
    assert_true(reads(frame, sizeof(frame)));
}

static void test_other_frames(void **state)
{
    /* Each of these bytes makes it something else. */
    static const struct {
        size_t at;
        uint8_t value;
    } changes[] = {
        {13, 0x06},       {12, 0x86},        {IP, 0x65},         {IP, 0x44},
        {IP, 0x4f},       {IP + 6, 0x20},    {IP + 7, 1},        {IP + 9, 6},
        {IP + 15, 2},     {UDP + 1, 53},     {UDP + 3, 67},      {DHCP, 1},
        {DHCP + 28, 0x0}, {DHCP + 33, 0x77}, {DHCP + 236, 0},    {OPTIONS + 9, 2},
        {OPTIONS + 8, 2}, {OPTIONS, 0xff},   {OPTIONS + 2, 250}, {OPTIONS + 7, 0x36},
    };
    uint8_t frame[FRAME_BYTES];

    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        make(frame);
        frame[changes[i].at] = changes[i].value;
        assert_false(reads(frame, sizeof(frame)));
    }
    make(frame);
    memset(frame + DHCP + 16, 0, 4); /* DHCPINFORM's */
    assert_false(reads(frame, sizeof(frame)));
}

/* Of a network whose server is not known, anybody's counts. */
static void test_any_server(void **state)
{
    uint8_t frame[FRAME_BYTES];
    uint32_t ipv4;

    make(frame);
    frame[IP + 15] = 77;
    assert_false(lease_read(frame, sizeof(frame), &mac, 0xc0a84001, &ipv4));
    assert_true(lease_read(frame, sizeof(frame), &mac, 0, &ipv4));
}

static void test_cut_off(void **state)
{
    uint8_t frame[FRAME_BYTES];

    make(frame);
    for (size_t len_bytes = 0; len_bytes < OPTIONS + 10; len_bytes++)
        assert_false(reads(frame, len_bytes));
    assert_true(reads(frame, OPTIONS + 10));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_acknowledgement),
        cmocka_unit_test(test_other_frames),
        cmocka_unit_test(test_any_server),
        cmocka_unit_test(test_cut_off),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
