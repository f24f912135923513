# SPDX-License-Identifier: Apache-2.0
"""Several workers: each has a part of the guests' flows, the same part whatever the flow is to."""

import contextlib
import errno
import os
import re

import pytest
from lab import HOST, REMOTE, REMOTE_B, literal, poll, read_exactly

WORKERS = 3  # no power of two, and not what this machine would choose
FLOWS = 200
# 200 of 3 equal parts: 0.15 of them in one part is more than five standard deviations away.
LEAST = FLOWS * 0.15


@pytest.fixture(scope="module")
def network(lab):
    network = lab.network("workers", "--workers", str(WORKERS))
    yield network
    assert network.is_running(), network.log()
    network.down()


@contextlib.contextmanager
def counted(network, name):
    """A list that is filled with how much each worker has counted within."""
    before = [worker[name] for worker in network.status()["workers"]]
    counts = []
    yield counts
    after = [worker[name] for worker in network.status()["workers"]]
    counts += [now - then for now, then in zip(after, before)]


def say(client, accepted):
    """A byte, which the worker has seen and counted the connection."""
    client.sendall(b"x")
    assert accepted.recv(1) == b"x"


# ---- flows of guests


@pytest.mark.parametrize("where", ["outside", "gateway"])
def test_connections_are_spread(lab, network, guest, version, where):
    """200 connections at one time; each carries its own bytes and no other's."""
    server, address = lab.remote, REMOTE[version]
    if where == "gateway":
        server, address = lab.host, guest.gateways[version]
    with counted(network, "tcp_opened") as opened, contextlib.ExitStack() as stack:
        listener = stack.enter_context(server.listen(version=version))
        clients = [
            stack.enter_context(guest.connect(address, listener.getsockname()[1]))
            for _ in range(FLOWS)
        ]
        for number, client in enumerate(clients):
            client.sendall(b"%6d" % number)
        answered = set()
        for _ in range(FLOWS):
            accepted, _ = listener.accept()
            stack.enter_context(accepted).settimeout(5)
            word = read_exactly(accepted, 6)
            accepted.sendall(word * 2)
            answered.add(int(word))
        assert answered == set(range(FLOWS))
        for number, client in enumerate(clients):
            assert read_exactly(client, 12) == b"%6d" % number * 2
    assert sum(opened) == FLOWS and len(opened) == WORKERS
    assert min(opened) > LEAST, opened
    assert network.counters()["tcp_opened"] >= FLOWS
    assert poll(lambda: network.counters()["tcp_open"] == 0)


def test_datagrams_are_spread(lab, network, guest, version):
    """A guest's port is one port outside (RFC 4787 REQ-1), also for what it sends in fragments."""
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(lab.remote.udp(address))
            for address in (REMOTE[version], REMOTE_B[version])
        ]
        clients = [stack.enter_context(guest.udp(version=version)) for _ in range(FLOWS)]
        big = os.urandom(5000)
        ports = set()
        with counted(network, "udp_opened") as opened:
            for client in clients:
                outside = set()
                for server in servers:
                    for data in (b"small", big):
                        client.sendto(data, server.getsockname())
                        received, peer = server.recvfrom(65536)
                        assert received == data
                        outside.add(peer[:2])
                        server.sendto(data, peer)
                        assert client.recvfrom(65536) == (data, server.getsockname())
                assert len(outside) == 1
                ports |= outside
        assert len(ports) == FLOWS
        assert sum(opened) == FLOWS
        assert min(opened) > LEAST, opened


def test_echo_is_the_first_workers(lab, network, guest, version):
    with counted(network, "echo_up") as sent:
        guest.ping(REMOTE[version], count=3)
    assert sum(sent) == sent[0]
    if not network.counters()["drop_echo_forbidden"]:
        assert sent[0] == 3


def test_segments_of_no_connection_are_reset(lab, network, guest, version):
    """By the worker that would have had the connection, like everything else of that port."""
    with lab.remote.listen(version=version) as listener:
        with counted(network, "tcp_stray") as stray, counted(network, "tcp_opened") as opened:
            client = guest.connect(REMOTE[version], listener.getsockname()[1])
            with client, listener.accept()[0]:
                network.kill("engine")
                assert poll(network.is_running)
                with pytest.raises(ConnectionResetError):
                    client.sendall(b"x")
                    client.recv(1)
    assert len(stray) == len(opened) == WORKERS


# ---- forwards


@contextlib.contextmanager
def forwarded(network, text):
    network.call("AddForward", forward=text)
    try:
        yield
    finally:
        network.call("RemoveForward", forward=text)


def test_tcp_forwards_are_spread(lab, network, guest, version):
    with guest.listen(version=version) as listener:
        target = f"{literal(guest.addresses[version])}:{listener.getsockname()[1]}"
        with contextlib.ExitStack() as stack:
            for port in range(22001, 22001 + 4 * WORKERS):
                host = literal(HOST[version])
                stack.enter_context(forwarded(network, f"tcp:{host}:{port}-{target}"))
            with counted(network, "forward_opened") as opened:
                for port in range(22001, 22001 + 4 * WORKERS):
                    with lab.remote.connect(HOST[version], port) as client:
                        accepted, peer = listener.accept()
                        with accepted:
                            assert peer[:2] == client.getsockname()[:2]
                            say(client, accepted)
            assert opened == [4] * WORKERS


def ask(client, service):
    """One datagram to a forward's guest and back, from where it was sent to."""
    client.send(b"question")
    data, seen = service.recvfrom(100)
    assert (data, seen[:2]) == (b"question", client.getsockname()[:2])
    service.sendto(b"answer", seen)
    assert client.recv(100) == b"answer"


def test_udp_forwards_are_where_the_guest_answers(lab, network, guest, version):
    """Many of them, and the kernel chooses the worker for each answer: its hash is ours."""
    first, number = 23001, 60
    host, address = literal(HOST[version]), literal(guest.addresses[version])
    forward = f"udp:{host}:{first}-{first + number - 1}-{address}:{first}"
    with forwarded(network, forward), counted(network, "forward_udp_up") as answers:
        for port in range(first, first + number):
            with guest.udp(version=version, port=port) as service:
                with lab.remote.udp(REMOTE[version]) as client:
                    client.connect((HOST[version], port))  # takes nothing from any other port
                    ask(client, service)
                    ask(client, service)
    assert sum(answers) == 2 * number
    assert min(answers) > 0, answers


def test_udp_forwards_move_with_their_guest(lab, network, new_guest):
    """To whoever has the name: the host's port stays open, and what comes meanwhile is not lost."""
    first, number = 24001, 12
    forward = f"udp:{HOST[4]}:{first}-{first + number - 1}-mover:{first}"
    with forwarded(network, forward), contextlib.ExitStack() as stack:
        clients = []
        for port in range(first, first + number):
            clients.append(stack.enter_context(lab.remote.udp(REMOTE[4])))
            clients[-1].connect((HOST[4], port))

        def target():
            return network.status()["forwards"][0]["guest"]

        for mac in ("52:54:00:00:00:11", "52:54:00:00:00:12", "52:54:00:00:00:13"):
            with network.guest(name="mover", mac=mac) as mover:
                assert poll(lambda: target() == mover.ipv4)
                with counted(network, "forward_udp_up") as answers:
                    for client in clients:
                        with mover.udp(port=client.getpeername()[1]) as service:
                            ask(client, service)
                assert sum(answers) == number
            assert poll(lambda: target() is None)


def test_restart_opens_them_where_they_were(lab, network, guest, version):
    first, number = 25001, 6
    host, address = literal(HOST[version]), literal(guest.addresses[version])
    forward = f"udp:{host}:{first}-{first + number - 1}-{address}:{first}"
    with forwarded(network, forward):
        network.kill("engine")
        assert poll(network.is_running)
        assert poll(lambda: network.status()["forwards"])
        for port in range(first, first + number):
            with guest.udp(version=version, port=port) as service:
                with lab.remote.udp(REMOTE[version]) as client:
                    client.connect((HOST[version], port))
                    ask(client, service)


# ---- how many


@pytest.mark.parametrize("workers", [1, 8])
def test_as_many_as_were_asked_for(lab, new_network, new_guest, workers):
    network = new_network("--workers", str(workers))
    assert network.describe()["workers"] == workers
    assert len(network.status()["workers"]) == workers
    assert re.search(rf"^  workers +{workers}$", lab.vmnet("status", network.name).stdout, re.M)
    guest = new_guest(network)
    with lab.remote.listen() as listener, counted(network, "tcp_opened") as opened:
        for _ in range(40):
            with guest.connect(REMOTE[4], listener.getsockname()[1]) as client:
                with listener.accept()[0] as accepted:
                    say(client, accepted)
    assert sum(opened) == 40 and len(opened) == workers
    assert workers == 1 or sum(count > 0 for count in opened) > workers / 2


def test_one_for_each_cpu(new_network):
    assert new_network().describe()["workers"] == min(len(os.sched_getaffinity(0)), 8)


def test_a_running_network_keeps_its_number(lab, network):
    nic = f"network={network.name},workers="
    result = lab.vmnet("run", "--nic", f"{nic}2", "true", "{fd}", check=False)
    assert result.returncode == 1
    assert f"runs with workers {WORKERS}, not 2" in result.stderr
    lab.vmnet("run", "--nic", f"{nic}{WORKERS}", "true", "{fd}")


def test_a_host_network_has_them_too(lab, new_network, new_guest, version):
    """What is not for the gateway is refused as ever, whichever worker would have it."""
    network = new_network("--mode", "host", "--workers", "2")
    guest = new_guest(network)
    if version == 4:
        guest.ip(f"route add default via {guest.gateway}")
    else:
        guest.ip(f"-6 route add default via {guest.gateway6}")
    with lab.host.listen(version=version) as listener, counted(network, "tcp_opened") as opened:
        for _ in range(20):
            with guest.connect(guest.gateways[version], listener.getsockname()[1]) as client:
                with listener.accept()[0] as accepted:
                    say(client, accepted)
    assert sum(opened) == 20 and min(opened) > 0, opened
    with counted(network, "drop_denied") as denied:
        for _ in range(4):  # of more the kernel would not send an error for each
            with pytest.raises(OSError) as refused:
                guest.connect(REMOTE[version], 9)
            assert refused.value.errno in (errno.EHOSTUNREACH, errno.EACCES)
    assert denied == [0, 0]  # the engine has not seen it
