# SPDX-License-Identifier: GPL-2.0-or-later
"""`name[key=value]` and `<tag>`."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.tags import replace_tags, split_list, split_name

NAMES = {
    "wall": ("wall", {}),
    "wall[]": ("wall", {}),
    "wall[a=b]": ("wall", {"a": "b"}),
    "wall[a=b,c=d]": ("wall", {"a": "b", "c": "d"}),
    "wall[ a=A , c=B ]": ("wall", {"a": "A", "c": "B"}),
    "wall[a=b,]": ("wall", {"a": "b"}),
    "wall[a=b, ]": ("wall", {"a": "b"}),
    'wall[a="b, c", d=\'it is "e"\']': ("wall", {"a": "b, c", "d": 'it is "e"'}),
    "wall[a=b][c=d]": ("wall", {"a": "b", "c": "d"}),
    "wall[a='b'] [c=d]": ("wall", {"a": "b", "c": "d"}),
    'wall[a="b" c="d"]': ("wall", {"a": "b", "c": "d"}),
    'wall[a="b",\n     c="d"]': ("wall", {"a": "b", "c": "d"}),
    'wall[a="", b=]': ("wall", {"a": "", "b": ""}),
    'wall[a="k=v", b="x[y]z"]': ("wall", {"a": "k=v", "b": "x[y]z"}),
    'wall[a="open]': ("wall", {"a": '"open'}),
    'wall[a=b, a?family=inet6="c"]': ("wall", {"a": "b", "a?family=inet6": "c"}),
    "wall[a=two words]": ("wall", {"a": "two words"}),
    "wall [a=b]": ("wall ", {"a": "b"}),
    "wall[port=<port>]": ("wall", {"port": "<port>"}),
}


@pytest.mark.parametrize("text", NAMES)
def test_a_name_is_parted_from_its_arguments(text):
    assert NAMES[text] == split_name(text)


@pytest.mark.parametrize(
    "text",
    [
        "f[mode = x]",
        'f[mode="x" y]',
        "f[noequals]",
        "f[a=b",
        "[a=b]",
        "f[a=b]x",
        "f[=x]",
        "f[,a=b]",
    ],
)
def test_arguments_that_cannot_be_read_are_refused(text):
    with pytest.raises(ValueError, match="syntax|expected"):
        split_name(text)


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ("", []),
        ("wall note", ["wall", "note"]),
        ("wall[a=b, c=d]\n  note", ["wall[a=b, c=d]", "note"]),
        ('wall[a="x ] y"] note', ['wall[a="x ] y"]', "note"]),
        ('wall[a="open]\nnote', ['wall[a="open]', "note"]),
        ("wall[it's] note[it's]", ["wall[it's]", "note[it's]"]),
        ("wall[a=b][c=d]", ["wall[a=b][c=d]"]),
        ("wall [a=b c]", ["wall", "[a=b c]"]),
        ("wall[never closed", ["wall[never", "closed"]),
    ],
)
def test_a_list_is_split_at_white_space_outside_of_brackets(text, members):
    assert members == split_list(text)


def test_many_quotes_do_not_make_splitting_slow():
    assert split_list('x[="' * 5000)


@pytest.mark.parametrize(
    ("text", "values", "wanted"),
    [
        ("add <ip>", {"ip": "192.0.2.1"}, "add 192.0.2.1"),
        ("<a>", {"a": "(<b>)", "b": "x"}, "(x)"),
        ("<re-<mode>>", {"mode": "strict", "re-strict": "^x$"}, "^x$"),
        ("<<inner>>", {"inner": "kind", "kind": "one"}, "one"),
        ("<re-<mode>>", {"mode": "odd"}, "<re-odd>"),
        ("<nosuch> <br> <a>", {"a": "1"}, "<nosuch> <br> 1"),
        ("</F-ID><F-ID>", {"F-ID": "x"}, "</F-ID>x"),
        ("(?P<host>\\S+) <host>", {"host": "h"}, "(?P<host>\\S+) h"),
        ("(?P<host><host>)", {"host": "h"}, "(?P<host>h)"),
        ("<no> <a-<b-<c>>> <c>", {"c": "1", "b-1": "2", "a-2": "<c>3"}, "<no> 13 1"),
        ("<no> <a-<b>", {"b": "x>", "a-x": "y"}, "<no> y"),
        ("a<b and c>d", {"b and c": "x"}, "a<b and c>d"),
        ("<known/x>|<x>", {"known/x": "a", "x": "b"}, "a|b"),
    ],
)
def test_tags_are_replaced_innermost_first(text, values, wanted):
    assert wanted == replace_tags(text, values)


def test_tags_to_be_kept_stay_wherever_they_come_from():
    assert "<ip> <t> <t>" == replace_tags("<ip> <t> <a>", {"t": "x", "a": "<t>"}, keep={"t"})


def test_values_may_be_looked_up_by_a_function():
    assert "IP <b>" == replace_tags("<ip> <b>", {"ip": "IP"}.get)


@pytest.mark.parametrize(
    "values",
    [
        {"a": "<a>"},
        {"a": "<b>", "b": "<a>"},
        {"a": "<re-<mode>>", "mode": "x", "re-x": "y<re-<mode>>"},
        {f"{c}": f"<{chr(ord(c) + 1)}>" * 2 for c in "abcdefghijklmnopqrstuvwxy"} | {"z": "zz" * 9},
    ],
)
def test_a_tag_that_needs_itself_or_grows_without_end_is_refused(values):
    with pytest.raises(ValueError, match="<[a-z-]+>"):
        replace_tags("<a>", values)


LETTERS = "abcdef"


@st.composite
def acyclic(draw):
    """Values in which each tag needs only later ones."""
    values = {}
    for at, name in enumerate(LETTERS):
        later = [f"<{each}>" for each in LETTERS[at + 1 :]] + ["x", "<", ">", " ", "<q>"]
        values[name] = "".join(draw(st.lists(st.sampled_from(later), max_size=4)))
    return values


def one_by_one(text, values):
    """The plain model: replace the first innermost tag that is known, until there is none."""
    for _ in range(100_000):
        for tag in re.finditer("<([a-z]+)>", text):
            if tag[1] in values:
                text = text[: tag.start()] + values[tag[1]] + text[tag.end() :]
                break
        else:
            return text
    raise AssertionError("no end")


@given(acyclic(), st.text(alphabet="<>abc x", max_size=12))
def test_the_result_is_that_of_replacing_one_by_one(values, text):
    # Brackets that stand alone may meet and make new tags in another order; without them all agree.
    values = {name: re.sub("<(?![a-z]>)|(?<![a-z])>", "", value) for name, value in values.items()}

    assert one_by_one(text, values) == replace_tags(text, values)


@given(st.text(alphabet="ab[]=,\"' \n?<>", max_size=40))
def test_any_text_is_read_or_refused(text):
    split_list(text)
    try:
        name, arguments = split_name(text)
    except ValueError:
        return
    assert text.startswith(name) and all(key.strip() for key in arguments)


@given(
    st.dictionaries(
        st.from_regex("[a-z]{1,5}", fullmatch=True), st.text(alphabet="ab,=[] '<>", max_size=8)
    )
)
def test_quoted_arguments_come_back_as_they_were(arguments):
    text = ", ".join(f'{key}="{value}"' for key, value in arguments.items())

    assert ("f", arguments) == split_name(f"f[{text}]")
