/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network's port forwards: which there are, where they lead now, and their sockets on the host.
 *
 * A forward comes from a port's options, from the network's file, or from a client at run time. It outlives
 * its guest: while nobody is there connections are reset, and when a guest of that name or address comes,
 * they are its own. Those of a port's options go with the port. All but those of the file are written to
 * run_dir, so that an engine that was started anew opens them again.
 */
#ifndef OPENVMNET_DAEMON_FORWARDS_H
#define OPENVMNET_DAEMON_FORWARDS_H

#include <jansson.h>

#include "base/forward.h"
#include "daemon/network.h"

struct forwards;
struct forward_host;

/* All arguments are borrowed. NULL without memory. */
struct forwards *forwards_new(struct network *network, struct forward_host *host,
                              unsigned ports_max);
void forwards_free(struct forwards *forwards);

/*
 * Opens a forward. @owner (NULL: none) is the port that it is an option of, and goes with. -EADDRINUSE, -EACCES,
 * -EADDRNOTAVAIL, -EEXIST, -EINVAL, -ENOSPC with the reason; then nothing is open. A port of an ordinary user on a
 * network of the system can have forwards to itself alone, from host ports that are not privileged (-EACCES), and
 * as many as the file allows (-EDQUOT).
 */
int forwards_add(struct forwards *forwards, const struct forward_spec *spec,
                 const struct network_port *owner, struct err *err);
/*
 * @text: as it is listed, or "PROTO:[HOSTADDR]:HOSTPORT". -ENOENT, -EINVAL with the reason. *ret_owner: the port that it
 * is an option of; NULL: none.
 */
int forwards_find(struct forwards *forwards, const char *text,
                  const struct network_port **ret_owner, struct err *err);
int forwards_remove(struct forwards *forwards, const char *text, struct err *err);

/* Opens what the network's file asks for, and what an engine before had; all ports are known. */
void forwards_restore(struct forwards *forwards);
/* A port was attached: what is meant for it leads there. */
void forwards_port_attached(struct forwards *forwards);
/* A port goes, and its own forwards with it; before it leaves the network. */
void forwards_port_gone(struct forwards *forwards, const struct network_port *port);

/* For Status: an array of Forward; and one of them, the last that was added. */
json_t *forwards_describe(const struct forwards *forwards);
json_t *forwards_describe_last(const struct forwards *forwards);

#endif
