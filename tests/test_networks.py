# SPDX-License-Identifier: GPL-2.0-or-later

import pytest

from server.networks import counted_as, group_of, network_for, parts_from, remains, single_of
from server.records import Ban


def a_ban(host, failures=3, **more):
    return Ban("ssh", host, 0.0, 600.0, failures=failures, **more)


def merged(host, *hosts):
    return a_ban(host, parts=tuple(map(a_ban, hosts)), is_merged=True)


def hosts(bans):
    return [ban.host for ban in bans]


@pytest.mark.parametrize(
    ("host", "length", "counted"),
    [
        ("2001:db8:1:2:3::4", 64, "2001:db8:1:2::/64"),
        ("2001:db8:1:2:3::4", 48, "2001:db8:1::/48"),
        ("2001:db8:1:2:3::4", 128, "2001:db8:1:2:3::4"),
        ("2001:db8::/56", 64, "2001:db8::/56"),
        ("192.0.2.1", 64, "192.0.2.1"),
        ("user 7", 64, "user 7"),
        ("64:ff9b::c000:201", 64, "64:ff9b::c000:201"),  # all of IPv4, behind a translator
        ("2001::1:2:3", 64, "2001::1:2:3"),  # all who use one Teredo server
        ("2002:c000:201::1", 64, "2002:c000:201::1"),
        ("fe80::1", 64, "fe80::1"),
        ("::1", 64, "::1"),
    ],
)
def test_an_ipv6_address_is_counted_by_its_prefix_where_that_says_who_it_is(host, length, counted):
    assert counted_as(host, length) == counted


def test_hosts_are_banned_together_by_what_one_operator_has():
    assert group_of("192.0.2.77") == "192.0.2.0/24"
    assert group_of("2001:db8:1:2ff::/64") == "2001:db8:1:200::/56"
    assert group_of("192.0.0.0/16") is group_of("64:ff9b::1") is group_of("user 7") is None


def test_enough_banned_hosts_make_it_the_widest_network_that_may_be_banned():
    bans = [a_ban(f"192.0.2.{last}") for last in (1, 2, 130, 3)]

    def chosen(least, ignored=()):
        return network_for(
            "192.0.2.3", bans, least, lambda network: not any(map(network.__eq__, ignored))
        )

    assert chosen(4) == "192.0.2.0/24"
    assert chosen(5) is None
    assert chosen(3, ["192.0.2.0/24"]) == "192.0.2.0/25"
    assert chosen(4, ["192.0.2.0/24"]) is None


def test_a_merged_ban_counts_as_many_as_it_stands_in_for():
    bans = [merged("192.0.2.128/25", "192.0.2.129", "192.0.2.130"), a_ban("192.0.2.1")]

    assert network_for("192.0.2.1", bans, 3, lambda network: True) == "192.0.2.0/24"
    assert hosts(parts_from(bans)) == ["192.0.2.129", "192.0.2.130", "192.0.2.1"]


def test_of_a_merged_ban_all_others_stay_and_nobody_else_is_banned():
    ban = merged("192.0.2.0/24", "192.0.2.1", "192.0.2.2", "192.0.2.9")

    assert hosts(remains(ban, "192.0.2.2")) == ["192.0.2.1", "192.0.2.9"]
    assert hosts(remains(ban, "192.0.2.77")) == ["192.0.2.1", "192.0.2.2", "192.0.2.9"]
    assert hosts(remains(ban, "192.0.2.0/30")) == ["192.0.2.9"]
    assert remains(ban, "192.0.2.0/24") == remains(ban, "192.0.0.0/16") == ()
    assert remains(ban, "198.51.100.1") == (ban,)


def test_the_ban_of_a_prefix_goes_as_a_whole_but_for_what_was_banned_by_itself():
    ban = a_ban("2001:db8::/64", parts=(a_ban("2001:db8::1"), a_ban("2001:db8::2")))

    assert hosts(remains(ban, "2001:db8::1")) == ["2001:db8::2"]


def test_a_network_banned_by_hand_keeps_its_other_addresses_banned():
    inner = a_ban("192.0.2.130")
    ban = a_ban("192.0.2.0/24", failures=0, parts=(inner,))

    left = remains(ban, "192.0.2.0")

    assert hosts(left) == [
        "192.0.2.128/25", "192.0.2.64/26", "192.0.2.32/27", "192.0.2.16/28",
        "192.0.2.8/29", "192.0.2.4/30", "192.0.2.2/31", "192.0.2.1",
    ]  # fmt: skip
    assert left[0].parts == (inner,)
    assert remains(a_ban("2001:db8::/64", failures=0), "2001:db8::1") == ()


def test_the_single_address_of_a_prefix_is_the_one_last_seen():
    ban = a_ban("2001:db8::/64", fields={"seen": "2001:db8::5"})

    assert single_of(ban) == ban._replace(host="2001:db8::5")
    assert single_of(ban._replace(fields={"seen": "192.0.2.1; reboot"})) is None
    assert single_of(ban._replace(fields={"seen": "2001:db8:1::5"})) is None
    assert single_of(ban._replace(fields={})) is None
