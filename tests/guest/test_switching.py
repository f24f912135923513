# SPDX-License-Identifier: Apache-2.0
"""The command lines of docs/switching.md with a forward or a descriptor, with other ports and names: a machine runs at the
end of each."""

import http.client
import json
import pathlib
import shlex
import socket

import pytest

from guest import FileServer, Guest, random_file

DOCUMENT = pathlib.Path(__file__).resolve().parent.parent.parent / "docs" / "switching.md"
QEMU = "qemu-system-x86_64"


def lines(start):
    """The document's commands that run a QEMU by @start, as words; what the document leaves out is the machine."""
    found = [line for line in DOCUMENT.read_text().splitlines() if line.startswith(start) and QEMU in line]
    return [[word for word in shlex.split(line) if word != "…"] for line in found]


@pytest.fixture(scope="module")
def server():
    """Small: what is slow is the emulated machines, of which there are many."""
    with FileServer(random_file(1 << 16)) as server:
        yield server


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


def has_network(guest, server):
    address, _ = guest.wait_ready().lease()
    gateway = guest.sh("ip route | sed -n 's/default via \\([^ ]*\\).*/\\1/p'")
    assert guest.resolve("gateway") == [gateway]
    assert guest.download(f"http://{gateway}:{server.port}/")[0] == server.sha256
    return address


def test_lines_with_vmnet_run(boot, server):
    """But for those that are as plain as in test_guest.py. Each on a network of its own; the document's port becomes
    one that is free here."""
    guests = []
    found = [words for words in lines("vmnet run ") if "{fd}" in " ".join(words) or "forward=" in " ".join(words)]
    for number, words in enumerate(found, 1):
        port, at = free_port(), words.index(QEMU)
        arguments = [word.replace("2222", port) for word in words[at + 1 :]]
        options = [*words[2:at], "--network", f"net{number}", "--name", f"vm{number}"]
        forwards = any("forward=" in word for word in arguments)
        guests.append((boot(*arguments, options=options), port if forwards else None))
    assert len(guests) == 4
    for guest, port in guests:
        assert has_network(guest, server) == str(guest.ports()[0].ipv4.ip)
        if port:
            guest.sh("echo hello >/www/hello; httpd -p 22 -h /www")
            client = http.client.HTTPConnection("127.0.0.1", int(port), timeout=10)
            client.request("GET", "/hello")
            assert client.getresponse().read() == b"hello\n"
            client.close()


def test_line_of_passt(host, server):
    """As it is, but for the path and the device's MAC: the network stands where passt stood."""
    (words,) = lines("passt ")
    assert host.start([host.vmnet, "up", "lab"], stdout=-1).wait(20) == 0
    status = host.start([host.vmnet, "status", "--json", "lab"], stdout=-1).communicate(timeout=20)[0]
    path = json.loads(status)["network"]["streamSocket"]
    arguments = [word.replace("/tmp/passt_1.socket", path) for word in words[words.index(QEMU) + 1 :]]
    arguments[-1] += ",mac=52:54:00:00:00:31"
    with Guest(host, *arguments, prefix=[]) as guest:
        has_network(guest, server)
    assert host.start([host.vmnet, "down", "lab"]).wait(20) == 0
