/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one guest may have of a worker's tables, so that others find room in them.
 *
 * An eighth of each table is reserve: divided by the most guests that the network can have, a guest finds its part
 * of it whatever the others do. The rest is common, and of that a guest may have four times as much as is left
 * (the dynamic threshold of Choudhury and Hahne, IEEE/ACM Trans. Networking 6(2), 1998): four fifths where it
 * is alone, and of what it left the next one, too. No guest is ever ended for the sake of another: one that has
 * its share gives way to itself, or waits.
 *
 * A guest is the host part of an IPv4 address, to which the network's guard holds it. An IPv6 address says
 * nothing, for a guest may take any of its network; so the guard writes the same number into the flow label (RFC
 * 6437 3) of what leaves a port for the way out (plane/linux/guard.c). Guest 0 is nobody's address: whoever is not known.
 *
 * One writer, the worker's thread; any thread may read what is used.
 */
#ifndef OPENVMNET_UPLINK_QUOTA_H
#define OPENVMNET_UPLINK_QUOTA_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/table.h"

/* More guests than this a network has not: a bridge has no more ports. */
#define QUOTA_GUESTS_MAX 1023
#define QUOTA_RESERVE_PART 8 /* of a table */
#define QUOTA_FACTOR 4       /* times what is left of the common part */

/* clang-format off */
#define QUOTA_TABLES(X)                                                                            \
    X(tcp)         /* connections, those of forwards too */                                        \
    X(half_open)   /* of these, guests' own that are not open yet */                               \
    X(udp)         /* mappings */                                                                  \
    X(echo)        /* mappings */                                                                  \
    X(forward_udp) /* clients of UDP forwards */                                                   \
    X(buffer)      /* large buffers with bytes that one side of a connection has not taken */      \
    X(pipe)        /* the same, of streams */
/* clang-format on */
#define QUOTA_ENUM(name) QUOTA_##name,
enum quota_table {
    QUOTA_TABLES(QUOTA_ENUM) QUOTA_TABLES_LEN
};

struct quota_guest {
    atomic_uint used[QUOTA_TABLES_LEN];
    atomic_uint_fast64_t refused; /* how often it met the end of a share */
    uint32_t told;                /* a bit a table: it met the end, and has not given all since */
    struct list lists[QUOTA_TABLES_LEN];
};

struct quota_share {
    unsigned max;     /* of the table */
    unsigned reserve; /* of it, for each guest; the first that a guest takes are these */
    unsigned used, common_used;
};

struct quota {
    unsigned guests_len, most;
    struct quota_guest *guests;
    struct quota_share shares[QUOTA_TABLES_LEN];
};

/*
 * For guests whose numbers are below @guests; a number that is not is taken for 0. All tables have room for
 * nothing until quota_set_table(). 0 or -ENOMEM.
 */
int quota_init(struct quota *quota, unsigned guests);
void quota_done(struct quota *quota);

/* How large a table is, and the reserve that follows. Only before anything is taken. */
void quota_set_table(struct quota *quota, enum quota_table table, unsigned max);
/* The same without another reserve, at any time: what others than guests have taken of the table is not there. */
void quota_set_max(struct quota *quota, enum quota_table table, unsigned max);

/* One more of a table for a guest. False where it has its share: then nothing is taken. */
bool quota_take(struct quota *quota, enum quota_table table, unsigned guest);
/* The same in place of one that the guest has just given, which a share that has become smaller does not forbid. */
void quota_take_again(struct quota *quota, enum quota_table table, unsigned guest);
void quota_give(struct quota *quota, enum quota_table table, unsigned guest);

/* What the guest has in a table, for its owners to keep: the first is the one that gives way. */
struct list *quota_list(struct quota *quota, enum quota_table table, unsigned guest);

/*
 * Counts that a guest met the end of its share. True where this is news: it has not before, or has given all that
 * it had in the table since.
 */
bool quota_refuse(struct quota *quota, enum quota_table table, unsigned guest);
/* The guest is gone: nothing was refused to the next one of its number. */
void quota_forget(struct quota *quota, unsigned guest);

#endif
