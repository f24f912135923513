/* SPDX-License-Identifier: Apache-2.0 */
/* What the protocols of a worker share: its loop, its packet device, its rules. Only for src/uplink. */
#ifndef OPENVMNET_UPLINK_WORKER_H
#define OPENVMNET_UPLINK_WORKER_H

#include <pthread.h>
#include <sys/uio.h>

#include "base/loop.h"
#include "base/table.h"
#include "uplink/relay.h"
#include "uplink/uplink.h"
#include "wire/packet.h"
#include "wire/reassembly.h"

#define VNET_BYTES sizeof(struct wire_vnet_hdr)
#define WORKER_BUFFER_BYTES (256 * 1024)

struct tcp;
struct udp;
struct echo;
struct forwarder;
struct forward_udp;
struct udp_sender;
struct udp_receiver;

/* What the network's own rules say of a destination, so that a thousand of them are not read for each packet. */
#define RULE_VERDICTS 1024
struct rule_verdict {
    struct ip_endpoint dst; /* family 0: none yet */
    bool allow;
};

struct worker {
    struct worker_config config;
    struct loop *loop;
    pthread_t thread;
    struct loop_source tun_source;
    struct loop_source command_source;
    int command_fd[2]; /* others write commands to [1]; closing it ends the thread */
    struct host_view *host;
    struct reassembly *reassembly;
    struct tcp *tcp;
    struct udp *udp;
    struct udp_sender *udp_sender;
    struct udp_receiver *udp_receiver;
    struct echo *echo;
    struct forwarder *forwarder;
    struct forward_udp *forward_udp;
    struct relay_group relays; /* of all TCP flows */
    struct quota quota;        /* of all tables that guests fill */
    uint64_t hash_key[2];
    uint16_t next_ip_id;
    struct rule_verdict verdicts[RULE_VERDICTS];
    uint8_t *packets; /* that were read in this turn */
    uint8_t
        *buffer; /* WORKER_BUFFER_BYTES for moving bytes; its content lasts no longer than a call */
};

/* A packet as it came from the device, with its virtio-net header. */
struct uplink_packet {
    const struct wire_vnet_hdr *vnet; /* points in front of packet.data, in the same buffer */
    struct wire_packet packet;
    size_t
        segment_bytes; /* UDP: where less than the payload, that is so many datagrams (wire_offload_segments) */
    bool checksum_known; /* computed by the guest's device or already verified */
    unsigned guest;      /* whose share it is, see quota.h */
};

/* Makes a worker and starts its thread. 0 or -errno. */
int worker_start(const struct worker_config *config, struct worker **ret_worker, struct err *err);
/* See the uplink's functions of the same names. Any thread. */
void worker_forget_guest(struct worker *worker, struct ip_addr guest);
void worker_forget_source(struct worker *worker, struct ip_addr source);
void worker_add_usage(const struct worker *worker, struct ip_addr guest,
                      struct uplink_usage *usage);
int worker_add_forward(struct worker *worker, uint32_t id, bool udp, int fd,
                       const struct ip_endpoint *guest);
int worker_retarget_forward(struct worker *worker, uint32_t id, const struct ip_endpoint *guest);
int worker_remove_forward(struct worker *worker, uint32_t id);
void worker_stop(struct worker *worker);

/*
 * The first of @count IPv4 identifications, one after the other, for packets to guests. Those of two workers
 * differ: what both send in fragments in the name of one address the guest must not put together (RFC 791 3.2).
 */
uint16_t worker_take_ip_ids(struct worker *worker, unsigned count);

/* Hash of a flow's key for the worker's tables. */
uint64_t worker_hash(const struct worker *worker, const void *key, size_t len_bytes);

/*
 * Makes room for one more TCP flow of a guest; false where it has its share, or no descriptors are left for more
 * than what exists. That is counted.
 */
bool worker_take_flow(struct worker *worker, unsigned guest);
void worker_give_flow(struct worker *worker, unsigned guest);
/* Counts, and says where it is news, that a guest has its share of a table. */
void worker_refuse_share(struct worker *worker, enum quota_table table, unsigned guest);
/* The guest of an address on the network, for its quota. 0 for an IPv6 one: that says nothing. */
unsigned worker_guest_of(const struct worker *worker, const struct ip_addr *addr);
/* Whose packet it is: the guard has written the guest's number into the flow label of an IPv6 one. */
unsigned worker_sender(const struct worker *worker, const struct wire_packet *packet);
/* Tells the worker's quota how large the tables are. 0 or -ENOMEM. */
int worker_divide(struct worker *worker);

/* A guest's address: nothing is sent, or answered, in the name of any other. */
bool worker_is_guest(const struct worker *worker, const struct ip_addr *addr);

/*
 * Sends a packet to a guest. @vnet NULL: the checksums are complete. IPv6 packets over the network's MTU
 * are cut into fragments here; IPv4 packets are cut by the kernel.
 */
void tun_send(struct worker *worker, const uint8_t *packet, size_t len_bytes,
              const struct wire_vnet_hdr *vnet);

/*
 * Writes a packet of @datagrams (1 for anything else) in parts, of which the first is its virtio-net header. 0
 * or -errno; both are counted.
 */
int tun_write_parts(struct worker *worker, const struct iovec *parts, unsigned parts_len,
                    unsigned datagrams);

/*
 * What becomes of a packet from a guest to @dst (port 0: a protocol without ports): with the gateway's address
 * it means the host, as far as the network's host-ports say. Loopback, link-local and the like, and the host's
 * addresses by their own name, are denied; the answer is tested after the translation, to which loopback is
 * only right with host-loopback. In host mode all but the gateway is denied. What is left is up to the rules in
 * the network's file. RULE_EXCLUDED: by host-ports or by these rules. RULE_NO_HOST: the host has no address of that family to
 * be reached by.
 */
enum rule {
    RULE_ALLOW,
    RULE_DENY,
    RULE_EXCLUDED,
    RULE_NO_HOST
};
enum rule rules_outbound(struct worker *worker, const struct ip_endpoint *dst,
                         struct ip_endpoint *ret_dst);
/* The reverse: an address outside as guests see it. One of the host's own is the gateway. */
struct ip_addr rules_inbound(struct worker *worker, const struct ip_addr *src);
/*
 * How a guest of @family sees @client of a forward. True: by its own address (an IPv4 one is not IPv4-mapped
 * any more). False: by the gateway's, for the guest could not answer to its own: it is the host, of the other
 * family, an address that means somebody else there (link-local, of the network), or the guests have no way out
 * of their network. The port is the client's in any case.
 */
bool rules_client(struct worker *worker, const struct ip_endpoint *client, int family,
                  struct ip_endpoint *ret_seen);
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
void tcp_forget_guest(struct tcp *tcp, unsigned guest);
/* Ends connections whose host side has that address: it is the host's no more. */
void tcp_forget_source(struct tcp *tcp, const struct ip_addr *source);

int udp_new(struct worker *worker, struct udp **ret_udp);
void udp_free(struct udp *udp);
void udp_take(struct udp *udp, const struct uplink_packet *in);
void udp_forget_guest(struct udp *udp, unsigned guest);

int echo_new(struct worker *worker, struct echo **ret_echo);
void echo_free(struct echo *echo);
void echo_take(struct echo *echo, const struct uplink_packet *in);
void echo_forget_guest(struct echo *echo, unsigned guest);

#endif
