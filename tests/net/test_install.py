# SPDX-License-Identifier: Apache-2.0
"""make install and make uninstall, below a DESTDIR."""

import importlib.util
import json
import os
import pathlib
import shutil
import subprocess

import pytest
from fakenet import BUILD

SOURCE = pathlib.Path(__file__).resolve().parent.parent.parent

def installs(test):
    """Marks a test that installs from the build directory."""
    mine = os.access(BUILD, os.W_OK) and os.access(BUILD / "meson-logs", os.W_OK)
    test = pytest.mark.skipif(not mine, reason="the build directory belongs to somebody else")(test)
    return pytest.mark.skipif(not shutil.which("make"), reason="needs make")(test)


# Below the prefix. More may be there: libraries, other pages.
EXPECTED = [
    "bin/vmnet",
    "bin/vmnetd",
    "libexec/openvmnet-bridge-helper",
    "lib/systemd/system/openvmnet@.service",
    "lib/systemd/system/openvmnet@.socket",
    "lib/sysusers.d/openvmnet.conf",
    "lib/tmpfiles.d/openvmnet.conf",
    "libexec/openvmnet/vmnet-capture",
    "libexec/openvmnet/vmnet-top",
    "share/bash-completion/completions/vmnet",
    "share/fish/vendor_completions.d/vmnet.fish",
    "share/zsh/site-functions/_vmnet",
]
PAGES = ["man8/openvmnet-bridge-helper.8", "man1/vmnet.1", "man7/openvmnet.7", "man8/vmnetd.8"]


def prefix():
    """That of the build directory, so that it stays as it is."""
    command = ["meson", "introspect", str(BUILD), "--buildoptions"]
    options = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return next(option["value"] for option in options if option["name"] == "prefix")


def make(target, destination):
    result = subprocess.run(
        ["make", "-C", str(SOURCE), target, f"BUILD={BUILD}", f"PREFIX={prefix()}",
         f"DESTDIR={destination}"],
        capture_output=True, text=True, timeout=80, check=False,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr


def files_below(directory):
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if not path.is_dir())


@installs
def test_install_and_uninstall(tmp_path):
    destination = tmp_path / "staged"
    make("install", destination)
    root = pathlib.Path(f"{destination}{prefix()}")
    installed = files_below(root)
    assert set(EXPECTED) <= set(installed), installed
    assert files_below(destination) == sorted(f"{prefix().strip('/')}/{name}" for name in installed)
    if shutil.which("scdoc"):
        assert {f"share/man/{page}" for page in PAGES} <= set(installed)
        for page in PAGES:
            assert "@" not in (root / "share/man" / page).read_text().splitlines()[2]
    for program in ("vmnet", "vmnetd"):
        result = subprocess.run([root / "bin" / program, "--version"], capture_output=True, check=False)
        assert result.returncode == 0 and result.stdout.startswith(program.encode())
    # Again, as an update does: the second time all directories are there already.
    make("install", destination)
    make("uninstall", destination)
    assert not destination.exists(), list(destination.rglob("*"))


@installs
def test_uninstall_leaves_what_is_not_ours(tmp_path):
    destination = tmp_path / "staged"
    root = pathlib.Path(f"{destination}{prefix()}")
    (root / "bin").mkdir(parents=True)
    (root / "share" / "fish").mkdir(parents=True)
    make("install", destination)
    other = root / "share" / "bash-completion" / "completions" / "other"
    other.write_text("")
    make("uninstall", destination)
    assert files_below(destination) == [str(other.relative_to(destination))]
    # Empty, but somebody else made it.
    assert (root / "bin").is_dir() and (root / "share" / "fish").is_dir()
    assert not (root / "share" / "fish" / "vendor_completions.d").exists()
    make("uninstall", destination)
    assert other.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_install_without_rights(tmp_path):
    """What to do is told, before anything is written."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    spec = importlib.util.spec_from_file_location("install", SOURCE / "contrib" / "install.py")
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    program.check_rights([tmp_path / "share" / "man" / "vmnet.1"])
    with pytest.raises(SystemExit) as refused:
        program.check_rights([tmp_path / "vmnet", closed / "bin" / "vmnet"])
    assert f"install: {closed} is not yours to write to" in refused.value.code
    assert "make install PREFIX=$HOME/.local" in refused.value.code
