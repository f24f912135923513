# SPDX-License-Identifier: Apache-2.0
"""libopenvmnet on real networks: the example, and calls from a program that knows only the library.

The program is this Python, by ctypes, in a process of its own in the laboratory.
"""

import array
import contextlib
import errno
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import threading

import pytest
from lab import BUILD, PYTHON, SANITIZED, poll

EXAMPLE = BUILD / "docs" / "examples" / "ping-from-port"
LIBRARY = BUILD / "src" / "client" / "libopenvmnet.so"



def sanitizer_runtime():
    """What Python must have loaded before it can load a library with the address sanitizer; or ""."""
    if SANITIZED != "asan" or not shutil.which("clang"):
        return ""
    name = f"libclang_rt.asan-{platform.machine()}.so"
    path = subprocess.run(["clang", f"-print-file-name={name}"], stdout=-1, text=True, check=True).stdout.strip()
    return path if os.path.exists(path) else ""


RUNTIME = sanitizer_runtime()
NO_LEAKS = ":detect_leaks=0"  # of Python's own

loads = pytest.mark.skipif(
    bool(SANITIZED) and not RUNTIME, reason="this sanitizer's library cannot be loaded into Python"
)

# What comes before each program: the library's functions with their types, and what is said.
PROLOGUE = f"""
import ctypes, errno, json, os, signal, sys, threading
if os.environ.pop("LD_PRELOAD", None):  # this is not for what is started
    os.environ["ASAN_OPTIONS"] = os.environ["ASAN_OPTIONS"].removesuffix({NO_LEAKS!r})
lib = ctypes.CDLL({str(LIBRARY)!r})
libc = ctypes.CDLL(None)

class Error(ctypes.Structure):
    _fields_ = [("code", ctypes.c_int), ("text", ctypes.c_char * 1024)]

error = Error()
for name in ("attach", "port_get"):
    getattr(lib, "openvmnet_" + name).restype = ctypes.c_void_p
for name in ("list", "status", "forwards", "interfaces"):
    getattr(lib, "openvmnet_" + name).restype = ctypes.c_void_p

def options(*texts):
    return (ctypes.c_char_p * (len(texts) + 1))(*[text.encode() for text in texts], None)

def attach(*texts, error=error):
    return ctypes.c_void_p(lib.openvmnet_attach(options(*texts), ctypes.byref(error)))

def get(port, key):
    text = lib.openvmnet_port_get(port, key.encode())
    return None if text is None else ctypes.string_at(text).decode()

def text_of(function, *arguments):
    text = ctypes.c_void_p(function(*arguments, ctypes.byref(error)))
    if not text:
        return None
    found = json.loads(ctypes.string_at(text))
    libc.free(text)
    return found

def free(port):
    lib.openvmnet_port_free(ctypes.byref(port))

def descriptors():
    return {{fd: os.readlink(f"/proc/self/fd/{{fd}}") for fd in os.listdir("/proc/self/fd")
            if os.path.exists(f"/proc/self/fd/{{fd}}")}}

def say(**what):
    print(json.dumps(what))
"""


def run(lab, *command, **options):
    """Runs a program of the user's, who has vmnetd in PATH: it is not beside that program."""
    environment = dict(lab.environment, PATH=f"{BUILD}:{lab.environment['PATH']}")
    return lab.host.run(command, capabilities=False, env=environment | options.pop("env", {}), **options)


def program(lab, text, **options):
    """What a program says by say(), one object or several; it may print nothing else."""
    if RUNTIME:
        sanitizer = {"LD_PRELOAD": RUNTIME, "ASAN_OPTIONS": lab.environment["ASAN_OPTIONS"] + NO_LEAKS}
        options["env"] = options.get("env", {}) | sanitizer
    result = run(lab, PYTHON, "-c", PROLOGUE + text, **options)
    assert result.stderr == ""
    said = [json.loads(line) for line in result.stdout.splitlines()]
    return said[0] if len(said) == 1 else said


def ports(network):
    return {port.get("port", port)["name"] for port in network.status()["ports"]}


def test_example_pings(lab, network):
    """Whom it attaches is attached while it runs, and the network starts by itself, too."""
    for name in (network.name, "started"):
        result = run(lab, EXAMPLE, f"network={name}", "hostname=pinger")
        lines = result.stdout.splitlines()
        assert re.fullmatch(
            rf"pinger on network {name}: MAC [0-9a-f:]{{17}}, IPv4 192\.168\.\d+\.\d+/24", lines[0]
        )
        assert len(lines) == 4 and result.stderr == ""
        for number, line in enumerate(lines[1:], 1):
            assert re.fullmatch(rf"192\.168\.\d+\.1 answered ping {number} in \d+\.\d+ ms", line)
    assert poll(lambda: "pinger" not in ports(network))


def test_example_fails(lab, network):
    for option, text in (("colour=red", "unknown option 'colour'"), ("hostname=a.b", "a.b")):
        result = run(lab, EXAMPLE, option, check=False)
        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr.startswith("ping-from-port: ") and text in result.stderr


@loads
def test_port(lab, network):
    """What a port tells is what the network says of it, and it ends when it is freed."""
    said = program(
        lab,
        f"""
port = attach("network={network.name}", "hostname=web", "mac=52:54:00:00:00:77")
keys = ["network", "mode", "interface", "hostname", "domain", "mac", "ipv4", "gateway",
        "ipv6-prefix", "gateway6", "mtu", "colour"]
fd = lib.openvmnet_port_fd(port)
status = text_of(lib.openvmnet_status, b"{network.name}")
say(code=error.code, text=error.text.decode(), status=status, inheritable=os.get_inheritable(fd),
    **{{key: get(port, key) for key in keys}})
""",
    )
    assert (said["code"], said["text"], said["inheritable"]) == (0, "", False)
    (port,) = [port.get("port", port) for port in said["status"]["ports"]]
    for key, name in (("hostname", "name"), ("ipv6-prefix", "ipv6Prefix")):
        port[key] = port[name]
    for key in ("network", "interface", "hostname", "domain", "mac", "ipv4", "gateway"):
        assert said[key] == port[key]
    assert said["ipv6-prefix"] == (port["ipv6-prefix"] or "")
    assert said["mac"] == "52:54:00:00:00:77"
    assert said["mode"] in ("shared", "") and int(said["mtu"]) == network.describe()["mtu"]
    assert said["colour"] is None
    assert poll(lambda: not ports(network))


@loads
def test_lifetime(lab, network):
    """A port goes with its last descriptor, whichever that is; freeing twice is freeing once."""
    said = program(
        lab,
        f"""
def names():
    return [port.get("port", port)["name"]
            for port in text_of(lib.openvmnet_status, b"{network.name}")["ports"]]

def gone(name):
    for _ in range(500):
        if name not in names():
            return True
        libc.usleep(10000)
    return False

one, two = attach("network={network.name}", "hostname=one"), attach("network={network.name}", "hostname=two")
taken = lib.openvmnet_port_take_fd(two)
free(two)
free(two)
free(one)
say(gone=gone("one"), stays=names() == ["two"], null=not two, again=lib.openvmnet_port_take_fd(two))
os.close(taken)
say(gone=gone("two"), left=names())
""",
    )
    assert said[0] == {"gone": True, "stays": True, "null": True, "again": -1}
    assert said[1] == {"gone": True, "left": []}


@loads
def test_clashes(lab, network):
    """The reason comes as text, with the name of the network; nothing is left of what failed."""
    said = program(
        lab,
        f"""
before = descriptors()
port = attach("network={network.name}", "hostname=web")
for texts in (["hostname=web"], ["hostname=a", "mac=" + get(port, "mac")],
              ["start-address=10.9.0.1", "end-address=10.9.0.9", "subnet-mask=255.255.255.0"],
              ["mtu=1400"]):
    other = attach("network={network.name}", *texts)
    say(port=bool(other), code=errno.errorcode[-error.code], text=error.text.decode())
say(ports=len(text_of(lib.openvmnet_status, b"{network.name}")["ports"]))
free(port)
say(same=descriptors() == before)
""",
    )
    taken, mac, addresses, mtu, left, same = said
    for each, text in ((taken, "'web' is taken"), (mac, "is in use"), (addresses, "10.9.0.1")):
        assert (each["port"], each["code"]) == (False, "EEXIST"), each
        assert each["text"].startswith(f"network '{network.name}': ") and text in each["text"]
    assert not mtu["port"] and "mtu" in mtu["text"]
    assert left == {"ports": 1}
    assert same == {"same": True}


@loads
def test_network(lab):
    """Start, list, stop. What does not run is an error that says so."""
    said = program(
        lab,
        """
say(list=text_of(lib.openvmnet_list), interfaces=text_of(lib.openvmnet_interfaces))
say(code=lib.openvmnet_start(options("network=own", "start-address=192.168.90.1",
    "end-address=192.168.90.9", "subnet-mask=255.255.255.0"), None))
say(code=lib.openvmnet_start(options("network=own"), ctypes.byref(error)), text=error.text.decode())
say(code=lib.openvmnet_start(options("network=own", "start-address=192.168.90.1",
    "end-address=192.168.90.9", "subnet-mask=255.255.255.128"), ctypes.byref(error)))
say(list=text_of(lib.openvmnet_list))
port = attach("network=own")
say(code=lib.openvmnet_stop(b"own", 0, ctypes.byref(error)), text=error.text.decode())
say(code=lib.openvmnet_stop(b"own", 1, ctypes.byref(error)), text=error.text.decode())
say(status=text_of(lib.openvmnet_status, b"own"), code=error.code, text=error.text.decode())
say(list=text_of(lib.openvmnet_list))
""",
    )
    before, started, again, other, listed, busy, stopped, gone, after = said
    assert before["interfaces"] == json.loads(lab.vmnet("interfaces", "--json").stdout)
    assert started == {"code": 0}
    assert again["code"] == -17 and "runs already" in again["text"]
    assert other["code"] == -17
    assert "own" in listed["list"] and "own" not in before["list"] + after["list"]
    assert busy["code"] == -16 and busy["text"].startswith("network 'own': 1 port is attached")
    assert stopped == {"code": 0, "text": ""}
    assert gone["status"] is None and gone["code"] == -2
    assert gone["text"].startswith("network 'own': does not run")


@loads
def test_program_stays_as_it_is(lab):
    """Starting a network leaves signals, children and descriptors; vmnetd gets none of them either."""
    said = program(
        lab,
        """
handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1])
signal.signal(signal.SIGUSR2, signal.SIG_IGN)
handlers[signal.SIGUSR2] = signal.SIG_IGN
secret = os.open("/dev/zero", os.O_RDONLY)
os.set_inheritable(secret, True)
before = descriptors()
port = attach("network=quiet")
inside = set(descriptors()) - set(before)
processes = text_of(lib.openvmnet_status, b"quiet")["processes"]
status = open(f"/proc/{processes['parent']}/status").read()
signals = {line.split()[0]: int(line.split()[1], 16) for line in status.splitlines() if line.startswith("Sig")
           and "/" not in line}
inherited = [signals["SigBlk:"] & 1 << signal.SIGTERM - 1, signals["SigIgn:"] & 1 << signal.SIGUSR2 - 1]
fds = os.listdir(f"/proc/{processes['parent']}/fd")
leaked = [os.readlink(f"/proc/{processes['parent']}/fd/{fd}") for fd in fds].count("/dev/zero")
try:
    children = os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    children = None
say(mask=sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])), children=children,
    handlers={number: signal.getsignal(number) for number in handlers} == handlers,
    inherited=inherited, leaked=leaked, new=len(inside))
free(port)
say(same=descriptors() == before)
""",
    )
    # 10 and 15: what the program blocked itself.
    assert said[0] == {
        "mask": [10, 15], "children": None, "handlers": True, "inherited": [0, 0], "leaked": 0,
        "new": 1,
    }  # fmt: skip
    assert said[1] == {"same": True}


@loads
def test_threads(lab, network):
    """Threads attach at once; each gets a port of its own."""
    said = program(
        lab,
        f"""
found, errors = [], []

def work(number):
    mine = Error()
    port = attach("network={network.name}", f"hostname=t{{number}}", error=mine)
    if port:
        found.append((get(port, "mac"), get(port, "ipv4")))
    else:
        errors.append(mine.text.decode())
    held.wait()
    free(port)

held = threading.Barrier(8)
threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
say(found=found, errors=errors)
""",
    )
    assert said["errors"] == []
    assert len({mac for mac, _ in said["found"]}) == len({ip for _, ip in said["found"]}) == 8
    assert poll(lambda: not ports(network))


@loads
def test_vmnetd_is_missing(lab):
    """A program elsewhere, with nothing in PATH, looks where openvmnet was installed, and says so."""
    said = program(
        lab,
        'say(port=bool(attach("network=lonely")), code=error.code, text=error.text.decode())',
        env={"PATH": "/nonexistent"},
    )
    assert (said["port"], said["code"]) == (False, -2)
    assert re.search(r"not found beside this program, in PATH or in /\S+/bin;", said["text"])


# Says code, text and port of one attach, and which descriptors are new while it is attached.
ATTACH = """
before = descriptors()
network = [] if "net-uuid" in str({options}) else ["network=fake"]  # that has a name already
port = attach(*network, *{options})
new = [name for fd, name in descriptors().items() if fd not in before]
fd = lib.openvmnet_port_fd(port)
say(code=error.code, text=error.text.decode(), port=bool(port), new=new, fd=fd,
    **{{key.replace("-", "_"): get(port, key) for key in ("socket", "ipv6-default", "mtu", "interface-id")}})
free(port)
say(same=descriptors() == before)
"""

UUID = "8a2c5f10-0d3b-4c7e-9a51-6f1e2d3c4b5a"

commands = [
    ([], []),
    (["mode=shared", "mtu=1400"], ["--mode", "shared", "--mtu", "1400"]),
    (["subnet-mask=255.255.255.0", "end-address=192.168.90.9", "start-address=192.168.90.1"],
     ["--start-address", "192.168.90.1", "--end-address", "192.168.90.9",
      "--subnet-mask", "255.255.255.0"]),
    (["nat66-prefix=fd12:3456:789a:1::"], ["--nat66-prefix", "fd12:3456:789a:1::"]),
    (["mode=host", f"net-uuid={UUID}"], ["--mode", "host", "--net-uuid", UUID]),
    (["hostname=web", "isolated"], []),
]  # fmt: skip


@loads
@pytest.mark.parametrize("options, arguments", commands)
def test_vmnetd_is_asked_for_no_more(lab, options, arguments):
    """What was not asked for is the network's file to say. What vmnetd says is the reason."""
    programs = lab.directory / "programs"
    programs.mkdir()
    try:
        vmnetd = programs / "vmnetd"
        vmnetd.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{programs}/arguments\necho "-13 not today" >&3\n')
        vmnetd.chmod(0o755)
        said, _ = program(
            lab, ATTACH.format(options=options), env={"PATH": f"{programs}:{os.environ['PATH']}"}
        )
        told = (programs / "arguments").read_text().splitlines()
    finally:
        shutil.rmtree(programs)
    name = f"host-{UUID}" if f"net-uuid={UUID}" in options else "fake"
    assert (said["code"], said["text"]) == (-errno.EACCES, f"network '{name}': not today")
    assert told == ["--background", *arguments, "--", name]


@loads
def test_bridged_is_refused_before_it_starts(lab):
    said, _ = program(lab, ATTACH.format(options=["mode=bridged", "ifname=eth0"]), env={"PATH": "/nonexistent"})
    assert not said["port"] and "vmnetd: not found" not in said["text"] and "bridged" in said["text"]


# ---- what vmnetd sends and gets, from one that says what a test wants

NETWORK = {
    "name": "fake", "mode": "shared", "gateway": "192.168.90.1", "poolEnd": "192.168.90.9",
    "subnet": "192.168.90.0/24", "ipv6Prefix": "fd12:3456:789a:1::/64", "mtu": 1500, "dhcp": True,
}  # fmt: skip
PORT = {
    "network": "fake", "mode": "shared", "interface": "tap0", "mac": "52:54:00:00:00:01", "name": "a",
    "ipv4": "192.168.90.2/24", "gateway": "192.168.90.1", "domain": "d", "ipv6Prefix": None, "mtu": 1400,
    "gateway6": None, "ipv6Default": True, "interfaceId": "id", "isolated": False, "socket": "/s",
}  # fmt: skip


class FakeNetwork:
    """A context: the network "fake", whose answers are in self.answers: {method: (parameters, files)}.
    Calls are in self.calls: (method, parameters, what the descriptors beside it are)."""

    def __init__(self, lab, **answers):
        self.answers = {"Describe": ({"network": NETWORK}, []), **answers}
        self.calls = []
        self.directory = lab.runtime / "openvmnet" / "fake"
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        self.directory.parent.mkdir(mode=0o700, exist_ok=True)
        self.directory.mkdir(mode=0o700)
        self.stack.callback(shutil.rmtree, self.directory)
        self.listener = self.stack.enter_context(socket.socket(socket.AF_UNIX))
        self.listener.bind(str(self.directory / "control"))
        self.listener.listen()
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.stack.close()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                with client, contextlib.suppress(ConnectionError):
                    while self.answer(client):
                        pass

    def answer(self, client):
        data, rights, fds = b"", [], array.array("i")
        while not data.endswith(b"\0"):
            part, rights, _, _ = client.recvmsg(65536, socket.CMSG_SPACE(64))
            for _, _, content in rights:
                fds.frombytes(content)
            if not part:
                return False
            data += part
        call = json.loads(data[:-1])
        method = call["method"].removeprefix("io.openvmnet.")
        targets = [os.readlink(f"/proc/self/fd/{fd}") for fd in fds]
        for fd in fds:
            os.close(fd)
        if method != "Describe":
            self.calls.append((method, call["parameters"], targets))
        parameters, files = self.answers[method]
        reply = parameters if "error" in parameters else {"parameters": parameters}
        with contextlib.ExitStack() as stack:
            given = [stack.enter_context(open(file)).fileno() for file in files]
            message = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", given))] if given else []
            client.sendmsg([json.dumps(reply).encode() + b"\0"], message)
        return True


asked_for = [
    # options, parameters of Attach, descriptors beside it, Port's changes, descriptors beside the reply
    ([], {}, [], {}, 1),
    (["hostname=a", "mac=52-54-00-00-00-01"], {"name": "a", "mac": "52:54:00:00:00:01"}, [], {}, 1),
    (["isolated=yes"], {"isolated": True}, [], {"isolated": True}, 1),
    (["isolated"], {"isolated": True}, [], {"isolated": True}, 1),
    (["isolated=off", "anti_spoof=on", "kind=tap"], {}, [], {}, 1),
    (["anti-spoof=off"], {"antiSpoof": False}, [], {}, 1),
    (["anti-spoof=auto"], {"antiSpoof": False, "antiSpoofAuto": True}, [], {}, 1),
    (
        ["forward=tcp::2222-:22", "forward=tcp::8080-:80"],
        {"forwards": ["tcp:127.0.0.1:2222-:22", "tcp:127.0.0.1:8080-:80"]}, [], {}, 1,
    ),
    (["kind=stream"], {"kind": "stream"}, [], {}, 1),
    (["kind=dgram", "path=on"], {"kind": "dgram", "path": True}, [], {}, 1),
    (["kind=veth", "netns=/dev/zero"], {"kind": "veth"}, ["/dev/zero"], {}, 0),
]  # fmt: skip


@loads
@pytest.mark.parametrize("options, parameters, beside, changes, fds", asked_for)
def test_what_is_asked_of_a_port(lab, options, parameters, beside, changes, fds):
    reply = {"port": PORT | changes, "fd": 0 if fds else None}
    with FakeNetwork(lab, Attach=(reply, ["/dev/null"] * fds)) as fake:
        said, freed = program(lab, ATTACH.format(options=options))
    assert fake.calls == [("Attach", parameters, beside)]
    assert (said["code"], said["text"], said["port"]) == (0, "", True)
    assert said["new"] == ["/dev/null"] * fds and (said["fd"] >= 0) == bool(fds)
    assert [said[key] for key in ("socket", "ipv6_default", "mtu", "interface_id")] == [
        "/s", "on", "1400", "id",
    ]  # fmt: skip
    assert freed == {"same": True}


OLDER = {key: value for key, value in PORT.items() if key != "isolated"}

refused_replies = [
    # options, reply, descriptors beside it, code, text
    (["isolated"], {"port": OLDER, "fd": 0}, 1, "EOPNOTSUPP", "older vmnetd"),
    (["isolated"], {"port": PORT, "fd": 0}, 1, "EOPNOTSUPP", "older vmnetd"),
    (["kind=stream"], {"port": OLDER, "fd": 0}, 1, "EOPNOTSUPP", "older vmnetd"),
    (["kind=veth", "netns=/dev/zero"], {"port": OLDER, "fd": 0}, 1, "EOPNOTSUPP", "older vmnetd"),
    (["kind=veth", "netns=/dev/zero"], {"port": PORT, "fd": 0}, 1, "EPROTO", "descriptor"),
    ([], {"port": PORT, "fd": 0}, 0, "EPROTO", "descriptor"),
    ([], {"port": PORT, "fd": 1}, 1, "EPROTO", "descriptor"),
    ([], {"port": PORT, "fd": -1}, 1, "EPROTO", "descriptor"),
    ([], {"port": PORT, "fd": 7}, 5, "EPROTO", "descriptor"),
    ([], {"port": PORT}, 1, "EPROTO", "descriptor"),
    ([], {"port": PORT, "fd": "0"}, 2, "EPROTO", "descriptor"),
    ([], {"error": "io.openvmnet.Failed", "parameters": {"code": "EPERM", "reason": "no"}}, 1, "EPERM", "no"),
    ([], {"error": "io.openvmnet.Failed", "parameters": {"code": "EADDRINUSE", "reason": "used"}}, 0,
     "EADDRINUSE", "used"),
    ([], {"error": "org.varlink.service.MethodNotFound"}, 0, "EINVAL", "MethodNotFound"),
]  # fmt: skip


@loads
@pytest.mark.parametrize("options, reply, fds, code, text", refused_replies)
def test_replies_that_are_refused(lab, options, reply, fds, code, text):
    """No descriptor of such a reply stays open; what may pass by itself is asked for more than once."""
    with FakeNetwork(lab, Attach=(reply, ["/dev/null"] * fds)) as fake:
        said, freed = program(lab, ATTACH.format(options=options))
    assert (said["port"], os.strerror(-said["code"])) == (False, os.strerror(getattr(errno, code)))
    assert said["text"].startswith("network 'fake': " if code != "EINVAL" else "") and text in said["text"]
    assert freed == {"same": True} and said["new"] == []
    assert (len(fake.calls) > 1) == (code == "EADDRINUSE")


mismatches = [
    (["mode=host"], "mode shared, not host"),
    (["mtu=1400"], "mtu 1500, not 1400"),
    (["nat66-prefix=fd12:3456:789a:2::"], "nat66-prefix fd12:3456:789a:1::/64, not fd12:3456:789a:2::/64"),
    (["start-address=192.168.90.1", "end-address=192.168.90.8", "subnet-mask=255.255.255.0"],
     "addresses 192.168.90.1 to 192.168.90.9, not 192.168.90.1 to 192.168.90.8"),
    (["start-address=192.168.90.1", "end-address=192.168.90.9", "subnet-mask=255.255.255.128"],
     "subnet 192.168.90.0/24, not 192.168.90.0/25"),
]  # fmt: skip


@loads
@pytest.mark.parametrize("options, text", mismatches)
def test_running_network_is_another(lab, options, text):
    with FakeNetwork(lab) as fake:
        said, _ = program(lab, ATTACH.format(options=options))
    assert (said["port"], said["code"]) == (False, -errno.EEXIST)
    assert f"network 'fake': runs with {text}; give this one another name (network=)" in said["text"]
    assert fake.calls == []


@loads
def test_running_network_is_the_one(lab):
    """What was asked and is so, and what was not asked, is no mismatch."""
    network = NETWORK | {"mode": "host", "mtu": 9000}
    for options in ([], ["mtu=9000"], ["mode=host", "mtu=9000"],
                    ["start-address=192.168.90.1", "end-address=192.168.90.9", "subnet-mask=255.255.255.0"],
                    ):  # fmt: skip
        answers = {"Describe": ({"network": network}, []), "Attach": ({"port": PORT, "fd": 0}, ["/dev/null"])}
        with FakeNetwork(lab, **answers):
            said, _ = program(lab, ATTACH.format(options=options))
        assert (said["port"], said["text"]) == (True, ""), options


@loads
def test_namespaces_and_connections(lab):
    """Descriptors are told apart by their index; those that nobody names are closed."""
    answers = {
        "Namespaces": ({"user": 1, "network": 0}, ["/dev/null", "/dev/zero", "/dev/full"]),
        "Connect": ({"fd": 1}, ["/dev/null", "/dev/zero"]),
    }
    with FakeNetwork(lab, **answers) as fake:
        said = program(
            lab,
            """
before = descriptors()
user, net = ctypes.c_int(-5), ctypes.c_int(-5)
code = lib.openvmnet_namespaces(options("network=fake"), ctypes.byref(user), ctypes.byref(net), ctypes.byref(error))
fd = lib.openvmnet_connect(b"fake", b"web", 80, ctypes.byref(error))
say(code=code, user=descriptors()[str(user.value)], net=descriptors()[str(net.value)],
    fd=descriptors()[str(fd)], new=len(descriptors()) - len(before), inheritable=os.get_inheritable(fd))
""",
        )
        assert said == {
            "code": 0, "user": "/dev/zero", "net": "/dev/null", "fd": "/dev/zero", "new": 3,
            "inheritable": False,
        }  # fmt: skip
        assert fake.calls == [("Namespaces", {}, []), ("Connect", {"host": "web", "port": 80}, [])]
        fake.answers["Namespaces"] = ({"user": None, "network": 0}, ["/dev/null"])
        fake.answers["Connect"] = (
            {"error": "io.openvmnet.Failed", "parameters": {"code": "ECONNREFUSED", "reason": "it said no"}},
            [],
        )
        said = program(
            lab,
            """
user, net = ctypes.c_int(-5), ctypes.c_int(-5)
code = lib.openvmnet_namespaces(options("network=fake"), ctypes.byref(user), ctypes.byref(net), None)
fd = lib.openvmnet_connect(b"fake", b"web", 80, ctypes.byref(error))
say(code=code, user=user.value, net=net.value >= 0, fd=fd, text=error.text.decode())
""",
        )
    assert (said["code"], said["user"], said["net"]) == (0, -1, True)
    assert (said["fd"], said["text"]) == (-errno.ECONNREFUSED, "network 'fake': it said no")


@loads
@loads
def test_forward_goes_with_its_port(lab, network):
    """One that was added to a port at run time is its own, and ends with it, also when nobody removes it."""
    said = program(
        lab,
        f"""
port = attach("network={network.name}", "hostname=owner")
added = lib.openvmnet_port_forward_add(port, b"tcp::18080-owner:80", ctypes.byref(error))
again = lib.openvmnet_port_forward_add(port, b"tcp::18080-owner:80", ctypes.byref(error))
text = error.text.decode()
nobody = lib.openvmnet_port_forward_add(None, b"tcp::18081-owner:80", ctypes.byref(error))
say(added=added, again=again, text=text, nobody=nobody, interface=get(port, "interface"),
    forwards=text_of(lib.openvmnet_forwards, b"{network.name}"))
sys.stdout.flush()
os.kill(os.getpid(), signal.SIGKILL)
""",
        check=False,
    )
    assert (said["added"], said["again"], said["nobody"] < 0) == (0, -errno.EADDRINUSE, True), said
    assert "18080" in said["text"]
    (forward,) = said["forwards"]
    assert forward["interface"] == said["interface"]
    assert poll(lambda: not network.status()["forwards"]) and network.is_running()


@loads
def test_forwards(lab):
    forward = {"forward": "tcp:127.0.0.1:8080-web:80", "guest": "192.168.90.2", "interface": None}
    with FakeNetwork(
        lab,
        AddForward=({"forward": forward}, []),
        RemoveForward=({}, []),
        Status=({"network": NETWORK, "forwards": [forward]}, []),
    ) as fake:
        said = program(
            lab,
            """
say(added=lib.openvmnet_forward_add(b"fake", b"tcp::8080-web:80", ctypes.byref(error)),
    removed=lib.openvmnet_forward_remove(b"fake", b"tcp::8080", ctypes.byref(error)),
    list=text_of(lib.openvmnet_forwards, b"fake"))
""",
        )
    assert said == {"added": 0, "removed": 0, "list": [forward]}
    assert fake.calls == [
        ("AddForward", {"forward": "tcp::8080-web:80"}, []),
        ("RemoveForward", {"forward": "tcp::8080"}, []),
        ("Status", {}, []),
    ]
