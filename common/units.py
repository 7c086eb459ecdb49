# SPDX-License-Identifier: GPL-2.0-or-later
"""Texts that people write for times, numbers and switches.  Pure; knows no option by name."""

from __future__ import annotations

import math
import re

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
_TERM = re.compile(
    r"\s*(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[a-z]*)(?:\s+|(?=\d)|$)", re.IGNORECASE
)
_TRUE = frozenset({"1", "on", "true", "yes"})
_FALSE = frozenset({"0", "off", "false", "no"})


def seconds(text: str) -> float:
    """The length in seconds of a time such as `600`, `10m`, `1d 12h` or `1d12h`; negative stays so.

    Raises ValueError where `text` is none.  Whole numbers come as int.
    """
    stripped = text.strip()
    sign, rest = (-1, stripped[1:]) if stripped.startswith("-") else (1, stripped)
    total: float = 0
    at = 0
    while at < len(rest):
        term = _TERM.match(rest, at)
        if term is None or term["unit"].lower() not in _SECONDS:
            break
        number = float(term["number"]) if "." in term["number"] else int(term["number"])
        total += number * _SECONDS[term["unit"].lower()]
        at = term.end()
    if not rest or at < len(rest) or not math.isfinite(total):
        raise ValueError("is not a time such as 600, 10m or 1d 12h")
    return sign * total


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
