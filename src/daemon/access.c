/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/access.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/peer.h"

static bool has(const unsigned *ids, unsigned len, unsigned id)
{
    for (unsigned i = 0; i < len; i++)
        if (ids[i] == id)
            return true;
    return false;
}

static bool is_in_group(const struct net_access *access, int fd)
{
    bool found = false;
    gid_t *groups;
    int len;

    if (!access->groups_len)
        return false;
    len = peer_groups(fd, &groups);
    for (int i = 0; i < len && !found; i++)
        found = has(access->groups, access->groups_len, groups[i]);
    if (len >= 0)
        free(groups);
    return found;
}

enum access access_of_peer(const struct net_config *config, int fd)
{
    const struct net_access *access = config->file ? &config->file->access : NULL;
    uid_t uid;

    if (peer_identity(fd, &uid, NULL) < 0)
        return ACCESS_SEE;
    if (!config->system || uid == 0)
        return ACCESS_OWN;
    if (access && (access->everybody || has(access->users, access->users_len, uid) ||
                   is_in_group(access, fd)))
        return ACCESS_USE;
    return ACCESS_SEE;
}

bool access_may_log(struct access_log *log)
{
    uint64_t now_ms = clock_now_ms();

    if (now_ms - log->window_start_ms >= ACCESS_LOG_WINDOW_MS) {
        if (log->left_out)
            log_warn("%u more refusals were not logged", log->left_out);
        *log = (struct access_log){.window_start_ms = now_ms};
    }
    if (log->lines == ACCESS_LOG_MAX) {
        log->left_out++;
        return false;
    }
    log->lines++;
    return true;
}

static void log_denial(struct access_log *log, const char *network, uid_t uid, const char *what,
                       enum access needs)
{
    if (!access_may_log(log))
        return;
    log_warn("network '%s': denied to uid %u: %s (%s)", network, uid, what,
             needs == ACCESS_USE ? "not allowed by the network's file" : "only root may");
}

int access_deny(struct access_log *log, const struct net_config *config, uid_t uid,
                enum access needs, const char *what, struct err *err)
{
    log_denial(log, config->name, uid, what, needs);
    if (needs == ACCESS_OWN)
        return err_set(err, -EACCES, "is a network of the system, where only root may %s", what);
    return err_set(
        err, -EACCES,
        "is a network of the system, where uid %u may not %s; an administrator allows it "
        "by 'allow-user = %u', or 'allow-group' with a group of that user, in %s, and "
        "starts the network anew",
        uid, what, uid, config->file ? config->file->path : "its file");
}
