# SPDX-License-Identifier: GPL-2.0-or-later
"""Helpers answer as the matcher here would, are ended where they do not, and cost nothing unasked."""

from __future__ import annotations

import logging
import os
import re
import signal
from pathlib import Path

import pytest

from common.options import JailConf
from server.budget import OverBudget, Unanswered
from server.filter import Filter
from server.guard import Guard, problems_of
from tests.support import eventually

CLASSIC = {
    r"^(a+)+$": "a" * 40 + "!",
    r"^(a|aa)+$": "a" * 60 + "!",
    r"(x+x+)+y": "x" * 60,
    r"^(([a-z])+.)+[A-Z]([a-z])+$": "a" * 60,
    r"^(?:.*a){20}x$": "a" * 60,
    r"(?:(?:a*)*)*b": "a" * 60,
    r"^<(?:\w+\s?)*>$": "<" + "word" * 20,
    r"^(?P<q>.+)(?P=q)*?(?:.*\d){9}x": "1" * 300,
}


@pytest.fixture
def guard():
    guard = Guard(budget=0.1)
    yield guard
    guard.close()


def ask(guard, source, text, way="search", pos=0, endpos=1 << 31):
    return guard.ask(re.compile(source), way, text, pos, endpos)


def helpers():
    """The processes of helpers below this one."""
    own = os.getpid()
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            words = (path.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if parent == own and b"helper.py" in words:
            found.append(int(path.parent.name))
    return found


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (r"(?P<who>\w+) from (\d+)?", "root from 12"),
        (r"(?P<who>\w+) from (\d+)?", "root from "),
        (r"nothing", "root from 12"),
        (r"(?i)ROOT \N{LATIN SMALL LETTER A WITH DIAERESIS}(.)", "root \u00e4\U0001f600 \udc80"),
        (r"a*", ""),
    ],
)
@pytest.mark.parametrize("way", ["match", "search"])
def test_the_answer_is_that_of_the_matcher_here(guard, source, text, way):
    regex = re.compile(source)
    real = getattr(regex, way)(text)

    found = guard.ask(regex, way, text, 0, 1 << 31).found

    assert (real is None) == (found is None)
    if real is not None:
        assert real.span() == found.span() and real.groupdict() == found.groupdict()
        assert real.groups() == found.groups()


def test_a_part_of_a_text_can_be_asked_for(guard):
    assert (3, 5) == ask(guard, "a+", "aaxaaxaa", pos=2, endpos=5).found.span()
    assert ask(guard, "a+$", "aaxaaxaa", pos=2, endpos=4).found.span() == (3, 4)


def test_a_megabyte_is_no_trouble(guard):
    answer = ask(guard, "b$", "a" * (1 << 20) + "b")

    assert (1 << 20, (1 << 20) + 1) == answer.found.span()


@pytest.mark.parametrize(("source", "text"), CLASSIC.items(), ids=list(CLASSIC))
def test_what_would_take_for_ever_is_over_budget(guard, source, text):
    with pytest.raises(OverBudget):
        ask(guard, source, text)

    assert ask(guard, "a", "a").found is not None


def test_no_helper_is_there_before_it_is_needed(guard):
    before = helpers()
    assert guard is not None

    assert [] == [each for each in helpers() if each not in before]


def test_a_helper_that_nobody_needs_ends_and_another_one_begins():
    guard = Guard(idle=0.05)
    try:
        ask(guard, "a", "a")
        eventually(lambda: [] == helpers(), 10, "the helper to end")

        assert ask(guard, "a", "a").found is not None
    finally:
        guard.close()


def test_a_helper_that_was_killed_while_nobody_asked_costs_no_line(guard, caplog):
    for _ in range(20):  # it may be noticed before it is asked again, or by asking
        ask(guard, "a", "a")
        (process,) = helpers()
        os.kill(process, signal.SIGKILL)
        eventually(lambda: [] == helpers(), 10, "the helper to end")

        assert ask(guard, "a", "a").found is not None
    assert caplog.text == ""


def test_one_that_does_not_get_to_it_is_no_fault_of_the_regex(caplog):
    guard = Guard(patience=5.0)
    try:
        ask(guard, "a", "a")
        (process,) = helpers()
        os.kill(process, signal.SIGSTOP)

        with caplog.at_level(logging.ERROR), pytest.raises(Unanswered):
            ask(guard, "a", "a")

        assert "no helper could try its regex" in caplog.text
        assert ask(guard, "a", "a").found is not None
    finally:
        guard.close()


def test_a_closed_guard_leaves_nothing():
    guard = Guard()
    ask(guard, "a", "a")

    guard.close()

    assert [] == helpers()


# -- a filter ------------------------------------------------------------------------------------------

NOW = 1_700_000_000.0
EVE = "192.0.2.66"


def kept(guard, **options):
    options = {"date_pattern": "{NONE}", **options}
    return guard.keep(Filter(JailConf(name="door", **options)), "door")


def host(filter, line):
    failure = filter.judge(line, NOW).failure
    return failure and failure.host


def test_a_rule_over_budget_is_told_of_and_the_others_go_on(guard, caplog):
    rules = (r"^bad (?:a+)+ from <ADDR>$", r"^worse .*? from <ADDR>$")
    filter = kept(guard, failregex=rules)

    with caplog.at_level(logging.ERROR):
        assert host(filter, f"bad {'a' * 60}! from {EVE}") is None

    assert EVE == host(filter, f"worse {'a' * 60} from {EVE}")
    (problem,) = problems_of(filter)
    assert problem.startswith("failregex 1 takes more than")
    assert f"[door] {problem}" in caplog.text


def test_a_long_line_that_matches_is_found_all_the_same(guard):
    filter = kept(guard, failregex=(r"^bad (?P<user>(?:a+)+) from <ADDR>$",))

    failure = filter.judge(f"bad {'a' * 60} from {EVE}", NOW).failure

    assert (EVE, "a" * 60) == (failure.host, failure.fields["user"])
    assert () == problems_of(filter)


def test_an_ignoreregex_that_is_set_aside_ignores_nothing(guard):
    filter = kept(guard, failregex=(r"^bad .* from <ADDR>$",), ignoreregex=(r"^bad (?:a+)+ from",))

    assert host(filter, f"bad {'a' * 60} from {EVE}") is None
    assert EVE == host(filter, f"bad {'a' * 60}! from {EVE}")
    assert EVE == host(filter, f"bad {'a' * 60} from {EVE}")
    assert [True] == [one.startswith("ignoreregex 1 ") for one in problems_of(filter)]


def test_a_regex_is_called_by_the_place_where_it_is_written(guard):
    filter = kept(guard, failregex=(r"^bad (?:a+)+ from <ADDR>$",))
    guard.keep(filter, "door", {"failregex": "filter.d/door.conf:7"})

    assert host(filter, f"bad {'a' * 60}! from {EVE}") is None
    (problem,) = problems_of(filter)
    assert problem.startswith("failregex 1 (filter.d/door.conf:7) takes more than")


def test_a_prefregex_is_watched_too(guard):
    prefix = r"^(?:\w+ ?)+: <F-CONTENT>.+</F-CONTENT>$"
    filter = kept(guard, prefregex=prefix, failregex=(r"^bad <ADDR>$",))

    assert EVE == host(filter, f"d: bad {EVE}")
    assert host(filter, "a" * 60) is None
    assert [True] == [one.startswith("prefregex takes") for one in problems_of(filter)]
