/* SPDX-License-Identifier: Apache-2.0 */
/* Error codes as names, there and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "base/err.h"

static void test_there_and_back(void **state)
{
    static const struct {
        int code;
        const char *name;
    } all[] = {
        {-EINVAL, "EINVAL"},       {-EMSGSIZE, "EMSGSIZE"}, {-ENOBUFS, "ENOBUFS"},
        {-E2BIG, "E2BIG"},         {-EAGAIN, "EAGAIN"},     {-EADDRNOTAVAIL, "EADDRNOTAVAIL"},
        {-ETIMEDOUT, "ETIMEDOUT"}, {-EIO, "EIO"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        assert_string_equal(err_code_name(all[i].code), all[i].name);
        assert_int_equal(err_code_parse(all[i].name), all[i].code);
    }
}

/* Clients begin again after -ECONNRESET, which therefore no network can say. */
static void test_without_a_name(void **state)
{
    (void)state;
    assert_string_equal(err_code_name(-ECONNRESET), "EIO");
    assert_string_equal(err_code_name(-100000), "EIO");
    assert_string_equal(err_code_name(0), "EIO");
    assert_string_equal(err_code_name(EINVAL), "EIO");
    assert_int_equal(err_code_parse("ECONNRESET"), -EIO);
    assert_int_equal(err_code_parse("einval"), -EIO);
    assert_int_equal(err_code_parse(""), -EIO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_without_a_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
