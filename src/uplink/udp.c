/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UDP: a guest's address and port become one socket of the host, whatever the destination
 * (endpoint-independent mapping, RFC 4787 REQ-1), until it was idle for the network's udp-timeout (REQ-5).
 * Datagrams of either direction begin that time anew (REQ-6 demands it of those that go out; a stream that a
 * guest only receives lives by the others). Who answers to that socket reaches the guest
 * (endpoint-independent filtering, REQ-8: the transparent choice), unless the network's udp-filtering says
 * that only those do to whom it has sent. ICMP errors that the host gets for what was sent are read from the
 * socket's error queue and carried back; they end nothing (REQ-12).
 *
 * Towards the guest datagrams are written to the packet device with the sender's true address.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "uplink/error_queue.h"
#include "uplink/forward.h"
#include "uplink/udp_filter.h"
#include "uplink/udp_socket.h"

/* So that those which end shortly after another one end with it. */
#define TIMER_SLACK_MS 1000
#define ERRORS_A_TURN 32
#define REPORT_TTL 64

struct udp_mapping {
    struct table_node node;
    struct list idle;     /* in udp->mappings, longest idle first */
    struct list of_guest; /* the same of its guest alone, in the quota's list */
    struct udp *udp;
    struct ip_endpoint guest;
    unsigned who; /* for the guest's quota */
    struct udp_socket socket;
    struct loop_source source;
    struct udp_filter *filter; /* NULL: everybody may answer */
    uint64_t used_ms;
};

struct udp {
    struct worker *worker;
    struct table table;
    struct list mappings;
    struct loop_timer timer;
    uint64_t timeout_ms;
    enum net_udp_filtering filtering;
    uint8_t report[WIRE_HEADROOM + WIRE_PACKET_MAX]; /* what an ICMP error quotes */
};

static uint64_t udp_hash(const struct udp *udp, const struct ip_endpoint *guest)
{
    uint8_t bytes[18];

    memcpy(bytes, guest->addr.bytes, 16);
    memcpy(bytes + 16, &guest->port, 2);
    return worker_hash(udp->worker, bytes, sizeof(bytes));
}

static struct udp_mapping *udp_find(const struct udp *udp, const struct ip_endpoint *guest,
                                    uint64_t hash)
{
    for (struct table_node *node = table_first(&udp->table, hash); node; node = node->next) {
        struct udp_mapping *mapping = CONTAINER_OF(node, struct udp_mapping, node);

        if (node->hash == hash && mapping->guest.port == guest->port &&
            ip_equal(&mapping->guest.addr, &guest->addr))
            return mapping;
    }
    return NULL;
}

static void mapping_free(struct udp_mapping *mapping)
{
    struct udp *udp = mapping->udp;
    int fd = mapping->source.fd;

    udp_sender_forget(udp->worker->udp_sender, &mapping->socket);
    loop_remove(udp->worker->loop, &mapping->source);
    close(fd);
    list_remove(&mapping->idle);
    list_remove(&mapping->of_guest);
    quota_give(&udp->worker->quota, QUOTA_udp, mapping->who);
    table_remove(&udp->table, &mapping->node);
    COUNT_DOWN(udp->worker->config.counters, udp_open);
    free(mapping->filter);
    free(mapping);
}

static void mapping_touch(struct udp_mapping *mapping)
{
    mapping->used_ms = loop_now_ms(mapping->udp->worker->loop);
    list_remove(&mapping->idle);
    list_append(&mapping->udp->mappings, &mapping->idle);
    list_remove(&mapping->of_guest);
    list_append(quota_list(&mapping->udp->worker->quota, QUOTA_udp, mapping->who),
                &mapping->of_guest);
}

/* Who is outside, as far as filtering distinguishes them. */
static uint64_t udp_peer(const struct udp *udp, const struct ip_endpoint *outside)
{
    uint8_t bytes[18] = {0};

    memcpy(bytes, outside->addr.bytes, ip_len_bytes(&outside->addr));
    if (udp->filtering == NET_UDP_ADDRESS_AND_PORT_DEPENDENT)
        memcpy(bytes + 16, &outside->port, 2);
    return worker_hash(udp->worker, bytes, sizeof(bytes));
}

static void mapping_take(struct udp_socket *socket, const struct udp_received *received)
{
    struct udp_mapping *mapping = CONTAINER_OF(socket, struct udp_mapping, socket);
    struct worker *worker = mapping->udp->worker;
    struct ip_endpoint src;

    if (endpoint_from_sockaddr(received->from, &src) < 0)
        return;
    if (mapping->filter && !udp_filter_has(mapping->filter, udp_peer(mapping->udp, &src))) {
        COUNT(worker->config.counters, udp_filtered);
        return;
    }
    /* Without NAT there is nothing beyond the host. */
    if (!net_config_has_nat(worker->config.net, src.addr.family) &&
        !host_view_owns(worker->host, &src.addr)) {
        COUNT(worker->config.counters, drop_denied);
        return;
    }
    src.addr = rules_inbound(worker, &src.addr);
    udp_deliver(worker->udp_receiver, received, &src, &mapping->guest,
                &worker->config.counters->udp_down);
    mapping_touch(mapping);
}

/* ICMP errors for what was sent: the guest's own datagrams are built again from what is quoted of them. */
static void mapping_read_errors(struct udp_mapping *mapping)
{
    struct worker *worker = mapping->udp->worker;
    uint8_t *payload = mapping->udp->report + WIRE_HEADROOM, *packet;

    for (int i = 0; i < ERRORS_A_TURN; i++) {
        char control[ERROR_QUEUE_CONTROL_BYTES] __attribute__((aligned(8)));
        struct sockaddr_storage to;
        struct iovec part = {.iov_base = payload, .iov_len = UDP_DATAGRAM_MAX};
        struct msghdr message = {.msg_name = &to,
                                 .msg_namelen = sizeof(to),
                                 .msg_iov = &part,
                                 .msg_iovlen = 1,
                                 .msg_control = control,
                                 .msg_controllen = sizeof(control)};
        const struct wire_ip_fields fields = {.ttl = REPORT_TTL};
        struct host_error error;
        struct wire_packet cause;
        struct ip_endpoint dst;
        ssize_t len = error_queue_next(mapping->source.fd, &message, &error);

        if (len < 0)
            return;
        if (endpoint_from_sockaddr(&to, &dst) < 0)
            continue;
        dst.addr = rules_inbound(worker, &dst.addr);
        packet = wire_prepend_udp(payload, (size_t)len, &mapping->guest, &dst, &fields);
        if (wire_parse(packet, (size_t)len + (size_t)(payload - packet), &cause) != WIRE_PARSE_OK)
            continue;
        worker_pass_error(worker, &error, &cause);
        COUNT(worker->config.counters, udp_errors);
    }
}

static void on_failed(struct udp_socket *socket, const struct wire_packet *packet, int error)
{
    struct udp_mapping *mapping = CONTAINER_OF(socket, struct udp_mapping, socket);
    struct worker *worker = mapping->udp->worker;
    struct ip_endpoint dst = {packet->dst, packet->dst_port}, outside;
    enum wire_unreachable why = WIRE_UNREACHABLE_TOO_BIG;
    uint32_t mtu_bytes = 0;

    if (error == EMSGSIZE && rules_outbound(worker, &dst, &outside) == RULE_ALLOW)
        mtu_bytes = host_path_mtu(&outside.addr);
    else if (!worker_error_means(error, &why))
        return;
    worker_send_error(worker, NULL, packet, why, mtu_bytes);
    COUNT(worker->config.counters, udp_errors);
}

static void on_socket(struct loop_source *source, unsigned events)
{
    struct udp_mapping *mapping = CONTAINER_OF(source, struct udp_mapping, source);

    if (events & LOOP_HANGUP)
        mapping_read_errors(mapping);
    udp_receive(mapping->udp->worker->udp_receiver, &mapping->socket, mapping_take);
}

static int open_socket(int family)
{
    int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;

    /* Bound by the first send, to a port that the kernel picks (RFC 6056). */
    if (fd < 0 ||
        (family == AF_INET6 && setsockopt(fd, SOL_IPV6, IPV6_V6ONLY, &one, sizeof(one)) < 0)) {
        int error = -errno;

        if (fd >= 0)
            close(fd);
        return error;
    }
    error_queue_keep(fd, family, true);
    return fd;
}

/* Room for one more mapping. Where a guest has its share its own that was idle the longest gives way. */
static bool udp_take_share(struct udp *udp, unsigned guest)
{
    struct worker *worker = udp->worker;
    struct list *own = quota_list(&worker->quota, QUOTA_udp, guest);

    if (quota_take(&worker->quota, QUOTA_udp, guest))
        return true;
    COUNT(worker->config.counters, drop_quota_udp);
    worker_refuse_share(worker, QUOTA_udp, guest);
    if (list_is_empty(own))
        return false;
    mapping_free(CONTAINER_OF(own->next, struct udp_mapping, of_guest));
    quota_take_again(&worker->quota, QUOTA_udp, guest);
    return true;
}

static struct udp_mapping *mapping_new(struct udp *udp, const struct ip_endpoint *guest,
                                       unsigned who, uint64_t hash, int *ret_error)
{
    struct worker *worker = udp->worker;
    struct udp_mapping *mapping;
    int fd = -1, result;

    if (!udp_take_share(udp, who)) {
        *ret_error = ENOBUFS;
        return NULL;
    }
    mapping = calloc(1, sizeof(*mapping));
    if (mapping && udp->filtering != NET_UDP_ENDPOINT_INDEPENDENT)
        mapping->filter = calloc(1, sizeof(*mapping->filter));
    result = mapping && (mapping->filter || udp->filtering == NET_UDP_ENDPOINT_INDEPENDENT)
                 ? open_socket(guest->addr.family)
                 : -ENOMEM;
    if (result >= 0) {
        fd = result;
        mapping->source = (struct loop_source){.on_event = on_socket, .fd = -1};
        result = udp_socket_init(&mapping->socket, fd, guest->addr.family,
                                 &worker->config.counters->udp_up);
    }
    if (result >= 0) {
        mapping->socket.on_failed = on_failed;
        result = loop_add(worker->loop, &mapping->source, fd, LOOP_IN);
    }
    if (result < 0) {
        if (fd >= 0)
            close(fd);
        if (mapping)
            free(mapping->filter);
        free(mapping);
        quota_give(&worker->quota, QUOTA_udp, who);
        *ret_error = -result;
        return NULL;
    }
    mapping->udp = udp;
    mapping->guest = *guest;
    mapping->who = who;
    list_init(&mapping->idle);
    list_init(&mapping->of_guest);
    table_insert(&udp->table, &mapping->node, hash);
    COUNT(worker->config.counters, udp_opened);
    COUNT(worker->config.counters, udp_open);
    if (!udp->timer.due_ms)
        loop_timer_set(worker->loop, &udp->timer, udp->timeout_ms + TIMER_SLACK_MS);
    return mapping;
}

void udp_take(struct udp *udp, const struct uplink_packet *in)
{
    const struct wire_packet *packet = &in->packet;
    struct ip_endpoint guest = {packet->src, packet->src_port};
    struct ip_endpoint dst = {packet->dst, packet->dst_port}, outside;
    struct uplink_counters *counters = udp->worker->config.counters;
    struct udp_mapping *mapping;
    enum wire_unreachable why;
    uint64_t hash;
    enum rule rule;
    struct udp_target target = {.has_local = false};
    int error = 0;

    if (forward_udp_take(udp->worker->forward_udp, in))
        return;
    rule = rules_outbound(udp->worker, &dst, &outside);
    if (rule != RULE_ALLOW || dst.port == 0) {
        worker_refuse(udp->worker, packet, rule == RULE_ALLOW ? RULE_DENY : rule);
        return;
    }
    hash = udp_hash(udp, &guest);
    mapping = udp_find(udp, &guest, hash);
    if (!mapping)
        mapping = mapping_new(udp, &guest, in->guest, hash, &error);
    if (mapping) {
        mapping_touch(mapping);
        if (mapping->filter)
            udp_filter_add(mapping->filter, udp_peer(udp, &outside));
        target.to_len = endpoint_to_sockaddr(&outside, &target.to);
        udp_send(udp->worker->udp_sender, &mapping->socket, &target, in);
    } else if (worker_error_means(error, &why)) {
        worker_send_error(udp->worker, NULL, packet, why, 0);
        COUNT(counters, udp_send_failed);
    } else {
        COUNT(counters, drop_no_descriptor);
    }
}

static void on_timer(struct loop_timer *timer)
{
    struct udp *udp = CONTAINER_OF(timer, struct udp, timer);
    uint64_t now_ms = loop_now_ms(udp->worker->loop);

    while (!list_is_empty(&udp->mappings)) {
        struct udp_mapping *mapping = CONTAINER_OF(udp->mappings.next, struct udp_mapping, idle);
        uint64_t idle_ms = now_ms - mapping->used_ms;

        if (idle_ms < udp->timeout_ms) {
            loop_timer_set(udp->worker->loop, timer, udp->timeout_ms + TIMER_SLACK_MS - idle_ms);
            return;
        }
        mapping_free(mapping);
    }
}

int udp_new(struct worker *worker, struct udp **ret_udp)
{
    struct udp *udp = calloc(1, sizeof(*udp));

    if (!udp)
        return -ENOMEM;
    udp->worker = worker;
    udp->timer.on_timer = on_timer;
    udp->timeout_ms = 1000ull * net_config_udp_timeout_s(worker->config.net);
    if (worker->config.net->file)
        udp->filtering = worker->config.net->file->udp_filtering;
    list_init(&udp->mappings);
    *ret_udp = udp;
    return 0;
}

void udp_free(struct udp *udp)
{
    if (!udp)
        return;
    while (!list_is_empty(&udp->mappings))
        mapping_free(CONTAINER_OF(udp->mappings.next, struct udp_mapping, idle));
    loop_timer_clear(udp->worker->loop, &udp->timer);
    free(udp);
}

void udp_forget_guest(struct udp *udp, unsigned guest)
{
    struct list *own = quota_list(&udp->worker->quota, QUOTA_udp, guest);

    while (!list_is_empty(own))
        mapping_free(CONTAINER_OF(own->next, struct udp_mapping, of_guest));
}
