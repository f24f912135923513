# SPDX-License-Identifier: Apache-2.0
"""Echo requests on a host that lets nobody open ping sockets, which is the kernel's default."""

import os

import pytest
from lab import REMOTE


def test_silence_or_raw_sockets(guest, network, version):
    """An ordinary user's network is silent and counts it; root's has raw sockets."""
    before = network.counters()["drop_echo_forbidden"]
    answers = guest.ping(REMOTE[version], count=3, timeout_s=1)
    forbidden = network.counters()["drop_echo_forbidden"] - before
    if os.geteuid() == 0:
        assert (answers, forbidden) == (3, 0)
    else:
        assert answers == 0 and forbidden >= 3
        # Once: not for each request.
        assert network.log().count("net.ipv4.ping_group_range") == 1


@pytest.mark.parametrize("size", [0, 1473, 8000, 60000])
def test_any_size_by_raw_sockets(guest, version, size):
    if os.geteuid() != 0:
        pytest.skip("only root's networks have raw sockets: run this as root too")
    assert guest.ping(REMOTE[version], size=size) == 1


def test_gateway_answers_in_any_case(guest, version):
    assert guest.ping(guest.gateways[version], count=3) == 3
