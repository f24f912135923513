# SPDX-License-Identifier: Apache-2.0
"""Detach: the port is gone at once, and what had it goes on without one (decision 0038)."""

import contextlib
import errno
import os
import select
import shutil
import socket
import subprocess

import pytest
from lab import PYTHON, Failed, Network, poll
from program import Program

QEMU = shutil.which("qemu-system-x86_64", path=os.defpath)
CUT_OFF_MAX = 128  # PLANE_CUT_OFF_MAX
WAITS_FOR_ITS_END = """
import socket, time
print("listens", flush=True)
while any(name == "eth0" for _, name in socket.if_nameindex()):
    time.sleep(0.01)
print("gone", flush=True)
"""


def polled(fd):
    """What a monitor that waits for frames is told now."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return poller.poll(0)


def names(network):
    return [port["name"] for port in network.status()["ports"]]


def test_what_it_had_is_free(new_network):
    network = new_network()
    facts = {"name": "web", "mac": "52:54:00:00:00:42", "forwards": ["tcp:127.0.0.1:8042-:80"],
             "interfaceId": "11111111-2222-4333-8444-555555555555"}  # fmt: skip
    with network.guest(name="other") as other, network.attach(**facts) as port:
        with pytest.raises(Failed, match="EEXIST"):
            network.attach(**facts)
        network.call("Detach", interface=port.interface)
        with network.guest(**facts) as web:
            assert web.port.interface != port.interface and web.ipv4 == port.ipv4
            assert web.ping(other.ipv4) == other.ping(web.ipv4) == 1
            forward = network.status()["forwards"][0]
            assert forward["interface"] == web.port.interface and not forward.get("error")
            with pytest.raises(Failed, match="ENODEV"):
                network.call("Detach", interface=port.interface)
            # Neither a router nor an engine that is started anew takes it for a port.
            network.kill("router", "engine")
            assert poll(lambda: network.is_running() and sorted(names(network)) == ["other", "web"])
            # Nor is it one's end when it goes.
            port.close()
            assert web.ping(other.ipv4) == 1 and sorted(names(network)) == ["other", "web"]


def test_a_machine_is_cut_off(new_network):
    """It has no network, and its monitor no device that is gone, which it would poll without a pause."""
    network = new_network()
    with network.guest() as one, network.guest() as two, network.attach() as port:
        assert one.ping(two.ipv4) == 1
        for interface in (one.port.interface, port.interface):
            network.call("Detach", interface=interface)
        assert one.ping(two.ipv4, timeout_s=1) == two.ping(one.ipv4, timeout_s=1) == 0
        while polled(port.fd):  # what came before
            os.read(port.fd, 65536)
        with pytest.raises(OSError) as failed:
            os.write(port.fd, bytes(100))
        assert failed.value.errno == errno.EIO
        assert two.ping(two.gateway) == 1


@pytest.mark.skipif(not QEMU, reason="no qemu-system-x86_64")
def test_qemu_rests(new_network):
    network = new_network()
    with network.attach() as port:
        qemu = network.lab.host.start(
            [QEMU, "-machine", "none", "-nodefaults", "-display", "none", "-monitor", "stdio"]
            + ["-netdev", f"tap,id=net0,fd={port.fd}"],
            pass_fds=[port.fd],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        port.close()
        assert qemu.stdout.readline().startswith(b"QEMU")  # it runs, and has its descriptor

        def used_ticks():
            with open(f"/proc/{qemu.pid}/stat") as file:
                return sum(map(int, file.read().rpartition(") ")[2].split()[11:13]))

        network.call("Detach", interface=port.interface)
        before = used_ticks()
        with pytest.raises(subprocess.TimeoutExpired):
            qemu.wait(0.7)
        assert used_ticks() - before < 0.1 * os.sysconf("SC_CLK_TCK")
        qemu.communicate(b"quit\n", timeout=5)


@pytest.mark.parametrize("kind", ["stream", "dgram"])
def test_a_socket_ends(new_network, kind):
    network = new_network()
    with network.attach(kind=kind) as port, socket.socket(fileno=os.dup(port.fd)) as client:
        network.call("Detach", interface=port.interface)
        assert names(network) == []

        def is_ended():
            with contextlib.suppress(BlockingIOError):
                client.send(bytes(4), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)

        with pytest.raises(OSError) as failed:
            poll(is_ended)
        assert failed.value.errno in (errno.EPIPE, errno.ECONNRESET, errno.ECONNREFUSED)


def test_a_program_loses_its_interface(new_network):
    network = new_network()
    with Program(network.lab, network, PYTHON, "-I", "-S", "-c", WAITS_FOR_ITS_END, ready="listens") as program:
        (port,) = network.status()["ports"]
        network.call("Detach", interface=port["interface"])
        assert names(network) == []
        assert select.select([program.process.stdout], [], [], 5)[0]
        assert program.process.stdout.readline() == "gone\n"


def test_the_last_ends_a_network(lab):
    """One that is not lasting, though the machine goes on."""
    vm = lab.start_vm("-nic", "vmnet-shared,network=last")
    network = Network(lab, "last")
    assert poll(lambda: network.is_running() and names(network))
    network.call("Detach", interface=network.status()["ports"][0]["interface"])
    assert poll(lambda: not network.directory.exists())
    assert vm.poll() is None
    vm.communicate(timeout=5)
    assert vm.returncode == 0


def test_devices_are_bounded(new_network):
    """Who attaches, detaches and never closes gets no more of them; for what goes beyond the device is gone."""
    network = new_network()
    held = []
    try:
        for _ in range(CUT_OFF_MAX + 1):
            held.append(network.attach())
            network.call("Detach", interface=held[-1].interface)
        assert names(network) == []
        assert polled(held[-1].fd)[0][1] & select.POLLERR
        assert not any(flags & select.POLLERR for port in held[:-1] for _, flags in polled(port.fd))
        held.pop(0).close()
        held.append(network.attach())
        network.call("Detach", interface=held[-1].interface)
        assert not any(flags & select.POLLERR for _, flags in polled(held[-1].fd))
    finally:
        for port in held:
            port.close()
