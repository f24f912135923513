/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linux forwards what came in over an interface where that is allowed there. IPv4 has a setting for each interface. IPv6
 * has one since Linux 6.17 (force_forwarding). Before, there is one for all of them, and it makes a host a router, which
 * ignores router advertisements, and so loses its addresses and its default route; accept_ra=2 says that it does not. Each
 * interface needs that, also one that has no route now, and one that is to come: their link may be back any time. Where
 * each has its own setting those need it that have a route: as soon as any interface forwards, such as the network's
 * bridge, the kernel removes all default routes that were advertised, but for interfaces with accept_ra=2.
 *
 * That an interface is open does not mean that the host becomes a router for those who are behind it. What came in there
 * and does not go to a network of ours was not forwarded before, and is dropped. (uplinks_claim() writes those rules.)
 */
#include "plane/linux/uplinks.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OF_EACH "ipv6/conf/all/force_forwarding"

static void add_uplink(struct uplinks *uplinks, unsigned ifindex, const struct rtmsg *route)
{
    unsigned i = 0;

    while (i < uplinks->len && uplinks->each[i].ifindex != ifindex)
        i++;
    if (i == UPLINKS_MAX)
        return;
    if (i == uplinks->len) {
        uplinks->each[i].ifindex = ifindex;
        uplinks->each[i].ipv4 = uplinks->each[i].ipv6 = false;
        uplinks->each[i].default4 = uplinks->each[i].default6 = false;
        if (!if_indextoname(ifindex, uplinks->each[i].name) ||
            strcmp(uplinks->each[i].name, "lo") == 0 || place_is_ours(uplinks->each[i].name))
            return;
        uplinks->len++;
    }
    if (route->rtm_family == AF_INET) {
        uplinks->each[i].ipv4 = true;
        uplinks->each[i].default4 |= netlink_is_default_route(route);
    } else {
        uplinks->each[i].ipv6 = true;
        uplinks->each[i].default6 |= netlink_is_default_route(route);
    }
}

static void add_nexthops(struct uplinks *uplinks, const struct nlattr *attr,
                         const struct rtmsg *route)
{
    const struct rtnexthop *hop = mnl_attr_get_payload(attr);
    int left = mnl_attr_get_payload_len(attr);

    for (; RTNH_OK(hop, left); left -= RTNH_ALIGN(hop->rtnh_len), hop = RTNH_NEXT(hop))
        add_uplink(uplinks, (unsigned)hop->rtnh_ifindex, route);
}

static int on_route(const struct nlmsghdr *header, void *context)
{
    const struct rtmsg *route = mnl_nlmsg_get_payload(header);
    const uint8_t *to = NULL;
    const struct nlattr *attr;

    if (route->rtm_type != RTN_UNICAST)
        return MNL_CB_OK;
    mnl_attr_for_each(attr, header, sizeof(*route)) if (mnl_attr_get_type(attr) == RTA_DST) to =
        mnl_attr_get_payload(attr);
    /* Each interface has a link-local prefix; that says nothing. */
    if (route->rtm_family == AF_INET6 && to && to[0] == 0xfe && (to[1] & 0xc0) == 0x80)
        return MNL_CB_OK;
    mnl_attr_for_each(attr, header, sizeof(*route))
    {
        if (mnl_attr_get_type(attr) == RTA_OIF)
            add_uplink(context, mnl_attr_get_u32(attr), route);
        else if (mnl_attr_get_type(attr) == RTA_MULTIPATH)
            add_nexthops(context, attr, route);
    }
    return MNL_CB_OK;
}

static int on_address(const struct nlmsghdr *header, void *context)
{
    struct uplinks *uplinks = context;
    const struct nlattr *attr;
    uint32_t own;

    mnl_attr_for_each(attr, header, sizeof(struct ifaddrmsg))
    {
        if (mnl_attr_get_type(attr) != IFA_LOCAL || mnl_attr_get_payload_len(attr) != sizeof(own))
            continue;
        memcpy(&own, mnl_attr_get_payload(attr), sizeof(own));
        if (ntohl(own) >> 24 != 127 && uplinks->own4_len < UPLINKS_ADDRESSES_MAX)
            uplinks->own4[uplinks->own4_len++] = ntohl(own);
    }
    return MNL_CB_OK;
}

static void forget_addresses(void *context)
{
    ((struct uplinks *)context)->own4_len = 0;
}

static void forget(void *context)
{
    ((struct uplinks *)context)->len = 0;
}

static void forget6(void *context)
{
    struct uplinks *uplinks = context;

    for (unsigned i = 0; i < uplinks->len; i++)
        uplinks->each[i].ipv6 = uplinks->each[i].default6 = false;
}

int uplinks_read(struct netlink *netlink, struct uplinks *ret_uplinks)
{
    int result;

    memset(ret_uplinks, 0, sizeof(*ret_uplinks)); /* they are compared as bytes */
    result = netlink_dump(netlink, RTM_GETADDR, AF_INET, on_address, forget_addresses, ret_uplinks);
    if (result == 0)
        result = netlink_dump(netlink, RTM_GETROUTE, AF_INET, on_route, forget, ret_uplinks);
    if (result == 0)
        result = netlink_dump(netlink, RTM_GETROUTE, AF_INET6, on_route, forget6, ret_uplinks);
    return result == -EOPNOTSUPP || result == -EAFNOSUPPORT ? 0 : result; /* without IPv6 */
}

static void want(struct uplinks_settings *wanted, const char *family, const char *interface,
                 const char *name, const char *value)
{
    struct setting *setting = &wanted->each[wanted->len];

    if (wanted->len == UPLINKS_SETTINGS_MAX)
        return;
    wanted->len++;
    setting->changed = false;
    snprintf(setting->name, sizeof(setting->name), "%s/conf/%s/%s", family, interface, name);
    snprintf(setting->value, sizeof(setting->value), "%s", value);
}

/* Who has accept_ra=0 has said that there are to be no advertisements. */
static void want_advertisements(struct uplinks_settings *wanted, const char *interface)
{
    char name[SETTING_NAME_MAX];
    long value;

    snprintf(name, sizeof(name), "ipv6/conf/%s/accept_ra", interface);
    for (size_t i = 0; i < wanted->len; i++)
        if (strcmp(wanted->each[i].name, name) == 0)
            return;
    if (settings_read(name, &value) && value != 0)
        want(wanted, "ipv6", interface, "accept_ra", "2");
}

/* The one setting for all is the last that is made and the first that is put back. */
static void want_forwarding_of_all(struct uplinks_settings *wanted)
{
    struct if_nameindex *all = if_nameindex();

    want_advertisements(wanted, "default");
    for (struct if_nameindex *each = all; each && each->if_index; each++)
        if (strcmp(each->if_name, "lo") != 0 && !place_is_ours(each->if_name) &&
            wanted->len < UPLINKS_SETTINGS_MAX - 1)
            want_advertisements(wanted, each->if_name);
    if_freenameindex(all);
    want(wanted, "ipv6", "all", "forwarding", "1");
}

static void want_forwarding(struct uplinks_settings *wanted, const struct net_config *config,
                            const struct uplinks *uplinks)
{
    bool nat4 = net_config_has_nat(config, AF_INET), nat6 = net_config_has_nat(config, AF_INET6);
    bool any6 = false, of_each;
    long value;

    of_each = settings_read(OF_EACH, &value);
    for (unsigned i = 0; i < uplinks->len; i++) {
        bool ipv6 = nat6 && uplinks->each[i].ipv6;

        if (nat4 && uplinks->each[i].ipv4)
            want(wanted, "ipv4", uplinks->each[i].name, "forwarding", "1");
        if (ipv6)
            want_advertisements(wanted, uplinks->each[i].name);
        if (ipv6 && of_each)
            want(wanted, "ipv6", uplinks->each[i].name, "force_forwarding", "1");
        any6 |= ipv6;
    }
    if (any6 && !of_each)
        want_forwarding_of_all(wanted);
}

int uplinks_claim(const struct place *place, const struct uplinks *uplinks, FILE *text,
                  struct uplinks_settings *ret_settings, struct err *err)
{
    int result;

    ret_settings->len = 0;
    want_forwarding(ret_settings, place->config, uplinks);
    result = settings_claim(place->config, ret_settings->each, ret_settings->len, err);
    /* What could not be claimed is not known to be ours: the rules that there are stay. */
    if (!text || result < 0)
        return result;
    fprintf(text, "flush chain inet %s closed\n", place->table);
    for (size_t i = 0; i < ret_settings->len; i++) {
        const char *name = ret_settings->each[i].name, *interface = name + strlen("ipv4/conf/");
        const char *end = strchr(interface, '/');

        if (!ret_settings->each[i].changed || strcmp(end, "/accept_ra") == 0)
            continue;
        fprintf(text, "add rule inet %s closed meta nfproto %.4s ", place->table, name);
        if (strncmp(interface, "all/", strlen("all/")) != 0)
            fprintf(text, "iifname \"%.*s\" ", (int)(end - interface), interface);
        fputs("drop\n", text);
    }
    return result;
}
