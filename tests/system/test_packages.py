# SPDX-License-Identifier: Apache-2.0
"""The packages of `make deb` under a real systemd: installed, upgraded, used by users without rights, purged."""

import contextlib
import json
import re

import pytest

import machine as machines
from lab import host_state, host_state_changes
from machine import Machine, MachineError, poll
from places import HOST, OUTSIDE, Guest, Place, fetch, programs

reason = machines.missing()
pytestmark = pytest.mark.skipif(bool(reason), reason=reason)

# What tests run in the machine beside the packages themselves and what these need.
TOOLS = ["systemd", "systemd-sysv", "dbus", "iproute2", "nftables", "procps", "python3-minimal"]
MODES = ("shared", "host", "bridged", "macnat", "bridge")
FILES = {
    "shared": "mode = shared\n",
    "host": "mode = host\n",
    "bridged": "mode = bridged\nifname = eth0\n",
    "macnat": "mode = bridged\nifname = eth0\nmac-nat = on\n",
    "bridge": "mode = bridged\nifname = br0\n",
}


class State:
    """What lab.host_state() asks for its commands."""

    def __init__(self, machine):
        self.machine = machine

    def run(self, command, check=False):
        return self.machine.run(*command, check=check)


def as_before(machine, before):
    """Waits until the machine's network is as it was."""
    changes = []

    def same():
        changes[:] = host_state_changes(before, host_state(State(machine)))
        return not changes

    assert poll(same, 8, 0.2), "\n".join(changes)


@pytest.fixture(scope="module")
def debs():
    return machines.packages()


@pytest.fixture(scope="module")
def bare(debs):
    """A machine with two users, a physical network and a bridge, and nothing of ours."""
    # noqa: flake8 takes the module's own name for the fixture's.
    root = machines.files(machines.suite(), TOOLS + machines.needed(debs))  # noqa: F823
    with Machine(root) as machine:
        machine.copy(*debs, to="/debs", mode=0o644)
        machine.copy(*programs(), to="/tests")
        machine.sh("groupadd --force --system kvm; useradd -m -G kvm alice; useradd -m bob; ip netns add lan")
        machine.host = Place(f"--target={machine.leader}", "--net")
        machine.lan = Place(f"--net={machine.path('/run/netns/lan')}")
        machine.host.ip(
            "link add eth0 type veth peer name wire0 netns " + str(machine.path("/run/netns/lan")) + "\n"
            "link add br0 address 02:00:5e:10:00:01 type bridge\nlink add port0 type veth peer name port1\n"
            "link set eth0 addrgenmode none up\nlink set br0 addrgenmode none up\n"
            "link set port0 addrgenmode none up master br0\nlink set port1 addrgenmode none up\n"
            f"address add {HOST}/24 dev eth0\nroute add default via {OUTSIDE}\n"
            "address add 203.0.113.1/24 dev br0\n"
        )
        machine.lan.ip(f"link set lo up\nlink set wire0 up\naddress add {OUTSIDE}/24 dev wire0\n")
        yield machine


def install(machine, *names):
    machine.run("apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *names)


@pytest.fixture(scope="module")
def installed(bare, debs):
    install(bare, *(f"/debs/{deb.name}" for deb in debs))
    return bare


@pytest.fixture(scope="module")
def machine(installed):
    """With a network of each mode, that systemd listens for."""
    installed.before = host_state(State(installed))
    for mode in MODES:
        define(installed, mode, FILES[mode] + "allow-group = kvm\n")
        installed.run("systemctl", "enable", "--now", f"openvmnet@{mode}.socket")
    return installed


def define(machine, name, text):
    machine.write(f"/etc/openvmnet/{name}.conf", text)


def is_active(machine, unit):
    return machine.run("systemctl", "is-active", unit, check=False).stdout.strip()


def ended(machine, name):
    """The service has ended by itself, without an error."""
    return poll(lambda: is_active(machine, f"openvmnet@{name}.service") == "inactive")


def warnings(machine, name):
    return [text for priority, text in machine.journal(f"openvmnet@{name}.service") if priority <= 4]


# ---- installed


def test_installed(installed):
    """Users, directories, programs, pages; and systemd is content."""
    assert installed.run("getent", "passwd", "openvmnet").stdout.split(":")[5:] == ["/var/lib/openvmnet", "/usr/sbin/nologin\n"]
    modes = installed.sh("stat -c '%A %U:%G %n' /run/openvmnet /var/lib/openvmnet /etc/openvmnet").splitlines()
    assert modes == [
        "drwxrwxr-t root:openvmnet /run/openvmnet",
        "drwx------ openvmnet:openvmnet /var/lib/openvmnet",
        "drwxr-xr-x root:root /etc/openvmnet",
    ]
    helper = installed.sh("stat -c '%a %U' /usr/libexec/openvmnet-bridge-helper").strip()
    assert helper == "755 root"
    assert installed.user("bob", "vmnet", "--version").stdout.startswith("vmnet ")
    assert installed.sh("dpkg --verify openvmnet libopenvmnet0 libvmnet0") == ""
    for page in ("man1/vmnet.1", "man5/openvmnet.conf.5", "man7/openvmnet.7", "man8/vmnetd.8"):
        assert f"/usr/share/man/{page}.gz" in installed.sh("dpkg -L openvmnet").splitlines()
    # Its parser is not here, or is too old.
    assert not installed.path("/etc/apparmor.d/vmnetd").exists()
    assert installed.run("systemctl", "is-system-running", check=False).stdout == "running\n"


def test_without_systemd(installed):
    """As root and by hand; it runs as the system's user and is gone afterwards."""
    before = host_state(State(installed))
    define(installed, "byhand", "mode = shared\nallow-user = alice\n")
    installed.run("vmnet", "up", "byhand")
    try:
        owners = set(installed.sh("ps -o user= -C vmnetd,dnsmasq").split())
        assert owners == {"openvmne+"} or owners == {"openvmnet"}
        with Guest(installed, "byhand") as guest:
            assert guest.reaches(guest.gateway)
        installed.run("vmnet", "down", "byhand")
    finally:
        installed.run("vmnet", "down", "--force", "byhand", check=False)
        installed.sh("rm /etc/openvmnet/byhand.conf")
    as_before(installed, before)
    assert installed.sh("ls -A /run/openvmnet") == ""


# ---- networks of each mode


def capabilities(*numbers):
    return sum(1 << number for number in numbers)


ROUTED, BRIDGED = capabilities(10, 12, 13), capabilities(12, 13)  # BIND_SERVICE, ADMIN, RAW
NAMESPACES = capabilities(21)  # SYS_ADMIN


def has_least_rights(machine, mode):
    """Its processes are the service's user; the router acts, the parent could start another one, the rest has nothing."""
    acting, parent = (ROUTED, ROUTED) if mode in ("shared", "host") else (BRIDGED, BRIDGED | NAMESPACES)
    may = {"parent": (0, parent), "router": (acting, acting), "engine": (0, 0), "dnsmasq": (acting, acting)}
    uid = machine.run("id", "-u", "openvmnet").stdout.strip()
    processes = json.loads(machine.run("vmnet", "status", "--json", mode).stdout)["processes"]
    for role, pid in processes.items():
        if pid == 0:
            continue
        text = machine.path(f"/proc/{pid}/status").read_text()
        status = dict(line.split(":\t", 1) for line in text.splitlines())
        assert set(status["Uid"].split()) == {uid}, role
        assert (int(status["CapEff"], 16), int(status["CapPrm"], 16)) == may[role], role
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2"), role


@pytest.mark.parametrize("mode", MODES)
def test_each_mode(machine, mode):
    """Started by an allowed user's machine, passes traffic, ends with the last machine, leaves nothing, warns of nothing."""
    before = host_state(State(machine))
    routed = mode in ("shared", "host")
    addresses = [None, None] if routed else [f"203.0.113.{i}" if mode == "bridge" else f"198.51.100.{i}" for i in (11, 12)]
    assert is_active(machine, f"openvmnet@{mode}.service") == "inactive"
    with Guest(machine, mode, address=addresses[0]) as one, Guest(machine, mode, address=addresses[1]) as two:
        has_least_rights(machine, mode)
        assert fetch(one, two, one.address, 5001) == two.address
        if routed:
            assert one.reaches(one.gateway)
        if mode in ("bridged", "macnat"):
            assert fetch(machine.lan, one, OUTSIDE, 5002) == one.address
            assert fetch(one, machine.lan, one.address, 5003) == OUTSIDE
            assert fetch(machine.host, one, HOST, 5004) == one.address
        elif mode == "bridge":
            assert fetch(machine.host, one, "203.0.113.1", 5004) == one.address
        elif mode == "shared":
            assert fetch(machine.lan, one, OUTSIDE, 5002) == HOST
        else:
            assert not one.run("ping", "-n", "-c1", "-W1", OUTSIDE, check=False).returncode == 0
    assert ended(machine, mode)
    as_before(machine, before)
    assert warnings(machine, mode) == []
    assert is_active(machine, f"openvmnet@{mode}.socket") == "active"


def test_shortcut(machine):
    """The packages have it, and the service may load it, beside all that it may not."""
    with Guest(machine, "bridged", address="198.51.100.11") as guest:
        filters = machine.run("tc", "filter", "show", "dev", "eth0", "ingress").stdout
        assert [text for _, text in machine.journal("openvmnet@bridged.service") if "shortcut" in text] == []
        assert re.search(r" openvmnet direct-action ", filters), filters
        assert fetch(machine.lan, guest, OUTSIDE, 5002) == guest.address
    assert ended(machine, "bridged")


def test_what_a_user_does(machine):
    """status, ls, forwards, programs that reach machines; a helper for QEMU."""
    with Guest(machine, "shared", nic=",forward=tcp:0.0.0.0:8080-:80") as one:
        assert re.search(r"^shared +shared .* yes$", machine.user("bob", "vmnet", "ls").stdout, re.M)
        status = machine.user("alice", "vmnet", "status", "shared").stdout
        assert one.mac in status and "8080" in status
        serving = one.start("/usr/bin/python3", "-c", "import socket; s = socket.create_server(('', 80));"
                            "print(1, flush=True); c, _ = s.accept(); c.sendall(b'hello'); c.recv(1)")  # fmt: skip
        try:
            assert serving.stdout.readline() == "1\n"
            hello = machine.lan.run("/usr/bin/python3", "-c", "import socket; print(socket.create_connection("
                                    f"('{HOST}', 8080), 5).recv(9))")  # fmt: skip
            assert hello.stdout == "b'hello'\n"
        finally:
            serving.kill()
            serving.communicate()
        helper = (
            "import socket, subprocess, sys; a, b = socket.socketpair(); "
            "subprocess.run(['/usr/libexec/openvmnet-bridge-helper', '--br=shared', '--use-vnet', f'--fd={b.fileno()}',"
            " '--mac=52:54:00:00:00:77'], pass_fds=[b.fileno()], check=True); "
            "print(len(socket.recv_fds(a, 9, 1)[1])); "
            "print(subprocess.run(['vmnet', 'status', 'shared'], stdout=subprocess.PIPE, text=True).stdout)"
        )
        said = machine.user("alice", "python3", "-c", helper).stdout
        assert said.startswith("1\n") and "52:54:00:00:00:77" in said
    assert ended(machine, "shared")


def test_who_is_not_allowed(machine):
    """Is told what to write; the journal says who it was, and that it was a denial."""
    result = machine.user("bob", "vmnet", "run", "--network", "host", "true", "{fd}", check=False)
    assert result.returncode == 1 and "allow-user" in result.stderr
    uid = machine.run("id", "-u", "bob").stdout.strip()
    denied = [text for text in warnings(machine, "host") if f"denied to uid {uid}: attach ports" in text]
    assert len(denied) == 1
    assert ended(machine, "host")


def test_looking_starts_nothing(machine):
    listed = machine.user("bob", "vmnet", "ls").stdout
    machine.user("bob", "vmnet", "status")
    for mode in MODES:
        assert re.search(f"^{mode} .* listening +yes$", listed, re.M)
        assert is_active(machine, f"openvmnet@{mode}.service") == "inactive"


def test_a_wrong_file(machine):
    """Who asks reads why, each time; when it is mended the next one has a network, without a word to systemd."""
    define(machine, "wrong", "mode = wild\n")
    machine.run("systemctl", "start", "openvmnet@wrong.socket")
    for _ in range(10):
        result = machine.user("alice", "vmnet", "run", "--network", "wrong", "true", "{fd}", check=False)
        assert result.returncode == 1 and "wrong.conf:1: unknown mode 'wild'" in result.stderr
    assert {priority for priority, text in machine.journal("openvmnet@wrong") if "wild" in text} == {3}
    assert is_active(machine, "openvmnet@wrong.socket") == "active"
    define(machine, "wrong", "mode = host\nallow-user = alice\n")
    machine.user("alice", "vmnet", "run", "--network", "wrong", "true", "{fd}")
    assert ended(machine, "wrong")
    machine.sh("systemctl stop openvmnet@wrong.socket; rm /etc/openvmnet/wrong.conf")


def test_machines_come_and_go_often(machine):
    for _ in range(25):
        machine.user("alice", "vmnet", "run", "--network", "host", "true", "{fd}")
    assert is_active(machine, "openvmnet@host.socket") == "active"
    assert ended(machine, "host")


# ---- ends


@pytest.mark.parametrize("mode", MODES)
def test_killed(machine, mode):
    """By force, all of it: systemd starts it anew, machines go on, and at the end nothing is left."""
    before = host_state(State(machine))
    addresses = {"bridge": "203.0.113.11", "bridged": "198.51.100.11", "macnat": "198.51.100.11"}
    forward = ",forward=tcp:0.0.0.0:8081-:80" if mode == "shared" else ""
    with Guest(machine, mode, nic=forward, address=addresses.get(mode)) as guest:
        for whom in ("main", "all"):
            pid = machine.run("systemctl", "show", "-P", "MainPID", f"openvmnet@{mode}").stdout
            machine.run("systemctl", "kill", "--signal=KILL", f"--kill-who={whom}", f"openvmnet@{mode}.service")
            assert poll(lambda old=pid: machine.run("systemctl", "show", "-P", "MainPID", f"openvmnet@{mode}").stdout
                        not in (old, "0\n"))  # fmt: skip
            assert poll(lambda: "ports" in machine.run("vmnet", "status", mode, check=False).stdout)
        assert guest.is_alive()
        # A bridged machine's namespace went with the processes that knew it: it is started anew.
        if mode not in ("bridged", "macnat"):
            assert poll(lambda: guest.mac in machine.run("vmnet", "status", mode).stdout)
            assert guest.reaches(guest.gateway if mode != "bridge" else "203.0.113.1")
        if forward:
            assert "8081" in machine.run("vmnet", "status", mode).stdout
    assert ended(machine, mode)
    as_before(machine, before)


def test_stop(machine):
    """Of service and socket, with a machine on it: the network is gone, the machine lives."""
    before = host_state(State(machine))
    with Guest(machine, "shared") as guest:
        machine.run("systemctl", "stop", "openvmnet@shared.socket", "openvmnet@shared.service")
        assert not machine.path("/run/openvmnet/shared/control").exists()
        assert guest.is_alive()
        assert "vmnet-shared" not in machine.sh("ip link; nft list ruleset")
    as_before(machine, before)
    refused = machine.user("alice", "vmnet", "run", "--network", "shared", "true", "{fd}", check=False)
    assert "systemctl start openvmnet@shared.socket" in refused.stderr
    machine.run("systemctl", "start", "openvmnet@shared.socket")


def test_lasting(machine):
    machine.run("vmnet", "up", "host")
    assert is_active(machine, "openvmnet@host.service") == "active"
    assert re.search(r"^host .* lasting +yes$", machine.user("bob", "vmnet", "ls").stdout, re.M)
    machine.run("vmnet", "down", "host")
    assert ended(machine, "host")


# ---- other versions, and none


def older(machine):
    """The same package with a lower version, as the machine's own dpkg makes it."""
    machine.sh(
        "rm -rf /older; dpkg-deb -R /debs/openvmnet_*.deb /older; "
        "sed -i 's/^Version: .*/Version: 0.0.9/' /older/DEBIAN/control; dpkg-deb -b /older /older.deb"
    )
    return "/older.deb"


def version(machine):
    return machine.run("dpkg-query", "-W", "-f", "${Version}", "openvmnet").stdout


def test_upgrade(machine, debs):
    """What runs goes on; what is remembered stays; what starts then is the new version."""
    machine.run("apt-get", "install", "--yes", "--quiet", "--allow-downgrades", "--no-install-recommends", older(machine))
    assert version(machine) == "0.0.9"
    with Guest(machine, "shared") as guest:
        address = guest.address
        pid = machine.run("systemctl", "show", "-P", "MainPID", "openvmnet@shared").stdout
        install(machine, *(f"/debs/{deb.name}" for deb in debs if deb.name.startswith("openvmnet_")))
        assert version(machine) != "0.0.9"
        assert guest.reaches(guest.gateway)
        assert machine.run("systemctl", "show", "-P", "MainPID", "openvmnet@shared").stdout == pid
    assert ended(machine, "shared")
    with Guest(machine, "shared") as guest:
        assert guest.address == address
    assert ended(machine, "shared")
    assert is_active(machine, "openvmnet@shared.socket") == "active"


def test_profile_where_apparmor_reads_it(machine, debs):
    """Put there by the package, and kept as an administrator has it."""
    profile = machine.path("/etc/apparmor.d/vmnetd")
    machine.sh("mkdir -p /etc/apparmor.d/abi; touch /etc/apparmor.d/abi/4.0")
    again = ["apt-get", "install", "--yes", "--quiet", "--reinstall", f"/debs/{debs[-1].name}"]
    machine.run(*again)
    assert "userns," in profile.read_text()
    profile.write_text("# an administrator's\n")
    machine.run("env", "DEBIAN_FRONTEND=noninteractive", *again)
    assert profile.read_text() == "# an administrator's\n"


def test_purge(machine):
    """With networks that run, by hand and by systemd: they end, and nothing is left but what administrators wrote."""
    define(machine, "byhand", "mode = shared\n")
    machine.run("vmnet", "up", "byhand")
    with contextlib.ExitStack() as stack:
        guests = [stack.enter_context(Guest(machine, mode, address=address))
                  for mode, address in (("shared", None), ("bridged", "198.51.100.11"))]  # fmt: skip
        machine.run("apt-get", "purge", "--yes", "--quiet", "openvmnet")
        assert all(guest.is_alive() for guest in guests)
        assert machine.sh("pgrep -a 'vmnetd|dnsmasq' || true") == ""
    as_before(machine, machine.before)
    left = machine.sh(
        "find /run/openvmnet /var/lib/openvmnet /usr/lib/systemd /lib/systemd /etc/systemd /usr/libexec /usr/share/openvmnet"
        " /etc/apparmor.d/vmnetd -name '*vmnet*' 2>/dev/null || true"
    )
    assert left == ""
    assert sorted(machine.sh("ls /etc/openvmnet").split()) == sorted([*(f"{mode}.conf" for mode in MODES), "byhand.conf"])
    assert machine.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "openvmnet*").stdout == ""
    assert machine.run("systemctl", "is-system-running", check=False).stdout == "running\n"
    with pytest.raises(MachineError):
        machine.run("vmnet", "ls")
