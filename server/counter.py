# SPDX-License-Identifier: GPL-2.0-or-later
"""How often a host failed lately: an exact sliding window.  Knows no clock, ban or file.

Failures are kept packed: of a hundred thousand hosts each takes some 300 bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice, takewhile
from typing import TypeVar

from server.packing import Packer, lines_begin_in, moment_in, moment_of
from server.records import Failure

MOST_HOSTS = 200_000
# What lines, users and the like of a host may take on the average: who writes longer lines fills the
# ceiling with fewer hosts.  Small ceilings have this for a thousand.
_BYTES_A_HOST = 1024
_LEAST_BYTES = 1000 * _BYTES_A_HOST
# At the ceiling room is made for so large a part of it at once, and so large a part is left to hosts
# that failed only once: else newcomers would displace each other where all others have failed twice.
_ROOM = 64
_NEWCOMERS = 8

_T = TypeVar("_T")


class FailureCounter:
    """The failures of each host that still matter, at most `max_retry` of them.

    Time is the log's.  Lines are kept of the last `max_matches` failures of a host.

    At most `max_hosts` are remembered.  Beyond that, those are forgotten first that failed only once,
    from the one that has been quiet for longest on; then, of the others that have been quiet for
    long, those with the fewest failures.  So who wants a host forgotten that has failed n times has to
    have as many hosts as the ceiling has places fail about as often, and each of these failures
    is found out as well.
    """

    def __init__(
        self,
        max_retry: int,
        find_time: float,
        max_hosts: int = MOST_HOSTS,
        max_matches: int = 5,
        packer: Packer | None = None,
    ) -> None:
        # Hosts that failed once, and others, each in the order of their last failures.
        self._once: dict[str, bytes] = {}
        self._again: dict[str, list[bytes]] = {}
        self._packer = packer or Packer()
        self._size = 0  # of all that is packed, in bytes
        self._gone = 0  # hosts that stood in front of the dictionaries, and were dropped
        self._oldest = -math.inf  # no host's last failure was before
        self._newest = -math.inf  # no failure was after
        self._eldest = math.inf  # … or, of those that are kept, before
        self.forgotten: list[str] = []  # hosts, at the ceiling, until somebody takes them
        self.change(max_retry, find_time, max_hosts, max_matches)

    def __len__(self) -> int:
        return len(self._once) + len(self._again)

    def __contains__(self, host: object) -> bool:
        return host in self._once or host in self._again

    def add(self, failure: Failure) -> int:
        """Count `failure`; return how often its host has failed within the window."""
        return self.put((failure.host,), (failure.when,), (self._packer.pack(failure),))[1]

    def put(
        self,
        hosts: Sequence[str],
        moments: Sequence[float],
        packed: Sequence[bytes],
        begin: int = 0,
        enough: float = math.inf,
    ) -> tuple[int, int]:
        """Count failures that the counter's packer has packed, from `begin` on, of which there must be one.

        It stops behind one by which its host has failed `enough` times within the window, or for which
        others were forgotten.  Returns how many are counted then, and how often the last one's host failed.
        """
        again, once, packer = self._again, self._once, self._packer
        max_retry, find_time, max_matches = self._max_retry, self._find_time, self._max_matches
        size, newest, eldest = self._size, self._newest, self._eldest
        at, times = begin, 0
        for at in range(begin, len(hosts)):
            host, when, one = hosts[at], moments[at], packed[at]
            recent = again.pop(host, None)
            if recent is None:
                recent = [once.pop(host)] if host in once else []
            recent.append(one)
            size, many = size + len(one), len(recent)
            if when >= newest:
                newest = when
            else:  # logs of several files may overlap
                eldest = min(when, eldest)
                if many > 1 and when < moment_of(recent[-2]):
                    recent.sort(key=moment_of)
                    when = moment_of(recent[-1])
            if many == 1:
                eldest = min(when, eldest)
                once[host] = one
            else:
                again[host] = recent
                horizon = when - find_time
                while many > max_retry or (horizon > eldest and moment_in(recent[0])[0] < horizon):
                    size, many = size - len(recent[0]), many - 1
                    del recent[0]
                # An action is told the last lines only.  Where a failure has none, those before are wanted.
                last = many - max_matches - 1
                if last >= 0 and packer.has_each_lines:
                    long = recent[last]
                    recent[last] = short = long[: lines_begin_in(long)[0]]
                    size += len(short) - len(long)
            if size > self._max_size or len(once) + len(again) > self._max_hosts:
                self._size = size
                self._make_room(host)
                size = self._size
            times = many if packer.is_each_one else sum(map(packer.attempts_of, recent))
            if times >= enough or self.forgotten:
                break
        self._size, self._newest, self._eldest = size, newest, eldest
        return at + 1, times

    def of(self, host: str) -> tuple[Failure, ...]:
        """The failures of `host` that are counted now, oldest first."""
        return self._unpacked(host, self._held(host))

    def everything(self) -> Iterator[Failure]:
        """All failures that are counted now, those of each host in their order."""
        for host in self.hosts():
            yield from self.of(host)

    def hosts(self) -> Iterator[str]:
        """All hosts that are counted."""
        return chain(self._once, self._again)

    def take(self, host: str) -> tuple[Failure, ...]:
        """The failures of `host`, which are then forgotten."""
        packed = self._held(host)
        self._forget(host)
        return self._unpacked(host, packed)

    def drop_older_than(self, horizon: float) -> None:
        """Forget the hosts whose last failure was before `horizon`."""
        if horizon <= self._oldest:
            return
        over = [
            *_first_of(self._once, lambda packed: moment_of(packed) < horizon),
            *_first_of(self._again, lambda recent: moment_of(recent[-1]) < horizon),
        ]
        for host in over:
            self._forget(host)
        # Python's dictionaries do not shrink by themselves, and look past what was in front.
        self._gone += len(over)
        if self._gone > 1000 + len(self) // 4:
            self._once, self._again, self._gone = dict(self._once), dict(self._again), 0
            first = chain(self._once.values(), (recent[0] for recent in self._again.values()))
            self._eldest = min(map(moment_of, first), default=math.inf)
        fronts = [moment_of(packed) for packed in islice(self._once.values(), 1)]
        fronts += [moment_of(recent[-1]) for recent in islice(self._again.values(), 1)]
        self._oldest = min(fronts, default=-math.inf)

    def pop_forgotten(self) -> list[str]:
        """The hosts that were forgotten at the ceiling since the last call."""
        forgotten, self.forgotten = self.forgotten, []
        return forgotten

    def change(
        self, max_retry: int, find_time: float, max_hosts: int = MOST_HOSTS, max_matches: int = 5
    ) -> None:
        """Count by other figures from now on; what is remembered stays."""
        self._max_retry = max_retry
        self._find_time = find_time
        self._max_hosts = max_hosts
        self._max_size = max(max_hosts * _BYTES_A_HOST, _LEAST_BYTES)
        self._max_matches = max_matches
        self._make_room()

    def _make_room(self, newest: str = "") -> None:
        """Forget hosts, other than `newest`, until the ceiling holds."""
        while len(self) > self._max_hosts or self._size > self._max_size:
            room = max(1, self._max_hosts // _ROOM)
            first = [host for host in islice(self._once, room + 1) if host != newest][:room]
            if not first or len(self._once) <= max(1, self._max_hosts // _NEWCOMERS):
                first = self._least(room, newest) or first
            if not first:
                return
            for host in first:
                self._forget(host)
            self.forgotten += first

    def _least(self, room: int, newest: str) -> list[str]:
        """Of the hosts that failed more than once and have been quiet, those that failed least."""
        quiet = islice(self._again.items(), 4 * room + 1)
        failed = sorted((len(recent), at, host) for at, (host, recent) in enumerate(quiet))
        return [host for _, _, host in failed if host != newest][:room]

    def _held(self, host: str) -> list[bytes]:
        if (packed := self._once.get(host)) is not None:
            return [packed]
        return self._again.get(host, [])

    def _unpacked(self, host: str, packed: list[bytes]) -> tuple[Failure, ...]:
        return tuple(self._packer.unpack(host, each) for each in packed)

    def _forget(self, host: str) -> None:
        packed = self._once.pop(host, None)
        gone = self._again.pop(host, []) if packed is None else [packed]
        self._size -= sum(map(len, gone))


def _first_of(hosts: dict[str, _T], is_over: Callable[[_T], bool]) -> list[str]:
    """The first of `hosts`, as long as what is known of them is over."""
    return [host for host, _ in takewhile(lambda item: is_over(item[1]), hosts.items())]
