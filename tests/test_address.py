# SPDX-License-Identifier: GPL-2.0-or-later
"""Addresses and networks as text."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import address


@pytest.mark.parametrize(
    ("text", "shortest"),
    [
        ("192.0.2.1", "192.0.2.1"),
        (" 192.0.2.1\n", "192.0.2.1"),
        ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:c000:201", "192.0.2.1"),
        ("64:ff9b::192.0.2.1", "64:ff9b::c000:201"),
        ("::", "::"),
        ("192.0.2.256", None),
        ("192.030.0.6", None),
        ("192.0.2", None),
        ("3221225985", None),
        ("2001:db8:::1", None),
        ("example.com", None),
        ("", None),
    ],
)
def test_an_address_has_one_text_only(text, shortest):
    assert address.shortest(text) == shortest


@given(st.ip_addresses())
def test_every_address_is_read_whatever_way_it_is_written(plain):
    shortest = address.shortest(str(plain))

    assert address.shortest(plain.exploded.upper()) == shortest
    assert address.number(str(plain)) == address.number(shortest)


@given(
    st.one_of(
        st.ip_addresses().map(str),
        st.lists(st.sampled_from(["0", "1", "ab", "ffff", "", "10", "00"]), max_size=9).map(
            ":".join
        ),
        st.lists(st.sampled_from(["0", "1", "01", "255", "256", "", "٣"]), max_size=5).map(
            ".".join
        ),
    )
)
def test_an_address_is_one_to_the_standard_library_and_the_same(text):
    try:
        plain = ipaddress.ip_address(text)
    except ValueError:
        plain = None
    plain = getattr(plain, "ipv4_mapped", None) or plain

    assert address.shortest(text) == (None if plain is None else str(plain))
    assert address.number(text) == (None if plain is None else (plain.version, int(plain)))


@given(
    st.ip_addresses(),
    st.one_of(st.integers(0, 130).map(str), st.sampled_from(["", "08", "٣", "a"])),
)
def test_a_network_is_one_to_the_standard_library_and_the_same(plain, length):
    try:
        network = ipaddress.ip_network(f"{plain}/{length}", strict=False)
    except ValueError:
        network = None
    first = network and network.network_address
    if (
        network is not None
        and network.version == 6
        and first.ipv4_mapped
        and network.prefixlen >= 96
    ):
        network = ipaddress.ip_network(f"{first.ipv4_mapped}/{network.prefixlen - 96}")
    found = address.network(f"{plain}/{length}")

    assert found == (network and (network.version, network.prefixlen, int(network.network_address)))
    if network is not None:
        is_one = network.prefixlen == network.max_prefixlen
        text = str(network.network_address) if is_one else str(network)
        assert address.text_of(found) == text


@given(st.text())
def test_any_text_is_an_address_or_none(text):
    shortest = address.shortest(text)

    assert shortest is None or address.shortest(shortest) == shortest


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("10.0.0.0/8", (4, 8, 10 << 24)),
        ("10.1.2.3/255.0.0.0", (4, 8, 10 << 24)),
        ("192.0.2.1", (4, 32, 0xC0000201)),
        ("::ffff:10.0.0.0/104", (4, 8, 10 << 24)),
        ("2001:db8::/32", (6, 32, 0x20010DB8 << 96)),
        ("::/0", (6, 0, 0)),
        ("10.0.0.0/33", None),
        ("example.com/8", None),
    ],
)
def test_a_network_is_its_length_and_its_first_address(text, network):
    assert address.network(text) == network


def test_a_network_has_one_text_only():
    assert address.shortest_network("10.1.2.3/8") == "10.0.0.0/8"
    assert address.shortest_network("2001:DB8::1/32") == "2001:db8::/32"
    assert address.shortest_network("192.0.2.1/32") == "192.0.2.1"
    assert address.shortest_network("nonsense/3") is None


@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_the_first_address_of_a_network_is_what_the_standard_library_says(plain, length):
    expected = ipaddress.ip_network((plain, length), strict=False).network_address

    assert address.first_of(4, length, int(plain)) == int(expected)


def members(version, length, first):  # of IPv4
    return set(range(first, first + 2 ** (32 - length)))


NETWORKS = st.integers(24, 32).flatmap(
    lambda length: st.integers(0, 255).map(
        lambda last: address.around((4, 32, 0xC0000200 + last), length)
    )
)


@given(NETWORKS, NETWORKS)
def test_what_is_left_of_a_network_is_covered_exactly_and_by_the_fewest(whole, hole):
    left = address.without(whole, hole)

    covered = [one for network in left for one in members(*network)]
    assert len(covered) == len(set(covered))
    assert set(covered) == members(*whole) - members(*hole)
    # Of two halves of one network, one would do: none is there beside its other half.
    halves = {(length, first) for _, length, first in left}
    assert not any((length, first ^ (1 << (32 - length))) in halves for length, first in halves)


@given(NETWORKS, NETWORKS)
def test_a_network_holds_another_as_sets_do(one, other):
    assert address.holds(one, other) == (members(*one) >= members(*other))


@given(NETWORKS)
def test_the_text_of_a_network_names_it(network):
    assert address.place_of(address.text_of(network)) == network
    assert address.last_of(network) == max(members(*network))
