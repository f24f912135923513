# SPDX-License-Identifier: Apache-2.0
"""Networks of the system that a service manager listens for: started by who connects."""

import contextlib
import json
import os
import pathlib
import select
import shutil
import subprocess

import pytest
from lab import PYTHON, TIMEOUT_S, poll
from system import USER, SystemLab, needs_root

pytestmark = needs_root

ACTIVATE = pathlib.Path(__file__).resolve().parent / "activate.py"


@pytest.fixture(scope="module")
def lab():
    with SystemLab() as lab:
        shutil.copy(ACTIVATE, lab.directory)
        yield lab
        lab.wait_until_clean()


class Manager:
    def __init__(self, lab, network, *options):
        self.process = lab.host.start(
            [PYTHON, lab.directory / "activate.py", network.directory]
            + [lab.vmnetd_path, "--system", *options, network.name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def line(self):
        assert select.select([self.process.stdout], [], [], 3 * TIMEOUT_S)[0], "the manager says nothing"
        return self.process.stdout.readline().strip()

    def said_nothing(self):
        return not select.select([self.process.stdout], [], [], 0)[0]

    def end(self):
        self.process.stdin.close()
        self.process.wait(3 * TIMEOUT_S)


@contextlib.contextmanager
def managed(lab, name, text, *options):
    lab.define(name, text)
    network = lab.system_network(name, start=False)
    manager = Manager(lab, network, *options)
    assert manager.line() == "ready"
    try:
        yield network, manager
    finally:
        manager.end()
        print(manager.process.stderr.read())
        shutil.rmtree(network.directory, ignore_errors=True)


def states(user):
    return [(each["name"], each["state"]) for each in json.loads(user.vmnet("ls", "--json").stdout)]


def test_started_by_a_machine_and_ends_with_it(lab):
    with managed(lab, "lab", "allow-user = *\n") as (lan, manager):
        user = lab.user()
        inode = lan.control.stat().st_ino
        for _ in range(2):
            vm = user.start(
                lab.vmnet_path, "run", "--network", "lab", "/bin/cat", "/proc/self/fdinfo/{fd}", "-",
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            assert "vmnet: lab " in vm.stderr.readline()
            assert manager.line().startswith("started")
            assert [port["user"] for port in lan.status()["ports"]] == [USER]
            vm.communicate(timeout=TIMEOUT_S)
            assert manager.line() == "ended 0"
            # Nothing stays but the manager's sockets, which are the same.
            assert sorted(os.listdir(lan.directory)) == ["control", "stream"]
            assert lan.control.stat().st_ino == inode


def test_looking_starts_nothing(lab):
    with managed(lab, "lab", "") as (lan, manager):
        user = lab.user()
        listening = [{"name": "lab", "state": "listening", "system": True}]
        for who in (user, lab):
            assert json.loads(who.vmnet("ls", "--json").stdout) == listening
            assert who.vmnet("ls").stdout.splitlines()[1].split() == ["lab", *"----", "listening", "yes"]
            assert who.vmnet("help", "--names").stdout == "lab\n"
        assert json.loads(user.vmnet("status", "--json").stdout) == []
        said = user.refused("status", "lab")
        assert "does not run" in said and "starts with its first machine" in said
        said = lab.vmnet("down", "lab", check=False).stderr
        assert "does not run" in said and "systemctl stop openvmnet@lab.socket" in said
        # To a user with one of their own the name means that.
        own = user.config / "lab.conf"
        own.touch(mode=0o644)
        assert states(user) == []
        own.unlink()
        assert manager.said_nothing()


def test_up_makes_it_lasting(lab):
    with managed(lab, "lab", "") as (lan, manager):
        lab.vmnet("up", "lab")
        assert manager.line().startswith("started")
        assert lan.describe()["lasting"]
        assert states(lab.user()) == [("lab", "lasting")]
        lab.vmnet("down", "lab")
        assert manager.line() == "ended 0"
        assert states(lab.user()) == [("lab", "listening")]


def test_what_outlives_a_kill(lab):
    """The sockets; and that it is lasting, and its forwards, for the next start goes on with the machines."""
    with managed(lab, "lab", "") as (lan, manager):
        lab.vmnet("up", "lab")
        pid = int(manager.line().split()[1])
        assert lan.process("parent") == pid
        with lan.guest() as guest:
            lab.vmnet("forward", "lab", "add", f"tcp:0.0.0.0:8080-{guest.port.name}:80")
            lan.kill("parent")
            assert manager.line() == "ended -9"
            left = ["control", "forwards.json", "lasting", "stream"]
            assert poll(lambda: sorted(os.listdir(lan.directory)) == left)
            lan.attach().close()
            assert manager.line().startswith("started") and lan.describe()["lasting"]
            assert "8080" in lab.vmnet("forward", "lab", "ls").stdout
            assert guest.ping(guest.gateway) == 1
        lab.vmnet("down", "lab")
        assert manager.line() == "ended 0"
        assert sorted(os.listdir(lan.directory)) == ["control", "stream"]


def test_down_of_what_was_killed_and_does_not_start(lab):
    """Why it does not is said, and then what ends the listening, for it is tried again as long as somebody listens."""
    with managed(lab, "lab", "mode = shared\n") as (lan, manager):
        lab.vmnet("up", "lab")
        assert manager.line().startswith("started")
        lan.kill("engine", "router", "parent")
        assert manager.line() == "ended -9"
        conflict = "link add there type bridge\nlink set there up\naddress add 10.77.0.5/24 dev there\n"
        lab.define("lab", "mode = shared\nstart-address = 10.77.0.1\nend-address = 10.77.0.99\nsubnet-mask = 255.255.255.0\n")
        lab.host.ip_batch(conflict)
        assert "in common with the host's route" in lab.vmnet("down", "lab", check=False).stderr
        told = "systemctl stop openvmnet@lab.socket"
        assert poll(lambda: told in lab.vmnet("down", "lab", check=False).stderr)
        assert lan.control.is_socket()
        manager.end()
        lab.vmnet("down", "lab", check=False)
        assert "vmnet-lab" not in lab.host.ip("link show")
        lab.host.ip("link del there")
        lab.define("lab", "")


def test_wrong_sockets_are_refused(lab):
    with managed(lab, "lab", "") as (lan, manager):
        other = lab.define("other", "")
        command = [PYTHON, lab.directory / "activate.py", lab.run_openvmnet / "another"]
        wrong = lab.host.start(
            [*command, lab.vmnetd_path, "--system", "other"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert wrong.stdout.readline() == "ready\n"
        lab.host.run([PYTHON, "-c", "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])",
                      lab.run_openvmnet / "another" / "control"])  # fmt: skip
        assert wrong.stdout.readline().startswith("started")
        assert wrong.stdout.readline() == "ended 1\n"
        wrong.stdin.close()
        wrong.wait(TIMEOUT_S)
        assert "is not a listening socket of network 'other'" in wrong.stderr.read()
        shutil.rmtree(lab.run_openvmnet / "another")
        other.unlink()


@pytest.mark.parametrize("text", ["mode = wild\n", "allow-user = no-such-user\n"])
def test_a_wrong_file_is_said(lab, text):
    """To the manager's log and to who connected, for whom it is not started again and again."""
    with managed(lab, "bad", text) as (_, manager):
        for _ in range(2):
            assert "bad.conf:1: " in lab.user().refused("run", "--network", "bad", "true", "{fd}")
            assert manager.line().startswith("started")
            assert manager.process.stdout.readline() == "ended 1\n"
        assert manager.said_nothing()
    result = lab.host.run([lab.vmnetd_path, "--system", "bad"], check=False)
    assert result.returncode == 1 and "bad.conf:1: " in result.stderr


def test_the_journal_is_told_priorities(lab):
    """Where standard error is what JOURNAL_STREAM says, and only there."""
    lab.define("bad", "mode = wild\n")
    for journal in (True, False):
        reader, writer = os.pipe()
        status = os.fstat(writer)
        stream = f"{status.st_dev}:{status.st_ino if journal else 1}"
        vmnetd = lab.host.start([lab.vmnetd_path, "--system", "bad"], stderr=writer,
                                env={**lab.environment, "JOURNAL_STREAM": stream})  # fmt: skip
        os.close(writer)
        assert vmnetd.wait(TIMEOUT_S) == 1
        with os.fdopen(reader) as said:
            assert said.read().startswith("<3>vmnetd: error: " if journal else "vmnetd: error: ")
