# SPDX-License-Identifier: Apache-2.0
"""Connections that do not come about, and those whose other end is gone without a word."""

import contextlib
import os
import re
import select
import socket

import pytest
from lab import HOST, REMOTE, REMOTE_B, poll, read_exactly
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from test_forward import through
from test_tcp import connected, dropped, reset

# Of what takes seconds and is the same for both.
IPV4_IS_ENOUGH = pytest.mark.parametrize("version", [4], ids=["ipv4"])

PROBES = {"tcp_keepalive_time": 1, "tcp_keepalive_intvl": 1, "tcp_keepalive_probes": 2}


@pytest.fixture
def server(lab, version):
    with lab.remote.listen(REMOTE[version]) as listener:
        yield listener


@contextlib.contextmanager
def settings(namespace, values):
    """Sysctls of a namespace below net/ipv4 (most of TCP's are for IPv6 too), for a while."""
    names = [f"/proc/sys/net/ipv4/{name}" for name in values]
    before = namespace.run(["cat", *names]).stdout.splitlines()
    namespace.sysctl({f"ipv4/{name}": value for name, value in values.items()})
    try:
        yield
    finally:
        namespace.sysctl({f"ipv4/{name}": old for name, old in zip(values, before, strict=True)})


def host_sockets(lab, state, port):
    """What ss(8) says of the host's sockets to @port outside: a line each, with timers."""
    shown = lab.host.run(["ss", "-H", "-t", "-n", "-o", "state", state, f"dport = :{port}"]).stdout
    return shown.splitlines()


def keepalive_minutes(line):
    return int(re.search(r"timer:\(keepalive,(\d+)min", line)[1])


def syn(guest, version, sport, dport, seq=1000, flags="S"):
    layer = IP if version == 4 else IPv6
    return (layer(src=guest.addresses[version], dst=REMOTE[version])
            / TCP(sport=sport, dport=dport, seq=seq, flags=flags))


def test_host_out_of_ports(lab, guest, network, server):
    """The guest's segment is lost, not refused: it asks again, and has its connection when a port is free."""
    address = server.getsockname()[:2]
    before = network.counters()
    with settings(lab.host, {"ip_local_port_range": "40000 40003"}), contextlib.ExitStack() as stack:
        for _ in range(4):
            client, accepted = connected(guest, server)
            stack.enter_context(client)
            stack.enter_context(accepted)
        late = stack.enter_context(guest.socket(server.family, socket.SOCK_STREAM))
        late.setblocking(False)
        late.connect_ex(address)
        assert poll(lambda: network.counters()["drop_no_port"] > before["drop_no_port"])
        assert not select.select([], [late], [], 0)[1]
        assert network.counters()["tcp_unreachable"] == before["tcp_unreachable"]
        reset(client)  # an ordinary end would leave the port to TIME_WAIT
        assert select.select([], [late], [], 5)[1]
        assert late.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    # Once for each worker, not for each segment.
    assert 1 <= network.log().count("the host has no TCP port left") <= os.cpu_count()


def test_port_that_waits_is_not_insisted_upon(lab, guest, server, version):
    """A port outside in TIME_WAIT towards a destination is no reason for not connecting there."""
    address = server.getsockname()[:2]
    guest.sysctl({"ipv4/tcp_tw_reuse": 1})  # so that the guest's own port is free before the host's
    # With timestamps (RFC 6191) the port could be used again at once.
    with settings(lab.host, {"tcp_timestamps": 0}), lab.remote.listen(REMOTE_B[version]) as other:
        held = guest.connect(*other.getsockname()[:2], source_port=40779)
        kept, _ = other.accept()
        with held, kept:
            client = guest.connect(*address, source_port=40779)
            accepted, peer = server.accept()
            client.close()  # the first to end has TIME_WAIT
            assert accepted.recv(1) == b""
            accepted.close()

            def again():
                with contextlib.suppress(OSError):
                    return guest.connect(*address, source_port=40779)

            client = poll(again, 5, 0.1)
            assert client
            accepted, peer_again = server.accept()
            with client, accepted:
                client.sendall(b"hello")
                assert read_exactly(accepted, 5) == b"hello"
            assert peer_again[1] != peer[1]


def test_one_connect_for_a_segment_that_is_repeated(lab, guest, server, version):
    port = server.getsockname()[1]
    with dropped(lab.remote, f"tcp dport {port}"):
        guest.send_ip(*[syn(guest, version, 41000, port)] * 3)
        assert poll(lambda: host_sockets(lab, "syn-sent", port))
        guest.send_ip(*[syn(guest, version, 41000, port)] * 3)
        assert len(host_sockets(lab, "syn-sent", port)) == 1
        # The guest gives up, and says so.
        guest.send_ip(syn(guest, version, 41000, port, seq=1001, flags="R"))
        assert poll(lambda: not host_sockets(lab, "syn-sent", port))


@IPV4_IS_ENOUGH
def test_guest_that_gives_up_without_a_word(lab, guest, server):
    """As a program does that has a time limit of its own: the host does not go on for two minutes."""
    address, port = server.getsockname()[:2]
    with dropped(lab.remote, f"tcp dport {port}"):
        with pytest.raises(TimeoutError):
            guest.connect(address, port, timeout_s=0.2)
        assert poll(lambda: len(host_sockets(lab, "syn-sent", port)) == 1)
        assert poll(lambda: not host_sockets(lab, "syn-sent", port), 8, 0.1)


def test_connection_of_now_not_of_before(lab, guest, server, version):
    """While the host connects, the guest's port is used anew: what it gets is answered by its last segment."""
    port = server.getsockname()[1]
    # A retransmission of the host's own SYN comes after a second; ours are all before it.
    with dropped(lab.remote, f"tcp dport {port}"):
        guest.send_ip(syn(guest, version, 41001, port, seq=1000))
        assert poll(lambda: host_sockets(lab, "syn-sent", port))
        guest.send_ip(syn(guest, version, 41001, port, seq=5000))
    with guest.packets(kind=0x0800 if version == 4 else 0x86DD) as seen:

        def answer():
            while select.select([seen], [], [], 0)[0]:
                data = seen.recv(65536)[14:]
                packet = IP(data) if version == 4 else IPv6(data)
                if TCP in packet and packet[TCP].dport == 41001:
                    return packet[TCP]
            return None

        found = poll(answer)
    assert found and str(found.flags) == "SA" and found.ack == 5001


@IPV4_IS_ENOUGH
def test_other_end_gone_while_nothing_is_said(lab, guest, server):
    """The host asks whether it is still there, as often as the host's settings say."""
    port = server.getsockname()[1]
    with settings(lab.host, PROBES):
        client, accepted = connected(guest, server)
        with client, accepted:
            with dropped(lab.remote, f"tcp dport {port}"):
                client.settimeout(8)
                with pytest.raises(ConnectionResetError):
                    client.recv(1)


@IPV4_IS_ENOUGH
def test_client_of_a_forward_gone_while_nothing_is_said(lab, guest, forward, version):
    with settings(lab.host, PROBES), guest.listen(version=version) as listener:
        port = forward("tcp", HOST[version], guest.addresses[version], listener.getsockname()[1])
        client, accepted, _ = through(lab.remote, HOST[version], port, listener)
        with client, accepted, dropped(lab.remote, f"tcp sport {port}"):
            accepted.settimeout(8)
            with pytest.raises(ConnectionResetError):
                accepted.recv(1)


def test_idle_connections_may_be_idle_for_two_hours(lab, guest, network, server):
    """RFC 5382 REQ-5: what is not used for 2:04 hours lives, and by default nobody even asks before two."""
    client, accepted = connected(guest, server)
    with client, accepted:
        line, = host_sockets(lab, "established", server.getsockname()[1])
        assert keepalive_minutes(line) >= 119
        # The other socket is inside the network, towards the guest: one that is paused for long keeps it.
        inside = ["nsenter", f"--net=/proc/{network.process('router')}/ns/net"]
        line, = lab.host.run([*inside, "ss", "-H", "-t", "-n", "-o", "state", "established",
                              f"sport = :{server.getsockname()[1]}"]).stdout.splitlines()
        assert keepalive_minutes(line) >= 119


@IPV4_IS_ENOUGH
def test_other_end_gone_with_data_under_way(lab, guest, server):
    """The host's limit on repetitions is that of the connection (net.ipv4.tcp_retries2)."""
    port = server.getsockname()[1]
    with settings(lab.host, {"tcp_retries2": 2}):
        client, accepted = connected(guest, server)
        with client, accepted:
            with dropped(lab.remote, f"tcp dport {port}"):
                client.sendall(b"hello?")
                client.settimeout(8)
                with pytest.raises(ConnectionResetError):
                    client.recv(1)
