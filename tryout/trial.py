# SPDX-License-Identifier: GPL-2.0-or-later
"""A filter that tells of every line of a log what became of it, and takes no longer than it must.

As in the server a search over a block says which lines some failregex may match; of the others at
most the date is looked for.  What comes out is what trying each line by itself gives.  Opens nothing.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import filterfalse
from typing import NamedTuple

from common.options import JailConf
from server.dates import DateHit
from server.filter import Filter, Verdict
from server.lines import LONGEST_LINE, encoding_of, line_decoder, not_ahead, without
from server.records import Failure, LogBlock, Position
from server.screen import Screen, is_plain
from tryout.tally import Judged, Passed, is_nothing
from tryout.unpack import lines_of

_PATH = ""  # there is but one log


class Put(NamedTuple):
    """A line that matches and is not judged yet, since that depends on the lines before it."""

    line: str
    when: float
    date: DateHit | None
    rules: Sequence[int]


@dataclass(slots=True)
class _Block:
    """The lines of a block, and the date of each; before `dated` dates were taken note of."""

    lines: list[str]
    dates: list[DateHit | None]
    has_nothing: bool  # among them are comments, or empty ones
    dated: int = 0

    def moment_of(self, index: int) -> float | None:
        """What the line's own date says."""
        date = self.dates[index]
        return None if date is None else date.moment

    def part(self, begin: int, end: int) -> Iterator[tuple[str, DateHit | None]]:
        """Of so many lines those that are any, and their dates."""
        part = zip(self.lines[begin:end], self.dates[begin:end], strict=True)
        return (each for each in part if not is_nothing(each[0])) if self.has_nothing else part


class Trial:
    """A filter that reads one log, from one end to the other."""

    def __init__(self, conf: JailConf) -> None:
        self.filter = Filter(conf)
        self._decode = line_decoder(conf.log_encoding)
        self._encoding = encoding_of(conf.log_encoding)
        self._is_alone = conf.max_lines == 1
        # Whether what becomes of a line depends on others than by their dates.
        self.has_talks = self.filter.remembers
        is_wide = codecs.lookup(self._encoding).name.startswith(("utf-16", "utf-32"))
        # Whether one may begin to read anywhere; wide encodings say only at the start which they are.
        self.is_in_pieces = self._is_alone and not is_wide
        self._can_search = self._is_alone and is_plain(self._encoding)
        self._offset = 0  # of the next block that is searched for failures alone
        self.seen = self.looked_at = 0  # lines of all, and those that a failregex was tried on

    @property
    def habit(self) -> tuple[float, ...]:
        """What is left of the lines read so far, for those that come; of conversations nothing.

        Two trials that are alike in it make the same of the same lines.
        """
        last = self.filter.lines.last_date(_PATH)
        filter = self.filter
        regexes = [*filter.rules, *filter.ignore_rules, *([filter.prefix] if filter.prefix else [])]
        set_aside = sum(1 for regex in regexes if regex.watched.problem)
        return (set_aside, *filter.dates.habit, *(() if last is None else (last,)))

    def told(
        self, data: bytes, now: float, *, puts: bool = False
    ) -> Iterator[Judged | Passed | Put]:
        """What becomes of the lines of a block.  With `puts`, those that match are put off.

        Of lines that are missed the order is kept, and of those that are not.
        """
        screen = self.filter.screen
        if screen is None or _has_long_line(data):
            yield from self.one_by_one(data, now)
            return
        block = self._read(data, now)
        passed, done = list[tuple[str, DateHit | None]](), 0
        for index, rules in self._places(screen, data, block):
            passed += block.part(done, index)
            done = index + 1
            line, date = block.lines[index], block.dates[index]
            text, when = without(line, date), self._moment(block, index, now)
            if puts and self.filter.matches(text, rules):
                yield Put(line, when, date, rules)
                continue
            verdict = self.filter.verdict(line, text, when, date, rules)
            if verdict.is_missed and passed:
                yield self._passed(passed)
                passed = []
            yield Judged(line, verdict)
        passed += block.part(done, len(block.lines))
        self._moment(block, len(block.lines) - 1, now)
        yield self._passed(passed)

    def in_full(self, data: bytes, now: float) -> Iterator[Judged]:
        """As `told`, with the verdict on each line, in their order."""
        screen = self.filter.screen
        if screen is None or _has_long_line(data):
            yield from self.one_by_one(data, now)
            return
        block = self._read(data, now)
        rules_of = dict(self._places(screen, data, block))
        for index, (line, date) in enumerate(zip(block.lines, block.dates, strict=True)):
            if is_nothing(line):
                continue
            text, when = without(line, date), self._moment(block, index, now)
            rules = rules_of.get(index)
            if rules is None:
                self.seen += 1
                yield Judged(line, Verdict(text, when, date))
            else:
                yield Judged(line, self.filter.verdict(line, text, when, date, rules))

    def one_by_one(self, data: bytes, now: float) -> Iterator[Judged]:
        """As `in_full`, each line tried by itself."""
        for each in lines_of(data):
            line = self._decode(each)
            if not is_nothing(line):
                self.seen += 1
                self.looked_at += 1
                yield Judged(line, self.filter.judge(line, now))

    def settled(self, put: Put) -> Judged:
        """The verdict on a line that was put off."""
        line, when, date, rules = put
        return Judged(line, self.filter.verdict(line, without(line, date), when, date, rules))

    def found(self, data: bytes, now: float) -> Iterator[tuple[str, Failure]]:
        """The failures of a block alone, each with the line that made it known."""
        if not self._can_search:
            for judged in self.one_by_one(data, now):
                if judged.verdict.failure is not None:
                    yield judged.line, judged.verdict.failure
            return
        data = self._evened(data)
        start, self._offset = self._offset, self._offset + len(data) + 1
        block = LogBlock(_PATH, data, Position(0, 0, start), Position(0, 0, self._offset))
        for failure in self.filter.failures(block, now):
            begin = failure.offset - start
            end = data.find(b"\n", begin)
            yield self._decode(data[begin : end if end >= 0 else len(data)]), failure

    def _evened(self, data: bytes) -> bytes:
        """A block without what is no line: comments, the NULs of holes; and long ones in pieces."""
        if b"\0" in data or _has_long_line(data):
            data = b"\n".join(line.strip(b"\0\r") for line in lines_of(data))
        if data.startswith(b"#") or b"\n#" in data:
            data = b"\n".join(line for line in data.split(b"\n") if not line.startswith(b"#"))
        return data

    def _passed(self, some: Sequence[tuple[str, DateHit | None]]) -> Passed:
        self.seen += len(some)
        return Passed([line for line, _ in some], [date for _, date in some])

    def _read(self, data: bytes, now: float) -> _Block:
        """All lines of a block, decoded and dated."""
        lines = self._texts(data)
        has_nothing = not all(lines) or any(map(str.isspace, lines))
        has_nothing = has_nothing or any(line[0] == "#" for line in lines)
        dates = self.filter.dates
        if dates.takes_now:
            return _Block(lines, [None] * len(lines), has_nothing)
        if not has_nothing:
            return _Block(lines, dates.find_all(lines, now), has_nothing)
        hits = iter(dates.find_all(filterfalse(is_nothing, lines), now))
        found = [None if is_nothing(line) else next(hits) for line in lines]
        return _Block(lines, found, has_nothing)

    def _places(
        self, screen: Screen, data: bytes, block: _Block
    ) -> Iterator[tuple[int, Sequence[int]]]:
        """Which lines of `block` are worth it, and by which rules."""
        at = index = 0
        for begin, _, mask in screen.places(data):
            index += data.count(b"\n", at, begin)
            at = begin
            if not (block.has_nothing and is_nothing(block.lines[index])):
                self.seen += 1
                self.looked_at += 1
                yield index, _numbers(mask)

    def _moment(self, block: _Block, index: int, now: float) -> float:
        """When a line was.  To be asked for them in their order; takes note of dates up to it."""
        if self.filter.dates.takes_now:
            return now
        reader, begin, block.dated = self.filter.lines, block.dated, index + 1
        for at in range(index, begin - 1, -1):
            if (moment := block.moment_of(at)) is not None:
                reader.note_date(_PATH, moment, now)
                if at == index:
                    return not_ahead(moment, now)
                break
        return reader.lend(_PATH, now)

    def _texts(self, data: bytes) -> list[str]:
        data = data.removesuffix(b"\n")
        if b"\r" not in data and b"\0" not in data:
            try:
                return data.decode(self._encoding).split("\n")
            except UnicodeDecodeError:
                pass
        return [self._decode(line) for line in data.split(b"\n")]


@lru_cache(4096)
def _numbers(mask: int) -> tuple[int, ...]:
    """The rules that the bits of `mask` stand for."""
    return tuple(n for n in range(mask.bit_length()) if mask >> n & 1)


def _has_long_line(data: bytes) -> bool:
    """Whether some line has bytes enough that not all of it is looked at."""
    for place in range(LONGEST_LINE, len(data), LONGEST_LINE):
        begin = data.rfind(b"\n", 0, place) + 1
        end = data.find(b"\n", place)
        if (end if end >= 0 else len(data)) - begin > LONGEST_LINE:
            return True
    return False
