/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/forwards.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/paths.h"
#include "daemon/forward_host.h"
#include "daemon/run_dir.h"

#define UNPRIVILEGED_PORT 1024

struct forward {
    struct list list;
    struct forward_spec spec;
    const struct network_port *owner; /* NULL: none */
    bool of_file;
    uint32_t first_id; /* of spec.ports ids of the host */
    struct ip_endpoint target;
    char error[200]; /* why it is not open; "" where it is */
};

struct forwards {
    struct network *network;
    struct forward_host *host;
    struct list list;
    unsigned ports, ports_max;
    uint32_t next_id;
    bool told_unsaved;
};

struct forwards *forwards_new(struct network *network, struct forward_host *host,
                              unsigned ports_max)
{
    struct forwards *forwards = calloc(1, sizeof(*forwards));

    if (!forwards)
        return NULL;
    *forwards =
        (struct forwards){.network = network, .host = host, .ports_max = ports_max, .next_id = 1};
    list_init(&forwards->list);
    return forwards;
}

void forwards_free(struct forwards *forwards)
{
    if (!forwards)
        return;
    while (!list_is_empty(&forwards->list)) {
        struct forward *forward = CONTAINER_OF(forwards->list.next, struct forward, list);

        list_remove(&forward->list);
        free(forward);
    }
    free(forwards);
}

/* Where connections are to go now; family 0: nobody is there. */
static struct ip_endpoint find_target(struct forwards *forwards, const struct forward *forward)
{
    struct ip_endpoint target = {.port = forward->spec.guest_port};
    struct network *network = forwards->network;
    const struct network_port *port = forward->spec.guest_name[0]
                                          ? network_find_name(network, forward->spec.guest_name)
                                          : forward->owner;

    if (forward->spec.guest_addr.family) {
        bool is_elsewhere = forward->spec.guest_addr.family == AF_INET &&
                            network->config->on[NET_DHCP] && !network->config->system_dhcp &&
                            !network_find_ipv4(network, ntohl(forward->spec.guest_addr.v4.s_addr));

        if (!is_elsewhere)
            target.addr = forward->spec.guest_addr;
        return target;
    }
    if (port && port->attached && port->port.ipv4)
        target.addr = ip_from_u32(port->port.ipv4);
    return target;
}

static struct ip_endpoint nth(const struct ip_endpoint *first, unsigned n)
{
    return (struct ip_endpoint){.addr = first->addr, .port = (uint16_t)(first->port + n)};
}

static void close_ports(struct forwards *forwards, const struct forward *forward, unsigned ports)
{
    for (unsigned i = 0; i < ports; i++)
        forward_host_close(forwards->host, forward->first_id + i);
    forwards->ports -= ports;
}

static int open_port(struct forwards *forwards, struct forward *forward, unsigned i,
                     struct err *err)
{
    const struct ip_endpoint host = nth(&forward->spec.host, i), guest = nth(&forward->target, i);

    return forward_host_open(forwards->host, forward->first_id + i, forward->spec.udp, &host,
                             &guest, err);
}

static int open_ports(struct forwards *forwards, struct forward *forward, struct err *err)
{
    int result = 0;

    if (forwards->ports + forward->spec.ports > forwards->ports_max)
        return err_set(err, -ENOSPC, "%u ports are forwarded already, and %u are possible",
                       forwards->ports, forwards->ports_max);
    forward->first_id = forwards->next_id;
    forwards->next_id += forward->spec.ports;
    forward->target = find_target(forwards, forward);
    for (unsigned i = 0; i < forward->spec.ports; i++) {
        result = open_port(forwards, forward, i, err);
        if (result < 0) {
            forwards->ports += i;
            close_ports(forwards, forward, i);
            return result;
        }
    }
    forwards->ports += forward->spec.ports;
    return 0;
}

/* @gone: a port that is about to go; or NULL. */
static void retarget(struct forwards *forwards, struct forward *forward,
                     const struct network_port *gone)
{
    struct ip_addr going = gone ? ip_from_u32(gone->port.ipv4) : (struct ip_addr){0};
    struct ip_endpoint target = find_target(forwards, forward);

    /* An address that the guest chose by itself is not the port's. */
    if (gone && (!forward->spec.guest_addr.family || forwards->network->config->on[NET_DHCP]) &&
        ip_equal(&target.addr, &going))
        target.addr = (struct ip_addr){0};
    if (ip_equal(&target.addr, &forward->target.addr))
        return;
    forward->target = target;
    if (forward->error[0])
        return;
    for (unsigned i = 0; i < forward->spec.ports; i++) {
        struct ip_endpoint guest = nth(&target, i);

        forward_host_retarget(forwards->host, forward->first_id + i, &guest);
    }
}

static bool overlaps(const struct forward_spec *a, const struct forward_spec *b)
{
    return a->udp == b->udp && ip_equal(&a->host.addr, &b->host.addr) &&
           a->host.port < b->host.port + b->ports && b->host.port < a->host.port + a->ports;
}

/* Refuses what this network knows cannot work. */
static int check(struct forwards *forwards, const struct forward_spec *spec,
                 const struct network_port *owner, struct err *err)
{
    const struct net_config *config = forwards->network->config;
    char text[FORWARD_TEXT_MAX], address[IP_TEXT_MAX];

    if (!owner && !spec->guest_addr.family && !spec->guest_name[0])
        return err_set(err, -EINVAL,
                       "forward '%s' names no guest; write one behind the hyphen, such as "
                       "tcp::2222-web:22",
                       forward_format(spec, text));
    if (spec->guest_addr.family && !net_config_contains(config, &spec->guest_addr))
        return err_set(
            err, -EINVAL, "forward '%s': %s is not an address of network '%s'; see vmnet status",
            forward_format(spec, text), ip_format(&spec->guest_addr, address), config->name);
    for (struct list *node = forwards->list.next; node != &forwards->list; node = node->next) {
        const struct forward *other = CONTAINER_OF(node, struct forward, list);

        if (!other->error[0] && overlaps(&other->spec, spec))
            return err_set(err, -EADDRINUSE, "port %u of the host is taken by forward '%s'%s%s",
                           spec->host.port > other->spec.host.port ? spec->host.port
                                                                   : other->spec.host.port,
                           forward_format(&other->spec, text), other->owner ? " of " : "",
                           other->owner ? other->owner->port.name : "");
    }
    return 0;
}

static void save(struct forwards *forwards)
{
    char path[NET_PATH_MAX + 16], text[FORWARD_TEXT_MAX];
    json_t *root = json_array();
    char *json;
    int result;

    for (struct list *node = forwards->list.next; node != &forwards->list; node = node->next) {
        const struct forward *forward = CONTAINER_OF(node, struct forward, list);

        /* A port that has no interface yet, and its forwards, would not be found again. */
        if (!forward->of_file && (!forward->owner || forward->owner->attached))
            json_array_append_new(
                root, json_pack("{s:s, s:s}", "forward", forward_format(&forward->spec, text),
                                "interface", forward->owner ? forward->owner->port.interface : ""));
    }
    json = json_dumps(root, JSON_COMPACT);
    snprintf(path, sizeof(path), "%s/" RUN_DIR_FORWARDS, forwards->network->config->run_dir);
    result = json ? path_write_file(path, json, strlen(json), 0600, false) : -ENOMEM;
    if (result < 0 && !forwards->told_unsaved)
        log_warn("%s: %s; forwards will not outlive a restart of the engine", path,
                 strerror(-result));
    forwards->told_unsaved = result < 0;
    free(json);
    json_decref(root);
}

/* What an ordinary user may have of a network that is not theirs. */
static int check_user(const struct forwards *forwards, const struct forward_spec *spec,
                      const struct network_port *owner, struct err *err)
{
    const struct net_config *config = forwards->network->config;
    unsigned used = 0;

    if (!config->system || !config->file || owner->port.owner_uid == 0)
        return 0;
    if (spec->guest_addr.family || spec->guest_name[0])
        return err_set(err, -EACCES,
                       "forward to '%s': on a network of the system a port's forwards lead to that "
                       "port; leave the guest out, as in tcp::2222-:22",
                       spec->guest_name[0] ? spec->guest_name : "an address");
    if (spec->host.port < UNPRIVILEGED_PORT)
        return err_set(
            err, -EACCES,
            "host port %u: ports below %u are root's; write another, or an administrator "
            "writes the forward into %s",
            spec->host.port, UNPRIVILEGED_PORT, config->file->path);
    for (const struct list *node = forwards->list.next; node != &forwards->list;
         node = node->next) {
        const struct forward *forward = CONTAINER_OF(node, struct forward, list);

        if (forward->owner && forward->owner->port.owner_uid == owner->port.owner_uid)
            used += forward->spec.ports;
    }
    if (used + spec->ports <= config->file->access.user_forwards)
        return 0;
    return err_set(err, -EDQUOT,
                   "uid %u has %u host ports forwarded, and may have %u; an administrator sets "
                   "user-forwards in %s",
                   owner->port.owner_uid, used, config->file->access.user_forwards,
                   config->file->path);
}

/* Adds without writing it down. With @of_file it stays although it cannot be opened. */
static int add(struct forwards *forwards, const struct forward_spec *spec,
               const struct network_port *owner, bool of_file, struct err *err)
{
    struct forward *forward = calloc(1, sizeof(*forward));
    int result = forward ? check(forwards, spec, owner, err) : -ENOMEM;

    if (result == 0 && owner)
        result = check_user(forwards, spec, owner, err);
    if (!forward)
        return err_set(err, -ENOMEM, "out of memory");
    forward->spec = *spec;
    forward->owner = owner;
    forward->of_file = of_file;
    if (result == 0)
        result = open_ports(forwards, forward, err);
    if (result < 0 && !of_file) {
        free(forward);
        return result;
    }
    if (result < 0)
        snprintf(forward->error, sizeof(forward->error), "%.199s", err->text);
    list_append(&forwards->list, &forward->list);
    return result;
}

int forwards_add(struct forwards *forwards, const struct forward_spec *spec,
                 const struct network_port *owner, struct err *err)
{
    int result = add(forwards, spec, owner, false, err);

    /* A new port's are written when it has its interface, by forwards_port_attached(). */
    if (result == 0 && (!owner || owner->attached))
        save(forwards);
    return result;
}

static void drop(struct forwards *forwards, struct forward *forward)
{
    if (!forward->error[0])
        close_ports(forwards, forward, forward->spec.ports);
    list_remove(&forward->list);
    free(forward);
}

static int find(struct forwards *forwards, const char *text, struct forward **ret_forward,
                struct err *err)
{
    char host_only[FORWARD_TEXT_MAX + 8];
    char listed[FORWARD_TEXT_MAX], asked[FORWARD_TEXT_MAX] = "";
    struct forward_spec spec;

    /* The part of the host alone is a forward whose rest does not matter. */
    snprintf(host_only, sizeof(host_only), "%.180s-:1", text);
    if (forward_parse(text, &spec, err) == 0)
        forward_format(&spec, asked);
    else if (forward_parse(host_only, &spec, NULL) < 0)
        return -EINVAL;
    for (struct list *node = forwards->list.next; node != &forwards->list; node = node->next) {
        struct forward *forward = CONTAINER_OF(node, struct forward, list);

        if (forward->spec.udp != spec.udp || forward->spec.host.port != spec.host.port ||
            !ip_equal(&forward->spec.host.addr, &spec.host.addr) ||
            (asked[0] && strcmp(asked, forward_format(&forward->spec, listed)) != 0))
            continue;
        *ret_forward = forward;
        return 0;
    }
    return err_set(err, -ENOENT,
                   "no forward '%.100s' on network '%s'; vmnet forward %s ls lists them", text,
                   forwards->network->config->name, forwards->network->config->name);
}

int forwards_find(struct forwards *forwards, const char *text,
                  const struct network_port **ret_owner, struct err *err)
{
    struct forward *forward;
    int result = find(forwards, text, &forward, err);

    if (result == 0)
        *ret_owner = forward->owner;
    return result;
}

int forwards_remove(struct forwards *forwards, const char *text, struct err *err)
{
    struct forward *forward;
    int result = find(forwards, text, &forward, err);

    if (result < 0)
        return result;
    drop(forwards, forward);
    save(forwards);
    return 0;
}

void forwards_restore(struct forwards *forwards)
{
    const struct net_config *config = forwards->network->config;
    char path[NET_PATH_MAX + 16];
    json_t *root, *entry;
    struct err err;
    size_t i;

    for (unsigned n = 0; config->file && n < config->file->forwards_len; n++)
        if (add(forwards, &config->file->forwards[n], NULL, true, &err) < 0)
            log_warn("%s: %s", config->file->path, err.text);
    snprintf(path, sizeof(path), "%s/" RUN_DIR_FORWARDS, config->run_dir);
    root = json_load_file(path, 0, NULL);
    json_array_foreach(root, i, entry)
    {
        const char *text = json_string_value(json_object_get(entry, "forward"));
        const char *interface = json_string_value(json_object_get(entry, "interface"));
        const struct network_port *owner =
            interface && *interface ? network_find(forwards->network, interface) : NULL;
        struct forward_spec spec;

        if (!text || !interface || (*interface && !owner))
            continue; /* its port went meanwhile */
        if (forward_parse(text, &spec, &err) < 0 || add(forwards, &spec, owner, false, &err) < 0)
            log_warn("forward %s could not be opened again: %s", text, err.text);
    }
    json_decref(root);
}

void forwards_port_attached(struct forwards *forwards)
{
    bool owned = false;

    for (struct list *node = forwards->list.next; node != &forwards->list; node = node->next) {
        struct forward *forward = CONTAINER_OF(node, struct forward, list);

        owned = owned || forward->owner;
        retarget(forwards, forward, NULL);
    }
    if (owned)
        save(forwards);
}

void forwards_port_gone(struct forwards *forwards, const struct network_port *port)
{
    bool dropped = false;

    for (struct list *node = forwards->list.next, *next; node != &forwards->list; node = next) {
        struct forward *forward = CONTAINER_OF(node, struct forward, list);

        next = node->next;
        if (forward->owner == port) {
            drop(forwards, forward);
            dropped = true;
        } else {
            retarget(forwards, forward, port);
        }
    }
    if (dropped)
        save(forwards);
}

static json_t *describe(const struct forward *forward)
{
    char text[FORWARD_TEXT_MAX], address[IP_TEXT_MAX];
    const struct ip_addr *guest = &forward->target.addr;

    return json_pack("{s:s, s:o, s:o, s:o}", "forward", forward_format(&forward->spec, text),
                     "guest", guest->family ? json_string(ip_format(guest, address)) : json_null(),
                     "interface",
                     forward->owner ? json_string(forward->owner->port.interface) : json_null(),
                     "error", forward->error[0] ? json_string(forward->error) : json_null());
}

json_t *forwards_describe(const struct forwards *forwards)
{
    json_t *array = json_array();

    for (struct list *node = forwards->list.next; node != &forwards->list; node = node->next)
        json_array_append_new(array, describe(CONTAINER_OF(node, struct forward, list)));
    return array;
}

json_t *forwards_describe_last(const struct forwards *forwards)
{
    return describe(CONTAINER_OF(forwards->list.prev, struct forward, list));
}
