#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test_vmnet_symbols.py: vmnet's interface, symbol by symbol.

What Apple's documentation of vmnet lists, from macOS 10.10 to 26, stands below; our header declares that and no
more, the conformance suite uses each of them, and what the macOS plane takes of vmnet.framework, as its stub says or by name
at run time, is among them.
"""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent

KEYS = """
    allocate_mac_address enable_checksum_offload enable_isolation enable_tso enable_virtio_header end_address
    estimated_packets_available host_ip_address host_ipv6_address host_subnet_mask interface_id mac_address
    max_packet_size mtu nat66_prefix network_identifier operation_mode read_max_packets shared_interface_name
    start_address subnet_mask write_max_packets
"""
FUNCTIONS = """
    copy_shared_interface_list interface_add_ip_port_forwarding_rule interface_add_port_forwarding_rule
    interface_get_ip_port_forwarding_rules interface_get_port_forwarding_rules
    interface_remove_ip_port_forwarding_rule interface_remove_port_forwarding_rule interface_set_event_callback
    ip_port_forwarding_rule_get_details port_forwarding_rule_get_details read start_interface stop_interface write

    interface_start_with_network network_configuration_add_dhcp_reservation
    network_configuration_add_port_forwarding_rule network_configuration_create network_configuration_disable_dhcp
    network_configuration_disable_dns_proxy network_configuration_disable_nat44 network_configuration_disable_nat66
    network_configuration_disable_router_advertisement network_configuration_set_external_interface
    network_configuration_set_ipv4_subnet network_configuration_set_ipv6_prefix network_configuration_set_mtu
    network_copy_serialization network_create network_create_with_serialization network_get_ipv4_subnet
    network_get_ipv6_prefix
"""
CONSTANTS = {
    "VMNET_SUCCESS": 1000, "VMNET_FAILURE": 1001, "VMNET_MEM_FAILURE": 1002, "VMNET_INVALID_ARGUMENT": 1003,
    "VMNET_SETUP_INCOMPLETE": 1004, "VMNET_INVALID_ACCESS": 1005, "VMNET_PACKET_TOO_BIG": 1006,
    "VMNET_BUFFER_EXHAUSTED": 1007, "VMNET_TOO_MANY_PACKETS": 1008, "VMNET_SHARING_SERVICE_BUSY": 1009,
    "VMNET_NOT_AUTHORIZED": 1010, "VMNET_HOST_MODE": 1000, "VMNET_SHARED_MODE": 1001, "VMNET_BRIDGED_MODE": 1002,
}  # fmt: skip


def read(pattern):
    texts = [path.read_text() for path in sorted(ROOT.glob(pattern))]
    assert texts, pattern
    return re.sub(r"/\*.*?\*/", "", "\n".join(texts), flags=re.DOTALL)


def words(text, expression):
    return set(re.findall(expression, text))


def main():
    documented = {f"vmnet_{name}_key" for name in KEYS.split()} | {f"vmnet_{name}" for name in FUNCTIONS.split()}
    header = read("src/compat/include/vmnet/vmnet.h")
    declared = words(header, r"VMNET_API\s[^;]*?\b(vmnet_\w+_key);")
    declared |= words(header, r"VMNET_API\s[^;(]*?\b(vmnet_\w+)\(")
    assert declared == documented, declared ^ documented
    constants = {name: int(value) for name, value in re.findall(r"(VMNET_\w+) = (\d{4}),", header)}
    assert constants == CONSTANTS, set(constants.items()) ^ set(CONSTANTS.items())

    suite = read("tests/conformance/*.c")
    missing = documented - words(suite, r"\bvmnet_\w+")
    assert not missing, f"the conformance suite leaves out {missing}"

    stub = words(read("contrib/macos/stubs/vmnet.tbd.in"), r"\b_(vmnet_\w+)")
    assert stub and stub <= documented, stub - documented
    named = words(read("src/plane/macos/*.c"), r'"(vmnet_\w+)"')
    assert named and named <= documented, named - documented
    assert not named & stub, "what is looked for at run time would be there anyway"

    explained = read("src/plane/macos/status.c")
    statuses = {name for name in CONSTANTS if not name.endswith("_MODE")}
    assert statuses <= words(explained, r"\bVMNET_\w+"), "a status without a meaning"


main()
