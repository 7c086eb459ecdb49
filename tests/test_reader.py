# SPDX-License-Identifier: GPL-2.0-or-later
"""The reader's thread: real files, told by inotify or found by polling."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from unittest.mock import patch

import pytest

from common.options import LogPath
from server.reader import LogReader
from server.source import Source
from server.watch import Watcher
from tests.support import eventually


class Jail:
    """Takes blocks in the reader's thread, and remembers the positions."""

    def __init__(self, name, reader, is_polling=False):
        self.name = name
        self.reader = reader
        self.is_polling = is_polling
        self.blocks = []
        self.positions = {}
        self.has_room = True

    def take(self, block):
        if self.has_room:
            self.blocks.append(block)
            self.positions[block.path] = block.end
        return self.has_room

    def follow(self, *patterns, is_tail=False):
        logs = tuple(LogPath(str(pattern), is_tail) for pattern in patterns)
        self.reader.follow(self.name, logs, self.positions, self.take, self.is_polling)
        self.reader.files(self.name)  # answered after that was obeyed

    @property
    def lines(self):
        return b"".join(block.data for block in self.blocks).decode().splitlines()

    def gets(self, *lines):
        eventually(lambda: len(self.lines) >= len(lines), what=f"{lines} in {self.lines}")
        assert sorted(self.lines) == sorted(lines)

    @property
    def files(self):
        return {file.path: file for file in self.reader.files(self.name)}


# Each way to notice a change; without inotify a jail that does not ask for polling polls, too.
every_way = pytest.mark.parametrize("reader", ["inotify", "polling", "no inotify"], indirect=True)


@pytest.fixture
def reader(request):
    reader = LogReader(has_watcher=getattr(request, "param", "") != "no inotify")
    reader.start()
    yield reader
    reader.stop()


@pytest.fixture
def jail(request, reader):
    way = request.node.callspec.params["reader"] if hasattr(request.node, "callspec") else ""
    return Jail("sshd", reader, is_polling=way == "polling")


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "auth.log"
    path.write_text("one\n")
    return path


def append(path, text):
    with Path(path).open("a") as file:
        file.write(text)


def test_many_that_begin_to_follow_are_attended_to_together(reader, tmp_path):
    jails = [Jail(f"jail{number}", reader) for number in range(30)]
    for jail in jails:
        (tmp_path / jail.name).write_text(f"{jail.name}\n")
    with patch.object(LogReader, "_scan", autospec=True, side_effect=LogReader._scan) as scan:
        with reader.gathering():
            for jail in jails:
                logs = (LogPath(str(tmp_path / jail.name), False),)
                reader.follow(jail.name, logs, {}, jail.take)
                reader._ask(lambda: None)  # the reader has seen it
        for jail in jails:
            jail.gets(jail.name)
    assert scan.call_count < len(jails) / 2


def test_who_gathers_for_long_holds_nobody_up(reader, log):
    jail = Jail("sshd", reader)
    with reader.gathering():
        jail.reader.follow(jail.name, (LogPath(str(log), False),), {}, jail.take)
        jail.gets("one")


@every_way
def test_a_log_is_followed(log, jail):
    jail.follow(log)
    jail.gets("one")
    append(log, "two\n")

    jail.gets("one", "two")


@every_way
def test_a_log_is_followed_through_a_rename(log, jail):
    jail.follow(log)
    jail.gets("one")
    log.rename(f"{log}.1")
    append(f"{log}.1", "late\n")
    append(log, "two\n")
    jail.gets("one", "late", "two")
    append(f"{log}.1", "later\n")

    jail.gets("one", "late", "two", "later")


@every_way
def test_a_log_may_appear_later_with_its_directories(tmp_path, jail):
    log = tmp_path / "opt" / "app" / "app.log"
    jail.follow(log)
    assert jail.files[str(log)].is_missing

    log.parent.mkdir(parents=True)
    log.write_text("one\n")

    jail.gets("one")
    assert not jail.files[str(log)].is_missing


@every_way
def test_new_files_under_a_glob_are_read_from_their_head(tmp_path, jail):
    pattern = tmp_path / "*" / "access*.log"
    jail.follow(pattern, is_tail=True)
    assert jail.files[str(pattern)].is_missing

    (tmp_path / "web").mkdir()
    append(tmp_path / "web" / "access.log", "one\n")
    jail.gets("one")
    append(tmp_path / "web" / "access-2.log", "two\n")

    jail.gets("one", "two")
    assert list(jail.files) == [str(tmp_path / "web" / f"access{n}.log") for n in ("-2", "")]


@every_way
def test_a_directory_may_be_deleted_and_made_again(tmp_path, jail):
    log = tmp_path / "app" / "app.log"
    log.parent.mkdir()
    append(log, "one\n")
    jail.follow(log)
    jail.gets("one")
    shutil.rmtree(log.parent)
    log.parent.mkdir()
    append(log, "two\n")

    jail.gets("one", "two")


@every_way
def test_a_log_behind_a_link_is_followed(tmp_path, log, jail):
    link = tmp_path / "elsewhere" / "link.log"
    link.parent.mkdir()
    link.symlink_to(log)
    jail.follow(link)
    jail.gets("one")
    append(log, "two\n")
    jail.gets("one", "two")
    other = tmp_path / "other.log"
    other.write_text("three\n")
    link.unlink()
    link.symlink_to(other)
    jail.gets("one", "two", "three")
    append(other, "four\n")

    jail.gets("one", "two", "three", "four")


@every_way
def test_a_fifo_under_a_glob_is_refused_and_hangs_nothing(tmp_path, log, jail):
    os.mkfifo(tmp_path / "pipe.log")
    jail.follow(tmp_path / "*.log")

    jail.gets("one")
    assert "FIFO" in jail.files[str(tmp_path / "pipe.log")].problem


def test_a_missing_log_keeps_no_other_jail_waiting(tmp_path, log, jail, reader):
    waiting = Jail("waiting", reader)
    waiting.follow(tmp_path / "none" / "missing.log")
    jail.follow(log)

    jail.gets("one")
    assert [file.is_missing for file in reader.files("waiting")] == [True]


def test_a_rotated_file_under_the_same_glob_is_read_once(log, jail):
    jail.follow(f"{log}*")
    jail.gets("one")
    log.rename(f"{log}.1")
    append(log, "two\n")
    jail.gets("one", "two")
    eventually(lambda: f"{log}.1" in jail.files)
    append(f"{log}.1", "late\n")

    jail.gets("one", "two", "late")


def test_a_copy_under_the_same_glob_is_read_once(log, jail):
    jail.follow(f"{log}*")
    jail.gets("one")
    shutil.copy(log, f"{log}.1")
    eventually(lambda: f"{log}.1" in jail.files)
    log.write_text("two\n")
    jail.gets("one", "two")
    append(log, "three\n")

    jail.gets("one", "two", "three")


def test_a_log_that_is_truncated_while_it_is_compared_with_its_copy_is_read_once(log, jail):
    is_copy_of = Source.is_copy_of

    def truncated_first(copy, original):
        with patch.object(Source, "is_copy_of", is_copy_of):
            log.write_text("two\n")
            return is_copy_of(copy, original)

    jail.follow(f"{log}*")
    jail.gets("one")
    with patch.object(Source, "is_copy_of", truncated_first):
        shutil.copy(log, f"{log}.1")
        jail.gets("one", "two")
    append(log, "three\n")

    jail.gets("one", "two", "three")


def test_a_line_that_only_the_copy_has_is_read_there(log, jail):
    jail.has_room = False
    jail.follow(f"{log}*")
    shutil.copy(log, f"{log}.1")
    eventually(lambda: f"{log}.1" in jail.files)
    log.write_text("two\n")
    eventually(lambda: jail.files[str(log)].size == 4)
    jail.has_room = True
    jail.reader.wake(jail.name)

    jail.gets("one", "two")


def test_two_logs_that_begin_alike_are_both_read(tmp_path, jail):
    for name in ("a.log", "b.log"):
        (tmp_path / name).write_text("same\n")
    jail.follow(tmp_path / "*.log")

    jail.gets("same", "same")


def test_compressed_logs_under_a_glob_are_left_alone(log, jail):
    append(f"{log}.2.gz", "zipped\n")
    jail.follow(f"{log}*")

    jail.gets("one")
    assert list(jail.files) == [str(log)]


def test_a_full_jail_waits_and_another_does_not(log, jail, reader):
    slow = Jail("slow", reader)
    slow.has_room = False
    slow.follow(log)
    jail.follow(log)
    append(log, "two\n")
    jail.gets("one", "two")
    assert slow.lines == []

    slow.has_room = True
    reader.wake("slow")

    slow.gets("one", "two")


def test_a_jail_that_forgets_to_ask_for_more_is_asked(log, jail, reader):
    jail.has_room = False
    jail.follow(log)
    jail.has_room = True

    jail.gets("one")


def test_following_again_changes_only_what_differs(tmp_path, log, jail):
    other = tmp_path / "other.log"
    append(other, "other\n")
    jail.follow(log)
    jail.gets("one")
    jail.positions = {}
    jail.follow(log, other)
    jail.gets("one", "other")
    jail.follow(other)
    append(log, "two\n")
    append(other, "more\n")

    jail.gets("one", "other", "more")
    assert list(jail.files) == [str(other)]


def test_a_jail_that_follows_no_more_gets_nothing(log, jail, reader):
    jail.follow(log)
    jail.gets("one")
    reader.unfollow("sshd")
    other = Jail("other", reader)
    other.follow(log)
    append(log, "two\n")

    other.gets("one", "two")
    assert jail.lines == ["one"]
    assert jail.files == {}


def test_reading_goes_on_where_an_earlier_run_stopped(log, jail, reader):
    jail.follow(log)
    jail.gets("one")
    reader.stop()
    append(log, "two\n")
    log.rename(f"{log}.1")
    append(log, "three\n")
    jail.reader = LogReader()
    jail.reader.start()
    jail.follow(log)

    jail.gets("one", "two", "three")
    jail.reader.stop()


def test_a_glob_is_read_on_after_a_restart_without_doubles(log, jail, reader):
    jail.follow(f"{log}*")
    jail.gets("one")
    log.rename(f"{log}.1")
    append(log, "two\n")
    jail.gets("one", "two")
    reader.stop()
    append(log, "three\n")
    log.rename(f"{log}.2")
    append(log, "four\n")
    jail.reader = LogReader()
    jail.reader.start()
    positions = jail.positions
    jail.follow(f"{log}*")
    eventually(lambda: "four" in jail.lines)

    jail.reader.stop()
    assert {"two", "three", "four"} <= set(jail.lines)
    assert jail.lines.count("two") == jail.lines.count("three") == jail.lines.count("four") == 1
    assert str(log) in positions


def test_files_tells_how_far_a_log_was_read(log, jail):
    jail.follow(log)
    jail.gets("one")

    eventually(lambda: jail.files[str(log)].position.offset == 4)
    assert jail.files[str(log)].size == 4


def test_no_deadline_is_needed_where_the_kernel_tells(log, jail, reader):
    reader.stop()
    jail.reader = LogReader(clock=lambda: 0.0)  # it stands still: no poll is ever due
    jail.reader.start()
    jail.follow(log)
    jail.gets("one")
    append(log, "two\n")
    jail.gets("one", "two")
    log.rename(f"{log}.1")
    append(log, "three\n")
    jail.gets("one", "two", "three")
    known = ["one", "two", "three"]
    for path in (f"{log}.1", log, f"{log}.1", log):
        known.append(f"line {len(known)}")
        append(path, f"{known[-1]}\n")
        jail.gets(*known)

    link = log.with_name("link.log")
    jail.follow(log, link)
    link.symlink_to(log.with_name("elsewhere.log"))
    append(link, "elsewhere\n")
    jail.gets(*known, "elsewhere")
    append(link, "again\n")
    jail.gets(*known, "elsewhere", "again")
    jail.reader.stop()


def test_a_log_that_the_kernel_does_not_watch_is_polled(log, jail, reader):
    add = Watcher._add

    def refuse(watcher, path, mask):
        if path == str(log):
            raise OSError("No space left on device")
        return add(watcher, path, mask)

    with patch.object(Watcher, "_add", refuse):
        jail.follow(log)
        jail.gets("one")
    assert {str(log)} == reader._polled  # each second; all others are looked at twice a minute, too
    append(log, "two\n")

    jail.gets("one", "two")


def test_the_reader_ends_its_threads_and_closes_its_files(log, jail, reader):
    jail.follow(log)
    jail.gets("one")
    reader.stop()

    names = {thread.name for thread in threading.enumerate()}
    assert not names & {"reader", "watcher"}
    assert str(log) not in {
        os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")
    }


def test_how_it_stands_is_told_without_the_reader_and_what_is_new_after_a_look(log, jail, tmp_path):
    other = tmp_path / "other.log"
    other.write_bytes(b"a\nb\n")
    jail.follow(log)

    def told_at_once():
        with patch.object(jail.reader, "_post", side_effect=RuntimeError("it was woken")):
            try:
                return list(jail.files)
            except RuntimeError:  # it was just looking
                return None

    assert eventually(told_at_once) == [str(log)]

    with jail.reader.gathering():
        jail.follow(log, tmp_path / "oth*.log")
        assert list(jail.files) == [str(log), str(other)]


def test_a_reader_that_was_not_started_answers(log):
    reader = LogReader(has_watcher=False)
    jail = Jail("sshd", reader)
    jail.follow(log, log.with_name("missing.log"))

    assert [file.is_missing for file in reader.files("sshd")] == [False, True]
    reader.unfollow("sshd")
    assert reader.files("sshd") == []
