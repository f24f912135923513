/* SPDX-License-Identifier: Apache-2.0 */
/* Every status of vmnet.framework has a reason, and missing rights a way out. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <vmnet/vmnet.h>

#include "plane/macos/port.h"

static const struct net_config config = {.name = "lab"};

static void expect(uint32_t status, int code, const char *text)
{
    struct err err = {""};
    char number[32];

    assert_int_equal(vmnet_explain(status, &config, &err), code);
    assert_non_null(strstr(err.text, text));
    assert_ptr_equal(strstr(err.text, "network 'lab': "), err.text);
    snprintf(number, sizeof(number), "status %u", status);
    assert_non_null(strstr(err.text, number));
}

static void test_success(void **state)
{
    struct err err = {""};

    assert_int_equal(vmnet_explain(VMNET_SUCCESS, &config, &err), 0);
    assert_string_equal(err.text, "");
}

static void test_every_status(void **state)
{
    expect(VMNET_FAILURE, -EIO, "does not say why");
    expect(VMNET_MEM_FAILURE, -ENOMEM, "memory");
    expect(VMNET_INVALID_ARGUMENT, -EINVAL, "RFC 1918");
    expect(VMNET_SETUP_INCOMPLETE, -EAGAIN, "try again");
    expect(VMNET_INVALID_ACCESS, -EACCES, "run vmnetd as root (sudo vmnet up lab)");
    expect(VMNET_PACKET_TOO_BIG, -EMSGSIZE, "MTU");
    expect(VMNET_BUFFER_EXHAUSTED, -ENOBUFS, "buffers");
    expect(VMNET_TOO_MANY_PACKETS, -E2BIG, "fewer frames");
    expect(VMNET_SHARING_SERVICE_BUSY, -EBUSY, "Internet Sharing");
    expect(VMNET_NOT_AUTHORIZED, -EPERM, "run vmnetd as root (sudo vmnet up lab)");
    expect(VMNET_NOT_AUTHORIZED, -EPERM, "contrib/launchd");
}

static void test_unknown_status(void **state)
{
    expect(1999, -EIO, "not known here");
    expect(0, -EIO, "not known here");
}

/* Where rights may be what is missing, they are spoken of. */
static void test_failure_of_a_user(void **state)
{
    struct err err;

    vmnet_explain(VMNET_FAILURE, &config, &err);
    assert_true((strstr(err.text, "as root") != NULL) == (geteuid() != 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_success),
        cmocka_unit_test(test_every_status),
        cmocka_unit_test(test_unknown_status),
        cmocka_unit_test(test_failure_of_a_user),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
