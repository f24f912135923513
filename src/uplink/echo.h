/* SPDX-License-Identifier: Apache-2.0 */
/* What the two ways to send an echo request share. Only for echo.c and echo_raw.c. */
#ifndef OPENVMNET_UPLINK_ECHO_H
#define OPENVMNET_UPLINK_ECHO_H

#include "uplink/error_queue.h"
#include "uplink/worker.h"

/* Destinations of one id that answers and errors may be about: a program that asks many at once uses one id. */
#define ECHO_DESTINATIONS 32
/* Over a raw socket the id is the mapping's slot, counted from here. */
#define ECHO_RAW_ID_BASE 0x4000
#define ECHO_HEADER_BYTES 8
#define ECHO_MESSAGES_A_TURN 32

enum {
    ICMP4_ECHO_REPLY = 0,
    ICMP4_UNREACHABLE = 3,
    ICMP4_ECHO_REQUEST = 8,
    ICMP4_TIME_EXCEEDED = 11,
    ICMP4_PARAMETER = 12,
    ICMP6_TOO_BIG = 2,
    ICMP6_PARAMETER = 4,
    ICMP6_ERROR_LAST = 127,
    ICMP6_ECHO_REQUEST = 128,
    ICMP6_ECHO_REPLY = 129,
};

/* A socket with what it puts into the next packet's IP header, so that it is set only where it changes. */
struct echo_socket {
    struct loop_source source; /* fd -1: there is none */
    bool prepared;
    uint8_t ttl, tos;
    bool dont_fragment;
};

struct echo_mapping {
    bool used;
    struct echo *echo;
    struct ip_addr guest;
    unsigned who;              /* for the guest's quota */
    uint16_t id;               /* the guest's */
    struct echo_socket socket; /* none: over a raw socket */
    uint64_t used_ms;
    struct ip_addr asked[ECHO_DESTINATIONS]; /* as the host knows them; a ring */
    unsigned asked_last;
};

/* Few enough for a linear search, which only echo requests pay. */
struct echo {
    struct worker *worker;
    struct echo_socket raw[2];
    struct loop_timer timer;
    uint8_t *buffer; /* of a message, with headroom in front */
    unsigned len;    /* slots up to here may be used */
    bool told_forbidden;
    struct echo_mapping slots[UPLINK_ECHO_MAPPINGS_MAX];
};

/* A message that came to a socket, in the echo's buffer with headroom in front. */
struct echo_message {
    uint8_t *data;
    size_t len_bytes;
    struct ip_addr from;
    uint8_t ttl, tos;
};

/* True where the mapping has sent a request to @addr lately. */
bool echo_mapping_asked(const struct echo_mapping *mapping, const struct ip_addr *addr);
/* @message, from its ICMP header on, answers one of the mapping's requests: the guest gets it. */
void echo_mapping_answer(struct echo_mapping *mapping, const struct echo_message *message);
/*
 * An error about the request to @dst, of which @quoted has what came back from its ICMP header on, with
 * headroom in front: the guest gets it, about its own request.
 */
void echo_mapping_report(struct echo_mapping *mapping, const struct ip_addr *dst, uint8_t *quoted,
                         size_t len_bytes, const struct host_error *error);
/* 0 or -errno: -EAGAIN where there is nothing. */
int echo_receive(struct echo *echo, int fd, struct echo_message *ret_message);
/* Has a socket tell time to live and type of service of what it receives. */
void echo_socket_options(int fd, int family);

/* Takes the two raw sockets over. 0 or -errno. */
int echo_raw_start(struct echo *echo, const int fd[2]);

#endif
