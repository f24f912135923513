/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/linux/ruleset.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

struct nft_ctx *ruleset_open(void)
{
    struct nft_ctx *nft = nft_ctx_new(NFT_CTX_DEFAULT);

    if (nft && (nft_ctx_buffer_error(nft) != 0 || nft_ctx_buffer_output(nft) != 0)) {
        nft_ctx_free(nft);
        nft = NULL;
    }
    return nft;
}

int ruleset_run(struct nft_ctx *nft, const char *commands, struct err *err)
{
    int failed = nft_run_cmd_from_buffer(nft, commands);
    /* Asking for them also empties the buffers for the next run. */
    const char *reason = nft_ctx_get_error_buffer(nft);

    nft_ctx_get_output_buffer(nft);
    return failed ? err_set(err, -EOPNOTSUPP, "nftables: %.300s", reason) : 0;
}

bool ruleset_begin(struct ruleset *ruleset)
{
    *ruleset = (struct ruleset){0};
    ruleset->file = open_memstream(&ruleset->text, &ruleset->len_bytes);
    return ruleset->file;
}

int ruleset_end(struct ruleset *ruleset, struct nft_ctx *nft, struct err *err)
{
    int result = ruleset->file && fclose(ruleset->file) == 0
                     ? ruleset_run(nft, ruleset->text, err)
                     : err_set(err, -ENOMEM, "out of memory");

    free(ruleset->text);
    *ruleset = (struct ruleset){0};
    return result;
}

const char *ruleset_list(struct nft_ctx *nft, const char *command)
{
    const char *output;
    int failed;

    nft_ctx_output_set_flags(nft, NFT_CTX_OUTPUT_JSON | NFT_CTX_OUTPUT_NUMERIC_ALL);
    failed = nft_run_cmd_from_buffer(nft, command);
    nft_ctx_output_set_flags(nft, 0);
    nft_ctx_get_error_buffer(nft);
    output = nft_ctx_get_output_buffer(nft);
    return failed ? NULL : output;
}

bool ruleset_has_table(struct nft_ctx *nft, const char *family, const char *table)
{
    char command[32];
    const char *output, *name;
    json_t *root, *item;
    bool found = false;
    size_t i;

    snprintf(command, sizeof(command), "list tables %s", family);
    output = ruleset_list(nft, command);
    root = output ? json_loads(output, 0, NULL) : NULL;
    json_array_foreach(json_object_get(root, "nftables"), i, item)
    {
        name = json_string_value(json_object_get(json_object_get(item, "table"), "name"));
        found |= name && strcmp(name, table) == 0;
    }
    json_decref(root);
    return found;
}
