/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The forwarder of a worker, and the connections of those that are TCP:
 *
 *             accept()          a socket inside           connected
 *   (nothing) --------> WAITING --------------> CONNECTING --------> OPEN
 *                                |  bound to the client's           |  bytes between
 *                                v  address, connects to the guest  v  two sockets
 *                             reset                               reset
 *
 * The socket inside is transparent: it may have the client's own address and port, so a guest sees who
 * speaks to it. What the guest answers is caught by the rule for segments of transparent sockets
 * (plane/linux/policy.c), as for guests' own connections. Where a guest could not answer to the client's
 * address the socket has the gateway's, and whatever port is free.
 */
#include "uplink/forward.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

#define CLIENT 0
#define GUEST 1

/* A guest is a link away, and the client should hear soon that nobody is there. */
#define CONNECT_TIMEOUT_MS 10000
/*
 * A guest that is gone without a word, because its VM was killed, loses what it had at once; but nobody knows whose
 * the IPv6 address of a forward was. It is asked whether it is there, and is not after 120 + 4 * 15 seconds.
 */
#define KEEPALIVE_IDLE_S 120
#define KEEPALIVE_INTERVAL_S 15
#define KEEPALIVE_PROBES 4
#define TIMER_PERIOD_MS 1000
#define ACCEPTS_A_TURN 64
/* Connections that were accepted and have no socket inside yet. With more, the kernel's backlog keeps them. */
#define WAITING_MAX 512

enum flow_state {
    FLOW_WAITING,
    FLOW_CONNECTING,
    FLOW_OPEN,
    FLOW_STATES
};

struct flow {
    struct list list; /* of its state, oldest first */
    struct forwarder *forwarder;
    enum flow_state state;
    uint64_t since_ms;
    struct ip_endpoint client, guest;
    unsigned who;  /* the guest, for its quota */
    bool any_port; /* the client's own port is taken inside */
    struct relay relay;
};

struct forwarder {
    struct worker *worker;
    struct table table;
    struct socket_pool pool;
    struct list flows[FLOW_STATES];
    unsigned waiting_len;
    struct list paused;
    struct loop_timer timer;
};

/* ---- connections */

static void forwarder_arm(struct forwarder *forwarder)
{
    if (!forwarder->timer.due_ms)
        loop_timer_set(forwarder->worker->loop, &forwarder->timer, TIMER_PERIOD_MS);
}

static void flow_set_state(struct flow *flow, enum flow_state state)
{
    struct forwarder *forwarder = flow->forwarder;

    if (flow->state == FLOW_WAITING)
        forwarder->waiting_len--;
    if (state == FLOW_WAITING)
        forwarder->waiting_len++;
    flow->state = state;
    flow->since_ms = loop_now_ms(forwarder->worker->loop);
    list_remove(&flow->list);
    list_append(&forwarder->flows[state], &flow->list);
    if (state != FLOW_OPEN)
        forwarder_arm(forwarder);
}

static void flow_free(struct flow *flow, bool reset)
{
    struct forwarder *forwarder = flow->forwarder;

    relay_done(&flow->relay, reset);
    if (flow->state == FLOW_OPEN)
        COUNT_DOWN(forwarder->worker->config.counters, forward_open);
    if (flow->state == FLOW_WAITING)
        forwarder->waiting_len--;
    list_remove(&flow->list);
    worker_give_flow(forwarder->worker, flow->who);
    free(flow);
}

static void flow_fail(struct flow *flow)
{
    COUNT(flow->forwarder->worker->config.counters, forward_failed);
    flow_free(flow, true);
}

/* Binds a socket inside to the name by which the guest is to know the client. */
static int flow_bind(struct flow *flow, int fd)
{
    struct sockaddr_storage address;
    struct ip_endpoint seen;
    int one = 1;

    if (!rules_client(flow->forwarder->worker, &flow->client, flow->guest.addr.family, &seen))
        flow->any_port = true;
    if (!flow->any_port) {
        if (bind(fd, (struct sockaddr *)&address, endpoint_to_sockaddr(&seen, &address)) == 0)
            return 0;
        /* The port of one of our listeners there, or one that is only for root. */
        flow->any_port = true;
    }
    /* The port is chosen by connect(): then one port can serve for many guests. */
    seen.port = 0;
    setsockopt(fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&address, endpoint_to_sockaddr(&seen, &address)) == 0)
        return 0;
    return -errno;
}

static void watch_guest(int fd)
{
    int idle_s = KEEPALIVE_IDLE_S, interval_s = KEEPALIVE_INTERVAL_S;
    int probes = KEEPALIVE_PROBES;

    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
}

/* Takes over @fd. 0 or -errno; -EADDRNOTAVAIL: the four addresses and ports are in use. */
static int flow_connect(struct flow *flow, int fd)
{
    struct sockaddr_storage address;
    socklen_t len = endpoint_to_sockaddr(&flow->guest, &address);
    int result = flow_bind(flow, fd);

    if (result == 0 && connect(fd, (struct sockaddr *)&address, len) < 0 && errno != EINPROGRESS)
        result = -errno;
    if (result < 0) {
        close(fd);
        return result;
    }
    relay_prepare(fd);
    if (flow->guest.addr.family == AF_INET6)
        watch_guest(fd);
    /* Registered after connect(): an unconnected socket would report a hang-up. */
    return relay_set_side(&flow->relay, GUEST, fd);
}

/* Connects to the guest, as soon as there is a socket for it. */
static void flow_start(struct flow *flow)
{
    struct forwarder *forwarder = flow->forwarder;
    bool own_port;
    int fd, result;

    do {
        fd = socket_pool_take(&forwarder->pool, flow->guest.addr.family);
        if (fd < 0) {
            if (flow->state != FLOW_WAITING)
                flow_set_state(flow, FLOW_WAITING);
            return;
        }
        own_port = !flow->any_port;
        result = flow_connect(flow, fd);
        flow->any_port |= result == -EADDRNOTAVAIL;
    } while (result == -EADDRNOTAVAIL && own_port);
    if (result == 0) {
        flow_set_state(flow, FLOW_CONNECTING);
        return;
    }
    log_debug("a forward's connection to its guest: %s", strerror(-result));
    flow_fail(flow);
}

static void on_early_event(struct relay *relay, int side, unsigned events)
{
    struct flow *flow = CONTAINER_OF(relay, struct flow, relay);
    struct uplink_counters *counters = flow->forwarder->worker->config.counters;
    socklen_t len = sizeof(int);
    int error = 0;

    if (side == CLIENT) {
        /* It was reset; what else happens the relay remembers. */
        if (events & LOOP_HANGUP)
            flow_free(flow, true);
        return;
    }
    if (!(events & (LOOP_OUT | LOOP_HANGUP)))
        return;
    if (getsockopt(relay->side[GUEST].source.fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || error) {
        flow_fail(flow);
        return;
    }
    flow_set_state(flow, FLOW_OPEN);
    COUNT(counters, forward_opened);
    COUNT(counters, forward_open);
    relay_run(relay);
}

static void on_end(struct relay *relay, bool reset)
{
    flow_free(CONTAINER_OF(relay, struct flow, relay), reset);
}

static void forward_pause(struct forwarder *forwarder, struct forward *forward)
{
    loop_change(forwarder->worker->loop, &forward->source, 0);
    list_remove(&forward->paused);
    list_append(&forwarder->paused, &forward->paused);
    forwarder_arm(forwarder);
}

static void forwarder_resume(struct forwarder *forwarder)
{
    while (!list_is_empty(&forwarder->paused)) {
        struct forward *forward = CONTAINER_OF(forwarder->paused.next, struct forward, paused);

        list_remove(&forward->paused);
        loop_change(forwarder->worker->loop, &forward->source, LOOP_IN);
    }
}

/* Serves those that wait, in their order. */
static void on_pool_answer(struct socket_pool *pool, int family, bool failed)
{
    struct forwarder *forwarder = CONTAINER_OF(pool, struct forwarder, pool);
    struct list *waiting = &forwarder->flows[FLOW_WAITING], later;

    list_init(&later);
    while (!list_is_empty(waiting)) {
        struct flow *flow = CONTAINER_OF(waiting->next, struct flow, list);
        bool ipv4 = flow->guest.addr.family == AF_INET;

        if (failed && flow->guest.addr.family == family) {
            flow_fail(flow);
        } else if (pool->len[!ipv4] > 0) {
            flow_start(flow);
        } else {
            list_remove(&flow->list);
            list_append(&later, &flow->list);
            socket_pool_want(pool, flow->guest.addr.family);
        }
    }
    while (!list_is_empty(&later)) {
        struct list *node = later.next;

        list_remove(node);
        list_append(waiting, node);
    }
    if (forwarder->waiting_len <= WAITING_MAX / 2)
        forwarder_resume(forwarder);
    if (failed)
        log_warn("the router has no socket for a forward's connections");
}

/* ---- accepting */

static void forward_accepted(struct forwarder *forwarder, struct forward *forward, int fd,
                             const struct sockaddr_storage *peer)
{
    struct uplink_counters *counters = forwarder->worker->config.counters;
    struct ip_endpoint client;
    struct flow *flow;
    unsigned who;

    if (!forward->guest.addr.family || endpoint_from_sockaddr(peer, &client) < 0) {
        COUNT(counters, forward_failed);
        relay_close_reset(fd);
        return;
    }
    who = worker_guest_of(forwarder->worker, &forward->guest.addr);
    if (!worker_take_flow(forwarder->worker, who)) {
        relay_close_reset(fd);
        return;
    }
    flow = calloc(1, sizeof(*flow));
    if (!flow) {
        worker_give_flow(forwarder->worker, who);
        COUNT(counters, drop_no_descriptor);
        relay_close_reset(fd);
        return;
    }
    flow->forwarder = forwarder;
    flow->client = client;
    flow->guest = forward->guest;
    flow->who = who;
    flow->state = FLOW_CONNECTING;
    list_init(&flow->list);
    relay_init(&flow->relay, &forwarder->worker->relays);
    flow->relay.guest = who;
    flow->relay.on_early_event = on_early_event;
    flow->relay.on_end = on_end;
    flow->relay.bytes[GUEST] = &counters->tcp_bytes_up;
    flow->relay.bytes[CLIENT] = &counters->tcp_bytes_down;
    if (relay_set_side(&flow->relay, CLIENT, fd) < 0) {
        COUNT(counters, drop_no_descriptor);
        flow_free(flow, true);
        return;
    }
    flow_start(flow);
}

static void on_listener(struct loop_source *source, unsigned events)
{
    struct forward *forward = CONTAINER_OF(source, struct forward, source);
    struct forwarder *forwarder = forward->worker->forwarder;

    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        struct sockaddr_storage peer;
        socklen_t len = sizeof(peer);
        int fd = -1;

        if (forwarder->waiting_len < WAITING_MAX)
            fd = accept4(source->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        else
            errno = EMFILE;
        if (fd >= 0) {
            forward_accepted(forwarder, forward, fd, &peer);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            /* Would be reported again at once: pause until something has been freed. */
            forward_pause(forwarder, forward);
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return;
        }
    }
}

static void forwarder_expire(struct forwarder *forwarder, enum flow_state state)
{
    uint64_t now_ms = loop_now_ms(forwarder->worker->loop);
    struct list *list = &forwarder->flows[state];

    while (!list_is_empty(list)) {
        struct flow *flow = CONTAINER_OF(list->next, struct flow, list);

        if (now_ms - flow->since_ms < CONNECT_TIMEOUT_MS)
            return;
        flow_fail(flow);
    }
}

static void on_timer(struct loop_timer *timer)
{
    struct forwarder *forwarder = CONTAINER_OF(timer, struct forwarder, timer);

    forwarder_expire(forwarder, FLOW_WAITING);
    forwarder_expire(forwarder, FLOW_CONNECTING);
    forwarder_resume(forwarder);
    if (!list_is_empty(&forwarder->flows[FLOW_WAITING]) ||
        !list_is_empty(&forwarder->flows[FLOW_CONNECTING]))
        forwarder_arm(forwarder);
}

/* ---- the forwarder */

static struct forward *forwarder_find(struct forwarder *forwarder, uint32_t id)
{
    for (struct table_node *node = table_first(&forwarder->table, id); node; node = node->next)
        if (node->hash == id)
            return CONTAINER_OF(node, struct forward, node);
    return NULL;
}

/* Nothing is sent to what is no guest, whoever asked for it. */
static void forward_set_guest(struct forward *forward, const struct ip_endpoint *guest)
{
    struct worker *worker = forward->worker;
    struct ip_addr gateway = rules_gateway(worker, guest->addr.family);

    forward->guest = *guest;
    if (!guest->addr.family || !guest->port || !worker_is_guest(worker, &guest->addr) ||
        ip_equal(&guest->addr, &gateway))
        forward->guest = (struct ip_endpoint){0};
    else if (!forward->udp)
        socket_pool_want(&worker->forwarder->pool, guest->addr.family);
}

static void forward_free(struct forwarder *forwarder, struct forward *forward)
{
    if (forward->udp)
        forward_udp_stop(forwarder->worker->forward_udp, forward);
    loop_remove(forwarder->worker->loop, &forward->source);
    close(forward->fd);
    list_remove(&forward->paused);
    table_remove(&forwarder->table, &forward->node);
    free(forward);
}

void forwarder_add(struct forwarder *forwarder, struct forward *forward,
                   const struct ip_endpoint *guest)
{
    struct worker *worker = forwarder->worker;
    int result;

    forward->worker = worker;
    forward->source = (struct loop_source){.on_event = on_listener, .fd = -1};
    list_init(&forward->paused);
    list_init(&forward->flows);
    forward_set_guest(forward, guest);
    table_insert(&forwarder->table, &forward->node, forward->id);
    result = forward->udp ? forward_udp_start(worker->forward_udp, forward)
                          : loop_add(worker->loop, &forward->source, forward->fd, LOOP_IN);
    if (result < 0)
        log_error("a forward cannot be served: %s", strerror(-result));
}

void forwarder_retarget(struct forwarder *forwarder, uint32_t id, const struct ip_endpoint *guest)
{
    struct forward *forward = forwarder_find(forwarder, id);

    if (forward)
        forward_set_guest(forward, guest);
}

void forwarder_remove(struct forwarder *forwarder, uint32_t id)
{
    struct forward *forward = forwarder_find(forwarder, id);

    if (forward)
        forward_free(forwarder, forward);
}

unsigned forwarder_count(const struct forwarder *forwarder)
{
    return forwarder ? (unsigned)forwarder->table.len : 0;
}

void forwarder_forget_guest(struct forwarder *forwarder, const struct ip_addr *guest)
{
    for (int state = 0; state < FLOW_STATES; state++) {
        struct list *list = &forwarder->flows[state];

        for (struct list *node = list->next, *next; node != list; node = next) {
            struct flow *flow = CONTAINER_OF(node, struct flow, list);

            next = node->next;
            if (ip_equal(&flow->guest.addr, guest))
                flow_free(flow, true);
        }
    }
}

int forwarder_new(struct worker *worker, struct forwarder **ret_forwarder)
{
    struct forwarder *forwarder = calloc(1, sizeof(*forwarder));

    if (!forwarder)
        return -ENOMEM;
    forwarder->worker = worker;
    forwarder->timer.on_timer = on_timer;
    for (int state = 0; state < FLOW_STATES; state++)
        list_init(&forwarder->flows[state]);
    list_init(&forwarder->paused);
    socket_pool_init(&forwarder->pool, worker->loop, worker->config.sockets_fd);
    forwarder->pool.on_answer = on_pool_answer;
    *ret_forwarder = forwarder;
    return 0;
}

void forwarder_forget_source(struct forwarder *forwarder, const struct ip_addr *source)
{
    for (int state = 0; state < FLOW_STATES; state++) {
        for (struct list *node = forwarder->flows[state].next, *next;
             node != &forwarder->flows[state]; node = next) {
            struct flow *flow = CONTAINER_OF(node, struct flow, list);

            next = node->next;
            if (!relay_is_at(&flow->relay, CLIENT, source))
                continue;
            COUNT(forwarder->worker->config.counters, tcp_path_gone);
            flow_free(flow, true);
        }
    }
}

void forwarder_free(struct forwarder *forwarder)
{
    if (!forwarder)
        return;
    for (int state = 0; state < FLOW_STATES; state++)
        while (!list_is_empty(&forwarder->flows[state]))
            flow_free(CONTAINER_OF(forwarder->flows[state].next, struct flow, list), true);
    for (size_t i = 0; i < TABLE_BUCKETS; i++)
        while (forwarder->table.buckets[i])
            forward_free(forwarder,
                         CONTAINER_OF(forwarder->table.buckets[i], struct forward, node));
    socket_pool_done(&forwarder->pool);
    loop_timer_clear(forwarder->worker->loop, &forwarder->timer);
    free(forwarder);
}
