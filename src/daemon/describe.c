/* SPDX-License-Identifier: Apache-2.0 */
/* Networks and ports as the control interface shows them. */
#include <stdio.h>

#include "base/paths.h"
#include "daemon/network.h"

static char *format_prefixed(uint32_t ipv4, unsigned prefix_len, char buf[IP_TEXT_MAX + 4])
{
    struct ip_addr addr = ip_from_u32(ipv4);
    char text[IP_TEXT_MAX];

    snprintf(buf, IP_TEXT_MAX + 4, "%s/%u", ip_format(&addr, text), prefix_len);
    return buf;
}

static json_t *ipv6_prefix(const struct net_config *config)
{
    char text[IP_TEXT_MAX];

    return config->prefix6.family ? json_sprintf("%s/64", ip_format(&config->prefix6, text))
                                  : json_null();
}

static json_t *address_or_null(const struct ip_addr *addr)
{
    char text[IP_TEXT_MAX];

    return addr->family ? json_string(ip_format(addr, text)) : json_null();
}

static void set_string(json_t *object, const char *key, const char *text)
{
    json_object_set_new(object, key, text[0] ? json_string(text) : json_null());
}

/* Of a network whose own addresses are not known there are none to show. */
static void hide_unknown(json_t *object, const struct net_config *config)
{
    static const char *const names[] = {"subnet", "gateway", "poolStart", "poolEnd", "dns"};

    for (size_t i = 0; !config->gateway && i < sizeof(names) / sizeof(names[0]); i++)
        if (json_is_string(json_object_get(object, names[i])))
            json_object_set_new(object, names[i], json_null());
}

static json_t *dhcp_range(const struct net_config *config)
{
    struct net_spec spec = {.range_first = ip_from_u32(config->range_start),
                            .range_last = ip_from_u32(config->range_end)};
    char text[NET_RANGE_TEXT_MAX];

    if (config->range_start == config->pool_start && config->range_end == config->pool_end)
        return json_null();
    return json_string(net_spec_format_range(&spec, text));
}

/* Of reservations those that options can ask for. */
static json_t *dhcp_hosts(const struct net_config *config)
{
    json_t *array = json_array();
    char text[NET_DHCP_HOST_TEXT_MAX];

    for (unsigned i = 0; config->file && i < config->file->reservations_len; i++) {
        const struct net_reservation *reservation = &config->file->reservations[i];
        const struct net_dhcp_host host = {reservation->mac, reservation->address};

        if (reservation->mac_given && reservation->address.family)
            json_array_append_new(array, json_string(net_dhcp_host_format(&host, text)));
    }
    return array;
}

json_t *network_describe(const struct network *network, const struct network_state *state)
{
    const struct net_config *config = network->config;
    struct ip_addr gateway = ip_from_u32(config->gateway), end = ip_from_u32(config->pool_end);
    struct ip_addr start = ip_from_u32(config->pool_start);
    char subnet[IP_TEXT_MAX + 4], path[NET_PATH_MAX + 16], ports[PORT_SET_TEXT_MAX];
    json_t *object;

    object =
        json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:b, s:s, s:i, s:b, s:i}", "name",
                  config->name, "mode", net_mode_name(config->mode), "plane", state->plane,
                  "subnet", format_prefixed(net_config_subnet(config), config->prefix_len, subnet),
                  "gateway", address_or_null(&gateway), "poolStart", address_or_null(&start),
                  "poolEnd", address_or_null(&end), "ipv6Prefix", ipv6_prefix(config), "gateway6",
                  address_or_null(&config->gateway6), "ipv6Default", state->has_ipv6, "domain",
                  config->domain, "mtu", (int)network->mtu, "lasting", state->lasting, "ports",
                  (int)network->ports_len);
    json_object_set_new(object, "system", json_boolean(config->system));
    set_string(object, "bridge", state->bridge);
    json_object_set_new(object, "workers", json_integer(config->workers));
    for (enum net_switch which = 0; which < NET_SWITCHES; which++)
        json_object_set_new(object, net_switch_field(which), json_boolean(config->on[which]));
    json_object_set_new(object, "dhcpRange", dhcp_range(config));
    json_object_set_new(object, "dhcpHosts", dhcp_hosts(config));
    set_string(object, "hostPorts", port_set_format(&config->host_ports, ports));
    set_string(object, "configFile", config->file ? config->file->path : "");
    snprintf(path, sizeof(path), "%s/" PATH_STREAM, config->run_dir);
    set_string(object, "streamSocket", path);
    set_string(object, "warning", state->warning);
    hide_unknown(object, config);
    return object;
}

json_t *network_describe_port(const struct network *network, const struct network_port *port,
                              bool has_ipv6)
{
    const struct net_config *config = network->config;
    struct ip_addr gateway = ip_from_u32(config->gateway);
    char mac[MAC_TEXT_MAX], ipv4[IP_TEXT_MAX + 4];
    json_t *object;

    object = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:b, s:s, s:s, s:s, s:i, s:b, s:b}",
        "network", config->name, "mode", net_mode_name(config->mode), "interface",
        port->port.interface, "kind", port_kind_name(port->port.kind), "mac",
        mac_format(&port->port.mac, mac), "ipv4",
        format_prefixed(port->port.ipv4, config->prefix_len, ipv4), "ipv6Prefix",
        ipv6_prefix(config), "gateway", address_or_null(&gateway), "gateway6",
        address_or_null(&config->gateway6), "ipv6Default", has_ipv6, "name", port->port.name,
        "domain", config->domain, "interfaceId", port->port.interface_id, "mtu", (int)network->mtu,
        "isolated", port->port.isolated, "antiSpoof", port->port.anti_spoof);
    json_object_set_new(object, "ipv4Default", json_boolean(config->on[NET_NAT44]));
    json_object_set_new(object, "dns",
                        config->on[NET_DNS] ? address_or_null(&gateway) : json_null());
    json_object_set_new(object, "owner",
                        port->port.owner_pid ? json_integer(port->port.owner_pid) : json_null());
    json_object_set_new(object, "user", json_integer((json_int_t)port->port.owner_uid));
    set_string(object, "socket", port->socket);
    if (mac_is_zero(&port->port.mac))
        json_object_set_new(object, "mac", json_null());
    if (!port->port.ipv4)
        json_object_set_new(object, "ipv4", json_null());
    hide_unknown(object, config);
    return object;
}
