/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/linux/bridged_hooks.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plane/linux/place.h"

/* Before the interface's index in the names of chains: what it receives, what it sends. */
#define RECEIVED "received-"
#define SENT "sent-"

/*
 * Arguments: a chain's name, an index, a hook, the interface's name, and twice the index of the link. A frame of a
 * machine's does not meet the second chain: what a filter of the link sends passes the hooks of nftables.
 */
static const char chain_text[] =
    "  chain %s%d {\n"
    "    type filter hook %s device \"%s\" priority filter; policy accept;\n"
    "    ether daddr @machines fwd to %d\n"
    "    ether daddr 01:80:c2:00:00:00-01:80:c2:00:00:0f accept\n"
    "    ether daddr & 01:00:00:00:00:00 != 00:00:00:00:00:00 ether saddr != @machines dup to %d\n"
    "  }\n";

static void write_machines(FILE *text, const struct wire *wire)
{
    char mac[MAC_TEXT_MAX];

    fprintf(text, "  set machines { type ether_addr; size %d;", FRAMES_MACS_MAX);
    for (size_t i = 0; i < wire->macs_len; i++)
        fprintf(text, "%s%s", i == 0 ? " elements = { " : ", ", mac_format(&wire->macs[i], mac));
    fputs(wire->macs_len ? " }; }\n" : " }\n", text);
}

/* In one batch: the frames of now meet the old table or the new one. */
int hooks_set(struct wire *wire, struct err *err)
{
    const struct bridged_link *nic = &wire->nic;
    struct ruleset ruleset;

    /* It is quoted below. */
    if (strpbrk(nic->name, "\"\\*"))
        return err_set(err, -EINVAL, "interface %s: nftables does not take such a name", nic->name);
    if (ruleset_begin(&ruleset)) {
        fprintf(ruleset.file, "table netdev %1$s\ndelete table netdev %1$s\ntable netdev %1$s {\n",
                wire->leg_name);
        write_machines(ruleset.file, wire);
        fprintf(ruleset.file, chain_text, RECEIVED, nic->ifindex, "ingress", nic->name, wire->leg,
                wire->leg);
        fprintf(ruleset.file, chain_text, SENT, nic->ifindex, "egress", nic->name, wire->leg,
                wire->leg);
        fputs("}\n", ruleset.file);
    }
    return ruleset_end(&ruleset, wire->nft, err);
}

static void delete_table(struct nft_ctx *nft, const char *table)
{
    struct ruleset ruleset;
    struct err err;

    if (ruleset_begin(&ruleset))
        fprintf(ruleset.file, "table netdev %1$s\ndelete table netdev %1$s\n", table);
    ruleset_end(&ruleset, nft, &err);
}

void hooks_clear(struct wire *wire)
{
    if (hooks_found(wire))
        delete_table(wire->nft, wire->leg_name);
}

bool hooks_found(struct wire *wire)
{
    return ruleset_has_table(wire->nft, "netdev", wire->leg_name);
}

/* Calls @each with each of our chains: its table, which is the name of a link, and the index of the interface. */
static void walk_chains(struct nft_ctx *nft,
                        void (*each)(void *context, const char *table, int ifindex), void *context)
{
    const char *output = ruleset_list(nft, "list chains netdev");
    json_t *root = output ? json_loads(output, 0, NULL) : NULL, *item;
    size_t i;

    json_array_foreach(json_object_get(root, "nftables"), i, item)
    {
        const char *table, *name;

        if (json_unpack(item, "{s:{s:s, s:s}}", "chain", "table", &table, "name", &name) == 0 &&
            strncmp(table, PLACE_PREFIX, strlen(PLACE_PREFIX)) == 0 && strlen(table) < 16 &&
            strncmp(name, RECEIVED, strlen(RECEIVED)) == 0)
            each(context, table, atoi(name + strlen(RECEIVED)));
    }
    json_decref(root);
}

struct search {
    struct wire *wire;
    char *leg;
};

static void on_other(void *context, const char *table, int ifindex)
{
    struct search *search = context;
    struct wire *wire = search->wire;
    struct bridged_link leg;

    if (ifindex == wire->nic.ifindex && strcmp(table, wire->leg_name) != 0 &&
        bridged_link_read(wire->host, table, 0, &leg) == 0)
        snprintf(search->leg, 16, "%s", table);
}

void hooks_find_other(struct wire *wire, char ret_leg[16])
{
    struct search search = {wire, ret_leg};

    ret_leg[0] = '\0';
    walk_chains(wire->nft, on_other, &search);
}

struct cleaning {
    struct netlink *host;
    struct ruleset deletions;
    int len;
};

static void on_chain(void *context, const char *table, int ifindex)
{
    struct cleaning *cleaning = context;
    struct bridged_link leg;

    if (!cleaning->deletions.file || bridged_link_read(cleaning->host, table, 0, &leg) != -ENODEV)
        return;
    fprintf(cleaning->deletions.file, "delete table netdev %s\n", table);
    cleaning->len++;
}

int hooks_clear_dead(struct netlink *host, struct nft_ctx *nft)
{
    struct cleaning cleaning = {.host = host};
    struct err err;
    int result;

    ruleset_begin(&cleaning.deletions);
    walk_chains(nft, on_chain, &cleaning);
    result = ruleset_end(&cleaning.deletions, nft, &err);
    return result < 0 ? result : cleaning.len;
}
