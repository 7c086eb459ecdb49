# SPDX-License-Identifier: GPL-2.0-or-later
"""The server as a program: put together, run until somebody stops it, taken apart.

The only module of the server that knows them all.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from threading import Thread
from typing import Any

from common.errors import Fail2banError
from common.logs import Log
from common.options import DAEMON_OPTIONS, DaemonConf
from common.version import VERSION
from server.control import Control
from server.daemon import FAILED, PidFile, detached
from server.literals import forget_trees
from server.patrol import Patrol
from server.reader import LogReader
from server.resolver import Resolver
from server.server import Backend, Server
from server.sessions import Sessions
from server.shell import run as run_command
from server.source import BLOCK
from server.store import Store
from server.transmitter import Transmitter
from server.worker import World

log = logging.getLogger("fail2ban.server")

# Until a configuration says otherwise.  With these `fail2ban-server -f` prints nothing.
_AT_FIRST = DaemonConf(log_level="NOTICE")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line says; None where it says nothing."""

    socket: str
    pidfile: str | None = None
    is_foreground: bool = True
    is_forced: bool = False
    loglevel: str | None = None
    logtarget: str | None = None
    syslogsocket: str | None = None
    dbfile: str | None = None


def run(settings: Settings, stream: Sequence[Any] = ()) -> int:
    """Run the server until it is stopped; the exit status, 255 where it could not start.

    `stream` are the commands to begin with.  In the background, it is the daemon that runs on.
    """
    pidfile = PidFile(settings.pidfile) if settings.pidfile else None

    def serve(is_ready: Callable[[], None]) -> int:
        return _serve(settings, stream, is_ready)

    if not settings.is_foreground:
        return detached(serve, pidfile=pidfile)
    try:
        with pidfile or nullcontext():
            return serve(lambda: None)
    except Fail2banError as error:
        print(f"fail2ban-server: {error}", file=sys.stderr)
        return FAILED


def _serve(settings: Settings, stream: Sequence[Any], is_ready: Callable[[], None]) -> int:
    # The usual 700 has all that is known of banned hosts searched for cycles, of which it has none,
    # again and again while it grows: a quarter of the time that restoring them takes.
    gc.set_threshold(50_000, 20, 20)
    tidy_memory = _memory_tidier()  # before any thread has a heap of its own
    target = Log()
    daemon = _daemon_conf(settings)
    target.set_target(daemon.log_target, daemon.syslog_socket)
    target.set_level(daemon.log_level)
    store, reader, resolver = _open_store(daemon), LogReader(), Resolver()
    patrol = Patrol()
    world = World(
        time.time, reader, store, resolver, run_command,
        uptime=_uptime, sessions=Sessions(), patrol=patrol, tidy_memory=tidy_memory,
    )  # fmt: skip
    pinned = frozenset(key for key in _PINNABLE if getattr(settings, key) is not None)
    server = Server(world, Backend(target, _open_store), daemon, pinned)
    transmitter = Transmitter(server)

    def answer(words: Any) -> tuple[int, Any]:
        told = transmitter.answer(words)
        if server.is_stopping.is_set():
            control.stop()
        return told

    control = Control(settings.socket, answer, is_forced=settings.is_forced)
    control.open()
    log.info("Starting Fail2ban v%s", VERSION)
    try:
        # A signal may come when all is looked at and the wait has not begun: then only this ends the wait.
        signal.set_wakeup_fd(control.bell, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, frame: control.stop())
        for number in (signal.SIGUSR1, signal.SIGHUP):
            # In a thread, as the signal may come while the log's own lock is held.
            signal.signal(number, lambda number, frame: Thread(target=server.reopen_log).start())
        reader.start()
        Thread(target=server.keep_house, name="house", daemon=True).start()
        if stream:
            code, value = transmitter.answer(["server-stream", list(stream)])
            if code:
                raise Fail2banError(f"the configuration is refused: {value}")
        is_ready()
        control.serve()
    finally:
        server.close()
        patrol.stop()
        control.close()
    return 0


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # mallopt(3)

# What the command line says of these, no configuration overrules.
_PINNABLE = ("loglevel", "logtarget", "syslogsocket", "dbfile")


def _daemon_conf(settings: Settings) -> DaemonConf:
    given = {
        DAEMON_OPTIONS[key][0]: getattr(settings, key)
        for key in _PINNABLE
        if getattr(settings, key) is not None
    }
    return replace(_AT_FIRST, **given)


def _open_store(daemon: DaemonConf) -> Store:
    path = None if daemon.db_file in ("", "None") else daemon.db_file
    store = Store(path, max_matches=daemon.db_max_matches, purge_age=daemon.db_purge_age)
    store.open()
    return store


def _uptime() -> float:
    """Seconds that no setting of the clock changes; where the system can, sleep counts as well."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


def _memory_tidier() -> Callable[[], object]:
    """What gives back memory: what is kept to look at regexes again, and what glibc keeps for later.

    Until then glibc is to keep what a few blocks of a log take: the kernel empties each page that it
    hands out anew, which takes as long as to read the block.  It is to have one heap for all threads,
    which do not get in each other's way, as Python runs one at a time; each one more would keep
    what is free at its end, whatever is asked for.
    """
    try:
        library = ctypes.CDLL(None)
        trim, set_option = library.malloc_trim, library.mallopt
    except (OSError, AttributeError):  # another C library
        return forget_trees
    set_option(_M_ARENA_MAX, 1)
    set_option(_M_MMAP_THRESHOLD, 2 * BLOCK)
    set_option(_M_TRIM_THRESHOLD, 8 * BLOCK)

    def tidy() -> None:
        forget_trees()
        trim(0)

    return tidy
