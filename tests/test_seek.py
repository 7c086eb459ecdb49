# SPDX-License-Identifier: GPL-2.0-or-later
"""Where to begin in a big log: whatever stands before that place would have counted for nothing."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.options import JailConf
from server.dates import DateDetector
from server.filter import Filter
from server.jail import Jail
from server.records import Enforce, Failed, LogBlock, Position
from server.seek import CONTEXT, DISORDER, WORTH, border
from tests.support import at_home_in

NOW = 1_800_000_000.0  # 2027-01-15 08:00:00 UTC
FIND_TIME = 600.0
DAY = 86400.0


def iso(moment):
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


def syslog(moment):
    return time.strftime("%b %d %H:%M:%S", time.localtime(moment))


def day_only(moment):
    return time.strftime("%Y-%m-%d", time.localtime(moment))


def time_only(moment):
    return time.strftime("%H:%M:%S", time.localtime(moment))


PADDING = "x" * 900  # so that few lines are many bytes


def a_log(moments, style=iso, text="door: all is well", seed=1, failing=0.1, undated=0.0):
    """A line for each of `moments`: some fail, in one line or in two that belong together."""
    chance, lines, talks = random.Random(seed), [], []
    for number, moment in enumerate(moments):
        draw, date = chance.random(), style(moment)
        host = f"10.0.{number >> 8 & 255}.{number & 255}"
        if talks and talks[0][0] <= moment:
            _, key, _ = talks.pop(0)
            lines.append(f"{date} door[{key}]: refused")
        elif draw < failing / 2:
            lines.append(f"{date} door[{number}]: wrong key by {host}")
        elif draw < failing:
            lines.append(f"{date} door[{number}]: hello from {host}")
            talks.append((moment + chance.uniform(0, 300), number, host))
        elif draw < failing + undated:
            lines.append(f"    and more of it {PADDING}")
        else:
            lines.append(f"{date} {text} {PADDING}")
    return "\n".join(lines).encode() + b"\n"


def rules(**options):
    return JailConf(
        "door",
        is_started=True,
        find_time=FIND_TIME,
        max_retry=1,
        prefregex=r"^\s*door\[<F-MLFID>\d+</F-MLFID>\]: <F-CONTENT>.+</F-CONTENT>$",
        failregex=(
            r"^wrong key by <HOST>$",
            r"^<F-NOFAIL>hello</F-NOFAIL> from <HOST>$",
            r"^refused$",
        ),
        **options,
    )


def found(log, now=NOW, pattern=None, lines_back=0):
    """Where reading `log` begins."""
    dates = DateDetector(pattern)

    def moment(line):
        hit = dates.find(line.decode(), now)
        return hit and hit.moment

    def read(offset, length):
        return log[offset : offset + length]

    return border(read, 0, len(log), moment, now - FIND_TIME, lines_back)


def verdicts(log, begin=0, now=NOW, **options):
    """Whom a jail shuts out, and whose failures it counts, that reads `log` from `begin` on."""
    conf = rules(**options)
    jail, filter = Jail(conf), Filter(conf)
    block = LogBlock("log", log[begin:], Position(1, 2, begin), Position(1, 2, len(log)))
    return [
        one.ban.host if isinstance(one, Enforce) else failure[:3] + failure[7:8]
        for failure in filter.failures(block, now)
        for one in jail.on_failure(failure, now)
        if isinstance(one, (Failed, Enforce))
    ]


def even(count, first, last=NOW):
    return [first + (last - first) * number / count for number in range(count)]


# -- where it pays ---------------------------------------------------------------------------------


@pytest.mark.parametrize("style", [iso, syslog])
def test_of_a_week_no_more_is_read_than_matters(style):
    log = a_log(even(20_000, NOW - 7 * DAY), style)
    begin = found(log)

    assert verdicts(log) == verdicts(log, begin) != []
    share = (FIND_TIME + DISORDER + CONTEXT) / (7 * DAY)
    assert 1 - share - 0.02 < begin / len(log) < 1 - share + 0.002
    assert b"\n" == log[begin - 1 : begin]


def test_little_is_looked_at():
    log, reads = a_log(even(60_000, NOW - 30 * DAY)), []
    dates = DateDetector()

    def read(offset, length):
        reads.append(length)
        return log[offset : offset + length]

    def moment(line):
        return dates.find(line.decode(), NOW).moment

    begin = border(read, 0, len(log), moment, NOW - FIND_TIME)

    assert begin > 0.98 * len(log)
    assert sum(reads) < 3 << 20


def test_it_may_begin_behind_the_head():
    log = a_log(even(20_000, NOW - 7 * DAY))
    start = log.index(b"\n", len(log) // 3) + 1
    dates = DateDetector()

    def moment(line):
        return dates.find(line.decode(), NOW).moment

    begin = border(lambda at, n: log[at : at + n], start, len(log), moment, NOW - FIND_TIME)

    assert begin == pytest.approx(found(log), abs=1 << 17)


def test_where_nothing_is_recent_the_end_is_found():
    log = a_log(even(20_000, NOW - 30 * DAY, NOW - 10 * DAY))

    assert len(log) - (1 << 17) < found(log) < len(log)


# -- where it must not be --------------------------------------------------------------------------


def test_a_small_log_is_read_from_its_head():
    log = a_log(even(1000, NOW - 7 * DAY))
    assert len(log) < WORTH

    assert 0 == found(log)


def test_a_log_without_dates_is_read_from_its_head():
    assert 0 == found(a_log(even(20_000, NOW - 7 * DAY), lambda moment: "someday"))


def test_a_log_of_which_the_dates_cannot_be_read_is_read_from_its_head():
    log = a_log(even(20_000, NOW - 7 * DAY), lambda moment: "2027-02-30 12:00:00")

    assert 0 == found(log)


def test_a_line_without_end_is_nothing_to_be_passed_over():
    assert 0 == found(b"x" * (3 * WORTH))


@pytest.mark.parametrize("days", [3, 40])
def test_a_log_that_tells_but_the_time_of_the_day_is_read_from_its_head(days):
    log = a_log(even(20_000, NOW - days * DAY), time_only)

    assert 0 == found(log)


def test_a_log_that_begins_anew_each_year_is_read_from_its_head():
    log = a_log(even(20_000, NOW - 800 * DAY), syslog)

    assert 0 == found(log)


@pytest.mark.parametrize("minutes", [3, 30, 300])
@pytest.mark.parametrize("ago", [60, 1800, 6 * 3600])
def test_a_clock_that_was_wrong_for_a_while_hides_no_recent_line(minutes, ago):
    moments = even(4000 if minutes == 300 else 12_000, NOW - 2 * DAY)
    wrong = (NOW - ago - 60 * minutes, NOW - ago)
    log = a_log(
        [m - 50 * 365 * DAY + 3600 if wrong[0] <= m < wrong[1] else m for m in moments],
    )

    assert verdicts(log) == verdicts(log, found(log))


def test_two_services_in_two_zones_in_one_log_hide_no_recent_line():
    moments = even(20_000, NOW - 2 * DAY)
    log = a_log([m + 3 * 3600 * (number % 3 == 0) for number, m in enumerate(moments)])

    assert 0 == found(log)


# -- the same verdicts -----------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from([iso, syslog, day_only]),
    st.floats(0.3, 20),
    st.floats(0, DISORDER * 0.99),
    st.sampled_from([0.0, 0.1, 0.6]),
    st.booleans(),
)
def test_the_verdicts_are_those_of_reading_everything(
    seed, style, days, disorder, undated, is_bursty
):
    chance = random.Random(seed)
    count = 6000
    spans = [chance.expovariate(1) ** (4 if is_bursty else 1) for _ in range(count)]
    scale, moments, moment = days * DAY / sum(spans), [], NOW - days * DAY
    for span in spans:
        moment += span * scale
        moments.append(moment - chance.uniform(0, disorder))
    log = a_log(moments, style, seed=seed, undated=undated)
    begin = found(log)

    assert verdicts(log) == verdicts(log, begin)


@pytest.mark.parametrize("hours", [0, 0.5, 1, 2, 3])
@pytest.mark.parametrize(
    "change", [1_792_890_000, 1_774_746_000], ids=["doubled hour", "missing hour"]
)
@pytest.mark.parametrize("style", [iso, syslog])
def test_nights_in_which_the_clocks_are_changed_make_no_difference(hours, change, style):
    with at_home_in("Europe/Berlin"):
        now = change + hours * 3600
        log = a_log(even(8_000, now - 2 * DAY, now), style)
        begin = found(log, now)

        assert verdicts(log, 0, now) == verdicts(log, begin, now)
        assert begin > len(log) / 2


@pytest.mark.parametrize("seconds", [-30, 0, 30, 600, 7200, 5 * 3600])
def test_a_new_year_makes_no_difference_to_dates_without_one(seconds):
    with at_home_in("UTC"):
        now = 1_798_761_600.0 + seconds
        log = a_log(even(8_000, now - 3 * DAY, now), syslog)
        begin = found(log, now)

        assert verdicts(log, 0, now) == verdicts(log, begin, now) != []
        assert begin > len(log) / 2


@pytest.mark.parametrize("count", [1, 2, 50, 3000])
def test_so_many_lines_before_it_are_read_as_a_window_needs(count):
    log = a_log(even(20_000, NOW - 7 * DAY))
    begin, earlier = found(log), found(log, lines_back=count)

    assert count == log.count(b"\n", earlier, begin)
    assert b"\n" == log[earlier - 1 : earlier]


def test_a_window_that_is_too_long_to_be_found_is_read_from_the_head():
    log = a_log(even(20_000, NOW - 7 * DAY))

    assert 0 == found(log, lines_back=10**6)
