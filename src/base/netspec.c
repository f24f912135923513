/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options of a network, checked where they enter. Values are shown back in messages, so they are
 * first made fit for a terminal and a log: cut short, and without control characters.
 */
#include "base/netspec.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PREFIX_MIN 16 /* a wider subnet would be a whole private range for one network */
#define PREFIX_MAX 30 /* two usable addresses: the gateway and one guest */

struct shown {
    char text[68];
};

static struct shown show(const char *value)
{
    struct shown shown;
    size_t len_bytes = strlen(value), max_bytes = sizeof(shown.text) - sizeof("...");

    snprintf(shown.text, sizeof(shown.text), "%.*s%s", (int)max_bytes, value,
             len_bytes > max_bytes ? "..." : "");
    for (char *at = shown.text; *at; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            *at = '?';
    return shown;
}

/* ASCII whatever the locale is: the names go into paths and DNS. */
static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

const char *net_mode_name(enum net_mode mode)
{
    static const char *const names[] = {[NET_MODE_SHARED] = "shared"};

    return (unsigned)mode < sizeof(names) / sizeof(names[0]) ? names[mode] : "unknown";
}

int net_name_check(const char *name, struct err *err)
{
    size_t len_bytes = strlen(name);

    if (len_bytes == 0)
        return err_set(err, -EINVAL,
                       "network name is empty: write a name such as 'shared' or 'lab-1'");
    if (len_bytes > NET_NAME_MAX)
        return err_set(err, -EINVAL,
                       "network name '%s' has %zu characters: write one of at most %d",
                       show(name).text, len_bytes, NET_NAME_MAX);
    if (!is_alnum(name[0]))
        return err_set(err, -EINVAL,
                       "network name '%s' does not start with a letter or digit (a-z, A-Z, 0-9): "
                       "write a name such as 'lab-1'",
                       show(name).text);
    for (const char *at = name; *at; at++)
        if (!is_alnum(*at) && !strchr("._-", *at))
            return err_set(err, -EINVAL,
                           "network name '%s' has a character that is not allowed: write letters "
                           "(a-z, A-Z), digits, '.', '_' and '-' only",
                           show(name).text);
    return 0;
}

int net_hostname_check(const char *name, struct err *err)
{
    size_t len_bytes = strlen(name);

    if (len_bytes == 0)
        return err_set(err, -EINVAL, "host name is empty: write a name such as 'web-1'");
    if (len_bytes > NET_HOSTNAME_MAX)
        return err_set(err, -EINVAL, "host name '%s' has %zu characters: write one of at most %d",
                       show(name).text, len_bytes, NET_HOSTNAME_MAX);
    for (const char *at = name; *at; at++)
        if (!is_alnum(*at) && *at != '-')
            return err_set(err, -EINVAL,
                           "host name '%s' has a character that is not allowed: write one label of "
                           "letters (a-z, A-Z), digits and '-', without dots",
                           show(name).text);
    if (name[0] == '-' || name[len_bytes - 1] == '-')
        return err_set(err, -EINVAL,
                       "host name '%s' starts or ends with '-': write a letter or digit there",
                       show(name).text);
    return 0;
}

int net_uuid_check(const char *uuid, struct err *err)
{
    size_t len_bytes = strlen(uuid);
    bool good = len_bytes == NET_UUID_LEN;

    for (size_t i = 0; good && i < NET_UUID_LEN; i++)
        good = i == 8 || i == 13 || i == 18 || i == 23 ? uuid[i] == '-' : is_hex(uuid[i]);
    if (!good)
        return err_set(err, -EINVAL,
                       "'%s' is not a UUID: write hex digits in groups of 8-4-4-4-12, such as "
                       "8a2c5f10-0d3b-4c7e-9a51-6f1e2d3c4b5a (uuidgen makes one)",
                       show(uuid).text);
    return 0;
}

static int set_mode(struct net_spec *spec, const char *value, struct err *err)
{
    if (strcmp(value, "shared") == 0) {
        spec->mode = NET_MODE_SHARED;
        return 0;
    }
    if (strcmp(value, "host") == 0 || strcmp(value, "bridged") == 0 || strcmp(value, "bridge") == 0)
        return err_set(err, -EINVAL,
                       "mode=%s: this version offers shared only, host and bridged are not there "
                       "yet: write mode=shared",
                       value);
    return err_set(err, -EINVAL, "unknown mode '%s': shared is the one there is, write mode=shared",
                   show(value).text);
}

static int set_network(struct net_spec *spec, const char *value, struct err *err)
{
    int error = net_name_check(value, err);

    if (error)
        return error;
    snprintf(spec->name, sizeof(spec->name), "%s", value);
    return 0;
}

static int set_address(struct ip_addr *ret_addr, const char *option, const char *value,
                       const char *example, struct err *err)
{
    struct ip_addr addr;

    if (ip_parse(value, &addr) < 0)
        return err_set(err, -EINVAL,
                       "%s=%s is not an IPv4 address: write four numbers from 0 to 255, such as %s",
                       option, show(value).text, example);
    if (addr.family != AF_INET)
        return err_set(err, -EINVAL, "%s=%s is an IPv6 address: write an IPv4 one, such as %s",
                       option, show(value).text, example);
    *ret_addr = addr;
    return 0;
}

static int set_start(struct net_spec *spec, const char *value, struct err *err)
{
    return set_address(&spec->start_address, "start-address", value, "192.168.70.1", err);
}

static int set_end(struct net_spec *spec, const char *value, struct err *err)
{
    return set_address(&spec->end_address, "end-address", value, "192.168.70.254", err);
}

static int set_mask(struct net_spec *spec, const char *value, struct err *err)
{
    return set_address(&spec->subnet_mask, "subnet-mask", value, "255.255.255.0", err);
}

static const struct option {
    const char *name;
    int (*set)(struct net_spec *spec, const char *value, struct err *err);
    bool dhcp_prefix;
} options[] = {
    {"mode", set_mode, false},       {"start-address", set_start, true},
    {"end-address", set_end, true},  {"subnet-mask", set_mask, true},
    {"network", set_network, false},
};

/* Equal, where '_' in @text stands for '-'. */
static bool option_matches(const char *name, const char *text)
{
    while (*name && *name == (*text == '_' ? '-' : *text))
        name++, text++;
    return *name == *text;
}

int net_spec_set(struct net_spec *spec, const char *option, const char *value, struct err *err)
{
    bool prefixed = strncmp(option, "dhcp-", 5) == 0 || strncmp(option, "dhcp_", 5) == 0;

    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
        if (option_matches(options[i].name, option) ||
            (prefixed && options[i].dhcp_prefix && option_matches(options[i].name, option + 5)))
            return options[i].set(spec, value, err);
    return err_set(err, -ENOENT,
                   "unknown option '%s': the options of a network are mode, start-address, "
                   "end-address, subnet-mask and network",
                   show(option).text);
}

static uint32_t as_u32(const struct ip_addr *addr)
{
    return ntohl(addr->v4.s_addr);
}

static bool is_private(uint32_t addr)
{
    return addr >> 24 == 10 || addr >> 20 == 0xac1 || addr >> 16 == 0xc0a8;
}

/* The prefix length of a contiguous mask; -1 of any other. */
static int mask_prefix(uint32_t mask)
{
    for (unsigned prefix = 0; prefix <= 32; prefix++)
        if (ip_mask_u32(prefix) == mask)
            return (int)prefix;
    return -1;
}

static int check_mask(const struct net_spec *spec, struct err *err)
{
    int prefix = mask_prefix(as_u32(&spec->subnet_mask));
    char text[IP_TEXT_MAX];

    ip_format(&spec->subnet_mask, text);
    if (prefix < 0)
        return err_set(err, -EINVAL,
                       "subnet-mask=%s is not a mask: its one bits must come first; write one such "
                       "as 255.255.255.0",
                       text);
    if (prefix < PREFIX_MIN)
        return err_set(
            err, -EINVAL,
            "subnet-mask=%s is too wide (/%d): write 255.255.0.0 (/%d) or a narrower one", text,
            prefix, PREFIX_MIN);
    if (prefix > PREFIX_MAX)
        return err_set(err, -EINVAL,
                       "subnet-mask=%s is too narrow (/%d) for the gateway and a guest: write "
                       "255.255.255.252 (/%d) or a wider one",
                       text, prefix, PREFIX_MAX);
    return 0;
}

/* One of the two ends, by itself; the mask is right already. */
static int check_end(const struct net_spec *spec, const char *option, const struct ip_addr *addr,
                     struct err *err)
{
    uint32_t mask = as_u32(&spec->subnet_mask), value = as_u32(addr);
    struct ip_addr first = ip_from_u32((value & mask) + 1), last = ip_from_u32((value | ~mask) - 1);
    char text[IP_TEXT_MAX], first_text[IP_TEXT_MAX], last_text[IP_TEXT_MAX];
    bool is_network = value == (value & mask), is_broadcast = value == (value | ~mask);

    ip_format(addr, text);
    if (!is_private(value))
        return err_set(err, -EINVAL,
                       "%s=%s is not a private address (RFC 1918): write one of 10.0.0.0/8, "
                       "172.16.0.0/12 or 192.168.0.0/16",
                       option, text);
    if (is_network || is_broadcast)
        return err_set(err, -EINVAL,
                       "%s=%s is the %s address of its subnet (/%d): write one from %s to %s",
                       option, text, is_network ? "network" : "broadcast", mask_prefix(mask),
                       ip_format(&first, first_text), ip_format(&last, last_text));
    return 0;
}

static int check_range(const struct net_spec *spec, struct err *err)
{
    uint32_t mask = as_u32(&spec->subnet_mask);
    uint32_t start = as_u32(&spec->start_address), end = as_u32(&spec->end_address);
    struct ip_addr last = ip_from_u32((start | ~mask) - 1);
    char start_text[IP_TEXT_MAX], end_text[IP_TEXT_MAX], mask_text[IP_TEXT_MAX];
    char last_text[IP_TEXT_MAX];

    ip_format(&spec->start_address, start_text);
    ip_format(&spec->end_address, end_text);
    ip_format(&spec->subnet_mask, mask_text);
    ip_format(&last, last_text);
    /* The last usable address as the gateway: no end-address could be right. */
    if (start == (start | ~mask) - 1)
        return err_set(err, -EINVAL,
                       "start-address=%s is the last address of its subnet, which leaves none for "
                       "guests: write a lower one",
                       start_text);
    if ((start & mask) != (end & mask))
        return err_set(err, -EINVAL,
                       "end-address=%s is not in the subnet of start-address=%s under "
                       "subnet-mask=%s: write one up to %s, or a wider mask",
                       end_text, start_text, mask_text, last_text);
    if (end <= start)
        return err_set(err, -EINVAL,
                       "end-address=%s is not above start-address=%s, which is the gateway: write "
                       "one up to %s",
                       end_text, start_text, last_text);
    return 0;
}

static int check_addresses(const struct net_spec *spec, struct err *err)
{
    const struct {
        const char *name;
        const struct ip_addr *addr;
    } three[] = {
        {"start-address", &spec->start_address},
        {"end-address", &spec->end_address},
        {"subnet-mask", &spec->subnet_mask},
    };
    int error;

    for (size_t i = 0; i < 3; i++)
        if (!three[i].addr->family)
            return err_set(
                err, -EINVAL,
                "start-address, end-address and subnet-mask should be provided together: "
                "%s is missing; write all three or none",
                three[i].name);
    error = check_mask(spec, err);
    for (size_t i = 0; i < 2 && !error; i++)
        error = check_end(spec, three[i].name, three[i].addr, err);
    return error ? error : check_range(spec, err);
}

int net_spec_complete(struct net_spec *spec, struct err *err)
{
    bool addressed =
        spec->start_address.family || spec->end_address.family || spec->subnet_mask.family;
    char start[IP_TEXT_MAX], end[IP_TEXT_MAX];
    int error = addressed ? check_addresses(spec, err) : 0;

    if (error)
        return error;
    if (spec->name[0])
        return net_name_check(spec->name, err);
    if (!addressed) {
        snprintf(spec->name, sizeof(spec->name), "%s", net_mode_name(spec->mode));
        return 0;
    }
    snprintf(spec->name, sizeof(spec->name), "%s-%s-%s-%d", net_mode_name(spec->mode),
             ip_format(&spec->start_address, start), ip_format(&spec->end_address, end),
             mask_prefix(as_u32(&spec->subnet_mask)));
    return 0;
}
