# SPDX-License-Identifier: Apache-2.0
"""mode=host: guests reach each other and the host by the gateway's address, and nothing else."""

import contextlib
import errno
import select
import socket
import time

import pytest
from lab import FAMILY, HOST, HOST4, REMOTE, REMOTE4, dns_query, dns_read_answer, poll, read_exactly
from test_dhcp import router_advertisement
from test_restart import wait_for_another

SEEN = ("tcp_opened", "tcp_refused", "tcp_unreachable", "tcp_timeout", "udp_opened", "echo_up",
        "drop_denied", "drop_protocol", "drop_icmp")
UUID = "9d7ab2f6-0c3c-4b3f-9a0e-6e3bb2a6c002"


@pytest.fixture(scope="module")
def network(lab):
    network = lab.network("inside", "--mode", "host")
    try:
        yield network
    finally:
        print(network.log())
        network.down()


@pytest.fixture(scope="module")
def other(network):
    with network.guest(name="other") as other:
        yield other


def route_to(guest, version):
    """A guest that insists: a default route by the gateway."""
    guest.ip(f"-{version} route replace default via {guest.gateways[version]} dev eth0")


def test_no_default_route(guest):
    assert "router" not in guest.lease
    assert guest.lease["dns"] == guest.gateway
    assert guest.ip("-4 route show default") == ""
    assert guest.ip("-6 route show default") == ""
    assert router_advertisement(guest)["lifetime_s"] == 0


def test_other_guests(guest, other, version):
    assert guest.ping(other.addresses[version]) == 1
    with other.listen(version=version) as listener:
        guest.connect(other.addresses[version], listener.getsockname()[1]).close()
    assert guest.resolve("other") == (0, [other.ipv4])
    assert guest.resolve("other.inside.vmnet.internal") == (0, [other.ipv4])


def test_host(lab, guest, version):
    gateway = guest.gateways[version]
    assert guest.ping(gateway) == 1
    with lab.host.listen(version=version) as listener:
        with guest.connect(gateway, listener.getsockname()[1]) as client:
            accepted, _ = listener.accept()
            with accepted:
                accepted.settimeout(5)
                client.sendall(b"x")
                assert read_exactly(accepted, 1) == b"x"
    with lab.host.udp(HOST[version]) as server, guest.udp(version=version) as client:
        client.sendto(b"q", (gateway, server.getsockname()[1]))
        data, client_address = server.recvfrom(10)
        server.sendto(data + b"a", client_address)
        assert client.recv(10) == b"qa"


def seen_by_engine(network):
    """What the engine has counted of attempts to get out; it gets late segments to the gateway in any case."""
    counters = network.counters()
    return {name: counters[name] for name in SEEN}


def test_nothing_outside(lab, guest, network, version):
    """Told at once, and not by waiting; the engine sees none of it."""
    route_to(guest, version)
    target = REMOTE[version]
    assert guest.ping(guest.gateways[version]) == 1  # the gateway's MAC is known
    before = seen_by_engine(network)
    with lab.remote.listen(target) as listener:
        start = time.monotonic()
        with pytest.raises(OSError) as failed:
            guest.connect(target, listener.getsockname()[1], timeout_s=3)
        assert failed.value.errno in (errno.EHOSTUNREACH, errno.EACCES, errno.ENETUNREACH)
        assert time.monotonic() - start < 2
        assert not select.select([listener], [], [], 0)[0]
    with lab.remote.udp(target) as server, guest.udp(version=version) as client:
        client.sendto(b"x", server.getsockname())
        assert not select.select([server], [], [], 0.1)[0]
    assert guest.ping(target, timeout_s=1) == 0
    # The host's own address is outside, too; its name here is the gateway's.
    with lab.host.listen(version=version) as listener:
        with pytest.raises(OSError):
            guest.connect(HOST[version], listener.getsockname()[1], timeout_s=0.5)
    assert seen_by_engine(network) == before


def test_no_other_protocol(lab, guest, network):
    """Whatever the engine would do with it: it does not come to it."""
    route_to(guest, 4)
    before = seen_by_engine(network)
    with guest.socket(socket.AF_INET, socket.SOCK_RAW, 132) as raw:
        raw.sendto(bytes(12), (REMOTE4, 0))
        raw.sendto(bytes(12), (HOST4, 0))
    assert guest.ping(guest.gateway) == 1
    assert seen_by_engine(network) == before


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_no_names_of_others(lab, guest, tcp):
    with lab.dns_server(records={("www.example", "A"): ["192.0.2.80"]}) as server:
        start = time.monotonic()
        rcode, answers = guest.resolve("www.example", tcp=tcp)
        assert rcode in (3, 5) and not answers  # no such name, refused
        assert time.monotonic() - start < 3  # a server that does not answer takes 5 s
        assert not server.queries
    assert guest.resolve("nobody.vmnet.internal", tcp=tcp)[0] == 3


def test_own_dns_server_of_a_guest(lab, guest):
    """Nor by asking somebody else."""
    route_to(guest, 4)
    with lab.dns_server(records={("www.example", "A"): ["192.0.2.80"]}) as server:
        with guest.socket(FAMILY[4], socket.SOCK_DGRAM) as asking:
            asking.sendto(dns_query("www.example"), (REMOTE4, 53))
            asking.settimeout(0.2)
            with pytest.raises(OSError):
                dns_read_answer(asking.recv(512))
        assert not server.queries


def test_without_dhcp(lab):
    """net-uuid: guests choose their addresses themselves; names of the network are answered."""
    network = lab.network("", "--mode", "host", "--net-uuid", UUID)
    try:
        with network.guest(configure=False) as one, network.guest(configure=False) as two:
            for number, guest in enumerate((one, two), 1):
                guest.up()
                subnet = network.describe()["subnet"]
                address = subnet.replace(".0/", f".{number + 100}/")
                guest.ip(f"address add {address} dev eth0")
                guest.ipv4 = address.split("/")[0]
            assert one.ping(two.ipv4) == 1
            assert one.ping(one.gateway) == 1
            assert one.dhcp(tries=1, check=False) == {}
            assert one.resolve(f"gateway.host-{UUID}.vmnet.internal") == (0, [one.gateway])
            assert "dynamic" not in one.ip("-6 -o address show dev eth0 scope global")
            # A second subnet of their own.
            one.ip("address add 10.5.5.1/24 dev eth0")
            two.ip("address add 10.5.5.2/24 dev eth0")
            assert one.ping("10.5.5.2") == 1
    finally:
        network.down()


def resolves_within(guest, name, limit_s=5):
    """Asks until there is an answer. Returns the seconds that it took."""
    start, query = time.monotonic(), dns_query(name)
    with guest.udp() as asking:
        asking.settimeout(0.02)
        while time.monotonic() < start + limit_s:
            # An answer to any of the questions is one, however slow the machine is.
            with contextlib.suppress(OSError):
                asking.sendto(query, (guest.gateway, 53))
                assert dns_read_answer(asking.recv(512))[0] == 0
                return time.monotonic() - start
    raise AssertionError(f"no answer within {limit_s} s")


def test_ipv6_of_the_host_comes_and_goes(lab, new_network, new_guest):
    """Of a shared network: guests have a router as long as the host has."""
    network = new_network()
    guest = new_guest(network)
    assert "via fe80" in guest.ip("-6 route show default")
    route = lab.host.ip("-6 route show default").strip()
    for has_route in (False, True, False, True):
        lab.host.ip(f"-6 route {'add' if has_route else 'del'} {route}")
        start = time.monotonic()
        assert poll(lambda: ("via" in guest.ip("-6 route show default")) == has_route)
        seconds = time.monotonic() - start
        print(f"told after {seconds:.2f} s")
        assert seconds < 2
        # The address stays; names are away for a moment.
        seconds = resolves_within(guest, "gateway." + guest.port.facts["domain"])
        print(f"names after {seconds:.2f} s")
        assert seconds < 1
        assert guest.wait_ipv6() == guest.ipv6
        assert router_advertisement(guest)["lifetime_s"] == (1800 if has_route else 0)
        assert guest.dhcp()["ip"] == guest.ipv4


def test_new_router_knows_of_ipv6(lab, new_network, new_guest):
    """It advertises what the last one did, not what was true when the network began."""
    network = new_network()
    guest = new_guest(network)
    route = lab.host.ip("-6 route show default").strip()
    lab.host.ip(f"-6 route del {route}")
    try:
        assert poll(lambda: guest.ip("-6 route show default") == "")
        [pid] = network.kill("router")
        wait_for_another(network, "router", pid)
        resolves_within(guest, "gateway." + guest.port.facts["domain"])
        assert poll(lambda: router_advertisement(guest)["lifetime_s"] == 0)
        assert guest.ip("-6 route show default") == ""
    finally:
        lab.host.ip(f"-6 route add {route}")
