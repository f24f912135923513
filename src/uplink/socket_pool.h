/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stock of sockets inside the network, which the router makes: only there may a socket be opened that has
 * any address as its own. Nobody waits for them: they are asked for when the stock is low. One request is
 * under way at a time; one whose answer does not come (the router was started anew) is asked again.
 */
#ifndef OPENVMNET_UPLINK_SOCKET_POOL_H
#define OPENVMNET_UPLINK_SOCKET_POOL_H

#include <stdbool.h>

#include "base/loop.h"

#define SOCKET_POOL_MAX 32 /* TCP sockets of each family */

struct socket_pool {
    struct loop *loop;
    int fd; /* to the router, or -1 */
    struct loop_source source;
    struct loop_timer timer; /* runs while a request is under way */
    int asked;               /* index of the family that was asked for, or -1 */
    bool wanted[2];
    int fds[2][SOCKET_POOL_MAX];
    unsigned len[2];
    /* Sockets have come; or none could be made (@failed) although some were asked for. */
    void (*on_answer)(struct socket_pool *pool, int family, bool failed);
};

/* on_answer is set by the caller afterwards. @fd is borrowed. */
void socket_pool_init(struct socket_pool *pool, struct loop *loop, int fd);
void socket_pool_done(struct socket_pool *pool);
/* Asks for sockets of @family where there are few. */
void socket_pool_want(struct socket_pool *pool, int family);
/* A socket, the caller's; -1 where none is there now: on_answer follows. Asks for more in time. */
int socket_pool_take(struct socket_pool *pool, int family);

#endif
