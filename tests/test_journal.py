# SPDX-License-Identifier: GPL-2.0-or-later
import builtins
import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from unittest.mock import patch

import pytest

from server import journal
from server.journal import (
    EntryReader,
    JournalReader,
    JournalSource,
    JournalUnavailable,
    moment_of,
    opened,
    source_of,
    text_of,
)
from tests.ours import Ours, run
from tests.support import BOB, EVE, ROOT, eventually, unavailable

REMOTE = Path("/lib/systemd/systemd-journal-remote")
CAPTURED = ROOT / "tests/captured-logs/sshd-journal-export.log"
WEEK = 604800.0
ANY = (("_COMM=sshd",),)


class Book:
    """A journal in a directory of its own."""

    def __init__(self, folder):
        try:
            import systemd.journal  # noqa: F401
        except ImportError:
            unavailable("the Python package systemd-python is not here")
        if not REMOTE.exists():
            unavailable("systemd-journal-remote is not here")
        self.folder = Path(folder)
        self.folder.mkdir()
        self.file = self.folder / "system.journal"
        self._count = 0
        self._moment = 0

    def write(self, *messages, ago=0.0, comm="sshd"):
        """Add entries that sshd wrote just now, or so many seconds ago."""
        entries = []
        for message in messages:
            # entries of one file get later all the time
            self._moment = max(self._moment + 1, int((time.time() - ago) * 1e6))
            self._count += 1
            entries.append(
                f"__REALTIME_TIMESTAMP={self._moment}\n__MONOTONIC_TIMESTAMP={self._moment}\n"
                f"_BOOT_ID={'a' * 32}\n_MACHINE_ID={'b' * 32}\n_HOSTNAME=srv\n_PID=7\n"
                f"_COMM={comm}\nSYSLOG_IDENTIFIER={comm}\nMESSAGE={message}\n\n"
            )
        self.add("".join(entries))

    def add(self, export):
        """Add entries in the journal's export format."""
        words = [REMOTE, "--output", self.file, "-"]
        done = subprocess.run(words, input=export, text=True, capture_output=True, timeout=90)
        assert done.returncode == 0, done.stderr

    def rotate(self):
        """Do as journald does: the file gets another name, a new one is begun with the next entry."""
        self._count += 1
        self.file.rename(self.folder / f"system@{self._count:032x}.journal")

    def lose(self):
        """Do as `journalctl --vacuum-size` does, but for all."""
        self.file.unlink()
        self._moment = 0

    @property
    def source(self):
        return JournalSource(files=(str(self.file),))


@pytest.fixture
def book(tmp_path):
    return Book(tmp_path / "journal")


class Jail:
    """Somebody who follows a journal and remembers what came."""

    def __init__(self):
        self.reader = JournalReader()
        self.blocks = []
        self.has_room = True

    def take(self, block):
        if self.has_room:
            self.blocks.append(block)
        return self.has_room

    def follow(self, source, cursor=None, matches=ANY, find_time=600.0, is_reminded=False):
        self.reader.follow("ssh", source, matches, cursor, find_time, self.take, is_reminded)
        return self

    @property
    def texts(self):
        return self.told(is_known=False)

    def told(self, is_known):
        blocks = [block for block in self.blocks if block.is_known == is_known]
        return [text.partition(": ")[2] for block in blocks for _, text in block.entries]

    @property
    def problem(self):
        return self.reader.problem("ssh")

    def sees(self, *texts):
        eventually(lambda: len(self.texts) >= len(texts), what=f"{texts}, not {self.texts}")
        return self.texts == list(texts)

    def stop(self):
        self.reader.unfollow("ssh")


@pytest.fixture
def jail():
    made = Jail()
    yield made
    made.stop()


# -- which journal -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("systemd", JournalSource()),
        ("systemd[journalpath=/j]", JournalSource(path="/j")),
        ('systemd[journalfiles="/a, /b", rotated=on]', JournalSource(files=("/a", "/b"))),
        ("systemd[journalpath=/j][journalflags=1]", JournalSource(path="/j", flags=1)),
        ("systemd[namespace=web]", JournalSource(namespace="web")),
    ],
)
def test_the_options_of_the_backend_say_which_journal(text, source):
    assert source == source_of(text)


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("systemd[journalpaht=/j]", "'journalpaht' is no option"),
        ("systemd[journalflags=some]", "not a whole number"),
        ("systemd[namespace=web, journalpath=/j]", "either"),
    ],
)
def test_what_is_no_journal_is_said(text, about):
    with pytest.raises(ValueError, match=about):
        source_of(text)


def test_positions_in_different_journals_do_not_meet():
    texts = [
        "systemd",
        "systemd[journalpath=/a]",
        "systemd[journalfiles=/a]",
        "systemd[namespace=a]",
    ]

    assert len(texts) == len({source_of(text).name for text in texts})


# -- what an entry says --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        (
            {"_HOSTNAME": "srv", "SYSLOG_IDENTIFIER": "sshd", "_PID": 12, "MESSAGE": "hello"},
            "srv sshd[12]: hello",
        ),
        (
            {"_HOSTNAME": "srv", "SYSLOG_IDENTIFIER": "kernel", "MESSAGE": "IN=eth0 SRC=192.0.2.1"},
            "srv kernel: IN=eth0 SRC=192.0.2.1",
        ),
        ({"_COMM": "sshd", "SYSLOG_PID": "5", "MESSAGE": "hello"}, "sshd[5]: hello"),
        ({"MESSAGE": "hello"}, "hello"),
        ({"_COMM": "a", "MESSAGE": b"caf\xe9"}, "a: caf\ufffd"),
        ({"_COMM": "a", "MESSAGE": ["one", "two"]}, "a: one"),
        ({"_COMM": "a", "MESSAGE": "one\nb: two\r\nthree\n"}, "a: one b: two three"),
        ({}, ""),
    ],
)
def test_an_entry_is_one_line_as_syslog_would_write_it(entry, text):
    assert text == text_of(entry.get)


def test_a_cursor_tells_its_moment():
    assert moment_of("s=66;i=8;b=a0;m=e7;t=660da6703249c;x=fa") == 1795341007.660188
    assert moment_of("nothing") is None


# -- reading -------------------------------------------------------------------------------------------


def test_entries_of_a_real_sshd_are_read_as_lines(book):
    book.add(CAPTURED.read_text("utf-8"))
    reader = opened(book.source, ANY)
    entries = [text_of(entry.get) for entry in reader]
    reader.close()

    assert "srv sshd[205]: Failed password for alice from 192.0.2.14 port 39155 ssh2" in entries
    assert all(text.startswith("srv sshd[") for text in entries)


def test_entries_are_read_alike_in_the_quick_way_and_the_one_that_the_library_tells_of(book):
    book.add(CAPTURED.read_text("utf-8"))
    book.write("one\x85two", " ", "trailing \x0c ", "caf\u00e9", comm="login")
    moment = int(time.time() * 1e6)
    book.add(
        "".join(
            f"__REALTIME_TIMESTAMP={moment + number}\n_BOOT_ID={'a' * 32}\n_COMM=odd\n{fields}\n\n"
            for number, fields in enumerate(
                ["MESSAGE=bare", "_HOSTNAME=srv\n_PID=5", "SYSLOG_PID=6"]
            )
        )
    )

    def read():
        with contextlib.closing(opened(book.source, ())) as reader:
            entries, found = EntryReader(reader), []
            while entries.next():
                found.append((entries.line, entries.cursor))
            assert entries.back(2)
            return [*found, (entries.line, entries.cursor)]

    quick = read()
    with patch("server.journal._QUICK_WAYS", ("nosuch",)):
        assert quick == read()
    assert "odd: bare" in [text for (_, text), _ in quick]
    assert len(quick) > 50


def test_old_entries_are_passed_over_and_new_ones_come_when_they_are_written(book, jail):
    book.write("too old", ago=700)
    book.write("recent", ago=100)

    jail.follow(book.source)

    assert jail.sees("recent")
    book.write("new")
    assert jail.sees("recent", "new")
    assert jail.problem == ""


def test_only_entries_that_match_are_read(book, jail):
    book.write("of sshd")
    book.write("of nobody", comm="other")
    book.write("of login", comm="login")
    alternatives = (("_COMM=sshd", "+", "_COMM=nosuch"), ("_COMM=login", "_HOSTNAME=srv"))

    jail.follow(book.source, matches=alternatives)

    assert jail.sees("of sshd", "of login")


def test_reading_goes_on_across_a_rotation(book, jail):
    book.write("one", "two")
    jail.follow(book.source)
    assert jail.sees("one", "two")

    book.write("three")
    book.rotate()
    book.write("four")

    assert jail.sees("one", "two", "three", "four")


def test_a_restart_goes_on_behind_the_last_entry_even_if_that_was_rotated(book, jail):
    book.write("one", "two")
    jail.follow(book.source)
    assert jail.sees("one", "two")
    jail.stop()
    book.write("three")
    book.rotate()
    book.write("four")

    later = Jail().follow(book.source, cursor=jail.blocks[-1].cursor)

    try:
        assert later.sees("three", "four")
    finally:
        later.stop()


def test_if_the_last_entry_is_gone_its_time_counts(book, jail):
    book.write("one", ago=50)
    jail.follow(book.source)
    assert jail.sees("one")
    jail.stop()
    book.lose()
    book.write("before it", ago=60)
    book.write("after it", ago=40)

    later = Jail().follow(book.source, cursor=jail.blocks[-1].cursor)

    try:
        assert later.sees("after it")
    finally:
        later.stop()


@pytest.mark.parametrize("cursor", ["", "no cursor", f"t={int(2e15):x}"])
def test_a_cursor_that_is_none_keeps_nothing_from_being_read(book, jail, cursor):
    book.write("now")

    jail.follow(book.source, cursor=cursor)
    if "t=" in cursor:  # a moment to come
        book.add(
            f"__REALTIME_TIMESTAMP={int(3e15)}\n__MONOTONIC_TIMESTAMP=1\n_BOOT_ID={'c' * 32}\n"
            "_COMM=sshd\nMESSAGE=late\n\n"
        )
        assert jail.sees("late")
    else:
        assert jail.sees("now")


def test_who_has_no_room_gets_the_same_entries_again(book, jail):
    jail.has_room = False
    book.write("one")
    jail.follow(book.source)
    book.write("two")

    jail.has_room = True
    jail.reader.wake("ssh")

    assert jail.sees("one", "two")


def test_another_match_goes_on_where_reading_was(book, jail):
    book.write("one")
    jail.follow(book.source)
    assert jail.sees("one")

    jail.follow(book.source, matches=(("_HOSTNAME=srv",),))
    book.write("two", comm="other")

    assert jail.sees("one", "two")


def test_a_journal_is_awaited_that_is_not_there_yet(book, jail, monkeypatch):
    monkeypatch.setattr("server.journal._RETRY", 0.05)
    jail.follow(book.source)
    eventually(lambda: "there is no journal file" in jail.problem)

    book.write("one")

    assert jail.sees("one")
    assert jail.problem == ""


def test_a_directory_is_a_journal_too(book, jail):
    book.write("one")
    jail.follow(JournalSource(path=str(book.folder)))
    assert jail.sees("one")

    book.rotate()
    book.write("two")

    assert jail.sees("one", "two")


def test_who_waits_sleeps_and_is_woken_at_once_to_end(book, jail, monkeypatch):
    """A turn of the reader's loop begins with a look at the files that the journal consists of."""
    turns = []
    found = JournalSource.found
    monkeypatch.setattr(JournalSource, "found", lambda self: turns.append(1) or found(self))
    monkeypatch.setattr(journal, "_BREATH", 0.0)
    monkeypatch.setattr(journal, "_STOP_PATIENCE", 25.0)  # less than it would sleep by itself
    book.write("one")
    jail.follow(book.source)
    assert jail.sees("one")
    [thread] = [each for each in threading.enumerate() if each.name == "journal:ssh"]

    time.sleep(0.5)  # who did not sleep would go round a thousand times
    assert len(turns) < 10
    jail.stop()

    assert not thread.is_alive()


# -- what keeps it from being read -----------------------------------------------------------------------


def test_a_match_that_is_none_is_named(book):
    book.write("one")

    with pytest.raises(JournalUnavailable, match="'sshd' is no FIELD=VALUE"):
        opened(book.source, (("sshd",),))


def test_without_the_package_it_says_what_to_install(jail, monkeypatch):
    honest = builtins.__import__

    def missing(name, *more, **options):
        if name.partition(".")[0] == "systemd":
            raise ImportError("No module named 'systemd'")
        return honest(name, *more, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    jail.follow(JournalSource())

    eventually(lambda: jail.problem)
    assert "python3-systemd" in jail.problem and "systemd-python" in jail.problem


def test_a_directory_without_a_journal_is_a_problem(jail, tmp_path, book):
    jail.follow(JournalSource(path=str(tmp_path / "nothing")))

    eventually(lambda: jail.problem)
    assert f"there is no journal in {tmp_path / 'nothing'}" == jail.problem


# -- with a server of ours -----------------------------------------------------------------------------

FAILED = "Failed password for alice from {} port 4711 ssh2"


@pytest.fixture
def ours(tmp_path):
    made = Ours(tmp_path)
    yield made
    made.finish()


def a_server(ours, book, *more):
    filter = (ROOT / "config/filter.d/sshd.conf").read_text("utf-8")
    common = (ROOT / "config/filter.d/common.conf").read_text("utf-8")
    ours.configured(
        f"[ssh]\nenabled = true\nfilter = sshd\nbackend = systemd[journalfiles={book.file}]\n"
        "journalmatch = _COMM=sshd\nfindtime = 1h\n" + "".join(more)
    )
    ours.write("filter.d/sshd.conf", filter)
    ours.write("filter.d/common.conf", common)
    return ours.start()


def test_a_server_bans_from_the_journal_over_rotations_and_restarts_and_counts_nothing_twice(
    book, ours
):
    book.write(*[FAILED.format(EVE)] * 2, *[FAILED.format(BOB)] * 2)
    a_server(ours, book)
    eventually(lambda: ours.status("ssh").get("Total failed") == "4")
    assert ours.status("ssh")["Journal matches"] == "_COMM=sshd"

    book.rotate()
    book.write(FAILED.format(EVE))
    eventually(lambda: ours.banned("ssh") == {EVE})

    assert ours.end() == 0
    book.write("while nobody reads")
    ours.start()
    book.write(FAILED.format(BOB))
    eventually(lambda: ours.banned("ssh") == {EVE, BOB})
    assert ours.status("ssh")["Total failed"] == "1"
    # A host is banned once that is decided; its command runs a moment later.
    eventually(lambda: f"ban {BOB}" in ours.noted)
    assert ours.noted.count(f"ban {BOB}") == 1


def test_a_journal_that_cannot_be_read_is_in_the_status_and_no_matter_to_others(book, ours):
    log = ours.folder / "door.log"
    log.write_text("")
    a_server(
        ours,
        book,
        f"[door]\nenabled = true\nlogpath = {log}\n",
        "[odd]\nenabled = true\nfilter = sshd\nbackend = systemd[journalpaht=/x]\n",
    )

    eventually(lambda: "there is no journal file" in ours.says("status", "ssh"))
    assert "'journalpaht' is no option of the journal" in ours.says("status", "odd")
    assert "Problems" in ours.says("status", "odd")
    assert "Problems" not in ours.says("status", "door")


def test_a_stopped_server_leaves_no_descriptor_of_the_journal_open(book, jail):
    book.write("one")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        jail.follow(book.source)
        jail.stop()

    assert len(os.listdir("/proc/self/fd")) <= before + 2


# -- with fail2ban-regex -------------------------------------------------------------------------------


def a_try(book, *words):
    log = f"systemd-journal[journalfiles={book.file}]"
    return run(sys.executable, ROOT / "fail2ban-regex", "-c", ROOT / "config", *words, log, "sshd")


def test_fail2ban_regex_reads_a_journal_and_takes_what_the_filter_wants_of_it(book):
    book.write(FAILED.format(EVE), FAILED.format(BOB))
    book.write(FAILED.format("192.0.2.99"), comm="other")

    assert [EVE, BOB] == a_try(book, "-o", "ip").stdout.split()


def test_fail2ban_regex_takes_what_the_command_line_wants(book):
    book.write(FAILED.format(EVE))

    assert "" == a_try(book, "-o", "ip", "-m", "_COMM=other").stdout


def test_fail2ban_regex_says_that_there_is_no_journal(book):
    log = f"systemd-journal[journalfiles={book.file}]"
    done = run(sys.executable, ROOT / "fail2ban-regex", log, "sshd", check=False)

    assert f"fail2ban-regex: there is no journal file {book.file}\n" == done.stderr


@pytest.mark.parametrize("number", [1, 2, 30, 2500])
def test_entries_that_an_earlier_run_has_read_are_handed_out_as_known(book, jail, number):
    texts = [f"entry {n}" for n in range(number)]
    book.write(*texts)
    jail.follow(book.source)
    assert jail.sees(*texts)
    cursor = jail.blocks[-1].cursor
    jail.stop()
    jail.blocks.clear()
    book.write("later", comm="cron")
    book.write("new")

    jail.follow(book.source, cursor, is_reminded=True)

    assert jail.sees("new")
    assert texts[-2001:] == jail.told(is_known=True)
    assert [True, False] == [block.is_known for block in jail.blocks]
