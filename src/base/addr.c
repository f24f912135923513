/* SPDX-License-Identifier: Apache-2.0 */
#include "base/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

struct ip_addr ip_from_v4(struct in_addr v4)
{
    struct ip_addr addr = {.family = AF_INET};

    addr.v4 = v4;
    return addr;
}

struct ip_addr ip_from_u32(uint32_t host_order)
{
    return ip_from_v4((struct in_addr){htonl(host_order)});
}

struct ip_addr ip_from_v6(const struct in6_addr *v6)
{
    struct ip_addr addr = {.family = AF_INET6};

    addr.v6 = *v6;
    return addr;
}

uint32_t ip_mask_u32(unsigned prefix_len)
{
    return prefix_len == 0 ? 0 : UINT32_MAX << (32 - prefix_len);
}

int ip_parse(const char *text, struct ip_addr *ret_addr)
{
    struct ip_addr addr = {0};

    if (inet_pton(AF_INET, text, &addr.v4) == 1)
        addr.family = AF_INET;
    else if (inet_pton(AF_INET6, text, &addr.v6) == 1)
        addr.family = AF_INET6;
    else
        return -EINVAL;
    *ret_addr = addr;
    return 0;
}

const char *ip_format(const struct ip_addr *addr, char buf[IP_TEXT_MAX])
{
    if (!addr->family || !inet_ntop(addr->family, addr->bytes, buf, IP_TEXT_MAX))
        snprintf(buf, IP_TEXT_MAX, "none");
    return buf;
}

unsigned ip_len_bytes(const struct ip_addr *addr)
{
    return addr->family == AF_INET ? 4 : addr->family == AF_INET6 ? 16 : 0;
}

bool ip_equal(const struct ip_addr *a, const struct ip_addr *b)
{
    return a->family == b->family && memcmp(a->bytes, b->bytes, ip_len_bytes(a)) == 0;
}

bool ip_is_multicast(const struct ip_addr *addr)
{
    if (addr->family == AF_INET)
        return (addr->bytes[0] & 0xf0) == 0xe0;
    return addr->family == AF_INET6 && addr->bytes[0] == 0xff;
}

bool ip_embedded(const struct ip_addr *addr, struct ip_addr *ret_v4)
{
    static const uint8_t nat64[12] = {0x00, 0x64, 0xff, 0x9b};
    static const uint8_t siit[12] = {[8] = 0xff, 0xff};
    static const uint8_t teredo[4] = {0x20, 0x01};
    static const uint8_t isatap[3] = {0x00, 0x5e, 0xfe};
    const uint8_t *b = addr->bytes;
    bool hidden = memcmp(b, teredo, sizeof(teredo)) == 0;
    struct in_addr v4;

    if (addr->family != AF_INET6)
        return false;
    if (hidden || memcmp(b, nat64, sizeof(nat64)) == 0 || memcmp(b, siit, sizeof(siit)) == 0 ||
        ((b[8] & ~2) == 0 && memcmp(b + 9, isatap, sizeof(isatap)) == 0))
        memcpy(&v4, b + 12, sizeof(v4));
    else if (b[0] == 0x20 && b[1] == 0x02)
        memcpy(&v4, b + 2, sizeof(v4));
    else
        return false;
    /* Teredo's is hidden from translators on the way. */
    if (hidden)
        v4.s_addr = ~v4.s_addr;
    *ret_v4 = ip_from_v4(v4);
    return true;
}

bool ip_is_forbidden(const struct ip_addr *addr)
{
    static const uint8_t zero[12];
    const uint8_t *b = addr->bytes;
    struct ip_addr v4;

    if (ip_is_multicast(addr))
        return true;
    if (addr->family == AF_INET)
        return b[0] == 0 || b[0] == 127 || (b[0] == 169 && b[1] == 254) || b[0] >= 240;
    if (addr->family == AF_INET6)
        /* ::, ::1 and IPv4-compatible share twelve zero bytes (RFC 4291 2.5.5). */
        return memcmp(b, zero, 12) == 0 || IN6_IS_ADDR_V4MAPPED(&addr->v6) ||
               IN6_IS_ADDR_LINKLOCAL(&addr->v6) || (ip_embedded(addr, &v4) && ip_is_forbidden(&v4));
    return true;
}

int mac_parse(const char *text, struct mac_addr *ret_mac)
{
    struct mac_addr mac;

    for (int i = 0; i < 6; i++) {
        unsigned value = 0;

        for (int digit = 0; digit < 2; digit++, text++) {
            value <<= 4;
            if (*text >= '0' && *text <= '9')
                value |= (unsigned)(*text - '0');
            else if (*text >= 'a' && *text <= 'f')
                value |= (unsigned)(*text - 'a' + 10);
            else if (*text >= 'A' && *text <= 'F')
                value |= (unsigned)(*text - 'A' + 10);
            else
                return -EINVAL;
        }
        mac.bytes[i] = (uint8_t)value;
        if (i < 5 && *text != ':' && *text != '-')
            return -EINVAL;
        if (i < 5)
            text++;
    }
    if (*text)
        return -EINVAL;
    *ret_mac = mac;
    return 0;
}

bool mac_is_zero(const struct mac_addr *mac)
{
    static const struct mac_addr zero;

    return memcmp(mac, &zero, sizeof(zero)) == 0;
}

const char *mac_format(const struct mac_addr *mac, char buf[MAC_TEXT_MAX])
{
    const uint8_t *b = mac->bytes;

    snprintf(buf, MAC_TEXT_MAX, "%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4],
             b[5]);
    return buf;
}

struct ip_addr ip_from_mac(const struct ip_addr *prefix, const struct mac_addr *mac)
{
    struct ip_addr addr = *prefix;
    uint8_t *id = addr.bytes + 8;

    memcpy(id, mac->bytes, 3);
    id[0] ^= 0x02;
    id[3] = 0xff;
    id[4] = 0xfe;
    memcpy(id + 5, mac->bytes + 3, 3);
    return addr;
}

socklen_t endpoint_to_sockaddr(const struct ip_endpoint *endpoint,
                               struct sockaddr_storage *ret_storage)
{
    memset(ret_storage, 0, sizeof(*ret_storage));
    if (endpoint->addr.family == AF_INET) {
        struct sockaddr_in *sin = (struct sockaddr_in *)ret_storage;

        sin->sin_family = AF_INET;
        sin->sin_addr = endpoint->addr.v4;
        sin->sin_port = htons(endpoint->port);
        return sizeof(*sin);
    }
    struct sockaddr_in6 *sin6 = (struct sockaddr_in6 *)ret_storage;

    sin6->sin6_family = AF_INET6;
    sin6->sin6_addr = endpoint->addr.v6;
    sin6->sin6_port = htons(endpoint->port);
    return sizeof(*sin6);
}

int endpoint_from_sockaddr(const struct sockaddr_storage *storage, struct ip_endpoint *ret_endpoint)
{
    if (storage->ss_family == AF_INET) {
        const struct sockaddr_in *sin = (const struct sockaddr_in *)storage;

        ret_endpoint->addr = ip_from_v4(sin->sin_addr);
        ret_endpoint->port = ntohs(sin->sin_port);
        return 0;
    }
    if (storage->ss_family == AF_INET6) {
        const struct sockaddr_in6 *sin6 = (const struct sockaddr_in6 *)storage;

        ret_endpoint->addr = ip_from_v6(&sin6->sin6_addr);
        ret_endpoint->port = ntohs(sin6->sin6_port);
        return 0;
    }
    return -EAFNOSUPPORT;
}
