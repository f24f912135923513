/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kqueue(2) has filters where epoll has one mask, and tells the two directions' ends apart:
 *
 * - Reading and writing are watched of each source, whatever it asks, for a hang-up is always told. What it
 *   did not ask for is watched by edges (EV_CLEAR) and counts for nothing but the end it may carry.
 * - The end of what is read is EV_EOF of EVFILT_READ; that of EVFILT_WRITE also comes of our own shutdown(2). So
 *   a socket has hung up when both have ended or an error waits (EV_EOF with fflags), and anything else,
 *   which has one direction, with either.
 * - The events of a source in one round are told by one call.
 * - What a filter is like is settled when it is added; a change removes it first.
 *
 * EVFILT_EXCEPT is macOS's for urgent data.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/event.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "base/loop_private.h"

/* A source's state: what it asked for, what was told of its descriptor, and from PENDING up this round's events. */
enum {
    STATE_ASKED = (1 << 6) - 1,
    STATE_SOCKET = 1 << 6,
    STATE_READ_ENDED = 1 << 7,
    STATE_WRITE_ENDED = 1 << 8,
    STATE_PENDING_SHIFT = 16,
};

struct loop_queue {
    int kqueue_fd;
    /* The round being handled; entries of removed sources have no udata. */
    struct kevent events[LOOP_EVENTS_A_ROUND];
    int events_len;
};

static const struct {
    short filter;
    unsigned asked;
    unsigned fflags;
} filters[] = {
    {EVFILT_READ, LOOP_IN, 0},
    {EVFILT_WRITE, LOOP_OUT, 0},
    {EVFILT_EXCEPT, LOOP_URGENT, NOTE_OOB},
};

#define FILTERS_LEN (sizeof(filters) / sizeof(filters[0]))

int loop_queue_new(struct loop_queue **ret_queue)
{
    struct loop_queue *queue = calloc(1, sizeof(*queue));
    int error;

    if (!queue)
        return -ENOMEM;
    queue->kqueue_fd = kqueue();
    if (queue->kqueue_fd >= 0 && fcntl(queue->kqueue_fd, F_SETFD, FD_CLOEXEC) == 0) {
        *ret_queue = queue;
        return 0;
    }
    error = -errno;
    if (queue->kqueue_fd >= 0)
        close(queue->kqueue_fd);
    free(queue);
    return error;
}

void loop_queue_free(struct loop_queue *queue)
{
    close(queue->kqueue_fd);
    free(queue);
}

static int change(struct loop_queue *queue, struct kevent *event)
{
    return kevent(queue->kqueue_fd, event, 1, NULL, 0, NULL) < 0 ? -errno : 0;
}

static void remove_filters(struct loop_queue *queue, int fd)
{
    for (size_t i = 0; i < FILTERS_LEN; i++) {
        struct kevent event;

        EV_SET(&event, (uintptr_t)fd, filters[i].filter, EV_DELETE, 0, 0, NULL);
        (void)change(queue, &event); /* ENOENT: it was not there */
    }
}

/* Some descriptors cannot be written, or not be waited for to be: that counts where it was asked for. */
static int add_filters(struct loop_queue *queue, struct loop_source *source, int fd,
                       unsigned events)
{
    for (size_t i = 0; i < FILTERS_LEN; i++) {
        bool asked = events & filters[i].asked;
        unsigned edge = asked && !(events & LOOP_EDGE) ? 0 : EV_CLEAR;
        struct kevent event;
        int result;

        if (!asked && filters[i].filter == EVFILT_EXCEPT)
            continue;
        EV_SET(&event, (uintptr_t)fd, filters[i].filter, (uint16_t)(EV_ADD | edge),
               filters[i].fflags, 0, source);
        result = change(queue, &event);
        if (result == -EBADF || (result < 0 && asked)) {
            remove_filters(queue, fd);
            return result;
        }
    }
    return 0;
}

int loop_add(struct loop *loop, struct loop_source *source, int fd, unsigned events)
{
    socklen_t len = sizeof(int);
    int type, result = add_filters(loop->queue, source, fd, events);

    if (result < 0)
        return result;
    source->state = events & STATE_ASKED;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0)
        source->state |= STATE_SOCKET;
    source->fd = fd;
    return 0;
}

/* Events of this round that are not told yet are as they were, which is what epoll does, too. */
int loop_change(struct loop *loop, struct loop_source *source, unsigned events)
{
    remove_filters(loop->queue, source->fd);
    source->state = (source->state & ~(unsigned)STATE_ASKED) | (events & STATE_ASKED);
    return add_filters(loop->queue, source, source->fd, events);
}

void loop_remove(struct loop *loop, struct loop_source *source)
{
    struct loop_queue *queue = loop->queue;

    if (source->fd < 0)
        return;
    remove_filters(queue, source->fd);
    source->fd = -1;
    source->state = 0;
    for (int i = 0; i < queue->events_len; i++)
        if (queue->events[i].udata == source)
            queue->events[i].udata = NULL;
}

int loop_queue_wait(struct loop_queue *queue, int timeout_ms)
{
    const struct timespec timeout = {.tv_sec = timeout_ms / 1000,
                                     .tv_nsec = timeout_ms % 1000 * 1000000L};
    int len = kevent(queue->kqueue_fd, NULL, 0, queue->events, LOOP_EVENTS_A_ROUND,
                     timeout_ms < 0 ? NULL : &timeout);

    if (len < 0 && errno != EINTR)
        return -errno;
    queue->events_len = len < 0 ? 0 : len;
    return 0;
}

/* What @event means, and in @source's state what it says of its end. */
static unsigned translate(struct loop_source *source, const struct kevent *event)
{
    const unsigned both = STATE_READ_ENDED | STATE_WRITE_ENDED;
    bool ended = event->flags & EV_EOF;
    unsigned events = 0;

    switch (event->filter) {
    case EVFILT_READ:
        events = LOOP_IN | (ended ? (unsigned)LOOP_END : 0u);
        source->state |= ended ? (unsigned)STATE_READ_ENDED : 0u;
        events &= source->state & LOOP_IN ? ~0u : 0u;
        break;
    case EVFILT_WRITE:
        events = source->state & LOOP_OUT;
        source->state |= ended ? (unsigned)STATE_WRITE_ENDED : 0u;
        break;
    case EVFILT_EXCEPT:
        /* It comes with the end, too, which says nothing of urgent data. */
        if (!ended || event->fflags & NOTE_OOB)
            events = LOOP_URGENT;
        return events;
    default: break;
    }
    if (ended &&
        (!(source->state & STATE_SOCKET) || event->fflags || (source->state & both) == both))
        events |= LOOP_HANGUP;
    return events;
}

void loop_queue_dispatch(struct loop *loop)
{
    struct loop_queue *queue = loop->queue;

    for (int i = 0; i < queue->events_len; i++) {
        struct loop_source *source = queue->events[i].udata;

        source->state |= translate(source, &queue->events[i]) << STATE_PENDING_SHIFT;
    }
    for (int i = 0; i < queue->events_len; i++) {
        struct loop_source *source = queue->events[i].udata;
        unsigned events = source ? source->state >> STATE_PENDING_SHIFT : 0;

        if (!events)
            continue;
        source->state &= (1u << STATE_PENDING_SHIFT) - 1;
        /* A loop that was stopped forgets the rest, as with epoll. */
        if (loop->running)
            source->on_event(source, events);
    }
    queue->events_len = 0;
}
