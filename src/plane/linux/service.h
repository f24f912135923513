/* SPDX-License-Identifier: Apache-2.0 */
/* dnsmasq as a process that is kept running. Only for src/plane/linux. */
#ifndef OPENVMNET_PLANE_LINUX_SERVICE_H
#define OPENVMNET_PLANE_LINUX_SERVICE_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/file_watch.h"
#include "base/loop.h"
#include "base/netconfig.h"

struct service {
    const struct net_config *config;
    struct loop *loop;
    /* Its process is another. */
    void (*on_change)(void *context);
    void *context;
    struct loop_timer timer;
    struct file_watch *watch; /* of its pid file, until it listens */
    char pid_path[NET_PATH_MAX + 64];
    uint64_t started_ms;
    pid_t pid;     /* 0: there is none */
    int held_fd;   /* where queries come until it listens, or -1 (held.h) */
    bool restarts; /* we have ended it ourselves, to be started at once */
};

/* Starts it from now on, again whenever it has ended: service_reap() is to be called after each SIGCHLD. */
void service_start(struct service *service, const struct net_config *config, struct loop *loop,
                   void (*on_change)(void *context), void *context);
void service_reap(struct service *service);
/* Has it begin anew, with the configuration that there is now. */
void service_restart(struct service *service);
/* Has it read its files anew. */
void service_reload(struct service *service);
/* Ends it and waits for it; also one that was never started. */
void service_end(struct service *service);

#endif
