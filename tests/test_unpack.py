# SPDX-License-Identifier: GPL-2.0-or-later
"""Archives are read piece by piece; what is wrong with one is told when all before it was read."""

from __future__ import annotations

import bz2
import gzip
import lzma
import sys

import pytest

from common.errors import CommandError
from tests.support import IS_CI
from tryout.unpack import PIECE, Damaged, lines_of, unpacked, whole_lines

zstandard = __import__("zstandard") if IS_CI else pytest.importorskip("zstandard")
FORMATS = [
    (".gz", gzip.compress),
    (".bz2", bz2.compress),
    (".xz", lzma.compress),
    (".zst", zstandard.compress),
]
EACH = pytest.mark.parametrize(("suffix", "pack"), FORMATS)
TEXT = b"".join(b"2026-11-22 line %d\n" % number for number in range(200_000))


def read(data, suffix, size=65536):
    """What could be read of `data`, and what went wrong."""
    chunks = (data[start : start + size] for start in range(0, len(data), size))
    found = []
    try:
        for piece in unpacked(chunks, suffix):
            assert len(piece) <= 256 * PIECE
            found.append(piece)
    except Damaged as error:
        return b"".join(found), str(error)
    return b"".join(found), ""


@EACH
@pytest.mark.parametrize("size", [1000, 65536])
def test_archives_come_out_as_they_went_in_whatever_the_cuts(suffix, pack, size):
    assert read(pack(TEXT), suffix, size) == (TEXT, "")
    assert read(pack(b"one\n") + pack(b"") + pack(b"two\n"), suffix, size) == (b"one\ntwo\n", "")


@EACH
def test_one_that_is_cut_off_is_read_up_to_there(suffix, pack):
    whole = pack(TEXT)
    found, problem = read(whole[: len(whole) * 3 // 4], suffix)

    assert TEXT.startswith(found) and (found or suffix in (".xz", ".bz2"))
    assert "ends before its end" in problem


@EACH
def test_one_that_is_damaged_or_none_is_told(suffix, pack):
    assert "is no" in read(b"2026-11-22 a plain line\n", suffix)[1]
    assert "is no" in read(pack(b"one\n") + b"something else that is longer", suffix)[1]


def test_what_blows_up_does_so_piece_by_piece():
    for suffix, pack in FORMATS:
        sizes = [len(piece) for piece in unpacked([pack(bytes(64 << 20))], suffix)]

        assert sum(sizes) == 64 << 20
        assert max(sizes) <= 32 << 20, suffix


def test_without_zstandard_it_is_said_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard", None)

    with pytest.raises(CommandError, match="pip install zstandard"):
        list(unpacked([b"x"], ".zst"))


def test_blocks_are_whole_lines_and_long_ones_pieces():
    long = b"x" * (PIECE + 10)
    blocks = list(whole_lines([b"one\ntw", b"o\n", long, b"\nlast"]))

    assert b"".join(blocks) == b"one\ntwo\n" + long + b"\nlast"
    assert [b"one", b"two", long[:PIECE], long[PIECE:], b"last"] == [
        line for block in blocks for line in lines_of(block) if line
    ]
