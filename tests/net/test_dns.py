# SPDX-License-Identifier: Apache-2.0
"""Names: the network's own, and those that the host's resolvers know."""

import time

import pytest
from lab import REMOTE4, REMOTE4_B, REMOTE6, Truncated, dns_query, dns_read_answer, poll

NXDOMAIN = 3
MANY = [f"192.0.2.{number}" for number in range(1, 101)]


@pytest.fixture
def resolver(lab):
    """The host's resolver, outside."""
    records = {
        ("www.example", "A"): ["192.0.2.80"],
        ("www.example", "AAAA"): ["2001:db8::80"],
        ("www.example", "TXT"): ["hello"],
        ("many.example", "A"): MANY,
        ("lower.example", "A"): ["192.0.2.1"],
    }
    lab.write_resolv_conf(f"nameserver {REMOTE4}\n")
    with lab.dns_server(records=records) as server:
        yield server


@pytest.fixture
def clear(lab):
    """The file as it was, at the end."""
    yield
    lab.write_resolv_conf(f"nameserver {REMOTE4}\n")


@pytest.fixture
def fresh_guest(new_network, new_guest):
    """On a network of its own: whose DNS server has nothing in its cache."""
    return new_guest(new_network())


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_outside_name(guest, resolver, version, tcp):
    server = guest.gateways[version]
    assert guest.resolve("www.example", "A", server, tcp) == (0, ["192.0.2.80"])
    assert guest.resolve("www.example", "AAAA", server, tcp) == (0, ["2001:db8::80"])
    assert guest.resolve("www.example", "TXT", server, tcp) == (0, ["hello"])
    assert guest.resolve("nothing.example", "A", server, tcp)[0] == NXDOMAIN


def test_large_answer(fresh_guest, resolver, version):
    """Truncated over UDP; asked again over TCP, all the way to the host's resolver."""
    server = fresh_guest.gateways[version]
    with pytest.raises(Truncated):
        fresh_guest.resolve("many.example", "A", server)
    code, values = fresh_guest.resolve("many.example", "A", server, tcp=True)
    assert code == 0 and sorted(values) == sorted(MANY)
    assert ("many.example", "A", "tcp") in resolver.queries


def test_many_names_at_once(guest, lab, resolver):
    """200 questions before the first answer."""
    for number in range(200):
        resolver.records[f"n{number}.example", "A"] = [f"192.0.2.{number % 250 + 1}"]
    with guest.udp() as asking:
        expected = {}
        for number in range(200):
            # Ids of our own: of 50 random ones two are the same now and then.
            query = number.to_bytes(2, "big") + dns_query(f"n{number}.example")[2:]
            expected[query[:2]] = f"192.0.2.{number % 250 + 1}"
            asking.sendto(query, (guest.gateway, 53))
            if number % 50 == 49:  # dnsmasq takes 150 at once; a dropped one is asked again
                for _ in range(50):
                    answer = asking.recv(65536)
                    assert dns_read_answer(answer) == (0, [expected.pop(answer[:2])])
        assert not expected


@pytest.mark.parametrize("rename", [False, True], ids=["rewritten", "replaced"])
def test_change_of_resolvers(lab, fresh_guest, resolver, clear, rename):
    with lab.dns_server(REMOTE4_B, records={("www.example", "A"): ["192.0.2.81"],
                                            ("new.example", "A"): ["192.0.2.82"]}) as second:
        assert fresh_guest.resolve("www.example") == (0, ["192.0.2.80"])
        lab.write_resolv_conf(f"# another one\nnameserver {REMOTE4_B}\n", rename)
        assert fresh_guest.resolve("new.example") == (0, ["192.0.2.82"])
        assert not [name for name, _, _ in resolver.queries if name == "new.example"]
        assert [name for name, _, _ in second.queries if name == "new.example"]


def test_resolver_with_ipv6(lab, fresh_guest, clear):
    lab.write_resolv_conf(f"nameserver {REMOTE6}\n")
    with lab.dns_server(REMOTE6, records={("six.example", "A"): ["192.0.2.6"]}):
        assert fresh_guest.resolve("six.example") == (0, ["192.0.2.6"])


@pytest.mark.parametrize("how", ["refuses", "is silent", "is not there"])
def test_first_resolver_does_not_answer(lab, fresh_guest, clear, how):
    """The second one does, within the time that a guest's resolver waits (5 s); and is kept."""
    first = "198.51.100.66" if how == "is not there" else REMOTE4
    lab.write_resolv_conf(f"nameserver {first}\nnameserver {REMOTE4_B}\n")
    records = {(f"{name}.example", "A"): ["192.0.2.9"] for name in "abc"}
    servers = [lab.dns_server(REMOTE4_B, records=records)]
    if how == "is silent":
        servers.append(lab.dns_server(REMOTE4, silent=True))
    for server in servers:
        server.__enter__()
    try:
        start = time.monotonic()
        assert fresh_guest.resolve("a.example", timeout_s=4.5) == (0, ["192.0.2.9"])
        assert time.monotonic() - start < (0.9 if how == "refuses" else 4)
        start = time.monotonic()
        assert fresh_guest.resolve("b.example") == (0, ["192.0.2.9"])
        assert time.monotonic() - start < 0.9  # one that is silent is given a second
        if how == "is silent":
            # Truncated: over TCP too the one that answers is asked.
            servers[0].records["many.example", "A"] = MANY
            assert len(fresh_guest.resolve("many.example", tcp=True, timeout_s=5)[1]) == len(MANY)
    finally:
        for server in servers:
            server.__exit__()


def test_names_of_the_network(guest, new_guest, network, resolver, version):
    other = new_guest(name="web")
    domain = network.describe()["domain"]
    kind = "A" if version == 4 else "AAAA"
    server = guest.gateways[version]
    assert guest.resolve(f"gateway.{domain}", kind, server) == (0, [guest.gateways[version]])
    assert poll(lambda: guest.resolve("web", "A", server) == (0, [other.ipv4]))
    assert guest.resolve(f"web.{domain}", "A", server) == (0, [other.ipv4])
    assert guest.resolve(f"WEB.{domain}", "A", server) == (0, [other.ipv4])
    if version == 6:  # known once the guest has used its address
        assert poll(lambda: guest.resolve(f"web.{domain}", kind, server) == (0, [other.ipv6]), 20)


def test_names_of_networks_stay_inside(guest, network, resolver):
    domain = network.describe()["domain"]
    for name in ("vm77", f"vm77.{domain}", f"gateway.{domain}", "x.other.vmnet.internal",
                 "vmnet.internal", f"deep.er.{domain}"):
        for kind in ("A", "AAAA", "TXT"):
            guest.resolve(name, kind)
    assert guest.resolve(f"vm77.{domain}")[0] == NXDOMAIN
    # A name of the outside that is asked for after them has come through.
    assert guest.resolve("lower.example") == (0, ["192.0.2.1"])
    own = [query for query in resolver.queries if query[0].endswith("vmnet.internal")]
    assert not own


def test_short_names_stay_inside(guest, resolver):
    """A name without a dot is a machine of this network or of none."""
    guest.resolve("nosuchmachine")
    assert guest.resolve("www.example", "TXT") == (0, ["hello"])
    assert not [query for query in resolver.queries if query[0] == "nosuchmachine"]


def test_addresses_of_the_network_stay_inside(guest, resolver):
    reverse = ".".join(reversed(guest.ipv4.split("."))) + ".in-addr.arpa"
    code, values = guest.resolve(reverse, "PTR")
    assert code == 0 and values[0].startswith(guest.port.name)
    unknown = "250." + reverse.partition(".")[2]
    guest.resolve(unknown, "PTR")
    assert not [query for query in resolver.queries if query[0].endswith("in-addr.arpa")]


def test_name_of_a_guest_that_is_gone(guest, network, resolver):
    with network.guest(name="brief", configure=False) as other:
        assert poll(lambda: guest.resolve("brief") == (0, [other.ipv4]))
    assert poll(lambda: guest.resolve("brief")[0] == NXDOMAIN)
