/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/linux/system_bridge.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "plane/linux/settings.h"
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

/* Of the network's own bridge, and gone with it. @mend: what others have changed is told. */
static int set_sysctls(const struct place *place, bool mend, struct err *err)
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
    char name[96];
    int result = 0;
    long value;

    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]) && result == 0; i++) {
        if (settings[i].nat && !net_config_has_nat(place->config, settings[i].nat))
            continue;
        snprintf(name, sizeof(name), "%s/conf/%s/%s", settings[i].family, place->bridge,
                 settings[i].setting);
        if (!settings_read(name, &value)) {
            if (mend)
                continue; /* this kernel has none of that name */
        } else if (value == atol(settings[i].value)) {
            continue;
        }
        if (mend)
            log_warn("network '%s': another program has changed /proc/sys/net/%s, which has to be "
                     "%s and is again",
                     place->config->name, name, settings[i].value);
        result = setup_sysctl(name, settings[i].value, err);
    }
    return result;
}

/* @mend: what was missing is told. */
static int set_addresses(const struct place *place, struct netlink *netlink, int ifindex, bool mend)
{
    const struct net_config *config = place->config;
    const struct ip_addr addresses[] = {ip_from_u32(config->gateway), config->gateway6};
    char text[IP_TEXT_MAX];
    int result = 0;

    for (int i = 0; i < 2 && result == 0 && addresses[i].family; i++) {
        result = netlink_add_address(netlink, ifindex, &addresses[i], i ? 64 : config->prefix_len);
        if (result == -EEXIST)
            result = 0;
        else if (result == 0 && mend)
            log_warn("network '%s': another program has removed the address %s of %s, which has "
                     "it again",
                     config->name, ip_format(&addresses[i], text), place->bridge);
    }
    return result;
}

/* A bridge that is there gets all that a network's has. */
static int set_up(const struct place *place, struct netlink *netlink, bool mend, struct err *err)
{
    const struct net_config *config = place->config;
    int ifindex = (int)if_nametoindex(place->bridge), result = set_sysctls(place, mend, err);
    char alias[64];

    if (result < 0)
        return result;
    snprintf(alias, sizeof(alias), "openvmnet: network %s", config->name);
    result = netlink_set_up(netlink, ifindex, config->mtu, 0, alias);
    if (result == 0)
        result = set_addresses(place, netlink, ifindex, mend);
    return result < 0
               ? err_set(err, result, "cannot set up %s: %s", place->bridge, strerror(-result))
               : 0;
}

int system_bridge_make(const struct place *place, struct netlink *netlink, struct err *err)
{
    int result = netlink_add_bridge(netlink, place->bridge, &place->config->mac);

    return result < 0 ? err_set(err, result,
                                "cannot make the bridge %s: %s; the kernel needs the module bridge "
                                "(modprobe bridge)",
                                place->bridge, strerror(-result))
                      : set_up(place, netlink, false, err);
}

int system_bridge_mend(const struct place *place, struct netlink *netlink, bool *ret_new,
                       struct err *err)
{
    int ifindex, result = find_bridge(place, netlink, &ifindex, err);

    *ret_new = result == 0 && !ifindex;
    if (result < 0)
        return result;
    if (ifindex)
        return set_up(place, netlink, true, err);
    log_warn("network '%s': another program has removed its bridge %s, which is made anew",
             place->config->name, place->bridge);
    return system_bridge_make(place, netlink, err);
}
