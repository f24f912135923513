# SPDX-License-Identifier: Apache-2.0
"""Open vSwitch's database as `vmnet interfaces` asks it: a server that says odd things, or nothing. (The real one is in
test_bridged_ovs.py.)"""

import contextlib
import json
import socket
import threading
import time

import pytest
from lab import Lab


@pytest.fixture(scope="module")
def lab():
    with Lab() as lab:
        yield lab


@contextlib.contextmanager
def server(lab, serve):
    """serve(stream, request) for each request, by one connection after the other."""
    directory = lab.directory / "ovsdb"
    directory.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "db.sock"))
        listener.listen()

        def run():
            with contextlib.suppress(OSError):
                while True:
                    stream, _ = listener.accept()
                    with stream, stream.makefile("rb") as reader, contextlib.suppress(OSError):
                        decoder, text = json.JSONDecoder(), ""
                        while part := reader.read1(65536):
                            text += part.decode()
                            while text:
                                request, end = decoder.raw_decode(text)
                                text = text[end:]
                                serve(stream, request)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        lab.environment["OVS_RUNDIR"] = str(directory)
        try:
            yield
        finally:
            del lab.environment["OVS_RUNDIR"]
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)
    (directory / "db.sock").unlink()
    directory.rmdir()


def interfaces(lab):
    listed = json.loads(lab.vmnet("interfaces", "--json").stdout)
    return {each["name"]: (each["way"], each["why"]) for each in listed}


def answer(request, bridges, ports=()):
    return {"id": request["id"], "error": None, "result": [{"rows": bridges}, {"rows": list(ports)}]}


BRIDGES = [
    {"name": "out0", "ports": ["set", []], "datapath_type": ""},
    {"name": 'b"r}{\\', "ports": ["uuid", "1f"], "datapath_type": "netdev"},
]


def test_pieces(lab):
    """Messages arrive byte by byte, with the server's own questions between, which are answered."""
    echoed = []

    def serve(stream, request):
        if request.get("method") is None:
            echoed.append(request)
            return
        name = request["params"][2]["where"][0][2]
        ports = [{"_uuid": ["uuid", "1f"]}] if name == "lo" else []
        for message in (
            {"id": "echo", "method": "echo", "params": ["}{", '"']},
            {"id": None, "method": "update", "params": [None, {}]},
            {"id": 0, "error": None, "result": "of another question"},
            answer(request, BRIDGES, ports),
        ):
            for byte in json.dumps(message).encode():
                stream.send(bytes([byte]))

    with server(lab, serve):
        told = interfaces(lab)
    assert told["out0"] == ("openvswitch", "machines become its ports")
    assert told["lo"] == ("none", "loopback")
    assert echoed[0] == {"id": "echo", "error": None, "result": ["}{", '"']}


@pytest.mark.parametrize("message", [
    b"{]}", b'{"id": 1}', b'{"id": 1, "error": "no", "result": null}', b'{"id": 1, "result": [{"error": "no"}]}',
    b'{"id": 1, "result": 7}', b'{"id": 1, "error": null, "result": [{"rows": [[], 5, {"name": 7, "ports": "x"}]}, 3]}',
    b'{"id": 1, "result": [{"rows": [{"ports": ["set", [["set", ["set"]], 4, []]]}]}]}', b"x" * 100000,
])  # fmt: skip
def test_odd(lab, message):
    """Interfaces are listed nevertheless, as without Open vSwitch."""
    def serve(stream, _):
        stream.sendall(message)
        stream.shutdown(socket.SHUT_RDWR)

    with server(lab, serve):
        assert interfaces(lab)["out0"][0] == "wired"


def test_silent(lab):
    """Who does not answer is waited for once, not for each interface."""
    with server(lab, lambda stream, request: None):
        began = time.monotonic()
        assert interfaces(lab)["out0"][0] == "wired"
        assert time.monotonic() - began < 4


def test_without_end(lab):
    """A message that does not end is given up."""
    def serve(stream, _):
        stream.sendall(b'{"id": "')
        while True:
            stream.sendall(b"x" * (1 << 20))

    with server(lab, serve):
        assert interfaces(lab)["out0"][0] == "wired"
