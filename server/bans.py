# SPDX-License-Identifier: GPL-2.0-or-later
"""Who is banned until when.  Knows no clock, and nothing of what shuts a host out."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator

from server.records import Ban


class BanList:
    """The bans of one jail, each host once, in the order in which they began."""

    def __init__(self) -> None:
        self._bans: dict[str, Ban] = {}
        # Ends to come; an entry whose ban was lifted or prolonged meanwhile is passed over.
        self._ends: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._bans)

    def __contains__(self, host: object) -> bool:
        return host in self._bans

    def __iter__(self) -> Iterator[Ban]:
        return iter(tuple(self._bans.values()))

    def get(self, host: str) -> Ban | None:
        return self._bans.get(host)

    def put(self, ban: Ban) -> None:
        """Remember `ban`, in the place of an earlier one of its host."""
        self._bans[ban.host] = ban
        if math.isfinite(ban.until):
            heapq.heappush(self._ends, (ban.until, ban.host))

    def take(self, host: str) -> Ban | None:
        """Take out and return the ban of `host`."""
        return self._bans.pop(host, None)

    def take_over(self, now: float) -> list[Ban]:
        """Take out and return the bans that are over, those that ended first in front."""
        over = []
        while self._ends and self._ends[0][0] <= now:
            until, host = heapq.heappop(self._ends)
            if self._is_end_of(host, until):
                over.append(self._bans.pop(host))
        return over

    @property
    def next_end(self) -> float:
        """When the next ban ends; `math.inf` if none ever does."""
        while self._ends and not self._is_end_of(self._ends[0][1], self._ends[0][0]):
            heapq.heappop(self._ends)
        return self._ends[0][0] if self._ends else math.inf

    def _is_end_of(self, host: str, until: float) -> bool:
        ban = self._bans.get(host)
        return ban is not None and ban.until == until
