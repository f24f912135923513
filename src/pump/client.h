/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the pump share. All of it belongs to the pump's thread, but for what pump_add() does
 * before it hands a client over.
 */
#ifndef OPENVMNET_PUMP_CLIENT_H
#define OPENVMNET_PUMP_CLIENT_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/loop.h"
#include "base/table.h"
#include "pump/pump.h"
#include "wire/packet.h"

#define PUMP_FRAMES_A_TURN 64 /* before other clients get theirs */
#define PUMP_FRAME_MIN_BYTES 14
#define PUMP_FRAME_SLACK_BYTES 18 /* over the MTU: the Ethernet header and a VLAN tag */
#define PUMP_MTU_MAX 65520
#define PUMP_FRAME_MAX_BYTES (PUMP_MTU_MAX + PUMP_FRAME_SLACK_BYTES)
#define PUMP_VNET_BYTES sizeof(struct wire_vnet_hdr)

/*
 * What is read from a stream at once: 40 large frames, and of small ones not so many that others wait
 * for more than a few milliseconds. The buffer has room for the start of a frame from before, too.
 */
#define PUMP_READ_BYTES (64 * 1024)
#define PUMP_UP_BYTES (16 + PUMP_LENGTH_BYTES + PUMP_FRAME_MAX_BYTES + PUMP_READ_BYTES)

#define PUMP_COUNT_ADD(pump, name, number)                                                         \
    atomic_fetch_add_explicit(&(pump)->counters->name, number, memory_order_relaxed)
#define PUMP_COUNT(pump, name) PUMP_COUNT_ADD(pump, name, 1)

struct pump {
    struct pump_counters *counters;
    struct loop *loop;
    pthread_mutex_t lock; /* for is_running */
    bool is_running;
    pthread_t thread;
    int command_fd[2]; /* a pipe of pointers to new clients; its end ends the thread */
    struct loop_source command_source;
    struct loop_timer probe_timer;
    struct list clients;
    uint8_t up[PUMP_UP_BYTES] __attribute__((aligned(16)));
    uint8_t down[PUMP_QUEUE_BYTES] __attribute__((aligned(16)));
};

struct pump_client {
    struct list list;
    struct pump *pump;
    enum pump_framing framing;
    size_t frame_max_bytes;
    int socket_fd, lifeline_fd;
    struct pump_tap tap;
    struct loop_source socket_source, tap_source, lifeline_source;
    bool has_peer; /* a bound datagram socket has none until somebody sends */

    /* Frames, each with its length in front, that the socket did not take; NULL while it takes all. */
    uint8_t *queue;
    size_t queue_len_bytes, queue_at_bytes;

    size_t skip_bytes; /* to come, of a frame that nobody wants */
    size_t partial_len_bytes;
    uint8_t partial[]; /* PUMP_LENGTH_BYTES + frame_max_bytes: the start of a frame of a stream */
};

/* client.c: the two directions, and what happens when one of them blocks. */

/* Watches the descriptors of a new client; ends it where that fails. */
void pump_client_start(struct pump_client *client);
/* Closes all and frees it. */
void pump_client_end(struct pump_client *client);
/* Asks for the events that matter now. 0 or -errno. */
int pump_client_watch(struct pump_client *client);

/* The network's side: tap_linux.c, frames with a virtio-net header; on macOS tap.c of the plane. */

/*
 * Reads frames into @buf, each with its length in front, until there are no more, @buf is full or the turn
 * is over. Returns their bytes in all, or -errno where the tap is no more.
 */
ssize_t pump_tap_read(struct pump_client *client, uint8_t *buf, size_t size_bytes);
/*
 * Writes a frame, or keeps in mind where it lies until pump_tap_push(). The PUMP_VNET_BYTES in front of it may be
 * overwritten. False where the tap is no more; a frame that it does not take is counted.
 */
bool pump_tap_write(struct pump_client *client, uint8_t *frame, size_t len_bytes);
/* The turn is over: what pump_tap_write() was given is not there much longer. False likewise. */
bool pump_tap_push(struct pump_client *client);
/* Drops and counts what waits in the tap. */
void pump_tap_flush(struct pump_client *client);
/* Ends the tap, and the port with it. */
void pump_tap_close(const struct pump_tap *tap);

/*
 * stream.c and dgram.c: what is between the client and us. The functions called receive take a turn's
 * frames from the socket to the tap: 0, or -errno where the client is to be ended. Those called send return
 * how many bytes of @data (as pump_tap_read() has them) need not be sent any more, or -errno likewise.
 */
int pump_stream_receive(struct pump_client *client);
ssize_t pump_stream_send(struct pump_client *client, const uint8_t *data, size_t len_bytes);

int pump_dgram_receive(struct pump_client *client);
ssize_t pump_dgram_send(struct pump_client *client, const uint8_t *data, size_t len_bytes);
/* Whether the peer is still there, as far as that can be known without sending. 0 or -errno likewise. */
int pump_dgram_probe(struct pump_client *client);

static inline uint32_t pump_get_length(const uint8_t bytes[PUMP_LENGTH_BYTES])
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

#endif
