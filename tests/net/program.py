# SPDX-License-Identifier: Apache-2.0
"""Programs as machines of a network, for tests: `vmnet exec` that runs until the test ends it."""

import re
import subprocess

from lab import PYTHON, LabError, poll

PORT_LINE = re.compile(
    r"vmnet: (?P<network>\S+) (?P<interface>\S+): MAC (?P<mac>\S+), IPv4 (?P<ipv4>[\d.]+)/\d+"
    r"(?:, IPv6 prefix (?P<prefix6>[^,\s]+))?(?:, gateway (?P<gateway>[\d.]+))?"
    r"(?:, name (?P<name>[^.\s]+)\S*)?"
)

# Says on its standard output that it listens, then serves: what comes in is sent back, to its end.
ECHO = """
import socket, sys, threading
listener = socket.socket(socket.AF_INET6)
listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
listener.bind(("", int(sys.argv[1])))
listener.listen()
print("listens", flush=True)
def serve(stream):
    while data := stream.recv(65536):
        stream.sendall(data)
    stream.shutdown(socket.SHUT_WR)
while True:
    threading.Thread(target=serve, args=[listener.accept()[0]]).start()
"""


def ports(network):
    """What the network says of its ports."""
    return network.status()["ports"]


class Program:
    """A context: COMMAND on a network. Its facts are those of the line that vmnet prints."""

    def __init__(self, lab, network, *command, options=(), ready=None):
        """@ready: what the program prints first, when it may be used."""
        self.network = network
        self.process = lab.host.start(
            [lab.vmnet_path, "exec", *options, network.name, "--", *command],
            capabilities=False,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        line = self.process.stderr.readline()
        found = PORT_LINE.match(line)
        if not found:
            self.process.kill()
            raise LabError(f"vmnet exec {command}: {line}{self.process.stderr.read()}")
        self.facts = found.groupdict()
        self.ipv4 = self.facts["ipv4"]
        self.name = self.facts["name"]
        if ready:
            said = self.process.stdout.readline().strip()
            if said != ready:
                raise LabError(f"{command}: {said}{self.process.stderr.read()}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def has_port(self):
        return any(port["name"] == self.name for port in ports(self.network))

    def wait_gone(self):
        assert poll(lambda: not self.has_port())


def echo_server(lab, network, port=7, options=()):
    return Program(
        lab, network, PYTHON, "-I", "-S", "-c", ECHO, str(port), options=options, ready="listens"
    )
