/* SPDX-License-Identifier: Apache-2.0 */
/* A network's file: the keys of the network itself, before any section, and what they need it to be. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/netfile_parse.h"
#include "base/portspec.h"
#include "base/text.h"

#define LEASE_TIME_MIN_S 120
#define LEASE_TIME_MAX_S (30 * 24 * 3600)
/* RFC 4787 REQ-5: not less than two minutes. */
#define UDP_TIMEOUT_MIN_S 120
#define UDP_TIMEOUT_MAX_S (24 * 3600)

static int set_spec(struct netfile_parse *parse, const char *key, const char *value)
{
    int error = net_spec_set(&parse->file->spec, key, value, parse->err);

    return error ? netfile_refuse_as_is(parse) : 0;
}

/* Seconds, or a number with a unit. False where it is no such time, or not within the limits. */
static bool read_time(const char *value, unsigned min_s, unsigned max_s, unsigned *ret_time_s)
{
    static const struct {
        char unit;
        unsigned seconds;
    } units[] = {{'m', 60}, {'h', 3600}, {'d', 24 * 3600}};
    size_t len_bytes = strlen(value);
    unsigned scale = 1, number = 0;
    char digits[16];

    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (len_bytes > 0 && value[len_bytes - 1] == units[i].unit)
            scale = units[i].seconds;
    snprintf(digits, sizeof(digits), "%.*s", (int)(len_bytes - (scale > 1)), value);
    if (len_bytes >= sizeof(digits) || text_to_uint(digits, 0, max_s / scale, &number) < 0 ||
        number * scale < min_s)
        return false;
    *ret_time_s = number * scale;
    return true;
}

static int set_lease_time(struct netfile_parse *parse, const char *key, const char *value)
{
    if (read_time(value, LEASE_TIME_MIN_S, LEASE_TIME_MAX_S, &parse->file->lease_time_s))
        return 0;
    return netfile_refuse(parse,
                          "lease-time = %s is not a time from 2 minutes to 30 days: write "
                          "seconds, or a number with m, h or d, such as 1h",
                          text_show(value).text);
}

static int set_udp_timeout(struct netfile_parse *parse, const char *key, const char *value)
{
    if (read_time(value, UDP_TIMEOUT_MIN_S, UDP_TIMEOUT_MAX_S, &parse->file->udp_timeout_s))
        return 0;
    return netfile_refuse(parse,
                          "udp-timeout = %s is not a time from 2 minutes to 1 day: write seconds, "
                          "or a number with m, h or d, such as 5m",
                          text_show(value).text);
}

static int set_udp_filtering(struct netfile_parse *parse, const char *key, const char *value)
{
    static const char *const names[NET_UDP_FILTERINGS] = {
        [NET_UDP_ENDPOINT_INDEPENDENT] = "endpoint-independent",
        [NET_UDP_ADDRESS_DEPENDENT] = "address-dependent",
        [NET_UDP_ADDRESS_AND_PORT_DEPENDENT] = "address-and-port-dependent",
    };

    for (unsigned i = 0; i < NET_UDP_FILTERINGS; i++)
        if (strcmp(value, names[i]) == 0) {
            parse->file->udp_filtering = (enum net_udp_filtering)i;
            return 0;
        }
    return netfile_refuse(parse,
                          "udp-filtering = %s is none of: endpoint-independent, address-dependent "
                          "and address-and-port-dependent",
                          text_show(value).text);
}

static int set_mac_nat(struct netfile_parse *parse, const char *key, const char *value)
{
    return spec_parse_switch(key, value, &parse->file->mac_nat, parse->err) < 0
               ? netfile_refuse_as_is(parse)
               : 0;
}

static int add_rule(struct netfile_parse *parse, const char *key, const char *value)
{
    struct net_file *file = parse->file;

    if (file->rules_len == NET_RULES_MAX)
        return netfile_refuse(parse, "%s = %s is one rule more than the %d that a file may have",
                              key, text_show(value).text, NET_RULES_MAX);
    if (net_rule_parse(value, strcmp(key, "allow") == 0, &file->rules[file->rules_len],
                       parse->err) < 0)
        return netfile_refuse_as_is(parse);
    file->rules_len++;
    return 0;
}

static bool is_any(const struct ip_addr *addr)
{
    static const uint8_t zero[16];

    return memcmp(addr->bytes, zero, ip_len_bytes(addr)) == 0;
}

/* Whether both would listen on one port of one address. */
static bool forwards_overlap(const struct forward_spec *a, const struct forward_spec *b)
{
    if (a->udp != b->udp || a->host.addr.family != b->host.addr.family ||
        a->host.port >= b->host.port + b->ports || b->host.port >= a->host.port + a->ports)
        return false;
    return is_any(&a->host.addr) || is_any(&b->host.addr) || ip_equal(&a->host.addr, &b->host.addr);
}

static int add_forward(struct netfile_parse *parse, const char *key, const char *value)
{
    struct net_file *file = parse->file;
    struct forward_spec forward;
    char text[FORWARD_TEXT_MAX];

    if (file->forwards_len == NET_FILE_FORWARDS_MAX)
        return netfile_refuse(parse, "forward = %s is one more than the %d that a file may have",
                              text_show(value).text, NET_FILE_FORWARDS_MAX);
    if (forward_parse(value, &forward, parse->err) < 0)
        return netfile_refuse_as_is(parse);
    if (!forward.guest_addr.family && !forward.guest_name[0])
        return netfile_refuse(parse,
                              "forward = %s names no guest: only an option of a port may leave it "
                              "out, write it as in tcp::8080-web:80",
                              text_show(value).text);
    for (unsigned i = 0; i < file->forwards_len; i++)
        if (forwards_overlap(&forward, &file->forwards[i]))
            return netfile_refuse(parse,
                                  "forward = %s has a host port that an earlier one has, %s: write "
                                  "another port or host address",
                                  text_show(value).text, forward_format(&file->forwards[i], text));
    file->forwards[file->forwards_len++] = forward;
    return 0;
}

static const struct key {
    const char *name;
    int (*set)(struct netfile_parse *parse, const char *key, const char *value);
    bool repeats;
    enum netfile_need need;
} keys[NETFILE_KEYS_MAX] = {
    {"mode", set_spec, false, NETFILE_NEEDS_NOTHING},
    {"start-address", set_spec, false, NETFILE_NEEDS_NOTHING}, /* needs: see net_spec_complete() */
    {"end-address", set_spec, false, NETFILE_NEEDS_NOTHING},
    {"subnet-mask", set_spec, false, NETFILE_NEEDS_NOTHING},
    {"dhcp-range", set_spec, false, NETFILE_NEEDS_NOTHING},
    {"nat66-prefix", set_spec, false, NETFILE_NEEDS_NOTHING},
    {"net-uuid", set_spec, false, NETFILE_NEEDS_NOTHING},
    {"host-ip-address", set_spec, false, NETFILE_NEEDS_NOTHING},
    {"host-subnet-mask", set_spec, false, NETFILE_NEEDS_NOTHING},
    {"host-ipv6-address", set_spec, false, NETFILE_NEEDS_NOTHING},
    {"ifname", set_spec, false, NETFILE_NEEDS_NOTHING},
    {"mtu", set_spec, false, NETFILE_NEEDS_NOTHING},
    {"mac-nat", set_mac_nat, false, NETFILE_NEEDS_BRIDGED},
    {"workers", set_spec, false, NETFILE_NEEDS_NOTHING},
    {"dhcp", set_spec, false, NETFILE_NEEDS_NOTHING},
    {"dns", set_spec, false, NETFILE_NEEDS_NOTHING},
    {"ra", set_spec, false, NETFILE_NEEDS_NOTHING},
    {"nat44", set_spec, false, NETFILE_NEEDS_NOTHING},
    {"nat66", set_spec, false, NETFILE_NEEDS_NOTHING},
    {"host-loopback", set_spec, false, NETFILE_NEEDS_NOTHING},
    {"host-ports", set_spec, true, NETFILE_NEEDS_NOTHING},
    {"lease-time", set_lease_time, false, NETFILE_NEEDS_DHCP},
    {"udp-timeout", set_udp_timeout, false, NETFILE_NEEDS_ROUTER},
    {"udp-filtering", set_udp_filtering, false, NETFILE_NEEDS_ROUTER},
    {"deny", add_rule, true, NETFILE_NEEDS_ROUTER},
    {"allow", add_rule, true, NETFILE_NEEDS_ROUTER},
    {"forward", add_forward, true, NETFILE_NEEDS_ROUTER},
    {"allow-user", netfile_add_user, true, NETFILE_NEEDS_NOTHING},
    {"allow-group", netfile_add_group, true, NETFILE_NEEDS_NOTHING},
    {"user-ports", netfile_set_quota, false, NETFILE_NEEDS_NOTHING},
    {"user-forwards", netfile_set_quota, false, NETFILE_NEEDS_NOTHING},
};

int netfile_set_key(struct netfile_parse *parse, const char *text, const char *value)
{
    const char *name = net_spec_option_name(text);
    char known[NETFILE_KEYS_MAX * 24];
    size_t len = 0;

    if (name && strcmp(name, "network") == 0)
        return netfile_refuse(parse, "key 'network' is not for a file: the name of the file is the "
                                     "network's name; leave the line out");
    if (name && strcmp(name, "dhcp-host") == 0)
        return netfile_refuse(parse, "key 'dhcp-host' is not for a file, which has sections for "
                                     "it: write [host NAME], mac = MAC and address = ADDRESS");
    for (unsigned i = 0; i < NETFILE_KEYS_MAX; i++) {
        if (!text_is_option(keys[i].name, name ? name : text))
            continue;
        if (!keys[i].repeats && parse->key_lines[i])
            return netfile_refuse(parse, "key '%s' is there already, in line %u: leave one out",
                                  keys[i].name, parse->key_lines[i]);
        if (!parse->key_lines[i])
            parse->key_lines[i] = parse->line;
        return keys[i].set(parse, keys[i].name, value);
    }
    for (unsigned i = 0; i < NETFILE_KEYS_MAX; i++)
        len += (size_t)snprintf(known + len, sizeof(known) - len, "%s%s",
                                i == 0                     ? ""
                                : i + 1 < NETFILE_KEYS_MAX ? ", "
                                                           : " and ",
                                keys[i].name);
    return netfile_refuse(parse, "unknown key '%s' of the network; the keys are: %s",
                          text_show(text).text, known);
}

static int check_need(struct netfile_parse *parse, enum netfile_need need, unsigned line,
                      const char *what)
{
    const struct net_spec *spec = &parse->file->spec;

    parse->line = line;
    if (!line || need == NETFILE_NEEDS_NOTHING)
        return 0;
    if (need == NETFILE_NEEDS_BRIDGED)
        return spec->mode == NET_MODE_BRIDGED
                   ? 0
                   : netfile_refuse(parse, "%s is for mode=bridged alone: leave it out", what);
    if (spec->mode == NET_MODE_BRIDGED)
        return netfile_refuse(parse,
                              "%s is not for mode=bridged, where the physical network has the "
                              "router and the addresses: leave it out",
                              what);
    if (need == NETFILE_NEEDS_DHCP && !net_spec_is_on(spec, NET_DHCP))
        return netfile_refuse(parse, "%s is not for a network without DHCP (%s): leave it out",
                              what, spec->net_uuid[0] ? "net-uuid" : "dhcp = off");
    if (need == NETFILE_NEEDS_DNS && !net_spec_is_on(spec, NET_DNS))
        return netfile_refuse(
            parse, "%s is not for a network without DNS (dns = off): leave it out", what);
    return 0;
}

int netfile_check_needs(struct netfile_parse *parse)
{
    int error = 0;

    for (unsigned i = 0; i < NETFILE_KEYS_MAX && !error; i++)
        error = check_need(parse, keys[i].need, parse->key_lines[i], keys[i].name);
    for (unsigned i = 0; i < NETFILE_SECTIONS_MAX && !error; i++)
        error = check_need(parse, netfile_sections[i].need, parse->section_lines[i],
                           netfile_sections[i].title);
    return error;
}

int netfile_check_forwards(struct netfile_parse *parse)
{
    const struct net_file *file = parse->file;
    uint32_t mask = ntohl(file->spec.subnet_mask.v4.s_addr);
    uint32_t gateway = ntohl(file->spec.start_address.v4.s_addr);

    for (unsigned i = 0; file->spec.start_address.family && i < file->forwards_len; i++) {
        const struct forward_spec *forward = &file->forwards[i];
        uint32_t guest = ntohl(forward->guest_addr.v4.s_addr);
        char text[FORWARD_TEXT_MAX], address[IP_TEXT_MAX], mask_text[IP_TEXT_MAX];

        if (forward->guest_addr.family != AF_INET ||
            (((guest ^ gateway) & mask) == 0 && guest != gateway))
            continue;
        return err_set(parse->err, -EINVAL,
                       "%s: forward %s leads to no guest: write an address in the subnet of the "
                       "gateway %s with mask %s, but not the gateway's",
                       file->path, forward_format(forward, text),
                       ip_format(&file->spec.start_address, address),
                       ip_format(&file->spec.subnet_mask, mask_text));
    }
    return 0;
}
