/* SPDX-License-Identifier: Apache-2.0 */
/* nftables commands, run by libnftables in the namespace in which the context was made. */
#ifndef OPENVMNET_PLANE_LINUX_RULESET_H
#define OPENVMNET_PLANE_LINUX_RULESET_H

#include <nftables/libnftables.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/err.h"

/* A context; its errors and output are kept for the calls below. NULL without memory. nft_ctx_free() ends it. */
struct nft_ctx *ruleset_open(void);

/* Runs @commands as one batch: all of them or none. -EOPNOTSUPP with what nftables says is wrong. */
int ruleset_run(struct nft_ctx *nft, const char *commands, struct err *err);

/*
 * The same for commands that are written to a stream. ruleset_end() frees it, also where ruleset_begin() had no
 * memory for it: then @file is NULL, nothing may be written, and the result is -ENOMEM.
 */
struct ruleset {
    FILE *file;
    char *text;
    size_t len_bytes;
};
bool ruleset_begin(struct ruleset *ruleset);
int ruleset_end(struct ruleset *ruleset, struct nft_ctx *nft, struct err *err);

/* Whether there is a table of that name; its content is not looked at. */
bool ruleset_has_table(struct nft_ctx *nft, const char *family, const char *table);

/* Runs one command that lists something; its answer in JSON, valid until the next call, or NULL. */
const char *ruleset_list(struct nft_ctx *nft, const char *command);

#endif
