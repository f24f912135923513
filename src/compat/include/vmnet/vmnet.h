/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Apple's vmnet.h on Linux, over libopenvmnet: the same names, types, values and behaviour, as the
 * documentation of vmnet (macOS 10.10 to 26) has them. docs/libvmnet.md says how programs are built, and what
 * is different here.
 *
 *   clang -fblocks program.c $(pkg-config --cflags --libs libvmnet)
 *
 * With VMNET_DEBUG set in the environment, what is refused is explained on stderr.
 */
#ifndef OPENVMNET_VMNET_H
#define OPENVMNET_VMNET_H

#include <net/ethernet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <dispatch/dispatch.h>
#include <openvmnet_blocks.h>
#include <xpc/xpc.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VMNET_API OPENVMNET_COMPAT_API

/* The version of macOS whose interface this is: programs ask at compile time. */
#ifndef __MAC_OS_X_VERSION_MAX_ALLOWED
#define __MAC_OS_X_VERSION_MAX_ALLOWED 260000
#endif

typedef enum vmnet_return {
    VMNET_SUCCESS = 1000,
    VMNET_FAILURE = 1001,
    VMNET_MEM_FAILURE = 1002,
    VMNET_INVALID_ARGUMENT = 1003,
    VMNET_SETUP_INCOMPLETE = 1004,
    VMNET_INVALID_ACCESS = 1005,
    VMNET_PACKET_TOO_BIG = 1006,
    VMNET_BUFFER_EXHAUSTED = 1007,
    VMNET_TOO_MANY_PACKETS = 1008,
    VMNET_SHARING_SERVICE_BUSY = 1009,
    VMNET_NOT_AUTHORIZED = 1010,
} vmnet_return_t;

typedef enum operating_modes {
    VMNET_HOST_MODE = 1000,
    VMNET_SHARED_MODE = 1001,
    VMNET_BRIDGED_MODE = 1002,
} operating_modes_t;
typedef operating_modes_t vmnet_mode_t;

typedef enum interface_event {
    VMNET_INTERFACE_PACKETS_AVAILABLE = 1 << 0,
} interface_event_t;

struct vmpktdesc {
    size_t vm_pkt_size; /* of the frame; before vmnet_read() of the buffers */
    struct iovec *vm_pkt_iov;
    uint32_t vm_pkt_iovcnt;
    uint32_t vm_flags; /* 0 */
};

typedef struct vmnet_interface *interface_ref;

/* ---- keys of the three dictionaries: description (in), parameters (out), event */

/* uint64: an operating_modes_t. */
VMNET_API extern const char *const vmnet_operation_mode_key;
/* string, bridged mode alone: one of vmnet_copy_shared_interface_list(). */
VMNET_API extern const char *const vmnet_shared_interface_name_key;
/* bool, true where it is not given; false: the client has a MAC address of its own. */
VMNET_API extern const char *const vmnet_allocate_mac_address_key;
/* string, out. */
VMNET_API extern const char *const vmnet_mac_address_key;
/* UUID, in and out: the same one always has the same MAC address. */
VMNET_API extern const char *const vmnet_interface_id_key;
/* uint64, in (not in bridged mode) and out. */
VMNET_API extern const char *const vmnet_mtu_key;
/* uint64, out: what a buffer must hold. */
VMNET_API extern const char *const vmnet_max_packet_size_key;
/* uint64, out: the most packets of one call. */
VMNET_API extern const char *const vmnet_read_max_packets_key;
VMNET_API extern const char *const vmnet_write_max_packets_key;
/* strings, in and out, host and shared mode: the gateway, the last address, the mask; all or none. */
VMNET_API extern const char *const vmnet_start_address_key;
VMNET_API extern const char *const vmnet_end_address_key;
VMNET_API extern const char *const vmnet_subnet_mask_key;
/* string, in and out, shared mode: a ULA prefix of 64 bits. */
VMNET_API extern const char *const vmnet_nat66_prefix_key;
/* UUID, host mode: an isolated network without DHCP; and strings, the host's addresses there. */
VMNET_API extern const char *const vmnet_network_identifier_key;
VMNET_API extern const char *const vmnet_host_ip_address_key;
VMNET_API extern const char *const vmnet_host_subnet_mask_key;
VMNET_API extern const char *const vmnet_host_ipv6_address_key;
/* bools. */
VMNET_API extern const char *const vmnet_enable_tso_key;
VMNET_API extern const char *const vmnet_enable_isolation_key;
VMNET_API extern const char *const vmnet_enable_checksum_offload_key;
VMNET_API extern const char *const vmnet_enable_virtio_header_key;
/* uint64, of an event. */
VMNET_API extern const char *const vmnet_estimated_packets_available_key;

/* ---- interfaces */

/* The parameters live until the block returns. */
OPENVMNET_BLOCK_TYPE(vmnet_start_interface_completion_handler_t, void, vmnet_return_t status,
                     xpc_object_t interface_param);
OPENVMNET_BLOCK_TYPE(vmnet_interface_completion_handler_t, void, vmnet_return_t status);
OPENVMNET_BLOCK_TYPE(vmnet_interface_event_callback_t, void, interface_event_t event_mask,
                     xpc_object_t event);

/*
 * NULL where the description is wrong; the handler is called all the same where there are one and a queue.
 * Until it has been called with VMNET_SUCCESS, only an event callback can be set.
 */
VMNET_API interface_ref vmnet_start_interface(xpc_object_t interface_desc, dispatch_queue_t queue,
                                              vmnet_start_interface_completion_handler_t handler);
VMNET_API vmnet_return_t vmnet_stop_interface(interface_ref interface, dispatch_queue_t queue,
                                              vmnet_interface_completion_handler_t handler);
/* *pktcnt: how many there are; after the call how many were read or written. */
VMNET_API vmnet_return_t vmnet_read(interface_ref interface, struct vmpktdesc *packets,
                                    int *pktcnt);
VMNET_API vmnet_return_t vmnet_write(interface_ref interface, struct vmpktdesc *packets,
                                     int *pktcnt);
/* Queue and callback NULL: no more events. */
VMNET_API vmnet_return_t vmnet_interface_set_event_callback(
    interface_ref interface, interface_event_t event_mask, dispatch_queue_t queue,
    vmnet_interface_event_callback_t callback);
/* An array of strings, the caller's to release. */
VMNET_API xpc_object_t vmnet_copy_shared_interface_list(void);

/* ---- port forwards of an interface in shared mode; ports in host order, addresses in network order */

OPENVMNET_BLOCK_TYPE(vmnet_interface_get_port_forwarding_rules_handler_t, void, xpc_object_t rules);
OPENVMNET_BLOCK_TYPE(vmnet_interface_get_ip_port_forwarding_rules_handler_t, void,
                     xpc_object_t rules);

VMNET_API vmnet_return_t vmnet_interface_add_port_forwarding_rule(
    interface_ref interface, uint8_t protocol, uint16_t external_port,
    struct in_addr internal_address, uint16_t internal_port,
    vmnet_interface_completion_handler_t handler);
VMNET_API vmnet_return_t vmnet_interface_remove_port_forwarding_rule(
    interface_ref interface, uint8_t protocol, uint16_t external_port,
    vmnet_interface_completion_handler_t handler);
/* An array of rules, or NULL where there is none. */
VMNET_API vmnet_return_t vmnet_interface_get_port_forwarding_rules(
    interface_ref interface, vmnet_interface_get_port_forwarding_rules_handler_t handler);
VMNET_API vmnet_return_t vmnet_port_forwarding_rule_get_details(xpc_object_t rule,
                                                                uint8_t *protocol,
                                                                uint16_t *external_port,
                                                                struct in_addr *internal_address,
                                                                uint16_t *internal_port);

/* @internal_address: a struct in_addr or in6_addr. */
VMNET_API vmnet_return_t vmnet_interface_add_ip_port_forwarding_rule(
    interface_ref interface, uint8_t protocol, uint16_t external_port, uint8_t address_family,
    const void *internal_address, uint16_t internal_port,
    vmnet_interface_completion_handler_t handler);
VMNET_API vmnet_return_t vmnet_interface_remove_ip_port_forwarding_rule(
    interface_ref interface, uint8_t protocol, uint16_t external_port, uint8_t address_family,
    vmnet_interface_completion_handler_t handler);
VMNET_API vmnet_return_t vmnet_interface_get_ip_port_forwarding_rules(
    interface_ref interface, uint8_t address_family,
    vmnet_interface_get_ip_port_forwarding_rules_handler_t handler);
VMNET_API vmnet_return_t vmnet_ip_port_forwarding_rule_get_details(
    xpc_object_t rule, uint8_t *protocol, uint16_t *external_port, uint8_t address_family,
    void *internal_address, uint16_t *internal_port);

/* ---- networks as objects (macOS 26): made with one reference, for CFRelease() of CoreFoundation.h */

typedef struct vmnet_network_configuration *vmnet_network_configuration_ref;
typedef struct vmnet_network *vmnet_network_ref;
typedef struct ether_addr ether_addr_t;

/* Host and shared mode. @status may be NULL, here and below. */
VMNET_API vmnet_network_configuration_ref
vmnet_network_configuration_create(vmnet_mode_t mode, vmnet_return_t *status);
VMNET_API void vmnet_network_configuration_disable_nat44(
    vmnet_network_configuration_ref configuration);
VMNET_API void vmnet_network_configuration_disable_nat66(
    vmnet_network_configuration_ref configuration);
VMNET_API void vmnet_network_configuration_disable_dhcp(
    vmnet_network_configuration_ref configuration);
VMNET_API void vmnet_network_configuration_disable_dns_proxy(
    vmnet_network_configuration_ref configuration);
VMNET_API void vmnet_network_configuration_disable_router_advertisement(
    vmnet_network_configuration_ref configuration);
VMNET_API vmnet_return_t vmnet_network_configuration_set_external_interface(
    vmnet_network_configuration_ref configuration, const char *interface_name);
/* The gateway is the subnet's first address. */
VMNET_API vmnet_return_t vmnet_network_configuration_set_ipv4_subnet(
    vmnet_network_configuration_ref configuration, const struct in_addr *subnet,
    const struct in_addr *mask);
VMNET_API vmnet_return_t
vmnet_network_configuration_set_ipv6_prefix(vmnet_network_configuration_ref configuration,
                                            const struct in6_addr *prefix, uint8_t prefix_len);
VMNET_API vmnet_return_t
vmnet_network_configuration_set_mtu(vmnet_network_configuration_ref configuration, uint32_t mtu);
VMNET_API vmnet_return_t vmnet_network_configuration_add_dhcp_reservation(
    vmnet_network_configuration_ref configuration, const ether_addr_t *client,
    const struct in_addr *reservation);
/* The internal port comes first. */
VMNET_API vmnet_return_t vmnet_network_configuration_add_port_forwarding_rule(
    vmnet_network_configuration_ref configuration, uint8_t protocol, sa_family_t address_family,
    uint16_t internal_port, uint16_t external_port, const void *internal_address);

/* The network is there as long as the object is, or one of its interfaces. */
VMNET_API vmnet_network_ref vmnet_network_create(vmnet_network_configuration_ref configuration,
                                                 vmnet_return_t *status);
/* For another process of the same user. */
VMNET_API xpc_object_t vmnet_network_copy_serialization(vmnet_network_ref network,
                                                        vmnet_return_t *status);
VMNET_API vmnet_network_ref vmnet_network_create_with_serialization(xpc_object_t serialization,
                                                                    vmnet_return_t *status);
VMNET_API void vmnet_network_get_ipv4_subnet(vmnet_network_ref network, struct in_addr *subnet,
                                             struct in_addr *mask);
VMNET_API void vmnet_network_get_ipv6_prefix(vmnet_network_ref network, struct in6_addr *prefix,
                                             uint8_t *prefix_len);
/* What the network decides may not stand in the description. */
VMNET_API interface_ref vmnet_interface_start_with_network(
    vmnet_network_ref network, xpc_object_t interface_desc, dispatch_queue_t queue,
    vmnet_start_interface_completion_handler_t handler);

#ifdef __cplusplus
}
#endif

#endif
