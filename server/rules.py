# SPDX-License-Identifier: GPL-2.0-or-later
"""The exact verdict on a line: prefregex, failregexes, ignoreregexes, and whose conversation it is.

A line comes without its date, and its moment beside it.  Knows no block, no screen, no decoding.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from operator import itemgetter
from typing import Any, NamedTuple, cast

from common.address import shortest
from common.options import JailConf
from server.ambiguity import LONGEST
from server.conversation import LONGEST_TEXT, Conversations, Said
from server.joined import exclusive, joined
from server.packing import Failures, Press, Shape
from server.pattern import Id, Pattern, id_of, skipped_spans
from server.records import Failure
from server.trees import tree_of

# Groups that steer the rules and tell nobody anything.
_INTERNAL = frozenset({"mlfid", "nofail", "mlfgained", "mlfforget", "content"})
# Groups that tell of more than a name for a thing; where there are none, a match is read quickly.
_IDS = frozenset({"fid", "host", "cidr"})

# After so many lines of a failregex it is made ready for many more, which costs as much as was lost by then.
_FEW = 300

_new = tuple.__new__  # of a named tuple; its own way takes three times as long


class Begun(NamedTuple):
    """What the prefregex made of a line: its match, what the failregexes see, whose line it is."""

    outer: re.Match[str] | None
    content: str
    key: str | None


class Tried(NamedTuple):
    """A line that some rule matches, or may match: which, the match if it is a simple one, whose line it is."""

    rule: int
    found: Any
    key: str | None


class Line(NamedTuple):
    """A line to be judged: where it stands, as it was written, and without its date.

    The date stood at `cut`.  No other rules than `rules` may match it; `tried` is what came of them, if
    that is known already.
    """

    path: str
    offset: int
    line: str
    text: str
    cut: int
    when: float
    rules: Sequence[int]
    tried: Tried | None = None


class Match:
    """A failregex that matched.  What it names, and whom, is read when it is asked for."""

    __slots__ = ("rule", "found", "begun", "key", "fields", "id")

    def __init__(self, rule: int, found: re.Match[str], begun: Begun) -> None:
        self.rule = rule
        self.found = found
        self.begun = begun
        self.key = begun.key
        self.fields: dict[str, str | None] = {}
        self.id: Id | None = None


@dataclass(frozen=True, slots=True)
class _Plan:
    """How to read a match of one failregex: the numbers of its groups.

    `helper` and `end` mark its lines, 0 where there is no such group.  `has_key`: it has a say of its
    own in whose its lines are.  With `is_quick` it names an address, perhaps a name, and what else it
    says (`shown`) needs no more than looking; with `is_simple` a line that it matches and that is the
    first of its conversation is a failure whatever the rest of the filter says.
    """

    helper: tuple[int, ...]
    end: int
    has_key: bool
    is_quick: bool
    is_simple: bool
    addresses: tuple[int, ...]
    name: int
    shown: tuple[tuple[str, int], ...]


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


class Rules:
    """The regexes of one filter, and the conversations and windows that they have seen so far.

    Raises RegexError.
    """

    def __init__(self, conf: JailConf) -> None:
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
        self.every = tuple(range(len(self.rules)))
        self._max_lines = conf.max_lines
        of_prefix = self.prefix.groups if self.prefix is not None else frozenset[str]()
        # Numbers of its groups, 0 where it has no such group.
        groups = self.prefix.regex.groupindex if self.prefix is not None else {}
        self._content, self._key = groups.get("content", 0), groups.get("mlfid", 0)
        # Whether a prefix says no more than who speaks; then the failregex alone tells what is said.
        self.is_prefix_plain = of_prefix.isdisjoint({"nofail", "mlfgained", "mlfforget"})
        names = of_prefix.union(*(rule.names for rule in self.rules))
        # Whether some lines belong together by an id that they bear.
        self.has_talks = "mlfid" in names
        self._hidden = frozenset(name for name in names if _is_hidden(name))
        is_prefix_mute = all(map(_is_hidden, of_prefix))
        is_alone = self.is_prefix_plain and not self.ignore_rules and conf.max_lines == 1
        self._plans = tuple(_plan_of(rule, is_prefix_mute, is_alone) for rule in self.rules)
        # With few ignoreregexes they are searched in the whole line as well (that is how
        # fail2ban 1.1 does it, to save itself the failregexes; filters may rely on either).
        self._ignores_lines = 0 < len(self.ignore_rules) < len(self.rules) - 2
        self._talks = Conversations()
        # What says at once, of lines up to so long, whether a failregex matches, and how to read that.
        self._attempts: list[_Attempt] = [_give_up for _ in (*self._plans, _NOT_AT_ONCE)]
        for rule, plan in enumerate(self._plans):
            if plan.is_simple:
                self._attempts[rule] = partial(self._count_down, rule)
        self._ways: list[_Ways] = [(0, 0, ())] * len(self.rules)
        self._longest = LONGEST_TEXT if self.has_talks else LONGEST
        self._until_ready = [_FEW] * len(self.rules)
        self._windows: dict[str, deque[tuple[str, str]]] = {}

    @property
    def content_group(self) -> str | None:
        """The group of the prefregex in which the failregexes are searched."""
        return "content" if self._content else None

    def is_parted(self, text: str, cut: int) -> bool:
        """Whether the id in a line that is `text` without its date stands on both sides of that."""
        outer = None if self.prefix is None else self.prefix.search(text)
        if outer is None or not self._key:
            return False
        first, last = outer.span(self._key)
        return first < cut < last

    @property
    def has_key(self) -> bool:
        """Whether the prefix tells whose conversation a line belongs to."""
        return self._key > 0

    @property
    def talks(self) -> Iterable[str]:
        """The ids of the conversations that are open."""
        return iter(self._talks)

    def is_mute(self, rule: int) -> bool:
        """Whether a line that `rule` matches tells nothing unless somebody fails in its conversation.

        Else it is a failure, or names a user who is tried: two of them are one, too.
        """
        regex = self.rules[rule].regex
        is_gain, is_helper, is_end = (
            name in regex.groupindex and _takes_part(regex, regex.groupindex[name])
            for name in ("mlfgained", "nofail", "mlfforget")
        )
        names = self.rules[rule].names | (self.prefix.names if self.prefix else frozenset())
        return is_gain or (is_helper and (is_end or "user" not in names))

    # -- one line ----------------------------------------------------------------------------------

    def begin(self, text: str) -> Begun | None:
        """What the prefregex makes of a line; None where it does not match."""
        if self.prefix is None:
            return _new(Begun, (None, text, None))
        outer = self.prefix.search(text)
        if outer is None:
            return None
        seen = outer[self._content] or "" if self._content else text
        return _new(Begun, (outer, seen, outer[self._key] if self._key else None))

    def failures(self, lines: Iterable[tuple[Any, ...]], into: Failures) -> None:
        """Add the failures that `lines`, each a `Line` or a tuple like it, make known, in their order.

        `_judged` says of a line what it is.  Most are simple, though, and of those all is done here: a
        call for each step would take longer than the regexes do.
        """
        attempts, ways, longest = self._attempts, self._ways, self._longest
        is_open, begin, say = self._talks.is_open, self._talks.begin, self._said_once_more
        add_host, add_moment = into.hosts.append, into.moments.append
        add_packed, presses_of = into.packed.append, into.packer.presses
        at_path, presses = None, _NO_PRESSES
        for whole in lines:
            path, offset, line, text, _, when, some, tried = whole
            found: Any
            if tried is not None:
                rule, found, _ = tried
            else:
                if len(line) > longest:
                    some = _NOT_AT_ONCE
                for rule in some:
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
                if (failure := self._judged(Line(*whole))) is not None:
                    into.add(failure)
                longest = self._longest
                continue
            if key and not key.isspace() and not (end and found[end] is not None):
                begin(key, (say, (rule, line, text), when))
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
        self._talks.trim()

    def tried(self, line: str, text: str, rules: Sequence[int]) -> Tried | None:
        """Whether one of `rules` matches `line`, without its date `text`, or may do so; None if not."""
        for rule in rules if len(line) <= self._longest else _NOT_AT_ONCE:
            found: Any = self._attempts[rule](text)
            if found is None:
                continue
            if found is not _HARD:
                keyed = self._ways[rule][0]
                return _new(Tried, (rule, found, found[keyed] if keyed else None))
            begun = self.begin(text)
            return None if begun is None else Tried(rule, found, begun.key)
        return None

    def _count_down(self, rule: int, text: str) -> re.Match[str] | _Hard | None:
        """Have lines read in full until it pays to make `rule` ready for many more."""
        self._until_ready[rule] -= 1
        if self._until_ready[rule]:
            return _HARD
        self._attempts[rule] = _give_up
        pattern, prefix = self.rules[rule], self.prefix
        watched, regex = [pattern.watched], pattern.regex
        attempt: _Attempt = regex.match if pattern.is_tied else regex.search
        if prefix is not None:
            watched.append(prefix.watched)
            whole = joined(prefix.regex, "content", regex) if self._content else None
            if whole is not None:
                regex, attempt = whole, whole.match
            elif not self._key:
                attempt = partial(self._match_in_turn, pattern)
            else:
                return _HARD
        self._longest = min(self._longest, *(each.reach for each in watched))
        self._ways[rule] = _ways_of(regex, rule, pattern, self._plans[rule])
        self._attempts[rule] = attempt
        return _HARD

    def _match_in_turn(self, pattern: Pattern, text: str) -> re.Match[str] | None:
        begun = self.begin(text)
        return None if begun is None else pattern.search(begun.content)

    def failure(
        self, path: str, offset: int, line: str, text: str, when: float, rules: Sequence[int]
    ) -> Failure | None:
        """The failure that `line` makes known; `text` is what it is without its date.

        Only `rules` may match it.
        """
        if self._max_lines > 1:
            return self._of_window(path, offset, line, text, when)
        return self._judged(Line(path, offset, line, text, 0, when, rules))

    def _judged(self, line: Line) -> Failure | None:
        begun = self.begin(line.text)
        match = None if begun is None else self.match(begun, line.rules)
        if match is None or (self.ignore_rules and self.ignoring(line.text, match) >= 0):
            return None
        return self.told(match, (line.line,), line.when, line.path, line.offset)

    def _of_window(
        self, path: str, offset: int, line: str, text: str, when: float
    ) -> Failure | None:
        joined = self.windowed(path, text, line)
        begun = self.begin(joined)
        match = None if begun is None else self.match(begun, self.every)
        if match is None:
            return None
        lines = self.taken(path, match)
        if self.ignoring(joined, match) >= 0:
            return None
        return self.told(match, lines, when, path, offset)

    def match(self, begun: Begun, rules: Iterable[int]) -> Match | None:
        """The first of `rules` that matches and has somebody to blame."""
        for rule in rules:
            found = self.rules[rule].search(begun.content)
            if found is None:
                continue
            match = Match(rule, found, begun)
            if begun.key is None and not self._plans[rule].is_quick:
                self._read(match)
                match.key = match.fields.get("mlfid")
                if match.id is None and match.key is None:
                    continue
            elif begun.key is None:
                match.id = self._quick_id(self._plans[rule], found)
                if match.id is None:
                    continue
            return match
        return None

    def ignoring(self, text: str, match: Match) -> int:
        """Which ignoreregex takes `match` back, -1 for none."""
        for index, pattern in enumerate(self.ignore_rules):
            if pattern.search(match.begun.content) is not None:
                return index
            if self._ignores_lines and pattern.search(text) is not None:
                return index
        return -1

    def told(
        self, match: Match, lines: tuple[str, ...], when: float, path: str, offset: int
    ) -> Failure | None:
        """The failure that `match` is, or makes known of its conversation."""
        plan = self._plans[match.rule]
        if plan.has_key:
            self._read(match)
            match.key = match.fields.get("mlfid")
        key = match.key
        if key and not key.isspace():
            if self.is_prefix_plain and not self._talks.is_open(key) and not plan.has_key:
                is_short = len(lines) == 1 and len(lines[0]) <= LONGEST_TEXT
                found = match.found
                is_end = plan.end > 0 and found[plan.end] is not None
                is_helper = any(found[mark] is not None for mark in plan.helper)
                id = None
                if plan.is_quick and not plan.helper:
                    id = self._quick_id(plan, found)
                if is_short and (is_helper or id is not None):
                    if not is_end:
                        self._talks.begin(key, (self._said_of, (match, lines), when))
                        self._talks.trim()
                    return None if id is None else self._made(match, id, lines, when, path, offset)
            said = self.said(match, lines)
            told = self._talks.hear(key, said, when)
            if told is None:
                return None
            id, lines, shown = told
        elif plan.is_quick and not plan.helper:
            id = match.id or self._quick_id(plan, match.found)
            if id is None:
                return None
            return self._made(match, id, lines, when, path, offset)
        else:  # what nothing tells apart is no conversation
            said = self.said(match, lines)
            if said.is_helper or said.id is None:
                return None
            id, shown = said.id, cast("Mapping[str, Any]", said.fields)
        return Failure(id.text, when, lines, id.is_name, 1, shown, path, offset, match.rule)

    def _made(
        self, match: Match, id: Id, lines: tuple[str, ...], when: float, path: str, offset: int
    ) -> Failure:
        found = match.found
        shown = {
            name: value
            for name, group in self._plans[match.rule].shown
            if (value := found[group]) is not None
        }
        host, is_name = id
        return _new(Failure, (host, when, lines, is_name, 1, shown, path, offset, match.rule))

    def _said_of(self, line: tuple[Match, tuple[str, ...]]) -> Said:
        return self.said(*line)

    def _said_once_more(self, it: tuple[int, str, str]) -> Said:
        """What a line says that was judged before: to keep of each what was found costs more."""
        rule, line, text = it
        begun = self.begin(text)
        found = None if begun is None else self.rules[rule].search(begun.content)
        if begun is None or found is None:  # the regex has been set aside since
            return Said((line,))
        return self.said(Match(rule, found, begun), (line,))

    def _quick_id(self, plan: _Plan, found: re.Match[str]) -> Id | None:
        for group in plan.addresses:
            text = found[group]
            if text:
                plain = shortest(text)
                return id_of({"dns": text}) if plain is None else Id(plain)
        return id_of({"dns": found[plan.name]}) if plan.name else None

    def _read(self, match: Match) -> None:
        """See what `match` has named."""
        if match.fields:
            return
        fields = self.rules[match.rule].fields(match.found)
        outer = match.begun.outer
        if self.prefix is not None and outer is not None:
            own, fields = fields, self.prefix.fields(outer)
            for name, value in own.items():
                if value is not None:
                    fields[name] = value
        match.fields = fields
        match.id = id_of(fields)

    def said(self, match: Match, lines: tuple[str, ...]) -> Said:
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

    # -- lines that are joined -----------------------------------------------------------------------

    def windowed(self, path: str, text: str, line: str) -> str:
        """The last lines of `path` that no failure has taken, `text` being the newest, joined."""
        if self._max_lines == 1:
            return text
        window = self._windows.setdefault(path, deque(maxlen=self._max_lines))
        window.append((text, line))
        return "\n".join(text for text, _ in window)

    def taken(self, path: str, match: Match) -> tuple[str, ...]:
        """The lines of the window that `match` is made of; they are taken out of it."""
        window = self._windows[path]
        taken, left = [], []
        first, last = match.found.span()
        skipped = skipped_spans(match.found)
        begin = 0
        if match.begun.outer is not None and self._content:
            begin = -max(match.begun.outer.start("content"), 0)
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


def _is_hidden(name: str) -> bool:
    """Whether nobody is told what the group `name` holds."""
    return name in _INTERNAL or name.startswith(("_", "skiplines"))


def _plan_of(rule: Pattern, is_prefix_mute: bool, is_alone: bool) -> _Plan:
    groups = rule.regex.groupindex
    has_own_key = "mlfid" in groups
    helper = tuple(groups[name] for name in ("mlfgained", "nofail") if name in groups)
    is_quick = is_prefix_mute and not has_own_key and rule.is_plain and _IDS.isdisjoint(groups)
    return _Plan(
        helper=helper,
        end=groups.get("mlfforget", 0),
        has_key=has_own_key,
        is_quick=is_quick,
        is_simple=is_quick and is_alone and not helper,
        addresses=tuple(groups[name] for name in ("ip4", "ip6") if name in groups),
        name=groups.get("dns", 0),
        shown=tuple((name, number) for name, number in groups.items() if not _is_hidden(name)),
    )


def _ways_of(whole: re.Pattern[str], rule: int, pattern: Pattern, plan: _Plan) -> _Ways:
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
        read = itemgetter(*others) if others else _nothing
        ways.append((groups[own], Shape(rule, tuple(shown), own, read), shown))
    return groups.get("mlfid", 0), groups.get("mlfforget", 0), tuple(ways)


def _nothing(found: re.Match[str]) -> str:
    return ""


def _give_up(text: str) -> _Hard:
    return _HARD


@lru_cache(4096)  # many jails use one filter
def _takes_part(regex: re.Pattern[str], group: int) -> bool:
    """Whether each match of `regex` has that group."""
    try:
        return _has(tree_of(regex), group)
    except RecursionError:
        return False


def _has(items: Iterable[tuple[Any, Any]], group: int) -> bool:
    for op, value in items:
        match str(op):
            case "SUBPATTERN" if value[0] == group or _has(value[3], group):
                return True
            case "ATOMIC_GROUP" if _has(value, group):
                return True
            case "BRANCH" if all(_has(branch, group) for branch in value[1]):
                return True
    return False
