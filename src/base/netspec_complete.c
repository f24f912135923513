/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options of a network, checked together: which mode takes which, whether the three addresses make a
 * subnet with a pool, and the name that follows. All of it may be done again on a complete spec.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/netspec.h"

#define PREFIX_MIN 16 /* a wider subnet would be a whole private range for one network */
#define PREFIX_MAX 30 /* two usable addresses: the gateway and one guest */

static uint32_t as_u32(const struct ip_addr *addr)
{
    return ntohl(addr->v4.s_addr);
}

static bool has_addresses(const struct net_spec *spec)
{
    return spec->start_address.family || spec->end_address.family || spec->subnet_mask.family;
}

/* The name of the first of the three that is set. */
static const char *first_address(const struct net_spec *spec)
{
    if (spec->start_address.family)
        return "start-address";
    return spec->end_address.family ? "end-address" : "subnet-mask";
}

static bool is_private(uint32_t addr)
{
    return addr >> 24 == 10 || addr >> 20 == 0xac1 || addr >> 16 == 0xc0a8;
}

/* The prefix length of a contiguous mask; -1 of any other. */
static int mask_prefix(uint32_t mask)
{
    for (unsigned prefix = 0; prefix <= 32; prefix++)
        if (ip_mask_u32(prefix) == mask)
            return (int)prefix;
    return -1;
}

static int check_mask(const char *option, const struct ip_addr *mask, struct err *err)
{
    int prefix = mask_prefix(as_u32(mask));
    char text[IP_TEXT_MAX];

    ip_format(mask, text);
    if (prefix < 0)
        return err_set(err, -EINVAL,
                       "%s=%s is not a mask: its one bits must come first; write one such "
                       "as 255.255.255.0",
                       option, text);
    if (prefix < PREFIX_MIN)
        return err_set(err, -EINVAL,
                       "%s=%s is too wide (/%d): write 255.255.0.0 (/%d) or a narrower one", option,
                       text, prefix, PREFIX_MIN);
    if (prefix > PREFIX_MAX)
        return err_set(err, -EINVAL,
                       "%s=%s is too narrow (/%d) for the gateway and a guest: write "
                       "255.255.255.252 (/%d) or a wider one",
                       option, text, prefix, PREFIX_MAX);
    return 0;
}

/* Whether a machine of a private subnet can have it; the mask is right already. */
static int check_end(const struct ip_addr *mask_addr, const char *option,
                     const struct ip_addr *addr, struct err *err)
{
    uint32_t mask = as_u32(mask_addr), value = as_u32(addr);
    struct ip_addr first = ip_from_u32((value & mask) + 1), last = ip_from_u32((value | ~mask) - 1);
    char text[IP_TEXT_MAX], first_text[IP_TEXT_MAX], last_text[IP_TEXT_MAX];
    bool is_network = value == (value & mask), is_broadcast = value == (value | ~mask);

    ip_format(addr, text);
    if (!is_private(value))
        return err_set(err, -EINVAL,
                       "%s=%s is not a private address (RFC 1918): write one of 10.0.0.0/8, "
                       "172.16.0.0/12 or 192.168.0.0/16",
                       option, text);
    if (is_network || is_broadcast)
        return err_set(err, -EINVAL,
                       "%s=%s is the %s address of its subnet (/%d): write one from %s to %s",
                       option, text, is_network ? "network" : "broadcast", mask_prefix(mask),
                       ip_format(&first, first_text), ip_format(&last, last_text));
    return 0;
}

static int check_range(const struct net_spec *spec, struct err *err)
{
    uint32_t mask = as_u32(&spec->subnet_mask);
    uint32_t start = as_u32(&spec->start_address), end = as_u32(&spec->end_address);
    struct ip_addr last = ip_from_u32((start | ~mask) - 1);
    char start_text[IP_TEXT_MAX], end_text[IP_TEXT_MAX], mask_text[IP_TEXT_MAX];
    char last_text[IP_TEXT_MAX];

    ip_format(&spec->start_address, start_text);
    ip_format(&spec->end_address, end_text);
    ip_format(&spec->subnet_mask, mask_text);
    ip_format(&last, last_text);
    /* The last usable address as the gateway: no end-address could be right. */
    if (start == (start | ~mask) - 1)
        return err_set(err, -EINVAL,
                       "start-address=%s is the last address of its subnet, which leaves none for "
                       "guests: write a lower one",
                       start_text);
    if ((start & mask) != (end & mask))
        return err_set(err, -EINVAL,
                       "end-address=%s is not in the subnet of start-address=%s under "
                       "subnet-mask=%s: write one up to %s, or a wider mask",
                       end_text, start_text, mask_text, last_text);
    if (end <= start)
        return err_set(err, -EINVAL,
                       "end-address=%s is not above start-address=%s, which is the gateway: write "
                       "one up to %s",
                       end_text, start_text, last_text);
    return 0;
}

static int check_addresses(const struct net_spec *spec, struct err *err)
{
    const struct {
        const char *name;
        const struct ip_addr *addr;
    } three[] = {
        {"start-address", &spec->start_address},
        {"end-address", &spec->end_address},
        {"subnet-mask", &spec->subnet_mask},
    };
    int error;

    for (size_t i = 0; i < 3; i++)
        if (!three[i].addr->family)
            return err_set(
                err, -EINVAL,
                "start-address, end-address and subnet-mask should be provided together: "
                "%s is missing; write all three or none",
                three[i].name);
    error = check_mask("subnet-mask", &spec->subnet_mask, err);
    for (size_t i = 0; i < 2 && !error; i++)
        error = check_end(&spec->subnet_mask, three[i].name, three[i].addr, err);
    return error ? error : check_range(spec, err);
}

/* Guests' addresses where the options say which those are. */
static bool in_pool(const struct net_spec *spec, const struct ip_addr *addr)
{
    return as_u32(addr) > as_u32(&spec->start_address) &&
           as_u32(addr) <= as_u32(&spec->end_address);
}

/* What DHCP gives, and to whom. */
static int check_dhcp(const struct net_spec *spec, struct err *err)
{
    char range[NET_RANGE_TEXT_MAX], host[NET_DHCP_HOST_TEXT_MAX];

    if ((spec->range_first.family || spec->dhcp_hosts_len) && !net_spec_is_on(spec, NET_DHCP))
        return err_set(err, -EINVAL, "%s is set for a network without DHCP (%s): leave it out",
                       spec->range_first.family ? "dhcp-range" : "dhcp-host",
                       spec->net_uuid[0] ? "net-uuid" : "dhcp=off");
    if (spec->range_first.family) {
        net_spec_format_range(spec, range);
        if (!spec->start_address.family)
            return err_set(err, -EINVAL,
                           "dhcp-range=%s is set without start-address, end-address and "
                           "subnet-mask, which say what it is a part of: write them",
                           range);
        if (as_u32(&spec->range_first) > as_u32(&spec->range_last) ||
            !in_pool(spec, &spec->range_first) || !in_pool(spec, &spec->range_last))
            return err_set(err, -EINVAL,
                           "dhcp-range=%s is not a part of what follows start-address up to "
                           "end-address: write one that is",
                           range);
    }
    for (unsigned i = 0; spec->start_address.family && i < spec->dhcp_hosts_len; i++)
        if (!in_pool(spec, &spec->dhcp_hosts[i].address))
            return err_set(err, -EINVAL,
                           "dhcp-host=%s has an address that is not one of those that follow "
                           "start-address up to end-address: write one that is",
                           net_dhcp_host_format(&spec->dhcp_hosts[i], host));
    return 0;
}

/* The host's addresses on a network that is known by a UUID. */
static int check_host_addresses(const struct net_spec *spec, struct err *err)
{
    const char *first = spec->host_ip_address.family    ? "host-ip-address"
                        : spec->host_subnet_mask.family ? "host-subnet-mask"
                                                        : "host-ipv6-address";
    bool has_ip = spec->host_ip_address.family, has_mask = spec->host_subnet_mask.family;
    int error;

    if (!has_ip && !has_mask && !spec->host_ipv6_address.family)
        return 0;
    if (!spec->net_uuid[0])
        return err_set(err, -EINVAL,
                       "%s is set without net-uuid: it is the host's address on a network that "
                       "is known by a UUID; on others start-address is, and nat66-prefix",
                       first);
    if (has_ip != has_mask)
        return err_set(err, -EINVAL,
                       "host-ip-address and host-subnet-mask should be provided together: %s is "
                       "missing",
                       has_ip ? "host-subnet-mask" : "host-ip-address");
    error = has_ip ? check_mask("host-subnet-mask", &spec->host_subnet_mask, err) : 0;
    return error || !has_ip
               ? error
               : check_end(&spec->host_subnet_mask, "host-ip-address", &spec->host_ip_address, err);
}

/* Which mode takes which option, and what is said where it does not. */
static int check_modes(const struct net_spec *spec, struct err *err)
{
    char prefix[IP_TEXT_MAX];
    static const char no_gateway[] =
        ": it is about the network's own gateway, and a bridged network has that of the "
        "physical one; leave it out";
    const char *mode = net_mode_name(spec->mode);

    if (spec->mode == NET_MODE_BRIDGED && has_addresses(spec))
        return err_set(err, -EINVAL,
                       "%s is set in mode=bridged: DHCP configuration is only for shared and "
                       "host, a bridged network has the addresses of the physical one; leave "
                       "start-address, end-address and subnet-mask out",
                       first_address(spec));
    if (spec->nat66_prefix.family && spec->mode != NET_MODE_SHARED)
        return err_set(err, -EINVAL,
                       "nat66-prefix=%s is set in mode=%s: the prefix is that of the NAT, which "
                       "only mode=shared has; leave nat66-prefix out or write mode=shared",
                       ip_format(&spec->nat66_prefix, prefix), mode);
    if (spec->net_uuid[0] && spec->mode != NET_MODE_HOST)
        return err_set(err, -EINVAL,
                       "net-uuid=%s is set in mode=%s: only a network of mode=host can be known "
                       "by a UUID; leave net-uuid out or write mode=host",
                       spec->net_uuid, mode);
    if (spec->mode == NET_MODE_BRIDGED && (spec->range_first.family || spec->dhcp_hosts_len))
        return err_set(err, -EINVAL, "%s is set in mode=bridged%s",
                       spec->range_first.family ? "dhcp-range" : "dhcp-host", no_gateway);
    if (spec->ifname[0] && spec->mode != NET_MODE_BRIDGED)
        return err_set(err, -EINVAL,
                       "ifname=%s is set in mode=%s: only mode=bridged joins an interface; leave "
                       "ifname out or write mode=bridged",
                       spec->ifname, mode);
    if (spec->mode == NET_MODE_BRIDGED && spec->host_ports.given)
        return err_set(err, -EINVAL, "host-ports is set in mode=bridged%s", no_gateway);
    for (enum net_switch which = 0; which < NET_SWITCHES; which++) {
        bool is_nat = which == NET_NAT44 || which == NET_NAT66;

        if (spec->switches[which] == NET_NOT_GIVEN)
            continue;
        if (spec->mode == NET_MODE_BRIDGED)
            return err_set(err, -EINVAL, "%s is set in mode=bridged%s", net_switch_option(which),
                           no_gateway);
        if (is_nat && spec->mode == NET_MODE_HOST)
            return err_set(err, -EINVAL,
                           "%s is set in mode=host, which has no NAT: leave it out or write "
                           "mode=shared",
                           net_switch_option(which));
    }
    if (spec->workers && spec->mode == NET_MODE_BRIDGED)
        return err_set(err, -EINVAL,
                       "workers=%u is set in mode=bridged: they are the way out of a shared or "
                       "host network; leave workers out",
                       spec->workers);
    return 0;
}

/* The name that a network of these options has; @spec is right but for its own. */
static void make_name(const struct net_spec *spec, char ret_name[NET_NAME_MAX + 1])
{
    const char *mode = net_mode_name(spec->mode);
    char start[IP_TEXT_MAX], end[IP_TEXT_MAX];

    if (spec->net_uuid[0])
        snprintf(ret_name, NET_NAME_MAX + 1, "%s-%s", mode, spec->net_uuid);
    else if (spec->ifname[0])
        snprintf(ret_name, NET_NAME_MAX + 1, "%s-%s", mode, spec->ifname);
    else if (has_addresses(spec))
        snprintf(ret_name, NET_NAME_MAX + 1, "%s-%s-%s-%d", mode,
                 ip_format(&spec->start_address, start), ip_format(&spec->end_address, end),
                 mask_prefix(as_u32(&spec->subnet_mask)));
    else
        snprintf(ret_name, NET_NAME_MAX + 1, "%s", mode);
}

static int check_uuid(const struct net_spec *spec, const char *name, struct err *err)
{
    if (has_addresses(spec))
        return err_set(err, -EINVAL,
                       "net-uuid=%s is set together with %s: a network known by a UUID has no "
                       "DHCP, its machines choose their addresses; leave net-uuid out, or "
                       "start-address, end-address and subnet-mask",
                       spec->net_uuid, first_address(spec));
    for (enum net_switch which = NET_DHCP; which <= NET_RA; which++)
        if (which != NET_DNS && spec->switches[which] == NET_ON)
            return err_set(err, -EINVAL,
                           "net-uuid=%s is set together with %s=on: a network known by a UUID has "
                           "neither DHCP nor router advertisements; leave one of them out",
                           spec->net_uuid, net_switch_option(which));
    /* Its own name is what a complete one has. */
    if (spec->name[0] && strcmp(spec->name, name) != 0)
        return err_set(err, -EINVAL,
                       "net-uuid=%s is set together with the network name '%s': the UUID is the "
                       "network's identity, and its name is %s; leave one of them out",
                       spec->net_uuid, spec->name, name);
    return 0;
}

int net_spec_complete(struct net_spec *spec, struct err *err)
{
    char name[NET_NAME_MAX + 1] = "";
    int error = check_modes(spec, err);

    if (error)
        return error;
    if (spec->net_uuid[0]) {
        make_name(spec, name);
        error = check_uuid(spec, name, err);
    } else if (has_addresses(spec)) {
        error = check_addresses(spec, err);
    }
    if (!error)
        error = check_host_addresses(spec, err);
    if (!error)
        error = check_dhcp(spec, err);
    if (error)
        return error;
    if (spec->name[0])
        return net_name_check(spec->name, err);
    make_name(spec, spec->name);
    return 0;
}
