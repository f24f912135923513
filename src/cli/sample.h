/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OPENVMNET_CLI_SAMPLE_H
#define OPENVMNET_CLI_SAMPLE_H

#include <jansson.h>

#include "base/err.h"

/*
 * One look at the networks: an array of replies to Status, of @network or (NULL) of all that run. The array
 * is the caller's in any case; where a network could not be asked, -errno with the reason (the last one's),
 * and the others are in it. One that ends meanwhile is no failure, unless it is @network: -ENOENT.
 */
int sample_take(const char *network, json_t **ret_states, struct err *err);

#endif
