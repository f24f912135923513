/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OPENVMNET_CLI_METRICS_H
#define OPENVMNET_CLI_METRICS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* Replies to Status, as OpenMetrics text 1.0. */
void metrics_print(FILE *file, const json_t *states);

/* Whether a counter of Status has a name of its own here; others are printed all the same. */
bool metrics_know(const char *counter);

#endif
