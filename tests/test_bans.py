# SPDX-License-Identifier: GPL-2.0-or-later
import math
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from server.bans import BanList
from server.records import Ban
from tests.support import BOB, EVE


def a_ban(host, since=0.0, seconds=60.0):
    return Ban("ssh", host, since, seconds)


def test_a_ban_is_over_at_its_end_and_not_before():
    bans = BanList()
    bans.put(a_ban(EVE, seconds=60))

    assert bans.take_over(59.9) == []
    assert bans.take_over(60) == [a_ban(EVE, seconds=60)]
    assert EVE not in bans


def test_a_ban_for_ever_never_ends():
    bans = BanList()
    bans.put(a_ban(EVE, seconds=math.inf))

    assert bans.take_over(1e12) == []
    assert bans.next_end == math.inf


def test_a_prolonged_ban_ends_at_its_new_end_only():
    bans = BanList()
    bans.put(a_ban(EVE, seconds=60))
    bans.put(a_ban(EVE, seconds=60).prolonged_to(100))

    assert bans.take_over(60) == []
    assert bans.next_end == 100
    assert [ban.host for ban in bans.take_over(100)] == [EVE]


def test_bans_that_are_moved_for_ever_take_no_more_memory():
    bans = BanList()
    bans.put(a_ban(BOB, seconds=10**9))

    def taken_by(moves):
        tracemalloc.start()
        for move in range(moves):
            bans.put(a_ban(EVE, since=float(move)))
            if move % 2:
                bans.take(EVE)
        taken = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return taken

    assert taken_by(30_001) < 500_000  # 120 bytes each, if all were kept, would be 3.6 MB

    assert [EVE] == [ban.host for ban in bans.take_over(30_060.0)]
    assert math.isclose(10**9, bans.next_end)


def test_a_lifted_ban_is_not_over_a_second_time():
    bans = BanList()
    bans.put(a_ban(EVE))
    bans.put(a_ban(BOB, seconds=90))

    bans.take(EVE)

    assert bans.next_end == 90
    assert [ban.host for ban in bans.take_over(1000)] == [BOB]


@given(st.lists(st.tuples(st.sampled_from("put take over".split()), st.sampled_from("abcd"), st.integers(1, 50)), max_size=80))  # fmt: skip
def test_it_agrees_with_a_naive_dictionary(steps):
    bans, naive, now = BanList(), {}, 0
    for what, host, number in steps:
        if what == "put":
            naive[host] = a_ban(host, now, number)
            bans.put(naive[host])
        elif what == "take":
            assert bans.take(host) == naive.pop(host, None)
        else:
            now += number
            over = [ban for ban in naive.values() if ban.until <= now]
            assert {ban.host for ban in bans.take_over(now)} == {ban.host for ban in over}
            naive = {host: ban for host, ban in naive.items() if ban not in over}
        assert bans.next_end == min((ban.until for ban in naive.values()), default=math.inf)
        assert {ban.host for ban in bans} == set(naive)
