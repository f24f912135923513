/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Machines on an interface that may send under one MAC alone, its own: a station of a Wi-Fi network, a port of a switch
 * that counts MACs, a virtual machine's card. Their frames leave with that MAC, and what comes back is theirs by its
 * IP address. IPv4 and IPv6, and nothing else.
 *
 *   a machine ── br0 ══ vmnet-NAME ── the MAC becomes the interface's, the address is noted ─> wlan0 ── LAN
 *                                  <─ the machine of the address gets the frame ─────────────
 *
 * ARP and the options of neighbour discovery, which tell a MAC within, tell the interface's, too. A DHCP client is answered
 * by broadcast, which its server is asked for (RFC 2131 4.1). Between machines and host nothing is translated: the host
 * knows machines by their own MACs.
 *
 * Whose an address is follows from what machines send (@owners4, @owners6): at first who uses it, then who says so by ARP
 * or by a neighbour advertisement. The host's own addresses are never a machine's.
 */
#ifndef OPENVMNET_PLANE_LINUX_BRIDGED_MACNAT_H
#define OPENVMNET_PLANE_LINUX_BRIDGED_MACNAT_H

#include <stdio.h>

#include "base/err.h"
#include "plane/linux/bridged_wire.h"

/*
 * Addresses that machines have been seen with. One is forgotten when its machine leaves, or has sent nothing for so long;
 * the neighbours' caches of routers live for four hours.
 */
#define MACNAT_ADDRESSES_MAX 65536
#define MACNAT_ADDRESS_HOURS 5
/* New addresses of one machine. */
#define MACNAT_NEW_A_MINUTE 10
#define MACNAT_NEW_BURST 32

/*
 * The parts of the table (bridged_hooks.h): maps with what the old one knew, and chains. The set of machines is there
 * already. @received and @sent are the names of chains at the interface.
 */
void macnat_write(FILE *text, struct wire *wire, const char *received, const char *sent);
/* What nftables has no words for; after the table is there. 0 or -errno. */
int macnat_complete(struct wire *wire);
/* A machine leaves, and its addresses are nobody's. */
void macnat_forget(struct wire *wire, const struct mac_addr *mac);

#endif
