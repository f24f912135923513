/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks for a compiler that does not know them: the documented layout (Block-ABI-Apple, "High Level": a
 * block is a pointer to this structure, its code a function whose first argument is the block) and the
 * runtime's two calls. All casts of blocks are here.
 */
#ifndef OPENVMNET_COMPAT_BLOCK_H
#define OPENVMNET_COMPAT_BLOCK_H

#include <Block.h>

struct block {
    void *isa;
    int flags;
    int reserved;
    void (*invoke)(void *block);
    const void *descriptor;
};

/* Calls block @b with the arguments that follow; @type is that of its code, the block's own pointer first. */
#define BLOCK_CALL(type, b, ...)                                                                   \
    (((type)(void (*)(void))((const struct block *)(const void *)(b))->invoke)((void *)(b),        \
                                                                               ##__VA_ARGS__))

/* A dispatch_function_t for a block without arguments. */
static inline void block_run(void *block)
{
    ((const struct block *)block)->invoke(block);
}

static inline void *block_copy(const void *block)
{
    return block ? _Block_copy(block) : NULL;
}

static inline void block_release(const void *block)
{
    if (block)
        _Block_release(block);
}

#endif
