/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/linux/system_bridge.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "plane/linux/setup.h"

/*
 * The network's bridge by its name and its MAC, which follows from machine and name. *ret_ifindex 0: there is none.
 * -EEXIST where the name is another's.
 */
static int find_bridge(const struct place *place, struct netlink *netlink, int *ret_ifindex,
                       struct err *err)
{
    struct mac_addr mac;
    int result = netlink_get_link(netlink, place->bridge, ret_ifindex, &mac);

    if (result == -ENODEV) {
        *ret_ifindex = 0;
        return 0;
    }
    if (result < 0)
        return err_set(err, result, "cannot look for the interface %s: %s", place->bridge,
                       strerror(-result));
    if (memcmp(&mac, &place->config->mac, sizeof(mac)) != 0)
        return err_set(err, -EEXIST,
                       "network '%s' needs the interface name %s, which another program's "
                       "interface has; remove that (ip link delete %s) or give the network another "
                       "name",
                       place->config->name, place->bridge, place->bridge);
    return 0;
}

int system_bridge_remove(const struct place *place, struct netlink *netlink, struct err *err)
{
    int ifindex, result = find_bridge(place, netlink, &ifindex, err);

    if (result < 0 || !ifindex)
        return result;
    result = netlink_delete_link(netlink, ifindex);
    return result < 0 && result != -ENODEV
               ? err_set(err, result, "cannot remove %s: %s", place->bridge, strerror(-result))
               : 0;
}

static int bridge_sysctl(const struct place *place, const char *family, const char *setting,
                         const char *value, struct err *err)
{
    char name[96];

    snprintf(name, sizeof(name), "%s/conf/%s/%s", family, place->bridge, setting);
    return setup_sysctl(name, value, err);
}

/* Of the network's own bridge, and gone with it. */
static int set_bridge_sysctls(const struct place *place, struct err *err)
{
    static const struct {
        const char *family, *setting, *value;
        int nat; /* only where the host routes for it, by this IP version; 0: in any case */
    } settings[] = {
        {"ipv4", "forwarding", "1", AF_INET},
        {"ipv4", "send_redirects", "0", 0},
        /* Guests forget a router whose neighbour advertisements do not say that it is one (RFC 4861 7.2.5). */
        {"ipv6", "forwarding", "1", AF_INET6},
        {"ipv6", "force_forwarding", "1", AF_INET6},
        /* Nobody advertises to it, and its link-local address follows from its MAC: guests may not use that. */
        {"ipv6", "accept_ra", "0", 0},
        {"ipv6", "accept_dad", "0", 0},
        {"ipv6", "addr_gen_mode", "0", 0},
    };
    int result = 0;

    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]) && result == 0; i++)
        if (!settings[i].nat || net_config_has_nat(place->config, settings[i].nat))
            result = bridge_sysctl(place, settings[i].family, settings[i].setting,
                                   settings[i].value, err);
    return result;
}

int system_bridge_make(const struct place *place, struct netlink *netlink, struct err *err)
{
    const struct net_config *config = place->config;
    struct ip_addr gateway4 = ip_from_u32(config->gateway);
    char alias[64];
    int bridge, result;

    result = netlink_add_bridge(netlink, place->bridge, &config->mac);
    if (result < 0)
        return err_set(err, result,
                       "cannot make the bridge %s: %s; the kernel needs the module bridge "
                       "(modprobe bridge)",
                       place->bridge, strerror(-result));
    bridge = (int)if_nametoindex(place->bridge);
    result = set_bridge_sysctls(place, err);
    if (result < 0)
        return result;
    snprintf(alias, sizeof(alias), "openvmnet: network %s", config->name);
    result = netlink_set_up(netlink, bridge, config->mtu, 0, alias);
    if (result == 0)
        result = netlink_add_address(netlink, bridge, &gateway4, config->prefix_len);
    if (result == 0 && config->gateway6.family)
        result = netlink_add_address(netlink, bridge, &config->gateway6, 64);
    return result < 0
               ? err_set(err, result, "cannot set up %s: %s", place->bridge, strerror(-result))
               : 0;
}
