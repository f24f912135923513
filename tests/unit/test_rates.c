/* SPDX-License-Identifier: Apache-2.0 */
/* Two looks in, rates out. A look is written as the ports' lines alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "cli/rates.h"

#define NETWORK(name, parent, ports)                                                               \
    "{\"network\": {\"name\": \"" name "\"}, \"processes\": {\"parent\": " #parent                 \
    "}, \"counters\": {\"tcp_open\": 2, \"udp_open\": -1}, \"ports\": [" ports "]}"
#define PORT(interface, mac, up, down, dropped)                                                    \
    "{\"interface\": \"" interface "\", \"mac\": \"" mac "\", \"traffic\": {\"upBytes\": " #up     \
    ", \"downBytes\": " #down                                                                      \
    ", \"upPackets\": 10, \"downPackets\": 20, \"downDropped\": " #dropped                         \
    "}, \"drops\": {\"storm\": 3, \"isolated\": 4, \"odd\": \"x\"}}"

struct rate_case {
    const char *title;
    const char *before, *after; /* NULL: no look before */
    uint64_t interval_ms;
    uint64_t up_s, down_s; /* of the first port */
};

static const struct rate_case rate_cases[] = {
    {"no look before", NULL, "[" NETWORK("a", 1, PORT("tap0", "m", 500, 5, 0)) "]", 1000, 0, 0},
    {"no time between", "[" NETWORK("a", 1, PORT("tap0", "m", 0, 0, 0)) "]",
     "[" NETWORK("a", 1, PORT("tap0", "m", 500, 5, 0)) "]", 0, 0, 0},
    {"half a second", "[" NETWORK("a", 1, PORT("tap0", "m", 100, 1, 0)) "]",
     "[" NETWORK("a", 1, PORT("tap0", "m", 500, 5, 0)) "]", 500, 800, 8},
    {"a product that does not fit", "[" NETWORK("a", 1, PORT("tap0", "m", 0, 0, 0)) "]",
     "[" NETWORK("a", 1, PORT("tap0", "m", 9223372036854775000, 7, 0)) "]", 2000,
     4611686018427387500u, 3},
    {"backwards", "[" NETWORK("a", 1, PORT("tap0", "m", 500, 0, 0)) "]",
     "[" NETWORK("a", 1, PORT("tap0", "m", 499, 1000, 0)) "]", 1000, 0, 1000},
    {"another port of that name", "[" NETWORK("a", 1, PORT("tap0", "n", 0, 0, 0)) "]",
     "[" NETWORK("a", 1, PORT("tap0", "m", 500, 5, 0)) "]", 1000, 0, 0},
    {"another network of that name", "[" NETWORK("a", 2, PORT("tap0", "m", 0, 0, 0)) "]",
     "[" NETWORK("a", 1, PORT("tap0", "m", 500, 5, 0)) "]", 1000, 0, 0},
    {"a network beside it", "[" NETWORK("b", 1, PORT("tap0", "m", 0, 0, 0)) "]",
     "[" NETWORK("a", 1, PORT("tap0", "m", 500, 5, 0)) "]", 1000, 0, 0},
    {"negative is nothing", "[" NETWORK("a", 1, PORT("tap0", "m", -5, 0, 0)) "]",
     "[" NETWORK("a", 1, PORT("tap0", "m", 5, -1, 0)) "]", 1000, 5, 0},
    {"no traffic known", "[" NETWORK("a", 1, "{\"interface\": \"tap0\"}") "]",
     "[" NETWORK("a", 1, PORT("tap0", "m", 5, 5, 0)) "]", 1000, 0, 0},
    {"makes no sense", "[5, null, {}, {\"ports\": 7}]",
     "[" NETWORK("a", 1, "null, 5, []") ", 5, {\"ports\": {}}]", 1000, 0, 0},
};

static json_t *load(const char *text)
{
    json_t *value = text ? json_loads(text, 0, NULL) : NULL;

    assert_true(!text || value);
    return value;
}

static void test_rates(void **state)
{
    for (size_t i = 0; i < sizeof(rate_cases) / sizeof(rate_cases[0]); i++) {
        const struct rate_case *c = &rate_cases[i];
        json_t *before = load(c->before), *after = load(c->after);
        struct rates rates;

        assert_int_equal(rates_compute(before, after, c->interval_ms, &rates), 0);
        if (rates.ports[0].up_s != c->up_s || rates.ports[0].down_s != c->down_s)
            fail_msg("%s: %llu %llu", c->title, (unsigned long long)rates.ports[0].up_s,
                     (unsigned long long)rates.ports[0].down_s);
        rates_done(&rates);
        json_decref(before);
        json_decref(after);
    }
}

#define THREE                                                                                      \
    "[" NETWORK("b", 1,                                                                            \
                PORT("tap10", "m", 10, 30, 0) ", " PORT(                                           \
                    "tap9", "n", 20, 20, 5)) ", " NETWORK("a", 1,                                  \
                                                          PORT("tap0", "m", 30, 10, 1)) "]"
#define THREE_BEFORE                                                                               \
    "[" NETWORK("b", 1, PORT("tap10", "m", 0, 0, 0) ", " PORT("tap9", "n", 0, 0, 0)) ", " NETWORK( \
        "a", 1, PORT("tap0", "m", 0, 0, 0)) "]"

static void test_order_and_totals(void **state)
{
    static const char *const expected[] = {
        [RATES_BY_NAME] = "tap0 tap9 tap10 ",
        [RATES_BY_UP] = "tap0 tap9 tap10 ",
        [RATES_BY_DOWN] = "tap10 tap9 tap0 ",
        [RATES_BY_DROPS] = "tap9 tap0 tap10 ",
    };
    json_t *before = load(THREE_BEFORE), *after = load(THREE);
    struct rates rates;

    assert_int_equal(rates_compute(before, after, 1000, &rates), 0);
    assert_int_equal(rates.len, 3);
    assert_int_equal(rates.networks, 2);
    assert_int_equal(rates.up_s, 60);
    assert_int_equal(rates.down_s, 60);
    assert_int_equal(rates.packets_s, 0);
    assert_int_equal(rates.drops, 3 * 7 + 6);
    assert_int_equal(rates.tcp_open, 4);
    assert_int_equal(rates.udp_open, 0);
    for (int order = RATES_BY_NAME; order <= RATES_BY_DROPS; order++) {
        char text[64] = "";

        rates_sort(&rates, (enum rates_order)order);
        for (size_t i = 0; i < rates.len; i++) {
            size_t len = strlen(text);

            snprintf(text + len, sizeof(text) - len, "%s ",
                     json_string_value(json_object_get(rates.ports[i].port, "interface")));
        }
        assert_string_equal(text, expected[order]);
    }
    rates_done(&rates);
    json_decref(before);
    json_decref(after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_order_and_totals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
