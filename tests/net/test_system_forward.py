# SPDX-License-Identifier: Apache-2.0
"""Forwards of a network of the system: by the kernel for who comes from elsewhere, by a socket for the host itself."""

import os
import select

import pytest
from lab import HOST, HOST4, REMOTE, REMOTE_B, LabError, poll
from system import exchange, needs_root, running, table, unchanged_lab

pytestmark = needs_root


@pytest.fixture(scope="module")
def lab():
    with unchanged_lab() as lab:
        yield lab


@pytest.fixture(scope="module")
def network(lab):
    with running(lab, "fwd", "mode = shared\nforward = tcp:0.0.0.0:7000-web:80\n") as network:
        yield network


@pytest.fixture(scope="module")
def web(network):
    with network.guest(name="web") as guest:
        yield guest


def forward(lab, *words):
    return lab.vmnet("forward", "fwd", *words).stdout


def by_the_kernel(lab, port):
    """Waits until the kernel knows of it: before, a socket serves it."""
    return poll(lambda: f". {port} :" in table(lab, "fwd"))


def seen_by(guest, version, connect, port=80):
    """Who the guest sees as the client of a connection that @connect() makes, which carries a byte each way."""
    with guest.listen(port=port, version=version) as listener:
        return exchange(listener, lambda _: connect())


def test_from_outside_the_guest_sees_its_client(lab, network, web):
    assert by_the_kernel(lab, 7000)
    assert seen_by(web, 4, lambda: lab.remote.connect(HOST4, 7000)) == REMOTE[4]


def test_from_the_host_and_its_loopback(lab, network, web):
    for address in ("127.0.0.1", HOST4, web.gateway):
        assert seen_by(web, 4, lambda: lab.host.connect(address, 7000)) == web.gateway


@pytest.fixture
def call_iptables(lab):
    """Whether frames between guests pass the rules for routed packets (br_netfilter); @call(0 or 1) changes it."""
    name = "bridge/bridge-nf-call-iptables"
    if not os.path.exists(f"/proc/sys/net/{name}"):
        pytest.skip("this kernel has no br_netfilter, or has not loaded it (modprobe br_netfilter)")
    before = lab.host.run(["cat", f"/proc/sys/net/{name}"]).stdout.strip()
    yield lambda value: lab.host.sysctl({name: value})
    lab.host.sysctl({name: before})


@pytest.mark.parametrize("on", [0, 1], ids=["alone", "with br_netfilter"])
def test_hairpin(lab, network, web, call_iptables, on):
    """A guest reaches another by the host's port, and what comes back comes the same way."""
    assert by_the_kernel(lab, 7000)
    call_iptables(on)
    with network.guest(name="client") as client:
        # A frame does not leave a bridge by the port by which it came, and br_netfilter makes it one frame.
        for guest in [client] if on else [client, web]:
            for address in (HOST4, guest.gateway):
                assert seen_by(web, 4, lambda: guest.connect(address, 7000)) == web.gateway


def test_ipv6_and_one_address_of_the_host(lab, network, web):
    text = f"tcp:[{HOST[6]}]:7006-[{web.ipv6}]:80"
    forward(lab, "add", text)
    assert by_the_kernel(lab, 7006)
    assert seen_by(web, 6, lambda: lab.remote.connect(HOST[6], 7006)) in (REMOTE[6], REMOTE_B[6])
    forward(lab, "rm", text)
    assert poll(lambda: ". 7006 :" not in table(lab, "fwd"))
    with pytest.raises(ConnectionRefusedError):
        lab.remote.connect(HOST[6], 7006)


def test_a_range_that_comes_and_goes(lab, network, web):
    forward(lab, "add", "tcp:0.0.0.0:7100-7102-web:9100")
    assert by_the_kernel(lab, 7102)
    assert seen_by(web, 4, lambda: lab.remote.connect(HOST4, 7102), 9102) == REMOTE[4]
    assert "7100-7102" in forward(lab, "ls")
    forward(lab, "rm", "tcp:0.0.0.0:7100")
    assert poll(lambda: ". 7102 :" not in table(lab, "fwd"))


def test_a_port_that_is_taken(lab, network, web):
    with lab.host.listen(port=7200):
        with pytest.raises(LabError) as failed:
            forward(lab, "add", "tcp:0.0.0.0:7200-web:80")
    assert "in use by another program" in str(failed.value)


def test_udp(lab, network, web):
    forward(lab, "add", "udp:0.0.0.0:7300-web:5300")
    assert by_the_kernel(lab, 7300)
    with web.udp(port=5300) as server, lab.remote.udp() as client:
        client.sendto(b"q", (HOST4, 7300))
        data, peer = server.recvfrom(10)
        assert (data, peer[0]) == (b"q", REMOTE[4])
        server.sendto(b"a", peer)
        assert client.recvfrom(10) == (b"a", (HOST4, 7300))
    forward(lab, "rm", "udp:0.0.0.0:7300")


def test_udp_from_the_host_and_its_loopback(lab, network, web, version):
    """Each client is one, and gets its own answers, from the address that it spoke to."""
    any_, loopback = {4: ("0.0.0.0", "127.0.0.1"), 6: ("[::]", "::1")}[version]
    forward(lab, "add", f"udp:{any_}:7301-[{web.addresses[version]}]:5301" if version == 6
            else f"udp:{any_}:7301-web:5301")
    with web.udp(port=5301, version=version) as server:
        with lab.host.udp(version=version) as first, lab.host.udp(version=version) as second:
            seen = set()
            for client in (first, second, first):
                for address in (loopback, HOST[version]):
                    client.sendto(b"q", (address, 7301))
                    data, peer = server.recvfrom(10)
                    assert (data, peer[0]) == (b"q", web.gateways[version])
                    seen.add(peer[1])
                    server.sendto(b"a", peer)
                    data, peer = client.recvfrom(10)
                    assert (data, *peer[:2]) == (b"a", address, 7301)
            assert len(seen) == 4  # two clients, two addresses
            # As large as they come, and many at once: each stays one.
            sent = [bytes([number]) * 1200 for number in range(40)] + [b"", b"x" * 8000]
            for data in sent:
                first.sendto(data, (loopback, 7301))
            received = [server.recvfrom(9000) for _ in sent]
            assert [data for data, _ in received] == sent
            for data, peer in received:
                server.sendto(data, peer)
            assert [first.recv(9000) for _ in sent] == sent
        assert network.counters()["forward_udp_down"] == network.counters()["forward_udp_up"]
    with lab.remote.udp(version=version) as client, web.udp(port=5301, version=version) as server:
        assert by_the_kernel(lab, 7301)
        client.sendto(b"q", (HOST[version], 7301))
        assert server.recvfrom(10)[1][0] in (REMOTE[version], REMOTE_B[version])
    forward(lab, "rm", f"udp:{any_}:7301")


def test_udp_of_the_loopback(lab, network, web):
    """Alone, and with nobody behind it at first."""
    forward(lab, "add", "udp::7302-web:5302")
    with lab.host.udp() as client:
        client.sendto(b"lost", ("127.0.0.1", 7302))
        with web.udp(port=5302) as server:
            def asked():
                client.sendto(b"q", ("127.0.0.1", 7302))
                return select.select([server], [], [], 0.1)[0]

            assert poll(asked)
            data, peer = server.recvfrom(10)
            while data != b"q":  # it may have waited for the guest's address
                data, peer = server.recvfrom(10)
            assert peer[0] == web.gateway
            server.sendto(b"a", peer)
            assert client.recvfrom(10) == (b"a", ("127.0.0.1", 7302))
    forward(lab, "rm", "udp::7302")


@pytest.mark.parametrize("role", ["router", "engine"])
def test_a_process_dies(lab, network, web, role):
    forward(lab, "add", "tcp:0.0.0.0:7400-web:80")
    assert by_the_kernel(lab, 7400)
    pid = network.kill(role)[0]
    assert poll(lambda: network.is_running() and network.process(role) not in (0, pid))
    for port in (7000, 7400):
        assert by_the_kernel(lab, port)
        assert poll(lambda: seen_by(web, 4, lambda: lab.remote.connect(HOST4, port)) == REMOTE[4])
    forward(lab, "rm", "tcp:0.0.0.0:7400")


def test_the_guest_comes_and_goes(lab, network):
    forward(lab, "add", "tcp:0.0.0.0:7500-later:80")
    with pytest.raises((ConnectionRefusedError, ConnectionResetError)):
        with lab.remote.connect(HOST4, 7500) as client:
            client.recv(1)
            raise ConnectionResetError
    with network.guest(name="later") as later:
        assert by_the_kernel(lab, 7500)
        assert seen_by(later, 4, lambda: lab.remote.connect(HOST4, 7500)) == REMOTE[4]
    assert poll(lambda: ". 7500 :" not in table(lab, "fwd"))
    forward(lab, "rm", "tcp:0.0.0.0:7500")


def test_after_a_flush(lab, network, web):
    assert by_the_kernel(lab, 7000)
    lab.host.nft("flush ruleset")
    assert by_the_kernel(lab, 7000)
    assert seen_by(web, 4, lambda: lab.remote.connect(HOST4, 7000)) == REMOTE[4]


def test_into_a_host_network(lab):
    """Its guests have no way out, so what leads in is a socket's, and comes from the gateway."""
    text = "mode = host\nforward = tcp:0.0.0.0:7600-in:80\nforward = udp:0.0.0.0:7601-in:81\n"
    with running(lab, "closed", text, check=False) as network:
        with network.guest(name="in") as guest:
            peer = seen_by(guest, 4, lambda: lab.remote.connect(HOST4, 7600))
            assert peer == guest.gateway
            with guest.udp(port=81) as server, lab.remote.udp() as client:
                client.sendto(b"q", (HOST4, 7601))
                data, peer = server.recvfrom(10)
                assert (data, peer[0]) == (b"q", guest.gateway)
                server.sendto(b"a", peer)
                assert client.recvfrom(10) == (b"a", (HOST4, 7601))
