/* SPDX-License-Identifier: Apache-2.0 */
/* From a description, an XPC dictionary, to options of openvmnet_attach(). */
#ifndef OPENVMNET_COMPAT_VMNET_OPTIONS_H
#define OPENVMNET_COMPAT_VMNET_OPTIONS_H

#include <stdbool.h>
#include <vmnet/vmnet.h>

#define OPTIONS_MAX 16
#define OPTION_TEXT_MAX 160

struct options {
    char texts[OPTIONS_MAX][OPTION_TEXT_MAX];
    unsigned len;
};

/* Of the description what is not the network's business. */
struct wishes {
    operating_modes_t mode;
    bool allocate_mac; /* else the client has one of its own */
    bool tso, checksum, virtio_header;
};

/* "host", "shared", "bridged". */
const char *mode_name(operating_modes_t mode);

/* A text that is too long is cut, and so refused by who reads it. */
void options_add(struct options *options, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* As openvmnet_attach() takes them; lent by @options. */
void options_list(const struct options *options, const char *ret_list[OPTIONS_MAX + 1]);
/* The value of an option, or NULL. */
const char *options_find(const struct options *options, const char *name);

/*
 * VMNET_SUCCESS, or what is wrong, with a hint in the name of @call. Where @network, the network's options and
 * its mode are there already, and the description may have only what is an interface's.
 */
vmnet_return_t options_read(const char *call, xpc_object_t desc, bool network,
                            struct options *options, struct wishes *wishes);

/* "8a2c5f10-0d3b-…" */
void uuid_format(const uint8_t uuid[16], char ret_text[37]);
bool uuid_parse_text(const char *text, uint8_t ret_uuid[16]);

#endif
