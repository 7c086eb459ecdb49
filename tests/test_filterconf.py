# SPDX-License-Identifier: GPL-2.0-or-later
"""A filter file and its arguments become options, and those commands."""

import pytest

from client.filterconf import JailError, filter_commands, read_filter
from client.ini import Value
from common.errors import ConfigError, Where
from tests.shelf import library

GATE = """\
[Init]
mode = normal
[Definition]
_re-normal = ^refused <HOST>$
_re-wild = <_re-normal>
    ^wild <HOST>$
prefregex = ^%(lead)s<F-CONTENT>.+</F-CONTENT>$
lead = <logtype>:
failregex = <_re-<mode>>
ignoreregex =
datepattern = ^%%Y
maxlines = 2
"""


def a_filter(text=GATE, name="gate", **how):
    given = Value(name, Where("jail.conf", 7), is_final=True)
    return read_filter(library({"filter.d/gate.conf": text}), given, **how)


def options(*args, **how):
    return {key: value.text for key, value in a_filter(*args, **how).options.items()}


def commands(text):
    problems = []
    return filter_commands("j", a_filter(text).over({}), problems), [str(each) for each in problems]


def test_a_filter_has_its_options_with_variables_and_tags_in_place():
    assert {
        "prefregex": "^file:<F-CONTENT>.+</F-CONTENT>$",
        "maxlines": "2",
        "ignoreregex": "",
        "failregex": "^refused <HOST>$",
        "datepattern": "^%Y",
    } == options()


@pytest.mark.parametrize(
    ("name", "key", "wanted"),
    [
        ("gate[mode=wild]", "failregex", "^refused <HOST>$\n^wild <HOST>$"),
        ("gate[maxlines=5]", "maxlines", "5"),
        ('gate[journalmatch="_COMM=x"]', "journalmatch", "_COMM=x"),
        ('gate[datepattern="%d 100%"]', "datepattern", "%d 100%"),
        ("gate[lead=x]", "prefregex", "^x<F-CONTENT>.+</F-CONTENT>$"),
        ("gate[logtype=own]", "prefregex", "^own:<F-CONTENT>.+</F-CONTENT>$"),
    ],
)
def test_arguments_replace_what_the_file_says(name, key, wanted):
    assert wanted == options(name=name)[key]


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        ("", "journal"),
        ("[Init]\nlogtype = x\n", "journal"),
        ("[DEFAULT]\nlogtype = x\n", "journal"),
        ("[Definition]\nlogtype = x\n", "x"),
    ],
)
def test_only_the_definition_says_otherwise_of_the_log_s_kind(more, wanted):
    files = {
        "filter.d/gate.conf": "[Definition]\nfailregex = <logtype>\n",
        "filter.d/gate.local": more,
    }

    read = read_filter(library(files), Value("gate"), logtype="journal")

    assert wanted == read.options["failregex"].text


def test_by_itself_a_filter_s_init_counts_for_tags_only():
    text = "[Definition]\nc = green\nfailregex = <c> %(c)s\n[Init]\nc = red\n"

    assert "red red" == options(text)["failregex"]
    assert "red green" == options(text, is_for_jail=False)["failregex"]


def test_options_may_stand_in_init():
    assert "3" == options("[Init]\nmaxlines = 3\n[Definition]\nfailregex = x\n")["maxlines"]


def test_a_named_group_stays_as_it_is():
    text = "[Definition]\nfailregex = ^(?P<host>\\S+) <host>$\nhost = x\n"

    assert "^(?P<host>\\S+) x$" == options(text)["failregex"]


def test_every_option_knows_where_it_was_said():
    read = a_filter(name="gate[maxlines=5]")

    assert Where("/etc/f/filter.d/gate.conf", 9) == read.options["failregex"].where
    assert Where("jail.conf", 7) == read.options["maxlines"].where


@pytest.mark.parametrize(
    ("name", "told", "hint"),
    [
        ("gaet", "Unable to read the filter 'gaet'", "gate"),
        ("gate [mode=x]", "Unable to read the filter 'gate '", "space"),
        ("gate[mode = x]", "Invalid filter definition 'gate[mode = x]'", "without spaces"),
        ("gate[mode", "Invalid filter definition 'gate[mode'", "without spaces"),
    ],
)
def test_a_filter_that_is_not_there_is_the_jail_s_mistake(name, told, hint):
    with pytest.raises(JailError) as refused:
        a_filter(name=name)

    assert told in refused.value.told
    assert hint in refused.value.hint
    assert Where("jail.conf", 7) == refused.value.where


@pytest.mark.parametrize("line", ["x = %(nosuch)s", "x = 5%", "failregex = <failregex>"])
def test_a_mistake_in_the_definition_stops_everything(line):
    with pytest.raises(ConfigError) as refused:
        a_filter(f"[Definition]\n{line}\n")

    assert not isinstance(refused.value, JailError)
    assert Where("/etc/f/filter.d/gate.conf", 2) == refused.value.where


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("[Definition]\nfailregx = ^x\n", "Did you mean failregex"),
        ("[Init]\nx = 1\n", "no section [Definition]"),
        (
            "[Definition]\n_re-a = x\nfailregex = <_re-b>\n",
            "<_re-b> in its failregex stands for nothing",
        ),
        ("[Definition]\ntimeregex = x\nfailregex = x\n", "timepattern"),
    ],
)
def test_what_looks_like_a_slip_is_a_warning(text, about):
    (problem,) = a_filter(text).problems

    assert "warning" == problem.level
    assert about in str(problem)
    assert "gate.conf" in str(problem)


def test_arguments_that_name_what_the_filter_lacks_are_told_where_they_are_given():
    (problem,) = a_filter(name="gate[mode=wlid]").problems

    assert Where("jail.conf", 7) == problem.where
    assert "filter = gate[mode=wlid]: <_re-wlid>" in problem.text
    assert "<_re-wild>" in problem.hint


def test_helpers_are_no_slips():
    assert () == a_filter("[Definition]\nfailregexp = x\nfailregex = %(failregexp)s\n").problems


@pytest.mark.parametrize(
    ("lines", "pattern"),
    [
        ("timepattern = %%b %%d %%H:%%M:%%S\ntimeregex = \\S{3} \\d\\d", "%b %d %H:%M:%S"),
        ("timepattern = tai64n", "TAI64N"),
        ("timepattern = EPOCH", "EPOCH"),
        ("timepattern = %%Y\ndatepattern = %%d", "%d"),
        ("timeregex = \\d+", None),
    ],
)
def test_the_date_as_written_for_the_first_releases_is_understood(lines, pattern):
    assert pattern == options(f"[Definition]\n{lines}\n").get("datepattern")


def test_what_filters_of_the_first_releases_said_of_the_jail_is_kept_for_it():
    read = a_filter(
        "[Definition]\nlogpath = /var/log/x\nmaxretry = 4\nmaxtime = 60\nfailregex = x\n"
    )

    assert {"logpath": "/var/log/x", "maxretry": "4", "maxtime": "60"} == {
        key: value.text for key, value in read.defaults.items()
    }


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        ("failregex = a", [["set", "j", "addfailregex", "a"]]),
        ("failregex = a\n\n  b", [["multi-set", "j", "addfailregex", ["a", "b"]]]),
        ("failregex =", []),
        ("prefregex =", [["set", "j", "prefregex", ""]]),
        ("maxlines = 7", [["set", "j", "maxlines", 7]]),
        (
            "journalmatch = A=1 + B=2\n  'C=x y'",
            [["set", "j", "addjournalmatch", "A=1", "+", "B=2"], ["set", "j", "addjournalmatch", "C=x y"]],
        ),
        (
            "failregex = a\nmaxlines = 1\nignoreregex = b\nusedns = no\nprefregex = c\ndatepattern = d",
            [
                ["set", "j", "usedns", "no"], ["set", "j", "prefregex", "c"],
                ["set", "j", "maxlines", 1], ["set", "j", "addignoreregex", "b"],
                ["set", "j", "addfailregex", "a"], ["set", "j", "datepattern", "d"],
            ],
        ),
    ],
)  # fmt: skip
def test_options_become_commands_in_a_fixed_order(lines, wanted):
    assert (wanted, []) == commands(f"[Definition]\n{lines}\n")


def test_what_the_jail_has_of_its_own_comes_behind_the_filter_s():
    own = {"failregex": Value("x"), "maxlines": Value("1")}

    assert ["prefregex", "maxlines", "ignoreregex", "datepattern", "failregex"] == list(
        a_filter().over(own)
    )


def test_a_wrong_number_is_told_and_not_sent():
    sent, problems = commands("[Definition]\nmaxlines = many\n")

    assert [] == sent
    assert "gate.conf:2: [j] maxlines = 'many'" in problems[0]


def test_a_journalmatch_with_an_open_quote_is_the_jail_s_mistake():
    with pytest.raises(JailError, match="journalmatch"):
        commands("[Definition]\njournalmatch = 'A=1\n")
