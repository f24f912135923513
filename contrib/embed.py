#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""embed.py FILE NAME HEADER: writes a C header in which NAME is what FILE has in it."""

import sys

source, name, header = sys.argv[1:]
with open(source, "rb") as file:
    data = file.read()
lines = [", ".join(f"{byte:#04x}" for byte in data[at:at + 16]) for at in range(0, len(data), 16)]
with open(header, "w", encoding="ascii") as file:
    # Aligned as an object file's parts are.
    file.write(f"static const unsigned char {name}[] __attribute__((aligned(8))) = {{\n")
    file.write(",\n".join(lines) + "};\n")
