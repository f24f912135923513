#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""contrib/install.py install|uninstall BUILD: what `make install` and `make uninstall` do.

Meson installs, and knows what; it does not undo. Files are taken from its list. A directory is removed only
where it is empty and where install made it: which ones those are is written down in the build directory, by
DESTDIR. MESON is the command, DESTDIR the staging directory, both from the environment.
"""

import json
import os
import pathlib
import shlex
import subprocess
import sys

MESON = shlex.split(os.environ.get("MESON") or "meson")
DESTDIR = os.environ.get("DESTDIR", "")


def installed_files(build):
    """Every path that installation makes, with DESTDIR in front."""
    command = [*MESON, "introspect", str(build), "--installed"]
    listed = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    root = os.path.abspath(DESTDIR) if DESTDIR else ""
    return sorted(pathlib.Path(root + path) for path in listed.values())


def read_record(record):
    return json.loads(record.read_text()) if record.exists() else {}


def check_rights(files):
    """Before anything is written: Meson ends with a traceback, in the middle."""
    for directory in {next(parent for parent in path.parents if parent.exists()) for path in files}:
        if not os.access(directory, os.W_OK | os.X_OK):
            sys.exit(
                f"install: {directory} is not yours to write to; `sudo make install` installs for all, "
                "`make install PREFIX=$HOME/.local` for you alone; build/vmnet runs without being installed"
            )


def install(build, record):
    check_rights(installed_files(build))
    missing = {
        str(parent)
        for path in installed_files(build)
        for parent in path.parents
        if not parent.exists()
    }
    made = read_record(record)
    made[DESTDIR] = sorted(missing | set(made.get(DESTDIR, [])))
    # First: what stands here and was not made is not there, or not empty.
    record.write_text(json.dumps(made, indent=1) + "\n")
    environment = {**os.environ, "DESTDIR": os.path.abspath(DESTDIR) if DESTDIR else ""}
    command = [*MESON, "install", "-C", str(build), "--no-rebuild"]
    subprocess.run(command, check=True, env=environment)


def uninstall(build, record):
    for path in installed_files(build):
        if path.is_symlink() or path.is_file():
            print(f"Removing {path}")
            path.unlink()
    made = read_record(record)
    # The longest first: what is below before what is above.
    for path in sorted(made.pop(DESTDIR, []), key=len, reverse=True):
        try:
            os.rmdir(path)
            print(f"Removing {path}/")
        except OSError:
            pass  # not there, or something of somebody else's is in it
    record.write_text(json.dumps(made, indent=1) + "\n")


def main():
    actions = {"install": install, "uninstall": uninstall}
    if len(sys.argv) != 3 or sys.argv[1] not in actions:
        sys.exit("usage: contrib/install.py install|uninstall BUILD")
    build = pathlib.Path(sys.argv[2])
    try:
        actions[sys.argv[1]](build, build / "installed-directories.json")
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
    except OSError as error:
        sys.exit(f"{sys.argv[1]}: {error.filename}: {error.strerror}")


if __name__ == "__main__":
    main()
