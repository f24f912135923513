/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/linux/netlink.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <string.h>
#include <time.h>

/* Of a list that changes while it is read. */
#define DUMP_TRIES 20

int netlink_open(struct netlink *netlink)
{
    netlink->sequence = (uint32_t)time(NULL);
    netlink->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    if (!netlink->socket)
        return -errno;
    if (mnl_socket_bind(netlink->socket, 0, MNL_SOCKET_AUTOPID) < 0) {
        int error = -errno;

        netlink_close(netlink);
        return error;
    }
    return 0;
}

void netlink_close(struct netlink *netlink)
{
    if (netlink->socket)
        mnl_socket_close(netlink->socket);
    netlink->socket = NULL;
}

int netlink_join(struct netlink *netlink, const int *groups, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (mnl_socket_setsockopt(netlink->socket, NETLINK_ADD_MEMBERSHIP, (void *)&groups[i],
                                  sizeof(groups[i])) < 0)
            return -errno;
    return 0;
}

int netlink_talk(struct netlink *netlink, struct nlmsghdr *header, mnl_cb_t each, void *context)
{
    char buf[NETLINK_MESSAGE_BYTES];
    unsigned port = mnl_socket_get_portid(netlink->socket);
    int result;

    header->nlmsg_seq = ++netlink->sequence;
    if (mnl_socket_sendto(netlink->socket, header, header->nlmsg_len) < 0)
        return -errno;
    do {
        ssize_t len = mnl_socket_recvfrom(netlink->socket, buf, sizeof(buf));

        if (len < 0)
            return -errno;
        if (((struct nlmsghdr *)(void *)buf)->nlmsg_seq != netlink->sequence) {
            result = MNL_CB_OK;
            continue;
        }
        result = mnl_cb_run(buf, (size_t)len, netlink->sequence, port, each, context);
    } while (result > MNL_CB_STOP);
    return result < 0 ? -errno : 0;
}

struct nlmsghdr *netlink_begin(char *buf, uint16_t type, uint16_t flags)
{
    struct nlmsghdr *header = mnl_nlmsg_put_header(buf);

    header->nlmsg_type = type;
    header->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    return header;
}

int netlink_add_bridge(struct netlink *netlink, const char *name, const struct mac_addr *mac)
{
    char buf[NETLINK_MESSAGE_BYTES];
    struct nlmsghdr *header = netlink_begin(buf, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
    struct ifinfomsg *link = mnl_nlmsg_put_extra_header(header, sizeof(*link));
    struct nlattr *info, *data;

    link->ifi_family = AF_UNSPEC;
    mnl_attr_put_strz(header, IFLA_IFNAME, name);
    mnl_attr_put(header, IFLA_ADDRESS, sizeof(mac->bytes), mac->bytes);
    info = mnl_attr_nest_start(header, IFLA_LINKINFO);
    mnl_attr_put_strz(header, IFLA_INFO_KIND, "bridge");
    data = mnl_attr_nest_start(header, IFLA_INFO_DATA);
    mnl_attr_put_u32(header, IFLA_BR_FORWARD_DELAY, 0);
    mnl_attr_put_u32(header, IFLA_BR_STP_STATE, 0);
    /* Snooping without a querier would lose neighbour discovery after some minutes. */
    mnl_attr_put_u8(header, IFLA_BR_MCAST_SNOOPING, 0);
    mnl_attr_nest_end(header, data);
    mnl_attr_nest_end(header, info);
    return netlink_talk(netlink, header, NULL, NULL);
}

int netlink_add_veth(struct netlink *netlink, const char *name, const char *peer, int peer_fd,
                     const struct mac_addr *peer_mac, unsigned mtu)
{
    char buf[NETLINK_MESSAGE_BYTES];
    struct nlmsghdr *header = netlink_begin(buf, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
    struct ifinfomsg *link = mnl_nlmsg_put_extra_header(header, sizeof(*link));
    struct nlattr *info, *data, *other;

    link->ifi_family = AF_UNSPEC;
    mnl_attr_put_strz(header, IFLA_IFNAME, name);
    mnl_attr_put_u32(header, IFLA_MTU, mtu);
    info = mnl_attr_nest_start(header, IFLA_LINKINFO);
    mnl_attr_put_strz(header, IFLA_INFO_KIND, "veth");
    data = mnl_attr_nest_start(header, IFLA_INFO_DATA);
    other = mnl_attr_nest_start(header, VETH_INFO_PEER);
    /* The attribute begins with the header of a link message of its own. */
    link = mnl_nlmsg_put_extra_header(header, sizeof(*link));
    link->ifi_family = AF_UNSPEC;
    mnl_attr_put_strz(header, IFLA_IFNAME, peer);
    mnl_attr_put(header, IFLA_ADDRESS, sizeof(peer_mac->bytes), peer_mac->bytes);
    mnl_attr_put_u32(header, IFLA_MTU, mtu);
    mnl_attr_put_u32(header, IFLA_NET_NS_FD, (uint32_t)peer_fd);
    mnl_attr_nest_end(header, other);
    mnl_attr_nest_end(header, data);
    mnl_attr_nest_end(header, info);
    return netlink_talk(netlink, header, NULL, NULL);
}

int netlink_set_up(struct netlink *netlink, int ifindex, unsigned mtu, int master,
                   const char *alias)
{
    char buf[NETLINK_MESSAGE_BYTES];
    struct nlmsghdr *header = netlink_begin(buf, RTM_NEWLINK, 0);
    struct ifinfomsg *link = mnl_nlmsg_put_extra_header(header, sizeof(*link));

    link->ifi_family = AF_UNSPEC;
    link->ifi_index = ifindex;
    link->ifi_flags = link->ifi_change = IFF_UP;
    if (mtu)
        mnl_attr_put_u32(header, IFLA_MTU, mtu);
    if (alias)
        mnl_attr_put_str(header, IFLA_IFALIAS, alias);
    if (master)
        mnl_attr_put_u32(header, IFLA_MASTER, (uint32_t)master);
    return netlink_talk(netlink, header, NULL, NULL);
}

int netlink_cut_off(struct netlink *netlink, int ifindex, const char *alias)
{
    char buf[NETLINK_MESSAGE_BYTES];
    struct nlmsghdr *header = netlink_begin(buf, RTM_NEWLINK, 0);
    struct ifinfomsg *link = mnl_nlmsg_put_extra_header(header, sizeof(*link));

    link->ifi_family = AF_UNSPEC;
    link->ifi_index = ifindex;
    link->ifi_change = IFF_UP;
    mnl_attr_put_str(header, IFLA_IFALIAS, alias);
    mnl_attr_put_u32(header, IFLA_MASTER, 0);
    return netlink_talk(netlink, header, NULL, NULL);
}

static int set_number(struct netlink *netlink, int ifindex, uint16_t attribute, uint32_t number)
{
    char buf[NETLINK_MESSAGE_BYTES];
    struct nlmsghdr *header = netlink_begin(buf, RTM_NEWLINK, 0);
    struct ifinfomsg *link = mnl_nlmsg_put_extra_header(header, sizeof(*link));

    link->ifi_family = AF_UNSPEC;
    link->ifi_index = ifindex;
    mnl_attr_put_u32(header, attribute, number);
    return netlink_talk(netlink, header, NULL, NULL);
}

int netlink_set_mtu(struct netlink *netlink, int ifindex, unsigned mtu)
{
    return set_number(netlink, ifindex, IFLA_MTU, mtu);
}

int netlink_set_queue(struct netlink *netlink, int ifindex, uint32_t packets)
{
    return set_number(netlink, ifindex, IFLA_TXQLEN, packets);
}

int netlink_set_noqueue(struct netlink *netlink, int ifindex)
{
    char buf[NETLINK_MESSAGE_BYTES];
    struct nlmsghdr *header = netlink_begin(buf, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE);
    struct tcmsg *message = mnl_nlmsg_put_extra_header(header, sizeof(*message));

    message->tcm_family = AF_UNSPEC;
    message->tcm_ifindex = ifindex;
    message->tcm_parent = TC_H_ROOT;
    mnl_attr_put_strz(header, TCA_KIND, "noqueue");
    return netlink_talk(netlink, header, NULL, NULL);
}

struct link_answer {
    int ifindex;
    struct mac_addr mac;
};

static int on_link(const struct nlmsghdr *header, void *context)
{
    const struct ifinfomsg *link = mnl_nlmsg_get_payload(header);
    struct link_answer *answer = context;
    const struct nlattr *attr;

    answer->ifindex = link->ifi_index;
    mnl_attr_for_each(attr, header, sizeof(*link))
    {
        if (mnl_attr_get_type(attr) == IFLA_ADDRESS &&
            mnl_attr_get_payload_len(attr) == sizeof(answer->mac))
            memcpy(&answer->mac, mnl_attr_get_payload(attr), sizeof(answer->mac));
    }
    return MNL_CB_OK;
}

int netlink_get_link(struct netlink *netlink, const char *name, int *ret_ifindex,
                     struct mac_addr *ret_mac)
{
    char buf[NETLINK_MESSAGE_BYTES];
    struct nlmsghdr *header = netlink_begin(buf, RTM_GETLINK, 0);
    struct ifinfomsg *link = mnl_nlmsg_put_extra_header(header, sizeof(*link));
    struct link_answer answer = {0};
    int result;

    link->ifi_family = AF_UNSPEC;
    mnl_attr_put_strz(header, IFLA_IFNAME, name);
    result = netlink_talk(netlink, header, on_link, &answer);
    if (result < 0)
        return result;
    *ret_ifindex = answer.ifindex;
    *ret_mac = answer.mac;
    return 0;
}

int netlink_delete_link(struct netlink *netlink, int ifindex)
{
    char buf[NETLINK_MESSAGE_BYTES];
    struct nlmsghdr *header = netlink_begin(buf, RTM_DELLINK, 0);
    struct ifinfomsg *link = mnl_nlmsg_put_extra_header(header, sizeof(*link));

    link->ifi_family = AF_UNSPEC;
    link->ifi_index = ifindex;
    return netlink_talk(netlink, header, NULL, NULL);
}

int netlink_add_address(struct netlink *netlink, int ifindex, const struct ip_addr *addr,
                        unsigned prefix_len)
{
    char buf[NETLINK_MESSAGE_BYTES];
    struct nlmsghdr *header = netlink_begin(buf, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
    struct ifaddrmsg *message = mnl_nlmsg_put_extra_header(header, sizeof(*message));

    message->ifa_family = addr->family;
    message->ifa_prefixlen = (uint8_t)prefix_len;
    message->ifa_index = (uint32_t)ifindex;
    message->ifa_scope = RT_SCOPE_UNIVERSE;
    /* Nobody else can have the gateway's address: no second of waiting for duplicates. */
    message->ifa_flags = addr->family == AF_INET6 ? IFA_F_NODAD : 0;
    mnl_attr_put(header, IFA_LOCAL, ip_len_bytes(addr), addr->bytes);
    mnl_attr_put(header, IFA_ADDRESS, ip_len_bytes(addr), addr->bytes);
    if (addr->family == AF_INET) {
        uint32_t broadcast = addr->v4.s_addr | htonl(~ip_mask_u32(prefix_len));

        mnl_attr_put(header, IFA_BROADCAST, sizeof(broadcast), &broadcast);
    }
    return netlink_talk(netlink, header, NULL, NULL);
}

int netlink_add_default_route(struct netlink *netlink, int family, uint32_t table, int ifindex,
                              bool local)
{
    char buf[NETLINK_MESSAGE_BYTES];
    struct nlmsghdr *header = netlink_begin(buf, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
    struct rtmsg *route = mnl_nlmsg_put_extra_header(header, sizeof(*route));

    route->rtm_family = (uint8_t)family;
    route->rtm_table = (uint8_t)table;
    route->rtm_protocol = RTPROT_BOOT;
    route->rtm_scope = local               ? RT_SCOPE_HOST
                       : family == AF_INET ? RT_SCOPE_LINK
                                           : RT_SCOPE_UNIVERSE;
    route->rtm_type = local ? RTN_LOCAL : RTN_UNICAST;
    mnl_attr_put_u32(header, RTA_OIF, (uint32_t)ifindex);
    return netlink_talk(netlink, header, NULL, NULL);
}

int netlink_rule(struct netlink *netlink, int family, bool add, uint32_t priority, uint32_t mark,
                 uint32_t table)
{
    char buf[NETLINK_MESSAGE_BYTES];
    struct nlmsghdr *header =
        netlink_begin(buf, add ? RTM_NEWRULE : RTM_DELRULE, add ? NLM_F_CREATE | NLM_F_EXCL : 0);
    struct fib_rule_hdr *rule = mnl_nlmsg_put_extra_header(header, sizeof(*rule));

    rule->family = (uint8_t)family;
    rule->table = (uint8_t)table;
    rule->action = FR_ACT_TO_TBL;
    mnl_attr_put_u32(header, FRA_PRIORITY, priority);
    mnl_attr_put_u32(header, FRA_TABLE, table);
    if (mark) {
        mnl_attr_put_u32(header, FRA_FWMARK, mark);
        mnl_attr_put_u32(header, FRA_FWMASK, UINT32_MAX);
    }
    return netlink_talk(netlink, header, NULL, NULL);
}

int netlink_dump(struct netlink *netlink, uint16_t type, int family, mnl_cb_t each,
                 void (*again)(void *context), void *context)
{
    char buf[NETLINK_MESSAGE_BYTES];
    struct nlmsghdr *header = mnl_nlmsg_put_header(buf);
    struct rtgenmsg *general;
    int result = -EINTR;

    header->nlmsg_type = type;
    header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    general = mnl_nlmsg_put_extra_header(header, type == RTM_GETLINK ? sizeof(struct ifinfomsg)
                                                                     : sizeof(struct rtmsg));
    general->rtgen_family = (unsigned char)family;
    /* Something came or went while it was listed, and the list may lack what stayed (NLM_F_DUMP_INTR). */
    for (int tries = 0; result == -EINTR && tries < DUMP_TRIES; tries++) {
        if (tries && again)
            again(context);
        result = netlink_talk(netlink, header, each, context);
    }
    return result;
}

bool netlink_is_default_route(const struct rtmsg *route)
{
    /* Nobody has a network with more addresses than 10/8, or than fc00::/7. */
    return route->rtm_dst_len < (route->rtm_family == AF_INET ? 8 : 7);
}
