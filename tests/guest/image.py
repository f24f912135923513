#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes what a test guest boots: a kernel and an initramfs, in build/guest/.

The kernel is the distribution's own cloud kernel: its package is downloaded and unpacked, not
installed. OPENVMNET_KERNEL=/path/to/vmlinuz takes another one, with its modules from /lib/modules.
The initramfs holds busybox, iperf3, the virtio modules and init.sh. What is there and newer than
what it was made of is kept, so that a second call costs nothing. accel.txt says whether guests boot
with kvm or tcg.
"""

import argparse
import lzma
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
TREE = HERE.parent.parent
PYTHON = "/usr/bin/python3"
UNPRIVILEGED = TREE / "tests" / "unprivileged.py"

# Debian's and Ubuntu's names of a small kernel for virtual machines.
KERNEL_PACKAGES = ("linux-image-cloud-amd64", "linux-image-virtual")
MODULES = ("virtio_pci", "virtio_net")
PROGRAMS = ("busybox", "iperf3")


class ImageError(Exception):
    """The image cannot be made; the text says why and what to do."""


class Image:
    """Where the parts of the guest are."""

    def __init__(self, build=None):
        build = pathlib.Path(build or os.environ.get("OPENVMNET_BUILD") or TREE / "build")
        self.directory = build.resolve() / "guest"
        self.kernel = self.directory / "vmlinuz"
        self.modules = self.directory / "modules"
        self.initrd = self.directory / "initrd.img"
        self.accel = self.directory / "accel.txt"

    def prepare(self):
        """Makes what is missing. Returns one line that says what it is."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if not self.kernel.exists() or os.environ.get("OPENVMNET_KERNEL"):
            self._prepare_kernel()
        if self._initrd_is_stale():
            self._prepare_initrd()
        if not self.accel.exists():
            self._find_accel()
        return f"Linux {kernel_release(self.kernel)}, {self.accel.read_text().strip()}"

    def _prepare_kernel(self):
        with tempfile.TemporaryDirectory(dir=self.directory) as scratch:
            scratch = pathlib.Path(scratch)
            kernel = os.environ.get("OPENVMNET_KERNEL")
            if kernel:
                kernel = pathlib.Path(kernel)
                tree = pathlib.Path("/lib/modules") / kernel_release(kernel)
            else:
                kernel, tree = download_kernel(scratch)
            modules = scratch / "modules"
            modules.mkdir()
            names = collect_modules(tree, modules)
            (modules / "order").write_text("".join(f"{name}\n" for name in names))
            shutil.rmtree(self.modules, ignore_errors=True)
            modules.rename(self.modules)
            # Last, because its being there means that the modules are.
            shutil.copyfile(kernel, scratch / "vmlinuz")
            (scratch / "vmlinuz").rename(self.kernel)

    def _initrd_is_stale(self):
        if not self.initrd.exists():
            return True
        made_of = [HERE / "image.py", HERE / "init.sh", HERE / "udhcpc.sh", self.kernel]
        return any(newer(path, self.initrd) for path in made_of)

    def _prepare_initrd(self):
        files = {"init": (HERE / "init.sh").read_bytes()}
        files["lib/udhcpc.sh"] = (HERE / "udhcpc.sh").read_bytes()
        for path in self.modules.iterdir():
            files[f"lib/modules/{path.name}"] = path.read_bytes()
        for name in PROGRAMS:
            program = shutil.which(name, path="/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin")
            if not program:
                raise ImageError(f"{name} is not installed: run `make deps`")
            files[f"bin/{name}"] = pathlib.Path(program).read_bytes()
            for library in libraries(program):
                files[library.lstrip("/")] = pathlib.Path(library).read_bytes()
        scratch = self.initrd.with_suffix(".new")
        scratch.write_bytes(cpio(files))
        scratch.rename(self.initrd)

    def _find_accel(self):
        """Boots a guest as the user that guests will run as, who may have no right to /dev/kvm."""
        build = f"--build={self.directory.parent}"
        command = [PYTHON, UNPRIVILEGED, PYTHON, HERE / "guest.py", build]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as probe:
            try:
                output, _ = probe.communicate()
            except BaseException:
                probe.terminate()  # which lets it clean up
                raise
        if probe.returncode != 0:
            raise ImageError("no guest boots, neither with kvm nor with tcg")
        self.accel.write_text(output)


def newer(path, than):
    return path.stat().st_mtime > than.stat().st_mtime


def kernel_release(kernel):
    """The release from the header of a bzImage (the kernel's arch/x86/boot.rst, kernel_version)."""
    try:
        with open(kernel, "rb") as file:
            header = file.read(0x10000)
        if header[0x202:0x206] != b"HdrS":
            raise ImageError(f"{kernel} is not a Linux kernel for x86 (bzImage)")
    except OSError as error:
        raise ImageError(f"cannot read the kernel {kernel}: {error.strerror}") from error
    start = struct.unpack_from("<H", header, 0x20E)[0] + 0x200
    return header[start : header.index(b"\0", start)].split()[0].decode()


def download_kernel(scratch):
    """Downloads and unpacks the kernel's packages. Returns the paths of kernel and module tree."""
    if not shutil.which("apt-get"):
        raise ImageError(
            "only Debian's kernel package can be downloaded, and there is no apt-get here:\n"
            "set OPENVMNET_KERNEL=/path/to/vmlinuz, a kernel with its modules in /lib/modules"
        )
    try:
        download_packages(scratch)
    except ImageError:
        # No package lists, or lists so old that the package they name is gone.
        if os.geteuid() != 0:
            raise
        apt("update")
        download_packages(scratch)
    for package in scratch.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, scratch / "root"], check=True)
    kernels = list((scratch / "root" / "boot").glob("vmlinuz-*"))
    if len(kernels) != 1:
        raise ImageError("the kernel's package holds no boot/vmlinuz-*")
    release = kernels[0].name.removeprefix("vmlinuz-")
    trees = [scratch / "root" / top / "modules" / release for top in ("lib", "usr/lib")]
    return kernels[0], next(tree for tree in trees if tree.exists())


def download_packages(scratch):
    for meta in KERNEL_PACKAGES:
        image = depended_on(meta, r"linux-image-\d\S+")
        if image:
            break
    else:
        raise ImageError(
            f"apt knows none of {', '.join(KERNEL_PACKAGES)}: run `apt-get update` as root,\n"
            "or set OPENVMNET_KERNEL=/path/to/vmlinuz"
        )
    # Ubuntu keeps the modules in a package of their own.
    modules = depended_on(image, r"linux-modules-\d\S+")
    apt("download", *filter(None, [image, modules]), directory=scratch)


def depended_on(package, pattern):
    """The name of a package that @package depends on, or None."""
    found = subprocess.run(
        ["apt-cache", "depends", "--important", package],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    match = re.search(rf"Depends: ({pattern})", found.stdout)
    return match and match[1]


def apt(*arguments, directory=None):
    # Root's sandbox user could not write into a private directory.
    options = ["-qq", "-o", "Acquire::Retries=3", "-o", "APT::Sandbox::User=root"]
    done = subprocess.run(
        ["apt-get", *options, *arguments],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ImageError(f"apt-get {' '.join(arguments)}: {done.stdout.strip()}")


def collect_modules(tree, target):
    """Copies MODULES and what they need, unpacked, to @target. Returns the order of loading."""
    paths = {}
    for path in tree.rglob("*.ko*"):
        paths[module_name(path)] = path
    builtin = tree / "modules.builtin"
    builtins = set()
    if builtin.exists():
        builtins = {module_name(pathlib.Path(line)) for line in builtin.read_text().split()}
    order = []

    def collect(name):
        if name in builtins or f"{name}.ko" in order:
            return
        if name not in paths:
            raise ImageError(f"the kernel has no module {name} in {tree}")
        data = read_module(paths[name])
        # The string is in the section .modinfo, which holds NUL-terminated key=value pairs.
        depends = re.search(rb"\0depends=([^\0]*)\0", data)
        for needed in filter(None, depends[1].decode().split(",") if depends else []):
            collect(needed.replace("-", "_"))
        (target / f"{name}.ko").write_bytes(data)
        order.append(f"{name}.ko")

    for name in MODULES:
        collect(name)
    return order


def module_name(path):
    return path.name.split(".")[0].replace("-", "_")


def read_module(path):
    data = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(data)
    if path.suffix == ".zst":
        return subprocess.check_output(["zstd", "-dc"], input=data)
    return data


def libraries(program):
    """Paths of the shared libraries of @program and of the loader; none for a static one."""
    ldd = subprocess.run(
        ["ldd", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False
    )
    return re.findall(r"(/\S+) \(0x", ldd.stdout)


def cpio(files):
    """A cpio archive in the format "newc" of @files, {path: bytes}, all of them executable."""
    directories = {
        str(parent) for path in files for parent in pathlib.PurePath(path).parents if parent.name
    }
    entries = [(path, 0o040755, b"") for path in sorted(directories)]
    entries += [(path, 0o100755, data) for path, data in files.items()]
    entries.append(("TRAILER!!!", 0, b""))
    archive = bytearray()
    for inode, (path, mode, data) in enumerate(entries, 1):
        name = path.encode() + b"\0"
        # inode, mode, uid, gid, links, mtime, size, device, special device, name size, checksum
        fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0)
        archive += b"070701" + b"".join(b"%08X" % field for field in fields) + name
        archive += bytes(-len(archive) % 4)
        archive += data
        archive += bytes(-len(archive) % 4)
    return bytes(archive)


def append_files(initrd, files, target):
    """Writes to @target the image @initrd with @files added: archives may follow one another.

    With a file "script" the guest runs that, with the functions of init.sh at hand, and powers off.
    """
    pathlib.Path(target).write_bytes(pathlib.Path(initrd).read_bytes() + cpio(files))


def main():
    parser = argparse.ArgumentParser(description="Makes kernel and initramfs of the test guests.")
    parser.add_argument("--build", help="build directory (default: build)")
    try:
        print("guest:", Image(parser.parse_args().build).prepare())
    except ImageError as error:
        sys.exit(f"image.py: {error}")


if __name__ == "__main__":
    main()
