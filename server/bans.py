# SPDX-License-Identifier: GPL-2.0-or-later
"""Who is banned until when.  Knows no clock, and nothing of what shuts a host out."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence

from common.address import Network, around, first_of, holds, is_single, place_of
from server.networks import GROUP
from server.records import Ban

_STALE = (
    1000  # ends that came to nothing are let be up to so many, beside as many as there are bans
)


class BanList:
    """The bans of one jail, each host once, in the order in which they began.

    No ban's host lies in the network of another; who puts one in sees to that.
    """

    def __init__(self) -> None:
        self._bans: dict[str, Ban] = {}
        # Ends to come; an entry whose ban was lifted or prolonged meanwhile is passed over.
        self._ends: list[tuple[float, str]] = []
        # Hosts that are networks, by version and length, and there by their first address.
        self._networks: dict[tuple[int, int], dict[int, str]] = {}
        # Hosts by the network in which they are banned together; made when it is asked for.
        self._groups: dict[int, dict[int, dict[str, None]]] = {}

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
        if ban.host not in self._bans:
            self._file(ban.host)
        self._bans[ban.host] = ban
        if math.isfinite(ban.until):
            if len(self._ends) >= _STALE + 2 * len(self._bans):
                self._order_ends()
            else:
                heapq.heappush(self._ends, (ban.until, ban.host))

    def put_hosts(self, bans: Sequence[Ban]) -> None:
        """`put` each of `bans`, at a third of the cost; none is of a network, and their hosts are new here."""
        if self._groups:
            for ban in bans:
                self.put(ban)
            return
        self._bans.update([(ban.host, ban) for ban in bans])
        for ban in bans:
            if ban.seconds < math.inf:
                heapq.heappush(self._ends, (ban.since + ban.seconds, ban.host))

    def take(self, host: str) -> Ban | None:
        """Take out and return the ban of `host`."""
        ban = self._bans.pop(host, None)
        if ban is not None:
            self._unfile(host)
        return ban

    def take_over(self, now: float) -> list[Ban]:
        """Take out and return the bans that are over, those that ended first in front."""
        over = []
        while self._ends and self._ends[0][0] <= now:
            until, host = heapq.heappop(self._ends)
            if self._is_end_of(host, until):
                over.append(self._bans.pop(host))
                self._unfile(host)
        return over

    @property
    def next_end(self) -> float:
        """When the next ban ends; `math.inf` if none ever does."""
        while self._ends and not self._is_end_of(self._ends[0][1], self._ends[0][0]):
            heapq.heappop(self._ends)
        return self._ends[0][0] if self._ends else math.inf

    def _order_ends(self) -> None:
        """Leave only ends that are still to come; else a long ban prolonged daily fills the memory."""
        self._ends = [
            (ban.until, host) for host, ban in self._bans.items() if math.isfinite(ban.until)
        ]
        heapq.heapify(self._ends)

    # -- networks ----------------------------------------------------------------------------------

    @property
    def has_networks(self) -> bool:
        return bool(self._networks)

    def networks(self) -> list[Ban]:
        """The bans of networks."""
        return [self._bans[host] for hosts in self._networks.values() for host in hosts.values()]

    def covering(self, host: str) -> Ban | None:
        """The ban that shuts `host` out: its own, or that of a network it lies in."""
        own = self._bans.get(host)
        if own is not None or not self._networks or (place := place_of(host)) is None:
            return own
        for (version, length), hosts in self._networks.items():
            if version == place[0] and length <= place[1]:
                found = hosts.get(first_of(version, length, place[2]))
                if found is not None:
                    return self._bans[found]
        return None

    def within(self, host: str) -> list[Ban]:
        """The bans of what lies in the network `host`, its own left out."""
        if "/" not in host:  # as most are, each of which is asked about
            return []
        place = place_of(host)
        if place is None or is_single(place):
            return []
        version, length, first = place
        if length < GROUP[version]:
            return [ban for ban in self._bans.values() if _lies_in(ban.host, place, host)]
        known = self._groups_of(version).get(first_of(version, GROUP[version], first), {})
        return [self._bans[one] for one in known if _lies_in(one, place, host)]

    def meeting(self, host: str) -> list[Ban]:
        """The bans that shut out `host`, or anything in it."""
        covering = self.covering(host)
        return self.within(host) if covering is None else [covering]

    def _groups_of(self, version: int) -> dict[int, dict[str, None]]:
        if version not in self._groups:
            self._groups[version] = {}
            for host in self._bans:
                self._group(host, place_of(host))
        return self._groups[version]

    def _group(self, host: str, place: Network | None) -> None:
        if place is not None and place[0] in self._groups and place[1] >= GROUP[place[0]]:
            first = around(place, GROUP[place[0]])[2]
            self._groups[place[0]].setdefault(first, {})[host] = None

    def _file(self, host: str) -> None:
        is_network = "/" in host
        if not is_network and not self._groups:
            return
        place = place_of(host)
        self._group(host, place)
        if is_network and place is not None:
            self._networks.setdefault(place[:2], {})[place[2]] = host

    def _unfile(self, host: str) -> None:
        is_network = "/" in host
        if not is_network and not self._groups:
            return
        place = place_of(host)
        if place is None:
            return
        version, length, first = place
        if is_network:
            self._networks[version, length].pop(first, None)
            if not self._networks[version, length]:
                del self._networks[version, length]
        if version in self._groups and length >= GROUP[version]:
            group = first_of(version, GROUP[version], first)
            members = self._groups[version].get(group, {})
            members.pop(host, None)
            if not members:
                self._groups[version].pop(group, None)

    def _is_end_of(self, host: str, until: float) -> bool:
        ban = self._bans.get(host)
        return ban is not None and ban.until == until


def _lies_in(host: str, network: Network, own: str) -> bool:
    place = place_of(host)
    return place is not None and host != own and holds(network, place)
