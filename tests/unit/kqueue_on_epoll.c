/* SPDX-License-Identifier: Apache-2.0 */
/*
 * As much of kqueue(2) as the unit test of the loop's back end for it needs to run on Linux: what is level and what
 * is edge, and what is ready, comes from the kernel. Each filter of a descriptor is an epoll of its own, all of
 * them are in a further one, which is the kqueue. It shows that the back end does what it means to, not that
 * macOS does what the back end believes.
 */
#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/event.h>
#include <unistd.h>

#define FILTERS_MAX 64

static struct filter {
    bool used;
    int kqueue_fd, epoll_fd;
    struct kevent event;
} filters[FILTERS_MAX];

static void drop(struct filter *filter)
{
    close(filter->epoll_fd); /* which takes it out of the kqueue */
    filter->used = false;
}

int kqueue(void)
{
    int fd = epoll_create1(EPOLL_CLOEXEC);

    /* Those of a kqueue that was closed and had this number. */
    for (int i = 0; i < FILTERS_MAX; i++)
        if (filters[i].used && filters[i].kqueue_fd == fd)
            drop(&filters[i]);
    return fd;
}

static struct filter *find(int kqueue_fd, const struct kevent *event)
{
    for (int i = 0; i < FILTERS_MAX; i++)
        if (filters[i].used && filters[i].kqueue_fd == kqueue_fd &&
            filters[i].event.ident == event->ident && filters[i].event.filter == event->filter)
            return &filters[i];
    return NULL;
}

static uint32_t epoll_events(const struct kevent *event)
{
    const uint32_t edge = event->flags & EV_CLEAR ? EPOLLET : 0u;

    switch (event->filter) {
    case EVFILT_READ: return edge | EPOLLIN | EPOLLRDHUP;
    case EVFILT_WRITE: return edge | EPOLLOUT;
    default: return edge | EPOLLPRI;
    }
}

static int add(int kqueue_fd, const struct kevent *event)
{
    struct epoll_event inner = {.events = epoll_events(event)}, outer = {.events = EPOLLIN};
    struct filter *filter = filters;

    while (filter < filters + FILTERS_MAX && filter->used)
        filter++;
    assert(filter < filters + FILTERS_MAX);
    outer.data.ptr = filter;
    *filter = (struct filter){.used = true,
                              .kqueue_fd = kqueue_fd,
                              .epoll_fd = epoll_create1(EPOLL_CLOEXEC),
                              .event = *event};
    if (epoll_ctl(filter->epoll_fd, EPOLL_CTL_ADD, (int)event->ident, &inner) == 0 &&
        epoll_ctl(kqueue_fd, EPOLL_CTL_ADD, filter->epoll_fd, &outer) == 0)
        return 0;
    drop(filter);
    return -1;
}

static int apply(int kqueue_fd, const struct kevent *change)
{
    struct filter *filter = find(kqueue_fd, change);

    if (change->flags & EV_ADD) {
        /* The back end relies on no way to change one that is there. */
        assert(!filter);
        return add(kqueue_fd, change);
    }
    if (!filter) {
        errno = ENOENT;
        return -1;
    }
    drop(filter);
    return 0;
}

/* False: it was an edge, and has passed. */
static bool take(const struct filter *filter, struct kevent *ret_event)
{
    struct epoll_event ready;
    uint32_t end =
        filter->event.filter == EVFILT_READ ? EPOLLRDHUP | EPOLLHUP : (uint32_t)EPOLLHUP | EPOLLERR;

    if (epoll_wait(filter->epoll_fd, &ready, 1, 0) != 1)
        return false;
    *ret_event = filter->event;
    ret_event->flags = ready.events & end ? EV_EOF : 0;
    ret_event->fflags = ready.events & EPOLLPRI ? NOTE_OOB : 0;
    return true;
}

int kevent(int kqueue_fd, const struct kevent *changes, int changes_len, struct kevent *events,
           int events_len, const struct timespec *timeout)
{
    struct epoll_event ready[FILTERS_MAX];
    int timeout_ms = timeout ? (int)(timeout->tv_sec * 1000 + timeout->tv_nsec / 1000000) : -1;
    int len, taken = 0;

    for (int i = 0; i < changes_len; i++)
        if (apply(kqueue_fd, &changes[i]) < 0)
            return -1;
    if (events_len == 0)
        return 0;
    len = epoll_wait(kqueue_fd, ready, events_len < FILTERS_MAX ? events_len : FILTERS_MAX,
                     timeout_ms);
    for (int i = 0; i < len; i++)
        taken += take(ready[i].data.ptr, &events[taken]);
    return len < 0 ? len : taken;
}
