/* SPDX-License-Identifier: Apache-2.0 */
#include "uplink/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum progress {
    PROGRESS_NONE,
    PROGRESS_TURN_OVER,
    PROGRESS_FROM_RESET, /* by who sends, and all that it sent before was read */
    PROGRESS_TO_RESET,   /* by who should take it */
};

static void relay_turn(struct relay *relay);
static void relay_die(struct relay *relay, int dead);

static void on_group_timer(struct loop_timer *timer)
{
    struct relay_group *group = CONTAINER_OF(timer, struct relay_group, timer);
    struct list turn;

    /* Take the list as it is now: those that queue again wait for the next round. */
    list_init(&turn);
    while (!list_is_empty(&group->ready)) {
        struct list *node = group->ready.next;

        list_remove(node);
        list_append(&turn, node);
    }
    while (!list_is_empty(&turn)) {
        struct relay *relay = CONTAINER_OF(turn.next, struct relay, ready);

        list_remove(&relay->ready);
        relay_turn(relay);
    }
}

static void on_dying_timer(struct loop_timer *timer)
{
    struct relay_group *group = CONTAINER_OF(timer, struct relay_group, dying_timer);
    struct list turn;

    list_init(&turn);
    while (!list_is_empty(&group->dying)) {
        struct list *node = group->dying.next;

        list_remove(node);
        list_append(&turn, node);
    }
    while (!list_is_empty(&turn)) {
        struct relay *relay = CONTAINER_OF(turn.next, struct relay, ready);

        list_remove(&relay->ready);
        relay_die(relay, relay->dead);
    }
}

void relay_group_init(struct relay_group *group, struct loop *loop, uint8_t *buffer)
{
    *group = (struct relay_group){.loop = loop,
                                  .buffer = buffer,
                                  .pipes_max = RELAY_PIPES_MAX,
                                  .timer.on_timer = on_group_timer,
                                  .dying_timer.on_timer = on_dying_timer};
    list_init(&group->ready);
    list_init(&group->dying);
}

void relay_group_done(struct relay_group *group)
{
    loop_timer_clear(group->loop, &group->timer);
    loop_timer_clear(group->loop, &group->dying_timer);
    while (group->idle_len > 0) {
        struct relay_pipe *pipe = &group->idle[--group->idle_len];

        close(pipe->read_fd);
        close(pipe->write_fd);
    }
}

/* ---- pipes */

static bool relay_take_share(struct relay *relay, enum quota_table table)
{
    struct quota *quota = relay->group->quota;

    return !quota || quota_take(quota, table, relay->guest);
}

static void relay_give_share(struct relay *relay, enum quota_table table)
{
    if (relay->group->quota)
        quota_give(relay->group->quota, table, relay->guest);
}

static bool group_take_pipe(struct relay_group *group, struct relay_side *to)
{
    int fds[2];

    if (group->idle_len > 0) {
        to->pipe = group->idle[--group->idle_len];
        return true;
    }
    if (group->pipes == group->pipes_max || pipe2(fds, O_NONBLOCK | O_CLOEXEC) < 0)
        return false;
    if (fcntl(fds[1], F_SETPIPE_SZ, RELAY_PIPE_BYTES) < 0) {
        close(fds[0]);
        close(fds[1]);
        return false;
    }
    group->pipes++;
    to->pipe = (struct relay_pipe){fds[0], fds[1]};
    return true;
}

/* An empty pipe towards @to. False where there is none to be had. */
static bool relay_take_pipe(struct relay *relay, struct relay_side *to)
{
    if (to->pipe.read_fd >= 0)
        return true;
    if (!relay_take_share(relay, QUOTA_pipe))
        return false;
    if (group_take_pipe(relay->group, to))
        return true;
    relay_give_share(relay, QUOTA_pipe);
    return false;
}

/* Bytes left in it go with it. */
static void relay_give_pipe(struct relay *relay, struct relay_side *to)
{
    struct relay_group *group = relay->group;

    if (to->pipe.read_fd < 0)
        return;
    relay_give_share(relay, QUOTA_pipe);
    if (to->piped_bytes == 0) {
        group->idle[group->idle_len++] = to->pipe;
    } else {
        close(to->pipe.read_fd);
        close(to->pipe.write_fd);
        group->pipes--;
    }
    to->pipe = (struct relay_pipe){-1, -1};
    to->piped_bytes = 0;
}

/*
 * Takes what @from has into a pipe. -EAGAIN: there is nothing, or only what comes with an urgent byte, of which
 * the loop tells in either case. 0: there is no pipe, or what is there is for recv() to find out.
 */
static ssize_t relay_splice_in(struct relay *relay, struct relay_side *from, struct relay_side *to)
{
    ssize_t len = 0;

    if (!from->bulk)
        return 0;
    if (relay_take_pipe(relay, to))
        len = splice(from->source.fd, NULL, to->pipe.write_fd, NULL, RELAY_PIPE_BYTES,
                     SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (len > 0) {
        to->piped_bytes = (size_t)len;
        return len;
    }
    if (len < 0)
        len = errno == EAGAIN && !from->ending && !from->urgent ? -EAGAIN : 0;
    relay_give_pipe(relay, to);
    return len;
}

/* ---- moving bytes */

static void relay_give_buffer(struct relay *relay, struct relay_side *to)
{
    free(to->waiting);
    to->waiting = NULL;
    if (to->counted)
        relay_give_share(relay, QUOTA_buffer);
    to->counted = false;
}

/* Writes what waits for @to. False where something still waits. */
static bool relay_flush(struct relay *relay, struct relay_side *to, bool *ret_reset)
{
    while ((to->waiting || to->piped_bytes) && to->writable) {
        ssize_t sent = to->waiting
                           ? send(to->source.fd, to->waiting + to->waiting_start,
                                  to->waiting_end - to->waiting_start, MSG_NOSIGNAL | MSG_DONTWAIT)
                           : splice(to->pipe.read_fd, NULL, to->source.fd, NULL, to->piped_bytes,
                                    SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0) {
            to->writable = false;
            *ret_reset = errno != EAGAIN && errno != ENOBUFS;
            return false;
        }
        if (!to->waiting) {
            to->piped_bytes -= (size_t)sent;
            continue;
        }
        to->waiting_start += (uint32_t)sent;
        if (to->waiting_start == to->waiting_end)
            relay_give_buffer(relay, to);
    }
    return !to->waiting && !to->piped_bytes;
}

/* How much may have to wait for @to at once. */
static size_t relay_room(const struct relay_side *to)
{
    return to->counted ? RELAY_CHUNK_BYTES : RELAY_SMALL_BYTES;
}

/* Reads what may have to wait for @to: no more than that is allowed for. */
static ssize_t relay_read(struct relay *relay, struct relay_side *from, struct relay_side *to)
{
    ssize_t len;

    to->counted = relay_take_share(relay, QUOTA_buffer);
    len = recv(from->source.fd, relay->group->buffer, relay_room(to), MSG_DONTWAIT);
    if (len <= 0)
        relay_give_buffer(relay, to);
    return len;
}

/* Writes as much as @to takes now and keeps the rest. False on a reset or when memory is short. */
static bool relay_pass(struct relay *relay, struct relay_side *to, size_t len_bytes)
{
    const uint8_t *data = relay->group->buffer;
    size_t done = 0;

    while (done < len_bytes && to->writable) {
        ssize_t sent =
            send(to->source.fd, data + done, len_bytes - done, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (sent >= 0)
            done += (size_t)sent;
        else if (errno == EAGAIN || errno == ENOBUFS)
            to->writable = false;
        else if (errno != EINTR)
            return false;
    }
    if (done == len_bytes) {
        relay_give_buffer(relay, to);
        return true;
    }
    to->waiting = malloc(len_bytes - done);
    if (!to->waiting)
        return false;
    memcpy(to->waiting, data + done, len_bytes - done);
    to->waiting_start = 0;
    to->waiting_end = (uint32_t)(len_bytes - done);
    return true;
}

/*
 * Where the byte that comes next is the urgent one it goes on as such, alone: 1. 0: it is not, or not yet, and
 * recv() will stop before it. -1 with errno: @to takes nothing now, or is no more.
 */
static int relay_pass_urgent(struct relay_side *from, struct relay_side *to)
{
    int at_mark = 0;
    uint8_t byte;

    if (ioctl(from->source.fd, SIOCATMARK, &at_mark) < 0 || !at_mark ||
        recv(from->source.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) != 1)
        return 0;
    if (send(to->source.fd, &byte, 1, MSG_OOB | MSG_NOSIGNAL | MSG_DONTWAIT) != 1)
        return -1;
    return (int)recv(from->source.fd, &byte, 1, MSG_DONTWAIT);
}

static void relay_count(struct relay *relay, int from_side, size_t len_bytes, size_t *moved_bytes)
{
    *moved_bytes += len_bytes;
    if (relay->bytes[from_side])
        atomic_fetch_add_explicit(relay->bytes[from_side], len_bytes, memory_order_relaxed);
}

static enum progress relay_move(struct relay *relay, int from_side)
{
    struct relay_side *from = &relay->side[from_side], *to = &relay->side[!from_side];
    size_t moved_bytes = 0;
    bool reset = false;

    while (relay_flush(relay, to, &reset)) {
        ssize_t len;

        if (from->ended) {
            /* Where this is the end of both directions relay_done() says so, by closing. */
            if (!to->shut && !(to->ended && from->shut))
                shutdown(to->source.fd, SHUT_WR);
            to->shut = true;
            return PROGRESS_NONE;
        }
        if (!from->readable)
            return PROGRESS_NONE;
        if (moved_bytes >= RELAY_TURN_BYTES)
            return PROGRESS_TURN_OVER;
        if (from->urgent) {
            len = relay_pass_urgent(from, to);
            if (len < 0) {
                to->writable = false;
                return errno == EAGAIN || errno == ENOBUFS ? PROGRESS_NONE : PROGRESS_TO_RESET;
            }
            relay_count(relay, from_side, (size_t)len, &moved_bytes);
        }
        len = relay_splice_in(relay, from, to);
        if (len > 0) {
            relay_count(relay, from_side, (size_t)len, &moved_bytes);
            continue;
        }
        if (len == 0)
            len = relay_read(relay, from, to);
        if (len > 0) {
            from->bulk = len >= RELAY_BULK_BYTES;
            /*
             * Less than there was room for was all, or all before an urgent byte; of what came since then the
             * loop tells in its next round (epoll(7), question 9).
             */
            from->readable = from->ending || from->urgent || (size_t)len == relay_room(to);
            relay_count(relay, from_side, (size_t)len, &moved_bytes);
            if (!relay_pass(relay, to, (size_t)len))
                return PROGRESS_TO_RESET;
        } else if (len == 0) {
            if (relay->dying) /* the error was told already, to who wrote */
                return PROGRESS_FROM_RESET;
            from->ended = true;
        } else if (len == -EAGAIN || errno == EAGAIN) {
            from->readable = false;
            from->urgent = false;
            from->bulk = moved_bytes >= RELAY_BULK_BYTES;
        } else if (errno != EINTR) {
            return PROGRESS_FROM_RESET;
        }
    }
    return reset ? PROGRESS_TO_RESET : PROGRESS_NONE;
}

static bool relay_holds(const struct relay_side *to)
{
    int unacknowledged_bytes = 0;

    return to->waiting || to->piped_bytes ||
           (ioctl(to->source.fd, SIOCOUTQ, &unacknowledged_bytes) == 0 && unacknowledged_bytes > 0);
}

/* One side was reset: the other has what it sent before, and is reset then. May call on_end. */
static void relay_die(struct relay *relay, int dead)
{
    struct relay_group *group = relay->group;
    struct relay_side *gone = &relay->side[dead];
    enum progress progress;

    if (!relay->dying) {
        relay->dying = true;
        relay->dead = (uint8_t)dead;
        relay->dying_until_ms = loop_now_ms(group->loop) + RELAY_DYING_MS;
        gone->readable = gone->ending = true;
    }
    progress = relay_move(relay, dead);
    if (progress == PROGRESS_TO_RESET || loop_now_ms(group->loop) >= relay->dying_until_ms ||
        ((progress == PROGRESS_FROM_RESET || gone->ended) && !relay_holds(&relay->side[!dead]))) {
        relay->on_end(relay, true);
        return;
    }
    list_remove(&relay->ready);
    list_append(&group->dying, &relay->ready);
    if (!group->dying_timer.due_ms)
        loop_timer_set(group->loop, &group->dying_timer, RELAY_DYING_TICK_MS);
}

static void relay_turn(struct relay *relay)
{
    bool turn_over = false;

    for (int from = 0; from < 2; from++) {
        enum progress progress = relay_move(relay, from);

        if (progress == PROGRESS_FROM_RESET || progress == PROGRESS_TO_RESET) {
            relay_die(relay, progress == PROGRESS_FROM_RESET ? from : !from);
            return;
        }
        turn_over |= progress == PROGRESS_TURN_OVER;
    }
    if (relay->side[0].shut && relay->side[1].shut) {
        relay->on_end(relay, false);
        return;
    }
    if (turn_over && list_is_empty(&relay->ready)) {
        list_append(&relay->group->ready, &relay->ready);
        loop_timer_set(relay->group->loop, &relay->group->timer, 0);
    }
}

/* A hang-up is also what both ends of a connection make together. */
static bool relay_has_failed(const struct relay_side *side)
{
    socklen_t len = sizeof(int);
    int error = 0;

    return getsockopt(side->source.fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || error;
}

static void relay_event(struct relay *relay, int side, unsigned events)
{
    if (events & (LOOP_IN | LOOP_HANGUP | LOOP_URGENT))
        relay->side[side].readable = true;
    if (events & (LOOP_END | LOOP_HANGUP))
        relay->side[side].ending = true;
    if (events & LOOP_URGENT)
        relay->side[side].urgent = true;
    if (events & LOOP_OUT)
        relay->side[side].writable = true;
    if (!relay->running)
        relay->on_early_event(relay, side, events);
    else if ((events & LOOP_HANGUP) && !relay->dying && relay_has_failed(&relay->side[side]))
        relay_die(relay, side);
    else if (list_is_empty(&relay->ready))
        relay_turn(relay);
}

static void on_side_0(struct loop_source *source, unsigned events)
{
    relay_event(CONTAINER_OF(source, struct relay, side[0].source), 0, events);
}

static void on_side_1(struct loop_source *source, unsigned events)
{
    relay_event(CONTAINER_OF(source, struct relay, side[1].source), 1, events);
}

void relay_init(struct relay *relay, struct relay_group *group)
{
    *relay = (struct relay){.group = group};
    list_init(&relay->ready);
    for (int side = 0; side < 2; side++)
        relay->side[side] = (struct relay_side){
            .pipe = {-1, -1}, .source = {.fd = -1, .on_event = side ? on_side_1 : on_side_0}};
}

static void set_abort_on_close(int fd, bool abort)
{
    struct linger linger = {.l_onoff = abort, .l_linger = 0};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

void relay_prepare(int fd)
{
    int one = 1, unsent_bytes = RELAY_UNSENT_BYTES;

    /* When to send is the business of who wrote the bytes; we only pass them on. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent_bytes, sizeof(unsent_bytes));
    /*
     * Who is gone without a word is noticed when the host's own settings say (net.ipv4.tcp_keepalive_*): by
     * default after two hours and eleven minutes without a sign. RFC 5382 REQ-5 asks for 2:04 at least.
     */
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    /* An urgent byte keeps its place among the others. */
    setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &one, sizeof(one));
    /* Should this process be killed, both sides must see a reset, not what looks like a proper end. */
    set_abort_on_close(fd, true);
}

int relay_set_side(struct relay *relay, int side, int fd)
{
    struct relay_side *at = &relay->side[side];
    int result =
        loop_add(relay->group->loop, &at->source, fd, LOOP_IN | LOOP_OUT | LOOP_URGENT | LOOP_EDGE);

    if (result < 0)
        close(fd);
    return result;
}

void relay_run(struct relay *relay)
{
    relay->running = true;
    relay_turn(relay);
}

void relay_close_reset(int fd)
{
    set_abort_on_close(fd, true);
    close(fd);
}

bool relay_is_at(const struct relay *relay, int side, const struct ip_addr *addr)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof(address);
    struct ip_endpoint own;

    if (relay->side[side].source.fd < 0 ||
        getsockname(relay->side[side].source.fd, (struct sockaddr *)&address, &len) < 0 ||
        endpoint_from_sockaddr(&address, &own) < 0)
        return false;
    if (own.addr.family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&own.addr.v6))
        return addr->family == AF_INET && memcmp(own.addr.bytes + 12, addr->bytes, 4) == 0;
    return ip_equal(&own.addr, addr);
}

void relay_done(struct relay *relay, bool reset)
{
    list_remove(&relay->ready);
    for (int side = 0; side < 2; side++) {
        struct relay_side *at = &relay->side[side];
        int fd = at->source.fd;

        relay_give_buffer(relay, at);
        relay_give_pipe(relay, at);
        if (fd < 0)
            continue;
        loop_remove(relay->group->loop, &at->source);
        if (!reset)
            set_abort_on_close(fd, false);
        close(fd);
    }
}
