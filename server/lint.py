# SPDX-License-Identifier: GPL-2.0-or-later
"""What is dangerous, slow or careless in the regexes of a filter, and what to do about it.

Two ways to find out: reading a regex's parse tree, and playing the attacker: lines are made that the
regex matches, with another line where the regex lets others write what they like; whom does it blame?
Reads no files and knows no logs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from re import Match
from typing import Any, cast

from common.options import JailConf
from server.pattern import Pattern, id_of
from server.slow import slow_rules
from server.trees import PARSER, tree_of

ERROR, WARNING, NOTE = "error", "warning", "note"
PREFIX = -1  # the rule of a finding in the prefregex

_COMPILER = import_module("re._compiler")
_MANY = 10  # a repeat that may be longer is as good as endless
_REAL, _VICTIM = "192.0.2.1", "203.0.113.66"
_IDS = frozenset({"ip4", "ip6", "dns", "fid", "host"})
_FILLS = "xa0 -_./:=,;'\"<>()[]{}|@#+*!?%&$~^`\\\t"  # what a sample prefers, in that order
_TRIES = tuple((branch, is_short) for branch in range(4) for is_short in (False, True))
_ALL = frozenset(range(257))  # characters; 256 stands for all beyond Latin-1
_LINE_FEED = 10
_REPEATS = ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT")

Items = list[tuple[Any, Any]]
Chars = frozenset[int]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in one regex of a filter.

    `rule` is its index among the failregexes, -1 for the prefregex, -2 for all of them.  `kind` is a
    short name of what was found; `example` a line that shows it, where there is one.
    """

    rule: int
    kind: str
    severity: str
    what: str
    advice: str
    example: str = ""


def findings(conf: JailConf) -> list[Finding]:
    """All there is to say of the filter that `conf` describes.  Raises RegexError, LookupError."""
    found: list[Finding] = []
    is_multiline = conf.max_lines > 1
    if conf.prefregex:
        found += _of_pattern(-1, Pattern(conf.prefregex, is_multiline=is_multiline))
    for rule, text in enumerate(conf.failregex):
        found += _of_pattern(rule, Pattern(text, is_multiline=is_multiline))
    found += (Finding(one.rule, one.kind, NOTE, one.what, one.advice) for one in slow_rules(conf))
    return sorted(found, key=lambda one: one.rule)


def _of_pattern(rule: int, pattern: Pattern) -> list[Finding]:
    parsed = tree_of(pattern.regex)
    tree = list(parsed)
    found = [Finding(rule, *each) for each in dict.fromkeys(_of_repeats(tree))]
    is_open = not _ends(tree, "AT_BEGINNING", "AT_BEGINNING_STRING", last=False)
    if is_open:
        found.append(
            Finding(
                rule,
                "open start",
                WARNING,
                "it is not tied to the start of the line",
                "Begin it with ^, and with what each such line begins with (%(__prefix_line)s).",
            )
        )
    elif _begins_with_anything(tree):
        found.append(
            Finding(
                rule,
                "open start",
                WARNING,
                "it begins with anything at all, so ^ ties it to nothing",
                "Write what such a line begins with (%(__prefix_line)s) instead of .*",
            )
        )
    has_end = _ends(tree, "AT_END", "AT_END_STRING", last=True)
    hostile = _forged(rule, pattern, parsed, is_open, not has_end)
    found += hostile
    is_whole = pattern.groups.isdisjoint(_IDS)  # without a host nobody can be blamed instead
    if not has_end and not is_whole and not any(each.kind == "host" for each in hostile):
        found.append(
            Finding(
                rule,
                "open end",
                NOTE,
                "it is not tied to the end of the line",
                "End it with $, or say what follows up to there, unless the host comes first.",
            )
        )
    return found


# -- both ends ---------------------------------------------------------------------------------------


def _ends(items: Items, *names: str, last: bool) -> bool:
    """Whether each match begins (or, where `last`, ends) at one of the places `names`."""
    for op, value in reversed(items) if last else items:
        kind = str(op)
        if kind == "AT":
            if str(value) in names:
                return True
        elif kind in ("ASSERT", "ASSERT_NOT"):
            if kind == "ASSERT" and last and _ends(list(value[1]), *names, last=False):
                return True  # (?=\s*$) and the like
        elif kind == "SUBPATTERN":
            if _ends(list(value[3]), *names, last=last):
                return True
            if not _may_be_empty(list(value[3])):
                return False
        elif kind == "ATOMIC_GROUP":
            return _ends(list(value), *names, last=last)
        elif kind == "BRANCH":
            return all(_ends(list(branch), *names, last=last) for branch in value[1])
        elif not _is_space(kind, value):
            return False
    return False


def _is_space(kind: str, value: Any) -> bool:
    """Whether it is white space that may be missing, such as before the end."""
    if kind not in _REPEATS or value[0] > 0:
        return False
    inner = list(value[2])
    return len(inner) == 1 and _chars(*inner[0]) == _SPACE


def _begins_with_anything(items: Items) -> bool:
    for op, value in items:
        kind = str(op)
        if kind in ("AT", "ASSERT", "ASSERT_NOT"):
            continue
        if kind == "SUBPATTERN":
            return _begins_with_anything(list(value[3]))
        if kind not in _REPEATS or value[1] < _MANY:
            return False
        inner = list(value[2])
        return len(inner) == 1 and len(_chars(*inner[0])) >= len(_ALL) - 1
    return False


# -- repeats that can share a text in many ways --------------------------------------------------------

_Said = tuple[str, str, str, str]


def _of_repeats(items: Items, is_last: bool = True) -> Iterator[_Said]:
    """What is wrong with the repeats in a sequence and all below it; `is_last`: nothing follows."""
    before: list[Chars] = []  # of the repeats that can border on what comes next
    for at, (op, value) in enumerate(items):
        kind = str(op)
        ends = is_last and all(str(other) == "AT" for other, _ in items[at + 1 :])
        for first in _borders(op, value, last=False):
            # What takes all the rest cannot fail, and then nothing is tried anew.
            shared = [one & first for one in before if not (ends and len(first) >= len(_ALL) - 1)]
            yield from (_adjacent(one) for one in shared if one)
        if kind in _REPEATS and value[1] >= _MANY and kind != "POSSESSIVE_REPEAT":
            yield from _of_nested(list(value[2]))
        for inner in _below(kind, value):
            yield from _of_repeats(inner, ends and kind not in _REPEATS)
        behind = _borders(op, value, last=True)
        before = [*behind, *(before if _may_be_empty([(op, value)]) else ())]


def _adjacent(shared: Chars) -> _Said:
    return (
        "adjacent repeats",
        NOTE if shared <= _SPACE else WARNING,  # long runs of white space are rare
        f"two endless repeats side by side can both take {_shown(shared)}, in as many ways as "
        "there are characters",
        "Put something between them that neither can match, or make them one.",
    )


def _of_nested(body: Items) -> Iterator[_Said]:
    """What is wrong with repeating `body` without end."""
    shared = frozenset().union(*_edges(body, last=True, least=2)) & _firsts(body)
    if shared:
        yield (
            "nested repeats",
            ERROR,
            f"a repeat inside of a repeat: {_shown(shared)} can be shared out among them in so many "
            "ways that one long line that does not match stops the jail",
            "Let the inner one end with a character that it cannot match itself, or take one repeat.",
        )
    for op, value in body:
        if str(op) == "BRANCH":
            chars = [_chars(*branch[0]) for branch in map(list, value[1]) if len(branch) == 1]
            taken: Chars = frozenset()
            for one in chars:
                if one & taken:
                    yield (
                        "nested repeats",
                        ERROR,
                        f"alternatives that are repeated both match {_shown(one & taken)}: one long "
                        "line that does not match stops the jail",
                        "Let no two of the alternatives match the same character.",
                    )
                taken |= one


def _below(kind: str, value: Any) -> list[Items]:
    """The sequences inside of an item."""
    match kind:
        case "SUBPATTERN":
            return [list(value[3])]
        case "ATOMIC_GROUP":
            return [list(value)]
        case "BRANCH":
            return [list(branch) for branch in value[1]]
        case "ASSERT" | "ASSERT_NOT":
            return [list(value[1])]
        case "GROUPREF_EXISTS":
            return [list(branch) for branch in value[1:] if branch is not None]
    return [list(value[2])] if kind in _REPEATS else []


def _borders(op: Any, value: Any, *, last: bool) -> list[Chars]:
    """The characters of endless repeats with which an item may begin (or end, where `last`)."""
    return _edges([(op, value)], last=last, least=_MANY)


def _edges(items: Items, *, last: bool, least: int) -> list[Chars]:
    """The characters of each repeat of `least` times or more at one edge of a sequence."""
    found: list[Chars] = []
    for op, value in reversed(items) if last else items:
        kind = str(op)
        if kind in ("ASSERT", "ASSERT_NOT", "AT"):
            continue
        if kind in _REPEATS:
            body = list(value[2])
            if kind != "POSSESSIVE_REPEAT":
                if value[1] >= least and value[0] < value[1] and _is_single(body):
                    found.append(_set_of(body))
                else:
                    found += _edges(body, last=last, least=least)
        elif kind != "ATOMIC_GROUP":
            for inner in _below(kind, value):
                found += _edges(inner, last=last, least=least)
        if not _may_be_empty([(op, value)]):
            break
    return found


def _is_single(body: Items) -> bool:
    """Whether `body` is one character, with look-arounds perhaps."""
    solid = [str(op) for op, _ in body if str(op) not in ("ASSERT", "ASSERT_NOT")]
    if solid == ["SUBPATTERN"]:
        return _is_single(next(list(value[3]) for op, value in body if str(op) == "SUBPATTERN"))
    return len(solid) == 1 and solid[0] in ("LITERAL", "NOT_LITERAL", "IN", "ANY")


def _set_of(body: Items) -> Chars:
    for op, value in body:
        kind = str(op)
        if kind == "SUBPATTERN":
            return _set_of(list(value[3]))
        if kind not in ("ASSERT", "ASSERT_NOT"):
            return _chars(op, value)
    return frozenset()


def _firsts(items: Items) -> Chars:
    """The characters with which a sequence may begin."""
    found: set[int] = set()
    for op, value in items:
        kind = str(op)
        if kind in ("AT", "ASSERT", "ASSERT_NOT"):
            continue
        inner = _below(kind, value)
        found |= frozenset().union(*map(_firsts, inner)) if inner else _chars(op, value)
        if not _may_be_empty([(op, value)]):
            break
    return frozenset(found)


def _may_be_empty(items: Items) -> bool:
    for op, value in items:
        kind = str(op)
        if kind in ("AT", "ASSERT", "ASSERT_NOT", "GROUPREF"):
            continue
        if kind in _REPEATS:
            if value[0] > 0 and not _may_be_empty(list(value[2])):
                return False
        elif kind == "BRANCH" or kind == "GROUPREF_EXISTS":
            if not any(map(_may_be_empty, _below(kind, value))):
                return False
        elif kind in ("SUBPATTERN", "ATOMIC_GROUP"):
            if not all(map(_may_be_empty, _below(kind, value))):
                return False
        else:
            return False
    return True


# -- characters ----------------------------------------------------------------------------------------

_DIGIT = frozenset(map(ord, "0123456789"))
_WORD = frozenset(code for code in range(256) if chr(code).isalnum()) | {ord("_"), 256}
_SPACE = frozenset(code for code in range(256) if chr(code).isspace())
_CATEGORIES = {
    "CATEGORY_DIGIT": _DIGIT,
    "CATEGORY_NOT_DIGIT": _ALL - _DIGIT,
    "CATEGORY_WORD": _WORD,
    "CATEGORY_NOT_WORD": _ALL - _WORD,
    "CATEGORY_SPACE": _SPACE,
    "CATEGORY_NOT_SPACE": _ALL - _SPACE,
}


def _chars(op: Any, value: Any) -> Chars:
    """The characters that an item of one character matches; in their own case alone."""
    match str(op):
        case "LITERAL":
            return frozenset({min(value, 256)})
        case "NOT_LITERAL":
            return _ALL - {value}
        case "ANY":
            return _ALL - {_LINE_FEED}
        case "IN":
            return _class(list(value))
        case "CATEGORY":
            return _CATEGORIES.get(str(value), _ALL)
        case "RANGE":
            return frozenset(range(min(value[0], 256), min(value[1], 256) + 1))
    return frozenset()


def _class(items: Items) -> Chars:
    is_negated = bool(items) and str(items[0][0]) == "NEGATE"
    found: Chars = frozenset().union(*(_chars(op, value) for op, value in items))
    return _ALL - found if is_negated else found


def _shown(chars: Chars) -> str:
    """Some characters, for a person."""
    if len(chars) > 200:
        return "anything"
    names = [f"{chr(code)!r}" for code in sorted(chars) if 32 <= code < 127][:3]
    return ", ".join(names) or "white space"


# -- playing the attacker --------------------------------------------------------------------------------


def _forged(
    rule: int, pattern: Pattern, parsed: Any, is_open: bool, has_no_end: bool
) -> list[Finding]:
    """Ways to have somebody else blamed by what stands in the free parts of a line."""
    real, victim = _lines_of(pattern, parsed)
    if real is None or victim is None:
        return []
    forged = [victim.text, *(victim.text[one.end :] for one in victim.places)]
    for place in real.places:
        head, tail = real.text[: place.start], real.text[place.end :]
        for text in forged:
            for written in (f"x{text}", f"x{text} x", f"{text}x"):
                line = head + written + tail
                if place.may_hold(written) and _blamed(pattern, line) == _VICTIM:
                    return [_host_finding(rule, line, place.field)]
    lines = [f"x {victim.text} {real.text}"] if is_open else []
    if has_no_end:
        lines += [f"{real.text} x{text}" for text in forged]
    for line in lines:
        if _blamed(pattern, line) == _VICTIM:
            return [_host_finding(rule, line, "")]
    return []


def _host_finding(rule: int, line: str, field: str) -> Finding:
    where = f"<F-{field.upper()}>" if field else "a free part of the line"
    return Finding(
        rule,
        "host",
        ERROR if field else WARNING,
        f"whoever writes {where} can have another host blamed: of this line, {_VICTIM}",
        "Tie both ends; let only one part be free, and what stands between it and the host be "
        "something that it cannot contain.",
        line,
    )


def _blamed(pattern: Pattern, line: str) -> str:
    match: Match[str] | None = pattern.search(line)
    blamed = id_of(pattern.fields(match)) if match is not None else None
    return blamed.text if blamed is not None else ""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in a sample an endless repeat stands, in which named field, and what it may hold."""

    start: int
    end: int
    field: str
    may_hold: Callable[[str], object]


@dataclass(frozen=True, slots=True)
class _Sample:
    text: str
    places: tuple[_Place, ...]


def _lines_of(pattern: Pattern, parsed: Any) -> tuple[_Sample | None, _Sample | None]:
    """A line of the real host and one of the victim; None where none could be made."""
    names = {number: name for name, number in pattern.regex.groupindex.items()}
    for branch, is_short in _TRIES:
        made = []
        for host in (_REAL, _VICTIM):
            sampler = _Sampler(names, parsed.state, host, branch, is_short)
            sampler.write(list(parsed))
            sample = _Sample("".join(sampler.out), tuple(sampler.places))
            if _blamed(pattern, sample.text) == host:
                made.append(sample)
        if len(made) == 2:
            return made[0], made[1]
    return None, None


class _Sampler:
    """Writes a text that a regex may match; whether it does, others try."""

    def __init__(
        self, names: dict[int, str], state: Any, host: str, branch: int, is_short: bool
    ) -> None:
        self.out: list[str] = []
        self.places: list[_Place] = []
        self._names = names
        self._state = state
        self._host = host
        self._branch = branch
        self._is_short = is_short  # repeats that may be empty are
        self._length = 0
        self._groups: dict[int, str] = {}

    def write(self, items: Items, field: str = "") -> None:
        for op, value in items:
            self._write_one(str(op), op, value, field)

    def _put(self, text: str) -> None:
        self.out.append(text)
        self._length += len(text)

    def _write_one(self, kind: str, op: Any, value: Any, field: str) -> None:
        if kind in ("LITERAL", "NOT_LITERAL", "IN", "ANY"):
            self._put(chr(value) if kind == "LITERAL" else _fill(_chars(op, value)))
        elif kind == "SUBPATTERN":
            self._write_group(value, field)
        elif kind == "ATOMIC_GROUP":
            self.write(list(value), field)
        elif kind == "BRANCH":
            branches = [list(branch) for branch in value[1]]
            hosts = [one for one in branches if self._has_host(one)]
            chosen = hosts or branches
            self.write(chosen[0 if hosts else self._branch % len(chosen)], field)
        elif kind in _REPEATS:
            self._write_repeat(value, field)
        elif kind == "GROUPREF":
            self._put(self._groups.get(value, ""))
        elif kind == "GROUPREF_EXISTS":
            chosen_branch = value[1] if value[0] in self._groups else value[2]
            self.write(list(chosen_branch or []), field)

    def _write_group(self, value: Any, field: str) -> None:
        number, start = value[0], len(self.out)
        name = self._names.get(number, "")
        if name in _IDS:
            self._put(self._host)
        else:
            self.write(list(value[3]), name if name not in ("", "content") else field)
        if number is not None:
            self._groups[number] = "".join(self.out[start:])

    def _write_repeat(self, value: Any, field: str) -> None:
        least, most, body = value[0], value[1], list(value[2])
        is_endless = most >= _MANY
        times = least
        if least == 0 and (self._has_host(body) or (is_endless and not self._is_short)):
            times = 1
        start = self._length
        for _ in range(times):
            self.write(body, field)
        if is_endless:
            may_hold = _whole(self._state, [(PARSER.MAX_REPEAT, value)])
            self.places.append(_Place(start, self._length, field, may_hold))

    def _has_host(self, items: Items) -> bool:
        return any(
            (str(op) == "SUBPATTERN" and self._names.get(value[0], "") in _IDS)
            or any(map(self._has_host, _below(str(op), value)))
            for op, value in items
            if str(op) not in ("ASSERT", "ASSERT_NOT")
        )


def _whole(state: Any, items: Items) -> Callable[[str], object]:
    """What tells whether a text is all that these items of a regex match."""
    return cast(
        Callable[[str], object], _COMPILER.compile(PARSER.SubPattern(state, items)).fullmatch
    )


def _fill(chars: Chars) -> str:
    for character in _FILLS:
        if ord(character) in chars:
            return character
    return chr(min(chars, default=ord("x")))
