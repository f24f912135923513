/* SPDX-License-Identifier: Apache-2.0 */
/* Which destinations a guest may reach, and what addresses are on either side. */
#include <string.h>

#include "uplink/worker.h"

struct ip_addr rules_gateway(const struct worker *worker, int family)
{
    return family == AF_INET ? ip_from_u32(worker->config.net->gateway)
                             : worker->config.net->gateway6;
}

/* The rules of the network's file. They never change while a worker runs, so what they said stays true. */
static bool rules_of_file(struct worker *worker, const struct ip_endpoint *dst)
{
    const struct net_file *file = worker->config.net->file;
    struct rule_verdict *verdict;
    uint8_t key[18] = {0};

    if (!file || !file->rules_len)
        return true;
    memcpy(key, dst->addr.bytes, ip_len_bytes(&dst->addr));
    memcpy(key + 16, &dst->port, sizeof(dst->port));
    verdict = &worker->verdicts[worker_hash(worker, key, sizeof(key)) % RULE_VERDICTS];
    if (!ip_equal(&verdict->dst.addr, &dst->addr) || verdict->dst.port != dst->port) {
        verdict->dst = *dst;
        verdict->allow = net_rules_allow(file->rules, file->rules_len, dst);
    }
    return verdict->allow;
}

/* The host by a name of its own, also where a translator or a tunnel would lead back to it. */
static bool rules_is_host(struct worker *worker, const struct ip_addr *addr)
{
    struct ip_addr v4;

    return host_view_owns(worker->host, addr) ||
           (ip_embedded(addr, &v4) && host_view_owns(worker->host, &v4));
}

/* The gateway's address means the host: its loopback where that was opened, else an address of its own. */
static enum rule rules_host(struct worker *worker, struct ip_endpoint *dst)
{
    const struct net_config *net = worker->config.net;
    int family = dst->addr.family;

    if (!port_set_has(&net->host_ports, dst->port))
        return RULE_EXCLUDED;
    if (net->on[NET_HOST_LOOPBACK]) {
        dst->addr =
            family == AF_INET ? ip_from_u32(INADDR_LOOPBACK) : ip_from_v6(&in6addr_loopback);
        return host_view_owns(worker->host, &dst->addr) ? RULE_ALLOW : RULE_NO_HOST;
    }
    dst->addr = host_view_address(worker->host, family);
    if (!dst->addr.family)
        return RULE_NO_HOST;
    return ip_is_forbidden(&dst->addr) ? RULE_DENY : RULE_ALLOW;
}

enum rule rules_outbound(struct worker *worker, const struct ip_endpoint *dst,
                         struct ip_endpoint *ret_dst)
{
    struct ip_addr gateway = rules_gateway(worker, dst->addr.family);

    *ret_dst = *dst;
    if (ip_equal(&dst->addr, &gateway))
        return rules_host(worker, ret_dst);
    /* Without NAT the network's own rules let nothing of this through; this is the second lock. */
    if (!net_config_has_nat(worker->config.net, dst->addr.family) ||
        rules_is_host(worker, &dst->addr) || ip_is_forbidden(&dst->addr))
        return RULE_DENY;
    return rules_of_file(worker, dst) ? RULE_ALLOW : RULE_EXCLUDED;
}

struct ip_addr rules_inbound(struct worker *worker, const struct ip_addr *src)
{
    return host_view_owns(worker->host, src) ? rules_gateway(worker, src->family) : *src;
}

bool rules_client(struct worker *worker, const struct ip_endpoint *client, int family,
                  struct ip_endpoint *ret_seen)
{
    const struct net_config *net = worker->config.net;
    struct ip_addr addr = client->addr;
    bool own;

    if (addr.family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&addr.v6)) {
        struct in_addr v4;

        memcpy(&v4, addr.bytes + 12, sizeof(v4));
        addr = ip_from_v4(v4);
    }
    own = addr.family == family && net_config_has_nat(net, family) &&
          (family == AF_INET || net->host_has_ipv6) && !ip_is_forbidden(&addr) &&
          !worker_is_guest(worker, &addr) && !host_view_owns(worker->host, &addr);
    ret_seen->addr = own ? addr : rules_gateway(worker, family);
    ret_seen->port = client->port;
    return own;
}
