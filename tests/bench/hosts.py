# SPDX-License-Identifier: Apache-2.0
"""Networks of the system, and what an administrator would have made by hand.

Each has a host and a remote of its own. So all are there from the first round to the last, and none's rules,
connection tracking and filters are in the way of another's packets.
"""

import contextlib
import os

from bridged import BridgedNetwork, system_guest
from lab import REMOTE, REMOTE4, Guest, Lab, LabError, Namespace, Port, poll
from laboratory import prepare_ends
from peers import open_tap
from scenarios import Servers, start_netbench
from subject import Subject
from system import SystemLab

MAC = "52:56:00:00:00:{:02x}"


@contextlib.contextmanager
def one_processor():
    """What is started meanwhile stays on one processor, with all that the kernel does for it.

    So a figure is what the way costs. On several it is also where the scheduler puts guest, monitor and remote, which
    changes from one second to the next and made the same network differ from itself by some percent.
    """
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


class HostSubject(Subject):
    """The base: guests on taps, whose frames tapguest moves, and two of the same network."""

    group = "system"
    laboratory = SystemLab
    turns = 5  # what they differ by is less than what the machine does from one second to the next

    def active(self):
        return one_processor()

    def open(self, stack):
        with one_processor():
            self.open_all(stack)

    def open_all(self, stack):
        self.lab = stack.enter_context(self.laboratory())
        stack.callback(self.lab.wait_until_clean)
        prepare_ends((self.lab.host, self.lab.remote), [self.congestion])
        # br_netfilter is a module that most hosts have not loaded, and a namespace has it switched on.
        self.lab.host.sysctl({
            "bridge/bridge-nf-call-iptables": 0,
            "bridge/bridge-nf-call-ip6tables": 0,
            "netfilter/nf_conntrack_tcp_timeout_time_wait": 1,
        })  # fmt: skip
        self.servers = stack.enter_context(Servers(self.lab))
        self.open_network(stack)
        self.guest = stack.enter_context(self.make_guest(1))
        if "vm" in self.scenarios:
            self.peer = stack.enter_context(self.make_guest(2))
            start_netbench(self.peer, self.peer.ipv4)
        if "host-up" in self.scenarios:
            start_netbench(self.lab.host, self.guest.gateway)
        if not poll(lambda: self.guest.ping(REMOTE4, timeout_s=1), 10):
            raise LabError(f"{self.name}: the guest does not reach the remote")
        self.open_far(stack)

    def open_far(self, stack):
        """What is farther away than the remote."""

    def open_network(self, stack):
        raise NotImplementedError

    def make_guest(self, number):
        raise NotImplementedError


class SystemShared(HostSubject):
    """`vmnet up NAME` by root; the guest's port is as any user's."""

    scenarios = ("tcp-up", "tcp-down", "udp-up", "udp-down", "connect", "rr", "vm", "host-up", "host-down")
    mode = "mode = shared\n"

    def open_network(self, stack):
        self.network = self.lab.system_network("bench", self.mode)
        stack.callback(self.network.down)

    def make_guest(self, number):
        return self.network.guest()


BY_HAND = """table ip guests {
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        iifname br0 oifname out0 accept
    }
    chain postrouting {
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr 10.94.0.0/24 oifname out0 masquerade
    }
}
"""


class ByHand(HostSubject):
    """A bridge with an address, taps on it, forwarding and masquerading. Nothing looks at what guests send."""

    laboratory = Lab
    scenarios = SystemShared.scenarios
    network, bridge = "10.94.0", "br0"

    def open_network(self, stack):
        self.lab.host.ip_batch(
            f"link add {self.bridge} type bridge\n"
            f"address add {self.network}.1/24 dev {self.bridge}\nlink set {self.bridge} up\n"
        )
        self.lab.host.sysctl({"ipv4/ip_forward": 1})
        self.lab.host.nft(BY_HAND)

    def make_guest(self, number):
        tap = f"tap{number}"
        fd = open_tap(self.lab.host, tap)
        self.lab.host.ip_batch(f"link set {tap} master {self.bridge}\nlink set {tap} up\n")
        facts = {"interface": tap, "mac": MAC.format(number), "name": self.name, "gateway6": None,
                 "gateway": f"{self.network}.1", "ipv4": f"{self.network}.{1 + number}/24"}  # fmt: skip
        guest = Guest(self, Port(self, facts, fd))
        guest.ip_batch(
            f"link set lo up\nlink set eth0 up\naddress add {facts['ipv4']} dev eth0\n"
            f"route add default via {guest.gateway}\n"
        )
        return guest


class ByHandAgain(ByHand):
    """A control: what the two differ by is what a ratio is worth."""

    on_request = True


FAR4, FAR_GATEWAY4 = "10.98.0.2", "10.98.0.1"


class Station(HostSubject):
    """The machine is a station of the remote's network, and speaks to a server that the remote routes to.

    A sender in the same kernel sees when its frames are taken off its account (TCP small queues): macvtap's queue
    keeps them there until the monitor reads, so that the sender waits and fills its frames; a tap takes them off at once.
    No sender on a wire sees either. A router takes them off before both.
    """

    group = "bridged"
    scenarios = ("tcp-up", "tcp-down", "udp-up", "udp-down", "connect", "rr", "vm")
    server4 = FAR4

    def open_far(self, stack):
        remote, far = self.lab.remote, stack.enter_context(Namespace(self.lab, "far"))
        remote.ip_batch(
            f"link add far0 type veth peer name in0 netns /proc/{far.holder.pid}/ns/net\n"
            f"address add {FAR_GATEWAY4}/24 dev far0\nlink set far0 up\n"
        )
        remote.sysctl({"ipv4/ip_forward": 1})
        far.ip_batch(
            f"link set lo up\naddress add {FAR4}/24 dev in0\nlink set in0 up\nroute add default via {FAR_GATEWAY4}\n"
        )
        prepare_ends([far], [self.congestion])
        start_netbench(far, FAR4)
        self.guest.ip(f"route add {FAR4} via {REMOTE4}")
        if not poll(lambda: self.guest.ping(FAR4, timeout_s=1), 10):
            raise LabError(f"{self.name}: the guest does not reach what is behind the remote")


class SystemBridged(Station, SystemShared):
    mode = "mode = bridged\nifname = out0\n"

    def make_guest(self, number):
        return system_guest(self.network, number)


class Macvtap(Station):
    """The kernel's own way to share an interface; the guest does not reach the host by it."""

    laboratory = Lab

    def open_network(self, stack):
        pass

    def make_guest(self, number):
        """Its descriptor is that of a device file, whose number only a sysfs of the host's namespace knows."""
        host, mac, name = self.lab.host, MAC.format(number), f"mv{number}"
        sysfs, device = self.lab.directory / "sysfs", self.lab.directory / name
        host.ip(f"link add link out0 name {name} address {mac} type macvtap mode bridge")
        host.ip(f"link set {name} up")
        sysfs.mkdir(exist_ok=True)
        host.run(["mount", "-t", "sysfs", "sysfs", sysfs])
        try:
            numbers = host.run(["sh", "-c", f"cat {sysfs}/class/net/{name}/tap*/dev"]).stdout
        finally:
            host.run(["umount", sysfs])
        host.run(["mknod", device, "c", *numbers.strip().split(":")])
        return self.configure(number, name, os.open(device, os.O_RDWR))

    def configure(self, number, interface, fd):
        facts = {"interface": interface, "mac": MAC.format(number), "name": self.name, "gateway": REMOTE[4],
                 "gateway6": REMOTE[6], "ipv4": f"198.51.100.{10 + number}/24"}  # fmt: skip
        return BridgedNetwork.configure(self, Port(self, facts, fd), number)
