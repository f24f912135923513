/* SPDX-License-Identifier: Apache-2.0 */
/* Who may answer a guest's port, and that their number is bounded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "uplink/udp_filter.h"

static void test_only_who_was_added(void **state)
{
    struct udp_filter filter = {0};

    assert_false(udp_filter_has(&filter, 0));
    udp_filter_add(&filter, 7);
    assert_true(udp_filter_has(&filter, 7));
    assert_false(udp_filter_has(&filter, 0));
    assert_false(udp_filter_has(&filter, 8));
}

static void test_the_first_gives_way(void **state)
{
    struct udp_filter filter = {0};

    for (uint64_t peer = 1; peer <= UDP_FILTER_PEERS_MAX; peer++)
        for (int again = 0; again < 3; again++)
            udp_filter_add(&filter, peer);
    for (uint64_t peer = 1; peer <= UDP_FILTER_PEERS_MAX; peer++)
        assert_true(udp_filter_has(&filter, peer));
    udp_filter_add(&filter, 1000);
    udp_filter_add(&filter, 1001);
    assert_int_equal(filter.len, UDP_FILTER_PEERS_MAX);
    assert_false(udp_filter_has(&filter, 1));
    assert_false(udp_filter_has(&filter, 2));
    assert_true(udp_filter_has(&filter, 3));
    assert_true(udp_filter_has(&filter, 1000) && udp_filter_has(&filter, 1001));
    udp_filter_add(&filter, 1); /* asked again */
    assert_true(udp_filter_has(&filter, 1));
    assert_false(udp_filter_has(&filter, 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_who_was_added),
        cmocka_unit_test(test_the_first_gives_way),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
