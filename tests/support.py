# SPDX-License-Identifier: GPL-2.0-or-later
"""The words that tests are written in."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
IS_CI = os.environ.get("CI") == "true"


def need(path):
    """`path`, if it is there; else the test is skipped, or fails where nothing may be skipped."""
    if not Path(path).exists():
        unavailable(f"{path} is not here")
    return Path(path)


def unavailable(reason):
    """Skip the running test for `reason`; in CI a skipped test is a failure."""
    if IS_CI:
        pytest.fail(reason)
    pytest.skip(reason)


def eventually(condition, seconds=10.0, what="it"):
    """Wait until `condition()` is true and return that; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.01)
    return answer
