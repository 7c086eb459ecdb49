# SPDX-License-Identifier: GPL-2.0-or-later
"""One opened log file: read from any offset, recognised again, found beside its old name.

Every read names its offset, so that any number of readers share a descriptor and no state.  With
it who takes what is read, and who may.  What to make of them is `tail`'s affair.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
import stat

# hashlib would load all of OpenSSL for it: 3.5 MB.
from _blake2 import blake2b
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from server.border import Border
from server.records import Excerpt, LogBlock, Position
from server.sharing import Wanted

log = logging.getLogger("fail2ban.source")

P = ParamSpec("P")
T = TypeVar("T", "Source | None", "list[Source]")

BLOCK = 2 << 20  # a block is never longer
_END = 1 << 12  # so many bytes at its end have, as a rule, a line's end among them
FAR = 16 << 20  # who has more than this to read is catching up
LONG = 1 << 16  # of a line that is longer only so much is looked at
HEAD = 1024  # what of the first line tells one file from another
_REMEMBERED = 256  # files with two names of which the place is kept between two owners
MARK = 128  # bytes before a cursor that must still stand there at the next read

_BLANK = b"blank"  # begins what stands in a position for the first line where there is none
_MOMENT, _NAME = 8, 8  # bytes there: when it was last written, and for each file beside it
_NEIGHBOURS = 16  # rotated files that a position in such a file knows

_LOOKS = 10  # at a directory that does not come to rest

_NUMBER = re.compile(r"[-._]\d[-._\d]*")
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".lz4", ".lzma", ".Z")


class NotALog(OSError):
    """What stands at the path is no regular file, and is never opened: a FIFO would hang us."""


class Overwritten(Exception):
    """The file no longer holds what was read of it: it was truncated, and maybe grew again."""


def fingerprint(head: bytes) -> bytes:
    """A digest of the first line (`HEAD` bytes of it at most); b"" while it is incomplete."""
    end = head.find(b"\n", 0, HEAD) + 1
    if not end:
        if len(head) < HEAD:
            return b""
        end = HEAD
    return blake2b(head[:end], digest_size=16).digest()


def whole_lines(data: bytes) -> int:
    """How many bytes of `data` are whole lines."""
    return data.rfind(b"\n") + 1


def long_lines(data: bytes) -> Iterator[int]:
    """Where in `data`, which are whole lines, those begin that are longer than `LONG`."""
    begin = 0
    while len(data) - begin > LONG:
        end = data.rfind(b"\n", begin, begin + LONG + 1) + 1
        if not end:
            yield begin
            end = data.find(b"\n", begin) + 1 or len(data)
        begin = end


class Source:
    """A regular file held open, whatever becomes of its name."""

    def __init__(self, path: str) -> None:
        """Open `path`, or raise OSError (`NotALog` where it is a directory, device or FIFO)."""
        self.path = path
        _regular(path, os.stat(path))
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        try:
            self.status = os.fstat(self._fd)
            _regular(path, self.status)
            self.fingerprint = fingerprint(os.pread(self._fd, HEAD, 0))
        except BaseException:
            os.close(self._fd)
            raise
        self.device, self.inode = self.status.st_dev, self.status.st_ino

    @property
    def identity(self) -> tuple[int, int]:
        return self.device, self.inode

    def fileno(self) -> int:
        return self._fd

    @property
    def size(self) -> int:
        """As of the last `has_changed`."""
        return self.status.st_size

    def has_changed(self) -> bool:
        """Look again; whether anything was written or cut since the last look."""
        before, self.status = self.status, os.fstat(self._fd)
        now = self.status
        return (before.st_size, before.st_mtime_ns) != (now.st_size, now.st_mtime_ns)

    def begins_as_before(self) -> bool:
        """Whether the first line is still the one that it was; learns it once it is complete."""
        head = fingerprint(os.pread(self._fd, HEAD, 0))
        if not self.fingerprint:
            self.fingerprint = head
        return head == self.fingerprint

    def _is_another(self) -> bool:
        """Whether the first line, by which nothing stands that could be a mark, is another one."""
        head = os.pread(self._fd, HEAD, 0)
        return self.fingerprint != b"" and fingerprint(head) != self.fingerprint

    def start_over(self) -> None:
        """Forget what the first line was: it is to be another one."""
        self.fingerprint = b""
        self.has_changed()
        self.begins_as_before()

    def has_mark(self, offset: int, mark: bytes) -> bool:
        """Whether `mark` still stands right before `offset`."""
        return not mark or os.pread(self._fd, len(mark), offset - len(mark)) == mark

    def mark_at(self, offset: int) -> bytes:
        """The bytes right before `offset`; nothing where the file was cut since it was opened."""
        length = min(MARK, offset)
        mark = os.pread(self._fd, length, offset - length)
        # Asked after that, so that it is of the file as it was.
        return b"" if self._is_another() else mark

    def read(self, offset: int, mark: bytes, limit: int = BLOCK, skip: int = 0) -> bytes:
        """Up to `limit` bytes, `skip` after `offset`.

        Raises `Overwritten` where `mark` does not stand before `offset`, or, if there is none, where
        the first line is another one.
        """
        begin = offset + skip
        data = os.pread(self._fd, max(0, min(limit, self.size - begin)), begin)
        # Asked after the read: had the file been cut before or meanwhile, the mark would be gone.
        if not self.has_mark(offset, mark) or (not mark and self._is_another()):
            raise Overwritten
        return data

    def room(self, begin: int) -> int:
        """How much of a full block from `begin` on is whole lines, if it ends like most do.

        To cut it off later would copy all the rest.
        """
        end = os.pread(self._fd, _END, begin + BLOCK - _END).rfind(b"\n") + 1
        return BLOCK - _END + end if end else BLOCK

    def bytes_at(self, offset: int, length: int) -> bytes:
        return os.pread(self._fd, length, offset)

    def last_line_start(self) -> int:
        """Where the line begins that is being written at the end: the size, if none is."""
        start = max(0, self.size - BLOCK)
        end = os.pread(self._fd, self.size - start, start).rfind(b"\n") + 1
        return start + end if end or not start else self.size

    def is_copy_of(self, other: Source) -> bool:
        """Whether both hold the same as far as both go, judged by their ends of 64 KiB."""
        if not self.fingerprint or self.fingerprint != other.fingerprint:
            return False
        common = min(os.fstat(self._fd).st_size, os.fstat(other._fd).st_size)
        length = min(common, 1 << 16)
        return all(
            os.pread(self._fd, length, at) == os.pread(other._fd, length, at)
            for at in (0, common - length)
        )

    def position(self, offset: int) -> Position:
        return Position(self.device, self.inode, offset, self.fingerprint)

    def is_at(self, position: Position) -> bool:
        """Whether `position` is one in this file.

        The device is not asked: its number may be another after the machine was started anew.
        """
        return (
            position.inode == self.inode
            and position.offset <= self.size
            and (_is_blank(position) or position.fingerprint == self.fingerprint)
        )

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._fd)


@dataclass(frozen=True, slots=True)
class FileState:
    """How it stands with one followed log of one jail.

    `position` is None while nothing is read of it.  A glob that matches nothing is a missing file.
    `long_lines` is how many lines were met that are longer than `LONG`; `left` how many bytes there
    are yet to read, out of `total` of all files that are open.
    """

    path: str
    is_missing: bool
    problem: str = ""
    position: Position | None = None
    size: int = 0
    long_lines: int = 0
    left: int = 0
    total: int = 0

    @property
    def progress(self) -> str:
        """How far a jail is that is catching up; empty where it is not."""
        return progress(self.left, self.total) if self.left > FAR else ""


def progress(left: int, total: int) -> str:
    return f"{100 * (total - left) // max(total, 1)} % read, {left / (1 << 20):,.0f} MiB left"


class Inbox:
    """Where a jail takes blocks; `is_full` from a refusal until the jail asks for more.

    `border` says what of a file need not be read; so many bytes before the position of an earlier
    run as `reminder` are handed out once more, as known.  What `find_wanted` gives tells which lines
    are worth it; it is asked for only when there are some.
    """

    def __init__(
        self,
        jail: str,
        deliver: Callable[[LogBlock | Excerpt], bool],
        border: Border | None = None,
        reminder: int = 0,
        find_wanted: Callable[[], Wanted | None] = lambda: None,
    ) -> None:
        self.jail = jail
        self.deliver = deliver
        self.border = border
        self.reminder = reminder
        self.find_wanted = find_wanted
        self.is_full = False

    def begin(self, source: Source, offset: int) -> int:
        """From where on the jail has to read `source`, which it has read up to `offset`."""
        if self.border is None or not source.size:
            return offset
        try:
            return max(offset, self.border(source.bytes_at, offset, source.size))
        except Exception:  # then there is more to read
            log.exception("[%s] failed to find where to begin in %s", self.jail, source.path)
            return offset

    def wanted(self) -> Wanted | None:
        """What is to be found for the jail."""
        try:
            return self.find_wanted()
        except Exception:  # then the jail gets all lines
            log.exception("[%s] failed to say which lines it wants", self.jail)
            self.find_wanted = lambda: None
            return None

    def offer(self, block: LogBlock | Excerpt) -> bool:
        try:
            self.is_full = not self.deliver(block)
        except Exception:  # one jail's fault must not end the reading of the others
            log.exception("[%s] failed to take lines of %s", self.jail, block.path)
            self.is_full = True
        return not self.is_full


class Claims:
    """Which path reads a file for a jail, so that one with two names is read once.

    As a rule both stand under one glob: auth.log, and what it was renamed to.  The path that came
    first reads on; the other waits, and goes on where the first one stopped.
    """

    def __init__(self) -> None:
        self._owners: dict[tuple[str, int, int], object] = {}
        self._wanted: set[tuple[str, int, int]] = set()
        self._left: dict[tuple[str, int, int], tuple[bytes, int]] = {}

    def take(self, jail: str, source: Source, owner: object) -> int | None:
        """The offset at which `owner` may read `source` for `jail`; None where another one does."""
        key = (jail, *source.identity)
        if self._owners.setdefault(key, owner) is not owner:
            self._wanted.add(key)
            return None
        self._wanted.discard(key)
        first_line, offset = self._left.pop(key, (b"", 0))
        return offset if first_line == source.fingerprint and offset <= source.size else 0

    def give_back(
        self, jail: str, source: Source, owner: object, offset: int, is_wanted: bool = False
    ) -> None:
        """`owner` reads it no longer, and has got to `offset`; `is_wanted`: another one will come."""
        key = (jail, *source.identity)
        if self._owners.get(key) is not owner:
            return
        del self._owners[key]
        if is_wanted or key in self._wanted:
            self._left[key] = (source.fingerprint, offset)
            while len(self._left) > _REMEMBERED:
                del self._left[next(iter(self._left))]

    def forget(self, jail: str) -> None:
        """The jail follows nothing any more."""
        self._owners = {key: owner for key, owner in self._owners.items() if key[0] != jail}
        self._wanted = {key for key in self._wanted if key[0] != jail}
        self._left = {key: left for key, left in self._left.items() if key[0] != jail}


def is_compressed(path: str) -> bool:
    return path.endswith(_COMPRESSED)


def is_rotated_name(name: str, original: str) -> bool:
    """Whether `name` may be what a rotated or copied `original` is called: auth.log.1, auth.log~."""
    if is_compressed(name) or name == original:
        return False
    return (
        name.startswith(original) and name[len(original)] in ".-_~" or is_numbered(name, original)
    )


def is_numbered(name: str, original: str) -> bool:
    """Whether they differ in a number or a date only: auth.log.1, auth.log-20250131, auth-1.log."""
    if name.startswith(original):
        return _NUMBER.fullmatch(name[len(original) :]) is not None
    stem, dot, suffix = original.rpartition(".")
    if not stem or not name.startswith(stem) or not name.endswith(dot + suffix):
        return False
    return _NUMBER.fullmatch(name[len(stem) : -len(suffix) - 1]) is not None


def beside(
    path: str, is_meant: Callable[[str], bool] = lambda name: True
) -> Iterator[tuple[str, os.stat_result]]:
    """All other regular files in the directory of `path` with such names, the newest first."""
    found: list[tuple[str, os.stat_result]] = []
    with contextlib.suppress(OSError), os.scandir(Path(path).parent) as entries:
        for entry in entries:
            if not is_meant(entry.name):
                continue  # which spares many a look at the disk
            with contextlib.suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode) and entry.path != path:
                    found.append((entry.path, status))
    yield from sorted(found, key=lambda pair: -pair[1].st_mtime_ns)


def _numbered(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """The same, of those called as `path` but for a number or a date."""
    original = Path(path).name
    return beside(path, lambda name: is_numbered(name, original))


def _at_rest(find: Callable[P, T]) -> Callable[P, T]:
    """Have `find` look again where files beside its first argument got other names meanwhile.

    A rotation renames one after the other: who looks in its midst finds some twice and others never.
    """

    @functools.wraps(find)
    def look(*words: P.args, **more: P.kwargs) -> T:
        path = str(words[0])
        before, tries = _names_beside(path), 0
        while True:
            found = find(*words, **more)
            after, tries = _names_beside(path), tries + 1
            if after == before or tries == _LOOKS:
                return found
            before = after
            for source in found if isinstance(found, list) else [found]:
                if source is not None:
                    source.close()

    return look


def _names_beside(path: str) -> set[tuple[str, int]]:
    return {(other, status.st_ino) for other, status in beside(path)}


@_at_rest
def open_renamed(path: str, position: Position) -> Source | None:
    """The file of `position` under another name in the directory of `path`."""
    for other, status in beside(path):
        if status.st_ino == position.inode and not is_compressed(other):
            source = _open_quietly(other)
            if source is not None and source.is_at(position):
                return source
            if source is not None:
                source.close()
    return None


@_at_rest
def open_copy(path: str, first_line: bytes, offset: int, mark: bytes = b"") -> Source | None:
    """The newest copy, in the same directory, of what `path` held before it was truncated."""
    original = Path(path).name
    for other, status in beside(path, lambda name: is_rotated_name(name, original)):
        if status.st_size < offset:
            continue
        source = _open_quietly(other)
        if source is None:
            continue
        if source.fingerprint == first_line and source.has_mark(offset, mark):
            return source
        source.close()
    return None


def position_in_blank(path: str, source: Source) -> Position:
    """The head of `source`, which has no line yet, and which rotated files there are beside it.

    By that a copy is told that is made of it later, before it is truncated.
    """
    paths = [other for other, _ in _numbered(path)]
    moment = source.status.st_mtime_ns.to_bytes(_MOMENT, "big")
    known = b""
    for other in paths[:_NEIGHBOURS]:
        if (neighbour := _open_quietly(other)) is not None:
            with neighbour:
                known += _name_of(neighbour)
    return Position(source.device, source.inode, 0, _BLANK + moment + known)


def _name_of(source: Source) -> bytes:
    """What tells a file from others; a number alone may soon be that of another one."""
    return blake2b(b"%d %b" % (source.inode, source.fingerprint), digest_size=_NAME).digest()


def _is_blank(position: Position) -> bool:
    return not position.fingerprint or position.fingerprint.startswith(_BLANK)


@_at_rest
def open_copies_since(path: str, position: Position, current: Source, limit: int) -> list[Source]:
    """The copies made since of what `current` held later, which was blank at `position`."""
    if position.offset or not position.fingerprint.startswith(_BLANK):
        return []
    rest = position.fingerprint.removeprefix(_BLANK)
    moment, names = int.from_bytes(rest[:_MOMENT], "big"), rest[_MOMENT:]
    known = {names[at : at + _NAME] for at in range(0, len(names), _NAME)}
    paths = [
        other
        for other, status in _numbered(path)
        if status.st_mtime_ns >= moment and status.st_ino != current.inode
    ]
    found: list[Source] = []
    for source in [_open_quietly(other) for other in reversed(paths)]:
        if source is None:
            continue
        is_copy = not source.fingerprint or source.is_copy_of(current)
        if is_copy or _name_of(source) in known or len(found) == limit:
            source.close()
        else:
            found.append(source)
    return found


def last_before(path: str, source: Source, length: int) -> bytes:
    """Up to `length` bytes at the end of the rotated file that was written before `source`."""
    for other, status in _numbered(path):
        if status.st_ino == source.inode or status.st_mtime_ns > source.status.st_mtime_ns:
            continue
        before = _open_quietly(other)
        if before is None:
            return b""
        with before:
            if before.fingerprint and before.fingerprint == source.fingerprint:
                continue  # a copy of `source`, which is to be truncated
            offset = max(0, before.size - length)
            return before.bytes_at(offset, length)
    return b""


@_at_rest
def open_rotated_since(
    path: str, older: Source, limit: int, current: Source | None = None
) -> list[Source]:
    """What stood at `path` after `older` and does no longer, in the order of their last lines.

    A copy of `current`, which stands there now, is none of them: it is to be truncated soon.
    """
    since = os.fstat(older.fileno()).st_mtime_ns
    paths = [
        other
        for other, status in _numbered(path)
        if status.st_mtime_ns > since and status.st_ino != older.inode
    ]
    opened = [_open_quietly(other) for other in reversed(paths[:limit])]
    found = []
    for source in opened:
        if source is None:
            continue
        # Without a whole line it is a copy that is being made, or has nothing to tell.
        is_copy = current is not None and source.is_copy_of(current)
        if not source.fingerprint or is_copy or source.is_copy_of(older):
            source.close()
        else:
            found.append(source)
    return found


def _open_quietly(path: str) -> Source | None:
    try:
        return Source(path)
    except OSError:
        return None


def _regular(path: str, status: os.stat_result) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    for test, kind in (
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
    ):
        if test(status.st_mode):
            raise NotALog(0, f"is {kind}, not a log file", path)
    raise NotALog(0, "is a device, not a log file", path)
