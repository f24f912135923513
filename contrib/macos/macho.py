# SPDX-License-Identifier: Apache-2.0
"""What a Mach-O file says of itself, for checks on a system without otool.

The format is that of <mach-o/loader.h> and <mach-o/nlist.h>: a header, load commands, and a table of
symbols; here 64 bits, little-endian, for one processor.
"""

import dataclasses
import re
import struct

MAGIC_64 = 0xFEEDFACF
PROCESSORS = {0x0100000C: "arm64", 0x01000007: "x86_64"}
EXECUTABLE, LIBRARY = 2, 6
KINDS = {EXECUTABLE: "executable", LIBRARY: "library"}

LC_SYMTAB = 0x2
LC_LOAD_DYLIB = 0xC
LC_ID_DYLIB = 0xD
LC_LOAD_WEAK_DYLIB = 0x80000018
LC_CODE_SIGNATURE = 0x1D
LC_BUILD_VERSION = 0x32
PLATFORM_MACOS = 1

N_STAB, N_TYPE, N_EXT, N_PEXT = 0xE0, 0x0E, 0x01, 0x10
N_UNDF = 0
N_WEAK_DEF = 0x80


class Malformed(Exception):
    """The file is no Mach-O file of the kind looked for."""


@dataclasses.dataclass
class MachO:
    processor: str
    kind: str
    platform: int | None = None
    min_os: tuple[int, int] | None = None
    is_signed: bool = False
    install_name: str | None = None
    libraries: list[str] = dataclasses.field(default_factory=list)
    imported: dict[str, str] = dataclasses.field(default_factory=dict)  # symbol: library
    exported: set[str] = dataclasses.field(default_factory=set)


def unpack(layout, data, offset):
    size = struct.calcsize("<" + layout)
    if offset < 0 or offset + size > len(data):
        raise Malformed(f"cut off at {offset}")
    return struct.unpack_from("<" + layout, data, offset)


def text(data, offset, end):
    stop = data.find(b"\0", offset, end)
    if offset >= end or stop < 0:
        raise Malformed(f"a text at {offset} has no end")
    return data[offset:stop].decode("ascii", "replace")


def read_symbols(data, offset, macho):
    symbols, count, strings, strings_size = unpack("4I", data, offset + 8)
    if strings + strings_size > len(data):
        raise Malformed("the symbols' names are cut off")
    for i in range(count):
        name_at, kind, _, describe, _ = unpack("IBBHQ", data, symbols + 16 * i)
        if kind & N_STAB or not kind & N_EXT:
            continue
        name = text(data, strings + name_at, strings + strings_size)
        if kind & N_TYPE != N_UNDF:
            # Zig's linker lists hidden symbols, too, and has its own run-time in, as weak ones.
            if not kind & N_PEXT and not describe & N_WEAK_DEF:
                macho.exported.add(name)
            continue
        ordinal = describe >> 8  # of the two-level namespace
        if not 1 <= ordinal <= len(macho.libraries):
            raise Malformed(f"{name} is of library {ordinal}, which there is not")
        macho.imported[name] = macho.libraries[ordinal - 1]


def parse(data):
    magic, processor, _, kind, count, size, _, _ = unpack("8I", data, 0)
    if magic != MAGIC_64:
        raise Malformed(f"no 64 bit Mach-O file: it begins with {magic:#x}")
    macho = MachO(PROCESSORS.get(processor, hex(processor)), KINDS.get(kind, str(kind)))
    at, end, symtab = 32, 32 + size, None
    for _ in range(count):
        command, length = unpack("2I", data, at)
        if length < 8 or at + length > end:
            raise Malformed(f"the load command at {at} is cut off")
        if command in (LC_LOAD_DYLIB, LC_LOAD_WEAK_DYLIB, LC_ID_DYLIB):
            name = text(data, at + unpack("I", data, at + 8)[0], at + length)
            if command == LC_ID_DYLIB:
                macho.install_name = name
            else:
                macho.libraries.append(name)
        elif command == LC_BUILD_VERSION:
            macho.platform, version = unpack("2I", data, at + 8)
            macho.min_os = (version >> 16, version >> 8 & 0xFF)
        elif command == LC_CODE_SIGNATURE:
            macho.is_signed = True
        elif command == LC_SYMTAB:
            symtab = at
        at += length
    if symtab is not None:  # after all libraries are known
        read_symbols(data, symtab, macho)
    return macho


def stub_symbols(stub):
    """The symbols that a text-based stub names, of whatever target."""
    return set(re.findall(r"(?<![\w$.])(?:_[\w$]+|dyld_stub_binder)", stub))


def stub_install_name(stub):
    return re.search(r"^install-name:\s*'?([^'\s]+)'?\s*$", stub, re.MULTILINE).group(1)


def problems(macho, processor, min_os, stubs):
    """What is not as it must be, as texts. @stubs: what may be imported, install name: set of symbols."""
    found = []
    if macho.processor != processor:
        found.append(f"is for {macho.processor}, not {processor}")
    if macho.platform != PLATFORM_MACOS:
        found.append(f"is for platform {macho.platform}, not macOS")
    if macho.min_os != min_os:
        found.append(f"needs macOS {macho.min_os}, not {min_os}")
    if processor == "arm64" and not macho.is_signed:
        found.append("has no signature, without which arm64 runs nothing")
    for library in macho.libraries:
        if library not in stubs and not library.startswith("@rpath/libopenvmnet."):
            found.append(f"loads {library}, which nobody expects")
    for symbol, library in sorted(macho.imported.items()):
        if library in stubs and symbol not in stubs[library]:
            found.append(f"imports {symbol}, which {library} does not have")
    return found
