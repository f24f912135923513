/* SPDX-License-Identifier: Apache-2.0 */
#include "plane/linux/system.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/table.h"
#include "plane/linux/coexist.h"
#include "plane/linux/conflicts.h"
#include "plane/linux/guard.h"
#include "plane/linux/port.h"
#include "plane/linux/ruleset_watch.h"
#include "plane/linux/setup.h"
#include "plane/linux/system_bridge.h"
#include "plane/linux/system_rules.h"
#include "plane/linux/uplinks.h"

/* After the first of several changes of the host's network: they come in bursts. */
#define SETTLE_MS 100
/* Rules that another program removes are made anew at once, but not more often than this. */
#define MEND_PAUSE_MS 1000
/* What could not be mended. */
#define AGAIN_MS 10000
/* All rules of a host may be many, and a firewall that starts loads them in many steps. */
#define OTHERS_MS 500

struct system {
    const struct place *place;
    struct netlink *netlink;
    struct nft_ctx *nft;
    unsigned dns_port;
    struct plane_forward *forwards;
    size_t forwards_len;
    struct loop *loop; /* NULL until system_run() */
    struct loop_source monitor_source;
    struct netlink monitor; /* of routes and of what is forwarded */
    struct ruleset_watch *watch;
    struct loop_timer look_timer, mend_timer, others_timer;
    struct uplinks uplinks;      /* as they were last */
    struct err conflict, closed; /* a route that came later; another program's rules; or "" */
    struct err warning;          /* what of these is told */
    void (*on_warning)(void *context), (*on_bridge)(void *context);
    void *context;
    uint64_t mended_ms;
    unsigned bridge; /* its index */
    bool is_new;     /* made after another program had removed it; its ports are not on it yet */
};

static int system_new(const struct place *place, struct netlink *netlink, struct nft_ctx *nft,
                      struct system **ret_system, struct err *err)
{
    struct system *system = calloc(1, sizeof(*system));

    if (!system)
        return err_set(err, -ENOMEM, "out of memory");
    *system = (struct system){.place = place, .netlink = netlink, .nft = nft};
    *ret_system = system;
    return 0;
}

void system_free(struct system *system)
{
    if (!system)
        return;
    if (system->loop) {
        loop_remove(system->loop, &system->monitor_source);
        loop_timer_clear(system->loop, &system->look_timer);
        loop_timer_clear(system->loop, &system->mend_timer);
        loop_timer_clear(system->loop, &system->others_timer);
    }
    ruleset_watch_free(system->watch);
    netlink_close(&system->monitor);
    free(system->forwards);
    free(system);
}

unsigned system_dns_port(const struct system *system)
{
    return system->dns_port;
}

/* ---- making it */

/* Removes what a network of that name has made, now or in an earlier life, but for its ports. */
static int system_sweep(struct system *system, struct err *err)
{
    struct ruleset ruleset;
    struct err rules_err;
    int result = system_bridge_remove(system->place, system->netlink, err), rules;

    /* Also where the bridge's name is another's now: the tables are ours. */
    if (ruleset_begin(&ruleset))
        system_rules_remove(ruleset.file, system->place);
    rules = ruleset_end(&ruleset, system->nft, &rules_err);
    if (result < 0 || rules == 0)
        return result;
    *err = rules_err;
    return rules;
}

/* In a while: whether what there is now lets the network's packets pass. */
static void look_at_others(struct system *system)
{
    if (system->loop && !system->others_timer.due_ms)
        loop_timer_set(system->loop, &system->others_timer, OTHERS_MS);
}

/* Claims settings, and writes rules, for the host's interfaces as they are now. @text NULL: no rules. */
static int claim_uplinks(struct system *system, FILE *text, struct uplinks_settings *ret_settings,
                         struct err *err)
{
    struct uplinks uplinks = {.len = 0};
    int result = 0;

    ret_settings->len = 0;
    if (net_config_has_way_out(system->place->config))
        result = uplinks_read(system->netlink, &uplinks);
    if (memcmp(&uplinks, &system->uplinks, sizeof(uplinks)) != 0)
        look_at_others(system);
    system->uplinks = uplinks;
    if (result < 0)
        return err_set(err, result, "cannot read the host's routes: %s", strerror(-result));
    if (text)
        system_rules_write_own(text, system->place, uplinks.own4, uplinks.own4_len);
    return uplinks_claim(system->place, &uplinks, text, ret_settings, err);
}

/* All rules, with the ports that there are, in one batch. */
static int load_rules(struct system *system, const struct port_list *list, struct err *err)
{
    struct uplinks_settings settings = {.len = 0};
    struct ruleset ruleset;
    struct err settings_err;
    int result, opened = 0;

    if (ruleset_begin(&ruleset)) {
        system_rules_write(ruleset.file, system->place);
        fprintf(ruleset.file, "table bridge %1$s\ndelete table bridge %1$s\n",
                system->place->table);
        guard_write(ruleset.file, system->place);
        guard_write_ports(ruleset.file, system->place, list->ports, list->len);
        system_rules_write_forwards(ruleset.file, system->place, system->forwards,
                                    system->forwards_len);
        opened = claim_uplinks(system, ruleset.file, &settings, &settings_err);
    }
    result = ruleset_end(&ruleset, system->nft, err);
    if (result == 0 && opened == 0)
        opened = settings_apply(settings.each, settings.len, &settings_err);
    if (result == 0 && opened < 0) {
        *err = settings_err;
        return opened;
    }
    return result < 0 ? err_prefix(err, result,
                                   "cannot load the rules of network '%s'; the kernel needs "
                                   "nf_tables with nat, masq, ct, fib and reject, and for bridges "
                                   "(CONFIG_NF_TABLES_BRIDGE)",
                                   system->place->config->name)
                      : 0;
}

/* Ports whose holders have outlived the network before this one. */
static void adopt_ports(struct system *system, const struct port_list *list)
{
    int bridge = (int)if_nametoindex(system->place->bridge);

    for (size_t i = 0; i < list->len; i++) {
        const struct plane_port *port = &list->ports[i];
        int result = netlink_set_up(system->netlink, (int)if_nametoindex(port->interface),
                                    system->place->config->mtu, bridge, NULL);

        if (result < 0)
            log_warn("port %s, which is left of an earlier network '%s', does not join it: %s",
                     port->interface, system->place->config->name, strerror(-result));
    }
}

int system_prepare_port(const char *interface, struct err *err)
{
    char name[96];

    snprintf(name, sizeof(name), "ipv6/conf/%s/disable_ipv6", interface);
    return setup_sysctl(name, "1", err);
}

int system_create(const struct place *place, struct netlink *netlink, struct nft_ctx *nft,
                  struct plane_handles *handles, struct system **ret_system, struct err *err)
{
    struct port_list list = {0};
    struct system *system = NULL;
    int result = system_new(place, netlink, nft, &system, err);

    if (result < 0)
        return result;
    result = system_sweep(system, err);
    if (result == 0)
        result = conflicts_check_routes(place->config, 0, netlink, err);
    if (result < 0) {
        system_free(system);
        return result;
    }
    result = setup_dns_sockets(&system->dns_port, &handles->fd[PLANE_DNS_UDP],
                               &handles->fd[PLANE_DNS_TCP]);
    if (result < 0)
        err_set(err, result, "cannot open the network's DNS sockets: %s", strerror(-result));
    handles->fd[PLANE_NAMESPACE] = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (result == 0 && handles->fd[PLANE_NAMESPACE] < 0)
        result = err_set(err, -errno, "/proc/self/ns/net: %s", strerror(errno));
    if (result == 0)
        result = port_list_read(netlink, place, &list, err);
    if (result == 0)
        result = load_rules(system, &list, err);
    if (result == 0)
        result = system_bridge_make(place, netlink, err);
    if (result == 0)
        result = conflicts_check_dns(place->config, err);
    if (result == 0)
        adopt_ports(system, &list);
    free(list.ports);
    if (result < 0) {
        system_destroy(system);
        system_free(system);
        return result;
    }
    *ret_system = system;
    return 0;
}

int system_join(const struct place *place, struct netlink *netlink, struct nft_ctx *nft,
                const struct plane_handles *handles, struct system **ret_system, struct err *err)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof(address);
    struct ip_endpoint local;
    struct system *system = NULL;
    int result = system_new(place, netlink, nft, &system, err);

    if (result < 0)
        return result;
    if (getsockname(handles->fd[PLANE_DNS_UDP], (struct sockaddr *)&address, &len) < 0 ||
        endpoint_from_sockaddr(&address, &local) < 0) {
        system_free(system);
        return err_set(err, -EIO, "the network's DNS socket is lost");
    }
    system->dns_port = local.port;
    *ret_system = system;
    return 0;
}

/* ---- while it runs */

/* Rules that are lost, by whomever, are all made anew. */
static void mend(struct system *system)
{
    struct port_list list;
    struct err err;
    int result = port_list_read(system->netlink, system->place, &list, &err);

    system->mended_ms = loop_now_ms(system->loop);
    if (result == 0)
        result = load_rules(system, &list, &err);
    free(list.ports);
    if (result < 0) {
        log_error("%s", err.text);
        loop_timer_set(system->loop, &system->mend_timer, MEND_PAUSE_MS);
    }
}

static void on_mend_timer(struct loop_timer *timer)
{
    mend(CONTAINER_OF(timer, struct system, mend_timer));
}

static void on_rules_changed(void *context, bool lost, const char *program)
{
    struct system *system = context;
    uint64_t since_ms = loop_now_ms(system->loop) - system->mended_ms;

    look_at_others(system);
    if (!lost || system->mend_timer.due_ms)
        return;
    if (*program)
        log_warn("the rules of network '%s' were removed by the program '%s', and are made anew",
                 system->place->config->name, program);
    else
        log_warn("more rules were changed than could be followed; those of network '%s' are made "
                 "anew",
                 system->place->config->name);
    if (!system->mended_ms || since_ms >= MEND_PAUSE_MS)
        mend(system);
    else
        loop_timer_set(system->loop, &system->mend_timer, MEND_PAUSE_MS - since_ms);
}

/* The conflict first: what is not reached needs no firewall that lets it pass. */
static void set_warning(struct system *system)
{
    const struct err *now = system->conflict.text[0] ? &system->conflict : &system->closed;

    if (strcmp(now->text, system->warning.text) == 0)
        return;
    system->warning = *now;
    if (now->text[0])
        log_warn("network '%s': %s", system->place->config->name, now->text);
    system->on_warning(system->context);
}

static void on_others_timer(struct loop_timer *timer)
{
    struct system *system = CONTAINER_OF(timer, struct system, others_timer);

    coexist_look(system->nft, system->place, &system->uplinks, system->forwards_len > 0,
                 &system->closed);
    set_warning(system);
}

const char *system_warning(const struct system *system)
{
    return system->warning.text;
}

/* The bridge with its addresses, which others may have changed. */
static void look_at_bridge(struct system *system)
{
    struct port_list list;
    struct err err;
    bool new;
    int result = system_bridge_mend(system->place, system->netlink, &new, &err);

    system->is_new |= new;
    if (result == 0 && system->is_new) {
        result = port_list_read(system->netlink, system->place, &list, &err);
        if (result == 0)
            adopt_ports(system, &list);
        free(list.ports);
        system->on_bridge(system->context);
        system->is_new = result < 0;
    }
    system->bridge = if_nametoindex(system->place->bridge);
    if (result == 0)
        return;
    log_error("network '%s': %s", system->place->config->name, err.text);
    loop_timer_set(system->loop, &system->look_timer, AGAIN_MS);
}

static void look_at_uplinks(struct system *system)
{
    struct uplinks_settings settings;
    struct ruleset ruleset;
    struct err err = {""};
    int result = -ENOMEM, loaded;

    if (ruleset_begin(&ruleset))
        result = claim_uplinks(system, ruleset.file, &settings, &err);
    if (result < 0)
        log_warn("network '%s' may have no way out: %s", system->place->config->name, err.text);
    loaded = ruleset_end(&ruleset, system->nft, &err);
    if (loaded < 0)
        log_warn("network '%s': %s", system->place->config->name, err.text);
    if (result == 0 && loaded == 0 && settings_apply(settings.each, settings.len, &err) < 0)
        log_warn("network '%s' may have no way out: %s", system->place->config->name, err.text);
}

static void on_look_timer(struct loop_timer *timer)
{
    struct system *system = CONTAINER_OF(timer, struct system, look_timer);

    look_at_bridge(system);
    look_at_uplinks(system);
    if (conflicts_check_routes(system->place->config, system->bridge, system->netlink,
                               &system->conflict) != -EADDRINUSE)
        err_set(&system->conflict, 0, "%s", "");
    set_warning(system);
}

static void look_soon(struct system *system)
{
    if (!system->look_timer.due_ms)
        loop_timer_set(system->loop, &system->look_timer, SETTLE_MS);
}

/* Of links and addresses only the bridge's own matter, and where another takes them away: ports come and go. */
static int on_message(const struct nlmsghdr *header, void *context)
{
    struct system *system = context;
    const struct ifinfomsg *link = mnl_nlmsg_get_payload(header);
    const struct ifaddrmsg *address = mnl_nlmsg_get_payload(header);
    bool matters = true;

    switch (header->nlmsg_type) {
    case RTM_NEWLINK:
        matters = (unsigned)link->ifi_index == system->bridge && !(link->ifi_flags & IFF_UP);
        break;
    case RTM_DELLINK: matters = (unsigned)link->ifi_index == system->bridge; break;
    case RTM_NEWADDR: matters = false; break;
    case RTM_DELADDR: matters = address->ifa_index == system->bridge; break;
    default: break;
    }
    if (matters)
        look_soon(system);
    return MNL_CB_OK;
}

static void on_monitor(struct loop_source *source, unsigned events)
{
    struct system *system = CONTAINER_OF(source, struct system, monitor_source);
    char buf[NETLINK_MESSAGE_BYTES];
    ssize_t len;

    while ((len = recv(source->fd, buf, sizeof(buf), MSG_DONTWAIT)) != 0) {
        if (len > 0)
            mnl_cb_run(buf, (size_t)len, 0, 0, on_message, system);
        else if (errno == ENOBUFS)
            look_soon(system);
        else
            break;
    }
}

static int watch_host(struct system *system)
{
    static const int groups[] = {RTNLGRP_LINK,        RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
                                 RTNLGRP_IPV4_ROUTE,  RTNLGRP_IPV6_ROUTE,  RTNLGRP_IPV4_NETCONF,
                                 RTNLGRP_IPV6_NETCONF};
    int result = netlink_open(&system->monitor);

    if (result == 0)
        result = netlink_join(&system->monitor, groups, sizeof(groups) / sizeof(groups[0]));
    if (result == 0)
        result = loop_add(system->loop, &system->monitor_source,
                          mnl_socket_get_fd(system->monitor.socket), LOOP_IN);
    return result;
}

int system_run(struct system *system, struct loop *loop, void (*on_warning)(void *context),
               void (*on_bridge)(void *context), void *context, struct err *err)
{
    int result;

    system->loop = loop;
    system->on_warning = on_warning;
    system->on_bridge = on_bridge;
    system->bridge = if_nametoindex(system->place->bridge);
    system->context = context;
    system->others_timer.on_timer = on_others_timer;
    loop_timer_set(loop, &system->others_timer, 0);
    system->look_timer.on_timer = on_look_timer;
    system->mend_timer.on_timer = on_mend_timer;
    system->monitor_source = (struct loop_source){.on_event = on_monitor, .fd = -1};
    result = ruleset_watch_new(system->place->table, &system->watch);
    if (result == 0)
        result = ruleset_watch_run(system->watch, loop, on_rules_changed, system);
    if (result == 0)
        result = watch_host(system);
    if (result < 0)
        return err_set(err, result, "cannot watch the host's network: %s", strerror(-result));
    /* What has changed since it was made, or since another process has watched it. */
    if (!ruleset_has_table(system->nft, "inet", system->place->table) ||
        !ruleset_has_table(system->nft, "bridge", system->place->table))
        mend(system);
    on_look_timer(&system->look_timer);
    return 0;
}

void system_set_forwards(struct system *system, const struct plane_forward *forwards, size_t len)
{
    struct plane_forward *copy = malloc(len * sizeof(*copy) + 1);
    struct ruleset ruleset;
    struct err err;

    if (!copy) {
        log_warn("network '%s': its forwards are served by sockets alone: out of memory",
                 system->place->config->name);
        return;
    }
    memcpy(copy, forwards, len * sizeof(*copy));
    free(system->forwards);
    system->forwards = copy;
    system->forwards_len = len;
    if (ruleset_begin(&ruleset))
        system_rules_write_forwards(ruleset.file, system->place, copy, len);
    if (ruleset_end(&ruleset, system->nft, &err) < 0)
        log_warn("network '%s': its forwards are served by sockets alone: %s",
                 system->place->config->name, err.text);
    look_at_others(system);
}

void system_destroy(struct system *system)
{
    const struct uplinks none = {.len = 0};
    struct uplinks_settings settings;
    struct err err;

    if (uplinks_claim(system->place, &none, NULL, &settings, &err) < 0)
        log_warn("network '%s': %s", system->place->config->name, err.text);
    if (system_sweep(system, &err) < 0)
        log_error("network '%s' leaves something behind: %s", system->place->config->name,
                  err.text);
}
