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
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "uplink/tcp_outside.h"
#include "uplink/worker.h"

#define HOST 0
#define GUEST 1

/* The listener has the connection at once, or the guest has given up meanwhile. */
#define OFFER_TIMEOUT_MS 10000
/*
 * The host tries as long as the guest does: a stack repeats its SYN at intervals that at most double (RFC 6298
 * 5.5), the first after three seconds or less. One that has not for three times the last interval has given up.
 */
#define SYN_INTERVALS 3
#define SYN_PATIENCE_MS 5000 /* at least */
#define TOLD_AGAIN_MS 600000
/* From then on an attempt gives way to a newer one of its guest: the guest has asked again (RFC 6298 2.1). */
#define GIVE_WAY_AFTER_MS 1000
#define TIMER_PERIOD_MS 1000
#define ACCEPTS_A_TURN 64
/*
 * A guest that is gone without a word (its VM was killed: what it had opened ends at once, but nobody knows
 * whose the IPv6 address of a forward was) is noticed after 120 + 4 * 15 seconds.
 */
#define KEEPALIVE_IDLE_S 120
#define KEEPALIVE_INTERVAL_S 15
#define KEEPALIVE_PROBES 4

enum tcp_state {
    TCP_CONNECTING,
    TCP_OFFERED,
    TCP_OPEN,
};

struct tcp_key {
    struct ip_endpoint guest, dst;
};

struct tcp_flow {
    struct table_node node;
    struct list waiting; /* in the list of its state */
    struct tcp *tcp;
    struct tcp_key key;
    unsigned who;         /* the guest, for its quota */
    struct list of_guest; /* until it is open, in the quota's list, oldest first */
    enum tcp_state state;
    uint64_t began_ms;   /* when the guest's first SYN came */
    uint64_t asked_ms;   /* when the last one did */
    uint64_t expires_ms; /* unless something happens; of no meaning once it is open */
    struct relay relay;
    /* The guest's last SYN with its virtio-net header, until the connection is open. */
    uint8_t *syn;
    size_t syn_len_bytes, syn_max_bytes;
};

struct tcp {
    struct worker *worker;
    struct table flows;
    struct list connecting, offered, open;
    struct loop_source listener[2];
    struct loop_timer timer;
    bool paused;           /* accepting, for want of descriptors */
    uint64_t told_port_ms; /* when it was said that the host has no port left; 0: never */
    struct tcp_ports ports;
    uint64_t attempts; /* to connect: with the worker's key a source of randomness */
};

static uint64_t tcp_hash(const struct tcp *tcp, const struct tcp_key *key)
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

static void flow_set_state(struct tcp_flow *flow, enum tcp_state state)
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
                       (state == TCP_CONNECTING ? SYN_PATIENCE_MS : OFFER_TIMEOUT_MS);
    list_remove(&flow->waiting);
    list_append(lists[state], &flow->waiting);
    if (state != TCP_OPEN && !tcp->timer.due_ms)
        loop_timer_set(tcp->worker->loop, &tcp->timer, TIMER_PERIOD_MS);
}

static void flow_free(struct tcp_flow *flow, bool reset)
{
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

/* Writes the guest's SYN back to the device: from there it goes to the listener. */
static void flow_offer(struct tcp_flow *flow)
{
    struct wire_vnet_hdr vnet;

    memcpy(&vnet, flow->syn, sizeof(vnet));
    tun_send(flow->tcp->worker, flow->syn + sizeof(vnet), flow->syn_len_bytes - sizeof(vnet),
             &vnet);
}

static struct wire_packet flow_syn(const struct tcp_flow *flow)
{
    struct wire_packet syn;

    if (wire_parse(flow->syn + VNET_BYTES, flow->syn_len_bytes - VNET_BYTES, &syn) != WIRE_PARSE_OK)
        abort(); /* it was parsed once already */
    return syn;
}

/*
 * The ports of the host are used up towards one destination. The guest's SYN is as good as lost: it asks
 * again, and a port may be free by then. Without an address of the family it is the same errno, but no way.
 */
static bool flow_has_no_port(struct tcp_flow *flow, int error)
{
    struct tcp *tcp = flow->tcp;
    uint64_t now_ms = loop_now_ms(tcp->worker->loop);
    char text[IP_TEXT_MAX];

    if (error != EADDRNOTAVAIL ||
        !host_view_address(tcp->worker->host, flow->key.dst.addr.family).family)
        return false;
    COUNT(tcp->worker->config.counters, drop_no_port);
    if (!tcp->told_port_ms || now_ms - tcp->told_port_ms >= TOLD_AGAIN_MS) {
        tcp->told_port_ms = now_ms;
        log_warn("the host has no TCP port left for a connection to %s port %u: it is dropped "
                 "until one is free; "
                 "net.ipv4.ip_local_port_range says how many there are",
                 ip_format(&flow->key.dst.addr, text), flow->key.dst.port);
    }
    return true;
}

/* The host could not connect: the guest is told what the host was told. */
static void flow_fail(struct tcp_flow *flow, int error)
{
    struct worker *worker = flow->tcp->worker;
    struct uplink_counters *counters = worker->config.counters;
    struct wire_packet syn = flow_syn(flow);
    uint8_t rst[WIRE_RST_MAX];
    enum wire_unreachable why;
    struct host_error told;
    size_t len_bytes;

    if (flow->relay.side[HOST].source.fd >= 0 &&
        tcp_outside_told(flow->relay.side[HOST].source.fd, &told)) {
        COUNT(counters, tcp_unreachable);
        worker_pass_error(worker, &told, &syn);
    } else if (error == ECONNREFUSED || error == ECONNRESET) {
        COUNT(counters, tcp_refused);
        len_bytes = wire_build_rst(rst, &syn);
        if (len_bytes)
            tun_send(worker, rst, len_bytes, NULL);
    } else if (flow_has_no_port(flow, error)) {
        /* silence */
    } else if (error == ENOBUFS || error == ENOMEM) {
        COUNT(counters, drop_no_descriptor);
    } else if (worker_error_means(error, &why)) {
        COUNT(counters, tcp_unreachable);
        worker_send_error(worker, NULL, &syn, why, 0);
    } else {
        COUNT(counters, tcp_timeout);
    }
    flow_free(flow, true);
}

static void on_early_event(struct relay *relay, int side, unsigned events)
{
    struct tcp_flow *flow = CONTAINER_OF(relay, struct tcp_flow, relay);
    struct wire_packet syn;
    int error;

    /* In OFFERED the relay remembers what happened and meets it when it runs. */
    if (flow->state != TCP_CONNECTING || !(events & (LOOP_OUT | LOOP_HANGUP)))
        return;
    syn = flow_syn(flow);
    error = tcp_outside_connected(relay->side[HOST].source.fd, &syn, events);
    if (error) {
        flow_fail(flow, error);
        return;
    }
    flow_set_state(flow, TCP_OFFERED);
    flow_offer(flow);
}

/* The guest's SYN, again, while the host connects. It may have changed: its port may be used anew. */
static void flow_ask_again(struct tcp_flow *flow, const struct uplink_packet *in)
{
    uint64_t now_ms = loop_now_ms(flow->tcp->worker->loop), interval_ms = now_ms - flow->asked_ms;
    uint64_t patience_ms = SYN_INTERVALS * interval_ms;

    flow->asked_ms = now_ms;
    flow->expires_ms = now_ms + (patience_ms > SYN_PATIENCE_MS ? patience_ms : SYN_PATIENCE_MS);
    if (VNET_BYTES + in->packet.len_bytes > flow->syn_max_bytes)
        return;
    memcpy(flow->syn, in->vnet, VNET_BYTES);
    memcpy(flow->syn + VNET_BYTES, in->packet.data, in->packet.len_bytes);
    flow->syn_len_bytes = VNET_BYTES + in->packet.len_bytes;
}

static void on_end(struct relay *relay, bool reset)
{
    flow_free(CONTAINER_OF(relay, struct tcp_flow, relay), reset);
}

/*
 * Room for one more attempt to connect. A guest that has its share of them, because it asks where nobody
 * answers, gives up the one that has waited the longest. Not one of a burst, which may succeed in a moment: then
 * the new one is dropped, and asked for again.
 */
static bool tcp_take_share(struct tcp *tcp, unsigned guest)
{
    struct worker *worker = tcp->worker;
    struct quota *quota = &worker->quota;
    struct list *own = quota_list(quota, QUOTA_half_open, guest);
    struct tcp_flow *oldest;

    if (!quota_take(quota, QUOTA_half_open, guest)) {
        COUNT(worker->config.counters, drop_quota_half_open);
        worker_refuse_share(worker, QUOTA_half_open, guest);
        oldest = CONTAINER_OF(own->next, struct tcp_flow, of_guest);
        if (list_is_empty(own) || loop_now_ms(worker->loop) - oldest->began_ms < GIVE_WAY_AFTER_MS)
            return false;
        flow_free(oldest, true);
        quota_take_again(quota, QUOTA_half_open, guest);
    }
    if (worker_take_flow(worker, guest))
        return true;
    quota_give(quota, QUOTA_half_open, guest);
    return false;
}

static void tcp_take_syn(struct tcp *tcp, const struct uplink_packet *in, const struct tcp_key *key)
{
    struct worker *worker = tcp->worker;
    const struct wire_packet *packet = &in->packet;
    struct ip_endpoint outside;
    struct tcp_flow *flow;
    enum rule rule = rules_outbound(worker, &key->dst, &outside);
    int fd, result;

    if (rule != RULE_ALLOW || key->dst.port == 0) {
        worker_refuse(worker, packet, rule == RULE_ALLOW ? RULE_DENY : rule);
        return;
    }
    if (!tcp_take_share(tcp, in->guest))
        return;
    flow = calloc(1, sizeof(*flow));
    fd = tcp_outside_socket(packet);
    if (flow)
        flow->syn = malloc(VNET_BYTES + packet->len_bytes);
    if (!flow || !flow->syn || fd < 0) {
        if (fd == -EAFNOSUPPORT)
            worker_send_error(worker, NULL, packet, WIRE_UNREACHABLE_NET, 0);
        else
            COUNT(worker->config.counters, drop_no_descriptor);
        if (fd >= 0)
            close(fd);
        if (flow)
            free(flow->syn);
        free(flow);
        quota_give(&worker->quota, QUOTA_half_open, in->guest);
        worker_give_flow(worker, in->guest);
        return;
    }
    memcpy(flow->syn, in->vnet, VNET_BYTES);
    memcpy(flow->syn + VNET_BYTES, packet->data, packet->len_bytes);
    flow->syn_len_bytes = flow->syn_max_bytes = VNET_BYTES + packet->len_bytes;
    flow->began_ms = flow->asked_ms = loop_now_ms(worker->loop);
    flow->tcp = tcp;
    flow->key = *key;
    flow->who = in->guest;
    list_init(&flow->of_guest);
    list_append(quota_list(&worker->quota, QUOTA_half_open, in->guest), &flow->of_guest);
    list_init(&flow->waiting);
    table_insert(&tcp->flows, &flow->node, tcp_hash(tcp, key));
    flow_set_state(flow, TCP_CONNECTING);
    relay_init(&flow->relay, &worker->relays);
    flow->relay.guest = in->guest;
    flow->relay.on_early_event = on_early_event;
    flow->relay.on_end = on_end;
    flow->relay.bytes[GUEST] = &worker->config.counters->tcp_bytes_up;
    flow->relay.bytes[HOST] = &worker->config.counters->tcp_bytes_down;

    relay_prepare(fd);
    tcp->attempts++;
    result = tcp_outside_connect(fd, &outside, &tcp->ports,
                                 worker_hash(worker, &tcp->attempts, sizeof(tcp->attempts)));
    if (result < 0) {
        close(fd);
        flow_fail(flow, -result);
        return;
    }
    /* Registered after connect(): an unconnected socket would report a hang-up. */
    if (relay_set_side(&flow->relay, HOST, fd) < 0) {
        COUNT(worker->config.counters, drop_no_descriptor);
        flow_free(flow, true);
    }
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
            tcp_take_syn(tcp, in, &key);
        } else if (flow->state == TCP_CONNECTING) {
            flow_ask_again(flow, in);
        } else {
            /* Sent again: the kernel's socket knows what to say to that. */
            tun_send(tcp->worker, packet->data, packet->len_bytes, in->vnet);
        }
        return;
    }
    if (packet->tcp_flags & WIRE_TCP_RST) {
        /* The guest has given up before there was a socket to tell it to. */
        if (flow && flow->state != TCP_OPEN)
            flow_free(flow, true);
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

void tcp_watch_guest(int fd)
{
    int one = 1, idle_s = KEEPALIVE_IDLE_S, interval_s = KEEPALIVE_INTERVAL_S;
    int probes = KEEPALIVE_PROBES;

    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
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
        flow_free(flow, true);
        return;
    }
    free(flow->syn);
    flow->syn = NULL;
    flow_set_state(flow, TCP_OPEN);
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
            flow_free(flow, true);
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
    tcp_watch_guest(fd);
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
    result = tcp_listen(tcp, 0, worker->config.listen4_fd);
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
            flow_free(CONTAINER_OF(lists[i]->next, struct tcp_flow, waiting), true);
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
                flow_free(flow, true);
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
            flow_free(flow, true);
        }
    }
}
