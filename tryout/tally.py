# SPDX-License-Identifier: GPL-2.0-or-later
"""Counts what a filter makes of lines.  Plain arithmetic and lists; prints nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from server.dates import DateDetector
from server.filter import Filter, Verdict

MISSED, MATCHED, IGNORED = "missed", "matched", "ignored"


@dataclass(frozen=True, slots=True)
class Judged:
    """A line, and what became of it."""

    line: str
    verdict: Verdict

    @property
    def fate(self) -> str:
        if self.verdict.is_missed:
            return MISSED
        return MATCHED if self.verdict.failure is not None else IGNORED


@dataclass(slots=True)
class Tally:
    """What came of all lines.  `kept` are lines to print, at most `most_kept` of each fate."""

    checks_all: bool = True
    most_kept: float = 20
    total: int = 0
    fates: Counter[str] = field(default_factory=Counter)
    rules: Counter[int] = field(default_factory=Counter)
    ignore_rules: Counter[int] = field(default_factory=Counter)
    dates: Counter[str] = field(default_factory=Counter)
    kept: dict[str, list[Judged]] = field(default_factory=dict)
    hits: dict[int, list[Judged]] = field(default_factory=dict)

    def add(self, judged: Judged, date: str | None) -> None:
        """Count one line; `date` is the name of the style of its date."""
        verdict = judged.verdict
        self.total += 1
        self.fates[judged.fate] += 1
        if date is not None:
            self.dates[date] += 1
        rules = verdict.rules if self.checks_all else verdict.rules[:1]
        self.rules.update(rules)
        for rule in rules:
            hits = self.hits.setdefault(rule, [])
            if len(hits) < self.most_kept:
                hits.append(judged)
        if verdict.ignored_by >= 0:
            self.ignore_rules[verdict.ignored_by] += 1
        kept = self.kept.setdefault(judged.fate, [])
        if len(kept) < self.most_kept:
            kept.append(judged)


# What takes a date pattern's place where the detector found a default style.
_DEFAULT = "default style"


def judged_lines(
    filter: Filter, lines: Iterable[tuple[float | None, str]], now: float
) -> Iterator[Judged]:
    """What `filter` makes of each line; comments and empty lines are passed over."""
    for when, line in lines:
        if line.startswith("#") or not line.strip():
            continue
        yield Judged(line, filter.judge(line, now, when))


def date_name(detector: DateDetector, judged: Judged) -> str | None:
    """What the style of a line's date is called in the summary."""
    if judged.verdict.date is None:
        return None
    pattern, name = detector.name
    if pattern is not None:
        return pattern
    hit = judged.verdict.date
    return shape_of(judged.line[hit.start : hit.end]) if name == "Default Detectors" else name


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
