/* SPDX-License-Identifier: Apache-2.0 */
/* What all XPC objects have: references, equality, copies, descriptions. */
#include <stdlib.h>
#include <string.h>

#include "compat/xpc/internal.h"

static void die_without_memory(void)
{
    fputs("libvmnet: xpc: out of memory\n", stderr);
    abort();
}

void *xpc_object_new(xpc_type_t type, size_t size)
{
    struct object *object = calloc(1, size);

    if (!object)
        die_without_memory();
    object->type = type;
    atomic_init(&object->refs, 1);
    return object;
}

void *xpc_grow(void *array, size_t *capacity, size_t entry_size)
{
    *capacity = *capacity ? 2 * *capacity : 8;
    array = reallocarray(array, *capacity, entry_size);
    if (!array)
        die_without_memory();
    return array;
}

const void *xpc_as(xpc_type_t type, const void *object)
{
    return object && ((const struct object *)object)->type == type ? object : NULL;
}

xpc_object_t xpc_retain(xpc_object_t object)
{
    struct object *o = object;

    if (o && atomic_load_explicit(&o->refs, memory_order_relaxed))
        atomic_fetch_add_explicit(&o->refs, 1, memory_order_relaxed);
    return object;
}

void xpc_release(xpc_object_t object)
{
    struct object *o = object;

    if (!o || !atomic_load_explicit(&o->refs, memory_order_relaxed) ||
        atomic_fetch_sub_explicit(&o->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (o->type->free)
        o->type->free(o);
    free(o);
}

xpc_type_t xpc_get_type(xpc_object_t object)
{
    return object ? ((struct object *)object)->type : NULL;
}

const char *xpc_type_get_name(xpc_type_t type)
{
    return type ? type->name : "null";
}

xpc_object_t xpc_copy(xpc_object_t object)
{
    struct object *o = object;

    return o && o->type->copy ? o->type->copy(o) : xpc_retain(o);
}

bool object_equal(const struct object *a, const struct object *b)
{
    if (a == b || !a || !b)
        return a == b;
    return a->type == b->type && a->type->equal(a, b);
}

bool xpc_equal(xpc_object_t a, xpc_object_t b)
{
    return object_equal(a, b);
}

/* FNV-1a. */
size_t hash_bytes(const void *bytes, size_t len_bytes)
{
    const unsigned char *at = bytes;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < len_bytes; i++)
        hash = (hash ^ at[i]) * UINT64_C(0x100000001b3);
    return (size_t)hash;
}

size_t xpc_hash(xpc_object_t object)
{
    struct object *o = object;

    return o ? o->type->hash(o) : 0;
}

void object_describe(const struct object *object, FILE *text, unsigned depth)
{
    fprintf(text, "<%s: %p>", object->type->name, (const void *)object);
    object->type->describe(object, text, depth);
}

char *xpc_copy_description(xpc_object_t object)
{
    char *buffer = NULL;
    size_t len;
    FILE *text = open_memstream(&buffer, &len);

    if (!text)
        die_without_memory();
    if (object)
        object_describe(object, text, 0);
    else
        fputs("(null)", text);
    if (fclose(text) != 0)
        die_without_memory();
    return buffer;
}
