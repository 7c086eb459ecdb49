# SPDX-License-Identifier: GPL-2.0-or-later
"""A prefregex and a failregex in one, where it comes to the same."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.filter import Filter
from server.joined import exclusive, joined
from tests.filters import LOGS, conf_of
from tests.test_literals import REGEXES, TEXTS

REST = "(?P<content>.+)$"


def whole_of(prefix, rule, flags=0):
    return joined(re.compile(prefix, flags), "content", re.compile(rule, flags))


def in_turn(prefix, rule, text):
    """What both name, one after the other; None where one does not match."""
    outer = re.search(prefix, text)
    found = outer and re.search(rule, outer["content"])
    if not found:
        return None
    return {name: text for name, text in {**outer.groupdict(), **found.groupdict()}.items() if name != "content"}  # fmt: skip


def at_once(whole, text):
    found = whole.match(text)
    return None if found is None else found.groupdict()


def check(prefix, rule, text):
    """What can be joined names what both name."""
    try:
        whole = whole_of(prefix, rule)
    except re.error:
        return

    if whole is not None:
        assert at_once(whole, text) == in_turn(prefix, rule, text)


@settings(max_examples=600, deadline=None)
@given(REGEXES, REGEXES, REGEXES, TEXTS, st.sampled_from(["^", ""]))
@example("a", "(?:a|b)", "", "aab", "^")
@example("a*", "a", "", "aaa", "^")
@example(".*", "b", "(?<=a)", "aab", "^")
@example("a", "b|", "c", "aacbc", "")
def test_it_names_what_both_name(head, begin, end, text, start):
    check(f"^(?P<mlfid>{head}){REST}", f"{start}(?P<user>{begin}){end}", text)


@settings(max_examples=400, deadline=None)
@given(REGEXES, REGEXES, REGEXES, TEXTS)
def test_so_it_does_with_conditions(head, begin, end, text):
    rule = f"^(?P<odd>{begin})?(?P<user>(?(odd){end}|b)(?P=odd)?)"
    check(f"^(?P<mlfid>{head}){REST}", rule, text)


@settings(max_examples=600, deadline=None)
@given(REGEXES, REGEXES, TEXTS, st.sampled_from(["^", ""]))
@example("a|^b", "c", "bc", "^")
@example("a", "b|c", "ac", "^")
@example("a", "b|^c", "ac", "^")
@example("a", "b|^c", "axc", "")
@example("a", "(?:b|^c)", "ac", "^")
def test_so_it_does_where_neither_is_a_group(head, body, text, start):
    check(f"^{head}{REST}", f"{start}{body}", text)


@pytest.mark.parametrize(
    ("prefix", "rule", "why"),
    [
        ("x(?P<content>.+)$", "^a", "the prefix may match anywhere"),
        (f"^x{REST}", "a|^b", "the rule may see that nothing is before it"),
        ("^x(?P<content>.*)$", "^a", "there may be no content"),
        ("^x(?P<content>.+)", "^a", "who knows how far it goes"),
        ("^x(?P<content>.+) x$", "^a", "something stands behind it"),
        (f"^x|^y{REST}", "^a", "not all ways have it"),
        (f"^x{REST}", "^a|b", "not all ways begin with it"),
        (f"^x{REST}", "^a|^b", "nor here"),
        (f"^x{REST}", r"^\bab", "it sees that nothing is before it"),
        (f"^x{REST}", "^(?<!x)ab", "so it does"),
        (f"^x{REST}", "^a?(?<=xa)b", "it looks too far back"),
        (f"^x{REST}", r"^(a)\1", "groups have other numbers"),
        (f"^x{REST}", "^(a)?(?(1)b|c)", "so they have"),
        (f"^(?P<user>x){REST}", "^(?P<user>a)", "both have a group of one name"),
        (f"^x{REST}", "(?i)^a", "they differ in their flags"),
    ],
)
def test_what_may_come_to_something_else_is_left_alone(prefix, rule, why):
    assert whole_of(prefix, rule) is None, why


def test_lines_that_are_joined_are_left_alone():
    assert whole_of(f"^x{REST}", "^a", re.MULTILINE) is None


def test_look_behinds_that_stay_within_the_content_do_no_harm():
    whole = whole_of(f"^x{REST}", r"^a(?:b(?<=ab))+\b(?<!x)")

    assert whole is not None
    assert whole.match("xab c") and not whole.match("xabc")


@pytest.mark.parametrize(
    "rule",
    [
        "^(?P<odd>a)?(?(odd)b|c)(?P<user>.)$",
        "^(?P<odd>[ab]+)-(?P=odd)(?P<user>.)$",
        r"^(?:(?P<odd>a) )?(?P<user>(?P<known>\S+)|(?(odd)x.*?|[^:]+)) from b$",
    ],
)
@pytest.mark.parametrize(
    "text",
    ["xab1", "xc2", "xac3", "xab-ab4", "xab-ba5", "xa x y z from b", "xa b from b", "xx y from b"],
)
def test_what_refers_to_a_group_by_its_name_is_joined(rule, text):
    prefix = f"^(?P<mlfid>x)(y)?{REST}"
    whole = whole_of(prefix, rule)

    assert whole is not None
    assert at_once(whole, text) == in_turn(prefix, rule, text)


def test_the_prefix_is_not_tried_another_way_for_the_sake_of_the_rule():
    whole = whole_of(f"^a*{REST}", "^ab")

    assert whole is not None
    assert whole.match("aab") is None
    assert re.search("^ab", re.search(f"^a*{REST}", "aab")["content"]) is None


@pytest.mark.parametrize("name", ["sshd", "asterisk", "postfix"])
def test_most_of_what_is_stocked_can_be_joined(name):
    assert (LOGS / name).exists()
    filter = Filter(conf_of(name))
    whole = [joined(filter.prefix.regex, "content", rule.regex) for rule in filter.rules]

    assert len([each for each in whole if each is not None]) > len(whole) / 2


@pytest.mark.parametrize(
    ("regex", "pairs"),
    [
        ("(a)|(b)", {(1, 2)}),
        ("(?:(a)|(b)(c))?", {(1, 2), (1, 3)}),
        ("(?:(a)|(b))*", set()),
        ("(?:(a)|(b)){2}", set()),
        ("(a)?(b)?", set()),
        ("(?:x((a)|(b))|c)", {(2, 3)}),
        ("(?=(a)|(b))", {(1, 2)}),
    ],
)
def test_groups_that_never_have_something_both_are_known(regex, pairs):
    assert exclusive(re.compile(regex)) == pairs


@settings(max_examples=300, deadline=None)
@given(REGEXES, TEXTS)
def test_of_two_groups_that_exclude_each_other_one_is_empty(source, text):
    try:
        regex = re.compile(source)
    except re.error:
        return

    for found in regex.finditer(text):
        for one, other in exclusive(regex):
            assert found[one] is None or found[other] is None


@pytest.mark.parametrize("depth", [1, 100, 200, 250])
def test_what_is_nested_deeply_is_left_alone_at_worst(depth):
    rule = f"^{'(?:x' * depth}(?P<user>a){')?' * depth}"
    whole = whole_of(f"^x{REST}", rule)

    assert whole is None or whole.match(f"x{'x' * depth}a")["user"] == "a"
    assert exclusive(re.compile(rule)) == frozenset()
