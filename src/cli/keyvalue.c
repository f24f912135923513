/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/keyvalue.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool kv_is_json(const char *text)
{
    return text[0] == '{';
}

/* Takes over @key and @value; a NULL @key stands for an allocation that failed. */
static int add_pair(struct kv_list *list, char *key, char *value, bool listed)
{
    struct kv_pair *pairs = NULL;

    if (key)
        pairs = realloc(list->pairs, (list->count + 1) * sizeof(*pairs));
    if (!pairs) {
        free(key);
        free(value);
        return -ENOMEM;
    }
    list->pairs = pairs;
    list->pairs[list->count++] = (struct kv_pair){.key = key, .value = value, .listed = listed};
    return 0;
}

/* Copies one value up to a single comma or the end; @ret_end is left on what ended it. */
static char *copy_value(const char *text, const char **ret_end)
{
    char *value = malloc(strlen(text) + 1);
    char *out = value;

    if (!value)
        return NULL;
    for (; *text; text++) {
        if (*text == ',') {
            if (text[1] != ',')
                break;
            text++;
        }
        *out++ = *text;
    }
    *out = '\0';
    *ret_end = text;
    return value;
}

static int parse_pairs(const char *text, const char *implied_key, struct kv_list *list)
{
    bool first = true;

    while (*text) {
        size_t key_len = strcspn(text, "=,");
        bool has_value = text[key_len] == '=';
        char *key, *value;
        int rc;

        if (first && !has_value) {
            key = strdup(implied_key);
            value = copy_value(text, &text);
        } else {
            key = strndup(text, key_len);
            text += key_len;
            value = has_value ? copy_value(text + 1, &text) : strdup("on");
        }
        if (!value) {
            free(key);
            return -ENOMEM;
        }
        rc = add_pair(list, key, value, false);
        if (rc < 0)
            return rc;
        if (*text == ',')
            text++;
        first = false;
    }
    return 0;
}

static char *json_text(const json_t *value)
{
    char number[24];

    if (json_is_string(value))
        return strdup(json_string_value(value));
    if (json_is_boolean(value))
        return strdup(json_is_true(value) ? "on" : "off");
    snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    return strdup(number);
}

static int add_json(struct kv_list *list, const char *key, const json_t *value, bool listed)
{
    bool plain = json_is_string(value) || json_is_boolean(value) || json_is_integer(value);
    char *copy = plain ? json_text(value) : NULL;

    return plain && !copy ? -ENOMEM : add_pair(list, strdup(key), copy, listed);
}

static int parse_json(const char *text, struct kv_list *list, struct err *err)
{
    json_error_t error;
    json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    const char *key;
    json_t *value, *element;
    size_t i;
    int rc = 0;

    if (!object)
        return err_set(err, -EINVAL,
                       "not JSON at byte %d: %s; names and strings need double quotes",
                       error.position, error.text);
    json_object_foreach(object, key, value)
    {
        if (!json_is_array(value))
            rc = add_json(list, key, value, false);
        json_array_foreach(value, i, element)
        {
            if (rc == 0)
                rc = add_json(list, key, element, true);
        }
        if (rc < 0)
            break;
    }
    json_decref(object);
    return rc;
}

int kv_parse(const char *text, const char *implied_key, struct kv_list *ret_list, struct err *err)
{
    int rc;

    *ret_list = (struct kv_list){0};
    if (kv_is_json(text))
        rc = parse_json(text, ret_list, err);
    else
        rc = parse_pairs(text, implied_key, ret_list);
    return rc == -ENOMEM ? err_set(err, rc, "out of memory") : rc;
}

void kv_done(struct kv_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->pairs[i].key);
        free(list->pairs[i].value);
    }
    free(list->pairs);
    *list = (struct kv_list){0};
}

const char *kv_get(const struct kv_list *list, const char *key)
{
    for (size_t i = list->count; i > 0; i--) {
        if (strcmp(list->pairs[i - 1].key, key) == 0)
            return list->pairs[i - 1].value;
    }
    return NULL;
}

char *kv_escape(const char *value)
{
    char *escaped = malloc(2 * strlen(value) + 1);
    char *out = escaped;

    if (!escaped)
        return NULL;
    for (; *value; value++) {
        if (*value == ',')
            *out++ = ',';
        *out++ = *value;
    }
    *out = '\0';
    return escaped;
}
