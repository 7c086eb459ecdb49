# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import math
import sqlite3
from contextlib import closing

import pytest

from server.records import Ban, Failure, Position
from server.tables import (
    VERSION,
    Changes,
    DamagedError,
    ForeignError,
    Tables,
    bans_of_rows,
    set_aside,
)

NOW = 1_800_000_000.0
BAN = Ban("sshd", "192.0.2.7", NOW, 600.0, ("a line",), 3, 2, {"user": "root"})

OLD = """
CREATE TABLE fail2banDb (version INTEGER);
INSERT INTO fail2banDb VALUES (4);
CREATE TABLE jails (name TEXT, enabled INTEGER);
CREATE TABLE logs (jail TEXT, path TEXT, firstlinemd5 TEXT, lastfilepos INTEGER);
INSERT INTO logs VALUES ('sshd', '/var/log/auth.log', '0123', 77);
CREATE TABLE bans (jail TEXT, ip TEXT, timeofban INTEGER, bantime INTEGER, bancount INTEGER, data JSON);
CREATE TABLE bips (ip TEXT, jail TEXT, timeofban INTEGER, bantime INTEGER, bancount INTEGER, data JSON);
"""


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "db")


def bans(tables, moment=NOW):
    return bans_of_rows("sshd", tables.bans("sshd", moment, None))


def old_database(path, rows):
    with closing(sqlite3.connect(path)) as db:
        db.executescript(OLD)
        for table, jail, host, since, seconds, count, data in rows:
            db.execute(
                f"INSERT INTO {table} (jail, ip, timeofban, bantime, bancount, data)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (jail, host, since, seconds, count, data),
            )
        db.commit()


def taken_over(path, *rows):
    old_database(path, rows)
    with closing(Tables(path)) as tables:
        return bans(tables, 0), sorted(tables.history())


def test_changes_are_written_together_or_not_at_all(path):
    with closing(Tables(path)) as tables:
        good, bad = Changes(), Changes()
        good.ban(BAN, 1)
        bad.positions["log"] = Position(1, 2, 2**70)
        with pytest.raises(OverflowError):
            tables.write({"sshd": good, "nginx": bad})

        assert [] == bans(tables)
        tables.write({"sshd": good})
        assert [BAN] == bans(tables)


def test_two_changes_make_one():
    early, late = Changes(), Changes()
    early.failed = {"a": [(1, Failure("a", NOW))], "b": [(2, Failure("b", NOW))]}
    early.lifted = {BAN.host: NOW}
    early.positions = {"log": "1", "other": "1"}
    late.settle("a")
    late.ban(BAN, 2)
    late.positions = {"log": "2"}

    both = early.followed_by(late)

    assert ["b"] == list(both.failed)
    assert {} == both.lifted
    assert {BAN.host: (BAN, 2)} == both.banned
    assert {"log": "2", "other": "1"} == both.positions


def test_forgetting_leaves_nothing_of_what_was_before():
    early = Changes(positions={"log": "1"})

    assert Changes(is_forgotten=True) == early.followed_by(Changes(is_forgotten=True))


def test_bans_of_fail2ban_1_are_taken_over(path):
    bans, history = taken_over(
        path,
        (
            "bips",
            "sshd",
            "192.0.2.7",
            1_800_000_000,
            600,
            2,
            '{"matches": ["a line"], "failures": 3}',
        ),
        (
            "bips",
            "sshd",
            "2001:db8::9",
            1_700_000_000,
            -1,
            1,
            '{"matches": [["a ", "date", " b"]]}',
        ),
        ("bips", "nginx", "192.0.2.7", 1_800_000_001, 600, 1, "{}"),
        ("bans", "sshd", "192.0.2.7", 1_700_000_000, 600, 1, "{}"),
        ("bans", "sshd", "192.0.2.8", 1_700_000_000, 600, 1, None),
    )

    assert bans == [
        Ban("sshd", "192.0.2.8", 1.7e9, 600.0),
        Ban("sshd", "2001:db8::9", 1.7e9, math.inf, ("a date b",)),
        Ban("sshd", "192.0.2.7", 1.8e9, 600.0, ("a line",), 3, 2),
    ]
    assert history == [
        ("nginx", "192.0.2.7", 1, 1.8e9 + 1),
        ("sshd", "192.0.2.7", 2, 1.8e9),
        ("sshd", "192.0.2.8", 1, 1.7e9),
        ("sshd", "2001:db8::9", 1, 1.7e9),
    ]


@pytest.mark.parametrize(
    "row", [("x", 600, 1, "{}"), (1, "x", 1, "{}"), (1, 2, 3, "{"), (1, 2, 3, "[]")]
)
def test_rows_of_fail2ban_1_that_make_no_sense_are_left(path, row):
    good = ("bips", "sshd", "192.0.2.8", 1_700_000_000, 600, 1, "{}")
    bans, _ = taken_over(path, ("bips", "sshd", "192.0.2.7", *row), good)

    assert [Ban("sshd", "192.0.2.8", 1.7e9, 600.0)] == bans


def test_a_database_of_fail2ban_1_is_kept_as_it_was_and_taken_over_once(path, tmp_path):
    old_database(path, [])
    for _ in range(2):
        Tables(path).close()

    (copy,) = tmp_path.glob("db.fail2ban-1-*")
    with closing(sqlite3.connect(copy)) as db:
        assert [("/var/log/auth.log", 77)] == db.execute(
            "SELECT path, lastfilepos FROM logs"
        ).fetchall()
    assert 0o600 == copy.stat().st_mode & 0o777


def test_a_database_of_a_later_release_is_not_used(path):
    Tables(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")

    with pytest.raises(DamagedError, match="later release"):
        Tables(path)


def test_a_database_of_another_program_is_not_used(path):
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE ban (cake)")

    with pytest.raises(ForeignError):
        Tables(path)


def test_bans_that_can_still_be_read_are_salvaged(path):
    change = Changes()
    change.ban(BAN, 7)
    with closing(Tables(path)) as tables:
        tables.write({"sshd": change})
    aside = set_aside(path)

    with closing(Tables(path)) as tables:
        tables.salvage(aside)

        assert [BAN] == bans(tables)
        assert [("sshd", BAN.host, 7, NOW)] == list(tables.history())


def test_what_is_set_aside_never_overwrites_what_was_before(path):
    names = set()
    for _ in range(3):
        Tables(path).close()
        names.add(set_aside(path))

    assert 3 == len(names)
