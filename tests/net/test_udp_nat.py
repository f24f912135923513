# SPDX-License-Identifier: Apache-2.0
"""What a network's file says of UDP (RFC 4787): who may answer, and for how long; forwards from inside; programs."""

import contextlib
import os
import select
import time

import pytest
from lab import HOST, PYTHON, REMOTE, REMOTE_B, Background, Network, poll

SOAK = os.environ.get("OPENVMNET_SOAK")
TEST_TIMEOUT_S = 240 if SOAK else 90
FORWARDED = 18053


@pytest.fixture(scope="module")
def configured(lab):
    """Starts a network with a file, and a guest on it."""
    directory = lab.directory / "config" / "openvmnet"
    directory.mkdir(parents=True)
    lab.environment["XDG_CONFIG_HOME"] = str(directory.parent)

    @contextlib.contextmanager
    def started(name, text):
        (directory / f"{name}.conf").write_text(text)
        network = Network(lab, name)
        lab.vmnet("up", name)
        try:
            with network.guest() as guest:
                yield network, guest
        finally:
            network.down()

    yield started
    del lab.environment["XDG_CONFIG_HOME"]


@pytest.fixture
def server(lab, version):
    with lab.remote.udp(REMOTE[version]) as server:
        yield server


def nothing_comes(receiver, wait_s=0):
    return not select.select([receiver], [], [], wait_s)[0]


# ---- who may answer (RFC 4787 5)


@pytest.fixture(scope="module", params=["address-dependent", "address-and-port-dependent"])
def filtered(request, configured):
    with configured(request.param, f"udp-filtering = {request.param}\n") as (network, guest):
        yield request.param, network, guest


def test_only_who_was_written_to_may_answer(lab, filtered, server, version):
    kind, network, guest = filtered
    with (
        guest.udp(version=version) as client,
        lab.remote.udp(REMOTE[version]) as other_port,
        lab.remote.udp(REMOTE_B[version]) as other_address,
    ):
        client.sendto(b"question", server.getsockname())
        outside = server.recvfrom(100)[1]
        before = network.counters()["udp_filtered"]
        other_address.sendto(b"stranger", outside)
        other_port.sendto(b"neighbour", outside)
        server.sendto(b"answer", outside)
        expected = [b"answer"] if kind.startswith("address-and") else [b"neighbour", b"answer"]
        assert [client.recv(100) for _ in expected] == expected
        assert network.counters()["udp_filtered"] == before + 3 - len(expected)
        assert nothing_comes(client)

        # Once it has been written to, it may.
        client.sendto(b"question", other_address.getsockname())
        assert other_address.recvfrom(100) == (b"question", outside)
        other_address.sendto(b"answer", outside)
        server.sendto(b"more", outside)
        assert sorted(client.recv(100) for _ in range(2)) == [b"answer", b"more"]


def test_who_may_answer_is_bounded(lab, filtered, server, version):
    """One port may write to very many; the latest of them may answer."""
    _, network, guest = filtered
    with guest.udp(version=version) as client, lab.remote.udp(REMOTE_B[version]) as first:
        client.sendto(b"question", first.getsockname())
        outside = first.recvfrom(100)[1]
        for number in range(300):
            address = f"203.0.113.{number % 250}" if version == 4 else f"2001:db8:2::{number:x}"
            client.sendto(b"x", (address, 1000 + number))
        client.sendto(b"question", server.getsockname())
        assert server.recvfrom(100) == (b"question", outside)
        first.sendto(b"late", outside)
        server.sendto(b"answer", outside)
        assert client.recv(100) == b"answer"
        assert nothing_comes(client)


def test_replies_of_the_host_pass_filters(lab, filtered, version):
    """The gateway's address means the host, which answers from the address that was asked."""
    _, _, guest = filtered
    with lab.host.udp(version=version) as service, guest.udp(version=version) as client:
        client.sendto(b"question", (guest.gateways[version], service.getsockname()[1]))
        data, outside = service.recvfrom(100)
        service.sendto(b"answer", outside)
        data, source = client.recvfrom(100)
        assert (data, source[:2]) == (
            b"answer",
            (guest.gateways[version], service.getsockname()[1]),
        )


# ---- from inside to inside (REQ-9)


@pytest.fixture
def answering(lab, network, guest, version):
    """A forward of the host to another guest, which answers."""
    with network.guest() as other, other.udp(version=version) as service:
        at = f"[{HOST[6]}]" if version == 6 else HOST[4]
        to = f"[{other.ipv6}]" if version == 6 else other.ipv4
        forward = f"udp:{at}:{FORWARDED}-{to}:{service.getsockname()[1]}"
        network.call("AddForward", forward=forward)
        yield service
        network.call("RemoveForward", forward=forward)


def test_forward_by_the_gateway(guest, answering, version):
    """To guests the gateway is the host, so its forwards are there, for them too."""
    with guest.udp(version=version) as client:
        client.sendto(b"question", (guest.gateways[version], FORWARDED))
        data, source = answering.recvfrom(100)
        # The host spoke, and to guests that is the gateway.
        assert (data, source[0]) == (b"question", guest.gateways[version])
        answering.sendto(b"answer", source)
        data, source = client.recvfrom(100)
        assert (data, source[:2]) == (b"answer", (guest.gateways[version], FORWARDED))


def test_forward_by_the_hosts_own_address(guest, answering, network, version):
    """By its own name the host is closed, with forwards as without."""
    before = network.counters()["drop_denied"]
    with guest.udp(version=version) as client:
        client.connect((HOST[version], FORWARDED))
        client.send(b"x")
        with pytest.raises(OSError, match="unreachable|No route to host|Permission denied"):
            client.recv(1)
    assert network.counters()["drop_denied"] == before + 1
    assert nothing_comes(answering)


# ---- a program on a veth

BURSTS, BURST = 40, 50
SEND_BURSTS = f"""
import socket, sys
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.settimeout(5)
sender.connect((sys.argv[1], int(sys.argv[2])))
for burst in range({BURSTS}):
    for number in range({BURST}):
        sender.send(b"%04d" % number + bytes(1396))
    sender.recv(10)
"""


def test_datagrams_of_a_program(lab, network):
    """What it sends in bursts leaves as it was, and in its order."""
    with lab.remote.udp(REMOTE[4]) as server:
        before = network.counters()["udp_up"]
        address, port = server.getsockname()
        program = Background(
            lab.vmnet, "exec", "--quiet", network.name, "--", PYTHON, "-c", SEND_BURSTS, address, port
        )
        for _ in range(BURSTS):
            received = [server.recvfrom(2000) for _ in range(BURST)]
            assert [int(data[:4]) for data, _ in received] == list(range(BURST))
            assert {len(data) for data, _ in received} == {1400}
            server.sendto(b"go on", received[0][1])
        program.result()
        assert network.counters()["udp_up"] - before == BURSTS * BURST


# ---- for how long (REQ-5, REQ-6)


@pytest.mark.skipif(not SOAK, reason="takes two minutes: `make soak`")
def test_timers(lab, configured):
    """Two minutes after the last datagram of either direction, and not before."""
    with (
        configured("timed", "udp-timeout = 2m\n") as (network, guest),
        lab.remote.udp(REMOTE[4]) as server,
        contextlib.ExitStack() as stack,
    ):
        silent, sending, receiving = (stack.enter_context(guest.udp()) for _ in range(3))
        outside = {}
        for client in (silent, sending, receiving):
            client.sendto(b"x", server.getsockname())
            outside[client] = server.recvfrom(10)[1]
        begin = time.monotonic()
        assert network.counters()["udp_open"] == 3

        def at(second):
            assert begin + second > time.monotonic(), "the machine is too slow for this"
            time.sleep(begin + second - time.monotonic())

        at(100)
        sending.sendto(b"y", server.getsockname())
        assert server.recvfrom(10)[1] == outside[sending]
        server.sendto(b"y", outside[receiving])
        assert receiving.recv(10) == b"y"
        at(118)
        assert network.counters()["udp_open"] == 3
        at(125)
        assert network.counters()["udp_open"] == 2
        for client in (silent, sending, receiving):
            server.sendto(b"z", outside[client])
        assert (sending.recv(10), receiving.recv(10)) == (b"z", b"z")
        assert nothing_comes(silent)
        # It begins anew, with whatever port.
        silent.sendto(b"again", server.getsockname())
        data, address = server.recvfrom(10)
        server.sendto(b"found", address)
        assert silent.recv(10) == b"found"
        assert poll(lambda: network.counters()["udp_open"] == 3)
