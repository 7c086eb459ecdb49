# SPDX-License-Identifier: GPL-2.0-or-later
"""Where our own log goes and how its lines look.  Touches files, the terminal and syslog.

The form of a line is an interface: people's filters (recidive) and scripts read it.
"""

from __future__ import annotations

import functools
import logging
import logging.handlers
import os
import sys
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from common.errors import CommandError
from common.tags import split_name

NOTICE = 25
TRACEDEBUG = 7
HEAVYDEBUG = 5
for _level, _name in ((NOTICE, "NOTICE"), (TRACEDEBUG, "TRACEDEBUG"), (HEAVYDEBUG, "HEAVYDEBUG")):
    logging.addLevelName(_level, _name)
# Nobody prints who called; looking it up is the most expensive part of a log line.
logging._srcfile = None
logging.logThreads = logging.logMultiprocessing = False

_LEVELS = {
    "CRITICAL": logging.CRITICAL,
    "ERROR": logging.ERROR,
    "WARNING": logging.WARNING,
    "NOTICE": NOTICE,
    "INFO": logging.INFO,
    "DEBUG": logging.DEBUG,
    "TRACEDEBUG": TRACEDEBUG,
    "HEAVYDEBUG": HEAVYDEBUG,
}
# The four numbers of 0.7; larger ones are the levels of Python's logging.
_OLD_LEVELS = {1: logging.ERROR, 2: logging.WARNING, 3: logging.INFO, 4: logging.DEBUG}
_MOST_WAITING = 100  # deliveries of some hundred lines at most
# The name of a logger, a level, and lines.
Passage = tuple[str, int, Sequence[str]]
Passages = Sequence[Passage]
_SYSLOG_SOCKETS = ("/dev/log", "/var/run/syslog", "/var/run/log")
_PADDED = "%(name)-24s[%(process)d]: %(levelname)-7s %(message)s"
_PLAIN = "%(name)s[%(process)d]: %(levelname)s %(message)s"


def level_of(text: str) -> int:
    """The level that `text` names; ValueError where it names none."""
    word = text.strip().upper()
    if word in _LEVELS:
        return _LEVELS[word]
    if word.isdecimal() and len(word) < 4:
        return _OLD_LEVELS.get(int(word), int(word))
    raise ValueError(f"Invalid log level {text!r}")


class _Formatter(logging.Formatter):
    """Makes the text of a second's date once, not once a line."""

    _second = -1
    _text = ""

    @property
    def is_text_last(self) -> bool:
        return (self._fmt or "").endswith("%(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        second = int(record.created)
        if second != self._second:
            self._text = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
            self._second = second
        return f"{self._text},{int(record.msecs):03d}"


class _Lines(logging.StreamHandler[TextIO]):
    """Writes many lines at once, the second and those that follow at a tenth of the first's cost.

    No thread waits for another that is writing: that one writes its lines, too.  But where much waits,
    as behind a reader that has stopped, all do: else there would be no end to it.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._waiting: deque[tuple[float, Passages]] = deque()

    def prepare(self) -> None:
        """Have the stream ready."""

    def say(self, passages: Passages) -> None:
        """As if each line of `passages` were logged by itself; they bear the same moment."""
        self._waiting.append((time.time(), passages))
        if len(self._waiting) > _MOST_WAITING:
            self.acquire()
            self.release()
        self._write_if_free()

    def emit(self, record: logging.LogRecord) -> None:
        self._write()
        super().emit(record)

    def release(self) -> None:
        super().release()
        self._write_if_free()

    def _write_if_free(self) -> None:
        # Looked at again behind each release: who finds the lock taken goes away.
        while self._waiting and self.lock and self.lock.acquire(blocking=False):
            try:
                self._write()
            finally:
                self.lock.release()

    def _write(self) -> None:
        """Write what waits; the lock is held."""
        whole: list[str] = []
        prefixes: dict[tuple[float, str, int], str] = {}
        record = logging.LogRecord("", logging.INFO, "", 0, "", None, None)
        try:
            while self._waiting:
                now, passages = self._waiting.popleft()
                for name, level, texts in passages:
                    prefix = prefixes.get((now, name, level))
                    if prefix is None:
                        record = logging.LogRecord(name, level, "", 0, "", None, None)
                        record.created, record.msecs = now, now % 1 * 1000 // 1
                        prefix = prefixes[now, name, level] = self.format(record)
                    whole += prefix, f"\n{prefix}".join(texts), "\n"
            if whole:
                self.prepare()
                self.stream.write("".join(whole))
                self.stream.flush()
        except Exception:
            self.handleError(record)

    @property
    def is_text_last(self) -> bool:
        """Whether a line ends with what is said, so that it can be written behind all the rest."""
        return isinstance(self.formatter, _Formatter) and self.formatter.is_text_last


class _RobustFile(_Lines, logging.handlers.WatchedFileHandler):
    """A log file that may be moved or vanish, and a disk that may be full, without harm to others."""

    def prepare(self) -> None:
        self.reopenIfNeeded()
        if self.stream is None:
            self.stream = self._open()

    def emit(self, record: logging.LogRecord) -> None:
        # Opening the file anew happens outside of what the handler itself guards.
        try:
            super().emit(record)
        except (OSError, ValueError):
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        pass  # there is no place left to say it


class _Syslog(logging.handlers.SysLogHandler):
    """Knows the levels between Python's own."""

    priority_map = logging.handlers.SysLogHandler.priority_map | {
        "NOTICE": "notice",
        "TRACEDEBUG": "debug",
        "HEAVYDEBUG": "debug",
    }


# Who asks for one takes a lock that all threads share; there are but a few.
_logger = functools.lru_cache(64)(logging.getLogger)


def say(passages: Iterable[Passage]) -> None:
    """Log `passages`, each a name, a level and texts, as `logging.getLogger(name).log(level, text)` would."""
    passages = [one for one in passages if one[2] and _logger(one[0]).isEnabledFor(one[1])]
    handlers = _logger("fail2ban").handlers
    only = handlers[0] if len(handlers) == 1 else None
    if passages and isinstance(only, _Lines) and only.is_text_last:
        only.say(passages)
        return
    for name, level, texts in passages:
        for text in texts:
            _logger(name).log(level, "%s", text)


@dataclass(frozen=True, slots=True)
class _Target:
    name: str
    options: dict[str, str]

    def switch(self, key: str, default: bool) -> bool:
        word = self.options.get(key)
        return default if word is None else word.strip().lower() in ("1", "on", "true", "yes")


class Log:
    """The program's one log: level, target, and opening it anew."""

    def __init__(self) -> None:
        self.level = "INFO"
        self.target = "STDERR"
        self.syslog_socket = "auto"
        self._root = logging.getLogger("fail2ban")
        self._root.propagate = False
        self._handler: logging.Handler | None = None

    def set_level(self, text: str) -> None:
        """Log what is as important as `text` or more; ValueError where that is no level."""
        self._root.setLevel(level_of(text))
        self.level = text.strip().upper()

    def set_target(self, text: str, syslog_socket: str | None = None) -> None:
        """Log to `text` from now on; CommandError where that cannot be, and all stays as it was."""
        name, options = split_name(text)
        target = _Target(name, options)
        try:
            handler = self._open(target, syslog_socket or self.syslog_socket)
        except (OSError, ValueError) as error:
            raise CommandError(f"cannot log to {name}: {error}") from None
        old, self._handler = self._handler, handler
        self._root.addHandler(handler)
        if old is not None:
            self._root.removeHandler(old)
            old.close()
        self.target = name
        self.syslog_socket = syslog_socket or self.syslog_socket

    def reopen(self) -> bool:
        """Begin the log file anew after somebody moved it; False where the target is no file."""
        handler = self._handler
        if not isinstance(handler, _RobustFile):
            return False
        handler.acquire()
        try:
            if handler.stream:
                handler.stream.close()
                handler.stream = None
        finally:
            handler.release()
        return True

    def _open(self, target: _Target, syslog_socket: str) -> logging.Handler:
        name = target.name
        handler: logging.Handler
        dated = True
        match name.upper():
            case "STDERR" | "SYSERR":
                handler = _Lines(sys.stderr)
            case "STDOUT" | "SYSOUT":
                handler = _Lines(sys.stdout)
            case "SYSLOG":
                handler, dated = _syslog(target, syslog_socket), False
            case "SYSTEMD-JOURNAL":
                handler, dated = _journal(), False
            case _:
                os.close(
                    os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
                )
                handler = _RobustFile(name, encoding="utf-8", errors="backslashreplace", delay=True)
        text = _PADDED if target.switch("padding", default=dated) else _PLAIN
        text = target.options.get("format", text)
        if target.switch("datetime", default=dated) and "format" not in target.options:
            text = "%(asctime)s " + text
        handler.setFormatter(_Formatter(text))
        return handler


def _syslog(target: _Target, socket: str) -> logging.Handler:
    if socket == "auto":
        socket = next((path for path in _SYSLOG_SOCKETS if os.path.exists(path)), "")
        if not socket:
            raise OSError(f"there is no syslog socket at {', '.join(_SYSLOG_SOCKETS)}")
    facility = target.options.get("facility", "DAEMON").lower()
    names = logging.handlers.SysLogHandler.facility_names
    if facility not in names:
        raise ValueError(f"{facility} is no syslog facility; there are {', '.join(names)}")
    return _Syslog(socket, facility=names[facility])


def _journal() -> logging.Handler:
    try:
        from systemd.journal import JournalHandler
    except ImportError:
        raise OSError("the journal needs the Python package systemd-python") from None
    handler: logging.Handler = JournalHandler(SYSLOG_IDENTIFIER="fail2ban")
    return handler
