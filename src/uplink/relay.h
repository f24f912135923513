/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two connected stream sockets, and the bytes between them, both ways.
 *
 * What one side sends the other gets: bytes, which of them is urgent, the end of one direction
 * (half-close), a reset. Nothing is read that cannot be passed on soon: when one side does not take more,
 * at most RELAY_PIPE_BYTES wait for it, and the other side's window closes. A relay without bytes under
 * way has no buffer.
 *
 * A stream that fills the buffer is moved by splice() through a pipe from then on: its pages go from one
 * socket to the other and nobody copies them. When it has run dry it begins with the buffer again, so short
 * messages never pay for a pipe. A relay has a pipe as long as it moves only; without one it copies.
 */
#ifndef OPENVMNET_UPLINK_RELAY_H
#define OPENVMNET_UPLINK_RELAY_H

#include <stdatomic.h>

#include "base/addr.h"
#include "base/loop.h"
#include "base/table.h"
#include "uplink/quota.h"

/* Read at once. Large enough that a system call costs little beside its copy. */
#define RELAY_CHUNK_BYTES (128 * 1024)
/*
 * The same for a guest that has its share of buffers: so much is not counted. It is a fraction of what the kernel
 * keeps for a socket, and eight of them cost a stream little more than one large one.
 */
#define RELAY_SMALL_BYTES (16 * 1024)
/* From so much at once on it is a stream that splice() is better for. */
#define RELAY_BULK_BYTES (64 * 1024)
/*
 * What a pipe holds, and how many the groups of a network's guests have. Together a quarter of what the
 * kernel gives a user who is not root (fs.pipe-user-pages-soft), since there may be several networks.
 */
#define RELAY_PIPE_BYTES (256 * 1024)
#define RELAY_PIPES_MAX 64
/*
 * So much may wait in a socket for its turn to be sent (TCP_NOTSENT_LOWAT, tcp(7)): what a stream has under way
 * stays in the processor's cache, and in the sender's hands where its receiver is slow.
 */
#define RELAY_UNSENT_BYTES (512 * 1024)
/* Moved in one direction before other events get their turn. */
#define RELAY_TURN_BYTES (1024 * 1024)
/*
 * A side that was reset has often sent something before: that is passed on first, so long at most, and the other
 * side is reset when it has acknowledged it. How often it is looked whether it has.
 */
#define RELAY_DYING_MS 5000
#define RELAY_DYING_TICK_MS 20

struct relay_pipe {
    int read_fd, write_fd;
};

/* What relays of one thread share. */
struct relay_group {
    struct loop *loop;
    struct quota *quota; /* of buffers and pipes; NULL: there is none */
    uint8_t *buffer;     /* at least RELAY_CHUNK_BYTES; used within a call only */
    struct list ready;   /* relays whose turn was over before their work */
    struct loop_timer timer;
    struct list dying; /* relays of which one side was reset */
    struct loop_timer dying_timer;
    struct relay_pipe idle[RELAY_PIPES_MAX]; /* empty pipes that nobody uses now */
    unsigned idle_len, pipes, pipes_max;     /* pipes: idle and in use */
};

struct relay_side {
    struct loop_source source; /* fd -1: not there yet */
    bool readable, writable;
    bool ending;      /* its last byte is here, or an error; reading goes on until that is met */
    bool urgent;      /* a byte that it calls urgent is among what can be read, or was */
    bool ended;       /* it sent its last byte */
    bool shut;        /* it was told that the other did */
    uint8_t *waiting; /* bytes it has not taken yet, or NULL */
    uint32_t waiting_start, waiting_end;
    bool counted;           /* @waiting may be large, and is in the quota */
    bool bulk;              /* what it sent last filled the buffer */
    struct relay_pipe pipe; /* to it, -1 if none */
    size_t piped_bytes;     /* in the pipe: bytes it has not taken yet */
};

struct relay {
    struct relay_group *group;
    unsigned guest; /* whose quota it is */
    struct relay_side side[2];
    struct list ready; /* in the group's list of that name, or in dying */
    bool running;
    bool dying;
    uint8_t dead; /* dying: the side that was reset */
    uint64_t dying_until_ms;
    /* Something happened on @side before relay_run(). */
    void (*on_early_event)(struct relay *relay, int side, unsigned events);
    /* Both directions have ended, or one side was reset. relay_done() is up to the owner. */
    void (*on_end)(struct relay *relay, bool reset);
    atomic_uint_fast64_t *bytes[2]; /* counters of what each side sent, or NULL */
};

/*
 * A group that shares RELAY_PIPES_MAX with others has pipes_max set afterwards, and one whose relays are guests' has
 * quota.
 */
void relay_group_init(struct relay_group *group, struct loop *loop, uint8_t *buffer);
void relay_group_done(struct relay_group *group);

/* Callbacks, counters and the guest are set by the caller afterwards. */
void relay_init(struct relay *relay, struct relay_group *group);
/*
 * Sets the options of a relay's socket. Connections inherit them from the socket that listens for them, so there
 * it is done once.
 */
void relay_prepare(int fd);
/*
 * Takes over @fd, a non-blocking socket that is prepared, as one of the sides. 0 or -errno; on error @fd is
 * closed.
 */
int relay_set_side(struct relay *relay, int side, int fd);
/* Both sides are there and connected. May call on_end, after which the relay may be gone. */
void relay_run(struct relay *relay);
/* Whether a side's own address is @addr. */
bool relay_is_at(const struct relay *relay, int side, const struct ip_addr *addr);
/* Closes both sides. @reset: those that have not ended see a reset instead of an end. */
void relay_done(struct relay *relay, bool reset);

/* Closes a stream socket so that the other side sees a reset. */
void relay_close_reset(int fd);

#endif
