/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A port of a network on vmnet.framework: an interface of its own (vmnet.h), for which the framework has the bridge, the
 * NAT, DHCP and DNS. The header knows no block, so that the daemon needs no compiler that does.
 *
 * Three sides use a port, and nothing is locked:
 *
 * - the owner, the daemon's loop, starts, stops and frees it;
 * - the pump's thread reads and writes frames while the interface is lent to it (vmnet_port_lend()), and gives it back
 *   when it breaks or is asked back (vmnet_port_recall()): no call meets an interface that is being stopped;
 * - the framework's blocks run on a serial queue of the port, and do no more than to put an event into the owner's
 *   pipe, or a byte into the pump's.
 */
#ifndef OPENVMNET_PLANE_MACOS_PORT_H
#define OPENVMNET_PLANE_MACOS_PORT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/netconfig.h"
#include "base/table.h"
#include "plane/plane.h"

/* Of one call; what the framework allows beyond is not used. */
#define VMNET_BATCH_MAX 64

/* What the framework says of an interface that is up. Family 0, "" and 0: nothing. */
struct vmnet_facts {
    bool has_mac;
    struct mac_addr mac;
    unsigned mtu, read_max, write_max; /* the latter two: packets of a call */
    size_t max_packet_bytes;
    struct ip_addr start, end, mask, nat66_prefix;
};

enum vmnet_event {
    VMNET_PORT_UP,     /* there are facts */
    VMNET_PORT_FAILED, /* it did not start: .status */
    VMNET_PORT_DOWN,   /* it was stopped */
    VMNET_PORT_BACK, /* the pump has given the interface back: .status why, VMNET_SUCCESS: it was recalled */
    VMNET_PORT_CLOSED,  /* the pump is done with the port */
    VMNET_PORT_ADDRESS, /* its guest was given an address: .ipv4 */
};

struct vmnet_port;
struct vmnet_net;

/* What the owner's pipe has. */
struct vmnet_message {
    struct vmnet_port *port;
    enum vmnet_event event;
    uint32_t status;
    uint32_t ipv4;
};

struct vmnet_port {
    const struct net_config *config;
    struct plane_port port;
    struct vmnet_facts facts; /* the owner's from VMNET_PORT_UP on */

    /* The owner's. */
    struct list list;
    void *interface; /* an interface_ref; NULL: there is none */
    void *queue;
    int event_fd; /* of struct vmnet_message, whole; borrowed */

    /* Between the owner and the pump. */
    _Atomic(void *) lent; /* the interface, while the pump may use it */
    atomic_bool recalled;
    atomic_bool awake; /* a byte is in the pipe */
    int wake_fd[2];    /* can be read while there may be frames */

    /* The pump's. */
    struct vmnet_batch *batch;
    uint32_t ipv4; /* what was told last */

    /* Set by the owner before it lends the interface. */
    uint32_t server; /* the address of the network's DHCP server, in host order; 0: not known */

    /* Counted by the pump, read by anybody. */
    atomic_uint_fast64_t up_packets, up_bytes, down_packets, down_bytes, spoofed_mac;
};

/* A port that is not started. NULL without memory or descriptors. */
struct vmnet_port *vmnet_port_new(const struct net_config *config, const struct plane_port *port,
                                  int event_fd);
/* One that is down, or was never started, and that no pump has. NULL is fine. */
void vmnet_port_free(struct vmnet_port *port);

/* Has an interface made, on @net or (NULL) by itself: VMNET_PORT_UP or _FAILED comes, always. */
void vmnet_port_start(struct vmnet_port *port, struct vmnet_net *net);
/* Ends the interface, which is not lent: VMNET_PORT_DOWN comes, always. */
void vmnet_port_stop(struct vmnet_port *port);
/* Lends the interface to the pump. */
void vmnet_port_lend(struct vmnet_port *port);
/* Asks it back: VMNET_PORT_BACK comes, where it was lent and the pump serves the port. */
void vmnet_port_recall(struct vmnet_port *port);
/* Adds to the owner's pipe. */
void vmnet_port_tell(struct vmnet_port *port, enum vmnet_event event, uint32_t status,
                     uint32_t ipv4);
/* Has the pump look for frames. */
void vmnet_port_wake(struct vmnet_port *port);

/* options.c: the description that an interface is started with, an xpc_object_t; NULL without memory. @config NULL: a
 * network object has what is the network's. */
void *vmnet_options(const struct net_config *config, const struct plane_port *port);
/* What is known when it is up. @params is an xpc_object_t. */
void vmnet_read_facts(void *params, struct vmnet_facts *ret_facts);

/* status.c: 0, or -errno and in @err what the status means and what to do. */
int vmnet_explain(uint32_t status, const struct net_config *config, struct err *err);

/* rules.c: the framework's port forwards. @port is up; ports in host order. Waits for the framework, 3 s at most.
 * 0 or -errno with the reason. */
int vmnet_rule_add(struct vmnet_port *port, bool udp, uint16_t outside,
                   const struct ip_endpoint *guest, struct err *err);
int vmnet_rule_remove(struct vmnet_port *port, bool udp, uint16_t outside, uint8_t family,
                      struct err *err);

/* bridged.c: whether the framework would bridge to @name now. @ret_names (NULL: not wanted) gets those it would, with
 * ", " between them. */
bool vmnet_can_bridge(const char *name, char *ret_names, size_t size);

#endif
