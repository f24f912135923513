/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An attempt to connect, from the guest's first SYN until the host's connect() has told how it went.
 *
 * The guest is told what the host was told, in the words of who said it. What is only short of something here
 * (a port, a descriptor, a share) is silence, as on a busy path: the guest asks again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "uplink/tcp.h"

/*
 * The host tries as long as the guest does: a stack repeats its SYN at intervals that at most double (RFC 6298
 * 5.5), the first after three seconds or less. One that has not for three times the last interval has given up.
 */
#define SYN_INTERVALS 3
#define TOLD_AGAIN_MS 600000
/* From then on an attempt gives way to a newer one of its guest: the guest has asked again (RFC 6298 2.1). */
#define GIVE_WAY_AFTER_MS 1000

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
    } else if (error == ENOBUFS || error == ENOMEM || error == EMFILE || error == ENFILE) {
        COUNT(counters, drop_no_descriptor);
    } else if (worker_error_means(error, &why)) {
        COUNT(counters, tcp_unreachable);
        worker_send_error(worker, NULL, &syn, why, 0);
    } else {
        COUNT(counters, tcp_timeout);
    }
    tcp_flow_free(flow, true);
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
    tcp_flow_set_state(flow, TCP_OFFERED);
    flow_offer(flow);
}

void tcp_attempt_again(struct tcp_flow *flow, const struct uplink_packet *in)
{
    uint64_t now_ms = loop_now_ms(flow->tcp->worker->loop), interval_ms = now_ms - flow->asked_ms;
    uint64_t patience_ms = SYN_INTERVALS * interval_ms;

    flow->asked_ms = now_ms;
    flow->expires_ms =
        now_ms + (patience_ms > TCP_SYN_PATIENCE_MS ? patience_ms : TCP_SYN_PATIENCE_MS);
    if (VNET_BYTES + in->packet.len_bytes > flow->syn_max_bytes)
        return;
    memcpy(flow->syn, in->vnet, VNET_BYTES);
    memcpy(flow->syn + VNET_BYTES, in->packet.data, in->packet.len_bytes);
    flow->syn_len_bytes = VNET_BYTES + in->packet.len_bytes;
}

static void on_end(struct relay *relay, bool reset)
{
    tcp_flow_free(CONTAINER_OF(relay, struct tcp_flow, relay), reset);
}

/*
 * Room for one more attempt to connect. A guest that has its share of them, because it asks where nobody
 * answers, gives up the one that has waited the longest. Not one of a burst, which may succeed in a moment: then
 * the new one is dropped, and asked for again.
 */
static bool attempt_take_share(struct tcp *tcp, unsigned guest)
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
        tcp_flow_free(oldest, true);
        quota_take_again(quota, QUOTA_half_open, guest);
    }
    if (worker_take_flow(worker, guest))
        return true;
    quota_give(quota, QUOTA_half_open, guest);
    return false;
}

/* A connecting socket of the host's, or -errno. */
static int flow_connect(struct tcp_flow *flow, const struct wire_packet *syn,
                        const struct ip_endpoint *outside)
{
    struct tcp *tcp = flow->tcp;

    for (bool share = true;; share = false) {
        int fd = tcp_outside_socket(syn), result;

        if (fd < 0)
            return fd;
        relay_prepare(fd);
        share = share && tcp_member_bind(&flow->member, fd);
        tcp->attempts++;
        result =
            tcp_outside_connect(fd, outside, &tcp->ports,
                                worker_hash(tcp->worker, &tcp->attempts, sizeof(tcp->attempts)));
        if (result == 0)
            return fd;
        close(fd);
        /* The port is still in TIME_WAIT towards this destination: a connection matters more. */
        if (!share || result != -EADDRNOTAVAIL)
            return result;
    }
}

void tcp_attempt(struct tcp *tcp, const struct uplink_packet *in, const struct tcp_key *key)
{
    struct worker *worker = tcp->worker;
    const struct wire_packet *packet = &in->packet;
    struct ip_endpoint outside;
    struct tcp_flow *flow;
    enum rule rule = rules_outbound(worker, &key->dst, &outside);
    int fd;

    if (rule != RULE_ALLOW || key->dst.port == 0) {
        worker_refuse(worker, packet, rule == RULE_ALLOW ? RULE_DENY : rule);
        return;
    }
    if (!attempt_take_share(tcp, in->guest))
        return;
    flow = calloc(1, sizeof(*flow));
    if (flow)
        flow->syn = malloc(VNET_BYTES + packet->len_bytes);
    if (!flow || !flow->syn ||
        tcp_member_join(&flow->member, &tcp->mappings, worker, &key->guest) < 0) {
        COUNT(worker->config.counters, drop_no_descriptor);
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
    tcp_flow_set_state(flow, TCP_CONNECTING);
    relay_init(&flow->relay, &worker->relays);
    flow->relay.guest = in->guest;
    flow->relay.on_early_event = on_early_event;
    flow->relay.on_end = on_end;
    flow->relay.bytes[GUEST] = &worker->config.counters->tcp_bytes_up;
    flow->relay.bytes[HOST] = &worker->config.counters->tcp_bytes_down;

    fd = flow_connect(flow, packet, &outside);
    if (fd < 0) {
        flow_fail(flow, -fd);
        return;
    }
    /* Registered after connect(): an unconnected socket would report a hang-up. */
    if (relay_set_side(&flow->relay, HOST, fd) < 0) {
        COUNT(worker->config.counters, drop_no_descriptor);
        tcp_flow_free(flow, true);
        return;
    }
    flow->member.fd = fd;
}
