/* SPDX-License-Identifier: Apache-2.0 */
/*
 * On the system plane the kernel leads in what comes from elsewhere, before any socket sees it, so the guest sees its
 * client and no process is on the way. The router makes the rules for that, and is told of all forwards at once. The
 * sockets are there all the same: they keep the port from other programs, and serve who is on the host itself.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "daemon/channel.h"
#include "daemon/forward_host.h"
#include "daemon/methods.h"
#include "uplink/relay.h"

#define LISTEN_BACKLOG 1024
/* A worker closes a forward that was removed a moment after it was told. */
#define CLOSE_TRIES 100
#define CLOSE_RETRY_MS 1
#define CLOSE_MS 1000

/* The router is told once of what changes together. */
#define TELL_MS 10

struct told {
    uint32_t id;
    struct plane_forward forward;
};

struct forward_host {
    struct engine *engine;
    struct uplink *uplink;
    uint64_t closed_ms; /* when a port was last closed */
    struct told *told;  /* on the system plane: all that there are */
    size_t told_len, told_max;
    struct loop_timer timer;
};

/* ---- the kernel's */

static bool tells(const struct forward_host *host)
{
    return host->engine->args->config->system;
}

void forward_uplink_tell(struct forward_host *host)
{
    if (host && tells(host) && !host->timer.due_ms)
        loop_timer_set(host->engine->loop, &host->timer, TELL_MS);
}

/* In a file without a name: however many there are, they are one message, whole or not at all. */
static int write_told(const struct forward_host *host)
{
    int fd = memfd_create("forwards", MFD_CLOEXEC);

    for (size_t i = 0; fd >= 0 && i < host->told_len; i++) {
        if (write(fd, &host->told[i].forward, sizeof(host->told[i].forward)) < 0) {
            close(fd);
            fd = -1;
        }
    }
    return fd;
}

static void on_tell_timer(struct loop_timer *timer)
{
    struct forward_host *host = CONTAINER_OF(timer, struct forward_host, timer);
    struct message message = {.type = MESSAGE_SET_FORWARDS};
    int fd = write_told(host);

    if (fd < 0 || channel_send(host->engine->args->router_fd, &message, &fd, 1) < 0)
        forward_uplink_tell(host);
    if (fd >= 0)
        close(fd);
}

static struct told *find_told(struct forward_host *host, uint32_t id)
{
    for (size_t i = 0; i < host->told_len; i++)
        if (host->told[i].id == id)
            return &host->told[i];
    return NULL;
}

static int add_told(struct forward_host *host, uint32_t id, const struct plane_forward *forward)
{
    size_t max = host->told_max ? 2 * host->told_max : 16;
    struct told *more;

    if (host->told_len == host->told_max) {
        more = realloc(host->told, max * sizeof(*more));
        if (!more)
            return -ENOMEM;
        host->told = more;
        host->told_max = max;
    }
    host->told[host->told_len++] = (struct told){id, *forward};
    forward_uplink_tell(host);
    return 0;
}

/* ---- sockets */

int forward_host_new(struct engine *engine, struct forward_host **ret_host)
{
    struct forward_host *host = calloc(1, sizeof(*host));

    if (!host)
        return -ENOMEM;
    host->engine = engine;
    host->uplink = engine->uplink;
    host->timer.on_timer = on_tell_timer;
    /* What the router knows of an engine before this one. */
    forward_uplink_tell(host);
    *ret_host = host;
    return 0;
}

void forward_host_free(struct forward_host *host)
{
    if (!host)
        return;
    loop_timer_clear(host->engine->loop, &host->timer);
    free(host->told);
    free(host);
}

static int open_host_socket(bool udp, const struct ip_endpoint *host)
{
    struct sockaddr_storage address;
    socklen_t len = endpoint_to_sockaddr(host, &address);
    int one = 1;
    int fd = socket(host->addr.family,
                    (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    /* Before it listens: a client may be there at once, and its connection has the options of that moment. */
    if (!udp)
        relay_prepare(fd);
    if ((!udp && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0) ||
        (host->addr.family == AF_INET6 &&
         setsockopt(fd, SOL_IPV6, IPV6_V6ONLY, &one, sizeof(one)) < 0) ||
        bind(fd, (struct sockaddr *)&address, len) < 0 ||
        (!udp && listen(fd, LISTEN_BACKLOG) < 0)) {
        int error = -errno;

        close(fd);
        return error;
    }
    return fd;
}

static int explain_open(int error, bool udp, const struct ip_endpoint *host, struct err *err)
{
    char address[IP_TEXT_MAX];
    const char *proto = udp ? "udp" : "tcp";
    unsigned port = host->port;

    ip_format(&host->addr, address);
    switch (error) {
    case -EADDRINUSE:
        return err_set(err, error,
                       "%s port %u of %s is in use by another program; choose another, or end "
                       "that program ('ss -lp' names it)",
                       proto, port, address);
    case -EACCES:
        return err_set(err, error,
                       "%s port %u of the host is privileged; choose one from 1024 on, or let the "
                       "administrator open it: sysctl -w net.ipv4.ip_unprivileged_port_start=%u",
                       proto, port, port);
    case -EADDRNOTAVAIL:
    case -EAFNOSUPPORT:
        return err_set(err, error,
                       "%s is not an address of this host; leave it out for 127.0.0.1, or write "
                       "0.0.0.0 for all",
                       address);
    case -EMFILE:
    case -ENFILE:
        return err_set(err, error,
                       "no descriptors are left for %s port %u; raise the limit (ulimit -Hn) of "
                       "who starts the network",
                       proto, port);
    default:
        return err_set(err, error, "cannot open %s port %u of %s: %s", proto, port, address,
                       strerror(-error));
    }
}

int forward_host_open(struct forward_host *host, uint32_t id, bool udp,
                      const struct ip_endpoint *address, const struct ip_endpoint *guest,
                      struct err *err)
{
    struct plane_forward forward = {.udp = udp, .host = *address, .guest = *guest};
    int fd, result;

    fd = open_host_socket(udp, address);
    for (int tries = 0; fd == -EADDRINUSE && tries < CLOSE_TRIES && host->closed_ms &&
                        clock_now_ms() - host->closed_ms < CLOSE_MS;
         tries++) {
        poll(NULL, 0, CLOSE_RETRY_MS);
        fd = open_host_socket(udp, address);
    }
    if (fd < 0)
        return explain_open(fd, udp, address, err);
    result = uplink_add_forward(host->uplink, id, udp, fd, guest);
    if (result == 0 && tells(host)) {
        result = add_told(host, id, &forward);
        if (result < 0)
            uplink_remove_forward(host->uplink, id);
        return result < 0 ? err_set(err, result, "out of memory") : 0;
    }
    if (result == 0)
        return 0;
    close(fd);
    return err_set(err, result, "the uplink takes no more forwards: %s", strerror(-result));
}

void forward_host_retarget(struct forward_host *host, uint32_t id, const struct ip_endpoint *guest)
{
    struct told *told = find_told(host, id);

    uplink_retarget_forward(host->uplink, id, guest);
    if (told) {
        told->forward.guest = *guest;
        forward_uplink_tell(host);
    }
}

void forward_host_close(struct forward_host *host, uint32_t id)
{
    struct told *told = find_told(host, id);

    uplink_remove_forward(host->uplink, id);
    host->closed_ms = clock_now_ms();
    if (told) {
        *told = host->told[--host->told_len];
        forward_uplink_tell(host);
    }
}
