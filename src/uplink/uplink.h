/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The unprivileged way out: guests' packets and connections become ordinary sockets of this process.
 *
 * A network has some workers. Each is one thread with one packet device, which gets all packets of a part of
 * the guests' addresses and ports (base/spread.h). It owns its flows alone; nothing on the way of a byte is locked.
 * What a worker shares with the rest is here: counters that it writes and others read, and the host's
 * addresses, of which it has a copy.
 */
#ifndef OPENVMNET_UPLINK_UPLINK_H
#define OPENVMNET_UPLINK_UPLINK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "base/netconfig.h"
#include "uplink/quota.h"

/*
 * Every table that a guest can make grow, and what an entry costs. Descriptors are the scarce thing: a
 * TCP flow takes two, the others one. The sum stays below the engine's limit on descriptors, which
 * uplink_limits() divides where the host gives us less.
 */
#define UPLINK_TCP_FLOWS_MAX 32768
#define UPLINK_UDP_MAPPINGS_MAX 8192
#define UPLINK_ECHO_MAPPINGS_MAX 1024
#define UPLINK_DNS_QUERIES_MAX 256
#define UPLINK_DNS_CONNECTIONS_MAX 64 /* two descriptors each; a query and an answer of 64 KiB */
#define UPLINK_FORWARDS_MAX 16384
/* Clients of UDP forwards, of all workers. They share their forward's descriptor. */
#define UPLINK_FORWARD_UDP_FLOWS_MAX 8192
/*
 * One of so many TCP flows may keep a large buffer (RELAY_CHUNK_BYTES) of what one side does not take; the
 * others then read little at once. One of two may be half-open.
 */
#define UPLINK_FLOWS_A_BUFFER 64
#define UPLINK_FLOWS_A_HALF_OPEN 2

/*
 * Forwards and TCP flows share their descriptors: a forward takes the place of half a flow, so where there
 * are few forwards there is room for flows. Connections of forwards are TCP flows.
 */
struct uplink_limits {
    unsigned tcp_flows, udp_mappings, echo_mappings, forwards;
};

/*
 * Divides @descriptors (the process's limit) among the tables, in the proportion of their maxima, and among
 * @workers: what one of them may have of all but forwards, which are the network's. These may be two thirds of
 * what TCP flows have.
 */
struct uplink_limits uplink_limits(unsigned long descriptors, unsigned workers);

/* clang-format off */
#define UPLINK_COUNTERS(X)                                                                         \
    X(packets_in)           /* from guests, over the packet device */                              \
    X(packets_out)          /* to guests, over the packet device */                                \
    X(packets_out_failed)   /* the device did not take them */                                     \
    X(tcp_opened)           /* connections handed to a guest */                                    \
    X(tcp_open)             /* those that are open now */                                          \
    X(tcp_refused)          /* the destination answered with a reset */                            \
    X(tcp_unreachable)      /* the host had no way to the destination */                           \
    X(tcp_timeout)          /* the destination did not answer */                                   \
    X(tcp_bytes_up)         /* payload, guest to outside */                                        \
    X(tcp_bytes_down)                                                                              \
    X(tcp_path_gone)        /* ended: the host's address that they were from is gone */            \
    X(tcp_stray)            /* segments of no connection, answered with a reset */                 \
    X(tcp_returned)         /* segments that the kernel had missed the connection of */            \
    X(udp_opened)                                                                                  \
    X(udp_open)                                                                                    \
    X(udp_up)               /* datagrams */                                                        \
    X(udp_down)                                                                                    \
    X(udp_errors)           /* ICMP errors carried back to a guest */                              \
    X(udp_send_failed)                                                                             \
    X(udp_filtered)         /* datagrams from whom the guest has not written to */                 \
    X(udp_overrun)          /* datagrams to guests that came faster than they were read */         \
    X(echo_up)                                                                                     \
    X(echo_down)                                                                                   \
    X(echo_errors)          /* ICMP errors carried back to a guest */                              \
    X(dns_queries)                                                                                 \
    X(dns_answers)                                                                                 \
    X(dns_timeouts)         /* no resolver answered */                                             \
    X(dns_retries)          /* asked again, of another resolver or of the same */                  \
    X(dns_kept)             /* about the network itself, not asked outside */                      \
    X(dns_mismatched)       /* answers to something else than was asked */                         \
    X(dns_dropped)          /* no queries at all, or too many at once */                           \
    X(drop_malformed)       /* packets that are not what they claim */                             \
    X(drop_checksum)                                                                               \
    X(drop_fragment)        /* fragments that did not make a packet */                             \
    X(drop_source)          /* a source that is not of the network */                              \
    X(drop_denied)          /* destinations that no guest may reach */                             \
    X(drop_protocol)        /* neither TCP, UDP nor ICMP */                                        \
    X(drop_icmp)            /* ICMP of guests that is no echo request: errors, redirects … */      \
    X(drop_icmp_forged)     /* errors from outside about what was not sent */                      \
    X(drop_quota_tcp)       /* connections of a guest that has its share of them */                \
    X(drop_quota_half_open) /* attempts to connect, beyond a guest's share, or that gave way to them */  \
    X(drop_quota_udp)       /* mappings that gave way to a newer one of their guest */             \
    X(drop_quota_echo)      /* the same of echo requests */                                        \
    X(drop_quota_forward)   /* clients of UDP forwards that gave way to a newer one of their guest */ \
    X(drop_no_descriptor)   /* the host had no descriptor or memory left */                        \
    X(drop_no_port)         /* the host had no port left towards a destination */                  \
    X(drop_echo_forbidden)  /* echo requests, where the host lets us send none */                 \
    X(drop_rule)            /* destinations that the network's deny, allow and host-ports exclude */ \
    X(forward_opened)       /* connections from outside handed to a guest */                       \
    X(forward_open)                                                                                \
    X(forward_failed)       /* the guest refused them, did not answer, or is not there */          \
    X(forward_udp_down)     /* datagrams from outside to a guest */                                \
    X(forward_udp_up)
/* clang-format on */

#define UPLINK_COUNTER_FIELD(name) atomic_uint_fast64_t name;
struct uplink_counters {
    UPLINK_COUNTERS(UPLINK_COUNTER_FIELD)
};

/* A counter has one writer thread, so a relaxed add is enough for the readers of `vmnet status`. */
#define COUNT(counters, name) COUNT_ADD(counters, name, 1)
#define COUNT_ADD(counters, name, value) COUNT_OF(&(counters)->name, value)
#define COUNT_OF(counter, value) atomic_fetch_add_explicit((counter), (value), memory_order_relaxed)
#define COUNT_DOWN(counters, name)                                                                 \
    atomic_fetch_sub_explicit(&(counters)->name, 1, memory_order_relaxed)

/*
 * A raw socket that receives echo replies and the errors that echo requests may meet (raw(7), icmp(7); RFC
 * 3542 3.2). -1 where the caller has no CAP_NET_RAW.
 */
int uplink_open_raw(int family);

/* The host's own addresses, kept up to date by the engine's main thread (host_linux.c). */
struct host;

/*
 * Starts to follow the addresses of the calling process's namespace in @loop. @on_gone is told of an address that
 * was taken from the host and has not come back for a while (host_gone.h). 0 or -errno.
 */
struct loop;
int host_new(struct loop *loop, void (*on_gone)(void *context, const struct ip_addr *addr),
             void *context, struct host **ret_host);
void host_free(struct host *host);

/*
 * One thread's copy of the host's addresses. It is renewed by itself when they have changed, which costs
 * one atomic load to know: nothing is locked while they stay the same.
 */
struct host_view;
int host_view_new(struct host *host, struct host_view **ret_view);
void host_view_free(struct host_view *view);
/* True where @addr is one of the host's own, loopback included. */
bool host_view_owns(struct host_view *view, const struct ip_addr *addr);
/*
 * The address by which guests reach the host when they speak to the gateway: one of the host's own that
 * is neither loopback nor link-local, and if possible one that stays. Family 0 where it has none.
 */
struct ip_addr host_view_address(struct host_view *view, int family);

/* What a worker is made of. Everything is borrowed but the descriptors, which it takes over. */
struct worker_config {
    const struct net_config *net;
    struct host *host;
    struct uplink_limits limits;
    unsigned index, workers;          /* uplink_start() sets these, */
    struct uplink_counters *counters; /* and this */
    /* listen6_fd may be -1; all are where the host's kernel is the way out, and only forwards are served. */
    int tun_fd, listen4_fd, listen6_fd;
    int raw4_fd, raw6_fd; /* raw ICMP sockets of worker 0, which has all ICMP; or -1 */
    /*
     * A sequenced-packet socket to the router, which gives sockets inside the network: the worker sends a
     * struct uplink_socket_request and gets one byte with at most UPLINK_SOCKETS_A_REQUEST descriptors: none
     * where they could not be made. An answer may be lost (then the worker asks again) or come late. -1: there
     * is none, and no TCP forward works.
     */
    int sockets_fd;
};

#define UPLINK_SOCKETS_A_REQUEST 16
struct uplink_socket_request {
    int32_t family; /* AF_INET, AF_INET6 */
    int32_t type;   /* SOCK_STREAM */
    uint32_t count;
};

struct uplink;

/* Makes @workers (1 to NET_WORKERS_MAX) of these and starts their threads. 0 or -errno. */
int uplink_start(const struct worker_config *configs, unsigned workers, struct uplink **ret_uplink,
                 struct err *err);
/* What a worker has counted, NULL from the number of workers on. */
const struct uplink_counters *uplink_counters(const struct uplink *uplink, unsigned worker);
/* What a guest, by its IPv4 address, uses now of all workers, and how often it met the end of a share. */
struct uplink_usage {
    uint64_t used[QUOTA_TABLES_LEN], refused;
};
struct uplink_usage uplink_usage(const struct uplink *uplink, struct ip_addr guest);
/* Ends all flows of a guest whose port is gone, by its IPv4 address. */
void uplink_forget_guest(struct uplink *uplink, struct ip_addr guest);
/* Ends all connections from, and to, an address that was the host's. */
void uplink_forget_source(struct uplink *uplink, struct ip_addr source);
/*
 * Forwards: what arrives at the host socket @fd (a TCP socket that has been listening since relay_prepare(), or a
 * bound UDP one, not blocking; taken over) goes to @guest, which sees the client's own address and port where it can answer there: where the
 * families are the same, the network has a way out, and the client is not the host itself; else it sees the
 * gateway's (rules_client()). @guest of family 0, or not of the network: nobody is there now, and connections
 * are reset. @id is the caller's choice, each one unused. One thread; each is carried out in its order. Some
 * hundreds at once fill a worker's pipe of commands: then the call waits, and where the worker takes none
 * for two seconds it is -EAGAIN and nothing was taken over. How many forwards there may be (limits.forwards)
 * is the caller's to mind.
 */
int uplink_add_forward(struct uplink *uplink, uint32_t id, bool udp, int fd,
                       const struct ip_endpoint *guest);
/* Later connections go there; those that exist stay, but for UDP clients of a guest that another replaces. */
int uplink_retarget_forward(struct uplink *uplink, uint32_t id, const struct ip_endpoint *guest);
/* Closes the host socket; connections that exist stay. */
int uplink_remove_forward(struct uplink *uplink, uint32_t id);
/* Ends the threads and all flows; waits for them. */
void uplink_stop(struct uplink *uplink);

#endif
