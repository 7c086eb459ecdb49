# SPDX-License-Identifier: GPL-2.0-or-later
"""Tries regexes in a few helper processes, each of which ends where a match takes too long.

Only the thread that asks waits for them.  A helper is started when it is needed, and ends by itself
when it has not been for a while.  Knows of filters only which regexes they have.
"""

from __future__ import annotations

import logging
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from functools import partial

from server import helper as protocol
from server.budget import BUDGET, Answer, Keeper, OverBudget, Unanswered, Watched, found, named
from server.filter import Filter

log = logging.getLogger("fail2ban.guard")

_HELPERS = 4
_IDLE = 60.0  # seconds after which a helper ends
_PATIENCE = 30.0  # seconds by the clock; on a machine that is so busy there is no answer
_OUT_OF_MEMORY = 3


class Guard:
    """A few helpers for all jails.  Any thread may ask."""

    def __init__(
        self, budget: float = BUDGET, idle: float = _IDLE, patience: float = _PATIENCE
    ) -> None:
        self._limits = budget, idle, patience
        # The one used last comes first, so that the others may end.
        self._free: queue.LifoQueue[_Helper | None] = queue.LifoQueue()
        for _ in range(_HELPERS):
            self._free.put(None)
        self._is_failing = False

    def ask(self, regex: re.Pattern[str], way: str, text: str, pos: int, endpos: int) -> Answer:
        """What `regex` makes of `text`; OverBudget if that takes too long, Unanswered if nobody can."""
        helper = self._free.get()
        try:
            if helper is None or helper.is_gone:
                helper = _Helper(*self._limits)
            try:
                answer = helper.ask(regex, way, text, pos, endpos)
            except _Idle:  # it ended just now
                helper = _Helper(*self._limits)
                answer = helper.ask(regex, way, text, pos, endpos)
        except (OSError, _Idle, Unanswered) as error:
            if helper is not None:
                helper.end()
            if not self._is_failing:
                self._is_failing = True
                log.error("a line is passed over, since no helper could try its regex: %s", error)
            raise Unanswered(str(error)) from None
        finally:
            self._free.put(helper)
        self._is_failing = False
        return answer

    def keep(self, filter: Filter, jail: str, origins: Mapping[str, str] | None = None) -> Filter:
        """Have the regexes of `filter` tried here where they may take long; return it.

        `origins` are the files and lines in which its options stand.
        """
        for option, number, watched in regexes_of(filter):
            name = named(option, number, origins or {})
            watched.keeper = Keeper(self.ask, partial(log.error, "[%s] %s", jail), name)
        return filter

    def close(self) -> None:
        """End the helpers that nobody is using; those in use end when their match does."""
        for _ in range(_HELPERS):
            try:
                helper = self._free.get_nowait()
            except queue.Empty:
                return
            if helper is not None:
                helper.end()
            self._free.put(None)


def regexes_of(filter: Filter) -> Iterator[tuple[str, int, Watched]]:
    """Each regex of `filter` with its option and its number, which is 0 where there is but one."""
    if filter.prefix is not None:
        yield "prefregex", 0, filter.prefix.watched
    for option, rules in (("failregex", filter.rules), ("ignoreregex", filter.ignore_rules)):
        for number, rule in enumerate(rules, 1):
            yield option, number, rule.watched


def problems_of(filter: Filter) -> tuple[str, ...]:
    """What is set aside of `filter`."""
    return tuple(watched.problem for _, _, watched in regexes_of(filter) if watched.problem)


class _Idle(Exception):
    """The helper had ended before it was asked."""


class _Helper:
    """One process."""

    def __init__(self, budget: float, idle: float, patience: float) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-I", "-S", protocol.__file__, str(budget), str(idle)]
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env={},
                    cwd="/",
                    start_new_session=True,
                )
            except OSError:
                ours.close()
                raise
        ours.settimeout(patience)
        self._link = ours
        # Nobody asks for a while how an idle one ended.
        self._reaper = threading.Thread(target=self._process.wait, name="helper", daemon=True)
        self._reaper.start()

    @property
    def is_gone(self) -> bool:
        return not self._reaper.is_alive()

    def ask(self, regex: re.Pattern[str], way: str, text: str, pos: int, endpos: int) -> Answer:
        source = regex.pattern.encode("utf-8", "surrogatepass")
        data = text.encode("utf-8", "surrogatepass")
        places = (min(pos, len(text)), min(endpos, len(text)))
        head = protocol.HEAD.pack(way == "search", regex.flags, *places, len(source), len(data))
        is_asked = False
        try:
            self._link.sendall(head + source + data)
            is_asked = True
            seconds, count = protocol.ANSWER.unpack(self._read(protocol.ANSWER.size))
            spans = protocol.spans_of(self._read(4 * count), count)
        except TimeoutError:
            self.end()
            raise Unanswered("it did not get to it; is the machine so busy?") from None
        except (ConnectionError, EOFError):
            raise self._why_ended(is_asked) from None
        return Answer(found(regex, text, spans), seconds, time.monotonic())

    def _read(self, size: int) -> bytes:
        parts = []
        while size:
            data = self._link.recv(size)
            if not data:
                raise EOFError
            parts.append(data)
            size -= len(data)
        return b"".join(parts)

    def _why_ended(self, is_asked: bool) -> Exception:
        self._link.close()
        self._reaper.join()
        status = self._process.returncode
        if status in (-signal.SIGPROF, _OUT_OF_MEMORY):
            return OverBudget()
        if status == -signal.SIGALRM or not is_asked:
            return _Idle("it ended")
        return Unanswered(f"it ended with {status}")

    def end(self) -> None:
        self._link.close()
        if not self.is_gone:
            self._process.kill()
            self._reaper.join()
