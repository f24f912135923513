/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/linux/bridged_ovs_legs.h"

#include <errno.h>
#include <linux/ethtool.h>
#include <linux/pkt_cls.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "plane/linux/bridged.h"
#include "plane/linux/bridged_link.h"
#include "plane/linux/tc.h"

#define LEGS_MAX 1024 /* that are removed in one go; as many ports as a network has */

static void inner_name(const char *interface, char ret_name[IFNAMSIZ])
{
    snprintf(ret_name, IFNAMSIZ, BRIDGED_LEG_PREFIX "-%.12s", interface);
}

static void bridge_name(const char *interface, char ret_name[IFNAMSIZ])
{
    snprintf(ret_name, IFNAMSIZ, "br-%.12s", interface);
}

void ovs_legs_name(const struct place *place, const char *interface, char ret_name[IFNAMSIZ])
{
    const char *digits = interface + strcspn(interface, "0123456789");
    bool is_veth = strncmp(interface, place->veth, strlen(place->veth)) == 0;

    snprintf(ret_name, IFNAMSIZ, "%.9s%s%.4s", place->outside, is_veth ? "v" : "", digits);
}

int ovs_legs_bridge(const char *interface)
{
    char name[IFNAMSIZ];

    bridge_name(interface, name);
    return (int)if_nametoindex(name);
}

/* A sender that does not offload: the kernel completes checksums and cuts segments before the link (ethtool(8), "tx"). */
static int set_whole_frames(const char *name)
{
    struct ethtool_value off = {.cmd = ETHTOOL_STXCSUM, .data = 0};
    struct ifreq request = {.ifr_data = (void *)&off};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), result;

    if (fd < 0)
        return -errno;
    snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
    result = ioctl(fd, SIOCETHTOOL, &request) < 0 ? -errno : 0;
    close(fd);
    return result;
}

static int make_outer(const struct ovs_legs *legs, const char *name)
{
    char alias[128];
    struct bridged_link link;
    int result = bridged_link_read(legs->host, name, 0, &link);

    if (result == 0)
        result = bridged_link_silence(legs->host, link.ifindex);
    if (result == 0 && legs->userspace)
        result = tc_drop_all(legs->host, link.ifindex);
    snprintf(alias, sizeof(alias), "openvmnet: network %s", legs->place->config->name);
    return result < 0 ? result : netlink_set_up(legs->host, link.ifindex, 0, 0, alias);
}

static int make_inner(const struct ovs_legs *legs, const char *name, int bridge)
{
    int ifindex = (int)if_nametoindex(name), result = 0;

    if (legs->userspace)
        result = set_whole_frames(name);
    if (result == 0)
        result = netlink_set_up(legs->inside, ifindex, 0, bridge, NULL);
    return result < 0 ? result : bridged_link_set_port(legs->inside, ifindex, true);
}

bool ovs_legs_there(const struct ovs_legs *legs, const char *interface)
{
    char inner[IFNAMSIZ], outer[IFNAMSIZ];
    struct bridged_link found;

    inner_name(interface, inner);
    ovs_legs_name(legs->place, interface, outer);
    return ovs_legs_bridge(interface) && if_nametoindex(inner) &&
           bridged_link_read(legs->host, outer, 0, &found) == 0;
}

int ovs_legs_make(const struct ovs_legs *legs, const char *interface, const struct mac_addr *mac)
{
    char inner[IFNAMSIZ], outer[IFNAMSIZ], bridge[IFNAMSIZ];
    struct mac_addr outer_mac;
    int result, ifindex;

    if (ovs_legs_there(legs, interface))
        return 0;
    /* Of what is there only a part, none is known to be whole. */
    ovs_legs_remove(legs, interface);
    inner_name(interface, inner);
    bridge_name(interface, bridge);
    ovs_legs_name(legs->place, interface, outer);
    result = netlink_add_bridge(legs->inside, bridge, &legs->place->config->mac);
    ifindex = (int)if_nametoindex(bridge);
    if (result == 0)
        result = netlink_set_up(legs->inside, ifindex, legs->mtu, 0, NULL);
    if (result == 0)
        result = bridged_link_port_mac(mac, &outer_mac);
    if (result == 0)
        result =
            netlink_add_veth(legs->inside, inner, outer, legs->host_ns_fd, &outer_mac, legs->mtu);
    if (result == 0)
        result = make_outer(legs, outer);
    if (result == 0)
        result = make_inner(legs, inner, ifindex);
    if (result < 0)
        ovs_legs_remove(legs, interface);
    return result;
}

void ovs_legs_remove(const struct ovs_legs *legs, const char *interface)
{
    char inner[IFNAMSIZ];
    int ifindex, bridge = ovs_legs_bridge(interface);

    inner_name(interface, inner);
    ifindex = (int)if_nametoindex(inner);
    if (ifindex)
        netlink_delete_link(legs->inside, ifindex);
    if (bridge)
        netlink_delete_link(legs->inside, bridge);
}

struct walk {
    const struct place *place;
    const struct plane_port *ports;
    size_t ports_len;
    int ifindexes[LEGS_MAX];
    int len;
};

static bool is_kept(const struct walk *walk, const char *name)
{
    char kept[IFNAMSIZ];

    for (size_t i = 0; i < walk->ports_len; i++) {
        ovs_legs_name(walk->place, walk->ports[i].interface, kept);
        if (strcmp(kept, name) == 0)
            return true;
    }
    return false;
}

static int on_link(const struct nlmsghdr *header, void *context)
{
    const struct ifinfomsg *link = mnl_nlmsg_get_payload(header);
    struct walk *walk = context;
    const size_t len = strlen(walk->place->outside);
    const struct nlattr *attr;

    mnl_attr_for_each(attr, header, sizeof(*link))
    {
        const char *name = mnl_attr_get_payload(attr);

        if (mnl_attr_get_type(attr) == IFLA_IFNAME && walk->len < LEGS_MAX &&
            strncmp(name, walk->place->outside, len) == 0 &&
            strspn(name + len, "v0123456789") == strlen(name + len) && !is_kept(walk, name))
            walk->ifindexes[walk->len++] = link->ifi_index;
    }
    return MNL_CB_OK;
}

static void forget(void *context)
{
    ((struct walk *)context)->len = 0;
}

int ovs_legs_keep(const struct ovs_legs *legs, const struct plane_port *ports, size_t len)
{
    struct walk walk = {.place = legs->place, .ports = ports, .ports_len = len};
    struct bridged_link link;
    int removed = 0;

    if (netlink_dump(legs->host, RTM_GETLINK, AF_UNSPEC, on_link, forget, &walk) < 0)
        return 0;
    for (int i = 0; i < walk.len; i++)
        if (bridged_link_read(legs->host, NULL, walk.ifindexes[i], &link) == 0 &&
            strcmp(link.network, legs->place->config->name) == 0 &&
            netlink_delete_link(legs->host, link.ifindex) == 0)
            removed++;
    return removed;
}
