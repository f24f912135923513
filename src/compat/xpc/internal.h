/* SPDX-License-Identifier: Apache-2.0 */
/* XPC objects as the files of this folder know them. xpc.h is the reference for what they are good for. */
#ifndef OPENVMNET_COMPAT_XPC_INTERNAL_H
#define OPENVMNET_COMPAT_XPC_INTERNAL_H

#include <stdatomic.h>
#include <stdio.h>
#include <xpc/xpc.h>

struct object;

struct _xpc_type_s {
    const char *name;
    void (*free)(struct object *object); /* what the object holds; or NULL */
    bool (*equal)(const struct object *a, const struct object *b);
    struct object *(*copy)(const struct object *object); /* NULL: it is its own copy */
    size_t (*hash)(const struct object *object);
    void (*describe)(const struct object *object, FILE *text, unsigned depth);
};

/* The head of all; behind it comes what the type has. */
struct object {
    xpc_type_t type;
    atomic_uint refs; /* 0: there is always one of it */
};

/* Zeroed, with one reference; the program ends where there is no memory, as the interface cannot say so. */
void *xpc_object_new(xpc_type_t type, size_t size);
/* Grows to twice the size, as above. */
void *xpc_grow(void *array, size_t *capacity, size_t entry_size);
/* The object where it is of @type, else NULL; it may be NULL. */
const void *xpc_as(xpc_type_t type, const void *object);

bool object_equal(const struct object *a, const struct object *b);
void object_describe(const struct object *object, FILE *text, unsigned depth);
size_t hash_bytes(const void *bytes, size_t len_bytes);

#endif
