# SPDX-License-Identifier: GPL-2.0-or-later
"""The files that stood at one path, one after the other, and how far each jail has got in each.

Records and where they stand; reads nothing and hands out nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from server.records import Position
from server.source import Inbox, Source


@dataclass(slots=True)
class Member:
    """A jail that follows the path, and what is known of where it shall begin.

    `resume` and `older` are where an earlier run was, in the last file and in the one before it;
    of so many bytes before them as `reminder` the jail has to be reminded.
    """

    inbox: Inbox
    resume: Position | None
    is_tail: bool
    is_globbed: bool
    older: Position | None = None
    reminder: int = 0


@dataclass(slots=True)
class Cursor:
    """Where a jail stands in one file; `mark` are the bytes before it.

    `seen` is the size at which there was no whole line left, `is_moved` whether the jail was told
    of a place here, `must_tell` that it is to be told even before there is a line.  Of a line longer
    than a block `searched` bytes are known to hold no end, the first `blank` of them being NULs.
    So many bytes before it as `reminder` are to be handed out as known.  `told` is when it was told
    how far the jail is that is catching up here, None where it is not.  The last `passed` bytes had
    nothing for the jail, so that it was not told of them yet, but will be at `tell_by`; `last` is the
    last date in them.  What it got last `can_wait`, so it must be told of the end.
    """

    offset: int = 0
    mark: bytes = b""
    searched: int = 0
    blank: int = 0
    reminder: int = 0
    told: float | None = None
    seen: int = -1
    is_moved: bool = False
    must_tell: bool = False
    passed: int = 0
    tell_by: float = 0.0
    last: float | None = None
    can_wait: bool = False

    @property
    def is_inside(self) -> bool:
        """Whether it stands in the midst of a line, the rest of which is no line of its own."""
        return bool(self.mark) and not self.mark.endswith(b"\n")

    def search_anew(self) -> None:
        self.searched = self.blank = 0


@dataclass(frozen=True, slots=True)
class Piece:
    """What is to be handed out at one place: `data`, with which a cursor moves on by `length`.

    It is less than that of a line that is cut.  `mark` stands before the place then; `is_more` tells
    that there is more to read at once.
    """

    mark: bytes
    data: bytes = b""
    length: int = 0
    is_more: bool = False


@dataclass(slots=True, eq=False)
class Generation:
    """One file that stands, or stood, at the path.

    All lines that are too long were told of as far as `told`.
    """

    source: Source
    since: float
    quiet_since: float
    is_copy: bool = False
    told: int = -1
    cursors: dict[str, Cursor] = field(default_factory=dict)


class Generations:
    """All of them that are open: `older` ones, the oldest first, and the `current` one, if there is a file."""

    def __init__(self) -> None:
        self.older: list[Generation] = []
        self.current: Generation | None = None

    def __iter__(self) -> Iterator[Generation]:
        """As they are now, the oldest first."""
        return iter([*self.older, self.current] if self.current else list(self.older))

    def find(self, identity: tuple[int, int]) -> Generation | None:
        """An older file; one may be renamed back."""
        return next((one for one in self.older if one.source.identity == identity), None)

    def at(self, position: Position) -> Generation | None:
        """The file of that position."""
        return next((one for one in self if one.source.is_at(position)), None)

    def index(self, generation: Generation) -> int:
        """Where it stands among the older ones; behind them if it is none."""
        return next((i for i, one in enumerate(self.older) if one is generation), len(self.older))

    def rank(self, source: Source) -> int:
        """Its place among the older files: before those that were written to after it."""
        last = source.status.st_mtime_ns
        later = (i for i, one in enumerate(self.older) if one.source.status.st_mtime_ns > last)
        return next(later, len(self.older))

    def set_aside(self, now: float) -> None:
        """The current one is an older one now."""
        if self.current is not None:
            self.current.quiet_since = max(self.current.quiet_since, now)
            self.older.append(self.current)
            self.current = None

    def remove(self, generation: Generation) -> None:
        self.older = [one for one in self.older if one is not generation]
        if self.current is generation:
            self.current = None
