# SPDX-License-Identifier: GPL-2.0-or-later
"""Nothing is lost: the server is killed, its disk and its logs fail, and all is as if nothing had been.

`bench/soak.py` does the first of it for longer.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from contextlib import closing, contextmanager
from sqlite3 import connect

import pytest

from tests.crash import MAX_RETRY, Torture, counted, snapshot, stored, uninterrupted
from tests.support import ROOT, eventually, unavailable
from tests.world import Ours, fail

EVE, MALLORY, BOB = "192.0.2.66", "192.0.2.99", "2001:db8::b0b"

# -- killed at any instant -------------------------------------------------------------------------


def test_a_server_that_is_killed_again_and_again_counts_each_line_once(tmp_path):
    torture = Torture(tmp_path, seed=random.randrange(10**6), pause=0.008)
    try:
        torture.kill(30)
        expected = torture.finish()
    finally:
        torture.attack.is_over = True
        torture.ours.finish()

    assert len(set(torture.seen)) > 10, "hardly a run came to read anything"
    assert torture.attack.rotations > 3
    assert len(expected.bans) > 100 < len(expected.failures)
    assert expected == stored(torture.database)
    lines = torture.attack.lines
    assert uninterrupted(lines, 10**6) == stored(torture.database, "every")
