/* SPDX-License-Identifier: Apache-2.0 */
/* When an address that the host had is not waited for any more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "uplink/host_gone.h"

static struct ip_addr address(const char *text)
{
    struct ip_addr addr;

    memset(&addr, 0, sizeof(addr));
    assert_int_equal(ip_parse(text, &addr), 0);
    return addr;
}

static void test_one_that_stays_away(void **state)
{
    struct ip_addr v4 = address("192.0.2.1"), v6 = address("2001:db8::1"), taken;
    struct host_gone gone = {0};

    (void)state;
    assert_int_equal(host_gone_due_ms(&gone), 0);
    host_gone_add(&gone, &v4, 1000);
    host_gone_add(&gone, &v6, 1500);
    assert_int_equal(host_gone_due_ms(&gone), 1000 + HOST_GONE_MS);
    assert_false(host_gone_take(&gone, 999 + HOST_GONE_MS, &taken));
    assert_true(host_gone_take(&gone, 1000 + HOST_GONE_MS, &taken));
    assert_true(ip_equal(&taken, &v4));
    assert_false(host_gone_take(&gone, 1000 + HOST_GONE_MS, &taken));
    assert_int_equal(host_gone_due_ms(&gone), 1500 + HOST_GONE_MS);
    assert_true(host_gone_take(&gone, UINT64_MAX, &taken));
    assert_true(ip_equal(&taken, &v6));
    assert_false(host_gone_take(&gone, UINT64_MAX, &taken));
}

static void test_one_that_comes_back(void **state)
{
    struct ip_addr v4 = address("192.0.2.1"), other = address("192.0.2.2"), taken;
    struct host_gone gone = {0};

    (void)state;
    host_gone_add(&gone, &v4, 1000);
    host_gone_remove(&gone, &other);
    host_gone_remove(&gone, &v4);
    assert_int_equal(host_gone_due_ms(&gone), 0);
    /* The time starts anew when it goes again. */
    host_gone_add(&gone, &v4, 1000);
    host_gone_add(&gone, &other, 2000);
    host_gone_add(&gone, &v4, 20000);
    assert_true(host_gone_take(&gone, 2000 + HOST_GONE_MS, &taken));
    assert_true(ip_equal(&taken, &other));
    assert_false(host_gone_take(&gone, 19999 + HOST_GONE_MS, &taken));
    assert_true(host_gone_take(&gone, 20000 + HOST_GONE_MS, &taken));
}

static void test_too_many(void **state)
{
    struct ip_addr taken;
    struct host_gone gone = {0};
    unsigned count = 0;

    (void)state;
    for (uint32_t i = 1; i <= HOST_GONE_MAX + 10; i++) {
        struct ip_addr addr = ip_from_u32(i);

        host_gone_add(&gone, &addr, 1000);
    }
    while (host_gone_take(&gone, UINT64_MAX, &taken))
        count++;
    assert_int_equal(count, HOST_GONE_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_that_stays_away),
        cmocka_unit_test(test_one_that_comes_back),
        cmocka_unit_test(test_too_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
