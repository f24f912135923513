#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What libvmnet costs beside a bare tap, frame by frame: vmnetbench in a host of its own.

Exits with 1 where a ratio is below the claim; 0 also where vmnetbench was not built.
"""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE.parent / "net"))

from lab import BUILD, Lab  # noqa: E402

PROGRAM = BUILD / "tests" / "bench" / "vmnetbench"
CLAIM = 0.9
SECONDS = 4  # for each row


def main():
    if not PROGRAM.exists():
        print("libvmnet: not measured: vmnetbench needs clang and libblocksruntime-dev")
        return 0
    with Lab() as lab:
        environment = dict(lab.environment, PATH=f"{BUILD}:{lab.environment['PATH']}")
        done = lab.host.run([PROGRAM, SECONDS], capabilities=False, env=environment, timeout_s=60)
        lab.wait_until_clean()
    rows = json.loads(done.stdout)
    print("\nlibvmnet, frames written and read in a second of CPU time\n")
    print("| frames a call | bytes | libvmnet | bare tap | ratio |\n|---|---|---|---|---|")
    for row in rows:
        print("| {batch} | {bytes} | {vmnet:,.0f} | {tap:,.0f} | {ratio:.2f} |".format(**row))
    low = [row for row in rows if row["ratio"] < CLAIM]
    print(f"\nat least {CLAIM}: {'no' if low else 'yes'}")
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main())
