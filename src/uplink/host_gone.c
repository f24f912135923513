/* SPDX-License-Identifier: Apache-2.0 */
#include "uplink/host_gone.h"

#include <string.h>

static void drop(struct host_gone *gone, size_t at)
{
    memmove(&gone->entries[at], &gone->entries[at + 1],
            (--gone->len - at) * sizeof(gone->entries[0]));
}

void host_gone_add(struct host_gone *gone, const struct ip_addr *addr, uint64_t now_ms)
{
    host_gone_remove(gone, addr);
    if (gone->len == HOST_GONE_MAX)
        return;
    gone->entries[gone->len].addr = *addr;
    gone->entries[gone->len++].due_ms = now_ms + HOST_GONE_MS;
}

void host_gone_remove(struct host_gone *gone, const struct ip_addr *addr)
{
    for (size_t i = 0; i < gone->len; i++) {
        if (!ip_equal(&gone->entries[i].addr, addr))
            continue;
        drop(gone, i);
        return;
    }
}

bool host_gone_take(struct host_gone *gone, uint64_t now_ms, struct ip_addr *ret_addr)
{
    if (gone->len == 0 || gone->entries[0].due_ms > now_ms)
        return false;
    *ret_addr = gone->entries[0].addr;
    drop(gone, 0);
    return true;
}

uint64_t host_gone_due_ms(const struct host_gone *gone)
{
    return gone->len ? gone->entries[0].due_ms : 0;
}
