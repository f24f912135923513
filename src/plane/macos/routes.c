/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's routes by sysctl(3) of the routing table, and that they have changed by a routing socket: route(4). A
 * message's addresses follow it, each as long as it says, rounded up to four bytes; one of length 0 takes four, and the
 * zeros at the end of a mask are left out.
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/route.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/sysctl.h>
#include <unistd.h>

#include "base/descriptor.h"
#include "base/table.h"
#include "plane/plane.h"

#define ROUNDED(len) ((len) ? ((size_t)(len) + 3) & ~(size_t)3 : 4)
/* The table may grow between asking how large it is and reading it. */
#define TABLE_TRIES 3

/* The address number @which (RTAX_...) of a message of @len_bytes; NULL where it has none. */
static const struct sockaddr *find_address(const struct rt_msghdr *route, size_t len_bytes,
                                           int which)
{
    size_t at = sizeof(*route);

    for (int i = 0; i < RTAX_MAX && at + 2 <= len_bytes; i++) {
        const struct sockaddr *address =
            (const struct sockaddr *)(const void *)((const char *)route + at);

        if (!(route->rtm_addrs & 1 << i))
            continue;
        if (at + address->sa_len > len_bytes)
            return NULL;
        if (i == which)
            return address;
        at += ROUNDED(address->sa_len);
    }
    return NULL;
}

/* Of an IPv4 address that may be cut: the bytes that are left out are zero. */
static uint32_t read_ipv4(const struct sockaddr *address)
{
    const size_t start = offsetof(struct sockaddr_in, sin_addr);
    uint8_t bytes[4] = {0};

    if (address && address->sa_len > start)
        memcpy(bytes, (const char *)address + start,
               address->sa_len - start < sizeof(bytes) ? address->sa_len - start : sizeof(bytes));
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

/* The routing table of @family; the caller's. 0 or -errno. */
static int read_table(int family, char **ret_table, size_t *ret_len_bytes)
{
    int name[] = {CTL_NET, PF_ROUTE, 0, family, NET_RT_DUMP, 0};

    for (int i = 0; i < TABLE_TRIES; i++) {
        size_t size = 0;
        char *table;

        if (sysctl(name, 6, NULL, &size, NULL, 0) < 0)
            return -errno;
        table = malloc(size ? size : 1);
        if (!table)
            return -ENOMEM;
        if (sysctl(name, 6, table, &size, NULL, 0) == 0) {
            *ret_table = table;
            *ret_len_bytes = size;
            return 0;
        }
        free(table);
    }
    return -errno;
}

/* Fills @ret_routes; a default route only sets *ret_default. Returns their number or -errno. */
static int walk(int family, struct plane_route *ret_routes, size_t max, bool *ret_default)
{
    size_t len_bytes, len = 0;
    char *table;
    int result = read_table(family, &table, &len_bytes);

    if (result < 0)
        return result;
    for (size_t at = 0; len_bytes - at >= sizeof(struct rt_msghdr);) {
        const struct rt_msghdr *route = (const struct rt_msghdr *)(const void *)(table + at);
        const struct sockaddr *to, *mask;
        uint32_t address, bits;

        if (route->rtm_msglen < sizeof(*route) || route->rtm_msglen > len_bytes - at)
            break;
        at += route->rtm_msglen;
        to = find_address(route, route->rtm_msglen, RTAX_DST);
        mask = find_address(route, route->rtm_msglen, RTAX_NETMASK);
        /* Machines that were spoken to have entries of their own, within the route to their network. */
        if (!to || !(route->rtm_flags & RTF_UP) || route->rtm_flags & (RTF_HOST | RTF_IFSCOPE))
            continue;
        if (family == AF_INET6) {
            *ret_default = *ret_default || !mask || mask->sa_len == 0;
            continue;
        }
        address = read_ipv4(to);
        bits = read_ipv4(mask);
        if (address == 0 && bits == 0)
            *ret_default = true;
        else if (len < max && bits)
            ret_routes[len++] =
                (struct plane_route){address, (unsigned)__builtin_popcount(bits), route->rtm_index};
    }
    free(table);
    return (int)len;
}

void plane_bridge_name(const struct net_config *config, char ret_name[16])
{
    (void)config;
    ret_name[0] = '\0'; /* the system names it, and does not tell */
}

/* This network has no interface of its own yet when it is asked for: no route is its own. */
int plane_host_routes(const struct net_config *config, struct plane_route *ret_routes, size_t max,
                      bool *ret_ipv6_default)
{
    bool ipv4_default = false;

    (void)config;
    *ret_ipv6_default = false;
    walk(AF_INET6, NULL, 0, ret_ipv6_default);
    return walk(AF_INET, ret_routes, max, &ipv4_default);
}

struct plane_watch {
    struct loop *loop;
    struct loop_source source;
    int fd;
    void (*on_change)(void *context);
    void *context;
};

static void on_readable(struct loop_source *source, unsigned events)
{
    struct plane_watch *watch = CONTAINER_OF(source, struct plane_watch, source);
    char message[2048];

    (void)events;
    /* What they say does not matter: the table is looked at again. */
    while (read(source->fd, message, sizeof(message)) > 0)
        ;
    watch->on_change(watch->context);
}

int plane_watch_routes(struct loop *loop, void (*on_change)(void *context), void *context,
                       struct plane_watch **ret_watch)
{
    struct plane_watch *watch = calloc(1, sizeof(*watch));
    int result;

    if (!watch)
        return -ENOMEM;
    *watch = (struct plane_watch){
        .loop = loop,
        .source = {.on_event = on_readable, .fd = -1},
        .on_change = on_change,
        .context = context,
    };
    watch->fd = descriptor_socket(PF_ROUTE, SOCK_RAW, true);
    result = watch->fd < 0 ? watch->fd : loop_add(loop, &watch->source, watch->fd, LOOP_IN);
    if (result < 0) {
        plane_watch_free(watch);
        return result;
    }
    *ret_watch = watch;
    return 0;
}

void plane_watch_free(struct plane_watch *watch)
{
    if (!watch)
        return;
    loop_remove(watch->loop, &watch->source);
    if (watch->fd >= 0)
        close(watch->fd);
    free(watch);
}
