# SPDX-License-Identifier: GPL-2.0-or-later
"""One search and one reading for all jails that follow a log: who wants which lines of it, and what they say.

Does no reading of files, and judges no line.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from server.lines import KnownLines, Lines, NoDateNear, Way
from server.literals import forget_trees
from server.screen import LONG_BLOCK, JointScreen, Place, Screen

# Where more lines are found than so many, and than one in so many bytes, each jail reads its own.
_FEW, _DENSE = 64, 1000
KEPT = 2  # blocks of a log that is being caught up with
_SEARCHED = 100  # blocks of which it stays known what was found, …
_MOST_PLACES = 200  # … if that is no more

# Where a block begins: device, inode, offset.
BlockPlace = tuple[int, int, int]
# What a search found in a block: the lines for each screen, by its signature.
Places = dict[Hashable, list[Place]]


class Wanted(NamedTuple):
    """What a filter wants of a block: the lines that its screen finds, read in its way.

    With them it `is_content`; or else it needs the block, too.
    """

    filter: Any
    screen: Screen
    way: Way
    is_content: bool


class Found:
    """What one search found in a block, and what was read there."""

    def __init__(
        self,
        places: Places,
        lines_for: Callable[[Way], Lines],
        path: str,
        offset: int,
        data: bytes,
        now: float,
    ) -> None:
        self._places = places
        self._lines_for = lines_for
        self._stretch = path, offset, data
        self._now = now
        self._read: dict[Hashable, KnownLines] = {}
        self._last: dict[Hashable, float | None] = {}
        self._undated: set[Hashable] = set()

    def places_of(self, screen: Screen) -> list[Place] | None:
        """What `screen` would find by itself; None if it was not among those searched for."""
        return self._places.get(screen.signature)

    def part(self, begin: int, end: int) -> Found:
        """The same of a part of the block that consists of whole lines."""
        path, offset, data = self._stretch
        places = {}
        for signature, every in self._places.items():
            some = every[bisect_left(every, (begin,)) : bisect_left(every, (end,))]
            places[signature] = [(start - begin, stop - begin, mask) for start, stop, mask in some]
        stretch = path, offset + begin, data[begin:end]
        return Found(places, self._lines_for, *stretch, self._now)

    def read_by(self, way: Way) -> KnownLines:
        """What lines say, by where they begin: for all who read lines in the same `way`.

        Whoever reads a line first puts it there; to be read twice at the same time does no harm.
        """
        return self._read.setdefault(way, {})

    def lines_for(self, wanted: Wanted) -> tuple[list[tuple[Any, ...]], float | None] | None:
        """The lines for a filter, as `Lines.by_itself` has them, and the last date of the block.

        None if that needs the block, if these are many, if the block may be without dates, or if the
        filter's screen was not among those searched for.
        """
        places = self._places.get(wanted.screen.signature) if wanted.is_content else None
        if places is None or len(places) > max(_FEW, len(self._stretch[2]) // _DENSE):
            return None
        way = wanted.way
        if way not in self._last and way not in self._undated:
            reader, known = self._lines_for(way), self.read_by(way)
            try:
                self._last[way] = reader.begin(*self._stretch, self._now, known)
            except NoDateNear:
                self._undated.add(way)
        if way in self._undated:
            return None
        if not places:
            return [], self._last[way]
        known = self._read[way]
        return self._lines_for(way).by_itself(*self._stretch, places, self._now, known)


class _Piece(Protocol):
    """Whole lines, what ends them, and whether there is more to read at once."""

    @property
    def data(self) -> bytes: ...
    @property
    def mark(self) -> bytes: ...
    @property
    def is_more(self) -> bool: ...


P = TypeVar("P", bound=_Piece)


class Sharing(Generic[P]):
    """The last blocks of one log, and what was found in them, for those who come to them later, too."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._screens: list[Screen] = []
        self._joint = JointScreen(())
        self._readers: dict[Way, Lines] = {}
        # The last blocks: what was read, and found in it.
        self._recent: dict[BlockPlace, tuple[P, Found | None]] = {}
        # What was found in more of them, and by what they are known: length, beginning, end.
        self._searched: dict[BlockPlace, tuple[tuple[int, bytes, bytes], Places]] = {}

    def kept(self, place: BlockPlace) -> P | None:
        """What was read there a little while ago."""
        known = self._recent.get(place)
        return known and known[0]

    def found(
        self, place: BlockPlace, piece: P, every: Sequence[Wanted | None], now: float
    ) -> Found | None:
        """What is found for all of `every` filter in `piece`; None where a search for them saves nothing."""
        known = self._recent.pop(place, None)
        if known is None or known[0] is not piece:
            known = piece, self._found(place, piece, every, now)
        if piece.is_more and len(every) > 1:  # others may come
            self._recent[place] = known
            if len(self._recent) > KEPT:
                del self._recent[next(iter(self._recent))]
        return known[1]

    def forget(self) -> None:
        """Let go of all blocks."""
        self._recent.clear()
        self._searched.clear()

    def _found(
        self, place: BlockPlace, piece: P, every: Sequence[Wanted | None], now: float
    ) -> Found | None:
        wanted = [one for one in every if one is not None]
        if not wanted:
            return None
        # A jail alone is spared being woken for a line or two; of more it is better done by itself.
        if len(wanted) == 1 and not (wanted[0].is_content and len(piece.data) < LONG_BLOCK):
            return None
        screens = [one.screen for one in wanted]
        if self._screens != screens:
            self._screens, self._joint = screens, JointScreen(screens)
            self._searched.clear()
            forget_trees()
        places = self._places(place, piece)
        return Found(places, self._lines_in, self._path, place[2], piece.data, now)

    def _places(self, place: BlockPlace, piece: P) -> Places:
        ends = len(piece.data), piece.data[: len(piece.mark)], piece.mark
        known, places = self._searched.get(place, (None, {}))
        if known != ends:
            places = self._joint.places(piece.data)
            if piece.is_more and len(places) > 1 and sum(map(len, places.values())) <= _MOST_PLACES:
                self._searched[place] = ends, places
                if len(self._searched) > _SEARCHED:
                    del self._searched[next(iter(self._searched))]
        return places

    def _lines_in(self, way: Way) -> Lines:
        if way not in self._readers:
            self._readers[way] = Lines(way)
        return self._readers[way]
