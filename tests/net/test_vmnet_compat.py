# SPDX-License-Identifier: Apache-2.0
"""libvmnet: programs that were written for Apple's vmnet.h, on real networks."""

import contextlib
import errno
import hashlib
import json
import os
import re
import socket

import pytest
from lab import BUILD, REMOTE, REMOTE4, REMOTE6, Guest, Network, Port, poll

CONFORMANCE = BUILD / "tests" / "conformance" / "vmnet-conformance"
PING = BUILD / "docs" / "examples" / "vmnet-ping"
SOCKET = BUILD / "tests" / "net" / "vmnetsocket"
MONITOR = BUILD / "tests" / "net" / "vmnetmonitor"
BATCH = BUILD / "docs" / "examples" / "vmnet-batch"

pytestmark = pytest.mark.skipif(
    not CONFORMANCE.exists(),
    reason="programs with blocks need clang and libblocksruntime-dev, and no sanitizer",
)

# One run of the suite would hide what fails behind what comes before it.
PARTS = {
    "start and stop": ["modes", "bad", "bridged", "queues", "stop", "before", "many"],
    "keys": ["names", "parameters", "interface id", "a MAC", "mtu", "nat66", "network id", "host addr", "refused"],
    "packets": ["isolation", "batches", "several", "a long", "poll", "errors"],
    "events": ["one packet", "drain", "clear", "callback", "read", "nobody"],
    "offloads": ["checksum", "tso", "virtio"],
    "forwards": ["port forwarding", "a rule"],
    "networks": ["a network", "two network", "what networks", "a reservation"],
}


def check_clean(lab):
    """Networks end with their last port; then their files are gone."""
    assert poll(lambda: not lab.processes() and not lab.leftovers()), lab.leftovers()


@pytest.fixture(scope="module")
def environment(lab):
    """The user has vmnetd in PATH: it is not beside these programs."""
    return dict(lab.environment, PATH=f"{BUILD}:{lab.environment['PATH']}")


@pytest.fixture
def run(lab, environment):
    """run(COMMAND...) runs a program of the user's on the laboratory's host."""

    def run(*command, **options):
        given = environment | options.pop("env", {})
        return lab.host.run(command, capabilities=False, env=given, **options)

    yield run
    check_clean(lab)


@pytest.mark.parametrize("part", PARTS)
def test_conformance(run, part):
    result = run(CONFORMANCE, *PARTS[part], check=False, timeout_s=60)
    bad = [line for line in result.stdout.splitlines() if not line.startswith("ok ")]
    assert result.returncode == 0 and len(bad) == 1, "\n".join(bad) + result.stderr
    assert re.fullmatch(r"[1-9]\d* passed, 0 failed, 0 skipped", bad[0])
    assert result.stderr == ""  # hints are for those who ask for them


def test_every_test_is_in_a_part(run):
    names = run(CONFORMANCE, "--list").stdout.splitlines()
    prefixes = [prefix for part in PARTS.values() for prefix in part]
    assert len(names) > 30
    assert all(any(name.startswith(prefix) for prefix in prefixes) for name in names), names


def test_hint(run):
    """With VMNET_DEBUG the reason stands on stderr: what was asked, what is wrong, what to do."""
    result = run(CONFORMANCE, "bridged", check=False, env={"VMNET_DEBUG": "1"})
    assert re.search(r"libvmnet: vmnet_start_interface: not authorized \(1010\): .*mode=bridged", result.stderr)
    result = run(CONFORMANCE, "bad descriptions", env={"VMNET_DEBUG": "1"})
    assert "invalid argument (1003): vmnet_operation_mode is not set" in result.stderr


def test_interface_list(run, lab):
    """What could be bridged is what the command says."""
    listed = json.loads(lab.vmnet("interfaces", "--json").stdout)
    told = re.findall(r"with a name: (\S+)$", run(CONFORMANCE, "bridged").stdout, re.M)
    assert told == [interface["name"] for interface in listed if interface["canBridge"]] != []


def test_not_authorized(run, lab):
    """A program without vmnetd: a failure with the reason, and no crash."""
    result = run(PING, check=False, env={"PATH": "/usr/bin:/bin", "VMNET_DEBUG": "1"})
    assert result.returncode == 1
    assert "the interface does not start: status 1001" in result.stderr
    assert "vmnetd" in result.stderr


def test_ping(run):
    lines = run(PING).stdout.splitlines()
    assert re.match(r"MAC [0-9a-f:]{17}, MTU 1500, gateway 192\.168\.\d+\.1", lines[0])
    assert [line[:7] for line in lines[1:]] == ["ping 1:", "ping 2:", "ping 3:"]


def test_batch_answers_guest(lab, environment):
    """A client with batches both ways, and a kernel as its neighbour on the same network."""
    with lab.host.start([BATCH, "30"], capabilities=False, env=environment, stdout=-1, text=True) as client:
        try:
            address = client.stdout.readline().split()[0]
            with Network(lab, "shared").guest() as guest:
                guest.run(["ping", "-c", "200", "-i", "0.002", "-q", address])
                guest.run(["ping", "-c", "20", "-i", "0.01", "-s", "1400", "-q", address])
        finally:
            client.kill()
    check_clean(lab)


# ---- a kernel as the guest of a client

MACS = ("52:54:00:12:34:56", "52:54:00:12:34:57")


@contextlib.contextmanager
def guest_of_client(lab, environment, mode, *options, mac=MACS[0], name=None, program=SOCKET):
    """A guest whose frames pass a client of vmnet.h. Its MAC address is the client's, or with own-mac @mac."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        client = lab.host.start(
            [program, theirs.fileno(), mode, *options],
            capabilities=False, env=environment, stdout=-1, text=True, pass_fds=[theirs.fileno()],
        )  # fmt: skip
        theirs.close()
        facts = client.stdout.readline().split()
        assert len(facts) == 4, facts
        network = Network(lab, name or mode)
        described = network.describe()
        port = {
            "interface": f"client{client.pid}", "kind": "dgram", "name": f"client{client.pid}",
            "mac": mac if facts[0] == "-" else facts[0], "ipv4": "0.0.0.0/0",
            "gateway": described["gateway"], "gateway6": described["gateway6"],
        }  # fmt: skip
        guest = Guest(network, Port(network, port, os.dup(ours.fileno())))
        ours.close()
        try:
            guest.up()
            guest.ipv4 = guest.dhcp()["ip"]
            if guest.gateway6:
                guest.wait_ipv6()
            yield guest
        finally:
            guest.close()
            client.stdout.close()
            # Its socket's end ends it; vmnetsocket does not stop the interface.
            ended = poll(lambda: client.poll() is not None)
            client.kill()
            assert ended and client.wait() == 0


def transfer(lab, guest, remote, size=3_000_000):
    """Downloads bytes from the remote and sends them back."""
    data = os.urandom(size)
    with lab.remote.listen(version=6 if ":" in remote else 4) as listener:
        port = listener.getsockname()[1]
        with guest.connect(remote, port) as stream:
            peer, _ = listener.accept()
            with peer:
                for sender, receiver in ((peer, stream), (stream, peer)):
                    assert hashlib.sha256(exchange(sender, receiver, data)).digest() == (
                        hashlib.sha256(data).digest()
                    )


def exchange(sender, receiver, data):
    got = bytearray()
    sent = 0
    sender.setblocking(False)
    receiver.settimeout(20)
    while len(got) < len(data):
        with contextlib.suppress(BlockingIOError):
            sent += sender.send(data[sent : sent + 65536])
        receiver.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            got += receiver.recv(1 << 20)
    sender.setblocking(True)
    return bytes(got)


@pytest.mark.parametrize(
    "options", [(), ("one",), ("tso",), ("checksum",), ("tso", "checksum"), ("own-mac",)], ids="-".join
)
def test_guest_of_client(lab, environment, options):
    """DHCP, the gateway, and the world by TCP over IPv4 and IPv6, from behind vmnet_read() and vmnet_write()."""
    with guest_of_client(lab, environment, "shared", *options) as guest:
        assert guest.ping(guest.gateway, 3) == 3
        assert guest.ping(guest.gateway6, 3) == 3
        transfer(lab, guest, REMOTE4)
        transfer(lab, guest, REMOTE6)
    check_clean(lab)


def test_guest_of_monitor(lab, environment):
    """The same by a VM monitor's way: a loop of its own, semaphores, one packet a write, in pieces."""
    with guest_of_client(lab, environment, "shared", program=MONITOR) as guest:
        assert guest.ping(guest.gateway, 3) == 3
        transfer(lab, guest, REMOTE4)
        transfer(lab, guest, REMOTE6)
    check_clean(lab)


@pytest.mark.parametrize("end", ["port", "network"])
def test_interface_is_ended(lab, environment, end):
    """By another: its client is told when it writes, and when it reads and there is nothing left (decision 0038)."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        client = lab.host.start(
            [SOCKET, theirs.fileno(), "shared"],
            capabilities=False, env=environment, stdout=-1, text=True, pass_fds=[theirs.fileno()],
        )  # fmt: skip
        with client:
            assert len(client.stdout.readline().split()) == 4
            network = Network(lab, "shared")
            if end == "network":
                assert network.down().returncode == 0
            else:
                (port,) = network.status()["ports"]
                network.call("Detach", interface=port["interface"])
            assert client.poll() is None
            ours.send(b"\xff" * 6 + bytes(54))
            assert client.wait(5) == 3
    check_clean(lab)


def test_guests_of_clients(lab, environment):
    """Two clients and a guest on a tap reach each other by address."""
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(guest_of_client(lab, environment, "shared"))
        second = stack.enter_context(guest_of_client(lab, environment, "shared", "own-mac"))
        third = stack.enter_context(first.network.guest())
        guests = (first, second, third)
        assert len({guest.ipv4 for guest in guests}) == 3
        for guest in guests:
            for other in guests:
                assert guest is other or guest.ping(other.ipv4, 3) == 3
    check_clean(lab)


def test_machines_behind_an_interface(lab, environment):
    """Each MAC address gets an address of its own, up to a bound; and the same one again."""
    with guest_of_client(lab, environment, "shared", "own-mac") as guest:
        addresses = {guest.ipv4}
        for number in range(2, 10):
            guest.ip_batch(
                f"address flush dev eth0\nlink set eth0 down\n"
                f"link set eth0 address 52:54:00:99:00:{number:02x}\nlink set eth0 up\n"
            )
            lease = guest.dhcp(check=False, tries=1 if number > 8 else 5)
            if lease:
                addresses.add(lease["ip"])
                assert guest.ping(guest.gateway, 1) == 1
        assert len(addresses) == 8
        guest.ip_batch(
            "address flush dev eth0\nlink set eth0 down\n"
            f"link set eth0 address {MACS[0]}\nlink set eth0 up\n"
        )
        assert guest.dhcp()["ip"] == guest.ipv4
    check_clean(lab)


@pytest.mark.parametrize("off", ["no-nat44", "no-nat66"])
def test_network_object_without_nat(lab, environment, off):
    """A way out for one IP version: a default route for it, and none for the other."""
    out, stays = (6, 4) if off == "no-nat44" else (4, 6)
    with guest_of_client(lab, environment, "shared", off, name="vmnet-shared-1") as guest:
        assert guest.ip(f"-{out} route show default") and not guest.ip(f"-{stays} route show default")
        assert guest.ping(guest.gateway) == guest.ping(guest.gateway6) == 1
        transfer(lab, guest, REMOTE[out])
        guest.ip(f"-{stays} route add default via {guest.gateways[stays]} dev eth0")
        with pytest.raises(OSError) as failed:
            guest.connect(REMOTE[stays], 9)
        assert failed.value.errno in (errno.EHOSTUNREACH, errno.EACCES)
    check_clean(lab)


def test_host_mode(lab, environment):
    """The gateway and nothing beyond."""
    with guest_of_client(lab, environment, "host") as guest:
        assert guest.ping(guest.gateway, 2) == 2
        assert "default" not in guest.ip("route")
    check_clean(lab)
