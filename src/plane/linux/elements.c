/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A batch is a begin, messages that each change some elements of one set, and an end (linux/netfilter/nfnetlink.h).
 * The kernel works it off within the system call that sends it, so all of its answer is there afterwards: an
 * error for each message that is wrong, and for the last one, which asks for it, a word in any case.
 */
#include "plane/linux/elements.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Of one message: the length of its list has to fit into 16 bits. */
#define LIST_BYTES_MAX 60000
/* What a call of elements_put() can take: the headers of a message with both names, and an element. */
#define PUT_BYTES_MAX 256
/* Begin and end. */
#define FRAME_BYTES 64
/* The elements of 1,000 ports are some 250 KiB; without rights over the machine there is not much more to be had. */
#define SEND_BYTES (1 << 20)
#define ANSWER_BYTES 8192

int elements_open(struct mnl_socket **ret_socket)
{
    struct mnl_socket *socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
    int bytes = SEND_BYTES, one = 1, error;

    if (!socket)
        return -errno;
    /* A batch has to fit into the buffer. An error without all of the message that it is about fits into ours. */
    if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0 ||
        setsockopt(mnl_socket_get_fd(socket), SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)) < 0 ||
        mnl_socket_setsockopt(socket, NETLINK_CAP_ACK, &one, sizeof(one)) < 0) {
        error = -errno;
        mnl_socket_close(socket);
        return error;
    }
    *ret_socket = socket;
    return 0;
}

struct nlmsghdr *nfnetlink_put_header(void *at, uint32_t sequence, uint16_t type, uint16_t flags,
                                      uint8_t family, uint16_t resource)
{
    struct nlmsghdr *header = mnl_nlmsg_put_header(at);
    struct nfgenmsg *general;

    header->nlmsg_type = type;
    header->nlmsg_flags = NLM_F_REQUEST | flags;
    header->nlmsg_seq = sequence;
    general = mnl_nlmsg_put_extra_header(header, sizeof(*general));
    general->nfgen_family = family;
    general->version = NFNETLINK_V0;
    general->res_id = htons(resource);
    return header;
}

static struct nlmsghdr *put_header(struct elements *batch, uint16_t type, uint16_t flags,
                                   uint8_t family, uint16_t resource)
{
    return nfnetlink_put_header(batch->buf + batch->len_bytes, ++batch->messages, type, flags,
                                family, resource);
}

static void put_frame(struct elements *batch, uint16_t type)
{
    batch->len_bytes += put_header(batch, type, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES)->nlmsg_len;
}

void elements_begin(struct elements *batch, const char *table, size_t max)
{
    *batch = (struct elements){.table = table};
    batch->buf = calloc(1, max * PUT_BYTES_MAX + FRAME_BYTES);
    if (batch->buf)
        put_frame(batch, NFNL_MSG_BATCH_BEGIN);
}

static void close_message(struct elements *batch)
{
    if (!batch->message)
        return;
    if (batch->list)
        mnl_attr_nest_end(batch->message, batch->list);
    batch->len_bytes += batch->message->nlmsg_len;
    batch->message = NULL;
    batch->list = NULL;
}

static void open_message(struct elements *batch, uint16_t type, const char *set)
{
    uint16_t flags = type == NFT_MSG_NEWSETELEM ? NLM_F_CREATE : 0;

    close_message(batch);
    batch->type = type;
    batch->set = set;
    batch->message =
        put_header(batch, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), flags, NFPROTO_BRIDGE, 0);
    mnl_attr_put_strz(batch->message, NFTA_SET_ELEM_LIST_TABLE, batch->table);
    mnl_attr_put_strz(batch->message, NFTA_SET_ELEM_LIST_SET, set);
}

static void put_data(struct nlmsghdr *message, uint16_t attribute, const uint8_t *data,
                     uint16_t len)
{
    struct nlattr *nest = mnl_attr_nest_start(message, attribute);

    mnl_attr_put(message, NFTA_DATA_VALUE, len, data);
    mnl_attr_nest_end(message, nest);
}

void elements_put(struct elements *batch, uint16_t type, const char *set,
                  const struct element *element)
{
    struct nlattr *item;

    if (!batch->buf)
        return;
    if (!element || !batch->list || batch->type != type || batch->set != set ||
        batch->message->nlmsg_len > LIST_BYTES_MAX)
        open_message(batch, type, set);
    if (!element)
        return;
    if (!batch->list)
        batch->list = mnl_attr_nest_start(batch->message, NFTA_SET_ELEM_LIST_ELEMENTS);
    item = mnl_attr_nest_start(batch->message, NFTA_LIST_ELEM);
    put_data(batch->message, NFTA_SET_ELEM_KEY, element->key, element->key_len);
    if (element->value_len)
        put_data(batch->message, NFTA_SET_ELEM_DATA, element->value, element->value_len);
    mnl_attr_nest_end(batch->message, item);
}

/* Reads all of the answer. */
static int read_answer(struct mnl_socket *socket)
{
    int result = 0, answers = 0;
    char buf[ANSWER_BYTES];
    ssize_t len;

    while ((len = recv(mnl_socket_get_fd(socket), buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
        answers++;
        if (mnl_cb_run(buf, (size_t)len, 0, 0, NULL, NULL) < 0 && result == 0)
            result = -errno;
    }
    if (len < 0 && errno != EAGAIN && result == 0)
        result = -errno;
    return result == 0 && !answers ? -EIO : result;
}

int elements_send(struct elements *batch, struct mnl_socket *socket)
{
    int result = -ENOMEM;

    if (!batch->buf)
        return result;
    if (batch->message)
        batch->message->nlmsg_flags |= NLM_F_ACK;
    close_message(batch);
    put_frame(batch, NFNL_MSG_BATCH_END);
    if (mnl_socket_sendto(socket, batch->buf, batch->len_bytes) < 0)
        result = -errno;
    else
        result = read_answer(socket);
    free(batch->buf);
    batch->buf = NULL;
    return result;
}
