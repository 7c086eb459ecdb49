# SPDX-License-Identifier: GPL-2.0-or-later
"""A text that may take long is tried elsewhere, and a regex over budget is set aside for such texts."""

from __future__ import annotations

import re

import pytest

from server.budget import MOST_DEBT, Answer, Bounded, Found, Keeper, OverBudget, Unanswered, Watched

EVIL = re.compile(r"^(?P<word>a+)+(?P<more>x)?$")
LONG = "a" * 60


class Elsewhere:
    """Somebody who is asked, and answers as told."""

    def __init__(self, answer):
        self.answer = answer
        self.asked = []
        self.told = []
        self.keeper = Keeper(self.ask, self.told.append, "failregex 2")

    def ask(self, regex, way, text, pos, endpos):
        self.asked.append(text)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def watched(answer, regex=EVIL):
    elsewhere = Elsewhere(answer)
    made = Watched(regex, is_tied=lambda: True)
    made.keeper = elsewhere.keeper
    return made, elsewhere


def test_what_is_harmless_is_told_apart():
    assert Watched(re.compile("^a+b"), is_tied=lambda: True).is_harmless
    assert not Watched(re.compile("^a+b"), is_tied=lambda: True).problem
    assert not Watched(EVIL, is_tied=lambda: True).is_harmless


def test_a_short_text_is_tried_here():
    made, elsewhere = watched(OverBudget())

    assert "aaa" == made.match("aaax")["word"]
    assert [] == elsewhere.asked


def test_a_long_text_is_tried_elsewhere():
    match = EVIL.match("aax")
    made, elsewhere = watched(Answer(match, 0.001, 0.0))

    assert match is made.match(LONG)
    assert [LONG] == elsewhere.asked


def test_over_budget_a_regex_is_set_aside_for_long_texts_and_still_finds_in_short_ones():
    made, elsewhere = watched(OverBudget())

    assert made.match(LONG) is None
    assert made.match(LONG) is None
    assert made.match("aax") is not None
    assert [LONG] == elsewhere.asked
    assert [made.problem] == elsewhere.told
    assert made.problem.startswith(
        "failregex 2 takes more than 0.5 s for one line, and is set aside"
    )
    assert EVIL.pattern.replace("\\", "\\\\") in made.problem and "aaaa" in made.problem


def test_what_is_told_of_a_line_is_short_and_printable():
    made, elsewhere = watched(OverBudget())
    made.match("\x1b\n\u202e" + LONG * 1000)

    assert made.problem.isprintable()
    assert len(made.problem) < 600


def test_without_an_answer_a_line_is_passed_over_and_nothing_set_aside():
    made, elsewhere = watched(Unanswered())

    assert made.match(LONG) is None
    assert "" == made.problem
    made.match(LONG)
    assert 2 == len(elsewhere.asked)


def test_dear_lines_again_and_again_are_too_much():
    made, elsewhere = watched(Answer(None, 0.4, 0.0))
    for _ in range(int(MOST_DEBT / 0.4)):
        made.match(LONG)

    assert "" == made.problem
    made.match(LONG)
    assert "again and again" in made.problem


def test_time_pays_dear_lines_back():
    made, elsewhere = watched(None)
    for turn in range(100):
        elsewhere.answer = Answer(None, 0.4, turn * 60.0)
        made.match(LONG)

    assert "" == made.problem


def test_lines_that_cost_little_are_never_too_much():
    made, elsewhere = watched(Answer(None, 0.01, 0.0))
    for _ in range(2000):
        made.match(LONG)

    assert "" == made.problem


def test_without_anybody_to_ask_all_is_tried_here():
    made = Watched(re.compile(r"^.*a.*b.*c"), is_tied=lambda: True)

    assert made.match("abc" * 10_000) is not None


def test_a_line_feed_may_make_a_text_dear():
    regex = re.compile(r"^.*a.*$")  # without one it can never go on in vain
    made, elsewhere = watched(Answer(None, 0.0, 0.0), regex)

    assert made.match("a" * 50_000) is not None
    assert [] == elsewhere.asked
    made.match("a" * 50_000 + "\nb")
    assert 1 == len(elsewhere.asked)


@pytest.mark.parametrize("text", ["aaxx", "b12", "a"])
def test_what_is_found_elsewhere_is_like_a_match(text):
    regex = re.compile(r"(?P<a>a+)?(?P<b>b)?(\d+)?")
    real = regex.search(text)
    spans = tuple(real.span(group) for group in range(regex.groups + 1))
    made = Found(regex, text, spans)

    assert real.re is made.re and real.string is made.string
    assert real.groupdict() == made.groupdict() and real.groups() == made.groups()
    assert real.groupdict("") == made.groupdict("") and real.group() == made.group()
    assert real.group("a", 2) == made.group("a", 2)
    for group in (0, 1, 2, 3, "a", "b"):
        assert real[group] == made[group] and real.span(group) == made.span(group)
        assert real.start(group) == made.start(group) and real.end(group) == made.end(group)
    with pytest.raises(IndexError):
        made[4]


def test_a_date_that_may_take_long_is_looked_for_near_the_beginning_only():
    bounded = Bounded(re.compile(r"(?:a+)+b"))

    assert bounded.search("xaab") is not None
    assert bounded.search("x" * 100 + "aab") is None
    assert bounded.search("x" * 100 + "aab", 100) is not None
    assert not bounded.is_harmless
