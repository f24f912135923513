/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/network.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/paths.h"
#include "daemon/network_private.h"

static int leases_path(const struct network *network, char path[NET_PATH_MAX + 16])
{
    return snprintf(path, NET_PATH_MAX + 16, "%s/leases.json", network->config->state_dir);
}

static bool in_range(const struct net_config *config, uint32_t ipv4)
{
    return ipv4 >= config->range_start && ipv4 <= config->range_end;
}

static void load_lease(struct network *network, const json_t *entry)
{
    struct network_lease lease;
    struct ip_addr addr;
    const char *mac, *ipv4;

    if (json_unpack((json_t *)entry, "{s:s, s:s}", "mac", &mac, "ipv4", &ipv4) < 0 ||
        mac_parse(mac, &lease.mac) < 0 || ip_parse(ipv4, &addr) < 0 || addr.family != AF_INET)
        return;
    lease.ipv4 = ntohl(addr.v4.s_addr);
    lease.used = ++network->uses;
    if (in_range(network->config, lease.ipv4) && network->leases_len < NETWORK_LEASES_MAX)
        network->leases[network->leases_len++] = lease;
}

void network_init(struct network *network, const struct net_config *config)
{
    char path[NET_PATH_MAX + 16];
    json_error_t error;
    json_t *root, *entry;
    size_t i;

    *network = (struct network){.config = config, .mtu = config->mtu};
    list_init(&network->ports);
    if (!config->state_dir[0])
        return;
    leases_path(network, path);
    root = json_load_file(path, 0, &error);
    if (!root && json_error_code(&error) != json_error_cannot_open_file)
        log_warn("%s: line %d: %s; the addresses in it are forgotten", path, error.line,
                 error.text);
    json_array_foreach(root, i, entry) load_lease(network, entry);
    json_decref(root);
}

void network_done(struct network *network)
{
    while (!list_is_empty(&network->ports))
        network_remove(network, CONTAINER_OF(network->ports.next, struct network_port, list));
}

static int compare_used(const void *a, const void *b)
{
    const struct network_lease *first = a, *second = b;

    return first->used < second->used ? -1 : first->used > second->used;
}

/* The file is in the order of use, the longest unused first. */
void network_save(struct network *network)
{
    char path[NET_PATH_MAX + 16], mac[MAC_TEXT_MAX], ipv4[IP_TEXT_MAX];
    json_t *root;
    char *text;
    int result;

    if (!network->config->state_dir[0])
        return;
    qsort(network->leases, network->leases_len, sizeof(network->leases[0]), compare_used);
    root = json_array();
    for (unsigned i = 0; i < network->leases_len; i++) {
        struct ip_addr addr = ip_from_u32(network->leases[i].ipv4);

        json_array_append_new(root, json_pack("{s:s, s:s}", "mac",
                                              mac_format(&network->leases[i].mac, mac), "ipv4",
                                              ip_format(&addr, ipv4)));
    }
    text = json_dumps(root, JSON_INDENT(1));
    leases_path(network, path);
    result = text ? path_write_file(path, text, strlen(text), 0600, true) : -ENOMEM;
    if (result < 0 && !network->told_unsaved)
        log_warn("%s: %s; the network works, but its addresses may change the next time", path,
                 strerror(-result));
    network->told_unsaved = result < 0;
    free(text);
    json_decref(root);
}

struct network_port *network_by_name(struct network *network, const char *name)
{
    for (struct list *node = network->ports.next; node != &network->ports; node = node->next) {
        struct network_port *port = CONTAINER_OF(node, struct network_port, list);

        if (strcasecmp(port->port.name, name) == 0)
            return port;
    }
    return NULL;
}

struct network_port *network_find(struct network *network, const char *interface)
{
    for (struct list *node = network->ports.next; node != &network->ports; node = node->next) {
        struct network_port *port = CONTAINER_OF(node, struct network_port, list);

        if (port->attached && strcmp(port->port.interface, interface) == 0)
            return port;
    }
    return NULL;
}

struct network_port *network_by_mac(struct network *network, const struct mac_addr *mac)
{
    for (struct list *node = network->ports.next; node != &network->ports; node = node->next) {
        struct network_port *port = CONTAINER_OF(node, struct network_port, list);

        if (memcmp(&port->port.mac, mac, sizeof(*mac)) == 0)
            return port;
    }
    return NULL;
}

struct network_port *network_by_ipv4(struct network *network, uint32_t ipv4)
{
    for (struct list *node = network->ports.next; node != &network->ports; node = node->next) {
        struct network_port *port = CONTAINER_OF(node, struct network_port, list);

        if (port->port.ipv4 == ipv4)
            return port;
    }
    return NULL;
}

struct network_port *network_find_ipv4(struct network *network, uint32_t ipv4)
{
    struct network_port *port = network_by_ipv4(network, ipv4);

    return port && port->attached ? port : NULL;
}

struct network_port *network_find_name(struct network *network, const char *name)
{
    char label[NET_HOSTNAME_MAX + 1];
    size_t len = strcspn(name, ".");
    struct network_port *port;

    if (len >= sizeof(label) ||
        (name[len] && strcasecmp(name + len + 1, network->config->domain) != 0))
        return NULL;
    memcpy(label, name, len);
    label[len] = '\0';
    port = network_by_name(network, label);
    return port && port->attached ? port : NULL;
}

struct network_port *network_append(struct network *network, const struct plane_port *port)
{
    struct network_port *added = calloc(1, sizeof(*added));

    if (!added)
        return NULL;
    added->port = *port;
    list_append(&network->ports, &added->list);
    network->ports_len++;
    return added;
}

void network_adopt(struct network *network, const struct plane_port *port)
{
    struct network_port *known = network_find(network, port->interface);

    if (!known)
        known = network_append(network, port);
    if (known)
        known->attached = known->seen = true;
}

void network_remove(struct network *network, struct network_port *port)
{
    list_remove(&port->list);
    network->ports_len--;
    free(port);
}
