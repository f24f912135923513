# SPDX-License-Identifier: Apache-2.0
"""The short way of bridged networks when the interface changes, comes and goes; where bpf(2) is refused; and what is
left of it: nothing."""

import contextlib
import os
import pathlib
import re
import socket

import pytest

from bridged import as_it_was, settled, system_guest, two_guests, unicast
from lab import HERE, PYTHON
from shortcut import SHORT, TEXT, Inside, bpf, is_long, is_short, kill_router, needs_shortcut, talk
from system import SystemLab, exchange, running

pytestmark = needs_shortcut
IP_MTU_DISCOVER, IP_PMTUDISC_PROBE = 10, 3
BPF_PROG_GET_FD_BY_ID, BPF_MAP_GET_FD_BY_ID = 13, 14


@pytest.fixture(scope="module")
def lab():
    with SystemLab() as lab, as_it_was(lab):
        yield lab


# ---- what happens to the interface


@pytest.fixture
def spare(lab):
    """Another interface of the host, whose other end is the remote's: what makes it, its network, and a guest there."""
    host, remote = lab.host, lab.remote

    def make():
        host.ip_batch(
            f"link add lan0 type veth peer name lan1 netns /proc/{remote.holder.pid}/ns/net\n"
            "link set lan0 addrgenmode none address 02:00:5e:10:00:07 mtu 9000\n"
            "link set lan0 up\naddress add 10.9.0.1/24 dev lan0\n"
        )
        remote.ip_batch("link set lan1 up mtu 9000\naddress add 10.9.0.2/24 dev lan1\n")

    make()
    with (
        running(lab, "spare", "mode = bridged\nifname = lan0\nmtu = 2000\n", check=False) as network,
        Inside(network) as inside,
        system_guest(network, 1) as guest,
    ):
        guest.ip("address add 10.9.0.11/24 dev eth0")
        yield make, network, inside, guest
    host.ip("link del lan0")


def way(lab, inside, guest):
    """"short" or "long" where outside and host reach the machine, and it them; None where one does not."""

    def all_four():
        for far, address in ((lab.remote, "10.9.0.2"), (lab.host, "10.9.0.1")):
            for a, b, to in ((guest, far, address), (far, guest, "10.9.0.11")):
                with b.listen(to) as listener:
                    exchange(listener, lambda port, a=a, to=to: a.connect(to, port, timeout_s=0.5))

    with contextlib.suppress(TimeoutError, OSError):
        passed = inside.passed(all_four)
        return "short" if passed == SHORT else "long"
    return None


def test_interface_changes(lab, spare):
    """It goes and comes back, has another MAC, and its link to the network is removed by somebody."""
    make, network, inside, guest = spare
    host = lab.host
    settled(lambda: way(lab, inside, guest) == "short", "at first")

    host.ip("link set lan0 address 02:00:5e:10:00:08")
    for namespace in (lab.remote, guest):
        namespace.ip("neigh flush all")
    settled(lambda: way(lab, inside, guest) == "short", "with another MAC")

    host.ip("link del vmnet-spare")
    settled(lambda: "vmnet-spare was removed" in network.log(), "told")
    settled(lambda: way(lab, inside, guest) == "short", "over a link that was made again")

    host.ip("link del lan0")
    settled(lambda: "lan0 is gone" in network.log(), "told")
    with system_guest(network, 2) as late:
        late.ip("address add 10.9.0.12/24 dev eth0")
        make()
        for namespace in (guest, late):
            namespace.ip("neigh flush all")
        settled(lambda: way(lab, inside, guest) == "short", "it is there again")
        with late.listen("10.9.0.12") as listener:

            def connect():
                exchange(listener, lambda port: lab.remote.connect("10.9.0.12", port))

            connect()
            assert inside.passed(connect) == SHORT, "a machine that came meanwhile"


def test_mtu_changes(lab, spare):
    """Frames to machines pass, by the short way, up to the network's MTU; those from them up to the interface's."""
    _, network, inside, guest = spare
    guest.ip("link set eth0 mtu 9000")

    def passes(a, b, to, size):
        """How many arrive of one frame of @size, whose sender does not know the MTU of the way."""
        with b.udp(to) as server, a.udp() as client:
            client.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE)
            for length in (size - 28, 1):
                client.sendto(bytes(length), server.getsockname())
            count = 0
            while len(server.recv(10000)) > 1:
                count += 1
        return count

    settled(lambda: way(lab, inside, guest) == "short", "at first")
    up, down = (guest, lab.remote, "10.9.0.2"), (lab.remote, guest, "10.9.0.11")
    for lan0, machines in ((9000, 2000), (1400, 1400), (9000, 2000)):
        lab.host.ip(f"link set lan0 mtu {lan0}")
        settled(lambda mtu=machines: network.describe()["mtu"] == mtu, "told")
        for to in (up, down):
            settled(lambda to=to, mtu=machines: passes(*to, mtu), f"{machines}: as long as that")
            assert inside.passed(passes, *to, machines) == SHORT
        assert passes(*down, machines + 100) == 0
        settled(lambda lan0=lan0: passes(*up, lan0) == 1, "as long as the interface")
        assert lan0 == 9000 or passes(*up, lan0 + 100) == 0


# ---- where there is no bpf(2), and what is left


@pytest.fixture(scope="module")
def empty_lab():
    """A laboratory without a network, and a file: while that is there, its vmnetd is refused bpf(2)."""
    with SystemLab() as lab:
        refused = lab.directory / "bpf-is-refused"
        program = lab.vmnetd_path.with_name("vmnetd-itself")
        lab.vmnetd_path.rename(program)
        wrapper = f"{PYTHON} -I -S {HERE}/without_bpf.py {refused} {program}"
        lab.vmnetd_path.write_text(f'#!/bin/sh\nexec {wrapper} "$@"\n')
        lab.vmnetd_path.chmod(0o755)
        yield lab, refused


@pytest.fixture
def refusing(empty_lab):
    lab, refused = empty_lab
    with as_it_was(lab):
        yield lab, refused
    refused.unlink(missing_ok=True)


def programs(lab, inside):
    """Names of the short way's programs, wherever they are filters."""
    links = re.findall(r"^\d+: ([^:@]+)", inside.run("ip", "-o", "link"), re.MULTILINE)
    shown = [inside.run("tc", "filter", "show", "dev", link, "ingress") for link in links]
    shown.append(lab.host.run(["tc", "filter", "show", "dev", "out0", "ingress"]).stdout)
    return re.findall(r"direct-action.* name (\w+)", "\n".join(shown))


def held(network):
    """Kinds and numbers of the programs and maps that the network's router has."""
    found = []
    for path in pathlib.Path(f"/proc/{network.process('router')}/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found += re.findall(r"^(prog|map)_id:\t(\d+)", path.read_text(), re.MULTILINE)
    assert [kind for kind, _ in found].count("prog") == 3 and all(exists(*each) for each in found)
    return found


def exists(kind, number):
    fd = bpf(BPF_PROG_GET_FD_BY_ID if kind == "prog" else BPF_MAP_GET_FD_BY_ID, int(number))
    if fd >= 0:
        os.close(fd)
    return fd >= 0


def wait_until_gone(numbers):
    settled(lambda: not any(exists(*each) for each in numbers), "programs and maps are gone")


def test_bpf_is_refused(refusing):
    """From the start: all works the long way, which the log says once, and nothing is there of the short one."""
    lab, refused = refusing
    refused.touch()
    with (
        running(lab, "lan", TEXT, check=False) as network,
        Inside(network) as inside,
        two_guests(network) as (one, two),
    ):
        assert programs(lab, inside) == []
        assert "clsact" not in inside.run("tc", "qdisc", "show")
        for a, b in ((one, lab.remote), (lab.remote, one), (one, two), (lab.host, two), (two, lab.host)):
            for version in (4, 6):
                unicast(a, b, version, 1 << 20)
        assert is_long(inside, one, lab.remote)
        said = [line for line in network.log().splitlines() if "bpf(2)" in line]
        assert len(said) == 1 and "Operation not permitted" in said[0] and "warn" not in said[0], network.log()


def test_bpf_is_refused_to_the_next_router(refusing):
    """It takes away the last one's programs, which nobody tells of machines. At the network's end nothing is left."""
    lab, refused = refusing
    with (
        running(lab, "lan", TEXT, check=False) as network,
        Inside(network) as inside,
        two_guests(network) as (one, two),
    ):
        assert is_short(inside, one, lab.remote)
        assert sorted(set(programs(lab, inside))) == ["from_machine", "from_outside", "to_machine"]
        ours = held(network)
        refused.touch()
        kill_router(network)
        settled(lambda: is_long(inside, one, lab.remote), "the long way")
        assert programs(lab, inside) == []
        wait_until_gone(ours)
        with system_guest(network, 3) as late:
            for a, b in ((one, late), (late, two), (late, lab.remote), (lab.remote, late), (lab.host, one)):
                talk(a, b)
        # With the right to it there is one again.
        refused.unlink()
        kill_router(network)
        settled(lambda: is_short(inside, one, lab.remote), "the short way")
        ours = held(network)
    wait_until_gone(ours)


def test_all_are_killed(refusing):
    """What is left of the short way then ends with the machines and the next start."""
    lab, _ = refusing
    with running(lab, "lan", TEXT, check=False) as network, system_guest(network, 1) as guest:
        talk(guest, lab.remote)
        ours = held(network)
        network.kill("parent", "engine", "router")
        guest.close()
        lab.vmnet("up", "lan")
    wait_until_gone(ours)
