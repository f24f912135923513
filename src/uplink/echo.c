/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ICMP and ICMPv6 echo: a guest's echo request becomes one of the host's, with the time to live, type of
 * service and "don't fragment" that it came with, and the true answer goes back: a reply, or the error of
 * a router on the way, about the guest's own request. No answer is ever made up.
 *
 * Two ways to send one: a ping socket, which the host allows by group (net.ipv4.ping_group_range), one
 * for each of a guest's ids; or the raw sockets that a parent with CAP_NET_RAW opened (echo_raw.c). With
 * neither the request is dropped and counted.
 *
 * A ping socket's id is the kernel's choice, and the kernel looks for it in replies and in what errors
 * quote (net/ipv4/ping.c); that the destination was asked is for us to see.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "uplink/echo.h"

/* RFC 5508 REQ-2: not less than 60 seconds. */
#define MAPPING_TIMEOUT_MS 60000
/* So that those which end shortly after another one end with it. */
#define TIMER_SLACK_MS 1000
/* What a request that is quoted to the guest has left: whoever quotes it here has just taken the last. */
#define QUOTED_TTL 1

static void mapping_free(struct echo_mapping *mapping)
{
    int fd = mapping->socket.source.fd;

    loop_remove(mapping->echo->worker->loop, &mapping->socket.source);
    if (fd >= 0)
        close(fd);
    mapping->used = false;
    quota_give(&mapping->echo->worker->quota, QUOTA_echo, mapping->who);
}

bool echo_mapping_asked(const struct echo_mapping *mapping, const struct ip_addr *addr)
{
    for (unsigned i = 0; i < ECHO_DESTINATIONS; i++)
        if (ip_equal(&mapping->asked[(mapping->asked_last + i) % ECHO_DESTINATIONS], addr))
            return true;
    return false;
}

static void mapping_ask(struct echo_mapping *mapping, const struct ip_addr *addr)
{
    if (echo_mapping_asked(mapping, addr))
        return;
    mapping->asked_last = (mapping->asked_last + 1) % ECHO_DESTINATIONS;
    mapping->asked[mapping->asked_last] = *addr;
}

void echo_mapping_answer(struct echo_mapping *mapping, const struct echo_message *message)
{
    struct worker *worker = mapping->echo->worker;
    uint8_t *header = message->data, *payload = header + ECHO_HEADER_BYTES, *packet;
    size_t payload_bytes = message->len_bytes - ECHO_HEADER_BYTES;
    struct ip_addr seen = rules_inbound(worker, &message->from);
    /* The network's router takes one off, and must have one left. */
    uint8_t ttl = message->ttl > 1 ? message->ttl : 2;

    packet = wire_prepend_echo(payload, payload_bytes, &seen, &mapping->guest, false, mapping->id,
                               (uint16_t)(header[6] << 8 | header[7]), message->tos, ttl,
                               worker_take_ip_ids(worker, 1));
    tun_send(worker, packet, payload_bytes + (size_t)(payload - packet), NULL);
    COUNT(worker->config.counters, echo_down);
}

void echo_mapping_report(struct echo_mapping *mapping, const struct ip_addr *dst, uint8_t *quoted,
                         size_t len_bytes, const struct host_error *error)
{
    struct worker *worker = mapping->echo->worker;
    uint8_t *payload = quoted + ECHO_HEADER_BYTES, *packet;
    struct ip_addr seen = rules_inbound(worker, dst);
    struct wire_packet cause;

    if (len_bytes < ECHO_HEADER_BYTES || len_bytes > WIRE_PACKET_MAX / 2)
        return;
    packet =
        wire_prepend_echo(payload, len_bytes - ECHO_HEADER_BYTES, &mapping->guest, &seen, true,
                          mapping->id, (uint16_t)(quoted[6] << 8 | quoted[7]), 0, QUOTED_TTL, 0);
    if (wire_parse(packet, (size_t)(quoted + len_bytes - packet), &cause) != WIRE_PARSE_OK)
        return;
    worker_pass_error(worker, error, &cause);
    COUNT(worker->config.counters, echo_errors);
}

void echo_socket_options(int fd, int family)
{
    int one = 1;

    if (family == AF_INET) {
        setsockopt(fd, SOL_IP, IP_RECVTTL, &one, sizeof(one));
        setsockopt(fd, SOL_IP, IP_RECVTOS, &one, sizeof(one));
    } else {
        setsockopt(fd, SOL_IPV6, IPV6_RECVHOPLIMIT, &one, sizeof(one));
        setsockopt(fd, SOL_IPV6, IPV6_RECVTCLASS, &one, sizeof(one));
    }
}

int echo_receive(struct echo *echo, int fd, struct echo_message *ret_message)
{
    uint8_t control[ERROR_QUEUE_CONTROL_BYTES] __attribute__((aligned(8)));
    struct iovec part = {.iov_base = echo->buffer + WIRE_HEADROOM, .iov_len = WIRE_PACKET_MAX};
    struct sockaddr_storage from = {0};
    struct msghdr message = {
        .msg_name = &from,
        .msg_namelen = sizeof(from),
        .msg_iov = &part,
        .msg_iovlen = 1,
        .msg_control = control,
        .msg_controllen = sizeof(control),
    };
    ssize_t len = recvmsg(fd, &message, MSG_DONTWAIT);
    struct ip_endpoint src;
    int value;

    if (len < 0)
        return -errno;
    if (endpoint_from_sockaddr(&from, &src) < 0)
        return -EAFNOSUPPORT;
    *ret_message = (struct echo_message){
        .data = echo->buffer + WIRE_HEADROOM, .len_bytes = (size_t)len, .from = src.addr};
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(&message); cmsg; cmsg = CMSG_NXTHDR(&message, cmsg)) {
        bool ipv4 = cmsg->cmsg_level == SOL_IP;

        if (ipv4 && cmsg->cmsg_type == IP_TOS && cmsg->cmsg_len >= CMSG_LEN(1))
            ret_message->tos = *CMSG_DATA(cmsg);
        if (cmsg->cmsg_len < CMSG_LEN(sizeof(value)))
            continue;
        memcpy(&value, CMSG_DATA(cmsg), sizeof(value));
        if (cmsg->cmsg_type == (ipv4 ? IP_TTL : IPV6_HOPLIMIT))
            ret_message->ttl = (uint8_t)value;
        else if (!ipv4 && cmsg->cmsg_type == IPV6_TCLASS)
            ret_message->tos = (uint8_t)value;
    }
    return 0;
}

static void mapping_read_errors(struct echo_mapping *mapping)
{
    uint8_t *quoted = mapping->echo->buffer + WIRE_HEADROOM;

    for (int i = 0; i < ECHO_MESSAGES_A_TURN; i++) {
        uint8_t control[ERROR_QUEUE_CONTROL_BYTES] __attribute__((aligned(8)));
        struct iovec part = {.iov_base = quoted, .iov_len = WIRE_ICMP_ERROR_MAX};
        struct sockaddr_storage to = {0};
        struct msghdr message = {
            .msg_name = &to,
            .msg_namelen = sizeof(to),
            .msg_iov = &part,
            .msg_iovlen = 1,
            .msg_control = control,
            .msg_controllen = sizeof(control),
        };
        struct host_error error;
        struct ip_endpoint dst;
        ssize_t len = error_queue_next(mapping->socket.source.fd, &message, &error);

        if (len < 0)
            return;
        if (endpoint_from_sockaddr(&to, &dst) < 0 || !echo_mapping_asked(mapping, &dst.addr))
            COUNT(mapping->echo->worker->config.counters, drop_icmp_forged);
        else
            echo_mapping_report(mapping, &dst.addr, quoted, (size_t)len, &error);
    }
}

static void on_ping_socket(struct loop_source *source, unsigned events)
{
    struct echo_mapping *mapping = CONTAINER_OF(source, struct echo_mapping, socket.source);
    bool ipv4 = mapping->guest.family == AF_INET;
    struct echo_message message = {0};

    if (events & LOOP_HANGUP)
        mapping_read_errors(mapping);
    for (int i = 0; i < ECHO_MESSAGES_A_TURN; i++) {
        int result = echo_receive(mapping->echo, source->fd, &message);

        if (result == -EAGAIN)
            return;
        /* Another error is that of the queue once more. */
        if (result == 0 && message.len_bytes >= ECHO_HEADER_BYTES &&
            message.data[0] == (ipv4 ? ICMP4_ECHO_REPLY : ICMP6_ECHO_REPLY) &&
            echo_mapping_asked(mapping, &message.from))
            echo_mapping_answer(mapping, &message);
    }
}

static struct echo_mapping *echo_find(struct echo *echo, const struct ip_addr *guest, uint16_t id)
{
    for (unsigned i = 0; i < echo->len; i++)
        if (echo->slots[i].used && echo->slots[i].id == id &&
            ip_equal(&echo->slots[i].guest, guest))
            return &echo->slots[i];
    return NULL;
}

/* A free slot; where the guest has its share, that of its own mapping that was idle the longest. */
static struct echo_mapping *echo_take_slot(struct echo *echo, unsigned guest)
{
    struct worker *worker = echo->worker;
    struct echo_mapping *unused = NULL, *own = NULL;

    for (unsigned i = 0; i < echo->len; i++) {
        struct echo_mapping *mapping = &echo->slots[i];

        if (!mapping->used)
            unused = mapping;
        else if (mapping->who == guest && (!own || mapping->used_ms < own->used_ms))
            own = mapping;
    }
    if (quota_take(&worker->quota, QUOTA_echo, guest))
        return unused ? unused : &echo->slots[echo->len++];
    COUNT(worker->config.counters, drop_quota_echo);
    worker_refuse_share(worker, QUOTA_echo, guest);
    if (own) {
        mapping_free(own);
        quota_take_again(&worker->quota, QUOTA_echo, guest);
    }
    return own;
}

static struct echo_mapping *mapping_new(struct echo *echo, const struct ip_addr *guest,
                                        unsigned who, uint16_t id)
{
    bool ipv4 = guest->family == AF_INET;
    int fd = socket(guest->family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
                    ipv4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
    struct echo_mapping *mapping;

    if (fd < 0 && echo->raw[!ipv4].source.fd < 0) {
        COUNT(echo->worker->config.counters, drop_echo_forbidden);
        if (!echo->told_forbidden)
            log_warn("guests' echo requests are dropped: this user may open no ping socket (%s); "
                     "the sysctl net.ipv4.ping_group_range says which groups may",
                     strerror(errno));
        echo->told_forbidden = true;
        return NULL;
    }
    mapping = echo_take_slot(echo, who);
    if (!mapping) {
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    *mapping = (struct echo_mapping){
        .used = true,
        .echo = echo,
        .guest = *guest,
        .who = who,
        .id = id,
        .socket.source = {.on_event = on_ping_socket, .fd = -1},
    };
    if (fd >= 0) {
        echo_socket_options(fd, guest->family);
        error_queue_keep(fd, guest->family, true);
        if (loop_add(echo->worker->loop, &mapping->socket.source, fd, LOOP_IN) < 0) {
            close(fd);
            mapping_free(mapping);
            return NULL;
        }
    }
    if (!echo->timer.due_ms)
        loop_timer_set(echo->worker->loop, &echo->timer, MAPPING_TIMEOUT_MS + TIMER_SLACK_MS);
    return mapping;
}

/* What the next packet's IP header has. A ping socket takes no control data for IPv6 before Linux 5.18. */
static void socket_prepare(struct echo_socket *at, const struct wire_packet *packet)
{
    bool ipv4 = packet->src.family == AF_INET;
    int fd = at->source.fd, level = ipv4 ? SOL_IP : SOL_IPV6, ttl = packet->ttl, tos = packet->tos;
    int discover = packet->dont_fragment ? IP_PMTUDISC_DO : IP_PMTUDISC_DONT;

    if (!at->prepared || at->ttl != packet->ttl)
        setsockopt(fd, level, ipv4 ? IP_TTL : IPV6_UNICAST_HOPS, &ttl, sizeof(ttl));
    if (!at->prepared || at->tos != packet->tos)
        setsockopt(fd, level, ipv4 ? IP_TOS : IPV6_TCLASS, &tos, sizeof(tos));
    if (ipv4 && (!at->prepared || at->dont_fragment != packet->dont_fragment))
        setsockopt(fd, SOL_IP, IP_MTU_DISCOVER, &discover, sizeof(discover));
    at->prepared = true;
    at->ttl = packet->ttl;
    at->tos = packet->tos;
    at->dont_fragment = packet->dont_fragment;
}

static int mapping_send(struct echo_mapping *mapping, const struct wire_packet *packet,
                        const struct ip_addr *to)
{
    struct echo *echo = mapping->echo;
    bool ipv4 = mapping->guest.family == AF_INET, raw = mapping->socket.source.fd < 0;
    struct echo_socket *at = raw ? &echo->raw[!ipv4] : &mapping->socket;
    uint8_t *message = echo->buffer + WIRE_HEADROOM;
    unsigned id = ECHO_RAW_ID_BASE + (unsigned)(mapping - echo->slots);
    struct ip_endpoint dst = {.addr = *to};
    struct sockaddr_storage address;
    socklen_t len = endpoint_to_sockaddr(&dst, &address);
    size_t len_bytes = ECHO_HEADER_BYTES + packet->payload_len_bytes;
    uint16_t checksum;

    memset(message, 0, ECHO_HEADER_BYTES);
    message[0] = ipv4 ? ICMP4_ECHO_REQUEST : ICMP6_ECHO_REQUEST;
    message[4] = (uint8_t)(id >> 8); /* a ping socket puts its own here */
    message[5] = (uint8_t)id;
    message[6] = (uint8_t)(packet->echo_seq >> 8);
    message[7] = (uint8_t)packet->echo_seq;
    memcpy(message + ECHO_HEADER_BYTES, packet->payload, packet->payload_len_bytes);
    /* The kernel does it for ping sockets and for ICMPv6 (RFC 3542 3.1). */
    if (raw && ipv4) {
        checksum = wire_checksum_fold(wire_checksum_add(0, message, len_bytes));
        message[2] = (uint8_t)(checksum >> 8);
        message[3] = (uint8_t)checksum;
    }
    socket_prepare(at, packet);
    mapping_ask(mapping, to);
    /* An error that has come for an earlier request fails the next call, once; the queue has it too. */
    for (int attempt = 0; attempt < 2; attempt++)
        if (sendto(at->source.fd, message, len_bytes, MSG_DONTWAIT | MSG_NOSIGNAL,
                   (struct sockaddr *)&address, len) >= 0)
            return 0;
    return -errno;
}

void echo_take(struct echo *echo, const struct uplink_packet *in)
{
    struct worker *worker = echo->worker;
    const struct wire_packet *packet = &in->packet;
    bool ipv4 = packet->src.family == AF_INET;
    struct ip_endpoint dst = {.addr = packet->dst}, outside;
    struct echo_mapping *mapping;
    enum wire_unreachable why;
    enum rule rule;
    int error;

    if (packet->protocol != (ipv4 ? WIRE_PROTO_ICMP : WIRE_PROTO_ICMPV6) ||
        packet->icmp_type != (ipv4 ? ICMP4_ECHO_REQUEST : ICMP6_ECHO_REQUEST)) {
        COUNT(worker->config.counters, drop_icmp);
        return;
    }
    rule = rules_outbound(worker, &dst, &outside);
    if (rule != RULE_ALLOW) {
        worker_refuse(worker, packet, rule);
        return;
    }
    mapping = echo_find(echo, &packet->src, packet->echo_id);
    if (!mapping)
        mapping = mapping_new(echo, &packet->src, in->guest, packet->echo_id);
    if (!mapping)
        return;
    mapping->used_ms = loop_now_ms(worker->loop);
    error = -mapping_send(mapping, packet, &outside.addr);
    if (error == 0)
        COUNT(worker->config.counters, echo_up);
    else if (error == EMSGSIZE)
        worker_send_error(worker, NULL, packet, WIRE_UNREACHABLE_TOO_BIG,
                          host_path_mtu(&outside.addr));
    else if (worker_error_means(error, &why))
        worker_send_error(worker, NULL, packet, why, 0);
}

static void on_timer(struct loop_timer *timer)
{
    struct echo *echo = CONTAINER_OF(timer, struct echo, timer);
    uint64_t now_ms = loop_now_ms(echo->worker->loop), oldest_ms = now_ms;

    for (unsigned i = 0; i < echo->len; i++) {
        struct echo_mapping *mapping = &echo->slots[i];

        if (mapping->used && now_ms - mapping->used_ms >= MAPPING_TIMEOUT_MS)
            mapping_free(mapping);
        else if (mapping->used && mapping->used_ms < oldest_ms)
            oldest_ms = mapping->used_ms;
    }
    while (echo->len && !echo->slots[echo->len - 1].used)
        echo->len--;
    if (echo->len)
        loop_timer_set(echo->worker->loop, timer,
                       oldest_ms + MAPPING_TIMEOUT_MS + TIMER_SLACK_MS - now_ms);
}

int echo_new(struct worker *worker, struct echo **ret_echo)
{
    struct echo *echo = calloc(1, sizeof(*echo));
    int raw_fd[2] = {worker->config.raw4_fd, worker->config.raw6_fd};
    int result;

    if (!echo)
        return -ENOMEM;
    echo->worker = worker;
    echo->timer.on_timer = on_timer;
    for (int i = 0; i < 2; i++)
        echo->raw[i].source.fd = -1;
    echo->buffer = malloc(WIRE_HEADROOM + WIRE_PACKET_MAX + 1);
    result = echo->buffer ? echo_raw_start(echo, raw_fd) : -ENOMEM;
    if (result < 0) {
        echo_free(echo);
        return result;
    }
    *ret_echo = echo;
    return 0;
}

void echo_free(struct echo *echo)
{
    if (!echo)
        return;
    for (unsigned i = 0; i < echo->len; i++)
        if (echo->slots[i].used)
            mapping_free(&echo->slots[i]);
    for (int i = 0; i < 2; i++)
        loop_remove(echo->worker->loop, &echo->raw[i].source);
    loop_timer_clear(echo->worker->loop, &echo->timer);
    free(echo->buffer);
    free(echo);
}

void echo_forget_guest(struct echo *echo, unsigned guest)
{
    for (unsigned i = 0; i < echo->len; i++)
        if (echo->slots[i].used && echo->slots[i].who == guest)
            mapping_free(&echo->slots[i]);
}
