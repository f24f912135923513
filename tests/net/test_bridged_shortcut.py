# SPDX-License-Identifier: Apache-2.0
"""The short way of bridged networks past bridge and guard: what takes it, and what gains nothing by it."""

import contextlib
import ctypes
import json
import os
import pathlib
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

from bridged import BridgedNetwork, as_it_was, drops, place, settled, system_guest, two_guests, unicast
from lab import BUILD, CLONE_NEWNET, HERE, PYTHON, REMOTE, Background, LabError, libc
from system import SystemLab, exchange, needs_root, running
from test_capture import Capture
from without_bpf import BPF_NUMBERS

TEXT = "mode = bridged\nifname = out0\n"
MARK = 0x88B5
TCP4_SEGMENTS, TCP6_SEGMENTS, UDP_SEGMENTS = 1, 4, 5  # <linux/virtio_net.h>
SO_TIMESTAMPNS = 35
SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC = 263, 1, 1
IP_MTU_DISCOVER, IP_PMTUDISC_PROBE = 10, 3
NOWHERE = "02:00:5e:10:00:77"  # on no wire
BPF_MAP_CREATE, BPF_PROG_GET_FD_BY_ID, BPF_MAP_GET_FD_BY_ID = 0, 13, 14


def bpf(command, *words):
    """bpf(2) with an attribute of 32 bit words: a descriptor, or -errno."""
    attribute = ctypes.create_string_buffer(struct.pack(f"{len(words)}I", *words), 128)
    fd = libc.syscall(BPF_NUMBERS[os.uname().machine], command, attribute, len(attribute))
    return fd if fd >= 0 else -ctypes.get_errno()


def why_not():
    if os.uname().machine not in BPF_NUMBERS:
        return "the number of bpf(2) is not known here"
    if b"from_outside" not in (BUILD / "vmnetd").read_bytes():
        return "this vmnetd was built without it (libbpf, clang)"
    if tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) < (5, 19):
        return "it takes Linux 5.19"
    fd = bpf(BPF_MAP_CREATE, 1, 4, 4, 1)
    if fd < 0:
        return f"bpf(2) is refused here: {os.strerror(-fd)}"
    os.close(fd)
    return ""


REASON = why_not() if os.geteuid() == 0 else ""
pytestmark = [needs_root, pytest.mark.skipif(REASON != "", reason=f"there is no short way: {REASON}")]


class Inside:
    """A context: the namespace of a network, and the TCP and UDP frames that pass the bridge there to and from outside."""

    def __init__(self, network):
        self.host = network.lab.host
        # Processes of the network may end meanwhile.
        self.fd = os.open(f"/proc/{network.process('router')}/ns/net", os.O_RDONLY)

    def __enter__(self):
        self.run("nft", "-f", "-", input="""table bridge counted {
            counter up { }
            counter down { }
            chain forward {
                type filter hook forward priority 100;
                oifname up0 meta l4proto { tcp, udp } counter name up
                iifname up0 meta l4proto { tcp, udp } counter name down
            }
        }""")
        return self

    def __exit__(self, *_):
        os.close(self.fd)

    def run(self, *command, **options):
        command = ["nsenter", f"--net=/proc/self/fd/{self.fd}", *command]
        return self.host.run(command, pass_fds=[self.fd], **options).stdout

    def counters(self):
        listed = json.loads(self.run("nft", "-j", "list", "counters", "table", "bridge", "counted"))
        return {each["counter"]["name"]: each["counter"]["packets"]
                for each in listed["nftables"] if "counter" in each}  # fmt: skip

    def passed(self, function, *arguments):
        """{"up": frames, "down": frames} over the bridge while @function is run."""
        before = self.counters()
        function(*arguments)
        after = self.counters()
        return {name: after[name] - before[name] for name in after}

    def socket(self):
        """A packet socket there that is bound to nothing."""

        def make():  # in a thread of its own, which ends there
            if libc.setns(self.fd, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
            return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)

        return Background(make).result()

    def filters(self):
        links = re.findall(r"^\d+: ([^:@]+)", self.run("ip", "-o", "link"), re.MULTILINE)
        return {link: self.run("tc", "filter", "show", "dev", link, "ingress") for link in links}


SHORT = {"up": 0, "down": 0}


def talk(a, b, version=4):
    """A few frames of TCP each way; of UDP, too, where it has the short way."""
    address = place(b)[1][version]
    with b.listen(version=version) as listener:
        exchange(listener, lambda port: a.connect(address, port))
    if version == 6:
        return
    with b.udp() as server, a.udp() as client:
        client.sendto(b"question", (address, server.getsockname()[1]))
        question, peer = server.recvfrom(100)
        server.sendto(b"answer", peer)
        assert (question, client.recv(100)) == (b"question", b"answer")


def is_short(inside, a, b):
    return inside.passed(talk, a, b) == SHORT


def is_long(inside, a, b):
    passed = inside.passed(talk, a, b)
    return passed["up"] and passed["down"]


@contextlib.contextmanager
def looked_at(inside):
    """Somebody has the bridge in promiscuous mode, as tcpdump does."""
    with inside.socket() as made:
        index = int(inside.run("ip", "-o", "link", "show", "br0").partition(":")[0])
        request = struct.pack("iHH8s", index, PACKET_MR_PROMISC, 0, b"")
        made.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, request)
        yield made


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
            assert inside.passed(talk, a, b, version) == SHORT


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
    """A port whose other side is this program: frames as they are."""

    PLAIN = bytes(10)  # the virtio header of a frame that is whole

    def __init__(self, network, **parameters):
        self.port = network.attach(**parameters)
        self.name = self.port.name
        self.mac = self.port.mac
        self.isolated = self.port.facts["isolated"]

    def __enter__(self):
        os.set_blocking(self.port.fd, False)
        return self

    def __exit__(self, *_):
        self.port.close()

    def send(self, frame, header=PLAIN):
        """One that is no frame at all is refused right here."""
        with contextlib.suppress(OSError):
            os.write(self.port.fd, header + frame)

    def recv(self):
        return os.read(self.port.fd, 70000)[10:]

    def fileno(self):
        return self.port.fd


def mac_bytes(text):
    return bytes.fromhex(text.replace(":", ""))


def segments(size, ip_bytes=20, kind=TCP4_SEGMENTS, headers=0):
    """The virtio header of a packet that is to be cut: TCP of IPv4, or what @kind says. @headers: what it says is linear."""
    checksum = 6 if kind == UDP_SEGMENTS else 16
    return struct.pack("=BBHHHH", 1, kind, headers, size, 14 + ip_bytes, checksum)


def short_way_frames(to):
    """What takes it, by name."""
    udp4, tcp4 = IP(src="198.51.100.90", dst="198.51.100.91"), IP(src="198.51.100.90", dst="198.51.100.91")
    return {
        "tcp": to(tcp4 / TCP()),
        "tcp of any length": to(tcp4 / TCP() / bytes(1460)),
        "tcp, ipv6": to(IPv6(src="2001:db8:1::90", dst="2001:db8:1::91") / TCP()),
        "tcp in fragments": to(IP(src="198.51.100.90", dst="198.51.100.91", flags="MF") / TCP()),
        "udp": to(udp4 / UDP(sport=7, dport=9) / b"x"),
    }


def first_part(to, transport):
    """The first fragment has 8 bytes of what is hidden."""
    return to(IP(src="198.51.100.90", dst="198.51.100.91", flags="MF", id=7, proto=17) / bytes(transport)[:8])


def lies(me, forged):
    """{name: (reason or None where none is counted, frame without its destination)}"""

    def of(source):
        return lambda payload: Ether(src=source, dst=NOWHERE) / payload

    mine, others = of(me), of(forged)
    ip4 = {"src": "198.51.100.90", "dst": "198.51.100.91"}
    ip6 = {"src": "2001:db8:1::90", "dst": "2001:db8:1::91"}
    rogue, client = UDP(sport=67, dport=68), UDP(sport=68, dport=67)
    asked = client / BOOTP(chaddr=mac_bytes(forged), xid=7) / DHCP(options=[("message-type", "discover"), "end"])
    router = ICMPv6ND_RA(routerlifetime=1800)
    server = UDP(sport=547, dport=546) / b"x"
    link = {"src": "fe80::90", "dst": "2001:db8:1::91", "hlim": 255}
    found = {f"{name} in another's name": ("spoofed_mac", frame) for name, frame in short_way_frames(others).items()}
    for ethernet, who in ((mine, "mine"), (others, "another's")):
        for tag, what in ((Dot1Q(vlan=5), "tag"), (Dot1Q(vlan=0), "tag 0"), (Dot1AD(vlan=5), "802.1ad"),
                          (Dot1AD(vlan=0), "802.1ad 0"), (Dot1Q(vlan=0) / Dot1Q(vlan=0), "two tags")):  # fmt: skip
            found[f"{what}, {who}"] = ("spoofed_mac", ethernet(tag / IP(**ip4) / TCP()))
        found[f"tag, ipv6, {who}"] = ("spoofed_mac", ethernet(Dot1Q(vlan=0) / IPv6(**ip6) / TCP()))
    return found | {
        "dhcp server": ("rogue_dhcp", mine(IP(**ip4) / rogue / b"x")),
        "dhcp server to itself": ("rogue_dhcp", mine(IP(**ip4) / UDP(sport=67, dport=67) / b"x")),
        "dhcp for another": ("spoofed_mac", mine(IP(**ip4) / asked)),
        "dhcp server behind options": ("rogue_dhcp", mine(IP(**ip4, options=b"\1" * 4) / rogue / b"x")),
        "dhcp for another behind options": ("spoofed_mac", mine(IP(**ip4, options=b"\1" * 4) / asked)),
        "dhcp server in fragments": ("rogue_dhcp", first_part(mine, rogue / bytes(100))),
        "dhcp for another in fragments": ("spoofed_mac", first_part(mine, asked)),
        "udp of nobody": ("spoofed_ipv4", mine(IP(src="0.0.0.0", dst=ip4["dst"]) / UDP(sport=7, dport=9) / b"x")),
        "version 6 in ipv4": ("spoofed_ipv4", mine(IP(**ip4, version=6) / TCP())),
        "version 6 in ipv4, udp": ("spoofed_ipv4", mine(IP(**ip4, version=6) / UDP(sport=7, dport=9) / b"x")),
        "version 4 in ipv6": ("rogue_ra", mine(IPv6(**ip6, version=4) / TCP())),
        "ipv4 of 16 bytes": ("spoofed_ipv4", mine(IP(**ip4, ihl=4) / TCP())),
        "tcp that is longer than its frame": ("spoofed_ipv4", mine(IP(**ip4, len=1000) / TCP())),
        "tcp that is shorter than its header": ("spoofed_ipv4", mine(IP(**ip4, len=19) / TCP())),
        "udp that is longer than its frame": ("spoofed_ipv4", mine(IP(**ip4, len=1000) / UDP(sport=7, dport=9))),
        "udp that ends before its ports": (False, mine(IP(**ip4, len=20) / UDP(sport=7, dport=9))),
        "tcp, ipv6, that is longer than its frame": ("rogue_ra", mine(IPv6(**ip6, plen=1000) / TCP())),
        "router behind an extension": ("rogue_ra", mine(IPv6(**link) / IPv6ExtHdrHopByHop() / router)),
        "router behind two": ("rogue_ra", mine(
            IPv6(**link) / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"1234")]) / router)),
        "router in fragments": ("rogue_ra", mine(IPv6(**link) / IPv6ExtHdrFragment(m=1) / router)),
        "dhcpv6 server": ("rogue_dhcp", mine(IPv6(**ip6) / server)),
        "dhcpv6 server behind an extension": ("rogue_dhcp", mine(IPv6(**ip6) / IPv6ExtHdrHopByHop() / server)),
        "longer than the wire": (None, mine(IP(**ip4) / TCP() / bytes(1465))),
        "longer than the wire, udp": (None, mine(IP(**ip4) / UDP(sport=7, dport=9) / bytes(4000))),
        "longer than the wire, ipv6": (None, mine(IPv6(**ip6) / TCP() / bytes(1445))),
    }  # fmt: skip


def truncated(frame, lengths):
    return {f"{length} bytes of a frame": frame[:length] for length in lengths}


class Scene:
    """What one machine sends, in its own name or @victim's, which says nothing; and where it comes out."""

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
        last = mac_bytes("ff:ff:ff:ff:ff:ff" + machine.mac) + MARK.to_bytes(2, "big") + os.urandom(50)
        machine.send(frame, header)
        machine.send(last)
        came = {name: self.until(made, last, frame[6:12], timeout_s) for name, made in places.items()}
        after = drops(self.network, machine)
        return came, [reason for reason in after for _ in range(after[reason] - before[reason])]

    @staticmethod
    def until(made, last, source, timeout_s):
        seen = []
        while True:
            if not select.select([made], [], [], timeout_s)[0]:
                raise LabError("the last frame did not come")
            got = made.recv(70000) if isinstance(made, socket.socket) else made.recv()
            if got == last:
                return seen
            # The host's interface shows what is for all coming in, and going out.
            if got[6:12] == source and got[12:14] != last[12:14]:
                seen.append(got)


def ready(scene, machine=None):
    """A port that is new may take a second until the kernel lets frames out."""
    mac = (machine or scene.machine).mac
    with contextlib.suppress(LabError):
        return scene.send(mac_bytes(scene.macs["wire"] + mac) + b"\x88\xb6" + bytes(50), machine=machine, timeout_s=0.05)
    return None


@pytest.fixture(scope="module")
def scene(lab, network, inside):
    with (
        Machine(network, name="hostile") as machine,
        Machine(network, name="victim") as victim,
        Machine(network, name="other") as other,
        lab.remote.packets("in0") as wire,
        lab.host.packets("out0") as host,
    ):
        scene = Scene(lab, network, machine, victim, other, wire, host)
        settled(lambda: ready(scene), "ports let frames pass")
        yield scene


@contextlib.contextmanager
def long_way(inside, guest, remote):
    with looked_at(inside):
        settled(lambda: is_long(inside, guest, remote), "closed")
        yield
    settled(lambda: is_short(inside, guest, remote), "open again")


DESTINATIONS = ("wire", "host", "machine", "nobody", "all")


def test_hostile(lab, network, inside, guests, scene):
    """Each frame meets what it would have met at the guard, to whomever it is sent; and each honest one arrives, either way."""
    told = lies(scene.machine.mac, scene.victim.mac)
    honest = short_way_frames(lambda payload: Ether(src=scene.machine.mac, dst=NOWHERE) / payload)
    cut = truncated(bytes(honest["tcp"]), (0, 13, 14, 15, 33, 34, 53))
    cut |= {f"udp, {name}": frame for name, frame in truncated(bytes(honest["udp"]), (35, 38, 41)).items()}

    def all_of_them():
        results = {}
        for to in DESTINATIONS:
            start = mac_bytes(scene.macs[to])
            frames = [(name, bytes(frame), reason) for name, (reason, frame) in told.items()]
            frames += [(name, bytes(frame), True) for name, frame in honest.items()]
            frames += [(name, frame, False) for name, frame in cut.items()]
            for name, frame, expected in frames:
                # A frame that is cut off within its addresses stays so.
                sent = (start + frame[6:])[: len(frame)]
                results[to, name] = (expected, sent, *scene.send(sent))
        return results

    with_it = all_of_them()
    with long_way(inside, guests[0], lab.remote):
        without = all_of_them()
    wrong = []
    for key, (expected, sent, came, reasons) in with_it.items():
        arrived = [where for where, frames in came.items() if frames]
        if (came, reasons) != without[key][2:]:
            wrong.append((key, "differs", came, reasons, without[key][2:]))
        elif expected is True and (not arrived or reasons or any(each != sent for frames in came.values() for each in frames)):
            wrong.append((key, "honest", came, reasons))
        elif isinstance(expected, (str, type(None))) and (arrived or reasons != ([expected] if expected else [])):
            wrong.append((key, expected, came, reasons))
    assert not wrong, "\n".join(map(str, wrong))


def test_packets_to_be_cut(lab, network, inside, guests, scene):
    """Their headers say what is in the first part of the kernel's buffer: little hides nothing. Longer ones than the wire's do pass."""
    ip4, ip6 = {"src": "198.51.100.90", "dst": "198.51.100.91"}, {"src": "2001:db8:1::90", "dst": "2001:db8:1::91"}
    wire = {"dst": scene.macs["wire"]}
    mine, forged = Ether(src=scene.machine.mac, **wire), Ether(src=scene.victim.mac, **wire)
    tcp4, tcp6 = IP(**ip4) / TCP(flags="A") / bytes(6000), IPv6(**ip6) / TCP(flags="A") / bytes(6000)
    udp4 = IP(**ip4) / UDP(sport=67, dport=9) / bytes(6000)

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
    frames = short_way_frames(lambda payload: Ether(src=scene.machine.mac, dst=NOWHERE) / payload)
    with Machine(network, name="alone", isolated=True) as alone:
        settled(lambda: ready(scene, alone), "it is there")
        for frame in frames.values():
            sent = mac_bytes(alone.mac) + bytes(frame)[6:]
            # The frame, and the one to all that send() adds.
            assert scene.send(sent) == ({name: [] for name in scene.places}, ["isolated"] * 2)
        while select.select([alone], [], [], 0)[0]:
            assert alone.recv()[6:12] != mac_bytes(scene.machine.mac)


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
    seen = [(frame[IP].src, frame[TCP].flags) for frame in frames if IP in frame and port in (frame[TCP].sport, frame[TCP].dport)]
    assert (one.ipv4, "S") in seen and (REMOTE[4], "SA") in seen and (REMOTE[4], "PA") in seen, said
    settled(lambda: is_short(inside, one, far), "it is open again")


def test_bridge_is_looked_at(lab, inside, guests):
    """By any program, and by two: with the last one's end it is open again."""
    one, far = guests[0], lab.remote
    with looked_at(inside):
        settled(lambda: is_long(inside, one, far), "closed")
        with looked_at(inside):
            unicast(one, far, 4, 1 << 20)
        assert is_long(inside, one, far)
    settled(lambda: is_short(inside, one, far), "open again")


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
        settled(lambda: guest.ping(REMOTE[4], timeout_s=1), "it is learnt")
        for far in (lab.remote, lab.host):
            for a, b in ((guest, far), (far, guest)):
                settled(lambda a=a, b=b: is_short(inside, a, b), "short")


def test_without_anti_spoof(network, inside, scene):
    """It may send in any name; in no other one by the short way, which a port has for its own MAC alone."""
    with Machine(network, name="free", antiSpoof=False) as free:
        settled(lambda: ready(scene, free), "it is there")
        for source, over_the_bridge in ((free.mac, 0), ("02:00:5e:10:00:78", 1), (scene.victim.mac, 1)):
            frame = Ether(src=source, dst=scene.macs["wire"]) / IP(src="198.51.100.90", dst="198.51.100.91") / TCP()
            came = []

            def send(frame=bytes(frame), came=came):
                came += scene.send(frame, machine=free)

            assert inside.passed(send) == {"up": over_the_bridge, "down": 0}, source
            assert came[0]["wire"] == [bytes(frame)] and came[1] == []


# ---- the network's processes, and what happens to the interface


def kill_router(network):
    [pid] = network.kill("router")
    settled(lambda: network.process("router") not in (0, pid), "a new router")


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
            settled(lambda far=far, version=version: inside.passed(talk, one, far, version) == SHORT, "by the short way")
            assert inside.passed(talk, far, two, version) == SHORT
    with system_guest(network, 6) as new:
        for a, b in ((new, one), (one, new), (two, new)):
            talk(a, b)
        for a, b in ((new, lab.remote), (lab.remote, new), (lab.host, new), (one, lab.remote)):
            settled(lambda a=a, b=b: is_short(inside, a, b), "by the short way")
    assert is_short(inside, one, lab.remote)


@pytest.fixture
def spare(lab):
    """Another interface of the host, whose other end is the remote's: what makes it, a network of it, and a guest there."""
    host, remote = lab.host, lab.remote

    def make():
        host.ip_batch(
            f"link add lan0 type veth peer name lan1 netns /proc/{remote.holder.pid}/ns/net\n"
            "link set lan0 addrgenmode none address 02:00:5e:10:00:07 mtu 9000\nlink set lan0 up\naddress add 10.9.0.1/24 dev lan0\n"
        )
        remote.ip_batch("link set lan1 up mtu 9000\naddress add 10.9.0.2/24 dev lan1\n")

    make()
    with (
        running(lab, "spare", "mode = bridged\nifname = lan0\nmtu = 2000\n", check=False) as network,
        Inside(network) as inside,
        system_guest(network, 1) as guest,
    ):
        guest.ip("address add 10.9.0.11/24 dev eth0")
        yield make, network, inside, guest
    host.ip("link del lan0")


def way(lab, inside, guest):
    """"short" or "long", where outside and host reach the machine, and it them."""

    def all_four():
        for far, address in ((lab.remote, "10.9.0.2"), (lab.host, "10.9.0.1")):
            for a, b, to in ((guest, far, address), (far, guest, "10.9.0.11")):
                with b.listen(to) as listener:
                    exchange(listener, lambda port, a=a, to=to: a.connect(to, port, timeout_s=0.5))

    with contextlib.suppress(TimeoutError, OSError):
        passed = inside.passed(all_four)
        return "short" if passed == SHORT else "long"
    return None


def test_interface_changes(lab, spare):
    """It goes and comes back, has another MAC, and its link to the network is removed by somebody."""
    make, network, inside, guest = spare
    host = lab.host
    settled(lambda: way(lab, inside, guest) == "short", "at first")

    host.ip("link set lan0 address 02:00:5e:10:00:08")
    for namespace in (lab.remote, guest):
        namespace.ip("neigh flush all")
    settled(lambda: way(lab, inside, guest) == "short", "with another MAC")

    host.ip("link del vmnet-spare")
    settled(lambda: "vmnet-spare was removed" in network.log(), "told")
    settled(lambda: way(lab, inside, guest) == "short", "over a link that was made again")

    host.ip("link del lan0")
    settled(lambda: "lan0 is gone" in network.log(), "told")
    with system_guest(network, 2) as late:
        late.ip("address add 10.9.0.12/24 dev eth0")
        make()
        for namespace in (guest, late):
            namespace.ip("neigh flush all")
        settled(lambda: way(lab, inside, guest) == "short", "it is there again")
        with late.listen("10.9.0.12") as listener:

            def connect():
                exchange(listener, lambda port: lab.remote.connect("10.9.0.12", port))

            connect()
            assert inside.passed(connect) == SHORT, "a machine that came meanwhile"


def test_mtu_changes(lab, spare):
    """Frames to machines have the short way, and any way, up to the network's MTU; those from them, up to the interface's."""
    _, network, inside, guest = spare
    guest.ip("link set eth0 mtu 9000")

    def passes(a, b, to, size):
        """How many arrive of one frame of @size, whose sender does not know the MTU of the way."""
        with b.udp(to) as server, a.udp() as client:
            client.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE)
            for length in (size - 28, 1):
                client.sendto(bytes(length), server.getsockname())
            count = 0
            while len(server.recv(10000)) > 1:
                count += 1
        return count

    settled(lambda: way(lab, inside, guest) == "short", "at first")
    up, down = (guest, lab.remote, "10.9.0.2"), (lab.remote, guest, "10.9.0.11")
    for lan0, machines in ((9000, 2000), (1400, 1400), (9000, 2000)):
        lab.host.ip(f"link set lan0 mtu {lan0}")
        settled(lambda mtu=machines: network.describe()["mtu"] == mtu, "told")
        for to in (up, down):
            settled(lambda to=to, mtu=machines: passes(*to, mtu), f"{machines}: as long as that")
            assert inside.passed(passes, *to, machines) == SHORT
        assert passes(*down, machines + 100) == 0
        settled(lambda lan0=lan0: passes(*up, lan0) == 1, "as long as the interface")
        assert lan0 == 9000 or passes(*up, lan0 + 100) == 0


def test_qdisc_that_reads_times(lab, inside, guests):
    """fq at the interface sends a frame when its time stamp says; one of a packet that was received is no such time."""
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


# ---- where there is no bpf(2), and what is left


@contextlib.contextmanager
def answered_bpf():
    """A laboratory whose vmnetd may be refused bpf(2): while the file that comes with it is there."""
    with SystemLab() as lab:
        refused = lab.directory / "bpf-is-refused"
        program = lab.vmnetd_path.with_name("vmnetd-itself")
        lab.vmnetd_path.rename(program)
        lab.vmnetd_path.write_text(f'#!/bin/sh\nexec {PYTHON} -I -S {HERE}/without_bpf.py {refused} {program} "$@"\n')
        lab.vmnetd_path.chmod(0o755)
        with as_it_was(lab):
            yield lab, refused


def programs(lab, inside):
    """Filters of the short way, wherever they are."""
    shown = [*inside.filters().values(), lab.host.run(["tc", "filter", "show", "dev", "out0", "ingress"]).stdout]
    return re.findall(r"direct-action.* name (\w+)", "\n".join(shown))


def test_bpf_is_refused():
    """From the start: all works the long way, which the log says once, and nothing is there of the short one."""
    with answered_bpf() as (lab, refused):
        refused.touch()
        with running(lab, "lan", TEXT, check=False) as network, Inside(network) as inside, two_guests(network) as (one, two):
            assert programs(lab, inside) == []
            assert "clsact" not in inside.run("tc", "qdisc", "show")
            for a, b in ((one, lab.remote), (lab.remote, one), (one, two), (lab.host, two), (two, lab.host)):
                for version in (4, 6):
                    unicast(a, b, version, 1 << 20)
            assert is_long(inside, one, lab.remote)
            said = [line for line in network.log().splitlines() if "bpf(2)" in line]
            assert len(said) == 1 and "Operation not permitted" in said[0] and "warn" not in said[0], network.log()


def held(network):
    """Numbers of programs and maps that the network's router has."""
    found = []
    with contextlib.suppress(FileNotFoundError):  # the one before has gone
        for path in pathlib.Path(f"/proc/{network.process('router')}/fdinfo").iterdir():
            found += re.findall(r"^(prog|map)_id:\t(\d+)", path.read_text(), re.MULTILINE)
    return found


def exists(kind, number):
    fd = bpf(BPF_PROG_GET_FD_BY_ID if kind == "prog" else BPF_MAP_GET_FD_BY_ID, int(number))
    if fd >= 0:
        os.close(fd)
    return fd >= 0


def test_bpf_is_refused_to_the_next_router():
    """Nobody tells the programs of the last one about machines: they are taken away. At the network's end nothing is left."""
    with answered_bpf() as (lab, refused):
        with running(lab, "lan", TEXT, check=False) as network, Inside(network) as inside, two_guests(network) as (one, two):
            assert is_short(inside, one, lab.remote)
            assert sorted(set(programs(lab, inside))) == ["from_machine", "from_outside", "to_machine"]
            ours = held(network)
            assert [kind for kind, _ in ours].count("prog") == 3 and all(exists(*each) for each in ours)
            refused.touch()
            kill_router(network)
            settled(lambda: is_long(inside, one, lab.remote), "the long way")
            assert programs(lab, inside) == []
            settled(lambda: not any(exists(*each) for each in ours), "programs and maps are gone")
            with system_guest(network, 3) as late:
                for a, b in ((one, late), (late, two), (late, lab.remote), (lab.remote, late), (lab.host, one)):
                    talk(a, b)
            # With the right to it there is one again.
            refused.unlink()
            kill_router(network)
            settled(lambda: is_short(inside, one, lab.remote), "the short way")
            ours = held(network)
        settled(lambda: not any(exists(*each) for each in ours), "programs and maps are gone")


def test_all_are_killed():
    """What is left of the short way then ends with the machines and the next start."""
    with SystemLab() as lab, as_it_was(lab):
        with running(lab, "lan", TEXT, check=False) as network, system_guest(network, 1) as guest:
            talk(guest, lab.remote)
            ours = held(network)
            network.kill("parent", "engine", "router")
            guest.close()
            lab.vmnet("up", "lan")
        settled(lambda: not any(exists(*each) for each in ours), "programs and maps are gone")
