# SPDX-License-Identifier: GPL-2.0-or-later
"""fail2ban-regex as a program: opens the log, shows how far it is, prints."""

from __future__ import annotations

import contextlib
import io
import locale
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, cast

from common.errors import CommandError, Fail2banError
from common.paths import Places, places
from server.filter import Filter, line_decoder
from server.guard import Guard
from server.journal import JournalUnavailable, opened, source_of, text_of
from tryout import report
from tryout.arguments import Arguments, parse
from tryout.faults import faults, filter_names, found_in
from tryout.subject import Subject, limits_of, read_subject
from tryout.tally import MATCHED, Tally, date_name, judged_lines

FAILED = 255
_BIG = 4 << 20  # a log of that many bytes takes long enough for a progress bar
_LONGEST_LINE = 1 << 20

Lines = Iterable[tuple[float | None, str]]


def main(argv: Sequence[str]) -> int:
    """Run fail2ban-regex; the exit status."""
    locale.setlocale(locale.LC_ALL, "")
    given = Arguments()
    try:
        given = parse(argv)
        return _run(given)
    except (Fail2banError, ValueError, LookupError, TypeError, OSError) as error:
        if given.full_traceback:
            raise
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        print(f"fail2ban-regex: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return 130


def _stock() -> Places:
    root = str(Path(__file__).resolve().parent.parent)
    return places(root, os.path.isdir, os.geteuid() == 0)


def _run(given: Arguments) -> int:
    confdir = Path(given.config or _stock().confdir)
    if given.lint is not None:
        names = given.lint or filter_names(confdir)
        found = [found_in(name, confdir) for name in names]
        for line in faults(names, found):
            print(line)
        return int(any(one.is_fault for each in found for one in each))
    subject = read_subject(given, confdir)
    for problem in subject.problems:
        print(f"fail2ban-regex: {problem}", file=sys.stderr)
    filter = Guard().keep(Filter(subject.conf), given.jail or "filter")
    source, lines = _opened(given, subject)
    if given.verdict:
        limits = limits_of(given.jail, confdir) if given.jail else subject.conf
        for line in report.verdicts(limits, judged_lines(filter, lines, time.time())):
            print(line)
        return 0
    if given.out is not None and given.out != "stats":
        return _print_out(given, filter, lines)
    return _print_summary(given, subject, filter, source, lines, str(confdir))


def _print_out(given: Arguments, filter: Filter, lines: Lines) -> int:
    assert given.out is not None
    show = report.printer(given.out)
    for judged in judged_lines(filter, lines, time.time()):
        if given.is_inverted and judged.fate != MATCHED:
            print(judged.line if given.out == "msg" else report.date_of(judged.verdict.when))
        elif not given.is_inverted and judged.fate == MATCHED:
            print(show(judged))
    return 0


def _print_summary(
    given: Arguments, subject: Subject, filter: Filter, source: str, lines: Lines, confdir: str
) -> int:
    out: Callable[[str], None] = print
    if given.out != "stats":
        for line in report.head(given, subject, confdir, source):
            out(line)
    if given.shows_patterns:
        for rule in filter.rules:
            out(f"   {rule.expanded}")
    keeps_all = given.all_missed or given.all_matched or given.all_ignored or given.verbosity
    tally = Tally(given.checks_all, float("inf") if keeps_all else 20)
    began = time.monotonic()
    for judged in judged_lines(filter, lines, time.time()):
        tally.add(judged, date_name(filter.dates, judged))
        if given.verbosity > 1:
            out(f"{judged.fate:8} {judged.line}")
    paint = report.Paint(sys.stdout.isatty() and "NO_COLOR" not in os.environ)
    for line in report.summary(given, subject, tally, time.monotonic() - began, paint):
        out(line)
    return 0


# -- the log ---------------------------------------------------------------------------------------


def _opened(given: Arguments, subject: Subject) -> tuple[str, Lines]:
    """How to call what is read, and its lines with their moments where those do not stand in them."""
    decode = line_decoder(subject.conf.log_encoding)
    if given.log == "-":
        return "log : standard input", ((None, decode(data)) for data in sys.stdin.buffer)
    if given.log == "systemd-journal" or given.log.startswith("systemd-journal["):
        return "systemd journal", _journal(given, subject)
    path = Path(given.log)
    if path.is_file():
        return f"log file : {path}", _file(path, decode)
    if path.is_absolute() and "\n" not in given.log and " " not in given.log:
        raise CommandError(f"there is no log file {path}")
    return f"single line : {given.log}", [(None, line) for line in given.log.split("\n")]


def _file(path: Path, decode: Callable[[bytes], str]) -> Iterator[tuple[float | None, str]]:
    with path.open("rb") as raw, _progress(path.stat().st_size) as advance:
        seen = 0
        with _unpacked(path.suffix, raw) as log:
            while data := log.readline(_LONGEST_LINE):
                yield None, decode(data)
                if (now := raw.tell()) != seen:
                    advance(now - seen)
                    seen = now


def _unpacked(suffix: str, raw: BinaryIO) -> BinaryIO:
    """The lines in `raw`, which may be compressed as its suffix says."""
    match suffix:
        case ".gz":
            import gzip

            return cast(BinaryIO, gzip.GzipFile(fileobj=raw))
        case ".bz2":
            import bz2

            return cast(BinaryIO, bz2.BZ2File(raw))
        case ".xz":
            import lzma

            return cast(BinaryIO, lzma.LZMAFile(raw))
        case ".zst":
            try:
                import zstandard
            except ImportError:
                raise CommandError("a .zst log needs the Python package zstandard") from None
            reader = zstandard.ZstdDecompressor().stream_reader(raw)
            return cast(BinaryIO, io.BufferedReader(reader))
    return raw


@contextlib.contextmanager
def _progress(size: int) -> Iterator[Callable[[int], None]]:
    """What is told of bytes read, and shows them on a terminal if there are many."""
    if size < _BIG or not sys.stderr.isatty():
        yield lambda count: None
        return
    try:
        from rich.console import Console
        from rich.progress import Progress
    except ImportError:  # of the extra `regex`; one can do without
        yield lambda count: None
        return
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("reading", total=size)
        waiting = 0

        def advance(count: int) -> None:
            nonlocal waiting
            waiting += count
            if waiting > 1 << 18:
                progress.advance(task, waiting)
                waiting = 0

        yield advance


def _journal(given: Arguments, subject: Subject) -> Iterator[tuple[float | None, str]]:
    matches = (tuple(given.journalmatch.split()),) if given.journalmatch else ()
    try:
        source = source_of(given.log)
        reader = opened(source, matches or subject.conf.journal_match)
    except (JournalUnavailable, ValueError, OSError) as error:
        raise CommandError(str(error)) from None
    with reader:
        reader.seek_head()
        while entry := reader.get_next():
            yield entry["__REALTIME_TIMESTAMP"], text_of(entry)
