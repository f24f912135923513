# SPDX-License-Identifier: Apache-2.0
import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "net"))
