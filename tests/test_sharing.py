# SPDX-License-Identifier: GPL-2.0-or-later
"""Filters that follow one log together find what each of them finds alone."""

from __future__ import annotations

import errno
import tempfile
from calendar import timegm
from pathlib import Path
from unittest.mock import Mock, patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.options import JailConf
from server.filter import Filter
from server.generations import Piece
from server.lines import LESSONS, Lines
from server.packing import Packer
from server.records import Excerpt, LogBlock, Position
from server.screen import JointScreen
from server.sharing import Sharing
from server.source import BLOCK, Inbox, Source
from server.tail import Tail
from tests.filters import conf_of, own_samples
from tests.support import ROOT

CAPTURED = ROOT / "tests" / "captured-logs"
NOW = timegm((2026, 11, 23, 12, 0, 0))
DATED = "2026-11-23 11:59:30 "
ENOUGH = b"x\n" * LESSONS  # lines to learn from


def conf(*failregex, **options):
    return JailConf(name="test", failregex=failregex, **options)


class Follower:
    """A jail that takes what comes of a log, and keeps what failed there."""

    def __init__(self, conf, refusals=()):
        self.filter = Filter(conf)
        self.failures, self.blocks = [], []
        self.inbox = Inbox(str(id(self)), self.take, find_wanted=lambda: self.filter.wanted)
        self.refusals = list(refusals)

    def take(self, block):
        if self.refusals and self.refusals.pop():
            return False
        self.blocks.append(block)
        if isinstance(block, Excerpt):
            filter = block.filter or self.filter
            self.failures += filter.caught_among([block], NOW, Packer())
        else:
            self.failures += self.filter.failures(block, NOW)
        return True


def follow(data, followers, block=1 << 20, told_within=0.0):
    """Have them follow a log that holds `data`, read in blocks of so many bytes."""
    with (
        tempfile.TemporaryDirectory() as place,
        patch("server.tail.BLOCK", block),
        patch("server.delivery._TOLD_WITHIN", told_within),
        patch.multiple("server.source", BLOCK=block, _END=block // 2),
    ):
        log = Path(place) / "log"
        log.write_bytes(data)
        tail = tail_of(log, followers)
        read_all(tail, followers)
        for each in followers:
            each.refusals.clear()
            tail.remove(each.inbox.jail)
    return [each.failures for each in followers]


def alone(conf, data):
    return Filter(conf).failures(LogBlock("", data, Position(0, 0, 0), Position(0, 0, 0)), NOW)


def without_path(failures):
    return [failure._replace(path="") for failure in failures]


def are_alike(confs, data, block, told_within=0.0, refusals=()):
    followers = [Follower(conf, refusals) for conf in confs]
    together = follow(data, followers, block, told_within)
    assert all(len(data) == each.blocks[-1].end.offset for each in followers if data)
    assert [alone(conf, data) for conf in confs] == list(map(without_path, together))
    return followers


@pytest.mark.parametrize("block", [2000, 5000, 1 << 20])
@pytest.mark.parametrize(
    "filters",
    [
        ("sshd", "pam-generic", "dropbear"),
        ("nginx-http-auth", "nginx-botsearch", "nginx-bad-request", "nginx-limit-req"),
        ("postfix", "dovecot", "sendmail-auth"),
    ],
)
def test_stock_filters_come_to_the_same_together(filters, block):
    """In a log that holds the samples of all, and what real daemons wrote."""
    logs = (CAPTURED / f"{name}.log" for name in filters)
    data = b"".join(log.read_bytes() for log in logs if log.exists())
    for name in filters:
        data += b"".join(b"%s\n" % line.encode() for _, _, line in own_samples(name))

    followers = are_alike([conf_of(name) for name in filters], data, block)

    assert all(each.failures for each in followers)


WORDS = ("failed", "lost", "refused")
CONFS = [conf(f"{word} <HOST>$") for word in WORDS]
LINES = st.builds(
    "{}{} 192.0.2.{}".format,
    st.sampled_from(("", "", DATED, "2026-11-23 11:59:51 ", "2026-02-30 11:00:00 ")),
    st.sampled_from((*WORDS, "fine", "fine", "failed and lost")),
    st.integers(1, 9),
)


@settings(deadline=None)
@given(
    st.lists(st.one_of(LINES, st.just("x" * 70)), max_size=60),
    st.integers(100, 600),
    st.sampled_from((0.0, 5.0)),
    st.lists(st.booleans(), max_size=9),
    st.booleans(),
)
def test_lines_without_a_date_have_that_of_the_line_before(
    lines, block, told_within, refusals, is_learned
):
    """In whatever blocks they come, and however much is passed over before a jail is told."""
    data = ENOUGH * is_learned + "".join(f"{line}\n" for line in lines).encode()

    are_alike(CONFS, data, block, told_within, refusals)


def test_a_jail_is_not_told_at_once_of_what_has_nothing_for_it(tmp_path):
    log, data = tmp_path / "log", f"{DATED}failed 192.0.2.1\n".encode()
    log.write_bytes(data)
    busy, idle = followers = [Follower(conf) for conf in CONFS[:2]]
    tail = tail_of(log, followers)
    read_all(tail, followers)
    # Where it begins it is told.
    assert [[(1, len(data))], [(0, len(data))]] == [told_of(each) for each in followers]
    assert tail.patience(0) is None

    for now in (1, 2, 3):
        with log.open("ab") as file:
            file.write(data)
        tail.check(now)
        read_all(tail, followers, now)

    assert [(1, len(data))] * 4 == told_of(busy)
    assert [(0, len(data))] == told_of(idle)
    assert tail.patience(4) == 2
    tail.check(6)
    read_all(tail, followers, now=6)
    assert [(0, len(data)), (0, 3 * len(data))] == told_of(idle)
    assert idle.blocks[-1].end.offset == 4 * len(data)
    assert tail.patience(6) is None


def test_a_jail_alone_is_spared_what_has_nothing_for_it_while_little_is_written(tmp_path):
    log, data = tmp_path / "log", f"{DATED}fine\n".encode()
    log.write_bytes(data)
    only = Follower(CONFS[0])
    tail = tail_of(log, [only])
    read_all(tail, [only])

    for line in (data, data, b"failed 192.0.2.1\n", data * 10_000):
        with log.open("ab") as file:
            file.write(line)
        tail.check(1)
        read_all(tail, [only], now=1)

    first, found, rest = only.blocks
    assert [data, data * 10_000] == [first.data, rest.data]
    assert [(1, 2 * len(data) + 17)] == told_of(only)
    assert [NOW - 30] == [failure.when for failure in only.failures]


def test_where_much_is_found_a_jail_reads_it_by_itself():
    few, many = (b"failed 192.0.2.1\n" * count for count in (64, 65))

    for data, kind in (
        (few, Excerpt),
        (many, LogBlock),
        (many + b"x" * 60_000 + b"\n", LogBlock),
        (many + b"fine\n" * 20_000 + DATED.encode() + b"fine\n", Excerpt),
    ):
        only, _ = followers = [Follower(CONFS[0]), Follower(CONFS[1])]
        follow(data, followers)
        assert isinstance(only.blocks[0], kind)
        assert len(only.failures) == data.count(b"failed")


def test_of_a_part_of_a_block_is_found_what_lies_in_it():
    data = b"failed 192.0.2.1\nfine\nfailed 192.0.2.2\nlost 192.0.2.3\nfailed 192.0.2.4\n"
    filters = [Filter(conf) for conf in CONFS[:2]]
    wanted = [filter.wanted for filter in filters]
    found = Sharing("log").found((1, 2, 100), Piece(b"", data), wanted, NOW)
    begin, end = data.index(b"fine"), data.index(b"failed 192.0.2.4")

    part = found.part(begin, end)

    for each in wanted:
        assert part.places_of(each.screen) == list(each.screen.places(data[begin:end]))
    lines, _ = part.lines_for(wanted[0])
    assert [100 + data.index(b"failed 192.0.2.2")] == [line[1] for line in lines]


def told_of(follower):
    excerpts = (each for each in follower.blocks if isinstance(each, Excerpt))
    return [(len(excerpt.lines), excerpt.size) for excerpt in excerpts]


def test_what_was_found_is_judged_by_the_rules_that_it_was_found_for():
    """A reload may come between."""
    follower, other = Follower(CONFS[0]), Follower(CONFS[1])
    taken = []
    follower.inbox.deliver = lambda block: taken.append(block) or True
    follow(ENOUGH + DATED.encode() + b"failed 192.0.2.1\n", [follower, other])

    follower.filter = Filter(conf("elsewhere <HOST>$"))
    for block in taken:
        follower.take(block)

    assert ["192.0.2.1"] == [failure.host for failure in follower.failures]


def test_a_line_is_read_once_for_all_who_read_in_the_same_way():
    confs = [
        conf("failed <HOST>$"),
        conf("led <HOST>$"),
        conf("ailed <HOST>$", log_encoding="latin1"),
    ]
    wanted = [Filter(conf).wanted for conf in confs]
    piece = Piece(b"", ENOUGH + b"2026-11-23 11:59:30 failed 192.0.2.1\n")
    decoded = []

    def lines(way):
        reader = Lines(way)
        decode = reader.decode
        reader.decode = lambda line: decoded.append((way.encoding, line)) or decode(line)
        return reader

    with patch("server.sharing.Lines", lines):
        found = Sharing("log").found((1, 2, 0), piece, wanted, NOW)
        read = [found.lines_for(each) for each in wanted]

    assert read[0] == read[1] == read[2]
    assert [[200, NOW - 30]] == [[line[1], line[5]] for line in read[0][0]]
    once = [way for way, line in decoded if line.endswith(b"failed 192.0.2.1")]
    assert sorted({each.way.encoding for each in wanted}) == sorted(once)


@pytest.mark.parametrize("date", ["", DATED])
def test_who_reads_for_all_does_not_search_a_log_without_dates(date):
    sought = []

    class Counting(Lines):
        def __init__(self, way):
            super().__init__(way)
            find = self.dates.find
            self.dates.find = lambda line, now: sought.append(line) or find(line, now)

    dated = f"{date}fine\n".encode()
    data = ENOUGH + b"failed 192.0.2.1\n" + (b"fine\n" * 8000 + dated) * 10
    confs = [conf("failed <HOST>$"), conf("lost <HOST>$")]
    with patch("server.sharing.Lines", Counting):
        wanted = [Filter(conf).wanted for conf in confs]
        found = Sharing("log").found((1, 2, 0), Piece(b"", data), wanted, NOW)
        read = [found.lines_for(each) for each in wanted]
    followers = [Follower(conf) for conf in confs]
    follow(data, followers)

    assert all(read) if date else not any(read)
    assert len(sought) < 65536 // len(b"fine\n") + 2 * LESSONS
    assert ["192.0.2.1"] == [failure.host for failure in followers[0].failures]


def test_what_was_found_for_other_filters_is_of_no_use():
    *some, other = (Filter(conf).wanted for conf in CONFS)

    found = Sharing("log").found((1, 2, 0), Piece(b"", b"failed 192.0.2.1\n"), some, NOW)

    assert found.lines_for(some[0])
    assert found.lines_for(other) is None


def test_a_filter_that_sets_lines_aside_gets_every_block():
    """Of one in which nobody fails it may want lines later."""
    data = (CAPTURED / "sshd.log").read_bytes()
    sshd, pam = followers = [Follower(conf_of("sshd")), Follower(conf_of("pam-generic"))]

    follow(data, followers, block=5000)

    assert {LogBlock} == set(map(type, sshd.blocks))
    assert data == b"".join(block.data for block in sshd.blocks)
    assert not any(isinstance(block, LogBlock) and block.data for block in pam.blocks)
    wanted = sshd.filter.wanted.screen
    assert all(block.found.places_of(wanted) is not None for block in sshd.blocks if block.data)


def test_a_filter_whose_date_pattern_may_take_long_reads_by_itself():
    slow = conf("lost <HOST>$", date_pattern=r"^\[(?:x*)*y{DATE}\] ")
    quick = conf("failed <HOST>$", date_pattern=r"^\[{DATE}\] ")
    assert not Filter(slow).wanted.is_content
    assert Filter(quick).wanted.is_content


def test_a_filter_that_sets_aside_no_longer_is_content_with_its_lines():
    filter = Filter(conf_of("sshd"))
    assert not filter.wanted.is_content

    filter._read_all()

    assert filter.wanted.is_content
    assert filter.wanted.screen is filter.screen


def test_a_jail_that_fails_to_say_what_it_wants_gets_all(caplog):
    followers = [Follower(conf) for conf in CONFS[:2]]
    followers[0].inbox.find_wanted = Mock(side_effect=ZeroDivisionError)
    data = b"failed 192.0.2.1\nlost 192.0.2.2\n"

    follow(data, followers)

    assert ["192.0.2.1", "192.0.2.2"] == [each.failures[0].host for each in followers]
    assert caplog.text.count("failed to say which lines it wants") == 1


def test_a_jail_whose_lines_cannot_be_read_for_it_gets_the_block(caplog):
    followers = [Follower(conf) for conf in CONFS[:2]]
    data = b"failed 192.0.2.1\nlost 192.0.2.2\n"

    with patch("server.sharing.Lines.by_itself", side_effect=ZeroDivisionError):
        follow(data, followers)

    assert ["192.0.2.1", "192.0.2.2"] == [each.failures[0].host for each in followers]
    assert "failed to read lines" in caplog.text


_LINES = DATED.encode() + b"a line of the log\n" + b"a line without a date\n" * 1000
NOISE = _LINES * (3 * BLOCK // len(_LINES))  # a little less than three blocks


def test_who_is_far_behind_gets_what_was_found_for_the_others(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"failed 192.0.2.1\n" + NOISE + b"lost 192.0.2.2\n" * 20 + NOISE + NOISE)
    quick, slow = followers = [Follower(CONFS[0]), Follower(CONFS[1], [True])]
    tail = tail_of(log, followers)

    with patch(
        "server.sharing.JointScreen.places", autospec=True, side_effect=JointScreen.places
    ) as search:
        for _ in range(7):
            tail.read(0)
        assert not slow.blocks
        read_all(tail, followers)

    assert [1, 20] == [len(each.failures) for each in followers]
    # Of the last block more may come, so what is found there is not kept.
    assert search.call_count == 9 + 1


def test_what_was_found_is_not_taken_for_that_of_other_lines(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(NOISE + NOISE)
    quick, slow = followers = [Follower(CONFS[0]), Follower(CONFS[1], [True])]
    tail = tail_of(log, followers)
    for _ in range(5):
        tail.read(0)
    with log.open("r+b") as file:  # in the second line
        file.seek(18)
        file.write(b"x lost 192.0.2.1\n")

    read_all(tail, followers)

    assert [0, 1] == [len(each.failures) for each in followers]


@pytest.mark.parametrize("is_broken", [True, False], ids=["broken", "let go"])
def test_of_what_was_passed_over_a_jail_is_told_when_no_more_can_be_read(
    tmp_path, monkeypatch, is_broken
):
    log, first = tmp_path / "log", b"failed 192.0.2.1\nlost 192.0.2.1\n" + DATED.encode()
    log.write_bytes(first + NOISE)
    followers = [Follower(conf) for conf in CONFS[:2]]
    tail = tail_of(log, followers)
    assert tail.read(0)
    assert tail.read(0)

    if is_broken:
        monkeypatch.setattr(Source, "read", Mock(side_effect=OSError(errno.EIO, "broken")))
        tail.read(0)
    else:
        for each in followers:
            each.refusals.clear()
            tail.remove(each.inbox.jail)

    for each in followers:
        begin, rest = each.blocks
        assert (1, True) == (len(begin.lines), begin.can_wait)
        assert (0, False) == (len(rest.lines), rest.can_wait)
        assert begin.end.offset + rest.size == rest.end.offset > BLOCK


def test_a_date_of_what_was_passed_over_is_told_once():
    early, late = DATED.encode(), b"2026-11-23 11:59:51 "
    data = early + b"fine\n" + late + b"failed 192.0.2.1\nfailed 192.0.2.2\n"
    filler = [Follower(conf) for conf in CONFS[:2]]

    follow(ENOUGH + data, filler, block=40)

    assert [NOW - 9, NOW - 9] == [failure.when for failure in filler[0].failures]


@pytest.mark.parametrize("rest", [NOISE, b"", None])
def test_what_waits_is_not_left_waiting_when_the_end_is_reached(tmp_path, rest):
    log, begin = tmp_path / "log", b"failed 192.0.2.1\nlost 192.0.2.2\n"
    if rest is None:  # the first block ends where the file does
        rest = b"x" * 63 + b"\n"
        rest = rest * ((BLOCK - len(begin)) // 64)
        begin += b"y" * (BLOCK - len(begin) - len(rest) - 1) + b"\n"
    log.write_bytes(begin + rest)
    followers = [Follower(conf) for conf in CONFS[:2]]
    tail = tail_of(log, followers)

    read_all(tail, followers)

    for each in followers:
        assert 1 == len(each.failures)
        assert not getattr(each.blocks[-1], "can_wait", False)


def test_the_date_of_what_was_passed_over_outlives_a_truncation(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"lost 192.0.2.1\n" + NOISE + DATED.encode() + b"fine\n" + NOISE)
    followers = [Follower(conf) for conf in CONFS[:2]]
    tail = tail_of(log, followers)
    for _ in range(5):
        tail.read(0)
    log.write_bytes(b"failed 192.0.2.1\n")

    tail.check(0)
    read_all(tail, followers)

    assert [NOW - 30] == [failure.when for failure in followers[0].failures]


def tail_of(log, followers):
    tail = Tail(str(log), clock=lambda: NOW)
    for each in followers:
        tail.add(each.inbox)
    tail.check(0)
    return tail


def read_all(tail, followers, now=0):
    while tail.read(now) or any(each.inbox.is_full for each in followers):
        for each in followers:
            each.inbox.is_full = False
