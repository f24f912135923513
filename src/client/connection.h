/* SPDX-License-Identifier: Apache-2.0 */
/* One Varlink connection to a network's control socket. Only for src/client. */
#ifndef OPENVMNET_CLIENT_CONNECTION_H
#define OPENVMNET_CLIENT_CONNECTION_H

#include <jansson.h>

#include "base/err.h"

/* A connected socket. -ENOENT where nobody listens (the network does not run), or -errno with reason. */
int connection_open(const char *network, int *ret_fd, struct err *err);

/*
 * Calls @method (with its interface's name) and waits for the reply. @parameters is taken over, and may
 * be NULL. *ret_fd (NULL: none is expected) gets a descriptor or -1. -ECONNRESET where the network
 * ended before it replied; the reply's own error as -errno with its reason.
 */
int connection_call(int fd, const char *method, json_t *parameters, json_t **ret_reply, int *ret_fd,
                    struct err *err);

#endif
