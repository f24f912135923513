/* SPDX-License-Identifier: Apache-2.0 */
/* Egress rules: their text, and what they decide together. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/netfile.h"
#include "base/text.h"

#define RULE_TEXT_MAX 64 /* "[", the longest address, "/128]:65535" */
#define PORT_MAX 65535
#define EXAMPLES "10.0.0.0/8, 10.1.2.3:443 or [fd12::/16]:443"

static int refuse(const char *text, const char *why, struct err *err)
{
    return err_set(err, -EINVAL, "rule '%s' %s: write one such as " EXAMPLES, text_show(text).text,
                   why);
}

/* Clears what is behind the prefix; returns whether there was something. */
static bool mask_addr(struct ip_addr *addr, unsigned prefix_len)
{
    bool cleared = false;

    for (unsigned i = 0; i < ip_len_bytes(addr); i++) {
        unsigned bits = prefix_len <= i * 8 ? 0 : prefix_len - i * 8;
        uint8_t mask = bits >= 8 ? 0xff : (uint8_t)(0xff00 >> bits);

        cleared = cleared || (addr->bytes[i] & ~mask);
        addr->bytes[i] &= mask;
    }
    return cleared;
}

static int read_prefix(const char *text, char *cidr, struct net_rule *rule, struct err *err)
{
    char *slash = strchr(cidr, '/'), prefix[IP_TEXT_MAX];

    if (slash)
        *slash++ = '\0';
    if (ip_parse(cidr, &rule->prefix) < 0)
        return refuse(text, "has no address (names are not looked up)", err);
    rule->prefix_len = ip_len_bytes(&rule->prefix) * 8;
    if (slash && text_to_uint(slash, 0, rule->prefix_len, &rule->prefix_len) < 0)
        return err_set(err, -EINVAL,
                       "rule '%s' has no prefix length from 0 to %u behind '/': write one such "
                       "as " EXAMPLES,
                       text_show(text).text, rule->prefix_len);
    if (mask_addr(&rule->prefix, rule->prefix_len))
        return err_set(err, -EINVAL,
                       "rule '%s' has one bits behind its prefix: write %s/%u for all of it, or "
                       "the address alone",
                       text_show(text).text, ip_format(&rule->prefix, prefix), rule->prefix_len);
    return 0;
}

int net_rule_parse(const char *text, bool allow, struct net_rule *ret_rule, struct err *err)
{
    struct net_rule rule = {.allow = allow};
    char copy[RULE_TEXT_MAX], *cidr = copy, *port = NULL, *colon;
    bool bracketed = text[0] == '[';
    unsigned value = 0;
    int error;

    if (strlen(text) >= sizeof(copy))
        return refuse(text, "is too long", err);
    snprintf(copy, sizeof(copy), "%s", text);
    if (bracketed) {
        cidr++;
        port = strchr(copy, ']');
        if (!port || port[1] != ':')
            return refuse(text, "has a bracket, but no ']:' with a port behind it", err);
        *port = '\0';
        port += 2;
    } else {
        colon = strchr(copy, ':');
        /* More than one is an IPv6 address. */
        if (colon && !strchr(colon + 1, ':')) {
            *colon = '\0';
            port = colon + 1;
        }
    }
    if (port && text_to_uint(port, 1, PORT_MAX, &value) < 0)
        return refuse(text, "has no port from 1 to 65535 behind ':'", err);
    error = read_prefix(text, cidr, &rule, err);
    if (error)
        return error;
    if (bracketed && rule.prefix.family != AF_INET6)
        return refuse(text, "is IPv4, and brackets are for IPv6", err);
    rule.port = (uint16_t)value;
    *ret_rule = rule;
    return 0;
}

static bool rule_matches(const struct net_rule *rule, const struct ip_endpoint *dst)
{
    struct ip_addr addr = dst->addr;

    if (rule->prefix.family != addr.family || (rule->port && rule->port != dst->port))
        return false;
    mask_addr(&addr, rule->prefix_len);
    return ip_equal(&rule->prefix, &addr);
}

/* Prefix length, then port, then deny: the greater one decides. */
static unsigned rule_weight(const struct net_rule *rule)
{
    return rule->prefix_len << 2 | (rule->port ? 2u : 0u) | (rule->allow ? 0u : 1u);
}

bool net_rules_allow(const struct net_rule *rules, unsigned len, const struct ip_endpoint *dst)
{
    const struct net_rule *best = NULL;
    bool any_deny = false;

    for (unsigned i = 0; i < len; i++) {
        any_deny = any_deny || !rules[i].allow;
        if (rule_matches(&rules[i], dst) && (!best || rule_weight(&rules[i]) > rule_weight(best)))
            best = &rules[i];
    }
    return best ? best->allow : any_deny || len == 0;
}
