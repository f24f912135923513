/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/output.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define TEXT_MAX 640 /* longer than any field, a path included; what exceeds it is cut */
#define COLUMNS_MAX 12
#define FACT_WIDTH 12 /* the longest title and two spaces */

static const char *field_text(const json_t *object, const char *key, char buf[TEXT_MAX])
{
    const json_t *value = json_object_get(object, key);

    if (json_is_string(value) && json_string_length(value) > 0)
        snprintf(buf, TEXT_MAX, "%s", json_string_value(value));
    else if (json_is_integer(value))
        snprintf(buf, TEXT_MAX, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_boolean(value))
        snprintf(buf, TEXT_MAX, "%s", json_is_true(value) ? "yes" : "no");
    else
        snprintf(buf, TEXT_MAX, "-");
    return output_clean(buf);
}

/* Bytes of the UTF-8 sequence at @at that a terminal may get; 0 where there is none. */
static size_t printable_bytes(const unsigned char *at)
{
    size_t len = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;

    if (at[0] < 0x80)
        return at[0] >= ' ' && at[0] != 0x7f ? 1 : 0;
    /* 0xc2 with 0x80 to 0x9f are the control characters C1. */
    if (at[0] < 0xc2 || at[0] > 0xf4 || (at[0] == 0xc2 && at[1] < 0xa0))
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

char *output_clean(char *text)
{
    for (unsigned char *at = (unsigned char *)text; *at;) {
        size_t len = printable_bytes(at);

        if (len == 0)
            *at = '?';
        at += len ? len : 1;
    }
    return text;
}

const char *output_amount(uint64_t amount, char buf[OUTPUT_AMOUNT_MAX])
{
    static const char units[] = " kMGTPE";
    unsigned tenths = 0, unit = 0;

    for (; amount >= 1000; amount /= 1000, unit++)
        tenths = (unsigned)(amount % 1000 / 100);
    if (unit == 0)
        snprintf(buf, OUTPUT_AMOUNT_MAX, "%u", (unsigned)amount);
    else if (amount < 10)
        snprintf(buf, OUTPUT_AMOUNT_MAX, "%u.%u%c", (unsigned)amount, tenths, units[unit]);
    else
        snprintf(buf, OUTPUT_AMOUNT_MAX, "%u%c", (unsigned)amount, units[unit]);
    return buf;
}

void cli_print_port(const struct client_port *port)
{
    fprintf(stderr, "vmnet: %s %s: MAC %s", port->network, port->interface, port->mac);
    if (port->ipv4[0])
        fprintf(stderr, ", IPv4 %s", port->ipv4);
    if (port->ipv6_prefix[0])
        fprintf(stderr, ", IPv6 prefix %s", port->ipv6_prefix);
    if (port->gateway[0])
        fprintf(stderr, ", gateway %s", port->gateway);
    if (port->socket[0])
        fprintf(stderr, ", socket %s", port->socket);
    if (port->name[0])
        fprintf(stderr, ", name %s%s%s", port->name, port->domain[0] ? "." : "", port->domain);
    fputc('\n', stderr);
}

void output_json(const json_t *value)
{
    json_dumpf(value, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
    putchar('\n');
}

/* The last column is not padded: no line ends with spaces. */
static void print_cell(const char *text, int width, bool last)
{
    if (last)
        printf("%s\n", text);
    else
        printf("%-*s  ", width, text);
}

void output_table(const json_t *rows, const struct output_column *columns, size_t count,
                  const char *indent)
{
    int widths[COLUMNS_MAX];
    char buf[TEXT_MAX];

    if (count > COLUMNS_MAX)
        count = COLUMNS_MAX;
    for (size_t i = 0; i < count; i++) {
        widths[i] = (int)strlen(columns[i].title);
        for (size_t row = 0; row < json_array_size(rows); row++) {
            int len = (int)strlen(field_text(json_array_get(rows, row), columns[i].key, buf));

            widths[i] = len > widths[i] ? len : widths[i];
        }
    }
    fputs(indent, stdout);
    for (size_t i = 0; i < count; i++)
        print_cell(columns[i].title, widths[i], i + 1 == count);
    for (size_t row = 0; row < json_array_size(rows); row++) {
        fputs(indent, stdout);
        for (size_t i = 0; i < count; i++)
            print_cell(field_text(json_array_get(rows, row), columns[i].key, buf), widths[i],
                       i + 1 == count);
    }
}

void output_facts(const json_t *object, const struct output_fact *facts, size_t count,
                  const char *indent)
{
    char buf[TEXT_MAX];

    for (size_t i = 0; i < count; i++) {
        const struct output_fact *fact = &facts[i];

        if (!json_object_get(object, fact->key))
            continue;
        printf("%s%-*s%s", indent, FACT_WIDTH, fact->title, field_text(object, fact->key, buf));
        if (fact->second_key && json_object_get(object, fact->second_key))
            printf("%s%s", fact->joiner, field_text(object, fact->second_key, buf));
        putchar('\n');
    }
}
