/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The planes of Linux. The private one: a network in a namespace of its own.
 *
 *   tap0 … veth0 … ══ guard ══ br0 (gateway address) ══ policy ══ up0 (TUN) ── the engine, outside
 *
 * The system one: a network in the host's own namespace, which routes for it.
 *
 *   vm1a2b3c-0 …  ══ guard ══ vmnet-NAME (gateway address) ══ rules ══ the host's interfaces
 *
 * What differs is what there is before the first port and how it is called (setup.c or system.c, place.c); ports,
 * guard and dnsmasq are the same.
 *
 * What is known of a port stands in the alias of its interface (port.h). So there is one truth, it goes away
 * with the interface, and whoever asks the kernel for the links has all of it.
 *
 * The kernel gives the name of a port that is gone to the next one at once. What was made for the old one is
 * therefore removed before anything is made for the new one: its end is in the monitor's queue by then, for
 * the kernel tells it before it lets go of the name.
 */
#include "plane/plane.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/confine.h"
#include "base/log.h"
#include "base/table.h"
#include "plane/linux/advertise.h"
#include "plane/linux/announce.h"
#include "plane/linux/bridged_net.h"
#include "plane/linux/dnsmasq.h"
#include "plane/linux/elements.h"
#include "plane/linux/guard.h"
#include "plane/linux/namespace.h"
#include "plane/linux/netlink.h"
#include "plane/linux/place.h"
#include "plane/linux/port.h"
#include "plane/linux/ruleset.h"
#include "plane/linux/service.h"
#include "plane/linux/setup.h"
#include "plane/linux/system.h"
#include "plane/linux/tap.h"

#define VETH_PEER "eth0"

struct plane {
    const struct net_config *config;
    struct place place;
    struct system *system;       /* a network that the host routes for, or NULL */
    struct bridged_net *bridged; /* a bridged one, or NULL */
    bool created;                /* by this process, and it has had no port yet */
    bool names_used;             /* a port may have gone, whose name the next one gets */
    bool router6;                /* guests are told that this is their router for IPv6 */
    struct plane_outside outside;
    struct nft_ctx *nft;
    struct mnl_socket *elements; /* of nftables' sets */
    struct netlink netlink;
    struct netlink monitor;
    struct loop *loop;
    struct loop_source monitor_source;
    struct service service;
    struct plane_events events;
};

int plane_check_spec(const struct net_spec *spec, const struct net_file *file, struct err *err)
{
    /* Of a bridged one plane_complete_bridged() knows more. */
    return spec->mode == NET_MODE_BRIDGED ? 0 : net_spec_check_private(spec, err);
}

int plane_check(const struct net_config *config, struct err *err)
{
    int result = tap_check(err);

    return result < 0 || config->mode == NET_MODE_BRIDGED ? result : dnsmasq_check(err);
}

int plane_prepare(const struct net_config *config, struct err *err)
{
    struct place place;
    int result;

    if (config->mode == NET_MODE_BRIDGED)
        return 0;
    place_init(&place, config);
    result =
        dnsmasq_configure(config, place.bridge, DNSMASQ_UPSTREAM_PORT, config->host_has_ipv6, err);
    if (result == 0 && config->file && config->file->dhcp_options_len)
        result = dnsmasq_test(config, err);
    return result;
}

/* In the namespaces of the network, to which its sockets belong. */
static int plane_new(const struct place *place, struct plane **ret_plane, struct err *err)
{
    struct plane *plane = calloc(1, sizeof(*plane));
    int result;

    if (!plane)
        return err_set(err, -ENOMEM, "out of memory");
    plane->config = place->config;
    plane->place = *place;
    plane->monitor_source.fd = -1;
    result = netlink_open(&plane->netlink);
    if (result == 0)
        result = elements_open(&plane->elements);
    plane->nft = ruleset_open();
    if (result == 0 && !plane->nft)
        result = -ENOMEM;
    if (result < 0) {
        plane_free(plane);
        return err_set(err, result, "cannot open a netlink socket: %s", strerror(-result));
    }
    *ret_plane = plane;
    return 0;
}

/* Makes what there is beside ports, or with @fresh false takes it over. */
static int plane_start(struct plane *plane, bool fresh, struct plane_handles *handles,
                       struct err *err)
{
    unsigned dns_port = 0;
    int result;

    if (plane->bridged) {
        /* Nobody asks there: the engine has them of any network. */
        result = fresh ? setup_dns_sockets(&dns_port, &handles->fd[PLANE_DNS_UDP],
                                           &handles->fd[PLANE_DNS_TCP])
                       : 0;
        return result < 0 ? err_set(err, result, "cannot open sockets: %s", strerror(-result))
                          : bridged_net_start(plane->bridged, &plane->place, &plane->netlink,
                                              plane->nft, plane->elements, fresh, err);
    }
    if (!plane->place.host)
        return fresh ? setup_namespace(&plane->place, &plane->netlink, plane->nft, handles, err)
                     : 0;
    return fresh ? system_create(&plane->place, &plane->netlink, plane->nft, plane->elements,
                                 handles, &plane->system, err)
                 : system_join(&plane->place, &plane->netlink, plane->nft, plane->elements, handles,
                               &plane->system, err);
}

/* Where the network is, before the caller goes there. */
static int plane_find(const struct net_config *config, struct place *ret_place,
                      struct bridged_net **ret_bridged, struct err *err)
{
    *ret_bridged = NULL;
    if (config->mode == NET_MODE_BRIDGED)
        return bridged_net_find(config, ret_place, ret_bridged, err);
    place_init(ret_place, config);
    return 0;
}

/* The way of both plane_create() and, with @fresh false, plane_join(). */
static int plane_enter(const struct net_config *config, bool fresh, struct plane_handles *handles,
                       struct plane **ret_plane, struct err *err)
{
    struct bridged_net *bridged;
    struct plane *plane = NULL;
    struct place place;
    int result = plane_find(config, &place, &bridged, err);

    if (result == 0 && !place.host)
        result =
            fresh ? namespace_create(&handles->fd[PLANE_USER], &handles->fd[PLANE_NAMESPACE], err)
                  : namespace_join(handles->fd[PLANE_USER], handles->fd[PLANE_NAMESPACE], err);
    if (result == 0)
        result = plane_new(&place, &plane, err);
    if (result < 0) {
        bridged_net_free(bridged);
        return result;
    }
    plane->bridged = bridged;
    result = plane_start(plane, fresh, handles, err);
    if (result < 0) {
        plane_free(plane);
        return result;
    }
    *ret_plane = plane;
    return 0;
}

int plane_create(const struct net_config *config, struct plane **ret_plane,
                 struct plane_handles *ret_handles, struct err *err)
{
    int result;

    for (int i = 0; i < PLANE_HANDLES; i++)
        ret_handles->fd[i] = -1;
    result = plane_enter(config, true, ret_handles, ret_plane, err);
    if (result < 0)
        return result;
    (*ret_plane)->created = true;
    (*ret_plane)->names_used = config->system; /* ports there may be of an earlier life */
    (*ret_plane)->router6 = config->host_has_ipv6;
    return 0;
}

int plane_join(const struct net_config *config, const struct plane_handles *handles,
               struct plane **ret_plane, struct err *err)
{
    struct plane_handles given = *handles;
    int result = plane_enter(config, false, &given, ret_plane, err);

    if (result < 0)
        return result;
    (*ret_plane)->router6 = config->mode != NET_MODE_BRIDGED && dnsmasq_was_router6(config);
    (*ret_plane)->names_used = true;
    return 0;
}

static void port_gone(struct plane *plane, const struct plane_port *port)
{
    struct err err;

    plane->names_used = true;
    if (guard_remove(plane->elements, &plane->place, port, &err) < 0)
        log_warn("port %s: its rules stay: %s", port->interface, err.text);
    if (plane->bridged)
        bridged_net_remove_port(plane->bridged, port);
    if (port->ipv4)
        dnsmasq_remove_host(plane->config, port->interface, plane->service.pid);
}

static int on_monitor_message(const struct nlmsghdr *header, void *context)
{
    struct plane *plane = context;
    struct plane_port port;

    if (header->nlmsg_type != RTM_DELLINK || !port_read_link(header, &plane->place, &port, NULL))
        return MNL_CB_OK;
    port_gone(plane, &port);
    plane->events.on_gone(plane->events.context, port.interface);
    return MNL_CB_OK;
}

/* Ports may have gone without a word: makes rules and names those of the ports that there are. */
static int plane_look_again(struct plane *plane, struct err *err)
{
    struct port_list list;
    int result = port_list_read(&plane->netlink, &plane->place, &list, err);

    if (result == 0) {
        if (!plane->bridged)
            dnsmasq_keep_hosts(plane->config, list.ports, list.len, plane->service.pid);
        if (!plane->created)
            result = guard_replace(plane->elements, &plane->place, list.ports, list.len, err);
    }
    free(list.ports);
    return result;
}

static void on_monitor(struct loop_source *source, unsigned events)
{
    struct plane *plane = CONTAINER_OF(source, struct plane, monitor_source);
    bool lost = false;
    struct err err;
    char buf[32768];
    ssize_t len;

    while ((len = recv(source->fd, buf, sizeof(buf), MSG_DONTWAIT)) != 0) {
        if (len < 0 && errno == ENOBUFS) {
            lost = true;
            continue;
        }
        if (len < 0)
            break;
        mnl_cb_run(buf, (size_t)len, 0, 0, on_monitor_message, plane);
    }
    if (!lost)
        return;
    if (plane_look_again(plane, &err) < 0)
        log_warn("%s", err.text);
    /* An empty name says: look for yourself which ports are left. */
    plane->events.on_gone(plane->events.context, "");
}

static void on_service(void *context)
{
    struct plane *plane = context;

    plane->events.on_service(plane->events.context);
}

void plane_reap(struct plane *plane)
{
    service_reap(&plane->service);
}

static int plane_configure_service(struct plane *plane, struct err *err)
{
    unsigned port = plane->system ? system_dns_port(plane->system) : DNSMASQ_UPSTREAM_PORT;

    return dnsmasq_configure(plane->config, plane->place.bridge, port, plane->router6, err);
}

int plane_run(struct plane *plane, struct loop *loop, const struct plane_events *events,
              struct err *err)
{
    int group = RTNLGRP_LINK, result;

    plane->loop = loop;
    plane->events = *events;
    result = netlink_open(&plane->monitor);
    if (result == 0 && mnl_socket_setsockopt(plane->monitor.socket, NETLINK_ADD_MEMBERSHIP, &group,
                                             sizeof(group)) < 0)
        result = -errno;
    plane->monitor_source.on_event = on_monitor;
    if (result == 0)
        result = loop_add(loop, &plane->monitor_source, mnl_socket_get_fd(plane->monitor.socket),
                          LOOP_IN);
    if (result == 0)
        result = confine_capabilities(dnsmasq_capabilities, DNSMASQ_CAPABILITIES, false);
    if (result < 0)
        return err_set(err, result, "cannot watch the network's links: %s", strerror(-result));
    if (plane->system)
        result = system_run(plane->system, loop, events->on_service, events->context, err);
    if (plane->bridged)
        result = bridged_net_run(plane->bridged, loop);
    if (plane->bridged && result < 0)
        err_set(err, result, "cannot watch the interface: %s", strerror(-result));
    if (result == 0)
        result = plane_look_again(plane, err);
    plane->created = false;
    return result;
}

/* In the host's namespace the port that dnsmasq asks at is not known before, and machines may be there already. */
static int plane_prepare_system(struct plane *plane, struct err *err)
{
    struct port_list list;
    int result = plane_configure_service(plane, err);

    if (result == 0)
        result = port_list_read(&plane->netlink, &plane->place, &list, err);
    if (result < 0)
        return result;
    for (size_t i = 0; i < list.len && result == 0; i++)
        result = dnsmasq_add_host(plane->config, &list.ports[i], err);
    free(list.ports);
    return result;
}

void plane_serve(struct plane *plane)
{
    struct err err;

    if (plane->system && plane_prepare_system(plane, &err) < 0)
        log_error("%s", err.text);
    if (!plane->bridged)
        service_start(&plane->service, plane->config, plane->loop, on_service, plane);
}

static const struct {
    int error;
    const char *reason;
} veth_errors[] = {
    {-EEXIST, "it has an interface " VETH_PEER " already: remove or rename it"},
    {-EPERM, "it is not below the network's user namespace: make it there (the method Namespaces "
             "gives the way in)"},
    {-EINVAL, "the descriptor is not of a network namespace"},
    {-EBADF, "the descriptor is not of a network namespace"},
    {-EOPNOTSUPP, "the kernel needs the module veth (as root: modprobe veth)"},
};

/* A bridged network's is the interface's, and so may change. */
static unsigned plane_mtu(const struct plane *plane)
{
    unsigned now = plane->bridged ? bridged_net_mtu(plane->bridged) : plane->config->mtu;

    return now < plane->config->mtu ? now : plane->config->mtu;
}

/* Makes the pair of links; the first free name of ours is taken. */
static int veth_open(struct plane *plane, struct plane_port *port, int peer_fd, struct err *err)
{
    int result = -EEXIST;

    for (int i = 0; i < PLANE_PORTS_MAX && result == -EEXIST; i++) {
        snprintf(port->interface, sizeof(port->interface), "%.10s%d", plane->place.veth, i);
        if (!if_nametoindex(port->interface))
            result = netlink_add_veth(&plane->netlink, port->interface, VETH_PEER, peer_fd,
                                      &port->mac, plane_mtu(plane));
        /* The name was free: it is the other end's that is taken. */
        if (result == -EEXIST && !if_nametoindex(port->interface))
            break;
    }
    for (size_t i = 0; result < 0 && i < sizeof(veth_errors) / sizeof(veth_errors[0]); i++)
        if (veth_errors[i].error == result)
            return err_set(err, result, "cannot attach a network namespace: %s",
                           veth_errors[i].reason);
    return result < 0
               ? err_set(err, result, "cannot attach a network namespace: %s", strerror(-result))
               : 0;
}

/* The order matters: without rules nothing passes; with an alias the port is one, and known to others. */
static int port_attach(struct plane *plane, const struct plane_port *port, const char *alias,
                       struct err *err)
{
    int result;

    if (plane->loop)
        on_monitor(&plane->monitor_source, LOOP_IN);
    result = guard_add(plane->elements, &plane->place, port, plane->names_used, err);
    if (result < 0)
        return result;
    /* A port is no interface of the host's for itself. */
    if (plane->place.host)
        result = system_prepare_port(port->interface, err);
    if (result == 0 && plane->bridged)
        result = bridged_net_prepare_port(plane->bridged, port, err);
    if (result == 0)
        result = netlink_set_up(&plane->netlink, (int)if_nametoindex(port->interface),
                                plane_mtu(plane), (int)if_nametoindex(plane->place.bridge), alias);
    if (result < 0)
        err_set(err, result, "cannot attach %s to the network's bridge: %s", port->interface,
                result == -EXFULL || result == -EBUSY ? "a bridge has no room for more ports"
                                                      : strerror(-result));
    else if (plane->bridged)
        result = bridged_net_add_port(plane->bridged, port, err);
    else
        result = dnsmasq_add_host(plane->config, port, err);
    if (result < 0)
        port_gone(plane, port);
    return result;
}

/* Whoever has extended a bridge of the host's to other hosts is told; a machine that is not found will be, later. */
static void port_announce(const struct plane *plane, const struct plane_port *port, int tap_fd)
{
    struct ip_addr addr = ip_from_u32(port->ipv4);
    /* Without DHCP the machine may have chosen another. */
    bool known = port->ipv4 && plane->config->on[NET_DHCP];
    int result = announce_port(tap_fd, &port->mac, &addr, known);

    if (result < 0)
        log_warn("port %s: its machine is not announced: %s", port->interface, strerror(-result));
}

int plane_add_port(struct plane *plane, struct plane_port *port, int peer_fd, int *ret_fd,
                   struct err *err)
{
    char alias[PORT_ALIAS_MAX + 1], template[IFNAMSIZ];
    int result;

    *ret_fd = -1;
    result = port_write_alias(port, plane->place.network, alias);
    if (result < 0)
        return err_set(err, result, "port '%s': its facts do not make an interface alias",
                       port->name);
    snprintf(template, sizeof(template), "%.10s%%d", plane->place.tap);
    result = port->kind == PORT_VETH ? veth_open(plane, port, peer_fd, err)
                                     : tap_open(template, false, port->interface, ret_fd, err);
    if (result < 0)
        return result;
    result = port_attach(plane, port, alias, err);
    if (result == 0 && plane->config->system && port->kind != PORT_VETH)
        port_announce(plane, port, *ret_fd);
    if (result == 0)
        return 0;
    if (port->kind == PORT_VETH)
        plane_remove_port(plane, port->interface, NULL);
    else
        close(*ret_fd);
    *ret_fd = -1;
    return result;
}

int plane_remove_port(struct plane *plane, const char *interface, struct err *err)
{
    unsigned ifindex = place_is_port(&plane->place, interface) ? if_nametoindex(interface) : 0;
    int result = ifindex ? netlink_delete_link(&plane->netlink, (int)ifindex) : -ENODEV;

    return result < 0
               ? err_set(err, result, "cannot remove port '%s': %s", interface, strerror(-result))
               : 0;
}

struct port_walk {
    void (*each)(void *context, const struct plane_port *port,
                 const struct plane_port_stats *stats);
    void *context;
    struct plane *plane;
    json_t *drops; /* read at the first port: without ports there are none */
};

static int on_listed_link(const struct nlmsghdr *header, void *context)
{
    struct port_walk *walk = context;
    struct plane_port_stats stats;
    struct plane_port port;

    if (!port_read_link(header, &walk->plane->place, &port, &stats))
        return MNL_CB_OK;
    if (!walk->drops)
        walk->drops = guard_read_drops(walk->plane->nft, &walk->plane->place);
    if (!walk->drops) /* unreadable: not tried again for each port */
        walk->drops = json_object();
    guard_port_drops(walk->drops, port.interface, stats.drops);
    walk->each(walk->context, &port, &stats);
    return MNL_CB_OK;
}

int plane_list_ports(struct plane *plane,
                     void (*each)(void *context, const struct plane_port *port,
                                  const struct plane_port_stats *stats),
                     void *context)
{
    struct port_walk walk = {.each = each, .context = context, .plane = plane};
    int result = netlink_dump(&plane->netlink, RTM_GETLINK, AF_UNSPEC, on_listed_link, NULL, &walk);

    json_decref(walk.drops);
    return result;
}

int plane_open_socket(struct plane *plane, int family, int type)
{
    int one = 1, fd;

    if ((family != AF_INET && family != AF_INET6) || (type != SOCK_STREAM && type != SOCK_DGRAM))
        return -EINVAL;
    /* In the host's namespace any address would be somebody's: there is one to connect from, the gateway's. */
    fd = plane->place.host ? socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
                           : setup_open_transparent(family, type);
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    return fd;
}

static void plane_set_router6(struct plane *plane, bool has_ipv6)
{
    const struct net_config *config = plane->config;
    struct err err;
    int result;

    if (has_ipv6 == plane->router6 || plane->bridged)
        return;
    plane->router6 = has_ipv6;
    if (plane_configure_service(plane, &err) < 0)
        log_error("%s", err.text);
    if (!config->on[NET_RA] || !config->on[NET_NAT66] || !config->prefix6.family)
        return;
    result = advertise_router(plane->place.bridge, has_ipv6 ? DNSMASQ_ROUTER6_LIFETIME_S : 0);
    if (result < 0)
        log_warn("guests are told late of their way out by IPv6: %s", strerror(-result));
    service_restart(&plane->service);
}

/* dnsmasq reads the domains anew when told to, and forgets what it knew of names outside. */
static void plane_set_names(struct plane *plane, const char *search)
{
    struct err err;

    if (plane->bridged)
        return;
    if (dnsmasq_set_search(plane->config, search, &err) < 0)
        log_error("%s", err.text);
    service_reload(&plane->service);
}

void plane_set_outside(struct plane *plane, const struct plane_outside *outside)
{
    plane_set_router6(plane, outside->has_ipv6);
    if (plane->outside.resolvers != outside->resolvers ||
        strcmp(plane->outside.search, outside->search) != 0)
        plane_set_names(plane, outside->search);
    plane->outside = *outside;
}

void plane_set_forwards(struct plane *plane, const struct plane_forward *forwards, size_t len)
{
    if (plane->system)
        system_set_forwards(plane->system, forwards, len);
}

const char *plane_warning(const struct plane *plane)
{
    return plane->system ? system_warning(plane->system) : "";
}

int plane_service_pid(const struct plane *plane)
{
    return plane->service.pid;
}

void plane_destroy(struct plane *plane)
{
    service_end(&plane->service);
    if (plane->system)
        system_destroy(plane->system);
    if (plane->bridged)
        bridged_net_destroy(plane->bridged);
}

void plane_free(struct plane *plane)
{
    if (!plane)
        return;
    service_end(&plane->service);
    if (plane->loop)
        loop_remove(plane->loop, &plane->monitor_source);
    system_free(plane->system);
    bridged_net_free(plane->bridged);
    netlink_close(&plane->monitor);
    netlink_close(&plane->netlink);
    if (plane->elements)
        mnl_socket_close(plane->elements);
    if (plane->nft)
        nft_ctx_free(plane->nft);
    free(plane);
}
