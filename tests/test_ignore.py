# SPDX-License-Identifier: GPL-2.0-or-later
"""Hosts that are never banned."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.ignore import IgnoreList

LIST = IgnoreList(
    [
        "192.0.2.1",
        "10.0.0.0/8",
        "172.16.0.0/255.240.0.0",
        "2001:db8:1::/48",
        "::ffff:198.51.100.9",
        "Trusted.example.org",
        "user 7",
        "file:/etc/friends",
        "",
    ]
)


@pytest.mark.parametrize(
    "host",
    [
        "192.0.2.1",
        "::ffff:192.0.2.1",
        "10.255.255.255",
        "172.31.0.1",
        "2001:DB8:1::9",
        "198.51.100.9",
        "trusted.example.org",
        "user 7",
        "10.1.0.0/16",
        "10.0.0.0/8",
    ],
)
def test_these_are_covered(host):
    assert LIST.covers(host)


@pytest.mark.parametrize(
    "host",
    [
        "192.0.2.2",
        "11.0.0.0",
        "172.32.0.1",
        "2001:db8:2::9",
        "example.org",
        "user 8",
        "10.0.0.0/7",
        "/etc/friends",
        "::a00:1",
        "",
    ],
)
def test_these_are_not(host):
    assert not LIST.covers(host)


def test_names_and_files_are_left_to_the_caller():
    assert LIST.names == ("Trusted.example.org",)
    assert LIST.files == ("/etc/friends",)


def test_what_a_name_stood_for_can_be_added():
    more = LIST.and_also(["203.0.113.5"])

    assert more.covers("203.0.113.5")
    assert more.covers("10.0.0.1")
    assert not LIST.covers("203.0.113.5")


def test_the_machine_itself_can_be_added():
    own = IgnoreList(["192.0.2.1"]).with_own(["198.51.100.1", "2001:db8::1"])

    assert all(map(own.covers, ("192.0.2.1", "198.51.100.1", "2001:db8:0::1", "127.8.8.8", "::1")))
    assert not own.covers("198.51.100.2")


def test_an_empty_list_covers_nobody():
    assert not IgnoreList().covers("127.0.0.1")


NETWORKS = st.builds(
    lambda plain, length: ipaddress.ip_network(
        (plain, min(length, plain.max_prefixlen)), strict=False
    ),
    st.ip_addresses(v=4),
    st.integers(0, 32),
)


@given(st.lists(NETWORKS, max_size=8), st.ip_addresses(v=4))
def test_an_address_is_covered_if_one_of_the_networks_has_it(networks, plain):
    listed = IgnoreList(map(str, networks))

    assert listed.covers(str(plain)) == any(plain in network for network in networks)


@pytest.mark.parametrize("host", ["[127.0.0.1]", " 127.0.0.1", "127.0.0.1%lo", "::ffff:127.0.0.1"])
def test_an_address_is_covered_however_it_is_written(host):
    assert IgnoreList(["127.0.0.0/8"]).covers(host)


def test_a_wide_network_covers_what_begins_with_any_of_its_numbers():
    assert IgnoreList(["10.0.0.0/7"]).covers("11.0.7.9")
    assert IgnoreList(["10.0.0.0/7"]).covers("10.0.0.0/8")


def test_thousands_of_entries_cost_one_look_for_each_length():
    many = IgnoreList(f"10.{n // 256}.{n % 256}.0/24" for n in range(50_000))

    assert many.covers("10.0.7.9")
    assert not many.covers("10.255.255.9")
    assert not many.covers("11.0.7.9")


@pytest.mark.parametrize(
    ("network", "is_met"),
    [
        ("192.0.2.0/24", True),  # one of its addresses is ignored
        ("192.0.2.2/31", False),
        ("10.1.0.0/16", True),  # all of it is
        ("2001:db8:1:2::/64", True),
        ("2001:db8::/32", True),  # a network in it is
        ("2001:db8:2::/48", False),
        ("user 7", True),
        ("user 8", False),
    ],
)
def test_a_network_is_met_where_any_of_it_is_ignored(network, is_met):
    assert LIST.meets(network) == is_met


@given(
    st.lists(st.tuples(st.integers(24, 32), st.integers(0, 255)), max_size=6),
    st.tuples(st.integers(24, 32), st.integers(0, 255)),
)
def test_what_is_met_is_what_has_an_ignored_address(entries, asked):
    def network(length, last):
        return ipaddress.ip_network(f"192.0.2.{last}/{length}", strict=False)

    ignored = IgnoreList([str(network(*entry)) for entry in entries])

    expected = any(network(*entry).overlaps(network(*asked)) for entry in entries)
    assert ignored.meets(str(network(*asked))) == expected
