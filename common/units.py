# SPDX-License-Identifier: GPL-2.0-or-later
"""Texts that people write for times, numbers and switches.  Pure; knows no option by name."""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable

# The abbreviations that fail2ban documents; a month is a twelfth of 365.25 days.
_YEAR = 365.25 * 86400
_SECONDS: dict[str, float] = {
    "": 1,
    "s": 1, "ss": 1, "sec": 1, "secs": 1, "second": 1, "seconds": 1,
    "m": 60, "mm": 60, "min": 60, "mins": 60, "minute": 60, "minutes": 60,
    "h": 3600, "hh": 3600, "hour": 3600, "hours": 3600,
    "d": 86400, "da": 86400, "dd": 86400, "day": 86400, "days": 86400,
    "w": 604800, "wee": 604800, "ww": 604800, "week": 604800, "weeks": 604800,
    "mo": _YEAR / 12, "mon": _YEAR / 12, "month": _YEAR / 12, "months": _YEAR / 12,
    "y": _YEAR, "ye": _YEAR, "yea": _YEAR, "yy": _YEAR, "year": _YEAR, "years": _YEAR,
}  # fmt: skip
_TOKEN = re.compile(r"(?:(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[a-z]*)|(?P<sign>[-+*/]))\s*")
_SIGNS: dict[type, Callable[[float], float]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}
_SIGNS_BETWEEN: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_LONGEST = 200  # characters
_NO_TIME = "is not a time such as 600, 10m or 1d 12h"
_TRUE = frozenset({"1", "on", "true", "yes"})
_FALSE = frozenset({"0", "off", "false", "no"})


def seconds(text: str) -> float:
    """The length in seconds of a time: `600`, `10m`, `1d 12h`, `1d12h`, `10*60`, `1year - 6mo`.

    Terms that stand side by side are added; negative stays so.  Raises ValueError where `text` is no
    time.  Whole numbers come as int.
    """
    if len(text) > _LONGEST:
        raise ValueError(_NO_TIME)
    sums: list[str] = []
    at, is_open = 0, True
    stripped = text.strip().lower()
    while at < len(stripped):
        token = _TOKEN.match(stripped, at)
        if token is None or token["unit"] not in (None, *_SECONDS):
            raise ValueError(_NO_TIME)
        if token["number"]:
            number = float(token["number"]) if "." in token["number"] else int(token["number"])
            sums.append(("" if is_open else "+") + f"({number * _SECONDS[token['unit']]!r})")
        else:
            sums.append(token["sign"])
        is_open = bool(token["sign"])
        at = token.end()
    try:
        total = _value(ast.parse("".join(sums), mode="eval").body)
    except (SyntaxError, ArithmeticError):
        raise ValueError(_NO_TIME) from None
    if not math.isfinite(total):
        raise ValueError(_NO_TIME)
    return total


def _value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.UnaryOp(op, operand) if type(op) in _SIGNS:
            return _SIGNS[type(op)](_value(operand))
        case ast.BinOp(left, op, right) if type(op) in _SIGNS_BETWEEN:
            return _SIGNS_BETWEEN[type(op)](_value(left), _value(right))
    raise ValueError(_NO_TIME)


def switch(text: str) -> bool:
    """True or false from `1 on true yes` / `0 off false no`, in any case; else ValueError."""
    word = text.strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError("is neither yes nor no")


def is_on(value: object) -> bool:
    """As fail2ban takes a switch: `1 on true yes` in any case are true, all else is false."""
    return value if isinstance(value, bool) else str(value).strip().lower() in _TRUE


def whole(text: str, least: int = 0) -> int:
    """A whole number of `least` or more; else ValueError."""
    try:
        number = int(text.strip())
    except ValueError:
        number = least - 1
    if number < least:
        raise ValueError(f"is not a whole number of {least} or more")
    return number
