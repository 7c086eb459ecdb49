# SPDX-License-Identifier: GPL-2.0-or-later
"""Blocks become failures: which lines are worth it, decode them, find the date, cut it out, ask the rules.

Exact and in order.  Knows nothing of files being followed, of counting, or of hosts to be ignored.
"""

from __future__ import annotations

import codecs
import locale
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, NamedTuple

from common.options import JailConf
from server.aside import Aside, Kept
from server.dates import DateDetector, DateHit
from server.literals import Cut, Need, better, forget_trees, required
from server.packing import Failures, Packer
from server.pattern import Pattern
from server.quick import Quick
from server.records import Failure, JournalBlock, LogBlock
from server.rules import Rules
from server.screen import Place, Screen, is_plain

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

# Lines of a block that somebody has read, by where they begin: as they are, without their dates, where
# these stood, and when they were.
_KnownLines = dict[int, tuple[str, str, int, float]]

_MOST_MASKS = 4096
# Where there is no more than one line to be cut out of so many bytes they are decoded one by one, else
# all of the block at once.
_SPARSE = 2048
# So much is looked at before a line without a date that is read late; for each one anew.
_FAR_ENOUGH = 16 * 1024
# Where lines that fail are one part in so many of a block, nothing is set aside: to look for conversations
# would cost more than to read them.  It is again, where one line in so many that are read fails.
_BUSY, _CALM = 3, 6


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


class _Screens(NamedTuple):
    """What tells by a line's bytes which rules may match it; None where nothing can.

    By the `quick` one the lines of the `mute` rules, as bits, are passed over and set `aside`: they
    are left unread unless somebody fails in their conversation.
    """

    whole: Screen | None
    quick: Screen | None
    aside: Aside | None = None
    mute: int = 0


class _Numbers(dict[int, tuple[int, ...]]):
    """Which rules are meant by bits: their numbers.

    Of the rules `unasked` nothing is known; those of them that come before others that are meant are
    meant, too, for the first one that matches has the say.
    """

    def __init__(self, unasked: int = 0) -> None:
        self._unasked = unasked

    def __missing__(self, mask: int) -> tuple[int, ...]:
        if len(self) >= _MOST_MASKS:
            self.clear()
        meant = mask | self._unasked & ((1 << mask.bit_length()) - 1)
        self[mask] = numbers = tuple(n for n in range(meant.bit_length()) if meant >> n & 1)
        return numbers


class Filter:
    """The filter of one jail, and what it has to remember from line to line.

    Raises RegexError, ValueError (date pattern, time zone) or LookupError (encoding).
    """

    def __init__(self, conf: JailConf, *, has_screen: bool = True) -> None:
        """Without a screen every line is looked at; what comes out is the same."""
        self.dates = DateDetector(conf.date_pattern, conf.log_time_zone)
        self._rules = Rules(conf)
        self._quick = Quick(self._rules)
        self.prefix = self._rules.prefix
        self.rules = self._rules.rules
        self.ignore_rules = self._rules.ignore_rules
        self._encoding = encoding_of(conf.log_encoding)
        self._decode = line_decoder(conf.log_encoding)
        # Whether what a line means may depend on lines long before it.
        self.remembers = conf.max_lines > 1 or self._rules.has_talks
        self._last_dates: dict[str, float] = {}
        self._lessons: dict[str, int] = {}
        self._rules_of = self._quick_rules_of = _Numbers()
        # Filters for which this is the same read a line in the same way.
        self._way = (conf.date_pattern, conf.log_time_zone, self._encoding)
        self._can_skip = has_screen and conf.max_lines == 1 and is_plain(self._encoding)
        # Made when the first lines come: that takes longer than all else, and many logs are silent.
        self._ready: _Screens | None = None
        self._made: dict[str, _Screens] = {}
        self._is_busy = False  # so many fail that nothing is set aside
        self._has_parted_ids = False  # dates were cut out of ids

    @property
    def _screens(self) -> _Screens:
        return self._ready or self._make_screens()

    def _make_screens(self) -> _Screens:
        # Where two threads are the first, both have what one of them made.
        self._ready = self._made.setdefault("screens", self._screens_of())
        return self._ready

    def _screens_of(self) -> _Screens:
        rules, screen = self._rules, None
        if self._can_skip:
            screen = Screen([self.needed(rule) for rule in self.rules], self._encoding)
        if screen is None or not screen.helps:
            return _Screens(None, None)
        if rules.has_key and rules.is_prefix_plain:
            mute = sum(1 << n for n in rules.every if rules.is_mute(n))
            quick = screen.without(mute)
            if quick.helps and not quick.asks_for_every_line:
                self._quick_rules_of = _Numbers(mute)
                return _Screens(screen, quick, Aside(), mute)
        return _Screens(screen, screen)

    @property
    def cut(self) -> Cut:
        """Where a date may have stood that was cut out."""
        if self.dates.takes_now or self.dates.stand_at_begin:
            return Cut.NOWHERE
        return Cut.BETWEEN if self.dates.stand_between_words else Cut.ANYWHERE

    def needed(self, rule: Pattern) -> Need | None:
        """What stands in any line that `rule` matches, behind the prefix."""
        cut = self.cut
        need = required(rule.regex, cut)
        if self.prefix is None:
            return need
        group = self._rules.content_group
        if group is not None and need is not None:
            return required(self.prefix.regex, cut, need, group)
        return better(need, required(self.prefix.regex, cut))

    @property
    def screen(self) -> Screen | None:
        """What tells which lines of a block are worth it; None where all are."""
        return self._screens.whole

    @property
    def quick_screen(self) -> Screen | None:
        """What `failures` looks for in a block first; of what that passes over it may want some."""
        return self._screens.quick

    # -- blocks ------------------------------------------------------------------------------------

    def failures(self, block: LogBlock | JournalBlock, now: float) -> list[Failure]:
        """What failed in `block`, in its order."""
        return list(self.caught(block, now, Packer()))

    def caught(self, block: LogBlock | JournalBlock, now: float, packer: Packer) -> Failures:
        """The same, packed by `packer`."""
        caught = Failures(packer)
        if isinstance(block, LogBlock):
            if not block.data:
                pass
            elif (screen := self._screens.quick) is not None:
                self._screened(screen, block, now, caught)
            else:
                self._catch(block.path, lines_of(block), now, caught)
            return caught
        every = self._rules.every
        for moment, text in block.entries:
            line, when = text[:LONGEST_LINE], _not_ahead(moment, now)
            failure = self._rules.failure(block.source, -1, line, line, when, every)
            if failure is not None:
                caught.add(failure)
        return caught

    def of_candidates(
        self, path: str, candidates: Iterable[Candidate], now: float
    ) -> list[Failure]:
        """What failed in those lines of a file that are worth looking at, in their order."""
        caught = Failures(Packer())
        self._catch(path, candidates, now, caught)
        return list(caught)

    def _catch(
        self, path: str, candidates: Iterable[Candidate], now: float, caught: Failures
    ) -> None:
        for offset, data, rules in candidates:
            line = self._decode(data[:LONGEST_LINE])
            text, when, _ = self.without_date(path, line, now)
            some = self._rules.every if rules is None else rules
            if not some:
                continue
            failure = self._rules.failure(path, offset, line, text, when, some)
            if failure is not None:
                caught.add(failure)

    def _screened(self, screen: Screen, block: LogBlock, now: float, caught: Failures) -> None:
        """Add what failed in `block`; lines that cannot have failed are passed over."""
        path, data = block.path, block.data
        begin = 0
        lessons = self._lessons.get(path, LESSONS)
        if lessons:
            begin, lessons = _after_lines(data, lessons)
            self._lessons[path] = lessons
            self._catch(path, self._lessons_of(data[:begin], block.start.offset), now, caught)
            forget_trees()
        if (aside := self._screens.aside) is not None:
            self._of_talks(aside, block, begin, now, caught)
        else:
            places = _places(screen, block, begin)
            self._quick.failures(self._read(block, begin, places, now), caught)

    def passes_over(self, block: LogBlock) -> bool:
        """Whether one search for all has told that no line of `block` is worth a look."""
        if block.found is None or self._lessons.get(block.path, LESSONS):
            return False
        _, quick, aside, _ = self._screens
        return aside is None and quick is not None and block.found.places_of(quick) == []

    def pass_over(self, blocks: Sequence[LogBlock], now: float) -> None:
        """Take note of the last date in `blocks`; nothing else in them matters."""
        dated: set[str] = set()
        for block in reversed(() if self.dates.takes_now else blocks):
            if block.path not in dated:
                known = block.found and block.found.read_by(self._way)
                moment = self._last_date(block.data, 0, len(block.data), now, known)
                if moment is not None:
                    self._last_dates[block.path] = moment
                    dated.add(block.path)

    def _lessons_of(self, data: bytes, offset: int) -> Iterator[Candidate]:
        """Every line of `data`, for those failregexes that may match it.

        To be asked at all costs a regex milliseconds, once; most never meet a line.
        """
        may_match = self.screen.masks_in(data) if self.screen is not None else None
        for at, line, _ in _lines(data, offset):
            yield at, line, may_match and self._rules_of[may_match(line)]

    def _of_talks(
        self, aside: Aside, block: LogBlock, begin: int, now: float, caught: Failures
    ) -> None:
        """Add what failed, where lines that are no failures in themselves are read only if need be."""
        whole, quick, _, _ = self._screens
        assert quick is not None and whole is not None
        last = self._last_dates.get(block.path)
        kept: list[Kept] = []
        worthy: list[Place] = []
        if not self._is_busy:
            worthy = list(_places(quick, block, begin))
            if _BUSY * sum(end - start for start, end, _ in worthy) > len(block.data) - begin:
                self._is_busy, kept = True, aside.take_all()
        if self._is_busy:
            worthy = list(_places(whole, block, begin))
            earlier = self._of_kept(kept, block, begin, last, now)
            before = len(caught)
            self._quick.failures(chain(earlier, self._read(block, begin, worthy, now)), caught)
            self._is_busy = _CALM * (len(caught) - before) >= len(worthy)
            if not self._is_busy:
                are_open = all(map(aside.open, self._ids_of(self._rules.talks)))
                if self._has_parted_ids or not are_open:
                    self._read_all()
            return
        lines = list(self._read(block, begin, worthy, now))
        tokens = list(map(aside.token_of, self._ids_of(tried.key for *_, tried in lines)))
        kept = aside.sort(block.path, block.start.offset + begin, block.data[begin:], tokens)
        if None in tokens or self._has_parted_ids:
            self._read_all()
            kept += aside.take_all()
        if kept:
            path = block.path
            read = {line[1] for line in lines}
            kept = [one for one in kept if one.path != path or one.offset not in read]
            lines += self._of_kept(kept, block, begin, last, now)
            lines.sort(key=lambda line: line[1] if line[0] == path else -1)
        self._quick.failures(lines, caught)

    def _read_all(self) -> None:
        """From now on, read all lines at once."""
        whole, _, _, mute = self._screens
        self._ready = self._made["screens"] = _Screens(whole, whole, None, mute)

    def _ids_of(self, keys: Iterable[str | None]) -> Iterator[bytes]:
        """How the ids `keys` stand in the log."""
        return ((key or "").encode(self._encoding, "replace") for key in keys)

    def _of_kept(
        self, some: Iterable[Kept], block: LogBlock, begin: int, last: float | None, now: float
    ) -> Iterator[tuple[Any, ...]]:
        """Lines that were set aside, to be read.

        If one has no date of its own, what stands before it in its block tells its time, or the `last`
        date before that.
        """
        rules = self._rules_of[self._screens.mute]
        for path, offset, data in some:
            line = self._decode(data[:LONGEST_LINE])
            hit = None if self.dates.takes_now else self.dates.find(line, now)
            text, cut, when = line, 0, now
            if hit is not None:
                text, cut = line[: hit.start] + line[hit.end :], hit.start
            if hit is not None and hit.moment is not None:
                when = _not_ahead(hit.moment, now)
            elif not self.dates.takes_now:
                at, before = offset - block.start.offset, last
                if path == block.path and at >= begin:
                    far = max(begin, at - _FAR_ENOUGH)
                    before = self._last_date(block.data, far, at, now) or last
                when = _lent(before, now)
            yield path, offset, line, text, cut, when, rules, None

    # -- dates -------------------------------------------------------------------------------------

    def _read(
        self, block: LogBlock, begin: int, places: Iterable[Place], now: float
    ) -> Iterator[tuple[Any, ...]]:
        """Those lines of `block` that are worth it, each a `Line` with its date or a tuple like it.

        Where lines are set aside, those are left out that no rule matches but, perhaps, mute ones.
        """
        path, data, offset = block.path, block.data, block.start.offset
        skipped = begin  # from here on dates were not looked for
        takes_now, latest, when = self.dates.takes_now, now + MOST_AHEAD, now
        dates, last_dates, mute = self.dates, self._last_dates, self._screens.mute
        rules, quick = self._rules, self._quick
        find, (reach, heads, again) = dates.find, dates.known(now)
        has_aside = self._screens.aside is not None
        is_busy = self._is_busy or not has_aside
        every_rule_of, rules_of = self._rules_of, self._quick_rules_of
        known = None if block.found is None else block.found.read_by(self._way)
        decode, longest, places, whole, cut = self._decode, LONGEST_LINE, iter(places), "", 0
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
                    when = self._loan(path, now)
                else:
                    when = last_dates[path] = moment if moment <= latest else now
                    if known is not None:
                        known[start] = line, text, cut, when
                skipped = end
            if cut and has_aside:
                self._has_parted_ids |= rules.is_parted(text, cut)
            if is_busy:
                yield path, offset + start, line, text, cut, when, every_rule_of[mask], None
            elif (tried := quick.tried(line, text, rules_of[mask])) is not None:
                some = every_rule_of[mask | mute]
                yield path, offset + start, line, text, cut, when, some, tried
        if not takes_now:
            self._date_before(path, data, skipped, len(data), now, known)

    def _date_before(
        self, path: str, data: bytes, begin: int, end: int, now: float, known: _KnownLines | None
    ) -> None:
        """Take note of the last date in lines that were passed over."""
        moment = self._last_date(data, begin, end, now, known)
        if moment is not None:
            self._last_dates[path] = moment

    def _last_date(
        self, data: bytes, begin: int, end: int, now: float, known: _KnownLines | None = None
    ) -> float | None:
        """The last date in the lines of `data` from `begin` to `end`; nothing of them is copied.

        Some lines may be `known`; of others more is known then.
        """
        while end > begin:
            start = data.rfind(b"\n", begin, end) + 1 or begin
            if known and (one := known.get(start)):
                return one[3]
            if start < end:
                line = self._decode(data[start : min(end, start + LONGEST_LINE)])
                hit = self.dates.find(line, now)
                if hit is not None and hit.moment is not None:
                    when = _not_ahead(hit.moment, now)
                    if known is not None:
                        text = line[: hit.start] + line[hit.end :]
                        known[start] = line, text, hit.start, when
                    return when
            end = start - 1
        return None

    def without_date(self, path: str, line: str, now: float) -> tuple[str, float, DateHit | None]:
        """`line` without its date, its moment, and where the date stood."""
        if self.dates.takes_now:
            return line, now, None
        hit = self.dates.find(line, now)
        text = line if hit is None else line[: hit.start] + line[hit.end :]
        if hit is not None and hit.moment is not None:
            moment = self._last_dates[path] = _not_ahead(hit.moment, now)
            return text, moment, hit
        return text, self._loan(path, now), hit

    def last_date(self, path: str) -> float | None:
        """The newest date in the lines of `path` read so far, which those without one may have."""
        return self._last_dates.get(path)

    def note_date(self, path: str, moment: float, now: float) -> None:
        """Take note of a date in lines of `path` that were read elsewhere."""
        self._last_dates[path] = _not_ahead(moment, now)

    def _loan(self, path: str, now: float) -> float:
        """The moment of a line of `path` without a date."""
        return _lent(self._last_dates.get(path), now)

    # -- one line ----------------------------------------------------------------------------------

    def judge(self, line: str, now: float, when: float | None = None, path: str = "") -> Verdict:
        """All about one line.  `when` is its time where that does not stand in the line."""
        line = line[:LONGEST_LINE]
        if when is not None:
            return self._verdict(path, line, line, _not_ahead(when, now))
        text, moment, date = self.without_date(path, line, now)
        return self._verdict(path, line, text, moment, date)

    def matches(self, text: str, some: Iterable[int]) -> bool:
        """Whether one of `some` failregexes matches a line that is `text` without its date."""
        begun = self._rules.begin(text)
        return begun is not None and self._rules.match(begun, some) is not None

    def verdict(
        self, line: str, text: str, when: float, date: DateHit | None, some: Sequence[int]
    ) -> Verdict:
        """All about one line by itself, but what it names; no other failregex than `some` matches it."""
        rules = self._rules
        begun = rules.begin(text)
        match = None if begun is None else rules.match(begun, some)
        if match is None:
            return Verdict(text, when, date)
        first, content = match.rule, match.begun.content
        matching = tuple(n for n in some if n == first or self.rules[n].search(content) is not None)
        ignored_by = rules.ignoring(text, match)
        failure = rules.told(match, (line,), when, "", -1) if ignored_by < 0 else None
        return Verdict(content, when, date, first, matching, ignored_by, failure)

    def _verdict(
        self, path: str, line: str, text: str, when: float, date: DateHit | None = None
    ) -> Verdict:
        rules = self._rules
        joined = rules.windowed(path, text, line)
        begun = rules.begin(joined)
        match = None if begun is None else rules.match(begun, rules.every)
        if match is None:
            return Verdict(joined, when, date)
        lines = (line,) if joined is text else rules.taken(path, match)
        content = match.begun.content
        all_rules = tuple(n for n in rules.every if self.rules[n].search(content) is not None)
        ignored_by = rules.ignoring(joined, match)
        failure = None
        if ignored_by < 0:
            failure = rules.told(match, lines, when, path, -1)
        fields = rules.said(match, lines).fields
        return Verdict(content, when, date, match.rule, all_rules, ignored_by, failure, fields)


def _places(screen: Screen, block: LogBlock, begin: int) -> Iterable[Place]:
    """The lines of `block` from `begin` on that `screen` finds worth it."""
    places: list[Place] | None = block.found and block.found.places_of(screen)
    if places is None:
        return screen.places(block.data, begin)
    return [place for place in places if place[0] >= begin] if begin else places


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


def _lent(last: float | None, now: float) -> float:
    return last if last is not None and now - last <= LONGEST_LOAN else now


def _not_ahead(moment: float, now: float) -> float:
    return moment if moment <= now + MOST_AHEAD else now
