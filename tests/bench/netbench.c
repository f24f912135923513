/* SPDX-License-Identifier: Apache-2.0 */
/*
 * netbench: what the benchmark measures that iperf3 does not.
 *
 *   netbench server ADDRESS PORT          serves the others at PORT, `flows` at PORT + 1; its first line
 *                                         says that it listens
 *   netbench KIND ADDRESS PORT MS         measures for MS milliseconds: connect, rr, tcp-up, tcp-down,
 *                                         udp-up, udp-down, udp-gso-up or udp-gso-down
 *   netbench flows ADDRESS PORT COUNT...  opens flows up to each COUNT in turn and holds them
 *   netbench start READY_FD COMMAND...    runs COMMAND until it writes a byte to READY_FD
 *
 * A measurement prints one line "name=value ...". All begin with a TCP connection and a request on it;
 * datagrams go to a port that the server tells. The server is the first to close a connection of
 * `connect`, so the ports of the client are free again at once.
 */
#include "netbench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SAMPLES_MAX (1 << 20)
/* One serves, the others are for what a broken-off measurement has left behind. */
#define SERVER_THREADS 8

/* ---- what all parts use */

_Noreturn void fail(const char *what)
{
    fprintf(stderr, "netbench: %s: %s\n", what, strerror(errno));
    exit(1);
}

uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

struct sockaddr_in address_of(const char *address, unsigned port)
{
    struct sockaddr_in result = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};

    if (inet_pton(AF_INET, address, &result.sin_addr) != 1)
        errno = EINVAL, fail(address);
    return result;
}

bool write_all(int fd, const void *data, size_t len_bytes)
{
    return send(fd, data, len_bytes, MSG_NOSIGNAL) == (ssize_t)len_bytes;
}

bool read_all(int fd, void *data, size_t len_bytes)
{
    return recv(fd, data, len_bytes, MSG_WAITALL) == (ssize_t)len_bytes;
}

void set_options(int fd)
{
    struct timeval timeout = {.tv_sec = TIMEOUT_S};
    int one = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
}

int open_stream(const struct sockaddr_in *server, int *ret_error)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd >= 0) {
        set_options(fd);
        if (connect(fd, (const struct sockaddr *)server, sizeof(*server)) == 0)
            return fd;
    }
    if (!ret_error)
        fail("connect");
    *ret_error = errno == EINPROGRESS ? ETIMEDOUT : errno; /* SO_SNDTIMEO */
    if (fd >= 0)
        close(fd);
    return -1;
}

int open_listener(const struct sockaddr_in *local)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (const struct sockaddr *)local, sizeof(*local)) < 0 || listen(fd, 1024) < 0)
        fail("listen");
    return fd;
}

/* ---- server */

static void serve(int fd)
{
    struct message message;

    if (!read_all(fd, &message, sizeof(message)))
        return;
    if (message.kind >= KIND_UDP_UP) {
        serve_datagrams(fd, &message);
        return;
    }
    if (message.kind == KIND_TCP_UP || message.kind == KIND_TCP_DOWN) {
        serve_stream(fd, &message);
        return;
    }
    while (write_all(fd, &message, sizeof(message)) && message.kind == KIND_RR &&
           read_all(fd, &message, sizeof(message)))
        ;
}

static void *accept_and_serve(void *context)
{
    int listener_fd = (int)(intptr_t)context;

    for (;;) {
        int fd = accept4(listener_fd, NULL, NULL, SOCK_CLOEXEC);

        if (fd < 0)
            continue;
        set_options(fd);
        serve(fd);
        close(fd);
    }
    return NULL;
}

_Noreturn static void run_server(const char *address, unsigned port)
{
    struct sockaddr_in local = address_of(address, port);
    struct sockaddr_in flows = address_of(address, port + 1);
    int fd = open_listener(&local), flows_fd = open_listener(&flows);

    for (int i = 0; i < SERVER_THREADS; i++) {
        pthread_t thread;

        if (pthread_create(&thread, NULL, accept_and_serve, (void *)(intptr_t)fd) != 0)
            fail("a thread");
    }
    printf("ready\n");
    fflush(stdout);
    serve_flows(flows_fd);
}

/* ---- client */

/* How long each of many took. */
struct samples {
    uint32_t *ns;
    size_t count;
};

static void samples_add(struct samples *samples, uint64_t ns)
{
    if (!samples->ns)
        samples->ns = malloc(SAMPLES_MAX * sizeof(*samples->ns));
    if (!samples->ns)
        fail("memory");
    if (samples->count < SAMPLES_MAX)
        samples->ns[samples->count++] = (uint32_t)ns;
}

static int compare(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

    return (left > right) - (left < right);
}

static void samples_print(struct samples *samples)
{
    qsort(samples->ns, samples->count, sizeof(*samples->ns), compare);
    printf("p50_us=%.2f p99_us=%.2f\n", samples->ns[samples->count / 2] / 1e3,
           samples->ns[samples->count * 99 / 100] / 1e3);
    free(samples->ns);
}

/* Connection, request, response, the server's end: one after the other. */
static int run_connect(const struct sockaddr_in *server, uint32_t duration_ms)
{
    struct samples samples = {0};
    struct message message = {.kind = KIND_CONNECT};
    uint64_t start_ns = now_ns(), now = start_ns;

    while (now < start_ns + (uint64_t)duration_ms * 1000000) {
        uint64_t before_ns = now;
        int fd = open_stream(server, NULL);

        if (!write_all(fd, &message, sizeof(message)) || !read_all(fd, &message, sizeof(message)))
            fail("connect: the response");
        if (recv(fd, &message, 1, 0) != 0)
            fail("connect: the end");
        close(fd);
        now = now_ns();
        samples_add(&samples, now - before_ns);
    }
    printf("per_s=%.1f ", (double)samples.count * 1e9 / (double)(now - start_ns));
    samples_print(&samples);
    return 0;
}

static int run_rr(const struct sockaddr_in *server, uint32_t duration_ms)
{
    struct samples samples = {0};
    struct message message = {.kind = KIND_RR};
    uint64_t start_ns, end_ns;
    int fd = open_stream(server, NULL);

    /* The first one has in it what the connecting has left to do. */
    if (!write_all(fd, &message, sizeof(message)) || !read_all(fd, &message, sizeof(message)))
        fail("rr");
    start_ns = now_ns();
    end_ns = start_ns + (uint64_t)duration_ms * 1000000;
    while (start_ns < end_ns) {
        uint64_t now;

        if (!write_all(fd, &message, sizeof(message)) || !read_all(fd, &message, sizeof(message)))
            fail("rr");
        now = now_ns();
        samples_add(&samples, now - start_ns);
        start_ns = now;
    }
    samples_print(&samples);
    return 0;
}

int main(int argc, char **argv)
{
    static const char *const names[KINDS] = {
        [KIND_CONNECT] = "connect",       [KIND_RR] = "rr",
        [KIND_TCP_UP] = "tcp-up",         [KIND_TCP_DOWN] = "tcp-down",
        [KIND_UDP_UP] = "udp-up",         [KIND_UDP_DOWN] = "udp-down",
        [KIND_UDP_GSO_UP] = "udp-gso-up", [KIND_UDP_GSO_DOWN] = "udp-gso-down",
    };
    struct sockaddr_in server;
    uint32_t duration_ms;
    int kind = 0;

    if (argc == 4 && strcmp(argv[1], "server") == 0)
        run_server(argv[2], (unsigned)atoi(argv[3]));
    if (argc >= 4 && strcmp(argv[1], "start") == 0)
        return run_start(atoi(argv[2]), argv + 3);
    if (argc >= 5)
        server = address_of(argv[2], (unsigned)atoi(argv[3]));
    if (argc >= 5 && strcmp(argv[1], "flows") == 0)
        return run_flows(&server, argv + 4);
    while (argc == 5 && kind < KINDS && strcmp(argv[1], names[kind]) != 0)
        kind++;
    if (argc != 5 || kind == KINDS) {
        fprintf(stderr, "usage: netbench server ADDRESS PORT\n"
                        "       netbench connect|rr|tcp-up|tcp-down|udp[-gso]-up|udp[-gso]-down "
                        "ADDRESS PORT MS\n"
                        "       netbench flows ADDRESS PORT COUNT...\n"
                        "       netbench start READY_FD COMMAND...\n");
        return 2;
    }
    duration_ms = (uint32_t)atoi(argv[4]);
    if (kind == KIND_CONNECT)
        return run_connect(&server, duration_ms);
    if (kind == KIND_RR)
        return run_rr(&server, duration_ms);
    if (kind == KIND_TCP_UP || kind == KIND_TCP_DOWN)
        return run_stream(&server, (enum kind)kind, duration_ms);
    return run_datagrams(server, (enum kind)kind, duration_ms);
}
