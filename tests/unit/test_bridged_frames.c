/* SPDX-License-Identifier: Apache-2.0 */
/* The programs that pick frames, run by libpcap's interpreter of classic BPF. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

#include <cmocka.h>
#include <pcap/pcap.h>

#include "plane/linux/bridged_frames.h"

_Static_assert(sizeof(struct bpf_insn) == sizeof(struct sock_filter), "one format, two names");

static const struct mac_addr broadcast = {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
static const struct mac_addr stranger = {{0x52, 0x56, 9, 9, 9, 9}};

static bool picks(const struct frames_program *program, struct mac_addr to, struct mac_addr from)
{
    uint8_t frame[60] = {0};

    memcpy(frame, to.bytes, 6);
    memcpy(frame + 6, from.bytes, 6);
    return bpf_filter((const struct bpf_insn *)(const void *)program->code, frame, sizeof(frame),
                      sizeof(frame)) != 0;
}

/* MAC number @i; @shared: of those that have their first two bytes in common. */
static struct mac_addr mac_of(unsigned i, bool shared)
{
    struct mac_addr mac = {{0x52, 0x56, 0, 0, (uint8_t)(i >> 8), (uint8_t)i}};

    if (!shared) {
        mac.bytes[0] = (uint8_t)(i >> 8 << 2 | 2);
        mac.bytes[1] = (uint8_t)i;
    }
    return mac;
}

static void check(unsigned len, bool shared)
{
    struct mac_addr macs[FRAMES_MACS_MAX];
    struct frames_program to, group;

    /* Not in order. */
    for (unsigned i = 0; i < len; i++)
        macs[i] = mac_of((i * 7 + 3) % len, shared);
    assert_int_equal(frames_to(&to, macs, len), 0);
    assert_int_equal(frames_to_group(&group, macs, len), 0);
    for (unsigned i = 0; i < len; i++) {
        struct mac_addr near = macs[i];

        assert_true(picks(&to, macs[i], stranger));
        assert_false(picks(&group, macs[i], stranger));
        assert_false(picks(&group, broadcast, macs[i]));
        /* One byte is another, of those that are the same for all. */
        near.bytes[i % 4] ^= 0x10;
        if (shared) {
            assert_false(picks(&to, near, stranger));
            assert_true(picks(&group, broadcast, near));
        }
    }
    assert_false(picks(&to, stranger, macs[0]));
    assert_false(picks(&to, broadcast, stranger));
    assert_true(picks(&group, broadcast, stranger));
}

static void test_few_and_many(void **state)
{
    (void)state;
    for (unsigned len = 1; len <= 20; len++) {
        check(len, true);
        check(len, false);
    }
    check(255, true);
    check(256, true);
    check(FRAMES_MACS_MAX, true);
    check(48, false);
}

static void test_nobody(void **state)
{
    struct frames_program to, group;

    (void)state;
    assert_int_equal(frames_to(&to, NULL, 0), 0);
    assert_int_equal(frames_to_group(&group, NULL, 0), 0);
    assert_false(picks(&to, stranger, stranger));
    assert_true(picks(&group, broadcast, stranger));
}

static void test_no_room(void **state)
{
    struct mac_addr macs[FRAMES_MACS_MAX];
    struct frames_program program;

    (void)state;
    for (unsigned i = 0; i < FRAMES_MACS_MAX; i++)
        macs[i] = mac_of(i, false);
    assert_int_equal(frames_to(&program, macs, FRAMES_MACS_MAX), -ENOSPC);
    assert_int_equal(frames_to_group(&program, macs, FRAMES_MACS_MAX), -ENOSPC);
    assert_int_equal(frames_to(&program, macs, FRAMES_MACS_MAX + 1), -ENOSPC);
}

/* IEEE 802.1Q-2018 8.6.3: not for more than one wire. Their neighbours are ordinary groups. */
static void test_reserved(void **state)
{
    struct mac_addr to = {{0x01, 0x80, 0xc2, 0, 0, 0}}, other = to;
    struct frames_program group;

    (void)state;
    frames_to_group(&group, NULL, 0);
    for (int i = 0; i < 16; i++) {
        to.bytes[5] = (uint8_t)i;
        assert_false(picks(&group, to, stranger));
    }
    for (int i = 1; i < 6; i++) {
        other = to;
        other.bytes[i] ^= 0x20;
        assert_true(picks(&group, other, stranger));
    }
}

static void test_to_one(void **state)
{
    struct frames_program program;

    (void)state;
    frames_to_one(&program, &stranger);
    assert_true(picks(&program, mac_of(1, true), stranger));
    assert_false(picks(&program, stranger, mac_of(1, true)));
    assert_false(picks(&program, broadcast, mac_of(1, true)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_few_and_many), cmocka_unit_test(test_nobody),
        cmocka_unit_test(test_no_room),      cmocka_unit_test(test_reserved),
        cmocka_unit_test(test_to_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
