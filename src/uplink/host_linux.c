/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's own addresses, over rtnetlink: read at start, then followed. Where messages were lost all are read again,
 * and what is not among them is gone.
 */
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
#include "uplink/host_gone.h"
#include "uplink/uplink.h"

/* A host with more addresses than this is known by the first of them only, and it is said. */
#define HOST_ADDRESSES_MAX 4096

/* How well an address stands for the host. */
enum fitness {
    FITNESS_NONE, /* duplicate address detection is not over, or has refused it (RFC 4862 5.4) */
    FITNESS_SOON_GONE, /* deprecated, temporary (RFC 8981); of IPv4 also one that goes with another */
    FITNESS_LASTING,
};

struct host_entry {
    struct ip_addr addr;
    uint32_t ifindex;
    enum fitness fitness;
    bool seen; /* since all are read again */
};

struct host {
    struct loop *loop;
    struct loop_source source;
    struct mnl_socket *socket;
    bool resync, again; /* all are being read again; and must be once more */
    struct host_gone gone;
    struct loop_timer gone_timer;
    void (*on_gone)(void *context, const struct ip_addr *addr);
    void *context;
    pthread_mutex_t mutex; /* of what follows, which other threads read */
    atomic_uint generation;
    size_t len;
    struct host_entry entries[HOST_ADDRESSES_MAX];
};

struct host_view {
    struct host *host;
    unsigned generation;
    size_t len;
    struct host_entry entries[HOST_ADDRESSES_MAX];
};

static bool host_has(const struct host *host, const struct ip_addr *addr)
{
    for (size_t i = 0; i < host->len; i++)
        if (ip_equal(&host->entries[i].addr, addr))
            return true;
    return false;
}

static void host_arm(struct host *host)
{
    uint64_t due_ms = host_gone_due_ms(&host->gone), now_ms = loop_now_ms(host->loop);

    if (due_ms)
        loop_timer_set(host->loop, &host->gone_timer, due_ms > now_ms ? due_ms - now_ms : 0);
    else
        loop_timer_clear(host->loop, &host->gone_timer);
}

/* The mutex is held. Keeps the order, in which the first of those that are fit is the host's. */
static void host_remove(struct host *host, size_t at)
{
    struct ip_addr addr = host->entries[at].addr;

    memmove(&host->entries[at], &host->entries[at + 1],
            (--host->len - at) * sizeof(host->entries[0]));
    if (!host_has(host, &addr))
        host_gone_add(&host->gone, &addr, loop_now_ms(host->loop));
}

static void host_add(struct host *host, const struct host_entry *entry)
{
    if (host->len == HOST_ADDRESSES_MAX) {
        log_warn("the host has more than %d addresses; the rest are not known as its own",
                 HOST_ADDRESSES_MAX);
        return;
    }
    host->entries[host->len++] = *entry;
    host_gone_remove(&host->gone, &entry->addr);
}

static void host_update(struct host *host, const struct host_entry *entry, bool add)
{
    bool known, changed;
    size_t i;

    pthread_mutex_lock(&host->mutex);
    for (i = 0; i < host->len; i++)
        if (host->entries[i].ifindex == entry->ifindex &&
            ip_equal(&host->entries[i].addr, &entry->addr))
            break;
    known = i < host->len;
    if (known)
        host->entries[i].seen = true;
    /* Each router advertisement that the host gets tells its addresses again: nobody need copy them for that. */
    changed = known != add || (known && host->entries[i].fitness != entry->fitness);
    if (changed && !add)
        host_remove(host, i);
    else if (changed && known)
        host->entries[i].fitness = entry->fitness;
    else if (changed)
        host_add(host, entry);
    if (changed)
        atomic_fetch_add_explicit(&host->generation, 1, memory_order_release);
    pthread_mutex_unlock(&host->mutex);
    if (changed)
        host_arm(host);
}

/* All have been read again: what has not come is gone. */
static void host_sweep(struct host *host)
{
    pthread_mutex_lock(&host->mutex);
    for (size_t i = host->len; i-- > 0;)
        if (!host->entries[i].seen)
            host_remove(host, i);
    atomic_fetch_add_explicit(&host->generation, 1, memory_order_release);
    pthread_mutex_unlock(&host->mutex);
    host_arm(host);
}

static enum fitness read_fitness(uint32_t flags)
{
    if ((flags & IFA_F_DADFAILED) || ((flags & IFA_F_TENTATIVE) && !(flags & IFA_F_OPTIMISTIC)))
        return FITNESS_NONE;
    /* IFA_F_TEMPORARY is IPv4's IFA_F_SECONDARY. */
    return flags & (IFA_F_TEMPORARY | IFA_F_DEPRECATED) ? FITNESS_SOON_GONE : FITNESS_LASTING;
}

static void on_address(const struct nlmsghdr *header, struct host *host)
{
    const struct ifaddrmsg *message = mnl_nlmsg_get_payload(header);
    struct host_entry entry = {.ifindex = message->ifa_index, .seen = true};
    uint32_t flags = message->ifa_flags;
    const struct nlattr *attr;

    if (header->nlmsg_type != RTM_NEWADDR && header->nlmsg_type != RTM_DELADDR)
        return;
    mnl_attr_for_each(attr, header, sizeof(*message))
    {
        uint16_t type = mnl_attr_get_type(attr);

        if (type == IFA_FLAGS && mnl_attr_get_payload_len(attr) == sizeof(flags))
            flags = mnl_attr_get_u32(attr);
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
    entry.fitness = read_fitness(flags);
    if (entry.addr.family)
        host_update(host, &entry, header->nlmsg_type == RTM_NEWADDR);
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

/* Changes were lost. */
static void host_read_again(struct host *host)
{
    /* One request at a time: what is lost meanwhile is asked for after it. */
    host->again = host->resync;
    if (host->resync)
        return;
    pthread_mutex_lock(&host->mutex);
    for (size_t i = 0; i < host->len; i++)
        host->entries[i].seen = false;
    pthread_mutex_unlock(&host->mutex);
    host->resync = host_request(host, AF_UNSPEC) == 0;
}

static void host_dump_ended(struct host *host)
{
    if (!host->resync)
        return;
    host->resync = false;
    if (host->again)
        host_read_again(host);
    else
        host_sweep(host);
}

/* True where a dump has ended within these messages. A kernel without IPv6 ends one of that with an error. */
static bool host_take(struct host *host, const char *buf, size_t len_bytes)
{
    const struct nlmsghdr *header = (const struct nlmsghdr *)(const void *)buf;
    bool done = false;

    for (int left = (int)len_bytes; mnl_nlmsg_ok(header, left);
         header = mnl_nlmsg_next(header, &left)) {
        /* Something changed while the kernel was listing: an address may be missing. */
        if (header->nlmsg_flags & NLM_F_DUMP_INTR)
            host->again = true;
        if (header->nlmsg_type == NLMSG_ERROR)
            host->resync = false; /* what was not listed may be there all the same */
        if (header->nlmsg_type == NLMSG_DONE || header->nlmsg_type == NLMSG_ERROR)
            done = true;
        else
            on_address(header, host);
    }
    return done;
}

/* Reads what has come. Returns true when a dump has ended within it. */
static bool host_read(struct host *host, int flags)
{
    char buf[32768];
    bool done = false, lost = false;
    ssize_t len;

    while ((len = recv(mnl_socket_get_fd(host->socket), buf, sizeof(buf), flags)) > 0 ||
           (len < 0 && (errno == EINTR || errno == ENOBUFS))) {
        lost = lost || (len < 0 && errno == ENOBUFS);
        if (len < 0)
            continue;
        if (host_take(host, buf, (size_t)len)) {
            done = true;
            host_dump_ended(host);
        }
        if (done && !(flags & MSG_DONTWAIT))
            break;
    }
    /* Not before: a full queue has no room for the answer. */
    if (lost)
        host_read_again(host);
    return done;
}

static void on_readable(struct loop_source *source, unsigned events)
{
    host_read(CONTAINER_OF(source, struct host, source), MSG_DONTWAIT);
}

static void on_gone_timer(struct loop_timer *timer)
{
    struct host *host = CONTAINER_OF(timer, struct host, gone_timer);
    struct ip_addr addr;

    while (host_gone_take(&host->gone, loop_now_ms(host->loop), &addr))
        host->on_gone(host->context, &addr);
    host_arm(host);
}

int host_new(struct loop *loop, void (*on_gone)(void *context, const struct ip_addr *addr),
             void *context, struct host **ret_host)
{
    struct host *host = calloc(1, sizeof(*host));
    int result;

    if (!host)
        return -ENOMEM;
    host->loop = loop;
    host->source = (struct loop_source){.on_event = on_readable, .fd = -1};
    host->gone_timer.on_timer = on_gone_timer;
    host->on_gone = on_gone;
    host->context = context;
    pthread_mutex_init(&host->mutex, NULL);
    host->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    if (!host->socket || mnl_socket_bind(host->socket, RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR,
                                         MNL_SOCKET_AUTOPID) < 0) {
        result = -errno;
        goto out;
    }
    result = host_request(host, AF_INET);
    if (result == 0 && host_read(host, 0))
        result = host_request(host, AF_INET6);
    if (result == 0)
        host_read(host, 0);
    if (result == 0)
        result = loop_add(loop, &host->source, mnl_socket_get_fd(host->socket), LOOP_IN);
    if (result == 0 && host->again)
        host_read_again(host);
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
    loop_timer_clear(host->loop, &host->gone_timer);
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
    memcpy(view->entries, host->entries, host->len * sizeof(host->entries[0]));
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
        if (ip_equal(&view->entries[i].addr, addr))
            return true;
    return false;
}

struct ip_addr host_view_address(struct host_view *view, int family)
{
    const struct host_entry *best = NULL;

    view_renew(view);
    for (size_t i = 0; i < view->len; i++) {
        const struct host_entry *entry = &view->entries[i];

        if (entry->addr.family == family && !ip_is_forbidden(&entry->addr) &&
            entry->fitness > (best ? best->fitness : FITNESS_NONE))
            best = entry;
    }
    return best ? best->addr : (struct ip_addr){0};
}
