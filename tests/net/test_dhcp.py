# SPDX-License-Identifier: Apache-2.0
"""What a guest learns of its network: DHCP and router advertisements."""

import ipaddress
import select
import struct

from lab import TIMEOUT_S, poll


def test_lease_is_what_attach_said(guest, network):
    facts, lease = guest.port.facts, guest.lease
    interface = ipaddress.IPv4Interface(facts["ipv4"])
    assert lease["ip"] == str(interface.ip)
    assert lease["subnet"] == str(interface.netmask)
    assert lease["router"] == lease["dns"] == facts["gateway"]
    assert lease["mtu"] == str(facts["mtu"]) == "1500"
    assert lease["domain"] == facts["domain"]
    assert lease["hostname"] == facts["name"]
    assert lease["serverid"] == facts["gateway"]
    described = network.describe()
    assert interface.network == ipaddress.IPv4Network(described["subnet"])
    assert described["gateway"] == facts["gateway"]
    start, end = (ipaddress.IPv4Address(described[key]) for key in ("poolStart", "poolEnd"))
    assert start <= interface.ip <= end


def test_same_name_same_address(network):
    facts = []
    for _ in range(3):
        with network.guest(name="again") as guest:
            facts.append((guest.mac, guest.lease["ip"], guest.ipv6))
        assert poll(lambda: "again" not in [port["name"] for port in network.status()["ports"]])
        with network.guest():  # another one in between does not get it
            pass
    assert facts[0] == facts[1] == facts[2]


def test_same_address_on_the_next_run(lab):
    """The network ends; what it knew stays."""
    seen = []
    for number in range(2):
        network = lab.network("lasting-addresses")
        try:
            if number == 1:  # in another order
                network.attach(name="second").close()
            with network.guest(name="first") as guest:
                seen.append((guest.mac, guest.ipv4, guest.ipv6, guest.gateway, guest.gateway6))
        finally:
            network.down()
    assert seen[0] == seen[1]


def test_given_mac(new_guest):
    guest = new_guest(mac="52:54:00:12:34:56")
    assert guest.mac == "52:54:00:12:34:56"
    assert guest.lease["ip"] == guest.ipv4


def test_given_addresses(new_network, new_guest):
    network = new_network("--start-address", "10.77.0.1", "--end-address", "10.77.0.2",
                          "--subnet-mask", "255.255.255.0")
    guest = new_guest(network)
    assert guest.lease["ip"] == "10.77.0.2"
    assert guest.lease["router"] == "10.77.0.1"


def test_foreign_mac_gets_no_lease(network, new_guest):
    guest = new_guest(configure=False)
    guest.ip("link set eth0 address 52:54:00:de:ad:01")
    guest.up()
    assert guest.dhcp(tries=2, check=False) == {}


def test_prefix_and_mtu_of_the_router(guest, network):
    prefix = ipaddress.IPv6Network(network.describe()["ipv6Prefix"])
    assert ipaddress.IPv6Address(guest.ipv6) in prefix
    # The interface identifier of the MAC (RFC 4291, appendix A): no other is in use here.
    assert guest.gateway6 == str(prefix[1])
    advertisement = router_advertisement(guest)
    assert advertisement["prefix"] == prefix
    assert advertisement["autonomous"] and advertisement["mtu"] == 1500
    assert advertisement["lifetime_s"] == 1800
    assert not advertisement["managed"]
    routes = guest.ip("-6 route show default")
    assert "via fe80" in routes


def test_no_router_where_the_host_has_no_ipv6(lab, new_network, new_guest):
    """Guests have addresses, but no way out that leads nowhere."""
    route = lab.host.ip("-6 route show default").strip()
    lab.host.ip(f"-6 route del {route}")
    try:
        guest = new_guest(new_network())
        assert guest.ipv6
        assert router_advertisement(guest)["lifetime_s"] == 0
        assert guest.ip("-6 route show default") == ""
        assert guest.ping(guest.gateway6) == 1
    finally:
        lab.host.ip(f"-6 route add {route}")


def router_advertisement(guest, timeout_s=TIMEOUT_S):
    """Asks for an advertisement. Returns what it says, or None where none comes."""
    with guest.packets(kind=0x86DD) as seen:
        solicit = guest.socket(10, 3, 58)  # AF_INET6, SOCK_RAW, ICMPv6: the checksum is the kernel's
        with solicit:
            solicit.setsockopt(41, 18, 255)  # IPPROTO_IPV6, IPV6_MULTICAST_HOPS
            solicit.setsockopt(41, 16, 255)  # IPV6_UNICAST_HOPS
            index = int(guest.run(["cat", "/proc/net/dev_snmp6/eth0"]).stdout.split()[1])
            solicit.sendto(b"\x85" + bytes(7), ("ff02::2", 0, 0, index))

        def found():
            while select.select([seen], [], [], 0)[0]:
                frame = seen.recv(65536)
                if frame[20] == 58 and frame[54] == 134:
                    return frame[54:]
            return None

        message = poll(found, timeout_s)
    if not message:
        return None
    told = {"lifetime_s": struct.unpack("!H", message[6:8])[0], "managed": bool(message[5] & 0x80)}
    told["options"] = set()
    at = 16
    while at < len(message):
        kind, len_bytes = message[at], message[at + 1] * 8
        option = message[at : at + len_bytes]
        told["options"].add(kind)
        if kind == 3:
            told["prefix"] = ipaddress.IPv6Network((option[16:32], option[2]))
            told["autonomous"] = bool(option[3] & 0x40)
        elif kind == 5:
            told["mtu"] = struct.unpack("!I", option[4:8])[0]
        at += len_bytes
    return told
