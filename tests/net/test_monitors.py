# SPDX-License-Identifier: Apache-2.0
"""How VM monitors get their ports: placeholders, and what docs/monitors.md says of QEMU."""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys

import pytest
from varlink import POLL_S, START_TIMEOUT_S, poll, private_world

DOCUMENT = pathlib.Path(__file__).parents[2] / "docs" / "monitors.md"
QEMU = shutil.which("qemu-system-x86_64", path=os.defpath)

# A monitor that says what its descriptors are and then holds them.
HOLDER = """
import fcntl, json, struct, sys
taps = []
for number in sys.argv[2:]:
    request = fcntl.ioctl(int(number), 0x800454D2, bytes(40))  # TUNGETIFF
    name, flags = struct.unpack("16sH22x", request)
    taps.append([name.rstrip(bytes(1)).decode(), bool(flags & 0x4000)])  # IFF_VNET_HDR
print(json.dumps({"taps": taps, "facts": json.loads(sys.argv[1])}), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def world():
    with private_world() as world:
        yield world


def run_monitor(world, *arguments):
    return world.start(
        [world.vmnet, "run", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def test_placeholders(world):
    """Each port's descriptor is its tap, and all else is what the network says of it."""
    facts = (
        '{"a":["{tap}","{mac}","{ip}","{gateway}",{mtu}],'
        '"b":["{tap2}","{mac2}","{ip2}","{gateway2}",{mtu2}],"c":"{{fd}} {x}"}'
    )
    options = ["--name", "web", "--nic", "network=lab,mac=52:54:00:00:00:42", "--network", "lab"]
    with run_monitor(
        world, *options, "--", sys.executable, "-c", HOLDER, facts, "{fd}", "{fd2}"
    ) as monitor:
        said = json.loads(monitor.stdout.readline())
        status = world.status("lab")
        expected = [
            [
                port["interface"],
                port["mac"],
                port["ipv4"].partition("/")[0],
                status["network"]["gateway"],
                port["mtu"],
            ]
            for port in status["ports"]
        ]
        monitor.stdin.close()
        assert monitor.wait(START_TIMEOUT_S) == 0
    assert said["facts"] == {"a": expected[0], "b": expected[1], "c": "{fd} {x}"}
    assert said["taps"] == [[port[0], True] for port in expected]
    assert expected[0][1] == "52:54:00:00:00:42"
    assert [port["name"] for port in status["ports"]] == ["web", "web-2"]
    world.wait_gone("lab")


def test_command_fails(world):
    """A port does not outlive a monitor that could not use it."""
    result = world.cli("run", "/bin/sh", "-c", "exit 7", "{fd}")
    assert result.returncode == 7
    world.wait_gone()


class Qmp:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.lines = self.socket.makefile()
        self.lines.readline()
        self.call("qmp_capabilities")

    def call(self, command, **arguments):
        self.socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        while True:
            reply = json.loads(self.lines.readline())
            assert "error" not in reply
            if "return" in reply:
                return reply["return"]

    def close(self):
        self.lines.close()
        self.socket.close()


def shown(language):
    """The document's first block in @language."""
    return re.search(rf"```{language}\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)[1]


def plug_program(world):
    """The one that the document shows."""
    path = world.directory / "plug.py"
    path.write_text(shown("python"))
    return path


def ports_of(world, network):
    """What the network says of its ports, but for what passes there meanwhile."""
    ports = world.status(network)["ports"]
    return [{key: port[key] for key in port if key != "traffic"} for port in ports]


@pytest.mark.skipif(not QEMU, reason="no qemu-system-x86_64")
def test_hot_plug(world):
    """The port of a plugged NIC is QEMU's; one that QEMU refused goes, as does an unplugged one."""
    qmp_path = world.directory / "qmp"
    options = ["-accel", "tcg", "-display", "none", "-nodefaults", "-S"]
    options += ["-qmp", f"unix:{qmp_path},server=on,wait=off", "-nic", "vmnet-shared,network=lab"]
    machine = world.machine(*options, monitor=QEMU)
    machine.wait_port()
    poll(qmp_path.exists, START_TIMEOUT_S, POLL_S)
    plug = ["run", "--network", "lab", sys.executable, plug_program(world)]
    plug += [qmp_path, "{fd}", "{mac}", "n1"]

    assert world.cli(*plug).returncode == 0
    ports = ports_of(world, "lab")
    assert len(ports) == 2
    assert "RuntimeError: Duplicate ID 'n1'" in world.cli(*plug).stderr
    poll(lambda: len(world.status("lab")["ports"]) == 2, START_TIMEOUT_S, POLL_S)
    assert ports_of(world, "lab") == ports

    qmp = Qmp(qmp_path)
    nics = qmp.call("human-monitor-command", **{"command-line": "info network"})
    assert all(port["mac"] in nics for port in ports)
    qmp.call("netdev_del", id="n1")
    qmp.close()
    poll(lambda: len(world.status("lab")["ports"]) == 1, START_TIMEOUT_S, POLL_S)
    assert ports_of(world, "lab") == ports[:1]
    machine.kill()
    world.wait_gone("lab")


def test_libvirt_wrapper(world):
    """The document's emulator makes a port of libvirt's user network, and is QEMU without one."""
    programs = world.directory / "bin"  # the first of PATH
    for name, text in (
        ("qemu-system-x86_64", '#!/bin/sh\nprintf "%s\\0" "$@"\necho\nread -r line\n'),
        ("qemu-vmnet", shown("sh")),
    ):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (programs / "vmnet").symlink_to(world.vmnet)

    def emulator(*arguments):
        return world.start(
            [programs / "qemu-vmnet", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    # As libvirt 9.0 writes them.
    probe = ["-S", "-no-user-config", "-nodefaults", "-nographic", "-machine", "none,accel=kvm:tcg"]
    device = '{"driver":"virtio-net-pci","netdev":"hostnet0","id":"net0",'
    device += '"mac":"52:54:00:00:00:0d","bus":"pci.1","addr":"0x0"}'
    append = ["-append", "a 'b'  * c"]
    domain = ["-name", "guest=web,debug-threads=on", *append, "-netdev"]
    with emulator(*probe) as qemu:
        assert qemu.stdout.readline().split("\0")[:-1] == probe
        qemu.stdin.close()
    with emulator(*domain, '{"type":"user","id":"hostnet0"}', "-device", device) as qemu:
        became = qemu.stdout.readline().split("\0")[:-1]
        (port,) = world.status()["ports"]
        qemu.stdin.close()
    assert became[:5] == domain
    netdev = json.loads(became[5])
    assert (netdev["type"], netdev["id"]) == ("tap", "hostnet0")
    assert became[6:] == ["-device", device]
    assert (port["name"], port["mac"]) == ("web", "52:54:00:00:00:0d")
    world.wait_gone()
