/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network on vmnet.framework, in one process: the framework has the bridge, the NAT, DHCP and DNS, and here are the
 * ports' interfaces, the pump and the control socket. Only for src/daemon.
 *
 *   STARTING -> READY -> SERVED -> STOPPING -> WAITING -> RESTARTING -> SERVED ...
 *       |         |         `---------- the pump is done with it -------------.
 *       `---------`------------------------------------------------------> ENDING
 *
 * An interface that breaks is made anew while its port, and who is connected to it, stay: tried at once, then after
 * VMNET_MEND_MS, each time twice as long.
 */
#ifndef OPENVMNET_DAEMON_VMNET_H
#define OPENVMNET_DAEMON_VMNET_H

#include "daemon/methods.h"
#include "plane/macos/network.h"
#include "plane/macos/port.h"

#define VMNET_MEND_MS 500
#define VMNET_MEND_MAX_MS 30000
/* Until a port that the framework does not start, or stop, is given up. */
#define VMNET_START_MS 12000
#define VMNET_STOP_MS 3000

enum vmnet_state {
    VMNET_STARTING,
    VMNET_READY,      /* it is up, and whoever asked for it is told */
    VMNET_SERVED,     /* the pump has it */
    VMNET_STOPPING,   /* it broke, or another is wanted */
    VMNET_WAITING,    /* to be started again */
    VMNET_RESTARTING, /* that was asked for */
    VMNET_ENDING,     /* to be stopped, or being stopped, for good */
    VMNET_STATES
};

struct vmnet_served {
    struct vmnet_port *port;
    enum vmnet_state state;
    uint32_t start_request, end_request; /* their ids; 0: nobody waits */
    bool closed;                         /* the pump is done with it */
    uint64_t due_ms;                     /* WAITING, STARTING, ENDING: when that is over */
    unsigned mend_ms;                    /* the next pause */
};

/* An answer that is due as soon as the caller has returned. */
struct vmnet_due {
    uint32_t id, type;
    int family, socket_type;
    struct err err; /* with result, which is negative where it is refused */
    int result;
};

struct vmnet_side {
    struct engine *engine;
    struct net_config config; /* the addresses become those that the framework says */
    bool has_net;             /* the network is an object of the framework's: */
    struct vmnet_net *net;    /* NULL while that is to be made anew */
    struct loop_source source;
    int event_fd[2]; /* a pipe of struct vmnet_message */
    struct vmnet_served ports[PLANE_PORTS_MAX];
    unsigned ports_len, next_interface;
    bool ending; /* all of them are to end */
    struct loop_timer state_timer, due_timer, end_timer;
    struct vmnet_due due[ENGINE_REQUESTS_MAX];
    unsigned due_len;
    struct vmnet_watch *watch;
};

/* vmnet_ports.c. Makes the network's object, where it has one. 0 or -errno with the reason. */
int vmnet_ports_begin(struct engine *engine, struct err *err);
/* The pump is done with all: waits until they have ended, VMNET_STOP_MS at most. */
void vmnet_ports_end(struct engine *engine);
void vmnet_ports_free(struct engine *engine);
/* Of a request: makes or ends a port, and answers by the message's id when that is done. 0, or -errno with the reason:
 * then nothing is answered. */
int vmnet_ports_add(struct engine *engine, struct message *message, struct err *err);
int vmnet_ports_remove(struct engine *engine, const struct message *message, struct err *err);
/* A port that is up, by its guest's address; NULL: any that is up. NULL where there is none. */
struct vmnet_port *vmnet_ports_find(struct engine *engine, const struct ip_addr *guest);
/* Has the interfaces of all ports made anew. */
void vmnet_ports_renew(struct engine *engine);

/* vmnet_requests.c: engine_request() is there. */
void vmnet_requests_begin(struct engine *engine);
void vmnet_requests_end(struct engine *engine);

/*
 * vmnet_watch.c: an interface of the host that guests are bridged to goes and comes back, and the host sleeps. 0 or -errno.
 */
int vmnet_watch_new(struct engine *engine, struct vmnet_watch **ret_watch);
void vmnet_watch_free(struct vmnet_watch *watch);

/* forward_vmnet.c: @port's interface is up again, or about to go. */
void forward_vmnet_up(struct forward_host *host, struct vmnet_port *port);
void forward_vmnet_down(struct forward_host *host, const struct vmnet_port *port);

#endif
