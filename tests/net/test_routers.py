# SPDX-License-Identifier: Apache-2.0
"""What routers outside tell reaches the guest, from their own addresses and about its own packets."""

import errno
import os
import re
import select
import socket

import pytest
from lab import FAMILY, HOST, REMOTE, REMOTE_B, poll, read_exactly
from routers import FAR, FAR_MTU, PROHIBITED, REFUSALS, SECOND, UNREACHABLE, Routers, traceroute
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6,
)


@pytest.fixture(scope="module")
def routers(lab):
    group = os.getegid()
    lab.host.sysctl({"ipv4/ping_group_range": f"{group} {group}"})
    with Routers(lab) as routers:
        yield routers


def ping(guest, address, *options, count=1):
    """What ping(8) prints."""
    command = ["ping", "-n", "-c", count, "-i", 0.1, "-W", 4, *options, address]
    return guest.run(command, check=False).stdout


def test_traceroute_by_icmp(routers, guest, network, version):
    before = network.counters()["echo_errors"]
    assert traceroute(guest, FAR[version], "-I") == routers.hops(guest, version)
    assert network.counters()["echo_errors"] == before + 2


def test_reply_has_its_true_time_to_live(routers, guest, version):
    """Three routers are on the way back; the network's own is the last of them."""
    assert "ttl=61 " in ping(guest, FAR[version])


@pytest.mark.parametrize(
    "address, words",
    [(UNREACHABLE, {4: "Destination Host Unreachable", 6: "Destination unreachable: No route"}),
     (PROHIBITED, {4: "Packet filtered", 6: "Destination unreachable: Administratively prohibited"})],
    ids=["unreachable", "prohibited"],
)
def test_router_that_does_not_pass_a_request_on(routers, guest, version, address, words):
    shown = ping(guest, address[version])
    assert re.search(rf"From {SECOND[version]}.*{words[version]}", shown), shown


def test_packet_too_big(routers, guest, version):
    """The router before the small link is who tells, and what it tells is the link's MTU."""
    size = FAR_MTU + 20  # more than fits there, and less than the guest's own link carries
    shown = ping(guest, FAR[version], "-M", "do", "-s", size, count=1)
    words = {4: rf"Frag needed and DF set \(mtu = {FAR_MTU}\)", 6: f"Packet too big: mtu={FAR_MTU}"}
    assert re.search(rf"From {SECOND[version]}.*{words[version]}", shown), shown
    # In pieces it passes. IPv6's are made by the guest, which knows how large they may be now.
    options = ["-M", "dont"] if version == 4 else []
    assert " 1 received" in ping(guest, FAR[version], *options, "-s", size)


def request_seen(outside, version):
    """The next echo request that comes to a packet socket outside."""

    def request():
        while select.select([outside], [], [], 0)[0]:
            data = outside.recv(65536)[14:]
            packet = IP(data) if version == 4 else IPv6(data)
            layer = packet.getlayer(ICMP if version == 4 else ICMPv6EchoRequest)
            if layer and layer.type in (8, 128):
                return packet
        return None

    found = poll(request)
    assert found, "no echo request came"
    return found


def test_type_of_service_and_time_to_live_go_out(routers, guest, version):
    with routers.lab.remote.packets("in0", 0x0800 if version == 4 else 0x86DD) as outside:
        assert " 1 received" in ping(guest, REMOTE[version], "-Q", "0x48", "-t", "9")
        found = request_seen(outside, version)
    shown = (found.tos, found.ttl) if version == 4 else (found.tc, found.hlim)
    assert shown == (0x48, 8)  # the network's router has taken one off


def echo_request(version, src, dst, number, seq=1):
    if version == 4:
        return IP(src=src, dst=dst) / ICMP(type=8, id=number, seq=seq) / b"hello"
    return IPv6(src=src, dst=dst) / ICMPv6EchoRequest(id=number, seq=seq, data=b"hello")


def replies(sock, version, number):
    """The senders of replies with this id that have come."""
    found = set()
    while select.select([sock], [], [], 0)[0]:
        data = sock.recv(65536)[14:]
        packet = IP(data) if version == 4 else IPv6(data)
        layer = packet.getlayer(ICMP if version == 4 else ICMPv6EchoReply)
        if layer and layer.type in (0, 129) and layer.id == number:
            found.add(packet.src)
    return found


def test_one_id_for_many_destinations(routers, guest, version):
    """As fping does it."""
    asked, came = {REMOTE[version], REMOTE_B[version], FAR[version]}, set()
    with guest.packets(kind=0x0800 if version == 4 else 0x86DD) as seen:
        guest.send_ip(*[echo_request(version, guest.addresses[version], dst, 0x1234) for dst in asked])
        assert poll(lambda: came.update(replies(seen, version, 0x1234)) or came == asked), came


def test_forged_error_from_outside(lab, routers, guest, network, version):
    """It quotes an id that is in use, but a destination that was not asked: dropped, and nothing ends."""
    remote, kind = lab.remote, 0x0800 if version == 4 else 0x86DD
    error = (IP(dst=HOST[4]) / ICMP(type=3, code=1) if version == 4
             else IPv6(dst=HOST[6]) / ICMPv6DestUnreach(code=3))
    with remote.packets("in0", kind) as outside, guest.packets(kind=kind) as inside:

        def ask(seq):
            guest.send_ip(echo_request(version, guest.addresses[version], REMOTE[version], 0x4321, seq))
            assert poll(lambda: replies(inside, version, 0x4321))

        ask(1)
        request = request_seen(outside, version)[ICMP if version == 4 else ICMPv6EchoRequest]
        before = network.counters()
        raw = remote.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_RAW, 255)
        with raw:
            if version == 6:
                raw.setsockopt(socket.IPPROTO_IPV6, 36, 1)  # IPV6_HDRINCL
            error.src = REMOTE[version]
            forged = error / echo_request(version, HOST[version], FAR[version], request.id)
            raw.sendto(bytes(forged), (HOST[version], 0))
        assert poll(lambda: network.counters()["drop_icmp_forged"] == before["drop_icmp_forged"] + 1)
        assert network.counters()["echo_errors"] == before["echo_errors"]
        ask(2)


@pytest.mark.parametrize("to", ["outside", "gateway"])
def test_other_icmp_of_guests_goes_nowhere(guest, network, to):
    """Errors about what it never got, timestamps …: counted, and not acted upon, also by the gateway."""
    before = network.counters()
    dst = REMOTE[4] if to == "outside" else guest.gateway
    kinds = [(3, 1), (3, 4), (4, 0), (11, 0), (12, 0), (13, 0), (15, 0), (17, 0), (40, 0)]
    for kind, code in kinds:
        quoted = IP(src=dst, dst="192.168.64.77") / UDP(sport=53, dport=4000) / b"12345678"
        guest.send_ip(IP(src=guest.ipv4, dst=dst) / ICMP(type=kind, code=code) / quoted)
    assert poll(lambda: network.counters()["drop_icmp"] == before["drop_icmp"] + len(kinds))
    assert network.counters()["echo_up"] == before["echo_up"]


@pytest.mark.parametrize("to", ["outside", "gateway"])
def test_other_icmpv6_of_guests_goes_nowhere(guest, network, to):
    before = network.counters()
    dst = REMOTE[6] if to == "outside" else guest.gateway6
    quoted = IPv6(src=dst, dst=guest.ipv6) / UDP(sport=53, dport=4000) / b"12345678"
    kinds = [ICMPv6DestUnreach(code=3), ICMPv6PacketTooBig(mtu=1280), ICMPv6TimeExceeded(),
             ICMPv6ParamProblem()]
    for kind in kinds:
        guest.send_ip(IPv6(src=guest.ipv6, dst=dst) / kind / quoted)
    assert poll(lambda: network.counters()["drop_icmp"] == before["drop_icmp"] + len(kinds))


def test_traceroute_by_udp(routers, guest, version):
    assert traceroute(guest, FAR[version], "-U", "-p", 33434) == routers.hops(guest, version)


@pytest.fixture
def far_server(routers, version):
    with routers.far.listen(FAR[version]) as listener:
        yield listener


def test_traceroute_by_tcp(routers, guest, network, version, far_server):
    port = far_server.getsockname()[1]
    before = network.counters()
    assert traceroute(guest, FAR[version], "-T", "-p", port) == routers.hops(guest, version)
    after = network.counters()
    assert after["tcp_unreachable"] == before["tcp_unreachable"] + 2
    assert after["tcp_timeout"] == before["tcp_timeout"]


def test_traceroute_by_tcp_to_a_closed_port(routers, guest, version, far_server):
    port = far_server.getsockname()[1]
    far_server.close()
    assert traceroute(guest, FAR[version], "-T", "-p", port) == routers.hops(guest, version)


@pytest.mark.parametrize(
    "address, code, expected",
    [(UNREACHABLE, {4: (3, 1), 6: (1, 0)}, {4: errno.EHOSTUNREACH, 6: errno.ENETUNREACH}),
     (PROHIBITED, {4: (3, 13), 6: (1, 1)}, {4: errno.EHOSTUNREACH, 6: errno.EACCES})],
    ids=["unreachable", "prohibited"],
)
def test_router_that_does_not_pass_a_connection_on(routers, guest, version, address, code, expected):
    """The guest's program has the error that it would have without us; its kernel knows the router."""
    with guest.packets(kind=0x0800 if version == 4 else 0x86DD) as seen:
        with pytest.raises(OSError) as raised:
            guest.connect(address[version], 80)
        assert raised.value.errno == expected[version]

        def told():
            while select.select([seen], [], [], 0)[0]:
                data = seen.recv(65536)[14:]
                if version == 4 and data[9] == 1:
                    return socket.inet_ntop(socket.AF_INET, data[12:16]), tuple(data[20:22])
                if version == 6 and data[6] == 58 and data[40] < 128:
                    return socket.inet_ntop(socket.AF_INET6, data[8:24]), tuple(data[40:42])
            return None

        assert poll(told) == (SECOND[version], code[version])


def test_low_time_to_live_is_the_first_segments_alone(routers, guest, version, far_server):
    """And a connection has the DSCP of its first segment."""
    kind, level = (0x0800, socket.SOL_IP) if version == 4 else (0x86DD, socket.IPPROTO_IPV6)
    ttl_option = socket.IP_TTL if version == 4 else socket.IPV6_UNICAST_HOPS
    tos_option = socket.IP_TOS if version == 4 else socket.IPV6_TCLASS
    with routers.lab.remote.packets("in0", kind) as outside:
        with guest.socket(FAMILY[version], socket.SOCK_STREAM) as client:
            client.setsockopt(level, ttl_option, 9)
            client.setsockopt(level, tos_option, 0xB8)
            client.connect(far_server.getsockname()[:2])
            client.sendall(b"hello")
            accepted, _ = far_server.accept()
            with accepted:
                assert read_exactly(accepted, 5) == b"hello"
        seen = {}
        while select.select([outside], [], [], 0)[0]:
            data = outside.recv(65536)[14:]
            packet = IP(data) if version == 4 else IPv6(data)
            if TCP in packet:
                shown = (packet.ttl, packet.tos) if version == 4 else (packet.hlim, packet.tc)
                seen.setdefault("first" if packet[TCP].flags.S else len(packet[TCP].payload), shown)
    assert seen["first"] == (8, 0xB8)
    assert seen[5] == (64, 0xB8)


def test_icmp_error_does_not_end_a_connection(routers, guest, version, far_server):
    """RFC 5382 REQ-10, RFC 1122 4.2.3.9: what a router says of an open connection is a hint."""
    near = routers.second
    client = guest.connect(*far_server.getsockname()[:2])
    accepted, _ = far_server.accept()
    with client, accepted:
        family = "ip" if version == 4 else "ip6"
        with routers.lab.remote.packets("far0") as told:
            near.nft(f"insert rule inet refusals forward {family} daddr {FAR[version]} tcp dport "
                     f"{far_server.getsockname()[1]} reject with icmpx type no-route")
            try:
                client.sendall(b"on its way")
                assert poll(lambda: has_icmp_error(told, version))
            finally:
                near.nft("flush table inet refusals\n" + REFUSALS)
        assert read_exactly(accepted, 10) == b"on its way"
        accepted.sendall(b"and back")
        assert read_exactly(client, 8) == b"and back"


def has_icmp_error(sock, version):
    while select.select([sock], [], [], 0)[0]:
        data = sock.recv(65536)[14:]
        if version == 4 and data[0] >> 4 == 4 and data[9] == 1 and data[20] == 3:
            return True
        if version == 6 and data[0] >> 4 == 6 and data[6] == 58 and data[40] == 1:
            return True
    return False
