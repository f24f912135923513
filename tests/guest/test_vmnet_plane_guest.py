# SPDX-License-Identifier: Apache-2.0
"""`vmnet run` with a stock QEMU where the plane is vmnet.framework, which libvmnet and a second vmnetd play here."""

import shutil

import pytest


@pytest.fixture
def host(host):
    """The same host, whose vmnet finds the vmnetd for vmnet.framework beside it."""
    build = host.vmnet.parent
    vmnetd = build / "tests" / "net" / "vmnetd-vmnet"
    if not vmnetd.exists():
        pytest.skip("programs with blocks need clang and libblocksruntime-dev, and no sanitizer")
    programs, framework = host.directory / "bin", host.directory / "framework"
    programs.mkdir()
    for name in ("run", "state"):
        (framework / name).mkdir(mode=0o700, parents=True)
    shutil.copy(host.vmnet, programs / "vmnet")
    (programs / "vmnetd").symlink_to(vmnetd)
    host.vmnet = programs / "vmnet"
    host.environment["PATH"] = f"{build}:{host.environment['PATH']}"
    host.environment["VMNET_FRAMEWORK_DIR"] = str(framework)
    yield host


@pytest.mark.parametrize("way", ["stream", "dgram"])
def test_guest(boot, file_server, way):
    guest = boot(
        "-netdev", "vmnet-macos,id=n0,mode=shared", "-device", "virtio-net-pci,netdev=n0",
        options=("--way", way),
    )  # fmt: skip
    port = guest.ports()[0]
    assert port.interface == "vmnet0" and port.ipv4 is None
    address, _ = guest.wait_ready().lease()
    assert address.startswith(port.gateway.rpartition(".")[0])
    assert guest.sh("cat /sys/class/net/eth0/address") == port.mac
    guest.ping(port.gateway)
    guest.ping(port.gateway6)
    assert guest.download(file_server.url(port.gateway))[0] == file_server.sha256
    assert guest.upload(file_server.url(port.gateway))[0] == file_server.sha256
