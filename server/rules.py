# SPDX-License-Identifier: GPL-2.0-or-later
"""The exact verdict on a line: prefregex, failregexes, ignoreregexes, and whose conversation it is.

A line comes without its date, and its moment beside it.  Knows no block, no screen, no decoding.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, cast

from common.address import shortest
from common.options import JailConf
from server.conversation import LONGEST_TEXT, Conversations, Said
from server.pattern import Id, Pattern, id_of, skipped_spans
from server.records import Failure
from server.trees import tree_of

# Groups that steer the rules and tell nobody anything.
_INTERNAL = frozenset({"mlfid", "nofail", "mlfgained", "mlfforget", "content"})
# Groups that tell of more than a name for a thing; where there are none, a match is read quickly.
_IDS = frozenset({"fid", "host", "cidr"})

_new = tuple.__new__  # of a named tuple; its own way takes three times as long


class Begun(NamedTuple):
    """What the prefregex made of a line: its match, what the failregexes see, whose line it is."""

    outer: re.Match[str] | None
    content: str
    key: str | None


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
class Plan:
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
        self.plans = tuple(_plan_of(rule, is_prefix_mute, is_alone) for rule in self.rules)
        # With few ignoreregexes they are searched in the whole line as well (that is how
        # fail2ban 1.1 does it, to save itself the failregexes; filters may rely on either).
        self._ignores_lines = 0 < len(self.ignore_rules) < len(self.rules) - 2
        self.talks = Conversations()
        self.has_parted_ids = False  # dates were cut out of ids
        self._windows: dict[str, deque[tuple[str, str]]] = {}

    @property
    def content_group(self) -> str | None:
        """The group of the prefregex in which the failregexes are searched."""
        return "content" if self._content else None

    def mind_cut(self, text: str, cut: int) -> None:
        """Note whether the id in a line that is `text` without its date stood on both sides of that."""
        outer = None if self.prefix is None else self.prefix.search(text)
        if outer is not None and self._key:
            first, last = outer.span(self._key)
            self.has_parted_ids |= first < cut < last

    @property
    def has_key(self) -> bool:
        """Whether the prefix tells whose conversation a line belongs to."""
        return self._key > 0

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

    def failure(
        self, path: str, offset: int, line: str, text: str, when: float, rules: Sequence[int]
    ) -> Failure | None:
        """The failure that `line` makes known; `text` is what it is without its date.

        Only `rules` may match it.
        """
        if self._max_lines > 1:
            return self._of_window(path, offset, line, text, when)
        begun = self.begin(text)
        match = None if begun is None else self.match(begun, rules)
        if match is None or (self.ignore_rules and self.ignoring(text, match) >= 0):
            return None
        return self.told(match, (line,), when, path, offset)

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
            if begun.key is None and not self.plans[rule].is_quick:
                self._read(match)
                match.key = match.fields.get("mlfid")
                if match.id is None and match.key is None:
                    continue
            elif begun.key is None:
                match.id = self._quick_id(self.plans[rule], found)
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
        plan = self.plans[match.rule]
        if plan.has_key:
            self._read(match)
            match.key = match.fields.get("mlfid")
        key = match.key
        if key and not key.isspace():
            if self.is_prefix_plain and not self.talks.is_open(key) and not plan.has_key:
                is_short = len(lines) == 1 and len(lines[0]) <= LONGEST_TEXT
                found = match.found
                is_end = plan.end > 0 and found[plan.end] is not None
                is_helper = False
                for mark in plan.helper:
                    is_helper = is_helper or found[mark] is not None
                id = None
                if plan.is_quick and not plan.helper:
                    id = self._quick_id(plan, found)
                if is_short and (is_helper or id is not None):
                    if not is_end:
                        self.talks.begin(key, (when, self.said, match, lines))
                        self.talks.trim()
                    return None if id is None else self._made(match, id, lines, when, path, offset)
            said = self.said(match, lines)
            told = self.talks.hear(key, said, when)
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
            for name, group in self.plans[match.rule].shown
            if (value := found[group]) is not None
        }
        host, is_name = id
        return _new(Failure, (host, when, lines, is_name, 1, shown, path, offset, match.rule))

    def _quick_id(self, plan: Plan, found: re.Match[str]) -> Id | None:
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


def _plan_of(rule: Pattern, is_prefix_mute: bool, is_alone: bool) -> Plan:
    groups = rule.regex.groupindex
    has_own_key = "mlfid" in groups
    helper = tuple(groups[name] for name in ("mlfgained", "nofail") if name in groups)
    is_quick = is_prefix_mute and not has_own_key and rule.is_plain and _IDS.isdisjoint(groups)
    return Plan(
        helper=helper,
        end=groups.get("mlfforget", 0),
        has_key=has_own_key,
        is_quick=is_quick,
        is_simple=is_quick and is_alone and not helper,
        addresses=tuple(groups[name] for name in ("ip4", "ip6") if name in groups),
        name=groups.get("dns", 0),
        shown=tuple((name, number) for name, number in groups.items() if not _is_hidden(name)),
    )


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
