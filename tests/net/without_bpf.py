# SPDX-License-Identifier: Apache-2.0
"""without_bpf.py FILE PROGRAM [ARGUMENT...]: runs a program to which, and to whose children, bpf(2) is refused while FILE
is there, as a container engine's seccomp filter does. With another process, which answers for the kernel (seccomp_unotify(2)),
since what a process was once refused by a filter of its own it is refused for good.
"""

import ctypes
import fcntl
import os
import select
import socket
import struct
import sys

BPF_NUMBERS = {"x86_64": 321, "aarch64": 280}
SECCOMP_NUMBERS = {"x86_64": 317, "aarch64": 277}
SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER = 1, 1 << 3
SECCOMP_RET_ALLOW, SECCOMP_RET_USER_NOTIF = 0x7FFF0000, 0x7FC00000
SECCOMP_IOCTL_NOTIF_RECV, SECCOMP_IOCTL_NOTIF_SEND = 0xC0502100, 0xC0182101
SECCOMP_USER_NOTIF_FLAG_CONTINUE = 1
NOTIFICATION_BYTES = 80
EPERM = 1


def install():
    """Asks about bpf(2) from here on. Returns the descriptor that says what is asked."""
    libc = ctypes.CDLL(None, use_errno=True)
    machine = os.uname().machine
    program = [
        (0x20, 0, 0, 0),  # load the system call's number
        (0x15, 0, 1, BPF_NUMBERS[machine]),  # equal: the next one, else the one after
        (0x06, 0, 0, SECCOMP_RET_USER_NOTIF),
        (0x06, 0, 0, SECCOMP_RET_ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in program))
    header = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    fd = libc.syscall(
        SECCOMP_NUMBERS[machine], SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, header
    )
    if fd < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return fd


def answer(fd, refused):
    """Until all who ask are gone."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    while not poller.poll()[0][1] & select.POLLHUP:
        asked = bytearray(NOTIFICATION_BYTES)
        try:
            fcntl.ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, asked)
            (number,) = struct.unpack_from("Q", asked)
            words = (-EPERM, 0) if os.path.exists(refused) else (0, SECCOMP_USER_NOTIF_FLAG_CONTINUE)
            fcntl.ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, struct.pack("QqiI", number, 0, *words))
        except FileNotFoundError:
            pass  # who asked was killed meanwhile


def main():
    refused, program, *arguments = sys.argv[1:]
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        _, (fd,), _, _ = socket.recv_fds(theirs, 1, 1)
        # Somebody may wait for the end of each other descriptor.
        nothing = os.open("/dev/null", os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nothing, number)
        os.closerange(3, fd)
        os.closerange(fd + 1, 1024)
        answer(fd, refused)
        os._exit(0)
    fd = install()
    socket.send_fds(ours, [b"x"], [fd])
    os.close(fd)
    ours.close()
    theirs.close()
    os.execv(program, [program, *arguments])


if __name__ == "__main__":
    main()
