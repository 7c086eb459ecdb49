# SPDX-License-Identifier: GPL-2.0-or-later
"""One thread reads all logs of all jails: it knows who follows what, and when to look.

It sleeps until the watcher, a jail, or a deadline wakes it.  What it reads goes to the jails as
blocks; what stands in them it does not know.
"""

from __future__ import annotations

import fnmatch
import functools
import glob
import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from common.options import LogPath
from server.border import Border
from server.records import Excerpt, LogBlock, Position, older_of
from server.sharing import Wanted
from server.source import Claims, Inbox, is_compressed, is_rotated_name
from server.source import FileState as FileState
from server.tail import Tail
from server.watch import EVERYTHING, Bell, Watcher, places

log = logging.getLogger("fail2ban.reader")

POLL = 0.5  # seconds between looks at a file where nobody tells us
_GLOBBING = 1.0  # the same at which files there are
SAFETY = 30.0  # the same where inotify does: on a network file system it misses others' writes
_TOGETHER = 0.5  # what is due so soon is looked at with what is due now, to wake once
_GATHERED = 0.1  # seconds for which those who begin to follow wait for others
_LONGEST_ANSWER = 10.0  # seconds that a question may take: a dead NFS server can hold up the thread

T = TypeVar("T")


@dataclass(slots=True)
class _Subscription:
    """All that one jail follows."""

    inbox: Inbox
    logs: tuple[LogPath, ...]
    positions: Mapping[str, Position]
    is_polling: bool
    tails: dict[str, Tail] = field(default_factory=dict)
    patterns: set[str] = field(default_factory=set)  # whose files were looked for before


class LogReader:
    """Reads logs for jails.  All methods may be called from any thread but `deliver`'s own call."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        has_watcher: bool = True,
    ) -> None:
        self._clock = clock
        self._has_watcher = has_watcher
        self._thread: threading.Thread | None = None
        self._is_stopping = False
        self._bell = Bell()
        self._requests: deque[Callable[[], None]] = deque()
        self._told: deque[tuple[set[str], set[str]]] = deque()
        self._is_gathering = False
        # From here on everything belongs to the reader's thread, and to who has this.
        self._turn = threading.Lock()
        self._watcher: Watcher | None = None
        self._claims = Claims()
        self._jails: dict[str, _Subscription] = {}
        self._tails: dict[str, Tail] = {}
        self._due: dict[str, float] = {}  # when to check which tail
        self._soonest = math.inf
        self._next_scan = math.inf
        self._polled: set[str] = set()
        self._known_as: dict[str, set[str]] = {}  # paths that the watcher names: those followed
        self._lingering: dict[str, set[str]] = {}  # directories where older files may be written
        self._awaited: dict[str, set[str]] = {}  # directories: names or globs that matter there

    # -- from any thread -------------------------------------------------------------------------

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._is_stopping = True
        self._bell.ring()
        if self._thread is not None:
            self._thread.join(2.0)

    def follow(
        self,
        jail: str,
        logs: tuple[LogPath, ...],
        positions: Mapping[str, Position],
        deliver: Callable[[LogBlock | Excerpt], bool],
        polling: bool = False,
        border: Border | None = None,
        reminder: int = 0,
        find_wanted: Callable[[], Wanted | None] = lambda: None,
    ) -> None:
        """Say (again) all that `jail` follows.  What it followed before goes on undisturbed.

        `positions` are where an earlier run of the server got to.  `deliver` must not block, and not
        call back; it is asked in the reader's thread, and answers False where the block has no room:
        then the same lines are offered again after `wake`.  A block without data tells a position.
        `border` says what of a file need not be read, in the reader's thread, too.  A jail that is
        new gets as many bytes before its positions as `reminder` once more, as known.  What several
        jails read is searched once for all that `find_wanted` gives, asked in the reader's thread; then it
        comes as an excerpt.
        """
        known = dict(positions)
        inbox = Inbox(jail, deliver, border, reminder, find_wanted)
        self._post(lambda: self._follow(inbox, logs, known, polling))

    @contextmanager
    def gathering(self) -> Iterator[None]:
        """Meanwhile many begin to follow: they are attended to together, if need be in batches.

        To look which files there are takes as long as there are jails; for each new one it would be
        done again.
        """
        self._is_gathering = True
        try:
            yield
        finally:
            self._is_gathering = False
            self._post(self._scan_soon)

    def unfollow(self, jail: str) -> None:
        """Once this returns nothing is delivered to `jail` any more."""
        self._ask(lambda: self._unfollow(jail))

    def files(self, jail: str) -> list[FileState]:
        """How it stands with each log of `jail`; a glob shows the files that are there."""
        return self._said_of([jail], self._states)[jail]

    def problems_of(self, jails: Collection[str]) -> dict[str, list[str]]:
        """Of each of `jails` which of its logs cannot be read, and why."""
        return self._said_of(jails, self._problems)

    def wake(self, jail: str) -> None:
        """`jail` has room again."""
        self._post(lambda: self._wake(jail))

    def _said_of(self, jails: Collection[str], told: Callable[[str], T]) -> dict[str, T]:
        """What is `told` of each of `jails`: as all was seen last, if nothing is to be looked at now."""
        if not (self._requests or self._told) and self._turn.acquire(blocking=False):
            try:
                if not any(map(self._is_new, jails)):
                    return {jail: told(jail) for jail in jails}
            finally:
                self._turn.release()

        def look() -> dict[str, T]:
            for jail in jails:
                self._look_at(jail)
            return {jail: told(jail) for jail in jails}

        return self._ask(look)

    def _post(self, request: Callable[[], None]) -> None:
        self._requests.append(request)
        self._bell.ring()

    def _ask(self, request: Callable[[], T]) -> T:
        answer: Future[T] = Future()

        def run() -> None:
            try:
                answer.set_result(request())
            except Exception as error:
                answer.set_exception(error)

        self._post(run)
        deadline = time.monotonic() + _LONGEST_ANSWER
        while not answer.done() and time.monotonic() < deadline:
            if self._thread is None or not self._thread.is_alive():
                with self._turn:
                    self._obey()  # before the start and after the end, whoever asks does it
            with suppress(Exception):  # which comes again
                answer.result(0.2)
        return answer.result(0)

    # -- in the reader's thread ------------------------------------------------------------------

    def _run(self) -> None:
        hungry: set[str] = set()  # paths with more to read
        while not self._is_stopping:
            if not hungry:
                self._bell.wait(self._patience())
            try:
                with self._turn:
                    hungry = self._round(hungry)
            except Exception:
                log.exception("the reader failed in an unforeseen way")
                hungry = set()
                self._due = dict.fromkeys(self._tails, self._clock() + POLL)
                self._soonest = self._clock() + POLL
        with self._turn:
            if self._watcher is not None:
                self._watcher.stop()
                self._watcher = None
            for jail in list(self._jails):
                self._unfollow(jail)

    def _patience(self) -> float | None:
        moment = min(self._soonest, self._next_scan)
        return None if moment == math.inf else moment - self._clock()

    def _round(self, hungry: set[str]) -> set[str]:
        """Do what is to be done now; return the paths of which more can be read at once."""
        self._obey()
        dirty, is_stale = self._hear()
        now = self._clock()
        if is_stale or now >= self._next_scan:
            self._scan(now)
        if now >= self._soonest:
            due = {path for path, moment in self._due.items() if moment <= now + _TOGETHER}
            self._due.update(dict.fromkeys(due, now))
            self._ask_again(due)
            dirty |= due
        for path in sorted(dirty):
            if tail := self._tails.get(path):
                self._check(path, tail, now)
        hungry = {path for path in hungry | dirty if path in self._tails}
        hungry = {path for path in sorted(hungry) if self._tails[path].read(now)}
        if dirty or now >= self._soonest:
            self._plan(dirty, now)
        return hungry

    def _obey(self) -> None:
        while self._requests:
            try:
                self._requests.popleft()()
            except Exception:
                log.exception("the reader failed in an unforeseen way")

    def _hear(self) -> tuple[set[str], bool]:
        """What the watcher told: the paths to look at, and whether to look for new ones."""
        dirty: set[str] = set()
        is_stale = False
        while self._told:
            written, others = self._told.popleft()
            for path in written | others:
                dirty |= self._known_as.get(path, set())
                dirty |= self._lingering.get(os.path.dirname(path), set())
            is_stale = is_stale or any(self._is_awaited(path) for path in others)
        return dirty, is_stale

    def _is_awaited(self, path: str) -> bool:
        if path == EVERYTHING or path in self._awaited:
            return True
        directory, name = os.path.split(path)
        return any(
            name == one or fnmatch.fnmatchcase(name, one)
            for one in self._awaited.get(directory, ())
        )

    def _ask_again(self, paths: Iterable[str]) -> None:
        """Offer anew to full jails, too: whoever forgot to call `wake` shall not starve."""
        for path in paths:
            tail = self._tails.get(path)
            for jail in tail.jails if tail else ():
                self._jails[jail].inbox.is_full = False

    def _check(self, path: str, tail: Tail, now: float) -> None:
        had_older = tail.has_older
        tail.check(now)
        if tail.has_older != had_older:
            self._next_scan = now  # what to watch for is another set now

    def _plan(self, paths: Iterable[str], now: float) -> None:
        """Set when to look at these next."""
        for path in paths:
            if tail := self._tails.get(path):
                most = POLL if path in self._polled else SAFETY
                patience = tail.patience(now)
                moment = now + (most if patience is None else min(most, patience))
                planned = self._due.get(path, -math.inf)
                # What is planned is not put off, however often something happens in between.
                self._due[path] = min(moment, planned) if planned > now else moment
        self._soonest = min(self._due.values(), default=math.inf)

    # -- who follows what ------------------------------------------------------------------------

    def _follow(
        self,
        inbox: Inbox,
        logs: tuple[LogPath, ...],
        positions: Mapping[str, Position],
        is_polling: bool,
    ) -> None:
        subscription = self._jails.get(inbox.jail)
        if subscription is None:
            subscription = _Subscription(inbox, logs, positions, is_polling)
            self._jails[inbox.jail] = subscription
        else:
            subscription.inbox.deliver, subscription.inbox.border = inbox.deliver, inbox.border
            subscription.inbox.find_wanted = inbox.find_wanted
            subscription.inbox.is_full = False
            subscription.logs, subscription.positions = logs, positions
            subscription.is_polling = is_polling
            subscription.patterns &= {one.pattern for one in logs}
        self._scan_soon()

    def _scan_soon(self) -> None:
        latest = self._clock() + _GATHERED if self._is_gathering else -math.inf
        self._next_scan = min(self._next_scan, latest)

    def _unfollow(self, jail: str) -> None:
        subscription = self._jails.pop(jail, None)
        if subscription is None:
            return
        for path in list(subscription.tails):
            self._drop(subscription, path)
        self._claims.forget(jail)
        self._next_scan = -math.inf

    def _wake(self, jail: str) -> None:
        if subscription := self._jails.get(jail):
            subscription.inbox.is_full = False
            self._due.update(dict.fromkeys(subscription.tails, -math.inf))
            self._soonest = -math.inf

    def _look_at(self, jail: str) -> None:
        """Look which files there are for `jail`, and at those that are new."""
        subscription = self._jails.get(jail)
        if subscription is None:
            return
        self._expand(subscription)
        now = self._clock()
        for path, tail in subscription.tails.items():
            if self._due.get(path) == -math.inf:
                self._check(path, tail, now)

    def _is_new(self, jail: str) -> bool:
        """Whether some of its files were not looked at yet."""
        subscription = self._jails.get(jail)
        return subscription is not None and (
            any(one.pattern not in subscription.patterns for one in subscription.logs)
            or any(self._due.get(path) == -math.inf for path in subscription.tails)
        )

    def _states(self, jail: str) -> list[FileState]:
        """How it stands with the files of `jail`, as they were seen last."""
        subscription = self._jails.get(jail)
        if subscription is None:
            return []
        states = {path: tail.state(jail) for path, tail in subscription.tails.items()}
        found = []
        for pattern in dict.fromkeys(one.pattern for one in subscription.logs):
            matching = [path for path in sorted(states) if _matches(path, pattern)]
            found += [states.pop(path) for path in matching]
            if not matching and glob.has_magic(pattern):
                found.append(FileState(pattern, is_missing=True))
        return found

    def _problems(self, jail: str) -> list[str]:
        subscription = self._jails.get(jail)
        every = subscription.tails.items() if subscription else ()
        return [f"{path}: {tail.problem}" for path, tail in sorted(every) if tail.problem]

    # -- which files there are -------------------------------------------------------------------

    def _scan(self, now: float) -> None:
        """Look which files there are, and have the right directories watched."""
        for _ in range(16):  # a directory that is found now may hold others
            for subscription in self._jails.values():
                self._expand(subscription)
            if not self._rewatch():
                break
        is_globbing = any(
            one.is_polling or self._watcher is None
            for one in self._jails.values()
            if any(_is_glob(log_path.pattern) for log_path in one.logs)
        )
        self._next_scan = now + (_GLOBBING if is_globbing else SAFETY) if self._jails else math.inf

    def _expand(self, subscription: _Subscription) -> None:
        """Follow what matches now, and nothing that is over or is not asked for any more."""
        tails, jail = subscription.tails, subscription.inbox.jail
        wanted: dict[str, tuple[bool, bool]] = {}
        for one in sorted(subscription.logs, key=lambda one: _is_glob(one.pattern)):
            is_tail = one.is_tail and one.pattern not in subscription.patterns
            is_glob = _is_glob(one.pattern)
            for path in sorted(glob.glob(one.pattern)) if is_glob else [one.pattern]:
                if not (is_glob and is_compressed(path)):
                    wanted.setdefault(path, (is_tail, is_glob))
        for path in [path for path in tails if path not in wanted]:
            if tails[path].is_over or not any(_matches(path, p.pattern) for p in subscription.logs):
                self._drop(subscription, path)
        for path, (is_tail, is_globbed) in wanted.items():
            if path in tails:
                continue
            tail = self._tails.setdefault(path, Tail(path, self._claims, self._originals_of(path)))
            positions = subscription.positions
            older = None if is_globbed else positions.get(older_of(path))
            tail.add(subscription.inbox, positions.get(path), is_tail, is_globbed, older)
            tails[path] = tail
            self._due[path] = self._soonest = -math.inf
            log.debug("[%s] follows %s", jail, path)
        subscription.patterns = {one.pattern for one in subscription.logs}

    def _drop(self, subscription: _Subscription, path: str) -> None:
        tail = subscription.tails.pop(path)
        tail.remove(subscription.inbox.jail)
        if not tail.jails:
            self._tails.pop(path, None)
            self._due.pop(path, None)

    def _originals_of(self, path: str) -> Callable[[str], Iterable[Tail]]:
        """The tails of which the file at `path` may be a copy, going by the names."""
        directory, name = os.path.split(path)

        def originals(jail: str) -> Iterable[Tail]:
            subscription = self._jails.get(jail)
            if subscription is None:
                return []
            pairs = ((os.path.split(other), tail) for other, tail in subscription.tails.items())
            return [
                tail
                for (other_directory, other_name), tail in pairs
                if other_directory == directory and is_rotated_name(name, other_name)
            ]

        return originals

    # -- what is watched -------------------------------------------------------------------------

    def _rewatch(self) -> bool:
        """Have the watcher watch what is of interest now; whether it found directories new to it."""
        watched = [one for one in self._jails.values() if not one.is_polling]
        self._polled = {
            path for one in self._jails.values() if one.is_polling for path in one.tails
        }
        self._known_as, self._lingering, self._awaited = {}, {}, {}
        if not watched or not self._has_inotify():
            self._polled = set(self._tails)
            if self._watcher is not None:
                self._watcher.watch({})
            return False
        is_directory = functools.cache(os.path.isdir)  # many logs stand in one directory
        real_directory = functools.cache(os.path.realpath)
        for subscription in watched:
            for one in subscription.logs:
                self._await(one.pattern, is_directory)
            for path, tail in subscription.tails.items():
                self._known_as.setdefault(os.path.abspath(path), set()).add(path)
                real = _real(path, real_directory)
                if real != os.path.abspath(path):
                    self._known_as.setdefault(real, set()).add(path)
                    self._await(real, is_directory)
                if tail.has_older:
                    for place in {os.path.dirname(os.path.abspath(path)), os.path.dirname(real)}:
                        self._lingering.setdefault(place, set()).add(path)
                        self._awaited.setdefault(place, set())
        assert self._watcher is not None
        # What writes to a file that was rotated does so under a name of which nobody knows.
        new, failed = self._watcher.watch(
            {place: self._names_of_interest(place) for place in self._awaited},
            self._known_as,
            self._lingering,
        )
        self._polled.update(*(self._known_as.get(name, ()) for name in failed))
        self._polled |= {
            path
            for path in (self._tails if failed else ())
            if failed.intersection(
                place for place, _ in [*places(path), *places(os.path.realpath(path))]
            )
        }
        missed = set(self._polled)
        for name in new:
            missed |= self._known_as.get(name, set()) | self._lingering.get(name, set())
        for path in self._tails:
            if os.path.dirname(os.path.abspath(path)) in new or path in missed:
                self._due[path] = self._soonest = -math.inf
        return not new.isdisjoint(self._awaited)

    def _await(self, pattern: str, is_directory: Callable[[str], bool]) -> None:
        for place, name in places(pattern, is_directory):
            self._awaited.setdefault(place, set()).add(name)

    def _names_of_interest(self, place: str) -> frozenset[str] | None:
        names = self._awaited[place]
        if place in self._lingering or any(glob.has_magic(name) for name in names):
            return None
        return frozenset(names)

    def _has_inotify(self) -> bool:
        if self._watcher is None and self._has_watcher:
            try:
                self._watcher = Watcher(self._tell)
                self._watcher.start()
            except Exception as error:  # whatever is wrong with it, logs can be polled
                log.warning("no inotify, logs are polled: %s", error)
                self._has_watcher = False
        return self._watcher is not None

    def _tell(self, written: set[str], others: set[str]) -> None:
        """In the watcher's thread."""
        self._told.append((written, others))
        self._bell.ring()


def _real(path: str, real_directory: Callable[[str], str]) -> str:
    """`path` without symbolic links; `real_directory` says it of directories, each but once."""
    directory, name = os.path.split(path)
    if name in ("", ".", "..") or os.path.islink(path):
        return os.path.realpath(path)
    return os.path.join(real_directory(directory), name)


def _is_glob(pattern: str) -> bool:
    return glob.has_magic(pattern) and not os.path.lexists(pattern)


def _matches(path: str, pattern: str) -> bool:
    """Whether a glob, or the path that it is, gives `path`."""
    if path == pattern:
        return True
    parts, globs = Path(path).parts, Path(pattern).parts
    return len(parts) == len(globs) and all(map(fnmatch.fnmatchcase, parts, globs))
