# SPDX-License-Identifier: GPL-2.0-or-later
"""The database file: which tables it has, and how records become rows and rows records.

One connection, used by one thread at a time.  Knows no threads, no retries and no jail's rules.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sqlite3
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common.errors import Fail2banError
from server.packing import Packer
from server.portion import Parts, Portion, SpoiltError, together
from server.records import NO_FIELDS, Ban, Failure, Position

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


BanRow = tuple[Any, ...]  # host, since, seconds, failures, count, data


class DamagedError(Exception):
    """The file is no database that can be used: damaged, or of a version yet to come."""


class ForeignError(Fail2banError):
    """The file is the database of another program."""


@dataclass(slots=True)
class Changes:
    """What one jail has to have written, as net effect.

    Written in this order: forget everything of the jail, settle hosts, then portions of failures (with
    their place in the order of all), bans (with the number of the host's bans), lifted bans (with the
    moment), positions.  A host is settled in so many of the portions, and in all that is written.
    """

    is_forgotten: bool = False
    settled: dict[str, int] = field(default_factory=dict)
    portions: list[tuple[int, Portion]] = field(default_factory=list)
    banned: dict[str, tuple[Ban, int]] = field(default_factory=dict)
    lifted: dict[str, float] = field(default_factory=dict)
    positions: dict[str, Position | str] = field(default_factory=dict)

    def settle(self, host: str) -> None:
        self.settled[host] = len(self.portions)

    @property
    def failures(self) -> int:
        """How many wait, with those that are settled."""
        return sum(len(portion) for _, portion in self.portions)

    def tidy(self) -> None:
        """Let go of the failures that are settled."""
        if not any(self.settled.values()):
            return
        left: list[tuple[int, Portion]] = []
        for at, (number, portion) in enumerate(self.portions):
            left += (
                (number, one) for one in together([portion.parts.kept(_standing(self.settled, at))])
            )
        self.portions = left
        self.settled = dict.fromkeys(self.settled, 0)

    def give_up(self, first: int) -> None:
        """Let go of the portions before that with the number `first`."""
        gone = sum(number < first for number, _ in self.portions)
        del self.portions[:gone]
        self.settled = {host: max(0, upto - gone) for host, upto in self.settled.items()}

    def ban(self, ban: Ban, total: int) -> None:
        self.lifted.pop(ban.host, None)
        self.banned[ban.host] = ban, total

    def followed_by(self, later: Changes) -> Changes:
        """This and then `later`, as one."""
        if later.is_forgotten:
            return later
        before = len(self.portions)
        self.settled.update({host: before + upto for host, upto in later.settled.items()})
        self.portions += later.portions
        for ban, total in later.banned.values():
            self.ban(ban, total)
        self.lifted.update(later.lifted)
        self.positions.update(later.positions)
        return self


def _standing(
    settled: Mapping[str, int], at: int, since: float = -math.inf
) -> Callable[[str, float], bool]:
    """Tells whose failures, and of when, still count in the portion `at`."""
    upto = settled.get
    return lambda host, when: when >= since and upto(host, 0) <= at


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
        return [_text(host) for (host,) in gone]

    def _purge_failures(self, jail: str, before: float) -> None:
        run, name = self._db.execute, _key(jail)
        run("DELETE FROM portion WHERE jail = ? AND newest < ?", (name, before))
        old = run("SELECT id FROM portion WHERE jail = ? AND oldest < ?", (name, before)).fetchall()
        for number, parts in self._parts_of(old):
            for portion in together([parts.kept(_standing({}, number, before))]):
                run(
                    "UPDATE portion SET oldest = ?, newest = ?, many = ?, data = ? WHERE id = ?",
                    (*_row_of_portion(portion), number),
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
        run, name = self._db.execute, _key(jail)
        ids = run("SELECT id FROM portion WHERE jail = ? ORDER BY id", (name,)).fetchall()
        upto, left = self._settled(jail), 0
        for portion in together(
            parts.kept(_standing(upto, number)) for number, parts in self._parts_of(ids)
        ):
            left += len(portion)
            row = (name, *_row_of_portion(portion))
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
        return {host for (data,) in rows for host in _hosts_in(json.loads(data))}

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
                bans.append(_row_of_ban(_ban_of_row(_text(jail), *row), int(total)))
        with self._transaction():
            self._db.executemany(_INSERT_BAN, bans)

    def _write_jail(self, jail: str, change: Changes) -> None:
        run, many, name = self._db.execute, self._db.executemany, _key(jail)
        if change.is_forgotten:
            for table in ("ban", "portion", "settled", "position"):
                run(f"DELETE FROM {table} WHERE jail = ?", (name,))
        if change.settled or change.portions:
            first = self._next_portion()
            many(
                "INSERT OR REPLACE INTO settled VALUES (?, ?, ?)",
                ((name, _key(host), first + upto) for host, upto in change.settled.items()),
            )
            many(
                "INSERT INTO portion (id, jail, oldest, newest, many, data) VALUES (?, ?, ?, ?, ?, ?)",
                (
                    (number, name, *_row_of_portion(portion))
                    for number, (_, portion) in enumerate(change.portions, first)
                ),
            )
        many(
            _INSERT_BAN,
            (_row_of_ban(ban, total) for ban, total in change.banned.values()),
        )
        many(
            "UPDATE ban SET ended = CASE WHEN seconds < 0 THEN ?1 ELSE min(?1, since + seconds) END"
            " WHERE jail = ?2 AND host = ?3 AND ended IS NULL",
            ((moment, name, _key(host)) for host, moment in change.lifted.items()),
        )
        many(
            "INSERT OR REPLACE INTO position VALUES (?, ?, ?, ?, ?, ?, ?)",
            (_row_of_position(name, path, at) for path, at in change.positions.items()),
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
            (_key(jail),),
        )
        return {
            _text(path): _text(cursor)
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
            (_key(jail), now),
        ).fetchall()
        rows = [row for row in rows if row[2] < 0 or row[1] + row[2] > now or _outlives(row, now)]
        # SQLite has them in the order of hosts; to sort them takes it twice as long as to read them.
        rows.sort(key=itemgetter(1))
        return rows if limit is None else rows[max(0, len(rows) - limit) :]

    def ends(self, jail: str, now: float) -> list[tuple[str, float]]:
        """Hosts that are banned on after `now`, and until when; for a fifth of what `bans` costs."""
        rows = self._db.execute(
            "SELECT host, CASE WHEN seconds < 0 THEN 9e999 ELSE since + seconds END FROM ban"
            f" WHERE jail = ? AND ended IS NULL AND {_END} > ? AND typeof(host) = 'text'",
            (_key(jail), now),
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
            (_key(jail), since, now, _LAST_MINUTE),
        )
        return bans_of_rows(jail, rows.fetchall())

    def bans_of(self, host: str) -> list[Ban]:
        """The newest ban of `host` in each jail, over or not."""
        rows = self._db.execute(
            "SELECT jail, host, since, seconds, failures, count, data FROM ban WHERE host = ?",
            (_key(host),),
        )
        return [_ban_of_row(_text(jail), *row) for jail, *row in rows]

    def lifted(self, jail: str, since: float) -> dict[str, float]:
        """The hosts let in from `since` on, before their ban was over, and when."""
        rows = self._db.execute(
            "SELECT host, ended FROM ban WHERE jail = ? AND ended >= ?"
            " AND (seconds < 0 OR ended < since + seconds) ORDER BY ended",
            (_key(jail), since),
        )
        return {_text(host): ended for host, ended in rows}

    def failures(self, jail: str, since: float) -> list[Failure]:
        """The counted failures from `since` on, in the order in which they were saved."""
        ids = self._db.execute(
            "SELECT id FROM portion WHERE jail = ? AND newest >= ? ORDER BY id", (_key(jail), since)
        ).fetchall()
        upto, found = self._settled(jail), list[Failure]()
        for number, parts in self._parts_of(ids):
            try:
                found += parts.kept(_standing(upto, number, since)).unpacked()
            except SpoiltError:
                self.spoilt.add(number)
        return found

    def _settled(self, jail: str) -> dict[str, int]:
        """Before which portion the failures of hosts count no longer."""
        rows = self._db.execute("SELECT host, before FROM settled WHERE jail = ?", (_key(jail),))
        return {_text(host): before for host, before in rows}

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
                yield _text(jail), _text(host), total, since

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
            self._loads[_text(jail)] = _Load(fresh=failures, portions=portions)
        for jail, hosts in self._db.execute("SELECT jail, count(*) FROM settled GROUP BY jail"):
            self._loads.setdefault(_text(jail), _Load()).settled = hosts

    def _put_into_portions(self) -> None:
        """Take over the failures of an older release, which kept each in a row."""
        run = self._db.execute
        for (jail,) in run("SELECT DISTINCT jail FROM failure").fetchall():
            rows = run(
                "SELECT host, moment, attempts, data FROM failure WHERE jail = ? ORDER BY id",
                (jail,),
            )
            while some := rows.fetchmany(_AT_ONCE):
                failures = [one for row in some if (one := _failure_of_row(*row))]
                if failures:
                    run(
                        "INSERT INTO portion (jail, oldest, newest, many, data) VALUES (?, ?, ?, ?, ?)",
                        (jail, *_row_of_portion(Portion.of(failures))),
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
        bans = [ban for row in rows.values() if (ban := _ban_of_old_row(*row))]
        self._db.executemany(
            _INSERT_BAN,
            (_row_of_ban(ban, ban.count) for ban in bans),
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


# -- records and rows ------------------------------------------------------------------------------


def _key(text: str) -> str | bytes:
    """`text` for a column; names of files may hold what is no Unicode, and then become bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
    return text


def _text(key: str | bytes) -> str:
    return key.decode("utf-8", "surrogatepass") if isinstance(key, bytes) else key


# `json.dumps` with arguments makes an encoder anew each time.
_json = json.JSONEncoder(default=str, separators=(",", ":")).encode


def _row_of_ban(ban: Ban, total: int) -> tuple[Any, ...]:
    seconds = -1.0 if math.isinf(ban.seconds) else max(ban.seconds, 0.0)
    data = _json(_data_of_ban(ban))
    return _key(ban.jail), _key(ban.host), ban.since, seconds, ban.failures, ban.count, total, data


def _data_of_ban(ban: Ban) -> dict[str, Any]:
    """What of a ban has no column of its own; what is as in most is left out."""
    data: dict[str, Any] = {"matches": ban.matches, "fields": dict(ban.fields)}
    if ban.parts:
        data["parts"] = [
            {
                "host": part.host,
                "since": part.since,
                "seconds": -1.0 if math.isinf(part.seconds) else part.seconds,
                "failures": part.failures,
                "count": part.count,
                **_data_of_ban(part),
            }
            for part in ban.parts
        ]
    if ban.is_merged:
        data["is_merged"] = True
    if ban.is_spent:
        data["is_spent"] = True
    return data


def _hosts_in(data: Mapping[str, Any]) -> Iterator[str]:
    for part in data.get("parts", ()):
        yield part["host"]
        yield from _hosts_in(part)


def _outlives(row: BanRow, now: float) -> bool:
    (ban,) = bans_of_rows("", [row])
    return any(part.until > now for part in ban.parts)


_PLAIN = 2  # keys in the data of most bans: they are about no network
_AT_ONCE = 1000  # texts that are decoded together, for a third of the time that each would take


def bans_of_rows(jail: str, rows: Sequence[BanRow]) -> list[Ban]:
    """The bans of `jail` that `Tables.bans` has read; any thread may make them of it."""
    bans = []
    for at in range(0, len(rows), _AT_ONCE):
        some = rows[at : at + _AT_ONCE]
        every = json.loads(f"[{','.join([row[-1] for row in some])}]")
        for (host, since, seconds, failures, count, _), more in zip(some, every, strict=True):
            if len(more) == _PLAIN and isinstance(host, str) and seconds >= 0:
                lines, fields = tuple(more["matches"]), more["fields"] or NO_FIELDS
                bans.append(Ban(jail, host, since, seconds, lines, failures, count, fields))
            else:
                bans.append(_ban_of(jail, _text(host), since, seconds, failures, count, more))
    return bans


def _ban_of_row(
    jail: str, host: str | bytes, since: float, seconds: float, failures: int, count: int, data: str
) -> Ban:
    return _ban_of(jail, _text(host), since, seconds, failures, count, json.loads(data))


def _parts_of(jail: str, parts: list[dict[str, Any]]) -> tuple[Ban, ...]:
    return tuple(
        _ban_of(jail, p["host"], p["since"], p["seconds"], p["failures"], p["count"], p)
        for p in parts
    )


def _ban_of(
    jail: str,
    host: str,
    since: float,
    seconds: float,
    failures: int,
    count: int,
    more: Mapping[str, Any],
) -> Ban:
    return Ban(
        jail,
        host,
        since,
        math.inf if seconds < 0 else seconds,
        tuple(more["matches"]),
        failures,
        count,
        more["fields"] or NO_FIELDS,
        _parts_of(jail, more["parts"]) if "parts" in more else (),
        more.get("is_merged", False),
        more.get("is_spent", False),
    )


def _ban_of_old_row(
    jail: Any, host: Any, since: Any, seconds: Any, count: Any, data: Any
) -> Ban | None:
    """A ban of fail2ban 1; None if the row makes no sense."""
    try:
        more = json.loads(data or "{}")
        lines = more.get("matches") or []
        matches = tuple("".join(map(str, x)) if isinstance(x, list) else str(x) for x in lines)
        length = math.inf if float(seconds) < 0 else float(seconds)
        failures = int(more.get("failures") or 0)
        return Ban(
            str(jail), str(host), float(since), length, matches, failures, max(int(count), 1)
        )
    except (ValueError, TypeError, AttributeError):
        return None


def _failure_of_row(host: str | bytes, moment: float, attempts: int, data: str) -> Failure | None:
    """A failure as an older release kept it; None if the row makes no sense."""
    try:
        more = json.loads(data)
        more["lines"] = tuple(more["lines"])
        failure = Failure(host=_text(host), when=moment, attempts=attempts, **more)
        Packer().pack(failure)
    except (ValueError, TypeError, KeyError, AttributeError, struct.error):
        return None
    return failure


def _row_of_portion(portion: Portion) -> tuple[Any, ...]:
    return portion.oldest, portion.newest, len(portion), portion.data


def _row_of_position(jail: str | bytes, path: str, at: Position | str) -> tuple[Any, ...]:
    if isinstance(at, str):
        return jail, _key(path), None, None, None, None, _key(at)
    return jail, _key(path), str(at.device), str(at.inode), at.offset, at.fingerprint, None
