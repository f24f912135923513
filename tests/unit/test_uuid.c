/* SPDX-License-Identifier: Apache-2.0 */
/* The header of uuid(3), which is used where the system has no libuuid; here in any case. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <uuid/uuid.h>

#ifndef OPENVMNET_UUID_H
#error "another header was found"
#endif

#define TEXT "8a2c5f10-0d3b-4c7e-9a51-6f1e2d3c4b5a"

static void test_parse_and_unparse(void **state)
{
    static const char *const wrong[] = {
        "",
        "8a2c5f10-0d3b-4c7e-9a51-6f1e2d3c4b5",
        TEXT "0",
        "8a2c5f100-d3b-4c7e-9a51-6f1e2d3c4b5a",
        "8a2c5f10-0d3b-4c7e-9a51-6f1e2d3c4b5g",
        "8a2c5f10-0d3b-4c7e-9a51-6f1e2d3c4b 5",
        "8a2c5f10-0d3b-4c7e-9a51-6f1e2d3c 4b5",
        "8a2c5f10-0d3b-4c7e-9a51-6f1e2d3c4b+5",
    };
    uuid_t uuid, other;
    char text[37];

    assert_int_equal(uuid_parse(TEXT, uuid), 0);
    assert_int_equal(uuid[0], 0x8a);
    assert_int_equal(uuid[15], 0x5a);
    uuid_unparse_lower(uuid, text);
    assert_string_equal(text, TEXT);
    uuid_unparse(uuid, text);
    assert_string_equal(text, "8A2C5F10-0D3B-4C7E-9A51-6F1E2D3C4B5A");
    assert_int_equal(uuid_parse(text, other), 0);
    assert_int_equal(uuid_compare(uuid, other), 0);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(uuid_parse(wrong[i], other), -1);
        assert_int_equal(uuid_compare(uuid, other), 0); /* as it was */
    }
}

static void test_generate(void **state)
{
    uuid_t a, b;

    uuid_clear(a);
    assert_true(uuid_is_null(a));
    uuid_generate(a);
    uuid_generate_random(b);
    assert_false(uuid_is_null(a));
    assert_int_not_equal(uuid_compare(a, b), 0);
    assert_int_equal(a[6] >> 4, 4);
    assert_int_equal(a[8] >> 6, 2);
    uuid_copy(b, a);
    assert_int_equal(uuid_compare(a, b), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse_and_unparse),
        cmocka_unit_test(test_generate),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
