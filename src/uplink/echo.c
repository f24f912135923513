/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ICMP and ICMPv6 echo: a guest's echo request becomes one of the host's, and the true answer goes back;
 * no answer is ever made up.
 *
 * Two ways to send one: a ping socket, which the host allows by group (net.ipv4.ping_group_range), one
 * for each of a guest's ids; or the raw sockets that a parent with CAP_NET_RAW opened. With neither the
 * request is dropped and counted.
 *
 * A ping socket's id is the kernel's choice. Over a raw socket the id is the mapping's slot, and since
 * such a socket sees every answer that the host gets, one is taken only from the address asked.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "uplink/worker.h"

/* RFC 5508 REQ-2: not less than 60 seconds. */
#define MAPPING_TIMEOUT_MS 60000
#define TIMER_PERIOD_MS 5000
#define ANSWERS_A_TURN 32
#define RAW_ID_BASE 0x4000
#define REPLY_TTL 64

#define ICMP4_ECHO_REPLY 0
#define ICMP4_ECHO_REQUEST 8
#define ICMP6_ECHO_REQUEST 128
#define ICMP6_ECHO_REPLY 129

struct echo_mapping {
    bool used;
    struct echo *echo;
    struct ip_addr guest;
    uint16_t id;               /* the guest's */
    struct ip_addr dst;        /* asked last, as the host knows it */
    struct loop_source source; /* fd -1: over a raw socket */
    uint64_t used_ms;
};

/* Few enough for a linear search, which only echo requests pay. */
struct echo {
    struct worker *worker;
    struct loop_source raw[2];
    struct loop_timer timer;
    uint8_t *buffer; /* with headroom in front */
    unsigned len;    /* slots up to here may be used */
    struct echo_mapping slots[UPLINK_ECHO_MAPPINGS_MAX];
};

static void mapping_free(struct echo_mapping *mapping)
{
    int fd = mapping->source.fd;

    loop_remove(mapping->echo->worker->loop, &mapping->source);
    if (fd >= 0)
        close(fd);
    mapping->used = false;
}

/* An answer, from its ICMP header on, which stands in the buffer with room in front. */
static void mapping_answer(struct echo_mapping *mapping, uint8_t *message, size_t len_bytes,
                           const struct sockaddr_storage *from)
{
    struct worker *worker = mapping->echo->worker;
    bool ipv4 = mapping->guest.family == AF_INET;
    struct ip_endpoint src;
    uint8_t *payload = message + 8, *packet;
    struct ip_addr seen;

    if (len_bytes < 8 || message[0] != (ipv4 ? ICMP4_ECHO_REPLY : ICMP6_ECHO_REPLY) ||
        message[1] != 0 || endpoint_from_sockaddr(from, &src) < 0)
        return;
    seen = rules_inbound(worker, &src.addr);
    packet = wire_prepend_echo(payload, len_bytes - 8, &seen, &mapping->guest, false, mapping->id,
                               (uint16_t)(message[6] << 8 | message[7]), REPLY_TTL,
                               worker->next_ip_id++);
    tun_send(worker, packet, len_bytes - 8 + (size_t)(payload - packet), NULL);
    COUNT(worker->config.counters, echo_down);
}

static ssize_t echo_receive(struct echo *echo, int fd, uint8_t **ret_message,
                            struct sockaddr_storage *ret_from)
{
    socklen_t len = sizeof(*ret_from);

    *ret_message = echo->buffer + WIRE_HEADROOM;
    return recvfrom(fd, *ret_message, WIRE_PACKET_MAX, MSG_DONTWAIT, (struct sockaddr *)ret_from,
                    &len);
}

static void on_ping_socket(struct loop_source *source, unsigned events)
{
    struct echo_mapping *mapping = CONTAINER_OF(source, struct echo_mapping, source);

    for (int i = 0; i < ANSWERS_A_TURN; i++) {
        struct sockaddr_storage from;
        uint8_t *message;
        ssize_t len = echo_receive(mapping->echo, source->fd, &message, &from);

        if (len < 0)
            return;
        mapping_answer(mapping, message, (size_t)len, &from);
    }
}

static void on_raw_socket(struct loop_source *source, bool ipv4)
{
    struct echo *echo = ipv4 ? CONTAINER_OF(source, struct echo, raw[0])
                             : CONTAINER_OF(source, struct echo, raw[1]);

    for (int i = 0; i < ANSWERS_A_TURN; i++) {
        struct sockaddr_storage from;
        struct ip_endpoint src;
        unsigned slot, header_bytes;
        uint8_t *message;
        ssize_t len = echo_receive(echo, source->fd, &message, &from);

        if (len < 0)
            return;
        /* Raw IPv4 sockets give the IP header too (raw(7)), raw IPv6 ones do not (RFC 3542 3). */
        header_bytes = ipv4 && len > 0 ? (unsigned)(message[0] & 15) * 4 : 0;
        if ((size_t)len < header_bytes + 8 || endpoint_from_sockaddr(&from, &src) < 0)
            continue;
        message += header_bytes;
        slot = (unsigned)(message[4] << 8 | message[5]) - RAW_ID_BASE;
        if (slot < echo->len && echo->slots[slot].used && echo->slots[slot].source.fd < 0 &&
            ip_equal(&echo->slots[slot].dst, &src.addr))
            mapping_answer(&echo->slots[slot], message, (size_t)len - header_bytes, &from);
    }
}

static void on_raw4(struct loop_source *source, unsigned events)
{
    on_raw_socket(source, true);
}

static void on_raw6(struct loop_source *source, unsigned events)
{
    on_raw_socket(source, false);
}

static struct echo_mapping *echo_find(struct echo *echo, const struct ip_addr *guest, uint16_t id)
{
    for (unsigned i = 0; i < echo->len; i++)
        if (echo->slots[i].used && echo->slots[i].id == id &&
            ip_equal(&echo->slots[i].guest, guest))
            return &echo->slots[i];
    return NULL;
}

/* A free slot, or that of the mapping that was idle the longest. */
static struct echo_mapping *echo_take_slot(struct echo *echo)
{
    struct echo_mapping *oldest = NULL;

    for (unsigned i = 0; i < echo->len; i++) {
        struct echo_mapping *mapping = &echo->slots[i];

        if (!mapping->used)
            return mapping;
        if (!oldest || mapping->used_ms < oldest->used_ms)
            oldest = mapping;
    }
    if (echo->len < echo->worker->config.limits.echo_mappings)
        return &echo->slots[echo->len++];
    COUNT(echo->worker->config.counters, drop_table_full);
    if (oldest)
        mapping_free(oldest);
    return oldest;
}

static struct echo_mapping *mapping_new(struct echo *echo, const struct ip_addr *guest, uint16_t id)
{
    bool ipv4 = guest->family == AF_INET;
    int fd = socket(guest->family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
                    ipv4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
    struct echo_mapping *mapping;

    if (fd < 0 && echo->raw[!ipv4].fd < 0) {
        COUNT(echo->worker->config.counters, drop_echo_forbidden);
        return NULL;
    }
    mapping = echo_take_slot(echo);
    if (!mapping) {
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    *mapping = (struct echo_mapping){
        .used = true,
        .echo = echo,
        .guest = *guest,
        .id = id,
        .source = {.on_event = on_ping_socket, .fd = -1},
    };
    if (fd >= 0 && loop_add(echo->worker->loop, &mapping->source, fd, LOOP_IN) < 0) {
        close(fd);
        mapping->used = false;
        return NULL;
    }
    if (!echo->timer.due_ms)
        loop_timer_set(echo->worker->loop, &echo->timer, TIMER_PERIOD_MS);
    return mapping;
}

static int mapping_send(struct echo_mapping *mapping, const struct wire_packet *packet)
{
    struct echo *echo = mapping->echo;
    bool ipv4 = mapping->guest.family == AF_INET, raw = mapping->source.fd < 0;
    uint8_t *message = echo->buffer + WIRE_HEADROOM;
    unsigned id = RAW_ID_BASE + (unsigned)(mapping - echo->slots);
    struct ip_endpoint dst = {.addr = mapping->dst};
    struct sockaddr_storage address;
    socklen_t len = endpoint_to_sockaddr(&dst, &address);
    size_t len_bytes = 8 + packet->payload_len_bytes;
    int fd = raw ? echo->raw[!ipv4].fd : mapping->source.fd;
    uint16_t checksum;

    memset(message, 0, 8);
    message[0] = ipv4 ? ICMP4_ECHO_REQUEST : ICMP6_ECHO_REQUEST;
    message[4] = (uint8_t)(id >> 8); /* a ping socket puts its own here */
    message[5] = (uint8_t)id;
    message[6] = (uint8_t)(packet->echo_seq >> 8);
    message[7] = (uint8_t)packet->echo_seq;
    memcpy(message + 8, packet->payload, packet->payload_len_bytes);
    /* The kernel does it for ping sockets and for ICMPv6 (RFC 3542 3.1). */
    if (raw && ipv4) {
        checksum = wire_checksum_fold(wire_checksum_add(0, message, len_bytes));
        message[2] = (uint8_t)(checksum >> 8);
        message[3] = (uint8_t)checksum;
    }
    for (int attempt = 0; attempt < 2; attempt++)
        if (sendto(fd, message, len_bytes, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&address,
                   len) >= 0)
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
        COUNT(worker->config.counters, drop_protocol);
        return;
    }
    rule = rules_outbound(worker, &dst, &outside);
    if (rule != RULE_ALLOW) {
        worker_refuse(worker, packet, rule);
        return;
    }
    mapping = echo_find(echo, &packet->src, packet->echo_id);
    if (!mapping)
        mapping = mapping_new(echo, &packet->src, packet->echo_id);
    if (!mapping)
        return;
    mapping->used_ms = loop_now_ms(worker->loop);
    mapping->dst = outside.addr;
    error = -mapping_send(mapping, packet);
    if (error == 0)
        COUNT(worker->config.counters, echo_up);
    else if (worker_error_means(error, &why))
        worker_send_error(worker, NULL, packet, why, 0);
}

static void on_timer(struct loop_timer *timer)
{
    struct echo *echo = CONTAINER_OF(timer, struct echo, timer);
    uint64_t now_ms = loop_now_ms(echo->worker->loop);

    for (unsigned i = 0; i < echo->len; i++)
        if (echo->slots[i].used && now_ms - echo->slots[i].used_ms >= MAPPING_TIMEOUT_MS)
            mapping_free(&echo->slots[i]);
    while (echo->len && !echo->slots[echo->len - 1].used)
        echo->len--;
    if (echo->len)
        loop_timer_set(echo->worker->loop, timer, TIMER_PERIOD_MS);
}

int echo_new(struct worker *worker, struct echo **ret_echo)
{
    struct echo *echo = calloc(1, sizeof(*echo));
    int raw_fd[2] = {worker->config.raw4_fd, worker->config.raw6_fd};
    int result = 0;

    if (!echo)
        return -ENOMEM;
    echo->worker = worker;
    echo->timer.on_timer = on_timer;
    echo->raw[0] = (struct loop_source){.on_event = on_raw4, .fd = -1};
    echo->raw[1] = (struct loop_source){.on_event = on_raw6, .fd = -1};
    echo->buffer = malloc(WIRE_HEADROOM + WIRE_PACKET_MAX + 1);
    if (!echo->buffer)
        result = -ENOMEM;
    for (int i = 0; i < 2 && result == 0; i++)
        if (raw_fd[i] >= 0)
            result = loop_add(worker->loop, &echo->raw[i], raw_fd[i], LOOP_IN);
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
        loop_remove(echo->worker->loop, &echo->raw[i]);
    loop_timer_clear(echo->worker->loop, &echo->timer);
    free(echo->buffer);
    free(echo);
}

void echo_forget_guest(struct echo *echo, const struct ip_addr *guest)
{
    for (unsigned i = 0; i < echo->len; i++)
        if (echo->slots[i].used && ip_equal(&echo->slots[i].guest, guest))
            mapping_free(&echo->slots[i]);
}
