# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines that tell nothing unless somebody fails in the same conversation: set aside until then.

In a busy log most lines of sshd say that all is well (`Accepted publickey …`).  What they say matters
only if another line with the same id (`host sshd[123]: `) tells of a failure.  To find them by the
number in that id costs little, to read them all much.  Knows no rule, no date and no encoding.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

# So many of the last lines are kept; a conversation is over long before.
KEPT_LINES = 4000
# Of so many conversations, or twice as many, it is known that somebody has failed in them.
MOST_OPEN = 4000
# Kinds of ids that are told apart, `sshd[…]: ` and `sshd-session[…]: `; a log has few.
MOST_KINDS = 8
_LONGEST_LEAD = 16
# Small bundles become one when there are so many, so that few have to be asked.
_MOST_BUNDLES = 16
_SMALL = 500

_NUMBER = re.compile(rb"([^\s\d]*)(\d+)(\D{0,2})")

# Where a line begins and ends in its block, and as bits the rules that may match it.
Place = tuple[int, int, int]
# The kind of an id, and the number in it.
Token = tuple[int, bytes]


class Kept(NamedTuple):
    """A line that was set aside: in which file and where it stands, its bytes, the rules to try."""

    path: str
    offset: int
    data: bytes
    mask: int


class _Kind(NamedTuple):
    """A kind of id: what stands before and behind its number."""

    lead: bytes
    tail: bytes
    regex: re.Pattern[bytes]

    def id_of(self, number: bytes) -> bytes:
        return self.lead + number + self.tail


@dataclass(slots=True)
class _Bundle:
    """Lines in their order: the blocks that they come from, their bytes joined, the ids in them."""

    parts: list[tuple[str, int, Sequence[Place]]]
    text: bytes
    size: int
    numbers: list[set[bytes]] = field(default_factory=list)  # a set for each kind of id

    def learn(self, kinds: Sequence[_Kind]) -> None:
        for kind in kinds[len(self.numbers) :]:
            self.numbers.append(set(kind.regex.findall(self.text)))

    def lines_with(self, id: bytes) -> Iterator[Kept]:
        at = self.text.find(id)
        while at >= 0:
            end = self.text.find(b"\n", at)
            end = len(self.text) if end < 0 else end
            begin = self.text.rfind(b"\n", 0, at) + 1
            yield self._line(self.text.count(b"\n", 0, at), self.text[begin:end])
            at = self.text.find(id, end)

    def __iter__(self) -> Iterator[Kept]:
        return (self._line(number, data) for number, data in enumerate(self.text.split(b"\n")))

    def _line(self, number: int, data: bytes) -> Kept:
        for path, start, places in self.parts:
            if number < len(places):
                begin, _, mask = places[number]
                return Kept(path, start + begin, data, mask)
            number -= len(places)
        raise IndexError(number)


class Aside:
    """The lines that one filter has set aside, by the ids in them."""

    def __init__(self) -> None:
        self._kinds: list[_Kind] = []
        self._bundles: deque[_Bundle] = deque()
        self._count = 0
        self._open: dict[Token, None] = {}

    def token_of(self, id: bytes) -> Token | None:
        """By what the lines that hold `id` are found; None where its number does not tell them."""
        for index, kind in enumerate(self._kinds):
            match = kind.regex.search(id)
            if match is not None:
                return index, match[1]
        numbers = [each for each in _NUMBER.finditer(id) if each[1] and each[3]]
        if not numbers:
            return None
        lead, number, tail = numbers[-1].groups()
        lead = lead[-_LONGEST_LEAD:]
        if len(self._kinds) >= MOST_KINDS:
            return None
        regex = re.compile(rb"%s(\d+)%s" % (re.escape(lead), re.escape(tail)))
        self._kinds.append(_Kind(lead, tail, regex))
        return len(self._kinds) - 1, number

    def sort(
        self, path: str, start: int, data: bytes, places: Sequence[Place], tokens: Iterable[Token]
    ) -> list[Kept]:
        """Set aside those lines of the block `data`, which begins at `start` of its file.

        Return the lines to be read: of these and of earlier ones those of conversations in which
        somebody now fails (`tokens`), of these also those of conversations where somebody has.
        """
        fresh = self._bundle(path, start, data, places) if places else None
        called = []
        new = [token for token in dict.fromkeys(tokens) if token not in self._open]
        for bundle in self._bundles if new else ():
            bundle.learn(self._kinds)
            called += self._called(bundle, new)
        self._open.update(dict.fromkeys(new))
        if fresh is not None:
            if self._open:
                fresh.learn(self._kinds)
                called += self._called(fresh, self._among_open(fresh))
            self._keep(fresh)
        if len(self._open) > 2 * MOST_OPEN:
            self._open = dict.fromkeys(islice(self._open, len(self._open) - MOST_OPEN, None))
        return called

    def take_all(self) -> list[Kept]:
        """All lines that are kept and were not read, in their order; none is kept any longer."""
        kept = [line for bundle in self._bundles for line in bundle if not self._is_read(line.data)]
        self._bundles.clear()
        self._count = 0
        return kept

    def _is_read(self, line: bytes) -> bool:
        return any(
            (index, number) in self._open
            for index, kind in enumerate(self._kinds)
            for number in kind.regex.findall(line)
        )

    def _bundle(self, path: str, start: int, data: bytes, places: Sequence[Place]) -> _Bundle:
        text = b"\n".join([data[begin:end] for begin, end, _ in places])
        return _Bundle([(path, start, places)], text, len(places))

    def _called(self, bundle: _Bundle, tokens: Iterable[Token]) -> list[Kept]:
        return [
            line
            for kind, number in tokens
            if number in bundle.numbers[kind]
            for line in bundle.lines_with(self._kinds[kind].id_of(number))
        ]

    def _among_open(self, bundle: _Bundle) -> list[Token]:
        """The tokens of `bundle` that are open, found from whichever side has fewer."""
        if len(self._open) <= bundle.size:
            return list(self._open)
        tokens = [(kind, each) for kind, numbers in enumerate(bundle.numbers) for each in numbers]
        return [token for token in tokens if token in self._open]

    def _keep(self, fresh: _Bundle) -> None:
        self._bundles.append(fresh)
        self._count += fresh.size
        while self._count - self._bundles[0].size >= KEPT_LINES:
            self._count -= self._bundles.popleft().size
        if len(self._bundles) > _MOST_BUNDLES:
            self._join_small_ones()

    def _join_small_ones(self) -> None:
        joined: deque[_Bundle] = deque()
        for bundle in self._bundles:
            if not joined or joined[-1].size + bundle.size > _SMALL:
                joined.append(bundle)
                continue
            last = joined.pop()
            text = last.text + b"\n" + bundle.text
            joined.append(_Bundle(last.parts + bundle.parts, text, last.size + bundle.size))
        self._bundles = joined
