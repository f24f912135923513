# SPDX-License-Identifier: Apache-2.0
"""libvirt in session mode, with our helper in place of QEMU's: a domain as it is written for any bridge."""

import json
import re
import shutil
import subprocess
import sys

import pytest
from guest import append_files, die_with_parent, poll

MAC = "52:54:00:00:00:0d"
SCRIPT = "lease && sleep 1000"

DOMAIN = """
<domain type='qemu'>
  <name>web</name>
  <memory unit='MiB'>256</memory>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>{kernel}</kernel>
    <initrd>{initrd}</initrd>
    <cmdline>quiet panic=-1 tsc=reliable no_timer_check mitigations=off random.trust_cpu=on</cmdline>
  </os>
  <devices>
    <emulator>{emulator}</emulator>
    <interface type='bridge'>
      <source bridge='lab'/>
      <mac address='{mac}'/>
      <model type='virtio'/>
    </interface>
  </devices>
</domain>
"""


# libvirt waits for the end of a QEMU that is not its child any more: whose child it has become has to notice.
REAPER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER
pid = os.fork() or os.execvp(sys.argv[1], sys.argv[1:])
signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGTERM))
while os.wait()[0] != pid:
    pass
"""


class Session:
    """A context: libvirtd as an ordinary user starts it, with files of its own."""

    def __init__(self, host):
        self.host = host
        home = host.directory / "home"
        (home / ".config" / "libvirt").mkdir(parents=True)
        helper = host.vmnet.with_name("openvmnet-bridge-helper")
        (home / ".config" / "libvirt" / "qemu.conf").write_text(
            f'bridge_helper = "{helper}"\nstdio_handler = "file"\n'  # without a virtlogd, which stays for a while
        )
        self.environment = {name: text for name, text in host.environment.items()
                            if name not in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME")} | {"HOME": str(home)}
        self.log = open(host.directory / "libvirtd.log", "wb")

    def __enter__(self):
        self.daemon = subprocess.Popen(
            [sys.executable, "-c", REAPER, "libvirtd", "-p", str(self.host.directory / "libvirtd.pid")], env=self.environment, start_new_session=True,
            preexec_fn=die_with_parent, stdout=self.log, stderr=self.log,
        )  # fmt: skip
        # virsh would start another one where nobody listens yet.
        if not poll((self.host.runtime / "libvirt" / "libvirt-sock").is_socket, 30):
            self.__exit__()
            pytest.fail("libvirtd does not answer: " + (self.host.directory / "libvirtd.log").read_text()[-1000:])
        return self

    def __exit__(self, *_):
        self.virsh("destroy", "web", check=False)
        self.daemon.terminate()
        self.daemon.wait(20)
        self.log.close()
        # Sockets of its own, in the directory that it shares with networks.
        for name in ("libvirt", "dconf"):
            shutil.rmtree(self.host.runtime / name, ignore_errors=True)

    def virsh(self, *words, check=True):
        done = subprocess.run(["virsh", "-q", "-c", "qemu:///session", *map(str, words)], env=self.environment,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)  # fmt: skip
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout if done.returncode == 0 else None


def vmnet(host, *words):
    return subprocess.run([host.vmnet, *words], env=host.environment, capture_output=True, text=True, timeout=30)


@pytest.mark.skipif(not shutil.which("libvirtd") or not shutil.which("virsh"), reason="libvirt's programs are not here")
def test_session_mode(host):
    """libvirt calls the helper before there is a QEMU, so the machine's MAC is learnt; then it is one as all others."""
    assert vmnet(host, "up", "lab").returncode == 0
    initrd = host.directory / "initrd.img"
    append_files(host.image.initrd, {"script": SCRIPT.encode()}, initrd)
    domain = host.directory / "web.xml"
    domain.write_text(DOMAIN.format(kernel=host.image.kernel, initrd=initrd, mac=MAC,
                                    emulator=shutil.which("qemu-system-x86_64")))

    def ports():
        return json.loads(vmnet(host, "status", "--json", "lab").stdout)["ports"]

    with Session(host) as session:
        session.virsh("create", domain)
        # The port is there before the machine has said a word, and libvirt knows its interface.
        (port,) = ports()
        assert re.search(rf"{port['interface']} +bridge +lab +virtio +{MAC}", session.virsh("domiflist", "web"))
        assert poll(lambda: ports()[0]["mac"], 60) == MAC
        address = ports()[0]["ipv4"].split("/")[0]
        seen = poll(lambda: vmnet(host, "exec", "lab", "--", "ping", "-c", "1", "-W", "1", address).returncode == 0, 20)
        assert seen, vmnet(host, "status", "lab").stdout
        session.virsh("destroy", "web")
        assert poll(lambda: not ports(), 10)
    assert vmnet(host, "down", "lab").returncode == 0
