/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The framework says nothing when an interface of the host that guests are bridged to goes: frames cease. The system's
 * routes change with it, so that is when it is looked at. What has come back is bridged again.
 *
 * A host that wakes up changes its routes, too, and has slept by how much more the one clock shows than the other.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/vmnet.h"

/* After the first of several changes: they come in bursts. */
#define SETTLE_MS 200
#define SLEEP_MIN_MS 2000
#define NAMES_BYTES 256

struct vmnet_watch {
    struct engine *engine;
    struct plane_watch *routes;
    struct loop_timer timer;
    uint64_t slept_ms;
    bool is_gone; /* the interface */
};

static uint64_t slept_ms(void)
{
    return clock_world_ms() - clock_now_ms();
}

static void look_at_member(struct vmnet_watch *watch)
{
    const struct net_config *config = &watch->engine->vmnet->config;
    char names[NAMES_BYTES];
    bool gone = !vmnet_can_bridge(config->ifname, names, sizeof(names));

    if (gone == watch->is_gone)
        return;
    watch->is_gone = gone;
    watch->engine->warning.text[0] = '\0';
    if (gone) {
        err_set(
            &watch->engine->warning, 0,
            "the interface %s, which its guests are bridged to, is gone (there are: %s); they are "
            "bridged again when it comes back",
            config->ifname, names[0] ? names : "none");
        log_warn("network '%s': %s", config->name, watch->engine->warning.text);
        return;
    }
    log_info("network '%s': %s is back", config->name, config->ifname);
    vmnet_ports_renew(watch->engine);
}

static void on_timer(struct loop_timer *timer)
{
    struct vmnet_watch *watch = CONTAINER_OF(timer, struct vmnet_watch, timer);
    const struct net_config *config = &watch->engine->vmnet->config;
    uint64_t now_ms = slept_ms();

    if (now_ms > watch->slept_ms + SLEEP_MIN_MS)
        log_info("network '%s': the host has slept for %u s", config->name,
                 (unsigned)((now_ms - watch->slept_ms + 500) / 1000));
    watch->slept_ms = now_ms;
    if (config->mode == NET_MODE_BRIDGED)
        look_at_member(watch);
}

static void on_routes(void *context)
{
    struct vmnet_watch *watch = context;

    if (!watch->timer.due_ms)
        loop_timer_set(watch->engine->loop, &watch->timer, SETTLE_MS);
}

int vmnet_watch_new(struct engine *engine, struct vmnet_watch **ret_watch)
{
    struct vmnet_watch *watch = calloc(1, sizeof(*watch));
    int result;

    if (!watch)
        return -ENOMEM;
    watch->engine = engine;
    watch->timer.on_timer = on_timer;
    watch->slept_ms = slept_ms();
    result = plane_watch_routes(engine->loop, on_routes, watch, &watch->routes);
    if (result < 0) {
        free(watch);
        return result;
    }
    *ret_watch = watch;
    return 0;
}

void vmnet_watch_free(struct vmnet_watch *watch)
{
    if (!watch)
        return;
    loop_timer_clear(watch->engine->loop, &watch->timer);
    plane_watch_free(watch->routes);
    free(watch);
}
