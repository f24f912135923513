/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a guest's packets may go, and by what address it knows a client of a forward. The host and what
 * rules.c asks of the worker are stand-ins here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "uplink/worker.h"

#define HOST4 "198.51.100.1"
#define HOST6 "2001:db8:1::1"
#define GATEWAY4 "192.168.90.1"
#define GATEWAY6 "fd00:1:2:3::1"

static struct net_config config;
static struct net_file file;
static struct worker worker;
static unsigned host_addresses;
static bool host_is_loopback, host_has_loopback;

static struct ip_addr parse(const char *text)
{
    struct ip_addr addr;

    if (ip_parse(text, &addr) < 0)
        fail_msg("%s is no address", text);
    return addr;
}

bool host_view_owns(struct host_view *view, const struct ip_addr *addr)
{
    struct ip_addr own = parse(addr->family == AF_INET ? HOST4 : HOST6);
    struct ip_addr loopback = parse(addr->family == AF_INET ? "127.0.0.1" : "::1");

    return ip_equal(&own, addr) || (ip_equal(&loopback, addr) && host_has_loopback);
}

struct ip_addr host_view_address(struct host_view *view, int family)
{
    if (!host_addresses)
        return (struct ip_addr){0};
    if (host_is_loopback)
        return parse(family == AF_INET ? "127.0.0.1" : "::1");
    return parse(family == AF_INET ? HOST4 : HOST6);
}

/* All in one place: what is remembered of one destination must not be taken for another's. */
uint64_t worker_hash(const struct worker *with, const void *key, size_t len_bytes)
{
    return 7;
}

bool worker_is_guest(const struct worker *with, const struct ip_addr *addr)
{
    struct ip_addr network = parse(addr->family == AF_INET ? "192.168.90.0" : "fd00:1:2:3::");

    return memcmp(addr->bytes, network.bytes, addr->family == AF_INET ? 3 : 8) == 0;
}

static int setup(void **state)
{
    config = (struct net_config){
        .mode = NET_MODE_SHARED,
        .gateway = 0xc0a85a01, /* 192.168.90.1 */
        .prefix_len = 24,
        .host_has_ipv6 = true,
        .on = {[NET_NAT44] = true, [NET_NAT66] = true},
    };
    config.gateway6 = parse(GATEWAY6);
    memset(&file, 0, sizeof(file));
    memset(&worker, 0, sizeof(worker));
    worker.config.net = &config;
    host_addresses = 1;
    host_is_loopback = false;
    host_has_loopback = true;
    return 0;
}

static void add_rule(bool allow, const char *prefix, unsigned prefix_len, uint16_t port)
{
    config.file = &file;
    file.rules[file.rules_len++] = (struct net_rule){
        .allow = allow, .prefix = parse(prefix), .prefix_len = prefix_len, .port = port};
}

static void expect(const char *dst, uint16_t port, enum rule rule, const char *outside)
{
    struct ip_endpoint endpoint = {parse(dst), port}, got;
    char text[IP_TEXT_MAX];
    /* Twice: the second time from what is remembered. */
    for (int i = 0; i < 2; i++) {
        enum rule result = rules_outbound(&worker, &endpoint, &got);

        if (result != rule)
            fail_msg("%s port %u: rule %d, not %d", dst, port, (int)result, (int)rule);
    }
    if (rule != RULE_ALLOW)
        return;
    assert_string_equal(ip_format(&got.addr, text), outside);
    assert_int_equal(got.port, port);
}

static void test_destinations(void **state)
{
    static const struct {
        const char *dst;
        enum rule rule;
        const char *outside;
    } cases[] = {
        {"203.0.113.7", RULE_ALLOW, "203.0.113.7"},
        {"2001:db8:2::7", RULE_ALLOW, "2001:db8:2::7"},
        {GATEWAY4, RULE_ALLOW, HOST4},
        {GATEWAY6, RULE_ALLOW, HOST6},
        {HOST4, RULE_DENY, NULL},
        {HOST6, RULE_DENY, NULL},
        {"127.0.0.1", RULE_DENY, NULL},
        {"169.254.169.254", RULE_DENY, NULL},
        {"::1", RULE_DENY, NULL},
        {"fe80::1", RULE_DENY, NULL},
        /* The host, and what is never right, as a translator or a tunnel would have it. */
        {"64:ff9b::198.51.100.1", RULE_DENY, NULL},
        {"2002:c633:6401::1", RULE_DENY, NULL},
        {"64:ff9b::169.254.169.254", RULE_DENY, NULL},
        {"2002:7f00:1::1", RULE_DENY, NULL},
        {"64:ff9b::203.0.113.7", RULE_ALLOW, "64:ff9b::cb00:7107"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        expect(cases[i].dst, 80, cases[i].rule, cases[i].outside);
}

static void test_host_without_an_address(void **state)
{
    host_addresses = 0;
    expect(GATEWAY4, 80, RULE_NO_HOST, NULL);
    host_addresses = 1;
    host_is_loopback = true;
    expect(GATEWAY4, 80, RULE_DENY, NULL);
}

static void test_host_loopback(void **state)
{
    config.on[NET_HOST_LOOPBACK] = true;
    expect(GATEWAY4, 80, RULE_ALLOW, "127.0.0.1");
    expect(GATEWAY6, 80, RULE_ALLOW, "::1");
    /* By the gateway's address and no other. */
    expect("127.0.0.1", 80, RULE_DENY, NULL);
    expect("::1", 80, RULE_DENY, NULL);
    expect(HOST4, 80, RULE_DENY, NULL);
    host_has_loopback = false;
    expect(GATEWAY6, 80, RULE_NO_HOST, NULL);
}

static void test_host_ports(void **state)
{
    struct err err;

    assert_int_equal(port_set_add(&config.host_ports, "host-ports", "22,8000-8100", &err), 0);
    expect(GATEWAY4, 22, RULE_ALLOW, HOST4);
    expect(GATEWAY6, 8100, RULE_ALLOW, HOST6);
    expect(GATEWAY4, 80, RULE_EXCLUDED, NULL);
    expect(GATEWAY6, 8101, RULE_EXCLUDED, NULL);
    expect("203.0.113.7", 80, RULE_ALLOW, "203.0.113.7");
    config.on[NET_HOST_LOOPBACK] = true;
    expect(GATEWAY4, 22, RULE_ALLOW, "127.0.0.1");
    expect(GATEWAY4, 80, RULE_EXCLUDED, NULL);
    memset(&config.host_ports, 0, sizeof(config.host_ports));
    assert_int_equal(port_set_add(&config.host_ports, "host-ports", "none", &err), 0);
    expect(GATEWAY4, 22, RULE_EXCLUDED, NULL);
}

static void test_without_nat_there_is_the_gateway_alone(void **state)
{
    config.on[NET_NAT44] = config.on[NET_NAT66] = false;
    expect(GATEWAY4, 80, RULE_ALLOW, HOST4);
    expect(GATEWAY6, 80, RULE_ALLOW, HOST6);
    expect("203.0.113.7", 80, RULE_DENY, NULL);
    expect("2001:db8:2::7", 80, RULE_DENY, NULL);
    expect("203.0.113.7", 0, RULE_DENY, NULL);
}

static void test_one_kind_of_nat(void **state)
{
    config.on[NET_NAT44] = false;
    expect(GATEWAY4, 80, RULE_ALLOW, HOST4);
    expect("203.0.113.7", 80, RULE_DENY, NULL);
    expect("2001:db8:2::7", 80, RULE_ALLOW, "2001:db8:2::7");
    config.on[NET_NAT44] = true;
    config.on[NET_NAT66] = false;
    expect(GATEWAY6, 80, RULE_ALLOW, HOST6);
    expect("203.0.113.7", 80, RULE_ALLOW, "203.0.113.7");
    expect("2001:db8:2::7", 80, RULE_DENY, NULL);
}

static void test_rules_of_the_file(void **state)
{
    add_rule(false, "10.0.0.0", 8, 0);
    add_rule(true, "10.1.2.3", 32, 443);
    expect("10.9.9.9", 80, RULE_EXCLUDED, NULL);
    expect("10.1.2.3", 443, RULE_ALLOW, "10.1.2.3");
    expect("10.1.2.3", 80, RULE_EXCLUDED, NULL);
    expect("10.1.2.3", 0, RULE_EXCLUDED, NULL);
    expect("203.0.113.7", 80, RULE_ALLOW, "203.0.113.7");
}

/* Rules are about the world outside: they neither close the host nor open what is never open. */
static void test_rules_leave_the_rest_as_it_is(void **state)
{
    add_rule(false, "0.0.0.0", 0, 0);
    add_rule(true, "127.0.0.0", 8, 0);
    add_rule(true, HOST4, 32, 0);
    expect(GATEWAY4, 80, RULE_ALLOW, HOST4);
    expect("127.0.0.1", 80, RULE_DENY, NULL);
    expect(HOST4, 80, RULE_DENY, NULL);
    expect("203.0.113.7", 80, RULE_EXCLUDED, NULL);
}

static void expect_client(const char *client, int family, const char *seen)
{
    struct ip_endpoint endpoint = {parse(client), 40000}, got;
    char text[IP_TEXT_MAX];
    bool own = rules_client(&worker, &endpoint, family, &got);
    const char *gateway = family == AF_INET ? GATEWAY4 : GATEWAY6;

    ip_format(&got.addr, text);
    if (strcmp(text, seen ? seen : gateway) != 0 || own != (seen != NULL) || got.port != 40000)
        fail_msg("%s is seen as %s port %u", client, text, got.port);
}

static void test_clients_of_forwards(void **state)
{
    expect_client("203.0.113.7", AF_INET, "203.0.113.7");
    expect_client("::ffff:203.0.113.7", AF_INET, "203.0.113.7");
    expect_client("::ffff:203.0.113.7", AF_INET6, NULL);
    expect_client("2001:db8:2::7", AF_INET6, "2001:db8:2::7");
    expect_client("2001:db8:2::7", AF_INET, NULL);
    expect_client("203.0.113.7", AF_INET6, NULL);
    /* the host, and what has another meaning on the network */
    expect_client("127.0.0.1", AF_INET, NULL);
    expect_client("::ffff:127.0.0.1", AF_INET, NULL);
    expect_client(HOST4, AF_INET, NULL);
    expect_client(HOST6, AF_INET6, NULL);
    expect_client("192.168.90.17", AF_INET, NULL);
    expect_client("fe80::17", AF_INET6, NULL);
}

static void test_clients_that_guests_could_not_answer(void **state)
{
    config.host_has_ipv6 = false;
    expect_client("2001:db8:2::7", AF_INET6, NULL);
    expect_client("203.0.113.7", AF_INET, "203.0.113.7");
    config.on[NET_NAT44] = false;
    expect_client("203.0.113.7", AF_INET, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_destinations, setup),
        cmocka_unit_test_setup(test_host_without_an_address, setup),
        cmocka_unit_test_setup(test_host_loopback, setup),
        cmocka_unit_test_setup(test_host_ports, setup),
        cmocka_unit_test_setup(test_without_nat_there_is_the_gateway_alone, setup),
        cmocka_unit_test_setup(test_one_kind_of_nat, setup),
        cmocka_unit_test_setup(test_rules_of_the_file, setup),
        cmocka_unit_test_setup(test_rules_leave_the_rest_as_it_is, setup),
        cmocka_unit_test_setup(test_clients_of_forwards, setup),
        cmocka_unit_test_setup(test_clients_that_guests_could_not_answer, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
