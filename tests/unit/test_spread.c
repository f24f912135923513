/* SPDX-License-Identifier: Apache-2.0 */
/* The choice of a worker is the kernel's: what it chose here is what Linux 6.18 chose by nftables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/spread.h"

static struct ip_endpoint endpoint(const char *address, unsigned port)
{
    struct ip_endpoint result = {.port = (uint16_t)port};

    assert_int_equal(ip_parse(address, &result.addr), 0);
    return result;
}

static void test_as_the_kernel(void **state)
{
    static const struct {
        unsigned port, worker4, worker6;
    } all[] = {
        {1, 0, 6},    {53, 0, 7},    {255, 0, 2},   {256, 3, 6},   {1024, 5, 0},  {4660, 2, 0},
        {5353, 2, 5}, {32767, 5, 4}, {32768, 2, 2}, {40000, 6, 6}, {51820, 0, 1}, {65535, 7, 2},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct ip_endpoint guest4 = endpoint("192.168.64.2", all[i].port);
        struct ip_endpoint guest6 = endpoint("fd00:1:2:3:4:5:6:7", all[i].port);

        assert_int_equal(spread_worker(&guest4, 8), all[i].worker4);
        assert_int_equal(spread_worker(&guest6, 8), all[i].worker6);
    }
}

/* Ports one after the other, as guests choose them, or every second one; and one port of many guests. */
static void test_even(void **state)
{
    (void)state;
    for (unsigned workers = 1; workers <= 8; workers++) {
        unsigned by_port[2][8] = {0}, by_guest[8] = {0};

        for (unsigned i = 0; i < 8000; i++) {
            struct ip_endpoint guest = endpoint("192.168.64.2", 32768 + i);
            unsigned worker = spread_worker(&guest, workers);

            assert_true(worker < workers);
            by_port[0][worker]++;
            guest.port = (uint16_t)(32768 + 2 * i);
            by_port[1][spread_worker(&guest, workers)]++;
            guest = (struct ip_endpoint){ip_from_u32(0x0a000002 + i), 51820};
            by_guest[spread_worker(&guest, workers)]++;
        }
        for (unsigned i = 0; i < workers; i++) {
            assert_in_range(by_port[0][i], 8000 / workers * 9 / 10, 8000 / workers * 11 / 10);
            assert_in_range(by_port[1][i], 8000 / workers * 9 / 10, 8000 / workers * 11 / 10);
            assert_in_range(by_guest[i], 8000 / workers * 9 / 10, 8000 / workers * 11 / 10);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_the_kernel),
        cmocka_unit_test(test_even),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
