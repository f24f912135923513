/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/linux/bridged_link.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

static struct nlmsghdr *begin_link(char *buf, uint16_t type, unsigned char family, int ifindex)
{
    struct nlmsghdr *header = netlink_begin(buf, type, 0);
    struct ifinfomsg *link = mnl_nlmsg_put_extra_header(header, sizeof(*link));

    link->ifi_family = family;
    link->ifi_index = ifindex;
    return header;
}

static void read_kind(const struct nlattr *info, struct bridged_link *link)
{
    const struct nlattr *attr;

    mnl_attr_for_each_nested(attr, info) if (mnl_attr_get_type(attr) == IFLA_INFO_KIND)
        snprintf(link->kind, sizeof(link->kind), "%s", mnl_attr_get_str(attr));
}

void bridged_link_parse(const struct nlmsghdr *header, struct bridged_link *link)
{
    const struct ifinfomsg *message = mnl_nlmsg_get_payload(header);
    const struct nlattr *attr;

    *link = (struct bridged_link){
        .ifindex = message->ifi_index,
        .ethernet = message->ifi_type == ARPHRD_ETHER,
        .loopback = message->ifi_flags & IFF_LOOPBACK,
        .up = message->ifi_flags & IFF_UP,
        .carrier = message->ifi_flags & IFF_RUNNING,
    };
    mnl_attr_for_each(attr, header, sizeof(*message))
    {
        switch (mnl_attr_get_type(attr)) {
        case IFLA_IFNAME:
            snprintf(link->name, sizeof(link->name), "%s", mnl_attr_get_str(attr));
            break;
        case IFLA_ADDRESS:
            if (mnl_attr_get_payload_len(attr) == sizeof(link->mac))
                memcpy(&link->mac, mnl_attr_get_payload(attr), sizeof(link->mac));
            break;
        case IFLA_MTU: link->mtu = mnl_attr_get_u32(attr); break;
        case IFLA_PROMISCUITY: link->looked_at = mnl_attr_get_u32(attr) > 0; break;
        case IFLA_MASTER: link->master = (int)mnl_attr_get_u32(attr); break;
        case IFLA_LINKINFO: read_kind(attr, link); break;
        case IFLA_IFALIAS: bridging_network(mnl_attr_get_str(attr), link->network); break;
        default: break;
        }
    }
}

static int on_link(const struct nlmsghdr *header, void *context)
{
    bridged_link_parse(header, context);
    return MNL_CB_OK;
}

int bridged_link_read(struct netlink *netlink, const char *name, int ifindex,
                      struct bridged_link *ret_link)
{
    char buf[NETLINK_MESSAGE_BYTES];
    struct nlmsghdr *header = begin_link(buf, RTM_GETLINK, AF_UNSPEC, name ? 0 : ifindex);

    if (name)
        mnl_attr_put_strz(header, IFLA_IFNAME, name);
    return netlink_talk(netlink, header, on_link, ret_link);
}

struct best_route {
    int ifindex;
    uint32_t metric;
};

static int on_route(const struct nlmsghdr *header, void *context)
{
    const struct rtmsg *route = mnl_nlmsg_get_payload(header);
    struct best_route *best = context;
    const struct nlattr *attr;
    uint32_t metric = 0;
    int ifindex = 0;

    if (route->rtm_dst_len > 0 || route->rtm_type != RTN_UNICAST ||
        route->rtm_table != RT_TABLE_MAIN)
        return MNL_CB_OK;
    mnl_attr_for_each(attr, header, sizeof(*route))
    {
        if (mnl_attr_get_type(attr) == RTA_OIF)
            ifindex = (int)mnl_attr_get_u32(attr);
        else if (mnl_attr_get_type(attr) == RTA_PRIORITY)
            metric = mnl_attr_get_u32(attr);
        else if (mnl_attr_get_type(attr) == RTA_MULTIPATH && !ifindex)
            ifindex = ((const struct rtnexthop *)mnl_attr_get_payload(attr))->rtnh_ifindex;
    }
    if (ifindex && (!best->ifindex || metric < best->metric))
        *best = (struct best_route){ifindex, metric};
    return MNL_CB_OK;
}

int bridged_link_default(struct netlink *netlink, char ret_name[16])
{
    static const int families[] = {AF_INET, AF_INET6};
    struct best_route best = {0};
    struct bridged_link link;
    int result;

    for (int i = 0; i < 2 && !best.ifindex; i++) {
        result = netlink_dump(netlink, RTM_GETROUTE, families[i], on_route, NULL, &best);
        if (result < 0 && families[i] == AF_INET)
            return result;
    }
    if (!best.ifindex)
        return -ENOENT;
    result = bridged_link_read(netlink, NULL, best.ifindex, &link);
    if (result == 0)
        memcpy(ret_name, link.name, sizeof(link.name));
    return result;
}

int bridged_link_silence(struct netlink *netlink, int ifindex)
{
    char buf[NETLINK_MESSAGE_BYTES];
    struct nlmsghdr *header = begin_link(buf, RTM_SETLINK, AF_UNSPEC, ifindex);
    struct nlattr *families = mnl_attr_nest_start(header, IFLA_AF_SPEC);
    struct nlattr *ipv6 = mnl_attr_nest_start(header, AF_INET6);
    int result;

    mnl_attr_put_u8(header, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
    mnl_attr_nest_end(header, ipv6);
    mnl_attr_nest_end(header, families);
    result = netlink_talk(netlink, header, NULL, NULL);
    /* Without IPv6 there is nothing to silence. */
    return result == -EAFNOSUPPORT ? 0 : result;
}

int bridged_link_set_mac(struct netlink *netlink, int ifindex, const struct mac_addr *mac)
{
    char buf[NETLINK_MESSAGE_BYTES];
    struct nlmsghdr *header = begin_link(buf, RTM_SETLINK, AF_UNSPEC, ifindex);

    mnl_attr_put(header, IFLA_ADDRESS, sizeof(mac->bytes), mac->bytes);
    return netlink_talk(netlink, header, NULL, NULL);
}

int bridged_link_set_down(struct netlink *netlink, int ifindex)
{
    char buf[NETLINK_MESSAGE_BYTES];
    struct nlmsghdr *header = begin_link(buf, RTM_SETLINK, AF_UNSPEC, ifindex);
    struct ifinfomsg *link = mnl_nlmsg_get_payload(header);

    link->ifi_change = IFF_UP;
    return netlink_talk(netlink, header, NULL, NULL);
}

int bridged_link_port_mac(const struct mac_addr *machine, struct mac_addr *ret_mac)
{
    struct mac_addr mac = *machine;

    if (mac_is_zero(machine) && getrandom(&mac, sizeof(mac), 0) != sizeof(mac))
        return -EIO;
    mac.bytes[0] = 0xfe;
    *ret_mac = mac;
    return 0;
}

int bridged_link_set_port(struct netlink *netlink, int ifindex, bool flood)
{
    char buf[NETLINK_MESSAGE_BYTES];
    struct nlmsghdr *header = begin_link(buf, RTM_SETLINK, AF_BRIDGE, ifindex);
    struct nlattr *port = mnl_attr_nest_start(header, IFLA_PROTINFO | NLA_F_NESTED);

    mnl_attr_put_u8(header, IFLA_BRPORT_LEARNING, 0);
    mnl_attr_put_u8(header, IFLA_BRPORT_UNICAST_FLOOD, flood);
    mnl_attr_nest_end(header, port);
    return netlink_talk(netlink, header, NULL, NULL);
}

int bridged_link_set_fdb(struct netlink *netlink, int ifindex, const struct mac_addr *mac)
{
    char buf[NETLINK_MESSAGE_BYTES];
    struct nlmsghdr *header = netlink_begin(buf, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE);
    struct ndmsg *entry = mnl_nlmsg_put_extra_header(header, sizeof(*entry));

    entry->ndm_family = AF_BRIDGE;
    entry->ndm_ifindex = ifindex;
    entry->ndm_flags = NTF_MASTER;
    entry->ndm_state = NUD_NOARP;
    mnl_attr_put(header, NDA_LLADDR, sizeof(mac->bytes), mac->bytes);
    return netlink_talk(netlink, header, NULL, NULL);
}
