# SPDX-License-Identifier: Apache-2.0
"""A bridged network of the system on an interface whose filters (tc) are another program's: by nftables, announced."""

import pytest

from bridged import as_it_was, foreign_filters, one_wire_only, settled, system_guest
from lab import HOST, REMOTE
from system import SystemLab, needs_root, running

pytestmark = needs_root
TEXT = "mode = bridged\nifname = out0\n"


@pytest.fixture(scope="module")
def lab():
    with SystemLab() as lab, foreign_filters(lab.host, ["ingress"]), as_it_was(lab):
        yield lab


def test_by_nftables(lab):
    with running(lab, "lan", TEXT, check=False) as network:
        with system_guest(network, 1) as guest, system_guest(network, 2) as other:
            assert "nftables hands on frames (table netdev vmnet-lan)" in network.describe()["warning"]
            assert "table netdev vmnet-lan" in lab.vmnet("status", "lan").stdout
            for address in (REMOTE[4], HOST[4]):
                settled(lambda address=address: guest.ping(address, timeout_s=1), "reached")
            one_wire_only(lab, guest)
            network.kill("router")
            settled(lambda: network.process("router") > 1, "a new router")
            assert guest.ping(REMOTE[4]) == 1 and guest.ping(HOST[4]) == 1
            assert "table netdev vmnet-lan" in network.describe()["warning"]
            # The new one goes on mending.
            lab.host.run(["nft", "flush", "ruleset"])
            for address in (REMOTE[4], HOST[4], other.ipv4):
                settled(lambda address=address: guest.ping(address, timeout_s=1), "reached again")
