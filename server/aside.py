# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines that tell nothing unless somebody fails in the same conversation: left unread until then.

In a busy log most lines of sshd say that all is well (`Accepted publickey …`).  What they say matters
only if another line with the same id (`host sshd[123]: `) tells of a failure.  So the last blocks are
kept, and searched for the numbers in such ids.  Knows no rule, no date and no encoding.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from operator import itemgetter
from types import MappingProxyType
from typing import NamedTuple

from server.scan import quick_scan
from server.screen import LONG_BLOCK

# So many of the last bytes are kept at least; a conversation is over long before.
KEPT = 1 << 20
# Kinds of ids that are told apart, `sshd[…]: ` and `sshd-session[…]: `; a log has few.
MOST_KINDS = 8
# So much is searched for of what stands before a number: that is enough, and quicker than more.
_LONGEST_LEAD = 3
# Small blocks become one when there are so many, so that few have to be asked.
_MOST_BLOCKS = 16
_SMALL = 1 << 16
# Up to so many ids are looked for one by one, which is quick; more of them in one pass.
_FEW = 4
# Where there is no more than one id for so many bytes, pyperscan looks for them; to make it ready for one
# takes as long as to find all ids in so much.
_SPARSE = LONG_BLOCK // 2

_NUMBER = re.compile(rb"([^\s\d]*)(\d+)(\D{0,2})")
_CORE = re.compile(rb"\D\d+\D")

# The part of an id that its lines are found by: a number and what stands around it.
Token = bytes

_NONE_TOLD: Mapping[Token, int] = MappingProxyType({})


class Kept(NamedTuple):
    """A line that is to be read now: in which file and where it stands, and its bytes."""

    path: str
    offset: int
    data: bytes


class _Search:
    """Finds a few ids in long blocks.

    Raises what pyperscan does.
    """

    def __init__(self, tokens: Iterable[Token]) -> None:
        # The number, and a character on both sides, is found in half the time of all that.
        cores = [(token, found) for token in tokens if (found := _CORE.search(token))]
        self._sought = [(token, found.end()) for token, found in cores]
        self._scan = quick_scan([(((found[0], False),),) for _, found in cores])

    def __call__(self, data: bytes, begin: int) -> Iterator[tuple[Token, int]]:
        """Which of them stand where in `data`, from `begin` on."""
        for end, index in self._scan(data, begin):
            token, length = self._sought[index]
            if (at := end - length) >= begin and data.startswith(token, at):
                yield token, at


@dataclass(slots=True)
class _Block:
    """Whole lines, and where in which file each part of them begins.

    `open` are conversations in which somebody has failed, as far as they are named here.
    """

    data: bytes
    parts: list[tuple[int, str, int]]  # where in the data, path, offset there
    open: set[Token]
    # Of each kind of id those that stand there, and how often each does.
    tokens: list[Counter[Token]] = field(default_factory=list)
    search: _Search | None = None  # for those that are open

    def learn(self, kinds: Sequence[re.Pattern[bytes]]) -> None:
        for kind in kinds[len(self.tokens) :]:
            self.tokens.append(Counter(kind.findall(self.data)))

    def places(
        self, kind: re.Pattern[bytes], tokens: Collection[Token], begin: int
    ) -> Iterator[tuple[Token, int]]:
        """Which of `tokens`, all of that kind, stand where, from `begin` on."""
        if len(tokens) > _FEW:
            for found in kind.finditer(self.data, begin):
                if found[0] in tokens:
                    yield found[0], found.start()
            return
        for token in tokens:
            at = self.data.find(token, begin)
            while at >= 0:
                yield token, at
                at = self.data.find(token, at + 1)

    def line_at(self, at: int) -> tuple[Kept, int]:
        """The line in which that place is, and where it ends."""
        end = self.data.find(b"\n", at)
        end = len(self.data) if end < 0 else end
        return self._line(self.data.rfind(b"\n", 0, at) + 1, end), end

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
        self._kinds: list[re.Pattern[bytes]] = []
        self._blocks: deque[_Block] = deque()
        self._size = 0
        self._open: set[Token] = set()  # in the blocks
        self._opened: list[Token] = []  # to be open in the next one
        self._has_search = True  # pyperscan works, for all that is known

    def token_of(self, id: bytes) -> Token | None:
        """By what the lines that hold `id` are found; None where its number does not tell them."""
        for kind in self._kinds:
            match = kind.search(id)
            if match is not None:
                return match[0]
        numbers = [each for each in _NUMBER.finditer(id) if each[1] and each[3]]
        if not numbers or len(self._kinds) >= MOST_KINDS:
            return None
        lead, number, tail = numbers[-1].groups()
        lead = lead[-_LONGEST_LEAD:]
        self._kinds.append(re.compile(rb"%s\d+%s" % (re.escape(lead), re.escape(tail))))
        return b"%s%s%s" % (lead, number, tail)

    def open(self, id: bytes) -> bool:
        """Somebody has failed in the conversation `id`; False where its lines cannot be found."""
        token = self.token_of(id)
        if token is not None:
            self._opened.append(token)
        return token is not None

    def sort(
        self, path: str, start: int, data: bytes, tokens: Iterable[Token | None]
    ) -> tuple[list[Kept], list[Kept]]:
        """Keep the block `data`, which begins at `start` of its file.

        Return the lines to be read: of earlier blocks those of conversations in which somebody now
        fails (`tokens`, one for each line that tells so), of it these, and those of conversations where
        somebody has, as long as a block that names them is kept.  Those that tell so may be among them.
        """
        told = Counter(token for token in tokens if token is not None)
        fresh = _Block(data, [(0, path, start)], {*told, *self._opened})
        self._opened.clear()
        new = fresh.open - self._open
        earlier: list[Kept] = []
        called: list[Kept] = []
        blocks = (*self._blocks, fresh)
        for token, line, _ in self._lines(fresh, 0, self._open | fresh.open, blocks, told):
            called.append(line)
            fresh.open.add(token)  # so that it is not taken for unread later on
        if new:
            begin = self._begin()
            for block in self._blocks:
                found = sorted(self._lines(block, begin, new, [fresh]), key=itemgetter(2))
                earlier += (line for _, line, _ in found)
                begin = 0
        if data or fresh.open:
            self._keep(fresh)
        # A line may hold ids of two kinds.
        return list(dict.fromkeys(earlier)), list(dict.fromkeys(called))

    def take_all(self) -> list[Kept]:
        """All lines that are kept and were not read, in their order; none is kept any longer."""
        kept = [line for block in self._blocks for line in block if not self._is_read(line.data)]
        self._blocks.clear()
        self._open.clear()
        self._size = 0
        return kept

    def _is_read(self, line: bytes) -> bool:
        return any(token in self._open for kind in self._kinds for token in kind.findall(line))

    def _begin(self) -> int:
        """Where in the first of the blocks those lines begin that are to be searched."""
        data = self._blocks[0].data if self._blocks else b""
        return data.rfind(b"\n", 0, max(0, self._size - KEPT)) + 1

    def _lines(
        self,
        block: _Block,
        begin: int,
        tokens: Set[Token],
        named: Iterable[_Block],
        told: Mapping[Token, int] = _NONE_TOLD,
    ) -> Iterator[tuple[Token, Kept, int]]:
        """The lines of `block`, from `begin` on, with one of `tokens`, which are all open in `named`.

        Each with the token and where that stands.  Where a token stands in those lines alone that have
        `told` of it, they may be left out.
        """
        if not tokens or not block.data:
            return
        end, line = -1, Kept("", 0, b"")
        for token, at in self._places(block, begin, tokens, named, told):
            if not end - len(line.data) <= at < end:  # a line may be full of an id
                line, end = block.line_at(at)
            yield token, line, at

    def _places(
        self,
        block: _Block,
        begin: int,
        tokens: Set[Token],
        named: Iterable[_Block],
        told: Mapping[Token, int],
    ) -> Iterator[tuple[Token, int]]:
        """Which token stands where."""
        if not block.tokens and len(tokens) * _SPARSE <= len(block.data) - begin:
            for each in named:
                # Not made ready before what was open earlier is found here, which is open in `block` then.
                search = self._search_of(each) if each.open else None
                for token, at in search(block.data, begin) if search else ():
                    if token in tokens:
                        yield token, at
            if self._has_search:
                return
        block.learn(self._kinds)
        for kind, there in zip(self._kinds, block.tokens, strict=True):
            wanted = {one for one in tokens & there.keys() if there[one] > told.get(one, 0)}
            yield from block.places(kind, wanted, begin)

    def _search_of(self, block: _Block) -> _Search | None:
        """What finds that which is open in `block`; None where there is no pyperscan."""
        if block.search is None and self._has_search:
            try:
                block.search = _Search(block.open)
            except Exception:  # see `screen`
                self._has_search = False
        return block.search

    def _keep(self, fresh: _Block) -> None:
        self._blocks.append(fresh)
        self._size += len(fresh.data)
        self._open |= fresh.open
        first = self._blocks[0]
        while self._size - len(self._blocks[0].data) >= KEPT:
            self._size -= len(self._blocks.popleft().data)
        if self._blocks[0] is not first:
            self._open = set().union(*(block.open for block in self._blocks))
        if len(self._blocks) > _MOST_BLOCKS:
            self._join_small_ones()

    def _join_small_ones(self) -> None:
        joined: deque[_Block] = deque()
        for block in self._blocks:
            if not joined or len(joined[-1].data) + len(block.data) > _SMALL:
                joined.append(block)
                continue
            last = joined.pop()
            data = last.data if last.data.endswith(b"\n") or not last.data else last.data + b"\n"
            self._size += len(data) - len(last.data)
            parts = [(at + len(data), path, start) for at, path, start in block.parts]
            joined.append(_Block(data + block.data, last.parts + parts, last.open | block.open))
        self._blocks = joined
