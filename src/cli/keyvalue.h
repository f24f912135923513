/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QEMU's option values: "type,key=value,…" and, since QEMU 6.0, a JSON object of the same content.
 *
 * In the first form a doubled comma is a literal comma, the first element may leave out its key
 * (the "implied" one) and a later element without '=' is a switch that is on. Both forms become one
 * list of text pairs, so that what reads options needs not know how they were written. The text
 * forms of JSON values are those that QEMU prints: on and off for booleans, decimal integers. A
 * JSON array becomes one pair for each of its elements.
 */
#ifndef OPENVMNET_CLI_KEYVALUE_H
#define OPENVMNET_CLI_KEYVALUE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct kv_pair {
    char *key;
    char *value; /* NULL for a JSON value that is no string, integer or boolean */
    bool listed; /* an element of a JSON array, which only an option that repeats may have */
};

struct kv_list {
    struct kv_pair *pairs;
    size_t count;
};

/* Whether QEMU takes the value for JSON. */
bool kv_is_json(const char *text);

/*
 * Reads @text in either form. Keys keep their order and may repeat. 0, -ENOMEM, or -EINVAL with the
 * reason for text that begins as JSON and is none; the first form has no syntax errors. The caller
 * ends with kv_done(), after an error too.
 */
int kv_parse(const char *text, const char *implied_key, struct kv_list *ret_list, struct err *err);
void kv_done(struct kv_list *list);

/* The last value of @key, which is the one that QEMU uses, or NULL. */
const char *kv_get(const struct kv_list *list, const char *key);

/* @value with its commas doubled, to be freed; NULL without memory. */
char *kv_escape(const char *value);

#endif
