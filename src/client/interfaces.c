/* SPDX-License-Identifier: Apache-2.0 */
/* The host's interfaces as programs get them; how they are found is in interfaces_linux.c and interfaces_macos.c. */
#include "client/interfaces.h"

#include <stdlib.h>

#include "base/bridging.h"
#include "client/client.h"

static enum bridging_way choose(const struct interface *interface, char buf[96],
                                const char **ret_reason)
{
    const struct bridging_facts facts = {
        .kind = interface->kind,
        .master = interface->master,
        .ethernet = interface->ethernet,
        .loopback = interface->loopback,
        .wireless = interface->wireless,
        .by = interface->by,
        .openvswitch = interface->ovs,
        .name = interface->name,
        .network = interface->network,
        .ovs_bridge = interface->ovs_bridge,
        .ovs_asked = interface->ovs_asked,
        .ovs_closed = interface->ovs_closed,
    };

    return bridging_choose(&facts, buf, ret_reason);
}

static json_t *describe(const struct interface *interface)
{
    const char *reason, *state = interface->carrier ? "up" : "no carrier";
    char buf[96], mac[MAC_TEXT_MAX];
    enum bridging_way way = choose(interface, buf, &reason);

    return json_pack(
        "{s:s, s:s?, s:s, s:s, s:b, s:o, s:b, s:s, s:s, s:s?}", "name", interface->name, "mac",
        interface->ethernet ? mac_format(&interface->mac, mac) : NULL, "kind", interface->kind,
        "state", interface->up ? state : "down", "default", interface->is_default, "speedMbps",
        interface->speed_mbps ? json_integer(interface->speed_mbps) : json_null(), "canBridge",
        way != BRIDGING_NONE, "way", bridging_name(way), "why", reason, "partOf",
        interface->master[0] ? interface->master : NULL);
}

int client_interfaces(json_t **ret_interfaces, struct err *err)
{
    struct interface *interfaces;
    size_t len;
    int result = interfaces_list(&interfaces, &len, err);

    if (result < 0)
        return result;
    *ret_interfaces = json_array();
    for (size_t i = 0; i < len; i++)
        json_array_append_new(*ret_interfaces, describe(&interfaces[i]));
    free(interfaces);
    return 0;
}
