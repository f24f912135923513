/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/linux/conflicts.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct overlap {
    const struct net_config *config;
    unsigned own;
    char text[IP_TEXT_MAX + 48];
};

/* A prefix of the network's and one of a route: whether they have addresses in common. */
static bool overlaps(const struct ip_addr *a, unsigned a_bits, const struct ip_addr *b,
                     unsigned b_bits)
{
    unsigned bits = a_bits < b_bits ? a_bits : b_bits, whole = bits / 8;

    if (memcmp(a->bytes, b->bytes, whole) != 0)
        return false;
    return bits % 8 == 0 || ((a->bytes[whole] ^ b->bytes[whole]) >> (8 - bits % 8)) == 0;
}

static int on_route(const struct nlmsghdr *header, void *context)
{
    struct overlap *overlap = context;
    const struct net_config *config = overlap->config;
    const struct rtmsg *route = mnl_nlmsg_get_payload(header);
    struct ip_addr own =
        route->rtm_family == AF_INET ? ip_from_u32(net_config_subnet(config)) : config->prefix6;
    struct ip_addr to = {.family = route->rtm_family};
    char address[IP_TEXT_MAX], interface[IFNAMSIZ] = "";
    const struct nlattr *attr;
    unsigned ifindex = 0;

    /* Anything is more special than a default route. */
    if (overlap->text[0] || netlink_is_default_route(route) || route->rtm_family != own.family ||
        route->rtm_type == RTN_MULTICAST || route->rtm_type == RTN_BROADCAST)
        return MNL_CB_OK;
    mnl_attr_for_each(attr, header, sizeof(*route))
    {
        if (mnl_attr_get_type(attr) == RTA_DST &&
            mnl_attr_get_payload_len(attr) == ip_len_bytes(&to))
            memcpy(to.bytes, mnl_attr_get_payload(attr), ip_len_bytes(&to));
        else if (mnl_attr_get_type(attr) == RTA_OIF)
            ifindex = mnl_attr_get_u32(attr);
    }
    if ((!ifindex || ifindex != overlap->own) &&
        overlaps(&own, own.family == AF_INET ? config->prefix_len : 64, &to, route->rtm_dst_len))
        snprintf(overlap->text, sizeof(overlap->text), "%s/%u%s%s", ip_format(&to, address),
                 route->rtm_dst_len, ifindex && if_indextoname(ifindex, interface) ? " dev " : "",
                 interface);
    return MNL_CB_OK;
}

int conflicts_check_routes(const struct net_config *config, unsigned own, struct netlink *netlink,
                           struct err *err)
{
    struct ip_addr subnet = ip_from_u32(net_config_subnet(config));
    struct overlap overlap = {.config = config, .own = own};
    char address[IP_TEXT_MAX];
    int result = netlink_dump(netlink, RTM_GETROUTE, AF_INET, on_route, NULL, &overlap);

    if (result == 0 && overlap.text[0])
        return err_set(err, -EADDRINUSE,
                       "network '%s': its subnet %s/%u has addresses in common with the host's "
                       "route to %s; give it others in its file (start-address, end-address, "
                       "subnet-mask)",
                       config->name, ip_format(&subnet, address), config->prefix_len, overlap.text);
    if (result == 0 && config->prefix6.family)
        result = netlink_dump(netlink, RTM_GETROUTE, AF_INET6, on_route, NULL, &overlap);
    if (result == 0 && overlap.text[0])
        return err_set(err, -EADDRINUSE,
                       "network '%s': its prefix %s/64 has addresses in common with the host's "
                       "route to %s; give it another in its file (nat66-prefix)",
                       config->name, ip_format(&config->prefix6, address), overlap.text);
    return result < 0 ? err_set(err, result, "cannot read the host's routes: %s", strerror(-result))
                      : 0;
}

int conflicts_check_dns(const struct net_config *config, struct err *err)
{
    static const int types[] = {SOCK_DGRAM, SOCK_STREAM};
    struct ip_endpoint gateway = {.addr = ip_from_u32(config->gateway), .port = 53};
    struct sockaddr_storage address;
    socklen_t len = endpoint_to_sockaddr(&gateway, &address);
    char text[IP_TEXT_MAX];
    int one = 1, result = 0;

    for (int i = 0; i < 2 && result == 0 && config->on[NET_DNS]; i++) {
        int fd = socket(AF_INET, types[i] | SOCK_CLOEXEC, 0);

        if (fd < 0)
            return 0;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        if ((bind(fd, (struct sockaddr *)&address, len) < 0 ||
             (types[i] == SOCK_STREAM && listen(fd, 1) < 0)) &&
            errno == EADDRINUSE)
            result = -EADDRINUSE;
        close(fd);
    }
    return result < 0
               ? err_set(err, result,
                         "network '%s' needs port 53 of its gateway %s for DNS, and another "
                         "program has that port of all addresses ('ss -lntup sport = :53' names "
                         "it); have it listen at its own addresses (dnsmasq: bind-dynamic and "
                         "except-interface=vmnet-*; named: listen-on), or write dns = off in the "
                         "network's file",
                         config->name, ip_format(&gateway.addr, text))
               : 0;
}
