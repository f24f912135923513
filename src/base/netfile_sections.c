/* SPDX-License-Identifier: Apache-2.0 */
/* The sections of a network's file: reservations, DNS records, DHCP options. */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "base/netfile_parse.h"
#include "base/portspec.h"
#include "base/text.h"

static int begin_host(struct netfile_parse *parse, const char *title)
{
    struct net_file *file = parse->file;
    struct net_reservation *host;

    if (file->reservations_len == NET_RESERVATIONS_MAX)
        return netfile_refuse(parse, "[host %s] is one more than the %d that a file may have",
                              text_show(title).text, NET_RESERVATIONS_MAX);
    if (net_hostname_check(title, parse->err) < 0)
        return netfile_refuse_as_is(parse);
    host = &file->reservations[file->reservations_len++];
    host->line = parse->line;
    snprintf(host->name, sizeof(host->name), "%s", title);
    return 0;
}

static int set_host_address(struct netfile_parse *parse, struct net_reservation *host,
                            const char *value)
{
    struct ip_addr addr;

    if (ip_parse(value, &addr) < 0 || addr.family != AF_INET || ip_is_forbidden(&addr))
        return netfile_refuse(parse,
                              "address = %s is not an IPv4 address of a machine: write one of the "
                              "pool, such as 192.168.70.10",
                              text_show(value).text);
    host->address = addr;
    return 0;
}

static int set_host_key(struct netfile_parse *parse, const char *key, const char *value)
{
    struct net_reservation *host = &parse->file->reservations[parse->file->reservations_len - 1];
    bool is_mac = text_is_option("mac", key), is_id = text_is_option("interface-id", key);
    bool is_address = text_is_option("address", key);

    if (!is_mac && !is_id && !is_address)
        return netfile_refuse(parse,
                              "unknown key '%s' of [host %s]; the keys are: mac, interface-id and "
                              "address (those of the network stand before the first section)",
                              text_show(key).text, host->name);
    if ((is_mac && host->mac_given) || (is_id && host->interface_id[0]) ||
        (is_address && host->address.family))
        return netfile_refuse(parse, "key '%s' is there already in [host %s]: leave one out",
                              text_show(key).text, host->name);
    if (is_address)
        return set_host_address(parse, host, value);
    if (is_mac) {
        if (port_mac_parse(value, &host->mac, parse->err) < 0)
            return netfile_refuse_as_is(parse);
        host->mac_given = true;
        return 0;
    }
    return port_id_parse(value, host->interface_id, parse->err) < 0 ? netfile_refuse_as_is(parse)
                                                                    : 0;
}

/* Labels with a dot between any two. */
static bool is_dns_name(const char *name)
{
    char label[NET_HOSTNAME_MAX + 1];

    if (strlen(name) > NET_RECORD_NAME_MAX)
        return false;
    for (;;) {
        size_t len_bytes = strcspn(name, ".");

        if (len_bytes >= sizeof(label))
            return false;
        memcpy(label, name, len_bytes);
        label[len_bytes] = '\0';
        if (net_hostname_check(label, NULL) < 0)
            return false;
        if (!name[len_bytes])
            return true;
        name += len_bytes + 1;
    }
}

static int add_record(struct netfile_parse *parse, const char *key, const char *value)
{
    struct net_file *file = parse->file;
    struct net_record *record = &file->records[file->records_len];
    struct ip_addr addr;

    if (file->records_len == NET_RECORDS_MAX)
        return netfile_refuse(parse, "record '%s' is one more than the %d that a file may have",
                              text_show(key).text, NET_RECORDS_MAX);
    if (!is_dns_name(key))
        return netfile_refuse(parse,
                              "'%s' is not a DNS name: write labels of at most %d letters, digits "
                              "and inner '-' with dots between them, at most %d characters, such "
                              "as db.example",
                              text_show(key).text, NET_HOSTNAME_MAX, NET_RECORD_NAME_MAX);
    if (ip_parse(value, &addr) < 0)
        return netfile_refuse(parse,
                              "'%s' of the record '%s' is not an address: write an IPv4 or IPv6 "
                              "address (keys of the network stand before the first section)",
                              text_show(value).text, text_show(key).text);
    snprintf(record->name, sizeof(record->name), "%s", key);
    record->address = addr;
    file->records_len++;
    return 0;
}

/* What the network itself says to its machines. */
static const struct {
    const char *name;
    unsigned number;
    const char *instead;
} own_options[] = {
    {"netmask", 1, "write subnet-mask"},
    {"router", 3, "it is the gateway, write start-address"},
    {"domain-name", 15, "it follows from the network's name"},
    {"mtu", 26, "write mtu"},
    {"lease-time", 51, "write lease-time"},
    {"server-identifier", 54, "it is the gateway, write start-address"},
};

/* Its canonical name: one of dnsmasq's or a number. */
static int read_option_name(struct netfile_parse *parse, const char *key,
                            struct net_dhcp_option *option)
{
    bool good = *key && strlen(key) < sizeof(option->name) &&
                key[strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789-")] == '\0';
    bool is_number = good && key[strspn(key, "0123456789")] == '\0';
    unsigned number = 0;

    if (!good || (is_number && text_to_uint(key, 1, 254, &number) < 0))
        return netfile_refuse(parse,
                              "'%s' is not a DHCP option: write dnsmasq's name of it (dnsmasq "
                              "--help dhcp), such as ntp-server, or a number from 1 to 254",
                              text_show(key).text);
    for (size_t i = 0; i < sizeof(own_options) / sizeof(own_options[0]); i++)
        if (number == own_options[i].number || strcmp(key, own_options[i].name) == 0)
            return netfile_refuse(parse,
                                  "DHCP option '%s' (%u, %s) is set by the network itself: %s "
                                  "before the first section, or leave it out",
                                  key, own_options[i].number, own_options[i].name,
                                  own_options[i].instead);
    if (is_number)
        snprintf(option->name, sizeof(option->name), "%u", number);
    else
        snprintf(option->name, sizeof(option->name), "%s", key);
    return 0;
}

static int add_dhcp_option(struct netfile_parse *parse, const char *key, const char *value)
{
    struct net_file *file = parse->file;
    struct net_dhcp_option option = {0};
    unsigned len = file->dhcp_options_len;
    bool printable = *value && strlen(value) <= NET_DHCP_VALUE_MAX;

    if (read_option_name(parse, key, &option) < 0)
        return -EINVAL;
    for (const char *at = value; *at; at++)
        printable = printable && *at >= ' ' && *at <= '~';
    if (!printable)
        return netfile_refuse(parse,
                              "value '%s' of DHCP option '%s' is not right: write 1 to %d "
                              "printable ASCII characters",
                              text_show(value).text, key, NET_DHCP_VALUE_MAX);
    for (unsigned i = 0; i < len; i++)
        if (strcmp(option.name, file->dhcp_options[i].name) == 0)
            return netfile_refuse(parse,
                                  "DHCP option '%s' is there already, in line %u: leave one out; "
                                  "several values have commas between them",
                                  key, parse->dhcp_option_lines[i]);
    if (len == NET_DHCP_OPTIONS_MAX)
        return netfile_refuse(parse,
                              "DHCP option '%s' is one more than the %d that a file may have", key,
                              NET_DHCP_OPTIONS_MAX);
    snprintf(option.value, sizeof(option.value), "%s", value);
    parse->dhcp_option_lines[len] = parse->line;
    file->dhcp_options[file->dhcp_options_len++] = option;
    return 0;
}

const struct netfile_section netfile_sections[NETFILE_SECTIONS_MAX] = {
    {"[host]", "host", true, NETFILE_NEEDS_DHCP, begin_host, set_host_key},
    {"[dns]", "dns", false, NETFILE_NEEDS_DNS, NULL, add_record},
    {"[dhcp-options]", "dhcp-options", false, NETFILE_NEEDS_DHCP, NULL, add_dhcp_option},
};

static int check_pool(struct netfile_parse *parse, const struct net_reservation *host)
{
    const struct net_spec *spec = &parse->file->spec;
    uint32_t address = ntohl(host->address.v4.s_addr);
    uint32_t gateway = ntohl(spec->start_address.v4.s_addr);
    struct ip_addr first = ip_from_u32(gateway + 1);
    char text[IP_TEXT_MAX], first_text[IP_TEXT_MAX], last_text[IP_TEXT_MAX];

    if (!host->address.family || !spec->start_address.family ||
        (address > gateway && address <= ntohl(spec->end_address.v4.s_addr)))
        return 0;
    return netfile_refuse(parse,
                          "address %s of [host %s] is not in the network's pool: write one from %s "
                          "to %s",
                          ip_format(&host->address, text), host->name,
                          ip_format(&first, first_text), ip_format(&spec->end_address, last_text));
}

/* What two hosts have in common and must not; NULL where there is nothing. */
static const char *find_clash(const struct net_reservation *a, const struct net_reservation *b)
{
    if (strcasecmp(a->name, b->name) == 0)
        return "name";
    if (a->mac_given && b->mac_given && memcmp(&a->mac, &b->mac, sizeof(a->mac)) == 0)
        return "mac";
    if (a->interface_id[0] && strcmp(a->interface_id, b->interface_id) == 0)
        return "interface-id";
    if (a->address.family && ip_equal(&a->address, &b->address))
        return "address";
    return NULL;
}

int netfile_check_reservations(struct netfile_parse *parse)
{
    const struct net_reservation *all = parse->file->reservations;

    for (unsigned i = 0; i < parse->file->reservations_len; i++) {
        parse->line = all[i].line;
        if (!all[i].mac_given && !all[i].interface_id[0])
            return netfile_refuse(parse,
                                  "[host %s] has neither mac nor interface-id: write one of them, "
                                  "for the machine is known by it",
                                  all[i].name);
        if (check_pool(parse, &all[i]) < 0)
            return -EINVAL;
        for (unsigned j = 0; j < i; j++) {
            const char *what = find_clash(&all[i], &all[j]);

            if (what)
                return netfile_refuse(parse,
                                      "[host %s] has the same %s as [host %s] in line %u: write "
                                      "another, or leave one host out",
                                      all[i].name, what, all[j].name, all[j].line);
        }
    }
    return 0;
}
