# SPDX-License-Identifier: GPL-2.0-or-later
"""Networks that take each other's place: which orders have to be carried out by one command.

In some tools networks that overlap cannot stand side by side, so that the new wall cannot be built
before the old one falls.  Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from common.address import Network, holds, place_of
from server.records import Enforce, Lift, Order


def without_passing(orders: Sequence[Order]) -> Sequence[Order]:
    """`orders` without the bans of networks that the same orders lift again: they come to nothing."""
    lifted = {order.ban.host for order in orders if isinstance(order, Lift)}
    passing = {host for host in lifted if "/" in host}
    if not passing:
        return orders
    return [one for one in orders if not (isinstance(one, Enforce) and one.ban.host in passing)]


def exchange_of(orders: Sequence[Order]) -> tuple[list[Enforce], list[Lift]]:
    """Those of `orders` that lift networks, and those that ban what overlaps with one of these.

    Both are empty unless a network is among the new bans.  Who is banned and lifted again is in neither.
    """
    lifts = {order.ban.host: order for order in orders if isinstance(order, Lift)}
    lifted = {host: place for host in lifts if "/" in host and (place := place_of(host))}
    if not lifted:
        return [], []
    bans: list[Enforce] = []
    gone: dict[str, None] = {}
    for order in orders:
        host = order.ban.host
        if not isinstance(order, Enforce) or host in lifts or (place := place_of(host)) is None:
            continue
        overlapping = [other for other, old in lifted.items() if _overlap(place, old)]
        if overlapping:
            bans.append(order)
            gone.update(dict.fromkeys(overlapping))
    has_network = any("/" in order.ban.host for order in bans)
    return (bans, [lifts[host] for host in gone]) if has_network else ([], [])


def overlaps(host: str, others: Sequence[str]) -> bool:
    """Whether the network `host` has addresses in common with one of `others`."""
    place = place_of(host) if others else None
    return place is not None and any(
        _overlap(place, other) for one in others if (other := place_of(one))
    )


def _overlap(one: Network, other: Network) -> bool:
    return holds(one, other) or holds(other, one)
