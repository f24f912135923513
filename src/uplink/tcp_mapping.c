/* SPDX-License-Identifier: Apache-2.0 */
#include "uplink/tcp_mapping.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct tcp_mapping {
    struct table_node node;
    struct ip_endpoint guest;
    struct list members; /* never empty */
};

static struct tcp_mapping *mapping_find(const struct table *mappings, uint64_t hash,
                                        const struct ip_endpoint *guest)
{
    for (struct table_node *node = table_first(mappings, hash); node; node = node->next) {
        struct tcp_mapping *mapping = CONTAINER_OF(node, struct tcp_mapping, node);

        if (node->hash == hash && mapping->guest.port == guest->port &&
            ip_equal(&mapping->guest.addr, &guest->addr))
            return mapping;
    }
    return NULL;
}

int tcp_member_join(struct tcp_member *member, struct table *mappings, const struct worker *worker,
                    const struct ip_endpoint *guest)
{
    uint8_t key[18];
    struct tcp_mapping *mapping;
    uint64_t hash;

    memcpy(key, guest->addr.bytes, 16);
    memcpy(key + 16, &guest->port, 2);
    hash = worker_hash(worker, key, sizeof(key));
    mapping = mapping_find(mappings, hash, guest);
    if (!mapping) {
        mapping = calloc(1, sizeof(*mapping));
        if (!mapping)
            return -ENOMEM;
        mapping->guest = *guest;
        list_init(&mapping->members);
        table_insert(mappings, &mapping->node, hash);
    }
    *member = (struct tcp_member){.mapping = mapping, .fd = -1};
    /* In front, so that the first has a socket already when the next asks for its port. */
    list_append(mapping->members.next, &member->list);
    return 0;
}

void tcp_member_leave(struct tcp_member *member, struct table *mappings)
{
    struct tcp_mapping *mapping = member->mapping;

    list_remove(&member->list);
    member->fd = -1;
    if (!list_is_empty(&mapping->members))
        return;
    table_remove(mappings, &mapping->node);
    free(mapping);
}

bool tcp_member_bind(struct tcp_member *member, int fd)
{
    struct list *node = member->list.next;
    struct sockaddr_storage address;
    socklen_t len = sizeof(address);
    struct ip_endpoint any;
    const struct tcp_member *other;
    int one = 1;

    if (node == &member->mapping->members)
        return false;
    other = CONTAINER_OF(node, struct tcp_member, list);
    if (other->fd < 0 || getsockname(other->fd, (struct sockaddr *)&address, &len) < 0 ||
        endpoint_from_sockaddr(&address, &any) < 0)
        return false;
    /* The route chooses the address, as for the first. */
    memset(any.addr.bytes, 0, sizeof(any.addr.bytes));
    len = endpoint_to_sockaddr(&any, &address);
    setsockopt(other->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    return bind(fd, (struct sockaddr *)&address, len) == 0;
}
