# SPDX-License-Identifier: Apache-2.0
"""UDP from a guest to the outside."""

import os
import select
import socket

import pytest
from lab import HOST, REMOTE, REMOTE_B, poll
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6


@pytest.fixture
def server(lab, version):
    with lab.remote.udp(REMOTE[version]) as server:
        yield server


@pytest.fixture
def client(guest, version):
    with guest.udp(version=version) as client:
        yield client


def test_echo(client, server):
    for number in range(100):
        client.sendto(b"%d" % number, server.getsockname())
        data, outside = server.recvfrom(100)
        server.sendto(data, outside)
        assert client.recvfrom(100) == (b"%d" % number, server.getsockname())


def test_outside_sees_the_host(client, server, version):
    client.sendto(b"x", server.getsockname())
    assert server.recvfrom(100)[1][0] == HOST[version]


@pytest.mark.parametrize("size", [0, 1, 1472, 1473, 8192, 60000, 65507])
def test_any_size_both_ways(client, server, version, size):
    """Nothing, one byte, to either side of the MTU, and many fragments up to IPv4's most."""
    data = os.urandom(size)
    client.sendto(data, server.getsockname())
    received, outside = server.recvfrom(65536)
    assert received == data
    server.sendto(data, outside)
    assert client.recvfrom(65536) == (data, server.getsockname())


def test_one_port_outside_for_all_servers(lab, client, server, version):
    with lab.remote.udp(REMOTE_B[version]) as second:
        client.sendto(b"first", server.getsockname())
        client.sendto(b"second", second.getsockname())
        outside = server.recvfrom(100)[1]
        assert second.recvfrom(100)[1] == outside


def test_who_was_not_asked_may_answer(lab, client, server, version):
    with lab.remote.udp(REMOTE_B[version]) as other:
        client.sendto(b"question", server.getsockname())
        outside = server.recvfrom(100)[1]
        other.sendto(b"answer", outside)
        assert client.recvfrom(100) == (b"answer", other.getsockname())


def test_guest_ports_do_not_mix(guest, server, version):
    with guest.udp(version=version) as one, guest.udp(version=version) as two:
        outside = {}
        for client, word in ((one, b"one"), (two, b"two")):
            client.sendto(word, server.getsockname())
            data, outside[word] = server.recvfrom(100)
            assert data == word
        assert outside[b"one"] != outside[b"two"]
        for word in (b"two", b"one"):
            server.sendto(word, outside[word])
        assert one.recv(100) == b"one"
        assert two.recv(100) == b"two"


def test_closed_port_is_refused(lab, client, network, version):
    with lab.remote.udp(REMOTE[version]) as server:
        address = server.getsockname()
    before = network.counters()["udp_errors"]
    client.connect(address[:2])
    client.send(b"x")
    with pytest.raises(ConnectionRefusedError):
        client.recv(1)
    assert network.counters()["udp_errors"] == before + 1


def test_after_an_error_the_port_works(lab, client, server, version):
    """An error for one destination loses no datagram to another."""
    with lab.remote.udp(REMOTE_B[version]) as closed:
        address = closed.getsockname()
    for number in range(20):
        client.sendto(b"nobody", address)
        client.sendto(b"%d" % number, server.getsockname())
        assert server.recv(100) == b"%d" % number


def test_unreachable_network(lab, client, network, version):
    address = "203.0.113.9" if version == 4 else "2001:db8:2::9"
    lab.host.ip(f"route add unreachable {address}")
    try:
        # Without these options a UDP socket only hears of errors that RFC 1122 calls hard.
        level, option = (socket.SOL_IP, 11) if version == 4 else (socket.IPPROTO_IPV6, 25)
        client.setsockopt(level, option, 1)  # IP_RECVERR, IPV6_RECVERR
        client.connect((address, 9))
        client.send(b"x")
        with pytest.raises(OSError, match="unreachable|No route to host"):
            client.recv(1)
    finally:
        lab.host.ip(f"route del unreachable {address}")


def test_gateway_is_the_host(lab, client, guest, version):
    with lab.host.udp(version=version) as service:
        address = (guest.gateways[version], service.getsockname()[1])
        client.sendto(b"question", address)
        data, outside = service.recvfrom(100)
        assert data == b"question"
        service.sendto(b"answer", outside)
        data, source = client.recvfrom(100)
        assert (data, source[:2]) == (b"answer", address)


def test_host_by_its_own_name_is_denied(lab, client, network, version):
    before = network.counters()["drop_denied"]
    with lab.host.udp(version=version) as service:
        client.connect((HOST[version], service.getsockname()[1]))
        client.send(b"x")
        with pytest.raises(OSError, match="unreachable|No route to host|Permission denied"):
            client.recv(1)
        assert not select.select([service], [], [], 0)[0]
    assert network.counters()["drop_denied"] == before + 1


def test_wrong_checksum_is_dropped(guest, client, server, network, version):
    before = network.counters()["drop_checksum"]
    port = server.getsockname()[1]
    layer = (IPv6 if version == 6 else IP)(src=guest.addresses[version], dst=REMOTE[version])
    guest.send_ip(layer / UDP(sport=40003, dport=port, chksum=0xDEAD) / b"wrong")
    assert poll(lambda: network.counters()["drop_checksum"] == before + 1, 2)
    client.sendto(b"right", server.getsockname())
    assert server.recv(100) == b"right"


def test_length_that_is_not_true_is_dropped(guest, client, server, network, version):
    before = network.counters()["drop_malformed"]
    port = server.getsockname()[1]
    layer = (IPv6 if version == 6 else IP)(src=guest.addresses[version], dst=REMOTE[version])
    for length in (7, 2000):
        guest.send_ip(layer / UDP(sport=40003, dport=port, len=length) / b"wrong")
    assert poll(lambda: network.counters()["drop_malformed"] == before + 2, 2)
    client.sendto(b"right", server.getsockname())
    assert server.recv(100) == b"right"


def test_foreign_source_is_dropped(guest, client, server, network, version):
    """Nothing goes out in the host's name for an address that is not the network's own."""
    port = server.getsockname()[1]
    foreign = "203.0.113.55" if version == 4 else "2001:db8:5::5"
    layer = (IPv6 if version == 6 else IP)(src=foreign, dst=REMOTE[version])
    before = network.counters()["drop_source"]
    with network.guest(antiSpoof=False) as liar:
        liar.send_ip(layer / UDP(sport=40004, dport=port) / b"foreign")
    assert poll(lambda: network.counters()["drop_source"] > before)
    client.sendto(b"own", server.getsockname())
    assert server.recvfrom(100)[0] == b"own"


def test_stream_of_datagrams(client, server):
    """Windows of 64: more than one turn of the engine, less than any buffer."""
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    for window in range(20):
        for number in range(64):
            client.sendto(b"%d %d" % (window, number), server.getsockname())
        for number in range(64):
            data, outside = server.recvfrom(100)
            assert data == b"%d %d" % (window, number)
            server.sendto(data, outside)
        for number in range(64):
            assert client.recv(100) == b"%d %d" % (window, number)


@pytest.mark.parametrize("size", [1400, 1472, 20000])
def test_smaller_mtu_outside(lab, client, server, size):
    """A host on a link of 1280 bytes: what the guest sends as it always did arrives."""
    data = os.urandom(size)
    try:
        lab.host.ip("link set out0 mtu 1280")
        lab.remote.ip("link set in0 mtu 1280")
        for _ in range(2):
            client.sendto(data, server.getsockname())
            received, outside = server.recvfrom(65536)
            assert received == data
            server.sendto(data, outside)
            assert client.recvfrom(65536) == (data, server.getsockname())
    finally:
        lab.remote.ip("link set in0 mtu 1500")
        lab.host.ip("link set out0 mtu 1500")
