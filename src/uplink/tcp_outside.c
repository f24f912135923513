/* SPDX-License-Identifier: Apache-2.0 */
#include "uplink/tcp_outside.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * What an ordinary stack's SYN has left at least when it is here: 64 less the network's own router. One with
 * less means it: a traceroute, or a guest that is a router itself.
 */
#define TTL_ORDINARY 63
#define DSCP_MASK 0xfc

static void set_ttl(int fd, int family, int ttl)
{
    if (family == AF_INET)
        setsockopt(fd, SOL_IP, IP_TTL, &ttl, sizeof(ttl));
    else
        setsockopt(fd, SOL_IPV6, IPV6_UNICAST_HOPS, &ttl, sizeof(ttl));
}

int tcp_outside_socket(const struct wire_packet *syn)
{
    int family = syn->src.family, dscp = syn->tos & DSCP_MASK;
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    error_queue_keep(fd, family, true);
    if (syn->ttl < TTL_ORDINARY)
        set_ttl(fd, family, syn->ttl);
    if (dscp)
        setsockopt(fd, family == AF_INET ? SOL_IP : SOL_IPV6,
                   family == AF_INET ? IP_TOS : IPV6_TCLASS, &dscp, sizeof(dscp));
    return fd;
}

int tcp_outside_connected(int fd, const struct wire_packet *syn, unsigned events)
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof(int), peer_len = sizeof(peer);
    int family = syn->src.family, error = 0;

    if (events & LOOP_HANGUP) {
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
            error = errno;
        /*
         * Where there is a peer there is a connection, and the error is about a later segment. Without one and
         * without an error the queue has it: it came while connect() still held the socket.
         */
        if (getpeername(fd, (struct sockaddr *)&peer, &peer_len) < 0)
            return error ? error : EHOSTUNREACH;
    }
    error_queue_keep(fd, family, false);
    if (syn->ttl < TTL_ORDINARY)
        set_ttl(fd, family, -1); /* ip(7): the system's default */
    return 0;
}

bool tcp_outside_told(int fd, struct host_error *ret_error)
{
    uint8_t control[ERROR_QUEUE_CONTROL_BYTES] __attribute__((aligned(8)));
    struct msghdr message = {.msg_control = control, .msg_controllen = sizeof(control)};

    return error_queue_next(fd, &message, ret_error) >= 0;
}
