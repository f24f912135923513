/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's own network while ours runs: its routes, its resolvers and its search domains change, and what that
 * means for the guests goes to the router, which tells them. Nothing is looked at but when the kernel says so.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file_watch.h"
#include "base/log.h"
#include "base/resolv_conf.h"
#include "daemon/channel.h"
#include "daemon/configure.h"
#include "daemon/methods.h"

/* After the first of several changes: they come in bursts. */
#define SETTLE_MS 100

struct outside {
    struct engine *engine;
    struct dns *dns;
    struct plane_watch *routes;
    struct file_watch *resolv_conf;
    struct loop_timer timer;
    unsigned resolvers; /* another number whenever they are others */
};

static void outside_look_soon(struct outside *outside)
{
    if (!outside->timer.due_ms)
        loop_timer_set(outside->engine->loop, &outside->timer, SETTLE_MS);
}

void outside_tell(struct outside *outside)
{
    const struct engine *engine = outside->engine;
    struct message message = {
        .type = MESSAGE_SET_OUTSIDE,
        .outside = {.has_ipv6 = engine->has_ipv6, .resolvers = outside->resolvers},
    };

    if (net_config_has_way_out(engine->args->config))
        snprintf(message.outside.search, sizeof(message.outside.search), "%s",
                 dns_search(outside->dns));
    if (channel_send(engine->args->router_fd, &message, NULL, 0) < 0)
        outside_look_soon(outside);
}

/* Whether there is a way out for IPv6, and whether a route leads now to where this network's own addresses are. */
static void look_at_routes(struct engine *engine)
{
    const struct net_config *config = engine->args->config;
    struct err warning;
    bool has_ipv6;

    if (configure_look_at_routes(config, &has_ipv6, &warning) < 0)
        return;
    if (strcmp(warning.text, engine->warning.text) != 0 && warning.text[0])
        log_warn("network '%s': %s", config->name, warning.text);
    engine->warning = warning;
    engine->has_ipv6 = has_ipv6 && config->on[NET_NAT66];
}

void outside_look(struct outside *outside)
{
    dns_look_again(outside->dns);
    look_at_routes(outside->engine);
    outside_tell(outside);
}

static void on_timer(struct loop_timer *timer)
{
    outside_look(CONTAINER_OF(timer, struct outside, timer));
}

static void on_routes(void *context)
{
    outside_look_soon(context);
}

static void on_resolv_conf(void *context)
{
    struct outside *outside = context;

    dns_look_again(outside->dns);
}

static void on_resolvers(void *context)
{
    struct outside *outside = context;

    outside->resolvers++;
    outside_look_soon(outside);
}

int outside_new(struct engine *engine, struct outside **ret_outside)
{
    struct outside *outside = calloc(1, sizeof(*outside));
    const int *handles = engine->handles.fd;
    const struct dns_config dns = {
        .net = engine->args->config,
        .udp_fd = handles[PLANE_DNS_UDP],
        .tcp_fd = handles[PLANE_DNS_TCP],
        .resolv_conf = RESOLV_CONF_PATH,
        .counters = &engine->counters,
        .on_change = on_resolvers,
        .context = outside,
    };
    int result;

    if (!outside)
        return -ENOMEM;
    outside->engine = engine;
    outside->timer.on_timer = on_timer;
    /* Not what an engine before this one has said. */
    outside->resolvers = (unsigned)getpid();
    result = dns_new(engine->loop, &dns, &outside->dns);
    if (result == 0)
        result = plane_watch_routes(engine->loop, on_routes, outside, &outside->routes);
    if (result < 0) {
        outside_free(outside);
        return result;
    }
    result = file_watch_new(engine->loop, RESOLV_CONF_PATH, on_resolv_conf, outside,
                            &outside->resolv_conf);
    /* A user has some inotify instances only (fs.inotify.max_user_instances). */
    if (result < 0)
        log_warn("cannot watch " RESOLV_CONF_PATH
                 " (%s): guests learn of other search domains with "
                 "the next name that one of them looks up",
                 strerror(-result));
    *ret_outside = outside;
    return 0;
}

void outside_free(struct outside *outside)
{
    if (!outside)
        return;
    loop_timer_clear(outside->engine->loop, &outside->timer);
    file_watch_free(outside->resolv_conf);
    plane_watch_free(outside->routes);
    dns_free(outside->dns);
    free(outside);
}
