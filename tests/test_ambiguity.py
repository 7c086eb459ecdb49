# SPDX-License-Identifier: GPL-2.0-or-later
"""How the work of a regex grows is never said to be less than it is."""

from __future__ import annotations

import math
import re
from importlib import import_module

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from server.ambiguity import LONGEST, work_of
from server.pattern import Pattern
from tests.filters import CONFIG, conf_of

PARSER = import_module("re._parser")


@pytest.mark.parametrize(
    ("regex", "degree"),
    [
        (r"^a+b", 1),
        (r"^\S+ \S+ x", 1),
        (r"^(?:\w+ )*x", 1),
        (r'^"(?:[^"\\]|\\.)*"$', 1),
        (r"^(?:(?! from ).)* from", 1),
        (r"^.*b.*$", 1),
        (r"^x\s+(?:y\s+)?.+$", 1),
        (r"^x(?:y\s+)?(?:z\s+)?(.+)$", 1),
        (r"^x(?:y\s+\s+)?(.+)$", 2),
        (r"^x(?:y\s*)?(?:\s*)?$", 2),
        (r'^"(?:[^"\\]|\\.)*" "(?:[^"\\]|\\.)*" x', 1),
        (r"^(?:ab)*a(?:ba)*x", 2),
        (r"^\d{1,3}(?:\.\d{1,3}){3}x", 1),
        (r"(?:^a|^b).*c", 1),
        (r"^(?i:k)+\u212a*x", 2),
        (r"\S+ from", 2),
        (r"foo .*bar", 2),
        (r"^.*b.*c", 2),
        (r"^\s*\w+\s*\w*:", 2),
        (r"^(.+)\1x", 2),
        (r"^(?:.(?!x.*y))*z", 2),
        (r"^.*.*.*x", 3),
        (r"^a*a*xb*b*c", 3),
        (r"(.*)(.*)(.*)x", 4),
        (r"^(?:a+)+$", math.inf),
        (r"^(?:a*)*b", math.inf),
        (r"^(?:a|a)*b", math.inf),
        (r"^(?:\w+\s?)*:", math.inf),
        (r"^(?:ab|a|b)*x", math.inf),
        (r"^(?:\d{1,3})+:", math.inf),
        (r"^(?:a?){30}b", math.inf),
        (r"^(?:[\w-]{1,63}\.?){1,8}x", math.inf),
        (r"^(?:\s|.)*:", math.inf),
        (r"^(?=(?:a+)+b)", math.inf),
        (r"^(?:(?i:a)|A)*b", math.inf),
    ],
)
def test_the_degree(regex, degree):
    compiled = re.compile(regex)

    assert degree == work_of(compiled, regex.startswith("^")).degree


def test_the_work_is_told_by_a_length_up_to_which_it_is_cheap():
    assert LONGEST == work_of(re.compile("^a+b"), True).reach
    assert 300 < work_of(re.compile("^a+a+b"), True).reach < 1500
    assert 50 < work_of(re.compile("^a+a+a+b"), True).reach < 250
    assert work_of(re.compile("^(?:a+)+b"), True).reach < 30


def test_what_only_a_line_feed_makes_dear_is_cheap_without():
    work = work_of(re.compile("^.*a.*$"), True)

    assert work.reach < LONGEST == work.calm_reach


def test_what_is_not_understood_is_the_worst():
    work = work_of(
        re.compile(r"a(?<!(?:ab|cd|ef)(?:ab|cd|ef)(?:ab|cd|ef)(?:ab|cd|ef)(?:ab|cd|ef))b"), False
    )

    assert math.inf == work.degree


@pytest.mark.parametrize(
    ("regex", "lengths"),
    [(r"^x(?:a+)+$", (8, 12)), (r"^login .*b.*c", (30, 60)), (r"^(?:(?:a+|b)*c?)*:", (8, 12))],
)
def test_the_example_grows_as_is_told(regex, lengths):
    work = work_of(re.compile(regex), True)

    few, many = (steps(regex, work.example(length)) for length in lengths)

    assert many >= few * 3


@pytest.mark.parametrize(
    "name",
    sorted(p.stem for p in (CONFIG / "filter.d").glob("*.conf") if not p.stem.endswith("common")),
)
def test_no_stock_filter_is_exponential(name):
    conf = conf_of(name)
    for text in (conf.prefregex, *conf.failregex, *conf.ignoreregex):
        if text:
            pattern = Pattern(text, is_multiline=conf.max_lines > 1)
            assert work_of(pattern.regex, pattern.is_tied).degree < math.inf, text


# -- counting the steps of a matcher that backtracks -----------------------------------------------------

MOST = 200_000


class _Enough(Exception):
    pass


def steps(source, text, is_tied=True):
    """How many characters a plain matcher looks at before it knows; at most `MOST`."""
    count = 0

    def match(items, at):
        """Every place where `items` may end that begin at `at`, in the order of trying."""
        if not items:
            yield at
            return
        (op, value), rest = items[0], items[1:]
        for end in one(str(op), value, at):
            yield from match(rest, end)

    def one(kind, value, at):
        nonlocal count
        if kind in ("LITERAL", "NOT_LITERAL", "ANY", "IN"):
            count += 1
            if count > MOST:
                raise _Enough
            if at < len(text) and holds(kind, value, text[at]):
                yield at + 1
        elif kind == "SUBPATTERN":
            yield from match(list(value[3]), at)
        elif kind == "BRANCH":
            for branch in value[1]:
                yield from match(list(branch), at)
        elif kind in ("MAX_REPEAT", "MIN_REPEAT"):
            yield from repeat(kind == "MAX_REPEAT", *value[:2], list(value[2]), at)
        elif kind in ("ASSERT", "ASSERT_NOT"):
            found = next(match(list(value[1]), at), None) is not None
            if found == (kind == "ASSERT"):
                yield at
        elif kind == "AT":
            is_there = {"AT_BEGINNING": at == 0, "AT_END": at == len(text)}
            if is_there.get(str(value), True):
                yield at
        else:
            raise AssertionError(kind)

    def repeat(is_greedy, least, most, body, at, is_new=True):
        may_go_on = most > 0 and (is_new or least > 0)
        if not is_greedy and least <= 0:
            yield at
        if may_go_on:
            for end in match(body, at):
                yield from repeat(is_greedy, least - 1, most - 1, body, end, end > at)
        if is_greedy and least <= 0:
            yield at

    tree = list(PARSER.parse(source))
    try:
        for start in range(1 if is_tied else len(text) + 1):
            if next(match(tree, start), None) is not None:
                break
    except _Enough:
        pass
    return count


def holds(kind, value, char):
    item = [(getattr(PARSER, kind), value)]
    compiler = import_module("re._compiler")
    return compiler.compile(PARSER.SubPattern(PARSER.State(), item)).match(char) is not None


def _combined(inner):
    few = st.lists(inner, min_size=1, max_size=4)
    return st.one_of(
        few.map("".join),
        few.map(lambda parts: f"(?:{'|'.join(parts)})"),
        st.tuples(inner, st.sampled_from(["?", "*", "+", "*?", "{1,2}", "{0,5}", "{2}"])).map(
            lambda pair: f"(?:{pair[0]}){pair[1]}"
        ),
        inner.map(lambda part: f"(?={part})"),
        inner.map(lambda part: f"(?!{part})"),
    )


ATOMS = ["a", "b", "ab", "[ab]", "[^a]", r"\w", r"\w*", "a*", "a+", ".*", ".+?", "b?", "$", "^"]
REGEXES = st.recursive(st.sampled_from(ATOMS), _combined, max_leaves=8)
PUMPS = st.tuples(
    st.text("ab-", max_size=3), st.text("ab-", min_size=1, max_size=3), st.text("ab-!", max_size=2)
)


@settings(max_examples=400, deadline=None)
@given(REGEXES, PUMPS, st.booleans())
def test_no_work_grows_faster_than_is_told(source, parts, is_tied):
    try:
        regex = re.compile(source)
    except re.error:
        assume(False)
    work = work_of(regex, is_tied)
    if math.isinf(work.degree):
        return
    before, pump, after = parts
    few, many = (steps(source, before + pump * turns + after, is_tied) for turns in (16, 32))
    if many >= MOST:
        few = steps(source, before + pump * 8 + after, is_tied)
        many = steps(source, before + pump * 16 + after, is_tied)
        assume(many < MOST)

    # Twice the length, twice the steps to the power of the degree; and what lies beside that.
    assert many <= few * 2**work.degree * 1.3 + 60 * len(source)
