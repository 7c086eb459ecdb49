# SPDX-License-Identifier: GPL-2.0-or-later
"""The words of the tests that end the server by force: an attack, its logs, and what must come of it.

What must come of it is what a filter and a jail say that read the same lines without interruption.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import random
import shutil
import signal
import sqlite3
import threading
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from common.options import JailConf
from server.filter import Filter
from server.jail import Jail
from server.portion import Parts
from server.records import Enforce, LogBlock, Position
from tests.ours import Ours
from tests.support import eventually

RULE = r"^\s*door: wrong key by <HOST> \(\d+\)$"
MAX_RETRY = 3
TALK = (
    r"^\s*talk\[<F-MLFID>\d+</F-MLFID>\]: <F-CONTENT>.+</F-CONTENT>$",
    (r"^<F-NOFAIL>hello</F-NOFAIL> from <HOST>$", r"^refused$"),
)
KEPT = 6  # how many rotated files stay uncompressed

# `every` and `talk` ban nobody: in the database stands each failure they have counted.
JAILS = """
[DEFAULT]
findtime = 10d
bantime = 10d
logpath = {log}
failregex = %(rule)s
rule = {rule}
[door]
enabled = true
maxretry = {retries}
[every]
enabled = true
maxretry = 1000000
[talk]
enabled = true
maxretry = 1000000
prefregex = {talk[0]}
failregex = {talk[1][0]}
            {talk[1][1]}
"""


# -- an attack -------------------------------------------------------------------------------------


class Attack:
    """Many hosts that fail once or more often, in a log that is rotated all the while."""

    def __init__(self, log, seed, pause):
        """`pause` is how long it takes, on average, from one line to the next."""
        self.log = Path(log)
        self.lines = []
        self.talks = []  # failures that two lines tell of together
        self.rotations = 0
        self.is_over = False
        self.known = 0  # so many lines have been counted: what is older than that may go
        self._begun = [0]  # with which line the files began
        self._random = random.Random(seed)
        self._pause = pause
        self._next_rotation = 0.0
        self._out = self.log.open("ab", buffering=0)

    def run(self):
        """Write until it `is_over`."""
        number = 0
        self._next_rotation = time.monotonic() + 0.3
        while not self.is_over:
            now = time.strftime("%Y-%m-%d %H:%M:%S")
            host = self._somebody(number)
            line = f"{now} door: wrong key by {host} ({number})"
            noise = f"{now} door: opened ({number})\n" if number % 3 == 0 else ""
            talk = (f"{now} talk[{number}]: hello from {host}", f"{now} talk[{number}]: refused")
            # What is cut and killed between the two lines shall be known all the same.
            self._put(f"{talk[0]}\n", is_rotating=False)
            self._put(f"{line}\n{noise}{talk[1]}\n", self._may_rotate())
            self.lines.append(line)
            self.talks += talk
            number += 1
        self._out.close()

    def _may_rotate(self):
        """It is time for it, and what nobody has read yet stays where it can be read."""
        unread = sum(number > self.known for number in self._begun)
        return time.monotonic() >= self._next_rotation and unread < KEPT - 2

    def _somebody(self, number):
        """One of many hosts; most fail a few times, not far from each other."""
        host = max(0, number // MAX_RETRY + self._random.randint(-40, 40))
        return f"10.{host >> 16}.{host >> 8 & 255}.{host & 255}"

    def _put(self, text, is_rotating):
        """Write `text`, sometimes in two pieces; a rotation may come between them."""
        data = text.encode()
        cut = self._random.randrange(len(data)) if self._random.random() < 0.3 else 0
        self._out.write(data[:cut])
        time.sleep(self._random.random() * 2 * self._pause)
        if not is_rotating:
            self._out.write(data[cut:])
            return
        self.rotations += 1
        self._begun.append(len(self.lines))
        self._next_rotation = time.monotonic() + self._random.uniform(0.2, 1.5)
        if self._random.random() < 0.6:
            self._out.write(data[cut:])
            self._copy_and_truncate()
            return
        self._rename()
        self._out.write(data[cut:])  # it has the old file open still
        self._out.close()
        self._out = self.log.open("ab", buffering=0)

    def _rename(self):
        self._make_room()
        self.log.rename(f"{self.log}.1")

    def _copy_and_truncate(self):
        self._make_room()
        shutil.copyfile(self.log, f"{self.log}.1")
        os.truncate(self.log, 0)

    def _make_room(self):
        """Number the earlier files up; compress the one that is old enough."""
        for number in range(KEPT, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                os.rename(f"{self.log}.{number}", f"{self.log}.{number + 1}")
        old = Path(f"{self.log}.{KEPT + 1}")
        if old.exists():
            Path(f"{self.log}.{KEPT + 1}.gz").write_bytes(gzip.compress(old.read_bytes()))
            old.unlink()


# -- what must come of it --------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """Each banned host with the lines it was banned for; each host's failures that still count."""

    bans: dict[str, tuple[str, ...]]
    failures: dict[str, tuple[str, ...]]


def moments(lines, max_retry=MAX_RETRY, prefix="", rules=(RULE,)):
    """What has come of `lines` after each of them, where nothing goes wrong; one and the same object."""
    conf = JailConf(
        "door",
        is_started=True,
        prefregex=prefix,
        failregex=rules,
        find_time=864000.0,
        ban_time=864000.0,
        max_retry=max_retry,
    )
    jail, now, known = Jail(conf), time.time(), Outcome({}, {})
    data = "".join(f"{line}\n" for line in lines).encode()
    block = LogBlock("log", data, Position(1, 2, 0), Position(1, 2, len(data)))
    for failure in Filter(conf).failures(block, now):
        for said in jail.on_failure(failure, now):
            if isinstance(said, Enforce):
                known.bans[said.ban.host] = said.ban.matches
        # The jail keeps but the last lines of each host in memory; the database keeps them all.
        known.failures[failure.host] = (*known.failures.get(failure.host, ()), *failure.lines)
        if failure.host not in jail.failures:
            del known.failures[failure.host]
        yield known


def uninterrupted(lines, max_retry=MAX_RETRY, prefix="", rules=(RULE,)):
    """What comes of `lines` where nothing goes wrong."""
    *_, last = moments(lines, max_retry, prefix, rules)
    return last


def of_talks(lines):
    """What comes of `lines`, two of which tell of a failure, where nothing goes wrong."""
    return uninterrupted(lines, 10**6, *TALK)


def stored(database, jail="door"):
    """What the database holds of `jail`."""
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT host, data FROM ban WHERE jail = ? AND ended IS NULL", (jail,))
        bans = {host: tuple(json.loads(data)["matches"]) for host, data in rows}
    failures = {}
    for failure in failures_of(database, jail):
        failures.setdefault(failure.host, []).extend(failure.lines)
    return Outcome(bans, {host: tuple(many) for host, many in failures.items()})


def failures_of(database, jail):
    """The counted failures of `jail` that the database holds, read while others write it."""
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        db.execute("BEGIN")
        upto = dict(db.execute("SELECT host, before FROM settled WHERE jail = ?", (jail,)))
        rows = db.execute("SELECT id, data FROM portion WHERE jail = ? ORDER BY id", (jail,))
        return [
            failure
            for number, data in rows
            for failure in Parts.of(data).unpacked()
            if upto.get(failure.host, 0) <= number
        ]


def counted(database, jail="every"):
    """How many counted failures of `jail` the database holds."""
    try:
        return len(failures_of(database, jail))
    except sqlite3.Error:  # there is none yet
        return 0


def snapshot(database, place):
    """A copy of `database`, with its log, as a crash has left it."""
    Path(f"{place}-shm").unlink(missing_ok=True)
    for tail in ("", "-wal"):
        Path(f"{place}{tail}").unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(f"{database}{tail}", f"{place}{tail}")
    return place


def is_consistent(database, lines):
    """How many of `lines` `database` knows of; fails if that is no moment of an uninterrupted run."""
    every = [line for many in stored(database, "every").failures.values() for line in many]
    assert sorted(every) == sorted(set(every)), "a line was counted twice"
    # The jails are independent of each other: what `door` knows may be another moment.
    door = stored(database)
    known = {line for many in (*door.bans.values(), *door.failures.values()) for line in many}
    least = max((number for number, line in enumerate(lines) if line in known), default=-1)
    # What a banned host did last may have left no trace.
    is_moment = (door == moment for number, moment in enumerate(moments(lines)) if number >= least)
    assert least < 0 or any(islice(is_moment, 200)), "bans and failures do not fit together"
    return min(len(every), least + 1)


# -- the server that does not get to rest ----------------------------------------------------------


class Torture:
    """A server of ours that is killed again and again while an attack goes on."""

    def __init__(self, folder, seed, pause):
        self.folder = Path(folder)
        self.random = random.Random(seed)
        self.log = self.folder / "door.log"
        self.attack = Attack(self.log, seed, pause)
        self.ours = Ours(self.folder).configured(
            JAILS.format(log=self.log, rule=RULE.replace("%", "%%"), retries=MAX_RETRY, talk=TALK)
        )
        self.database = self.folder / "f2b.sqlite3"
        self.seen = []
        self._writer = threading.Thread(target=self.attack.run, daemon=True)

    def kill(self, times, tell=lambda text: None):
        """Start the server and kill it, `times` times; after each look at what it has left."""
        begun = time.monotonic()
        self.ours.begin("start")
        eventually(lambda: self.ours.logged.count("Jail started") == 3, 30, "three jails at work")
        self._writer.start()
        eventually(lambda: counted(self.database), 30, "the first failure counted")
        warm = time.monotonic() - begun
        for number in range(times):
            if number:
                known = counted(self.database)
                self.ours.begin("start")
                # Every second time it comes to read something, however busy the machine is.
                if number % 2:
                    eventually(lambda: counted(self.database) != known, 30, "more is counted")  # noqa: B023
                    time.sleep(self.random.uniform(0, warm))
                else:
                    time.sleep(self.random.uniform(0, 1.5 * warm))
            assert self.ours.process.poll() is None, self.ours.printed + self.ours.logged
            self.ours.end(signal.SIGKILL)
            copy = snapshot(self.database, self.folder / "copy.sqlite3")
            # The writer notes a line once it is written: what was read may be one ahead.
            time.sleep(0.01)
            self.seen.append(is_consistent(copy, list(self.attack.lines)))
            self.attack.known = min(self.seen[-1], counted(copy, "talk"))
            tell(f"{number + 1}: {self.seen[-1]} of {len(self.attack.lines)} failures known")

    def finish(self):
        """Let the server come to the end of it, and end it softly."""
        self.ours.begin("start")
        self.attack.is_over = True
        self._writer.join(60)
        assert not self._writer.is_alive()
        total = len(self.attack.lines)
        eventually(lambda: counted(self.database) >= total, 60, "the end of the attack")
        # What is missing is told of by whoever compares.
        eventually(lambda: counted(self.database, "talk") >= total - 20, 60, "the end of the talks")
        expected = uninterrupted(self.attack.lines)
        eventually(
            lambda: stored(self.database).bans == expected.bans, 15, "every ban in the store"
        )
        eventually(lambda: self.enforced() == set(expected.bans), 30, "every ban enforced")
        self.ours.end()
        return expected

    def enforced(self):
        """Whom the action of this run has shut out."""
        noted = self.ours.noted
        begin = len(noted) - 1 - noted[::-1].index("start door") if "start door" in noted else 0
        banned = set()
        for line in noted[begin:]:
            word, _, host = line.partition(" ")
            if word == "ban":
                banned.add(host)
            elif word == "unban":
                banned.discard(host)
        return banned
