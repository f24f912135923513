/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket: Varlink (https://varlink.org/Wire-Protocol): JSON objects, each followed by a NUL,
 * over a unix socket; interface io.openvmnet. A request may carry one descriptor beside it (SCM_RIGHTS), a reply
 * CONTROL_REPLY_FDS.
 *
 * A client is not trusted with anything but what the methods offer: it must be this user or root, or for a
 * network of the system anybody, whom the methods tell apart; it has
 * CONTROL_REQUEST_MS to complete a request that it began, CONTROL_IDLE_MS between two, and can make us
 * hold CONTROL_REQUEST_BYTES of its own and CONTROL_REPLY_BYTES of ours.
 */
#ifndef OPENVMNET_DAEMON_CONTROL_H
#define OPENVMNET_DAEMON_CONTROL_H

#include <jansson.h>
#include <sys/types.h>

#include "base/loop.h"

#define CONTROL_CLIENTS_MAX 128
/* Where others than one user may connect. Root has none of these bounds, and the last CONTROL_ROOT_CLIENTS places. */
#define CONTROL_USER_CLIENTS_MAX 32 /* of one user */
#define CONTROL_STRANGERS_MAX                                                                      \
    32 /* of all who may only look: one person may be many users (subuid(5)) */
#define CONTROL_ROOT_CLIENTS 8
#define CONTROL_REQUEST_BYTES (64 * 1024)
#define CONTROL_REPLY_BYTES (8 * 1024 * 1024) /* a status with all ports and forwards that can be */
#define CONTROL_REQUEST_MS 5000
#define CONTROL_IDLE_MS 60000
#define CONTROL_REPLY_FDS 2

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

/* Whether who has connected by the socket @fd may only look. */
typedef bool control_stranger_fn(void *context, int fd);

/* @listen_fd is borrowed. @is_stranger: other users may connect, too; NULL: they may not. 0 or -errno. */
int control_new(struct loop *loop, int listen_fd, control_stranger_fn *is_stranger,
                control_method_fn *on_method, control_gone_fn *on_gone, void *context,
                struct control **ret_control);
void control_free(struct control *control);
unsigned control_clients(const struct control *control);

/* Takes over @parameters (NULL: none). @fds are sent along and stay the caller's. */
void control_reply(struct control_client *client, json_t *parameters, const int *fds,
                   unsigned fds_len);
/* Takes over @parameters (NULL: none). */
void control_error(struct control_client *client, const char *error, json_t *parameters);

/* The descriptor that came with the request under way, from now on the caller's, or -1. */
int control_take_fd(struct control_client *client);
/* The process that connected, as it was then; 0 where the system does not tell. */
pid_t control_pid(const struct control_client *client);
/* The same of the user. */
uid_t control_uid(const struct control_client *client);
/* Its socket, for who asks the kernel what else is known of it. */
int control_socket(const struct control_client *client);

#endif
