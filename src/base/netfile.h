/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration file of a network, openvmnet.conf(5): ~/.config/openvmnet/NAME.conf
 * ($XDG_CONFIG_HOME) of a user's own, /etc/openvmnet/NAME.conf of the system's. Read by libinih; an unknown
 * key is an error, and so is a line of more than 198 characters, which the library would cut.
 *
 *   mode = shared                     the options of a network (netspec.h), by the same names
 *   start-address = 192.168.70.1 …
 *   lease-time = 1h                   seconds, or a number with m, h or d
 *   udp-timeout = 5m                  how long an idle UDP port is kept
 *   udp-filtering = address-dependent who may answer it
 *   mac-nat = on                      bridged: under the interface's own MAC
 *   deny = 10.0.0.0/8                 egress rules, see net_rule; may repeat
 *   allow = 10.1.2.3:443
 *   forward = tcp::2222-web:22        may repeat
 *   allow-user = alice                a network of the system: who may attach ports; may repeat
 *   allow-group = kvm                 the same; names or numbers, "*" for everybody
 *   user-ports = 64                   how many each of them
 *   user-forwards = 16                and to how many of the host's ports they may lead
 *
 *   [host web]                        a reservation
 *   mac = 52:54:00:00:00:01           and/or
 *   interface-id = UUID
 *   address = 192.168.70.10
 *
 *   [dns]
 *   db.example = 192.168.70.20        a record; a name may repeat
 *
 *   [dhcp-options]
 *   ntp-server = 192.168.70.1         dnsmasq's names of options, or numbers
 */
#ifndef OPENVMNET_BASE_NETFILE_H
#define OPENVMNET_BASE_NETFILE_H

#include "base/addr.h"
#include "base/err.h"
#include "base/forward.h"
#include "base/netspec.h"

#define NET_RESERVATIONS_MAX 1024
#define NET_RECORDS_MAX 1024
#define NET_DHCP_OPTIONS_MAX 64
#define NET_RULES_MAX 1024
#define NET_FILE_FORWARDS_MAX 1024
#define NET_ACCESS_MAX 256 /* users, and groups */
#define NET_QUOTA_MAX 65535
#define NET_USER_PORTS_DEFAULT 64
#define NET_USER_FORWARDS_DEFAULT 16
#define NET_RECORD_NAME_MAX 253
#define NET_DHCP_VALUE_MAX 255

struct net_reservation {
    char name[NET_HOSTNAME_MAX + 1];     /* or "", of one that is an option (dhcp-host) */
    char interface_id[NET_UUID_LEN + 1]; /* or "" */
    bool mac_given;
    struct mac_addr mac;
    struct ip_addr address; /* IPv4; family 0: any of the pool */
    unsigned line;          /* in the file, for messages; 0 of an option */
};

struct net_record {
    char name[NET_RECORD_NAME_MAX + 1];
    struct ip_addr address;
};

struct net_dhcp_option {
    char name[64]; /* dnsmasq's, or a number */
    char value[NET_DHCP_VALUE_MAX + 1];
};

/*
 * Where a guest may connect to. The longest prefix that matches decides; of equal ones that with a port,
 * then deny. Where only allow rules exist, what matches none is denied.
 */
struct net_rule {
    bool allow;
    struct ip_addr prefix;
    unsigned prefix_len;
    uint16_t port; /* TCP and UDP; 0: every port, and all other protocols */
};

/* Whose datagrams reach a guest's port that has sent any (RFC 4787 5). */
enum net_udp_filtering {
    NET_UDP_ENDPOINT_INDEPENDENT,       /* everybody's */
    NET_UDP_ADDRESS_DEPENDENT,          /* theirs to whose address it has sent */
    NET_UDP_ADDRESS_AND_PORT_DEPENDENT, /* theirs to whose address and port it has sent */
    NET_UDP_FILTERINGS,
};

/* Who besides root may attach ports to a network of the system, and how many. */
struct net_access {
    bool given; /* the file says something of this */
    bool everybody;
    unsigned users[NET_ACCESS_MAX], groups[NET_ACCESS_MAX];
    unsigned users_len, groups_len;
    unsigned user_ports,
        user_forwards; /* of one user, at one time; forwards are counted by host port */
};

struct net_file {
    char path[512]; /* empty: the network has no file, but reservations as options */
    struct net_spec spec;
    unsigned lease_time_s;  /* 0: default */
    unsigned udp_timeout_s; /* 0: default */
    enum net_udp_filtering udp_filtering;
    bool mac_nat; /* bridged: machines have the interface's MAC outside, and speak IP alone */
    struct net_access access;
    struct net_reservation reservations[NET_RESERVATIONS_MAX];
    struct net_record records[NET_RECORDS_MAX];
    struct net_dhcp_option dhcp_options[NET_DHCP_OPTIONS_MAX];
    struct net_rule rules[NET_RULES_MAX];
    struct forward_spec forwards[NET_FILE_FORWARDS_MAX];
    unsigned reservations_len, records_len, dhcp_options_len, rules_len, forwards_len;
};

/* Path of the file of network @name. -ENOENT where there is none (no text); -errno with the reason. */
int net_file_find(enum net_scope scope, const char *name, char ret_path[512], struct err *err);

/*
 * Reads and checks @path for a network of name @name ("": whatever name). -EINVAL with file, line and the
 * reason; -errno where it cannot be read. @ret_file is large: not for the stack.
 */
int net_file_read(const char *path, const char *name, struct net_file *ret_file, struct err *err);

/* "CIDR", "CIDR:PORT", IPv6 with port as "[CIDR]:PORT"; a bare address is a host. 0 or -EINVAL. */
int net_rule_parse(const char *text, bool allow, struct net_rule *ret_rule, struct err *err);
/* Whether @rules let a guest reach @dst (port 0: a protocol without ports). */
bool net_rules_allow(const struct net_rule *rules, unsigned len, const struct ip_endpoint *dst);

#endif
