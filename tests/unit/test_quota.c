/* SPDX-License-Identifier: Apache-2.0 */
/* Shares of a table: what one guest can take, and what is left for others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "uplink/quota.h"

#define GUESTS 256
#define MAX 4096
#define RESERVE (MAX / QUOTA_RESERVE_PART / GUESTS)
#define COMMON (MAX - RESERVE * GUESTS)
/* Of @common one guest may have. */
#define ALONE(common) ((common)*QUOTA_FACTOR / (QUOTA_FACTOR + 1))

static int setup(void **state)
{
    struct quota *quota = calloc(1, sizeof(*quota));

    *state = quota;
    if (!quota || quota_init(quota, GUESTS) < 0)
        return -1;
    quota_set_table(quota, QUOTA_tcp, MAX);
    return 0;
}

static int teardown(void **state)
{
    quota_done(*state);
    free(*state);
    return 0;
}

static unsigned take_all(struct quota *quota, unsigned guest)
{
    unsigned taken = 0;

    while (taken <= 2 * MAX && quota_take(quota, QUOTA_tcp, guest))
        taken++;
    return taken;
}

static void test_alone(void **state)
{
    struct quota *quota = *state;

    assert_in_range(take_all(quota, 7), RESERVE + ALONE(COMMON), RESERVE + ALONE(COMMON) + 1);
    assert_false(quota_take(quota, QUOTA_tcp, 7));
    quota_give(quota, QUOTA_tcp, 7);
    assert_true(quota_take(quota, QUOTA_tcp, 7));
    assert_false(quota_take(quota, QUOTA_tcp, 7));
}

/* However many take all that they can get, in whatever order, the next one finds its reserve. */
static void test_reserve(void **state)
{
    struct quota *quota = *state;
    unsigned total = 0;

    for (unsigned guest = 0; guest < GUESTS; guest++) {
        unsigned taken = take_all(quota, guest);

        assert_in_range(taken, RESERVE, RESERVE + ALONE(COMMON) + 1);
        total += taken;
    }
    assert_in_range(total, 0, MAX);
}

/* Two that take in turns get the same, and leave a third its part. */
static void test_two_in_turns(void **state)
{
    struct quota *quota = *state;
    unsigned taken[2] = {0, 0};

    for (bool more = true; more;) {
        more = false;
        for (unsigned guest = 0; guest < 2; guest++) {
            if (quota_take(quota, QUOTA_tcp, guest)) {
                taken[guest]++;
                more = true;
            }
        }
    }
    for (unsigned guest = 0; guest < 2; guest++)
        assert_in_range(taken[guest], RESERVE + COMMON * QUOTA_FACTOR / (2 * QUOTA_FACTOR + 1),
                        RESERVE + COMMON * QUOTA_FACTOR / (2 * QUOTA_FACTOR + 1) + 1);
    assert_in_range(take_all(quota, 3), RESERVE + ALONE(COMMON / (2 * QUOTA_FACTOR + 1)) - 1,
                    RESERVE + ALONE(COMMON / (2 * QUOTA_FACTOR + 1)) + 2);
}

static void test_all_is_given_back(void **state)
{
    struct quota *quota = *state;

    for (int round = 0; round < 3; round++) {
        unsigned first = take_all(quota, 1), second = take_all(quota, 2);

        assert_in_range(first, RESERVE + ALONE(COMMON), RESERVE + ALONE(COMMON) + 1);
        /* Not in the order in which it was taken. */
        for (unsigned i = 0; i < first || i < second; i++) {
            if (i < first)
                quota_give(quota, QUOTA_tcp, 1);
            if (i < second)
                quota_give(quota, QUOTA_tcp, 2);
        }
        assert_int_equal(quota->shares[QUOTA_tcp].used, 0);
        assert_int_equal(quota->shares[QUOTA_tcp].common_used, 0);
        assert_int_equal(quota->guests[1].used[QUOTA_tcp], 0);
    }
}

/* One that has more than its share by now keeps it, and may put a new one in the place of an old. */
static void test_share_that_became_smaller(void **state)
{
    struct quota *quota = *state;
    unsigned first = take_all(quota, 1);

    take_all(quota, 2);
    quota_give(quota, QUOTA_tcp, 1);
    assert_false(quota_take(quota, QUOTA_tcp, 1));
    quota_take_again(quota, QUOTA_tcp, 1);
    assert_int_equal(quota->guests[1].used[QUOTA_tcp], first);
}

/* Forwards take places of the same table: what guests can have becomes less, and the reserve stays. */
static void test_others_take_of_it(void **state)
{
    struct quota *quota = *state;

    quota_set_max(quota, QUOTA_tcp, MAX / 2);
    assert_in_range(take_all(quota, 1), RESERVE + ALONE(COMMON - MAX / 2),
                    RESERVE + ALONE(COMMON - MAX / 2) + 1);
    while (quota->guests[1].used[QUOTA_tcp])
        quota_give(quota, QUOTA_tcp, 1);
    quota_set_max(quota, QUOTA_tcp, RESERVE * GUESTS);
    assert_int_equal(take_all(quota, 2), RESERVE);
    quota_set_max(quota, QUOTA_tcp, 0);
    assert_int_equal(take_all(quota, 3), 0);
}

/* Where a reserve would be less than one there is none; something is left all the same. */
static void test_small_table(void **state)
{
    struct quota *quota = *state;

    quota_set_table(quota, QUOTA_echo, 16);
    for (int i = 0; i < 13; i++)
        assert_true(quota_take(quota, QUOTA_echo, 1));
    assert_false(quota_take(quota, QUOTA_echo, 1));
    assert_true(quota_take(quota, QUOTA_echo, 2));
    /* Tables do not know each other. */
    assert_false(quota_take(quota, QUOTA_udp, 3));
    assert_in_range(take_all(quota, 1), RESERVE + ALONE(COMMON), RESERVE + ALONE(COMMON) + 1);
}

/* Numbers beyond the network's are one guest: 0. */
static void test_unknown_guests(void **state)
{
    struct quota *quota = *state;
    unsigned taken = take_all(quota, GUESTS);

    assert_in_range(taken, RESERVE + ALONE(COMMON), RESERVE + ALONE(COMMON) + 1);
    assert_false(quota_take(quota, QUOTA_tcp, 0));
    assert_false(quota_take(quota, QUOTA_tcp, 65535));
    assert_true(quota_take(quota, QUOTA_tcp, GUESTS - 1));
    assert_ptr_equal(quota_list(quota, QUOTA_tcp, 65535), quota_list(quota, QUOTA_tcp, 0));
    assert_true(list_is_empty(quota_list(quota, QUOTA_tcp, 3)));
}

static void test_refusals(void **state)
{
    struct quota *quota = *state;

    assert_true(quota_take(quota, QUOTA_tcp, 5));
    assert_true(quota_refuse(quota, QUOTA_tcp, 5));
    assert_false(quota_refuse(quota, QUOTA_tcp, 5));
    assert_true(quota_refuse(quota, QUOTA_udp, 5));
    assert_true(quota_refuse(quota, QUOTA_tcp, 6));
    assert_int_equal(quota->guests[5].refused, 3);
    quota_give(quota, QUOTA_tcp, 5);
    assert_true(quota_refuse(quota, QUOTA_tcp, 5));
    quota_forget(quota, 5);
    assert_int_equal(quota->guests[5].refused, 0);
    assert_int_equal(quota->guests[6].refused, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reserve, setup, teardown),
        cmocka_unit_test_setup_teardown(test_two_in_turns, setup, teardown),
        cmocka_unit_test_setup_teardown(test_all_is_given_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_share_that_became_smaller, setup, teardown),
        cmocka_unit_test_setup_teardown(test_others_take_of_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_small_table, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unknown_guests, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
