#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tests/fuzz/run.py BUILD SECONDS [NAME...]: runs the fuzzers, each for so long, from seeds that are made here.

What a fuzzer has found to be interesting stays in BUILD/corpus/NAME, and what makes it fail in BUILD/fuzz-NAME-*.
"""

import json
import pathlib
import re
import struct
import subprocess
import sys

from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.dns import DNS, DNSQR, DNSRR
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.layers.l2 import Dot1Q, Ether


def told(*parts):
    """Each part behind its length."""
    return b"".join(struct.pack(">H", len(part)) + part for part in map(bytes, parts))


def call(method, **parameters):
    return json.dumps({"method": f"io.openvmnet.{method}", "parameters": parameters}).encode() + b"\0"


def packets():
    four, six = IP(src="192.168.64.2", dst="203.0.113.7"), IPv6(src="fd00::2", dst="2001:db8::7")
    for ip in (four, six):
        yield ip / UDP(sport=5, dport=53) / b"hello"
        yield ip / TCP(sport=5, dport=443, flags="S", options=[("MSS", 1460), ("WScale", 7)])
    yield four / ICMP() / b"ping"
    yield four / ICMP(type=3, code=4) / bytes(four / UDP(sport=5, dport=53))
    yield six / ICMPv6EchoRequest(data=b"ping")
    yield six / IPv6ExtHdrHopByHop() / UDP(sport=5, dport=53) / b"hello"


def seeds():
    """(fuzzer, input)"""
    yield "wire", told(*packets())
    yield "wire", told(*fragment(IP(src="192.168.64.2", dst="203.0.113.7") / UDP() / bytes(3000), 1400))
    halves = [
        IPv6(src="fd00::2", dst="2001:db8::7") / IPv6ExtHdrFragment(offset=at, m=more, id=9, nh=17) / data
        for at, more, data in ((0, 1, bytes(UDP(len=24) / bytes(8))), (2, 0, bytes(8)))
    ]
    yield "wire", told(*halves)
    for packet in packets():
        ether = Ether() / (Dot1Q(vlan=7) if packet.version == 6 else b"") / packet
        yield "frames", b"\x07\x00" + struct.pack(">HHH", 34, 16, 20) + bytes(ether)
    ack = Ether() / IP() / UDP(sport=67, dport=68) / BOOTP(op=2, yiaddr="192.168.64.9", chaddr=b"\x52" * 6)
    yield "frames", bytes(8) + bytes(ack / DHCP(options=[("message-type", "ack"), "end"]))
    for name in ("a.example", "web", "web.lab.vmnet.internal", "2.64.168.192.in-addr.arpa"):
        query = DNS(rd=1, qd=DNSQR(qname=name))
        answer = DNS(id=query.id, qr=1, qd=DNSQR(qname=name), an=DNSRR(rrname=name, rdata="192.0.2.1"))
        yield "dns", told(query) + bytes(answer)
    frame = bytes(Ether() / IP() / UDP() / b"hello")
    stream = struct.pack(">I", len(frame)) + frame
    yield "pump", b"\0\x05\xdc" + told(stream + stream[:20], stream[20:], struct.pack(">I", 3), b"abc" + stream)
    yield "pump", b"\1\x05\xdc" + told(frame, b"VFKT", frame)
    asked = [
        call("Attach", name="web", mac="52:54:00:12:34:56", forwards=["tcp::8080-:80"], kind="tap"),
        call("Attach", interfaceId="1b4e28ba-2fa1-11d2-883f-0016d3cca427", learnMac=False, isolated=True),
        call("AddForward", forward="udp:127.0.0.1:5000-5003-web:53", interface="tap1"),
        call("Status"), call("Describe"), call("Connect", host="db.example", port=22),
        call("RemoveForward", forward="tcp::8080"), call("Detach", interface="tap1"), call("Keep"),
        call("Namespaces"), call("Stop", force=True),
    ]
    for user in range(4):
        yield "control", bytes([user, 0, 0, 0]) + told(b"".join(asked))
        yield "control", bytes([user, 1, 0, 5]) + told(*asked)
    ask = {"method": "org.varlink.service.GetInterfaceDescription", "parameters": {"interface": "io.openvmnet"}}
    yield "control", bytes(4) + told(json.dumps(ask).encode() + b"\0")
    yield "ovsdb", json.dumps({"id": 1, "error": None, "result": [
        {"rows": [{"name": "br0", "datapath_type": "", "ports": ["set", [["uuid", "a"], ["uuid", "b"]]]}]},
        {"rows": [{"_uuid": ["uuid", "a"]}]},
    ]}).encode()
    yield "ovsdb", b'{"method":"echo","params":[],"id":"echo"}{"method":"update","id":null,"params":["\\""]}'
    yield "ovsdb", b'{"id":1,"error":null,"result":[{"error":"constraint violation","details":"no"}]}'
    yield "spec", b"""\
nmode=shared
nstart-address=192.168.90.1
nend-address=192.168.90.99
nsubnet-mask=255.255.255.0
nnat66-prefix=fd12::
nhost-ports=22,8000-8100
ndhcp-range=192.168.90.50-192.168.90.99
ndhcp-host=52:54:00:12:34:56,192.168.90.9
phostname=web
pmac=52:54:00:12:34:56
pinterface-id=1B4E28BA-2FA1-11D2-883F-0016D3CCA427
pforward=tcp::2222-:22
pisolated=on
ftcp:127.0.0.1:8000-8010-web:80
fudp:[::1]:5000-[fd12::5]:53
r10.0.0.0/8
r[fd12::/16]:443
a52:54:00:12:34:56 192.168.64.2 web 1b4e28ba-2fa1-11d2-883f-0016d3cca427 tap ia 12:1000
ifd12::5
i52:54:00:12:34:56
kuser,id=n0,hostfwd=tcp::2222-:22,restrict
k{"type":"vmnet-shared","id":"n0","isolated":true}
"""
    yield "netfile", b"""\
mode = shared
start-address = 192.168.70.1
end-address = 192.168.70.99
subnet-mask = 255.255.255.0
lease-time = 1h
udp-timeout = 5m
udp-filtering = address-dependent
deny = 10.0.0.0/8
allow = 10.1.2.3:443
forward = tcp::2222-web:22
allow-user = *
user-ports = 64
[host web]
mac = 52:54:00:00:00:01
address = 192.168.70.10
[dns]
db.example = 192.168.70.20
[dhcp-options]
ntp-server = 192.168.70.1
"""
    yield "netfile", b"nameserver 192.0.2.1\nnameserver fe80::1%lo\nsearch a.example b.example\noptions ndots:2\n"


def main():
    build, seconds, names = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    known = sorted({name for name, _ in seeds()})
    if unknown := sorted(set(names) - set(known)):
        sys.exit(f"fuzz: no fuzzer {', '.join(unknown)}; there are: {', '.join(known)}")
    failed = []
    for number, (name, data) in enumerate(seeds()):
        directory = build / "corpus" / name
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"seed-{number}").write_bytes(data)
    for name in names or known:
        options = [f"-max_total_time={seconds}", "-max_len=8192", "-timeout=10", "-rss_limit_mb=4096",
                   f"-artifact_prefix={build}/fuzz-{name}-", "-print_final_stats=1"]
        command = [build / "tests" / "fuzz" / f"fuzz_{name}", *options, build / "corpus" / name]
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        runs = re.search(r"number_of_executed_units:\s*(\d+)", result.stdout)
        edges = re.findall(r"cov: (\d+)", result.stdout)
        print(f"fuzz {name}: {runs[1] if runs else 0} inputs, {edges[-1] if edges else 0} edges, "
              f"{'FAILED' if result.returncode else 'ok'}", flush=True)
        if result.returncode:
            failed.append(name)
            print(result.stdout[-8000:])
    if failed:
        sys.exit(f"fuzz: failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
