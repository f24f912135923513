/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of libdispatch that programs for vmnet use, by the same names and with the same meaning (the
 * manual pages dispatch(3), dispatch_queue_create(3), dispatch_async(3) and so on of macOS). Installed and used
 * only where the system has no libdispatch.
 *
 * What differs: a queue has no target and no quality of service (what is said of it is accepted); of sources
 * there are those that read, one for a descriptor; a wall clock's time is fixed when the wait begins.
 * What is not here is not declared, so that a program finds out when it is compiled.
 */
#ifndef OPENVMNET_DISPATCH_H
#define OPENVMNET_DISPATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <openvmnet_blocks.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dispatch_queue_s *dispatch_queue_t;
typedef struct dispatch_queue_attr_s *dispatch_queue_attr_t;
typedef struct dispatch_group_s *dispatch_group_t;
typedef struct dispatch_semaphore_s *dispatch_semaphore_t;
typedef struct dispatch_source_s *dispatch_source_t;
typedef const struct dispatch_source_type_s *dispatch_source_type_t;
typedef dispatch_queue_t dispatch_queue_main_t, dispatch_queue_global_t, dispatch_queue_serial_t;

#ifdef __cplusplus
typedef void *dispatch_object_t;
#else
typedef union {
    struct dispatch_object_s *_object;
    struct dispatch_queue_s *_queue;
    struct dispatch_group_s *_group;
    struct dispatch_semaphore_s *_semaphore;
    struct dispatch_source_s *_source;
} dispatch_object_t __attribute__((__transparent_union__));
#endif

typedef void (*dispatch_function_t)(void *context);
OPENVMNET_BLOCK_TYPE(dispatch_block_t, void, void);
OPENVMNET_BLOCK_TYPE(dispatch_apply_block_t, void, size_t);

/* ---- objects: made with one reference */

OPENVMNET_COMPAT_API void dispatch_retain(dispatch_object_t object);
OPENVMNET_COMPAT_API void dispatch_release(dispatch_object_t object);
OPENVMNET_COMPAT_API void *dispatch_get_context(dispatch_object_t object);
OPENVMNET_COMPAT_API void dispatch_set_context(dispatch_object_t object, void *context);
/* Called with the context, where it is not NULL, when the last reference has gone. */
OPENVMNET_COMPAT_API void dispatch_set_finalizer_f(dispatch_object_t object,
                                                   dispatch_function_t finalizer);
/* Of queues and sources; a source is made suspended. */
OPENVMNET_COMPAT_API void dispatch_suspend(dispatch_object_t object);
OPENVMNET_COMPAT_API void dispatch_resume(dispatch_object_t object);
OPENVMNET_COMPAT_API void dispatch_activate(dispatch_object_t object);

/* ---- time */

typedef uint64_t dispatch_time_t;

#define DISPATCH_TIME_NOW UINT64_C(0)
#define DISPATCH_TIME_FOREVER UINT64_MAX
#define NSEC_PER_SEC UINT64_C(1000000000)
#define NSEC_PER_MSEC UINT64_C(1000000)
#define NSEC_PER_USEC UINT64_C(1000)
#define USEC_PER_SEC UINT64_C(1000000)

OPENVMNET_COMPAT_API dispatch_time_t dispatch_time(dispatch_time_t when, int64_t delta_ns);
/* @when NULL: now. */
OPENVMNET_COMPAT_API dispatch_time_t dispatch_walltime(const struct timespec *when,
                                                       int64_t delta_ns);

/* ---- queues */

#define DISPATCH_QUEUE_SERIAL ((dispatch_queue_attr_t)NULL)
#define DISPATCH_QUEUE_CONCURRENT (&_dispatch_queue_attr_concurrent)
#define DISPATCH_TARGET_QUEUE_DEFAULT ((dispatch_queue_t)NULL)
#define DISPATCH_CURRENT_QUEUE_LABEL ((dispatch_queue_t)NULL)
#define DISPATCH_QUEUE_PRIORITY_HIGH 2
#define DISPATCH_QUEUE_PRIORITY_DEFAULT 0
#define DISPATCH_QUEUE_PRIORITY_LOW (-2)
#define DISPATCH_QUEUE_PRIORITY_BACKGROUND INT16_MIN
#define DISPATCH_APPLY_AUTO ((dispatch_queue_t)NULL)

typedef unsigned dispatch_qos_class_t;
enum {
    QOS_CLASS_UNSPECIFIED = 0x00,
    QOS_CLASS_BACKGROUND = 0x09,
    QOS_CLASS_UTILITY = 0x11,
    QOS_CLASS_DEFAULT = 0x15,
    QOS_CLASS_USER_INITIATED = 0x19,
    QOS_CLASS_USER_INTERACTIVE = 0x21,
};

struct dispatch_queue_attr_s {
    unsigned _width;
};
OPENVMNET_COMPAT_API extern struct dispatch_queue_attr_s _dispatch_queue_attr_concurrent;

OPENVMNET_COMPAT_API dispatch_queue_t dispatch_queue_create(const char *label,
                                                            dispatch_queue_attr_t attr);
OPENVMNET_COMPAT_API dispatch_queue_attr_t dispatch_queue_attr_make_with_qos_class(
    dispatch_queue_attr_t attr, dispatch_qos_class_t qos_class, int relative_priority);
/* Of the queue that runs the caller: DISPATCH_CURRENT_QUEUE_LABEL. Never NULL. */
OPENVMNET_COMPAT_API const char *dispatch_queue_get_label(dispatch_queue_t queue);
/* All identifiers are the same queue; NULL where @flags is not 0. */
OPENVMNET_COMPAT_API dispatch_queue_global_t dispatch_get_global_queue(intptr_t identifier,
                                                                       uintptr_t flags);
OPENVMNET_COMPAT_API dispatch_queue_main_t dispatch_get_main_queue(void);
/* Runs the main queue in the calling thread, which has to be the first one. */
OPENVMNET_COMPAT_API void dispatch_main(void) __attribute__((__noreturn__));

OPENVMNET_COMPAT_API void dispatch_async(dispatch_queue_t queue, dispatch_block_t block);
OPENVMNET_COMPAT_API void dispatch_async_f(dispatch_queue_t queue, void *context,
                                           dispatch_function_t work);
/* On the serial queue that runs the caller: ends the program, for it would wait for ever. */
OPENVMNET_COMPAT_API void dispatch_sync(dispatch_queue_t queue, dispatch_block_t block);
OPENVMNET_COMPAT_API void dispatch_sync_f(dispatch_queue_t queue, void *context,
                                          dispatch_function_t work);
OPENVMNET_COMPAT_API void dispatch_barrier_async(dispatch_queue_t queue, dispatch_block_t block);
OPENVMNET_COMPAT_API void dispatch_barrier_async_f(dispatch_queue_t queue, void *context,
                                                   dispatch_function_t work);
OPENVMNET_COMPAT_API void dispatch_barrier_sync(dispatch_queue_t queue, dispatch_block_t block);
OPENVMNET_COMPAT_API void dispatch_barrier_sync_f(dispatch_queue_t queue, void *context,
                                                  dispatch_function_t work);
OPENVMNET_COMPAT_API void dispatch_after(dispatch_time_t when, dispatch_queue_t queue,
                                         dispatch_block_t block);
OPENVMNET_COMPAT_API void dispatch_after_f(dispatch_time_t when, dispatch_queue_t queue,
                                           void *context, dispatch_function_t work);
OPENVMNET_COMPAT_API void dispatch_apply(size_t iterations, dispatch_queue_t queue,
                                         dispatch_apply_block_t block);
OPENVMNET_COMPAT_API void dispatch_apply_f(size_t iterations, dispatch_queue_t queue, void *context,
                                           void (*work)(void *context, size_t iteration));

/* ---- once */

typedef intptr_t dispatch_once_t;

OPENVMNET_COMPAT_API void dispatch_once(dispatch_once_t *predicate, dispatch_block_t block);
OPENVMNET_COMPAT_API void dispatch_once_f(dispatch_once_t *predicate, void *context,
                                          dispatch_function_t work);

/* ---- semaphores */

/* NULL where @value is negative. */
OPENVMNET_COMPAT_API dispatch_semaphore_t dispatch_semaphore_create(intptr_t value);
/* 0, or something else where the time ran out. */
OPENVMNET_COMPAT_API intptr_t dispatch_semaphore_wait(dispatch_semaphore_t semaphore,
                                                      dispatch_time_t timeout);
/* Whether somebody was woken. */
OPENVMNET_COMPAT_API intptr_t dispatch_semaphore_signal(dispatch_semaphore_t semaphore);

/* ---- groups */

OPENVMNET_COMPAT_API dispatch_group_t dispatch_group_create(void);
OPENVMNET_COMPAT_API void dispatch_group_async(dispatch_group_t group, dispatch_queue_t queue,
                                               dispatch_block_t block);
OPENVMNET_COMPAT_API void dispatch_group_async_f(dispatch_group_t group, dispatch_queue_t queue,
                                                 void *context, dispatch_function_t work);
OPENVMNET_COMPAT_API void dispatch_group_enter(dispatch_group_t group);
OPENVMNET_COMPAT_API void dispatch_group_leave(dispatch_group_t group);
OPENVMNET_COMPAT_API intptr_t dispatch_group_wait(dispatch_group_t group, dispatch_time_t timeout);
OPENVMNET_COMPAT_API void dispatch_group_notify(dispatch_group_t group, dispatch_queue_t queue,
                                                dispatch_block_t block);
OPENVMNET_COMPAT_API void dispatch_group_notify_f(dispatch_group_t group, dispatch_queue_t queue,
                                                  void *context, dispatch_function_t work);

/* ---- sources */

struct dispatch_source_type_s {
    int _kind;
};
OPENVMNET_COMPAT_API extern const struct dispatch_source_type_s _dispatch_source_type_read;
#define DISPATCH_SOURCE_TYPE_READ (&_dispatch_source_type_read)

/* @handle: the descriptor, to be closed not before the cancel handler runs. @queue NULL: a global one. */
OPENVMNET_COMPAT_API dispatch_source_t dispatch_source_create(dispatch_source_type_t type,
                                                              uintptr_t handle, uintptr_t mask,
                                                              dispatch_queue_t queue);
/* Handlers are set before the source is resumed first. */
OPENVMNET_COMPAT_API void dispatch_source_set_event_handler(dispatch_source_t source,
                                                            dispatch_block_t handler);
OPENVMNET_COMPAT_API void dispatch_source_set_event_handler_f(dispatch_source_t source,
                                                              dispatch_function_t handler);
OPENVMNET_COMPAT_API void dispatch_source_set_cancel_handler(dispatch_source_t source,
                                                             dispatch_block_t handler);
OPENVMNET_COMPAT_API void dispatch_source_set_cancel_handler_f(dispatch_source_t source,
                                                               dispatch_function_t handler);
OPENVMNET_COMPAT_API void dispatch_source_cancel(dispatch_source_t source);
OPENVMNET_COMPAT_API intptr_t dispatch_source_testcancel(dispatch_source_t source);
OPENVMNET_COMPAT_API uintptr_t dispatch_source_get_handle(dispatch_source_t source);
/* About how many bytes can be read; at least 1 within an event handler. */
OPENVMNET_COMPAT_API uintptr_t dispatch_source_get_data(dispatch_source_t source);

#ifdef __cplusplus
}
#endif

#endif
