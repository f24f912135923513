/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the host learned about something that it had sent for a guest: the ICMP errors in a socket's error
 * queue (ip(7), IP_RECVERR and IPV6_RECVERR), or those of a raw socket, and how the guest is told.
 */
#ifndef OPENVMNET_UPLINK_ERROR_QUEUE_H
#define OPENVMNET_UPLINK_ERROR_QUEUE_H

#include <sys/socket.h>

#include "uplink/worker.h"

#define ERROR_QUEUE_CONTROL_BYTES 256

struct host_error {
    uint8_t type, code;  /* of ICMP or ICMPv6 */
    uint32_t info;       /* the MTU of a packet too big, the pointer of a parameter problem */
    struct ip_addr from; /* who sent it; family 0: nobody knows */
};

/* Has a socket keep its ICMP errors, or no more; those that wait are then forgotten. */
void error_queue_keep(int fd, int family, bool keep);

/*
 * The next ICMP error of @fd. @message has a name (where the packet went), parts for what was quoted of it
 * behind the IP and transport header, and ERROR_QUEUE_CONTROL_BYTES of control data. Length quoted, or
 * -1 with errno: EAGAIN where there are no more. Errors of the host's own are passed over: send() has
 * told them already.
 */
ssize_t error_queue_next(int fd, struct msghdr *message, struct host_error *ret_error);

/* The MTU of the way to @addr, as far as the host knows it (ip(7), IP_MTU); 0 where there is no way. */
uint32_t host_path_mtu(const struct ip_addr *addr);

/*
 * Tells a guest about its packet @cause, from the address of the router that told the host: type, code and
 * all (RFC 5508 REQ-4). Where that address means somebody else inside, or nobody, it is the gateway's.
 */
void worker_pass_error(struct worker *worker, const struct host_error *error,
                       const struct wire_packet *cause);

#endif
