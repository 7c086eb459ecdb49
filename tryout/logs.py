# SPDX-License-Identifier: GPL-2.0-or-later
"""The log that is tried on: a file, perhaps compressed, standard input, the journal, or a line.

Touches files.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import cast

from common.errors import CommandError
from server.journal import EntryReader, JournalUnavailable, opened, source_of
from tryout.progress import Advance
from tryout.unpack import PIECE, Damaged, unpacked, whole_lines

_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_READ = 1 << 16  # of a compressed one: that much may become a hundred times as much

Entries = Iterable[tuple[float | None, str]]


@dataclass(slots=True)
class Log:
    """How to call what is read, and where it stands: as `entries`, at `path`, or at standard input.

    `problem` is what was wrong with it where it could be read only up to some place, after so many
    `lines`.
    """

    title: str
    entries: Entries | None = None
    path: Path | None = None
    problem: Damaged | None = None
    lines: int = 0

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path is not None else 0

    @property
    def is_plain_file(self) -> bool:
        return self.path is not None and self.path.suffix not in _COMPRESSED

    def blocks(self, advance: Advance) -> Iterator[bytes]:
        """Blocks of whole lines, from the beginning to the end."""
        try:
            for data in whole_lines(self._chunks(advance)):
                self.lines += data.count(b"\n")
                yield data
        except Damaged as error:
            self.problem = error

    def _chunks(self, advance: Advance) -> Iterator[bytes]:
        if self.path is None:
            # What is there, at once: somebody may wait for what comes of it.
            yield from iter(lambda: cast("BufferedReader", sys.stdin.buffer).read1(PIECE), b"")
            return
        with self.path.open("rb", buffering=0) as file:
            size = PIECE if self.is_plain_file else _READ
            raw = iter(lambda: file.read(size), b"")
            seen = 0
            for data in unpacked(raw, self.path.suffix):
                yield data
                place = file.tell()
                advance(place - seen, data.count(b"\n"))
                seen = place


def log_of(words: str, matches: tuple[tuple[str, ...], ...]) -> Log:
    """The log that `words` of the command line mean; `matches` are for the journal."""
    if words == "-":
        return Log("log : standard input")
    if words == "systemd-journal" or words.startswith("systemd-journal["):
        return Log("systemd journal", _journal(words, matches))
    path = Path(words)
    if _is_file(path):
        return Log(f"log file : {path}", path=path)
    if path.is_absolute() and "\n" not in words and " " not in words:
        raise CommandError(f"there is no log file {path}")
    return Log(f"single line : {words}", [(None, line) for line in words.split("\n")])


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a line is too long for a file's name
        return False


def _journal(words: str, matches: tuple[tuple[str, ...], ...]) -> Entries:
    try:
        reader = opened(source_of(words), matches)
    except (JournalUnavailable, ValueError, OSError) as error:
        raise CommandError(str(error)) from None
    with reader:
        reader.seek_head()
        entries = EntryReader(reader)
        while entries.next():
            yield entries.line
