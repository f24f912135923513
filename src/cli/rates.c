/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/rates.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

uint64_t rates_number(const json_t *object, const char *key)
{
    json_int_t value = json_integer_value(json_object_get(object, key));

    return value > 0 ? (uint64_t)value : 0;
}

uint64_t rates_drops(const json_t *port)
{
    json_t *drops = json_object_get(port, "drops");
    uint64_t sum = rates_number(json_object_get(port, "traffic"), "downDropped");
    const char *reason;
    json_t *value;

    json_object_foreach(drops, reason, value)
    {
        if (json_integer_value(value) > 0)
            sum += (uint64_t)json_integer_value(value);
    }
    return sum;
}

/* The ports of one look by "network/interface"; a hash, for a network may have a thousand. */
static json_t *index_ports(const json_t *look)
{
    json_t *index = json_object(), *state, *item;
    size_t i, j;

    json_array_foreach(look, i, state)
    {
        json_t *parent = json_object_get(json_object_get(state, "processes"), "parent");
        const char *network = text_of(json_object_get(state, "network"), "name");

        json_array_foreach(json_object_get(state, "ports"), j, item)
        {
            const char *interface = text_of(item, "interface");
            json_t *entry = json_pack("{s:O, s:O*}", "item", item, "parent", parent);
            json_t *key = json_sprintf("%s/%s", network, interface);

            if (key)
                json_object_set_new(index, json_string_value(key), entry);
            json_decref(key);
        }
    }
    return index;
}

/* The port's traffic at the look before, or NULL. */
static const json_t *traffic_before(const json_t *index, const json_t *state, const json_t *item)
{
    const char *network = text_of(json_object_get(state, "network"), "name");
    const json_t *port = item, *entry, *earlier;
    json_t *key = json_sprintf("%s/%s", network, text_of(port, "interface"));

    entry = key ? json_object_get(index, json_string_value(key)) : NULL;
    json_decref(key);
    earlier = json_object_get(entry, "item");
    if (!earlier || strcmp(text_of(earlier, "mac"), text_of(port, "mac")) != 0 ||
        rates_number(entry, "parent") !=
            rates_number(json_object_get(state, "processes"), "parent"))
        return NULL;
    return json_object_get(earlier, "traffic");
}

/* What was counted in a second. */
static uint64_t rate_of(const json_t *before, const json_t *after, const char *key,
                        uint64_t interval_ms)
{
    uint64_t old = rates_number(before, key), new = rates_number(after, key);

    if (!json_is_integer(json_object_get(before, key)) || new < old || interval_ms == 0)
        return 0;
    /* In parts: the product may not fit. */
    new -= old;
    return new / interval_ms * 1000 + new % interval_ms * 1000 / interval_ms;
}

static void add_port(const json_t *index, const json_t *state, const json_t *item,
                     uint64_t interval_ms, struct rates *rates)
{
    const json_t *before = traffic_before(index, state, item);
    const json_t *after = json_object_get(item, "traffic");
    struct rates_port port = {
        .port = item,
        .network = text_of(json_object_get(state, "network"), "name"),
        .up_bytes = rates_number(after, "upBytes"),
        .down_bytes = rates_number(after, "downBytes"),
        .up_s = rate_of(before, after, "upBytes", interval_ms),
        .down_s = rate_of(before, after, "downBytes", interval_ms),
        .packets_s = rate_of(before, after, "upPackets", interval_ms) +
                     rate_of(before, after, "downPackets", interval_ms),
        .drops = rates_drops(item),
    };

    rates->up_s += port.up_s;
    rates->down_s += port.down_s;
    rates->packets_s += port.packets_s;
    rates->drops += port.drops;
    rates->ports[rates->len++] = port;
}

int rates_compute(const json_t *before, const json_t *after, uint64_t interval_ms,
                  struct rates *ret_rates)
{
    json_t *index = index_ports(before), *state, *item;
    size_t i, j, len = 0;

    json_array_foreach(after, i, state) len += json_array_size(json_object_get(state, "ports"));
    *ret_rates = (struct rates){.networks = json_array_size(after)};
    ret_rates->ports = calloc(len + 1, sizeof(*ret_rates->ports));
    if (!ret_rates->ports || !index) {
        json_decref(index);
        rates_done(ret_rates);
        return -ENOMEM;
    }
    json_array_foreach(after, i, state)
    {
        const json_t *counters = json_object_get(state, "counters");

        ret_rates->tcp_open += rates_number(counters, "tcp_open");
        ret_rates->udp_open += rates_number(counters, "udp_open");
        ret_rates->forward_open += rates_number(counters, "forward_open");
        json_array_foreach(json_object_get(state, "ports"), j, item)
            add_port(index, state, item, interval_ms, ret_rates);
    }
    json_decref(index);
    return 0;
}

void rates_done(struct rates *rates)
{
    free(rates->ports);
    *rates = (struct rates){0};
}

static int compare_numbers(uint64_t a, uint64_t b)
{
    return a < b ? 1 : a > b ? -1 : 0; /* the larger first */
}

static int compare_names(const struct rates_port *a, const struct rates_port *b)
{
    const char *name_a = text_of(a->port, "interface"), *name_b = text_of(b->port, "interface");
    int result = strcmp(a->network, b->network);

    if (result == 0 && strlen(name_a) != strlen(name_b))
        result = strlen(name_a) < strlen(name_b) ? -1 : 1;
    return result ? result : strcmp(name_a, name_b);
}

static int by_name(const void *a, const void *b)
{
    return compare_names(a, b);
}

#define BY(name, field)                                                                            \
    static int name(const void *a, const void *b)                                                  \
    {                                                                                              \
        const struct rates_port *port_a = a, *port_b = b;                                          \
        int result = compare_numbers(port_a->field, port_b->field);                                \
                                                                                                   \
        return result ? result : compare_names(port_a, port_b);                                    \
    }
BY(by_up, up_s)
BY(by_down, down_s)
BY(by_drops, drops)
#undef BY

void rates_sort(struct rates *rates, enum rates_order order)
{
    static int (*const compare[])(const void *a, const void *b) = {
        [RATES_BY_NAME] = by_name,
        [RATES_BY_UP] = by_up,
        [RATES_BY_DOWN] = by_down,
        [RATES_BY_DROPS] = by_drops,
    };

    if (rates->len)
        qsort(rates->ports, rates->len, sizeof(*rates->ports), compare[order]);
}
