/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links by getifaddrs(3), the default routes by sysctl(3) of the routing table (route(4)). vmnet.framework also bridges
 * wireless interfaces and translates MAC addresses by itself: nothing here says "wireless".
 */
#include "client/interfaces.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <net/if_dl.h>
#include <net/route.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/sysctl.h>

/* Of net/if_types.h, which not every SDK has (IANA's ifType numbers). */
#define TYPE_ETHERNET 6
#define TYPE_LOOPBACK 24
#define TYPE_BRIDGE 209
#define MEGA 1000000

static void take_link(const struct ifaddrs *entry, struct interface *interface)
{
    const struct sockaddr_dl *link = (const struct sockaddr_dl *)(const void *)entry->ifa_addr;
    const struct if_data *data = entry->ifa_data;
    const char *kind = "other";

    *interface = (struct interface){
        .index = link->sdl_index,
        .ethernet = link->sdl_type == TYPE_ETHERNET || link->sdl_type == TYPE_BRIDGE,
        .loopback = link->sdl_type == TYPE_LOOPBACK,
        .up = entry->ifa_flags & IFF_UP,
        .carrier = entry->ifa_flags & IFF_RUNNING,
        .speed_mbps = data ? (unsigned)(data->ifi_baudrate / MEGA) : 0,
    };
    if (link->sdl_type == TYPE_BRIDGE)
        kind = "bridge";
    else if (interface->loopback)
        kind = "loopback";
    else if (interface->ethernet)
        kind = "Ethernet";
    snprintf(interface->kind, sizeof(interface->kind), "%s", kind);
    snprintf(interface->name, sizeof(interface->name), "%s", entry->ifa_name);
    if (link->sdl_alen == sizeof(interface->mac.bytes))
        memcpy(interface->mac.bytes, LLADDR(link), sizeof(interface->mac.bytes));
}

static void mark_default(unsigned index, struct interface *interfaces, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (interfaces[i].index == index)
            interfaces[i].is_default = true;
}

/* A route that is nobody's in particular, to the address of all zeros. */
static bool is_default_route(const struct rt_msghdr *route)
{
    const struct sockaddr *to = (const struct sockaddr *)(const void *)(route + 1);
    const uint8_t *address = (const uint8_t *)to + offsetof(struct sockaddr, sa_data) + 2;

    if (!(route->rtm_flags & RTF_UP) || !(route->rtm_flags & RTF_GATEWAY) ||
        route->rtm_flags & (RTF_IFSCOPE | RTF_HOST) || !(route->rtm_addrs & RTA_DST))
        return false;
    /* The sockets' addresses are cut where only zeros follow. */
    return to->sa_len <= offsetof(struct sockaddr, sa_data) + 2 ||
           (to->sa_family == AF_INET && memcmp(address, "\0\0\0\0", 4) == 0);
}

/* None where the table cannot be read: no column is worth a failure. */
static void find_default_routes(struct interface *interfaces, size_t len)
{
    int name[] = {CTL_NET, PF_ROUTE, 0, AF_INET, NET_RT_DUMP, 0};
    size_t size = 0, at = 0;
    char *table;

    if (sysctl(name, 6, NULL, &size, NULL, 0) < 0 || !(table = malloc(size)))
        return;
    if (sysctl(name, 6, table, &size, NULL, 0) < 0)
        size = 0;
    while (size - at >= sizeof(struct rt_msghdr) + sizeof(struct sockaddr)) {
        const struct rt_msghdr *route = (const struct rt_msghdr *)(const void *)(table + at);

        if (route->rtm_msglen == 0 || route->rtm_msglen > size - at)
            break;
        if (is_default_route(route))
            mark_default(route->rtm_index, interfaces, len);
        at += route->rtm_msglen;
    }
    free(table);
}

static int by_index(const void *a, const void *b)
{
    unsigned first = ((const struct interface *)a)->index,
             second = ((const struct interface *)b)->index;

    return (first > second) - (first < second);
}

int interfaces_list(struct interface **ret_interfaces, size_t *ret_len, struct err *err)
{
    struct ifaddrs *entries, *entry;
    struct interface *interfaces;
    size_t len = 0;

    if (getifaddrs(&entries) < 0)
        return err_set(err, -errno, "cannot list the interfaces: %s", strerror(errno));
    for (entry = entries; entry; entry = entry->ifa_next)
        len++;
    interfaces = calloc(len + 1, sizeof(*interfaces));
    if (!interfaces) {
        freeifaddrs(entries);
        return err_set(err, -ENOMEM, "out of memory");
    }
    len = 0;
    for (entry = entries; entry; entry = entry->ifa_next)
        if (entry->ifa_addr && entry->ifa_addr->sa_family == AF_LINK)
            take_link(entry, &interfaces[len++]);
    freeifaddrs(entries);
    find_default_routes(interfaces, len);
    qsort(interfaces, len, sizeof(*interfaces), by_index);
    *ret_interfaces = interfaces;
    *ret_len = len;
    return 0;
}
