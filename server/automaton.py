# SPDX-License-Identifier: GPL-2.0-or-later
"""A regex as an automaton: nodes that read a character, and arrows between them.

Whatever the regex can do with a text, the automaton can; where that is not sure, it can do more.  So
look-aheads are dead ends, look-behinds nothing at all, and what repeats often may do so endlessly.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from typing import Any

from server.charsets import ALL, LINE_FEED, set_of
from server.trees import PARSER

REPEATS = frozenset({"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"})

_SHORT = 64  # a repeat that takes no more characters than these multiplies by a constant
_MOST_COPIES = 4  # so many repetitions are written out, …
_MOST_COPIED = 64  # … that come to no more characters
_MOST_STATES = 4000
_MOST_BEHIND = 100  # ways through a look-behind


class TooHard(Exception):
    """The regex is beyond this analysis."""


PLAIN, BEGIN, BEGIN_LINE = range(3)


class Automaton:
    """Nodes and arrows; a node with `chars` is passed by reading one of them."""

    def __init__(self, flags: int) -> None:
        self.chars: list[int] = []
        self.kind: list[int] = []
        self.out: list[list[int]] = []
        # How many characters the loops around a node take at most; 0 where there are none.
        self.width: list[float] = []
        self._width: float = 0
        self._flags = flags
        self._groups: dict[int, float] = {}
        self.start = self.node()

    def node(self, chars: int = 0, kind: int = PLAIN) -> int:
        if len(self.chars) >= _MOST_STATES:
            raise TooHard
        self.chars.append(chars)
        self.kind.append(kind)
        self.out.append([])
        self.width.append(self._width)
        return len(self.chars) - 1

    def after(self, at: int, chars: int = 0, kind: int = PLAIN) -> int:
        made = self.node(chars, kind)
        self.out[at].append(made)
        return made

    def search(self) -> int:
        """Before the start, let anything stand; return the new start."""
        before = self.node()
        self._width = math.inf
        others, line_feed = self.node(ALL & ~LINE_FEED), self.node(LINE_FEED)
        self._width = 0
        for each in (before, others, line_feed):
            self.out[each] += [others, line_feed, self.start]
        return before

    def sequence(self, items: Iterable[tuple[Any, Any]], at: int, flags: int) -> int:
        """Add `items` behind `at`; return where they end."""
        for op, value in items:
            at = self._item(str(op), value, at, flags)
        return at

    def _item(self, kind: str, value: Any, at: int, flags: int) -> int:
        if kind in REPEATS:
            return self._repeat(value, at, flags)
        match kind:
            case "LITERAL" | "NOT_LITERAL" | "ANY":
                return self.after(at, set_of(kind, value, flags))
            case "IN":
                return self.after(at, set_of(kind, tuple(value), flags))
            case "SUBPATTERN":
                number, added, taken, body = value
                if number is not None:
                    self._groups[number] = float(body.getwidth()[1])
                return self.sequence(body, at, (flags | added) & ~taken)
            case "ATOMIC_GROUP":
                return self.sequence(value, at, flags)
            case "BRANCH":
                return self._branch(value[1], at, flags)
            case "ASSERT" | "ASSERT_NOT":
                return self._look(value, at, flags)
            case "AT":
                return self._place(str(value), at, flags)
            case "GROUPREF":
                width = self._groups.get(value, math.inf)
                return self._loop(lambda begin: self.after(begin, ALL), 0, width, at)
            case "GROUPREF_EXISTS":
                return self._branch([value[1], value[2] or []], at, flags)
            case "FAILURE":
                return self.node()
        raise TooHard

    def _branch(self, branches: Iterable[Any], at: int, flags: int) -> int:
        end = self.node()
        for branch in branches:
            self.out[self.sequence(branch, self.after(at), flags)].append(end)
        return end

    def _look(self, value: Any, at: int, flags: int) -> int:
        direction, body = value
        if direction > 0:
            self.sequence(body, self.after(at), flags)
        elif _ways(body) > _MOST_BEHIND:
            raise TooHard
        return self.after(at)

    def _place(self, name: str, at: int, flags: int) -> int:
        if name == "AT_BEGINNING_STRING":
            return self.after(at, kind=BEGIN)
        if name == "AT_BEGINNING":
            return self.after(at, kind=BEGIN_LINE if flags & re.MULTILINE else BEGIN)
        return self.after(at)

    def _repeat(self, value: Any, at: int, flags: int) -> int:
        least, most, body = value
        width = float(body.getwidth()[1])
        is_single = len(body) == 1 and str(body[0][0]) in ("LITERAL", "NOT_LITERAL", "ANY", "IN")
        is_exact = is_single and least == most
        if most == 1 or (
            (is_exact or most <= _MOST_COPIES) and most * max(width, 1) <= _MOST_COPIED
        ):
            end = self.node()
            for turn in range(most):
                if turn >= least:
                    self.out[at].append(end)
                    at = self.after(at)  # or else two ways would lead to the end
                at = self.sequence(body, at, flags)
            self.out[at].append(end)
            return end
        if least > 1 and body.getwidth()[0] == 0:
            raise TooHard  # which of the turns take nothing?
        total = math.inf if most >= PARSER.MAXREPEAT else most * width
        return self._loop(lambda begin: self.sequence(body, begin, flags), least, total, at)

    def _loop(self, body: Callable[[int], int], least: int, width: float, at: int) -> int:
        before = self._width
        # What is shorter all in all, but stands in an endless loop, goes round as often as that.
        self._width = max(before, width if width <= _SHORT else math.inf, 1)
        begin = self.after(at)
        again = self.after(body(begin))
        self.out[again].append(begin)
        self._width = before
        end = self.after(again)
        if least == 0:
            self.out[at].append(end)
        return end


def _ways(items: Iterable[tuple[Any, Any]]) -> int:
    """An upper bound of the ways through a look-behind, whose length is fixed."""
    ways = 1
    for op, value in items:
        match str(op):
            case "BRANCH":
                ways *= sum(map(_ways, value[1]))
            case "SUBPATTERN":
                ways *= _ways(value[3])
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                inner = _ways(value[2])
                ways *= inner if inner == 1 else inner ** min(value[1], 20)
            case "LITERAL" | "NOT_LITERAL" | "ANY" | "IN" | "AT":
                pass
            case _:
                ways = _MOST_BEHIND + 1
    return ways
