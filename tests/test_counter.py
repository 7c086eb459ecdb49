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
    counter = FailureCounter(3, 600, ceiling=2)

    counted(counter, [Failure(host, NOON + at) for at, host in enumerate("abac")])

    assert ("a" in counter, "b" in counter, "c" in counter) == (True, False, True)
    assert counter.forgotten == 1


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
