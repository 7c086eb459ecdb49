# SPDX-License-Identifier: GPL-2.0-or-later
"""From the wall clock of a time zone to moments and back.

A zone is the process's own (`LocalZone`), a fixed offset, or one of the IANA database.  Knows no log
line and no date style; has no clock, and of the world sees nothing but the zones' own rules.

A time that the clocks show twice, in the night when summer time ends, means the second of the two
moments, unless that one is still to come and the first is not.  One that the clocks skip is read
as if they had not yet been put forward.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Protocol

_DAY = 86400
_EPOCH_DAY = date(1970, 1, 1).toordinal()
# How far a clock may be ahead of ours: a moment up to so much later is not "still to come".
_CLOCK_SKEW = 60

# Offsets in hours.  Where a name is in use for several zones, the one that most logs mean.
_NAMES: dict[str, float] = {
    "UTC": 0, "GMT": 0, "UT": 0, "WET": 0,
    "WEST": 1, "BST": 1, "CET": 1, "MET": 1, "CEST": 2, "MEST": 2, "EET": 2, "SAST": 2, "EEST": 3,
    "MSK": 3, "MSD": 4, "PKT": 5, "IST": 5.5, "WIB": 7, "HKT": 8, "SGT": 8, "PHT": 8, "AWST": 8,
    "JST": 9, "KST": 9, "ACST": 9.5, "ACDT": 10.5, "AEST": 10, "AEDT": 11, "NZST": 12, "NZDT": 13,
    "NDT": -2.5, "NST": -3.5, "ADT": -3, "BRT": -3, "ART": -3, "AST": -4, "EDT": -4, "EST": -5,
    "CDT": -5, "CST": -6, "MDT": -6, "MST": -7, "PDT": -7, "PST": -8, "AKDT": -8, "AKST": -9,
    "HST": -10,
}  # fmt: skip
# The letters of military time: A is an hour ahead of Z, N one behind it; there is no J.
_LETTERS: dict[str, float] = {
    "Z": 0,
    **{letter: hours for hours, letter in enumerate("ABCDEFGHIKLM", 1)},
    **{letter: -hours for hours, letter in enumerate("NOPQRSTUVWXY", 1)},
}
ABBREVIATIONS = frozenset(_NAMES)
LETTERS = frozenset(_LETTERS)

OFFSET_REGEX = r"[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?"


class Zone(Protocol):
    """What a place's clocks show when."""

    def midnight(self, day: date) -> float | None:
        """When `day` begins; None where its clocks are changed, so that hours cannot be added."""

    def moment(self, day: date, hour: int, minute: int, second: int, now: float) -> float:
        """When the clocks show this; ValueError or OverflowError where that cannot be said."""

    def today(self, now: float) -> date:
        """The day that it is there."""


class FixedZone:
    """A zone that is always `offset` seconds ahead of UTC."""

    def __init__(self, offset: int) -> None:
        self._offset = offset

    def midnight(self, day: date) -> float | None:
        # A whole number would do, but takes longer to be compared with other moments.
        return float((day.toordinal() - _EPOCH_DAY) * _DAY - self._offset)

    def moment(self, day: date, hour: int, minute: int, second: int, now: float) -> float:
        seconds = (hour * 60 + minute) * 60 + second
        return float((day.toordinal() - _EPOCH_DAY) * _DAY - self._offset + seconds)

    def today(self, now: float) -> date:
        return date.fromordinal(_EPOCH_DAY + int((now + self._offset) // _DAY))


class LocalZone:
    """The zone of this process, as the C library knows it."""

    def midnight(self, day: date) -> float | None:
        return _plain_midnight(self, day)

    def moment(self, day: date, hour: int, minute: int, second: int, now: float) -> float:
        wall = (day.year, day.month, day.day, hour, minute, second)
        moment = time.mktime((*wall, 0, 0, -1))
        # What the C library makes of a time that comes twice is its own affair: look for the other.
        for shift in (1800, 3600, 7200):
            for other in (moment - shift, moment + shift):
                if time.localtime(other)[:6] == wall:
                    return _of_two(min(moment, other), max(moment, other), now)
        return moment

    def today(self, now: float) -> date:
        year, month, day = time.localtime(now)[:3]
        return date(year, month, day)


class NamedZone:
    """A zone with rules for summer time."""

    def __init__(self, rules: tzinfo) -> None:
        self._rules = rules

    def midnight(self, day: date) -> float | None:
        return _plain_midnight(self, day)

    def moment(self, day: date, hour: int, minute: int, second: int, now: float) -> float:
        wall = datetime(day.year, day.month, day.day, hour, minute, second, tzinfo=self._rules)
        first, second_time = wall.timestamp(), wall.replace(fold=1).timestamp()
        return _of_two(first, second_time, now) if first < second_time else first

    def today(self, now: float) -> date:
        return datetime.fromtimestamp(now, UTC).astimezone(self._rules).date()


def offset_of(text: str) -> int:
    """Seconds that `Z`, `PST`, `+0530`, `UTC+02:00` or a military letter is ahead of UTC.

    Raises ValueError where `text` is none of these.
    """
    hours = _LETTERS.get(text, _NAMES.get(text))
    if hours is not None:
        return int(hours * 3600)
    offset = re.fullmatch(rf"(?:UTC|GMT)?({OFFSET_REGEX})", text)
    if offset is None:
        raise ValueError(f"{text!r} is no time zone such as Z, CET, UTC+0200 or Europe/Zurich")
    digits = offset[1][1:].replace(":", "")
    seconds = int(digits[:2]) * 3600 + int(digits[2:] or 0) * 60
    return -seconds if offset[1][0] == "-" else seconds


def zone_of(text: str | None) -> Zone:
    """The zone called `text`: an offset, an abbreviation or an IANA name; None is the local one.

    Raises ValueError for any other text.
    """
    name = (text or "").strip()
    if not name:
        return LocalZone()
    if name == "Z" or name not in LETTERS:
        try:
            return FixedZone(offset_of(name))
        except ValueError:
            pass
    # Only here is zoneinfo needed, and most servers live without it.
    from zoneinfo import ZoneInfo

    try:
        return NamedZone(ZoneInfo(name))
    except (KeyError, ValueError, OSError):
        problem = f"{name!r} is no time zone such as Z, CET, UTC+0200 or Europe/Zurich"
        raise ValueError(problem) from None


def _of_two(first: float, second: float, now: float) -> float:
    return first if first <= now + _CLOCK_SKEW < second else second


def _plain_midnight(zone: Zone, day: date) -> float | None:
    try:
        begin = zone.moment(day, 0, 0, 0, 0)
        end = zone.moment(day + timedelta(days=1), 0, 0, 0, 0)
    except (ValueError, OverflowError, OSError):
        return None
    return begin if end - begin == _DAY else None
