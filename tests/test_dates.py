# SPDX-License-Identifier: GPL-2.0-or-later
import json
import os
import re
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.dates import DateDetector

HEADER, *RECORDS = [
    json.loads(line)
    for line in (Path(__file__).parent / "conformance" / "dates.jsonl").read_text("utf-8").splitlines()
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
    return datetime(*fields, tzinfo=timezone.utc).timestamp()


def result_of(detector, line):
    hit = detector.find(line, NOW)
    rest = line if hit is None else line[: hit.start] + line[hit.end :]
    row = re.search(r"^(?P<pre>.*?)ID\d+(?P<post>.*)$", rest)
    if row is None:
        return None
    moment = "now" if detector.takes_now else hit and hit.moment
    return {"time": moment, "before": row["pre"], "after": row["post"]}


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record["id"])
def test_a_line_is_read_as_fail2ban_reads_it(record):
    if record["exit"]:
        with pytest.raises(ValueError):
            DateDetector(record["pattern"], record["timezone"])
        return
    detector = DateDetector(record["pattern"], record["timezone"])
    assert [result_of(detector, line) for line in record["lines"]] == record["results"]
