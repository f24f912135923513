# SPDX-License-Identifier: Apache-2.0
"""The network's names do not leave it; the host's search domains, and what its resolvers know, come in."""

import contextlib
import ipaddress
import time

import pytest
from lab import REMOTE4, REMOTE4_B, DNS_KINDS, Network, poll

NOERROR, NXDOMAIN, REFUSED = 0, 3, 5
ASKED = [kind for kind in DNS_KINDS if kind != "ANY"]

FILE = """
mode = {mode}
start-address = 192.168.{subnet}.1
end-address = 192.168.{subnet}.14
subnet-mask = 255.255.255.240

[dns]
store = 192.168.{subnet}.9
db.example.org = 192.168.{subnet}.10

[dhcp-options]
{options}
"""


@pytest.fixture(scope="module")
def config(lab):
    """The user's directory of configuration files."""
    directory = lab.directory / "config" / "openvmnet"
    directory.mkdir(parents=True)
    lab.environment["XDG_CONFIG_HOME"] = str(directory.parent)
    yield directory
    del lab.environment["XDG_CONFIG_HOME"]


@pytest.fixture(autouse=True)
def clear(lab):
    """The host's resolvers as they were, at the end."""
    yield
    path = lab.etc / "resolv.conf"
    if path.is_symlink():
        path.unlink()
    lab.write_resolv_conf(f"nameserver {REMOTE4}\n")


@contextlib.contextmanager
def started(lab, config, name, mode="shared", subnet=171, options=""):
    (config / f"{name}.conf").write_text(FILE.format(mode=mode, subnet=subnet, options=options))
    network = Network(lab, name)
    try:
        lab.vmnet("up", name)
        yield network
    finally:
        network.down()


# ---- nothing of the network's leaves it


@pytest.mark.parametrize("mode", ["shared", "host"])
def test_nothing_leaves(lab, config, mode):
    """The outside sees each question that is asked there: of all types, over UDP and TCP."""
    with lab.dns_server(records={("www.example", "A"): ["192.0.2.80"]}) as outside:
        with started(lab, config, f"quiet-{mode}", mode) as network, network.guest(name="web") as guest:
            facts = network.describe()
            zone4 = "171.168.192.in-addr.arpa"
            prefix = ipaddress.ip_address(facts["ipv6Prefix"].partition("/")[0])
            zone6 = prefix.reverse_pointer.removeprefix("0." * 16)
            names = [
                "web", "nobody", "store", "WEB", "db.example.org", "Db.Example.org",
                f"web.{facts['domain']}", f"nobody.{facts['domain']}", "x.other.vmnet.internal",
                "vmnet.internal", f"2.{zone4}", f"7.{zone4}", f"9.{zone4}", zone6,
                ".".join("0" * 16) + f".{zone6}", ".".join("1" * 16) + f".{zone6}",
            ]
            for name in names:
                for kind in ASKED:
                    # What zones are made of is asked of top-level domains, by who validates.
                    if "." in name or kind not in ("NS", "SOA", "DS"):
                        guest.resolve(name, kind)
                        guest.resolve(name, kind, tcp=True)
            if mode == "shared":
                # They have all been by: a question that comes after them has reached the outside.
                assert guest.resolve("www.example") == (NOERROR, ["192.0.2.80"])
                guest.resolve("example", "DS")
                expected = [("www.example", "A", "udp"), ("example", "DS", "udp")]
                assert network.counters()["dns_kept"] > 0
            else:
                assert guest.resolve("www.example")[0] == REFUSED
                expected = []
            assert outside.queries == expected


def test_records_of_the_file(lab, config):
    """A name with an address of one kind has no other; names below it are the outside's."""
    records = {("db.example.org", "AAAA"): ["2001:db8::1"], ("x.db.example.org", "A"): ["192.0.2.1"]}
    with lab.dns_server(records=records):
        with started(lab, config, "records") as network, network.guest() as guest:
            assert guest.resolve("db.example.org") == (NOERROR, ["192.168.171.10"])
            assert guest.resolve("db.example.org", "AAAA") == (NOERROR, [])
            assert guest.resolve("db.example.org", "AAAA", tcp=True) == (NOERROR, [])
            assert guest.resolve("x.db.example.org") == (NOERROR, ["192.0.2.1"])
            assert guest.resolve("store") == (NOERROR, ["192.168.171.9"])
            assert guest.resolve("store", "HTTPS") == (NOERROR, [])
            assert guest.resolve("9.171.168.192.in-addr.arpa", "PTR")[1] == ["store.records.vmnet.internal"]


def test_names_of_the_hosts_hosts_file(lab, new_network, new_guest):
    """They are the host's, and not told to guests."""
    (lab.etc / "hosts").open("a").write("192.0.2.55 secret.example secret\n")
    guest = new_guest(new_network())
    with lab.dns_server() as outside:
        assert guest.resolve("secret.example")[0] == NXDOMAIN
        assert guest.resolve("secret")[0] == NXDOMAIN
        assert [name for name, _, _ in outside.queries] == ["secret.example"]


# ---- search domains


def lease_search(guest):
    """The domains that DHCP gives, option 119."""
    return guest.dhcp(options=("search",)).get("search", "").split()


def advertised_search(guest):
    """The domains of the router advertisement that a guest gets when it asks: DNSSL."""
    from scapy.layers.inet6 import ICMPv6ND_RA, ICMPv6NDOptDNSSL
    from scapy.layers.l2 import Ether

    with guest.packets("eth0", 0x86DD) as raw:
        guest.ip("link set eth0 down")
        guest.ip("link set eth0 up")  # the kernel solicits
        deadline = time.monotonic() + 8
        while time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError, OSError):
                packet = Ether(raw.recv(2048))
                if ICMPv6ND_RA in packet and ICMPv6NDOptDNSSL in packet:
                    return [name.rstrip(".") for name in packet[ICMPv6NDOptDNSSL].searchlist]
    return None


def test_search_domains(lab, new_network, new_guest):
    lab.write_resolv_conf(f"nameserver {REMOTE4}\nsearch corp.example lab.corp.example\n")
    network = new_network()
    guest = new_guest(network)
    expected = [f"{network.name}.vmnet.internal", "corp.example", "lab.corp.example"]
    assert lease_search(guest) == expected
    assert advertised_search(guest) == expected
    result = lab.vmnet("exec", "--quiet", network.name, "--", "cat", "/etc/resolv.conf")
    assert f"search {' '.join(expected)}\n" in result.stdout


@pytest.mark.parametrize("how", ["rewritten", "replaced", "another link", "another target"])
def test_change_of_search_domains(lab, new_network, new_guest, how):
    """It is told to who asks next, though nobody has looked up a name."""
    path, folder = lab.etc / "resolv.conf", lab.etc / "resolve"
    folder.mkdir(exist_ok=True)
    text = f"nameserver {REMOTE4}\nsearch {{}}.example\n"
    (folder / "stub.conf").write_text(text.format("old"))
    (folder / "full.conf").write_text(text.format("new"))
    if "link" in how or "target" in how:
        path.unlink()
        path.symlink_to("resolve/stub.conf")
    else:
        lab.write_resolv_conf(text.format("old"))
    network = new_network()
    guest = new_guest(network)
    own = f"{network.name}.vmnet.internal"
    assert lease_search(guest) == [own, "old.example"]
    if how == "another link":
        (folder / "link").symlink_to("resolve/full.conf")
        (folder / "link").rename(path)
    elif how == "another target":
        (folder / "new").write_text(text.format("new"))
        (folder / "new").rename(folder / "stub.conf")
    else:
        lab.write_resolv_conf(text.format("new"), rename=how == "replaced")
    assert poll(lambda: lease_search(guest) == [own, "new.example"])
    # The advertisement too, and a router that is started anew says the same.
    if how == "replaced":
        network.kill("router")
        assert poll(lambda: network.process("router") and network.process("dnsmasq"))
        assert advertised_search(guest) == [own, "new.example"]
        network.kill("engine")
        lab.write_resolv_conf(f"nameserver {REMOTE4}\n", rename=True)
        assert poll(lambda: lease_search(guest) == [own])


def test_search_domains_that_are_too_much(lab, new_network, new_guest):
    """Those that there is room for; none of it breaks what else a guest is told."""
    long = ["a" * 60 + f"{n}.example" for n in range(5)]
    lab.write_resolv_conf(f"nameserver {REMOTE4}\nsearch option:router,1.2.3.4 {' '.join(long)}\n")
    network = new_network()
    guest = new_guest(network)
    assert lease_search(guest) == [f"{network.name}.vmnet.internal", *long[:3]]
    assert guest.lease["router"] == guest.gateway


def test_search_domains_of_a_host_network(lab, new_network, new_guest):
    lab.write_resolv_conf(f"nameserver {REMOTE4}\nsearch corp.example\n")
    network = new_network("--mode", "host")
    guest = new_guest(network)
    assert lease_search(guest) == [f"{network.name}.vmnet.internal"]
    result = lab.vmnet("exec", "--quiet", network.name, "--", "cat", "/etc/resolv.conf")
    assert f"search {network.name}.vmnet.internal\n" in result.stdout


def test_search_domains_of_the_file(lab, config):
    lab.write_resolv_conf(f"nameserver {REMOTE4}\nsearch corp.example\n")
    with started(lab, config, "own", options="domain-search = only.example") as network:
        with network.guest() as guest:
            assert lease_search(guest) == ["only.example"]


# ---- another resolver may know other things


def test_what_the_old_resolver_said_is_forgotten(lab, new_network, new_guest):
    """As when a VPN comes up: names that there were none of are there now."""
    guest = new_guest(new_network())
    with lab.dns_server(), lab.dns_server(REMOTE4_B, records={("in.vpn.example", "A"): ["192.0.2.7"]}):
        assert guest.resolve("in.vpn.example")[0] == NXDOMAIN
        lab.write_resolv_conf(f"nameserver {REMOTE4_B}\n", rename=True)
        assert poll(lambda: guest.resolve("in.vpn.example") == (NOERROR, ["192.0.2.7"]))
