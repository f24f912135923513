# SPDX-License-Identifier: Apache-2.0
"""What a network does without dhcp, dns, ra, nat44 or nat66 and that the others stay; whose addresses are whose."""

import contextlib
import errno
import ipaddress
import re
import select
import socket
import time

import pytest
from lab import HOST, REMOTE, LabError, poll, read_exactly
from test_dhcp import router_advertisement
from test_host_mode import route_to, seen_by_engine

ABSENT_S = 1  # what would come, comes within milliseconds
WEB = {("www.example", "A"): ["192.0.2.80"]}
RDNSS, DNSSL = 25, 31  # RFC 8106


def without(lab, *switches):
    return lab.network("-".join(["no", *switches]), *[word for name in switches for word in (f"--{name}", "off")])


def reaches(lab, guest, address, version):
    """A connection to a listener at @address of the remote or the host."""
    where = lab.host if address == HOST[version] else lab.remote
    target = guest.gateways[version] if where is lab.host else address
    with where.listen(address, version=version) as listener:
        with guest.connect(target, listener.getsockname()[1]) as client:
            accepted, _ = listener.accept()
            with accepted:
                accepted.sendall(b"x")
                return read_exactly(client, 1) == b"x"


def frames_from_port(seen, port):
    """How many of the captured IPv4 frames are UDP from @port."""
    found = 0
    while select.select([seen], [], [], 0)[0]:
        frame = seen.recv(65536)
        found += frame[23] == 17 and frame[34:36] == port.to_bytes(2, "big")
    return found


def test_dhcp(lab):
    """Nobody answers a DISCOVER; addresses are the guests' own choice."""
    network = without(lab, "dhcp")
    try:
        with network.guest(configure=False) as guest:
            guest.up()
            with guest.packets(kind=0x0800) as seen:
                assert guest.dhcp(tries=1, check=False) == {}
                assert frames_from_port(seen, 67) == 0
            subnet = ipaddress.IPv4Network(network.describe()["subnet"])
            for address in (guest.ipv4, str(subnet[200])):
                guest.ip_batch(f"address flush dev eth0 scope global\naddress add {address}/24 dev eth0\n")
                route_to(guest, 4)
                assert reaches(lab, guest, REMOTE[4], 4) and reaches(lab, guest, HOST[4], 4)
            assert guest.resolve(f"gateway.{network.name}.vmnet.internal") == (0, [guest.gateway])
            with guest.udp() as asking:
                asking.connect((guest.gateway, 67))
                asking.send(b"x")
                with pytest.raises(ConnectionRefusedError):
                    asking.recv(1)
            guest.ip("address flush dev eth0 scope global")
            assert router_advertisement(guest)["options"] >= {RDNSS, DNSSL}
            guest.wait_ipv6()
            assert reaches(lab, guest, REMOTE[6], 6)
    finally:
        network.down()


def test_dns(lab, version):
    """Port 53 of the gateway is closed, and guests are told of no server; others are reached."""
    network = without(lab, "dns")
    try:
        with network.guest() as guest, lab.dns_server(address=REMOTE[version], records=WEB) as server:
            lease = guest.dhcp(options=("mtu", "domain", "dns", "search"))
            assert lease["router"] == guest.gateway and lease["mtu"] == "1500"
            assert not {"dns", "domain", "search"} & set(lease)
            told = router_advertisement(guest)
            assert told["lifetime_s"] == 1800 and not told["options"] & {RDNSS, DNSSL}
            with pytest.raises(ConnectionRefusedError):
                guest.resolve("www.example", server=guest.gateways[version], tcp=True)
            with guest.udp(version=version) as asking:
                asking.settimeout(ABSENT_S)
                asking.connect((guest.gateways[version], 53))
                asking.send(b"x")
                with pytest.raises(ConnectionRefusedError):
                    asking.recv(1)
            assert guest.resolve("www.example", server=REMOTE[version]) == (0, ["192.0.2.80"])
            assert server.queries
    finally:
        network.down()


def test_ra(lab):
    """No advertisement is sent: not when asked, nor when the way out comes back. IPv6 works by hand."""
    network = without(lab, "ra")
    route = lab.host.ip("-6 route show default").strip()
    try:
        with network.guest(configure=False) as guest:
            guest.up()
            guest.dhcp()
            with guest.packets(kind=0x86DD) as seen:
                assert router_advertisement(guest, ABSENT_S) is None
                lab.host.ip(f"-6 route del {route}")
                assert poll(lambda: not network.describe()["ipv6Default"])
                lab.host.ip(f"-6 route add {route}")
                assert poll(lambda: network.describe()["ipv6Default"])
                guest.ping(guest.gateway)
                types = set()
                while select.select([seen], [], [], 0)[0]:
                    frame = seen.recv(65536)
                    types |= {frame[54]} if frame[20] == 58 else set()
                assert 134 not in types, types
            assert "dynamic" not in guest.ip("-6 -o address show dev eth0 scope global")
            prefix = ipaddress.IPv6Network(network.describe()["ipv6Prefix"])
            guest.ip(f"address add {prefix[77]}/64 dev eth0 nodad")
            route_to(guest, 6)
            assert reaches(lab, guest, REMOTE[6], 6) and reaches(lab, guest, REMOTE[4], 4)
    finally:
        with contextlib.suppress(Exception):
            lab.host.ip(f"-6 route replace {route}")
        network.down()


@pytest.fixture(scope="module", params=["nat44", "nat66"])
def halved(lab, request):
    """A network with a way out for one IP version, a guest on it, and the version that has none."""
    network = without(lab, request.param)
    try:
        with network.guest() as guest:
            yield network, guest, 4 if request.param == "nat44" else 6
    finally:
        print(network.log())
        network.down()


def test_nat_is_not_told(halved):
    """A guest gets no default route that leads nowhere."""
    _, guest, version = halved
    assert ("router" in guest.lease) == (version == 6)
    assert router_advertisement(guest)["lifetime_s"] == (1800 if version == 4 else 0)
    assert guest.ip(f"-{version} route show default") == ""
    assert guest.ip(f"-{10 - version} route show default") != ""


def test_nat(lab, halved):
    """Who insists is told at once that there is no way; the host and the other IP version are reached."""
    network, guest, version = halved
    route_to(guest, version)
    target = REMOTE[version]
    assert guest.ping(guest.gateways[version]) == 1
    before = seen_by_engine(network)
    with lab.remote.listen(target) as listener:
        start = time.monotonic()
        with pytest.raises(OSError) as failed:
            guest.connect(target, listener.getsockname()[1], timeout_s=3)
        assert failed.value.errno in (errno.EHOSTUNREACH, errno.EACCES)
        assert time.monotonic() - start < 2
        assert not select.select([listener], [], [], 0)[0]
    result = guest.run(["ping", "-n", "-c", 1, "-w", 2, target], check=False)
    assert "Packet filtered" in result.stdout or "prohibited" in result.stdout, result.stdout
    with guest.udp(version=version) as asking:
        asking.setsockopt(socket.SOL_IP, 11, 1) if version == 4 else asking.setsockopt(41, 25, 1)
        asking.connect((target, 9))
        asking.send(b"x")
        asking.settimeout(ABSENT_S)
        with pytest.raises(OSError) as failed:
            asking.recv(1)
        assert failed.value.errno in (errno.EHOSTUNREACH, errno.EACCES)
    assert seen_by_engine(network) == before
    other = 10 - version
    assert reaches(lab, guest, HOST[version], version)
    assert reaches(lab, guest, REMOTE[other], other) and reaches(lab, guest, HOST[other], other)
    with lab.dns_server(records=WEB):
        assert guest.resolve("www.example") == (0, ["192.0.2.80"])
    guest.ip(f"-{version} route del default")


def test_forward_without_nat(lab, halved):
    """A guest without a way to the client sees the gateway, and so can answer."""
    network, guest, version = halved
    literal = f"[{HOST[version]}]" if version == 6 else HOST[version]
    with guest.listen(version=version) as listener:
        inside = f"[{guest.ipv6}]" if version == 6 else guest.ipv4
        text = f"tcp:{literal}:21999-{inside}:{listener.getsockname()[1]}"
        network.call("AddForward", forward=text)
        try:
            with lab.remote.connect(HOST[version], 21999) as client:
                accepted, peer = listener.accept()
                with accepted:
                    assert peer[0] == guest.gateways[version]
                    accepted.sendall(b"x")
                    assert read_exactly(client, 1) == b"x"
        finally:
            network.call("RemoveForward", forward=text)


def test_no_nat_at_all(lab):
    """It is as a host network: no names but its own."""
    network = without(lab, "nat44", "nat66")
    try:
        with network.guest() as guest, lab.dns_server(records=WEB) as server:
            assert guest.ip("-4 route show default") == guest.ip("-6 route show default") == ""
            assert guest.resolve("www.example")[0] in (3, 5)
            assert not server.queries
            assert guest.resolve(f"gateway.{network.name}.vmnet.internal") == (0, [guest.gateway])
    finally:
        network.down()


ADDRESSES = ["--start-address", "10.77.0.1", "--end-address", "10.77.0.100", "--subnet-mask", "255.255.255.0"]
KEPT = "52:54:00:00:00:77"


def test_dhcp_range_and_host(lab):
    """A part of the pool is given out by itself; an address outside of it is kept for a machine."""
    network = lab.network(
        "ranged", *ADDRESSES, "--dhcp-range", "10.77.0.40-10.77.0.41",
        "--dhcp-host", f"{KEPT},10.77.0.7", "--dhcp-host", "52:54:00:00:00:78,10.77.0.41",
    )  # fmt: skip
    try:
        facts = network.describe()
        assert (facts["poolStart"], facts["poolEnd"]) == ("10.77.0.2", "10.77.0.100")
        assert facts["dhcpRange"] == "10.77.0.40-10.77.0.41"
        assert facts["dhcpHosts"] == [f"{KEPT},10.77.0.7", "52:54:00:00:00:78,10.77.0.41"]
        assert re.search(r"given out +10\.77\.0\.40-10\.77\.0\.41\n", lab.vmnet("status", "ranged").stdout)
        with network.guest() as first, network.guest(mac=KEPT) as kept:
            assert first.lease["ip"] == "10.77.0.40"
            assert kept.lease["ip"] == "10.77.0.7"
            assert first.ping("10.77.0.7") == 1
            with pytest.raises(LabError) as failed:  # the other one is kept
                network.attach()
            assert "10.77.0.40 to 10.77.0.41 is used up" in str(failed.value)
        nic = f"network=ranged,dhcp-host={KEPT},,10.77.0.7"
        lab.vmnet("run", "--nic", nic, "--", "true", "{fd}")
        for option, text in (
            (f"dhcp-host={KEPT},,10.77.0.8", f"runs with dhcp-host none, not {KEPT},10.77.0.8"),
            ("start-address=10.77.0.1,end-address=10.77.0.100,subnet-mask=255.255.255.0,"
             "dhcp-range=10.77.0.40-10.77.0.50", "runs with dhcp-range 10.77.0.40-10.77.0.41, not 10.77.0.40-10"),
        ):  # fmt: skip
            result = lab.vmnet("run", "--nic", f"network=ranged,{option}", "--", "true", "{fd}", check=False)
            assert result.returncode == 1 and text in result.stderr, result.stderr
    finally:
        network.down()


def test_reservations_of_a_file(lab):
    """Those that are asked for are the file's, or a contradiction; without addresses the pool is checked at the start."""
    directory = lab.directory / "options" / "openvmnet"
    directory.mkdir(parents=True)
    (directory / "kept.conf").write_text(
        "start-address = 10.78.0.1\nend-address = 10.78.0.9\nsubnet-mask = 255.255.255.0\n"
        f"dhcp-range = 10.78.0.4-10.78.0.5\n[host web]\nmac = {KEPT}\naddress = 10.78.0.9\n"
    )
    lab.environment["XDG_CONFIG_HOME"] = str(directory.parent)
    try:
        assert "gives out 10.78.0.4-10.78.0.5" in lab.vmnet("check", directory / "kept.conf").stdout
        network = lab.network("kept", "--dhcp-host", f"{KEPT},10.78.0.9")
        try:
            assert network.describe()["dhcpHosts"] == [f"{KEPT},10.78.0.9"]
        finally:
            network.down()
        for options, text in (
            (("--dhcp-host", f"{KEPT},10.78.0.8"), "nothing of it in a [host] section"),
            ((*ADDRESSES, "--dhcp-range", "10.77.0.2-10.77.0.3"), "kept.conf says"),
        ):
            result = lab.vmnet("up", "kept", *options, check=False)
            assert result.returncode == 1 and text in result.stderr, result.stderr
        result = lab.vmnet("up", "elsewhere", "--dhcp-host", f"{KEPT},10.78.0.9", check=False)
        assert f"dhcp-host: address 10.78.0.9 of '{KEPT}' is not in the pool" in result.stderr, result.stderr
    finally:
        del lab.environment["XDG_CONFIG_HOME"]


@pytest.mark.parametrize("last", [1, 254, 100])
def test_host_addresses(lab, last):
    """Of a network known by a UUID the host's addresses can be chosen: the first, the last, one in between."""
    uuid = f"9d7ab2f6-0c3c-4b3f-9a0e-6e3bb2a6d{last:03d}"
    asked = {"net-uuid": uuid, "host-ip-address": f"10.79.0.{last}", "host-subnet-mask": "255.255.255.0",
             "host-ipv6-address": "fd00:79::5"}  # fmt: skip
    network = lab.network("", "--mode", "host", *[word for key in asked for word in (f"--{key}", asked[key])])
    try:
        facts = network.describe()
        assert facts["gateway"] == f"10.79.0.{last}" and facts["subnet"] == "10.79.0.0/24"
        assert facts["gateway6"] == "fd00:79::5" and facts["ipv6Prefix"] == "fd00:79::/64"
        with network.guest(configure=False) as guest:
            guest.up()
            assert guest.ipv4 not in (guest.gateway, "10.79.0.0", "10.79.0.255")
            for address in (f"{guest.ipv4}/24", "10.79.0.57/24"):
                guest.ip(f"address add {address} dev eth0")
            guest.ip("address add fd00:79::57/64 dev eth0 nodad")
            for version in (4, 6):
                assert guest.ping(guest.gateways[version]) == 1
                assert reaches(lab, guest, HOST[version], version)
        command = ",".join(f"{key}={asked[key]}" for key in asked)
        lab.vmnet("run", "--nic", f"mode=host,{command}", "--", "true", "{fd}")
        for key, value in (("host-ip-address", "10.79.0.77"), ("host-ipv6-address", "fd00:79::6")):
            command = ",".join(f"{name}={text}" for name, text in (asked | {key: value}).items())
            result = lab.vmnet("run", "--nic", f"mode=host,{command}", "--", "true", "{fd}", check=False)
            assert f"runs with {key} {asked[key]}, not {value}" in result.stderr, result.stderr
    finally:
        network.down()


def test_options_are_the_networks(lab):
    """They are shown, a program on the network is set up by them, and asking for others is refused."""
    network = without(lab, "dns", "ra", "nat44")
    try:
        facts = network.describe()
        assert [facts[name] for name in ("dhcp", "dns", "ra", "nat44", "nat66")] == [True, False, False, False, True]
        shown = lab.vmnet("status", network.name).stdout
        assert re.findall(r"^ +(DHCP|DNS|RA|NAT..) +(\w+)$", shown, re.M) == [
            ("DNS", "no"), ("RA", "no"), ("NAT44", "no")
        ], shown
        said = lab.vmnet("exec", network.name, "--", "/bin/sh", "-c", "cat /etc/resolv.conf; ip -4 route").stdout
        assert "nameserver" not in said and "default" not in said and "eth0" in said
        nic = f"network={network.name},dns=off,nat44=off,dhcp=on,nat66=on"
        lab.vmnet("run", "--nic", nic, "--", "true", "{fd}")
        for option, text in (
            ("dns=on", "runs with dns off, not on; give this one another name"),
            ("dhcp=off", "runs with dhcp on, not off"),
            ("nat66=off", "runs with nat66 on, not off"),
        ):
            result = lab.vmnet("run", "--nic", f"network={network.name},{option}", "--", "true", "{fd}", check=False)
            assert result.returncode == 1 and text in result.stderr, result.stderr
    finally:
        network.down()
