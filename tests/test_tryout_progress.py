# SPDX-License-Identifier: GPL-2.0-or-later
"""What who waits for fail2ban-regex sees of it, on a terminal of its own."""

import os
import pty
import subprocess
import sys
import threading

import pytest

from tests.support import ROOT
from tryout.progress import BIG

LINE = b"2026-11-22 10:00:00 door: opened for somebody who has the key\n"
WORDS = [sys.executable, str(ROOT / "fail2ban-regex"), "-c", str(ROOT / "config")]
REGEX = r"^\s*door: knock of \S+ refused for <HOST>$"


def seen_on_a_terminal(log):
    """The summary, and what a terminal gets that is the program's standard error."""
    ours, its = pty.openpty()
    with os.fdopen(its, "wb", buffering=0) as terminal:
        process = subprocess.Popen(
            [*WORDS, str(log), REGEX], stdout=subprocess.PIPE, stderr=terminal,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
        )  # fmt: skip
    seen = []
    reading = threading.Thread(target=_read_all, args=(ours, seen))
    reading.start()
    out, _ = process.communicate(timeout=120)
    reading.join(60)
    os.close(ours)
    assert process.returncode == 0
    return out.decode(), b"".join(seen).decode()


def _read_all(terminal, seen):
    try:
        while data := os.read(terminal, 65536):
            seen.append(data)
    except OSError:  # so it ends where nobody has the other side any more
        return


@pytest.mark.parametrize("is_big", [True, False])
def test_how_far_a_big_log_is_read_is_shown_on_a_terminal(tmp_path, is_big):
    log = tmp_path / "log"
    many = 10 * BIG // len(LINE) if is_big else 1000
    log.write_bytes(LINE * many)

    out, seen = seen_on_a_terminal(log)

    assert f"Lines: {many} lines, 0 ignored, 0 matched, {many} missed" in out
    assert is_big == ("reading" in seen) == ("lines/s" in seen) == ("%" in seen)


def test_who_is_no_terminal_is_shown_nothing(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(LINE * (2 * BIG // len(LINE)))

    done = subprocess.run([*WORDS, str(log), REGEX], capture_output=True, check=True, timeout=120)

    assert done.stderr == b"" and b"reading" not in done.stdout
