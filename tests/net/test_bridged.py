# SPDX-License-Identifier: Apache-2.0
"""Machines on a wired interface of the host, which keeps all that it had."""

import itertools
import os
import re

import pytest

from bridged import (
    BridgedNetwork,
    foreign_filters,
    reaches_all,
    settled,
    unicast,
    whole_state,
)
from lab import HOST, REMOTE, LabError, host_state_changes

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="bridged networks need an interface of the host, and so root"
)


@pytest.fixture(scope="module", params=["filters", "hooks"])
def lan(lab, request):
    """By filters (tc), and by nftables where another program's filters end the matter for all frames."""
    with foreign_filters(lab.host, ["ingress", "egress"] if request.param == "hooks" else []):
        before = whole_state(lab.host)
        with BridgedNetwork(lab) as network:
            network.by = request.param
            assert ("nftables hands on frames" in network.log()) == (network.by == "hooks")
            yield network
        changes = host_state_changes(before, whole_state(lab.host))
        assert not changes, "\n".join(changes)


@pytest.fixture(scope="module")
def guests(lan):
    with lan.guest(1) as one, lan.guest(2) as two:
        yield [one, two]


@pytest.fixture(scope="module")
def places(lab, guests):
    return [lab.host, lab.remote, *guests]


def test_unicast(places, version):
    """Guest, host and LAN, each to each."""
    for a, b in itertools.permutations(places, 2):
        if {a, b} != {places[0], places[1]}:
            unicast(a, b, version)


def test_host_to_lan_as_before(lab, guests, version):
    unicast(lab.host, lab.remote, version)
    unicast(lab.remote, lab.host, version)


def test_multicast(places, version):
    """Each gets one copy; the sender none."""
    for sender in places:
        reaches_all(sender, places, version)


def test_broadcast(places):
    for sender in places:
        reaches_all(sender, places, 4, broadcast=True)


def test_filter_of_the_interface(lab, lan, guests):
    """The interface takes frames for each guest while it is there, and all groups'."""

    def taken():
        return "self" in lab.host.run(["bridge", "fdb", "show", "dev", "out0"]).stdout

    def details():
        return lab.host.ip("-d link show dev out0")

    assert "allmulti 1" in details()
    mac = "52:56:00:00:00:09"
    maddr = lambda: lab.host.run(["bridge", "fdb", "show", "dev", "out0"]).stdout  # noqa: E731
    assert mac not in maddr() and taken() is not None
    with lan.attach(9):
        assert mac in maddr()
        lan.ask(f"remove {mac}")
        assert mac not in maddr()


def test_refused(lab, lan, guests):
    for ifname, expected in (
        ("lo", "loopback"),
        ("nobody0", "No such device"),
        ("out0", "another bridged network (behind vmnet-lan)"),
    ):
        with pytest.raises(LabError, match=re.escape(expected)):
            BridgedNetwork(lab, ifname, "other")
    host_mac = re.search(r"ether (\S+)", lab.host.ip("link show dev out0"))[1]
    for mac in (host_mac, guests[0].mac):
        with pytest.raises(LabError, match="another one"):
            lan.ask(f"add {mac}")


def test_down_and_up(lab, lan, guests):
    one, two = guests
    lab.host.ip("link set out0 down")
    settled(lambda: "out0 is down" in lan.log(), "told that it is down")
    assert one.ping(two.ipv4) == 1, "guests reach each other without the interface"
    lab.host.ip_batch(
        f"link set out0 up\naddress replace {HOST[6]}/64 dev out0 nodad\n"
        f"route replace default via {REMOTE[4]}\nroute replace default via {REMOTE[6]} dev out0\n"
    )
    settled(lambda: "out0 is up again" in lan.log(), "told that it is up")
    for address in (REMOTE[4], HOST[4]):
        settled(lambda address=address: one.ping(address, timeout_s=1), "reached again")


def test_mac_changes(lab, lan, guests, places):
    old = re.search(r"ether (\S+)", lab.host.ip("link show dev out0"))[1]
    for mac in ("02:00:5e:10:00:01", old):
        lab.host.ip(f"link set out0 address {mac}")
        settled(lambda mac=mac: mac in lab.host.ip(f"link show dev {lan.leg}"), "the link follows")
        # Others forget the old one in their own time.
        for namespace in (lab.remote, *guests):
            namespace.ip("neigh flush all")
        settled(lambda: guests[0].ping(HOST[4], timeout_s=1), "the host is reached again")
        for version in (4, 6):
            unicast(guests[0], lab.host, version)
            unicast(lab.host, guests[0], version)


def test_mtu_changes(lab, lan):
    for mtu in (1400, 1500):
        lab.host.ip(f"link set out0 mtu {mtu}")
        settled(lambda mtu=mtu: f"mtu {mtu} " in lab.host.ip(f"link show dev {lan.leg}"), "the link follows")


def test_filters_taken_away(lab, lan, guests):
    one = guests[0]
    at_interface = {
        "filters": ["tc qdisc del dev out0 clsact", "tc filter del dev out0 ingress"],
        "hooks": ["nft flush ruleset", f"nft delete table netdev {lan.leg}"],
    }
    for delete in (*at_interface[lan.by], f"tc qdisc del dev {lan.leg} clsact"):
        lab.host.run(delete.split())
        settled(lambda: one.ping(REMOTE[4], timeout_s=1) and one.ping(HOST[4], timeout_s=1), f"mended: {delete}")
    lab.host.ip(f"link del {lan.leg}")
    settled(lambda: one.ping(REMOTE[4], timeout_s=1), "the link is made again")
    assert "was removed by somebody" in lan.log()
