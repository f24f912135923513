/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Forwards where vmnet.framework is the plane: its own rules, which lead from all of the host's addresses to a guest that sees
 * who calls, and on which no process is on the way. A rule belongs to an interface; here to that of the guest itself.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "daemon/forward_host.h"
#include "daemon/vmnet.h"

struct rule {
    struct list list;
    uint32_t id;
    bool udp;
    struct ip_endpoint outside, guest;
    struct vmnet_port *port; /* that has it; NULL: it leads nowhere now */
};

struct forward_host {
    struct engine *engine;
    struct list rules;
};

int forward_host_new(struct engine *engine, struct forward_host **ret_host)
{
    *ret_host = calloc(1, sizeof(**ret_host));
    if (!*ret_host)
        return -ENOMEM;
    (*ret_host)->engine = engine;
    list_init(&(*ret_host)->rules);
    return 0;
}

static void rule_free(struct rule *rule)
{
    list_remove(&rule->list);
    free(rule);
}

void forward_host_free(struct forward_host *host)
{
    if (!host)
        return;
    while (!list_is_empty(&host->rules))
        rule_free(CONTAINER_OF(host->rules.next, struct rule, list));
    free(host);
}

static struct rule *find(struct forward_host *host, uint32_t id)
{
    for (struct list *node = host->rules.next; node != &host->rules; node = node->next)
        if (CONTAINER_OF(node, struct rule, list)->id == id)
            return CONTAINER_OF(node, struct rule, list);
    return NULL;
}

/* Gives it to the guest's interface, if there is one now. 0 or -errno. */
static int place(struct forward_host *host, struct rule *rule, struct err *err)
{
    struct vmnet_port *port = rule->guest.addr.family == AF_INET
                                  ? vmnet_ports_find(host->engine, &rule->guest.addr)
                                  : NULL;
    int result;

    /* An IPv6 address, or one that the guest chose by itself, is no port's that we know. */
    if (!port && rule->guest.addr.family)
        port = vmnet_ports_find(host->engine, NULL);
    if (!port)
        return 0;
    result = vmnet_rule_add(port, rule->udp, rule->outside.port, &rule->guest, err);
    if (result == 0)
        rule->port = port;
    return result;
}

static void take_away(struct rule *rule)
{
    struct err err;

    if (rule->port && vmnet_rule_remove(rule->port, rule->udp, rule->outside.port,
                                        rule->guest.addr.family, &err) < 0)
        log_warn("a forward of port %u is not gone: %s", rule->outside.port, err.text);
    rule->port = NULL;
}

static void place_later(struct forward_host *host, struct rule *rule)
{
    struct err err;

    if (!rule->port && place(host, rule, &err) < 0)
        log_warn("port %u of the host is not forwarded: %s", rule->outside.port, err.text);
}

static bool is_any(const struct ip_addr *addr)
{
    static const struct ip_addr zero;

    return memcmp(addr->bytes, zero.bytes, ip_len_bytes(addr)) == 0;
}

int forward_host_open(struct forward_host *host, uint32_t id, bool udp,
                      const struct ip_endpoint *address, const struct ip_endpoint *guest,
                      struct err *err)
{
    struct rule *rule;
    char text[IP_TEXT_MAX];
    int result;

    if (host->engine->network.config->mode != NET_MODE_SHARED)
        return err_set(err, -EOPNOTSUPP,
                       "vmnet.framework forwards ports to networks of shared mode alone; the host "
                       "reaches guests of this one at their own addresses");
    if (!is_any(&address->addr))
        return err_set(
            err, -EADDRNOTAVAIL,
            "vmnet.framework forwards from all of the host's addresses, not from %s alone; write "
            "0.0.0.0 for all (this host reaches guests at their own addresses)",
            ip_format(&address->addr, text));
    rule = calloc(1, sizeof(*rule));
    if (!rule)
        return err_set(err, -ENOMEM, "out of memory");
    rule->id = id;
    rule->udp = udp;
    rule->outside = *address;
    rule->guest = *guest;
    list_append(&host->rules, &rule->list);
    result = place(host, rule, err);
    if (result < 0)
        rule_free(rule);
    return result;
}

void forward_host_retarget(struct forward_host *host, uint32_t id, const struct ip_endpoint *guest)
{
    struct rule *rule = find(host, id);

    if (!rule)
        return;
    take_away(rule);
    rule->guest = *guest;
    place_later(host, rule);
}

void forward_host_close(struct forward_host *host, uint32_t id)
{
    struct rule *rule = find(host, id);

    if (!rule)
        return;
    take_away(rule);
    rule_free(rule);
}

void forward_vmnet_up(struct forward_host *host, struct vmnet_port *port)
{
    (void)port;
    for (struct list *node = host->rules.next; node != &host->rules; node = node->next)
        place_later(host, CONTAINER_OF(node, struct rule, list));
}

void forward_vmnet_down(struct forward_host *host, const struct vmnet_port *port)
{
    for (struct list *node = host->rules.next; node != &host->rules; node = node->next) {
        struct rule *rule = CONTAINER_OF(node, struct rule, list);

        if (rule->port != port)
            continue;
        /* The framework takes it along; one for an address that is no port's can be another's. */
        rule->port = NULL;
        place_later(host, rule);
    }
}
