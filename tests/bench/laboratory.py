# SPDX-License-Identifier: Apache-2.0
"""The laboratory of the network tests, set up by root, with an ordinary user in it who runs openvmnet.

What openvmnet may take from the kernel is not the same for root and for others: a user namespace more to
make, smaller pipes, no raw sockets. It is made for the others, so they are measured.
"""

import contextlib
import os
import shutil
import stat
import tempfile

from lab import Lab, LabError

from subject import CONGESTION

USER = 65534
MEMORY = "/dev/shm"
# The node of the host is open to all on most systems, but not in all containers.
OPEN_TUN = """mount -t tmpfs -o mode=0755 tmpfs /dev/net
mknod -m 0666 /dev/net/tun c 10 200
"""


def prepare_ends(ends, wanted):
    """Namespaces of host and servers. Returns the congestion control; cubic is what nearly all systems have.

    Nothing waits in TIME_WAIT after a measurement: subjects share the host's address, so an end that
    still waits for one would refuse another's connection from the same port, and that takes a second.
    """
    for namespace in ends:
        namespace.sysctl({"ipv4/tcp_max_tw_buckets": 0})
    for name in wanted:
        with contextlib.suppress(LabError):
            for namespace in ends:
                namespace.sysctl({CONGESTION: name})
            return name
    raise LabError(f"TCP congestion control {' or '.join(wanted)}: not there or not allowed")


def is_open_to_others(path):
    """Whether any user can reach this directory."""
    path = os.path.abspath(path)
    while os.stat(path).st_mode & stat.S_IXOTH:
        if path == "/":
            return True
        path = os.path.dirname(path)
    return False


class BenchLab(Lab):
    """A context. Where others cannot reach the build directory (a clone below /root), root runs all."""

    def __enter__(self):
        super().__enter__()
        self.in_memory = tempfile.mkdtemp(prefix="openvmnet-", dir=MEMORY)
        # Where a user's runtime directory is: pam_systemd(8).
        self.runtime.rmdir()
        self.runtime.symlink_to(self.in_memory)
        self.has_user = is_open_to_others(self.vmnet_path.parent)
        if self.has_user:
            os.chmod(self.directory, 0o711)
            for path in (self.runtime, self.state):
                os.chown(path, USER, USER)
            self.host.run(["sh", "-ec", OPEN_TUN])
        return self

    def __exit__(self, *why):
        super().__exit__(*why)
        shutil.rmtree(self.in_memory, ignore_errors=True)

    def as_user(self, command):
        """@command as one of the ordinary user's, for Namespace.start() and .run()."""
        if not self.has_user:
            return command
        user = ["--reuid", USER, "--regid", USER, "--clear-groups", "--pdeathsig", "KILL"]
        return ["setpriv", *user, "--no-new-privs", *command]

    def vmnet(self, *arguments, check=True, timeout_s=30, **options):
        command = self.as_user([self.vmnet_path, *arguments])
        return self.host.run(command, check, timeout_s, **options)
