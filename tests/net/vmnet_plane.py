# SPDX-License-Identifier: Apache-2.0
"""vmnetd with its plane for macOS, built for Linux over libvmnet."""

import pytest
from lab import BUILD

VMNETD = BUILD / "tests" / "net" / "vmnetd-vmnet"

needs_blocks = pytest.mark.skipif(
    not VMNETD.exists(),
    reason="programs with blocks need clang and libblocksruntime-dev, and no sanitizer",
)
