/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this folder share. dispatch.h is the reference for what it is good for. */
#ifndef OPENVMNET_COMPAT_DISPATCH_INTERNAL_H
#define OPENVMNET_COMPAT_DISPATCH_INTERNAL_H

#include <dispatch/dispatch.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/table.h"

#define POOL_THREADS_MAX 64 /* of all queues together; what is beyond waits */
#define POOL_IDLE_S 5       /* then a thread that has nothing to do ends */

/* ---- objects: each begins with one of these */

struct dispatch_object_s;

struct object_class {
    void (*dispose)(struct dispatch_object_s *object); /* frees it */
    void (*suspend)(struct dispatch_object_s *object); /* or NULL */
    void (*resume)(struct dispatch_object_s *object, bool activate);
};

struct dispatch_object_s {
    const struct object_class *class;
    atomic_uint refs; /* 0: there is always one of it */
    void *_Atomic context;
    dispatch_function_t finalizer;
};

void object_init(struct dispatch_object_s *object, const struct object_class *class);
void object_retain(struct dispatch_object_s *object);
void object_release(struct dispatch_object_s *object);

/* Ends the program: its own mistake, which cannot be told otherwise, or no memory. */
void dispatch_die(const char *why) __attribute__((noreturn));
/* Never NULL. */
void *dispatch_alloc(size_t size);

/* ---- work */

/* A block, or a function with its context. */
struct work {
    dispatch_function_t run;
    void *context;
    bool is_block; /* the context is a copy of a block, released after it has run */
};

struct work work_of_block(const void *block);
static inline struct work work_of_function(dispatch_function_t run, void *context)
{
    return (struct work){run, context, false};
}
/* Runs it and lets its block go. */
void work_run(const struct work *work);

/* One piece of work on its way through a queue. */
struct item {
    struct list list;
    struct work work;
    struct dispatch_queue_s *queue; /* a reference */
    struct dispatch_group_s *group; /* a reference, left when it has run; or NULL */
    pthread_cond_t *turn;           /* of the thread that runs it itself (dispatch_sync), or NULL */
    bool is_turn;
    bool barrier;
};

/* Takes a reference to @queue. */
void queue_async(struct dispatch_queue_s *queue, struct work work, bool barrier,
                 struct dispatch_group_s *group);
/* The queue that takes what names none. */
struct dispatch_queue_s *queue_global(void);
/* Of a serial queue 1. */
unsigned queue_width(const struct dispatch_queue_s *queue);

/* ---- threads */

/* Has a thread run @item by item_run(); in the main queue's case that of dispatch_main(). */
void pool_submit(struct item *item, bool main_queue);
/* Runs @item, lets its queue go on, frees it. */
void item_run(struct item *item);
/* A thread of ours, which takes no signals of the program's. */
void pool_start_thread(void *(*run)(void *argument));

/* ---- time */

/* When @when is on CLOCK_MONOTONIC, in nanoseconds; UINT64_MAX: never. */
uint64_t time_deadline_ns(dispatch_time_t when);
uint64_t time_now_ns(void);
/* A condition for the deadlines of cond_wait_until(). */
void cond_init(pthread_cond_t *cond);
/* False where the time has run out. */
bool cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t deadline_ns);

/* ---- the manager: the one thread that waits for descriptors and times */

/* Has @work run on @queue at @deadline_ns. */
void manager_add_timer(uint64_t deadline_ns, struct dispatch_queue_s *queue, struct work work);

/* ---- groups */

void group_enter(struct dispatch_group_s *group);
void group_leave(struct dispatch_group_s *group);

#endif
