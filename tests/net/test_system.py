# SPDX-License-Identifier: Apache-2.0
"""Networks in the host's own namespace: what guests reach, and what not."""

import contextlib
import json
import select

import pytest
from lab import HOST, REMOTE, REMOTE4, poll, send_between
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from system import (
    exchange,
    needs_root,
    normal,
    refused,
    running,
    settings,
    table,
    unchanged_lab,
)

pytestmark = needs_root


@pytest.fixture(scope="module")
def lab():
    with unchanged_lab() as lab:
        yield lab


@pytest.fixture(scope="module")
def network(lab):
    with running(lab, "sys") as network:
        yield network


@pytest.fixture(scope="module")
def other(network):
    with network.guest(name="other") as other:
        yield other


# ---- what a network is


def test_what_the_host_sees(lab, network, guest):
    described = network.describe()
    assert described["plane"] == "system" and described["bridge"] == "vmnet-sys"
    link = json.loads(lab.host.ip("-json address show dev vmnet-sys"))[0]
    addresses = {entry["local"] for entry in link["addr_info"]}
    assert {described["gateway"], described["gateway6"]} < addresses
    ports = json.loads(lab.host.ip("-json link show master vmnet-sys"))
    assert [port["ifname"] for port in ports] == [guest.port.interface]
    assert ports[0]["ifalias"].startswith(guest.mac)
    assert not lab.host.ip(f"-6 address show dev {guest.port.interface}")


def test_reaches_the_world(lab, guest, version):
    assert guest.ping(REMOTE[version]) == 1
    with lab.remote.listen(REMOTE[version]) as listener:
        peer = exchange(listener, lambda port: guest.connect(REMOTE[version], port))
    assert peer == HOST[version]
    with lab.remote.udp(REMOTE[version]) as server, guest.udp(version=version) as client:
        client.sendto(b"q", (REMOTE[version], server.getsockname()[1]))
        data, peer = server.recvfrom(10)
        assert (data, peer[0]) == (b"q", HOST[version])
        server.sendto(b"a", peer)
        assert client.recv(10) == b"a"


def test_only_the_interfaces_that_lead_out_forward(lab, network, guest):
    assert guest.ping(REMOTE4) == 1
    now = settings(lab)
    assert now["/proc/sys/net/ipv4/ip_forward"].strip() == "0"
    assert now["/proc/sys/net/ipv6/conf/all/forwarding"].strip() == "0"
    on = [name for name, value in now.items() if "forwarding" in name and value.strip() == "1"]
    assert on == [
        "/proc/sys/net/ipv4/conf/out0/forwarding",
        "/proc/sys/net/ipv6/conf/out0/force_forwarding",
    ]


def test_guests_of_one_network(guest, other, version):
    assert guest.ping(other.addresses[version]) == 1
    send_between(guest, other, version, 1 << 20)


@pytest.mark.parametrize("link", ("bridge", "port"))
def test_not_by_the_router(lab, network, guest, other, link, version):
    """What a guest sends to the host's MAC, or to that of its port, for another guest goes nowhere."""
    name = {"bridge": network.describe()["bridge"], "port": guest.port.interface}[link]
    mac = json.loads(lab.host.ip(f"-json link show dev {name}"))[0]["address"]
    kind = {4: IP, 6: IPv6}[version]
    packet = bytes(kind(src=guest.addresses[version], dst=other.addresses[version]) / UDP(dport=9))
    assert other.ping(other.gateways[version]) == 1  # the host knows where it is
    with other.packets() as seen, guest.packets() as out:
        out.send(bytes(Ether(src=guest.mac, dst=mac))[:12] + {4: b"\x08\x00", 6: b"\x86\xdd"}[version] + packet)
        assert guest.ping(guest.gateways[version]) == other.ping(other.gateways[version]) == 1
        while select.select([seen], [], [], 0)[0]:
            assert packet[-8:] not in seen.recv(65536)


def test_names(lab, network, guest, other):
    assert guest.resolve("other") == (0, [other.ipv4])
    assert guest.resolve(f"other.{network.describe()['domain']}") == (0, [other.ipv4])
    with lab.dns_server(records={("web.example", "A"): ["203.0.113.9"]}) as server:
        assert guest.resolve("web.example") == (0, ["203.0.113.9"])
        assert guest.resolve("web.example", tcp=True) == (0, ["203.0.113.9"])
        assert server.queries


def test_mtu(guest):
    assert guest.lease["mtu"] == "1500"
    assert guest.ping(REMOTE4, size=1472) == 1


def test_the_host_at_the_gateway(lab, guest, version):
    assert guest.ping(guest.gateways[version]) == 1
    with lab.host.listen(version=version) as listener:
        exchange(listener, lambda port: guest.connect(guest.gateways[version], port))


def test_a_guest_from_the_host(lab, guest, version):
    with guest.listen(version=version) as listener:
        peer = exchange(listener, lambda port: lab.host.connect(guest.addresses[version], port))
    assert peer == guest.gateways[version]


# ---- what a guest does not reach


def test_not_the_host_by_its_own_name(lab, guest, version):
    with lab.host.listen(HOST[version]) as listener:
        assert refused(guest, HOST[version], listener.getsockname()[1])
    assert guest.ping(HOST[version], timeout_s=1) == 0


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "240.0.0.1", "127.0.0.2", "64:ff9b::a9fe:a9fe", "2002:7f00:1::1",
     "2001:0:1:2:3:4:8000:fe", "2001:db8:1::5efe:7f00:1", "::ffff:0:a9fe:1",
     # The host's own 198.51.100.1, for a translator or a tunnel.
     "64:ff9b::c633:6401", "2002:c633:6401::1", "2001:0:1:2:3:4:39cc:9bfe", "2001:db8:1::5efe:c633:6401",
     "::ffff:0:c633:6401", "::ffff:198.51.100.1"],
)
def test_nobody_there(lab, guest, address):
    """The host has a route and a neighbour for it, and nothing gets there nevertheless."""
    version = "-6" if ":" in address else "-4"
    lab.host.ip(f"{version} route add {address} dev out0")
    lab.host.ip(f"neigh add {address} lladdr 02:00:00:00:00:99 dev out0")
    if version == "-4":
        guest.ip("link set lo down")  # 127/8 is the guest's own
        guest.ip(f"route replace {address} via {guest.gateway} dev eth0")
    try:
        with lab.remote.packets("in0") as seen, guest.udp(version=int(version[1])) as client:
            with contextlib.suppress(OSError):
                client.sendto(b"out", (address, 9))
            with contextlib.suppress(OSError):
                client.sendto(b"out", (address, 9))
            assert guest.ping(guest.gateway) == 1
            seen.settimeout(0.2)
            with contextlib.suppress(TimeoutError):
                while True:
                    frame = seen.recv(2000)
                    assert frame[:6] != bytes.fromhex("020000000099"), frame
    finally:
        lab.host.ip(f"neigh del {address} dev out0")
        lab.host.ip(f"{version} route del {address} dev out0")
        if version == "-4":
            guest.ip(f"route del {address} via {guest.gateway} dev eth0")
            guest.ip("link set lo up")


def test_an_address_that_the_host_gets_is_denied(lab, network, guest):
    """Also as a part of an IPv6 address, and not any more when it is gone."""
    lab.host.ip("-6 route add 64:ff9b::/96 via 2001:db8:1::2")
    lab.remote.ip("address add 64:ff9b::cb00:7109/128 dev in0 nodad")  # 203.0.113.9
    try:
        assert guest.ping("64:ff9b::cb00:7109") == 1
        lab.host.ip("address add 203.0.113.9/32 dev out0")
        assert poll(lambda: guest.ping("64:ff9b::cb00:7109", timeout_s=1) == 0)
        lab.host.ip("address del 203.0.113.9/32 dev out0")
        assert poll(lambda: guest.ping("64:ff9b::cb00:7109", timeout_s=1) == 1)
    finally:
        lab.remote.ip("address del 64:ff9b::cb00:7109/128 dev in0")
        lab.host.ip("-6 route del 64:ff9b::/96 via 2001:db8:1::2")


def test_not_in_from_outside(lab, guest, version):
    """Who is beside the host and sends there for a guest does not get in; nor does the host route for others."""
    lab.remote.ip(f"-{version} route add {guest.addresses[version]} via {HOST[version]}")
    try:
        assert lab.remote.run(
            ["ping", "-n", "-c", "2", "-i", "0.1", "-w", "1", guest.addresses[version]], check=False
        ).returncode != 0
    finally:
        lab.remote.ip(f"-{version} route del {guest.addresses[version]} via {HOST[version]}")


def test_the_host_is_no_router_for_others(lab, network):
    """Its interfaces forward now, but only for guests: what others send through it is dropped."""
    lab.host.ip("link add side0 type veth peer name side1")
    try:
        lab.host.ip_batch("address add 203.0.113.1/24 dev side0\nlink set side0 up\n"
                          "link set side1 up\n"
                          "neigh add 203.0.113.2 lladdr 02:00:00:00:00:02 dev side0\n")
        forwarding = "/proc/sys/net/ipv4/conf/side0/forwarding"
        assert poll(lambda: settings(lab)[forwarding].strip() == "1")
        lab.remote.ip(f"route add 203.0.113.0/24 via {HOST[4]}")
        with lab.host.packets("side1") as seen, lab.remote.udp() as sender:
            sender.sendto(b"through", ("203.0.113.2", 9))
            with lab.host.udp(HOST[4]) as own:  # behind it in the same queue
                sender.sendto(b"to the host", own.getsockname())
                assert own.recv(20) == b"to the host"
            seen.settimeout(0.1)
            with pytest.raises(TimeoutError):
                while b"through" not in seen.recv(2000):
                    pass
        lab.remote.ip("route del 203.0.113.0/24")
    finally:
        lab.host.ip("link del side0")
        assert poll(lambda: "side0" not in table(lab, "sys"))


def test_networks_do_not_reach_each_other(lab, guest, version):
    with running(lab, "sys2") as second, second.guest() as stranger:
        with stranger.listen(version=version) as listener:
            assert refused(guest, stranger.addresses[version], listener.getsockname()[1])
        with lab.remote.listen(REMOTE[version]) as listener:
            exchange(listener, lambda port: stranger.connect(REMOTE[version], port))
    # The other one has ended, and what both needed of the host's interfaces is still as it has to be.
    assert guest.ping(REMOTE[version]) == 1


FILE = """mode = shared
deny = 198.51.100.0/24
allow = 198.51.100.2:7777
deny = 2001:db8:1::/64
allow = [2001:db8:1::2]:7777
host-ports = 7001,7010-7012
"""


@pytest.fixture(scope="module")
def ruled(lab, network):
    with running(lab, "ruled", FILE, check=False) as network, network.guest() as guest:
        yield guest


def test_rules_of_the_file(lab, ruled, version):
    with lab.remote.listen(REMOTE[version], 7777) as listener:
        exchange(listener, lambda port: ruled.connect(REMOTE[version], port))
    with lab.remote.listen(REMOTE[version]) as listener:
        assert refused(ruled, REMOTE[version], listener.getsockname()[1])
    assert ruled.ping(REMOTE[version], timeout_s=1) == 0


def test_host_ports(lab, ruled, version):
    for port in (7001, 7011):
        with lab.host.listen(port=port, version=version) as listener:
            exchange(listener, lambda port: ruled.connect(ruled.gateways[version], port))
    with lab.host.listen(port=7002, version=version):
        assert refused(ruled, ruled.gateways[version], 7002)
    assert ruled.ping(ruled.gateways[version]) == 1
    assert ruled.resolve("gateway.ruled.vmnet.internal") == (0, [ruled.gateway])


def test_rules_are_made_anew(lab, network, guest, other):
    rules = normal(table(lab, "sys"))
    for way in ("flush ruleset", "delete table inet vmnet-sys", "flush table bridge vmnet-sys",
                "flush chain inet vmnet-sys forward"):
        lab.host.nft(way)
        assert poll(lambda: normal(table(lab, "sys")) == rules), way
        assert guest.ping(REMOTE4) == 1
        assert guest.ping(other.ipv4) == 1
    assert poll(lambda: "removed by the program 'nft'" in network.log())
