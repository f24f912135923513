/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may do what. A user's own network is for its owner and root, who alone can connect, and may do anything. To a
 * network of the system everybody can connect: what they may is decided here, from what the kernel knows
 * of the process that connected (its user and its groups then), and the network's file.
 */
#ifndef OPENVMNET_DAEMON_ACCESS_H
#define OPENVMNET_DAEMON_ACCESS_H

#include <stdint.h>
#include <sys/types.h>

#include "base/netconfig.h"

enum access {
    ACCESS_SEE, /* what there is */
    ACCESS_USE, /* ports of one's own: whom the file allows */
    ACCESS_OWN, /* the network itself: root */
};

/* Of what others make us write to the log there are at most ACCESS_LOG_MAX lines in ACCESS_LOG_WINDOW_MS. */
#define ACCESS_LOG_MAX 10
#define ACCESS_LOG_WINDOW_MS 60000

struct access_log {
    uint64_t window_start_ms;
    unsigned lines, left_out;
};

/* Whether one more line may be written. What was left out is told when the next window begins. */
bool access_may_log(struct access_log *log);

/* What the peer of the connected socket @fd may do. */
enum access access_of_peer(const struct net_config *config, int fd);

/*
 * Why user @uid may not @what, a verb with its object, for which @needs is wanted, and what an administrator
 * can do: -EACCES with the text. It is also logged.
 */
int access_deny(struct access_log *log, const struct net_config *config, uid_t uid,
                enum access needs, const char *what, struct err *err);

#endif
