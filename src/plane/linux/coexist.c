/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For each chain of another program's through which packets of guests come it is asked what it makes of them (verdict.h): of
 * the first of a connection to somewhere, of an answer, of what a forward leads in, of questions to DHCP and DNS.
 */
#include "plane/linux/coexist.h"

#include <jansson.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>

#include "plane/linux/verdict.h"

/*
 * A firewall's own ways to let an interface pass. It is known by a chain to which the base chain jumps, else by its
 * table's name. @ is the bridge, # nothing or 6. Where it keeps its rules the network's are kept with them.
 */
static const struct firewall {
    const char *name;
    const char *chain;
    const char *table;
    const char *forward, *input;
} firewalls[] = {
    {"ufw", "ufw#-before-forward", NULL, "ufw route allow in on @; ufw route allow out on @",
     "ufw allow in on @"},
    {"ufw", "ufw#-before-input", NULL, "ufw route allow in on @; ufw route allow out on @",
     "ufw allow in on @"},
    {"Docker", "DOCKER-USER", NULL,
     "ip#tables -I DOCKER-USER -i @ -j ACCEPT; ip#tables -I DOCKER-USER -o @ -j ACCEPT", NULL},
    {"firewalld", NULL, "firewalld",
     "firewall-cmd --zone=trusted --add-interface=@; "
     "firewall-cmd --permanent --zone=trusted --add-interface=@",
     "firewall-cmd --zone=trusted --add-interface=@; "
     "firewall-cmd --permanent --zone=trusted --add-interface=@"},
    {"iptables", NULL, "filter",
     "ip#tables -I FORWARD -i @ -j ACCEPT; ip#tables -I FORWARD -o @ -j ACCEPT",
     "ip#tables -I INPUT -i @ -j ACCEPT"},
};

/* What is asked, and what it means for the network's machines that it is dropped. */
enum question {
    ASK_SERVICES,
    ASK_OUT,
    ASK_IN,
    QUESTIONS
};
static const char *const meanings[] = {
    [ASK_SERVICES] = "its machines may get no address and no names",
    [ASK_OUT] = "its machines may not get out",
    [ASK_IN] = "its forwards may not get in",
};

struct look {
    const struct place *place;
    const struct uplinks *uplinks;
    bool forwards;
    const struct firewall
        *firewall;   /* whose first chain it was that drops; NULL: of nobody who is known */
    char chain[128]; /* which, "" none yet */
    bool dropped[QUESTIONS];
    char commands[512];
};

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
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

static const char *six(const json_t *chain)
{
    return strcmp(text_of(chain, "family"), "ip6") == 0 ? "6" : "";
}

/* ---- who it is */

static bool jumps_to(const json_t *table, const json_t *chain, const char *target)
{
    const json_t *item, *rule, *statement;
    size_t i, k;

    json_array_foreach(table, i, item)
    {
        rule = json_object_get(item, "rule");
        if (!rule || strcmp(text_of(rule, "chain"), text_of(chain, "name")) != 0)
            continue;
        json_array_foreach(
            json_object_get(rule, "expr"), k,
            statement) if (strcmp(text_of(json_object_get(statement, "jump"), "target"), target) ==
                           0) return true;
    }
    return false;
}

/* iptables' chains have the hooks' names in capitals. */
static bool is_of_iptables(const json_t *chain)
{
    const char *name = text_of(chain, "name");

    return strncmp(text_of(chain, "family"), "ip", 2) == 0 &&
           (strcmp(name, "FORWARD") == 0 || strcmp(name, "INPUT") == 0);
}

static const struct firewall *find_firewall(const json_t *table, const json_t *chain, bool input)
{
    char target[32];

    for (size_t i = 0; i < sizeof(firewalls) / sizeof(firewalls[0]); i++) {
        const struct firewall *firewall = &firewalls[i];

        if (input && !firewall->input)
            continue;
        if (firewall->chain)
            expand(firewall->chain, "", six(chain), target, sizeof(target));
        if (firewall->chain ? jumps_to(table, chain, target)
                            : strcmp(text_of(chain, "table"), firewall->table) == 0 &&
                                  (strcmp(firewall->table, "filter") != 0 || is_of_iptables(chain)))
            return firewall;
    }
    return NULL;
}

/* ---- what it makes of our packets */

static struct ip_addr guest_address(const struct net_config *config, int family)
{
    struct ip_addr address = family == AF_INET ? ip_from_u32(config->pool_start) : config->prefix6;

    if (family == AF_INET6)
        address.bytes[15] = 2;
    return address;
}

/* What is dropped whichever of the interfaces it goes over that lead to the world, or where none does, to anybody. */
static bool drops_routed(const struct look *look, const json_t *table, const json_t *chain,
                         struct verdict_packet packet, bool out)
{
    const struct uplinks *uplinks = look->uplinks;
    bool v4 = packet.family == AF_INET, any = false;
    unsigned outcomes = 0;

    for (unsigned i = 0; i < uplinks->len; i++)
        any |= v4 ? uplinks->each[i].default4 : uplinks->each[i].default6;
    for (unsigned i = 0; i < uplinks->len && !(outcomes & VERDICT_ACCEPT); i++) {
        const struct uplink *uplink = &uplinks->each[i];

        if (any ? !(v4 ? uplink->default4 : uplink->default6) : !(v4 ? uplink->ipv4 : uplink->ipv6))
            continue;
        packet.iif = out ? look->place->bridge : uplink->name;
        packet.oif = out ? uplink->name : look->place->bridge;
        outcomes |= verdict_of_chain(table, chain, &packet);
    }
    return outcomes == VERDICT_DROP;
}

static void ask_forward(struct look *look, const json_t *table, const json_t *chain, int family,
                        bool ret_dropped[QUESTIONS])
{
    const struct net_config *config = look->place->config;
    struct ip_addr guest = guest_address(config, family);
    struct verdict_packet out = {.family = family,
                                 .named = look->place->bridge,
                                 .from = guest,
                                 .protocol = IPPROTO_TCP,
                                 .to_type = RTN_UNICAST};
    struct verdict_packet in = out;

    if (!net_config_has_nat(config, family) || !guest.family)
        return;
    in.from.family = 0;
    in.to = guest;
    in.established = true;
    ret_dropped[ASK_OUT] |=
        drops_routed(look, table, chain, out, true) || drops_routed(look, table, chain, in, false);
    in.established = false;
    in.dnat = true;
    ret_dropped[ASK_IN] |= look->forwards && drops_routed(look, table, chain, in, false);
}

static void ask_input(struct look *look, const json_t *table, const json_t *chain, int family,
                      bool ret_dropped[QUESTIONS])
{
    const struct net_config *config = look->place->config;
    struct verdict_packet packet = {.family = family,
                                    .iif = look->place->bridge,
                                    .oif = "",
                                    .named = look->place->bridge,
                                    .from = guest_address(config, family),
                                    .protocol = IPPROTO_UDP,
                                    .to_type = RTN_LOCAL,
                                    .to_port = 53};

    packet.to = family == AF_INET ? ip_from_u32(config->gateway) : config->gateway6;
    if (!packet.to.family)
        return;
    if (config->on[NET_DNS])
        ret_dropped[ASK_SERVICES] |= verdict_of_chain(table, chain, &packet) == VERDICT_DROP;
    if (family != AF_INET || !config->on[NET_DHCP])
        return;
    packet.to_port = 67;
    packet.to_type = RTN_BROADCAST;
    packet.to = ip_from_u32(0xffffffff);
    packet.from = ip_from_u32(0);
    ret_dropped[ASK_SERVICES] |= verdict_of_chain(table, chain, &packet) == VERDICT_DROP;
}

/* ---- what is to be done */

static void add_command(struct look *look, const char *command)
{
    size_t len = strlen(look->commands);

    /* One that lets both IP versions pass is said once. */
    if (!strstr(look->commands, command))
        snprintf(look->commands + len, sizeof(look->commands) - len, "%s%s", len ? "; " : "",
                 command);
}

static void tell(struct look *look, const struct firewall *firewall, const json_t *chain,
                 bool input)
{
    const char *family = text_of(chain, "family"), *table = text_of(chain, "table");
    const char *name = text_of(chain, "name"), *bridge = look->place->bridge;
    char command[384];

    if (!look->chain[0]) {
        look->firewall = firewall;
        snprintf(look->chain, sizeof(look->chain), "the chain %.40s of the table %s %.40s", name,
                 family, table);
    }
    if (firewall)
        expand(input ? firewall->input : firewall->forward, bridge, six(chain), command,
               sizeof(command));
    else if (input)
        snprintf(command, sizeof(command), "nft 'insert rule %s %.64s %.64s iifname \"%s\" accept'",
                 family, table, name, bridge);
    else
        snprintf(command, sizeof(command),
                 "nft 'insert rule %1$s %2$.64s %3$.64s iifname \"%4$s\" accept; insert rule %1$s "
                 "%2$.64s %3$.64s oifname \"%4$s\" accept'",
                 family, table, name, bridge);
    add_command(look, command);
}

static void look_at_chain(struct look *look, const json_t *table, const json_t *chain, bool input)
{
    const char *family = text_of(chain, "family");
    bool dropped[QUESTIONS] = {false}, any = false;
    const struct firewall *firewall;

    for (int i = 0; i < 2; i++) {
        int version = i ? AF_INET6 : AF_INET;

        if (strcmp(family, i ? "ip" : "ip6") != 0)
            (input ? ask_input : ask_forward)(look, table, chain, version, dropped);
    }
    for (int i = 0; i < QUESTIONS; i++)
        any |= dropped[i];
    if (!any)
        return;
    firewall = find_firewall(table, chain, input);
    /* Of several firewalls the first is told, with all that it drops. */
    if (look->chain[0] && (firewall != look->firewall || !firewall) &&
        !(firewall && look->firewall && strcmp(firewall->name, look->firewall->name) == 0))
        return;
    for (int i = 0; i < QUESTIONS; i++)
        look->dropped[i] |= dropped[i];
    tell(look, firewall, chain, input);
}

/* All that is of the same table as @chain. */
static json_t *table_of(const json_t *rules, const json_t *chain)
{
    static const char *const kinds[] = {"chain", "rule", "set", "map"};
    json_t *table = json_array(), *item, *object;
    size_t i;

    json_array_foreach(rules, i, item)
    {
        for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
            object = json_object_get(item, kinds[k]);
            if (object && strcmp(text_of(object, "family"), text_of(chain, "family")) == 0 &&
                strcmp(text_of(object, "table"), text_of(chain, "table")) == 0)
                json_array_append(table, item);
        }
    }
    return table;
}

static void write_warning(const struct look *look, struct err *ret_warning)
{
    char what[160] = "";
    size_t len = 0;

    for (int i = 0; i < QUESTIONS; i++)
        if (look->dropped[i])
            len += (size_t)snprintf(what + len, sizeof(what) - len, "%s%s", len ? ", and " : "",
                                    meanings[i]);
    err_set(ret_warning, 0, "%s: %s%s%s drops what it does not know; to let the network pass: %s",
            what, look->chain, look->firewall ? ", which is that of " : "",
            look->firewall ? look->firewall->name : "", look->commands);
}

void coexist_look(struct nft_ctx *nft, const struct place *place, const struct uplinks *uplinks,
                  bool forwards, struct err *ret_warning)
{
    struct look look = {.place = place, .uplinks = uplinks, .forwards = forwards};
    const char *output = ruleset_list(nft, "list ruleset");
    json_t *root = output ? json_loads(output, 0, NULL) : NULL;
    const json_t *rules = json_object_get(root, "nftables"), *item;
    size_t i;

    json_array_foreach(rules, i, item)
    {
        const json_t *chain = json_object_get(item, "chain");
        const char *hook = text_of(chain, "hook"), *family = text_of(chain, "family");
        bool input = strcmp(hook, "input") == 0;
        json_t *table;

        if ((!input && strcmp(hook, "forward") != 0) ||
            (strncmp(family, "ip", 2) != 0 && strcmp(family, "inet") != 0) ||
            strncmp(text_of(chain, "table"), "vmnet-", strlen("vmnet-")) == 0)
            continue;
        table = table_of(rules, chain);
        look_at_chain(&look, table, chain, input);
        json_decref(table);
    }
    json_decref(root);
    if (look.chain[0])
        write_warning(&look, ret_warning);
    else
        err_set(ret_warning, 0, "%s", "");
}
