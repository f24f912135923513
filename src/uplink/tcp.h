/* SPDX-License-Identifier: Apache-2.0 */
/* A guest's connection, as tcp.c and tcp_attempt.c share it. Only for them. */
#ifndef OPENVMNET_UPLINK_TCP_H
#define OPENVMNET_UPLINK_TCP_H

#include "uplink/tcp_mapping.h"
#include "uplink/tcp_outside.h"
#include "uplink/worker.h"

/* The sides of its relay. */
#define HOST 0
#define GUEST 1

/* A guest that asks once is waited for so long at least (tcp_attempt.c). */
#define TCP_SYN_PATIENCE_MS 5000

enum tcp_state {
    TCP_CONNECTING,
    TCP_OFFERED,
    TCP_OPEN,
};

struct tcp_key {
    struct ip_endpoint guest, dst;
};

struct tcp_flow {
    struct table_node node;
    struct list waiting; /* in the list of its state */
    struct tcp *tcp;
    struct tcp_key key;
    unsigned who;         /* the guest, for its quota */
    struct list of_guest; /* until it is open, in the quota's list, oldest first */
    enum tcp_state state;
    uint64_t began_ms;   /* when the guest's first SYN came */
    uint64_t asked_ms;   /* when the last one did */
    uint64_t expires_ms; /* unless something happens; of no meaning once it is open */
    struct relay relay;
    struct tcp_member member; /* of those with the same address and port of the guest */
    /* The guest's last SYN with its virtio-net header, until the connection is open. */
    uint8_t *syn;
    size_t syn_len_bytes, syn_max_bytes;
};

struct tcp {
    struct worker *worker;
    struct table flows;
    struct table mappings;
    struct list connecting, offered, open;
    struct loop_source listener[2];
    struct loop_timer timer;
    bool paused;           /* accepting, for want of descriptors */
    uint64_t told_port_ms; /* when it was said that the host has no port left; 0: never */
    struct tcp_ports ports;
    uint64_t attempts; /* to connect: with the worker's key a source of randomness */
};

uint64_t tcp_hash(const struct tcp *tcp, const struct tcp_key *key);
void tcp_flow_set_state(struct tcp_flow *flow, enum tcp_state state);
/* @reset: those sides that have not ended see a reset instead of an end. */
void tcp_flow_free(struct tcp_flow *flow, bool reset);

/* The first SYN to a destination: begins to connect to it. */
void tcp_attempt(struct tcp *tcp, const struct uplink_packet *in, const struct tcp_key *key);
/* The guest's SYN, again, while the host connects. It may have changed: its port may be used anew. */
void tcp_attempt_again(struct tcp_flow *flow, const struct uplink_packet *in);

#endif
