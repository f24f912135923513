/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/linux/coexist.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* A firewall's own way to let an interface pass. How it is known: by a chain that it has, or by its table's name. */
static const struct firewall {
    const char *name, *chain, *table;
    const char *forward, *input; /* @ is the bridge, # nothing or 6 */
} firewalls[] = {
    {"Docker", "DOCKER-USER", NULL,
     "ip#tables -I DOCKER-USER -i @ -j ACCEPT; ip#tables -I DOCKER-USER -o @ -j ACCEPT",
     "ip#tables -I INPUT -i @ -j ACCEPT"},
    {"ufw", "ufw-before-forward", NULL, "ufw route allow in on @", "ufw allow in on @"},
    {"ufw", "ufw6-before-forward", NULL, "ufw route allow in on @", "ufw allow in on @"},
    {"firewalld", NULL, "firewalld", "firewall-cmd --zone=trusted --add-interface=@",
     "firewall-cmd --zone=trusted --add-interface=@"},
};

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

static bool is_of_table(const json_t *object, const json_t *chain)
{
    return object && strcmp(text_of(object, "family"), text_of(chain, "family")) == 0 &&
           strcmp(text_of(object, "table"), text_of(chain, "table")) == 0;
}

/* Whether a rule drops all that gets to it. */
static bool drops_all(const json_t *rule)
{
    const json_t *expressions = json_object_get(rule, "expr"), *expression;
    bool drops = false;
    size_t i;

    json_array_foreach(expressions, i, expression)
    {
        if (json_object_get(expression, "match") || json_object_get(expression, "xt") ||
            json_object_get(expression, "limit"))
            return false;
        drops |= json_object_get(expression, "drop") || json_object_get(expression, "reject");
    }
    return drops;
}

/* Whether what a base chain does not know is dropped, by its policy or by its last rule. */
static bool is_closed(const json_t *rules, const json_t *chain)
{
    const json_t *item, *rule, *last = NULL;
    size_t i;

    json_array_foreach(rules, i, item)
    {
        rule = json_object_get(item, "rule");
        if (is_of_table(rule, chain) && strcmp(text_of(rule, "chain"), text_of(chain, "name")) == 0)
            last = rule;
    }
    return strcmp(text_of(chain, "policy"), "drop") == 0 || (last && drops_all(last));
}

static bool names_bridge(const json_t *value, const char *bridge)
{
    const json_t *part;
    const char *key;
    size_t i;

    if (json_is_string(value))
        return strcmp(json_string_value(value), bridge) == 0 ||
               strcmp(json_string_value(value), "vmnet-*") == 0;
    json_array_foreach(value, i, part) if (names_bridge(part, bridge)) return true;
    json_object_foreach((json_t *)value, key, part) if (names_bridge(part, bridge)) return true;
    return false;
}

static bool table_knows(const json_t *rules, const json_t *chain, const char *bridge)
{
    const json_t *item, *rule;
    size_t i;

    json_array_foreach(rules, i, item)
    {
        rule = json_object_get(item, "rule");
        if (is_of_table(rule, chain) && names_bridge(json_object_get(rule, "expr"), bridge))
            return true;
    }
    return false;
}

static const struct firewall *find_firewall(const json_t *rules, const json_t *chain)
{
    const json_t *item, *other;
    size_t i;

    for (size_t k = 0; k < sizeof(firewalls) / sizeof(firewalls[0]); k++) {
        const struct firewall *firewall = &firewalls[k];

        if (firewall->table && strcmp(text_of(chain, "table"), firewall->table) == 0)
            return firewall;
        json_array_foreach(rules, i, item)
        {
            other = json_object_get(item, "chain");
            if (firewall->chain && is_of_table(other, chain) &&
                strcmp(text_of(other, "name"), firewall->chain) == 0)
                return firewall;
        }
    }
    return NULL;
}

static void expand(const char *pattern, const char *bridge, const char *six, char *ret_text,
                   size_t size)
{
    size_t len = 0;

    for (ret_text[0] = '\0'; *pattern && len < size; pattern++)
        len += (size_t)snprintf(ret_text + len, size - len, "%.*s%s",
                                *pattern != '@' && *pattern != '#', pattern,
                                *pattern == '@'   ? bridge
                                : *pattern == '#' ? six
                                                  : "");
}

static void describe(const struct firewall *firewall, const json_t *chain, bool forward,
                     const char *bridge, struct err *ret_warning)
{
    const char *family = text_of(chain, "family"), *table = text_of(chain, "table");
    const char *name = text_of(chain, "name");
    char command[384];

    if (firewall)
        expand(forward ? firewall->forward : firewall->input, bridge,
               strcmp(family, "ip6") == 0 ? "6" : "", command, sizeof(command));
    else if (forward)
        snprintf(command, sizeof(command),
                 "nft 'insert rule %1$s %2$s %3$s iifname \"%4$s\" accept; insert rule %1$s %2$s "
                 "%3$s oifname \"%4$s\" accept'",
                 family, table, name, bridge);
    else
        snprintf(command, sizeof(command), "nft 'insert rule %s %s %s iifname \"%s\" accept'",
                 family, table, name, bridge);
    err_set(ret_warning, 0,
            "%s: the chain %.60s of the table %s %.60s%s%s drops what it does not know; to let the "
            "network pass: %s",
            forward ? "its machines may not get out"
                    : "its machines may get no address and no names",
            name, family, table, firewall ? ", which is that of " : "",
            firewall ? firewall->name : "", command);
}

void coexist_look(struct nft_ctx *nft, const struct place *place, struct err *ret_warning)
{
    const char *output = ruleset_list(nft, "list ruleset");
    json_t *root = output ? json_loads(output, 0, NULL) : NULL;
    const json_t *rules = json_object_get(root, "nftables"), *item;
    struct err warning = {""};
    size_t i;

    json_array_foreach(rules, i, item)
    {
        const json_t *chain = json_object_get(item, "chain");
        const char *hook = text_of(chain, "hook"), *family = text_of(chain, "family");
        bool forward = strcmp(hook, "forward") == 0;

        if ((!forward && strcmp(hook, "input") != 0) || strcmp(family, "bridge") == 0 ||
            strncmp(text_of(chain, "table"), "vmnet-", strlen("vmnet-")) == 0 ||
            (forward && !net_config_has_way_out(place->config)))
            continue;
        /* The first is told; what an input chain forbids comes before, for without it there is no address. */
        if ((warning.text[0] && forward) || !is_closed(rules, chain) ||
            table_knows(rules, chain, place->bridge))
            continue;
        describe(find_firewall(rules, chain), chain, forward, place->bridge, &warning);
        if (!forward)
            break;
    }
    json_decref(root);
    *ret_warning = warning;
}
