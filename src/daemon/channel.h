/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages between the processes of one network, over sequenced-packet socket pairs: a message arrives
 * whole or not at all. The parent keeps both ends of each pair, so a process that was started anew finds
 * the same channel, and the other side notices nothing but an answer that does not come.
 *
 * The engine reads bytes from guests and clients and could be taken over; the router therefore takes
 * nothing from a message on trust.
 */
#ifndef OPENVMNET_DAEMON_CHANNEL_H
#define OPENVMNET_DAEMON_CHANNEL_H

#include <stdint.h>

#include "base/err.h"
#include "base/resolv_conf.h"
#include "plane/plane.h"

#define CHANNEL_FDS_MAX 2 /* with one message, but for READY and HANDLES */

enum message_type {
    /* child -> parent, once */
    MESSAGE_READY, /* from the router with the plane's handles, those that are not -1, in order */
    MESSAGE_FAILED,
    /* parent -> engine, once: the plane's handles in the same form */
    MESSAGE_HANDLES,
    /* engine -> router */
    MESSAGE_ADD_PORT,
    MESSAGE_REMOVE_PORT,
    MESSAGE_SETTLE_PORT, /* .port has its MAC now, and what follows from it */
    MESSAGE_CUT_OFF,     /* all ports, before the end */
    MESSAGE_LIST_PORTS,
    MESSAGE_OPEN_SOCKET, /* a transparent one of .family and .socket_type */
    MESSAGE_SET_OUTSIDE, /* .outside: what the host's network is like; no answer */
    MESSAGE_SET_FORWARDS, /* all of them, struct plane_forward after struct, in the file beside; no answer */
    /* router -> engine */
    MESSAGE_DONE, /* answer to the request of the same id, with its descriptors */
    MESSAGE_PORT, /* answer to LIST_PORTS: one for each with .stats, then DONE with the warning in .err */
    MESSAGE_GONE,    /* a port's last descriptor was closed; no interface: some were, list them */
    MESSAGE_LEARNED, /* .port.mac is where a port without one sends from */
    MESSAGE_PROCESSES, /* which processes serve the network, its MTU, and in .err a warning, whenever one changes */
};

struct message {
    uint32_t type;
    uint32_t id;
    int32_t result;   /* 0 or -errno */
    uint32_t handles; /* READY, HANDLES: bit i is set where handle i was sent */
    int32_t router_pid, service_pid;
    uint32_t mtu; /* that machines that come are told; with each message of the router's */
    int32_t family, socket_type;
    struct plane_outside outside;
    struct plane_port port;
    struct plane_port_stats stats;
    struct err err;
};

/* 0 or -errno. Descriptors stay the caller's. */
int channel_send(int fd, const struct message *message, const int *fds, unsigned fds_len);

/*
 * Reads one message; its strings are terminated. Received descriptors (at most @fds_max, close-on-exec)
 * are the caller's. 0; -EBADMSG; or -errno.
 */
int channel_receive(int fd, struct message *ret_message, int *ret_fds, unsigned fds_max,
                    unsigned *ret_fds_len);

/* Those of @handles that are not -1, as a message has them. Returns their number. */
unsigned channel_put_handles(const struct plane_handles *handles, struct message *message,
                             int ret_fds[PLANE_HANDLES]);
/* The reverse; the handles that were not sent are -1. */
void channel_take_handles(const struct message *message, const int *fds, unsigned fds_len,
                          struct plane_handles *ret_handles);

#endif
