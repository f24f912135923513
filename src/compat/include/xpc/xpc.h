/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The objects of XPC that programs for vmnet use, by the same names and with the same meaning (xpc_object(3) of
 * macOS); no connections. Installed and used only where the system has none.
 *
 * Objects are made with one reference, containers keep one to what is in them. A getter for a type that the
 * value does not have returns 0, false or NULL. What it returns otherwise is lent by the object. Objects other
 * than dictionaries and arrays never change; those two may be changed by one thread at a time.
 */
#ifndef OPENVMNET_XPC_H
#define OPENVMNET_XPC_H

/* More than is needed here: those that the header of macOS brings along, and programs count on. */
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uuid/uuid.h>

#include <openvmnet_blocks.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef char uuid_string_t[37];

typedef void *xpc_object_t;
typedef const struct _xpc_type_s *xpc_type_t;

OPENVMNET_COMPAT_API extern const struct _xpc_type_s _xpc_type_array, _xpc_type_bool,
    _xpc_type_data, _xpc_type_dictionary, _xpc_type_int64, _xpc_type_null, _xpc_type_string,
    _xpc_type_uint64, _xpc_type_uuid;
OPENVMNET_COMPAT_API extern const struct _xpc_bool_s _xpc_bool_true, _xpc_bool_false;

#define XPC_TYPE_ARRAY (&_xpc_type_array)
#define XPC_TYPE_BOOL (&_xpc_type_bool)
#define XPC_TYPE_DATA (&_xpc_type_data)
#define XPC_TYPE_DICTIONARY (&_xpc_type_dictionary)
#define XPC_TYPE_INT64 (&_xpc_type_int64)
#define XPC_TYPE_NULL (&_xpc_type_null)
#define XPC_TYPE_STRING (&_xpc_type_string)
#define XPC_TYPE_UINT64 (&_xpc_type_uint64)
#define XPC_TYPE_UUID (&_xpc_type_uuid)

#define XPC_BOOL_TRUE ((xpc_object_t)&_xpc_bool_true)
#define XPC_BOOL_FALSE ((xpc_object_t)&_xpc_bool_false)
#define XPC_ARRAY_APPEND ((size_t)-1)

/* Called for each entry until it returns false. */
OPENVMNET_BLOCK_TYPE(xpc_dictionary_applier_t, bool, const char *key, xpc_object_t value);
OPENVMNET_BLOCK_TYPE(xpc_array_applier_t, bool, size_t index, xpc_object_t value);

/* ---- all objects */

OPENVMNET_COMPAT_API xpc_object_t xpc_retain(xpc_object_t object);
OPENVMNET_COMPAT_API void xpc_release(xpc_object_t object);
OPENVMNET_COMPAT_API xpc_type_t xpc_get_type(xpc_object_t object);
OPENVMNET_COMPAT_API const char *xpc_type_get_name(xpc_type_t type);
/* A copy of a container has copies of what is in it. */
OPENVMNET_COMPAT_API xpc_object_t xpc_copy(xpc_object_t object);
OPENVMNET_COMPAT_API bool xpc_equal(xpc_object_t a, xpc_object_t b);
OPENVMNET_COMPAT_API size_t xpc_hash(xpc_object_t object);
/* For people and logs; to be freed by free(3). */
OPENVMNET_COMPAT_API char *xpc_copy_description(xpc_object_t object);

/* ---- values */

OPENVMNET_COMPAT_API xpc_object_t xpc_null_create(void);
OPENVMNET_COMPAT_API xpc_object_t xpc_bool_create(bool value);
OPENVMNET_COMPAT_API bool xpc_bool_get_value(xpc_object_t object);
OPENVMNET_COMPAT_API xpc_object_t xpc_int64_create(int64_t value);
OPENVMNET_COMPAT_API int64_t xpc_int64_get_value(xpc_object_t object);
OPENVMNET_COMPAT_API xpc_object_t xpc_uint64_create(uint64_t value);
OPENVMNET_COMPAT_API uint64_t xpc_uint64_get_value(xpc_object_t object);
OPENVMNET_COMPAT_API xpc_object_t xpc_string_create(const char *text);
OPENVMNET_COMPAT_API xpc_object_t xpc_string_create_with_format(const char *format, ...)
    __attribute__((__format__(__printf__, 1, 2)));
OPENVMNET_COMPAT_API size_t xpc_string_get_length(xpc_object_t object);
OPENVMNET_COMPAT_API const char *xpc_string_get_string_ptr(xpc_object_t object);
OPENVMNET_COMPAT_API xpc_object_t xpc_uuid_create(const unsigned char uuid[16]);
OPENVMNET_COMPAT_API const uint8_t *xpc_uuid_get_bytes(xpc_object_t object);
OPENVMNET_COMPAT_API xpc_object_t xpc_data_create(const void *bytes, size_t len_bytes);
OPENVMNET_COMPAT_API size_t xpc_data_get_length(xpc_object_t object);
OPENVMNET_COMPAT_API const void *xpc_data_get_bytes_ptr(xpc_object_t object);
/* Copies what there is from @offset; how many bytes that was. */
OPENVMNET_COMPAT_API size_t xpc_data_get_bytes(xpc_object_t object, void *buffer, size_t offset,
                                               size_t len_bytes);

/* ---- dictionaries */

OPENVMNET_COMPAT_API xpc_object_t xpc_dictionary_create(const char *const *keys,
                                                        const xpc_object_t *values, size_t count);
OPENVMNET_COMPAT_API xpc_object_t xpc_dictionary_create_empty(void);
/* @value NULL removes the key. */
OPENVMNET_COMPAT_API void xpc_dictionary_set_value(xpc_object_t dictionary, const char *key,
                                                   xpc_object_t value);
OPENVMNET_COMPAT_API xpc_object_t xpc_dictionary_get_value(xpc_object_t dictionary,
                                                           const char *key);
OPENVMNET_COMPAT_API size_t xpc_dictionary_get_count(xpc_object_t dictionary);
OPENVMNET_COMPAT_API bool xpc_dictionary_apply(xpc_object_t dictionary,
                                               xpc_dictionary_applier_t applier);

OPENVMNET_COMPAT_API void xpc_dictionary_set_bool(xpc_object_t dictionary, const char *key,
                                                  bool value);
OPENVMNET_COMPAT_API void xpc_dictionary_set_int64(xpc_object_t dictionary, const char *key,
                                                   int64_t value);
OPENVMNET_COMPAT_API void xpc_dictionary_set_uint64(xpc_object_t dictionary, const char *key,
                                                    uint64_t value);
OPENVMNET_COMPAT_API void xpc_dictionary_set_string(xpc_object_t dictionary, const char *key,
                                                    const char *value);
OPENVMNET_COMPAT_API void xpc_dictionary_set_uuid(xpc_object_t dictionary, const char *key,
                                                  const unsigned char uuid[16]);
OPENVMNET_COMPAT_API void xpc_dictionary_set_data(xpc_object_t dictionary, const char *key,
                                                  const void *bytes, size_t len_bytes);
OPENVMNET_COMPAT_API bool xpc_dictionary_get_bool(xpc_object_t dictionary, const char *key);
OPENVMNET_COMPAT_API int64_t xpc_dictionary_get_int64(xpc_object_t dictionary, const char *key);
OPENVMNET_COMPAT_API uint64_t xpc_dictionary_get_uint64(xpc_object_t dictionary, const char *key);
OPENVMNET_COMPAT_API const char *xpc_dictionary_get_string(xpc_object_t dictionary,
                                                           const char *key);
OPENVMNET_COMPAT_API const uint8_t *xpc_dictionary_get_uuid(xpc_object_t dictionary,
                                                            const char *key);
OPENVMNET_COMPAT_API const void *xpc_dictionary_get_data(xpc_object_t dictionary, const char *key,
                                                         size_t *ret_len_bytes);
OPENVMNET_COMPAT_API xpc_object_t xpc_dictionary_get_dictionary(xpc_object_t dictionary,
                                                                const char *key);
OPENVMNET_COMPAT_API xpc_object_t xpc_dictionary_get_array(xpc_object_t dictionary,
                                                           const char *key);

/* ---- arrays; an @index of XPC_ARRAY_APPEND adds where something is set */

OPENVMNET_COMPAT_API xpc_object_t xpc_array_create(const xpc_object_t *values, size_t count);
OPENVMNET_COMPAT_API xpc_object_t xpc_array_create_empty(void);
OPENVMNET_COMPAT_API void xpc_array_set_value(xpc_object_t array, size_t index, xpc_object_t value);
OPENVMNET_COMPAT_API void xpc_array_append_value(xpc_object_t array, xpc_object_t value);
OPENVMNET_COMPAT_API size_t xpc_array_get_count(xpc_object_t array);
OPENVMNET_COMPAT_API xpc_object_t xpc_array_get_value(xpc_object_t array, size_t index);
OPENVMNET_COMPAT_API bool xpc_array_apply(xpc_object_t array, xpc_array_applier_t applier);

OPENVMNET_COMPAT_API void xpc_array_set_bool(xpc_object_t array, size_t index, bool value);
OPENVMNET_COMPAT_API void xpc_array_set_int64(xpc_object_t array, size_t index, int64_t value);
OPENVMNET_COMPAT_API void xpc_array_set_uint64(xpc_object_t array, size_t index, uint64_t value);
OPENVMNET_COMPAT_API void xpc_array_set_string(xpc_object_t array, size_t index, const char *value);
OPENVMNET_COMPAT_API bool xpc_array_get_bool(xpc_object_t array, size_t index);
OPENVMNET_COMPAT_API int64_t xpc_array_get_int64(xpc_object_t array, size_t index);
OPENVMNET_COMPAT_API uint64_t xpc_array_get_uint64(xpc_object_t array, size_t index);
OPENVMNET_COMPAT_API const char *xpc_array_get_string(xpc_object_t array, size_t index);

#ifdef __cplusplus
}
#endif

#endif
