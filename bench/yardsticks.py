# SPDX-License-Identifier: GPL-2.0-or-later
"""What a figure is a ratio to: the least that anybody could do with the same lines, measured beside it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.logs import Log
from bench.machine import cpu_of, ran, resident

_BYTES = {**os.environ, "LC_ALL": "C"}


def of_lines(log: Log, literals: str, regex: str) -> dict[str, float]:
    """Lines per CPU-second of three programs that read `log`; all find what they should."""
    counted = ran(["wc", "-l", str(log.path)], _BYTES)
    found = ran(["grep", "-cE", literals, str(log.path)], _BYTES)
    assert log.lines == int(counted.output.split()[0]), "wc counts other lines than were written"
    assert log.failures == int(found.output), f"not what fails in {log.path}: {literals}"
    return {
        "`re` loop": log.lines / cpu_of_loop(log, regex),
        "`grep -cE`": log.lines / found.cpu,
        "`wc -l`": log.lines / counted.cpu,
    }


def cpu_of_loop(log: Log, regex: str) -> float:
    """What a plain loop costs that counts the failures of each host; no dates, no state."""
    pattern = re.compile(regex)
    began = time.process_time()
    counts: dict[str, int] = {}
    with log.path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if found := pattern.search(line.rstrip("\n")):
                counts[found[1]] = counts.get(found[1], 0) + 1
    cost = time.process_time() - began
    assert log.failures == sum(counts.values()), f"not what fails in {log.path}: {regex}"
    return cost


@contextmanager
def tail_and_grep(path: Path, literals: str) -> Iterator[Callable[[], float]]:
    """Follow `path` and look for `literals`; what tells how many CPU seconds that has taken by then."""
    script = 'tail -n 0 -F "$1" | grep -cE "$2"'
    words = ["sh", "-c", script, "sh", str(path), literals]
    with subprocess.Popen(
        words, stdout=subprocess.DEVNULL, env=_BYTES, start_new_session=True
    ) as process:
        try:
            time.sleep(0.5)  # they are there
            begun = cpu_of(process.pid)
            yield lambda: cpu_of(process.pid) - begun
        finally:
            os.killpg(process.pid, signal.SIGTERM)


def start_of_python() -> float:
    """Seconds until an interpreter has begun and ended."""
    return ran([sys.executable, "-c", "pass"]).real


def start_of_shell(script: str) -> float:
    """Seconds from here until a shell has run `script`, which writes the time."""
    began = time.time()
    return float(ran(["sh", "-c", script]).output) - began


def memory_of_python() -> float:
    """Bytes resident of an interpreter that does nothing."""
    words = [sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        memory = resident(process.pid)
        process.communicate(b"\n")
    return memory
