/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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
