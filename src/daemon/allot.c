/* SPDX-License-Identifier: Apache-2.0 */
/* What a port of a network gets: its name, interface id, MAC and address, by what was asked for, reserved and remembered. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "daemon/network_private.h"

#define NAME_NUMBERS_MAX (PLANE_PORTS_MAX + 1)

/* Fixed: the same text must give the same value on every run, on every machine. */
static const uint64_t id_key[2] = {0x6f70656e766d6e65, 0x7420696e74657266};
static const uint64_t id_key2[2] = {0x6f70656e766d6e65, 0x7420696e74657267};
static const uint64_t mac_key[2] = {0x6f70656e766d6e65, 0x74206d6163206164};

/* ---- reservations */

static bool is_reserved_mac(const struct net_reservation *reservation, const struct mac_addr *mac)
{
    return reservation->mac_given && memcmp(&reservation->mac, mac, sizeof(*mac)) == 0;
}

/* The reservation that a request means, or NULL. */
static const struct net_reservation *find_reservation(const struct network *network,
                                                      const struct network_request *request)
{
    const struct net_file *file = network->config->file;

    for (unsigned i = 0; file && i < file->reservations_len; i++) {
        const struct net_reservation *reservation = &file->reservations[i];

        if ((request->mac && is_reserved_mac(reservation, request->mac)) ||
            (request->interface_id[0] &&
             strcasecmp(reservation->interface_id, request->interface_id) == 0) ||
            (!request->mac && !request->interface_id[0] && request->name[0] &&
             strcasecmp(reservation->name, request->name) == 0))
            return reservation;
    }
    return NULL;
}

static const struct net_reservation *find_reserved_mac(const struct network *network,
                                                       const struct mac_addr *mac)
{
    const struct net_file *file = network->config->file;

    for (unsigned i = 0; file && i < file->reservations_len; i++)
        if (is_reserved_mac(&file->reservations[i], mac))
            return &file->reservations[i];
    return NULL;
}

static const struct net_reservation *find_reserved_address(const struct network *network,
                                                           uint32_t ipv4)
{
    const struct net_file *file = network->config->file;

    for (unsigned i = 0; file && i < file->reservations_len; i++)
        if (file->reservations[i].address.family &&
            ntohl(file->reservations[i].address.v4.s_addr) == ipv4)
            return &file->reservations[i];
    return NULL;
}

/* Refuses a name that is kept for another machine. */
static int check_reserved_name(const struct network *network,
                               const struct net_reservation *reservation, const char *name,
                               struct err *err)
{
    const struct net_file *file = network->config->file;
    char mac[MAC_TEXT_MAX];

    for (unsigned i = 0; file && i < file->reservations_len; i++) {
        const struct net_reservation *other = &file->reservations[i];

        if (other != reservation && strcasecmp(other->name, name) == 0)
            return err_set(err, -EEXIST,
                           "the name '%s' is reserved for %s%s by %s line %u; give this port "
                           "another name (hostname=)",
                           name, other->mac_given ? "MAC " : "interface-id ",
                           other->mac_given ? mac_format(&other->mac, mac) : other->interface_id,
                           file->path, other->line);
    }
    return 0;
}

/* ---- name, id and MAC */

static int choose_name(struct network *network, const char *asked, struct plane_port *port,
                       struct err *err)
{
    struct network_port *owner;
    int result;

    if (asked[0]) {
        result = net_hostname_check(asked, err);
        if (result < 0)
            return result;
        owner = network_by_name(network, asked);
        if (owner)
            return err_set(
                err, -EEXIST,
                "the name '%s' is taken on network '%s' by %s (%s); give this one another "
                "name (hostname=, or QEMU's -name)",
                asked, network->config->name,
                owner->attached ? owner->port.interface : "a port being attached", "a running VM");
        snprintf(port->name, sizeof(port->name), "%s", asked);
        return 0;
    }
    for (unsigned number = 1; number <= NAME_NUMBERS_MAX; number++) {
        snprintf(port->name, sizeof(port->name), "vm%u", number);
        if (!network_by_name(network, port->name))
            return 0;
    }
    return err_set(err, -ENOSPC, "network '%s' has no room for more ports", network->config->name);
}

/* A UUID of version 8 (RFC 9562 5.8) made of the names. */
static void derive_id(const struct network *network, struct plane_port *port)
{
    char text[NET_NAME_MAX + NET_HOSTNAME_MAX + 4];
    int len = snprintf(text, sizeof(text), "%s/%s", network->config->name, port->name);
    uint64_t high = hash_bytes(id_key, text, (size_t)len);
    uint64_t low = hash_bytes(id_key2, text, (size_t)len);

    snprintf(port->interface_id, sizeof(port->interface_id), "%08x-%04x-8%03x-%04x-%012llx",
             (unsigned)(high >> 32), (unsigned)(high >> 16) & 0xffff, (unsigned)high & 0xfff,
             ((unsigned)(low >> 48) & 0x3fff) | 0x8000,
             (unsigned long long)(low & 0xffffffffffffULL));
}

static int choose_id(struct network *network, const char *asked, struct plane_port *port,
                     struct err *err)
{
    int result;

    if (!asked[0]) {
        derive_id(network, port);
        return 0;
    }
    result = net_uuid_check(asked, err);
    if (result < 0)
        return result;
    for (struct list *node = network->ports.next; node != &network->ports; node = node->next) {
        struct network_port *owner = CONTAINER_OF(node, struct network_port, list);

        if (strcasecmp(owner->port.interface_id, asked) == 0)
            return err_set(err, -EEXIST,
                           "interface-id %s is in use by '%s' on network '%s'; '%s' needs another",
                           asked, owner->port.name, network->config->name, port->name);
    }
    snprintf(port->interface_id, sizeof(port->interface_id), "%s", asked);
    return 0;
}

static int choose_mac(struct network *network, const struct mac_addr *asked,
                      struct plane_port *port, struct err *err)
{
    struct network_port *owner;
    char mac[MAC_TEXT_MAX];
    uint64_t hash;

    if (asked) {
        port->mac = *asked;
    } else {
        hash = hash_bytes(mac_key, port->interface_id, strlen(port->interface_id));
        /* Locally administered, unicast; beside QEMU's own 52:54:00. */
        port->mac = (struct mac_addr){{0x52, 0x56, (uint8_t)(hash >> 24), (uint8_t)(hash >> 16),
                                       (uint8_t)(hash >> 8), (uint8_t)hash}};
    }
    if ((port->mac.bytes[0] & 1) || mac_is_zero(&port->mac))
        return err_set(err, -EINVAL, "MAC %s: must be the address of one interface, not %s",
                       mac_format(&port->mac, mac),
                       port->mac.bytes[0] & 1 ? "of a group (its first byte is odd)" : "zero");
    owner = network_by_mac(network, &port->mac);
    if (owner || memcmp(&port->mac, &network->config->mac, sizeof(port->mac)) == 0)
        return err_set(
            err, -EEXIST, "MAC %s is in use by %s%s%s on network '%s'; '%s' needs another",
            mac_format(&port->mac, mac), owner ? "'" : "the gateway", owner ? owner->port.name : "",
            owner ? "'" : "", network->config->name, port->name);
    return 0;
}

/* ---- address */

static bool is_attached(struct network *network, uint32_t ipv4)
{
    return network_by_ipv4(network, ipv4) != NULL;
}

static struct network_lease *find_lease(struct network *network, const struct mac_addr *mac)
{
    for (unsigned i = 0; i < network->leases_len; i++)
        if (memcmp(&network->leases[i].mac, mac, sizeof(*mac)) == 0)
            return &network->leases[i];
    return NULL;
}

static bool is_leased(const struct network *network, uint32_t ipv4)
{
    for (unsigned i = 0; i < network->leases_len; i++)
        if (network->leases[i].ipv4 == ipv4)
            return true;
    return false;
}

/* A lease for a new MAC: of an address that nobody ever had, else of the one unused the longest. */
static struct network_lease *new_lease(struct network *network)
{
    const struct net_config *config = network->config;
    struct network_lease *oldest = NULL;

    if (network->leases_len < NETWORK_LEASES_MAX) {
        for (uint32_t ipv4 = config->range_start; ipv4 <= config->range_end; ipv4++) {
            if (is_leased(network, ipv4) || is_attached(network, ipv4) ||
                find_reserved_address(network, ipv4))
                continue;
            network->leases[network->leases_len].ipv4 = ipv4;
            return &network->leases[network->leases_len++];
        }
    }
    for (unsigned i = 0; i < network->leases_len; i++)
        if (!is_attached(network, network->leases[i].ipv4) &&
            !find_reserved_address(network, network->leases[i].ipv4) &&
            (!oldest || network->leases[i].used < oldest->used))
            oldest = &network->leases[i];
    return oldest;
}

static int take_reserved_address(struct network *network, const struct net_reservation *reservation,
                                 struct plane_port *port, struct err *err)
{
    uint32_t ipv4 = ntohl(reservation->address.v4.s_addr);
    const struct network_port *owner = network_by_ipv4(network, ipv4);
    char text[IP_TEXT_MAX], mac[MAC_TEXT_MAX];

    if (owner)
        return err_set(err, -EEXIST,
                       "address %s, which is reserved for '%s', is in use by '%s' on network "
                       "'%s'; end that one first",
                       ip_format(&reservation->address, text),
                       reservation->name[0] ? reservation->name
                                            : mac_format(&reservation->mac, mac),
                       owner->port.name, network->config->name);
    port->ipv4 = ipv4;
    return 0;
}

static int choose_address(struct network *network, const struct net_reservation *reservation,
                          struct plane_port *port, struct err *err)
{
    const struct net_config *config = network->config;
    char first[IP_TEXT_MAX], last[IP_TEXT_MAX];
    struct network_lease *lease = find_lease(network, &port->mac);

    /* Where the request did not name the MAC address, it may be the one all the same. */
    if (!reservation)
        reservation = find_reserved_mac(network, &port->mac);
    if (reservation && reservation->address.family)
        return take_reserved_address(network, reservation, port, err);
    if (lease && find_reserved_address(network, lease->ipv4))
        lease = NULL;
    if (!lease || is_attached(network, lease->ipv4))
        lease = new_lease(network);
    if (!lease) {
        struct ip_addr start = ip_from_u32(config->range_start),
                       end = ip_from_u32(config->range_end);

        return err_set(
            err, -ENOSPC,
            "network '%s': the address pool %s to %s is used up (%u ports attached); end "
            "a VM, or use a network with a larger pool (start-address=, end-address=, "
            "subnet-mask=)",
            config->name, ip_format(&start, first), ip_format(&end, last), network->ports_len);
    }
    lease->mac = port->mac;
    lease->used = ++network->uses;
    port->ipv4 = lease->ipv4;
    return 0;
}

/* ---- a port */

/* What one user has of a network that others use, too. */
static int check_quota(const struct network *network, uid_t uid, struct err *err)
{
    const struct net_config *config = network->config;
    unsigned used = 0;

    if (!config->system || !config->file || uid == 0)
        return 0;
    for (const struct list *node = network->ports.next; node != &network->ports; node = node->next)
        used += CONTAINER_OF(node, struct network_port, list)->port.owner_uid == uid;
    if (used < config->file->access.user_ports)
        return 0;
    return err_set(err, -EDQUOT,
                   "uid %u has %u ports, and may have %u; end one of its VMs, or an administrator "
                   "sets user-ports in %s",
                   uid, used, config->file->access.user_ports, config->file->path);
}

int network_allot(struct network *network, const struct network_request *request,
                  struct network_port **ret_port, struct err *err)
{
    const struct net_reservation *reservation = find_reservation(network, request);
    struct plane_port port = {
        .kind = (uint8_t)request->kind,
        .isolated = request->isolated,
        .anti_spoof = !request->anti_spoof_off,
        .arriving = request->arriving,
        .owner_pid = request->owner_pid,
        .owner_uid = (uint32_t)request->owner_uid,
    };
    const char *name = !request->name[0] && reservation ? reservation->name : request->name;
    const char *id = !request->interface_id[0] && reservation ? reservation->interface_id
                                                              : request->interface_id;
    const struct mac_addr *mac =
        !request->mac && reservation && reservation->mac_given ? &reservation->mac : request->mac;
    int result = check_quota(network, request->owner_uid, err);

    if (result == 0)
        result = choose_name(network, name, &port, err);
    if (result == 0)
        result = check_reserved_name(network, reservation, port.name, err);
    if (result == 0)
        result = choose_id(network, id, &port, err);
    port.mac_given = mac != NULL;
    if (result == 0 && !request->learn_mac)
        result = choose_mac(network, mac, &port, err);
    if (result == 0 && !request->learn_mac && !network->config->system_dhcp)
        result = choose_address(network, reservation, &port, err);
    if (result < 0)
        return result;
    *ret_port = network_append(network, &port);
    if (!*ret_port)
        return err_set(err, -ENOMEM, "out of memory");
    return 0;
}

int network_learn(struct network *network, struct network_port *port, const struct mac_addr *mac,
                  struct err *err)
{
    const struct net_reservation *reservation = find_reserved_mac(network, mac);
    struct plane_port learned = port->port;
    int result;

    /* The machine itself has chosen it: not that of a device, such as the router of the physical network. */
    if (network->config->mode == NET_MODE_BRIDGED && !(mac->bytes[0] & 2))
        return err_set(
            err, -EPERM,
            "a MAC that is learnt on a bridged network is a locally administered one: give "
            "the machine such a one (52:54:00:…), or attach it with its MAC (mac=)");
    result = choose_mac(network, mac, &learned, err);
    learned.mac_given = true;
    if (result == 0 && reservation && reservation->name[0] &&
        !network_by_name(network, reservation->name))
        snprintf(learned.name, sizeof(learned.name), "%s", reservation->name);
    if (result == 0 && !network->config->system_dhcp)
        result = choose_address(network, reservation, &learned, err);
    if (result == 0)
        port->port = learned;
    return result;
}

void network_unlearn(struct network_port *port)
{
    port->port.mac = (struct mac_addr){{0}};
    port->port.mac_given = false;
    port->port.ipv4 = 0;
}
