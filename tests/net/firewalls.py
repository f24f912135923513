# SPDX-License-Identifier: Apache-2.0
"""Firewalls of Debian's, as they are, on the host of a laboratory: their files, sockets and logs are its own."""

import contextlib
import pathlib
import shutil
import subprocess

import pytest
from lab import LabError, poll

BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/>
<allow send_destination="*"/><allow receive_sender="*"/></policy></busconfig>
"""


def need(program, package):
    path = shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin")
    if not path:
        pytest.skip(f"{program} is missing: apt-get install {package}")
    return path


def prepare(lab):
    """Before the first of them: what they write outside of /etc, which is the laboratory's already."""
    for path in ("/run", "/var/log"):
        lab.host.run(["mount", "-t", "tmpfs", "-o", "mode=755", "none", path])


@contextlib.contextmanager
def ufw(lab):
    need("ufw", "ufw")
    shutil.rmtree(lab.etc / "ufw", ignore_errors=True)
    shutil.copytree("/etc/ufw", lab.etc / "ufw")
    (lab.etc / "default").mkdir(exist_ok=True)
    shutil.copy("/etc/default/ufw", lab.etc / "default" / "ufw")
    lab.host.run(["ufw", "--force", "enable"], timeout_s=30)
    try:
        yield
    finally:
        lab.host.run(["ufw", "disable"], timeout_s=30)


def end(lab, process):
    """A daemon ends by itself, and takes away what it has made."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    lab.host.processes.remove(process)


@contextlib.contextmanager
def daemon(lab, *command, ready):
    """A program that runs in a block, from when on a command succeeds."""
    path = lab.directory / f"{pathlib.Path(command[0]).name}.log"
    with path.open("w") as log:
        process = lab.host.start(command, stdout=log, stderr=log)
    try:
        if not poll(lambda: lab.host.run(ready, check=False).returncode == 0, timeout_s=30, interval_s=0.1):
            raise LabError(f"{command[0]} does not start: {path.read_text()}")
        yield
    finally:
        end(lab, process)


@contextlib.contextmanager
def firewalld(lab):
    program = need("firewalld", "firewalld")
    need("dbus-daemon", "dbus-daemon")
    shutil.rmtree(lab.etc / "firewalld", ignore_errors=True)
    (lab.etc / "firewalld").mkdir()
    (lab.directory / "bus.conf").write_text(BUS)
    lab.host.run(["mkdir", "-p", "/run/dbus", "/run/firewalld"])
    bus = ["dbus-daemon", f"--config-file={lab.directory / 'bus.conf'}", "--nofork", "--nopidfile"]
    with daemon(lab, *bus, ready=["test", "-S", "/run/dbus/system_bus_socket"]):
        with daemon(lab, program, "--nofork", "--nopid", ready=["firewall-cmd", "--state"]):
            yield


@contextlib.contextmanager
def docker(lab):
    program = need("dockerd", "docker.io")
    socket = "unix:///run/docker.sock"
    places = [f"--{name}={lab.directory / 'docker' / name}" for name in ("data-root", "exec-root")]
    try:
        with daemon(lab, program, "--storage-driver=vfs", f"--host={socket}", *places,
                    ready=["docker", "--host", socket, "version"]):
            yield
    finally:
        lab.host.run(["ip", "link", "delete", "docker0"], check=False)


LIBVIRT_NETWORK = """<network><name>default</name><forward mode='nat'/><bridge name='virbr0'/>
<ip address='192.168.122.1' netmask='255.255.255.0'><dhcp><range start='192.168.122.2' end='192.168.122.9'/></dhcp></ip>
</network>
"""


@contextlib.contextmanager
def libvirt(lab):
    """Its default network; of its drivers that for networks alone."""
    program = need("libvirtd", "libvirt-daemon")
    driver = next(pathlib.Path("/usr/lib").glob("*/libvirt/connection-driver/libvirt_driver_network.so"), None)
    if not driver or not shutil.which("virsh"):
        pytest.skip("libvirt's network driver is missing: apt-get install libvirt-daemon libvirt-clients")
    virsh = ["virsh", "-c", "network:///system"]
    kept = lab.directory / driver.name
    shutil.copy(driver, kept)
    (lab.directory / "default.xml").write_text(LIBVIRT_NETWORK)
    (lab.etc / "libvirt").mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        for path in (driver.parent, "/var/lib/libvirt"):
            lab.host.run(["mount", "-t", "tmpfs", "none", path])
            stack.callback(lab.host.run, ["umount", "-l", path])
        lab.host.run(["cp", kept, driver])
        stack.enter_context(daemon(lab, program, ready=[*virsh, "uri"]))
        lab.host.run([*virsh, "net-create", lab.directory / "default.xml"])
        stack.callback(lab.host.run, [*virsh, "net-destroy", "default"])
        yield


@contextlib.contextmanager
def iptables(lab):
    """As many scripts of administrators have it: nothing passes, and who knows it adds rules."""
    need("iptables", "iptables")
    for program in ("iptables", "ip6tables"):
        lab.host.run([program, "-P", "FORWARD", "DROP"])
        lab.host.run([program, "-A", "FORWARD", "-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP"])
        lab.host.run([program, "-A", "INPUT", "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT"])
        lab.host.run([program, "-A", "INPUT", "-m", "comment", "--comment", "the rest", "-j", "REJECT"])
    yield


PROGRAMS = {"ufw": ufw, "firewalld": firewalld, "iptables": iptables, "Docker": docker}
