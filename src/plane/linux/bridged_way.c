/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/linux/bridged_way.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/ovsdb.h"
#include "plane/plane.h"

#define SYSFS "/sys/class/net"

/* A mount of sysfs belongs to one namespace for ever: it is believed where it speaks of the same device. */
static bool is_wireless(const struct bridged_link *link)
{
    static const char *const signs[] = {"phy80211", "wireless"};
    char path[64], text[16] = "";
    int fd;

    snprintf(path, sizeof(path), SYSFS "/%s/ifindex", link->name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    if (read(fd, text, sizeof(text) - 1) < 0)
        text[0] = '\0';
    close(fd);
    for (int i = 0; i < 2 && atoi(text) == link->ifindex; i++) {
        snprintf(path, sizeof(path), SYSFS "/%s/%s", link->name, signs[i]);
        if (access(path, F_OK) == 0)
            return true;
    }
    return false;
}

/* What Open vSwitch has to do with it; false where that cannot be asked. */
static bool ask_openvswitch(const char *name, struct bridging_facts *facts,
                            struct ovsdb_role *ret_role)
{
    struct ovsdb *db = NULL;
    int result = ovsdb_open(NULL, NULL, &db);

    facts->ovs_closed = result == -EACCES;
    if (result == 0)
        result = ovsdb_find_role(db, name, ret_role);
    ovsdb_close(db);
    return result == 0;
}

static int choose(struct netlink *netlink, struct bridged_interface *interface, struct err *err)
{
    const struct bridged_link *link = &interface->link;
    struct bridged_link master = {0};
    struct bridging_facts facts = {
        .kind = link->kind,
        .ethernet = link->ethernet,
        .loopback = link->loopback,
        .wireless = is_wireless(link),
        .name = link->name,
        .network = link->network,
    };
    struct ovsdb_role role = {0};
    const char *reason;
    char buf[96];

    if (link->master)
        bridged_link_read(netlink, NULL, link->master, &master);
    facts.master = master.name;
    facts.ovs_asked = ask_openvswitch(link->name, &facts, &role);
    facts.openvswitch = role.bridge;
    facts.ovs_bridge = role.port_of;
    interface->way = bridging_choose(&facts, buf, &reason);
    snprintf(interface->reason, sizeof(interface->reason), "%s", reason);
    if (interface->way != BRIDGING_NONE)
        return 0;
    return err_set(err, -EOPNOTSUPP,
                   "machines cannot be bridged to interface %s (%s); vmnet interfaces lists those "
                   "that they can",
                   link->name, reason);
}

static int look(struct netlink *netlink, const char *ifname,
                struct bridged_interface *ret_interface, struct err *err)
{
    char name[16];
    int result = 0;

    snprintf(name, sizeof(name), "%s", ifname);
    if (!ifname[0])
        result = bridged_link_default(netlink, name);
    if (result == -ENOENT)
        return err_set(err, -ENODEV,
                       "no interface is named and the host has no default route, whose interface "
                       "would be taken: write ifname=NAME (vmnet interfaces lists them)");
    if (result == 0)
        result = bridged_link_read(netlink, name, 0, &ret_interface->link);
    if (result < 0)
        return err_set(err, result, "interface %s: %s; vmnet interfaces lists those there are",
                       name, strerror(-result));
    return choose(netlink, ret_interface, err);
}

int bridged_look(const char *ifname, struct bridged_interface *ret_interface, struct err *err)
{
    struct netlink netlink;
    int result = netlink_open(&netlink);

    if (result < 0)
        return err_set(err, result, "cannot open a netlink socket: %s", strerror(-result));
    result = look(&netlink, ifname, ret_interface, err);
    netlink_close(&netlink);
    return result;
}

int plane_complete_bridged(const struct net_spec *spec, struct net_config *config, struct err *err)
{
    struct bridged_interface interface;
    int result = config->system ? 0 : net_spec_check_private(spec, err);

    if (result == 0)
        result = bridged_look(config->ifname, &interface, err);
    if (result != 0)
        return result;
    if (spec->mtu > interface.link.mtu)
        return err_set(err, -EINVAL,
                       "mtu=%u is more than the %u of interface %s: leave it out, or raise that of "
                       "the interface",
                       spec->mtu, interface.link.mtu, interface.link.name);
    snprintf(config->ifname, sizeof(config->ifname), "%s", interface.link.name);
    config->mtu = spec->mtu ? spec->mtu : interface.link.mtu;
    config->system_dhcp = true;
    memset(config->on, 0, sizeof(config->on));
    return 0;
}
