# SPDX-License-Identifier: Apache-2.0
"""A laboratory for networks: a host, the world outside it, and guests. All of it in namespaces.

    guest eth0 == tapguest == port of a network == vmnetd on `host` -- veth -- `remote`
                                                   198.51.100.1        198.51.100.2, .3
                                                   2001:db8:1::1       2001:db8:1::2, ::3

Every default route of the host leads to the remote, which routes nothing: no packet leaves the machine.
As root the namespaces are network and mount namespaces; as an ordinary user they are in a user namespace
of the laboratory's, and vmnetd runs in it with no capability at all.

Sockets of a namespace are opened by its holder process (holder.py) and used right here, so a test is
one program: `guest.connect(...)`, `remote.listen(...)`. Every wait has a bound.
"""

import array
import contextlib
import ctypes
import difflib
import fcntl
import hashlib
import ipaddress
import json
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ.get("OPENVMNET_BUILD", HERE.parent.parent / "build"))
PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable

HOST4, REMOTE4, REMOTE4_B = "198.51.100.1", "198.51.100.2", "198.51.100.3"
HOST6, REMOTE6, REMOTE6_B = "2001:db8:1::1", "2001:db8:1::2", "2001:db8:1::3"
NOBODY4, NOBODY6 = "198.51.100.77", "2001:db8:1::77"  # on the veth's subnet, but not there
HOST = {4: HOST4, 6: HOST6}
REMOTE = {4: REMOTE4, 6: REMOTE6}
REMOTE_B = {4: REMOTE4_B, 6: REMOTE6_B}
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}

TIMEOUT_S = 5

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
PR_SET_PDEATHSIG, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 1, 47, 2

# "asan", "tsan" or "". A sanitizer keeps what was freed, so that nothing can be said of memory.
SANITIZED = ""
with contextlib.suppress(FileNotFoundError):  # Lab says what to do
    _program = (BUILD / "vmnetd").read_bytes()
    SANITIZED = next((name for name in ("asan", "tsan") if f"__{name}_init".encode() in _program), "")
# What sanitizers are told, and where they leave their reports (conftest.py).
SANITIZER_VARIABLES = (
    "ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS", "OPENVMNET_REPORTS"
)

libc = ctypes.CDLL(None, use_errno=True)


class LabError(Exception):
    """Something did not work; the text says what."""


def poll(condition, timeout_s=TIMEOUT_S, interval_s=0.005):
    """The first true value of condition(), or its last one when the time is over."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value or time.monotonic() > deadline:
            return value
        time.sleep(interval_s)


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def literal(address):
    """As it stands before a colon and a port."""
    return f"[{address}]" if ":" in address else address


# ---- processes in namespaces


def _keep_capabilities():
    """Capabilities of the user namespace that programs keep although this user is not its root."""
    header = struct.pack("Ii", 0x20080522, 0)
    data = ctypes.create_string_buffer(24)
    if libc.capget(header, data) != 0:
        raise OSError(ctypes.get_errno(), "capget")
    words = list(struct.unpack("6I", data.raw))
    words[2], words[5] = words[1], words[4]  # inheritable = permitted
    if libc.capset(header, struct.pack("6I", *words)) != 0:
        raise OSError(ctypes.get_errno(), "capset")
    for capability in range(41):
        libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0)


class Namespace:
    """A network namespace with its own mounts, held by a process. A context."""

    def __init__(self, lab, name, inside=None):
        """@inside: the namespace whose user namespace it is in; None makes one where needed."""
        self.lab = lab
        self.name = name
        self.processes = []
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [PYTHON, "-I", "-S", HERE / "holder.py", theirs.fileno()]
        options = {"stdin": subprocess.DEVNULL, "pass_fds": [theirs.fileno()]}
        if inside:
            process = inside.start(command, **options)
            inside.processes.remove(process)
        else:
            command += ["user"] if os.geteuid() != 0 else []
            process = subprocess.Popen([str(word) for word in command], **options)
        theirs.close()
        self.holder = process
        self._control.settimeout(10)
        if self._control.recv(64) != b"ready":
            raise LabError(f"namespace '{name}': the holder ended with status {process.wait()}")
        self._fds = []
        kinds = [("mnt", CLONE_NEWNS), ("net", CLONE_NEWNET)]
        if os.geteuid() != 0:
            kinds.insert(0, ("user", CLONE_NEWUSER))
        for kind, flag in kinds:
            self._fds.append((os.open(f"/proc/{process.pid}/ns/{kind}", os.O_RDONLY), flag))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Kills what was started here and is left, and then the namespace with it."""
        for process in [*reversed(self.processes), self.holder]:
            if process.poll() is None:
                process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream:
                    stream.close()
        self.processes = []
        for fd, _ in self._fds:
            os.close(fd)
        self._fds = []
        self._control.close()

    def start(self, command, capabilities=True, **options):
        """Starts a program here. Without @capabilities it has those of the ordinary user: none."""
        fds = self._fds
        keep = capabilities and os.geteuid() != 0

        def enter():
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            for fd, flag in fds:
                if libc.setns(fd, flag) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            os.chdir("/")
            if keep:
                _keep_capabilities()

        process = subprocess.Popen(
            [str(word) for word in command],
            preexec_fn=enter,
            start_new_session=True,
            env=options.pop("env", self.lab.environment),
            **options,
        )
        self.processes.append(process)
        return process

    def run(self, command, check=True, timeout_s=10, capabilities=True, input=None, **options):
        """Runs a program here to its end. Returns its subprocess.CompletedProcess, in text."""
        process = self.start(
            command,
            capabilities,
            stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        try:
            output, errors = process.communicate(input, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            output, errors = process.communicate()
            raise LabError(
                f"{self.name}: {command} takes longer than {timeout_s} s\n{output}{errors}"
            ) from None
        finally:
            self.processes.remove(process)
        if check and process.returncode != 0:
            raise LabError(
                f"{self.name}: {command}: status {process.returncode}\n{output}{errors}"
            )
        return subprocess.CompletedProcess(command, process.returncode, output, errors)

    def ip(self, text):
        """`ip ...` here; returns what it prints."""
        return self.run(["ip", *text.split()]).stdout

    def ip_batch(self, text):
        """Several commands of ip(8), one a line; -force is not given: the first error ends it."""
        return self.run(["ip", "-batch", "-"], input=text).stdout

    def nft(self, ruleset):
        self.run(["nft", "-f", "-"], input=ruleset)

    def sysctl(self, settings):
        """Sets {name: value}, names with slashes below /proc/sys/net."""
        script = "".join(f"echo '{v}' >/proc/sys/net/{k} || exit 1\n" for k, v in settings.items())
        self.run(["/bin/sh", "-s"], input=script)

    # ---- sockets that live here and are used in this program

    def socket(self, family, kind, protocol=0):
        with self._lock:
            self._control.send(f"{int(family)} {int(kind)} {protocol}".encode())
            answer, rights, _, _ = self._control.recvmsg(64, socket.CMSG_SPACE(4))
        if answer != b"ok":
            code = int(answer or 0)
            raise OSError(code, f"{self.name}: socket: {os.strerror(code)}")
        made = socket.socket(fileno=array.array("i", rights[0][2])[0])
        made.settimeout(TIMEOUT_S)
        return made

    def listen(self, address="", port=0, backlog=1024, version=4):
        """A TCP listener. Without an address: on all of the IP version."""
        family = family_of(address) if address else FAMILY[version]
        listener = self.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address, port))
        listener.listen(backlog)
        return listener

    def connect(self, address, port, timeout_s=TIMEOUT_S, source_port=0):
        """A TCP connection, made within @timeout_s, else TimeoutError."""
        made = self.socket(family_of(address), socket.SOCK_STREAM)
        try:
            if source_port:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                made.bind(("", source_port))
            made.settimeout(timeout_s)
            made.connect((address, port))
        except BaseException:
            made.close()
            raise
        made.settimeout(TIMEOUT_S)
        return made

    def udp(self, address="", port=0, version=4):
        made = self.socket(family_of(address) if address else FAMILY[version], socket.SOCK_DGRAM)
        made.bind((address, port))
        return made

    def packets(self, interface="eth0", kind=0x0003):
        """A packet socket: frames from their Ethernet header on. @kind: an ethertype, or all."""
        made = self.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(kind))
        made.bind((interface, kind))
        return made


# ---- networks and guests


class Failed(LabError):
    """A method answered with an error."""

    def __init__(self, error, parameters):
        super().__init__(f"{error}: {parameters}")
        self.error = error
        self.code = parameters.get("code")
        self.reason = parameters.get("reason")


def varlink(path, method, parameters=None, timeout_s=15):
    """One call on the control socket @path. Returns (parameters of the reply, descriptors)."""
    request = {"method": method, "parameters": parameters or {}}
    reply, fds = b"", array.array("i")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
        control.settimeout(timeout_s)
        control.connect(str(path))
        control.sendall(json.dumps(request).encode() + b"\0")
        while not reply.endswith(b"\0"):
            data, rights, _, _ = control.recvmsg(65536, socket.CMSG_SPACE(4 * 4))
            for _, _, part in rights:
                fds.frombytes(part[: len(part) // 4 * 4])
            if not data:
                raise LabError(f"{method}: the connection was closed without an answer")
            reply += data
    answer = json.loads(reply[:-1])
    if "error" in answer:
        for fd in fds:
            os.close(fd)
        raise Failed(answer["error"], answer.get("parameters") or {})
    return answer.get("parameters") or {}, list(fds)


class Port:
    """A port without a guest: the facts of the attach reply, and its packet descriptor."""

    def __init__(self, network, facts, fd):
        self.network = network
        self.facts = facts
        self.fd = fd
        self.interface = facts["interface"]
        self.mac = facts["mac"]
        self.name = facts["name"]
        self.ipv4 = facts["ipv4"] and facts["ipv4"].split("/")[0]  # None until its DHCP server has one

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1


class Network:
    """A network of vmnetd's on the host."""

    def __init__(self, lab, name, runtime=None):
        self.lab = lab
        self.name = name
        self.directory = (runtime or lab.runtime) / "openvmnet" / name
        self.control = self.directory / "control"

    def call(self, method, **parameters):
        """A method of io.openvmnet. Returns the parameters of the reply; raises Failed."""
        reply, fds = varlink(self.control, f"io.openvmnet.{method}", parameters)
        for fd in fds:
            os.close(fd)
        return reply

    def describe(self):
        return self.call("Describe")["network"]

    def status(self):
        return self.call("Status")

    def counters(self):
        return self.call("Status")["counters"]

    def process(self, role):
        """Process id of "parent", "engine", "router" or "dnsmasq"; 0 while there is none."""
        return self.call("Status")["processes"][role]

    def kill(self, *roles):
        """Kills the processes of these roles, all that are there; returns their ids.

        Waits for ids that are not known yet: kill(2) of 0 would be the end of the tests themselves.
        """

        def known():
            processes = self.call("Status")["processes"]
            return all(processes[role] > 1 for role in roles) and processes

        processes = poll(known)
        if not processes:
            raise LabError(f"network '{self.name}' does not know its {' or '.join(roles)}")
        pids = [processes[role] for role in roles]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        return pids

    def attach(self, **parameters):
        """Attaches a port that nobody uses yet: name=, mac=, interfaceId=."""
        reply, fds = varlink(self.control, "io.openvmnet.Attach", parameters)
        if len(fds) != 1:
            raise LabError(f"Attach came with {len(fds)} descriptors")
        return Port(self, reply["port"], fds[reply["fd"]])

    def guest(self, configure=True, **parameters):
        """A guest on a new port. With @configure it has its addresses when this returns."""
        guest = Guest(self, self.attach(**parameters))
        try:
            if configure:
                guest.configure()
        except BaseException:
            guest.close()
            raise
        return guest

    def is_running(self):
        with contextlib.suppress(OSError, LabError):
            self.describe()
            return True
        return False

    def log(self):
        with contextlib.suppress(OSError):
            return (self.directory / "log").read_text(errors="replace")
        return ""

    def down(self, force=True):
        return self.lab.vmnet("down", self.name, *(["--force"] if force else []), check=False)


UDHCPC_SCRIPT = """#!/bin/sh
# What udhcpc calls in a guest; the lease comes in the environment.
case $1 in bound | renew) ;; *) exit 0 ;; esac
env >"$LEASE_FILE.new" && mv "$LEASE_FILE.new" "$LEASE_FILE"
ip -batch - <<END
address replace $ip/$mask dev $interface
link set $interface mtu ${mtu:-1500}
${router:+route replace default via ${router%% *} dev $interface}
END
"""


class Guest(Namespace):
    """A namespace whose eth0 is a port's other side. A context. Its end is the port's end."""

    def __init__(self, network, port):
        super().__init__(network.lab, f"guest {port.name}", inside=network.lab.host)
        self.network = network
        self.port = port
        self.mac = port.mac
        self.ipv4 = port.ipv4
        self.ipv6 = None  # known after configure()
        self.gateway = port.facts["gateway"]
        self.gateway6 = port.facts["gateway6"]
        self.gateways = {4: self.gateway, 6: self.gateway6}
        self.lease = {}
        self._gateway_macs = {}
        try:
            kind = port.facts.get("kind", "tap")
            program = [network.lab.tapguest] if kind == "tap" else [network.lab.pumpclient, kind]
            self.pump = self.start(
                [*program, port.fd, "eth0", port.mac],
                pass_fds=[port.fd],
                stdout=subprocess.PIPE,
            )
            port.close()  # the pump has it
            if not select.select([self.pump.stdout], [], [], TIMEOUT_S)[0] or (
                self.pump.stdout.read(1) != b"\n"
            ):
                raise LabError(f"{self.name}: tapguest did not start")
            # No waiting for duplicates and no random pauses: seconds, in each test.
            self.sysctl({
                "ipv6/conf/eth0/dad_transmits": 0,
                "ipv6/conf/eth0/accept_ra": 1,
                "ipv6/conf/eth0/router_solicitation_delay": 0,
            })
        except BaseException:
            self.close()
            raise

    @property
    def addresses(self):
        return {4: self.ipv4, 6: self.ipv6}

    def configure(self):
        """As an ordinary guest does: DHCP and a router advertisement."""
        self.up()
        self.dhcp()
        if self.gateway6:
            self.wait_ipv6()
        return self

    def up(self):
        self.ip_batch("link set lo up\nlink set eth0 up\n")

    def dhcp(self, tries=5, check=True, options=("mtu", "domain")):
        """Asks for a lease with these options and takes it. Returns what came as {name: text}; {} where none did."""
        file = self.lab.directory / f"lease-{self.port.interface}-{self.holder.pid}"
        file.unlink(missing_ok=True)
        self.run(
            ["busybox", "udhcpc", "-i", "eth0", "-f", "-q", "-n", "-s", self.lab.udhcpc_script]
            + ["-t", tries, "-T", 1]
            + [word for option in options for word in ("-O", option)],
            env=dict(self.lab.environment, LEASE_FILE=str(file)),
            check=check,
            timeout_s=5 * tries,
        )
        if not file.exists():
            return {}
        self.lease = dict(line.partition("=")[::2] for line in file.read_text().splitlines())
        self.ipv4 = self.ipv4 or self.lease["ip"]
        file.unlink()
        return self.lease

    def wait_ipv6(self, timeout_s=TIMEOUT_S):
        """Waits for an address from a router advertisement, and returns it."""

        def address():
            shown = self.ip("-6 -o address show dev eth0 scope global")
            found = re.search(r"inet6 (\S+?)/64 .*dynamic", shown)
            return found and "tentative" not in shown and found[1]

        self.ipv6 = poll(address, timeout_s, 0.02)
        if not self.ipv6:
            raise LabError(f"{self.name}: no IPv6 address after {timeout_s} s")
        return self.ipv6

    def gateway_mac(self, version=4):
        """The gateway's MAC address, asked for by ARP or neighbour discovery."""
        if version in self._gateway_macs:
            return self._gateway_macs[version]
        with self.udp(version=version) as asking:
            asking.sendto(b"", (self.gateways[version], 9))

        def known():
            shown = self.ip(f"-{version} neigh show to {self.gateways[version]} dev eth0")
            return re.search(r"lladdr (\S+)", shown)

        found = poll(known, interval_s=0.02)
        if not found:
            raise LabError(f"{self.name}: the gateway's MAC address is not known")
        self._gateway_macs[version] = found[1]
        return found[1]

    def send_ip(self, *packets):
        """Sends IP packets of any content (bytes, or what bytes() takes) to the gateway."""
        with self.packets() as raw:
            for packet in packets:
                data = bytes(packet)
                version = 6 if data[0] >> 4 == 6 else 4
                frame = bytes.fromhex(self.gateway_mac(version).replace(":", ""))
                frame += bytes.fromhex(self.mac.replace(":", ""))
                frame += b"\x08\x00" if version == 4 else b"\x86\xdd"
                raw.send(frame + data)

    def ping(self, address, count=1, size=56, timeout_s=TIMEOUT_S):
        """Number of answers to @count echo requests, 20 ms apart. It goes on asking until it has so many or the time is over."""
        result = self.run(
            ["ping", "-n", "-q", "-i", "0.02", "-c", count, "-s", size, "-w", timeout_s, address],
            check=False,
            timeout_s=timeout_s + 5,
        )
        found = re.search(r"(\d+) received", result.stdout)
        if not found:
            raise LabError(f"{self.name}: ping {address}: {result.stdout}{result.stderr}")
        return min(int(found[1]), count)  # an answer that is late finds one more asked for

    def resolve(self, name, kind="A", server=None, tcp=False, timeout_s=TIMEOUT_S):
        """Asks the gateway's DNS server. Returns (rcode, [addresses or texts])."""
        server = server or self.gateway
        query = dns_query(name, kind)
        if tcp:
            with self.connect(server, 53, timeout_s) as stream:
                stream.settimeout(timeout_s)
                stream.sendall(struct.pack("!H", len(query)) + query)
                answer = read_exactly(stream, struct.unpack("!H", read_exactly(stream, 2))[0])
        else:
            with self.udp(version=6 if ":" in server else 4) as asking:
                asking.settimeout(timeout_s)
                asking.sendto(query, (server, 53))
                answer = asking.recv(65536)
        return dns_read_answer(answer)

    def close(self):
        """Ends the guest. The port is gone a moment later: poll for it."""
        self.port.close()
        super().close()


# ---- the laboratory


class Lab:
    """A context: the host, the remote, a runtime and a state directory.

    @vmnetd: another program than that of the build. `vmnetd-vmnet` has libvmnet in place of vmnet.framework, whose
    networks are below self.framework.
    """

    def __init__(self, vmnetd=None):
        self.vmnet_path = BUILD / "vmnet"
        self.vmnetd_path = vmnetd or BUILD / "vmnetd"
        self.tapguest = BUILD / "tests" / "net" / "tapguest"
        self.pumpclient = BUILD / "tests" / "net" / "pumpclient"
        for path in (self.vmnet_path, self.vmnetd_path, self.tapguest, self.pumpclient):
            if not path.exists():
                raise LabError(f"{path} is missing: run `make build`")
        if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
            raise LabError("/dev/net/tun is closed to this user: tests/unprivileged.py opens it")

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            # A short path: it becomes part of unix socket addresses.
            self.directory = pathlib.Path(tempfile.mkdtemp(prefix="openvmnet-", dir="/tmp"))
            stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
            self.runtime = self.directory / "run"
            self.state = self.directory / "state"
            self.bin = self.directory / "bin"  # first in PATH: for programs that stand for others
            self.framework = self.directory / "framework"
            for path in (self.runtime, self.state, self.bin):
                path.mkdir(mode=0o700)
            for name in ("run", "state"):
                (self.framework / name).mkdir(mode=0o700, parents=True)
            self.environment = {
                "PATH": f"{self.bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "HOME": "/nonexistent",
                "LC_ALL": "C",
                "XDG_RUNTIME_DIR": str(self.runtime),
                "XDG_STATE_HOME": str(self.state),
                "OPENVMNET_ROOT": str(self.directory / "root"),
            }
            if self.vmnetd_path.parent != BUILD:
                self._choose_vmnetd()
            for name in SANITIZER_VARIABLES:
                if name in os.environ:
                    self.environment[name] = os.environ[name]
            self.mark = f"XDG_RUNTIME_DIR={self.runtime}"  # in the environment of what is ours
            self.udhcpc_script = self.directory / "udhcpc"
            self.udhcpc_script.write_text(UDHCPC_SCRIPT)
            self.udhcpc_script.chmod(0o755)
            self.host = stack.enter_context(Namespace(self, "host"))
            self.remote = stack.enter_context(Namespace(self, "remote", inside=self.host))
            self.make_links()
            self._make_etc()
            # Last in, first out: whatever is left of the networks dies before their host.
            stack.callback(self.kill_leftovers)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    def _choose_vmnetd(self):
        """vmnet starts the vmnetd beside it; that in the build's directory is the framework's."""
        shutil.copy(self.vmnet_path, self.bin / "vmnet")
        (self.bin / "vmnetd").symlink_to(self.vmnetd_path)
        self.vmnet_path = self.bin / "vmnet"
        self.environment["VMNET_FRAMEWORK_DIR"] = str(self.framework)
        self.environment["PATH"] = f"{BUILD}:{self.environment['PATH']}"

    def make_links(self):
        self.host.ip_batch(
            "link set lo up\n"
            f"link add out0 type veth peer name in0 netns /proc/{self.remote.holder.pid}/ns/net\n"
            "link set out0 addrgenmode none\n"  # link-local addresses come late, and are of no use
            "link set out0 up\n"
            f"address add {HOST4}/24 dev out0\n"
            f"address add {HOST6}/64 dev out0 nodad\n"
        )
        self.remote.ip_batch(
            "link set lo up\n"
            "link set in0 addrgenmode none\nlink set in0 up\n"
            f"address add {REMOTE4}/24 dev in0\naddress add {REMOTE4_B}/24 dev in0\n"
            f"address add {REMOTE6}/64 dev in0 nodad\naddress add {REMOTE6_B}/64 dev in0 nodad\n"
        )
        self.host.ip_batch(
            f"route add default via {REMOTE4}\nroute add default via {REMOTE6} dev out0\n"
        )

        def settled():
            return all(
                "state UP" in namespace.ip(f"link show dev {name}")
                for namespace, name in ((self.host, "out0"), (self.remote, "in0"))
            )

        if not poll(settled, interval_s=0.02):
            raise LabError("the link between host and remote does not come up")

    def _make_etc(self):
        """The host's /etc becomes a copy, so that its resolv.conf can be changed and replaced."""
        self.etc = self.directory / "etc"
        self.etc.mkdir(mode=0o755)
        for name in ("group", "hosts", "ld.so.cache", "localtime", "machine-id", "nsswitch.conf",
                     "passwd", "protocols", "services"):
            with contextlib.suppress(OSError):
                shutil.copy(f"/etc/{name}", self.etc / name)
        for name in ("alternatives", "iproute2"):
            with contextlib.suppress(OSError, shutil.Error):
                shutil.copytree(f"/etc/{name}", self.etc / name, symlinks=True)
        self.write_resolv_conf(f"nameserver {REMOTE4}\n")
        self.host.run(["mount", "--bind", self.etc, "/etc"])

    def write_resolv_conf(self, text, rename=False):
        """The host's resolvers. @rename: replaces the file, as most programs do; else rewrites."""
        path = self.etc / "resolv.conf"
        target = self.etc / "resolv.conf.new" if rename else path
        target.write_text(text)
        if rename:
            target.rename(path)

    def vmnet(self, *arguments, check=True, timeout_s=30, **options):
        """Runs `vmnet ARGUMENT...` on the host as the ordinary user (or root) that this is."""
        return self.host.run(
            [self.vmnet_path, *arguments], check, timeout_s, capabilities=False, **options
        )

    def network(self, name, *options):
        """Starts a lasting network by `vmnet up`. Its end: down()."""
        # One with an identity has a name of its own.
        names = [] if "--net-uuid" in options else [name]
        return Network(self, self.vmnet("up", *names, *options).stdout.strip())

    def start_vm(self, *arguments, way="tap", **options):
        """`vmnet run qemu-system-x86_64 ARGUMENT...` with a program that stands for QEMU: it holds
        its descriptors until its standard input ends. Returns the Popen; stderr is a text pipe."""
        program = self.bin / "qemu-system-x86_64"
        if not program.exists():
            program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\nexec cat\n')
            program.chmod(0o755)
        return self.host.start(
            [self.vmnet_path, "run", "--way", way, program.name, *arguments],
            capabilities=False,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def dns_server(self, address=REMOTE4, **options):
        return DnsServer(self.remote, address, **options)

    # ---- what is left

    def processes(self):
        """{pid: name} of the processes that belong to networks of this laboratory."""
        marks = [self.mark.encode(), f"XDG_RUNTIME_DIR={self.framework / 'run'}".encode()]
        ours = {self.host.holder.pid, self.remote.holder.pid, os.getpid()}
        found = {}
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) in ours:
                continue
            with contextlib.suppress(OSError):
                arguments = (entry / "cmdline").read_bytes()
                environment = b""
                with contextlib.suppress(PermissionError):
                    environment = (entry / "environ").read_bytes()
                if str(self.runtime).encode() not in arguments and not any(
                    mark in environment.split(b"\0") for mark in marks
                ):
                    continue
                name = (entry / "comm").read_text().strip()
                status = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                if name.startswith(("vmnet", "dnsmasq")) and status not in "ZX":
                    found[int(entry.name)] = name
        return found

    def leftovers(self):
        """What networks have left: processes, and files in the runtime directory; empty is good."""
        files = []
        for directory in (self.runtime, self.framework / "run"):
            files += [f"file {path.relative_to(directory)}" for path in directory.rglob("*")]
        # An empty directory of the project's own is no harm.
        files = [text for text in files if text != "file openvmnet"]
        return [f"process {pid} ({name})" for pid, name in self.processes().items()] + files

    def wait_until_clean(self, timeout_s=10):
        if poll(lambda: not self.leftovers(), timeout_s, 0.05):
            return
        left = self.leftovers()
        self.kill_leftovers()
        raise LabError("left behind: " + ", ".join(left))

    def kill_leftovers(self):
        def all_gone():
            found = self.processes()
            for pid in found:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            return not found

        poll(all_gone, interval_s=0.05)
        for path in [*self.runtime.iterdir(), *(self.framework / "run").iterdir()]:
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def framework_away(lab):
    """What plays vmnet.framework cannot make its runtime directory: what it is asked for fails."""
    runtime = lab.framework / "run"
    aside = lab.framework / "aside"

    def settled():
        """A network that is just ending would not find its files."""
        names = [path.name for path in (runtime / "openvmnet").glob("*")]
        with contextlib.suppress(OSError):
            return all(Network(lab, name, runtime).status()["ports"] for name in names)

    assert poll(settled)
    runtime.rename(aside)
    runtime.write_text("")
    try:
        yield
    finally:
        runtime.unlink()
        aside.rename(runtime)


# ---- the state of a host's network

STATE_COMMANDS = (
    "ip -d link show",
    "ip addr show",
    "ip rule show",
    "ip route show table all",
    "ip -6 rule show",
    "ip -6 route show table all",
    "nft list ruleset",
    "tc qdisc show",
)
# Values that pass with time or with other programs' use, and one setting that tests change and that a
# user namespace cannot set back: groups that it does not map cannot be named in it.
VOLATILE = re.compile(r"nf_conntrack_(count|buckets)|secret|/nf_log/|ping_group_range|fastopen_key")


def host_state(namespace=None):
    """{what: text} of a namespace, or of the one this program runs in."""

    def run(command):
        if namespace:
            return namespace.run(command, check=False).stdout
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout

    state = {}
    for command in STATE_COMMANDS:
        text = run(command.split())
        text = re.sub(r"(valid_lft|preferred_lft) \S+|expires -?\d+sec", r"\1", text)
        text = re.sub(r"(_timer) +\S+|counter packets \d+ bytes \d+|fdb_n_learned \d+", r"\1", text)
        state[command] = text
    for line in run(["grep", "-rs", ".", "/proc/sys/net"]).splitlines():
        path, _, value = line.partition(":")
        if not VOLATILE.search(path):
            state[path] = state.get(path, "") + value + "\n"
    return state


def host_state_changes(before, after):
    """Lines that tell what differs. Settings that came with a module are no change."""
    changes = []
    for what in sorted(set(before) | set(after)):
        old, new = before.get(what, ""), after.get(what, "")
        is_setting = what.startswith("/proc/sys/net")
        if old == new or (is_setting and what not in before and "/conf/" not in what):
            continue
        lines = difflib.unified_diff(old.split("\n"), new.split("\n"), "before", "after", "", "", 1, "")
        changes.append("\n".join([f"{what}:", *lines]))
    return changes


# ---- bytes on their way


def read_exactly(stream, len_bytes):
    data = bytearray()
    while len(data) < len_bytes:
        part = stream.recv(len_bytes - len(data))
        if not part:
            raise LabError(f"the stream ended after {len(data)} of {len_bytes} bytes")
        data += part
    return bytes(data)


def read_all(stream):
    data = bytearray()
    while part := stream.recv(65536):
        data += part
    return bytes(data)


CHUNK_BYTES = 1 << 20
# Any start within the first part gives another chunk: no two MiB of a stream are the same.
_random = os.urandom(CHUNK_BYTES + 4096)


def send_stream(stream, len_bytes):
    """Sends @len_bytes (whole MiB) of data without repetition. Returns their sha256."""
    digest = hashlib.sha256()
    view = memoryview(_random)
    for number in range(len_bytes // CHUNK_BYTES):
        start = number % 4096
        chunk = view[start : start + CHUNK_BYTES]
        stream.sendall(chunk)
        digest.update(chunk)
    return digest.hexdigest()


def receive_stream(stream):
    """Reads to the stream's end. Returns (length, sha256)."""
    digest = hashlib.sha256()
    buffer = bytearray(CHUNK_BYTES)
    view = memoryview(buffer)
    total = 0
    while len_bytes := stream.recv_into(view):
        digest.update(view[:len_bytes])
        total += len_bytes
    return total, digest.hexdigest()


def unacknowledged(stream):
    """Bytes that the other side's TCP has not got yet."""
    value = array.array("i", [0])
    fcntl.ioctl(stream, termios.TIOCOUTQ, value)  # SIOCOUTQ, tcp(7)
    return value[0]


class Background:
    """Runs a function in a thread; result() waits for it, and raises what it raised."""

    def __init__(self, function, *arguments):
        self._outcome = None
        self._error = None

        def run():
            try:
                self._outcome = function(*arguments)
            except BaseException as error:  # handed over to who asks for the result
                self._error = error

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def result(self, timeout_s=30):
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise LabError(f"still running after {timeout_s} s")
        if self._error:
            raise self._error
        return self._outcome


def send_between(sender, receiver, version, size):
    """One TCP connection between guests, not translated; what arrives must be what was sent."""
    with receiver.listen(version=version) as listener:
        with sender.connect(receiver.addresses[version], listener.getsockname()[1]) as client:
            accepted, peer = listener.accept()
            assert peer[0] == sender.addresses[version]
            with accepted:
                accepted.settimeout(20)

                def send():
                    digest = send_stream(client, size)
                    client.shutdown(socket.SHUT_WR)
                    return digest

                sent = Background(send)
                assert receive_stream(accepted) == (size, sent.result())


# ---- DNS, as little of it as tests need

DNS_KINDS = {"A": 1, "NS": 2, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33, "DS": 43,
             "HTTPS": 65, "ANY": 255}
DNS_NAMES = {number: name for name, number in DNS_KINDS.items()}


def dns_encode_name(name):
    labels = [label for label in name.encode().split(b".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def dns_read_name(message, at):
    """Returns (name, offset after it)."""
    labels, after = [], None
    while True:
        len_bytes = message[at]
        if len_bytes >= 0xC0:
            after = after or at + 2
            at = (len_bytes & 0x3F) << 8 | message[at + 1]
        elif len_bytes == 0:
            return ".".join(labels), after or at + 1
        else:
            labels.append(message[at + 1 : at + 1 + len_bytes].decode())
            at += 1 + len_bytes


def dns_query(name, kind="A"):
    header = os.urandom(2) + struct.pack("!HHHHH", 0x0100, 1, 0, 0, 0)
    return header + dns_encode_name(name) + struct.pack("!HH", DNS_KINDS[kind], 1)


class Truncated(LabError):
    """An answer over UDP that says: ask again over TCP."""


def dns_read_answer(message):
    """Returns (rcode, [values]). Raises Truncated."""
    flags, questions, answers = struct.unpack("!HHH", message[2:8])
    if flags & 0x0200:
        raise Truncated("truncated")
    at, values = 12, []
    for _ in range(questions):
        at = dns_read_name(message, at)[1] + 4
    for _ in range(answers):
        at = dns_read_name(message, at)[1]
        kind, _, _, len_bytes = struct.unpack("!HHIH", message[at : at + 10])
        data = message[at + 10 : at + 10 + len_bytes]
        if kind in (1, 28):
            values.append(str(ipaddress.ip_address(data)))
        elif kind == 16:
            values.append(data[1 : 1 + data[0]].decode())
        elif kind == 12:
            values.append(dns_read_name(message, at + 10)[0])
        at += 10 + len_bytes
    return flags & 15, values


class DnsServer:
    """A context: a resolver at @address of a namespace, UDP and TCP, port 53.

    @records is {(name, kind): [values]} and may be changed; other names do not exist. What does not fit
    into 512 bytes, or what the query's EDNS record says, is truncated over UDP. queries has (name, kind,
    "udp" or "tcp"), as they came, and asked (id, client's address, what it takes over UDP).
    @misbehave(answer, transport) returns the messages that are sent in place of an answer; a silent
    server (@silent) sends none.
    """

    def __init__(self, namespace, address, records=None, silent=False, misbehave=None):
        self.records = dict(records or {})
        self.queries = []
        self.asked = []
        self.misbehave = misbehave or (lambda answer, _: [] if silent else [answer])
        self._udp = namespace.udp(address, 53)
        self._listener = namespace.listen(address, 53)
        self._stop = False
        self._threads = [
            threading.Thread(target=run, daemon=True) for run in (self._serve_udp, self._serve_tcp)
        ]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop = True
        for thread in self._threads:
            thread.join(TIMEOUT_S)
        self._udp.close()
        self._listener.close()

    def _wait(self, made):
        while not self._stop:
            if select.select([made], [], [], 0.05)[0]:
                return True
        return False

    def _answer(self, query, transport, client):
        name, at = dns_read_name(query, 12)
        kind = DNS_NAMES.get(struct.unpack("!H", query[at : at + 2])[0], "?")
        name = name.lower()
        room = 512
        if query[11] and query[at + 4 : at + 7] == b"\0\0\x29":  # OPT, of the root
            room = max(room, struct.unpack("!H", query[at + 7 : at + 9])[0])
        self.queries.append((name, kind, transport))
        self.asked.append((query[:2], client, room))
        values = self.records.get((name, kind), [])
        known = any(record == name for record, _ in self.records)
        body, count = b"", 0
        for value in values:
            if kind in ("A", "AAAA"):
                data = ipaddress.ip_address(value).packed
            else:
                data = bytes([len(value)]) + value.encode()
            body += b"\xc0\x0c" + struct.pack("!HHIH", DNS_KINDS[kind], 1, 0, len(data)) + data
            count += 1
        flags = 0x8180 | (0 if known else 3)
        question = query[12 : at + 4]
        if transport == "udp" and 12 + len(question) + len(body) > room:
            flags, body, count = flags | 0x0200, b"", 0
        return query[:2] + struct.pack("!HHHHH", flags, 1, count, 0, 0) + question + body

    def _serve_udp(self):
        while self._wait(self._udp):
            with contextlib.suppress(OSError):
                query, client = self._udp.recvfrom(65536)
                for answer in self.misbehave(self._answer(query, "udp", client), "udp"):
                    self._udp.sendto(answer, client)

    def _serve_tcp(self):
        while self._wait(self._listener):
            with contextlib.suppress(OSError, LabError):
                stream, client = self._listener.accept()
                with stream:
                    stream.settimeout(TIMEOUT_S)
                    len_bytes = struct.unpack("!H", read_exactly(stream, 2))[0]
                    answer = self._answer(read_exactly(stream, len_bytes), "tcp", client)
                    for answer in self.misbehave(answer, "tcp"):
                        stream.sendall(struct.pack("!H", len(answer)) + answer)
