/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network's DNS server answers for these names by itself and does not pass them on, but it is sure of that for
 * addresses only: it would ask the outside for the AAAA of a name that has an A record here, or the HTTPS record of
 * "web". So there is one place that decides, and it looks at each question that leaves.
 */
#include "uplink/dns_names.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/netfile.h"

/* Whether @name is @domain or ends with "." and it; *ret_len: what is in front of that. */
static bool is_below(const char *name, const char *domain, size_t *ret_len)
{
    size_t name_len = strlen(name), domain_len = strlen(domain);

    if (name_len < domain_len || strcmp(name + name_len - domain_len, domain) != 0)
        return false;
    *ret_len = name_len - domain_len;
    if (*ret_len == 0)
        return true;
    return name[--*ret_len] == '.';
}

/*
 * Reads the labels of @name from the last to the first, each a number of base @base, as the parts of an address from
 * its first one on. Returns how many there are; -1 where a label is no such number.
 */
static int parse_parts(const char *name, size_t len, int base, unsigned max, uint8_t *ret_parts,
                       int parts_max)
{
    int parts = 0;

    while (len > 0) {
        char label[4] = "", *end;
        size_t start = len;
        unsigned long value;

        while (start > 0 && name[start - 1] != '.')
            start--;
        if (parts == parts_max || len - start >= sizeof(label) || len == start)
            return -1;
        memcpy(label, name + start, len - start);
        value = strtoul(label, &end, base);
        if (*end || value > max)
            return -1;
        ret_parts[parts++] = (uint8_t)value;
        len = start ? start - 1 : 0;
    }
    return parts;
}

static bool is_own_address4(const struct net_config *net, const char *name)
{
    uint8_t parts[4] = {0};
    size_t len;
    int known;
    uint32_t address;

    if (!is_below(name, "in-addr.arpa", &len))
        return false;
    known = parse_parts(name, len, 10, 255, parts, 4);
    if (known < 0 || 8u * (unsigned)known < net->prefix_len)
        return false;
    address =
        (uint32_t)parts[0] << 24 | (uint32_t)parts[1] << 16 | (uint32_t)parts[2] << 8 | parts[3];
    return (address & ip_mask_u32(net->prefix_len)) == net_config_subnet(net);
}

static bool is_own_address6(const struct net_config *net, const char *name)
{
    uint8_t parts[32] = {0};
    size_t len;

    if (!net->prefix6.family || !is_below(name, "ip6.arpa", &len) ||
        parse_parts(name, len, 16, 15, parts, 32) < 16)
        return false;
    for (int i = 0; i < 8; i++)
        if ((parts[2 * i] << 4 | parts[2 * i + 1]) != net->prefix6.bytes[i])
            return false;
    return true;
}

bool dns_is_inside(const struct net_config *net, const struct wire_dns_question *question)
{
    const struct net_file *file = net->file;
    size_t len;

    if (is_below(question->name, NET_DOMAIN_ALL, &len) || is_own_address4(net, question->name) ||
        is_own_address6(net, question->name))
        return true;
    for (unsigned i = 0; file && i < file->records_len; i++)
        if (strcasecmp(file->records[i].name, question->name) == 0)
            return true;
    return question->labels == 1 && question->type != WIRE_DNS_NS &&
           question->type != WIRE_DNS_SOA && question->type != WIRE_DNS_DS &&
           question->type != WIRE_DNS_DNSKEY;
}
