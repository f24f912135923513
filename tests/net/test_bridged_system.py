# SPDX-License-Identifier: Apache-2.0
"""Bridged networks of the system: vmnetd, the guard, and what the control socket says of them."""

import itertools
import re

import pytest
from scapy.layers.l2 import Ether

from bridged import (
    as_it_was,
    drops,
    nobody_speaks_for_another,
    one_wire_only,
    reaches_all,
    settled,
    system_guest,
    two_guests,
    unicast,
    whole_state,
)
from lab import HOST, REMOTE, Failed, host_state_changes, poll
from system import SystemLab, needs_root, running

pytestmark = needs_root
TEXT = "mode = bridged\nifname = out0\n"


@pytest.fixture(scope="module")
def lab():
    with SystemLab() as lab, as_it_was(lab):
        yield lab


@pytest.fixture(scope="module")
def network(lab):
    with running(lab, "lan", TEXT, check=False) as network:
        yield network


@pytest.fixture(scope="module")
def guests(network):
    with two_guests(network) as guests:
        yield guests


def test_all_ways(lab, guests, version):
    places = [lab.host, lab.remote, *guests]
    for a, b in itertools.permutations(places, 2):
        unicast(a, b, version, 1 << 20)
    for sender in places:
        reaches_all(sender, places, version)


def test_what_is_said_of_it(network, guests):
    described = network.describe()
    assert described["mode"] == "bridged" and described["mtu"] == 1500
    assert described["subnet"] is described["gateway"] is described["ipv6Prefix"] is None
    assert not any(described[name] for name in ("dhcp", "dns", "ra", "nat44", "nat66"))
    assert guests[0].port.facts["ipv4"] is None


def test_mtu_is_told(lab, network, guests):
    """That of the interface when a machine starts."""
    for mtu in (1400, 4000, 1500):
        lab.host.ip(f"link set out0 mtu {mtu}")
        settled(lambda mtu=mtu: network.describe()["mtu"] == mtu, f"{mtu}: told")
        with system_guest(network, 7) as late:
            assert late.port.facts["mtu"] == mtu
        assert f"interface out0: its MTU is {mtu} now" in network.log()
    unicast(guests[0], lab.remote, 4, 1 << 20)


def test_mtu_while_the_interface_is_gone():
    """It is what it was: machines still reach each other."""
    with SystemLab() as lab, running(lab, "gone", TEXT, check=False) as network:
        lab.host.ip("link del out0")
        settled(lambda: "interface out0 is gone" in network.log(), "told")
        with system_guest(network, 1) as guest:
            assert guest.port.facts["mtu"] == network.describe()["mtu"] == 1500


# ---- the guard


def test_nobody_speaks_for_another(lab, network, guests):
    one, two = guests
    nobody_speaks_for_another(network, (one, one.ipv4), (two, two.ipv4), lab.remote, "in0")


def test_frames_of_one_wire(lab, guests):
    """Spanning tree and its like pass in neither direction."""
    one_wire_only(lab, guests[0])


def test_isolated(lab, network, guests):
    """From and to no other machine, but to host and LAN."""
    with system_guest(network, 5, isolated=True) as alone:
        for address in (REMOTE[4], HOST[4]):
            settled(lambda address=address: alone.ping(address, timeout_s=1), "reached")
        assert alone.ping(guests[0].ipv4, timeout_s=1) == 0
        assert guests[0].ping(alone.ipv4, timeout_s=1) == 0
        assert guests[0].ping(guests[1].ipv4) == 1


def test_mac_of_the_interface_is_refused(lab, network):
    mac = re.search(r"ether (\S+)", lab.host.ip("link show dev out0"))[1]
    with pytest.raises(Failed, match="another one"):
        network.attach(name="twin", mac=mac)


# ---- processes come and go


def test_router_is_killed(lab, network, guests):
    network.kill("router")
    settled(lambda: network.process("router") > 1, "a new router")
    for address in (REMOTE[4], HOST[4], guests[1].ipv4):
        assert guests[0].ping(address) == 1
    with system_guest(network, 6) as new:
        settled(lambda: new.ping(REMOTE[4], timeout_s=1), "a new machine reaches the LAN")
    taken = lambda: lab.host.run(["bridge", "fdb", "show", "dev", "out0"]).stdout  # noqa: E731
    settled(lambda: new.mac not in taken() and guests[0].mac in taken(), "its MAC is given back")


def as_before(namespace, before):
    changes = []

    def same():
        changes[:] = host_state_changes(before, whole_state(namespace))
        return not changes

    assert poll(same, 3, 0.1), "\n".join(changes)


@pytest.mark.parametrize("roles", [("parent",), ("parent", "engine", "router")])
def test_killed(lab, roles):
    """Whatever is killed: at last the host is as before, at the latest after the next start."""
    before = whole_state(lab.host)
    host = lab.host
    host.ip_batch(
        "link add lan0 type veth peer name lan1\n"
        "link set lan0 addrgenmode none\nlink set lan1 addrgenmode none\nlink set lan0 up\nlink set lan1 up\n"
    )
    made = whole_state(host)
    network = lab.system_network("crash", "mode = bridged\nifname = lan0\n")
    with network.attach(name="a"):
        network.kill(*roles)
        settled(lambda: not network.is_running(), "the end")
    with running(lab, "crash", "mode = bridged\nifname = lan0\n", check=False):
        pass
    as_before(host, made)
    host.ip("link del lan0")
    assert not host_state_changes(before, whole_state(host))


# ---- a Linux bridge


def test_linux_bridge(lab):
    """Machines become ports of the host's bridge, and leave it; the guard is there too."""
    host, remote = lab.host, lab.remote
    host.ip_batch(
        "link add br7 type bridge\n"
        f"link add lan0 type veth peer name lan1 netns /proc/{remote.holder.pid}/ns/net\n"
        "link set lan0 addrgenmode none address 02:00:5e:10:00:07\nlink set br7 addrgenmode none\n"
        "link set lan0 up master br7\nlink set br7 up\naddress add 10.9.0.1/24 dev br7\n"
    )
    remote.ip_batch("link set lan1 up\naddress add 10.9.0.2/24 dev lan1\n")
    settled(lambda: "state UP" in host.ip("link show br7"), "the bridge is up")
    mac = re.search(r"ether (\S+)", host.ip("link show br7"))[1]
    before = whole_state(host)
    with running(lab, "onbr", "mode = bridged\nifname = br7\n", check=False) as network:
        with system_guest(network, 1) as one, system_guest(network, 2, isolated=True) as two:
            one.ip("address add 10.9.0.11/24 dev eth0")
            two.ip("address add 10.9.0.12/24 dev eth0")
            assert mac in host.ip("link show br7"), "the bridge's MAC is that of its least port"
            ports = host.ip("-o link show master br7")
            assert one.port.interface in ports and two.port.interface in ports
            for guest in (one, two):
                for address in ("10.9.0.1", "10.9.0.2"):
                    settled(lambda g=guest, a=address: g.ping(a, timeout_s=1), "reached")
            assert one.ping("10.9.0.12", timeout_s=1) == 0
            count = drops(network, one)["spoofed_mac"]
            with one.packets() as raw:
                raw.send(bytes(Ether(src=two.mac, dst="ff:ff:ff:ff:ff:ff", type=0x88B5) / b"x"))
            settled(lambda: drops(network, one)["spoofed_mac"] > count, "counted")
            network.kill("router")
            settled(lambda: network.process("router") > 1, "a new router")
            assert one.ping("10.9.0.2") == 1
        settled(lambda: one.port.interface not in host.ip("link show"), "the port is gone")
    as_before(host, before)
    host.ip_batch("link del lan0\nlink del br7\n")


# ---- who asks


def test_refusals(lab, network):
    for text, expected in (
        ("mode = bridged\nifname = nobody0\n", "No such device"),
        ("mode = bridged\nifname = lo\n", "loopback"),
        ("mode = bridged\nifname = out0\n", "another bridged network"),
        ("mode = bridged\nifname = out0\nmtu = 9000\n", "more than the 1500"),
    ):
        lab.define("bad", text)
        result = lab.vmnet("up", "bad", check=False)
        assert result.returncode == 1 and expected in result.stderr, result
