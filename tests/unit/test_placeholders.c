/* SPDX-License-Identifier: Apache-2.0 */
/* Placeholders: which texts are some, and what they become. "|" separates a command's arguments. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/placeholders.h"

#define ARGS_MAX 16
#define TEXT_MAX 1024

static void split(char *line, char *argv[ARGS_MAX])
{
    size_t argc = 0;

    while (line && argc < ARGS_MAX - 1) {
        argv[argc++] = line;
        line = strchr(line, '|');
        if (line)
            *line++ = '\0';
    }
    argv[argc] = NULL;
}

static int scan(const char *text, struct placeholders *found, struct err *err)
{
    char line[TEXT_MAX], *argv[ARGS_MAX];

    snprintf(line, sizeof(line), "%s", text);
    split(line, argv);
    return placeholders_scan(argv, found, err);
}

static void test_scan(void **state)
{
    enum {
        FD = 1 << PLACEHOLDER_FD,
        TAP = 1 << PLACEHOLDER_TAP,
        MAC = 1 << PLACEHOLDER_MAC,
        IP = 1 << PLACEHOLDER_IP,
        GATEWAY = 1 << PLACEHOLDER_GATEWAY,
        MTU = 1 << PLACEHOLDER_MTU,
        SOCKET = 1 << PLACEHOLDER_SOCKET,
    };
    static const struct {
        const char *text;
        unsigned ports, used[3];
    } cases[] = {
        {"vmm", 0, {0}},
        {"{fd}", 0, {0}}, /* the command itself is none of its arguments */
        {"vmm|{}|{|}|{{|}}|{ fd}|{fd |{FD}|{Fd}|{fd-}|{2}|{2fd}|{fds}|{f}", 0, {0}},
        {"vmm|{{fd}}|a{{mac2}}b|{{fd99}}|{{{fd}}}", 0, {0}},
        {"vmm|{fd}", 1, {FD}},
        {"vmm|x{fd1}y{mac}z", 1, {FD | MAC}},
        {"vmm|{\"a\":{\"b\":{fd}}}", 1, {FD}},
        {"vmm|{{fd}", 1, {FD}},
        {"vmm|{{a{fd}}}", 1, {FD}},
        {"vmm|{fd}{tap}{mac}{ip}{gateway}{mtu}", 1, {FD | TAP | MAC | IP | GATEWAY | MTU}},
        {"vmm|{mac2}|{socket2}|{fd}", 2, {FD, MAC | SOCKET}},
        {"vmm|{fd3}|{fd2}|{fd}", 3, {FD, FD, FD}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct placeholders found;
        struct err err = {0};

        if (scan(cases[i].text, &found, &err) != 0)
            fail_msg("%s: %s", cases[i].text, err.text);
        if (found.ports != cases[i].ports ||
            memcmp(found.used, cases[i].used, sizeof(cases[i].used)) != 0)
            fail_msg("%s: %u ports, %#x %#x %#x", cases[i].text, found.ports, found.used[0],
                     found.used[1], found.used[2]);
    }
}

static void test_refused(void **state)
{
    static const struct {
        const char *text, *reason;
    } cases[] = {
        {"vmm|{fd0}", "'{fd0}' in the command: the number of a port is one from 1 to 64"},
        {"vmm|{fd01}", "'{fd01}' in the command: the number"},
        {"vmm|{fd65}", "'{fd65}' in the command: the number"},
        {"vmm|{mac4294967297}", "'{mac4294967297}' in the command: the number"},
        {"vmm|{fd2}", "'{fd2}' in the command, but nothing of port 1"},
        {"vmm|{fd}|{fd64}", "'{fd64}' in the command, but nothing of port 2"},
        {"vmm|{fd}{socket}", "'{fd}' and '{socket}' in the command: these are two ways to port 1, "
                             "which has only one; leave one out, or give it a number of its own, "
                             "such as {socket2}"},
        {"vmm|{fd}|{socket2}|{fd2}", "'{fd2}' and '{socket2}' in the command"},
        {"vmm|{mac}", "'{mac}' in the command, but nothing that connects it to port 1: add {fd}"},
        {"vmm|{fd}|{ip2}", "'{ip2}' in the command, but nothing that connects it to port 2"},
        {"vmm|{tap}", "{socket}, the path of its datagram socket ({tap} is a name inside"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct placeholders found;
        struct err err = {0};

        if (scan(cases[i].text, &found, &err) != -EINVAL)
            fail_msg("%s: was accepted", cases[i].text);
        if (!strstr(err.text, cases[i].reason))
            fail_msg("%s: '%s' lacks '%s'", cases[i].text, err.text, cases[i].reason);
    }
}

static void test_expand(void **state)
{
    static const struct placeholder_values values[] = {
        {{"3", "tap0", "M0", "I0", "G0", "1500", "/s0"}},
        {{"4", "tap1", "M1", "I1", "G1", "9000", "{fd}"}}, /* is not looked at again */
    };
    static const struct {
        const char *text, *result;
    } cases[] = {
        {"", ""},
        {"plain", "plain"},
        {"{fd}", "3"},
        {"a{fd}b{fd2}c", "a3b4c"},
        {"{fd}{tap}{mac}{ip}{gateway}{mtu}{socket}", "3tap0M0I0G01500/s0"},
        {"{socket2},{tap2}", "{fd},tap1"},
        {"{\"fd\":{fd},\"n\":{\"mac\":\"{mac2}\"}}", "{\"fd\":3,\"n\":{\"mac\":\"M1\"}}"},
        {"{{fd}}", "{fd}"},
        {"{{fd2}}{fd2}", "{fd2}4"},
        {"{{fd}", "{3"},
        {"{{{fd}}}", "{{fd}}"},
        {"{{other}}", "{{other}}"},
        {"{", "{"},
        {"{fd", "{fd"},
        {"}{", "}{"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *result = placeholders_expand(cases[i].text, values);

        assert_non_null(result);
        assert_string_equal(result, cases[i].result);
        free(result);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scan),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_expand),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
