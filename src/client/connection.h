/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One Varlink connection to a network's control socket. Only for src/client.
 *
 * A name means one network, though the user and the system may each have one of it:
 *
 * - The user's own, where it runs, or has a file; else the system's, where it runs or has a file; else the
 *   user's, which needs no file. As with a program's settings, what is the user's own goes before what is
 *   there for all; and a machine that is to join others goes where they are, whatever an administrator
 *   defines meanwhile.
 * - For root the system's goes first: what an administrator starts is what /etc says, whoever's
 *   directories sudo(8) has left in the environment.
 */
#ifndef OPENVMNET_CLIENT_CONNECTION_H
#define OPENVMNET_CLIENT_CONNECTION_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"
#include "base/netspec.h"

#define CONNECTION_FDS_MAX 2 /* beside one reply */

/*
 * A connected socket. -ENOENT where the network does not run, or -errno with reason. *ret_scope is whose
 * network the name means, on -ENOENT too. A service manager may listen for a network of the system that
 * does not run, and starts it for who connects: not where @running says that only one that runs is wanted.
 */
int connection_open(const char *network, bool running, enum net_scope *ret_scope, int *ret_fd,
                    struct err *err);
/* Whether a service manager listens for a network of the system that does not run: who connects starts it. */
bool connection_is_awaited(const char *network);

/*
 * Calls @method (with its interface's name) and waits for the reply. @parameters is taken over, and may
 * be NULL. @send_fd (-1: none) goes beside the request and stays the caller's. @ret_fds (NULL: none are
 * expected) gets the reply's descriptors, close-on-exec, and -1 for those it has not; on error all are
 * -1. -ECONNRESET where the network ended before it replied; the reply's own error as -errno with its
 * reason.
 */
int connection_call(int fd, const char *method, json_t *parameters, int send_fd, json_t **ret_reply,
                    int ret_fds[CONNECTION_FDS_MAX], struct err *err);

/* The descriptor whose index @reply has under @key, out of @fds and now the caller's; -1: none. */
int connection_take_fd(const json_t *reply, const char *key, int fds[CONNECTION_FDS_MAX]);
/* Closes what nobody took. */
void connection_close_fds(int fds[CONNECTION_FDS_MAX]);

/*
 * json_dumps() for free(3), whatever allocator the program has given to jansson; NULL without memory.
 */
char *connection_text(const json_t *value, size_t flags);

#endif
