/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "daemon/forward_host.h"
#include "daemon/methods.h"
#include "uplink/relay.h"

#define LISTEN_BACKLOG 1024
/* A worker closes a forward that was removed a moment after it was told. */
#define CLOSE_TRIES 100
#define CLOSE_RETRY_MS 1
#define CLOSE_MS 1000

struct forward_host {
    struct uplink *uplink;
    uint64_t closed_ms; /* when a port was last closed */
};

int forward_host_new(struct engine *engine, struct forward_host **ret_host)
{
    *ret_host = calloc(1, sizeof(**ret_host));
    if (!*ret_host)
        return -ENOMEM;
    (*ret_host)->uplink = engine->uplink;
    return 0;
}

void forward_host_free(struct forward_host *host)
{
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
    int fd = open_host_socket(udp, address), result;

    for (int tries = 0; fd == -EADDRINUSE && tries < CLOSE_TRIES && host->closed_ms &&
                        clock_now_ms() - host->closed_ms < CLOSE_MS;
         tries++) {
        poll(NULL, 0, CLOSE_RETRY_MS);
        fd = open_host_socket(udp, address);
    }
    if (fd < 0)
        return explain_open(fd, udp, address, err);
    result = uplink_add_forward(host->uplink, id, udp, fd, guest);
    if (result == 0)
        return 0;
    close(fd);
    return err_set(err, result, "the uplink takes no more forwards: %s", strerror(-result));
}

void forward_host_retarget(struct forward_host *host, uint32_t id, const struct ip_endpoint *guest)
{
    uplink_retarget_forward(host->uplink, id, guest);
}

void forward_host_close(struct forward_host *host, uint32_t id)
{
    uplink_remove_forward(host->uplink, id);
    host->closed_ms = clock_now_ms();
}
