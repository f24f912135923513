# SPDX-License-Identifier: Apache-2.0
"""Very many flows: short ones leave nothing behind, idle ones cost next to nothing.

`make churn` makes a million connections of it (OPENVMNET_CHURN) and waits until the kernel has forgotten them.
"""

import os
import re
import resource
import socket
import subprocess

import footprint
import pytest
from lab import BUILD, REMOTE, SANITIZED, LabError, poll

CHURN = BUILD / "tests" / "net" / "churn"
FLOWS = int(os.environ.get("OPENVMNET_CHURN", 20000))
IS_LONG = FLOWS > 100000
TEST_TIMEOUT_S = 90 + FLOWS / 500
TIME_WAIT_S = 60

PORT, PORTS = 20000, 64  # of the server: a client has 28,000 ports for each
AT_ONCE = 64
WARM = 2000
# Room for what allocators keep. 13 bytes a flow would show, and half a byte in the long run.
GROWTH_KIB = 256

# Or as many as the limit on descriptors lets the engine have: it keeps two for each, and some for other things.
IDLE_FLOWS = min(
    10000 if IS_LONG else 5000, (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 2500) * 2 // 7
)
IDLE_FLOW_KIB = 1
IDLE_S = 1.5

IP_LOCAL_PORT_RANGE = 51  # ip(7)
HALF_OF_THE_PORTS = 14116  # of ip_local_port_range's default
TO_ONE_SERVER = 8500


@pytest.fixture
def server(lab, version):
    process = lab.remote.start([CHURN, "serve", REMOTE[version], PORT, PORTS], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    yield process
    process.kill()
    process.wait()


def churn(guest, kind, version, count, ports=PORTS):
    """Returns flows a second."""
    result = guest.run(
        [CHURN, kind, REMOTE[version], PORT, ports, count, AT_ONCE],
        check=False,
        timeout_s=TEST_TIMEOUT_S,
    )
    told = re.fullmatch(r"done=(\d+) failed=0 error=none ms=(\d+)\n", result.stdout)
    if not told or int(told[1]) != count:
        raise LabError(f"churn {kind}: {result.stdout}{result.stderr}")
    return count * 1000 / max(int(told[2]), 1)


ROLES = ("parent", "engine", "router")


def held(network):
    """{what: number} of what the network's processes and both its namespaces hold now."""
    counters, processes = network.counters(), network.status()["processes"]
    found = {name: counters[name] for name in ("tcp_open", "udp_open", "forward_open")}
    for role in ROLES:
        found[f"descriptors of the {role}"] = footprint.descriptors(processes[role])
    for where, role in (("host", "engine"), ("network", "router")):
        for kind, number in footprint.sockets(processes[role]).items():
            # The kernel remembers connections for a minute, as it must.
            if kind != "TW" or IS_LONG:
                found[f"{kind} in the {where}"] = number
    return found


def memory_kib(network):
    processes = network.status()["processes"]
    return {role: footprint.private_kib(processes[role]) for role in ROLES}


def assert_free(network, before, before_kib=None):
    """What was held in between is free again, after a moment that it may take."""

    def more():
        now = held(network)
        # One descriptor may be that of whoever asks.
        return {
            what: (before[what], now[what])
            for what in now
            if now[what] > before[what] + what.startswith("descriptors")
        }

    assert poll(lambda: not more(), 10 + (TIME_WAIT_S if IS_LONG else 0), 0.2), more()
    if before_kib and not SANITIZED:
        after_kib = memory_kib(network)
        print(f"KiB before: {before_kib}, after: {after_kib}")
        for role in ROLES:
            assert after_kib[role] <= before_kib[role] + GROWTH_KIB, role


@pytest.mark.parametrize("version, closer", [(4, "server"), (6, "client")])
def test_short_connections_leave_nothing(network, guest, server, version, closer):
    """Each is made, asks, is answered, and ended by one side first."""
    before = held(network)
    churn(guest, closer, version, WARM)
    assert_free(network, before)
    before_kib, opened = memory_kib(network), network.counters()["tcp_opened"]
    per_s = churn(guest, closer, version, FLOWS // 2)
    assert network.counters()["tcp_opened"] == opened + FLOWS // 2
    print(f"{FLOWS // 2} connections that the {closer} ends: {per_s:.0f} a second")
    assert_free(network, before, before_kib)


@pytest.mark.parametrize("version", [4, 6])
def test_many_connections_to_one_server(lab, network, guest, new_guest, server, version):
    """The host keeps the ports of those that guests have ended for a minute. With half of all ports kept that way
    the next connection is made as fast as the first ones: the engine does not look through all of them."""
    with lab.host.socket(socket.AF_INET, socket.SOCK_STREAM) as any_socket:
        try:
            any_socket.getsockopt(socket.SOL_IP, IP_LOCAL_PORT_RANGE)
        except OSError as error:
            pytest.skip(f"this kernel cannot be told which ports to try (Linux 6.3): {error.strerror}")
    # A guest's own kernel keeps its ports, too: two guests, so that each has more than half of them left.
    first, second = (
        churn(each, "client", version, TO_ONE_SERVER, ports=1) for each in (guest, new_guest())
    )
    print(f"{first:.0f} connections a second, then {second:.0f}")
    kept = lab.host.run(["ss", f"-H{version}tn", "state", "time-wait"]).stdout.count("\n")
    assert kept > HALF_OF_THE_PORTS
    assert second > first / 3


@pytest.mark.parametrize("version", [4])
def test_short_datagram_flows_leave_nothing(network, server, version):
    """Each has its own port. The table gets as full as it may, and is empty when the guest has gone."""
    before = held(network)
    with network.guest() as guest:
        churn(guest, "udp", version, FLOWS // 5)
    assert_free(network, before)
    before_kib = memory_kib(network)
    with network.guest() as guest:
        opened = network.counters()["udp_opened"]
        per_s = churn(guest, "udp", version, FLOWS // 5)
        made = network.counters()["udp_opened"] - opened
        print(f"{FLOWS // 5} datagrams and answers, {made} mappings: {per_s:.0f} a second")
        assert made > FLOWS // 5 * 3 // 4  # a port may come twice
    assert_free(network, before, before_kib)


@pytest.mark.parametrize("version", [4])
def test_idle_connections_cost_little(network, guest, server, version):
    """Of memory at most 1 KiB each, and no time at all."""
    pid = network.process("engine")
    before_kib = footprint.private_kib(pid)
    client = guest.start(
        [CHURN, "hold", REMOTE[version], PORT, PORTS, IDLE_FLOWS, AT_ONCE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert client.stdout.readline().startswith(f"done={IDLE_FLOWS} failed=0 ")
    assert network.counters()["tcp_open"] == IDLE_FLOWS
    grown_kib = footprint.private_kib(pid) - before_kib
    print(f"{grown_kib} KiB for {IDLE_FLOWS} connections")
    assert SANITIZED or grown_kib <= IDLE_FLOWS * IDLE_FLOW_KIB

    def is_idle():
        """No thread wakes up for a while: what was still under way has come, and no timer turns over flows."""
        before = footprint.wakeups(pid)
        return not poll(lambda: footprint.wakeups(pid) != before, IDLE_S, 0.1)

    assert poll(is_idle, 10)
    client.stdin.close()
    client.wait()
    assert poll(lambda: network.counters()["tcp_open"] == 0)
