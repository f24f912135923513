/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OPENVMNET_UPLINK_HOST_GONE_H
#define OPENVMNET_UPLINK_HOST_GONE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

/*
 * Addresses that the host had. A laptop that wakes up, or whose cable is plugged in again, has its address back within
 * seconds, and what was connected goes on. What has not come back after this is not waited for any more: nothing
 * that is sent to it arrives, so connections from it would hang until they time out, those that are idle for ever.
 */
#define HOST_GONE_MS 30000
#define HOST_GONE_MAX 64 /* with more, those that come last are not remembered */

struct host_gone {
    size_t len;
    struct {
        struct ip_addr addr;
        uint64_t due_ms;
    } entries[HOST_GONE_MAX]; /* the first is due first */
};

void host_gone_add(struct host_gone *gone, const struct ip_addr *addr, uint64_t now_ms);
/* It has come back. */
void host_gone_remove(struct host_gone *gone, const struct ip_addr *addr);
/* Takes one out that has been gone for HOST_GONE_MS. False where there is none. */
bool host_gone_take(struct host_gone *gone, uint64_t now_ms, struct ip_addr *ret_addr);
/* When the next one is due; 0: none. */
uint64_t host_gone_due_ms(const struct host_gone *gone);

#endif
