#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""activate.py DIRECTORY COMMAND...: a service manager of one network (systemd.socket(5)).

Listens on DIRECTORY/control and DIRECTORY/stream. When somebody connects, COMMAND is started with both
sockets, as sd_listen_fds(3) says; when it has ended, the next connection starts it again. Each start is a line
"started PID" on standard output, each end "ended STATUS". Ends with its standard input.
"""

import ctypes
import os
import select
import signal
import socket
import sys

FIRST_FD = 3
PR_SET_PDEATHSIG = 1


def run(command, sockets):
    pid = os.fork()
    if pid == 0:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        copies = [os.dup(each.fileno()) for each in sockets]
        copies = [os.dup(copy) if copy < FIRST_FD + len(sockets) else copy for copy in copies]
        for i, copy in enumerate(copies):
            os.dup2(copy, FIRST_FD + i)
        os.closerange(FIRST_FD + len(sockets), 256)
        os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(sockets)))
        os.execvp(command[0], command)
    return pid


def main():
    directory, command = sys.argv[1], sys.argv[2:]
    os.makedirs(directory, exist_ok=True)
    os.chmod(directory, 0o711)
    sockets = []
    for name in ("control", "stream"):
        made = socket.socket(socket.AF_UNIX)
        made.bind(f"{directory}/{name}")
        os.chmod(f"{directory}/{name}", 0o666)
        made.listen(128)
        sockets.append(made)
    print("ready", flush=True)
    pid = pid_fd = None
    while True:
        waited = [sys.stdin, pid_fd] if pid_fd is not None else [sys.stdin, *sockets]
        ready = select.select(waited, [], [])[0]
        if sys.stdin in ready:
            break
        if pid_fd is not None:
            print("ended", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
            os.close(pid_fd)
            pid_fd = None
        else:
            pid = run(command, sockets)
            pid_fd = os.pidfd_open(pid)
            print("started", pid, flush=True)
    if pid_fd is not None:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
    for made in sockets:
        os.unlink(made.getsockname())


if __name__ == "__main__":
    main()
