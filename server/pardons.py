# SPDX-License-Identifier: GPL-2.0-or-later
"""Who was let in again by hand, and when: what happened before that is forgiven.

Lines may wait to be read, names to be looked up, bans to be taken up after a restart; none of it puts
back what a person has lifted.  Knows no clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from common.address import Network, first_of, holds, place_of

_MOST = 10_000  # beyond that the oldest are forgotten


class Pardons:
    """Moments by host or network, each for as long as older failures would count."""

    def __init__(self) -> None:
        self._moments: dict[str, float] = {}
        self._networks: dict[tuple[int, int], dict[int, float]] = {}
        self._all = -math.inf

    def __bool__(self) -> bool:
        return bool(self._moments) or self._all > -math.inf

    def pardon(self, host: str, moment: float) -> None:
        self._moments.pop(host, None)  # it is to stand last
        self._moments[host] = moment
        if (place := _wide(host)) is not None:
            self._networks.setdefault(place[:2], {})[place[2]] = moment
        while len(self._moments) > _MOST:
            self._drop(next(iter(self._moments)))

    def pardon_all(self, moment: float) -> None:
        self._moments.clear()
        self._networks.clear()
        self._all = moment

    def take_up(self, lifted: Mapping[str, float]) -> None:
        """Know what an earlier run has lifted, too."""
        for host, moment in lifted.items():
            if moment > self._moments.get(host, -math.inf):
                self.pardon(host, moment)

    def forgive(self, host: str, when: float) -> bool:
        """Whether what `host` did at that moment counts no longer.

        Many logs know whole seconds only: of the second of the pardon itself nothing is forgiven, or
        what comes after it would be, too.
        """
        if _is_before(when, max(self._all, self._moments.get(host, -math.inf))):
            return True
        place = place_of(host) if self._networks else None
        return place is not None and any(
            _is_before(when, moments.get(first_of(version, length, place[2]), -math.inf))
            for (version, length), moments in self._networks.items()
            if version == place[0] and length <= place[1]
        )

    def since(self, moment: float, host: str) -> Iterator[str]:
        """What of `host`, or around it, was let in at that moment or later."""
        place = place_of(host)
        for other, when in self._moments.items():
            if when >= moment and (other == host or _meet(place, place_of(other))):
                yield other
        if self._all >= moment:
            yield host

    def follow_clock(self, step: float) -> None:
        self._all += step
        for host, moment in list(self._moments.items()):
            self.pardon(host, moment + step)

    def drop_older_than(self, horizon: float) -> None:
        """Forget what was before `horizon`: failures that old count for nothing anyway."""
        if self._all < horizon:
            self._all = -math.inf
        while self._moments:
            host, moment = next(iter(self._moments.items()))
            if moment >= horizon:
                return
            self._drop(host)

    def _drop(self, host: str) -> None:
        del self._moments[host]
        if (place := _wide(host)) is not None:
            self._networks.get(place[:2], {}).pop(place[2], None)
            if not self._networks.get(place[:2], True):
                del self._networks[place[:2]]


def _is_before(when: float, moment: float) -> bool:
    is_of_its_second = moment - when < 1 and when == when // 1
    return when < moment and not is_of_its_second


def _wide(host: str) -> Network | None:
    """The place of `host` if it is a network."""
    return place_of(host) if "/" in host else None


def _meet(one: Network | None, other: Network | None) -> bool:
    return one is not None and other is not None and (holds(one, other) or holds(other, one))
