/* SPDX-License-Identifier: Apache-2.0 */
/* A directory for files of networks, and what is read from them. */
#ifndef OPENVMNET_TESTS_NETFILE_FIXTURE_H
#define OPENVMNET_TESTS_NETFILE_FIXTURE_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/netfile.h"
#include "base/paths.h"

#define UUID "8a2c5f10-0d3b-4c7e-9a51-6f1e2d3c4b5a"
#define ADDRESSES                                                                                  \
    "start-address = 192.168.70.1\nend-address = 192.168.70.99\nsubnet-mask = 255.255.255.0\n"
#define X50 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define LABEL63 "x23456789012345678901234567890123456789012345678901234567890123"
#define HOST(name, n) "[host " name "]\nmac = 52:54:00:00:00:0" n "\n"

struct fixture {
    char directory[64], path[96];
    struct net_file *file;
};

static inline int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    if (!fixture)
        return -1;
    fixture->file = malloc(sizeof(*fixture->file));
    snprintf(fixture->directory, sizeof(fixture->directory), "/tmp/test-netfile-XXXXXX");
    if (!fixture->file || !mkdtemp(fixture->directory))
        return -1;
    snprintf(fixture->path, sizeof(fixture->path), "%s/lab.conf", fixture->directory);
    *state = fixture;
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *fixture = *state;
    int result = path_remove_tree(fixture->directory);

    free(fixture->file);
    free(fixture);
    return result;
}

static inline void write_bytes(const char *path, const char *bytes, size_t len_bytes)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, len_bytes, file), len_bytes);
    assert_int_equal(fclose(file), 0);
}

static inline int read_bytes(struct fixture *fixture, const char *bytes, size_t len_bytes,
                             const char *name, struct err *err)
{
    write_bytes(fixture->path, bytes, len_bytes);
    if (err)
        err->text[0] = '\0';
    return net_file_read(fixture->path, name, fixture->file, err);
}

static inline int read_text(struct fixture *fixture, const char *text, struct err *err)
{
    return read_bytes(fixture, text, strlen(text), "lab", err);
}

#endif
