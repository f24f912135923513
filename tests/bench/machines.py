# SPDX-License-Identifier: Apache-2.0
"""Virtual machines under QEMU, all with the same device, each with another way out of it.

The guest is that of tests/guest: a Debian kernel and busybox, with iperf3 and netbench. All boot at the
same time, before the first round, and wait for commands on their consoles while others are measured.
"""

import os
import re
import shlex
import subprocess

from guest import Guest, GuestError
from image import Image
from lab import LabError, Network, poll
from peers import KernelBridge
from scenarios import IPERF3_PORT, NETBENCH
from subject import FORWARD_PORT, Subject

DEVICE = "virtio-net-pci,netdev=n0"
MEMORY_MIB = "192"


class Machine:
    """A virtual machine as scenarios use a namespace: run(), sysctl() and ipv4."""

    def __init__(self, lab, name, *arguments, prefix=()):
        self.lab = lab
        self.name = name
        self.ipv4 = None
        # What a Guest wants to know of its host.
        self.directory = lab.directory
        self.image = Image()
        netbench = {"bin/netbench": NETBENCH.read_bytes()}
        self.guest = Guest(
            self, *arguments, prefix=list(prefix), memory=MEMORY_MIB, files=netbench
        )

    def start(self, command, **options):
        return self.lab.host.start(command, **options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.guest.__exit__()
        self.lab.host.processes.remove(self.guest.process)

    def configure(self, mtu, address=None, gateway=None):
        """Waits for the end of the boot; then takes @address, or asks for one by DHCP."""
        try:
            self.guest.wait_ready()
            if address:
                self.guest.sh(
                    f"ip link set eth0 up && ip address add {address}/24 dev eth0"
                    f" && ip route add default via {gateway}"
                )
            else:
                self.guest.lease()
            shown = self.guest.sh("ip link show dev eth0; ip -4 -o address show dev eth0")
        except GuestError as error:
            raise LabError(f"{self.name}: {error}\n{self.guest.tail()}") from None
        self.ipv4 = re.search(r"inet (\S+?)/", shown)[1]
        if f"mtu {mtu} " not in shown:
            raise LabError(f"{self.name}: the MTU is not {mtu}:\n{shown}")

    def sysctl(self, settings):
        for name, value in settings.items():
            self.run(["sh", "-c", f"echo {value} >/proc/sys/net/{name}"], check=True)

    def run(self, command, check=True, timeout_s=20):
        """Like Namespace.run(), but what is said on standard error comes with the output."""
        words = ["netbench" if word == NETBENCH else str(word) for word in command]
        try:
            status, output = self.guest.try_sh(shlex.join(words), timeout_s)
        except (GuestError, OSError) as error:
            raise LabError(f"{self.name}: {error}") from None
        if check and status != 0:
            raise LabError(f"{self.name}: {command}: status {status}\n{output}")
        return subprocess.CompletedProcess(command, status, output, output)

    def serve_iperf3_once(self):
        """A server for one client. Where one is left from a broken-off test, it serves this one."""
        options = ["-J", "-i", "0.5", "-p", IPERF3_PORT]
        self.run(["iperf3", "-s", "-1", "-D", *options], check=False)
        port = f":{IPERF3_PORT:04X} "
        if not poll(lambda: port in self.run(["cat", "/proc/net/tcp", "/proc/net/tcp6"]).stdout):
            raise LabError(f"{self.name}: iperf3 does not listen")


class MachineSubject(Subject):
    """QEMU has a part in the work of all; so none has processes of its own, and `machine` compares them."""

    group = "machine"
    program = "qemu-system-x86_64"
    scenarios = ("tcp-up", "tcp-down", "connect", "rr")

    def missing(self):
        if not Image().initrd.exists():
            return "no image for a guest: run tests/guest/image.py"
        return super().missing()

    def open(self, stack):
        self.guest = self._machine(stack, self._netdev(1))
        if "vm" in self.scenarios:
            self.peer = self._machine(stack, self._netdev(2), number=2)

    def _machine(self, stack, netdev, number=1, prefix=()):
        # Machines of one bridge must not have the same; those of `vmnet run` get the port's.
        device = f"{DEVICE},mac=52:56:00:00:01:{number:02x}" if not prefix else DEVICE
        name = f"{self.name} {number}"
        return stack.enter_context(
            Machine(self.lab, name, "-netdev", netdev, "-device", device, prefix=prefix)
        )

    def _netdev(self, number):
        raise NotImplementedError

    def settle(self):
        for machine in filter(None, (self.guest, self.peer)):
            machine.configure(self.mtu)
        super().settle()


class QemuOpenvmnet(MachineSubject):
    """`vmnet run`: QEMU gets an open tap. The network begins and ends with its machines."""

    scenarios = (*MachineSubject.scenarios, "vm")

    def open(self, stack):
        self.network = Network(self.lab, "bench-qemu")
        prefix = self.lab.as_user([self.lab.vmnet_path, "run", "--network", self.network.name])
        netdev = "vmnet-macos,id=n0,mode=shared"
        self.guest = self._machine(stack, netdev, prefix=prefix)
        if not poll(self.network.is_running, interval_s=0.05):
            raise LabError(f"{self.name}: no network:\n{self.guest.guest.tail()}")
        if "vm" in self.scenarios:
            self.peer = self._machine(stack, netdev, number=2, prefix=prefix)


class QemuTap(MachineSubject):
    """A tap on a bridge that masquerades, made by root: the limit for a virtual machine."""

    scenarios = (*MachineSubject.scenarios, "vm")
    network = "10.95.0"

    def open(self, stack):
        self.bridge = KernelBridge(self.lab, "benchq", self.network, FORWARD_PORT + 8)
        self.bridge.up(stack)
        super().open(stack)

    def _netdev(self, number):
        tap = f"{self.bridge.name}p{number}"
        self.lab.host.ip_batch(
            f"tuntap add {tap} mode tap vnet_hdr\n"
            f"link set {tap} master {self.bridge.name}\nlink set {tap} up\n"
        )
        vhost = ",vhost=on" if os.path.exists("/dev/vhost-net") else ""  # as `vmnet run` does
        return f"tap,id=n0,ifname={tap},script=no,downscript=no{vhost}"

    def settle(self):
        for number, machine in enumerate(filter(None, (self.guest, self.peer)), 2):
            machine.configure(self.mtu, f"{self.network}.{number}", self.bridge.gateway)
        Subject.settle(self)

    def active(self):
        return self.bridge.active()


class QemuUser(MachineSubject):
    """QEMU's own user network."""

    def _netdev(self, number):
        return "user,id=n0"


class QemuPasst(MachineSubject):
    """passt on QEMU's stream socket."""

    def missing(self):
        return super().missing() or ("" if self._which("passt") else "passt is not installed")

    def _netdev(self, number):
        path = self.lab.directory / f"{self.name}.socket"
        command = ["passt", "--foreground", "--quiet", "--socket", path, "--no-map-gw"]
        passt = self.lab.host.start(
            [*command, "--mtu", self.mtu, "--runas", 0],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        if not poll(lambda: passt.poll() is not None or path.exists()):
            raise LabError("passt: no socket")
        if passt.poll() is not None:
            said = passt.stderr.read().decode(errors="replace").strip()
            raise LabError(f"passt does not run: {said}")
        return f"stream,id=n0,server=off,addr.type=unix,addr.path={path}"
