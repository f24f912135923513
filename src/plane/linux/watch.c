/* SPDX-License-Identifier: Apache-2.0 */
/* Tells that the host's routes have changed. What they are now is for plane_host_routes() to say. */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/table.h"
#include "plane/plane.h"

struct plane_watch {
    struct loop *loop;
    struct loop_source source;
    struct mnl_socket *socket;
    void (*on_change)(void *context);
    void *context;
};

static void on_readable(struct loop_source *source, unsigned events)
{
    struct plane_watch *watch = CONTAINER_OF(source, struct plane_watch, source);
    char buf[8192];

    /* The messages themselves do not matter, nor do those that were lost (ENOBUFS). */
    while (recv(source->fd, buf, sizeof(buf), MSG_DONTWAIT) > 0 || errno == ENOBUFS)
        ;
    watch->on_change(watch->context);
}

int plane_watch_routes(struct loop *loop, void (*on_change)(void *context), void *context,
                       struct plane_watch **ret_watch)
{
    struct plane_watch *watch = calloc(1, sizeof(*watch));
    int result;

    if (!watch)
        return -ENOMEM;
    *watch = (struct plane_watch){
        .loop = loop,
        .source = {.on_event = on_readable, .fd = -1},
        .on_change = on_change,
        .context = context,
    };
    watch->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    if (!watch->socket || mnl_socket_bind(watch->socket, RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE,
                                          MNL_SOCKET_AUTOPID) < 0)
        result = -errno;
    else
        result = loop_add(loop, &watch->source, mnl_socket_get_fd(watch->socket), LOOP_IN);
    if (result < 0) {
        plane_watch_free(watch);
        return result;
    }
    *ret_watch = watch;
    return 0;
}

void plane_watch_free(struct plane_watch *watch)
{
    if (!watch)
        return;
    loop_remove(watch->loop, &watch->source);
    if (watch->socket)
        mnl_socket_close(watch->socket);
    free(watch);
}
