/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/bridging.h"

static void test_choose(void **state)
{
    static const struct {
        struct bridging_facts facts;
        enum bridging_way way;
        const char *reason; /* part of it */
    } cases[] = {
        {{"", "", .ethernet = true}, BRIDGING_WIRED, "stay"},
        {{"bond", "", .ethernet = true}, BRIDGING_WIRED, "stay"},
        {{"veth", "", .ethernet = true}, BRIDGING_WIRED, "stay"},
        {{"", "", .ethernet = true, .by = "nftables"}, BRIDGING_HOOKS, "nftables"},
        {{"", "", .ethernet = true, .by = "mac-nat"}, BRIDGING_MAC_NAT, "mac-nat=on"},
        {{"", "", .ethernet = true, .by = "carrier pigeon"}, BRIDGING_WIRED, "stay"},
        {{"bridge", "", .ethernet = true}, BRIDGING_BRIDGE, "ports"},
        {{"openvswitch", "", .ethernet = true}, BRIDGING_OVS, "ports"},
        {{"tun", "", .ethernet = true, .openvswitch = true}, BRIDGING_OVS, "ports"},
        {{"tun", "", .ethernet = true}, BRIDGING_NONE, "machine's port"},
        {{"tun", "", .ethernet = true, .ovs_closed = true}, BRIDGING_NONE, "or Open vSwitch's"},
        {{"tun", "", .ethernet = true, .name = "ovs-netdev"}, BRIDGING_NONE, "Open vSwitch's own"},
        {{"openvswitch", "", .ethernet = true, .name = "ovs-system"}, BRIDGING_NONE, "own"},
        {{"openvswitch", "", .ethernet = true, .ovs_asked = true}, BRIDGING_NONE, "own"},
        {{"", "", .ethernet = true, .ovs_bridge = "br-ex"},
         BRIDGING_NONE,
         "a port of Open vSwitch's bridge br-ex"},
        {{"", "ovs-system", .ethernet = true}, BRIDGING_NONE, "a port of Open vSwitch"},
        {{"veth", "", .ethernet = true, .network = "lan"}, BRIDGING_NONE, "of network lan"},
        {{"vlan", "", .ethernet = true}, BRIDGING_WIRED, "stay"},
        {{"team", "", .ethernet = true}, BRIDGING_WIRED, "stay"},
        {{"tun", ""}, BRIDGING_NONE, "not Ethernet"},
        {{"", "", .ethernet = true, .wireless = true}, BRIDGING_MAC_NAT, "one MAC a station"},
        {{"", "", .ethernet = true, .loopback = true}, BRIDGING_NONE, "loopback"},
        {{"", "br0", .ethernet = true}, BRIDGING_NONE, "part of br0"},
        {{"bridge", "bond0", .ethernet = true}, BRIDGING_NONE, "part of bond0"},
        {{"macvlan", "", .ethernet = true}, BRIDGING_NONE, "one MAC only"},
    };
    const char *reason;
    char buf[96];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(bridging_choose(&cases[i].facts, buf, &reason), cases[i].way);
        assert_non_null(strstr(reason, cases[i].reason));
    }
}

static void test_network(void **state)
{
    static const char *const cases[][2] = {
        {"openvmnet: network lan on eth0", "lan"},
        {"openvmnet: network lab", "lab"},
        {"openvmnet: network ", ""},
        {"uplink of the lab", ""},
        {"", ""},
    };
    char network[NET_NAME_MAX + 1];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bridging_network(cases[i][0], network);
        assert_string_equal(network, cases[i][1]);
    }
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(bridging_name(BRIDGING_NONE), "none");
    assert_string_equal(bridging_name(BRIDGING_MAC_NAT), "mac-nat");
    assert_string_equal(bridging_name(BRIDGING_WAYS), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choose),
        cmocka_unit_test(test_network),
        cmocka_unit_test(test_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
