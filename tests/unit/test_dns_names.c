/* SPDX-License-Identifier: Apache-2.0 */
/* Which questions never leave a network. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/netfile.h"
#include "uplink/dns_names.h"

#define A 1
#define PTR 12
#define TXT 16
#define AAAA 28
#define HTTPS 65

static struct net_file file;
static struct net_config net = {
    .gateway = 0xc0a84601, /* 192.168.70.1/24 */
    .prefix_len = 24,
    .file = &file,
};

static bool inside(const char *name, uint16_t type)
{
    struct wire_dns_question question = {.type = type, .labels = name[0] != '\0'};

    snprintf(question.name, sizeof(question.name), "%s", name);
    for (; *name; name++)
        question.labels += *name == '.';
    return dns_is_inside(&net, &question);
}

static void test_domain(void **state)
{
    (void)state;
    assert_true(inside("web.lab.vmnet.internal", A));
    assert_true(inside("vmnet.internal", TXT));
    assert_true(inside("deep.er.other.vmnet.internal", HTTPS));
    assert_false(inside("xvmnet.internal", A));
    assert_false(inside("other.internal", A));
    assert_false(inside("vmnet.internal.example", A));
}

static void test_records(void **state)
{
    (void)state;
    assert_true(inside("db.example", AAAA));
    assert_true(inside("db.example", HTTPS));
    assert_false(inside("x.db.example", A));
    assert_false(inside("b.example", A));
    assert_false(inside("example", WIRE_DNS_DS));
}

static void test_short_names(void **state)
{
    (void)state;
    assert_true(inside("web", A));
    assert_true(inside("web", HTTPS));
    assert_true(inside("web", TXT));
    /* What a validating resolver asks of a top-level domain, and of the root. */
    assert_false(inside("com", WIRE_DNS_DS));
    assert_false(inside("com", WIRE_DNS_DNSKEY));
    assert_false(inside("com", WIRE_DNS_NS));
    assert_false(inside("com", WIRE_DNS_SOA));
    assert_false(inside("", WIRE_DNS_NS));
    assert_false(inside("", A));
}

static void test_reverse4(void **state)
{
    static const struct {
        unsigned prefix_len;
        const char *name;
        bool inside;
    } cases[] = {
        {24, "7.70.168.192.in-addr.arpa", true},
        {24, "70.168.192.in-addr.arpa", true},
        {24, "168.192.in-addr.arpa", false},
        {24, "in-addr.arpa", false},
        {24, "7.71.168.192.in-addr.arpa", false},
        {24, "1.7.70.168.192.in-addr.arpa", false},
        {24, "x.70.168.192.in-addr.arpa", false},
        {24, "256.70.168.192.in-addr.arpa", false},
        {24, "7..168.192.in-addr.arpa", false},
        {24, "7.70.168.192xin-addr.arpa", false},
        {24, "7.70.168.192.in-addr.arpa.x", false},
        {24, "-1.70.168.192.in-addr.arpa", false},
        {28, "7.70.168.192.in-addr.arpa", true},
        {28, "16.70.168.192.in-addr.arpa", false},
        {28, "70.168.192.in-addr.arpa", false},
        {20, "7.70.168.192.in-addr.arpa", true},
        {20, "64.168.192.in-addr.arpa", true},
        {20, "79.168.192.in-addr.arpa", true},
        {20, "80.168.192.in-addr.arpa", false},
        {16, "168.192.in-addr.arpa", true},
        {16, "192.in-addr.arpa", false},
        {8, "192.in-addr.arpa", true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        net.prefix_len = cases[i].prefix_len;
        if (inside(cases[i].name, PTR) != cases[i].inside)
            fail_msg("%s of a /%u", cases[i].name, cases[i].prefix_len);
    }
    net.prefix_len = 24;
}

static void test_reverse6(void **state)
{
    (void)state;
    /* A network without IPv6 has no such addresses. */
    assert_false(inside("0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa", PTR));
    assert_int_equal(ip_parse("fd04:7b26:d022:8885::", &net.prefix6), 0);
    assert_true(inside("5.8.8.8.2.2.0.d.6.2.b.7.4.0.d.f.ip6.arpa", PTR));
    assert_true(
        inside("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.5.8.8.8.2.2.0.d.6.2.b.7.4.0.d.f.ip6.arpa", PTR));
    assert_false(inside("8.8.8.2.2.0.d.6.2.b.7.4.0.d.f.ip6.arpa", PTR));
    assert_false(inside("6.8.8.8.2.2.0.d.6.2.b.7.4.0.d.f.ip6.arpa", PTR));
    assert_false(inside("g.5.8.8.8.2.2.0.d.6.2.b.7.4.0.d.f.ip6.arpa", PTR));
    assert_false(inside("ip6.arpa", PTR));
}

static int set_up(void **state)
{
    (void)state;
    strcpy(file.records[0].name, "DB.example");
    file.records_len = 1;
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_domain),      cmocka_unit_test(test_records),
        cmocka_unit_test(test_short_names), cmocka_unit_test(test_reverse4),
        cmocka_unit_test(test_reverse6),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
