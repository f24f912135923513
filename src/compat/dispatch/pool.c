/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The threads that run what queues have ready, made when there is more to do than threads that wait for it,
 * and up to a bound. They end when they have been idle for some seconds. What the main queue has ready is run
 * by the thread that called dispatch_main(), by the same loop.
 */
#include <signal.h>
#include <stdlib.h>

#include "compat/dispatch/internal.h"

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t ready;
    struct list items;
    unsigned pending, waiting, threads, threads_max;
};

/*
 * The second is the main thread's, which comes by itself. An array, whose index is computed: of two variables a
 * compiler may read both to choose between them, and then a thread sanitizer sees what the program does not do.
 */
static struct pool pools[] = {
    {.lock = PTHREAD_MUTEX_INITIALIZER,
     .items = {&pools[0].items, &pools[0].items},
     .threads_max = POOL_THREADS_MAX},
    {.lock = PTHREAD_MUTEX_INITIALIZER, .items = {&pools[1].items, &pools[1].items}}};
static struct pool *const workers = &pools[0], *const main_thread = &pools[1];
static pthread_once_t initialized = PTHREAD_ONCE_INIT;

static void initialize(void)
{
    cond_init(&workers->ready);
    cond_init(&main_thread->ready);
}

void pool_start_thread(void *(*run)(void *argument))
{
    pthread_attr_t attributes;
    sigset_t all, before;
    pthread_t thread;
    int error;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    error = pthread_create(&thread, &attributes, run, NULL);
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error)
        dispatch_die("cannot start a thread: see the limits of processes (ulimit -u) and memory");
}

/* The next item, or NULL after POOL_IDLE_S; with the lock held. */
static struct item *next_item(struct pool *pool, bool may_end)
{
    uint64_t deadline_ns =
        may_end ? time_now_ns() + POOL_IDLE_S * NSEC_PER_SEC : DISPATCH_TIME_FOREVER;
    struct item *item;

    while (list_is_empty(&pool->items)) {
        bool in_time;

        pool->waiting++;
        in_time = cond_wait_until(&pool->ready, &pool->lock, deadline_ns);
        pool->waiting--;
        if (!in_time && list_is_empty(&pool->items))
            return NULL;
    }
    item = CONTAINER_OF(pool->items.next, struct item, list);
    list_remove(&item->list);
    pool->pending--;
    return item;
}

static void *run_worker(void *argument)
{
    struct item *item;

    (void)argument;
    pthread_mutex_lock(&workers->lock);
    while ((item = next_item(workers, true))) {
        pthread_mutex_unlock(&workers->lock);
        item_run(item);
        pthread_mutex_lock(&workers->lock);
    }
    workers->threads--;
    pthread_mutex_unlock(&workers->lock);
    return NULL;
}

void pool_submit(struct item *item, bool main_queue)
{
    struct pool *pool = &pools[main_queue];
    bool start;

    pthread_once(&initialized, initialize);
    pthread_mutex_lock(&pool->lock);
    list_append(&pool->items, &item->list);
    pool->pending++;
    start = pool->pending > pool->waiting && pool->threads < pool->threads_max;
    pool->threads += start;
    if (!start)
        pthread_cond_signal(&pool->ready);
    pthread_mutex_unlock(&pool->lock);
    if (start)
        pool_start_thread(run_worker);
}

void dispatch_main(void)
{
    pthread_once(&initialized, initialize);
    for (;;) {
        struct item *item;

        pthread_mutex_lock(&main_thread->lock);
        item = next_item(main_thread, false);
        pthread_mutex_unlock(&main_thread->lock);
        item_run(item);
    }
}
