# SPDX-License-Identifier: Apache-2.0
"""Forwards: from a port of the host to a guest. Who speaks to a guest is whom it sees."""

import contextlib
import random
import resource
import select
import socket
import struct
import time

import pytest
from lab import (
    CHUNK_BYTES,
    HOST,
    REMOTE,
    REMOTE_B,
    Background,
    Failed,
    literal,
    poll,
    read_all,
    read_exactly,
    receive_stream,
    send_stream,
    unacknowledged,
)

LOOPBACK = {4: "127.0.0.1", 6: "::1"}
ANY = {4: "0.0.0.0", 6: "::"}


@pytest.fixture
def service(guest, version):
    """A listener of the guest's."""
    with guest.listen(version=version) as listener:
        yield listener


@pytest.fixture
def service4(guest):
    """The same, where one family is enough."""
    with guest.listen() as listener:
        yield listener


def reset(stream):
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.close()


def through(namespace, address, port, listener, **options):
    """A connection to a forward. Returns (the client's end, the guest's end, whom the guest sees)."""
    client = namespace.connect(address, port, **options)
    accepted, peer = listener.accept()
    accepted.settimeout(5)
    return client, accepted, peer[:2]


def assert_reset(namespace, address, port, timeout_s=5):
    """The host accepts it and resets it, which a client may see in its connect() already."""
    with pytest.raises(ConnectionResetError):
        with namespace.connect(address, port) as client:
            client.settimeout(timeout_s)
            client.recv(1)


def assert_carries(client, accepted):
    client.sendall(b"question")
    assert read_exactly(accepted, 8) == b"question"
    accepted.sendall(b"answer")
    assert read_exactly(client, 6) == b"answer"


# ---- TCP: whom the guest sees


def test_guest_sees_the_client(lab, guest, service, forward, version):
    port = forward("tcp", ANY[version], guest.addresses[version], service.getsockname()[1])
    client, accepted, peer = through(lab.remote, HOST[version], port, service)
    with client, accepted:
        assert peer == client.getsockname()[:2]
        assert peer[0] in (REMOTE[version], REMOTE_B[version])
        assert_carries(client, accepted)


def test_host_is_the_gateway(lab, guest, service, forward, version):
    """By its loopback, and by its own address."""
    port = forward("tcp", ANY[version], guest.addresses[version], service.getsockname()[1])
    for address in (LOOPBACK[version], HOST[version]):
        client, accepted, peer = through(lab.host, address, port, service)
        with client, accepted:
            assert peer[0] == guest.gateways[version]
            assert_carries(client, accepted)


@pytest.mark.parametrize("outside, inside", [(4, 6), (6, 4)])
def test_other_family_is_the_gateway(lab, guest, forward, outside, inside):
    with guest.listen(version=inside) as listener:
        port = forward(
            "tcp", HOST[outside], guest.addresses[inside], listener.getsockname()[1]
        )
        client, accepted, peer = through(lab.remote, HOST[outside], port, listener)
        with client, accepted:
            assert peer[0] == guest.gateways[inside]
            assert_carries(client, accepted)


def test_one_client_port_to_two_forwards(lab, guest, service, forward, version):
    """Both lead to one port of the guest: it cannot see the same address and port twice."""
    ports = [
        forward("tcp", ANY[version], guest.addresses[version], service.getsockname()[1])
        for _ in range(2)
    ]
    with contextlib.ExitStack() as stack:
        seen = set()
        for port in ports:
            client, accepted, peer = through(
                lab.remote, HOST[version], port, service, source_port=40200
            )
            stack.enter_context(client)
            stack.enter_context(accepted)
            seen.add(peer)
            assert peer[0] == client.getsockname()[0]
            assert_carries(client, accepted)
        assert len(seen) == 2


def test_low_client_port(lab, guest, service, forward, version):
    """A port that only root may have outside."""
    port = forward("tcp", ANY[version], guest.addresses[version], service.getsockname()[1])
    client, accepted, peer = through(lab.remote, HOST[version], port, service, source_port=700)
    with client, accepted:
        assert peer == (client.getsockname()[0], 700)
        reset(client)


def test_same_client_port_again(lab, guest, service, forward, version):
    port = forward("tcp", ANY[version], guest.addresses[version], service.getsockname()[1])
    for _ in range(3):
        client, accepted, _ = through(
            lab.remote, HOST[version], port, service, source_port=40201
        )
        with accepted:
            assert_carries(client, accepted)
            reset(client)


# ---- TCP: how connections end


def test_refused_is_reset(lab, guest, network, forward, version):
    with guest.listen(version=version) as listener:
        closed = listener.getsockname()[1]
    port = forward("tcp", ANY[version], guest.addresses[version], closed)
    before = network.counters()
    start = time.monotonic()
    assert_reset(lab.remote, HOST[version], port)
    assert time.monotonic() - start < 3
    after = network.counters()
    assert after["forward_failed"] == before["forward_failed"] + 1
    assert after["forward_open"] == before["forward_open"]


def test_address_of_nobody_is_reset(lab, guest, forward):
    """After the time that a guest has to answer."""
    nobody = guest.gateway.rpartition(".")[0] + ".199"
    port = forward("tcp", HOST[4], nobody, 80)
    assert_reset(lab.remote, HOST[4], port, 15)


def test_client_ends_writing_first(lab, guest, service, forward, version):
    port = forward("tcp", ANY[version], guest.addresses[version], service.getsockname()[1])
    client, accepted, _ = through(lab.remote, HOST[version], port, service)
    with client, accepted:
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        assert read_all(accepted) == b"question"
        accepted.sendall(b"answer")
        accepted.shutdown(socket.SHUT_WR)
        assert read_all(client) == b"answer"


@pytest.mark.parametrize("closer", ["client", "guest"])
def test_reset_is_passed_on(lab, guest, service, network, forward, version, closer):
    port = forward("tcp", ANY[version], guest.addresses[version], service.getsockname()[1])
    client, accepted, _ = through(lab.remote, HOST[version], port, service)
    first, second = (client, accepted) if closer == "client" else (accepted, client)
    with second:
        assert_carries(client, accepted)
        reset(first)
        with pytest.raises(ConnectionResetError):
            second.recv(1)
    assert poll(lambda: network.counters()["forward_open"] == 0)


@pytest.mark.parametrize("who", ["client", "guest"])
def test_what_was_sent_before_a_reset_arrives_before_it(lab, guest, service, forward, version, who):
    data = random.randbytes(100_000)
    port = forward("tcp", HOST[version], guest.addresses[version], service.getsockname()[1])
    client, accepted, _ = through(lab.remote, HOST[version], port, service)
    early, late = (client, accepted) if who == "client" else (accepted, client)
    with late:
        early.sendall(data)
        assert poll(lambda: unacknowledged(early) == 0)
        reset(early)
        assert read_exactly(late, len(data)) == data
        with pytest.raises(ConnectionResetError):
            late.recv(1)


def test_client_speaks_before_the_guest_is_there(lab, guest, service4, forward):
    """What the client sends while the guest is still being reached is not lost, nor is its end."""
    port = forward("tcp", HOST[4], guest.ipv4, service4.getsockname()[1])
    with lab.remote.connect(HOST[4], port) as client:
        client.sendall(b"at once")
        client.shutdown(socket.SHUT_WR)
        accepted, _ = service4.accept()
        with accepted:
            accepted.settimeout(5)
            assert read_all(accepted) == b"at once"


@pytest.mark.parametrize("direction", ["in", "out"])
def test_large_transfer(lab, guest, service, forward, version, direction):
    port = forward("tcp", ANY[version], guest.addresses[version], service.getsockname()[1])
    client, accepted, _ = through(lab.remote, HOST[version], port, service)
    sender, receiver = (client, accepted) if direction == "in" else (accepted, client)
    with client, accepted:

        def send():
            digest = send_stream(sender, 128 * CHUNK_BYTES)
            sender.shutdown(socket.SHUT_WR)
            return digest

        sent = Background(send)
        assert receive_stream(receiver) == (128 * CHUNK_BYTES, sent.result())


def test_300_connections_at_once(lab, guest, service, network, forward, version):
    """More than there are sockets in stock: the rest waits for the router, and none is lost."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    port = forward("tcp", ANY[version], guest.addresses[version], service.getsockname()[1])
    address = (HOST[version], port)
    streams = []
    try:
        for _ in range(300):
            client = lab.remote.socket(service.family, socket.SOCK_STREAM)
            client.setblocking(False)
            client.connect_ex(address)
            streams.append(client)
        clients = {client.getsockname()[:2]: client for client in streams}
        for number in range(300):
            accepted, peer = service.accept()
            streams.append(accepted)
            client = clients.pop(peer[:2])
            client.settimeout(5)
            accepted.settimeout(5)
            client.sendall(struct.pack("!I", number))
            assert struct.unpack("!I", read_exactly(accepted, 4))[0] == number
        assert network.counters()["forward_open"] == 300
    finally:
        for stream in streams:
            stream.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert poll(lambda: network.counters()["forward_open"] == 0)


def test_a_new_router_gives_sockets(lab, guest, service4, network, forward):
    """Far more connections than are in stock, across the router's end."""
    port = forward("tcp", HOST[4], guest.ipv4, service4.getsockname()[1])
    old = network.kill("router")[0]
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            client, accepted, _ = through(lab.remote, HOST[4], port, service4)
            stack.enter_context(client)
            stack.enter_context(accepted)
            assert_carries(client, accepted)
    assert poll(lambda: network.process("router") not in (0, old))


# ---- UDP


@pytest.fixture
def udp_service(guest, version):
    with guest.udp(version=version) as made:
        yield made


def asked(client, address, service):
    """A datagram to a forward and back. Returns whom the guest sees."""
    client.sendto(b"question", address)
    data, peer = service.recvfrom(100)
    assert data == b"question"
    service.sendto(b"answer", peer)
    data, source = client.recvfrom(100)
    assert (data, source[:2]) == (b"answer", address)
    return peer[:2]


def test_udp_guest_sees_the_client(lab, guest, udp_service, forward, version):
    port = forward("udp", ANY[version], guest.addresses[version], udp_service.getsockname()[1])
    with lab.remote.udp(REMOTE[version]) as client, lab.remote.udp(REMOTE_B[version]) as other:
        for _ in range(3):
            for made in (client, other):
                peer = asked(made, (HOST[version], port), udp_service)
                assert peer == made.getsockname()[:2]


def test_udp_host_is_the_gateway(lab, guest, udp_service, forward, version):
    """The same port at two of the host's addresses: two clients to the guest, two answers back."""
    port = forward("udp", ANY[version], guest.addresses[version], udp_service.getsockname()[1])
    with lab.host.udp(LOOPBACK[version]) as one:
        number = one.getsockname()[1]
        with lab.host.udp(HOST[version], number) as two:
            first = asked(one, (LOOPBACK[version], port), udp_service)
            second = asked(two, (HOST[version], port), udp_service)
            assert first[0] == second[0] == guest.gateways[version]
            assert first[1] == number != second[1]
            assert asked(one, (LOOPBACK[version], port), udp_service) == first
            assert asked(two, (HOST[version], port), udp_service) == second


def test_udp_bound_to_one_address(lab, guest, udp_service, forward, version):
    port = forward("udp", HOST[version], guest.addresses[version], udp_service.getsockname()[1])
    with lab.remote.udp(REMOTE[version]) as client:
        assert asked(client, (HOST[version], port), udp_service) == client.getsockname()[:2]


@pytest.mark.parametrize("outside, inside", [(4, 6), (6, 4)])
def test_udp_other_family_is_the_gateway(lab, guest, forward, outside, inside):
    with guest.udp(version=inside) as service, lab.remote.udp(REMOTE[outside]) as client:
        port = forward("udp", HOST[outside], guest.addresses[inside], service.getsockname()[1])
        peer = asked(client, (HOST[outside], port), service)
        assert peer[0] == guest.gateways[inside]


def test_udp_answer_leaves_from_the_address_asked(lab, guest, udp_service, forward, version):
    """The host has one more address, and a client that takes answers from that one alone."""
    second = {4: "198.51.100.9", 6: "2001:db8:1::9"}[version]
    prefix, option = {4: (32, ""), 6: (128, "nodad")}[version]
    lab.host.ip(f"address add {second}/{prefix} dev out0 {option}")
    try:
        port = forward("udp", ANY[version], guest.addresses[version], udp_service.getsockname()[1])
        with lab.remote.udp(REMOTE[version]) as client:
            for address in (second, HOST[version]):
                asked(client, (address, port), udp_service)
    finally:
        lab.host.ip(f"address del {second}/{prefix} dev out0")


def test_udp_one_client_port_to_two_forwards(lab, guest, udp_service, forward, version):
    ports = [
        forward("udp", ANY[version], guest.addresses[version], udp_service.getsockname()[1])
        for _ in range(2)
    ]
    with lab.remote.udp(REMOTE[version]) as client:
        seen = [asked(client, (HOST[version], port), udp_service) for port in ports]
    assert seen[0] != seen[1]
    assert {address for address, _ in seen} == {REMOTE[version]}


@pytest.mark.parametrize("size", [0, 1, 1472, 1473, 8192, 60000, 65507])
def test_udp_any_size_both_ways(lab, guest, udp_service, forward, version, size):
    port = forward("udp", HOST[version], guest.addresses[version], udp_service.getsockname()[1])
    data = bytes(range(256)) * 256
    with lab.remote.udp(REMOTE[version]) as client:
        client.sendto(data[:size], (HOST[version], port))
        received, peer = udp_service.recvfrom(65536)
        assert received == data[:size]
        udp_service.sendto(received, peer)
        assert client.recvfrom(65536)[0] == received


def test_udp_guest_still_reaches_outside(lab, guest, udp_service, forward, version):
    """From the port of a service to somebody who is no client of it."""
    port = forward("udp", ANY[version], guest.addresses[version], udp_service.getsockname()[1])
    with lab.remote.udp(REMOTE[version]) as client, lab.remote.udp(REMOTE_B[version]) as other:
        asked(client, (HOST[version], port), udp_service)
        udp_service.sendto(b"hello", other.getsockname())
        data, outside = other.recvfrom(100)
        assert (data, outside[0]) == (b"hello", HOST[version])
        assert outside[1] != port


# ---- forwards come and go


def test_removed_forward_leaves_its_connections(lab, guest, service, network, forward, version):
    port = forward("tcp", HOST[version], guest.addresses[version], service.getsockname()[1])
    client, accepted, _ = through(lab.remote, HOST[version], port, service)
    with client, accepted:
        network.call("RemoveForward", forward=f"tcp:{literal(HOST[version])}:{port}")

        def refused():
            with contextlib.suppress(ConnectionRefusedError, ConnectionResetError):
                lab.remote.connect(HOST[version], port).close()
                return False
            return True

        assert poll(refused)
        assert_carries(client, accepted)


def test_option_of_a_port(lab, network, new_guest):
    """A forward that is an option of a port goes with it, and its connections too."""
    port = 20999  # below those of forward()
    guest = new_guest(forwards=[f"tcp:{HOST[4]}:{port}-:80"])
    listed = [each["forward"] for each in network.status()["forwards"]]
    assert any(text.startswith(f"tcp:{HOST[4]}:{port}-") for text in listed)
    with guest.listen(port=80) as listener:
        client, accepted, peer = through(lab.remote, HOST[4], port, listener)
        with client:
            assert peer[0] == REMOTE[4]
            assert_carries(client, accepted)
            accepted.close()
            assert client.recv(1) == b""
        client, accepted, _ = through(lab.remote, HOST[4], port, listener)
    with client:
        guest.close()
        with pytest.raises(ConnectionResetError):
            client.recv(1)

    def refused():
        with contextlib.suppress(ConnectionRefusedError, ConnectionResetError):
            lab.remote.connect(HOST[4], port).close()
            return False
        return True

    assert poll(refused)


def test_guest_that_is_gone(lab, network, new_guest, forward):
    """A forward of the network's stays; nobody is there, so connections to it are reset."""
    guest = new_guest()
    with guest.listen() as listener:
        port = forward("tcp", HOST[4], guest.ipv4, listener.getsockname()[1])
        client, accepted, _ = through(lab.remote, HOST[4], port, listener)
    with client:
        assert_carries(client, accepted)
        guest.close()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert_reset(lab.remote, HOST[4], port)


def test_gateway_is_no_guest(lab, guest, forward):
    """No way to the network's own services, nor to the outside, by a forward."""
    for target in (guest.gateway, REMOTE[4]):
        try:
            port = forward("tcp", HOST[4], target, 53)
        except Failed:
            continue
        assert_reset(lab.remote, HOST[4], port)


def test_1000_forwards(lab, network, guest, service4):
    """All of them work, and other traffic does not notice them."""
    ports = range(30000, 31000)
    for port in ports:
        network.call(
            "AddForward",
            forward=f"tcp:{HOST[4]}:{port}-{guest.ipv4}:{service4.getsockname()[1]}",
        )
    for port in (ports[0], ports[499], ports[-1]):
        client, accepted, _ = through(lab.remote, HOST[4], port, service4)
        with client, accepted:
            assert_carries(client, accepted)
    with lab.remote.listen(REMOTE[4]) as server:
        with guest.connect(*server.getsockname()) as client:
            accepted, _ = server.accept()
            with accepted:
                assert_carries(client, accepted)
    for port in ports:
        network.call("RemoveForward", forward=f"tcp:{HOST[4]}:{port}")
    assert not select.select([service4], [], [], 0)[0]
