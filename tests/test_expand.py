# SPDX-License-Identifier: GPL-2.0-or-later
"""What `%(name)s` and `<name>` stand for."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.expand import Definition, Scope
from client.include import Conf
from client.ini import DEFAULT, Value, parse
from common.errors import ConfigError


def a_conf(text, **known):
    sections = parse(text, "x.conf")
    defaults = sections.pop(DEFAULT, {})
    before = {tuple(key.split("__")): Value(value) for key, value in known.items()}
    constants = {"fail2ban_version": Value("9", None, is_final=True)}
    return Conf(sections, defaults, before, constants, ("x.conf",))


def got(text, option="o", section="a", **known):
    return Scope(a_conf(text, **known), section).get(option).text


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("[a]\no = plain", "plain"),
        ("[a]\no = %(x)s/%(X)s\nx = 1", "1/1"),
        ("[DEFAULT]\nx = d\n[a]\no = %(x)s", "d"),
        ("[DEFAULT]\nx = d\n[a]\nx = own\no = %(x)s %(default/x)s", "own d"),
        ("[DEFAULT]\nx = %(y)s\ny = d\n[a]\ny = own\no = %(x)s", "own"),
        ("[a]\no = 100%% %%(x)s", "100% %(x)s"),
        ("[a]\no = %(b/x)s\n[b]\nx = other", "other"),
        ("[DEFAULT]\nx = d\n[a]\no = %(b/x)s\n[b]", "d"),
        ("[a]\no = %(__name__)s %(fail2ban_version)s", "a 9"),
        ("[DEFAULT]\no = %(__name__)s\n[a]", "a"),
        ("[DEFAULT]\no = d\n[a]\no = %(known/o)s own", "d own"),
        ("[a]\no = %(v1)s\n" + "".join(f"v{n} = %(v{n + 1})s\n" for n in range(1, 10)) + "v10 = x", "x"),
    ],
)  # fmt: skip
def test_variables_are_replaced(text, wanted):
    assert wanted == got(text)


def test_the_known_value_is_the_raw_one_of_the_file_before():
    assert "1 2" == got("[a]\no = %(known/o)s 2\nx = 1", a__o="%(x)s")


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("[a]\no = %(nosuch)s", r"\[a\] o: .*%\(nosuch\)s"),
        ("[a]\no = 5%", "begins no variable"),
        ("[a]\no = %x", "begins no variable"),
        ("[a]\no = %(x)s\nx = %(o)s", "levels deep"),
        ("[a]\no = %(o)s", "levels deep"),
        ("[a]\no = %(known/o)s", "known/o"),
        ("[DEFAULT]\no = %(known/o)s\n[a]", "levels deep"),
        ("[DEFAULT]\nx = 1\n[a]\no = %(DEFAULT/x)s", "DEFAULT/x"),
        ("[a]\no = %(B/x)s\n[B]\nx = 1", "B/x"),
        ("[a]\no = %(nosection/x)s", "nosection/x"),
        ("[a]\no = %(v1)s\n" + "".join(f"v{n} = %(v{n + 1})s\n" for n in range(1, 11)) + "v11 = x", "deep"),
        ("[a]\no = " + "%(v1)s" * 9 + "\n" + "".join(f"v{n} = {f'%(v{n + 1})s' * 9}\n" for n in range(1, 9)) + "v9 = x", "too long"),
    ],
)  # fmt: skip
def test_what_has_no_meaning_is_refused_with_its_line(text, about):
    with pytest.raises(ConfigError, match=about) as refused:
        got(text)

    assert refused.value.where.line


def test_the_nearest_variable_is_named():
    with pytest.raises(ConfigError) as refused:
        got("[a]\no = %(sshd_lgo)s\nsshd_log = 1")

    assert "%(sshd_log)s" in refused.value.hint


def test_a_mistake_in_an_option_that_nobody_asks_for_does_no_harm():
    assert "fine" == got("[a]\nbad = %(nosuch)s\no = fine")


def test_what_the_filter_says_comes_before_the_file_before_and_is_final():
    conf = a_conf("[a]\no = %(known/o)s and %(known/p)s", a__o="file", a__p="file")

    scope = Scope(conf, "a", known={"o": Value("^%Y", None, is_final=True)})

    assert "^%Y and file" == scope.get("o").text


# A filter or an action called with arguments.


def called(text, init_counts=False, forced=None, variables=None, **arguments):
    given = {key: Value(value) for key, value in arguments.items()}
    jail = {key: Value(value) for key, value in (variables or {}).items()}
    beats = {key: Value(value) for key, value in (forced or {}).items()}
    return Definition(a_conf(text), given, jail.get, init_counts=init_counts, forced=beats)


def rendered(text, **how):
    definition = called(text, **how)
    return definition.render(definition.get("o"), "o").text


COLOURS = "[Definition]\nc = green\no = <c> %(c)s\n[Init]\nc = red\n"


@pytest.mark.parametrize(
    ("how", "wanted"),
    [
        ({}, "red green"),
        ({"init_counts": True}, "red red"),
        ({"c": "blue"}, "blue blue"),
        ({"c": "blue", "init_counts": True}, "blue blue"),
        ({"variables": {"c": "jail"}}, "red jail"),
        ({"variables": {"c": "jail"}, "init_counts": True}, "red red"),
        ({"forced": {"c": "set"}, "init_counts": True}, "set set"),
    ],
)
def test_arguments_come_before_init_and_that_before_the_definition(how, wanted):
    assert wanted == rendered(COLOURS, **how)


def test_a_tag_of_the_definition_is_found_in_any_case_others_as_they_are_kept():
    text = "[Definition]\nMixed = m\no = <Mixed> <MIXED> <Thing> <thing>\n[Init]\nThing = t\n"

    assert "m m <Thing> t" == rendered(text)
    assert "M M T t" == rendered(text, MIXED="M", Thing="T")


def test_a_tag_may_name_a_section_capitals_included():
    assert "1 2" == rendered(
        "[DEFAULT]\ny = 2\n[Definition]\no = <Own/x> <DEFAULT/y>\n[Own]\nx = 1\n"
    )


def test_an_argument_may_extend_what_init_says():
    assert "red|blue" == rendered("[Definition]\no = <c>\n[Init]\nc = red\n", c="<known/c>|blue")


def test_conditions_of_init_become_part_of_the_name():
    definition = called("[Definition]\no = 1\n[Init]\nc = 4\n[Init?family=inet6]\nc = 6\n")

    assert {"c": "4", "c?family=inet6": "6"} == {k: v.text for k, v in definition.init.items()}


def test_a_tag_that_needs_itself_is_refused():
    with pytest.raises(ConfigError, match="<c>"):
        rendered("[Definition]\no = <c>\n[Init]\nc = x<c>\n")


def test_an_undefined_variable_is_found_though_nothing_uses_it():
    with pytest.raises(ConfigError, match="nosuch"):
        called("[Definition]\no = 1\nunused = %(nosuch)s\n").check()


def test_options_that_nothing_refers_to_are_unused():
    text = (
        "[Definition]\na = 1\nb = 2\nc = 3\no = <a> %(b)s <re-<mode>>\nre-x = 1\n[Init]\nmode = x\n"
    )

    assert {"c", "o"} <= set(called(text).unused())
    assert not {"a", "b"} & set(called(text).unused())


# The plain model: variables that need only later ones, replaced one after the other.

VARIABLES = string.ascii_lowercase[:6]


@st.composite
def sections(draw):
    options = {}
    for at, name in enumerate(VARIABLES):
        pieces = [f"%({each})s" for each in VARIABLES[at + 1 :]] + ["x", "%%", "(", ")s", "y z"]
        options[name] = "".join(draw(st.lists(st.sampled_from(pieces), min_size=1, max_size=4)))
    return options


def model(options, name):
    text = options[name].replace("%%", "\0")
    for each in VARIABLES:
        if f"%({each})s" in text:
            text = text.replace(f"%({each})s", model(options, each).replace("%", "\0"))
    return text.replace("\0", "%")


@given(sections())
def test_the_result_is_that_of_the_plain_model(options):
    text = "[a]\n" + "".join(f"{key} = {value}\n" for key, value in options.items())

    for name in options:
        assert model(options, name) == got(text, name)


@given(st.text(alphabet="%()sab/ ", max_size=30), st.text(alphabet="%()sab/ ", max_size=30))
def test_any_text_is_expanded_or_refused(one, other):
    conf = Conf({"a": {"a": Value(one), "b": Value(other)}}, {})
    try:
        Scope(conf, "a").get("a")
    except ConfigError:
        return
    assert "%" not in one or "%%" in one or "%(" in one
