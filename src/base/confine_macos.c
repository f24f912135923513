/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What macOS has of this for a program without an application bundle: little. There are no capabilities, and the
 * sandbox's interface for such programs (sandbox_init(3)) is deprecated without a successor; a network's
 * processes run with the rights that launchd or the user started them with.
 */
#include "base/confine.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/event.h>
#include <unistd.h>

struct watch {
    int kqueue_fd, signal;
};

static void *wait_for_parent(void *context)
{
    struct watch *watch = context;
    struct kevent event;

    while (kevent(watch->kqueue_fd, NULL, 0, &event, 1, NULL) < 0 && errno == EINTR)
        ;
    kill(getpid(), watch->signal);
    return NULL;
}

int confine_die_with_parent(int parent_pid, int signal)
{
    static struct watch watch; /* lives as long as the process */
    struct kevent change;
    sigset_t all, old;
    pthread_t thread;
    int error;

    watch.signal = signal;
    watch.kqueue_fd = kqueue();
    if (watch.kqueue_fd < 0)
        return -errno;
    EV_SET(&change, (uintptr_t)parent_pid, EVFILT_PROC, EV_ADD | EV_ONESHOT, NOTE_EXIT, 0, NULL);
    /* ESRCH: it has ended. One that ends before kevent() and after its number was taken anew is not ours. */
    if (kevent(watch.kqueue_fd, &change, 1, NULL, 0, NULL) < 0) {
        error = -errno;
        close(watch.kqueue_fd);
        return error;
    }
    if (getppid() != parent_pid) {
        close(watch.kqueue_fd);
        return -ESRCH;
    }
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    error = -pthread_create(&thread, NULL, wait_for_parent, &watch);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (error == 0)
        pthread_detach(thread);
    else
        close(watch.kqueue_fd);
    return error;
}

void confine_adopt_orphans(void)
{
    /* Orphans are launchd's. */
}

int confine_capabilities(const int *capabilities, size_t len, int inherit)
{
    (void)capabilities;
    (void)len;
    (void)inherit;
    return 0;
}

int confine_files(const char *const *readable, const char *const *writable)
{
    (void)readable;
    (void)writable;
    return -EOPNOTSUPP;
}

int confine_engine_calls(struct err *err)
{
    (void)err;
    return 0;
}
