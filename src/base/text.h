/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text from outside: what it is made of, whatever the locale, and how it is shown back. Values stand
 * in messages, so they are first made fit for a terminal and a log.
 */
#ifndef OPENVMNET_BASE_TEXT_H
#define OPENVMNET_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

struct text_shown {
    char text[68];
};

/* @value cut short, and without control characters. */
struct text_shown text_show(const char *value);

/* ASCII, whatever the locale is: the names go into paths and DNS. */
bool text_is_alnum(char c);
bool text_is_hex(char c);

/* Copies @text in lower case; it is cut where @ret_text ends. */
void text_lower(const char *text, char *ret_text, size_t max_bytes);

/* Equal, where '_' in @text stands for '-' in @name. */
bool text_is_option(const char *name, const char *text);

/* 0 and the value of digits from @min to @max; -EINVAL for all else. */
int text_to_uint(const char *text, unsigned min, unsigned max, unsigned *ret_value);

#endif
