/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A block as clang makes it on the stack, by hand (Block-ABI-Apple): tests of what takes blocks run with any
 * compiler and under each sanitizer. It calls a function with a context, and counts its copies.
 */
#ifndef TESTS_HAND_BLOCK_H
#define TESTS_HAND_BLOCK_H

#include <stdatomic.h>
#include <stddef.h>

#define HAND_BLOCK_HAS_COPY_DISPOSE (1 << 25)

extern void *_NSConcreteStackBlock[];

struct hand_block {
    void *isa;
    int flags;
    int reserved;
    void (*invoke)(void); /* takes a struct hand_block * first, then what the block takes */
    const struct hand_block_descriptor *descriptor;
    void *context;
};

struct hand_block_descriptor {
    unsigned long reserved, size_bytes;
    void (*copy)(void *to, const void *from);
    void (*dispose)(const void *block);
};

static atomic_int hand_blocks; /* copies that are alive */

static void hand_block_copied(void *to, const void *from)
{
    (void)to;
    (void)from;
    atomic_fetch_add(&hand_blocks, 1);
}

static void hand_block_disposed(const void *block)
{
    (void)block;
    atomic_fetch_sub(&hand_blocks, 1);
}

static const struct hand_block_descriptor hand_block_descriptor = {
    0, sizeof(struct hand_block), hand_block_copied, hand_block_disposed};

#define HAND_BLOCK(function, context)                                                              \
    ((void *)&(struct hand_block){_NSConcreteStackBlock, HAND_BLOCK_HAS_COPY_DISPOSE, 0,           \
                                  (void (*)(void))(function), &hand_block_descriptor, (context)})

#endif
