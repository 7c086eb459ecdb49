# SPDX-License-Identifier: GPL-2.0-or-later
"""One path through all files that stand there; checked and read by hand, on real files."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from unittest.mock import Mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from server.lines import LONGEST_LINE
from server.records import Position
from server.source import BLOCK, LONG, Claims, Inbox, Source
from server.tail import GRACE, OLDER, Tail


class Jail:
    """Takes blocks like a jail does, and remembers the position after the last one."""

    def __init__(self, name="sshd"):
        self.name = name
        self.blocks = []
        self.position = self.older = None
        self.has_room = True
        self.inbox = Inbox(name, self.take)

    def take(self, block):
        if self.has_room:
            self.blocks.append(block)
            self.position = block.end
            self.older = block.older or self.older
        return self.has_room

    def wake(self):
        self.has_room, self.inbox.is_full = True, False

    @property
    def text(self):
        return b"".join(block.data for block in self.blocks if not block.is_known)

    @property
    def known(self):
        """What was handed out of that which an earlier run has read."""
        return b"".join(block.data for block in self.blocks if block.is_known)

    @property
    def handed(self):
        """What came, block by block, and whether it was known."""
        return [(block.data.decode(), block.is_known) for block in self.blocks if block.data]

    @property
    def lines(self):
        return self.text.decode().splitlines()


def follow(path, *jails, **how):
    tail = Tail(str(path))
    for jail in jails:
        tail.add(jail.inbox, jail.position, older=jail.older, **how)
    return tail


def look(tail, now=0.0):
    """Check and read until there is no more."""
    tail.check(now)
    while tail.read(now):
        pass


def append(path, text):
    with path.open("a") as file:
        file.write(text)


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "auth.log"
    path.write_text("one\ntwo\n")
    return path


@pytest.fixture
def jail():
    return Jail()


def renamed(log, suffix=".1"):
    return log.rename(log.with_name(log.name + suffix))


# -- reading -------------------------------------------------------------------------------------


def test_a_log_is_read_from_its_head_and_on(log, jail):
    tail = follow(log, jail)
    look(tail)
    append(log, "three\n")
    look(tail)

    assert jail.lines == ["one", "two", "three"]


def test_a_log_may_be_read_from_its_tail(log, jail):
    tail = follow(log, jail, is_tail=True)
    look(tail)
    append(log, "three\n")
    look(tail)

    assert jail.lines == ["three"]


def test_the_position_at_the_tail_is_told_before_there_is_a_line(log, jail):
    look(follow(log, jail, is_tail=True))

    append(log, "while we were away\n")
    look(follow(log, jail, is_tail=True))

    assert jail.lines == ["while we were away"]


def test_a_line_that_is_being_written_at_the_tail_is_read_whole(log, jail):
    append(log, "thr")
    tail = follow(log, jail, is_tail=True)
    look(tail)
    append(log, "ee\n")
    look(tail)

    assert jail.lines == ["three"]


def test_a_half_written_line_waits_for_its_rest(log, jail):
    append(log, "thr")
    tail = follow(log, jail)
    look(tail)
    assert jail.text == b"one\ntwo\n"

    append(log, "ee\nfo")
    look(tail)

    assert jail.text == b"one\ntwo\nthree\n"


def test_blocks_are_bounded_and_end_with_a_line(log, jail):
    text = "".join(f"line {number} {'x' * 90}\n" for number in range(30_000))
    log.write_text(text)
    look(follow(log, jail))

    assert jail.text.decode() == text
    assert all(len(block.data) <= BLOCK for block in jail.blocks)
    assert all(block.data.endswith(b"\n") for block in jail.blocks)


# -- lines without measure -----------------------------------------------------------------------

# A line of which each block that may be read of it holds what looks like a line's beginning.
FORGED = b"Nov 25 12:00:00 sshd: Failed password for root from 192.0.2.7 " * 16
ENDLESS = (FORGED + b"x" * (BLOCK // 64)) * 200


@pytest.mark.parametrize("length", [LONG + 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, len(ENDLESS)])
def test_of_a_line_that_is_too_long_nothing_but_the_beginning_is_read(log, jail, caplog, length):
    log.write_bytes(b"one\n" + ENDLESS[:length] + b"\nshort\n")
    tail = follow(log, jail)
    look(tail)

    first, line, *others = jail.text.split(b"\n")
    assert (first, others) == (b"one", [b"short", b""])
    assert line[:LONG] == ENDLESS[:LONG]
    assert 1 == tail.state("sshd").long_lines == caplog.text.count("longer than 64 KiB, at byte 4")
    assert jail.position.offset == log.stat().st_size


def test_a_line_of_the_greatest_length_is_not_too_long(log, jail):
    log.write_bytes(ENDLESS[:LONG] + b"\n")
    tail = follow(log, jail)
    look(tail)

    assert jail.text == ENDLESS[:LONG] + b"\n"
    assert 0 == tail.state("sshd").long_lines


def test_a_line_that_is_too_long_may_come_in_pieces_and_is_read_once(log, jail):
    tail = follow(log, jail)
    size = 700_001
    for begin in range(0, len(ENDLESS), size):
        with log.open("ab") as file:
            file.write(ENDLESS[begin : begin + size])
        look(tail)
        look(tail)
    assert jail.lines == ["one", "two"]
    assert 1 == tail.state("sshd").long_lines  # it is told of before it ends

    append(log, "\nthree\n")
    look(tail)

    assert [line[:9] for line in jail.lines] == ["one", "two", "Nov 25 12", "three"]
    assert tail.reads < 40
    assert 1 == tail.state("sshd").long_lines


@pytest.mark.parametrize("written", [LONG + 5, BLOCK, 2 * BLOCK + 3, len(ENDLESS) - 1])
def test_a_restart_in_the_midst_of_a_line_that_is_too_long_takes_its_rest_for_no_line(
    log, jail, written
):
    with log.open("ab") as file:
        file.write(ENDLESS[:written])
    look(follow(log, jail))
    with log.open("ab") as file:
        file.write(ENDLESS[written:] + b"\nthree\n")

    look(follow(log, jail))
    look(follow(log, jail))

    assert [line[:9] for line in jail.lines] == ["one", "two", "Nov 25 12", "three"]


def test_the_rest_of_a_line_that_was_handed_out_unfinished_is_no_line(log, jail):
    append(log, "a half line of ")
    tail = follow(log, jail)
    look(tail)
    old = renamed(log)
    look(tail, 1)
    log.touch()
    look(tail, 2)
    look(tail, 3 + GRACE)
    assert jail.lines == ["one", "two", "a half line of "]
    jail.position = Position(*(old.stat().st_dev, old.stat().st_ino), old.stat().st_size)

    append(old, "Failed password for root from 192.0.2.7\nthree\n")
    look(follow(log, jail))

    assert jail.lines == ["one", "two", "a half line of three"]


def test_what_was_written_of_a_long_line_may_be_taken_back(log, jail):
    tail = follow(log, jail)
    with log.open("ab") as file:
        file.write(ENDLESS[: 3 * BLOCK])
    look(tail)
    os.truncate(log, 8)
    look(tail)
    append(log, "three\n")
    look(tail)

    assert jail.lines == ["one", "two", "three"]


def test_a_service_may_go_on_where_it_was_in_a_file_that_was_emptied(log, jail):
    tail = follow(log, jail)
    look(tail)
    with log.open("r+b") as file:
        file.truncate(0)
        file.seek(5 * BLOCK + 11)
        file.write(b"three\nfour\n")
    look(tail)

    assert jail.text.replace(b"\0", b"") == b"one\ntwo\nthree\nfour\n"
    assert 0 == tail.state("sshd").long_lines


def test_of_many_lines_that_are_too_long_few_are_told(log, jail, caplog):
    log.write_bytes((b"x" * (LONG + 1) + b"\n") * 70)
    tail = follow(log, jail, other := Jail("slow"))
    look(tail)

    assert 70 == tail.state("slow").long_lines
    assert 7 == caplog.text.count("has a line longer")
    assert jail.text == other.text


def test_a_line_is_too_long_where_a_filter_would_cut_it():
    assert LONG == LONGEST_LINE


# -- what is handed out once more, and what not at all ---------------------------------------------


def reminded(reminder):
    jail = Jail()
    jail.inbox = Inbox("sshd", jail.take, reminder=reminder)
    return jail


@pytest.mark.parametrize(
    ("reminder", "known"),
    [(0, ""), (3, ""), (4, ""), (5, "two\n"), (7, "two\n"), (8, "one\ntwo\n")],
)
def test_what_an_earlier_run_read_last_is_handed_out_as_known(log, reminder, known):
    look(follow(log, first := Jail()))
    jail = reminded(reminder)
    jail.position = first.position
    append(log, "three\n")
    tail = follow(log, jail)
    look(tail)
    append(log, "four\n")
    look(tail)

    assert jail.known.decode() == known
    assert jail.lines == ["three", "four"]
    assert all(block.end.offset >= 8 for block in jail.blocks)


def test_a_jail_without_an_earlier_run_is_reminded_of_nothing(log):
    look(follow(log, jail := reminded(100)))

    assert (jail.known, jail.lines) == (b"", ["one", "two"])


def test_what_is_known_waits_for_room_too_and_comes_first(log):
    look(follow(log, first := Jail()))
    jail, jail_at = reminded(100), first.position
    jail.position, jail.has_room = jail_at, False
    append(log, "three\n")
    tail = follow(log, jail)
    look(tail)
    assert jail.blocks == []

    jail.wake()
    look(tail)

    assert [block.data for block in jail.blocks] == [b"one\ntwo\n", b"three\n"]
    assert [block.is_known for block in jail.blocks] == [True, False]


def test_what_is_known_is_found_in_a_file_that_was_rotated_meanwhile(log):
    look(follow(log, first := Jail()))
    jail = reminded(100)
    jail.position = first.position
    append(log, "three\n")
    renamed(log)
    log.write_text("new\n")
    look(follow(log, jail))

    assert (jail.known, jail.lines) == (b"one\ntwo\n", ["three", "new"])


@pytest.mark.parametrize(
    ("reminder", "known"),
    [(4, "new\n"), (7, "new\n"), (10, "two\nnew\n"), (12, "two\nnew\n"), (13, "one\ntwo\nnew\n")],
)
def test_what_is_known_may_stand_in_the_file_before(log, reminder, known):
    tail = follow(log, first := Jail())
    look(tail)
    log.with_name("auth.log.2").write_text("long ago\n")
    os.utime(log.with_name("auth.log.2"), (1, 1))
    renamed(log)
    log.write_text("new\n")
    look(tail, 1)
    jail = reminded(reminder)
    jail.position, jail.older = first.position, first.older
    append(log, "newer\n")
    look(follow(log, jail))

    assert (jail.known.decode(), jail.lines) == (known, ["newer"])


def test_what_is_known_comes_before_a_straggler_in_the_file_before(log):
    tail = follow(log, first := Jail())
    look(tail)
    old = renamed(log)
    log.write_text("new\n")
    look(tail, 1)
    append(old, "late\n")
    jail = reminded(100)
    jail.position, jail.older = first.position, first.older
    look(follow(log, jail))

    assert jail.handed == [
        ("one\ntwo\n", True),
        ("late\n", False),
        ("new\n", True),
    ]


def test_what_is_known_comes_before_what_was_copied_away_meanwhile(log):
    tail = follow(log, first := Jail())
    look(tail)
    log.with_name("auth.log.1").write_bytes(log.read_bytes())
    os.truncate(log, 0)
    look(tail, 1)
    assert first.position.offset == 0
    log.with_name("auth.log.1").rename(log.with_name("auth.log.2"))
    append(log, "three\n")
    log.with_name("auth.log.1").write_bytes(log.read_bytes())
    os.truncate(log, 0)
    append(log, "four\n")
    jail = reminded(100)
    jail.position, jail.older = first.position, first.older
    look(follow(log, jail))

    assert jail.handed == [
        ("one\ntwo\n", True),
        ("three\n", False),
        ("four\n", False),
    ]


def test_what_is_known_is_handed_out_also_where_the_log_is_copied_and_truncated_just_then(log):
    look(follow(log, first := Jail()))
    append(log, "three\n")
    jail = reminded(100)
    jail.position = first.position
    tail = follow(log, jail)
    tail.check(0)
    log.with_name("auth.log.1").write_bytes(log.read_bytes())
    os.truncate(log, 0)
    append(log, "four\n")
    look(tail, 1)

    assert jail.handed == [
        ("one\ntwo\n", True),
        ("three\n", False),
        ("four\n", False),
    ]


@pytest.mark.parametrize("others", ["four\n", "four\n" * 30, "four\n" * 300])
def test_a_log_may_be_copied_and_truncated_just_when_a_jail_is_placed_in_it(log, others):
    log.write_text(known := "one\n" + "two\n" * 100)
    look(follow(log, first := Jail()))
    append(log, "three\n")

    class Late(Source):
        def mark_at(self, offset):
            if not log.with_name("auth.log.1").exists():
                log.with_name("auth.log.1").write_bytes(log.read_bytes())
                os.truncate(log, 0)
                append(log, others)
            return super().mark_at(offset)

    jail = reminded(1000)
    tail = Tail(str(log), opened=Late)
    tail.add(jail.inbox, first.position)
    look(tail)
    look(tail, 1)

    assert jail.handed == [
        (known, True),
        ("three\n", False),
        (others, False),
    ]


def test_a_copy_that_is_being_made_of_a_log_is_not_the_file_before_it(log):
    look(follow(log, first := Jail()))
    log.with_name("auth.log.2").write_text("zero\n")
    append(log, "three\n")
    log.with_name("auth.log.1").write_bytes(log.read_bytes())
    for number, name in enumerate(["auth.log.2", "auth.log.1", "auth.log"]):
        os.utime(log.with_name(name), (number, number))
    jail = reminded(100)
    jail.position = first.position
    look(follow(log, jail))

    assert jail.known == b"zero\none\ntwo\n"
    assert jail.lines == ["three"]


def test_what_a_jail_need_not_read_is_passed_over_for_it_alone(log, caplog):
    caplog.set_level("INFO")
    one, other = Jail("picky"), Jail("sshd")
    one.inbox = Inbox("picky", one.take, border=lambda read, offset, size: offset + 4)
    look(follow(log, one, other))

    assert (one.lines, other.lines) == (["two"], ["one", "two"])
    assert one.position == other.position
    assert "[picky] of " in caplog.text


def test_a_search_that_fails_costs_nothing_but_time(log, jail, caplog):
    jail.inbox.border = lambda read, offset, size: 1 // 0
    look(follow(log, jail))

    assert jail.lines == ["one", "two"]
    assert "ZeroDivisionError" in caplog.text


def test_of_what_is_passed_over_nothing_is_handed_out_as_known(log):
    look(follow(log, first := Jail()))
    jail = reminded(100)
    jail.inbox.border = lambda read, offset, size: size - 5
    jail.position = first.position
    append(log, "three\nfour\n")
    look(follow(log, jail))

    assert (jail.known, jail.lines) == (b"", ["four"])


def test_how_far_a_jail_is_that_is_catching_up_is_told_now_and_then(log, jail, caplog):
    caplog.set_level("INFO")
    line = b"x" * 1023 + b"\n"
    log.write_bytes(line * 1024 * 20)
    tail = follow(log, jail)
    tail.check(0)
    assert "0 % read, 20 MiB left" == tail.state("sshd").progress
    told = []
    for second in range(30):
        tail.read(second)
        told.append(caplog.text.count("MiB left"))

    assert told[0] == 1 and told[10] == 1 and told[-1] == 1
    assert f"[sshd] {log}: 10 % read, 18 MiB left" in caplog.text
    assert f"[sshd] {log}: read up to its end" in caplog.text
    assert "" == tail.state("sshd").progress


def test_a_jail_that_is_slow_to_catch_up_is_told_of_again(log, jail, caplog):
    caplog.set_level("INFO")
    log.write_bytes((b"x" * 1023 + b"\n") * 1024 * 30)
    tail = follow(log, jail)
    tail.check(0)
    tail.read(0)
    tail.read(5)
    assert 1 == caplog.text.count("MiB left")
    tail.read(10)

    assert f"[sshd] {log}: 20 % read, 24 MiB left" in caplog.text


# -- where it begins and ends --------------------------------------------------------------------


def test_each_block_says_where_it_begins_and_where_reading_goes_on(log, jail):
    tail = follow(log, jail)
    look(tail)
    append(log, "three\n")
    look(tail)

    status = log.stat()
    first, second = jail.blocks
    assert (first.start.offset, first.end.offset, second.end.offset) == (0, 8, 14)
    assert first.end == second.start
    assert (first.end.device, first.end.inode) == (status.st_dev, status.st_ino)
    assert first.start.fingerprint == second.end.fingerprint != b""
    assert first.path == str(log)


def test_three_jails_share_one_read(log):
    jails = [Jail("a"), Jail("b"), Jail("c")]
    tail = follow(log, *jails)
    look(tail)

    assert [jail.lines for jail in jails] == [["one", "two"]] * 3
    assert tail.reads == 1


def test_nothing_new_costs_no_read(log, jail):
    tail = follow(log, jail)
    look(tail)
    append(log, "half a li")
    look(tail)
    before = tail.reads
    look(tail)

    assert tail.reads == before


def test_a_full_jail_loses_nothing_and_holds_up_nobody(log):
    slow, fast = Jail("slow"), Jail("fast")
    slow.has_room = False
    tail = follow(log, slow, fast)
    look(tail)
    append(log, "three\n")
    look(tail)
    assert (slow.lines, fast.lines) == ([], ["one", "two", "three"])

    slow.wake()
    look(tail)

    assert slow.lines == fast.lines == ["one", "two", "three"]


def test_a_jail_that_fails_is_asked_again(log, jail, caplog):
    def fail(block):
        raise RuntimeError("out of order")

    jail.inbox.deliver = fail
    tail = follow(log, jail, other := Jail("other"))
    look(tail)
    jail.inbox.deliver = jail.take
    jail.wake()
    look(tail)

    assert jail.lines == other.lines == ["one", "two"]
    assert "out of order" in caplog.text


def test_a_jail_that_is_removed_gets_nothing_more(log, jail):
    tail = follow(log, jail, other := Jail("other"))
    look(tail)
    tail.remove("sshd")
    append(log, "three\n")
    look(tail)

    assert (jail.lines, other.lines) == (["one", "two"], ["one", "two", "three"])


# -- rotation ------------------------------------------------------------------------------------


def test_a_renamed_file_is_finished_before_the_new_one(log, jail):
    tail = follow(log, jail)
    look(tail)
    append(log, "three\n")
    renamed(log)
    log.write_text("four\n")
    look(tail)

    assert jail.lines == ["one", "two", "three", "four"]


def test_a_service_may_go_on_writing_to_the_renamed_file(log, jail):
    tail = follow(log, jail)
    look(tail)
    old = renamed(log)
    log.write_text("new 1\n")
    look(tail, 1)
    append(old, "late\n")
    look(tail, GRACE - 1)
    append(old, "later\n")
    look(tail, 2 * GRACE - 2)

    assert jail.lines == ["one", "two", "new 1", "late", "later"]


def test_a_service_may_reopen_long_after_the_rename(log, jail):
    tail = follow(log, jail)
    look(tail)
    old = renamed(log)
    look(tail, 1)
    append(old, "late\n")
    look(tail, 10 * GRACE)
    log.write_text("new\n")
    look(tail, 11 * GRACE)

    assert jail.lines == ["one", "two", "late", "new"]


def test_a_deleted_file_is_finished_and_the_new_one_begun(log, jail):
    tail = follow(log, jail)
    look(tail)
    with log.open("a") as service:
        log.unlink()
        look(tail, 1)
        assert tail.state("sshd").is_missing
        service.write("late\n")
    log.write_text("new\n")
    look(tail, 2)

    assert jail.lines == ["one", "two", "late", "new"]
    assert not tail.state("sshd").is_missing


def test_an_old_file_is_let_go_after_it_was_quiet(log, jail):
    tail = follow(log, jail)
    look(tail)
    renamed(log)
    log.touch()
    look(tail, 1)
    assert tail.has_older

    look(tail, 1 + GRACE)

    assert not tail.has_older


def test_the_unfinished_last_line_of_an_old_file_is_handed_out_in_the_end(log, jail):
    append(log, "unfinis")
    tail = follow(log, jail)
    look(tail)
    renamed(log)
    log.write_text("new\n")
    look(tail, 1)
    assert jail.lines == ["one", "two", "new"]

    look(tail, 1 + GRACE)

    assert jail.lines == ["one", "two", "new", "unfinis"]


def test_a_late_line_in_an_old_file_does_not_take_the_position_back(log, jail):
    tail = follow(log, jail)
    look(tail)
    old = renamed(log)
    log.write_text("new\n")
    look(tail, 1)
    append(old, "late\n")
    look(tail, 2)

    look(follow(log, jail))

    assert jail.lines == ["one", "two", "new", "late"]


@pytest.mark.parametrize("is_read_before", [False, True])
def test_a_late_line_in_an_old_file_is_read_after_a_restart(log, jail, is_read_before):
    tail = follow(log, jail)
    look(tail)
    old = renamed(log)
    log.write_text("new\n")
    look(tail, 1)
    if is_read_before:
        append(old, "late\n")
        look(tail, 2)
    append(old, "later\n")
    append(log, "newer\n")

    for run in range(3):
        look(follow(log, jail), run)

    late = ["late"] if is_read_before else []
    assert sorted(jail.lines) == sorted(["one", "two", "new", *late, "later", "newer"])


def test_late_lines_for_two_jails_are_read_once_by_each(log):
    jails = Jail("a"), Jail("b")
    tail = follow(log, *jails)
    look(tail)
    old = renamed(log)
    log.write_text("new\n")
    look(tail, 1)
    append(old, "late\n")

    for run in range(2):
        look(follow(log, *jails), run)

    assert [jail.lines for jail in jails] == [["one", "two", "new", "late"]] * 2


def test_an_old_file_that_is_gone_after_a_restart_is_not_missed(log, jail):
    tail = follow(log, jail)
    look(tail)
    old = renamed(log)
    log.write_text("new\n")
    look(tail, 1)
    old.unlink()
    old.write_text("another file under the same name\n")

    look(tail := follow(log, jail))

    assert jail.lines == ["one", "two", "new"]
    assert not tail.has_older


def test_a_file_that_is_renamed_back_is_read_once(log, jail):
    tail = follow(log, jail)
    look(tail)
    old = renamed(log)
    look(tail, 1)
    old.rename(log)
    append(log, "three\n")
    look(tail, 2)

    assert jail.lines == ["one", "two", "three"]


def test_what_came_and_went_between_two_looks_is_read(log, jail):
    tail = follow(log, jail)
    look(tail)
    for number in (1, 2, 3):
        log.rename(f"{log}.{number}")
        log.write_text(f"new {number}\n")
    look(tail, 1)

    assert jail.lines == ["one", "two", "new 1", "new 2", "new 3"]


def test_the_number_of_old_files_held_open_is_bounded(log, jail, caplog):
    jail.has_room = False
    tail = follow(log, jail)
    open_before = len(os.listdir("/proc/self/fd"))
    for number in range(3 * OLDER):
        look(tail, number)
        log.rename(f"{log}.{number}")
        log.write_text(f"new {number}\n")

    assert len(os.listdir("/proc/self/fd")) - open_before <= OLDER + 2
    assert "stay unread" in caplog.text


def test_a_truncated_file_is_read_from_its_head(log, jail):
    tail = follow(log, jail)
    look(tail)
    log.write_text("new\n")
    look(tail)

    assert jail.lines == ["one", "two", "new"]


def test_a_file_that_grew_again_after_it_was_truncated_is_recognised(log, jail):
    tail = follow(log, jail)
    look(tail)
    log.write_text("this is longer than what was read before\n")
    look(tail)

    assert jail.lines == ["one", "two", "this is longer than what was read before"]


def test_equal_first_lines_do_not_hide_that_a_file_was_truncated(log, jail):
    log.write_text("# log\none\n")
    tail = follow(log, jail)
    look(tail)
    log.write_text("# log\nsix\nseven\n")
    look(tail)

    assert jail.lines == ["# log", "one", "# log", "six", "seven"]


def test_what_was_not_read_before_a_truncation_is_read_in_the_copy(log):
    slow, fast = Jail("slow"), Jail("fast")
    slow.has_room = False
    tail = follow(log, slow, fast)
    look(tail)
    append(log, "three\n")
    shutil.copy(log, f"{log}.1")
    log.write_text("four\n")
    look(tail)
    slow.wake()
    look(tail)

    assert slow.lines == fast.lines == ["one", "two", "three", "four"]


def test_a_truncation_that_loses_lines_is_told(log, jail, caplog):
    jail.has_room = False
    tail = follow(log, jail)
    look(tail)
    log.write_text("")
    look(tail)

    assert "8 bytes of it were not read yet" in caplog.text


# -- restart -------------------------------------------------------------------------------------


def test_reading_goes_on_at_the_position_of_an_earlier_run(log, jail):
    look(follow(log, jail))
    append(log, "three\n")
    look(follow(log, jail))

    assert jail.lines == ["one", "two", "three"]


def test_another_device_number_after_a_reboot_does_not_matter(log, jail):
    look(follow(log, jail))
    at = jail.position
    jail.position = Position(at.device + 1, at.inode, at.offset, at.fingerprint)
    look(follow(log, jail))

    assert jail.lines == ["one", "two"]


def test_a_file_rotated_while_nobody_looked_is_finished_first(log, jail):
    look(follow(log, jail))
    append(log, "three\n")
    renamed(log)
    log.write_text("four\n")
    look(follow(log, jail))

    assert jail.lines == ["one", "two", "three", "four"]


def test_several_rotations_while_nobody_looked_are_all_read(log, jail):
    look(follow(log, jail))
    append(log, "three\n")
    renamed(log, ".2")
    log.write_text("four\n")
    renamed(log, ".1")
    log.write_text("five\n")
    look(follow(log, jail))

    assert jail.lines == ["one", "two", "three", "four", "five"]


def test_a_renamed_file_is_found_while_there_is_no_new_one(log, jail):
    look(follow(log, jail))
    old = renamed(log)
    append(old, "three\n")
    tail = follow(log, jail)
    look(tail)
    log.write_text("four\n")
    look(tail)

    assert jail.lines == ["one", "two", "three", "four"]


def test_a_file_copied_and_truncated_while_nobody_looked_is_finished_in_the_copy(log, jail):
    look(follow(log, jail))
    append(log, "three\n")
    shutil.copy(log, f"{log}.1")
    log.write_text("four\n")
    look(follow(log, jail))

    assert jail.lines == ["one", "two", "three", "four"]


def test_a_jail_that_joins_late_reads_what_the_others_have_read_and_let_go(log):
    first, late = Jail("first"), Jail("late")
    tail = follow(log, first, late)
    look(tail)
    tail.remove("late")
    renamed(log, ".2")
    os.utime(f"{log}.2", (1, 1))
    log.write_text("three\n")
    look(tail, 1)
    shutil.copy(log, f"{log}.1")
    os.truncate(log, 0)
    append(log, "four\n")
    for second in range(2, 6):
        look(tail, second)
    assert first.lines == ["one", "two", "three", "four"]

    tail.add(late.inbox, late.position)
    look(tail, 6)

    assert late.lines == ["one", "two", "three", "four"]
    assert first.lines == ["one", "two", "three", "four"]


def test_a_jail_at_the_head_notices_too_that_the_log_was_truncated_just_now(log):
    first, late = Jail("first"), Jail("late")
    append(log, "three\n")
    tail = follow(log, first)
    look(tail)
    tail.add(late.inbox)
    tail.check(1)
    shutil.copy(log, f"{log}.1")
    os.truncate(log, 0)
    append(log, "four\n")

    while tail.read(1):
        pass
    look(tail, 2)

    assert first.lines == late.lines == ["one", "two", "three", "four"]


@pytest.mark.parametrize("part", ["", "thr", "three\n", "three\nfour\n"])
def test_a_jail_that_joins_while_a_copy_is_made_reads_each_line_once(log, part):
    first, late = Jail("first"), Jail("late")
    tail = follow(log, first, late)
    look(tail)
    tail.remove("late")
    renamed(log, ".2")
    os.utime(f"{log}.2", (1, 1))
    log.write_text("three\n")
    look(tail, 1)
    append(log, "four\n")
    copy = log.with_name("auth.log.1")
    copy.write_text(part)
    tail.add(late.inbox, late.position)
    tail.check(2)

    copy.write_text("three\nfour\n")
    os.truncate(log, 0)
    append(log, "five\n")
    for second in range(3, 6):
        look(tail, second)

    assert first.lines == late.lines == ["one", "two", "three", "four", "five"]


@pytest.fixture
def empty(log, jail):
    """An empty log of which the jail knows the position, some earlier ones beside it."""
    for number in range(30):
        log.with_name(f"auth.log.{number + 2}").write_text(f"earlier {number}\n")
    log.write_text("")
    look(follow(log, jail, is_tail=True))
    assert jail.position.offset == 0
    return log


def copied_and_truncated(log, text, number=1):
    append(log, text)
    shutil.copy(log, f"{log}.{number}")
    os.truncate(log, 0)


@pytest.mark.parametrize("later", ["", "later\n"])
def test_what_was_written_to_an_empty_file_and_copied_away_while_nobody_looked_is_read(
    empty, jail, later
):
    copied_and_truncated(empty, "one\ntwo\n")
    empty.with_name("auth.log.1").rename(f"{empty}.50")
    copied_and_truncated(empty, "three\n")
    append(empty, later)
    for run in range(3):
        look(follow(empty, jail), run)

    assert jail.lines == ["one", "two", "three", *later.split()]


def test_a_restart_in_the_midst_of_such_a_copy_goes_on_there(empty, jail):
    lines = [f"{number} {'x' * 1000}" for number in range(3000)]
    copied_and_truncated(empty, "\n".join(lines) + "\n")
    append(empty, "later\n")
    tail = follow(empty, jail)
    tail.check(0)
    tail.read(0)
    assert 0 < len(jail.lines) < 3000

    look(follow(empty, jail))

    assert jail.lines == [*lines, "later"]


def test_a_copy_of_an_empty_log_that_was_not_truncated_is_not_read(empty, jail):
    append(empty, "one\ntwo\n")
    shutil.copy(empty, f"{empty}.1")
    append(empty, "three\n")
    look(follow(empty, jail))

    assert jail.lines == ["one", "two", "three"]


def test_an_empty_log_that_is_written_and_renamed_while_nobody_looked_is_finished(empty, jail):
    append(empty, "one\n")
    renamed(empty)
    append(empty, "two\n")
    look(follow(empty, jail))

    assert jail.lines == ["one", "two"]


def test_a_file_copied_and_truncated_and_then_renamed_while_nobody_looked_is_finished(log, jail):
    look(follow(log, jail))
    append(log, "three\n")
    shutil.copy(log, f"{log}.2")
    log.write_text("four\n")
    renamed(log, ".1")
    log.write_text("five\n")
    look(follow(log, jail))

    assert jail.lines == ["one", "two", "three", "four", "five"]


def test_where_the_earlier_file_is_gone_the_new_one_is_read_from_its_head(log, jail, caplog):
    caplog.set_level("INFO")
    look(follow(log, jail))
    log.rename(log.with_name("auth.log.1.gz"))
    log.write_text("four\n")
    look(follow(log, jail, is_tail=True))

    assert jail.lines == ["one", "two", "four"]
    assert "the earlier one is not beside it" in caplog.text


def test_an_inode_number_given_to_another_file_is_no_proof(log, jail):
    status = log.stat()
    jail.position = Position(status.st_dev, status.st_ino, 4, b"of another file!")
    look(follow(log, jail))

    assert jail.lines == ["one", "two"]


# -- trouble -------------------------------------------------------------------------------------


def test_a_missing_log_is_read_from_its_head_once_it_appears(tmp_path, jail):
    log = tmp_path / "late.log"
    tail = follow(log, jail, is_tail=True)
    look(tail)
    assert tail.state("sshd").is_missing

    log.write_text("one\n")
    look(tail)

    assert jail.lines == ["one"]


def test_a_directory_may_be_deleted_and_made_again(tmp_path, jail):
    log = tmp_path / "app" / "app.log"
    log.parent.mkdir()
    log.write_text("one\n")
    tail = follow(log, jail)
    look(tail)
    shutil.rmtree(log.parent)
    look(tail)
    log.parent.mkdir()
    log.write_text("two\n")
    look(tail)

    assert jail.lines == ["one", "two"]


def test_a_log_may_be_replaced_by_a_link(log, jail):
    tail = follow(log, jail)
    look(tail)
    other = log.with_name("other")
    other.write_text("three\n")
    log.unlink()
    log.symlink_to(other)
    look(tail)

    assert jail.lines == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (os.mkfifo, "is a FIFO, not a log file"),
        (os.mkdir, "is a directory, not a log file"),
        (lambda path: os.symlink("/dev/zero", path), "is a device, not a log file"),
        (lambda path: os.symlink(path, path), "Too many levels of symbolic links"),
    ],
)
def test_what_is_no_file_is_refused_visibly(tmp_path, jail, make, problem, caplog):
    path = tmp_path / "strange"
    make(path)
    tail = follow(path, jail)
    look(tail)
    look(tail)

    assert tail.state("sshd").problem == problem
    assert caplog.text.count("cannot be read") == 1
    assert tail.patience(0.0) is not None


def test_a_refused_log_is_read_once_it_is_a_file(tmp_path, jail):
    path = tmp_path / "strange"
    path.mkdir()
    tail = follow(path, jail)
    look(tail)
    path.rmdir()
    path.write_text("one\n")
    look(tail)

    assert jail.lines == ["one"]
    assert tail.state("sshd").problem == ""


class OnNetwork(Source):
    """A file on a network file system, the handle of which may go stale."""

    stale = set()  # what of any that is open gives ESTALE from now on

    def __init__(self, path):
        super().__init__(path)
        self.is_stale = False

    def has_changed(self):
        self._ask("fstat")
        return super().has_changed()

    def read(self, *words, **more):
        self._ask("pread")
        return super().read(*words, **more)

    def _ask(self, call):
        self.is_stale = self.is_stale or call in OnNetwork.stale
        if self.is_stale:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))


@pytest.mark.parametrize("call", ["fstat", "pread"])
@pytest.mark.parametrize("is_rotated", [False, True])
def test_a_stale_handle_is_opened_anew_at_the_same_place(log, jail, caplog, call, is_rotated):
    jail.inbox.reminder = 100
    tail = Tail(str(log), opened=OnNetwork)
    tail.add(jail.inbox)
    look(tail)
    old = log
    if is_rotated:
        old = renamed(log)
        log.write_text("new\n")
        look(tail, 1)
    append(old, "three\n")
    append(log, "four\n")
    OnNetwork.stale = {call}
    tail.check(2)
    tail.read(2)
    OnNetwork.stale = set()
    assert "Stale file handle" in caplog.text

    for second in range(3, 9):
        look(tail, second)

    new = ["new"] if is_rotated else []
    assert sorted(jail.lines) == sorted(["one", "two", *new, "three", "four"])
    assert not tail.problem and not jail.known


def test_a_permission_lost_and_regained_loses_no_line(log, jail):
    if os.geteuid():
        pytest.skip("needs root, who alone can become somebody else")
    os.chmod(log.parent, 0o700)
    tail = follow(log, jail)
    os.seteuid(65534)
    try:
        look(tail)
    finally:
        os.seteuid(0)
    assert tail.state("sshd").problem == "Permission denied"

    look(tail)

    assert (jail.lines, tail.state("sshd").problem) == (["one", "two"], "")


def test_tries_to_read_what_cannot_be_read_become_rare(tmp_path, jail):
    tail = follow(tmp_path, jail)
    pauses = []
    for _ in range(8):
        look(tail)
        pauses.append(tail.patience(0.0))

    assert pauses[0] <= 2
    assert pauses == sorted(pauses)
    assert pauses[-1] == 30


def test_a_file_with_two_names_is_read_by_one_of_them(log, jail):
    claims = Claims()
    other = log.with_name("other.log")
    os.link(log, other)
    first, second = Tail(str(log), claims), Tail(str(other), claims)
    for tail in (first, second):
        tail.add(jail.inbox)
        look(tail)
    assert jail.lines == ["one", "two"]

    first.remove("sshd")
    append(log, "three\n")
    look(second)

    assert jail.lines == ["one", "two", "three"]


# -- any cut of writes, any sequence of rotations ------------------------------------------------


class AnyRotation(RuleBasedStateMachine):
    """A service writes lines, somebody rotates its log, and two jails, one often full, read it."""

    @initialize()
    def begin(self):
        self.directory = Path(tempfile.mkdtemp())
        self.log = self.directory / "auth.log"
        self.now = 0.0
        self.ticks = 0
        self.jails = [Jail("fast"), Jail("slow")]
        self.written = []
        self.rest = b""  # of a line whose first part is written
        self.rotations = self.unread = self.file = 0
        self.service = None
        self.is_deleted = False
        self.open_log()
        self.start()
        look(self.tail, self.now)

    def start(self):
        self.tail = follow(self.log, *self.jails)

    def open_log(self):
        if self.service is not None:
            os.close(self.service)
        self.service = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self.stamp(self.service)
        self.file += 1

    def stamp(self, file):
        """Give `file` a time of its own: rotations within one tick of the kernel are not meant."""
        self.ticks += 1
        os.utime(file, (self.ticks, self.ticks))

    def drain(self):
        for jail in self.jails:
            jail.wake()
        look(self.tail, self.now)
        self.unread = 0

    def end_line(self):
        if self.rest:
            os.write(self.service, self.rest)
            self.stamp(self.service)
        self.rest = b""

    def rotate(self):
        self.rotations += 1
        self.unread += 1
        return self.log.with_name(f"auth.log.{self.rotations}")

    @rule(lengths=st.lists(st.integers(0, 200), min_size=1, max_size=4), cut=st.integers(0, 60))
    def write(self, lengths, cut):
        lines = []
        for length in lengths:
            self.written.append(f"{self.file} {len(self.written)} {'x' * length}")
            lines.append(self.written[-1])
        data = self.rest + "\n".join(lines).encode() + b"\n"
        end = len(data) - min(cut, len(lines[-1]))
        os.write(self.service, data[:end])
        self.stamp(self.service)
        self.rest = data[end:]

    @precondition(lambda self: self.unread < OLDER - 2)
    @rule(is_created=st.booleans(), is_late=st.booleans())
    def rename(self, is_created, is_late):
        if not self.log.exists():
            return
        self.log.rename(self.rotate())
        if is_created:
            self.log.touch()
            self.stamp(self.log)
        if not is_late or self.is_deleted:
            self.reopen()

    @rule()
    def delete(self):
        self.drain()  # of a file deleted before it was looked at nobody can know
        if self.log.exists():
            self.unread += 1
            self.log.unlink()
            self.is_deleted = True

    @rule()
    def reopen(self):
        self.end_line()
        look(self.tail, self.now)
        self.open_log()

    @rule()
    def copy_and_truncate(self):
        self.end_line()
        self.reopen()
        self.drain()
        copy = self.rotate()
        shutil.copy(self.log, copy)
        self.stamp(copy)
        os.truncate(self.log, 0)
        self.stamp(self.log)
        look(self.tail, self.now)
        self.file += 1

    @rule()
    def truncate(self):
        self.reopen()
        self.drain()
        os.truncate(self.log, 0)
        self.stamp(self.log)
        look(self.tail, self.now)
        self.file += 1

    @rule()
    def read(self):
        look(self.tail, self.now)

    @rule()
    def check_only(self):
        self.tail.check(self.now)

    @rule()
    def fill_the_slow_jail(self):
        self.jails[1].has_room = False

    @rule()
    def empty_the_slow_jail(self):
        self.jails[1].wake()

    @rule()
    def let_time_pass(self):
        self.reopen()  # in the end every service does
        look(self.tail, self.now)
        self.now += GRACE / 2
        look(self.tail, self.now)

    @rule()
    def restart(self):
        if self.is_deleted:  # what only the old run held open is lost with it
            self.reopen()
            self.drain()
            self.is_deleted = False
        if any(jail.position is None for jail in self.jails):
            self.drain()
        for jail in self.jails:
            self.tail.remove(jail.name)
            jail.wake()
        self.start()

    @invariant()
    def no_line_is_read_twice(self):
        for jail in getattr(self, "jails", ()):
            twice = [line for line, count in Counter(jail.lines).items() if count > 1]
            assert twice == []

    def teardown(self):
        if not hasattr(self, "jails"):
            return
        self.end_line()
        self.drain()
        os.close(self.service)
        try:
            for jail in self.jails:
                assert sorted(jail.lines) == sorted(self.written)
                for file in range(1, self.file + 1):
                    numbers = [int(n) for f, n, *_ in map(str.split, jail.lines) if int(f) == file]
                    assert numbers == sorted(numbers)
        finally:
            for jail in self.jails:
                self.tail.remove(jail.name)
            shutil.rmtree(self.directory)


TestAnyRotation = AnyRotation.TestCase
TestAnyRotation.settings = settings(
    max_examples=100,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def test_a_jail_that_is_a_little_behind_gets_what_was_read_for_the_others(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"a line of the log\n" * (3 * BLOCK // 18))
    tail, quick, slow = Tail(str(log)), [], []
    has_room = True

    def take(block):
        if has_room:
            slow.append(block)
        return has_room

    inbox = Inbox("slow", take)
    tail.add(Inbox("quick", lambda block: quick.append(block) or True))
    tail.add(inbox)
    tail.check(0)
    has_room = False
    tail.read(0)
    has_room, inbox.is_full = True, False
    while tail.read(0):
        pass

    assert [block.data for block in slow] == [block.data for block in quick]
    assert b"".join(block.data for block in quick) == log.read_bytes()
    assert tail.reads == len(quick)


def test_a_jail_that_is_far_behind_holds_up_nobody(tmp_path):
    log, line = tmp_path / "log", b"a line of the log\n"
    log.write_bytes(line * (6 * BLOCK // len(line)))
    ahead, behind = Jail("ahead"), Jail("behind")
    tail = follow(log, ahead, is_tail=True)
    look(tail)
    append(log, "new\n")
    tail.add(behind.inbox)
    tail.check(0)

    assert tail.read(0)
    assert ahead.lines == ["new"]
    while tail.read(0):
        pass
    assert behind.text == log.read_bytes()


def test_a_rotated_file_that_breaks_does_not_take_the_position_back(tmp_path, monkeypatch):
    log, jail = tmp_path / "log", Jail()
    log.write_text("one\ntwo\n")
    tail = follow(log, jail)
    look(tail)
    log.rename(tmp_path / "log.1")
    log.write_text("three\n")
    look(tail)
    end = jail.position
    append(tmp_path / "log.1", "late\n")

    monkeypatch.setattr(Source, "read", Mock(side_effect=OSError(errno.EIO, "broken")))
    look(tail)

    assert end == jail.position
