# SPDX-License-Identifier: GPL-2.0-or-later
"""One INI file: what its values are, where they stand, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.ini import Problem, Value, parse
from common.errors import ConfigError, Where


def texts(text):
    sections = parse(text, "x.conf")
    return {
        name: {key: value.text for key, value in options.items()}
        for name, options in sections.items()
    }


def test_every_value_knows_its_file_and_line():
    sections = parse("# first\n[DEFAULT]\na = 1\n\n[x]\nb = 2\n   more\na: 3\n", "x.conf")

    assert {
        "DEFAULT": {"a": Value("1", Where("x.conf", 3))},
        "x": {"b": Value("2\nmore", Where("x.conf", 6)), "a": Value("3", Where("x.conf", 8))},
    } == sections


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("[a]\nB = 1", {"a": {"b": "1"}}),
        ("[a] # not a name\nb = 1", {"a": {"b": "1"}}),
        ("[a]\nb = 1 ; said\nc = 1;2\nd = 1 #x", {"a": {"b": "1", "c": "1;2", "d": "1 #x"}}),
        ("[a]\nb = 1\n# between\n  2\n ; and\n  3", {"a": {"b": "1\n2\n3"}}),
        ("[a]\nb = 1\n\n  2\n\nc = 3", {"a": {"b": "1\n\n2", "c": "3"}}),
        ("[a]\nb = x : y\nc : x = y", {"a": {"b": "x : y", "c": "x = y"}}),
        ("[a]\nb = 1\n  c = 5", {"a": {"b": "1\nc = 5"}}),
        ("[a]\nb =", {"a": {"b": ""}}),
        ("[a]\nb = %(c)s %% %", {"a": {"b": "%(c)s %% %"}}),
        ("[DEFAULT]\na = 1\n[x]\n[DEFAULT]\nb = 2", {"DEFAULT": {"a": "1", "b": "2"}, "x": {}}),
        ("[a]\r\nb = 1\r\nc = 2\r\n", {"a": {"b": "1", "c": "2"}}),
        ("", {}),
    ],
)
def test_text_becomes_sections_of_options(text, wanted):
    assert wanted == texts(text)


@pytest.mark.parametrize(
    ("text", "line", "about"),
    [
        ("[a]\nb = 1\nB = 2", 3, r"\[a\] b"),
        ("[a]\nb = 1\n[a]\n", 3, r"\[a\]"),
        ("\nb = 1\n", 2, "b = 1"),
        ("[a]\nb = 1\nnothing\nelse\n", 3, "nothing"),
        ("[a]\n= 1\n", 2, "= 1"),
    ],
)
def test_what_is_no_ini_file_is_refused_with_its_line(text, line, about):
    with pytest.raises(ConfigError, match=about) as refused:
        parse(text, "x.conf")

    assert Where("x.conf", line) == refused.value.where
    assert refused.value.hint


def test_all_lines_that_are_no_options_are_named_at_once():
    with pytest.raises(ConfigError) as refused:
        parse("[a]\none\nb = 1\ntwo\nc = 1\nthree\n", "x.conf")

    assert refused.value.where.line == 2
    assert "4, 6" in refused.value.hint


def test_a_problem_reads_as_place_text_and_hint():
    problem = Problem.of(ConfigError("is wrong", Where("x.conf", 3), "Do it right."), "sshd")

    assert "x.conf:3: is wrong\n  Do it right." == str(problem)
    assert ("error", "sshd") == (problem.level, problem.jail)


@given(st.text(alphabet="[]ab=:;# \n\t%\r\x0b\x85", max_size=60))
def test_any_text_is_parsed_or_refused_with_a_line_it_has(text):
    try:
        sections = parse(text, "x.conf")
    except ConfigError as error:
        assert error.where.line <= text.count("\n") + text.count("\r") + 1
    else:
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        for options in sections.values():
            for key, value in options.items():
                assert lines[value.where.line - 1].strip().lower().startswith(key)
