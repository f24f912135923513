# SPDX-License-Identifier: Apache-2.0
"""The short way of bridged networks past bridge and guard: which frames take it, and that lies gain nothing by it; also
when machines and the router come and go."""

import contextlib
import os
import re
import select
import socket
import struct

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6ND_RA,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    PadN,
)
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.utils import mac2str

from bridged import TEST_TYPE, BridgedNetwork, as_it_was, drops, settled, system_guest, two_guests, unicast
from lab import REMOTE, LabError
from shortcut import (
    SHORT,
    TEXT,
    Inside,
    is_long,
    is_short,
    kill_router,
    long_way,
    looked_at,
    needs_shortcut,
    talk,
)
from system import SystemLab, exchange, running
from test_capture import Capture

pytestmark = needs_shortcut
TCP4_SEGMENTS, TCP6_SEGMENTS, UDP_SEGMENTS = 1, 4, 5  # <linux/virtio_net.h>
SO_TIMESTAMPNS = 35
NOWHERE = "02:00:5e:10:00:77"  # on no wire
IP4 = {"src": "198.51.100.90", "dst": "198.51.100.91"}
IP6 = {"src": "2001:db8:1::90", "dst": "2001:db8:1::91"}


@pytest.fixture(scope="module")
def lab():
    with SystemLab() as lab, as_it_was(lab):
        yield lab


@pytest.fixture(scope="module")
def network(lab):
    with running(lab, "lan", TEXT, check=False) as network:
        yield network


@pytest.fixture(scope="module")
def inside(network):
    with Inside(network) as inside:
        yield inside


@pytest.fixture(scope="module")
def guests(network):
    with two_guests(network) as guests:
        yield guests


# ---- who takes it


def test_nearly_all_frames(lab, inside, guests, version):
    guest = guests[0]
    for far in (lab.remote, lab.host):
        for a, b in ((guest, far), (far, guest)):
            assert inside.passed(unicast, a, b, version, 1 << 20) == SHORT
            assert is_short(inside, a, b, version)


def test_others_do_not(lab, inside, guests):
    """What is left to bridge and guard: other protocols, and machines among themselves."""
    one, two = guests
    with lab.remote.udp(version=6) as server, one.udp(version=6) as client:

        def send():
            client.sendto(b"x", (REMOTE[6], server.getsockname()[1]))
            assert server.recv(10) == b"x"

        assert inside.passed(send) == {"up": 1, "down": 0}
    for version in (4, 6):
        unicast(one, two, version, 1 << 20)


# ---- hostile machines


class Machine:
    """A context: a port whose other side is this program, for frames as they are."""

    PLAIN = bytes(10)  # the virtio header of a frame that is whole

    def __init__(self, network, **parameters):
        self.port = network.attach(**parameters)
        self.mac = self.port.mac
        self.isolated = self.port.facts["isolated"]
        os.set_blocking(self.port.fd, False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.port.close()

    def send(self, frame, header=PLAIN):
        """One that is no frame at all is refused right here."""
        with contextlib.suppress(OSError):
            os.write(self.port.fd, header + frame)

    def recv(self, len_bytes):
        return os.read(self.port.fd, 10 + len_bytes)[10:]

    def fileno(self):
        return self.port.fd


def segments(size, ip_bytes=20, kind=TCP4_SEGMENTS, headers=0):
    """The virtio header of a packet that is to be cut into segments of @size; @headers: their length as it says."""
    checksum = 6 if kind == UDP_SEGMENTS else 16
    return struct.pack("=BBHHHH", 1, kind, headers, size, 14 + ip_bytes, checksum)


def short_way_frames(source):
    """What takes it, by name."""
    packets = {
        "tcp": IP(**IP4) / TCP(),
        "tcp of any length": IP(**IP4) / TCP() / bytes(1460),
        "tcp, ipv6": IPv6(**IP6) / TCP(),
        "tcp in fragments": IP(**IP4, flags="MF") / TCP(),
        "udp": IP(**IP4) / UDP(sport=7, dport=9) / b"x",
    }
    return {name: Ether(src=source, dst=NOWHERE) / packet for name, packet in packets.items()}


def first_part(transport):
    """A first fragment, whose 8 bytes hide what the rest is."""
    return IP(**IP4, flags="MF", id=7, proto=17) / bytes(transport)[:8]


def lies(me, another):
    """{name: (reason, frame to nowhere)}: why it is dropped, None where nobody counts it; False: it may be or not."""
    mine, forged = Ether(src=me, dst=NOWHERE), Ether(src=another, dst=NOWHERE)
    rogue, client = UDP(sport=67, dport=68), UDP(sport=68, dport=67)
    asked = client / BOOTP(chaddr=mac2str(another), xid=7) / DHCP(options=[("message-type", "discover"), "end"])
    options = IP(**IP4, options=b"\1" * 4)
    link = IPv6(src="fe80::90", dst=IP6["dst"], hlim=255)
    router = ICMPv6ND_RA(routerlifetime=1800)
    server = UDP(sport=547, dport=546) / b"x"
    udp = UDP(sport=7, dport=9)
    found = {f"{name}, another's": ("spoofed_mac", frame) for name, frame in short_way_frames(another).items()}
    for ethernet, who in ((mine, "mine"), (forged, "another's")):
        for tag, what in ((Dot1Q(vlan=5), "tag"), (Dot1Q(vlan=0), "tag 0"), (Dot1AD(vlan=5), "802.1ad"),
                          (Dot1AD(vlan=0), "802.1ad 0"), (Dot1Q(vlan=0) / Dot1Q(vlan=0), "two tags")):  # fmt: skip
            found[f"{what}, {who}"] = ("spoofed_mac", ethernet / tag / IP(**IP4) / TCP())
        found[f"tag, ipv6, {who}"] = ("spoofed_mac", ethernet / Dot1Q(vlan=0) / IPv6(**IP6) / TCP())
    return found | {
        "dhcp server": ("rogue_dhcp", mine / IP(**IP4) / rogue / b"x"),
        "dhcp server to itself": ("rogue_dhcp", mine / IP(**IP4) / UDP(sport=67, dport=67) / b"x"),
        "dhcp for another": ("spoofed_mac", mine / IP(**IP4) / asked),
        "dhcp server behind options": ("rogue_dhcp", mine / options / rogue / b"x"),
        "dhcp for another behind options": ("spoofed_mac", mine / options / asked),
        "dhcp server in fragments": ("rogue_dhcp", mine / first_part(rogue / bytes(100))),
        "dhcp for another in fragments": ("spoofed_mac", mine / first_part(asked)),
        "udp of nobody": ("spoofed_ipv4", mine / IP(src="0.0.0.0", dst=IP4["dst"]) / udp / b"x"),
        "version 6 in ipv4": ("spoofed_ipv4", mine / IP(**IP4, version=6) / TCP()),
        "version 6 in ipv4, udp": ("spoofed_ipv4", mine / IP(**IP4, version=6) / udp / b"x"),
        "version 4 in ipv6": ("rogue_ra", mine / IPv6(**IP6, version=4) / TCP()),
        "ipv4 of 16 bytes": ("spoofed_ipv4", mine / IP(**IP4, ihl=4) / TCP()),
        "tcp that is longer than its frame": ("spoofed_ipv4", mine / IP(**IP4, len=1000) / TCP()),
        "tcp that is shorter than its header": ("spoofed_ipv4", mine / IP(**IP4, len=19) / TCP()),
        "udp that is longer than its frame": ("spoofed_ipv4", mine / IP(**IP4, len=1000) / udp),
        "udp that ends before its ports": (False, mine / IP(**IP4, len=20) / udp),
        "tcp, ipv6, that is longer than its frame": ("rogue_ra", mine / IPv6(**IP6, plen=1000) / TCP()),
        "router behind an extension": ("rogue_ra", mine / link / IPv6ExtHdrHopByHop() / router),
        "router behind two": ("rogue_ra", mine / link / IPv6ExtHdrHopByHop()
            / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"1234")]) / router),
        "router in fragments": ("rogue_ra", mine / link / IPv6ExtHdrFragment(m=1) / router),
        "dhcpv6 server": ("rogue_dhcp", mine / IPv6(**IP6) / server),
        "dhcpv6 server behind an extension": ("rogue_dhcp", mine / IPv6(**IP6) / IPv6ExtHdrHopByHop() / server),
        "longer than the wire": (None, mine / IP(**IP4) / TCP() / bytes(1465)),
        "longer than the wire, udp": (None, mine / IP(**IP4) / udp / bytes(4000)),
        "longer than the wire, ipv6": (None, mine / IPv6(**IP6) / TCP() / bytes(1445)),
    }  # fmt: skip


class Scene:
    """What @machine sends, in its own name or in @victim's, which says nothing; and where it comes out."""

    def __init__(self, lab, network, machine, victim, other, wire, host):
        self.network, self.machine, self.victim = network, machine, victim
        self.places = {"wire": wire, "host": host, "machine": other}
        self.macs = {
            "wire": re.search(r"ether (\S+)", lab.remote.ip("link show in0"))[1],
            "host": re.search(r"ether (\S+)", lab.host.ip("link show out0"))[1],
            "machine": other.mac,
            "nobody": NOWHERE,
            "all": "ff:ff:ff:ff:ff:ff",
        }

    def send(self, frame, header=Machine.PLAIN, machine=None, timeout_s=5):
        """Returns {place: frames that came there in its course}, reasons of drops."""
        machine = machine or self.machine
        places = {name: made for name, made in self.places.items() if not machine.isolated or name != "machine"}
        before = drops(self.network, machine)
        last = mac2str("ff:ff:ff:ff:ff:ff") + mac2str(machine.mac) + TEST_TYPE.to_bytes(2, "big") + os.urandom(50)
        machine.send(frame, header)
        machine.send(last)
        came = {name: self.until(made, last, frame[6:12], timeout_s) for name, made in places.items()}
        after = drops(self.network, machine)
        return came, [reason for reason in after for _ in range(after[reason] - before[reason])]

    @staticmethod
    def until(made, last, source, timeout_s):
        """The frames of @source that come at @made before @last does."""
        seen = []
        while True:
            if not select.select([made], [], [], timeout_s)[0]:
                raise LabError("the last frame did not come")
            got = made.recv(70000)
            if got == last:
                return seen
            # The host's interface shows what is for all coming in, and going out.
            if got[6:12] == source and got[12:14] != last[12:14]:
                seen.append(got)

    def wait(self, machine):
        """A port that is new may take a second until the kernel lets frames out."""
        frame = mac2str(self.macs["wire"]) + mac2str(machine.mac) + b"\x88\xb6" + bytes(50)

        def passes():
            with contextlib.suppress(LabError):
                return self.send(frame, machine=machine, timeout_s=0.05)
            return None

        settled(passes, "frames of a new port come out")


@pytest.fixture(scope="module")
def scene(lab, network):
    with (
        Machine(network, name="hostile") as machine,
        Machine(network, name="victim") as victim,
        Machine(network, name="other") as other,
        lab.remote.packets("in0") as wire,
        lab.host.packets("out0") as host,
    ):
        scene = Scene(lab, network, machine, victim, other, wire, host)
        scene.wait(machine)
        yield scene


def test_hostile(lab, inside, guests, scene):
    """To whomever a frame is sent, it meets what it would have met at the guard; an honest one arrives, either way."""
    told = lies(scene.machine.mac, scene.victim.mac)
    honest = short_way_frames(scene.machine.mac)
    frames = [(name, bytes(frame), reason) for name, (reason, frame) in told.items()]
    frames += [(name, bytes(frame), True) for name, frame in honest.items()]
    for name, lengths in (("tcp", (0, 13, 14, 15, 33, 34, 53)), ("udp", (35, 38, 41))):
        frames += [(f"{length} bytes of {name}", bytes(honest[name])[:length], False) for length in lengths]

    def all_of_them():
        results = {}
        for to, mac in scene.macs.items():
            for name, frame, expected in frames:
                # A frame that is cut off within its addresses stays so.
                sent = (mac2str(mac) + frame[6:])[: len(frame)]
                results[to, name] = (expected, sent, *scene.send(sent))
        return results

    with_it = all_of_them()
    with long_way(inside, guests[0], lab.remote):
        without = all_of_them()
    wrong = []
    for key, (expected, sent, came, reasons) in with_it.items():
        arrived = [frame for frames in came.values() for frame in frames]
        if (came, reasons) != without[key][2:]:
            wrong.append((key, "differs", came, reasons, without[key][2:]))
        elif expected is True and (not arrived or reasons or any(frame != sent for frame in arrived)):
            wrong.append((key, "honest", came, reasons))
        elif isinstance(expected, (str, type(None))) and (arrived or reasons != ([expected] if expected else [])):
            wrong.append((key, expected, came, reasons))
    assert not wrong, "\n".join(map(str, wrong))


def test_packets_to_be_cut(lab, inside, guests, scene):
    """Their headers say what is in the first part of the kernel's buffer: little hides nothing. Longer than the wire's
    MTU they do pass."""
    wire = {"dst": scene.macs["wire"]}
    mine, forged = Ether(src=scene.machine.mac, **wire), Ether(src=scene.victim.mac, **wire)
    tcp4, tcp6 = IP(**IP4) / TCP(flags="A") / bytes(6000), IPv6(**IP6) / TCP(flags="A") / bytes(6000)
    udp4 = IP(**IP4) / UDP(sport=67, dport=9) / bytes(6000)

    def all_of_them():
        results = []
        for headers in (0, 14, 15, 34, 54, 6000):
            for frame, header, reason in (
                (mine / tcp4, segments(1400, headers=headers), None),
                (mine / tcp6, segments(1400, 40, kind=TCP6_SEGMENTS, headers=headers), None),
                (forged / tcp4, segments(1400, headers=headers), "spoofed_mac"),
                (forged / tcp6, segments(1400, 40, kind=TCP6_SEGMENTS, headers=headers), "spoofed_mac"),
                (mine / udp4, segments(1400, kind=UDP_SEGMENTS, headers=headers), "rogue_dhcp"),
            ):
                came, reasons = scene.send(bytes(frame), header)
                assert reasons == ([reason] if reason else []), (headers, reason)
                assert [len(each) for each in came["wire"]] == ([] if reason else [len(frame)]), (headers, reason)
                results.append((came, reasons))
        return results

    with_it = all_of_them()
    with long_way(inside, guests[0], lab.remote):
        assert with_it == all_of_them()


def test_isolated(network, scene):
    """Nothing but host and outside, by whichever way."""
    with Machine(network, name="alone", isolated=True) as alone:
        scene.wait(alone)
        for frame in short_way_frames(scene.machine.mac).values():
            sent = mac2str(alone.mac) + bytes(frame)[6:]
            # The frame, and the one to all that send() adds.
            assert scene.send(sent) == ({name: [] for name in scene.places}, ["isolated"] * 2)
        while select.select([alone], [], [], 0)[0]:
            assert alone.recv(70000)[6:12] != mac2str(scene.machine.mac)


def test_without_anti_spoof(network, inside, scene):
    """It may send in any name; in no other one by the short way, which a port has for its own MAC alone."""
    with Machine(network, name="free", antiSpoof=False) as free:
        scene.wait(free)
        for source, over_the_bridge in ((free.mac, 0), ("02:00:5e:10:00:78", 1), (scene.victim.mac, 1)):
            frame = Ether(src=source, dst=scene.macs["wire"]) / IP(**IP4) / TCP()
            came = []

            def send(frame=bytes(frame), came=came):
                came += scene.send(frame, machine=free)

            assert inside.passed(send) == {"up": over_the_bridge, "down": 0}, source
            assert came[0]["wire"] == [bytes(frame)] and came[1] == []


# ---- who looks, sees all


def test_capture(lab, network, inside, guests):
    one, far = guests[0], lab.remote
    assert is_short(inside, one, far)
    with Capture(lab, network, "tcp") as capture:
        settled(lambda: is_long(inside, one, far), "the short way is closed")
        with far.listen() as listener:
            port = listener.getsockname()[1]
            exchange(listener, lambda port: one.connect(REMOTE[4], port))
        frames, said, _ = capture.end()
    packets = [frame for frame in frames if IP in frame and port in (frame[TCP].sport, frame[TCP].dport)]
    seen = [(packet[IP].src, packet[TCP].flags) for packet in packets]
    assert (one.ipv4, "S") in seen and (REMOTE[4], "SA") in seen and (REMOTE[4], "PA") in seen, said
    settled(lambda: is_short(inside, one, far), "it is open again")


def test_bridge_is_looked_at(lab, inside, guests):
    """By any program, and by two: with the last one's end it is open again."""
    one, far = guests[0], lab.remote
    with long_way(inside, one, far):
        with looked_at(inside):
            unicast(one, far, 4, 1 << 20)
        assert is_long(inside, one, far)


# ---- machines come and go


def test_mac_is_forgotten(lab, network, inside, guests):
    """Where a machine has gone another station outside may have its MAC."""
    one, far = guests[0], lab.remote
    with system_guest(network, 3) as gone:
        mac = gone.mac
        settled(lambda: is_short(inside, gone, far), "it has the short way")
    settled(lambda: mac not in lab.host.run(["bridge", "fdb", "show", "dev", "out0"]).stdout, "its port is gone")
    far.ip_batch(
        f"link add moved0 link in0 address {mac} type macvlan mode private\n"
        "link set moved0 up\naddress add 198.51.100.50/32 dev moved0\n"
    )
    one.ip(f"neigh replace 198.51.100.50 lladdr {mac} dev eth0")
    try:
        with far.listen("198.51.100.50") as listener:

            def connect():
                exchange(listener, lambda port: one.connect("198.51.100.50", port))

            assert inside.passed(connect) == SHORT
    finally:
        far.ip("link del moved0")
        one.ip("neigh del 198.51.100.50 dev eth0")


def test_mac_is_learnt(lab, network, inside):
    port = network.attach(name="g4", learnMac=True)
    port.mac, port.ipv4 = "52:54:00:00:04:04", "198.51.100.14"
    port.facts.update(gateway=None, gateway6=None)
    with BridgedNetwork.configure(network, port, 4) as guest:
        # Its first frames are lost: it asks again at once.
        guest.sysctl({"ipv4/neigh/eth0/retrans_time_ms": 20})
        settled(lambda: guest.ping(REMOTE[4], timeout_s=1), "it is learnt")
        for far in (lab.remote, lab.host):
            for a, b in ((guest, far), (far, guest)):
                settled(lambda a=a, b=b: is_short(inside, a, b), "short")


# ---- the router, and a qdisc


def test_router_is_killed(lab, network, inside, guests):
    one, two = guests
    with lab.remote.listen() as listener, one.connect(REMOTE[4], listener.getsockname()[1]) as stream:
        kill_router(network)
        other, _ = listener.accept()
        with other:
            stream.sendall(b"still there")
            assert other.recv(100) == b"still there"
    for far in (lab.remote, lab.host):
        for version in (4, 6):
            settled(lambda far=far, version=version: is_short(inside, one, far, version), "by the short way")
            assert is_short(inside, far, two, version)
    with system_guest(network, 6) as new:
        for a, b in ((new, one), (one, new), (two, new)):
            talk(a, b)
        for a, b in ((new, lab.remote), (lab.remote, new), (lab.host, new), (one, lab.remote)):
            settled(lambda a=a, b=b: is_short(inside, a, b), "by the short way")
    assert is_short(inside, one, lab.remote)


def test_qdisc_that_reads_times(lab, inside, guests):
    """fq at the interface sends frames when their time stamps say, and when they were received is no such time."""
    one, far = guests[0], lab.remote
    if lab.host.run(["tc", "qdisc", "replace", "dev", "out0", "root", "fq"], check=False).returncode != 0:
        pytest.skip("the kernel has no qdisc fq (CONFIG_NET_SCH_FQ), which sends by time stamps")
    try:
        # With such a socket anywhere the kernel stamps all that it receives.
        with lab.host.udp() as stamped:
            stamped.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            for version in (4, 6):
                unicast(one, far, version, 1 << 20)
            assert is_short(inside, one, far)
            with long_way(inside, one, far):
                unicast(one, far, 4, 1 << 20)
                assert is_long(inside, one, far)
    finally:
        lab.host.run(["tc", "qdisc", "del", "dev", "out0", "root"])
