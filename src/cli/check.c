/* SPDX-License-Identifier: Apache-2.0 */
/* `vmnet check` */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/netfile.h"
#include "cli/cli.h"

#define SUFFIX ".conf"

#define BASE_MAX 255 /* NAME_MAX */

/* The network that a file is for: NAME of NAME.conf. */
static int read_name(const char *path, char ret_name[BASE_MAX + 1], struct err *err)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    size_t len_bytes = strlen(base), suffix_bytes = strlen(SUFFIX);
    int rc;

    if (len_bytes <= suffix_bytes || strcmp(base + len_bytes - suffix_bytes, SUFFIX) != 0 ||
        len_bytes > BASE_MAX)
        return err_set(err, -EINVAL,
                       "%s: the file of a network has the network's name and " SUFFIX
                       ": call it lab" SUFFIX " for the network 'lab'",
                       path);
    snprintf(ret_name, BASE_MAX + 1, "%.*s", (int)(len_bytes - suffix_bytes), base);
    rc = net_name_check(ret_name, err);
    return rc < 0 ? err_prefix(err, rc, "%s", path) : 0;
}

static void print_addresses(const struct net_spec *spec)
{
    unsigned prefix_len = (unsigned)__builtin_popcount(spec->subnet_mask.v4.s_addr);
    char start[IP_TEXT_MAX], first[IP_TEXT_MAX], end[IP_TEXT_MAX], ports[PORT_SET_TEXT_MAX];
    char range[NET_RANGE_TEXT_MAX];
    struct ip_addr pool = ip_from_u32(ntohl(spec->start_address.v4.s_addr) + 1);

    if (spec->mode == NET_MODE_BRIDGED)
        printf(", interface %s", spec->ifname[0] ? spec->ifname : "of the default route");
    else if (spec->net_uuid[0])
        fputs(", without DHCP", stdout);
    else if (!spec->start_address.family)
        fputs(", subnet automatic", stdout);
    else
        printf(", gateway %s/%u, pool %s to %s", ip_format(&spec->start_address, start), prefix_len,
               ip_format(&pool, first), ip_format(&spec->end_address, end));
    if (spec->range_first.family)
        printf(", gives out %s", net_spec_format_range(spec, range));
    if (spec->host_ip_address.family)
        printf(", host %s/%d", ip_format(&spec->host_ip_address, start),
               __builtin_popcount(spec->host_subnet_mask.v4.s_addr));
    if (spec->host_ipv6_address.family)
        printf(", host %s/64", ip_format(&spec->host_ipv6_address, start));
    if (spec->nat66_prefix.family)
        printf(", IPv6 prefix %s/64", ip_format(&spec->nat66_prefix, start));
    if (spec->mtu)
        printf(", mtu %u", spec->mtu);
    if (spec->workers)
        printf(", workers %u", spec->workers);
    for (enum net_switch which = NET_DHCP; which < NET_SWITCHES; which++)
        if (spec->switches[which] == NET_OFF)
            printf(", %s off", net_switch_option(which));
    if (net_spec_is_on(spec, NET_HOST_LOOPBACK))
        fputs(", host's loopback open", stdout);
    if (spec->host_ports.given)
        printf(", host ports %s", port_set_format(&spec->host_ports, ports));
}

static void print_summary(const struct net_file *file)
{
    const struct {
        unsigned count;
        const char *one, *many;
    } parts[] = {
        {file->reservations_len, "reservation", "reservations"},
        {file->records_len, "DNS record", "DNS records"},
        {file->dhcp_options_len, "DHCP option", "DHCP options"},
        {file->rules_len, "rule", "rules"},
        {file->forwards_len, "forward", "forwards"},
    };

    printf("%s: ok\nnetwork '%s': mode %s", file->path, file->spec.name,
           net_mode_name(file->spec.mode));
    print_addresses(&file->spec);
    if (file->lease_time_s)
        printf(", leases of %u s", file->lease_time_s);
    if (file->udp_timeout_s)
        printf(", idle UDP ports for %u s", file->udp_timeout_s);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        if (parts[i].count)
            printf(", %u %s", parts[i].count, parts[i].count == 1 ? parts[i].one : parts[i].many);
    putchar('\n');
}

enum cli_exit cmd_check(const struct cli_args *args)
{
    struct net_file *file = calloc(1, sizeof(*file));
    char name[BASE_MAX + 1];
    struct err err = {0};
    int rc;

    if (!file)
        return cli_fail(CLI_FAILED, "check: out of memory");
    rc = read_name(args->argv[0], name, &err);
    if (rc == 0)
        rc = net_file_read(args->argv[0], name, file, &err);
    if (rc == 0)
        print_summary(file);
    free(file);
    return rc < 0 ? cli_fail(CLI_FAILED, "check: %s", err.text) : CLI_DONE;
}
