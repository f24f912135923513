/* SPDX-License-Identifier: Apache-2.0 */
/* The host's routes, for choosing a subnet. */
#include <arpa/inet.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>

#include "plane/linux/netlink.h"
#include "plane/linux/place.h"
#include "plane/plane.h"

struct route_walk {
    struct plane_route *routes;
    size_t len, max;
    unsigned own; /* the bridge of the network itself, 0: not here */
    bool ipv6_default;
};

static int on_route(const struct nlmsghdr *header, void *context)
{
    struct route_walk *walk = context;
    const struct rtmsg *route = mnl_nlmsg_get_payload(header);
    const struct nlattr *attr;
    uint32_t address = 0, ifindex = 0;

    if (route->rtm_type != RTN_UNICAST)
        return MNL_CB_OK;
    if (route->rtm_family == AF_INET6) {
        walk->ipv6_default |= netlink_is_default_route(route);
        return MNL_CB_OK;
    }
    mnl_attr_for_each(attr, header, sizeof(*route))
    {
        if (mnl_attr_get_type(attr) == RTA_DST && mnl_attr_get_payload_len(attr) == 4)
            memcpy(&address, mnl_attr_get_payload(attr), 4);
        else if (mnl_attr_get_type(attr) == RTA_OIF)
            ifindex = mnl_attr_get_u32(attr);
    }
    if (walk->own && ifindex == walk->own)
        return MNL_CB_OK;
    if (!netlink_is_default_route(route) && walk->len < walk->max)
        walk->routes[walk->len++] =
            (struct plane_route){ntohl(address), route->rtm_dst_len, ifindex};
    return MNL_CB_OK;
}

static void forget_routes(void *context)
{
    struct route_walk *walk = context;

    walk->len = 0;
}

/* The IPv6 routes of which nothing else is kept. */
static void forget_default6(void *context)
{
    struct route_walk *walk = context;

    walk->ipv6_default = false;
}

void plane_bridge_name(const struct net_config *config, char ret_name[16])
{
    struct place place;

    place_init(&place, config);
    memcpy(ret_name, place.bridge, sizeof(place.bridge));
}

int plane_host_routes(const struct net_config *config, struct plane_route *ret_routes, size_t max,
                      bool *ret_ipv6_default)
{
    struct route_walk walk = {.routes = ret_routes, .max = max};
    struct netlink netlink;
    struct place place;
    int result = netlink_open(&netlink);

    place_init(&place, config);
    if (place.host)
        walk.own = if_nametoindex(place.bridge);
    *ret_ipv6_default = false;
    if (result < 0)
        return result;
    result = netlink_dump(&netlink, RTM_GETROUTE, AF_INET, on_route, forget_routes, &walk);
    /* A kernel without IPv6 has no such routes. */
    if (result == 0)
        netlink_dump(&netlink, RTM_GETROUTE, AF_INET6, on_route, forget_default6, &walk);
    netlink_close(&netlink);
    *ret_ipv6_default = walk.ipv6_default;
    return result < 0 ? result : (int)walk.len;
}
