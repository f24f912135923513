/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The workers of a network together. The kernel chooses which of them has a packet of a guest (base/spread.h);
 * which has a forward is chosen here. A TCP forward can be anywhere: its connections are sockets. The answers to a
 * UDP forward's clients are packets, so it is with the worker that gets those of its guest, and moves when
 * another guest takes over.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/spread.h"
#include "base/table.h"
#include "uplink/forward.h"

/* One line of the cache for one writer: workers do not slow each other down by counting. */
struct place {
    _Alignas(64) struct uplink_counters counters;
    struct worker *worker;
};

/* Where a forward is now. */
struct forward_place {
    struct table_node node; /* the hash is the id */
    int fd;                 /* the worker's, open until the worker is told to remove the forward */
    bool udp;
    unsigned worker;
};

struct uplink {
    struct place places[NET_WORKERS_MAX];
    unsigned workers;
    struct table forwards;
};

int uplink_start(const struct worker_config *configs, unsigned workers, struct uplink **ret_uplink,
                 struct err *err)
{
    struct uplink *uplink = aligned_alloc(_Alignof(struct uplink), sizeof(*uplink));
    int result = 0;

    if (!uplink)
        return err_set(err, -ENOMEM, "out of memory");
    memset(uplink, 0, sizeof(*uplink));
    for (unsigned i = 0; i < workers && result == 0; i++) {
        struct worker_config config = configs[i];

        config.index = i;
        config.workers = workers;
        config.counters = &uplink->places[i].counters;
        result = worker_start(&config, &uplink->places[i].worker, err);
        if (result == 0)
            uplink->workers++;
    }
    if (result < 0) {
        uplink_stop(uplink);
        return result;
    }
    *ret_uplink = uplink;
    return 0;
}

void uplink_stop(struct uplink *uplink)
{
    if (!uplink)
        return;
    for (unsigned i = 0; i < uplink->workers; i++)
        worker_stop(uplink->places[i].worker);
    for (unsigned i = 0; i < TABLE_BUCKETS && uplink->forwards.len; i++) {
        while (uplink->forwards.buckets[i]) {
            struct table_node *node = uplink->forwards.buckets[i];

            table_remove(&uplink->forwards, node);
            free(CONTAINER_OF(node, struct forward_place, node));
        }
    }
    free(uplink);
}

const struct uplink_counters *uplink_counters(const struct uplink *uplink, unsigned worker)
{
    return worker < uplink->workers ? &uplink->places[worker].counters : NULL;
}

struct uplink_usage uplink_usage(const struct uplink *uplink, struct ip_addr guest)
{
    struct uplink_usage usage = {0};

    for (unsigned i = 0; i < uplink->workers; i++)
        worker_add_usage(uplink->places[i].worker, guest, &usage);
    return usage;
}

void uplink_forget_guest(struct uplink *uplink, struct ip_addr guest)
{
    for (unsigned i = 0; i < uplink->workers; i++)
        worker_forget_guest(uplink->places[i].worker, guest);
}

void uplink_forget_source(struct uplink *uplink, struct ip_addr source)
{
    for (unsigned i = 0; i < uplink->workers; i++)
        worker_forget_source(uplink->places[i].worker, source);
}

static struct forward_place *find_forward(struct uplink *uplink, uint32_t id)
{
    for (struct table_node *node = table_first(&uplink->forwards, id); node; node = node->next)
        if (node->hash == id)
            return CONTAINER_OF(node, struct forward_place, node);
    return NULL;
}

static unsigned choose_worker(const struct uplink *uplink, uint32_t id, bool udp,
                              const struct ip_endpoint *guest)
{
    return udp && guest->addr.family ? spread_worker(guest, uplink->workers) : id % uplink->workers;
}

int uplink_add_forward(struct uplink *uplink, uint32_t id, bool udp, int fd,
                       const struct ip_endpoint *guest)
{
    struct forward_place *place = calloc(1, sizeof(*place));
    int result;

    if (!place)
        return -ENOMEM;
    place->fd = fd;
    place->udp = udp;
    place->worker = choose_worker(uplink, id, udp, guest);
    result = worker_add_forward(uplink->places[place->worker].worker, id, udp, fd, guest);
    if (result < 0)
        free(place);
    else
        table_insert(&uplink->forwards, &place->node, id);
    return result;
}

/* The socket stays open, and what arrives meanwhile waits in it. */
static int move_forward(struct uplink *uplink, struct forward_place *place, unsigned to,
                        const struct ip_endpoint *guest)
{
    uint32_t id = (uint32_t)place->node.hash;
    int fd = fcntl(place->fd, F_DUPFD_CLOEXEC, 0), result;

    if (fd < 0)
        return -errno;
    result = worker_remove_forward(uplink->places[place->worker].worker, id);
    if (result < 0) {
        close(fd);
        return result;
    }
    result = worker_add_forward(uplink->places[to].worker, id, place->udp, fd, guest);
    if (result < 0) {
        close(fd);
        fd = -1;
    }
    place->fd = fd;
    place->worker = to;
    return result;
}

int uplink_retarget_forward(struct uplink *uplink, uint32_t id, const struct ip_endpoint *guest)
{
    struct forward_place *place = find_forward(uplink, id);
    unsigned to;
    int result;

    if (!place)
        return -ENOENT;
    to = choose_worker(uplink, id, place->udp, guest);
    /* To nobody: it need not move for that. */
    if (to == place->worker || !guest->addr.family)
        return worker_retarget_forward(uplink->places[place->worker].worker, id, guest);
    result = move_forward(uplink, place, to, guest);
    if (result < 0)
        log_error("a UDP forward does not reach its guest: %s", strerror(-result));
    return result;
}

int uplink_remove_forward(struct uplink *uplink, uint32_t id)
{
    struct forward_place *place = find_forward(uplink, id);
    int result;

    if (!place)
        return -ENOENT;
    result = worker_remove_forward(uplink->places[place->worker].worker, id);
    table_remove(&uplink->forwards, &place->node);
    free(place);
    return result;
}
