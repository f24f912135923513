/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's socket of a guest's connection: what it takes over from the guest's SYN, and what connect() has
 * met on the way. Only for tcp.c.
 */
#ifndef OPENVMNET_UPLINK_TCP_OUTSIDE_H
#define OPENVMNET_UPLINK_TCP_OUTSIDE_H

#include "uplink/error_queue.h"

/*
 * A socket for the connection that @syn asks for, or -errno. It has the SYN's DSCP from now on (not its ECN
 * bits: each side negotiates its own), and until tcp_outside_connected() its time to live, where that is less
 * than an ordinary stack's, and a queue of the ICMP errors that connect() meets.
 */
int tcp_outside_socket(const struct wire_packet *syn);

/* The ports that the host gives to who does not ask for one (ip_local_port_range of ip(7)). */
struct tcp_ports {
    unsigned low, high;
};

struct tcp_ports tcp_outside_ports(void);

/*
 * Begins to connect such a socket, from one of @ports: 0 or -errno. -EADDRNOTAVAIL: none is free towards there, or
 * next to none, or the host has no address of the family. @random decides where it is looked for.
 */
int tcp_outside_connect(int fd, const struct ip_endpoint *dst, const struct tcp_ports *ports,
                        uint64_t random);

/*
 * How connect() went: 0, or the error. ICMP errors are soft from then on (RFC 1122 4.2.3.9), and the time to
 * live is the host's. @events: what the loop told about the socket.
 */
int tcp_outside_connected(int fd, const struct wire_packet *syn, unsigned events);

/* The ICMP error that ended connect(). False where something else did. */
bool tcp_outside_told(int fd, struct host_error *ret_error);

#endif
