/* SPDX-License-Identifier: Apache-2.0 */
/* Statuses, and the words that they do not have. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "compat/vmnet/interface.h"

static const char *const names[] = {
    "success",          "failure",        "no memory",      "invalid argument",
    "not set up yet",   "invalid access", "packet too big", "buffers exhausted",
    "too many packets", "busy",           "not authorized",
};

vmnet_return_t hint(const char *call, vmnet_return_t status, const char *format, ...)
{
    char text[OPENVMNET_ERROR_TEXT_MAX];
    va_list arguments;

    if (!getenv("VMNET_DEBUG"))
        return status;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    fprintf(stderr, "libvmnet: %s: %s (%d): %s\n", call, names[status - VMNET_SUCCESS], status,
            text);
    return status;
}

vmnet_return_t status_of(int code)
{
    switch (code) {
    case 0: return VMNET_SUCCESS;
    case -EINVAL: return VMNET_INVALID_ARGUMENT;
    case -ENOMEM: return VMNET_MEM_FAILURE;
    /* Bridged mode is a matter of rights, here as there. */
    case -EOPNOTSUPP:
    case -EPERM:
    case -EACCES: return VMNET_NOT_AUTHORIZED;
    case -EEXIST:
    case -EBUSY:
    case -EADDRINUSE: return VMNET_SHARING_SERVICE_BUSY;
    default: return VMNET_FAILURE;
    }
}
