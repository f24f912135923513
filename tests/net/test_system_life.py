# SPDX-License-Identifier: Apache-2.0
"""Networks in the host's own namespace: the host is afterwards as it was before, however they end."""

import contextlib
import os
import signal
import subprocess

import pytest
from lab import REMOTE, REMOTE4, TIMEOUT_S, LabError, host_state, host_state_changes, poll
from system import (
    assert_as_before,
    exchange,
    needs_root,
    normal,
    refused,
    running,
    settings,
    table,
    unchanged_lab,
)

pytestmark = needs_root


@pytest.fixture(scope="module")
def lab():
    with unchanged_lab() as lab:
        yield lab


def kill_all(lab):
    """At one moment: stopped first, none of them sees that another has ended, and begins to put things back."""
    for signal_ in (signal.SIGSTOP, signal.SIGKILL):
        for pid in lab.processes():
            with contextlib.suppress(ProcessLookupError):  # dnsmasq ends with the router
                os.kill(pid, signal_)
    assert poll(lambda: not lab.processes())


def test_addresses_of_the_host_are_not_taken(lab):
    before = host_state(lab.host)
    lab.host.ip("route add 192.168.200.0/22 dev out0")
    try:
        with pytest.raises(LabError) as failed:
            lab.system_network("taken", "mode = shared\nstart-address = 192.168.201.1\n"
                               "end-address = 192.168.201.99\nsubnet-mask = 255.255.255.0\n")
        assert "192.168.200.0/22 dev out0" in str(failed.value)
    finally:
        lab.host.ip("route del 192.168.200.0/22 dev out0")
    assert_as_before(lab, before)


def test_prefixes_of_the_host_are_not_taken(lab):
    before = host_state(lab.host)
    lab.host.ip("-6 route add fd00:1::/48 dev out0")
    try:
        with pytest.raises(LabError) as failed:
            lab.system_network("taken", "mode = shared\nnat66-prefix = fd00:1::\n")
        assert "fd00:1::/48 dev out0" in str(failed.value)
    finally:
        lab.host.ip("-6 route del fd00:1::/48 dev out0")
    assert_as_before(lab, before)


def test_an_interface_of_that_name_is_not_touched(lab):
    lab.host.ip("link add vmnet-foreign type bridge")
    try:
        before = host_state(lab.host)
        with pytest.raises(LabError) as failed:
            lab.system_network("foreign", "")
        assert "ip link delete vmnet-foreign" in str(failed.value)
        assert_as_before(lab, before)
    finally:
        lab.host.ip("link del vmnet-foreign")


def test_a_resolver_on_all_addresses(lab):
    with lab.host.listen("0.0.0.0", 53):
        with pytest.raises(LabError) as failed:
            lab.system_network("names", "mode = shared\n")
        assert "except-interface=vmnet-*" in str(failed.value)
        with running(lab, "names", "mode = shared\ndns = off\n", check=False) as network:
            with network.guest() as guest:
                assert guest.ping(REMOTE4) == 1


@pytest.mark.parametrize("role", ["router", "engine", "dnsmasq"])
def test_a_process_dies(lab, role):
    with running(lab, "mortal") as network, network.guest() as guest, network.guest() as second:
        rules = normal(table(lab, "mortal"))
        pid = network.kill(role)[0]
        assert guest.ping(second.ipv4) == 1
        assert guest.ping(REMOTE4) == 1
        assert poll(lambda: network.is_running() and network.process(role) not in (0, pid))
        assert poll(lambda: len(network.status()["ports"]) == 2)
        assert normal(table(lab, "mortal")) == rules
        with network.guest() as third:
            assert third.ping(REMOTE4) == 1
            assert guest.ping(third.ipv4) == 1


def test_the_parent_dies(lab):
    """The others end with it and put everything back, also where guests still hold their ports."""
    before = host_state(lab.host)
    network = lab.system_network("orphan", "")
    with network.guest() as guest:
        port = guest.port.interface
        network.kill("parent")
        assert poll(lambda: not lab.processes())
        left = [what for what in host_state_changes(before, host_state(lab.host))
                if f"/{port}/" not in what and "ip -d link" not in what]
        assert all(port in what for what in left if what.startswith(("ip", "tc")))
        assert not [what for what in left if what.startswith(("nft", "/proc"))]
    assert_as_before(lab, before)
    lab.wait_until_clean()


def test_all_die_and_one_takes_over(lab):
    """What is left of a network becomes the next one's of that name: ports with their guests, too."""
    before = host_state(lab.host)
    network = lab.system_network("again", "")
    with network.guest(name="survivor") as guest:
        kill_all(lab)
        assert "vmnet-again" in lab.host.ip("link show")
        with running_again(lab, "again") as network:
            assert [port["name"] for port in network.status()["ports"]] == ["survivor"]
            assert poll(lambda: guest.ping(REMOTE4))
            with network.guest() as second:
                assert second.ping(guest.ipv4) == 1
                assert second.resolve("survivor") == (0, [guest.ipv4])
    assert_as_before(lab, before)


def test_its_own_rules_in_a_container(lab):
    """Where the kernel knows the processes by other numbers than they do themselves."""
    lab.define("boxed", "")
    network = lab.system_network("boxed", start=False)
    vmnetd = lab.host.start(
        ["unshare", "--pid", "--fork", "--kill-child", lab.vmnetd_path, "--system", "--lasting", "boxed"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert poll(network.is_running)
    network.attach().close()
    lab.host.nft("delete table inet vmnet-boxed")
    assert poll(lambda: "table inet" in table(lab, "boxed"))
    network.down()
    said = [line for line in vmnetd.communicate(timeout=TIMEOUT_S)[1].splitlines() if "made anew" in line]
    assert len(said) == 1 and "by the program 'nft'" in said[0]


def test_down_removes_what_was_left(lab):
    """By all processes of a network that were killed; machines that go on are cut off only by force."""
    before = host_state(lab.host)
    network = lab.system_network("again", "")
    with network.guest():
        kill_all(lab)
        refused = lab.vmnet("down", "again", check=False)
        assert refused.returncode == 1 and "--force" in refused.stderr
        kill_all(lab)
        lab.vmnet("down", "again", "--force")
    assert_as_before(lab, before)
    assert not network.directory.exists()
    assert "does not run" in lab.vmnet("down", "again", check=False).stderr


@contextlib.contextmanager
def running_again(lab, name):
    network = lab.system_network(name, "")
    try:
        yield network
    finally:
        print(network.log())
        network.down()


def test_settings_of_a_network_that_was_killed(lab):
    """The next network, of whatever name, puts back what the first cannot."""
    before = settings(lab)
    lab.system_network("killed", "")
    changed = settings(lab)
    assert changed != before
    kill_all(lab)
    assert settings(lab) == changed
    with running_again(lab, "killed"):
        assert settings(lab) == changed
    assert settings(lab) == before


def test_last_port(lab):
    """A network that nobody made lasting ends with its last port, and everything of it."""
    before = host_state(lab.host)
    lab.define("brief", "mode = shared\n")
    machine = lab.start_vm("-netdev", "vmnet-shared,id=n0,network=brief")
    assert poll(lambda: "vmnet-brief" in lab.host.ip("link show"))
    machine.stdin.close()
    machine.wait(5)
    assert_as_before(lab, before)


def test_host_mode(lab, version):
    """The host is reached, and nothing else, also where it forwards for others."""
    forward = {4: "ipv4/conf/all/forwarding", 6: "ipv6/conf/all/forwarding"}[version]
    with running(lab, "inside", "mode = host\n") as network, network.guest() as guest:
        assert not [name for name, value in settings(lab).items()
                    if "forwarding" in name and value.strip() == "1"]
        assert guest.ping(guest.gateways[version]) == 1
        with lab.host.listen(version=version) as listener:
            exchange(listener, lambda port: guest.connect(guest.gateways[version], port))
        assert guest.ip(f"-{version} route show default") == ""
        guest.ip(f"-{version} route add default via {guest.gateways[version]} dev eth0")
        lab.host.sysctl({forward: 1})
        try:
            assert guest.ping(REMOTE[version], timeout_s=1) == 0
            with lab.remote.listen(REMOTE[version]) as listener:
                assert refused(guest, REMOTE[version], listener.getsockname()[1])
        finally:
            lab.host.sysctl({forward: 0})


@pytest.fixture
def guest(lab):
    with running(lab, "moves") as network, network.guest() as guest:
        yield guest


def test_the_default_route_moves(lab, guest):
    before = settings(lab)
    lab.host.ip_batch(
        f"link add out1 type veth peer name in1 netns /proc/{lab.remote.holder.pid}/ns/net\n"
        "link set out1 up\naddress add 198.18.0.1/24 dev out1\n"
    )
    lab.remote.ip_batch("link set in1 up\naddress add 198.18.0.2/24 dev in1\n")
    try:
        lab.host.ip("route replace default via 198.18.0.2 dev out1")
        lab.host.ip("address del 198.51.100.1/24 dev out0")

        def only_the_new_one():
            now = settings(lab)
            return [now[f"/proc/sys/net/ipv4/conf/{name}/forwarding"].strip()
                    for name in ("out0", "out1")] == ["0", "1"]

        assert poll(only_the_new_one)
        with lab.remote.listen("198.18.0.2") as listener:
            peer = exchange(listener, lambda port: guest.connect("198.18.0.2", port))
        assert peer == "198.18.0.1"
    finally:
        lab.host.ip("link del out1")
        lab.host.ip("address add 198.51.100.1/24 dev out0")
        lab.host.ip(f"route replace default via {REMOTE4}")
    assert poll(lambda: settings(lab) == before)
    assert guest.ping(REMOTE4) == 1
