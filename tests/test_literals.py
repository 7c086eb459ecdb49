# SPDX-License-Identifier: GPL-2.0-or-later
"""What a regex requires of a line."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.literals import LOOK_ALIKES, SHORTEST, Cut, Literal, better, required
from tests.filters import stock


def literals(regex, cut=Cut.NOWHERE, flags=0):
    """The texts of which one is required, in order; None where nothing is sure."""
    need = required(re.compile(regex, flags), cut)
    return need and sorted(one.text for clause in clauses(need) for one in clause)


def clauses(need):
    """Those of a need that is one chain."""
    (chain,) = need
    return chain


def chains(regex, cut=Cut.NOWHERE):
    """What is required, as texts: for each chain its clauses in their order."""
    return sorted(
        [sorted(one.text for one in clause) for clause in chain]
        for chain in required(re.compile(regex), cut)
    )


@pytest.mark.parametrize(
    ("regex", "wanted"),
    [
        ("^Failed password for .* from", ["Failed password for "]),
        ("abc.*defgh", ["defgh"]),
        ("abcd(?:efgh|ijkl)mnop", ["abcdefghmnop", "abcdijklmnop"]),
        ("x(?:abcd.|efgh.)y", ["abcd", "efgh"]),
        ("[Ff]ailed", ["Failed", "failed"]),
        (r"[F\df]ailed", ["ailed"]),
        ("(?:wrong )?password", ["password"]),
        ("failures?;", ["failure;", "failures;"]),
        ("(?:ab){3}", ["ababab"]),
        ("(?P<word>abcd)-(?P=word)", ["abcd-"]),
        ("user(?= root)(?! nobody) root", ["user root"]),
        ("(?P<a>abcd)?(?(a)efgh|ijkl)", ["efgh", "ijkl"]),
        (r"\[sshd\]: refused", ["[sshd]: refused"]),
        ("(?x) fail ed  # a remark\n at", ["failedat"]),
        # What is not sure to stand there is not asked for.
        ("(?:abcd)*", None),
        ("(?:abcd)?", None),
        ("abcd|", None),
        ("abcd|.*", None),
        ("(?!abcd)", None),
        ("(?<!abcd)x", None),
        ("(?:abcd){0,3}x", None),
        ("(?P<a>abcd)?(?(a)efgh)", None),
        ("[^abcd]+", None),
        ("ab", None),
        ("\u00e4bc\u00f6", None),
    ],
)
def test_what_a_regex_requires(regex, wanted):
    assert literals(regex) == wanted


def test_what_stands_behind_one_another_is_required_in_that_order():
    assert chains("Failed password for .* from port") == [[["Failed password for "]]]
    assert chains("Failed password .* authentication") == [
        [["Failed password "], [" authentication"]]
    ]
    assert chains("login (?:refused|denied).*(?:Auth fail|No method)") == [
        [["login denied", "login refused"], ["Auth fail", "No method"]]
    ]


def test_alternatives_keep_their_chains():
    assert chains("(?:one fish swims.*away fast|two fishes.|red fishes.)$") == [
        [["one fish swims"], ["away fast"]],
        [["red fishes", "two fishes"]],
    ]


def test_what_a_group_holds_is_required_where_the_group_stands():
    prefix = re.compile("^myservice.*: (?P<content>.+) closing words$")
    inner = required(re.compile("Failed password"))

    assert required(prefix, Cut.NOWHERE, inner) == frozenset(
        {(frozenset({Literal("Failed password")}), frozenset({Literal(" closing words")}))}
    )


def test_case_matters_only_where_it_does_for_the_regex():
    need = required(re.compile("(?i:failed)-(?-i:Login)"))
    other = required(re.compile("Login"))

    assert clauses(need) == (frozenset({Literal("failed-Login", True)}),)
    assert clauses(other) == (frozenset({Literal("Login", False)}),)


@pytest.mark.parametrize("letter", "iksIKS")
def test_letters_that_look_like_others_are_known(letter):
    alike = [each for each in map(chr, range(128, 0x11000)) if re.match(letter, each, re.I)]
    ((one,),) = clauses(required(re.compile(f"abc{letter}", re.I)))

    assert alike
    assert set(alike) <= set(LOOK_ALIKES)
    assert one.has_look_alike


def test_no_other_letter_looks_like_one():
    others = "abcdefghjlmnopqrtuvwxyz0123456789 []()"

    assert not [
        each for each in map(chr, range(128, 0x11000)) if re.match(f"[{re.escape(others)}]", each, re.I)
    ]  # fmt: skip


def test_a_date_between_words_leaves_the_words_whole():
    assert literals(r' \[\] "GET /admin', Cut.BETWEEN) == ["/admin"]
    assert literals("Failed password", Cut.BETWEEN) == ["Failed password"]
    assert literals(r"\[Failed\] password", Cut.BETWEEN) == [" password"]
    assert literals(r"<\(Failed", Cut.BETWEEN) == ["Failed"]


def test_where_a_date_may_stand_anywhere_one_half_is_whole():
    assert literals("abcdefgh", Cut.ANYWHERE) == ["abcd", "efgh"]
    assert literals("abcde", Cut.ANYWHERE) is None


def test_the_better_of_two_is_longer_and_has_fewer():
    long, short = required(re.compile("Failed password")), required(re.compile("sshd"))
    many = required(re.compile("one fish|two fish|red fish|dry fish"))

    assert better(long, short) == better(short, long) == long
    assert better(None, short) == better(short, None) == short
    assert better(required(re.compile("one fish")), many) != many
    assert better(None, None) is None


# -- made-up regexes

WORDS = ("fail", "Login", "user", "from", " ", "-", "[", "sk", "]: ", "no", "\u00e4", "\u017f")
ATOMS = [
    *map(re.escape, WORDS),
    *(
        "[ab]",
        r"[a\d]",
        "[^x]",
        "[A-C]",
        r"\d",
        r"\w+",
        r"\S*",
        ".",
        ".*",
        r"\s",
        "(?=f)",
        "(?!x)",
        "(?<=n)",
    ),
    *("(?<! )", r"\b", "^", "$", r"(?:\[\])?"),
]


def _combined(inner):
    few = st.lists(inner, min_size=1, max_size=4)
    return st.one_of(
        few.map("".join),
        few.map(lambda parts: f"(?:{'|'.join(parts)})"),
        st.tuples(inner, st.sampled_from(["?", "*", "+", "{2}", "{0,2}", "{1,3}", "??", "+?"])).map(
            lambda pair: f"(?:{pair[0]}){pair[1]}"
        ),
        inner.map(lambda part: f"(?i:{part})"),
        inner.map(lambda part: f"(?-i:{part})"),
        inner.map(lambda part: f"(?={part})"),
        inner.map(lambda part: f"(?!{part})"),
        inner.map(lambda part: f"({part})"),
        st.tuples(inner, inner, inner).map(
            lambda three: f"(?:({three[0]})?(?:{three[1]}|{three[2]}))"
        ),
    )


REGEXES = st.recursive(st.sampled_from(ATOMS), _combined, max_leaves=12)
TEXTS = st.lists(st.sampled_from([*WORDS, "a", "b", "1", "x", "FAIL", "LOGIN"]), max_size=12).map(
    "".join
)


def stands_in(one, text):
    if one.is_caseless:
        plain = text.lower()
        return one.text.lower() in plain or one.has_look_alike and set(LOOK_ALIKES) & set(text)
    return one.text in text


def cuts(cut, text):
    """`text` with a date written into it wherever one of that kind may have stood."""
    date = "2026-11-23 11:59:00"
    for place in range(len(text) + 1):
        before, after = text[:place], text[place:]
        is_between = not (before and is_word(before[-1])) and not (after and is_word(after[0]))
        is_at_begin = place <= 2 and not any(map(is_word, before))
        if cut is Cut.ANYWHERE or is_between or is_at_begin:
            yield before + date + after
    yield text


def is_word(character):
    return re.match(r"\w", character) is not None


@settings(max_examples=1500, deadline=None)
@given(REGEXES, TEXTS, st.sampled_from([0, re.I]), st.sampled_from(Cut))
def test_no_line_that_matches_lacks_what_is_required(source, text, flags, cut):
    try:
        regex = re.compile(source, flags)
    except re.error:
        return
    need = required(regex, cut)
    if need is None or regex.search(text) is None:
        return
    lines = [text] if cut is Cut.NOWHERE else cuts(cut, text)

    for line in lines:
        for clause in (clause for chain in need for clause in chain):
            assert all(one.text.isascii() for one in clause)
        assert any(
            all(any(stands_in(one, line) for one in clause) for clause in chain) for chain in need
        ), (need, line)


@settings(max_examples=300, deadline=None)
@given(REGEXES)
def test_no_literal_is_too_short_to_tell_lines_apart(source):
    try:
        need = required(re.compile(source))
    except re.error:
        return

    for one in (one for chain in need or () for clause in chain for one in clause):
        assert len(one.text) >= SHORTEST
        assert one.text.isascii()
        assert "\n" not in one.text


@pytest.mark.parametrize("name", ["sshd", "vsftpd", "apache-auth"])
def test_every_rule_of_a_stock_filter_requires_something(name):
    filter = stock(name)
    of_prefix = filter.prefix and required(filter.prefix.regex, Cut.BETWEEN)

    assert all(better(required(rule.regex, Cut.BETWEEN), of_prefix) for rule in filter.rules)


def test_of_a_regex_nested_beyond_measure_nothing_is_sure():
    deep = re.compile("(?:a|" * 250 + "fail" + ")" * 250)

    assert required(deep) is None


def test_what_a_group_holds_is_required_also_after_somebody_knew_nothing_of_it():
    prefix = re.compile(r"^(?:\S+ )?(?P<content>.+)$")
    inner = required(re.compile("^lost (?P<ip4>.+)$"))
    assert required(prefix) is None

    found = required(prefix, Cut.NOWHERE, inner, "content")

    assert found == inner
