/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/linux/tc.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/tc_act/tc_mirred.h>
#include <string.h>

/* Ours begin with it: "openvmnet" and a version of what follows. */
static const uint8_t cookie_magic[10] = {'o', 'p', 'e', 'n', 'v', 'm', 'n', 'e', 't', 1};

struct cookie {
    uint8_t magic[sizeof(cookie_magic)];
    uint8_t made_qdisc;
    uint8_t unused;
    uint32_t network; /* big-endian */
};
_Static_assert(sizeof(struct cookie) == TC_COOKIE_BYTES, "TC_COOKIE_MAX_SIZE of the kernel");

static uint32_t hook_parent(enum tc_hook hook)
{
    return TC_H_MAKE(TC_H_CLSACT, hook == TC_INGRESS ? TC_H_MIN_INGRESS : TC_H_MIN_EGRESS);
}

static struct nlmsghdr *begin(char *buf, uint16_t type, uint16_t flags, int ifindex,
                              struct tcmsg **ret_message)
{
    struct nlmsghdr *header = netlink_begin(buf, type, flags);

    *ret_message = mnl_nlmsg_put_extra_header(header, sizeof(**ret_message));
    (*ret_message)->tcm_family = AF_UNSPEC;
    (*ret_message)->tcm_ifindex = ifindex;
    return header;
}

static int change_clsact(struct netlink *netlink, uint16_t type, uint16_t flags, int ifindex)
{
    char buf[NETLINK_MESSAGE_BYTES];
    struct tcmsg *message;
    struct nlmsghdr *header = begin(buf, type, flags, ifindex, &message);

    message->tcm_parent = TC_H_CLSACT;
    message->tcm_handle = TC_H_MAKE(TC_H_CLSACT, 0);
    mnl_attr_put_strz(header, TCA_KIND, "clsact");
    return netlink_talk(netlink, header, NULL, NULL);
}

int tc_add_clsact(struct netlink *netlink, int ifindex)
{
    return change_clsact(netlink, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, ifindex);
}

int tc_delete_clsact(struct netlink *netlink, int ifindex)
{
    return change_clsact(netlink, RTM_DELQDISC, 0, ifindex);
}

static void put_action(struct nlmsghdr *header, uint16_t order, const struct tc_owner *owner,
                       const struct tc_action *action, bool last)
{
    struct cookie cookie = {.made_qdisc = owner->made_qdisc, .network = htonl(owner->network)};
    struct nlattr *outer = mnl_attr_nest_start(header, order), *options;
    struct tc_mirred mirred = {.ifindex = (uint32_t)action->ifindex};

    memcpy(cookie.magic, cookie_magic, sizeof(cookie_magic));
    if (action->copy) {
        mirred.eaction = action->to_ingress ? TCA_INGRESS_MIRROR : TCA_EGRESS_MIRROR;
        /* "Unspecified" as the last word lets others' filters see the frame as well. */
        mirred.action = last ? TC_ACT_UNSPEC : TC_ACT_PIPE;
    } else {
        mirred.eaction = action->to_ingress ? TCA_INGRESS_REDIR : TCA_EGRESS_REDIR;
        mirred.action = TC_ACT_STOLEN;
    }
    mnl_attr_put_strz(header, TCA_ACT_KIND, "mirred");
    mnl_attr_put(header, TCA_ACT_COOKIE, sizeof(cookie), &cookie);
    options = mnl_attr_nest_start(header, TCA_ACT_OPTIONS);
    mnl_attr_put(header, TCA_MIRRED_PARMS, sizeof(mirred), &mirred);
    mnl_attr_nest_end(header, options);
    mnl_attr_nest_end(header, outer);
}

int tc_set_filter(struct netlink *netlink, int ifindex, uint16_t priority,
                  const struct tc_owner *owner, const struct tc_filter *filter)
{
    /* A program has up to BPF_MAXINSNS instructions of 8 bytes, which is as much as a message has beside the rest. */
    char buf[NETLINK_MESSAGE_BYTES + BPF_MAXINSNS * sizeof(struct sock_filter)];
    struct tcmsg *message;
    struct nlmsghdr *header = begin(buf, RTM_NEWTFILTER, NLM_F_CREATE, ifindex, &message);
    struct nlattr *options, *actions;

    message->tcm_parent = hook_parent(filter->hook);
    message->tcm_handle = filter->handle;
    message->tcm_info = TC_H_MAKE((uint32_t)priority << 16, htons(ETH_P_ALL));
    mnl_attr_put_strz(header, TCA_KIND, "bpf");
    options = mnl_attr_nest_start(header, TCA_OPTIONS);
    if (filter->program) {
        mnl_attr_put_u16(header, TCA_BPF_OPS_LEN, (uint16_t)filter->program_len);
        mnl_attr_put(header, TCA_BPF_OPS, filter->program_len * sizeof(*filter->program),
                     filter->program);
    } else {
        mnl_attr_put_u32(header, TCA_BPF_FD, (uint32_t)filter->program_fd);
        mnl_attr_put_strz(header, TCA_BPF_NAME, "openvmnet");
        mnl_attr_put_u32(header, TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT);
    }
    mnl_attr_put_u32(header, TCA_BPF_FLAGS_GEN, TCA_CLS_FLAGS_SKIP_HW);
    actions = mnl_attr_nest_start(header, TCA_BPF_ACT);
    for (unsigned i = 0; i < filter->actions_len; i++)
        put_action(header, (uint16_t)(i + 1), owner, &filter->actions[i],
                   i + 1 == filter->actions_len);
    mnl_attr_nest_end(header, actions);
    mnl_attr_nest_end(header, options);
    return netlink_talk(netlink, header, NULL, NULL);
}

int tc_drop_all(struct netlink *netlink, int ifindex)
{
    static const struct sock_filter program[] = {BPF_STMT(BPF_RET | BPF_K, TC_ACT_SHOT)};
    char buf[NETLINK_MESSAGE_BYTES];
    struct tcmsg *message;
    struct nlmsghdr *header;
    struct nlattr *options;
    int result = tc_add_clsact(netlink, ifindex);

    if (result < 0)
        return result;
    header = begin(buf, RTM_NEWTFILTER, NLM_F_CREATE, ifindex, &message);
    message->tcm_parent = hook_parent(TC_INGRESS);
    message->tcm_handle = 1;
    message->tcm_info = TC_H_MAKE(1u << 16, htons(ETH_P_ALL));
    mnl_attr_put_strz(header, TCA_KIND, "bpf");
    options = mnl_attr_nest_start(header, TCA_OPTIONS);
    mnl_attr_put_u16(header, TCA_BPF_OPS_LEN, 1);
    mnl_attr_put(header, TCA_BPF_OPS, sizeof(program), program);
    /* The program's word is what happens. */
    mnl_attr_put_u32(header, TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT);
    mnl_attr_put_u32(header, TCA_BPF_FLAGS_GEN, TCA_CLS_FLAGS_SKIP_HW);
    mnl_attr_nest_end(header, options);
    return netlink_talk(netlink, header, NULL, NULL);
}

int tc_delete_filter(struct netlink *netlink, int ifindex, const struct tc_found *found)
{
    char buf[NETLINK_MESSAGE_BYTES];
    struct tcmsg *message;
    struct nlmsghdr *header = begin(buf, RTM_DELTFILTER, 0, ifindex, &message);

    message->tcm_parent = hook_parent(found->hook);
    message->tcm_handle = found->handle;
    message->tcm_info = TC_H_MAKE((uint32_t)found->priority << 16, htons(ETH_P_ALL));
    mnl_attr_put_strz(header, TCA_KIND, "bpf");
    return netlink_talk(netlink, header, NULL, NULL);
}

/* ---- reading */

static const struct nlattr *find(const struct nlattr *nest, uint16_t type)
{
    const struct nlattr *attr;

    mnl_attr_for_each_nested(attr, nest) if (mnl_attr_get_type(attr) == type) return attr;
    return NULL;
}

static void read_action(const struct nlattr *action, struct tc_found *found)
{
    const struct nlattr *cookie = find(action, TCA_ACT_COOKIE);
    const struct nlattr *options = find(action, TCA_ACT_OPTIONS);
    const struct nlattr *parms = options ? find(options, TCA_MIRRED_PARMS) : NULL;
    struct tc_mirred mirred;
    struct cookie read;

    if (!cookie || !parms || mnl_attr_get_payload_len(cookie) != sizeof(read) ||
        mnl_attr_get_payload_len(parms) < sizeof(mirred))
        return;
    memcpy(&read, mnl_attr_get_payload(cookie), sizeof(read));
    memcpy(&mirred, mnl_attr_get_payload(parms), sizeof(mirred));
    if (memcmp(read.magic, cookie_magic, sizeof(cookie_magic)) != 0)
        return;
    found->ours = true;
    found->owner = (struct tc_owner){ntohl(read.network), read.made_qdisc};
    found->target = (int)mirred.ifindex;
}

struct qdiscs {
    int *ifindexes;
    unsigned len, max;
};

static int on_qdisc(const struct nlmsghdr *header, void *context)
{
    const struct tcmsg *message = mnl_nlmsg_get_payload(header);
    struct qdiscs *qdiscs = context;
    const struct nlattr *attr;

    mnl_attr_for_each(attr, header,
                      sizeof(*message)) if (mnl_attr_get_type(attr) == TCA_KIND &&
                                            qdiscs->len < qdiscs->max &&
                                            strcmp(mnl_attr_get_str(attr), "clsact") == 0)
        qdiscs->ifindexes[qdiscs->len++] = message->tcm_ifindex;
    return MNL_CB_OK;
}

int tc_list_clsact(struct netlink *netlink, int *ret_ifindexes, unsigned max)
{
    struct qdiscs qdiscs = {ret_ifindexes, 0, max};
    char buf[NETLINK_MESSAGE_BYTES];
    struct tcmsg *message;
    struct nlmsghdr *header = begin(buf, RTM_GETQDISC, NLM_F_DUMP, 0, &message);
    int result = netlink_talk(netlink, header, on_qdisc, &qdiscs);

    return result < 0 ? result : (int)qdiscs.len;
}

struct listing {
    struct tc_list *list;
    enum tc_hook hook;
};

static int on_filter(const struct nlmsghdr *header, void *context)
{
    const struct tcmsg *message = mnl_nlmsg_get_payload(header);
    struct listing *listing = context;
    struct tc_list *list = listing->list;
    struct tc_found found = {
        .hook = listing->hook,
        .priority = (uint16_t)(message->tcm_info >> 16),
        .handle = message->tcm_handle,
    };
    const struct nlattr *attr, *actions, *first;

    mnl_attr_for_each(attr, header, sizeof(*message))
    {
        if (mnl_attr_get_type(attr) == TCA_KIND) {
            found.other_kind = strcmp(mnl_attr_get_str(attr), "bpf") != 0;
        } else if (mnl_attr_get_type(attr) == TCA_OPTIONS && !found.other_kind) {
            actions = find(attr, TCA_BPF_ACT);
            first = actions ? find(actions, 1) : NULL;
            if (first)
                read_action(first, &found);
        }
    }
    if (list->len == TC_FILTERS_MAX)
        list->more = true;
    else
        list->filters[list->len++] = found;
    return MNL_CB_OK;
}

int tc_list_filters(struct netlink *netlink, int ifindex, struct tc_list *ret_list)
{
    int result = 0;

    memset(ret_list, 0, sizeof(*ret_list));
    for (enum tc_hook hook = TC_INGRESS; hook <= TC_EGRESS && result == 0; hook++) {
        struct listing listing = {ret_list, hook};
        char buf[NETLINK_MESSAGE_BYTES];
        struct tcmsg *message;
        struct nlmsghdr *header = begin(buf, RTM_GETTFILTER, NLM_F_DUMP, ifindex, &message);

        message->tcm_parent = hook_parent(hook);
        result = netlink_talk(netlink, header, on_filter, &listing);
    }
    return result == -EINVAL || result == -ENOENT ? 0 : result;
}
