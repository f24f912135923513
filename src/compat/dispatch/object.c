/* SPDX-License-Identifier: Apache-2.0 */
/* What queues, groups, semaphores and sources have in common: references, a context, a finalizer. */
#include <stdio.h>
#include <stdlib.h>

#include "compat/block.h"
#include "compat/dispatch/internal.h"

void dispatch_die(const char *why)
{
    fprintf(stderr, "libvmnet: dispatch: %s\n", why);
    abort();
}

void *dispatch_alloc(size_t size)
{
    void *memory = calloc(1, size);

    /* The interface has no way to say so. */
    if (!memory)
        dispatch_die("out of memory");
    return memory;
}

void object_init(struct dispatch_object_s *object, const struct object_class *class)
{
    object->class = class;
    atomic_init(&object->refs, 1);
}

void object_retain(struct dispatch_object_s *object)
{
    if (atomic_load_explicit(&object->refs, memory_order_relaxed))
        atomic_fetch_add_explicit(&object->refs, 1, memory_order_relaxed);
}

void object_release(struct dispatch_object_s *object)
{
    if (!atomic_load_explicit(&object->refs, memory_order_relaxed) ||
        atomic_fetch_sub_explicit(&object->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (object->finalizer && object->context)
        object->finalizer(object->context);
    object->class->dispose(object);
}

void dispatch_retain(dispatch_object_t object)
{
    object_retain(object._object);
}

void dispatch_release(dispatch_object_t object)
{
    object_release(object._object);
}

void *dispatch_get_context(dispatch_object_t object)
{
    return object._object->context;
}

void dispatch_set_context(dispatch_object_t object, void *context)
{
    object._object->context = context;
}

void dispatch_set_finalizer_f(dispatch_object_t object, dispatch_function_t finalizer)
{
    object._object->finalizer = finalizer;
}

void dispatch_suspend(dispatch_object_t object)
{
    if (object._object->class->suspend)
        object._object->class->suspend(object._object);
}

void dispatch_resume(dispatch_object_t object)
{
    if (object._object->class->resume)
        object._object->class->resume(object._object, false);
}

void dispatch_activate(dispatch_object_t object)
{
    if (object._object->class->resume)
        object._object->class->resume(object._object, true);
}

struct work work_of_block(const void *block)
{
    void *copy = block_copy(block);

    if (!copy)
        dispatch_die(block ? "out of memory" : "a block is NULL");
    return (struct work){block_run, copy, true};
}

void work_run(const struct work *work)
{
    work->run(work->context);
    if (work->is_block)
        block_release(work->context);
}
