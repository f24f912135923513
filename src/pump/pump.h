/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pump: frames between a socket, as VM monitors without tap support have it, and a port's tap descriptor.
 *
 * One thread serves all sockets of a network. Frames are moved in batches; what a client does not take waits
 * in its queue, of PUMP_QUEUE_BYTES at most, and beyond that stays in the tap, which drops and counts what is
 * too much (tx_dropped, a port's downDropped): a client that stalls costs itself its frames and nobody else
 * anything. The tap has no offloads, so the kernel cuts segments and computes checksums before a frame arrives
 * here. A client that breaks the framing is disconnected.
 */
#ifndef OPENVMNET_PUMP_PUMP_H
#define OPENVMNET_PUMP_PUMP_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/err.h"

#define PUMP_CLIENTS_MAX 1024
#define PUMP_QUEUE_BYTES (256 * 1024)   /* for each client, while it waits */
#define PUMP_SOCKET_BYTES (1024 * 1024) /* what is asked of the kernel for a socket's buffers */

enum pump_framing {
    PUMP_STREAM, /* 4 byte length, big-endian, then the frame; both ways */
    /*
     * A frame each. Where the socket is bound to a path and not connected, it is connected to who sends
     * first. A datagram under 14 bytes is no frame and is passed over: the "VFKT" of vfkit and krunkit.
     */
    PUMP_DGRAM,
};

/* clang-format off */
#define PUMP_COUNTERS(X)                                                                           \
    X(pump_clients)          /* connected now */                                                   \
    X(pump_frames_up)        /* from clients, to taps */                                           \
    X(pump_frames_down)      /* from taps, for clients */                                          \
    X(pump_drop_queue_full)  /* of those: no client was there, or no memory for a datagram */      \
    X(pump_drop_tap)         /* the tap did not take them */                                       \
    X(pump_drop_malformed)   /* runts, and frames over the MTU */                                  \
    X(pump_broken)           /* clients disconnected for their framing */
/* clang-format on */
#define PUMP_COUNTER_FIELD(name) atomic_uint_fast64_t name;
struct pump_counters {
    PUMP_COUNTERS(PUMP_COUNTER_FIELD)
};

/* Of a stream. A length of zero or over the maximum breaks the framing. */
#define PUMP_LENGTH_BYTES 4
#define PUMP_LENGTH_MAX 65550

/* The network's side of a port. */
struct pump_tap {
    int fd; /* can be read when frames wait; Linux: the packet device, made with a virtio-net header */
    void *device; /* what tap_*.c of the system makes of it; NULL where the descriptor is all */
};

struct pump;

/* Makes a pump; its thread starts with the first client. @counters is borrowed. 0 or -errno. */
int pump_new(struct pump_counters *counters, struct pump **ret_pump, struct err *err);
/*
 * Makes a connected pair of sockets, close-on-exec: ret_fds[0] is for pump_add(), ret_fds[1] for the client.
 * Unlike one of socketpair(2), the end of a client with datagrams is noticed within a second. 0 or -errno.
 */
int pump_open_pair(enum pump_framing framing, int ret_fds[2]);

/* Ends the thread and disconnects all; waits for it. NULL is fine. */
void pump_free(struct pump *pump);

/*
 * Moves frames between @socket_fd and @tap until either ends; then closes both, and the port goes with that. @lifeline_fd (-1: none) is a socket whose end
 * ends the client, too, for datagrams have no end of their own: with one, a datagram socket whose peer is gone
 * waits for the next that sends to it; without, that is the client's end. Takes over all three, on failure
 * too. @mtu is the network's: a frame has at most @mtu + 18 bytes. 0, -ENOSPC or -errno. Any thread.
 */
int pump_add(struct pump *pump, enum pump_framing framing, int socket_fd,
             const struct pump_tap *tap, int lifeline_fd, unsigned mtu);
/* Ends the client of the tap with this device (not NULL), if there is one. 0, or -EAGAIN. Any thread. */
int pump_end(struct pump *pump, const void *device);

#endif
