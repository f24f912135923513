# SPDX-License-Identifier: Apache-2.0
"""Networks without virtual machines, for tests of what surrounds the packets.

A World is a private runtime and state directory with all processes started in it. A Machine is a
`vmnet run` whose VM monitor is a script that holds the descriptors which it inherits, and ends when
its standard input does. A Varlink is a connection to a network's control socket.
"""

import array
import contextlib
import itertools
import json
import os
import pathlib
import socket
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "guest")]
from guest import PORT_LINE, Host, Port, die_with_parent, poll  # noqa: E402
from lab import host_state, host_state_changes  # noqa: E402

MONITOR = "qemu-system-x86_64"
START_TIMEOUT_S = 20  # vmnet itself gives up after 15
# A network that gets no port ends after 5 s; then its processes have to go.
GONE_TIMEOUT_S = 8
POLL_S = 0.005


class Varlink:
    """A connection to a control socket: messages are JSON objects, each followed by a NUL."""

    def __init__(self, path, timeout_s=10):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout_s)
        self.pending = b""
        self.descriptors = []
        try:
            self.socket.connect(str(path))
        except OSError:
            self.socket.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors = []

    def send(self, method, **parameters):
        self.send_bytes(message(method, **parameters))

    def send_bytes(self, data):
        self.socket.sendall(data)

    def receive(self):
        """The next reply; ConnectionError where the connection ends instead."""
        while b"\0" not in self.pending:
            data, ancillary, _, _ = self.socket.recvmsg(65536, socket.CMSG_SPACE(16))
            for level, kind, content in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    self.descriptors += array.array("i", content)
            if not data:
                raise ConnectionResetError("the connection was ended")
            self.pending += data
        text, _, self.pending = self.pending.partition(b"\0")
        return json.loads(text)

    def call(self, method, **parameters):
        """The reply's parameters; VarlinkError where it is an error."""
        self.send(method, **parameters)
        reply = self.receive()
        if "error" in reply:
            raise VarlinkError(reply["error"], reply.get("parameters", {}))
        return reply["parameters"]

    def is_ended(self):
        """True where the other side ends the connection, sending nothing, before the timeout."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False


class VarlinkError(Exception):
    def __init__(self, error, parameters):
        super().__init__(f"{error} {parameters}")
        self.error = error
        self.parameters = parameters


def message(method, **parameters):
    """A request as it is sent. A method without an interface is one of io.openvmnet."""
    name = method if "." in method else f"io.openvmnet.{method}"
    return json.dumps({"method": name, "parameters": parameters}).encode() + b"\0"


class Machine:
    """A context: `vmnet run` and the monitor that it becomes. Its end is the monitor's, too."""

    def __init__(self, world, *arguments, monitor=MONITOR, preexec=None):
        self.stderr_path = world.scratch_file()
        command = [world.vmnet, "run", monitor, *arguments]
        with open(self.stderr_path, "wb") as stderr:
            self.process = world.start(
                command,
                preexec=preexec,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.end()

    @property
    def stderr(self):
        return self.stderr_path.read_text(errors="replace")

    def ports(self):
        return [Port(match) for match in PORT_LINE.finditer(self.stderr)]

    def wait_ports(self, count=1):
        """Waits until the ports are attached, and the monitor is about to run."""
        poll(
            lambda: len(self.ports()) == count or self.process.poll() is not None,
            START_TIMEOUT_S,
            POLL_S,
        )
        assert len(self.ports()) == count, f"vmnet run attached no port: {self.stderr}"
        return self.ports()

    def wait_port(self):
        return self.wait_ports()[0]

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        """The monitor's ordinary end. Returns the exit status."""
        self.process.stdin.close()
        return self.process.wait(START_TIMEOUT_S)


class World(Host):
    def __enter__(self):
        super().__enter__()
        self.stack = contextlib.ExitStack()
        self.numbers = itertools.count(1)
        programs = self.directory / "bin"
        programs.mkdir()
        monitor = programs / MONITOR
        monitor.write_text("#!/bin/sh\nexec cat\n")
        monitor.chmod(0o755)
        self.environment["PATH"] = f"{programs}:{self.environment['PATH']}"
        return self

    def __exit__(self, *arguments):
        self.stack.close()
        super().__exit__(*arguments)

    def scratch_file(self):
        """A path that is free, for something that goes with this world."""
        return self.directory / f"scratch-{next(self.numbers)}"

    def start(self, command, preexec=None, **options):
        def prepare():
            die_with_parent()
            if preexec:
                preexec()

        return subprocess.Popen(
            [str(argument) for argument in command],
            env=self.environment,
            start_new_session=True,
            preexec_fn=prepare,
            **options,
        )

    def cli(self, *arguments, preexec=None):
        """Runs `vmnet ARGUMENTS` to its end. Returns what subprocess.run() does."""
        return subprocess.run(
            [str(self.vmnet), *map(str, arguments)],
            env=self.environment,
            preexec_fn=preexec,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def json(self, *arguments):
        """What `vmnet ARGUMENTS --json` prints."""
        result = self.cli(*arguments, "--json")
        assert (result.returncode, result.stderr) == (0, "")
        return json.loads(result.stdout)

    def machine(self, *arguments, **options):
        """Starts a Machine; it ends with this world at the latest."""
        return self.stack.enter_context(Machine(self, *arguments, **options))

    def on(self, network, *arguments, **options):
        """The same, with a port on that network. Arguments after it may be like "mac=…"."""
        nic = ",".join([f"vmnet-shared,network={network}", *arguments])
        return self.machine("-nic", nic, **options)

    def run_dir(self, network="shared"):
        return self.runtime / "openvmnet" / network

    def connect(self, network="shared", timeout_s=10):
        return Varlink(self.run_dir(network) / "control", timeout_s)

    def status(self, network="shared"):
        with self.connect(network) as connection:
            return connection.call("Status")

    def log(self, network="shared"):
        return (self.run_dir(network) / "log").read_text(errors="replace")

    def names(self):
        """Names of the networks that run, as `vmnet ls` has them."""
        return [network["name"] for network in self.json("ls")]

    def count(self, name):
        return sum(name == each for _, each in self.processes())

    def leftovers(self):
        found = [f"process {pid} ({name})" for pid, name in self.processes()]
        # Not rglob(): that minds what vanishes meanwhile.
        for directory, directories, files in os.walk(self.runtime):
            found += [f"{directory}/{name}" for name in [*directories, *files]]
        # An empty directory of the project's own is no harm.
        return [text for text in found if text != f"{self.runtime}/openvmnet"]

    def is_gone(self, network="shared"):
        return not self.run_dir(network).exists() and not self.service_processes()

    def service_processes(self):
        """Processes of all networks."""
        return [
            (pid, name)
            for pid, name in self.processes()
            if name.startswith("vmnetd") or name == "dnsmasq"
        ]

    def wait_gone(self, network="shared", timeout_s=GONE_TIMEOUT_S):
        """Waits until a network, which must be the only one, has left nothing behind."""
        poll(lambda: self.is_gone(network), timeout_s, POLL_S)
        assert not self.service_processes()
        assert not self.run_dir(network).exists()


@contextlib.contextmanager
def private_world():
    """A World that must be empty at the end, with a host that must be what it was."""
    before = host_state()
    with World() as world:
        if not world.vmnet.exists():
            raise FileNotFoundError(f"{world.vmnet}: run `make build`")
        yield world
        world.stack.close()
        world.wait_until_clean(GONE_TIMEOUT_S)
    changes = host_state_changes(before, host_state())
    assert not changes, "the host is not as it was:\n" + "\n".join(changes)
