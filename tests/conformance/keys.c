/* SPDX-License-Identifier: Apache-2.0 */
/* Every key: its value, its type on the way in and out, where it has no place. */
#include <arpa/inet.h>
#include <string.h>

#include "suite.h"

static void test_names(void)
{
    static const struct {
        const char *const *key;
        const char *value;
    } keys[] = {
        {&vmnet_operation_mode_key, "vmnet_operation_mode"},
        {&vmnet_shared_interface_name_key, "vmnet_shared_interface_name"},
        {&vmnet_allocate_mac_address_key, "vmnet_allocate_mac_address"},
        {&vmnet_mac_address_key, "vmnet_mac_address"},
        {&vmnet_interface_id_key, "vmnet_interface_id"},
        {&vmnet_mtu_key, "vmnet_mtu"},
        {&vmnet_max_packet_size_key, "vmnet_max_packet_size"},
        {&vmnet_read_max_packets_key, "vmnet_read_max_packets"},
        {&vmnet_write_max_packets_key, "vmnet_write_max_packets"},
        {&vmnet_start_address_key, "vmnet_start_address"},
        {&vmnet_end_address_key, "vmnet_end_address"},
        {&vmnet_subnet_mask_key, "vmnet_subnet_mask"},
        {&vmnet_nat66_prefix_key, "vmnet_nat66_prefix"},
        {&vmnet_network_identifier_key, "vmnet_network_identifier"},
        {&vmnet_host_ip_address_key, "vmnet_host_ip_address"},
        {&vmnet_host_subnet_mask_key, "vmnet_host_subnet_mask"},
        {&vmnet_host_ipv6_address_key, "vmnet_host_ipv6_address"},
        {&vmnet_enable_tso_key, "vmnet_enable_tso"},
        {&vmnet_enable_isolation_key, "vmnet_enable_isolation"},
        {&vmnet_enable_checksum_offload_key, "vmnet_enable_checksum_offload"},
        {&vmnet_enable_virtio_header_key, "vmnet_enable_virtio_header"},
        {&vmnet_estimated_packets_available_key, "vmnet_estimated_packets_available"},
    };

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        check(strcmp(*keys[i].key, keys[i].value) == 0, "%s", keys[i].value);
}

static void check_type(xpc_object_t params, const char *key, xpc_type_t type)
{
    xpc_object_t value = xpc_dictionary_get_value(params, key);

    check(value && xpc_get_type(value) == type, "%s is of its type", key);
}

static void test_out_parameters(void)
{
    struct in_addr start, end, mask;
    struct net net;

    if (!check(net_start(&net, describe(VMNET_SHARED_MODE)), "start"))
        return;
    check_type(net.params, vmnet_mac_address_key, XPC_TYPE_STRING);
    check_type(net.params, vmnet_interface_id_key, XPC_TYPE_UUID);
    check_type(net.params, vmnet_mtu_key, XPC_TYPE_UINT64);
    check_type(net.params, vmnet_max_packet_size_key, XPC_TYPE_UINT64);
    check_type(net.params, vmnet_read_max_packets_key, XPC_TYPE_UINT64);
    check_type(net.params, vmnet_write_max_packets_key, XPC_TYPE_UINT64);
    check_type(net.params, vmnet_start_address_key, XPC_TYPE_STRING);
    check_type(net.params, vmnet_end_address_key, XPC_TYPE_STRING);
    check_type(net.params, vmnet_subnet_mask_key, XPC_TYPE_STRING);
    check_type(net.params, vmnet_nat66_prefix_key, XPC_TYPE_STRING);
    check(strlen(xpc_dictionary_get_string(net.params, vmnet_mac_address_key)) == 17 &&
              !(net.mac[0] & 1),
          "the MAC address is one of a machine");
    check(xpc_dictionary_get_uint64(net.params, vmnet_mtu_key) == 1500, "MTU 1500");
    check(net.packet_bytes == 1514, "and frames of 1514 bytes");
    check(xpc_dictionary_get_uint64(net.params, vmnet_read_max_packets_key) >= 200,
          "200 packets a call");
    inet_pton(AF_INET, xpc_dictionary_get_string(net.params, vmnet_start_address_key), &start);
    inet_pton(AF_INET, xpc_dictionary_get_string(net.params, vmnet_end_address_key), &end);
    inet_pton(AF_INET, xpc_dictionary_get_string(net.params, vmnet_subnet_mask_key), &mask);
    check((start.s_addr & mask.s_addr) == (end.s_addr & mask.s_addr) &&
              ntohl(start.s_addr) < ntohl(end.s_addr),
          "start and end are of one subnet");
    net_stop(&net);
}

static void test_interface_id(void)
{
    static const uint8_t id[16] = {0x5c, 0x1d, 0x60, 0x4a, 0x0e, 0x55, 0x47, 0x0b,
                                   0x93, 0x2f, 0x8e, 0x7a, 0x12, 0xc4, 0xd5, 0x9e};
    uint8_t mac[6] = {0};

    for (int i = 0; i < 2; i++) {
        xpc_object_t desc = describe(VMNET_SHARED_MODE);
        struct net net;

        xpc_dictionary_set_uuid(desc, vmnet_interface_id_key, id);
        if (!check(net_start(&net, desc), "start with an interface id"))
            return;
        check(memcmp(xpc_dictionary_get_uuid(net.params, vmnet_interface_id_key), id, 16) == 0,
              "it is told");
        if (i)
            check(memcmp(mac, net.mac, 6) == 0, "the same id has the same MAC address");
        memcpy(mac, net.mac, 6);
        net_stop(&net);
    }
}

static void test_own_mac(void)
{
    xpc_object_t desc = describe(VMNET_SHARED_MODE);
    struct net net;

    xpc_dictionary_set_bool(desc, vmnet_allocate_mac_address_key, false);
    check(net_start(&net, desc), "start without a MAC address: %s", status_name(net.status));
    check(net.params && !xpc_dictionary_get_value(net.params, vmnet_mac_address_key),
          "none is told");
    net_stop(&net);
}

static void test_mtu(void)
{
    xpc_object_t desc = describe(VMNET_HOST_MODE);
    struct net net;

    /* The addresses make it another network than the one of MTU 1500. */
    xpc_dictionary_set_uint64(desc, vmnet_mtu_key, 4000);
    xpc_dictionary_set_string(desc, vmnet_start_address_key, "192.168.171.1");
    xpc_dictionary_set_string(desc, vmnet_end_address_key, "192.168.171.200");
    xpc_dictionary_set_string(desc, vmnet_subnet_mask_key, "255.255.255.0");
    if (check(net_start(&net, desc), "start with MTU 4000: %s", status_name(net.status))) {
        check(xpc_dictionary_get_uint64(net.params, vmnet_mtu_key) == 4000, "it is told");
        check(net.packet_bytes == 4014, "frames of 4014 bytes");
        check(strcmp(xpc_dictionary_get_string(net.params, vmnet_start_address_key),
                     "192.168.171.1") == 0 &&
                  strcmp(xpc_dictionary_get_string(net.params, vmnet_end_address_key),
                         "192.168.171.200") == 0 &&
                  strcmp(xpc_dictionary_get_string(net.params, vmnet_subnet_mask_key),
                         "255.255.255.0") == 0,
              "the addresses that were asked for are those of the network");
    }
    net_stop(&net);
}

static void test_prefix(void)
{
    xpc_object_t desc = describe(VMNET_SHARED_MODE);
    struct net net;

    xpc_dictionary_set_string(desc, vmnet_start_address_key, "192.168.172.1");
    xpc_dictionary_set_string(desc, vmnet_end_address_key, "192.168.172.254");
    xpc_dictionary_set_string(desc, vmnet_subnet_mask_key, "255.255.255.0");
    xpc_dictionary_set_string(desc, vmnet_nat66_prefix_key, "fd61:1:2:3::");
    if (check(net_start(&net, desc), "start with a prefix: %s", status_name(net.status)))
        check(strcmp(xpc_dictionary_get_string(net.params, vmnet_nat66_prefix_key),
                     "fd61:1:2:3::") == 0,
              "it is told");
    net_stop(&net);
}

static void test_network_identifier(void)
{
    static const uint8_t id[16] = {0x11, 0x2d, 0x60, 0x4a, 0x0e, 0x55, 0x47, 0x0b,
                                   0x93, 0x2f, 0x8e, 0x7a, 0x12, 0xc4, 0xd5, 0x9e};
    xpc_object_t desc = describe(VMNET_HOST_MODE);
    struct offer offer;
    struct net net;

    xpc_dictionary_set_uuid(desc, vmnet_network_identifier_key, id);
    if (check(net_start(&net, desc), "start with a network identifier: %s",
              status_name(net.status))) {
        check(memcmp(xpc_dictionary_get_uuid(net.params, vmnet_network_identifier_key) ?: id + 1,
                     id, 16) == 0,
              "it is told");
        check(!net_discover(&net, net.mac, &offer), "there is no DHCP");
    }
    net_stop(&net);
}

static bool is_told(const struct net *net, const char *key, const char *value)
{
    const char *told = xpc_dictionary_get_string(net->params, key);

    return told && strcmp(told, value) == 0;
}

/* The host's addresses on a network of an identifier, that of IPv4 once the first and once the last one. */
static void test_host_addresses(void)
{
    static const char *const addresses[] = {"192.168.175.1", "192.168.176.254"};

    for (uint8_t i = 0; i < 2; i++) {
        const uint8_t id[16] = {0x22, i, 0x60, 0x4a, 0x0e, 0x55, 0x47, 0x0b, 0x93, 0x2f, 0x8e};
        xpc_object_t desc = describe(VMNET_HOST_MODE);
        struct net net;

        xpc_dictionary_set_uuid(desc, vmnet_network_identifier_key, id);
        xpc_dictionary_set_string(desc, vmnet_host_ip_address_key, addresses[i]);
        xpc_dictionary_set_string(desc, vmnet_host_subnet_mask_key, "255.255.255.0");
        xpc_dictionary_set_string(desc, vmnet_host_ipv6_address_key, "fd61:1:2:5::7");
        if (check(net_start(&net, desc), "start with host addresses: %s", status_name(net.status)))
            check(is_told(&net, vmnet_host_ip_address_key, addresses[i]) &&
                      is_told(&net, vmnet_host_subnet_mask_key, "255.255.255.0") &&
                      is_told(&net, vmnet_host_ipv6_address_key, "fd61:1:2:5::7"),
                  "they are told, %s", addresses[i]);
        net_stop(&net);
    }
}

struct refusal {
    const char *what;
    operating_modes_t mode;
    void (*set)(xpc_object_t desc);
};

static void set_two_addresses(xpc_object_t desc)
{
    xpc_dictionary_set_string(desc, vmnet_start_address_key, "192.168.173.1");
    xpc_dictionary_set_string(desc, vmnet_end_address_key, "192.168.173.9");
}

static void set_public(xpc_object_t desc)
{
    xpc_dictionary_set_string(desc, vmnet_start_address_key, "8.8.8.1");
    xpc_dictionary_set_string(desc, vmnet_end_address_key, "8.8.8.9");
    xpc_dictionary_set_string(desc, vmnet_subnet_mask_key, "255.255.255.0");
}

static void set_backwards(xpc_object_t desc)
{
    xpc_dictionary_set_string(desc, vmnet_start_address_key, "192.168.173.9");
    xpc_dictionary_set_string(desc, vmnet_end_address_key, "192.168.173.1");
    xpc_dictionary_set_string(desc, vmnet_subnet_mask_key, "255.255.255.0");
}

static void set_nonsense(xpc_object_t desc)
{
    set_backwards(desc);
    xpc_dictionary_set_string(desc, vmnet_subnet_mask_key, "no mask");
}

static void set_prefix(xpc_object_t desc)
{
    xpc_dictionary_set_string(desc, vmnet_nat66_prefix_key, "fd61:1:2:3::");
}

static void set_wrong_prefix(xpc_object_t desc)
{
    xpc_dictionary_set_string(desc, vmnet_nat66_prefix_key, "2001:db8::");
}

static void set_identifier(xpc_object_t desc)
{
    static const uint8_t id[16] = {1};

    xpc_dictionary_set_uuid(desc, vmnet_network_identifier_key, id);
}

static void set_host_address(xpc_object_t desc)
{
    xpc_dictionary_set_string(desc, vmnet_host_ip_address_key, "192.168.174.1");
}

static void set_half_host_address(xpc_object_t desc)
{
    set_identifier(desc);
    set_host_address(desc);
}

static void set_mtu(xpc_object_t desc)
{
    xpc_dictionary_set_string(desc, vmnet_shared_interface_name_key, "en0");
    xpc_dictionary_set_uint64(desc, vmnet_mtu_key, 1500);
}

static void set_small_mtu(xpc_object_t desc)
{
    xpc_dictionary_set_uint64(desc, vmnet_mtu_key, 100);
}

static void set_headers(xpc_object_t desc)
{
    xpc_dictionary_set_bool(desc, vmnet_enable_checksum_offload_key, true);
    xpc_dictionary_set_bool(desc, vmnet_enable_virtio_header_key, true);
}

static void set_wrong_type(xpc_object_t desc)
{
    xpc_dictionary_set_string(desc, vmnet_enable_isolation_key, "true");
}

static void test_refusals(void)
{
    static const struct refusal refusals[] = {
        {"two of three addresses", VMNET_SHARED_MODE, set_two_addresses},
        {"public addresses", VMNET_SHARED_MODE, set_public},
        {"the end before the start", VMNET_HOST_MODE, set_backwards},
        {"a mask that is none", VMNET_HOST_MODE, set_nonsense},
        {"a prefix in host mode", VMNET_HOST_MODE, set_prefix},
        {"a prefix that is no ULA", VMNET_SHARED_MODE, set_wrong_prefix},
        {"a network identifier in shared mode", VMNET_SHARED_MODE, set_identifier},
        {"a host address without an identifier", VMNET_HOST_MODE, set_host_address},
        {"a host address without a mask", VMNET_HOST_MODE, set_half_host_address},
        {"an MTU in bridged mode", VMNET_BRIDGED_MODE, set_mtu},
        {"an MTU of 100", VMNET_HOST_MODE, set_small_mtu},
        {"checksum offload and virtio header", VMNET_HOST_MODE, set_headers},
        {"isolation that is a string", VMNET_HOST_MODE, set_wrong_type},
    };

    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        xpc_object_t desc = describe(refusals[i].mode);
        struct net net;

        refusals[i].set(desc);
        net_start(&net, desc);
        check_status(net.status, VMNET_INVALID_ARGUMENT, refusals[i].what);
        net_stop(&net);
    }
}

/* Two isolated ones do not hear each other; both reach the host. */
static void test_isolation(void)
{
    struct net nets[2];
    uint8_t frame[TEST_BYTES];
    uint32_t number;
    bool up = true;

    for (int i = 0; i < 2; i++) {
        xpc_object_t desc = describe(VMNET_SHARED_MODE);

        xpc_dictionary_set_bool(desc, vmnet_enable_isolation_key, true);
        up = net_start(&nets[i], desc) && up;
    }
    if (check(up, "two isolated interfaces start")) {
        bool heard = false;

        for (uint32_t i = 0; i < 20; i++) {
            frame_make(frame, sizeof(frame), nets[1].mac, nets[0].mac, i);
            net_write(&nets[0], frame, sizeof(frame));
            memset(frame, 0xff, 6);
            net_write(&nets[0], frame, sizeof(frame));
        }
        for (int i = 0; i < 100; i++) {
            uint8_t buffer[FRAME_MAX];
            size_t len_bytes = net_read(&nets[1], buffer);

            heard = heard || (len_bytes && frame_number(buffer, len_bytes, &number));
        }
        check(!heard, "and do not hear each other");
    }
    net_stop(&nets[0]);
    net_stop(&nets[1]);
}

const struct test key_tests[] = {
    {"names of keys", test_names},
    {"parameters", test_out_parameters},
    {"interface id", test_interface_id},
    {"a MAC address of its own", test_own_mac},
    {"mtu and addresses", test_mtu},
    {"nat66 prefix", test_prefix},
    {"network identifier", test_network_identifier},
    {"host addresses", test_host_addresses},
    {"refused descriptions", test_refusals},
    {"isolation", test_isolation},
    {NULL, NULL},
};
