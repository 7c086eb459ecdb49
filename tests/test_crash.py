# SPDX-License-Identifier: GPL-2.0-or-later
"""Nothing is lost: the server is killed, its disk and its logs fail, and all is as if nothing had been.

`bench/soak.py` does the first of it for longer.
"""

from __future__ import annotations

import math
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from sqlite3 import connect

import pytest

from common.options import JailConf
from server.records import Ban, Failure, Position, Progress
from server.store import Store
from server.tables import Tables
from tests.crash import Torture, counted, of_talks, stored, uninterrupted
from tests.ours import DOOR, Ours, fail
from tests.support import ROOT, eventually, unavailable
from tests.world import need_root_and

EVE, MALLORY, BOB = "192.0.2.66", "192.0.2.99", "2001:db8::b0b"

# -- killed at any instant -------------------------------------------------------------------------


@pytest.mark.slow
def test_a_server_that_is_killed_again_and_again_counts_each_line_once(tmp_path):
    torture = Torture(tmp_path, seed=random.randrange(10**6), pause=0.008)
    try:
        torture.kill(30)
        # On a quick machine that has not taken long.
        eventually(lambda: len(torture.attack.lines) >= 800, 60, "an attack that is long enough")
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
    assert of_talks(torture.attack.talks) == stored(torture.database, "talk")


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

folder, first, form = sys.argv[1], int(sys.argv[2]), sys.argv[3]

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
    names = Resolver(lambda name: ("10.1.0." + name[4:].partition(".")[0],))
    world = World(time.time, reader, store, names, run)
    rules = {"failregex": (RULE,), "find_time": 864000.0, "ban_time": 864000.0, "ignore_self": False, "use_dns": "yes"}
    conf = JailConf("door", is_started=True, log_paths=(LogPath(f"{folder}/log"),), **rules)
    worker = Worker(JailConf("door"), Filter(conf), world)
    worker.start()
    worker.change(conf)
    size = os.stat(f"{folder}/log").st_size
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        state = reader.files("door")[0]
        if state.position and state.position.offset == size:
            if not worker.ask(lambda jail: jail.held):
                break
        time.sleep(0.005)
    worker.stop(); worker.join(60); reader.stop(); store.close()

for number in range(first, first + 60):
    with open(f"{folder}/log", "a") as log:
        for host in (number, number, number + 1):
            now = time.strftime("%Y-%m-%d %H:%M:%S")
            who = form.format(host)
            log.write(f"{now} door: wrong key by {who} ({time.monotonic_ns()})\n")
    child = os.fork()
    if not child:
        live(number - first, number % 2 == 0)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(number - first, -os.waitstatus_to_exitcode(status), flush=True)
"""


@pytest.mark.parametrize("first", [1, 2])
@pytest.mark.parametrize("form", ["10.1.0.{}", "host{}.example"], ids=["addresses", "names"])
def test_a_server_that_ends_at_any_statement_of_the_database_counts_each_line_once(
    tmp_path, first, form
):
    words = [sys.executable, "-c", STATEMENTS, str(tmp_path), str(first), form]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=600)

    assert "" == done.stderr
    ends = dict(map(int, line.split()) for line in done.stdout.splitlines())
    assert signal.SIGKILL == ends[1], "the first statement was passed over"
    assert sum(end == signal.SIGKILL for end in ends.values()) > 15
    assert 0 == ends[59], "the last run is whole"
    text = re.sub(r"host(\d+)\.example", r"10.1.0.\1", (tmp_path / "log").read_text())
    expected = uninterrupted(text.splitlines(), JailConf("door").max_retry)
    assert _unordered(expected) == _unordered(stored(tmp_path / "db"))


def _unordered(outcome):
    """Each host's failures as the numbers that end their lines: names are answered in any order."""
    return [
        {host: sorted(line.rpartition(" ")[2] for line in lines) for host, lines in part.items()}
        for part in (outcome.bans, outcome.failures)
    ]


def test_whatever_a_power_cut_leaves_of_the_log_of_the_database_is_a_moment_of_it(tmp_path):
    path, random_ = tmp_path / "db", random.Random(1)
    store = Store(str(path))
    store.open()
    for n in range(1, 61):
        ban = Ban("door", f"host{n}", 1.0, math.inf)
        failures = (Failure(f"failer{n}", float(n)),)
        store.save(Progress("door", {"log": Position(1, 2, n)}, (ban,), failed=failures))
        assert store.sync()
    log = (tmp_path / "db-wal").read_bytes()
    whole = path.read_bytes()
    store.close()

    found = set()
    for length in [0, len(log), *(random_.randrange(len(log)) for _ in range(60))]:
        (tmp_path / "cut").write_bytes(whole)
        (tmp_path / "cut-wal").write_bytes(log[:length] + random_.randbytes(2000))
        with closing(Tables(str(tmp_path / "cut"))) as cut:
            position = cut.positions("door").get("log", Position(1, 2, 0)).offset
            assert position == len(cut.bans("door", 2.0, None)) == len(cut.failures("door", 0.0))
        found.add(position)
    assert {0, 60} < found


# -- a database that is out of order ---------------------------------------------------------------

JAIL = """
[door]
enabled = true
bantime = 1h
logpath = {folder}/door.log
"""


class Disk:
    """A small disk for the database of `ours`."""

    def __init__(self, path):
        self.path = path
        self.database = path / "f2b.sqlite3"
        path.mkdir()
        words = ["mount", "-t", "tmpfs", "-o", "size=400k", "none", str(path)]
        if subprocess.run(words, capture_output=True).returncode:
            unavailable("mounting needs root")

    def remount(self, how):
        words = ["mount", "-o", f"remount,{how}", str(self.path)]
        return subprocess.run(words, capture_output=True).returncode

    def close(self):
        subprocess.run(["umount", "-l", str(self.path)], check=True)


@pytest.fixture
def disk(tmp_path):
    disk = Disk(tmp_path / "disk")
    yield disk
    disk.close()


@pytest.fixture
def ours(tmp_path):
    (tmp_path / "door.log").touch()
    ours = Ours(tmp_path).configured(JAIL.format(folder=tmp_path))
    yield ours
    ours.finish()


@pytest.fixture
def guarded(ours, disk):
    """A server, the database of which is on `disk`."""
    text = (ours.conf / "fail2ban.local").read_text()
    disk.ours = ours
    ours.write("fail2ban.local", text.replace(f"{ours.folder}/f2b.sqlite3", str(disk.database)))
    return ours


@contextmanager
def full(disk):
    with (disk.path / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
        while True:
            ballast.write(b"x" * 4096)
    yield
    (disk.path / "ballast").unlink()


@contextmanager
def read_only(disk):
    if disk.remount("ro"):  # it is busy: the server lets go of a database that is locked
        with locked(disk):
            failed_at(disk.ours, "198.51.100.250", 1)
            eventually(lambda: not is_well(disk.ours), 10, "a lock noticed")
        eventually(lambda: not disk.remount("ro"), 5, "a disk that nobody writes to")
    yield
    disk.remount("rw")


@contextmanager
def locked(disk):
    with closing(connect(disk.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def locked_for_all(disk):
    with closing(connect(disk.database, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        yield


def failed_at(ours, host, times=3):
    fail(ours.folder / "door.log", host, times)


def is_banned(ours, *hosts):
    eventually(lambda: set(hosts) == ours.banned("door"), 15, f"bans of {hosts}")


def is_well(ours):
    return "database" not in ours.says("status")


def killed_and_started(ours):
    ours.end(signal.SIGKILL)
    ours.start()


@pytest.mark.slow
def test_bans_grow_and_go_on_across_restarts(ours):
    more = "bantime.increment = true\nbantime.factor = 1\n"
    ours.write("jail.local", JAIL.format(folder=ours.folder) + more)
    database = ours.folder / "f2b.sqlite3"
    ours.start()
    lengths, ends = [], []
    for number in range(4):
        failed_at(ours, EVE)
        is_banned(ours, EVE)
        eventually(lambda n=number: _ban(database)[2] == n + 1, 10, "a ban written")
        lengths.append(_ban(database)[1])
        killed_and_started(ours)
        is_banned(ours, EVE)
        ends.append(ours.says("get", "door", "banip", "--with-time").rpartition("= ")[2])
        since, seconds, _ = _ban(database)
        assert time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(since + seconds)) == ends[-1]
        assert "1" == ours.says("set", "door", "unbanip", EVE)
        killed_and_started(ours)
        assert set() == ours.banned("door")

    assert [3600, 7200, 14400, 28800] == lengths


def _ban(database):
    with closing(connect(database)) as db:
        row = db.execute("SELECT since, seconds, total FROM ban").fetchone()
    return row or (0, 0, 0)


@pytest.mark.slow
def test_a_ban_that_ends_while_the_server_is_down_is_over(ours):
    ours.write("jail.local", JAIL.format(folder=ours.folder).replace("1h", "3"))
    ours.start()
    failed_at(ours, EVE)
    is_noted(ours, f"ban {EVE}")
    eventually(lambda: _ban(ours.folder / "f2b.sqlite3")[2], 10, "a ban written")
    ours.end(signal.SIGKILL)
    since, seconds, _ = _ban(ours.folder / "f2b.sqlite3")
    eventually(lambda: time.time() > since + seconds, 10, "the end of the ban")

    ours.start()
    failed_at(ours, MALLORY)

    is_noted(ours, f"ban {MALLORY}")
    assert 1 == ours.noted.count(f"ban {EVE}")
    is_noted(ours, f"unban {MALLORY}")


def is_noted(ours, line):
    eventually(lambda: line in ours.noted, 15, f"{line!r} noted")


# -- a log that is out of order --------------------------------------------------------------------


@pytest.mark.root
@pytest.mark.slow
def test_whatever_happens_to_a_log_each_line_is_counted_once(ours, disk):
    room = disk.path / "logs"
    room.mkdir()
    log = room / "door.log"
    log.touch()
    jail = JAIL.format(folder=room).replace("[door]", "[door]\nmaxretry = 1000")
    ours.write("jail.local", jail)
    ours.start()
    written = 0

    def all_is_counted():
        nonlocal written
        fail(log, EVE, 2)
        written += 2
        is_counted(ours, written)

    all_is_counted()
    log.unlink()
    all_is_counted()
    shutil.rmtree(room)
    room.mkdir()
    all_is_counted()
    log.rename(room / "elsewhere")
    log.symlink_to(room / "elsewhere")
    all_is_counted()
    log.unlink()
    log.touch()
    all_is_counted()
    with full(disk):
        with suppress(OSError):
            fail(log, EVE, 200)  # what finds room is a part of it, maybe half a line
        size = log.stat().st_size
        at_most = log.read_bytes().count(b"\n")
        eventually(lambda: int(ours.status("door")["Total failed"]) >= written - 2, 10)
    with log.open("ab") as rest:
        rest.write(b"" if log.read_bytes().endswith(b"\n") else b"\n")
    assert size and at_most >= 2
    written = 8 + log.read_bytes().count(b"wrong key by 192.0.2.66\n")
    is_counted(ours, written)
    all_is_counted()
    killed_and_started(ours)
    eventually(lambda: counted(ours.folder / "f2b.sqlite3", "door") == written, 10, "no line twice")
    fail(log, EVE, 1)
    eventually(lambda: counted(ours.folder / "f2b.sqlite3", "door") == written + 1, 10, "one more")


def is_counted(ours, number):
    now = lambda: int(ours.status("door")["Total failed"])  # noqa: E731
    eventually(lambda: now() == number, 15, f"{number} failures")


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.parametrize("fault", [full, read_only, locked])
def test_while_the_database_is_out_of_order_bans_go_on_and_then_all_is_written(
    guarded, disk, fault
):
    guarded.start()
    failed_at(guarded, EVE)
    is_banned(guarded, EVE)

    with fault(disk):
        for n in range(200):  # more than fits into what the disk had in store
            failed_at(guarded, f"198.51.100.{n}", 2)
        failed_at(guarded, MALLORY)
        is_banned(guarded, EVE, MALLORY)
        eventually(lambda: not is_well(guarded), 10, "a word of it in the status")
        assert str(disk.database) in guarded.logged
        guarded.says("set", "door", "unbanip", EVE)
    eventually(lambda: is_well(guarded), 40, "a database in order")
    killed_and_started(guarded)

    is_banned(guarded, MALLORY)
    failed_at(guarded, "198.51.100.7", 1)
    is_banned(guarded, MALLORY, "198.51.100.7")


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.parametrize("fault", [full, read_only, locked_for_all])
def test_a_server_that_starts_while_the_database_is_out_of_order_knows_all_the_same(
    guarded, disk, fault
):
    guarded.start()
    failed_at(guarded, EVE)
    failed_at(guarded, MALLORY, 2)
    is_banned(guarded, EVE)
    eventually(lambda: counted(disk.database, "door") == 2, 10, "two failures written")
    guarded.end(signal.SIGKILL)

    with fault(disk):
        guarded.start()
        is_banned(guarded, EVE)
        failed_at(guarded, MALLORY, 1)
        is_banned(guarded, EVE, MALLORY)
        assert not is_well(guarded)
        guarded.end(signal.SIGKILL)  # what was not written is counted again
        guarded.start()
        is_banned(guarded, EVE, MALLORY)
        failed_at(guarded, BOB, 2)
    eventually(lambda: is_well(guarded), 40, "a database in order")
    eventually(lambda: counted(disk.database, "door") == 2, 10, "two failures written")
    killed_and_started(guarded)

    is_banned(guarded, EVE, MALLORY)
    assert 1 == guarded.logged.count(f"[door] Ban {EVE}")
    failed_at(guarded, BOB, 1)
    is_banned(guarded, EVE, MALLORY, BOB)


@pytest.mark.slow
@pytest.mark.parametrize("part", [0, 0.3, 0.99])
@pytest.mark.parametrize("is_running", [True, False])
def test_a_database_that_is_spoilt_is_set_aside_and_bans_go_on(ours, part, is_running):
    database = ours.folder / "f2b.sqlite3"
    ours.start()
    failed_at(ours, EVE)
    is_banned(ours, EVE)
    failed_at(ours, BOB, 2)
    eventually(lambda: counted(database, "door") == 2, 10, "two failures written")
    if not is_running:
        ours.end()
    with closing(connect(database)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = database.read_bytes()
    keep = data[: int(len(data) * part)]
    spoilt = keep + random.Random(1).randbytes(len(data) - len(keep) + 100_000)

    database.write_bytes(spoilt)
    if not is_running:
        ours.start()
    failed_at(ours, MALLORY)
    eventually(lambda: MALLORY in ours.banned("door"), 15, "a ban")
    if is_running:
        eventually(lambda: list(ours.folder.glob("*.damaged*")), 15, "a file set aside")
        assert not is_well(ours)
    failed_at(ours, "198.51.100.1", 1)
    # A jail that is asked looks, too, and else once a minute.
    eventually(lambda: ours.status("door") and counted(database, "door") == 3, 15, "all written")
    eventually(lambda: MALLORY in stored(database).bans, 15, "a ban written")
    killed_and_started(ours)

    assert MALLORY in ours.banned("door")
    failed_at(ours, BOB, 1)
    is_banned(ours, EVE, MALLORY, BOB)
    (aside,) = ours.folder.glob("f2b.sqlite3.damaged*[0-9]")
    assert spoilt[-100_000:] == aside.read_bytes()[-100_000:]


@pytest.mark.root
@pytest.mark.slow
def test_a_permission_lost_and_regained_loses_no_line(ours):
    need_root_and("setpriv")
    ours.prefix = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")  # else root may
    log = ours.folder / "door.log"
    ours.start()
    failed_at(ours, EVE, 1)
    is_counted(ours, 1)

    log.chmod(0)
    failed_at(ours, EVE, 1)
    is_counted(ours, 2)  # what is open stays readable
    eventually(lambda: counted(ours.folder / "f2b.sqlite3", "door") == 2, 10, "both written")
    log.rename(f"{log}.1")
    failed_at(ours, MALLORY, 2)
    log.chmod(0)
    killed_and_started(ours)
    eventually(lambda: "ermission" in ours.says("status", "door"), 15, "a word of it")
    Path(f"{log}.1").chmod(0o600)
    log.chmod(0o600)

    eventually(lambda: counted(ours.folder / "f2b.sqlite3", "door") == 4, 40, "all four counted")
    failed_at(ours, EVE, 1)
    is_banned(ours, EVE)


# -- what a firewall without ends of its own keeps --------------------------------------------------


@pytest.fixture
def deny(tmp_path):
    """A server that bans by a file of its own which is like /etc/hosts.deny."""
    (tmp_path / "door.log").touch()
    ours = Ours(tmp_path).configured(JAIL.format(folder=tmp_path), stock=ROOT / "config")
    ours.write("filter.d/door.conf", DOOR)
    ours.deny = tmp_path / "hosts.deny"
    ours.deny.write_text("ALL: 203.0.113.9\n")
    ours.write(
        "jail.local",
        JAIL.format(folder=tmp_path)
        + f"filter = door\nmaxretry = 1\nignoreself = false\naction = hostsdeny[file={ours.deny}]\n",
    )
    yield ours
    ours.finish()


def denied(ours):
    """Who stands in the file, as often as he does, but for whom the administrator put there."""
    lines = ours.deny.read_text().splitlines()
    assert "ALL: 203.0.113.9" == lines[0]
    return [line.removeprefix("ALL: ").strip("[]") for line in lines[1:]]


def banned_by_hand(ours, *hosts, seconds=3600):
    ours.client("set", "door", "bantime", seconds)
    ours.client("set", "door", "banip", *hosts)
    eventually(lambda: {*hosts} <= {*denied(ours)}, 10, f"{hosts} denied")


def after_their_end(ours, seconds):
    changed = ours.deny.stat().st_mtime
    eventually(lambda: time.time() > changed + seconds + 0.5, 10, "the end of some bans")


def test_after_a_kill_a_file_of_denied_hosts_holds_just_those_that_are_still_banned(deny):
    ended, lasting = [f"10.0.0.{n}" for n in range(3)], [EVE, BOB, MALLORY]
    deny.start()
    banned_by_hand(deny, *lasting)
    banned_by_hand(deny, *ended, seconds=3)
    deny.end(signal.SIGKILL)
    assert sorted([*ended, *lasting]) == sorted(denied(deny))
    after_their_end(deny, 3)

    deny.start()

    eventually(lambda: not {*ended} & {*denied(deny)}, 10, "those that ended to go")
    assert {*lasting} == deny.banned("door")
    assert sorted(lasting) == sorted(denied(deny)), "somebody twice, or gone"
    assert "1" == deny.says("set", "door", "unbanip", EVE)
    eventually(lambda: EVE not in denied(deny), 10, "who was lifted to go")


def test_what_was_lifted_just_before_a_kill_is_lifted_by_the_next_run(deny):
    deny.start()
    banned_by_hand(deny, EVE, BOB)
    assert "1" == deny.says("set", "door", "unbanip", EVE)
    eventually(lambda: EVE not in denied(deny), 10, "who was lifted to go")
    deny.end(signal.SIGKILL)
    with deny.deny.open("a") as file:  # as if its command had not come to be run
        file.write(f"ALL: {EVE}\n")

    deny.start()

    eventually(lambda: EVE not in denied(deny), 10, "who was lifted to go")
    assert [BOB] == denied(deny)


def test_after_a_clean_end_nothing_is_lifted_once_more(deny):
    deny.start()
    banned_by_hand(deny, BOB)
    banned_by_hand(deny, EVE, seconds=3)
    assert 0 == deny.end()
    assert [] == denied(deny)
    after_their_end(deny, 3)
    with deny.deny.open("a") as file:  # that is the administrator's own
        file.write(f"ALL: {EVE}\n")

    deny.start()

    eventually(lambda: BOB in denied(deny), 10, "the other ban restored")
    assert [EVE, BOB] == denied(deny)
