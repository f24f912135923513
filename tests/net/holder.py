#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""holder.py FD [user]: holds new namespaces, and opens sockets in them for the test program.

It makes a network and a mount namespace, with `user` inside a new user namespace that maps this user
to itself. Then it answers on the seqpacket socket FD: a request is "FAMILY TYPE PROTOCOL", the reply
"ok" with the socket beside it, or an errno. It ends with the test program.
"""

import array
import ctypes
import os
import signal
import socket
import sys

PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000

libc = ctypes.CDLL(None, use_errno=True)


def check(result, what):
    if result != 0:
        sys.exit(f"holder.py: cannot {what}: {os.strerror(ctypes.get_errno())}")


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


def make_user_namespace():
    uid, gid = os.geteuid(), os.getegid()
    libc.prctl(PR_SET_DUMPABLE, 1)
    check(libc.unshare(CLONE_NEWUSER), "make a user namespace")
    write("/proc/self/setgroups", "deny")
    write("/proc/self/uid_map", f"{uid} {uid} 1")
    write("/proc/self/gid_map", f"{gid} {gid} 1")


def main():
    control = socket.socket(fileno=int(sys.argv[1]))
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if "user" in sys.argv[2:]:
        make_user_namespace()
    check(libc.unshare(CLONE_NEWNET | CLONE_NEWNS), "make a network and a mount namespace")
    check(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "make mounts private")
    control.send(b"ready")
    while True:
        request = control.recv(64)
        if not request:
            return
        try:
            with socket.socket(*(int(word) for word in request.split())) as made:
                rights = array.array("i", [made.fileno()])
                control.sendmsg([b"ok"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        except OSError as error:
            control.send(str(error.errno).encode())


if __name__ == "__main__":
    main()
