# SPDX-License-Identifier: GPL-2.0-or-later
"""Whom a jail bans that counts by prefix, bans whole networks, or spares who is logged in."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.address import holds, is_single, place_of
from server.jail import Help
from server.records import AlreadyBanned, Ban, Enforce, Failure, Ignored, Lift, Progress, Spared
from server.store import Store
from tests.support import EVE, NOON, a_jail, failures

HOME = "2001:db8:0:1::/64"
SOMEBODY, ANOTHER = "2001:db8:0:1::5", "2001:db8:0:1::6"


def told(jail, *happened):
    """What the jail says, each failure judged when it happens."""
    return [one for failure in happened for one in jail.on_failure(failure, failure.when)]


def orders(said):
    """Orders in short: what is done with whom."""
    return [
        (type(one).__name__ + (" into" if getattr(one, "into", "") else ""), one.ban.host)
        for one in said
        if isinstance(one, (Enforce, Lift))
    ]


def banned(jail):
    return [ban.host for ban in jail.bans]


def fail(host, at=0):
    return failures(host, at=[at])[0]


# -- prefixes


def test_the_addresses_of_a_prefix_are_counted_and_banned_together():
    jail = a_jail(max_retry=2, ipv6_prefix=64)

    first, second, ban = told(jail, fail(SOMEBODY), fail(ANOTHER, 1))

    assert [*first.hosts, *second.hosts] == [SOMEBODY, ANOTHER]  # the log tells who it was
    assert orders([ban]) == [("Enforce", HOME)]
    assert ban.ban.failures == 2 and ban.ban.fields["seen"] == ANOTHER


def test_without_a_prefix_each_address_is_counted_by_itself():
    jail = a_jail(max_retry=2)

    assert orders(told(jail, fail(SOMEBODY), fail(ANOTHER), fail(ANOTHER))) == [("Enforce", ANOTHER)]  # fmt: skip


def test_a_prefix_with_an_ignored_address_is_never_banned_as_a_whole():
    jail = a_jail(max_retry=2, ipv6_prefix=64, ignore_ip=(SOMEBODY,))

    said = told(jail, fail(SOMEBODY), fail(ANOTHER), fail(ANOTHER))

    assert said[0] == Ignored(SOMEBODY, "ip")
    assert orders(said) == [("Enforce", ANOTHER)]


def test_ignorecommand_is_asked_about_the_address():
    asked = []
    help = Help(is_ignored=lambda one: asked.append(one.host))
    jail = a_jail(ipv6_prefix=64, ignore_command="ask <ip>", help=help)

    told(jail, fail(SOMEBODY))

    assert asked == [SOMEBODY]


def test_growing_bans_go_by_what_was_banned():
    asked = []

    def earlier(host, jail):
        asked.append(host)
        return 1

    jail = a_jail(
        max_retry=1,
        ipv6_prefix=64,
        ban_time_extra={"increment": True},
        help=Help(earlier_bans=earlier),
    )

    (_, order) = told(jail, fail(SOMEBODY))

    assert asked == [HOME] and order.ban.seconds == 1200


def test_an_address_of_a_banned_prefix_is_banned_already():
    jail = a_jail(max_retry=1, ipv6_prefix=64)
    told(jail, fail(SOMEBODY))

    assert told(jail, fail(ANOTHER, 1))[-1] == AlreadyBanned(HOME)
    assert jail.bans.covering(ANOTHER).host == HOME


def test_letting_an_address_in_lifts_its_prefix_and_forgets_its_failures():
    jail = a_jail(max_retry=2, ipv6_prefix=64)
    told(jail, fail(SOMEBODY), fail(ANOTHER), fail(ANOTHER, 1))

    assert orders(jail.unban(SOMEBODY, NOON + 2)) == [("Lift", HOME)]
    assert orders(told(jail, fail(ANOTHER, 3))) == []


def test_who_was_banned_by_hand_stays_so_when_the_prefix_is_lifted():
    jail = a_jail(max_retry=1, ipv6_prefix=64, ban_time=600)
    jail.ban(SOMEBODY, NOON)

    assert orders(told(jail, fail(ANOTHER, 1))) == [("Enforce", HOME), ("Lift into", SOMEBODY)]
    assert orders(jail.unban(ANOTHER, NOON + 2)) == [("Enforce", SOMEBODY), ("Lift", HOME)]


def test_what_outlives_the_ban_of_its_network_is_taken_up_again():
    jail = a_jail(ban_time=600)
    jail.ban("192.0.2.0/24", NOON)
    jail.change(replace(jail.conf, ban_time=3600.0))

    assert orders(jail.ban(EVE, NOON + 1)) == [("Lift into", EVE)]
    assert jail.ban(EVE, NOON + 1) == []
    assert orders(jail.on_time(NOON + 600)) == [("Enforce", EVE), ("Lift", "192.0.2.0/24")]
    assert orders(jail.on_time(NOON + 3601)) == [("Lift", EVE)]


def test_what_outlives_the_ban_of_its_network_is_taken_up_though_that_ended_while_no_server_ran():
    net, hosts = "192.0.2.0/24", (EVE, "192.0.2.67", "192.0.2.68")
    lengths = dict(zip(hosts, (600.0, 3600.0, math.inf), strict=True))
    parts = tuple(Ban("ssh", host, NOON, lengths[host]) for host in hosts)
    gone = Ban("ssh", net, NOON, 1800.0, parts=parts)
    store = Store(":memory:", clock=lambda: NOON)
    store.open()
    store.save(Progress("ssh", banned=(*parts, gone), lifted=hosts))

    for now in (NOON + 2000, NOON + 2100):
        jail = a_jail()
        orders = jail.restore(store.bans("ssh", now), (), now)
        store.save(jail.take_progress({}))

        assert [Enforce(part, restored=True) for part in parts[1:]] == orders
    jail.unban(hosts[1], NOON + 2100)
    store.save(jail.take_progress({}))
    assert [hosts[2]] == [ban.host for ban in store.bans("ssh", NOON + 2100)]
    store.close()


def test_a_host_whose_ban_is_over_can_be_banned_anew_within_the_ban_of_its_network():
    jail = a_jail(ban_time=600)
    jail.ban(EVE, NOON)
    jail.ban("192.0.2.0/24", NOON + 100)

    assert jail.ban(EVE, NOON + 599) == []
    assert orders(jail.ban(EVE, NOON + 600)) == [("Lift into", EVE)]
    assert orders(jail.on_time(NOON + 700)) == [("Enforce", EVE), ("Lift", "192.0.2.0/24")]


def test_what_comes_to_be_ignored_later_is_let_out_of_its_prefix():
    jail = a_jail(max_retry=1, ipv6_prefix=64)
    told(jail, fail(ANOTHER))

    jail.ignore_also([SOMEBODY])

    assert orders(jail.spare_ignored(NOON + 1)) == [("Enforce", ANOTHER), ("Lift", HOME)]


def test_failures_of_an_earlier_run_are_counted_by_the_prefix_of_now():
    jail = a_jail(max_retry=2, ipv6_prefix=64)
    jail.restore([], [fail(SOMEBODY)], NOON)

    progress = jail.take_progress({})
    assert progress.settled == (SOMEBODY,)
    assert [one.host for one in progress.failed] == [HOME]
    assert orders(told(jail, fail(ANOTHER, 1))) == [("Enforce", HOME)]

    again = a_jail(max_retry=2)
    again.restore([], progress.failed, NOON)
    assert orders(told(again, fail(SOMEBODY, 1))) == [("Enforce", SOMEBODY)]


# -- networks

THREE = ("192.0.2.1", "192.0.2.2", "192.0.2.3")


def an_aggregating_jail(**more):
    return a_jail(**{"max_retry": 1, "aggregate": 3, "aggregate_time": 3600.0, **more})


def test_enough_banned_hosts_have_their_network_banned():
    jail = an_aggregating_jail()

    said = told(jail, *map(fail, THREE))

    assert orders(said)[3:] == [
        ("Enforce", "192.0.2.0/24"), *(("Lift into", host) for host in THREE)
    ]  # fmt: skip
    assert banned(jail) == ["192.0.2.0/24"]
    assert told(jail, fail("192.0.2.77", 1))[-1] == AlreadyBanned("192.0.2.77")


def test_bans_that_began_too_far_apart_do_not_add_up():
    jail = an_aggregating_jail(ban_time=math.inf, aggregate_time=60.0)

    told(jail, *(fail(host, at) for host, at in zip(THREE, (0, 1, 62), strict=True)))

    assert banned(jail) == [*THREE]


def test_hosts_of_ipv6_are_banned_together_by_their_prefixes():
    jail = an_aggregating_jail(ipv6_prefix=64)

    told(jail, *(fail(f"2001:db8:0:{number:x}::1") for number in (1, 2, 255)))

    assert banned(jail) == ["2001:db8::/56"]


def test_a_network_with_an_ignored_address_gives_way_to_the_widest_without():
    jail = an_aggregating_jail(ignore_ip=("192.0.2.200",))

    told(jail, *map(fail, THREE))

    assert banned(jail) == ["192.0.2.0/25"]


def test_of_a_banned_network_one_host_is_let_in_and_it_takes_new_ones_to_ban_it_again():
    jail = an_aggregating_jail()
    told(jail, *map(fail, THREE))

    said = jail.unban(THREE[1], NOON + 1)

    assert orders(said) == [("Enforce", THREE[0]), ("Enforce", THREE[2]), ("Lift", "192.0.2.0/24")]
    assert all(order.restored for order in said[:2])
    told(jail, *(fail(f"192.0.2.{last}", 2) for last in (11, 12)))
    assert jail.bans.covering(THREE[1]) is None
    told(jail, fail("192.0.2.13", 2))
    assert banned(jail) == ["192.0.2.0/24"]


def test_who_was_let_in_is_not_shut_out_by_those_who_were_banned_beside_him():
    jail = an_aggregating_jail()
    told(jail, *map(fail, THREE[:2]))
    jail.unban(THREE[0], NOON + 1)

    told(jail, fail(THREE[2], 2), fail("192.0.2.4", 2))

    assert banned(jail) == [THREE[1], THREE[2], "192.0.2.4"]


# -- what was lifted stays lifted


def test_what_happened_before_somebody_was_let_in_counts_no_longer():
    jail = a_jail(max_retry=1)
    told(jail, fail(EVE))
    jail.unban(EVE, NOON + 10)

    assert told(jail, fail(EVE, 9)) == []  # its line was read late
    assert orders(told(jail, fail(EVE, 11))) == [("Enforce", EVE)]


def test_after_everybody_was_let_in_late_lines_ban_nobody():
    jail = a_jail(max_retry=1)
    told(jail, fail(EVE))

    assert orders(jail.unban_all(NOON + 10)) == [("Lift", EVE)]
    assert told(jail, fail(EVE, 9)) == []


def test_who_was_let_in_before_the_jail_took_up_its_bans_stays_so():
    earlier = an_aggregating_jail()
    told(earlier, *map(fail, THREE))
    jail = an_aggregating_jail()
    jail.unban(THREE[0], NOON + 1)

    said = jail.restore(list(earlier.bans), [fail(THREE[0])], NOON + 2)

    assert orders(said) == [("Enforce", THREE[1]), ("Enforce", THREE[2])]
    assert len(jail.failures) == 0


# -- sessions


def test_who_is_logged_in_is_told_of_and_not_banned():
    jail = a_jail(max_retry=2, ignore_sessions=True, help=Help(sessions=lambda: {EVE}))

    said = told(jail, fail(EVE), fail(EVE, 1))

    assert said[-1] == Spared(EVE, EVE) and banned(jail) == []
    assert jail.spared(NOON + 2) == [EVE] and jail.spared(NOON + 100_000) == []


def test_sessions_are_asked_for_only_when_a_verdict_is_due():
    asked = []
    jail = a_jail(max_retry=3, ignore_sessions=True, help=Help(sessions=lambda: asked.append(1) or ()))  # fmt: skip

    told(jail, fail(EVE), fail(EVE, 1))
    assert asked == []
    told(jail, fail(EVE, 2))
    assert asked == [1]


def test_unless_it_is_asked_for_nobody_is_spared():
    jail = a_jail(max_retry=1, help=Help(sessions=lambda: {EVE}))

    assert orders(told(jail, fail(EVE))) == [("Enforce", EVE)]


def test_a_ban_by_hand_spares_nobody():
    jail = a_jail(max_retry=1, ignore_sessions=True, help=Help(sessions=lambda: {EVE}))
    told(jail, fail(EVE))

    assert orders(jail.ban(EVE, NOON)) == [("Enforce", EVE)]
    assert jail.spared(NOON) == []


def test_neither_a_prefix_nor_a_network_with_a_session_is_banned():
    sessions = {SOMEBODY, "192.0.2.200"}
    jail = an_aggregating_jail(
        ipv6_prefix=64, ignore_sessions=True, help=Help(sessions=lambda: sessions)
    )

    said = told(jail, fail(ANOTHER), *map(fail, THREE))

    assert said[1] == Spared(HOME, SOMEBODY)
    assert banned(jail) == ["192.0.2.0/25"]


# -- all of it against a naive model: which addresses are shut out

IGNORED = "192.0.2.9"
HOSTS = [f"192.0.2.{last}" for last in range(12)]
NETWORKS = ["192.0.2.0/30", "192.0.2.4/31", "192.0.2.0/28", "192.0.2.0/24", "192.0.2.8/29"]
STEPS = st.one_of(
    st.tuples(st.just("fail"), st.sampled_from(HOSTS)),
    st.tuples(st.just("fail"), st.sampled_from(HOSTS)),
    st.tuples(st.just("ban"), st.sampled_from([*HOSTS, *NETWORKS])),
    st.tuples(st.just("unban"), st.sampled_from([*HOSTS, *NETWORKS])),
    st.tuples(st.just("wait"), st.sampled_from(["10", "40", "70"])),
    st.tuples(st.just("restart"), st.just("")),
)


class Play:
    """A jail, the wall that its orders build, and what must be true of both."""

    def __init__(self):
        self.store = Store(":memory:", clock=lambda: self.now)
        self.store.open()
        self.now = NOON
        self.wall = {}
        self.jail = self._a_jail()
        self.own = {}  # host or network to the end of the ban that it has earned itself

    def _a_jail(self):
        # Failures count for as good as no time, so that late ones play no part here.
        return an_aggregating_jail(
            ban_time=60.0, find_time=1.0, aggregate_time=45.0, ignore_ip=(IGNORED,)
        )

    def covered(self):
        return {host for host in HOSTS if any(lies_in(host, one) for one in self.wall)}

    def obey(self, said, must_stay):
        """Carry out orders one by one; who is to stay shut out is so at every moment."""
        for one in said:
            if isinstance(one, Enforce):
                self.wall[one.ban.host] = one.ban
            elif isinstance(one, Lift):
                self.wall.pop(one.ban.host, None)
            assert must_stay <= self.covered()
        self.store.save(self.jail.take_progress({}))

    def step(self, what, whom):
        before = self.covered()
        if what == "fail":
            said = self.jail.on_failure(Failure(whom, self.now), self.now)
            if whom != IGNORED and whom not in before:
                self.own[whom] = self.now + 60
            self.obey(said, before)
            assert IGNORED not in self.covered() - before
        elif what == "ban":
            around = self.jail.bans.covering(whom)
            # Who is banned is not banned for longer, be it that this is left of a network's ban.
            if around is None or (around.host != whom and "/" not in whom):
                self.own.setdefault(whom, self.now + 60)
            self.obey(self.jail.ban(whom, self.now), before)
            assert {host for host in HOSTS if lies_in(host, whom)} <= self.covered()
        elif what == "unban":
            kept = {host for host in before if self._stays_without(host, whom)}
            self.obey(self.jail.unban(whom, self.now), kept)
            self.own = {one: end for one, end in self.own.items() if not lies_in(one, whom)}
            assert not any(lies_in(host, whom) for host in self.covered())
            assert self.covered() <= before
        elif what == "wait":
            self.now += float(whom)
            self.own = {one: end for one, end in self.own.items() if end > self.now}
            self.obey(self.jail.on_time(self.now), self._earned())
            assert self.covered() <= before
        else:
            bans = {ban.host: ban for ban in self.jail.bans}
            self.jail, self.wall = self._a_jail(), {}
            found = self.store.bans("ssh", self.now)
            self.obey(self.jail.restore(found, [], self.now, self.store.lifted("ssh", NOON)), set())
            if not any(
                ban.host == IGNORED for ban in bans.values()
            ):  # a restart spares the ignored
                assert {ban.host: ban for ban in self.jail.bans} == bans
            self.own.pop(IGNORED, None)

    def _stays_without(self, host, whom):
        return not lies_in(host, whom) and host in self.own

    def _earned(self):
        return {host for host in HOSTS if self.own.get(host, 0) > self.now}

    def check(self):
        hosts = [place_of(host) for host in self.wall]
        assert sorted(self.wall) == sorted(banned(self.jail))
        assert not any(holds(one, two) for one in hosts for two in hosts if one != two)
        assert self._earned() <= self.covered() | {IGNORED}
        for ban in self.wall.values():
            assert ban.until > self.now
            if ban.is_merged:
                assert not lies_in(IGNORED, ban.host)
                assert all(lies_in(part.host, ban.host) for part in ban.parts)
            elif ban.failures:
                assert is_single(place_of(ban.host))


def lies_in(host, network):
    return holds(place_of(network), place_of(host))


@settings(max_examples=300, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_whatever_happens_nobody_is_shut_out_or_let_in_who_should_not_be(steps):
    play = Play()
    try:
        for what, whom in steps:
            play.step(what, whom)
            play.check()
    finally:
        play.store.close()


@pytest.mark.parametrize("then", [("unban", "192.0.2.0"), ("wait", "40")])
def test_a_host_and_a_network_around_it_never_stand_side_by_side(then):
    play = Play()
    play.step("fail", "192.0.2.0")
    play.step("fail", "192.0.2.1")
    play.step("fail", "192.0.2.2")
    play.step("wait", "40")
    play.step("fail", "192.0.2.3")
    play.step("ban", "192.0.2.0/30")

    play.step(*then)

    play.check()
    assert "192.0.2.3" in play.covered()
    play.store.close()


@pytest.mark.parametrize("setting", [{"ipv6_prefix": 64}, {"ipv6_prefix": 128}])
@given(
    st.lists(
        st.tuples(st.sampled_from([SOMEBODY, ANOTHER, "2001:db8:0:2::1"]), st.integers(0, 250)),
        max_size=20,
    ),
    st.lists(st.booleans(), min_size=20, max_size=20),
)
@settings(max_examples=60, deadline=None)
def test_restarts_change_nothing_in_what_is_counted(setting, happened, restarts):
    rules = {**setting, "max_retry": 4, "find_time": 600.0}
    happened = sorted(happened, key=lambda one: one[1])
    straight, broken = a_jail(**rules), a_jail(**rules)
    store = Store(":memory:")
    store.open()
    try:
        for (host, at), is_restart in zip(happened, restarts, strict=False):
            if is_restart:
                broken = a_jail(**rules)
                broken.restore(
                    store.bans("ssh", NOON + at), store.failures("ssh", NOON + at - 600), NOON + at
                )
            one, other = told(straight, fail(host, at)), told(broken, fail(host, at))
            store.save(broken.take_progress({}))
            assert orders(one) == orders(other)
        assert sorted(banned(straight)) == sorted(banned(broken))
    finally:
        store.close()


def test_a_network_that_a_line_names_is_counted_by_its_prefix_whatever_else_the_line_says():
    jail = a_jail(max_retry=3, ipv6_prefix=64)
    inside = fail("2001:db8::1:0/112")._replace(fields={"seen": EVE})

    jail.on_failure(inside, NOON)
    jail.on_failure(fail("2001:db8::/40"), NOON)
    jail.on_failure(fail("198.51.100.0/24"), NOON)

    hosts = set(jail.failures.hosts())
    assert hosts == {"2001:db8::/64", "2001:db8::/40", "198.51.100.0/24"}
    assert [{"seen": "2001:db8::1:0/112"}] == [
        one.fields for one in jail.failures.of("2001:db8::/64")
    ]


def test_what_a_line_calls_seen_is_nobody_after_a_restart_either():
    jail = a_jail(max_retry=3, ipv6_prefix=64)
    named = fail("2001:db8::/40")._replace(fields={"seen": EVE})

    jail.restore([], [named], NOON)

    assert ["2001:db8::/40"] == list(jail.failures.hosts())
