/* SPDX-License-Identifier: Apache-2.0 */
/* XPC objects: types, getters, ownership, equality, copies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xpc/xpc.h>

#include "hand_block.h"

static const unsigned char uuid[16] = {0x8a, 0x2c, 0x5f, 0x10, 0x0d, 0x3b, 0x4c, 0x7e,
                                       0x9a, 0x51, 0x6f, 0x1e, 0x2d, 0x3c, 0x4b, 0x5a};

/* One of each type. */
static xpc_object_t make_all(void)
{
    xpc_object_t all = xpc_dictionary_create_empty(), array = xpc_array_create(NULL, 0);
    xpc_object_t null = xpc_null_create();

    xpc_dictionary_set_bool(all, "bool", true);
    xpc_dictionary_set_int64(all, "int64", -5);
    xpc_dictionary_set_uint64(all, "uint64", UINT64_MAX);
    xpc_dictionary_set_string(all, "string", "text");
    xpc_dictionary_set_uuid(all, "uuid", uuid);
    xpc_dictionary_set_data(all, "data", "\0\1", 2);
    xpc_dictionary_set_value(all, "null", null);
    xpc_array_set_string(array, XPC_ARRAY_APPEND, "first");
    xpc_array_set_uint64(array, XPC_ARRAY_APPEND, 2);
    xpc_dictionary_set_value(all, "array", array);
    xpc_release(null);
    xpc_release(array);
    return all;
}

static void test_getters(void **state)
{
    xpc_object_t all = make_all();
    size_t len = 0;

    assert_int_equal(xpc_dictionary_get_count(all), 8);
    assert_true(xpc_dictionary_get_bool(all, "bool"));
    assert_int_equal(xpc_dictionary_get_int64(all, "int64"), -5);
    assert_true(xpc_dictionary_get_uint64(all, "uint64") == UINT64_MAX);
    assert_string_equal(xpc_dictionary_get_string(all, "string"), "text");
    assert_memory_equal(xpc_dictionary_get_uuid(all, "uuid"), uuid, 16);
    assert_memory_equal(xpc_dictionary_get_data(all, "data", &len), "\0\1", 2);
    assert_int_equal(len, 2);
    assert_ptr_equal(xpc_get_type(xpc_dictionary_get_value(all, "null")), XPC_TYPE_NULL);
    assert_string_equal(xpc_array_get_string(xpc_dictionary_get_array(all, "array"), 0), "first");
    assert_int_equal(xpc_array_get_uint64(xpc_dictionary_get_value(all, "array"), 1), 2);
    xpc_release(all);
}

/* A getter for another type gives its default, for all pairs. */
static void test_getters_of_wrong_types(void **state)
{
    static const char *const keys[] = {"bool", "int64", "uint64", "string", "uuid",
                                       "data", "null",  "array",  "none"};
    xpc_object_t all = make_all();

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        const char *key = keys[i];
        size_t len = 1;

        if (strcmp(key, "bool") != 0)
            assert_false(xpc_dictionary_get_bool(all, key));
        if (strcmp(key, "int64") != 0)
            assert_int_equal(xpc_dictionary_get_int64(all, key), 0);
        if (strcmp(key, "uint64") != 0)
            assert_int_equal(xpc_dictionary_get_uint64(all, key), 0);
        if (strcmp(key, "string") != 0)
            assert_null(xpc_dictionary_get_string(all, key));
        if (strcmp(key, "uuid") != 0)
            assert_null(xpc_dictionary_get_uuid(all, key));
        if (strcmp(key, "data") != 0) {
            assert_null(xpc_dictionary_get_data(all, key, &len));
            assert_int_equal(len, 0);
        }
        if (strcmp(key, "array") != 0)
            assert_null(xpc_dictionary_get_array(all, key));
        assert_null(xpc_dictionary_get_dictionary(all, key));
    }
    assert_null(xpc_array_get_value(xpc_dictionary_get_value(all, "array"), 2));
    assert_null(xpc_dictionary_get_value(xpc_dictionary_get_value(all, "array"), "bool"));
    assert_null(xpc_dictionary_get_value(NULL, "bool"));
    assert_int_equal(xpc_array_get_count(all), 0);
    xpc_release(all);
}

static void test_set_replaces_and_removes(void **state)
{
    xpc_object_t dictionary = xpc_dictionary_create(NULL, NULL, 0);

    xpc_dictionary_set_uint64(dictionary, "a", 1);
    xpc_dictionary_set_uint64(dictionary, "b", 2);
    xpc_dictionary_set_uint64(dictionary, "c", 3);
    xpc_dictionary_set_string(dictionary, "a", "now text");
    xpc_dictionary_set_value(dictionary, "b", NULL);
    xpc_dictionary_set_value(dictionary, "none", NULL);
    assert_int_equal(xpc_dictionary_get_count(dictionary), 2);
    assert_string_equal(xpc_dictionary_get_string(dictionary, "a"), "now text");
    assert_null(xpc_dictionary_get_value(dictionary, "b"));
    assert_int_equal(xpc_dictionary_get_uint64(dictionary, "c"), 3);
    for (int i = 0; i < 100; i++) {
        char key[8];

        snprintf(key, sizeof(key), "k%d", i);
        xpc_dictionary_set_int64(dictionary, key, i);
    }
    assert_int_equal(xpc_dictionary_get_int64(dictionary, "k99"), 99);
    xpc_release(dictionary);
}

static void test_array_indexes(void **state)
{
    xpc_object_t array = xpc_array_create_empty();

    xpc_array_set_int64(array, 0, 7); /* behind the end */
    assert_int_equal(xpc_array_get_count(array), 0);
    xpc_array_set_int64(array, XPC_ARRAY_APPEND, 7);
    xpc_array_set_bool(array, 0, true);
    assert_int_equal(xpc_array_get_count(array), 1);
    assert_true(xpc_array_get_bool(array, 0));
    xpc_release(array);
}

static void test_equality_and_hash(void **state)
{
    xpc_object_t a = make_all(), b = make_all(), moved = xpc_dictionary_create_empty();

    assert_true(xpc_equal(a, b));
    assert_int_equal(xpc_hash(a), xpc_hash(b));
    /* Order means nothing to a dictionary. */
    xpc_dictionary_set_value(b, "bool", NULL);
    assert_false(xpc_equal(a, b));
    xpc_dictionary_set_bool(b, "bool", true);
    assert_true(xpc_equal(a, b));
    assert_int_equal(xpc_hash(a), xpc_hash(b));
    xpc_dictionary_set_int64(b, "uint64", -1);
    assert_false(xpc_equal(a, b)); /* the same bits, another type */
    assert_false(xpc_equal(a, moved));
    assert_false(xpc_equal(a, NULL));
    assert_true(xpc_equal(NULL, NULL));
    xpc_release(a);
    xpc_release(b);
    xpc_release(moved);
}

static void test_copy_is_deep(void **state)
{
    xpc_object_t all = make_all(), copy = xpc_copy(all);

    assert_ptr_not_equal(all, copy);
    assert_true(xpc_equal(all, copy));
    xpc_array_set_string(xpc_dictionary_get_value(copy, "array"), 0, "changed");
    assert_false(xpc_equal(all, copy));
    assert_string_equal(xpc_array_get_string(xpc_dictionary_get_value(all, "array"), 0), "first");
    xpc_release(all);
    assert_string_equal(xpc_dictionary_get_string(copy, "string"), "text");
    xpc_release(copy);
}

static void test_containers_keep_what_is_in_them(void **state)
{
    xpc_object_t outer = xpc_dictionary_create_empty(), inner = xpc_array_create_empty();

    xpc_dictionary_set_value(outer, "inner", inner);
    xpc_array_set_string(inner, XPC_ARRAY_APPEND, "kept");
    xpc_release(inner);
    inner = xpc_retain(xpc_dictionary_get_value(outer, "inner"));
    xpc_release(outer);
    assert_string_equal(xpc_array_get_string(inner, 0), "kept");
    xpc_release(inner);
    xpc_release(NULL);
    assert_null(xpc_retain(NULL));
}

static void test_strings_and_data(void **state)
{
    xpc_object_t text = xpc_string_create_with_format("%s-%d", "vm", 7);
    xpc_object_t data = xpc_data_create("abcdef", 6);
    char part[4] = "";

    assert_string_equal(xpc_string_get_string_ptr(text), "vm-7");
    assert_int_equal(xpc_string_get_length(text), 4);
    assert_int_equal(xpc_data_get_bytes(data, part, 4, 3), 2);
    assert_memory_equal(part, "ef", 2);
    assert_int_equal(xpc_data_get_bytes(data, part, 6, 3), 0);
    assert_ptr_equal(xpc_bool_create(true), XPC_BOOL_TRUE);
    xpc_release(XPC_BOOL_TRUE); /* is always there */
    assert_true(xpc_bool_get_value(XPC_BOOL_TRUE));
    xpc_release(text);
    xpc_release(data);
}

static void test_description(void **state)
{
    static const char *const parts[] = {"<dictionary: ",
                                        "count = 8",
                                        "\"bool\" => ",
                                        "<bool: ",
                                        "true",
                                        ": -5",
                                        "contents = 0x0001",
                                        "8A2C5F10-0D3B-4C7E-9A51-6F1E2D3C4B5A",
                                        "\"first\"",
                                        "<null: ",
                                        ": 18446744073709551615"};
    xpc_object_t all = make_all();
    char *text = xpc_copy_description(all);

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        if (!strstr(text, parts[i]))
            fail_msg("'%s' is not in %s", parts[i], text);
    assert_string_equal(xpc_type_get_name(XPC_TYPE_UUID), "uuid");
    free(text);
    xpc_release(all);
}

static bool count_until_int64(struct hand_block *block, const char *key, xpc_object_t value)
{
    ++*(int *)block->context;
    assert_non_null(value);
    return strcmp(key, "int64") != 0;
}

static bool sum_indexes(struct hand_block *block, size_t index, xpc_object_t value)
{
    *(int *)block->context += (int)index + 1;
    return value != NULL;
}

static void test_apply(void **state)
{
    xpc_object_t all = make_all();
    int calls = 0, sum = 0;

    assert_false(xpc_dictionary_apply(all, HAND_BLOCK(count_until_int64, &calls)));
    assert_int_equal(calls, 2);
    assert_true(
        xpc_array_apply(xpc_dictionary_get_value(all, "array"), HAND_BLOCK(sum_indexes, &sum)));
    assert_int_equal(sum, 3);
    assert_int_equal(hand_blocks, 0); /* none was copied */
    xpc_release(all);
}

#define THREADS 4
#define ROUNDS 20000

static void *retain_and_release(void *object)
{
    for (int i = 0; i < ROUNDS; i++) {
        xpc_retain(object);
        assert_string_equal(xpc_dictionary_get_string(object, "string"), "text");
        xpc_release(object);
    }
    xpc_release(object);
    return NULL;
}

static void test_references_from_threads(void **state)
{
    xpc_object_t all = make_all();
    pthread_t threads[THREADS];

    for (int i = 0; i < THREADS; i++) {
        xpc_retain(all);
        assert_int_equal(pthread_create(&threads[i], NULL, retain_and_release, all), 0);
    }
    xpc_release(all);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_getters),
        cmocka_unit_test(test_getters_of_wrong_types),
        cmocka_unit_test(test_set_replaces_and_removes),
        cmocka_unit_test(test_array_indexes),
        cmocka_unit_test(test_equality_and_hash),
        cmocka_unit_test(test_copy_is_deep),
        cmocka_unit_test(test_containers_keep_what_is_in_them),
        cmocka_unit_test(test_strings_and_data),
        cmocka_unit_test(test_description),
        cmocka_unit_test(test_apply),
        cmocka_unit_test(test_references_from_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
