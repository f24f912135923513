/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Forwards: from a port of the host to a guest. forward.c keeps them and does TCP, forward_udp.c does UDP.
 * A forward costs a descriptor and is looked at when something arrives at it; ten thousand idle ones cost
 * no packet anything. Only for src/uplink.
 */
#ifndef OPENVMNET_UPLINK_FORWARD_H
#define OPENVMNET_UPLINK_FORWARD_H

#include "uplink/socket_pool.h"
#include "uplink/udp_socket.h"
#include "uplink/worker.h"

struct forward {
    struct table_node node; /* the hash is the id */
    uint32_t id;
    bool udp;
    int fd; /* of the host; it stays open until the forward is removed */
    struct worker *worker;
    struct ip_endpoint guest; /* family 0: nobody is there */
    struct loop_source source;
    struct list paused; /* TCP: in the list of those that do not accept now */
    bool wildcard;      /* UDP: bound to any address, so each datagram says to which it came */
    struct list flows;  /* UDP: its clients */
    struct udp_socket socket; /* UDP */
};

int forwarder_new(struct worker *worker, struct forwarder **ret_forwarder);
void forwarder_free(struct forwarder *forwarder);
/* How many there are. NULL: none. */
unsigned forwarder_count(const struct forwarder *forwarder);
/* Takes over @forward, whose id, udp and fd are set. One that cannot be served is idle, and the log says why. */
void forwarder_add(struct forwarder *forwarder, struct forward *forward,
                   const struct ip_endpoint *guest);
void forwarder_retarget(struct forwarder *forwarder, uint32_t id, const struct ip_endpoint *guest);
void forwarder_remove(struct forwarder *forwarder, uint32_t id);
/* Ends the connections to a guest; the forwards stay. */
void forwarder_forget_guest(struct forwarder *forwarder, const struct ip_addr *guest);
void forwarder_forget_source(struct forwarder *forwarder, const struct ip_addr *source);

int forward_udp_new(struct worker *worker, struct forward_udp **ret_udp);
void forward_udp_free(struct forward_udp *udp);
/* Serves @forward. 0 or -errno. */
int forward_udp_start(struct forward_udp *udp, struct forward *forward);
/* Forgets the clients of @forward. */
void forward_udp_stop(struct forward_udp *udp, struct forward *forward);
/* A guest's datagram: true where it was an answer to a client of a forward. */
bool forward_udp_take(struct forward_udp *udp, const struct uplink_packet *in);
void forward_udp_forget_guest(struct forward_udp *udp, const struct ip_addr *guest);

#endif
