/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who gives addresses here is the system's DHCP server; which one a guest has is seen when it is told. Offsets are
 * those of RFC 791 3.1, RFC 768 and RFC 2131 2.
 */
#include "plane/macos/lease.h"

#include <string.h>

#define ETHERNET_BYTES 14
#define UDP_BYTES 8
#define PROTOCOL_UDP 17
#define SERVER_PORT 67
#define CLIENT_PORT 68
#define BOOTREPLY 2
#define DHCP_YIADDR 16
#define DHCP_CHADDR 28
#define DHCP_COOKIE 236
#define DHCP_OPTIONS 240
#define OPTION_PAD 0
#define OPTION_END 255
#define OPTION_MESSAGE_TYPE 53
#define DHCPACK 5

static unsigned get16(const uint8_t *at)
{
    return (unsigned)at[0] << 8 | at[1];
}

static bool is_ack(const uint8_t *options, size_t len_bytes)
{
    for (size_t at = 0; at < len_bytes && options[at] != OPTION_END;) {
        if (options[at] == OPTION_PAD) {
            at++;
            continue;
        }
        if (len_bytes - at < 2 || len_bytes - at - 2 < options[at + 1])
            return false;
        if (options[at] == OPTION_MESSAGE_TYPE)
            return options[at + 1] == 1 && options[at + 2] == DHCPACK;
        at += 2u + options[at + 1];
    }
    return false;
}

static uint32_t get32(const uint8_t *at)
{
    return (uint32_t)get16(at) << 16 | get16(at + 2);
}

bool lease_read(const uint8_t *frame, size_t len_bytes, const struct mac_addr *mac, uint32_t server,
                uint32_t *ret_ipv4)
{
    static const uint8_t cookie[] = {99, 130, 83, 99};
    const uint8_t *ip = frame + ETHERNET_BYTES, *udp, *dhcp;
    size_t header_bytes, dhcp_bytes;

    if (len_bytes < ETHERNET_BYTES + 20 + UDP_BYTES + DHCP_OPTIONS || frame[12] != 0x08 ||
        frame[13] != 0x00 || ip[9] != PROTOCOL_UDP || ip[0] >> 4 != 4)
        return false;
    header_bytes = (ip[0] & 15u) * 4u;
    if (header_bytes < 20 || (server && get32(ip + 12) != server) ||
        (get16(ip + 6) & 0x3fff) != 0 ||
        len_bytes < ETHERNET_BYTES + header_bytes + UDP_BYTES + DHCP_OPTIONS)
        return false;
    udp = ip + header_bytes;
    dhcp = udp + UDP_BYTES;
    dhcp_bytes = len_bytes - ETHERNET_BYTES - header_bytes - UDP_BYTES;
    if (get16(udp) != SERVER_PORT || get16(udp + 2) != CLIENT_PORT || dhcp[0] != BOOTREPLY ||
        memcmp(dhcp + DHCP_CHADDR, mac->bytes, sizeof(mac->bytes)) != 0 ||
        memcmp(dhcp + DHCP_COOKIE, cookie, sizeof(cookie)) != 0 ||
        !is_ack(dhcp + DHCP_OPTIONS, dhcp_bytes - DHCP_OPTIONS))
        return false;
    *ret_ipv4 = get32(dhcp + DHCP_YIADDR);
    /* An acknowledgement of DHCPINFORM gives none. */
    return *ret_ipv4 != 0;
}
