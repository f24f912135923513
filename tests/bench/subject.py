# SPDX-License-Identifier: Apache-2.0
"""The base of all that is compared: a way for a guest to reach the world, and back."""

import contextlib
import shutil

CONGESTION = "ipv4/tcp_congestion_control"
MTU, MTU_MAX = 1500, 65520
STDOUT = 1
# A network that exists during a measurement of `start` alone.
START_NETWORK = "start"
# A port of the host leads to the guest's; each subject has its own, for all are there at once.
FORWARD_PORT, FORWARD_TO = 15201, 5201

# What is compared with what: the name of a group, its subject that the others are compared with, a title.
GROUPS = {
    "program": ("openvmnet-exec", "From a program in a network namespace: `vmnet exec` and others"),
    "machine": ("qemu-openvmnet", "From a virtual machine under QEMU"),
    "tap": ("openvmnet", "From a tap, with `tapguest` in the place of a VM monitor"),
    "system": ("system-shared", "A shared network of the system, and the same made by hand"),
    "bridged": ("system-bridged", "A bridged network of the system, and macvtap"),
}


class Subject:
    """A context. Between settle() and its end it has a `guest`, whose run() runs programs there.

    start_command() and attach_command() are what `netbench start` runs, and where it says "ready".
    """

    group = "program"
    program = ""  # in PATH; empty where nothing needs to be there
    scenarios = ()
    on_request = False  # not in a run of everything
    # Above one: in each scenario of a round it has so many short measurements, in turn with the others of its group.
    turns = 1
    server4 = None  # address of netbench's server, where that is not the remote
    forward_port = FORWARD_PORT

    def __init__(self, lab, congestion, name, mtu=MTU):
        self.lab = lab
        self.congestion = congestion
        self.name = name
        self.mtu = mtu
        self.guest = None
        self.peer = None  # another machine of the same network
        self.servers = None  # its own, where it has a remote of its own
        self.process = None
        self._stack = contextlib.ExitStack()

    def missing(self):
        """What it lacks on this machine, as text; empty where it can be measured."""
        lacks = self.program and not self._which(self.program)
        return f"{self.program} is not installed" if lacks else ""

    def _which(self, program):
        """Where namespaces find @program, or None."""
        return shutil.which(program, path=self.lab.environment["PATH"])

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self.open(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    def open(self, stack):
        raise NotImplementedError

    def settle(self):
        """What has to wait for something, once all subjects are opened."""
        for machine in filter(None, (self.guest, self.peer)):
            # No port is held back from the next measurement by the one before.
            machine.sysctl({CONGESTION: self.congestion, "ipv4/tcp_max_tw_buckets": 0})

    @contextlib.contextmanager
    def fresh(self, scenario):
        """Another one of its kind, for a measurement that what was before would falsify."""
        other = type(self)(self.lab, self.congestion, f"{self.name}-fresh", self.mtu)
        other.scenarios = (scenario,)
        with other:
            other.settle()
            yield other

    @contextlib.contextmanager
    def active(self):
        """Around each measurement: what would be in the others' way at other times."""
        yield

    def process_ids(self):
        """Processes whose CPU time and memory are this subject's."""
        return [self.process.pid] if self.process else []

    @contextlib.contextmanager
    def start_command(self):
        """Yields (descriptor of the ready byte, command to run in the host namespace)."""
        raise NotImplementedError
        yield  # makes it a generator

    def attach_command(self):
        """The same for one more port of a network that is there."""
        raise NotImplementedError
