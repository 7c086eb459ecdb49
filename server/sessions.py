# SPDX-License-Identifier: GPL-2.0-or-later
"""The addresses from which somebody is logged in now: as utmp has them, and as logind does.

Reads files and nothing else; looks no name up.  An answer holds for some seconds.
"""

from __future__ import annotations

import logging
import os
import struct
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from common.address import shortest

log = logging.getLogger("fail2ban.sessions")

_KEPT = 5.0  # seconds
_UTMP = "/run/utmp"
_LOGIND = "/run/systemd/sessions"
_MOST = 16 << 20  # bytes of utmp that are read

# Of utmp(5), see there: type, process, host, address.  Where a long session and time have the size of
# a register (ARM, 64 bits), a record is longer.
_RECORDS = (
    struct.Struct("=h2xi68x256s4x4x8x16s20x"),
    struct.Struct("=h2xi68x256s4x8x16x16s20x4x"),
)
_USER_PROCESS = 7
_TYPES = range(10)


class Sessions:
    """Who is logged in from where; any thread may ask."""

    def __init__(
        self,
        utmp: str = _UTMP,
        logind: str = _LOGIND,
        clock: Callable[[], float] = time.monotonic,
        is_alive: Callable[[int], bool] | None = None,
    ) -> None:
        self._utmp = Path(utmp)
        self._logind = Path(logind)
        self._clock = clock
        self._is_alive = is_alive or _is_alive
        self._known: tuple[float, frozenset[str]] | None = None
        self._told = ""

    def __call__(self) -> frozenset[str]:
        """Their addresses, each in its shortest form."""
        now = self._clock()
        if self._known is None or now >= self._known[0]:
            self._known = now + _KEPT, frozenset(self._all())
        return self._known[1]

    def _all(self) -> Iterator[str]:
        found = False
        try:
            yield from self._of_utmp(self._utmp.open("rb").read(_MOST))
            found = True
        except OSError as error:
            problem = f"{self._utmp}: {error.strerror}"
        try:
            sessions = [path for path in self._logind.iterdir() if path.suffix != ".ref"]
            found = True
        except OSError as error:
            sessions, problem = [], f"{self._logind}: {error.strerror}"
        for path in sessions:
            yield from self._of_logind(path)
        self._tell("" if found else problem)

    def _tell(self, problem: str) -> None:
        if problem != self._told and problem:
            log.warning(
                "nobody knows who is logged in: there is neither %s nor %s (%s); ignoresessions spares none",
                self._utmp, self._logind, problem,
            )  # fmt: skip
        self._told = problem

    def _of_utmp(self, data: bytes) -> Iterator[str]:
        for kind, process, host, address in _records(data):
            if kind == _USER_PROCESS and self._is_alive(process):
                name = shortest(host.partition(b"\0")[0].decode("ascii", "replace"))
                if name is not None:
                    yield name
                if any(address):
                    is_short = not any(address[4:])
                    number = IPv4Address(address[:4]) if is_short else IPv6Address(address)
                    yield shortest(str(number)) or str(number)

    def _of_logind(self, path: Path) -> Iterator[str]:
        try:
            lines = path.read_text("utf-8", "replace").splitlines()
        except OSError:  # it ended just now
            return
        about = dict(line.split("=", 1) for line in lines if "=" in line)
        leader = about.get("LEADER", "")
        if (
            about.get("REMOTE") == "1"
            and about.get("STATE") in ("active", "online")  # the third is "closing"
            and about.get("CLASS", "user").startswith("user")
            and (not leader.isdecimal() or self._is_alive(int(leader)))
            and (address := shortest(about.get("REMOTE_HOST", ""))) is not None
        ):
            yield address


def _records(data: bytes) -> Iterator[tuple[int, int, bytes, bytes]]:
    """The records of a utmp file, in the first size that makes sense of it; what is cut off is left."""
    for record in _RECORDS:
        whole = data[: len(data) // record.size * record.size]
        found = list(record.iter_unpack(whole))
        if len(whole) == len(data) and all(kind in _TYPES for kind, *_ in found):
            yield from found
            return


def _is_alive(process: int) -> bool:
    """Whether there is a process of that number; one of somebody else's is."""
    if process <= 0:
        return False
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True
