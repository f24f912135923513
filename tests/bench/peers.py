# SPDX-License-Identifier: Apache-2.0
"""What one would take instead: the kernel's own NAT as root, pasta, slirp4netns."""

import contextlib
import fcntl
import json
import os
import socket
import struct
import subprocess

from lab import CLONE_NEWNET, HOST4, Background, LabError, Namespace, libc, poll
from openvmnet import EVERYTHING, FORWARDS, TCP
from subject import FORWARD_PORT, FORWARD_TO, START_NETWORK, STDOUT, Subject

READY_FD = 3
TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000

# A bridge of its own for the guest, the gateway's address on it, forwarding and masquerading.
BRIDGE_UP = """set -e
ip link add {bridge} type bridge
ip address add {gateway}/24 dev {bridge}
ip link set {bridge} up
echo 1 >/proc/sys/net/ipv4/ip_forward
nft -f - <<END
{rules}
END
"""
VETH_UP = """ip link add {port} mtu {mtu} type veth peer name eth0 mtu {mtu} netns /proc/{pid}/ns/net
ip link set {port} master {bridge}
ip link set {port} up
echo
"""
RULES = """table ip {bridge} {{
    chain in {{
        type nat hook prerouting priority dstnat
        iifname out0 tcp dport {forward} dnat to {guest}
    }}
    chain out {{
        type nat hook postrouting priority srcnat
        oifname out0 masquerade
    }}
}}
"""


class NamespaceSubject(Subject):
    """The guest is a namespace, empty at first."""

    def _empty_guest(self, stack):
        self.guest = stack.enter_context(Namespace(self.lab, self.name, inside=self.lab.host))
        self.guest.ip_batch("link set lo up\n")

    def _start_program(self, stack, command):
        """Starts the peer's program, and waits for the guest's default route."""
        self.process = self.lab.host.start(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        stack.callback(self.process.kill)
        ready = lambda: "default" in self.guest.ip("route")  # noqa: E731
        if not poll(lambda: self.process.poll() is not None or ready()) or self.process.poll():
            self.process.kill()
            said = self.process.stderr.readline().decode(errors="replace").strip()
            raise LabError(f"{self.program} does not run: {said}")


class KernelBridge:
    """Bridge and masquerading in the host namespace, as root. There only while it is measured."""

    def __init__(self, lab, name, network, forward_port):
        self.lab = lab
        self.name = name
        self.gateway = f"{network}.1"
        self.guest = f"{network}.2"
        self.forward_port = forward_port

    def rules(self):
        guest = f"{self.guest}:{FORWARD_TO}"
        return RULES.format(bridge=self.name, forward=self.forward_port, guest=guest)

    def script(self):
        return BRIDGE_UP.format(bridge=self.name, gateway=self.gateway, rules=self.rules())

    def up(self, stack):
        self.lab.host.run(["sh", "-c", self.script()])
        # Connections of `connect` would fill the table.
        self.lab.host.sysctl({"netfilter/nf_conntrack_tcp_timeout_time_wait": 1})
        stack.callback(self.lab.host.run, ["ip", "link", "delete", self.name], check=False)
        self.pause()

    def pause(self):
        """So that the others' packets meet no connection tracking and no forwarding."""
        self.lab.host.nft(f"delete table ip {self.name}\n")
        self.lab.host.sysctl({"ipv4/ip_forward": 0})

    @contextlib.contextmanager
    def active(self):
        self.lab.host.sysctl({"ipv4/ip_forward": 1})
        self.lab.host.nft(self.rules())
        try:
            yield
        finally:
            self.pause()


class Kernel(NamespaceSubject):
    """veth, bridge, masquerade: as root. The limit of what this machine can do."""

    scenarios = tuple(name for name in EVERYTHING if name not in ("flows", "attach"))
    network = "10.99.0"
    forward_port = FORWARD_PORT + 4

    def open(self, stack):
        self._empty_guest(stack)
        self.bridge = KernelBridge(
            self.lab, self.name.replace("kernel", "bench"), self.network, self.forward_port
        )
        self.bridge.up(stack)
        self._connect_guest()
        self.guest.ip_batch(
            f"address add {self.bridge.guest}/24 dev eth0\nlink set eth0 up\n"
            f"route add default via {self.bridge.gateway}\n"
        )

    def _veth_script(self, bridge, guest):
        return VETH_UP.format(
            bridge=bridge.name, port=f"{bridge.name}p", mtu=self.mtu, pid=guest.holder.pid
        )

    def _connect_guest(self):
        self.lab.host.run(["sh", "-c", self._veth_script(self.bridge, self.guest)])

    def active(self):
        return self.bridge.active()

    @contextlib.contextmanager
    def start_command(self):
        """ip(8) and nft(8) in a script; the guest's namespace is there already."""
        bridge = KernelBridge(self.lab, START_NETWORK, "10.98.0", self.forward_port)
        with Namespace(self.lab, START_NETWORK, inside=self.lab.host) as guest:
            yield STDOUT, ["sh", "-c", bridge.script() + self._veth_script(bridge, guest)]
            bridge.pause()
            self.lab.host.ip(f"link delete {bridge.name}p")
            self.lab.host.ip(f"link delete {bridge.name}")


class KernelMtu(Kernel):
    """With a guest's MTU of 65520; the way beyond has 1500 all the same."""

    scenarios = TCP
    network = "10.96.0"


def open_tap(namespace, name):
    """A tap device of @namespace with a virtio-net header, as openvmnet's ports have it."""
    request = struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)

    def run():  # in a thread, whose network namespace is its own
        with open(f"/proc/{namespace.holder.pid}/ns/net") as net:
            if libc.setns(net.fileno(), CLONE_NEWNET) != 0:
                raise LabError("setns: the namespace of a tap")
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(fd, TUNSETIFF, request)
        return fd

    return Background(run).result()


class KernelTap(Kernel):
    """The same with a tap and tapguest instead of the veth: the limit for a virtual machine."""

    group = "tap"
    scenarios = ("tcp-up", "tcp-down", *FORWARDS, "udp-up", "udp-down", "connect", "rr")
    network = "10.97.0"
    forward_port = FORWARD_PORT + 5

    def _connect_guest(self):
        tap = f"{self.bridge.name}p"
        fd = open_tap(self.lab.host, tap)
        try:
            pump = self.guest.start(
                [self.lab.tapguest, fd, "eth0", "52:56:00:00:00:01"],
                pass_fds=[fd],
                stdout=subprocess.PIPE,
            )
        finally:
            os.close(fd)
        if pump.stdout.read(1) != b"\n":  # its end, too, is an answer
            raise LabError(f"{self.name}: tapguest did not start")
        self.lab.host.ip_batch(f"link set {tap} master {self.bridge.name}\nlink set {tap} up\n")


class Pasta(NamespaceSubject):
    """In namespaces that are there already, as podman has it; `start` with those of its own."""

    program = "pasta"
    scenarios = tuple(name for name in EVERYTHING if name != "attach")
    forward_port = FORWARD_PORT + 6
    options = ["--config-net", "--no-map-gw", "--ns-ifname", "eth0", "-u", "none"]
    options += ["-T", "none", "-U", "none", "--quiet"]

    def open(self, stack):
        self._empty_guest(stack)
        # It has given up its rights when it looks at /proc: the namespace needs a file.
        file = self.lab.directory / f"net-{self.name}"
        file.touch()
        self.lab.host.run(["mount", "--bind", f"/proc/{self.guest.holder.pid}/ns/net", file])
        stack.callback(self.lab.host.run, ["umount", "--lazy", file])
        forward = f"{HOST4}/{self.forward_port}:{FORWARD_TO}"
        forward = forward if "forward-up" in self.scenarios else "none"
        self._start_program(
            stack,
            ["pasta", "--foreground", *self.options, "--mtu", self.mtu, "--netns-only"]
            + ["-t", forward, "--netns", file, "--runas", 0],
        )

    @contextlib.contextmanager
    def start_command(self):
        command = ["pasta", *self.options, "-t", "none", "--mtu", self.mtu, "--", "echo"]
        yield STDOUT, self.lab.as_user(command)


class PastaMtu(Pasta):
    """With the MTU that it has by default."""

    scenarios = TCP


class Slirp4netns(NamespaceSubject):
    program = "slirp4netns"
    scenarios = tuple(name for name in EVERYTHING if name != "attach")
    forward_port = FORWARD_PORT + 7
    guest_address = "10.0.2.100"  # of all its guests

    def open(self, stack):
        self._empty_guest(stack)
        api = self.lab.directory / f"{self.name}.socket"
        self._start_program(stack, self._command(self.guest, "--api-socket", api))
        if "forward-up" in self.scenarios:
            self._forward(api)

    def _forward(self, api):
        request = {
            "execute": "add_hostfwd",
            "arguments": {
                "proto": "tcp",
                "host_addr": HOST4,
                "host_port": self.forward_port,
                "guest_addr": self.guest_address,
                "guest_port": FORWARD_TO,
            },
        }
        if not poll(api.exists, interval_s=0.02):
            raise LabError(f"{self.name}: no API socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
            control.settimeout(5)
            control.connect(str(api))
            control.sendall(json.dumps(request).encode())
            control.shutdown(socket.SHUT_WR)
            answer = json.loads(control.recv(4096))
        if "error" in answer:
            raise LabError(f"{self.name}: no forward: {answer['error']}")

    def _command(self, guest, *options):
        return ["slirp4netns", "-c", "-m", self.mtu, *options, guest.holder.pid, "eth0"]

    @contextlib.contextmanager
    def start_command(self):
        """The guest's namespace is there already: it has none of its own."""
        with Namespace(self.lab, START_NETWORK, inside=self.lab.host) as guest:
            yield READY_FD, self._command(guest, "--ready-fd", READY_FD)


class Slirp4netnsMtu(Slirp4netns):
    """As podman calls it."""

    scenarios = TCP
