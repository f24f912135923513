/* SPDX-License-Identifier: Apache-2.0 */
/* What the protocols of a worker share: its loop, its packet device, its rules. Only for src/uplink. */
#ifndef OPENVMNET_UPLINK_WORKER_H
#define OPENVMNET_UPLINK_WORKER_H

#include <pthread.h>

#include "base/loop.h"
#include "base/table.h"
#include "uplink/uplink.h"
#include "wire/packet.h"
#include "wire/reassembly.h"

#define VNET_BYTES sizeof(struct wire_vnet_hdr)
#define WORKER_BUFFER_BYTES (256 * 1024)

struct tcp;
struct udp;
struct echo;

struct worker {
    struct worker_config config;
    struct loop *loop;
    pthread_t thread;
    struct loop_source tun_source;
    struct loop_source command_source;
    int command_fd[2]; /* others write addresses of guests to [1]; closing it ends the thread */
    struct host_view *host;
    struct reassembly *reassembly;
    struct tcp *tcp;
    struct udp *udp;
    struct echo *echo;
    uint64_t hash_key[2];
    uint16_t next_ip_id;
    uint8_t
        *buffer; /* WORKER_BUFFER_BYTES for moving bytes; its content lasts no longer than a call */
};

/* A packet as it came from the device, with its virtio-net header. */
struct uplink_packet {
    const struct wire_vnet_hdr *vnet; /* points in front of packet.data, in the same buffer */
    struct wire_packet packet;
    bool checksum_known; /* computed by the guest's device or already verified */
};

/* Hash of a flow's key for the worker's tables. */
uint64_t worker_hash(const struct worker *worker, const void *key, size_t len_bytes);

/*
 * Sends a packet to a guest. @vnet NULL: the checksums are complete. IPv6 packets over the network's MTU
 * are cut into fragments here; IPv4 packets are cut by the kernel.
 */
void tun_send(struct worker *worker, const uint8_t *packet, size_t len_bytes,
              const struct wire_vnet_hdr *vnet);

/*
 * What becomes of a packet from a guest to @dst: with the gateway's address it means the host. Loopback,
 * link-local and the like, and the host's addresses by their own name, are denied; the answer is tested
 * after the translation. RULE_NO_HOST: the host has no address of that family to be reached by.
 */
enum rule {
    RULE_ALLOW,
    RULE_DENY,
    RULE_NO_HOST
};
enum rule rules_outbound(struct worker *worker, const struct ip_endpoint *dst,
                         struct ip_endpoint *ret_dst);
/* The reverse: an address outside as guests see it. One of the host's own is the gateway. */
struct ip_addr rules_inbound(struct worker *worker, const struct ip_addr *src);
/* The gateway's address of a family, in whose name ICMP errors are sent. */
struct ip_addr rules_gateway(const struct worker *worker, int family);

/* Sends the guest an ICMP error, from @from or (NULL) from the gateway, about its packet. */
void worker_send_error(struct worker *worker, const struct ip_addr *from,
                       const struct wire_packet *cause, enum wire_unreachable why,
                       uint32_t mtu_bytes);
/* Answers what rules_outbound() did not allow, and counts it. */
void worker_refuse(struct worker *worker, const struct wire_packet *cause, enum rule rule);
/* Maps the errno of a socket to what an ICMP error would have said. False where it says nothing. */
bool worker_error_means(int error, enum wire_unreachable *ret_why);

/* The protocols. Each takes packets of its kind and forgets a guest's flows when told. */
int tcp_new(struct worker *worker, struct tcp **ret_tcp);
void tcp_free(struct tcp *tcp);
void tcp_take(struct tcp *tcp, const struct uplink_packet *in);
void tcp_forget_guest(struct tcp *tcp, const struct ip_addr *guest);

int udp_new(struct worker *worker, struct udp **ret_udp);
void udp_free(struct udp *udp);
void udp_take(struct udp *udp, const struct uplink_packet *in);
void udp_forget_guest(struct udp *udp, const struct ip_addr *guest);

int echo_new(struct worker *worker, struct echo **ret_echo);
void echo_free(struct echo *echo);
void echo_take(struct echo *echo, const struct uplink_packet *in);
void echo_forget_guest(struct echo *echo, const struct ip_addr *guest);

#endif
