/* SPDX-License-Identifier: Apache-2.0 */
#include "uplink/resolvers.h"

#include <string.h>

void resolvers_init(struct resolvers *resolvers, const char *path)
{
    *resolvers = (struct resolvers){.path = path};
    resolvers_refresh(resolvers, true);
}

bool resolvers_refresh(struct resolvers *resolvers, bool in_any_case)
{
    struct stat now = {0}, *was = &resolvers->status;
    struct resolv_conf conf;

    if (stat(resolvers->path, &now) < 0)
        memset(&now, 0, sizeof(now));
    if (!in_any_case && now.st_ino == was->st_ino && now.st_dev == was->st_dev &&
        now.st_size == was->st_size && now.st_mtim.tv_sec == was->st_mtim.tv_sec &&
        now.st_mtim.tv_nsec == was->st_mtim.tv_nsec)
        return false;
    resolvers->status = now;
    resolv_conf_read(resolvers->path, &conf);
    if (resolv_conf_equal(&conf, &resolvers->conf))
        return false;
    resolvers->conf = conf;
    resolvers->generation++;
    resolvers_forgive(resolvers);
    return true;
}

static bool has_failed(const struct resolvers *resolvers, int number, uint64_t now_ms)
{
    return resolvers->state[number].failed &&
           now_ms - resolvers->state[number].failed_ms < RESOLVERS_FORGIVE_MS;
}

int resolvers_next(const struct resolvers *resolvers, unsigned tried, uint64_t now_ms)
{
    int last_resort = -1;

    for (int i = 0; i < (int)resolvers->conf.nameservers_len; i++) {
        if (tried & 1u << i)
            continue;
        if (!has_failed(resolvers, i, now_ms))
            return i;
        if (last_resort < 0)
            last_resort = i;
    }
    return last_resort;
}

bool resolvers_left(const struct resolvers *resolvers, unsigned tried)
{
    return resolvers_next(resolvers, tried, 0) >= 0;
}

bool resolvers_hopeful(const struct resolvers *resolvers, unsigned tried, uint64_t now_ms)
{
    int next = resolvers_next(resolvers, tried, now_ms);

    return next >= 0 && !has_failed(resolvers, next, now_ms);
}

void resolvers_answered(struct resolvers *resolvers, int number)
{
    resolvers->state[number].failed = false;
}

void resolvers_failed(struct resolvers *resolvers, int number, uint64_t now_ms)
{
    resolvers->state[number].failed = true;
    resolvers->state[number].failed_ms = now_ms;
}

void resolvers_forgive(struct resolvers *resolvers)
{
    memset(resolvers->state, 0, sizeof(resolvers->state));
}
