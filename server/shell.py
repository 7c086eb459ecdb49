# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs a `ShellCommand` with /bin/sh and tells how it ended.  Knows no action and no ban.

What a program does is never an exception: it fails, hangs, floods or leaves children behind, and all of
that is a `Result`.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import subprocess
import tempfile
import time
from contextlib import nullcontext
from typing import IO, Any

from server.action import hint
from server.records import Result, ShellCommand

__all__ = ["hint", "run"]

log = logging.getLogger("fail2ban.shell")

_GRACE = 2.0  # seconds between asking a program to end and ending it
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LONGEST_ARGUMENT = 128 * 1024 - 1  # of Linux: one argument, or one variable with its name
_CHUNK = 64 * 1024


def run(
    command: ShellCommand, timeout: float | None = None, output_limit: int | None = None
) -> Result:
    """Run `command` and wait for it; its limits of time and output are its own, if not given.

    It gets a session of its own, nothing to read but its input, and of our environment next to
    nothing.  Of what it prints the first bytes of each stream are kept.  After the time limit its
    whole group is asked to end, and a little later ended.
    """
    if len(os.fsencode(command.script)) > _LONGEST_ARGUMENT:
        return Result(command, 126, stderr="the script is longer than the system takes")
    limit = command.timeout if timeout is None else timeout
    most = command.output_limit if output_limit is None else output_limit
    try:
        with _readable(command.input) as source:
            process = subprocess.Popen(
                ["/bin/sh", "-c", command.script],
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**base_environment(), **command.environment},
                start_new_session=True,
            )
    except (OSError, ValueError) as error:
        is_missing = isinstance(error, FileNotFoundError)
        return Result(command, 127 if is_missing else 126, stderr=f"/bin/sh: {error}")
    assert process.stdout is not None and process.stderr is not None
    # No `with process`: that would wait for what cannot be ended.
    with process.stdout, process.stderr:
        return _attend(process, command, limit, most)


def _readable(data: bytes) -> Any:
    """`data` as a file that has no name, and that no program can be too slow to read."""
    if not data:
        return nullcontext(subprocess.DEVNULL)
    if not hasattr(os, "memfd_create"):
        file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
    else:
        file = os.fdopen(os.memfd_create("fail2ban"), "w+b")
    try:
        file.write(data)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


def base_environment() -> dict[str, str]:
    """What every command finds in its environment, besides the values of its ban."""
    own = os.environ.get("PATH", "").split(":")
    path = [*own, *(part for part in _PATH.split(":") if part not in own)]
    return {
        "PATH": ":".join(part for part in path if part),
        "HOME": os.environ.get("HOME", "/"),
        "LC_ALL": "C.UTF-8",
        "LANG": "C.UTF-8",
    }


def _attend(
    process: subprocess.Popen[bytes], command: ShellCommand, limit: float, output_limit: int
) -> Result:
    assert process.stdout is not None and process.stderr is not None
    output = _Output((process.stdout, process.stderr), output_limit)
    is_timeout = not output.drain(process, time.monotonic() + limit)
    if is_timeout:
        _signal_group(process, signal.SIGTERM)
        output.drain(process, time.monotonic() + _GRACE)
        _signal_group(process, signal.SIGKILL)
        output.drain(process, time.monotonic() + _GRACE)
    status = process.poll()
    if status is None:  # not even KILL ends what the kernel holds up
        status = -signal.SIGKILL
        log.warning("process %d does not end: %.200s", process.pid, command.script)
    out, err = output.texts()
    return Result(command, status, out, err, is_timeout)


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        log.debug("the group of process %d is gone", process.pid)


class _Output:
    """Reads two pipes for as long as the program lives; a child left behind may hold them open."""

    def __init__(self, pipes: tuple[IO[bytes], IO[bytes]], limit: int) -> None:
        self._limit = limit
        self._kept: dict[int, bytearray] = {pipe.fileno(): bytearray() for pipe in pipes}
        self._order = [pipe.fileno() for pipe in pipes]
        self._open = set(self._order)
        for number in self._order:
            os.set_blocking(number, False)

    def drain(self, process: subprocess.Popen[bytes], deadline: float) -> bool:
        """Read until `process` has ended; False if it has not by `deadline`."""
        try:
            watched = os.pidfd_open(process.pid)
        except OSError:
            watched = -1
        try:
            return self._drain(process, deadline, watched)
        finally:
            if watched >= 0:
                os.close(watched)

    def _drain(self, process: subprocess.Popen[bytes], deadline: float, watched: int) -> bool:
        with selectors.PollSelector() as selector:
            for number in self._open:
                selector.register(number, selectors.EVENT_READ)
            if watched >= 0:
                selector.register(watched, selectors.EVENT_READ)
            while True:
                patience = deadline - time.monotonic()
                if patience <= 0 and process.poll() is None:
                    return False
                # Without a pidfd the end shows in the pipes, or when we look.
                wait = max(0.0, patience) if watched >= 0 else min(0.05, max(0.0, patience))
                for key, _ in selector.select(wait):
                    if key.fd != watched and not self._read(key.fd):
                        selector.unregister(key.fd)
                if process.poll() is not None:
                    self._read_rest()
                    return True

    def _read(self, number: int) -> bool:
        """Read what is there, once; False where the pipe has ended."""
        try:
            data = os.read(number, _CHUNK)
        except BlockingIOError:
            return True
        kept = self._kept[number]
        kept += data[: self._limit - len(kept)]
        if not data:
            self._open.discard(number)
        return bool(data)

    def _read_rest(self) -> None:
        """What it had written before it ended; a pipe holds 1 MiB at most."""
        for number in list(self._open):
            for _ in range(16):
                before = len(self._kept[number])
                if not self._read(number) or len(self._kept[number]) == before:
                    break

    def texts(self) -> tuple[str, str]:
        out, err = (self._kept[number].decode("utf-8", "replace") for number in self._order)
        return out, err
