# SPDX-License-Identifier: Apache-2.0
"""openvmnet: a program as a machine, and guests on taps, with what it costs to have more of something."""

import contextlib
import os
import subprocess

from lab import CLONE_NEWNET, CLONE_NEWNS, HOST4, LabError, Namespace, Network, poll
from subject import FORWARD_PORT, FORWARD_TO, MTU, START_NETWORK, STDOUT, Subject

MANY_FORWARDS, MANY_FROM = 10000, 20000
TCP = ("tcp-up", "tcp-down", "tcp-up-8", "tcp-down-8")
UDP = ("udp-up", "udp-down", "udp-gso-up", "udp-gso-down")
FORWARDS = ("forward-up", "forward-down")
EVERYTHING = (*TCP, *FORWARDS, *UDP, "connect", "rr", "start", "attach", "flows")


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


class Openvmnet(Subject):
    """The base: a lasting network."""

    def _open_network(self, stack):
        options = [] if self.mtu == MTU else ["--mtu", self.mtu]
        self.network = self.lab.network(self.name.replace("openvmnet", "bench"), *options)
        stack.callback(self.network.down)

    def _forward(self, port, to, address):
        self.network.call("AddForward", forward=f"tcp:{HOST4}:{port}-{address}:{to}")

    def process_ids(self):
        return [pid for pid in self.network.call("Status")["processes"].values() if pid > 1]

    def _command(self, network):
        """One that becomes a port of @network and says a word once it has it."""
        raise NotImplementedError

    @contextlib.contextmanager
    def start_command(self):
        """A network and its first port: nothing of it is there before, nothing afterwards."""
        network = Network(self.lab, START_NETWORK)
        yield STDOUT, self.lab.as_user(self._command(network.name))
        if not poll(lambda: not network.directory.exists(), interval_s=0.02):
            raise LabError(f"network '{network.name}' did not end with its port")

    def attach_command(self):
        return STDOUT, self.lab.as_user(self._command(self.network.name))


class OpenvmnetExec(Openvmnet):
    """A program as a machine: a veth, and no frames to be moved by a VM monitor."""

    scenarios = EVERYTHING

    def open(self, stack):
        self._open_network(stack)
        command = [self.lab.vmnet_path, "exec", "--quiet", self.network.name]
        process = self.lab.host.start(
            self.lab.as_user([*command, "--", "sh", "-c", "echo; exec cat"]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        if process.stdout.read(1) != b"\n":
            raise LabError(f"{self.name}: vmnet exec ended")
        self.lab.host.processes.remove(process)
        self.guest = stack.enter_context(ProcessNamespace(self.lab, self.name, process))
        if "forward-up" in self.scenarios:
            shown = self.guest.ip("-4 -o address show dev eth0").split()
            self._forward(self.forward_port, FORWARD_TO, shown[3].partition("/")[0])

    def _command(self, network):
        return [self.lab.vmnet_path, "exec", "--quiet", network, "--", "echo"]


class OpenvmnetExecMtu(OpenvmnetExec):
    """On a network of another MTU, which only streams notice."""

    scenarios = TCP


class OpenvmnetTap(Openvmnet):
    """A guest on a tap, whose frames tapguest moves; another one beside it."""

    group = "tap"
    scenarios = ("tcp-up", "tcp-down", *FORWARDS, "vm", "udp-up", "udp-down", "connect", "rr",
                 "start", "attach")
    forward_port = FORWARD_PORT + 1
    anti_spoof = True

    def open(self, stack):
        self._open_network(stack)
        self.guest = stack.enter_context(self.network.guest(antiSpoof=self.anti_spoof))
        if "vm" in self.scenarios:
            self.peer = stack.enter_context(self.network.guest(antiSpoof=self.anti_spoof))
        if "forward-up" in self.scenarios:
            self._forward(self.forward_port, FORWARD_TO, self.guest.ipv4)
        # `vmnet run` knows a VM monitor by its name.
        self.monitor = self.lab.directory / "monitor" / "qemu-system-x86_64"
        self.monitor.parent.mkdir(exist_ok=True)
        if not self.monitor.exists():
            self.monitor.symlink_to(self._which("echo"))

    def _command(self, network):
        return [self.lab.vmnet_path, "run", "--network", network, self.monitor]


class OpenvmnetForwards(OpenvmnetTap):
    """With so many forwards open as hardly anybody has, and nothing that comes in by them."""

    on_request = True
    scenarios = ("tcp-up", "tcp-down", "udp-up", "rr", *FORWARDS)
    forward_port = FORWARD_PORT + 2

    def _listeners(self):
        return len(self.lab.host.run(["ss", "-Hltn", "src", HOST4]).stdout.splitlines())

    @contextlib.contextmanager
    def active(self):
        """They are the host's listeners, so the others are measured without them."""
        ports = f"{MANY_FROM}-{MANY_FROM + MANY_FORWARDS - 1}"
        before = self._listeners()
        self._forward(ports, MANY_FROM, self.guest.ipv4)
        try:
            if not poll(lambda: self._listeners() == before + MANY_FORWARDS, interval_s=0.1):
                raise LabError(f"{self.name}: not all forwards are open")
            yield
        finally:
            self.network.call("RemoveForward", forward=f"tcp:{HOST4}:{ports}")
            if not poll(lambda: self._listeners() == before, interval_s=0.1):
                raise LabError(f"{self.name}: forwards are open that were removed")


class OpenvmnetAgain(OpenvmnetTap):
    """A second network like the first. What lies between them is the measurement's own error."""

    on_request = True
    scenarios = ("tcp-up", "tcp-down", *FORWARDS)
    forward_port = FORWARD_PORT + 3


class OpenvmnetUnguarded(OpenvmnetTap):
    """Ports that may send in any name: what the guard costs between machines."""

    on_request = True
    scenarios = ("vm",)
    anti_spoof = False
