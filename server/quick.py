# SPDX-License-Identifier: GPL-2.0-or-later
"""Many lines at once: what `rules` say of each, in one loop for the simple ones, which most of a flood are.

Knows no block and no date; what it does itself, it does for speed: `rules` alone define what is right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

from common.address import shortest
from server.ambiguity import LONGEST
from server.conversation import LONGEST_TEXT, Said
from server.joined import exclusive, joined
from server.packing import Failures, Press, Shape
from server.pattern import Pattern
from server.records import Failure
from server.rules import Match, Plan, Rules

# After so many lines of a failregex it is made ready for many more, which costs as much as was lost by then.
_FEW = 300

_MOST_MASKS = 4096

# What came of a line that some rule matches, or may match: which, the match if it is a simple one, whose
# line it is.
Tried = tuple[int, Any, str | None]


class Line(NamedTuple):
    """A line to be judged: where it stands, as it was written, and without its date.

    The date stood at `cut`.  No other rules than `rules`, as bits, may match it; `tried` is what came of
    them, if that is known already.
    """

    path: str
    offset: int
    line: str
    text: str
    cut: int
    when: float
    rules: int
    tried: Tried | None = None


class Numbers(dict[int, tuple[int, ...]]):
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


class _Hard:
    """In the place of a match: there is more to it than can be done at once."""


_HARD = _Hard()
_NO_PRESSES: Mapping[Shape, Press] = {}
_NOT_AT_ONCE = (-1,)  # in the place of failregexes: the last attempt gives up

# The groups of a match, of prefregex and failregex together, that hold the conversation's id and tell
# its end (0: none), and for each group that may hold an address the match's shape if it does, and all
# groups that are shown then, by their names.
_Ways = tuple[int, int, tuple[tuple[int, Shape, Mapping[str, int]], ...]]
_Attempt = Callable[[str], "re.Match[str] | _Hard | None"]


class Quick:
    """The rules of one filter, for many lines at once."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.numbers = Numbers()
        # What says at once, of lines up to so long, whether a failregex matches, and how to read that.
        self._attempts: list[_Attempt] = [_give_up for _ in (*rules.plans, _NOT_AT_ONCE)]
        for rule, plan in enumerate(rules.plans):
            if plan.is_simple:
                self._attempts[rule] = partial(self._count_down, rule)
        self._ways: list[_Ways] = [(0, 0, ())] * len(rules.rules)
        self._longest = LONGEST_TEXT if rules.has_talks else LONGEST
        self._until_ready = [_FEW] * len(rules.rules)

    def failures(self, lines: Iterable[tuple[Any, ...]], into: Failures) -> None:
        """Add the failures that `lines`, each a `Line` or a tuple like it, make known, in their order.

        The rules say of a line what it is.  Most are simple, though, and of those all is done here: a
        call for each step would take longer than the regexes do.
        """
        attempts, ways, longest = self._attempts, self._ways, self._longest
        talks, judge, say = self._rules.talks, self._rules.failure, self._said_once_more
        is_open, begin = talks.is_open, talks.begin
        rules_of = self.numbers
        add_host, add_moment = into.hosts.append, into.moments.append
        add_packed, presses_of = into.packed.append, into.packer.presses
        at_path, presses = None, _NO_PRESSES
        has_key, mind_cut = self._rules.has_key, self._rules.mind_cut
        for path, offset, line, text, cut, when, mask, tried in lines:
            found: Any
            if cut and has_key and tried is None:
                mind_cut(text, cut)
            if tried is not None:
                rule, found, _ = tried
            else:
                for rule in rules_of[mask] if len(line) <= longest else _NOT_AT_ONCE:
                    found = attempts[rule](text)
                    if found is not None:
                        break
                else:
                    continue
            host = None
            if found is not _HARD:
                keyed, end, addresses = ways[rule]
                key = found[keyed] if keyed else None
                if not (key and is_open(key)):
                    for group, shape, shown in addresses:  # noqa: B007
                        if (address := found[group]) and (host := shortest(address)) is not None:
                            break
            if host is None:
                if (failure := judge(path, offset, line, text, when, rules_of[mask])) is not None:
                    into.add(failure)
                longest = self._longest
                continue
            if key and not key.isspace() and not (end and found[end] is not None):
                begin(key, (when, say, rule, line, text))
            if path is not at_path:
                at_path, presses = path, presses_of(path)
            try:
                packed = presses[shape](found, when, offset, line) if host == address else b""
            except TypeError:  # it does not have all that it may have
                packed = b""
            if packed:
                add_host(host)
                add_moment(when)
                add_packed(packed)
            else:
                fields = {name: found[group] for name, group in shown.items()}
                fields = {name: value for name, value in fields.items() if value is not None}
                into.add(Failure(host, when, (line,), False, 1, fields, path, offset, rule))
        talks.trim()

    def sifted(
        self, lines: Iterable[tuple[Any, ...]], rules_of: Numbers, mute: int
    ) -> Iterator[tuple[Any, ...]]:
        """Those of `lines` that one of their rules matches, or may match, and what came of it.

        These then may be matched by the `mute` rules, too.
        """
        attempts, ways, begin_of = self._attempts, self._ways, self._rules.begin
        mind_cut = self._rules.mind_cut
        for path, offset, line, text, cut, when, mask, _ in lines:
            if cut:
                mind_cut(text, cut)
            found: Any = None
            for rule in rules_of[mask] if len(line) <= self._longest else _NOT_AT_ONCE:
                found = attempts[rule](text)
                if found is not None:
                    break
            else:
                continue
            if found is not _HARD:
                keyed = ways[rule][0]
                key = found[keyed] if keyed else None
            elif (begun := begin_of(text)) is not None:
                key = begun.key
            else:
                continue
            yield path, offset, line, text, cut, when, mask | mute, (rule, found, key)

    def _count_down(self, rule: int, text: str) -> re.Match[str] | _Hard | None:
        """Have lines read in full until it pays to make `rule` ready for many more."""
        self._until_ready[rule] -= 1
        if self._until_ready[rule]:
            return _HARD
        self._attempts[rule] = _give_up
        pattern, prefix = self._rules.rules[rule], self._rules.prefix
        watched, regex = [pattern.watched], pattern.regex
        group = self._rules.content_group
        attempt: _Attempt = regex.match if pattern.is_tied else regex.search
        if prefix is not None:
            watched.append(prefix.watched)
            whole = joined(prefix.regex, group, regex) if group is not None else None
            if whole is not None:
                regex, attempt = whole, whole.match
            elif not self._rules.has_key:
                attempt = partial(self._match_in_turn, pattern)
            else:
                return _HARD
        self._longest = min(self._longest, *(each.reach for each in watched))
        self._ways[rule] = _ways_of(regex, rule, pattern, self._rules.plans[rule])
        self._attempts[rule] = attempt
        return _HARD

    def _match_in_turn(self, pattern: Pattern, text: str) -> re.Match[str] | None:
        begun = self._rules.begin(text)
        return None if begun is None else pattern.search(begun.content)

    def _said_once_more(self, rule: int, line: str, text: str) -> Said:
        """What a line says that was judged before: to keep of each what was found costs more."""
        rules = self._rules
        begun = rules.begin(text)
        found = None if begun is None else rules.rules[rule].search(begun.content)
        if begun is None or found is None:  # the regex has been set aside since
            return Said((line,))
        return rules.said(Match(rule, found, begun), (line,))


def _ways_of(whole: re.Pattern[str], rule: int, pattern: Pattern, plan: Plan) -> _Ways:
    """How to read a match of `whole`, which has the groups of `pattern`, the failregex, by their names."""
    groups, apart = whole.groupindex, exclusive(pattern.regex)
    ways = []
    for address in plan.addresses:
        own = next(name for name, group in plan.shown if group == address)
        shown = {
            name: groups[name]
            for name, group in plan.shown
            if (min(group, address), max(group, address)) not in apart
        }
        others = [group for name, group in shown.items() if name != own]
        read = itemgetter(*others) if others else None
        ways.append((groups[own], Shape(rule, tuple(shown), own, read), shown))
    return groups.get("mlfid", 0), groups.get("mlfforget", 0), tuple(ways)


def _give_up(text: str) -> _Hard:
    return _HARD
