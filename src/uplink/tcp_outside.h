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

/*
 * How connect() went: 0, or the error. ICMP errors are soft from then on (RFC 1122 4.2.3.9), and the time to
 * live is the host's. @events: what the loop told about the socket.
 */
int tcp_outside_connected(int fd, const struct wire_packet *syn, unsigned events);

/* The ICMP error that ended connect(). False where something else did. */
bool tcp_outside_told(int fd, struct host_error *ret_error);

#endif
