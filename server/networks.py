# SPDX-License-Identifier: GPL-2.0-or-later
"""Which network a host belongs to, and what is left of a network's ban when part of it is lifted.

Arithmetic on addresses and records; knows no jail, and nobody's list of bans.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from common.address import Network, around, holds, is_single, network, place_of, text_of, without
from server.records import Ban

# Networks in which hosts are banned together: the usual parts of the net that one operator has, or one
# customer.
GROUP = {4: 24, 6: 56}
# A network that long is as good as one host: it is the least that anybody is given.
ONE_HOST = {4: 32, 6: 64}


def _known(*texts: str) -> tuple[Network, ...]:
    return tuple(found for text in texts if (found := network(text)))


# Where the first 64 bits say nothing of who it is: those that speak through a translator (NAT64), a relay
# (Teredo) or a tunnel (6to4), neighbours on the same cable, and what no packet comes from.
_SHARED = _known("::/32", "64:ff9b::/32", "2001::/32", "2002::/16", "fe80::/10")


def counted_as(host: str, ipv6_prefix: int) -> str:
    """What stands for `host` when failures are counted: its prefix, if it is an IPv6 address."""
    found = place_of(host)
    if found is None or found[0] != 6 or found[1] <= ipv6_prefix or _is_shared(found):
        return host
    return text_of(around(found, ipv6_prefix))


def _is_shared(place: Network) -> bool:
    return any(holds(one, place) for one in _SHARED)


def group_of(host: str) -> str | None:
    """The network whose hosts are banned together with `host`; None where there is none."""
    found = place_of(host)
    if found is None or found[1] <= GROUP[found[0]] or _is_shared(found):
        return None
    return text_of(around(found, GROUP[found[0]]))


def network_for(
    host: str, bans: Iterable[Ban], least: int, may_ban: Callable[[str], bool]
) -> str | None:
    """The widest network of the group of `host` with `least` banned hosts that `may_ban` lets pass.

    `bans` are those of the group that count.  None where no network is like that.
    """
    place = place_of(host)
    if place is None or group_of(host) is None:
        return None
    members = [(found, _hosts_in(ban)) for ban in bans if (found := place_of(ban.host))]
    longest = min(place[1] - 1, ONE_HOST[place[0]])
    for length in range(GROUP[place[0]], longest + 1):
        wide = around(place, length)
        members = [(one, number) for one, number in members if holds(wide, one)]
        if sum(number for _, number in members) < least:
            return None
        if may_ban(text_of(wide)):
            return text_of(wide)
    return None


def _hosts_in(ban: Ban) -> int:
    return len(ban.parts) if ban.is_merged else 1


def parts_from(bans: Iterable[Ban]) -> tuple[Ban, ...]:
    """What a wider ban stands in for when it takes the place of `bans`."""
    return tuple(
        part for ban in bans for part in (parts_from(ban.parts) if ban.is_merged else (ban,))
    )


def remains(ban: Ban, lifted: str) -> tuple[Ban, ...]:
    """The bans that take the place of `ban` when `lifted` is let in: an address, or a network.

    All that was banned by itself stays so, and nothing that was not banned is after.  A network that was
    banned by hand is split into the fewest that leave `lifted` out; one that is as good as a
    single host goes as a whole.
    """
    place, hole = place_of(ban.host), place_of(lifted)
    if ban.host == lifted:
        return ()
    if place is None or hole is None or not (holds(place, hole) or holds(hole, place)):
        return (ban,)
    pieces = [] if _is_one(ban, place) else without(place, hole)
    rest = [left for part in ban.parts for left in remains(part, lifted)]
    bans = []
    for piece in pieces:
        own = tuple(part for part in rest if _lies_in(part, piece))
        rest = [part for part in rest if not _lies_in(part, piece)]
        bans.append(ban._replace(host=text_of(piece), parts=own))
    return (*bans, *rest)


def nested(bans: Iterable[Ban]) -> tuple[Ban, ...]:
    """`bans`, but for those that lie in the network of another: the wider one stands in for them."""
    places = [(ban, place_of(ban.host)) for ban in bans]
    places.sort(key=lambda one: one[1][1] if one[1] is not None else 0)  # the widest first
    standing: list[Ban] = []
    networks: dict[int, Network] = {}
    inside: dict[int, list[Ban]] = {}
    for ban, place in places:
        wider = next(
            (at for at, wide in networks.items() if place is not None and holds(wide, place)), None
        )
        if wider is not None:
            inside.setdefault(wider, []).append(ban)
            continue
        if place is not None and not is_single(place):
            networks[len(standing)] = place
        standing.append(ban)
    for at, some in inside.items():
        parts = {part.host: part for part in (*standing[at].parts, *parts_from(some))}
        standing[at] = standing[at]._replace(parts=tuple(parts.values()))
    return tuple(standing)


def _is_one(ban: Ban, place: Network) -> bool:
    is_by_hand = not (ban.is_merged or ban.failures)
    return not is_by_hand or place[1] >= ONE_HOST[place[0]]


def _lies_in(ban: Ban, network: Network) -> bool:
    place = place_of(ban.host)
    return place is not None and holds(network, place)


def single_of(ban: Ban) -> Ban | None:
    """The ban of the one address that brought the ban of a prefix about; None where nobody knows."""
    place, seen = place_of(ban.host), str(ban.fields.get("seen") or "")
    one = place_of(seen)
    if (
        place is None or one is None or not holds(place, one)
    ):  # a filter may know a `seen` of its own
        return None
    return ban._replace(host=text_of(one), parts=(), is_merged=False)
