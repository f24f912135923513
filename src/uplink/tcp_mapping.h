/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Endpoint-independent mapping (RFC 5382 REQ-1): connections from one address and port of a guest have one port
 * of the host's, to whichever destinations they go, as long as there is one of them. Programs that punch holes
 * live by it. Only for src/uplink.
 *
 * The first connection's port is the kernel's choice and costs nothing. A second one, which is rare, asks for that
 * port by bind(), for which both sockets have SO_REUSEADDR.
 */
#ifndef OPENVMNET_UPLINK_TCP_MAPPING_H
#define OPENVMNET_UPLINK_TCP_MAPPING_H

#include "base/table.h"
#include "uplink/worker.h"

struct tcp_mapping;

/* A connection, as a mapping knows it. */
struct tcp_member {
    struct list list;
    struct tcp_mapping *mapping;
    int fd; /* of the host, -1 until it connects; the connection's own */
};

/* Makes a connection from @guest one of those that share its port. 0 or -ENOMEM. */
int tcp_member_join(struct tcp_member *member, struct table *mappings, const struct worker *worker,
                    const struct ip_endpoint *guest);
/* Before @fd is closed. */
void tcp_member_leave(struct tcp_member *member, struct table *mappings);
/* Binds @fd to the port that the others have. False where there are none, or the port is not to be had. */
bool tcp_member_bind(struct tcp_member *member, int fd);

#endif
