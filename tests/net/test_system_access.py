# SPDX-License-Identifier: Apache-2.0
"""Who may do what on a network of the system, how much of it, and what is said to who may not."""

import contextlib
import json
import os
import subprocess

import pytest
from lab import poll
from system import GROUP, OTHER, USER, SystemLab, needs_root, started

pytestmark = needs_root

CALL = """
import json, os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
request = {"method": "io.openvmnet." + sys.argv[2], "parameters": json.loads(sys.argv[3])}
s.sendall(json.dumps(request).encode() + b"\\0")
reply = b""
while not reply.endswith(b"\\0"):
    data, fds, _, _ = socket.recv_fds(s, 65536, 4)
    if not data:
        sys.exit("no reply")
    reply += data
print(reply[:-1].decode(), flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def lab():
    with SystemLab() as lab:
        yield lab
        lab.wait_until_clean()


def ask(user, network, method, **parameters):
    """The reply to one call, as it is sent."""
    words = ["/usr/bin/python3", "-c", CALL, network.control, method, json.dumps(parameters)]
    return json.loads(user.run(*words).stdout)


class Port:
    """A port of a user's, held by a process of theirs. A context."""

    def __init__(self, user, network, **parameters):
        self.process = user.start(
            "/usr/bin/python3", "-c", CALL, network.control, "Attach", json.dumps(parameters),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.reply = json.loads(self.process.stdout.readline() or "{}")

    def __enter__(self):
        return self.reply

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(5)


def attached(network):
    return network.status()["ports"]


def denied(reply, *texts):
    assert reply.get("error") == "io.openvmnet.NotAllowed", reply
    assert reply["parameters"]["code"] == "EACCES"
    for text in texts:
        assert text in reply["parameters"]["reason"]


@pytest.mark.parametrize(
    ("line", "allowed", "in_group"),
    [
        ("", False, False),
        (f"allow-user = {USER}", True, False),
        (f"allow-user = {OTHER}", False, True),
        ("allow-user = *", True, False),
        (f"allow-group = {USER}", True, False),  # its own group
        (f"allow-group = {GROUP}", True, True),  # one of its supplementary ones
        (f"allow-group = {GROUP}", False, False),
    ],
)
def test_who_may_attach(lab, line, allowed, in_group):
    user = lab.user(groups=[43001, GROUP] if in_group else ())
    with started(lab, "lab", line) as lan, Port(user, lan) as reply:
        if allowed:
            assert reply["parameters"]["port"]["user"] == USER
            assert [port["user"] for port in attached(lan)] == [USER]
        else:
            denied(reply, f"uid {USER} may not attach ports", f"'allow-user = {USER}'", "lab.conf")
            assert f"denied to uid {USER}: attach ports (not allowed by" in lan.log()


def test_a_name_stands_for_its_id(lab):
    with (lab.etc / "passwd").open("a") as passwd, (lab.etc / "group").open("a") as group:
        passwd.write(f"alice:x:{USER}:{USER}::/:/bin/sh\n")
        group.write(f"team:x:{GROUP}:\n")
    with started(lab, "lab", "allow-user = alice\n") as lan, Port(lab.user(), lan) as reply:
        assert "port" in reply["parameters"]
    with started(lab, "lab", "allow-group = team\n") as lan:
        with Port(lab.user(groups=[GROUP]), lan) as reply:
            assert "port" in reply["parameters"]


def test_vmnet_run_says_what_is_missing(lab):
    with started(lab, "lab", ""):
        said = lab.user().refused("run", "--network", "lab", "true", "{fd}")
        assert said.startswith("vmnet: ") and "network 'lab': is a network of the system" in said
        assert f"'allow-user = {USER}'" in said and str(lab.etc_openvmnet / "lab.conf") in said


def test_vmnet_run_joins(lab):
    """The whole way: an ordinary user's VM monitor has a port of root's network."""
    user = lab.user()
    with started(lab, "lab", f"allow-user = {USER}\n") as lan:
        vm = user.start(
            lab.vmnet_path, "run", "--network", "lab", "/bin/cat", "/proc/self/fdinfo/{fd}", "-",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert "lab " in vm.stderr.readline()
        assert poll(lambda: [port["user"] for port in attached(lan)] == [USER])
        vm.communicate(timeout=5)
        assert poll(lambda: not attached(lan))


def test_ports_of_one_user(lab):
    text = f"allow-user = {USER}\nallow-user = {OTHER}\nuser-ports = 2\n"
    user, other = lab.user(), lab.user(OTHER)
    with started(lab, "lab", text) as lan, Port(user, lan) as a, Port(user, lan), Port(other, lan) as b:
        assert "port" in a["parameters"] and "port" in b["parameters"]
        reply = ask(user, lan, "Attach")
        assert reply["parameters"]["code"] == "EDQUOT"
        assert f"uid {USER} has 2 ports, and may have 2" in reply["parameters"]["reason"]
        lan.attach().close()  # root has no such bound
        # An engine that was started anew knows whose ports there are.
        lan.kill("engine")
        assert poll(lambda: lan.is_running() and len(attached(lan)) == 3)
        assert ask(user, lan, "Attach")["parameters"]["code"] == "EDQUOT"


def test_ports_of_others(lab):
    text = f"allow-user = {USER}\nallow-user = {OTHER}\n"
    user, other = lab.user(), lab.user(OTHER)
    with started(lab, "lab", text) as lan, Port(user, lan) as mine:
        interface = mine["parameters"]["port"]["interface"]
        denied(ask(other, lan, "Detach", interface=interface), "only root may detach the ports of others")
        denied(ask(other, lan, "AddForward", forward="tcp::8080-:80", interface=interface), "only root")
        assert len(attached(lan)) == 1
        assert "parameters" in ask(user, lan, "Detach", interface=interface)
        assert poll(lambda: not attached(lan))


def test_forwards(lab):
    user, other = lab.user(), lab.user(OTHER)
    text = "allow-user = *\nuser-forwards = 2\nforward = tcp::2200-web:22\n"
    with started(lab, "lab", text) as lan, Port(user, lan, forwards=["tcp::8080-:80"]) as mine:
        interface = mine["parameters"]["port"]["interface"]

        def add(forward, **parameters):
            return ask(user, lan, "AddForward", forward=forward, **parameters)

        denied(add("tcp::8081-:80"), "only root may forward to others")
        reply = add("tcp::8081-web:80", interface=interface)
        assert reply["parameters"]["code"] == "EACCES" and "forward to 'web'" in reply["parameters"]["reason"]
        reply = add("tcp::80-:80", interface=interface)
        assert "ports below 1024 are root's" in reply["parameters"]["reason"]
        reply = add("tcp::8081-8082-:80", interface=interface)
        assert reply["parameters"]["code"] == "EDQUOT" and "may have 2" in reply["parameters"]["reason"]
        assert "forward" in add("tcp::8081-:80", interface=interface)["parameters"]
        denied(ask(other, lan, "RemoveForward", forward="tcp::8081"), "only root may end the forwards")
        denied(ask(user, lan, "RemoveForward", forward="tcp::2200"), "only root")
        assert "error" not in ask(user, lan, "RemoveForward", forward="tcp::8081")
        name = mine["parameters"]["port"]["name"]
        denied(ask(other, lan, "AddForward", forward=f"tcp::8081-{name}:80"), "only root may forward to others")
        assert user.vmnet("forward", "lab", "add", f"tcp::8081-{name}:80").stdout
        assert [each["interface"] for each in lan.status()["forwards"] if "8081" in each["forward"]] == [interface]
        user.vmnet("forward", "lab", "rm", "tcp::8081")


@pytest.mark.parametrize(
    ("parameters", "what"),
    [
        ({"antiSpoof": False}, "in the name of others"),
        ({"kind": "veth"}, "a program as a machine"),
        ({"kind": "dgram", "path": True}, "at a path"),
    ],
)
def test_what_a_port_may_not_be(lab, parameters, what):
    with started(lab, "lab", "allow-user = *\n") as lan:
        denied(ask(lab.user(), lan, "Attach", **parameters), what)
        assert not attached(lan)


def test_anti_spoof_where_a_user_may_not_have_it_off(lab):
    """Nothing was denied, so nothing is logged. Root may have it off."""
    with started(lab, "lab", "allow-user = *\n") as lan:
        with Port(lab.user(), lan, antiSpoof=False, antiSpoofAuto=True) as port:
            assert port["parameters"]["port"]["antiSpoof"] is True
        assert "denied" not in lan.log()
        with lan.attach(antiSpoof=False, antiSpoofAuto=True) as port:
            assert port.facts["antiSpoof"] is False


@pytest.mark.parametrize("method", ["Keep", "Stop", "Namespaces"])
def test_the_network_is_roots(lab, method):
    with started(lab, "lab", "allow-user = *\n") as lan:
        denied(ask(lab.user(), lan, method), "only root may")
        assert lan.is_running()


def test_denials_do_not_fill_the_log(lab):
    with started(lab, "lab", "") as lan:
        for _ in range(30):
            denied(ask(lab.user(), lan, "Attach"))
        assert lan.log().count("denied to uid") == 10


def test_what_strangers_send_does_not_fill_the_log(lab):
    send = (
        "import socket, sys\n"
        "for _ in range(30):\n"
        "    with socket.socket(socket.AF_UNIX) as s:\n"
        "        s.connect(sys.argv[1])\n"
        "        try:\n            s.sendall(b'x' * 200000)\n            s.recv(1)\n"
        "        except OSError:\n            pass\n"
    )
    with started(lab, "lab", "") as lan:
        lab.user().run("/usr/bin/python3", "-c", send, lan.control)
        assert lan.log().count("a control client sent more than") == 10


HOLD = """
import os, select, socket, sys
held = [socket.socket(socket.AF_UNIX) for _ in range(int(sys.argv[2]))]
for each in held:
    each.connect(sys.argv[1])
# Those that are not taken are closed.
gone = select.poll()
for each in held:
    gone.register(each, select.POLLRDHUP)
while gone.poll(300):
    for fd, _ in gone.poll(0):
        gone.unregister(fd)
        held = [each for each in held if each.fileno() != fd]
print(len(held), flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def holding(user, path, connections):
    """How many connections that say nothing @user can hold, of so many."""
    holder = user.start("/usr/bin/python3", "-c", HOLD, path, str(connections), stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE)  # fmt: skip
    yield int(holder.stdout.readline())
    holder.stdin.close()
    holder.wait(5)


def test_one_user_does_not_keep_others_out(lab):
    with started(lab, "lab", "allow-user = *\n") as lan, holding(lab.user(), lan.control, 200) as held:
        assert held == 32
        with Port(lab.user(OTHER), lan) as reply:
            assert "port" in reply["parameters"]


def test_many_strangers_do_not_keep_users_out(lab):
    """One person may be many of them."""
    with contextlib.ExitStack() as stack:
        lan = stack.enter_context(started(lab, "lab", f"allow-user = {USER}\n"))
        strangers = [stack.enter_context(holding(lab.user(OTHER + n), lan.control, 30)) for n in range(5)]
        assert sum(strangers) == 32
        with Port(lab.user(), lan) as reply:
            assert "port" in reply["parameters"]


def test_many_users_do_not_keep_root_out(lab):
    with contextlib.ExitStack() as stack:
        lan = stack.enter_context(started(lab, "lab", "allow-user = *\n"))
        users = [stack.enter_context(holding(lab.user(OTHER + n), lan.control, 40)) for n in range(5)]
        assert sum(users) == 120
        assert lan.describe()["name"] == "lab"


def test_silent_monitors_of_one_user(lab):
    """On the stream socket no more of them wait for a port than may have one."""
    text = "allow-user = *\nuser-ports = 3\n"
    with started(lab, "lab", text) as lan, holding(lab.user(), lan.directory / "stream", 20) as held:
        assert held == 3


def test_stream_socket(lab):
    """A monitor that connects by itself; the frame makes the port."""
    send = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\ns.settimeout(5)\n"
        "frame = bytes.fromhex('ffffffffffff525400000001' + '0800') + bytes(46)\n"
        "try:\n    s.sendall(len(frame).to_bytes(4, 'big') + frame)\n"
        "except BrokenPipeError:\n    pass\n"
        "print(flush=True)\nsys.stdin.read()\n"
    )

    def connect(user):
        process = user.start(
            "/usr/bin/python3", "-c", send, lan.directory / "stream", stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        process.stdout.readline()
        return process

    with started(lab, "lab", f"allow-user = {USER}\n") as lan:
        refused = connect(lab.user(OTHER))
        assert poll(lambda: f"denied to uid {OTHER}: attach ports" in lan.log())
        taken = connect(lab.user())
        assert poll(lambda: [port["user"] for port in attached(lan)] == [USER])
        for process in (refused, taken):
            process.stdin.close()
            process.wait(5)


def test_not_for_a_users_own_file(lab):
    user = lab.user()
    path = user.write_file("own", "allow-user = *\n")
    assert "for a network of the system" in user.refused("up", "own")
    os.unlink(path)
