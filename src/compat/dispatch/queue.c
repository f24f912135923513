/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queues. A queue holds what was given to it, in order, and the number of pieces that run now. queue_advance()
 * lets the first ones start while there is room: of a serial queue one at a time, of a concurrent one up to
 * the number of threads, of a barrier nothing else. What starts goes to the pool, or, where a thread waits
 * in dispatch_sync() to run it itself, that thread is told that it is its turn. No thread of the pool ever waits
 * for a queue.
 *
 * A queue that has something to do has a reference for each piece.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compat/block.h"
#include "compat/dispatch/internal.h"

struct dispatch_queue_s {
    struct dispatch_object_s object;
    const char *label;
    unsigned width;
    pthread_mutex_t lock;
    struct list items;
    unsigned running, suspended;
    bool barrier_runs, is_main;
};

static void queue_dispose(struct dispatch_object_s *object);
static void queue_suspend(struct dispatch_object_s *object);
static void queue_resume(struct dispatch_object_s *object, bool activate);

static const struct object_class queue_class = {queue_dispose, queue_suspend, queue_resume};

static struct dispatch_queue_s global_queue = {
    .object = {.class = &queue_class},
    .label = "com.apple.root.default-qos",
    .width = POOL_THREADS_MAX,
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .items = {&global_queue.items, &global_queue.items},
};
static struct dispatch_queue_s main_queue = {
    .object = {.class = &queue_class},
    .label = "com.apple.main-thread",
    .width = 1,
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .items = {&main_queue.items, &main_queue.items},
    .is_main = true,
};

struct dispatch_queue_attr_s _dispatch_queue_attr_concurrent = {POOL_THREADS_MAX};

/* The queue whose work the thread runs. */
static _Thread_local struct dispatch_queue_s *current;

static struct dispatch_queue_s *as_queue(struct dispatch_object_s *object)
{
    return CONTAINER_OF(object, struct dispatch_queue_s, object);
}

struct dispatch_queue_s *queue_global(void)
{
    return &global_queue;
}

unsigned queue_width(const struct dispatch_queue_s *queue)
{
    return queue->width;
}

/* ---- the life of a queue */

dispatch_queue_t dispatch_queue_create(const char *label, dispatch_queue_attr_t attr)
{
    size_t len = label ? strlen(label) : 0;
    struct dispatch_queue_s *queue = dispatch_alloc(sizeof(*queue) + len + 1);
    char *copy = (char *)(queue + 1);

    object_init(&queue->object, &queue_class);
    if (label)
        memcpy(copy, label, len + 1);
    queue->label = copy;
    queue->width = attr ? attr->_width : 1;
    pthread_mutex_init(&queue->lock, NULL);
    list_init(&queue->items);
    return queue;
}

static void queue_dispose(struct dispatch_object_s *object)
{
    struct dispatch_queue_s *queue = as_queue(object);

    pthread_mutex_destroy(&queue->lock);
    free(queue);
}

dispatch_queue_attr_t dispatch_queue_attr_make_with_qos_class(dispatch_queue_attr_t attr,
                                                              dispatch_qos_class_t qos_class,
                                                              int relative_priority)
{
    (void)qos_class;
    (void)relative_priority;
    return attr;
}

const char *dispatch_queue_get_label(dispatch_queue_t queue)
{
    if (!queue)
        queue = current;
    return queue ? queue->label : "";
}

dispatch_queue_global_t dispatch_get_global_queue(intptr_t identifier, uintptr_t flags)
{
    (void)identifier;
    return flags ? NULL : &global_queue;
}

dispatch_queue_main_t dispatch_get_main_queue(void)
{
    return &main_queue;
}

/* ---- what runs when */

static bool may_start(const struct dispatch_queue_s *queue, bool barrier)
{
    return !queue->suspended && !queue->barrier_runs &&
           queue->running < (barrier ? 1 : queue->width);
}

/* With the lock held. */
static void queue_start(struct dispatch_queue_s *queue, bool barrier)
{
    queue->running++;
    queue->barrier_runs = barrier;
}

/* With the lock held: starts what may. */
static void queue_advance(struct dispatch_queue_s *queue)
{
    while (!list_is_empty(&queue->items)) {
        struct item *item = CONTAINER_OF(queue->items.next, struct item, list);

        if (!may_start(queue, item->barrier))
            return;
        list_remove(&item->list);
        queue_start(queue, item->barrier);
        if (item->turn) {
            item->is_turn = true;
            pthread_cond_signal(item->turn);
        } else {
            pool_submit(item, queue->is_main);
        }
    }
}

/* One piece has run. */
static void queue_finish(struct dispatch_queue_s *queue)
{
    pthread_mutex_lock(&queue->lock);
    queue->running--;
    queue->barrier_runs = false;
    queue_advance(queue);
    pthread_mutex_unlock(&queue->lock);
}

static void queue_suspend(struct dispatch_object_s *object)
{
    struct dispatch_queue_s *queue = as_queue(object);

    pthread_mutex_lock(&queue->lock);
    queue->suspended++;
    pthread_mutex_unlock(&queue->lock);
}

static void queue_resume(struct dispatch_object_s *object, bool activate)
{
    struct dispatch_queue_s *queue = as_queue(object);

    if (activate)
        return; /* a queue is active from the start */
    pthread_mutex_lock(&queue->lock);
    if (!queue->suspended)
        dispatch_die("a queue is resumed more often than it was suspended");
    queue->suspended--;
    queue_advance(queue);
    pthread_mutex_unlock(&queue->lock);
}

static void run_on(struct dispatch_queue_s *queue, const struct work *work)
{
    struct dispatch_queue_s *before = current;

    current = queue;
    work_run(work);
    current = before;
}

void item_run(struct item *item)
{
    struct dispatch_queue_s *queue = item->queue;
    struct dispatch_group_s *group = item->group;

    run_on(queue, &item->work);
    free(item);
    queue_finish(queue);
    if (group)
        group_leave(group);
    object_release(&queue->object);
}

void queue_async(struct dispatch_queue_s *queue, struct work work, bool barrier,
                 struct dispatch_group_s *group)
{
    struct item *item = dispatch_alloc(sizeof(*item));

    *item = (struct item){.work = work, .queue = queue, .barrier = barrier, .group = group};
    object_retain(&queue->object);
    if (group)
        group_enter(group);
    pthread_mutex_lock(&queue->lock);
    list_append(&queue->items, &item->list);
    queue_advance(queue);
    pthread_mutex_unlock(&queue->lock);
}

/* ---- dispatch_sync() */

struct remote {
    struct work work;
    dispatch_semaphore_t done;
};

static void run_remote(void *context)
{
    struct remote *remote = context;

    work_run(&remote->work);
    dispatch_semaphore_signal(remote->done);
}

/* What belongs to the main thread runs there. */
static void sync_main(const struct work *work)
{
    struct remote remote = {*work, dispatch_semaphore_create(0)};

    queue_async(&main_queue, work_of_function(run_remote, &remote), false, NULL);
    dispatch_semaphore_wait(remote.done, DISPATCH_TIME_FOREVER);
    dispatch_release(remote.done);
}

static void queue_sync(struct dispatch_queue_s *queue, struct work work, bool barrier)
{
    if (current == queue && (queue->width == 1 || barrier))
        dispatch_die("dispatch_sync on the queue that runs the caller would wait for itself");
    if (queue->is_main) {
        sync_main(&work);
        return;
    }
    object_retain(&queue->object);
    pthread_mutex_lock(&queue->lock);
    if (list_is_empty(&queue->items) && may_start(queue, barrier)) {
        queue_start(queue, barrier);
    } else {
        pthread_cond_t turn = PTHREAD_COND_INITIALIZER;
        struct item item = {.queue = queue, .barrier = barrier, .turn = &turn};

        list_append(&queue->items, &item.list);
        queue_advance(queue);
        while (!item.is_turn)
            pthread_cond_wait(&turn, &queue->lock);
        pthread_cond_destroy(&turn);
    }
    pthread_mutex_unlock(&queue->lock);
    run_on(queue, &work);
    queue_finish(queue);
    object_release(&queue->object);
}

/* ---- the calls. A block that runs before they return needs no copy. */

void dispatch_async(dispatch_queue_t queue, dispatch_block_t block)
{
    queue_async(queue, work_of_block(block), false, NULL);
}

void dispatch_async_f(dispatch_queue_t queue, void *context, dispatch_function_t work)
{
    queue_async(queue, work_of_function(work, context), false, NULL);
}

void dispatch_sync(dispatch_queue_t queue, dispatch_block_t block)
{
    queue_sync(queue, work_of_function(block_run, (void *)block), false);
}

void dispatch_sync_f(dispatch_queue_t queue, void *context, dispatch_function_t work)
{
    queue_sync(queue, work_of_function(work, context), false);
}

/* On a global queue a barrier is none, for others depend on that. */
static bool is_barrier(const struct dispatch_queue_s *queue)
{
    return queue != &global_queue;
}

void dispatch_barrier_async(dispatch_queue_t queue, dispatch_block_t block)
{
    queue_async(queue, work_of_block(block), is_barrier(queue), NULL);
}

void dispatch_barrier_async_f(dispatch_queue_t queue, void *context, dispatch_function_t work)
{
    queue_async(queue, work_of_function(work, context), is_barrier(queue), NULL);
}

void dispatch_barrier_sync(dispatch_queue_t queue, dispatch_block_t block)
{
    queue_sync(queue, work_of_function(block_run, (void *)block), is_barrier(queue));
}

void dispatch_barrier_sync_f(dispatch_queue_t queue, void *context, dispatch_function_t work)
{
    queue_sync(queue, work_of_function(work, context), is_barrier(queue));
}

void dispatch_after(dispatch_time_t when, dispatch_queue_t queue, dispatch_block_t block)
{
    manager_add_timer(time_deadline_ns(when), queue, work_of_block(block));
}

void dispatch_after_f(dispatch_time_t when, dispatch_queue_t queue, void *context,
                      dispatch_function_t work)
{
    manager_add_timer(time_deadline_ns(when), queue, work_of_function(work, context));
}
