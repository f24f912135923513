/* SPDX-License-Identifier: Apache-2.0 */
/* Finding the network that was asked for, or starting it. Only for src/client. */
#ifndef OPENVMNET_CLIENT_OPEN_H
#define OPENVMNET_CLIENT_OPEN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/netspec.h"

#define OPEN_INTERFACE "io.openvmnet."
/* Between two looks at a network that is starting or ending in another's hands. */
#define OPEN_RETRY_MS 10

/*
 * A connection to the network that @spec describes, started where needed, with a text in @warning where
 * the user should know something of it. -EEXIST where one of that name runs and is another; or -errno
 * with the reason.
 */
int network_open(const struct net_spec *spec, bool lasting, uint64_t deadline_ms, int *ret_fd,
                 struct err *warning, struct err *err);

#endif
