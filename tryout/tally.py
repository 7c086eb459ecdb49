# SPDX-License-Identifier: GPL-2.0-or-later
"""Counts what a filter makes of lines.  Plain arithmetic and lists; prints nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from server.dates import DateDetector, DateHit
from server.filter import Filter, Verdict

MISSED, MATCHED, IGNORED = "missed", "matched", "ignored"
FATES = (MISSED, MATCHED, IGNORED)


class Judged(NamedTuple):
    """A line, and what became of it."""

    line: str
    verdict: Verdict

    @property
    def fate(self) -> str:
        if self.verdict.is_missed:
            return MISSED
        return MATCHED if self.verdict.failure is not None else IGNORED


class Passed(NamedTuple):
    """Lines one after the other that match nothing, and the date of each."""

    lines: Sequence[str]
    dates: Sequence[DateHit | None]


class Kept(NamedTuple):
    """A line to print, and what of it was its date."""

    line: str
    date: str | None


class Hit(NamedTuple):
    """Whom a failregex blamed, and when that was."""

    who: str
    when: float


class DateNames:
    """What the style of a line's date is called in the summary."""

    def __init__(self, detector: DateDetector) -> None:
        pattern, name = detector.name
        # Of the default styles there is none: each is called after how it looks.
        self.only = pattern if pattern is not None or name == "Default Detectors" else name
        self._shapes: dict[str, str] = {}
        self._last: tuple[DateHit | None, str | None] = None, None

    def of(self, line: str, hit: DateHit | None) -> str | None:
        if hit is None or self.only is not None:
            return None if hit is None else self.only
        last, name = self._last
        if hit is not last:  # of the same second there is but one
            name = self._shape_of(line, hit)
            self._last = hit, name
        return name

    def _shape_of(self, line: str, hit: DateHit) -> str:
        digits = line[hit.start : hit.end].translate(_NINES)
        shape = self._shapes.get(digits)
        if shape is None:
            if len(self._shapes) >= _MOST_SHAPES:
                self._shapes.clear()
            shape = self._shapes[digits] = shape_of(digits)
        return shape


@dataclass(slots=True)
class Tally:
    """What came of all lines.  `kept` are lines to print, at most `most_kept` of each fate."""

    names: DateNames
    checks_all: bool = True
    most_kept: float = 20
    total: int = 0
    fates: Counter[str] = field(default_factory=Counter)
    rules: Counter[int] = field(default_factory=Counter)
    ignore_rules: Counter[int] = field(default_factory=Counter)
    dates: Counter[str] = field(default_factory=Counter)
    kept: dict[str, list[Kept]] = field(default_factory=lambda: {fate: [] for fate in FATES})
    hits: dict[int, list[Hit]] = field(default_factory=dict)

    def add(self, judged: Judged) -> None:
        """Count one line."""
        verdict, fate = judged.verdict, judged.fate
        self.total += 1
        self.fates[fate] += 1
        date = self.names.of(judged.line, verdict.date)
        if date is not None:
            self.dates[date] += 1
        rules = verdict.rules if self.checks_all else verdict.rules[:1]
        for rule in rules:
            self.rules[rule] += 1
            hits = self.hits.setdefault(rule, [])
            if len(hits) < self.most_kept:
                failure = verdict.failure
                hits.append(Hit(failure.host if failure else "-", verdict.when))
        if verdict.ignored_by >= 0:
            self.ignore_rules[verdict.ignored_by] += 1
        kept = self.kept[fate]
        if len(kept) < self.most_kept:
            kept.append(_kept(judged.line, verdict.date))

    def add_passed(self, passed: Passed) -> None:
        """Count lines that match nothing."""
        lines, dates = passed
        self.total += len(lines)
        self.fates[MISSED] += len(lines)
        if self.names.only is not None:
            found = len(dates) - dates.count(None)
            if found:
                self.dates[self.names.only] += found
        else:
            self._count_shapes(lines, dates)
        kept = self.kept[MISSED]
        if len(kept) < self.most_kept:
            room = len(lines) if self.most_kept == float("inf") else int(self.most_kept) - len(kept)
            kept += map(_kept, lines[:room], dates[:room])

    def _count_shapes(self, lines: Sequence[str], dates: Sequence[DateHit | None]) -> None:
        of, counts = self.names.of, self.dates
        last: DateHit | None = None
        name: str | None = None
        for line, hit in zip(lines, dates, strict=True):
            if hit is not last:  # of the same second there is but one
                last, name = hit, of(line, hit)
            if name is not None:
                counts[name] += 1

    def to_data(self) -> dict[str, Any]:
        """All of it as what JSON can say."""
        return {
            "total": self.total,
            "fates": dict(self.fates),
            "rules": list(self.rules.items()),
            "ignore_rules": list(self.ignore_rules.items()),
            "dates": dict(self.dates),
            "kept": self.kept,
            "hits": list(self.hits.items()),
        }

    def take(self, data: dict[str, Any]) -> None:
        """Add what another one made of the lines that follow, told by its `to_data`."""
        self.total += data["total"]
        self.fates.update(data["fates"])
        self.rules.update(dict(data["rules"]))
        self.ignore_rules.update(dict(data["ignore_rules"]))
        self.dates.update(data["dates"])
        for fate, lines in data["kept"].items():
            self._keep(self.kept[fate], (Kept(*each) for each in lines))
        for rule, hits in data["hits"]:
            self._keep(self.hits.setdefault(rule, []), (Hit(*each) for each in hits))

    def _keep(self, kept: list[Any], more: Iterable[Any]) -> None:
        for each in more:
            if len(kept) < self.most_kept:
                kept.append(each)


def _kept(line: str, hit: DateHit | None) -> Kept:
    return Kept(line, line[hit.start : hit.end] if hit else None)


def judged_lines(
    filter: Filter, lines: Iterable[tuple[float | None, str]], now: float
) -> Iterator[Judged]:
    """What `filter` makes of each line; comments and empty lines are passed over."""
    for when, line in lines:
        if not is_nothing(line):
            yield Judged(line, filter.judge(line, now, when))


def is_nothing(line: str) -> bool:
    """Whether a line is a comment or empty."""
    return line.startswith("#") or not line.strip()


_MOST_SHAPES = 4096
_NINES = str.maketrans("012345678", "999999999")
_WORD = re.compile(r"(?P<month>[A-Z][a-z]{2}\b)|(?P<letters>[A-Za-z]+)|(?P<digits>\d+)")
_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


def shape_of(date: str) -> str:
    """How a date is written, whatever day it is: `MON 99 99:99:99`."""

    def letter(found: re.Match[str]) -> str:
        word = found[0]
        if found["digits"]:
            return "9" * len(word)
        return "MON" if word in _MONTHS else "DAY" if found["month"] else word

    return _WORD.sub(letter, date)
