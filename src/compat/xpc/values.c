/* SPDX-License-Identifier: Apache-2.0 */
/* XPC objects that are one value: they never change, so each is its own copy. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "compat/xpc/internal.h"

/* ---- null */

static bool null_equal(const struct object *a, const struct object *b)
{
    (void)a;
    (void)b;
    return true;
}

static size_t null_hash(const struct object *object)
{
    (void)object;
    return 1;
}

static void null_describe(const struct object *object, FILE *text, unsigned depth)
{
    (void)object;
    (void)depth;
    fputs(": null", text);
}

const struct _xpc_type_s _xpc_type_null = {
    .name = "null", .equal = null_equal, .hash = null_hash, .describe = null_describe};

xpc_object_t xpc_null_create(void)
{
    static struct object null = {.type = &_xpc_type_null};

    return &null;
}

/* ---- numbers and truth: 64 bits */

struct _xpc_bool_s {
    struct object head;
    uint64_t value;
};

static uint64_t number(const struct object *object)
{
    return ((const struct _xpc_bool_s *)object)->value;
}

static bool number_equal(const struct object *a, const struct object *b)
{
    return number(a) == number(b);
}

static size_t number_hash(const struct object *object)
{
    uint64_t value = number(object);

    return hash_bytes(&value, sizeof(value));
}

static void bool_describe(const struct object *object, FILE *text, unsigned depth)
{
    (void)depth;
    fputs(number(object) ? ": true" : ": false", text);
}

static void int64_describe(const struct object *object, FILE *text, unsigned depth)
{
    (void)depth;
    fprintf(text, ": %" PRId64, (int64_t)number(object));
}

static void uint64_describe(const struct object *object, FILE *text, unsigned depth)
{
    (void)depth;
    fprintf(text, ": %" PRIu64, number(object));
}

const struct _xpc_type_s _xpc_type_bool = {
    .name = "bool", .equal = number_equal, .hash = number_hash, .describe = bool_describe};
const struct _xpc_type_s _xpc_type_int64 = {
    .name = "int64", .equal = number_equal, .hash = number_hash, .describe = int64_describe};
const struct _xpc_type_s _xpc_type_uint64 = {
    .name = "uint64", .equal = number_equal, .hash = number_hash, .describe = uint64_describe};

/* Their reference count is 0 and nobody writes to them. */
const struct _xpc_bool_s _xpc_bool_true = {{.type = &_xpc_type_bool}, 1};
const struct _xpc_bool_s _xpc_bool_false = {{.type = &_xpc_type_bool}, 0};

static xpc_object_t number_create(xpc_type_t type, uint64_t value)
{
    struct _xpc_bool_s *object = xpc_object_new(type, sizeof(*object));

    object->value = value;
    return object;
}

static uint64_t number_value(xpc_type_t type, xpc_object_t object)
{
    return xpc_as(type, object) ? number(object) : 0;
}

xpc_object_t xpc_bool_create(bool value)
{
    return value ? XPC_BOOL_TRUE : XPC_BOOL_FALSE;
}

bool xpc_bool_get_value(xpc_object_t object)
{
    return number_value(XPC_TYPE_BOOL, object) != 0;
}

xpc_object_t xpc_int64_create(int64_t value)
{
    return number_create(XPC_TYPE_INT64, (uint64_t)value);
}

int64_t xpc_int64_get_value(xpc_object_t object)
{
    return (int64_t)number_value(XPC_TYPE_INT64, object);
}

xpc_object_t xpc_uint64_create(uint64_t value)
{
    return number_create(XPC_TYPE_UINT64, value);
}

uint64_t xpc_uint64_get_value(xpc_object_t object)
{
    return number_value(XPC_TYPE_UINT64, object);
}

/* ---- bytes: strings (with a 0 behind them), data, UUIDs */

struct bytes {
    struct object head;
    size_t len_bytes;
    unsigned char bytes[];
};

static bool bytes_equal(const struct object *a, const struct object *b)
{
    const struct bytes *x = (const struct bytes *)a, *y = (const struct bytes *)b;

    return x->len_bytes == y->len_bytes && memcmp(x->bytes, y->bytes, x->len_bytes) == 0;
}

static size_t bytes_hash(const struct object *object)
{
    const struct bytes *bytes = (const struct bytes *)object;

    return hash_bytes(bytes->bytes, bytes->len_bytes);
}

static void string_describe(const struct object *object, FILE *text, unsigned depth)
{
    const struct bytes *bytes = (const struct bytes *)object;

    (void)depth;
    fprintf(text, " { length = %zu, contents = \"%s\" }", bytes->len_bytes,
            (const char *)bytes->bytes);
}

static void bytes_describe(const struct object *object, FILE *text, unsigned depth)
{
    const struct bytes *bytes = (const struct bytes *)object;

    (void)depth;
    fprintf(text, ": { length = %zu bytes, contents = 0x", bytes->len_bytes);
    for (size_t i = 0; i < bytes->len_bytes; i++)
        fprintf(text, "%02x", bytes->bytes[i]);
    fputs(" }", text);
}

static void uuid_describe(const struct object *object, FILE *text, unsigned depth)
{
    const struct bytes *uuid = (const struct bytes *)object;

    (void)depth;
    fputc(' ', text);
    for (size_t i = 0; i < uuid->len_bytes; i++)
        fprintf(text, "%s%02X", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid->bytes[i]);
}

const struct _xpc_type_s _xpc_type_string = {
    .name = "string", .equal = bytes_equal, .hash = bytes_hash, .describe = string_describe};
const struct _xpc_type_s _xpc_type_data = {
    .name = "data", .equal = bytes_equal, .hash = bytes_hash, .describe = bytes_describe};
const struct _xpc_type_s _xpc_type_uuid = {
    .name = "uuid", .equal = bytes_equal, .hash = bytes_hash, .describe = uuid_describe};

static xpc_object_t bytes_create(xpc_type_t type, const void *bytes, size_t len_bytes)
{
    struct bytes *object = xpc_object_new(type, sizeof(*object) + len_bytes + 1);

    object->len_bytes = len_bytes;
    if (len_bytes)
        memcpy(object->bytes, bytes, len_bytes);
    return object;
}

static const void *bytes_value(xpc_type_t type, xpc_object_t object)
{
    const struct bytes *bytes = xpc_as(type, object);

    return bytes ? bytes->bytes : NULL;
}

static size_t bytes_len(xpc_type_t type, xpc_object_t object)
{
    const struct bytes *bytes = xpc_as(type, object);

    return bytes ? bytes->len_bytes : 0;
}

xpc_object_t xpc_string_create(const char *text)
{
    return bytes_create(XPC_TYPE_STRING, text, strlen(text));
}

xpc_object_t xpc_string_create_with_format(const char *format, ...)
{
    xpc_object_t object;
    char *text = NULL;
    va_list arguments;
    int len;

    va_start(arguments, format);
    len = vasprintf(&text, format, arguments);
    va_end(arguments);
    object = bytes_create(XPC_TYPE_STRING, text, len > 0 ? (size_t)len : 0);
    if (len >= 0)
        free(text);
    return object;
}

size_t xpc_string_get_length(xpc_object_t object)
{
    return bytes_len(XPC_TYPE_STRING, object);
}

const char *xpc_string_get_string_ptr(xpc_object_t object)
{
    return bytes_value(XPC_TYPE_STRING, object);
}

xpc_object_t xpc_uuid_create(const unsigned char uuid[16])
{
    return bytes_create(XPC_TYPE_UUID, uuid, 16);
}

const uint8_t *xpc_uuid_get_bytes(xpc_object_t object)
{
    return bytes_value(XPC_TYPE_UUID, object);
}

xpc_object_t xpc_data_create(const void *bytes, size_t len_bytes)
{
    return bytes_create(XPC_TYPE_DATA, bytes, len_bytes);
}

size_t xpc_data_get_length(xpc_object_t object)
{
    return bytes_len(XPC_TYPE_DATA, object);
}

const void *xpc_data_get_bytes_ptr(xpc_object_t object)
{
    return bytes_value(XPC_TYPE_DATA, object);
}

size_t xpc_data_get_bytes(xpc_object_t object, void *buffer, size_t offset, size_t len_bytes)
{
    const struct bytes *data = xpc_as(XPC_TYPE_DATA, object);

    if (!data || offset >= data->len_bytes)
        return 0;
    if (len_bytes > data->len_bytes - offset)
        len_bytes = data->len_bytes - offset;
    memcpy(buffer, data->bytes + offset, len_bytes);
    return len_bytes;
}
