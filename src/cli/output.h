/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects of a network's replies on standard output. A key that is missing is shown as "-" or left
 * out, one that is not known is not shown: vmnetd may be older or newer than this program.
 */
#ifndef OPENVMNET_CLI_OUTPUT_H
#define OPENVMNET_CLI_OUTPUT_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#define OUTPUT_WIDTH 80     /* columns of a terminal that all must fit */
#define OUTPUT_AMOUNT_MAX 8 /* of output_amount() */

#include "client/client.h"

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

/* What a user has to know of a port that was attached, as one line to stderr. */
void cli_print_port(const struct client_port *port);

/* Indented JSON and a newline. */
void output_json(const json_t *value);

/* An array of objects: a heading, then one line each, in columns as wide as their widest text. */
void output_table(const json_t *rows, const struct output_column *columns, size_t count,
                  const char *indent);

/* One object: "title  value" lines for the keys that it has. */
void output_facts(const json_t *object, const struct output_fact *facts, size_t count,
                  const char *indent);

/*
 * Makes @text fit for a terminal: control characters, and what is not UTF-8, become '?'. Some texts come
 * from guests, or are names of processes: none may drive the terminal. Returns @text.
 */
char *output_clean(char *text);

/* A count in at most four characters: "999", "1.2k", "12M". The thousands are 1000. Returns @buf. */
const char *output_amount(uint64_t amount, char buf[OUTPUT_AMOUNT_MAX]);

#endif
