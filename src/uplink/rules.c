/* SPDX-License-Identifier: Apache-2.0 */
/* Which destinations a guest may reach, and what their addresses are on either side. */
#include "uplink/worker.h"

struct ip_addr rules_gateway(const struct worker *worker, int family)
{
    return family == AF_INET ? ip_from_u32(worker->config.net->gateway)
                             : worker->config.net->gateway6;
}

enum rule rules_outbound(struct worker *worker, const struct ip_endpoint *dst,
                         struct ip_endpoint *ret_dst)
{
    struct ip_addr gateway = rules_gateway(worker, dst->addr.family);

    *ret_dst = *dst;
    if (ip_equal(&dst->addr, &gateway)) {
        ret_dst->addr = host_view_address(worker->host, dst->addr.family);
        if (!ret_dst->addr.family)
            return RULE_NO_HOST;
    } else if (host_view_owns(worker->host, &dst->addr)) {
        return RULE_DENY;
    }
    return ip_is_forbidden(&ret_dst->addr) ? RULE_DENY : RULE_ALLOW;
}

struct ip_addr rules_inbound(struct worker *worker, const struct ip_addr *src)
{
    return host_view_owns(worker->host, src) ? rules_gateway(worker, src->family) : *src;
}
