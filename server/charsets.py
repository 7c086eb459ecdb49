# SPDX-License-Identifier: GPL-2.0-or-later
"""Sets of characters as numbers: which ones an item of a regex matches, or a few more.

A bit stands for a character of Latin-1; of those beyond, each kind has a bit.  Knows no regex as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

Items = Sequence[tuple[Any, Any]]

_WORDS, _DIGITS, _SPACES, _OTHERS = (1 << 256 + bit for bit in range(4))
_BEYOND = _WORDS | _DIGITS | _SPACES | _OTHERS
ALL = (1 << 260) - 1
LINE_FEED = 1 << 10


def _set_where(holds: Callable[[str], bool]) -> int:
    return sum(1 << code for code in range(256) if holds(chr(code)))


_ASCII = (1 << 128) - 1
_DIGIT = _set_where(str.isdecimal) | _DIGITS
_SPACE = _set_where(str.isspace) | _SPACES
_WORD = _set_where(lambda char: char.isalnum() or char == "_") | _WORDS | _DIGITS
_CATEGORIES = {"DIGIT": _DIGIT, "SPACE": _SPACE, "WORD": _WORD}
_LETTERS = _set_where(str.isalpha)


@lru_cache(1024)
def _bit(code: int) -> int:
    if code < 256:
        return 1 << code
    char = chr(code)
    if char.isspace():
        return _SPACES
    if char.isdecimal():
        return _DIGITS
    return _WORDS if char.isalnum() else _OTHERS


def _category(name: str, flags: int) -> int:
    kind = name.removeprefix("CATEGORY_").removeprefix("UNI_").removeprefix("NOT_")
    found = _CATEGORIES.get(kind, ALL)
    if flags & re.ASCII:
        found &= _ASCII
    return ALL & ~found if "NOT_" in name else found


def _both_cases(chars: int) -> int:
    """`chars` and whatever is the same where case does not matter, or a little more."""
    found = chars
    for code in range(256):
        if chars >> code & 1 and _LETTERS >> code & 1:
            for other in (chr(code).lower(), chr(code).upper()):
                found |= _bit(ord(other)) if len(other) == 1 else _WORDS
            found |= _WORDS  # such as the long s
    return found | _LETTERS if chars & _WORDS else found


@lru_cache(4096)
def set_of(kind: str, value: Any, flags: int) -> int:
    """The characters that an item of one character matches, or a little more."""
    match kind:
        case "LITERAL":
            found = _bit(value)
        case "NOT_LITERAL":
            return ALL & ~_bit(value) if value < 256 else ALL
        case "ANY":
            return ALL if flags & re.DOTALL else ALL & ~LINE_FEED
        case _:
            return _class(value, flags)
    return _both_cases(found) if flags & re.IGNORECASE else found


def _class(items: Items, flags: int) -> int:
    found = 0
    is_negated = str(items[0][0]) == "NEGATE"
    for op, value in items:
        match str(op):
            case "LITERAL":
                # Of those beyond Latin-1 one is not its whole kind.
                found |= _bit(value) if value < 256 or not is_negated else 0
            case "RANGE":
                low, high = value
                top = min(high, 255)
                found |= (1 << top + 1) - (1 << low) if low <= top else 0
                if high > 255 and not is_negated:
                    found |= _BEYOND
            case "CATEGORY":
                found |= _category(str(value), flags)
    if is_negated:
        return ALL & ~found
    return _both_cases(found) if flags & re.IGNORECASE else found


_PREFERRED = [ord(char) for char in "ax01 -_.:/,;='\"()[]<>!#@"]


def one_of(chars: int) -> str:
    """One of `chars`, for a person."""
    for code in (*_PREFERRED, *range(33, 127), *range(32), *range(127, 256)):
        if chars >> code & 1:
            return chr(code)
    for bit, char in ((_WORDS, "\u0101"), (_DIGITS, "\u0661"), (_SPACES, "\u2003")):
        if chars & bit:
            return char
    return "\u2013"
