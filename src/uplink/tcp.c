/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP: the detour of a connection's first segment
 *
 *             SYN over the device            connected               accepted
 *   (nothing) ------------------> CONNECTING ---------> OFFERED --------------> OPEN
 *                                  |   the host's connect()  |  the same SYN was     |  bytes
 *                                  |   is under way          |  written back; the    |  between two
 *                                  v                         v  kernel's listener    v  sockets
 *                              RST or ICMP               reset, timeout  answers    both ends closed
 *
 * The guest's handshake is completed by the kernel of its namespace only after the real one was; so a
 * refused connection is refused, an unreachable one unreachable, and a silent one silent. From OPEN on
 * no packet is seen here: the guest speaks to a kernel socket, and so do we. plane/linux/policy.c has
 * the rules that make it so.
 *
 * Segments that come over the device and are no SYN belong to no connection: they get a reset. After
 * this process was started anew, that is what ends the guests' old connections.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "uplink/tcp.h"

/* The listener has the connection at once, or the guest has given up meanwhile. */
#define OFFER_TIMEOUT_MS 10000
#define TIMER_PERIOD_MS 1000
#define ACCEPTS_A_TURN 64

uint64_t tcp_hash(const struct tcp *tcp, const struct tcp_key *key)
{
    /* Not the struct itself: it has padding. */
    uint8_t bytes[36];

    memcpy(bytes, key->guest.addr.bytes, 16);
    memcpy(bytes + 16, key->dst.addr.bytes, 16);
    memcpy(bytes + 32, &key->guest.port, 2);
    memcpy(bytes + 34, &key->dst.port, 2);
    return worker_hash(tcp->worker, bytes, sizeof(bytes));
}

static struct tcp_flow *tcp_find(const struct tcp *tcp, const struct tcp_key *key)
{
    uint64_t hash = tcp_hash(tcp, key);

    for (struct table_node *node = table_first(&tcp->flows, hash); node; node = node->next) {
        struct tcp_flow *flow = CONTAINER_OF(node, struct tcp_flow, node);

        if (node->hash == hash && flow->key.guest.port == key->guest.port &&
            flow->key.dst.port == key->dst.port &&
            ip_equal(&flow->key.guest.addr, &key->guest.addr) &&
            ip_equal(&flow->key.dst.addr, &key->dst.addr))
            return flow;
    }
    return NULL;
}

static void flow_give_half_open(struct tcp_flow *flow)
{
    if (flow->state == TCP_OPEN)
        return;
    list_remove(&flow->of_guest);
    quota_give(&flow->tcp->worker->quota, QUOTA_half_open, flow->who);
}

void tcp_flow_set_state(struct tcp_flow *flow, enum tcp_state state)
{
    static const char *const names[] = {"connecting", "offered", "open"};
    struct tcp *tcp = flow->tcp;
    struct list *lists[] = {&tcp->connecting, &tcp->offered, &tcp->open};

    log_debug("tcp guest port %u -> port %u: %s -> %s", flow->key.guest.port, flow->key.dst.port,
              names[flow->state], names[state]);
    if (state == TCP_OPEN)
        flow_give_half_open(flow);
    flow->state = state;
    flow->expires_ms = loop_now_ms(tcp->worker->loop) +
                       (state == TCP_CONNECTING ? TCP_SYN_PATIENCE_MS : OFFER_TIMEOUT_MS);
    list_remove(&flow->waiting);
    list_append(lists[state], &flow->waiting);
    if (state != TCP_OPEN && !tcp->timer.due_ms)
        loop_timer_set(tcp->worker->loop, &tcp->timer, TIMER_PERIOD_MS);
}

void tcp_flow_free(struct tcp_flow *flow, bool reset)
{
    tcp_member_leave(&flow->member, &flow->tcp->mappings);
    relay_done(&flow->relay, reset);
    if (flow->state == TCP_OPEN)
        COUNT_DOWN(flow->tcp->worker->config.counters, tcp_open);
    list_remove(&flow->waiting);
    table_remove(&flow->tcp->flows, &flow->node);
    flow_give_half_open(flow);
    worker_give_flow(flow->tcp->worker, flow->who);
    free(flow->syn);
    free(flow);
}

/*
 * A segment of a connection that the kernel has a socket for comes here all the same, about once in 40,000
 * connections: while a connection that was accepted takes the place of its request, the kernel's lookup, which
 * takes no lock, may see neither (net/ipv4/inet_hashtables.c, inet_ehash_insert). It is asked once more; what it
 * does not know then, it drops (policy.c, chain forward).
 */
static void tcp_return(struct tcp *tcp, const struct uplink_packet *in)
{
    COUNT(tcp->worker->config.counters, tcp_returned);
    tun_send(tcp->worker, in->packet.data, in->packet.len_bytes, in->vnet);
}

void tcp_take(struct tcp *tcp, const struct uplink_packet *in)
{
    const struct wire_packet *packet = &in->packet;
    struct tcp_key key = {{packet->src, packet->src_port}, {packet->dst, packet->dst_port}};
    struct tcp_flow *flow = tcp_find(tcp, &key);
    uint8_t rst[WIRE_RST_MAX];
    size_t len_bytes;

    if ((packet->tcp_flags & (WIRE_TCP_SYN | WIRE_TCP_ACK | WIRE_TCP_RST | WIRE_TCP_FIN)) ==
        WIRE_TCP_SYN) {
        if (!flow) {
            tcp_attempt(tcp, in, &key);
        } else if (flow->state == TCP_CONNECTING) {
            tcp_attempt_again(flow, in);
        } else {
            /* Sent again: the kernel's socket knows what to say to that. */
            tun_send(tcp->worker, packet->data, packet->len_bytes, in->vnet);
        }
        return;
    }
    if (packet->tcp_flags & WIRE_TCP_RST) {
        /* The guest has given up before there was a socket to tell it to. */
        if (flow && flow->state != TCP_OPEN)
            tcp_flow_free(flow, true);
        else if (flow)
            tcp_return(tcp, in);
        return;
    }
    if (flow && flow->state != TCP_CONNECTING) {
        tcp_return(tcp, in);
        return;
    }
    COUNT(tcp->worker->config.counters, tcp_stray);
    len_bytes = wire_build_rst(rst, packet);
    if (len_bytes)
        tun_send(tcp->worker, rst, len_bytes, NULL);
}

/* A guest's handshake is complete: finds the flow that it belongs to. */
static void tcp_accepted(struct tcp *tcp, int fd, const struct sockaddr_storage *peer)
{
    struct uplink_counters *counters = tcp->worker->config.counters;
    struct sockaddr_storage local;
    socklen_t len = sizeof(local);
    struct tcp_flow *flow;
    struct tcp_key key;

    if (getsockname(fd, (struct sockaddr *)&local, &len) < 0 ||
        endpoint_from_sockaddr(peer, &key.guest) < 0 ||
        endpoint_from_sockaddr(&local, &key.dst) < 0 || !(flow = tcp_find(tcp, &key)) ||
        flow->state != TCP_OFFERED) {
        relay_close_reset(fd);
        return;
    }
    if (relay_set_side(&flow->relay, GUEST, fd) < 0) {
        COUNT(counters, drop_no_descriptor);
        tcp_flow_free(flow, true);
        return;
    }
    free(flow->syn);
    flow->syn = NULL;
    tcp_flow_set_state(flow, TCP_OPEN);
    COUNT(counters, tcp_opened);
    COUNT(counters, tcp_open);
    relay_run(&flow->relay);
}

static void tcp_accept(struct tcp *tcp, struct loop_source *source)
{
    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        struct sockaddr_storage peer;
        socklen_t len = sizeof(peer);
        int fd = accept4(source->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            tcp_accepted(tcp, fd, &peer);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            /* Would be reported again at once: pause until the timer has freed something. */
            COUNT(tcp->worker->config.counters, drop_no_descriptor);
            loop_change(tcp->worker->loop, source, 0);
            tcp->paused = true;
            loop_timer_set(tcp->worker->loop, &tcp->timer, TIMER_PERIOD_MS);
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return;
        }
    }
}

static void on_listener_0(struct loop_source *source, unsigned events)
{
    tcp_accept(CONTAINER_OF(source, struct tcp, listener[0]), source);
}

static void on_listener_1(struct loop_source *source, unsigned events)
{
    tcp_accept(CONTAINER_OF(source, struct tcp, listener[1]), source);
}

/* A list of those that are not open yet: short, but in no order. */
static void tcp_expire(struct tcp *tcp, struct list *list)
{
    uint64_t now_ms = loop_now_ms(tcp->worker->loop);

    for (struct list *node = list->next, *next; node != list; node = next) {
        struct tcp_flow *flow = CONTAINER_OF(node, struct tcp_flow, waiting);

        next = node->next;
        if (now_ms >= flow->expires_ms)
            tcp_flow_free(flow, true);
    }
}

static void on_timer(struct loop_timer *timer)
{
    struct tcp *tcp = CONTAINER_OF(timer, struct tcp, timer);

    tcp_expire(tcp, &tcp->connecting);
    tcp_expire(tcp, &tcp->offered);
    for (int i = 0; i < 2 && tcp->paused; i++)
        if (tcp->listener[i].fd >= 0)
            loop_change(tcp->worker->loop, &tcp->listener[i], LOOP_IN);
    tcp->paused = false;
    if (!list_is_empty(&tcp->connecting) || !list_is_empty(&tcp->offered))
        loop_timer_set(tcp->worker->loop, &tcp->timer, TIMER_PERIOD_MS);
}

/* Connections inherit the options of the socket that listens for them. */
static int tcp_listen(struct tcp *tcp, int i, int fd)
{
    relay_prepare(fd);
    return loop_add(tcp->worker->loop, &tcp->listener[i], fd, LOOP_IN);
}

int tcp_new(struct worker *worker, struct tcp **ret_tcp)
{
    struct tcp *tcp = calloc(1, sizeof(*tcp));
    int result;

    if (!tcp)
        return -ENOMEM;
    tcp->worker = worker;
    list_init(&tcp->connecting);
    list_init(&tcp->offered);
    list_init(&tcp->open);
    tcp->listener[0] = (struct loop_source){.on_event = on_listener_0, .fd = -1};
    tcp->listener[1] = (struct loop_source){.on_event = on_listener_1, .fd = -1};
    tcp->timer.on_timer = on_timer;
    tcp->ports = tcp_outside_ports();
    result = worker->config.listen4_fd >= 0 ? tcp_listen(tcp, 0, worker->config.listen4_fd) : 0;
    if (result == 0 && worker->config.listen6_fd >= 0)
        result = tcp_listen(tcp, 1, worker->config.listen6_fd);
    if (result < 0) {
        free(tcp);
        return result;
    }
    *ret_tcp = tcp;
    return 0;
}

void tcp_free(struct tcp *tcp)
{
    struct list *lists[3];

    if (!tcp)
        return;
    lists[0] = &tcp->connecting;
    lists[1] = &tcp->offered;
    lists[2] = &tcp->open;
    for (int i = 0; i < 3; i++)
        while (!list_is_empty(lists[i]))
            tcp_flow_free(CONTAINER_OF(lists[i]->next, struct tcp_flow, waiting), true);
    loop_timer_clear(tcp->worker->loop, &tcp->timer);
    free(tcp);
}

void tcp_forget_guest(struct tcp *tcp, unsigned guest)
{
    struct list *lists[] = {&tcp->connecting, &tcp->offered, &tcp->open};

    for (int i = 0; i < 3; i++) {
        for (struct list *node = lists[i]->next, *next; node != lists[i]; node = next) {
            struct tcp_flow *flow = CONTAINER_OF(node, struct tcp_flow, waiting);

            next = node->next;
            if (flow->who == guest)
                tcp_flow_free(flow, true);
        }
    }
}

void tcp_forget_source(struct tcp *tcp, const struct ip_addr *source)
{
    struct list *lists[] = {&tcp->connecting, &tcp->offered, &tcp->open};

    for (int i = 0; i < 3; i++) {
        for (struct list *node = lists[i]->next, *next; node != lists[i]; node = next) {
            struct tcp_flow *flow = CONTAINER_OF(node, struct tcp_flow, waiting);

            next = node->next;
            if (!relay_is_at(&flow->relay, HOST, source))
                continue;
            COUNT(tcp->worker->config.counters, tcp_path_gone);
            tcp_flow_free(flow, true);
        }
    }
}
