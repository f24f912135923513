/* SPDX-License-Identifier: Apache-2.0 */
/* Why user namespaces are refused, from the settings below a made-up root. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/paths.h"
#include "plane/linux/namespace.h"

#define MAX_NAMESPACES "/proc/sys/user/max_user_namespaces"
#define CLONE "/proc/sys/kernel/unprivileged_userns_clone"
#define APPARMOR "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"
#define STATUS "/proc/self/status"
#define FILTERED "Name:\tvmnetd\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n"
#define FREE "Name:\tvmnetd\nNoNewPrivs:\t0\nSeccomp:\t0\nSeccomp_filters:\t0\n"

struct file {
    const char *path, *content;
};

#define FILES_MAX 4

static void make_root(char root[32], const struct file *files)
{
    strcpy(root, "/tmp/openvmnet-unit-XXXXXX");
    assert_non_null(mkdtemp(root));
    for (int i = 0; i < FILES_MAX && files[i].path; i++) {
        char path[128];
        FILE *file;

        snprintf(path, sizeof(path), "%s%s", root, files[i].path);
        *strrchr(path, '/') = '\0';
        assert_int_equal(path_make(path, 0700), 0);
        path[strlen(path)] = '/';
        file = fopen(path, "w");
        assert_non_null(file);
        assert_true(fputs(files[i].content, file) >= 0);
        assert_int_equal(fclose(file), 0);
    }
}

static const struct {
    const char *name;
    int error;
    struct file files[FILES_MAX];
    const char *reason, *way_out, *not_said;
} cases[] = {
    {
        "none allowed",
        -ENOSPC,
        {{MAX_NAMESPACES, "0\n"}, {STATUS, FREE}},
        "user.max_user_namespaces is 0",
        "sysctl -w user.max_user_namespaces=",
        "seccomp",
    },
    {
        "none allowed, whatever else is wrong",
        -EPERM,
        {{MAX_NAMESPACES, "0\n"}, {CLONE, "0\n"}, {APPARMOR, "1\n"}, {STATUS, FILTERED}},
        "user.max_user_namespaces is 0",
        "sysctl -w user.max_user_namespaces=",
        "AppArmor",
    },
    {
        "Debian's switch",
        -EPERM,
        {{MAX_NAMESPACES, "15000\n"}, {CLONE, "0\n"}, {STATUS, FREE}},
        "kernel.unprivileged_userns_clone is 0",
        "sysctl -w kernel.unprivileged_userns_clone=1",
        "max_user_namespaces",
    },
    {
        "Ubuntu's AppArmor",
        -EACCES,
        {{MAX_NAMESPACES, "15000\n"}, {CLONE, "1\n"}, {APPARMOR, "1\n"}, {STATUS, FREE}},
        "AppArmor restricts them",
        "a profile with 'userns,' in /etc/apparmor.d",
        "unprivileged_userns_clone",
    },
    {
        "a container's filter",
        -EPERM,
        {{MAX_NAMESPACES, "15000\n"}, {APPARMOR, "0\n"}, {STATUS, FILTERED}},
        "a seccomp filter refuses it (Operation not permitted)",
        "--security-opt seccomp=unconfined",
        "AppArmor",
    },
    {
        "too many",
        -ENOSPC,
        {{MAX_NAMESPACES, "15000\n"}, {CLONE, "1\n"}, {APPARMOR, "0\n"}, {STATUS, FREE}},
        "too many of them exist or they are nested too deep",
        "user.max_user_namespaces, user.max_net_namespaces",
        "CONFIG_USER_NS",
    },
    {
        "a kernel without them",
        -EINVAL,
        {{STATUS, FREE}},
        "Invalid argument",
        "is the kernel built with CONFIG_USER_NS",
        "sysctl",
    },
    {
        "nothing to be read at all",
        -EPERM,
        {{NULL, NULL}},
        "Operation not permitted",
        "does a security module or a container forbid it?",
        "sysctl",
    },
    {
        "settings that are no numbers",
        -EPERM,
        {{MAX_NAMESPACES, "\n"}, {CLONE, "no\n"}, {APPARMOR, ""}, {STATUS, "Seccomp:\t\n"}},
        "Operation not permitted",
        "CONFIG_USER_NS",
        "sysctl",
    },
    {
        "strict mode, which is no filter",
        -EPERM,
        {{STATUS, "Seccomp:\t1\n"}},
        "Operation not permitted",
        "CONFIG_USER_NS",
        "seccomp",
    },
};

static void test_explain(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct err err = {""};
        char root[32];
        int result;

        make_root(root, cases[i].files);
        result = namespace_explain(cases[i].error, root, &err);
        assert_int_equal(path_remove_tree(root), 0);
        if (result != cases[i].error ||
            strstr(err.text, "cannot make a user namespace") != err.text ||
            !strstr(err.text, cases[i].reason) || !strstr(err.text, cases[i].way_out) ||
            strstr(err.text, cases[i].not_said))
            fail_msg("%s: %d: %s", cases[i].name, result, err.text);
    }
}

/* Whoever is not interested in the reason gets the code alone. */
static void test_without_text(void **state)
{
    (void)state;
    assert_int_equal(namespace_explain(-EPERM, "/nonexistent", NULL), -EPERM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_explain),
        cmocka_unit_test(test_without_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
