# SPDX-License-Identifier: Apache-2.0
"""Whole virtual machines on networks made by `vmnet run`, with an unmodified QEMU and guest."""

import ipaddress
import os
import socket
import subprocess
import urllib.request

import pytest

from guest import PORT_LINE

DEVICE = ("-device", "virtio-net-pci,netdev=n0")


def netdev(options=""):
    return ("-netdev", f"vmnet-macos,id=n0,mode=shared{options}", *DEVICE)


def assert_leases_its_address(guest):
    """The address that `vmnet run` printed before the guest booted is the one that it gets."""
    address, _ = guest.wait_ready().lease()
    assert address == str(guest.ports()[0].ipv4.ip)


def test_shared_network(boot, file_server):
    """All that a guest is promised, without any right beyond an ordinary user's."""
    assert os.geteuid() != 0, "run through tests/unprivileged.py"
    guest = boot(*netdev())
    port = guest.ports()[0]
    assert_leases_its_address(guest)
    assert guest.sh("cat /sys/class/net/eth0/address") == port.mac

    guest.ping(port.gateway)
    assert guest.resolve(port.name) == [str(port.ipv4.ip)]
    assert guest.download(file_server.url(port.gateway))[0] == file_server.sha256
    assert guest.upload(file_server.url(port.gateway))[0] == file_server.sha256

    assert ipaddress.IPv6Address(guest.address6()) in port.ipv6_prefix
    guest.ping(port.gateway6)
    assert guest.download(file_server.url(port.gateway6))[0] == file_server.sha256


@pytest.mark.parametrize(
    "arguments",
    [
        ("-nic", "vmnet-shared,model=virtio-net-pci"),
        ("-netdev", '{"type":"vmnet-shared","id":"n0"}', *DEVICE),
    ],
    ids=["nic", "json"],
)
def test_other_forms_of_the_option(boot, arguments):
    assert_leases_its_address(boot(*arguments))


@pytest.mark.parametrize("arguments", [(), ("-nic", "vmnet-shared")], ids=["default", "nic"])
def test_machine_without_pci(host, arguments):
    """QEMU has a device for it, which its own -nic does not make. It is not booted: Linux hangs there now and then under TCG."""
    command = [host.vmnet, "run", "qemu-system-x86_64", "-M", "microvm", *arguments, "-accel", "tcg"]
    with host.start(
        [*command, "-nodefaults", "-display", "none", "-S", "-monitor", "stdio"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        shown, said = process.communicate("info network\nquit\n", timeout=30)
    (port,) = PORT_LINE.finditer(said)
    assert f"model=virtio-net-device,macaddr={port['mac']}" in shown
    assert "warning" not in said


def test_guests_of_one_network_reach_one_another(boot):
    a = boot(*netdev(), "-name", "a")
    b = boot(*netdev(), "-name", "b")
    assert_leases_its_address(a)
    assert_leases_its_address(b)
    address = {guest: str(guest.ports()[0].ipv4.ip) for guest in (a, b)}

    for guest, other, name in ((a, b, "b"), (b, a, "a")):
        assert other.ports()[0].name == f"{name}.shared.vmnet.internal"
        assert guest.resolve(f"{name}.shared.vmnet.internal") == [address[other]]
        guest.ping(address[other])


def test_guests_of_two_networks_do_not(boot):
    a = boot(*netdev(), "-name", "a")
    b = boot(*netdev(",network=other"), "-name", "b")
    assert_leases_its_address(a)
    assert_leases_its_address(b)
    port_a, port_b = a.ports()[0], b.ports()[0]

    assert port_b.network == "other"
    assert not port_a.ipv4.network.overlaps(port_b.ipv4.network)
    for guest, other in ((a, port_b), (b, port_a)):
        # By ARP: a packet for the other's address would go the way of all that is outside.
        assert guest.try_sh(f"arping -c 1 -w 2 -I eth0 {guest.ports()[0].gateway}")[0] == 0
        assert guest.try_sh(f"arping -c 2 -w 2 -I eth0 {other.ipv4.ip}")[0] != 0


def test_nothing_is_left_after_the_last_guest(host, boot):
    """A network ends with its last port, whether the guest powers off or QEMU is killed."""
    a = boot(*netdev())
    b = boot(*netdev())
    a.wait_ready().power_off()
    assert any("vmnetd" in text for text in host.leftovers()), "the other guest's network is gone"
    b.process.kill()
    b.process.wait()
    host.wait_until_clean()


def test_host_network_isolation_and_forward(boot):
    """A machine that reaches the host alone, and that the host reaches."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    host_only = ("vmnet-host,id=n0,isolated=on,forward=tcp::%d-:80" % port, "vmnet-host,id=n0")
    a, b = (boot("-netdev", text, *DEVICE, "-name", name) for text, name in zip(host_only, "ab"))
    assert_leases_its_address(a)
    assert_leases_its_address(b)
    assert a.ports()[0].network == b.ports()[0].network == "host"

    a.ping(a.ports()[0].gateway)
    assert "default" not in a.sh("ip route")
    # By ARP, which nothing but the bridge answers or refuses.
    for guest, other in ((a, b), (b, a)):
        assert guest.try_sh(f"arping -c 1 -w 2 -I eth0 {guest.ports()[0].gateway}")[0] == 0
        assert guest.try_sh(f"arping -c 2 -w 2 -I eth0 {other.ports()[0].ipv4.ip}")[0] != 0

    a.sh("echo hello >/www/index.html; httpd -p 80 -h /www")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
        assert answer.read() == b"hello\n"
