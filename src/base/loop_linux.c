/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/loop_private.h"

struct loop_queue {
    int epoll_fd;
    /* The round being handled; entries of removed sources are set to NULL. */
    struct epoll_event events[LOOP_EVENTS_A_ROUND];
    int events_len;
};

int loop_queue_new(struct loop_queue **ret_queue)
{
    struct loop_queue *queue = calloc(1, sizeof(*queue));

    if (!queue)
        return -ENOMEM;
    queue->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (queue->epoll_fd < 0) {
        int error = -errno;

        free(queue);
        return error;
    }
    *ret_queue = queue;
    return 0;
}

void loop_queue_free(struct loop_queue *queue)
{
    close(queue->epoll_fd);
    free(queue);
}

static uint32_t epoll_mask(unsigned events)
{
    return (events & LOOP_IN ? EPOLLIN | EPOLLRDHUP : 0u) | (events & LOOP_OUT ? EPOLLOUT : 0u) |
           (events & LOOP_URGENT ? EPOLLPRI : 0u) | (events & LOOP_EDGE ? EPOLLET : 0u);
}

int loop_add(struct loop *loop, struct loop_source *source, int fd, unsigned events)
{
    struct epoll_event event = {.events = epoll_mask(events), .data.ptr = source};

    if (epoll_ctl(loop->queue->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
        return -errno;
    source->fd = fd;
    return 0;
}

int loop_change(struct loop *loop, struct loop_source *source, unsigned events)
{
    struct epoll_event event = {.events = epoll_mask(events), .data.ptr = source};

    return epoll_ctl(loop->queue->epoll_fd, EPOLL_CTL_MOD, source->fd, &event) < 0 ? -errno : 0;
}

void loop_remove(struct loop *loop, struct loop_source *source)
{
    struct loop_queue *queue = loop->queue;

    if (source->fd < 0)
        return;
    epoll_ctl(queue->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
    source->fd = -1;
    for (int i = 0; i < queue->events_len; i++)
        if (queue->events[i].data.ptr == source)
            queue->events[i].data.ptr = NULL;
}

int loop_queue_wait(struct loop_queue *queue, int timeout_ms)
{
    int len = epoll_wait(queue->epoll_fd, queue->events, LOOP_EVENTS_A_ROUND, timeout_ms);

    if (len < 0 && errno != EINTR)
        return -errno;
    queue->events_len = len < 0 ? 0 : len;
    return 0;
}

void loop_queue_dispatch(struct loop *loop)
{
    struct loop_queue *queue = loop->queue;

    for (int i = 0; i < queue->events_len && loop->running; i++) {
        struct loop_source *source = queue->events[i].data.ptr;
        uint32_t mask = queue->events[i].events;

        if (!source)
            continue;
        source->on_event(source, (mask & (EPOLLIN | EPOLLRDHUP) ? LOOP_IN : 0u) |
                                     (mask & EPOLLOUT ? LOOP_OUT : 0u) |
                                     (mask & EPOLLPRI ? LOOP_URGENT : 0u) |
                                     (mask & EPOLLRDHUP ? LOOP_END : 0u) |
                                     (mask & (EPOLLHUP | EPOLLERR) ? LOOP_HANGUP : 0u));
    }
    queue->events_len = 0;
}
