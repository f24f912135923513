# SPDX-License-Identifier: Apache-2.0
"""A guest that takes all that it can get leaves room: the others work as if it were not there.

The network has few descriptors, so that its tables are small, and one worker, so that they are one of each;
the shares are the same parts of them.
"""

import contextlib
import os
import re
import select
import socket
import time

import pytest
from lab import FAMILY, REMOTE, REMOTE_B, Background, Network, poll, read_exactly
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from test_tcp import dropped

DESCRIPTORS = 2000
SILENT = 9999
# More than the network has room for, of all that is counted here.
MANY = 1000


@pytest.fixture(scope="module", autouse=True)
def ping_sockets(lab):
    group = os.getegid()
    lab.host.sysctl({"ipv4/ping_group_range": f"{group} {group}"})


@pytest.fixture(scope="module")
def network(lab):
    limit = f"--nofile={DESCRIPTORS}:{DESCRIPTORS}"
    up = [lab.vmnet_path, "up", "shares", "--workers", 1]
    lab.host.run(["prlimit", limit, *up], capabilities=False)
    network = Network(lab, "shares")
    try:
        yield network
    finally:
        print(network.log())
        network.down()


@pytest.fixture
def greedy(network):
    """A guest that begins with nothing: what the last one of its port had is gone, whatever its addresses were."""
    with network.guest(name="greedy") as guest:
        assert not any(use(network, guest).values())
        yield guest


@pytest.fixture(scope="module")
def other(network):
    with network.guest(name="other") as guest:
        yield guest


def use(network, guest):
    """{table: entries} of a guest's port."""
    [port] = [port for port in network.status()["ports"] if port["name"] == guest.port.name]
    return port["use"]


def ip_of(guest, version, dst=REMOTE):
    return (IPv6 if version == 6 else IP)(src=guest.addresses[version], dst=dst[version])


def numbered(packet, checksum_at, *places):
    """MANY copies of a packet, each with a number of its own in the 16-bit fields at @places (RFC 1624 3)."""
    first = bytes(packet)
    for number in range(MANY):
        data = bytearray(first)
        total = 0xFFFF ^ int.from_bytes(data[checksum_at : checksum_at + 2], "big")
        for at in places:
            total += 0xFFFF ^ int.from_bytes(data[at : at + 2], "big")
            total += 10000 + number
            data[at : at + 2] = (10000 + number).to_bytes(2, "big")
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        data[checksum_at : checksum_at + 2] = (0xFFFF ^ total).to_bytes(2, "big")
        yield bytes(data)


def many_tcp(packet, *places):
    first = 40 if packet.version == 6 else 20
    return list(numbered(packet / TCP(sport=1, dport=SILENT, flags="S"), first + 16, first, *places))


def many_udp(packet, *places):
    first = 40 if packet.version == 6 else 20
    return list(numbered(packet / UDP(sport=1, dport=SILENT) / b"x", first + 6, first, *places))


def labelled(packets):
    """With flow labels of all kinds; they are in no checksum."""
    return [packet[:2] + os.urandom(2) + packet[4:] for packet in packets]


LAST_OF_SOURCE = 22  # of an IPv6 packet


@contextlib.contextmanager
def normal(lab, guest):
    """While this lasts a guest's open connection and mapping stay; at its end all that is new works, and at once."""
    server = lab.remote.udp(REMOTE[4])
    client = guest.udp()
    listener = lab.remote.listen(REMOTE[4])
    with server, client, listener:
        client.sendto(b"1", server.getsockname())
        outside = server.recvfrom(10)[1]
        stream = guest.connect(REMOTE[4], listener.getsockname()[1])
        accepted, _ = listener.accept()
        with stream, accepted:
            yield
            stream.sendall(b"still")
            assert read_exactly(accepted, 5) == b"still"
            client.sendto(b"2", server.getsockname())
            data, address = server.recvfrom(10)
            assert (data, address) == (b"2", outside), "the mapping is the same"
            works_at_once(lab, guest)


def works_at_once(lab, guest):
    slowest = 0
    with lab.dns_server(records={("www.example", "A"): ["192.0.2.80"]}):
        for version in (4, 6):
            with lab.remote.listen(REMOTE[version]) as listener, lab.remote.udp(REMOTE[version]) as server:
                for _ in range(20):
                    start = time.monotonic()
                    with guest.connect(REMOTE[version], listener.getsockname()[1]):
                        listener.accept()[0].close()
                    with guest.udp(version=version) as client:
                        client.sendto(b"x", server.getsockname())
                        _, address = server.recvfrom(10)
                        server.sendto(b"y", address)
                        assert client.recv(10) == b"y"
                    slowest = max(slowest, time.monotonic() - start)
            assert guest.ping(REMOTE[version], count=3) >= 3
        assert guest.resolve("www.example") == (0, ["192.0.2.80"])
    print(f"slowest exchange {slowest * 1000:.1f} ms")
    assert slowest < 0.9  # nothing had to be sent again, which is after a second


def whole(network, table):
    """How many entries a table has for all guests. Said where a guest could have no more of it."""
    return int(re.findall(rf"has its share of the table '{table}' \((\d+) entries", network.log())[-1])


def met_its_share(network, guest, other, table):
    """What a guest has that could get no more: four times what is free (src/uplink/quota.h)."""
    used, others = use(network, guest), use(network, other)
    print(f"{table}: {used[table]} of {whole(network, table)}, others {others[table]}")
    assert (whole(network, table) - others[table]) * 4 // 5 - 1 <= used[table] <= whole(network, table) * 4 // 5 + 1
    assert used["refused"] > 0
    return used[table]


def test_connections(lab, network, greedy, other, version):
    """Those beyond the share are dropped, and what the guest has stays."""
    before = network.counters()["drop_quota_tcp"]
    with normal(lab, other), lab.remote.listen(REMOTE_B[version]) as listener:
        clients = []
        try:
            late = 0
            # On a busy machine one that is allowed may be late, too.
            while late < 10 or network.counters()["drop_quota_tcp"] == before:
                client = greedy.socket(FAMILY[version], socket.SOCK_STREAM)
                clients.append(client)
                client.setblocking(False)
                client.connect_ex(listener.getsockname()[:2])
                late += not select.select([], [client], [], 0.02)[1]
            accepted = []
            listener.settimeout(1)
            with contextlib.suppress(TimeoutError):
                while True:
                    accepted.append(listener.accept()[0])
            assert network.counters()["drop_quota_tcp"] > before
            used = met_its_share(network, greedy, other, "tcp")
            assert len(accepted) == used
            works_at_once(lab, other)
            accepted[0].sendall(b"x")
            shown = lab.vmnet("status", "shares").stdout
            assert re.search(rf"in use by {greedy.port.interface}: tcp {used}, ", shown), shown
            metrics = lab.vmnet("metrics", "shares").stdout
            labels = rf'network="shares",interface="{greedy.port.interface}",name="greedy"'
            assert f'openvmnet_port_use{{{labels},table="tcp"}} {used}\n' in metrics
            assert re.search(rf"openvmnet_port_refused_total{{{labels}}} [1-9]", metrics), metrics
        finally:
            for stream in clients + accepted:
                stream.close()
    # One that asked again while others ended may have been offered to nobody: for 10 s.
    assert poll(lambda: use(network, greedy)["tcp"] == 0, timeout_s=15), use(network, greedy)
    assert f"the guest {greedy.ipv4} has its share of the table 'tcp'" in network.log()


def connect_flood(lab, network, greedy, other, packets, version):
    with dropped(lab.remote, f"tcp dport {SILENT}"), normal(lab, other):
        for start in range(0, MANY, 250):
            greedy.send_ip(*packets[start : start + 250])
            with lab.remote.listen(REMOTE_B[version]) as listener:
                with other.connect(REMOTE_B[version], listener.getsockname()[1], timeout_s=0.9):
                    listener.accept()[0].close()
        # Those that have asked a second ago give way to new ones of their guest.
        with lab.remote.listen(REMOTE_B[version]) as listener:
            with greedy.connect(REMOTE_B[version], listener.getsockname()[1]):
                listener.accept()[0].close()
        met_its_share(network, greedy, other, "half_open")
        assert network.counters()["drop_quota_half_open"] > 0


def test_attempts_to_connect(lab, network, greedy, other, version):
    """Where nobody answers. The guest's own oldest give way, so it can still connect elsewhere."""
    packets = many_tcp(ip_of(greedy, version))
    connect_flood(lab, network, greedy, other, packets, version)


def test_attempts_of_many_addresses(lab, network, greedy, other):
    """A guest may take every address of the IPv6 prefix, and any flow label: its share is that of its port."""
    packets = labelled(many_tcp(ip_of(greedy, 6), LAST_OF_SOURCE))
    connect_flood(lab, network, greedy, other, packets, 6)


def udp_flood(lab, network, greedy, other, packets):
    before = network.counters()
    with normal(lab, other):
        for start in range(0, MANY, 200):  # the device's queue is short
            greedy.send_ip(*packets[start : start + 200])
        assert poll(lambda: network.counters()["drop_quota_udp"] > before["drop_quota_udp"])
        assert network.counters()["udp_opened"] - before["udp_opened"] > whole(network, "udp")
        met_its_share(network, greedy, other, "udp")


def test_mappings(lab, network, greedy, other, version):
    """The longest idle of the guest's own give way, whatever others have; the newest is there."""
    udp_flood(lab, network, greedy, other, many_udp(ip_of(greedy, version, REMOTE_B)))
    with lab.remote.udp(REMOTE[version]) as server, greedy.udp(version=version) as client:
        client.sendto(b"q", server.getsockname())
        data, address = server.recvfrom(10)
        server.sendto(data + b"a", address)
        assert client.recv(10) == b"qa"


def test_mappings_of_many_addresses(lab, network, greedy, other):
    packets = labelled(many_udp(ip_of(greedy, 6, REMOTE_B), LAST_OF_SOURCE))
    udp_flood(lab, network, greedy, other, packets)


def test_echo(lab, network, greedy, other, version):
    """One id a mapping."""
    request = ICMP(id=1, seq=1) if version == 4 else ICMPv6EchoRequest(id=1, seq=1)
    first = 40 if version == 6 else 20
    packets = list(numbered(ip_of(greedy, version, REMOTE_B) / request, first + 2, first + 4))[:100]
    before = network.counters()["drop_quota_echo"]
    with normal(lab, other):
        greedy.send_ip(*packets)
        assert poll(lambda: network.counters()["drop_quota_echo"] > before)
        met_its_share(network, greedy, other, "echo")
    assert greedy.ping(REMOTE[version]) == 1


def test_bytes_that_are_not_read(lab, network, greedy, other):
    """Streams of which the guest reads nothing: few may keep much of it, and others have theirs."""
    with lab.remote.listen(REMOTE_B[4]) as listener, normal(lab, other):
        streams = []
        try:
            for _ in range(60):
                client = greedy.connect(REMOTE_B[4], listener.getsockname()[1])
                accepted, _ = listener.accept()
                streams += [client, accepted]
                accepted.setblocking(False)
            senders = streams[1::2]
            sent = 0
            # Until none of them takes more.
            while ready := select.select([], senders, [], 0.3)[1]:
                for stream in ready:
                    with contextlib.suppress(BlockingIOError):
                        sent += stream.send(bytes(1 << 18))
            used = use(network, greedy)
            print(f"{sent >> 20} MiB on their way, {used}")
            assert used["pipe"] <= 52 and used["buffer"] <= 8
            assert used["pipe"] + used["buffer"] > 0
            # A stream of another guest has a pipe of its own.
            with lab.remote.listen(REMOTE[4]) as quick:
                fast = other.connect(REMOTE[4], quick.getsockname()[1])
                source, _ = quick.accept()
                with fast, source:
                    sending = Background(source.sendall, bytes(32 << 20))
                    assert len(read_exactly(fast, 32 << 20)) == 32 << 20
                    sending.result()
        finally:
            for stream in streams:
                stream.close()
    assert poll(lambda: use(network, greedy)["buffer"] + use(network, greedy)["pipe"] == 0)


def test_clients_of_a_forward(lab, network, other):
    """What comes from outside to one guest's UDP forward is that guest's share, too."""
    with network.guest(name="served") as served, served.udp(port=7000) as service:
        network.call("AddForward", forward="udp:0.0.0.0:17000-served:7000")
        network.call("AddForward", forward="udp:0.0.0.0:17001-other:7001")
        try:
            with other.udp(port=7001) as second, lab.remote.udp() as kept:
                kept.sendto(b"kept", ("198.51.100.1", 17001))
                assert poll(lambda: use(network, other)["forward_udp"] == 1)
                data, seen = second.recvfrom(10)
                with lab.remote.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as raw:
                    for number in range(6100):
                        raw.sendto(bytes(UDP(sport=20000 + number, dport=17000) / b"x"), ("198.51.100.1", 0))
                        if number % 50 == 0:  # within what the socket's buffer holds
                            assert service.recv(10) == b"x"
                assert poll(lambda: network.counters()["drop_quota_forward"] > 0)
                assert use(network, served)["forward_udp"] <= 6000
                second.sendto(b"answer", seen)
                assert kept.recv(10) == b"answer"
        finally:
            network.call("RemoveForward", forward="udp:0.0.0.0:17000")
            network.call("RemoveForward", forward="udp:0.0.0.0:17001")


def test_several_workers(lab, version):
    """Each has a part of the tables, and shares of that: the same for all that a guest's ports are spread over."""
    up = [lab.vmnet_path, "up", "spread", "--workers", 2]
    lab.host.run(["prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}", *up], capabilities=False)
    network = Network(lab, "spread")
    try:
        with network.guest(name="greedy") as greedy, network.guest(name="other") as other:
            packets = many_udp(ip_of(greedy, version, REMOTE_B)) + many_tcp(ip_of(greedy, version))
            with dropped(lab.remote, f"tcp dport {SILENT}"), normal(lab, other):
                for start in range(0, len(packets), 200):
                    greedy.send_ip(*packets[start : start + 200])
                assert poll(lambda: network.counters()["drop_quota_half_open"] > 0)
            used = use(network, greedy)
            for table in ("udp", "half_open"):
                assert 0 < used[table] <= 2 * (whole(network, table) * 4 // 5 + 1)
            for worker in network.status()["workers"]:
                assert worker["drop_quota_udp"] > 0
    finally:
        network.down()
