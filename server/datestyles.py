# SPDX-License-Identifier: GPL-2.0-or-later
"""How dates are written: the language of `datepattern`, and in that language the default styles.

A `Style` is a pattern that `compiled` makes a regular expression of, on first use; which fields of a
date its groups hold is told beside it.  Knows nothing of moments and time zones' offsets, only what
they look like.
"""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import takewhile
from types import MappingProxyType
from typing import Any, NamedTuple

from server import zones
from server.trees import PARSER, parsed, tree_of

# What is built of default styles is looked for in so many characters only, from the first place that
# may be a date (`dated`): a hostile line must not cost more.
REACH = 2048
# No default style is longer up to the end of what `dated` finds in it.
LONGEST_DATE = 64

# Patterns are compiled for it when they are checked; the real one is known when a line is read.
PRESENT_DECADE = 2

_NOT_INSIDE_A_WORD = r"(?:\b|(?!\w))"
_LINE_BEGIN = "{^LN-BEG}"
_UNBOUND = "{UNB}"
_DATE = "{DATE}"

_MONTHS = "january february march april may june july august september october november december"
MONTHS = {name: number for number, name in enumerate(_MONTHS.split(), 1)}
_WEEKDAYS = "monday tuesday wednesday thursday friday saturday sunday"
WEEKDAYS = {name: number for number, name in enumerate(_WEEKDAYS.split())}


def _any_case(words: list[str]) -> str:
    return f"(?ai:{'|'.join(words)})"


def _longest_first(words: frozenset[str]) -> str:
    return "|".join(sorted(words, key=lambda word: (-len(word), word)))


_SHORT_MONTHS = _any_case([name[:3] for name in MONTHS])
_SHORT_WEEKDAYS = _any_case([name[:3] for name in WEEKDAYS])
_OFFSET = f"Z|UTC|GMT|{zones.OFFSET_REGEX}"
_ANY_ZONE = (
    f"(?:UTC|GMT)?{zones.OFFSET_REGEX}|"
    f"(?:{_longest_first(zones.ABBREVIATIONS)}|{_longest_first(zones.LETTERS)})(?![A-Za-z])"
)
_EPOCH = r"[0-9]{10,11}(?![0-9])(?:\.[0-9]{3,6}(?!\w))?"
_LONG_EPOCH = r"[0-9]{10,11}(?:[0-9]{3}){0,2}(?![0-9])(?:\.[0-9]{3,6}(?!\w))?"
_DAY_2, _DAY_1 = "3[01]|[12][0-9]|0[1-9]", "| ?[1-9]"
_MONTH_2, _MONTH_1 = "1[0-2]|0[1-9]", "|[1-9]"
_HOUR_2, _HOUR_1 = "2[0-3]|[01][0-9]", "|[0-9]"
_HOUR12_2, _HOUR12_1 = "1[0-2]|0[1-9]", "|[1-9]"
_MINUTE_2, _MINUTE_1 = "[0-5][0-9]", "|[0-9]"
_SECOND_2, _SECOND_1 = "6[01]|[0-5][0-9]", "|[0-9]"


class Directive(NamedTuple):
    """One `%…`: the field of a date that it stands for, what that looks like, its readable name."""

    field: str
    regex: str
    word: str


# `%Ex…` is the strict form: two digits, and a year near our own time ("" until that is known).
DIRECTIVES: Mapping[str, Directive] = MappingProxyType(
    {
        "Y": Directive("year", "[0-9]{4}", "Year"),
        "ExY": Directive("year", "", "ExYear"),
        "y": Directive("short_year", "[0-9]{2}", "Year2"),
        "Exy": Directive("short_year", "[0-9]{2}", "ExYear2"),
        "m": Directive("month", _MONTH_2 + _MONTH_1, "Month"),
        "Exm": Directive("month", _MONTH_2, "ExMonth"),
        "b": Directive("month_name", _SHORT_MONTHS, "MON"),
        "B": Directive("month_name", _any_case(list(MONTHS)), "Month"),
        "d": Directive("day", _DAY_2 + _DAY_1, "Day"),
        "Exd": Directive("day", _DAY_2, "ExDay"),
        "j": Directive(
            "yearday", "36[0-6]|3[0-5][0-9]|[12][0-9]{2}|0[0-9]{2}|[0-9]{1,2}", "Yearday"
        ),  # fmt: skip
        "U": Directive("sunday_week", "5[0-3]|[0-4]?[0-9]", "Yearweek"),
        "W": Directive("monday_week", "5[0-3]|[0-4]?[0-9]", "Yearweek"),
        "w": Directive("weekday", "[0-6]", "Weekday"),
        "u": Directive("weekday", "[1-7]", "Weekday"),
        "a": Directive("weekday_name", _SHORT_WEEKDAYS, "DAY"),
        "A": Directive("weekday_name", _any_case(list(WEEKDAYS)), "DAYNAME"),
        "H": Directive("hour", _HOUR_2 + _HOUR_1, "24hour"),
        "ExH": Directive("hour", _HOUR_2, "Ex24hour"),
        "k": Directive("hour", _HOUR_2 + _HOUR_1 + "| [0-9]", "24hour"),
        "Exk": Directive("hour", _HOUR_2 + "| [0-9]", "Ex24hour"),
        "I": Directive("hour12", _HOUR12_2 + _HOUR12_1, "12hour"),
        "l": Directive("hour12", _HOUR12_2 + _HOUR12_1 + "| [1-9]", "12hour"),
        "Exl": Directive("hour12", _HOUR12_2 + "| [1-9]", "Ex12hour"),
        "p": Directive("half", "(?ai:AM|PM)", "AMPM"),
        "M": Directive("minute", _MINUTE_2 + _MINUTE_1, "Minute"),
        "ExM": Directive("minute", _MINUTE_2, "ExMinute"),
        "S": Directive("second", _SECOND_2 + _SECOND_1, "Second"),
        "ExS": Directive("second", _SECOND_2, "ExSecond"),
        "f": Directive("fraction", "[0-9]{1,9}", "Microseconds"),
        "z": Directive("zone", _OFFSET, "Zone offset"),
        "Z": Directive("zone", f"{_OFFSET}|{_ANY_ZONE}", "Zone name"),
        "Exz": Directive("zone", _ANY_ZONE, "Zone"),
        "ExZ": Directive("zone", _ANY_ZONE, "Zone name"),
    }
)
_SPECIAL: Mapping[str, Directive] = MappingProxyType(
    {
        "{EPOCH}": Directive("epoch", _EPOCH, "Epoch"),
        "{LEPOCH}": Directive("epoch", _LONG_EPOCH, "LongEpoch"),
        "{TAI64N}": Directive("tai64n", r"(?<!\w)@4[0-9a-f]{23}", "TAI64N"),
        # Only in the default styles: a zone before the name of a month.
        "{ZONE}": Directive("zone", _longest_first(zones.ABBREVIATIONS), "Zone name"),
    }
)
_TOKEN = r"%(?:Ex)?[A-Za-z%]?|\{(?:L?EPOCH|TAI64N|ZONE)\}"


@dataclass(frozen=True, slots=True)
class Style:
    """One way to write a date.

    `is_tied`: only at the beginning of a line, after up to two characters that are of no word.
    `is_bound_before`, `is_bound_after`: not with a part of a word on that side.  `reach`: how far into a
    line it is looked for.
    """

    pattern: str
    is_tied: bool = False
    is_bound_before: bool = True
    is_bound_after: bool = True
    reach: int | None = None


class Bracket(Enum):
    """Behind which bracket what is cut out must begin, if `]` is to follow it."""

    FIRST = "the first"
    LAST_UNQUOTED = "the last before the first quote, where no backslash is before that"


class Compiled(NamedTuple):
    """A style's regular expression, the group to cut out, and the groups that hold each field.

    `is_whole`: what is cut out is all that the style describes.  `is_telling`: what is cut out says what
    moment is meant, and nothing else in the line does.  `is_lead`: it is what the line begins with;
    `is_apart`: it has a character of no word, or an end of the line, on each side.  Both where it is sure,
    as `bracket`, of styles that want the date in brackets.
    """

    regex: re.Pattern[str]
    cut: int
    fields: Mapping[str, tuple[int, ...]]
    is_whole: bool
    is_telling: bool
    is_lead: bool
    is_apart: bool
    bracket: Bracket | None = None


_CLOCK = "%H:%ExM:%ExS"
_FRACTION_AND_OFFSET = "(?:[.,]%f)?(?: ?%z)?"
# Not the first group of an IPv6 address, nor the beginning of a host name, behind the time.
_YEAR_BEHIND = r"(?: %ExY(?!:[0-9A-Fa-f]{0,4}:|[.-]\w))?"

EPOCH_AT_BEGIN = Style("{EPOCH}", is_tied=True)
EPOCH_OF_AUDIT = Style(r"audit\(({EPOCH})(?=:[0-9]+\))", reach=REACH)
LONG_EPOCH_AT_BEGIN = Style("{LEPOCH}", is_tied=True)
TAI64N = Style("{TAI64N}", reach=REACH)

_Item = tuple[Any, Any]
_Items = Sequence[_Item]
_ANY_OF_A_WORD = str(parsed(r"\w", 0))
# What stands before such a date, and what may stand behind it, as access logs have it.
_BRACKETS = {
    str(parsed(_NOT_INSIDE_A_WORD + before, 0)): bracket
    for before, bracket in (
        (r"^[^\[]*\[", Bracket.FIRST),
        (r'^(?:[^"\\]*\\.)*[^"\\]*\[', Bracket.LAST_UNQUOTED),
    )
}
_BEHIND_BRACKETS = tuple(
    str(parsed(behind + _NOT_INSIDE_A_WORD, 0)) for behind in ("", r"\]", r"\s?\]")
)
_RANGES_OF_WORDS = ("[0-9]{2}", "[a-z]{2}", "[A-Z]{2}")

# In the order in which they are tried.  Where two could read the same text, the first one stands.
_CALENDAR_STYLES = (
    # 2024-03-05T06:07:08.123+01:00   2024/03/05 06:07:08   2024-03-05  6:07:08,123 UTC
    Style(rf"%ExY(?P<sep>[-/.])%m(?P=sep)%d(?:T| {{1,2}}){_CLOCK}{_FRACTION_AND_OFFSET}"),
    # Mar  5 06:07:08   Tue Mar 05 06:07:08.123456 2024   PDT Mar  5 06:07:08
    Style(rf"(?:{{ZONE}} )?(?:{_SHORT_WEEKDAYS} )?%b %d {_CLOCK}(?:[.,]%f)?{_YEAR_BEHIND}"),
    # Mar  5 2024 06:07:08
    Style(rf"(?:{_SHORT_WEEKDAYS} )?%b %d %ExY {_CLOCK}(?:[.,]%f)?"),
    # 05/Mar/2024:06:07:08 +0100   05-Mar-2024 06:07:08.252
    Style(rf"%d(?P<sep>[-/])%b(?P=sep)%ExY[: ]{_CLOCK}{_FRACTION_AND_OFFSET}"),
    # 05/03/2024 06:07:08   05-03-24 06:07:08: the day comes first
    Style(rf"%d(?P<sep>[-/])%m(?P=sep)(?:%ExY|%y) {_CLOCK}"),
    # 12/25/2024:06:07:08: the month comes first
    Style(rf"%m/%d/%ExY:{_CLOCK}"),
    # 03-25-2024 06:07:08.252, where the second number is no month
    Style(rf"%m-%d-%ExY {_CLOCK}(?:\.%f)?"),
    # 20240305-06:07:08   20240305T06:07:08Z
    Style(rf"%ExY%Exm%Exd[-T ]%ExH:%ExM:%ExS{_FRACTION_AND_OFFSET}"),
    # 240305  6:07:08
    Style(rf"%Exy%Exm%Exd {{1,2}}{_CLOCK}"),
    # Mar 05, 2024 06:07:08 AM
    Style(r"%b %d, %ExY %I:%ExM:%ExS %p"),
    # Mar-05-24 06:07:08
    Style(rf"%b-%d-(?:%ExY|%Exy) {_CLOCK}"),
)
_TIED_STYLES = (
    # <03/05/24@06:07:08>
    Style(rf"<%m/%d/%Exy@{_CLOCK}>", is_tied=True),
    # 06:07:08, but no hardware address
    Style(rf"{_CLOCK}(?!:[0-9A-Fa-f]{{2}}\b)", is_tied=True),
)
DEFAULT_STYLES: tuple[Style, ...] = (
    *(replace(style, reach=REACH) for style in _CALENDAR_STYLES),
    TAI64N,
    EPOCH_AT_BEGIN,
    EPOCH_OF_AUDIT,
    *_TIED_STYLES,
)

_DEFAULT = frozenset(replace(style, is_tied=False) for style in DEFAULT_STYLES)

# Patterns that are one word, and the readable name of each.
_WORDS: Mapping[str, tuple[str, tuple[Style, ...], tuple[Style, ...]]] = MappingProxyType(
    {
        "EPOCH": ("Epoch", (EPOCH_AT_BEGIN, EPOCH_OF_AUDIT), (EPOCH_AT_BEGIN,)),
        "LEPOCH": ("LongEpoch", (LONG_EPOCH_AT_BEGIN, EPOCH_OF_AUDIT), (LONG_EPOCH_AT_BEGIN,)),
        "TAI64N": ("TAI64N", (TAI64N,), (replace(TAI64N, is_tied=True),)),
    }
)


# The patterns of all of these; the rest was written by others.
KNOWN = frozenset(
    style.pattern
    for styles in (DEFAULT_STYLES, *(styles for _, *both in _WORDS.values() for styles in both))
    for style in styles
)


@functools.cache
def dated() -> re.Pattern[str]:
    """Where this is not found, there is no default style anywhere in a line."""
    return re.compile(r"[0-9]:[0-5][0-9]:[0-6][0-9]|@4[0-9a-f]{23}|audit\([0-9]")


@functools.cache
def dated_at_begin() -> re.Pattern[str]:
    """Where this does not match, none stands at its beginning."""
    return re.compile(
        r"\W{0,2}(?:20[0-9]{2}[-/.]|[0-9]{1,2}[-/][0-9A-Za-z]|[0-9]{1,2}:[0-9]{2}:|[0-9]{6}|<[0-9]|@4|"
        r"(?:[A-Z]{2,4} )?(?:[A-Za-z]{3} )?[A-Za-z]{3}[- ] ?[0-9])"
    )


def styles_of(pattern: str) -> tuple[Style, ...]:
    """The styles that one line of `datepattern` describes.  ValueError where it describes none."""
    is_tied, rest = _without(pattern.strip(), _LINE_BEGIN)
    if rest == "{DEFAULT}" or (is_tied and not rest):
        return tuple(replace(s, is_tied=True) for s in DEFAULT_STYLES) if is_tied else DEFAULT_STYLES  # fmt: skip
    word = rest.removeprefix("^").upper()
    if word in _WORDS:
        _, anywhere, at_begin = _WORDS[word]
        return at_begin if is_tied or rest.startswith("^") else anywhere
    styles = _written(pattern)
    compiled(styles[0], PRESENT_DECADE)
    return styles


def name_of(pattern: str) -> tuple[str | None, str]:
    """`pattern` and its name for readers; None and the name where it is a word such as EPOCH."""
    _, rest = _without(pattern.strip(), _LINE_BEGIN)
    word = rest.removeprefix("^").upper()
    if word in _WORDS:
        return None, _WORDS[word][0]
    return pattern, re.sub(_TOKEN, lambda token: _directive(token[0]).word, pattern)


@functools.lru_cache(maxsize=1024)
def compiled(style: Style, decade: int) -> Compiled:
    """The regular expression of `style`, with years up to `decade` (2 for the 2020s) in `%ExY`.

    Raises ValueError where it cannot be one.
    """
    pattern = style.pattern
    flags = re.match(r"\(\?[aimsux]+\)", pattern)
    if flags:
        pattern = pattern[flags.end() :]
    body, names = _translated(pattern, decade)
    prefix = flags[0] if flags else ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        try:
            bare = re.compile(prefix + body)
            named = set(bare.groupindex.values())
            # Where the pattern has plain groups of its own, only the first of them is cut out.
            plain = next((n for n in range(1, bare.groups + 1) if n not in named), 0)
            before = r"\W{0,2}" if style.is_tied else ""
            if style.is_bound_before:
                # The quicker one means the same before what begins like a word, as directives do.
                before += r"(?<!\w)" if body.startswith("(?P<date_") else _NOT_INSIDE_A_WORD
            after = _NOT_INSIDE_A_WORD if style.is_bound_after else ""
            opening = "(?:" if plain else "("
            regex = re.compile(f"{prefix}{before}{opening}{body}){after}")
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"{style.pattern!r} is no date pattern: {error}") from None
    fields: dict[str, tuple[int, ...]] = {}
    for group, field in names.items():
        fields[field] = (*fields.get(field, ()), regex.groupindex[group])
    cut = plain or 1
    items = list(tree_of(regex))
    inside = _groups_in(items, cut)
    is_telling = all(group in inside for groups in fields.values() for group in groups)
    place = next((n for n, item in enumerate(items) if _is_group(item, cut)), None)
    is_lead = place is not None and _begins_line(items, place)
    is_apart = is_lead or (place is not None and _stands_apart(items, place))
    bracket = None if place is None else _bracket_of(items, place)
    return Compiled(regex, cut, fields, not plain, is_telling, is_lead, is_apart, bracket)


def _groups_in(parsed: Any, group: int, is_inside: bool = False) -> set[int]:
    """The groups that stand in `group`, itself not included."""
    found: set[int] = set()
    if isinstance(parsed, tuple) and len(parsed) == 2 and str(parsed[0]) == "SUBPATTERN":
        number = parsed[1][0]
        if is_inside and number is not None:
            found.add(number)
        is_inside = is_inside or number == group
    if isinstance(parsed, list | tuple | PARSER.SubPattern):
        for each in parsed:
            found |= _groups_in(each, group, is_inside)
    return found


def stands_between_words(style: Style) -> bool:
    """Whether what is cut out of a line has a character of no word, or an end of the line, on each side.

    True only where this is sure.  At a line's beginning such a character may be cut out as well.
    """
    if replace(style, is_tied=False) in _DEFAULT:
        return True
    return compiled(style, PRESENT_DECADE).is_apart


def stands_at_begin(style: Style) -> bool:
    """Whether what is cut out of a line is what it begins with.  True only where this is sure."""
    return compiled(style, PRESENT_DECADE).is_lead


def _begins_line(items: _Items, place: int) -> bool:
    before = [*items[:place], *items[place][1][3]]
    return any(_is_at_begin(op, value) for op, value in takewhile(_is_empty, before)) and all(
        map(_is_empty, items[:place])
    )


def _bracket_of(items: _Items, place: int) -> Bracket | None:
    before, behind = str(list(items[:place])), str(list(items[place + 1 :]))
    is_alone = behind in _BEHIND_BRACKETS and not _may_take_bracket(items[place][1][3])
    return _BRACKETS.get(before) if is_alone else None


def _may_take_bracket(items: Any) -> bool:
    """Whether a match of `items` may have `]`, or look at what stands behind."""
    for op, value in items:
        match str(op):
            case "LITERAL" if value != ord("]"):
                pass
            case "IN" if not any(_may_be_bracket(*one) for one in value):
                pass
            case "GROUPREF":
                pass
            case "SUBPATTERN" | "MAX_REPEAT" | "MIN_REPEAT" if not _may_take_bracket(value[-1]):
                pass
            case "BRANCH" if not any(map(_may_take_bracket, value[1])):
                pass
            case _:
                return True
    return False


def _may_be_bracket(op: Any, value: Any) -> bool:
    """Whether `]` may be what a member of a set stands for."""
    match str(op):
        case "LITERAL":
            return bool(value == ord("]"))
        case "RANGE":
            return bool(value[0] <= ord("]") <= value[1])
        case "CATEGORY":
            return str(value) not in ("CATEGORY_DIGIT", "CATEGORY_SPACE", "CATEGORY_WORD")
    return True


def _stands_apart(items: _Items, place: int) -> bool:
    inside = list(items[place][1][3])
    return _keeps_words_out(items[:place][::-1], inside, -1) and _keeps_words_out(
        items[place + 1 :], inside[::-1], 1
    )


def _is_empty(item: _Item) -> bool:
    """Whether it looks at the text and takes nothing of it."""
    op, value = item
    if str(op) == "BRANCH":
        return all(_is_empty(each) for branch in value[1] for each in branch)
    return str(op) in ("AT", "ASSERT", "ASSERT_NOT")


def _is_at_begin(op: Any, value: Any) -> bool:
    return str(op) == "AT" and str(value) in ("AT_BEGINNING", "AT_BEGINNING_STRING")


def _is_group(item: _Item, number: int) -> bool:
    op, value = item
    return str(op) == "SUBPATTERN" and bool(value[0] == number)


def _keeps_words_out(outside: _Items, inside: _Items, side: int) -> bool:
    """Whether what stands beside a cut can be no character of a word.

    `outside` and `inside` are the items seen from the cut's end there; `side` is 1 behind it, -1 before.
    """
    near = [*takewhile(_is_empty, outside), *takewhile(_is_empty, inside)]
    if any(_refuses_words(item, side) for item in near):
        return True
    if any(map(_is_bound, near)) and _ends_in_a_word(inside, side):
        return True
    for op, value in outside:
        match str(op):
            case "AT" if _is_at_begin(op, value) or str(value) == "AT_END_STRING":
                return True
            case "MAX_REPEAT" | "MIN_REPEAT":
                least, _, inner = value
                if len(inner) != 1 or not _is_of_no_word(*inner[0]):
                    return False
                if least:
                    return True
            case _ if not _is_empty((op, value)):
                return _is_of_no_word(op, value)
    return False


def _is_of_no_word(op: Any, value: Any) -> bool:
    match str(op):
        case "LITERAL":
            return not (chr(value).isalnum() or value == ord("_"))
        case "IN":
            return all(
                str(kind) == "LITERAL" and _is_of_no_word(kind, code)
                or str(kind) == "CATEGORY" and str(code) in ("CATEGORY_SPACE", "CATEGORY_NOT_WORD")
                for kind, code in value
            )  # fmt: skip
    return False


def _refuses_words(item: _Item, side: int) -> bool:
    op, value = item
    return str(op) == "ASSERT_NOT" and value[0] == side and str(value[1]) == _ANY_OF_A_WORD


def _is_bound(item: _Item) -> bool:
    """Whether at the end of a word it lets no word go on."""
    op, value = item
    if str(op) == "BRANCH":
        return all(any(map(_is_bound, branch)) for branch in value[1])
    if str(op) == "AT":
        return str(value) == "AT_BOUNDARY"
    return any(_refuses_words(item, side) for side in (-1, 1))


def _ends_in_a_word(items: _Items, side: int) -> bool:
    """Whether a character of a word is what `items`, seen from their end on that side, end with."""
    for op, value in items:
        match str(op):
            case "SUBPATTERN":
                return _ends_in_a_word(value[3][::-side], side)
            case "BRANCH":
                return all(_ends_in_a_word(branch[::-side], side) for branch in value[1])
            case "MAX_REPEAT" | "MIN_REPEAT":
                least, _, inner = value
                if not _ends_in_a_word(inner[::-side], side):
                    return False
                if least:
                    return True
            case "LITERAL":
                return chr(value).isalnum()
            case "IN":
                return all(map(_is_of_a_word, value))
            case _ if not _is_empty((op, value)):
                return False
    return False


def _is_of_a_word(item: _Item) -> bool:
    kind, value = item
    match str(kind):
        case "LITERAL":
            return chr(value).isalnum()
        case "RANGE":
            return any(re.fullmatch(kind, f"{value[0]:c}{value[1]:c}") for kind in _RANGES_OF_WORDS)
        case _:
            return str(value) in ("CATEGORY_DIGIT", "CATEGORY_WORD")


def _translated(pattern: str, decade: int) -> tuple[str, dict[str, str]]:
    """`pattern` as a regular expression, and the field that each of our groups in it holds."""
    names: dict[str, str] = {}
    year = f"20[0-{decade}][0-9]" if decade < 10 else "2[0-9]{3}"

    def group(token: re.Match[str]) -> str:
        if token[0] == "%%":
            return "%"
        directive = _directive(token[0])
        name = f"date_{directive.field}_{len(names)}"
        names[name] = directive.field
        return f"(?P<{name}>{directive.regex or year})"

    return re.sub(_TOKEN, group, pattern), names


def _directive(token: str) -> Directive:
    if token == "%%":
        return Directive("", "", "%")
    directive = _SPECIAL.get(token) or DIRECTIVES.get(token[1:])
    if directive is None:
        known = " ".join(f"%{name}" for name in DIRECTIVES)
        raise ValueError(f"a date pattern has no {token!r}; there are {known} %%")
    return directive


def _written(pattern: str) -> tuple[Style, ...]:
    """The style written out in `pattern`; several if `{DATE}` in it stands for every default one."""
    is_tied, rest = _without(pattern, _LINE_BEGIN)
    is_unbound, rest = _without(rest, _UNBOUND)
    if not is_tied:
        is_tied, rest = _without(rest, _LINE_BEGIN)
    is_bound_before = is_bound_after = not is_unbound
    if rest.startswith("**"):
        is_bound_before, rest = False, rest[2:]
    if rest.endswith("**"):
        is_bound_after, rest = False, rest[:-2]
    if not rest:
        raise ValueError(f"the date pattern {pattern!r} is empty")
    style = Style(rest, is_tied, is_bound_before, is_bound_after)
    if _DATE not in rest:
        return (style,)
    # What does not begin and end like a word touches none: else it might be cut out amid text.
    inner = [
        rf"(?<!\w){s.pattern}(?!\w)" if s.pattern[0] == "<" else s.pattern
        for s in (*_CALENDAR_STYLES, TAI64N, *_TIED_STYLES)
    ]
    return tuple(replace(style, pattern=rest.replace(_DATE, i), reach=REACH) for i in inner)


def _without(text: str, prefix: str) -> tuple[bool, str]:
    return text.startswith(prefix), text.removeprefix(prefix)
