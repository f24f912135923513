/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calls are looked for when the program runs, so that it starts on systems without them; and a header of such a
 * system does not declare them, so that their types are written here: references are pointers, all else is as vmnet.h of
 * macOS 26 has it.
 */
#include "plane/macos/network.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "plane/macos/tap.h"

struct vmnet_net {
    void *ref;
};

typedef void disable_fn(void *configuration);

/* Of enum net_switch; NULL: what no object has a word for. */
static const char *const disable_names[NET_SWITCHES] = {
    [NET_DHCP] = "vmnet_network_configuration_disable_dhcp",
    [NET_DNS] = "vmnet_network_configuration_disable_dns_proxy",
    [NET_RA] = "vmnet_network_configuration_disable_router_advertisement",
    [NET_NAT44] = "vmnet_network_configuration_disable_nat44",
    [NET_NAT66] = "vmnet_network_configuration_disable_nat66",
};

static struct calls {
    void *(*configuration_create)(uint32_t mode, vmnet_return_t *status);
    vmnet_return_t (*set_ipv4_subnet)(void *configuration, const struct in_addr *subnet,
                                      const struct in_addr *mask);
    vmnet_return_t (*set_ipv6_prefix)(void *configuration, const struct in6_addr *prefix,
                                      uint8_t prefix_len);
    vmnet_return_t (*set_mtu)(void *configuration, uint32_t mtu);
    vmnet_return_t (*add_dhcp_reservation)(void *configuration, const uint8_t *mac,
                                           const struct in_addr *address);
    void *(*create)(void *configuration, vmnet_return_t *status);
    interface_ref (*start)(void *network, xpc_object_t options, dispatch_queue_t queue,
                           vmnet_start_interface_completion_handler_t handler);
    void (*release)(const void *object);
    disable_fn *disable[NET_SWITCHES];
} calls;

/* Where there is @name, it goes to the pointer to a function at @ret_call. */
static bool find(const char *name, void *ret_call)
{
    void *symbol = dlsym(RTLD_DEFAULT, name);

    memcpy(ret_call, &symbol, sizeof(symbol));
    return symbol != NULL;
}

static bool find_all(void)
{
    for (unsigned which = 0; which < NET_SWITCHES; which++)
        if (disable_names[which] && !find(disable_names[which], &calls.disable[which]))
            return false;
    return find("vmnet_network_configuration_create", &calls.configuration_create) &&
           find("vmnet_network_configuration_set_ipv4_subnet", &calls.set_ipv4_subnet) &&
           find("vmnet_network_configuration_set_ipv6_prefix", &calls.set_ipv6_prefix) &&
           find("vmnet_network_configuration_set_mtu", &calls.set_mtu) &&
           find("vmnet_network_configuration_add_dhcp_reservation", &calls.add_dhcp_reservation) &&
           find("vmnet_network_create", &calls.create) &&
           find("vmnet_interface_start_with_network", &calls.start) &&
           find("CFRelease", &calls.release);
}

static bool is_available(void)
{
    static bool looked, available;

    if (!looked)
        available = find_all();
    looked = true;
    return available;
}

/* An object's subnet is given as a whole: its first address is the gateway's, and all others are guests'. */
static bool is_whole(uint32_t gateway, uint32_t last, uint32_t mask)
{
    return gateway == (gateway & mask) + 1 && last == (gateway | ~mask) - 1;
}

const char *vmnet_net_missing(const struct net_spec *spec)
{
    if (!is_available())
        return "vmnet.framework has from macOS 26 on";
    if (spec->net_uuid[0])
        return "vmnet.framework does not have beside net-uuid";
    if (spec->start_address.family &&
        !is_whole(ntohl(spec->start_address.v4.s_addr), ntohl(spec->end_address.v4.s_addr),
                  ntohl(spec->subnet_mask.v4.s_addr)))
        return "vmnet.framework has for whole subnets alone: start-address has to be its first and "
               "end-address its last";
    return NULL;
}

bool vmnet_net_serves(const struct net_config *config)
{
    return is_available() && config->mode != NET_MODE_BRIDGED && !config->net_uuid[0] &&
           is_whole(config->gateway, config->pool_end, ip_mask_u32(config->prefix_len));
}

static vmnet_return_t add_reservations(void *configuration, const struct net_file *file)
{
    vmnet_return_t status = VMNET_SUCCESS;

    for (unsigned i = 0; file && i < file->reservations_len && status == VMNET_SUCCESS; i++)
        if (file->reservations[i].address.family)
            status = calls.add_dhcp_reservation(configuration, file->reservations[i].mac.bytes,
                                                &file->reservations[i].address.v4);
    return status;
}

static vmnet_return_t describe(void *configuration, const struct net_config *config)
{
    struct in_addr subnet = {htonl(net_config_subnet(config))},
                   mask = {htonl(ip_mask_u32(config->prefix_len))};
    vmnet_return_t status = calls.set_ipv4_subnet(configuration, &subnet, &mask);

    if (status == VMNET_SUCCESS && config->mode == NET_MODE_SHARED && config->prefix6.family)
        status = calls.set_ipv6_prefix(configuration, &config->prefix6.v6, 64);
    if (status == VMNET_SUCCESS && config->mtu != NET_MTU_DEFAULT)
        status = calls.set_mtu(configuration, config->mtu);
    /* A host network has no NAT to be left out. */
    for (unsigned which = 0; which < NET_SWITCHES; which++)
        if (calls.disable[which] && !config->on[which] &&
            (config->mode == NET_MODE_SHARED || (which != NET_NAT44 && which != NET_NAT66)))
            calls.disable[which](configuration);
    return status == VMNET_SUCCESS ? add_reservations(configuration, config->file) : status;
}

int vmnet_net_new(const struct net_config *config, struct vmnet_net **ret_net, struct err *err)
{
    struct vmnet_net *net = calloc(1, sizeof(*net));
    vmnet_return_t status = VMNET_MEM_FAILURE;
    void *configuration;

    if (!net)
        return err_set(err, -ENOMEM, "out of memory");
    configuration = calls.configuration_create(
        config->mode == NET_MODE_HOST ? VMNET_HOST_MODE : VMNET_SHARED_MODE, &status);
    if (configuration) {
        status = describe(configuration, config);
        if (status == VMNET_SUCCESS)
            net->ref = calls.create(configuration, &status);
        calls.release(configuration);
    }
    if (net->ref) {
        *ret_net = net;
        return 0;
    }
    free(net);
    return vmnet_explain(status == VMNET_SUCCESS ? VMNET_FAILURE : status, config, err);
}

void vmnet_net_free(struct vmnet_net *net)
{
    if (!net)
        return;
    calls.release(net->ref);
    free(net);
}

interface_ref vmnet_net_start(struct vmnet_net *net, xpc_object_t options, dispatch_queue_t queue,
                              vmnet_start_interface_completion_handler_t handler)
{
    return calls.start(net->ref, options, queue, handler);
}
