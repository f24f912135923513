/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plane is where a network's objects live and what moves its frames: on Linux without privileges, a
 * network namespace of its own; for a network of the system, the host's. This is all that the daemon knows of it.
 *
 * The calls below are made by one process, the router. What outlives that process (the namespace, the
 * devices, the listeners) is reached through the descriptors in struct plane_handles, which the parent
 * keeps. Ports live as long as somebody holds their descriptor; what is known of a port is written on
 * the port itself, so a new router finds all of them.
 */
#ifndef OPENVMNET_PLANE_PLANE_H
#define OPENVMNET_PLANE_PLANE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/addr.h"
#include "base/err.h"
#include "base/loop.h"
#include "base/netconfig.h"
#include "base/portspec.h"
#include "base/resolv_conf.h"

#define PLANE_PORTS_MAX 1024  /* a bridge has 1023 ports */
#define PLANE_CUT_OFF_MAX 128 /* taps of ports that were removed, and are held still */
#define PLANE_ROUTES_MAX 4096

/* Descriptors, in the order in which they are passed on. */
enum plane_handle {
    PLANE_NAMESPACE,      /* the network namespace */
    PLANE_USER,           /* the user namespace that owns it; -1 where root made the network */
    PLANE_DNS_UDP,        /* where the network's DNS server asks for the rest; -1: it has none */
    PLANE_ROUTER_HANDLES, /* those up to here are what plane_join() wants to have */
    PLANE_DNS_TCP = PLANE_ROUTER_HANDLES,
    /* NET_WORKERS_MAX of each of these, -1 from the network's number of workers on. */
    PLANE_TUN,                                       /* packet devices of the uplink */
    PLANE_LISTEN_TCP4 = PLANE_TUN + NET_WORKERS_MAX, /* transparent listeners for detoured */
    PLANE_LISTEN_TCP6 = PLANE_LISTEN_TCP4 + NET_WORKERS_MAX, /* connections; -1 without IPv6 */
    PLANE_HANDLES = PLANE_LISTEN_TCP6 + NET_WORKERS_MAX,
};

struct plane_handles {
    int fd[PLANE_HANDLES];
};

struct plane_port {
    char interface[16];
    unsigned ifindex; /* the same, while the plane knows of it; elsewhere 0 */
    /* All zero: nobody has said it. It is that of the machine's first frame (plane_settle_port()). */
    struct mac_addr mac;
    uint32_t ipv4; /* host order; 0: none, or not known */
    char name[NET_HOSTNAME_MAX + 1];
    char interface_id[NET_UUID_LEN + 1];
    int32_t
        owner_pid; /* who attached it, which is the VM monitor where vmnet run did; 0: unknown */
    uint32_t owner_uid; /* whose port it is */
    uint8_t kind;       /* enum port_kind; stream and dgram ports are taps to a plane */
    bool isolated, anti_spoof;
    bool arriving;  /* it is migrated here, and runs elsewhere still: not announced */
    bool mac_given; /* the MAC is the guest's own, not one that follows from its id */
};

/* Why frames of a port are dropped before they enter the network. */
/* clang-format off */
#define PLANE_DROPS(X)                                                                             \
    X(spoofed_mac)     /* a source MAC, of the frame or within ARP or ND, that is not the port's */    \
    X(spoofed_ipv4)    /* a source address that is not the port's; ARP's sender too */             \
    X(spoofed_ipv6)    /* a source outside of the network's prefix and fe80::/10, or the gateway's */  \
    X(unknown_mac)     /* the port's MAC is not known yet: it is learnt from this frame */         \
    X(rogue_dhcp)      /* DHCP or DHCPv6 of a server */                                            \
    X(rogue_ra)        /* router advertisements and redirects */                                   \
    X(storm)           /* broadcast and multicast above the port's rate */                         \
    X(isolated)        /* to another port, from or to an isolated one */                           \
    X(not_ip)          /* to outside, where nothing else passes (MAC-NAT) */
/* clang-format on */
#define PLANE_DROP_ENUM(name) PLANE_DROP_##name,
enum plane_drop {
    PLANE_DROPS(PLANE_DROP_ENUM) PLANE_DROPS_LEN
};

struct plane_port_stats {
    uint64_t up_packets, up_bytes;     /* from the guest */
    uint64_t down_packets, down_bytes; /* to the guest */
    uint64_t down_dropped;             /* the guest did not take them */
    uint64_t drops[PLANE_DROPS_LEN];
};

/* What guests are told of the host's own network. */
struct plane_outside {
    bool has_ipv6;                    /* there is a way out for IPv6: by router advertisements */
    char search[RESOLV_SEARCH_BYTES]; /* the host's search domains, as in struct resolv_conf */
    unsigned resolvers; /* another number: names may mean something else than before */
};

/* What comes to @host (any address: to all of the host's) goes to @guest. Passed on as bytes. */
struct plane_forward {
    bool udp;
    struct ip_endpoint host, guest;
};
#define PLANE_FORWARDS_MAX 16384 /* more are the sockets' alone */

struct plane;

/*
 * What the plane needs of its surroundings, checked before anything is made: programs, devices, kernel
 * features. -errno with what is missing and how to get it.
 */
int plane_check(const struct net_config *config, struct err *err);

/* 0; -EOPNOTSUPP, with what to do, for what was asked (complete) and the network's file (NULL: none) has, and this plane
 * cannot do. */
int plane_check_spec(const struct net_spec *spec, const struct net_file *file, struct err *err);

/*
 * What the interface of a bridged network says of it: which one it is, where @config names none, and the MTU. What the
 * physical network has is not the network's own: addresses and services. 0, or -errno with the reason.
 */
int plane_complete_bridged(const struct net_spec *spec, struct net_config *config, struct err *err);

/*
 * Writes what the services of a new network read. It may be done by another process while plane_create() makes the
 * network. 0 or -errno with the reason, also where what the network's file has for them is wrong.
 */
int plane_prepare(const struct net_config *config, struct err *err);

/*
 * Makes the network: leaves the caller in its namespace, without the way back. On failure nothing stays
 * behind once the process has ended. The handles are owned by the caller.
 */
int plane_create(const struct net_config *config, struct plane **ret_plane,
                 struct plane_handles *ret_handles, struct err *err);
/* Joins a network that an earlier process made. The handles stay the caller's. */
int plane_join(const struct net_config *config, const struct plane_handles *handles,
               struct plane **ret_plane, struct err *err);

/* What happens to a network by itself. */
struct plane_events {
    /* The last descriptor of a port was closed. An empty name: of some ports; look which are left. */
    void (*on_gone)(void *context, const char *interface);
    /* plane_service_pid(), plane_warning() or plane_mtu() is another than before. */
    void (*on_service)(void *context);
    /* A port without a MAC has sent a frame from @mac, an address of one interface. Again after a while until it has one. */
    void (*on_learned)(void *context, const char *interface, const struct mac_addr *mac);
    void *context;
};

/* Watches the network in @loop. 0 or -errno with the reason. */
int plane_run(struct plane *plane, struct loop *loop, const struct plane_events *events,
              struct err *err);
/*
 * Starts what serves the network (DHCP, DNS, router advertisements), and keeps it running in the loop. Nobody has
 * to wait for it: DNS queries that come before it listens are answered when it does, others are made again.
 */
void plane_serve(struct plane *plane);

/*
 * Adds a port; fills in port->interface. *ret_fd is its packet descriptor, owned by the caller. A PORT_VETH
 * has none (-1): its other end becomes "eth0" with the port's MAC, not up, in the network namespace
 * @peer_fd (borrowed; -1 for other kinds), over which the caller must have CAP_NET_ADMIN.
 */
int plane_add_port(struct plane *plane, struct plane_port *port, int peer_fd, int *ret_fd,
                   struct err *err);
/*
 * Gives a port that was added without a MAC all of @port, from where on it is one like others. 0; -ENODEV where there is
 * no such port that has none; -errno with the reason: it has none then.
 */
int plane_settle_port(struct plane *plane, const struct plane_port *port, struct err *err);
/*
 * Removes a port, whoever holds its descriptor: another one may have all that it had. On Linux who holds a tap keeps a device
 * that is down, on which no frame passes, until it is closed (decision 0038); where there are PLANE_CUT_OFF_MAX of these the
 * device goes. on_gone() may not be called for it. 0, -ENODEV where there is no such port, or -errno with the reason.
 */
int plane_remove_port(struct plane *plane, const char *interface, struct err *err);
/*
 * Cuts off all ports, for the end of the network (decision 0038): no frame passes from or to them any more, whoever holds their
 * descriptors. None can be added after this (-EAGAIN). 0, or -errno with the reason.
 */
int plane_cut_off(struct plane *plane, struct err *err);
/* Calls @each for every port that there is, with what was counted there. 0 or -errno. */
int plane_list_ports(struct plane *plane,
                     void (*each)(void *context, const struct plane_port *port,
                                  const struct plane_port_stats *stats),
                     void *context);
/*
 * A socket inside the network that may have any address as its own (IP_TRANSPARENT), not blocking. @type is
 * SOCK_STREAM or SOCK_DGRAM. The descriptor, the caller's, or -errno.
 */
int plane_open_socket(struct plane *plane, int family, int type);
/* To be called whenever it may have changed. */
void plane_set_outside(struct plane *plane, const struct plane_outside *outside);
/* Ports of the host that lead to guests, where the host's kernel does that; elsewhere it does nothing. */
void plane_set_forwards(struct plane *plane, const struct plane_forward *forwards, size_t len);
/* To be called after each SIGCHLD: starts again what plane_serve() had started and has ended. */
void plane_reap(struct plane *plane);
/* What the administrator should know of this network now, and do; or "". */
const char *plane_warning(const struct plane *plane);
/* What machines that come are told: of a bridged network that of the interface, which may change. */
unsigned plane_mtu(const struct plane *plane);
/* Process id of the DNS server, 0 while there is none. */
int plane_service_pid(const struct plane *plane);

/*
 * Ends the network: what plane_serve() started, and those of its objects that would outlive all of its processes, which
 * only those in the host's own namespace do. Ports stay with who holds them.
 */
void plane_destroy(struct plane *plane);
/*
 * Removes what a network of the system of @config's name and runtime directory has left whose processes were killed. Of the rest of
 * @config nothing is known. -EBUSY where machines are attached, which with @force are cut off; -ENOENT where there was nothing.
 * 0, or -errno with the reason.
 */
int plane_clean(const struct net_config *config, bool force, struct err *err);
/* Ends what plane_serve() started and waits for it. Frees the plane; the objects live on. */
void plane_free(struct plane *plane);

/* IPv4 routes of the caller's namespace, for choosing a subnet that the host does not use. */
struct plane_route {
    uint32_t address; /* host order */
    unsigned prefix_len;
    unsigned ifindex; /* 0: over several */
};
/*
 * Fills at most @max routes, without those that @config's own network has in the host's namespace; the default route
 * only sets flags. Returns their number or -errno.
 */
int plane_host_routes(const struct net_config *config, struct plane_route *ret_routes, size_t max,
                      bool *ret_ipv6_default);
/* What the network's bridge is called. */
void plane_bridge_name(const struct net_config *config, char ret_name[16]);

/* Calls @on_change from @loop after the routes of the caller's namespace have changed. 0 or -errno. */
struct plane_watch;
int plane_watch_routes(struct loop *loop, void (*on_change)(void *context), void *context,
                       struct plane_watch **ret_watch);
void plane_watch_free(struct plane_watch *watch);

#endif
