# SPDX-License-Identifier: Apache-2.0
"""Networks with a configuration file: what it says is what the guests get."""

import contextlib

import pytest
from lab import REMOTE4, REMOTE4_B, Failed, Network, poll, read_all

FILE = f"""
mode = shared
start-address = 192.168.170.1
end-address = 192.168.170.99
subnet-mask = 255.255.255.0
nat66-prefix = fd12:3456:789a:1::/64
mtu = 1400
lease-time = 10m
deny = {REMOTE4}/31
allow = {REMOTE4}:8080
deny = 2001:db8:1::2
forward = tcp::18022-web:22

[host web]
mac = 52:54:00:00:00:01
address = 192.168.170.10

[host db]
interface-id = 8a2c5f10-0d3b-4c7e-9a51-6f1e2d3c4b5a
address = 192.168.170.20

[dns]
store = 192.168.170.20
www.example.org = 192.168.170.30
www.example.org = fd12:3456:789a:1::30

[dhcp-options]
ntp-server = 192.168.170.40
252 = http://wpad.example/
"""


@pytest.fixture(scope="module")
def config(lab):
    """The user's directory of configuration files."""
    directory = lab.directory / "config" / "openvmnet"
    directory.mkdir(parents=True)
    lab.environment["XDG_CONFIG_HOME"] = str(directory.parent)
    yield directory
    del lab.environment["XDG_CONFIG_HOME"]


@contextlib.contextmanager
def started(lab, config, name, text, *options):
    path = config / f"{name}.conf"
    path.write_text(text)
    network = Network(lab, name)
    try:
        lab.vmnet("up", name, *options)
        yield network
    finally:
        network.down()
        path.unlink()


@pytest.fixture(scope="module")
def filed(lab, config):
    with started(lab, config, "lab", FILE) as network:
        yield network


def test_the_network_is_the_files(filed):
    found = filed.describe()
    assert found["subnet"] == "192.168.170.0/24"
    assert found["gateway"] == "192.168.170.1"
    assert found["poolEnd"] == "192.168.170.99"
    assert found["ipv6Prefix"] == "fd12:3456:789a:1::/64"
    assert found["mtu"] == 1400
    assert found["configFile"].endswith("/lab.conf")


def test_reserved_addresses(filed):
    with filed.guest(mac="52:54:00:00:00:01") as web:
        assert (web.ipv4, web.port.name) == ("192.168.170.10", "web")
        assert web.lease["ip"] == "192.168.170.10"
        assert web.resolve("web.lab.vmnet.internal") == (0, ["192.168.170.10"])
        with pytest.raises(Failed, match="the name 'web' is taken|reserved"):
            filed.attach(name="web", mac="52:54:00:00:00:02")
    with filed.attach(interfaceId="8a2c5f10-0d3b-4c7e-9a51-6f1e2d3c4b5a") as db:
        assert (db.ipv4, db.name) == ("192.168.170.20", "db")
    with filed.attach() as other:
        assert other.ipv4 not in ("192.168.170.10", "192.168.170.20")
    assert poll(lambda: not filed.status()["ports"])


def test_lease_and_dhcp_options(filed):
    with filed.guest() as guest:
        guest.dhcp(options=("mtu", "ntpsrv", "wpad"))
        assert guest.lease["lease"] == "600"
        assert guest.lease["mtu"] == "1400"
        assert guest.lease["ntpsrv"] == "192.168.170.40"
        assert guest.lease["wpad"] == "http://wpad.example/"
        assert "mtu 1400" in guest.ip("link show dev eth0")


def test_dns_records(filed):
    with filed.guest() as guest:
        assert guest.resolve("store.lab.vmnet.internal") == (0, ["192.168.170.20"])
        assert guest.resolve("www.example.org") == (0, ["192.168.170.30"])
        assert guest.resolve("www.example.org", "AAAA") == (0, ["fd12:3456:789a:1::30"])


def try_tcp(guest, address, port):
    """What a connection comes to: "ok", or the error's name."""
    try:
        with guest.connect(address, port, timeout_s=3):
            return "ok"
    except ConnectionRefusedError:
        return "refused"
    except TimeoutError:
        return "timeout"
    except OSError as error:
        return error.strerror


def test_egress_rules(lab, filed):
    with (
        filed.guest() as guest,
        lab.remote.listen(port=8080),
        lab.remote.listen(port=8081),
        lab.remote.listen(port=8080, version=6),
    ):
        before = filed.counters()["drop_rule"]
        assert try_tcp(guest, REMOTE4, 8080) == "ok", "the longest prefix and its port are allowed"
        assert try_tcp(guest, REMOTE4, 8081) != "ok"
        assert try_tcp(guest, REMOTE4_B, 8080) != "ok"
        assert try_tcp(guest, "2001:db8:1::2", 8080) != "ok"
        assert try_tcp(guest, "2001:db8:1::3", 8080) == "ok"
        with guest.udp() as sender, lab.remote.udp(port=9000) as receiver:
            sender.sendto(b"no", (REMOTE4, 9000))
            receiver.settimeout(0.3)
            with pytest.raises(TimeoutError):
                receiver.recv(10)
        assert filed.counters()["drop_rule"] >= before + 4


def test_forward_of_the_file(lab, filed):
    """It is there before its guest is, and leads to it when it comes, and when it comes again."""
    forwards = filed.status()["forwards"]
    assert [(each["forward"], each["guest"]) for each in forwards] == [
        ("tcp:127.0.0.1:18022-web:22", None)
    ]
    for _ in range(2):
        with pytest.raises(ConnectionError):
            with lab.host.connect("127.0.0.1", 18022) as refused:
                refused.recv(1)
                raise ConnectionResetError("ended instead")
        with filed.guest(name="web") as web, web.listen(port=22) as listener:
            with lab.host.connect("127.0.0.1", 18022) as client:
                served, _ = listener.accept()
                with served:
                    served.sendall(b"hello")
                assert read_all(client) == b"hello"
        assert poll(lambda: filed.status()["forwards"][0]["guest"] is None)


@pytest.mark.parametrize(
    "options, message",
    [
        (("--mode", "host"), "mode=host was asked for, but"),
        (("--mtu", "1500"), "mtu=1500 was asked for, but"),
        (("--workers", "2"), "workers=2 was asked for, but"),
        (
            ("--start-address", "192.168.171.1", "--end-address", "192.168.171.9",
             "--subnet-mask", "255.255.255.0"),
            "start-address=192.168.171.1 was asked for, but",
        ),
        (("--nat66-prefix", "fd00::/64"), "nat66-prefix=fd00:: was asked for, but"),
    ],
)
def test_options_against_the_file(lab, config, options, message):
    (config / "lab2.conf").write_text(FILE.replace("18022", "18023"))
    try:
        result = lab.vmnet("up", "lab2", *options, check=False)
        assert result.returncode == 1
        assert message in result.stderr and "lab2.conf" in result.stderr
        assert poll(lambda: not Network(lab, "lab2").directory.exists())
    finally:
        (config / "lab2.conf").unlink()


@pytest.mark.parametrize(
    "text, message",
    [
        ("colour = red\n", "bad.conf:1:"),
        ("mode = shared\nmtu = 12\n", "bad.conf:2:"),
        ("[host a]\nmac = 52:54:00:00:00:01\naddress = 10.0.0.1\n", "is not in the pool"),
        ("mode = bridged\n", "system plane"),
        ("[dhcp-options]\nno-such-option = 5\n", "does not take 'dhcp-option=option:no-such-option,5'"),
    ],
)
def test_files_that_are_wrong(lab, config, text, message):
    """Nothing starts, and the file and the line are named."""
    (config / "bad.conf").write_text(text)
    try:
        result = lab.vmnet("up", "bad", check=False)
        assert result.returncode == 1
        assert message in result.stderr, result.stderr
        # It says so before it has cleared up.
        assert poll(lambda: not Network(lab, "bad").directory.exists())
    finally:
        (config / "bad.conf").unlink()


def test_network_of_a_file_starts_with_its_first_port(lab, config):
    """And ends with its last: `vmnet up` is what makes it stay."""
    path = config / "adhoc.conf"
    path.write_text("mode = host\nmtu = 1300\n")
    try:
        machine = lab.start_vm("-nic", "vmnet-macos,network=adhoc")
        network = Network(lab, "adhoc")
        assert poll(network.is_running, 10)
        assert (network.describe()["mode"], network.describe()["mtu"]) == ("host", 1300)
        machine.stdin.close()
        assert poll(lambda: not network.directory.exists(), 10)
    finally:
        path.unlink()


def test_network_with_an_identity(lab, config):
    """Its file has the name that follows from it; the network is the same with and without the option."""
    uuid = "9d7ab2f6-0c3c-4b3f-9a0e-6e3bb2a6c003"
    text = f"mode = host\nnet-uuid = {uuid}\nmtu = 1300\n"
    for options in ([f"host-{uuid}"], ["--mode", "host", "--net-uuid", uuid]):
        (config / f"host-{uuid}.conf").write_text(text)
        network = Network(lab, lab.vmnet("up", *options).stdout.strip())
        try:
            found = network.describe()
            assert (found["name"], found["dhcp"], found["mtu"]) == (f"host-{uuid}", False, 1300)
        finally:
            network.down()
            (config / f"host-{uuid}.conf").unlink()


def test_forward_of_the_file_that_cannot_be_opened(lab, config):
    """The network starts all the same, and says what is wrong."""
    with lab.host.listen("127.0.0.1", 18099), started(
        lab, config, "busy", "forward = tcp::18099-web:22\nforward = tcp::18098-web:22\n"
    ) as network:
        first, second = network.status()["forwards"]
        assert "in use by another program" in first["error"]
        assert second["error"] is None
