/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptions. Each key has its type and the modes that it may be used in; the value is then libopenvmnet's to
 * check, whose words are the hint. Keys that are not known are passed over, as those of newer versions are on
 * macOS.
 */
#include "compat/vmnet/options.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "compat/vmnet/interface.h"

enum mode_bit {
    HOST = 1,
    SHARED = 2,
    BRIDGED = 4,
    ANY = 7
};

void options_add(struct options *options, const char *format, ...)
{
    va_list arguments;

    if (options->len >= OPTIONS_MAX)
        return;
    va_start(arguments, format);
    vsnprintf(options->texts[options->len++], OPTION_TEXT_MAX, format, arguments);
    va_end(arguments);
}

void options_list(const struct options *options, const char *ret_list[OPTIONS_MAX + 1])
{
    for (unsigned i = 0; i < options->len; i++)
        ret_list[i] = options->texts[i];
    ret_list[options->len] = NULL;
}

const char *options_find(const struct options *options, const char *name)
{
    size_t len = strlen(name);

    for (unsigned i = 0; i < options->len; i++)
        if (strncmp(options->texts[i], name, len) == 0 && options->texts[i][len] == '=')
            return options->texts[i] + len + 1;
    return NULL;
}

void uuid_format(const uint8_t uuid[16], char ret_text[37])
{
    char *at = ret_text;

    for (int i = 0; i < 16; i++)
        at += snprintf(at, (size_t)(ret_text + 37 - at), "%s%02x",
                       i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid[i]);
}

bool uuid_parse_text(const char *text, uint8_t ret_uuid[16])
{
    for (int i = 0; i < 16; i++) {
        int len = 0;

        text += *text == '-';
        if (sscanf(text, "%2hhx%n", &ret_uuid[i], &len) != 1 || len != 2)
            return false;
        text += len;
    }
    return *text == '\0';
}

const char *mode_name(operating_modes_t mode)
{
    return mode == VMNET_HOST_MODE ? "host" : mode == VMNET_SHARED_MODE ? "shared" : "bridged";
}

/* ---- keys: what each asks for; the value has the right type */

static const struct key {
    const char *const *key;
    xpc_type_t type;
    unsigned modes;
    bool of_network;    /* may not stand beside a network object */
    const char *option; /* libopenvmnet's; NULL: a wish, a bool */
    size_t wish;        /* where it is in struct wishes */
} keys[] = {
    {&vmnet_shared_interface_name_key, XPC_TYPE_STRING, BRIDGED, true, "ifname", 0},
    {&vmnet_mtu_key, XPC_TYPE_UINT64, HOST | SHARED, true, "mtu", 0},
    {&vmnet_start_address_key, XPC_TYPE_STRING, HOST | SHARED, true, "start-address", 0},
    {&vmnet_end_address_key, XPC_TYPE_STRING, HOST | SHARED, true, "end-address", 0},
    {&vmnet_subnet_mask_key, XPC_TYPE_STRING, HOST | SHARED, true, "subnet-mask", 0},
    {&vmnet_nat66_prefix_key, XPC_TYPE_STRING, SHARED, true, "nat66-prefix", 0},
    {&vmnet_network_identifier_key, XPC_TYPE_UUID, HOST, true, "net-uuid", 0},
    {&vmnet_host_ip_address_key, XPC_TYPE_STRING, HOST, true, "host-ip-address", 0},
    {&vmnet_host_subnet_mask_key, XPC_TYPE_STRING, HOST, true, "host-subnet-mask", 0},
    {&vmnet_host_ipv6_address_key, XPC_TYPE_STRING, HOST, true, "host-ipv6-address", 0},
    {&vmnet_interface_id_key, XPC_TYPE_UUID, ANY, false, "interface-id", 0},
    {&vmnet_enable_isolation_key, XPC_TYPE_BOOL, ANY, false, "isolated", 0},
    {&vmnet_allocate_mac_address_key, XPC_TYPE_BOOL, ANY, false, NULL,
     offsetof(struct wishes, allocate_mac)},
    {&vmnet_enable_tso_key, XPC_TYPE_BOOL, ANY, false, NULL, offsetof(struct wishes, tso)},
    {&vmnet_enable_checksum_offload_key, XPC_TYPE_BOOL, ANY, false, NULL,
     offsetof(struct wishes, checksum)},
    {&vmnet_enable_virtio_header_key, XPC_TYPE_BOOL, ANY, false, NULL,
     offsetof(struct wishes, virtio_header)},
};

struct reading {
    const char *call;
    struct options *options;
    struct wishes *wishes;
};

static void read_value(struct reading *reading, const struct key *key, xpc_object_t value)
{
    char uuid[37];

    if (!key->option) {
        *(bool *)((char *)reading->wishes + key->wish) = xpc_bool_get_value(value);
    } else if (key->type == XPC_TYPE_STRING) {
        options_add(reading->options, "%s=%s", key->option, xpc_string_get_string_ptr(value));
    } else if (key->type == XPC_TYPE_UINT64) {
        options_add(reading->options, "%s=%" PRIu64, key->option, xpc_uint64_get_value(value));
    } else if (key->type == XPC_TYPE_UUID) {
        uuid_format(xpc_uuid_get_bytes(value), uuid);
        options_add(reading->options, "%s=%s", key->option, uuid);
    } else {
        options_add(reading->options, "%s=%s", key->option,
                    xpc_bool_get_value(value) ? "on" : "off");
    }
}

static vmnet_return_t read_key(struct reading *reading, const struct key *key, xpc_object_t desc,
                               bool network)
{
    xpc_object_t value = xpc_dictionary_get_value(desc, *key->key);
    operating_modes_t mode = reading->wishes->mode;

    if (!value)
        return VMNET_SUCCESS;
    if (xpc_get_type(value) != key->type)
        return hint(reading->call, VMNET_INVALID_ARGUMENT, "%s is a %s: it has to be a %s",
                    *key->key, xpc_type_get_name(xpc_get_type(value)),
                    xpc_type_get_name(key->type));
    if (network && key->of_network)
        return hint(reading->call, VMNET_INVALID_ARGUMENT,
                    "%s is decided by the network object: leave it out", *key->key);
    if (!(key->modes & 1U << (mode - VMNET_HOST_MODE)))
        return hint(reading->call, VMNET_INVALID_ARGUMENT,
                    "%s has no place in %s mode: leave it out", *key->key, mode_name(mode));
    read_value(reading, key, value);
    return VMNET_SUCCESS;
}

static vmnet_return_t read_mode(const char *call, xpc_object_t desc, operating_modes_t *ret_mode)
{
    xpc_object_t value = xpc_dictionary_get_value(desc, vmnet_operation_mode_key);
    uint64_t mode = xpc_uint64_get_value(value);

    if (!value || mode < VMNET_HOST_MODE || mode > VMNET_BRIDGED_MODE)
        return hint(call, VMNET_INVALID_ARGUMENT,
                    "%s is %s: it has to be the uint64 VMNET_HOST_MODE, VMNET_SHARED_MODE or "
                    "VMNET_BRIDGED_MODE",
                    vmnet_operation_mode_key, value ? "something else" : "not set");
    *ret_mode = (operating_modes_t)mode;
    return VMNET_SUCCESS;
}

static vmnet_return_t check_together(const struct reading *reading, xpc_object_t desc)
{
    const struct wishes *wishes = reading->wishes;

    if (wishes->mode == VMNET_BRIDGED_MODE &&
        !xpc_dictionary_get_value(desc, vmnet_shared_interface_name_key))
        return hint(reading->call, VMNET_INVALID_ARGUMENT,
                    "%s is missing, which bridged mode needs", vmnet_shared_interface_name_key);
    if (wishes->checksum && wishes->virtio_header)
        return hint(reading->call, VMNET_INVALID_ARGUMENT,
                    "%s and %s exclude each other: the header says what is to be done",
                    vmnet_enable_checksum_offload_key, vmnet_enable_virtio_header_key);
    return VMNET_SUCCESS;
}

vmnet_return_t options_read(const char *call, xpc_object_t desc, bool network,
                            struct options *options, struct wishes *wishes)
{
    struct reading reading = {call, options, wishes};
    vmnet_return_t status = VMNET_SUCCESS;

    if (!network) {
        status = read_mode(call, desc, &wishes->mode);
        if (status == VMNET_SUCCESS)
            options_add(options, "mode=%s", mode_name(wishes->mode));
    }
    for (size_t i = 0; status == VMNET_SUCCESS && i < sizeof(keys) / sizeof(keys[0]); i++)
        status = read_key(&reading, &keys[i], desc, network);
    if (status == VMNET_SUCCESS)
        status = check_together(&reading, desc);
    return status;
}
