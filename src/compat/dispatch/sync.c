/* SPDX-License-Identifier: Apache-2.0 */
/* What threads wait for: once, semaphores, groups, and an apply's iterations. */
#include <stdlib.h>
#include <unistd.h>

#include "compat/block.h"
#include "compat/dispatch/internal.h"

/* ---- once */

enum {
    ONCE_RUNS = 1,
    ONCE_DONE = -1
};

static pthread_mutex_t once_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t once_done = PTHREAD_COND_INITIALIZER;

void dispatch_once_f(dispatch_once_t *predicate, void *context, dispatch_function_t work)
{
    if (__atomic_load_n(predicate, __ATOMIC_ACQUIRE) == ONCE_DONE)
        return;
    pthread_mutex_lock(&once_lock);
    while (*predicate == ONCE_RUNS)
        pthread_cond_wait(&once_done, &once_lock);
    if (*predicate != ONCE_DONE) {
        __atomic_store_n(predicate, ONCE_RUNS, __ATOMIC_RELAXED);
        pthread_mutex_unlock(&once_lock);
        work(context);
        pthread_mutex_lock(&once_lock);
        __atomic_store_n(predicate, ONCE_DONE, __ATOMIC_RELEASE);
        pthread_cond_broadcast(&once_done);
    }
    pthread_mutex_unlock(&once_lock);
}

void dispatch_once(dispatch_once_t *predicate, dispatch_block_t block)
{
    dispatch_once_f(predicate, (void *)block, block_run);
}

/* ---- semaphores */

struct dispatch_semaphore_s {
    struct dispatch_object_s object;
    pthread_mutex_t lock;
    pthread_cond_t above_zero;
    intptr_t value, waiting;
};

static void semaphore_dispose(struct dispatch_object_s *object)
{
    struct dispatch_semaphore_s *semaphore =
        CONTAINER_OF(object, struct dispatch_semaphore_s, object);

    pthread_cond_destroy(&semaphore->above_zero);
    pthread_mutex_destroy(&semaphore->lock);
    free(semaphore);
}

static const struct object_class semaphore_class = {.dispose = semaphore_dispose};

dispatch_semaphore_t dispatch_semaphore_create(intptr_t value)
{
    struct dispatch_semaphore_s *semaphore;

    if (value < 0)
        return NULL;
    semaphore = dispatch_alloc(sizeof(*semaphore));
    object_init(&semaphore->object, &semaphore_class);
    pthread_mutex_init(&semaphore->lock, NULL);
    cond_init(&semaphore->above_zero);
    semaphore->value = value;
    return semaphore;
}

intptr_t dispatch_semaphore_wait(dispatch_semaphore_t semaphore, dispatch_time_t timeout)
{
    uint64_t deadline_ns = time_deadline_ns(timeout);
    bool in_time = true;

    pthread_mutex_lock(&semaphore->lock);
    semaphore->waiting++;
    while (semaphore->value == 0 && in_time)
        in_time = cond_wait_until(&semaphore->above_zero, &semaphore->lock, deadline_ns);
    semaphore->waiting--;
    in_time = semaphore->value > 0;
    semaphore->value -= in_time;
    pthread_mutex_unlock(&semaphore->lock);
    return !in_time;
}

intptr_t dispatch_semaphore_signal(dispatch_semaphore_t semaphore)
{
    intptr_t wakes;

    /* Who was woken may release the semaphore, and the lock with it. */
    object_retain(&semaphore->object);
    pthread_mutex_lock(&semaphore->lock);
    wakes = semaphore->waiting > semaphore->value;
    semaphore->value++;
    pthread_cond_signal(&semaphore->above_zero);
    pthread_mutex_unlock(&semaphore->lock);
    object_release(&semaphore->object);
    return wakes;
}

/* ---- groups */

struct notice {
    struct notice *next;
    struct dispatch_queue_s *queue;
    struct work work;
};

/* While somebody is in it, it has a reference to itself. */
struct dispatch_group_s {
    struct dispatch_object_s object;
    pthread_mutex_t lock;
    pthread_cond_t empty;
    unsigned long inside;
    struct notice *notices, **notices_end;
};

static void group_dispose(struct dispatch_object_s *object)
{
    struct dispatch_group_s *group = CONTAINER_OF(object, struct dispatch_group_s, object);

    pthread_cond_destroy(&group->empty);
    pthread_mutex_destroy(&group->lock);
    free(group);
}

static const struct object_class group_class = {.dispose = group_dispose};

dispatch_group_t dispatch_group_create(void)
{
    struct dispatch_group_s *group = dispatch_alloc(sizeof(*group));

    object_init(&group->object, &group_class);
    pthread_mutex_init(&group->lock, NULL);
    cond_init(&group->empty);
    group->notices_end = &group->notices;
    return group;
}

void group_enter(struct dispatch_group_s *group)
{
    pthread_mutex_lock(&group->lock);
    if (group->inside++ == 0)
        object_retain(&group->object);
    pthread_mutex_unlock(&group->lock);
}

/* With the lock held: what is to be done when the group is empty. */
static struct notice *take_notices(struct dispatch_group_s *group)
{
    struct notice *notices = group->notices;

    group->notices = NULL;
    group->notices_end = &group->notices;
    return notices;
}

static void send_notices(struct notice *notices)
{
    while (notices) {
        struct notice *notice = notices;

        notices = notice->next;
        queue_async(notice->queue, notice->work, false, NULL);
        object_release((struct dispatch_object_s *)notice->queue);
        free(notice);
    }
}

void group_leave(struct dispatch_group_s *group)
{
    struct notice *notices = NULL;
    bool empty;

    pthread_mutex_lock(&group->lock);
    if (group->inside == 0)
        dispatch_die("a group is left more often than it was entered");
    empty = --group->inside == 0;
    if (empty) {
        notices = take_notices(group);
        pthread_cond_broadcast(&group->empty);
    }
    pthread_mutex_unlock(&group->lock);
    send_notices(notices);
    if (empty)
        object_release(&group->object);
}

void dispatch_group_enter(dispatch_group_t group)
{
    group_enter(group);
}

void dispatch_group_leave(dispatch_group_t group)
{
    group_leave(group);
}

void dispatch_group_async(dispatch_group_t group, dispatch_queue_t queue, dispatch_block_t block)
{
    queue_async(queue, work_of_block(block), false, group);
}

void dispatch_group_async_f(dispatch_group_t group, dispatch_queue_t queue, void *context,
                            dispatch_function_t work)
{
    queue_async(queue, work_of_function(work, context), false, group);
}

intptr_t dispatch_group_wait(dispatch_group_t group, dispatch_time_t timeout)
{
    uint64_t deadline_ns = time_deadline_ns(timeout);
    bool in_time = true, empty;

    pthread_mutex_lock(&group->lock);
    while (group->inside && in_time)
        in_time = cond_wait_until(&group->empty, &group->lock, deadline_ns);
    empty = group->inside == 0;
    pthread_mutex_unlock(&group->lock);
    return !empty;
}

static void group_notify(struct dispatch_group_s *group, struct dispatch_queue_s *queue,
                         struct work work)
{
    struct notice *notice = dispatch_alloc(sizeof(*notice)), *now = NULL;

    *notice = (struct notice){.queue = queue, .work = work};
    object_retain((struct dispatch_object_s *)queue);
    pthread_mutex_lock(&group->lock);
    *group->notices_end = notice;
    group->notices_end = &notice->next;
    if (group->inside == 0)
        now = take_notices(group);
    pthread_mutex_unlock(&group->lock);
    send_notices(now);
}

void dispatch_group_notify(dispatch_group_t group, dispatch_queue_t queue, dispatch_block_t block)
{
    group_notify(group, queue, work_of_block(block));
}

void dispatch_group_notify_f(dispatch_group_t group, dispatch_queue_t queue, void *context,
                             dispatch_function_t work)
{
    group_notify(group, queue, work_of_function(work, context));
}

/* ---- apply: the caller works too, so it ends even where the pool is full */

struct apply {
    size_t iterations;
    void *context;
    void (*work)(void *context, size_t iteration);
    atomic_size_t next, done;
    atomic_uint refs;
    dispatch_semaphore_t all_done;
};

static void apply_run(void *context)
{
    struct apply *apply = context;
    size_t iteration;

    while ((iteration = atomic_fetch_add(&apply->next, 1)) < apply->iterations) {
        apply->work(apply->context, iteration);
        if (atomic_fetch_add(&apply->done, 1) + 1 == apply->iterations)
            dispatch_semaphore_signal(apply->all_done);
    }
    if (atomic_fetch_sub(&apply->refs, 1) == 1) {
        dispatch_release(apply->all_done);
        free(apply);
    }
}

void dispatch_apply_f(size_t iterations, dispatch_queue_t queue, void *context,
                      void (*work)(void *context, size_t iteration))
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    size_t helpers = cpus > 1 ? (size_t)cpus - 1 : 0;
    dispatch_semaphore_t all_done;
    struct apply *apply;

    if (!queue)
        queue = queue_global();
    if (iterations == 0)
        return;
    if (queue_width(queue) == 1 || helpers > iterations - 1)
        helpers = queue_width(queue) == 1 ? 0 : iterations - 1;
    apply = dispatch_alloc(sizeof(*apply));
    all_done = dispatch_semaphore_create(0);
    apply->iterations = iterations;
    apply->context = context;
    apply->work = work;
    apply->all_done = all_done;
    atomic_init(&apply->refs, (unsigned)helpers + 1);
    dispatch_retain(all_done);
    for (size_t i = 0; i < helpers; i++)
        queue_async(queue, work_of_function(apply_run, apply), false, NULL);
    if (queue_width(queue) == 1)
        dispatch_sync_f(queue, apply, apply_run);
    else
        apply_run(apply);
    dispatch_semaphore_wait(all_done, DISPATCH_TIME_FOREVER);
    dispatch_release(all_done);
}

static void apply_block(void *block, size_t iteration)
{
    BLOCK_CALL(void (*)(void *, size_t), block, iteration);
}

void dispatch_apply(size_t iterations, dispatch_queue_t queue, dispatch_apply_block_t block)
{
    dispatch_apply_f(iterations, queue, (void *)block, apply_block);
}
