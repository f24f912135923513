/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How these headers name the types of blocks. A program is compiled by clang with -fblocks and has them as
 * they are; a compiler without blocks, such as the one that builds the library, can pass them on, and neither
 * write nor call them.
 */
#ifndef OPENVMNET_BLOCKS_H
#define OPENVMNET_BLOCKS_H

#ifdef __BLOCKS__
#define OPENVMNET_BLOCK_POINTER ^
#define OPENVMNET_BLOCK_TYPE(name, result, ...)                                                    \
    typedef result(OPENVMNET_BLOCK_POINTER name)(__VA_ARGS__)
#else
#define OPENVMNET_BLOCK_TYPE(name, result, ...) typedef struct name##_block *name
#endif

#define OPENVMNET_COMPAT_API __attribute__((visibility("default")))

#endif
