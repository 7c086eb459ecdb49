# SPDX-License-Identifier: GPL-2.0-or-later
import pytest

from common.options import ActionConf
from server.records import Ban, Enforce, Lift
from server.singles import orders_for
from tests.support import NOON, a_jail, failures

HOME = "2001:db8::/64"
ALONE = ActionConf("report", {"networks": "no"})


def done(orders, conf=ALONE):
    return [(type(one).__name__, one.ban.host) for one in orders_for(conf, orders)]


def fail(jail, *hosts):
    said = [
        one
        for host in hosts
        for failure in failures(host, at=[0])
        for one in jail.on_failure(failure, NOON)
    ]
    return [one for one in said if isinstance(one, (Enforce, Lift))]


@pytest.fixture
def jail():
    return a_jail(max_retry=1, ipv6_prefix=64, aggregate=3)


def test_an_action_that_says_nothing_gets_networks(jail):
    assert done(fail(jail, "2001:db8::5"), ActionConf("wall")) == [("Enforce", HOME)]


def test_of_a_prefix_it_gets_the_address_that_failed_last(jail):
    assert done(fail(jail, "2001:db8::5")) == [("Enforce", "2001:db8::5")]
    assert done(jail.unban("2001:db8::9", NOON)) == [("Lift", "2001:db8::5")]


def test_of_a_network_it_keeps_the_hosts(jail):
    hosts = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]

    assert done(fail(jail, *hosts)) == [("Enforce", host) for host in hosts]
    assert done(jail.unban(hosts[1], NOON)) == [("Lift", hosts[1])]
    assert done(jail.unban(hosts[0], NOON)) == [("Lift", hosts[0])]


def test_after_a_restart_it_gets_the_hosts_of_a_network(jail):
    fail(jail, "192.0.2.1", "192.0.2.2", "192.0.2.3")
    again = a_jail()

    orders = again.restore(list(jail.bans), [], NOON + 1)

    assert done(orders) == [("Enforce", f"192.0.2.{last}") for last in (1, 2, 3)]
    assert done(again.unban_all(NOON + 2)) == [("Lift", f"192.0.2.{last}") for last in (1, 2, 3)]


def test_an_address_that_comes_to_be_ignored_leaves_the_other_one_where_it_is(jail):
    fail(jail, "2001:db8::5")
    jail.ignore_also(["2001:db8::6"])

    assert done(jail.spare_ignored(NOON)) == []


def test_a_network_banned_by_hand_is_handed_on_as_it_is():
    ban = Ban("ssh", "192.0.2.0/24", NOON, 600.0)

    assert done([Enforce(ban), Lift(ban)]) == [("Enforce", ban.host), ("Lift", ban.host)]
