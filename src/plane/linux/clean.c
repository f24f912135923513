/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a network of the system has left whose processes were all killed, found by its name alone: the file that said of what
 * mode it was may be gone, and with it the way to start it once more. Links say by their alias whose they are, and
 * tables, settings and rows of Open vSwitch's by their name.
 */
#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/ovsdb.h"
#include "base/paths.h"
#include "plane/linux/bridged.h"
#include "plane/linux/bridged_link.h"
#include "plane/linux/bridged_ovs_rows.h"
#include "plane/linux/port.h"
#include "plane/linux/ruleset.h"
#include "plane/linux/system_rules.h"
#include "plane/linux/uplinks.h"

#define LINKS_MAX (PLANE_PORTS_MAX + 2) /* a way to each machine, and what they have in common */

struct links {
    const char *network;
    int ifindexes[LINKS_MAX];
    size_t len;
};

static int on_link(const struct nlmsghdr *header, void *context)
{
    const struct ifinfomsg *link = mnl_nlmsg_get_payload(header);
    struct links *links = context;
    char network[NET_NAME_MAX + 1];
    const struct nlattr *attr;

    mnl_attr_for_each(attr, header, sizeof(*link))
    {
        if (mnl_attr_get_type(attr) != IFLA_IFALIAS ||
            mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) < 0)
            continue;
        bridging_network(mnl_attr_get_str(attr), network);
        if (strcmp(network, links->network) == 0 && links->len < LINKS_MAX)
            links->ifindexes[links->len++] = link->ifi_index;
    }
    return MNL_CB_OK;
}

static void forget_links(void *context)
{
    ((struct links *)context)->len = 0;
}

/*
 * Links to a namespace, which is there because machines hold it. Of an interface that a network had hooks at or a
 * machine's port it is none.
 */
static size_t count_ways(struct netlink *netlink, const struct links *links)
{
    struct bridged_link link;
    size_t ways = 0;

    for (size_t i = 0; i < links->len; i++)
        ways += bridged_link_read(netlink, NULL, links->ifindexes[i], &link) == 0 &&
                strcmp(link.kind, "veth") == 0;
    return ways;
}

static int remove_links(struct netlink *netlink, const struct links *links, struct err *err)
{
    for (size_t i = 0; i < links->len; i++) {
        int result = netlink_delete_link(netlink, links->ifindexes[i]);

        if (result < 0 && result != -ENODEV)
            return err_set(err, result, "cannot remove one of its links: %s", strerror(-result));
    }
    return 0;
}

static int remove_rules(const struct place *place, struct err *err)
{
    struct nft_ctx *nft = ruleset_open();
    struct ruleset ruleset;
    int result;

    if (!nft)
        return err_set(err, -ENOMEM, "out of memory");
    if (ruleset_begin(&ruleset))
        system_rules_remove(ruleset.file, place);
    result = ruleset_end(&ruleset, nft, err);
    nft_ctx_free(nft);
    return result;
}

static int put_settings_back(const struct place *place, struct err *err)
{
    const struct uplinks none = {.len = 0};
    struct uplinks_settings settings;

    return uplinks_claim(place, &none, NULL, &settings, err);
}

/* Where Open vSwitch does not run, or not any more, there is nobody to tell of ports. */
static void remove_rows(const char *network)
{
    struct ovsdb *db = NULL;
    json_t *operations;
    struct ovs_rows rows;
    char reason[256] = "";
    const json_t *row;
    size_t i;
    int result = ovsdb_open(NULL, NULL, &db);

    if (result == -ENOENT || result == -ECONNREFUSED)
        return;
    if (result == 0)
        result = ovs_rows_read(db, "", network, &rows, reason);
    if (result == 0) {
        operations = json_array();
        json_array_foreach(rows.ports, i, row) ovs_rows_put_remove(operations, row);
        ovs_rows_free(&rows);
        result = ovsdb_transact(db, operations, NULL, reason);
    }
    ovsdb_close(db);
    if (result < 0)
        log_warn("ports of network '%s', where it has any, stay in Open vSwitch's database: %s",
                 network, reason[0] ? reason : strerror(-result));
}

/* Whether there is what a network has in its directory from its start to its end. */
static bool ran(const struct net_config *config)
{
    char path[NET_PATH_MAX + 16];

    snprintf(path, sizeof(path), "%s/" PATH_SUBNET, config->run_dir);
    return access(path, F_OK) == 0;
}

static int clean(const struct place *place, bool force, struct netlink *netlink, struct err *err)
{
    const struct net_config *config = place->config;
    struct links links = {.network = config->name};
    struct port_list list = {0};
    size_t machines;
    bool found;
    int result = netlink_dump(netlink, RTM_GETLINK, AF_UNSPEC, on_link, forget_links, &links);

    if (result < 0)
        return err_set(err, result, "cannot list the host's links: %s", strerror(-result));
    result = port_list_read(netlink, place, &list, err);
    found = links.len || list.len || ran(config);
    machines = result < 0 ? 0 : list.len + count_ways(netlink, &links);
    if (machines && !force)
        result = err_set(err, -EBUSY,
                         "was killed, and machines are attached still: end the VMs first, or use "
                         "--force, which cuts them off");
    if (result == 0)
        result = port_list_cut_off(netlink, &list, config->name, err);
    free(list.ports);
    if (result == 0)
        result = remove_links(netlink, &links, err);
    if (result == 0)
        result = remove_rules(place, err);
    if (result == 0)
        result = put_settings_back(place, err);
    if (result < 0)
        return result;
    /* Filters and hooks at an interface lead to a link that is gone by now. */
    bridged_clean();
    remove_rows(config->name);
    return found ? 0 : err_set(err, -ENOENT, "does not run");
}

int plane_clean(const struct net_config *config, bool force, struct err *err)
{
    struct netlink netlink;
    struct place place;
    int result = netlink_open(&netlink);

    if (result < 0)
        return err_set(err, result, "cannot open a netlink socket: %s", strerror(-result));
    /* Whatever it was: names in the host's namespace are made of the network's, and a mode is none to be made here. */
    place_on_bridge(&place, config, "");
    result = clean(&place, force, &netlink, err);
    netlink_close(&netlink);
    return result;
}
