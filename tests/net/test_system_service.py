# SPDX-License-Identifier: Apache-2.0
"""Networks of the system: where they are configured and found, and by whose name they go."""

import json
import re
import stat

import pytest
from lab import REMOTE, Failed, poll
from system import OTHER, SERVICE, SystemLab, needs_root, started

pytestmark = needs_root


@pytest.fixture(scope="module")
def lab():
    with SystemLab() as lab:
        yield lab
        lab.wait_until_clean()


def names(user):
    return {each["name"]: each["system"] for each in json.loads(user.vmnet("ls", "--json").stdout)}


def test_file_defines_the_network(lab):
    with started(lab, "lab", "start-address = 10.70.0.1\nend-address = 10.70.0.99\nsubnet-mask = 255.255.255.0\n") as lan:
        network = lan.describe()
        assert network["system"] and network["lasting"]
        assert network["gateway"] == "10.70.0.1"
        assert network["configFile"] == str(lab.etc_openvmnet / "lab.conf")
        assert (lab.state_openvmnet / "lab" / "network.json").exists()
        # Nobody else can lock the network's directory, but everybody reaches its socket.
        assert stat.S_IMODE(lan.directory.stat().st_mode) == 0o711
        assert stat.S_IMODE(lan.control.stat().st_mode) == 0o666
        result = lab.vmnet("run", "--network", "lab", "--nic", "mode=host", "true", "{fd}", check=False)
        assert "runs with mode shared, not host" in result.stderr
    assert not lan.directory.exists()
    result = lab.vmnet("up", "lab", "--mode", "host", check=False)
    assert "mode=host was asked for" in result.stderr and "says shared" in result.stderr


def test_options_that_mean_nothing_are_refused(lab):
    lab.define("lab", "host-loopback = on")
    assert "host-loopback = on is not for a network of the system" in lab.vmnet("up", "lab", check=False).stderr


def test_ends_with_its_last_port(lab):
    lan = lab.system_network("short", "", start=False)
    vm = lab.start_vm("-nic", "vmnet-shared,network=short")
    assert re.search(r"short vm[0-9a-f]{6}-0", vm.stderr.readline())
    assert lan.describe()["system"]
    vm.stdin.close()
    assert vm.wait(5) == 0
    lab.wait_until_clean()


def capabilities(*numbers):
    return sum(1 << number for number in numbers)


NETWORK = capabilities(10, 12, 13)  # BIND_SERVICE, ADMIN, RAW
BRIDGED = capabilities(12, 13)
# What a router that is started anew begins with. SYS_ADMIN: it joins the namespace; DAC_OVERRIDE: Open vSwitch's socket.
HANDED_ON = capabilities(1, 21)


@pytest.mark.parametrize("mode", ["shared", "bridged"])
def test_rights_of_the_processes(lab, mode):
    """None is root, none can become it; one may change the host's network, and hands dnsmasq what it needs."""
    bridged = mode == "bridged"
    acting = BRIDGED if bridged else NETWORK
    to_be_had = {"engine": 0, "parent": BRIDGED | HANDED_ON if bridged else NETWORK}
    with started(lab, "lab", "mode = bridged\nifname = out0\n" if bridged else "") as lan:
        lan.attach().close()
        assert poll((lab.state_openvmnet / "lab" / "leases.json").exists)
        for restarted in (False, True):
            if restarted:
                lan.kill("router", "engine")
                assert poll(lambda: lan.is_running() and lan.process("router")
                            and (bridged or lan.process("dnsmasq")))  # fmt: skip
            for role, pid in lan.status()["processes"].items():
                if pid == 0 and role == "dnsmasq" and bridged:
                    continue
                with open(f"/proc/{pid}/status") as file:
                    status = dict(line.rstrip("\n").split(":\t", 1) for line in file)
                assert set(status["Uid"].split()) == set(status["Gid"].split()) == {str(SERVICE)}, role
                assert (status["Groups"].strip(), status["NoNewPrivs"], status["Seccomp"]) == ("", "1", "2"), role
                acts = role in ("router", "dnsmasq")
                assert int(status["CapEff"], 16) == (acting if acts else 0), role
                assert "Permission denied" not in lan.log()
                assert int(status["CapPrm"], 16) == to_be_had.get(role, acting), role


def test_without_the_user_it_says_so(lab):
    passwd = lab.etc / "passwd"
    before = passwd.read_text()
    passwd.write_text("".join(line for line in before.splitlines(True) if not line.startswith("openvmnet:")))
    try:
        with started(lab, "lab", "") as lan:
            assert "there is no user 'openvmnet'; make it: systemd-sysusers" in lan.log()
            # Beside it one that runs as the user, which is made now: they write down settings in one file.
            passwd.write_text(before)
            with started(lab, "other", "") as other:
                with other.guest() as guest, lan.guest() as at_roots:
                    for each in (guest, at_roots):
                        assert each.ping(REMOTE[4]) == 1
    finally:
        passwd.write_text(before)


def test_users_see_it_and_change_nothing(lab):
    user = lab.user()
    with started(lab, "lab", "") as lan:
        assert names(user) == {"lab": True}
        assert "gateway" in user.vmnet("status", "lab").stdout
        assert "runs already" in user.refused("up", "lab")
        for command in (["down", "lab"], ["forward", "lab", "add", "tcp::8080-a:80"]):
            assert "root" in user.refused(*command)
        assert "network 'lab'" in user.refused("run", "--network", "lab", "true", "{fd}")
        assert lan.describe()["ports"] == 0


def test_users_own_goes_first(lab):
    user, other = lab.user(), lab.user(OTHER)
    with started(lab, "lab", ""):
        user.write_file("lab", "mtu = 1400\n")
        user.vmnet("up", "lab")
        try:
            assert names(user) == {"lab": False}
            assert names(other) == {"lab": True}
        finally:
            user.vmnet("down", "lab")
            (user.config / "lab.conf").unlink()
        assert names(user) == {"lab": True}


def test_what_runs_goes_before_what_is_defined(lab):
    """Machines that are together stay together when an administrator defines a network of that name."""
    user = lab.user()
    user.vmnet("up", "team")
    try:
        with started(lab, "team", ""):
            assert names(user) == {"team": False}
    finally:
        user.vmnet("down", "team")
        (lab.etc_openvmnet / "team.conf").unlink()


def test_defined_but_not_running(lab):
    path = lab.define("idle")
    said = lab.user().refused("run", "--network", "idle", "true", "{fd}")
    assert "does not run" in said and "'vmnet up idle'" in said and "openvmnet@idle.socket" in said
    path.unlink()
    result = lab.host.run([lab.vmnetd_path, "--system", "idle"], check=False)
    assert result.returncode == 1 and "no network of the system is called 'idle'" in result.stderr


def test_for_root_the_systems_goes_first(lab):
    """sudo may leave it another's configuration directory."""
    stray = lab.directory / "stray"
    (stray / "openvmnet").mkdir(parents=True)
    (stray / "openvmnet" / "lab.conf").write_text("mode = host\n")
    lab.environment["XDG_CONFIG_HOME"] = str(stray)
    try:
        with started(lab, "lab", "") as lan:
            assert lan.describe()["mode"] == "shared" and lan.describe()["system"]
    finally:
        del lab.environment["XDG_CONFIG_HOME"]


def test_networks_of_root_itself_are_closed_to_others(lab):
    user = lab.user()
    environment = {k: v for k, v in lab.environment.items() if not k.startswith("XDG_")}
    lab.vmnet("up", "mine", env=environment)
    try:
        directory = lab.run_openvmnet / "mine"
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert names(user) == {}
        # A name that only root has is free for others.
        user.vmnet("up", "mine")
        assert names(user) == {"mine": False}
        user.vmnet("down", "mine")
    finally:
        lab.vmnet("down", "mine", env=environment)


def test_control_says_who_is_refused(lab):
    with started(lab, "lab", "") as lan:
        assert lan.describe()["name"] == "lab"
        program = (
            "import json, socket, sys\n"
            "s = socket.socket(socket.AF_UNIX)\n"
            "s.connect(sys.argv[1])\n"
            "s.sendall(json.dumps({'method': 'io.openvmnet.Stop'}).encode() + b'\\0')\n"
            "print(s.recv(9999)[:-1].decode())\n"
        )
        reply = json.loads(lab.user().run("/usr/bin/python3", "-c", program, lan.control).stdout)
        assert reply["parameters"]["code"] == "EACCES"
        with pytest.raises(Failed):
            lan.call("Detach", interface="tap7")  # root's word is heard
