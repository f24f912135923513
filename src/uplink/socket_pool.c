/* SPDX-License-Identifier: Apache-2.0 */
#include "uplink/socket_pool.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/descriptor.h"
#include "base/log.h"
#include "base/table.h"
#include "uplink/uplink.h"

/* A router that is started anew is back within milliseconds. */
#define ANSWER_TIMEOUT_MS 1000

static const int families[2] = {AF_INET, AF_INET6};

static int family_index(int family)
{
    return family == AF_INET6;
}

/* Sends what is wanted first, unless an answer is being waited for. */
static void pool_ask(struct socket_pool *pool)
{
    struct uplink_socket_request request = {.type = SOCK_STREAM, .count = UPLINK_SOCKETS_A_REQUEST};

    for (int i = 0; i < 2 && pool->asked < 0; i++) {
        if (!pool->wanted[i])
            continue;
        pool->wanted[i] = false;
        request.family = families[i];
        if (send(pool->fd, &request, sizeof(request), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
            log_debug("asking the router for sockets: %s", strerror(errno));
        /* Where it was not even sent, the timer sends it again. */
        pool->asked = i;
        loop_timer_set(pool->loop, &pool->timer, ANSWER_TIMEOUT_MS);
    }
}

static void on_timer(struct loop_timer *timer)
{
    struct socket_pool *pool = CONTAINER_OF(timer, struct socket_pool, timer);

    pool->wanted[pool->asked] = true;
    pool->asked = -1;
    pool_ask(pool);
}

/* Of which family they are is asked of the sockets: a late answer may be to another request. */
static void pool_fill(struct socket_pool *pool, const int *fds, unsigned fds_len)
{
    for (unsigned i = 0; i < fds_len; i++) {
        int family = 0, index;
        socklen_t len = sizeof(family);

        getsockopt(fds[i], SOL_SOCKET, SO_DOMAIN, &family, &len);
        index = family_index(family);
        if (family != families[index] || pool->len[index] == SOCKET_POOL_MAX)
            close(fds[i]);
        else
            pool->fds[index][pool->len[index]++] = fds[i];
    }
}

static void on_readable(struct loop_source *source, unsigned events)
{
    struct socket_pool *pool = CONTAINER_OF(source, struct socket_pool, source);
    int fds[UPLINK_SOCKETS_A_REQUEST], asked = pool->asked;
    unsigned fds_len;
    char byte;
    ssize_t len = descriptor_receive(source->fd, &byte, sizeof(byte), fds, UPLINK_SOCKETS_A_REQUEST,
                                     &fds_len);

    if (len == -EAGAIN)
        return;
    if (len <= 0) {
        log_error("the router gives no sockets any more: %s", strerror(len ? (int)-len : EPIPE));
        loop_remove(pool->loop, source);
        return;
    }
    pool_fill(pool, fds, fds_len);
    if (asked < 0)
        return;
    pool->asked = -1;
    loop_timer_clear(pool->loop, &pool->timer);
    pool->on_answer(pool, families[asked], fds_len == 0);
    pool_ask(pool);
}

void socket_pool_init(struct socket_pool *pool, struct loop *loop, int fd)
{
    *pool = (struct socket_pool){
        .loop = loop,
        .fd = fd,
        .source = {.on_event = on_readable, .fd = -1},
        .timer.on_timer = on_timer,
        .asked = -1,
    };
}

void socket_pool_done(struct socket_pool *pool)
{
    loop_remove(pool->loop, &pool->source);
    loop_timer_clear(pool->loop, &pool->timer);
    for (int i = 0; i < 2; i++)
        while (pool->len[i] > 0)
            close(pool->fds[i][--pool->len[i]]);
}

/* Not before the first forward: most networks have none. */
static bool pool_open(struct socket_pool *pool)
{
    int result, flags;

    if (pool->source.fd >= 0)
        return true;
    if (pool->fd < 0)
        return false;
    flags = fcntl(pool->fd, F_GETFL);
    if (flags < 0 || fcntl(pool->fd, F_SETFL, flags | O_NONBLOCK) < 0)
        result = -errno;
    else
        result = loop_add(pool->loop, &pool->source, pool->fd, LOOP_IN);
    if (result < 0)
        log_error("the router's sockets: %s", strerror(-result));
    if (result < 0)
        pool->fd = -1;
    return result == 0;
}

void socket_pool_want(struct socket_pool *pool, int family)
{
    int index = family_index(family);

    if (pool->len[index] > SOCKET_POOL_MAX - UPLINK_SOCKETS_A_REQUEST || pool->asked == index ||
        !pool_open(pool))
        return;
    pool->wanted[index] = true;
    pool_ask(pool);
}

int socket_pool_take(struct socket_pool *pool, int family)
{
    int index = family_index(family), fd = -1;

    if (pool->len[index] > 0)
        fd = pool->fds[index][--pool->len[index]];
    socket_pool_want(pool, family);
    return fd;
}
