# SPDX-License-Identifier: Apache-2.0
"""Machines on an interface of the laboratory's host, and what they can reach from there.

    guest 198.51.100.11 ── bridgedports ── out0 198.51.100.1 (host) ── in0 198.51.100.2 (remote: the LAN)
"""

import array
import contextlib
import os
import re
import select
import socket
import struct
import subprocess

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import ICMPv6ND_RA, IPv6
from scapy.layers.l2 import ARP, Ether

import lab as laboratory
from lab import FAMILY, HOST, REMOTE, REMOTE_B, Guest, LabError, Port, host_state, host_state_changes, poll

TEST_TYPE = 0x88B5
GROUP = {4: ("239.1.2.3", 5000), 6: ("ff02::1:2:3", 5000)}


def tc_state(namespace):
    """Filters of all interfaces, which host_state() does not have."""
    links = re.findall(r"^\d+: (\S+?)[@:]", namespace.ip("-o link show"), re.MULTILINE)
    return {
        (link, hook): namespace.run(["tc", "filter", "show", "dev", link, hook], check=False).stdout
        for link in links
        for hook in ("ingress", "egress")
    }


def whole_state(namespace):
    return {**host_state(namespace), "tc filter": str(tc_state(namespace))}


@contextlib.contextmanager
def as_it_was(lab):
    """When what is in it has ended, and the networks have, the host is as it was, its filters too."""
    before = whole_state(lab.host)
    yield
    lab.wait_until_clean()
    changes = host_state_changes(before, whole_state(lab.host))
    assert not changes, "\n".join(changes)


def system_guest(network, number, **parameters):
    """A guest of a bridged network of the system, with addresses as BridgedNetwork.guest() gives."""
    port = network.attach(name=f"g{number}", **parameters)
    port.ipv4 = f"198.51.100.{10 + number}"
    port.facts.update(gateway=REMOTE[4], gateway6=REMOTE[6])
    return BridgedNetwork.configure(network, port, number)


@contextlib.contextmanager
def two_guests(network):
    with system_guest(network, 1) as one, system_guest(network, 2) as two:
        yield one, two


@contextlib.contextmanager
def foreign_filters(namespace, hooks, action=("flowid", "1:1")):
    """Another program's, before ours; without @action they let each frame pass and ask no filter after them."""
    if hooks:
        namespace.run(["tc", "qdisc", "add", "dev", "out0", "clsact"])
    for hook in hooks:
        namespace.run(
            ["tc", "filter", "add", "dev", "out0", hook, "prio", "1", "protocol", "all", "u32",
             "match", "u32", "0", "0", *action]
        )  # fmt: skip
    try:
        yield
    finally:
        if hooks:
            namespace.run(["tc", "qdisc", "del", "dev", "out0", "clsact"])


class BridgedNetwork:
    """A context: a bridged network that is nothing else (bridgedports.c)."""

    def __init__(self, lab, ifname="out0", name="lan"):
        self.lab = lab
        self.name = name
        self.leg = f"vmnet-{name}"
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.process = lab.host.start(
            [laboratory.BUILD / "tests" / "net" / "bridgedports", ifname, name, theirs.fileno()],
            pass_fds=[theirs.fileno()],
            stderr=subprocess.PIPE,
            text=True,
        )
        theirs.close()
        self._socket.settimeout(10)
        self._log = ""
        answer = self._receive()[0]
        if answer != "ready":
            self.close()
            raise LabError(answer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self, kill=False):
        # First, for the end of the socket is what it ends by in order.
        if kill:
            self.process.kill()
        self._socket.close()
        self.process.wait(10)

    def log(self):
        while select.select([self.process.stderr], [], [], 0)[0]:
            part = os.read(self.process.stderr.fileno(), 65536).decode()
            if not part:
                break
            self._log += part
        return self._log

    def _receive(self):
        text, rights, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(4))
        fds = array.array("i")
        for _, _, part in rights:
            fds.frombytes(part)
        return text.decode(), list(fds)

    def ask(self, text):
        self._socket.send(text.encode())
        answer, fds = self._receive()
        if answer != "ok":
            raise LabError(answer)
        return fds

    def attach(self, number):
        mac = f"52:56:00:00:00:{number:02x}"
        (fd,) = self.ask(f"add {mac}")
        facts = {
            "interface": f"tap{number}", "mac": mac, "name": f"g{number}",
            "ipv4": f"198.51.100.{10 + number}/24", "gateway": REMOTE[4], "gateway6": REMOTE[6],
        }  # fmt: skip
        return Port(self, facts, fd)

    def guest(self, number):
        """A guest with addresses of the LAN: .10 + number, ::10 + number."""
        return BridgedNetwork.configure(self, self.attach(number), number)

    @staticmethod
    def configure(network, port, number):
        guest = Guest(network, port)
        guest.ipv6 = f"2001:db8:1::{10 + number}"
        guest.ip_batch(
            "link set lo up\nlink set eth0 up\n"
            f"address add {guest.ipv4}/24 dev eth0\n"
            f"address add {guest.ipv6}/64 dev eth0 nodad\n"
        )
        return guest


# ---- ways from one to another: @a and @b are (namespace, {version: address}, interface)


def place(namespace):
    """What the functions below take, of the host, the remote or a guest."""
    if isinstance(namespace, Guest):
        return namespace, namespace.addresses, "eth0"
    if namespace is namespace.lab.host:
        return namespace, HOST, "out0"
    return namespace, REMOTE, "in0"


def unicast(a, b, version, size=1 << 20):
    """A TCP connection from @a to @b that carries @size bytes each way, and who it seemed to be."""
    from_ns, from_addresses, _ = place(a)
    to_ns, to_addresses, _ = place(b)
    also = REMOTE_B[version] if a is a.lab.remote else None
    with to_ns.listen(version=version) as listener:
        with from_ns.connect(to_addresses[version], listener.getsockname()[1]) as stream:
            other, peer = listener.accept()
            with other:
                assert peer[0] in (from_addresses[version], also)
                other.settimeout(10)
                for sender, receiver in ((stream, other), (other, stream)):
                    sent = laboratory.Background(laboratory.send_stream, sender, size)
                    digest = laboratory.hashlib.sha256(laboratory.read_exactly(receiver, size))
                    assert digest.hexdigest() == sent.result()


def _index(namespace, interface):
    return int(namespace.ip(f"-o link show dev {interface}").partition(":")[0])


class Members:
    """A context: sockets of @places that are in the group, or take broadcasts."""

    def __init__(self, places, version, broadcast=False):
        self.places, self.version, self.broadcast = places, version, broadcast

    def __enter__(self):
        self.sockets = []
        address, port = GROUP[self.version]
        for each in self.places:
            namespace, _, interface = place(each)
            made = namespace.udp("" if not self.broadcast else "0.0.0.0", port, self.version)
            index = _index(namespace, interface)
            if self.version == 6:
                request = socket.inet_pton(socket.AF_INET6, address) + struct.pack("@I", index)
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
            elif not self.broadcast:
                request = struct.pack("4s4si", socket.inet_aton(address), b"\0" * 4, index)
                made.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
            self.sockets.append(made)
        return self

    def __exit__(self, *_):
        for made in self.sockets:
            made.close()

    def received(self, wait_s=0.15):
        """Lists of datagrams, one a place, after a while in which nothing came."""
        got = [[] for _ in self.sockets]
        while True:
            ready, _, _ = select.select(self.sockets, [], [], wait_s)
            if not ready:
                return got
            for made in ready:
                got[self.sockets.index(made)].append(made.recv(2048))


def send_to_group(sender, version, text, broadcast=False):
    namespace, addresses, interface = place(sender)
    address, port = GROUP[version]
    with namespace.socket(FAMILY[version], socket.SOCK_DGRAM) as made:
        index = _index(namespace, interface)
        if version == 6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
        elif broadcast:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            made.bind((addresses[4], 0))
            address = "198.51.100.255"
        else:
            made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF,
                            struct.pack("4s4si", b"\0" * 4, b"\0" * 4, index))  # fmt: skip
            made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        made.sendto(text, (address, port))


def reaches_all(sender, places, version, broadcast=False):
    """What @sender sends to a group arrives once at each of the others, and does not come back."""
    with Members(places, version, broadcast) as members:
        text = os.urandom(16)
        send_to_group(sender, version, text, broadcast)
        got = members.received()
        for each, datagrams in zip(places, got, strict=True):
            # A kernel gives its own broadcasts to itself, once.
            expected = [] if each is sender and not broadcast else [text]
            assert datagrams == expected, f"{sender.name} to {each.name}: {len(datagrams)} copies"


def settled(condition, what, timeout_s=10):
    if not poll(condition, timeout_s, 0.02):
        raise LabError(f"{what}: not within {timeout_s} s")


def one_wire_only(lab, guest):
    """Spanning tree and its like pass in neither direction."""
    mac = bytes.fromhex(guest.mac.replace(":", ""))
    bpdu = b"\x01\x80\xc2\x00\x00\x00" + mac + b"\x00\x26\x42\x42\x03"
    last = b"\xff" * 6 + mac + b"\x88\xb6"
    other = b"\xff" * 6 + b"\x02\x00\x5e\x10\x00\x09" + b"\x88\xb6"
    for sender, at, receiver, where, end in (
        (guest, "eth0", lab.remote, "in0", last),
        (lab.remote, "in0", guest, "eth0", other),
    ):
        with receiver.packets(where) as wire, sender.packets(at) as raw:
            raw.send(bpdu.ljust(60, b"\0"))
            raw.send(end.ljust(60, b"\0"))
            seen = [wire.recv(2048)]
            while seen[-1][12:14] != end[12:14]:
                seen.append(wire.recv(2048))
        assert not [frame for frame in seen if frame[:6] == bpdu[:6]]


# ---- the guard


def drops(network, guest):
    ports = network.status()["ports"]
    return next(port["drops"] for port in ports if port["name"] == guest.port.name)


def nobody_speaks_for_another(network, one, two, wire_namespace, wire):
    """Another's MAC, an ARP answer in its name, a DHCP server and a router do not come out at @wire; what is the machine's own
    word does. @one and @two are (guest, its IPv4 address)."""
    (guest, ipv4), (other, other_ipv4) = one, two
    to_all = "ff:ff:ff:ff:ff:ff"
    forged = [
        ("spoofed_mac", Ether(src=other.mac, dst=to_all, type=0x88B5) / b"x"),
        ("spoofed_mac", Ether(src=guest.mac, dst=to_all) / ARP(op=2, hwsrc=other.mac, psrc=other_ipv4)),
        ("rogue_dhcp", Ether(src=guest.mac, dst=to_all) / IP(src=ipv4, dst="255.255.255.255") / UDP(sport=67, dport=68)),
        ("rogue_ra", Ether(src=guest.mac, dst="33:33:00:00:00:01") / IPv6(src="fe80::1", dst="ff02::1", hlim=255)
            / ICMPv6ND_RA()),
    ]  # fmt: skip
    with wire_namespace.packets(wire) as seen_there, guest.packets() as raw:
        for reason, frame in forged:
            before = drops(network, guest)[reason]
            raw.send(bytes(frame))
            settled(lambda b=before, r=reason: drops(network, guest)[r] > b, f"{reason} is counted")
        raw.send(bytes(Ether(src=guest.mac, dst=to_all, type=0x88B6) / b"the last one"))
        seen = []
        while not seen or seen[-1][12:14] != b"\x88\xb6":
            seen.append(seen_there.recv(2048))
    assert not [frame for frame in seen for _, sent in forged if frame[:40] == bytes(sent)[:40]]
