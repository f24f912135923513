# SPDX-License-Identifier: Apache-2.0
"""Three hosts and one network on them, as docs/multi-host.md has it: its blocks are what is run here.

    guest ── tap ── br-lan ── vxlan100 ═══╗
                        host 1  eth0 ── p1 ┐
                        host 2  eth0 ── p2 ┼─ switch
                        host 3  eth0 ── p3 ┘

Machines' ports are made and announced by lanport.c.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import time

import lab as laboratory
from lab import Guest, LabError, Namespace, Network, Port, poll

DOCUMENT = laboratory.HERE.parent.parent / "docs" / "multi-host.md"
MTU = 1450
VNI = 100
# Debian's and Fedora's.
FRR = [path for path in map(pathlib.Path, ("/usr/lib/frr", "/usr/libexec/frr")) if path.exists()]


class Recipe:
    """What the document says that is to be done on each host."""

    def __init__(self):
        text = DOCUMENT.read_text()
        self._blocks = dict(re.findall(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
        rows = re.findall(r"^\|[^|]+\| (\S+) \| (\S+) \| (\S+) \|$", text, re.MULTILINE)
        self._values = [row for row in rows if row[0] != "host"]
        if len(self._values) != 7:
            raise LabError(f"{DOCUMENT}: its table is not understood: {rows}")

    def value(self, row, number):
        return self._values[row][number - 1]

    def block(self, kind, number):
        """The block for host @number: its values and host 1's change places."""
        text = self._blocks[kind]
        for row in self._values:
            pair = {row[0]: row[number - 1], row[number - 1]: row[0]}
            either = "|".join(map(re.escape, pair))
            text = re.sub(rf"(?<![\w.:])({either})(?![\w.:])", lambda m, p=pair: p[m[0]], text)
        return text


class EvpnHost(Namespace):
    def __init__(self, lab, recipe, switch, number):
        super().__init__(lab, f"host {number}", inside=lab.host)
        self.number = number
        self.address = recipe.value(0, number)
        self.lan_address = recipe.value(2, number)
        self.switch = switch
        self.directory = lab.directory / f"frr{number}"
        self._guests = 0
        try:
            self._connect()
            self.run(["/bin/sh", "-e", "-s"], input=recipe.block("sh", number))
            self._start_frr(recipe.block("frr", number))
        except BaseException:
            self.close()
            raise

    def _connect(self):
        port = f"p{self.number}"
        self.ip_batch(
            "link set lo up\n"
            f"link add eth0 type veth peer name {port} netns /proc/{self.switch.holder.pid}/ns/net\n"
            "link set eth0 addrgenmode none\nlink set eth0 up\n"
            f"address add {self.address}/24 dev eth0\n"
        )
        self.switch.ip_batch(f"link set {port} master switch\nlink set {port} up\n")

    def _start_frr(self, configuration):
        """zebra and bgpd as the service has them, but for where their files are; they are this namespace's."""
        self.directory.mkdir(mode=0o755)
        shutil.chown(self.directory, "frr", "frr")
        (self.directory / "frr.conf").write_text(configuration)
        (self.directory / "zebra.conf").write_text("")  # bgpd's part of the file would be errors
        for daemon, file in (("zebra", "zebra.conf"), ("bgpd", "frr.conf")):
            with open(self.directory / f"{daemon}.log", "w") as log:
                process = self.start(
                    [FRR[0] / daemon, "-f", self.directory / file, "-P", "0", "--log", "stdout"]
                    + ["-i", self.directory / f"{daemon}.pid", "-z", self.directory / "zserv.api"]
                    + ["--vty_socket", self.directory],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            ready = self.directory / ("zserv.api" if daemon == "zebra" else "bgpd.vty")
            if not poll(lambda: ready.exists() or process.poll() is not None) or not ready.exists():
                raise LabError(f"{self.name}: {daemon} does not start:\n{self.log()}")

    def log(self):
        return "".join(path.read_text() for path in self.directory.glob("*.log"))

    def ask(self, daemon, command):
        """What vtysh would show, in JSON. vtysh itself asks PAM, which a container may not have."""
        with socket.socket(socket.AF_UNIX) as vty:
            vty.settimeout(laboratory.TIMEOUT_S)
            vty.connect(str(self.directory / f"{daemon}.vty"))
            for each in ("enable", command):
                vty.sendall(each.encode() + b"\0")
                answer = b""
                # The end is three zeros and a status.
                while answer[-4:-1] != b"\0\0\0":
                    part = vty.recv(65536)
                    if not part:
                        raise LabError(f"{daemon}: {each}: the connection was closed")
                    answer += part
        return json.loads(answer[:-4] or b"{}")

    def peers(self, vni=VNI):
        """Other hosts to which frames for all go."""
        return self.ask("zebra", f"show evpn vni {vni} json").get("numRemoteVteps") or []

    def place(self, mac, bridge="br-lan"):
        """Where this host's bridge sends frames for @mac: "here", another host's address, or None: to all."""
        shown = self.run(["bridge", "fdb", "show", "br", bridge]).stdout
        entries = re.findall(rf"^{mac} (.*)$", shown, re.MULTILINE)
        ports = [entry for entry in entries if f"master {bridge}" in entry]
        if not ports:
            return None  # an entry of the VXLAN device alone, which FRR leaves, is not looked at
        if "dev vxlan" not in ports[0]:
            return "here"
        return next((found[1] for entry in entries if (found := re.search(r"dst (\S+)", entry))), None)

    def mobility(self, mac):
        """The sequence number of the machine's latest move that is known here."""
        entry = self.ask("zebra", f"show evpn mac vni {VNI} mac {mac} json").get(mac, {})
        return max(entry.get("localSequence", 0), entry.get("remoteSequence", 0))

    @property
    def environment(self):
        """Of programs that use networks of the system on this host."""
        return dict(self.lab.environment, OPENVMNET_ROOT=str(self.lab.directory / f"root{self.number}"))

    @contextlib.contextmanager
    def network(self, name, text):
        """A network of the system on this host, which is a machine of its own."""
        root = pathlib.Path(self.environment["OPENVMNET_ROOT"])
        (root / "etc" / "openvmnet").mkdir(parents=True, exist_ok=True)
        (root / "etc" / "openvmnet" / f"{name}.conf").write_text(text)
        identity = root / "machine-id"  # the bridge's MAC follows from it
        identity.write_text(f"{self.number:032x}\n")
        (self.lab.etc / "machine-id").touch()
        self.run(["mount", "--bind", identity, "/etc/machine-id"])
        network = Network(self.lab, name)
        network.directory = root / "run" / "openvmnet" / name
        network.control = network.directory / "control"
        self.run([self.lab.vmnet_path, "up", name], env=self.environment, timeout_s=20)
        try:
            yield network
        finally:
            print(f"--- log of {self.name}\n{network.log()}")
            self.run([self.lab.vmnet_path, "down", name, "--force"], env=self.environment, timeout_s=20)

    def set_cut(self, cut):
        """Off the switch, with nothing that would tell the host: its link stays up."""
        self.switch.ip(f"link set p{self.number} {'nomaster' if cut else 'master switch'}")

    def port(self, number, announce="silent"):
        """A port for guest @number. @announce: "silent", "none" or the address that is announced beside the MAC."""
        mac = f"52:56:00:00:00:{number:02x}"
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self.run(
                [laboratory.BUILD / "tests" / "net" / "lanport", "br-lan", MTU, mac, announce]
                + [theirs.fileno()],
                pass_fds=[theirs.fileno()],
            )
            name, fds, _, _ = socket.recv_fds(ours, 64, 1)
        facts = {
            "interface": name.decode(), "mac": mac, "name": f"g{number}", "gateway": None, "gateway6": None,
            "ipv4": f"{self.lan_address.rpartition('.')[0]}.{10 + number}/24",
        }  # fmt: skip
        return Port(self, facts, fds[0])

    def guest(self, number, announce="silent", configure=True):
        """A guest with addresses that are its own wherever it is."""
        guest = Guest(self, self.port(number, announce))
        if configure:
            guest.ipv6 = f"fd12:3456:789a:1::{10 + number}"
            guest.ip_batch(
                f"link set lo up\nlink set eth0 mtu {MTU} addrgenmode none\nlink set eth0 up\n"
                f"address add {guest.ipv4}/24 dev eth0\n"
                f"address add {guest.ipv6}/64 dev eth0 nodad\n"
            )
        return guest


class EvpnLab:
    """A context: three hosts that know each other."""

    def __init__(self, lab):
        self.lab = lab
        self.recipe = Recipe()

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self.lab.directory.chmod(0o711)  # FRR has a user of its own
            switch = stack.enter_context(Namespace(self.lab, "switch", inside=self.lab.host))
            switch.ip_batch("link add switch type bridge\nlink set switch up\n")
            self.hosts = [
                stack.enter_context(EvpnHost(self.lab, self.recipe, switch, number))
                for number in (1, 2, 3)
            ]
            self.settled(lambda: all(len(host.peers()) == 2 for host in self.hosts), "hosts know each other", 15)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    def settled(self, condition, what, timeout_s=5):
        """Waits for it, and returns for how long."""
        began = time.monotonic()
        if not poll(condition, timeout_s, 0.05):
            logs = "\n".join(f"{host.name}:\n{host.log()}" for host in getattr(self, "hosts", []))
            raise LabError(f"{what}: not within {timeout_s} s\n{logs}")
        return time.monotonic() - began


def reason_to_skip():
    if os.geteuid() != 0:
        return "three hosts with FRR need root: run it as root (make network-tests does)"
    if not FRR:
        return "FRR is not installed: run `make deps` (apt-get install frr)"
    return None
