# SPDX-License-Identifier: Apache-2.0
"""What is compared: ways for a guest to reach the world. Each is a context with a `guest` namespace.

All of them end in the laboratory's host namespace and go on over its veth to the remote, with the
same MTU towards the guest unless the name says another. The guest is this machine's kernel in each.
The guests of openvmnet and kernel-tap are behind a second tap and a program that moves its frames
(tapguest), in the place of a VM monitor; the others' frames come from the guest's kernel directly.
"""

import contextlib
import fcntl
import os
import shutil
import socket
import struct
import subprocess

from lab import (
    CLONE_NEWNET,
    CLONE_NEWNS,
    HOST4,
    Background,
    LabError,
    Namespace,
    Network,
    libc,
    poll,
)

MTU = 1500
CONGESTION = "ipv4/tcp_congestion_control"
START_NETWORK = "start"
READY_FD = 3
STDOUT = 1
# A port of the host leads to the guest's; each subject has its own, for all are there at once.
FORWARD_PORT, FORWARD_TO = 15201, 5201
MANY_FORWARDS, MANY_FROM = 10000, 20000
TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000

KERNEL_UP = """set -e
ip link add {bridge} type bridge
ip link add {port} type veth peer name eth0 netns /proc/{pid}/ns/net
ip link set {port} master {bridge}
ip address add {gateway}/24 dev {bridge}
ip link set {port} up
ip link set {bridge} up
echo 1 >/proc/sys/net/ipv4/ip_forward
nft -f - <<END
{rules}
END
echo
"""
KERNEL_RULES = """table ip {bridge} {{
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


class Subject:
    """The base of all. start_command() is what `netbench start` runs, and where it says "ready"."""

    program = None  # in PATH; None where nothing needs to be there
    without = ("vm",)  # scenarios that would say nothing about it
    only = ()  # where not empty: no others than these
    forward_port = FORWARD_PORT

    def __init__(self, lab, congestion, name, mtu=MTU):
        self.lab = lab
        self.congestion = congestion
        self.name = name
        self.mtu = mtu
        self.guest = None
        self.peer = None  # another machine of the same network
        self.process = None
        self._stack = contextlib.ExitStack()

    def missing(self):
        return self.program is not None and not self._which(self.program)

    def has(self, scenario):
        return scenario not in self.without and (not self.only or scenario in self.only)

    def _which(self, program):
        """Where namespaces find @program, or None."""
        return shutil.which(program, path=self.lab.environment["PATH"])

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self.open(stack)
            for machine in filter(None, (self.guest, self.peer)):
                machine.sysctl({CONGESTION: self.congestion})
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    def open(self, stack):
        raise NotImplementedError

    @contextlib.contextmanager
    def active(self):
        """Around each measurement: what would be in the others' way at other times."""
        yield

    def process_ids(self):
        """Processes whose CPU time is this subject's."""
        return [self.process.pid] if self.process else []

    @contextlib.contextmanager
    def start_command(self):
        """Yields (descriptor of the ready byte, command to run in the host namespace)."""
        raise NotImplementedError
        yield  # makes it a generator

    def _empty_guest(self, stack):
        self.guest = stack.enter_context(Namespace(self.lab, self.name, inside=self.lab.host))
        self.guest.ip_batch("link set lo up\n")

    def _start_program(self, command):
        """Starts the peer's program, and waits for the guest's default route."""
        self.process = self.lab.host.start(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        ready = lambda: "default" in self.guest.ip("route")  # noqa: E731
        if not poll(lambda: self.process.poll() is not None or ready()) or self.process.poll():
            self.process.kill()
            said = self.process.stderr.readline().decode(errors="replace").strip()
            raise LabError(f"{self.program} does not run: {said}")


class Openvmnet(Subject):
    without = ()
    anti_spoof = True

    def open(self, stack):
        self._open_network(stack)
        program = self.lab.bin / "qemu-system-x86_64"
        program.symlink_to(self._which("echo"))
        stack.callback(program.unlink)

    def _open_network(self, stack):
        """The network, and on it what the scenarios of this subject need."""
        network = self.lab.network(self.name.replace("openvmnet", "bench"))
        stack.callback(network.down)
        self.guest = stack.enter_context(network.guest(antiSpoof=self.anti_spoof))
        if self.has("vm"):
            self.peer = stack.enter_context(network.guest(antiSpoof=self.anti_spoof))
        if self.has("forward-up"):
            self._forward(network, self.forward_port, FORWARD_TO)
        return network

    def _forward(self, network, port, to):
        network.call("AddForward", forward=f"tcp:{HOST4}:{port}-{self.guest.ipv4}:{to}")

    def process_ids(self):
        return list(self.lab.processes())

    @contextlib.contextmanager
    def start_command(self):
        """A network and its first port: nothing of it is there before, nothing afterwards."""
        network = Network(self.lab, START_NETWORK)
        yield STDOUT, [self.lab.vmnet_path, "run", "--network", network.name, "qemu-system-x86_64"]
        if not poll(lambda: not network.directory.exists(), interval_s=0.02):
            raise LabError(f"network '{network.name}' did not end with its port")


class OpenvmnetForwards(Openvmnet):
    """With so many forwards open as hardly anybody has, and nothing that comes in by them."""

    only = ("tcp-up", "tcp-down", "udp-up", "rr", "forward-up", "forward-down")
    forward_port = FORWARD_PORT + 1

    def open(self, stack):
        self.network = self._open_network(stack)

    def _listeners(self):
        return len(self.lab.host.run(["ss", "-Hltn", "src", HOST4]).stdout.splitlines())

    @contextlib.contextmanager
    def active(self):
        """They are the host's listeners, so the others are measured without them."""
        ports = f"{MANY_FROM}-{MANY_FROM + MANY_FORWARDS - 1}"
        before = self._listeners()
        self._forward(self.network, ports, MANY_FROM)
        try:
            if not poll(lambda: self._listeners() == before + MANY_FORWARDS, interval_s=0.1):
                raise LabError(f"{self.name}: not all forwards are open")
            yield
        finally:
            self.network.call("RemoveForward", forward=f"tcp:{HOST4}:{ports}")
            if not poll(lambda: self._listeners() == before, interval_s=0.1):
                raise LabError(f"{self.name}: forwards are open that were removed")


class OpenvmnetAgain(Openvmnet):
    """A second network like the first. What lies between them is the measurement's own error."""

    only = ("tcp-up", "tcp-down", "forward-up", "forward-down")
    forward_port = FORWARD_PORT + 6

    def open(self, stack):
        self._open_network(stack)


class OpenvmnetUnguarded(Openvmnet):
    """Ports that may send in any name: what the guard costs between machines."""

    only = ("vm",)
    anti_spoof = False

    def open(self, stack):
        self._open_network(stack)


class ProcessNamespace(Namespace):
    """The namespaces of a process that somebody else has made them for. Its end is theirs."""

    def __init__(self, lab, name, process):
        self.lab = lab
        self.name = name
        self.processes = []
        self.holder = process
        kinds = (("mnt", CLONE_NEWNS), ("net", CLONE_NEWNET))
        self._fds = [
            (os.open(f"/proc/{process.pid}/ns/{kind}", os.O_RDONLY), flag) for kind, flag in kinds
        ]
        self._control = contextlib.nullcontext()  # no holder: sockets are not made here
        self._control.close = lambda: None


class OpenvmnetExec(Openvmnet):
    """A program as a machine: a veth instead of the tap, and no frames to be moved by a monitor."""

    only = ("tcp-up", "tcp-down", "rr")

    def open(self, stack):
        network = self.lab.network("bench-exec")
        stack.callback(network.down)
        process = self.lab.host.start(
            [self.lab.vmnet_path, "exec", "--quiet", network.name]
            + ["--", "sh", "-c", "echo; exec cat"],
            capabilities=False,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        if process.stdout.read(1) != b"\n":
            raise LabError(f"{self.name}: vmnet exec ended")
        self.lab.host.processes.remove(process)
        self.guest = stack.enter_context(ProcessNamespace(self.lab, self.name, process))


class Kernel(Subject):
    """veth, bridge, masquerade: as root. The limit of what this machine can do."""

    bridge = "bench"
    network = "10.99.0"
    forward_port = FORWARD_PORT + 2

    def _rules(self, bridge):
        guest = f"{self.network}.2:{FORWARD_TO}"
        return KERNEL_RULES.format(bridge=bridge, forward=self.forward_port, guest=guest)

    def _script(self, name, gateway, guest):
        bridge = f"{name}0"
        rules = self._rules(bridge)
        return KERNEL_UP.format(
            bridge=bridge, port=f"{name}1", gateway=gateway, pid=guest.holder.pid, rules=rules
        )

    def open(self, stack):
        self._empty_guest(stack)
        self.lab.host.run(["sh", "-c", self._script(self.bridge, f"{self.network}.1", self.guest)])
        # Connections of `connect` would fill the table.
        self.lab.host.sysctl({"netfilter/nf_conntrack_tcp_timeout_time_wait": 1})
        self._pause(self.bridge)
        self._connect_guest()
        self.guest.ip_batch(
            f"address add {self.network}.2/24 dev eth0\nlink set eth0 up\n"
            f"route add default via {self.network}.1\n"
        )

    def _connect_guest(self):
        """Its eth0 is there by the script."""

    def _pause(self, name):
        """So that the others' packets meet no connection tracking and no forwarding."""
        self.lab.host.nft(f"delete table ip {name}0\n")
        self.lab.host.sysctl({"ipv4/ip_forward": 0})

    @contextlib.contextmanager
    def active(self):
        self.lab.host.sysctl({"ipv4/ip_forward": 1})
        self.lab.host.nft(self._rules(f"{self.bridge}0"))
        try:
            yield
        finally:
            self._pause(self.bridge)

    @contextlib.contextmanager
    def start_command(self):
        """ip(8) and nft(8) in a script; the guest's namespace is there already."""
        with Namespace(self.lab, START_NETWORK, inside=self.lab.host) as guest:
            yield STDOUT, ["sh", "-c", self._script(START_NETWORK, "10.98.0.1", guest)]
            self._pause(START_NETWORK)
            self.lab.host.ip(f"link delete {START_NETWORK}0")
            self.lab.host.ip(f"link delete {START_NETWORK}1")


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

    without = ("start", "vm")
    bridge = "bencht"
    network = "10.97.0"
    forward_port = FORWARD_PORT + 3

    def _connect_guest(self):
        self.guest.ip("link delete eth0")
        fd = open_tap(self.lab.host, "bencht2")
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
        self.lab.host.ip_batch(f"link set bencht2 master {self.bridge}0\nlink set bencht2 up\n")


class Pasta(Subject):
    """In namespaces that are there already, as podman has it; `start` with those of its own."""

    program = "pasta"
    options = ["--config-net", "--no-map-gw", "--ns-ifname", "eth0", "-u", "none"]
    options += ["-T", "none", "-U", "none", "--runas", 0, "--quiet"]

    def __init__(self, lab, congestion, name, mtu=MTU):
        super().__init__(lab, congestion, name, mtu)
        self.forward_port = FORWARD_PORT + (4 if mtu == MTU else 5)

    def open(self, stack):
        self._empty_guest(stack)
        # It has given up its rights when it looks at /proc: the namespace needs a file.
        file = self.lab.directory / f"net-{self.name}"
        file.touch()
        self.lab.host.run(["mount", "--bind", f"/proc/{self.guest.holder.pid}/ns/net", file])
        stack.callback(self.lab.host.run, ["umount", "--lazy", file])
        self._start_program(
            ["pasta", "--foreground", *self.options, "--mtu", self.mtu, "--netns-only"]
            + ["-t", f"{HOST4}/{self.forward_port}:{FORWARD_TO}", "--netns", file]
        )
        stack.callback(self.process.kill)

    @contextlib.contextmanager
    def start_command(self):
        yield STDOUT, ["pasta", *self.options, "-t", "none", "--mtu", self.mtu, "--", "echo"]


class Slirp4netns(Subject):
    program = "slirp4netns"
    without = ("vm", "forward-up", "forward-down")

    def open(self, stack):
        self._empty_guest(stack)
        self._start_program(self._command(self.guest))
        stack.callback(self.process.kill)

    def _command(self, guest, *options):
        return ["slirp4netns", "-c", "-m", self.mtu, *options, guest.holder.pid, "eth0"]

    @contextlib.contextmanager
    def start_command(self):
        """The guest's namespace is there already: it has none of its own."""
        with Namespace(self.lab, START_NETWORK, inside=self.lab.host) as guest:
            yield READY_FD, self._command(guest, "--ready-fd", READY_FD)


def subjects(lab, congestion):
    """All of them. The first is what the others are compared with."""
    return [
        Openvmnet(lab, congestion, "openvmnet"),
        OpenvmnetForwards(lab, congestion, f"openvmnet-{MANY_FORWARDS}"),
        OpenvmnetAgain(lab, congestion, "openvmnet-again"),
        OpenvmnetUnguarded(lab, congestion, "openvmnet-unguarded"),
        OpenvmnetExec(lab, congestion, "openvmnet-exec"),
        Kernel(lab, congestion, "kernel"),
        KernelTap(lab, congestion, "kernel-tap"),
        Pasta(lab, congestion, "pasta"),
        Pasta(lab, congestion, "pasta-65520", 65520),  # its default MTU
        Slirp4netns(lab, congestion, "slirp4netns"),
        Slirp4netns(lab, congestion, "slirp4netns-65520", 65520),  # as podman calls it
    ]
