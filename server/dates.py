# SPDX-License-Identifier: GPL-2.0-or-later
"""Finds the date in a log line and says what moment it means.

`DateDetector` learns while it reads: the style and the place of the last date are tried first, and a
day's beginning and the last date's text are remembered, so that most lines cost one match.  Knows
no filter, has no clock: `now` is an argument, and matters only where a date leaves something open.
"""

from __future__ import annotations

import functools
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import date, timedelta
from typing import NamedTuple

from server import datestyles, zones
from server.budget import Bounded
from server.datestyles import Bracket, Compiled, Style
from server.zones import FixedZone, Zone

_DAY = 86400
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_TAI_ZERO = 1 << 62
# A log's clock may be so much ahead of ours when the year ends.
_NEW_YEAR_SKEW = 3600
# So many characters of no word may stand before a date that is still at the line's beginning.
_LEAD_LENGTH = 2
_DAYS_KEPT = 500
# So many characters behind a date at most, a default style looks at before it ends where it does.
_LOOKED_AT = 12
_MOST_HEADS = 64
_hit = tuple.__new__  # of a named tuple; its own way takes three times as long
# What stands for the style of the last date as long as there was none.
_NO_STYLE = Style("(?!)")

# What hours, minutes and seconds are worth, as they are written; the seconds 60 and 61 are missing.
_HOURS = {text: n * 3600 for n in range(24) for text in (f"{n:02}", f"{n:2}", str(n))}
_MINUTES = {text: n * 60 for n in range(60) for text in (f"{n:02}", str(n))}
_SECONDS = {text: n for n in range(60) for text in (f"{n:02}", str(n))}
_TIME_FIELDS = ("hour", "minute", "second")
_DAY_FIELDS = ("zone", "year", "short_year", "month", "month_name", "day")
_FIELDS_WITHOUT_MEANING = frozenset({"fraction", "weekday_name"})


class DateHit(NamedTuple):
    """Where a date stands in a line and what moment it means (None: an impossible one, `Feb 30`)."""

    start: int
    end: int
    moment: float | None


# The date of a line by so many of its first characters, and what finds the last date in another line.
Known = tuple[int, Mapping[str, DateHit], Callable[[str], DateHit | None]]


class _Reading(NamedTuple):
    """What a date means as long as `since` <= now < `until`.

    `midnight` is when its day begins, if adding to that gives every other time of the day.
    """

    moment: float | None
    since: float = -math.inf
    until: float = math.inf
    midnight: float | None = None


class DateDetector:
    """Finds dates in lines that come one after the other from one log.

    `pattern` is the option `datepattern`, a pattern a line; None or nothing means the default styles.
    `zone` is `logtimezone`: where dates are at home that name no zone; None is this process's own.
    Raises ValueError where one of them cannot be.
    """

    def __init__(self, pattern: str | None = None, zone: str | None = None) -> None:
        lines = [line for line in (pattern or "").split("\n") if line.strip()]
        words = [line.strip() for line in lines]
        if len(set(words)) < len(words):
            raise ValueError(f"the same date pattern twice: {pattern!r}")
        self.takes_now = words == ["{NONE}"]
        if "{NONE}" in words and not self.takes_now:
            raise ValueError("no other date pattern can stand beside {NONE}")
        self._zone = zones.zone_of(zone)
        self._styles: tuple[Style, ...] = ()
        if not self.takes_now:
            found = [datestyles.styles_of(line) for line in lines or ["{DEFAULT}"]]
            self._styles = tuple(dict.fromkeys(style for styles in found for style in styles))
        self._name = self._named([line for line in lines if line.strip() != "{DEFAULT}"])
        # Where nothing but the default styles is looked for, a line can be dismissed at a glance.
        self._is_default = words in ([], ["{DEFAULT}"])
        # The years that a default style takes depend on the decade; this is when it must be found anew.
        self._decade_since, self._decade_until = math.inf, -math.inf
        # What lines began with lately, as far as is looked at, and where their dates are.
        self._heads: dict[str, DateHit] = {}
        self._accustomed: _Reader
        self._place: int
        self._reach: int
        self._last: DateHit
        self._text: str | None
        self._since: float
        self._until: float
        self._match: Callable[[str, int], re.Match[str] | None]
        self._cut: int
        # Finds the last date's text in another line, where that says all.
        self._again: Callable[[str], DateHit | None]
        self._forget(datestyles.PRESENT_DECADE)

    @property
    def name(self) -> tuple[str | None, str | None]:
        """The pattern and its readable name, as `get <jail> datepattern` shows them."""
        return self._name

    @property
    def stand_between_words(self) -> bool:
        """Whether each date stands between two characters of no word, or after two at most of them at
        the line's beginning."""
        return all(datestyles.stands_between_words(style) for style in self._styles)

    @property
    def stand_at_begin(self) -> bool:
        """Whether each date is what its line begins with."""
        return all(map(datestyles.stands_at_begin, self._styles))

    @property
    def is_harmless(self) -> bool:
        """Whether to look for a date in a line is always quick."""
        return not any(
            isinstance(reader.regex, Bounded)
            for reader in self._at_begin
            if reader.style.pattern not in datestyles.KNOWN
        )

    @property
    def habit(self) -> tuple[int, ...]:
        """What it has got used to.  Two with one habit find the same dates in the same lines."""
        number = {style: index for index, style in enumerate(self._styles)}
        orders = (*self._at_begin, *self._anywhere, self._accustomed)
        return (*(number.get(reader.style, -1) for reader in orders), self._place)

    def known(self, now: float) -> Known:
        """What is known of lines without a search, as long as it is `now` and `find` finds nothing new."""
        if not self._since <= now < self._until:
            self._heads.clear()
            self._again = _no_hit
        return self._reach, self._heads, self._again

    def find(self, line: str, now: float) -> DateHit | None:
        """The date in `line`; None if there is none."""
        if self._since <= now < self._until:
            hit = (self._reach and self._heads.get(line[: self._reach])) or self._again(line)
            if hit:
                return hit
        if not self._decade_since <= now < self._decade_until:
            self._enter_decade(now)
        if self._place > _LEAD_LENGTH:
            return self._look(line, now)
        match = self._match(line, self._place)
        if match is None:
            return self._look(line, now)
        return self._remember(self._accustomed, match, now)

    def find_all(self, lines: Iterable[str], now: float) -> list[DateHit | None]:
        """The date in each of `lines`, at half the cost where many have the same."""
        hits: list[DateHit | None] = []
        find, (reach, heads, again) = self.find, self.known(now)
        for line in lines:
            hit = heads.get(line[:reach]) if reach else again(line)
            if hit is None:
                hit = find(line, now)
                reach, heads, again = self.known(now)
            hits.append(hit)
        return hits

    def _look(self, line: str, now: float) -> DateHit | None:
        """The date in `line`: first at its beginning, then where the last one stood, then anywhere."""
        if not self._is_default or datestyles.dated_at_begin().match(line):
            places = range(_lead_of(line), -1, -1)
            for index, reader in enumerate(self._at_begin):
                for place in places:
                    match = reader.at(line, place)
                    if match is not None:
                        self._at_begin.insert(0, self._at_begin.pop(index))
                        return self._remember(reader, match, now)
        if not self._anywhere:
            return None
        match = self._match(line, self._place)
        if match is not None:
            return self._remember(self._accustomed, match, now)
        begin = 0
        if self._is_default:
            hint = datestyles.dated().search(line)
            if hint is None:
                return None
            begin = max(hint.end() - datestyles.LONGEST_DATE, 0)
        for index, reader in enumerate(self._anywhere):
            match = reader.search(line, begin)
            if match is not None:
                if index:
                    self._anywhere.insert(index - 1, self._anywhere.pop(index))
                return self._remember(reader, match, now)
        return None

    def _remember(self, reader: _Reader, match: re.Match[str], now: float) -> DateHit:
        start, end = match.span(reader.cut)
        if start < 0:
            # An optional group that is not there: nothing to cut out.
            start = end = match.start()
        text, last = match[reader.cut], self._last
        if reader is not self._accustomed:
            self._accustomed, self._match, self._cut = reader, reader.regex.match, reader.cut
            self._heads.clear()
        elif text == self._text and self._since <= now < self._until and reader.is_telling:
            if start != last.start:
                last = self._last = _hit(DateHit, (start, end, last.moment))
            self._know(match, last)
            return last
        last = self._last = _hit(DateHit, (start, end, reader.read(match, now)))
        since, until = max(reader.since, self._decade_since), min(reader.until, self._decade_until)
        if since != self._since or until != self._until:
            self._since, self._until = since, until
            self._heads.clear()
        self._text = text
        self._know(match, last)
        return last

    def _know(self, match: re.Match[str], hit: DateHit) -> None:
        """Keep in mind where the date of `match` stood, and that lines which begin alike have the same.

        With as much behind it as a default style looks at, a text is read the same in any line.
        """
        place = match.start()
        is_near = place <= _LEAD_LENGTH
        is_telling = is_near and not self._is_default and self._accustomed.is_telling
        self._again = _no_hit
        if is_telling and self._text:
            bracket = self._accustomed.bracket
            if bracket is not None and match.string[hit.end : hit.end + 1] == "]":
                self._again = _bracketed(bracket, self._text, hit.moment)
            else:
                self._again = _again(self._match, place, self._cut, self._text, hit.moment)
        if self._is_default and is_near:
            end = hit.end + _LOOKED_AT
            if end != self._reach or place != self._place or len(self._heads) >= _MOST_HEADS:
                self._heads.clear()
                self._reach = end
            known = match.string[:end]
            if len(known) == end:
                self._heads[known] = hit
        self._place = place

    def _enter_decade(self, now: float) -> None:
        """Take the years up to the end of the decade that begins, or goes on, three years ahead."""
        decade = max((time.gmtime(now).tm_year + 3) // 10, 200)
        begin, end = (date(year, 1, 1).toordinal() for year in (decade * 10 - 3, decade * 10 + 7))
        self._decade_since = (begin - _EPOCH_DAY) * _DAY if decade > 200 else -math.inf
        self._decade_until = (end - _EPOCH_DAY) * _DAY
        self._forget(decade - 200)

    def _forget(self, decade: int) -> None:
        """Begin anew, knowing no more than the styles."""
        self._at_begin = [_Reader(style, decade, self._zone) for style in self._styles]
        self._anywhere = [reader for reader in self._at_begin if not reader.is_tied]
        # The last date: who read it, where, its text, and when it would mean something else.
        self._accustomed = _Reader(_NO_STYLE, decade, self._zone)
        self._match = _no_match
        self._cut = 0
        self._again = _no_hit
        self._place = 0
        self._text = ""
        self._heads.clear()
        self._reach = 0
        self._last = DateHit(0, 0, None)
        self._since, self._until = math.inf, -math.inf

    def _named(self, lines: list[str]) -> tuple[str | None, str | None]:
        if self.takes_now:
            return None, None
        is_short = 1 <= len(lines) <= 2 and lines[0].strip() != "{^LN-BEG}"
        return datestyles.name_of(lines[0]) if is_short else (None, "Default Detectors")


class _Reader:
    """Reads the dates of one style.

    `since` and `until` tell for the date read last when one must be now for it to mean the same.
    """

    def __init__(self, style: Style, decade: int, zone: Zone) -> None:
        self.is_tied = style.is_tied
        self.since, self.until = -math.inf, math.inf
        self.style = style
        self._decade = decade
        self._zone = zone
        self._named_zones: dict[str, Zone] = {}
        # Midnights by the texts that tell the day, and when they hold.
        self._days: dict[tuple[str | None, ...], float] = {}
        self._days_since, self._days_until = -math.inf, math.inf

    def at(self, line: str, place: int) -> re.Match[str] | None:
        """The date that begins at `place` (of a tied style: at the line's beginning)."""
        return self.regex.match(line, 0 if self.is_tied else place)

    def search(self, line: str, begin: int) -> re.Match[str] | None:
        """The first date from `begin` on."""
        return self.regex.search(line, begin, begin + (self.style.reach or len(line)))

    def read(self, match: re.Match[str], now: float) -> float | None:
        """The moment that `match` means; None if it is an impossible one."""
        if not self._quick_groups:
            return self._read_in_full(match, now).moment
        got = match.group(*self._quick_groups)
        if self._days_since <= now < self._days_until:
            try:
                time_of_day = _HOURS[got[0]] + _MINUTES[got[1]] + _SECONDS[got[2]]
                moment = self._days[got[3:]] + time_of_day
            except KeyError:
                pass
            else:
                self.since, self.until = self._days_since, self._days_until
                return moment
        else:
            self._days.clear()
            self._days_since, self._days_until = -math.inf, math.inf
        reading = self._read_in_full(match, now)
        if reading.midnight is not None:
            self._keep(got[3:], reading.midnight, reading)
        return reading.moment

    def _keep(self, day: tuple[str | None, ...], midnight: float, reading: _Reading) -> None:
        if len(self._days) >= _DAYS_KEPT:
            self._days.clear()
        self._days[day] = midnight
        self._days_since = max(self._days_since, reading.since)
        self._days_until = min(self._days_until, reading.until)

    @functools.cached_property
    def _found(self) -> Compiled:
        return datestyles.compiled(self.style, self._decade)

    @functools.cached_property
    def regex(self) -> re.Pattern[str] | Bounded:
        found = self._found.regex
        if self.style.pattern in datestyles.KNOWN:
            return found
        # What others have written may take long.
        bounded = Bounded(found)
        return found if bounded.is_harmless else bounded

    @functools.cached_property
    def cut(self) -> int:
        """The group that is cut out of the line."""
        return self._found.cut

    @functools.cached_property
    def is_telling(self) -> bool:
        """Whether what is cut out of a line says all about the moment."""
        return self._found.is_telling

    @functools.cached_property
    def bracket(self) -> Bracket | None:
        """Behind which bracket its dates stand."""
        return self._found.bracket

    @functools.cached_property
    def _quick_groups(self) -> tuple[int, ...]:
        """The groups of hour, minute, second, then those that tell the day; () if there is more to it."""
        fields = self._found.fields
        known = {*_TIME_FIELDS, *_DAY_FIELDS, *_FIELDS_WITHOUT_MEANING}
        if not {*_TIME_FIELDS, "day"} <= fields.keys() <= known:
            return ()
        if any(len(fields[field]) > 1 for field in _TIME_FIELDS):
            return ()
        day = [group for field in _DAY_FIELDS for group in fields.get(field, ())]
        return (*(fields[field][0] for field in _TIME_FIELDS), *day)

    def _read_in_full(self, match: re.Match[str], now: float) -> _Reading:
        try:
            reading = self._meaning(match, now)
        except (ValueError, OverflowError, OSError):
            reading = _Reading(None, math.inf, -math.inf)
        self.since, self.until = reading.since, reading.until
        return reading

    def _meaning(self, match: re.Match[str], now: float) -> _Reading:
        given: dict[str, str] = {}
        for field, groups in self._found.fields.items():
            text = next((match[group] for group in groups if match[group] is not None), None)
            if text is not None:
                given[field] = text.strip()
        if "epoch" in given:
            return _Reading(_epoch(given["epoch"]))
        if "tai64n" in given:
            return _Reading(_tai64n(given["tai64n"]))
        return _meaning(given, self._zone_of(given.get("zone")), now)

    def _zone_of(self, text: str | None) -> Zone:
        if text is None:
            return self._zone
        if text not in self._named_zones:
            self._named_zones[text] = FixedZone(zones.offset_of(text.upper()))
        return self._named_zones[text]


def _again(
    match: Callable[[str, int], re.Match[str] | None],
    place: int,
    cut: int,
    text: str,
    moment: float | None,
) -> Callable[[str], DateHit | None]:
    """What finds the date `text` in other lines, where it has the same `moment`."""

    def again(line: str) -> DateHit | None:
        found = match(line, place)
        if found is None or found[cut] != text:
            return None
        return _hit(DateHit, (*found.span(cut), moment))

    return again


def _bracketed(
    bracket: Bracket, text: str, moment: float | None
) -> Callable[[str], DateHit | None]:
    """The same for a date behind such a bracket: that is found in a tenth of the time."""
    closed, length = text + "]", len(text)
    hits: dict[int, DateHit] = {}  # by where they start; there are few such places

    def hit_at(start: int) -> DateHit:
        hit = hits[start] = _hit(DateHit, (start, start + length, moment))
        return hit

    def behind_first(line: str) -> DateHit | None:
        start = line.find("[") + 1
        if not start or not line.startswith(closed, start):
            return None
        return hits.get(start) or hit_at(start)

    whole, behind = f'[{closed} "', length + 2  # as access logs have it; all else is looked for

    def behind_last_unquoted(line: str) -> DateHit | None:
        start = line.find('"') - behind
        # A place before the line would count from its end: too little is left there for `whole`.
        if not line.startswith(whole, start - 1) or line.find("\\", 0, start) >= 0:
            return None
        return hits.get(start) or hit_at(start)

    return behind_first if bracket is Bracket.FIRST else behind_last_unquoted


def _no_hit(line: str) -> DateHit | None:
    return None


def _no_match(line: str, place: int) -> re.Match[str] | None:
    return None


def _lead_of(line: str) -> int:
    """Where the first word begins; 0 where that is not at the line's beginning."""
    for place, character in enumerate(line[: _LEAD_LENGTH + 1]):
        if character.isalnum() or character == "_":
            return place
    return 0


def _epoch(text: str) -> float:
    whole = text.partition(".")[0]
    # Seconds have 10 or 11 digits; three or six more are thousandths or millionths.
    extra = max(len(whole) - 11, 0)
    return float(text) / (1 if not extra else 1e3 if extra <= 3 else 1e6)


def _tai64n(text: str) -> float:
    seconds = int(text[1:17], 16) - _TAI_ZERO
    if seconds >= 1 << 38:
        raise ValueError("thousands of years from now")
    return float(seconds)


def _meaning(given: Mapping[str, str], zone: Zone, now: float) -> _Reading:
    """What the fields of a date mean.  Raises ValueError or OverflowError where they cannot be."""
    hour, minute, second = _hour(given), int(given.get("minute", 0)), int(given.get("second", 0))
    if second > 59:
        raise ValueError("leap seconds are no moments of their own")

    def at(day: date) -> float:
        return zone.moment(day, hour, minute, second, now)

    today = zone.today(now)
    if "year" in given or "short_year" in given:
        year = int(given["year"]) if "year" in given else 2000 + int(given["short_year"])
        day = _day_of(year, given, today)
        midnight = zone.midnight(day)
        if midnight is None or not _is_whole(given):
            return _Reading(at(day), math.inf, -math.inf)
        return _Reading(at(day), midnight=midnight)
    if not given.keys() & {"day", "month", "month_name", "yearday", "monday_week", "sunday_week"}:
        moment = at(today)
        moment = at(today - timedelta(days=1)) if moment > now else moment
        return _Reading(moment, math.inf, -math.inf)
    return _without_year(given, zone, at_hour=(hour, minute, second), now=now)


def _without_year(
    given: Mapping[str, str], zone: Zone, at_hour: tuple[int, int, int], now: float
) -> _Reading:
    """The last time that it was this day of the year, or will be before the same time tomorrow."""
    today = zone.today(now)
    soon = zone.today(now + _NEW_YEAR_SKEW)
    if soon.year > today.year:
        moment = zone.moment(_day_of(soon.year, given, soon), *at_hour, now)
        if moment <= now + _NEW_YEAR_SKEW:
            return _Reading(moment, math.inf, -math.inf)
    day = _day_of(today.year, given, today)
    moment = zone.moment(day, *at_hour, now)
    if moment > now + _DAY:
        if not given.keys() & {"month", "month_name", "yearday", "monday_week", "sunday_week"}:
            before = today.replace(day=1) - timedelta(days=1)
        else:
            before = date(today.year - 1, today.month, 1)
        day = _day_of(before.year, given, before)
        return _Reading(zone.moment(day, *at_hour, now), math.inf, -math.inf)
    midnight = zone.midnight(day)
    if midnight is None or midnight > now or not _is_whole(given):
        return _Reading(moment, math.inf, -math.inf)
    new_year = zone.moment(date(today.year + 1, 1, 1), 0, 0, 0, now)
    return _Reading(moment, now, new_year - _NEW_YEAR_SKEW, midnight)


def _is_whole(given: Mapping[str, str]) -> bool:
    """Whether only the year can be missing."""
    return "day" in given and bool(given.keys() & {"month", "month_name"})


def _day_of(year: int, given: Mapping[str, str], today: date) -> date:
    """The day in `year`; what is not given of it is today's."""
    if "yearday" in given:
        day = date(year, 1, 1) + timedelta(days=int(given["yearday"]) - 1)
        if day.year != year:
            raise ValueError("no such day in this year")
        return day
    month = _month(given)
    if month is not None:
        return date(year, month, int(given.get("day", 1)))
    weekday = _weekday(given)
    first = date(year, 1, 1)
    if "monday_week" in given and weekday is not None:
        days = (-first.weekday()) % 7 + weekday
        return first + timedelta(weeks=int(given["monday_week"]) - 1, days=days)
    if "sunday_week" in given and weekday is not None:
        days = (6 - first.weekday()) % 7 + (weekday + 1) % 7
        return first + timedelta(weeks=int(given["sunday_week"]) - 1, days=days)
    return date(year, today.month, int(given.get("day", today.day)))


def _month(given: Mapping[str, str]) -> int | None:
    if "month" in given:
        return int(given["month"])
    name = given.get("month_name", "").lower()
    return next(
        (n for month, n in datestyles.MONTHS.items() if name and month[:3] == name[:3]), None
    )


def _weekday(given: Mapping[str, str]) -> int | None:
    """0 is Monday."""
    if "weekday" in given:
        return (int(given["weekday"]) - 1) % 7
    name = given.get("weekday_name", "").lower()
    return next((n for day, n in datestyles.WEEKDAYS.items() if name and day[:3] == name[:3]), None)


def _hour(given: Mapping[str, str]) -> int:
    if "hour" in given or "hour12" not in given:
        return int(given.get("hour", 0))
    hour = int(given["hour12"])
    half = given.get("half", "").lower()
    if not half:
        return hour
    return hour % 12 + (12 if half == "pm" else 0)
