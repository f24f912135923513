# SPDX-License-Identifier: Apache-2.0
"""status, top, metrics: what they show of networks' answers, also of answers that make no sense.

Most networks here are fakes (fakenet.py), whose numbers are known; the last tests ask real ones.
"""

import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile

import pytest
from fakenet import VMNET, FakeNetwork, Terminal, port, status, vmnet

DONE, FAILED, USAGE = 0, 1, 2
LONG = "network-of-15-c"  # 15 characters
HOSTILE = 'a"b\\c\nd\x1b[31m\x7f\x9b\u202eé'


@pytest.fixture
def runtime():
    directory = pathlib.Path(tempfile.mkdtemp(prefix="openvmnet-", dir="/tmp"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def fake(runtime):
    """fake(STATE) starts a FakeNetwork; it ends with the test."""
    networks = []

    def start(state, **options):
        networks.append(FakeNetwork(runtime, state, **options).__enter__())
        return networks[-1]

    yield start
    for network in networks:
        network.close()


def text_of(runtime, *arguments, code=DONE):
    result = vmnet(runtime, *arguments)
    assert (result.returncode, result.stderr) == (code, b"")
    return result.stdout.decode()


def busy():
    """A network with all that status can show, as large as numbers get."""
    first = port(0, LONG, name="web", isolated=True, antiSpoof=False)
    first["traffic"].update(upBytes=123456, downBytes=9_999_999_999, downDropped=7)
    first["drops"].update(spoofed_mac=3, storm=2**62)
    second = port(1023, LONG, name="a-name-of-fifty", kind="stream", owner=None)
    second["socket"] = "/run/user/1000/openvmnet/x/ports/tap1023"
    state = status(LONG, [first, second], configFile="/etc/openvmnet/é.conf", dhcp=False)
    state["forwards"] = [
        {
            "forward": "tcp:127.0.0.1:2222-web:22",
            "guest": "192.168.64.2:22",
            "interface": "tap0",
        },
        {"forward": "udp:[::1]:53-gone:53", "guest": None, "interface": None},
    ]
    state["counters"].update(tcp_open=12, udp_open=3, forward_open=1, drop_denied=2**60, zero=0)
    state["counters"].update({f"counter_{i}": i + 10**12 for i in range(20)})
    return state


# ---- status


def test_status_shows_all(runtime, fake):
    fake(busy())
    text = text_of(runtime, "status", LONG)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80, text
    assert lines[0] == f"network {LONG}"
    own_name = pathlib.Path(f"/proc/{os.getpid()}/comm").read_text().strip()
    for line in (
        "  file        /etc/openvmnet/é.conf",
        "  DHCP        no",
        "  IPv6        fd04:7b26:d022:8885::/64, gateway fd04:7b26:d022:8885::1",
        "    tap0     web              52:56:00:00:00:00  192.168.64.2/24   tap",
        f"    tap0     123k  0     9.9G  0       4.6E   {os.getpid()} {own_name}",
        "    tap1023  0     0     0     0       0      -",
        "  isolated: tap0",
        "  anti-spoof off: tap0",
        "  socket of tap1023: /run/user/1000/openvmnet/x/ports/tap1023",
        "  drops of tap0: spoofed_mac 3, storm 4611686018427387904, not_taken 7",
        "    tcp:127.0.0.1:2222-web:22  192.168.64.2:22  tap0",
        "    udp:[::1]:53-gone:53       -                -",
        "  flows: TCP 12, UDP 3, forwarded 1",
        "  processes: parent 1000, engine 1001, router 1002, dnsmasq 1003",
    ):
        assert line in lines, text
    assert "counter_19" in text and f"drop_denied {2**60}" in text
    assert "zero" not in text and "pool" not in text and "socket  " not in text


def test_status_json_is_the_reply(runtime, fake):
    state = busy()
    fake(state)
    other = status("other")
    fake(other)
    assert json.loads(text_of(runtime, "status", LONG, "--json")) == state
    assert json.loads(text_of(runtime, "status", "--json")) == [state, other]


def test_status_rates(runtime, fake):
    calls = itertools.count()

    def state():
        item = port(0)
        item["traffic"]["upBytes"] = next(calls) * 1_000_000
        item["traffic"]["downBytes"] = 5
        return status(ports=[item])

    fake(state)
    next(calls)
    line = text_of(runtime, "status", "shared").partition("OWNER\n")[2].split()
    # 1 MB between two looks that are at least 200 ms apart.
    match = re.fullmatch(r"(\d(\.\d)?)M", line[2])
    assert match and 0.5 <= float(match[1]) <= 5, line
    assert line[1:2] + line[3:5] == ["3.0M", "5", "0"]


def test_status_asks_once_without_ports(runtime, fake):
    network = fake(status())
    text = text_of(runtime, "status", "shared")
    assert "  no ports\n" in text
    assert network.asked == 1


def test_nothing_drives_the_terminal(runtime, fake):
    state = status("shared", [port(0, name=HOSTILE, kind=HOSTILE, interface=HOSTILE)])
    state["ports"][0]["drops"][HOSTILE] = 1
    state["counters"][HOSTILE] = 1
    state["processes"][HOSTILE] = 5
    state["forwards"] = [{"forward": HOSTILE, "guest": HOSTILE, "interface": HOSTILE}]
    for key in ("mode", "domain", "configFile", "streamSocket", "name"):
        state["network"][key] = HOSTILE
    fake(state, name="shared")
    # The program that holds the port has a name, too.
    process = subprocess.Popen(
        ["/usr/bin/python3", "-c", "open('/proc/self/comm', 'wb').write(b'x\\x1b\\xff\\x9b\\ny')\n"
         "print(flush=True); input()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    process.stdout.readline()
    state["ports"][0]["owner"] = process.pid
    text = vmnet(runtime, "status").stdout
    process.stdin.close()
    process.stdout.close()
    process.wait()
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]", text), text
    assert text.decode().count("é") > 5
    assert f"{process.pid} x????y" in text.decode()


ODD = (None, True, 5, -5, 1.5, "text", [], {}, [None, 5, [], {}], {"": None, "a": -1, "port": 7})


@pytest.mark.parametrize("command", ["status", "metrics"])
def test_answers_that_make_no_sense(runtime, fake, command):
    """A newer or a broken vmnetd is shown as far as it is understood."""
    good = busy()
    current = good

    def answer():
        return current

    fake(answer, name="shared")
    for key, value in itertools.product(good, ODD):
        # Without ports there is no second look for rates, which takes time.
        current = {**good, "ports": [], key: value}
        assert vmnet(runtime, command, "shared").returncode == DONE, (key, value)
    for key in good["ports"][0]:
        current = {**good, "ports": [{**good["ports"][0], key: value} for value in ODD]}
        assert vmnet(runtime, command, "shared").returncode == DONE, key


@pytest.mark.parametrize("command", ["status", "metrics"])
def test_network_that_is_not_there(runtime, fake, command):
    for arguments, code in (([], DONE), (["a/b"], USAGE), (["lab"], FAILED)):
        assert vmnet(runtime, command, *arguments).returncode == code
    assert b"network 'lab': does not run; vmnet ls" in vmnet(runtime, command, "lab").stderr


# ---- metrics


def parse_openmetrics(text):
    """OpenMetrics 1.0, strictly. Returns {family: (type, unit, {(sample, labels): value})}."""
    name = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
    label = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
    sample_line = re.compile(rf"({name})(?:\{{({label}(?:,{label})*)?\}})? (-?[0-9]+(?:\.[0-9]+)?)")
    assert text.endswith("# EOF\n") and text.count("# EOF") == 1
    families, current = {}, None
    for line in text[: -len("# EOF\n")].split("\n")[:-1]:
        if line.startswith("#"):
            keyword, family, rest = re.fullmatch(rf"# (TYPE|UNIT|HELP) ({name}) (.+)", line).groups()
            if keyword == "TYPE":
                assert family not in families, f"{family} comes twice"
                # node_exporter knows no others.
                assert rest in ("counter", "gauge")
                current = families[family] = [family, rest, None, None, {}]
            assert current and current[0] == family and not current[4]
            if keyword == "UNIT":
                assert current[2] is None and family.endswith(f"_{rest}")
                current[2] = rest
            if keyword == "HELP":
                assert current[3] is None
                current[3] = rest
            continue
        match = sample_line.fullmatch(line)
        assert match, line
        suffix = "_total" if current[1] == "counter" else ""
        assert match[1] == current[0] + suffix, f"{match[1]} is not of {current[0]}"
        pairs = re.findall(r'([a-zA-Z0-9_]+)="((?:[^"\\]|\\.)*)"', match[2] or "")
        assert len({key for key, _ in pairs}) == len(pairs)
        labels = tuple(
            (key, re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), value))
            for key, value in pairs
        )
        assert labels not in current[4], line
        current[4][labels] = float(match[3])
        assert current[1] == "gauge" or current[4][labels] >= 0
    for family, kind, _, text_help, _ in families.values():
        assert text_help, family
        assert kind == "counter" or not family.endswith(("_total", "_count", "_sum", "_bucket"))
    return {family: (kind, unit, values) for family, kind, unit, _, values in families.values()}


def test_metrics(runtime, fake):
    fake(busy())
    fake(status("other"))
    families = parse_openmetrics(text_of(runtime, "metrics"))
    assert all(family.startswith("openvmnet_") for family in families)

    def value(family, **labels):
        found = [
            value
            for pairs, value in families[f"openvmnet_{family}"][2].items()
            if labels.items() <= dict(pairs).items()
        ]
        assert len(found) == 1, (family, labels, found)
        return found[0]

    assert value("network_ports", network=LONG) == 2
    assert value("network_ports", network="other") == 0
    assert value("network_info", network="other", mode="shared", lasting="no") == 1
    web = {"network": LONG, "interface": "tap0", "name": "web"}
    assert value("port_info", **web, mac="52:56:00:00:00:00", isolated="yes", anti_spoof="no") == 1
    assert value("port_bytes", **web, direction="up") == 123456
    assert value("port_bytes", **web, direction="down") == 9_999_999_999
    assert value("port_drops", **web, reason="spoofed_mac") == 3
    assert value("port_drops", **web, reason="not_taken") == 7
    assert value("uplink_drops", network=LONG, reason="denied") == 2**60
    assert value("tcp_connections_open", network=LONG) == 12
    assert value("process_id", network="other", process="engine") == 1001
    assert value("other", network=LONG, counter="counter_3") == 10**12 + 3
    assert families["openvmnet_port_bytes"][:2] == ("counter", "bytes")
    one = parse_openmetrics(text_of(runtime, "metrics", "other"))
    assert {dict(labels)["network"] for _, _, values in one.values() for labels in values} == {
        "other"
    }


def test_metrics_of_nothing(runtime):
    assert all(not values for _, _, values in parse_openmetrics(text_of(runtime, "metrics")).values())


def test_metrics_escapes_labels(runtime, fake):
    state = status("shared", [port(0, name=HOSTILE)])
    state["ports"][0]["drops"] = {HOSTILE: 1}
    fake(state)
    families = parse_openmetrics(text_of(runtime, "metrics"))
    labels = dict(next(iter(families["openvmnet_port_drops"][2])))
    assert labels["name"] == labels["reason"] == HOSTILE


# ---- top


def row_of(lines, name):
    """The fields of the port of that name; [] where it is not shown."""
    for line in lines:
        fields = line.split()
        if len(fields) > 2 and fields[2] == name:
            return fields
    return []


def is_shown(name):
    return lambda text: row_of(text.splitlines(), name)


def test_top_shows_rates_and_sorts(runtime, fake):
    """In the order of what is asked for, at 80 columns, with a name of 15 characters."""
    calls = itertools.count(1)

    def state():
        look = next(calls)
        ports = [port(i, LONG, name=f"guest-{i}") for i in range(3)]
        for i, (up, down, drops) in enumerate(((1, 300, 5), (2, 200, 4), (3, 100, 9))):
            ports[i]["traffic"].update(upBytes=look * up * 10**6, downBytes=look * down * 10**6)
            ports[i]["traffic"].update(upPackets=look * 1000, downPackets=look * 1000)
            ports[i]["drops"]["storm"] = drops
        reply = status(LONG, ports)
        reply["counters"].update(tcp_open=12, udp_open=3, forward_open=1)
        return reply

    fake(state)
    with Terminal(runtime, "top", "--interval", "0.2") as terminal:
        lines = terminal.wait_for(lambda text: "M" in (row_of(text.splitlines(), "guest-0") or "    ")[3])
        assert lines[0].startswith("1 network, 3 ports: up ")
        assert lines[1] == "flows: TCP 12, UDP 3, forwarded 1; drops 18"
        assert lines[3].split() == [
            "NETWORK", "PORT", "NAME", "UP/s", "DOWN/s", "PKTS/s", "DROPS", "OWNER",
        ]  # fmt: skip
        fields = row_of(lines, "guest-1")
        assert fields[:2] == [LONG, "tap1"] and fields[6:8] == ["4", str(os.getpid())]
        # 2 MB, 200 MB and 2000 packets in 0.2 s or somewhat more.
        assert re.fullmatch(r"\d\.\dM|1\dM", fields[3]) and re.fullmatch(r"[0-9]{3}M|1\.\dG", fields[4])

        def order(text):
            return re.findall(r"guest-\d", text)

        for key, expected in (("d", "012"), ("u", "210"), ("r", "201"), ("n", "012")):
            terminal.type(key)
            wanted = [f"guest-{i}" for i in expected]
            terminal.wait_for(lambda text, wanted=wanted: order(text) == wanted)
        terminal.type("q")
        assert terminal.wait_end() == DONE


def test_top_networks_come_and_go(runtime, fake):
    steps = {"bytes": 10**9, "parent": 1}

    def state():
        item = port(0, "a", name="guest-a")
        item["traffic"]["upBytes"] = steps["bytes"]
        return status("a", [item], parent=steps["parent"])

    with Terminal(runtime, "top", "--interval", "0.1") as terminal:
        terminal.wait_for(lambda text: "no network runs" in text)
        first = fake(state)
        terminal.wait_for(is_shown("guest-a"))
        # Counters that go backwards, and those of another network of that name.
        for change in ({"bytes": 5}, {"bytes": 10**12, "parent": 2}):
            steps.update(change)
            asked = first.asked
            terminal.wait_for(lambda _, asked=asked: first.asked > asked + 2)
            assert row_of(terminal.screen(), "guest-a")[3] == "0"
        with FakeNetwork(runtime, status("b", [port(i, "b", name=f"guest-b{i}") for i in range(50)])):
            lines = terminal.wait_for(is_shown("guest-b0"))
            assert lines[0].startswith("2 networks, 51 ports: ")
            assert re.fullmatch(r"\d+ more", lines[-1])
        terminal.wait_for(lambda text: "guest-b0" not in text and "guest-a" in text)
        first.close()
        terminal.wait_for(lambda text: "no network runs" in text)
        terminal.type("q")
        assert terminal.wait_end() == DONE


def test_top_of_one_network_that_goes(runtime, fake):
    network = fake(status("a", [port(0, "a", name="guest-a")]))
    fake(status("b", [port(0, "b", name="guest-b")]))
    with Terminal(runtime, "top", "a", "--interval=0.1") as terminal:
        terminal.wait_for(is_shown("guest-a"))
        assert not row_of(terminal.screen(), "guest-b")
        network.close()
        terminal.wait_for(lambda text: "network 'a': does not run" in text)
        fake(status("a", [port(0, "a", name="guest-c")]))
        terminal.wait_for(is_shown("guest-c"))


@pytest.mark.parametrize("size", [(24, 80), (10, 40), (50, 200), (3, 20), (1, 5)])
def test_top_in_any_size(runtime, fake, size):
    """render() fails where a line is too long."""
    fake(status(LONG, [port(i, LONG, name=f"a-name-that-is-long-{i}") for i in range(30)]))
    with Terminal(runtime, "top", "--interval", "0.1", rows=30, columns=100) as terminal:
        terminal.wait_for(lambda text: "30 ports" in text)
        terminal.set_size(*size)
        lines = terminal.wait_for(lambda text: text.startswith("1 network"[: size[1] - 1]))
        assert max(map(len, lines)) < size[1]
        assert len(lines) == size[0]
        if size[1] >= 80:
            row = row_of(lines, "a-name-that-i~" if size[1] == 80 else "a-name-that-is-long-0")
            assert row[0] == LONG, lines
        terminal.type("q")
        assert terminal.wait_end() == DONE


@pytest.mark.parametrize("end", ["q", "\x03", signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_top_restores_the_terminal(runtime, fake, end):
    fake(status(ports=[port(0)]))
    with Terminal(runtime, "top") as terminal:
        before = terminal.modes()
        terminal.wait_for(is_shown("vm0"))
        assert terminal.modes() != before
        terminal.raw = b""
        if isinstance(end, str):
            terminal.type(end)
        else:
            os.kill(terminal.pid, end)
        expected = {"q": DONE, "\x03": -signal.SIGINT}.get(end, end if isinstance(end, str) else -end)
        assert terminal.wait_end() == expected
        assert terminal.modes() == before


def test_top_ends_with_its_terminal(runtime, fake):
    """A terminal that is closed ends it, as hang-up or as the end of input."""
    fake(status(ports=[port(0)]))
    terminal = Terminal(runtime, "top")
    terminal.wait_for(is_shown("vm0"))
    os.close(terminal.fd)
    assert os.waitstatus_to_exitcode(os.waitpid(terminal.pid, 0)[1]) in (DONE, -signal.SIGHUP)


def test_top_refuses(runtime, fake):
    fake(status())
    result = vmnet(runtime, "top")
    assert (result.returncode, result.stdout) == (USAGE, b"")
    assert b"needs a terminal" in result.stderr and b"vmnet status" in result.stderr
    for interval in ("0", "-1", "x", "nan", "inf", "1e9", "", "1s"):
        result = vmnet(runtime, "top", "--interval", interval)
        assert (result.returncode, b"top: --interval: write seconds" in result.stderr) == (USAGE, True)
    with Terminal(runtime, "top", "lab") as terminal:
        assert terminal.wait_end() == FAILED
        assert b"network 'lab': does not run" in terminal.raw
    result = subprocess.run(
        ["script", "-qec", f"{VMNET} top", "/dev/null"],
        env={**os.environ, "TERM": "no-such-terminal", "XDG_RUNTIME_DIR": str(runtime), "OPENVMNET_ROOT": str(runtime)},
        stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False,
    )  # fmt: skip
    assert b"the terminal 'no-such-terminal' is not known" in result.stdout
    assert result.returncode == FAILED


# ---- interfaces

def test_interfaces(lab):
    host = lab.host
    host.ip_batch(
        "link add br0 type bridge\n"
        "link add veth0 type veth peer name veth1\n"
        "tuntap add mode tap name tap9\n"
        "tuntap add mode tun name tun9\n"
        "link set veth0 master br0\nlink set veth0 up\nlink set veth1 up\n"
    )
    try:
        for kind, options in (("vlan", "id 5"), ("macvlan", "")):
            host.run(
                ["ip", "link", "add", "link", "veth1", "name", f"{kind}9", "type", kind, *options.split()],
                check=False,
            )
        listed = json.loads(lab.vmnet("interfaces", "--json").stdout)
        found = {interface["name"]: interface for interface in listed}
        text = lab.vmnet("interfaces").stdout
        expected = {
            "lo": ("loopback", "none", "loopback"),
            "out0": ("veth", "wired", "stay as they are"),
            "br0": ("bridge", "bridge", "become its ports"),
            "veth0": ("veth", "none", "part of br0"),
            "veth1": ("veth", "wired", "stay as they are"),
            "tap9": ("tap", "none", "a machine's port"),
            "tun9": ("tun", "none", "not Ethernet"),
            "vlan9": ("vlan", "wired", "stay as they are"),
            "macvlan9": ("macvlan", "none", "one MAC only"),
        }
        for name, facts in expected.items():
            if name in ("vlan9", "macvlan9") and name not in found:
                continue  # this kernel has no such devices
            got = found[name]
            assert (got["kind"], got["way"]) == facts[:2] and facts[2] in got["why"], name
            assert got["canBridge"] == (facts[1] != "none")
            assert got["default"] == (name == "out0")
        assert found["veth0"]["partOf"] == "br0" and found["br0"]["partOf"] is None
        assert found["veth1"]["mac"] in host.ip("link show dev veth1")
        assert [found[name]["state"] for name in ("veth1", "br0", "tun9")] == ["up", "down", "down"]
        assert found["lo"]["mac"] is found["tun9"]["mac"] is None
        assert max(map(len, text.splitlines())) <= 80
        assert text.splitlines()[0].split() == [
            "NAME", "KIND", "STATE", "SPEED", "MAC", "BRIDGED",
        ]  # fmt: skip
        assert re.search(r"^out0 +veth +up default .* wired$", text, re.MULTILINE)
        assert re.search(r"^veth0 .* no: part of br0$", text, re.MULTILINE)
        wireless(lab, found["veth1"]["name"])
    finally:
        for name in ("br0", "veth0", "tap9", "tun9"):
            host.run(["ip", "link", "delete", name], check=False)


def wireless(lab, name):
    """What only sysfs knows, from one that stands for it; what is about another device is not believed."""
    index = int(lab.host.ip(f"link show dev {name}").partition(":")[0])
    sysfs = lab.directory / "sysfs"
    (sysfs / name / "phy80211").mkdir(parents=True)
    (sysfs / name / "speed").write_text("2500\n")
    for number, expected in (
        (index, ("mac-nat", 2500)),
        (index + 1, ("wired", None)),
    ):
        (sysfs / name / "ifindex").write_text(f"{number}\n")
        listed = json.loads(
            lab.host.run(
                ["unshare", "-m", "sh", "-c",
                 f"mount --bind {sysfs} /sys/class/net && exec {VMNET} interfaces --json"]
            ).stdout
        )  # fmt: skip
        (got,) = [each for each in listed if each["name"] == name]
        assert (got["way"], got["speedMbps"]) == expected
    shutil.rmtree(sysfs)


# ---- real networks


def test_real_network(lab, network, guest):
    del guest
    families = parse_openmetrics(lab.vmnet("metrics", network.name).stdout)
    assert families["openvmnet_network_ports"][2][(("network", network.name),)] == 1
    assert "openvmnet_other" not in families
    text = lab.vmnet("status", network.name).stdout
    assert max(map(len, text.splitlines())) <= 80
    for value in (f"network {network.name}", network.status()["network"]["subnet"], "flows: TCP"):
        assert value in text
