/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    int code;
    const char *name;
} names[] = {
    {EIO, "EIO"}, /* the first: for what is not here */
    {E2BIG, "E2BIG"},
    {EACCES, "EACCES"},
    {EADDRINUSE, "EADDRINUSE"},
    {EADDRNOTAVAIL, "EADDRNOTAVAIL"},
    {EAGAIN, "EAGAIN"},
    {EBUSY, "EBUSY"},
    {ECONNREFUSED, "ECONNREFUSED"},
    {EDQUOT, "EDQUOT"},
    {EEXIST, "EEXIST"},
    {EHOSTUNREACH, "EHOSTUNREACH"},
    {EINVAL, "EINVAL"},
    {EMFILE, "EMFILE"},
    {EMSGSIZE, "EMSGSIZE"},
    {ENAMETOOLONG, "ENAMETOOLONG"},
    {ENETDOWN, "ENETDOWN"},
    {ENETUNREACH, "ENETUNREACH"},
    {ENFILE, "ENFILE"},
    {ENOBUFS, "ENOBUFS"},
    {ENODEV, "ENODEV"},
    {ENOENT, "ENOENT"},
    {ENOMEM, "ENOMEM"},
    {ENOSPC, "ENOSPC"},
    {ENOTCONN, "ENOTCONN"},
    {EOPNOTSUPP, "EOPNOTSUPP"},
    {EPERM, "EPERM"},
    {EROFS, "EROFS"},
    {ETIMEDOUT, "ETIMEDOUT"},
};
#define NAMES_LEN (sizeof(names) / sizeof(names[0]))

/* What an analyzer is shown in their place. */
#undef err_set
#undef err_prefix

int err_set(struct err *err, int code, const char *format, ...)
{
    va_list args;

    if (!err)
        return code;
    va_start(args, format);
    vsnprintf(err->text, sizeof(err->text), format, args);
    va_end(args);
    return code;
}

int err_prefix(struct err *err, int code, const char *format, ...)
{
    struct err old;
    va_list args;
    size_t len_bytes;

    if (!err)
        return code;
    old = *err;
    va_start(args, format);
    vsnprintf(err->text, sizeof(err->text), format, args);
    va_end(args);
    len_bytes = strlen(err->text);
    snprintf(err->text + len_bytes, sizeof(err->text) - len_bytes, ": %s", old.text);
    return code;
}

const char *err_code_name(int code)
{
    for (size_t i = 0; i < NAMES_LEN; i++)
        if (names[i].code == -code)
            return names[i].name;
    return names[0].name;
}

int err_code_parse(const char *name)
{
    for (size_t i = 0; i < NAMES_LEN; i++)
        if (strcmp(names[i].name, name) == 0)
            return -names[i].code;
    return -names[0].code;
}
