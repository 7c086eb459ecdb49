# SPDX-License-Identifier: GPL-2.0-or-later
"""The database file: which tables it has, what is written into them and read of them.

One connection, used by one thread at a time.  Knows no threads, no retries and no jail's rules.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common.errors import Fail2banError
from server.changes import Changes, standing
from server.portion import Parts, Portion, SpoiltError, together
from server.records import Ban, Failure, Position
from server.rows import (
    AT_ONCE,
    BanRow,
    ban_of_old_row,
    ban_of_row,
    bans_of_rows,
    failure_of_row,
    hosts_in,
    key_of,
    outlives,
    row_of_ban,
    row_of_portion,
    row_of_position,
    text_of_key,
)

VERSION = 2
_OLDER = 1  # had a row for each failure
MEMORY = ":memory:"
_TAILS = ("-wal", "-shm", "-journal")  # what SQLite keeps beside the file
_NOBODY = (0, 0)
_QUICK = ("/dev/shm", None)  # where to copy to: memory, else wherever temporary files are kept
_LAST_MINUTE = 60.0
# So many failures that may not count are let be, and a portion costs as much as so many of them.
_CLUTTER = 100_000
_PORTION = 20
_FETCHED = 16  # portions that are read at once
_WAIT = 1.0  # seconds that a statement waits for another program's lock

# A ban's row is its host's newest ban in that jail; `total` is how many there were.
# `ended` is when it was lifted; as long as it is NULL, the ban runs until `since + seconds`.
# Failures are kept in portions, as many as are written at once, in their order.  Those of a settled host in the
# portions before a certain one count no longer.
# "For ever" is -1 second.  Numbers of files exceed SQLite's 63 bits on some file systems: text.
_SCHEMA = """
CREATE TABLE ban (
    jail TEXT, host TEXT, since REAL NOT NULL, seconds REAL NOT NULL, ended REAL,
    failures INTEGER NOT NULL, count INTEGER NOT NULL, total INTEGER NOT NULL, data TEXT NOT NULL,
    PRIMARY KEY (jail, host)
) WITHOUT ROWID;
CREATE INDEX ban_host ON ban (host);
CREATE TABLE position (
    jail TEXT, path TEXT, device TEXT, inode TEXT, offset INTEGER, fingerprint BLOB, cursor TEXT,
    PRIMARY KEY (jail, path)
) WITHOUT ROWID;
"""
_SCHEMA_OF_FAILURES = """
CREATE TABLE portion (
    id INTEGER PRIMARY KEY AUTOINCREMENT, jail TEXT, oldest REAL NOT NULL, newest REAL NOT NULL,
    many INTEGER NOT NULL, data BLOB NOT NULL
);
CREATE INDEX portion_jail ON portion (jail, newest);
CREATE TABLE settled (
    jail TEXT, host TEXT, before INTEGER NOT NULL, PRIMARY KEY (jail, host)
) WITHOUT ROWID;
"""
_INSERT_BAN = "INSERT OR REPLACE INTO ban VALUES (?, ?, ?, ?, NULL, ?, ?, ?, ?)"
_END = "COALESCE(ended, CASE WHEN seconds < 0 THEN 9e999 ELSE since + seconds END)"


class DamagedError(Exception):
    """The file is no database that can be used: damaged, or of a version yet to come."""


class ForeignError(Fail2banError):
    """The file is the database of another program."""


@dataclass(slots=True)
class _Load:
    """What of a jail is kept: failures that counted when it was tidied, and what came since."""

    live: int = 0
    fresh: int = 0
    portions: int = 0
    settled: int = 0

    def grow(self, change: Changes) -> None:
        if change.is_forgotten:
            self.live = self.fresh = self.portions = self.settled = 0
        self.fresh += change.failures
        self.portions += len(change.portions)
        self.settled += len(change.settled)

    @property
    def is_due(self) -> bool:
        """Whether tidying is worth it; how many failures were settled is not known."""
        dead = self.fresh if self.settled else 0
        return dead + self.settled + _PORTION * self.portions > max(_CLUTTER, self.live)


class Tables:
    """An open database.  Every error of SQLite's passes through as `sqlite3.Error`."""

    def __init__(self, path: str) -> None:
        """Open `path`, making what is missing.  Raises DamagedError or ForeignError."""
        self.path = path
        self.spoilt: set[int] = set()  # portions that could not be read
        self._loads: dict[str, _Load] = {}
        self._open()

    def _open(self) -> None:
        if self.path != MEMORY:
            _make_private(self.path)
        self._db = sqlite3.connect(self.path, timeout=_WAIT, isolation_level=None)
        try:
            self._identity = self._who()
            self._prepare()
            self._weigh()
        except sqlite3.Error as error:
            self._db.close()
            raise DamagedError(str(error)) if is_damage(error) else error from None
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self._db.close()

    @property
    def is_in_place(self) -> bool:
        """Whether the file at `path` still is the one that was opened."""
        return self._identity == self._who()

    # -- writing -----------------------------------------------------------------------------------

    def write(self, changes: Mapping[str, Changes]) -> None:
        """Make `changes` (by jail) durable, together or not at all."""
        with self._transaction():
            for jail, change in changes.items():
                self._write_jail(jail, change)
        for jail, change in changes.items():
            self._loads.setdefault(jail, _Load()).grow(change)

    def purge(self, before: float, failures_before: Mapping[str, float]) -> list[str]:
        """Drop what is older; the hosts of which no ban is left.

        A host's bans stay as long as one of them ended after `before`, or has not ended: they
        decide how long its next one is.  So do those of hosts that a network's ban stands in for.
        """
        with self._transaction():
            parts = self._parts(before)
            gone = [
                (host,)
                for (host,) in self._db.execute(
                    f"SELECT host FROM ban GROUP BY host HAVING max({_END}) < ?", (before,)
                )
                if host not in parts
            ]
            self._db.executemany("DELETE FROM ban WHERE host = ?", gone)
            for jail in self._loads:
                self._purge_failures(jail, failures_before.get(jail, before))
        return [text_of_key(host) for (host,) in gone]

    def _purge_failures(self, jail: str, before: float) -> None:
        run, name = self._db.execute, key_of(jail)
        run("DELETE FROM portion WHERE jail = ? AND newest < ?", (name, before))
        old = run("SELECT id FROM portion WHERE jail = ? AND oldest < ?", (name, before)).fetchall()
        for number, parts in self._parts_of(old):
            for portion in together([parts.kept(standing({}, number, before))]):
                run(
                    "UPDATE portion SET oldest = ?, newest = ?, many = ?, data = ? WHERE id = ?",
                    (*row_of_portion(portion), number),
                )
        run(
            "DELETE FROM settled WHERE jail = ?1 AND before <="
            " (SELECT COALESCE(min(id), 1 << 62) FROM portion WHERE jail = ?1)",
            (name,),
        )

    def tidy(self) -> None:
        """Write anew the failures of jails where many have been settled, or portions are small.

        So what is kept is never more than twice what counts, beside what is not worth it.
        """
        for jail, load in self._loads.items():
            if load.is_due:
                with self._transaction():
                    left = self._tidy(jail)
                self._loads[jail] = _Load(live=left)

    def _tidy(self, jail: str) -> int:
        run, name = self._db.execute, key_of(jail)
        ids = run("SELECT id FROM portion WHERE jail = ? ORDER BY id", (name,)).fetchall()
        upto, left = self._settled(jail), 0
        for portion in together(
            parts.kept(standing(upto, number)) for number, parts in self._parts_of(ids)
        ):
            left += len(portion)
            row = (name, *row_of_portion(portion))
            run(
                "INSERT INTO portion (jail, oldest, newest, many, data) VALUES (?, ?, ?, ?, ?)", row
            )
        self._db.executemany("DELETE FROM portion WHERE id = ?", ids)
        run("DELETE FROM settled WHERE jail = ?", (name,))
        return left

    def _parts(self, before: float) -> set[str]:
        """The hosts that the bans of networks which ended after `before` stand in for."""
        rows = self._db.execute(
            f"SELECT data FROM ban WHERE instr(host, '/') AND {_END} >= ?", (before,)
        )
        return {host for (data,) in rows for host in hosts_in(json.loads(data))}

    def moved_into_memory(self) -> Tables:
        """All there is, in no file any more; this one is closed."""
        memory = Tables(MEMORY)
        with closing(self._db):
            self._db.backup(memory._db)
        memory._weigh()
        return memory

    def write_anew(self) -> None:
        """Put a copy of all there is to where the file was; it has been taken away."""
        if self._who() == _NOBODY:
            for tail in _TAILS:  # a new file must not meet the old one's log
                Path(self.path + tail).unlink(missing_ok=True)
            _make_private(self.path)
            with closing(sqlite3.connect(self.path)) as copy:
                self._db.backup(copy)
        self._db.close()
        self._open()

    def salvage(self, path: str) -> None:
        """Take over the bans that can still be read from a damaged database."""
        bans: list[tuple[Any, ...]] = []
        uri = f"{Path(path).absolute().as_uri()}?mode=ro"
        with (
            suppress(sqlite3.Error, ValueError, TypeError, KeyError),
            closing(sqlite3.connect(uri, uri=True, timeout=_WAIT)) as damaged,
        ):
            for jail, *row, total in damaged.execute(
                "SELECT jail, host, since, seconds, failures, count, data, total FROM ban"
                " WHERE ended IS NULL"
            ):
                bans.append(row_of_ban(ban_of_row(text_of_key(jail), *row), int(total)))
        with self._transaction():
            self._db.executemany(_INSERT_BAN, bans)

    def _write_jail(self, jail: str, change: Changes) -> None:
        run, many, name = self._db.execute, self._db.executemany, key_of(jail)
        if change.is_forgotten:
            for table in ("ban", "portion", "settled", "position"):
                run(f"DELETE FROM {table} WHERE jail = ?", (name,))
        if change.settled or change.portions:
            first = self._next_portion()
            many(
                "INSERT OR REPLACE INTO settled VALUES (?, ?, ?)",
                ((name, key_of(host), first + upto) for host, upto in change.settled.items()),
            )
            many(
                "INSERT INTO portion (id, jail, oldest, newest, many, data) VALUES (?, ?, ?, ?, ?, ?)",
                (
                    (number, name, *row_of_portion(portion))
                    for number, (_, portion) in enumerate(change.portions, first)
                ),
            )
        many(
            _INSERT_BAN,
            (row_of_ban(ban, total) for ban, total in change.banned.values()),
        )
        many(
            "UPDATE ban SET ended = CASE WHEN seconds < 0 THEN ?1 ELSE min(?1, since + seconds) END"
            " WHERE jail = ?2 AND host = ?3 AND ended IS NULL",
            ((moment, name, key_of(host)) for host, moment in change.lifted.items()),
        )
        many(
            "INSERT OR REPLACE INTO position VALUES (?, ?, ?, ?, ?, ?, ?)",
            (row_of_position(name, path, at) for path, at in change.positions.items()),
        )

    def _next_portion(self) -> int:
        """The number of the next portion; none is given twice, or what was settled would be, too."""
        query = "SELECT max(seq) FROM sqlite_sequence WHERE name = 'portion'"
        return (self._db.execute(query).fetchone()[0] or 0) + 1

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # SQLite itself has rolled back after some errors
                self._db.execute("ROLLBACK")
            raise

    # -- reading -----------------------------------------------------------------------------------

    def positions(self, jail: str) -> dict[str, Position | str]:
        rows = self._db.execute(
            "SELECT path, device, inode, offset, fingerprint, cursor FROM position WHERE jail = ?",
            (key_of(jail),),
        )
        return {
            text_of_key(path): text_of_key(cursor)
            if cursor is not None
            else Position(int(device), int(inode), offset, fingerprint)
            for path, device, inode, offset, fingerprint, cursor in rows
        }

    def bans(self, jail: str, now: float, limit: int | None) -> list[BanRow]:
        """The bans that run on after `now`, oldest first, for `bans_of_rows`; of too many, the newest.

        Among them are those of networks that ended while no server ran, but stand in for some that run on.
        """
        rows = self._db.execute(
            "SELECT host, since, seconds, failures, count, data FROM ban"
            f" WHERE jail = ? AND ended IS NULL AND ({_END} > ? OR instr(data, '\"parts\"'))"
            " ORDER BY host",
            (key_of(jail), now),
        ).fetchall()
        rows = [row for row in rows if row[2] < 0 or row[1] + row[2] > now or outlives(row, now)]
        # SQLite has them in the order of hosts; to sort them takes it twice as long as to read them.
        rows.sort(key=itemgetter(1))
        return rows if limit is None else rows[max(0, len(rows) - limit) :]

    def ends(self, jail: str, now: float) -> list[tuple[str, float]]:
        """Hosts that are banned on after `now`, and until when; for a fifth of what `bans` costs."""
        rows = self._db.execute(
            "SELECT host, CASE WHEN seconds < 0 THEN 9e999 ELSE since + seconds END FROM ban"
            f" WHERE jail = ? AND ended IS NULL AND {_END} > ? AND typeof(host) = 'text'",
            (key_of(jail), now),
        )
        return rows.fetchall()

    def ended(self, jail: str, since: float, now: float) -> list[Ban]:
        """The bans that ended from `since` until `now` of which nobody wrote that they were lifted.

        What was written last may not have been carried out: that of its last minute is among them.
        """
        rows = self._db.execute(
            "SELECT host, since, seconds, failures, count, data FROM ban WHERE jail = ?1 AND"
            f" {_END} BETWEEN ?2 AND ?3 AND (ended IS NULL OR ended >="
            " (SELECT max(ended) FROM ban WHERE jail = ?1) - ?4) ORDER BY since, host",
            (key_of(jail), since, now, _LAST_MINUTE),
        )
        return bans_of_rows(jail, rows.fetchall())

    def bans_of(self, host: str) -> list[Ban]:
        """The newest ban of `host` in each jail, over or not."""
        rows = self._db.execute(
            "SELECT jail, host, since, seconds, failures, count, data FROM ban WHERE host = ?",
            (key_of(host),),
        )
        return [ban_of_row(text_of_key(jail), *row) for jail, *row in rows]

    def lifted(self, jail: str, since: float) -> dict[str, float]:
        """The hosts let in from `since` on, before their ban was over, and when."""
        rows = self._db.execute(
            "SELECT host, ended FROM ban WHERE jail = ? AND ended >= ?"
            " AND (seconds < 0 OR ended < since + seconds) ORDER BY ended",
            (key_of(jail), since),
        )
        return {text_of_key(host): ended for host, ended in rows}

    def failures(self, jail: str, since: float) -> list[Failure]:
        """The counted failures from `since` on, in the order in which they were saved."""
        ids = self._db.execute(
            "SELECT id FROM portion WHERE jail = ? AND newest >= ? ORDER BY id",
            (key_of(jail), since),
        ).fetchall()
        upto, found = self._settled(jail), list[Failure]()
        for number, parts in self._parts_of(ids):
            try:
                found += parts.kept(standing(upto, number, since)).unpacked()
            except SpoiltError:
                self.spoilt.add(number)
        return found

    def _settled(self, jail: str) -> dict[str, int]:
        """Before which portion the failures of hosts count no longer."""
        rows = self._db.execute("SELECT host, before FROM settled WHERE jail = ?", (key_of(jail),))
        return {text_of_key(host): before for host, before in rows}

    def _parts_of(self, ids: list[tuple[int]]) -> Iterator[tuple[int, Parts]]:
        """What is in portions; those that cannot be read are left out."""
        for first in range(0, len(ids), _FETCHED):
            some = [number for (number,) in ids[first : first + _FETCHED]]
            marks = ",".join("?" * len(some))
            query = f"SELECT id, data FROM portion WHERE id IN ({marks}) ORDER BY id"
            for number, data in self._db.execute(query, some).fetchall():
                try:
                    yield number, Parts.of(data)
                except SpoiltError:
                    self.spoilt.add(number)

    def history(self) -> Iterator[tuple[str, str, int, float]]:
        """Jail, host, number of its bans there, beginning of the last: all of them."""
        for jail, host, total, since in self._db.execute(
            "SELECT jail, host, total, since FROM ban"
        ):
            if type(host) is str and type(jail) is str:  # as nearly all are
                yield jail, host, total, since
            else:
                yield text_of_key(jail), text_of_key(host), total, since

    # -- the file ----------------------------------------------------------------------------------

    def _who(self) -> tuple[int, int] | None:
        if self.path == MEMORY:
            return None
        try:
            status = Path(self.path).stat()
        except OSError:
            return _NOBODY
        return status.st_dev, status.st_ino

    def _prepare(self) -> None:
        run = self._db.execute
        run("PRAGMA trusted_schema = OFF")
        (version,) = run("PRAGMA user_version").fetchone()
        tables = {name for (name,) in run("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if version > VERSION and "ban" in tables:
            raise DamagedError(f"made by a later release (its version is {version})")
        is_ours = version in (_OLDER, VERSION)
        if tables and not is_ours and "fail2banDb" not in tables:
            raise ForeignError(f"{self.path} is the database of another program")
        # WAL, and FULL: a commit returns when the disk has it.  NORMAL would keep the order, too,
        # but lose at a power cut what `sync` had called durable; nothing waits for the writer.
        if run("PRAGMA journal_mode").fetchone()[0] != "wal":
            run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = FULL")
        run("PRAGMA cache_size = -1000")
        run(f"PRAGMA journal_size_limit = {16 << 20}")
        if is_ours:
            (verdict,) = run("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise DamagedError(verdict)
        if version == VERSION:
            return
        if not is_ours and "fail2banDb" in tables:
            self._back_up()
        with self._transaction():
            if not is_ours:
                self._make(_SCHEMA)
            self._make(_SCHEMA_OF_FAILURES)
            if is_ours:
                self._put_into_portions()
            elif "fail2banDb" in tables:
                self._take_over(tables)
            run(f"PRAGMA user_version = {VERSION}")

    def _make(self, schema: str) -> None:
        for statement in schema.split(";"):
            self._db.execute(statement)

    def _weigh(self) -> None:
        """See how much there is of each jail."""
        for jail, portions, failures in self._db.execute(
            "SELECT jail, count(*), sum(many) FROM portion GROUP BY jail"
        ):
            self._loads[text_of_key(jail)] = _Load(fresh=failures, portions=portions)
        for jail, hosts in self._db.execute("SELECT jail, count(*) FROM settled GROUP BY jail"):
            self._loads.setdefault(text_of_key(jail), _Load()).settled = hosts

    def _put_into_portions(self) -> None:
        """Take over the failures of an older release, which kept each in a row."""
        run = self._db.execute
        for (jail,) in run("SELECT DISTINCT jail FROM failure").fetchall():
            rows = run(
                "SELECT host, moment, attempts, data FROM failure WHERE jail = ? ORDER BY id",
                (jail,),
            )
            while some := rows.fetchmany(AT_ONCE):
                failures = [one for row in some if (one := failure_of_row(*row))]
                if failures:
                    run(
                        "INSERT INTO portion (jail, oldest, newest, many, data) VALUES (?, ?, ?, ?, ?)",
                        (jail, *row_of_portion(Portion.of(failures))),
                    )
        run("DROP TABLE failure")

    def _back_up(self) -> None:
        """Keep a copy of a database of fail2ban 1 as it was."""
        copy = _free_name(f"{self.path}.fail2ban-1")
        _make_private(copy)
        with closing(sqlite3.connect(copy)) as backup:
            self._db.backup(backup)

    def _take_over(self, tables: set[str]) -> None:
        """Make what fail2ban 1 kept (schema 4) our own: bans and how many there were of a host.

        Where it had read its logs to is told there by another digest, and is left.
        """
        rows = {}
        if "bans" in tables:
            query = (
                "SELECT jail, ip, timeofban, bantime, bancount, data FROM bans ORDER BY timeofban"
            )
            for row in self._db.execute(query):
                rows[row[:2]] = row
        if "bips" in tables:
            for row in self._db.execute(
                "SELECT jail, ip, timeofban, bantime, bancount, data FROM bips"
            ):
                rows[row[:2]] = row
        bans = [ban for row in rows.values() if (ban := ban_of_old_row(*row))]
        self._db.executemany(
            _INSERT_BAN,
            (row_of_ban(ban, ban.count) for ban in bans),
        )
        for table in ("bips", "bans", "logs", "jails", "fail2banDb"):
            self._db.execute(f"DROP TABLE IF EXISTS {table}")


def copy_of(path: str) -> Tables | None:
    """What the file at `path` holds, in memory; for a disk that lets nobody open, but read it."""
    for place in _QUICK:
        with (
            suppress(OSError, sqlite3.Error, DamagedError, Fail2banError),
            TemporaryDirectory(prefix="fail2ban-", dir=place) as folder,
        ):
            copy = f"{folder}/{Path(path).name}"
            for tail in ("", "-wal", "-journal"):
                if not tail or os.path.exists(path + tail):
                    shutil.copyfile(path + tail, copy + tail)
            return Tables(copy).moved_into_memory()
    return None


def is_damage(error: sqlite3.Error) -> bool:
    """Whether `error` says that the file itself is beyond use."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def set_aside(path: str) -> str:
    """Give the database at `path`, with what belongs to it, another name; the new name."""
    aside = _free_name(f"{path}.damaged")
    for tail in _TAILS:
        with suppress(FileNotFoundError):
            Path(path + tail).rename(aside + tail)
    Path(path).rename(aside)
    return aside


def _free_name(stem: str) -> str:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    name, number = f"{stem}-{stamp}", 1
    while os.path.lexists(name):
        number += 1
        name = f"{stem}-{stamp}.{number}"
    return name


def _make_private(path: str) -> None:
    """Make the file at `path`, for its owner only, unless it exists."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
