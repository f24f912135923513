# SPDX-License-Identifier: Apache-2.0
"""
The way of a question to the host's resolvers: which of them is asked, what of its answers is taken.

Answers have a time to live of 0, so the network's DNS server keeps none of them.
"""

import contextlib
import os
import re
import struct
import time

import pytest
from lab import (
    HOST4,
    HOST6,
    PYTHON,
    REMOTE4,
    REMOTE4_B,
    REMOTE6,
    DnsServer,
    dns_query,
    dns_read_answer,
    poll,
)

SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = 2, 3, 4, 5
SIMPLE = {(f"{name}.example", "A"): ["192.0.2.9"] for name in "abcdefgh"}
BIG = {
    (f"big{size}.example", "A"): [f"192.0.2.{n % 250 + 1}" for n in range(size // 16)]
    for size in (1100, 3900, 8000)
}


@pytest.fixture(autouse=True)
def clear(lab):
    """The file as it was, at the end."""
    yield
    lab.write_resolv_conf(f"nameserver {REMOTE4}\n")


@contextlib.contextmanager
def counting(network, name, expected):
    """What is done here makes that difference to a counter."""
    before = network.counters()[name]
    yield
    assert network.counters()[name] - before == expected


def dig(guest, *arguments):
    """What dig(1) says in a guest: (status, flags, number of A records, bytes received, whether over TCP)."""
    output = guest.run(["dig", f"@{guest.gateway}", "+tries=1", "+time=5", *arguments]).stdout
    return {
        "status": re.search(r"status: (\w+)", output)[1],
        "flags": re.search(r"flags: ([\w ]*);", output)[1].split(),
        "records": len(re.findall(r"\s\d+\s+IN\s+A\s", output)),
        "bytes": int(re.search(r"MSG SIZE +rcvd: (\d+)", output)[1]),
        "tcp": "(TCP)" in output,
    }


# ---- what is asked


def test_sizes_over_udp(guest, lab):
    """What a guest offers to take over UDP is what it gets, in fragments where it is that large; more comes over TCP."""
    with lab.dns_server(records=BIG) as server:
        small = dig(guest, "big1100.example", "+bufsize=1232", "+ignore")
        assert "tc" not in small["flags"] and small["records"] == 68 and small["bytes"] > 1100
        large = dig(guest, "big3900.example", "+bufsize=4096", "+ignore")
        assert "tc" not in large["flags"] and large["records"] == 243 and large["bytes"] > 3800
        assert ("big3900.example", "A", "tcp") not in server.queries
        # Truncated, and then asked again over TCP: dig does that by itself.
        assert "tc" in dig(guest, "big3900.example", "+bufsize=1232", "+ignore")["flags"]
        for options in (["+noedns"], ["+bufsize=1232"], ["+bufsize=4096"]):
            huge = dig(guest, "big8000.example", *options)
            assert huge["tcp"] and huge["records"] == 500 and huge["status"] == "NOERROR"
        assert ("big8000.example", "A", "tcp") in server.queries
        assert max(room for _, _, room in server.asked) <= 4096


def test_ids_and_ports_are_random(guest, lab):
    with lab.dns_server() as server:
        for number in range(40):
            guest.resolve(f"n{number}.example")
        ids = [int.from_bytes(identity, "big") for identity, _, _ in server.asked]
        ports = [client[1] for _, client, _ in server.asked]
    assert len(ids) == 40
    # Two of 40 random ones are the same now and then, and steps between them are no pattern.
    for numbers in (ids, ports):
        assert len(set(numbers)) > 35
        assert len({(b - a) % 65536 for a, b in zip(numbers, numbers[1:])}) > 30


# ---- which resolver answers


def code_of(answer, code):
    """@answer with that code and without its records."""
    length = 12 + answer[12:].index(b"\0") + 5
    return answer[:3] + bytes([0x80 | code]) + answer[4:6] + bytes(6) + answer[12:length]


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize("code", [SERVFAIL, NOTIMP, REFUSED])
def test_a_resolver_that_does_not_serve(guest, lab, code, tcp):
    """Another one may; where none does, the guest is told at once what they said."""
    lab.write_resolv_conf(f"nameserver {REMOTE4}\nnameserver {REMOTE4_B}\n")
    broken = {"misbehave": lambda answer, _: [code_of(answer, code)]}
    with lab.dns_server(**broken) as first:
        with lab.dns_server(REMOTE4_B, records=SIMPLE):
            assert guest.resolve("a.example", tcp=tcp) == (0, ["192.0.2.9"])
            assert ("a.example", "A", "tcp" if tcp else "udp") in first.queries
        with lab.dns_server(REMOTE4_B, **broken):
            start = time.monotonic()
            assert guest.resolve("b.example", tcp=tcp) == (code, [])
            assert time.monotonic() - start < 0.9
            assert len([name for name, _, _ in first.queries if name == "b.example"]) == 1


def test_the_other_resolver_is_silent(guest, lab):
    """What the one says that answers is waited for the other once."""
    lab.write_resolv_conf(f"nameserver {REMOTE4}\nnameserver {REMOTE4_B}\n")
    broken = {"misbehave": lambda answer, _: [code_of(answer, SERVFAIL)]}
    with lab.dns_server(**broken), lab.dns_server(REMOTE4_B, silent=True) as silent:
        for name, limit_s in (("a", 1.9), ("b", 0.9)):
            start = time.monotonic()
            assert guest.resolve(f"{name}.example") == (SERVFAIL, [])
            assert time.monotonic() - start < limit_s
        assert {name for name, _, _ in silent.queries} == {"a.example"}


def test_an_answer_that_there_is_no_such_name_is_one(guest, lab):
    lab.write_resolv_conf(f"nameserver {REMOTE4}\nnameserver {REMOTE4_B}\n")
    with lab.dns_server(), lab.dns_server(REMOTE4_B, records=SIMPLE) as second:
        assert guest.resolve("a.example")[0] == NXDOMAIN
        assert not second.queries


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_nobody_at_any_resolver(guest, lab, tcp):
    """The guest need not wait for a time limit."""
    lab.write_resolv_conf(f"nameserver {REMOTE4}\nnameserver {REMOTE4_B}\n")
    with counting(guest.network, "dns_timeouts", 1):
        start = time.monotonic()
        assert guest.resolve("a.example", tcp=tcp) == (SERVFAIL, [])
        assert time.monotonic() - start < 0.9


def test_a_lost_datagram(guest, lab):
    """The one resolver is asked again after a second."""
    lost = []

    def lose_first(answer, _):
        lost.append(answer)
        return [answer] if len(lost) > 1 else []

    with lab.dns_server(records=SIMPLE, misbehave=lose_first) as server:
        with counting(guest.network, "dns_retries", 1):
            start = time.monotonic()
            assert guest.resolve("a.example") == (0, ["192.0.2.9"])
            assert 0.9 < time.monotonic() - start < 4
        # From the same port: an answer to the first would have been taken too.
        assert len({client for _, client, _ in server.asked}) == 1


def test_the_first_resolver_is_asked_again_on_another_path(guest, lab):
    """One that was silent is not asked first again, until the host's routes are others."""
    lab.write_resolv_conf(f"nameserver {REMOTE4}\nnameserver {REMOTE4_B}\n")
    with lab.dns_server(REMOTE4_B, records=SIMPLE):
        with lab.dns_server(silent=True):
            assert guest.resolve("a.example") == (0, ["192.0.2.9"])
        with lab.dns_server(records=SIMPLE) as first:
            assert guest.resolve("b.example") == (0, ["192.0.2.9"])
            assert not first.queries
            lab.host.ip("route add 203.0.113.0/24 dev out0")
            lab.host.ip("route del 203.0.113.0/24 dev out0")
            assert poll(lambda: guest.resolve(f"n{time.monotonic_ns()}.example")
                        and first.queries)


@pytest.mark.parametrize("how", ["refuses", "is silent", "closes", "lies"])
def test_first_resolver_over_tcp(guest, lab, how):
    lab.write_resolv_conf(f"nameserver {REMOTE4}\nnameserver {REMOTE4_B}\n")
    misbehave = {
        "is silent": lambda answer, _: time.sleep(4) or [],
        "closes": lambda answer, _: [],
        "lies": lambda answer, _: [os.urandom(2) + answer[2:]],
    }
    servers = [lab.dns_server(REMOTE4_B, records=SIMPLE)]
    if how != "refuses":
        servers.append(lab.dns_server(records=SIMPLE, misbehave=misbehave[how]))
    for server in servers:
        server.__enter__()
    try:
        start = time.monotonic()
        answer = guest.resolve("a.example", tcp=True, timeout_s=8)
        assert answer == (0, ["192.0.2.9"])
        assert time.monotonic() - start < (3.9 if how == "is silent" else 0.9)
    finally:
        for server in servers:
            server.__exit__()


def test_several_questions_over_one_connection(guest, lab):
    with lab.dns_server(records=SIMPLE):
        output = guest.run(
            ["dig", f"@{guest.gateway}", "+tcp", "+keepopen", "+short", "a.example",
             "b.example", "c.example"]
        ).stdout
        assert output.split() == ["192.0.2.9"] * 3


# ---- which answers are taken


def test_answers_to_something_else(guest, lab):
    """Another id or another question is no answer; what was asked for comes after it."""

    def lie_first(answer, _):
        wrong_id = bytes([answer[0] ^ 1]) + answer[1:]
        wrong_name = answer.replace(b"\1a", b"\1b")
        no_answer = answer[:2] + b"\1" + answer[3:]
        return [wrong_id, wrong_name, no_answer, answer[:11], b"", answer]

    with lab.dns_server(records=SIMPLE, misbehave=lie_first), counting(guest.network, "dns_mismatched", 5):
        assert guest.resolve("a.example") == (0, ["192.0.2.9"])


def test_answers_of_somebody_else(guest, lab):
    """The right port and id from another address: the socket is connected."""
    with lab.remote.udp(REMOTE4_B, 5300) as somebody:

        def let_another_answer(answer, _):
            client = server.asked[-1][1]
            somebody.sendto(answer.replace(bytes([192, 0, 2, 9]), bytes([192, 0, 2, 66])), client)
            return [answer]

        with lab.dns_server(records=SIMPLE, misbehave=let_another_answer) as server:
            for name in "abcdefgh":
                assert guest.resolve(f"{name}.example") == (0, ["192.0.2.9"])


# ---- where resolvers are


def test_stub_of_the_host(guest, lab):
    """A resolver on the host's loopback, as systemd-resolved's; here it is another dnsmasq."""
    lab.write_resolv_conf("nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n")
    stub = lab.host.start(
        ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--no-hosts",
         "--listen-address=127.0.0.53", "--bind-interfaces", "--no-resolv", f"--server={REMOTE4}",
         "--user=root", "--group=root", "--log-facility=-"],
    )
    try:
        with lab.dns_server(records=SIMPLE | BIG):
            assert poll(lambda: guest.resolve("a.example") == (0, ["192.0.2.9"]))
            assert guest.resolve("b.example", tcp=True) == (0, ["192.0.2.9"])
            assert len(guest.resolve("big8000.example", tcp=True)[1]) == 500
            # Guests themselves do not come to it, by whatever name.
            for address in ("127.0.0.53", HOST4):
                with guest.udp() as asking:
                    asking.settimeout(0.3)
                    with pytest.raises(OSError):
                        asking.connect((address, 53))
                        asking.send(struct.pack("!6H", 1, 0x0100, 1, 0, 0, 0) + b"\1a\0\0\1\0\1")
                        asking.recv(512)
    finally:
        stub.kill()
        stub.wait()


def test_link_local_resolver(guest, lab):
    """It is on one link, which is part of its name."""
    lab.host.ip("address add fe80::1/64 dev out0 nodad")
    lab.remote.ip("address add fe80::2/64 dev in0 nodad")
    try:
        lab.write_resolv_conf("nameserver fe80::2%out0\n")
        # Bound to all addresses: a link-local one alone needs the link's number in its namespace.
        with DnsServer(lab.remote, "::", records=SIMPLE) as server:
            assert guest.resolve("a.example") == (0, ["192.0.2.9"])
            assert guest.resolve("b.example", tcp=True) == (0, ["192.0.2.9"])
            assert server.asked[0][1][0].startswith("fe80::1")
    finally:
        lab.host.ip("address del fe80::1/64 dev out0")
        lab.remote.ip("address del fe80::2/64 dev in0")


def test_no_resolv_conf(guest, lab):
    """The local host is asked, as resolv.conf(5) has it; and the file is seen when it comes."""
    path = lab.etc / "resolv.conf"
    path.unlink()
    assert guest.resolve("a.example") == (SERVFAIL, [])
    with DnsServer(lab.host, "127.0.0.1", records={("local.example", "A"): ["192.0.2.1"]}):
        assert guest.resolve("local.example") == (0, ["192.0.2.1"])
        path.write_text("# empty\n")
        assert guest.resolve("b.example")[0] == NXDOMAIN
    lab.write_resolv_conf(f"nameserver {REMOTE6}\n", rename=True)
    with lab.dns_server(REMOTE6, records=SIMPLE) as server:
        assert guest.resolve("c.example") == (0, ["192.0.2.9"])
        assert server.asked[0][1][0] == HOST6


def test_resolv_conf_elsewhere(lab, new_network, new_guest):
    """A link out of the folders that the engine may read otherwise, as on WSL."""
    path, elsewhere = lab.etc / "resolv.conf", lab.directory / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "conf").write_text(f"nameserver {REMOTE4}\n")
    path.unlink()
    path.symlink_to(elsewhere / "conf")
    try:
        guest = new_guest(new_network())
        with lab.dns_server(records=SIMPLE), lab.dns_server(REMOTE4_B, records=SIMPLE) as second:
            assert guest.resolve("a.example") == (0, ["192.0.2.9"])
            (elsewhere / "new").write_text(f"nameserver {REMOTE4_B}\n")
            (elsewhere / "new").rename(elsewhere / "conf")
            assert guest.resolve("b.example") == (0, ["192.0.2.9"])
            assert second.queries == [("b.example", "A", "udp")]
    finally:
        path.unlink()


# ---- guests that ask too much


def test_questions_that_nobody_answers(guest, new_guest, lab):
    """600 of them at once; another guest's names are found all the same, and the first are told that they failed."""
    other = new_guest()
    silent = lambda answer, _: [] if b"\6silent" in answer else [answer]  # noqa: E731
    with lab.dns_server(records=SIMPLE, misbehave=silent), guest.udp() as asking:
        for number in range(600):
            query = dns_query(f"n{number}.silent.example")
            asking.sendto(number.to_bytes(2, "big") + query[2:], (guest.gateway, 53))
            if number % 50 == 49:  # as fast as dnsmasq takes them
                assert other.resolve(f"{'abcdefgh'[number // 50 % 8]}.example") == (0, ["192.0.2.9"])
        start = time.monotonic()
        assert other.resolve("a.example", tcp=True) == (0, ["192.0.2.9"])
        assert dns_read_answer(asking.recv(512))[0] == SERVFAIL
        assert time.monotonic() - start < 3
        # How many depends on how long the machine took: those that were given up made room.
        assert guest.network.counters()["dns_dropped"] > 0


# ---- a DNS server of the network's that was taken over


ASK = """
import socket, struct, sys
def query(number, name, end=b""):
    labels = b"".join(bytes([len(label)]) + label for label in name.encode().split(b"."))
    return struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + labels + b"\\0\\0\\x41\\0\\1" + end
relay = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
relay.connect(("127.0.0.1", 5353))
relay.settimeout(3)
for name in ("web", "x.lab.vmnet.internal"):
    relay.send(query(7, name))
    answer = relay.recv(512)
    print(name, answer[3] & 15, answer[6:8].hex())
for bad in (b"", b"x", bytes(12), query(1, "a")[:-1], b"\\0\\1\\x81" + query(1, "a.b")[3:]):
    relay.send(bad)
for number in range(400):
    relay.send(query(number, "silent.example"))
    if number % 100 == 99:  # the socket's queue holds some 200
        relay.send(query(7, "web"))
        relay.recv(512)
streams, closed = [], 0
for number in range(80):
    try:
        streams.append(socket.create_connection(("127.0.0.1", 5353)))
    except ConnectionError:
        closed += 1
for stream in streams:
    try:
        stream.send(b"\\xff\\xff")  # and never the rest
        stream.settimeout(0.01)
        closed += not stream.recv(1)
    except ConnectionError:
        closed += 1
    except TimeoutError:
        pass
print("closed", closed)
"""


def test_questions_without_the_dns_server(guest, lab):
    """The relay itself keeps names inside, takes nothing for a query that is none, and has its limits."""
    network = guest.network
    command = ["nsenter", "--preserve-credentials", f"--net=/proc/{network.process('router')}/ns/net"]
    if os.geteuid() != 0:
        command.insert(2, f"--user=/proc/{network.process('router')}/ns/user")
    before = network.counters()
    with lab.dns_server(silent=True) as server:
        output = lab.host.run([*command, PYTHON, "-c", ASK], timeout_s=20).stdout.splitlines()
        assert output[0] == "web 0 0000"
        assert output[1] == "x.lab.vmnet.internal 0 0000"
        # The limit of TCP, 64.
        assert output[-1] == "closed 16"
        assert not [name for name, _, _ in server.queries if name in ("web", "x.lab.vmnet.internal")]
    after = network.counters()
    # Five that are no queries, 16 connections, and queries over 256 at a time, of which the resolver has answered none.
    assert after["dns_dropped"] - before["dns_dropped"] >= 5 + 16 + 400 - 256
    with lab.dns_server(records=SIMPLE):
        assert poll(lambda: guest.resolve("a.example") == (0, ["192.0.2.9"]))
    assert network.is_running()
