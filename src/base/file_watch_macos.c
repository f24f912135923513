/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kqueue(2) watches open files, not names. So each folder on the way over the links is open and watched, and the
 * file itself. A folder tells that something in it has changed, not what: when anything has happened the way is
 * walked anew, and it counts where the file is another one or was written since.
 */
#include "base/file_watch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/event.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file_walk.h"
#include "base/table.h"

#define EVENTS (NOTE_WRITE | NOTE_EXTEND | NOTE_DELETE | NOTE_RENAME | NOTE_ATTRIB | NOTE_REVOKE)

struct file_watch {
    struct loop *loop;
    struct loop_source source; /* the kqueue, which is readable when it has an event */
    const char *path;
    void (*on_change)(void *context);
    void *context;
    int steps[FILE_WALK_STEPS_MAX]; /* open files */
    unsigned steps_len;
    struct stat seen; /* zero where there is no file */
};

static bool add_step(void *context, const char *path, const char *name)
{
    struct file_watch *watch = context;
    struct kevent change;
    int fd, error;

    if (watch->steps_len == FILE_WALK_STEPS_MAX)
        return false;
    fd = open(path, O_EVTONLY | O_CLOEXEC | (name ? O_DIRECTORY : 0));
    if (fd < 0)
        return false;
    EV_SET(&change, (uintptr_t)fd, EVFILT_VNODE, EV_ADD | EV_CLEAR, EVENTS, 0, NULL);
    if (kevent(watch->source.fd, &change, 1, NULL, 0, NULL) < 0) {
        error = errno;
        close(fd);
        errno = error;
        return false;
    }
    watch->steps[watch->steps_len++] = fd;
    return true;
}

static void close_steps(struct file_watch *watch)
{
    while (watch->steps_len > 0)
        close(watch->steps[--watch->steps_len]); /* which ends its events, too */
}

/* Whether the file is not the one that was seen last, which it is then. */
static bool look(struct file_watch *watch)
{
    struct stat now;
    bool same;

    if (stat(watch->path, &now) < 0)
        memset(&now, 0, sizeof(now));
    same = now.st_dev == watch->seen.st_dev && now.st_ino == watch->seen.st_ino &&
           now.st_size == watch->seen.st_size &&
           now.st_mtimespec.tv_sec == watch->seen.st_mtimespec.tv_sec &&
           now.st_mtimespec.tv_nsec == watch->seen.st_mtimespec.tv_nsec;
    watch->seen = now;
    return !same;
}

static void on_readable(struct loop_source *source, unsigned events)
{
    struct file_watch *watch = CONTAINER_OF(source, struct file_watch, source);
    const struct timespec at_once = {0};
    struct kevent happened[FILE_WALK_STEPS_MAX];

    (void)events;
    if (kevent(source->fd, NULL, 0, happened, FILE_WALK_STEPS_MAX, &at_once) <= 0)
        return;
    close_steps(watch);
    file_walk(watch->path, add_step, watch);
    /* After the walk: what changes from now on is an event. */
    if (look(watch))
        watch->on_change(watch->context);
}

int file_watch_new(struct loop *loop, const char *path, void (*on_change)(void *context),
                   void *context, struct file_watch **ret_watch)
{
    struct file_watch *watch = calloc(1, sizeof(*watch));
    int fd, error;

    if (!watch)
        return -ENOMEM;
    *watch = (struct file_watch){
        .loop = loop,
        .source = {.on_event = on_readable, .fd = -1},
        .path = path,
        .on_change = on_change,
        .context = context,
    };
    fd = kqueue();
    error = fd < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0
                ? -errno
                : loop_add(loop, &watch->source, fd, LOOP_IN);
    if (error < 0) {
        if (fd >= 0)
            close(fd);
        free(watch);
        return error;
    }
    file_walk(watch->path, add_step, watch);
    look(watch);
    *ret_watch = watch;
    return 0;
}

void file_watch_free(struct file_watch *watch)
{
    int fd;

    if (!watch)
        return;
    fd = watch->source.fd;
    loop_remove(watch->loop, &watch->source);
    close(fd);
    close_steps(watch);
    free(watch);
}
