# SPDX-License-Identifier: GPL-2.0-or-later
from server.pardons import Pardons
from tests.support import BOB, EVE


def test_what_was_before_is_forgiven_and_what_comes_after_is_not():
    pardons = Pardons()
    pardons.pardon(EVE, 100)

    assert pardons.forgive(EVE, 99.9)
    assert not pardons.forgive(EVE, 100)
    assert not pardons.forgive(BOB, 0)


def test_a_date_in_whole_seconds_may_be_of_after_the_pardon_in_the_same_second():
    pardons = Pardons()
    pardons.pardon(EVE, 100.7)

    assert pardons.forgive(EVE, 99)
    assert not pardons.forgive(EVE, 100)
    assert pardons.forgive(EVE, 100.5)
    assert not pardons.forgive(EVE, 101)


def test_a_network_is_forgiven_with_all_in_it():
    pardons = Pardons()
    pardons.pardon("2001:db8::/32", 100)

    assert pardons.forgive(BOB, 50) and pardons.forgive("2001:db8:7::/64", 50)
    assert not pardons.forgive("2001:db9::1", 50)


def test_everybody_can_be_forgiven_at_once():
    pardons = Pardons()
    pardons.pardon_all(100)

    assert pardons and pardons.forgive(EVE, 99) and not pardons.forgive(EVE, 101)


def test_it_is_known_what_was_let_in_of_a_network_since_a_moment():
    pardons = Pardons()
    for host, moment in ((EVE, 100), (BOB, 200), ("192.0.0.0/16", 300), ("198.51.100.1", 300)):
        pardons.pardon(host, moment)

    assert list(pardons.since(100, "192.0.2.0/24")) == [EVE, "192.0.0.0/16"]
    assert list(pardons.since(101, "192.0.2.0/24")) == ["192.0.0.0/16"]


def test_what_is_too_old_to_matter_is_forgotten():
    pardons = Pardons()
    pardons.pardon_all(50)
    pardons.pardon(EVE, 100)
    pardons.pardon("2001:db8::/32", 200)

    pardons.drop_older_than(150)

    assert not pardons.forgive(EVE, 0) and pardons.forgive(BOB, 0)
    pardons.drop_older_than(250)
    assert not pardons and not pardons.forgive(BOB, 0)


def test_there_is_an_end_to_what_is_remembered():
    pardons = Pardons()
    for number in range(10_001):
        pardons.pardon(f"user {number}", 100)

    assert not pardons.forgive("user 0", 0) and pardons.forgive("user 10000", 0)


def test_moments_move_with_the_clock():
    pardons = Pardons()
    pardons.pardon(EVE, 5000)

    pardons.follow_clock(-3600)

    assert pardons.forgive(EVE, 1399) and not pardons.forgive(EVE, 1400)


def test_of_an_earlier_run_the_later_moment_holds():
    pardons = Pardons()
    pardons.pardon(EVE, 100)

    pardons.take_up({EVE: 50, BOB: 70})

    assert pardons.forgive(EVE, 99) and pardons.forgive(BOB, 69)
