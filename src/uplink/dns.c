/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each query has a socket of its own, connected to one resolver: the kernel picks its port at random and
 * takes answers from that resolver only. When the resolver refuses, or is silent for QUERY_RETRY_MS, the
 * query goes to the next one; the one that answered last is asked first.
 */
#include "uplink/dns.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "uplink/relay.h"

#define MESSAGE_BYTES 65535
#define QUERY_RETRY_MS 1000
#define QUERY_TIMEOUT_MS 5000
#define TIMER_PERIOD_MS 250
#define MESSAGES_A_TURN 32
#define OUTSIDE 0
#define INSIDE 1

struct dns_query {
    struct list list; /* in dns->queries, oldest first */
    struct dns *dns;
    struct loop_source source;
    struct sockaddr_storage client;
    socklen_t client_len;
    uint64_t asked_ms, sent_ms;
    unsigned resolver, attempts;
    size_t len_bytes;
    uint8_t message[];
};

struct dns_connection {
    struct list list;
    struct dns *dns;
    struct relay relay;
};

struct dns {
    struct loop *loop;
    struct uplink_counters *counters;
    struct loop_source udp_source, tcp_source;
    struct loop_timer timer;
    struct list queries, connections;
    unsigned queries_len, connections_len;
    struct relay_group group;
    const char *resolv_conf;
    struct stat resolv_conf_status; /* as it was when it was last read */
    struct sockaddr_storage resolvers[DNS_RESOLVERS_MAX];
    unsigned resolvers_len, resolver_first;
    uint8_t buffer[RELAY_CHUNK_BYTES];
};

/* getaddrinfo with AI_NUMERICHOST asks nobody; it also knows fe80::1%eth0. */
static bool parse_resolver(const char *text, struct sockaddr_storage *ret_address)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
                             .ai_socktype = SOCK_DGRAM};
    struct addrinfo *found;

    if (getaddrinfo(text, "53", &hints, &found) != 0)
        return false;
    memset(ret_address, 0, sizeof(*ret_address));
    memcpy(ret_address, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return true;
}

unsigned dns_read_resolvers(const char *path,
                            struct sockaddr_storage ret_addresses[DNS_RESOLVERS_MAX])
{
    FILE *file = fopen(path, "re");
    char *line = NULL, text[128];
    size_t size = 0;
    unsigned len = 0;

    while (file && len < DNS_RESOLVERS_MAX && getline(&line, &size, file) >= 0)
        if (sscanf(line, " nameserver %127s", text) == 1 &&
            parse_resolver(text, &ret_addresses[len]))
            len++;
    free(line);
    if (file)
        fclose(file);
    if (len == 0 && parse_resolver("127.0.0.1", &ret_addresses[0]))
        len = 1;
    return len;
}

static socklen_t address_len(const struct sockaddr_storage *address)
{
    return address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                          : sizeof(struct sockaddr_in);
}

/* Reads resolv.conf where it is another file, or has other content, than the last time. */
static void dns_refresh(struct dns *dns)
{
    struct stat now = {0}, *was = &dns->resolv_conf_status;

    if (stat(dns->resolv_conf, &now) < 0)
        memset(&now, 0, sizeof(now));
    if (dns->resolvers_len && now.st_ino == was->st_ino && now.st_dev == was->st_dev &&
        now.st_size == was->st_size && now.st_mtim.tv_sec == was->st_mtim.tv_sec &&
        now.st_mtim.tv_nsec == was->st_mtim.tv_nsec)
        return;
    dns->resolv_conf_status = now;
    dns->resolvers_len = dns_read_resolvers(dns->resolv_conf, dns->resolvers);
    dns->resolver_first = 0;
}

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

static void on_answer(struct loop_source *source, unsigned events);

/* Sends the query to the next resolver that takes it. False where none is left to try. */
static bool query_send(struct dns_query *query)
{
    struct dns *dns = query->dns;

    query_close(query);
    while (query->attempts < dns->resolvers_len) {
        struct sockaddr_storage *address;
        int fd;

        query->resolver = (dns->resolver_first + query->attempts++) % dns->resolvers_len;
        address = &dns->resolvers[query->resolver];
        fd = socket(address->ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0)
            continue;
        query->source.on_event = on_answer;
        if (connect(fd, (struct sockaddr *)address, address_len(address)) == 0 &&
            send(fd, query->message, query->len_bytes, MSG_NOSIGNAL) >= 0 &&
            loop_add(dns->loop, &query->source, fd, LOOP_IN) == 0) {
            query->sent_ms = loop_now_ms(dns->loop);
            return true;
        }
        close(fd);
    }
    return false;
}

static void on_answer(struct loop_source *source, unsigned events)
{
    struct dns_query *query = CONTAINER_OF(source, struct dns_query, source);
    struct dns *dns = query->dns;
    ssize_t len = recv(source->fd, dns->buffer, MESSAGE_BYTES, MSG_DONTWAIT);

    if (len < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (len < 0) {
        /* Nobody listens there, or there is no way to it. */
        if (!query_send(query))
            query_free(query);
        return;
    }
    if (dns->resolvers_len > query->resolver)
        dns->resolver_first = query->resolver;
    COUNT(dns->counters, dns_answers);
    sendto(dns->udp_source.fd, dns->buffer, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL,
           (struct sockaddr *)&query->client, query->client_len);
    query_free(query);
}

static void on_query(struct loop_source *source, unsigned events)
{
    struct dns *dns = CONTAINER_OF(source, struct dns, udp_source);

    for (int i = 0; i < MESSAGES_A_TURN; i++) {
        struct sockaddr_storage client;
        socklen_t client_len = sizeof(client);
        ssize_t len = recvfrom(source->fd, dns->buffer, MESSAGE_BYTES, MSG_DONTWAIT,
                               (struct sockaddr *)&client, &client_len);
        struct dns_query *query;

        if (len < 0)
            return;
        COUNT(dns->counters, dns_queries);
        /* The oldest has the least hope left. */
        if (dns->queries_len >= UPLINK_DNS_QUERIES_MAX)
            query_free(CONTAINER_OF(dns->queries.next, struct dns_query, list));
        query = calloc(1, sizeof(*query) + (size_t)len);
        if (!query)
            continue;
        query->dns = dns;
        query->source.fd = -1;
        query->client = client;
        query->client_len = client_len;
        query->asked_ms = loop_now_ms(dns->loop);
        query->len_bytes = (size_t)len;
        memcpy(query->message, dns->buffer, (size_t)len);
        list_append(&dns->queries, &query->list);
        dns->queries_len++;
        dns_refresh(dns);
        if (!query_send(query))
            query_free(query);
        else if (!dns->timer.due_ms)
            loop_timer_set(dns->loop, &dns->timer, TIMER_PERIOD_MS);
    }
}

static void on_timer(struct loop_timer *timer)
{
    struct dns *dns = CONTAINER_OF(timer, struct dns, timer);
    uint64_t now_ms = loop_now_ms(dns->loop);

    for (struct list *node = dns->queries.next, *next; node != &dns->queries; node = next) {
        struct dns_query *query = CONTAINER_OF(node, struct dns_query, list);

        next = node->next;
        if (now_ms - query->asked_ms >= QUERY_TIMEOUT_MS) {
            COUNT(dns->counters, dns_timeouts);
            query_free(query);
        } else if (now_ms - query->sent_ms >= QUERY_RETRY_MS &&
                   query->attempts < dns->resolvers_len && !query_send(query)) {
            query_free(query);
        }
    }
    if (!list_is_empty(&dns->queries))
        loop_timer_set(dns->loop, timer, TIMER_PERIOD_MS);
}

static void connection_free(struct dns_connection *connection, bool reset)
{
    relay_done(&connection->relay, reset);
    list_remove(&connection->list);
    connection->dns->connections_len--;
    free(connection);
}

static void on_connection_end(struct relay *relay, bool reset)
{
    connection_free(CONTAINER_OF(relay, struct dns_connection, relay), reset);
}

static void on_connected(struct relay *relay, int side, unsigned events)
{
    socklen_t len = sizeof(int);
    int error = 0;

    if (side != OUTSIDE || !(events & (LOOP_OUT | LOOP_HANGUP)))
        return;
    if (getsockopt(relay->side[OUTSIDE].source.fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || error)
        on_connection_end(relay, true);
    else
        relay_run(relay);
}

/* The DNS server asks again over TCP: a connection to the resolver that answered last. */
static void dns_connect(struct dns *dns, int inside_fd)
{
    struct dns_connection *connection = NULL;
    struct sockaddr_storage *address;
    int fd = -1;

    dns_refresh(dns);
    address = &dns->resolvers[dns->resolver_first];
    if (dns->connections_len < UPLINK_DNS_CONNECTIONS_MAX) {
        connection = calloc(1, sizeof(*connection));
        fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    }
    if (!connection || fd < 0 ||
        (connect(fd, (struct sockaddr *)address, address_len(address)) < 0 &&
         errno != EINPROGRESS)) {
        free(connection);
        if (fd >= 0)
            close(fd);
        relay_close_reset(inside_fd);
        return;
    }
    connection->dns = dns;
    list_append(&dns->connections, &connection->list);
    dns->connections_len++;
    relay_prepare(fd);
    relay_init(&connection->relay, &dns->group);
    connection->relay.on_early_event = on_connected;
    connection->relay.on_end = on_connection_end;
    if (relay_set_side(&connection->relay, INSIDE, inside_fd) < 0) {
        close(fd);
        connection_free(connection, true);
    } else if (relay_set_side(&connection->relay, OUTSIDE, fd) < 0) {
        connection_free(connection, true);
    }
}

static void on_listener(struct loop_source *source, unsigned events)
{
    int fd = accept4(source->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd >= 0)
        dns_connect(CONTAINER_OF(source, struct dns, tcp_source), fd);
}

int dns_new(struct loop *loop, int udp_fd, int tcp_fd, const char *resolv_conf,
            struct uplink_counters *counters, struct dns **ret_dns)
{
    struct dns *dns = calloc(1, sizeof(*dns));
    int result;

    if (!dns)
        return -ENOMEM;
    dns->loop = loop;
    dns->counters = counters;
    dns->resolv_conf = resolv_conf;
    dns->udp_source = (struct loop_source){.on_event = on_query, .fd = -1};
    dns->tcp_source = (struct loop_source){.on_event = on_listener, .fd = -1};
    dns->timer.on_timer = on_timer;
    list_init(&dns->queries);
    list_init(&dns->connections);
    relay_group_init(&dns->group, loop, dns->buffer);
    relay_prepare(tcp_fd);
    result = loop_add(loop, &dns->udp_source, udp_fd, LOOP_IN);
    if (result == 0)
        result = loop_add(loop, &dns->tcp_source, tcp_fd, LOOP_IN);
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
    while (!list_is_empty(&dns->connections))
        connection_free(CONTAINER_OF(dns->connections.next, struct dns_connection, list), true);
    relay_group_done(&dns->group);
    loop_timer_clear(dns->loop, &dns->timer);
    loop_remove(dns->loop, &dns->udp_source);
    loop_remove(dns->loop, &dns->tcp_source);
    free(dns);
}
