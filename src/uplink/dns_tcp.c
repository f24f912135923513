/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DNS over TCP, a message at a time (RFC 1035 4.2.2):
 *
 *             query read                   connected, sent            answer read
 *   READING ------------> ASKING: connects --------------> ASKING: waits --------> ANSWERING
 *      ^                     |  ^  refused, silent, closed, no answer to this query     |
 *      |                     +--+  or an error of its own: the next resolver            |
 *      +--------------------------------------------------------------------------------+
 *
 * A query may so be asked of several resolvers, as one over UDP is. The connection to a resolver lasts for one
 * query: the network's DNS server seldom has a second one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "uplink/dns_names.h"
#include "uplink/dns_relay.h"
#include "uplink/relay.h"

#define QUERY_TIMEOUT_MS 10000
/* For one resolver to connect and answer, while there is another. */
#define PATIENCE_MS 3000
/* Without a query, or in the middle of reading or writing one. */
#define IDLE_TIMEOUT_MS 30000
/* No descriptor was left for a connection. */
#define ACCEPT_RETRY_MS 1000

struct message {
    uint8_t prefix[2]; /* as it was read */
    uint8_t *bytes;    /* with prefix; NULL: not known how long it will be */
    size_t len_bytes, done_bytes;
};

struct connection {
    struct list list;
    struct dns_tcp *tcp;
    enum {
        READING,
        ASKING,
        ANSWERING
    } state;
    struct loop_source inside, outside;
    bool connected, sent; /* outside */
    struct message query, answer;
    struct wire_dns_question question;
    struct dns_attempt attempt;
    uint64_t due_ms, end_ms; /* due: of the state, or the next resolver's turn */
};

struct dns_tcp {
    struct dns *dns;
    struct loop_source listener;
    bool paused; /* accepting, for want of descriptors */
    struct loop_timer timer;
    struct list connections;
    unsigned connections_len;
};

/* ---- messages */

static void message_done(struct message *message)
{
    free(message->bytes);
    *message = (struct message){0};
}

/* 1: it is whole; 0: more is to come; -errno, -EPIPE at the stream's end. */
static int message_read(struct message *message, int fd)
{
    for (;;) {
        bool prefix = !message->bytes;
        ssize_t len = prefix ? recv(fd, message->prefix + message->done_bytes,
                                    sizeof(message->prefix) - message->done_bytes, MSG_DONTWAIT)
                             : recv(fd, message->bytes + message->done_bytes,
                                    message->len_bytes - message->done_bytes, MSG_DONTWAIT);

        if (len < 0 && errno == EINTR)
            continue;
        if (len < 0)
            return errno == EAGAIN ? 0 : -errno;
        if (len == 0)
            return -EPIPE;
        message->done_bytes += (size_t)len;
        if (prefix && message->done_bytes == sizeof(message->prefix)) {
            message->len_bytes = 2 + ((size_t)message->prefix[0] << 8 | message->prefix[1]);
            if (message->len_bytes == 2)
                return -EBADMSG;
            message->bytes = malloc(message->len_bytes);
            if (!message->bytes)
                return -ENOMEM;
            memcpy(message->bytes, message->prefix, sizeof(message->prefix));
        }
        if (!prefix && message->done_bytes == message->len_bytes)
            return 1;
    }
}

/* 1: all of it is written; 0: there is no room now; -errno. */
static int message_write(struct message *message, int fd)
{
    while (message->done_bytes < message->len_bytes) {
        ssize_t len = send(fd, message->bytes + message->done_bytes,
                           message->len_bytes - message->done_bytes, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (len < 0 && errno == EINTR)
            continue;
        if (len < 0)
            return errno == EAGAIN ? 0 : -errno;
        message->done_bytes += (size_t)len;
    }
    return 1;
}

/* ---- connections */

static void connection_close(struct connection *connection, struct loop_source *source)
{
    int fd = source->fd;

    if (fd < 0)
        return;
    loop_remove(connection->tcp->dns->loop, source);
    close(fd);
}

static void connection_free(struct connection *connection)
{
    connection_close(connection, &connection->inside);
    connection_close(connection, &connection->outside);
    message_done(&connection->query);
    message_done(&connection->answer);
    list_remove(&connection->list);
    connection->tcp->connections_len--;
    free(connection);
}

static void connection_wait(struct connection *connection, uint64_t due_ms)
{
    struct dns_tcp *tcp = connection->tcp;
    uint64_t now_ms = loop_now_ms(tcp->dns->loop);

    connection->due_ms = due_ms;
    if (!tcp->timer.due_ms || due_ms < tcp->timer.due_ms)
        loop_timer_set(tcp->dns->loop, &tcp->timer, due_ms > now_ms ? due_ms - now_ms : 0);
}

static void connection_wait_idle(struct connection *connection)
{
    connection_wait(connection, loop_now_ms(connection->tcp->dns->loop) + IDLE_TIMEOUT_MS);
}

/* Writes the answer, as far as there is room, and goes on to the next query. May free the connection. */
static void connection_answer(struct connection *connection)
{
    struct loop *loop = connection->tcp->dns->loop;
    int result = message_write(&connection->answer, connection->inside.fd);

    if (result < 0) {
        connection_free(connection);
        return;
    }
    if (result == 1) {
        message_done(&connection->query);
        message_done(&connection->answer);
        connection->state = READING;
    }
    loop_change(loop, &connection->inside, result == 1 ? LOOP_IN : LOOP_OUT);
    connection_wait_idle(connection);
}

/* The answer is complete in its buffer, wherever it came from. */
static void connection_answered(struct connection *connection)
{
    connection_close(connection, &connection->outside);
    connection->state = ANSWERING;
    connection->answer.done_bytes = 0;
    connection_answer(connection);
}

static void connection_answer_empty(struct connection *connection, enum wire_dns_code code)
{
    struct message *answer = &connection->answer;
    size_t len_bytes;

    message_done(answer);
    answer->bytes = malloc(2 + WIRE_DNS_EMPTY_MAX);
    if (!answer->bytes) {
        connection_free(connection);
        return;
    }
    len_bytes = wire_dns_build_empty(connection->query.bytes + 2, &connection->question, code,
                                     answer->bytes + 2);
    answer->bytes[0] = (uint8_t)(len_bytes >> 8);
    answer->bytes[1] = (uint8_t)len_bytes;
    answer->len_bytes = 2 + len_bytes;
    connection_answered(connection);
}

static void on_outside(struct loop_source *source, unsigned events);

static int connection_connect(struct connection *connection, const struct sockaddr_storage *address)
{
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), error = 0;

    if (fd < 0)
        return -errno;
    connection->outside.on_event = on_outside;
    connection->connected = connection->sent = false;
    connection->query.done_bytes = 0;
    if (connect(fd, (const struct sockaddr *)address, resolv_address_len(address)) < 0 &&
        errno != EINPROGRESS)
        error = -errno;
    if (error == 0)
        error = loop_add(connection->tcp->dns->loop, &connection->outside, fd, LOOP_OUT);
    if (error < 0)
        close(fd);
    return error;
}

/* Asks the next resolver that takes the query; where there is none, that is the answer. */
static void connection_ask(struct connection *connection)
{
    struct dns *dns = connection->tcp->dns;
    const struct sockaddr_storage *address;
    uint64_t due_ms = loop_now_ms(dns->loop) + PATIENCE_MS;

    connection_close(connection, &connection->outside);
    message_done(&connection->answer);
    while ((address = dns_attempt_next(dns, &connection->attempt)) &&
           connection_connect(connection, address) < 0)
        dns_attempt_failed(dns, &connection->attempt);
    if (!address) {
        COUNT(dns->config.counters, dns_timeouts);
        connection_answer_empty(connection, connection->attempt.code);
        return;
    }
    if (due_ms > connection->end_ms || !dns_attempt_left(dns, &connection->attempt))
        due_ms = connection->end_ms;
    connection_wait(connection, due_ms);
}

static void connection_ask_again(struct connection *connection)
{
    COUNT(connection->tcp->dns->config.counters, dns_retries);
    connection_ask(connection);
}

static void connection_failed(struct connection *connection)
{
    dns_attempt_failed(connection->tcp->dns, &connection->attempt);
    connection_ask_again(connection);
}

static void connection_check_answer(struct connection *connection)
{
    struct dns *dns = connection->tcp->dns;
    const uint8_t *answer = connection->answer.bytes + 2;

    if (!wire_dns_is_answer(connection->query.bytes + 2, &connection->question, answer,
                            connection->answer.len_bytes - 2)) {
        COUNT(dns->config.counters, dns_mismatched);
        connection_failed(connection);
    } else if (!dns_attempt_answered(dns, &connection->attempt, answer)) {
        connection_ask_again(connection);
    } else {
        COUNT(dns->config.counters, dns_answers);
        connection_answered(connection);
    }
}

static void on_outside(struct loop_source *source, unsigned events)
{
    struct connection *connection = CONTAINER_OF(source, struct connection, outside);
    socklen_t len = sizeof(int);
    int error = 0, result = 1;

    if (!connection->connected &&
        (getsockopt(source->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || error)) {
        connection_failed(connection);
        return;
    }
    connection->connected = true;
    if (!connection->sent) {
        result = message_write(&connection->query, source->fd);
        connection->sent = result == 1;
        if (result == 1)
            result = loop_change(connection->tcp->dns->loop, source, LOOP_IN);
    } else {
        result = message_read(&connection->answer, source->fd);
        if (result == 1) {
            connection_check_answer(connection);
            return;
        }
    }
    if (result < 0)
        connection_failed(connection);
}

static void connection_take_query(struct connection *connection)
{
    struct dns *dns = connection->tcp->dns;

    COUNT(dns->config.counters, dns_queries);
    if (!wire_dns_parse_query(connection->query.bytes + 2, connection->query.len_bytes - 2,
                              &connection->question)) {
        COUNT(dns->config.counters, dns_dropped);
        connection_free(connection);
    } else if (dns_is_inside(dns->config.net, &connection->question)) {
        COUNT(dns->config.counters, dns_kept);
        connection_answer_empty(connection, WIRE_DNS_NOERROR);
    } else {
        connection->state = ASKING;
        connection->end_ms = loop_now_ms(dns->loop) + QUERY_TIMEOUT_MS;
        loop_change(dns->loop, &connection->inside, 0);
        dns_attempt_init(dns, &connection->attempt);
        connection_ask(connection);
    }
}

static void on_inside(struct loop_source *source, unsigned events)
{
    struct connection *connection = CONTAINER_OF(source, struct connection, inside);
    int result = connection->state == ASKING ? -EPIPE : 0; /* then only a hang-up is told */

    if (connection->state == ANSWERING) {
        connection_answer(connection);
        return;
    }
    if (connection->state == READING)
        result = message_read(&connection->query, source->fd);
    if (result == 1)
        connection_take_query(connection);
    else if (result < 0)
        connection_free(connection);
}

static void on_timer(struct loop_timer *timer)
{
    struct dns_tcp *tcp = CONTAINER_OF(timer, struct dns_tcp, timer);
    uint64_t now_ms = loop_now_ms(tcp->dns->loop);

    if (tcp->paused) {
        loop_change(tcp->dns->loop, &tcp->listener, LOOP_IN);
        tcp->paused = false;
    }
    for (struct list *node = tcp->connections.next, *next; node != &tcp->connections; node = next) {
        struct connection *connection = CONTAINER_OF(node, struct connection, list);

        next = node->next;
        if (now_ms < connection->due_ms) {
            connection_wait(connection, connection->due_ms);
        } else if (connection->state != ASKING) {
            connection_free(connection);
        } else if (now_ms >= connection->end_ms) {
            dns_attempt_failed(tcp->dns, &connection->attempt);
            COUNT(tcp->dns->config.counters, dns_timeouts);
            connection_answer_empty(connection, connection->attempt.code);
        } else {
            connection_failed(connection);
        }
    }
}

static void on_listener(struct loop_source *source, unsigned events)
{
    struct dns_tcp *tcp = CONTAINER_OF(source, struct dns_tcp, listener);
    struct connection *connection;
    int fd = accept4(source->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)) {
        /* It would be reported again at once. */
        loop_change(tcp->dns->loop, source, 0);
        loop_timer_set(tcp->dns->loop, &tcp->timer, ACCEPT_RETRY_MS);
        tcp->paused = true;
    }
    if (fd < 0)
        return;
    connection =
        tcp->connections_len < UPLINK_DNS_CONNECTIONS_MAX ? calloc(1, sizeof(*connection)) : NULL;
    if (!connection) {
        COUNT(tcp->dns->config.counters, dns_dropped);
        relay_close_reset(fd);
        return;
    }
    connection->tcp = tcp;
    connection->inside = (struct loop_source){.on_event = on_inside, .fd = -1};
    connection->outside.fd = -1;
    list_append(&tcp->connections, &connection->list);
    tcp->connections_len++;
    if (loop_add(tcp->dns->loop, &connection->inside, fd, LOOP_IN) < 0) {
        close(fd);
        connection_free(connection);
        return;
    }
    connection_wait_idle(connection);
}

int dns_tcp_new(struct dns *dns, int listen_fd, struct dns_tcp **ret_tcp)
{
    struct dns_tcp *tcp = calloc(1, sizeof(*tcp));
    int result;

    if (!tcp)
        return -ENOMEM;
    tcp->dns = dns;
    tcp->listener = (struct loop_source){.on_event = on_listener, .fd = -1};
    tcp->timer.on_timer = on_timer;
    list_init(&tcp->connections);
    result = loop_add(dns->loop, &tcp->listener, listen_fd, LOOP_IN);
    if (result < 0) {
        free(tcp);
        return result;
    }
    *ret_tcp = tcp;
    return 0;
}

void dns_tcp_free(struct dns_tcp *tcp)
{
    if (!tcp)
        return;
    while (!list_is_empty(&tcp->connections))
        connection_free(CONTAINER_OF(tcp->connections.next, struct connection, list));
    loop_timer_clear(tcp->dns->loop, &tcp->timer);
    loop_remove(tcp->dns->loop, &tcp->listener);
    free(tcp);
}
