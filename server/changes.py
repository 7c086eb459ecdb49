# SPDX-License-Identifier: GPL-2.0-or-later
"""What waits to be written into the database, as net effect.  Knows no file and no thread."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from server.portion import Portion, together
from server.records import Ban, Position


@dataclass(slots=True)
class Changes:
    """What one jail has to have written, as net effect.

    Written in this order: forget everything of the jail, settle hosts, then portions of failures (with
    their place in the order of all), bans (with the number of the host's bans), lifted bans (with the
    moment), positions.  A host is settled in so many of the portions, and in all that is written.
    """

    is_forgotten: bool = False
    settled: dict[str, int] = field(default_factory=dict)
    portions: list[tuple[int, Portion]] = field(default_factory=list)
    banned: dict[str, tuple[Ban, int]] = field(default_factory=dict)
    lifted: dict[str, float] = field(default_factory=dict)
    positions: dict[str, Position | str] = field(default_factory=dict)

    def settle(self, host: str) -> None:
        self.settled[host] = len(self.portions)

    @property
    def failures(self) -> int:
        """How many wait, with those that are settled."""
        return sum(len(portion) for _, portion in self.portions)

    def tidy(self) -> None:
        """Let go of the failures that are settled."""
        if not any(self.settled.values()):
            return
        left: list[tuple[int, Portion]] = []
        for at, (number, portion) in enumerate(self.portions):
            left += (
                (number, one) for one in together([portion.parts.kept(standing(self.settled, at))])
            )
        self.portions = left
        self.settled = dict.fromkeys(self.settled, 0)

    def give_up(self, first: int) -> None:
        """Let go of the portions before that with the number `first`."""
        gone = sum(number < first for number, _ in self.portions)
        del self.portions[:gone]
        self.settled = {host: max(0, upto - gone) for host, upto in self.settled.items()}

    def ban(self, ban: Ban, total: int) -> None:
        self.lifted.pop(ban.host, None)
        self.banned[ban.host] = ban, total

    def followed_by(self, later: Changes) -> Changes:
        """This and then `later`, as one."""
        if later.is_forgotten:
            return later
        before = len(self.portions)
        self.settled.update({host: before + upto for host, upto in later.settled.items()})
        self.portions += later.portions
        for ban, total in later.banned.values():
            self.ban(ban, total)
        self.lifted.update(later.lifted)
        self.positions.update(later.positions)
        return self


def standing(
    settled: Mapping[str, int], at: int, since: float = -math.inf
) -> Callable[[str, float], bool]:
    """Tells whose failures, and of when, still count in the portion `at`."""
    upto = settled.get
    return lambda host, when: when >= since and upto(host, 0) <= at
