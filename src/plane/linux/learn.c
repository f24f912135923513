/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/linux/learn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct learner {
    struct list list;
    struct learn *learn;
    struct loop *loop;
    char interface[IF_NAMESIZE];
    struct loop_source source; /* the packet socket, or none: then the timer runs */
    struct loop_timer timer;
};

static void learner_close(struct learner *learner)
{
    int fd = learner->source.fd;

    loop_remove(learner->loop, &learner->source);
    if (fd >= 0)
        close(fd);
}

/* A descriptor that is bound to what comes in from the port, or -errno. */
static int open_packets(const char *interface)
{
    struct sockaddr_ll address = {
        .sll_family = AF_PACKET,
        .sll_protocol = htons(ETH_P_ALL),
        .sll_ifindex = (int)if_nametoindex(interface),
    };
    int fd, one = 1, result = 0;

    /* It has gone, and 0 would be all interfaces that there are. */
    if (!address.sll_ifindex)
        return -ENODEV;
    fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    /* What the network sends to all machines is no word of this one, and must not wake us. */
    if (setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)) < 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        result = -errno;
    if (result < 0)
        close(fd);
    return result < 0 ? result : fd;
}

/* What cannot be had now (a descriptor, memory) is tried again. */
static void learner_listen(struct learner *learner)
{
    int fd = open_packets(learner->interface);

    if (fd >= 0 && loop_add(learner->loop, &learner->source, fd, LOOP_IN) == 0)
        return;
    if (fd >= 0)
        close(fd);
    loop_timer_set(learner->loop, &learner->timer, LEARN_AGAIN_MS);
}

static void on_timer(struct loop_timer *timer)
{
    learner_listen(CONTAINER_OF(timer, struct learner, timer));
}

static void on_frame(struct loop_source *source, unsigned events)
{
    struct learner *learner = CONTAINER_OF(source, struct learner, source);
    struct learn *learn = learner->learn;
    struct mac_addr mac = {{0}};
    struct ethhdr header;
    bool whole = recv(source->fd, &header, sizeof(header), 0) == sizeof(header);

    if (whole)
        memcpy(mac.bytes, header.h_source, sizeof(mac.bytes));
    learner_close(learner);
    loop_timer_set(learner->loop, &learner->timer, LEARN_AGAIN_MS);
    if (!mac_is_zero(&mac) && !(mac.bytes[0] & 1))
        learn->on_mac(learn->context, learner->interface, &mac);
}

static struct learner *find(const struct learn *learn, const char *interface)
{
    for (struct list *node = learn->learners.next; node != &learn->learners; node = node->next) {
        struct learner *learner = CONTAINER_OF(node, struct learner, list);

        if (strcmp(learner->interface, interface) == 0)
            return learner;
    }
    return NULL;
}

static void learner_free(struct learner *learner)
{
    learner_close(learner);
    loop_timer_clear(learner->loop, &learner->timer);
    list_remove(&learner->list);
    free(learner);
}

void learn_init(struct learn *learn,
                void (*on_mac)(void *context, const char *interface, const struct mac_addr *mac),
                void *context)
{
    *learn = (struct learn){.on_mac = on_mac, .context = context};
    list_init(&learn->learners);
}

void learn_done(struct learn *learn)
{
    while (!list_is_empty(&learn->learners))
        learner_free(CONTAINER_OF(learn->learners.next, struct learner, list));
}

int learn_add(struct learn *learn, struct loop *loop, const char *interface, struct err *err)
{
    struct learner *learner;

    learn_forget(learn, interface); /* of a port that had the name before */
    learner = calloc(1, sizeof(*learner));
    if (!learner)
        return err_set(err, -ENOMEM, "out of memory");
    learner->learn = learn;
    learner->loop = loop;
    snprintf(learner->interface, sizeof(learner->interface), "%s", interface);
    learner->source = (struct loop_source){.on_event = on_frame, .fd = -1};
    learner->timer.on_timer = on_timer;
    list_append(&learn->learners, &learner->list);
    learner_listen(learner);
    return 0;
}

bool learn_has(const struct learn *learn, const char *interface)
{
    return find(learn, interface);
}

void learn_forget(struct learn *learn, const char *interface)
{
    struct learner *learner = find(learn, interface);

    if (learner)
        learner_free(learner);
}
