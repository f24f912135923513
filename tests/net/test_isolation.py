# SPDX-License-Identifier: Apache-2.0
"""Isolated ports: no frame passes between one and any other port; gateway and outside stay reachable."""

import contextlib
import itertools
import select
import socket

import pytest
from lab import REMOTE, Background, poll, read_exactly
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6ND_Redirect, IPv6
from scapy.layers.l2 import ARP, Ether
from test_spoof import MARK, arrives, changes, drops

NAMES = ("plain", "alone", "alone2")


@pytest.fixture(scope="module")
def guests(network):
    """One that is not isolated, and two that are."""
    with contextlib.ExitStack() as stack:
        yield {
            name: stack.enter_context(network.guest(name=name, isolated=name != "plain"))
            for name in NAMES
        }


def crosses(sender, receiver, frame):
    """True where @frame arrives. Both wait for the gateway, which is behind the same queues."""
    sent = bytes(frame)
    with receiver.packets() as seen, sender.packets() as sending:
        sending.send(sent)
        assert sender.ping(sender.gateway) == 1
        assert receiver.ping(receiver.gateway) == 1
        while select.select([seen], [], [], 0)[0]:
            if seen.recv(65536) == sent:
                return True
    return False


DESTINATIONS = {
    "unicast": None,
    "unknown": "52:54:00:00:00:77",
    "broadcast": "ff:ff:ff:ff:ff:ff",
    "multicast": "01:00:5e:00:00:fb",
    "ipv6 multicast": "33:33:00:00:00:01",
    "link-local multicast": "01:80:c2:00:00:21",
}
PAIRS = list(itertools.permutations(NAMES, 2))


@pytest.mark.parametrize("kind", DESTINATIONS)
@pytest.mark.parametrize("pair", PAIRS, ids=["-".join(pair) for pair in PAIRS])
def test_no_frame_passes(guests, pair, kind):
    sender, receiver = (guests[name] for name in pair)
    # Both addresses are known to the bridge.
    assert sender.ping(sender.gateway) == receiver.ping(receiver.gateway) == 1
    before = drops(sender)
    destination = DESTINATIONS[kind] or receiver.mac
    frame = Ether(src=sender.mac, dst=destination, type=MARK) / bytes(50)
    assert not crosses(sender, receiver, frame)
    changed = changes(before, drops(sender))
    assert set(changed) == {"isolated"} and changed["isolated"] >= 1


def test_others_are_not_disturbed(guests, new_guest, version):
    other = new_guest()
    plain = guests["plain"]
    assert plain.ping(other.addresses[version]) == 1
    assert arrives(plain, other, Ether(src=plain.mac, dst="ff:ff:ff:ff:ff:ff", type=MARK) / b"x")


def test_no_connection(guests, version):
    def tries(client, server):
        address = server.addresses[version]
        assert client.ping(address, timeout_s=1) == 0
        with server.listen(version=version) as listener:
            with pytest.raises(OSError):
                client.connect(address, listener.getsockname()[1], timeout_s=0.3)

    # All at once: each waits for what does not come.
    running = {pair: Background(tries, *(guests[name] for name in pair)) for pair in PAIRS}
    for each in running.values():
        each.result()


@pytest.mark.parametrize("pair", PAIRS, ids=["-".join(pair) for pair in PAIRS])
def test_not_by_the_router(guests, pair, version):
    """What is sent to the gateway's MAC for another guest goes nowhere, and nobody is redirected."""
    sender, receiver = (guests[name] for name in pair)
    kind = {4: IP, 6: IPv6}[version]
    packet = bytes(kind(src=sender.addresses[version], dst=receiver.addresses[version]) / UDP(dport=9))
    with receiver.packets() as seen, sender.packets() as back:
        sender.send_ip(packet)
        assert sender.ping(sender.gateway) == receiver.ping(receiver.gateway) == 1
        while select.select([seen], [], [], 0)[0]:
            assert packet not in seen.recv(65536)
        while select.select([back], [], [], 0)[0]:
            frame = Ether(back.recv(65536))
            assert not frame.haslayer(ICMPv6ND_Redirect), frame
            assert not frame.haslayer(ICMP) or frame[ICMP].type != 5, frame


def test_nobody_answers_for_another(guests):
    """No proxy ARP, nor by neighbour discovery."""
    alone, plain = guests["alone"], guests["plain"]
    question = Ether(src=alone.mac, dst="ff:ff:ff:ff:ff:ff") / ARP(
        hwsrc=alone.mac, psrc=alone.ipv4, pdst=plain.ipv4
    )
    with alone.packets(kind=0x0806) as seen:
        seen.send(bytes(question))
        assert alone.ping(alone.gateway) == 1
        while select.select([seen], [], [], 0)[0]:
            assert ARP(seen.recv(65536)[14:]).psrc != plain.ipv4
    with pytest.raises(OSError), alone.connect(plain.ipv6, 9, timeout_s=0.3):
        pass
    assert "lladdr" not in alone.ip(f"-6 neigh show to {plain.ipv6}")


@pytest.mark.parametrize("name", NAMES)
def test_the_rest_of_the_world(lab, guests, name, version):
    guest = guests[name]
    assert guest.lease["ip"] == guest.ipv4
    assert guest.ping(guest.gateways[version]) == 1
    assert guest.resolve("plain") == (0, [guests["plain"].ipv4])
    with lab.remote.listen(REMOTE[version]) as listener:
        with guest.connect(REMOTE[version], listener.getsockname()[1]) as client:
            accepted, _ = listener.accept()
            with accepted:
                accepted.settimeout(5)
                client.sendall(b"x")
                assert read_exactly(accepted, 1) == b"x"
    with lab.host.listen(version=version) as listener:
        guest.connect(guest.gateways[version], listener.getsockname()[1]).close()


def test_next_port_of_the_name_is_not_isolated(network, guests):
    with network.guest(name="brief", isolated=True) as brief:
        interface = brief.port.interface
        assert brief.ping(guests["plain"].ipv4, timeout_s=1) == 0
    assert poll(
        lambda: interface not in [p["interface"] for p in network.status()["ports"]]
    )
    with network.guest(name="after") as after:
        assert after.port.interface == interface
        assert after.ping(guests["plain"].ipv4) == 1


def test_isolated_without_anti_spoof(network, guests):
    with network.guest(name="liar", isolated=True, antiSpoof=False) as liar:
        plain = guests["plain"]
        for mac in (liar.mac, plain.mac, guests["alone"].mac):
            frame = Ether(src=mac, dst="ff:ff:ff:ff:ff:ff", type=MARK) / bytes(50)
            assert not crosses(liar, plain, frame)
        with liar.udp() as sender, plain.udp() as receiver:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sender.sendto(b"x", ("255.255.255.255", receiver.getsockname()[1]))
            assert not select.select([receiver], [], [], 0.1)[0]
