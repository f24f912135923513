/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of egress rules: as they are written, and what they decide together. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/netfile.h"

static void test_rule_texts(void **state)
{
    static const struct {
        const char *text, *prefix; /* NULL: refused, with the message */
        unsigned prefix_len, port;
        const char *message;
    } all[] = {
        {"10.0.0.0/8", "10.0.0.0", 8, 0, NULL},
        {"10.1.2.3", "10.1.2.3", 32, 0, NULL},
        {"10.1.2.3:443", "10.1.2.3", 32, 443, NULL},
        {"10.1.2.0/24:65535", "10.1.2.0", 24, 65535, NULL},
        {"0.0.0.0/0", "0.0.0.0", 0, 0, NULL},
        {"10.1.2.2/31", "10.1.2.2", 31, 0, NULL},
        {"::/0", "::", 0, 0, NULL},
        {"fd00::/8", "fd00::", 8, 0, NULL},
        {"fd00::1", "fd00::1", 128, 0, NULL},
        {"[fd00::1]:1", "fd00::1", 128, 1, NULL},
        {"[fd00::/9]:443", "fd00::", 9, 443, NULL},
        {"", NULL, 0, 0, "rule '' has no address"},
        {"any", NULL, 0, 0, "rule 'any' has no address (names are not looked up)"},
        {"10.0.0/8", NULL, 0, 0, "has no address"},
        {"10.0.0.0/", NULL, 0, 0, "has no prefix length from 0 to 32"},
        {"10.0.0.0/33", NULL, 0, 0, "has no prefix length from 0 to 32"},
        {"10.0.0.0/-1", NULL, 0, 0, "has no prefix length"},
        {"10.0.0.0/8/8", NULL, 0, 0, "has no prefix length"},
        {"10.0.0.0/255.0.0.0", NULL, 0, 0, "has no prefix length"},
        {"fd00::/129", NULL, 0, 0, "has no prefix length from 0 to 128"},
        {"10.1.0.0/8", NULL, 0, 0, "has one bits behind its prefix: write 10.0.0.0/8 for all"},
        {"10.0.0.3/31", NULL, 0, 0, "write 10.0.0.2/31"},
        {"fd00::1/64", NULL, 0, 0, "write fd00::/64 for all"},
        {"10.0.0.1:", NULL, 0, 0, "has no port from 1 to 65535"},
        {"10.0.0.1:0", NULL, 0, 0, "has no port"},
        {"10.0.0.1:65536", NULL, 0, 0, "has no port"},
        {"10.0.0.1:http", NULL, 0, 0, "has no port"},
        {"10.0.0.1:80/8", NULL, 0, 0, "has no port"},
        {"[fd00::1]", NULL, 0, 0, "has a bracket, but no ']:'"},
        {"[fd00::1", NULL, 0, 0, "has a bracket"},
        {"[fd00::1]80", NULL, 0, 0, "has a bracket"},
        {"[fd00::1]/64:80", NULL, 0, 0, "has a bracket"},
        {"[fd00::1]:", NULL, 0, 0, "has no port"},
        {"[10.0.0.1]:80", NULL, 0, 0, "brackets are for IPv6"},
        {"[]:80", NULL, 0, 0, "has no address"},
        {"fd00::/8:80", NULL, 0, 0, "has no prefix length"},
        {"10.0.0.1 ", NULL, 0, 0, "has no address"},
        {"10.0.0.0/00000000000000000000000000000000000000000000000000000008", NULL, 0, 0,
         "is too long: write one such as 10.0.0.0/8"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct net_rule rule;
        char text[IP_TEXT_MAX];
        struct err err = {""};
        int result = net_rule_parse(all[i].text, i % 2, &rule, &err);

        if (!all[i].prefix) {
            if (result != -EINVAL || !strstr(err.text, all[i].message))
                fail_msg("'%s': \"%s\" has no \"%s\"", all[i].text, err.text, all[i].message);
            continue;
        }
        if (result < 0)
            fail_msg("'%s': %s", all[i].text, err.text);
        assert_string_equal(ip_format(&rule.prefix, text), all[i].prefix);
        assert_int_equal(rule.prefix_len, all[i].prefix_len);
        assert_int_equal(rule.port, all[i].port);
        assert_int_equal(rule.allow, i % 2);
    }
}

static void test_rules(void **state)
{
    static const struct {
        const char *rules, *addr; /* "+" allow, "-" deny, blanks between */
        uint16_t port;
        bool allowed;
    } all[] = {
        {"", "10.0.0.1", 80, true},
        {"-10.0.0.0/8", "10.0.0.1", 80, false},
        {"-10.0.0.0/8", "10.0.0.1", 0, false},
        {"-10.0.0.0/8", "11.0.0.1", 80, true},
        {"-10.0.0.0/8", "fd00::1", 80, true},
        /* The longest prefix, in any order. */
        {"-10.0.0.0/8 +10.1.0.0/16", "10.1.0.1", 80, true},
        {"+10.1.0.0/16 -10.0.0.0/8", "10.1.0.1", 80, true},
        {"+10.1.0.0/16 -10.0.0.0/8", "10.2.0.1", 80, false},
        {"-10.0.0.0/8:80 +10.1.0.0/16", "10.1.0.1", 80, true},
        /* Of equal prefixes the port, then deny. */
        {"-10.0.0.0/8 +10.0.0.0/8:443", "10.0.0.1", 443, true},
        {"-10.0.0.0/8 +10.0.0.0/8:443", "10.0.0.1", 80, false},
        {"-10.0.0.0/8 +10.0.0.0/8:443", "10.0.0.1", 0, false},
        {"+10.0.0.0/8 -10.0.0.0/8:25", "10.0.0.1", 25, false},
        {"+10.0.0.0/8 -10.0.0.0/8:25", "10.0.0.1", 26, true},
        {"+10.0.0.0/8 -10.0.0.0/8", "10.0.0.1", 80, false},
        {"-10.0.0.0/8:80 +10.0.0.0/8:80", "10.0.0.1", 80, false},
        /* Only allow: what matches none is denied, in the other family too. */
        {"+10.0.0.0/8", "10.0.0.1", 80, true},
        {"+10.0.0.0/8", "10.0.0.1", 0, true},
        {"+10.0.0.0/8", "11.0.0.1", 80, false},
        {"+10.0.0.0/8", "fd00::1", 80, false},
        {"+10.0.0.0/8:443", "10.0.0.1", 0, false},
        {"+10.0.0.0/8 -10.1.0.0/16", "11.0.0.1", 80, true},
        {"-0.0.0.0/0", "10.0.0.1", 80, false},
        {"-0.0.0.0/0", "fd00::1", 80, true},
        {"+fd00::/9", "fd7f::1", 80, true},
        {"+fd00::/9", "fd80::1", 80, false},
        {"-::/0 +[fd00::1]:443", "fd00::1", 443, true},
        {"-::/0 +[fd00::1]:443", "fd00::1", 80, false},
        {"-10.1.2.2/31", "10.1.2.3", 80, false},
        {"-10.1.2.2/31", "10.1.2.4", 80, true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct net_rule rules[4];
        char text[128], *at = text, *word;
        struct ip_endpoint dst = {.port = all[i].port};
        unsigned len = 0;

        snprintf(text, sizeof(text), "%s", all[i].rules);
        while ((word = strsep(&at, " ")))
            if (*word)
                assert_int_equal(net_rule_parse(word + 1, *word == '+', &rules[len++], NULL), 0);
        assert_int_equal(ip_parse(all[i].addr, &dst.addr), 0);
        if (net_rules_allow(rules, len, &dst) != all[i].allowed)
            fail_msg("'%s': %s port %u", all[i].rules, all[i].addr, all[i].port);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rule_texts),
        cmocka_unit_test(test_rules),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
