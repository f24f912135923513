/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dnsmasq takes about as long to start as all the rest of a network, and a program (`vmnet exec`) may ask for a name
 * before it listens. A query that is refused is not made again by every resolver, so until then queries come to a
 * socket of ours, and are passed on when it listens. Not in the host's namespace, where nothing is sent in the name of
 * others.
 *
 * It tells by its pid file: it removes the one of an earlier dnsmasq and makes its own when all its sockets are open,
 * from where on what comes waits in them. The one of a dnsmasq that was killed is removed here: one that is there is
 * good.
 */
#include "plane/linux/service.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/table.h"
#include "plane/linux/dnsmasq.h"
#include "plane/linux/held.h"

/* A dnsmasq that ends is started again, not more often than this. */
#define RETRY_MS 1000
/* One that does not listen after this is told of. */
#define LATE_MS 5000

static void stop_holding(struct service *service)
{
    file_watch_free(service->watch);
    service->watch = NULL;
    if (service->held_fd >= 0)
        close(service->held_fd);
    service->held_fd = -1;
}

static void on_pid_file(void *context)
{
    struct service *service = context;

    if (service->restarts || access(service->pid_path, F_OK) < 0)
        return;
    if (service->held_fd >= 0)
        held_pass_on(service->held_fd, service->config);
    stop_holding(service);
    loop_timer_clear(service->loop, &service->timer);
}

/* Where its pid file cannot be watched nothing is held: that would be for ever. */
static void hold(struct service *service)
{
    const struct net_config *config = service->config;
    int result = 0;

    if (!service->watch)
        result =
            file_watch_new(service->loop, service->pid_path, on_pid_file, service, &service->watch);
    if (result == 0 && service->held_fd < 0 && config->on[NET_DNS] && !config->system)
        result = service->held_fd = held_open(config);
    if (result < 0)
        log_warn("DNS queries that come before dnsmasq listens are refused: %s", strerror(-result));
}

static void start(struct service *service)
{
    struct err err;

    unlink(service->pid_path);
    hold(service);
    service->started_ms = loop_now_ms(service->loop);
    if (dnsmasq_start(service->config, &service->pid, &err) < 0) {
        service->pid = 0;
        log_error("%s", err.text);
        loop_timer_set(service->loop, &service->timer, RETRY_MS);
    } else if (service->watch) {
        loop_timer_set(service->loop, &service->timer, LATE_MS);
    }
    service->on_change(service->context);
}

static void on_timer(struct loop_timer *timer)
{
    struct service *service = CONTAINER_OF(timer, struct service, timer);

    if (service->pid > 0)
        log_warn("dnsmasq does not listen after %d s; who asks for a name has to wait",
                 LATE_MS / 1000);
    else
        start(service);
}

void service_start(struct service *service, const struct net_config *config, struct loop *loop,
                   void (*on_change)(void *context), void *context)
{
    *service = (struct service){
        .config = config,
        .loop = loop,
        .on_change = on_change,
        .context = context,
        .held_fd = -1,
        .timer = {.on_timer = on_timer},
    };
    dnsmasq_pid_path(config, service->pid_path);
    start(service);
}

void service_reap(struct service *service)
{
    int status;

    if (service->pid <= 0 || waitpid(service->pid, &status, WNOHANG) != service->pid)
        return;
    service->pid = 0;
    if (service->restarts) {
        service->restarts = false;
        start(service);
        return;
    }
    log_warn("dnsmasq ended (%s %d); starting it again", WIFSIGNALED(status) ? "signal" : "status",
             WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    /* At once after a good while; with a pause where it does not get going. */
    if (loop_now_ms(service->loop) - service->started_ms > RETRY_MS) {
        start(service);
        return;
    }
    hold(service);
    loop_timer_set(service->loop, &service->timer, RETRY_MS);
    service->on_change(service->context);
}

void service_restart(struct service *service)
{
    if (service->pid <= 0)
        return;
    service->restarts = true;
    hold(service);
    kill(service->pid, SIGTERM);
}

void service_reload(struct service *service)
{
    if (service->pid > 0 && !service->restarts)
        kill(service->pid, SIGHUP);
}

void service_end(struct service *service)
{
    if (service->pid > 0) {
        kill(service->pid, SIGKILL);
        waitpid(service->pid, NULL, 0);
        service->pid = 0;
    }
    if (!service->loop)
        return;
    stop_holding(service);
    loop_timer_clear(service->loop, &service->timer);
}
