/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a network is asked to be: its mode, its name, its addresses. The same text values come from
 * QEMU's command line, from `vmnet up` and to vmnetd, and are checked here, once.
 */
#ifndef OPENVMNET_BASE_NETSPEC_H
#define OPENVMNET_BASE_NETSPEC_H

#include <stdbool.h>

#include "base/addr.h"
#include "base/err.h"
#include "base/portset.h"

/* A directory name, part of a socket's path; the longest net_spec_complete() makes just fits. */
#define NET_NAME_MAX 41
#define NET_HOSTNAME_MAX 63 /* a DNS label, RFC 1035 2.3.4 */
#define NET_DOMAIN_MAX 80
#define NET_UUID_LEN 36

#define NET_IFNAME_MAX 15 /* IFNAMSIZ - 1 */
#define NET_MTU_MIN 1280  /* RFC 8200 5 */
#define NET_MTU_MAX 65520
#define NET_WORKERS_MAX 8 /* threads of the way out */
#define NET_DHCP_HOSTS_MAX 64
#define NET_RANGE_TEXT_MAX (2 * IP_TEXT_MAX)
#define NET_DHCP_HOST_TEXT_MAX (MAC_TEXT_MAX + IP_TEXT_MAX)

enum net_mode {
    NET_MODE_SHARED,  /* the world through a NAT, and the host */
    NET_MODE_HOST,    /* the network's own and the host, nothing else */
    NET_MODE_BRIDGED, /* a physical network; not on the private plane */
};

/* Options that are on or off, each by itself. */
enum net_switch {
    NET_HOST_LOOPBACK, /* the gateway's address leads to the host's loopback */
    NET_DHCP,
    NET_DNS,   /* a server at the gateway's addresses, which guests are told of */
    NET_RA,    /* IPv6 router advertisements */
    NET_NAT44, /* a way out for IPv4 */
    NET_NAT66, /* and for IPv6 */
    NET_SWITCHES,
};

enum net_setting {
    NET_NOT_GIVEN,
    NET_OFF,
    NET_ON,
};

/* Whose a network is. Which one a name means: client/connection.h. */
enum net_scope {
    NET_OF_USER,   /* a user's own */
    NET_OF_SYSTEM, /* the administrator's, for all users whom its file allows */
};

/* An address kept for a machine. */
struct net_dhcp_host {
    struct mac_addr mac;
    struct ip_addr address; /* IPv4 */
};

struct net_spec {
    char name[NET_NAME_MAX + 1]; /* empty until net_spec_complete() */
    enum net_mode mode;
    bool mode_given;
    /* All three or none (family 0): then the network picks a subnet itself. */
    struct ip_addr start_address; /* the gateway's */
    struct ip_addr end_address;   /* last of the pool */
    struct ip_addr subnet_mask;
    /* The part of the pool that is given out by itself; family 0: all. */
    struct ip_addr range_first, range_last;
    struct net_dhcp_host dhcp_hosts[NET_DHCP_HOSTS_MAX];
    unsigned dhcp_hosts_len;
    struct ip_addr nat66_prefix; /* ULA /64, shared mode only; family 0: the network's own choice */
    /* A host network of that identity, without DHCP; in lower case; or "". */
    char net_uuid[NET_UUID_LEN + 1];
    /* The host's addresses there, each family alone; family 0: the network's own choice. */
    struct ip_addr host_ip_address, host_subnet_mask;
    struct ip_addr host_ipv6_address; /* a ULA, of the /64 that is the network's */
    char ifname[NET_IFNAME_MAX + 1];  /* bridged only; or "" */
    unsigned mtu;                     /* 0: default */
    unsigned workers;                 /* 0: default */
    struct port_set host_ports;       /* those that are open at the gateway's address */
    enum net_setting switches[NET_SWITCHES];
};

/* "shared", "host", "bridged". */
const char *net_mode_name(enum net_mode mode);

/* A switch's option, and the field that it is in replies of the control interface. */
const char *net_switch_option(enum net_switch which);
const char *net_switch_field(enum net_switch which);

/*
 * Whether @which is on in the network of @spec, given or not: a network has DHCP, DNS and advertisements, but one
 * known by a UUID only DNS; a shared one has both NATs.
 */
bool net_spec_is_on(const struct net_spec *spec, enum net_switch which);

/*
 * Sets one option by its name as QEMU's vmnet netdevs spell it, where they have it (openvmnet(7), "OPTIONS");
 * underscores are dashes, and the origin's "dhcp-" prefix is accepted for the three addresses. "bridge" is "bridged".
 * "host-ports" and "dhcp-host" add to what there is. -ENOENT: no such option (the text lists those there are); -EINVAL with the reason.
 * A refused value leaves the earlier one.
 */
int net_spec_set(struct net_spec *spec, const char *option, const char *value, struct err *err);

/* "192.168.70.100-192.168.70.150"; "all" where none was given. */
const char *net_spec_format_range(const struct net_spec *spec, char buf[NET_RANGE_TEXT_MAX]);
/* "52:54:00:12:34:56,192.168.70.9" */
const char *net_dhcp_host_format(const struct net_dhcp_host *host,
                                 char buf[NET_DHCP_HOST_TEXT_MAX]);

/* The name above of an option in any of its spellings; NULL where there is none. */
const char *net_spec_option_name(const char *text);

/*
 * Checks the options together and gives the network its name where none was asked: that of the
 * mode for a network without addresses, "host-UUID" for one with net-uuid, "bridged-IFNAME", else one
 * made of mode and addresses, so that the same addresses always mean the same network. -EINVAL with
 * the reason. Bridged mode passes here: whether there is a plane for it is the caller's to know.
 */
int net_spec_complete(struct net_spec *spec, struct err *err);

/*
 * 0; -EOPNOTSUPP, with what is needed, for a complete spec that the private plane cannot carry out. On a system that has none, 0.
 */
int net_spec_check_private(const struct net_spec *spec, struct err *err);

/* 0, or -EINVAL with the reason: letters, digits, '.', '_', '-'; starts with a letter or digit. */
int net_name_check(const char *name, struct err *err);

/* 0, or -EINVAL with the reason: a DNS label (letters, digits, inner hyphens; RFC 1123 2.1). */
int net_hostname_check(const char *name, struct err *err);

/* 0, or -EINVAL with the reason: 8-4-4-4-12 hex digits. */
int net_uuid_check(const char *uuid, struct err *err);

#endif
