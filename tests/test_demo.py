# SPDX-License-Identifier: GPL-2.0-or-later
"""The demonstration shows what it promises, and cleans up behind itself."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT, eventually

pytestmark = pytest.mark.slow


def start_demo(tmp_path):
    return subprocess.Popen(
        [sys.executable, ROOT / "tools" / "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"},
        start_new_session=True,
    )


def processes_about(text):
    """The processes in whose command line `text` stands."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if text.encode() in path.read_bytes():
                found.append(path)
        except OSError:
            pass
    return found


def test_the_demo_bans_whom_it_should(tmp_path):
    with start_demo(tmp_path) as demo:
        said = demo.communicate(timeout=120)[0]

    assert demo.returncode == 0, said
    verdicts = re.findall(r"^  (\S+) +(banned|not banned)  ", said, re.MULTILINE)
    assert ["banned"] * 3 + ["not banned"] * 3 == [verdict for _, verdict in verdicts]
    assert 3 == said.count("\n  shut ") == said.count("\n  open ")
    assert [] == list(tmp_path.iterdir())


def test_the_demo_can_be_interrupted(tmp_path):
    with start_demo(tmp_path) as demo:
        for line in demo.stdout:
            if "Found" in line:
                break
        os.killpg(demo.pid, signal.SIGINT)
        demo.communicate(timeout=120)

    assert demo.returncode == 130
    assert [] == list(tmp_path.iterdir())
    eventually(lambda: not processes_about(str(tmp_path)), what="the end of the server")
