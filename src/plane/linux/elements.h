/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes of the elements of nftables sets as one batch, over libmnl. libnftables would do the same from text, but
 * first reads the tables that there are, which takes longer than all else of adding a port.
 *
 * What is added may be there already, what is deleted must be. A batch is applied whole or not at all.
 */
#ifndef OPENVMNET_PLANE_LINUX_ELEMENTS_H
#define OPENVMNET_PLANE_LINUX_ELEMENTS_H

#include <libmnl/libmnl.h>
#include <stddef.h>
#include <stdint.h>

#define ELEMENTS_KEY_MAX 32
#define ELEMENTS_VALUE_MAX 4

/* Bytes as the kernel compares them; each part of a concatenation fills up words of four bytes. */
struct element {
    uint8_t key[ELEMENTS_KEY_MAX], value[ELEMENTS_VALUE_MAX];
    uint16_t key_len, value_len; /* no value: of a set, not of a map */
};

struct elements {
    const char *table; /* of the bridge family */
    char *buf;         /* NULL: no memory */
    size_t len_bytes;
    uint32_t messages;
    struct nlmsghdr *message; /* the last one, to which elements are added while they are alike */
    struct nlattr *list;
    uint16_t type;
    const char *set;
};

/*
 * Begins a message for nftables at @at, which has room for it (nfnetlink.h of the kernel: struct nfgenmsg). @family is
 * NFPROTO_…; @resource names the subsystem in the messages around a batch, and is 0 in others.
 */
struct nlmsghdr *nfnetlink_put_header(void *at, uint32_t sequence, uint16_t type, uint16_t flags,
                                      uint8_t family, uint16_t resource);

/* A socket for elements_send(). 0 or -errno; mnl_socket_close() ends it. */
int elements_open(struct mnl_socket **ret_socket);

/* A batch with room for @max calls of elements_put(). Texts stay the caller's. */
void elements_begin(struct elements *batch, const char *table, size_t max);
/* @type is NFT_MSG_NEWSETELEM or NFT_MSG_DELSETELEM; to delete NULL is to delete all of @set. */
void elements_put(struct elements *batch, uint16_t type, const char *set,
                  const struct element *element);
/* Frees the batch. 0 or -errno. */
int elements_send(struct elements *batch, struct mnl_socket *socket);

#endif
