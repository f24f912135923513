/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/linux/bridged_wire.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "plane/linux/bridged_hooks.h"

/*
 * Filters run in the order of their priority. Ours come before those without one (0xc000 and less) and most others, for
 * a program that ends with "ok" ends the matter; where a classifier of another kind has it the next one is taken.
 */
#define PRIORITY_FIRST 5
#define PRIORITY_LAST 63
#define LEG_PRIORITY 1

enum {
    TO_ONE = 1, /* handles at the interface, on each hook */
    TO_GROUP,
    TO_SHORTCUT, /* of what is received alone */
};

enum {
    LEG_TO_HOST = 1,
    LEG_TO_GROUP,
    LEG_TO_OTHERS,
};

/*
 * What the kernel runs first is what was added last, at whatever time it is replaced: the shortcut comes when the others
 * are there.
 */
static int set_shortcut(struct wire *wire)
{
    const struct tc_filter filter = {
        .hook = TC_INGRESS,
        .handle = TO_SHORTCUT,
        .program_fd = shortcut_from_outside(wire->shortcut),
        .actions = {{.ifindex = wire->leg}},
        .actions_len = 1,
    };
    const struct shortcut_ends ends = {
        .host = wire->nic.mac,
        .leg = wire->leg,
        .inside = wire->inside,
        .mtu = wire->mtu_max && wire->mtu_max < wire->nic.mtu ? wire->mtu_max : wire->nic.mtu,
    };
    int result = shortcut_set_ends(wire->shortcut, &ends);

    return result < 0 ? result
                      : tc_set_filter(wire->host, wire->nic.ifindex, wire->priority, &wire->owner,
                                      &filter);
}

/* An earlier process's, which leads where nobody tells it the machines. */
static void remove_shortcut(struct wire *wire)
{
    const struct tc_found old = {
        .hook = TC_INGRESS, .priority = wire->priority, .handle = TO_SHORTCUT};

    tc_delete_filter(wire->host, wire->nic.ifindex, &old);
}

static int set_filter(struct wire *wire, bool at_leg, enum tc_hook hook, uint32_t handle,
                      const struct frames_program *program, const struct tc_action *actions,
                      unsigned actions_len)
{
    struct tc_filter filter = {
        .hook = hook,
        .handle = handle,
        .program = program->code,
        .program_len = program->len,
        .actions_len = actions_len,
    };

    memcpy(filter.actions, actions, actions_len * sizeof(*actions));
    return tc_set_filter(wire->host, at_leg ? wire->leg : wire->nic.ifindex,
                         at_leg ? LEG_PRIORITY : wire->priority, &wire->owner, &filter);
}

static int set_hooks(struct wire *wire, int (*set)(struct wire *wire, struct err *err))
{
    struct err err;
    int result = set(wire, &err);

    if (result < 0)
        log_warn("interface %s: %s", wire->nic.name, err.text);
    return result;
}

int wire_set_macs(struct wire *wire)
{
    const struct tc_action redirect = {.ifindex = wire->leg}, copy = {wire->leg, .copy = true};
    struct frames_program one, group;
    int result;

    if (wire->by_hooks)
        return set_hooks(wire, hooks_set_machines);
    result = frames_to(&one, wire->macs, wire->macs_len);
    if (result == 0)
        result = frames_to_group(&group, wire->macs, wire->macs_len);
    for (enum tc_hook hook = TC_INGRESS; hook <= TC_EGRESS && result == 0; hook++) {
        result = set_filter(wire, false, hook, TO_GROUP, &group, &copy, 1);
        if (result == 0)
            result = set_filter(wire, false, hook, TO_ONE, &one, &redirect, 1);
    }
    return result;
}

/*
 * What comes from machines. @test: frames for a group are not let out. What is to have another MAC goes on to the hook
 * that gives it.
 */
static int set_leg_filters(struct wire *wire, const struct mac_addr *host, bool test)
{
    const struct tc_action to_host = {wire->nic.ifindex, .to_ingress = true};
    const struct tc_action out = {.ifindex = wire->nic.ifindex};
    const struct tc_action both[] = {{wire->nic.ifindex, .to_ingress = true, .copy = true}, out};
    struct frames_program program;
    int result;

    frames_to(&program, host, 1);
    result = set_filter(wire, true, TC_INGRESS, LEG_TO_HOST, &program, &to_host, 1);
    frames_to_group(&program, NULL, 0);
    if (result == 0)
        result = set_filter(wire, true, TC_INGRESS, LEG_TO_GROUP, &program, both,
                            test || wire->mac_nat ? 1 : 2);
    frames_to_one(&program, host);
    if (result == 0 && !wire->mac_nat)
        result = set_filter(wire, true, TC_INGRESS, LEG_TO_OTHERS, &program, &out, 1);
    return result;
}

int wire_set_test_filters(struct wire *wire, const struct mac_addr *host)
{
    return set_leg_filters(wire, host, true);
}

int wire_set_filters(struct wire *wire)
{
    int result = tc_add_clsact(wire->host, wire->leg);

    if ((result == 0 || result == -EEXIST) && !wire->by_hooks) {
        result = tc_add_clsact(wire->host, wire->nic.ifindex);
        if (result == 0)
            wire->owner.made_qdisc = true;
    }
    if (result == 0 || result == -EEXIST)
        result = set_leg_filters(wire, &wire->nic.mac, false);
    if (result < 0)
        return result;
    if (wire->by_hooks)
        return set_hooks(wire, hooks_set);
    result = wire_set_macs(wire);
    if (!wire->shortcut)
        remove_shortcut(wire);
    return result < 0 || !wire->shortcut ? result : set_shortcut(wire);
}

static int refuse_taken(const struct wire *wire, const char *leg, struct err *err)
{
    return err_set(err, -EADDRINUSE,
                   "interface %s belongs to another bridged network (behind %s): an interface has "
                   "one, which all machines on it share; name that network",
                   wire->nic.name, leg);
}

int wire_prepare(struct wire *wire, struct err *err)
{
    bool taken[PRIORITY_LAST + 1] = {false};
    struct bridged_link other;
    struct tc_list list;
    int result = tc_list_filters(wire->host, wire->nic.ifindex, &list);
    char leg[16];

    if (result < 0)
        return err_set(err, result, "cannot read the filters (tc) of interface %s: %s",
                       wire->nic.name, strerror(-result));
    hooks_find_other(wire, leg);
    if (leg[0])
        return refuse_taken(wire, leg, err);
    wire->priority = 0;
    wire->owner.made_qdisc = false;
    for (unsigned i = 0; i < list.len; i++) {
        const struct tc_found *found = &list.filters[i];

        if (found->ours && found->owner.network == wire->owner.network) {
            wire->priority = found->priority;
            wire->owner.made_qdisc = found->owner.made_qdisc;
        } else if (found->ours && bridged_link_read(wire->host, NULL, found->target, &other) == 0) {
            return refuse_taken(wire, other.name, err);
        } else if (found->ours) {
            tc_delete_filter(wire->host, wire->nic.ifindex, found);
            wire->owner.made_qdisc = wire->owner.made_qdisc || found->owner.made_qdisc;
        } else if (found->other_kind && found->priority <= PRIORITY_LAST) {
            taken[found->priority] = true;
        }
    }
    for (uint16_t i = PRIORITY_FIRST; i <= PRIORITY_LAST && !wire->priority; i++)
        wire->priority = taken[i] ? 0 : i;
    return wire->priority ? 0
                          : err_set(err, -EADDRINUSE,
                                    "interface %s: all priorities for filters up to %d are taken",
                                    wire->nic.name, PRIORITY_LAST);
}

int wire_listen(const struct wire *wire, const struct mac_addr *mac, bool on)
{
    struct packet_mreq request = {
        .mr_ifindex = wire->nic.ifindex,
        .mr_type = mac ? PACKET_MR_UNICAST : PACKET_MR_ALLMULTI,
    };

    /* What is for machines has the interface's own. */
    if (mac && wire->mac_nat)
        return 0;
    if (mac) {
        request.mr_alen = sizeof(mac->bytes);
        memcpy(request.mr_address, mac->bytes, sizeof(mac->bytes));
    }
    return setsockopt(wire->packet_fd, SOL_PACKET,
                      on ? PACKET_ADD_MEMBERSHIP : PACKET_DROP_MEMBERSHIP, &request,
                      sizeof(request)) < 0
               ? -errno
               : 0;
}

/* Takes away what @which says; the qdisc, too, where it was made for filters that are among them. */
static int clear(struct netlink *host, int ifindex,
                 bool (*which)(const struct tc_found *found, void *context), void *context)
{
    bool made_qdisc = false;
    struct tc_list list;
    int cleared = 0;

    if (tc_list_filters(host, ifindex, &list) < 0)
        return 0;
    for (unsigned i = 0; i < list.len; i++) {
        if (!list.filters[i].ours || !which(&list.filters[i], context) ||
            tc_delete_filter(host, ifindex, &list.filters[i]) < 0)
            continue;
        made_qdisc = made_qdisc || list.filters[i].owner.made_qdisc;
        cleared++;
    }
    if (made_qdisc && tc_list_filters(host, ifindex, &list) == 0 && list.len == 0)
        tc_delete_clsact(host, ifindex);
    return cleared;
}

static bool is_own(const struct tc_found *found, void *context)
{
    return found->owner.network == *(const uint32_t *)context;
}

void wire_clear(struct wire *wire)
{
    if (wire->nic.ifindex)
        clear(wire->host, wire->nic.ifindex, is_own, &wire->owner.network);
    if (wire->by_hooks)
        hooks_clear(wire);
}

static bool is_dead(const struct tc_found *found, void *context)
{
    struct bridged_link target;

    return bridged_link_read(context, NULL, found->target, &target) < 0;
}

int wire_clear_dead(struct netlink *host, int ifindex)
{
    return clear(host, ifindex, is_dead, host);
}
