/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `vmnet status`: networks with all that is known of them. For people rates are shown beside totals, so
 * the networks are asked twice; programs get the reply as it is.
 */
#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "base/netspec.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/owner.h"
#include "cli/rates.h"
#include "cli/sample.h"

#define INDENT "  "
#define RATE_INTERVAL_MS 200 /* between the two looks */
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static const struct output_fact facts[] = {
    {"mode", "mode", NULL, NULL},
    {"plane", "plane", NULL, NULL},
    {"warning", "warning", NULL, NULL},
    {"file", "configFile", NULL, NULL},
    {"bridge", "bridge", NULL, NULL},
    {"subnet", "subnet", NULL, NULL},
    {"gateway", "gateway", NULL, NULL},
    {"DHCP", "dhcp", NULL, NULL},
    {"pool", "poolStart", " to ", "poolEnd"},
    {"given out", "dhcpRange", NULL, NULL},
    {"DNS", "dns", NULL, NULL},
    {"RA", "ra", NULL, NULL},
    {"NAT44", "nat44", NULL, NULL},
    {"NAT66", "nat66", NULL, NULL},
    {"IPv6", "ipv6Prefix", ", gateway ", "gateway6"},
    {"IPv6 out", "ipv6Default", NULL, NULL},
    {"domain", "domain", NULL, NULL},
    {"MTU", "mtu", NULL, NULL},
    {"workers", "workers", NULL, NULL},
    {"loopback", "hostLoopback", NULL, NULL},
    {"host ports", "hostPorts", NULL, NULL},
    {"lasting", "lasting", NULL, NULL},
    {"socket", "streamSocket", NULL, NULL},
};

static const struct output_column port_columns[] = {
    {"PORT", "interface"}, {"NAME", "name"}, {"MAC", "mac"}, {"IPV4", "ipv4"}, {"KIND", "kind"},
};

/* Of rows made here: amounts as texts. */
static const struct output_column traffic_columns[] = {
    {"PORT", "interface"},  {"UP", "up"},       {"UP/s", "upRate"}, {"DOWN", "down"},
    {"DOWN/s", "downRate"}, {"DROPS", "drops"}, {"OWNER", "owner"},
};

static const struct output_column forward_columns[] = {
    {"FORWARD", "forward"},
    {"LEADS TO", "guest"},
    {"OF PORT", "interface"},
};

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "-";
}

static void print_table(const char *title, const json_t *rows, const struct output_column *columns,
                        size_t count)
{
    if (json_array_size(rows) == 0)
        return;
    printf(INDENT "%s:\n", title);
    output_table(rows, columns, count, INDENT INDENT);
}

/* "title: a, b, c", continued on lines of their own below the first entry. */
struct list_printer {
    const char *title; /* NULL once it was printed */
    int indent, column;
};

static void print_entry(struct list_printer *list, const char *text)
{
    char buf[128];
    int len = snprintf(buf, sizeof(buf), "%s", text);

    output_clean(buf);
    if (list->title) {
        list->indent = list->column = printf(INDENT "%s: ", list->title);
        list->title = NULL;
    } else if (list->column + 2 + len >= OUTPUT_WIDTH) {
        printf(",\n%*s", list->indent, "");
        list->column = list->indent;
    } else {
        list->column += printf(", ");
    }
    list->column += printf("%s", buf);
}

static void end_list(const struct list_printer *list)
{
    if (!list->title)
        putchar('\n');
}

static void print_number(struct list_printer *list, const char *name, json_int_t value)
{
    char text[96];

    snprintf(text, sizeof(text), "%s %" JSON_INTEGER_FORMAT, name, value);
    print_entry(list, text);
}

/* "title: name value, name value"; nothing where no value counts. */
static void print_numbers(const char *title, json_t *numbers)
{
    struct list_printer list = {.title = title};
    const char *name;
    json_t *value;

    json_object_foreach(numbers, name, value)
    {
        if (json_is_integer(value) && json_integer_value(value) != 0)
            print_number(&list, name, json_integer_value(value));
    }
    end_list(&list);
}

/* The ports whose @key is @wanted. */
static void print_flagged(const char *title, const json_t *ports, const char *key, bool wanted)
{
    struct list_printer list = {.title = title};
    json_t *port;
    size_t i;

    json_array_foreach(ports, i, port)
    {
        const json_t *value = json_object_get(port, key);

        if (json_is_boolean(value) && json_is_true(value) == wanted)
            print_entry(&list, text_of(port, "interface"));
    }
    end_list(&list);
}

static void print_texts(const char *title, const json_t *ports, const char *key)
{
    json_t *port;
    size_t i;

    json_array_foreach(ports, i, port)
    {
        char text[128];

        if (!json_is_string(json_object_get(port, key)))
            continue;
        snprintf(text, sizeof(text), "%s", text_of(port, key));
        printf(INDENT "%s of %s: %s\n", title, text_of(port, "interface"), output_clean(text));
    }
}

static void print_drops(const json_t *items)
{
    json_t *item;
    size_t i;

    json_array_foreach(items, i, item)
    {
        json_t *drops = json_copy(json_object_get(item, "drops"));
        char title[48];

        if (!drops)
            drops = json_object();
        json_object_set_new(drops, "not_taken",
                            json_integer((json_int_t)rates_number(json_object_get(item, "traffic"),
                                                                  "downDropped")));
        snprintf(title, sizeof(title), "drops of %.16s", text_of(item, "interface"));
        print_numbers(output_clean(title), drops);
        json_decref(drops);
    }
}

static void print_use(const json_t *ports)
{
    json_t *port;
    size_t i;

    json_array_foreach(ports, i, port)
    {
        char title[48];

        snprintf(title, sizeof(title), "in use by %.16s", text_of(port, "interface"));
        print_numbers(output_clean(title), json_object_get(port, "use"));
    }
}

static json_t *traffic_row(const struct rates_port *port)
{
    char up[OUTPUT_AMOUNT_MAX], up_s[OUTPUT_AMOUNT_MAX], down[OUTPUT_AMOUNT_MAX],
        down_s[OUTPUT_AMOUNT_MAX], drops[OUTPUT_AMOUNT_MAX], owner[OWNER_TEXT_MAX];
    int pid = (int)rates_number(port->port, "owner");

    owner_describe(pid, owner);
    /* A name that is not UTF-8 is no JSON text. */
    for (char *c = owner; *c; c++)
        if ((unsigned char)*c >= 0x80)
            *c = '?';
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "interface", text_of(port->port, "interface"), "up",
        output_amount(port->up_bytes, up), "upRate", output_amount(port->up_s, up_s), "down",
        output_amount(port->down_bytes, down), "downRate", output_amount(port->down_s, down_s),
        "drops", output_amount(port->drops, drops), "owner", owner);
}

/* Ports with their identity, then what passes there, then what is not as usual. */
static void print_ports(const json_t *ports, const struct rates *rates)
{
    json_t *rows = json_array();

    for (size_t i = 0; i < rates->len; i++)
        json_array_append_new(rows, traffic_row(&rates->ports[i]));
    if (json_array_size(ports) == 0)
        puts(INDENT "no ports");
    print_table("ports", ports, port_columns, COUNT_OF(port_columns));
    print_table("bytes", rows, traffic_columns, COUNT_OF(traffic_columns));
    print_flagged("isolated", ports, "isolated", true);
    print_flagged("anti-spoof off", ports, "antiSpoof", false);
    print_texts("socket", ports, "socket");
    print_drops(ports);
    print_use(ports);
    json_decref(rows);
}

/* What says nothing by its absence is left out. */
static void print_facts(const json_t *network)
{
    static const char *const optional[] = {"warning", "configFile", "dhcpRange", "streamSocket"};
    static const char *const switches[] = {"dns", "ra", "nat44", "nat66"};
    json_t *shown = json_copy((json_t *)network);
    bool is_host = strcmp(text_of(network, "mode"), "host") == 0;
    bool dhcp = !json_is_false(json_object_get(shown, "dhcp"));

    json_object_del(shown, dhcp ? "dhcp" : "poolStart");
    for (size_t i = 0; i < COUNT_OF(switches); i++)
        if (!json_is_false(json_object_get(shown, switches[i])) ||
            (is_host && strncmp(switches[i], "nat", 3) == 0))
            json_object_del(shown, switches[i]);
    for (size_t i = 0; i < COUNT_OF(optional); i++)
        if (json_is_null(json_object_get(shown, optional[i])))
            json_object_del(shown, optional[i]);
    /* In a namespace of the network's own it is of no interest. */
    if (strcmp(text_of(network, "plane"), "system") != 0)
        json_object_del(shown, "bridge");
    if (!json_is_true(json_object_get(shown, "hostLoopback")))
        json_object_del(shown, "hostLoopback");
    if (strcmp(text_of(shown, "hostPorts"), "all") == 0)
        json_object_del(shown, "hostPorts");
    output_facts(shown, facts, COUNT_OF(facts), INDENT);
    json_decref(shown);
}

/* Those of now have a line of their own, also where they are zero. */
static void print_counters(const json_t *state, const struct rates *rates)
{
    static const char *const flows[] = {"tcp_open", "udp_open", "forward_open"};
    json_t *counters = json_copy(json_object_get(state, "counters"));

    for (size_t i = 0; i < COUNT_OF(flows); i++)
        json_object_del(counters, flows[i]);
    printf(INDENT "flows: TCP %llu, UDP %llu, forwarded %llu\n",
           (unsigned long long)rates->tcp_open, (unsigned long long)rates->udp_open,
           (unsigned long long)rates->forward_open);
    print_numbers("processes", json_object_get(state, "processes"));
    print_numbers("counters", counters);
    json_decref(counters);
}

static void print_state(const json_t *before, json_t *state, uint64_t interval_ms)
{
    const json_t *network = json_object_get(state, "network");
    json_t *one = json_pack("[O]", state);
    struct rates rates;
    char name[64];

    if (rates_compute(before, one, interval_ms, &rates) < 0) {
        json_decref(one);
        return;
    }
    rates_sort(&rates, RATES_BY_NAME);
    snprintf(name, sizeof(name), "%s", text_of(network, "name"));
    printf("network %s\n", output_clean(name));
    print_facts(network);
    print_ports(json_object_get(state, "ports"), &rates);
    print_table("forwards", json_object_get(state, "forwards"), forward_columns,
                COUNT_OF(forward_columns));
    print_counters(state, &rates);
    rates_done(&rates);
    json_decref(one);
}

static bool has_ports(const json_t *states)
{
    bool found = false;
    json_t *state;
    size_t i;

    json_array_foreach(states, i, state) found =
        found || json_array_size(json_object_get(state, "ports")) > 0;
    return found;
}

/* Replaces *@states by a later look, which becomes what is shown; *ret_before is the one of now. */
static int take_again(const char *name, json_t **states, json_t **ret_before,
                      uint64_t *ret_interval_ms, struct err *err)
{
    uint64_t start_ms = clock_now_ms();

    *ret_before = *states;
    poll(NULL, 0, RATE_INTERVAL_MS);
    *ret_interval_ms = clock_now_ms() - start_ms;
    return sample_take(name, states, err);
}

static enum cli_exit show(const char *name)
{
    json_t *before = NULL, *states, *state;
    uint64_t interval_ms = 0;
    struct err err = {0};
    int result = sample_take(name, &states, &err);
    size_t i;

    if (result == 0 && has_ports(states))
        result = take_again(name, &states, &before, &interval_ms, &err);
    if (result == 0 && json_array_size(states) == 0)
        puts("no network runs");
    json_array_foreach(states, i, state)
    {
        if (i > 0)
            putchar('\n');
        print_state(before, state, interval_ms);
    }
    json_decref(before);
    json_decref(states);
    return result < 0 ? cli_fail(CLI_FAILED, "status: %s", err.text) : CLI_DONE;
}

static enum cli_exit show_json(const char *name)
{
    struct err err = {0};
    json_t *states;
    int result = sample_take(name, &states, &err);

    if (!name)
        output_json(states);
    else if (result == 0)
        output_json(json_array_get(states, 0));
    json_decref(states);
    return result < 0 ? cli_fail(CLI_FAILED, "status: %s", err.text) : CLI_DONE;
}

enum cli_exit cmd_status(const struct cli_args *args)
{
    const char *name = args->argc > 0 ? args->argv[0] : NULL;
    struct err err = {0};

    if (name && net_name_check(name, &err) < 0)
        return cli_fail(CLI_USAGE, "status: %s", err.text);
    return cli_value(args, "json") ? show_json(name) : show(name);
}
