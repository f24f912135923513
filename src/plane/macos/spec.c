/* SPDX-License-Identifier: Apache-2.0 */
/* What the framework decides cannot be asked for; what it has no word for is refused, not disregarded. */
#include <errno.h>
#include <stdio.h>

#include "plane/macos/network.h"
#include "plane/plane.h"

int plane_check(const struct net_config *config, struct err *err)
{
    (void)config;
    (void)err; /* the framework is part of every system that this is built for */
    return 0;
}

static int refuse(const struct net_spec *spec, const char *what, const char *instead,
                  struct err *err)
{
    return err_set(err, -EOPNOTSUPP, "network '%s': %s, which vmnet.framework does not have; %s",
                   spec->name, what, instead);
}

/* What only a network object can be. */
static int need_object(const struct net_spec *spec, const char *what, const char *instead,
                       struct err *err)
{
    const char *missing = vmnet_net_missing(spec);

    return missing ? err_set(err, -EOPNOTSUPP, "network '%s': %s, which %s; %s", spec->name, what,
                             missing, instead)
                   : 0;
}

static int check_reservation(const struct net_spec *spec, const struct net_reservation *reservation,
                             struct err *err)
{
    if (!reservation->address.family)
        return 0;
    if (!reservation->mac_given)
        return refuse(spec, "its file reserves an address for an interface-id",
                      "write the machine's mac", err);
    return need_object(spec, "an address is reserved", "configure it in the guest", err);
}

static int check_file(const struct net_spec *spec, const struct net_file *file, struct err *err)
{
    for (unsigned i = 0; i < file->reservations_len; i++)
        if (check_reservation(spec, &file->reservations[i], err) < 0)
            return -EOPNOTSUPP;
    if (file->records_len)
        return refuse(spec, "its file has DNS records", "put them into the guests' /etc/hosts",
                      err);
    if (file->dhcp_options_len || file->lease_time_s)
        return refuse(spec, "its file has options of DHCP", "configure them in the guests", err);
    if (file->rules_len || file->udp_timeout_s || file->udp_filtering)
        return refuse(spec, "its file has rules for what guests may reach",
                      "leave them out, or have a firewall on the host (pf.conf(5))", err);
    return 0;
}

int plane_check_spec(const struct net_spec *spec, const struct net_file *file, struct err *err)
{
    struct net_spec usual = *spec;
    char what[64];

    for (unsigned which = 0; which < NET_SWITCHES; which++)
        usual.switches[which] = NET_NOT_GIVEN;
    if (net_spec_is_on(spec, NET_HOST_LOOPBACK))
        return refuse(spec, "host-loopback=on leads to what listens on the host's loopback alone",
                      "have it listen on the gateway's address too", err);
    if (spec->host_ports.given)
        return refuse(spec, "host-ports chooses among the host's ports",
                      "have a firewall on the host do that (pf.conf(5))", err);
    if (spec->dhcp_hosts_len &&
        need_object(spec, "dhcp-host reserves addresses", "configure them in the guests", err) < 0)
        return -EOPNOTSUPP;
    if (spec->range_first.family)
        return refuse(spec, "dhcp-range keeps a part of the addresses for others",
                      "end-address= is the last that is given out", err);
    for (unsigned which = 0; which < NET_SWITCHES; which++) {
        bool on = net_spec_is_on(spec, which);

        snprintf(what, sizeof(what), "%s=%s", net_switch_option(which), on ? "on" : "off");
        if (on != net_spec_is_on(&usual, which) &&
            need_object(spec, what,
                        "it is as the mode has it (net-uuid= is a host network without DHCP)",
                        err) < 0)
            return -EOPNOTSUPP;
    }
    return file ? check_file(spec, file, err) : 0;
}

int plane_clean(const struct net_config *config, bool force, struct err *err)
{
    /* Interfaces of vmnet.framework end with the process that has them. */
    (void)config;
    (void)force;
    (void)err;
    return 0;
}

int plane_complete_bridged(const struct net_spec *spec, struct net_config *config, struct err *err)
{
    /* vmnet.framework does, and is asked for the name (plane_check_spec()). */
    (void)spec;
    (void)config;
    (void)err;
    return 0;
}
