# SPDX-License-Identifier: GPL-2.0-or-later
"""How often a host failed lately: an exact sliding window.  Knows no clock, ban or file."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from server.records import Failure


class FailureCounter:
    """The failures of each host that still matter, at most `max_retry` of them.

    Time is the log's.  At most `ceiling` hosts are remembered: beyond that, the one that has been
    quiet for longest is forgotten first, and `forgotten` tells how many were.
    """

    def __init__(self, max_retry: int, find_time: float, ceiling: int = 1_000_000) -> None:
        self._max_retry = max_retry
        self._find_time = find_time
        self._ceiling = ceiling
        self._recent: OrderedDict[str, list[Failure]] = OrderedDict()
        self._is_each_one = True  # as long as no failure has counted more than once
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._recent)

    def __contains__(self, host: object) -> bool:
        return host in self._recent

    def add(self, failure: Failure) -> int:
        """Count `failure`; return how often its host has failed within the window."""
        if failure.attempts != 1:
            self._is_each_one = False
        recent = self._recent.get(failure.host)
        if recent is None:
            self._recent[failure.host] = [failure]
            if len(self._recent) > self._ceiling:
                self._recent.popitem(last=False)
                self.forgotten += 1
            return failure.attempts
        self._recent.move_to_end(failure.host)
        recent.append(failure)
        if failure.when < recent[-2].when:  # logs of several files may overlap
            recent.sort(key=lambda one: one.when)
        horizon = recent[-1].when - self._find_time
        while recent[0].when < horizon or len(recent) > self._max_retry:
            del recent[0]
        return len(recent) if self._is_each_one else sum(one.attempts for one in recent)

    def of(self, host: str) -> tuple[Failure, ...]:
        """The failures of `host` that are counted now, oldest first."""
        return tuple(self._recent.get(host, ()))

    def everything(self) -> Iterator[Failure]:
        """All failures that are counted now, those of each host in their order."""
        for recent in self._recent.values():
            yield from recent

    def take(self, host: str) -> tuple[Failure, ...]:
        """The same, and forget them."""
        return tuple(self._recent.pop(host, ()))

    def drop_older_than(self, horizon: float) -> None:
        """Forget the hosts whose last failure was before `horizon`."""
        while self._recent:
            host, recent = next(iter(self._recent.items()))
            if recent[-1].when >= horizon:
                return
            del self._recent[host]

    def change(self, max_retry: int, find_time: float) -> None:
        """Count by other figures from now on; what is remembered stays."""
        self._max_retry = max_retry
        self._find_time = find_time
