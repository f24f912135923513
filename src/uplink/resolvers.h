/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's resolvers, and in which order they are asked: that of resolv.conf, for its first is the one that
 * the host's owner means (with a VPN, the only one that knows some names). One that was silent or refused is asked
 * last for RESOLVERS_FORGIVE_MS, and gets little time to show that it is back. Only for src/uplink.
 */
#ifndef OPENVMNET_UPLINK_RESOLVERS_H
#define OPENVMNET_UPLINK_RESOLVERS_H

#include <stdint.h>
#include <sys/stat.h>

#include "base/resolv_conf.h"

#define RESOLVERS_FORGIVE_MS 30000

struct resolvers {
    const char *path;
    struct stat status; /* of the file, as it was when it was last read */
    struct resolv_conf conf;
    struct {
        bool failed; /* it has not answered since */
        uint64_t failed_ms;
    } state[RESOLV_NAMESERVERS_MAX];
    unsigned generation; /* another one: what is known of a resolver by its number is void */
};

void resolvers_init(struct resolvers *resolvers, const char *path);

/*
 * Reads resolv.conf where it is another file, or was written to, since the last time; in any case with
 * @in_any_case. Returns whether something is different now.
 */
bool resolvers_refresh(struct resolvers *resolvers, bool in_any_case);

/* The next one to ask, of those that are not in the set @tried (bit i is resolver i); -1 where all are. */
int resolvers_next(const struct resolvers *resolvers, unsigned tried, uint64_t now_ms);
/* Whether others are left to ask when @tried have been; of them one that has not failed lately. */
bool resolvers_left(const struct resolvers *resolvers, unsigned tried);
bool resolvers_hopeful(const struct resolvers *resolvers, unsigned tried, uint64_t now_ms);

/* What became of asking @number. */
void resolvers_answered(struct resolvers *resolvers, int number);
void resolvers_failed(struct resolvers *resolvers, int number, uint64_t now_ms);
/* Forgets who has failed: the way to them may be another now. */
void resolvers_forgive(struct resolvers *resolvers);

#endif
