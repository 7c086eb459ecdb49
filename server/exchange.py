# SPDX-License-Identifier: GPL-2.0-or-later
"""Networks that take each other's place: which orders have to be carried out by one command.

In some tools networks that overlap cannot stand side by side, so that the new wall cannot be built
before the old one falls.  Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from common.address import Network, holds, place_of
from server.records import Enforce, Lift, Order


def exchange_of(orders: Sequence[Order]) -> tuple[list[Enforce], list[Lift]]:
    """Those of `orders` that lift networks, and those that ban what overlaps with one of these.

    Both are empty unless a network is among the new bans.  What is banned and lifted by the same orders is
    in neither.
    """
    lifts = {
        order.ban.host: order
        for order in orders
        if isinstance(order, Lift) and "/" in order.ban.host
    }
    lifted = {host: place for host in lifts if (place := place_of(host))}
    if not lifted:
        return [], []
    bans: list[Enforce] = []
    gone: dict[str, None] = {}
    has_network = False
    for order in orders:
        host = order.ban.host
        place = place_of(host) if isinstance(order, Enforce) and host not in lifts else None
        if not isinstance(order, Enforce) or place is None:
            continue
        overlapping = [other for other, old in lifted.items() if _overlap(place, old)]
        if overlapping:
            bans.append(order)
            gone.update(dict.fromkeys(overlapping))
            has_network |= "/" in host
    return (bans, [lifts[host] for host in gone]) if has_network else ([], [])


def _overlap(one: Network, other: Network) -> bool:
    return holds(one, other) or holds(other, one)
