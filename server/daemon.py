# SPDX-License-Identifier: GPL-2.0-or-later
"""Becoming a daemon, and the file that says which process it is.

Knows nothing of jails: what runs in the background is handed in.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import select
import stat
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from common.errors import Fail2banError

FAILED = 255
_READY = b"\0"
_OURS = b"fail2ban-server"


class PidFile:
    """A file with this process's id, locked for as long as the process runs.

    One that a dead process left is taken over; while the other one lives, Fail2banError.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = -1

    def acquire(self) -> None:
        """Take the file and write into it."""
        directory = Path(self.path).parent
        try:
            if not directory.exists():
                directory.mkdir(mode=0o755)
            while self._fd < 0:
                self._fd = self._locked()
            os.fchmod(self._fd, 0o644)
            os.ftruncate(self._fd, 0)
            os.write(self._fd, b"%d\n" % os.getpid())
        except OSError as error:
            raise Fail2banError(f"no pid file can be kept at {self.path}: {error}") from None

    def release(self) -> None:
        """Remove the file, if it is still the one that was taken."""
        if self._fd < 0:
            return
        with contextlib.suppress(OSError):
            if self._is_at_its_place(self._fd):
                os.unlink(self.path)
        os.close(self._fd)
        self._fd = -1

    def __enter__(self) -> PidFile:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def _locked(self) -> int:
        """The file, open and locked; -1 where it was removed meanwhile."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        fd = os.open(self.path, flags, 0o644)
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
                raise Fail2banError(f"{self.path} is no plain file; choose another with -p")
            if found.st_uid != os.geteuid():
                raise Fail2banError(f"{self.path} belongs to somebody else; choose another with -p")
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                is_held = _is_server(_pid_in(fd))  # another release may not lock it
            except BlockingIOError:
                is_held = True
            if is_held:
                raise Fail2banError(f"a server runs already: process {_pid_in(fd)} ({self.path})")
            if self._is_at_its_place(fd):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return -1

    def _is_at_its_place(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), os.lstat(self.path))
        except FileNotFoundError:
            return False


def _pid_in(fd: int) -> int:
    text = os.pread(fd, 32, 0).strip()
    return int(text) if text.isdigit() else 0


def _is_server(pid: int) -> bool:
    """Whether process `pid` lives, is not this one, and is a server: ids are given out again."""
    if pid in (0, os.getpid()):
        return False
    try:
        return _OURS in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def detached(
    run: Callable[[Callable[[], None]], int],
    *,
    pidfile: PidFile | None = None,
    keep: Sequence[Any] = (),
    signals: Mapping[int, Any] | None = None,
    timeout: float = 60.0,
) -> int:
    """Have `run(is_ready)` run as a daemon; return what to exit with once it is ready, or failed.

    The daemon calls `is_ready()` when it is up.  If it raises or returns before that, its message
    goes to stderr here and the answer is 255.  Only the process that called returns from here.
    """
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _be_daemon(run, pidfile, [*keep, writer], dict(signals or {}), writer)
    os.close(writer)
    os.waitpid(child, 0)  # it ends as soon as it has made the daemon
    try:
        return _await(reader, timeout)
    finally:
        os.close(reader)


def _be_daemon(
    run: Callable[[Callable[[], None]], int],
    pidfile: PidFile | None,
    keep: list[Any],
    signals: dict[int, Any],
    writer: int,
) -> None:
    """Become a daemon, run, and end; never returns."""
    status = FAILED
    told = False

    def tell(text: bytes) -> None:
        nonlocal told
        if not told:
            told = True
            with contextlib.suppress(OSError):
                os.write(writer, text)
            os.close(writer)

    try:
        import daemon

        context = daemon.DaemonContext(
            working_directory="/",
            umask=0o077,
            detach_process=True,
            pidfile=pidfile,
            files_preserve=keep,
            signal_map=signals,
        )
        with context:
            status = run(lambda: tell(_READY))
            tell(b"it ended at once" if status else _READY)
    except Fail2banError as error:
        tell(str(error).encode("utf-8", "surrogateescape"))
    except BaseException as error:
        tell(f"{type(error).__name__}: {error}".encode("utf-8", "surrogateescape"))
        logging.getLogger("fail2ban.daemon").critical("The server failed", exc_info=True)
    finally:
        logging.shutdown()
        os._exit(status & 255)


def _await(pipe: int, timeout: float) -> int:
    """0 once the daemon says that it is ready; else say what it said, and 255."""
    text = b""
    deadline = time.monotonic() + timeout
    while True:
        ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            text = f"it is not ready after {timeout:g} s".encode()
            break
        piece = os.read(pipe, 4096)
        if piece == _READY and not text:
            return 0
        if not piece:
            break
        text += piece
    why = text.decode("utf-8", "replace") or "it ended without a word"
    print(f"fail2ban-server: {why}", file=sys.stderr)
    return FAILED
