/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UDP forwards: a datagram that comes to a forward's socket is written to the packet device in its client's
 * name, and who that is and by what name the guest knows it is remembered:
 *
 *   client, forward, address it came to  <-- flow -->  guest, client as the guest sees it
 *
 * So a datagram that a guest sends is, before all else, looked for on the right side: an answer leaves from
 * the forward's socket and from the address that its client had spoken to. Where the client is seen as the
 * gateway, or the name is taken (by a client of another forward to the same port), it has a port of our
 * choice there.
 *
 * Without a packet device (the system plane, where the kernel leads in what comes from other machines) a client of the
 * host's own is seen as the gateway, and has a socket of its own to the guest (forward_way.c).
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "uplink/forward.h"
#include "uplink/forward_way.h"

/* So that those which end shortly after another one end with it. */
#define TIMER_SLACK_MS 1000
/* With a tenth of all ports in use, sixteen tries fail once in 10^16. */
#define PORT_TRIES 16
#define PORT_MIN 1024

/* Without padding, for they are hashed and compared as bytes. */
struct client_key {
    uint8_t client[16], local[16];
    uint32_t scope, forward_id;
    uint16_t port, family;
};
struct guest_key {
    uint8_t guest[16], seen[16];
    uint16_t guest_port, seen_port, family, zero;
};
_Static_assert(sizeof(struct client_key) == 44 && sizeof(struct guest_key) == 40, "no padding");

struct udp_flow {
    struct table_node by_client, by_guest;
    struct list idle;       /* in udp->flows, longest idle first */
    struct list of_forward; /* in forward->flows */
    struct list of_guest;   /* in the quota's list, longest idle first */
    unsigned who;           /* the guest, for its quota */
    struct forward *forward;
    struct client_key client_key;
    struct guest_key guest_key;
    struct ip_endpoint guest, seen;
    struct udp_target client; /* and where its datagrams come to */
    struct forward_way *way;  /* without a packet device */
    uint64_t used_ms;
};

struct forward_udp {
    struct worker *worker;
    struct table by_client, by_guest;
    struct list flows;
    struct loop_timer timer;
    uint64_t timeout_ms; /* as that of a mapping */
    uint64_t ports_tried;
};

/* ---- flows */

static struct guest_key guest_key(const struct ip_endpoint *guest, const struct ip_endpoint *seen)
{
    struct guest_key key = {
        .guest_port = guest->port, .seen_port = seen->port, .family = guest->addr.family};

    memcpy(key.guest, guest->addr.bytes, ip_len_bytes(&guest->addr));
    memcpy(key.seen, seen->addr.bytes, ip_len_bytes(&seen->addr));
    return key;
}

static struct udp_flow *find_by_guest(const struct forward_udp *udp, const struct guest_key *key)
{
    uint64_t hash = worker_hash(udp->worker, key, sizeof(*key));

    for (struct table_node *node = table_first(&udp->by_guest, hash); node; node = node->next) {
        struct udp_flow *flow = CONTAINER_OF(node, struct udp_flow, by_guest);

        if (node->hash == hash && memcmp(&flow->guest_key, key, sizeof(*key)) == 0)
            return flow;
    }
    return NULL;
}

static struct udp_flow *find_by_client(const struct forward_udp *udp, const struct client_key *key)
{
    uint64_t hash = worker_hash(udp->worker, key, sizeof(*key));

    for (struct table_node *node = table_first(&udp->by_client, hash); node; node = node->next) {
        struct udp_flow *flow = CONTAINER_OF(node, struct udp_flow, by_client);

        if (node->hash == hash && memcmp(&flow->client_key, key, sizeof(*key)) == 0)
            return flow;
    }
    return NULL;
}

static void flow_free(struct forward_udp *udp, struct udp_flow *flow)
{
    forward_way_free(flow->way);
    table_remove(&udp->by_client, &flow->by_client);
    table_remove(&udp->by_guest, &flow->by_guest);
    list_remove(&flow->idle);
    list_remove(&flow->of_forward);
    list_remove(&flow->of_guest);
    quota_give(&udp->worker->quota, QUOTA_forward_udp, flow->who);
    free(flow);
}

static void flow_touch(struct forward_udp *udp, struct udp_flow *flow)
{
    flow->used_ms = loop_now_ms(udp->worker->loop);
    list_remove(&flow->idle);
    list_append(&udp->flows, &flow->idle);
    list_remove(&flow->of_guest);
    list_append(quota_list(&udp->worker->quota, QUOTA_forward_udp, flow->who), &flow->of_guest);
}

/* Room for one more client of a guest. Where the guest has its share its own that was idle the longest gives way. */
static bool take_share(struct forward_udp *udp, unsigned guest)
{
    struct worker *worker = udp->worker;
    struct quota *quota = &worker->quota;
    struct list *own = quota_list(quota, QUOTA_forward_udp, guest);

    if (quota_take(quota, QUOTA_forward_udp, guest))
        return true;
    COUNT(worker->config.counters, drop_quota_forward);
    worker_refuse_share(worker, QUOTA_forward_udp, guest);
    if (list_is_empty(own))
        return false;
    flow_free(udp, CONTAINER_OF(own->next, struct udp_flow, of_guest));
    quota_take_again(quota, QUOTA_forward_udp, guest);
    return true;
}

/* The gateway's own services: what a guest sends to these ports does not come to us. */
static bool is_service(uint16_t port)
{
    return port == 53 || port == 67 || port == 547;
}

/* By what name the guest is to know the client. False where all that were tried are taken. */
static bool choose_seen(struct forward_udp *udp, const struct ip_endpoint *client,
                        const struct ip_endpoint *guest, struct ip_endpoint *ret_seen)
{
    bool own = rules_client(udp->worker, client, guest->addr.family, ret_seen);

    for (int i = 0; i < PORT_TRIES; i++) {
        struct guest_key key = guest_key(guest, ret_seen);

        if (ret_seen->port && (own || !is_service(ret_seen->port)) && !find_by_guest(udp, &key))
            return true;
        udp->ports_tried++;
        ret_seen->port =
            (uint16_t)(PORT_MIN + worker_hash(udp->worker, &udp->ports_tried, sizeof(uint64_t)) %
                                      (UINT16_MAX - PORT_MIN));
    }
    return false;
}

/* An answer of the guest's. */
static void on_answer(void *context, const struct iovec *payload)
{
    struct udp_flow *flow = context;

    flow_touch(flow->forward->worker->forward_udp, flow);
    if (udp_send_payload(flow->forward->fd, &flow->client, payload) == 0)
        COUNT(flow->forward->worker->config.counters, forward_udp_up);
}

static struct udp_flow *flow_new(struct forward_udp *udp, struct forward *forward,
                                 const struct client_key *key, const struct ip_endpoint *client)
{
    struct worker *worker = udp->worker;
    struct ip_endpoint seen;
    struct udp_flow *flow;
    unsigned who;

    if (!forward->guest.addr.family || !choose_seen(udp, client, &forward->guest, &seen)) {
        COUNT(worker->config.counters, forward_failed);
        return NULL;
    }
    who = worker_guest_of(worker, &forward->guest.addr);
    if (!take_share(udp, who))
        return NULL;
    flow = calloc(1, sizeof(*flow));
    if (flow && worker->config.tun_fd < 0 &&
        forward_way_new(worker, &forward->guest, on_answer, flow, &flow->way) < 0) {
        free(flow);
        flow = NULL;
    }
    if (!flow) {
        quota_give(&worker->quota, QUOTA_forward_udp, who);
        COUNT(worker->config.counters, drop_no_descriptor);
        return NULL;
    }
    flow->forward = forward;
    flow->guest = forward->guest;
    flow->seen = seen;
    flow->who = who;
    list_init(&flow->of_guest);
    flow->client_key = *key;
    flow->guest_key = guest_key(&flow->guest, &seen);
    list_init(&flow->idle);
    list_append(&forward->flows, &flow->of_forward);
    table_insert(&udp->by_client, &flow->by_client, worker_hash(worker, key, sizeof(*key)));
    table_insert(&udp->by_guest, &flow->by_guest,
                 worker_hash(worker, &flow->guest_key, sizeof(flow->guest_key)));
    if (!udp->timer.due_ms)
        loop_timer_set(worker->loop, &udp->timer, udp->timeout_ms + TIMER_SLACK_MS);
    return flow;
}

/* ---- from clients to guests */

static struct udp_flow *flow_of_client(struct forward_udp *udp, struct forward *forward,
                                       const struct sockaddr_storage *from,
                                       const struct in6_pktinfo *local)
{
    struct client_key key = {.forward_id = forward->id, .family = from->ss_family};
    struct ip_endpoint client;
    struct udp_flow *flow;

    if (endpoint_from_sockaddr(from, &client) < 0)
        return NULL;
    memcpy(key.client, client.addr.bytes, ip_len_bytes(&client.addr));
    memcpy(key.local, &local->ipi6_addr, sizeof(key.local));
    key.port = client.port;
    if (from->ss_family == AF_INET6)
        key.scope = ((const struct sockaddr_in6 *)(const void *)from)->sin6_scope_id;
    flow = find_by_client(udp, &key);
    if (flow)
        return flow;
    flow = flow_new(udp, forward, &key, &client);
    if (flow) {
        flow->client.to_len = endpoint_to_sockaddr(&client, &flow->client.to);
        /* Which link a link-local address is on. */
        if (from->ss_family == AF_INET6)
            memcpy(&flow->client.to, from, sizeof(struct sockaddr_in6));
        flow->client.has_local = forward->wildcard;
        flow->client.local = *local;
    }
    return flow;
}

static void forward_take(struct udp_socket *socket, const struct udp_received *received)
{
    struct forward *forward = CONTAINER_OF(socket, struct forward, socket);
    struct worker *worker = forward->worker;
    struct udp_flow *flow =
        flow_of_client(worker->forward_udp, forward, received->from, &received->local);

    if (!flow)
        return;
    flow_touch(worker->forward_udp, flow);
    if (flow->way)
        forward_way_send(flow->way, received, &worker->config.counters->forward_udp_down);
    else
        udp_deliver(worker->udp_receiver, received, &flow->seen, &flow->guest,
                    &worker->config.counters->forward_udp_down);
}

static void on_socket(struct loop_source *source, unsigned events)
{
    struct forward *forward = CONTAINER_OF(source, struct forward, source);
    socklen_t error_len = sizeof(int);
    int error;

    /* Reading it clears it: it is of no use here, and would be reported for ever. */
    if (events & LOOP_HANGUP)
        getsockopt(source->fd, SOL_SOCKET, SO_ERROR, &error, &error_len);
    udp_receive(forward->worker->udp_receiver, &forward->socket, forward_take);
}

/* ---- from guests to clients */

bool forward_udp_take(struct forward_udp *udp, const struct uplink_packet *in)
{
    const struct wire_packet *packet = &in->packet;
    struct ip_endpoint guest = {packet->src, packet->src_port};
    struct ip_endpoint seen = {packet->dst, packet->dst_port};
    struct guest_key key;
    struct udp_flow *flow;

    if (!udp->by_guest.len)
        return false;
    key = guest_key(&guest, &seen);
    flow = find_by_guest(udp, &key);
    if (!flow)
        return false;
    flow_touch(udp, flow);
    udp_send(udp->worker->udp_sender, &flow->forward->socket, &flow->client, in);
    return true;
}

/* ---- beginning and end */

int forward_udp_start(struct forward_udp *udp, struct forward *forward)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof(address);
    struct ip_endpoint local;
    struct ip_addr any;
    int one = 1, fd = forward->fd, result;

    if (getsockname(fd, (struct sockaddr *)&address, &len) < 0)
        return -errno;
    if (endpoint_from_sockaddr(&address, &local) < 0)
        return -EAFNOSUPPORT;
    any = (struct ip_addr){.family = local.addr.family};
    forward->wildcard = ip_equal(&local.addr, &any);
    if (forward->wildcard &&
        (local.addr.family == AF_INET
             ? setsockopt(fd, SOL_IP, IP_PKTINFO, &one, sizeof(one))
             : setsockopt(fd, SOL_IPV6, IPV6_RECVPKTINFO, &one, sizeof(one))) < 0)
        return -errno;
    result = udp_socket_init(&forward->socket, fd, local.addr.family,
                             &udp->worker->config.counters->forward_udp_up);
    if (result < 0)
        return result;
    forward->source.on_event = on_socket;
    return loop_add(udp->worker->loop, &forward->source, fd, LOOP_IN);
}

void forward_udp_stop(struct forward_udp *udp, struct forward *forward)
{
    udp_sender_forget(udp->worker->udp_sender, &forward->socket);
    while (!list_is_empty(&forward->flows))
        flow_free(udp, CONTAINER_OF(forward->flows.next, struct udp_flow, of_forward));
}

static void on_timer(struct loop_timer *timer)
{
    struct forward_udp *udp = CONTAINER_OF(timer, struct forward_udp, timer);
    uint64_t now_ms = loop_now_ms(udp->worker->loop);

    while (!list_is_empty(&udp->flows)) {
        struct udp_flow *flow = CONTAINER_OF(udp->flows.next, struct udp_flow, idle);
        uint64_t idle_ms = now_ms - flow->used_ms;

        if (idle_ms < udp->timeout_ms) {
            loop_timer_set(udp->worker->loop, timer, udp->timeout_ms + TIMER_SLACK_MS - idle_ms);
            return;
        }
        flow_free(udp, flow);
    }
}

int forward_udp_new(struct worker *worker, struct forward_udp **ret_udp)
{
    struct forward_udp *udp = calloc(1, sizeof(*udp));

    if (!udp)
        return -ENOMEM;
    udp->worker = worker;
    udp->timer.on_timer = on_timer;
    udp->timeout_ms = 1000ull * net_config_udp_timeout_s(worker->config.net);
    list_init(&udp->flows);
    *ret_udp = udp;
    return 0;
}

void forward_udp_free(struct forward_udp *udp)
{
    if (!udp)
        return;
    while (!list_is_empty(&udp->flows))
        flow_free(udp, CONTAINER_OF(udp->flows.next, struct udp_flow, idle));
    loop_timer_clear(udp->worker->loop, &udp->timer);
    free(udp);
}

void forward_udp_forget_guest(struct forward_udp *udp, const struct ip_addr *guest)
{
    for (struct list *node = udp->flows.next, *next; node != &udp->flows; node = next) {
        struct udp_flow *flow = CONTAINER_OF(node, struct udp_flow, idle);

        next = node->next;
        if (ip_equal(&flow->guest.addr, guest))
            flow_free(udp, flow);
    }
}
