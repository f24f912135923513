# SPDX-License-Identifier: Apache-2.0
"""openvmnet-bridge-helper, started as QEMU starts it: by a process whose command line says which NIC it is for."""

import contextlib
import json
import subprocess

import pytest
from lab import BUILD, PYTHON, poll
from system import USER, SystemLab, needs_root, started

HELPER = BUILD / "openvmnet-bridge-helper"

# What net_bridge_run_helper() of QEMU does, for each network of the first argument.
QEMU = """
import os, socket, subprocess, sys
helper, networks = sys.argv[1], sys.argv[2].split(",")
for network in networks:
    ours, theirs = socket.socketpair()
    words = ["--use-vnet", f"--fd={theirs.fileno()}", f"--br={network}"]
    command = ["/bin/sh", "-c", " ".join([helper, *words])] if " " in helper else [helper, *words]
    done = subprocess.run(command, pass_fds=[theirs.fileno()], stderr=subprocess.PIPE, text=True)
    theirs.close()
    if done.returncode:
        print(done.stderr.strip(), flush=True)
        continue
    data, fds, _, _ = socket.recv_fds(ours, 1, 1)
    assert (len(data), len(fds)) == (1, 1)
    flags = [line for line in open(f"/proc/self/fdinfo/{fds[0]}") if line.startswith("iff")]
    print("fd", *"".join(flags).split(), flush=True)
sys.stdin.read()
"""


class Machine:
    """A context: what the helper said for each network, in `said`."""

    def __init__(self, start, networks, *words, helper=HELPER):
        self.process = start(
            [PYTHON, "-c", QEMU, str(helper), ",".join(networks), *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.said = [self.process.stdout.readline().strip() for _ in networks]

    def __enter__(self):
        return self.said

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(5)


def nic(number, network, mac=True, netdev=None):
    device = f"virtio-net-pci,netdev={netdev or f'n{number}'}" + (f",mac=52:54:00:00:01:0{number}" if mac else "")
    return ["-netdev", f"bridge,id=n{number},br={network}", "-device", device]


def macs(network):
    return sorted(port["mac"] for port in network.status()["ports"])


def on(lab, networks, *words, **options):
    return Machine(lambda command, **more: lab.host.start(command, capabilities=False, **more), networks, *words, **options)


def test_two_nics_of_one_machine(lab, network):
    name = network.name
    with on(lab, [name, name], *nic(1, name), *nic(2, name), "-name", "db") as said:
        assert [text.split()[0] for text in said] == ["fd", "fd"], said
        assert macs(network) == ["52:54:00:00:01:01", "52:54:00:00:01:02"]
        assert "db" in [port["name"] for port in network.status()["ports"]]
    assert poll(lambda: not macs(network))


def test_helper_with_options(lab, network):
    """QEMU starts it by a shell then; the machine is one process further up, or the MAC is said."""
    with on(lab, [network.name], *nic(1, network.name), helper=f"exec {HELPER}") as said:
        assert said[0].startswith("fd") and macs(network) == ["52:54:00:00:01:01"]
    assert poll(lambda: not macs(network))
    with on(lab, [network.name], helper=f"true; {HELPER} --mac=52:54:00:00:01:09") as said:
        assert said[0].startswith("fd") and macs(network) == ["52:54:00:00:01:09"]
    assert poll(lambda: not macs(network))


def test_started_and_ended_with_it(lab):
    with on(lab, ["fresh"], *nic(1, "fresh")) as said:
        assert said[0].startswith("fd")
        assert [each["name"] for each in json.loads(lab.vmnet("ls", "--json").stdout) if not each["lasting"]] == ["fresh"]
    assert poll(lambda: not (lab.runtime / "openvmnet" / "fresh").exists())


def test_before_there_is_a_machine(lab, network):
    """As libvirt starts it: no process above says a MAC, so it is learnt (test_learn.py)."""
    with on(lab, [network.name, network.name], *nic(1, "another")) as said:
        assert [text.split()[0] for text in said] == ["fd", "fd"], said
        assert [(port["mac"], port["ipv4"]) for port in network.status()["ports"]] == 2 * [(None, None)]
    assert poll(lambda: not network.status()["ports"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-nic", "bridge,br=NAME,mac=01:00:00:00:00:01"], "network 'NAME': "),
    ],
)
def test_refused(lab, network, words, said):
    words = [word.replace("NAME", network.name) for word in words]
    with on(lab, [network.name], *words) as lines:
        assert lines[0].startswith("openvmnet-bridge-helper: ") and said.replace("NAME", network.name) in lines[0]
        assert not macs(network)


def test_the_same_mac_twice(lab, network):
    first, second = (["-nic", f"bridge,br={network.name}"] for _ in range(2))
    with on(lab, [network.name], *first) as said, on(lab, [network.name], *second) as refused:
        assert said[0].startswith("fd")
        assert "52:54:00:12:34:56" in refused[0] and "a NIC without mac= has the same one" in refused[0]


@pytest.mark.parametrize("arguments", [[], ["--br=x"], ["--fd=3"], ["--br=x", "--fd=y"], ["--br=x", "--fd=3", "z"],
                                       ["--br=x", "--fd=3", "--mac=1"], ["--wild"]])  # fmt: skip
def test_usage(lab, arguments):
    result = lab.host.run([HELPER, *arguments], check=False)
    assert result.returncode == 1 and "openvmnet-bridge-helper: " in result.stderr


@needs_root
def test_network_of_the_system():
    with contextlib.ExitStack() as stack:
        lab = stack.enter_context(SystemLab())
        lan = stack.enter_context(started(lab, "lab", f"allow-user = {USER}\n"))
        for uid, allowed in ((USER, True), (USER + 7, False)):
            user = lab.user(uid)
            with Machine(lambda command, **more: user.start(*command, **more), ["lab"], *nic(1, "lab"),
                         helper=lab.helper_path) as said:  # fmt: skip
                assert said[0].startswith("fd") == allowed, said
                assert allowed or f"'allow-user = {uid}'" in said[0]
                assert [port["user"] for port in lan.status()["ports"]] == ([uid] if allowed else [])
            assert poll(lambda: not macs(lan))
