/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket: Varlink (https://varlink.org/Wire-Protocol): JSON objects, each followed by a NUL,
 * over a unix socket; interface io.openvmnet. A reply may carry a descriptor beside it (SCM_RIGHTS).
 *
 * A client is not trusted with anything but what the methods offer: it must be this user or root; it has
 * CONTROL_REQUEST_MS to complete a request that it began, CONTROL_IDLE_MS between two, and can make us
 * hold CONTROL_REQUEST_BYTES of its own and CONTROL_REPLY_BYTES of ours.
 */
#ifndef OPENVMNET_DAEMON_CONTROL_H
#define OPENVMNET_DAEMON_CONTROL_H

#include <jansson.h>

#include "base/loop.h"

#define CONTROL_CLIENTS_MAX 128
#define CONTROL_REQUEST_BYTES (64 * 1024)
#define CONTROL_REPLY_BYTES (2 * 1024 * 1024)
#define CONTROL_REQUEST_MS 5000
#define CONTROL_IDLE_MS 60000

struct control;
struct control_client;

/*
 * Called for each request. @parameters is borrowed, never NULL. The callee replies, at once or later, by
 * exactly one of control_reply() and control_error(); until then no further request of that client is read.
 */
typedef void control_method_fn(void *context, struct control_client *client, const char *method,
                               json_t *parameters);
/* A client that waits for a reply is gone: it must not be replied to. */
typedef void control_gone_fn(void *context, struct control_client *client);

/* @listen_fd is borrowed. 0 or -errno. */
int control_new(struct loop *loop, int listen_fd, control_method_fn *on_method,
                control_gone_fn *on_gone, void *context, struct control **ret_control);
void control_free(struct control *control);
unsigned control_clients(const struct control *control);

/* Takes over @parameters (NULL: none). @fd is sent along unless -1, and stays the caller's. */
void control_reply(struct control_client *client, json_t *parameters, int fd);
/* Takes over @parameters (NULL: none). */
void control_error(struct control_client *client, const char *error, json_t *parameters);

#endif
