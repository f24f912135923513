/* SPDX-License-Identifier: Apache-2.0 */
/* The host's interfaces, as `vmnet interfaces` knows them. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "compat/vmnet/interface.h"

/* An array, to be released; or NULL. */
static json_t *list_interfaces(const char *call)
{
    struct openvmnet_error error;
    char *text = openvmnet_interfaces(&error);
    json_t *interfaces = text ? json_loads(text, 0, NULL) : NULL;

    if (!text)
        hint(call, VMNET_FAILURE, "%s", error.text);
    free(text);
    return interfaces;
}

/* Without an interface an empty array: clients do not look for NULL. */
xpc_object_t vmnet_copy_shared_interface_list(void)
{
    xpc_object_t list = xpc_array_create(NULL, 0);
    json_t *interfaces = list_interfaces(__func__), *interface;
    size_t i;

    json_array_foreach(interfaces, i,
                       interface) if (json_is_true(json_object_get(interface, "canBridge")))
        xpc_array_set_string(list, XPC_ARRAY_APPEND,
                             json_string_value(json_object_get(interface, "name")));
    json_decref(interfaces);
    return list;
}

bool list_is_way_out(const char *call, const char *name)
{
    json_t *interfaces = list_interfaces(call), *interface;
    bool found = false;
    size_t i;

    json_array_foreach(interfaces, i, interface)
    {
        const char *other = json_string_value(json_object_get(interface, "name"));

        found = found || (other && strcmp(other, name) == 0 &&
                          json_is_true(json_object_get(interface, "default")));
    }
    json_decref(interfaces);
    return found;
}
