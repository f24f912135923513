# SPDX-License-Identifier: Apache-2.0
"""Networks in the host's own namespace: the host is afterwards as it was before, however they end."""

import contextlib
import json
import os
import re
import select
import signal
import socket
import subprocess

import pytest
from lab import (
    REMOTE,
    REMOTE4,
    TIMEOUT_S,
    LabError,
    dns_query,
    dns_read_answer,
    host_state,
    host_state_changes,
    poll,
)
from bridged import tc_state, whole_state
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
    """At one moment: stopped first, none of them sees that another has ended, and begins to put things back. Waits
    until they have let go of files and sockets, which is later than /proc forgets what they were."""
    with contextlib.ExitStack() as stack:
        pids = list(lab.processes())
        fds = [os.pidfd_open(pid) for pid in pids]
        for fd in fds:
            stack.callback(os.close, fd)
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for fd in fds:
                with contextlib.suppress(ProcessLookupError):  # dnsmasq ends with the router
                    signal.pidfd_send_signal(fd, number)
        for fd in fds:
            assert select.select([fd], [], [], TIMEOUT_S)[0]
    assert not lab.processes()


SUBNET = "start-address = 10.9.8.1\nend-address = 10.9.8.99\nsubnet-mask = 255.255.255.0\n"


@pytest.mark.parametrize(
    "route, text",
    [
        ("10.9.0.0/16 dev out0", SUBNET),
        ("10.9.8.64/26 dev out0", SUBNET),
        ("10.0.0.0/8 dev tun9", SUBNET),  # a VPN's
        ("10.9.8.7 dev tun9 table 51820", SUBNET),
        ("fd00:1::/48 dev out0", "nat66-prefix = fd00:1::\n"),
        ("fd00:1::/65 dev tun9", "nat66-prefix = fd00:1::\n"),
        ("fc00::/7 dev tun9", "nat66-prefix = fd00:1::\n"),
    ],
)
def test_addresses_of_the_host_are_not_taken(lab, route, text):
    before = host_state(lab.host)
    lab.host.ip("tuntap add tun9 mode tun")
    lab.host.ip("link set tun9 up")
    family = "-6" if ":" in route else "-4"
    lab.host.ip(f"{family} route add {route}")
    try:
        with pytest.raises(LabError) as failed:
            lab.system_network("taken", f"mode = shared\n{text}")
        shown = re.sub(" table .*", "", route.replace("8.7 ", "8.7/32 "))
        assert f"the host's route to {shown}; give it" in str(failed.value)
    finally:
        lab.host.ip(f"{family} route del {route}")
        lab.host.ip("link del tun9")
    assert_as_before(lab, before)


def test_a_default_route_in_halves_is_no_conflict(lab, version):
    """As VPNs have it, before the default route."""
    halves = {4: ["0.0.0.0/1", "128.0.0.0/1"], 6: ["::/1", "8000::/1"]}[version]
    for half in halves:
        lab.host.ip(f"-{version} route add {half} via {REMOTE[version]} dev out0")
    try:
        with running(lab, "halves") as network, network.guest() as guest:
            assert guest.ping(REMOTE[version]) == 1
    finally:
        for half in halves:
            lab.host.ip(f"-{version} route del {half}")


def test_a_route_that_comes_later_is_told(lab, version):
    text = f"mode = shared\n{SUBNET}nat66-prefix = fd00:1::\n"
    route = {4: "10.0.0.0/8 dev out0", 6: "fd00:1::/48 dev out0"}[version]
    with running(lab, "later", text) as network:
        assert network.describe()["warning"] is None
        lab.host.ip(f"-{version} route add {route}")
        try:
            warning = poll(lambda: network.describe()["warning"])
            assert f"the host's route to {route.split()[0]}" in warning
            assert warning in network.log()
        finally:
            lab.host.ip(f"-{version} route del {route}")
        assert poll(lambda: network.describe()["warning"] is None)


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


@contextlib.contextmanager
def hosts_dnsmasq(lab, *options):
    """One of the host's own, which knows one name; it listens when this returns."""
    log = lab.directory / "hosts-dnsmasq.log"
    with log.open("w") as file:
        process = lab.host.start(
            ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
             "--user=root", "--pid-file=", "--log-facility=-", "--address=/host.example/203.0.113.8", *options],
            stderr=file)
    try:
        assert poll(lambda: "started" in log.read_text()), log.read_text()
        yield
    finally:
        process.terminate()
        process.wait(5)
        lab.host.processes.remove(process)


def ask(namespace, server, name):
    with namespace.udp() as asking:
        asking.sendto(dns_query(name), (server, 53))
        return dns_read_answer(asking.recv(4096))


def test_a_dnsmasq_of_the_hosts_own(lab):
    """As it comes it has port 53 of all addresses. What is said then, done, helps both."""
    with hosts_dnsmasq(lab):
        with pytest.raises(LabError) as failed:
            lab.system_network("names", "mode = shared\n")
        said = re.search(r"dnsmasq: (\S+) and (\S+?);", str(failed.value))
    for options in ([f"--{option}" for option in said.groups()], ["--bind-interfaces", "--listen-address=127.0.0.53"]):
        with hosts_dnsmasq(lab, *options), running(lab, "names", "mode = shared\n", check=False) as network:
            with network.guest() as guest, lab.dns_server(records={("web.example", "A"): ["203.0.113.9"]}):
                assert guest.resolve("web.example") == (0, ["203.0.113.9"])
                assert guest.resolve("web.example", tcp=True) == (0, ["203.0.113.9"])
                own = "127.0.0.53" if "--bind-interfaces" in options else "127.0.0.1"
                assert ask(lab.host, own, "host.example") == (0, ["203.0.113.8"])


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


MODES = {
    "shared": "mode = shared\n",
    "host": "mode = host\n",
    "wired": "mode = bridged\nifname = lan0\n",
    "mac-nat": "mode = bridged\nifname = lan0\nmac-nat = on\n",
    "bridge": "mode = bridged\nifname = lanbr\n",
}


@pytest.mark.parametrize("mode", MODES)
def test_down_removes_what_was_left(lab, mode):
    """By all processes of a network that were killed, though its file is gone since. Machines that go on are cut off only by
    force."""
    before = whole_state(lab.host)
    if "lan0" in MODES[mode]:
        lab.host.ip_batch("link add lan0 type veth peer name lan1\nlink set lan0 up\nlink set lan1 up\n")
    elif "lanbr" in MODES[mode]:
        lab.host.ip_batch("link add lanbr type bridge\nlink set lanbr up\n")
    network = lab.system_network("again", MODES[mode])
    with network.attach() as port:
        kill_all(lab)
        lab.etc_openvmnet.joinpath("again.conf").unlink()
        refused = lab.vmnet("down", "again", check=False)
        assert refused.returncode == 1 and "network 'again': was killed" in refused.stderr
        assert "--force" in refused.stderr and not lab.processes()
        lab.vmnet("down", "again", "--force")
        assert not network.directory.exists() and not lab.processes()
        assert "does not run" in lab.vmnet("down", "again", check=False).stderr
        assert "vmnet-" not in "".join(whole_state(lab.host).values())
        assert port.interface not in lab.host.ip("link show") or "cut off" in lab.host.ip("link show")
    for link in ("lan0", "lanbr"):
        lab.host.run(["ip", "link", "del", link], check=False)
    assert poll(lambda: not host_state_changes(before, whole_state(lab.host))), host_state_changes(
        before, whole_state(lab.host))


def test_down_without_machines(lab):
    before = host_state(lab.host)
    network = lab.system_network("again", "mode = shared\n")
    kill_all(lab)
    assert host_state_changes(before, host_state(lab.host))
    lab.vmnet("down", "again")
    assert_as_before(lab, before)
    assert not network.directory.exists()


def test_down_after_a_start_that_failed(lab):
    """Its interface is gone: it does not start again, and what it has left is removed nevertheless."""
    before = whole_state(lab.host)
    lab.host.ip_batch("link add lan0 type veth peer name lan1\nlink set lan0 up\nlink set lan1 up\n")
    network = lab.system_network("again", MODES["wired"])
    with network.attach():
        kill_all(lab)
        lab.host.ip("link del lan0")
        assert "lan0" in lab.vmnet("up", "again", check=False).stderr
        lab.vmnet("down", "again", "--force")
    assert not network.directory.exists() and not lab.processes()
    assert poll(lambda: not host_state_changes(before, whole_state(lab.host))), host_state_changes(
        before, whole_state(lab.host))


def test_sockets_of_a_service_manager_are_left(lab):
    """Who removes what a network has left is told to have it stop listening."""
    directory = lab.run_openvmnet / "again"
    directory.mkdir(parents=True, mode=0o711)
    with socket.socket(socket.AF_UNIX) as control:
        control.bind(str(directory / "control"))
        control.listen()
        done = lab.host.run([lab.vmnetd_path, "--remove", "again"], check=False)
        assert done.returncode == 1 and "systemctl stop openvmnet@again.socket" in done.stderr
        assert (directory / "control").is_socket()
    (directory / "control").unlink()
    assert "does not run" in lab.vmnet("down", "again", check=False).stderr
    assert not directory.exists()


def test_force_cuts_machines_off(lab):
    """Of what is on the host only the tap of a machine that goes on stays, down and nobody's port any more."""
    before = host_state(lab.host)
    network = lab.system_network("cut", "mode = shared\n")
    with network.guest() as guest, network.guest() as second:
        taps = [guest.port.interface, second.port.interface]
        assert guest.ping(second.ipv4) == guest.ping(REMOTE4) == 1
        assert network.down().returncode == 0
        assert guest.ping(second.ipv4, timeout_s=1) == guest.ping(REMOTE4, timeout_s=1) == 0
        for tap in taps:
            (link,) = json.loads(lab.host.ip(f"-j link show {tap}"))
            assert "UP" not in link["flags"] and "master" not in link
            assert link["ifalias"] == "openvmnet: cut off from network cut"
        left = [what for what in host_state_changes(before, host_state(lab.host))
                if not any(f"/{tap}/" in what for tap in taps) and "ip -d link" not in what]
        assert not [what for what in left if not any(tap in what for tap in taps)], left
        with running_again(lab, "cut") as network:
            assert network.status()["ports"] == []
            with network.guest() as third:
                assert third.ping(REMOTE4) == 1
    assert_as_before(lab, before)


@pytest.mark.parametrize("mode", MODES)
def test_detached_tap_is_nobodys(lab, mode):
    """Its machine has a device that is down until it ends. Another has what it had at once, in the network and at what that is
    bridged to, and the next network of the name leaves it alone."""
    before = whole_state(lab.host)

    def filters():
        return {key: text for key, text in tc_state(lab.host).items() if key[0] in ("lan0", "vmnet-cut")}

    with contextlib.ExitStack() as stack:
        for links, kind in ((["lan0", "lan1"], "veth peer name lan1"), (["lanbr"], "bridge")):
            lab.host.ip(f"link add {links[0]} type {kind}")
            lab.host.ip_batch("".join(f"link set {link} up\n" for link in links))
            stack.callback(lab.host.ip, f"link del {links[0]}")
        network = lab.system_network("cut", MODES[mode])
        stack.callback(network.down)
        facts = {"name": "web", "mac": "52:54:00:00:00:42"}
        with network.attach(**facts) as port:
            with_port = filters()
            network.call("Detach", interface=port.interface)
            shown = lab.host.ip("-d link show")
            assert shown.count("openvmnet: cut off from network cut") == (mode not in ("wired", "mac-nat"))
            if f" {port.interface}: " in shown:
                (link,) = json.loads(lab.host.ip(f"-j link show {port.interface}"))
                assert "UP" not in link["flags"] and "master" not in link
            if mode == "wired":
                assert filters() != with_port
            with network.attach(**facts) as again:
                assert [each["interface"] for each in network.status()["ports"]] == [again.interface]
                assert filters() == with_port
            network.down()
            network = lab.system_network("cut", MODES[mode])
            assert network.status()["ports"] == []
        assert "cut off" not in lab.host.ip("-d link show")
    assert poll(lambda: not host_state_changes(before, whole_state(lab.host))), host_state_changes(
        before, whole_state(lab.host))


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


# What others do to what is the network's, and what is said of it.
MEDDLING = {
    "link del vmnet-hands": "has removed its bridge vmnet-hands",
    "link set vmnet-hands down": "",
    "address del {gateway}/24 dev vmnet-hands": "has removed the address {gateway} of",
    "address del {gateway6}/64 dev vmnet-hands": "has removed the address {gateway6} of",
    "address flush dev vmnet-hands": "has removed the address {gateway} of",
    "ipv4/conf/vmnet-hands/forwarding=0": "changed /proc/sys/net/ipv4/conf/vmnet-hands/forwarding",
    "ipv6/conf/vmnet-hands/forwarding=0": "changed /proc/sys/net/ipv6/conf/vmnet-hands/forwarding",
    "ipv4/conf/out0/forwarding=0": "",
    "ipv4/ip_forward=1 0": "changed /proc/sys/net/ipv4/conf/vmnet-hands/forwarding",
    "ipv6/conf/all/forwarding=1 0": "changed /proc/sys/net/ipv6/conf/vmnet-hands/forwarding",
}


def test_what_others_change_is_mended(lab):
    with running(lab, "hands") as network, network.guest(name="one") as guest, network.guest() as second:
        gateways = {"gateway": guest.gateway, "gateway6": guest.gateway6}

        def works():
            return (all(guest.ping(REMOTE[version], timeout_s=1) for version in (4, 6))
                    and guest.ping(second.ipv4, timeout_s=1) and second.dhcp(tries=2, check=False))

        assert works()
        for what, said in MEDDLING.items():
            before = len(network.log())
            name, _, values = what.partition("=")
            for value in values.split():
                lab.host.sysctl({name: value})
            if not values:
                lab.host.ip(what.format(**gateways))
            assert poll(lambda: said.format(**gateways) in network.log()[before:]), what
            assert poll(works, timeout_s=20), what
        assert second.resolve("one") == (0, [guest.ipv4])
        assert network.describe()["warning"] is None


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
