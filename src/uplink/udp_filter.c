/* SPDX-License-Identifier: Apache-2.0 */
#include "uplink/udp_filter.h"

bool udp_filter_has(const struct udp_filter *filter, uint64_t peer)
{
    for (unsigned i = 0; i < filter->len; i++)
        if (filter->peers[i] == peer)
            return true;
    return false;
}

void udp_filter_add(struct udp_filter *filter, uint64_t peer)
{
    if (udp_filter_has(filter, peer))
        return;
    filter->peers[filter->next] = peer;
    if (filter->len < UDP_FILTER_PEERS_MAX)
        filter->len++;
    filter->next = (filter->next + 1) % UDP_FILTER_PEERS_MAX;
}
