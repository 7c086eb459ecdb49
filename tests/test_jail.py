# SPDX-License-Identifier: GPL-2.0-or-later
import math
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from server.jail import Help
from server.packing import Failures
from server.records import AlreadyBanned, Ban, Crowded, Enforce, Failed, Failure, Ignored
from tests.support import BOB, EVE, NOON, a_jail, after, failures


def hosts(orders):
    return [(type(order).__name__, order.ban.host) for order in orders]


def test_a_host_that_fails_too_often_is_shut_out():
    jail = a_jail(max_retry=3)

    assert hosts(after(jail, failures(EVE, at=[0, 1, 2]))) == [("Enforce", EVE)]


def test_failures_older_than_findtime_do_not_count():
    jail = a_jail(max_retry=3, find_time=600)

    assert after(jail, failures(EVE, at=[0, 10, 601])) == []


def test_others_failures_do_not_count():
    jail = a_jail(max_retry=2)

    assert after(jail, [*failures(EVE, at=[0]), *failures(BOB, at=[1])]) == []


def test_a_line_read_long_after_it_was_written_does_not_count():
    jail = a_jail(max_retry=1, find_time=600)

    assert jail.on_failure(Failure(EVE, NOON), NOON + 601) == []
    assert jail.total_failed == 0


def test_a_failure_from_the_future_counts_as_one_of_now():
    jail = a_jail(max_retry=2, find_time=600)
    jail.on_failure(Failure(EVE, NOON + 10**8), NOON)

    assert jail.failures.of(EVE)[0].when == NOON


def test_the_ban_knows_what_led_to_it():
    jail = a_jail(max_retry=3, max_matches=2, ban_time=3600)

    (order,) = after(jail, failures(EVE, at=[0, 1, 2], fields={"user": "root"}))

    assert order.ban == Ban(
        "ssh", EVE, NOON + 2, 3600.0,
        matches=(f"{EVE} failed at 1", f"{EVE} failed at 2"),
        failures=3, count=1, fields={"user": "root"},
    )  # fmt: skip


def test_a_ban_ends_after_bantime():
    jail = a_jail(max_retry=1, ban_time=60)
    after(jail, failures(EVE, at=[0]))

    assert jail.on_time(NOON + 59) == []
    assert jail.next_moment == NOON + 60
    assert hosts(jail.on_time(NOON + 60)) == [("Lift", EVE)]
    assert jail.on_time(NOON + 61) == []


def test_a_ban_for_ever_stays():
    jail = a_jail(max_retry=1, ban_time=math.inf)
    after(jail, failures(EVE, at=[0]))

    assert jail.on_time(NOON + 10**9) == []
    assert jail.next_moment == math.inf


def test_who_is_shut_out_and_goes_on_is_not_shut_out_twice():
    jail = a_jail(max_retry=2)
    after(jail, failures(EVE, at=[0, 1]))

    said = [
        one for failure in failures(EVE, at=[2, 3]) for one in jail.on_failure(failure, NOON + 3)
    ]

    assert [one for one in said if not isinstance(one, Failed)] == [AlreadyBanned(EVE)]


def test_an_ignored_address_never_counts():
    jail = a_jail(max_retry=1, ignore_ip=("192.0.2.0/24",))

    (said,) = jail.on_failure(Failure(EVE, NOON), NOON)

    assert said == Ignored(EVE, "ip")
    assert jail.total_failed == 0


def test_ignorecommand_has_a_say():
    help = Help(is_ignored=lambda failure: failure.host == EVE)
    jail = a_jail(max_retry=1, ignore_command="ask <ip>", help=help)

    assert jail.on_failure(Failure(EVE, NOON), NOON) == [Ignored(EVE, "command")]
    assert hosts(after(jail, failures(BOB, at=[0]))) == [("Enforce", BOB)]


def test_unban_lets_a_host_in_and_forgets_its_failures():
    jail = a_jail(max_retry=2)
    after(jail, failures(EVE, at=[0, 1, 2]))

    assert hosts(jail.unban(EVE, NOON + 2)) == [("Lift", EVE)]
    assert after(jail, failures(EVE, at=[3])) == []
    assert jail.unban(EVE, NOON + 4) == []


def test_a_ban_by_hand_happens_once():
    jail = a_jail()

    assert hosts(jail.ban(EVE, NOON)) == [("Enforce", EVE)]
    assert jail.ban(EVE, NOON) == []


def test_bans_grow_with_what_the_host_has_had():
    jail = a_jail(
        max_retry=1,
        ban_time=600,
        ban_time_extra={"increment": True},
        help=Help(earlier_bans=lambda host, jail: 2),
    )

    (order,) = after(jail, failures(EVE, at=[0]))

    assert (order.ban.seconds, order.ban.count) == (2400, 3)


def test_a_restart_brings_back_bans_that_run_and_failures_that_count():
    jail = a_jail(max_retry=2, find_time=600)
    running, over = Ban("ssh", EVE, NOON - 10, 600), Ban("ssh", "192.0.2.1", NOON - 700, 600)

    orders = jail.restore([running, over], failures(BOB, at=[-100, -700]), NOON)

    assert orders == [Enforce(running, restored=True)]
    assert hosts(after(jail, failures(BOB, at=[0]))) == [("Enforce", BOB)]


def test_a_new_limit_holds_from_the_next_failure_on():
    jail = a_jail(max_retry=9)
    after(jail, failures(EVE, at=[0, 1]))

    jail.change(a_jail(max_retry=3).conf)

    assert hosts(after(jail, failures(EVE, at=[2]))) == [("Enforce", EVE)]


def test_progress_tells_the_net_effect_of_a_step():
    jail = a_jail(max_retry=2)
    after(jail, [*failures(EVE, at=[0, 1]), *failures(BOB, at=[2]), *failures(EVE, at=[3])])

    progress = jail.take_progress({})

    assert [ban.host for ban in progress.banned] == [EVE]
    assert progress.settled == (EVE,)
    assert {(one.host, one.when) for one in progress.failed} == {(BOB, NOON + 2), (EVE, NOON + 3)}
    assert jail.take_progress({}).is_empty


def test_a_ban_that_is_lifted_is_told_as_lifted():
    jail = a_jail(max_retry=1, ban_time=60)
    after(jail, failures(EVE, at=[0]))
    jail.take_progress({})

    assert hosts(jail.on_time(NOON + 60)) == [("Lift", EVE)]
    assert jail.take_progress({}).lifted == (EVE,)


def test_a_clock_that_was_set_moves_the_bans_of_this_run_and_no_others():
    jail = a_jail(max_retry=1, ban_time=600)
    jail.restore([Ban("ssh", BOB, NOON - 100, 600)], [], NOON)
    after(jail, failures(EVE, at=[0]))

    jail.follow_clock(3600, since=NOON)

    assert {EVE: NOON + 4200, BOB: NOON + 500} == {ban.host: ban.until for ban in jail.bans}
    assert hosts(jail.on_time(NOON + 4199)) == [("Lift", BOB)]
    assert hosts(jail.on_time(NOON + 4200)) == [("Lift", EVE)]


def test_a_failure_by_a_name_is_saved_until_it_is_known_whose_it_was():
    jail = a_jail()
    first, second, other = (
        Failure(host, NOON + n, is_name=True)
        for n, host in enumerate(["bob.example", "bob.example", "eve.example"])
    )
    for failure in (first, second, other):
        jail.hold(failure)
    assert [first, second, other] == list(jail.take_progress({}).failed)

    jail.release(first)
    progress = jail.take_progress({})
    assert (("bob.example",), [second]) == (progress.settled, list(progress.failed))
    jail.release(second)
    jail.release(second)
    progress = jail.take_progress({})

    assert (("bob.example",), ()) == (progress.settled, progress.failed)
    assert [other] == jail.held
    assert 0 == len(jail.failures) == jail.total_failed


def a_crowd(jail, hosts, begin):
    return [
        one
        for n in range(hosts)
        for one in jail.on_failure(Failure(f"host {n}", begin, ("line",)), begin)
        if isinstance(one, Crowded)
    ]


def test_hosts_forgotten_at_the_ceiling_are_told_of_once_in_a_while():
    jail = a_jail(max_retry=3, max_hosts=10)

    assert [Crowded(1, 10)] == a_crowd(jail, 20, NOON)
    assert [] == a_crowd(jail, 20, NOON + 599)
    assert [Crowded(30, 10)] == a_crowd(jail, 20, NOON + 600)


def test_hosts_forgotten_at_the_ceiling_are_a_problem_for_findtime():
    jail = a_jail(max_retry=3, max_hosts=10, find_time=600)
    before = jail.crowd(NOON)

    a_crowd(jail, 20, NOON)

    assert before == ""
    assert "(maxhosts = 10); 10 that failed least were forgotten" in jail.crowd(NOON + 600)
    assert jail.crowd(NOON + 601) == ""


def test_of_hosts_forgotten_at_the_ceiling_the_store_keeps_nothing():
    jail = a_jail(max_retry=3, max_hosts=10)
    a_crowd(jail, 15, NOON)

    progress = jail.take_progress({})

    assert sorted(f"host {n}" for n in range(5)) == sorted(progress.settled)
    assert sorted(f"host {n}" for n in range(5, 15)) == sorted(one.host for one in progress.failed)


def test_a_lower_ceiling_for_hosts_holds_at_once():
    jail = a_jail(max_retry=3)
    a_crowd(jail, 15, NOON)

    jail.change(replace(jail.conf, max_hosts=5))

    assert len(jail.failures) == 5
    assert 10 == len(jail.take_progress({}).settled)


STEPS = st.lists(
    st.tuples(
        st.sampled_from([EVE, BOB, "192.0.2.99", "10.0.0.1", "2001:db8:0:1::5", "somebody"]),
        st.integers(-700, 100),
        st.sampled_from([1, 1, 2]),
    ),
    max_size=30,
)


@given(STEPS, st.integers(1, 4), st.sampled_from([64, 128]), st.booleans(), st.booleans())
def test_many_failures_at_once_come_to_the_same_as_one_after_the_other(
    steps, retries, prefix, has_command, has_pardons
):
    options = {
        "max_retry": retries,
        "max_hosts": 3,
        "ignore_ip": ("10.0.0.0/8",),
        "ignore_command": "ask <ip>" if has_command else "",
        "ipv6_prefix": prefix,
        "help": Help(is_ignored=lambda failure: failure.host == "somebody"),
    }
    happened = [
        Failure(host, NOON + at, (f"line {n}",), attempts=attempts)
        for n, (host, at, attempts) in enumerate(steps)
    ]
    one, other = a_jail(**options), a_jail(**options)
    for jail in (one, other) if has_pardons else ():
        jail.unban("192.0.2.99", NOON - 300)

    said = [each for failure in happened for each in one.on_failure(failure, NOON)]

    assert list(one_by_one(other.on_failures(Failures(other.packer, happened), NOON))) == said
    assert other.total_failed == one.total_failed
    assert list(other.failures.everything()) == list(one.failures.everything())
    assert _told(other.take_progress({})) == _told(one.take_progress({}))


def test_a_failure_that_counts_for_several_is_as_many_failures():
    jail = a_jail(max_retry=9)

    jail.on_failures(Failures(jail.packer, failures(EVE, at=[0, 1], attempts=3)), NOON + 1)
    jail.on_failures(Failures(jail.packer, failures(BOB, at=[0, 1])), NOON + 1)

    assert 8 == jail.total_failed


def one_by_one(said):
    """`said` as if each failure had come by itself."""
    for one in said:
        if isinstance(one, Failed):
            yield from (Failed([host], [when]) for host, when in zip(*one, strict=True))
        else:
            yield one


def _told(progress):
    return replace(progress, failed=tuple(progress.failed))


@given(STEPS, st.lists(st.integers(1, 5), max_size=10))
def test_what_is_saved_is_what_is_counted(steps, sizes):
    jail = a_jail(max_retry=3, max_hosts=3, max_matches=9)
    kept = []
    for size in [*sizes, 30]:
        now, steps = steps[:size], steps[size:]
        some = [Failure(host, NOON + at, ("x",)) for host, at, _ in now]
        jail.on_failures(Failures(jail.packer, some), NOON + 90)
        step = jail.take_progress({})
        kept = [one for one in kept if one.host not in step.settled] + list(step.failed)
        jail.on_time(NOON + 90)

    counted = list(jail.failures.everything())
    assert [one for one in counted if one not in kept] == []
    assert {one.host for one in kept if one.when >= NOON - 510} == set(jail.failures.hosts())


def test_what_is_to_be_saved_outlives_what_is_counted():
    jail = a_jail()
    held = Failure("bob.example", NOON, ("x",), is_name=True)
    jail.hold(held)

    jail.on_time(NOON + 1)

    assert [held] == list(jail.take_progress({}).failed)
