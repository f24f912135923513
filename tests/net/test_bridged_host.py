# SPDX-License-Identifier: Apache-2.0
"""Bridged networks that come and go: what they leave to the host, and what others do to them."""

import json
import os
import re

import pytest

from bridged import BridgedNetwork, foreign_filters, settled, tc_state, whole_state
from lab import HOST, REMOTE, LabError, host_state_changes

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="bridged networks need an interface of the host, and so root"
)

def reached(guest, *addresses):
    """A tap that is new may take a second until its kernel lets frames out."""
    for address in addresses:
        settled(lambda address=address: guest.ping(address, timeout_s=1), f"{address} is reached")


def own_state(namespace):
    """What is the host's own: without the link of the network, and what the interface takes on for it."""
    shown = [
        namespace.ip(text)
        for text in ("-d link show dev out0", "address show dev out0", "route show table all",
                     "-6 route show table all", "rule", "-6 rule")  # fmt: skip
    ]
    text = re.sub(r"ALLMULTI,?|(allmulti|promiscuity|qdisc|valid_lft|preferred_lft) \S+", "", "\n".join(shown))
    return [line for line in text.splitlines() if "vmnet-" not in line]


def test_host_keeps_all(lab):
    before = own_state(lab.host)
    settings = whole_state(lab.host)
    with BridgedNetwork(lab) as network, network.guest(1) as guest:
        assert own_state(lab.host) == before
        during = whole_state(lab.host)
        changed = [name for name in settings if "/conf/" not in name and name.startswith("/proc")
                   and settings[name] != during[name]]  # fmt: skip
        assert not changed
        reached(guest, HOST[4])
        shown = lab.host.ip("address show dev vmnet-lan")
        assert "inet" not in shown, "the link has an address of its own"
    assert not host_state_changes(settings, whole_state(lab.host))


def test_others_filters_stay(lab):
    """A clsact qdisc and filters of somebody else, who comes before us or after."""
    tc = lambda text: lab.host.run(["tc", *text.split()])  # noqa: E731
    theirs = "filter add dev out0 ingress prio 5 protocol ip u32 match ip dst 203.0.113.9/32 flowid 1:1"
    tc("qdisc add dev out0 clsact")
    tc(theirs)
    before = whole_state(lab.host)
    with BridgedNetwork(lab) as network, network.guest(1) as guest:
        reached(guest, REMOTE[4], HOST[4])
    assert not host_state_changes(before, whole_state(lab.host))
    tc("qdisc del dev out0 clsact")
    with BridgedNetwork(lab) as network, network.guest(1) as guest:
        tc(theirs.replace("prio 5", "prio 77"))
        reached(guest, REMOTE[4])
    assert "203.0.113.9" not in str(tc_state(lab.host)) and "cb007109" in str(tc_state(lab.host))
    tc("qdisc del dev out0 clsact")


@pytest.mark.parametrize("hook, way", [("ingress", "outside to a machine"), ("egress", "the host to a machine")])
def test_filters_do_not_do(lab, hook, way):
    """Others' end the matter for all frames: nftables takes their place. The log has the way that failed."""
    with foreign_filters(lab.host, [hook]):
        before = whole_state(lab.host)
        with BridgedNetwork(lab) as network, network.guest(1) as guest:
            reached(guest, REMOTE[4], HOST[4])
            assert f"a test frame from {way}" in network.log() and "nftables hands on" in network.log()
            listed = {each["name"]: each for each in json.loads(lab.vmnet("interfaces", "--json").stdout)}
            assert listed["out0"]["way"] == "nftables"
        assert not host_state_changes(before, whole_state(lab.host))


def test_no_room_for_filters(lab):
    """Another program's qdisc has a place for what is received alone, as traffic shapers make it."""
    lab.host.run(["tc", "qdisc", "add", "dev", "out0", "ingress"])
    before = whole_state(lab.host)
    with BridgedNetwork(lab) as network, network.guest(1) as guest:
        reached(guest, REMOTE[4], HOST[4])
        assert lab.host.run(["ping", "-n", "-c1", "-W1", guest.ipv4], check=False).returncode == 0
        assert "nftables hands on" in network.log()
    assert not host_state_changes(before, whole_state(lab.host))
    lab.host.run(["tc", "qdisc", "del", "dev", "out0", "ingress"])


def test_nothing_does(lab):
    """Frames are taken away before filters and nftables: refused, and nothing stays."""
    with foreign_filters(lab.host, ["ingress"], action=["action", "mirred", "egress", "redirect", "dev", "lo"]):
        before = whole_state(lab.host)
        with pytest.raises(LabError, match="outside to a machine.*with nftables: .*outside to a machine"):
            BridgedNetwork(lab)
        assert not host_state_changes(before, whole_state(lab.host))


def test_self_test_is_silent(lab):
    """Nothing that it sends leaves the interface."""
    with lab.remote.packets("in0", 0x0003) as wire:
        with BridgedNetwork(lab):
            wire.settimeout(0.3)
            seen = []
            with pytest.raises(TimeoutError):
                while True:
                    seen.append(wire.recv(2048))
        assert not [frame for frame in seen if frame[12:14] == b"\x88\xb5"]


def test_interface_comes_back(lab):
    host, remote = lab.host, lab.remote
    make = (
        f"link add lan0 type veth peer name lan1 netns /proc/{remote.holder.pid}/ns/net\n"
        "link set lan0 up\naddress add 10.9.0.1/24 dev lan0\n"
    )

    def make_link():
        host.ip_batch(make)
        remote.ip_batch("link set lan1 up\naddress add 10.9.0.2/24 dev lan1\n")

    make_link()
    with BridgedNetwork(lab, "lan0") as network, network.guest(1) as guest:
        guest.ip("address add 10.9.0.11/24 dev eth0")
        reached(guest, "10.9.0.2")
        host.ip("link del lan0")
        settled(lambda: "lan0 is gone" in network.log(), "told")
        ours = [each for each in json.loads(lab.vmnet("interfaces", "--json").stdout) if each["why"].startswith("of network")]
        assert [each["canBridge"] for each in ours] == [False]
        make_link()
        guest.ip("neigh flush dev eth0")
        settled(lambda: guest.ping("10.9.0.2", timeout_s=1), "the LAN is reached again")
        assert guest.ping("10.9.0.1") == 1 and "lan0 is there again" in network.log()
        assert "allmulti 1" in host.ip("-d link show dev lan0")
        assert guest.mac in host.run(["bridge", "fdb", "show", "dev", "lan0"]).stdout
    host.ip("link del lan0")


def test_killed(lab):
    before = whole_state(lab.host)
    network = BridgedNetwork(lab)
    with network.guest(1) as guest:
        network.close(kill=True)
        reached(guest, REMOTE[4], HOST[4])  # without any process of ours
    settled(lambda: "vmnet-lan" not in lab.host.ip("link show"), "the link goes with the last guest")
    assert host_state_changes(before, whole_state(lab.host)), "filters stay"
    # Any network's start clears up, that of another interface too.
    with BridgedNetwork(lab, "out0", "next") as network, network.guest(2) as guest:
        reached(guest, REMOTE[4])
    assert not host_state_changes(before, whole_state(lab.host))


def test_killed_and_started_again(lab):
    """The same network while a machine of before lives: that one is cut off, and told of."""
    before = whole_state(lab.host)
    network = BridgedNetwork(lab)
    with network.guest(1) as old:
        network.close(kill=True)
        with BridgedNetwork(lab) as again, again.guest(2) as new:
            reached(new, REMOTE[4])
            assert old.ping(REMOTE[4], timeout_s=1) == 0
            assert "cut off" in again.log()
    assert not host_state_changes(before, whole_state(lab.host))
