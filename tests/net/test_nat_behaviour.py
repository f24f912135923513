# SPDX-License-Identifier: Apache-2.0
"""RFC 4787, requirement by requirement, where test_udp.py has not shown it. docs/nat-behaviour.md has the list."""

import contextlib
import itertools
import os
import re
import select
import socket

import pytest
from lab import FAMILY, HERE, HOST, REMOTE, REMOTE_B, poll
from scapy.layers.inet import ICMP, IP, UDP, fragment
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrFragment,
    fragment6,
)
from scapy.layers.l2 import Ether

FRAGMENT_BYTES = 1280


@pytest.fixture
def servers(lab, version):
    """Two addresses outside, two ports each."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(lab.remote.udp(address[version]))
            for address in (REMOTE, REMOTE, REMOTE_B, REMOTE_B)
        ]


@pytest.fixture
def client(guest, version):
    with guest.udp(version=version) as client:
        yield client


def outside_of(client, server):
    """The address and port as which @server sees @client."""
    client.sendto(b"who am I", server.getsockname())
    return server.recvfrom(100)[1][:2]


def reaches(sender, outside, client):
    """True where a datagram of @sender to @outside comes to @client with the sender's own address."""
    word = os.urandom(8)
    sender.sendto(word, outside)
    data, source = client.recvfrom(100)
    return data == word and source[:2] == sender.getsockname()[:2]


def ip_layer(src, dst):
    return (IPv6 if ":" in dst else IP)(src=src, dst=dst)


def test_document_names_tests_that_exist():
    """docs/nat-behaviour.md: what it says is shown by a test."""
    text = (HERE.parent.parent / "docs" / "nat-behaviour.md").read_text()
    named = re.findall(r"`(?:(test_\w+)\.(py|c))?(?:::)?(test_\w+)?`", text)
    assert len(named) > 20
    for file, kind, test in named:
        folder = HERE.parent / ("unit" if kind == "c" else "net")
        source = (folder / f"{file or 'test_nat_behaviour'}.{kind or 'py'}").read_text()
        assert not test or f"def {test}(" in source or f" {test}(" in source, (file, test)


# ---- mapping


def test_mapping_is_the_same_for_all_destinations(client, servers):
    """REQ-1: one address and port outside, whoever is spoken to."""
    assert len({outside_of(client, server) for server in servers}) == 1


def test_one_address_for_all_of_a_guests_flows(lab, guest, version):
    """REQ-2: of several addresses that the host has outside, all protocols have the same one."""
    more = "198.51.100.9/24" if version == 4 else "2001:db8:1::9/64"
    lab.host.ip(f"address add {more} dev out0 {'nodad' if version == 6 else ''}")
    try:
        with lab.remote.udp(REMOTE[version]) as server, lab.remote.listen(REMOTE[version]) as listener:
            seen = set()
            for _ in range(10):
                with guest.udp(version=version) as client:
                    seen.add(outside_of(client, server)[0])
                with guest.connect(*listener.getsockname()[:2]):
                    accepted, peer = listener.accept()
                    accepted.close()
                    seen.add(peer[0])
        assert len(seen) == 1
    finally:
        lab.host.ip(f"address del {more} dev out0")


def test_each_flow_has_a_port_of_its_own(guest, new_guest, servers, version):
    """REQ-3 and REQ-3a: ports are never shared, and never well-known ones; RFC 6056: nobody can guess the next."""
    other = new_guest()
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(each.udp(version=version)) for each in (guest, other) for _ in range(100)
        ]
        ports = [outside_of(client, servers[0])[1] for client in clients]
    assert len(set(ports)) == len(ports)
    assert min(ports) >= 1024
    steps = [second - first for first, second in itertools.pairwise(ports)]
    assert max(steps.count(step) for step in set(steps)) < len(steps) // 4


def test_behaviour_does_not_change(guest, client, servers, version):
    """REQ-11: the same mapping and the same filtering while others come and go, and at the end."""
    outside = outside_of(client, servers[0])
    for _ in range(5):
        with contextlib.ExitStack() as stack:
            for other in [stack.enter_context(guest.udp(version=version)) for _ in range(50)]:
                assert outside_of(other, servers[1]) != outside
        assert {outside_of(client, server) for server in servers} == {outside}
        assert all(reaches(server, outside, client) for server in servers)


def test_mapping_is_for_udp_alone(lab, guest, client, servers, version):
    """RFC 7857 5 and 6: a TCP connection to the port of a UDP mapping finds nobody."""
    outside = outside_of(client, servers[0])
    with guest.listen(port=client.getsockname()[1], version=version):
        with pytest.raises(ConnectionRefusedError):
            lab.remote.connect(*outside)


# ---- filtering


def test_filtering_is_endpoint_independent(client, servers):
    """REQ-8: another address and another port may answer, though only one was asked."""
    outside = outside_of(client, servers[0])
    assert all(reaches(server, outside, client) for server in servers)


def test_port_without_a_mapping_is_refused(lab, client, servers, version):
    """Its neighbours are nobody's: the host says so, and no guest gets anything."""
    address, port = outside_of(client, servers[0])
    taken = lab.host.run(["ss", "-Hanu"]).stdout
    free = next(n for n in range(port + 1, port + 500) if not re.search(rf":{n}\b", taken))
    servers[1].connect((address, free))
    servers[1].send(b"x")
    with pytest.raises(ConnectionRefusedError):
        servers[1].recv(1)
    assert not select.select([client], [], [], 0)[0]


# ---- hairpinning


def test_guests_meet_by_the_gateways_address(guest, new_guest, servers, version):
    """REQ-9, as far as it is met: the gateway's address is the host, and a guest's port outside is a port of
    the host's. The other side sees the sender's port outside, at the gateway's address."""
    other = new_guest()
    with guest.udp(version=version) as one, other.udp(version=version) as two:
        port_one, port_two = (outside_of(each, servers[0])[1] for each in (one, two))
        two.sendto(b"to one", (other.gateways[version], port_one))
        data, source = one.recvfrom(100)
        assert (data, source[:2]) == (b"to one", (guest.gateways[version], port_two))
        one.sendto(b"to two", source)
        assert two.recvfrom(100)[0] == b"to two"


def test_guests_do_not_meet_by_the_hosts_address(guest, new_guest, servers, version):
    """REQ-9, as far as it is not: what the host's own addresses have is for no guest."""
    other = new_guest()
    with guest.udp(version=version) as one, other.udp(version=version) as two:
        outside = outside_of(one, servers[0])
        assert outside[0] == HOST[version]
        two.connect(outside)
        two.send(b"x")
        with pytest.raises(OSError, match="unreachable|No route to host|Permission denied"):
            two.recv(1)
        assert not select.select([one], [], [], 0)[0]


# ---- what is not changed


def test_no_payload_is_changed(guest, client, servers, version):
    """REQ-10: no application level gateway. What carries the guest's address arrives as it was."""
    address, port = guest.addresses[version], client.getsockname()[1]
    sip = (
        f"INVITE sip:a@example.com SIP/2.0\r\nVia: SIP/2.0/UDP {address}:{port}\r\n"
        f"Contact: <sip:b@{address}:{port}>\r\n\r\nc=IN IP{version} {address}\r\nm=audio {port} RTP/AVP 0\r\n"
    ).encode()
    client.sendto(sip, servers[0].getsockname())
    data, outside = servers[0].recvfrom(2000)
    assert data == sip
    servers[0].sendto(sip, outside)
    assert client.recv(2000) == sip


# ---- ICMP

ERRORS = {
    4: [ICMP(type=3, code=code) for code in range(16)]
    + [ICMP(type=4), ICMP(type=5, gw=REMOTE_B[4])]
    + [ICMP(type=11, code=code) for code in (0, 1)]
    + [ICMP(type=12, code=code) for code in (0, 1)]
    + [ICMP(type=3, code=4, nexthopmtu=1400)],
    6: [ICMPv6DestUnreach(code=code) for code in range(7)]
    + [ICMPv6PacketTooBig(mtu=1400)]
    + [ICMPv6TimeExceeded(code=code) for code in (0, 1)]
    + [ICMPv6ParamProblem(code=code) for code in (0, 1)],
}


@pytest.mark.parametrize("sender", [REMOTE, REMOTE_B], ids=["the destination", "a router"])
def test_no_icmp_ends_a_mapping(lab, client, servers, version, sender):
    """REQ-12 and REQ-12a: errors of every kind, from whomever; the mapping is what it was."""
    server = servers[0]
    outside = outside_of(client, server)
    address, port = server.getsockname()[:2]
    quoted = ip_layer(outside[0], address) / UDP(sport=outside[1], dport=port) / b"who am I"
    protocol = socket.IPPROTO_ICMP if version == 4 else socket.IPPROTO_ICMPV6
    with lab.remote.socket(FAMILY[version], socket.SOCK_RAW, protocol) as raw:
        raw.bind((sender[version], 0))
        for error in ERRORS[version]:
            # The checksum of ICMPv6 is the kernel's (RFC 3542 3.1).
            raw.sendto(bytes(error / quoted), (outside[0], 0))
            # A receiving socket is told of some: that is for who sent, once.
            assert poll(lambda: answers(client, server)) == outside
    assert reaches(servers[3], outside, client)


def answers(client, server):
    with contextlib.suppress(OSError):
        return outside_of(client, server)


def test_error_comes_from_who_sent_it(lab, guest, client, network, version):
    """REQ-12a and REQ-12b: the guest hears of an unreachable destination, from the router that says it."""
    beyond = "203.0.113.9" if version == 4 else "2001:db8:2::9"
    before = network.counters()["udp_errors"]
    with guest.packets(kind=0x0800 if version == 4 else 0x86DD) as seen:
        # The remote is the default gateway, and routes nothing: nobody answers for it here.
        lab.remote.nft(
            "table inet test { chain input { type filter hook prerouting priority -300; "
            f"{'ip' if version == 4 else 'ip6'} daddr {beyond} reject; }}; }}"
        )
        try:
            client.sendto(b"x", (beyond, 9))
            assert poll(lambda: network.counters()["udp_errors"] == before + 1)
        finally:
            lab.remote.nft("delete table inet test")
        kind = ICMP if version == 4 else ICMPv6DestUnreach

        def error():
            while select.select([seen], [], [], 0)[0]:
                packet = (IP if version == 4 else IPv6)(seen.recv(65536)[14:])
                if kind in packet and packet.dst == guest.addresses[version]:
                    return packet

        assert poll(error).src in (REMOTE[version], REMOTE_B[version])  # whichever it takes for its own


# ---- fragments


def fragments_of(packet, version):
    if version == 4:
        return fragment(packet, fragsize=FRAGMENT_BYTES - 20)
    source, destination, payload = packet.src, packet.dst, packet.payload
    head = IPv6(src=source, dst=destination) / IPv6ExtHdrFragment(id=int.from_bytes(os.urandom(4)))
    return fragment6(head / payload, FRAGMENT_BYTES)


ORDERS = {"reversed": lambda parts: parts[::-1], "last first": lambda parts: parts[-1:] + parts[:-1]}


@pytest.mark.parametrize("order", ORDERS)
def test_fragments_out_of_order_outwards(guest, servers, version, order):
    """REQ-14."""
    data = os.urandom(6000)
    address, port = servers[0].getsockname()[:2]
    packet = ip_layer(guest.addresses[version], address) / UDP(sport=40123, dport=port) / data
    parts = fragments_of(type(packet)(bytes(packet)), version)
    assert len(parts) == 5
    guest.send_ip(*ORDERS[order](parts))
    assert servers[0].recv(65536) == data


@pytest.mark.parametrize("order", ORDERS)
def test_fragments_out_of_order_inwards(lab, client, servers, version, order):
    """REQ-14."""
    data = os.urandom(6000)
    outside = outside_of(client, servers[0])
    address, port = servers[0].getsockname()[:2]
    mac = re.search(r"link/ether (\S+)", lab.host.ip("link show dev out0"))[1]
    packet = ip_layer(address, outside[0]) / UDP(sport=port, dport=outside[1]) / data
    with lab.remote.packets("in0") as raw:
        for part in ORDERS[order](fragments_of(type(packet)(bytes(packet)), version)):
            raw.send(bytes(Ether(dst=mac) / part))
    data_seen, source = client.recvfrom(65536)
    assert data_seen == data
    assert source[:2] == (address, port)
