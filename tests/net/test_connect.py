# SPDX-License-Identifier: Apache-2.0
"""vmnet connect and vmnet forward: from the host to a machine's port."""

import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess

import pytest
from lab import PYTHON, poll
from program import Program, echo_server

# Reads to the end, then answers: right only where an end is passed on and the other way stays open.
DIGEST = """
import hashlib, socket, sys
listener = socket.socket()
listener.bind(("", 9))
listener.listen()
print("listens", flush=True)
while True:
    stream, _ = listener.accept()
    digest = hashlib.sha256()
    while data := stream.recv(1 << 20):
        digest.update(data)
    stream.sendall(digest.hexdigest().encode())
    stream.close()
"""


@pytest.fixture(scope="module")
def echo(lab, network):
    with echo_server(lab, network, 7, ["--name", "echo"]) as server:
        yield server


def connect(lab, *arguments, data="", check=True):
    return lab.vmnet("connect", *map(str, arguments), input=data, check=check)


# ---- vmnet connect


def test_by_name_and_address(lab, network, echo):
    assert connect(lab, network.name, "echo", 7, data="by name").stdout == "by name"
    assert connect(lab, network.name, echo.ipv4, 7, data="by address").stdout == "by address"
    assert connect(lab, f"echo.{network.name}.vmnet", 7, data="by one").stdout == "by one"
    assert connect(lab, f"echo.{network.name}.VMNET", 7, data="by one").stdout == "by one"


def test_half_close(lab, network):
    data = "some lines\n" * 400_000
    command = [PYTHON, "-I", "-S", "-c", DIGEST]
    with Program(lab, network, *command, options=["--name", "digest"], ready="listens"):
        got = connect(lab, network.name, "digest", 9, data=data).stdout
    assert got == hashlib.sha256(data.encode()).hexdigest()


def test_both_ways_at_once(lab, network, echo):
    """More than all buffers on the way, in both directions, byte for byte."""
    data = "".join(f"{number:07}\n" for number in range(1_000_000))
    assert connect(lab, network.name, "echo", 7, data=data).stdout == data


def test_end_of_the_reader(lab, network, echo):
    """Nobody reads any more: it ends, as any program of a pipeline."""
    process = lab.host.start(
        [lab.vmnet_path, "connect", network.name, "echo", "7"],
        capabilities=False,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    process.stdin.write(b"x")
    process.stdin.flush()
    assert process.stdout.read(1) == b"x"
    process.stdout.close()
    process.stdin.write(b"y")
    process.stdin.flush()
    assert process.wait(10) == -signal.SIGPIPE


@pytest.mark.parametrize(
    "arguments, status, text",
    [
        (["{net}", "echo", "1"], 1, "refused"),
        (["{net}", "nobody", "7"], 1, "nobody"),
        (["{net}", "echo", "0"], 2, "port"),
        (["{net}", "echo", "65536"], 2, "port"),
        (["{net}", "echo", "ssh"], 2, "port"),
        (["{net}", "echo"], 2, "port"),
        (["echo", "7"], 2, "names no network"),
        ([".vmnet", "7"], 2, "names no network"),
        (["a..vmnet", "7"], 2, "network name"),
        (["echo.none.vmnet", "7"], 1, "network 'none'"),
        (["echo.none.x.vmnet", "7"], 1, "network 'none.x'"),
        (["echo.vmnet", "7"], 1, "network 'shared'"),
        (["none", "echo", "7"], 1, "network 'none'"),
        (["none", "a" * 300, "7"], 2, "too long"),
        (["7"], 2, "too few"),
    ],
)
def test_errors(lab, network, echo, arguments, status, text):
    arguments = [argument.format(net=network.name) for argument in arguments]
    result = connect(lab, *arguments, check=False)
    assert (result.returncode, result.stdout) == (status, "")
    assert text in result.stderr and len(result.stderr.splitlines()) == 1


# ---- ssh


@pytest.fixture
def ssh_home(lab):
    """A home with keys; the user's entry of passwd names it and a shell that may log in."""
    for program in ("dropbear", "dropbearkey", "ssh", "ssh-keygen"):
        if not shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin"):
            pytest.skip(f"{program} is missing")
    home = lab.directory / "home"
    (home / ".ssh").mkdir(mode=0o700, parents=True)
    home.chmod(0o700)
    passwd, shells = lab.etc / "passwd", lab.etc / "shells"
    kept = passwd.read_text()
    entries = [line.split(":") for line in kept.splitlines()]
    for entry in entries:
        if int(entry[2]) == os.geteuid():
            entry[5:] = [str(home), "/bin/sh"]
    passwd.write_text("".join(":".join(entry) + "\n" for entry in entries))
    shells.write_text("/bin/sh\n")
    made = {"check": True, "capture_output": True}
    subprocess.run(["ssh-keygen", "-q", "-N", "", "-t", "ed25519", "-f", home / "key"], **made)
    subprocess.run(["dropbearkey", "-t", "ed25519", "-f", home / "host"], **made)
    shutil.copy(home / "key.pub", home / ".ssh" / "authorized_keys")
    yield home
    passwd.write_text(kept)
    shells.unlink()
    shutil.rmtree(home)


def snippet(lab):
    """The entry for ssh_config(5) as docs/reaching-in.md has it, with this build's vmnet."""
    text = (pathlib.Path(__file__).parents[2] / "docs" / "reaching-in.md").read_text()
    entry = text.split("```\n")[1]
    assert entry == "Host *.vmnet\n    ProxyCommand vmnet connect %h %p\n"
    return entry.replace("vmnet connect", f"{lab.vmnet_path} connect")


@pytest.mark.skipif(os.geteuid() == 0, reason="root's dropbear wants to become the user")
def test_ssh(lab, network, ssh_home):
    config = ssh_home / "config"
    config.write_text(
        snippet(lab) + f"IdentityFile {ssh_home}/key\nIdentitiesOnly yes\nBatchMode yes\n"
        f"StrictHostKeyChecking accept-new\nUserKnownHostsFile {ssh_home}/known_hosts\n"
    )
    command = ["dropbear", "-F", "-E", "-s", "-r", ssh_home / "host", "-P", ssh_home / "pid"]
    with Program(lab, network, *command, "-p", "22", options=["--name", "box"]) as server:
        errors = ""

        def listens():
            command = [lab.vmnet_path, "connect", network.name, "box", "22"]
            greeting = lab.host.run(command, check=False, capabilities=False, errors="replace")
            return greeting.stdout.startswith("SSH-")

        assert poll(listens, interval_s=0.1)
        command = ["ssh", "-F", config, f"box.{network.name}.vmnet", "hostname; cat; exit 3"]
        result = lab.host.run(
            command, check=False, capabilities=False, input="through ssh\n", timeout_s=30
        )
        if result.returncode != 3:
            server.process.kill()
            errors = server.process.stderr.read()
        said = (result.stdout, result.returncode)
        assert said == ("box\nthrough ssh\n", 3), result.stderr + errors


# ---- vmnet forward


def forwards(lab, network):
    return json.loads(lab.vmnet("forward", network.name, "ls", "--json").stdout)


def ask(lab, port):
    with lab.host.connect("127.0.0.1", port) as stream:
        stream.sendall(b"through a forward")
        return stream.recv(100)


def test_forward(lab, network, echo):
    added = lab.vmnet("forward", network.name, "add", "tcp::18081-echo:7", "tcp::18082-echo:7")
    assert added.stdout.splitlines() == [
        "tcp:127.0.0.1:18081-echo:7",
        "tcp:127.0.0.1:18082-echo:7",
    ]
    assert [entry["forward"] for entry in forwards(lab, network)] == added.stdout.splitlines()
    assert ask(lab, 18081) == ask(lab, 18082) == b"through a forward"
    shown = lab.vmnet("forward", network.name, "ls").stdout.splitlines()
    assert shown[0].split() == ["FORWARD", "GUEST", "PORT"] and len(shown) == 3
    assert echo.ipv4 in shown[1]
    # By what is listed, and by its first half.
    lab.vmnet("forward", network.name, "rm", "tcp:127.0.0.1:18081-echo:7", "tcp::18082")
    assert forwards(lab, network) == []
    with pytest.raises(ConnectionRefusedError):
        ask(lab, 18081)


def test_forward_to_a_name_that_is_not_there(lab, network, echo):
    """It may come later; a name that is wrong would wait for ever, so that is told."""
    added = lab.vmnet("forward", network.name, "add", "tcp::18081-ehco:7", "tcp::18082-echo:7")
    assert len(added.stdout.splitlines()) == 2
    assert "no machine 'ehco' is on the network now" in added.stderr
    assert len(added.stderr.splitlines()) == 1
    lab.vmnet("forward", network.name, "rm", "tcp::18081", "tcp::18082")


def test_forward_errors(lab, network, echo):
    """Each is tried, and each failure is told."""
    asked = ["tcp:nonsense", "tcp::18083-echo:7", "tcp::18083-echo:7"]
    result = lab.vmnet("forward", network.name, "add", *asked, check=False)
    assert result.returncode == 1
    assert result.stdout.splitlines() == ["tcp:127.0.0.1:18083-echo:7"]
    assert len(result.stderr.splitlines()) == 2
    result = lab.vmnet("forward", network.name, "rm", "tcp::18084", "tcp::18083", check=False)
    assert result.returncode == 1 and "18084" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert forwards(lab, network) == []


@pytest.mark.parametrize(
    "arguments, status, text",
    [
        (["{net}"], 2, "too few"),
        (["{net}", "add"], 2, "no forward"),
        (["{net}", "rm"], 2, "no forward"),
        (["{net}", "ls", "more"], 2, "unexpected"),
        (["{net}", "list"], 2, "add, rm or ls"),
        (["a/b", "ls"], 2, "network name"),
        (["none", "ls"], 1, "network 'none'"),
        (["none", "add", "tcp::1-a:1"], 1, "network 'none'"),
    ],
)
def test_forward_usage(lab, network, arguments, status, text):
    arguments = [argument.format(net=network.name) for argument in arguments]
    result = lab.vmnet("forward", *arguments, check=False)
    assert (result.returncode, result.stdout) == (status, "")
    assert text in result.stderr and len(result.stderr.splitlines()) == 1
