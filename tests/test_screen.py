# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines that cannot matter are passed over, and nothing comes out differently."""

from __future__ import annotations

import re
import subprocess
import sys
from calendar import timegm
from itertools import groupby
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.options import JailConf
from server.filter import Filter
from server.lines import LESSONS
from server.literals import Literal, required
from server.records import LogBlock, Position
from server.scan import plain_scan
from server.screen import (
    _FEW_SPENT,
    _MOST_SPENT,
    _SAMPLE,
    LONG_BLOCK,
    JointScreen,
    Screen,
    is_plain,
)
from tests.filters import LOGS, conf_of, own_samples
from tests.support import ROOT
from tests.test_captured_logs import CAPTURED
from tests.test_captured_logs import LOGS as CAPTURES
from tests.test_literals import REGEXES, TEXTS
from tests.test_samples import samples

NOW = timegm((2026, 11, 23, 12, 0, 0))
STOCK = sorted(path.name for path in LOGS.iterdir() if path.is_file())
LOG = "/var/log/x"


def block(data, start=0, path=LOG):
    return LogBlock(path, data, Position(1, 2, start), Position(1, 2, start + len(data)))


def told(filter, blocks, now=NOW):
    """All failures of `blocks`, after as many lines as a filter looks at in any case."""
    filter.failures(block(b"x\n" * LESSONS), now)
    found, start = [], 0
    for data in blocks:
        found += filter.failures(block(data, start), now)
        start += len(data)
    return found


def both(conf, blocks):
    """The failures with the screen and without."""
    screened = told(Filter(conf), blocks)
    # What is done for many lines only is done from the second one on.
    with patch("server.quick._FEW", 1), patch("server.lines._SPARSE", 1 << 30):
        assert told(Filter(conf), blocks) == screened
    return screened, told(Filter(conf, has_screen=False), blocks)


def blocks_of(lines):
    """`lines` as blocks, in three ways: one each, all in one, and so many that pyperscan is used."""
    whole = b"\n".join(lines) + b"\n"
    noise = b"Nov 23 11:59:59 web kernel: eth0: link becomes ready\n" * (LONG_BLOCK // 50)
    return [[line + b"\n" for line in lines], [whole], [noise + whole + noise, whole]]


def needs(*texts):
    return [text and frozenset({(frozenset(Literal(each) for each in text),)}) for text in texts]


def needed_by_each(sources):
    """What each regex needs; None of one that is none."""
    needed = []
    for source in sources:
        try:
            needed.append(required(re.compile(source)))
        except re.error:
            needed.append(None)
    return needed


# -- the same failures


@pytest.mark.parametrize("name", STOCK)
def test_every_sample_comes_out_the_same(name):
    records = sorted(
        (each for each in samples() if each["filter"] == name),
        key=lambda each: sorted(each["options"].items()),
    )
    for options, run in groupby(records, lambda each: sorted(each["options"].items())):
        lines = [each["line"].encode() for each in run]
        for blocks in blocks_of(lines):
            screened, plain = both(conf_of(name, tuple(options)), blocks)

            assert screened == plain


@pytest.mark.parametrize("name", STOCK)
def test_every_sample_of_ours_comes_out_the_same(name):
    for _, about, line in own_samples(name):
        conf = conf_of(name, tuple(sorted(about.get("options", {}).items())))
        lines = [each.encode() for each in (*about.get("after", ()), line)]
        for blocks in blocks_of(lines)[:2]:
            screened, plain = both(conf, blocks)

            assert screened == plain


@pytest.mark.parametrize(("log", "name", "options"), CAPTURES)
def test_every_captured_log_comes_out_the_same(log, name, options):
    lines = (CAPTURED / log).read_bytes().splitlines()
    assert lines
    for blocks in blocks_of(lines):
        screened, plain = both(conf_of(name, tuple(options.items())), blocks)

        assert screened == plain


def test_the_captured_logs_have_failures_and_lines_that_are_passed_over():
    lines = (CAPTURED / "sshd.log").read_bytes().splitlines()
    conf = conf_of("sshd")
    filter = Filter(conf)
    needed = [required(rule.regex) for rule in filter.rules]
    whole = b"\n".join(lines)

    screened, _ = both(conf, [whole])

    assert screened
    assert 0 < sum(1 for _ in Screen(needed).places(whole)) < len(lines)


# -- dates


def test_a_line_without_a_date_has_that_of_a_line_that_was_passed_over():
    data = b"2026-11-23 11:59:30 fine\nfine\nfailed from 192.0.2.1\n"
    conf = JailConf(name="test", failregex=("failed from <HOST>$",))

    screened, plain = both(conf, [data])

    assert [each.when for each in screened] == [NOW - 30]
    assert screened == plain


@pytest.mark.parametrize("between", [b"fine\n", b"", b"2026-02-30 11:59:59 fine\n"])
def test_the_date_may_stand_in_an_earlier_block(between):
    blocks = [b"2026-11-23 11:59:30 fine\n" + between, between, b"failed from 192.0.2.1\n"]
    conf = JailConf(name="test", failregex=("failed from <HOST>$",))

    screened, plain = both(conf, blocks)

    assert [each.when for each in screened] == [NOW - 30]
    assert screened == plain


def test_a_date_may_be_cut_out_of_the_midst_of_a_literal():
    conf = JailConf(
        name="test",
        failregex=(r"^\[\] <HOST> failed$", r"^<HOST> lost- -lost$", "^xabcdefghx <HOST>$"),
        date_pattern=None,
    )
    lines = [
        b"[2026-11-23 11:59:30] 192.0.2.1 failed",
        b"192.0.2.2 lost-2026-11-23 11:59:30 -lost",
        b"xabcdefghx 192.0.2.3",
    ]

    for blocks in blocks_of(lines):
        screened, plain = both(conf, blocks)

        assert {each.host[-1] for each in screened} == {"1", "2", "3"}
        assert screened == plain


@pytest.mark.parametrize("place", range(1, 10))
def test_a_date_of_an_own_pattern_may_stand_in_the_midst_of_a_word(place):
    word = b"xabcdefghx"
    line = word[:place] + b"20261123115930" + word[place:] + b" 192.0.2.3"
    conf = JailConf(
        name="test", failregex=("^xabcdefghx <HOST>$",), date_pattern="{UNB}%Y%m%d%H%M%S"
    )

    screened, plain = both(conf, [line + b"\n"])

    assert [(each.host, each.when) for each in screened] == [("192.0.2.3", NOW - 30)]
    assert screened == plain


STAMPS = st.sampled_from(
    ["", "2026-11-23 11:59:10 ", "Nov 23 11:59:20 ", "[23/Nov/2026:11:59:30 +0000] ", "Feb 30 1:1:1 "]
)  # fmt: skip
SAYINGS = st.sampled_from(
    [
        "fine",
        "",
        "failed from 192.0.2.1",
        "Login by carol from 192.0.2.2",
        "failed twice: Login by failed from 192.0.2.3",
        "LOGIN BY eve FROM 192.0.2.4",
        "lo\u0131gin by x from 192.0.2.5",
        "log\u0131n by x from 192.0.2.6",
        "\0\0failed from 192.0.2.7\r",
        "failed from 192.0.2.8\r",
        "\0failed from 192.0.2.9",
    ]
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(st.tuples(STAMPS, SAYINGS).map("".join), max_size=6), max_size=4),
    st.sampled_from([None, "{NONE}", "^%Y-%m-%d %H:%M:%S", "{^LN-BEG}"]),
    st.sampled_from(["utf-8", "iso-8859-9", "cp1252", "utf-16-le"]),
    st.booleans(),
)
def test_whatever_is_logged_comes_out_the_same(blocks, date_pattern, encoding, has_catch_all):
    conf = JailConf(
        name="test",
        failregex=(
            *((r"^\W*fa\w+ <F-ID>twice</F-ID>",) if has_catch_all else ()),
            r"failed from <HOST>$",
            r"(?i)login by .* from <HOST>$",
            *((r"^f\w+ .*<HOST>$",) if has_catch_all else ()),
        ),
        date_pattern=date_pattern,
        log_encoding=encoding,
    )
    data = ["".join(f"{line}\n" for line in lines).encode(encoding, "replace") for lines in blocks]

    screened, plain = both(conf, data)

    assert screened == plain


# -- other logs


def test_a_log_whose_characters_are_no_single_bytes_is_read_in_full():
    conf = JailConf(name="test", failregex=("failed from <HOST>$",), log_encoding="utf-16-le")
    data = "failed from 192.0.2.1\n".encode("utf-16-le")

    screened, plain = both(conf, [data])

    assert [each.host for each in screened] == ["192.0.2.1"]
    assert screened == plain


@pytest.mark.parametrize(
    "encoding", ["utf-8", "ascii", "latin-1", "iso-8859-15", "cp1251", "KOI8-R"]
)
def test_encodings_that_are_plain_have_each_ascii_character_as_its_byte(encoding):
    assert is_plain(encoding)
    for code in range(128):
        assert bytes([code]).decode(encoding) == chr(code)
    for code in range(128, 256):
        text = bytes([code]).decode(encoding, "replace")
        assert not text.isascii()


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32-be", "utf-7", "iso2022_jp", "hz", "cp037"])
def test_encodings_that_are_not_plain_are_known(encoding):
    assert not is_plain(encoding)


def test_lines_that_are_joined_are_all_looked_at():
    conf = JailConf(name="test", failregex=(r"^begin <HOST>\n.*\nend$",), max_lines=3)

    screened, plain = both(conf, [b"begin 192.0.2.1\nmiddle\nend\n"])

    assert [each.host for each in screened] == ["192.0.2.1"]
    assert screened == plain


# -- the search itself


def found(screen, data, start=0):
    return [
        (data[begin:end], tuple(n for n in range(mask.bit_length()) if mask >> n & 1))
        for begin, end, mask in screen.places(data, start)
    ]


def test_each_line_names_the_rules_that_may_match_it():
    screen = Screen(needs(["fail", "bad"], ["login"], ["bad"]))

    data = b"a fail\nnothing\nlogin fail\nbad\nlogin"

    assert found(screen, data) == [
        (b"a fail", (0,)),
        (b"login fail", (0, 1)),
        (b"bad", (0, 2)),
        (b"login", (1,)),
    ]


def test_a_rule_without_need_may_match_any_line():
    screen = Screen(needs(["fail"], None))

    assert found(screen, b"fail\n\nelse\n") == [(b"fail", (0, 1)), (b"else", (1,))]
    assert found(screen, b"x\nelse", 2) == [(b"else", (1,))]
    assert screen.helps
    assert not Screen(needs(None, None)).helps


def test_what_stands_before_the_start_is_left_alone():
    assert found(Screen(needs(["fail"])), b"fail\nfail 2\n", 5) == [(b"fail 2", (0,))]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(REGEXES, min_size=1, max_size=4),
    st.lists(TEXTS, max_size=20),
    st.integers(0, 30),
)
def test_both_searches_find_the_same(sources, texts, start):
    needed = needed_by_each(sources)
    lines = "\n".join(["one"] * start + texts).encode()
    data = lines + b"\n" + b"no line of note\n" * (LONG_BLOCK // 15)
    begin = len(b"one\n") * start

    assert found(Screen(needed), data, begin) == found(Screen(needed, is_quick=False), data, begin)


def chain(*clauses):
    return frozenset({tuple(frozenset(Literal(word) for word in words) for words in clauses)})


def test_what_stands_one_behind_the_other_is_found_however_long_the_log():
    needed = [chain(["left", "went"], ["angry"]), chain(["angry"], ["dog"]), *needs(["fail"])]
    needed += needs(["dog"])  # by itself as well as in a chain
    some = b"she left\nangry, he left\nfail, and left\nhe went, angry\nangry dog, went, angry\n"
    wanted = [
        (b"fail, and left", (2,)),
        (b"he went, angry", (0,)),
        (b"angry dog, went, angry", (0, 1, 3)),
    ]
    screen, plain = Screen(needed), Screen(needed, is_quick=False)

    assert found(plain, some) == wanted
    seldom, often = b"left\n" * _FEW_SPENT, b"angry\n" * _MOST_SPENT
    for more in (b"x\n" * LONG_BLOCK, seldom, b"", often, b"", often):
        assert found(screen, some + more) == wanted


def test_of_a_chain_the_clause_that_is_rare_is_searched_for_in_the_end():
    screen = Screen([chain(["left"], ["angry"]), chain(["angry"], ["angry"])])
    data = b"left\nleft, angry\n" * LONG_BLOCK + b"angry, angry\nangry\n"
    wanted = [(b"left, angry", (0,))] * LONG_BLOCK + [(b"angry, angry", (1,))]

    for _ in range(2):
        assert found(screen, data) == wanted
    assert screen._search._quick._scan(b"left\n", 0) == []
    assert found(screen, data) == wanted  # by whole chains


@settings(max_examples=100, deadline=None)
@given(st.lists(REGEXES, min_size=1, max_size=4), st.lists(TEXTS, max_size=20))
def test_a_line_by_itself_has_the_rules_that_a_search_finds_or_more(sources, texts):
    needed = needed_by_each(sources)
    screen = Screen(needed)
    data = "\n".join(texts).encode()

    mask_of = screen.masks_in(data)
    for begin, _, mask in screen.places(data) if screen.helps else ():
        assert mask & mask_of(begin) == mask


def test_a_line_by_itself_has_no_rule_whose_words_it_lacks():
    screen = Screen([*needs(["fail"], None), chain(["left"], ["angry"])])

    data = b"left, fail\nleft angry\nfail left\nangry\nfail"
    mask_of = screen.masks_in(data)

    assert [0b011, 0b110, 0b011, 0b010, 0b011] == [
        mask_of(data.index(line)) for line in data.split(b"\n")[:-1]
    ] + [mask_of(data.rindex(b"fail"))]


def test_short_blocks_do_without_pyperscan():
    code = (
        "import sys\n"
        "from server.screen import _FEW_SPENT, _MOST_SPENT, Screen, LONG_BLOCK\n"
        "from server.literals import Literal\n"
        "screen = Screen([frozenset({(frozenset({Literal('fail')}),)})])\n"
        "list(screen.places(b'fail' * 10))\n"
        "before = 'pyperscan' in sys.modules\n"
        "list(screen.places(b'x' * LONG_BLOCK))\n"
        "print(before, 'pyperscan' in sys.modules)\n"
    )

    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)

    assert told.stdout.split() == ["False", "True"], told.stderr


def test_without_pyperscan_the_results_are_the_same(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyperscan", None)
    data = b"fine\n" * LONG_BLOCK + b"fail 1\n"

    assert found(Screen(needs(["fail"])), data) == [(b"fail 1", (0,))]


def test_a_word_is_found_by_its_rarest_part_and_only_where_it_stands_as_a_whole():
    usual = b"the server ran for every user \n"
    word, caseless = Literal("invalid user "), Literal("Illegal user ", is_caseless=True)
    screen = Screen([frozenset({(frozenset({word}),)}), frozenset({(frozenset({caseless}),)})])
    data = usual * LONG_BLOCK + b"an invalid uncle\nan invalid user \nILLEGAL USER \ninvalid user"
    wanted = [(b"an invalid user ", (0,)), (b"ILLEGAL USER ", (1,))]

    for begin in (0, 3 * len(usual)):
        assert found(screen, data, begin) == wanted


@pytest.mark.parametrize("size", [100, 40_000, 2 * LONG_BLOCK])
def test_what_is_rare_is_judged_by_more_than_a_short_block(monkeypatch, size):
    told = []

    def scan_for(words, sample):
        told.append(sample)
        return plain_scan(words)

    monkeypatch.setattr("server.screen.quick_scan", scan_for)
    screen = Screen(needs(["fail"]))

    for _ in range(600_000 // size):
        list(screen.places(b"x" * (size - 1) + b"\n"))

    (sample,) = told
    assert _SAMPLE <= len(sample) < 2 * _SAMPLE


@pytest.mark.parametrize("many", [8, 9, 16, 17])
def test_nothing_but_words_is_found_whatever_else_is_searched_for(many):
    words = [f"word{chr(ord('a') + n)}" for n in range(many)]
    data = b"fine\n" * LONG_BLOCK + b"".join(b"\1\2\3%c\n" % n for n in range(10)) + b"worda\n"

    assert found(Screen(needs(*([word] for word in words))), data) == [(b"worda", (0,))]


def test_of_a_line_full_of_a_word_little_is_kept():
    """An attacker writes it."""
    scan = plain_scan([(((b"git", True), (b"it", False)),)])

    assert len(scan(b"GIT" * 1000 + b"\n" + b"git" * 1000, 0)) <= 4


# -- many filters on one log


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(REGEXES, min_size=1, max_size=3), min_size=1, max_size=4),
    st.lists(TEXTS, max_size=20),
    st.booleans(),
)
def test_one_search_for_many_screens_finds_what_each_would(filters, texts, is_long):
    screens = []
    for sources in filters:
        needed = [needed_by(source) for source in sources]
        screens.append(Screen([need for need in needed if need] or [None]))
    data = "\n".join(texts).encode() + b"\n" * (LONG_BLOCK * is_long)
    some = [screen for screen in screens if not screen.asks_for_every_line]

    found = JointScreen(some).places(data) if some else None

    for screen in some:
        assert found[screen.signature] == list(screen.places(data))


def needed_by(source):
    try:
        return required(re.compile(source))
    except re.error:
        return None


def test_each_screen_gets_its_own_lines_and_rules():
    one, other = Screen(needs(["fail"], ["bad"])), Screen(needs(["login"], ["bad"]))
    found = JointScreen([one, other]).places(b"fail\nlogin\nbad login\n")

    assert found[one.signature] == [(0, 4, 0b01), (11, 20, 0b10)]
    assert found[other.signature] == [(5, 10, 0b01), (11, 20, 0b11)]


def test_many_short_blocks_are_searched_as_long_ones_are():
    screen, data = Screen(needs(["fail"])), b"fine\nfail 1\n"
    with patch("server.screen._MUCH", 3 * len(data)):
        found = [list(screen.places(data)) for _ in range(3)]
        assert screen._search._quick is None
        found.append(list(screen.places(data)))

    assert screen._search._quick is not None
    assert [[(5, 11, 1)]] * 4 == found
