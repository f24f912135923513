/* SPDX-License-Identifier: Apache-2.0 */
/* What a network is to be (macOS 26): values are checked one by one here, and together by network.c. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "compat/vmnet/interface.h"
#include "compat/vmnet/network.h"

static void configuration_free(void *object)
{
    struct vmnet_network_configuration *configuration = object;

    free(configuration->rules);
    free(configuration);
}

vmnet_network_configuration_ref vmnet_network_configuration_create(vmnet_mode_t mode,
                                                                   vmnet_return_t *status)
{
    struct vmnet_network_configuration *configuration;

    if (mode != VMNET_HOST_MODE && mode != VMNET_SHARED_MODE) {
        set_status(status, hint(__func__, VMNET_INVALID_ARGUMENT,
                                "mode %u is neither host nor shared mode", mode));
        return NULL;
    }
    configuration = calloc(1, sizeof(*configuration));
    set_status(status, configuration ? VMNET_SUCCESS : VMNET_MEM_FAILURE);
    if (configuration) {
        configuration->object = (struct object){1, configuration_free};
        configuration->mode = mode;
    }
    return configuration;
}

static void want(struct vmnet_network_configuration *configuration, enum wanted what)
{
    if (configuration)
        configuration->wanted |= what;
}

void vmnet_network_configuration_disable_nat44(vmnet_network_configuration_ref configuration)
{
    want(configuration, NO_NAT44);
}

void vmnet_network_configuration_disable_nat66(vmnet_network_configuration_ref configuration)
{
    want(configuration, NO_NAT66);
}

void vmnet_network_configuration_disable_dhcp(vmnet_network_configuration_ref configuration)
{
    want(configuration, NO_DHCP);
}

void vmnet_network_configuration_disable_dns_proxy(vmnet_network_configuration_ref configuration)
{
    want(configuration, NO_DNS);
}

void vmnet_network_configuration_disable_router_advertisement(
    vmnet_network_configuration_ref configuration)
{
    want(configuration, NO_RA);
}

vmnet_return_t vmnet_network_configuration_set_external_interface(
    vmnet_network_configuration_ref configuration, const char *interface_name)
{
    if (!configuration || !interface_name || !interface_name[0] ||
        configuration->mode != VMNET_SHARED_MODE)
        return hint(__func__, VMNET_INVALID_ARGUMENT, "no name, or not in shared mode");
    if (list_is_way_out(__func__, interface_name))
        return VMNET_SUCCESS;
    return hint(
        __func__, VMNET_NOT_AUTHORIZED,
        "no default route leads to %s: what leaves does so by the host's own routes, as its "
        "user's programs do, and another way is an administrator's to make",
        interface_name);
}

/* RFC 1918, and a mask that leaves the gateway and a guest their addresses. */
static bool is_private(uint32_t subnet, uint32_t mask)
{
    uint32_t rest = ~mask;

    return (rest & (rest + 1)) == 0 && rest >= 3 && rest < 1U << 24 &&
           (subnet >> 24 == 10 || subnet >> 20 == 0xac1 || subnet >> 16 == 0xc0a8);
}

vmnet_return_t vmnet_network_configuration_set_ipv4_subnet(
    vmnet_network_configuration_ref configuration, const struct in_addr *subnet,
    const struct in_addr *mask)
{
    if (!configuration || !subnet || !mask ||
        !is_private(ntohl(subnet->s_addr), ntohl(mask->s_addr)))
        return hint(
            __func__, VMNET_INVALID_ARGUMENT,
            "a subnet of 10/8, 172.16/12 or 192.168/16 with a mask of 8 to 30 bits is needed");
    configuration->subnet.s_addr = subnet->s_addr & mask->s_addr;
    configuration->mask = *mask;
    configuration->has_subnet = true;
    return VMNET_SUCCESS;
}

vmnet_return_t vmnet_network_configuration_set_ipv6_prefix(
    vmnet_network_configuration_ref configuration, const struct in6_addr *prefix,
    uint8_t prefix_len)
{
    if (!configuration || !prefix || prefix_len != 64 || prefix->s6_addr[0] != 0xfd)
        return hint(__func__, VMNET_INVALID_ARGUMENT,
                    "a prefix of 64 bits in fd00::/8 is needed (RFC 4193)");
    configuration->prefix = *prefix;
    memset(configuration->prefix.s6_addr + 8, 0, 8);
    configuration->has_prefix = true;
    return VMNET_SUCCESS;
}

vmnet_return_t vmnet_network_configuration_set_mtu(vmnet_network_configuration_ref configuration,
                                                   uint32_t mtu)
{
    if (!configuration || mtu < 1280 || mtu > 65520)
        return hint(__func__, VMNET_INVALID_ARGUMENT, "MTU %u is not from 1280 to 65520", mtu);
    configuration->mtu = mtu;
    return VMNET_SUCCESS;
}

vmnet_return_t vmnet_network_configuration_add_dhcp_reservation(
    vmnet_network_configuration_ref configuration, const ether_addr_t *client,
    const struct in_addr *reservation)
{
    const uint8_t *mac = client ? client->ether_addr_octet : NULL;
    char address[INET_ADDRSTRLEN];

    if (!configuration || !client || !reservation || (mac[0] & 1))
        return hint(__func__, VMNET_INVALID_ARGUMENT,
                    "no MAC address of one machine, or no address");
    if (configuration->reservations_len == RESERVATIONS_MAX)
        return hint(__func__, VMNET_INVALID_ARGUMENT, "more than %d reservations",
                    RESERVATIONS_MAX);
    snprintf(configuration->reservations[configuration->reservations_len++], RESERVATION_TEXT_MAX,
             "dhcp-host=%02x:%02x:%02x:%02x:%02x:%02x,%s", mac[0], mac[1], mac[2], mac[3], mac[4],
             mac[5], inet_ntop(AF_INET, reservation, address, sizeof(address)));
    return VMNET_SUCCESS;
}

vmnet_return_t vmnet_network_configuration_add_port_forwarding_rule(
    vmnet_network_configuration_ref configuration, uint8_t protocol, sa_family_t address_family,
    uint16_t internal_port, uint16_t external_port, const void *internal_address)
{
    struct rule rule, *grown;
    vmnet_return_t status;

    if (!configuration || !internal_address || configuration->mode != VMNET_SHARED_MODE ||
        configuration->rules_len >= RULES_MAX)
        return hint(__func__, VMNET_INVALID_ARGUMENT,
                    "no address, not in shared mode, or more than %d rules", RULES_MAX);
    status = rule_set(__func__, protocol, external_port, (uint8_t)address_family, internal_address,
                      internal_port, &rule);
    if (status != VMNET_SUCCESS)
        return status;
    grown = reallocarray(configuration->rules, configuration->rules_len + 1, sizeof(*grown));
    if (!grown)
        return VMNET_MEM_FAILURE;
    configuration->rules = grown;
    grown[configuration->rules_len++] = rule;
    return VMNET_SUCCESS;
}
