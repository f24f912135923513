/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Traffic control, as much of it as bridging to an interface of the host needs: frames that a program picks are
 * handed to another interface (tc-bpf(8), tc-mirred(8)), by filters of a clsact qdisc.
 *
 * That qdisc and its filters may be others' too. What is ours is known by a cookie of each filter's action
 * (TCA_ACT_COOKIE): nothing without it is ever changed or deleted. Functions return 0 or -errno as the kernel gave it.
 */
#ifndef OPENVMNET_PLANE_LINUX_TC_H
#define OPENVMNET_PLANE_LINUX_TC_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stdint.h>

#include "plane/linux/netlink.h"

#define TC_COOKIE_BYTES 16 /* TC_COOKIE_MAX_SIZE */
#define TC_ACTIONS_MAX 2
#define TC_FILTERS_MAX 64 /* of one interface that are looked at */

/*
 * Whose a filter is. Beyond the owner it says whether the owner made the clsact qdisc: who finds the last filter of a
 * dead owner must know.
 */
struct tc_owner {
    uint32_t network; /* a hash of its name */
    bool made_qdisc;
};

enum tc_hook {
    TC_INGRESS, /* what the interface receives */
    TC_EGRESS,  /* what is sent by it */
};

/* What happens to a frame: it is received by (@to_ingress) or sent out of interface @ifindex. */
struct tc_action {
    int ifindex;
    bool to_ingress;
    bool copy; /* and goes on as well: to the next action, or the next filter */
};

struct tc_filter {
    enum tc_hook hook;
    uint32_t
        handle; /* from 1: one place for each filter; order among filters of a priority is the kernel's */
    const struct sock_filter
        *program; /* classic BPF over the frame from its Ethernet header; not 0: it is one */
    unsigned program_len;
    /* Or, where @program is NULL, extended BPF, whose word is what happens. Actions are never taken then, but say whose it is. */
    int program_fd;
    struct tc_action actions[TC_ACTIONS_MAX];
    unsigned actions_len;
};

/* A filter that was found. */
struct tc_found {
    enum tc_hook hook;
    uint16_t priority;
    uint32_t handle;
    bool other_kind; /* not of cls_bpf */
    bool ours;       /* has a cookie; then: */
    struct tc_owner owner;
    int target; /* ifindex of its first action; 0: that interface is gone */
};

struct tc_list {
    struct tc_found filters[TC_FILTERS_MAX];
    unsigned len;
    bool more; /* than that */
};

/* A qdisc for the hooks of an interface. -EEXIST where it has one. */
int tc_add_clsact(struct netlink *netlink, int ifindex);
int tc_delete_clsact(struct netlink *netlink, int ifindex);
/* Adds a filter, or replaces the one with that hook, priority and handle in one step. */
int tc_set_filter(struct netlink *netlink, int ifindex, uint16_t priority,
                  const struct tc_owner *owner, const struct tc_filter *filter);
/* A qdisc and a filter for an interface that is ours alone: its frames are for packet sockets, and nobody else gets them. */
int tc_drop_all(struct netlink *netlink, int ifindex);
int tc_delete_filter(struct netlink *netlink, int ifindex, const struct tc_found *found);
/* Interfaces that have a clsact qdisc: at most @max, their number or -errno. */
int tc_list_clsact(struct netlink *netlink, int *ret_ifindexes, unsigned max);
/* Filters of both hooks. An interface without such a qdisc has none. */
int tc_list_filters(struct netlink *netlink, int ifindex, struct tc_list *ret_list);

#endif
