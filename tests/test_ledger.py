# SPDX-License-Identifier: GPL-2.0-or-later
"""What is to be enforced, and how that differs from what a tool says."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from server.action import INET4, INET6
from server.ledger import Ledger, Listed, folded, held
from server.records import Ban, Enforce, Lift, Prolong


def a_ban(host, seconds=600.0):
    return Ban("sshd", host, 1000.0, seconds)


def a_ledger(**ends):
    """Bans of 192.0.2.N, which the tool drops at that moment by itself."""
    ledger = Ledger()
    for number, end in ends.items():
        ledger.put(held(a_ban(f"192.0.2.{number[1:]}"), False)._replace(ends=end))
    return ledger


def seen(ledger, text, now=0.0):
    """Last numbers of what is missing and what has another end, and what is extra."""
    found = ledger.differences(INET4, Listed(text), now)
    numbers = [[one.ip.rpartition(".")[2] for one in some] for some in (found.missing, found.stale)]
    return (*numbers, found.extra)


def test_what_is_there_and_ends_in_time_is_right():
    ledger = a_ledger(_1=600, _2=math.inf)

    assert ([], [], []) == seen(ledger, "192.0.2.1 596\n192.0.2.2 0\n")


def test_what_is_not_listed_is_missing():
    assert (["2"], [], []) == seen(a_ledger(_1=600, _2=600), "192.0.2.1 600\n")


def test_what_ends_at_another_time_is_stale():
    ledger = a_ledger(_1=600, _2=600, _3=math.inf, _4=600)

    found = seen(ledger, "192.0.2.1 500\n192.0.2.2 0\n192.0.2.3 9\n192.0.2.4 605\n")

    assert ([], ["1", "2", "3"], []) == found


def test_a_list_without_times_says_nothing_of_them():
    assert ([], [], []) == seen(a_ledger(_1=600, _2=math.inf), "192.0.2.1\n192.0.2.2")


def test_what_the_tool_drops_about_now_is_not_missing():
    ledger = a_ledger(_1=600)

    assert ([], [], []) == seen(ledger, "", now=599)
    assert ([], [], []) == seen(ledger, "", now=601)
    assert (["1"], [], []) == seen(ledger, "", now=580)
    assert (["1"], [], []) == seen(ledger, "", now=700)  # it was to last longer than we said


def test_what_nobody_asked_for_is_extra_but_not_what_is_leaving():
    ledger = a_ledger(_1=600)
    ledger.leave(ledger.take("192.0.2.1"))

    assert ([], [], ["192.0.2.9"]) == seen(ledger, "192.0.2.9 0\n192.0.2.1 0", now=601)
    assert ([], [], ["192.0.2.1"]) == seen(ledger, "192.0.2.1 1", now=700)


def test_what_left_lingers_for_a_while_and_is_forgotten():
    ledger = a_ledger(_1=600)
    ledger.leave(ledger.take("192.0.2.1"))

    assert ledger.may_linger("192.0.2.1", 601)
    assert not ledger.may_linger("192.0.2.1", 700)
    ledger.prune(700)
    assert ledger.is_tidy


def test_families_are_compared_apart():
    ledger = a_ledger(_1=600)
    ledger.put(held(a_ban("2001:db8::1"), False))

    assert ["2001:db8::1"] == [one.ip for one in ledger.differences(INET6, Listed(""), 0).missing]


def test_a_range_covers_what_lies_in_it():
    ledger = Ledger()
    for host in ("192.0.2.7", "192.0.2.8/29", "192.0.2.16"):
        ledger.put(held(a_ban(host), False))

    found = ledger.differences(INET4, Listed("192.0.2.6-192.0.2.15 60\n"), 0)

    assert ["192.0.2.16"] == [one.ip for one in found.missing]


def test_lines_that_are_no_addresses_do_no_harm():
    assert 2 == len(Listed("\n  \nx-y\n192.0.2.1 soon\n192.0.2.2 5 6\n"))


# -- orders that wait

HOSTS = st.sampled_from(["192.0.2.1", "192.0.2.2", "192.0.2.3"])
ORDERS = st.lists(
    st.builds(
        lambda kind, host, seconds: kind(a_ban(host, seconds)),
        st.sampled_from([Enforce, Lift, Prolong]),
        HOSTS,
        st.floats(1, 1000),
    )
)


def outcome(orders, banned=()):
    """Who is banned for how long after `orders`."""
    state = dict.fromkeys(banned, 0.0)
    for order in orders:
        ban = order.ban
        if isinstance(order, Lift):
            state.pop(ban.host, None)
        elif isinstance(order, Enforce) or ban.host in state:
            state[ban.host] = ban.seconds
    return state


@given(ORDERS, st.sets(HOSTS))
def test_folded_orders_come_to_the_same_and_are_bounded_by_the_hosts(orders, banned):
    less = folded(orders)

    assert outcome(orders, banned) == outcome(less, banned)
    assert len(less) <= 3 * len({order.ban.host for order in orders})
    assert folded(less) == less
