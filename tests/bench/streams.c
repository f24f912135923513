/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many TCP streams at once, and what they carry together. One thread at either end, whatever the number, so what
 * changes with it is what is between them.
 *
 *   streams serve ADDRESS PORT
 *   streams up|down ADDRESS PORT COUNT DURATION_MS
 *
 * prints bits a second, bytes in all, and the CPU seconds of both ends for these. A connection begins with a byte:
 * 'u', the client sends; 'd', the server does; '?', the server answers each byte with how much it has got by all
 * the former and its CPU time. The receiver counts: what is only on its way is not carried.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHUNK_BYTES (128 * 1024)
#define EVENTS 256
#define COUNT_MAX 4096
#define WARM_UP_MS 1000
/* A client that does not get its connections or its answer. */
#define TIMEOUT_S 20

struct stream {
    int fd;
    char kind; /* 0: not known yet */
};

struct answer {
    uint64_t received_bytes, cpu_us;
};

static char chunk[CHUNK_BYTES];
static uint64_t received_bytes;

static _Noreturn void fail(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Of this process since it was started. */
static uint64_t cpu_us(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static struct sockaddr_in address_of(const char *address, const char *port)
{
    struct sockaddr_in result = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};

    if (inet_pton(AF_INET, address, &result.sin_addr) != 1)
        fail(address);
    return result;
}

static void watch(int epoll_fd, int op, struct stream *stream, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = stream};

    if (epoll_ctl(epoll_fd, op, stream->fd, &event) < 0)
        fail("epoll_ctl");
}

/* One turn. False at the stream's end. */
static bool stream_move(struct stream *stream, bool sends)
{
    ssize_t len = sends ? send(stream->fd, chunk, sizeof(chunk), MSG_DONTWAIT | MSG_NOSIGNAL)
                        : recv(stream->fd, chunk, sizeof(chunk), MSG_DONTWAIT);

    if (len > 0 && !sends)
        received_bytes += (uint64_t)len;
    return len > 0 || (len < 0 && errno == EAGAIN);
}

/* ---- the server */

static bool serve_question(struct stream *stream)
{
    struct answer answer = {received_bytes, cpu_us()};
    char byte;

    return recv(stream->fd, &byte, 1, MSG_DONTWAIT) == 1 &&
           send(stream->fd, &answer, sizeof(answer), MSG_NOSIGNAL) > 0;
}

static bool serve_stream(int epoll_fd, struct stream *stream)
{
    if (!stream->kind) {
        if (recv(stream->fd, &stream->kind, 1, MSG_DONTWAIT) != 1)
            return false;
        if (stream->kind == 'd')
            watch(epoll_fd, EPOLL_CTL_MOD, stream, EPOLLOUT);
        return true;
    }
    return stream->kind == '?' ? serve_question(stream) : stream_move(stream, stream->kind == 'd');
}

static _Noreturn void serve(const struct sockaddr_in *local)
{
    struct stream listener = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)};
    int epoll_fd = epoll_create1(0), one = 1;
    struct epoll_event events[EVENTS];

    setsockopt(listener.fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(listener.fd, (const struct sockaddr *)local, sizeof(*local)) < 0 ||
        listen(listener.fd, COUNT_MAX) < 0)
        fail("listen");
    watch(epoll_fd, EPOLL_CTL_ADD, &listener, EPOLLIN);
    puts("ready");
    fflush(stdout);
    for (;;) {
        int len = epoll_wait(epoll_fd, events, EVENTS, -1);

        for (int i = 0; i < len; i++) {
            struct stream *stream = events[i].data.ptr;

            if (stream == &listener) {
                struct stream *made = calloc(1, sizeof(*made));

                made->fd = accept(listener.fd, NULL, NULL);
                if (made->fd < 0)
                    fail("accept");
                watch(epoll_fd, EPOLL_CTL_ADD, made, EPOLLIN);
            } else if (!serve_stream(epoll_fd, stream)) {
                close(stream->fd);
                free(stream);
            }
        }
    }
}

/* ---- the client */

static int open_stream(const struct sockaddr_in *server, char kind)
{
    struct timeval timeout = {.tv_sec = TIMEOUT_S};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (fd < 0)
        fail("socket");
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    if (connect(fd, (const struct sockaddr *)server, sizeof(*server)) < 0)
        fail("connect");
    if (send(fd, &kind, 1, 0) != 1)
        fail("send");
    return fd;
}

static void move_until(int epoll_fd, bool sends, uint64_t end_ms)
{
    struct epoll_event events[EVENTS];
    uint64_t at_ms;

    while ((at_ms = now_ms()) < end_ms) {
        int len = epoll_wait(epoll_fd, events, EVENTS, (int)(end_ms - at_ms));

        for (int i = 0; i < len; i++)
            if (!stream_move(events[i].data.ptr, sends))
                fail("a stream");
    }
}

/* What the receiver has got so far, and the CPU time of both ends. */
static struct answer ask(int question_fd, bool up)
{
    struct answer answer;

    if (send(question_fd, "?", 1, 0) != 1 ||
        recv(question_fd, &answer, sizeof(answer), MSG_WAITALL) != sizeof(answer))
        fail("the server's count");
    if (!up)
        answer.received_bytes = received_bytes;
    answer.cpu_us += cpu_us();
    return answer;
}

static int measure(const struct sockaddr_in *server, bool up, unsigned count, unsigned duration_ms)
{
    static struct stream streams[COUNT_MAX];
    int epoll_fd = epoll_create1(0), question_fd = open_stream(server, '?');
    struct answer from, to;
    uint64_t from_ms;

    for (unsigned i = 0; i < count; i++)
        streams[i] = (struct stream){.fd = open_stream(server, up ? 'u' : 'd')};
    for (unsigned i = 0; i < count; i++)
        watch(epoll_fd, EPOLL_CTL_ADD, &streams[i], up ? EPOLLOUT : EPOLLIN);
    move_until(epoll_fd, up, now_ms() + WARM_UP_MS);
    from = ask(question_fd, up);
    from_ms = now_ms();
    move_until(epoll_fd, up, from_ms + duration_ms);
    to = ask(question_fd, up);
    printf("%.0f %" PRIu64 " %.3f\n",
           8e3 * (double)(to.received_bytes - from.received_bytes) / (double)(now_ms() - from_ms),
           to.received_bytes, (double)to.cpu_us / 1e6);
    return 0;
}

int main(int argc, char **argv)
{
    struct rlimit limit;
    bool up = argc > 1 && strcmp(argv[1], "up") == 0;
    struct sockaddr_in server;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (argc == 4 && strcmp(argv[1], "serve") == 0) {
        server = address_of(argv[2], argv[3]);
        serve(&server);
    }
    if (argc == 6 && (up || strcmp(argv[1], "down") == 0) && atoi(argv[4]) > 0 &&
        atoi(argv[4]) <= COUNT_MAX && atoi(argv[5]) > 0) {
        server = address_of(argv[2], argv[3]);
        return measure(&server, up, (unsigned)atoi(argv[4]), (unsigned)atoi(argv[5]));
    }
    fprintf(stderr, "usage: streams serve ADDRESS PORT\n"
                    "       streams up|down ADDRESS PORT COUNT DURATION_MS\n");
    return 2;
}
