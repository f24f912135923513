# SPDX-License-Identifier: Apache-2.0
"""What is said when something is in the way: the thing, the reason, and the way out. Exit codes.

Nothing on the host is changed for it: what has to be missing is hidden in namespaces of the one
process that is to miss it.
"""

import ctypes
import os
import pathlib
import stat
import struct

import pytest
from varlink import GONE_TIMEOUT_S, MONITOR, POLL_S, Varlink, poll, private_world

DONE, FAILED, USAGE = 0, 1, 2
ROOT = os.geteuid() == 0
OTHER_UID = 65533

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 0x1, 0x20, 0x1000, 0x4000, 0x40000
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO = 0x7FFF0000, 0x00050000
EPERM = 1
UNSHARE_NUMBERS = {"x86_64": 272, "aarch64": 97}

libc = ctypes.CDLL(None, use_errno=True)

only_root = pytest.mark.skipif(not ROOT, reason="needs root")
only_user = pytest.mark.skipif(ROOT, reason="is about ordinary users")


@pytest.fixture
def world():
    with private_world() as world:
        yield world


def refused(result, code, *texts):
    """Checks the exit code and that each text is in what was said, which is one line."""
    __tracebackhide__ = True
    assert result.returncode == code, result
    assert result.stdout == ""
    said = [line for line in result.stderr.splitlines() if line]
    assert len(said) == 1 and said[0].startswith("vmnet: "), result.stderr
    for text in texts:
        assert text in said[0]


def run(world, preexec=None, monitor=MONITOR):
    return world.cli("run", monitor, "-nic", "vmnet-shared", preexec=preexec)


# ---- what is done to a process before it becomes vmnet


def check(result, what):
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def mount(source, target, kind, flags):
    arguments = [text and str(text).encode() for text in (source, target, kind)]
    check(libc.mount(*arguments, ctypes.c_ulong(flags), None), f"mount {target}")


def own_user_namespace(flags=0):
    """As an ordinary user, with all rights there until the next program."""
    uid, gid = os.geteuid(), os.getegid()
    check(libc.unshare(CLONE_NEWUSER | flags), "unshare")
    pathlib.Path("/proc/self/setgroups").write_text("deny")
    pathlib.Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    pathlib.Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")


def hidden(*mounts):
    """A preexec that mounts (source, target, kind) in a mount namespace of its own."""

    def prepare():
        if ROOT:
            check(libc.unshare(CLONE_NEWNS), "unshare")
        else:
            own_user_namespace(CLONE_NEWNS)
        mount("none", "/", None, MS_REC | MS_PRIVATE)
        for source, target, kind in mounts:
            mount(source, target, kind, 0 if kind else MS_BIND)

    return prepare


def read_only_settings():
    hidden(("/proc/sys", "/proc/sys", None))()
    mount("none", "/proc/sys", None, MS_REMOUNT | MS_BIND | MS_RDONLY)


def no_user_namespaces():
    own_user_namespace()
    pathlib.Path("/proc/sys/user/max_user_namespaces").write_text("0")


def no_unshare():
    """A seccomp filter as container engines have one: unshare() is refused."""
    number = UNSHARE_NUMBERS[os.uname().machine]
    program = [
        (0x20, 0, 0, 0),  # load the system call's number
        (0x15, 0, 1, number),  # equal: the next one, else the one after
        (0x06, 0, 0, SECCOMP_RET_ERRNO | EPERM),
        (0x06, 0, 0, SECCOMP_RET_ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in program))
    header = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    check(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header, 0, 0), "seccomp")


knows_unshare = pytest.mark.skipif(
    os.uname().machine not in UNSHARE_NUMBERS, reason="unshare's number is not known here"
)

# ---- what the system does not allow or does not have


@only_user
def test_user_namespaces_are_off(world):
    refused(
        run(world, preexec=no_user_namespaces),
        FAILED,
        "run: network 'shared': cannot make a user namespace",
        "user.max_user_namespaces is 0",
        "sysctl -w user.max_user_namespaces=15000",
    )


@only_user
@knows_unshare
def test_seccomp_for_a_user(world):
    refused(
        run(world, preexec=no_unshare),
        FAILED,
        "cannot make a user namespace",
        "a seccomp filter refuses it (Operation not permitted)",
        "--security-opt seccomp=unconfined",
    )


@only_root
@knows_unshare
def test_seccomp_for_root(world):
    refused(
        run(world, preexec=no_unshare),
        FAILED,
        "cannot make a network namespace: Operation not permitted",
        "run vmnet as an ordinary user",
    )


def test_tun_device_is_missing(world):
    empty = world.directory / "empty"
    empty.mkdir()
    refused(
        run(world, preexec=hidden((empty, "/dev/net", None))),
        FAILED,
        "network 'shared': /dev/net/tun: No such file or directory",
        "modprobe tun",
        "--device /dev/net/tun",
    )


@only_root
def test_tun_module_is_missing(world):
    """A device node that no driver is behind."""
    node = world.directory / "tun"
    os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(10, 251))
    refused(
        run(world, preexec=hidden((node, "/dev/net/tun", None))),
        FAILED,
        "network 'shared': /dev/net/tun: ",
        "modprobe tun",
    )


@only_user
def test_tun_device_is_closed(world):
    """Any file will do that may not be opened."""
    closed = world.directory / "closed"
    closed.mkdir()
    (closed / "tun").touch(mode=0)
    refused(
        run(world, preexec=hidden((closed, "/dev/net", None))),
        FAILED,
        f"network 'shared': /dev/net/tun: closed to uid {os.geteuid()} (Permission denied)",
        "chmod 0666 /dev/net/tun",
    )


def test_settings_are_read_only(world):
    refused(
        run(world, preexec=read_only_settings),
        FAILED,
        "network 'shared': /proc/sys/net/ipv4/ip_forward: Read-only file system",
        "/proc/sys is mounted read-only, as container engines do: start the container with it wri",
    )


def dnsmasq_paths():
    directories = [*os.environ["PATH"].split(":"), "/usr/local/sbin", "/usr/sbin", "/sbin"]
    paths = [os.path.join(directory, "dnsmasq") for directory in directories]
    # os.path.exists: a directory that is closed to us counts as one without it.
    return {pathlib.Path(path).resolve() for path in paths if os.path.exists(path)}


def test_dnsmasq_is_missing(world):
    paths = dnsmasq_paths()
    assert paths
    refused(
        run(world, preexec=hidden(*[("/dev/null", path, None) for path in paths])),
        FAILED,
        "network 'shared': dnsmasq: not found in PATH or the sbin directories",
        "apt install dnsmasq-base",
        "dnf install dnsmasq",
    )


def test_dnsmasq_cannot_be_executed(world):
    plain = world.directory / "plain"
    plain.touch(mode=0o644)
    mounts = [(plain, path, None) for path in dnsmasq_paths()]
    refused(run(world, preexec=hidden(*mounts)), FAILED, "dnsmasq: not found in PATH")


def test_dnsmasq_is_found_beside_the_path(world):
    """An ordinary user's PATH lacks the sbin directories."""
    world.environment["PATH"] = f"{world.directory}/bin:/usr/bin:/bin"
    assert world.machine().wait_port()


# ---- the command


def test_qemu_is_missing(world):
    world.environment["PATH"] = str(world.directory / "empty")
    refused(
        run(world, monitor="qemu-system-aarch64"),
        FAILED,
        "qemu-system-aarch64: not found in PATH",
        "apt install qemu-system",
        "dnf install",
        "brew install qemu",
    )


def test_command_is_missing(world):
    closed = world.directory / "closed"
    closed.mkdir(mode=0)
    world.environment["PATH"] += f":{closed}"  # says nothing of what is in it
    refused(run(world, monitor="no-such-vmm"), FAILED, "no-such-vmm: not found in PATH; check the")
    refused(run(world, monitor="/no/such/vmm"), FAILED, "/no/such/vmm: not found; check the name")
    refused(run(world, monitor=""), FAILED, "not found")
    # Without a network option too: that is QEMU's privilege.
    refused(world.cli("run", "true"), USAGE, "'true': no vmnet", "such as '-nic vmnet-shared'")


def test_command_cannot_be_executed(world):
    path = world.directory / "bin" / "vmm"
    path.touch(mode=0o644)
    for name in ("vmm", path, world.directory):
        refused(run(world, monitor=str(name)), FAILED, f"{name}: found, but it is not a program")
    assert not world.run_dir().exists()


def test_command_without_its_interpreter(world):
    """It is there and executable, and yet the kernel cannot run it: the port goes again."""
    path = world.directory / "bin" / MONITOR
    path.write_text("#!/no/such/interpreter\n")
    # Else the search goes on, to a real one.
    world.environment["PATH"] = str(path.parent)
    result = run(world)
    assert result.returncode == FAILED
    assert f"vmnet: {MONITOR}: cannot be run: No such file or directory" in result.stderr
    world.wait_gone()


def test_vmnetd_is_missing(world):
    """A vmnet by itself; as a link it would find the real one's neighbour."""
    lonely = world.directory / "vmnet"
    lonely.write_bytes(world.vmnet.read_bytes())
    lonely.chmod(0o755)
    world.vmnet = lonely
    refused(run(world), FAILED, "vmnetd: not found beside this program, in PATH or in ")


def test_command_that_is_a_program_is_missing(world):
    lonely = world.directory / "vmnet"
    lonely.write_bytes(world.vmnet.read_bytes())
    lonely.chmod(0o755)
    world.vmnet = lonely
    refused(
        world.cli("capture", "net"),
        FAILED,
        "vmnet: capture: ",
        "/openvmnet/vmnet-capture: No such file or directory; is openvmnet installed as a whole?",
    )
    assert world.cli("capture", "--help").returncode == 0


# ---- usage


@pytest.mark.parametrize(
    ("nic", "texts"),
    [
        ("vmnet-fancy", ["vmnet-fancy", "vmnet-shared"]),
        ("vmnet-macos,mode=wild", ["unknown mode 'wild'", "mode=shared"]),
        ("vmnet-host,ifname=eth0", ["'ifname' does not belong to vmnet-host", "vmnet-bridged"]),
        ("vmnet-shared,isolated=maybe", ["isolated=maybe is neither on nor off"]),
        ("vmnet-shared,mtu=100", ["mtu=100 is not a number of bytes from 1280 to 65520"]),
        ("vmnet-shared,forward=tcp::22", ["forward=tcp::22"]),
        ("vmnet-shared,network=../x", ["'../x' does not start with a letter or digit"]),
        ("vmnet-shared,network=" + "n" * 42, ["has 42 characters: write one of at most 41"]),
        ("vmnet-shared,hostname=a.b", ["host name 'a.b' has a character that is not allowed"]),
        ("vmnet-shared,interface-id=5", ["'5' is not a UUID", "uuidgen"]),
        ("vmnet-shared,mac=52:54", ["52:54"]),
        ("vmnet-shared,start-address=192.168.70.1", ["together", "end-address is missing"]),
        (
            "vmnet-shared,start-address=192.168.70.256,end-address=192.168.70.9,"
            "subnet-mask=255.255.255.0",
            ["start-address=192.168.70.256 is not an IPv4 address", "such as 192.168.70.1"],
        ),
        (
            "vmnet-shared,start-address=8.8.8.8,end-address=8.8.8.9,subnet-mask=255.255.255.0",
            ["start-address=8.8.8.8 is not a private address (RFC 1918)", "10.0.0.0/8"],
        ),
        (
            "vmnet-shared,start-address=192.168.70.9,end-address=192.168.70.1,"
            "subnet-mask=255.255.255.0",
            ["end-address=192.168.70.1 is not above start-address=192.168.70.9"],
        ),
        (
            "vmnet-shared,start-address=192.168.70.1,end-address=192.168.70.9,"
            "subnet-mask=255.0.255.0",
            ["subnet-mask=255.0.255.0 is not a mask", "such as 255.255.255.0"],
        ),
        (
            "vmnet-shared,start-address=192.168.70.1,end-address=192.168.71.9,"
            "subnet-mask=255.255.255.0",
            ["end-address=192.168.71.9 is not in the subnet"],
        ),
    ],
)
def test_wrong_network_options(world, nic, texts):
    """Nothing is tried: no network is started, not even that of a NIC before."""
    result = world.cli("run", MONITOR, "-nic", "vmnet-shared", "-nic", nic)
    refused(result, USAGE, *texts)
    assert not (world.runtime / "openvmnet").exists()


@pytest.mark.parametrize(
    "nic", ["vmnet-bridged", "vmnet-bridged,ifname=eth0", "vmnet-macos,mode=bridge"]
)
def test_bridged_needs_rights(world, nic):
    """Nothing is wrong with the option: it is the user who cannot have it."""
    refused(world.cli("run", MONITOR, "-nic", nic), FAILED, "mode=bridged", "rights")
    refused(world.cli("up", "--mode", "bridged"), FAILED, "up: network 'bridged': mode=bridged", "rights")
    assert not (world.runtime / "openvmnet").exists()


def test_network_of_qemus_own_beside(world):
    """Who puts `vmnet run` before a command seldom means a second network: it is told."""
    for netdev, told in (("user,id=u", True), ("vmnet-shared,id=u", False)):
        machine = world.machine("-netdev", netdev)
        machine.wait_port()
        assert machine.end() == 0
        said = [line for line in machine.stderr.splitlines() if "write vmnet-shared" in line]
        assert len(said) == told
        assert not told or said[0].startswith("vmnet: run: 'user,id=u' in the command stays")
    machine = world.machine("-net", "nic", "-net", "user")
    machine.wait_port()
    assert machine.end() == 0
    assert "write '-nic vmnet-shared' in place of '-net nic' and '-net user'" in machine.stderr


def test_wrong_netdev(world):
    """A netdev has no device beside it that could know what the network does not."""
    device = ["-device", "virtio-net-pci,netdev=n0"]
    for netdev, texts in (
        ("vmnet-shared,id=n0,colour=red", ["colour"]),
        ("vmnet-shared", ["id="]),
        ('{"type":"vmnet-shared","id":"n0","colour":"red"}', ["colour"]),
        ('{"type":"vmnet-shared",', ["JSON"]),
    ):
        refused(world.cli("run", MONITOR, "-netdev", netdev, *device), USAGE, *texts)
    assert not (world.runtime / "openvmnet").exists()


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["fly"], ["fly: no such command", "vmnet --help"]),
        (["--fly"], ["--fly: no such command"]),
        (["run"], ["run: too few arguments", "vmnet run [OPTIONS] [--] COMMAND..."]),
        (["run", "--fly", "true"], ["run: option '--fly' is unknown", "vmnet help run"]),
        (["run", "--network"], ["run: option '--network' needs a value"]),
        (["run", "--network", ".", "true"], ["run: --network: network name '.'"]),
        (["run", "--name", "a b", "true"], ["run: --name: host name 'a b'"]),
        (["up"], ["up: no network given", "vmnet up shared"]),
        (["up", "a", "b"], ["up: unexpected argument 'b'"]),
        (["up", "a/b"], ["up: network name 'a/b' has a character that is not allowed"]),
        (["run", "--way", "veth", "true"], ["run: --way: 'veth'", "tap, stream or dgram"]),
        (["run", "true", "{tap}"], ["'{tap}' in the command", "{fd}", "{socket}"]),
        (["run", "true", "{fd}{socket}"], ["two ways to port 1", "{socket2}"]),
        (["run", "--nic", "a=b", "true", "{fd}"], ["--nic 'a=b'", "unknown option 'a'"]),
        (["run", "--forward", "x", MONITOR], ["--forward 'x'"]),
        (["up", "--mode", "wild"], ["up: --mode 'wild'", "unknown mode 'wild'"]),
        (["up", "lab", "--mtu", "100"], ["up: --mtu '100'", "1280"]),
        (["up", "lab", "--workers", "9"], ["up: --workers '9'", "from 1 to 8"]),
        (["up", "lab", "--ifname", "eth0"], ["ifname=eth0 is set in mode=shared"]),
        (["up", "lab", "--start-address", "192.168.70.1"], ["provided together", "is missing"]),
        (["up", "lab", "--end-address", "::1"], ["end-address=::1 is an IPv6 address"]),
        (["down"], ["down: too few arguments"]),
        (["down", "a", "b"], ["down: unexpected argument 'b'"]),
        (["down", "a b"], ["down: network name 'a b'"]),
        (["ls", "a"], ["ls: unexpected argument 'a'"]),
        (["ls", "--json=5"], ["ls: option '--json=5'"]),
        (["status", "-x"], ["status: option '-x' is unknown"]),
        (["status", ""], ["status: network name is empty"]),
        (["help", "fly"], ["help: fly: no such command"]),
    ],
)
def test_wrong_usage(world, arguments, texts):
    refused(world.cli(*arguments), USAGE, *texts)
    assert not (world.runtime / "openvmnet").exists()


@pytest.mark.parametrize("command", ["down", "status", "metrics"])
def test_network_that_does_not_run(world, command):
    refused(world.cli(command, "lab"), FAILED, f"{command}: network 'lab': does not run; vmnet ls")


COMMANDS = ("run", "up", "down", "ls", "status", "top", "metrics", "interfaces", "help")


def test_help(world):
    result = world.cli()
    assert (result.returncode, result.stdout) == (USAGE, "")
    usage = result.stderr
    for arguments in (["--help"], ["-h"], ["help"]):
        result = world.cli(*arguments)
        assert (result.returncode, result.stdout, result.stderr) == (DONE, usage, "")
    for command in COMMANDS:
        assert f"\n  {command} " in usage
        result = world.cli(command, "--help")
        assert (result.returncode, result.stderr) == (DONE, "")
        assert result.stdout.startswith(f"Usage: vmnet {command} ")
        assert result.stdout == world.cli("help", command).stdout
        assert max(map(len, result.stdout.splitlines())) <= 80
    assert max(map(len, usage.splitlines())) <= 80


def test_version(world):
    result = world.cli("--version")
    assert (result.returncode, result.stderr) == (DONE, "")
    name, project, version = result.stdout.split()
    assert (name, project) == ("vmnet", "(openvmnet)")
    assert version[0].isdigit()


def test_output_that_cannot_be_written(world):
    def full():
        os.dup2(os.open("/dev/full", os.O_WRONLY), 1)

    result = world.cli("--help", preexec=full)
    assert result.returncode == FAILED
    assert "standard output: No space left on device" in result.stderr


# ---- directories


def test_runtime_path_is_too_long(world):
    long = world.directory / ("d" * 80)
    long.mkdir(mode=0o700)
    world.environment["XDG_RUNTIME_DIR"] = str(long)
    path = f"{long}/openvmnet/shared/control"
    for result in (run(world), world.cli("up", "shared"), world.cli("status", "shared")):
        refused(
            result,
            FAILED,
            path,
            f"may have 107 bytes and this one has {len(path)}",
            "set XDG_RUNTIME_DIR to a shorter directory",
        )
    assert list(long.iterdir()) == []


def test_runtime_directory_cannot_be_made(world):
    """A file in its place stops root, too."""
    (world.directory / "file").touch()
    world.environment["XDG_RUNTIME_DIR"] = str(world.directory / "file")
    for result in (run(world), world.cli("up", "shared")):
        refused(
            result,
            FAILED,
            f"cannot make the runtime directory {world.directory}/file/openvmnet: Not a directory",
            "set XDG_RUNTIME_DIR to a directory that you can write to",
        )


@only_user
def test_runtime_directory_is_closed(world):
    world.runtime.chmod(0o500)
    refused(
        run(world),
        FAILED,
        f"cannot make the runtime directory {world.runtime}/openvmnet: Permission denied",
        "set XDG_RUNTIME_DIR",
    )
    world.runtime.chmod(0o700)


@pytest.mark.parametrize("mode", [0o770, 0o777, 0o702])
def test_runtime_directory_is_open_to_others(world, mode):
    directory = world.runtime / "openvmnet"
    directory.mkdir()
    directory.chmod(mode)
    refused(
        run(world),
        FAILED,
        f"{directory}: must be a directory that belongs to uid {os.geteuid()} and that nobody else",
        "remove it, or set XDG_RUNTIME_DIR",
    )
    assert list(directory.iterdir()) == []


def test_runtime_directory_is_a_link(world):
    target = world.directory / "target"
    target.mkdir(mode=0o700)
    (world.runtime / "openvmnet").symlink_to(target)
    refused(run(world), FAILED, f"{world.runtime}/openvmnet: must be a directory that belongs to")
    assert list(target.iterdir()) == []
    (world.runtime / "openvmnet").unlink()


@only_root
def test_runtime_directory_is_somebody_elses(world):
    directory = world.runtime / "openvmnet"
    directory.mkdir(mode=0o700)
    os.chown(directory, OTHER_UID, OTHER_UID)
    refused(run(world), FAILED, f"{directory}: must be a directory that belongs to uid 0")


def test_network_that_somebody_else_pretends(world):
    """A socket in a directory that others can write to is not spoken to, whatever it answers."""
    with private_world() as theirs:
        machine = theirs.machine()
        machine.wait_port()
        (theirs.runtime / "openvmnet").chmod(0o777)
        world.environment["XDG_RUNTIME_DIR"] = str(theirs.runtime)
        for result in (run(world), world.cli("up", "shared"), world.cli("down", "shared")):
            refused(result, FAILED, f"{theirs.runtime}/openvmnet: must be a directory that")
        for result in (world.cli("ls"), world.cli("status")):
            assert result.returncode == FAILED
        assert len(theirs.status()["ports"]) == 1
        (theirs.runtime / "openvmnet").chmod(0o700)


def test_network_directory_is_in_the_way(world):
    (world.runtime / "openvmnet").mkdir(mode=0o700)
    path = world.runtime / "openvmnet" / "shared"
    path.touch()
    try:
        refused(run(world), FAILED, f"network 'shared': {path}: Not a directory")
    finally:
        path.unlink()


def test_network_that_does_not_answer(world):
    """A stopped engine keeps nobody who has a bound, and is what it was when it goes on."""
    machine = world.machine()
    machine.wait_port()
    engine = world.status()["processes"]["engine"]
    os.kill(engine, 19)
    try:
        with Varlink(world.run_dir() / "control", timeout_s=0.5) as connection:
            connection.send("Describe")
            with pytest.raises(TimeoutError):
                connection.receive()
    finally:
        os.kill(engine, 18)
    assert poll(lambda: len(world.status()["ports"]) == 1, GONE_TIMEOUT_S, POLL_S)
