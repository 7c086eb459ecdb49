# SPDX-License-Identifier: GPL-2.0-or-later
"""What is to be made of a log: counts for the summary, or lines to print; here or part by part.

A part can be worked off by another process that has not read what stands before it.  What comes
of it is taken only if the filter began and ended it in the same habits.  Opens nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from common.options import JailConf
from server.dates import DateHit
from tryout.report import Printer
from tryout.tally import DateNames, Judged, Passed, Tally
from tryout.trial import Put, Trial

# Where lines of one connection depend on each other, those that match are judged by one process; with
# so many of them the others would have little to do.
_MOST_PUTS = 0.2


class Job(Protocol):
    """Something to be made of a log's blocks, one after the other."""

    trial: Trial

    def block(self, data: bytes) -> None:
        """Work off a block."""

    def can_be_shared(self) -> bool:
        """Whether others can help, by what has been seen so far."""

    def warm(self, data: bytes) -> None:
        """Read a block only to get into the habits."""

    def part(self, blocks: Iterable[bytes]) -> dict[str, Any]:
        """What becomes of the blocks of a part, for `take` of the process that has the whole."""

    def take(self, made: dict[str, Any]) -> None:
        """Add what another process made of the next part."""


class Counting:
    """Counts, for the summary."""

    def __init__(self, conf: JailConf, now: float, checks_all: bool, most_kept: float) -> None:
        self.trial = Trial(conf)
        self._now = now
        self._checks_all, self._most_kept = checks_all, most_kept
        self.tally = self._tally()

    def block(self, data: bytes) -> None:
        self._count(self.tally, data)

    def can_be_shared(self) -> bool:
        missed, total = self.tally.fates["missed"], self.tally.total
        is_for_one = self.trial.has_talks and total - missed > total * _MOST_PUTS
        return self.trial.is_in_pieces and not is_for_one and self._most_kept < float("inf")

    def warm(self, data: bytes) -> None:
        for _ in self.trial.told(data, self._now, puts=True):
            pass

    def part(self, blocks: Iterable[bytes]) -> dict[str, Any]:
        tally = self._tally()
        puts = [put for data in blocks for put in self._count(tally, data, self.trial.has_talks)]
        return {"tally": tally.to_data(), "puts": [_packed(put) for put in puts]}

    def take(self, made: dict[str, Any]) -> None:
        self.tally.take(made["tally"])
        for put in made["puts"]:
            self.tally.add(self.trial.settled(_unpacked(put)))

    def _count(self, tally: Tally, data: bytes, puts: bool = False) -> list[Put]:
        """Count the lines of a block in `tally`; those put off are left for others."""
        left: list[Put] = []
        for event in self.trial.told(data, self._now, puts=puts):
            if isinstance(event, Passed):
                tally.add_passed(event)
            elif isinstance(event, Judged):
                tally.add(event)
            else:
                left.append(event)
        return left

    def _tally(self) -> Tally:
        return Tally(DateNames(self.trial.filter.dates), self._checks_all, self._most_kept)


def _packed(put: Put) -> list[Any]:
    date = put.date
    return [put.line, put.when, date and [date.start, date.end, date.moment], put.rules]


def _unpacked(data: list[Any]) -> Put:
    line, when, date, rules = data
    return Put(line, when, date and DateHit(*date), rules)


class Printing:
    """Prints something of each line that matches."""

    def __init__(
        self, conf: JailConf, now: float, show: Printer, out: Callable[[str], None]
    ) -> None:
        self.trial = Trial(conf)
        self._now, self._show, self._out = now, show, out

    def block(self, data: bytes) -> None:
        for line, failure in self.trial.found(data, self._now):
            self._out(self._show(line, failure))

    def can_be_shared(self) -> bool:
        # Of conversations only one process can say what failed; by a search over blocks it is quick.
        return self.trial.is_in_pieces and not self.trial.has_talks

    def warm(self, data: bytes) -> None:
        for _ in self.trial.found(data, self._now):
            pass

    def part(self, blocks: Iterable[bytes]) -> dict[str, Any]:
        found = (each for data in blocks for each in self.trial.found(data, self._now))
        return {"out": [self._show(line, failure) for line, failure in found]}

    def take(self, made: dict[str, Any]) -> None:
        for text in made["out"]:
            self._out(text)
