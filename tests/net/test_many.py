# SPDX-License-Identifier: Apache-2.0
"""Many ports, and ports many times: nothing grows that should not."""

import concurrent.futures
import contextlib

import footprint
from lab import SANITIZED, Guest, poll

PORTS = 64
CYCLES = 500
# Room for what allocators and caches keep, which is had after some hundred cycles; a leak of 1.2 KiB a cycle would show.
GROWTH_KIB = 600


def test_many_ports_on_one_network(new_network):
    """All have addresses and names of their own, and reach the gateway and one another."""
    network = new_network()
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(8))
        guests = []
        stack.callback(lambda: list(pool.map(Guest.close, guests)))
        for _ in range(PORTS):
            guests.append(network.guest(configure=False))
        list(pool.map(Guest.up, guests))
        list(pool.map(Guest.dhcp, guests))
        assert len({guest.ipv4 for guest in guests}) == PORTS
        assert len({guest.port.name for guest in guests}) == PORTS
        assert len(network.status()["ports"]) == PORTS
        for guest, other in zip(guests, guests[1:] + guests[:1]):
            assert guest.ping(other.ipv4) == 1
        assert guests[-1].resolve(f"{guests[0].port.name}.{network.name}.vmnet.internal") == (
            0, [guests[0].ipv4],
        )
    assert poll(lambda: not network.status()["ports"], 30)


def test_attach_and_detach_leak_nothing(new_network):
    network = new_network()
    processes = network.status()["processes"]
    ours = [processes[role] for role in ("parent", "engine", "router")]

    def cycle(number):
        # Of all kinds that a client can have at once; the same names come again and again, long after their
        # ports have gone.
        kind = ("tap", "stream", "dgram")[number % 3]
        with network.attach(name=f"again{number % 50}", kind=kind,
                            isolated=number % 2 == 0, forwards=[f"udp::{20000 + number % 500}-:53"]):
            if number % 10 == 0:
                network.status()  # what lists the counters takes memory of its own

    def settled():
        return not network.status()["ports"]

    for number in range(50):
        cycle(number)
    assert poll(settled, 30)
    before = {pid: (footprint.descriptors(pid), footprint.private_kib(pid)) for pid in ours}
    for number in range(50, 50 + CYCLES):
        cycle(number)
        if number % 100 == 0:
            assert poll(settled, 30)
    assert poll(settled, 30)
    assert network.status()["forwards"] == []
    after = {pid: (footprint.descriptors(pid), footprint.private_kib(pid)) for pid in ours}
    print(before, after)
    for pid in ours:
        assert after[pid][0] <= before[pid][0] + 1, (pid, before, after)
        if not SANITIZED:
            assert after[pid][1] <= before[pid][1] + GROWTH_KIB, (pid, before, after)
    assert not list((network.directory / "dnsmasq" / "hosts").iterdir())
    assert not list((network.directory / "dnsmasq" / "names").iterdir())
