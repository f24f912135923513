/* SPDX-License-Identifier: Apache-2.0 */
/* What src/base/loop_kqueue.c uses of kqueue(2), for kqueue_on_epoll.c. The values are this file's own. */
#ifndef OPENVMNET_TESTS_SYS_EVENT_H
#define OPENVMNET_TESTS_SYS_EVENT_H

#include <stdint.h>
#include <time.h>

#define EVFILT_READ (-1)
#define EVFILT_WRITE (-2)
#define EVFILT_EXCEPT (-3)

#define EV_ADD (1 << 0)
#define EV_DELETE (1 << 1)
#define EV_CLEAR (1 << 2)
#define EV_EOF (1 << 3)

#define NOTE_OOB (1 << 0)

struct kevent {
    uintptr_t ident;
    int16_t filter;
    uint16_t flags;
    uint32_t fflags;
    intptr_t data;
    void *udata;
};

#define EV_SET(event, id, its_filter, its_flags, its_fflags, its_data, its_udata)                  \
    (*(event) = (struct kevent){.ident = (id),                                                     \
                                .filter = (its_filter),                                            \
                                .flags = (its_flags),                                              \
                                .fflags = (its_fflags),                                            \
                                .data = (its_data),                                                \
                                .udata = (its_udata)})

int kqueue(void);
int kevent(int kqueue_fd, const struct kevent *changes, int changes_len, struct kevent *events,
           int events_len, const struct timespec *timeout);

#endif
