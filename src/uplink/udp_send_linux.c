/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sending what udp_batch.c has put together: all messages of a socket by one sendmmsg(), each with
 * UDP_SEGMENT where it is more than one datagram (udp(7)).
 *
 * A host may refuse segments: they do not fit its path's MTU, its kernel is too old, or a device can sum no
 * checksums. Then the datagrams of that message go one by one, which shows what is wrong with them, and the
 * socket does not try that size again.
 */
#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "uplink/udp_batch.h"

#define CONTROL_BYTES (CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(uint16_t)))

struct udp_sender {
    struct worker *worker;
    struct udp_batch batch;
    struct mmsghdr headers[UDP_BATCH_PIECES];
    struct iovec parts[UDP_BATCH_PIECES];
    int indexes[UDP_BATCH_PIECES]; /* of the messages in headers */
    char control[UDP_BATCH_PIECES][CONTROL_BYTES] __attribute__((aligned(8)));
    uint8_t cut[WIRE_HEADROOM + WIRE_PACKET_MAX]; /* one of several datagrams, for a report */
};

static void set_option(int fd, int level, int name, int value)
{
    /* What the host does not allow (a traffic class) is not worth the datagram. */
    setsockopt(fd, level, name, &value, sizeof(value));
}

static void apply_header(struct udp_socket *socket, const struct udp_header *header)
{
    bool ipv6 = socket->family == AF_INET6, all = !socket->header_known;
    const struct udp_header *has = &socket->header;

    if (all || has->ttl != header->ttl) {
        set_option(socket->fd, SOL_IP, IP_TTL, header->ttl);
        if (ipv6)
            set_option(socket->fd, SOL_IPV6, IPV6_UNICAST_HOPS, header->ttl);
    }
    if (all || has->tos != header->tos) {
        set_option(socket->fd, SOL_IP, IP_TOS, header->tos);
        if (ipv6)
            set_option(socket->fd, SOL_IPV6, IPV6_TCLASS, header->tos);
    }
    if (all || has->dont_fragment != header->dont_fragment) {
        set_option(socket->fd, SOL_IP, IP_MTU_DISCOVER,
                   header->dont_fragment ? IP_PMTUDISC_DO : IP_PMTUDISC_DONT);
        if (ipv6)
            set_option(socket->fd, SOL_IPV6, IPV6_MTU_DISCOVER,
                       header->dont_fragment ? IPV6_PMTUDISC_DO : IPV6_PMTUDISC_WANT);
    }
    socket->header = *header;
    socket->header_known = true;
}

static struct cmsghdr *add_control(struct msghdr *message, struct cmsghdr *after, int level,
                                   int type, const void *data, size_t len_bytes)
{
    struct cmsghdr *control;

    message->msg_controllen += CMSG_SPACE(len_bytes);
    control = after ? CMSG_NXTHDR(message, after) : CMSG_FIRSTHDR(message);
    control->cmsg_level = level;
    control->cmsg_type = type;
    control->cmsg_len = CMSG_LEN(len_bytes);
    memcpy(CMSG_DATA(control), data, len_bytes);
    return control;
}

/* @segment_bytes 0: one datagram. @control has CONTROL_BYTES. */
static void write_control(struct msghdr *header, char *control, const struct udp_target *target,
                          size_t segment_bytes)
{
    uint16_t size = (uint16_t)segment_bytes;
    struct in_pktinfo local4 = {0};
    struct cmsghdr *last = NULL;

    if (!target->has_local && !segment_bytes)
        return;
    memset(control, 0, CONTROL_BYTES); /* CMSG_NXTHDR() looks at what is there */
    header->msg_control = control;
    if (target->has_local && target->to.ss_family == AF_INET) {
        memcpy(&local4.ipi_spec_dst, &target->local.ipi6_addr, sizeof(local4.ipi_spec_dst));
        last = add_control(header, last, SOL_IP, IP_PKTINFO, &local4, sizeof(local4));
    } else if (target->has_local) {
        last = add_control(header, last, SOL_IPV6, IPV6_PKTINFO, &target->local,
                           sizeof(target->local));
    }
    if (segment_bytes)
        add_control(header, last, SOL_UDP, UDP_SEGMENT, &size, sizeof(size));
}

/*
 * An ICMP error that has come for an earlier datagram fails the next send, once (RFC 1122 4.1.3.3). The error
 * itself is in the queue and is read in its turn. So everything is tried twice. Returns how many were sent, or
 * -errno of the first.
 */
static int send_twice(int fd, struct mmsghdr *headers, unsigned len)
{
    for (int attempt = 0; attempt < 2; attempt++) {
        int sent = sendmmsg(fd, headers, len, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (sent > 0)
            return sent;
    }
    return -errno;
}

int udp_send_payload(int fd, const struct udp_target *target, const struct iovec *payload)
{
    char control[CONTROL_BYTES] __attribute__((aligned(8)));
    struct mmsghdr message = {.msg_hdr = {.msg_iov = (struct iovec *)payload, .msg_iovlen = 1}};
    int sent;

    if (target) {
        message.msg_hdr.msg_name = (void *)&target->to;
        message.msg_hdr.msg_namelen = target->to_len;
        write_control(&message.msg_hdr, control, target, 0);
    }
    sent = send_twice(fd, &message, 1);
    return sent < 0 ? sent : 0;
}

static void report(struct udp_sender *sender, struct udp_socket *socket,
                   const struct udp_piece *piece, size_t offset, size_t len_bytes, int error)
{
    const struct wire_packet *packet = &piece->packet;
    struct wire_packet cut;
    size_t cut_bytes;

    COUNT(sender->worker->config.counters, udp_send_failed);
    if (!socket->on_failed)
        return;
    if (packet->payload_len_bytes != len_bytes) {
        offset += (size_t)(piece->payload - packet->payload);
        cut_bytes = wire_cut_segment(sender->cut, sizeof(sender->cut), packet, offset, len_bytes);
        if (!cut_bytes || wire_parse(sender->cut, cut_bytes, &cut) != WIRE_PARSE_OK)
            return;
        packet = &cut;
    }
    socket->on_failed(socket, packet, error);
}

/* Each datagram of a message by itself. */
static void send_singly(struct udp_sender *sender, const struct udp_message *message)
{
    struct udp_socket *socket = message->socket;
    char control[CONTROL_BYTES] __attribute__((aligned(8)));
    struct iovec part;
    struct mmsghdr header = {.msg_hdr = {.msg_name = (void *)&message->target.to,
                                         .msg_namelen = message->target.to_len,
                                         .msg_iov = &part,
                                         .msg_iovlen = 1}};

    write_control(&header.msg_hdr, control, &message->target, 0);
    for (int index = message->first_piece; index >= 0; index = sender->batch.pieces[index].next) {
        const struct udp_piece *piece = &sender->batch.pieces[index];

        for (size_t offset = 0; offset < piece->len_bytes; offset += message->segment_bytes) {
            size_t left_bytes = piece->len_bytes - offset;
            int result;

            part.iov_base = (void *)(piece->payload + offset);
            part.iov_len =
                left_bytes < message->segment_bytes ? left_bytes : message->segment_bytes;
            result = send_twice(socket->fd, &header, 1);
            if (result > 0)
                COUNT_OF(socket->sent, 1);
            else
                report(sender, socket, piece, offset, part.iov_len, -result);
        }
    }
}

static void send_failed(struct udp_sender *sender, const struct udp_message *message, int error)
{
    const struct udp_piece *piece = &sender->batch.pieces[message->first_piece];
    size_t len_bytes = piece->len_bytes;

    /* EINVAL, EMSGSIZE: not that large. EIO: no checksums. */
    if (message->segments > 1 && (error == EINVAL || error == EMSGSIZE || error == EIO)) {
        message->socket->segment_max = (uint16_t)(message->segment_bytes - 1);
        send_singly(sender, message);
        return;
    }
    /* For any other reason all would fail, and one error tells of them. */
    if (len_bytes > message->segment_bytes)
        len_bytes = message->segment_bytes;
    report(sender, message->socket, piece, 0, len_bytes, error);
    COUNT_ADD(sender->worker->config.counters, udp_send_failed, message->segments - 1);
}

/* Sends the first @len of sender->headers, which have the same IP header. */
static void send_run(struct udp_sender *sender, struct udp_socket *socket, unsigned len)
{
    for (unsigned done = 0; done < len;) {
        int sent = send_twice(socket->fd, &sender->headers[done], len - done);

        if (sent < 0) {
            send_failed(sender, &sender->batch.messages[sender->indexes[done++]], -sent);
            continue;
        }
        for (int i = 0; i < sent; i++, done++)
            COUNT_OF(socket->sent, sender->batch.messages[sender->indexes[done]].segments);
    }
}

/* Makes the system's message. Returns how many parts it took. */
static unsigned build(struct udp_sender *sender, const struct udp_message *message, unsigned at,
                      unsigned parts_len)
{
    struct msghdr *header = &sender->headers[at].msg_hdr;
    unsigned first = parts_len;

    for (int index = message->first_piece; index >= 0; index = sender->batch.pieces[index].next) {
        const struct udp_piece *piece = &sender->batch.pieces[index];

        sender->parts[parts_len++] =
            (struct iovec){.iov_base = (void *)piece->payload, .iov_len = piece->len_bytes};
    }
    *header = (struct msghdr){.msg_name = (void *)&message->target.to,
                              .msg_namelen = message->target.to_len,
                              .msg_iov = &sender->parts[first],
                              .msg_iovlen = parts_len - first};
    write_control(header, sender->control[at], &message->target,
                  message->segments > 1 ? message->segment_bytes : 0);
    return parts_len - first;
}

static void send_chain(struct udp_sender *sender, struct udp_socket *socket)
{
    const struct udp_message *run = NULL; /* the first message of those that are in headers */
    unsigned len = 0, parts_len = 0;

    for (int index = socket->first_message; index >= 0;) {
        const struct udp_message *message = &sender->batch.messages[index];

        if (run && !udp_header_equal(&run->header, &message->header)) {
            send_run(sender, socket, len);
            len = parts_len = 0;
            run = NULL;
        }
        if (!run) {
            run = message;
            apply_header(socket, &message->header);
        }
        sender->indexes[len] = index;
        parts_len += build(sender, message, len++, parts_len);
        index = message->next;
    }
    send_run(sender, socket, len);
    socket->first_message = socket->last_message = -1;
}

void udp_sender_flush(struct udp_sender *sender)
{
    struct udp_batch *batch = &sender->batch;

    for (unsigned i = 0; i < batch->messages_len; i++)
        if (batch->messages[i].socket->first_message == (int)i)
            send_chain(sender, batch->messages[i].socket);
    batch->pieces_len = batch->messages_len = 0;
}

void udp_send(struct udp_sender *sender, struct udp_socket *socket, const struct udp_target *target,
              const struct uplink_packet *in)
{
    const uint8_t *payload = in->packet.payload;
    size_t left_bytes = in->packet.payload_len_bytes;

    do {
        size_t piece_bytes = udp_batch_piece_bytes(socket, left_bytes, in->segment_bytes);

        if (!udp_batch_add(&sender->batch, socket, target, &in->packet, payload, piece_bytes,
                           in->segment_bytes)) {
            udp_sender_flush(sender);
            continue;
        }
        payload += piece_bytes;
        left_bytes -= piece_bytes;
        if (!left_bytes)
            return;
    } while (true);
}

void udp_sender_forget(struct udp_sender *sender, struct udp_socket *socket)
{
    if (socket->first_message >= 0)
        udp_sender_flush(sender);
}

int udp_sender_new(struct worker *worker, struct udp_sender **ret_sender)
{
    struct udp_sender *sender = calloc(1, sizeof(*sender));

    if (!sender)
        return -ENOMEM;
    sender->worker = worker;
    *ret_sender = sender;
    return 0;
}

void udp_sender_free(struct udp_sender *sender)
{
    free(sender);
}
