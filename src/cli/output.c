/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/output.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define TEXT_MAX 128 /* longer than any field; what exceeds it is cut */
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
    /* Some texts come from guests: none may drive the terminal. */
    for (char *c = buf; *c; c++) {
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
    }
    return buf;
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
