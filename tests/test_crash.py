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

from common.options import JailConf
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


# Forked for each statement that the database is told: there the process ends, before or after it.
STATEMENTS = r"""
import os, signal, sqlite3, sys, time
from common.options import JailConf, LogPath
from server.filter import Filter
from server.records import Result
from server.reader import LogReader
from server.resolver import Resolver
from server.store import Store
from server.worker import Worker, World
from tests.crash import RULE

folder, first = sys.argv[1], int(sys.argv[2])

class Dying(sqlite3.Connection):
    left, is_late = 0, False

    def execute(self, *words):
        return self._counted(super().execute, *words)

    def executemany(self, *words):
        return self._counted(super().executemany, *words)

    def _counted(self, do, *words):
        Dying.left -= 1
        if Dying.left == 0 and not Dying.is_late:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = do(*words)
        if Dying.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

connect = sqlite3.connect

def live(number, is_late):
    Dying.left, Dying.is_late = number, is_late
    sqlite3.connect = lambda *words, **more: connect(*words, factory=Dying, **more)
    store = Store(f"{folder}/db")
    store.open()
    reader = LogReader(has_watcher=False)
    reader.start()
    run = lambda command: Result(command, 0)
    world = World(time.time, reader, store, Resolver(lambda name: ()), run)
    rules = {"failregex": (RULE,), "find_time": 864000.0, "ban_time": 864000.0, "ignore_self": False}
    conf = JailConf("door", is_started=True, log_paths=(LogPath(f"{folder}/log"),), **rules)
    worker = Worker(JailConf("door"), Filter(conf), world)
    worker.start()
    worker.change(conf)
    size = os.stat(f"{folder}/log").st_size
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        state = reader.files("door")[0]
        if state.position and state.position.offset == size:
            break
        time.sleep(0.005)
    worker.stop(); worker.join(5); reader.stop(); store.close()

for number in range(first, first + 60):
    with open(f"{folder}/log", "a") as log:
        for host in (number, number, number + 1):
            now = time.strftime("%Y-%m-%d %H:%M:%S")
            log.write(f"{now} door: wrong key by 10.1.0.{host} ({time.monotonic_ns()})\n")
    child = os.fork()
    if not child:
        live(number - first, number % 2 == 0)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(number - first, -os.waitstatus_to_exitcode(status), flush=True)
"""


@pytest.mark.parametrize("first", [1, 2])
def test_a_server_that_ends_at_any_statement_of_the_database_counts_each_line_once(tmp_path, first):
    words = [sys.executable, "-c", STATEMENTS, str(tmp_path), str(first)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=110)

    assert "" == done.stderr
    ends = dict(map(int, line.split()) for line in done.stdout.splitlines())
    assert signal.SIGKILL == ends[1], "the first statement was passed over"
    assert sum(end == signal.SIGKILL for end in ends.values()) > 15
    assert 0 == ends[59], "the last run is whole"
    lines = (tmp_path / "log").read_text().splitlines()
    assert uninterrupted(lines, JailConf("door").max_retry) == stored(tmp_path / "db")
