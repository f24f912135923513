/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an interface is asked to be and what it is, in the framework's dictionaries.
 *
 * The network's addresses are always asked for: chosen here, once, they stay the same and differ from network to
 * network, where the framework's own choice moves. A MAC address is asked for only by leaving it out: the framework has
 * one for each interface id, and lets a guest have its own.
 *
 * Keys that came after macOS 11 are looked for when the program runs (dlsym(3)), so that it starts where there are none.
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include <uuid/uuid.h>
#include <vmnet/vmnet.h>

#include "plane/macos/port.h"

static const uint64_t modes[] = {
    [NET_MODE_SHARED] = VMNET_SHARED_MODE,
    [NET_MODE_HOST] = VMNET_HOST_MODE,
    [NET_MODE_BRIDGED] = VMNET_BRIDGED_MODE,
};

static void set_address(xpc_object_t options, const char *key, const struct ip_addr *addr)
{
    char text[IP_TEXT_MAX];

    xpc_dictionary_set_string(options, key, ip_format(addr, text));
}

static void set_uuid(xpc_object_t options, const char *key, const char *text)
{
    uuid_t uuid;

    if (uuid_parse(text, uuid) == 0)
        xpc_dictionary_set_uuid(options, key, uuid);
}

static void set_addresses(xpc_object_t options, const struct net_config *config)
{
    const struct ip_addr start = ip_from_u32(config->gateway), end = ip_from_u32(config->pool_end),
                         mask = ip_from_u32(ip_mask_u32(config->prefix_len));

    set_address(options, vmnet_start_address_key, &start);
    set_address(options, vmnet_end_address_key, &end);
    set_address(options, vmnet_subnet_mask_key, &mask);
    if (config->mode == NET_MODE_SHARED && config->prefix6.family)
        set_address(options, vmnet_nat66_prefix_key, &config->prefix6);
}

/* A network without DHCP; the framework chooses the host's address of a family that was not asked for. */
static void set_identity(xpc_object_t options, const struct net_config *config)
{
    const struct ip_addr host = ip_from_u32(config->gateway),
                         mask = ip_from_u32(ip_mask_u32(config->prefix_len));

    set_uuid(options, vmnet_network_identifier_key, config->net_uuid);
    if (config->host_asked) {
        set_address(options, vmnet_host_ip_address_key, &host);
        set_address(options, vmnet_host_subnet_mask_key, &mask);
    }
    if (config->host6_asked)
        set_address(options, vmnet_host_ipv6_address_key, &config->gateway6);
}

static void set_network(xpc_object_t options, const struct net_config *config)
{
    xpc_dictionary_set_uint64(options, vmnet_operation_mode_key, modes[config->mode]);
    if (config->mode == NET_MODE_BRIDGED)
        xpc_dictionary_set_string(options, vmnet_shared_interface_name_key, config->ifname);
    else if (config->mtu != NET_MTU_DEFAULT)
        xpc_dictionary_set_uint64(options, vmnet_mtu_key, config->mtu);
    if (config->net_uuid[0])
        set_identity(options, config);
    else if (config->mode != NET_MODE_BRIDGED)
        set_addresses(options, config);
}

void *vmnet_options(const struct net_config *config, const struct plane_port *port)
{
    xpc_object_t options = xpc_dictionary_create(NULL, NULL, 0);

    if (!options)
        return NULL;
    if (config)
        set_network(options, config);
    set_uuid(options, vmnet_interface_id_key, port->interface_id);
    if (port->mac_given)
        xpc_dictionary_set_bool(options, vmnet_allocate_mac_address_key, false);
    if (port->isolated)
        xpc_dictionary_set_bool(options, vmnet_enable_isolation_key, true);
    return options;
}

static void read_address(xpc_object_t params, const char *key, struct ip_addr *ret_addr)
{
    const char *text = xpc_dictionary_get_string(params, key);

    if (!text || ip_parse(text, ret_addr) < 0)
        *ret_addr = (struct ip_addr){0};
}

static unsigned read_packets_max(xpc_object_t params, const char *name)
{
    const char *const *key = dlsym(RTLD_DEFAULT, name);
    uint64_t max = key ? xpc_dictionary_get_uint64(params, *key) : 0;

    /* A system that does not say takes 200. */
    return max == 0 || max > VMNET_BATCH_MAX ? VMNET_BATCH_MAX : (unsigned)max;
}

void vmnet_read_facts(void *params, struct vmnet_facts *ret_facts)
{
    const char *mac = xpc_dictionary_get_string(params, vmnet_mac_address_key);

    *ret_facts = (struct vmnet_facts){
        .mtu = (unsigned)xpc_dictionary_get_uint64(params, vmnet_mtu_key),
        .max_packet_bytes = xpc_dictionary_get_uint64(params, vmnet_max_packet_size_key),
        .read_max = read_packets_max(params, "vmnet_read_max_packets_key"),
        .write_max = read_packets_max(params, "vmnet_write_max_packets_key"),
    };
    ret_facts->has_mac = mac && mac_parse(mac, &ret_facts->mac) == 0;
    read_address(params, vmnet_start_address_key, &ret_facts->start);
    if (!ret_facts->start.family)
        read_address(params, vmnet_host_ip_address_key, &ret_facts->start);
    read_address(params, vmnet_end_address_key, &ret_facts->end);
    read_address(params, vmnet_subnet_mask_key, &ret_facts->mask);
    if (!ret_facts->mask.family)
        read_address(params, vmnet_host_subnet_mask_key, &ret_facts->mask);
    read_address(params, vmnet_nat66_prefix_key, &ret_facts->nat66_prefix);
}
