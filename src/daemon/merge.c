/* SPDX-License-Identifier: Apache-2.0 */
/* What a network's file says, and what was asked for: a difference is refused, for machines that are there go by the file. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/configure.h"
#include "plane/plane.h"

/* A value of the file and one that was asked for. */
static int refuse_difference(const struct net_file *file, const char *option, const char *asked,
                             const char *filed, struct err *err)
{
    return err_set(err, -EINVAL,
                   "%s=%s was asked for, but %s says %s; leave the option out, write it there, or "
                   "give this network another name (network=)",
                   option, asked, file->path, filed);
}

static int merge_address(struct ip_addr *addr, const struct ip_addr *filed, const char *option,
                         const struct net_file *file, struct err *err)
{
    char asked_text[IP_TEXT_MAX], filed_text[IP_TEXT_MAX];

    if (addr->family && !ip_equal(addr, filed))
        return refuse_difference(file, option, ip_format(addr, asked_text),
                                 filed->family ? ip_format(filed, filed_text) : "nothing of it",
                                 err);
    *addr = *filed;
    return 0;
}

static int merge_number(unsigned *number, unsigned filed, const char *option,
                        const struct net_file *file, struct err *err)
{
    char asked_text[16], filed_text[16];

    snprintf(asked_text, sizeof(asked_text), "%u", *number);
    snprintf(filed_text, sizeof(filed_text), "%u", filed);
    if (*number && *number != filed)
        return refuse_difference(file, option, asked_text, filed ? filed_text : "nothing of it",
                                 err);
    *number = filed;
    return 0;
}

static bool has_reservation(const struct net_file *file, const struct net_dhcp_host *host)
{
    for (unsigned i = 0; i < file->reservations_len; i++) {
        const struct net_reservation *reservation = &file->reservations[i];

        if (reservation->mac_given && ip_equal(&reservation->address, &host->address) &&
            memcmp(&reservation->mac, &host->mac, sizeof(host->mac)) == 0)
            return true;
    }
    return false;
}

/* The options' reservations are the file's, or make one of what is no file. */
static int merge_reservations(const struct net_spec *spec, struct net_file *file, struct err *err)
{
    char text[NET_DHCP_HOST_TEXT_MAX];

    for (unsigned i = 0; i < spec->dhcp_hosts_len; i++) {
        const struct net_dhcp_host *host = &spec->dhcp_hosts[i];

        if (!file->path[0])
            file->reservations[file->reservations_len++] = (struct net_reservation){
                .mac_given = true, .mac = host->mac, .address = host->address};
        else if (!has_reservation(file, host))
            return refuse_difference(file, "dhcp-host", net_dhcp_host_format(host, text),
                                     "nothing of it in a [host] section", err);
    }
    return 0;
}

int configure_merge(struct net_spec *spec, struct net_file *file, struct err *err)
{
    const struct net_spec *filed = &file->spec;
    char asked_range[NET_RANGE_TEXT_MAX], filed_range[NET_RANGE_TEXT_MAX];
    char asked_ports[PORT_SET_TEXT_MAX], filed_ports[PORT_SET_TEXT_MAX];
    int result = merge_reservations(spec, file, err);

    if (result < 0)
        return result;
    if (!file->path[0])
        return plane_check_spec(spec, NULL, err);
    if (spec->mode_given && spec->mode != filed->mode)
        return refuse_difference(file, "mode", net_mode_name(spec->mode),
                                 net_mode_name(filed->mode), err);
    if (spec->net_uuid[0] && strcasecmp(spec->net_uuid, filed->net_uuid) != 0)
        return refuse_difference(file, "net-uuid", spec->net_uuid,
                                 filed->net_uuid[0] ? filed->net_uuid : "nothing of it", err);
    for (enum net_switch which = 0; which < NET_SWITCHES; which++) {
        bool asked = net_spec_is_on(spec, which), on = net_spec_is_on(filed, which);

        if (spec->switches[which] != NET_NOT_GIVEN && asked != on)
            return refuse_difference(file, net_switch_option(which), asked ? "on" : "off",
                                     filed->switches[which] == NET_NOT_GIVEN ? "nothing of it"
                                     : on                                    ? "on"
                                                                             : "off",
                                     err);
    }
    port_set_format(&spec->host_ports, asked_ports);
    port_set_format(&filed->host_ports, filed_ports);
    if (spec->host_ports.given && strcmp(asked_ports, filed_ports) != 0)
        return refuse_difference(file, "host-ports", asked_ports,
                                 filed->host_ports.given ? filed_ports : "nothing of it", err);
    if (spec->range_first.family && strcmp(net_spec_format_range(spec, asked_range),
                                           net_spec_format_range(filed, filed_range)) != 0)
        return refuse_difference(file, "dhcp-range", asked_range,
                                 filed->range_first.family ? filed_range : "nothing of it", err);
    spec->range_first = filed->range_first;
    spec->range_last = filed->range_last;
    result = merge_number(&spec->mtu, filed->mtu, "mtu", file, err);
    if (result == 0)
        result = merge_number(&spec->workers, filed->workers, "workers", file, err);
    if (result == 0)
        result =
            merge_address(&spec->start_address, &filed->start_address, "start-address", file, err);
    if (result == 0)
        result = merge_address(&spec->end_address, &filed->end_address, "end-address", file, err);
    if (result == 0)
        result = merge_address(&spec->subnet_mask, &filed->subnet_mask, "subnet-mask", file, err);
    if (result == 0)
        result =
            merge_address(&spec->nat66_prefix, &filed->nat66_prefix, "nat66-prefix", file, err);
    if (result == 0)
        result = merge_address(&spec->host_ip_address, &filed->host_ip_address, "host-ip-address",
                               file, err);
    if (result == 0)
        result = merge_address(&spec->host_subnet_mask, &filed->host_subnet_mask,
                               "host-subnet-mask", file, err);
    if (result == 0)
        result = merge_address(&spec->host_ipv6_address, &filed->host_ipv6_address,
                               "host-ipv6-address", file, err);
    spec->mode = filed->mode;
    memcpy(spec->net_uuid, filed->net_uuid, sizeof(spec->net_uuid));
    memcpy(spec->ifname, filed->ifname, sizeof(spec->ifname));
    memcpy(spec->switches, filed->switches, sizeof(spec->switches));
    spec->host_ports = filed->host_ports;
    return result < 0 ? result : plane_check_spec(spec, file, err);
}
