# SPDX-License-Identifier: GPL-2.0-or-later
"""Orders for an action that knows single addresses only, in the place of those about networks.

An action says so with `networks = no`.  Of a prefix it gets the address that failed last, of a network
that was banned for its hosts these hosts; a network banned by hand it gets as it is.  Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from common import units
from common.address import holds, place_of
from common.options import ActionConf
from server.networks import single_of
from server.records import Ban, Enforce, Lift, Order


def orders_for(action: ActionConf, orders: Sequence[Order]) -> Sequence[Order]:
    """`orders` as `action` can carry them out."""
    if units.is_on(action.properties.get("networks", True)) or not any(map(_is_of_network, orders)):
        return orders
    return list(_singled(orders))


def _is_of_network(order: Order) -> bool:
    return "/" in order.ban.host or (isinstance(order, Lift) and bool(order.into))


def _singled(orders: Sequence[Order]) -> Iterator[Order]:
    lifted = [
        place
        for order in orders
        if isinstance(order, Lift) and not order.into and "/" in order.ban.host
        if (place := place_of(order.ban.host))
    ]
    kept: set[str] = set()
    for order in orders:
        ban = order.ban
        if isinstance(order, Lift) and order.into:
            continue  # it stays shut out by itself here
        singles = list(_singles_of(ban)) if "/" in ban.host else []
        if isinstance(order, Enforce) and order.restored and not singles:
            place = place_of(ban.host)
            if place is not None and any(holds(network, place) for network in lifted):
                kept.add(ban.host)  # it is enforced already, and only its network is lifted
                continue
        if not singles:
            # A merged ban that began just now stands for bans that are enforced already.
            if not (ban.is_merged and isinstance(order, Lift)):
                yield order
        elif isinstance(order, Lift):
            yield from (Lift(one) for one in singles if one.host not in kept)
        elif not isinstance(order, Enforce):
            yield from (order._replace(ban=one) for one in singles)
        elif order.restored:
            yield from (Enforce(one, restored=True) for one in singles)
        elif not ban.is_merged:
            yield from (Enforce(one) for one in _own(ban))


def _own(ban: Ban) -> Iterable[Ban]:
    single = single_of(ban)
    return () if single is None or any(single.host == p.host for p in ban.parts) else (single,)


def _singles_of(ban: Ban) -> Iterator[Ban]:
    """The addresses that a network's ban stands for, as far as they are known."""
    for part in ban.parts:
        yield from _singles_of(part) if "/" in part.host else (part,)
    if not ban.is_merged:
        yield from _own(ban)
