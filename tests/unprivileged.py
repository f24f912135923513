#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tests/unprivileged.py COMMAND...: runs COMMAND as an ordinary user.

Started by an ordinary user it runs COMMAND as it is. Started as root it becomes uid and gid 65534
with no other groups, and makes two things right on the way, in a mount namespace of its own, so
that the host's files are what they were and all of it is gone with the last process:

- where others may not open /dev/net/tun (distributions let them, some containers and images do
  not), a device node that they may open hides it;
- where others may not reach this source tree (a clone below /root), an empty, passable directory
  hides the first one that is closed, and the tree is mounted where it was; a tree that is closed
  itself (a clone made with umask 077) is copied there.
"""

import ctypes
import os
import shutil
import stat
import sys

NOBODY = 65534
TUN = "/dev/net/tun"
TREE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

CLONE_NEWNS = 0x00020000
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 0x2, 0x4, 0x1000, 0x4000, 0x40000

libc = ctypes.CDLL(None, use_errno=True)


def check(result, what):
    if result != 0:
        error = ctypes.get_errno()
        sys.exit(f"unprivileged.py: cannot {what}: {os.strerror(error)}")


def mount(source, target, kind, flags, data=None):
    arguments = [text and text.encode() for text in (source, target, kind)]
    check(libc.mount(*arguments, ctypes.c_ulong(flags), data and data.encode()), f"mount {target}")


def closed_to_others(path):
    """The first directory from / to @path, itself included, that others may not pass; or None."""
    at = "/"
    for part in [""] + path.strip("/").split("/"):
        at = os.path.join(at, part)
        if not os.stat(at).st_mode & stat.S_IXOTH:
            return at
    return None


def open_tree(path, closed):
    tree_fd = os.open(path, os.O_PATH | os.O_DIRECTORY)
    tree = f"/proc/self/fd/{tree_fd}"
    mount("tmpfs", closed, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")
    os.makedirs(path, exist_ok=True)
    if not os.stat(tree).st_mode & stat.S_IXOTH:
        copy_for_others(tree, path)
    else:
        mount(tree, path, None, MS_BIND | MS_REC)
    os.close(tree_fd)


def copy_for_others(source, target):
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(".git"), dirs_exist_ok=True)
    for directory, _, files in os.walk(target):
        os.chmod(directory, 0o755)
        for name in files:
            path = os.path.join(directory, name)
            os.chmod(path, 0o755 if os.access(path, os.X_OK) else 0o644)


def open_tun():
    mount("tmpfs", os.path.dirname(TUN), "tmpfs", MS_NOSUID, "mode=0755")
    os.mknod(TUN, stat.S_IFCHR | 0o666, os.makedev(10, 200))
    os.chmod(TUN, 0o666)  # mknod obeys the umask


def become_nobody():
    """Root becomes an ordinary user that can reach the tree and TUN devices."""
    directory = os.getcwd()
    os.umask(0o022)
    closed = closed_to_others(TREE)
    tun_is_closed = os.path.exists(TUN) and os.stat(TUN).st_mode & 0o006 != 0o006
    if closed or tun_is_closed:
        check(libc.unshare(CLONE_NEWNS), "make a mount namespace")
        mount("none", "/", None, MS_REC | MS_PRIVATE)
    if closed:
        open_tree(TREE, closed)
    if tun_is_closed:
        open_tun()
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    # By path: the directory may be hidden by now.
    os.chdir(directory if os.access(directory, os.X_OK) else "/")
    for name in [name for name in os.environ if name.startswith(("XDG_", "SUDO_"))]:
        del os.environ[name]
    os.environ.update(HOME="/nonexistent", USER="nobody", LOGNAME="nobody", PATH=PATH)


def main():
    if len(sys.argv) < 2:
        sys.exit("usage: tests/unprivileged.py COMMAND...")
    if os.geteuid() == 0:
        become_nobody()
    try:
        os.execvp(sys.argv[1], sys.argv[1:])
    except OSError as error:
        sys.exit(f"unprivileged.py: cannot run {sys.argv[1]}: {error.strerror}")


if __name__ == "__main__":
    main()
