# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import math
import sqlite3
from contextlib import closing

import pytest

from server.changes import Changes
from server.portion import Portion
from server.records import Ban, Failure, Position
from server.rows import bans_of_rows
from server.tables import VERSION, DamagedError, ForeignError, Tables, set_aside

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
    early.portions = [(1, Portion.of([Failure("a", NOW), Failure("b", NOW)]))]
    early.lifted = {BAN.host: NOW}
    early.positions = {"log": "1", "other": "1"}
    late.settle("a")
    late.portions = [(2, Portion.of([Failure("a", NOW + 1)]))]
    late.ban(BAN, 2)
    late.positions = {"log": "2"}

    both = early.followed_by(late)

    assert [1, 2] == [number for number, _ in both.portions]
    assert {"a": 1} == both.settled
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


# -- failures --------------------------------------------------------------------------------------

EARLIER = """
CREATE TABLE ban (
    jail TEXT, host TEXT, since REAL NOT NULL, seconds REAL NOT NULL, ended REAL,
    failures INTEGER NOT NULL, count INTEGER NOT NULL, total INTEGER NOT NULL, data TEXT NOT NULL,
    PRIMARY KEY (jail, host)
) WITHOUT ROWID;
CREATE INDEX ban_host ON ban (host);
CREATE TABLE failure (
    id INTEGER PRIMARY KEY, jail TEXT, host TEXT, moment REAL NOT NULL, attempts INTEGER NOT NULL,
    data TEXT NOT NULL
);
CREATE INDEX failure_host ON failure (jail, host);
CREATE TABLE position (
    jail TEXT, path TEXT, device TEXT, inode TEXT, offset INTEGER, fingerprint BLOB, cursor TEXT,
    PRIMARY KEY (jail, path)
) WITHOUT ROWID;
PRAGMA user_version = 1;
INSERT INTO ban VALUES ('sshd', '192.0.2.7', 1800000000, 600, NULL, 3, 2, 2,
    '{"matches":["a line"],"fields":{"user":"root"}}');
INSERT INTO position VALUES ('sshd', 'log', '1', '2', 77, X'00', NULL);
"""
FULL_ROW = (
    '{"lines":["a line"],"fields":{"user":"root","users":["root","x"]},"is_name":true,'
    '"path":"/log","offset":9,"rule":1}'
)


def a_change(*failures, settled=()):
    change = Changes()
    for host in settled:
        change.settle(host)
    if failures:
        change.portions.append((0, Portion.of(failures)))
    return change


def portions(tables):
    with closing(sqlite3.connect(tables.path)) as db:
        return db.execute("SELECT id, many FROM portion ORDER BY id").fetchall()


def settled(tables):
    with closing(sqlite3.connect(tables.path)) as db:
        return [host for (host,) in db.execute("SELECT host FROM settled")]


def test_a_database_of_an_earlier_release_of_ours_is_taken_over_as_a_whole(path):
    with closing(sqlite3.connect(path)) as db:
        db.executescript(EARLIER)
        insert = "INSERT INTO failure (jail, host, moment, attempts, data) VALUES (?, ?, ?, ?, ?)"
        db.execute(insert, ("sshd", b"\xed\xa0\x80", NOW, 2, FULL_ROW))
        for data in (
            "{",
            "[]",
            "{}",
            '{"lines":3}',
            '{"lines":[],"cake":1}',
            '{"lines":[],"offset":"x"}',
            '{"lines":[],"fields":[]}',
        ):
            db.execute(insert, ("sshd", "spoilt", NOW, 1, data))
        for n in range(2500):
            db.execute(insert, ("nginx", f"host{n % 7}", NOW - n, 1, '{"lines":["x"]}'))
        db.commit()

    for _ in range(2):
        with closing(Tables(path)) as tables:
            assert [BAN] == bans(tables, NOW)
            assert {"log": Position(1, 2, 77, b"\0")} == tables.positions("sshd")
            fields = {"user": "root", "users": ("root", "x")}
            assert tables.failures("sshd", 0) == [
                Failure("\ud800", NOW, ("a line",), True, 2, fields, "/log", 9, 1)
            ]
            assert tables.failures("nginx", 0) == [
                Failure(f"host{n % 7}", NOW - n, ("x",)) for n in range(2500)
            ]


def test_what_of_an_earlier_database_cannot_be_taken_over_leaves_it_as_it_was(path):
    with closing(sqlite3.connect(path)) as db:
        db.executescript(f"{EARLIER} CREATE TABLE settled (cake);")

    with pytest.raises(sqlite3.OperationalError):
        Tables(path)

    with closing(sqlite3.connect(path)) as db:
        assert (0,) == db.execute("SELECT count(*) FROM failure").fetchone()
        assert (1,) == db.execute("PRAGMA user_version").fetchone()


def test_who_is_settled_is_not_settled_for_what_comes_later(path):
    with closing(Tables(path)) as tables:
        for n in range(4):
            tables.write({"sshd": a_change(Failure("a", NOW + n), settled=["a"])})
            tables.purge(0, {"sshd": NOW + n + 1} if n % 2 else {})

            kept = [] if n % 2 else [NOW + n]
            assert kept == [one.when for one in tables.failures("sshd", 0)]


def test_no_number_of_a_portion_is_given_twice(path):
    with closing(Tables(path)) as tables:
        tables.write({"sshd": a_change(Failure("b", NOW + 9))})
        tables.write({"sshd": a_change(Failure("a", NOW))})
        tables.write({"sshd": a_change(settled=["a"])})
        tables.purge(0, {"sshd": NOW + 1})
        tables.write({"sshd": a_change(Failure("a", NOW + 9))})

        assert ["b", "a"] == [one.host for one in tables.failures("sshd", 0)]


def test_what_is_given_up_moves_what_was_settled():
    change = Changes(portions=[(n, Portion.of([Failure("a", NOW + n)])) for n in range(4)])
    change.settle("a")
    change.portions.append((4, Portion.of([Failure("a", NOW + 4)])))
    change.settled["b"] = 1

    change.give_up(2)

    assert {"a": 2, "b": 0} == change.settled
    assert [2, 3, 4] == [number for number, _ in change.portions]


def test_a_portion_of_which_a_part_is_too_old_is_cut(path):
    with closing(Tables(path)) as tables:
        tables.write({"sshd": a_change(*(Failure("a", NOW + n) for n in range(5)))})
        tables.purge(0, {"sshd": NOW + 2})

        assert [NOW + 2, NOW + 3, NOW + 4] == [one.when for one in tables.failures("sshd", 0)]
        assert [(1, 3)] == portions(tables)


def test_what_was_settled_is_forgotten_with_what_it_was_about(path):
    with closing(Tables(path)) as tables:
        tables.write({"sshd": a_change(Failure("a", NOW), Failure("b", NOW + 9))})
        tables.write({"sshd": a_change(settled=["a"])})
        tables.purge(0, {"sshd": NOW})
        assert ["a"] == settled(tables)

        tables.purge(0, {"sshd": NOW + 10})
        assert [] == settled(tables)


def test_what_is_settled_does_not_fill_the_disk(path):
    most = 0
    with closing(Tables(path)) as tables:
        for n in range(200):
            hosts = [f"{n} {m}" for m in range(3000)]
            change = a_change(*(Failure(host, NOW) for host in hosts), settled=[f"{n - 1} 0"])
            for host in hosts[2:]:
                change.settle(host)
            tables.write({"sshd": change, "nginx": a_change(Failure("a", NOW + n))})
            tables.tidy()
            most = max(most, sum(many for _, many in portions(tables)))

        assert most < 110_000
        assert [f"{n} 1" for n in range(199)] == [
            one.host for one in tables.failures("sshd", 0) if one.host.endswith(" 1")
        ][:199]
        assert 2 * 200 - 199 == len(tables.failures("sshd", 0))
        assert 200 == len(tables.failures("nginx", 0))


def test_small_portions_are_put_together(path):
    with closing(Tables(path)) as tables:
        for n in range(6000):
            tables.write({"sshd": a_change(Failure("a", NOW + n))})
            tables.tidy()

        assert len(portions(tables)) < 3000
        assert [NOW + n for n in range(6000)] == [one.when for one in tables.failures("sshd", 0)]


def test_a_portion_that_is_spoilt_is_passed_over(path):
    with closing(Tables(path)) as tables:
        for n in range(3):
            tables.write({"sshd": a_change(Failure("a", NOW + n))})
        with closing(sqlite3.connect(path)) as db:
            db.execute("UPDATE portion SET data = X'0102' WHERE id = 2")
            db.commit()

        assert [NOW, NOW + 2] == [one.when for one in tables.failures("sshd", 0)]
        assert {2} == tables.spoilt
        tables.purge(0, {"sshd": NOW + 1.5})
        assert [NOW + 2] == [one.when for one in tables.failures("sshd", 0)]
