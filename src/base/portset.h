/* SPDX-License-Identifier: Apache-2.0 */
/* A set of TCP and UDP ports, as an option lists it: "22,8000-8100" or "none". */
#ifndef OPENVMNET_BASE_PORTSET_H
#define OPENVMNET_BASE_PORTSET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define PORT_RANGES_MAX 32
#define PORT_SET_TEXT_MAX (PORT_RANGES_MAX * sizeof("65535-65535"))

struct port_range {
    uint16_t first, last;
};

struct port_set {
    bool given; /* false: nothing was said, which is all ports */
    unsigned len;
    struct port_range ranges[PORT_RANGES_MAX]; /* ascending, with gaps between them */
};

/*
 * Adds what @text lists to @set, so that an option may repeat. -EINVAL with the reason, in the name of @option;
 * then @set is as it was.
 */
int port_set_add(struct port_set *set, const char *option, const char *text, struct err *err);
/* Its only text, "all" where none was given: two sets are equal where their texts are. Returns @buf. */
const char *port_set_format(const struct port_set *set, char buf[PORT_SET_TEXT_MAX]);
bool port_set_has(const struct port_set *set, uint16_t port);

#endif
