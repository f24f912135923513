/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The system's own capture sees the bridges of vmnet.framework, so nothing needs to be entered, and nothing is
 * given that tcpdump would not have.
 */
#include "cli/capture.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <sys/event.h>
#include <unistd.h>

const char capture_whole_network[] = "bridge100"; /* where vmnet.framework begins to count */

int capture_enter(const struct net_spec *spec, struct err *err)
{
    return err_set(err, -ENOTSUP,
                   "on macOS the system captures its bridges itself: find the one with the "
                   "network's gateway in ifconfig, then: sudo tcpdump -i %s",
                   capture_whole_network);
}

int capture_watch_signals(void)
{
    static const int signals[] = {SIGINT, SIGTERM};
    int fd = kqueue(), error;

    if (fd < 0)
        return -errno;
    for (int i = 0; i < 2; i++) {
        struct kevent change;

        /* Such a filter also sees signals that are ignored. */
        signal(signals[i], SIG_IGN);
        EV_SET(&change, (uintptr_t)signals[i], EVFILT_SIGNAL, EV_ADD, 0, 0, NULL);
        if (kevent(fd, &change, 1, NULL, 0, NULL) < 0) {
            error = -errno;
            close(fd);
            return error;
        }
    }
    return fd;
}
