/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of netbench share. A measurement begins with a TCP connection to the server and a
 * message on it, which the server answers with one of the same size.
 */
#ifndef OPENVMNET_BENCH_NETBENCH_H
#define OPENVMNET_BENCH_NETBENCH_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MESSAGE_BYTES 64 /* a request and a response of connect and rr */
#define TIMEOUT_S 3

enum kind {
    KIND_CONNECT,
    KIND_RR,
    KIND_TCP_UP,
    KIND_TCP_DOWN,
    KIND_UDP_UP,
    KIND_UDP_DOWN,
    KIND_UDP_GSO_UP,
    KIND_UDP_GSO_DOWN,
    KINDS
};

struct message {
    uint32_t kind;
    uint32_t duration_ms;
    uint64_t bytes, elapsed_ns;
    uint16_t port; /* of the server's UDP socket */
    uint8_t unused[MESSAGE_BYTES - 26];
} __attribute__((packed));
_Static_assert(sizeof(struct message) == MESSAGE_BYTES, "struct message");

/* Says what does not work and errno's text, and ends the program with status 1. */
_Noreturn void fail(const char *what);
uint64_t now_ns(void);
struct sockaddr_in address_of(const char *address, unsigned port);
bool write_all(int fd, const void *data, size_t len_bytes);
bool read_all(int fd, void *data, size_t len_bytes);
/* No delay, and no wait longer than TIMEOUT_S. */
void set_options(int fd);
/* A connection. With @ret_error an error is stored there and -1 returned; without, it ends the program. */
int open_stream(const struct sockaddr_in *server, int *ret_error);
int open_listener(const struct sockaddr_in *local);

/* datagrams.c. The server's part of a measurement whose request, @message, came on @fd. */
void serve_datagrams(int fd, struct message *message);
int run_datagrams(struct sockaddr_in server, enum kind kind, uint32_t duration_ms);

/* stream.c. The same of a TCP stream. */
void serve_stream(int fd, struct message *message);
int run_stream(const struct sockaddr_in *server, enum kind kind, uint32_t duration_ms);

/* flows.c. The server's part does not return. */
_Noreturn void serve_flows(int listener_fd);
int run_flows(const struct sockaddr_in *server, char **counts);

/* start.c */
int run_start(int ready_fd, char **command);

#endif
