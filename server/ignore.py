# SPDX-License-Identifier: GPL-2.0-or-later
"""The hosts that are never banned: addresses, networks, and any other ids.

Looks nothing up: host names and files among the entries are kept apart for somebody who may.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping

from common import address

_FILE = "file:"
_DIGITS = frozenset("0123456789")
_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?\Z")


class IgnoreList:
    """What `ignoreip` says.

    Networks are kept by length, so asking costs a look into one set for each length in use, however
    many entries there are.  `names` are the entries that may be host names, `files` the paths of
    `file:PATH` entries; both are for the caller to resolve, and to hand back with `and_also`.
    """

    def __init__(self, entries: Iterable[str] = ()) -> None:
        self._networks: dict[tuple[int, int], set[int]] = {}
        self._firsts: dict[int, list[int]] = {}  # of all networks of a version, in order
        self._others: set[str] = set()
        names: dict[str, None] = {}
        files: dict[str, None] = {}
        self.entries = tuple(entry.strip() for entry in entries if entry.strip())
        for entry in self.entries:
            found = address.network(entry)
            if found is not None:
                version, length, first = found
                self._networks.setdefault((version, length), set()).add(first)
            elif entry.startswith(_FILE):
                files[entry.removeprefix(_FILE)] = None
            else:
                self._others.add(entry.lower())
                if _NAME.match(entry):
                    names[entry] = None
        for (version, _), firsts in self._networks.items():
            self._firsts.setdefault(version, []).extend(firsts)
        for every in self._firsts.values():
            every.sort()
        self._heads = _heads_of(self._networks)
        self.names = tuple(names)
        self.files = tuple(files)

    def covers(self, host: str) -> bool:
        """Whether `host`, an address, a network or any other id, is to be left alone.

        A network is covered only as a whole.
        """
        if self._others and host.lower() in self._others:
            return True
        if not self._networks:
            return False
        # Most are plain IPv4 addresses far from all of these: what follows takes ten times as long.
        if (
            self._heads is not None
            and host[:1] in _DIGITS
            and host.partition(".")[0] not in self._heads
            and ":" not in host
            and "/" not in host
        ):
            return False
        found = address.place_of(host)
        if found is None:
            return False
        version, longest, bits = found
        return any(
            address.first_of(version, length, bits) in firsts
            for (of, length), firsts in self._networks.items()
            if of == version and length <= longest
        )

    def meets(self, host: str) -> bool:
        """Whether any address of `host`, which may be a network, is to be left alone."""
        if self.covers(host):
            return True
        found = address.place_of(host)
        if found is None:
            return False
        # Of two networks one lies in the other, or they have nothing in common.
        firsts = self._firsts.get(found[0], [])
        at = bisect_left(firsts, found[2])
        return at < len(firsts) and firsts[at] <= address.last_of(found)

    def and_also(self, entries: Iterable[str]) -> IgnoreList:
        """This list with more entries: what names and files stood for."""
        return IgnoreList((*self.entries, *entries))

    def with_own(self, addresses: Iterable[str]) -> IgnoreList:
        """This list with the machine's own `addresses`, as `ignoreself` wants it."""
        return self.and_also((*addresses, "127.0.0.0/8", "::1"))


def _heads_of(networks: Mapping[tuple[int, int], Iterable[int]]) -> frozenset[str] | None:
    """The first numbers of the IPv4 addresses in `networks`; None where one is wider than that."""
    heads = set()
    for (version, length), firsts in networks.items():
        if version == 4:
            if length < 8:
                return None
            heads |= {str(first >> 24) for first in firsts}
    return frozenset(heads)
