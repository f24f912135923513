/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A running network is a socket that answers. Others may start or end it at the same time: each step may
 * find the world changed and then begins again, until the deadline.
 */
#include "client/open.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "client/connection.h"
#include "client/start.h"

/* @what is the option; @runs NULL: there is none. */
static int refuse(const char *what, const char *runs, const char *asked, struct err *err)
{
    return err_set(err, -EEXIST,
                   "runs with %s %s, not %s; give this one another name (network=), or end the "
                   "other first",
                   what, runs ? runs : "none", asked);
}

/* @what: the option; @field of the network is to be @asked. */
static int check_text(const char *what, const char *field, const char *asked, const json_t *network,
                      struct err *err)
{
    const char *runs = json_string_value(json_object_get(network, field));

    return runs && strcmp(runs, asked) == 0 ? 0 : refuse(what, runs, asked, err);
}

static int check_subnet(const char *what, const struct ip_addr *address, const struct ip_addr *mask,
                        const json_t *network, struct err *err)
{
    struct ip_addr first = ip_from_u32(ntohl(address->v4.s_addr) & ntohl(mask->v4.s_addr));
    char asked[IP_TEXT_MAX + 4], text[IP_TEXT_MAX];

    snprintf(asked, sizeof(asked), "%s/%d", ip_format(&first, text),
             __builtin_popcount(mask->v4.s_addr));
    return check_text(what, "subnet", asked, network, err);
}

static int check_addresses(const struct net_spec *spec, const json_t *network, struct err *err)
{
    const char *gateway = json_string_value(json_object_get(network, "gateway"));
    const char *end = json_string_value(json_object_get(network, "poolEnd"));
    char runs[2 * IP_TEXT_MAX + 8], asked[2 * IP_TEXT_MAX + 8];
    char start_text[IP_TEXT_MAX], end_text[IP_TEXT_MAX];

    snprintf(runs, sizeof(runs), "%.45s to %.45s", gateway ? gateway : "none", end ? end : "none");
    snprintf(asked, sizeof(asked), "%s to %s", ip_format(&spec->start_address, start_text),
             ip_format(&spec->end_address, end_text));
    if (strcmp(runs, asked) != 0)
        return refuse("addresses", runs, asked, err);
    return check_subnet("subnet", &spec->start_address, &spec->subnet_mask, network, err);
}

static int check_host_addresses(const struct net_spec *spec, const json_t *network, struct err *err)
{
    char text[IP_TEXT_MAX];
    int result = 0;

    if (spec->host_ip_address.family)
        result = check_text("host-ip-address", "gateway", ip_format(&spec->host_ip_address, text),
                            network, err);
    if (result == 0 && spec->host_ip_address.family)
        result = check_subnet("host-subnet-mask", &spec->host_ip_address, &spec->host_subnet_mask,
                              network, err);
    if (result == 0 && spec->host_ipv6_address.family)
        result = check_text("host-ipv6-address", "gateway6",
                            ip_format(&spec->host_ipv6_address, text), network, err);
    return result;
}

/* What was asked is there; there may be more. */
static int check_dhcp(const struct net_spec *spec, const json_t *network, struct err *err)
{
    const json_t *hosts = json_object_get(network, "dhcpHosts"), *host;
    char asked[NET_DHCP_HOST_TEXT_MAX], range[NET_RANGE_TEXT_MAX];
    size_t at;

    for (unsigned i = 0; i < spec->dhcp_hosts_len; i++) {
        bool found = false;

        net_dhcp_host_format(&spec->dhcp_hosts[i], asked);
        json_array_foreach(hosts, at, host) found =
            found || (json_is_string(host) && strcmp(json_string_value(host), asked) == 0);
        if (!found)
            return refuse("dhcp-host", NULL, asked, err);
    }
    return spec->range_first.family ? check_text("dhcp-range", "dhcpRange",
                                                 net_spec_format_range(spec, range), network, err)
                                    : 0;
}

static int check_prefix6(const struct net_spec *spec, const json_t *network, struct err *err)
{
    char asked[IP_TEXT_MAX + 4], text[IP_TEXT_MAX];

    snprintf(asked, sizeof(asked), "%s/64", ip_format(&spec->nat66_prefix, text));
    return check_text("nat66-prefix", "ipv6Prefix", asked, network, err);
}

/* @asked 0: nothing was. */
static int check_number(const char *option, unsigned asked, const json_t *network, struct err *err)
{
    json_int_t runs = json_integer_value(json_object_get(network, option));
    char runs_text[24], asked_text[24];

    if (!asked || runs == asked)
        return 0;
    snprintf(runs_text, sizeof(runs_text), "%lld", (long long)runs);
    snprintf(asked_text, sizeof(asked_text), "%u", asked);
    return refuse(option, runs_text, asked_text, err);
}

/* A daemon of a version before these options has what is the default. */
static int check_switches(const struct net_spec *spec, const json_t *network, struct err *err)
{
    const char *runs = json_string_value(json_object_get(network, "hostPorts"));
    char asked[PORT_SET_TEXT_MAX];

    for (enum net_switch which = 0; which < NET_SWITCHES; which++) {
        bool on = net_spec_is_on(spec, which);

        if (spec->switches[which] != NET_NOT_GIVEN &&
            json_is_true(json_object_get(network, net_switch_field(which))) != on)
            return refuse(net_switch_option(which), on ? "off" : "on", on ? "on" : "off", err);
    }
    port_set_format(&spec->host_ports, asked);
    if (spec->host_ports.given && strcmp(runs ? runs : "all", asked) != 0)
        return refuse("host-ports", runs ? runs : "all", asked, err);
    return 0;
}

/* Refuses a running network that is not the one that was asked for. What was not asked is as it is. */
static int check_same(const struct net_spec *spec, const json_t *network, struct err *err)
{
    const char *mode = json_string_value(json_object_get(network, "mode"));
    int result = 0;

    if (!mode)
        return err_set(err, -EPROTO,
                       "its description is not understood; is it of another version?");
    if (spec->mode_given && strcmp(mode, net_mode_name(spec->mode)) != 0)
        return refuse("mode", mode, net_mode_name(spec->mode), err);
    if (spec->start_address.family)
        result = check_addresses(spec, network, err);
    if (result == 0 && spec->nat66_prefix.family)
        result = check_prefix6(spec, network, err);
    if (result == 0)
        result = check_host_addresses(spec, network, err);
    if (result == 0)
        result = check_dhcp(spec, network, err);
    if (result == 0)
        result = check_number("mtu", spec->mtu, network, err);
    if (result == 0)
        result = check_number("workers", spec->workers, network, err);
    return result < 0 ? result : check_switches(spec, network, err);
}

static int start_network(const struct net_spec *spec, enum net_scope scope, bool lasting,
                         struct err *warning, struct err *err)
{
    int result = scope == NET_OF_USER ? net_spec_check_private(spec, err) : 0;

    if (result < 0)
        return result;
    if (scope == NET_OF_SYSTEM && geteuid() != 0)
        return err_set(err, -EPERM,
                       "is a network of the system and does not run; an administrator starts it: "
                       "'vmnet up %s' or 'systemctl start openvmnet@%s.socket', as root",
                       spec->name, spec->name);
    return start_daemon(spec, lasting, warning, err);
}

int network_open(const struct net_spec *spec, bool lasting, uint64_t deadline_ms, int *ret_fd,
                 struct err *warning, struct err *err)
{
    enum net_scope scope;
    json_t *reply = NULL;
    int fd = -1, result;

    for (;;) {
        result = connection_open(spec->name, false, &scope, &fd, err);
        if (result == 0) {
            result = connection_call(fd, OPEN_INTERFACE "Describe", NULL, -1, &reply, NULL, err);
            if (result == 0) {
                result = check_same(spec, json_object_get(reply, "network"), err);
                json_decref(reply);
                if (result == 0) {
                    *ret_fd = fd;
                    return 0;
                }
            }
            close(fd);
            if (result != -ECONNRESET)
                return result;
        } else if (result == -ENOENT) {
            result = start_network(spec, scope, lasting, warning, err);
            if (result == 0)
                continue;
            if (result != -EBUSY)
                return result;
        } else {
            return result;
        }
        if (clock_now_ms() >= deadline_ms)
            return err_set(err, -ETIMEDOUT, "neither answers nor ends; see %s%s",
                           scope == NET_OF_SYSTEM ? "systemctl status openvmnet@" : "vmnet status",
                           scope == NET_OF_SYSTEM ? spec->name : "");
        poll(NULL, 0, OPEN_RETRY_MS);
    }
}
