#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test_library_install.py BUILD: libopenvmnet as a package would have it.

Installs the build to a scratch directory (DESTDIR), compiles the example with nothing but what pkg-config
says, against the shared and the static library, and looks at what both show of themselves. The same for
libvmnet, with clang, where there is one.
"""

import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
EXAMPLE = ROOT / "docs" / "examples" / "ping-from-port.c"
UUID = ["-luuid"] if pathlib.Path("/usr/include/uuid/uuid.h").exists() else []
PROGRAM = """
#include <vmnet/vmnet.h>
#if __MAC_OS_X_VERSION_MAX_ALLOWED < 110000
#error "of an older version"
#endif
int main(void)
{
    uuid_string_t text;
    uuid_t uuid, other = {1};
    int parsed = uuid_parse("8a2c5f10-0d3b-4c7e-9a51-6f1e2d3c4b5a", uuid);

    signal(SIGPIPE, SIG_IGN);
    uuid_generate(other);
    uuid_unparse_upper(uuid, text);
    printf("%s %d %d\\n", text, parsed, uuid_parse("8a2c5f10-0d3b-4c7e-9a51-6f1e2d3c4b5", other));
    exit(strlen(text) == 36 && !uuid_is_null(other) && O_RDONLY == 0 ? 0 : 1);
}
"""
STRICT = ["-Wall", "-Wextra", "-Werror", "-pedantic"]


def run(*command, **options):
    """What a program prints; its failure is the test's."""
    result = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=120, **options
    )
    text = " ".join(map(str, command))
    assert result.returncode == 0, f"{text}: {result.returncode}\n{result.stdout}{result.stderr}"
    return result.stdout


def find(stage, name):
    found = sorted(stage.rglob(name))
    assert found, f"{name} is not installed"
    return found[0]


def symbols(*command):
    lines = [line.split() for line in run("nm", *command).splitlines()]
    return {words[-1].split("@")[0] for words in lines if len(words) == 3}


def check_symbols(stage):
    """Nothing but openvmnet_*, and every function of the header."""
    header = re.sub(r"/\*.*?\*/", "", find(stage, "openvmnet.h").read_text(), flags=re.DOTALL)
    declared = set(re.findall(r"\b(openvmnet_\w+)\(", header))
    shared = symbols("-D", "--defined-only", find(stage, "libopenvmnet.so"))
    assert "openvmnet_attach" in declared and declared == shared, declared ^ shared
    for archive in stage.rglob("libopenvmnet.a"):
        assert symbols("-g", "--defined-only", archive) == shared, archive


def pkg_config(stage, *arguments, package="openvmnet"):
    environment = dict(
        os.environ,
        PKG_CONFIG_SYSROOT_DIR=str(stage),
        PKG_CONFIG_LIBDIR=str(find(stage, "openvmnet.pc").parent),
        # What it requires is the system's own; its flags need no directories.
        PKG_CONFIG_PATH=run("pkg-config", "--variable", "pc_path", "pkg-config").strip(),
    )
    return shlex.split(run("pkg-config", *arguments, package, env=environment))


def check_programs(stage, scratch):
    """A program made from what is installed answers with the library's words, and strictly so."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    library = find(stage, "libopenvmnet.so")
    example = find(stage, "ping-from-port.c")
    assert example.read_bytes() == EXAMPLE.read_bytes()
    sanitized = b"__asan_" in library.read_bytes() or b"__tsan_" in library.read_bytes()
    forms = {"shared": pkg_config(stage, "--cflags", "--libs")}
    if any(stage.rglob("libopenvmnet.a")):
        static = pkg_config(stage, "--cflags", "--libs", "--static")
        # Of the two it is the shared one that -l prefers.
        archive = str(find(stage, "libopenvmnet.a"))
        forms["static"] = [archive if flag == "-lopenvmnet" else flag for flag in static]
    for form, flags in forms.items():
        if sanitized:
            continue  # the program would have to be one as well
        program = scratch / f"ping-{form}"
        run(*compiler, "-std=gnu11", *STRICT, example, *flags, "-o", program)
        result = subprocess.run(
            [str(program), "mode=fast"],
            env=dict(os.environ, LD_LIBRARY_PATH=str(library.parent) if form == "shared" else ""),
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert (result.returncode, result.stdout) == (1, ""), result
        assert result.stderr.startswith("ping-from-port: ") and "fast" in result.stderr, result
    source = scratch / "header.c"
    source.write_text('#include <openvmnet.h>\nint number = OPENVMNET_VERSION_NUMBER;\n')
    for standard in ("c99", "c11"):
        flags = pkg_config(stage, "--cflags")
        run(*compiler, f"-std={standard}", *STRICT, "-c", source, *flags, "-o", scratch / "header.o")


def check_vmnet(stage, scratch):
    """Programs for vmnet.h: its headers alone, in C and C++, and the example with the library."""
    if not any(stage.rglob("libvmnet.pc")):
        print("libvmnet: not built, for want of libblocksruntime-dev")
        return
    shown = symbols("-D", "--defined-only", find(stage, "libvmnet.so"))
    # The linker's own, and a sanitizer's.
    shown = {name for name in shown - {"_end", "_edata", "__bss_start"} if not name.startswith("__odr_asan.")}
    ours = re.compile(r"vmnet_|xpc_|_xpc_|dispatch_|_dispatch_|openvmnet_object_(retain|release)$")
    assert all(ours.match(name) for name in shown), [name for name in shown if not ours.match(name)]
    directory = find(stage, "vmnet.h").parent.parent
    for header in directory.rglob("*.h"):
        text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.DOTALL)
        for name in re.findall(r"^\w+_API [^;]*?\b(\w+)\(", text, re.MULTILINE):
            assert name in shown, f"{header.name} declares {name}, which the library does not have"
    flags = pkg_config(stage, "--cflags", "--libs", package="libvmnet")
    # A compiler without blocks reads the headers, too.
    plain = [flag for flag in flags if flag.startswith(("-I", "-D"))]
    source = scratch / "headers.c"
    for header in ("vmnet/vmnet.h", "dispatch/dispatch.h", "xpc/xpc.h", "CoreFoundation/CFBase.h"):
        source.write_text(f"#include <{header}>\nint number = 1;\n")
        run("cc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", *plain, "-c", source, "-o", scratch / "headers.o")
    # What comes along on macOS, and programs count on.
    source.write_text(PROGRAM)
    run("cc", "-std=gnu11", "-Wall", "-Werror", *plain, source, *UUID, "-o", scratch / "along")
    assert run(scratch / "along") == "8A2C5F10-0D3B-4C7E-9A51-6F1E2D3C4B5A 0 -1\n"
    if not shutil.which("clang"):
        print("libvmnet: programs with blocks are not tried, for want of clang")
        return
    source.write_text("#include <vmnet/vmnet.h>\n#include <CoreFoundation/CoreFoundation.h>\n")
    # Also with our own uuid.h, which is not installed where there is a libuuid.
    for language in ("c", "c++"):
        for uuid in ([], ["-I", ROOT / "src" / "compat" / "uuid" / "include"]):
            run("clang", "-x", language, "-Wall", "-Werror", "-fblocks", *uuid, *plain,
                "-c", source, "-o", scratch / "headers.o")  # fmt: skip
    library = find(stage, "libvmnet.so")
    if b"__asan_" in library.read_bytes() or b"__tsan_" in library.read_bytes():
        return
    # Programs as others have written them know no more than what is installed.
    for name in ("vmnetsocket", "vmnetmonitor"):
        run("clang", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", ROOT / "tests" / "net" / f"{name}.c", *flags,
            "-o", scratch / name, f"-Wl,-rpath-link,{library.parent}")  # fmt: skip
    program = scratch / "vmnet-ping"
    run("clang", "-Wall", "-Wextra", "-Werror", find(stage, "vmnet-ping.c"), *flags, "-o", program,
        f"-Wl,-rpath-link,{library.parent}")  # fmt: skip
    environment = dict(os.environ, LD_LIBRARY_PATH=str(library.parent), VMNET_DEBUG="1", PATH="/usr/bin:/bin")
    environment["XDG_RUNTIME_DIR"] = "relative"
    result = subprocess.run([program], env=environment, capture_output=True, text=True, timeout=30)
    assert result.returncode == 1 and "libvmnet: vmnet_start_interface: " in result.stderr, result


def main():
    build = pathlib.Path(sys.argv[1])
    meson = shlex.split(sys.argv[2])
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="openvmnet-install-"))
    try:
        stage = scratch / "stage"
        run(*meson, "install", "-C", build, "--no-rebuild", "--quiet", "--destdir", stage)
        check_symbols(stage)
        check_programs(stage, scratch)
        check_vmnet(stage, scratch)
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
