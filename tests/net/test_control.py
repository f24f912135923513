# SPDX-License-Identifier: Apache-2.0
"""The control socket: who may use it, what it answers, and what clients cannot do to it."""

import contextlib
import os
import resource
import select
import shutil
import socket
import stat
import subprocess
import sys
import time

import pytest
from varlink import POLL_S, START_TIMEOUT_S, Varlink, VarlinkError, message, poll, private_world

# As in src/daemon/control.h.
REQUEST_BYTES = 64 * 1024
REQUEST_S = 5
REQUEST_LATE_S = 2  # clients are looked at once a second
CLIENTS_MAX = 128
SIDE_BY_SIDE = 40  # the kernel takes 40 ms to remove a port
OTHER_UID = 65533
SERVICE = "org.varlink.service"


@pytest.fixture
def world():
    """With a network "shared" that has a port. Its engine must not be left with descriptors."""
    with private_world() as world:
        world.machine("-name", "web").wait_port()
        world.engine = world.status()["processes"]["engine"]
        assert poll(lambda: not clients(world), 5, POLL_S)
        world.descriptors = descriptors(world)
        yield world
        assert poll(lambda: descriptors(world) == world.descriptors, 5, POLL_S), descriptors(world)
        assert world.status()["processes"]["engine"] == world.engine, world.log()


def descriptors(world):
    """What the engine has open: files by name, the others by kind."""
    found = []
    for name in os.listdir(f"/proc/{world.engine}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/{world.engine}/fd/{name}").partition(":")[0])
    return sorted(found)


def clients(world):
    """Connections to the control socket that the engine or its queue has."""
    path = str(world.run_dir() / "control")
    with open("/proc/net/unix") as file:
        lines = [line.split() for line in file]
    # The listener has the flag SO_ACCEPTCON.
    return [line for line in lines if line[-1] == path and line[3] != "00010000"]


def error_of(world, method, **parameters):
    """(error, parameters) that a call is refused with."""
    with world.connect() as connection, pytest.raises(VarlinkError) as caught:
        connection.call(method, **parameters)
    return caught.value.error, caught.value.parameters


# ---- who


def test_modes(world):
    for path, mode in (
        (world.runtime / "openvmnet", 0o700),
        (world.run_dir(), 0o700),
        (world.run_dir() / "control", 0o600),
        (world.run_dir() / "log", 0o600),
    ):
        assert stat.S_IMODE(path.stat().st_mode) == mode, path
        assert path.stat().st_uid == os.geteuid()


# Says how far it came.
INTRUDER = """
import socket, sys
client = socket.socket(socket.AF_UNIX)
client.settimeout(5)
try:
    client.connect(sys.argv[1])
except PermissionError:
    sys.exit("closed")
try:
    client.sendall(b'{"method":"io.openvmnet.Stop","parameters":{"force":true}}\\0')
    print("answered" if client.recv(100) else "ended")
except ConnectionError:
    print("ended")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_another_user_is_refused(world):
    # Not the one that runs the tests, which that user may not be able to reach.
    command = ["setpriv", f"--reuid={OTHER_UID}", f"--regid={OTHER_UID}", "--clear-groups"]
    command += [shutil.which("python3", path="/usr/bin") or sys.executable, "-c", INTRUDER]
    command += [str(world.run_dir() / "control")]

    def intrude():
        result = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
        return (result.stdout + result.stderr).strip()

    assert intrude() == "closed"
    # Where the modes are no obstacle, the kernel's word is: who is there.
    os.chmod(world.run_dir() / "control", 0o666)
    for path in (world.directory, world.runtime, world.runtime / "openvmnet", world.run_dir()):
        os.chmod(path, 0o755)
    assert intrude() == "ended"
    os.chmod(world.runtime / "openvmnet", 0o700)


# ---- what


def test_introspection(world):
    with world.connect() as connection:
        info = connection.call(f"{SERVICE}.GetInfo")
        version = world.cli("--version").stdout.split()[-1]
        assert (info["vendor"], info["product"], info["version"]) == (
            "openvmnet",
            "vmnetd",
            version,
        )
        assert info["interfaces"] == [SERVICE, "io.openvmnet"]
        text = connection.call(f"{SERVICE}.GetInterfaceDescription", interface="io.openvmnet")
        text = text["description"]
    assert "\ninterface io.openvmnet\n" in text
    for method in ("Describe", "Attach", "Detach", "Status", "Keep", "Stop"):
        assert f"\nmethod {method}(" in text
    error = error_of(world, f"{SERVICE}.GetInterfaceDescription", interface="io.example")
    assert error == (f"{SERVICE}.InterfaceNotFound", {"interface": "io.example"})


def test_described_types_are_the_replies(world):
    """Every field that a reply has is in the description, and the other way round."""
    with world.connect() as connection:
        text = connection.call(f"{SERVICE}.GetInterfaceDescription", interface="io.openvmnet")
        status = connection.call("Status")
    description = text["description"]
    for name, value in (
        ("Network", status["network"]),
        ("Port", status["ports"][0]),
        ("Traffic", status["ports"][0]["traffic"]),
        ("Processes", status["processes"]),
    ):
        fields = description.partition(f"type {name} (")[2].partition(")")[0]
        described = [field.split(":")[0].strip() for field in fields.split(",")]
        assert sorted(described) == sorted(value), name


def test_unknown_methods(world):
    assert error_of(world, "Explode") == (
        f"{SERVICE}.MethodNotFound",
        {"method": "io.openvmnet.Explode"},
    )
    for method in ("io.openvmnet", "io.openvmnet.", "io.example.Describe", "a" * 1000 + ".B"):
        assert error_of(world, method)[0] in (
            f"{SERVICE}.MethodNotFound",
            f"{SERVICE}.InterfaceNotFound",
        )


def test_wrong_parameters(world):
    for method, parameters, name in (
        ("Attach", {"name": 5}, "name"),
        ("Attach", {"name": ["web"]}, "name"),
        ("Attach", {"interfaceId": {}}, "interfaceId"),
        ("Attach", {"mac": True}, "mac"),
        ("Attach", {"mac": "52:54:00"}, "mac"),
        ("Detach", {}, "interface"),
        ("Detach", {"interface": 0}, "interface"),
        ("Stop", {"force": "yes"}, "force"),
        (f"{SERVICE}.GetInterfaceDescription", {"interface": 1}, "interface"),
    ):
        error = error_of(world, method, **parameters)
        assert error == (f"{SERVICE}.InvalidParameter", {"parameter": name}), (method, parameters)


def identity(port):
    """What of a port stays as it is while it is used."""
    return {key: value for key, value in port.items() if key not in ("traffic", "drops", "use")}


def identities(world):
    return [identity(port) for port in world.status()["ports"]]


def test_requests_that_cannot_be_carried_out(world):
    status = world.status()
    port = status["ports"][0]
    for method, parameters, code, reason in (
        ("Attach", {"name": "a b"}, "EINVAL", "host name 'a b' has a character that is not allow"),
        ("Attach", {"name": "-"}, "EINVAL", "starts or ends with '-'"),
        ("Attach", {"name": "x" * 64}, "EINVAL", "has 64 characters: write one of at most 63"),
        ("Attach", {"name": "WEB"}, "EEXIST", "the name 'WEB' is taken on network 'shared' by"),
        ("Attach", {"mac": "01:00:5e:00:00:01"}, "EINVAL", "not of a group"),
        ("Attach", {"mac": "00:00:00:00:00:00"}, "EINVAL", "not zero"),
        ("Attach", {"mac": port["mac"]}, "EEXIST", "is in use by 'web' on network 'shared'"),
        ("Attach", {"interfaceId": "1"}, "EINVAL", "'1' is not a UUID"),
        ("Attach", {"interfaceId": port["interfaceId"]}, "EEXIST", "is in use by 'web'"),
        ("Detach", {"interface": "tap9"}, "ENODEV", "no port 'tap9' on this network"),
        ("Detach", {"interface": "br0"}, "ENODEV", "no port 'br0' on this network"),
        ("Detach", {"interface": "../" * 99}, "ENODEV", "no port '../"),
        ("Stop", {}, "EBUSY", "1 port is attached: end the VMs first, or use --force"),
        ("Stop", {"force": None}, "EBUSY", "1 port is attached"),
    ):
        error, answer = error_of(world, method, **parameters)
        assert (error, answer["code"]) == ("io.openvmnet.Failed", code), parameters
        assert reason in answer["reason"]
    assert identities(world) == [identity(port)]


def test_ports_of_a_client(world):
    """Attached by one connection, detached by another; or gone with the descriptor."""
    with world.connect() as first:
        reply = first.call("Attach", name="one")
        assert (reply["fd"], len(first.descriptors)) == (0, 1)
        assert reply["port"]["name"] == "one"
        assert identity(reply["port"]) in identities(world)
        with world.connect() as second:
            assert second.call("Detach", interface=reply["port"]["interface"]) == {}
        assert poll(lambda: len(world.status()["ports"]) == 1, 5, POLL_S)
    with world.connect() as first:
        assert first.call("Attach", name="one")["port"]["mac"] == reply["port"]["mac"]
        assert len(world.status()["ports"]) == 2
    assert poll(lambda: len(world.status()["ports"]) == 1, 5, POLL_S)


# ---- what is no request


NO_REQUESTS = {
    "nothing": b"\0",
    "no end": b"{\0",
    "no object": b"[]\0",
    "a string": b'"io.openvmnet.Describe"\0',
    "a number": b"5\0",
    "no JSON": b"GET / HTTP/1.1\r\n\r\n\0",
    "no method": b'{"parameters":{}}\0',
    "a method that is a number": b'{"method":5}\0',
    "parameters in an array": b'{"method":"io.openvmnet.Describe","parameters":[]}\0',
    "a name twice": b'{"method":"a","method":"io.openvmnet.Describe"}\0',
    "more behind it": b'{"method":"io.openvmnet.Describe"} x\0',
    "no UTF-8": b'{"method":"\xff\xfe"}\0',
    "a NUL in a string": b'{"method":"io.openvmnet.Describe\\u0000"}\0',
    "a deep one": b'{"method":' + b"[" * 60000 + b"\0",
}


def test_no_request(world):
    for name, data in NO_REQUESTS.items():
        with world.connect() as connection:
            connection.send_bytes(data)
            assert connection.is_ended(), name
    assert world.status()["ports"]


def padded(len_bytes):
    """A request of exactly so many bytes, its NUL included."""
    empty = len(message("Describe", padding=""))
    return message("Describe", padding="x" * (len_bytes - empty))


def test_large_requests(world):
    with world.connect() as connection:
        connection.send_bytes(padded(REQUEST_BYTES))
        assert connection.receive()["parameters"]["network"]["name"] == "shared"
    for data in (padded(REQUEST_BYTES + 1), padded(1 << 20), b"x" * (1 << 20), b" " * (1 << 20)):
        with world.connect() as connection:
            with contextlib.suppress(ConnectionError):
                connection.send_bytes(data)
            assert connection.is_ended()
    assert "sent more than 65536 bytes in one request" in world.log()


def test_request_in_pieces(world):
    with world.connect() as connection:
        for byte in message("Describe"):
            connection.send_bytes(bytes([byte]))
        assert connection.receive()["parameters"]["network"]["name"] == "shared"


# ---- more than one request


def test_requests_are_answered_in_order(world):
    with world.connect() as connection:
        requests = [message("Describe"), message("Explode"), message("Status"), message("A.b")]
        connection.send_bytes(b"".join(requests) * 20)
        for _ in range(20):
            assert list(connection.receive()["parameters"]) == ["network"]
            assert connection.receive()["parameters"]["method"] == "io.openvmnet.Explode"
            assert "counters" in connection.receive()["parameters"]
            assert connection.receive()["parameters"]["method"] == "A.b"


def test_request_behind_one_that_takes_time(world):
    """The router is asked for a port; what came with the request waits for its answer."""
    with world.connect(timeout_s=3) as connection:
        connection.send_bytes(message("Attach", name="one") + message("Describe"))
        assert connection.receive()["parameters"]["port"]["name"] == "one"
        assert connection.receive()["parameters"]["network"]["ports"] == 2
        assert len(connection.descriptors) == 1


def test_more_answers_than_the_socket_takes(world):
    """What does not fit waits until there is room."""
    requests = 600  # their answers are about 1.5 MB
    with world.connect(timeout_s=5) as connection:
        connection.send_bytes(message("Status") * requests)
        for _ in range(requests):
            assert connection.receive()["parameters"]["network"]["name"] == "shared"


def test_client_that_has_said_all(world):
    for method in ("Describe", "Attach"):
        with world.connect() as connection:
            connection.send(method)
            connection.socket.shutdown(socket.SHUT_WR)
            assert "parameters" in connection.receive(), method
            assert connection.is_ended()
    assert poll(lambda: len(world.status()["ports"]) == 1, 5, POLL_S)


def test_client_that_does_not_wait(world):
    for _ in range(30):
        for request in (message("Attach"), message("Status"), message("Attach")[:-1]):
            connection = world.connect()
            connection.send_bytes(request)
            connection.close()
    # With the last descriptor that nobody took, the last of these ports goes.
    assert poll(lambda: len(world.status()["ports"]) == 1, 10, POLL_S)
    assert world.machine().wait_port()


# ---- time and number


def test_slow_clients(world):
    """They lose their connection when the time is over, and nobody waits for them meanwhile."""
    dribbling, silent, deaf, idle = [world.connect() for _ in range(4)]
    silent.send_bytes(message("Describe")[:-1])
    deaf.socket.setblocking(False)
    with contextlib.suppress(BlockingIOError, ConnectionError):
        while True:
            deaf.socket.send(message("Status") * 20)
    assert idle.call("Describe")
    watch = select.poll()
    connections = {each.socket.fileno(): each for each in (dribbling, silent, deaf)}
    for descriptor in connections:
        watch.register(descriptor, select.POLLRDHUP)
    started = sent = time.monotonic()
    pieces = iter(message("Describe", padding="x" * 50))
    dribbling.send_bytes(bytes([next(pieces)]))
    while connections:
        now = time.monotonic()
        assert now - started < REQUEST_S + REQUEST_LATE_S
        if now - sent >= 1:
            sent = now
            assert idle.call("Describe")
            assert time.monotonic() - now < 2
            with contextlib.suppress(ConnectionError):
                dribbling.send_bytes(bytes([next(pieces)]))
        for descriptor, _ in watch.poll(100):
            watch.unregister(descriptor)
            del connections[descriptor]
    # It has longer between two requests than within one.
    assert idle.call("Describe")
    for each in (dribbling, silent, deaf, idle):
        each.close()


def test_thousand_clients(world):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        first = stack.enter_context(world.connect())
        refused = 0
        for _ in range(1000):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            try:
                client.connect(str(world.run_dir() / "control"))
                client.send(message("Describe"))
            except BlockingIOError:  # the queue is full
                refused += 1
        assert refused < 1000
        assert first.call("Status")["ports"], "who was there before is still served"
        assert len(descriptors(world)) < CLIENTS_MAX + 100
    started = time.monotonic()
    assert world.cli("ls").returncode == 0
    assert time.monotonic() - started < 5
    assert world.status()["ports"]


def test_many_clients_side_by_side(world):
    """Each gets a port of its own."""
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(world.connect()) for _ in range(SIDE_BY_SIDE)]
        for connection in connections:
            connection.send("Attach")
        replies = [connection.receive() for connection in connections]
        ports = [reply["parameters"]["port"] for reply in replies]
        for key in ("interface", "mac", "ipv4", "name"):
            assert len({port[key] for port in ports}) == len(ports), key
        assert len(world.status()["ports"]) == 1 + SIDE_BY_SIDE
    assert poll(lambda: len(world.status()["ports"]) == 1, START_TIMEOUT_S, POLL_S)


def test_connection_of_a_killed_engine(world):
    """It ends; the next one is the new engine's."""
    with world.connect() as connection:
        connection.call("Describe")
        os.kill(world.engine, 9)
        assert connection.is_ended()
    with Varlink(world.run_dir() / "control") as connection:
        world.engine = connection.call("Status")["processes"]["engine"]
    assert poll(lambda: not clients(world), 5, POLL_S)
    world.descriptors = descriptors(world)
