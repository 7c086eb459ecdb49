# SPDX-License-Identifier: GPL-2.0-or-later
"""A big file is cut into parts at line ends, and processes of their own work them off.

Touches files and processes.  What a process makes of a part comes back as a line of JSON through a
pipe, in the order of the parts.  Where a part could not be worked off as if all before it had been
read, `Apart` is raised, and one process has to do it all.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, BinaryIO

from tryout.job import Job
from tryout.unpack import PIECE, whole_lines

WARM_UP = 16 * 1024  # so much of what stands before a part is read to get into its habits
_SMALLEST, _LARGEST = 1 << 20, 32 << 20
_SECONDS_A_PART = 0.5
# Less than this is done sooner than processes could be started and told what to do.
_WORTH = 0.3


class Apart(Exception):
    """The parts do not fit together."""


def crew_size() -> int:
    """How many processes may work at once; 1 where there is no way to have more."""
    if not hasattr(os, "fork"):
        return 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def part_size(left: int, rate: float, workers: int) -> int:
    """How large the parts of `left` bytes should be, of which one process does `rate` a second.

    0 if they are better left to one process.
    """
    if workers < 2 or left < 2 * _SMALLEST or left / rate < _WORTH:
        return 0
    size = min(rate * _SECONDS_A_PART, left / workers / 2)
    return int(min(max(size, _SMALLEST), _LARGEST))


def cuts(file: int, begin: int, end: int, size: int) -> list[int]:
    """Where the parts of a file begin, and where the last one ends: all behind line ends."""
    places = [begin]
    while places[-1] + size < end:
        place = _after_line(file, places[-1] + size, end)
        if place is None:
            break
        places.append(place)
    last = _after_last_line(file, places[-1], end)
    return [*places, last] if last > places[-1] else places


def _after_line(file: int, place: int, end: int) -> int | None:
    """Where the next line begins from `place` on."""
    while place < end:
        data = os.pread(file, min(1 << 16, end - place), place)
        if not data:
            return None
        at = data.find(b"\n")
        if at >= 0:
            return place + at + 1
        place += len(data)
    return None


def _after_last_line(file: int, begin: int, end: int) -> int:
    while begin < end:
        start = max(begin, end - (1 << 16))
        at = os.pread(file, end - start, start).rfind(b"\n")
        if at >= 0:
            return start + at + 1
        end = start
    return begin


def blocks_of(file: int, begin: int, end: int) -> Iterator[bytes]:
    """The blocks of whole lines of a part."""

    def chunks() -> Iterator[bytes]:
        place = begin
        while place < end:
            data = os.pread(file, min(PIECE, end - place), place)
            if not data:  # it was emptied meanwhile
                return
            place += len(data)
            yield data

    return whole_lines(chunks())


def warmed_up(job: Job, file: int, place: int) -> list[float]:
    """The habits in which `job` reads on from `place`, by the lines before."""
    start = max(0, place - WARM_UP)
    data = os.pread(file, place - start, start)
    job.warm(data if start == 0 else data[data.find(b"\n") + 1 :])
    return list(job.trial.habit)


def work_off(
    job: Job,
    file: int,
    places: Sequence[int],
    workers: int,
    done: Callable[[int, int], None],
    settle: Callable[[], object] = lambda: None,
) -> None:
    """Have the parts that begin at `places` (the last one is an end) worked off for `job`.

    `done` is told how many bytes and lines have been; each process begins with `settle`.  Raises Apart.
    """
    parts = list(pairwise(places))

    def work(part: tuple[int, int]) -> dict[str, Any]:
        before = warmed_up(job, file, part[0])
        job.trial.seen = job.trial.looked_at = 0
        made = job.part(blocks_of(file, *part))
        counts = {"seen": job.trial.seen, "looked_at": job.trial.looked_at}
        return {"before": before, "after": job.trial.habit, **counts, **made}

    habit = list(job.trial.habit)
    for part, made in zip(parts, _in_order(settle, work, parts, workers), strict=True):
        if made["before"] != habit:
            raise Apart
        habit = made["after"]
        job.take(made)
        job.trial.seen += made["seen"]
        job.trial.looked_at += made["looked_at"]
        done(part[1] - part[0], made["seen"])
    if warmed_up(job, file, places[-1]) != habit:
        raise Apart


def _in_order(
    settle: Callable[[], object],
    work: Callable[[tuple[int, int]], dict[str, Any]],
    parts: Sequence[tuple[int, int]],
    workers: int,
) -> Iterator[dict[str, Any]]:
    """What `work` makes of each part, done by several processes that end with this generator."""
    count = min(workers, len(parts))
    pipes: list[BinaryIO] = []
    processes: list[int] = []
    try:
        for number in range(count):
            reading, writing = os.pipe()
            others = [pipe.fileno() for pipe in pipes]
            process = _forked(settle, work, parts[number::count], writing, [reading, *others])
            os.close(writing)
            processes.append(process)
            pipes.append(os.fdopen(reading, "rb"))
        for number in range(len(parts)):
            line = pipes[number % count].readline()
            if not line.endswith(b"\n"):  # it died; whoever does the same in this process sees why
                raise Apart
            yield json.loads(line)
    finally:
        for process in processes:
            os.kill(process, signal.SIGKILL)
        for process in processes:
            os.waitpid(process, 0)
        for pipe in pipes:
            pipe.close()


def _forked(
    settle: Callable[[], object],
    work: Callable[[tuple[int, int]], dict[str, Any]],
    parts: Sequence[tuple[int, int]],
    writing: int,
    foreign: Sequence[int],
) -> int:
    """The number of a new process that works off `parts`."""
    # An interrupt meant for all is the parent's business, from the first moment on.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    process = os.fork()
    if process:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return process
    try:
        for number in foreign:
            os.close(number)
        settle()
        with os.fdopen(writing, "wb") as pipe:
            for part in parts:
                pipe.write(json.dumps(work(part)).encode() + b"\n")
                pipe.flush()
    finally:
        os._exit(0)  # and nothing else: what waits to be printed is the parent's
