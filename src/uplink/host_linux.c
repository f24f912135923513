/* SPDX-License-Identifier: Apache-2.0 */
/* The host's own addresses, over rtnetlink: read at start, then followed. */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/table.h"
#include "uplink/uplink.h"

/* A host with more addresses than this is known by the first of them only, and it is said. */
#define HOST_ADDRESSES_MAX 4096

struct host_entry {
    struct ip_addr addr;
    uint32_t ifindex;
};

struct host {
    struct loop *loop;
    struct loop_source source;
    struct mnl_socket *socket;
    pthread_mutex_t mutex; /* of what follows */
    atomic_uint generation;
    size_t len;
    struct host_entry entries[HOST_ADDRESSES_MAX];
};

struct host_view {
    struct host *host;
    unsigned generation;
    size_t len;
    struct ip_addr addresses[HOST_ADDRESSES_MAX];
};

static void host_update(struct host *host, const struct host_entry *entry, bool add)
{
    size_t i;

    pthread_mutex_lock(&host->mutex);
    for (i = 0; i < host->len; i++)
        if (host->entries[i].ifindex == entry->ifindex &&
            ip_equal(&host->entries[i].addr, &entry->addr))
            break;
    if (!add && i < host->len)
        /* Keeps the order, in which the first usable address is the host's. */
        memmove(&host->entries[i], &host->entries[i + 1],
                (--host->len - i) * sizeof(host->entries[0]));
    else if (add && i == host->len && host->len < HOST_ADDRESSES_MAX)
        host->entries[host->len++] = *entry;
    else if (add && i == HOST_ADDRESSES_MAX)
        log_warn("the host has more than %d addresses; the rest are not known as its own",
                 HOST_ADDRESSES_MAX);
    atomic_fetch_add_explicit(&host->generation, 1, memory_order_release);
    pthread_mutex_unlock(&host->mutex);
}

static int on_address(const struct nlmsghdr *header, void *context)
{
    const struct ifaddrmsg *message = mnl_nlmsg_get_payload(header);
    struct host_entry entry = {.ifindex = message->ifa_index};
    const struct nlattr *attr;

    if (header->nlmsg_type != RTM_NEWADDR && header->nlmsg_type != RTM_DELADDR)
        return MNL_CB_OK;
    mnl_attr_for_each(attr, header, sizeof(*message))
    {
        uint16_t type = mnl_attr_get_type(attr);

        /* On a point-to-point link IFA_ADDRESS is the other side's; IFA_LOCAL is ours. */
        if (type != IFA_LOCAL && (type != IFA_ADDRESS || entry.addr.family))
            continue;
        if (message->ifa_family == AF_INET && mnl_attr_get_payload_len(attr) == 4)
            memcpy(entry.addr.bytes, mnl_attr_get_payload(attr), 4);
        else if (message->ifa_family == AF_INET6 && mnl_attr_get_payload_len(attr) == 16)
            memcpy(entry.addr.bytes, mnl_attr_get_payload(attr), 16);
        else
            continue;
        entry.addr.family = message->ifa_family;
    }
    if (entry.addr.family)
        host_update(context, &entry, header->nlmsg_type == RTM_NEWADDR);
    return MNL_CB_OK;
}

/* Asks for all addresses of a family. The answer comes to on_readable(). */
static int host_request(struct host *host, int family)
{
    char buf[MNL_NLMSG_HDRLEN + 64];
    struct nlmsghdr *header = mnl_nlmsg_put_header(buf);
    struct ifaddrmsg *message;

    header->nlmsg_type = RTM_GETADDR;
    header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    message = mnl_nlmsg_put_extra_header(header, sizeof(*message));
    message->ifa_family = (uint8_t)family;
    return mnl_socket_sendto(host->socket, header, header->nlmsg_len) < 0 ? -errno : 0;
}

/* Reads what has come. Returns true when a dump has ended within it. */
static bool host_read(struct host *host, int flags)
{
    char buf[32768];
    bool done = false;
    ssize_t len;

    while ((len = recv(mnl_socket_get_fd(host->socket), buf, sizeof(buf), flags)) > 0 ||
           (len < 0 && (errno == EINTR || errno == ENOBUFS))) {
        if (len < 0 && errno == ENOBUFS) {
            /* Changes were lost: what is still there is added by a new dump, which is enough, for
             * an address that is gone cannot be reached anyway. */
            host_request(host, AF_UNSPEC);
            continue;
        }
        if (len < 0)
            continue;
        if (mnl_cb_run(buf, (size_t)len, 0, 0, on_address, host) == MNL_CB_STOP)
            done = true;
        if (done && !(flags & MSG_DONTWAIT))
            break;
    }
    return done;
}

static void on_readable(struct loop_source *source, unsigned events)
{
    host_read(CONTAINER_OF(source, struct host, source), MSG_DONTWAIT);
}

int host_new(struct loop *loop, struct host **ret_host)
{
    struct host *host = calloc(1, sizeof(*host));
    int result;

    if (!host)
        return -ENOMEM;
    host->loop = loop;
    host->source = (struct loop_source){.on_event = on_readable, .fd = -1};
    pthread_mutex_init(&host->mutex, NULL);
    host->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    if (!host->socket || mnl_socket_bind(host->socket, RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR,
                                         MNL_SOCKET_AUTOPID) < 0) {
        result = -errno;
        goto out;
    }
    /* Two families, two dumps: a kernel without IPv6 answers the second with an error, which ends it. */
    result = host_request(host, AF_INET);
    if (result == 0 && host_read(host, 0))
        result = host_request(host, AF_INET6);
    if (result == 0)
        host_read(host, 0);
    if (result == 0)
        result = loop_add(loop, &host->source, mnl_socket_get_fd(host->socket), LOOP_IN);
    if (result < 0)
        goto out;
    *ret_host = host;
    return 0;
out:
    host_free(host);
    return result;
}

void host_free(struct host *host)
{
    if (!host)
        return;
    loop_remove(host->loop, &host->source);
    if (host->socket)
        mnl_socket_close(host->socket);
    pthread_mutex_destroy(&host->mutex);
    free(host);
}

static void view_renew(struct host_view *view)
{
    struct host *host = view->host;

    if (atomic_load_explicit(&host->generation, memory_order_acquire) == view->generation)
        return;
    pthread_mutex_lock(&host->mutex);
    view->generation = atomic_load_explicit(&host->generation, memory_order_relaxed);
    view->len = host->len;
    for (size_t i = 0; i < host->len; i++)
        view->addresses[i] = host->entries[i].addr;
    pthread_mutex_unlock(&host->mutex);
}

int host_view_new(struct host *host, struct host_view **ret_view)
{
    struct host_view *view = calloc(1, sizeof(*view));

    if (!view)
        return -ENOMEM;
    view->host = host;
    view_renew(view);
    *ret_view = view;
    return 0;
}

void host_view_free(struct host_view *view)
{
    free(view);
}

bool host_view_owns(struct host_view *view, const struct ip_addr *addr)
{
    view_renew(view);
    for (size_t i = 0; i < view->len; i++)
        if (ip_equal(&view->addresses[i], addr))
            return true;
    return false;
}

struct ip_addr host_view_address(struct host_view *view, int family)
{
    view_renew(view);
    for (size_t i = 0; i < view->len; i++)
        if (view->addresses[i].family == family && !ip_is_forbidden(&view->addresses[i]))
            return view->addresses[i];
    return (struct ip_addr){0};
}
