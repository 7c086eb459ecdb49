# SPDX-License-Identifier: GPL-2.0-or-later
"""One opened log file: reading at offsets, recognising it, finding it beside its old name."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.records import Position
from server.source import (
    BLOCK,
    HEAD,
    LONG,
    NotALog,
    Overwritten,
    Source,
    fingerprint,
    is_compressed,
    is_numbered,
    is_rotated_name,
    long_lines,
    open_copy,
    open_renamed,
    open_rotated_since,
    whole_lines,
)


@pytest.mark.parametrize(
    ("data", "length"), [(b"", 0), (b"half", 0), (b"one\n", 4), (b"one\nhalf", 4)]
)
def test_a_block_is_cut_after_its_last_whole_line(data, length):
    assert whole_lines(data) == length


@given(st.lists(st.sampled_from([0, 1, 70, LONG - 1, LONG, LONG + 1, 2 * LONG + 7]), max_size=12))
def test_the_lines_that_are_too_long_are_found(lengths):
    begins = [sum(lengths[:n]) + n for n in range(len(lengths))]
    expected = [begin for begin, length in zip(begins, lengths, strict=True) if length > LONG]

    assert list(long_lines(b"".join(b"x" * length + b"\n" for length in lengths))) == expected


def test_a_fingerprint_is_of_the_first_line_once_that_is_complete():
    assert fingerprint(b"half") == b""
    assert fingerprint(b"one\n") == fingerprint(b"one\ntwo\n") != b""
    assert fingerprint(b"two\n") != fingerprint(b"one\n")


def test_a_fingerprint_of_a_long_line_is_of_its_beginning():
    assert fingerprint(b"x" * (HEAD - 1)) == b""
    assert fingerprint(b"x" * HEAD) == fingerprint(b"x" * HEAD + b"y\n") != b""


def test_a_read_is_bounded_and_may_begin_anywhere(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"x" * (BLOCK + 10))
    source = Source(str(path))

    assert [len(source.read(at, b"")) for at in (0, 20, BLOCK, BLOCK + 10)] == [
        BLOCK,
        BLOCK - 10,
        10,
        0,
    ]
    source.close()


def test_a_read_notices_that_what_stood_before_it_is_gone(tmp_path):
    path = tmp_path / "log"
    path.write_text("one\ntwo\n")
    source = Source(str(path))
    mark = source.mark_at(4)
    assert source.read(4, mark) == b"two\n"

    path.write_text("six\ntwo\n")

    with pytest.raises(Overwritten):
        source.read(4, mark)
    source.close()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_not_opened(tmp_path, make):
    make(tmp_path / "log")

    with pytest.raises(NotALog):
        Source(str(tmp_path / "log"))


def test_a_program_that_is_started_does_not_inherit_the_log(tmp_path):
    path = tmp_path / "log"
    path.touch()
    source = Source(str(path))

    assert not os.get_inheritable(source.fileno())
    source.close()


@pytest.mark.parametrize(
    ("name", "original", "is_rotated", "is_number"),
    [
        ("auth.log.1", "auth.log", True, True),
        ("auth.log-20250131", "auth.log", True, True),
        ("auth.log.2025-01-31", "auth.log", True, True),
        ("auth-20250131.log", "auth.log", True, True),
        ("auth.1.log", "auth.log", True, True),
        ("auth.log.bak", "auth.log", True, False),
        ("auth.log~", "auth.log", True, False),
        ("auth.log", "auth.log", False, False),
        ("auth.logs", "auth.log", False, False),
        ("auth-other.log", "auth.log", False, False),
        ("auth.log.1.gz", "auth.log", False, False),
        ("messages", "auth.log", False, False),
    ],
)
def test_a_rotated_file_is_known_by_its_name(name, original, is_rotated, is_number):
    assert is_rotated_name(name, original) == is_rotated
    assert is_numbered(name, original) == is_number


def test_a_compressed_file_is_known_by_its_name():
    assert is_compressed("auth.log.2.gz")
    assert not is_compressed("auth.log.2")


def test_a_renamed_file_is_found_by_its_inode_and_first_line(tmp_path):
    old = tmp_path / "somewhere-else"
    old.write_text("one\n")
    status = old.stat()
    position = Position(status.st_dev, status.st_ino, 4, fingerprint(b"one\n"))
    log = str(tmp_path / "auth.log")

    with open_renamed(log, position) as found:
        assert found.path == str(old)
    assert open_renamed(log, Position(1, status.st_ino, 5, position.fingerprint)) is None
    assert open_renamed(log, Position(1, status.st_ino, 4, fingerprint(b"two\n"))) is None


def test_the_newest_copy_with_the_same_text_is_found(tmp_path):
    log = tmp_path / "auth.log"
    for number, text in enumerate(["one\nten\n", "one\ntwo\nthree\n", "one\n", "six\ntwo\n"]):
        copy = tmp_path / f"auth.log.{number}"
        copy.write_text(text)
        os.utime(copy, (number, number))

    with open_copy(str(log), fingerprint(b"one\n"), 8, b"two\n") as found:
        assert found.path == f"{log}.1"
    assert open_copy(str(log), fingerprint(b"one\n"), 8, b"old\n") is None


def test_a_line_being_written_begins_after_the_last_line_feed(tmp_path):
    path = tmp_path / "log"
    starts = []
    for text in ("", "half", "one\n", "one\nhalf"):
        path.write_text(text)
        with Source(str(path)) as source:
            starts.append(source.last_line_start())

    assert starts == [0, 0, 4, 4]


def test_who_looks_in_the_midst_of_a_rotation_looks_again(tmp_path, monkeypatch):
    log, older = tmp_path / "log", tmp_path / "log.2"
    for number, path in enumerate((older, tmp_path / "log.1", log)):
        path.write_text(f"{number}\n")
        os.utime(path, (number, number))
    is_open = Source(str(older))
    opened = Source.__init__

    def rotate_first(source, path):
        """Between the look at the directory and the opening all files get their next names."""
        monkeypatch.setattr(Source, "__init__", opened)
        older.rename(tmp_path / "log.3")
        (tmp_path / "log.1").rename(older)
        log.rename(tmp_path / "log.1")
        log.touch()
        opened(source, path)

    monkeypatch.setattr(Source, "__init__", rotate_first)
    found = open_rotated_since(str(log), is_open, 7)

    assert [b"1\n", b"2\n"] == [source.bytes_at(0, 9) for source in found]
    for source in (is_open, *found):
        source.close()
