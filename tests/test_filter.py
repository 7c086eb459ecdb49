# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines become failures."""

from __future__ import annotations

from calendar import timegm
from unittest.mock import patch

import pytest

from bench import logs as made_up
from common.errors import RegexError
from common.options import JailConf
from server.filter import Filter
from server.lines import LONGEST_LINE, line_decoder
from server.literals import required
from server.packing import Packer
from server.quick import Line
from server.records import Excerpt, JournalBlock, LogBlock, Position
from tests.filters import a_filter, conf_of

NOW = timegm((2026, 11, 23, 12, 0, 0))
FAILED = "^failed from <HOST>$"


def block(data, path="/var/log/x", start=0):
    if isinstance(data, str):
        data = data.encode()
    return LogBlock(path, data, Position(1, 2, start), Position(1, 2, start + len(data)))


def hosts(filter, data, now=NOW, **where):
    """Whom `filter` blames for the lines of a block."""
    return [failure.host for failure in filter.failures(block(data, **where), now)]


def moments(filter, data, now=NOW, **where):
    return [failure.when for failure in filter.failures(block(data, **where), now)]


def test_a_failure_carries_its_evidence():
    filter = a_filter(
        "^nothing <HOST>", "^ <F-USER>.*</F-USER> failed from <HOST>$", date_pattern=None
    )
    line = "2026-11-23T11:59:00Z carol failed from 192.0.2.7"

    found = filter.failures(block(f"first\n{line}\r\nlast\n", path="/log", start=100), NOW)
    only = found[0]

    assert len(found) == 1
    assert (only.host, only.when, only.lines) == ("192.0.2.7", NOW - 60, (line,))
    assert (only.path, only.offset, only.rule) == ("/log", 106, 1)
    assert (only.fields["user"], only.fields["ip4"]) == ("carol", "192.0.2.7")
    assert (only.attempts, only.is_name) == (1, False)


def test_failures_come_in_the_order_of_their_lines():
    data = "failed from 192.0.2.1\nfine\nfailed from box.example.org\nfailed from 2001:db8::1\n"

    found = a_filter(FAILED).failures(block(data), NOW)

    assert [each.host for each in found] == ["192.0.2.1", "box.example.org", "2001:db8::1"]
    assert [each.is_name for each in found] == [False, True, False]


def test_a_line_without_its_end_counts_too():
    assert hosts(a_filter(FAILED), "failed from 192.0.2.1") == ["192.0.2.1"]


def test_names_are_no_hosts_without_dns():
    assert hosts(a_filter(FAILED, use_dns="no"), "failed from example.org\n") == []
    assert hosts(a_filter(FAILED, use_dns="raw"), "failed from example.org\n") == ["example.org"]


def test_the_first_regex_that_matches_and_blames_somebody_counts():
    filter = a_filter("^failed(?: from <HOST>)?", "^failed for <F-ID>.+</F-ID>$", "^failed <F-ID/>")

    verdict = filter.judge("failed for carol", NOW)

    assert (verdict.rule, verdict.failure.host) == (1, "carol")
    assert verdict.rules == (0, 1, 2)


def test_only_the_regexes_that_a_screen_names_are_tried():
    filter = a_filter("^a <HOST>", "^. <HOST>", "^.+ <HOST>")
    texts = [("a 192.0.2.1", 0b110), ("a 192.0.2.2", 0b111), ("a 192.0.2.3", 0)]
    lines = [Line("/log", 9 * n, text, text, 0, NOW, mask) for n, (text, mask) in enumerate(texts)]
    end = Position(1, 2, 27)

    found = filter.caught_among(
        [Excerpt("/log", lines, None, None, end, None, 27, filter, False)], NOW, Packer()
    )

    assert [(each.host, each.rule, each.offset) for each in found] == [
        ("192.0.2.1", 1, 0),
        ("192.0.2.2", 0, 9),
    ]


# -- prefregex, ignoreregex


def test_failregexes_see_what_the_prefregex_leaves():
    filter = a_filter(FAILED, prefregex=r"^x\[\d+\]: <F-CONTENT>.+</F-CONTENT>$")

    data = "x[1]: failed from 192.0.2.1\nfailed from 192.0.2.2\ny[1]: failed from 192.0.2.3\n"

    assert hosts(filter, data) == ["192.0.2.1"]


def test_a_prefregex_may_know_the_host():
    filter = a_filter("^failed$", prefregex="^<HOST> <F-CONTENT>.+</F-CONTENT>$")

    assert hosts(filter, "192.0.2.1 failed\n192.0.2.2 worked\n") == ["192.0.2.1"]


def test_a_prefregex_without_content_only_selects():
    filter = a_filter("failed from <HOST>$", prefregex="^x: ")

    assert hosts(filter, "x: failed from 192.0.2.1\ny: failed from 192.0.2.2\n") == ["192.0.2.1"]


def test_an_ignoreregex_takes_a_failure_back():
    filter = a_filter(FAILED, ignoreregex=("nothing", r"192\.0\.2\.[1-3]$"))

    verdict = filter.judge("failed from 192.0.2.2", NOW)

    assert (verdict.rule, verdict.ignored_by, verdict.failure) == (0, 1, None)
    assert not verdict.is_missed
    assert not verdict.is_helper
    assert hosts(filter, "failed from 192.0.2.2\nfailed from 192.0.2.4\n") == ["192.0.2.4"]


def test_an_ignoreregex_sees_what_the_prefregex_leaves():
    pref = r"^(?:<F-NOTE>\w+</F-NOTE>): <F-CONTENT>.+</F-CONTENT>$"
    filter = a_filter(FAILED, prefregex=pref, ignoreregex=("^friend",))

    assert hosts(filter, "friend: failed from 192.0.2.1\n") == ["192.0.2.1"]


def test_ignoreregexes_that_are_far_fewer_see_the_whole_line_too():
    pref = r"^\w+: <F-CONTENT>.+</F-CONTENT>$"
    filter = a_filter(
        FAILED, "^a <HOST>", "^b <HOST>", "^c <HOST>", prefregex=pref, ignoreregex=("^friend",)
    )

    assert hosts(filter, "friend: failed from 192.0.2.1\n") == []
    assert hosts(filter, "foe: failed from 192.0.2.1\n") == ["192.0.2.1"]


def test_what_is_ignored_is_no_part_of_a_conversation():
    filter = a_filter(
        "^<F-MLFID>\\d+</F-MLFID> from <HOST>",
        "^<F-MLFID>\\d+</F-MLFID> bad",
        ignoreregex=("quiet",),
    )

    assert hosts(filter, "1 bad quiet\n1 from 192.0.2.1 quiet\n1 bad\n") == []


# -- dates


def test_the_date_is_cut_out():
    assert hosts(a_filter("^ failed from <HOST>$", date_pattern=None), "2026-11-23T11:00:00Z failed from 192.0.2.1\n") == ["192.0.2.1"]  # fmt: skip


def test_a_line_without_a_date_borrows_the_last_for_a_minute():
    filter = a_filter("failed from <HOST>$", date_pattern=None)

    assert moments(filter, "2026-11-23T11:59:30Z x\nfailed from 192.0.2.1\n") == [NOW - 30]
    assert moments(filter, "failed from 192.0.2.1\n", NOW + 29) == [NOW - 30]
    assert moments(filter, "failed from 192.0.2.1\n", NOW + 31) == [NOW + 31]


def test_each_file_has_its_own_last_date():
    filter = a_filter("failed from <HOST>$", date_pattern=None)
    filter.failures(block("2026-11-23T11:59:30Z x\n", path="a"), NOW)

    assert moments(filter, "failed from 192.0.2.1\n", path="b") == [NOW]
    assert moments(filter, "failed from 192.0.2.1\n", path="a") == [NOW - 30]


def test_an_impossible_date_is_cut_out_and_counts_as_none():
    filter = a_filter("^ failed from <HOST>$", date_pattern=None)

    assert moments(filter, "2026-02-30T11:59:30Z failed from 192.0.2.1\n") == [NOW]


def test_a_failure_in_the_future_is_one_of_now():
    filter = a_filter("failed from <HOST>$", date_pattern=None)
    data = "2026-11-23T{} failed from 192.0.2.1\n"

    assert moments(filter, data.format("12:00:59Z")) == [NOW + 59]
    assert moments(filter, data.format("12:01:01Z")) == [NOW]
    assert moments(filter, data.format("23:00:00Z") + "failed from 192.0.2.1\n") == [NOW, NOW]


def test_old_failures_are_told_with_their_date():
    filter = a_filter("failed from <HOST>$", date_pattern=None)

    assert moments(filter, "2026-11-01T00:00:00Z failed from 192.0.2.1\n") == [
        timegm((2026, 11, 1, 0, 0, 0))
    ]


def test_no_date_is_looked_for_where_there_is_none():
    filter = a_filter("^2026-11-23T11:00:00Z failed from <HOST>$")

    assert moments(filter, "2026-11-23T11:00:00Z failed from 192.0.2.1\n") == [NOW]


def test_journal_entries_bring_their_moment():
    filter = a_filter("^(?:2026-11-23T11:00:00Z )?failed from <HOST>$", date_pattern=None)
    entries = (
        (NOW - 5.5, "failed from 192.0.2.1"),
        (NOW - 4.0, "2026-11-23T11:00:00Z failed from 192.0.2.2"),
        (NOW + 900.0, "failed from 192.0.2.3"),
    )

    found = filter.failures(JournalBlock("systemd", entries, "c"), NOW)

    assert [(each.host, each.when) for each in found] == [
        ("192.0.2.1", NOW - 5.5),
        ("192.0.2.2", NOW - 4.0),
        ("192.0.2.3", NOW),
    ]


def journal_of(texts, size):
    """Blocks of the journal with these entries, an entry a second."""
    entries = [(NOW - len(texts) + number, text) for number, text in enumerate(texts)]
    for begin in range(0, len(entries), size):
        yield JournalBlock("systemd", tuple(entries[begin : begin + size]), f"c{begin}")


@pytest.mark.parametrize("size", [1, 7, 500])
@pytest.mark.parametrize("has_pyperscan", [True, False])
def test_of_many_journal_entries_the_same_fail_as_when_each_is_tried(size, has_pyperscan):
    sshd = conf_of("sshd", (("mode", "aggressive"),))
    texts = [line[16:-1] for line, _ in made_up.lines("auth", 4000, 0.3, seed=3, end=NOW)]
    texts[::97] = ["" for _ in texts[::97]]
    texts[::89] = [f"{text}\0 caf\u00e9 \udc80 \x85" for text in texts[::89]]
    texts[::83] = [f"{text} {'x' * LONGEST_LINE} from 192.0.2.1" for text in texts[::83]]
    tried, told_apart = Filter(sshd, has_screen=False), Filter(sshd)

    with patch("server.screen._MUCH", 0 if has_pyperscan else 1 << 40):
        found = [told_apart.failures(block, NOW) for block in journal_of(texts, size)]

    assert found == [tried.failures(block, NOW) for block in journal_of(texts, size)]
    assert sum(map(len, found)) > 1000
    assert told_apart.screen.helps


def test_a_journal_entry_may_have_letters_that_only_look_like_those_of_a_word():
    filter = a_filter("(?i)^no kelvins? from <HOST>$", date_pattern=None)
    texts = ["nothing of interest"] * 200 + ["no \u212aelvin\u017f from 192.0.2.9"]

    found = [each.host for block in journal_of(texts, 50) for each in filter.failures(block, NOW)]

    assert found == ["192.0.2.9"]


def test_entries_of_a_journal_that_is_not_in_utf_8_are_each_tried():
    filter = a_filter("(?i)^no kelvin from <HOST>$", date_pattern=None, log_encoding="latin-1")
    texts = ["nothing of interest"] * 200 + ["no \u212aelvin from 192.0.2.9"]

    found = [each.host for block in journal_of(texts, 50) for each in filter.failures(block, NOW)]

    assert found == ["192.0.2.9"]


# -- conversations, several lines


def test_lines_of_a_conversation_make_a_failure_together():
    filter = a_filter(
        "^<F-NOFAIL>hello</F-NOFAIL> from <HOST>$",
        "^bad$",
        "^<F-NOFAIL><F-MLFFORGET>bye</F-MLFFORGET></F-NOFAIL>$",
        prefregex=r"^<F-MLFID>\d+</F-MLFID> <F-CONTENT>.+</F-CONTENT>$",
    )

    data = "1 hello from 192.0.2.1\n2 hello from 192.0.2.2\n2 bad\n1 bye\n1 bad\n"

    assert hosts(filter, data) == ["192.0.2.2"]


def test_a_helper_line_is_no_failure_outside_of_a_conversation():
    filter = a_filter(
        "^<F-NOFAIL>hello</F-NOFAIL> from <HOST>$", "^<F-MLFGAINED>in</F-MLFGAINED> <HOST>"
    )

    assert filter.judge("hello from 192.0.2.1", NOW).is_helper
    assert filter.judge("in 192.0.2.1", NOW).is_helper
    assert filter.judge("else", NOW).is_missed


def test_lines_that_nothing_tells_apart_are_no_conversation():
    filter = a_filter(
        "^<F-MLFID>\\d*</F-MLFID> <F-NOFAIL>hello</F-NOFAIL> from <HOST>$",
        "^<F-MLFID>\\d*</F-MLFID> bad(?: from <HOST>)?$",
    )

    assert hosts(filter, " hello from 192.0.2.1\n bad\n bad from 192.0.2.2\n") == ["192.0.2.2"]


def test_a_regex_may_span_lines():
    filter = a_filter(r"^begin <F-USER>\w+</F-USER>\nfailed from <HOST>$", max_lines=2)

    found = filter.failures(block("begin x\nbegin carol\nfailed from 192.0.2.1\n"), NOW)

    assert [(each.host, each.fields["user"]) for each in found] == [("192.0.2.1", "carol")]
    assert found[0].lines == ("begin carol", "failed from 192.0.2.1")


def test_lines_between_are_skipped_and_stay_for_others():
    filter = a_filter("^begin <F-ID/>$<SKIPLINES>^end$", max_lines=5)

    found = filter.failures(block("begin a\nbegin b\nx\nend\nend\nend\n"), NOW)

    assert [(each.host, each.lines) for each in found] == [
        ("a", ("begin a", "end")),
        ("b", ("begin b", "end")),
    ]


def test_no_more_lines_are_kept_than_allowed():
    filter = a_filter("^begin <F-ID/>$<SKIPLINES>^end$", max_lines=3)

    assert hosts(filter, "begin a\nx\nend\n") == ["a"]
    assert hosts(filter, "begin b\nx\nx\nend\n") == []


def test_lines_of_different_files_are_not_joined():
    filter = a_filter("^begin <F-ID/>\nend$", max_lines=2)

    assert hosts(filter, "begin a\n", path="one") == []
    assert hosts(filter, "end\n", path="two") == []
    assert hosts(filter, "end\n", path="one") == ["a"]


# -- bytes


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_wide_encodings_are_read(encoding):
    data = "failed from 192.0.2.1\r\nfïne\nfailed from 192.0.2.2\n".encode(encoding)
    filter = a_filter(FAILED, log_encoding=encoding)
    # As a reader of files cuts it: behind the last byte that looks like a line feed.
    cut = data.rindex(b"\n", 0, data.rindex(b"\n")) + 1

    assert hosts(filter, data[:cut]) == ["192.0.2.1"]
    assert hosts(filter, data[cut:], start=cut) == ["192.0.2.2"]


def test_what_cannot_be_read_does_no_harm():
    filter = a_filter("^<F-USER>.*</F-USER> failed from <HOST>$", log_encoding="utf-8")

    found = filter.failures(block(b"\0\0\0x\xff\xc3 failed from 192.0.2.1\0\r\n"), NOW)

    assert [(each.host, each.fields["user"]) for each in found] == [("192.0.2.1", "x\ufffd\ufffd")]


def test_the_locales_encoding_is_taken_where_none_is_named():
    assert line_decoder("auto")("naïve".encode()) == "naïve"
    assert line_decoder("latin-1")(b"na\xefve") == "naïve"


@pytest.mark.parametrize("encoding", ["klingon", "base64", "rot13"])
def test_an_unknown_encoding_is_refused(encoding):
    with pytest.raises(LookupError):
        a_filter(FAILED, log_encoding=encoding)


def test_an_overlong_line_is_cut():
    filter = a_filter("^x*<F-ID>.</F-ID>y?$")

    assert hosts(filter, "x" * (LONGEST_LINE - 1) + "ay\n") == ["a"]
    assert hosts(filter, "x" * LONGEST_LINE + "a\n") == ["x"]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"prefregex": "("}, RegexError),
        ({"ignoreregex": ("(",)}, RegexError),
        ({"date_pattern": "%Y("}, ValueError),
        ({"log_time_zone": "nowhere"}, ValueError),
    ],
)
def test_a_filter_that_cannot_work_is_refused(options, error):
    with pytest.raises(error):
        a_filter(FAILED, **options)
    with pytest.raises(RegexError, match="No failure-id group"):
        a_filter("failed")


def test_what_lines_to_look_for_is_found_out_when_there_are_some():
    before = required.cache_info().misses
    filter = Filter(JailConf(name="test", failregex=("a door that nobody opened <HOST>$",)))

    assert [] == filter.failures(block(b""), NOW)
    assert before == required.cache_info().misses
    assert [] == filter.failures(block(b"x\n"), NOW)
    assert before < required.cache_info().misses
