/* SPDX-License-Identifier: Apache-2.0 */
/* In which order the host's resolvers are asked, and when resolv.conf is read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "uplink/resolvers.h"

#define THREE "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n"

static char path[] = "/tmp/openvmnet-unit-XXXXXX";

static void write_conf(const char *content)
{
    FILE *file = fopen(path, "we");

    assert_non_null(file);
    assert_true(fputs(content, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* All of them, as digits in the order in which a query would ask. */
static const char *order(const struct resolvers *resolvers, uint64_t now_ms)
{
    static char text[RESOLV_NAMESERVERS_MAX + 1];
    unsigned tried = 0, len = 0;

    for (int next; (next = resolvers_next(resolvers, tried, now_ms)) >= 0; tried |= 1u << next) {
        assert_true(resolvers_left(resolvers, tried));
        text[len++] = (char)('0' + next);
    }
    assert_false(resolvers_left(resolvers, tried));
    text[len] = '\0';
    return text;
}

static void test_order(void **state)
{
    struct resolvers resolvers;

    (void)state;
    write_conf(THREE);
    resolvers_init(&resolvers, path);
    assert_string_equal(order(&resolvers, 1000), "012");
    resolvers_failed(&resolvers, 0, 1000);
    assert_string_equal(order(&resolvers, 1000), "120");
    /* Another one's answer does not make it the first of all. */
    resolvers_answered(&resolvers, 2);
    assert_string_equal(order(&resolvers, 1000 + RESOLVERS_FORGIVE_MS - 1), "120");
    assert_string_equal(order(&resolvers, 1000 + RESOLVERS_FORGIVE_MS), "012");
    resolvers_failed(&resolvers, 0, 2000);
    resolvers_failed(&resolvers, 1, 3000);
    assert_string_equal(order(&resolvers, 3000), "201");
    resolvers_failed(&resolvers, 2, 3000);
    assert_string_equal(order(&resolvers, 3000), "012");
    resolvers_answered(&resolvers, 1);
    assert_string_equal(order(&resolvers, 3000), "102");
    /* Who is left is asked all the same, but is no reason to mistrust an answer. */
    assert_true(resolvers_hopeful(&resolvers, 1, 3000));
    assert_false(resolvers_hopeful(&resolvers, 2, 3000));
    assert_true(resolvers_left(&resolvers, 2));
    assert_true(resolvers_hopeful(&resolvers, 2, 3000 + RESOLVERS_FORGIVE_MS));
    assert_false(resolvers_hopeful(&resolvers, 7, 3000 + RESOLVERS_FORGIVE_MS));
    resolvers_forgive(&resolvers);
    assert_string_equal(order(&resolvers, 3000), "012");
}

static void test_refresh(void **state)
{
    struct resolvers resolvers;
    unsigned generation;

    (void)state;
    write_conf(THREE);
    resolvers_init(&resolvers, path);
    generation = resolvers.generation;
    resolvers_failed(&resolvers, 0, 1000);
    assert_false(resolvers_refresh(&resolvers, false));
    assert_false(resolvers_refresh(&resolvers, true));
    /* Another file with the same content is no change. */
    write_conf("# again\n" THREE);
    assert_false(resolvers_refresh(&resolvers, false));
    assert_string_equal(order(&resolvers, 1000), "120");
    assert_int_equal(resolvers.generation, generation);
    write_conf(THREE "search corp.example\n");
    assert_true(resolvers_refresh(&resolvers, false));
    assert_string_equal(resolvers.conf.search, "corp.example");
    assert_int_not_equal(resolvers.generation, generation);
    assert_string_equal(order(&resolvers, 1000), "012");
    write_conf("nameserver 192.0.2.9\n");
    assert_true(resolvers_refresh(&resolvers, false));
    assert_string_equal(order(&resolvers, 1000), "0");
    unlink(path);
    assert_true(resolvers_refresh(&resolvers, false));
    assert_int_equal(resolvers.conf.nameservers_len, 1);
    assert_false(resolvers_refresh(&resolvers, false));
}

static int set_up(void **state)
{
    (void)state;
    return close(mkstemp(path));
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_refresh),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
