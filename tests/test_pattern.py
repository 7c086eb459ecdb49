# SPDX-License-Identifier: GPL-2.0-or-later
"""Regular expressions with tags."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import RegexError
from server.budget import Answer, Keeper
from server.pattern import Id, Pattern, id_of


def blamed(regex, line, **how):
    """Whom `regex` blames for `line`; None if it does not match."""
    pattern = Pattern(regex, needs_id=True, **how)
    match = pattern.search(line)
    return match and id_of(pattern.fields(match))


@pytest.mark.parametrize(
    ("regex", "line", "host"),
    [
        ("from <HOST>$", "from 192.0.2.1", "192.0.2.1"),
        ("from <HOST>$", "from ::ffff:192.0.2.1", "192.0.2.1"),
        ("from <HOST>$", "from 2001:DB8::1", "2001:db8::1"),
        ("from <HOST>$", "from 2001:db8:0:0:0:0:0:1", "2001:db8::1"),
        ("from <HOST>$", "from [2001:db8::1]", "2001:db8::1"),
        (r"from \[<HOST>\]$", "from [2001:db8::1]", "2001:db8::1"),
        ("from <HOST>$", "from fe80::1%eth0", "fe80::1"),
        ("from <HOST>$", "from fe80::", "fe80::"),
        ("from <HOST>$", "from ::1", "::1"),
        ("from <HOST>$", "from 64:ff9b::192.0.2.1", "64:ff9b::c000:201"),
        ("from <HOST>: ", "from 2001:db8::1: bye", "2001:db8::1"),
        (r"<HOST>:\d+\]", "[client 2001:db8::c:40793]", "2001:db8::c"),
        (r"<HOST>:\d+\]", "[client 192.0.2.1:40793]", "192.0.2.1"),
        (r"Remote: <HOST>-\d+;", "Remote: 192.0.2.1-22;", "192.0.2.1"),
        ("from <ADDR>$", "from 2001:db8::1", "2001:db8::1"),
        ("from <IP4>$", "from 192.0.2.1", "192.0.2.1"),
        ("from <F-IP4/>$", "from 192.0.2.1", "192.0.2.1"),
        ("from <IP6>$", "from 2001:db8::1", "2001:db8::1"),
        ("from <SUBNET>$", "from 192.0.2.9/24", "192.0.2.0/24"),
        ("from <SUBNET>$", "from 192.0.2.9", "192.0.2.9"),
        ("from <ADDR>/<CIDR>$", "from 2001:db8::9/64", "2001:db8::/64"),
        ("from (?P<host>\\S+)$", "from ::ffff:192.0.2.1", "192.0.2.1"),
        ("for <F-ID>.+</F-ID> from <HOST>$", "for a user from 192.0.2.1", "a user"),
        ("for <F-ID/> from", "for carol from", "carol"),
        ("for <F-ID/> from", "for 2001:DB8::1 from", "2001:db8::1"),
        ("<F-MLFID>x</F-MLFID> (?:from <HOST>)?", "x y", None),
    ],
)
def test_an_address_or_an_id_is_blamed(regex, line, host):
    assert blamed(regex, line) == (host and Id(host))


@pytest.mark.parametrize(
    ("regex", "line", "name"),
    [
        ("from <HOST>$", "from box-7.example.org", "box-7.example.org"),
        ("from <DNS>$", "from box_7", "box_7"),
        ("from (?P<host>\\S+)$", "from box.example.org.", "box.example.org"),
        ("from <HOST>$", "from 192.0.2.1.example.org", "192.0.2.1.example.org"),
        ("from <HOST>$", "from 192.030.0.6", "192.030.0.6"),
        ("from <HOST>$", "from 192.0.2.256", "192.0.2.256"),
    ],
)
def test_a_name_is_blamed_as_a_name(regex, line, name):
    assert blamed(regex, line) == Id(name, is_name=True)


@pytest.mark.parametrize(
    ("regex", "line"),
    [
        ("from <ADDR>$", "from example.org"),
        ("from <HOST>$", "from $(reboot)"),
        ("from <HOST>$", "from -x"),
        ("port <HOST>$", "port 46038"),
        ("from <IP4>$", "from 2001:db8::1"),
        ("from <IP6>$", "from 12:30"),
        ("from <HOST>$", "from 192.0.2.1111"),
        ("^from <HOST>$", "not from 192.0.2.1"),
    ],
)
def test_nobody_is_blamed_here(regex, line):
    assert blamed(regex, line) in (None, Id("192.0.2.1111", is_name=True))


def test_without_dns_a_host_is_an_address():
    assert blamed("from <HOST>", "from example.org", use_dns=False) is None
    assert blamed("from <HOST>", "from 192.0.2.1", use_dns=False) == Id("192.0.2.1")


def test_fields_are_named_as_their_tags():
    pattern = Pattern(r"<F-USER>\S+</F-USER> <F-MY-OWN>\d+</F-MY-OWN> <F-PORT/> (?P<old>.)")

    fields = pattern.fields(pattern.search("carol 7 ssh x"))

    assert fields == {"user": "carol", "my_own": "7", "fport": "ssh", "old": "x"}


@pytest.mark.parametrize(
    ("line", "user"),
    [("user=carol", "carol"), ("ruser=dave", "dave"), ("login=erin", "erin"), ("nobody", None)],
)
def test_another_group_stands_in_for_the_user(line, user):
    pattern = Pattern(
        r"^(?:user=<F-USER>\w+</F-USER>|ruser=<F-ALT_USER>\w+</F-ALT_USER>"
        r"|login=<F-ALT_USER1>\w+</F-ALT_USER1>|nobody)$"
    )

    assert pattern.fields(pattern.search(line)).get("user") == user


def test_a_pattern_shows_what_was_written():
    assert repr(Pattern("from <HOST>")) == "Pattern('from <HOST>')"


def test_a_mark_that_closes_itself_matches_nothing_and_is_there():
    pattern = Pattern("^Bye<F-NOFAIL/><F-MLFFORGET/> from <HOST>")

    fields = pattern.fields(pattern.search("Bye from 192.0.2.1"))

    assert (fields["nofail"], fields["mlfforget"]) == ("", "")


def test_both_texts_are_kept():
    pattern = Pattern("from <IP4>")

    assert pattern.source == "from <IP4>"
    assert "(?P<ip4>" in pattern.expanded
    assert "<IP4>" not in pattern.expanded


@pytest.mark.parametrize("regex", ["fail", "from <F-USER>.*</F-USER>", "(?P<whatever>x)"])
def test_a_failregex_without_anybody_to_blame_is_refused(regex):
    with pytest.raises(RegexError, match=f"^No failure-id group in '{re.escape(regex)}'$"):
        Pattern(regex, needs_id=True)


@pytest.mark.parametrize(
    "regex",
    ["", "  ", "(<HOST>", "<HOST> <HOST>", "<HOST>[", "*<HOST>", "<F-1>x</F-1>", "<F-ID>", "\\"],
)
def test_an_unreadable_regex_is_refused(regex):
    with pytest.raises(RegexError):
        Pattern(regex, needs_id=True)


@pytest.mark.parametrize(
    ("regex", "yes", "no"),
    [
        ("^(?i)refused", ["refused", "REFUSED"], ["x refused"]),
        ("a(?i)b|c", ["ab", "aB", "C"], ["Ab"]),
        ("^(?:a(?i)b|c)d$", ["aBd", "Cd"], ["abD", "Abd"]),
        ("^a(?i)b", ["aB"], ["AB"]),
        (r"^[(](?i)x\)(y)$", ["(X)Y"], []),
        (r"^[]|(](?i)x$", ["]X", "|x", "(x"], ["x"]),
        ("^(?:x(?i)y(?s).)$", ["xY\n"], ["XY\n"]),
        ("(?i)^refused", ["REFUSED"], []),
    ],
)
def test_flags_in_the_midst_hold_to_the_end_of_their_group(regex, yes, no):
    search = Pattern(regex).search

    assert [text for text in yes if not search(text)] == []
    assert [text for text in no if search(text)] == []


def test_lines_in_between_may_be_skipped():
    pattern = Pattern(r"^begin$<SKIPLINES>^end$", is_multiline=True)

    assert pattern.search("begin\nend")
    assert pattern.search("x\nbegin\none\ntwo\nend\ny")
    assert not pattern.search("begin end")


REGEXES = st.recursive(
    st.sampled_from(["a", "b", "^", "$", "<HOST>", r"\d+", "[ab]", "(?i)", ".*", "|"]),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map("".join),
        inner.map("(?:{})".format),
        inner.map("({})?".format),
    ),
)


@given(REGEXES, st.text("abAB1.2", max_size=6))
def test_a_regex_is_refused_or_matches_wherever_it_would(regex, line):
    """Being tied to the start is found out, not guessed."""
    try:
        pattern = Pattern(regex)
    except RegexError:
        return

    assert bool(pattern.search(line)) == bool(re.search(pattern.expanded, line))


@given(st.ip_addresses())
def test_every_address_is_matched_whole(address):
    expected = blamed("^<F-ID/>$", str(address))

    texts = [str(address), str(address).upper()] + [f"[{address}]"] * (address.version == 6)
    for text in texts:
        assert blamed("^from <HOST>$", f"from {text}") == expected
        assert blamed("from <HOST>", f"from {text} port 22") == expected
        assert blamed("from <HOST>: bye", f"from {text}: bye") == expected


@given(st.text("0123456789abcdef:.[]%- ", max_size=40))
def test_whoever_is_blamed_is_an_address_a_name_or_nobody(text):
    found = blamed("from <HOST>", f"from {text}")

    assert found is None or re.fullmatch(r"[0-9a-zA-Z_.:-]+", found.text)


def test_a_line_feed_may_make_a_text_dear_that_is_tried_at_once_without():
    asked = []
    pattern = Pattern("^.*a.*$")
    answer = Answer(None, 0.0, 0.0)
    pattern.watched.keeper = Keeper(lambda *args: asked.append(args[2]) or answer, print, "rule")
    long = "a" * 50_000

    assert pattern.search(long) is not None
    assert pattern.search(long) is not None
    assert [] == asked
    assert pattern.search(f"{long}\nb") is None
    assert [f"{long}\nb"] == asked
