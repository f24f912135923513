# SPDX-License-Identifier: Apache-2.0
"""Ports whose MAC nobody has said: it is that of the machine's first frame, once, if the machine may have it."""

import contextlib
import re

import pytest
from bridged import settled
from lab import HOST, REMOTE, Failed, Guest, poll
from scapy.layers.l2 import Ether
from system import SystemLab, needs_root, running

MAC, OTHER = "52:54:00:00:02:01", "52:54:00:00:02:02"


@contextlib.contextmanager
def unknown(network, mac=MAC, **parameters):
    """A guest on a port without a MAC, that has not sent a frame yet."""
    port = network.attach(learnMac=True, **parameters)
    assert port.mac is None and port.ipv4 is None
    port.mac = mac
    guest = Guest(network, port)
    # What an interface says by itself when it comes up would be its first frame.
    guest.sysctl({"ipv6/conf/eth0/disable_ipv6": 1})
    with guest:
        guest.up()
        yield guest


def port_of(guest):
    return next(port for port in guest.network.status()["ports"] if port["interface"] == guest.port.interface)


def say(guest, source):
    """A frame that means nothing to anybody."""
    with guest.packets() as raw:
        raw.send(bytes(Ether(src=source, dst="02:00:00:00:00:01", type=0x88B5)))


def learned(guest):
    return poll(lambda: port_of(guest)["mac"])


def test_as_any_other_from_then_on(lab, network):
    with network.guest() as other, unknown(network) as guest:
        assert port_of(guest)["mac"] is None and port_of(guest)["ipv4"] is None
        assert "-  " in next(line for line in lab.vmnet("status", network.name).stdout.splitlines()
                             if f"  {guest.port.interface} " in line)
        guest.sysctl({"ipv6/conf/eth0/disable_ipv6": 0})
        guest.dhcp()
        guest.wait_ipv6()
        facts = port_of(guest)
        assert facts["mac"] == MAC and facts["ipv4"].split("/")[0] == guest.ipv4
        assert facts["drops"]["unknown_mac"] >= 1 and facts["drops"]["spoofed_mac"] == 0
        assert other.ping(guest.ipv4) == 1 and guest.ping(guest.gateway) == 1
        assert other.resolve(f"{guest.port.name}.{guest.port.facts['domain']}") == (0, [guest.ipv4])
        # It is its own, and the only one.
        say(guest, OTHER)
        assert poll(lambda: port_of(guest)["drops"]["spoofed_mac"] == 1)
        assert port_of(guest)["mac"] == MAC
        with pytest.raises(Failed, match=f"MAC {MAC} is in use by"):
            network.attach(mac=MAC)
    assert poll(lambda: len(network.status()["ports"]) == 0)
    # The same machine has the same address.
    with unknown(network) as guest:
        guest.dhcp()
        assert guest.ipv4 == facts["ipv4"].split("/")[0]


def test_what_is_not_to_be_had(network):
    """Another's, the gateway's, a group's, none: nothing comes of it, the log says it once, and the true one is taken."""
    with network.guest() as other, unknown(network) as guest:
        for source in (other.mac, other.gateway_mac(), "01:00:5e:00:00:01", "00:00:00:00:00:00"):
            for _ in range(3):
                say(guest, source)
        assert poll(lambda: f"port {guest.port.interface}: its machine has no network: MAC {other.mac} is in use" in network.log())
        say(guest, other.mac)

        def taken():
            say(guest, MAC)
            return port_of(guest)["mac"]

        assert poll(taken, interval_s=0.1) == MAC
        assert network.log().count(f"port {guest.port.interface}: its machine has no network") == 1
        assert other.ping(other.gateway) == 1


@pytest.mark.parametrize("wrong", [{"mac": MAC}, {"kind": "stream"}, {"kind": "veth"}])
def test_it_is_of_a_tap_alone(network, wrong):
    with pytest.raises(Failed, match="InvalidParameter"):
        network.attach(learnMac=True, **wrong)


@pytest.mark.parametrize("role", ["engine", "router"])
def test_over_a_restart(network, role):
    """Before the first frame, and after."""
    with unknown(network) as guest:
        network.kill(role)
        # The one that is started anew may not look yet when the first frame comes: guests go on.
        def taken():
            with contextlib.suppress(OSError):
                say(guest, MAC)
                return port_of(guest)["mac"]

        assert poll(taken, timeout_s=15, interval_s=0.1) == MAC
        network.kill(role)
        assert poll(network.is_running)
        assert port_of(guest)["mac"] == MAC
        guest.dhcp()
        assert guest.ping(guest.gateway) == 1


def test_gone_before_a_word(network):
    with unknown(network) as guest:
        interface = guest.port.interface
    assert poll(lambda: not network.status()["ports"])
    with network.guest() as guest:  # the kernel gives the name to the next one
        assert guest.port.interface == interface and guest.ping(guest.gateway) == 1


def test_reserved(lab):
    """Name and address of the network's file come with the MAC."""
    directory = lab.directory / "learn" / "openvmnet"
    directory.mkdir(parents=True)
    (directory / "learn.conf").write_text("start-address = 10.77.0.1\nend-address = 10.77.0.99\nsubnet-mask = 255.255.255.0\n"
                                          f"[host web]\nmac = {MAC}\naddress = 10.77.0.77\n")
    lab.environment["XDG_CONFIG_HOME"] = str(directory.parent)
    network = lab.network("learn")
    try:
        with unknown(network) as guest, unknown(network, OTHER) as other:
            guest.dhcp()
            other.dhcp()
            assert guest.ipv4 == "10.77.0.77" and port_of(guest)["name"] == "web"
            assert other.ping("10.77.0.77") == 1
            assert other.resolve("web.learn.vmnet.internal") == (0, ["10.77.0.77"])
    finally:
        network.down()
        del lab.environment["XDG_CONFIG_HOME"]


@needs_root
@pytest.mark.parametrize("ifname", ["out0", "br7"])
def test_bridged(ifname):
    """The MAC is let onto the interface when it is known; the interface's own, and a device's, are not to be had."""
    with SystemLab() as lab:
        if ifname == "br7":
            lab.host.ip_batch("link add br7 type bridge\nlink set br7 up\naddress add 10.9.0.1/24 dev br7\n")
        own = re.search(r"ether (\S+)", lab.host.ip(f"link show dev {ifname}"))[1]
        with running(lab, "lan", f"mode = bridged\nifname = {ifname}\n", check=False) as network:
            with unknown(network) as guest:
                refused = {"out0": (own, "the MAC is that of interface out0"),
                           "br7": ("00:1b:21:00:00:01", "is a locally administered one")}[ifname]  # fmt: skip
                say(guest, refused[0])
                assert poll(lambda: f"port {guest.port.interface}: its machine has no network" in network.log())
                assert refused[1] in network.log()
                guest.ip(f"address add {'198.51.100.11' if ifname == 'out0' else '10.9.0.11'}/24 dev eth0")
                for address in (HOST[4], REMOTE[4]) if ifname == "out0" else ("10.9.0.1",):
                    settled(lambda a=address: guest.ping(a, timeout_s=1), f"{address} is reached")
                assert port_of(guest)["mac"] == MAC and port_of(guest)["ipv4"] is None
                say(guest, OTHER)
                assert poll(lambda: port_of(guest)["drops"]["spoofed_mac"] >= 1)
                # A new router knows it.
                network.kill("router")
                settled(lambda: network.process("router") > 1, "a new router")
                assert port_of(guest)["mac"] == MAC
                settled(lambda a=address: guest.ping(a, timeout_s=1), f"{address} is reached")


@needs_root
def test_network_of_the_system():
    with SystemLab() as lab, running(lab, "lan", "mode = shared\n", check=False) as network, unknown(network) as guest:
        guest.dhcp()
        assert port_of(guest)["mac"] == MAC and guest.ping(guest.gateway) == 1
