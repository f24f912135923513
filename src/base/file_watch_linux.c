/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inotify(7) watches files, not names. So each folder on the way over the links is watched for the name of the
 * next step, and the file itself, for a name may be a mount whose changes its folder does not tell. When
 * anything has happened the way is walked anew.
 */
#include "base/file_watch.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/file_walk.h"
#include "base/table.h"

#define FOLDER_EVENTS                                                                              \
    (IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CLOSE_WRITE | IN_DELETE_SELF |       \
     IN_MOVE_SELF | IN_ONLYDIR)
#define FILE_EVENTS (IN_CLOSE_WRITE | IN_DELETE_SELF | IN_MOVE_SELF)

struct step {
    int wd;
    char name[NAME_MAX + 1]; /* in a folder; "": whatever happens counts */
};

struct file_watch {
    struct loop *loop;
    struct loop_source source;
    const char *path;
    void (*on_change)(void *context);
    void *context;
    struct step steps[FILE_WALK_STEPS_MAX];
    unsigned steps_len;
};

static bool add_step(void *context, const char *path, const char *name)
{
    struct file_watch *watch = context;
    struct step *step = &watch->steps[watch->steps_len];

    if (watch->steps_len == FILE_WALK_STEPS_MAX)
        return false;
    /* Two steps may be in one folder: what is wanted is added up. */
    step->wd = inotify_add_watch(watch->source.fd, path,
                                 (name ? FOLDER_EVENTS : FILE_EVENTS) | IN_MASK_ADD);
    if (step->wd < 0)
        return false;
    snprintf(step->name, sizeof(step->name), "%s", name ? name : "");
    watch->steps_len++;
    return true;
}

static bool concerns(const struct file_watch *watch, const struct inotify_event *event)
{
    if (event->mask & (IN_Q_OVERFLOW | IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF))
        return true;
    for (unsigned i = 0; i < watch->steps_len; i++)
        if (watch->steps[i].wd == event->wd && (!watch->steps[i].name[0] || !event->len ||
                                                strcmp(watch->steps[i].name, event->name) == 0))
            return true;
    return false;
}

static void on_readable(struct loop_source *source, unsigned events)
{
    struct file_watch *watch = CONTAINER_OF(source, struct file_watch, source);
    char buf[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    bool changed = false;
    ssize_t len;

    while ((len = read(source->fd, buf, sizeof(buf))) > 0) {
        for (char *at = buf; at < buf + len;) {
            const struct inotify_event *event = (const struct inotify_event *)(void *)at;

            changed = changed || concerns(watch, event);
            at += sizeof(*event) + event->len;
        }
    }
    if (!changed)
        return;
    for (unsigned i = 0; i < watch->steps_len; i++)
        inotify_rm_watch(source->fd, watch->steps[i].wd);
    watch->steps_len = 0;
    /* What removing them has said is not news. */
    while (read(source->fd, buf, sizeof(buf)) > 0)
        ;
    file_walk(watch->path, add_step, watch);
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
    fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    error = fd < 0 ? -errno : loop_add(loop, &watch->source, fd, LOOP_IN);
    if (error < 0) {
        if (fd >= 0)
            close(fd);
        free(watch);
        return error;
    }
    file_walk(watch->path, add_step, watch);
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
    free(watch);
}
