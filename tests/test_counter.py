# SPDX-License-Identifier: GPL-2.0-or-later
from hypothesis import given
from hypothesis import strategies as st

from server.counter import FailureCounter
from server.records import Failure
from tests.support import BOB, EVE, NOON, failures


def counted(counter, happened):
    return [counter.add(failure) for failure in happened]


def test_failures_within_findtime_add_up():
    assert [1, 2, 3] == counted(FailureCounter(3, 600), failures(EVE, at=[0, 10, 600]))


def test_a_failure_older_than_findtime_counts_no_longer():
    assert [1, 2, 2] == counted(FailureCounter(3, 600), failures(EVE, at=[0, 10, 601]))


def test_each_host_counts_for_itself():
    counter = FailureCounter(3, 600)

    assert [1, 1, 2] == counted(
        counter, [*failures(EVE, at=[0]), *failures(BOB, at=[1]), *failures(EVE, at=[2])]
    )


def test_a_failure_of_several_attempts_counts_as_many():
    assert [4] == counted(FailureCounter(5, 600), failures(EVE, at=[0], attempts=4))


def test_a_late_line_of_another_log_finds_its_place_in_time():
    assert [1, 2, 2] == counted(FailureCounter(9, 600), failures(EVE, at=[600, 100, 750]))


def test_beyond_the_ceiling_the_host_quiet_for_longest_is_forgotten():
    counter = FailureCounter(3, 600, max_hosts=2)

    counted(counter, [Failure(host, NOON + at) for at, host in enumerate("abac")])

    assert ("a" in counter, "b" in counter, "c" in counter) == (True, False, True)
    assert counter.pop_forgotten() == ["b"]


def test_what_is_taken_is_forgotten():
    counter = FailureCounter(3, 600)
    happened = failures(EVE, at=[0, 1])
    counted(counter, happened)

    assert counter.take(EVE) == tuple(happened)
    assert counter.of(EVE) == ()


def test_hosts_that_have_been_quiet_are_dropped():
    counter = FailureCounter(3, 600)
    counted(counter, [*failures(EVE, at=[0]), *failures(BOB, at=[100])])

    counter.drop_older_than(NOON + 50)

    assert len(counter) == 1 and BOB in counter


def test_failures_grow_too_old_where_thousands_of_others_were_dropped_before():
    counter = FailureCounter(9, 100)
    counted(counter, [Failure(f"192.0.2.{n}", NOON) for n in range(2000)])
    counted(counter, failures(EVE, at=[40, 90]))

    counter.drop_older_than(NOON + 50)

    assert len(counter) == 1
    assert counted(counter, failures(EVE, at=[140, 141])) == [3, 3]


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 300), st.integers(1, 3)), max_size=60
    ),
    st.integers(1, 6),
    st.integers(1, 100),
)
def test_it_counts_as_a_naive_list_does(steps, max_retry, find_time):
    counter = FailureCounter(max_retry, find_time)
    seen = []
    now = 0
    for host, wait, attempts in steps:
        now += wait
        seen.append((host, now, attempts))
        expected = sum(n for other, at, n in seen if other == host and at >= now - find_time)

        count = counter.add(Failure(host, now, attempts=attempts))

        assert min(count, max_retry) == min(expected, max_retry)
        if count >= max_retry:  # as a jail does
            counter.take(host)
            seen = [one for one in seen if one[0] != host]


def test_everything_is_what_is_counted_now():
    counter = FailureCounter(3, 600)
    counted(counter, failures(EVE, at=[0, 700, 800]))
    counted(counter, failures(BOB, at=[750]))
    counter.take(BOB)

    assert failures(EVE, at=[700, 800]) == list(counter.everything())


def test_lines_are_kept_of_the_last_failures_only():
    counter = FailureCounter(9, 600, max_matches=2)
    happened = failures(EVE, at=[0, 1, 2, 3], fields={"user": "root"})

    counted(counter, happened)

    assert counter.of(EVE) == (*(one._replace(lines=()) for one in happened[:2]), *happened[2:])


def test_where_a_failure_has_no_line_those_before_are_kept():
    counter = FailureCounter(9, 600, max_matches=1)
    first = failures(EVE, at=[0])
    counted(counter, [*first, Failure(EVE, NOON + 1), Failure(EVE, NOON + 2)])

    assert counter.of(EVE)[0] == first[0]


def test_at_the_ceiling_who_failed_once_is_forgotten_before_who_failed_again():
    counter = FailureCounter(5, 600, max_hosts=100)
    counted(counter, failures(EVE, at=[0, 1, 2, 3]))

    counted(counter, [Failure(f"host {n}", NOON + 10 + n / 1000) for n in range(10_000)])

    assert (len(counter), len(counter.of(EVE))) == (100, 4)
    assert "host 9999" in counter
    assert len(counter.pop_forgotten()) == 10_001 - 100


def test_a_flood_of_hosts_that_fail_twice_leaves_those_that_failed_more_often():
    counter = FailureCounter(5, 600, max_hosts=100)
    counted(counter, failures(EVE, at=[0, 1, 2, 3]))

    flood = [Failure(f"host {n // 2}", NOON + 10 + n / 1000) for n in range(20_000)]
    counted(counter, flood)

    assert len(counter) <= 100
    assert len(counter.of(EVE)) == 4


def test_newcomers_have_their_chance_where_all_others_failed_twice():
    counter = FailureCounter(5, 600, max_hosts=100)
    counted(counter, [Failure(f"host {n // 2}", NOON) for n in range(200)])
    newcomers = [f"new {n}" for n in range(10)]

    counts = [counted(counter, [Failure(one, NOON + n) for one in newcomers]) for n in range(4)]

    assert counts == [[1] * 10, [2] * 10, [3] * 10, [4] * 10]


def test_even_with_one_place_a_host_is_counted():
    counter = FailureCounter(5, 600, max_hosts=1)

    assert [1, 2, 1, 2, 3] == counted(counter, [Failure(host, NOON) for host in "aabbb"])
    assert counter.pop_forgotten() == ["a"]


def test_long_lines_fill_the_ceiling_with_fewer_hosts():
    counter = FailureCounter(5, 600, max_hosts=2000)

    counted(counter, [Failure(f"host {n}", NOON, ("x" * 20_480,)) for n in range(1000)])

    assert 60 <= len(counter) <= 100
    assert "host 999" in counter


def test_one_host_is_counted_however_long_its_lines():
    counter = FailureCounter(9, 600, max_hosts=1)
    happened = [Failure(EVE, NOON + n, ("x" * 500_000,)) for n in range(5)]

    assert [1, 2, 3, 4, 5] == counted(counter, happened)


def test_a_lower_ceiling_holds_at_once():
    counter = FailureCounter(3, 600)
    counted(counter, [Failure(f"host {n}", NOON) for n in range(50)])

    counter.change(3, 600, max_hosts=10)

    assert len(counter) == 10
    assert len(counter.pop_forgotten()) == 40


class Naive:
    """The same, with lists and no thought of memory or speed."""

    def __init__(self, max_retry, find_time, max_matches):
        self.change(max_retry, find_time, max_matches)
        self.hosts = {}

    def change(self, max_retry, find_time, max_matches):
        self.max_retry, self.find_time, self.max_matches = max_retry, find_time, max_matches

    def add(self, failure):
        mine = sorted([*self.hosts.get(failure.host, []), failure], key=lambda one: one.when)
        since = mine[-1].when - self.find_time
        if len(mine) > 1:
            mine = [one for one in mine if one.when >= since][-self.max_retry :]
        self.hosts[failure.host] = mine
        return sum(one.attempts for one in mine)

    def matches(self, host):
        lines = [line for one in self.hosts.get(host, []) for line in one.lines]
        return lines[-self.max_matches :]


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from("abc"), st.integers(0, 400), st.sampled_from([0, 1, 1, 1, 2]),
            st.sampled_from([1, 1, 1, 3]),
        ),
        st.sampled_from(["a", "b"]),
        st.tuples(st.integers(1, 6), st.integers(1, 200)),
    ),
    max_size=60,
)  # fmt: skip


@given(STEPS, st.integers(1, 6), st.integers(1, 200), st.integers(1, 4))
def test_in_any_order_and_under_changing_rules_it_counts_as_a_naive_one(
    steps, max_retry, find_time, max_matches
):
    counter = FailureCounter(max_retry, find_time, max_matches=max_matches)
    naive = Naive(max_retry, find_time, max_matches)
    for number, step in enumerate(steps):
        match step:
            case str(host):
                taken = [one._replace(lines=()) for one in counter.take(host)]
                assert taken == [one._replace(lines=()) for one in naive.hosts.pop(host, [])]
            case (host, when, lines, attempts):
                told = tuple(f"line {number} {n}" for n in range(lines))
                failure = Failure(host, float(when), told, attempts=attempts, offset=number)
                assert counter.add(failure) == naive.add(failure)
                held = [line for one in counter.of(host) for line in one.lines]
                assert held[-max_matches:] == naive.matches(host)
            case (max_retry, find_time):
                counter.change(max_retry, find_time, max_matches=max_matches)
                naive.change(max_retry, find_time, max_matches)
    assert sorted(counter.hosts()) == sorted(naive.hosts)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5)), max_size=200), st.integers(1, 20))
def test_the_ceiling_always_holds_and_who_is_forgotten_is_told(steps, most):
    counter = FailureCounter(9, 600, max_hosts=most)
    known, now = set(), NOON
    for number, wait in steps:
        now += wait
        counter.add(Failure(str(number), now))
        known = (known | {str(number)}) - set(counter.pop_forgotten())

        assert len(counter) <= most
        assert known == set(counter.hosts())
        assert str(number) in counter
