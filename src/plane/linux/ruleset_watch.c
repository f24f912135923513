/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel tells of each change of a batch, and at its end, in a message of the new generation, whose batch it was: by
 * the process id of its first pid namespace, which getpid() is not in a container. So the kernel is asked for ours.
 */
#include "plane/linux/ruleset_watch.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/table.h"

/* A message for each element that a batch has, our own too, and a network may have some ten thousands. */
#define QUEUE_BYTES (32 << 20)
/* Of every message that names a table it is the first (NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, …). */
#define ATTR_TABLE 1

struct ruleset_watch {
    struct loop *loop;
    struct loop_source source;
    struct mnl_socket *socket;
    const char *table;
    uint32_t own_pid; /* in the order of the network, as messages have it */
    bool lost;        /* in the batch that is being told */
    void (*on_change)(void *context, bool lost, const char *program);
    void *context;
};

static const struct nlattr *find_attr(const struct nlmsghdr *header, int type)
{
    const struct nlattr *attr;

    mnl_attr_for_each(attr, header,
                      sizeof(struct nfgenmsg)) if (mnl_attr_get_type(attr) == type) return attr;
    return NULL;
}

static void on_generation(struct ruleset_watch *watch, const struct nlmsghdr *header)
{
    const struct nlattr *pid = find_attr(header, NFTA_GEN_PROC_PID);
    const struct nlattr *name = find_attr(header, NFTA_GEN_PROC_NAME);
    bool lost = watch->lost;

    watch->lost = false;
    if (pid && mnl_attr_get_u32(pid) == watch->own_pid)
        return;
    watch->on_change(watch->context, lost, name ? mnl_attr_get_str(name) : "");
}

static int on_own_generation(const struct nlmsghdr *header, void *context)
{
    struct ruleset_watch *watch = context;
    const struct nlattr *pid = find_attr(header, NFTA_GEN_PROC_PID);

    watch->own_pid = pid ? mnl_attr_get_u32(pid) : 0;
    return MNL_CB_STOP;
}

/* The answer to a question for the generation names who has asked. */
static int ask_own_pid(struct ruleset_watch *watch)
{
    char buf[1024];
    struct nlmsghdr *header = mnl_nlmsg_put_header(buf);
    struct nfgenmsg *message = mnl_nlmsg_put_extra_header(header, sizeof(*message));
    ssize_t len;

    header->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN;
    header->nlmsg_flags = NLM_F_REQUEST;
    message->nfgen_family = AF_UNSPEC;
    message->version = NFNETLINK_V0;
    if (mnl_socket_sendto(watch->socket, header, header->nlmsg_len) < 0)
        return -errno;
    len = mnl_socket_recvfrom(watch->socket, buf, sizeof(buf));
    if (len < 0 || mnl_cb_run(buf, (size_t)len, 0, 0, on_own_generation, watch) < 0)
        return -errno;
    return 0;
}

static int on_message(const struct nlmsghdr *header, void *context)
{
    struct ruleset_watch *watch = context;
    const struct nlattr *table;

    if (header->nlmsg_type >> 8 != NFNL_SUBSYS_NFTABLES)
        return MNL_CB_OK;
    switch (header->nlmsg_type & 0xff) {
    case NFT_MSG_NEWGEN: on_generation(watch, header); break;
    case NFT_MSG_DELTABLE:
    case NFT_MSG_DELCHAIN:
    case NFT_MSG_DELRULE:
    case NFT_MSG_DELSET:
    case NFT_MSG_DELSETELEM:
        table = find_attr(header, ATTR_TABLE);
        watch->lost |= table && strcmp(mnl_attr_get_str(table), watch->table) == 0;
        break;
    default: break;
    }
    return MNL_CB_OK;
}

static void on_readable(struct loop_source *source, unsigned events)
{
    struct ruleset_watch *watch = CONTAINER_OF(source, struct ruleset_watch, source);
    char buf[32768];
    ssize_t len;

    while ((len = recv(source->fd, buf, sizeof(buf), MSG_DONTWAIT)) != 0) {
        if (len > 0)
            mnl_cb_run(buf, (size_t)len, 0, 0, on_message, watch);
        else if (errno != ENOBUFS)
            break;
        else {
            watch->lost = false; /* of a batch that was cut in half */
            watch->on_change(watch->context, true, "");
        }
    }
}

int ruleset_watch_new(const char *table, struct ruleset_watch **ret_watch)
{
    struct ruleset_watch *watch = calloc(1, sizeof(*watch));
    int group = NFNLGRP_NFTABLES, bytes = QUEUE_BYTES, result = 0;

    if (!watch)
        return -ENOMEM;
    watch->source = (struct loop_source){.on_event = on_readable, .fd = -1};
    watch->table = table;
    watch->socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
    /* Without the right to that much it is as much as all get. */
    if (watch->socket)
        setsockopt(mnl_socket_get_fd(watch->socket), SOL_SOCKET, SO_RCVBUFFORCE, &bytes,
                   sizeof(bytes));
    if (!watch->socket || mnl_socket_bind(watch->socket, 0, MNL_SOCKET_AUTOPID) < 0)
        result = -errno;
    if (result == 0)
        result = ask_own_pid(watch);
    if (result == 0 &&
        mnl_socket_setsockopt(watch->socket, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
        result = -errno;
    if (result < 0) {
        ruleset_watch_free(watch);
        return result;
    }
    *ret_watch = watch;
    return 0;
}

int ruleset_watch_run(struct ruleset_watch *watch, struct loop *loop,
                      void (*on_change)(void *context, bool lost, const char *program),
                      void *context)
{
    watch->loop = loop;
    watch->on_change = on_change;
    watch->context = context;
    return loop_add(loop, &watch->source, mnl_socket_get_fd(watch->socket), LOOP_IN);
}

void ruleset_watch_free(struct ruleset_watch *watch)
{
    if (!watch)
        return;
    if (watch->loop)
        loop_remove(watch->loop, &watch->source);
    if (watch->socket)
        mnl_socket_close(watch->socket);
    free(watch);
}
