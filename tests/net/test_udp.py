# SPDX-License-Identifier: Apache-2.0
"""UDP from a guest to the outside."""

import contextlib
import errno
import json
import os
import select
import signal
import socket
import struct

import pytest
from lab import HOST, REMOTE, REMOTE_B, poll
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6

SOL_UDP, UDP_SEGMENT = 17, 103
IP_RECVTTL = 12
IP_MTU_DISCOVER, IP_MTU, IPV6_MTU_DISCOVER, IPV6_MTU = 10, 14, 23, 24
IP_PMTUDISC_DONT, IP_PMTUDISC_DO = 0, 2


def path_mtu(client, version):
    """Of a connected socket, as its kernel knows it."""
    if version == 4:
        return client.getsockopt(socket.SOL_IP, IP_MTU)
    return client.getsockopt(socket.IPPROTO_IPV6, IPV6_MTU)


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
    assert poll(lambda: network.counters()["drop_checksum"] == before + 1)
    client.sendto(b"right", server.getsockname())
    assert server.recv(100) == b"right"


def test_length_that_is_not_true_is_dropped(guest, client, server, network, version):
    before = network.counters()["drop_malformed"]
    port = server.getsockname()[1]
    layer = (IPv6 if version == 6 else IP)(src=guest.addresses[version], dst=REMOTE[version])
    for length in (7, 2000):
        guest.send_ip(layer / UDP(sport=40003, dport=port, len=length) / b"wrong")
    assert poll(lambda: network.counters()["drop_malformed"] == before + 2)
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


@pytest.fixture
def small_mtu_outside(lab, guest):
    """A host on a link of 1280 bytes. What the guest learns of it is forgotten."""
    try:
        lab.host.ip("link set out0 mtu 1280")
        lab.remote.ip("link set in0 mtu 1280")
        yield
    finally:
        lab.remote.ip("link set in0 mtu 1500")
        lab.host.ip("link set out0 mtu 1500")
        for version in (4, 6):
            guest.ip(f"-{version} route flush cache")


@pytest.mark.usefixtures("small_mtu_outside")
def test_too_large_for_the_path(client, server, network, version):
    """What must not be cut comes back as "fragmentation needed", with the size that fits."""
    if version == 4:
        client.setsockopt(socket.SOL_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
    else:
        client.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, IP_PMTUDISC_DO)
    before = network.counters()["udp_errors"]
    client.connect(server.getsockname()[:2])
    client.send(bytes(1400))
    assert poll(lambda: path_mtu(client, version) == 1280)
    assert network.counters()["udp_errors"] == before + 1
    assert not select.select([server], [], [], 0)[0]
    assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.EMSGSIZE
    client.send(bytes(1280 - (28 if version == 4 else 48)))
    assert len(server.recv(2000)) == 1280 - (28 if version == 4 else 48)


@pytest.mark.usefixtures("small_mtu_outside")
@pytest.mark.parametrize("size", [1400, 1472, 20000])
def test_cut_again_for_the_path(client, server, version, size):
    """What may be cut arrives, whatever the path outside. IPv6 guests cut by themselves, once told."""
    data = os.urandom(size)
    if version == 4:
        client.setsockopt(socket.SOL_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)
    else:
        client.sendto(bytes(1400), server.getsockname())
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(1)
        client.settimeout(5)
    for _ in range(2):
        client.sendto(data, server.getsockname())
        received, outside = server.recvfrom(65536)
        assert received == data
        server.sendto(data, outside)
        assert client.recvfrom(65536) == (data, server.getsockname())


# ---- many at once


def send_segments(sender, data, size, address):
    """One call, many datagrams (udp(7))."""
    control = [(SOL_UDP, UDP_SEGMENT, struct.pack("H", size))]
    assert sender.sendmsg([data], control, 0, address) == len(data)


def cut(data, size):
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1, 100, 1200, 1400])
@pytest.mark.parametrize("count", [2, 40, 64])
def test_segments_both_ways(client, server, network, version, size, count):
    """A large packet is so many datagrams to everybody, the last one shorter than the others."""
    data = os.urandom(min(size * count, 65000) - size // 2)
    parts = cut(data, size)
    for end in (client, server):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    before = network.counters()
    send_segments(client, data, size, server.getsockname())
    received = [server.recvfrom(65536) for _ in parts]
    assert [part for part, _ in received] == parts
    send_segments(server, data, size, received[0][1])
    assert [client.recvfrom(65536) for _ in parts] == [(part, server.getsockname()) for part in parts]
    after = network.counters()
    for name in ("udp_up", "udp_down"):
        assert after[name] - before[name] == len(parts)


def test_segments_to_a_guest_that_takes_none(network, server, version):
    """Behind a stream socket nobody cuts a packet but the network."""
    with network.guest(kind="stream") as guest, guest.udp(version=version) as client:
        client.sendto(b"x", server.getsockname())
        outside = server.recvfrom(10)[1]
        data = os.urandom(20 * 1400 + 7)
        send_segments(server, data, 1400, outside)
        assert [client.recv(65536) for _ in range(21)] == cut(data, 1400)


@pytest.mark.usefixtures("small_mtu_outside")
def test_segments_that_the_host_cannot_send(client, server, version):
    """They do not fit the path: they go one by one, in fragments."""
    if version == 6:
        pytest.skip("an IPv6 packet is not cut on its way")
    client.setsockopt(socket.SOL_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)
    data = os.urandom(5 * 1400)
    for _ in range(2):
        send_segments(client, data, 1400, server.getsockname())
        assert [server.recv(65536) for _ in range(5)] == cut(data, 1400)


def test_any_sizes_in_order(client, server):
    """Nothing is joined that is not cut again at the same places."""
    sizes = [0, 0, 1, 1, 1400, 1400, 1400, 700, 1400, 3, 3, 2, 3, 1472, 1472, 4000, 4000, 0, 5]
    data = [os.urandom(size) for size in sizes * 3]
    client.sendto(b"first", server.getsockname())
    outside = server.recvfrom(10)[1]
    for sender, receiver, address in (
        (client, server, server.getsockname()),
        (server, client, outside),
    ):
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        for part in data:
            sender.sendto(part, address)
        assert [receiver.recv(65536) for _ in data] == data


def test_two_servers_in_turns(lab, client, server, version):
    """Datagrams of one socket to two destinations, one after the other."""
    with lab.remote.udp(REMOTE_B[version]) as second:
        for number in range(32):
            client.sendto(b"%03d" % number, server.getsockname())
            client.sendto(b"%03d" % number, second.getsockname())
        for end in (server, second):
            assert [end.recv(10) for _ in range(32)] == [b"%03d" % n for n in range(32)]


def test_refused_among_others(lab, client, server, version):
    """An error meets the datagrams of its destination alone, also where many are sent at once."""
    with lab.remote.udp(REMOTE_B[version]) as closed:
        address = closed.getsockname()
    for number in range(200):
        client.sendto(b"nobody", address)
        client.sendto(b"%03d" % number, server.getsockname())
    assert [server.recv(10) for _ in range(200)] == [b"%03d" % number for number in range(200)]


def test_what_is_too_much_is_counted(client, server, network):
    """The engine rests: what the host's socket has no room for is lost, and said."""
    client.sendto(b"x", server.getsockname())
    outside = server.recvfrom(10)[1]
    engine, before = network.process("engine"), network.counters()["udp_overrun"]
    os.kill(engine, signal.SIGSTOP)
    try:
        for _ in range(8000):
            server.sendto(bytes(1400), outside)
    finally:
        os.kill(engine, signal.SIGCONT)
    assert client.recv(2000) == bytes(1400)

    def counted():
        server.sendto(b"y", outside)
        return network.counters()["udp_overrun"] > before

    assert poll(counted, interval_s=0.02)


def test_nothing_is_lost_while_the_engine_rests(guest, client, server, network):
    """What comes while others have the processor waits: some milliseconds of a fast guest's."""
    count = 1500
    client.sendto(b"first", server.getsockname())
    assert server.recv(10) == b"first"
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)

    def dropped():
        return json.loads(guest.ip("-s -j link show dev eth0"))[0]["stats64"]["tx"]["dropped"]

    engine, before = network.process("engine"), dropped()
    os.kill(engine, signal.SIGSTOP)
    try:
        for number in range(count):
            client.sendto(b"%04d" % number, server.getsockname())
    finally:
        os.kill(engine, signal.SIGCONT)
    # The guest's own device may lose some, where its program has to wait.
    numbers = [int(server.recv(10)) for _ in range(count - (dropped() - before))]
    assert numbers == sorted(numbers)


# ---- what the IP header says


def receive_header(receiver, version):
    """(hop limit, traffic class) of the next datagram."""
    _, control, _, _ = receiver.recvmsg(100, 200)
    values = {(level, kind): data[0] for level, kind, data in control}
    if version == 4:
        return values[socket.SOL_IP, socket.IP_TTL], values[socket.SOL_IP, socket.IP_TOS]
    return (
        values[socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT],
        values[socket.IPPROTO_IPV6, socket.IPV6_TCLASS],
    )


def set_header(sender, version, hops, traffic_class):
    if version == 4:
        sender.setsockopt(socket.SOL_IP, socket.IP_TTL, hops)
        sender.setsockopt(socket.SOL_IP, socket.IP_TOS, traffic_class)
    else:
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, traffic_class)


def ask_for_header(receiver, version):
    if version == 4:
        receiver.setsockopt(socket.SOL_IP, IP_RECVTTL, 1)
        receiver.setsockopt(socket.SOL_IP, socket.IP_RECVTOS, 1)
    else:
        receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)


def test_hops_and_traffic_class_outwards(client, server, version):
    """The network is one router; DSCP and ECN are the guest's."""
    ask_for_header(server, version)
    for hops, traffic_class in ((64, 0), (10, 0xB8), (10, 0x02), (255, 0x03), (64, 0)):
        set_header(client, version, hops, traffic_class)
        client.sendto(b"x", server.getsockname())
        assert receive_header(server, version) == (hops - 1, traffic_class)


def test_traffic_class_inwards(client, server, version):
    ask_for_header(client, version)
    client.sendto(b"x", server.getsockname())
    outside = server.recvfrom(10)[1]
    for traffic_class in (0, 0xB8, 0x03, 0):
        set_header(server, version, 64, traffic_class)
        server.sendto(b"x", outside)
        assert receive_header(client, version)[1] == traffic_class


def test_time_exceeded_on_the_path(lab, guest, client, version):
    """The router outside where a datagram ended is named, and the guest knows which one it was."""
    beyond = "203.0.113.77" if version == 4 else "2001:db8:77::1"
    level, option = (socket.SOL_IP, 11) if version == 4 else (socket.IPPROTO_IPV6, 25)
    lab.remote.sysctl({"ipv4/conf/all/forwarding": 1, "ipv6/conf/all/forwarding": 1})
    lab.remote.sysctl({"ipv4/icmp_ratelimit": 0})  # others have used their share of errors
    lab.remote.ip(f"route add {beyond} via {HOST[version]}")
    try:
        client.setsockopt(level, option, 1)  # IP_RECVERR, IPV6_RECVERR
        set_header(client, version, 2, 0)  # the first hop is the network's gateway
        client.sendto(b"probe", (beyond, 33434))
        assert poll(lambda: select.select([client], [], [client], 0) != ([], [], []))
        _, control, _, about = client.recvmsg(100, 512, 0x2000)  # MSG_ERRQUEUE
        error = next(data for at, kind, data in control if (at, kind) == (level, option))
        assert error[4:7] == (b"\x02\x0b\x00" if version == 4 else b"\x03\x03\x00")
        offender = error[20:24] if version == 4 else error[24:40]
        own = [socket.inet_pton(client.family, at[version]) for at in (REMOTE, REMOTE_B)]
        assert offender in own
        assert about[:2] == (beyond, 33434)
    finally:
        lab.remote.ip(f"route del {beyond}")
        lab.remote.sysctl({"ipv4/icmp_ratelimit": 1000})
        lab.remote.sysctl({"ipv4/conf/all/forwarding": 0, "ipv6/conf/all/forwarding": 0})


# ---- what stays on the network


def groups(guest, version):
    """Destinations that are the network's own business."""
    if version == 6:
        return ["ff02::fb", "ff05::2", "ff0e::7"]
    return ["224.0.0.251", "239.1.2.3", "255.255.255.255", guest.gateway.rpartition(".")[0] + ".255"]


def test_groups_stay_on_the_network(lab, network, guest, version):
    """Multicast and broadcast reach the other guests, and neither the host nor what is beyond."""
    with contextlib.ExitStack() as stack:
        other = stack.enter_context(network.guest())
        watchers = [
            stack.enter_context(lab.host.packets("out0")),
            stack.enter_context(lab.host.packets("lo")),
        ]
        wire = stack.enter_context(other.packets("eth0"))
        sender = stack.enter_context(guest.udp(version=version))
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for number, group in enumerate(groups(guest, version)):
            mark = b"group %d of %d" % (number, version)
            if version == 6:
                index = int(guest.ip("-o link show dev eth0").partition(":")[0])
                sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 9)
                sender.sendto(mark, (group, 5353, 0, index))
            else:
                sender.setsockopt(socket.SOL_IP, socket.IP_MULTICAST_TTL, 9)
                sender.sendto(mark, (group, 5353))

            def arrived():
                while select.select([wire], [], [], 0)[0]:
                    if mark in wire.recv(2000):
                        return True
                return False

            assert poll(arrived), f"{group} did not reach the other guest"
        # Something that does leave comes after all of it.
        with lab.remote.udp(REMOTE[version]) as server:
            sender.sendto(b"leaves", server.getsockname())
            assert server.recv(10) == b"leaves"
        for watcher in watchers:
            while select.select([watcher], [], [], 0)[0]:
                assert b"group" not in watcher.recv(2000)


def test_broadcast_of_the_host_is_refused(lab, client, network):
    """The broadcast address of a subnet of the host's looks like any other to a guest, but is none."""
    if client.family == socket.AF_INET6:
        pytest.skip("IPv6 has no broadcast")
    client.connect((HOST[4].rpartition(".")[0] + ".255", 9))
    client.send(b"x")
    with pytest.raises(OSError, match="unreachable|No route to host|Permission denied"):
        client.recv(1)
