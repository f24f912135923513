# SPDX-License-Identifier: Apache-2.0
"""Guests among themselves: all of one network, nobody of another."""

import socket

import pytest
from lab import CHUNK_BYTES, Background, poll, read_exactly, send_between


@pytest.fixture(scope="module")
def other(network):
    with network.guest(name="other") as other:
        yield other


def test_ping(guest, other, version):
    assert guest.ping(other.addresses[version], count=3) == 3
    assert other.ping(guest.addresses[version], count=3, size=8000) == 3


def test_tcp(guest, other, version):
    send_between(guest, other, version, 256 * CHUNK_BYTES)


def test_by_name(guest, other):
    assert guest.resolve("other") == (0, [other.ipv4])
    with other.listen() as listener:
        address = guest.resolve("other")[1][0]
        with guest.connect(address, listener.getsockname()[1]) as client:
            accepted, _ = listener.accept()
            with accepted:
                client.sendall(b"name")
                assert read_exactly(accepted, 4) == b"name"


def test_closed_port(guest, other, version):
    with pytest.raises(ConnectionRefusedError):
        guest.connect(other.addresses[version], 1)


def test_engine_does_not_see_it(guest, other, network):
    before = network.counters()["packets_in"]
    assert guest.ping(other.ipv4, count=20) == 20
    assert network.counters()["packets_in"] - before < 5


def test_broadcast(guest, other):
    with other.udp() as receiver, guest.udp() as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sender.sendto(b"all", ("255.255.255.255", receiver.getsockname()[1]))
        assert receiver.recv(10) == b"all"


def test_networks_do_not_reach_each_other(guest, new_network, new_guest, version):
    stranger = new_guest(new_network())
    address = stranger.addresses[version]
    assert stranger.ipv4 != guest.ipv4
    pings = Background(lambda: guest.ping(address, count=3, timeout_s=1))
    with stranger.listen(version=version) as listener:
        # Nor by their gateways. All at once: each fails when its time is over.
        tries = [
            Background(lambda to=to: guest.connect(to, listener.getsockname()[1], timeout_s=1))
            for to in (address, stranger.gateways[version])
        ]
        for each in tries:
            with pytest.raises(OSError):
                each.result()
    assert pings.result() == 0
    with stranger.udp(version=version) as receiver, guest.udp(version=version) as sender:
        sender.sendto(b"x", (address, receiver.getsockname()[1]))
        receiver.settimeout(0.3)
        with pytest.raises(TimeoutError):
            receiver.recv(10)


def test_guest_that_leaves_is_gone(guest, network):
    with network.guest(name="brief") as brief:
        assert guest.ping(brief.ipv4) == 1
        interface = brief.port.interface
    assert poll(lambda: interface not in [p["interface"] for p in network.status()["ports"]])
    assert guest.ping(brief.ipv4, timeout_s=1) == 0
