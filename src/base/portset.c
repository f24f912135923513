/* SPDX-License-Identifier: Apache-2.0 */
#include "base/portset.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

#define PORT_MAX 65535
#define EXAMPLES "22,8000-8100, or none to close all"

static int read_range(const char *option, const char *text, size_t len_bytes,
                      struct port_range *ret_range, struct err *err)
{
    char copy[sizeof("65535-65535")], *dash;
    unsigned first = 0, last = 0;
    bool good = len_bytes < sizeof(copy);

    snprintf(copy, sizeof(copy), "%.*s", (int)len_bytes, text);
    dash = strchr(copy, '-');
    if (dash)
        *dash++ = '\0';
    good = good && text_to_uint(copy, 1, PORT_MAX, &first) == 0;
    last = first;
    if (dash)
        good = good && text_to_uint(dash, first, PORT_MAX, &last) == 0;
    if (!good) {
        snprintf(copy, sizeof(copy), "%.*s", (int)len_bytes, text);
        return err_set(err, -EINVAL,
                       "%s: '%s' is neither a port from 1 to 65535 nor a range of them: write "
                       "ports such as " EXAMPLES,
                       option, text_show(copy).text);
    }
    *ret_range = (struct port_range){(uint16_t)first, (uint16_t)last};
    return 0;
}

/* Puts @range into its place, and into one with those that it meets. False where there is no room. */
static bool insert_range(struct port_set *set, struct port_range range)
{
    unsigned at = 0, end;

    while (at < set->len && set->ranges[at].last + 1 < range.first)
        at++;
    for (end = at; end < set->len && set->ranges[end].first <= range.last + 1; end++) {
        if (set->ranges[end].first < range.first)
            range.first = set->ranges[end].first;
        if (set->ranges[end].last > range.last)
            range.last = set->ranges[end].last;
    }
    if (at == end && set->len == PORT_RANGES_MAX)
        return false;
    memmove(&set->ranges[at + 1], &set->ranges[end], (set->len - end) * sizeof(range));
    set->ranges[at] = range;
    set->len = set->len - (end - at) + 1;
    return true;
}

int port_set_add(struct port_set *set, const char *option, const char *text, struct err *err)
{
    bool none = strcmp(text, "none") == 0;
    struct port_set sum = *set;

    if (sum.given && none != (sum.len == 0))
        return err_set(err, -EINVAL,
                       "%s=none stands beside ports that are to be open: leave one of them out",
                       option);
    sum.given = true;
    for (const char *at = text; !none; at++) {
        size_t len_bytes = strcspn(at, ",");
        struct port_range range = {0};
        int error = read_range(option, at, len_bytes, &range, err);

        if (error)
            return error;
        if (!insert_range(&sum, range))
            return err_set(err, -EINVAL,
                           "%s has more than %d ranges of ports: write fewer and wider ones",
                           option, PORT_RANGES_MAX);
        at += len_bytes;
        if (!*at)
            break;
    }
    *set = sum;
    return 0;
}

const char *port_set_format(const struct port_set *set, char buf[PORT_SET_TEXT_MAX])
{
    size_t len = 0;

    snprintf(buf, PORT_SET_TEXT_MAX, "%s", set->given ? "none" : "all");
    for (unsigned i = 0; i < set->len; i++) {
        const struct port_range *range = &set->ranges[i];

        len += (size_t)snprintf(buf + len, PORT_SET_TEXT_MAX - len, "%s%u", i ? "," : "",
                                range->first);
        if (range->last != range->first)
            len += (size_t)snprintf(buf + len, PORT_SET_TEXT_MAX - len, "-%u", range->last);
    }
    return buf;
}

bool port_set_has(const struct port_set *set, uint16_t port)
{
    for (unsigned i = 0; i < set->len; i++)
        if (port >= set->ranges[i].first && port <= set->ranges[i].last)
            return true;
    return !set->given;
}
