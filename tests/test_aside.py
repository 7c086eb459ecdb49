# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines that are set aside are read when somebody fails in their conversation, and only then."""

from __future__ import annotations

import sys
import tracemalloc
from dataclasses import replace
from random import Random
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from common.options import JailConf
from server.aside import _SPARSE, KEPT, MOST_KINDS, Aside, _Search
from server.filter import Filter
from server.lines import LESSONS
from server.quick import _FEW
from server.records import LogBlock, Position

LOG = "/var/log/auth.log"
NOW = 1_795_000_000.0


def sorted_in(aside, data, *ids, start=0):
    """What is to be read once those of `ids` fail, `data` being the next block."""
    earlier, own = aside.sort(LOG, start, data, [aside.token_of(id) for id in ids])
    return earlier + own


def lines_of(data, start):
    for line in data.splitlines():
        yield start, line
        start += len(line) + 1


def test_a_line_is_read_when_its_conversation_fails_later():
    aside = Aside()

    assert [] == sorted_in(aside, b"web sshd[1]: hello\nweb sshd[12]: hello\n", start=100)
    (kept,) = sorted_in(aside, b"", b"web sshd[12]: ")

    assert kept == (LOG, 119, b"web sshd[12]: hello")


def test_a_line_is_read_at_once_where_somebody_has_failed():
    aside = Aside()
    sorted_in(aside, b"", b"web sshd[12]: ")

    found = sorted_in(aside, b"web sshd[1]: bye\nweb sshd[12]: bye\n")

    assert [b"web sshd[12]: bye"] == [kept.data for kept in found]


def test_each_line_is_read_once():
    aside = Aside()
    sorted_in(aside, b"web sshd[12]: hello\n")

    assert 1 == len(sorted_in(aside, b"", b"web sshd[12]: "))
    assert [] == sorted_in(aside, b"", b"web sshd[12]: ")


def test_an_id_without_a_number_of_its_own_tells_no_lines_apart():
    aside = Aside()

    assert aside.token_of(b"web kernel: ") is None
    assert aside.token_of(b"12") is None
    assert aside.token_of(b"sshd[12") is None


def test_kinds_of_ids_are_told_apart_up_to_a_bound():
    aside = Aside()
    tokens = [aside.token_of(b"%c[1]: " % letter) for letter in range(97, 97 + MOST_KINDS)]

    assert MOST_KINDS == len(set(tokens))
    assert aside.token_of(b"z[1]: ") is None
    assert aside.token_of(b"a[1]: ") == tokens[0]


def test_all_that_is_kept_can_be_taken_in_order():
    aside = Aside()
    for number in range(40):
        sorted_in(aside, b"web sshd[%d]: x\n" % number, start=100 * number)

    kept = aside.take_all()

    assert [100 * number for number in range(40)] == [line.offset for line in kept]
    assert [] == aside.take_all()


def test_old_lines_are_forgotten_and_memory_stays_bounded():
    aside = Aside()
    line = b"web sshd[7]: %s\n" % (b"x" * 1000)
    for number in range(2 * KEPT // len(line)):
        sorted_in(aside, line, start=number * len(line))

    kept = aside.take_all()

    assert KEPT <= len(kept) * len(line) < KEPT + 100_000
    assert [one.offset for one in kept] == [n * len(line) for n in range(2 * KEPT // len(line))][
        -len(kept) :
    ]


def test_conversations_that_failed_are_forgotten_with_the_last_lines_that_name_them():
    aside, filler = Aside(), b"x" * 1000 + b"\n"
    lines = [b"web sshd[%d]: hello\n" % number for number in range(3)]
    sorted_in(aside, b"".join(lines), lines[0])
    aside.open(lines[1])
    start = 100
    for _ in range(KEPT // len(filler)):
        sorted_in(aside, filler, start=start)
        start += len(filler)
    assert 1 == len(sorted_in(aside, lines[0], start=start))
    for _ in range(100):
        sorted_in(aside, filler, start=start)
        start += len(filler)

    assert 1 == len(sorted_in(aside, lines[0], start=start + 100))
    assert [] == sorted_in(aside, lines[1], start=start + 200)


def test_of_the_first_block_no_more_is_searched_than_is_kept():
    aside, id = Aside(), b"web sshd[1]: "
    filler = b"x" * 999 + b"\n"
    block = id + b"a\n" + filler + id + b"b\n" + filler * (KEPT // 1000)

    for sparse in (2 * KEPT, 0):
        with patch("server.aside._SPARSE", sparse):
            sorted_in(aside, block)
            found = sorted_in(aside, b"", id)
            aside.take_all()
        assert [id + b"b"] == [line.data for line in found]


# So that ids are picked out of all that there are, or searched for.
WAYS = pytest.mark.parametrize("sparse", [_SPARSE, 0], ids=["all", "some"])


@WAYS
def test_a_line_full_of_an_id_is_kept_once(sparse):
    """An attacker writes it."""
    aside, id = Aside(), b"web sshd[1]: "
    line = id * 4000

    with patch("server.aside._SPARSE", sparse):
        tracemalloc.start()
        (found,) = sorted_in(aside, line + b"\n", id, id)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert line == found.data
    assert most < 100 * len(line)


IDS = st.sampled_from(
    [b"web sshd[1]: ", b"web sshd[11]: ", b"db sshd-session[1]: ", b"11sshd[1]: "]
)


@WAYS
@given(st.lists(st.tuples(st.lists(IDS, max_size=5), st.lists(IDS, max_size=2)), max_size=12))
def test_nothing_is_missed_that_bears_the_id_of_a_failure(sparse, blocks):
    """Each line that holds an id that fails, before or after, is read, if only once."""
    with patch("server.aside._SPARSE", sparse):
        look_for_failures(blocks)


def look_for_failures(blocks):
    aside, lines, failed, read, start = Aside(), [], set(), [], 0
    for helpers, ids in blocks:
        data = b"".join(id + b"hello\n" for id in helpers)
        lines += lines_of(data, start)
        data += b"".join(id + b"refused\n" for id in ids)
        failed.update(ids)
        read += [(kept.offset, kept.data) for kept in sorted_in(aside, data, *ids, start=start)]
        start += len(data)

    wanted = {line for line in lines if any(id in line[1] for id in failed)}
    assert wanted <= set(read)
    helpers = [line for line in read if line[1].endswith(b"hello")]
    assert set(helpers) <= set(lines)
    assert len(helpers) == len(set(helpers))


def test_without_pyperscan_ids_are_found_as_well(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyperscan", None)
    monkeypatch.setattr("server.aside._SPARSE", 0)
    first, second = b"web sshd[1]: ", b"web sshd[2]: "

    look_for_failures([([first, second], []), ([second], [first]), ([first], [second])])


# -- in a filter

WORDS = [
    "hello from 192.0.2.1",
    "hello from 192.0.2.2",
    "user carol tries",
    "user eve tries",
    "user carol is let in",
    "user eve is let in",
    "user refused tries",
    "user refused is let in",
    "refused",
    "refused 192.0.2.3",
    "bye from 192.0.2.4",
    "of no meaning",
]
SAYINGS = st.sampled_from(WORDS)
LINES = st.tuples(
    st.sampled_from(["", "Nov 18 11:06:00 ", "[12] Nov 18 11:06:10 "]),
    st.sampled_from(["web d[1]: ", "web d[2]: ", "d[12]: ", "d: ", "e[1]: "]),
    SAYINGS,
).map("".join)
CONF = JailConf(
    name="test",
    prefregex=r"^<F-MLFID>.*(?:d|e)(?:\[\d+\])?: </F-MLFID><F-CONTENT>.+</F-CONTENT>$",
    failregex=(
        r"^refused(?: <HOST>)?$",
        r"^<F-NOFAIL>user</F-NOFAIL> <F-USER>\w+</F-USER> tries$",
        r"^<F-MLFGAINED>user</F-MLFGAINED> <F-USER>\w+</F-USER> is let in$",
        r"^<F-NOFAIL>hello</F-NOFAIL> from <HOST>$",
        r"^<F-NOFAIL><F-MLFFORGET>bye from</F-MLFFORGET></F-NOFAIL> <HOST>$",
    ),
)


NOISE = ["web d[3]: of no meaning"] * 5
TWO_IDS = ["web d[1]: user carol tries", "[12] Nov 18 11:06:10 web d[1]: hello from 192.0.2.1"]


@settings(max_examples=1000, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.booleans(),
            st.lists(LINES, max_size=8).flatmap(
                lambda lines: st.permutations([*lines, *NOISE]) | st.just(lines)
            ),
        ),
        max_size=6,
    )
)
@example(
    [
        (False, [*TWO_IDS, "[12] Nov 18 11:06:10 d: user carol tries"]),
        (False, ["[12] web d[1]: refused"]),
    ]
)
@example(
    [
        (False, ["web d[1]: hello from 192.0.2.1"]),
        (True, ["web d[1]: refused", *NOISE]),
    ]
)
@example(
    [
        (True, [*NOISE, "web d[1]: hello from 192.0.2.1"]),
        (True, [*NOISE, "web d[1]: refused", *NOISE]),
    ]
)
def test_a_filter_comes_to_the_same_when_it_reads_every_line(blocks):
    """Some blocks are the first ones of another file at the same path."""
    found = []
    # In the third way, what is done for many lines only is done from the second one on, and ids are
    # looked for as in long blocks.
    for has_screen, few, sparse in ((True, _FEW, _SPARSE), (False, _FEW, _SPARSE), (True, 1, 0)):
        with patch("server.quick._FEW", few), patch("server.aside._SPARSE", sparse):
            filter, start = Filter(CONF, has_screen=has_screen), 0
        own = []
        for is_rotated, lines in [(False, ["x"] * LESSONS), *blocks]:
            data = "".join(f"{line}\n" for line in lines).encode()
            start = 0 if is_rotated else start
            block = LogBlock(LOG, data, Position(1, 2, start), Position(1, 2, start + len(data)))
            own += filter.failures(block, NOW)
            start += len(data)
        found.append(own)

    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("seed", range(5))
def test_in_long_blocks_conversations_are_found_by_pyperscan_and_nothing_is_missed(seed):
    chance, searches = Random(seed), []
    lines = [f"Nov 18 11:06:00 web d[{number}]: all is well" for number in range(20_000, 40_000)]
    for number in range(12):
        place = chance.randrange(200, len(lines) - 1000)
        for text in chance.sample(WORDS, 4):
            lines.insert(place + chance.randrange(1000), f"Nov 18 11:06:00 web d[{number}]: {text}")
    data = "".join(f"{line}\n" for line in lines).encode()

    class Counted(_Search):
        def __call__(self, *where):
            searches.append(where)
            return super().__call__(*where)

    def failures(has_screen):
        filter, begin, found = Filter(CONF, has_screen=has_screen), 0, []
        while begin < len(data):
            end = data.rfind(b"\n", begin, begin + 300_000) + 1
            places = Position(1, 2, begin), Position(1, 2, end)
            found += filter.failures(LogBlock(LOG, data[begin:end], *places), NOW)
            begin = end
        return found

    with patch("server.aside._Search", Counted):
        screened = failures(True)
    assert searches
    assert failures(False) == screened != []


def found_in(*blocks, conf=CONF, written="Nov 18 11:06:00 web {}".format):
    """Whom a filter finds that gets `blocks` of lines, and whether it was busy with each of them."""
    filter, start, found, busy = Filter(conf), 0, [], []
    for lines in [["x"] * LESSONS, *blocks]:
        data = "".join(f"{written(line)}\n" for line in lines).encode()
        block = LogBlock(LOG, data, Position(1, 2, start), Position(1, 2, start + len(data)))
        found += [failure.host for failure in filter.failures(block, NOW)]
        busy.append(filter._is_busy)
        start += len(data)
    return found, busy[1:]


ATTACK = [f"d[{number}]: refused 192.0.2.3" for number in range(100, 120)]
QUIET = [f"d[{number}]: hello from 192.0.2.4" for number in range(200, 220)]


def test_where_most_lines_fail_those_set_aside_before_are_read():
    found, busy = found_in(["d[1]: hello from 192.0.2.1"], [*ATTACK, "d[1]: refused"])

    assert [*["192.0.2.3"] * 20, "192.0.2.1"] == found
    assert [False, True] == busy


def test_whoever_failed_while_most_lines_did_is_remembered_afterwards():
    found, busy = found_in([*ATTACK, "d[1]: refused"], QUIET, ["d[1]: hello from 192.0.2.1"])

    assert [*["192.0.2.3"] * 20, "192.0.2.1"] == found
    assert [True, False, False] == busy


def test_so_is_he_if_a_date_stands_in_the_midst_of_his_id():
    found, busy = found_in(
        [*ATTACK, "d[1]: refused"],
        QUIET,
        ["d[1]: hello from 192.0.2.1"],
        conf=replace(CONF, date_pattern=r"%b %d %H:%M:%S\s"),
        written=lambda line: line.replace("d[", "d[Nov 18 11:06:00 "),
    )

    assert [*["192.0.2.3"] * 20, "192.0.2.1"] == found
    assert busy[0]


def test_lines_that_were_read_in_an_attack_are_not_read_again():
    found, busy = found_in(ATTACK, [*ATTACK[:5], *QUIET], QUIET, ["d[200]: refused"], ATTACK)

    assert ["192.0.2.3"] * 25 + ["192.0.2.4"] + ["192.0.2.3"] * 20 == found


def test_a_date_in_the_midst_of_an_id_is_no_part_of_it():
    conf = replace(CONF, date_pattern=r"%b %d %H:%M:%S\s")
    filter, found = Filter(conf), []
    helper, refusal = (
        f"d[Nov 18 11:06:00 1]: {text}" for text in ("hello from 192.0.2.1", "refused")
    )
    for start, lines in enumerate(
        (["x"] * LESSONS, [helper, *["y" * 80] * 9], [refusal, *["y" * 80] * 9])
    ):
        block = LogBlock(LOG, "\n".join(lines).encode(), *[Position(1, 2, 10_000 * start)] * 2)
        found += filter.failures(block, NOW)

    assert ["192.0.2.1"] == [failure.host for failure in found]


def test_what_a_first_failure_said_is_known_when_the_second_comes():
    conf = replace(
        CONF, prefregex=r"^<F-MLFID>\s\w+ d\[\d+\]: </F-MLFID><F-CONTENT>.+</F-CONTENT>$"
    )
    filter, lines = Filter(conf), [*["x"] * LESSONS, "Nov 18 11:06:00 web d[1]: refused 192.0.2.3"]
    lines.append("Nov 18 11:06:00 web d[1]: refused")
    block = LogBlock(LOG, "\n".join(lines).encode(), *[Position(1, 2, 0)] * 2)

    assert ["192.0.2.3"] * 2 == [failure.host for failure in filter.failures(block, NOW)]


def test_a_line_set_aside_may_hold_the_words_of_a_rule_that_does_not_match_it():
    # Whoever is let in here is called as what fails there.
    lines = ["d[1]: refused", "d[1]: user refused is let in", "d[1]: hello from 192.0.2.1"]

    found, _ = found_in([*QUIET, *lines], QUIET)

    assert [] == found


def test_a_rule_set_aside_that_stands_before_one_that_matches_has_the_say():
    helper, refusal = CONF.failregex[3], r"^hello from <HOST>$"
    for failregex, fails in (((helper, refusal), False), ((refusal, helper), True)):
        filter, found = Filter(replace(CONF, failregex=failregex)), []
        for lines in (["x"] * LESSONS, [*["of no meaning"] * 20, f"web {QUIET[0]}"]):
            data = "".join(f"Nov 18 11:06:00 {line}\n" for line in lines).encode()
            found += filter.failures(LogBlock(LOG, data, *[Position(1, 2, 0)] * 2), NOW)

        assert fails == bool(found)
