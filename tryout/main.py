# SPDX-License-Identifier: GPL-2.0-or-later
"""fail2ban-regex as a program: reads the log, alone or with others, and prints."""

from __future__ import annotations

import locale
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from common.errors import CommandError, Fail2banError
from common.logs import Log as MessageLog
from common.paths import Places, places
from server import screen
from server.guard import Guard
from server.records import Failure
from server.slow import slow_rules
from tryout import report
from tryout.arguments import Arguments, parse
from tryout.crew import Apart, blocks_of, crew_size, cuts, part_size, work_off
from tryout.faults import faults, filter_names, found_in
from tryout.job import Counting, Job, Printing
from tryout.logs import Log, log_of
from tryout.progress import Advance, bar
from tryout.subject import Subject, limits_of, read_subject
from tryout.tally import MATCHED, Judged, judged_lines
from tryout.trial import Trial

FAILED = 255
# So much of a log tells how long the rest will take; the first of it is spent on getting started.
_STARTED, _PROBE = 1 << 20, 4 << 20

log = logging.getLogger("fail2ban.regex")


def main(argv: Sequence[str]) -> int:
    """Run fail2ban-regex; the exit status."""
    locale.setlocale(locale.LC_ALL, "")
    given = Arguments()
    try:
        given = parse(argv)
        messages = MessageLog()
        messages.set_level(given.log_level)
        messages.set_target("STDERR[datetime=off, padding=off]")
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
        print("fail2ban-regex: interrupted", file=sys.stderr)
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
    for slow in slow_rules(subject.conf):
        log.warning("%s: %s. %s", slow.rule_name, slow.what, slow.advice)
    matches = (tuple(given.journalmatch.split()),) if given.journalmatch else ()
    source = log_of(given.log, matches or subject.conf.journal_match)
    now = time.time()
    if given.verdict:
        limits = limits_of(given.jail, confdir) if given.jail else subject.conf
        for line in report.verdicts(limits, _failures(given, subject, source, now)):
            print(line)
    elif given.out is None or given.out == "stats":
        _print_summary(given, subject, source, now, str(confdir))
    elif given.is_inverted:
        _print_others(given, subject, source, now)
    else:
        show = report.printer(given.out)
        if source.entries is not None:
            trial = _guarded(Trial(subject.conf), given)
            for judged in judged_lines(trial.filter, source.entries, now):
                if judged.verdict.failure is not None:
                    print(show(judged.line, judged.verdict.failure))
        else:
            out = _Out()
            _work_through(lambda: Printing(subject.conf, now, show, out.anew()), source, given)
    if why := screen.trouble():
        log.info(screen.SLOWER, why)
    if source.problem is not None:
        raise CommandError(f"{source.path}: {source.problem}; {source.lines} lines could be read")
    return 0


class _Out:
    """Prints lines; those that have been printed before it began anew are not printed again."""

    def __init__(self) -> None:
        self._printed = 0

    def anew(self) -> Callable[[str], None]:
        known, count = self._printed, 0

        def out(text: str) -> None:
            nonlocal count
            count += 1
            if count > known:
                print(text)
                self._printed = count

        return out


def _guarded(trial: Trial, given: Arguments) -> Trial:
    """`trial`, of which no regex can take for ever; of each process anew, since it has helpers."""
    Guard().keep(trial.filter, given.jail or "filter")
    return trial


def _failures(given: Arguments, subject: Subject, source: Log, now: float) -> Iterator[Failure]:
    trial = _guarded(Trial(subject.conf), given)
    if source.entries is not None:
        for judged in judged_lines(trial.filter, source.entries, now):
            if judged.verdict.failure is not None:
                yield judged.verdict.failure
        return
    with bar(source.size) as advance:
        for data in source.blocks(advance):
            yield from (failure for _, failure in trial.found(data, now))


def _in_full(trial: Trial, source: Log, now: float) -> Iterator[Judged]:
    """Each line, with its verdict."""
    if source.entries is not None:
        yield from judged_lines(trial.filter, source.entries, now)
        return
    with bar(source.size) as advance:
        for data in source.blocks(advance):
            yield from trial.in_full(data, now)


def _print_others(given: Arguments, subject: Subject, source: Log, now: float) -> None:
    for judged in _in_full(_guarded(Trial(subject.conf), given), source, now):
        if judged.fate != MATCHED:
            print(judged.line if given.out == "msg" else report.date_of(judged.verdict.when))


def _print_summary(
    given: Arguments, subject: Subject, source: Log, now: float, confdir: str
) -> None:
    if given.out != "stats":
        for line in report.head(given, subject, confdir, source.title):
            print(line)
    keeps_all = given.all_missed or given.all_matched or given.all_ignored or given.verbosity
    most_kept = float("inf") if keeps_all else 20

    def make() -> Counting:
        return Counting(subject.conf, now, given.checks_all, most_kept)

    job = make()
    if given.shows_patterns:
        for rule in job.trial.filter.rules:
            print(f"   {rule.expanded}")
    began = time.monotonic()
    if source.entries is not None or given.verbosity > 1:
        for judged in _in_full(_guarded(job.trial, given), source, now):
            job.tally.add(judged)
            if given.verbosity > 1:
                print(f"{judged.fate:8} {judged.line}")
    else:
        job = _work_through(make, source, given)
    seconds = time.monotonic() - began
    trial = job.trial
    log.info("A failregex was tried on %d lines of %d", trial.looked_at, trial.seen)
    paint = report.Paint(sys.stdout.isatty() and "NO_COLOR" not in os.environ)
    for line in report.summary(given, subject, job.tally, seconds, paint):
        print(line)


# -- alone, or with others -------------------------------------------------------------------------


_J = TypeVar("_J", bound=Job)


def _work_through(make: Callable[[], _J], source: Log, given: Arguments) -> _J:
    """Have the whole log worked off by a job that `make` makes, and by as many processes as pay."""
    if source.is_plain_file and source.size > _STARTED + _PROBE and crew_size() > 1:
        job = make()
        _guarded(job.trial, given)
        try:
            with bar(source.size) as advance:
                _share(job, source, advance, lambda: _guarded(job.trial, given))
            return job
        except Apart:
            log.info("The parts of the log do not fit together: one process reads it all")
    job = make()
    _guarded(job.trial, given)
    with bar(source.size) as advance:
        for data in source.blocks(advance):
            job.block(data)
    return job


def _share(job: Job, source: Log, advance: Advance, settle: Callable[[], object]) -> None:
    """Begin to work off a big file, and see whether it pays to have the rest done by others."""
    assert source.path is not None
    with source.path.open("rb", buffering=0) as opened:
        file, size = opened.fileno(), source.size
        place = _alone(job, file, 0, cuts(file, 0, _STARTED, _STARTED)[-1], advance)
        began, start = time.monotonic(), place
        place = _alone(job, file, place, cuts(file, place, place + _PROBE, _PROBE)[-1], advance)
        rate = (place - start) / max(time.monotonic() - began, 1e-6)
        workers = crew_size()
        step = part_size(size - place, rate, workers) if rate and job.can_be_shared() else 0
        if step:
            places = cuts(file, place, size, step)
            log.info("%d processes read %d parts of the log", workers, len(places) - 1)
            work_off(job, file, places, workers, advance, settle)
            place = places[-1]
        _alone(job, file, place, sys.maxsize, advance)  # it may have grown meanwhile


def _alone(job: Job, file: int, begin: int, end: int, advance: Advance) -> int:
    for data in blocks_of(file, begin, end):
        job.block(data)
        advance(len(data), data.count(b"\n"))
    return end
