# SPDX-License-Identifier: Apache-2.0
"""When networks start and end, who finds them, what they remember, and what is left of them."""

import contextlib
import json
import os
import pathlib
import random
import signal
import subprocess
import time

import pytest
from varlink import (
    GONE_TIMEOUT_S,
    POLL_S,
    Machine,
    poll,
    private_world,
)

SEED = 20
MACHINES = 8
ROUNDS = 3
CHURN_RUNS = 50
# Measured: 10 to 30 ms, of which most is the start of a process.
ENGINE_RESTART_S = 0.2
ADDRESSES = "start-address=192.168.90.1,end-address=192.168.90.3,subnet-mask=255.255.255.0"


@pytest.fixture
def world():
    with private_world() as world:
        yield world


def wait_for_time(when):
    """To the point, which a sleep is not: for moments at which something is killed."""
    while time.monotonic() < when:
        pass


def facts(port):
    return port.name.partition(".")[0], port.mac, str(port.ipv4.ip)


def status_facts(status):
    return [
        (port["name"], port["mac"], port["ipv4"].partition("/")[0]) for port in status["ports"]
    ]


# ---- start and end


def network_namespaces():
    """Inode numbers of those of all processes that this user may look at."""
    found = set()
    for entry in pathlib.Path("/proc").glob("[0-9]*/ns/net"):
        with contextlib.suppress(OSError):
            found.add(entry.stat().st_ino)
    return found


def test_network_starts_with_its_first_port_and_ends_with_its_last(world):
    assert world.names() == []
    first = world.machine()
    port = first.wait_port()
    assert port.network == "shared"
    processes = world.status()["processes"]
    assert all(processes.values())
    assert world.count("vmnetd") == 1
    inside = os.stat(f"/proc/{processes['router']}/ns/net").st_ino
    assert inside != os.stat("/proc/self/ns/net").st_ino

    second = world.machine()
    assert second.wait_port().network == "shared"
    status = world.status()
    assert len(status["ports"]) == 2
    assert status["processes"] == processes, "two machines on the default network share it"

    assert first.end() == 0
    assert poll(lambda: len(world.status()["ports"]) == 1, GONE_TIMEOUT_S, POLL_S)
    assert world.status()["processes"] == processes
    assert second.end() == 0
    world.wait_gone()
    assert inside not in network_namespaces()
    assert world.names() == []


def test_every_port_of_one_machine(world):
    nics = ["-nic", "vmnet-shared,network=a", "-nic", "vmnet-shared,network=b"]
    machine = world.machine("-name", "web", *nics, *nics)
    ports = machine.wait_ports(4)
    assert [port.network for port in ports] == ["a", "b", "a", "b"]
    assert len({port.mac for port in ports}) == 4
    assert world.names() == ["a", "b"]
    assert machine.end() == 0
    assert poll(lambda: world.names() == [], GONE_TIMEOUT_S)


def test_a_failed_attach_leaves_nothing(world):
    machine = world.on("a", "hostname=web")
    machine.wait_port()
    nics = ["-nic", "vmnet-shared,network=b", "-nic", "vmnet-shared,network=a,hostname=web"]
    result = world.cli("run", "qemu-system-x86_64", *nics)
    assert result.returncode == 1
    assert "the name 'web' is taken on network 'a' by tap0" in result.stderr
    assert poll(lambda: world.names() == ["a"], GONE_TIMEOUT_S)
    assert len(world.status("a")["ports"]) == 1


def test_simultaneous_starts_make_one_network(world):
    for _ in range(ROUNDS):
        machines = [world.machine() for _ in range(MACHINES)]
        ports = [machine.wait_port() for machine in machines]
        # Those that lost the race to be the network may still be ending.
        assert poll(lambda: world.count("vmnetd") == 1, GONE_TIMEOUT_S, POLL_S)
        assert world.count("vmnetd:engine") == world.count("vmnetd:router") == 1
        assert world.names() == ["shared"]
        for values in ([port.name for port in ports], [port.mac for port in ports]):
            assert len(set(values)) == MACHINES
        assert len({port.ipv4 for port in ports}) == MACHINES
        assert sorted(map(facts, ports)) == sorted(status_facts(world.status()))
        for machine in machines:
            machine.process.stdin.close()
        # The next round begins while this network ends.


def churn(world, runs, loops, and_then=lambda: None):
    """Quick runs, some side by side. Returns (exit status, standard error) of those that failed."""
    failures = []
    slots = [None] * loops
    started = 0
    deadline = time.monotonic() + 60
    while (started < runs or any(slots)) and time.monotonic() < deadline:
        for i, machine in enumerate(slots):
            if machine and machine.process.poll() is not None:
                if machine.process.returncode != 0:
                    failures.append((machine.process.returncode, machine.stderr))
                slots[i] = machine = None
            if not machine and started < runs:
                slots[i] = Machine(world)
                slots[i].process.stdin.close()
                started += 1
        and_then()
        time.sleep(POLL_S)
    assert not any(slots), "a run does not end"
    return failures


def test_starts_race_with_ends(world):
    assert churn(world, CHURN_RUNS, loops=2) == []
    world.wait_gone()


def test_lists_race_with_ends(world):
    """A network that ends while it is being listed is no reason to fail."""
    failures = []

    def look():
        for command in (["ls", "--json"], ["status", "--json"]):
            result = world.cli(*command)
            if result.returncode != 0:
                failures.append((command, result.returncode, result.stderr))
            else:
                json.loads(result.stdout)

    assert churn(world, CHURN_RUNS // 2, loops=1, and_then=look) == []
    assert failures == []


# ---- vmnet up and down


def test_lasting_network(world):
    result = world.cli("up", "lab")
    assert (result.returncode, result.stdout, result.stderr) == (0, "lab\n", "")
    assert [(each["name"], each["state"]) for each in world.json("ls")] == [("lab", "lasting")]
    result = world.cli("up", "lab")
    assert result.returncode == 1
    assert "network 'lab': runs already; vmnet down ends it" in result.stderr

    machine = world.on("lab")
    machine.wait_port()
    result = world.cli("down", "lab")
    assert result.returncode == 1
    assert "network 'lab': 1 port is attached: end the VMs first, or use --force" in result.stderr
    machine.end()
    assert poll(lambda: not world.status("lab")["ports"], GONE_TIMEOUT_S, POLL_S)
    result = world.cli("down", "lab")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert not world.run_dir("lab").exists(), "vmnet down waits for the end"
    world.wait_gone("lab")  # its last process ends behind that, with a sanitizer not at once
    result = world.cli("down", "lab")
    assert result.returncode == 1
    assert "network 'lab': does not run; vmnet ls lists" in result.stderr


def test_force_cuts_off(world):
    machine = world.machine()
    machine.wait_port()
    assert world.cli("down", "--force", "shared").returncode == 0
    assert world.is_gone()
    assert machine.process.poll() is None, "the machine goes on without its network"
    # A new network of the name does not care for the old one's port.
    other = world.machine()
    other.wait_port()
    assert len(world.status()["ports"]) == 1
    assert machine.end() == other.end() == 0


def test_up_makes_a_running_network_lasting(world):
    machine = world.machine()
    machine.wait_port()
    assert not world.status()["network"]["lasting"]
    result = world.cli("up", "shared")
    assert (result.returncode, result.stdout) == (0, "shared\n")
    assert world.cli("up", "shared").returncode == 1
    machine.end()
    assert poll(lambda: not world.status()["ports"], GONE_TIMEOUT_S, POLL_S)
    assert world.status()["network"]["lasting"]
    os.kill(world.status()["processes"]["engine"], signal.SIGKILL)
    with pytest.raises(TimeoutError):  # nothing ends it: all is answered, and nothing more comes
        with world.connect(timeout_s=1) as connection:
            assert connection.call("Describe")["network"]["lasting"]
            connection.receive()
    assert world.cli("down", "shared").returncode == 0


def test_down_while_another_starts_it_again(world):
    """It waits for the end of the network that it ended, not of the next one with that name."""
    assert world.cli("up", "lab").returncode == 0
    engine = world.status("lab")["processes"]["engine"]
    down = world.start([world.vmnet, "down", "lab"])
    assert poll(lambda: not os.path.exists(f"/proc/{engine}"), GONE_TIMEOUT_S, 0)
    down.send_signal(signal.SIGSTOP)  # between two looks
    try:
        world.on("lab").wait_port()
    finally:
        down.send_signal(signal.SIGCONT)
    try:
        assert down.wait(5) == 0
    except subprocess.TimeoutExpired:
        down.kill()
        down.wait()
        pytest.fail("vmnet down waits for the wrong network")
    assert world.names() == ["lab"]


def test_starts_race_with_down(world):
    """Who asks for a port gets it, from the network that was there or from the next one."""
    chance = random.Random(SEED)
    for _ in range(8):
        assert world.cli("up", "lab").returncode == 0
        down = world.start([world.vmnet, "down", "lab"], stderr=subprocess.DEVNULL)
        wait_for_time(time.monotonic() + chance.uniform(0, 0.03))
        machine = world.on("lab")
        machine.wait_port()
        down.kill()
        down.wait()
        machine.end()
        poll(lambda: world.cli("down", "lab").returncode == 0 or world.is_gone("lab"), 5)
        world.wait_gone("lab")


def test_addresses_make_the_name(world):
    addresses = ["--start-address", "192.168.90.1", "--end-address", "192.168.90.99"]
    result = world.cli("up", *addresses, "--subnet-mask", "255.255.255.0")
    assert (result.returncode, result.stdout) == (0, "shared-192.168.90.1-192.168.90.99-24\n")
    name = result.stdout.strip()
    network = world.status(name)["network"]
    assert network["subnet"] == "192.168.90.0/24"
    assert network["gateway"] == "192.168.90.1"
    assert (network["poolStart"], network["poolEnd"]) == ("192.168.90.2", "192.168.90.99")
    machine = world.machine(
        "-nic",
        "vmnet-shared,start-address=192.168.90.1,end-address=192.168.90.99,"
        "subnet-mask=255.255.255.0",
    )
    assert machine.wait_port().network == name
    machine.end()
    assert poll(lambda: not world.status(name)["ports"], GONE_TIMEOUT_S, POLL_S)
    assert world.cli("down", name).returncode == 0


def test_one_name_has_one_pair_of_addresses(world):
    machine = world.on("lab", ADDRESSES)
    machine.wait_port()
    other = ADDRESSES.replace("192.168.90", "192.168.91")
    result = world.cli("run", "qemu-system-x86_64", "-nic", f"vmnet-shared,network=lab,{other}")
    assert result.returncode == 1
    assert "runs with addresses 192.168.90.1 to 192.168.90.3, not 192.168.91.1" in result.stderr
    assert "give this one another name" in result.stderr


# ---- ls and status


def test_listings_agree(world):
    assert world.json("ls") == world.json("status") == []
    assert world.cli("status").stdout == "no network runs\n"
    machines = [world.on("b", "hostname=web"), world.on("a"), world.on("a")]
    for machine in machines:
        machine.wait_port()
    networks = world.json("ls")
    states = world.json("status")
    assert [network["name"] for network in networks] == ["a", "b"]
    assert [{**state["network"], "state": "running"} for state in states] == networks
    assert [network["ports"] for network in networks] == [2, 1]
    one = world.json("status", "a")
    assert {key: one[key] for key in ("network", "ports", "processes")} == {
        key: states[0][key] for key in ("network", "ports", "processes")
    }
    table = world.cli("ls").stdout.splitlines()
    assert table[0].split() == ["NAME", "MODE", "SUBNET", "IPV6-PREFIX", "PORTS", "STATE", "SYSTEM"]
    for line, network in zip(table[1:], networks, strict=True):
        prefix6 = network["ipv6Prefix"] or "-"
        expected = [network["name"], "shared", network["subnet"], prefix6, str(network["ports"])]
        assert line.split() == [*expected, "running", "no"]
    text = world.cli("status", "b").stdout
    port = states[1]["ports"][0]
    for value in ("network b", port["interface"], port["mac"], port["ipv4"], "web"):
        assert value in text


# ---- what is remembered


def test_same_name_same_address(world):
    before = []
    for name in ("one", "two"):
        before.append(facts(world.on("lab", f"hostname={name}").wait_port()))
    world.stack.close()
    world.wait_gone("lab")
    # In the other order, and with the default names in between.
    other = facts(world.on("lab").wait_port())
    after = [facts(world.on("lab", f"hostname={name}").wait_port()) for name in ("two", "one")]
    assert after == before[::-1]
    assert other not in before


def test_given_mac_is_kept(world):
    mac = "52:54:00:12:ab:cd"
    first = world.on("lab", f"mac={mac}", "hostname=one").wait_port()
    assert first.mac == mac
    result = world.cli(
        "run", "qemu-system-x86_64", "-nic", f"vmnet-shared,network=lab,mac={mac},hostname=two"
    )
    assert result.returncode == 1
    assert f"MAC {mac} is in use by 'one' on network 'lab'; 'two' needs another" in result.stderr
    world.stack.close()
    world.wait_gone("lab")
    world.on("lab").wait_port()
    again = world.on("lab", f"mac={mac}", "hostname=two").wait_port()
    assert (again.mac, again.ipv4) == (mac, first.ipv4), "the address belongs to the MAC"


def test_interface_id_is_the_mac(world):
    uuid = "8a2c5f10-0d3b-4c7e-9a51-6f1e2d3c4b5a"
    macs = set()
    for network in ("a", "b"):
        macs.add(world.on(network, f"interface-id={uuid}").wait_port().mac)
    assert len(macs) == 1
    result = world.cli(
        "run", "qemu-system-x86_64", "-nic", f"vmnet-shared,network=a,interface-id={uuid}"
    )
    assert result.returncode == 1
    assert f"interface-id {uuid} is in use by 'vm1' on network 'a'" in result.stderr


def test_state_that_cannot_be_written(world):
    """It is said, and the network works. A file in its place stops root, too."""
    (world.directory / "file").touch()
    world.environment["XDG_STATE_HOME"] = str(world.directory / "file")
    machine = world.machine()
    assert machine.wait_port().ipv4
    for said in machine.stderr, world.log():
        assert f"cannot write to the state directory {world.directory}/file/openvmnet/shared" in said
        assert "set XDG_STATE_HOME" in said
        assert "the network works, but its addresses may change" in said


@pytest.mark.parametrize("content", ["", "{", "[]", '{"subnet": 5}', "[1, {}, null]", "\0\xff"])
def test_state_that_is_damaged(world, content):
    state = world.state / "openvmnet" / "shared"
    state.mkdir(parents=True, mode=0o700)
    for name in ("network.json", "leases.json"):
        (state / name).write_bytes(content.encode("latin-1"))
    port = world.machine().wait_port()
    assert port.ipv4

    def remembered():  # it is written after the machine has its port
        with contextlib.suppress(ValueError, LookupError, TypeError):
            return json.loads((state / "leases.json").read_text())[0]["mac"]

    assert poll(lambda: remembered() == port.mac, GONE_TIMEOUT_S)


@pytest.mark.parametrize("subnet", ["8.8.8.0", "192.168.64.77", "192.168.10.0"])
def test_remembered_subnet_that_cannot_be(world, subnet):
    """Not one that vmnetd would have chosen: it chooses again."""
    state = world.state / "openvmnet" / "shared"
    state.mkdir(parents=True, mode=0o700)
    (state / "network.json").write_text(json.dumps({"subnet": subnet, "prefixLength": 24}))
    port = world.machine().wait_port()
    assert str(port.ipv4.network) != f"{subnet}/24"
    remembered = json.loads((state / "network.json").read_text())
    assert str(port.ipv4.network) == f"{remembered['subnet']}/{remembered['prefixLength']}"
    assert remembered["subnet"].startswith("192.168.") and remembered["subnet"].endswith(".0")


def test_pool_that_is_used_up(world):
    machines = [world.on("small", ADDRESSES, f"hostname={name}") for name in ("one", "two")]
    ports = [machine.wait_port() for machine in machines]
    assert {str(port.ipv4.ip) for port in ports} == {"192.168.90.2", "192.168.90.3"}
    nic = f"vmnet-shared,network=small,hostname=three,{ADDRESSES}"
    result = world.cli("run", "qemu-system-x86_64", "-nic", nic)
    assert result.returncode == 1
    assert "the address pool 192.168.90.2 to 192.168.90.3 is used up (2 ports" in result.stderr
    assert "end a VM, or use a network with a larger pool" in result.stderr
    machines[0].end()
    assert poll(lambda: len(world.status("small")["ports"]) == 1, GONE_TIMEOUT_S, POLL_S)
    third = world.on("small", ADDRESSES, "hostname=three").wait_port()
    assert third.ipv4 == ports[0].ipv4


# ---- what is killed


def test_machine_is_killed(world):
    machine = world.machine()
    machine.wait_port()
    machine.kill()
    world.wait_gone()
    world.machine().wait_port()


def test_machine_is_started_again_at_once(world):
    """Its own port of before, whose end is not known yet, is not in its way."""
    world.machine("-name", "other").wait_port()
    first = world.machine("-name", "web")
    port = first.wait_port()
    router = world.status()["processes"]["router"]
    os.kill(router, signal.SIGSTOP)
    try:
        first.end()
        second = world.machine("-name", "web")
        wait_for_time(time.monotonic() + 0.05)  # in which it has asked
    finally:
        os.kill(router, signal.SIGCONT)
    assert facts(second.wait_port()) == facts(port)


def test_run_is_killed_at_any_time(world):
    """From before the network's start to after the monitor's, several networks side by side."""
    chance = random.Random(SEED)
    for _ in range(10):
        due = []
        for name in "abcd":
            machine = world.on(name)
            due.append((time.monotonic() + chance.uniform(0, 0.12), machine))
        for when, machine in sorted(due, key=lambda pair: pair[0]):
            wait_for_time(when)
            machine.kill()
    # Those that were started for a port that never came wait for one for 5 s.
    assert poll(lambda: not world.service_processes(), GONE_TIMEOUT_S)
    assert world.leftovers() == []
    for name in "abcd":
        world.on(name).wait_port()


ROLES = ("parent", "engine", "router", "dnsmasq")


@pytest.mark.parametrize("role", ROLES[1:])
def test_process_is_killed(world, role):
    """What is not the parent is started again, and the ports stay."""
    machine = world.machine("-name", "web")
    port = machine.wait_port()
    before = world.status()
    os.kill(before["processes"][role], signal.SIGKILL)

    def is_back():
        with contextlib.suppress(OSError):
            old, new = before["processes"], world.status()["processes"]
            # With the router goes its child.
            expected = ["router", "dnsmasq"] if role == "router" else [role]
            changed = [each for each in ROLES if new[each] != old[each]]
            return changed == expected and all(new.values())
        return False

    assert poll(is_back, GONE_TIMEOUT_S, POLL_S), world.log()
    after = world.status()
    assert after["network"] == before["network"]
    assert after["ports"] == before["ports"]
    assert status_facts(after) == [facts(port)]
    second = world.machine()
    assert second.wait_port().ipv4 != port.ipv4
    assert second.end() == machine.end() == 0
    world.wait_gone()
    assert facts(world.machine("-name", "web").wait_port()) == facts(port)


def test_parent_is_killed(world):
    """Then the network ends at once, although a machine holds a port."""
    machine = world.machine()
    machine.wait_port()
    os.kill(world.status()["processes"]["parent"], signal.SIGKILL)
    world.wait_gone()
    assert machine.process.poll() is None
    other = world.machine()
    other.wait_port()
    assert len(world.status()["ports"]) == 1
    assert machine.end() == other.end() == 0
    world.wait_gone()


@pytest.mark.parametrize("machine_first", [True, False])
def test_all_processes_are_killed(world, machine_first):
    """Nobody is left to remove the directory. It is no network, and no obstacle to the next one."""
    machine = world.machine("-name", "web")
    port = machine.wait_port()
    pids = world.status()["processes"].values()
    if machine_first:
        machine.kill()
    # The parent first: it would start the others again.
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert poll(lambda: not world.service_processes(), GONE_TIMEOUT_S, POLL_S)
    assert world.names() == []
    result = world.cli("status", "shared")
    assert (result.returncode, "does not run" in result.stderr) == (1, True)
    assert world.cli("down", "shared").returncode == 1
    assert facts(world.machine("-name", "web").wait_port()) == facts(port)
    assert world.names() == ["shared"]


def wait_call(world, method, timeout_s):
    """(reply, seconds) of a call that is tried until there is somebody to answer."""
    started = time.monotonic()
    while True:
        try:
            with world.connect() as connection:
                reply = connection.call(method)
            return reply, time.monotonic() - started
        except OSError:
            assert time.monotonic() - started < timeout_s, world.log()


def test_engine_is_back_at_once(world):
    ports = [world.machine("-name", name).wait_port() for name in ("one", "two", "three")]
    expected = sorted(map(facts, ports))
    best_s = 1
    for _ in range(3):
        os.kill(world.status()["processes"]["engine"], signal.SIGKILL)
        status, seconds = wait_call(world, "Status", 5)
        while sorted(status_facts(status)) != expected:
            status, more_s = wait_call(world, "Status", 5)
            seconds += more_s
            assert seconds < 5, status
        best_s = min(best_s, seconds)
    assert best_s < ENGINE_RESTART_S


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return {int(text) for text in file.read().split()}
    except OSError:
        return set()


def is_running(world, role):
    """True where the engine knows the present process of a role."""
    processes = world.status()["processes"]
    return processes[role] in children(processes["parent"])


@pytest.mark.parametrize("role", ["engine", "router"])
def test_process_is_killed_while_it_starts(world, role):
    """As when memory is short: the one that starts is killed, too, and again."""
    port = world.machine("-name", "web").wait_port()
    chance = random.Random(SEED)
    for _ in range(6):
        assert poll(lambda: is_running(world, role), 4, POLL_S)
        processes = world.status()["processes"]
        known = children(processes["parent"])
        os.kill(processes[role], signal.SIGKILL)
        assert poll(lambda: children(processes["parent"]) - known, 2, 0)
        delay_s = chance.uniform(0, 0.01)
        for pid in children(processes["parent"]) - known:
            wait_for_time(time.monotonic() + delay_s)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        status, _ = wait_call(world, "Status", 4)
        assert poll(lambda: status_facts(world.status()) == [facts(port)], 4, POLL_S)


def test_engine_is_killed_while_ports_are_attached(world):
    """Who asks for a port asks again, and gets it."""
    chance = random.Random(SEED)
    stays = world.machine().wait_port()
    for _ in range(4):
        engine = world.status()["processes"]["engine"]
        machines = [world.machine("-name", f"web{i}") for i in range(4)]
        wait_for_time(time.monotonic() + chance.uniform(0, 0.05))
        os.kill(engine, signal.SIGKILL)
        ports = [machine.wait_port() for machine in machines]
        expected = sorted(map(facts, [stays, *ports]))
        assert poll(lambda: sorted(status_facts(world.status())) == expected, 5, POLL_S)
        for machine in machines:
            machine.end()
        assert poll(lambda: len(world.status()["ports"]) == 1, GONE_TIMEOUT_S, POLL_S)
