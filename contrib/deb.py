#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""contrib/deb.py BUILD: Debian packages of this tree, in BUILD/deb, and what lintian has to say of them.

The packaging is in contrib/debian; the packages' version is Meson's. A copy is built, so that nothing but BUILD changes.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import time

SOURCE = pathlib.Path(__file__).resolve().parent.parent
LEFT_OUT = ("build*", ".git", "__pycache__", ".cache", "*.pyc")


def version():
    text = (SOURCE / "meson.build").read_text()
    return text.partition("version: '")[2].partition("'")[0]


def copy_tree(target):
    shutil.rmtree(target, ignore_errors=True)
    # contrib/macos/build.py has a name that begins like a build directory.
    def left_out(directory, names):
        top = pathlib.Path(directory) == SOURCE
        return [
            name for name in shutil.ignore_patterns(*LEFT_OUT)(directory, names) if top or name != "build.py"
        ]

    shutil.copytree(SOURCE, target, symlinks=True, ignore=left_out)
    shutil.move(target / "contrib" / "debian", target / "debian")
    date = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))))
    (target / "debian" / "changelog").write_text(
        f"openvmnet ({version()}) unstable; urgency=medium\n\n  * Built from the source tree.\n\n"
        f" -- The openvmnet maintainers <maintainers@openvmnet.invalid>  {date}\n"
    )


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: contrib/deb.py BUILD")
    for program, package in (("dpkg-buildpackage", "dpkg-dev"), ("dh", "debhelper"), ("fakeroot", "fakeroot")):
        if not shutil.which(program):
            sys.exit(f"make deb: {program} is missing: apt-get install {package}")
    directory = pathlib.Path(sys.argv[1]).resolve() / "deb"
    shutil.rmtree(directory, ignore_errors=True)
    tree = directory / f"openvmnet-{version()}"
    copy_tree(tree)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    result = subprocess.run(["dpkg-buildpackage", "--build=binary", "--no-sign"], cwd=tree, env=environment, check=False)
    if result.returncode:
        sys.exit(f"make deb: dpkg-buildpackage ended with status {result.returncode}")
    shutil.rmtree(tree)
    for path in sorted(directory.glob("*.deb")):
        print(path)
    if not shutil.which("lintian"):
        print("make deb: lintian is not here, so nobody has looked at the packages: apt-get install lintian")
        return
    changes = next(directory.glob("*.changes"))
    sys.exit(subprocess.run(["lintian", "--fail-on=error,warning", str(changes)], check=False).returncode)


if __name__ == "__main__":
    main()
