/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker: one thread, one packet device, one event loop. Packets from guests are read, checked, put
 * together where they are fragments, and given to their protocol.
 */
#include "uplink/worker.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "uplink/forward.h"
#include "uplink/udp_socket.h"

/* Packets and commands read before other events get their turn. */
#define PACKETS_A_TURN 64
#define COMMANDS_A_TURN 64
#define PACKET_BUFFER_BYTES (VNET_BYTES + WIRE_PACKET_MAX + 40)
#define PACKET_ALIGN 16
/* What of them is kept until it is sent: a turn of Ethernet's, or some large ones, and no more than caches. */
#define PACKETS_BYTES (128 * 1024 + PACKET_BUFFER_BYTES)

uint64_t worker_hash(const struct worker *worker, const void *key, size_t len_bytes)
{
    return hash_bytes(worker->hash_key, key, len_bytes);
}

uint16_t worker_take_ip_ids(struct worker *worker, unsigned count)
{
    const unsigned ids = (UINT16_MAX + 1u) / worker->config.workers;
    unsigned first = worker->next_ip_id + count <= ids ? worker->next_ip_id : 0;

    worker->next_ip_id = (uint16_t)(first + count);
    return (uint16_t)(worker->config.index * ids + first);
}

int tun_write_parts(struct worker *worker, const struct iovec *parts, unsigned parts_len,
                    unsigned datagrams)
{
    if (writev(worker->config.tun_fd, parts, (int)parts_len) < 0) {
        int error = -errno;

        COUNT_ADD(worker->config.counters, packets_out_failed, datagrams);
        return error;
    }
    COUNT_ADD(worker->config.counters, packets_out, datagrams);
    return 0;
}

static int tun_write(struct worker *worker, const struct wire_vnet_hdr *vnet, const uint8_t *packet,
                     size_t len_bytes)
{
    struct wire_vnet_hdr none = {0};
    struct iovec parts[2] = {
        {.iov_base = (void *)(vnet ? vnet : &none), .iov_len = sizeof(none)},
        {.iov_base = (void *)packet, .iov_len = len_bytes},
    };

    return tun_write_parts(worker, parts, 2, 1);
}

static int tun_emit(void *context, const uint8_t *fragment, size_t len_bytes)
{
    return tun_write(context, NULL, fragment, len_bytes);
}

void tun_send(struct worker *worker, const uint8_t *packet, size_t len_bytes,
              const struct wire_vnet_hdr *vnet)
{
    uint32_t fragment_id;

    if (packet[0] >> 4 == 6 && len_bytes > worker->config.net->mtu && !vnet) {
        /* RFC 8200 4.5 asks for ids that differ; unpredictable ones also resist RFC 7739's attacks. */
        if (getrandom(&fragment_id, sizeof(fragment_id), 0) == sizeof(fragment_id))
            wire_fragment_v6(packet, len_bytes, worker->config.net->mtu, fragment_id, tun_emit,
                             worker);
        return;
    }
    tun_write(worker, vnet, packet, len_bytes);
}

void worker_send_error(struct worker *worker, const struct ip_addr *from,
                       const struct wire_packet *cause, enum wire_unreachable why,
                       uint32_t mtu_bytes)
{
    uint8_t buf[WIRE_ICMP_ERROR_MAX];
    struct ip_addr gateway = rules_gateway(worker, cause->src.family);
    size_t len_bytes = wire_build_icmp_error(buf, from ? from : &gateway, cause, why, mtu_bytes);

    if (len_bytes)
        tun_send(worker, buf, len_bytes, NULL);
}

void worker_refuse(struct worker *worker, const struct wire_packet *cause, enum rule rule)
{
    if (rule == RULE_DENY)
        COUNT(worker->config.counters, drop_denied);
    else if (rule == RULE_EXCLUDED)
        COUNT(worker->config.counters, drop_rule);
    worker_send_error(worker, NULL, cause,
                      rule == RULE_NO_HOST ? WIRE_UNREACHABLE_HOST : WIRE_UNREACHABLE_PROHIBITED,
                      0);
}

bool worker_error_means(int error, enum wire_unreachable *ret_why)
{
    switch (error) {
    case ECONNREFUSED: *ret_why = WIRE_UNREACHABLE_PORT; return true;
    case ENETUNREACH:
    case ENETDOWN:
    case EAFNOSUPPORT: /* the host has no IPv6 at all */
    case EADDRNOTAVAIL: *ret_why = WIRE_UNREACHABLE_NET; return true;
    case EHOSTUNREACH:
    case EHOSTDOWN: *ret_why = WIRE_UNREACHABLE_HOST; return true;
    case EACCES: /* a firewall of the host */
    case EPERM: *ret_why = WIRE_UNREACHABLE_PROHIBITED; return true;
    default: return false;
    }
}

static void worker_dispatch(struct worker *worker, const struct uplink_packet *in)
{
    switch (in->packet.protocol) {
    case WIRE_PROTO_TCP: tcp_take(worker->tcp, in); break;
    case WIRE_PROTO_UDP: udp_take(worker->udp, in); break;
    case WIRE_PROTO_ICMP:
    case WIRE_PROTO_ICMPV6: echo_take(worker->echo, in); break;
    default: COUNT(worker->config.counters, drop_protocol);
    }
}

bool worker_is_guest(const struct worker *worker, const struct ip_addr *addr)
{
    const struct net_config *net = worker->config.net;

    if (addr->family == AF_INET)
        return (ntohl(addr->v4.s_addr) & ip_mask_u32(net->prefix_len)) == net_config_subnet(net);
    return memcmp(addr->bytes, net->prefix6.bytes, 8) == 0;
}

/* The packet that @fragment completes. False where there is none yet, or never. */
static bool worker_reassemble(struct worker *worker, struct wire_packet *fragment, unsigned guest)
{
    const uint8_t *whole;
    size_t len_bytes;
    int result = reassembly_add(worker->reassembly, fragment, guest, loop_now_ms(worker->loop),
                                &whole, &len_bytes);

    if (result == 0)
        return false;
    if (result < 0 || wire_parse(whole, len_bytes, fragment) != WIRE_PARSE_OK) {
        COUNT(worker->config.counters, drop_fragment);
        return false;
    }
    /* The guest has cut it, so others may do so too. */
    fragment->dont_fragment = false;
    return true;
}

/* Takes one packet; the buffer behind @vnet holds @len_bytes of IP, and stays until the end of the turn. */
static void worker_take(struct worker *worker, struct wire_vnet_hdr *vnet, uint8_t *data,
                        size_t len_bytes)
{
    struct uplink_packet in = {.vnet = vnet};
    struct uplink_counters *counters = worker->config.counters;
    bool whole;

    COUNT(counters, packets_in);
    if (wire_parse(data, len_bytes, &in.packet) != WIRE_PARSE_OK) {
        COUNT(counters, drop_malformed);
        return;
    }
    if (!worker_is_guest(worker, &in.packet.src)) {
        COUNT(counters, drop_source);
        return;
    }
    in.guest = worker_sender(worker, &in.packet);
    whole = !in.packet.is_fragment;
    if (!whole && !worker_reassemble(worker, &in.packet, in.guest))
        return;
    if ((whole && !wire_offload_checksum(vnet, data, &in.packet)) ||
        !wire_offload_segments(vnet, &in.packet, &in.segment_bytes)) {
        COUNT(counters, drop_malformed);
        return;
    }
    in.checksum_known = whole && (vnet->flags & (WIRE_VNET_NEEDS_CSUM | WIRE_VNET_DATA_VALID));
    if (!in.checksum_known && !wire_checksum_ok(&in.packet)) {
        COUNT(counters, drop_checksum);
        return;
    }
    worker_dispatch(worker, &in);
    /* The next fragment takes its place. */
    if (!whole)
        udp_sender_flush(worker->udp_sender);
}

static void on_tun(struct loop_source *source, unsigned events)
{
    struct worker *worker = CONTAINER_OF(source, struct worker, tun_source);
    size_t at = 0;

    for (int i = 0; i < PACKETS_A_TURN; i++) {
        uint8_t *buf = worker->packets + at;
        ssize_t len = read(source->fd, buf, PACKET_BUFFER_BYTES);

        if (len < (ssize_t)VNET_BYTES)
            break;
        worker_take(worker, (struct wire_vnet_hdr *)(void *)buf, buf + VNET_BYTES,
                    (size_t)len - VNET_BYTES);
        at += ((size_t)len + PACKET_ALIGN - 1) & ~(size_t)(PACKET_ALIGN - 1);
        if (at > PACKETS_BYTES - PACKET_BUFFER_BYTES) {
            udp_sender_flush(worker->udp_sender);
            at = 0;
        }
    }
    udp_sender_flush(worker->udp_sender);
}

/* How often and how long a command that finds the pipe full is held back. */
#define COMMAND_TRIES 2000
#define COMMAND_RETRY_MS 1

enum uplink_command_type {
    COMMAND_FORGET_GUEST,
    COMMAND_FORGET_SOURCE, /* .guest is no guest here */
    COMMAND_ADD_FORWARD,
    COMMAND_RETARGET_FORWARD,
    COMMAND_REMOVE_FORWARD,
};

/* Written to the worker's pipe: whole or not at all, for it is shorter than PIPE_BUF (pipe(7)). */
struct uplink_command {
    enum uplink_command_type type;
    uint32_t id;
    struct forward *forward;
    struct ip_endpoint guest;
};
_Static_assert(sizeof(struct uplink_command) <= PIPE_BUF, "a command is written at once");

static int worker_command(struct worker *worker, const struct uplink_command *command)
{
    ssize_t len;

    do {
        len = write(worker->command_fd[1], command, sizeof(*command));
    } while (len < 0 && errno == EINTR);
    return len < 0 ? -errno : 0;
}

/* The same, but waits for the worker to read where it has not kept up. */
static int worker_command_in_turn(struct worker *worker, const struct uplink_command *command)
{
    struct pollfd room = {.fd = worker->command_fd[1], .events = POLLOUT};
    int result = worker_command(worker, command);

    for (int tries = 0; result == -EAGAIN && tries < COMMAND_TRIES; tries++) {
        poll(&room, 1, COMMAND_RETRY_MS);
        result = worker_command(worker, command);
    }
    return result;
}

static void worker_obey(struct worker *worker, const struct uplink_command *command)
{
    unsigned guest;

    switch (command->type) {
    case COMMAND_FORGET_GUEST:
        guest = worker_guest_of(worker, &command->guest.addr);
        tcp_forget_guest(worker->tcp, guest);
        udp_forget_guest(worker->udp, guest);
        echo_forget_guest(worker->echo, guest);
        forwarder_forget_guest(worker->forwarder, &command->guest.addr);
        forward_udp_forget_guest(worker->forward_udp, &command->guest.addr);
        quota_forget(&worker->quota, guest);
        break;
    case COMMAND_FORGET_SOURCE:
        tcp_forget_source(worker->tcp, &command->guest.addr);
        forwarder_forget_source(worker->forwarder, &command->guest.addr);
        break;
    case COMMAND_ADD_FORWARD:
        forwarder_add(worker->forwarder, command->forward, &command->guest);
        break;
    case COMMAND_RETARGET_FORWARD:
        forwarder_retarget(worker->forwarder, command->id, &command->guest);
        break;
    case COMMAND_REMOVE_FORWARD: forwarder_remove(worker->forwarder, command->id); break;
    }
}

static void on_command(struct loop_source *source, unsigned events)
{
    struct worker *worker = CONTAINER_OF(source, struct worker, command_source);
    struct uplink_command commands[COMMANDS_A_TURN];
    ssize_t len = read(source->fd, commands, sizeof(commands));

    if (len == 0)
        loop_stop(worker->loop);
    for (ssize_t i = 0; i < len / (ssize_t)sizeof(commands[0]); i++)
        worker_obey(worker, &commands[i]);
}

static void *worker_main(void *context)
{
    struct worker *worker = context;
    int result = loop_run(worker->loop);

    if (result < 0) {
        log_error("the uplink's event loop: %s", strerror(-result));
        abort(); /* the parent starts a new engine */
    }
    return NULL;
}

static void worker_free(struct worker *worker)
{
    forwarder_free(worker->forwarder);
    forward_udp_free(worker->forward_udp);
    tcp_free(worker->tcp);
    udp_free(worker->udp);
    udp_sender_free(worker->udp_sender);
    udp_receiver_free(worker->udp_receiver);
    echo_free(worker->echo);
    if (worker->relays.loop)
        relay_group_done(&worker->relays);
    host_view_free(worker->host);
    reassembly_free(worker->reassembly);
    quota_done(&worker->quota);
    for (int i = 0; i < 2; i++)
        if (worker->command_fd[i] >= 0)
            close(worker->command_fd[i]);
    loop_free(worker->loop);
    free(worker->packets);
    free(worker->buffer);
    free(worker);
}

int worker_start(const struct worker_config *config, struct worker **ret_worker, struct err *err)
{
    struct worker *worker = calloc(1, sizeof(*worker));
    sigset_t all, old;
    int result;

    if (!worker)
        return err_set(err, -ENOMEM, "out of memory");
    worker->config = *config;
    worker->command_fd[0] = worker->command_fd[1] = -1;
    worker->tun_source = (struct loop_source){.on_event = on_tun, .fd = -1};
    worker->command_source = (struct loop_source){.on_event = on_command, .fd = -1};
    worker->buffer = malloc(WORKER_BUFFER_BYTES);
    worker->packets = malloc(PACKETS_BYTES);
    worker->reassembly = reassembly_new();
    result = worker->buffer && worker->packets && worker->reassembly
                 ? loop_new_with_clock(clock_world_ms, &worker->loop)
                 : -ENOMEM;
    if (result == 0)
        result = host_view_new(config->host, &worker->host);
    if (result == 0 &&
        getrandom(worker->hash_key, sizeof(worker->hash_key), 0) != sizeof(worker->hash_key))
        result = -EIO;
    if (result == 0 && pipe2(worker->command_fd, O_CLOEXEC | O_NONBLOCK) < 0)
        result = -errno;
    if (result == 0)
        result = worker_divide(worker);
    if (result == 0) {
        relay_group_init(&worker->relays, worker->loop, worker->buffer);
        worker->relays.quota = &worker->quota;
        worker->relays.pipes_max = RELAY_PIPES_MAX / config->workers;
    }
    if (result == 0)
        result = udp_sender_new(worker, &worker->udp_sender);
    if (result == 0)
        result = udp_receiver_new(worker, &worker->udp_receiver);
    if (result == 0)
        result = forward_udp_new(worker, &worker->forward_udp);
    if (result == 0)
        result = forwarder_new(worker, &worker->forwarder);
    if (result == 0)
        result = tcp_new(worker, &worker->tcp);
    if (result == 0)
        result = udp_new(worker, &worker->udp);
    if (result == 0)
        result = echo_new(worker, &worker->echo);
    if (result == 0)
        result = loop_add(worker->loop, &worker->command_source, worker->command_fd[0], LOOP_IN);
    if (result == 0 && config->tun_fd >= 0)
        result = loop_add(worker->loop, &worker->tun_source, config->tun_fd, LOOP_IN);
    if (result == 0) {
        /* Signals are the main thread's. */
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        result = -pthread_create(&worker->thread, NULL, worker_main, worker);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
    }
    if (result < 0) {
        worker_free(worker);
        return err_set(err, result, "cannot start the uplink: %s", strerror(-result));
    }
    *ret_worker = worker;
    return 0;
}

void worker_forget_guest(struct worker *worker, struct ip_addr guest)
{
    /* Where the pipe is full the flows just time out. */
    worker_command(worker,
                   &(struct uplink_command){.type = COMMAND_FORGET_GUEST, .guest = {guest}});
}

void worker_forget_source(struct worker *worker, struct ip_addr source)
{
    /* Where the pipe is full they end when they time out. */
    worker_command(worker,
                   &(struct uplink_command){.type = COMMAND_FORGET_SOURCE, .guest = {source}});
}

int worker_add_forward(struct worker *worker, uint32_t id, bool udp, int fd,
                       const struct ip_endpoint *guest)
{
    struct forward *forward = calloc(1, sizeof(*forward));
    struct uplink_command command = {
        .type = COMMAND_ADD_FORWARD, .forward = forward, .guest = *guest};
    int result;

    if (!forward)
        return -ENOMEM;
    forward->id = id;
    forward->udp = udp;
    forward->fd = fd;
    result = worker_command_in_turn(worker, &command);
    if (result < 0)
        free(forward);
    return result;
}

int worker_retarget_forward(struct worker *worker, uint32_t id, const struct ip_endpoint *guest)
{
    return worker_command_in_turn(
        worker,
        &(struct uplink_command){.type = COMMAND_RETARGET_FORWARD, .id = id, .guest = *guest});
}

int worker_remove_forward(struct worker *worker, uint32_t id)
{
    return worker_command_in_turn(
        worker, &(struct uplink_command){.type = COMMAND_REMOVE_FORWARD, .id = id});
}

void worker_stop(struct worker *worker)
{
    if (!worker)
        return;
    close(worker->command_fd[1]);
    worker->command_fd[1] = -1;
    pthread_join(worker->thread, NULL);
    worker_free(worker);
}
