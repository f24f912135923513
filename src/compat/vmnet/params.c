/* SPDX-License-Identifier: Apache-2.0 */
/* What the start's completion is told: the port's facts, by vmnet's keys and types. */
#include <arpa/inet.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compat/vmnet/interface.h"

static void set_uuid(xpc_object_t params, const char *key, const char *text)
{
    uint8_t uuid[16];

    if (text && uuid_parse_text(text, uuid))
        xpc_dictionary_set_uuid(params, key, uuid);
}

/* @address "192.168.64.2/24": the mask. */
static void format_mask(const char *address, char ret_text[INET_ADDRSTRLEN])
{
    const char *slash = strchr(address, '/');
    int prefix_len = slash ? atoi(slash + 1) : 0;
    struct in_addr mask = {prefix_len ? htonl(UINT32_MAX << (32 - prefix_len)) : 0};

    inet_ntop(AF_INET, &mask, ret_text, INET_ADDRSTRLEN);
}

/* The last address is what only the network knows. */
static void set_end(xpc_object_t params, const char *network)
{
    char *status = openvmnet_status(network, NULL);
    json_t *root = status ? json_loads(status, 0, NULL) : NULL;
    const json_t *of_network = json_object_get(root, "network");

    xpc_dictionary_set_string(params, vmnet_end_address_key,
                              json_string_value(json_object_get(of_network, "poolEnd")));
    json_decref(root);
    free(status);
}

static void set_addresses(xpc_object_t params, const struct interface *interface)
{
    const char *gateway = openvmnet_port_get(interface->port, "gateway");
    const char *gateway6 = openvmnet_port_get(interface->port, "gateway6");
    const char *identifier = options_find(&interface->options, "net-uuid");
    char mask[INET_ADDRSTRLEN], prefix[64];

    format_mask(openvmnet_port_get(interface->port, "ipv4"), mask);
    if (identifier) {
        set_uuid(params, vmnet_network_identifier_key, identifier);
        xpc_dictionary_set_string(params, vmnet_host_ip_address_key, gateway);
        xpc_dictionary_set_string(params, vmnet_host_subnet_mask_key, mask);
        xpc_dictionary_set_string(params, vmnet_host_ipv6_address_key,
                                  gateway6[0] ? gateway6 : NULL);
        return;
    }
    xpc_dictionary_set_string(params, vmnet_start_address_key, gateway);
    xpc_dictionary_set_string(params, vmnet_subnet_mask_key, mask);
    set_end(params, openvmnet_port_get(interface->port, "network"));
    snprintf(prefix, sizeof(prefix), "%s", openvmnet_port_get(interface->port, "ipv6-prefix"));
    prefix[strcspn(prefix, "/")] = '\0';
    if (interface->wishes.mode == VMNET_SHARED_MODE && prefix[0])
        xpc_dictionary_set_string(params, vmnet_nat66_prefix_key, prefix);
}

xpc_object_t params_create(const struct interface *interface)
{
    xpc_object_t params = xpc_dictionary_create_empty();

    if (interface->wishes.allocate_mac)
        xpc_dictionary_set_string(params, vmnet_mac_address_key,
                                  openvmnet_port_get(interface->port, "mac"));
    set_uuid(params, vmnet_interface_id_key, openvmnet_port_get(interface->port, "interface-id"));
    xpc_dictionary_set_uint64(params, vmnet_mtu_key, interface->mtu);
    xpc_dictionary_set_uint64(params, vmnet_max_packet_size_key, interface->max_packet_bytes);
    xpc_dictionary_set_uint64(params, vmnet_read_max_packets_key, PACKETS_MAX);
    xpc_dictionary_set_uint64(params, vmnet_write_max_packets_key, PACKETS_MAX);
    if (interface->wishes.mode != VMNET_BRIDGED_MODE) /* whose addresses are the LAN's */
        set_addresses(params, interface);
    return params;
}
