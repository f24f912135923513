/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The manager: one thread that waits for descriptors that can be read and for times that have come, and puts
 * what is to be done then into its queue. It starts with the first source or timer.
 *
 * A source is armed for one event (EPOLLONESHOT). Its handler runs on its queue; when that has returned it is
 * armed again, and as epoll is asked for levels it comes again while there is something to read. Who is
 * cancelled is out of epoll when dispatch_source_cancel() returns, and the cancel handler is put into the queue
 * behind the handler that may still run. The manager's lock guards all sources; epoll names a source by a
 * number, so an event of one that is gone finds nothing.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "compat/block.h"
#include "compat/dispatch/internal.h"

#define EVENTS_MAX 64
#define WAKE_ID 0

struct timer {
    struct timer *next; /* the next to come */
    uint64_t deadline_ns;
    struct dispatch_queue_s *queue; /* a reference */
    struct work work;
};

struct dispatch_source_s {
    struct dispatch_object_s object;
    struct list list; /* of all that were resumed and not cancelled; they have a reference */
    uint64_t id;
    int fd;
    struct dispatch_queue_s *queue; /* a reference */
    struct work on_event, on_cancel;
    unsigned suspended;
    atomic_bool canceled;
    bool registered;
    bool queued;    /* its handler is on its way */
    bool available; /* and there was something while it was suspended */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t started = PTHREAD_ONCE_INIT;
static int epoll_fd = -1, wake_fd = -1;
static struct timer *timers;
static struct list sources = {&sources, &sources};
static uint64_t last_id = WAKE_ID;

const struct dispatch_source_type_s _dispatch_source_type_read = {1};

static void *run_manager(void *argument);

static void start_manager(void)
{
    struct epoll_event wake = {.events = EPOLLIN, .data.u64 = WAKE_ID};

    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (epoll_fd < 0 || wake_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, wake_fd, &wake) < 0)
        dispatch_die("no descriptors are left");
    pool_start_thread(run_manager);
}

/* ---- times */

void manager_add_timer(uint64_t deadline_ns, struct dispatch_queue_s *queue, struct work work)
{
    struct timer *timer = dispatch_alloc(sizeof(*timer)), **at = &timers;
    bool first;

    pthread_once(&started, start_manager);
    object_retain((struct dispatch_object_s *)queue);
    *timer = (struct timer){.deadline_ns = deadline_ns, .queue = queue, .work = work};
    pthread_mutex_lock(&lock);
    while (*at && (*at)->deadline_ns <= deadline_ns)
        at = &(*at)->next;
    timer->next = *at;
    *at = timer;
    first = timers == timer;
    pthread_mutex_unlock(&lock);
    if (first)
        (void)!write(wake_fd, &(uint64_t){1}, sizeof(uint64_t));
}

/* Puts what is due into its queue. Milliseconds until the next, rounded up; -1: there is none. */
static int run_timers(void)
{
    uint64_t now_ns = time_now_ns(), left_ms;

    pthread_mutex_lock(&lock);
    while (timers && timers->deadline_ns <= now_ns) {
        struct timer *timer = timers;

        timers = timer->next;
        queue_async(timer->queue, timer->work, false, NULL);
        object_release((struct dispatch_object_s *)timer->queue);
        free(timer);
    }
    left_ms = timers && timers->deadline_ns != DISPATCH_TIME_FOREVER
                  ? (timers->deadline_ns - now_ns + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC
                  : UINT64_MAX;
    pthread_mutex_unlock(&lock);
    return left_ms == UINT64_MAX ? -1 : left_ms > 3600000 ? 3600000 : (int)left_ms;
}

/* ---- sources; what is static here is called with the lock held, unless it says otherwise */

static void source_arm(struct dispatch_source_s *source)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLONESHOT,
                                .data.u64 = source->id};
    int what = source->registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

    if (epoll_ctl(epoll_fd, what, source->fd, &event) < 0)
        dispatch_die(errno == EEXIST ? "there is a source for this descriptor already"
                                     : "a source's descriptor is closed, or a file");
    source->registered = true;
}

/* A function gets the source's context as it is at this time. Without the lock. */
static void handler_run(struct dispatch_source_s *source, const struct work *handler)
{
    if (handler->run)
        handler->run(handler->is_block ? handler->context : source->object.context);
}

static void set_work(struct work *work, struct work new_work)
{
    struct work old = *work;

    *work = new_work;
    if (old.is_block)
        block_release(old.context);
}

/* On the source's queue, without the lock. What the handlers hold, often the source, is let go. */
static void run_cancel(void *context)
{
    struct dispatch_source_s *source = context;

    handler_run(source, &source->on_cancel);
    set_work(&source->on_event, (struct work){0});
    set_work(&source->on_cancel, (struct work){0});
    object_release(&source->object);
}

static void source_queue_cancel(struct dispatch_source_s *source)
{
    object_retain(&source->object);
    queue_async(source->queue, work_of_function(run_cancel, source), false, NULL);
}

/* On the source's queue, without the lock. */
static void source_run(void *context)
{
    struct dispatch_source_s *source = context;

    if (!source->canceled)
        handler_run(source, &source->on_event);
    pthread_mutex_lock(&lock);
    source->queued = false;
    if (source->canceled)
        source_queue_cancel(source);
    else if (source->suspended)
        source->available = true;
    else
        source_arm(source);
    pthread_mutex_unlock(&lock);
    object_release(&source->object);
}

static void source_queue(struct dispatch_source_s *source)
{
    if (source->queued)
        return;
    source->queued = true;
    source->available = false;
    object_retain(&source->object);
    queue_async(source->queue, work_of_function(source_run, source), false, NULL);
}

static void source_on_ready(uint64_t id)
{
    for (struct list *at = sources.next; at != &sources; at = at->next) {
        struct dispatch_source_s *source = CONTAINER_OF(at, struct dispatch_source_s, list);

        if (source->id != id)
            continue;
        source->available = true;
        if (!source->suspended)
            source_queue(source);
        return;
    }
}

/* The manager's thread, without the lock. */
static void *run_manager(void *argument)
{
    struct epoll_event events[EVENTS_MAX];

    (void)argument;
    for (;;) {
        int len = epoll_wait(epoll_fd, events, EVENTS_MAX, run_timers());

        for (int i = 0; i < len; i++) {
            uint64_t count;

            if (events[i].data.u64 == WAKE_ID) {
                (void)!read(wake_fd, &count, sizeof(count));
                continue;
            }
            pthread_mutex_lock(&lock);
            source_on_ready(events[i].data.u64);
            pthread_mutex_unlock(&lock);
        }
    }
    return NULL;
}

static struct dispatch_source_s *as_source(struct dispatch_object_s *object)
{
    return CONTAINER_OF(object, struct dispatch_source_s, object);
}

/* Without the lock; nobody else knows it any more. */
static void source_dispose(struct dispatch_object_s *object)
{
    struct dispatch_source_s *source = as_source(object);

    if (source->on_event.is_block)
        block_release(source->on_event.context);
    if (source->on_cancel.is_block)
        block_release(source->on_cancel.context);
    object_release((struct dispatch_object_s *)source->queue);
    free(source);
}

static void source_suspend(struct dispatch_object_s *object)
{
    pthread_mutex_lock(&lock);
    as_source(object)->suspended++;
    pthread_mutex_unlock(&lock);
}

static void source_resume(struct dispatch_object_s *object, bool activate)
{
    struct dispatch_source_s *source = as_source(object);
    bool ends = false;

    pthread_mutex_lock(&lock);
    if (activate && source->id) {
        pthread_mutex_unlock(&lock);
        return; /* it is active */
    }
    if (!source->suspended)
        dispatch_die("a source is resumed more often than it was suspended");
    ends = --source->suspended == 0;
    if (ends && !source->canceled) {
        if (!source->id) {
            source->id = ++last_id;
            object_retain(&source->object);
            list_append(&sources, &source->list);
            source_arm(source);
        } else if (source->available && !source->queued) {
            source->available = false;
            source_arm(source);
        }
    }
    pthread_mutex_unlock(&lock);
}

static const struct object_class source_class = {source_dispose, source_suspend, source_resume};

dispatch_source_t dispatch_source_create(dispatch_source_type_t type, uintptr_t handle,
                                         uintptr_t mask, dispatch_queue_t queue)
{
    struct dispatch_source_s *source;

    (void)mask;
    if (type != DISPATCH_SOURCE_TYPE_READ)
        return NULL;
    pthread_once(&started, start_manager);
    source = dispatch_alloc(sizeof(*source));
    object_init(&source->object, &source_class);
    source->fd = (int)handle;
    source->queue = queue ? queue : queue_global();
    source->suspended = 1;
    object_retain((struct dispatch_object_s *)source->queue);
    list_init(&source->list);
    return source;
}

void dispatch_source_set_event_handler(dispatch_source_t source, dispatch_block_t handler)
{
    set_work(&source->on_event, work_of_block(handler));
}

void dispatch_source_set_cancel_handler(dispatch_source_t source, dispatch_block_t handler)
{
    set_work(&source->on_cancel, work_of_block(handler));
}

void dispatch_source_set_event_handler_f(dispatch_source_t source, dispatch_function_t handler)
{
    set_work(&source->on_event, work_of_function(handler, NULL));
}

void dispatch_source_set_cancel_handler_f(dispatch_source_t source, dispatch_function_t handler)
{
    set_work(&source->on_cancel, work_of_function(handler, NULL));
}

void dispatch_source_cancel(dispatch_source_t source)
{
    bool was_active;

    pthread_mutex_lock(&lock);
    if (atomic_exchange(&source->canceled, true)) {
        pthread_mutex_unlock(&lock);
        return;
    }
    was_active = source->id != 0;
    if (source->registered)
        epoll_ctl(epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
    list_remove(&source->list);
    if (!source->queued)
        source_queue_cancel(source);
    pthread_mutex_unlock(&lock);
    if (was_active)
        object_release(&source->object);
}

intptr_t dispatch_source_testcancel(dispatch_source_t source)
{
    return source->canceled;
}

uintptr_t dispatch_source_get_handle(dispatch_source_t source)
{
    return (uintptr_t)source->fd;
}

uintptr_t dispatch_source_get_data(dispatch_source_t source)
{
    int bytes = 0;

    return ioctl(source->fd, FIONREAD, &bytes) == 0 && bytes > 0 ? (uintptr_t)bytes : 1;
}
