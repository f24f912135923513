# SPDX-License-Identifier: Apache-2.0
"""Open vSwitch on the laboratory's host: the real ovsdb-server and ovs-vswitchd, with files of their own.

The datapath is that of ovs-vswitchd itself (datapath_type=netdev): no kernel module is needed, and what it sends and
receives by an interface are real frames there. Sockets and database are below OVS_RUNDIR.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import signal
import socket
import struct

import pytest
from lab import LabError, poll

SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
PROGRAMS = {name: shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
            for name in ("ovsdb-server", "ovsdb-tool", "ovs-vswitchd", "ovs-vsctl")}  # fmt: skip

needs_openvswitch = pytest.mark.skipif(
    not all(PROGRAMS.values()), reason="Open vSwitch (openvswitch-switch) is not installed"
)


SIOCETHTOOL, ETHTOOL_STXCSUM = 0x8946, 0x17


def send_whole_frames(namespace, link):
    """What is sent by @link has its checksum, and is cut: who reads by packet sockets completes neither."""
    value = ctypes.create_string_buffer(struct.pack("@II", ETHTOOL_STXCSUM, 0))
    with namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        fcntl.ioctl(made, SIOCETHTOOL, struct.pack("@16sP", link.encode(), ctypes.addressof(value)).ljust(40, b"\0"))


class OpenVSwitch:
    """A context. @bridge is made, with @ports, and has addresses."""

    def __init__(self, lab, bridge, ports=()):
        self.lab, self.bridge, self.ports = lab, bridge, ports
        self.directory = lab.directory / "ovs"
        self.processes = {}

    def __enter__(self):
        self.directory.mkdir(mode=0o755)
        self.lab.environment["OVS_RUNDIR"] = str(self.directory)
        self._run("ovsdb-tool", "create", self.directory / "conf.db", SCHEMA)
        with contextlib.ExitStack() as stack:
            stack.push(self.__exit__)
            self.start("ovsdb-server")
            self.vsctl("--no-wait", "init")
            self.start("ovs-vswitchd")
            self.vsctl("add-br", self.bridge, "--", "set", "bridge", self.bridge, "datapath_type=netdev")
            for port in self.ports:
                self.vsctl("add-port", self.bridge, port)
            self.lab.host.ip(f"link set {self.bridge} addrgenmode none up")
            stack.pop_all()
        return self

    def __exit__(self, *_):
        if "ovs-vswitchd" in self.processes and "ovsdb-server" in self.processes:
            with contextlib.suppress(LabError):  # the kernel keeps its taps else
                self.vsctl("--if-exists", "del-br", self.bridge)
        for name in ("ovs-vswitchd", "ovsdb-server"):
            if name in self.processes:
                self.stop(name)
        self.lab.environment.pop("OVS_RUNDIR", None)
        for link in ("ovs-netdev", self.bridge):
            self.lab.host.run(["ip", "link", "del", link], check=False)
        shutil.rmtree(self.directory)

    def _run(self, name, *arguments, check=True):
        return self.lab.host.run([PROGRAMS[name], *arguments], check).stdout

    def start(self, name):
        arguments = {
            "ovsdb-server": [self.directory / "conf.db", f"--remote=punix:{self.directory}/db.sock"],
            "ovs-vswitchd": [f"unix:{self.directory}/db.sock", "--disable-system"],
        }[name]
        log = (self.directory / f"{name}.log").open("ab")
        self.processes[name] = self.lab.host.start(
            [PROGRAMS[name], *arguments, f"--pidfile={self.directory}/{name}.pid",
             f"--unixctl={self.directory}/{name}.ctl", "-vconsole:info"],
            stdout=log, stderr=log,
        )  # fmt: skip
        log.close()
        if name == "ovsdb-server" and not poll(lambda: (self.directory / "db.sock").exists()):
            raise LabError("ovsdb-server does not start")

    def stop(self, name, by=signal.SIGTERM):
        process = self.processes.pop(name)
        process.send_signal(by)
        process.wait(10)
        self.lab.host.processes.remove(process)

    def vsctl(self, *arguments, check=True):
        return self._run("ovs-vsctl", "--timeout=5", *arguments, check=check)

    def ports_on(self, bridge=None):
        return self.vsctl("list-ports", bridge or self.bridge).split()

    def external_ids(self, interface):
        row = json.loads(self.vsctl("--format=json", "--columns=external_ids", "list", "Interface", interface))
        return dict(row["data"][0][0][1])

    def port_of(self, mac):
        """The name of the port with the machine of that MAC."""
        return self.vsctl("--bare", "--columns=name", "find", "Interface", f'external_ids:attached-mac="{mac}"').strip()
