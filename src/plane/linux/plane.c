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
 * What differs is what there is before the first port and how it is called (setup.c or system.c, place.c); ports
 * (ports.c), guard and dnsmasq are the same.
 */
#include "plane/plane.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/confine.h"
#include "base/log.h"
#include "plane/linux/advertise.h"
#include "plane/linux/dnsmasq.h"
#include "plane/linux/elements.h"
#include "plane/linux/namespace.h"
#include "plane/linux/plane_state.h"
#include "plane/linux/port.h"
#include "plane/linux/setup.h"
#include "plane/linux/tap.h"

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

static void on_mac(void *context, const char *interface, const struct mac_addr *mac)
{
    struct plane *plane = context;

    plane->events.on_learned(plane->events.context, interface, mac);
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
    learn_init(&plane->learn, on_mac, plane);
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
    if (plane->bridged)
        return bridged_net_start(plane->bridged, &plane->place, &plane->netlink, plane->nft, fresh,
                                 err);
    if (!plane->place.host)
        return fresh ? setup_namespace(&plane->place, &plane->netlink, plane->nft, handles, err)
                     : 0;
    return fresh ? system_create(&plane->place, &plane->netlink, plane->nft, handles,
                                 &plane->system, err)
                 : system_join(&plane->place, &plane->netlink, plane->nft, handles, &plane->system,
                               err);
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
    /* Of the system, as whatever user it runs, it has to do with the host's namespace, too. */
    bool own_user = !config->system && geteuid() != 0;
    int result = plane_find(config, &place, &bridged, err);

    if (result == 0 && !place.host)
        result = fresh ? namespace_create(own_user, &handles->fd[PLANE_USER],
                                          &handles->fd[PLANE_NAMESPACE], err)
                       : namespace_join(handles->fd[PLANE_USER], handles->fd[PLANE_NAMESPACE], err);
    if (result == 0)
        result = plane_new(&place, &plane, err);
    if (result != 0) {
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

static void on_service(void *context)
{
    struct plane *plane = context;

    plane->events.on_service(plane->events.context);
}

/* dnsmasq's sockets are bound to the one before. */
static void on_bridge(void *context)
{
    struct plane *plane = context;

    service_restart(&plane->service);
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
    if (result == 0)
        result = netlink_join(&plane->monitor, &group, 1);
    plane->monitor_source.on_event = ports_on_monitor;
    if (result == 0)
        result = loop_add(loop, &plane->monitor_source, mnl_socket_get_fd(plane->monitor.socket),
                          LOOP_IN);
    if (result == 0)
        result = confine_capabilities(dnsmasq_capabilities, DNSMASQ_CAPABILITIES, false);
    if (result < 0)
        return err_set(err, result, "cannot watch the network's links: %s", strerror(-result));
    if (plane->system)
        result = system_run(plane->system, loop, on_service, on_bridge, plane, err);
    if (plane->bridged)
        result = bridged_net_run(plane->bridged, loop, events->on_service, events->context);
    if (plane->bridged && result < 0)
        err_set(err, result, "cannot watch the interface: %s", strerror(-result));
    if (result == 0)
        result = ports_look_again(plane, err);
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
    if (result != 0)
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
    if (plane->bridged)
        return bridged_net_warning(plane->bridged);
    return plane->system ? system_warning(plane->system) : "";
}

unsigned plane_mtu(const struct plane *plane)
{
    return plane->bridged ? bridged_net_mtu(plane->bridged) : plane->config->mtu;
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
    learn_done(&plane->learn);
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
