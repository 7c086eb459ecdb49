# SPDX-License-Identifier: GPL-2.0-or-later
"""Log lines of real services, and those that attackers would like them to write."""

from __future__ import annotations

import calendar
import json
import time
from datetime import datetime
from functools import cache
from itertools import groupby

import pytest

from tests.filters import LOGS, own_samples, same_host, stock, zone
from tests.support import SHARED, need

SAMPLES = SHARED / "conformance" / "samples.jsonl"
ZURICH = "CET-01CEST-02,M3.5.0,M10.5.0"
# The samples' clock stands at 14 August, noon; four-digit years must be near our own.
NOON = "2026-08-14T12:00:00"

STOCK = sorted(path.name for path in LOGS.iterdir() if path.is_file())


@cache
def samples():
    lines = need(SAMPLES).read_text("utf-8").splitlines()
    return [record for record in map(json.loads, lines) if record["type"] == "sample"]


def runs(name):
    """The records of the filter `name`: lists that one instance reads, one after the other."""

    def key(record):
        return (
            sorted(record["options"].items()),
            bool(record.get("journal")),
            record["source"],
        )

    records = [record for record in samples() if record["filter"] == name]
    return [list(run) for _, run in groupby(sorted(records, key=key), key)]


def local(text):
    """The moment of a local time."""
    return time.mktime(datetime.fromisoformat(text).timetuple())


def expected_moment(record, now):
    """When the failure of `record` was, for a clock that stands at `now`; None: not stated."""
    if record.get("time") is None or record["date"] in ("inherited", "journal"):
        return None
    if record["date"] == "full":
        return record["epoch"]
    # some days have one digit
    when = datetime.strptime(record["time"], "%Y-%m-%dT%H:%M:%S")
    assert record["date"] == "no-year"
    for year in (2026, 2025):
        moment = time.mktime(when.replace(year=year).timetuple())
        if moment <= now + 86400:
            # what lies ahead is taken as of now
            return moment if moment <= now + 60 else now
    raise AssertionError("no year fits")


def is_like(fields, lines, wanted):
    """Whether a failure carries what a record's `data` says."""
    for key, value in wanted.items():
        if key == "attempts":
            assert len(lines) == value
        elif key == "users":
            assert set(fields["users"]) == set(value)
        elif key in ("ip4", "ip6"):
            assert same_host(fields[key], value)
        else:
            assert fields.get(key) == value
    return True


@pytest.mark.parametrize("name", STOCK)
def test_every_sample_gets_its_verdict(name):
    wrong = []
    with zone(ZURICH):
        now = local(NOON)
        for run in runs(name):
            options = run[0]["options"]
            # Each group has an instance of its own: a group needs no lines of another.
            grouped = {}
            for record in run:
                grouped.setdefault(record["group"], []).append(record)
            for records in grouped.values():
                filter = stock(name, uses_now=bool(run[0].get("journal")), **options)
                for record in records:
                    problem = what_is_wrong(filter, record, now)
                    if problem:
                        wrong.append(f"{record['id']} {options} {record['line']}\n    {problem}")

    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", STOCK)
def test_one_instance_may_read_all_samples_of_a_filter(name):
    wrong = []
    with zone(ZURICH):
        now = local(NOON)
        for run in runs(name):
            filter = stock(name, uses_now=bool(run[0].get("journal")), **run[0]["options"])
            for record in run:
                problem = what_is_wrong(filter, record, now)
                if problem:
                    wrong.append(
                        f"{record['id']} {run[0]['options']} {record['line']}\n    {problem}"
                    )

    assert not wrong, "\n".join(wrong)


def what_is_wrong(filter, record, now):
    when = now if record.get("journal") else None
    verdict = filter.judge(record["line"], now, when)
    failure = verdict.failure
    if (failure is not None) != record["match"]:
        return f"{'a' if failure else 'no'} failure: {verdict}"
    if failure is None:
        return None
    host = record.get("host")
    if host is not None and not same_host(failure.host, host):
        return f"blames {failure.host} instead of {host}"
    moment = expected_moment(record, now)
    if moment is not None and failure.when != moment:
        return f"at {failure.when} instead of {moment}"
    try:
        is_like(failure.fields, failure.lines, record.get("data") or {})
    except (AssertionError, KeyError) as error:
        return f"{failure} is not like {record['data']}: {error}"
    return None


@pytest.mark.parametrize("name", STOCK)
def test_our_own_samples_mean_what_is_written_above_them(name):
    now = calendar.timegm((2026, 11, 23, 12, 0, 0))
    seen = {"failure": 0, "none": 0, "injection": 0}
    for number, about, line in own_samples(name):
        filter = stock(name, uses_now=about.get("is_journal", False), **about.get("options", {}))
        for before in about.get("after", ()):
            filter.judge(before, now)
        failure = filter.judge(line, now).failure
        seen["injection"] += about.get("is_injection", False)
        seen["failure" if failure else "none"] += 1

        assert (failure and failure.host) == about.get("host"), f"{name}:{number}: {line}"
        assert failure is None or failure.fields.get("user") == about.get("user"), number
    assert all(seen.values()), f"{name} has no sample of some kind: {seen}"
