/* SPDX-License-Identifier: Apache-2.0 */
/* `vmnet status` */
#include <errno.h>
#include <stdio.h>

#include "cli/cli.h"
#include "cli/output.h"
#include "client/client.h"

#define INDENT "  "

static const struct output_fact facts[] = {
    {"mode", "mode", NULL, NULL},
    {"plane", "plane", NULL, NULL},
    {"subnet", "subnet", NULL, NULL},
    {"gateway", "gateway", NULL, NULL},
    {"pool", "poolStart", " to ", "poolEnd"},
    {"IPv6", "ipv6Prefix", ", gateway ", "gateway6"},
    {"domain", "domain", NULL, NULL},
    {"MTU", "mtu", NULL, NULL},
    {"lasting", "lasting", NULL, NULL},
};

static const struct output_column port_columns[] = {
    {"INTERFACE", "interface"},
    {"MAC", "mac"},
    {"IPV4", "ipv4"},
    {"NAME", "name"},
};

static void print_ports(const json_t *ports)
{
    if (json_array_size(ports) == 0) {
        puts(INDENT "no ports");
        return;
    }
    puts(INDENT "ports:");
    output_table(ports, port_columns, sizeof(port_columns) / sizeof(port_columns[0]),
                 INDENT INDENT);
}

/* "title: name value, name value"; nothing where no value counts. */
static void print_numbers(const char *title, json_t *numbers)
{
    const char *separator = "";
    const char *name;
    json_t *value;

    json_object_foreach(numbers, name, value)
    {
        if (!json_is_integer(value) || json_integer_value(value) == 0)
            continue;
        if (!*separator)
            printf(INDENT "%s:\n", title);
        printf("%s" INDENT INDENT "%s %" JSON_INTEGER_FORMAT, separator, name,
               json_integer_value(value));
        separator = "\n";
    }
    if (*separator)
        putchar('\n');
}

static void print_status(const json_t *status)
{
    const json_t *network = json_object_get(status, "network");
    const char *name = json_string_value(json_object_get(network, "name"));

    printf("network %s\n", name ? name : "-");
    output_facts(network, facts, sizeof(facts) / sizeof(facts[0]), INDENT);
    print_ports(json_object_get(status, "ports"));
    print_numbers("processes", json_object_get(status, "processes"));
    print_numbers("counters", json_object_get(status, "counters"));
}

static enum cli_exit show_one(const char *name, bool json)
{
    struct err err = {0};
    json_t *status;

    if (net_name_check(name, &err) < 0)
        return cli_fail(CLI_USAGE, "status: %s", err.text);
    if (client_call(name, "Status", NULL, &status, &err) < 0)
        return cli_fail(CLI_FAILED, "status: network '%s': %s", name, err.text);
    if (json)
        output_json(status);
    else
        print_status(status);
    json_decref(status);
    return CLI_DONE;
}

static void print_all(const json_t *networks)
{
    json_t *status;
    size_t i;

    if (json_array_size(networks) == 0)
        puts("no network runs");
    json_array_foreach(networks, i, status)
    {
        if (i > 0)
            putchar('\n');
        print_status(status);
    }
}

static enum cli_exit show_all(bool json)
{
    json_t *networks;
    enum cli_exit code = cli_ask_all("status", "Status", &networks);

    if (json)
        output_json(networks);
    else if (code == CLI_DONE || json_array_size(networks) > 0)
        print_all(networks);
    json_decref(networks);
    return code;
}

enum cli_exit cmd_status(const struct cli_args *args)
{
    bool json = cli_value(args, "json") != NULL;

    return args->argc > 0 ? show_one(args->argv[0], json) : show_all(json);
}
