/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text that describes networks, ports, forwards and rules, as control clients, command lines and files have it. What is
 * accepted must be accepted again as we would write it, and then be the same.
 *
 * The input is lines: one letter for what it is, and the text; of options as name=value.
 */
#include <stdio.h>

#include "base/netfile.h"
#include "base/portspec.h"
#include "base/text.h"
#include "cli/keyvalue.h"
#include "fuzz.h"
#include "plane/linux/port.h"

static struct net_spec net;
static struct port_spec port;

static void one_option(char *text, bool of_port)
{
    char *value = strchr(text, '=');
    struct err err = {""};
    int result;

    if (value)
        *value++ = '\0';
    result = of_port ? port_spec_set(&port, text, value ? value : "", &err)
                     : net_spec_set(&net, text, value ? value : "", &err);
    REQUIRE(result <= 0 && strlen(err.text) < sizeof(err.text) && (result == 0 || err.text[0]));
}

static void one_forward(const char *text)
{
    struct forward_spec spec, again;
    char written[FORWARD_TEXT_MAX], twice[FORWARD_TEXT_MAX];
    struct err err;

    if (forward_parse(text, &spec, &err) < 0)
        return;
    REQUIRE(spec.ports && spec.host.port && spec.host.port + spec.ports - 1 <= 65535 &&
            spec.guest_port && spec.guest_port + spec.ports - 1 <= 65535);
    forward_format(&spec, written);
    REQUIRE(forward_parse(written, &again, &err) == 0);
    REQUIRE(strcmp(forward_format(&again, twice), written) == 0);
}

static void one_rule(const char *text)
{
    struct net_rule rule;
    struct ip_endpoint to = {.port = 443};
    struct err err;

    if (net_rule_parse(text, false, &rule, &err) < 0)
        return;
    to.addr = rule.prefix;
    if (rule.port)
        to.port = rule.port;
    REQUIRE(!net_rules_allow(&rule, 1, &to)); /* what it denies */
}

static void one_alias(const char *text)
{
    char written[PORT_ALIAS_MAX + 1];
    struct plane_port read, again;

    if (!port_read_alias(text, "", &read))
        return;
    REQUIRE(port_write_alias(&read, "", written) == 0);
    REQUIRE(port_read_alias(written, "", &again));
}

static void one_address(const char *text)
{
    char written[IP_TEXT_MAX];
    struct ip_addr addr, again;
    struct mac_addr mac, mac_again;
    char mac_written[MAC_TEXT_MAX];

    if (ip_parse(text, &addr) == 0)
        REQUIRE(ip_parse(ip_format(&addr, written), &again) == 0 && ip_equal(&addr, &again));
    if (mac_parse(text, &mac) == 0)
        REQUIRE(mac_parse(mac_format(&mac, mac_written), &mac_again) == 0 &&
                memcmp(&mac, &mac_again, sizeof(mac)) == 0);
}

static void one_key_values(const char *text)
{
    struct kv_list list;
    struct err err;

    kv_parse(text, "type", &list, &err);
    kv_done(&list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len_bytes)
{
    struct input input = {data, len_bytes};
    struct err err = {""};
    char *line;

    memset(&net, 0, sizeof(net));
    memset(&port, 0, sizeof(port));
    while ((line = input_line(&input))) {
        char *text = line[0] ? line + 1 : line;

        switch (line[0]) {
        case 'n': one_option(text, false); break;
        case 'p': one_option(text, true); break;
        case 'f': one_forward(text); break;
        case 'r': one_rule(text); break;
        case 'a': one_alias(text); break;
        case 'i': one_address(text); break;
        case 'k': one_key_values(text); break;
        default: (void)text_show(text); break;
        }
        free(line);
    }
    if (net_spec_complete(&net, &err) == 0)
        REQUIRE(net_name_check(net.name, &err) == 0);
    else
        REQUIRE(err.text[0]);
    return 0;
}
