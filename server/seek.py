# SPDX-License-Identifier: GPL-2.0-or-later
"""Finds in a big log the place before which all lines are too old to matter, by their dates.

Pure: it is handed how to read bytes and how to date a line.  It relies on one thing, that a log's
dates are out of order by less than `DISORDER`, looks whether that holds, and where it does not, or
where too few lines have a date, says that everything is to be read.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

# Less than this is sooner read than searched.
WORTH = 4 << 20
# By how much a line may be dated later than one behind it: an hour that clocks show twice, and more.
DISORDER = 5400.0
# What precedes the first line that matters, for conversations and windows that began earlier.
CONTEXT = 1800.0

_LOOKS = 48  # places that are looked at before the search, to see whether dates go up
_LINES = 8  # of each place so many dated lines are looked at
_WIDTHS = (1 << 14, 1 << 18)  # bytes that are read at a place; more if no line is dated there
_NEAR = 1 << 16  # the search ends with a stretch of this length
_NEIGHBOURS = 32  # so many places right before the border are looked at, one each `_NEAR`
_MOST_BACK = 16 << 20  # bytes to go back at most for the lines of a window
_STEP_BACK = 1 << 16


@dataclass(frozen=True, slots=True)
class _Look:
    """What the lines at a place are dated; `begin` is where the first of them stands."""

    begin: int
    first: float
    last: float


def border(
    read: Callable[[int, int], bytes],
    begin: int,
    size: int,
    moment: Callable[[bytes], float | None],
    oldest: float,
    lines_back: int = 0,
) -> int:
    """From where on to read what is written from `begin`, where a line begins, up to `size`.

    No line before it is dated `oldest` or later; `lines_back` lines before the first that may
    matter are read as well.  `read(offset, length)` gives bytes of the file, `moment` a line's date.
    """
    if size - begin < WORTH or oldest == -math.inf:
        return begin
    search = _Search(read, begin, size, moment)
    limit = oldest - DISORDER - CONTEXT
    step = (size - begin) // _LOOKS
    for number in range(_LOOKS):
        search.look(begin + number * step)
    low, high = search.last_before(limit)
    while high - low > _NEAR:
        middle = (low + high) // 2
        search.look(middle)
        low, high = search.last_before(limit)
        if low < middle < high:  # where nothing whole was found between them
            break
    for number in range(1, _NEIGHBOURS):
        search.look(low - number * _NEAR)
    distance = _NEIGHBOURS * _NEAR
    while low - distance > begin:
        search.look(low - distance)
        distance *= 2
    if not search.is_in_order:
        return begin
    low, _ = search.last_before(limit)
    if lines_back:
        return _lines_before(read, begin, low, lines_back)
    return low


class _Search:
    """What is known of the dates in a file from the places that were looked at."""

    def __init__(
        self,
        read: Callable[[int, int], bytes],
        begin: int,
        size: int,
        moment: Callable[[bytes], float | None],
    ) -> None:
        self._read = read
        self._begin = begin
        self._size = size
        self._moment = moment
        self._looks: dict[int, _Look | None] = {}

    def look(self, place: int) -> None:
        if place >= self._begin and place not in self._looks:
            self._looks[place] = self._looked(place)

    def _looked(self, place: int) -> _Look | None:
        """The first dated lines behind `place`; None where there are none."""
        for width in _WIDTHS:
            data = self._read(place, min(width, self._size - place))
            start = 0 if place == self._begin else data.find(b"\n") + 1
            if not start and place != self._begin:
                continue
            whole = data[start : data.rfind(b"\n") + 1]
            dates: list[float] = []
            for line in whole.split(b"\n"):
                date = self._moment(line) if line else None
                if date is not None:
                    dates.append(date)
                    if len(dates) == _LINES:
                        break
            if dates:
                return _Look(place + start, min(dates), max(dates))
        return None

    @property
    def is_in_order(self) -> bool:
        """Whether no line that was looked at is dated much later than one behind it."""
        latest = -math.inf
        for _, look in sorted(self._looks.items()):
            if look is not None:
                if look.first < latest - DISORDER or look.last - look.first > DISORDER:
                    return False
                latest = max(latest, look.last)
        return True

    def last_before(self, limit: float) -> tuple[int, int]:
        """Where the last lines stand, of those looked at, that are dated before `limit`, as are all
        before them; and the next place, where it is otherwise or that is not known.
        """
        low = self._begin
        for place, look in sorted(self._looks.items()):
            if look is None or look.last >= limit:
                return low, max(place, low)
            low = look.begin
        return low, self._size


def _lines_before(read: Callable[[int, int], bytes], begin: int, end: int, count: int) -> int:
    """Where the line begins that is `count` lines before `end`; `begin` where it is too far away."""
    place = end
    while place > begin and end - place < _MOST_BACK:
        start = max(begin, place - _STEP_BACK)
        data = read(start, place - start)
        found = data.count(b"\n")
        if place == end:
            count += 1  # the line end right before `end`
        if found >= count:
            position = len(data)
            for _ in range(count):
                position = data.rfind(b"\n", 0, position)
            return start + position + 1
        count -= found
        place = start
    return begin
