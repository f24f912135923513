# SPDX-License-Identifier: Apache-2.0
"""The short way of bridged networks past bridge and guard: whether it can be had here, and which frames take it."""

import contextlib
import ctypes
import json
import os
import re
import socket
import struct

import pytest

from bridged import place, settled
from lab import BUILD, CLONE_NEWNET, Background, libc
from system import exchange, needs_root
from without_bpf import BPF_NUMBERS

TEXT = "mode = bridged\nifname = out0\n"
SHORT = {"up": 0, "down": 0}  # frames over the bridge
BPF_MAP_CREATE, BPF_MAP_TYPE_HASH = 0, 1
SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC = 263, 1, 1


def bpf(command, *words):
    """bpf(2) with an attribute of 32 bit words: a descriptor, or -errno."""
    attribute = ctypes.create_string_buffer(struct.pack(f"{len(words)}I", *words), 128)
    fd = libc.syscall(BPF_NUMBERS[os.uname().machine], command, attribute, len(attribute))
    return fd if fd >= 0 else -ctypes.get_errno()


def why_not():
    """Why vmnetd, as root, has no short way here; "" where it has."""
    if os.uname().machine not in BPF_NUMBERS:
        return "the number of bpf(2) is not known here"
    # The programs' debug information names their source; their own names are those of functions, too.
    if b"bridged_shortcut.bpf.c" not in (BUILD / "vmnetd").read_bytes():
        return "this vmnetd was built without it (libbpf, clang)"
    if tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) < (5, 19):
        return "it takes Linux 5.19"
    fd = bpf(BPF_MAP_CREATE, BPF_MAP_TYPE_HASH, 4, 4, 1)
    if fd < 0:
        return f"bpf(2) is refused here: {os.strerror(-fd)}"
    os.close(fd)
    return ""


REASON = why_not() if os.geteuid() == 0 else ""
needs_shortcut = [needs_root, pytest.mark.skipif(REASON != "", reason=f"there is no short way: {REASON}")]


class Inside:
    """A context: the namespace of a network, where frames of TCP and UDP are counted that pass the bridge to and from
    outside."""

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


def talk(a, b, version=4):
    """A few frames each way: of TCP, and over IPv4 of UDP, which over IPv6 has no short way."""
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


def is_short(inside, a, b, version=4):
    return inside.passed(talk, a, b, version) == SHORT


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
        yield


@contextlib.contextmanager
def long_way(inside, a, b):
    """All frames go over the bridge, since somebody looks at it."""
    with looked_at(inside):
        settled(lambda: is_long(inside, a, b), "the short way is closed")
        yield
    settled(lambda: is_short(inside, a, b), "it is open again")


def kill_router(network):
    [pid] = network.kill("router")
    settled(lambda: network.process("router") not in (0, pid), "a new router")
