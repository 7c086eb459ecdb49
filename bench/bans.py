# SPDX-License-Identifier: GPL-2.0-or-later
"""How fast bans get into the kernel: from a log, after a restart, and out again.

    .venv/bin/python bench/bans.py                              as root; prints a Markdown table
    .venv/bin/python bench/bans.py --log 20000 --restore 5000

It happens in a network namespace of its own.  Each figure stands beside what one bare `nft -f` (or
`ipset restore`) of the same elements took in the same run.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from client.connection import Connection  # noqa: E402
from server.records import Ban, Progress  # noqa: E402
from server.store import Store  # noqa: E402

SPACE = f"f2b-bench-{os.getpid()}"
LENGTH = 3600
_LONGEST = 300.0
_QUIET = 2.0  # seconds without a change to nftables
_NETLINK_NETFILTER = 12
_GET_GENERATION = 10 << 8 | 16
_REQUEST = 1

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Wall:
    """A stock action: how it is written, how its set is read, what the tool alone would be told."""

    action: str
    has: str
    count: str
    bare: tuple[str, ...]
    add: str

    def holds(self, host: str) -> bool:
        return inside(self.has.format(host=host), check=False).returncode == 0

    def held(self) -> int:
        return int(inside(self.count).stdout)


WALLS = {
    "nftables": Wall(
        "nftables[type=allports, name=bench]",
        "nft get element inet f2b-table addr-set-bench '{{ {host} }}'",
        "nft list set inet f2b-table addr-set-bench | grep -o expires | wc -l",
        (
            "nft add table inet bare",
            "nft add set inet bare s '{ type ipv4_addr; flags timeout; }'",
            "nft -f -",
        ),
        "nft",
    ),
    "ipset": Wall(
        "ipset[name=bench]",
        "ipset test f2b-bench {host}",
        "ipset save f2b-bench | grep -c '^add'",
        ("ipset create bare hash:net maxelem 1000000 timeout 0", "ipset -exist restore"),
        "ipset",
    ),
}


def inside(script: str, text: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run `script` in our network namespace."""
    return subprocess.run(
        ["ip", "netns", "exec", SPACE, "sh", "-c", script],
        input=text, capture_output=True, text=True, check=check,
    )  # fmt: skip


@contextmanager
def a_space() -> Iterator[None]:
    subprocess.run(["ip", "netns", "add", SPACE], check=True)
    try:
        with Path("/var/run/netns", SPACE).open() as space:  # what we listen to is in there
            if ctypes.CDLL(None).setns(space.fileno(), 0) != 0:
                raise OSError("the network namespace cannot be entered")
        yield
    finally:
        subprocess.run(["ip", "netns", "del", SPACE], check=False)


def hosts(count: int) -> list[str]:
    return [f"10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}" for i in range(1, count + 1)]


def bare(wall: Wall, count: int) -> float:
    """Seconds that the tool alone takes for as many elements, told all at once."""
    if wall.add == "nft":
        elements = ", ".join(f"{host} timeout {LENGTH}s" for host in hosts(count))
        text = f"add element inet bare s {{ {elements} }}\n"
    else:
        text = "".join(f"add bare {host} timeout {LENGTH}\n" for host in hosts(count))
    for script in wall.bare[:-1]:
        inside(script)
    begun = time.perf_counter()
    inside(wall.bare[-1], text)
    seconds = time.perf_counter() - begun
    inside("nft delete table inet bare" if wall.add == "nft" else "ipset destroy bare")
    return seconds


class Changes:
    """Asks the kernel again and again how often nftables have been changed; `last` is when that grew.

    Whoever listened instead would have it write a message for each element, which takes as long again.
    """

    def __init__(self) -> None:
        self.last = time.perf_counter()
        self._link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        self._link.bind((0, 0))
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        count = self._number()
        while not self._is_over.wait(0.005):
            number = self._number()
            if number != count:
                count, self.last = number, time.perf_counter()

    def _number(self) -> int:
        header = struct.pack("=IHHII", 20, _GET_GENERATION, _REQUEST, 0, 0)
        self._link.send(header + bytes(4))
        (number,) = struct.unpack_from("!I", self._link.recv(65536), 24)  # the first attribute
        return int(number)

    def close(self) -> None:
        self._is_over.set()
        self._thread.join()
        self._link.close()


def until_held(wall: Wall, host: str) -> float:
    """When `host` has come into the set, as the last one.

    nft reads a whole set to tell of one element, so that asking is left until it has been quiet.
    """
    if wall.add != "nft":
        until(lambda: wall.holds(host))
        return time.perf_counter()
    changes = Changes()
    try:
        until(lambda: time.perf_counter() - changes.last > _QUIET and wall.holds(host))
        return changes.last
    finally:
        changes.close()


class Server:
    """A server in our namespace, with one jail whose action is `wall`."""

    def __init__(self, folder: Path, wall: Wall) -> None:
        self.folder, self.wall = folder, wall
        self.log, self.database = folder / "bench.log", folder / "store"
        self.log.touch()
        self.config = folder / "config"
        shutil.copytree(ROOT / "config", self.config, dirs_exist_ok=True)
        (self.config / "jail.local").write_text(
            f"[bench]\nenabled = true\nfilter = sshd\nlogpath = {self.log}\nmaxretry = 1\n"
            f"bantime = {LENGTH}\nignoreself = false\naction = {wall.action}\n"
        )

    @contextmanager
    def running(self, once_started: Callable[[], object] = bool) -> Iterator[Connection]:
        """While it runs; `once_started` is called once it has been started, before anybody waits for it."""
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", SPACE, sys.executable, str(ROOT / "fail2ban-server"), "-f",
             "-c", str(self.config), "-s", str(self.folder / "sock"), "-p", str(self.folder / "pid"),
             "--logtarget", str(self.folder / "own.log"), "--dbfile", str(self.database), "start"],
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            once_started()
            link = until(self._linked)
            link.ask(["set", "loglevel", "INFO"])
            yield link
            link.close()
        finally:
            self.stop()

    def _linked(self) -> Connection | None:
        try:
            link = Connection(str(self.folder / "sock"), _LONGEST)
            return link if link.ask(["status", "bench", "short"]) else None
        except Exception:
            return None

    def stop(self) -> float:
        """Seconds until it has ended."""
        begun = time.perf_counter()
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(_LONGEST)
        return time.perf_counter() - begun


def until(condition: Callable[[], T | None], pause: float = 0.01) -> T:
    deadline = time.monotonic() + _LONGEST
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError("it takes too long")
        time.sleep(pause)
    return answer


@dataclass(frozen=True, slots=True)
class Figure:
    """How long something took; and what it cost in CPU time, of the server and of what it ran."""

    seconds: float
    own: float
    commands: float


class Watch:
    """Measures until it is asked, in a server that runs or is about to."""

    def __init__(self, server: Server, is_start: bool = False) -> None:
        self._server = server
        self._before = (0.0, 0.0) if is_start else self._cpu()
        self._begun = time.perf_counter()

    def _cpu(self) -> tuple[float, float]:
        text = Path(f"/proc/{self._server.process.pid}/stat").read_text()
        own, system, commands, more = map(int, text.rpartition(")")[2].split()[11:15])
        tick = os.sysconf("SC_CLK_TCK")
        return (own + system) / tick, (commands + more) / tick

    def figure(self, ended: float | None = None) -> Figure:
        seconds, after = (ended or time.perf_counter()) - self._begun, self._cpu()
        return Figure(seconds, after[0] - self._before[0], after[1] - self._before[1])


def from_log(wall: Wall, count: int, folder: Path) -> Figure:
    """From `count` lines written, each of another host, to all of them in the set."""
    server = Server(folder, wall)
    names = hosts(count)
    date = time.strftime("%b %d %H:%M:%S")
    lines = "".join(
        f"{date} web sshd[{1000 + i}]: Failed password for root from {host} port 50022 ssh2\n"
        for i, host in enumerate(names)
    )
    with server.running():
        time.sleep(1)
        watch = Watch(server)
        with server.log.open("a") as log:
            log.write(lines)
        figure = watch.figure(until_held(wall, names[-1]))
        assert wall.held() >= count, "the last one does not come last"
        return figure


def restored(wall: Wall, count: int, folder: Path) -> dict[str, Figure]:
    """With `count` bans of an earlier run: a start until all are back in the set, and what follows."""
    server = Server(folder, wall)
    names, now = hosts(count), time.time()
    with server.running():  # it makes the database, and the files of code are in memory
        pass
    watch = Watch(server, is_start=True)
    with server.running():
        figures = {"start without bans": watch.figure()}
    store = Store(str(server.database))
    store.open()
    line = ("Nov 25 00:00:00 web sshd[1]: Failed password for root from {} port 50022 ssh2",)
    store.save(
        Progress("bench", banned=tuple(Ban("bench", host, now, LENGTH, line, 1) for host in names))
    )
    store.sync(60)
    store.close()
    watch = Watch(server, is_start=True)

    def until_restored() -> None:
        # They come in the order of their text.
        figures["start with them"] = watch.figure(until_held(wall, max(names)))

    with server.running(until_restored) as link:
        assert until(lambda: wall.held() >= count)
        time.sleep(5)
        watch = Watch(server)
        client = [sys.executable, str(ROOT / "fail2ban-client"), "-c", str(server.config)]
        client += ["-s", str(server.folder / "sock"), "reload"]
        subprocess.run(client, check=True, capture_output=True)
        figures["reload"] = watch.figure()
        assert wall.held() == count
        figures["stop"] = Figure(server.stop(), 0.0, 0.0)
    with server.running() as link:
        until(lambda: wall.holds(names[-1]))
        until(lambda: wall.held() >= count)
        watch = Watch(server)
        link.ask(["unban", "--all"])
        until(lambda: not wall.holds(names[0]))
        figures["unban --all"] = watch.figure()
    return figures


def table(walls: Sequence[str], log: int, restore: Sequence[int]) -> list[str]:
    """All figures, as lines of Markdown."""
    lines = [
        "| what | tool | number | seconds | a second | CPU of the server | and of its commands "
        "| bare tool, seconds | share of its rate |",
        "|---|---|---|---|---|---|---|---|---|",
    ]

    def row(what: str, name: str, count: int, took: Figure, alone: float) -> None:
        lines.append(
            f"| {what} | {name} | {count:,} | {took.seconds:.2f} | {count / took.seconds:,.0f}"
            f" | {took.own:.2f} | {took.commands:.2f} | {alone:.2f} | {alone / took.seconds:.2f} |"
        )
        print(lines[-1], file=sys.stderr, flush=True)

    for name in walls:
        wall = WALLS[name]
        with tempfile.TemporaryDirectory() as folder:
            alone = bare(wall, log)
            row("bans from a log", name, log, from_log(wall, log, Path(folder)), alone)
        for count in restore:
            with tempfile.TemporaryDirectory() as folder:
                alone = bare(wall, count)
                for what, took in restored(wall, count, Path(folder)).items():
                    row(what, name, count, took, alone)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--walls", nargs="+", default=list(WALLS), choices=WALLS)
    parser.add_argument("--log", type=int, default=20_000, help="bans from a log")
    parser.add_argument("--restore", type=int, nargs="+", default=[5_000, 100_000])
    given = parser.parse_args()
    with a_space():
        print("\n".join(table(given.walls, given.log, given.restore)))


if __name__ == "__main__":
    main()
