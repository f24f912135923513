# SPDX-License-Identifier: Apache-2.0
"""Guests that misbehave: the network counts it and goes on, in the same process."""

import contextlib
import os
import random
import select
import socket
import struct

import pytest
from lab import FAMILY, REMOTE, Background, Network, poll, read_exactly
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import Ether

LIMIT = 1024


@pytest.fixture(autouse=True)
def engine_lives(network):
    """The same process before and after."""
    before = network.process("engine")
    yield
    assert network.process("engine") == before, network.log()


GIVEN_UP = 200


@pytest.fixture(scope="module", autouse=True)
def given_up(guest, lab):
    """SYNs whose sender is gone when the answer comes, and their listener. What becomes of them takes the
    engine's 10 s: the other tests run meanwhile."""
    with lab.remote.listen(REMOTE[4]) as listener:
        port = listener.getsockname()[1]
        layer = IP(src=guest.ipv4, dst=REMOTE[4])
        guest.send_ip(
            *(layer / TCP(sport=41000 + n, dport=port, flags="S", seq=1) for n in range(GIVEN_UP))
        )
        yield listener


def works(guest, lab, version):
    """A connection and a datagram pass."""
    with lab.remote.listen(REMOTE[version]) as listener:
        with guest.connect(REMOTE[version], listener.getsockname()[1]) as client:
            accepted, _ = listener.accept()
            with accepted:
                client.sendall(b"x")
                accepted.settimeout(5)
                assert read_exactly(accepted, 1) == b"x"
    with lab.remote.udp(REMOTE[version]) as server, guest.udp(version=version) as client:
        client.sendto(b"works", server.getsockname())
        while server.recv(65536) != b"works":
            pass  # a mutated packet may have found this port
    return True


def seeds(guest, version):
    """Valid packets of every kind that the engine takes."""
    addresses = {"src": guest.addresses[version], "dst": REMOTE[version]}
    port = {"sport": 40010, "dport": 9}
    if version == 4:
        return [
            IP(**addresses) / UDP(**port) / b"payload",
            IP(**addresses) / TCP(**port, flags="S", options=[("MSS", 1460), ("WScale", 7)]),
            IP(**addresses) / TCP(**port, flags="FA") / b"payload",
            IP(**addresses) / ICMP(id=7, seq=1) / b"payload",
            IP(**addresses, flags="MF", id=9) / UDP(**port, len=100) / bytes(24),
            IP(**addresses, frag=3, id=9) / bytes(24),
            IP(**addresses, proto=132) / bytes(24),
        ]
    return [
        IPv6(**addresses) / UDP(**port) / b"payload",
        IPv6(**addresses) / TCP(**port, flags="S", options=[("MSS", 1440), ("WScale", 7)]),
        IPv6(**addresses) / TCP(**port, flags="FA") / b"payload",
        IPv6(**addresses) / ICMPv6EchoRequest(id=7, seq=1, data=b"payload"),
        IPv6(**addresses) / IPv6ExtHdrFragment(m=1, id=9) / UDP(**port, len=100) / bytes(24),
        IPv6(**addresses) / IPv6ExtHdrFragment(offset=4, id=9, nh=17) / bytes(24),
        IPv6(**addresses) / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / UDP(**port) / b"x",
        IPv6(**addresses) / IPv6ExtHdrRouting() / TCP(**port, flags="S"),
    ]


def mutated(packet, version, generator):
    """The packet with some bytes changed, or its end cut off; for IPv4 with a right checksum."""
    data = bytearray(bytes(packet))
    first = 20 if version == 4 else 40
    for _ in range(generator.randint(1, 4)):
        at = generator.randrange(4 if version == 6 else first, len(data))
        if version == 6 and 7 <= at < 40:  # keep hop limit and addresses: the kernel looks at them
            at = generator.randrange(first, len(data))
        data[at] = generator.choice([0, 1, 0x7F, 0x80, 0xFF, generator.randrange(256)])
    if generator.random() < 0.2:
        data = data[: generator.randrange(first, len(data))]
        if version == 4:
            data[2:4] = len(data).to_bytes(2, "big")
            data[10:12] = bytes(2)
            total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, 20, 2))
            total = (total & 0xFFFF) + (total >> 16)
            data[10:12] = (~((total & 0xFFFF) + (total >> 16)) & 0xFFFF).to_bytes(2, "big")
        else:
            data[4:6] = (len(data) - 40).to_bytes(2, "big")
    return bytes(data)


def test_mutated_packets(guest, lab, network, version):
    generator = random.Random(version)
    packets = seeds(guest, version)
    before = network.counters()
    for _ in range(20):
        guest.send_ip(*(mutated(generator.choice(packets), version, generator) for _ in range(100)))
    assert works(guest, lab, version)
    after = network.counters()
    print({name: after[name] - before[name] for name in after if after[name] != before[name]})
    assert after["packets_in"] - before["packets_in"] > 1000
    for counter in ("drop_malformed", "drop_checksum"):
        assert after[counter] > before[counter]


def test_mutated_packets_of_a_device(guest, lab, network, version):
    """A VM monitor also says that a checksum is right, or is to be computed, or a frame is large."""
    generator = random.Random(version)
    destination = bytes.fromhex(guest.gateway_mac(version).replace(":", ""))
    kind = b"\x08\x00" if version == 4 else b"\x86\xdd"
    packets = seeds(guest, version)
    before = network.counters()["packets_in"]
    with network.attach(name="monitor", antiSpoof=False) as port:
        frame = destination + bytes.fromhex(port.mac.replace(":", "")) + kind
        for _ in range(4000):
            data = frame + mutated(generator.choice(packets), version, generator)
            # struct virtio_net_hdr: flags, gso_type, hdr_len, gso_size, csum_start, csum_offset
            header = struct.pack(
                "=BBHHHH",
                generator.choice([0, 1, 2, 2, 2]),
                generator.choice([0, 0, 0, 0, 1, 4, 3, 5]),
                generator.choice([0, 54, 74]),
                generator.choice([0, 1, 8, 500]),
                generator.choice([34, 54, 54, generator.randrange(100)]),
                generator.choice([6, 16, generator.randrange(30)]),
            )
            with contextlib.suppress(OSError):  # the kernel refuses headers that make no sense
                os.write(port.fd, header + data)
    assert works(guest, lab, version)
    assert network.counters()["packets_in"] - before > 500


def test_fragments_that_never_make_a_packet(guest, lab, network, version):
    """More of them than the engine's reassembly has room for; the kernel's has some 4 MB."""
    port = {"sport": 40010, "dport": 9}
    if version == 4:
        base = {"src": guest.ipv4, "dst": REMOTE[4]}
        packets = [IP(**base, id=n, flags="MF") / UDP(**port) / bytes(1400) for n in range(500)]
    else:
        base = IPv6(src=guest.ipv6, dst=REMOTE[6])
        packets = [
            base / IPv6ExtHdrFragment(id=n, m=1) / UDP(**port, chksum=1) / bytes(1400)
            for n in range(500)
        ]
    guest.send_ip(*packets)
    assert works(guest, lab, version)
    with lab.remote.udp(REMOTE[version]) as server, guest.udp(version=version) as client:
        client.sendto(bytes(20000), server.getsockname())
        assert len(server.recv(65536)) == 20000


def fragments(guest, version, port, pieces, number=77):
    """Of one datagram of 40 bytes to @port: (first, end, more) of each piece, in bytes of UDP."""
    whole = bytes(UDP(sport=40010, dport=port, len=48, chksum=0) / bytes(40))
    for first, end, more in pieces:
        if version == 4:
            base = IP(src=guest.ipv4, dst=REMOTE[4], proto=17, id=number, frag=first // 8)
            base.flags = "MF" if more else 0
        else:
            base = IPv6(src=guest.ipv6, dst=REMOTE[6])
            base /= IPv6ExtHdrFragment(id=number, m=more, offset=first // 8, nh=17)
        yield base / whole[first:end]


def test_overlapping_fragments_are_dropped(guest, lab, version):
    """RFC 5722: none of such a packet is used. The kernel does the same with IPv4."""
    with lab.remote.udp(REMOTE[version]) as server:
        port = server.getsockname()[1]
        guest.send_ip(*fragments(guest, version, port, [(0, 24, 1), (16, 32, 1), (32, 48, 0)]))
        server.settimeout(0.2)
        with pytest.raises(TimeoutError):
            server.recv(100)


def test_fragments_of_more_than_a_packet(guest, lab, version):
    """Beyond 65535 bytes, a first one without its UDP header, and a last one that comes alone."""
    with lab.remote.udp(REMOTE[version]) as server:
        port = server.getsockname()[1]
        for number, pieces in enumerate(([(0, 8, 1), (65528, 65536, 0)], [(0, 0, 1)], [(40, 48, 0)])):
            guest.send_ip(*fragments(guest, version, port, pieces, number))
        for number in range(50):
            packet = IP(src=guest.ipv4, dst=REMOTE[4], proto=17, id=number, frag=8189) / bytes(64)
            guest.send_ip(packet)
        assert works(guest, lab, version)


def test_data_on_a_syn(guest, lab, version):
    """It is not passed on: the guest is told that it has to send it again, and may."""
    with lab.remote.listen(REMOTE[version]) as listener, guest.packets() as seen:
        layer = (IPv6 if version == 6 else IP)(src=guest.addresses[version], dst=REMOTE[version])
        guest.send_ip(layer / TCP(sport=41900, dport=listener.getsockname()[1], flags="S", seq=9) / b"early")

        def acknowledged():
            frame = Ether(seen.recv(65536))
            return TCP in frame and frame[TCP].dport == 41900 and frame[TCP].flags == "SA" and frame[TCP].ack

        assert poll(acknowledged) == 10
        with listener.accept()[0] as accepted:  # it ends in 10 s: the guest's kernel has reset what it did not ask for
            assert not select.select([accepted], [], [], 0.1)[0]
    assert works(guest, lab, version)


def test_leases_are_not_to_be_had_by_many_names(guest, network):
    """One a port: forged hardware addresses are dropped where they enter, client ids mean nothing."""
    pool = int(network.describe()["poolEnd"].rpartition(".")[2])
    mac = bytes.fromhex(guest.mac.replace(":", ""))
    frame = Ether(src=guest.mac, dst="ff:ff:ff:ff:ff:ff")
    frame /= IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67)
    drops = lambda: next(  # noqa: E731
        port["drops"]["spoofed_mac"] for port in network.status()["ports"] if port["name"] == guest.port.name
    )
    before = drops()
    with guest.packets() as raw:
        for number in range(pool + 50):
            forged = b"\x52\x54\x00\x01" + number.to_bytes(2, "big")
            for kind in ("discover", "decline"):
                options = [("message-type", kind), ("requested_addr", guest.ipv4), "end"]
                raw.send(bytes(frame / BOOTP(chaddr=forged, xid=number) / DHCP(options=options)))
            options = [("message-type", "discover"), ("client_id", b"\x00" + forged), "end"]
            raw.send(bytes(frame / BOOTP(chaddr=mac, xid=number) / DHCP(options=options)))
    assert poll(lambda: drops() >= before + 2 * (pool + 50))
    with network.guest(name="newcomer") as newcomer:
        assert newcomer.lease["ip"] == newcomer.port.ipv4
    assert guest.dhcp()["ip"] == guest.ipv4


def test_fewer_descriptors_than_flows(lab, version):
    """A host that allows few descriptors: some connections fail, no more than that."""
    lab.host.run(
        ["prlimit", f"--nofile={LIMIT}:{LIMIT}", lab.vmnet_path, "up", "few"], capabilities=False
    )
    few = Network(lab, "few")
    try:
        with few.guest() as small, lab.remote.listen(REMOTE[version]) as listener:
            engine = few.process("engine")
            clients = []
            for _ in range(450):
                client = small.socket(FAMILY[version], socket.SOCK_STREAM)
                clients.append(client)
                client.setblocking(False)
                client.connect_ex(listener.getsockname()[:2])
            accepted = []
            listener.settimeout(0.5)
            with contextlib.suppress(TimeoutError):
                while True:
                    accepted.append(listener.accept()[0])
            assert 100 < len(accepted) < 400
            counters = few.counters()
            reasons = ("drop_quota_tcp", "drop_quota_half_open", "drop_no_descriptor")
            assert sum(counters[reason] for reason in reasons) > 0
            with lab.dns_server(records={("www.example", "A"): ["192.0.2.80"]}):
                assert small.resolve("www.example", timeout_s=5) == (0, ["192.0.2.80"])
            for stream in clients + accepted:
                stream.close()
            assert poll(lambda: few.counters()["tcp_open"] == 0)
            listener.settimeout(5)
            # More sources of datagrams than the table has room for: the oldest give way.
            with lab.remote.udp(REMOTE[version]) as server:
                for number in range(300):
                    with small.udp(version=version) as client:
                        client.sendto(b"%d" % number, server.getsockname())
                        assert server.recv(10) == b"%d" % number
            assert poll(lambda: works(small, lab, version))
            assert few.process("engine") == engine
    finally:
        few.down()


def test_connection_that_is_not_read(guest, lab, version):
    """A guest that does not read one connection does not keep the others waiting."""
    with lab.remote.listen(REMOTE[version]) as listener:
        with guest.connect(REMOTE[version], listener.getsockname()[1]) :
            accepted, _ = listener.accept()
            accepted.settimeout(0.5)

            def fill():
                with contextlib.suppress(TimeoutError):
                    while True:
                        accepted.send(bytes(1 << 20))

            filling = Background(fill)
            assert works(guest, lab, version)
            filling.result()
            accepted.close()


def test_connections_that_the_guest_gives_up(given_up, network):
    """The guest's kernel resets what it does not know; then the outside ends too."""
    ended = 0
    while ended < GIVEN_UP and select.select([given_up], [], [], 3)[0]:
        accepted, _ = given_up.accept()
        with accepted, contextlib.suppress(ConnectionResetError):
            accepted.settimeout(15)
            assert accepted.recv(1) == b""
        ended += 1
    assert ended == GIVEN_UP
    assert poll(lambda: network.counters()["tcp_open"] == 0)
