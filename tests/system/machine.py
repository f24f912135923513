# SPDX-License-Identifier: Apache-2.0
"""A machine with a Debian of its own, whose process 1 is systemd, in namespaces (systemd-nspawn). For root.

Its files are made once, by mmdebstrap from the distribution's archive, and are kept below the build directory; what a
machine writes is in memory and gone with it. It has no network but what a test makes in it, so nothing here reaches
or changes a network of the host's.
"""

import contextlib
import hashlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

BUILD = pathlib.Path(os.environ.get("OPENVMNET_BUILD") or "build").resolve()
DIRECTORY = BUILD / "system"
DOWNLOAD_S = 600
BOOT_S = 60
COMMAND_S = 60
# The system calls of Landlock and of DevicePolicy=, which systemd-nspawn does not let through by itself.
CALLS = "bpf landlock_create_ruleset landlock_add_rule landlock_restrict_self"
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8", "TERM": "dumb"}


class MachineError(Exception):
    pass


def missing():
    """Why there can be no machine here, or ""."""
    if os.geteuid() != 0:
        return "a machine needs root (systemd-nspawn)"
    for program, package in (("systemd-nspawn", "systemd-container"), ("mmdebstrap", "mmdebstrap")):
        if not shutil.which(program):
            return f"{program} is missing: apt-get install {package}"
    if "overlay" not in pathlib.Path("/proc/filesystems").read_text() and not shutil.which("modprobe"):
        return "the kernel has no overlayfs"
    return ""


def packages():
    """The packages that were built, without those of debugging symbols."""
    found = sorted(path for path in (BUILD / "deb").glob("*.deb") if "-dbgsym_" not in path.name)
    if not found:
        raise MachineError("there are no packages: make deb")
    return found


def needed(debs):
    """Of @debs: the packages of the distribution that they depend on, the first of each alternative."""
    names = set()
    for deb in debs:
        text = subprocess.run(["dpkg-deb", "-f", deb, "Depends"], check=True, capture_output=True, text=True).stdout
        names |= {re.split(r"[ (|:]", each.strip())[0] for each in text.split(",") if each.strip()}
    return sorted(names - {deb.name.partition("_")[0] for deb in debs})


def suite():
    """The distribution's name for itself: the packages are built for it."""
    named = os.environ.get("OPENVMNET_SUITE")
    text = pathlib.Path("/etc/os-release").read_text()
    return named or re.search(r"^VERSION_CODENAME=\"?([\w-]+)", text, re.M)[1]


def files(suite_name, include):
    """The directory with the files of a system that has packages @include, made where it is not there."""
    key = hashlib.sha256(" ".join([suite_name, *sorted(include)]).encode()).hexdigest()[:12]
    path = DIRECTORY / f"{suite_name}-{key}"
    if path.exists():
        return path
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    making = path.with_suffix(".new")
    shutil.rmtree(making, ignore_errors=True)
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(sorted(include))}", suite_name, making]
    made = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_S, check=False)
    if made.returncode:
        shutil.rmtree(making, ignore_errors=True)
        raise MachineError(f"mmdebstrap cannot make a system of {suite_name}: {made.stderr.strip()[-800:]}")
    making.rename(path)
    return path


class Machine:
    """A context: it boots, and is off afterwards."""

    def __init__(self, root):
        self.root = root
        self.console = DIRECTORY / "console.log"
        self.leader = 0

    def __enter__(self):
        # Of the mode that distributions give it; here it may be another.
        tun = DIRECTORY / "tun"
        if not tun.exists():
            os.mknod(tun, 0o020666, os.makedev(10, 200))
        tun.chmod(0o666)
        with open(self.console, "w") as console:
            self._nspawn = subprocess.Popen(
                ["systemd-nspawn", "--quiet", f"--directory={self.root}", "--volatile=overlay", "--register=no",
                 "--keep-unit", "--private-network", "--machine=openvmnet", f"--bind={tun}:/dev/net/tun",
                 f"--system-call-filter={CALLS}", "--boot", "systemd.log_target=console"],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            )  # fmt: skip
        try:
            self._wait_until_booted()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        # All of it at once: nothing that is in it is kept.
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.leader or self._nspawn.pid, signal.SIGKILL)
        self._nspawn.wait(BOOT_S)

    def _wait_until_booted(self):
        deadline = time.monotonic() + BOOT_S
        state = "off"
        while time.monotonic() < deadline and self._nspawn.poll() is None:
            state = self._state()
            if state == "running":
                return
            time.sleep(0.1)
        said = self.console.read_text(errors="replace")[-2000:]
        raise MachineError(f"the machine does not boot (it is {state}):\n{said}")

    def _state(self):
        children = pathlib.Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
        if not children:
            return "off"
        self.leader = int(children[0])
        return self.run("systemctl", "is-system-running", check=False).stdout.strip()

    def _command(self, words):
        # nsenter changes its directory before its root.
        return ["nsenter", f"--target={self.leader}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup",
                "--root", "--", "env", "--chdir=/", *words]  # fmt: skip

    def start(self, *words, **options):
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, **options}
        command = self._command([str(word) for word in words])
        return subprocess.Popen(command, text=True, env=ENVIRONMENT, **options)

    def run(self, *words, check=True, input=None):
        """Runs a program in the machine, as root, to its end."""
        command = self._command([str(word) for word in words])
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, env=ENVIRONMENT,
                              input=input, check=False)  # fmt: skip
        if check and done.returncode:
            raise MachineError(f"{' '.join(map(str, words))}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def sh(self, text, check=True):
        return self.run("sh", "-ec", text, check=check).stdout

    @staticmethod
    def user_command(user, *words):
        return ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "env", f"HOME=/home/{user}", *words]

    def user(self, user, *words, **options):
        return self.run(*self.user_command(user, *words), **options)

    def path(self, path):
        """A path in the machine, as it is reached from here."""
        return pathlib.Path(f"/proc/{self.leader}/root") / str(path).lstrip("/")

    def copy(self, *paths, to, mode=0o755):
        self.run("mkdir", "-p", to)
        for path in paths:
            target = self.path(to) / pathlib.Path(path).name
            target.write_bytes(pathlib.Path(path).read_bytes())
            target.chmod(mode)

    def write(self, path, text):
        self.path(path).write_text(text)

    def journal(self, unit):
        """[(priority, text)] of a unit."""
        self.run("journalctl", "--sync")
        lines = self.run("journalctl", "--no-pager", "--output=export", f"--unit={unit}").stdout.split("\n\n")
        entries = [dict(line.split("=", 1) for line in each.splitlines() if "=" in line) for each in lines]
        return [(int(each["PRIORITY"]), each["MESSAGE"]) for each in entries if "MESSAGE" in each]


def poll(condition, timeout_s=15, interval_s=0.05):
    """What @condition says once that is true, or at the end of the time."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = condition()
        if found or time.monotonic() >= deadline:
            return found
        time.sleep(interval_s)
