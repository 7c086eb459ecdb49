# SPDX-License-Identifier: GPL-2.0-or-later
"""The lines of a block that are worth it become texts: decoded, without their dates, and dated.

A line without a date has the one of the line before.  Knows no rule, and not who wants which lines.
"""

from __future__ import annotations

import codecs
import locale
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any, NamedTuple

from server.dates import DateDetector, DateHit
from server.screen import Place

# What follows in a longer line is not looked at: no service writes that much about a login, and a
# regex's work grows with it.
LONGEST_LINE = 64 * 1024
# A date further ahead than this is taken as now: a clock that is wrong, or a made-up line, must not
# make a failure count until that day comes.
MOST_AHEAD = 60.0
# A line without a date has the one of the line before, unless that is older than this.
LONGEST_LOAN = 60.0
# So many lines of a file are all looked at, for the date detector to learn how that writes dates.
LESSONS = 100

# Where there is no more than one line to be cut out of so many bytes they are decoded one by one, else
# all of the block at once.
_SPARSE = 2048

# Where no date stands in so much at the end of a block, the log may have none at all.
_NEAR = 64 * 1024

# Lines of a block that somebody has read, by where they begin: as they are, without their dates, where
# these stood, and when they were.
KnownLines = dict[int, tuple[str, str, int, float]]


class Way(NamedTuple):
    """How lines are read: two readers with the same make the same of a line."""

    date_pattern: str | None
    log_time_zone: str | None
    encoding: str


class NoDateNear(Exception):
    """Whoever reads for several must not search long for a date."""


class Lines:
    """Reads lines, and remembers of each file the date of the last one.

    Raises ValueError (date pattern, time zone) or LookupError (encoding).
    """

    def __init__(self, way: Way) -> None:
        self.way = way
        self.dates = DateDetector(way.date_pattern, way.log_time_zone)
        self.decode = line_decoder(way.encoding)
        self._last_dates: dict[str, float] = {}
        self._lessons: dict[str, int] = {}

    def lessons_in(self, path: str, data: bytes) -> int:
        """Where those first lines of a file end in `data` that are all to be looked at."""
        left = self._lessons.get(path, LESSONS)
        if not left:
            return 0
        end, self._lessons[path] = _after_lines(data, left)
        return end

    def read(
        self,
        path: str,
        offset: int,
        data: bytes,
        places: Iterable[Place],
        now: float,
        begin: int = 0,
        known: KnownLines | None = None,
    ) -> Iterator[tuple[Any, ...]]:
        """The lines at `places`, all from `begin` on, of `data`, which stands at `offset`.

        Each as path, offset, line, text, place of its date, moment, rules, None.
        """
        skipped = begin  # from here on dates were not looked for
        takes_now, latest, when = self.dates.takes_now, now + MOST_AHEAD, now
        dates, last_dates = self.dates, self._last_dates
        find, (reach, heads, again) = dates.find, dates.known(now)
        decode, longest, places, whole, cut = self.decode, LONGEST_LINE, iter(places), "", 0
        few = list(islice(places, len(data) // _SPARSE + 1))
        if len(few) > len(data) // _SPARSE and data.isascii() and b"\r" not in data:
            # Then there is no more to it, but for NULs, which `decode` takes from a line's ends.
            whole = "" if b"\0" in data else data.decode("ascii")
        # What `without_date` does; a call more would cost as much as it does.
        for start, end, mask in chain(few, places):
            stop = end if end - start <= longest else start + longest
            line = whole[start:stop] if whole else decode(data[start:stop])
            if known and (one := known.get(start)):
                line, text, cut, when = one
                last_dates[path] = when
                skipped = end
            elif takes_now:
                text = line
            else:
                hit = heads.get(line[:reach]) if reach else again(line)
                if hit is None:
                    hit = find(line, now)
                    reach, heads, again = dates.known(now)
                if hit is None:
                    text, cut, moment = line, 0, None
                else:
                    cut, stop, moment = hit
                    text = line[:cut] + line[stop:] if cut else line[stop:]
                if moment is None:
                    self._date_before(path, data, skipped, start, now, known)
                    when = self.lend(path, now)
                else:
                    when = last_dates[path] = moment if moment <= latest else now
                    if known is not None:
                        known[start] = line, text, cut, when
                skipped = end
            yield path, offset + start, line, text, cut, when, mask, None
        if not takes_now:
            self._date_before(path, data, skipped, len(data), now, known)

    def begin(
        self, path: str, offset: int, data: bytes, now: float, known: KnownLines
    ) -> float | None:
        """Read those first lines of a file that are all to be looked at; the last date of the block.

        Raises NoDateNear where that would be far to seek.
        """
        end = self.lessons_in(path, data)
        if end:
            places = ((at, at + len(line), 0) for at, line in lines_of(data[:end]))
            deque(self.read(path, offset, data[:end], places, now, 0, known), 0)
        if self.dates.takes_now:
            return None
        near = data.find(b"\n", len(data) - _NEAR) + 1 if len(data) > _NEAR else 0
        last = self.last_date_in(data, near, len(data), now, known)
        if last is None and near:
            raise NoDateNear
        return last

    def by_itself(
        self,
        path: str,
        offset: int,
        data: bytes,
        places: Iterable[Place],
        now: float,
        known: KnownLines,
    ) -> tuple[list[tuple[Any, ...]], float | None]:
        """The same of a block of which it is not known what stands before it; and its last date.

        The moment of a line is None where it has that of a line in an earlier block.
        """
        dated = self._last_dates
        dated.clear()
        lines = [
            line if path in dated else (*line[:5], None, *line[6:])
            for line in self.read(path, offset, data, places, now, 0, known)
        ]
        return lines, dated.get(path)

    def without_date(self, path: str, line: str, now: float) -> tuple[str, float, DateHit | None]:
        """`line` without its date, its moment, and where the date stood."""
        if self.dates.takes_now:
            return line, now, None
        hit = self.dates.find(line, now)
        text = without(line, hit)
        if hit is not None and hit.moment is not None:
            moment = self._last_dates[path] = not_ahead(hit.moment, now)
            return text, moment, hit
        return text, self.lend(path, now), hit

    def last_date(self, path: str) -> float | None:
        """The newest date in the lines of `path` read so far, which those without one may have."""
        return self._last_dates.get(path)

    def note_date(self, path: str, moment: float, now: float) -> None:
        """Take note of a date in lines of `path` that were read elsewhere."""
        self._last_dates[path] = not_ahead(moment, now)

    def lend(self, path: str, now: float) -> float:
        """The moment of a line of `path` without a date."""
        return lent(self._last_dates.get(path), now)

    def last_date_in(
        self, data: bytes, begin: int, end: int, now: float, known: KnownLines | None = None
    ) -> float | None:
        """The last date in the lines of `data` from `begin` to `end`; nothing of them is copied.

        Some lines may be `known`; of others more is known then.
        """
        while end > begin:
            start = data.rfind(b"\n", begin, end) + 1 or begin
            if known and (one := known.get(start)):
                return one[3]
            if start < end:
                line = self.decode(data[start : min(end, start + LONGEST_LINE)])
                hit = self.dates.find(line, now)
                if hit is not None and hit.moment is not None:
                    when = not_ahead(hit.moment, now)
                    if known is not None:
                        known[start] = line, without(line, hit), hit.start, when
                    return when
            end = start - 1
        return None

    def _date_before(
        self, path: str, data: bytes, begin: int, end: int, now: float, known: KnownLines | None
    ) -> None:
        """Take note of the last date in lines that were passed over."""
        moment = self.last_date_in(data, begin, end, now, known)
        if moment is not None:
            self._last_dates[path] = moment


def lines_of(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The lines of `data`, and where each begins."""
    at = 0
    for line in data.split(b"\n"):
        if line:
            yield at, line
        at += len(line) + 1


def _after_lines(data: bytes, count: int) -> tuple[int, int]:
    """Where the first `count` lines of `data` end, and how many it lacks."""
    end = 0
    while count and end < len(data):
        end = data.find(b"\n", end) + 1 or len(data)
        count -= 1
    return end, count


def without(line: str, date: DateHit | None) -> str:
    """What is left of `line` when its date is cut out."""
    return line if date is None else line[: date.start] + line[date.end :]


def lent(last: float | None, now: float) -> float:
    """The moment of a line without a date, behind one that is dated `last`."""
    return last if last is not None and now - last <= LONGEST_LOAN else now


def not_ahead(moment: float, now: float) -> float:
    return moment if moment <= now + MOST_AHEAD else now


def encoding_of(name: str) -> str:
    """`auto` is the locale's encoding, and UTF-8 where that can do no more than ASCII."""
    if name.lower() != "auto":
        return name
    encoding = locale.getpreferredencoding(False)
    return "utf-8" if codecs.lookup(encoding).name == "ascii" else encoding


def line_decoder(encoding: str) -> Callable[[bytes], str]:
    """What makes text of a line's bytes; what cannot be read becomes U+FFFD.

    Raises LookupError for an unknown encoding.
    """
    encoding = encoding_of(encoding)
    b" ".decode(encoding, "replace")  # a codec that makes no text of bytes is refused here
    name = codecs.lookup(encoding).name
    if name.startswith(("utf-16", "utf-32")):
        return _wide_decoder(name)

    def decode(data: bytes) -> str:
        line = data.decode(encoding, "replace")
        return line.rstrip("\r\n") if "\0" not in line else _clean(line)

    return decode


def _wide_decoder(name: str) -> Callable[[bytes], str]:
    """Of UTF-16 and UTF-32: lines are cut at the byte of a line feed, which is but a part of it."""
    width = 2 if name.startswith("utf-16") else 4
    codec = name if name[-2:] in ("le", "be") else ""
    little, big = f"utf-{width * 8}-le", f"utf-{width * 8}-be"
    marks = ((codecs.BOM_UTF16_LE, little), (codecs.BOM_UTF16_BE, big))
    if width == 4:
        marks = ((codecs.BOM_UTF32_LE, little), (codecs.BOM_UTF32_BE, big))
    order = codec or little

    def decode(data: bytes) -> str:
        nonlocal order
        for mark, of_mark in marks:
            if data.startswith(mark):
                data, order = data[width:], codec or of_mark
        rest = len(data) % width  # of the line feed before this line, or of the one that ends it
        whole = data[rest:] if order == little else data[: len(data) - rest]
        return _clean(whole.decode(order, "replace"))

    return decode


def _clean(line: str) -> str:
    """Without line end, and without the NULs that a file has where it was emptied while in use."""
    return line.strip("\0\r\n") if "\0" in line else line.rstrip("\r\n")
