# SPDX-License-Identifier: Apache-2.0
"""Bridged networks whose machines are ports of a Linux bridge, and what others do to that bridge and to the rules."""

import contextlib
import json
import os
import re
import select
import signal
import subprocess

import pytest
from scapy.layers.l2 import Ether

from bridged import as_it_was, nobody_speaks_for_another, settled, system_guest
from lab import Failed, Guest
from system import SystemLab, needs_root, running

pytestmark = needs_root
BRIDGE = "link add br7 type bridge\nlink set br7 addrgenmode none\nlink set br7 up\naddress add 10.9.0.1/24 dev br7\n"


@pytest.fixture(scope="module")
def lab():
    with SystemLab() as lab, as_it_was(lab):
        lab.host.ip_batch(BRIDGE)
        yield lab
        lab.wait_until_clean()
        lab.host.ip("link del br7")


@pytest.fixture
def network(lab):
    with running(lab, "onbr", "mode = bridged\nifname = br7\n", check=False) as network:
        yield network


@contextlib.contextmanager
def machine(network, number, **parameters):
    with system_guest(network, number, **parameters) as guest:
        guest.ip(f"address add 10.9.0.{10 + number}/24 dev eth0")
        settled(lambda: guest.ping("10.9.0.1", timeout_s=1), "the host is reached")
        yield guest


def rules(lab):
    """What is in each chain (a number of rules) and set of the network's table, but for what is counted there."""
    found = {}
    listed = lab.host.run(["nft", "-j", "list", "table", "bridge", "vmnet-onbr"], check=False).stdout
    for item in json.loads(listed or "{}").get("nftables", []):
        for kind, each in item.items():
            if kind == "rule":
                found["chain", each["chain"]] = found.get(("chain", each["chain"]), 0) + 1
            elif kind in ("set", "map") and each["name"] not in ("drops", "rates"):
                found["set", each["name"]] = sorted(map(str, each.get("elem", [])))
    return found


def test_rules_are_flushed(lab, network):
    """They are made anew as they were, with the machines in them, and hold."""
    with machine(network, 1) as one, machine(network, 2, isolated=True), machine(network, 3, anti_spoof=False):
        before = rules(lab)
        assert one.mac in str(before["set", "senders"])
        lab.host.run(["nft", "flush", "ruleset"])
        settled(lambda: rules(lab) == before, "the rules are as before")
        assert one.ping("10.9.0.12", timeout_s=1) == 0
        assert one.ping("10.9.0.1") == 1

        def spoofed():
            return next(port["drops"]["spoofed_mac"] for port in network.status()["ports"] if port["name"] == "g1")

        with one.packets() as raw:
            raw.send(bytes(Ether(src="02:00:00:00:00:99", dst="ff:ff:ff:ff:ff:ff", type=0x88B5) / b"x"))
        settled(lambda: spoofed() == 1, "a frame under another's MAC is dropped")


def test_rules_are_flushed_while_nobody_looks(lab, network):
    with machine(network, 1):
        before = rules(lab)
        router = network.process("router")
        os.kill(router, signal.SIGSTOP)
        lab.host.run(["nft", "flush", "ruleset"])
        os.kill(router, signal.SIGKILL)
        settled(lambda: rules(lab) == before, "a new router makes them")


def test_bridge_is_made_anew(lab, network):
    """Meanwhile no machine is on a link with the host alone."""
    with machine(network, 1) as one, machine(network, 2) as two:
        lab.host.ip("link del br7")
        settled(
            lambda: all("state DOWN" in lab.host.ip(f"link show {each.port.interface}") for each in (one, two)),
            "ports are down",
        )
        with pytest.raises(Failed, match="br7 is gone"):
            network.attach(name="late")
        lab.host.ip_batch(BRIDGE)
        for each in (one, two):
            settled(lambda each=each: each.ping("10.9.0.1", timeout_s=1), "the host is reached again")
        assert one.ping("10.9.0.12") == 1
        with machine(network, 3) as late:
            assert late.ping("10.9.0.11") == 1


def test_ports_whose_mac_is_not_known(lab, network):
    """Each has one of its own on the bridge, greater than others', and its machine's once that is known."""

    def mac_of(port):
        return re.search(r"ether (\S+)", lab.host.ip(f"link show {port.interface}"))[1]

    with (
        contextlib.closing(network.attach(learnMac=True)) as one,
        contextlib.closing(network.attach(learnMac=True)) as two,
    ):
        macs = {mac_of(one), mac_of(two)}
        assert len(macs) == 2 and all(mac.startswith("fe:") for mac in macs)
        own = lab.host.run(["bridge", "fdb", "show", "br", "br7"]).stdout
        assert all(f"{mac_of(port)} dev {port.interface} master br7 permanent" in own for port in (one, two))
        one.mac = "52:54:00:00:02:07"
        with Guest(network, one) as guest:
            guest.ip_batch("link set eth0 up\naddress add 10.9.0.17/24 dev eth0\n")
            settled(lambda: guest.ping("10.9.0.1", timeout_s=1), "the host is reached")
            assert mac_of(one) == "fe:54:00:00:02:07"


def mtu(lab, link):
    return int(re.search(r"mtu (\d+)", lab.host.ip(f"link show {link}"))[1])


@contextlib.contextmanager
def lan_port(lab, mtu=1500):
    """The bridge's way to a LAN; where it is the only port, and nobody has set the bridge's MTU, it decides that."""
    lab.host.ip_batch(f"link add lan7 mtu {mtu} type veth peer name lan7p mtu {mtu}\nlink set lan7 master br7 up\n")
    try:
        yield "lan7"
    finally:
        lab.host.ip("link del lan7")


@contextlib.contextmanager
def link_messages(lab, link):
    """A function that ends this, and returns what the kernel has said of @link until then."""
    with lab.host.start(["ip", "monitor", "link", "dev", link], stdout=subprocess.PIPE, text=True) as monitor:

        def heard():
            lab.host.ip(f"link set {link} up alias heard")
            return select.select([monitor.stdout], [], [], 0.1)[0]

        def end():
            monitor.terminate()
            return monitor.communicate()[0]

        try:
            settled(heard, "somebody listens")
            yield end
        finally:
            monitor.terminate()


def test_mtu_is_followed(lab, network):
    """Each way, and no machine is what holds the bridge's down, nor on its way to it."""
    with lan_port(lab) as lan, machine(network, 1) as one:
        for now in (9000, 1400, 4000):
            lab.host.ip(f"link set {lan} mtu {now}")
            settled(lambda now=now: mtu(lab, "br7") == mtu(lab, one.port.interface) == now, f"{now}: followed")
            settled(lambda now=now: network.describe()["mtu"] == now, f"{now}: told")
            assert f"bridge br7: its MTU is {now} now" in network.log()
            with link_messages(lab, "br7") as messages, machine(network, 2) as two:
                assert two.port.facts["mtu"] == now
                assert mtu(lab, "br7") == mtu(lab, two.port.interface) == now
                assert set(re.findall(r"mtu (\d+)", messages())) == {str(now)}


def test_mtu_of_two_networks(lab, network):
    """Neither holds down what the other one follows, also where the file of one has a lower MTU."""
    text = "mode = bridged\nifname = br7\nmtu = 1300\n"
    with lan_port(lab) as lan, running(lab, "onbr2", text, check=False) as other:
        with machine(network, 1) as one, system_guest(other, 2) as two:
            assert two.port.facts["mtu"] == 1300
            for now in (9000, 1500):
                lab.host.ip(f"link set {lan} mtu {now}")
                links = ("br7", one.port.interface, two.port.interface)
                settled(lambda now=now, links=links: all(mtu(lab, each) == now for each in links), f"{now}")
                assert other.describe()["mtu"] == 1300


def test_mtu_changes_while_nobody_looks(lab, network):
    with lan_port(lab) as lan, machine(network, 1) as one:
        router = network.process("router")
        os.kill(router, signal.SIGSTOP)
        lab.host.ip(f"link set {lan} mtu 4000")
        os.kill(router, signal.SIGKILL)
        settled(lambda: mtu(lab, "br7") == mtu(lab, one.port.interface) == 4000, "a new router follows")
        settled(lambda: network.describe()["mtu"] == 4000, "told")


def test_mtu_that_others_set(lab, network):
    """By hand it is the bridge's for good, and it is told; a port passes what the LAN's does."""
    with lan_port(lab) as lan, machine(network, 1) as one:
        lab.host.ip("link set br7 mtu 1400")
        settled(lambda: network.describe()["mtu"] == 1400, "told")
        lab.host.ip(f"link set {one.port.interface} mtu 1300")
        lab.host.ip(f"link set {lan} mtu 2000")
        settled(lambda: mtu(lab, one.port.interface) == 2000, "the LAN's")
        assert mtu(lab, "br7") == 1400
        lab.host.ip("link set br7 mtu 3000")
        settled(lambda: mtu(lab, one.port.interface) == 3000, "the bridge's")
    # Nobody can take that back.
    lab.host.ip("link del br7")
    lab.host.ip_batch(BRIDGE)


def test_nobody_speaks_for_another(lab, network):
    with machine(network, 1) as one, machine(network, 2) as two:
        nobody_speaks_for_another(network, (one, "10.9.0.11"), (two, "10.9.0.12"), lab.host, "br7")


def test_nobody_listens(lab, network):
    """Names are the physical network's: there is no DNS server of ours, nor sockets for one."""
    assert not lab.host.run(["ss", "-Hnltu"]).stdout
