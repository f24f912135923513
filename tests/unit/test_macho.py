#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test_macho.py [BUILD]: what `make macos` checks its results with.

A small Mach-O file is sound, and then broken field by field. With BUILD, where `make macos` has put its
compiler, the event loop for macOS is compiled and checked instead; 77 where there is none.
"""

import os
import pathlib
import struct
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "contrib" / "macos"))
import macho  # noqa: E402

SYSTEM = "/usr/lib/libSystem.B.dylib"
STUBS = {SYSTEM: {"_write", "dyld_stub_binder"}}
STRINGS = b"\0_write\0_main\0"
ARM64, X86_64 = 0x0100000C, 0x01000007


def command(number, body):
    body += b"\0" * (-len(body) % 8)
    return struct.pack("<2I", number, 8 + len(body)) + body


def image(processor=ARM64, platform=1, min_os=0x0B0000, signed=True, library=SYSTEM, ordinal=1,
          name=b"_write"):
    """An executable with one library, one import and one symbol of its own."""
    strings = STRINGS.replace(b"_write", name)
    commands = [
        command(macho.LC_LOAD_DYLIB, struct.pack("<4I", 24, 0, 0, 0) + library.encode() + b"\0"),
        command(macho.LC_BUILD_VERSION, struct.pack("<4I", platform, min_os, min_os, 0)),
        command(macho.LC_CODE_SIGNATURE, struct.pack("<2I", 0, 0)) if signed else b"",
    ]
    size = sum(map(len, commands)) + 24
    symbols = struct.pack("<IBBHQ", 1, macho.N_EXT, 0, ordinal << 8, 0)
    symbols += struct.pack("<IBBHQ", strings.index(b"_main"), macho.N_EXT | 0xE, 1, 0, 0)
    commands.append(
        command(macho.LC_SYMTAB, struct.pack("<4I", 32 + size, 2, 32 + size + 32, len(strings)))
    )
    count = sum(1 for one in commands if one)
    header = struct.pack("<8I", macho.MAGIC_64, processor, 0, macho.EXECUTABLE, count, size, 0, 0)
    return header + b"".join(commands) + symbols + strings


def problems(data, processor="arm64"):
    return macho.problems(macho.parse(data), processor, (11, 0), STUBS)


def refuses(data):
    try:
        macho.parse(data)
    except macho.Malformed:
        return True
    return False


def test_a_sound_file():
    file = macho.parse(image())
    assert (file.processor, file.kind, file.platform) == ("arm64", "executable", 1)
    assert (file.min_os, file.is_signed, file.libraries) == ((11, 0), True, [SYSTEM])
    assert file.imported == {"_write": SYSTEM}
    assert file.exported == {"_main"}
    assert problems(image()) == []
    assert problems(image(processor=X86_64, signed=False), "x86_64") == []


def test_each_field():
    cases = {
        "is for x86_64": image(processor=X86_64),
        "platform 2": image(platform=2),
        "needs macOS (12, 1)": image(min_os=0x0C0100),
        "no signature": image(signed=False),
        "loads /usr/lib/libz.dylib": image(library="/usr/lib/libz.dylib"),
        "imports _pipe2": image(name=b"_pipe2"),
    }
    for words, data in cases.items():
        found = problems(data)
        assert len(found) == 1 and words in found[0], (words, found)


def test_what_is_no_such_file():
    assert refuses(b"")
    assert refuses(b"\x7fELF" + image()[4:])
    assert refuses(image(ordinal=2))
    for end in range(len(image())):
        assert refuses(image()[:end]), end


def test_stubs():
    """Each is read as a linker reads it: a path, and some symbols."""
    for stub in sorted((ROOT / "contrib" / "macos" / "stubs").glob("*.tbd.in")):
        text = stub.read_text()
        assert macho.stub_install_name(text).endswith((".dylib", "/vmnet")), stub
        assert macho.stub_symbols(text), stub


def compile_and_check(build):
    zig = build / "zig" / "package" / "zig"
    if not zig.exists():
        print(f"SKIPPED: no compiler for macOS at {zig}; `make macos` fetches it")
        sys.exit(77)
    base = ROOT / "src" / "base"
    system = zig.parent / "lib" / "libc" / "darwin" / "libSystem.11.tbd"
    stubs = {SYSTEM: macho.stub_symbols(system.read_text())}
    with tempfile.TemporaryDirectory() as scratch:
        for target, processor in (("aarch64", "arm64"), ("x86_64", "x86_64")):
            output = pathlib.Path(scratch) / f"libloop-{processor}.dylib"
            subprocess.run(
                [zig, "cc", "-target", f"{target}-macos.11.0", "-std=gnu17", "-shared",
                 f"-I{ROOT / 'src'}", base / "loop.c", base / "loop_kqueue.c", "-o", output],
                check=True, timeout=120,
                env=os.environ | {"ZIG_GLOBAL_CACHE_DIR": str(build / "cache")},
            )
            file = macho.parse(output.read_bytes())
            assert macho.problems(file, processor, (11, 0), stubs) == []
            assert file.kind == "library"
            assert {"_kqueue", "_kevent"} <= set(file.imported)
            assert {"_loop_add", "_loop_run"} <= file.exported


if len(sys.argv) > 1:
    compile_and_check(pathlib.Path(sys.argv[1]))
else:
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            test()
