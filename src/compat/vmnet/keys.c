/* SPDX-License-Identifier: Apache-2.0 */
/* The keys: the value of each is its own name without "_key", as on macOS. */
#include <vmnet/vmnet.h>

#define KEY(name) const char *const name##_key = #name

KEY(vmnet_operation_mode);
KEY(vmnet_shared_interface_name);
KEY(vmnet_allocate_mac_address);
KEY(vmnet_mac_address);
KEY(vmnet_interface_id);
KEY(vmnet_mtu);
KEY(vmnet_max_packet_size);
KEY(vmnet_read_max_packets);
KEY(vmnet_write_max_packets);
KEY(vmnet_start_address);
KEY(vmnet_end_address);
KEY(vmnet_subnet_mask);
KEY(vmnet_nat66_prefix);
KEY(vmnet_network_identifier);
KEY(vmnet_host_ip_address);
KEY(vmnet_host_subnet_mask);
KEY(vmnet_host_ipv6_address);
KEY(vmnet_enable_tso);
KEY(vmnet_enable_isolation);
KEY(vmnet_enable_checksum_offload);
KEY(vmnet_enable_virtio_header);
KEY(vmnet_estimated_packets_available);
