/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects of a network's replies on standard output. A key that is missing is shown as "-" or left
 * out, one that is not known is not shown: vmnetd may be older or newer than this program.
 */
#ifndef OPENVMNET_CLI_OUTPUT_H
#define OPENVMNET_CLI_OUTPUT_H

#include <jansson.h>
#include <stddef.h>

struct output_column {
    const char *title;
    const char *key;
};

/* One line: the value of @key, and where @second_key is not NULL, @joiner and its value. */
struct output_fact {
    const char *title;
    const char *key;
    const char *joiner;
    const char *second_key;
};

/* Indented JSON and a newline. */
void output_json(const json_t *value);

/* An array of objects: a heading, then one line each, in columns as wide as their widest text. */
void output_table(const json_t *rows, const struct output_column *columns, size_t count,
                  const char *indent);

/* One object: "title  value" lines for the keys that it has. */
void output_facts(const json_t *object, const struct output_fact *facts, size_t count,
                  const char *indent);

#endif
