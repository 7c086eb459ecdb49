# SPDX-License-Identifier: GPL-2.0-or-later
"""Blocks become failures: which lines are worth it, read these, ask the rules.

Exact and in order.  Knows nothing of files being followed, of counting, or of hosts to be ignored.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from operator import itemgetter
from types import MappingProxyType
from typing import Any, NamedTuple

from common.options import JailConf
from server.aside import Aside, Kept
from server.dates import DateHit
from server.lines import (
    LESSONS,
    LONGEST_LINE,
    Lines,
    Way,
    encoding_of,
    lent,
    lines_of,
    not_ahead,
    without,
)
from server.literals import Cut, Need, needs_of, trees_kept
from server.packing import Failures, Packer
from server.quick import Numbers, Quick
from server.records import Excerpt, Failure, JournalBlock, LogBlock
from server.rules import Rules
from server.screen import Place, Screen, is_plain
from server.sharing import Wanted

# A line worth looking at: where it stands in its file, its bytes, and which failregexes may match
# it (None: any).
Candidate = tuple[int, bytes, Sequence[int] | None]

# So much is looked at before a line without a date that is read late; for each one anew.
_FAR_ENOUGH = 16 * 1024
# Where lines that fail are one part in so many of a block, nothing is set aside: to look for conversations
# would cost more than to read them.  It is again, where one line in so many that are read fails.
_BUSY, _CALM = 3, 6

_NO_FIELDS: Mapping[str, Any] = MappingProxyType({})


class Verdict(NamedTuple):
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
    fields: Mapping[str, Any] = _NO_FIELDS

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


class Filter:
    """The filter of one jail, and what it has to remember from line to line.

    Raises RegexError, ValueError (date pattern, time zone) or LookupError (encoding).
    """

    def __init__(self, conf: JailConf, *, has_screen: bool = True) -> None:
        """Without a screen every line is looked at; what comes out is the same."""
        encoding = encoding_of(conf.log_encoding)
        self.lines = Lines(Way(conf.date_pattern, conf.log_time_zone, encoding))
        self.dates = self.lines.dates
        self._rules = Rules(conf)
        self._quick = Quick(self._rules)
        self.prefix = self._rules.prefix
        self.rules = self._rules.rules
        self.ignore_rules = self._rules.ignore_rules
        self._encoding = encoding
        self._is_utf_8 = codecs.lookup(encoding).name == "utf-8"
        self._decode = self.lines.decode
        # Whether what a line means may depend on lines long before it.
        self.remembers = conf.max_lines > 1 or self._rules.has_talks
        self._rules_of = self._quick.numbers
        self._tried_rules_of = Numbers()
        self._can_skip = has_screen and conf.max_lines == 1 and is_plain(self._encoding)
        # Made when the first lines come: that takes longer than all else, and many logs are silent.
        self._ready: _Screens | None = None
        self._made: dict[str, _Screens] = {}
        self._wanted: tuple[_Screens, Wanted | None] | None = None
        self._entries = 0  # of the journal, so far
        self._is_busy = False  # so many fail that nothing is set aside

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
            screen = Screen(self.needs, self._encoding)
        if screen is None or not screen.helps:
            return _Screens(None, None)
        if rules.has_key and rules.is_prefix_plain:
            mute = sum(1 << n for n in rules.every if rules.is_mute(n))
            quick = screen.without(mute)
            if quick.helps and not quick.asks_for_every_line:
                self._tried_rules_of = Numbers(mute)
                return _Screens(screen, quick, Aside(), mute)
        return _Screens(screen, screen)

    @cached_property
    def cut(self) -> Cut:
        """Where a date may have stood that was cut out."""
        if self.dates.takes_now or self.dates.stand_at_begin:
            return Cut.NOWHERE
        return Cut.BETWEEN if self.dates.stand_between_words else Cut.ANYWHERE

    @property
    def needs(self) -> tuple[Need | None, ...]:
        """What stands in any line that each of the failregexes matches, behind the prefix."""
        prefix = self.prefix.regex if self.prefix is not None else None
        regexes = tuple(rule.regex for rule in self.rules)
        return needs_of(regexes, prefix, self._rules.content_group, self.cut)

    @property
    def screen(self) -> Screen | None:
        """What tells which lines of a block are worth it; None where all are."""
        return self._screens.whole

    @property
    def wanted(self) -> Wanted | None:
        """What `caught` looks for in a block first, for a search for many; None where no search helps."""
        screens = self._screens
        if self._wanted is None or self._wanted[0] is not screens:
            wanted, screen = None, screens.quick
            if screen is not None and not screen.asks_for_every_line:
                # Who reads lines for all must not be held up.
                is_content = screens.aside is None and self.dates.is_harmless
                wanted = Wanted(self, screen, self.lines.way, is_content)
            self._wanted = screens, wanted
        return self._wanted[1]

    # -- blocks ------------------------------------------------------------------------------------

    def failures(self, block: LogBlock | JournalBlock, now: float) -> list[Failure]:
        """What failed in `block`, in its order."""
        return list(self.caught(block, now, Packer()))

    def caught(self, block: LogBlock | JournalBlock, now: float, packer: Packer) -> Failures:
        """The same, packed by `packer`."""
        if self._ready is not None:
            return self._caught(block, now, packer)
        with trees_kept():
            return self._caught(block, now, packer)

    def _caught(self, block: LogBlock | JournalBlock, now: float, packer: Packer) -> Failures:
        caught = Failures(packer)
        if isinstance(block, LogBlock):
            if not block.data:
                pass
            elif (screen := self._screens.quick) is not None:
                self._screened(screen, block, now, caught)
            else:
                offset = block.start.offset
                lines = ((offset + at, line, None) for at, line in lines_of(block.data))
                self._catch(block.path, lines, now, caught)
            return caught
        if self._tells_entries_apart(len(block.entries)):
            self._quick.failures(self._entries_of(block, now), caught)
            return caught
        every = self._rules.every
        for moment, text in block.entries:
            line, when = text[:LONGEST_LINE], not_ahead(moment, now)
            failure = self._rules.failure(block.source, -1, line, line, when, every)
            if failure is not None:
                caught.add(failure)
        return caught

    def _tells_entries_apart(self, more: int) -> bool:
        """Whether entries of the journal, of which `more` have come, are searched for those worth it."""
        self._entries += more
        # To make a screen takes longer than to try a few entries.
        return self._entries > LESSONS and self._is_utf_8 and self.screen is not None

    def _entries_of(self, block: JournalBlock, now: float) -> Iterator[tuple[Any, ...]]:
        """Those entries that are worth it, each a tuple like `Line`."""
        screen, source, entries = self._screens.whole, block.source, block.entries
        assert screen is not None
        lines = [text[:LONGEST_LINE] for _, text in entries]  # an entry is one line
        data = "\n".join(lines).encode("utf-8", "surrogatepass")
        at = index = 0
        for begin, _, mask in screen.places(data):
            index += data.count(b"\n", at, begin)
            at, line = begin, lines[index]
            yield source, -1, line, line, 0, not_ahead(entries[index][0], now), mask, None

    def _catch(
        self, path: str, candidates: Iterable[Candidate], now: float, caught: Failures
    ) -> None:
        for offset, data, rules in candidates:
            line = self._decode(data[:LONGEST_LINE])
            text, when, _ = self.lines.without_date(path, line, now)
            some = self._rules.every if rules is None else rules
            if not some:
                continue
            failure = self._rules.failure(path, offset, line, text, when, some)
            if failure is not None:
                caught.add(failure)

    def _screened(self, screen: Screen, block: LogBlock, now: float, caught: Failures) -> None:
        """Add what failed in `block`; lines that cannot have failed are passed over."""
        path, data = block.path, block.data
        begin = self.lines.lessons_in(path, data)
        if begin:
            with trees_kept():
                self._catch(path, self._lessons_of(data[:begin], block.start.offset), now, caught)
        if (aside := self._screens.aside) is not None:
            self._of_talks(aside, block, begin, now, caught)
        else:
            places = _places(screen, block, begin)
            self._quick.failures(self._read(block, begin, places, now), caught)

    def caught_among(self, excerpts: Iterable[Excerpt], now: float, packer: Packer) -> Failures:
        """What failed among lines that were read already."""
        caught = Failures(packer)
        self._quick.failures(self._lines_of(excerpts, now), caught)
        return caught

    def _lines_of(self, excerpts: Iterable[Excerpt], now: float) -> Iterator[tuple[Any, ...]]:
        for excerpt in excerpts:
            path = excerpt.path
            if excerpt.before is not None:
                self.lines.note_date(path, excerpt.before, now)
            for line in excerpt.lines:
                if line[5] is None:
                    line = (*line[:5], self.lines.lend(path, now), *line[6:])
                yield line
            if excerpt.last is not None:
                self.lines.note_date(path, excerpt.last, now)

    def _lessons_of(self, data: bytes, offset: int) -> Iterator[Candidate]:
        """Every line of `data`, for those failregexes that may match it.

        To be asked at all costs a regex milliseconds, once; most never meet a line.
        """
        may_match = self.screen.masks_in(data) if self.screen is not None else None
        for at, line in lines_of(data):
            yield offset + at, line, may_match and self._rules_of[may_match(at)]

    def _of_talks(
        self, aside: Aside, block: LogBlock, begin: int, now: float, caught: Failures
    ) -> None:
        """Add what failed, where lines that are no failures in themselves are read only if need be."""
        whole, quick, _, _ = self._screens
        assert quick is not None and whole is not None
        last = self.lines.last_date(block.path)
        kept: list[Kept] = []
        worthy: list[Place] = []
        if not self._is_busy:
            worthy = list(_places(quick, block, begin))
            if _BUSY * sum(end - start for start, end, _ in worthy) > len(block.data) - begin:
                self._is_busy, kept = True, aside.take_all()
        if self._is_busy:
            worthy = list(_places(whole, block, begin))
            earlier = self._of_kept(kept, last, now)
            before = len(caught)
            self._quick.failures(chain(earlier, self._read(block, begin, worthy, now)), caught)
            self._is_busy = _CALM * (len(caught) - before) >= len(worthy)
            if not self._is_busy:
                are_open = all(map(aside.open, self._ids_of(self._rules.talks)))
                if self._rules.has_parted_ids or not are_open:
                    self._read_all()
            return
        lines = list(self._read(block, begin, worthy, now))
        tokens = list(map(aside.token_of, self._ids_of(line[7][2] for line in lines)))
        path, start, data = block.path, block.start.offset + begin, block.data[begin:]
        if None in tokens or self._rules.has_parted_ids:
            self._read_all()
            kept = aside.take_all()
            own = [Kept(path, start + at, line) for at, line in lines_of(data)]
        else:
            kept, own = aside.sort(path, start, data, tokens)
        if own:
            read = {line[1] for line in lines}
            own = [one for one in own if one.offset not in read]
            lines += self._of_kept(own, last, now, block, begin)
            lines.sort(key=itemgetter(1))
        # Those stand before, even if their file was another one, with other offsets.
        self._quick.failures(chain(self._of_kept(kept, last, now), lines), caught)

    def _read_all(self) -> None:
        """From now on, read all lines at once."""
        whole, _, _, mute = self._screens
        self._ready = self._made["screens"] = _Screens(whole, whole, None, mute)

    def _ids_of(self, keys: Iterable[str | None]) -> Iterator[bytes]:
        """How the ids `keys` stand in the log."""
        return ((key or "").encode(self._encoding, "replace") for key in keys)

    def _of_kept(
        self,
        some: Iterable[Kept],
        last: float | None,
        now: float,
        block: LogBlock | None = None,
        begin: int = 0,
    ) -> Iterator[tuple[Any, ...]]:
        """Lines that were set aside, to be read.

        If one has no date of its own, what stands before it in its `block`, if that is still there,
        tells its time, or the `last` date before that.
        """
        mute = self._screens.mute
        for path, offset, data in some:
            line = self._decode(data[:LONGEST_LINE])
            hit = None if self.dates.takes_now else self.dates.find(line, now)
            text, cut, when = without(line, hit), hit.start if hit else 0, now
            if hit is not None and hit.moment is not None:
                when = not_ahead(hit.moment, now)
            elif not self.dates.takes_now:
                before = last
                if block is not None:
                    at = offset - block.start.offset
                    far = max(begin, at - _FAR_ENOUGH)
                    before = self.lines.last_date_in(block.data, far, at, now) or last
                when = lent(before, now)
            yield path, offset, line, text, cut, when, mute, None

    def _read(
        self, block: LogBlock, begin: int, places: Iterable[Place], now: float
    ) -> Iterator[tuple[Any, ...]]:
        """Those lines of `block` that are worth it, each a `Line` or a tuple like it."""
        known = block.found and block.found.read_by(self.lines.way)
        offset, data = block.start.offset, block.data
        lines = self.lines.read(block.path, offset, data, places, now, begin, known)
        if self._screens.aside is None or self._is_busy:
            return lines
        # Without those that no rule matches but, perhaps, mute ones.
        return self._quick.sifted(lines, self._tried_rules_of, self._screens.mute)

    # -- one line ----------------------------------------------------------------------------------

    def judge(self, line: str, now: float, when: float | None = None, path: str = "") -> Verdict:
        """All about one line.  `when` is its time where that does not stand in the line."""
        line = line[:LONGEST_LINE]
        if when is not None:
            return self._verdict(path, line, line, not_ahead(when, now))
        text, moment, date = self.lines.without_date(path, line, now)
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
        matching: tuple[int, ...] = (first,)
        if len(some) > 1:
            each = self.rules
            matching = tuple(n for n in some if n == first or each[n].search(content) is not None)
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
