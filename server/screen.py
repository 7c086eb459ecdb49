# SPDX-License-Identifier: GPL-2.0-or-later
"""Which lines of a block are worth a filter's time: those with the literals that some regex requires.

One search for everything at once over the bytes of a block; other lines are not even cut out.
A long block is searched by pyperscan, which is faster by far but takes memory; a short one, and all
where there is no pyperscan, word by word, with the same results.  Knows no dates and does no reading.
"""

from __future__ import annotations

import codecs
import re
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache, partial, reduce
from operator import or_

from server.literals import LOOK_ALIKES, Clause, Need
from server.scan import Expression, Hit, Scan, Word, plain_scan, quick_scan, regex_of

# From this length on of a block it pays to load pyperscan.
LONG_BLOCK = 64 * 1024
_MUCH = 256 * 1024  # bytes in short blocks, after which it does, too
_SAMPLE = 8 * 1024  # bytes of a log, by which is judged what is rare in it
_MOST_SHARES = 4096
_FEW_SPENT, _MOST_SPENT = 3000, 60_000  # lines, at one or two microseconds each

# A line that is worth it: where it begins in the block, where it ends, and as bits which rules may
# match it.
Place = tuple[int, int, int]

_troubles: deque[str] = deque(maxlen=1)

SLOWER = "Big logs are read several times slower than could be: no pyperscan (%s)"  # because of a trouble

# Encodings in which each ASCII character, and nothing else, is its byte.
_PLAIN_ENCODINGS = re.compile(r"ascii|utf-8|iso8859-\d+|cp125\d|koi8-[rtu]")


def is_plain(encoding: str) -> bool:
    """Whether ASCII text in a log of this encoding can be found among its bytes."""
    return _PLAIN_ENCODINGS.fullmatch(codecs.lookup(encoding).name) is not None


def trouble() -> str:
    """Why pyperscan could not be used where it would have been, the last time."""
    return _troubles[-1] if _troubles else ""


class JointScreen:
    """One search for the screens of all filters that look at one log."""

    def __init__(self, screens: Iterable[Screen]) -> None:
        different = {screen.signature: screen for screen in screens}
        self._members = list(different)
        masks: dict[Expression, int] = {}
        self._shifts: list[tuple[int, int]] = []
        shift = 0
        for screen in different.values():
            for expression, mask in screen.masks.items():
                masks[expression] = masks.get(expression, 0) | mask << shift
            self._shifts.append((shift, (1 << screen.size) - 1))
            shift += screen.size
        self._search = _Search(masks)
        self._shares: dict[int, tuple[tuple[int, int], ...]] = {}

    def places(self, data: bytes) -> dict[Hashable, list[Place]]:
        """What each screen would find by itself, by its signature."""
        places: list[list[Place]] = [[] for _ in self._members]
        shares = self._shares
        for begin, end, mask in self._search(data, 0):
            for member, own in shares.get(mask) or self._shared(mask):
                places[member].append((begin, end, own))
        return dict(zip(self._members, places, strict=True))

    def _shared(self, mask: int) -> tuple[tuple[int, int], ...]:
        """Whose rules are in `mask`, and which of theirs."""
        each = ((n, mask >> shift & own) for n, (shift, own) in enumerate(self._shifts))
        share = tuple((member, own) for member, own in each if own)
        if len(self._shares) >= _MOST_SHARES:
            self._shares.clear()
        self._shares[mask] = share
        return share


class Screen:
    """Finds lines by what each rule of a filter needs (None: nothing, so it may match any line)."""

    def __init__(
        self, needs: Sequence[Need | None], encoding: str = "utf-8", is_quick: bool = True
    ) -> None:
        """Without `is_quick`, pyperscan is left alone."""
        masks: dict[Expression, int] = {}
        self._always = 0
        for rule, need in enumerate(needs):
            if need is None:
                self._always |= 1 << rule
                continue
            for expression in _expressions(need, encoding):
                masks[expression] = masks.get(expression, 0) | 1 << rule
        self._needs, self._encoding = tuple(needs), encoding
        self.size = len(needs)
        self.masks = masks
        self.signature = (frozenset(masks.items()), self._always, self.size)
        self._search = _Search(masks, is_quick)

    def without(self, rules: int) -> Screen:
        """A screen that does not look for those rules (as bits); their numbers stay."""
        nothing: Need = frozenset()
        needs = [nothing if rules >> n & 1 else need for n, need in enumerate(self._needs)]
        return Screen(needs, self._encoding)

    @property
    def helps(self) -> bool:
        """Whether there is any rule that does not ask for every line."""
        return bool(self.masks)

    @property
    def asks_for_every_line(self) -> bool:
        """Whether some rule may match any line."""
        return bool(self._always)

    def masks_in(self, data: bytes) -> Callable[[int], int]:
        """What tells of a line of `data`, by where it begins, which rules may match it, as bits.

        Makes nothing ready for it: for a few lines that is quicker than `places`.
        """
        lower = data.lower()
        lines_with = cache(lambda word: _lines_with(word[0], lower if word[1] else data))
        masks: dict[int, int] = {}
        for expression, mask in self.masks.items():
            for begin in _lines_with_each(expression, lines_with):
                masks[begin] = masks.get(begin, 0) | mask
        return lambda begin: masks.get(begin, 0) | self._always

    def places(self, data: bytes, start: int = 0) -> Iterator[Place]:
        """Where the lines of `data` from `start` on, itself a line's beginning, are worth it."""
        hits = self._search(data, start) if self.masks else iter(())
        if self._always:
            hits = _with_all_others(data, start, hits)
        if not (always := self._always):
            return hits
        return ((begin, end, mask | always) for begin, end, mask in hits)


class _Search:
    """Finds expressions in blocks: in long ones, after many short ones, and once it is there, with pyperscan."""

    def __init__(self, masks: dict[Expression, int], is_quick: bool = True) -> None:
        self._masks = masks
        self._plain: _Finder | None = None
        self._quick: _Finder | None = None
        self._is_quick = is_quick
        self._searched = 0  # bytes
        self._sample = b""

    def __call__(self, data: bytes, start: int) -> Iterator[Place]:
        size = len(data) - start
        self._searched += size
        if self._is_quick and self._quick is None:
            # Short blocks are too little to tell by a single one what is rare.
            if len(self._sample) < _SAMPLE:
                self._sample += data[start : start + _SAMPLE]
            if size >= LONG_BLOCK or self._searched > _MUCH:
                self._make_quick()
        if self._quick is not None:
            return self._quick(data, start)
        if self._plain is None:
            self._plain = _Finder(self._masks, plain_scan, has_chains=False)
        return self._plain(data, start)

    def _make_quick(self) -> None:
        try:
            self._quick = _Finder(self._masks, partial(quick_scan, sample=self._sample))
        except Exception as error:
            # It may not be there, or not work on this machine: a processor too old, say.
            self._is_quick = False
            _troubles.append(str(error) or type(error).__name__)


def _lines_with_each(expression: Expression, lines_with: Callable[[Word], set[int]]) -> set[int]:
    """The lines with some word of each clause, in whatever order."""
    lines: set[int] | None = None
    for words in expression:
        met: set[int] = set().union(*map(lines_with, words))
        lines = met if lines is None else lines & met
        if not lines:
            break
    return lines or set()


def _lines_with(text: bytes, data: bytes) -> set[int]:
    """Where the lines of `data` begin in which `text` stands."""
    begins = set()
    at = data.find(text)
    while at >= 0:
        begins.add(data.rfind(b"\n", 0, at) + 1)
        end = data.find(b"\n", at)
        at = data.find(text, end) if end >= 0 else -1
    return begins


def _expressions(need: Need, encoding: str) -> Iterator[Expression]:
    """What to search for: a match of any of these makes a line worth a look."""
    for chain in need:
        if len(chain) > 1:
            yield tuple(tuple(sorted(_words(clause, encoding))) for clause in chain)
        else:
            yield from (((word,),) for word in _words(chain[0], encoding))


def _words(clause: Clause, encoding: str) -> Iterator[Word]:
    for one in clause:
        text = one.text.lower() if one.is_caseless else one.text
        yield text.encode("ascii"), one.is_caseless
        if one.has_look_alike:
            for character in LOOK_ALIKES:
                try:
                    yield character.encode(encoding), False
                except UnicodeEncodeError:
                    continue  # then it stands in no line


class _Finder:
    """Finds expressions in a block.

    Of chains it searches for the clauses at first, and puts them together by itself: to have
    pyperscan compile a few whole chains takes a hundred times as long as all the rest.  Once the lines
    that have clauses of one have cost about as much as that would, it searches only for the clause of
    each chain that was the rarest so far; and if these are still too many lines, for whole chains.
    """

    def __init__(
        self,
        masks: dict[Expression, int],
        scan_for: Callable[[Sequence[Expression]], Scan],
        *,
        has_chains: bool = True,
    ) -> None:
        """`scan_for` makes the search; `has_chains`: it finds them, too."""
        self._masks = masks
        self._scan_for = scan_for
        self._chains = [each for each in masks if len(each) > 1]
        # Above the bits of all rules there is one for each clause of a chain.
        self._shift = max(masks.values()).bit_length()
        clauses = dict.fromkeys((words,) for chain in self._chains for words in chain)
        self._bits = {clause: 1 << self._shift + n for n, clause in enumerate(clauses)}
        self._search_for({chain: list(chain) for chain in self._chains})
        self._seen: dict[int, int] = {}  # how often which clauses were found together
        self._matches: dict[Expression, Callable[[bytes], re.Match[bytes] | None]] = {}
        self._spent = 0
        self._steps = [(_FEW_SPENT, self._take_rare_clauses)]
        if has_chains:
            self._steps.insert(0, (_MOST_SPENT, self._take_whole_chains))

    def _search_for(self, asked: dict[Expression, list[tuple[Word, ...]]]) -> None:
        """Search for those clauses of each chain that are `asked`, and for all that is no chain."""
        bits, masks = self._bits, self._masks
        self._asked = {
            chain: reduce(or_, (bits[clause,] for clause in some)) for chain, some in asked.items()
        }
        sought = dict.fromkeys((clause,) for some in asked.values() for clause in some)
        searched = {each: bits[each] | masks.get(each, 0) for each in sought}
        for each, mask in masks.items():
            if len(each) == 1:
                searched.setdefault(each, mask)
        self._scan, self._of_hit = self._scan_for(list(searched)), list(searched.values())
        self._known: dict[int, tuple[int, list[Expression]]] = {}

    def __call__(self, data: bytes, start: int) -> Iterator[Place]:
        if self._steps and self._spent > self._steps[-1][0]:
            self._spent = 0
            with suppress(Exception):  # else it goes on as it was
                self._steps.pop()[1]()
        return self._lines(data, start, self._scan(data, start))

    def _take_rare_clauses(self) -> None:
        often = {
            clause: sum(count for mask, count in self._seen.items() if mask & bit)
            for (clause,), bit in self._bits.items()
        }
        self._search_for({chain: [min(chain, key=often.__getitem__)] for chain in self._chains})

    def _take_whole_chains(self) -> None:
        self._scan = self._scan_for(list(self._masks))
        self._of_hit, self._chains = list(self._masks.values()), []

    def _lines(self, data: bytes, start: int, hits: list[Hit]) -> Iterator[Place]:
        """The lines in which `hits` (end, expression) lie, and their rules together.

        Lines that have no more than clauses of chains are left out.
        """
        of_hit, own, size = self._of_hit, (1 << self._shift) - 1, len(data)
        begin, end, mask = start, -1, 0
        for at, expression in hits:
            if at <= end:
                mask |= of_hit[expression]
                continue
            if mask > own:
                mask = self._settled(data[begin:end], mask)
            if mask:
                yield begin, end, mask
            begin = data.rfind(b"\n", start, at - 1) + 1 or start
            end = data.find(b"\n", at)
            if end < 0:
                end = size
            mask = of_hit[expression]
        if mask > own:
            mask = self._settled(data[begin:end], mask)
        if mask:
            yield begin, end, mask

    def _settled(self, line: bytes, mask: int) -> int:
        """What is left of `mask` of a line with clauses: its rules, and those whose whole chains it has."""
        self._spent += 1
        self._seen[mask] = self._seen.get(mask, 0) + 1
        mask, chains = self._known.get(mask) or self._complete(mask)
        for chain in chains:
            if self._has(chain, line):
                mask |= self._masks[chain]
        return mask

    def _complete(self, mask: int) -> tuple[int, list[Expression]]:
        """The rules in `mask` that need no chain, and the chains of which it has what is asked for."""
        chains = [chain for chain, asked in self._asked.items() if mask & asked == asked]
        if len(self._known) >= _MOST_SHARES:
            self._known.clear()
            self._seen.clear()
        found = self._known[mask] = mask & (1 << self._shift) - 1, chains
        return found

    def _has(self, chain: Expression, line: bytes) -> bool:
        if chain not in self._matches:
            self._matches[chain] = re.compile(regex_of(chain)).search
        return self._matches[chain](line) is not None


def _with_all_others(data: bytes, start: int, hits: Iterator[Place]) -> Iterator[Place]:
    """`hits`, and between them the lines without one."""
    for begin, end, mask in hits:
        yield from _all(data, start, begin)
        yield begin, end, mask
        start = end + 1
    yield from _all(data, start, len(data))


def _all(data: bytes, start: int, stop: int) -> Iterator[Place]:
    while start < stop:
        end = data.find(b"\n", start)
        end = stop if end < 0 else end
        if end > start:
            yield start, end, 0
        start = end + 1
