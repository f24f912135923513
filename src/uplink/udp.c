/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UDP: a guest's address and port become one socket of the host, whatever the destination
 * (endpoint-independent mapping, RFC 4787 REQ-1). Who answers to that socket reaches the guest
 * (endpoint-independent filtering, REQ-8: the transparent choice). ICMP errors that the host gets for
 * what was sent are read from the socket's error queue and carried back (RFC 4787 REQ-12).
 *
 * Towards the guest datagrams are written to the packet device with the sender's true address.
 */
#include <errno.h>
#include <time.h> /* linux/errqueue.h needs it before */

#include <linux/errqueue.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "uplink/forward.h"
#include "uplink/worker.h"

/* RFC 4787 REQ-5: not less than two minutes. */
#define MAPPING_TIMEOUT_MS 120000
#define TIMER_PERIOD_MS 5000
#define DATAGRAMS_A_TURN 32
#define DATAGRAM_MAX 65507
#define SLOT_BYTES (WIRE_HEADROOM + WIRE_PACKET_MAX + 1)
#define REPLY_TTL 64

struct udp_mapping {
    struct table_node node;
    struct list idle; /* in udp->mappings, longest idle first */
    struct udp *udp;
    struct ip_endpoint guest;
    struct loop_source source;
    uint64_t used_ms;
};

struct udp {
    struct worker *worker;
    struct table table;
    struct list mappings;
    struct loop_timer timer;
    uint8_t *slots; /* DATAGRAMS_A_TURN of SLOT_BYTES, with headroom in front */
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

    loop_remove(udp->worker->loop, &mapping->source);
    close(fd);
    list_remove(&mapping->idle);
    table_remove(&udp->table, &mapping->node);
    COUNT_DOWN(udp->worker->config.counters, udp_open);
    free(mapping);
}

static void mapping_touch(struct udp_mapping *mapping)
{
    mapping->used_ms = loop_now_ms(mapping->udp->worker->loop);
    list_remove(&mapping->idle);
    list_append(&mapping->udp->mappings, &mapping->idle);
}

/* Writes the datagram, which has its headroom in front, to the guest. */
static void mapping_deliver(struct udp_mapping *mapping, uint8_t *payload, size_t len_bytes,
                            const struct sockaddr_storage *from)
{
    struct worker *worker = mapping->udp->worker;
    struct ip_endpoint src;
    uint8_t *packet;

    if (len_bytes > DATAGRAM_MAX || endpoint_from_sockaddr(from, &src) < 0)
        return;
    /* Filtering is endpoint-independent, but beyond the host there is nothing for a host network. */
    if (worker->config.net->mode == NET_MODE_HOST && !host_view_owns(worker->host, &src.addr)) {
        COUNT(worker->config.counters, drop_denied);
        return;
    }
    src.addr = rules_inbound(worker, &src.addr);
    packet = wire_prepend_udp(payload, len_bytes, &src, &mapping->guest, REPLY_TTL,
                              worker->next_ip_id++);
    tun_send(worker, packet, len_bytes + (size_t)(payload - packet), NULL);
    COUNT(worker->config.counters, udp_down);
}

static bool error_means(const struct sock_extended_err *error, enum wire_unreachable *ret_why)
{
    if (error->ee_errno == EMSGSIZE) {
        *ret_why = WIRE_UNREACHABLE_TOO_BIG;
        return true;
    }
    if ((error->ee_origin == SO_EE_ORIGIN_ICMP && error->ee_type == 11) ||
        (error->ee_origin == SO_EE_ORIGIN_ICMP6 && error->ee_type == 3)) {
        *ret_why = WIRE_UNREACHABLE_TTL;
        return true;
    }
    return worker_error_means((int)error->ee_errno, ret_why);
}

/* An ICMP error for a datagram that we had sent: builds the guest's own packet again and answers it. */
static void mapping_report(struct udp_mapping *mapping, uint8_t *payload, size_t len_bytes,
                           const struct sockaddr_storage *to, const struct sock_extended_err *error)
{
    struct worker *worker = mapping->udp->worker;
    struct sockaddr_storage offender = {0};
    struct ip_endpoint dst, router;
    enum wire_unreachable why;
    struct wire_packet cause;
    uint8_t *packet;

    if (!error_means(error, &why) || endpoint_from_sockaddr(to, &dst) < 0 ||
        len_bytes > DATAGRAM_MAX)
        return;
    dst.addr = rules_inbound(worker, &dst.addr);
    packet = wire_prepend_udp(payload, len_bytes, &mapping->guest, &dst, REPLY_TTL, 0);
    if (wire_parse(packet, len_bytes + (size_t)(payload - packet), &cause) != WIRE_PARSE_OK)
        return;
    memcpy(&offender, SO_EE_OFFENDER(error),
           mapping->guest.addr.family == AF_INET ? sizeof(struct sockaddr_in)
                                                 : sizeof(struct sockaddr_in6));
    if (error->ee_origin != SO_EE_ORIGIN_LOCAL && endpoint_from_sockaddr(&offender, &router) == 0) {
        router.addr = rules_inbound(worker, &router.addr);
        worker_send_error(worker, &router.addr, &cause, why, error->ee_info);
    } else {
        worker_send_error(worker, NULL, &cause, why, error->ee_info);
    }
    COUNT(worker->config.counters, udp_errors);
}

static void mapping_read_errors(struct udp_mapping *mapping)
{
    uint8_t *payload = mapping->udp->slots + WIRE_HEADROOM;

    for (int i = 0; i < DATAGRAMS_A_TURN; i++) {
        char control[512] __attribute__((aligned(8)));
        struct sockaddr_storage to;
        struct iovec part = {.iov_base = payload, .iov_len = DATAGRAM_MAX};
        struct msghdr message = {.msg_name = &to,
                                 .msg_namelen = sizeof(to),
                                 .msg_iov = &part,
                                 .msg_iovlen = 1,
                                 .msg_control = control,
                                 .msg_controllen = sizeof(control)};
        ssize_t len = recvmsg(mapping->source.fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT);

        if (len < 0)
            return;
        for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(&message); cmsg;
             cmsg = CMSG_NXTHDR(&message, cmsg))
            if ((cmsg->cmsg_level == SOL_IP && cmsg->cmsg_type == IP_RECVERR) ||
                (cmsg->cmsg_level == SOL_IPV6 && cmsg->cmsg_type == IPV6_RECVERR))
                mapping_report(mapping, payload, (size_t)len, &to,
                               (const struct sock_extended_err *)(const void *)CMSG_DATA(cmsg));
    }
}

static void on_socket(struct loop_source *source, unsigned events)
{
    struct udp_mapping *mapping = CONTAINER_OF(source, struct udp_mapping, source);
    struct udp *udp = mapping->udp;
    struct sockaddr_storage from[DATAGRAMS_A_TURN];
    struct mmsghdr messages[DATAGRAMS_A_TURN];
    struct iovec parts[DATAGRAMS_A_TURN];
    int len;

    if (events & LOOP_HANGUP)
        mapping_read_errors(mapping);
    for (int i = 0; i < DATAGRAMS_A_TURN; i++) {
        parts[i] = (struct iovec){.iov_base = udp->slots + (size_t)i * SLOT_BYTES + WIRE_HEADROOM,
                                  .iov_len = DATAGRAM_MAX};
        messages[i].msg_hdr = (struct msghdr){.msg_name = &from[i],
                                              .msg_namelen = sizeof(from[i]),
                                              .msg_iov = &parts[i],
                                              .msg_iovlen = 1};
    }
    len = recvmmsg(source->fd, messages, DATAGRAMS_A_TURN, MSG_DONTWAIT, NULL);
    if (len <= 0)
        return;
    for (int i = 0; i < len; i++)
        mapping_deliver(mapping, parts[i].iov_base, messages[i].msg_len, &from[i]);
    mapping_touch(mapping);
}

static int open_socket(int family)
{
    int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    bool ipv4 = family == AF_INET;

    if (fd < 0)
        return -errno;
    /* Bound by the first send, to a port that the kernel picks (RFC 6056). */
    if (setsockopt(fd, ipv4 ? SOL_IP : SOL_IPV6, ipv4 ? IP_RECVERR : IPV6_RECVERR, &one,
                   sizeof(one)) < 0 ||
        (!ipv4 && setsockopt(fd, SOL_IPV6, IPV6_V6ONLY, &one, sizeof(one)) < 0)) {
        int error = -errno;

        close(fd);
        return error;
    }
    return fd;
}

static struct udp_mapping *mapping_new(struct udp *udp, const struct ip_endpoint *guest,
                                       uint64_t hash, int *ret_error)
{
    struct worker *worker = udp->worker;
    struct udp_mapping *mapping;
    int fd = -1, result;

    /* Where the table is full the one that was idle the longest gives way. */
    if (udp->table.len >= worker->config.limits.udp_mappings) {
        COUNT(worker->config.counters, drop_table_full);
        mapping_free(CONTAINER_OF(udp->mappings.next, struct udp_mapping, idle));
    }
    mapping = calloc(1, sizeof(*mapping));
    result = mapping ? open_socket(guest->addr.family) : -ENOMEM;
    if (result >= 0) {
        fd = result;
        mapping->source = (struct loop_source){.on_event = on_socket, .fd = -1};
        result = loop_add(worker->loop, &mapping->source, fd, LOOP_IN);
    }
    if (result < 0) {
        if (fd >= 0)
            close(fd);
        free(mapping);
        *ret_error = -result;
        return NULL;
    }
    mapping->udp = udp;
    mapping->guest = *guest;
    list_init(&mapping->idle);
    table_insert(&udp->table, &mapping->node, hash);
    COUNT(worker->config.counters, udp_opened);
    COUNT(worker->config.counters, udp_open);
    if (!udp->timer.due_ms)
        loop_timer_set(worker->loop, &udp->timer, TIMER_PERIOD_MS);
    return mapping;
}

static int mapping_send(struct udp_mapping *mapping, const struct wire_packet *packet,
                        const struct ip_endpoint *dst)
{
    struct sockaddr_storage address;
    socklen_t len = endpoint_to_sockaddr(dst, &address);

    /* An ICMP error that has come for an earlier datagram fails the next send, once: RFC 1122 4.1.3.3.
     * The error itself is in the queue and is read in its turn. */
    for (int attempt = 0; attempt < 2; attempt++)
        if (sendto(mapping->source.fd, packet->payload, packet->payload_len_bytes,
                   MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&address, len) >= 0)
            return 0;
    return -errno;
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
    int error = 0;

    if (forward_udp_take(udp->worker->forward_udp, in))
        return;
    rule = rules_outbound(udp->worker, &dst, &outside);
    hash = udp_hash(udp, &guest);
    if (rule != RULE_ALLOW || dst.port == 0) {
        worker_refuse(udp->worker, packet, rule == RULE_ALLOW ? RULE_DENY : rule);
        return;
    }
    mapping = udp_find(udp, &guest, hash);
    if (!mapping)
        mapping = mapping_new(udp, &guest, hash, &error);
    if (mapping) {
        mapping_touch(mapping);
        error = -mapping_send(mapping, packet, &outside);
    }
    if (error == 0) {
        COUNT(counters, udp_up);
    } else if (worker_error_means(error, &why)) {
        worker_send_error(udp->worker, NULL, packet, why, 0);
        COUNT(counters, udp_send_failed);
    } else if (mapping) {
        /* EMSGSIZE too: the error queue tells the guest the size that fits. */
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

        if (now_ms - mapping->used_ms < MAPPING_TIMEOUT_MS)
            break;
        mapping_free(mapping);
    }
    if (!list_is_empty(&udp->mappings))
        loop_timer_set(udp->worker->loop, timer, TIMER_PERIOD_MS);
}

int udp_new(struct worker *worker, struct udp **ret_udp)
{
    struct udp *udp = calloc(1, sizeof(*udp));

    if (!udp)
        return -ENOMEM;
    udp->slots = malloc((size_t)DATAGRAMS_A_TURN * SLOT_BYTES);
    if (!udp->slots) {
        free(udp);
        return -ENOMEM;
    }
    udp->worker = worker;
    udp->timer.on_timer = on_timer;
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
    free(udp->slots);
    free(udp);
}

void udp_forget_guest(struct udp *udp, const struct ip_addr *guest)
{
    for (struct list *node = udp->mappings.next, *next; node != &udp->mappings; node = next) {
        struct udp_mapping *mapping = CONTAINER_OF(node, struct udp_mapping, idle);

        next = node->next;
        if (ip_equal(&mapping->guest.addr, guest))
            mapping_free(mapping);
    }
}
