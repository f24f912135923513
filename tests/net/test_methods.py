# SPDX-License-Identifier: Apache-2.0
"""Methods of the control socket, asked wrongly, by many, and by clients that go meanwhile."""

import array
import contextlib
import json
import os
import resource
import signal
import socket
import struct
import subprocess

import pytest
from lab import PYTHON, Failed, LabError, Network, poll

CLIENTS_MAX = 128  # as in src/daemon/control.h
FORWARDS_MAX = 64  # of one port
PORT = 21000  # ports of the lab's host from here on are ours
SERVICE = "org.varlink.service"

# Attaches a namespace of its own, made within the network's user namespace, and does not wait for the
# reply where it is told so. The namespace lives until standard input ends.
VETH = """
import ctypes, json, os, socket, sys
control, wait = sys.argv[1], sys.argv[2] == "wait"
libc = ctypes.CDLL(None, use_errno=True)
def connect():
    made = socket.socket(socket.AF_UNIX)
    made.connect(control)
    return made
def call(made, method, fds=(), **parameters):
    text = json.dumps({"method": "io.openvmnet." + method, "parameters": parameters}).encode()
    socket.send_fds(made, [text + b"\\0"], list(fds))
with connect() as made:
    call(made, "Namespaces")
    reply, fds, _, _ = socket.recv_fds(made, 65536, 2)
at = json.loads(reply[:-1])["parameters"]
last = connect()
if at["user"] is not None and libc.setns(fds[at["user"]], 0x10000000) != 0:
    sys.exit("setns: " + os.strerror(ctypes.get_errno()))
if libc.unshare(0x40000000) != 0:
    sys.exit("unshare: " + os.strerror(ctypes.get_errno()))
namespace = os.open("/proc/self/ns/net", os.O_RDONLY)
if not wait:
    print("ready", flush=True)
    input()
call(last, "Attach", [namespace], kind="veth", name="program")
if wait:
    print(last.recv(65536)[:-1].decode(), flush=True)
last.close()
print("sent", flush=True)
sys.stdin.read()
"""


class Control:
    """A connection to a network's control socket. A context."""

    def __init__(self, network, timeout_s=15):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout_s)
        self.socket.connect(str(network.control))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, method, fds=(), **parameters):
        name = method if "." in method else f"io.openvmnet.{method}"
        request = {"method": name, "parameters": parameters}
        text = json.dumps(request, ensure_ascii=False).encode() + b"\0"
        rights = array.array("i", fds)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if fds else []
        sent = self.socket.sendmsg([text], ancillary)
        self.socket.sendall(text[sent:])

    def receive(self):
        """(reply, number of descriptors, which are closed)."""
        reply, count = b"", 0
        while not reply.endswith(b"\0"):
            data, rights, _, _ = self.socket.recvmsg(1 << 20, socket.CMSG_SPACE(16))
            for _, _, part in rights:
                fds = array.array("i")
                fds.frombytes(part[: len(part) // 4 * 4])
                count += len(fds)
                for fd in fds:
                    os.close(fd)
            if not data:
                raise LabError("the connection was ended")
            reply += data
        return json.loads(reply[:-1]), count

    def ask(self, method, fds=(), **parameters):
        self.send(method, fds, **parameters)
        return self.receive()


def ask(network, method, fds=(), **parameters):
    with Control(network) as control:
        return control.ask(method, fds, **parameters)[0]


def descriptors(pid):
    with contextlib.suppress(FileNotFoundError):
        return len(os.listdir(f"/proc/{pid}/fd"))


# What the router sends at once for the stock of sockets; on a busy machine after warm_up() has looked.
LATE_SOCKETS = 16


def is_as_before(now, expected):
    """Of descriptors there may be fewer: a test before this one may have been still closing some."""
    ports, forwards, processes = now
    return (ports, forwards) == expected[:2] and processes.keys() == expected[2].keys() and all(
        pid == expected[2][role][0] and count <= expected[2][role][1] + LATE_SOCKETS
        for role, (pid, count) in processes.items()
    )


@pytest.fixture(autouse=True)
def nothing_is_left(network):
    """No test leaves a port, a forward, a descriptor, or another engine or router than there was."""
    warm_up(network)

    def state():
        now = network.status()
        processes = {} if network.may_restart else now["processes"]
        return (
            [port["interface"] for port in now["ports"]],
            now["forwards"],
            {role: (pid, role == "dnsmasq" or descriptors(pid)) for role, pid in processes.items()},
        )

    network.may_restart = False
    # A test before this one may have killed it.
    assert poll(lambda: network.process("dnsmasq"))
    expected = state()
    yield
    if network.may_restart:
        expected = (*expected[:2], {})
    assert poll(lambda: is_as_before(state(), expected)), f"{state()} instead of {expected}"


def warm_up(network):
    """The pump runs, and the stock of sockets for forwards is full: each forward asks for some."""

    def is_full():
        engine = network.process("engine")
        before = descriptors(engine)
        network.call("AddForward", forward=f"tcp::{PORT + 999}-first:1")
        network.call("RemoveForward", forward=f"tcp::{PORT + 999}")
        return not poll(lambda: descriptors(engine) != before, 0.3)

    if network.is_warm == network.process("engine"):
        return
    with network.attach(name="warm", kind="stream"):
        assert poll(is_full, 15)
    assert poll(lambda: len(network.status()["ports"]) == 1)
    network.is_warm = network.process("engine")


@pytest.fixture(scope="module")
def network(network):
    """With one port, which has no guest."""
    network.may_restart = False
    network.is_warm = 0
    with network.attach(name="first"):
        yield network


LONG = "é" * 20000
FORWARD = f"tcp::{PORT}-:1"


@pytest.mark.parametrize(
    "method, parameters, name",
    [
        *(("Attach", {"forwards": value}, "forwards") for value in (5, "x", True, {}, 1.5)),
        *(("Attach", {"kind": value}, "kind") for value in (5, [], "tun", "TAP", LONG, {})),
        *(("Attach", {"path": value}, "path") for value in (1, "yes", [], True)),
        ("Attach", {"path": True, "kind": "stream"}, "path"),
        *(("Attach", {"isolated": value}, "isolated") for value in (1, "yes", [])),
        *(("Attach", {"antiSpoof": value}, "antiSpoof") for value in (0, "no", {})),
        ("Attach", {"antiSpoofAuto": "yes"}, "antiSpoofAuto"),
        *(("AddForward", {"forward": value}, "forward") for value in (None, 5, "", [], {})),
        *(("RemoveForward", {"forward": value}, "forward") for value in (None, 5, "", [], {})),
        *(("Connect", {"host": value, "port": 1}, "host") for value in (None, 5, "", [])),
        *(
            ("Connect", {"host": "first", "port": value}, "port")
            for value in (None, 0, -1, 65536, 1 << 62, "1", 1.5, [], True)
        ),
    ],
)
def test_wrong_types(network, method, parameters, name):
    assert ask(network, method, **parameters) == {
        "error": f"{SERVICE}.InvalidParameter",
        "parameters": {"parameter": name},
    }


@pytest.mark.parametrize(
    "method, parameters, code",
    [
        ("Attach", {"name": LONG}, "EINVAL"),
        ("Attach", {"name": "a" + LONG}, "EINVAL"),
        ("Attach", {"interfaceId": "a" + LONG}, "EINVAL"),
        ("Attach", {"forwards": [5]}, "EINVAL"),
        ("Attach", {"forwards": [None]}, "EINVAL"),
        ("Attach", {"forwards": [FORWARD, []]}, "EINVAL"),
        ("Attach", {"forwards": [LONG]}, "EINVAL"),
        ("Attach", {"forwards": ["a" + LONG]}, "EINVAL"),
        ("Attach", {"forwards": [FORWARD, FORWARD]}, "EADDRINUSE"),
        ("Attach", {"forwards": [f"udp::{PORT}-{PORT + 9}-:1", f"udp::{PORT + 9}-:1"]}, "EADDRINUSE"),
        ("Attach", {"forwards": [f"tcp::{PORT + n}-:1" for n in range(FORWARDS_MAX + 1)]}, "EINVAL"),
        ("Attach", {"forwards": ["tcp::1024-65535-:1"]}, "ENOSPC"),
        ("Attach", {"forwards": [f"tcp:192.0.2.1:{PORT}-:1"]}, "EADDRNOTAVAIL"),
        ("Attach", {"forwards": [f"tcp::{PORT}-10.0.0.1:1"]}, "EINVAL"),
        ("Attach", {"kind": "veth"}, "EINVAL"),
        ("AddForward", {"forward": FORWARD}, "EINVAL"),
        ("AddForward", {"forward": "a" + LONG}, "EINVAL"),
        ("RemoveForward", {"forward": "tcp::1"}, "ENOENT"),
        ("RemoveForward", {"forward": "a" + LONG}, "EINVAL"),
        ("Connect", {"host": "nobody", "port": 1}, "ENOENT"),
        ("Connect", {"host": "a" + LONG, "port": 1}, "ENOENT"),
        ("Connect", {"host": "first.", "port": 1}, "ENOENT"),
        ("Connect", {"host": "127.0.0.1", "port": 1}, "EINVAL"),
        ("Connect", {"host": "198.51.100.2", "port": 1}, "EINVAL"),
        ("Connect", {"host": "::", "port": 1}, "EINVAL"),
        ("Detach", {"interface": "a" + LONG}, "ENODEV"),
    ],
)
def test_refused(network, method, parameters, code):
    """With a code and a reason, and nothing of it stays."""
    reply = ask(network, method, **parameters)
    assert reply["error"] == "io.openvmnet.Failed"
    assert reply["parameters"].get("code") == code, reply
    assert reply["parameters"]["reason"]


@pytest.mark.parametrize("which", ["gateway", "first", "last"])
def test_connect_to_what_is_no_machine(network, which):
    """Refused or unreachable, or the gateway's own DNS; the engine minds nothing."""
    facts = network.describe()
    base = facts["gateway"].rpartition(".")[0]
    host = {"gateway": facts["gateway"], "first": f"{base}.0", "last": f"{base}.255"}[which]
    reply = ask(network, "Connect", host=host, port=9)
    assert reply["error"] == "io.openvmnet.Failed" and reply["parameters"]["reason"], reply


# ---- descriptors


def some_descriptors(stack):
    """Of each kind that is none of a network namespace that could be taken."""
    one, other = socket.socketpair()
    stack.callback(one.close)
    stack.callback(other.close)
    found = [one.fileno()]
    for path in ("/dev/null", "/etc/passwd", "/", "/proc/self/ns/user", "/proc/self/ns/uts"):
        found.append(os.open(path, os.O_RDONLY))
        stack.callback(os.close, found[-1])
    return found


def test_namespaces_of_the_wrong_kind(network):
    with contextlib.ExitStack() as stack:
        wrong = some_descriptors(stack)
        if os.geteuid() != 0:
            # Of a user namespace above the network's; root may do that.
            wrong.append(os.open("/proc/self/ns/net", os.O_RDONLY))
            stack.callback(os.close, wrong[-1])
        for fd in wrong:
            reply = ask(network, "Attach", [fd], kind="veth")
            assert reply["error"] == "io.openvmnet.Failed", os.readlink(f"/proc/self/fd/{fd}")
            assert "cannot attach a network namespace: " in reply["parameters"]["reason"], reply


@pytest.mark.parametrize("method", ["Describe", "Status", "Keep", "Detach", "Connect", "Attach"])
@pytest.mark.parametrize("count", [1, 2, 40])
def test_descriptors_that_are_not_wanted(network, method, count):
    if method == "Keep" and count > 1:
        return
    with contextlib.ExitStack() as stack:
        fds = (some_descriptors(stack) * 8)[:count]
        ask(network, method, fds, name="unwanted", forwards=["x"])


# ---- by many, and by those who go


def test_all_clients_ask_at_once(network):
    """With so many ports that the answers fill the way from the router."""
    with contextlib.ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(network.attach())
        clients = [stack.enter_context(Control(network)) for _ in range(CLIENTS_MAX - 4)]
        for client in clients:
            client.send("Status")
        for client in clients:
            reply, _ = client.receive()
            assert len(reply["parameters"]["ports"]) == 61
        for client in clients:
            client.send("Namespaces")
        for client in clients:
            reply, count = client.receive()
            assert count > 0 or reply["parameters"]["code"] == "EAGAIN", reply


CALLS = [
    ("Status", {}),
    ("Namespaces", {}),
    ("Describe", {}),
    ("Detach", {"interface": "tap99"}),
    ("Connect", {"host": "first", "port": 7}),
    ("Attach", {}),
    ("Attach", {"kind": "stream"}),
    ("Attach", {"kind": "dgram"}),
    ("Attach", {"kind": "dgram", "path": True}),
    ("Attach", {"kind": "stream", "forwards": [f"tcp::{PORT}-:1", f"udp::{PORT}-{PORT + 4}-:1"]}),
]


@pytest.mark.parametrize("method, parameters", CALLS)
def test_client_that_goes(network, method, parameters):
    """At once; and while the router has the request."""
    for _ in range(20):
        with Control(network) as control:
            control.send(method, **parameters)
    router = network.process("router")
    os.kill(router, signal.SIGSTOP)
    try:
        with Control(network) as control:
            control.send(method, **parameters)
        network.describe()
        network.describe()
    finally:
        os.kill(router, signal.SIGCONT)


@contextlib.contextmanager
def program(lab, network, wait=True):
    process = lab.host.start(
        [PYTHON, "-c", VETH, network.control, "wait" if wait else "go"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.stdin.close()
        process.wait(10)


def test_program_that_does_not_wait_for_its_port(lab, network):
    """Its namespace lives on, but nothing of the port may."""
    router = network.process("router")
    with program(lab, network) as process:
        reply = json.loads(process.stdout.readline())
        assert reply["parameters"]["port"]["name"] == "program", reply
        assert len(network.status()["ports"]) == 2
    assert poll(lambda: len(network.status()["ports"]) == 1)
    with program(lab, network, wait=False) as process:
        assert process.stdout.readline() == "ready\n"
        engine = network.process("engine")
        os.kill(engine, signal.SIGSTOP)  # it finds the request and that who asked is gone
        try:
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "sent\n"
        finally:
            os.kill(engine, signal.SIGCONT)
        network.kill("router")
        network.may_restart = True
        assert poll(lambda: network.process("router") not in (0, router))
        # The router may have had the request, or its successor.
        assert poll(lambda: [port["name"] for port in network.status()["ports"]] == ["first"])
        router = network.process("router")
        network.kill("router")
        assert poll(lambda: network.process("router") not in (0, router))
        assert [port["name"] for port in network.status()["ports"]] == ["first"]


# ---- forwards


def forwards(network):
    return [forward["forward"] for forward in network.status()["forwards"]]


def test_forward_removed_and_added_again(network):
    """At once: the worker has to close the socket first."""
    for _ in range(300):
        network.call("AddForward", forward=f"tcp::{PORT}-first:1")
        network.call("RemoveForward", forward=f"tcp::{PORT}")
        network.call("AddForward", forward=f"udp::{PORT}-first:1")
        network.call("RemoveForward", forward=f"udp::{PORT}")


def test_range_with_one_port_that_is_busy(lab, network):
    with lab.host.listen("127.0.0.1", PORT + 4):
        for text in (f"tcp::{PORT}-{PORT + 9}-first:1", f"tcp:0.0.0.0:{PORT}-{PORT + 9}-first:1"):
            with pytest.raises(Failed) as failed:
                network.call("AddForward", forward=text)
            assert failed.value.code == "EADDRINUSE"
        # Those before it are free again.
        network.call("AddForward", forward=f"tcp::{PORT}-{PORT + 3}-first:1")
        network.call("AddForward", forward=f"udp::{PORT}-{PORT + 9}-first:1")
        network.call("RemoveForward", forward=f"tcp::{PORT}-{PORT + 3}")
        network.call("RemoveForward", forward=f"udp::{PORT}-{PORT + 9}-first:1")


def test_forward_removed_by_its_text(network):
    """The whole text means that forward alone, the host's part whatever it leads to."""
    network.call("AddForward", forward=f"tcp::{PORT}-first:1")
    for text in (f"tcp::{PORT}-other:1", f"tcp::{PORT}-first:2", f"udp::{PORT}", f"tcp:0.0.0.0:{PORT}"):
        with pytest.raises(Failed) as failed:
            network.call("RemoveForward", forward=text)
        assert failed.value.code == "ENOENT", text
    network.call("RemoveForward", forward=f"tcp::{PORT}")


def test_forward_of_a_port_that_is_being_attached(network):
    """What is written meanwhile has no part of it: nobody would remove it."""
    router = network.process("router")
    written = network.directory / "forwards.json"
    os.kill(router, signal.SIGSTOP)
    try:
        with Control(network) as control:
            control.send("Attach", forwards=[f"tcp::{PORT}-first:1"])
            network.describe()
            network.call("AddForward", forward=f"tcp::{PORT + 1}-first:1")
            assert [f"tcp:127.0.0.1:{PORT + 1}-first:1"] == [
                entry["forward"] for entry in json.loads(written.read_text())
            ]
    finally:
        os.kill(router, signal.SIGCONT)
    assert poll(lambda: len(forwards(network)) == 1)
    network.call("RemoveForward", forward=f"tcp::{PORT + 1}")


@pytest.mark.parametrize("kind", ["tap", "stream", "dgram"])
@pytest.mark.parametrize("role", ["engine", "router", "dnsmasq"])
def test_process_dies_while_ports_are_attached(network, role, kind):
    """With 300 forwards: all of them are there again, and no port but those that have a client."""
    network.may_restart = True
    network.call("AddForward", forward=f"tcp::{PORT + 100}-{PORT + 399}-first:1000")
    network.call("AddForward", forward=f"udp::{PORT + 100}-first:1000")
    expected = sorted(forwards(network))
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Control(network)) for _ in range(8)]
        for client in clients:
            client.send("Attach", kind=kind)
        (pid,) = network.kill(role)
        for client in clients:
            with contextlib.suppress(LabError, OSError):
                client.receive()

    def recovered():
        with contextlib.suppress(OSError, LabError):
            status = network.status()
            return (
                status["processes"][role] not in (0, pid)
                and [port["name"] for port in status["ports"]] == ["first"]
                and sorted(one["forward"] for one in status["forwards"]) == expected
                and all(one["guest"] and not one["error"] for one in status["forwards"])
            )

    assert poll(recovered, 10), (network.status(), network.log())
    network.call("RemoveForward", forward=f"tcp::{PORT + 100}-{PORT + 399}")
    network.call("RemoveForward", forward=f"udp::{PORT + 100}")


def test_engine_and_router_die(network):
    """In both orders; the ports and forwards that there were are never forgotten."""
    network.may_restart = True
    network.call("AddForward", forward=f"tcp::{PORT}-first:1")
    for roles in (("engine", "router"), ("router", "engine")):
        pids = network.kill(*roles)

        def recovered(roles=roles, pids=pids):
            with contextlib.suppress(OSError, LabError):
                found = network.status()["processes"]
                return all(found[role] not in (0, pid) for role, pid in zip(roles, pids))

        assert poll(recovered, 10)
        status = network.status()
        assert [port["name"] for port in status["ports"]] == ["first"]
        assert forwards(network) == [f"tcp:127.0.0.1:{PORT}-first:1"]
    network.call("RemoveForward", forward=f"tcp::{PORT}")


# ---- without descriptors


@pytest.mark.parametrize("path", ["control", "stream"])
def test_no_descriptor_for_a_connection(lab, new_network, path):
    """The connection waits, at no cost, until there is one."""
    network = new_network()
    engine = network.process("engine")
    old = resource.prlimit(engine, resource.RLIMIT_NOFILE)
    with socket.socket(socket.AF_UNIX) as waiting:
        resource.prlimit(engine, resource.RLIMIT_NOFILE, (3, old[1]))
        try:
            waiting.connect(str(network.directory / path))
            ticks = cpu_ticks(engine)
            with contextlib.suppress(TimeoutError):
                waiting.settimeout(0.5)
                waiting.recv(1)
            assert cpu_ticks(engine) - ticks < 20
        finally:
            resource.prlimit(engine, resource.RLIMIT_NOFILE, old)
        assert network.describe()["name"] == network.name


def cpu_ticks(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


# ---- the first port


def test_connection_that_says_nothing_yet(lab):
    """A monitor whose guest is still silent is a machine: the network stays for it, and ends with it."""
    machine = lab.start_vm("-nic", "vmnet-macos,network=quiet")
    network = Network(lab, "quiet")
    assert poll(network.is_running, 10)
    with socket.socket(socket.AF_UNIX) as monitor:
        monitor.connect(str(network.directory / "stream"))
        assert poll(lambda: network.is_running() and network.status()["ports"], 10)
        machine.stdin.close()
        assert poll(lambda: not network.is_running() or not network.status()["ports"], 10)
        assert network.is_running()
        frame = b"\xff" * 6 + bytes.fromhex("525400000001") + b"\x08\x06" + bytes(46)
        monitor.sendall(struct.pack("!I", len(frame)) + frame)
        assert poll(lambda: len(network.status()["ports"]) == 1)
    assert poll(lambda: not network.directory.exists(), 10)
