# SPDX-License-Identifier: Apache-2.0
"""Echo requests: answered by whom they were sent to, or not at all."""

import os

import pytest
from lab import HOST, NOBODY4, NOBODY6, REMOTE, poll


@pytest.fixture(scope="module", autouse=True)
def ping_sockets(lab):
    """The host lets everybody open ping sockets, as distributions do."""
    group = os.getegid()
    lab.host.sysctl({"ipv4/ping_group_range": f"{group} {group}"})


def test_gateway(guest, version):
    assert guest.ping(guest.gateways[version], count=3) == 3


def test_outside(guest, network, version):
    before = network.counters()
    assert guest.ping(REMOTE[version], count=3) == 3
    after = network.counters()
    assert after["echo_up"] == before["echo_up"] + 3
    assert after["echo_down"] == before["echo_down"] + 3


@pytest.mark.parametrize("size", [0, 1472, 1473, 8000, 60000])
def test_any_size(guest, version, size):
    assert guest.ping(REMOTE[version], size=size) == 1


def test_nobody_answers_for_nobody(guest, version):
    assert guest.ping(NOBODY4 if version == 4 else NOBODY6, count=3, timeout_s=1) == 0


def test_host_by_its_own_name_is_denied(guest, network, version):
    before = network.counters()["drop_denied"]
    assert guest.ping(HOST[version], timeout_s=1) == 0
    assert network.counters()["drop_denied"] > before


def test_many_at_once(guest, version):
    """One id each: the answers do not mix."""
    command = ["ping", "-n", "-q", "-c", "5", "-i", "0.05", "-W", "5", REMOTE[version]]
    running = [guest.start(command, stdout=-1) for _ in range(20)]
    assert poll(lambda: all(process.poll() is not None for process in running), 10)
    for process in running:
        assert b" 5 received" in process.stdout.read()
