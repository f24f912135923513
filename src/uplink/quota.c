/* SPDX-License-Identifier: Apache-2.0 */
#include "uplink/quota.h"

#include <errno.h>
#include <stdlib.h>

int quota_init(struct quota *quota, unsigned guests)
{
    *quota = (struct quota){
        .guests_len = guests,
        .most = guests < QUOTA_GUESTS_MAX ? guests : QUOTA_GUESTS_MAX,
        /* Memory of those that never come is never touched. */
        .guests = calloc(guests, sizeof(*quota->guests)),
    };
    return quota->guests ? 0 : -ENOMEM;
}

void quota_done(struct quota *quota)
{
    free(quota->guests);
    quota->guests = NULL;
}

void quota_set_table(struct quota *quota, enum quota_table table, unsigned max)
{
    quota->shares[table] =
        (struct quota_share){.max = max, .reserve = max / QUOTA_RESERVE_PART / quota->most};
}

void quota_set_max(struct quota *quota, enum quota_table table, unsigned max)
{
    quota->shares[table].max = max;
}

static struct quota_guest *quota_guest(struct quota *quota, unsigned guest)
{
    return &quota->guests[guest < quota->guests_len ? guest : 0];
}

static unsigned quota_used(const struct quota_guest *guest, enum quota_table table)
{
    return atomic_load_explicit(&guest->used[table], memory_order_relaxed);
}

/* What of the common part nobody has. */
static unsigned common_free(const struct quota *quota, enum quota_table table)
{
    const struct quota_share *share = &quota->shares[table];
    unsigned taken = share->reserve * quota->most + share->common_used;

    return share->max > taken ? share->max - taken : 0;
}

void quota_take_again(struct quota *quota, enum quota_table table, unsigned guest)
{
    struct quota_guest *who = quota_guest(quota, guest);
    struct quota_share *share = &quota->shares[table];
    unsigned used = quota_used(who, table);

    share->used++;
    if (used >= share->reserve)
        share->common_used++;
    atomic_store_explicit(&who->used[table], used + 1, memory_order_relaxed);
}

bool quota_take(struct quota *quota, enum quota_table table, unsigned guest)
{
    struct quota_guest *who = quota_guest(quota, guest);
    const struct quota_share *share = &quota->shares[table];
    unsigned used = quota_used(who, table);

    if (share->used >= share->max ||
        (used >= share->reserve &&
         used - share->reserve >= QUOTA_FACTOR * common_free(quota, table)))
        return false;
    quota_take_again(quota, table, guest);
    return true;
}

void quota_give(struct quota *quota, enum quota_table table, unsigned guest)
{
    struct quota_guest *who = quota_guest(quota, guest);
    struct quota_share *share = &quota->shares[table];
    unsigned used = quota_used(who, table) - 1;

    share->used--;
    if (used >= share->reserve)
        share->common_used--;
    if (used == 0)
        who->told &= ~(1u << table);
    atomic_store_explicit(&who->used[table], used, memory_order_relaxed);
}

struct list *quota_list(struct quota *quota, enum quota_table table, unsigned guest)
{
    struct list *list = &quota_guest(quota, guest)->lists[table];

    if (!list->next)
        list_init(list);
    return list;
}

bool quota_refuse(struct quota *quota, enum quota_table table, unsigned guest)
{
    struct quota_guest *who = quota_guest(quota, guest);
    bool told = who->told & 1u << table;

    who->told |= 1u << table;
    atomic_fetch_add_explicit(&who->refused, 1, memory_order_relaxed);
    return !told;
}

void quota_forget(struct quota *quota, unsigned guest)
{
    struct quota_guest *who = quota_guest(quota, guest);

    who->told = 0;
    atomic_store_explicit(&who->refused, 0, memory_order_relaxed);
}
