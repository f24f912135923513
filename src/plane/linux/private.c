/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The private plane: a network in a namespace of its own.
 *
 *   tap0 … tapN ── br0 (gateway address) ══ policy ══ up0 (TUN) ── the engine, outside
 *
 * What is known of a port stands in the alias of its tap device, as "MAC IPv4 NAME ID". So there is one
 * truth, it goes away with the device, and whoever asks the kernel for the links has all of it.
 */
#include "plane/plane.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/confine.h"
#include "base/log.h"
#include "base/table.h"
#include "plane/linux/dnsmasq.h"
#include "plane/linux/namespace.h"
#include "plane/linux/netlink.h"
#include "plane/linux/setup.h"
#include "plane/linux/tap.h"

#define PORT_PATTERN "tap%d"
#define ALIAS_MAX 255 /* IFALIASZ - 1 */

/* A dnsmasq that ends is started again, not more often than this. */
#define SERVICE_RETRY_MS 1000

struct plane {
    const struct net_config *config;
    struct netlink netlink;
    struct netlink monitor;
    struct loop *loop;
    struct loop_source monitor_source;
    struct loop_timer service_timer;
    uint64_t service_started_ms;
    pid_t service_pid;
    struct plane_events events;
};

int plane_check(struct err *err)
{
    int result = tap_check(err);

    return result < 0 ? result : dnsmasq_check(err);
}

static int plane_new(const struct net_config *config, struct plane **ret_plane, struct err *err)
{
    struct plane *plane = calloc(1, sizeof(*plane));
    int result;

    if (!plane)
        return err_set(err, -ENOMEM, "out of memory");
    plane->config = config;
    plane->monitor_source.fd = -1;
    result = netlink_open(&plane->netlink);
    if (result < 0) {
        free(plane);
        return err_set(err, result, "cannot open a netlink socket: %s", strerror(-result));
    }
    *ret_plane = plane;
    return 0;
}

int plane_create(const struct net_config *config, struct plane **ret_plane,
                 struct plane_handles *ret_handles, struct err *err)
{
    struct plane_handles *handles = ret_handles;
    struct plane *plane;
    int result;

    for (int i = 0; i < PLANE_HANDLES; i++)
        handles->fd[i] = -1;
    result = namespace_create(&handles->fd[PLANE_USER], &handles->fd[PLANE_NAMESPACE], err);
    if (result < 0)
        return result;
    result = plane_new(config, &plane, err);
    if (result < 0)
        return result;
    result = setup_namespace(config, &plane->netlink, handles, err);
    if (result == 0)
        result = dnsmasq_configure(config, SETUP_BRIDGE, err);
    if (result < 0) {
        plane_free(plane);
        return result;
    }
    *ret_plane = plane;
    return 0;
}

int plane_join(const struct net_config *config, const struct plane_handles *handles,
               struct plane **ret_plane, struct err *err)
{
    int result = namespace_join(handles->fd[PLANE_USER], handles->fd[PLANE_NAMESPACE], err);

    return result < 0 ? result : plane_new(config, ret_plane, err);
}

/* What a link message says of a device, if it is a port. */
struct link_view {
    char name[IFNAMSIZ];
    char alias[ALIAS_MAX + 1];
};

static bool link_read(const struct nlmsghdr *header, struct link_view *ret_link)
{
    const struct ifinfomsg *link = mnl_nlmsg_get_payload(header);
    const struct nlattr *attr;

    memset(ret_link, 0, sizeof(*ret_link));
    /* A port that leaves a bridge is told a second time, in the bridge's own family. */
    if (link->ifi_family != AF_UNSPEC)
        return false;
    mnl_attr_for_each(attr, header, sizeof(*link))
    {
        if (mnl_attr_get_type(attr) == IFLA_IFNAME)
            snprintf(ret_link->name, sizeof(ret_link->name), "%s", mnl_attr_get_str(attr));
        else if (mnl_attr_get_type(attr) == IFLA_IFALIAS)
            snprintf(ret_link->alias, sizeof(ret_link->alias), "%.*s",
                     mnl_attr_get_payload_len(attr), mnl_attr_get_str(attr));
    }
    return strncmp(ret_link->name, "tap", 3) == 0;
}

static int port_write_alias(const struct plane_port *port, char alias[ALIAS_MAX + 1])
{
    char mac[MAC_TEXT_MAX], ipv4[IP_TEXT_MAX];
    struct ip_addr addr = ip_from_u32(port->ipv4);
    int len = snprintf(alias, ALIAS_MAX + 1, "%s %s %s %s", mac_format(&port->mac, mac),
                       ip_format(&addr, ipv4), port->name, port->interface_id);

    return len < 0 || len > ALIAS_MAX ? -ENAMETOOLONG : 0;
}

static bool port_read_alias(const struct link_view *link, struct plane_port *ret_port)
{
    char mac[MAC_TEXT_MAX], ipv4[IP_TEXT_MAX];
    struct ip_addr addr;

    memset(ret_port, 0, sizeof(*ret_port));
    if (sscanf(link->alias, "%17s %45s %63s %36s", mac, ipv4, ret_port->name,
               ret_port->interface_id) < 3 ||
        mac_parse(mac, &ret_port->mac) < 0 || ip_parse(ipv4, &addr) < 0 || addr.family != AF_INET)
        return false;
    ret_port->ipv4 = ntohl(addr.v4.s_addr);
    snprintf(ret_port->interface, sizeof(ret_port->interface), "%s", link->name);
    return true;
}

static int on_monitor_message(const struct nlmsghdr *header, void *context)
{
    struct plane *plane = context;
    struct link_view link;

    if (header->nlmsg_type != RTM_DELLINK || !link_read(header, &link))
        return MNL_CB_OK;
    dnsmasq_remove_host(plane->config, link.name, plane->service_pid);
    plane->events.on_gone(plane->events.context, link.name);
    return MNL_CB_OK;
}

static void on_monitor(struct loop_source *source, unsigned events)
{
    struct plane *plane = CONTAINER_OF(source, struct plane, monitor_source);
    char buf[32768];
    ssize_t len;

    while ((len = recv(source->fd, buf, sizeof(buf), MSG_DONTWAIT)) != 0) {
        if (len < 0 && errno == ENOBUFS) {
            /* Messages were lost; an empty name says: look for yourself which ports are left. */
            plane->events.on_gone(plane->events.context, "");
            continue;
        }
        if (len < 0)
            break;
        mnl_cb_run(buf, (size_t)len, 0, 0, on_monitor_message, plane);
    }
}

static void service_start(struct plane *plane)
{
    struct err err;

    plane->service_started_ms = loop_now_ms(plane->loop);
    if (dnsmasq_start(plane->config, &plane->service_pid, &err) < 0) {
        plane->service_pid = 0;
        log_error("%s", err.text);
        loop_timer_set(plane->loop, &plane->service_timer, SERVICE_RETRY_MS);
    }
    plane->events.on_service(plane->events.context);
}

static void on_service_timer(struct loop_timer *timer)
{
    service_start(CONTAINER_OF(timer, struct plane, service_timer));
}

void plane_reap(struct plane *plane)
{
    int status;

    if (plane->service_pid <= 0 ||
        waitpid(plane->service_pid, &status, WNOHANG) != plane->service_pid)
        return;
    plane->service_pid = 0;
    log_warn("dnsmasq ended (%s %d); starting it again", WIFSIGNALED(status) ? "signal" : "status",
             WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    /* At once after a good while; with a pause where it does not get going. */
    if (loop_now_ms(plane->loop) - plane->service_started_ms > SERVICE_RETRY_MS)
        service_start(plane);
    else
        loop_timer_set(plane->loop, &plane->service_timer, SERVICE_RETRY_MS);
    plane->events.on_service(plane->events.context);
}

int plane_run(struct plane *plane, struct loop *loop, const struct plane_events *events,
              struct err *err)
{
    int group = RTNLGRP_LINK, result;

    plane->loop = loop;
    plane->events = *events;
    plane->service_timer.on_timer = on_service_timer;
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
    service_start(plane);
    return 0;
}

int plane_add_port(struct plane *plane, struct plane_port *port, int *ret_fd, struct err *err)
{
    char alias[ALIAS_MAX + 1];
    int fd, ifindex, result;

    result = port_write_alias(port, alias);
    if (result < 0)
        return err_set(err, result, "port '%s': its facts do not fit an interface alias",
                       port->name);
    result = tap_open(PORT_PATTERN, false, port->interface, &fd, err);
    if (result < 0)
        return result;
    ifindex = (int)if_nametoindex(port->interface);
    result = netlink_set_up(&plane->netlink, ifindex, plane->config->mtu,
                            (int)if_nametoindex(SETUP_BRIDGE), alias);
    if (result < 0)
        err_set(err, result, "cannot attach %s to the network's bridge: %s", port->interface,
                result == -EXFULL || result == -EBUSY ? "a bridge has no room for more ports"
                                                      : strerror(-result));
    else
        result = dnsmasq_add_host(plane->config, port, err);
    if (result < 0) {
        close(fd);
        return result;
    }
    *ret_fd = fd;
    return 0;
}

int plane_remove_port(struct plane *plane, const char *interface, struct err *err)
{
    unsigned ifindex = strncmp(interface, "tap", 3) == 0 ? if_nametoindex(interface) : 0;
    int result = ifindex ? netlink_delete_link(&plane->netlink, (int)ifindex) : -ENODEV;

    return result < 0
               ? err_set(err, result, "cannot remove port '%s': %s", interface, strerror(-result))
               : 0;
}

struct port_walk {
    void (*each)(void *context, const struct plane_port *port);
    void *context;
};

static int on_listed_link(const struct nlmsghdr *header, void *context)
{
    struct port_walk *walk = context;
    struct plane_port port;
    struct link_view link;

    if (link_read(header, &link) && port_read_alias(&link, &port))
        walk->each(walk->context, &port);
    return MNL_CB_OK;
}

int plane_list_ports(struct plane *plane,
                     void (*each)(void *context, const struct plane_port *port), void *context)
{
    struct port_walk walk = {each, context};

    return netlink_dump(&plane->netlink, RTM_GETLINK, AF_UNSPEC, on_listed_link, &walk);
}

int plane_service_pid(const struct plane *plane)
{
    return plane->service_pid;
}

void plane_free(struct plane *plane)
{
    if (!plane)
        return;
    if (plane->service_pid > 0) {
        kill(plane->service_pid, SIGKILL);
        waitpid(plane->service_pid, NULL, 0);
    }
    if (plane->loop) {
        loop_remove(plane->loop, &plane->monitor_source);
        loop_timer_clear(plane->loop, &plane->service_timer);
    }
    netlink_close(&plane->monitor);
    netlink_close(&plane->netlink);
    free(plane);
}
