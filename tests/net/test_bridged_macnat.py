# SPDX-License-Identifier: Apache-2.0
"""Machines under the interface's own MAC (mac-nat): the far end takes and gives what an access point does, no more.

There is no radio here. What stands for one is the remote end: it drops and counts each frame from another MAC than the
station's, and each to one, and returns what the station sends to a group.
"""

import contextlib
import itertools
import json
import re
import shutil
import subprocess

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Ether

from bridged import as_it_was, reaches_all, settled, system_guest, two_guests, unicast, whole_state
from lab import HOST, REMOTE, poll
from system import SystemLab, needs_root, running

pytestmark = needs_root
TEXT = "mode = bridged\nifname = out0\nmac-nat = on\n"
ACCESS_POINT = """
table netdev ap {
  counter foreign_sender { }
  counter foreign_receiver { }
  counter group { }
  chain from_station {
    type filter hook ingress device "in0" priority filter; policy accept;
    ether saddr != %(station)s counter name foreign_sender drop
    ether daddr & 01:00:00:00:00:00 != 00:00:00:00:00:00 counter name group dup to "in0"
  }
  chain to_station {
    type filter hook egress device "in0" priority filter; policy accept;
    ether daddr & 01:00:00:00:00:00 == 00:00:00:00:00:00 ether daddr != %(station)s counter name foreign_receiver drop
  }
}
"""


def station_mac(lab):
    return re.search(r"ether (\S+)", lab.host.ip("link show dev out0"))[1]


def set_access_point(lab):
    forget = "table netdev ap\ndelete table netdev ap\n"
    lab.remote.run(["nft", "-f", "-"], input=forget + ACCESS_POINT % {"station": station_mac(lab)})


def refused(lab, counter):
    listed = json.loads(lab.remote.run(["nft", "-j", "list", "counter", "netdev", "ap", counter]).stdout)
    return listed["nftables"][1]["counter"]["packets"]


@pytest.fixture(scope="module")
def lab():
    with SystemLab() as lab, as_it_was(lab):
        set_access_point(lab)
        yield lab


@pytest.fixture(scope="module")
def network(lab):
    with running(lab, "wlan", TEXT, check=False) as network:
        yield network


@pytest.fixture(scope="module")
def guests(network):
    with two_guests(network) as guests:
        yield guests


def test_all_ways(lab, guests, version):
    places = [lab.host, lab.remote, *guests]
    for a, b in itertools.permutations(places, 2):
        unicast(a, b, version)
    for sender in places:
        reaches_all(sender, places, version)
    if version == 4:
        for sender in places:
            reaches_all(sender, places, 4, broadcast=True)
    assert refused(lab, "group") > 0, "the access point returns nothing"
    assert [refused(lab, name) for name in ("foreign_sender", "foreign_receiver")] == [0, 0]


def test_said(lab, network, guests):
    assert "IP only: machines have the MAC of interface out0" in network.describe()["warning"]
    listed = {each["name"]: each for each in json.loads(lab.vmnet("interfaces", "--json").stdout)}
    assert listed["out0"]["way"] == "mac-nat" and "IP only" in listed["out0"]["why"]
    assert guests[0].mac not in lab.host.run(["bridge", "fdb", "show", "dev", "out0"]).stdout


def test_mac_within_packets(lab, guests):
    """ARP and neighbour discovery say the station's MAC to the LAN, and a machine's own to the host."""
    one, station = guests[0], station_mac(lab)
    for namespace in (lab.remote, lab.host, one):
        namespace.ip("neigh flush all")
    with lab.remote.packets("in0") as wire:
        for address in (REMOTE[4], REMOTE[6], HOST[4], HOST[6]):
            settled(lambda address=address: one.ping(address, timeout_s=1), "reached")
        lab.remote.ip("neigh flush all")
        for address in (one.ipv4, one.ipv6):
            lab.remote.run(["ping", "-n", "-c1", "-W2", address])
        seen, said = set(), []
        wire.settimeout(0.3)
        with contextlib.suppress(TimeoutError):
            while True:
                frame = Ether(wire.recv(2048))
                if ARP in frame and frame[ARP].psrc == one.ipv4:
                    said.append(frame[ARP].hwsrc)
                    seen.add(frame[ARP].op)
                for message, option in ((ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr), (ICMPv6ND_NA, ICMPv6NDOptDstLLAddr)):
                    if message in frame and frame[IPv6].src == one.ipv6 and option in frame:
                        said.append(frame[option].lladdr)
                        seen.add(message)
                        assert frame[message].cksum == checksum(frame[IPv6], message)
    assert {ICMPv6ND_NS, ICMPv6ND_NA, 1} <= seen
    assert set(said) == {station}
    for address in (one.ipv4, one.ipv6):
        assert station in lab.remote.ip(f"neigh show to {address}")
        assert one.mac in lab.host.ip(f"neigh show to {address}")


def checksum(packet, message):
    """What it has to be."""
    copy = packet.copy()
    field = "chksum" if message is UDP else "cksum"
    copy[message].delfieldval(field)
    return getattr(type(packet)(bytes(copy))[message], field)


def on_the_wire(lab, guest, frame, what):
    """What the LAN gets where the guest sends @frame."""
    with lab.remote.packets("in0") as wire, guest.packets() as raw:
        raw.send(bytes(frame))
        while True:
            got = Ether(wire.recv(2048))
            if what in got and got.src == station_mac(lab):
                return got


def test_options_at_each_place(lab, guests):
    mac, station = guests[0].mac, station_mac(lab)
    nonce = b"\x0e\x01abcdef"
    local = guests[0].ip("-6 -o address show dev eth0 scope link").split("inet6 ")[1].split("/")[0]
    solicit = Ether(src=mac, dst="33:33:00:00:00:02") / IPv6(src=local, dst="ff02::2", hlim=255)
    source = ICMPv6NDOptSrcLLAddr(lladdr=mac)
    for message, parts in (
        (ICMPv6ND_RS, ICMPv6ND_RS() / source),
        (ICMPv6ND_NS, ICMPv6ND_NS(tgt="fe80::1") / nonce / bytes(source)),
    ):
        got = on_the_wire(lab, guests[0], solicit / parts, message)
        payload = bytes(got[message])
        assert payload[-6:] == bytes.fromhex(station.replace(":", ""))
        assert got[message].cksum == checksum(got[IPv6], message)


@pytest.mark.parametrize("summed", [True, False])
def test_dhcp_asks_for_broadcast(lab, guests, summed):
    mac = guests[0].mac
    frame = (
        Ether(src=mac, dst="ff:ff:ff:ff:ff:ff") / IP(src="0.0.0.0", dst="255.255.255.255")
        / UDP(sport=68, dport=67, **({} if summed else {"chksum": 0}))
        / BOOTP(chaddr=bytes.fromhex(mac.replace(":", "")), xid=7) / DHCP(options=[("message-type", "discover"), "end"])
    )  # fmt: skip
    got = on_the_wire(lab, guests[0], frame, BOOTP)
    assert got[BOOTP].flags == "B" and got[BOOTP].chaddr[:6] == bytes.fromhex(mac.replace(":", ""))
    assert got[UDP].chksum == (checksum(got[IP], UDP) if summed else 0)


def test_mac_changes(lab, network, guests):
    old = station_mac(lab)
    for mac in ("02:00:5e:10:00:01", old):
        lab.host.ip(f"link set out0 address {mac}")
        set_access_point(lab)
        for namespace in (lab.host, lab.remote, *guests):
            namespace.ip("neigh flush all")
        for address in (REMOTE[4], HOST[4], REMOTE[6], HOST[6]):
            settled(lambda address=address: guests[0].ping(address, timeout_s=1), "reached")
    set_access_point(lab)  # and forget what it got in between


def test_killed(lab):
    """All processes at once: the next start takes away what stays at the interface."""
    host = lab.host
    host.ip_batch("link add lan0 type veth peer name lan1\nlink set lan0 addrgenmode none\n"
                  "link set lan1 addrgenmode none\nlink set lan0 up\nlink set lan1 up\n")  # fmt: skip
    left = lambda: "vmnet-crash" in str(whole_state(host))  # noqa: E731
    text = TEXT.replace("out0", "lan0")
    network = lab.system_network("crash", text)
    with network.attach(name="a"):
        network.kill("parent", "engine", "router")
        settled(lambda: not network.is_running(), "the end")
    assert left()
    with running(lab, "crash", text, check=False):
        pass
    settled(lambda: not left(), "nothing is left")
    host.ip("link del lan0")


def test_dhcp(lab, network):
    """A client that says its own MAC in the request, which has no other way to be told: by broadcast."""
    server = lab.remote.start(
        ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=in0", "--bind-interfaces",
         "--dhcp-range=198.51.100.100,198.51.100.150,255.255.255.0,1h", "--dhcp-leasefile=/dev/null",
         "--dhcp-authoritative", "--no-ping", "--user=root", "--pid-file="],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        with system_guest(network, 7) as guest:
            guest.ip("address flush dev eth0")
            lease = guest.dhcp()
            assert lease["ip"].startswith("198.51.100.1")
            assert guest.ping(REMOTE[4]) == 1 and guest.ping(HOST[4]) == 1
    finally:
        server.terminate()
        server.wait()
        lab.remote.processes.remove(server)
    assert refused(lab, "foreign_receiver") == 0


def test_nothing_but_ip(lab, network, guests):
    one, two = guests
    drops = lambda: next(  # noqa: E731
        port["drops"]["not_ip"] for port in network.status()["ports"] if port["name"] == one.port.name
    )
    before = drops()
    assert before == 0, "the port's own announcement is counted"
    with one.packets() as raw, two.packets(kind=0x88B5) as inside:
        raw.send(bytes(Ether(src=one.mac, dst="ff:ff:ff:ff:ff:ff", type=0x88B5) / (b"x" * 46)))
        assert inside.recv(2048), "machines of the network have more than IP between them"
    settled(lambda: drops() > before, "counted")
    assert refused(lab, "foreign_sender") == 0


def test_address_moves(lab, network, guests):
    """Whose an address is is who says so last, and nobody when its machine has gone."""
    known = lambda: lab.host.run(["nft", "list", "map", "netdev", "vmnet-wlan", "owners4"]).stdout  # noqa: E731
    address = "198.51.100.77"
    guests[0].ip(f"address add {address}/24 dev eth0")
    reach = ["ping", "-n", "-c1", "-W1", address]
    settled(lambda: lab.remote.run(reach, check=False).returncode == 0, "reached at the first")
    assert re.search(rf"{address} .*{guests[0].mac}", known())
    guests[0].ip(f"address del {address}/24 dev eth0")
    with system_guest(network, 8) as other:
        other.ip(f"address add {address}/24 dev eth0")
        with other.packets() as raw:
            raw.send(bytes(Ether(src=other.mac, dst="ff:ff:ff:ff:ff:ff") / ARP(hwsrc=other.mac, psrc=address, pdst=address)))
        other.ping(REMOTE[4])
        lab.remote.ip("neigh flush all")
        settled(lambda: lab.remote.run(reach, check=False).returncode == 0, "reached at the second")
        assert re.search(rf"{address} .*{other.mac}", known())
    settled(lambda: address not in known(), "forgotten")


def test_address_of_the_host(lab, guests):
    """It stays the host's whoever says that it has it."""
    one = guests[0]
    with one.packets() as raw:
        for op in (1, 2):
            raw.send(bytes(Ether(src=one.mac, dst="ff:ff:ff:ff:ff:ff")
                           / ARP(op=op, hwsrc=one.mac, psrc=HOST[4], pdst=HOST[4])))  # fmt: skip
    lab.remote.ip("neigh flush all")
    assert lab.remote.run(["ping", "-n", "-c2", "-i0.2", "-W2", HOST[4]]).returncode == 0
    lab.host.ip("neigh flush all")
    assert lab.host.run(["ping", "-n", "-c2", "-i0.2", "-W2", REMOTE[4]]).returncode == 0


def test_inventing_addresses(lab, network, guests):
    """A machine has a number of new ones and then a few a minute; those that are known go on, others' too."""
    known = lambda: lab.host.run(["nft", "list", "map", "netdev", "vmnet-wlan", "owners4"]).stdout  # noqa: E731
    with system_guest(network, 9) as liar:
        liar.ping(REMOTE[4])
        with liar.packets() as raw:
            for number in range(100):
                raw.send(bytes(Ether(src=liar.mac, dst="ff:ff:ff:ff:ff:ff")
                               / ARP(hwsrc=liar.mac, psrc=f"198.51.100.{150 + number}", pdst=REMOTE[4])))  # fmt: skip
        assert liar.ping(REMOTE[4]) == 1 and guests[0].ping(REMOTE[4]) == 1
        assert 20 < known().count(liar.mac) < 40
    settled(lambda: liar.mac not in known(), "forgotten")


def test_router_is_killed(lab, network, guests):
    """The next one knows whose each address is."""
    assert guests[0].ping(REMOTE[4]) == 1
    network.kill("router")
    settled(lambda: network.process("router") > 1, "a new router")
    for address in guests[0].addresses.values():
        assert lab.remote.run(["ping", "-n", "-c1", "-W1", address], check=False).returncode == 0
    lab.host.run(["nft", "flush", "ruleset"])
    for address in (REMOTE[4], REMOTE[6], HOST[4]):
        settled(lambda address=address: guests[0].ping(address, timeout_s=1), "mended")


def test_interface_comes_back(lab):
    """Another one under its name, with another index and MAC."""

    def make_link():
        lab.host.ip_batch(
            f"link add lan0 type veth peer name lan1 netns /proc/{lab.remote.holder.pid}/ns/net\n"
            "link set lan0 up\naddress add 10.9.0.1/24 dev lan0\n"
        )
        lab.remote.ip_batch("link set lan1 up\naddress add 10.9.0.2/24 dev lan1\n")

    make_link()
    with running(lab, "back", TEXT.replace("out0", "lan0"), check=False) as network:
        with system_guest(network, 1) as guest:
            guest.ip("address add 10.9.0.11/24 dev eth0")
            for again in (False, True):
                if again:
                    lab.host.ip("link del lan0")
                    settled(lambda: "lan0 is gone" in network.log(), "told")
                    make_link()
                    guest.ip("neigh flush dev eth0")
                for address in ("10.9.0.1", "10.9.0.2"):
                    settled(lambda address=address: guest.ping(address, timeout_s=1), "reached")
                mac = re.search(r"ether (\S+)", lab.host.ip("link show dev lan0"))[1]
                assert mac in lab.remote.ip("neigh show to 10.9.0.11")
    lab.host.ip("link del lan0")


def test_wireless(lab):
    """What sysfs says is wireless needs no key. It is one that stands for it."""
    lab.host.ip_batch("link add lan0 type veth peer name lan1\nlink set lan0 up\nlink set lan1 up\n")
    sysfs = lab.directory / "sysfs"
    (sysfs / "lan0" / "phy80211").mkdir(parents=True)
    (sysfs / "lan0" / "ifindex").write_text(lab.host.ip("-o link show lan0").partition(":")[0])
    lab.define("radio", "mode = bridged\nifname = lan0\n")
    lab.host.run(["unshare", "-m", "sh", "-c",
                  f"mount --bind {sysfs} /sys/class/net && exec {lab.vmnet_path} up radio"])  # fmt: skip
    network = lab.system_network("radio", start=False)
    try:
        assert "IP only" in network.describe()["warning"]
    finally:
        network.down()
        shutil.rmtree(sysfs)
    lab.host.ip("link del lan0")


def test_refused(lab):
    lab.host.ip_batch("link add br7 type bridge\nlink set br7 up\n")
    for text, expected in (
        ("mode = bridged\nifname = br7\nmac-nat = on\n", "wired or wireless"),
        ("mode = shared\nmac-nat = on\n", "mode=bridged alone"),
        ("mode = bridged\nmac-nat = perhaps\n", "neither on nor off"),
    ):
        lab.define("bad", text)
        result = lab.vmnet("up", "bad", check=False)
        assert result.returncode == 1 and expected in result.stderr, result
    lab.host.ip("link del br7")
    assert poll(lambda: "br7" not in lab.host.ip("link show"))
