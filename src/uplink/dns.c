/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each query has a socket of its own, connected to one resolver: the kernel picks its port at random and
 * takes answers from that resolver only. A resolver that is silent, that nobody is at, or that answers with
 * an error of its own is not the last: the next is asked, and after the last the first again, until
 * QUERY_TIMEOUT_MS have passed. Then the network's DNS server is told that it failed, so guests need not wait.
 */
#include "uplink/dns.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "uplink/dns_names.h"
#include "uplink/dns_relay.h"

/* What the C library's resolver waits for in sum. */
#define QUERY_TIMEOUT_MS 5000
#define PATIENCE_MS 1000
#define PATIENCE_WITH_FAILED_MS 250
#define MESSAGES_A_TURN 32

struct dns_query {
    struct list list; /* in dns->queries */
    struct dns *dns;
    struct loop_source source;
    struct sockaddr_storage client;
    socklen_t client_len;
    uint64_t end_ms, due_ms; /* due: the next resolver's turn */
    struct dns_attempt attempt;
    bool waited; /* in this round over the resolvers for one of them: a datagram may be lost */
    struct wire_dns_question question;
    size_t len_bytes;
    uint8_t message[];
};

/* ---- which resolver is asked */

void dns_attempt_init(struct dns *dns, struct dns_attempt *attempt)
{
    if (resolvers_refresh(&dns->resolvers, false))
        dns->config.on_change(dns->config.context);
    *attempt = (struct dns_attempt){
        .generation = dns->resolvers.generation, .resolver = -1, .code = WIRE_DNS_SERVFAIL};
}

const struct sockaddr_storage *dns_attempt_next(struct dns *dns, struct dns_attempt *attempt)
{
    if (attempt->generation != dns->resolvers.generation)
        dns_attempt_init(dns, attempt);
    attempt->resolver = resolvers_next(&dns->resolvers, attempt->tried, loop_now_ms(dns->loop));
    if (attempt->resolver < 0)
        return NULL;
    attempt->tried |= 1u << attempt->resolver;
    return &dns->resolvers.conf.nameservers[attempt->resolver];
}

bool dns_attempt_left(const struct dns *dns, const struct dns_attempt *attempt)
{
    return attempt->generation != dns->resolvers.generation ||
           resolvers_left(&dns->resolvers, attempt->tried);
}

void dns_attempt_failed(struct dns *dns, const struct dns_attempt *attempt)
{
    if (attempt->generation == dns->resolvers.generation)
        resolvers_failed(&dns->resolvers, attempt->resolver, loop_now_ms(dns->loop));
}

bool dns_attempt_answered(struct dns *dns, struct dns_attempt *attempt, const uint8_t *answer)
{
    if (attempt->generation == dns->resolvers.generation)
        resolvers_answered(&dns->resolvers, attempt->resolver);
    attempt->code = wire_dns_answer_code(answer);
    if (attempt->code != WIRE_DNS_SERVFAIL && attempt->code != WIRE_DNS_NOTIMP &&
        attempt->code != WIRE_DNS_REFUSED)
        return true;
    return attempt->generation == dns->resolvers.generation &&
           !resolvers_hopeful(&dns->resolvers, attempt->tried, loop_now_ms(dns->loop));
}

unsigned dns_attempt_patience_ms(const struct dns *dns, const struct dns_attempt *attempt)
{
    return attempt->generation == dns->resolvers.generation &&
                   dns->resolvers.state[attempt->resolver].failed && dns_attempt_left(dns, attempt)
               ? PATIENCE_WITH_FAILED_MS
               : PATIENCE_MS;
}

/* ---- queries over UDP */

static void query_close(struct dns_query *query)
{
    int fd = query->source.fd;

    if (fd < 0)
        return;
    loop_remove(query->dns->loop, &query->source);
    close(fd);
}

static void query_free(struct dns_query *query)
{
    query_close(query);
    list_remove(&query->list);
    query->dns->queries_len--;
    free(query);
}

/* The end of a query: its client gets this. */
static void query_answer(struct dns_query *query, const uint8_t *answer, size_t len_bytes)
{
    sendto(query->dns->udp_source.fd, answer, len_bytes, MSG_DONTWAIT | MSG_NOSIGNAL,
           (struct sockaddr *)&query->client, query->client_len);
    query_free(query);
}

static void query_answer_empty(struct dns_query *query, enum wire_dns_code code)
{
    uint8_t answer[WIRE_DNS_EMPTY_MAX];

    query_answer(query, answer,
                 wire_dns_build_empty(query->message, &query->question, code, answer));
}

static void on_answer(struct loop_source *source, unsigned events);

static int query_send_to(struct dns_query *query, const struct sockaddr_storage *address)
{
    int fd = socket(address->ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), error;

    if (fd < 0)
        return -errno;
    query_close(query);
    query->source.on_event = on_answer;
    if (connect(fd, (const struct sockaddr *)address, resolv_address_len(address)) < 0 ||
        send(fd, query->message, query->len_bytes, MSG_NOSIGNAL) < 0)
        error = -errno;
    else
        error = loop_add(query->dns->loop, &query->source, fd, LOOP_IN);
    if (error < 0)
        close(fd);
    return error;
}

static void dns_arm(struct dns *dns, uint64_t due_ms)
{
    uint64_t now_ms = loop_now_ms(dns->loop);

    if (!dns->timer.due_ms || due_ms < dns->timer.due_ms)
        loop_timer_set(dns->loop, &dns->timer, due_ms > now_ms ? due_ms - now_ms : 0);
}

/* Asks the next resolver that takes the query; where there is none, the query is over. */
static void query_ask(struct dns_query *query)
{
    struct dns *dns = query->dns;
    const struct sockaddr_storage *address;

    for (;;) {
        int last = query->attempt.resolver;

        address = dns_attempt_next(dns, &query->attempt);
        if (!address && !query->waited) {
            COUNT(dns->config.counters, dns_timeouts);
            query_answer_empty(query, query->attempt.code);
            return;
        }
        if (!address) {
            /* The next round. To the same resolver by the same socket: its answer may be on the way. */
            query->waited = false;
            query->attempt.tried = 0;
            address = dns_attempt_next(dns, &query->attempt);
            if (query->attempt.resolver == last && query->source.fd >= 0 &&
                send(query->source.fd, query->message, query->len_bytes, MSG_NOSIGNAL) >= 0)
                break;
        }
        if (query_send_to(query, address) == 0)
            break;
        dns_attempt_failed(dns, &query->attempt);
    }
    query->due_ms = loop_now_ms(dns->loop) + dns_attempt_patience_ms(dns, &query->attempt);
    if (query->due_ms > query->end_ms)
        query->due_ms = query->end_ms;
    dns_arm(dns, query->due_ms);
}

static void query_ask_again(struct dns_query *query)
{
    COUNT(query->dns->config.counters, dns_retries);
    query_ask(query);
}

static void on_answer(struct loop_source *source, unsigned events)
{
    struct dns_query *query = CONTAINER_OF(source, struct dns_query, source);
    struct dns *dns = query->dns;
    ssize_t len = recv(source->fd, dns->buffer, sizeof(dns->buffer), MSG_DONTWAIT);

    if (len < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (len < 0) {
        /* Nobody listens there, or there is no way to it. */
        query_close(query);
        dns_attempt_failed(dns, &query->attempt);
        query_ask_again(query);
        return;
    }
    if (!wire_dns_is_answer(query->message, &query->question, dns->buffer, (size_t)len)) {
        COUNT(dns->config.counters, dns_mismatched);
        return;
    }
    if (!dns_attempt_answered(dns, &query->attempt, dns->buffer)) {
        query_ask_again(query);
        return;
    }
    COUNT(dns->config.counters, dns_answers);
    query_answer(query, dns->buffer, (size_t)len);
}

static void on_query(struct loop_source *source, unsigned events)
{
    struct dns *dns = CONTAINER_OF(source, struct dns, udp_source);

    for (int i = 0; i < MESSAGES_A_TURN; i++) {
        struct wire_dns_question question;
        struct sockaddr_storage client;
        socklen_t client_len = sizeof(client);
        ssize_t len = recvfrom(source->fd, dns->buffer, sizeof(dns->buffer), MSG_DONTWAIT,
                               (struct sockaddr *)&client, &client_len);
        struct dns_query *query = NULL;

        if (len < 0)
            return;
        COUNT(dns->config.counters, dns_queries);
        if (wire_dns_parse_query(dns->buffer, (size_t)len, &question))
            query = calloc(1, sizeof(*query) + (size_t)len);
        if (!query) {
            COUNT(dns->config.counters, dns_dropped);
            continue;
        }
        /*
         * The oldest has the least hope left. A guest that asks for what nobody answers gets that; others, whose
         * answers take some milliseconds, do not grow so old.
         */
        if (dns->queries_len >= UPLINK_DNS_QUERIES_MAX) {
            COUNT(dns->config.counters, dns_dropped);
            query_answer_empty(CONTAINER_OF(dns->queries.next, struct dns_query, list),
                               WIRE_DNS_SERVFAIL);
        }
        query->dns = dns;
        query->source.fd = -1;
        query->client = client;
        query->client_len = client_len;
        query->end_ms = loop_now_ms(dns->loop) + QUERY_TIMEOUT_MS;
        query->question = question;
        query->len_bytes = (size_t)len;
        memcpy(query->message, dns->buffer, (size_t)len);
        list_append(&dns->queries, &query->list);
        dns->queries_len++;
        if (dns_is_inside(dns->config.net, &question)) {
            COUNT(dns->config.counters, dns_kept);
            query_answer_empty(query, WIRE_DNS_NOERROR);
        } else {
            dns_attempt_init(dns, &query->attempt);
            query_ask(query);
        }
    }
}

static void on_timer(struct loop_timer *timer)
{
    struct dns *dns = CONTAINER_OF(timer, struct dns, timer);
    uint64_t now_ms = loop_now_ms(dns->loop);

    for (struct list *node = dns->queries.next, *next; node != &dns->queries; node = next) {
        struct dns_query *query = CONTAINER_OF(node, struct dns_query, list);

        next = node->next;
        if (now_ms >= query->end_ms) {
            dns_attempt_failed(dns, &query->attempt);
            COUNT(dns->config.counters, dns_timeouts);
            query_answer_empty(query, query->attempt.code);
        } else if (now_ms >= query->due_ms) {
            dns_attempt_failed(dns, &query->attempt);
            query->waited = true;
            query_ask_again(query);
        } else {
            dns_arm(dns, query->due_ms);
        }
    }
}

/* ---- the whole */

void dns_look_again(struct dns *dns)
{
    bool changed = resolvers_refresh(&dns->resolvers, true);

    resolvers_forgive(&dns->resolvers);
    if (changed)
        dns->config.on_change(dns->config.context);
}

const char *dns_search(const struct dns *dns)
{
    return dns->resolvers.conf.search;
}

int dns_new(struct loop *loop, const struct dns_config *config, struct dns **ret_dns)
{
    struct dns *dns = calloc(1, sizeof(*dns));
    int result;

    if (!dns)
        return -ENOMEM;
    dns->loop = loop;
    dns->config = *config;
    dns->udp_source = (struct loop_source){.on_event = on_query, .fd = -1};
    dns->timer.on_timer = on_timer;
    list_init(&dns->queries);
    resolvers_init(&dns->resolvers, config->resolv_conf);
    result = config->udp_fd < 0 ? 0 : loop_add(loop, &dns->udp_source, config->udp_fd, LOOP_IN);
    if (result == 0 && config->tcp_fd >= 0)
        result = dns_tcp_new(dns, config->tcp_fd, &dns->tcp);
    if (result < 0) {
        dns_free(dns);
        return result;
    }
    *ret_dns = dns;
    return 0;
}

void dns_free(struct dns *dns)
{
    if (!dns)
        return;
    while (!list_is_empty(&dns->queries))
        query_free(CONTAINER_OF(dns->queries.next, struct dns_query, list));
    dns_tcp_free(dns->tcp);
    loop_timer_clear(dns->loop, &dns->timer);
    loop_remove(dns->loop, &dns->udp_source);
    free(dns);
}
