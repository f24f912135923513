/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bridging.h"

#include <stdio.h>
#include <string.h>

/* Devices that take frames for their own MAC addresses alone, whatever is done above them. */
static const char *const own_mac_only[] = {"macvlan", "macvtap", "ipvlan", "ipvtap"};

const char *bridging_name(enum bridging_way way)
{
    static const char *const names[] = {
        [BRIDGING_NONE] = "none",       [BRIDGING_WIRED] = "wired",
        [BRIDGING_HOOKS] = "nftables",  [BRIDGING_BRIDGE] = "bridge",
        [BRIDGING_OVS] = "openvswitch", [BRIDGING_MAC_NAT] = "mac-nat",
    };

    return (unsigned)way < BRIDGING_WAYS ? names[way] : "unknown";
}

static bool is_own_mac_only(const char *kind)
{
    for (size_t i = 0; i < sizeof(own_mac_only) / sizeof(own_mac_only[0]); i++)
        if (strcmp(kind, own_mac_only[i]) == 0)
            return true;
    return false;
}

void bridging_network(const char *alias, char ret_network[NET_NAME_MAX + 1])
{
    size_t len = strlen(BRIDGED_ALIAS);
    bool ours = strncmp(alias, BRIDGED_ALIAS, len) == 0;

    ret_network[0] = '\0';
    if (ours)
        snprintf(ret_network, NET_NAME_MAX + 1, "%.*s", (int)strcspn(alias + len, " "),
                 alias + len);
}

static bool is(const char *text, const char *expected)
{
    return text && strcmp(text, expected) == 0;
}

/* What Open vSwitch has made or taken, but for its bridges. NULL: none of that. */
static const char *of_openvswitch(const struct bridging_facts *facts, char buf[96])
{
    const bool tap = is(facts->kind, "tun") || is(facts->kind, "tap");

    if (facts->ovs_bridge && facts->ovs_bridge[0]) {
        snprintf(buf, 96, "a port of Open vSwitch's bridge %.32s", facts->ovs_bridge);
        return buf;
    }
    if (is(facts->master, "ovs-system"))
        return "a port of Open vSwitch";
    if (is(facts->name, "ovs-system") || is(facts->name, "ovs-netdev") ||
        (is(facts->kind, "openvswitch") && facts->ovs_asked))
        return "Open vSwitch's own";
    return tap && facts->ovs_closed ? "a machine's port, or Open vSwitch's, as root is told" : NULL;
}

enum bridging_way bridging_choose(const struct bridging_facts *facts, char buf[96],
                                  const char **ret_reason)
{
    enum bridging_way way = BRIDGING_NONE;
    const char *by = facts->by ? facts->by : "";
    const char *of_ovs = of_openvswitch(facts, buf);

    if (facts->loopback) {
        *ret_reason = "loopback";
    } else if (!facts->ethernet) {
        *ret_reason = "not Ethernet";
    } else if (facts->network && facts->network[0]) {
        snprintf(buf, 96, "of network %.64s", facts->network);
        *ret_reason = buf;
    } else if (facts->openvswitch ||
               (is(facts->kind, "openvswitch") && !of_ovs && !facts->master[0])) {
        way = BRIDGING_OVS;
        *ret_reason = "machines become its ports";
    } else if (of_ovs) {
        *ret_reason = of_ovs;
    } else if (facts->master[0]) {
        snprintf(buf, 96, "part of %s", facts->master);
        *ret_reason = buf;
    } else if (is_own_mac_only(facts->kind)) {
        *ret_reason = "one MAC only";
    } else if (strcmp(facts->kind, "bridge") == 0) {
        way = BRIDGING_BRIDGE;
        *ret_reason = "machines become its ports";
    } else if (strcmp(facts->kind, "tun") == 0 || strcmp(facts->kind, "tap") == 0) {
        *ret_reason = "a machine's port";
    } else if (facts->wireless) {
        way = BRIDGING_MAC_NAT;
        *ret_reason = "one MAC a station: IP only, under the interface's MAC";
    } else if (strcmp(by, bridging_name(BRIDGING_MAC_NAT)) == 0) {
        way = BRIDGING_MAC_NAT;
        *ret_reason = "its network has mac-nat=on: IP only, under the interface's MAC";
    } else if (strcmp(by, bridging_name(BRIDGING_HOOKS)) == 0) {
        way = BRIDGING_HOOKS;
        *ret_reason = "filters (tc) do not get its frames, nftables does";
    } else {
        way = BRIDGING_WIRED;
        *ret_reason = "the host's addresses and links stay as they are";
    }
    return way;
}
