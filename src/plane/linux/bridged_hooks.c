/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/linux/bridged_hooks.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plane/linux/bridged_macnat.h"
#include "plane/linux/place.h"

/* Before the interface's index in the names of chains: what it receives, what it sends. */
#define RECEIVED "received-"
#define SENT "sent-"
#define MACHINES "machines"

/*
 * Arguments: the chain's name, a hook, the interface's name, and the index of the link. A frame of a machine's does not
 * meet the second chain: what a filter of the link sends passes the hooks of nftables.
 */
static const char chain_text[] =
    "  chain %1$s {\n"
    "    type filter hook %2$s device \"%3$s\" priority filter; policy accept;\n"
    "    ether daddr @" MACHINES " fwd to %4$d\n"
    "    ether daddr 01:80:c2:00:00:00-01:80:c2:00:00:0f accept\n"
    "    ether daddr & 01:00:00:00:00:00 != 00:00:00:00:00:00 ether saddr != @" MACHINES " dup to "
    "%4$d\n"
    "  }\n";

static void write_macs(FILE *text, const struct wire *wire)
{
    char mac[MAC_TEXT_MAX];

    for (size_t i = 0; i < wire->macs_len; i++)
        fprintf(text, "%s%s", i == 0 ? "{ " : ", ", mac_format(&wire->macs[i], mac));
    fputs(wire->macs_len ? " }" : "", text);
}

static void write_chains(FILE *text, const struct wire *wire, const char *received,
                         const char *sent)
{
    fprintf(text, chain_text, received, "ingress", wire->nic.name, wire->leg);
    fprintf(text, chain_text, sent, "egress", wire->nic.name, wire->leg);
}

/* In one batch: the frames of now meet the old table or the new one. */
int hooks_set(struct wire *wire, struct err *err)
{
    const struct bridged_link *nic = &wire->nic;
    char received[32], sent[32];
    struct ruleset ruleset;
    int result;

    /* It is quoted below. */
    if (strpbrk(nic->name, "\"\\*"))
        return err_set(err, -EINVAL, "interface %s: nftables does not take such a name", nic->name);
    snprintf(received, sizeof(received), RECEIVED "%d", nic->ifindex);
    snprintf(sent, sizeof(sent), SENT "%d", nic->ifindex);
    if (ruleset_begin(&ruleset)) {
        fprintf(ruleset.file,
                "table netdev %1$s\ndelete table netdev %1$s\ntable netdev %1$s {\n"
                "  set " MACHINES " { type ether_addr; size %2$d;%3$s",
                wire->leg_name, FRAMES_MACS_MAX, wire->macs_len ? " elements = " : "");
        write_macs(ruleset.file, wire);
        fputs(wire->macs_len ? "; }\n" : " }\n", ruleset.file);
        if (wire->mac_nat)
            macnat_write(ruleset.file, wire, received, sent);
        else
            write_chains(ruleset.file, wire, received, sent);
        fputs("}\n", ruleset.file);
    }
    result = ruleset_end(&ruleset, wire->nft, err);
    if (result < 0 || !wire->mac_nat)
        return result;
    result = macnat_complete(wire);
    return result < 0
               ? err_set(err, result, "cannot add rules for MAC addresses within packets: %s",
                         strerror(-result))
               : 0;
}

int hooks_set_machines(struct wire *wire, struct err *err)
{
    struct ruleset ruleset;

    if (ruleset_begin(&ruleset)) {
        fprintf(ruleset.file, "flush set netdev %s " MACHINES "\n", wire->leg_name);
        if (wire->macs_len) {
            fprintf(ruleset.file, "add element netdev %s " MACHINES " ", wire->leg_name);
            write_macs(ruleset.file, wire);
            fputs("\n", ruleset.file);
        }
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

/*
 * Calls @each with each "chain" or "set" of tables that could be ours, whose name is a link's. (A chain goes with its
 * interface where the kernel is older than 6.16; a set stays.)
 */
static void walk(struct nft_ctx *nft, const char *kind,
                 void (*each)(void *context, const char *table, const char *name), void *context)
{
    char command[32];
    const char *output;
    json_t *root, *item;
    size_t i;

    snprintf(command, sizeof(command), "list %ss netdev", kind);
    output = ruleset_list(nft, command);
    root = output ? json_loads(output, 0, NULL) : NULL;
    json_array_foreach(json_object_get(root, "nftables"), i, item)
    {
        const char *table, *name;

        if (json_unpack(item, "{s:{s:s, s:s}}", kind, "table", &table, "name", &name) == 0 &&
            strncmp(table, PLACE_PREFIX, strlen(PLACE_PREFIX)) == 0 && strlen(table) < 16)
            each(context, table, name);
    }
    json_decref(root);
}

struct search {
    struct wire *wire;
    char *leg;
};

static void on_chain(void *context, const char *table, const char *name)
{
    struct search *search = context;
    struct wire *wire = search->wire;
    struct bridged_link leg;

    if (strncmp(name, RECEIVED, strlen(RECEIVED)) == 0 &&
        atoi(name + strlen(RECEIVED)) == wire->nic.ifindex && strcmp(table, wire->leg_name) != 0 &&
        bridged_link_read(wire->host, table, 0, &leg) == 0)
        snprintf(search->leg, 16, "%s", table);
}

void hooks_find_other(struct wire *wire, char ret_leg[16])
{
    struct search search = {wire, ret_leg};

    ret_leg[0] = '\0';
    walk(wire->nft, "chain", on_chain, &search);
}

struct cleaning {
    struct netlink *host;
    struct ruleset deletions;
    int len;
};

static void on_set(void *context, const char *table, const char *name)
{
    struct cleaning *cleaning = context;
    struct bridged_link leg;

    if (!cleaning->deletions.file || strcmp(name, MACHINES) != 0 ||
        bridged_link_read(cleaning->host, table, 0, &leg) != -ENODEV)
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
    walk(nft, "set", on_set, &cleaning);
    result = ruleset_end(&cleaning.deletions, nft, &err);
    return result < 0 ? result : cleaning.len;
}
