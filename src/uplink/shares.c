/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How large a worker's tables are, and whose share of them something is: the descriptors of the process are divided
 * among tables and workers, and each table among guests (quota.h).
 */
#include <arpa/inet.h>

#include "base/log.h"
#include "uplink/forward.h"
#include "uplink/worker.h"

#define QUOTA_NAME(name) [QUOTA_##name] = #name,

struct uplink_limits uplink_limits(unsigned long descriptors, unsigned workers)
{
    /* The process's own, those of DNS, the pipes of TCP's relays, forwards' stocks. */
    const unsigned long reserve = 256 + UPLINK_DNS_QUERIES_MAX + 2 * UPLINK_DNS_CONNECTIONS_MAX +
                                  2 * RELAY_PIPES_MAX + 2 * SOCKET_POOL_MAX * workers;
    const unsigned long wanted =
        2 * UPLINK_TCP_FLOWS_MAX + UPLINK_UDP_MAPPINGS_MAX + UPLINK_ECHO_MAPPINGS_MAX;
    unsigned long have = descriptors > 2 * reserve ? descriptors - reserve : reserve, forwards;

    if (have > wanted)
        have = wanted;
    forwards = 2 * have * UPLINK_TCP_FLOWS_MAX / wanted * 2 / 3;
    return (struct uplink_limits){
        .tcp_flows = (unsigned)(have * UPLINK_TCP_FLOWS_MAX / wanted / workers),
        .udp_mappings = (unsigned)(have * UPLINK_UDP_MAPPINGS_MAX / wanted / workers),
        .echo_mappings = (unsigned)(have * UPLINK_ECHO_MAPPINGS_MAX / wanted),
        .forwards = (unsigned)(forwards < UPLINK_FORWARDS_MAX ? forwards : UPLINK_FORWARDS_MAX),
    };
}

int worker_divide(struct worker *worker)
{
    const struct uplink_limits *limits = &worker->config.limits;
    unsigned prefix_len = worker->config.net->prefix_len;
    struct quota *quota = &worker->quota;
    /* A bridged network has no subnet, and nobody whom the uplink serves. */
    int result = quota_init(quota, prefix_len ? 1u << (32 - prefix_len) : 1);

    if (result < 0)
        return result;
    quota_set_table(quota, QUOTA_tcp, limits->tcp_flows);
    quota_set_table(quota, QUOTA_half_open, limits->tcp_flows / UPLINK_FLOWS_A_HALF_OPEN);
    quota_set_table(quota, QUOTA_udp, limits->udp_mappings);
    quota_set_table(quota, QUOTA_echo, limits->echo_mappings);
    /* Without a packet device each takes a descriptor, and no mapping does. */
    quota_set_table(quota, QUOTA_forward_udp,
                    worker->config.tun_fd < 0
                        ? limits->udp_mappings
                        : UPLINK_FORWARD_UDP_FLOWS_MAX / worker->config.workers);
    quota_set_table(quota, QUOTA_buffer, limits->tcp_flows / UPLINK_FLOWS_A_BUFFER);
    quota_set_table(quota, QUOTA_pipe, RELAY_PIPES_MAX / worker->config.workers);
    return 0;
}

unsigned worker_guest_of(const struct worker *worker, const struct ip_addr *addr)
{
    if (addr->family != AF_INET)
        return 0;
    return net_config_guest(worker->config.net, ntohl(addr->v4.s_addr));
}

unsigned worker_sender(const struct worker *worker, const struct wire_packet *packet)
{
    unsigned label = (unsigned)(packet->data[2] << 8 | packet->data[3]);

    if (packet->src.family == AF_INET)
        return worker_guest_of(worker, &packet->src);
    return label < worker->quota.guests_len ? label : 0;
}

void worker_refuse_share(struct worker *worker, enum quota_table table, unsigned guest)
{
    static const char *const names[] = {QUOTA_TABLES(QUOTA_NAME)};
    const struct net_config *net = worker->config.net;
    struct ip_addr addr = ip_from_u32(net_config_subnet(net) | guest);
    char text[IP_TEXT_MAX];

    if (quota_refuse(&worker->quota, table, guest))
        log_warn("%s%s has its share of the table '%s' (%u entries in all): what it asks for "
                 "beyond that takes the place of its own, or waits; vmnet status shows what it has",
                 guest ? "the guest " : "a guest whose port is not known",
                 guest ? ip_format(&addr, text) : "", names[table],
                 worker->quota.shares[table].max);
}

bool worker_take_flow(struct worker *worker, unsigned guest)
{
    unsigned elsewhere = forwarder_count(worker->forwarder) / 2;
    unsigned limit = worker->config.limits.tcp_flows;

    quota_set_max(&worker->quota, QUOTA_tcp, limit > elsewhere ? limit - elsewhere : 0);
    if (quota_take(&worker->quota, QUOTA_tcp, guest))
        return true;
    COUNT(worker->config.counters, drop_quota_tcp);
    worker_refuse_share(worker, QUOTA_tcp, guest);
    return false;
}

void worker_give_flow(struct worker *worker, unsigned guest)
{
    quota_give(&worker->quota, QUOTA_tcp, guest);
}

void worker_add_usage(const struct worker *worker, struct ip_addr guest, struct uplink_usage *usage)
{
    const struct quota_guest *who = &worker->quota.guests[worker_guest_of(worker, &guest)];

    for (int table = 0; table < QUOTA_TABLES_LEN; table++)
        usage->used[table] += atomic_load_explicit(&who->used[table], memory_order_relaxed);
    usage->refused += atomic_load_explicit(&who->refused, memory_order_relaxed);
}
