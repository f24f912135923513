/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses as values: IPv4, IPv6 and MAC; text to value and back; what kind of address it is.
 * Addresses are kept in network order as everywhere in sockets; ports are in host order.
 */
#ifndef OPENVMNET_BASE_ADDR_H
#define OPENVMNET_BASE_ADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct ip_addr {
    uint8_t family; /* AF_INET, AF_INET6, or 0: none */
    union {
        struct in_addr v4;
        struct in6_addr v6;
        uint8_t bytes[16];
    };
};

struct ip_endpoint {
    struct ip_addr addr;
    uint16_t port; /* host order */
};

struct mac_addr {
    uint8_t bytes[6];
};

#define IP_TEXT_MAX INET6_ADDRSTRLEN
#define MAC_TEXT_MAX 18

struct ip_addr ip_from_v4(struct in_addr v4);
/* @host_order is the address as a number: 0xc0a84001 is 192.168.64.1. */
struct ip_addr ip_from_u32(uint32_t host_order);
struct ip_addr ip_from_v6(const struct in6_addr *v6);
/* Any prefix length from 0 to 32; host order. */
uint32_t ip_mask_u32(unsigned prefix_len);

/* 0 or -EINVAL; strict dotted quad or RFC 4291 text, nothing before or after. */
int ip_parse(const char *text, struct ip_addr *ret_addr);
/* Writes text to @buf (IP_TEXT_MAX) and returns it. "none" for family 0. */
const char *ip_format(const struct ip_addr *addr, char buf[IP_TEXT_MAX]);
bool ip_equal(const struct ip_addr *a, const struct ip_addr *b);
/* Bytes of the address: 4, 16, or 0. */
unsigned ip_len_bytes(const struct ip_addr *addr);

/*
 * True for what must never be reached on behalf of a guest, whatever the network's policy: unspecified
 * (0/8, ::), loopback (127/8, ::1), link-local (169.254/16 with the cloud metadata service, fe80::/10),
 * multicast, limited broadcast, class E, IPv4-mapped and IPv4-compatible IPv6, and IPv6 addresses that
 * carry one of these (ip_embedded()).
 */
bool ip_is_forbidden(const struct ip_addr *addr);
/*
 * The IPv4 address that a translator or a tunnel on the way would make of an IPv6 one: 64:ff9b::/96 (NAT64,
 * RFC 6052 2.1), ::ffff:0:0:0/96 (SIIT, RFC 2765 2.1), 2002::/16 (6to4, RFC 3056 2), 2001::/32 (Teredo, RFC
 * 4380 4) and interface identifiers of ISATAP (RFC 5214 6.1). False where there is none. The longer prefixes
 * of RFC 6052 are a network's own choice and are not known here.
 */
bool ip_embedded(const struct ip_addr *addr, struct ip_addr *ret_v4);
bool ip_is_multicast(const struct ip_addr *addr);

bool mac_is_zero(const struct mac_addr *mac);
/* 0 or -EINVAL; six pairs of hex digits with ':' or '-' between them. */
int mac_parse(const char *text, struct mac_addr *ret_mac);
const char *mac_format(const struct mac_addr *mac, char buf[MAC_TEXT_MAX]);
/* The address within an IPv6 /64 that autoconfiguration makes of a MAC (RFC 4291, appendix A). */
struct ip_addr ip_from_mac(const struct ip_addr *prefix, const struct mac_addr *mac);

/* Returns the length of the sockaddr written to @ret_storage. */
socklen_t endpoint_to_sockaddr(const struct ip_endpoint *endpoint,
                               struct sockaddr_storage *ret_storage);
/* 0, or -EAFNOSUPPORT for a family that is neither IPv4 nor IPv6. */
int endpoint_from_sockaddr(const struct sockaddr_storage *storage,
                           struct ip_endpoint *ret_endpoint);

#endif
