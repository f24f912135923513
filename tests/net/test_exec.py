# SPDX-License-Identifier: Apache-2.0
"""vmnet exec: a program is a machine of the network, and nothing of the host's network."""

import contextlib
import ipaddress
import os
import re
import shutil
import subprocess

import pytest
from lab import HERE, HOST4, PYTHON, REMOTE, Background, poll
from program import PORT_LINE, Program, echo_server, ports

FRESH_GONE_S = 8  # a network that gets no port ends after 5 s


def run(lab, network, *command, options=(), check=True, **more):
    """`vmnet exec` to its end."""
    return lab.vmnet("exec", *options, network.name, "--", *command, check=check, **more)


def sh(lab, network, script, **more):
    """What a shell script prints there."""
    return run(lab, network, "/bin/sh", "-c", script, **more).stdout.strip()


# ---- what a program finds


def test_identity(lab, network):
    script = "hostname; cat /etc/resolv.conf"
    result = run(lab, network, "/bin/sh", "-c", script, options=["--name", "web-1"])
    port = PORT_LINE.match(result.stderr)
    assert port and port["name"] == "web-1"
    domain = network.describe()["domain"]
    assert result.stdout.splitlines() == [
        "web-1",
        f"nameserver {port['gateway']}",
        f"search {domain}",
    ]


def test_addresses(lab, network):
    result = run(lab, network, "/bin/sh", "-c", "ip -o address; ip route; ip -6 route")
    port = PORT_LINE.match(result.stderr)
    assert re.search(rf"eth0 +inet {port['ipv4']}/\d+ brd", result.stdout)
    assert f"default via {port['gateway']} dev eth0" in result.stdout
    found = re.search(r"eth0 +inet6 (\S+)/64 scope global (\w*)", result.stdout)
    assert found and found[2] != "tentative"
    assert found[1].startswith(port["prefix6"].split("::")[0])
    assert f"default via {network.describe()['gateway6']} dev eth0" in result.stdout
    # Nothing of the host's.
    assert HOST4 not in result.stdout


def test_rights(lab, network):
    status = sh(lab, network, "cat /proc/self/status")
    sets = dict(re.findall(r"^Cap(\w+):\s*(\w+)$", status, re.M))
    for name in ("Inh", "Prm", "Eff", "Amb"):
        assert int(sets[name], 16) == 0, name
    assert re.search(r"^NoNewPrivs:\s*1$", status, re.M)
    assert sh(lab, network, "id -u; id -g").split() == [str(os.geteuid()), str(os.getegid())]
    assert sh(lab, network, "ip link set eth0 down 2>&1 || echo refused").endswith("refused")


WAYS_IN = """
import ctypes, fcntl, os, sys
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
from lab import varlink
NS_GET_USERNS = 0xB701
setns = ctypes.CDLL(None).setns
_, fds = varlink(sys.argv[2], "io.openvmnet.Namespaces")
for fd in list(fds):
    try:
        fds.append(fcntl.ioctl(fd, NS_GET_USERNS))
    except OSError:
        pass
print(len(fds), [fd for fd in fds if setns(fd, 0) == 0])
"""


def test_no_way_into_the_network(lab, network):
    """Its user may enter the network's namespaces. A program that is on it as a machine may not."""
    result = run(lab, network, PYTHON, "-c", WAYS_IN, str(HERE), str(network.control))
    count, entered = result.stdout.split(maxsplit=1)
    assert int(count) >= 2 and entered.strip() == "[]"


def test_is_the_program(lab, network):
    """No process between: the id, standard input, and no descriptor of ours."""
    with Program(lab, network, "/bin/sh", "-c", "echo $$; ls /proc/$$/fd; cat") as program:
        assert int(program.process.stdout.readline()) == program.process.pid
        # Not communicate(): what readline() has read ahead would be lost.
        program.process.stdin.write("some input")
        program.process.stdin.close()
        assert program.process.stdout.read().split() == ["0", "1", "2", "some", "input"]
        assert program.process.wait(10) == 0


@pytest.mark.parametrize(
    "command, status",
    [
        (["true"], 0),
        (["/bin/sh", "-c", "exit 7"], 7),
        (["/bin/sh", "-c", "kill -TERM $$"], -15),
        (["/etc/passwd"], 126),
        (["/"], 126),
        (["/nonexistent/program"], 127),
        (["no-such-program"], 127),
    ],
)
def test_status(lab, network, command, status):
    result = run(lab, network, *command, options=["--quiet"], check=False)
    assert result.returncode == status
    lines = result.stderr.splitlines()
    assert len(lines) == (1 if status in (126, 127) else 0), result.stderr
    assert all(command[0] in line for line in lines)


@pytest.mark.parametrize(
    "arguments, text",
    [
        (["n"], "too few"),
        (["n", "--"], "no command"),
        (["-n", "true"], "unknown"),
        (["a/b", "true"], "network name"),
        (["--name", "a.b", "n", "true"], "--name"),
        (["--forward", "tcp", "n", "true"], "--forward"),
    ],
)
def test_usage(lab, arguments, text):
    result = lab.vmnet("exec", *arguments, check=False)
    assert result.returncode == 2
    assert text in result.stderr and len(result.stderr.splitlines()) == 1


# ---- what it reaches, and who reaches it


def test_outside(lab, network, version):
    with lab.remote.listen(REMOTE[version]) as listener:
        port = listener.getsockname()[1]

        def serve():
            stream, _ = listener.accept()
            with stream:
                stream.sendall(b"hello from outside")

        server = Background(serve)
        script = (
            "import socket, sys\n"
            "with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as stream:\n"
            "    print(stream.recv(100).decode())\n"
        )
        result = run(lab, network, PYTHON, "-I", "-S", "-c", script, REMOTE[version], str(port))
        server.result()
        assert result.stdout.strip() == "hello from outside"


SAY_HELLO = """
import socket, sys
with socket.create_connection((sys.argv[1], 80), 5) as stream:
    stream.sendall(b"hello")
    print(stream.recv(100).decode())
"""


def test_by_name(lab, network):
    """One program reaches another by its name, from the first packet on, at a low port."""
    with echo_server(lab, network, 80, ["--name", "web"]):
        for name in ("web", f"web.{network.describe()['domain']}"):
            result = run(lab, network, PYTHON, "-I", "-S", "-c", SAY_HELLO, name)
            assert result.stdout.strip() == "hello"


def test_by_ipv6(lab, network):
    """The address is there from the start, and the one that autoconfiguration would give."""
    with echo_server(lab, network, 80) as server:
        mac = bytes.fromhex(server.facts["mac"].replace(":", ""))
        prefix = ipaddress.ip_network(server.facts["prefix6"])
        host = bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:]
        address = prefix[int.from_bytes(host, "big")]
        result = run(lab, network, PYTHON, "-I", "-S", "-c", SAY_HELLO, str(address))
        assert result.stdout.strip() == "hello"


def test_with_guests(lab, network, new_guest):
    """A virtual machine and a program reach each other."""
    guest = new_guest(name="vm")
    with echo_server(lab, network) as server:
        with guest.connect(server.ipv4, 7) as stream:
            stream.sendall(b"to a program")
            assert stream.recv(100) == b"to a program"
        assert guest.ping(server.ipv4) == 1
    assert sh(lab, network, "ping -c 1 -W 5 vm >/dev/null && echo answered") == "answered"
    assert sh(lab, network, f"ping -c 1 -W 5 {guest.gateway} >/dev/null && echo yes") == "yes"


def test_isolated(lab, network, new_guest):
    guest = new_guest()
    script = "".join(
        f"ping -c 1 -W 5 {address} >/dev/null; echo $?\n"
        for address in (guest.ipv4, guest.gateway)
    )
    assert sh(lab, network, script, options=["--isolated"]).split() == ["1", "0"]
    assert sh(lab, network, script).split() == ["0", "0"]


def test_forward(lab, network):
    with echo_server(lab, network, 80, ["--forward", "tcp::18080-:80"]):
        with lab.host.connect("127.0.0.1", 18080) as stream:
            stream.sendall(b"by a forward")
            assert stream.recv(100) == b"by a forward"


# ---- names from the start


@pytest.fixture
def stand_in(lab):
    """stand_in(TEXT) puts a shell script in the place of dnsmasq; @REAL@ is the real one."""
    path = lab.bin / "dnsmasq"

    def make(text):
        real = shutil.which("dnsmasq", path=lab.environment["PATH"])
        path.write_text(f"#!/bin/sh\n{text.replace('@REAL@', real)}\n")
        path.chmod(0o755)

    yield make
    path.unlink(missing_ok=True)


# A query, made once: a resolver that is refused may give up.
ASK_ONCE = """
import socket, sys
with open("/etc/resolv.conf") as file:
    server, domain = [file.readline().split()[1] for _ in range(2)]
name = b"".join(bytes([len(label)]) + label.encode() for label in ("gateway." + domain).split("."))
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as query:
    query.settimeout(10)
    query.connect((server, 53))
    query.send(b"ID" + bytes([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]) + name + bytes([0, 0, 1, 0, 1]))
    answer = query.recv(512)
print(answer[:2].decode(), answer[3] & 15, socket.inet_ntoa(answer[-4:]) == server)
"""


def test_first_query_is_answered(lab, stand_in, new_network):
    """Also where dnsmasq takes its time, and where an earlier one has left its pid file."""
    stand_in('sleep 0.5; exec @REAL@ "$@"')
    network = new_network()
    assert run(lab, network, PYTHON, "-I", "-S", "-c", ASK_ONCE).stdout == "ID 0 True\n"
    assert sh(lab, network, "getent ahostsv4 gateway").startswith(network.describe()["gateway"])
    (old,) = network.kill("dnsmasq")
    assert poll(lambda: network.process("dnsmasq") != old)
    assert run(lab, network, PYTHON, "-I", "-S", "-c", ASK_ONCE).stdout == "ID 0 True\n"


@pytest.mark.parametrize("dns", ["on", "off"])
def test_dnsmasq_that_never_listens(lab, stand_in, new_network, dns):
    """No program waits for it. Its network says what is wrong."""
    stand_in("exec sleep 60")
    network = new_network("--dns", dns)
    assert sh(lab, network, "hostname", options=["--name", "quick"]) == "quick"
    assert "dnsmasq does not listen" not in network.log()
    if dns == "on":
        assert poll(lambda: "dnsmasq does not listen after 5 s" in network.log(), 10)


# ---- when it comes and goes


def test_port_lasts_as_long_as_processes(lab, network):
    script = "sleep 60 & echo $!; exec >&- 2>&-"
    with Program(lab, network, "/bin/sh", "-c", script) as program:
        child = int(program.process.stdout.readline())
        try:
            program.process.wait(10)
            assert program.has_port()
        finally:
            os.kill(child, 9)
        program.wait_gone()


def test_starts_a_network(lab):
    name = f"fresh{os.getpid()}"
    result = lab.vmnet("exec", name, "ip", "-o", "link")
    assert f"vmnet: {name} " in result.stderr and "eth0" in result.stdout
    assert poll(lambda: name not in lab.vmnet("ls").stdout, FRESH_GONE_S, 0.1)


def test_host_network_has_no_way_out(lab):
    result = lab.vmnet("exec", "host", "/bin/sh", "-c", "ip route; ip -6 route")
    assert "/24 dev eth0" in result.stdout and "default" not in result.stdout
    assert poll(lambda: "host" not in lab.vmnet("ls").stdout, FRESH_GONE_S, 0.1)


def test_many_at_once(lab):
    """They start a network together and each is a machine of its own."""
    name = f"many{os.getpid()}"
    with contextlib.ExitStack() as stack:
        started = [
            lab.host.start(
                [lab.vmnet_path, "exec", name, "cat"],
                capabilities=False,
                stdin=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(8)
        ]
        for process in started:
            stack.callback(process.kill)
        lines = [process.stderr.readline() for process in started]
        found = [PORT_LINE.match(line) for line in lines]
        assert all(found), lines
        assert len({match["ipv4"] for match in found}) == len(started)
        for process in started:
            process.stdin.close()
            assert process.wait(10) == 0
    assert poll(lambda: name not in lab.vmnet("ls").stdout, FRESH_GONE_S, 0.1)


def test_not_within_itself(lab, network):
    result = run(lab, network, lab.vmnet_path, "exec", network.name, "true", check=False)
    assert result.returncode == 1
    assert "within 'vmnet exec'" in result.stderr
    assert poll(lambda: not ports(network))


# ---- the host's files


def mounts(lab):
    """The laboratory's, without numbers that say nothing."""
    return lab.host.run(["cut", "-d ", "-f", "4-", "/proc/self/mountinfo"]).stdout


def test_leaves_the_hosts_files(lab, network):
    before = mounts(lab), (lab.etc / "resolv.conf").read_text(), sorted(os.listdir(lab.etc))
    with Program(lab, network, "/bin/sh", "-c", "hostname; cat", options=["--name", "other"]) as it:
        assert it.process.stdout.readline() == "other\n"
        after = mounts(lab), (lab.etc / "resolv.conf").read_text(), sorted(os.listdir(lab.etc))
        assert after == before
        assert lab.host.run(["hostname"]).stdout != "other\n"
    assert mounts(lab) == before[0]


def test_without_resolv_conf(lab, network):
    path = lab.etc / "resolv.conf"
    path.rename(lab.etc / "resolv.conf.away")
    try:
        result = run(lab, network, "true")
        assert "warning: /etc/resolv.conf" in result.stderr
    finally:
        (lab.etc / "resolv.conf.away").rename(path)


def test_systemd_resolved_is_passed_by(lab, network):
    """resolv.conf is a link to where the host's resolver has its socket: neither is seen."""
    path = lab.etc / "resolv.conf"
    path.rename(lab.etc / "resolv.conf.away")
    path.symlink_to("/run/systemd/resolve/stub-resolv.conf")
    lab.host.run(["mount", "-t", "tmpfs", "none", "/run"])
    try:
        lab.host.run(["mkdir", "-p", "/run/systemd/resolve", "/run/nscd"])
        lab.host.run(["touch", "/run/systemd/resolve/io.systemd.Resolve", "/run/nscd/socket"])
        lab.host.run(["cp", lab.etc / "resolv.conf.away", "/run/systemd/resolve/stub-resolv.conf"])
        script = "cat /etc/resolv.conf; ls /run/nscd /run/systemd/resolve"
        shown = sh(lab, network, script)
        assert shown.startswith(f"nameserver {network.describe()['gateway']}\n")
        assert "stub-resolv.conf" in shown
        assert "io.systemd.Resolve" not in shown and "socket" not in shown
        kept = lab.host.run(["ls", "/run/systemd/resolve", "/run/nscd"]).stdout
        assert "io.systemd.Resolve" in kept and "socket" in kept
    finally:
        lab.host.run(["busybox", "umount", "/run"])
        path.unlink()
        (lab.etc / "resolv.conf.away").rename(path)
