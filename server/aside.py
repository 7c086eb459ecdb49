# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines that tell nothing unless somebody fails in the same conversation: left unread until then.

In a busy log most lines of sshd say that all is well (`Accepted publickey …`).  What they say matters
only if another line with the same id (`host sshd[123]: `) tells of a failure.  So the last blocks are
kept, and searched for the numbers in such ids.  Knows no rule, no date and no encoding.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

# So many of the last bytes are kept at least; a conversation is over long before.
KEPT = 1 << 20
# Of so many conversations, or twice as many, it is known that somebody has failed in them.
MOST_OPEN = 4000
# Kinds of ids that are told apart, `sshd[…]: ` and `sshd-session[…]: `; a log has few.
MOST_KINDS = 8
# So much is searched for of what stands before a number: that is enough, and quicker than more.
_LONGEST_LEAD = 3
# Small blocks become one when there are so many, so that few have to be asked.
_MOST_BLOCKS = 16
_SMALL = 1 << 16
# Up to so many ids are looked for one by one, which is quick; more of them in one pass.
_FEW = 4

_NUMBER = re.compile(rb"([^\s\d]*)(\d+)(\D{0,2})")

# The kind of an id, and the number in it.
Token = tuple[int, bytes]


class Kept(NamedTuple):
    """A line that is to be read now: in which file and where it stands, and its bytes."""

    path: str
    offset: int
    data: bytes


class _Kind(NamedTuple):
    """A kind of id: what stands before and behind its number."""

    lead: bytes
    tail: bytes
    regex: re.Pattern[bytes]


@dataclass(slots=True)
class _Block:
    """Whole lines, where in which file each part of them begins, the ids in them."""

    data: bytes
    parts: list[tuple[int, str, int]]  # where in the data, path, offset there
    # Of each kind of id the numbers in it, in their order.
    numbers: list[list[bytes]] = field(default_factory=list)

    def learn(self, kinds: Sequence[_Kind]) -> None:
        for kind in kinds[len(self.numbers) :]:
            self.numbers.append(kind.regex.findall(self.data))

    def lines_with(self, kind: _Kind, numbers: Collection[bytes]) -> Iterator[Kept]:
        """The lines that hold an id of that kind with one of `numbers`."""
        places = self._all_places if len(numbers) > _FEW else self._some_places
        last = -1
        for at in places(kind, numbers):
            begin, end = self.data.rfind(b"\n", 0, at) + 1, self.data.find(b"\n", at)
            if begin != last:
                yield self._line(begin, len(self.data) if end < 0 else end)
            last = begin

    def _some_places(self, kind: _Kind, numbers: Iterable[bytes]) -> Iterator[int]:
        for number in numbers:
            id = kind.lead + number + kind.tail
            at = self.data.find(id)
            while at >= 0:
                yield at
                at = self.data.find(id, at + 1)

    def _all_places(self, kind: _Kind, numbers: Collection[bytes]) -> Iterator[int]:
        """The same, in one pass."""
        return (found.start() for found in kind.regex.finditer(self.data) if found[1] in numbers)

    def __iter__(self) -> Iterator[Kept]:
        begin = 0
        while begin < len(self.data):
            end = self.data.find(b"\n", begin)
            end = len(self.data) if end < 0 else end
            yield self._line(begin, end)
            begin = end + 1

    def _line(self, begin: int, end: int) -> Kept:
        first, path, start = next(part for part in reversed(self.parts) if part[0] <= begin)
        return Kept(path, start + begin - first, self.data[begin:end])


class Aside:
    """The last blocks that one filter has seen, to be searched by the ids in them."""

    def __init__(self) -> None:
        self._kinds: list[_Kind] = []
        self._blocks: deque[_Block] = deque()
        self._size = 0
        # Numbers of conversations in which somebody has failed, for each kind of id.
        self._open: list[dict[bytes, None]] = []

    def token_of(self, id: bytes) -> Token | None:
        """By what the lines that hold `id` are found; None where its number does not tell them."""
        for index, kind in enumerate(self._kinds):
            match = kind.regex.search(id)
            if match is not None:
                return index, match[1]
        numbers = [each for each in _NUMBER.finditer(id) if each[1] and each[3]]
        if not numbers or len(self._kinds) >= MOST_KINDS:
            return None
        lead, number, tail = numbers[-1].groups()
        lead = lead[-_LONGEST_LEAD:]
        regex = re.compile(rb"%s(\d+)%s" % (re.escape(lead), re.escape(tail)))
        self._kinds.append(_Kind(lead, tail, regex))
        self._open.append({})
        return len(self._kinds) - 1, number

    def open(self, id: bytes) -> bool:
        """Somebody has failed in the conversation `id`; False where its lines cannot be found."""
        token = self.token_of(id)
        if token is not None:
            self._open[token[0]][token[1]] = None
        return token is not None

    def sort(
        self, path: str, start: int, data: bytes, tokens: Iterable[Token | None]
    ) -> list[Kept]:
        """Keep the block `data`, which begins at `start` of its file.

        Return the lines to be read: of it and of earlier ones those of conversations in which
        somebody now fails (`tokens`, one for each line that tells so), of it also those of
        conversations where somebody has.  Those that tell so may be among them.
        """
        failing: list[list[bytes]] = [[] for _ in self._kinds]
        for token in tokens:
            if token is not None:
                failing[token[0]].append(token[1])
        called: list[Kept] = []
        fresh = _Block(data, [(0, path, start)])
        if data and (any(self._open) or any(failing)):
            fresh.learn(self._kinds)
        for index, (kind, numbers, open) in enumerate(
            zip(self._kinds, failing, self._open, strict=True)
        ):
            if new := set(numbers).difference(open):
                for block in self._blocks:
                    block.learn(self._kinds)
                    if wanted := new.intersection(block.numbers[index]):
                        called += block.lines_with(kind, wanted)
                open.update(dict.fromkeys(new))
            if data and open:
                known = Counter(numbers)
                there = Counter(filter(open.__contains__, fresh.numbers[index]))
                wanted = {one for one in there if there[one] > known[one]}
                called += fresh.lines_with(kind, wanted)
            if len(open) > 2 * MOST_OPEN:
                self._open[index] = dict.fromkeys(islice(open, len(open) - MOST_OPEN, None))
        if data:
            self._keep(fresh)
        return list(dict.fromkeys(called))  # a line may hold ids of two kinds

    def take_all(self) -> list[Kept]:
        """All lines that are kept and were not read, in their order; none is kept any longer."""
        kept = [line for block in self._blocks for line in block if not self._is_read(line.data)]
        self._blocks.clear()
        self._size = 0
        return kept

    def _is_read(self, line: bytes) -> bool:
        return any(
            number in open
            for kind, open in zip(self._kinds, self._open, strict=True)
            for number in kind.regex.findall(line)
        )

    def _keep(self, fresh: _Block) -> None:
        self._blocks.append(fresh)
        self._size += len(fresh.data)
        while self._size - len(self._blocks[0].data) >= KEPT:
            self._size -= len(self._blocks.popleft().data)
        if len(self._blocks) > _MOST_BLOCKS:
            self._join_small_ones()

    def _join_small_ones(self) -> None:
        joined: deque[_Block] = deque()
        for block in self._blocks:
            if not joined or len(joined[-1].data) + len(block.data) > _SMALL:
                joined.append(block)
                continue
            last = joined.pop()
            data = last.data if last.data.endswith(b"\n") else last.data + b"\n"
            self._size += len(data) - len(last.data)
            parts = [(at + len(data), path, start) for at, path, start in block.parts]
            joined.append(_Block(data + block.data, last.parts + parts))
        self._blocks = joined
