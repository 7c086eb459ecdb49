# SPDX-License-Identifier: GPL-2.0-or-later
"""Which failregexes are tried on every line of a log, or nearly so, and why that is.

What a rule needs, literals know; here is told what keeps it from needing anything, and what to do.
Reads no files and knows no logs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from common.options import JailConf
from server.filter import Filter
from server.lines import encoding_of
from server.literals import SHORTEST, Cut, Literal, Need, required
from server.pattern import Pattern
from server.screen import is_plain
from server.trees import tree_of

_REPEATS = ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT")
WHOLE = -2  # what concerns the filter as a whole
# What stands in nearly every line of the kind of log that it is typical of.
_TYPICAL = (
    '"GET / HTTP/1.1" 200 5 "-" "Mozilla/5.0',
    '"GET / HTTP/2.0" 200 5 "-"',
    '"POST / HTTP/1.1" 200 ',
    '"HEAD / HTTP/1.1" 200 ',
    " for user ",
    " client ",
    " session ",
    " port ",
)


@dataclass(frozen=True, slots=True)
class Slow:
    """A failregex (by its index; `WHOLE`: all of them) that is tried on all lines, or on most.

    `what` says that with the reason, `advice` what can be done.
    """

    rule: int
    kind: str
    what: str
    advice: str

    @property
    def rule_name(self) -> str:
        return "the filter" if self.rule == WHOLE else f"failregex {self.rule + 1}"


def slow_rules(conf: JailConf) -> list[Slow]:
    """The slow failregexes of the filter that `conf` describes.  Raises RegexError, LookupError."""
    if conf.max_lines > 1:
        return [
            Slow(
                WHOLE,
                "maxlines",
                f"each line is tried, joined with up to {conf.max_lines - 1} before it "
                f"(maxlines = {conf.max_lines})",
                "Where the lines share an id, <F-MLFID> keeps them together at a part of the cost.",
            )
        ]
    encoding = encoding_of(conf.log_encoding)
    if not is_plain(encoding):
        return [
            Slow(
                WHOLE,
                "encoding",
                f"each line is decoded and tried: in {encoding} no text can be found by its bytes",
                "If the service can write UTF-8, let it.",
            )
        ]
    filter = Filter(conf, has_screen=False)
    found = []
    for rule, (pattern, need) in enumerate(zip(filter.rules, filter.needs, strict=True)):
        if need is None:
            found.append(Slow(rule, "no literal", *_why(pattern, filter.cut)))
        elif (common := _common(need)) is not None:
            found.append(
                Slow(
                    rule,
                    "common literal",
                    f"it is tried on most lines: the text it is found by, {common!r}, stands in "
                    "nearly every line of such a log",
                    "Write out a rarer word of the message, outside of parts that may be missing.",
                )
            )
    return found


def _common(need: Need) -> str | None:
    """A text of `need` that tells nothing, though it be one of several that will do."""
    for chain in sorted(need, key=lambda chain: sorted(one.text for one in chain[0])):
        texts = [next((one.text for one in clause if _is_typical(one)), None) for clause in chain]
        if None not in texts:
            return " … ".join(text or "" for text in texts)
    return None


def _is_typical(one: Literal) -> bool:
    text = one.text.lower() if one.is_caseless else one.text
    return any(text in (line.lower() if one.is_caseless else line) for line in _TYPICAL)


def _why(pattern: Pattern, cut: Cut) -> tuple[str, str]:
    """Why nothing must stand in each line that `pattern` matches, and what to do."""
    tried = "each line of the log is tried: "
    if cut is not Cut.NOWHERE and required(pattern.regex) is not None:
        return (
            tried + "a date may have been cut out amid its text, of which each half is too short",
            "Write out a longer part of the message.",
        )
    texts = list(_texts(list(tree_of(pattern.regex))))
    longest = max(texts, key=lambda one: len(one.text), default=None)
    if longest is None or len(longest.text) < SHORTEST:
        return (
            f"{tried}no text of {SHORTEST} characters or more stands in every line that it matches",
            "Write out a word of the message.",
        )
    if longest.inside == "alternatives":
        return (
            f"{tried}its text stands only in alternatives, such as {longest.text!r}, and these are "
            "too many, or one of them has no text of its own",
            "Write what they share outside of them, or make two failregexes of one.",
        )
    return (
        f"{tried}its text, such as {longest.text!r}, stands in a part that may be missing",
        "Write out a word of the message that is always there.",
    )


@dataclass(frozen=True, slots=True)
class _Text:
    text: str
    inside: str  # "", "alternatives" or "optional"


def _texts(items: list[tuple[Any, Any]], inside: str = "") -> Iterator[_Text]:
    """The texts in a parse tree, and what they stand inside of."""
    run = ""
    for op, value in items:
        kind = str(op)
        if kind == "LITERAL":
            run += chr(value)
            continue
        if run:
            yield _Text(run, inside)
            run = ""
        if kind == "SUBPATTERN":
            yield from _texts(list(value[3]), inside)
        elif kind == "ATOMIC_GROUP":
            yield from _texts(list(value), inside)
        elif kind == "BRANCH":
            for branch in value[1]:
                yield from _texts(list(branch), inside or "alternatives")
        elif kind in _REPEATS:
            is_optional = value[0] == 0
            yield from _texts(list(value[2]), inside or ("optional" if is_optional else ""))
    if run:
        yield _Text(run, inside)
