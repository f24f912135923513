/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options of a network, each checked by itself where it enters. What they are together is checked in
 * netspec_complete.c, for they come in any order.
 */
#include "base/netspec.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/netfile.h"
#include "base/portspec.h"
#include "base/text.h"

const char *net_mode_name(enum net_mode mode)
{
    static const char *const names[] = {
        [NET_MODE_SHARED] = "shared", [NET_MODE_HOST] = "host", [NET_MODE_BRIDGED] = "bridged"};

    return (unsigned)mode < sizeof(names) / sizeof(names[0]) ? names[mode] : "unknown";
}

static const struct {
    const char *option, *field;
} switch_names[NET_SWITCHES] = {
    [NET_HOST_LOOPBACK] = {"host-loopback", "hostLoopback"},
    [NET_DHCP] = {"dhcp", "dhcp"},
    [NET_DNS] = {"dns", "dns"},
    [NET_RA] = {"ra", "ra"},
    [NET_NAT44] = {"nat44", "nat44"},
    [NET_NAT66] = {"nat66", "nat66"},
};

const char *net_switch_option(enum net_switch which)
{
    return switch_names[which].option;
}

const char *net_switch_field(enum net_switch which)
{
    return switch_names[which].field;
}

bool net_spec_is_on(const struct net_spec *spec, enum net_switch which)
{
    if (spec->switches[which] != NET_NOT_GIVEN)
        return spec->switches[which] == NET_ON;
    switch (which) {
    case NET_HOST_LOOPBACK: return false;
    case NET_DHCP:
    case NET_RA: return !spec->net_uuid[0];
    case NET_NAT44:
    case NET_NAT66: return spec->mode == NET_MODE_SHARED;
    default: return true;
    }
}

int net_name_check(const char *name, struct err *err)
{
    size_t len_bytes = strlen(name);

    if (len_bytes == 0)
        return err_set(err, -EINVAL,
                       "network name is empty: write a name such as 'shared' or 'lab-1'");
    if (len_bytes > NET_NAME_MAX)
        return err_set(err, -EINVAL,
                       "network name '%s' has %zu characters: write one of at most %d",
                       text_show(name).text, len_bytes, NET_NAME_MAX);
    if (!text_is_alnum(name[0]))
        return err_set(err, -EINVAL,
                       "network name '%s' does not start with a letter or digit (a-z, A-Z, 0-9): "
                       "write a name such as 'lab-1'",
                       text_show(name).text);
    for (const char *at = name; *at; at++)
        if (!text_is_alnum(*at) && !strchr("._-", *at))
            return err_set(err, -EINVAL,
                           "network name '%s' has a character that is not allowed: write letters "
                           "(a-z, A-Z), digits, '.', '_' and '-' only",
                           text_show(name).text);
    return 0;
}

int net_hostname_check(const char *name, struct err *err)
{
    size_t len_bytes = strlen(name);

    if (len_bytes == 0)
        return err_set(err, -EINVAL, "host name is empty: write a name such as 'web-1'");
    if (len_bytes > NET_HOSTNAME_MAX)
        return err_set(err, -EINVAL, "host name '%s' has %zu characters: write one of at most %d",
                       text_show(name).text, len_bytes, NET_HOSTNAME_MAX);
    for (const char *at = name; *at; at++)
        if (!text_is_alnum(*at) && *at != '-')
            return err_set(err, -EINVAL,
                           "host name '%s' has a character that is not allowed: write one label of "
                           "letters (a-z, A-Z), digits and '-', without dots",
                           text_show(name).text);
    if (name[0] == '-' || name[len_bytes - 1] == '-')
        return err_set(err, -EINVAL,
                       "host name '%s' starts or ends with '-': write a letter or digit there",
                       text_show(name).text);
    return 0;
}

int net_uuid_check(const char *uuid, struct err *err)
{
    size_t len_bytes = strlen(uuid);
    bool good = len_bytes == NET_UUID_LEN;

    for (size_t i = 0; good && i < NET_UUID_LEN; i++)
        good = i == 8 || i == 13 || i == 18 || i == 23 ? uuid[i] == '-' : text_is_hex(uuid[i]);
    if (!good)
        return err_set(err, -EINVAL,
                       "'%s' is not a UUID: write hex digits in groups of 8-4-4-4-12, such as "
                       "8a2c5f10-0d3b-4c7e-9a51-6f1e2d3c4b5a (uuidgen makes one)",
                       text_show(uuid).text);
    return 0;
}

static int set_mode(struct net_spec *spec, const char *value, struct err *err)
{
    static const struct {
        const char *name;
        enum net_mode mode;
    } modes[] = {
        {"shared", NET_MODE_SHARED},
        {"host", NET_MODE_HOST},
        {"bridged", NET_MODE_BRIDGED},
        {"bridge", NET_MODE_BRIDGED},
    };

    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        if (strcmp(value, modes[i].name) == 0) {
            spec->mode = modes[i].mode;
            spec->mode_given = true;
            return 0;
        }
    }
    return err_set(err, -EINVAL,
                   "unknown mode '%s': write mode=shared (the world through a NAT, and the host), "
                   "mode=host (the host and nothing beyond) or mode=bridged (a physical network)",
                   text_show(value).text);
}

static int set_network(struct net_spec *spec, const char *value, struct err *err)
{
    int error = net_name_check(value, err);

    if (error)
        return error;
    snprintf(spec->name, sizeof(spec->name), "%s", value);
    return 0;
}

static int set_address(struct ip_addr *ret_addr, const char *option, const char *value,
                       const char *example, struct err *err)
{
    struct ip_addr addr;

    if (ip_parse(value, &addr) < 0)
        return err_set(err, -EINVAL,
                       "%s=%s is not an IPv4 address: write four numbers from 0 to 255, such as %s",
                       option, text_show(value).text, example);
    if (addr.family != AF_INET)
        return err_set(err, -EINVAL, "%s=%s is an IPv6 address: write an IPv4 one, such as %s",
                       option, text_show(value).text, example);
    *ret_addr = addr;
    return 0;
}

static int set_start(struct net_spec *spec, const char *value, struct err *err)
{
    return set_address(&spec->start_address, "start-address", value, "192.168.70.1", err);
}

static int set_end(struct net_spec *spec, const char *value, struct err *err)
{
    return set_address(&spec->end_address, "end-address", value, "192.168.70.254", err);
}

static int set_mask(struct net_spec *spec, const char *value, struct err *err)
{
    return set_address(&spec->subnet_mask, "subnet-mask", value, "255.255.255.0", err);
}

/* Both or none of "A-B" or "A,B"; -EINVAL. */
static int split(const char *value, char separator, char ret_first[IP_TEXT_MAX],
                 const char **ret_second)
{
    const char *at = strchr(value, separator);

    if (!at || at - value >= IP_TEXT_MAX)
        return -EINVAL;
    snprintf(ret_first, IP_TEXT_MAX, "%.*s", (int)(at - value), value);
    *ret_second = at + 1;
    return 0;
}

static int set_range(struct net_spec *spec, const char *value, struct err *err)
{
    char first[IP_TEXT_MAX];
    const char *last;
    struct ip_addr addrs[2];

    if (split(value, '-', first, &last) < 0 || ip_parse(first, &addrs[0]) < 0 ||
        ip_parse(last, &addrs[1]) < 0 || addrs[0].family != AF_INET || addrs[1].family != AF_INET)
        return err_set(err, -EINVAL,
                       "dhcp-range=%s is not a range of IPv4 addresses: write one such as "
                       "192.168.70.100-192.168.70.150",
                       text_show(value).text);
    spec->range_first = addrs[0];
    spec->range_last = addrs[1];
    return 0;
}

static int add_dhcp_host(struct net_spec *spec, const char *value, struct err *err)
{
    struct net_dhcp_host host;
    char mac[IP_TEXT_MAX];
    const char *address;

    if (split(value, ',', mac, &address) < 0 || port_mac_parse(mac, &host.mac, NULL) < 0 ||
        ip_parse(address, &host.address) < 0 || host.address.family != AF_INET)
        return err_set(err, -EINVAL,
                       "dhcp-host=%s is not a MAC address and the IPv4 address that is kept for "
                       "it: write one such as 52:54:00:12:34:56,192.168.70.9",
                       text_show(value).text);
    for (unsigned i = 0; i < spec->dhcp_hosts_len; i++) {
        const struct net_dhcp_host *other = &spec->dhcp_hosts[i];
        bool same_mac = memcmp(&other->mac, &host.mac, sizeof(host.mac)) == 0;
        bool same_address = ip_equal(&other->address, &host.address);

        if (same_mac && same_address)
            return 0;
        if (same_mac || same_address)
            return err_set(err, -EINVAL, "dhcp-host=%s has the %s of an earlier one: write another",
                           text_show(value).text, same_mac ? "MAC address" : "IPv4 address");
    }
    if (spec->dhcp_hosts_len == NET_DHCP_HOSTS_MAX)
        return err_set(err, -EINVAL,
                       "dhcp-host=%s is one more than the %d that options may have: a "
                       "configuration file has room for %d (openvmnet.conf(5), [host NAME])",
                       text_show(value).text, NET_DHCP_HOSTS_MAX, NET_RESERVATIONS_MAX);
    spec->dhcp_hosts[spec->dhcp_hosts_len++] = host;
    return 0;
}

const char *net_spec_format_range(const struct net_spec *spec, char buf[NET_RANGE_TEXT_MAX])
{
    char first[IP_TEXT_MAX], last[IP_TEXT_MAX];

    if (!spec->range_first.family)
        return "all";
    snprintf(buf, NET_RANGE_TEXT_MAX, "%s-%s", ip_format(&spec->range_first, first),
             ip_format(&spec->range_last, last));
    return buf;
}

const char *net_dhcp_host_format(const struct net_dhcp_host *host, char buf[NET_DHCP_HOST_TEXT_MAX])
{
    char mac[MAC_TEXT_MAX], address[IP_TEXT_MAX];

    snprintf(buf, NET_DHCP_HOST_TEXT_MAX, "%s,%s", mac_format(&host->mac, mac),
             ip_format(&host->address, address));
    return buf;
}

static int set_host_ip(struct net_spec *spec, const char *value, struct err *err)
{
    return set_address(&spec->host_ip_address, "host-ip-address", value, "192.168.70.1", err);
}

static int set_host_mask(struct net_spec *spec, const char *value, struct err *err)
{
    return set_address(&spec->host_subnet_mask, "host-subnet-mask", value, "255.255.255.0", err);
}

static int set_host_ipv6(struct net_spec *spec, const char *value, struct err *err)
{
    static const uint8_t zero[8];
    struct ip_addr addr;

    if (ip_parse(value, &addr) < 0 || addr.family != AF_INET6 || addr.bytes[0] != 0xfd ||
        memcmp(addr.bytes + 8, zero, sizeof(zero)) == 0)
        return err_set(err, -EINVAL,
                       "host-ipv6-address=%s is not the address of a machine in fd00::/8, the "
                       "unique local addresses (RFC 4193): write one such as fd12:3456:789a:1::1",
                       text_show(value).text);
    spec->host_ipv6_address = addr;
    return 0;
}

static int set_prefix(struct net_spec *spec, const char *value, struct err *err)
{
    static const uint8_t zero[8];
    const char *slash = strchr(value, '/'), *reason = NULL;
    char address[IP_TEXT_MAX + 1];
    struct ip_addr addr = {0};

    snprintf(address, sizeof(address), "%.*s", slash ? (int)(slash - value) : IP_TEXT_MAX, value);
    if (ip_parse(address, &addr) < 0)
        reason = "is not an IPv6 prefix";
    else if (addr.family != AF_INET6)
        reason = "is an IPv4 address, and the prefix is of IPv6";
    else if (slash && strcmp(slash, "/64") != 0)
        reason = "is not a /64, which is the length that a network has";
    else if (addr.bytes[0] != 0xfd)
        reason = "is not in fd00::/8, the unique local addresses (RFC 4193)";
    else if (memcmp(addr.bytes + 8, zero, sizeof(zero)) != 0)
        reason = "has one bits after the first 64, which are the guests' own";
    if (reason)
        return err_set(err, -EINVAL,
                       "nat66-prefix=%s %s: write one such as fd12:3456:789a:1:: or "
                       "fd12:3456:789a:1::/64",
                       text_show(value).text, reason);
    spec->nat66_prefix = addr;
    return 0;
}

static int set_uuid(struct net_spec *spec, const char *value, struct err *err)
{
    if (net_uuid_check(value, NULL) < 0)
        return err_set(err, -EINVAL,
                       "net-uuid=%s is not a UUID: write hex digits in groups of 8-4-4-4-12, such "
                       "as 8a2c5f10-0d3b-4c7e-9a51-6f1e2d3c4b5a (uuidgen makes one)",
                       text_show(value).text);
    text_lower(value, spec->net_uuid, sizeof(spec->net_uuid));
    return 0;
}

static int set_ifname(struct net_spec *spec, const char *value, struct err *err)
{
    size_t len_bytes = strlen(value);

    if (len_bytes == 0)
        return err_set(err, -EINVAL,
                       "ifname= is empty: write the name of an interface, such as ifname=eth0, or "
                       "leave it out for that of the default route");
    if (len_bytes > NET_IFNAME_MAX)
        return err_set(err, -EINVAL,
                       "ifname=%s has %zu characters: the name of an interface has at most %d",
                       text_show(value).text, len_bytes, NET_IFNAME_MAX);
    for (const char *at = value; *at; at++)
        if (!text_is_alnum(*at) && (at == value || !strchr("._-", *at)))
            return err_set(err, -EINVAL,
                           "ifname=%s is not the name of an interface: write letters, digits, "
                           "'.', '_' and '-', a letter or digit first, such as ifname=eth0",
                           text_show(value).text);
    snprintf(spec->ifname, sizeof(spec->ifname), "%s", value);
    return 0;
}

static int set_mtu(struct net_spec *spec, const char *value, struct err *err)
{
    if (text_to_uint(value, NET_MTU_MIN, NET_MTU_MAX, &spec->mtu) < 0)
        return err_set(err, -EINVAL,
                       "mtu=%s is not a number of bytes from %d to %d: write one such as mtu=9000",
                       text_show(value).text, NET_MTU_MIN, NET_MTU_MAX);
    return 0;
}

static int set_workers(struct net_spec *spec, const char *value, struct err *err)
{
    if (text_to_uint(value, 1, NET_WORKERS_MAX, &spec->workers) < 0)
        return err_set(err, -EINVAL,
                       "workers=%s is not a number of threads from 1 to %d: write one such as "
                       "workers=2, or leave it out for as many as there are CPUs",
                       text_show(value).text, NET_WORKERS_MAX);
    return 0;
}

static int set_switch(struct net_spec *spec, enum net_switch which, const char *value,
                      struct err *err)
{
    bool on;
    int error = spec_parse_switch(net_switch_option(which), value, &on, err);

    if (!error)
        spec->switches[which] = on ? NET_ON : NET_OFF;
    return error;
}

static int set_host_ports(struct net_spec *spec, const char *value, struct err *err)
{
    return port_set_add(&spec->host_ports, "host-ports", value, err);
}

static const struct option {
    const char *name;
    int (*set)(struct net_spec *spec, const char *value, struct err *err);
    bool dhcp_prefix;
} options[] = {
    {"mode", set_mode, false},
    {"start-address", set_start, true},
    {"end-address", set_end, true},
    {"subnet-mask", set_mask, true},
    {"network", set_network, false},
    {"dhcp-range", set_range, false},
    {"dhcp-host", add_dhcp_host, false},
    {"nat66-prefix", set_prefix, false},
    {"net-uuid", set_uuid, false},
    {"host-ip-address", set_host_ip, false},
    {"host-subnet-mask", set_host_mask, false},
    {"host-ipv6-address", set_host_ipv6, false},
    {"ifname", set_ifname, false},
    {"mtu", set_mtu, false},
    {"workers", set_workers, false},
    {"host-ports", set_host_ports, false},
};
#define OPTIONS_LEN (sizeof(options) / sizeof(options[0]))

static const struct option *find_option(const char *text)
{
    bool prefixed = strncmp(text, "dhcp-", 5) == 0 || strncmp(text, "dhcp_", 5) == 0;

    for (size_t i = 0; i < OPTIONS_LEN; i++)
        if (text_is_option(options[i].name, text) ||
            (prefixed && options[i].dhcp_prefix && text_is_option(options[i].name, text + 5)))
            return &options[i];
    return NULL;
}

/* NET_SWITCHES where it is none. */
static enum net_switch find_switch(const char *text)
{
    enum net_switch which = 0;

    while (which < NET_SWITCHES && !text_is_option(net_switch_option(which), text))
        which++;
    return which;
}

const char *net_spec_option_name(const char *text)
{
    const struct option *option = find_option(text);
    enum net_switch which = find_switch(text);

    if (option)
        return option->name;
    return which < NET_SWITCHES ? net_switch_option(which) : NULL;
}

static int refuse_unknown(const char *option, struct err *err)
{
    char known[(OPTIONS_LEN + NET_SWITCHES) * 24];
    size_t len = 0;

    for (size_t i = 0; i < OPTIONS_LEN; i++)
        len += (size_t)snprintf(known + len, sizeof(known) - len, "%s, ", options[i].name);
    for (enum net_switch which = 0; which < NET_SWITCHES; which++)
        len += (size_t)snprintf(known + len, sizeof(known) - len, "%s%s", net_switch_option(which),
                                which + 2 < NET_SWITCHES   ? ", "
                                : which + 1 < NET_SWITCHES ? " and "
                                                           : "");
    return err_set(err, -ENOENT, "unknown option '%s': the options of a network are %s",
                   text_show(option).text, known);
}

int net_spec_set(struct net_spec *spec, const char *option, const char *value, struct err *err)
{
    const struct option *known = find_option(option);
    enum net_switch which = find_switch(option);

    if (known)
        return known->set(spec, value, err);
    return which < NET_SWITCHES ? set_switch(spec, which, value, err) : refuse_unknown(option, err);
}
