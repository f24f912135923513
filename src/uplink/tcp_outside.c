/* SPDX-License-Identifier: Apache-2.0 */
#include "uplink/tcp_outside.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * What an ordinary stack's SYN has left at least when it is here: 64 less the network's own router. One with
 * less means it: a traceroute, or a guest that is a router itself.
 */
#define TTL_ORDINARY 63
#define DSCP_MASK 0xfc

#define PORTS_PATH "/proc/sys/net/ipv4/ip_local_port_range"
#define PORTS_LOW_DEFAULT 32768
#define PORTS_HIGH_DEFAULT 60999
/*
 * connect() tries one port after the other, first the half of them that are even. Where 14,000 connections to
 * one destination are in TIME_WAIT that took it 1.5 to 3 ms (Linux 6.18), in which a worker serves nobody else.
 * So it may choose among a few, and among others where those are all taken: 8 us, until next to no port is left.
 */
#define PORTS_A_TRY 256
#define PORT_TRIES 4
#define RANDOM_BITS_A_TRY 16

#ifndef IP_LOCAL_PORT_RANGE
#define IP_LOCAL_PORT_RANGE 51 /* Linux 6.3 */
#endif

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

struct tcp_ports tcp_outside_ports(void)
{
    struct tcp_ports ports = {PORTS_LOW_DEFAULT, PORTS_HIGH_DEFAULT};
    FILE *file = fopen(PORTS_PATH, "re");

    if (file && fscanf(file, "%u %u", &ports.low, &ports.high) != 2)
        ports = (struct tcp_ports){PORTS_LOW_DEFAULT, PORTS_HIGH_DEFAULT};
    if (file)
        fclose(file);
    return ports;
}

/* False where there are few, or the kernel cannot: then connect() tries them all. */
static bool choose_ports(int fd, const struct tcp_ports *ports, uint16_t random)
{
    unsigned first, range;

    if (ports->high < ports->low + PORTS_A_TRY)
        return false;
    first = ports->low + random % (ports->high - ports->low - PORTS_A_TRY + 2);
    range = first | (first + PORTS_A_TRY - 1) << 16;
    /* Of SOL_IP for IPv6 too. Ports that are not the host's any more count as not said. */
    return setsockopt(fd, SOL_IP, IP_LOCAL_PORT_RANGE, &range, sizeof(range)) == 0;
}

int tcp_outside_connect(int fd, const struct ip_endpoint *dst, const struct tcp_ports *ports,
                        uint64_t random)
{
    struct sockaddr_storage address;
    socklen_t len = endpoint_to_sockaddr(dst, &address);

    for (int i = 0; i < PORT_TRIES; i++) {
        bool few = choose_ports(fd, ports, (uint16_t)(random >> i * RANDOM_BITS_A_TRY));

        if (connect(fd, (struct sockaddr *)&address, len) == 0 || errno == EINPROGRESS)
            return 0;
        if (errno != EADDRNOTAVAIL || !few)
            return -errno;
    }
    return -EADDRNOTAVAIL;
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
