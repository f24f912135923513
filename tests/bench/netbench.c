/* SPDX-License-Identifier: Apache-2.0 */
/*
 * netbench: what the benchmark measures that iperf3 does not.
 *
 *   netbench server ADDRESS PORT              serves the others; its first line says that it listens
 *   netbench connect|rr|udp-up|udp-down ADDRESS PORT MS    measures for MS milliseconds
 *   netbench start READY_FD COMMAND...        runs COMMAND until it writes a byte to READY_FD
 *
 * Each measurement is one line "name=value ..." on standard output. All begin with a TCP connection
 * and a request on it; datagrams go to a port that the server tells. The server closes the
 * connections of `connect`, so the ports of the client are free again at once and it can go on for as
 * long as it likes.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE_BYTES 64 /* a request and a response of connect and rr */
#define DATAGRAM_BYTES 1400
#define BATCH 32 /* datagrams to a system call: the network is measured, not the calls */
#define BUFFER_BYTES (4 << 20)
#define QUIET_MS 200 /* so long nothing came: nothing is under way any more */
#define SAMPLES_MAX (1 << 20)
#define TIMEOUT_S 5

struct message {
    uint32_t kind; /* of request: enum kind */
    uint32_t duration_ms;
    uint64_t bytes, elapsed_ns;
    uint16_t port;
    uint8_t unused[MESSAGE_BYTES - 26];
} __attribute__((packed));
_Static_assert(sizeof(struct message) == MESSAGE_BYTES, "struct message");

enum kind {
    KIND_CONNECT,
    KIND_RR,
    KIND_UDP_UP,
    KIND_UDP_DOWN
};

struct count {
    uint64_t bytes, first_ns, last_ns;
};

/* The datagrams of one call. */
struct batch {
    struct mmsghdr message[BATCH];
    struct iovec part[BATCH];
    uint8_t data[BATCH][DATAGRAM_BYTES];
};

_Noreturn static void fail(const char *what)
{
    fprintf(stderr, "netbench: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static struct sockaddr_in address_of(const char *address, const char *port)
{
    struct sockaddr_in result = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};

    if (inet_pton(AF_INET, address, &result.sin_addr) != 1)
        errno = EINVAL, fail(address);
    return result;
}

static bool write_all(int fd, const void *data, size_t len_bytes)
{
    return send(fd, data, len_bytes, MSG_NOSIGNAL) == (ssize_t)len_bytes;
}

static bool read_all(int fd, void *data, size_t len_bytes)
{
    return recv(fd, data, len_bytes, MSG_WAITALL) == (ssize_t)len_bytes;
}

static void set_options(int fd)
{
    struct timeval timeout = {.tv_sec = TIMEOUT_S};
    int one = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
}

/* ---- datagrams */

static int open_datagrams(const struct sockaddr_in *local, const struct sockaddr_in *peer)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), bytes = BUFFER_BYTES;

    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    if (fd < 0 || (local && bind(fd, (const struct sockaddr *)local, sizeof(*local)) < 0) ||
        (peer && connect(fd, (const struct sockaddr *)peer, sizeof(*peer)) < 0))
        fail("a UDP socket");
    return fd;
}

static struct batch *batch_new(void)
{
    struct batch *batch = calloc(1, sizeof(*batch));

    if (!batch)
        fail("memory");
    for (int i = 0; i < BATCH; i++) {
        batch->part[i] = (struct iovec){batch->data[i], DATAGRAM_BYTES};
        batch->message[i].msg_hdr = (struct msghdr){.msg_iov = &batch->part[i], .msg_iovlen = 1};
    }
    return batch;
}

/* Sends as fast as the socket takes it. Errors of single datagrams are the network's: go on. */
static void send_datagrams(int fd, uint32_t duration_ms)
{
    struct batch *batch = batch_new();
    uint64_t end_ns = now_ns() + (uint64_t)duration_ms * 1000000;

    while (now_ns() < end_ns)
        sendmmsg(fd, batch->message, BATCH, MSG_NOSIGNAL);
    free(batch);
}

/* Counts until @control_fd has something to read and then nothing comes for QUIET_MS. */
static struct count receive_datagrams(int fd, int control_fd)
{
    struct batch *batch = batch_new();
    struct count count = {0};
    struct pollfd polls[2] = {{.fd = fd, .events = POLLIN}, {.fd = control_fd, .events = POLLIN}};

    while (poll(polls, 2, polls[1].fd < 0 ? QUIET_MS : TIMEOUT_S * 1000) > 0) {
        int received = recvmmsg(fd, batch->message, BATCH, MSG_DONTWAIT, NULL);

        if (polls[1].revents) {
            recv(control_fd, batch->data, MESSAGE_BYTES, MSG_DONTWAIT);
            polls[1].fd = -1;
        }
        for (int i = 0; i < received; i++)
            if (batch->message[i].msg_len == DATAGRAM_BYTES)
                count.bytes += DATAGRAM_BYTES;
        if (received > 0)
            count.last_ns = now_ns();
        if (count.bytes > 0 && !count.first_ns)
            count.first_ns = count.last_ns;
    }
    free(batch);
    return count;
}

/* ---- server */

static void serve_datagrams(int fd, struct message *message)
{
    struct sockaddr_in local, peer;
    socklen_t len = sizeof(local);
    uint8_t hello;
    int datagrams_fd;

    getsockname(fd, (struct sockaddr *)&local, &len);
    local.sin_port = 0;
    datagrams_fd = open_datagrams(&local, NULL);
    set_options(datagrams_fd);
    getsockname(datagrams_fd, (struct sockaddr *)&local, &len);
    message->port = ntohs(local.sin_port);
    len = sizeof(peer);
    if (!write_all(fd, message, sizeof(*message)) ||
        recvfrom(datagrams_fd, &hello, 1, 0, (struct sockaddr *)&peer, &len) < 0)
        goto out;
    if (message->kind == KIND_UDP_DOWN) {
        if (connect(datagrams_fd, (struct sockaddr *)&peer, len) == 0)
            send_datagrams(datagrams_fd, message->duration_ms);
    } else {
        struct count count = receive_datagrams(datagrams_fd, fd);

        message->bytes = count.bytes;
        message->elapsed_ns = count.last_ns - count.first_ns;
    }
    write_all(fd, message, sizeof(*message));
out:
    close(datagrams_fd);
}

static void *serve(void *context)
{
    int fd = (int)(intptr_t)context;
    struct message message;

    if (!read_all(fd, &message, sizeof(message)))
        goto out;
    if (message.kind == KIND_UDP_UP || message.kind == KIND_UDP_DOWN) {
        serve_datagrams(fd, &message);
        goto out;
    }
    while (write_all(fd, &message, sizeof(message)) && message.kind == KIND_RR &&
           read_all(fd, &message, sizeof(message)))
        ;
out:
    close(fd);
    return NULL;
}

_Noreturn static void run_server(const char *address, const char *port)
{
    struct sockaddr_in local = address_of(address, port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    pthread_attr_t detached;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&local, sizeof(local)) < 0 || listen(fd, 1024) < 0)
        fail("listen");
    printf("ready\n");
    fflush(stdout);
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    for (;;) {
        int stream = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        pthread_t thread;

        if (stream < 0)
            continue;
        set_options(stream);
        if (pthread_create(&thread, &detached, serve, (void *)(intptr_t)stream) != 0)
            close(stream);
    }
}

/* ---- client */

static int open_stream(const struct sockaddr_in *server)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        fail("socket");
    set_options(fd);
    if (connect(fd, (const struct sockaddr *)server, sizeof(*server)) < 0)
        fail("connect");
    return fd;
}

/* Connection, request, response, the server's end: one after the other. */
static int run_connect(const struct sockaddr_in *server, uint32_t duration_ms)
{
    struct message message = {.kind = KIND_CONNECT};
    uint64_t start_ns = now_ns(), now = start_ns, count = 0;

    while (now < start_ns + (uint64_t)duration_ms * 1000000) {
        int fd = open_stream(server);

        if (!write_all(fd, &message, sizeof(message)) || !read_all(fd, &message, sizeof(message)))
            fail("connect: the response");
        if (recv(fd, &message, 1, 0) != 0)
            fail("connect: the end");
        close(fd);
        count++;
        now = now_ns();
    }
    printf("per_s=%.1f\n", (double)count * 1e9 / (double)(now - start_ns));
    return 0;
}

static int compare(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

    return (left > right) - (left < right);
}

static int run_rr(const struct sockaddr_in *server, uint32_t duration_ms)
{
    struct message message = {.kind = KIND_RR};
    uint32_t *samples = malloc(SAMPLES_MAX * sizeof(*samples));
    uint64_t start_ns = now_ns(), end_ns = start_ns + (uint64_t)duration_ms * 1000000;
    int fd = open_stream(server);
    size_t count = 0;

    while (samples && start_ns < end_ns && count < SAMPLES_MAX) {
        uint64_t now;

        if (!write_all(fd, &message, sizeof(message)) || !read_all(fd, &message, sizeof(message)))
            fail("rr");
        now = now_ns();
        samples[count++] = (uint32_t)(now - start_ns);
        start_ns = now;
    }
    if (count == 0)
        fail("rr: no sample");
    samples[0] = samples[count - 1]; /* the first one had the connecting in it */
    qsort(samples, count, sizeof(*samples), compare);
    printf("p50_us=%.2f p99_us=%.2f\n", samples[count / 2] / 1e3, samples[count * 99 / 100] / 1e3);
    return 0;
}

static int run_datagrams(struct sockaddr_in server, enum kind kind, uint32_t duration_ms)
{
    struct message message = {.kind = kind, .duration_ms = duration_ms};
    int fd = open_stream(&server), datagrams_fd;

    if (!write_all(fd, &message, sizeof(message)) || !read_all(fd, &message, sizeof(message)))
        fail("udp: the request");
    server.sin_port = htons(message.port);
    datagrams_fd = open_datagrams(NULL, &server);
    if (send(datagrams_fd, "", 1, 0) != 1)
        fail("udp: the first datagram");
    if (kind == KIND_UDP_UP) {
        send_datagrams(datagrams_fd, duration_ms);
        if (!write_all(fd, "", 1) || !read_all(fd, &message, sizeof(message)))
            fail("udp-up: the result");
    } else {
        struct count count = receive_datagrams(datagrams_fd, fd);

        message.bytes = count.bytes;
        message.elapsed_ns = count.last_ns - count.first_ns;
    }
    if (message.elapsed_ns == 0)
        errno = ETIMEDOUT, fail("udp: no datagram came");
    printf("bits_per_s=%.0f\n", (double)message.bytes * 8e9 / (double)message.elapsed_ns);
    return 0;
}

/* ---- time to start */

/* It ends by itself or by SIGTERM; some leave a process of theirs behind, which SIGKILL ends. */
static void end_group(pid_t pid)
{
    kill(pid, SIGTERM);
    for (int waited_ms = 0; waited_ms < TIMEOUT_S * 1000; waited_ms += 10) {
        if (waitpid(pid, NULL, WNOHANG) == pid)
            break;
        poll(NULL, 0, 10);
    }
    kill(-pid, SIGKILL);
}

static int run_start(int ready_fd, char **command)
{
    uint64_t start_ns = now_ns(), ready_ns;
    struct pollfd ready;
    int ends[2];
    char byte;
    pid_t pid = -1;

    if (pipe2(ends, O_CLOEXEC) < 0 || (pid = fork()) < 0)
        fail("a process");
    if (pid == 0) {
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        /* Whatever it says belongs to standard error, unless that is how it says that it is ready. */
        dup2(STDERR_FILENO, STDOUT_FILENO);
        dup2(ends[1], ready_fd);
        execvp(command[0], command);
        fail(command[0]);
    }
    close(ends[1]);
    ready = (struct pollfd){.fd = ends[0], .events = POLLIN};
    if (poll(&ready, 1, TIMEOUT_S * 1000) != 1 || read(ends[0], &byte, 1) != 1) {
        kill(-pid, SIGKILL);
        errno = ETIMEDOUT, fail("start: it is not ready");
    }
    ready_ns = now_ns();
    end_group(pid);
    printf("ms=%.3f\n", (double)(ready_ns - start_ns) / 1e6);
    return 0;
}

int main(int argc, char **argv)
{
    static const char *const names[] = {[KIND_CONNECT] = "connect",
                                        [KIND_RR] = "rr",
                                        [KIND_UDP_UP] = "udp-up",
                                        [KIND_UDP_DOWN] = "udp-down"};
    struct sockaddr_in server;
    uint32_t duration_ms;
    int kind = 0;

    if (argc == 4 && strcmp(argv[1], "server") == 0)
        run_server(argv[2], argv[3]);
    if (argc >= 4 && strcmp(argv[1], "start") == 0)
        return run_start(atoi(argv[2]), argv + 3);
    while (argc == 5 && kind <= KIND_UDP_DOWN && strcmp(argv[1], names[kind]) != 0)
        kind++;
    if (argc != 5 || kind > KIND_UDP_DOWN) {
        fprintf(stderr, "usage: netbench server ADDRESS PORT\n"
                        "       netbench connect|rr|udp-up|udp-down ADDRESS PORT MS\n"
                        "       netbench start READY_FD COMMAND...\n");
        return 2;
    }
    server = address_of(argv[2], argv[3]);
    duration_ms = (uint32_t)atoi(argv[4]);
    if (kind == KIND_CONNECT)
        return run_connect(&server, duration_ms);
    if (kind == KIND_RR)
        return run_rr(&server, duration_ms);
    return run_datagrams(server, (enum kind)kind, duration_ms);
}
