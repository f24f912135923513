/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links and default routes by rtnetlink, which speaks of the calling process's own network namespace. What
 * only sysfs knows (wireless, speed) is believed where it speaks of the same device: a mount of sysfs
 * belongs to one namespace for ever.
 */
#include "client/interfaces.h"

#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bridging.h"
#include "base/ovsdb.h"

#define MESSAGE_BYTES 32768 /* of one part of a dump */
#define INTERFACES_MAX 4096
#define SYSFS "/sys/class/net"

#define SAID_MAX 64 /* bridged networks that are looked at */

/* What a network says of its interface, by the alias of its link. */
struct said {
    char interface[INTERFACE_NAME_MAX], by[16];
};

struct walk {
    struct interface *interfaces;
    unsigned *masters; /* indexes, beside the interfaces */
    size_t len;
    struct said said[SAID_MAX];
    size_t said_len;
};

static const char *text_attr(const struct nlattr *attr)
{
    return mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) < 0 ? "" : mnl_attr_get_str(attr);
}

/* The system's word for a device that is made by it, such as "bridge"; hardware has none. */
static void take_kind(const struct nlattr *info, struct interface *interface)
{
    const struct nlattr *attr;

    mnl_attr_for_each_nested(attr, info)
    {
        if (mnl_attr_get_type(attr) == IFLA_INFO_KIND)
            snprintf(interface->kind, sizeof(interface->kind), "%s", text_attr(attr));
    }
}

/* "openvmnet: network NAME on INTERFACE by WAY" */
static void take_alias(const struct nlattr *attr, struct walk *walk)
{
    char text[128];
    struct said *said = &walk->said[walk->said_len];

    snprintf(text, sizeof(text), "%.*s", (int)mnl_attr_get_payload_len(attr),
             (const char *)mnl_attr_get_payload(attr));
    if (walk->said_len < SAID_MAX &&
        sscanf(text, BRIDGED_ALIAS "%*63s on %15s" BRIDGED_ALIAS_BY "%15s", said->interface,
               said->by) == 2)
        walk->said_len++;
}

static int on_link(const struct nlmsghdr *header, void *context)
{
    const struct ifinfomsg *link = mnl_nlmsg_get_payload(header);
    struct walk *walk = context;
    const struct nlattr *attr;
    struct interface *interface;

    if (walk->len == INTERFACES_MAX)
        return MNL_CB_OK;
    interface = &walk->interfaces[walk->len];
    interface->index = (unsigned)link->ifi_index;
    interface->ethernet = link->ifi_type == ARPHRD_ETHER;
    interface->loopback = link->ifi_flags & IFF_LOOPBACK;
    interface->up = link->ifi_flags & IFF_UP;
    interface->carrier = link->ifi_flags & IFF_RUNNING;
    mnl_attr_for_each(attr, header, sizeof(*link))
    {
        size_t len = mnl_attr_get_payload_len(attr);

        switch (mnl_attr_get_type(attr)) {
        case IFLA_IFNAME:
            snprintf(interface->name, sizeof(interface->name), "%s", text_attr(attr));
            break;
        case IFLA_ADDRESS:
            if (len == sizeof(interface->mac.bytes))
                memcpy(interface->mac.bytes, mnl_attr_get_payload(attr), len);
            break;
        case IFLA_MASTER:
            if (len == sizeof(uint32_t))
                walk->masters[walk->len] = mnl_attr_get_u32(attr);
            break;
        case IFLA_LINKINFO: take_kind(attr, interface); break;
        case IFLA_IFALIAS:
            take_alias(attr, walk);
            bridging_network(text_attr(attr), interface->network);
            break;
        default: break;
        }
    }
    /* The kernel's "tun" is both: what carries Ethernet is called a tap by all. */
    if (strcmp(interface->kind, "tun") == 0 && interface->ethernet)
        snprintf(interface->kind, sizeof(interface->kind), "tap");
    walk->len++;
    return MNL_CB_OK;
}

static void mark_default(struct walk *walk, unsigned index)
{
    for (size_t i = 0; i < walk->len; i++)
        if (walk->interfaces[i].index == index)
            walk->interfaces[i].is_default = true;
}

/* A route with several ways has them in a list of its own. */
static void mark_ways(struct walk *walk, const struct nlattr *attr)
{
    const struct rtnexthop *way = mnl_attr_get_payload(attr);
    int len = mnl_attr_get_payload_len(attr);

    for (; RTNH_OK(way, len); len -= (int)RTNH_ALIGN(way->rtnh_len), way = RTNH_NEXT(way))
        mark_default(walk, (unsigned)way->rtnh_ifindex);
}

static int on_route(const struct nlmsghdr *header, void *context)
{
    const struct rtmsg *route = mnl_nlmsg_get_payload(header);
    const struct nlattr *attr;

    if (route->rtm_dst_len > 0 || route->rtm_type != RTN_UNICAST ||
        route->rtm_table == RT_TABLE_LOCAL)
        return MNL_CB_OK;
    mnl_attr_for_each(attr, header, sizeof(*route))
    {
        if (mnl_attr_get_type(attr) == RTA_OIF && mnl_attr_get_payload_len(attr) == 4)
            mark_default(context, mnl_attr_get_u32(attr));
        else if (mnl_attr_get_type(attr) == RTA_MULTIPATH)
            mark_ways(context, attr);
    }
    return MNL_CB_OK;
}

/* All objects of a type to @each. 0 or -errno. */
static int dump(struct mnl_socket *netlink, uint16_t type, unsigned char family, mnl_cb_t each,
                struct walk *walk)
{
    char buf[MESSAGE_BYTES];
    struct nlmsghdr *header = mnl_nlmsg_put_header(buf);
    struct rtmsg *payload;
    ssize_t len;
    int result;

    header->nlmsg_type = type;
    header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    header->nlmsg_seq = type;
    /* Both kinds of payload begin with the family. */
    payload = mnl_nlmsg_put_extra_header(header, type == RTM_GETLINK ? sizeof(struct ifinfomsg)
                                                                     : sizeof(struct rtmsg));
    payload->rtm_family = family;
    if (mnl_socket_sendto(netlink, header, header->nlmsg_len) < 0)
        return -errno;
    do {
        len = mnl_socket_recvfrom(netlink, buf, sizeof(buf));
        result = len < 0 ? -1
                         : mnl_cb_run(buf, (size_t)len, type, mnl_socket_get_portid(netlink), each,
                                      walk);
    } while (result > MNL_CB_STOP);
    return result < 0 ? -errno : 0;
}

static long read_number(const char *interface, const char *file)
{
    char path[128], text[32];
    long number = -1;
    ssize_t len;
    int fd;

    snprintf(path, sizeof(path), SYSFS "/%s/%s", interface, file);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    len = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (len > 0) {
        text[len] = '\0';
        number = strtol(text, NULL, 10);
    }
    return number;
}

static void ask_sysfs(struct interface *interface)
{
    char path[128];
    long speed;

    if (strchr(interface->name, '/') ||
        read_number(interface->name, "ifindex") != (long)interface->index)
        return;
    snprintf(path, sizeof(path), SYSFS "/%s/phy80211", interface->name);
    interface->wireless = access(path, F_OK) == 0;
    snprintf(path, sizeof(path), SYSFS "/%s/wireless", interface->name);
    interface->wireless = interface->wireless || access(path, F_OK) == 0;
    /* Refused while there is no carrier, and -1 or all ones where it is not known. */
    speed = read_number(interface->name, "speed");
    if (speed > 0 && speed < 0xffffffffL)
        interface->speed_mbps = (unsigned)speed;
}

/* What is known of each only when all are. */
static void complete(struct walk *walk)
{
    for (size_t i = 0; i < walk->len; i++) {
        struct interface *interface = &walk->interfaces[i];

        for (size_t j = 0; walk->masters[i] && j < walk->len; j++)
            if (walk->interfaces[j].index == walk->masters[i])
                memcpy(interface->master, walk->interfaces[j].name, sizeof(interface->master));
        for (size_t j = 0; j < walk->said_len; j++)
            if (strcmp(walk->said[j].interface, interface->name) == 0)
                memcpy(interface->by, walk->said[j].by, sizeof(interface->by));
        ask_sysfs(interface);
        if (!interface->kind[0])
            snprintf(interface->kind, sizeof(interface->kind), "%s",
                     interface->loopback   ? "loopback"
                     : interface->wireless ? "wireless"
                     : interface->ethernet ? "wired"
                                           : "other");
    }
}

/* A server that does not answer is not asked about each. */
static void ask_openvswitch(struct walk *walk)
{
    struct ovsdb *db = NULL;
    int opened = ovsdb_open(NULL, NULL, &db), result = opened;

    for (size_t i = 0; i < walk->len; i++) {
        struct interface *interface = &walk->interfaces[i];
        struct ovsdb_role role = {0};

        interface->ovs_closed = opened == -EACCES;
        if (result == 0)
            result = ovsdb_find_role(db, interface->name, &role);
        if (result < 0)
            continue;
        interface->ovs_asked = true;
        interface->ovs = role.bridge;
        memcpy(interface->ovs_bridge, role.port_of, sizeof(interface->ovs_bridge));
    }
    ovsdb_close(db);
}

static int list_all(struct walk *walk)
{
    struct mnl_socket *netlink = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    int result;

    if (!netlink)
        return -errno;
    result = mnl_socket_bind(netlink, 0, MNL_SOCKET_AUTOPID) < 0 ? -errno : 0;
    if (result == 0)
        result = dump(netlink, RTM_GETLINK, AF_UNSPEC, on_link, walk);
    if (result == 0)
        result = dump(netlink, RTM_GETROUTE, AF_INET, on_route, walk);
    /* A kernel without IPv6 has no such routes. */
    if (result == 0)
        dump(netlink, RTM_GETROUTE, AF_INET6, on_route, walk);
    mnl_socket_close(netlink);
    return result;
}

int interfaces_list(struct interface **ret_interfaces, size_t *ret_len, struct err *err)
{
    struct walk walk = {
        .interfaces = calloc(INTERFACES_MAX, sizeof(*walk.interfaces)),
        .masters = calloc(INTERFACES_MAX, sizeof(*walk.masters)),
    };
    int result = walk.interfaces && walk.masters ? list_all(&walk) : -ENOMEM;

    if (result == 0) {
        complete(&walk);
        ask_openvswitch(&walk);
    }
    free(walk.masters);
    if (result < 0) {
        free(walk.interfaces);
        return err_set(err, result, "cannot ask the kernel for its interfaces: %s",
                       strerror(-result));
    }
    *ret_interfaces = walk.interfaces;
    *ret_len = walk.len;
    return 0;
}
