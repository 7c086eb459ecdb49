# SPDX-License-Identifier: GPL-2.0-or-later
"""A filter that tells of every line of a log what became of it, and takes no longer than it must.

As in the server a search over a block says which lines some failregex may match; of the others at
most the date is looked for.  What comes out is what trying each line by itself gives.  Opens nothing.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

from common.options import JailConf
from server.dates import DateHit
from server.filter import Filter, Verdict
from server.lines import LONGEST_LINE, encoding_of, line_decoder
from server.records import Failure, LogBlock, Position
from server.screen import is_plain
from tryout.tally import Judged, Passed, is_nothing
from tryout.unpack import lines_of

_PATH = ""  # there is but one log


class Put(NamedTuple):
    """A line that matches and is not judged yet, since that depends on the lines before it."""

    line: str
    when: float
    date: DateHit | None
    rules: Sequence[int]


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
        """What becomes of the lines of a block.  With `puts`, those that match are put off."""
        screen = self.filter.screen
        if screen is None or _has_long_line(data):
            yield from self.one_by_one(data, now)
            return
        done = 0
        for begin, end, mask in screen.places(data):
            if begin > done:
                yield self._passed(data[done:begin], now)
            done = end + 1
            line = self._decode(data[begin:end])
            if is_nothing(line):
                continue
            self.seen += 1
            self.looked_at += 1
            text, when, date = self.filter.lines.without_date(_PATH, line, now)
            rules = _numbers(mask)
            if puts and self.filter.matches(text, rules):
                yield Put(line, when, date, rules)
            else:
                yield Judged(line, self.filter.verdict(line, text, when, date, rules))
        if done < len(data):
            yield self._passed(data[done:], now)

    def in_full(self, data: bytes, now: float) -> Iterator[Judged]:
        """As `told`, with the verdict on each line."""
        screen = self.filter.screen
        if screen is None or _has_long_line(data):
            yield from self.one_by_one(data, now)
            return
        done = 0
        for begin, end, mask in chain(screen.places(data), [(len(data), len(data), 0)]):
            for line in self._texts(data[done:begin]) if done < begin else ():
                if not is_nothing(line):
                    self.seen += 1
                    text, when, date = self.filter.lines.without_date(_PATH, line, now)
                    yield Judged(line, Verdict(text, when, date))
            done = end + 1
            line = self._decode(data[begin:end])
            if not is_nothing(line):
                self.seen += 1
                self.looked_at += 1
                text, when, date = self.filter.lines.without_date(_PATH, line, now)
                yield Judged(line, self.filter.verdict(line, text, when, date, _numbers(mask)))

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
        text = line if date is None else line[: date.start] + line[date.end :]
        return Judged(line, self.filter.verdict(line, text, when, date, rules))

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

    def _passed(self, data: bytes, now: float) -> Passed:
        """Lines that match nothing: what remains is whether each has a date."""
        lines = [
            line for line in self._texts(data) if line and line[0] != "#" and not line.isspace()
        ]
        self.seen += len(lines)
        if self.filter.dates.takes_now:
            return Passed(lines, [None] * len(lines))
        find = self.filter.dates.find
        dates = [find(line, now) for line in lines]
        for date in reversed(dates):
            if date is not None and date.moment is not None:
                self.filter.lines.note_date(_PATH, date.moment, now)
                break
        return Passed(lines, dates)

    def _texts(self, data: bytes) -> list[str]:
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
