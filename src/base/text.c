/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct text_shown text_show(const char *value)
{
    struct text_shown shown;
    size_t len_bytes = strlen(value), max_bytes = sizeof(shown.text) - sizeof("...");

    snprintf(shown.text, sizeof(shown.text), "%.*s%s", (int)max_bytes, value,
             len_bytes > max_bytes ? "..." : "");
    for (char *at = shown.text; *at; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            *at = '?';
    return shown;
}

bool text_is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool text_is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

void text_lower(const char *text, char *ret_text, size_t max_bytes)
{
    size_t i;

    for (i = 0; text[i] && i + 1 < max_bytes; i++)
        ret_text[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] - 'A' + 'a' : text[i]);
    ret_text[i] = '\0';
}

bool text_is_option(const char *name, const char *text)
{
    while (*name && *name == (*text == '_' ? '-' : *text))
        name++, text++;
    return *name == *text;
}

int text_to_uint(const char *text, unsigned min, unsigned max, unsigned *ret_value)
{
    unsigned long long value = 0;

    if (!*text)
        return -EINVAL;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return -EINVAL;
        value = value * 10 + (unsigned)(*text - '0');
        if (value > max)
            return -EINVAL;
    }
    if (value < min)
        return -EINVAL;
    *ret_value = (unsigned)value;
    return 0;
}
