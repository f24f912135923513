# SPDX-License-Identifier: Apache-2.0
"""A laboratory whose host has networks of the system, and users who may or may not join them. For root.

What the system has in /etc/openvmnet, /run/openvmnet and /var/lib/openvmnet is below `root` here
(OPENVMNET_ROOT). A User is a uid with directories of its own, whose programs run on the host.
"""

import contextlib
import os
import re
import shutil

import pytest
from lab import (
    BUILD,
    Lab,
    LabError,
    Network,
    host_state,
    host_state_changes,
    poll,
    read_exactly,
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="networks of the system are root's")

USER, OTHER = 41001, 41002
GROUP = 42001
SERVICE = 44001  # as whom networks of the system run


class User:
    def __init__(self, lab, uid, groups=()):
        self.lab = lab
        self.uid = uid
        self.directory = lab.directory / f"user-{uid}"
        self.runtime = self.directory / "run"
        self.config = self.directory / "config" / "openvmnet"
        self.groups = ["--groups", ",".join(map(str, groups))] if groups else ["--clear-groups"]
        for path in (self.directory, self.runtime, self.directory / "config", self.config):
            path.mkdir(mode=0o700, exist_ok=True)
            os.chown(path, uid, uid)
        self.environment = dict(
            lab.environment,
            HOME=str(self.directory),
            XDG_RUNTIME_DIR=str(self.runtime),
            XDG_STATE_HOME=str(self.directory / "state"),
            XDG_CONFIG_HOME=str(self.config.parent),
        )

    def command(self, *words):
        return ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", *self.groups, "--", *words]

    def run(self, *words, **options):
        return self.lab.host.run(self.command(*words), env=self.environment, **options)

    def start(self, *words, **options):
        return self.lab.host.start(self.command(*words), env=self.environment, **options)

    def vmnet(self, *arguments, **options):
        return self.run(self.lab.vmnet_path, *arguments, **options)

    def refused(self, *arguments):
        """What `vmnet ARGUMENTS` says, which must fail."""
        result = self.vmnet(*arguments, check=False)
        assert result.returncode == 1, result
        return result.stderr

    def write_file(self, name, text):
        path = self.config / f"{name}.conf"
        path.write_text(text)
        os.chown(path, self.uid, self.uid)
        return path


class SystemLab(Lab):
    def __enter__(self):
        super().__enter__()
        with contextlib.ExitStack() as stack:
            stack.push(super().__exit__)
            self.directory.chmod(0o711)
            self.root = self.directory / "root"
            self.etc_openvmnet = self.root / "etc" / "openvmnet"
            self.run_openvmnet = self.root / "run" / "openvmnet"
            self.state_openvmnet = self.root / "var" / "lib" / "openvmnet"
            self.etc_openvmnet.mkdir(parents=True)
            self.state_openvmnet.parent.mkdir(parents=True)  # which others can pass, as on any system
            self.mark = f"OPENVMNET_ROOT={self.root}"
            with (self.etc / "passwd").open("a") as passwd, (self.etc / "group").open("a") as group:
                passwd.write(f"openvmnet:x:{SERVICE}:{SERVICE}::/:/usr/sbin/nologin\n")
                group.write(f"openvmnet:x:{SERVICE}:\n")
            self._open_programs()
            self._open_tun()
            stack.pop_all()
        return self

    def _open_programs(self):
        """The build directory may be closed to others."""
        programs = self.directory / "programs"
        programs.mkdir(mode=0o755)
        for name in ("vmnet", "vmnetd", "vmnet-capture", "openvmnet-bridge-helper"):
            shutil.copy(BUILD / name, programs / name)
        self.vmnet_path, self.vmnetd_path = programs / "vmnet", programs / "vmnetd"
        self.helper_path = programs / "openvmnet-bridge-helper"

    def _open_tun(self):
        """As distributions have it; some containers and images do not."""
        if not os.stat("/dev/net/tun").st_mode & 0o006 == 0o006:
            self.host.run(["mount", "-t", "tmpfs", "-o", "mode=755", "none", "/dev/net"])
            self.host.run(["mknod", "-m", "666", "/dev/net/tun", "c", "10", "200"])

    def user(self, uid=USER, groups=()):
        return User(self, uid, groups)

    def define(self, name, text=""):
        """Writes the file of a network of the system."""
        path = self.etc_openvmnet / f"{name}.conf"
        path.write_text(text)
        return path

    def system_network(self, name, text=None, start=True):
        """A network of the system, defined where @text is given, and started by root."""
        if text is not None:
            self.define(name, text)
        network = Network(self, name)
        network.directory = self.run_openvmnet / name
        network.control = network.directory / "control"
        if start:
            self.vmnet("up", name)
        return network

    def leftovers(self):
        found = super().leftovers()
        for directory in [self.run_openvmnet, *self.directory.glob("user-*/run/openvmnet")]:
            # Not rglob(): that minds what vanishes meanwhile.
            for below, directories, files in os.walk(directory):
                found += [f"file {below}/{name}" for name in [*directories, *files]]
        return found


@contextlib.contextmanager
def unchanged_lab():
    """A laboratory whose host is afterwards as it was before."""
    with SystemLab() as lab:
        before = host_state(lab.host)
        yield lab
        lab.wait_until_clean()
        assert_as_before(lab, before)


@contextlib.contextmanager
def started(lab, name, text=None):
    """A network of the system that is there in a block, and is gone afterwards."""
    network = lab.system_network(name, text)
    try:
        yield network
    finally:
        print(f"--- log of network {name}\n{network.log()}")
        network.down()
    if not poll(lambda: not (network.directory / "network.json").exists()):
        raise LabError(f"network '{name}' does not end")


@contextlib.contextmanager
def running(lab, name, text="mode = shared\n", check=True):
    """A network of the system. At its end the host is as it was before, which is looked at where nothing else is
    changed meanwhile (@check)."""
    before = host_state(lab.host)
    network = lab.system_network(name, text)
    try:
        yield network
        assert network.is_running(), f"the network died:\n{network.log()}"
    finally:
        # Shown by pytest only where something failed.
        print(f"--- log of network {network.name}\n{network.log()}")
        network.down()
    if check:
        assert_as_before(lab, before)


def assert_as_before(lab, before):
    """Waits until the host's network is as it was."""

    def changes():
        return host_state_changes(before, host_state(lab.host))

    poll(lambda: not changes(), interval_s=0.1)
    assert not changes(), "\n".join(changes())


def table(lab, name):
    """The rules of a network, as nft(8) lists them; "" where they are not there."""
    return "".join(
        lab.host.run(["nft", "list", "table", family, f"vmnet-{name}"], check=False).stdout
        for family in ("inet", "bridge")
    )


def normal(rules):
    """Rules without what packets have added to them."""
    return re.sub(r"counter packets \d+ bytes \d+|\t\telements = {[^}]*limit rate[^}]*}\n", "", rules)


def exchange(listener, connect):
    """A connection and a byte each way. Returns who is seen as the client."""
    with connect(listener.getsockname()[1]) as client:
        accepted, peer = listener.accept()
        with accepted:
            accepted.settimeout(5)
            client.sendall(b"q")
            assert read_exactly(accepted, 1) == b"q"
            accepted.sendall(b"a")
            assert read_exactly(client, 1) == b"a"
    return peer[0]


def settings(lab):
    """Settings of the host's own interfaces; those of networks of ours are theirs."""
    return {
        name: value
        for name, value in host_state(lab.host).items()
        if name.startswith("/proc/sys") and "/vm" not in name
    }


def refused(guest, address, port=9):
    """A connection is denied at once, with an answer that says so."""
    with pytest.raises(OSError) as failed:
        guest.connect(address, port, timeout_s=3)
    return not isinstance(failed.value, TimeoutError)
