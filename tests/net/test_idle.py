# SPDX-License-Identifier: Apache-2.0
"""An idle network sleeps: nothing of it wakes up but for a timer that is due."""

import contextlib
import os
import pathlib
import re
import time

from lab import REMOTE4, poll
from program import Program, ports

# Longer than any period in which a program of ours might look after something.
IDLE_S = 5.2
SOAK_S = 60 if os.environ.get("OPENVMNET_SOAK") else 0
GUESTS = 10
PROGRAMS = 3  # of these, programs as machines


def threads(processes):
    """{(role, thread): how often it has left its processor} of {role: process}."""
    found = {}
    for role, process in processes.items():
        for path in pathlib.Path(f"/proc/{process}/task").iterdir():
            status = (path / "status").read_text()
            found[role, path.name] = sum(
                int(count) for count in re.findall(r"^\w*voluntary_ctxt_switches:\s+(\d+)", status, re.M)
            )
    return found


def test_ten_idle_guests(lab, network, new_guest):
    """Each thread waits in a system call. One that has not left its processor again has made no other."""
    guests = [new_guest() for _ in range(GUESTS - PROGRAMS)]
    lab.vmnet("forward", network.name, "add", f"udp::15000-{guests[1].port.name}:5000")
    with contextlib.ExitStack() as stack:
        for _ in range(PROGRAMS):
            stack.enter_context(Program(lab, network, "sleep", "300"))
        assert len(ports(network)) == GUESTS
        # What is open from the guests does not have to be looked after either, until it is to end.
        listener = stack.enter_context(lab.remote.listen(port=8080))
        stack.enter_context(guests[0].connect(REMOTE4, 8080))
        stack.enter_context(listener.accept()[0])
        guests[0].ping(REMOTE4)  # which not every host lets an ordinary user do
        asking, server = (stack.enter_context(sock) for sock in (guests[0].udp(), lab.remote.udp(port=5000)))
        asking.sendto(b"hello", (REMOTE4, 5000))
        server.recv(100)
        asking, server = (
            stack.enter_context(sock) for sock in (lab.host.udp("127.0.0.1"), guests[1].udp(port=5000))
        )
        asking.sendto(b"hello", ("127.0.0.1", 15000))
        server.recv(100)
        for guest in guests:
            assert guest.ping(guest.gateway) == 1
            guest.resolve("gateway")
        processes = network.status()["processes"]
        assert set(processes) == {"parent", "engine", "router", "dnsmasq"}
        before = now = {}

        def idle():
            nonlocal before, now
            before, now = now, threads(processes)
            return all(before.get(key) == now[key] for key in now if key[0] != "dnsmasq")

        # Coming up has an end, for there are time limits of that.
        assert poll(idle, 30 + 2 * IDLE_S, IDLE_S), (before, now)
        # dnsmasq has timers of its own: a router advertisement a minute, more often in its first.
        advertising = sum(now[key] - before[key] for key in now if key[0] == "dnsmasq")
        assert advertising <= IDLE_S
        if SOAK_S:
            before = now
            time.sleep(SOAK_S)  # this is what is measured
            last = threads(processes)
            woken = {key: last[key] - before[key] for key in last if last[key] != before[key]}
            print(f"in {SOAK_S} s: {woken}")
            assert sum(woken.pop(key) for key in list(woken) if key[0] == "dnsmasq") <= SOAK_S
            # The ping's socket is closed after a minute without another: a timer that is due, of one worker.
            assert sum(woken.values()) <= 1
