/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libopenvmnet as a program has it, by its shared library: options are refused before anything starts,
 * and what is not there is no crash. What needs a network is in tests/net/test_library.py.
 */
#include <openvmnet.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define OPTIONS_MAX 4

static const struct {
    const char *name;
    const char *options[OPTIONS_MAX];
    const char *text; /* part of what is said */
} refused[] = {
    {"unknown", {"colour=red"}, "colour"},
    {"unknown lists a network's", {"colour=red"}, "start-address"},
    {"unknown lists a port's", {"colour=red"}, "hostname"},
    {"unknown lists the library's", {"colour=red"}, "netns"},
    {"no name", {"=x"}, "write NAME=VALUE"},
    {"empty", {""}, "write NAME=VALUE"},
    {"long name", {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa=1"}, "write NAME=VALUE"},
    {"no value is on", {"mode"}, "on"},
    {"mode", {"mode=fast"}, "fast"},
    {"network", {"network=a b"}, "a b"},
    {"host name", {"hostname=-a"}, "-a"},
    {"MAC", {"mac=12:34"}, "12:34"},
    {"isolated", {"isolated=perhaps"}, "isolated"},
    {"one of three addresses", {"start-address=192.168.70.1"}, "end-address"},
    {"the later is wrong", {"network=a", "isolated", "kind=pipe"}, "kind=pipe"},
    {"path of a tap", {"path=on"}, "kind=dgram"},
    {"path without", {"kind=dgram", "path=perhaps"}, "path"},
    {"veth without", {"kind=veth"}, "netns=PATH"},
    {"netns without", {"netns=/proc/self/ns/net"}, "kind=veth"},
    {"netns relative", {"kind=veth", "netns=x"}, "/run/netns/NAME"},
};

static void test_refused(void **state)
{
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        struct openvmnet_error error;

        memset(&error, 'x', sizeof(error));
        print_message("%s\n", refused[i].name);
        assert_null(openvmnet_attach(refused[i].options, &error));
        assert_int_equal(error.code, -EINVAL);
        assert_non_null(memchr(error.text, '\0', sizeof(error.text)));
        assert_non_null(strstr(error.text, refused[i].text));
        assert_null(openvmnet_attach(refused[i].options, NULL));
    }
}

static void test_netns_is_missing(void **state)
{
    const char *options[] = {"kind=veth", "netns=/nonexistent/net", NULL};
    struct openvmnet_error error;

    assert_null(openvmnet_attach(options, &error));
    assert_int_equal(error.code, -ENOENT);
    assert_non_null(strstr(error.text, "/nonexistent/net"));
}

/* Options of a port are none of a network. */
static void test_network_options(void **state)
{
    const char *options[] = {"hostname=web", NULL};
    struct openvmnet_error error;
    int user_fd, net_fd;

    assert_int_equal(openvmnet_start(options, &error), -EINVAL);
    assert_non_null(strstr(error.text, "hostname"));
    assert_int_equal(openvmnet_namespaces(options, &user_fd, &net_fd, &error), -EINVAL);
    assert_int_equal(error.code, -EINVAL);
}

static void test_names(void **state)
{
    static const char *const names[] = {NULL, "", "a b", "../x"};
    struct openvmnet_error error;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_int_equal(openvmnet_stop(names[i], 0, &error), -EINVAL);
        assert_null(openvmnet_status(names[i], &error));
        assert_int_equal(error.code, -EINVAL);
        assert_null(openvmnet_forwards(names[i], NULL));
        assert_int_equal(openvmnet_forward_add(names[i], "tcp::1-a:1", &error), -EINVAL);
        assert_int_equal(openvmnet_forward_remove(names[i], NULL, &error), -EINVAL);
        assert_int_equal(openvmnet_connect(names[i], "a", 1, &error), -EINVAL);
        assert_true(error.text[0] != '\0');
    }
    assert_int_equal(openvmnet_forward_add("a", "\xff", &error), -EINVAL);
    assert_int_equal(openvmnet_connect("a", "\xff", 1, &error), -EINVAL);
    assert_int_equal(openvmnet_connect("a", "b", 0, &error), -EINVAL);
    assert_int_equal(openvmnet_connect("a", "b", 65536, &error), -EINVAL);
}

static void test_no_port(void **state)
{
    struct openvmnet_port *port = NULL;

    openvmnet_port_free(NULL);
    openvmnet_port_free(&port);
    openvmnet_port_free(&port);
    assert_null(openvmnet_port_get(NULL, "mac"));
    assert_int_equal(openvmnet_port_fd(NULL), -1);
    assert_int_equal(openvmnet_port_take_fd(NULL), -1);
}

/* The header is not generated, so it must be looked at. */
static void test_version(void **state)
{
    char text[32];

    snprintf(text, sizeof(text), "%d.%d.%d", OPENVMNET_VERSION_MAJOR, OPENVMNET_VERSION_MINOR,
             OPENVMNET_VERSION_PATCH);
    assert_string_equal(text, OPENVMNET_VERSION);
    assert_int_equal(openvmnet_version(), OPENVMNET_VERSION_NUMBER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),         cmocka_unit_test(test_netns_is_missing),
        cmocka_unit_test(test_network_options), cmocka_unit_test(test_names),
        cmocka_unit_test(test_no_port),         cmocka_unit_test(test_version),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
