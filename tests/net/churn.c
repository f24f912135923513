/* SPDX-License-Identifier: Apache-2.0 */
/*
 * churn: very many flows, short or idle ones.
 *
 *   churn serve ADDRESS PORT PORTS
 *       answers on PORTS ports from PORT on, TCP and UDP; its first line says that it does
 *   churn server|client|udp|hold ADDRESS PORT PORTS COUNT AT_ONCE
 *       COUNT flows to those ports, AT_ONCE of them at a time: connect, one byte there, one byte back, end
 *
 * server and client are TCP connections that the named side closes first; udp is a datagram and its answer,
 * each from a new port; hold keeps all TCP connections (AT_ONCE are being made at a time) until standard input
 * ends. The line "done=N failed=N error=NAME ms=N" tells how it went, and error the last failure. It gives up
 * when nothing at all happens for QUIET_MS.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_A_TURN 256
#define QUIET_MS 15000
#define BACKLOG 4096

/* A request: who closes a connection first. */
#define SERVER_CLOSES 's'
#define CLIENT_CLOSES 'c'

/* The ports of both are in the same place. */
union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};
_Static_assert(offsetof(struct sockaddr_in, sin_port) == offsetof(struct sockaddr_in6, sin6_port),
               "the port");

struct target {
    union address address;
    socklen_t len;
    unsigned ports;
};

_Noreturn static void fail(const char *what)
{
    fprintf(stderr, "churn: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* The target's address with the port that flow @number has. */
static union address address_of(const struct target *target, unsigned number)
{
    union address address = target->address;

    address.v4.sin_port = htons((uint16_t)(ntohs(address.v4.sin_port) + number % target->ports));
    return address;
}

static struct target target_of(char **words)
{
    struct target target = {.ports = (unsigned)atoi(words[2])};

    if (inet_pton(AF_INET, words[0], &target.address.v4.sin_addr) == 1) {
        target.address.any.sa_family = AF_INET;
        target.len = sizeof(target.address.v4);
    } else if (inet_pton(AF_INET6, words[0], &target.address.v6.sin6_addr) == 1) {
        target.address.any.sa_family = AF_INET6;
        target.len = sizeof(target.address.v6);
    } else {
        errno = EINVAL;
        fail(words[0]);
    }
    target.address.v4.sin_port = htons((uint16_t)atoi(words[1]));
    return target;
}

static void watch(int epoll_fd, int fd, uint32_t events, uint64_t data)
{
    struct epoll_event event = {.events = events, .data.u64 = data};

    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
        fail("epoll_ctl");
}

/* ---- server */

enum server_socket {
    LISTENER,
    DATAGRAMS,
    STREAM
};

static void open_services(int epoll_fd, const struct target *target, int type, int kind)
{
    for (unsigned i = 0; i < target->ports; i++) {
        union address address = address_of(target, i);
        int fd = socket(address.any.sa_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;

        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        if (bind(fd, &address.any, target->len) < 0 ||
            (kind == LISTENER && listen(fd, BACKLOG) < 0))
            fail("a service");
        watch(epoll_fd, fd, EPOLLIN, (uint64_t)kind << 32 | (uint32_t)fd);
    }
}

static void serve(int epoll_fd, int fd, int kind)
{
    union address peer;
    socklen_t len = sizeof(peer);
    char byte;

    if (kind == LISTENER) {
        int stream;

        while ((stream = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
            watch(epoll_fd, stream, EPOLLIN, (uint64_t)STREAM << 32 | (uint32_t)stream);
    } else if (kind == DATAGRAMS) {
        while (recvfrom(fd, &byte, 1, 0, &peer.any, &len) == 1)
            sendto(fd, &byte, 1, 0, &peer.any, len);
    } else if (recv(fd, &byte, 1, 0) != 1 || send(fd, &byte, 1, MSG_NOSIGNAL) != 1 ||
               byte == SERVER_CLOSES) {
        close(fd);
    }
}

_Noreturn static void run_server(const struct target *target)
{
    struct epoll_event events[EVENTS_A_TURN];
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);

    open_services(epoll_fd, target, SOCK_STREAM, LISTENER);
    open_services(epoll_fd, target, SOCK_DGRAM, DATAGRAMS);
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        int count = epoll_wait(epoll_fd, events, EVENTS_A_TURN, -1);

        for (int i = 0; i < count; i++)
            serve(epoll_fd, (int)(uint32_t)events[i].data.u64, (int)(events[i].data.u64 >> 32));
    }
}

/* ---- client */

struct client {
    int epoll_fd, type;
    char request;
    bool hold;
    const struct target *target;
    unsigned count, started, done, failed, open;
    int error;
};

static void client_end(struct client *client, int fd, int error)
{
    client->open--;
    if (error) {
        client->failed++;
        client->error = error;
    } else {
        client->done++;
    }
    if (error || !client->hold)
        close(fd);
    else if (epoll_ctl(client->epoll_fd, EPOLL_CTL_DEL, fd, NULL) < 0)
        fail("epoll_ctl");
}

static void client_start(struct client *client)
{
    union address address = address_of(client->target, client->started++);
    int fd = socket(address.any.sa_family, client->type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        fail("socket");
    client->open++;
    watch(client->epoll_fd, fd, 0, (uint64_t)fd);
    if (connect(fd, &address.any, client->target->len) < 0 && errno != EINPROGRESS) {
        client_end(client, fd, errno);
        return;
    }
    if (epoll_ctl(client->epoll_fd, EPOLL_CTL_MOD, fd,
                  &(struct epoll_event){.events = EPOLLOUT, .data.u64 = (uint64_t)fd}) < 0)
        fail("epoll_ctl");
}

static void client_event(struct client *client, int fd, uint32_t events)
{
    struct epoll_event answer = {.events = EPOLLIN, .data.u64 = (uint64_t)fd};
    socklen_t len = sizeof(int);
    int error = 0;
    ssize_t got;
    char byte;

    if (events & EPOLLERR) {
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
        client_end(client, fd, error ? error : EIO);
        return;
    }
    if (events & EPOLLOUT) {
        if (send(fd, &client->request, 1, MSG_NOSIGNAL) != 1)
            client_end(client, fd, errno);
        else if (epoll_ctl(client->epoll_fd, EPOLL_CTL_MOD, fd, &answer) < 0)
            fail("epoll_ctl");
        return;
    }
    got = recv(fd, &byte, 1, 0);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got < 0)
        client_end(client, fd, errno);
    else if (got == 0)
        client_end(client, fd, client->request == SERVER_CLOSES ? 0 : EPIPE);
    else if (client->request != SERVER_CLOSES)
        client_end(client, fd, 0);
    /* else the server's end is still to come. */
}

static int run_client(struct client *client, unsigned at_once)
{
    struct epoll_event events[EVENTS_A_TURN];
    uint64_t start_ms = now_ms();
    char byte;

    while (client->done + client->failed < client->count) {
        int count;

        while (client->open < at_once && client->started < client->count)
            client_start(client);
        count = epoll_wait(client->epoll_fd, events, EVENTS_A_TURN, QUIET_MS);
        if (count == 0) {
            fprintf(stderr, "churn: %u flows wait, and nothing happens\n", client->open);
            break;
        }
        for (int i = 0; i < count; i++)
            client_event(client, (int)events[i].data.u64, events[i].events);
    }
    printf("done=%u failed=%u error=%s ms=%llu\n", client->done, client->failed,
           client->error ? strerrorname_np(client->error) : "none",
           (unsigned long long)(now_ms() - start_ms));
    fflush(stdout);
    while (client->hold && read(STDIN_FILENO, &byte, 1) > 0)
        ;
    return client->done == client->count ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct rlimit descriptors;
    struct target target;
    struct client client = {.type = SOCK_STREAM, .request = CLIENT_CLOSES, .target = &target};

    if (argc < 5 || (strcmp(argv[1], "serve") != 0 && argc != 7)) {
        fprintf(stderr, "usage: churn serve ADDRESS PORT PORTS\n"
                        "       churn server|client|udp|hold ADDRESS PORT PORTS COUNT AT_ONCE\n");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    getrlimit(RLIMIT_NOFILE, &descriptors);
    descriptors.rlim_cur = descriptors.rlim_max;
    setrlimit(RLIMIT_NOFILE, &descriptors);
    target = target_of(argv + 2);
    if (strcmp(argv[1], "serve") == 0)
        run_server(&target);
    if (strcmp(argv[1], "server") == 0)
        client.request = SERVER_CLOSES;
    else if (strcmp(argv[1], "udp") == 0)
        client.type = SOCK_DGRAM;
    else if (strcmp(argv[1], "hold") == 0)
        client.hold = true;
    client.count = (unsigned)atoi(argv[5]);
    client.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    return run_client(&client, (unsigned)atoi(argv[6]));
}
