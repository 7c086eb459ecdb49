# SPDX-License-Identifier: GPL-2.0-or-later
"""How far it is, for those who look on: a bar on the terminal.  Touches the terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

BIG = 4 << 20  # a log of that many bytes takes long enough for somebody to look
_EVERY = 0.1  # seconds

# Is told of bytes and lines that were read.
Advance = Callable[[int, int], None]


def _nothing(size: int, lines: int) -> None:
    pass


@contextmanager
def bar(size: int) -> Iterator[Advance]:
    """A progress bar on standard error while `size` bytes are read; nothing where nobody sees it."""
    if size < BIG or not sys.stderr.isatty():
        yield _nothing
        return
    try:
        from rich import progress as bars
        from rich.console import Console
    except ImportError:  # of the extra `regex`; one can do without
        yield _nothing
        return
    columns = (
        bars.TextColumn("reading"),
        bars.BarColumn(),
        bars.TaskProgressColumn(),
        bars.TextColumn("{task.fields[speed]}"),
        bars.TimeRemainingColumn(),
    )
    # It draws itself when it is told something: a thread that did would be in the way of forking.
    terminal = Console(stderr=True)
    progress = bars.Progress(*columns, console=terminal, transient=True, auto_refresh=False)
    with progress:
        task = progress.add_task("", total=size, speed="")
        began = drawn = time.monotonic()
        seen = bytes_seen = 0

        def advance(size: int, lines: int) -> None:
            nonlocal drawn, seen, bytes_seen
            seen += lines
            bytes_seen += size
            now = time.monotonic()
            if now - drawn >= _EVERY:
                drawn = now
                speed = f"{seen / (now - began):,.0f} lines/s"
                progress.update(task, completed=bytes_seen, speed=speed, refresh=True)

        yield advance
