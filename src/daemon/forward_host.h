/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's side of a network's forwards: forward_uplink.c has sockets of the host that the uplink serves, and
 * forward_vmnet.c what vmnet.framework has. Only for src/daemon.
 */
#ifndef OPENVMNET_DAEMON_FORWARD_HOST_H
#define OPENVMNET_DAEMON_FORWARD_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"

struct engine;
struct forward_host;

/* 0 or -errno. */
int forward_host_new(struct engine *engine, struct forward_host **ret_host);
/* NULL is fine. */
void forward_host_free(struct forward_host *host);

/*
 * Opens one port of the host: what comes there goes to @guest (family 0: nobody is there now, and connections are
 * reset). @id is the caller's choice, each one unused. 0 or -errno with the reason.
 */
int forward_host_open(struct forward_host *host, uint32_t id, bool udp,
                      const struct ip_endpoint *address, const struct ip_endpoint *guest,
                      struct err *err);
/* What comes from now on goes to @guest. */
void forward_host_retarget(struct forward_host *host, uint32_t id, const struct ip_endpoint *guest);
/* Connections that exist stay. */
void forward_host_close(struct forward_host *host, uint32_t id);

/* forward_uplink.c: tells the router soon of all forwards, for it is a new one. NULL is fine. */
void forward_uplink_tell(struct forward_host *host);

#endif
