/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Intrusive containers: a doubly linked list, and a hash table of a fixed number of buckets. Nothing is
 * allocated for an entry: the node is part of the object, found again with CONTAINER_OF.
 */
#ifndef OPENVMNET_BASE_TABLE_H
#define OPENVMNET_BASE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONTAINER_OF(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

struct list {
    struct list *next, *prev;
};

static inline void list_init(struct list *list)
{
    list->next = list->prev = list;
}

static inline bool list_is_empty(const struct list *list)
{
    return list->next == list;
}

static inline void list_append(struct list *list, struct list *node)
{
    node->prev = list->prev;
    node->next = list;
    list->prev->next = node;
    list->prev = node;
}

/* A removed node may be removed again: it is then a list of its own. */
static inline void list_remove(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

#define TABLE_BUCKETS 16384

struct table_node {
    struct table_node *next;
    uint64_t hash;
};

struct table {
    struct table_node *buckets[TABLE_BUCKETS];
    size_t len;
};

static inline void table_insert(struct table *table, struct table_node *node, uint64_t hash)
{
    struct table_node **bucket = &table->buckets[hash % TABLE_BUCKETS];

    node->hash = hash;
    node->next = *bucket;
    *bucket = node;
    table->len++;
}

static inline void table_remove(struct table *table, struct table_node *node)
{
    struct table_node **at = &table->buckets[node->hash % TABLE_BUCKETS];

    while (*at != node)
        at = &(*at)->next;
    *at = node->next;
    table->len--;
}

/* The first entry that may be meant by @hash; go on with node->next and compare hash and key. */
static inline struct table_node *table_first(const struct table *table, uint64_t hash)
{
    return table->buckets[hash % TABLE_BUCKETS];
}

#endif
