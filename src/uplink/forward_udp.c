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
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "uplink/forward.h"

/* RFC 4787 REQ-5: not less than two minutes. */
#define FLOW_TIMEOUT_MS 120000
#define TIMER_PERIOD_MS 5000
#define DATAGRAMS_A_TURN 32
#define DATAGRAM_MAX 65507
#define SLOT_BYTES (WIRE_HEADROOM + WIRE_PACKET_MAX + 1)
#define FORWARDED_TTL 64
/* With a tenth of all ports in use, sixteen tries fail once in 10^16. */
#define PORT_TRIES 16
#define PORT_MIN 1024
#define CONTROL_BYTES CMSG_SPACE(sizeof(struct in6_pktinfo))

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
    struct forward *forward;
    struct client_key client_key;
    struct guest_key guest_key;
    struct ip_endpoint guest, seen;
    union {
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } client;
    struct in6_pktinfo local; /* where the client's datagrams come to; IPv4 in the first 4 bytes */
    uint64_t used_ms;
};

struct forward_udp {
    struct worker *worker;
    struct table by_client, by_guest;
    struct list flows;
    struct loop_timer timer;
    uint64_t ports_tried;
    uint8_t *slots; /* DATAGRAMS_A_TURN of SLOT_BYTES, from the first UDP forward on */
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
    table_remove(&udp->by_client, &flow->by_client);
    table_remove(&udp->by_guest, &flow->by_guest);
    list_remove(&flow->idle);
    list_remove(&flow->of_forward);
    free(flow);
}

static void flow_touch(struct forward_udp *udp, struct udp_flow *flow)
{
    flow->used_ms = loop_now_ms(udp->worker->loop);
    list_remove(&flow->idle);
    list_append(&udp->flows, &flow->idle);
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

static struct udp_flow *flow_new(struct forward_udp *udp, struct forward *forward,
                                 const struct client_key *key, const struct ip_endpoint *client)
{
    struct worker *worker = udp->worker;
    struct ip_endpoint seen;
    struct udp_flow *flow;

    if (!forward->guest.addr.family || !choose_seen(udp, client, &forward->guest, &seen)) {
        COUNT(worker->config.counters, forward_failed);
        return NULL;
    }
    /* Where the table is full the one that was idle the longest gives way. */
    if (udp->by_client.len >= UPLINK_FORWARD_UDP_FLOWS_MAX) {
        COUNT(worker->config.counters, drop_table_full);
        flow_free(udp, CONTAINER_OF(udp->flows.next, struct udp_flow, idle));
    }
    flow = calloc(1, sizeof(*flow));
    if (!flow) {
        COUNT(worker->config.counters, drop_no_descriptor);
        return NULL;
    }
    flow->forward = forward;
    flow->guest = forward->guest;
    flow->seen = seen;
    flow->client_key = *key;
    flow->guest_key = guest_key(&flow->guest, &seen);
    list_init(&flow->idle);
    list_append(&forward->flows, &flow->of_forward);
    table_insert(&udp->by_client, &flow->by_client, worker_hash(worker, key, sizeof(*key)));
    table_insert(&udp->by_guest, &flow->by_guest,
                 worker_hash(worker, &flow->guest_key, sizeof(flow->guest_key)));
    if (!udp->timer.due_ms)
        loop_timer_set(worker->loop, &udp->timer, TIMER_PERIOD_MS);
    return flow;
}

/* ---- from clients to guests */

/* To which of the host's addresses a datagram came: all zero where the socket is bound to one. */
static struct in6_pktinfo read_local(struct msghdr *message)
{
    struct in6_pktinfo local = {0};

    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(message); cmsg; cmsg = CMSG_NXTHDR(message, cmsg)) {
        if (cmsg->cmsg_level == SOL_IPV6 && cmsg->cmsg_type == IPV6_PKTINFO) {
            memcpy(&local, CMSG_DATA(cmsg), sizeof(local));
            /* The way back is the routes' business, but for addresses that mean nothing without it. */
            if (!IN6_IS_ADDR_LINKLOCAL(&local.ipi6_addr))
                local.ipi6_ifindex = 0;
        } else if (cmsg->cmsg_level == SOL_IP && cmsg->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;

            memcpy(&info, CMSG_DATA(cmsg), sizeof(info));
            memset(&local, 0, sizeof(local));
            /* What came before the option was set knows its destination only, which is nearly the same. */
            memcpy(&local.ipi6_addr, info.ipi_spec_dst.s_addr ? &info.ipi_spec_dst : &info.ipi_addr,
                   sizeof(info.ipi_addr));
        }
    }
    return local;
}

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
        memcpy(&flow->client, from, sizeof(flow->client));
        flow->local = *local;
    }
    return flow;
}

static void forward_deliver(struct forward_udp *udp, struct forward *forward,
                            struct mmsghdr *received)
{
    struct worker *worker = udp->worker;
    struct msghdr *message = &received->msg_hdr;
    uint8_t *payload = message->msg_iov->iov_base, *packet;
    size_t len_bytes = received->msg_len;
    struct in6_pktinfo local = read_local(message);
    struct udp_flow *flow;

    /* IPv6 has datagrams longer than an IPv4 guest could get. */
    if (message->msg_flags & MSG_TRUNC)
        return;
    flow = flow_of_client(udp, forward, message->msg_name, &local);
    if (!flow)
        return;
    flow_touch(udp, flow);
    packet = wire_prepend_udp(payload, len_bytes, &flow->seen, &flow->guest, FORWARDED_TTL,
                              worker->next_ip_id++);
    tun_send(worker, packet, len_bytes + (size_t)(payload - packet), NULL);
    COUNT(worker->config.counters, forward_udp_down);
}

static void on_socket(struct loop_source *source, unsigned events)
{
    struct forward *forward = CONTAINER_OF(source, struct forward, source);
    struct forward_udp *udp = forward->worker->forward_udp;
    char control[DATAGRAMS_A_TURN][CONTROL_BYTES] __attribute__((aligned(8)));
    struct sockaddr_storage from[DATAGRAMS_A_TURN];
    struct mmsghdr messages[DATAGRAMS_A_TURN];
    struct iovec parts[DATAGRAMS_A_TURN];
    socklen_t error_len = sizeof(int);
    int len, error;

    /* Reading it clears it: it is of no use here, and would be reported for ever. */
    if (events & LOOP_HANGUP)
        getsockopt(source->fd, SOL_SOCKET, SO_ERROR, &error, &error_len);
    for (int i = 0; i < DATAGRAMS_A_TURN; i++) {
        parts[i] = (struct iovec){.iov_base = udp->slots + (size_t)i * SLOT_BYTES + WIRE_HEADROOM,
                                  .iov_len = DATAGRAM_MAX};
        messages[i].msg_hdr =
            (struct msghdr){.msg_name = &from[i],
                            .msg_namelen = sizeof(from[i]),
                            .msg_iov = &parts[i],
                            .msg_iovlen = 1,
                            .msg_control = forward->wildcard ? control[i] : NULL,
                            .msg_controllen = forward->wildcard ? CONTROL_BYTES : 0};
    }
    len = recvmmsg(source->fd, messages, DATAGRAMS_A_TURN, MSG_DONTWAIT, NULL);
    for (int i = 0; i < len; i++)
        forward_deliver(udp, forward, &messages[i]);
}

/* ---- from guests to clients */

/* Makes the answer leave from the address that its client knows. */
static void write_local(struct msghdr *message, const struct udp_flow *flow)
{
    bool ipv4 = flow->client.v4.sin_family == AF_INET;
    struct in_pktinfo info4 = {0};
    struct cmsghdr *cmsg;

    message->msg_controllen =
        ipv4 ? CMSG_SPACE(sizeof(info4)) : CMSG_SPACE(sizeof(struct in6_pktinfo));
    cmsg = CMSG_FIRSTHDR(message);
    cmsg->cmsg_level = ipv4 ? SOL_IP : SOL_IPV6;
    cmsg->cmsg_type = ipv4 ? IP_PKTINFO : IPV6_PKTINFO;
    cmsg->cmsg_len = ipv4 ? CMSG_LEN(sizeof(info4)) : CMSG_LEN(sizeof(struct in6_pktinfo));
    memcpy(&info4.ipi_spec_dst, &flow->local.ipi6_addr, sizeof(info4.ipi_spec_dst));
    if (ipv4)
        memcpy(CMSG_DATA(cmsg), &info4, sizeof(info4));
    else
        memcpy(CMSG_DATA(cmsg), &flow->local, sizeof(flow->local));
}

bool forward_udp_take(struct forward_udp *udp, const struct uplink_packet *in)
{
    const struct wire_packet *packet = &in->packet;
    char control[CONTROL_BYTES] __attribute__((aligned(8))) = {0};
    struct iovec part = {.iov_base = (void *)packet->payload, .iov_len = packet->payload_len_bytes};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
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
    message.msg_name = &flow->client;
    message.msg_namelen =
        flow->client.v4.sin_family == AF_INET ? sizeof(flow->client.v4) : sizeof(flow->client.v6);
    if (flow->forward->wildcard) {
        message.msg_control = control;
        write_local(&message, flow);
    }
    if (sendmsg(flow->forward->source.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        COUNT(udp->worker->config.counters, udp_send_failed);
    else
        COUNT(udp->worker->config.counters, forward_udp_up);
    return true;
}

/* ---- beginning and end */

int forward_udp_start(struct forward_udp *udp, struct forward *forward, int fd)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof(address);
    struct ip_endpoint local;
    struct ip_addr any;
    int one = 1;

    if (!udp->slots)
        udp->slots = malloc((size_t)DATAGRAMS_A_TURN * SLOT_BYTES);
    if (!udp->slots)
        return -ENOMEM;
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
    forward->source.on_event = on_socket;
    return loop_add(udp->worker->loop, &forward->source, fd, LOOP_IN);
}

void forward_udp_stop(struct forward_udp *udp, struct forward *forward)
{
    while (!list_is_empty(&forward->flows))
        flow_free(udp, CONTAINER_OF(forward->flows.next, struct udp_flow, of_forward));
}

static void on_timer(struct loop_timer *timer)
{
    struct forward_udp *udp = CONTAINER_OF(timer, struct forward_udp, timer);
    uint64_t now_ms = loop_now_ms(udp->worker->loop);

    while (!list_is_empty(&udp->flows)) {
        struct udp_flow *flow = CONTAINER_OF(udp->flows.next, struct udp_flow, idle);

        if (now_ms - flow->used_ms < FLOW_TIMEOUT_MS)
            break;
        flow_free(udp, flow);
    }
    if (!list_is_empty(&udp->flows))
        loop_timer_set(udp->worker->loop, timer, TIMER_PERIOD_MS);
}

int forward_udp_new(struct worker *worker, struct forward_udp **ret_udp)
{
    struct forward_udp *udp = calloc(1, sizeof(*udp));

    if (!udp)
        return -ENOMEM;
    udp->worker = worker;
    udp->timer.on_timer = on_timer;
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
    free(udp->slots);
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
