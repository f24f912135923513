/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dictionaries and arrays: one kind of storage, entries in the order they came, with keys or without. A key is
 * looked for one after the other: what these programs put into a dictionary is a dozen.
 */
#include <stdlib.h>
#include <string.h>

#include "compat/block.h"
#include "compat/xpc/internal.h"

struct entry {
    char *key; /* NULL in an array */
    struct object *value;
};

struct container {
    struct object head;
    struct entry *entries;
    size_t len, capacity;
};

static void container_free(struct object *object)
{
    struct container *container = (struct container *)object;

    for (size_t i = 0; i < container->len; i++) {
        free(container->entries[i].key);
        xpc_release(container->entries[i].value);
    }
    free(container->entries);
}

/* Takes over both references. */
static void container_append(struct container *container, char *key, struct object *value)
{
    if (container->len == container->capacity)
        container->entries =
            xpc_grow(container->entries, &container->capacity, sizeof(*container->entries));
    container->entries[container->len++] = (struct entry){key, value};
}

static char *copy_key(const char *key)
{
    size_t size = strlen(key) + 1, capacity = 0;

    /* xpc_grow() for its promise: never NULL. */
    return memcpy(xpc_grow(NULL, &capacity, (size + 7) / 8), key, size);
}

static struct object *container_copy(const struct object *object)
{
    const struct container *from = (const struct container *)object;
    struct container *to = xpc_object_new(object->type, sizeof(*to));

    for (size_t i = 0; i < from->len; i++)
        container_append(to, from->entries[i].key ? copy_key(from->entries[i].key) : NULL,
                         xpc_copy(from->entries[i].value));
    return &to->head;
}

static void describe_entries(const struct object *object, FILE *text, unsigned depth)
{
    const struct container *container = (const struct container *)object;

    fprintf(text, " { count = %zu, contents =\n", container->len);
    for (size_t i = 0; i < container->len; i++) {
        const struct entry *entry = &container->entries[i];

        if (entry->key)
            fprintf(text, "%*s\"%s\" => ", (int)(depth + 1) * 4, "", entry->key);
        else
            fprintf(text, "%*s%zu: ", (int)(depth + 1) * 4, "", i);
        object_describe(entry->value, text, depth + 1);
        fputc('\n', text);
    }
    fprintf(text, "%*s}", (int)depth * 4, "");
}

/* ---- dictionaries */

static struct container *as_dictionary(xpc_object_t object)
{
    return xpc_as(XPC_TYPE_DICTIONARY, object) ? object : NULL;
}

static struct entry *find(const struct container *dictionary, const char *key)
{
    for (size_t i = 0; i < dictionary->len; i++)
        if (strcmp(dictionary->entries[i].key, key) == 0)
            return &dictionary->entries[i];
    return NULL;
}

/* In whatever order. */
static bool dictionary_equal(const struct object *a, const struct object *b)
{
    const struct container *x = (const struct container *)a, *y = (const struct container *)b;

    if (x->len != y->len)
        return false;
    for (size_t i = 0; i < x->len; i++) {
        const struct entry *other = find(y, x->entries[i].key);

        if (!other || !object_equal(x->entries[i].value, other->value))
            return false;
    }
    return true;
}

static size_t dictionary_hash(const struct object *object)
{
    const struct container *dictionary = (const struct container *)object;
    size_t hash = dictionary->len;

    for (size_t i = 0; i < dictionary->len; i++) {
        const struct entry *entry = &dictionary->entries[i];

        hash += hash_bytes(entry->key, strlen(entry->key)) ^ 31 * xpc_hash(entry->value);
    }
    return hash;
}

const struct _xpc_type_s _xpc_type_dictionary = {.name = "dictionary",
                                                 .free = container_free,
                                                 .equal = dictionary_equal,
                                                 .copy = container_copy,
                                                 .hash = dictionary_hash,
                                                 .describe = describe_entries};

xpc_object_t xpc_dictionary_create(const char *const *keys, const xpc_object_t *values,
                                   size_t count)
{
    xpc_object_t dictionary = xpc_dictionary_create_empty();

    for (size_t i = 0; keys && values && i < count; i++)
        xpc_dictionary_set_value(dictionary, keys[i], values[i]);
    return dictionary;
}

xpc_object_t xpc_dictionary_create_empty(void)
{
    return xpc_object_new(XPC_TYPE_DICTIONARY, sizeof(struct container));
}

/* Takes over the reference to @value. */
static void set_new(xpc_object_t object, const char *key, struct object *value)
{
    struct container *dictionary = as_dictionary(object);
    struct entry *entry;

    if (!dictionary || !key) {
        xpc_release(value);
        return;
    }
    entry = find(dictionary, key);
    if (entry) {
        xpc_release(entry->value);
        entry->value = value;
    } else if (value) {
        container_append(dictionary, copy_key(key), value);
    }
    if (entry && !value) {
        size_t after = (size_t)(dictionary->entries + --dictionary->len - entry);

        free(entry->key);
        memmove(entry, entry + 1, after * sizeof(*entry));
    }
}

void xpc_dictionary_set_value(xpc_object_t dictionary, const char *key, xpc_object_t value)
{
    set_new(dictionary, key, xpc_retain(value));
}

xpc_object_t xpc_dictionary_get_value(xpc_object_t object, const char *key)
{
    const struct container *dictionary = as_dictionary(object);
    const struct entry *entry = dictionary && key ? find(dictionary, key) : NULL;

    return entry ? entry->value : NULL;
}

size_t xpc_dictionary_get_count(xpc_object_t object)
{
    const struct container *dictionary = as_dictionary(object);

    return dictionary ? dictionary->len : 0;
}

bool xpc_dictionary_apply(xpc_object_t object, xpc_dictionary_applier_t applier)
{
    const struct container *dictionary = as_dictionary(object);

    for (size_t i = 0; dictionary && i < dictionary->len; i++)
        if (!BLOCK_CALL(bool (*)(void *, const char *, xpc_object_t), applier,
                        dictionary->entries[i].key, dictionary->entries[i].value))
            return false;
    return true;
}

void xpc_dictionary_set_bool(xpc_object_t dictionary, const char *key, bool value)
{
    set_new(dictionary, key, xpc_bool_create(value));
}

void xpc_dictionary_set_int64(xpc_object_t dictionary, const char *key, int64_t value)
{
    set_new(dictionary, key, xpc_int64_create(value));
}

void xpc_dictionary_set_uint64(xpc_object_t dictionary, const char *key, uint64_t value)
{
    set_new(dictionary, key, xpc_uint64_create(value));
}

void xpc_dictionary_set_string(xpc_object_t dictionary, const char *key, const char *value)
{
    set_new(dictionary, key, value ? xpc_string_create(value) : NULL);
}

void xpc_dictionary_set_uuid(xpc_object_t dictionary, const char *key, const unsigned char uuid[16])
{
    set_new(dictionary, key, xpc_uuid_create(uuid));
}

void xpc_dictionary_set_data(xpc_object_t dictionary, const char *key, const void *bytes,
                             size_t len_bytes)
{
    set_new(dictionary, key, xpc_data_create(bytes, len_bytes));
}

bool xpc_dictionary_get_bool(xpc_object_t dictionary, const char *key)
{
    return xpc_bool_get_value(xpc_dictionary_get_value(dictionary, key));
}

int64_t xpc_dictionary_get_int64(xpc_object_t dictionary, const char *key)
{
    return xpc_int64_get_value(xpc_dictionary_get_value(dictionary, key));
}

uint64_t xpc_dictionary_get_uint64(xpc_object_t dictionary, const char *key)
{
    return xpc_uint64_get_value(xpc_dictionary_get_value(dictionary, key));
}

const char *xpc_dictionary_get_string(xpc_object_t dictionary, const char *key)
{
    return xpc_string_get_string_ptr(xpc_dictionary_get_value(dictionary, key));
}

const uint8_t *xpc_dictionary_get_uuid(xpc_object_t dictionary, const char *key)
{
    return xpc_uuid_get_bytes(xpc_dictionary_get_value(dictionary, key));
}

const void *xpc_dictionary_get_data(xpc_object_t dictionary, const char *key, size_t *ret_len_bytes)
{
    xpc_object_t data = xpc_dictionary_get_value(dictionary, key);

    if (ret_len_bytes)
        *ret_len_bytes = xpc_data_get_length(data);
    return xpc_data_get_bytes_ptr(data);
}

xpc_object_t xpc_dictionary_get_dictionary(xpc_object_t dictionary, const char *key)
{
    return as_dictionary(xpc_dictionary_get_value(dictionary, key));
}

/* ---- arrays */

static struct container *as_array(xpc_object_t object)
{
    return xpc_as(XPC_TYPE_ARRAY, object) ? object : NULL;
}

xpc_object_t xpc_dictionary_get_array(xpc_object_t dictionary, const char *key)
{
    return as_array(xpc_dictionary_get_value(dictionary, key));
}

static bool array_equal(const struct object *a, const struct object *b)
{
    const struct container *x = (const struct container *)a, *y = (const struct container *)b;

    if (x->len != y->len)
        return false;
    for (size_t i = 0; i < x->len; i++)
        if (!object_equal(x->entries[i].value, y->entries[i].value))
            return false;
    return true;
}

static size_t array_hash(const struct object *object)
{
    const struct container *array = (const struct container *)object;
    size_t hash = array->len;

    for (size_t i = 0; i < array->len; i++)
        hash = hash * 31 + xpc_hash(array->entries[i].value);
    return hash;
}

const struct _xpc_type_s _xpc_type_array = {.name = "array",
                                            .free = container_free,
                                            .equal = array_equal,
                                            .copy = container_copy,
                                            .hash = array_hash,
                                            .describe = describe_entries};

xpc_object_t xpc_array_create(const xpc_object_t *values, size_t count)
{
    xpc_object_t array = xpc_array_create_empty();

    for (size_t i = 0; values && i < count; i++)
        xpc_array_append_value(array, values[i]);
    return array;
}

xpc_object_t xpc_array_create_empty(void)
{
    return xpc_object_new(XPC_TYPE_ARRAY, sizeof(struct container));
}

/* Takes over the reference to @value. An index behind the end is the caller's mistake, and changes nothing. */
static void array_set_new(xpc_object_t object, size_t index, struct object *value)
{
    struct container *array = as_array(object);

    if (array && value && index == XPC_ARRAY_APPEND) {
        container_append(array, NULL, value);
    } else if (array && value && index < array->len) {
        xpc_release(array->entries[index].value);
        array->entries[index].value = value;
    } else {
        xpc_release(value);
    }
}

void xpc_array_set_value(xpc_object_t array, size_t index, xpc_object_t value)
{
    array_set_new(array, index, xpc_retain(value));
}

void xpc_array_append_value(xpc_object_t array, xpc_object_t value)
{
    array_set_new(array, XPC_ARRAY_APPEND, xpc_retain(value));
}

size_t xpc_array_get_count(xpc_object_t object)
{
    const struct container *array = as_array(object);

    return array ? array->len : 0;
}

xpc_object_t xpc_array_get_value(xpc_object_t object, size_t index)
{
    const struct container *array = as_array(object);

    return array && index < array->len ? array->entries[index].value : NULL;
}

bool xpc_array_apply(xpc_object_t object, xpc_array_applier_t applier)
{
    const struct container *array = as_array(object);

    for (size_t i = 0; array && i < array->len; i++)
        if (!BLOCK_CALL(bool (*)(void *, size_t, xpc_object_t), applier, i,
                        array->entries[i].value))
            return false;
    return true;
}

void xpc_array_set_bool(xpc_object_t array, size_t index, bool value)
{
    array_set_new(array, index, xpc_bool_create(value));
}

void xpc_array_set_int64(xpc_object_t array, size_t index, int64_t value)
{
    array_set_new(array, index, xpc_int64_create(value));
}

void xpc_array_set_uint64(xpc_object_t array, size_t index, uint64_t value)
{
    array_set_new(array, index, xpc_uint64_create(value));
}

void xpc_array_set_string(xpc_object_t array, size_t index, const char *value)
{
    array_set_new(array, index, xpc_string_create(value));
}

bool xpc_array_get_bool(xpc_object_t array, size_t index)
{
    return xpc_bool_get_value(xpc_array_get_value(array, index));
}

int64_t xpc_array_get_int64(xpc_object_t array, size_t index)
{
    return xpc_int64_get_value(xpc_array_get_value(array, index));
}

uint64_t xpc_array_get_uint64(xpc_object_t array, size_t index)
{
    return xpc_uint64_get_value(xpc_array_get_value(array, index));
}

const char *xpc_array_get_string(xpc_object_t array, size_t index)
{
    return xpc_string_get_string_ptr(xpc_array_get_value(array, index));
}
