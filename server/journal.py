# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads the systemd journal for jails: whose entries, from where on, and when there are new ones.

A thread a jail that follows the journal, asleep until the kernel tells of new entries.  What the
entries say it does not know.
"""

from __future__ import annotations

import errno
import glob
import logging
import re
import select
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.tags import split_name
from server.records import JournalBlock
from server.watch import Bell

log = logging.getLogger("fail2ban.journal")

SYSTEM_ONLY = 4  # a flag: nothing of what users' own services write
_MOST_ENTRIES = 500  # of a block
_REMINDER = 2000  # entries before a cursor that a filter sees again that remembers them
_BREATH = 0.1  # seconds in which entries gather after some were read: a log can be very busy
_SAFETY = 30.0  # seconds between looks, should the kernel fail to tell
_POLL = 1.0  # the same where it cannot tell: no inotify instance is left
_RETRY = 5.0  # seconds until a journal that cannot be read is tried again
_REFUSED = 1.0  # seconds until a block is offered again, should nobody say that there is room
_STOP_PATIENCE = 5.0

_OPTIONS = ("journalpath", "journalfiles", "journalflags", "namespace", "rotated")
_LINE_END = re.compile(r"\r\n|[\r\n]")
_MOMENT = re.compile(r"(?:^|;)t=([0-9a-f]{1,16})(?:;|$)")  # of an entry, as its cursor tells it

# How a journal.Reader gives single fields; its library has these, but does not promise them.
_QUICK_WAYS = ("_next", "_get", "_get_realtime", "_get_cursor")

Match = tuple[str, ...]  # words: FIELD=VALUE, or + between alternatives


class JournalUnavailable(Exception):
    """There is no journal to read, for a reason that a person has to see to."""


@dataclass(frozen=True, slots=True)
class JournalSource:
    """Which journal: this machine's, that of a namespace, or a directory or files that are named."""

    path: str = ""
    files: tuple[str, ...] = ()
    flags: int | None = None
    namespace: str = ""

    @property
    def name(self) -> str:
        """What its position is kept under."""
        parts = {
            "journalpath": self.path,
            "journalfiles": ",".join(self.files),
            "namespace": self.namespace,
        }
        options = "".join(f"[{key}={value}]" for key, value in parts.items() if value)
        return f"systemd-journal{options}"

    def found(self) -> dict[str, tuple[int, int]]:
        """The files it names, those included that they were rotated to: path to device and inode."""
        found = {}
        for pattern in self.files:
            for path in sorted(glob.glob(pattern)) or [pattern]:
                stem = path.removesuffix(".journal")
                for each in [path, *sorted(glob.glob(f"{glob.escape(stem)}@*.journal"))]:
                    try:
                        status = Path(each).stat()
                    except FileNotFoundError:  # or it went just now
                        continue
                    found[each] = (status.st_dev, status.st_ino)
        return found


def source_of(text: str) -> JournalSource:
    """What `systemd[...]`, an option `backend`, means; ValueError where it means nothing."""
    _, options = split_name(text)
    for key in options:
        if key not in _OPTIONS:
            raise ValueError(
                f"{key!r} is no option of the journal; there are {', '.join(_OPTIONS)}"
            )
    flags = options.get("journalflags", "")
    try:
        number = int(flags, 0) if flags else None
    except ValueError:
        raise ValueError(f"journalflags = {flags!r} is not a whole number") from None
    source = JournalSource(
        path=options.get("journalpath", ""),
        files=tuple(options.get("journalfiles", "").replace(",", " ").split()),
        flags=number,
        namespace=options.get("namespace", ""),
    )
    if source.namespace and (source.path or source.files):
        raise ValueError(
            "a namespace has its own files: give either it or journalpath, journalfiles"
        )
    # `rotated` is taken and of no effect: rotated files always belong to the journal.
    return source


def opened(source: JournalSource, matches: tuple[Match, ...]) -> Any:
    """A reader of the entries of `source` that match; JournalUnavailable where there is none."""
    try:
        from systemd import journal
    except ImportError as error:
        raise JournalUnavailable(
            "the journal needs a Python package: python3-systemd of your distribution, "
            f"or systemd-python from PyPI ({error})"
        ) from None
    raw = {"__REALTIME_TIMESTAMP": _seconds, "__MONOTONIC_TIMESTAMP": str}
    if source.files:
        found = source.found()
        if not found:
            raise JournalUnavailable(f"there is no journal file {', '.join(source.files)}")
        reader = journal.Reader(files=list(found), flags=source.flags, converters=raw)
    elif source.path:
        if not any(Path(source.path).rglob("*.journal")):
            raise JournalUnavailable(f"there is no journal in {source.path}")
        reader = journal.Reader(path=source.path, flags=source.flags, converters=raw)
    else:
        flags = SYSTEM_ONLY if source.flags is None else source.flags
        namespace = {"namespace": source.namespace} if source.namespace else {}
        reader = journal.Reader(flags=flags, converters=raw, **namespace)
        if not (reader.has_persistent_files() or reader.has_runtime_files()):
            reader.close()
            raise JournalUnavailable("this machine has no journal, or we may not read it")
    try:
        _select(reader, matches)
    except JournalUnavailable:
        reader.close()
        raise
    return reader


def _select(reader: Any, matches: tuple[Match, ...]) -> None:
    for number, match in enumerate(matches):
        if number:
            reader.add_disjunction()
        for word in match:
            if word == "+":
                reader.add_disjunction()
                continue
            try:
                reader.add_match(word)
            except (OSError, ValueError):
                raise JournalUnavailable(f"journalmatch: {word!r} is no FIELD=VALUE") from None


class EntryReader:
    """The entries of a reader, one after the other; it stands at one once `next` or `back` says True.

    Of an entry's 25 fields five are needed.  The way that the library tells of makes a dictionary of
    all and takes three times as long; it is taken where there is no other.
    """

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self._is_quick = all(hasattr(reader, name) for name in _QUICK_WAYS)
        self._entry: Mapping[str, Any] = {}

    def next(self) -> bool:
        """Go to the next entry; False if there is none."""
        if self._is_quick:
            return bool(self._reader._next())
        self._entry = self._reader.get_next()
        return bool(self._entry)

    def back(self, count: int) -> bool:
        """Go back by so many; False where none is before."""
        self._entry = self._reader.get_previous(count)
        return bool(self._entry)

    @property
    def line(self) -> tuple[float, str]:
        """When it was written, in seconds, and its text."""
        if not self._is_quick:
            return self._entry["__REALTIME_TIMESTAMP"], text_of(self._entry.get)
        reader = self._reader
        moment, get = _seconds(reader._get_realtime()), reader._get
        try:  # what most entries have
            host, name, pid = get("_HOSTNAME"), get("SYSLOG_IDENTIFIER"), get("_PID")
            data = b"%b %b[%b]: %b" % (host, name, pid, get("MESSAGE"))
        except KeyError:
            return moment, text_of(self._field)
        if not (host and name and pid) or b"\n" in data or b"\r" in data:
            return moment, text_of(self._field)
        return moment, data.decode("utf-8", "replace").rstrip()

    @property
    def cursor(self) -> str:
        cursor: str = self._reader._get_cursor() if self._is_quick else self._entry["__CURSOR"]
        return cursor

    def _field(self, name: str) -> bytes | None:
        try:
            value: bytes = self._reader._get(name)
            return value
        except KeyError:
            return None


def text_of(field: Callable[[str], Any]) -> str:
    """An entry as a line, as syslog would write it, but for the date: `host sshd[123]: message`.

    `field` gives what it has under a name, or None.
    """
    host, message = _text(field("_HOSTNAME")), _text(field("MESSAGE"))
    name = _text(field("SYSLOG_IDENTIFIER")) or _text(field("_COMM"))
    pid = _text(field("_PID")) or _text(field("SYSLOG_PID"))
    origin = f"{name}[{pid}]:" if pid and name else f"{name}:" if name else ""
    text = " ".join(part for part in (host, origin, message.rstrip()) if part)
    # One entry is one line, whatever somebody has made a service write.
    return _LINE_END.sub(" ", text) if "\n" in text or "\r" in text else text


def _text(value: Any) -> str:
    if isinstance(value, list):  # a field can be there more than once
        value = value[0] if value else ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return "" if value is None else str(value)


def _seconds(microseconds: int) -> float:
    return microseconds / 1e6


def moment_of(cursor: str) -> float | None:
    """When the entry was written that `cursor` points to."""
    found = _MOMENT.search(cursor)
    return int(found[1], 16) / 1e6 if found else None


class JournalReader:
    """Reads the journal for jails.  What one asks of it takes no longer than a thread's end."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._followers: dict[str, _Follower] = {}

    def follow(
        self,
        jail: str,
        source: JournalSource,
        matches: tuple[Match, ...],
        cursor: str | None,
        find_time: float,
        deliver: Callable[[JournalBlock], bool],
        is_reminded: bool = False,
    ) -> None:
        """Say (again) what `jail` follows; it goes on where it is, in the same journal.

        `cursor` is where an earlier run of the server got to.  Entries older than `find_time` are
        passed over: they count no more.  `deliver` must not block; it is asked in a thread of the
        reader's, and answers False where the block has no room: it is offered again after `wake`.
        With `is_reminded` some entries up to `cursor` are handed out once more, as known.
        """
        before = self._followers.get(jail)
        self.unfollow(jail)
        if before is not None and before.source == source:
            cursor = before.cursor or cursor
        self._followers[jail] = _Follower(
            jail, source, matches, cursor, deliver, lambda: self._clock() - find_time, is_reminded
        )

    def unfollow(self, jail: str) -> None:
        """Once this returns nothing is delivered to `jail` any more."""
        if follower := self._followers.pop(jail, None):
            follower.stop()

    def wake(self, jail: str) -> None:
        """`jail` has room again."""
        if follower := self._followers.get(jail):
            follower.wake()

    def problem(self, jail: str) -> str:
        """What keeps the journal from being read for `jail`, if anything does."""
        follower = self._followers.get(jail)
        return follower.problem if follower else ""


class _Follower:
    """One jail's reading of the journal, in a thread of its own."""

    def __init__(
        self,
        jail: str,
        source: JournalSource,
        matches: tuple[Match, ...],
        cursor: str | None,
        deliver: Callable[[JournalBlock], bool],
        oldest: Callable[[], float],
        is_reminded: bool = False,
    ) -> None:
        self.source = source
        self.cursor = cursor  # of the last entry that was delivered
        self.problem = ""
        self._jail = jail
        self._matches = matches
        self._deliver = deliver
        self._oldest = oldest
        self._is_reminded = is_reminded
        self._bell = Bell()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name=f"journal:{jail}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._is_stopping = True
        self._bell.ring()
        self._thread.join(_STOP_PATIENCE)

    def wake(self) -> None:
        self._bell.ring()

    def _run(self) -> None:
        while not self._is_stopping:
            try:
                self._follow()
                continue
            except JournalUnavailable as error:
                self._say(str(error))
            except (OSError, ValueError) as error:  # a broken file, or one that went
                self._say(f"the journal cannot be read: {error}")
            except Exception as error:
                self._say(f"{type(error).__name__}: {error}")
                log.exception("[%s] reading the journal failed in an unforeseen way", self._jail)
            self._bell.wait(_RETRY)

    def _say(self, problem: str) -> None:
        if problem != self.problem:
            log.error("[%s] %s", self._jail, problem)
        self.problem = problem

    def _follow(self) -> None:
        """Read on until somebody stops us, or the files are other ones."""
        files = self.source.found()
        reader = opened(self.source, self._matches)
        try:
            self._seek(reader)
            self.problem = ""
            poll = self._poll_of(reader)
            while not self._is_stopping:
                if self._hand_on(reader):
                    continue
                self._bell.wait(_BREATH)
                self._wait(reader, poll)
                if self.source.found() != files:
                    while self._hand_on(reader):  # what an older file had left
                        pass
                    return
        finally:
            reader.close()

    def _seek(self, reader: Any) -> None:
        """Go to behind the last entry that was read, or to the oldest one that still matters."""
        oldest, moment = self._oldest(), moment_of(self.cursor or "")
        if self.cursor is None or moment is None or moment < oldest:
            reader.seek_realtime(max(0.0, oldest))
            return
        try:
            reader.seek_cursor(self.cursor)
            if reader.get_next() and reader.test_cursor(self.cursor):
                if self._is_reminded:
                    self._remind(reader, self.cursor)
                return
        except (OSError, ValueError):
            pass
        log.info("[%s] the last entry read is gone from the journal; its time counts", self._jail)
        reader.seek_realtime(moment)

    def _remind(self, reader: Any, cursor: str) -> None:
        """Deliver the entries up to that of `cursor`, where `reader` is, as known."""
        entries = EntryReader(reader)
        is_there = entries.back(_REMINDER)
        if not is_there:  # there is none before it
            reader.seek_cursor(cursor)
            is_there = entries.next()
        lines: list[tuple[float, str]] = []
        while is_there:
            lines.append(entries.line)
            if reader.test_cursor(cursor):
                break
            is_there = entries.next()
        else:  # somebody takes files away just now
            reader.seek_cursor(cursor)
            entries.next()
        if lines:
            self._insist(JournalBlock(self.source.name, tuple(lines), cursor, is_known=True))
        self._is_reminded = False

    def _hand_on(self, reader: Any) -> bool:
        """Deliver what comes next; False if there is nothing."""
        entries, cursor = EntryReader(reader), ""
        lines: list[tuple[float, str]] = []
        while len(lines) < _MOST_ENTRIES and not self._is_stopping and entries.next():
            lines.append(entries.line)
            cursor = entries.cursor
        if not lines:
            return False
        if not self._insist(JournalBlock(self.source.name, tuple(lines), cursor)):
            return False
        self.cursor = cursor
        return True

    def _insist(self, block: JournalBlock) -> bool:
        """Deliver `block`, as often as it takes; False if all comes to an end before."""
        while not self._is_stopping:
            if self._deliver(block):
                return True
            self._bell.wait(_REFUSED)
        return False

    def _poll_of(self, reader: Any) -> select.poll | None:
        """What tells of new entries, or of a ring; None where the kernel has no means left for it."""
        poll = select.poll()
        poll.register(self._bell.fileno(), select.POLLIN)
        try:
            poll.register(reader.fileno(), reader.get_events())
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.ENOSYS):
                raise
            log.warning("[%s] no inotify for the journal, it is polled: %s", self._jail, error)
            return None
        return poll

    def _wait(self, reader: Any, poll: select.poll | None) -> None:
        """Sleep until there may be something new."""
        if self._is_stopping:
            return
        if poll is None:
            self._bell.wait(_POLL)
            return
        timeout = reader.get_timeout_ms()  # where the kernel cannot be relied upon, a moment
        poll.poll(_SAFETY * 1000 if timeout < 0 else min(timeout, _SAFETY * 1000))
        self._bell.clear()
        reader.process()
