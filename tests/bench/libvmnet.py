# SPDX-License-Identifier: Apache-2.0
"""What libvmnet costs beside a bare tap, frame by frame: vmnetbench in a host of its own."""

import json

from lab import BUILD, Lab

NAME = "libvmnet/frames"  # as --only matches it
PROGRAM = BUILD / "tests" / "bench" / "vmnetbench"


def measure(results, seconds):
    """A row for each number of frames a call and bytes a frame; the two ways take turns within its @seconds."""
    if not PROGRAM.exists():
        results["missing"]["libvmnet"] = "vmnetbench needs clang and libblocksruntime-dev"
        return
    with Lab() as lab:
        environment = dict(lab.environment, PATH=f"{BUILD}:{lab.environment['PATH']}")
        done = lab.host.run([PROGRAM, seconds], capabilities=False, env=environment, timeout_s=60)
        lab.wait_until_clean()
    results["libvmnet"] = json.loads(done.stdout)
