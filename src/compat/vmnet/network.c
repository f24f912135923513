/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Network objects (macOS 26). Such a network is one of libopenvmnet with a name of its own, "vmnet-MODE-N". It lives
 * as long as the object, or an interface on it: the object holds a port of it, through which no frame goes. The
 * first process that makes N has the port's host name KEEPER, which is there once on a network: two that choose the
 * same N at the same time do not get the same network.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compat/vmnet/interface.h"
#include "compat/vmnet/network.h"
#include <CoreFoundation/CoreFoundation.h>

#define NETWORKS_MAX 64 /* of one mode and one user */
#define NETWORK_NAME_MAX 42
#define KEEPER "vmnet-network"

struct vmnet_network {
    struct object object;
    vmnet_mode_t mode;
    struct openvmnet_port *keeper;
};

void openvmnet_object_retain(const void *object)
{
    if (object)
        atomic_fetch_add(&((struct object *)object)->refs, 1);
}

void openvmnet_object_release(const void *object)
{
    struct object *head = (struct object *)object;

    if (head && atomic_fetch_sub(&head->refs, 1) == 1)
        head->free(head);
}

/* ---- networks */

static void network_free(void *object)
{
    struct vmnet_network *network = object;

    openvmnet_port_free(&network->keeper);
    free(network);
}

/* What is left out; in host mode there is no NAT to be left out. */
static void add_switches(const struct vmnet_network_configuration *configuration,
                         struct options *options)
{
    static const struct {
        const char *option;
        unsigned wanted;
        bool of_host;
    } switches[] = {{"dhcp", NO_DHCP, true},
                    {"dns", NO_DNS, true},
                    {"ra", NO_RA, true},
                    {"nat44", NO_NAT44, false},
                    {"nat66", NO_NAT66, false}};

    for (size_t i = 0; i < sizeof(switches) / sizeof(switches[0]); i++)
        if (configuration->wanted & switches[i].wanted &&
            (switches[i].of_host || configuration->mode == VMNET_SHARED_MODE))
            options_add(options, "%s=off", switches[i].option);
}

static void add_addresses(const struct vmnet_network_configuration *configuration,
                          struct options *options)
{
    char start[INET_ADDRSTRLEN], end[INET_ADDRSTRLEN], mask[INET_ADDRSTRLEN];
    char prefix[INET6_ADDRSTRLEN];
    uint32_t subnet = ntohl(configuration->subnet.s_addr);
    struct in_addr first = {htonl(subnet + 1)};
    struct in_addr last = {htonl((subnet | ~ntohl(configuration->mask.s_addr)) - 1)};

    if (configuration->has_subnet) {
        options_add(options, "start-address=%s", inet_ntop(AF_INET, &first, start, sizeof(start)));
        options_add(options, "end-address=%s", inet_ntop(AF_INET, &last, end, sizeof(end)));
        options_add(options, "subnet-mask=%s",
                    inet_ntop(AF_INET, &configuration->mask, mask, sizeof(mask)));
    }
    if (configuration->has_prefix)
        options_add(options, "nat66-prefix=%s",
                    inet_ntop(AF_INET6, &configuration->prefix, prefix, sizeof(prefix)));
    if (configuration->mtu)
        options_add(options, "mtu=%u", configuration->mtu);
}

static bool is_running(const char *name)
{
    char *text = openvmnet_list(NULL);
    json_t *names = text ? json_loads(text, 0, NULL) : NULL, *other;
    bool found = false;
    size_t i;

    json_array_foreach(names, i, other) found =
        found || strcmp(json_string_value(other), name) == 0;
    json_decref(names);
    free(text);
    return found;
}

/* A port on network @name that only keeps it. NULL with the reason. */
static struct openvmnet_port *attach_keeper(const char *name, vmnet_mode_t mode,
                                            const struct vmnet_network_configuration *configuration,
                                            struct openvmnet_error *ret_error)
{
    const char *list[OPTIONS_MAX + RESERVATIONS_MAX + 1];
    struct options options = {0};

    options_add(&options, "network=%s", name);
    options_add(&options, "mode=%s", mode_name(mode));
    options_add(&options, "isolated=on");
    if (configuration) {
        options_add(&options, "hostname=" KEEPER);
        add_addresses(configuration, &options);
        add_switches(configuration, &options);
    }
    options_list(&options, list);
    if (configuration) {
        for (unsigned i = 0; i < configuration->reservations_len; i++)
            list[options.len + i] = configuration->reservations[i];
        list[options.len + configuration->reservations_len] = NULL;
    }
    return openvmnet_attach(list, ret_error);
}

static struct openvmnet_port *make_network(const struct vmnet_network_configuration *configuration,
                                           struct openvmnet_error *ret_error)
{
    struct openvmnet_port *port = NULL;
    char name[NETWORK_NAME_MAX];

    ret_error->code = -ENOSPC;
    snprintf(ret_error->text, sizeof(ret_error->text), "there are %d networks already",
             NETWORKS_MAX);
    for (int i = 1; !port && i <= NETWORKS_MAX; i++) {
        snprintf(name, sizeof(name), "vmnet-%s-%d", mode_name(configuration->mode), i);
        if (is_running(name))
            continue;
        port = attach_keeper(name, configuration->mode, configuration, ret_error);
        if (!port && ret_error->code != -EEXIST)
            break;
    }
    return port;
}

static vmnet_return_t add_rules(const char *call, const char *network,
                                const struct vmnet_network_configuration *configuration)
{
    for (unsigned i = 0; i < configuration->rules_len; i++) {
        struct openvmnet_error error;
        char text[RULE_TEXT_MAX];
        int result;

        rule_format(&configuration->rules[i], text);
        result = openvmnet_forward_add(network, text, &error);
        if (result < 0)
            return hint(call, status_of(result), "%s", error.text);
    }
    return VMNET_SUCCESS;
}

/* Takes over @keeper. */
static struct vmnet_network *network_new(vmnet_mode_t mode, struct openvmnet_port *keeper,
                                         vmnet_return_t *ret_status)
{
    struct vmnet_network *network = calloc(1, sizeof(*network));

    set_status(ret_status, network ? VMNET_SUCCESS : VMNET_MEM_FAILURE);
    if (!network) {
        openvmnet_port_free(&keeper);
        return NULL;
    }
    *network = (struct vmnet_network){{1, network_free}, mode, keeper};
    return network;
}

vmnet_network_ref vmnet_network_create(vmnet_network_configuration_ref configuration,
                                       vmnet_return_t *ret_status)
{
    struct openvmnet_port *keeper;
    struct openvmnet_error error;
    vmnet_return_t status;

    if (!configuration) {
        set_status(ret_status, hint(__func__, VMNET_INVALID_ARGUMENT, "the configuration is NULL"));
        return NULL;
    }
    keeper = make_network(configuration, &error);
    if (!keeper) {
        set_status(ret_status, hint(__func__, status_of(error.code), "%s", error.text));
        return NULL;
    }
    status = add_rules(__func__, openvmnet_port_get(keeper, "network"), configuration);
    set_status(ret_status, status);
    if (status != VMNET_SUCCESS) {
        openvmnet_port_free(&keeper);
        return NULL;
    }
    return network_new(configuration->mode, keeper, ret_status);
}

xpc_object_t vmnet_network_copy_serialization(vmnet_network_ref network, vmnet_return_t *status)
{
    xpc_object_t serialization;

    set_status(status, network ? VMNET_SUCCESS
                               : hint(__func__, VMNET_INVALID_ARGUMENT, "the network is NULL"));
    if (!network)
        return NULL;
    serialization = xpc_dictionary_create(NULL, NULL, 0);
    xpc_dictionary_set_string(serialization, "network",
                              openvmnet_port_get(network->keeper, "network"));
    xpc_dictionary_set_uint64(serialization, "mode", network->mode);
    return serialization;
}

vmnet_network_ref vmnet_network_create_with_serialization(xpc_object_t serialization,
                                                          vmnet_return_t *status)
{
    const char *name = xpc_dictionary_get_string(serialization, "network");
    uint64_t mode = xpc_dictionary_get_uint64(serialization, "mode");
    struct openvmnet_port *keeper;
    struct openvmnet_error error;

    if (!name || (mode != VMNET_HOST_MODE && mode != VMNET_SHARED_MODE)) {
        set_status(status, hint(__func__, VMNET_INVALID_ARGUMENT, "this is not a network's"));
        return NULL;
    }
    if (!is_running(name)) {
        set_status(status, hint(__func__, VMNET_FAILURE, "the network '%s' has ended", name));
        return NULL;
    }
    keeper = attach_keeper(name, (vmnet_mode_t)mode, NULL, &error);
    if (!keeper) {
        set_status(status, hint(__func__, status_of(error.code), "%s", error.text));
        return NULL;
    }
    return network_new((vmnet_mode_t)mode, keeper, status);
}

/* "192.168.64.2/24" or "fd00::/64" to the address and the length of its prefix. */
static unsigned parse_prefixed(int family, const char *text, void *ret_address)
{
    char address[INET6_ADDRSTRLEN] = "";
    const char *slash = strchr(text, '/');

    if (!slash)
        return 0;
    snprintf(address, sizeof(address), "%.*s", (int)(slash - text), text);
    return inet_pton(family, address, ret_address) == 1 ? (unsigned)atoi(slash + 1) : 0;
}

void vmnet_network_get_ipv4_subnet(vmnet_network_ref network, struct in_addr *subnet,
                                   struct in_addr *mask)
{
    struct in_addr address = {0};
    unsigned len =
        network ? parse_prefixed(AF_INET, openvmnet_port_get(network->keeper, "ipv4"), &address)
                : 0;

    if (!subnet || !mask)
        return;
    mask->s_addr = len ? htonl(UINT32_MAX << (32 - len)) : 0;
    subnet->s_addr = address.s_addr & mask->s_addr;
}

void vmnet_network_get_ipv6_prefix(vmnet_network_ref network, struct in6_addr *prefix,
                                   uint8_t *prefix_len)
{
    if (!prefix || !prefix_len)
        return;
    *prefix = (struct in6_addr){0};
    *prefix_len = 0;
    if (network)
        *prefix_len = (uint8_t)parse_prefixed(
            AF_INET6, openvmnet_port_get(network->keeper, "ipv6-prefix"), prefix);
}

interface_ref vmnet_interface_start_with_network(vmnet_network_ref network, xpc_object_t desc,
                                                 dispatch_queue_t queue,
                                                 vmnet_start_interface_completion_handler_t handler)
{
    struct options options = {0};

    if (!network) {
        hint(__func__, VMNET_INVALID_ARGUMENT, "the network is NULL");
        return NULL;
    }
    /* Under its name another may run by now. */
    if (packets_ended(openvmnet_port_fd(network->keeper))) {
        interface_refuse(queue, handler,
                         hint(__func__, VMNET_FAILURE, "the network '%s' has ended",
                              openvmnet_port_get(network->keeper, "network")));
        return NULL;
    }
    options_add(&options, "network=%s", openvmnet_port_get(network->keeper, "network"));
    options_add(&options, "mode=%s", mode_name(network->mode));
    return interface_start(__func__, &options, network->mode, desc, queue, handler);
}
