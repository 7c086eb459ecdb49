# SPDX-License-Identifier: GPL-2.0-or-later
"""Many lines at once come to what each of them does by itself, and cost no more than they may."""

from __future__ import annotations

from unittest.mock import patch

import pytest

from common.options import JailConf
from server.budget import Keeper, Unanswered
from server.conversation import LONGEST_TEXT, MOST_OPEN
from server.packing import Failures, Packer
from server.quick import Line, Quick
from server.rules import Rules
from tests.support import EVE, NOON

PREFIX = r"^<F-MLFID>d\[\d+\]: </F-MLFID><F-CONTENT>.+</F-CONTENT>$"


def quick_of(*failregex, few=1, **options):
    with patch("server.quick._FEW", few):
        return Quick(Rules(JailConf(name="test", failregex=failregex, **options)))


def lines_of(*texts):
    return [Line("/var/log/x", n, text, text, 0, NOON, 1) for n, text in enumerate(texts)]


def caught(quick, lines):
    """The failures that `lines` make known."""
    into = Failures(Packer())
    quick.failures(lines, into)
    return list(into)


@pytest.mark.parametrize("is_one_batch", [True, False])
def test_a_line_that_may_take_long_is_tried_elsewhere_once_a_rule_is_ready_too(is_one_batch):
    quick, asked = quick_of("^a+a+a+b <HOST>$"), []

    def ask(regex, way, text, pos, endpos):
        asked.append(text)
        raise Unanswered

    quick._rules.rules[0].watched.keeper = Keeper(ask, print, "failregex 1")
    long = "a" * 500 + f"b {EVE}"
    short = lines_of(f"aaab {EVE}", f"aaaab {EVE}")

    if is_one_batch:
        found = caught(quick, [*short, *lines_of(long)])
    else:
        found = caught(quick, short) + caught(quick, lines_of(long))

    assert [EVE, EVE] == [failure.host for failure in found]
    assert [long] == asked


@pytest.mark.parametrize("few", [1, 10**6])
def test_however_many_conversations_one_batch_begins_no_more_stay_open_than_may(few):
    quick = quick_of("^failed <HOST>$", prefregex=PREFIX, few=few)

    caught(quick, lines_of(*(f"d[{n}]: failed {EVE}" for n in range(2 * MOST_OPEN))))

    assert MOST_OPEN // 2 < len(list(quick._rules.talks)) <= MOST_OPEN
    assert f"d[{2 * MOST_OPEN - 1}]: " in quick._rules.talks


def test_of_a_long_line_no_more_is_kept_than_of_others():
    quick = quick_of("^failed .*from <HOST>$", prefregex=PREFIX)
    short, long = f"d[1]: failed from {EVE}", f"d[2]: failed {'x' * 2 * LONGEST_TEXT}from {EVE}"

    found = caught(quick, lines_of(short, short, long))

    assert [EVE] * 3 == [failure.host for failure in found]
    assert all(len(str(kept)) < 2 * LONGEST_TEXT for kept in quick._rules.talks._open.values())


def test_what_a_rule_names_comes_in_its_order_and_without_what_it_has_not():
    quick = quick_of("^(?:by <F-USER>\\S+</F-USER> )?<HOST>(?: port <F-PORT>\\d+</F-PORT>)?$")
    texts = (EVE, EVE, f"by x {EVE} port 1", f"{EVE} port 2", "by y 2001:db8::1", "web.example.org")

    found = caught(quick, lines_of(*texts))

    assert [list(failure.fields.items()) for failure in found] == [
        [("ip4", EVE)],
        [("ip4", EVE)],
        [("user", "x"), ("ip4", EVE), ("fport", "1")],
        [("ip4", EVE), ("fport", "2")],
        [("user", "y"), ("ip6", "2001:db8::1")],
        [("dns", "web.example.org")],
    ]


@pytest.mark.parametrize("prefix", [PREFIX, PREFIX.replace("MLFID", "SUBJECT")])
@pytest.mark.parametrize("rule", ["failed <HOST>$", "(?<!not )failed <HOST>$"])
def test_a_rule_finds_as_much_wherever_it_begins_and_whether_it_can_be_joined_or_not(prefix, rule):
    quick = quick_of(rule, prefregex=prefix)

    found = caught(
        quick, lines_of(*[f"d[1]: it failed {EVE}", f"d[2]: failed {EVE}"] * 2, f"failed {EVE}")
    )

    assert [EVE] * 4 == [failure.host for failure in found]


def test_each_line_has_its_file_and_a_host_is_named_as_the_line_has_it():
    quick = quick_of("^(?:by <F-USER>\\S+</F-USER> )?<HOST>$")
    hosts = [EVE, "2001:DB8::1", EVE, "[2001:db8::2]", EVE]
    lines = [
        line._replace(path=f"/var/log/{n % 3 % 2}")
        for n, line in enumerate(lines_of(*[f"by x {host}" for host in hosts] * 2))
    ]

    found = caught(quick, lines)

    shortest = [EVE, "2001:db8::1", EVE, "2001:db8::2", EVE] * 2
    assert shortest == [failure.host for failure in found]
    assert [line.path for line in lines] == [failure.path for failure in found]
    written = [host.strip("[]") for host in hosts] * 2
    assert written == [failure.fields.get("ip4") or failure.fields["ip6"] for failure in found]
