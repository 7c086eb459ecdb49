# SPDX-License-Identifier: GPL-2.0-or-later
"""What an action has to enforce, and how that differs from what its tool says is enforced.

Keeps account and compares; makes no command, and asks no clock.  Moments are those of a clock that
goes evenly, so that setting the time of day changes nothing here.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from common import address
from server.action import INET4, family_of_ip, ip_of, is_plain
from server.records import Ban, Enforce, Lift, Order, Prolong

# Seconds by which an end that a tool counts down may differ from ours: commands take their time.
_TOLERANCE = 10.0


class Held(NamedTuple):
    """A ban that an action has to enforce.

    `ends` is when the tool has surely dropped it by itself, infinite where it never does.
    """

    ban: Ban
    restored: bool
    ip: str
    family: str
    ends: float = math.inf


def held(ban: Ban, restored: bool) -> Held:
    if is_plain(ban.host):
        return Held(ban, restored, ban.host, INET4)
    ip = ip_of(ban)
    return Held(ban, restored, ip, family_of_ip(ip))


@dataclass(frozen=True, slots=True)
class Differences:
    """What a tool's list lacks, what has another end there, and what nobody here asked for."""

    missing: list[Held] = field(default_factory=list)
    stale: list[Held] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)


class Ledger:
    """The bans of one action, each host once, and what may linger of those that are over."""

    def __init__(self) -> None:
        self._held: dict[str, Held] = {}
        # What a tool was left to drop, until when that is certain; and what it would not give up.
        self._leaving: dict[str, float] = {}
        self.foreseen: dict[str, float] = {}  # who is shut out before it is ordered, and until when
        self._stuck: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, host: object) -> bool:
        return host in self._held

    def __iter__(self) -> Iterator[Held]:
        return iter(tuple(self._held.values()))

    def get(self, host: str) -> Held | None:
        return self._held.get(host)

    def of_family(self, family: str) -> list[Held]:
        return [one for one in self._held.values() if one.family == family]

    def put(self, one: Held) -> None:
        self._held[one.ban.host] = one
        self._stuck.pop(one.ip, None)
        self._leaving.pop(one.ip, None)

    def take(self, host: str) -> Held | None:
        return self._held.pop(host, None)

    def leave(self, one: Held) -> None:
        """The tool drops `one`, whose time is over, in a moment."""
        self._leaving[one.ip] = one.ends + _TOLERANCE

    @property
    def is_tidy(self) -> bool:
        """Whether nothing can linger."""
        return not self._leaving and not self._stuck

    def put_all(self, every: Collection[Held]) -> None:
        for one in every:
            self._held[one.ban.host] = one
        if not self.is_tidy:
            for one in every:
                self.put(one)

    def may_linger(self, ip: str, now: float) -> bool:
        """Whether the tool may not have dropped an earlier ban of `ip` yet."""
        return self._leaving.get(ip, -math.inf) > now or ip in self._stuck

    def prune(self, now: float) -> None:
        """Forget what has surely left by `now`."""
        self._leaving = {ip: ends for ip, ends in self._leaving.items() if ends > now}

    def stick(self, ip: str) -> None:
        """The tool failed to lift `ip`, which nobody bans any more."""
        self._stuck[ip] = None

    def unstick(self, ip: str) -> None:
        self._stuck.pop(ip, None)

    def stuck(self, family: str) -> list[str]:
        return [ip for ip in self._stuck if family_of_ip(ip) == family]

    def differences(self, family: str, listed: Listed, now: float) -> Differences:
        """Where `listed`, what a tool enforces of `family` at `now`, is not what is held."""
        found = Differences()
        ours = set()
        for one in self._held.values():
            if one.family != family:
                continue
            ours.add(one.ip)
            if not listed.covers(one.ip):
                # What the tool has dropped in time will be lifted in a moment.
                if one.ends > now + _TOLERANCE or one.ends < now - _TOLERANCE:
                    found.missing.append(one)
            elif not _fits(listed.ends.get(one.ip), one.ends - now):
                found.stale.append(one)
        found.extra.extend(
            ip
            for ip in listed.ends
            if ip not in ours
            and ip not in self.foreseen
            and self._leaving.get(ip, -math.inf) <= now
            and family_of_ip(ip) == family
        )
        return found


def _fits(left: float | None, wanted: float) -> bool:
    """Whether the seconds `left`, as a tool tells them, are those that are `wanted`."""
    if left is None:
        return True
    if not left or math.isinf(wanted):
        return not left and math.isinf(wanted)
    return abs(left - wanted) <= _TOLERANCE


class Listed:
    """What a tool's list says: addresses and networks to seconds left, 0 for ever, None untold."""

    def __init__(self, text: str) -> None:
        self.ends: dict[str, float | None] = {}
        self._ranges: list[tuple[int, int, int]] = []
        for line in text.splitlines():
            ip, _, left = line.strip().partition(" ")
            if "-" in ip:
                self._add_range(ip)
            elif ip:
                self.ends[ip] = _seconds(left)
        self._ranges.sort()

    def __len__(self) -> int:
        return len(self.ends)

    def covers(self, ip: str) -> bool:
        return ip in self.ends or (bool(self._ranges) and self._is_in_range(ip))

    def _add_range(self, text: str) -> None:
        first, last = (address.number(end) for end in text.split("-", 1))
        if first and last:
            self._ranges.append((first[0], first[1], last[1]))

    def _is_in_range(self, ip: str) -> bool:
        found = address.network(ip)
        if found is None:
            return False
        version, length, first = found
        last = first + (1 << ((32 if version == 4 else 128) - length)) - 1
        at = bisect_right(self._ranges, (version, first, 1 << 128)) - 1
        return at >= 0 and self._ranges[at][0] == version and last <= self._ranges[at][2]


def _seconds(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


# -- orders that wait


def folded(orders: Sequence[Order]) -> list[Order]:
    """What `orders` come to: at most three for each host, the order among hosts kept.

    For an action that hangs while hosts come and go, so that what waits is bounded by their number.
    """
    if len({order.ban.host for order in orders}) == len(orders):
        return list(orders)
    sums: dict[str, list[Order]] = {}
    for order in orders:
        host = order.ban.host
        before = sums.pop(host, [])
        lifts = [one for one in before if isinstance(one, Lift)][:1]
        match order:
            case Lift():
                sums[host] = [lifts[0] if lifts else order]
            case Enforce():
                sums[host] = [*lifts, order]
            case Prolong():
                sums[host] = [*(one for one in before if not isinstance(one, Prolong)), order]
    return [order for many in sums.values() for order in many]
