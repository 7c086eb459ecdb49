# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import math
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import Fail2banError
from server.records import Ban, Failure, Position, Progress
from server.store import Store
from tests.support import ROOT, eventually, unavailable

EVE, BOB = "192.0.2.7", "2001:db8::9"
LOG = "/var/log/auth.log"
NOW = 1_800_000_000.0
DAY = 86400.0


def a_ban(host=EVE, since=NOW, seconds=600.0, jail="sshd", **more):
    return Ban(jail, host, since, seconds, **more)


def a_failure(host=EVE, when=NOW, **more):
    return Failure(host, when, ("a line",), **more)


def at(offset):
    return Position(64769, 1234, offset, b"\x00digest")


def progress(jail="sshd", **more):
    return Progress(jail, **more)


@contextmanager
def a_store(path, **more):
    store = Store(None if path is None else str(path), **{"clock": lambda: NOW, **more})
    store.open()
    try:
        yield store
    finally:
        store.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fail2ban.sqlite3"


def saved(path, *steps, **more):
    """A file in which an earlier run has left `steps`."""
    with a_store(path, **more) as store:
        for step in steps:
            store.save(step)
    return path


# -- what is kept ----------------------------------------------------------------------------------


def test_everything_is_there_after_a_restart(path):
    ban = a_ban(matches=("one", "two"), failures=3, count=2, fields={"user": "root", "n": None})
    failure = a_failure(
        BOB, attempts=2, is_name=True, fields={"user": "x"}, path=LOG, offset=9, rule=1
    )
    positions = {LOG: at(77), "journal": "s=abc;i=1"}
    saved(path, progress(banned=(ban,), failed=(failure,), positions=positions))

    with a_store(path) as store:
        assert [ban] == store.bans("sshd", NOW)
        assert [failure] == store.failures("sshd", 0)
        assert positions == store.positions("sshd")
        assert (1, NOW) == store.history(EVE)
        assert store.problem == ""


def test_what_ended_and_was_perhaps_not_lifted_is_known(path):
    hosts = {name: a_ban(name, since=NOW - 600 + n) for n, name in enumerate("abcdef")}
    runs = (a_ban(EVE, seconds=7200.0), *hosts.values())
    times = iter([NOW - 300, NOW - 50, NOW])
    with a_store(path, clock=lambda: next(times)) as store:
        store.save(progress(banned=runs))
        for name in "abc":  # the first of them so long ago that it surely was
            store.save(progress(lifted=(name,)))

        found = store.ended("sshd", NOW - 400, NOW + 5000)

    assert [*"bcdef"] == sorted(ban.host for ban in found)
    with a_store(path) as store:
        assert [*"bc"] == [ban.host for ban in store.ended("sshd", NOW - 400, NOW + 1)]
        assert [] == store.ended("sshd", NOW + 1, NOW + 2)
        assert [] == store.ended("nginx", 0.0, NOW + 9000)


def test_what_was_saved_is_seen_at_once():
    with a_store(":memory:") as store:
        store.save(progress(banned=(a_ban(),)))

        assert [a_ban()] == store.bans("sshd", NOW)


def test_jails_do_not_see_each_other(path):
    saved(path, progress(banned=(a_ban(),), failed=(a_failure(BOB),), positions={LOG: at(1)}))

    with a_store(path) as store:
        assert [] == store.bans("nginx", NOW)
        assert [] == store.failures("nginx", 0)
        assert {} == store.positions("nginx")
        assert (0, 0.0) == store.history(EVE, "nginx")


def test_a_ban_for_ever_stays_one(path):
    saved(path, progress(banned=(a_ban(seconds=math.inf),)))

    with a_store(path) as store:
        (ban,) = store.bans("sshd", NOW + 1e9)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT seconds FROM ban").fetchall() == [(-1,)]

    assert ban.seconds == math.inf


def test_a_ban_that_is_over_is_not_restored(path):
    saved(path, progress(banned=(a_ban(seconds=600), a_ban(BOB, seconds=601))))

    with a_store(path) as store:
        assert [a_ban(BOB, seconds=601)] == store.bans("sshd", NOW + 600)


def test_a_lifted_ban_is_not_restored_but_remembered(path):
    saved(path, progress(banned=(a_ban(),)), progress(lifted=(EVE,)))

    with a_store(path) as store:
        assert [] == store.bans("sshd", NOW)
        assert (1, NOW) == store.history(EVE, "sshd")


def test_a_ban_lifted_in_the_same_step_is_not_restored_but_remembered(path):
    saved(path, progress(banned=(a_ban(),), lifted=(EVE,)))

    with a_store(path) as store:
        assert [] == store.bans("sshd", NOW)
        assert (1, NOW) == store.history(EVE)


def test_a_prolonged_ban_is_the_same_ban(path):
    longer = a_ban().prolonged_to(NOW + 5000)
    saved(path, progress(banned=(a_ban(),)), progress(banned=(longer,)))

    with a_store(path) as store:
        assert [longer] == store.bans("sshd", NOW)
        assert (1, NOW) == store.history(EVE)


def test_history_counts_bans_of_one_jail_or_of_all(path):
    saved(
        path,
        progress(banned=(a_ban(),)),
        progress(lifted=(EVE,)),
        progress(banned=(a_ban(since=NOW + 900),)),
        progress("nginx", banned=(a_ban(jail="nginx", since=NOW + 50),)),
    )

    with a_store(path) as store:
        assert (2, NOW + 900) == store.history(EVE, "sshd")
        assert (1, NOW + 50) == store.history(EVE, "nginx")
        assert (3, NOW + 900) == store.history(EVE)
        assert (0, 0.0) == store.history(BOB)


def test_the_last_ban_of_a_host_in_each_jail_is_known_though_it_is_over(path):
    here, there = a_ban(failures=3, matches=("x",)), a_ban(jail="nginx", since=NOW + 50)
    with a_store(path) as store:
        store.save(progress(banned=(here, a_ban(BOB)), lifted=(EVE,)))
        store.save(progress("nginx", banned=(there,)))

        assert sorted(store.bans_of(EVE), key=lambda ban: ban.since) == [here, there]
        assert store.bans_of("192.0.2.99") == []


def test_of_too_many_bans_the_newest_are_restored(path):
    bans = [a_ban(f"192.0.2.{n}", since=NOW + n) for n in range(5)]
    saved(path, progress(banned=tuple(bans)))

    with a_store(path) as store:
        assert bans[3:] == store.bans("sshd", NOW, limit=2)
        assert bans == store.bans("sshd", NOW)


def test_who_is_banned_is_known_without_the_bans(path):
    bans = (a_ban(), a_ban("10.0.0.0/8", seconds=math.inf), a_ban(BOB, since=NOW - 600), a_ban("x"))
    saved(path, progress(banned=bans), progress(lifted=("x",)))

    with a_store(path) as store:
        assert {EVE: NOW + 600, "10.0.0.0/8": math.inf} == dict(store.ends("sshd", NOW))
        assert [] == store.ends("nginx", NOW)


@pytest.mark.parametrize(
    ("most", "kept"), [(0, ()), (1, ("c",)), (2, ("b", "c")), (9, ("a", "b", "c"))]
)
def test_so_many_log_lines_of_a_ban_are_kept(path, most, kept):
    saved(path, progress(banned=(a_ban(matches=("a", "b", "c")),)), max_matches=most)

    with a_store(path) as store:
        assert kept == store.bans("sshd", NOW)[0].matches


def test_failures_that_are_settled_count_no_longer(path):
    first, second, other = a_failure(), a_failure(when=NOW + 1), a_failure(BOB)
    saved(
        path,
        progress(failed=(first, other)),
        progress(settled=(EVE,), failed=(second,)),
    )

    with a_store(path) as store:
        assert [other, second] == store.failures("sshd", 0)
        assert [second] == store.failures("sshd", NOW + 1)


def test_failures_keep_their_order(path):
    failures = [a_failure(host, when=NOW - n) for n in range(5) for host in (BOB, EVE)]
    saved(path, *(progress(failed=(one,)) for one in failures))

    with a_store(path) as store:
        assert failures == store.failures("sshd", 0)


def test_names_of_files_need_not_be_text(path):
    odd = os.fsdecode(b"/var/log/\xff\xfe.log")
    positions = {odd: Position(2**64 - 1, 2**64 - 2, 2**62, b"")}
    saved(path, progress(positions=positions, failed=(a_failure(path=odd),)))

    with a_store(path) as store:
        assert positions == store.positions("sshd")
        assert [a_failure(path=odd)] == store.failures("sshd", 0)


def test_a_jail_can_be_forgotten(path):
    everything = {"failed": (a_failure(),), "positions": {LOG: at(1)}}
    saved(path, progress(banned=(a_ban(),), **everything), progress("nginx", **everything))
    with a_store(path) as store:
        store.forget("sshd")
        store.save(progress(positions={LOG: at(0)}))

    with a_store(path) as store:
        assert [] == store.bans("sshd", NOW) == store.failures("sshd", 0)
        assert {LOG: at(0)} == store.positions("sshd")
        assert (0, 0.0) == store.history(EVE)
        assert [a_failure()] == store.failures("nginx", 0)


def test_without_a_path_nothing_is_kept_and_nothing_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with a_store(None) as store:
        store.save(progress(banned=(a_ban(),), positions={LOG: at(1)}))

        assert store.sync(1)
        assert [] == store.bans("sshd", NOW)
        assert {} == store.positions("sshd")
        assert (0, 0.0) == store.history(EVE)

    assert [] == list(tmp_path.iterdir())


def test_a_store_that_is_closed_takes_nothing_more(path):
    store = Store(str(path))
    store.open()
    store.close()
    store.save(progress(banned=(a_ban(),)))

    assert not store.sync(1)
    assert [] == store.bans("sshd", NOW)


# -- a model ---------------------------------------------------------------------------------------

HOSTS = st.sampled_from([EVE, BOB, "ad:hoc'\"; --", "\x00\ud800é"])
JAILS = st.sampled_from(["sshd", "nginx"])
MOMENTS = st.floats(0, 4e9)
TEXTS = st.text(st.characters(exclude_categories=()), max_size=8)
FIELDS = st.dictionaries(TEXTS, st.none() | TEXTS | st.integers(-5, 5), max_size=2)


@st.composite
def steps(draw):
    jail = draw(JAILS)
    bans = st.builds(
        Ban,
        st.just(jail),
        HOSTS,
        MOMENTS,
        st.floats(0, 1e6) | st.just(math.inf),
        st.lists(TEXTS, max_size=4).map(tuple),
        st.integers(0, 9),
        st.integers(1, 9),
        FIELDS,
        st.just(()),
        st.booleans(),
        st.booleans(),
    )
    failures = st.builds(
        Failure,
        HOSTS,
        MOMENTS,
        st.lists(TEXTS, max_size=2).map(tuple),
        st.booleans(),
        st.integers(1, 9),
        FIELDS,
        TEXTS,
        st.integers(-1, 2**40),
        st.integers(-1, 9),
    )
    positions = st.builds(
        Position,
        st.integers(0, 2**64 - 1),
        st.integers(0, 2**64 - 1),
        st.integers(0, 2**60),
        st.binary(max_size=16),
    )
    return Progress(
        jail,
        draw(st.dictionaries(TEXTS, positions | TEXTS, max_size=2)),
        tuple(draw(st.lists(bans, max_size=2, unique_by=lambda ban: ban.host))),
        tuple(draw(st.lists(HOSTS, max_size=2, unique=True))),
        tuple(draw(st.lists(HOSTS, max_size=2, unique=True))),
        tuple(draw(st.lists(failures, max_size=3))),
    )


class Model:
    """What a store is to remember, in the plainest way."""

    def __init__(self):
        self.positions, self.running, self.failed, self.totals = {}, {}, [], {}

    def save(self, step):
        jail = step.jail
        self.failed = [f for f in self.failed if f[0] != jail or f[1].host not in step.settled]
        self.failed += [(jail, failure) for failure in step.failed]
        for ban in step.banned:
            total, last = self.totals.get((jail, ban.host), (0, None))
            self.totals[jail, ban.host] = total + (ban.since != last), ban.since
            self.running[jail, ban.host] = ban._replace(matches=ban.matches[-3:])
        for host in step.lifted:
            self.running.pop((jail, host), None)
        self.positions.setdefault(jail, {}).update(step.positions)


def agrees(store, model, moment):
    for jail in ("sshd", "nginx"):
        running = [b for (j, _), b in model.running.items() if j == jail and b.until > moment]
        assert store.positions(jail) == model.positions.get(jail, {})
        assert {b.host: b for b in store.bans(jail, moment)} == {b.host: b for b in running}
        failed = [f for j, f in model.failed if j == jail and f.when >= moment]
        assert store.failures(jail, moment) == failed
        for host in (EVE, BOB):
            assert store.history(host, jail) == model.totals.get((jail, host), (0, 0.0))
    return True


@settings(max_examples=40, deadline=None)
@given(
    done=st.lists(st.tuples(steps(), st.sampled_from(["", "sync", "reopen"])), max_size=8),
    moment=MOMENTS,
)
def test_a_store_remembers_what_a_dictionary_would(tmp_path_factory, done, moment):
    path = tmp_path_factory.mktemp("model") / "db"
    model = Model()
    store = Store(str(path), max_matches=3)
    store.open()
    for step, then in done:
        store.save(step)
        model.save(step)
        if then == "sync":
            assert store.sync()
        elif then == "reopen":
            store.close()
            store.open()
    try:
        assert agrees(store, model, moment)
    finally:
        store.close()
    with a_store(path) as again:
        assert agrees(again, model, moment)


# -- purge -----------------------------------------------------------------------------------------


def after_purge(path, now, **more):
    with a_store(path, purge_age=DAY) as store:
        store.purge(now, **more)
        store.bans("sshd", now)  # what is asked later is answered later
        seen = store.history(EVE)[0], store.history(BOB)[0]
    with a_store(path) as store:
        assert seen == (store.history(EVE)[0], store.history(BOB)[0])
    return seen


def test_bans_are_purged_when_they_are_over_for_long_enough(path):
    saved(path, progress(banned=(a_ban(seconds=600), a_ban(BOB, seconds=601))))

    assert (0, 1) == after_purge(path, NOW + 600.5 + DAY)


def test_a_ban_for_ever_is_never_purged(path):
    saved(path, progress(banned=(a_ban(seconds=math.inf),)))

    assert (1, 0) == after_purge(path, NOW + 1e9)


def test_a_lifted_ban_is_purged_by_when_it_was_lifted(path):
    saved(path, progress(banned=(a_ban(seconds=math.inf),)), progress(lifted=(EVE,)))

    assert (1, 0) == after_purge(path, NOW + DAY)
    assert (0, 0) == after_purge(path, NOW + DAY + 1)


def test_earlier_bans_of_a_host_that_is_banned_somewhere_are_not_purged(path):
    old = NOW - 9 * DAY
    saved(
        path,
        progress(banned=(a_ban(since=old),), lifted=(EVE,)),
        progress("nginx", banned=(a_ban(jail="nginx", seconds=30 * DAY),)),
    )

    assert (2, 0) == after_purge(path, NOW + DAY)


def test_failures_are_purged_by_their_jails_findtime(path):
    for jail in ("sshd", "nginx"):
        saved(path, progress(jail, failed=(a_failure(when=NOW), a_failure(BOB, when=NOW + 600))))

    with a_store(path, purge_age=DAY) as store:
        store.purge(NOW + 601, {"sshd": 600})

        assert [a_failure(BOB, when=NOW + 600)] == store.failures("sshd", 0)
        assert 2 == len(store.failures("nginx", 0))


# -- the file --------------------------------------------------------------------------------------


def test_the_file_and_its_directory_are_for_their_owner_only(tmp_path):
    path = tmp_path / "fail2ban" / "db"
    saved(path)

    assert 0o600 == path.stat().st_mode & 0o777
    assert 0o700 == path.parent.stat().st_mode & 0o777


def test_a_directory_is_made_one_level_deep(tmp_path):
    with pytest.raises(Fail2banError, match="cannot be kept there: No such file or directory"):
        Store(str(tmp_path / "a" / "b" / "db")).open()


def test_a_path_that_is_no_file_is_refused(tmp_path):
    with pytest.raises(Fail2banError, match="is no file"):
        Store(str(tmp_path)).open()


def test_a_database_of_another_program_is_left_alone(path):
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE recipes (cake)")
    before = path.read_bytes()

    with pytest.raises(Fail2banError, match="database of another program"):
        Store(str(path)).open()
    assert before == path.read_bytes()


def test_a_refused_database_leaves_no_thread(path):
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE recipes (cake)")
    store = Store(str(path))
    with pytest.raises(Fail2banError):
        store.open()

    eventually(lambda: "store" not in [thread.name for thread in threading.enumerate()])
    path.unlink()
    store.open()
    store.save(progress(banned=(a_ban(),)))
    assert [a_ban()] == store.bans("sshd", NOW)
    store.close()


def test_a_place_where_no_file_can_be_made_is_refused():
    with pytest.raises(Fail2banError, match="set dbfile to another path"):
        Store("/proc/fail2ban.sqlite3").open()


def asides(path):
    return [
        p
        for p in path.parent.glob(f"{path.name}.damaged-*")
        if not p.name.endswith(("-wal", "-shm", "-journal"))
    ]


@pytest.mark.parametrize(
    "content", [b"no database at all" * 99, b"SQLite format 3\x00" + b"\xff" * 4000]
)
def test_a_corrupt_file_is_set_aside_and_a_new_one_begun(path, content):
    path.write_bytes(content)

    with a_store(path) as store:
        (aside,) = asides(path)
        assert str(aside) in store.problem
        store.save(progress(banned=(a_ban(),)))
        assert store.sync()
    with a_store(path) as store:
        assert [a_ban()] == store.bans("sshd", NOW)
        assert store.problem == ""
    assert content == aside.read_bytes()


@pytest.mark.parametrize("part", [0.05, 0.3, 0.6, 0.9])
def test_a_truncated_file_is_set_aside_and_its_readable_bans_are_kept(path, part):
    bans = tuple(a_ban(f"198.51.{n}.1", matches=("x" * 100,)) for n in range(200))
    saved(path, progress(banned=bans))
    size = path.stat().st_size
    os.truncate(path, int(size * part))

    with a_store(path) as store:
        assert "is kept as" in store.problem
        kept = store.bans("sshd", NOW)
        store.save(progress(banned=(a_ban(),)))
        assert store.sync()

    assert all(ban in bans for ban in kept)
    assert 1 == len(asides(path))


def test_a_file_that_gets_corrupt_under_way_is_set_aside_and_saving_goes_on(path):
    saved(path, progress(banned=(a_ban(BOB),), positions={LOG: at(1)}))
    with a_store(path, retry=(0.01, 0.01)) as store:
        with closing(sqlite3.connect(path)) as other:  # what it changes has to be read anew
            other.execute("DELETE FROM position")
            other.commit()
        with path.open("r+b") as file:
            file.write(b"\xff" * path.stat().st_size)
        store.save(progress(banned=(a_ban(),)))

        assert store.sync()
    with a_store(path) as store:
        assert a_ban() in store.bans("sshd", NOW)


def test_a_file_that_is_taken_away_is_written_anew(path):
    saved(path, progress(banned=(a_ban(BOB),)))
    with a_store(path) as store:
        store.save(progress(positions={LOG: at(5)}))
        assert store.sync()
        path.unlink()
        store.save(progress(banned=(a_ban(),)))
        assert store.sync()
        assert "taken away" in store.problem

    with a_store(path) as store:
        assert {EVE, BOB} == {ban.host for ban in store.bans("sshd", NOW)}
        assert {LOG: at(5)} == store.positions("sshd")


# -- a disk that does not do what it should --------------------------------------------------------


def test_a_locked_database_is_written_when_it_is_free_again(path):
    with a_store(path, retry=(0.01, 0.05)) as store, closing(sqlite3.connect(path)) as other:
        other.isolation_level = None
        other.execute("BEGIN IMMEDIATE")
        store.save(progress(banned=(a_ban(),), positions={LOG: at(1)}))
        eventually(lambda: "locked" in store.problem)
        store.save(progress(lifted=(EVE,), positions={LOG: at(2)}))
        assert not store.sync(0.01)
        assert (1, NOW) == store.history(EVE)

        other.execute("ROLLBACK")

        assert store.sync()
        assert store.problem == ""
        assert {LOG: at(2)} == store.positions("sshd")
        assert [] == store.bans("sshd", NOW)


def test_a_database_that_is_locked_at_first_is_used_when_it_is_free(path):
    saved(path, progress(banned=(a_ban(BOB),)))
    with closing(sqlite3.connect(path)) as other:
        other.isolation_level = None
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        store = Store(str(path), retry=(0.01, 0.05))
        store.open()
        assert "locked" in store.problem
        store.save(progress(banned=(a_ban(),)))
    try:
        assert store.sync()
        assert {EVE, BOB} == {ban.host for ban in store.bans("sshd", NOW)}
        assert (1, NOW) == store.history(BOB)
        assert store.problem == ""
    finally:
        store.close()


def test_a_database_that_nobody_may_open_is_read_from_a_copy(path):
    saved(path, progress(banned=(a_ban(BOB), a_ban(EVE)), positions={LOG: at(3)}))
    with closing(sqlite3.connect(path)) as other:
        other.isolation_level = None
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        store = Store(str(path), retry=(0.01, 0.05))
        store.open()

        assert "locked" in store.problem
        assert {EVE, BOB} == {ban.host for ban in store.bans("sshd", NOW)}
        assert (1, NOW) == store.history(BOB)
        store.save(progress(lifted=(EVE,), positions={LOG: at(4)}))
        assert [BOB] == [ban.host for ban in store.bans("sshd", NOW)]
        assert {LOG: at(4)} == store.positions("sshd")
    try:
        assert store.sync()
        assert [BOB] == [ban.host for ban in store.bans("sshd", NOW)]
        assert {LOG: at(4)} == store.positions("sshd")
    finally:
        store.close()


def test_failures_that_cannot_be_written_do_not_fill_the_memory(path, caplog):
    with a_store(path, retry=(0.01, 0.05), max_waiting=100) as store:
        with closing(sqlite3.connect(path)) as other:
            other.isolation_level = None
            other.execute("BEGIN IMMEDIATE")
            for n in range(1000):
                store.save(progress(failed=(a_failure(when=NOW + n),), positions={LOG: at(n)}))
            other.execute("ROLLBACK")
        kept = store.failures("sshd", 0)

        assert 50 <= len(kept) <= 200
        assert NOW + 999 == kept[-1].when
        assert {LOG: at(999)} == store.positions("sshd")
    assert "will not be kept" in caplog.text


def test_what_is_settled_makes_room_before_anything_is_given_up(path, caplog):
    with a_store(path, retry=(0.01, 0.05), max_waiting=100) as store:
        with closing(sqlite3.connect(path)) as other:
            other.isolation_level = None
            other.execute("BEGIN IMMEDIATE")
            store.save(progress(failed=(a_failure(BOB),)))
            for n in range(1000):
                failure = a_failure(when=NOW + n)
                store.save(progress(settled=(EVE,), failed=(failure,)))
            other.execute("ROLLBACK")

        assert [a_failure(BOB), a_failure(when=NOW + 999)] == store.failures("sshd", 0)
    assert "will not be kept" not in caplog.text


def test_what_is_settled_while_it_waits_stays_so_though_older_failures_are_given_up(path):
    with a_store(path, retry=(0.01, 0.05), max_waiting=100) as store:
        with closing(sqlite3.connect(path)) as other:
            other.isolation_level = None
            other.execute("BEGIN IMMEDIATE")
            for n in range(80):
                store.save(progress(failed=(a_failure(BOB, when=NOW + n),)))
            store.save(progress(failed=(a_failure(when=NOW),)))
            store.save(progress(settled=(EVE,), failed=(a_failure(when=NOW + 1),)))
            for n in range(80, 110):
                store.save(progress(failed=(a_failure(BOB, when=NOW + n),)))
            other.execute("ROLLBACK")

        kept = store.failures("sshd", 0)
        assert 50 <= len(kept) <= 100
        assert [NOW + 1] == [one.when for one in kept if one.host == EVE]
        assert NOW + 109 == kept[-1].when


def test_a_spoilt_portion_is_told_of(path, caplog):
    saved(path, progress(failed=(a_failure(),)), progress(failed=(a_failure(BOB),)))
    with closing(sqlite3.connect(path)) as other:
        other.execute("UPDATE portion SET data = X'0102' WHERE id = (SELECT min(id) FROM portion)")
        other.execute("DELETE FROM portion WHERE id <> (SELECT min(id) FROM portion)")
        other.commit()

    with a_store(path) as store:
        assert [] == store.failures("sshd", 0)
        assert "some counted failures cannot be read" in store.problem
        store.save(progress(failed=(a_failure(BOB),)))
        assert [a_failure(BOB)] == store.failures("sshd", 0)


def test_what_no_database_can_hold_does_not_hold_up_the_rest(path, caplog):
    with a_store(path) as store:
        store.save(progress(positions={LOG: at(2**70)}))
        assert store.sync()
        store.save(progress(banned=(a_ban(),)))

        assert [a_ban()] == store.bans("sshd", NOW)
        assert "could not be kept" in store.problem
    assert "cannot hold a change" in caplog.text


@contextmanager
def a_small_disk(folder, size="256k"):
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)], capture_output=True
    )
    if made.returncode:
        unavailable("mounting needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.root
def test_a_full_disk_is_waited_for(tmp_path):
    with a_small_disk(tmp_path / "disk") as disk:
        path = disk / "db"
        saved(path)
        ballast = disk / "ballast"
        with a_store(path, retry=(0.01, 0.05)) as store:
            with suppress_full(), ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(b"x" * 4096)
            bans = tuple(a_ban(f"198.51.100.{n}", matches=("x" * 500,)) for n in range(250))
            store.save(progress(banned=bans, positions={LOG: at(9)}))
            eventually(lambda: "the disk is full" in store.problem)
            assert {LOG: at(9)} == store.positions("sshd")

            ballast.unlink()
            subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)

            assert store.sync()
            assert store.problem == ""
        with a_store(path) as store:
            assert 250 == len(store.bans("sshd", NOW))


@contextmanager
def suppress_full():
    with pytest.raises(OSError, match="No space left"):
        yield


@pytest.mark.root
def test_a_read_only_disk_is_waited_for(tmp_path):
    with a_small_disk(tmp_path / "disk", "4m") as disk:
        path = disk / "db"
        saved(path, progress(banned=(a_ban(BOB),)))
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with a_store(path, retry=(0.01, 0.05)) as store:
            store.save(progress(banned=(a_ban(),)))
            eventually(lambda: store.problem)
            assert not store.sync(0.01)

            subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)

            assert store.sync()
            assert store.problem == ""
            assert {EVE, BOB} == {ban.host for ban in store.bans("sshd", NOW)}
            assert (1, NOW) == store.history(BOB)


# -- a crash ---------------------------------------------------------------------------------------

SAVER = """
import sys
import threading
from server.records import Ban, Failure, Position, Progress
from server.store import Store

store = Store(sys.argv[1])
store.open()
for n in range(1, 1_000_000):
    host = f"host{n}"
    store.save(
        Progress(
            "sshd",
            {"log": Position(1, 2, n)},
            banned=(Ban("sshd", host, float(n), float("inf")),),
            settled=(f"failer{n - 1}",),
            failed=(Failure(f"failer{n}", float(n)),),
        )
    )
    if n % 97 == 0 and store.sync():
        print(n, flush=True)
"""


@pytest.mark.parametrize("acknowledged", [1, 3, 7])
def test_after_a_crash_every_position_has_its_consequences(path, acknowledged):
    with subprocess.Popen(
        [sys.executable, "-c", SAVER, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as saver:
        for _ in range(acknowledged):
            durable = int(saver.stdout.readline())
        saver.send_signal(signal.SIGKILL)

    with a_store(path) as store:
        offset = store.positions("sshd")["log"].offset
        hosts = {ban.host for ban in store.bans("sshd", NOW)}
        failers = [failure.host for failure in store.failures("sshd", 0)]

        assert store.problem == ""
    assert offset >= durable
    assert hosts == {f"host{n}" for n in range(1, offset + 1)}
    assert failers == [f"failer{offset}"]


# -- growing bans and networks


@given(
    steps=st.lists(
        st.tuples(st.integers(1, 3 * 86400), st.sampled_from(["ban", "lift", "purge", "restart"])),
        max_size=15,
    )
)
@settings(max_examples=40, deadline=None)
def test_what_a_running_ban_grew_from_is_never_forgotten(tmp_path_factory, steps):
    path = tmp_path_factory.mktemp("grow") / "db"
    now, bans, ends = NOW, 0, 0.0

    def opened():
        store = Store(str(path), clock=lambda: now, purge_age=DAY)
        store.open()
        return store

    store = opened()
    try:
        for wait, what in steps:
            now += wait
            if what == "ban":
                if ends + DAY < now and store.history(EVE)[0] == 0:
                    bans = 0  # all was over for longer than dbpurgeage
                bans += 1
                ends = now + 600 * 4**bans
                store.save(progress(banned=(a_ban(since=now, seconds=600 * 4**bans),)))
            elif what == "lift":
                store.save(progress(lifted=(EVE,)))
                ends = min(ends, now)
            elif what == "purge":
                store.purge(now)
            else:
                store.close()
                store = opened()
            store.sync()
            store.bans("sshd", now)  # a purge asked for is done by then
            if ends + DAY >= now:
                assert store.history(EVE)[0] == bans
    finally:
        store.close()


def test_a_ban_of_a_network_is_kept_with_all_that_it_stands_in_for(path):
    inner = a_ban("192.0.2.0/30", failures=0, parts=(a_ban("192.0.2.1", matches=("a line",)),))
    ban = a_ban(
        "192.0.2.0/24", parts=(a_ban("192.0.2.9", seconds=math.inf), inner),
        is_merged=True, is_spent=True,
    )  # fmt: skip

    with a_store(path) as store:
        store.save(progress(banned=(ban,)))
    with a_store(path) as store:
        assert store.bans("sshd", NOW + 1) == [ban]


def test_the_history_of_a_host_stays_while_a_network_stands_in_for_its_ban(path):
    now = NOW
    host = a_ban(since=NOW, seconds=600)
    with a_store(path, clock=lambda: now) as store:
        store.save(progress(banned=(host,)))
        wide = a_ban("192.0.2.0/24", seconds=30 * DAY, parts=(host,))
        store.save(progress(banned=(wide,), lifted=(EVE,)))
        now = NOW + 20 * DAY
        store.purge(now)
        assert store.bans("sshd", now) == [wide]
        assert store.history(EVE)[0] == 1
        now = NOW + 40 * DAY
        store.purge(now)
        assert store.bans("sshd", now) == [] and store.history(EVE)[0] == 0


def test_it_is_known_who_was_let_in_before_his_time(path):
    now = NOW
    with a_store(path, clock=lambda: now) as store:
        store.save(progress(banned=(a_ban(EVE), a_ban(BOB), a_ban("192.0.2.8", seconds=math.inf))))
        store.sync()
        now = NOW + 10
        store.save(progress(lifted=(EVE, "192.0.2.8")))
        store.sync()
        now = NOW + 600
        store.save(progress(lifted=(BOB,)))  # its time was over

        assert store.lifted("sshd", NOW) == {EVE: NOW + 10, "192.0.2.8": NOW + 10}
        assert store.lifted("sshd", NOW + 11) == {}
