# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines become failures: decode, find the date, cut it out, prefregex, failregexes, ignoreregexes.

Exact and in order.  Knows nothing of files being followed, of counting, or of hosts to be ignored.
"""

from __future__ import annotations

import codecs
import locale
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from common.options import JailConf
from server.conversation import LONGEST_TEXT, Conversations, Said
from server.dates import DateDetector, DateHit
from server.literals import Cut, better, required
from server.pattern import Id, Pattern, id_of, skipped_spans
from server.records import Failure, JournalBlock, LogBlock
from server.screen import Screen, is_plain

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

# A line worth looking at: where it stands in its file, its bytes, and which failregexes may match
# it (None: any).
Candidate = tuple[int, bytes, Sequence[int] | None]

# Groups that steer the filter and tell nobody anything.
_INTERNAL = frozenset({"mlfid", "nofail", "mlfgained", "mlfforget", "content"})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the filter makes of one line.

    `rule` is the failregex that matched, -1 if none did, and `rules` are all that do.  A line that
    matched without a `failure` is a helper, or was taken back by the ignoreregex `ignored_by`.
    `text` is what the regexes saw of it, `date` where its date stood.
    """

    text: str
    when: float
    date: DateHit | None = None
    rule: int = -1
    rules: tuple[int, ...] = ()
    ignored_by: int = -1
    failure: Failure | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_missed(self) -> bool:
        return self.rule < 0 and self.ignored_by < 0

    @property
    def is_helper(self) -> bool:
        return self.rule >= 0 and self.ignored_by < 0 and self.failure is None


class _Match:
    """A failregex that matched `content`, which the prefregex found in `outer`.

    `key` is what tells its conversation.  What it names, and whom, is read when it is asked for.
    """

    __slots__ = ("rule", "found", "outer", "content", "key", "fields", "id")

    def __init__(
        self,
        rule: int,
        found: re.Match[str],
        outer: re.Match[str] | None,
        content: str,
        key: str | None,
    ) -> None:
        self.rule = rule
        self.found = found
        self.outer = outer
        self.content = content
        self.key = key
        self.fields: dict[str, str | None] = {}
        self.id: Id | None = None


@dataclass(frozen=True, slots=True)
class _Marks:
    """The numbers of the groups of a failregex that mark its lines, 0 where it has none."""

    helper: tuple[int, ...]
    end: int


class Filter:
    """The filter of one jail, and what it has to remember from line to line.

    Raises RegexError, ValueError (date pattern, time zone) or LookupError (encoding).
    """

    def __init__(self, conf: JailConf, *, has_screen: bool = True) -> None:
        """Without a screen every line is looked at; what comes out is the same."""
        has_many = conf.max_lines > 1
        with_names = conf.use_dns != "no"
        self.prefix: Pattern | None = None
        if conf.prefregex:
            self.prefix = Pattern(conf.prefregex, use_dns=with_names, is_multiline=has_many)
        needs_id = self.prefix is None or not self.prefix.has_id
        self.rules = tuple(
            Pattern(text, needs_id=needs_id, use_dns=with_names, is_multiline=has_many)
            for text in conf.failregex
        )
        self.ignore_rules = tuple(
            Pattern(text, use_dns=with_names, is_multiline=has_many) for text in conf.ignoreregex
        )
        self.dates = DateDetector(conf.date_pattern, conf.log_time_zone)
        self._decode = line_decoder(conf.log_encoding)
        self._every = tuple(range(len(self.rules)))
        self._marks = tuple(_marks_of(rule) for rule in self.rules)
        of_prefix = self.prefix.groups if self.prefix is not None else frozenset[str]()
        self._has_content, self._has_key = "content" in of_prefix, "mlfid" in of_prefix
        self._is_prefix_plain = of_prefix.isdisjoint({"nofail", "mlfgained", "mlfforget"})
        names = of_prefix.union(*(rule.names for rule in self.rules))
        self._hidden = frozenset(name for name in names if _is_hidden(name))
        # With few ignoreregexes they are searched in the whole line as well (that is how
        # fail2ban 1.1 does it, to save itself the failregexes; filters may rely on either).
        self._ignores_lines = 0 < len(self.ignore_rules) < len(self.rules) - 2
        # Whether what a line means may depend on lines long before it.
        self.remembers = has_many or "mlfid" in names
        self._talks = Conversations()
        self._last_dates: dict[str, float] = {}
        self._max_lines = conf.max_lines
        self._windows: dict[str, deque[tuple[str, str]]] = {}
        self._lessons: dict[str, int] = {}
        self._screen = self._screen_of(conf) if has_screen else None

    def _screen_of(self, conf: JailConf) -> Screen | None:
        """What tells by a line's bytes which rules may match it; None where nothing can."""
        encoding = encoding_of(conf.log_encoding)
        if self._max_lines > 1 or not is_plain(encoding):
            return None
        cut = Cut.ANYWHERE
        if self.dates.takes_now:
            cut = Cut.NOWHERE
        elif (conf.date_pattern or "{DEFAULT}").strip() in ("", "{DEFAULT}"):
            cut = Cut.BETWEEN
        of_prefix = required(self.prefix.regex, cut) if self.prefix is not None else None
        needs = [better(required(rule.regex, cut), of_prefix) for rule in self.rules]
        screen = Screen(needs, encoding)
        return screen if screen.helps else None

    def failures(self, block: LogBlock | JournalBlock, now: float) -> list[Failure]:
        """What failed in `block`, in its order."""
        if isinstance(block, LogBlock):
            if self._screen is not None:
                return self._screened(self._screen, block, now)
            return self.of_candidates(block.path, lines_of(block), now)
        found = []
        for when, text in block.entries:
            line = text[:LONGEST_LINE]
            failure = self._failure(block.source, -1, line, line, _not_ahead(when, now))
            if failure is not None:
                found.append(failure)
        return found

    def of_candidates(
        self, path: str, candidates: Iterable[Candidate], now: float
    ) -> list[Failure]:
        """What failed in those lines of a file that are worth looking at, in their order."""
        found = []
        for offset, data, rules in candidates:
            line = self._decode(data[:LONGEST_LINE])
            text, when, _ = self._without_date(path, line, now)
            failure = self._failure(path, offset, line, text, when, rules)
            if failure is not None:
                found.append(failure)
        return found

    def _screened(self, screen: Screen, block: LogBlock, now: float) -> list[Failure]:
        """What failed in `block`; lines that cannot have failed are passed over."""
        path, data, offset = block.path, block.data, block.start.offset
        begin, found = 0, []
        lessons = self._lessons.get(path, LESSONS)
        if lessons:
            begin, lessons = _after_lines(data, lessons)
            self._lessons[path] = lessons
            found = self.of_candidates(path, _lines(data[:begin], offset), now)
        skipped = begin  # from here on dates were not looked for
        takes_now, latest, when = self.dates.takes_now, now + MOST_AHEAD, now
        decode, find, last_dates = self._decode, self.dates.find, self._last_dates
        # What `_without_date` and `_failure` do, but for joined lines: a call costs as much as it does.
        for start, end, rules in screen.lines(data, begin):
            line = text = decode(data[start : min(end, start + LONGEST_LINE)])
            if not takes_now:
                hit = find(line, now)
                if hit is not None:
                    text = line[: hit.start] + line[hit.end :]
                if hit is not None and hit.moment is not None:
                    when = last_dates[path] = hit.moment if hit.moment <= latest else now
                else:
                    self._date_before(path, data[skipped:start], now)
                    when = self._loan(path, now)
                skipped = end
            match = self._match(text, rules)
            if match is None or (self.ignore_rules and self._ignoring(text, match) >= 0):
                continue
            failure = self._told(match, (line,), when, path, offset + start)
            if failure is not None:
                found.append(failure)
        if not takes_now:
            self._date_before(path, data[skipped:], now)
        return found

    def _date_before(self, path: str, data: bytes, now: float) -> None:
        """Take note of the last date in lines that were passed over."""
        end = len(data)
        while end > 0:
            start = data.rfind(b"\n", 0, end) + 1
            if start < end:
                line = self._decode(data[start : min(end, start + LONGEST_LINE)])
                hit = self.dates.find(line, now)
                if hit is not None and hit.moment is not None:
                    self._last_dates[path] = _not_ahead(hit.moment, now)
                    return
            end = start - 1

    def judge(self, line: str, now: float, when: float | None = None, path: str = "") -> Verdict:
        """All about one line.  `when` is its time where that does not stand in the line."""
        line = line[:LONGEST_LINE]
        if when is not None:
            return self._verdict(path, -1, line, line, _not_ahead(when, now))
        text, moment, date = self._without_date(path, line, now)
        return self._verdict(path, -1, line, text, moment, date)

    def _without_date(self, path: str, line: str, now: float) -> tuple[str, float, DateHit | None]:
        """`line` without its date, its moment, and where the date stood."""
        if self.dates.takes_now:
            return line, now, None
        hit = self.dates.find(line, now)
        text = line if hit is None else line[: hit.start] + line[hit.end :]
        if hit is not None and hit.moment is not None:
            moment = self._last_dates[path] = _not_ahead(hit.moment, now)
            return text, moment, hit
        return text, self._loan(path, now), hit

    def _loan(self, path: str, now: float) -> float:
        """The moment of a line of `path` without a date."""
        last = self._last_dates.get(path, now)
        return last if now - last <= LONGEST_LOAN else now

    def _failure(
        self,
        path: str,
        offset: int,
        line: str,
        text: str,
        when: float,
        rules: Sequence[int] | None = None,
    ) -> Failure | None:
        """The failure that `line` makes known; `text` is what it is without its date."""
        joined = text if self._max_lines == 1 else self._windowed(path, text, line)
        match = self._match(joined, self._every if rules is None else rules)
        if match is None:
            return None
        lines = (line,) if self._max_lines == 1 else self._taken(path, match)
        if self._ignoring(joined, match) >= 0:
            return None
        return self._told(match, lines, when, path, offset)

    def _verdict(
        self,
        path: str,
        offset: int,
        line: str,
        text: str,
        when: float,
        date: DateHit | None = None,
    ) -> Verdict:
        """As `_failure`, with everything that there is to say."""
        joined = text if self._max_lines == 1 else self._windowed(path, text, line)
        match = self._match(joined, self._every)
        if match is None:
            return Verdict(joined, when, date)
        lines = (line,) if self._max_lines == 1 else self._taken(path, match)
        rules = tuple(
            rule for rule in self._every if self.rules[rule].search(match.content) is not None
        )
        ignored_by = self._ignoring(joined, match)
        failure = None
        if ignored_by < 0:
            failure = self._told(match, lines, when, path, offset)
        fields = self._said(match, lines).fields
        return Verdict(match.content, when, date, match.rule, rules, ignored_by, failure, fields)

    def _match(self, text: str, rules: Iterable[int]) -> _Match | None:
        """The first of `rules` that matches `text` and has somebody to blame."""
        content, outer, key = text, None, None
        if self.prefix is not None:
            outer = self.prefix.search(text)
            if outer is None:
                return None
            if self._has_content:
                content = outer["content"] or ""
            if self._has_key:
                key = outer["mlfid"]
        for rule in rules:
            found = self.rules[rule].search(content)
            if found is None:
                continue
            match = _Match(rule, found, outer, content, key)
            if key is None:
                self._read(match)
                match.key = match.fields.get("mlfid")
                if match.id is None and match.key is None:
                    continue
            return match
        return None

    def _read(self, match: _Match) -> None:
        """See what `match` has named."""
        if match.fields:
            return
        fields = self.rules[match.rule].fields(match.found)
        if self.prefix is not None and match.outer is not None:
            own, fields = fields, self.prefix.fields(match.outer)
            for name, value in own.items():
                if value is not None:
                    fields[name] = value
        match.fields = fields
        match.id = id_of(fields)

    def _ignoring(self, text: str, match: _Match) -> int:
        """Which ignoreregex takes `match` back, -1 for none."""
        for index, pattern in enumerate(self.ignore_rules):
            if pattern.search(match.content) is not None:
                return index
            if self._ignores_lines and pattern.search(text) is not None:
                return index
        return -1

    def _told(
        self, match: _Match, lines: tuple[str, ...], when: float, path: str, offset: int
    ) -> Failure | None:
        """The failure that `match` is, or makes known of its conversation."""
        is_short = len(lines) == 1 and len(lines[0]) <= LONGEST_TEXT
        if is_short and self._is_prefix_plain and match.key and match.key.strip():
            marks, found = self._marks[match.rule], match.found
            for mark in marks.helper:
                if found[mark] is not None:
                    is_end = marks.end > 0 and found[marks.end] is not None
                    say = partial(self._said, match, lines)
                    if self._talks.hear_later(match.key, say, when, is_end):
                        return None
        said = self._said(match, lines)
        key = match.fields.get("mlfid") or ""
        if not key.strip():  # what nothing tells apart is no conversation
            if said.is_helper or said.id is None:
                return None
            id, shown = said.id, cast("Mapping[str, Any]", said.fields)
        else:
            told = self._talks.hear(key, said, when)
            if told is None:
                return None
            id, lines, shown = told
        return Failure(id.text, when, lines, id.is_name, 1, shown, path, offset, match.rule)

    def _said(self, match: _Match, lines: tuple[str, ...]) -> Said:
        """What the line of `match` says."""
        self._read(match)
        fields, hidden = match.fields, self._hidden
        is_gain = fields.get("mlfgained") is not None
        shown = {
            name: value
            for name, value in fields.items()
            if value is not None and name not in hidden
        }
        is_helper = is_gain or fields.get("nofail") is not None
        return Said(lines, match.id, shown, is_helper, is_gain, fields.get("mlfforget") is not None)

    def _windowed(self, path: str, text: str, line: str) -> str:
        """The last lines of `path` that no failure has taken, `text` being the newest, joined."""
        window = self._windows.setdefault(path, deque(maxlen=self._max_lines))
        window.append((text, line))
        return "\n".join(text for text, _ in window)

    def _taken(self, path: str, match: _Match) -> tuple[str, ...]:
        """The lines of the window that `match` is made of; they are taken out of it."""
        window = self._windows[path]
        taken, left = [], []
        first, last = match.found.span()
        skipped = skipped_spans(match.found)
        begin = 0
        if match.outer is not None and self._has_content:
            begin = -max(match.outer.start("content"), 0)
        for text, line in window:
            end = begin + len(text)
            is_skipped = any(start <= begin and end < stop for start, stop in skipped)
            if begin < last and first <= end and not is_skipped:
                taken.append(line)
            else:
                left.append((text, line))
            begin = end + 1
        window.clear()
        window.extend(left)
        return tuple(taken)


def lines_of(block: LogBlock) -> Iterator[Candidate]:
    """Every line of `block`, for every failregex."""
    return _lines(block.data, block.start.offset)


def _lines(data: bytes, offset: int) -> Iterator[Candidate]:
    for line in data.split(b"\n"):
        if line:
            yield offset, line, None
        offset += len(line) + 1


def _after_lines(data: bytes, count: int) -> tuple[int, int]:
    """Where the first `count` lines of `data` end, and how many it lacks."""
    end = 0
    while count and end < len(data):
        end = data.find(b"\n", end) + 1 or len(data)
        count -= 1
    return end, count


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
    return lambda data: _clean(data.decode(encoding, "replace"))


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


def _not_ahead(moment: float, now: float) -> float:
    return moment if moment <= now + MOST_AHEAD else now


def _is_hidden(name: str) -> bool:
    """Whether nobody is told what the group `name` holds."""
    return name in _INTERNAL or name.startswith(("_", "skiplines"))


def _marks_of(rule: Pattern) -> _Marks:
    if "mlfid" in rule.groups:  # it has a say of its own in what its lines belong to
        return _Marks((), 0)
    groups = rule.regex.groupindex
    helper = tuple(groups[name] for name in ("mlfgained", "nofail") if name in groups)
    return _Marks(helper, groups.get("mlfforget", 0))
