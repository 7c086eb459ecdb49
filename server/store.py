# SPDX-License-Identifier: GPL-2.0-or-later
"""What must survive a crash: bans, counted failures, positions in logs.  One writer thread.

`save` never waits for the disk: it folds a `Progress` into what waits for the writer, who commits
all that waits in one transaction.  So a position is never durable before its consequences, and
what waits is bounded by the hosts and files it is about, however slow the disk.  Whatever is wrong
with the disk stands in `problem`; the writer tries again, and what waits is written then.

Knows no jail's rules: whom to ban, restore or forget others decide.
"""

from __future__ import annotations

import errno
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as AnswerTimeout
from contextlib import suppress
from functools import partial
from itertools import count, groupby
from operator import itemgetter
from pathlib import Path
from typing import TypeVar

from common.errors import Fail2banError
from server.changes import Changes
from server.portion import Portion
from server.records import Ban, Failure, Position, Progress
from server.rows import BanRow, bans_of_rows
from server.tables import MEMORY, DamagedError, ForeignError, Tables, copy_of, set_aside

_log = logging.getLogger("fail2ban.store")
_T = TypeVar("_T")

_GATHER = 0.05  # seconds that a group stays open for more to join: at most 20 commits a second
_ANSWER = 30.0  # seconds that a question waits for the writer
_ROOMY = 0.75  # of what may wait: as much may be left when what is settled has been let go of
_RETRY = (0.5, 30.0)  # seconds until the disk is tried again: at first, and at most
_DISK = (sqlite3.Error, OSError, Fail2banError, DamagedError)
_PASSING = (errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO)  # these may mend themselves
_CONTENT = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError)


class Store:
    """The database of one server; any thread may call any method.

    `path` is a file, ":memory:" for a database that is not kept, None to keep nothing at all.
    """

    def __init__(
        self,
        path: str | None,
        *,
        max_matches: int = 10,
        purge_age: float = 86400,
        clock: Callable[[], float] = time.time,
        retry: tuple[float, float] = _RETRY,
        max_waiting: int = 100_000,
    ) -> None:
        self.path = path
        self.max_matches = max_matches
        self.purge_age = purge_age
        self.losses = 0  # files set aside: after each, who knows something saves it anew
        self._clock = clock
        self._retry = retry
        self._max_waiting = max_waiting

        # What several threads touch, under `_changed`; nobody holds it while the disk works.
        self._changed = threading.Condition()
        self._waiting: dict[str, Changes] = {}
        self._questions: list[Callable[[Tables | None], None]] = []
        self._history: dict[str, dict[str, tuple[int, float]]] = {}
        self._number = count()
        self._waiting_failures = 0
        self._saved = 0  # how many changes were handed in …
        self._durable = 0  # … and how many of them, in that order, are on the disk
        self._is_hurried = False
        self._is_running = False
        self._is_closing = False

        # What only the writer touches.
        self._tables: Tables | None = None
        self._trouble = ""
        self._notice = ""
        self._writer: threading.Thread | None = None

    # -- beginning and end -------------------------------------------------------------------------

    def open(self) -> None:
        """Begin.  Raises Fail2banError for what a person has to mend first."""
        if self.path is None or self._writer is not None:
            return
        if self.path != MEMORY:
            _prepare_place(Path(self.path))
        self._is_closing = False
        is_open: Future[None] = Future()
        self._writer = threading.Thread(
            target=self._run, args=(is_open,), name="store", daemon=True
        )
        self._is_running = True
        self._writer.start()
        try:
            is_open.result()
        except BaseException:
            self._writer = None
            raise

    def close(self, timeout: float = 10.0) -> None:
        """Write what waits, and end."""
        if self._writer is None:
            return
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self._writer.join(timeout)
        if self._writer.is_alive():
            _log.error("The database %s does not come to an end", self.path)
        self._writer = None

    @property
    def problem(self) -> str:
        """What is wrong with the database; empty if nothing is."""
        return self._trouble or self._notice

    def set_max_matches(self, number: int) -> None:
        """Keep so many log lines of each ban that is saved from now on."""
        self.max_matches = number

    def set_purge_age(self, age: float) -> None:
        """Keep bans for so many seconds after their end."""
        self.purge_age = age

    # -- writing -----------------------------------------------------------------------------------

    def save(self, progress: Progress) -> None:
        """Have `progress` written soon; never waits."""
        if not self._is_running or progress.is_empty:
            return
        portion = _portion_of(progress.failed)
        with self._changed:
            is_first = not self._waiting
            change = self._waiting.setdefault(progress.jail, Changes())
            self._fold(progress, portion, change)
            self._saved += 1
            if self._waiting_failures > self._max_waiting:
                self._make_room()
            if is_first:  # else the writer knows, and gathers what comes within a moment
                self._changed.notify_all()

    def follow_clock(self, jail: str, step: float, since: float) -> None:
        """The bans of `jail` that began at `since` or later are to be saved as begun `step` later."""
        with self._changed:
            known = self._history.get(jail, {})
            known.update(
                {host: (n, last + step) for host, (n, last) in known.items() if last >= since}
            )

    def forget(self, jail: str) -> None:
        """Forget all that is known of `jail`: bans, failures, positions, history."""
        if not self._is_running:
            return
        with self._changed:
            self._waiting[jail] = Changes(is_forgotten=True)
            self._history.pop(jail, None)
            self._count_waiting()
            self._saved += 1
            self._changed.notify_all()

    def purge(self, now: float, find_times: Mapping[str, float] | None = None) -> None:
        """Forget what is long over, soon: bans by `purge_age`, failures by their jail's findtime.

        A host's earlier bans stay as long as a later one runs or is still kept.  Failures of jails
        that `find_times` does not name go by `purge_age`.
        """
        before = now - self.purge_age
        failures_before = {jail: now - age for jail, age in (find_times or {}).items()}

        def drop(tables: Tables | None) -> None:
            if tables is not None:
                self._drop_history(tables.purge(before, failures_before))

        self._ask(drop)

    def sync(self, timeout: float | None = 10.0) -> bool:
        """Wait until everything saved so far is durable; False if it is not after `timeout`."""
        if not self._is_running:
            return self.path is None
        with self._changed:
            wanted = self._saved
            self._is_hurried = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._durable >= wanted, timeout)

    # -- reading -----------------------------------------------------------------------------------

    def positions(self, jail: str) -> dict[str, Position | str]:
        """How far the logs of `jail` were read: path to Position, or journal to cursor."""
        return self._answer({}, lambda tables: tables.positions(jail))

    def bans(self, jail: str, now: float, limit: int | None = None) -> list[Ban]:
        """The bans of `jail` that run on after `now`, oldest first; of too many, the newest.

        A network's ban that ended meanwhile is among them if it stands in for some that run on.
        """
        nothing: list[BanRow] = []
        rows = self._answer(nothing, lambda tables: tables.bans(jail, now, limit))
        return bans_of_rows(jail, rows)

    @property
    def jails(self) -> list[str]:
        """The jails that have banned somebody, whether they run or not."""
        with self._changed:
            return [jail for jail, known in self._history.items() if known]

    def ends(self, jail: str, now: float) -> list[tuple[str, float]]:
        """Whom `jail` bans on after `now`, and until when: known sooner than the bans."""
        return self._answer([], lambda tables: tables.ends(jail, now))

    def ended(self, jail: str, since: float, now: float) -> list[Ban]:
        """The bans of `jail` that ended since then, and that an action may not have lifted."""
        return self._answer([], lambda tables: tables.ended(jail, since, now))

    def bans_of(self, host: str) -> list[Ban]:
        """The last ban of `host` in each jail that knows one, over or not."""
        return self._answer([], lambda tables: tables.bans_of(host))

    def failures(self, jail: str, since: float) -> list[Failure]:
        """The failures from `since` on that still count, in the order in which they were saved."""
        return self._answer([], lambda tables: self._failures_in(tables, jail, since))

    def _failures_in(self, tables: Tables, jail: str, since: float) -> list[Failure]:
        known = len(tables.spoilt)
        failures = tables.failures(jail, since)
        self._mind_spoilt(tables, known)
        return failures

    def lifted(self, jail: str, since: float) -> dict[str, float]:
        """Hosts that `jail` let in from `since` on, before their ban was over, and when."""
        return self._answer({}, lambda tables: tables.lifted(jail, since))

    def history(self, host: str, jail: str | None = None) -> tuple[int, float]:
        """How many bans `host` has had, in `jail` or in all, and when the last began (0: never).

        Answered from memory at once, since a decision waits for it: some 200 bytes a host kept.
        """
        with self._changed:
            jails = self._history.values() if jail is None else [self._history.get(jail, {})]
            known = [bans[host] for bans in jails if host in bans]
        return sum(total for total, _ in known), max((last for _, last in known), default=0.0)

    # -- what waits (under `_changed`) -------------------------------------------------------------

    def _fold(self, progress: Progress, portion: Portion | None, change: Changes) -> None:
        for host in progress.settled:
            change.settle(host)
        if portion is not None:
            change.portions.append((next(self._number), portion))
            self._waiting_failures += len(portion)
        known = self._history.setdefault(progress.jail, {})
        for ban in progress.banned:
            total, last = known.get(ban.host, (0, None))
            if ban.since != last:  # else the one that is known goes on for another time
                total += 1
            known[ban.host] = total, ban.since
            change.ban(self._bounded(ban), total)
        if progress.lifted:
            change.lifted.update(dict.fromkeys(progress.lifted, self._clock()))
        change.positions.update(progress.positions)

    def _bounded(self, ban: Ban) -> Ban:
        if ban.parts:
            ban = ban._replace(parts=tuple(map(self._bounded, ban.parts)))
        if len(ban.matches) <= self.max_matches:
            return ban
        return ban._replace(matches=ban.matches[-self.max_matches :] if self.max_matches else ())

    def _count_waiting(self) -> None:
        self._waiting_failures = sum(change.failures for change in self._waiting.values())

    def _make_room(self) -> None:
        """Memory has an end: let go of failures that are settled, or else of the older half."""
        for change in self._waiting.values():
            change.tidy()
        self._count_waiting()
        if self._waiting_failures > self._max_waiting * _ROOMY:
            self._give_up_failures()

    def _give_up_failures(self) -> None:
        """Of failures that cannot be written the older half is given up, by whole portions."""
        waiting = self._waiting_failures
        sizes = sorted(
            (number, len(portion))
            for change in self._waiting.values()
            for number, portion in change.portions
        )
        first, gone = sizes[0][0], 0
        for number, size in sizes[:-1]:
            first, gone = number + 1, gone + size
            if gone >= waiting // 2:
                break
        for change in self._waiting.values():
            change.give_up(first)
        self._count_waiting()
        _log.error(
            "The database %s is too slow or out of order; %d counted failures will not be kept",
            self.path,
            waiting - self._waiting_failures,
        )

    def _take_waiting(self) -> tuple[dict[str, Changes], int]:
        with self._changed:
            group, self._waiting = self._waiting, {}
            self._waiting_failures = 0
            return group, self._saved

    def _put_back(self, group: dict[str, Changes]) -> None:
        with self._changed:
            for jail, later in self._waiting.items():
                group[jail] = group[jail].followed_by(later) if jail in group else later
            self._waiting = group
            self._count_waiting()

    def _drop_history(self, hosts: list[str]) -> None:
        with self._changed:
            for jail, known in self._history.items():
                anew = self._waiting[jail].banned if jail in self._waiting else {}
                for host in hosts:
                    if host not in anew:
                        known.pop(host, None)

    # -- questions to the writer -------------------------------------------------------------------

    def _ask(self, question: Callable[[Tables | None], None]) -> None:
        with self._changed:
            if self._is_running:
                self._questions.append(question)
                self._changed.notify_all()
                return
        question(None)

    def _answer(self, nothing: _T, read: Callable[[Tables], _T]) -> _T:
        """What `read` gives once all that waits is written; `nothing` if the disk does not answer."""
        answer: Future[_T] = Future()

        def ask(tables: Tables | None) -> None:
            try:
                answer.set_result(nothing if tables is None else read(tables))
            except sqlite3.Error as error:
                answer.set_exception(error)
                raise
            except Exception as error:  # it is raised where somebody waits for the answer
                answer.set_exception(error)

        self._ask(ask)
        try:
            return answer.result(_ANSWER)
        except (sqlite3.Error, AnswerTimeout) as error:
            _log.error("The database %s cannot be read: %s", self.path, error or "no answer")
            return nothing

    # -- the writer's thread -----------------------------------------------------------------------

    def _run(self, is_open: Future[None]) -> None:
        try:
            if self._begin(is_open):
                self._work()
        except Exception as error:
            if not is_open.done():
                is_open.set_exception(error)
            _log.exception("The database %s is given up", self.path)
            self._trouble = "given up after an unforeseen error; see the log"
        finally:
            with self._changed:
                self._is_running = False
                questions, self._questions = self._questions, []
            for question in questions:
                question(None)
            if self._tables is not None:
                self._tables.close()
                self._tables = None

    def _begin(self, is_open: Future[None]) -> bool:
        """Open the file for the first time; False where a person has to mend something first."""
        try:
            self._connect()
        except _DISK as error:
            if isinstance(error, OSError) and error.errno not in _PASSING:
                assert self.path is not None
                is_open.set_exception(_no_place(Path(self.path), error))
                return False
            if isinstance(error, ForeignError):
                is_open.set_exception(error)
                return False
            self._fail(error)
            self._answer_from_copy(self._learn)
        is_open.set_result(None)
        return True

    def _work(self) -> None:
        pause = 0.0
        is_closing = False
        while not is_closing:
            is_closing = self._wait(pause)
            if self._attempt():
                pause = 0.0
            else:
                first, most = self._retry
                pause = min(pause * 2 or first, most)
        if self._waiting:
            _log.error("The database %s ends without the last changes", self.path)

    def _wait(self, pause: float) -> bool:
        """Wait for work, or for `pause` after a failure; whether this is the end."""
        with self._changed:
            if pause:
                self._changed.wait_for(self._is_urgent, pause)
            else:
                self._changed.wait_for(lambda: self._waiting or self._is_urgent())
                self._changed.wait_for(self._is_urgent, _GATHER)
            self._is_hurried = False
            return self._is_closing

    def _is_urgent(self) -> bool:
        return bool(self._questions) or self._is_hurried or self._is_closing

    def _attempt(self) -> bool:
        """Write what waits and answer what is asked; whether that went well."""
        with self._changed:
            questions, self._questions = self._questions, []
        is_well = self._guarded(self._write) and self._guarded(self._tidy)
        for question in questions:  # where writing failed, reading may do
            is_well &= self._guarded(partial(self._put, question))
        return is_well

    def _put(self, question: Callable[[Tables | None], None]) -> None:
        if self._tables is not None:
            question(self._tables)
        elif not self._answer_from_copy(question):
            question(None)

    def _answer_from_copy(self, question: Callable[[Tables], None]) -> bool:
        """Answer from a copy, with all that waits, while the file cannot be opened.

        Else a start on a full or read-only disk would forget all bans, and count all lines again.
        """
        assert self.path is not None
        copy = copy_of(self.path)
        if copy is None:
            return False
        try:
            with self._changed, suppress(*_CONTENT, ValueError, TypeError, OverflowError):
                copy.write(self._waiting)
            question(copy)
        finally:
            copy.close()
        return True

    def _guarded(self, work: Callable[[], None]) -> bool:
        try:
            work()
        except _DISK as error:
            self._fail(error)
            return False
        return True

    def _write(self) -> None:
        if self._tables is None:
            self._connect()
        elif not self._tables.is_in_place:
            self._note(f"{self.path} was taken away and is written anew")
            self._tables.write_anew()
        assert self._tables is not None
        group, number = self._take_waiting()
        try:
            if group:
                self._tables.write(group)
        except (*_CONTENT, ValueError, TypeError, OverflowError):
            # It would fail for ever, and hold up all that comes after it.
            _log.exception("The database %s cannot hold a change, which is lost", self.path)
            self._notice = "a change could not be kept; see the log"
        except BaseException:
            self._put_back(group)
            raise
        if self._trouble:
            _log.warning("The database %s is in order again", self.path)
            self._trouble = ""
        with self._changed:
            self._durable = number
            self._changed.notify_all()

    def _tidy(self) -> None:
        if self._tables is not None:
            known = len(self._tables.spoilt)
            self._tables.tidy()
            self._mind_spoilt(self._tables, known)

    def _connect(self) -> None:
        """Open the file; a damaged one is set aside, and what can be read of its bans kept."""
        assert self.path is not None
        try:
            self._tables = Tables(self.path)
        except DamagedError as error:
            aside = set_aside(self.path)
            self._note(f"{self.path} was unusable ({error}); it is kept as {aside}")
            self._tables = Tables(self.path)
            self._tables.salvage(aside)
            self.losses += 1
        self._learn(self._tables)

    def _learn(self, tables: Tables) -> None:
        """Take up how often hosts were banned, as far as it is not known already."""
        with self._changed:
            for jail, every in groupby(tables.history(), itemgetter(0)):
                known = self._history.setdefault(jail, {})
                for _, host, total, last in every:
                    if host not in known:
                        known[host] = total, last

    def _fail(self, error: Exception) -> None:
        """Note what is wrong, and let go of the file: the next attempt opens it anew."""
        text = _in_words(error)
        if text != self._trouble:
            _log.error("The database %s is out of order: %s. It is tried again", self.path, text)
        self._trouble = text
        if self.path != MEMORY and self._tables is not None:
            self._tables.close()
            self._tables = None

    def _mind_spoilt(self, tables: Tables, known: int) -> None:
        if len(tables.spoilt) > known:
            self._note(f"{self.path} is damaged: some counted failures cannot be read")

    def _note(self, text: str) -> None:
        self._notice = text
        _log.error("The database %s", text)


def _portion_of(failures: Collection[Failure]) -> Portion | None:
    if isinstance(failures, Portion):
        return failures
    return Portion.of(failures) if failures else None


def _prepare_place(path: Path) -> None:
    """Make the directory of `path` if it is missing, one level of it."""
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        if path.exists() and not path.is_file():
            raise Fail2banError(f"the database {path} is no file; set dbfile to another path")
    except OSError as error:
        raise _no_place(path, error) from None


def _no_place(path: Path, error: OSError) -> Fail2banError:
    return Fail2banError(
        f"the database {path} cannot be kept there: {error.strerror};"
        " set dbfile to another path, or to None for no database"
    )


_WORDS = {
    sqlite3.SQLITE_BUSY: "another program has locked it",
    sqlite3.SQLITE_LOCKED: "another program has locked it",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_READONLY: "it is read-only",
    sqlite3.SQLITE_PERM: "it is read-only",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_IOERR: "the disk does not read or write it",
}


def _in_words(error: Exception) -> str:
    code = getattr(error, "sqlite_errorcode", None)
    text = _WORDS.get(code & 0xFF) if code is not None else None
    return f"{text} ({error})" if text else str(error)
