# SPDX-License-Identifier: Apache-2.0
"""Guests that send in the name of others: each such frame is dropped at its port and counted by its reason."""

import os
import select
import time

import pytest
from lab import REMOTE, poll
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.dhcp6 import DHCP6_Advertise, DHCP6_Solicit
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6MLReport2,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_RS,
    ICMPv6ND_Redirect,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptPrefixInfo,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6NDOptUnknown,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    PadN,
)
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Raw
from test_restart import wait_for_another

STORM_FRAMES_S, STORM_BURST_FRAMES = 2000, 4000
MARK = 0x88B5  # an ethertype for experiments (IEEE 802)


@pytest.fixture(scope="module")
def other(network):
    with network.guest(name="other") as other:
        yield other


class World:
    """What frames are made of: the sender's addresses, another guest's, the router's."""

    def __init__(self, guest, other):
        self.mac, self.ipv4, self.ipv6 = guest.mac, guest.ipv4, guest.ipv6
        self.other_mac, self.other_ipv4, self.other_ipv6 = other.mac, other.ipv4, other.ipv6
        self.gateway, self.gateway6 = guest.gateway, guest.gateway6
        self.gateway_link = guest.ip("-6 route show default").split()[2]
        self.link = guest.ip("-6 -o address show dev eth0 scope link").split("inet6 ")[1].split("/")[0]

    def frame(self, payload, **fields):
        return Ether(**{"src": self.mac, "dst": self.other_mac, **fields}) / payload

    def ip(self, payload, **fields):
        return self.frame(IP(**{"src": self.ipv4, "dst": self.other_ipv4, **fields}) / payload)

    def ip6(self, payload, **fields):
        return self.frame(IPv6(**{"src": self.ipv6, "dst": self.other_ipv6, **fields}) / payload)

    def nd(self, payload, **fields):
        return self.ip6(payload, **{"hlim": 255, **fields})

    def arp(self, **fields):
        sender = {"hwsrc": self.mac, "psrc": self.ipv4}
        return self.frame(ARP(**{**sender, "pdst": self.other_ipv4, **fields}))

    def dhcp(self, mac, **fields):
        chaddr = bytes.fromhex(mac.replace(":", ""))
        return self.ip(
            UDP(sport=68, dport=67)
            / BOOTP(chaddr=chaddr, xid=7)
            / DHCP(options=[("message-type", "discover"), "end"]),
            **{"src": "0.0.0.0", "dst": "255.255.255.255", **fields},
        )

    def advertisement(self):
        return ICMPv6ND_RA(routerlifetime=1800) / ICMPv6NDOptPrefixInfo(prefix="2001:db8:66::")


def options(len_bytes=8):
    return IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(len_bytes - 4))])


def hidden(w, transport, number):
    """Two fragments: the first has no more than an extension header, the second what is behind it."""
    base = {"src": w.link, "dst": "ff02::1", "hlim": 255}
    # The checksum is right for the whole.
    whole = bytes(IPv6(**base) / options() / transport)[40:]
    first = IPv6ExtHdrFragment(id=number, m=1, offset=0, nh=60) / whole[:8]
    return w.ip6(first, **base), w.ip6(
        IPv6ExtHdrFragment(id=number, m=0, offset=1, nh=60) / whole[8:], **base
    )


UNKNOWN = ICMPv6NDOptUnknown(type=99, len=1, data=bytes(6))
NONCE = ICMPv6NDOptUnknown(type=14, len=1, data=b"nonce!")

LIES = {
    # name: (reason, frame)
    "source": ("spoofed_mac", lambda w: w.frame(b"x" * 50, src="52:54:00:00:00:09", type=MARK)),
    "source of ip": (
        "spoofed_mac",
        lambda w: w.frame(IP(src=w.ipv4, dst=w.other_ipv4) / UDP(), src="52:54:00:00:00:09"),
    ),
    "arp sender's mac": ("spoofed_mac", lambda w: w.arp(op=2, hwsrc=w.other_mac)),
    "arp of other lengths": ("spoofed_mac", lambda w: w.arp(hwlen=7)),
    "arp of another link": ("spoofed_mac", lambda w: w.arp(hwtype=6)),
    "solicitation's mac": (
        "spoofed_mac",
        lambda w: w.nd(ICMPv6ND_NS(tgt=w.other_ipv6) / ICMPv6NDOptSrcLLAddr(lladdr=w.other_mac)),
    ),
    "solicitation's second mac": (
        "spoofed_mac",
        lambda w: w.nd(
            ICMPv6ND_NS(tgt=w.other_ipv6)
            / ICMPv6NDOptSrcLLAddr(lladdr=w.mac)
            / ICMPv6NDOptSrcLLAddr(lladdr=w.other_mac)
        ),
    ),
    "solicitation's mac behind a nonce": (
        "spoofed_mac",
        lambda w: w.nd(
            ICMPv6ND_NS(tgt=w.other_ipv6) / NONCE / ICMPv6NDOptSrcLLAddr(lladdr=w.other_mac)
        ),
    ),
    "solicitation's mac behind what is unknown": (
        "spoofed_mac",
        lambda w: w.nd(
            ICMPv6ND_NS(tgt=w.other_ipv6) / UNKNOWN / ICMPv6NDOptSrcLLAddr(lladdr=w.other_mac)
        ),
    ),
    "solicitation's third mac": (
        "spoofed_mac",
        lambda w: w.nd(
            ICMPv6ND_NS(tgt=w.other_ipv6)
            / ICMPv6NDOptSrcLLAddr(lladdr=w.mac)
            / NONCE
            / ICMPv6NDOptSrcLLAddr(lladdr=w.other_mac)
        ),
    ),
    "solicitation's mac behind an extension": (
        "spoofed_mac",
        lambda w: w.nd(
            IPv6ExtHdrHopByHop()
            / ICMPv6ND_NS(tgt=w.other_ipv6)
            / ICMPv6NDOptSrcLLAddr(lladdr=w.other_mac)
        ),
    ),
    "advertisement's mac": (
        "spoofed_mac",
        lambda w: w.nd(ICMPv6ND_NA(tgt=w.ipv6) / ICMPv6NDOptDstLLAddr(lladdr=w.other_mac)),
    ),
    "advertisement's second mac": (
        "spoofed_mac",
        lambda w: w.nd(
            ICMPv6ND_NA(tgt=w.ipv6)
            / ICMPv6NDOptDstLLAddr(lladdr=w.mac)
            / ICMPv6NDOptDstLLAddr(lladdr=w.other_mac)
        ),
    ),
    "router solicitation's mac": (
        "spoofed_mac",
        lambda w: w.nd(ICMPv6ND_RS() / ICMPv6NDOptSrcLLAddr(lladdr=w.other_mac), dst="ff02::2"),
    ),
    "router solicitation's second mac": (
        "spoofed_mac",
        lambda w: w.nd(
            ICMPv6ND_RS()
            / ICMPv6NDOptSrcLLAddr(lladdr=w.mac)
            / ICMPv6NDOptSrcLLAddr(lladdr=w.other_mac),
            dst="ff02::2",
        ),
    ),
    "tag": (
        "spoofed_mac",
        lambda w: w.frame(Dot1Q(vlan=5) / IP(src=w.other_ipv4, dst=w.gateway) / UDP()),
    ),
    "tag 0": (
        "spoofed_mac",
        lambda w: w.frame(Dot1Q(vlan=0) / IP(src=w.other_ipv4, dst=w.gateway) / UDP()),
    ),
    "tag 0 on an honest packet": (
        "spoofed_mac",
        lambda w: w.frame(Dot1Q(vlan=0) / IP(src=w.ipv4, dst=w.gateway) / TCP()),
    ),
    "tag 0 on a router's": ("spoofed_mac", lambda w: w.frame(
        Dot1Q(vlan=0) / IPv6(src=w.link, dst="ff02::1", hlim=255) / w.advertisement()
    )),
    "two tags": (
        "spoofed_mac",
        lambda w: w.frame(Dot1AD(vlan=0) / Dot1Q(vlan=0) / IP(src=w.other_ipv4) / UDP()),
    ),
    "dhcp in another's name": ("spoofed_mac", lambda w: w.dhcp(w.other_mac)),
    "dhcp in another's name, in parts": ("spoofed_mac", lambda w: w.ip(
        bytes(UDP(sport=68, dport=67, len=300)), src="0.0.0.0", dst="255.255.255.255", flags="MF",
        proto=17,
    )),
    "another's ipv4": ("spoofed_ipv4", lambda w: w.ip(UDP() / b"x", src=w.other_ipv4)),
    "another's ipv4, tcp": ("spoofed_ipv4", lambda w: w.ip(TCP(), src=w.other_ipv4)),
    "the gateway's ipv4": ("spoofed_ipv4", lambda w: w.ip(ICMP(), src=w.gateway)),
    "an ipv4 outside": ("spoofed_ipv4", lambda w: w.ip(TCP(), src="203.0.113.9")),
    "another's ipv4 in a fragment": (
        "spoofed_ipv4", lambda w: w.ip(bytes(16), src=w.other_ipv4, frag=5, proto=17)
    ),
    "no ipv4": ("spoofed_ipv4", lambda w: w.ip(UDP(sport=68, dport=53), src="0.0.0.0")),
    "an ipv4 header of lies": ("spoofed_ipv4", lambda w: w.ip(UDP(), len=4000)),
    "arp in another's name": ("spoofed_ipv4", lambda w: w.arp(op=2, psrc=w.other_ipv4)),
    "arp in the gateway's name": ("spoofed_ipv4", lambda w: w.arp(op=2, psrc=w.gateway)),
    "arp announcement": ("spoofed_ipv4", lambda w: w.arp(psrc=w.gateway, pdst=w.gateway)),
    "an ipv6 outside": ("spoofed_ipv6", lambda w: w.ip6(UDP(), src="2001:db8::9")),
    "an ipv6 outside, tcp": ("spoofed_ipv6", lambda w: w.ip6(TCP(), src="2001:db8::9")),
    "the gateway's ipv6": ("spoofed_ipv6", lambda w: w.ip6(UDP(), src=w.gateway6)),
    "the gateway's ipv6, tcp": ("spoofed_ipv6", lambda w: w.ip6(TCP(), src=w.gateway6)),
    "the gateway's link-local": ("spoofed_ipv6", lambda w: w.ip6(UDP(), src=w.gateway_link)),
    "no ipv6": ("spoofed_ipv6", lambda w: w.ip6(UDP(), src="::")),
    "no ipv6, tcp": ("spoofed_ipv6", lambda w: w.ip6(TCP(), src="::")),
    "no ipv6, ping": ("spoofed_ipv6", lambda w: w.ip6(ICMPv6EchoRequest(), src="::")),
    "advertisement of the gateway": (
        "spoofed_ipv6",
        lambda w: w.nd(ICMPv6ND_NA(tgt=w.gateway6) / ICMPv6NDOptDstLLAddr(lladdr=w.mac)),
    ),
    "advertisement of the gateway's link-local": (
        "spoofed_ipv6",
        lambda w: w.nd(ICMPv6ND_NA(tgt=w.gateway_link) / ICMPv6NDOptDstLLAddr(lladdr=w.mac)),
    ),
    "solicitation from the gateway": (
        "spoofed_ipv6",
        lambda w: w.nd(
            ICMPv6ND_NS(tgt=w.other_ipv6) / ICMPv6NDOptSrcLLAddr(lladdr=w.mac), src=w.gateway6
        ),
    ),
    "dhcp server": (
        "rogue_dhcp",
        lambda w: w.ip(UDP(sport=67, dport=68) / BOOTP(op=2) / DHCP(options=["end"])),
    ),
    "dhcp server, in parts": (
        "rogue_dhcp",
        lambda w: w.ip(bytes(UDP(sport=67, dport=68, len=300)), flags="MF", proto=17),
    ),
    "dhcp server in the gateway's name": (
        "rogue_dhcp",
        lambda w: w.ip(UDP(sport=67, dport=68) / BOOTP(op=2) / DHCP(), src=w.gateway),
    ),
    "dhcpv6 server": (
        "rogue_dhcp",
        lambda w: w.ip6(UDP(sport=547, dport=546) / DHCP6_Advertise(), src=w.link),
    ),
    "dhcpv6 server behind an extension": (
        "rogue_dhcp",
        lambda w: w.ip6(options() / UDP(sport=547, dport=546) / DHCP6_Advertise(), src=w.link),
    ),
    "dhcpv6 server, hidden": (
        "rogue_dhcp", lambda w: hidden(w, UDP(sport=547, dport=546) / DHCP6_Advertise(), 1)[0]
    ),
    "router": ("rogue_ra", lambda w: w.nd(w.advertisement(), src=w.link, dst="ff02::1")),
    "router behind an extension": (
        "rogue_ra",
        lambda w: w.nd(IPv6ExtHdrHopByHop() / w.advertisement(), src=w.link, dst="ff02::1"),
    ),
    "router behind many": (
        "rogue_ra",
        lambda w: w.nd(
            IPv6ExtHdrHopByHop() / options() / options(64) / w.advertisement(), src=w.link
        ),
    ),
    "router in a fragment that is all": (
        "rogue_ra",
        lambda w: w.nd(IPv6ExtHdrFragment(m=0, offset=0) / w.advertisement(), src=w.link),
    ),
    "router in a first fragment": (
        "rogue_ra",
        lambda w: w.nd(IPv6ExtHdrFragment(m=1, offset=0) / w.advertisement(), src=w.link),
    ),
    "router, hidden": ("rogue_ra", lambda w: hidden(w, w.advertisement(), 2)[0]),
    "router, the hidden part": ("rogue_ra", lambda w: hidden(w, w.advertisement(), 3)[1]),
    "router behind a chain that is cut off": (
        "rogue_ra",
        lambda w: w.nd(
            IPv6ExtHdrFragment(m=1, offset=0, nh=60) / bytes([58, 9, 1, 4, 0, 0, 0, 0]), src=w.link
        ),
    ),
    "router in the gateway's name": ("rogue_ra", lambda w: w.nd(w.advertisement(), src=w.gateway_link)),
    "solicitation in a fragment": (
        "rogue_ra",
        lambda w: w.nd(
            IPv6ExtHdrFragment(m=0, offset=0)
            / ICMPv6ND_NS(tgt=w.other_ipv6)
            / ICMPv6NDOptSrcLLAddr(lladdr=w.mac)
        ),
    ),
    "redirect": ("rogue_ra", lambda w: w.nd(ICMPv6ND_Redirect(tgt=w.link, dst="2001:db8::1"))),
    "redirect, ipv4": ("rogue_ra", lambda w: w.ip(ICMP(type=5, code=1, gw=w.ipv4) / bytes(28))),
}

HONEST = {
    "another protocol": lambda w: w.frame(b"x" * 50, type=MARK),
    "arp question": lambda w: w.arp(),
    "arp probe": lambda w: w.arp(psrc="0.0.0.0"),
    "arp announcement": lambda w: w.arp(pdst=w.ipv4),
    "dhcp": lambda w: w.dhcp(w.mac),
    "dhcp renewal": lambda w: w.dhcp(w.mac, src=w.ipv4, dst=w.other_ipv4),
    "tcp": lambda w: w.ip(TCP()),
    "udp": lambda w: w.ip(UDP()),
    "sctp": lambda w: w.ip(bytes(12), proto=132),
    "a first fragment": lambda w: w.ip(UDP(len=64) / bytes(16), flags="MF"),
    "a later fragment": lambda w: w.ip(bytes(16), proto=17, frag=5),
    "igmp before an address": lambda w: w.ip(bytes(8), proto=2, src="0.0.0.0", dst="224.0.0.22"),
    "mdns": lambda w: w.frame(
        IP(src=w.ipv4, dst="224.0.0.251", ttl=255) / UDP(sport=5353, dport=5353) / b"mdns",
        dst="01:00:5e:00:00:fb",
    ),
    "mdns, ipv6": lambda w: w.frame(
        IPv6(src=w.link, dst="ff02::fb", hlim=255) / UDP(sport=5353, dport=5353) / b"mdns",
        dst="33:33:00:00:00:fb",
    ),
    "tcp, ipv6": lambda w: w.ip6(TCP()),
    "tcp from a link-local": lambda w: w.ip6(TCP(), src=w.link),
    "udp, ipv6": lambda w: w.ip6(UDP()),
    "a privacy address": lambda w: w.ip6(UDP(), src=w.ipv6.rpartition(":")[0] + ":beef"),
    "udp behind extensions": lambda w: w.ip6(IPv6ExtHdrHopByHop() / options() / UDP() / b"x"),
    "ipsec": lambda w: w.ip6(bytes(16), nh=50),
    "nothing": lambda w: w.ip6(b"", nh=59),
    "ping": lambda w: w.ip6(ICMPv6EchoRequest(data=b"x")),
    "a ping's first fragment": lambda w: w.ip6(IPv6ExtHdrFragment(m=1) / ICMPv6EchoRequest(data=bytes(16))),
    "a ping's later fragment": lambda w: w.ip6(IPv6ExtHdrFragment(offset=3, nh=58) / bytes(16)),
    "a datagram's later fragment": lambda w: w.ip6(IPv6ExtHdrFragment(offset=3, nh=17) / bytes(16)),
    "solicitation": lambda w: w.nd(ICMPv6ND_NS(tgt=w.other_ipv6) / ICMPv6NDOptSrcLLAddr(lladdr=w.mac)),
    "solicitation without a mac": lambda w: w.nd(ICMPv6ND_NS(tgt=w.other_ipv6)),
    "solicitation with a nonce": lambda w: w.nd(
        ICMPv6ND_NS(tgt=w.other_ipv6) / ICMPv6NDOptSrcLLAddr(lladdr=w.mac) / NONCE
    ),
    "duplicate address detection": lambda w: w.nd(ICMPv6ND_NS(tgt=w.ipv6), src="::"),
    "the same with a nonce": lambda w: w.nd(ICMPv6ND_NS(tgt=w.ipv6) / NONCE, src="::"),
    "advertisement": lambda w: w.nd(ICMPv6ND_NA(tgt=w.ipv6) / ICMPv6NDOptDstLLAddr(lladdr=w.mac)),
    "router solicitation": lambda w: w.nd(
        ICMPv6ND_RS() / ICMPv6NDOptSrcLLAddr(lladdr=w.mac), src=w.link, dst="ff02::2"
    ),
    "router solicitation before an address": lambda w: w.nd(ICMPv6ND_RS(), src="::", dst="ff02::2"),
    "listener": lambda w: w.ip6(
        IPv6ExtHdrHopByHop() / ICMPv6MLReport2(), src="::", dst="ff02::16", hlim=1
    ),
    "dhcpv6 client": lambda w: w.ip6(UDP(sport=546, dport=547) / DHCP6_Solicit(), src=w.link),
}


def drops(guest):
    """{reason: frames} of a guest's port."""
    for port in guest.network.status()["ports"]:
        if port["interface"] == guest.port.interface:
            return port["drops"]
    raise AssertionError("no such port")


def changes(before, after):
    return {reason: after[reason] - before[reason] for reason in after if after[reason] != before[reason]}


def untagged(frame):
    """As the kernel gives a frame to a packet socket: the first tag is beside it."""
    return frame[:12] + frame[16:] if frame[12:14] in (b"\x81\x00", b"\x88\xa8") else frame


def arrives(guest, other, frame):
    """Sends a frame, and then one that does arrive. True where the first did, too."""
    sent = bytes(frame)
    last = bytes(Ether(src=guest.mac, dst=other.mac, type=MARK) / os.urandom(50))
    seen = []
    with other.packets() as receiver, guest.packets() as sender:
        sender.send(sent)
        sender.send(last)
        while not seen or seen[-1] != last:
            assert select.select([receiver], [], [], 5)[0], "nothing came"
            seen.append(receiver.recv(65536))
    return untagged(sent) in seen


@pytest.fixture(scope="module")
def world(guest, other):
    return World(guest, other)


def test_an_ordinary_guest_loses_nothing(lab, guest, other, version):
    """DHCP, router advertisements, duplicate address detection and all that follows."""
    assert guest.ping(other.addresses[version], size=8000) == 1
    assert guest.ping(guest.gateways[version]) == 1
    with lab.remote.listen(REMOTE[version]) as listener:
        guest.connect(REMOTE[version], listener.getsockname()[1]).close()
    assert not any(drops(guest).values()), drops(guest)
    assert not any(drops(other).values()), drops(other)


def test_duplicate_address_detection(network):
    """As guests do it, who wait for it; two of the same address find each other."""
    with network.guest(configure=False) as guest:
        guest.sysctl({"ipv6/conf/eth0/dad_transmits": 1})
        guest.up()
        assert guest.wait_ipv6()
        assert not any(drops(guest).values()), drops(guest)


@pytest.mark.parametrize("name", LIES)
def test_lie(guest, other, world, name):
    reason, make = LIES[name]
    before = drops(guest)
    assert not arrives(guest, other, make(world))
    assert changes(before, drops(guest)) == {reason: 1}


@pytest.mark.parametrize("name", HONEST)
def test_honest(guest, other, world, name):
    before = drops(guest)
    assert arrives(guest, other, HONEST[name](world))
    assert drops(guest) == before


def test_another_guests_mac_is_not_taken(network, guest, other):
    """The bridge learns from no frame that was dropped."""
    before = drops(guest)
    frame = Ether(src=other.mac, dst="ff:ff:ff:ff:ff:ff", type=MARK) / bytes(50)
    assert not arrives(guest, other, frame)
    assert changes(before, drops(guest)) == {"spoofed_mac": 1}
    assert guest.ping(other.ipv4) == 1


@pytest.fixture(scope="module")
def free(network):
    with network.guest(name="free", antiSpoof=False) as free:
        yield free


@pytest.mark.parametrize("name", LIES)
def test_lie_that_is_allowed(free, other, name):
    """anti-spoof=off, for guests that are routers or hosts of guests themselves."""
    assert arrives(free, other, LIES[name][1](World(free, other)))
    assert not any(drops(free).values())


@pytest.mark.parametrize("anti_spoof", [True, False])
def test_storm(network, other, anti_spoof):
    frame = bytes(Ether(dst="ff:ff:ff:ff:ff:ff", type=MARK) / bytes(50))
    with network.guest(antiSpoof=anti_spoof) as guest, guest.packets() as sender:
        frame = frame[:6] + bytes.fromhex(guest.mac.replace(":", "")) + frame[12:]
        start = time.monotonic()
        while not drops(guest)["storm"]:
            for _ in range(STORM_BURST_FRAMES):
                sender.send(frame)
            assert time.monotonic() < start + 20
        assert {reason for reason, frames in drops(guest).items() if frames} == {"storm"}
        # Frames to one guest pass, and so do others' to all.
        assert arrives(guest, other, Ether(src=guest.mac, dst=other.mac, type=MARK) / bytes(50))
        assert arrives(other, guest, Ether(src=other.mac, dst="ff:ff:ff:ff:ff:ff", type=MARK) / b"x")
        # After a moment of silence broadcast passes again.
        assert poll(lambda: arrives(guest, other, frame))
        assert not drops(other)["storm"]


def test_ports_do_not_inherit(network, other):
    """The next port of the name begins with nothing, and with rights of its own."""
    with network.guest(name="first") as first:
        interface, first_ipv4, first_mac = first.port.interface, first.ipv4, first.mac
        assert not arrives(first, other, Ether(src=first.mac, dst=other.mac) / IP(src="192.0.2.1"))
        assert drops(first)["spoofed_ipv4"] == 1
    with network.guest(name="second") as second:
        assert second.port.interface == interface
        assert not any(drops(second).values())
        lie = Ether(src=first_mac, dst=other.mac) / IP(src=first_ipv4, dst=other.ipv4) / TCP()
        assert not arrives(second, other, lie)
        assert drops(second)["spoofed_mac"] == 1


def test_new_router_knows_the_rules(network, guest, other, world):
    """What a port may do, and what it was caught at, outlives the router."""
    assert not arrives(guest, other, LIES["router"][1](world))
    before = drops(guest)
    leaving = network.guest(name="leaving", configure=False)
    [pid] = network.kill("router")
    leaving.close()
    wait_for_another(network, "router", pid)
    assert poll(lambda: "leaving" not in [port["name"] for port in network.status()["ports"]])
    assert drops(guest) == before
    assert not arrives(guest, other, LIES["router"][1](world))
    assert arrives(guest, other, HONEST["tcp"](world))
    assert changes(before, drops(guest)) == {"rogue_ra": 1}


def test_traffic_is_counted(network, guest, other):
    def traffic():
        [port] = [p for p in network.status()["ports"] if p["interface"] == guest.port.interface]
        return port["traffic"]

    before = traffic()
    with guest.udp() as sender, other.udp() as receiver:
        for _ in range(100):
            sender.sendto(bytes(1000), (other.ipv4, receiver.getsockname()[1]))
            assert len(receiver.recv(2000)) == 1000
    after = traffic()
    assert 100 <= after["upPackets"] - before["upPackets"] < 150
    assert 100 * 1042 <= after["upBytes"] - before["upBytes"] < 150 * 1042
    assert after["downPackets"] - before["downPackets"] < 50


def test_addresses_of_the_guests_choice(new_network):
    """A network without DHCP does not know its guests' IPv4 addresses, but its own."""
    network = new_network("--mode", "host", "--net-uuid", "9d7ab2f6-0c3c-4b3f-9a0e-6e3bb2a6c001")
    with network.guest(configure=False) as one, network.guest(configure=False) as two:
        for guest in (one, two):
            guest.up()
        udp = UDP() / b"x"
        gateway = network.describe()["gateway"]
        # A new router leaves it at that.
        [pid] = network.kill("router")
        wait_for_another(network, "router", pid)
        for source, passes in (("10.9.8.7", True), ("192.0.2.1", True), (gateway, False)):
            assert passes == arrives(
                one, two, Ether(src=one.mac, dst=two.mac) / IP(src=source, dst="10.9.8.6") / udp
            )
            assert passes == arrives(
                one, two, Ether(src=one.mac, dst=two.mac) / ARP(hwsrc=one.mac, psrc=source) / Raw(b"")
            )
        assert drops(one)["spoofed_ipv4"] == 2
        assert not arrives(one, two, Ether(src=two.mac, dst=two.mac) / IP(src="10.9.8.7") / udp)
        assert not arrives(one, two, Ether(src=one.mac, dst=two.mac) / IP(src="10.9.8.7") / UDP(sport=67))
