# SPDX-License-Identifier: GPL-2.0-or-later
"""Says that something changed in a directory or a file, soon after it did; what, others find out.

One inotify instance (the kernel allows 128 a user) in one thread, for the whole server.  Directories
are watched for what comes and goes, so that a file which is not there yet is noticed, too; files for
what is written, so that nobody is woken for their neighbours, our own log among them.  Knows no log
and no jail.
"""

from __future__ import annotations

import contextlib
import glob
import importlib
import logging
import os
import select
import struct
import sys
import threading
import time
import types
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

log = logging.getLogger("fail2ban.watch")

EVERYTHING = ""  # told as changed where the kernel lost count
_EVENT = struct.Struct("iIII")  # watch, mask, cookie, length of the name: inotify(7)
_BATCH = 0.002  # seconds in which events are gathered after the first one was told …
_TELLINGS = 50  # … so that there are as many in a second, but for a burst of as many more
_BUFFER = 1 << 16

# Tells which paths were written to, and which came, went, or changed otherwise.
Listener = Callable[[set[str], set[str]], None]


class Bell:
    """Wakes a thread that sleeps in `wait`; rings before it sleeps are not lost."""

    def __init__(self) -> None:
        self._in, self._out = os.pipe()
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)
        self._poll = select.poll()
        self._poll.register(self._in, select.POLLIN)

    def fileno(self) -> int:
        return self._in

    def ring(self) -> None:
        with contextlib.suppress(BlockingIOError):  # it rings already
            os.write(self._out, b".")

    def wait(self, seconds: float | None) -> None:
        """Sleep until it rings, `seconds` at most.  For one thread."""
        if self._poll.poll(None if seconds is None else max(0.0, seconds) * 1000):
            self.clear()

    def clear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._in, 4096)

    def __del__(self) -> None:  # not earlier: whoever still rings must not hit another file
        os.close(self._in)
        os.close(self._out)


def load_pyinotify() -> Any:
    """The module pyinotify, silenced; ImportError or another error where it cannot be had.

    It is loaded late: it takes some 50 ms, and a server whose jails all poll does without.  One
    class of it, which we do not use, wants asyncore, gone from Python 3.12 unless pyasyncore is there.
    """
    try:
        module = importlib.import_module("pyinotify")
    except ModuleNotFoundError as error:
        if error.name != "asyncore":
            raise
        stand_in = types.ModuleType("asyncore")
        stand_in.__dict__["file_dispatcher"] = type("file_dispatcher", (), {})
        sys.modules["asyncore"] = stand_in
        try:
            module = importlib.import_module("pyinotify")
        finally:
            del sys.modules["asyncore"]
    logger = logging.getLogger("pyinotify")
    logger.handlers.clear()  # it would write to the standard error stream
    logger.setLevel(logging.CRITICAL)
    return module


class _Pace:
    """How long to gather events after a telling: little, unless there are tellings without end."""

    def __init__(self, now: float) -> None:
        self._left, self._since = float(_TELLINGS), now

    def rest(self, now: float) -> float:
        """The seconds after one at `now`."""
        self._left = min(self._left + (now - self._since) * _TELLINGS, _TELLINGS) - 1
        self._since = now
        return max(_BATCH, -self._left / _TELLINGS)


@dataclass(frozen=True, slots=True)
class _Watched:
    """A directory or file under watch: the kernel's number, which file it is, what is told of it."""

    number: int
    identity: tuple[int, int]
    mask: int


# By the kernel's numbers: the paths, and of directories the names of interest (None: all).
_Places = Mapping[int, tuple[tuple[str, frozenset[str] | None], ...]]


class Watcher:
    """Watches directories and files; `watch` belongs to one thread, the telling is done in another one."""

    def __init__(self, tell: Listener) -> None:
        """Raises ImportError or OSError where there is no inotify to be had."""
        self._tell = tell
        self._pyinotify = load_pyinotify()
        self._manager = self._pyinotify.WatchManager()
        self._fd: int = self._manager.get_fd()
        os.set_inheritable(self._fd, False)
        os.set_blocking(self._fd, False)
        self._watched: dict[str, _Watched] = {}
        # Read by the thread that tells: replaced as a whole, never changed.
        self._places: _Places = {}
        self._gone: set[int] = set()  # numbers that the kernel took back
        self._bell = Bell()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._is_stopping = True
        self._bell.ring()
        if self._thread.ident is not None:
            self._thread.join(2.0)
        self._manager.close()

    def watch(
        self,
        wanted: Mapping[str, frozenset[str] | None],
        files: Collection[str] = (),
        in_full: Collection[str] = (),
    ) -> tuple[set[str], set[str]]:
        """From now on watch these directories, each for these names (None: for all).

        Told is what comes, goes and changes otherwise, and what is written to `files`, as far as they
        are there; in the directories `in_full`, what is written to any file.

        Returns those that are watched only now, in which something may have been missed, and those
        that cannot be watched.
        """
        written: int = self._pyinotify.IN_MODIFY
        asked = dict.fromkeys(files, written)
        for directory in wanted:
            asked[directory] = self._coming | (written if directory in in_full else 0)
        new: set[str] = set()
        failed: set[str] = set()
        identities: dict[str, tuple[int, int]] = {}
        masks: dict[tuple[int, int], int] = {}  # what has two names has one watch
        for path, mask in asked.items():
            try:
                status = os.stat(path)
            except (OSError, UnicodeError) as error:
                if path in wanted or not isinstance(error, FileNotFoundError):
                    failed.add(path)
                continue
            identities[path] = identity = status.st_dev, status.st_ino
            masks[identity] = masks.get(identity, 0) | mask
        watched: dict[str, _Watched] = {}
        for path, identity in identities.items():
            mask, old = masks[identity], self._watched.get(path)
            if old and (old.identity != identity or old.number in self._gone):
                old = None
            try:
                number = old.number if old and old.mask == mask else self._add(path, mask)
            except (OSError, UnicodeError):
                failed.add(path)
                continue
            watched[path] = _Watched(number, identity, mask)
            if not old or mask & ~old.mask:
                new.add(path)
        former = {one.number for one in self._watched.values()}
        self._watched = watched
        places: dict[int, list[tuple[str, frozenset[str] | None]]] = {}
        for path, one in watched.items():
            places.setdefault(one.number, []).append((path, wanted.get(path)))
        self._places = {number: tuple(found) for number, found in places.items()}
        for number in former - set(places):
            self._remove(number)
        return new, failed

    @property
    def _coming(self) -> int:
        """What is told of a directory in any case."""
        notify = self._pyinotify
        mask: int = (
            notify.IN_ATTRIB
            | notify.IN_CREATE
            | notify.IN_DELETE
            | notify.IN_MOVED_FROM
            | notify.IN_MOVED_TO
            | notify.IN_DELETE_SELF
            | notify.IN_MOVE_SELF
            | notify.IN_ONLYDIR
        )
        return mask

    def _add(self, path: str, mask: int) -> int:
        """The number of a watch on `path`: the same for two names of one file."""
        try:
            number: int = next(iter(self._manager.add_watch(path, mask, quiet=False).values()))
        except (self._pyinotify.WatchManagerError, StopIteration) as error:
            raise OSError(str(error)) from None
        self._gone.discard(number)
        return number

    def _remove(self, number: int) -> None:
        if number in self._gone:
            self._gone.discard(number)
            self._manager.del_watch(number)
            return
        with contextlib.suppress(self._pyinotify.WatchManagerError):
            self._manager.rm_watch(number, quiet=False)

    # -- in its own thread -----------------------------------------------------------------------

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        poll.register(self._bell, select.POLLIN)
        pace = _Pace(time.monotonic())
        while not self._is_stopping:
            poll.poll()
            if self._is_stopping:
                return
            try:
                written, others = self._changes(os.read(self._fd, _BUFFER))
                if written or others:
                    self._tell(written, others)
            except BlockingIOError:
                continue
            except Exception:
                log.exception("the watcher failed in an unforeseen way")
            # Each telling wakes other threads, which costs as much as to read a thousand lines.
            self._bell.wait(pace.rest(time.monotonic()))

    def _changes(self, data: bytes) -> tuple[set[str], set[str]]:
        """What the kernel's `data` says.

        Taken apart here: pyinotify's own reader takes 30 times as long for an event, and fails at a
        name that is not UTF-8, which any user could put into a directory.
        """
        notify = self._pyinotify
        written: set[str] = set()
        others: set[str] = set()
        at = 0
        while at < len(data):
            number, mask, _, length = _EVENT.unpack_from(data, at)
            at += _EVENT.size + length
            if mask & notify.IN_Q_OVERFLOW:
                others.add(EVERYTHING)
                continue
            name = os.fsdecode(data[at - length : at].rstrip(b"\0"))
            if mask & notify.IN_IGNORED and number in self._places:
                self._gone.add(number)
            for path, names in self._places.get(number, ()):
                if names is not None and name and name not in names:
                    continue
                path = os.path.join(path, name) if name else path
                (written if mask & notify.IN_MODIFY else others).add(path)
        return written, others


def places(
    pattern: str, is_directory: Callable[[str], bool] = os.path.isdir
) -> list[tuple[str, str]]:
    """Directories to watch for what matches `pattern`, each with the name, or glob, that matters.

    Where a directory is missing, the nearest one above it that is there.
    """
    absolute = os.path.abspath(pattern)
    directory, name = os.path.split(absolute)
    if not glob.has_magic(absolute) and is_directory(directory):
        return [(directory, name)]
    root, *parts = Path(absolute).parts
    fronts, found = [root], []
    for part, is_last in zip(parts, [*([False] * (len(parts) - 1)), True], strict=True):
        following = []
        for front in fronts:
            path = os.path.join(front, part)
            if is_last or glob.has_magic(part):
                found.append((front, part))
            elif not is_directory(path):
                found.append((front, part))
                continue
            if not is_last:
                matches = glob.glob(part, root_dir=front) if glob.has_magic(part) else [part]
                paths = (os.path.join(front, match) for match in matches)
                following += [path for path in paths if is_directory(path)]
        fronts = following
    return found
