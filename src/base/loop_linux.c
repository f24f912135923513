/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/loop.h"

#define EVENTS_A_ROUND 256

struct loop {
    int epoll_fd;
    bool running;
    uint64_t (*clock_ms)(void);
    uint64_t now_ms;
    struct loop_timer *timers; /* unordered: there are only a few */
    /* The round being handled; entries of removed sources are set to NULL. */
    struct epoll_event events[EVENTS_A_ROUND];
    int events_len;
};

int loop_new_with_clock(uint64_t (*now_ms)(void), struct loop **ret_loop)
{
    struct loop *loop = calloc(1, sizeof(*loop));

    if (!loop)
        return -ENOMEM;
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0) {
        int error = -errno;

        free(loop);
        return error;
    }
    loop->clock_ms = now_ms;
    loop->now_ms = now_ms();
    *ret_loop = loop;
    return 0;
}

int loop_new(struct loop **ret_loop)
{
    return loop_new_with_clock(clock_now_ms, ret_loop);
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    close(loop->epoll_fd);
    free(loop);
}

static uint32_t epoll_mask(unsigned events)
{
    return (events & LOOP_IN ? EPOLLIN | EPOLLRDHUP : 0u) | (events & LOOP_OUT ? EPOLLOUT : 0u) |
           (events & LOOP_URGENT ? EPOLLPRI : 0u) | (events & LOOP_EDGE ? EPOLLET : 0u);
}

int loop_add(struct loop *loop, struct loop_source *source, int fd, unsigned events)
{
    struct epoll_event event = {.events = epoll_mask(events), .data.ptr = source};

    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
        return -errno;
    source->fd = fd;
    return 0;
}

int loop_change(struct loop *loop, struct loop_source *source, unsigned events)
{
    struct epoll_event event = {.events = epoll_mask(events), .data.ptr = source};

    return epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, source->fd, &event) < 0 ? -errno : 0;
}

void loop_remove(struct loop *loop, struct loop_source *source)
{
    if (source->fd < 0)
        return;
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
    source->fd = -1;
    for (int i = 0; i < loop->events_len; i++)
        if (loop->events[i].data.ptr == source)
            loop->events[i].data.ptr = NULL;
}

void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t delay_ms)
{
    timer->due_ms = loop->clock_ms() + delay_ms;
    if (timer->listed)
        return;
    timer->listed = true;
    timer->next = loop->timers;
    loop->timers = timer;
}

void loop_timer_clear(struct loop *loop, struct loop_timer *timer)
{
    for (struct loop_timer **at = &loop->timers; *at; at = &(*at)->next) {
        if (*at != timer)
            continue;
        *at = timer->next;
        break;
    }
    timer->listed = false;
    timer->due_ms = 0;
}

uint64_t loop_now_ms(const struct loop *loop)
{
    return loop->now_ms;
}

/* Milliseconds until the first timer is due, -1 where there is none. */
static int loop_timeout_ms(const struct loop *loop)
{
    uint64_t first_ms = UINT64_MAX, now_ms = loop->clock_ms();

    for (const struct loop_timer *timer = loop->timers; timer; timer = timer->next)
        if (timer->due_ms < first_ms)
            first_ms = timer->due_ms;
    if (first_ms == UINT64_MAX)
        return -1;
    if (first_ms <= now_ms)
        return 0;
    return first_ms - now_ms > INT_MAX ? INT_MAX : (int)(first_ms - now_ms);
}

static void loop_fire_timers(struct loop *loop)
{
    struct loop_timer *timer;

    /* A callback may set or clear any timer, so the search starts anew after each. */
    do {
        for (timer = loop->timers; timer; timer = timer->next)
            if (timer->due_ms <= loop->now_ms)
                break;
        if (timer) {
            loop_timer_clear(loop, timer);
            timer->on_timer(timer);
        }
    } while (timer && loop->running);
}

int loop_run(struct loop *loop)
{
    loop->running = true;
    while (loop->running) {
        int len = epoll_wait(loop->epoll_fd, loop->events, EVENTS_A_ROUND, loop_timeout_ms(loop));

        if (len < 0 && errno != EINTR)
            return -errno;
        loop->now_ms = loop->clock_ms();
        loop->events_len = len < 0 ? 0 : len;
        for (int i = 0; i < loop->events_len && loop->running; i++) {
            struct loop_source *source = loop->events[i].data.ptr;
            uint32_t mask = loop->events[i].events;

            if (!source)
                continue;
            source->on_event(source, (mask & (EPOLLIN | EPOLLRDHUP) ? LOOP_IN : 0u) |
                                         (mask & EPOLLOUT ? LOOP_OUT : 0u) |
                                         (mask & EPOLLPRI ? LOOP_URGENT : 0u) |
                                         (mask & EPOLLRDHUP ? LOOP_END : 0u) |
                                         (mask & (EPOLLHUP | EPOLLERR) ? LOOP_HANGUP : 0u));
        }
        loop->events_len = 0;
        if (loop->running)
            loop_fire_timers(loop);
    }
    return 0;
}

void loop_stop(struct loop *loop)
{
    loop->running = false;
}
