# SPDX-License-Identifier: Apache-2.0
"""Bridged networks on an Open vSwitch bridge, with its own datapath (see ovs.py); needs root and Open vSwitch.

    guests ── ovsbr0 10.9.0.1 (host) ── lan0 ── lan1 10.9.0.2 (remote: the LAN)
"""

import contextlib
import itertools
import json
import re
import signal
import socket

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from bridged import as_it_was, drops, nobody_speaks_for_another, settled, system_guest
from lab import Background, Failed, Guest, receive_stream, send_stream
from ovs import OpenVSwitch, needs_openvswitch, send_whole_frames
from system import SystemLab, needs_root, running

pytestmark = [needs_root, needs_openvswitch]
TEXT = "mode = bridged\nifname = ovsbr0\n"
HOST, REMOTE = "10.9.0.1", "10.9.0.2"


@pytest.fixture(scope="module")
def lab():
    with SystemLab() as lab, as_it_was(lab):
        lab.host.ip_batch(
            f"link add lan0 type veth peer name lan1 netns /proc/{lab.remote.holder.pid}/ns/net\n"
            "link set lan0 addrgenmode none\nlink set lan0 up\n"
        )
        # As everywhere where frames go by packet sockets: nothing is left for hardware.
        send_whole_frames(lab.remote, "lan1")
        lab.remote.ip_batch(f"link set lan1 up\naddress add {REMOTE}/24 dev lan1\n")
        yield lab
        lab.wait_until_clean()
        lab.host.ip("link del lan0")


@pytest.fixture(scope="module")
def ovs(lab):
    with OpenVSwitch(lab, "ovsbr0", ["lan0"]) as ovs:
        lab.host.ip(f"address add {HOST}/24 dev ovsbr0")
        yield ovs


@pytest.fixture(scope="module")
def network(lab, ovs):
    with running(lab, "onovs", TEXT, check=False) as network:
        yield network


@contextlib.contextmanager
def machine(network, number, **parameters):
    with system_guest(network, number, **parameters) as guest:
        guest.ip(f"address add 10.9.0.{10 + number}/24 dev eth0")
        guest.lan = f"10.9.0.{10 + number}"
        yield guest


@pytest.fixture(scope="module")
def guests(network):
    with machine(network, 1) as one, machine(network, 2) as two:
        yield [one, two]


def links(lab):
    """The host's ends of machines' links."""
    return re.findall(r"^\d+: (vm[0-9a-f]{6}-v?\d+)@", lab.host.ip("-o link show"), re.MULTILINE)


def reached(guest, *addresses):
    for address in addresses:
        settled(lambda a=address: guest.ping(a, timeout_s=1), f"{address} is reached")


def warning(network):
    return network.describe()["warning"] or ""




def test_all_ways(lab, guests):
    """Guests, host and LAN reach each other; TCP with large segments, and what is large and in pieces."""
    one, two = guests
    addresses = {lab.host: HOST, lab.remote: REMOTE, one: one.lan, two: two.lan}
    reached(one, HOST, REMOTE, two.lan)
    for a, b in itertools.permutations(addresses, 2):
        if {a, b} == {lab.host, lab.remote}:
            continue
        with b.listen(addresses[b], 0) as listener:
            with a.connect(addresses[b], listener.getsockname()[1]) as client:
                accepted, _ = listener.accept()
                with accepted:
                    sent = Background(send_and_end, client, 4 << 20)
                    assert receive_stream(accepted) == (4 << 20, sent.result())
    reached(one, REMOTE)
    assert one.ping(REMOTE, count=3, size=8000)


def send_and_end(stream, size):
    digest = send_stream(stream, size)
    stream.shutdown(socket.SHUT_WR)
    return digest


def test_what_controllers_know_machines_by(lab, ovs, network):
    """The port is on the bridge while the machine is there, and has its external_ids."""
    identity = "6d3e1c74-0c5c-4b39-9a3c-4e2fb7d8a001"
    before = set(ovs.ports_on())
    with network.attach(name="known", mac="52:54:00:12:34:56", interfaceId=identity):
        (port,) = set(ovs.ports_on()) - before
        assert ovs.external_ids(port) == {
            "iface-id": identity, "attached-mac": "52:54:00:12:34:56", "iface-status": "active",
            "vm-id": "known", "openvmnet-network": "onovs",
        }  # fmt: skip
        assert ovs.vsctl("get", "Interface", port, "ofport").strip() not in ("[]", "-1")
    settled(lambda: set(ovs.ports_on()) == before, "the port is gone")
    settled(lambda: port not in links(lab), "the link is gone")


def test_mac_that_is_learnt(ovs, network):
    """The port is on the bridge when it is known whose it is."""
    before = set(ovs.ports_on())
    port = network.attach(name="g7", learnMac=True)
    port.mac = "52:54:00:00:02:01"
    with Guest(network, port) as guest:
        assert set(ovs.ports_on()) == before
        guest.ip_batch("link set eth0 up\naddress add 10.9.0.17/24 dev eth0\n")
        reached(guest, HOST, REMOTE)
        (name,) = set(ovs.ports_on()) - before
        assert ovs.external_ids(name)["attached-mac"] == port.mac
    settled(lambda: set(ovs.ports_on()) == before, "the port is gone")


def test_detached(lab, ovs, network):
    """The port leaves the bridge though its machine goes on, and another may have its MAC."""
    before = set(ovs.ports_on())
    facts = {"name": "twice", "mac": "52:54:00:12:34:57"}
    with network.attach(**facts) as port:
        (name,) = set(ovs.ports_on()) - before
        network.call("Detach", interface=port.interface)
        assert set(ovs.ports_on()) == before and name not in links(lab)
        with network.attach(**facts):
            (again,) = set(ovs.ports_on()) - before
            assert ovs.external_ids(again)["attached-mac"] == port.mac
    settled(lambda: set(ovs.ports_on()) == before, "the port is gone")


def test_name_of_one_that_is_gone(ovs, network):
    """The next machine has its port's name, and is connected: ovs-vswitchd sees that it is another."""
    names = set()
    for number in range(20, 24):
        with machine(network, number) as guest:
            names.add(ovs.port_of(guest.mac))
            reached(guest, HOST)
    assert len(names) < 4


def test_mac_of_the_bridge_is_refused(lab, network):
    mac = re.search(r"ether (\S+)", lab.host.ip("link show dev ovsbr0"))[1]
    with pytest.raises(Failed, match="another one"):
        network.attach(name="twin", mac=mac)


def test_nobody_speaks_for_another(lab, network, guests):
    one, two = guests
    nobody_speaks_for_another(network, (one, one.lan), (two, two.lan), lab.remote, "lan1")


def test_isolated(lab, network, guests):
    """From and to no other machine, though the host's switch would pass it on; but to host and LAN."""
    one, two = guests
    with machine(network, 5, isolated=True) as alone:
        reached(alone, HOST, REMOTE)
        assert alone.ping(one.lan, timeout_s=1) == 0
        assert one.ping(alone.lan, timeout_s=1) == 0
        assert one.ping(two.lan) == 1
        assert drops(network, one)["isolated"] and drops(network, alone)["isolated"]
    with machine(network, 6) as other:
        reached(other, one.lan)


def test_hosts_stack_has_no_part(lab, ovs, guests):
    """Packet sockets copy: a frame would come to the host by the machine's link, too, and one to that link's MAC only there."""
    one = guests[0]
    macs = [re.search(r"ether (\S+)", lab.host.ip(f"link show {link}"))[1] for link in (ovs.port_of(one.mac), "ovsbr0")]
    with lab.host.udp("0.0.0.0", 7777) as listener, one.packets() as raw:
        for mac in ("ff:ff:ff:ff:ff:ff", *macs):
            to = "255.255.255.255" if mac.startswith("ff") else HOST
            raw.send(bytes(Ether(src=one.mac, dst=mac) / IP(src=one.lan, dst=to) / UDP(dport=7777) / mac))
        assert [listener.recv(100).decode() for _ in range(2)] == ["ff:ff:ff:ff:ff:ff", macs[1]]


# ---- what may go and come back


def test_database_is_restarted(lab, ovs, network, guests):
    """A machine that comes meanwhile is on the bridge afterwards. (ovs-vswitchd itself moves no frames meanwhile.)"""
    ovs.stop("ovsdb-server")
    settled(lambda: "database does not answer" in warning(network), "told")
    with machine(network, 3) as late:
        assert late.ping(HOST, timeout_s=1) == 0
        ovs.start("ovsdb-server")
        reached(late, HOST, guests[0].lan)
        settled(lambda: not warning(network), "told that it is back")
    settled(lambda: len(links(lab)) == 2 and len(ovs.ports_on()) == 3, "it left")


def test_vswitchd_is_restarted(lab, ovs, network, guests):
    ovs.stop("ovs-vswitchd", signal.SIGKILL)
    settled(lambda: "ovs-vswitchd has ended" in warning(network), "told")
    with machine(network, 3) as late:
        ovs.start("ovs-vswitchd")
        settled(lambda: not warning(network), "told that it is back")
        lab.host.ip("link set ovsbr0 addrgenmode none up")
        lab.host.ip(f"address replace {HOST}/24 dev ovsbr0")
        reached(late, HOST, REMOTE, guests[0].lan)
    reached(guests[0], HOST, guests[1].lan)


def test_port_is_removed_by_hand(lab, ovs, network, guests):
    (port, *_) = [port for port in ovs.ports_on() if port != "lan0"]
    ovs.vsctl("del-port", port)
    settled(lambda: port in ovs.ports_on(), "the port is there again")
    lab.host.ip(f"link del {port}")
    for guest in guests:
        reached(guest, HOST, REMOTE)


def test_bridge_is_made_anew(lab, ovs, network, guests):
    ovs.vsctl("del-br", "ovsbr0")
    settled(lambda: "no bridge ovsbr0" in warning(network), "told")
    ovs.vsctl("add-br", "ovsbr0", "--", "set", "bridge", "ovsbr0", "datapath_type=netdev")
    ovs.vsctl("add-port", "ovsbr0", "lan0")
    lab.host.ip("link set ovsbr0 addrgenmode none up")
    lab.host.ip(f"address add {HOST}/24 dev ovsbr0")
    for guest in guests:
        guest.ip("neigh flush all")  # the bridge has another MAC
        reached(guest, HOST, REMOTE)
    assert not warning(network)


def test_router_is_killed(lab, ovs, network, guests):
    with machine(network, 3):
        network.kill("router")
        settled(lambda: network.process("router") > 1, "a new router")
        assert guests[0].ping(REMOTE) == 1
    settled(lambda: len(ovs.ports_on()) == 3, "it has seen the machine go")
    with machine(network, 4) as new:
        reached(new, REMOTE)


@pytest.mark.parametrize("roles", [("parent",), ("parent", "engine", "router")])
def test_killed(lab, ovs, guests, roles):
    """At last what is ours is gone, at the latest after the next start; others' ports stay."""
    settled(lambda: len(ovs.ports_on()) == 3, "none but the LAN's and those of two guests")
    before = set(ovs.ports_on())
    network = lab.system_network("crash", TEXT)
    with network.attach(name="a"):
        network.kill(*roles)
        settled(lambda: not network.is_running(), "the end")
    with running(lab, "crash", TEXT, check=False):
        settled(lambda: set(ovs.ports_on()) == before, "nothing of an earlier life")
    assert set(ovs.ports_on()) == before
    assert not [link for link in links(lab) if link not in before]


# ---- which interfaces are told as what


def test_interfaces(lab, ovs, guests):
    told = {each["name"]: (each["way"], each["why"]) for each in json.loads(lab.vmnet("interfaces", "--json").stdout)}
    assert told["ovsbr0"][0] == "openvswitch"
    assert told["lan0"] == ("none", "a port of Open vSwitch's bridge ovsbr0")
    assert told["ovs-netdev"] == ("none", "Open vSwitch's own")
    assert told["out0"][0] == "wired"
    assert told[links(lab)[0]] == ("none", "of network onovs")
    user = lab.user()
    told = {each["name"]: each["why"] for each in json.loads(user.vmnet("interfaces", "--json").stdout)}
    assert told["ovsbr0"] == "a machine's port, or Open vSwitch's, as root is told"


def test_refused(lab, ovs, network):
    for ifname, expected in (("lan0", "a port of Open vSwitch's bridge ovsbr0"), ("ovs-netdev", "Open vSwitch's own")):
        lab.define("bad", f"mode = bridged\nifname = {ifname}\n")
        result = lab.vmnet("up", "bad", check=False)
        assert result.returncode == 1 and expected in result.stderr, result


def test_port_without_a_mac(lab, network, guests):
    """It has no row until its machine has said which one it is; the bridge's own is not to be had."""
    own = re.search(r"ether (\S+)", lab.host.ip("link show dev ovsbr0"))[1]
    port = network.attach(learnMac=True)
    port.mac = "52:54:00:00:03:01"
    with Guest(network, port) as guest:
        guest.sysctl({"ipv6/conf/eth0/disable_ipv6": 1})
        guest.up()
        with guest.packets() as raw:
            raw.send(bytes(Ether(src=own, dst="02:00:00:00:00:01", type=0x88B5)))
        settled(lambda: f"port {port.interface}: its machine has no network: the MAC is that of bridge" in network.log(),
                "it is refused")
        guest.ip("address add 10.9.0.77/24 dev eth0")
        reached(guest, HOST, REMOTE, guests[0].lan)
        assert [each["mac"] for each in network.status()["ports"] if each["interface"] == port.interface] == [port.mac]
