# SPDX-License-Identifier: GPL-2.0-or-later
import json
import os
import re
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from server import datestyles
from server.ambiguity import work_of
from server.dates import DateDetector
from server.datestyles import Bracket

HEADER, *RECORDS = [
    json.loads(line)
    for line in (Path(__file__).parent / "conformance" / "dates.jsonl")
    .read_text("utf-8")
    .splitlines()
]
ZURICH = HEADER["clock"]["tz_posix"]
# 2025-08-14 12:00:00 in Zurich.
NOW = 1755165600.0


def in_zone(name):
    """Be in time zone `name` from here on."""
    os.environ["TZ"] = name
    time.tzset()


@pytest.fixture(autouse=True, scope="module")
def zurich():
    before = os.environ.get("TZ")
    in_zone(ZURICH)
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.fixture
def there(zurich):
    """Call it with a time zone to be there for one test."""
    yield in_zone
    in_zone(ZURICH)


def utc(*fields):
    return datetime(*fields, tzinfo=UTC).timestamp()


def moment_of(line, now=NOW, pattern=None, zone="UTC"):
    hit = DateDetector(pattern, zone).find(line, now)
    return None if hit is None else hit.moment


def without_date(line, hit):
    return line[: hit.start] + line[hit.end :]


def result_of(detector, line):
    hit = detector.find(line, NOW)
    row = re.search(
        r"^(?P<before>.*?)ID\d+(?P<after>.*)$", line if hit is None else without_date(line, hit)
    )
    if row is None:
        return None
    return {"time": "now" if detector.takes_now else hit and hit.moment, **row.groupdict()}


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record["id"])
def test_a_line_is_read_as_fail2ban_reads_it(record):
    if record["exit"]:
        with pytest.raises(ValueError):
            DateDetector(record["pattern"], record["timezone"])
        return
    detector = DateDetector(record["pattern"], record["timezone"])
    assert [result_of(detector, line) for line in record["lines"]] == record["results"]


OWN_DATES = [
    # line, what it means in UTC, what is left of it
    ("2021-06-30T23:59:59Z host", utc(2021, 6, 30, 23, 59, 59), " host"),
    ("2021-06-30T23:59:59.123456789-05:00 host", utc(2021, 7, 1, 4, 59, 59), " host"),
    ("2021.06.30 1:02:03,4 host", utc(2021, 6, 30, 1, 2, 3), " host"),
    ("2021/06/30 01:02:03: host", utc(2021, 6, 30, 1, 2, 3), ": host"),
    ("2021-06-30 01:02:03 +2500 host", utc(2021, 6, 30, 1, 2, 3), " +2500 host"),
    ("Jun 30 01:02:03 host", utc(2025, 6, 30, 1, 2, 3), " host"),
    ("Jun  3 01:02:03 2001:db8::1 said", utc(2025, 6, 3, 1, 2, 3), " 2001:db8::1 said"),
    ("Thu Jun  3 01:02:03 2021: said", utc(2021, 6, 3, 1, 2, 3), ": said"),
    ("[EDT Jun 30 01:02:03] host", utc(2025, 6, 30, 5, 2, 3), "[] host"),
    ('192.0.2.1 - - [30/Jun/2021:01:02:03 -0130] "GET /"', utc(2021, 6, 30, 2, 32, 3), '192.0.2.1 - - [] "GET /"'),
    ("30-jun-2021 01:02:03.5 client", utc(2021, 6, 30, 1, 2, 3), " client"),
    ("<06/30/21@01:02:03> x", utc(2021, 6, 30, 1, 2, 3), " x"),
    ("Jun 30, 2021 12:02:03 AM x", utc(2021, 6, 30, 0, 2, 3), " x"),
    ("[1625014923.250] x", 1625014923.25, "[] x"),
    ("type=A msg=audit(1625014923.250:77): x", 1625014923.25, "type=A msg=audit(:77): x"),
    ("@4000000060dbc2cb12345678 x", 0x60DBC2CB, " x"),
    ("01:02:03 x", utc(2025, 8, 14, 1, 2, 3), " x"),
    ("2021-02-29 01:02:03 x", None, " x"),
    ("Feb 30 01:02:03 x", None, " x"),
    ("30/Feb/2021:01:02:03 +0000 x", None, " x"),
]  # fmt: skip


@pytest.mark.parametrize("line, moment, rest", OWN_DATES)
def test_a_date_is_found_read_and_cut_out(line, moment, rest):
    hit = DateDetector(zone="UTC").find(line, NOW)
    assert (hit.moment, without_date(line, hit)) == (moment, rest)


@pytest.mark.parametrize(
    "line",
    ["", "no date", "192.0.2.1 10:20", "01:02:03:aa:bb:cc x", "x@4000000060dbc2cb12345678",
     "12345678901234 x", "2021-06-30", "x 1625014923", "ſep  5 06:07:08", "Jan ٣ 06:07:08"],
)  # fmt: skip
def test_what_only_resembles_a_date_is_none(line):
    assert DateDetector().find(line, NOW) is None


PATTERNS = [
    # pattern, line, what it means in UTC
    ("%d/%m/%y %H.%M", "30/06/21 01.02 x", utc(2021, 6, 30, 1, 2)),
    ("%Y %j %H:%M", "2021 060 01:02 x", utc(2021, 3, 1, 1, 2)),
    ("%Y %j", "2021 366 x", None),
    ("%Y %W %u", "2021 01 7 x", utc(2021, 1, 10)),
    ("%Y %U %A", "2021 01 Sunday x", utc(2021, 1, 3)),
    ("(?:%Y-%m-%d|%d/%m/%Y) %H:%M:%S", "30/06/2021 01:02:03 x", utc(2021, 6, 30, 1, 2, 3)),
    ("%I %p", "12 pm", utc(2025, 8, 13, 12)),
    ("%d %H:%M:%S", "31 01:02:03", utc(2025, 7, 31, 1, 2, 3)),
    ("%Y-%m", "2021-02", utc(2021, 2, 1)),
    ("%d%% %Y-%m-%d", "5% 2021-06-30", utc(2021, 6, 5)),
    ("{UNB}%Y%m%dT", "x20210630Tx", utc(2021, 6, 30)),
    ("{EPOCH}Z", "x 1625014923Z", 1625014923),
    ("{^LN-BEG}{DATE};", "[30/Jun/2021:01:02:03 +0000; x", utc(2021, 6, 30, 1, 2, 3)),
    ("%Y literally\n{DEFAULT}", "Jun 30 01:02:03 x", utc(2025, 6, 30, 1, 2, 3)),
    ("%H:%M %Exz", "01:02 UTC+0100", utc(2025, 8, 14, 0, 2)),
    ("%H:%M %ExZ", "01:02 Y", utc(2025, 8, 13, 13, 2)),
    (r"^\[%Y-%m-%d\]", "[2021-06-30]", utc(2021, 6, 30)),
]


@pytest.mark.parametrize("pattern, line, moment", PATTERNS)
def test_a_pattern_says_how_dates_are_written(pattern, line, moment):
    hit = DateDetector(pattern, "UTC").find(line, NOW)
    assert hit is not None
    assert hit.moment == moment


@pytest.mark.parametrize(
    "pattern", ["%Q", "%", "%Ex", "(%Y", "%Y[", "**", "%Y\n%Y", "{NONE}\n%Y", "*%Y"]
)
def test_a_pattern_that_cannot_be_is_refused_with_words(pattern):
    with pytest.raises(ValueError, match="date pattern"):
        DateDetector(pattern)


@pytest.mark.parametrize(
    "zone", ["Mars", "UTC+25", "+0560", "Europe", "../etc/passwd", "/etc/passwd", "A", "z"]
)
def test_a_zone_that_does_not_exist_is_refused_with_its_name(zone):
    with pytest.raises(ValueError, match=re.escape(repr(zone))):
        DateDetector(zone=zone)


@pytest.mark.parametrize(
    "zone, ahead",
    [("Z", 0), ("UTC", 0), ("UTC+0200", 2), ("GMT-01:30", -1.5), ("+05", 5), ("PST", -8), ("CEST", 2),
     ("Asia/Tokyo", 9), ("Europe/Zurich", 2), ("America/New_York", -4)],
)  # fmt: skip
def test_logtimezone_tells_where_a_date_without_zone_is_at_home(zone, ahead):
    assert moment_of("2021-06-30 12:00:00 x", zone=zone) == utc(2021, 6, 30, 12) - ahead * 3600
    assert moment_of("2021-06-30 12:00:00Z x", zone=zone) == utc(2021, 6, 30, 12)


@pytest.mark.parametrize(
    "pattern, name",
    [
        (None, (None, "Default Detectors")),
        ("{DEFAULT}", (None, "Default Detectors")),
        ("{^LN-BEG}", (None, "Default Detectors")),
        ("{NONE}", (None, None)),
        ("EPOCH", (None, "Epoch")),
        ("^TAI64N", (None, "TAI64N")),
        ("%Y-%m-%d", ("%Y-%m-%d", "Year-Month-Day")),
        ("%b %d %H:%M:%S\n%Y", ("%b %d %H:%M:%S", "MON Day 24hour:Minute:Second")),
        ("%Y\n%m\n%d", (None, "Default Detectors")),
    ],
)
def test_a_pattern_has_a_name_for_readers(pattern, name):
    assert DateDetector(pattern).name == name


def test_only_the_pattern_none_takes_now_for_every_date():
    assert DateDetector("{NONE}").takes_now
    assert DateDetector("{NONE}").find("2021-06-30 12:00:00", NOW) is None
    assert not DateDetector().takes_now


@pytest.mark.parametrize(
    "line, now, moment",
    [
        ("Dec 31 23:59:59 x", utc(2026, 1, 1, 0, 0, 5), utc(2025, 12, 31, 23, 59, 59)),
        ("Jan  1 00:00:01 x", utc(2026, 1, 1, 0, 0, 5), utc(2026, 1, 1, 0, 0, 1)),
        ("Jan  1 00:00:01 x", utc(2025, 12, 31, 23, 59, 58), utc(2026, 1, 1, 0, 0, 1)),
        ("Jan  1 00:00:01 x", utc(2025, 12, 31, 12), utc(2025, 1, 1, 0, 0, 1)),
        ("Feb 29 12:00:00 x", utc(2024, 3, 1), utc(2024, 2, 29, 12)),
        ("Feb 29 12:00:00 x", utc(2025, 3, 1), None),
        ("Feb 29 12:00:00 x", utc(2024, 2, 1), None),
        ("Mar  1 12:00:00 x", utc(2024, 2, 29, 11), utc(2023, 3, 1, 12)),
        ("Mar  1 12:00:00 x", utc(2024, 2, 29, 13), utc(2024, 3, 1, 12)),
        ("23:59:59 x", utc(2024, 3, 1, 0, 0, 1), utc(2024, 2, 29, 23, 59, 59)),
        ("23:59:59 x", utc(2026, 1, 1, 0, 0, 1), utc(2025, 12, 31, 23, 59, 59)),
        ("2029-12-31 00:00:00 x", utc(2026, 12, 31), utc(2029, 12, 31)),
        ("2030-01-01 00:00:00 x", utc(2027, 1, 1), utc(2030, 1, 1)),
        ("2000-01-01 00:00:00 x", utc(2027, 1, 1), utc(2000, 1, 1)),
    ],
)
def test_what_a_date_leaves_out_is_taken_from_the_clock(line, now, moment):
    assert moment_of(line, now) == moment


def test_a_year_of_the_next_decade_is_none_until_it_comes_near():
    detector = DateDetector(zone="UTC")
    line = "2030-01-01 00:00:00 x"
    assert detector.find(line, utc(2026, 12, 31)) is None
    assert detector.find(line, utc(2027, 1, 2)).moment == utc(2030, 1, 1)
    assert detector.find(line, utc(2026, 12, 31)) is None


def test_the_year_at_home_counts_and_not_the_one_here():
    now = utc(2025, 12, 31, 20)
    assert moment_of("Jan  1 04:59:00 x", now, zone="Asia/Tokyo") == utc(2025, 12, 31, 19, 59)


def test_the_same_text_means_another_moment_when_the_clock_goes_on():
    detector = DateDetector(zone="UTC")
    for day in (14, 15, 16):
        hit = detector.find("01:02:03 x", utc(2025, 8, day, 12))
        assert hit.moment == utc(2025, 8, day, 1, 2, 3)
    detector = DateDetector(zone="UTC")
    for year in (2024, 2025, 2026, 2025):
        for minute in (1, 1, 2):
            hit = detector.find(f"Aug 14 01:{minute:02}:03 x", utc(year, 8, 20))
            assert hit.moment == utc(year, 8, 14, 1, minute, 3)


# With the hours at which clocks are really changed in Zurich.
SWISS = "CET-1CEST,M3.5.0,M10.5.0/3"
TWICE = "2024-10-27 02:30:00 x"
ONCE, AGAIN = utc(2024, 10, 27, 0, 30), utc(2024, 10, 27, 1, 30)


@pytest.mark.parametrize("zone", [None, "Europe/Zurich"])
def test_a_time_that_comes_twice_is_the_later_one_unless_that_is_still_to_come(zone, there):
    there(SWISS)
    detector = DateDetector(zone=zone)
    assert detector.find(TWICE, ONCE + 1).moment == ONCE
    assert detector.find(TWICE, AGAIN - 1800).moment == ONCE
    assert detector.find(TWICE, AGAIN + 1).moment == AGAIN
    assert detector.find(TWICE, NOW).moment == AGAIN
    assert detector.find("Oct 27 02:30:00 x", ONCE + 1).moment == ONCE
    assert detector.find("Oct 27 02:30:00 x", AGAIN + 1).moment == AGAIN


@pytest.mark.parametrize("zone", [None, "Europe/Zurich"])
def test_days_on_which_clocks_change_are_read_right_on_both_sides(zone, there):
    there(SWISS)
    detector = DateDetector(zone=zone)
    for text, moment in [
        ("2024-03-31 01:59:59", utc(2024, 3, 31, 0, 59, 59)),
        ("2024-03-31 02:30:00", utc(2024, 3, 31, 1, 30)),
        ("2024-03-31 03:00:00", utc(2024, 3, 31, 1)),
        ("2024-10-27 01:59:59", utc(2024, 10, 26, 23, 59, 59)),
        ("2024-10-27 03:00:00", utc(2024, 10, 27, 2)),
        ("2024-10-28 00:00:00", utc(2024, 10, 27, 23)),
    ]:
        assert detector.find(text, NOW).moment == moment


def test_the_process_may_live_anywhere(there):
    for name, ahead in [("UTC0", 0), ("XXX-05:45", 5.75), ("YYY+3", -3)]:
        there(name)
        assert moment_of("2021-06-30 12:00:00", zone=None) == utc(2021, 6, 30, 12) - ahead * 3600


def test_a_date_at_the_accustomed_place_beats_an_earlier_style_elsewhere():
    detector = DateDetector(zone="UTC")
    for second in range(3):
        line = f"web1 Mar  5 06:07:{second:02} x 2023-01-02 03:04:05"
        if second == 0:
            line = line.partition(" x")[0]
        assert detector.find(line, NOW).moment == utc(2025, 3, 5, 6, 7, second)


def test_a_second_date_never_wins_over_the_one_at_the_start():
    detector = DateDetector(zone="UTC")
    detector.find("at 2023-01-02 03:04:05 x", NOW)
    assert detector.find("Mar  5 06:07:08 2023-01-02 03:04:05", NOW).start == 0
    assert detector.find("x, 2023-01-02 03:04:05", NOW).start == 3
    assert detector.find("[Mar  5 06:07:08] 2023-01-02 03:04:05", NOW).start == 1
    assert detector.find("@4000000060dbc2cb12345678 2023-01-02 03:04:05", NOW).start == 0


def test_day_and_month_are_told_apart_once_one_of_them_can_only_be_a_day():
    detector = DateDetector(zone="UTC")
    assert detector.find("03-05-2024 00:00:00 x", NOW).moment == utc(2024, 5, 3)
    assert detector.find("03-25-2024 00:00:00 x", NOW).moment == utc(2024, 3, 25)
    assert detector.find("03-05-2024 00:00:00 x", NOW).moment == utc(2024, 3, 5)


def test_a_date_far_into_a_long_line_is_found():
    line = "x" * 50_000 + " 2021-06-30 01:02:03 x"
    assert moment_of(line) == utc(2021, 6, 30, 1, 2, 3)
    assert moment_of("x" * 50_000 + "2021-06-30 01:02:03 x") is None


STYLES = [
    "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y/%m/%d %H:%M:%S.123", "%Y.%m.%d %H:%M:%S,123456",
    "%Y-%m-%dT%H:%M:%S.5+00:00", "%b %d %Y %H:%M:%S", "%a %b %d %H:%M:%S %Y", "%a %b %e %H:%M:%S.123456 %Y",
    "UTC %b %e %H:%M:%S %Y", "%d/%b/%Y:%H:%M:%S +0000", "%d-%b-%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S",
    "%d-%m-%y %H:%M:%S", "%m/%d/%Y:%H:%M:%S", "%Y%m%d-%H:%M:%S", "%Y%m%dT%H:%M:%SZ", "%y%m%d %H:%M:%S",
    "%y%m%d %k:%M:%S", "%b %d, %Y %I:%M:%S %p", "%b-%d-%y %H:%M:%S", "%s", "%s.000", "<%m/%d/%y@%H:%M:%S>",
]  # fmt: skip
SINCE_2002 = st.integers(int(utc(2002, 1, 1)), int(utc(2029, 12, 31, 23, 59, 59)))


@pytest.mark.parametrize("style", STYLES)
@settings(deadline=None)
@given(moment=SINCE_2002, lead=st.sampled_from(["", "[", " -", "<13>", "host "]))
def test_every_default_style_tells_the_moment_it_was_written_for(style, moment, lead):
    text = time.strftime(style.replace("%s", str(moment)), time.gmtime(moment))
    if (style.startswith(("%s", "<"))) and len(lead) > 2:
        lead = ""
    line = f"{lead}{text} something 10.0.0.1"
    hit = DateDetector(zone="UTC").find(line, NOW)
    assert hit.moment == moment
    assert without_date(line, hit) == f"{lead} something 10.0.0.1"


@settings(deadline=None)
@given(moments=st.lists(SINCE_2002, min_size=1, max_size=20), style=st.sampled_from(STYLES[:18]))
def test_what_is_remembered_changes_no_moment(moments, style):
    detector = DateDetector(zone="UTC")
    for moment in moments:
        line = time.strftime(style, time.gmtime(moment)) + " x"
        assert detector.find(line, NOW).moment == moment
        assert detector.find(line, NOW).moment == moment


@settings(deadline=None)
@given(ago=st.integers(-86000, 360 * 86400), now=SINCE_2002)
def test_a_date_without_year_is_the_last_of_its_kind(ago, now):
    written = time.gmtime(now - ago)
    hit = DateDetector(zone="UTC").find(time.strftime("%b %d %H:%M:%S x", written), now)
    this_year = time.gmtime(now).tm_year
    if written.tm_year > this_year and ago < -3600:
        assert hit.moment is None or hit.moment < now - 360 * 86400
    elif (written.tm_mon, written.tm_mday) == (2, 29) and written.tm_year < this_year:
        assert hit.moment is None
    else:
        assert hit.moment == now - ago


@settings(deadline=None)
@given(start=SINCE_2002, steps=st.lists(st.integers(0, 40 * 86400), min_size=1, max_size=15))
def test_a_log_without_years_may_be_followed_for_years(start, steps):
    detector = DateDetector(zone="UTC")
    now = start
    for step in steps:
        now += step
        for line in ("%b %d %H:%M:%S x", "%H:%M:%S x"):
            hit = detector.find(time.strftime(line, time.gmtime(now)), now)
            assert hit.moment == now


PIECES = st.sampled_from(
    ["2024-03-05", "2024-02-30", "T", " ", "06:07:08", "23:59:60", ".5", "Z", "+0100", "-2359", "Mar", "Feb",
     " 29", "[", "]", "05/Mar/2024:", "30/Feb/2024:", "@4", "0" * 20, "f" * 24, "1709618828", "audit(", "99",
     "Mon ", "PDT ", "AM", "<", ">", "12/31/", "240230", "99999999999", "\n", "\x00", "İ", "ß", "٣", "00"]
)  # fmt: skip
LINES = st.one_of(st.text(), st.lists(PIECES, max_size=12).map("".join))


@pytest.mark.parametrize(
    "pattern",
    [None, "{^LN-BEG}", "at {DATE}", "EPOCH", "LEPOCH", "%d %H:%M", "%j", "(?i)%B %d %Exz", "%Y %U %w",
     "%Y-%m-%d( %H:%M)?(:%S)?", "**%Y%m%d**", "%y%j %p%I", "%Y (?:%H:%M:%S|%d %b %H:%M)"],
)  # fmt: skip
@settings(deadline=None)
@given(lines=st.lists(LINES, max_size=4), now=st.floats(0, 4e9))
def test_no_line_is_an_error(pattern, lines, now):
    detector = DateDetector(pattern)
    for line in lines:
        hit = detector.find(line, now)
        if hit is not None:
            assert 0 <= hit.start <= hit.end <= len(line)


@pytest.mark.parametrize(
    "pattern", [*sorted(datestyles.KNOWN), "at {DATE}", "%Y-%m-%d %H:%M:%S", "%b %d %k:%M"]
)
@pytest.mark.parametrize("is_tied", [True, False])
def test_the_work_for_a_hostile_line_grows_no_faster_than_the_line(pattern, is_tied):
    for style in datestyles.styles_of(pattern):
        assert 1 == work_of(datestyles.compiled(style, 2020).regex, is_tied).degree


@settings(max_examples=300, deadline=None)
def known_of(detector, line, now):
    reach, heads, again = detector.known(now)
    return heads.get(line[:reach]) if reach else again(line)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", "[", "<6>", "x "]),
            st.sampled_from(["Nov 23 11:59:00", "Nov 23 11:58:07", "2026-11-23 11:59:00", "2026-11-23 11:59:01", "23/Nov/2026:11:59:00", "none"]),
            st.sampled_from(["", ".123", " 2026", " 2025:a", " +0100", " 2024-x", " web d[1]: x y z", "] x", "Z"]),
            st.sampled_from(["", " and so on and so forth", ":0:0 is an address", "-1"]),
        ).map("".join),
        max_size=12,
    )
)  # fmt: skip
def test_what_is_remembered_of_earlier_lines_changes_no_date(lines):
    learned = DateDetector()
    for line in lines:
        fresh = DateDetector().find(line, NOW)

        assert known_of(learned, line, NOW) in (None, fresh)
        assert learned.find(line, NOW) == fresh


# The second one can only be read with the month in front, and so the first is, from then on.
AMBIGUOUS = ["11-12-2026 10:00:00", "11-23-2026 10:00:00", "11-12-2026 10:00:00"]


def test_a_date_without_a_year_is_known_no_longer_than_it_means_the_same():
    detector = DateDetector()
    earlier = NOW - 3 * 365 * 86400  # years of one decade, which is begun anew
    later = earlier + 300 * 86400
    january, february = (f"{day} 11:58:07 web d[1]: and so on" for day in ("Jan 12", "Feb 22"))

    first = detector.find(january, earlier)
    detector.find(february, later)

    assert detector.find(january, later).moment == first.moment + 365 * 86400


@settings(max_examples=500, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.tuples(
                st.sampled_from(["", "", "", "x", '"', "\\", "\\\"", "[26/Nov/24 10:00:01]", "y] "]),
                st.sampled_from(["", "", "[", "x [", "<6>", "- ", " [["]),
                st.sampled_from(
                    ["Nov 23 11:59:00", "Nov 23 11:58:07", "Jan  2 11:58:07", "2026-11-23 11:59:00",
                     "2026-11-23 11:59:01.5", "11/12/2026 10:00:00", "12/11/2026 10:00:00",
                     "23/11/2026 10:00:00", "11:59:00", "26/Nov/24 10:00:00", "26/Nov/24 10:00:01"]
                ),
                st.sampled_from(["", "]", "] in 2019", "] in 2020", ".5", " 2024", " web d[1]: x y z", " ]",
                                 '] "', ' "]', "] [26/Nov/24 10:00:00]", "]x"]),
                st.just(" and so on and so forth"),
            ).map("".join),
            st.sampled_from([NOW, NOW + 1, NOW + 40 * 86400, NOW + 300 * 86400, NOW - 86400]),
        ),
        max_size=12,
    ),
    st.sampled_from(
        [None, r"^[^\[]*\[({DATE})", "{^LN-BEG}", r"\[(%d/%b/%y %H:%M:%S)\](?: in %Y)?",
         r'^(?:[^"\\]*\\.)*[^"\\]*\[(%d/%b/%y %H:%M:%S)\s?\]', r"^[^\[]*\[(%d/%b/%y %H:%M:%S)\]",
         r"^[^\[]*\[(%d/%b/%y %H:%M:%S)\s?\]", r'^(?:[^"\\]*\\.)*[^"\\]*\[(%d/%b/%y %H:%M:%S)',
         r"^[^\[]*\[(%d/%b/%y %H:%M:%S(?:\] in)?)",
         "%d/%m/%Y %H:%M:%S\n%m/%d/%Y %H:%M:%S", "%b %d %H:%M:%S", "%H:%M:%S"]
    ),
)  # fmt: skip
@example([(f"{text} and so on and so forth", NOW) for text in AMBIGUOUS], None)
@example(
    [(f"[26/Nov/24 10:00:00]{end}", NOW) for end in ("", " in 2019")],
    r"^[^\[]*\[(%d/%b/%y %H:%M:%S(?:\] in)?)",
)
def test_with_what_is_known_of_earlier_lines_a_date_is_found_sooner_and_not_otherwise(
    lines, pattern
):
    quick, slow = DateDetector(pattern), DateDetector(pattern)
    for line, now in lines:
        known = known_of(quick, line, now)
        slow._heads.clear()
        slow._again = lambda line: None
        found = slow.find(line, now)

        assert known in (None, found)
        assert quick.find(line, now) == found


@pytest.mark.parametrize(
    ("pattern", "bracket"),
    [
        (r'^(?:[^"\\]*\\.)*[^"\\]*\[(%d/%b/%Y:%H:%M:%S(?: %z)?)\s?\]', Bracket.LAST_UNQUOTED),
        (r"^[^\[]*\[(%d/%b/%Y:%H:%M:%S)\]", Bracket.FIRST),
        (r"^[^\[]*\[(%d/%b/%Y:%H:%M:%S)", Bracket.FIRST),
        (r"^[^\[]*\[%d/%b/%Y:%H:%M:%S", None),  # cuts the bracket, too
        (r"[^\[]*\[(%d/%b/%Y:%H:%M:%S)\]", None),
        (r"^[^\[]*\[(%d/%b/%Y:%H:%M:%S)\](?: in %Y)?", None),
        (r"^[^\[]*\[(%d/%b/%Y:%H:%M:%S.?)", None),
        (r"^[^\[]*\[(%d/%b/%Y:%H:%M:%S(?:\]x)?)", None),
        (r"^[^\[]*\[(%d/%b/%Y:%H:%M:%S[^ ]?)", None),
        (r"^[^\[]*\[(%d/%b/%Y:%H:%M:%S(?=\]$|\] ))", None),
        (r"(?i)^[^\[]*\[(%d/%b/%Y:%H:%M:%S)", Bracket.FIRST),
    ],
)
def test_a_date_in_brackets_is_known_to_be_one_where_that_is_sure(pattern, bracket):
    (style,) = datestyles.styles_of(pattern)

    assert datestyles.compiled(style, datestyles.PRESENT_DECADE).bracket is bracket


_UNQUOTED = r'^(?:[^"\\]*\\.)*[^"\\]*\[(%d/%b/%Y:%H:%M:%S)\s?\]'
_FIRST = r"^[^\[]*\[(%d/%b/%Y:%H:%M:%S(?:\.%f)?)"


@pytest.mark.parametrize(
    ("pattern", "line", "text"),
    [
        (_UNQUOTED, 'h - x[T] - [T] "GET', "T"),
        (_UNQUOTED, 'h - x[T] - [U] "GET', "U"),
        (_UNQUOTED, 'h - x[U] - [T] "GET [U]"', "T"),
        (_UNQUOTED, 'h - x[U] - [T ] "GET [T]"', "T"),
        (_UNQUOTED, r'h - [T] \"x [U] "GET', "U"),
        (_UNQUOTED, r"h - [T] \x", "T"),
        (_UNQUOTED, "h - [U] [T]", "T"),
        (_UNQUOTED, 'h - "[T]', None),
        (_UNQUOTED, "h - T]", None),
        (_UNQUOTED, '[T] "GET', "T"),
        (_UNQUOTED, 'h - T] "GET', None),
        (_UNQUOTED, r'h - \[T] "GET', None),
        (_UNQUOTED, r'h - [T] "GET \[U]"', "T"),
        (_FIRST, "h [U] [T] x", "U"),
        (_FIRST, "h [x] [T] x", None),
        (_FIRST, "h [T] [U] x", "T"),
        (_FIRST, "h [T.25] x", "T.25"),
        (_FIRST, "h [T x", "T"),
        (_FIRST, "T]", None),
    ],
)
def test_a_known_date_in_brackets_is_found_where_it_is_the_one_that_counts(pattern, line, text):
    known, other = "26/Nov/2024:10:00:00", "26/Nov/2024:10:00:01"
    detector, fresh = DateDetector(pattern), DateDetector(pattern)
    line, text = (each and each.replace("T", known).replace("U", other) for each in (line, text))
    for _ in range(2):
        detector.find(f'h - [{known}] "GET / HTTP/1.1"', NOW)

    hit = detector.find(line, NOW)

    assert hit == fresh.find(line, NOW)
    assert text == (line[hit.start : hit.end] if hit else None)


def test_of_an_access_log_the_date_that_was_last_is_known_without_a_search():
    detector = DateDetector(_UNQUOTED)
    line = 'h - u [26/Nov/2024:10:00:00] "GET /\\x HTTP/1.1" 404'
    _, _, again = detector.known(NOW)
    assert again(line) is None

    hit = detector.find(line, NOW)
    _, _, again = detector.known(NOW)
    assert hit == again(line) is not None
    assert again(f"longer {line}").start == hit.start + 7


def test_a_line_that_begins_with_a_line_feed_has_no_date_of_another_line():
    detector = DateDetector("**%Y%m%d**")
    detector.find("20191126", NOW)

    assert detector.find("\n", NOW) is None


def test_lines_of_several_programs_in_one_second_have_its_date():
    detector = DateDetector()
    lines = [f"Nov 23 11:5{n // 200}:00 web {'abcd'[n % 4]}[{n % 99}]: hello" for n in range(600)]
    found = [detector.find(line, NOW) for line in lines]

    assert found == [DateDetector().find(line, NOW) for line in lines]
    assert [f"Nov 23 11:5{n}:00" for n in range(3) for _ in range(200)] == [
        line[hit.start : hit.end] for line, hit in zip(lines, found, strict=True)
    ]
    assert [0.0, 60.0, 120.0] == [hit.moment - found[0].moment for hit in found[::200]]
    assert len(detector._heads) <= 64


@pytest.mark.parametrize("leads", [("", "y "), ("", "")])
def test_what_stands_outside_of_what_is_cut_out_may_change_the_moment(leads):
    detector = DateDetector(r"\[(%d/%b %H:%M:%S)\](?: in %Y)?")

    first, second = (
        detector.find(f"{lead}[26/Nov 10:00:00] in {year} x", NOW)
        for lead, year in zip(leads, (2019, 2020), strict=True)
    )

    assert 366 * 86400 == second.moment - first.moment


def test_a_date_that_stands_elsewhere_than_the_last_one_is_found_there():
    detector = DateDetector(r"^[^\[]*\[(%d/%b/%Y:%H:%M:%S)\]")

    hits = [detector.find(f"{name} [26/Nov/2019:10:00:00] x", NOW) for name in ("a", "long", "a")]

    assert [3, 6, 3] == [hit.start for hit in hits]
    assert 1 == len({hit.moment for hit in hits})


def test_of_two_dates_that_counts_which_stands_where_the_last_one_did():
    detector = DateDetector("%Y-%m-%d")
    for lead in ("x" * 6, "x" * 20):
        detector.find(f"{lead} 2019-11-26 y", NOW)

    hit = detector.find("xxxxxx 2018-01-01 xx 2017-01-01 y", NOW)

    assert 21 == hit.start


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("^%Y-%m-%dT%H:%M:%S", True),
        ("^%Y-%m-%d\n^%d/%m/%Y", True),
        (r"\A(?!x)%Y-%m-%d", True),
        ("^(%Y-%m-%d) x", True),
        ("(?:^%Y|^%d)-%m", True),
        ("(?:^|x)%Y-%m-%d", False),
        (r"^\[(%Y-%m-%d)\]", False),
        ("^ ?%Y-%m-%d", True),
        ("^ ?(%Y-%m-%d)", False),
        ("%Y-%m-%d^", False),
        ("{^LN-BEG}%Y-%m-%d", False),
        ("^%Y-%m-%d\n%d/%m/%Y", False),
        ("", False),
    ],
)
def test_a_date_that_its_line_begins_with_cuts_no_word(pattern, expected):
    detector = DateDetector(pattern)

    assert expected == detector.stand_at_begin


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (r"^[^\[]*\[({DATE})", True),
        ("^[^\\[]*\\[({DATE})\n{^LN-BEG}", True),
        ("{DATE}", True),
        ("time=({DATE})", True),
        ("time({DATE})", False),
        ("at(%Y) ", False),
        ("(%Y)at", False),
        (r"(%Y) ?at", False),
        (r"(%Y)\s+at", True),
        (r"(%Y)(?!\w)", True),
        (r"(%Y\b)-?", True),
        (r"(%Y-?)", False),
        (r"(%Y-)(?<!\w)at", False),
        (r"at(?!\w)(-%Y) ", False),
        (r"(%Y(?:-%m)?)", True),
        (r"\[%Y\]", False),  # x[2020]y
        (r"{UNB}%Y", False),
        (r"%Y**", False),
    ],
)
def test_whether_a_date_may_stand_amid_a_word(pattern, expected):
    detector = DateDetector(pattern)

    assert expected == detector.stand_between_words
