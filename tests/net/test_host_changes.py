# SPDX-License-Identifier: Apache-2.0
"""The host's own network changes: addresses, the way out, IPv6. What lives goes on, what is new takes the new way."""

import contextlib
import os
import signal
import time

import pytest
from lab import HOST4, HOST6, REMOTE, REMOTE4, REMOTE6, read_exactly, poll

NEW4, NEW6 = "198.51.100.9", "2001:db8:1::9"
HOST = {4: HOST4, 6: HOST6}
NEW = {4: NEW4, 6: NEW6}
ELSEWHERE4 = "192.0.2.1"  # behind the remote, which two links of the host lead to

SOAK = os.environ.get("OPENVMNET_SOAK")


def set_address(lab, version, old, new):
    """Replaces the host's address. The kernel takes IPv4's default route away with it."""
    commands = {
        4: ["address del {old}/24 dev out0", "address add {new}/24 dev out0",
            f"route replace default via {REMOTE4}"],
        6: ["address add {new}/64 dev out0 nodad", "address del {old}/64 dev out0"],
    }
    text = "\n".join(commands[version]).format(old=old, new=new) + "\n"
    lab.host.ip_batch(text)


@contextlib.contextmanager
def another_address(lab, version):
    set_address(lab, version, HOST[version], NEW[version])
    try:
        yield
    finally:
        set_address(lab, version, NEW[version], HOST[version])


def take_away(lab, version):
    if version == 4:
        lab.host.ip(f"address del {HOST4}/24 dev out0")
    else:
        lab.host.ip(f"address del {HOST6}/64 dev out0")


def give_back(lab, version):
    if version == 4:
        lab.host.ip_batch(f"address add {HOST4}/24 dev out0\nroute replace default via {REMOTE4}\n")
    else:
        lab.host.ip(f"address add {HOST6}/64 dev out0 nodad")


@contextlib.contextmanager
def connected(lab, guest, version, address=None):
    """A connection from the guest to the remote: both ends."""
    with lab.remote.listen(port=8080, version=version) as listener:
        with guest.connect(address or REMOTE[version], 8080) as inner:
            outer, peer = listener.accept()
            with outer:
                outer.settimeout(10)
                yield inner, outer, peer[0]


def echo(inner, outer, text):
    inner.settimeout(10)
    inner.sendall(text)
    assert read_exactly(outer, len(text)) == text
    outer.sendall(text[::-1])
    assert read_exactly(inner, len(text)) == text[::-1]


def reached_at(guest, listener, version):
    """The address of the host at which a connection to the gateway's address arrives; None where none does."""
    with contextlib.suppress(OSError):
        with guest.connect(guest.gateways[version], listener.getsockname()[1], timeout_s=1):
            accepted, _ = listener.accept()
            with accepted:
                return accepted.getsockname()[0]
    return None


def test_another_address(lab, guest, version):
    """New connections work at once, forwards at the new address, and a guest's UDP port goes on."""
    port = 18000 + version
    everywhere = "0.0.0.0" if version == 4 else "[::]"
    # A forward to a name is one to the machine's IPv4 address.
    lab.vmnet("forward", guest.network.name, "add", f"tcp:{everywhere}:{port}-{guest.port.name}:80")
    with lab.remote.udp(port=5000, version=version) as server:
        with guest.udp(version=version) as asking:

            def ask():
                asking.sendto(b"hello", (REMOTE[version], 5000))
                data, client = server.recvfrom(100)
                server.sendto(data[::-1], client)
                assert asking.recv(100) == b"olleh"
                return client[0]

            assert ask() == HOST[version]
            with another_address(lab, version):
                assert ask() == NEW[version]
                with connected(lab, guest, version) as (inner, outer, peer):
                    assert peer == NEW[version]
                    echo(inner, outer, b"new")
                with guest.listen(port=80) as inside, lab.remote.connect(NEW[version], port):
                    inside.accept()[0].close()
            assert ask() == HOST[version]


def test_an_address_that_comes_back(lab, guest, version):
    """As after a suspend, or a cable that was out: what was connected does not notice."""
    with connected(lab, guest, version) as (inner, outer, peer):
        assert peer == HOST[version]
        echo(inner, outer, b"before")
        take_away(lab, version)
        try:
            inner.sendall(b"while")  # IPv4 arrives later; of IPv6 only the acknowledgement does
            outer.sendall(b"there")
        finally:
            give_back(lab, version)
        assert read_exactly(outer, 5) == b"while"
        assert read_exactly(inner, 5) == b"there"
        echo(inner, outer, b"after")
    assert guest.network.counters()["tcp_path_gone"] == 0


@pytest.mark.skipif(not SOAK, reason="takes 30 s: `make soak`")
def test_an_address_that_does_not_come_back(lab, new_network, new_guest, version):
    """Connections from it are reset on the guest's side, also idle ones and those of forwards; others are not."""
    guest = new_guest(new_network())
    port = 18080
    everywhere = "0.0.0.0" if version == 4 else "[::]"
    lab.vmnet("forward", guest.network.name, "add", f"tcp:{everywhere}:{port}-{guest.port.name}:80")
    # A forward to a name is one to the machine's IPv4 address.
    with guest.listen(port=80) as inside, connected(lab, guest, version) as (inner, outer, _):
        with lab.remote.connect(HOST[version], port):
            forwarded, _ = inside.accept()
            with forwarded:
                # One of the other version, whose address stays.
                with connected(lab, guest, 10 - version) as (inner_stays, outer_stays, _):
                    start = time.monotonic()
                    with another_address(lab, version):
                        for stream in (inner, forwarded):
                            stream.settimeout(40)
                            with pytest.raises(ConnectionResetError):
                                stream.recv(1)
                        assert 28 < time.monotonic() - start < 35
                        assert guest.network.counters()["tcp_path_gone"] == 2
                        echo(inner_stays, outer_stays, b"stays")


def test_gateway_means_an_address_that_there_is(lab, guest, version):
    """The host's services are reached by the gateway's address, whatever the host's own is now."""
    with lab.host.listen(port=9001, version=version) as listener:
        assert reached_at(guest, listener, version) == HOST[version]
        with another_address(lab, version):
            assert poll(lambda: reached_at(guest, listener, version) == NEW[version])
        assert poll(lambda: reached_at(guest, listener, version) == HOST[version])


def test_gateway_means_an_address_that_stays(lab, guest):
    """Not one that is deprecated, though it came first; where there is no other, that one."""
    with lab.host.listen(port=9005, version=6) as listener:
        lab.host.ip_batch(
            f"address del {HOST6}/64 dev out0\n"
            f"address add 2001:db8:1::8/64 dev out0 nodad preferred_lft 0\n"
        )
        try:
            assert poll(lambda: reached_at(guest, listener, 6) == "2001:db8:1::8")
            lab.host.ip(f"address add {HOST6}/64 dev out0 nodad")
            assert poll(lambda: reached_at(guest, listener, 6) == HOST6)
        finally:
            lab.host.ip(f"address replace {HOST6}/64 dev out0 nodad")
            lab.host.ip("address del 2001:db8:1::8/64 dev out0")


def test_changes_that_are_too_many_to_be_told(lab, guest):
    """The kernel tells no more when its queue is full: then all addresses are read again, and old ones forgotten."""
    engine = guest.network.process("engine")
    many = [f"10.77.{n // 250}.{n % 250 + 1}/32 dev lo" for n in range(1500)]
    with lab.host.listen(port=9002) as listener:
        os.kill(engine, signal.SIGSTOP)
        try:
            lab.host.ip_batch("".join(f"address add {text}\n" for text in many))
            lab.host.ip_batch("".join(f"address del {text}\n" for text in many))
            set_address(lab, 4, HOST4, NEW4)
        finally:
            os.kill(engine, signal.SIGCONT)
        try:
            assert poll(lambda: reached_at(guest, listener, 4) == NEW4)
            # The address that was the host's may be anybody's now.
            lab.remote.ip(f"address add {HOST4}/24 dev in0")
            with lab.remote.listen(HOST4, 9003) as elsewhere:
                with guest.connect(HOST4, 9003):
                    elsewhere.accept()[0].close()
        finally:
            lab.remote.ip(f"address del {HOST4}/24 dev in0")
            set_address(lab, 4, NEW4, HOST4)


def test_another_way_out(lab, guest):
    """The default route leads over another link: what is new takes it; what lives goes on, for its way does."""
    lab.host.ip_batch(
        f"link add out1 type veth peer name in1 netns /proc/{lab.remote.holder.pid}/ns/net\n"
        "link set out1 addrgenmode none\nlink set out1 up\naddress add 203.0.113.1/24 dev out1\n"
    )
    lab.remote.ip_batch(
        "link set in1 addrgenmode none\nlink set in1 up\naddress add 203.0.113.2/24 dev in1\n"
        f"address add {ELSEWHERE4}/32 dev lo\n"
    )
    try:
        with lab.remote.udp(port=5000) as server, guest.udp() as asking:

            def ask():
                asking.sendto(b"hello", (ELSEWHERE4, 5000))
                data, client = server.recvfrom(100)
                return client[0]

            with connected(lab, guest, 4, ELSEWHERE4) as (inner, outer, peer):
                assert peer == HOST4 and ask() == HOST4
                lab.host.ip("route replace default via 203.0.113.2")
                echo(inner, outer, b"goes on")
            assert ask() == "203.0.113.1"
            with connected(lab, guest, 4, ELSEWHERE4) as (inner, outer, peer):
                assert peer == "203.0.113.1"
                echo(inner, outer, b"new")
                # The link is pulled; another default route takes over.
                lab.host.ip("link set out1 down")
                lab.host.ip(f"route replace default via {REMOTE4}")
            assert ask() == HOST4
    finally:
        lab.host.ip(f"route replace default via {REMOTE4}")
        lab.host.ip("link del out1")
        lab.remote.ip(f"address del {ELSEWHERE4}/32 dev lo")


def test_ipv6_comes_to_the_host(lab, new_network, new_guest):
    """A network that started without it: its guests get a way out, and the gateway's IPv6 address means the host."""
    lab.host.ip(f"route del default via {REMOTE6} dev out0")
    lab.host.ip(f"address del {HOST6}/64 dev out0")
    try:
        guest = new_guest(new_network())
        with lab.host.listen(port=9004, version=6) as listener:
            with pytest.raises(OSError):
                guest.connect(guest.gateway6, 9004, timeout_s=1)
            # As a router's advertisement does it: the address is tried for duplicates first.
            lab.host.ip(f"address add {HOST6}/64 dev out0")
            lab.host.ip(f"route add default via {REMOTE6} dev out0")

            def connects(address, port):
                with contextlib.suppress(OSError):
                    guest.connect(address, port, timeout_s=1).close()
                    return True

            assert poll(lambda: connects(guest.gateway6, 9004), 5, 0.05)
            listener.accept()[0].close()
        assert poll(lambda: "default" in guest.ip("-6 route show default"))
        with lab.remote.listen(port=8080, version=6):
            assert poll(lambda: connects(REMOTE6, 8080), 5, 0.05)
    finally:
        # As it was: without duplicate address detection.
        with contextlib.suppress(Exception):
            lab.host.ip(f"route del default via {REMOTE6} dev out0")
        with contextlib.suppress(Exception):
            lab.host.ip(f"address del {HOST6}/64 dev out0")
        lab.host.ip(f"address add {HOST6}/64 dev out0 nodad")
        lab.host.ip(f"route add default via {REMOTE6} dev out0")
