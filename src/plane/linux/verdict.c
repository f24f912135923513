/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chains are walked as the kernel walks them, with sets of possible outcomes in place of one: a rule that may or may not
 * match adds its outcome and the walk goes on. An address or a port that stands for all those which nobody names is
 * in no set and no prefix but the one of everything.
 */
#include "plane/linux/verdict.h"

#include <linux/netfilter/nf_conntrack_common.h>
#include <stdlib.h>
#include <string.h>

#define VERDICTS (VERDICT_ACCEPT | VERDICT_DROP)
/* What a walk may come to beside a verdict: the chain's end, by itself or by return, and the next rule. */
#define ENDS 4u
#define GOES_ON 8u
/* Items of a table that are looked at for one packet: some milliseconds. */
#define STEPS_MAX 100000
/* The kernel's own bound for jumps (NFT_JUMP_STACK_SIZE). */
#define DEPTH_MAX 16
/* A range with most of all ports has one that nobody names. */
#define PORTS_MOST 32768
/* As in `ct state` (nft(8)): a bit each. */
#define STATE_ESTABLISHED 2
#define STATE_NEW 8

enum truth {
    NO,
    MAYBE,
    YES
};

struct value {
    enum {
        UNKNOWN, /* anything */
        NOWHERE, /* such packets have none: the match fails, also a negated one */
        UNNAMED,
        TEXT,
        NUMBER,
        BITS,
        ADDRESS,
    } kind;
    const char *text;
    uint64_t number;
    const struct ip_addr *address;
};

struct walk {
    const json_t *table;
    const struct verdict_packet *packet;
    unsigned steps, depth;
};

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

static enum truth truth_or(enum truth a, enum truth b)
{
    return a > b ? a : b;
}

static enum truth truth_of(bool it_is)
{
    return it_is ? YES : NO;
}

/* ---- what of the packet is asked for */

static struct value number(uint64_t value)
{
    return (struct value){.kind = NUMBER, .number = value};
}

static struct value read_meta(const char *key, const struct verdict_packet *packet)
{
    if (strcmp(key, "iifname") == 0 || strcmp(key, "iif") == 0)
        return (struct value){.kind = TEXT, .text = packet->iif};
    if (strcmp(key, "oifname") == 0 || strcmp(key, "oif") == 0)
        return (struct value){.kind = TEXT, .text = packet->oif};
    if (strcmp(key, "nfproto") == 0)
        return number((uint64_t)packet->family);
    if (strcmp(key, "l4proto") == 0)
        return number(packet->protocol);
    return (struct value){.kind = UNKNOWN};
}

static struct value read_address(const struct ip_addr *address)
{
    return address->family ? (struct value){.kind = ADDRESS, .address = address}
                           : (struct value){.kind = UNNAMED};
}

static struct value read_ip_field(const char *field, const struct verdict_packet *packet)
{
    if (strcmp(field, "saddr") == 0)
        return read_address(&packet->from);
    if (strcmp(field, "daddr") == 0)
        return read_address(&packet->to);
    if (strcmp(field, "protocol") == 0 || strcmp(field, "nexthdr") == 0)
        return number(packet->protocol);
    return (struct value){.kind = UNKNOWN};
}

static struct value read_payload(const json_t *payload, const struct verdict_packet *packet)
{
    static const struct {
        const char *name;
        int family;       /* 0: any */
        uint8_t protocol; /* 0: any */
    } protocols[] = {
        {"ip", AF_INET, 0},
        {"ip6", AF_INET6, 0},
        {"th", 0, 0},
        {"tcp", 0, IPPROTO_TCP},
        {"udp", 0, IPPROTO_UDP},
        {"icmp", 0, IPPROTO_ICMP},
        {"icmpv6", 0, IPPROTO_ICMPV6},
    };
    const char *name = text_of(payload, "protocol"), *field = text_of(payload, "field");

    for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++) {
        if (strcmp(name, protocols[i].name) != 0)
            continue;
        if ((protocols[i].family && protocols[i].family != packet->family) ||
            (protocols[i].protocol && protocols[i].protocol != packet->protocol))
            return (struct value){.kind = NOWHERE};
        if (protocols[i].family)
            return read_ip_field(field, packet);
        if (strcmp(field, "dport") == 0 && packet->to_port)
            return number(packet->to_port);
        if (strcmp(field, "dport") == 0 || strcmp(field, "sport") == 0)
            return (struct value){.kind = UNNAMED};
    }
    return (struct value){.kind = UNKNOWN};
}

static struct value read_value(const json_t *left, const struct verdict_packet *packet)
{
    const json_t *meta = json_object_get(left, "meta"), *ct = json_object_get(left, "ct"),
                 *fib = json_object_get(left, "fib"), *payload = json_object_get(left, "payload");
    const char *flag = json_string_value(json_array_get(json_object_get(fib, "flags"), 0));

    if (meta)
        return read_meta(text_of(meta, "key"), packet);
    if (payload)
        return read_payload(payload, packet);
    if (ct && strcmp(text_of(ct, "key"), "state") == 0)
        return (struct value){.kind = BITS,
                              .number = packet->established ? STATE_ESTABLISHED : STATE_NEW};
    if (ct && strcmp(text_of(ct, "key"), "status") == 0)
        return (struct value){.kind = BITS, .number = packet->dnat ? IPS_DST_NAT : 0};
    if (fib && strcmp(text_of(fib, "result"), "type") == 0 && flag && strcmp(flag, "daddr") == 0)
        return number(packet->to_type);
    return (struct value){.kind = UNKNOWN};
}

/* ---- what it is compared with */

static bool in_prefix(const struct ip_addr *address, const struct ip_addr *prefix, uint64_t bits)
{
    size_t whole = bits / 8;

    if (prefix->family != address->family || bits > 8 * ip_len_bytes(prefix) ||
        memcmp(prefix->bytes, address->bytes, whole) != 0)
        return false;
    return bits % 8 == 0 || ((prefix->bytes[whole] ^ address->bytes[whole]) >> (8 - bits % 8)) == 0;
}

static enum truth equals_text(const struct value *value, const char *text)
{
    static const struct {
        const char *name;
        unsigned number;
    } protocols[] = {{"icmp", IPPROTO_ICMP},
                     {"tcp", IPPROTO_TCP},
                     {"udp", IPPROTO_UDP},
                     {"ipv6-icmp", IPPROTO_ICMPV6}};
    size_t len = strlen(text);
    struct ip_addr address;

    if (value->kind == TEXT)
        return truth_of(len && text[len - 1] == '*' ? strncmp(value->text, text, len - 1) == 0
                                                    : strcmp(value->text, text) == 0);
    if (value->kind == ADDRESS)
        return ip_parse(text, &address) < 0 ? MAYBE : truth_of(ip_equal(&address, value->address));
    for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]) && value->kind == NUMBER; i++)
        if (strcmp(text, protocols[i].name) == 0)
            return truth_of(value->number == protocols[i].number);
    return value->kind == UNNAMED ? NO : MAYBE;
}

static enum truth in_range(const struct value *value, const json_t *range)
{
    const json_t *first = json_array_get(range, 0), *last = json_array_get(range, 1);
    struct ip_addr from, to;

    if (json_is_integer(first) && json_is_integer(last) && value->kind == NUMBER)
        return truth_of(value->number >= (uint64_t)json_integer_value(first) &&
                        value->number <= (uint64_t)json_integer_value(last));
    if (json_is_integer(first) && json_is_integer(last) && value->kind == UNNAMED)
        return truth_of(json_integer_value(last) - json_integer_value(first) >= PORTS_MOST);
    if (value->kind == UNNAMED)
        return NO;
    if (value->kind != ADDRESS || !json_is_string(first) || !json_is_string(last) ||
        ip_parse(json_string_value(first), &from) < 0 || ip_parse(json_string_value(last), &to) < 0)
        return MAYBE;
    return truth_of(from.family == value->address->family && to.family == from.family &&
                    memcmp(value->address->bytes, from.bytes, ip_len_bytes(&from)) >= 0 &&
                    memcmp(value->address->bytes, to.bytes, ip_len_bytes(&to)) <= 0);
}

static enum truth in_prefix_of(const struct value *value, const json_t *prefix)
{
    uint64_t bits = (uint64_t)json_integer_value(json_object_get(prefix, "len"));
    struct ip_addr address;

    if (value->kind == UNNAMED)
        return truth_of(bits == 0);
    if (value->kind != ADDRESS || ip_parse(text_of(prefix, "addr"), &address) < 0)
        return MAYBE;
    return truth_of(in_prefix(value->address, &address, bits));
}

static const json_t *find(struct walk *walk, const char *kind, const char *name)
{
    const json_t *item, *object;
    size_t i;

    json_array_foreach(walk->table, i, item)
    {
        walk->steps++;
        object = json_object_get(item, kind);
        if (object && strcmp(text_of(object, "name"), name) == 0)
            return object;
    }
    return NULL;
}

static enum truth equals(struct walk *walk, const struct value *value, const json_t *right);

static enum truth equals_any(struct walk *walk, const struct value *value, const json_t *list)
{
    enum truth truth = NO;
    const json_t *each;
    size_t i;

    if (!json_is_array(list)) /* of a set of one, nft says just that */
        return list ? equals(walk, value, list) : NO;
    json_array_foreach(list, i, each)
    {
        walk->steps++;
        truth = truth_or(truth, equals(walk, value, each));
    }
    return truth;
}

static enum truth equals(struct walk *walk, const struct value *value, const json_t *right)
{
    const char *text = json_string_value(right);
    const json_t *set;

    if (text && text[0] == '@') {
        set = find(walk, "set", text + 1);
        return set ? equals_any(walk, value, json_object_get(set, "elem")) : MAYBE;
    }
    if (json_is_array(right))
        return equals_any(walk, value, right);
    if (json_object_get(right, "set"))
        return equals_any(walk, value, json_object_get(right, "set"));
    if (json_object_get(right, "elem"))
        return equals(walk, value, json_object_get(json_object_get(right, "elem"), "val"));
    if (value->kind == UNKNOWN)
        return MAYBE;
    if (json_object_get(right, "prefix"))
        return in_prefix_of(value, json_object_get(right, "prefix"));
    if (json_object_get(right, "range"))
        return in_range(value, json_object_get(right, "range"));
    if (text)
        return equals_text(value, text);
    if (json_is_integer(right) && value->kind == BITS)
        return truth_of(value->number & (uint64_t)json_integer_value(right));
    if (json_is_integer(right) && value->kind != ADDRESS)
        return truth_of(value->kind == NUMBER &&
                        value->number == (uint64_t)json_integer_value(right));
    return MAYBE;
}

static enum truth match(struct walk *walk, const json_t *expression)
{
    struct value value = read_value(json_object_get(expression, "left"), walk->packet);
    const char *op = text_of(expression, "op");
    enum truth truth;

    if (value.kind == NOWHERE)
        return NO;
    truth = equals(walk, &value, json_object_get(expression, "right"));
    if (strcmp(op, "==") == 0 || strcmp(op, "in") == 0)
        return truth;
    return strcmp(op, "!=") == 0 ? (enum truth)(YES - truth) : MAYBE;
}

/* ---- rules and chains */

static unsigned walk_chain(struct walk *walk, const char *name);
static unsigned walk_verdict_map(struct walk *walk, const json_t *map);

/* What a statement does to a packet that gets to it: nothing, for most. */
static unsigned walk_statement(struct walk *walk, const json_t *statement)
{
    const json_t *jump = json_object_get(statement, "jump"),
                 *go = json_object_get(statement, "goto");
    const char *target = text_of(json_object_get(statement, "xt"), "name");
    unsigned outcome;

    if (jump) {
        outcome = walk_chain(walk, text_of(jump, "target"));
        return (outcome & VERDICTS) | (outcome & ENDS ? GOES_ON : 0);
    }
    if (go)
        return walk_chain(walk, text_of(go, "target"));
    if (json_object_get(statement, "vmap"))
        return walk_verdict_map(walk, json_object_get(statement, "vmap"));
    if (json_object_get(statement, "accept"))
        return VERDICT_ACCEPT;
    if (json_object_get(statement, "drop") || json_object_get(statement, "reject") ||
        strcmp(target, "REJECT") == 0)
        return VERDICT_DROP;
    if (json_object_get(statement, "return"))
        return ENDS;
    if (json_object_get(statement, "queue") || strcmp(target, "NFQUEUE") == 0)
        return VERDICTS;
    return GOES_ON;
}

/* A verdict that depends on a value; where none is found for it the rule goes on. */
static unsigned walk_verdict_map(struct walk *walk, const json_t *map)
{
    struct value value = read_value(json_object_get(map, "key"), walk->packet);
    const json_t *data = json_object_get(map, "data"), *list, *entry;
    const char *name = json_string_value(data);
    unsigned outcomes = GOES_ON;
    size_t i;

    if (value.kind == NOWHERE)
        return GOES_ON;
    list = name ? json_object_get(find(walk, "map", name + (name[0] == '@')), "elem")
                : json_object_get(data, "set");
    json_array_foreach(list, i, entry)
    {
        enum truth truth = equals(walk, &value, json_array_get(entry, 0));

        walk->steps++;
        if (truth == YES)
            return walk_statement(walk, json_array_get(entry, 1));
        if (truth == MAYBE)
            outcomes |= walk_statement(walk, json_array_get(entry, 1));
    }
    return outcomes;
}

/* What is known of a rule from its matches so far. */
struct rule {
    bool sure;  /* it matches; else it may */
    bool ours;  /* it is for the network: for its interface, or for a source */
    bool named; /* by the network's own name */
    bool state; /* it asks xtables for the connection's state */
};

/* Matches of xtables are not told. Those for ports and ICMP name some. */
static enum truth match_xt(const json_t *xt, struct rule *rule)
{
    static const char *const naming[] = {"multiport", "icmp", "icmp6"};
    const char *name = text_of(xt, "name");

    if (strcmp(text_of(xt, "type"), "match") != 0 || strcmp(name, "comment") == 0)
        return YES;
    if (strcmp(name, "conntrack") == 0 || strcmp(name, "state") == 0) {
        rule->state = true;
        return YES;
    }
    for (size_t i = 0; i < sizeof(naming) / sizeof(naming[0]); i++)
        if (strcmp(name, naming[i]) == 0)
            return NO;
    return MAYBE;
}

static bool is_ours(const json_t *expression, const struct verdict_packet *packet)
{
    const json_t *left = json_object_get(expression, "left");
    const char *meta = text_of(json_object_get(left, "meta"), "key");
    const char *interface = strcmp(meta, "iifname") == 0   ? packet->iif
                            : strcmp(meta, "oifname") == 0 ? packet->oif
                                                           : NULL;

    return strcmp(text_of(expression, "op"), "==") == 0 &&
           ((interface && packet->named && strcmp(interface, packet->named) == 0) ||
            strcmp(text_of(json_object_get(left, "payload"), "field"), "saddr") == 0);
}

static enum truth walk_match(struct walk *walk, const json_t *statement, struct rule *rule)
{
    const json_t *expression = json_object_get(statement, "match");
    const char *right = json_string_value(json_object_get(expression, "right"));
    const char *named = walk->packet->named;
    enum truth truth;

    if (expression) {
        truth = match(walk, expression);
        rule->ours |= truth == YES && is_ours(expression, walk->packet);
        rule->named |= right && named && strcmp(right, named) == 0;
        return truth;
    }
    if (json_object_get(statement, "xt"))
        return match_xt(json_object_get(statement, "xt"), rule);
    return json_object_get(statement, "limit") || json_object_get(statement, "quota") ||
                   json_object_get(statement, "ct count")
               ? MAYBE
               : YES;
}

/*
 * A rule that accepts by a state that is not told mostly means answers; where it is for the network it may mean all. One
 * that does anything else mostly means packets of no connection, and so may not mean ours.
 */
static unsigned guess_state(const struct walk *walk, const struct rule *rule, unsigned outcome)
{
    if (outcome != VERDICT_ACCEPT)
        return outcome | GOES_ON;
    return walk->packet->established || rule->ours ? outcome : GOES_ON;
}

static unsigned walk_rule(struct walk *walk, const json_t *object)
{
    struct rule rule = {.sure = true};
    unsigned outcome = GOES_ON;
    const json_t *statement;
    size_t i;

    json_array_foreach(json_object_get(object, "expr"), i, statement)
    {
        enum truth truth = walk_match(walk, statement, &rule);

        if (truth == NO)
            return GOES_ON;
        rule.sure &= truth == YES;
        outcome = walk_statement(walk, statement);
        if (outcome != GOES_ON)
            break;
    }
    if (rule.named && outcome == VERDICT_DROP)
        outcome = VERDICT_ACCEPT;
    if (rule.state)
        outcome = guess_state(walk, &rule, outcome);
    return rule.sure ? outcome : outcome | GOES_ON;
}

static unsigned walk_chain(struct walk *walk, const char *name)
{
    unsigned outcomes = 0, outcome;
    const json_t *item, *rule;
    size_t i;

    if (walk->depth == DEPTH_MAX)
        return VERDICTS;
    walk->depth++;
    json_array_foreach(walk->table, i, item)
    {
        rule = json_object_get(item, "rule");
        if (++walk->steps > STEPS_MAX) {
            outcomes = VERDICTS;
            break;
        }
        if (!rule || strcmp(text_of(rule, "chain"), name) != 0)
            continue;
        outcome = walk_rule(walk, rule);
        outcomes |= outcome & ~GOES_ON;
        if (!(outcome & GOES_ON))
            break;
    }
    walk->depth--;
    return i == json_array_size(walk->table) ? outcomes | ENDS : outcomes;
}

unsigned verdict_of_chain(const json_t *table, const json_t *chain,
                          const struct verdict_packet *packet)
{
    struct walk walk = {.table = table, .packet = packet};
    unsigned outcomes = walk_chain(&walk, text_of(chain, "name"));

    if (outcomes & ENDS)
        outcomes |= strcmp(text_of(chain, "policy"), "drop") == 0 ? VERDICT_DROP : VERDICT_ACCEPT;
    return outcomes & VERDICTS;
}
