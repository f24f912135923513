/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ports of any of Linux's planes come and go.
 *
 * What is known of a port stands in the alias of its interface (port.h). So there is one truth, it goes away
 * with the interface, and whoever asks the kernel for the links has all of it.
 *
 * The kernel gives the name of a port that is gone to the next one at once. What was made for the old one is
 * therefore removed before anything is made for the new one: its end is in the monitor's queue by then, for
 * the kernel tells it before it lets go of the name.
 */
#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/table.h"
#include "plane/linux/announce.h"
#include "plane/linux/dnsmasq.h"
#include "plane/linux/guard.h"
#include "plane/linux/learn.h"
#include "plane/linux/plane_state.h"
#include "plane/linux/port.h"
#include "plane/linux/setup.h"
#include "plane/linux/tap.h"

#define VETH_PEER "eth0"

static void port_gone(struct plane *plane, const struct plane_port *port)
{
    struct err err;

    plane->names_used = true;
    learn_forget(&plane->learn, port->interface);
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

    if (header->nlmsg_type == RTM_NEWLINK && plane->bridged)
        bridged_net_on_link(plane->bridged, header);
    if (header->nlmsg_type != RTM_DELLINK || !port_read_link(header, &plane->place, &port, NULL))
        return MNL_CB_OK;
    port_gone(plane, &port);
    plane->events.on_gone(plane->events.context, port.interface);
    return MNL_CB_OK;
}

int ports_look_again(struct plane *plane, struct err *err)
{
    struct port_list list;
    int result = port_list_read(&plane->netlink, &plane->place, &list, err);

    if (result == 0) {
        if (plane->bridged)
            bridged_net_keep_ports(plane->bridged, list.ports, list.len);
        else
            dnsmasq_keep_hosts(plane->config, list.ports, list.len, plane->service.pid);
        if (!plane->created)
            result = guard_replace(plane->elements, &plane->place, list.ports, list.len, err);
        learn_done(&plane->learn);
        for (size_t i = 0; i < list.len && result == 0; i++)
            if (mac_is_zero(&list.ports[i].mac))
                result = learn_add(&plane->learn, plane->loop, list.ports[i].interface, err);
    }
    free(list.ports);
    return result;
}

void ports_on_monitor(struct loop_source *source, unsigned events)
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
    if (ports_look_again(plane, &err) < 0)
        log_warn("%s", err.text);
    /* An empty name says: look for yourself which ports are left. */
    plane->events.on_gone(plane->events.context, "");
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

static unsigned port_mtu(const struct plane *plane)
{
    return plane->bridged ? bridged_net_port_mtu(plane->bridged) : plane->config->mtu;
}

/* Makes the pair of links; the first free name of ours is taken. */
static int veth_open(struct plane *plane, struct plane_port *port, int peer_fd, struct err *err)
{
    int result = -EEXIST;

    for (int i = 0; i < PLANE_PORTS_MAX && result == -EEXIST; i++) {
        snprintf(port->interface, sizeof(port->interface), "%.10s%d", plane->place.veth, i);
        if (!if_nametoindex(port->interface))
            result = netlink_add_veth(&plane->netlink, port->interface, VETH_PEER, peer_fd,
                                      &port->mac, port_mtu(plane));
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

/* What a machine is served by that has a MAC, or how one comes to be known. */
static int port_serve(struct plane *plane, const struct plane_port *port, struct err *err)
{
    if (mac_is_zero(&port->mac))
        return learn_add(&plane->learn, plane->loop, port->interface, err);
    if (plane->bridged)
        return bridged_net_add_port(plane->bridged, port, err);
    return dnsmasq_add_host(plane->config, port, err);
}

/* The order matters: without rules nothing passes; with an alias the port is one, and known to others. */
static int port_attach(struct plane *plane, const struct plane_port *port, const char *alias,
                       struct err *err)
{
    int result, bridge, ifindex = (int)port->ifindex;

    if (plane->loop)
        ports_on_monitor(&plane->monitor_source, LOOP_IN);
    result = guard_add(plane->elements, &plane->place, port, plane->names_used, err);
    if (result < 0)
        return result;
    /* A port is no interface of the host's for itself. */
    if (plane->place.host)
        result = system_prepare_port(port->interface, err);
    if (result == 0 && plane->bridged)
        result = bridged_net_prepare_port(plane->bridged, port, err);
    if (result < 0) {
        port_gone(plane, port);
        return result;
    }
    /* A tap has a queue of its own, and what that has no room for is lost: one before it costs each frame, for nothing. */
    if (port->kind != PORT_VETH && netlink_set_noqueue(&plane->netlink, ifindex) < 0)
        log_debug("port %s keeps the default queue", port->interface);
    bridge = plane->bridged ? bridged_net_bridge(plane->bridged, port)
                            : (int)if_nametoindex(plane->place.bridge);
    result = netlink_set_up(&plane->netlink, ifindex, port_mtu(plane), bridge, alias);
    if (result < 0)
        err_set(err, result, "cannot attach %s to the network's bridge: %s", port->interface,
                result == -EXFULL || result == -EBUSY ? "a bridge has no room for more ports"
                                                      : strerror(-result));
    else
        result = port_serve(plane, port, err);
    if (result < 0)
        port_gone(plane, port);
    return result;
}

/*
 * Whoever has extended a bridge of the host's to other hosts is told; a machine that is not found will be, later. One
 * that is migrated runs elsewhere until its monitor says that it is here, and one whose MAC is not known is found by
 * the frame that it is learnt from.
 */
static void port_announce(const struct plane *plane, const struct plane_port *port, int tap_fd)
{
    struct ip_addr addr = ip_from_u32(port->ipv4);
    /* Without DHCP the machine may have chosen another. */
    bool known = port->ipv4 && plane->config->on[NET_DHCP];
    int result;

    if (!plane->config->system || port->kind == PORT_VETH || port->arriving ||
        mac_is_zero(&port->mac))
        return;
    result = announce_port(tap_fd, &port->mac, &addr, known);
    if (result < 0)
        log_warn("port %s: its machine is not announced: %s", port->interface, strerror(-result));
}

int plane_add_port(struct plane *plane, struct plane_port *port, int peer_fd, int *ret_fd,
                   struct err *err)
{
    char alias[PORT_ALIAS_MAX + 1], template[IFNAMSIZ];
    int result;

    *ret_fd = -1;
    if (plane->ended)
        return err_set(err, -EAGAIN, "the network ends");
    result = port_write_alias(port, plane->place.network, alias);
    if (result < 0)
        return err_set(err, result, "port '%s': its facts do not make an interface alias",
                       port->name);
    snprintf(template, sizeof(template), "%.10s%%d", plane->place.tap);
    result = port->kind == PORT_VETH ? veth_open(plane, port, peer_fd, err)
                                     : tap_open(template, false, port->interface, ret_fd, err);
    if (result < 0)
        return result;
    port->ifindex = if_nametoindex(port->interface);
    result = port_attach(plane, port, alias, err);
    if (result == 0) {
        port_announce(plane, port, *ret_fd);
        return 0;
    }
    if (port->kind == PORT_VETH)
        netlink_delete_link(&plane->netlink, (int)if_nametoindex(port->interface));
    else
        close(*ret_fd);
    *ret_fd = -1;
    return result;
}

/* The alias is last: a router that is started anew in between begins with a port without a MAC. */
static int port_settle(struct plane *plane, const struct plane_port *port, const char *alias,
                       struct err *err)
{
    int result = plane->bridged ? bridged_net_prepare_port(plane->bridged, port, err) : 0;

    if (result == 0)
        result = port_serve(plane, port, err);
    if (result == 0)
        result = guard_settle(plane->elements, &plane->place, port, err);
    if (result < 0)
        return result;
    result = netlink_set_up(&plane->netlink, (int)port->ifindex, 0, 0, alias);
    return result < 0 ? err_set(err, result, "cannot give %s its name: %s", port->interface,
                                strerror(-result))
                      : 0;
}

int plane_settle_port(struct plane *plane, const struct plane_port *port, struct err *err)
{
    struct plane_port settled = *port, unknown;
    char alias[PORT_ALIAS_MAX + 1];
    struct err ignored;
    int result;

    /* Machines that were cut off stay so. */
    if (plane->ended)
        return err_set(err, -EAGAIN, "the network ends");
    ports_on_monitor(&plane->monitor_source, LOOP_IN);
    if (!learn_has(&plane->learn, port->interface))
        return err_set(err, -ENODEV, "port %s is gone, or has a MAC", port->interface);
    result = port_write_alias(port, plane->place.network, alias);
    if (result < 0)
        return err_set(err, result, "port '%s': its facts do not make an interface alias",
                       port->name);
    settled.ifindex = if_nametoindex(port->interface);
    result = port_settle(plane, &settled, alias, err);
    if (result == 0) {
        learn_forget(&plane->learn, port->interface);
        return 0;
    }
    /* It begins anew. */
    port_gone(plane, &settled);
    unknown = settled;
    unknown.mac = (struct mac_addr){{0}};
    unknown.ipv4 = 0;
    if ((port_write_alias(&unknown, plane->place.network, alias) < 0 ||
         port_attach(plane, &unknown, alias, &ignored) < 0) &&
        plane_remove_port(plane, port->interface, NULL) == 0) {
        log_warn("port %s is cut off: %s", port->interface, err->text);
        plane->events.on_gone(plane->events.context, port->interface);
    }
    return result;
}

/*
 * A tap is somebody's, who would poll a device that is gone without a pause: it is cut off, and from here on as gone as any
 * other (decision 0038). But who attaches, detaches and never closes does not fill the kernel with devices.
 */
static int port_remove(struct plane *plane, const struct plane_port *port)
{
    const char *network = plane->config->name;
    int result;

    if (port->kind != PORT_TAP || port_count_cut_off(&plane->netlink, network) >= PLANE_CUT_OFF_MAX)
        return netlink_delete_link(&plane->netlink, (int)if_nametoindex(port->interface));
    result = port_cut_off(&plane->netlink, port, network);
    if (result == 0)
        port_gone(plane, port);
    return result;
}

int plane_remove_port(struct plane *plane, const char *interface, struct err *err)
{
    struct port_list list;
    int result = port_list_read(&plane->netlink, &plane->place, &list, err);

    if (result < 0)
        return result;
    result = -ENODEV;
    for (size_t i = 0; i < list.len && result == -ENODEV; i++)
        if (strcmp(list.ports[i].interface, interface) == 0)
            result = port_remove(plane, &list.ports[i]);
    free(list.ports);
    return result < 0
               ? err_set(err, result, "cannot remove port '%s': %s", interface, strerror(-result))
               : 0;
}

int plane_cut_off(struct plane *plane, struct err *err)
{
    struct port_list list;
    int result = port_list_read(&plane->netlink, &plane->place, &list, err);

    plane->ended = true;
    if (result == 0)
        result = port_list_cut_off(&plane->netlink, &list, plane->config->name, err);
    free(list.ports);
    return result;
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
