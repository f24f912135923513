#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Test guests, and what they need on the host's side. Used by the demo and by the tests.

A Host is a private runtime directory together with all processes started in it. Its end kills and
removes what is left, and leftovers() says what that would be. A Guest is a virtual machine whose
process 1 (init.sh) runs the commands that it gets over the serial console.

Run as a program, it prints the fastest accelerator that boots a guest.
"""

import argparse
import contextlib
import ctypes
import hashlib
import http.server
import ipaddress
import json
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from image import Image, append_files  # noqa: E402

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

BOOT_TIMEOUT_S = 60
KVM_TIMEOUT_S = 8  # with KVM a guest is ready within one second
END_TIMEOUT_S = 10

# Nothing here changes what a guest sees of its network; it boots in half the time.
KERNEL_ARGUMENTS = (
    "console=ttyS0 quiet panic=-1 tsc=reliable no_timer_check mitigations=off random.trust_cpu=on"
)

libc = ctypes.CDLL(None, use_errno=True)


class GuestError(Exception):
    """Something did not work; the text says what."""


def poll(condition, timeout_s, interval_s=0.05):
    """The first true value of condition(), or its last one when the time is over."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value or time.monotonic() > deadline:
            return value
        time.sleep(interval_s)


def die_with_parent():
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Host:
    """A context: a runtime and a state directory of its own, and every process below this one."""

    def __init__(self, build=None):
        self.image = Image(build)
        self.vmnet = self.image.directory.parent / "vmnet"
        # Orphans become ours instead of process 1's: so they are found without asking for names.
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1)

    def __enter__(self):
        # A short path: it becomes part of unix socket addresses.
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="openvmnet-", dir="/tmp"))
        self.runtime = self.directory / "run"
        self.state = self.directory / "state"
        self.runtime.mkdir(mode=0o700)
        self.state.mkdir(mode=0o700)
        # What other tests of this program hold is not ours to count, or to end.
        self.others = {pid for pid, _ in descendants()}
        self.environment = dict(
            os.environ,
            XDG_RUNTIME_DIR=str(self.runtime),
            XDG_STATE_HOME=str(self.state),
            OPENVMNET_ROOT=str(self.directory / "root"),
            LC_ALL="C",
        )
        return self

    def __exit__(self, *_):
        self.kill_all()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self, command, **options):
        """Starts a process that Ctrl-C does not reach and that does not outlive this one."""
        return subprocess.Popen(
            [str(argument) for argument in command],
            env=self.environment,
            start_new_session=True,
            preexec_fn=die_with_parent,
            **options,
        )

    def leftovers(self):
        """What is still there: processes, then files in the runtime directory; empty is good."""
        processes = [f"process {pid} ({name})" for pid, name in self.processes()]
        # os.walk minds nothing that goes away meanwhile.
        files = [
            f"file {os.path.relpath(os.path.join(directory, name), self.runtime)}"
            for directory, directories, names in os.walk(self.runtime)
            for name in directories + names
        ]
        return processes + files

    def processes(self):
        """[(pid, name)] of the processes below this one that came since this host was entered."""
        return [(pid, name) for pid, name in descendants() if pid not in self.others]

    def wait_until_clean(self, timeout_s=END_TIMEOUT_S):
        """Waits until nothing is left over; GuestError with what is, where that takes too long."""
        if not poll(lambda: not self.leftovers(), timeout_s):
            raise GuestError("left behind: " + ", ".join(self.leftovers()))

    def kill_all(self):
        def all_gone():
            found = self.processes()
            for pid, _ in found:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            return not found

        poll(all_gone, END_TIMEOUT_S)


def descendants():
    """[(pid, name)] of all living processes below this one."""
    children = {}
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            # pid (name) state parent ...; the name may hold anything.
            start, _, rest = (entry / "stat").read_text(errors="replace").rpartition(")")
            state, parent = rest.split()[:2]
            children.setdefault(int(parent), []).append(
                (int(entry.name), start.partition("(")[2], state)
            )
    found = []
    parents = [os.getpid()]
    while parents:
        for pid, name, state in children.get(parents.pop(), []):
            parents.append(pid)
            if state not in "ZX":
                found.append((pid, name))
    return found


# vmnet: shared vm0: MAC M, IPv4 A/24, IPv6 prefix P/64, gateway G, name N.shared.vmnet.internal
PORT_LINE = re.compile(
    r"^vmnet: (?P<network>\S+) (?P<interface>\S+): MAC (?P<mac>\S+), (?:IPv4 (?P<ipv4>\S+), )?"
    r"IPv6 prefix (?P<ipv6_prefix>\S+), gateway (?P<gateway>\S+), name (?P<name>\S+)$",
    re.MULTILINE,
)


class Port:
    """A port, from the line that `vmnet run` prints: what is known before the guest boots."""

    def __init__(self, match):
        self.network = match["network"]
        self.interface = match["interface"]
        self.mac = match["mac"]
        self.ipv4 = match["ipv4"] and ipaddress.IPv4Interface(match["ipv4"])
        self.ipv6_prefix = ipaddress.IPv6Network(match["ipv6_prefix"])
        self.gateway = match["gateway"]
        self.gateway6 = str(self.ipv6_prefix[1])
        self.name = match["name"]


class Guest:
    """A virtual machine. A context: its end kills it where it is not off yet.

    @arguments are those of QEMU that this guest needs beside the common ones; its network. @options are
    those of `vmnet run`.
    @files, {path: bytes}, are added to its root file system.
    """

    def __init__(
        self, host, *arguments, prefix=None, accel=None, memory="256", files=None, options=(), pass_fds=()
    ):
        self.lines = []
        self.pending = b""
        self.stderr_path = pathlib.Path(tempfile.mkstemp(dir=host.directory)[1])
        initrd = host.image.initrd
        if files:
            initrd = host.directory / f"{self.stderr_path.name}.img"
            append_files(host.image.initrd, files, initrd)
        if prefix is None:
            prefix = [host.vmnet, "run", *options]
        accel = accel or choose_accel(host.image)
        command = [
            *prefix,
            "qemu-system-x86_64",
            *("-M", "q35", "-accel", accel, "-m", memory),
            *(["-cpu", "host"] if accel == "kvm" else []),
            *("-nodefaults", "-nographic", "-no-reboot", "-serial", "stdio", "-monitor", "none"),
            *("-kernel", host.image.kernel, "-initrd", initrd, "-append", KERNEL_ARGUMENTS),
            *arguments,
        ]
        with open(self.stderr_path, "wb") as stderr:
            self.process = host.start(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, bufsize=0,
                pass_fds=pass_fds,
            )  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    @property
    def stderr(self):
        """What vmnet and QEMU said."""
        return self.stderr_path.read_text(errors="replace").strip()

    def tail(self, lines=20):
        """The end of the console, and what vmnet and QEMU said."""
        console = [*self.lines[-lines:], self.pending.decode(errors="replace")]
        return "\n".join(filter(None, [self.stderr, *console]))

    def wait_line(self, pattern, timeout_s):
        """Waits for a console line that matches from its start. Returns the match."""
        deadline = time.monotonic() + timeout_s
        while True:
            line = self._read_line(deadline - time.monotonic())
            if line is None:
                raise GuestError(f"no answer within {timeout_s} s")
            match = re.match(pattern, line)
            if match:
                return match

    def _read_line(self, timeout_s):
        """The next console line; None where none comes in time; GuestError at the machine's end."""
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self.pending:
            left_s = max(0, deadline - time.monotonic())
            ready, _, _ = select.select([self.process.stdout], [], [], left_s)
            if not ready:
                return None
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                status = self.process.wait(END_TIMEOUT_S)
                reason = (self.stderr.splitlines() or ["it said nothing"])[-1]
                raise GuestError(f"the virtual machine ended with status {status}: {reason}")
            self.pending += data
        line, _, self.pending = self.pending.partition(b"\n")
        # The firmware clears the screen.
        text = re.sub(r"\x1b(c|\[[0-9;?]*[A-Za-z])", "", line.decode(errors="replace")).rstrip()
        self.lines.append(text)
        return text

    def wait_ready(self, timeout_s=BOOT_TIMEOUT_S):
        """Waits until commands are taken. The network is not set up then."""
        self.wait_line("@@ ready", timeout_s)
        return self

    def try_sh(self, command, timeout_s=20):
        """Runs one line of shell in the guest. Returns (status, output)."""
        self.process.stdin.write(command.encode() + b"\n")
        self.wait_line("@@ begin", timeout_s)
        output = []
        deadline = time.monotonic() + timeout_s
        while True:
            line = self._read_line(deadline - time.monotonic())
            if line is None:
                raise GuestError(f"`{command}` takes longer than {timeout_s} s in the guest")
            end = re.match(r"@@ end (\d+)", line)
            if end:
                return int(end[1]), "\n".join(output).strip()
            output.append(line)

    def sh(self, command, timeout_s=20):
        """Runs one line of shell in the guest. Returns its output; GuestError where it fails."""
        status, output = self.try_sh(command, timeout_s)
        if status != 0:
            reason = output.splitlines()[-1] if output else "no output"
            raise GuestError(f"`{command}` in the guest: status {status}: {reason}")
        return output

    def lease(self):
        """Asks for an IPv4 lease. Returns the address and the seconds that it took."""
        seconds = float(self.sh("lease", timeout_s=30))
        shown = self.sh("ip -4 -o addr show dev eth0")
        return re.search(r"inet (\S+?)/", shown)[1], seconds

    def address6(self):
        """Waits for the address from a router advertisement, and returns it."""
        return self.sh("poll 10 address6 >/dev/null && address6")

    def ports(self):
        """What `vmnet run` printed of this guest's ports."""
        return [Port(match) for match in PORT_LINE.finditer(self.stderr)]

    def ping(self, address, count=3):
        """Returns the smallest round trip time in ms."""
        output = self.sh(f"ping -c {count} -W 3 {address}", timeout_s=5 * count)
        return float(re.search(r"min/avg/max = ([\d.]+)/", output)[1])

    def resolve(self, name, kind="A", server=""):
        """The addresses that the guest's resolver has for @name."""
        answer = self.sh(f"nslookup -type={kind} {name} {server}").partition("Name:")[2]
        return re.findall(r"Address(?: \d+)?: (\S+)", answer)

    def download(self, url, timeout_s=120):
        """Fetches @url to /tmp/file. Returns (sha256 of what came, seconds of the transfer)."""
        seconds = float(self.sh(f"timed wget -q -O /tmp/file '{url}'", timeout_s))
        return self.sh("sha256sum /tmp/file", timeout_s).split()[0], seconds

    def upload(self, url, timeout_s=120):
        """Posts /tmp/file, which must hold no NUL (busybox takes it for a string), to a FileServer.

        Returns (the sha256 that the server answers, seconds of the transfer).
        """
        command = f"timed wget -q -O /tmp/answer --post-file=/tmp/file '{url}'"
        seconds = float(self.sh(command, timeout_s))
        return self.sh("cat /tmp/answer"), seconds

    def iperf3(self, address, port, seconds, *options):
        """Sends to an `iperf3 -s` (receives with -R). Returns the bits a second received."""
        command = f"iperf3 -J -i0 -c {address} -p {port} -t {seconds} {' '.join(options)}"
        status, output = self.try_sh(command, timeout_s=seconds + 20)
        try:
            result = json.loads(output)
        except ValueError:
            raise GuestError(f"iperf3 in the guest: status {status}: {output}") from None
        if "error" in result:
            raise GuestError(f"iperf3 in the guest: {result['error']}")
        return result["end"]["sum_received"]["bits_per_second"]

    def power_off(self):
        """Powers the guest off in order and waits for the end of QEMU."""
        self.process.stdin.write(b"poweroff -f\n")
        try:
            self.process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise GuestError(f"the guest is not off after {END_TIMEOUT_S} s") from None


def random_file(size):
    """Random bytes that Guest.upload() can send back."""
    return os.urandom(size).replace(b"\0", b"\1")


def choose_accel(image):
    """What image.py found to work, unless this user may not open /dev/kvm."""
    found = image.accel.read_text().strip() if image.accel.exists() else "tcg"
    return found if os.access("/dev/kvm", os.R_OK | os.W_OK) else "tcg"


def find_accel(host):
    """The fastest accelerator that boots a guest: /dev/kvm may open and yet run nothing."""
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        with contextlib.suppress(GuestError), Guest(host, prefix=[], accel="kvm") as guest:
            guest.wait_ready(KVM_TIMEOUT_S)
            return "kvm"
    with Guest(host, prefix=[], accel="tcg") as guest:
        try:
            guest.wait_ready()
        except GuestError as error:
            raise GuestError(f"{error}\n{guest.tail()}") from None
    return "tcg"


class FileServer(http.server.ThreadingHTTPServer):
    """A context: an HTTP server on the wildcard addresses of IPv4 and IPv6.

    GET answers with @data, POST with the sha256 of what was sent.
    """

    daemon_threads = True

    def __init__(self, data):
        self.data = data
        self.sha256 = hashlib.sha256(data).hexdigest()
        self.address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
        super().__init__(("", 0), FileHandler)
        self.port = self.server_address[1]

    def server_bind(self):
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def url(self, address):
        host = f"[{address}]" if ":" in address else address
        return f"http://{host}:{self.port}/file"


class FileHandler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self._answer(self.server.data)

    def do_POST(self):
        left = int(self.headers["Content-Length"])
        digest = hashlib.sha256()
        while left:
            data = self.rfile.read(min(left, 1 << 20))
            if not data:
                return
            digest.update(data)
            left -= len(data)
        self._answer(digest.hexdigest().encode())

    def _answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def iperf3_server(host):
    """Starts `iperf3 -s` for one test on a free port, which it gives."""
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
    command = ["iperf3", "-s", "-1", "--forceflush", "-p", port]
    server = host.start(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        for line in server.stdout:
            if b"listening" in line:
                break
        else:
            raise GuestError(f"iperf3 -s on the host: {line.decode().strip()}")
        yield port
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def end_on_signals():
    """Makes SIGTERM and SIGHUP end the program as Ctrl-C does: cleanly, and only once."""

    def end(number, _):
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)
        sys.exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)


def main():
    end_on_signals()
    parser = argparse.ArgumentParser(description="Prints the accelerator that boots a guest.")
    parser.add_argument("--build", help="build directory (default: build)")
    try:
        with Host(parser.parse_args().build) as host:
            print(find_accel(host))
    except GuestError as error:
        sys.exit(f"guest.py: {error}")


if __name__ == "__main__":
    main()
