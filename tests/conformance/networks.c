/* SPDX-License-Identifier: Apache-2.0 */
/* Network objects (macOS 26). */
#include <CoreFoundation/CoreFoundation.h>
#include <arpa/inet.h>
#include <string.h>

#include "suite.h"

static void test_network(void)
{
    vmnet_return_t status = VMNET_FAILURE;
    vmnet_network_configuration_ref configuration =
        vmnet_network_configuration_create(VMNET_SHARED_MODE, &status);
    struct in_addr subnet, mask, got_subnet, got_mask;
    struct in6_addr prefix, got_prefix;
    vmnet_network_ref network, other;
    uint8_t prefix_len = 0;
    xpc_object_t serialization;
    struct net nets[2];

    if (!check(configuration && status == VMNET_SUCCESS, "a configuration"))
        return;
    inet_pton(AF_INET, "192.168.181.0", &subnet);
    inet_pton(AF_INET, "255.255.255.0", &mask);
    inet_pton(AF_INET6, "fd61:1:2:4::", &prefix);
    check_status(vmnet_network_configuration_set_ipv4_subnet(configuration, &subnet, &mask),
                 VMNET_SUCCESS, "set its subnet");
    check_status(vmnet_network_configuration_set_ipv6_prefix(configuration, &prefix, 64),
                 VMNET_SUCCESS, "its prefix");
    check_status(vmnet_network_configuration_set_mtu(configuration, 2000), VMNET_SUCCESS,
                 "its MTU");
    network = vmnet_network_create(configuration, &status);
    CFRelease(configuration);
    if (!check(network && status == VMNET_SUCCESS, "a network: %s", status_name(status)))
        return;
    vmnet_network_get_ipv4_subnet(network, &got_subnet, &got_mask);
    check(got_subnet.s_addr == subnet.s_addr && got_mask.s_addr == mask.s_addr, "has the subnet");
    vmnet_network_get_ipv6_prefix(network, &got_prefix, &prefix_len);
    check(prefix_len == 64 && memcmp(&got_prefix, &prefix, 16) == 0, "and the prefix");
    check(net_start_on(&nets[0], network, xpc_dictionary_create(NULL, NULL, 0)),
          "an interface on it: %s", status_name(nets[0].status));
    check(xpc_dictionary_get_uint64(nets[0].params, vmnet_mtu_key) == 2000, "with its MTU");
    serialization = vmnet_network_copy_serialization(network, &status);
    check(serialization && status == VMNET_SUCCESS, "its serialization");
    other = vmnet_network_create_with_serialization(serialization, &status);
    xpc_release(serialization);
    if (check(other && status == VMNET_SUCCESS, "makes the network again: %s",
              status_name(status))) {
        if (check(net_start_on(&nets[1], other, xpc_dictionary_create(NULL, NULL, 0)),
                  "an interface on that"))
            net_connect(&nets[0], &nets[1]);
        net_stop(&nets[1]);
        CFRelease(other);
    }
    net_stop(&nets[0]);
    CFRelease(network);
}

static void test_two_networks(void)
{
    vmnet_network_configuration_ref configuration =
        vmnet_network_configuration_create(VMNET_HOST_MODE, NULL);
    vmnet_network_ref first = vmnet_network_create(configuration, NULL);
    vmnet_network_ref second = vmnet_network_create(configuration, NULL);
    struct in_addr subnets[2] = {{0}}, mask;

    if (check(first && second, "two networks of one configuration")) {
        vmnet_network_get_ipv4_subnet(first, &subnets[0], &mask);
        vmnet_network_get_ipv4_subnet(second, &subnets[1], &mask);
        check(subnets[0].s_addr != subnets[1].s_addr, "are two");
    }
    CFRelease(configuration);
    if (first)
        CFRelease(first);
    if (second)
        CFRelease(second);
}

/* What is left out is not there, and the rest is. */
static void test_leaving_out(void)
{
    static const struct {
        const char *name;
        void (*call)(vmnet_network_configuration_ref configuration);
        operating_modes_t mode;
        bool dhcp, dns, ra;
    } calls[] = {
        {"nothing", NULL, VMNET_SHARED_MODE, true, true, true},
        {"DHCP of a host network", vmnet_network_configuration_disable_dhcp, VMNET_HOST_MODE, false,
         false, true},
        {"DHCP", vmnet_network_configuration_disable_dhcp, VMNET_SHARED_MODE, false, false, true},
        {"DNS", vmnet_network_configuration_disable_dns_proxy, VMNET_SHARED_MODE, true, false,
         true},
        {"RA", vmnet_network_configuration_disable_router_advertisement, VMNET_SHARED_MODE, true,
         true, false},
        {"NAT44", vmnet_network_configuration_disable_nat44, VMNET_SHARED_MODE, true, true, true},
        {"NAT66", vmnet_network_configuration_disable_nat66, VMNET_SHARED_MODE, true, true, true},
    };

    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        vmnet_network_configuration_ref configuration =
            vmnet_network_configuration_create(calls[i].mode, NULL);
        vmnet_return_t status = VMNET_FAILURE;
        vmnet_network_ref network;
        struct offer offer;
        struct net net;

        if (calls[i].call)
            calls[i].call(configuration);
        network = vmnet_network_create(configuration, &status);
        CFRelease(configuration);
        if (!check(network && status == VMNET_SUCCESS, "without %s: %s", calls[i].name,
                   status_name(status)))
            continue;
        if (check(net_start_on(&net, network, xpc_dictionary_create(NULL, NULL, 0)),
                  "an interface on it")) {
            bool offered = net_discover(&net, net.mac, &offer);

            check(offered == calls[i].dhcp, "an address is %soffered", offered ? "" : "not ");
            if (offered)
                check(offer.has_dns == calls[i].dns, "%s DNS server beside it",
                      offer.has_dns ? "a" : "no");
            check(net_solicit(&net, net.mac) == calls[i].ra, "a router is %sadvertised",
                  calls[i].ra ? "" : "not ");
        }
        net_stop(&net);
        CFRelease(network);
    }
}

static void test_without_nat(void)
{
    vmnet_network_configuration_ref configuration =
        vmnet_network_configuration_create(VMNET_SHARED_MODE, NULL);
    vmnet_return_t status = VMNET_FAILURE;
    vmnet_network_ref network;

    vmnet_network_configuration_disable_nat44(configuration);
    vmnet_network_configuration_disable_nat66(configuration);
    network = vmnet_network_create(configuration, &status);
    check(network && status == VMNET_SUCCESS, "no NAT at all: %s", status_name(status));
    if (network)
        CFRelease(network);
    CFRelease(configuration);
}

/* A machine behind an interface gets the address that was kept for it, and another one does not. */
static void test_reservation(void)
{
    static const ether_addr_t kept = {{0x52, 0x54, 0, 0x12, 0x34, 0x99}};
    static const uint8_t other[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x98};
    vmnet_network_configuration_ref configuration =
        vmnet_network_configuration_create(VMNET_HOST_MODE, NULL);
    xpc_object_t desc = xpc_dictionary_create(NULL, NULL, 0);
    const uint8_t *mac = (const uint8_t *)&kept;
    struct in_addr subnet, mask, address;
    vmnet_return_t status = VMNET_FAILURE;
    vmnet_network_ref network;
    struct offer offer;
    struct net net;

    inet_pton(AF_INET, "192.168.183.0", &subnet);
    inet_pton(AF_INET, "255.255.255.0", &mask);
    inet_pton(AF_INET, "192.168.183.77", &address);
    vmnet_network_configuration_set_ipv4_subnet(configuration, &subnet, &mask);
    check_status(vmnet_network_configuration_add_dhcp_reservation(configuration, &kept, &address),
                 VMNET_SUCCESS, "a reservation");
    network = vmnet_network_create(configuration, &status);
    CFRelease(configuration);
    xpc_dictionary_set_bool(desc, vmnet_allocate_mac_address_key, false);
    if (!check(network && status == VMNET_SUCCESS, "a network with it: %s", status_name(status))) {
        xpc_release(desc);
        return;
    }
    if (check(net_start_on(&net, network, desc), "an interface on it")) {
        check(net_discover(&net, other, &offer) && memcmp(offer.ip, &address, 4) != 0,
              "another machine gets another address");
        check(net_discover(&net, mac, &offer) && memcmp(offer.ip, &address, 4) == 0,
              "the machine gets the one that is kept");
    }
    net_stop(&net);
    CFRelease(network);
}

static void test_rules_of_network(void)
{
    vmnet_network_configuration_ref configuration =
        vmnet_network_configuration_create(VMNET_SHARED_MODE, NULL);
    vmnet_return_t status = VMNET_FAILURE;
    vmnet_network_ref network;
    struct in_addr subnet, mask, guest;

    inet_pton(AF_INET, "192.168.182.0", &subnet);
    inet_pton(AF_INET, "255.255.255.0", &mask);
    inet_pton(AF_INET, "192.168.182.9", &guest);
    vmnet_network_configuration_set_ipv4_subnet(configuration, &subnet, &mask);
    check_status(vmnet_network_configuration_add_port_forwarding_rule(configuration, IPPROTO_TCP,
                                                                      AF_INET, 80, 34572, &guest),
                 VMNET_SUCCESS, "a rule, the internal port first");
    network = vmnet_network_create(configuration, &status);
    check(network && status == VMNET_SUCCESS, "a network with it: %s", status_name(status));
    if (network)
        CFRelease(network);
    CFRelease(configuration);
}

static void test_bad_configurations(void)
{
    vmnet_return_t status = VMNET_SUCCESS;
    vmnet_network_configuration_ref configuration =
        vmnet_network_configuration_create(VMNET_SHARED_MODE, NULL);
    struct in_addr subnet = {htonl(0x08080800)}, mask = {htonl(0xffffff00)};
    struct in6_addr prefix = {0};
    ether_addr_t mac = {{2, 0, 0, 0, 0, 1}};
    struct net net;

    check(!vmnet_network_configuration_create(VMNET_BRIDGED_MODE, &status),
          "none for bridged mode");
    check_status(status, VMNET_INVALID_ARGUMENT, "its status");
    check_status(vmnet_network_configuration_set_ipv4_subnet(configuration, &subnet, &mask),
                 VMNET_INVALID_ARGUMENT, "a public subnet");
    subnet.s_addr = htonl(0xc0a80100);
    mask.s_addr = htonl(0xff00ff00);
    check_status(vmnet_network_configuration_set_ipv4_subnet(configuration, &subnet, &mask),
                 VMNET_INVALID_ARGUMENT, "a mask with holes");
    check_status(vmnet_network_configuration_set_ipv4_subnet(configuration, NULL, &mask),
                 VMNET_INVALID_ARGUMENT, "no subnet");
    check_status(vmnet_network_configuration_set_ipv6_prefix(configuration, &prefix, 64),
                 VMNET_INVALID_ARGUMENT, "a prefix that is no ULA");
    check_status(vmnet_network_configuration_set_mtu(configuration, 5), VMNET_INVALID_ARGUMENT,
                 "an MTU of 5");
    check_status(vmnet_network_configuration_set_external_interface(configuration, NULL),
                 VMNET_INVALID_ARGUMENT, "no external interface");
    check_status(vmnet_network_configuration_add_dhcp_reservation(configuration, NULL, &subnet),
                 VMNET_INVALID_ARGUMENT, "a reservation for nobody");
    check_status(vmnet_network_configuration_add_dhcp_reservation(configuration, &mac, NULL),
                 VMNET_INVALID_ARGUMENT, "a reservation of nothing");
    check_status(vmnet_network_configuration_add_port_forwarding_rule(configuration, 1, AF_INET, 80,
                                                                      8080, &subnet),
                 VMNET_INVALID_ARGUMENT, "a rule of protocol 1");
    CFRelease(configuration);
    check(!vmnet_network_create(NULL, &status), "no network of NULL");
    check_status(status, VMNET_INVALID_ARGUMENT, "its status");
    check(!vmnet_network_copy_serialization(NULL, &status), "no serialization of NULL");
    check_status(status, VMNET_INVALID_ARGUMENT, "its status");
    check(!vmnet_network_create_with_serialization(NULL, &status),
          "no network of no serialization");
    check_status(status, VMNET_INVALID_ARGUMENT, "its status");
    memset(&net, 0, sizeof(net));
    check(!vmnet_interface_start_with_network(NULL, NULL, NULL, NULL), "no interface on NULL");
}

const struct test network_tests[] = {
    {"a network object", test_network},
    {"two network objects", test_two_networks},
    {"what networks leave out", test_leaving_out},
    {"a network without NAT", test_without_nat},
    {"a reservation", test_reservation},
    {"a rule of a network", test_rules_of_network},
    {"bad configurations", test_bad_configurations},
    {NULL, NULL},
};
