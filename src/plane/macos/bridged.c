/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include <vmnet/vmnet.h>

#include "plane/macos/port.h"

bool vmnet_can_bridge(const char *name, char *ret_names, size_t size)
{
    xpc_object_t list = vmnet_copy_shared_interface_list();
    size_t count = list ? xpc_array_get_count(list) : 0, at = 0;
    bool found = false;

    if (ret_names)
        ret_names[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        const char *entry = xpc_array_get_string(list, i);

        if (!entry)
            continue;
        found = found || strcmp(entry, name) == 0;
        if (ret_names && at + strlen(entry) + 3 < size)
            at += (size_t)snprintf(ret_names + at, size - at, "%s%s", at ? ", " : "", entry);
    }
    if (list)
        xpc_release(list);
    return found;
}
