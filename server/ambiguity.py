# SPDX-License-Identifier: GPL-2.0-or-later
"""How the work of a regex grows with the length of a text, whoever wrote the text.

A matcher that backtracks tries one way through the regex after the other.  How many there can be is
read off the automaton that the regex describes: two loops that a text can be in at once multiply the
ways by its length, a loop that the same text can go round in two ways doubles them with each turn.
What is not understood counts as worse than it is.  Runs no regex and knows no log.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from server.automaton import BEGIN_LINE, PLAIN, REPEATS, Automaton, TooHard
from server.charsets import ALL, LINE_FEED, one_of
from server.trees import PARSER, once, tree_of

# So many steps are cheap: a hundredth of a second or two, however the line was made.
CHEAP = 125_000
# Of texts longer than this nothing is said.
LONGEST = 1 << 20

_MOST_STEPS = 100_000  # of the analysis, in any of its parts
_MOST_DOUBTS = 30_000  # steps to see whether two loops can really share a text; then it is assumed
_FEW = 8  # characters, cheap whatever the regex

Items = Sequence[tuple[Any, Any]]


@dataclass(frozen=True, slots=True)
class Work:
    """How much work a regex can make of a text.

    `degree` is the power of the text's length with which it grows: 1 is as good as can be,
    `math.inf` exponential.  A text of `reach` characters is cheap, whatever it is, and one of
    `calm_reach` if it has no line feed.  Where the degree is above 1, `before`, many times `pump`,
    and `after` make a text that shows it; `pump` is empty where none is known.  `is_search` says
    that only trying each place of the text makes it that bad.
    """

    degree: float
    reach: int
    calm_reach: int
    before: str = ""
    pump: str = ""
    after: str = ""
    is_search: bool = False

    @property
    def name(self) -> str:
        """The degree in a word."""
        names = {1: "linear", 2: "quadratic", 3: "cubic"}
        if math.isinf(self.degree):
            return "exponential"
        return names.get(int(self.degree), f"to the power of {self.degree:.0f}")

    def example(self, length: int) -> str:
        """A text of about `length` characters that takes long; empty where none is known."""
        turns = (length - len(self.before) - len(self.after)) // max(len(self.pump), 1)
        return f"{self.before}{self.pump * max(turns, 2)}{self.after}" if self.pump else ""


_HOPELESS = Work(math.inf, _FEW, _FEW)


@once
def work_of(regex: re.Pattern[str], is_tied: bool) -> Work:
    """How much work `regex` can make; `is_tied`: it is tried at the start of the text alone."""
    parsed = tree_of(regex)
    try:
        any_text = calm = _estimate(parsed, regex.flags, is_tied, is_calm=False)
        if any_text.is_cheap:
            return Work(1, LONGEST, LONGEST)
        if minds_line_feeds(regex):
            calm = _estimate(parsed, regex.flags, is_tied, is_calm=True)
    except (TooHard, RecursionError):
        return _HOPELESS
    told = calm.told
    return Work(
        calm.degree, any_text.reach, calm.reach, told.before, told.pump, told.after, told.is_search
    )


@once
def reach_of(regex: re.Pattern[str], is_tied: bool, is_calm: bool) -> int:
    """`reach`, or if `is_calm` the `calm_reach`, of the work of `regex`: for half of the trouble."""
    try:
        return _estimate(tree_of(regex), regex.flags, is_tied, is_calm).reach
    except (TooHard, RecursionError):
        return _FEW


@once
def minds_line_feeds(regex: re.Pattern[str]) -> bool:
    """Whether `reach` and `calm_reach` of `regex` may differ."""
    try:
        items = list(tree_of(regex))
        return _tail(items, regex.flags, False) != _tail(items, regex.flags, True)
    except RecursionError:
        return True


# -- what ends the search ------------------------------------------------------------------------------


def _tail(items: Items, flags: int, is_calm: bool) -> int:
    """Where the part begins that matches whatever follows: who gets there tries no other way."""
    begin = len(items)
    is_free = True  # nothing behind asks for a certain place
    for at in range(len(items) - 1, -1, -1):
        op, value = items[at]
        if str(op) == "AT" and str(value) == "AT_END" and is_free and at == len(items) - 1:
            is_free = False
        elif _takes_all(op, value, flags, is_calm):
            begin, is_free = at, True
        elif not (str(op) in REPEATS and value[0] == 0):
            break
        elif is_free:
            begin = at
    return begin


def _up_to_rest(tail: Items, flags: int, is_calm: bool) -> Items:
    """`tail` as it has been gone through when what takes all the rest has its first character."""
    at = len(tail) - 1
    if str(tail[at][0]) == "AT":
        at -= 1
    if at < 0 or not _takes_all(*tail[at], flags, is_calm):
        return tail
    op, value = tail[at]
    while str(op) == "SUBPATTERN":
        op, value = value[3][0]
    return [*tail[:at], *(value[2] if value[0] else ())]


def _takes_all(op: Any, value: Any, flags: int, is_calm: bool) -> bool:
    """Whether it can take the rest of any text, or of any line where `$` ends it."""
    if str(op) == "SUBPATTERN":
        body = value[3]
        inner = (flags | value[1]) & ~value[2]
        return len(body) == 1 and _takes_all(body[0][0], body[0][1], inner, is_calm)
    if str(op) not in REPEATS or value[0] > 1 or value[1] < PARSER.MAXREPEAT:
        return False
    body = value[2]
    if len(body) != 1 or str(body[0][0]) != "ANY":
        return False
    return is_calm or bool(flags & (re.DOTALL | re.MULTILINE))


# -- ways through the automaton ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Told:
    before: str = ""
    pump: str = ""
    after: str = ""
    is_search: bool = False


@dataclass(frozen=True, slots=True)
class _Estimate:
    degree: float
    reach: int
    told: _Told

    @property
    def is_cheap(self) -> bool:
        return self.reach >= LONGEST


def _estimate(parsed: Any, flags: int, is_tied: bool, is_calm: bool) -> _Estimate:
    items = list(parsed)
    cut = _tail(items, flags, is_calm)
    head = _of_automaton(items[:cut], flags, is_tied)
    if cut == len(items) or math.isinf(head.degree):
        return head
    # Whoever gets so far tries no other way: it is gone through once, and its last part in one go.
    tail = _of_automaton(_up_to_rest(items[cut:], flags, is_calm), flags, is_tied=True)
    worse = max(head, tail, key=lambda one: (one.degree, -one.reach))
    return _Estimate(worse.degree, min(head.reach, tail.reach), worse.told)


def _of_automaton(items: Items, flags: int, is_tied: bool) -> _Estimate:
    automaton = Automaton(flags)
    automaton.sequence(items, automaton.start, flags)
    start = automaton.start if is_tied else automaton.search()
    return _Ways(automaton, start, is_tied).estimate()


@dataclass(frozen=True, slots=True)
class _Shared:
    """A text `word` that two loops can both go round with, the first one at `state`.

    None that they share has fewer than `least` characters.
    """

    word: str
    state: int
    least: int


class _Ways:
    """States that have read a character, and the ways from one to the next."""

    def __init__(self, automaton: Automaton, start: int, is_tied: bool) -> None:
        self._automaton = automaton
        self._start = start
        self._is_tied = is_tied
        self._steps = 0
        self._doubts = 0
        self._chars = automaton.chars
        self._next: dict[int, dict[int, int]] = {}  # with how many ways there are
        self._previous: dict[int, list[int]] = {}
        waiting = [start]
        while waiting:
            state = waiting.pop()
            if state not in self._next:
                self._next[state] = self._successors(state)
                waiting += self._next[state]
        components = self._components()
        self._knots = [knot for knot in components if self._is_knot(knot)]
        self._leads = self._reachable(components)

    def _tire(self, steps: int = 1) -> None:
        self._steps += steps
        if self._steps > _MOST_STEPS:
            raise TooHard

    def _successors(self, state: int) -> dict[int, int]:
        automaton, found, path = self._automaton, dict[int, int](), {state}
        is_start = state == self._start
        after_line = is_start or bool(self._chars[state] & LINE_FEED)

        def follow(node: int) -> None:
            self._tire()
            for after in automaton.out[node]:
                if automaton.chars[after]:
                    found[after] = found.get(after, 0) + 1
                elif after not in path:
                    kind = automaton.kind[after]
                    if is_start or kind == PLAIN or (kind == BEGIN_LINE and after_line):
                        path.add(after)
                        follow(after)
                        path.remove(after)

        follow(state)
        return found

    def _components(self, within: frozenset[int] | None = None) -> list[frozenset[int]]:
        """The strongly connected components, each before those that lead to it."""
        index: dict[int, int] = {}
        low: dict[int, int] = {}
        stack: list[int] = []
        on_stack: set[int] = set()
        found: list[frozenset[int]] = []
        for root in self._next if within is None else within:
            if root in index:
                continue
            index[root] = low[root] = len(index)
            stack.append(root)
            on_stack.add(root)
            work = [(root, iter(self._next[root]))]
            while work:
                state, following = work[-1]
                self._tire()
                for after in following:
                    if within is not None and after not in within:
                        continue
                    if after not in index:
                        index[after] = low[after] = len(index)
                        stack.append(after)
                        on_stack.add(after)
                        work.append((after, iter(self._next[after])))
                        break
                    if after in on_stack:
                        low[state] = min(low[state], index[after])
                else:
                    work.pop()
                    if work:
                        low[work[-1][0]] = min(low[work[-1][0]], low[state])
                    if low[state] == index[state]:
                        at = stack.index(state)
                        found.append(frozenset(stack[at:]))
                        on_stack.difference_update(stack[at:])
                        del stack[at:]
        return found

    def _is_knot(self, states: frozenset[int]) -> bool:
        """Whether one can go round in it."""
        return len(states) > 1 or any(state in self._next[state] for state in states)

    def estimate(self) -> _Estimate:
        for knot in self._knots:
            turn = self._double_turn(knot)
            if turn is not None:
                word, state = turn
                told = self._told(state, word, knot)
                return _Estimate(math.inf, self._largest_with_turns(), told)
        knots = self._knots
        order = range(len(knots) - 1, -1, -1)  # from the start to the end
        leads = [
            [at for at in range(later) if mask >> at & 1] for later, mask in enumerate(self._leads)
        ]
        pairs: dict[tuple[int, int], _Shared] = {}
        for one in order:
            for other in leads[one]:
                found = self._both(knots[one], knots[other])
                if found is not None and (shared := self._sure(knots[one], knots[other], found)):
                    pairs[one, other] = shared
        sizes = [max(self._automaton.width[state] for state in knot) for knot in knots]

        def steps(length: int) -> tuple[float, int, tuple[int, int] | None]:
            """How many, how often multiplied by the length, and by which pair last."""
            best: list[tuple[float, int, tuple[int, int] | None]] = [(1.0, 0, None)] * len(knots)
            for one in order:
                for other in leads[one]:
                    ways, power, last = best[one]
                    if (one, other) in pairs:
                        size = min(sizes[one], sizes[other])
                        if math.isinf(size):
                            size = max(length / pairs[one, other].least / (power + 2), 1)
                            power, last = power + 1, (one, other)
                        ways *= size
                    if ways > best[other][0]:
                        best[other] = ways, power, last
            ways, power, last = max(best, key=lambda one: one[0], default=(1.0, 0, None))
            return ways * length, power, last

        def is_cheap(length: int) -> bool:
            return steps(length)[0] <= CHEAP

        _, power, last = steps(LONGEST)
        told = _Told()
        if last is not None:
            shared = pairs[last]
            told = self._told(shared.state, shared.word, knots[last[1]])
        reach = LONGEST if power == 0 and is_cheap(1 << 16) else _largest(is_cheap)
        return _Estimate(power + 1, reach, told)

    def _largest_with_turns(self) -> int:
        """The longest text for which all ways there can be are cheap: each character multiplies them."""
        most = 2
        for following in self._next.values():
            for state in following:
                alike = [
                    n for other, n in following.items() if self._chars[other] & self._chars[state]
                ]
                most = max(most, sum(alike))
        return max(int(math.log(CHEAP / 2, most)), 4)

    # -- one loop, two ways ----------------------------------------------------------------------------

    def _double_turn(self, knot: frozenset[int]) -> tuple[str, int] | None:
        """A text that leads from a state of `knot` back to it in two ways, and that state."""
        follows = {state: [a for a in self._next[state] if a in knot] for state in knot}
        for state in knot:
            for after, ways in self._next[state].items():
                if after in knot and ways > 1:
                    return self._back(after, state, knot) + one_of(self._chars[after]), after
        if len(knot) == 1:
            return None
        came: dict[tuple[int, int], tuple[int, int]] = {}
        waiting: deque[tuple[int, int]] = deque()
        for state in knot:
            waiting.extend(self._apart(state, state, follows, came))
        while waiting:
            pair = waiting.popleft()
            for after in follows[pair[0]]:
                self._tire()
                if after in follows[pair[1]]:
                    return self._merged(pair, after, came, knot)
            waiting.extend(self._apart(*pair, follows, came))
        return None

    def _apart(
        self,
        one: int,
        other: int,
        follows: dict[int, list[int]],
        came: dict[tuple[int, int], tuple[int, int]],
    ) -> Iterator[tuple[int, int]]:
        """The pairs of different states that the same character leads to, where they are new."""
        for left in follows[one]:
            for right in follows[other]:
                self._tire()
                pair = (left, right) if left < right else (right, left)
                if left != right and pair not in came and self._chars[left] & self._chars[right]:
                    came[pair] = (one, other)
                    yield pair

    def _merged(
        self,
        pair: tuple[int, int],
        end: int,
        came: dict[tuple[int, int], tuple[int, int]],
        knot: frozenset[int],
    ) -> tuple[str, int]:
        word = [one_of(self._chars[end])]
        while pair[0] != pair[1]:
            word.append(one_of(self._chars[pair[0]] & self._chars[pair[1]]))
            pair = came[pair]
        begin = pair[0]
        return self._back(end, begin, knot) + "".join(reversed(word)), end

    def _back(self, start: int, end: int, within: Iterable[int]) -> str:
        """A text that leads from `start` to `end`; empty where they are the same."""
        if start == end:
            return ""
        allowed = frozenset(within)
        came = {start: start}
        waiting = deque([start])
        while waiting:
            state = waiting.popleft()
            for after in self._next[state]:
                if after in allowed and after not in came:
                    came[after] = state
                    waiting.append(after)
        word = []
        while end != start:
            word.append(one_of(self._chars[end]))
            end = came[end]
        return "".join(reversed(word))

    # -- two loops at once -----------------------------------------------------------------------------

    def _alphabet(self, states: Iterable[int]) -> int:
        found = 0
        for state in states:
            found |= self._chars[state]
        return found

    def _both(self, one: frozenset[int], other: frozenset[int]) -> tuple[str, int] | None:
        """A text that may go round in `one`, lead to `other`, and go round there; and a state of `one`."""
        share = self._alphabet(one) & self._alphabet(other)
        if not share:
            return None
        begin, end = one, other
        if len(one) + len(other) > 2:
            begin, end = self._within(one, share), self._within(other, share)
            share &= self._alphabet(begin) & self._alphabet(end)
            if not share:
                return None
            begin, end = self._within(begin, share), self._within(end, share)
            if not begin or not end:
                return None
        came: dict[int, int] = {}
        waiting = deque(sorted(begin))
        while waiting:
            state = waiting.popleft()
            for after in self._next[state]:
                self._tire()
                if after in came or after in begin or not self._chars[after] & share:
                    continue
                came[after] = state
                if after in end:
                    return self._word(after, came, share)
                waiting.append(after)
        return None

    def _sure(
        self, one: frozenset[int], other: frozenset[int], found: tuple[str, int]
    ) -> _Shared | None:
        """What the loops share, or None where it is sure that no text does all that `found` may do.

        It has to lead from a state of `one` back to it and also to one of `other`, and from there back
        to that: three ways through the automaton, gone at once.
        """
        word, state = found
        between = self._behind(one) & self._leading_to(other)
        for begin in one:
            for end in other:
                try:
                    text = self._at_once(begin, end, (one, between, other))
                except TooHard:
                    return _Shared(word, state, len(word))
                if text:
                    return _Shared(text, begin, len(word))
        return None

    def _at_once(
        self, begin: int, end: int, within: tuple[frozenset[int], frozenset[int], frozenset[int]]
    ) -> str:
        """The text that leads from `begin` to it, from there to `end`, and from `end` to it; or none."""
        chars = self._chars
        start, goal = (begin, begin, end), (begin, end, end)
        came: dict[tuple[int, int, int], tuple[int, int, int]] = {}
        waiting = deque([start])
        while waiting:
            at = waiting.popleft()
            ways = [
                [after for after in self._next[state] if after in allowed]
                for state, allowed in zip(at, within, strict=True)
            ]
            for one in ways[0]:
                for middle in ways[1]:
                    both = chars[one] & chars[middle]
                    if not both:
                        continue
                    for other in ways[2]:
                        self._doubts += 1
                        if self._doubts > _MOST_DOUBTS:
                            raise TooHard
                        to = (one, middle, other)
                        if to in came or not both & chars[other]:
                            continue
                        came[to] = at
                        if to == goal:
                            return self._gone(goal, start, came)
                        waiting.append(to)
        return ""

    def _gone(
        self,
        at: tuple[int, int, int],
        start: tuple[int, int, int],
        came: dict[tuple[int, int, int], tuple[int, int, int]],
    ) -> str:
        word = []
        while at != start:
            one, middle, other = at
            word.append(one_of(self._chars[one] & self._chars[middle] & self._chars[other]))
            at = came[at]
        return "".join(reversed(word))

    def _behind(self, states: frozenset[int]) -> frozenset[int]:
        """`states` and all that they lead to."""
        found, waiting = set(states), list(states)
        while waiting:
            new = [after for after in self._next[waiting.pop()] if after not in found]
            found.update(new)
            waiting += new
        return frozenset(found)

    def _leading_to(self, states: frozenset[int]) -> frozenset[int]:
        """`states` and all that lead to them."""
        if not self._previous:
            for state, following in self._next.items():
                for after in following:
                    self._previous.setdefault(after, []).append(state)
        found, waiting = set(states), list(states)
        while waiting:
            new = [each for each in self._previous.get(waiting.pop(), ()) if each not in found]
            found.update(new)
            waiting += new
        return frozenset(found)

    def _word(self, end: int, came: dict[int, int], share: int) -> tuple[str, int]:
        word = []
        while end in came:
            word.append(one_of(self._chars[end] & share))
            end = came[end]
        return "".join(reversed(word)), end

    def _within(self, states: frozenset[int], share: int) -> frozenset[int]:
        """The states in which one can go round reading nothing but `share`."""
        left = frozenset(state for state in states if self._chars[state] & share)
        if len(left) <= 1:
            return left if any(state in self._next[state] for state in left) else frozenset()
        knots = [knot for knot in self._components(left) if self._is_knot(knot)]
        return frozenset[int]().union(*knots)

    def _reachable(self, components: Sequence[frozenset[int]]) -> list[int]:
        """Of each component a number with a bit for each knot that it leads to, its own included."""
        place = {state: at for at, each in enumerate(components) for state in each}
        bits = {knot: 1 << at for at, knot in enumerate(self._knots)}
        found: list[int] = []
        for each in components:
            mask = bits.get(each, 0)
            for state in each:
                for after in self._next[state]:
                    at = place[after]
                    mask |= found[at] if at < len(found) else 0
            found.append(mask)
        return [mask for each, mask in zip(components, found, strict=True) if each in bits]

    def _told(self, state: int, word: str, loop: frozenset[int]) -> _Told:
        before = self._back(self._start, state, self._next)
        others = ALL & ~LINE_FEED & ~self._alphabet(loop)
        is_search = not self._is_tied and self._automaton.width[state] == math.inf
        is_search = is_search and self._start in self._before(state)
        return _Told(before, word, one_of(others) if others else "", is_search)

    def _before(self, state: int) -> set[int]:
        """The states behind which `state` stands at once."""
        return {each for each, after in self._next.items() if state in after}


def _largest(holds: Callable[[int], bool]) -> int:
    """The largest length for which it holds, within an eighth."""
    low, high = _FEW, LONGEST
    if holds(high):
        return high
    while high - low > max(low // 8, 1):
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
