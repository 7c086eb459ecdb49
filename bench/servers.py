# SPDX-License-Identifier: GPL-2.0-or-later
"""Implementations of fail2ban, ours or another's, as one meets them: scripts, files and a socket."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.machine import cpu_of, one_core, resident
from client.connection import Connection
from common.errors import Fail2banError

ROOT = Path(__file__).resolve().parent.parent
_A_MOMENT = 0.3  # the store writes what it was told within it
_STOPPED_BY = 180.0
_SURPLUS = 0.01  # so many more failures another implementation may find: it judges a line otherwise

Sections = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Implementation:
    """A directory with fail2ban-server, fail2ban-client and fail2ban-regex."""

    label: str
    directory: Path

    def command(self, program: str, *arguments: str) -> list[str]:
        """How to run one of its programs; those in Python by the Python that runs this one."""
        script = self.directory / program
        with script.open("rb") as file:
            is_python = b"python" in file.readline()
        return [*([sys.executable] if is_python else []), str(script), *arguments]


def environment(place: Path) -> dict[str, str]:
    """For programs that are measured: log times are UTC, and Python keeps its bytecode, as installed."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "TZ": "UTC", "PYTHONPYCACHEPREFIX": str(place / "bytecode")}


@dataclass(frozen=True, slots=True)
class Setup:
    """A configuration directory to be: the stock one, with `jails` more and files of one's own."""

    stock: Path
    jails: Sections
    files: Mapping[str, str]  # filter.d/NAME.conf, action.d/NAME.conf: text

    def write(self, place: Path) -> Path:
        """Make it in `place`."""
        config = place / "config"
        shutil.copytree(self.stock, config)
        _write_sections(config / "jail.local", self.jails)
        _write_sections(
            config / "fail2ban.local", {"Definition": {"dbfile": str(place / "bans.sqlite3")}}
        )
        for name, text in self.files.items():
            (config / name).write_text(text)
        return config


def _write_sections(path: Path, sections: Sections) -> None:
    with path.open("w") as file:
        for name, options in sections.items():
            file.write(f"[{name}]\n")
            file.writelines(f"{key} = {value}\n" for key, value in options.items())


class Server:
    """A server that runs: what it has used, what it says.

    `start` is how long it took, in seconds, until all jails were there.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], link: Connection, surplus: float = 0.0
    ) -> None:
        self._process = process
        self._link = link
        self._surplus = surplus
        self.start = 0.0

    def cpu(self) -> float:
        return cpu_of(self._process.pid)

    def resident(self) -> float:
        return resident(self._process.pid)

    def failures(self, jail: str) -> int:
        """How many failures `jail` has found by now."""
        filter, _ = self._link.ask(["status", jail])
        return int(dict(filter[1])["Total failed"])

    def jails(self) -> int:
        return int(dict(self._link.ask(["status"]))["Number of jail"])

    def cpu_until_found(self, expected: Mapping[str, int], feed: Callable[[], None]) -> float:
        """CPU seconds from `feed` until each jail has found what is expected of it, and stored it.

        The server has one core: on several, its threads take memory out of each other's caches.
        """
        time.sleep(_A_MOMENT)  # what it has to do for its start is done
        with one_core(self._process.pid):
            before, count = self.cpu(), sum(expected.values())
            feed()
            for jail, failures in expected.items():
                wait_until(lambda: self.failures(jail) >= failures, 60 + count / 500)  # noqa: B023
            time.sleep(_A_MOMENT)
            used = self.cpu() - before
        self.check_found(expected)
        return used

    def check_found(self, expected: Mapping[str, int]) -> None:
        """Fail unless each jail has found what is expected of it."""
        for jail, failures in expected.items():
            found = self.failures(jail)
            if not failures <= found <= failures * (1 + self._surplus):
                raise AssertionError(f"{jail} found {found} failures, there are {failures}")

    def seconds_to_stop(self) -> float:
        """Tell it to stop; how long that takes."""
        began = time.perf_counter()
        self._link.ask(["stop"])
        self._process.wait(_STOPPED_BY)
        return time.perf_counter() - began


@contextmanager
def running(who: Implementation, setup: Setup, place: Path) -> Iterator[Server]:
    """A server of `who` in the empty directory `place`, with all jails of `setup` at work."""
    config, socket = setup.write(place), place / "socket"
    words = who.command(
        "fail2ban-server", "-f", "-c", str(config), "-s", str(socket), "-p", str(place / "pid"),
        "--logtarget", str(place / "server.log"), "start",
    )  # fmt: skip
    began = time.perf_counter()
    with (place / "complaints").open("wb") as complaints:
        process = subprocess.Popen(
            words, stdout=complaints, stderr=complaints, env=environment(place.parent)
        )
    link = None
    try:
        link = wait_until(lambda: _linked(process, socket, place), 60, 0.005)
        server = Server(process, link, 0.0 if who.directory == ROOT else _SURPLUS)
        wait_until(lambda: server.jails() == len(setup.jails), 60, 0.005)
        server.start = time.perf_counter() - began
        yield server
    finally:
        if link:
            link.close()
        if process.poll() is None:
            process.terminate()
        process.wait(_STOPPED_BY)


def _linked(process: subprocess.Popen[bytes], socket: Path, place: Path) -> Connection | None:
    if process.poll() is not None:
        raise RuntimeError(
            f"The server did not start: {(place / 'complaints').read_text()[-2000:]}"
        )
    try:
        link = Connection(str(socket), timeout=60)
        link.ask(["ping"])
    except (Fail2banError, OSError):
        return None
    return link


def wait_until(condition: Callable[[], Any], seconds: float, pause: float = 0.02) -> Any:
    """The first answer of `condition` that is true; asked the more seldom, the longer it takes."""
    began = time.monotonic()
    while not (answer := condition()):
        waited = time.monotonic() - began
        if waited > seconds:
            raise TimeoutError(f"not within {seconds:.0f} s")
        time.sleep(max(pause, min(0.5, waited / 20)))  # to be asked costs a server CPU, too
    return answer


def append(source: Path, log: Path) -> None:
    """Write all of `source` to the end of `log`, as fast as it goes."""
    with source.open("rb") as old, log.open("ab") as new:
        shutil.copyfileobj(old, new, 1 << 22)
