# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines per CPU-second and seconds from line to ban, beside what the machine can do in the same run.

    python bench/run.py [--lines N] [--repeat N] [--only WORD]

Each figure is a median; the last column is a ratio to a plain Python loop of `re` over the same lines.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench import logs  # noqa: E402
from client.connection import Connection  # noqa: E402

_TICK = os.sysconf("SC_CLK_TCK")
_LONGEST = 600.0


@dataclass(frozen=True, slots=True)
class Case:
    """A log, and the jail that reads it."""

    name: str
    kind: str
    share: float
    filter: str
    literal: str
    regex: str
    failregex: str = ""  # of a filter that is not in the stock configuration


_SSH = r"sshd\[\d+\]: Failed password for \S+ from (\S+) port \d+ ssh2$"
CASES = (
    Case("auth.log, 0.1 % failures", "auth", 0.001, "sshd", "Failed password", _SSH),
    Case("auth.log, 10 % failures", "auth", 0.1, "sshd", "Failed password", _SSH),
    Case("auth.log, 90 % failures", "auth", 0.9, "sshd", "Failed password", _SSH),
    Case(
        "access.log, 1 % probes", "access", 0.01, "bench-access", " 404 ",
        r'^(\S+) \S+ \S+ \[[^]]+\] "GET /(?:wp-|phpMyAdmin|cgi-bin|admin)\S* \S+" 404 ',
        r'^<HOST> \S+ \S+ \[\] "(?:GET|POST|HEAD) /(?:wp-|phpMyAdmin|cgi-bin|admin/)\S* [^"]*" 404 \d',
    ),
    Case(
        "app.log, 1 % failures", "app", 0.01, "bench-app", "login failed",
        r"AuthService - login failed user=\S+ ip=(\S+) ",
        r"^\s*WARN\s+\[[^]]+\] \S+AuthService - login failed user=<F-USER>\S+</F-USER> ip=<HOST> ",
    ),
)  # fmt: skip


def cpu_of(pid: int) -> float:
    """CPU seconds that process `pid` has used by now."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def cpu_of_command(*words: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words, stdout=subprocess.DEVNULL, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def cpu_of_loop(log: Path, regex: str) -> float:
    """What a plain loop costs that counts the failures of each host; no dates, no state."""
    pattern = re.compile(regex)
    began = time.process_time()
    counts: dict[str, int] = {}
    with log.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if found := pattern.search(line.rstrip("\n")):
                counts[found[1]] = counts.get(found[1], 0) + 1
    return time.process_time() - began


def cpu_of_filter(log: Path, case: Case, config: Path) -> float:
    """What the filter costs by itself, block by block, without a server."""
    from client.stream import read
    from common.options import Config
    from server.draft import read_stream
    from server.filter import Filter
    from server.records import LogBlock, Position

    reading = read(config, jail="bench", is_enabled_anyway=True)
    conf = read_stream(Config(), [one for one in reading.sent if one[0] != "config-error"]).config
    filter = Filter(conf.jails["bench"])
    began = time.process_time()
    with log.open("rb") as file:
        rest, now = b"", time.time()
        while data := file.read(1 << 20):
            data = rest + data
            end = data.rfind(b"\n") + 1
            data, rest = data[:end], data[end:]
            at = Position(0, 0, 0)
            filter.failures(LogBlock(str(log), data, at, at), now)
    return time.process_time() - began


def add_filter(config: Path, case: Case) -> None:
    """Put the filter of `case` beside the stock ones, unless it is one of them."""
    if case.failregex:
        file = config / "filter.d" / f"{case.filter}.conf"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"[Definition]\nfailregex = {case.failregex.replace('%', '%%')}\n")


@contextmanager
def a_server(directory: Path, jail: str) -> Iterator[tuple[int, Connection]]:
    """A server of the stock configuration with one jail more; its process id and a link to it."""
    config = directory / "config"
    shutil.copytree(ROOT / "config", config, dirs_exist_ok=True)
    (config / "jail.local").write_text(jail)
    socket = directory / "sock"
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "fail2ban-server"), "-f", "-c", str(config), "-s", str(socket),
         "-p", str(directory / "pid"), "--logtarget", str(directory / "own.log"), "start"],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        link = _linked(socket)
        yield process.pid, link
        link.close()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _linked(socket: Path) -> Connection:
    return _until(lambda: _try_to_link(socket), 30.0)


def _try_to_link(socket: Path) -> Connection | None:
    try:
        link = Connection(str(socket))
        return link if link.ask(["status", "bench"]) else None
    except Exception:
        return None


def _until(condition: Callable[[], Any], seconds: float, pause: float = 0.05) -> Any:
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError("it takes too long")
        time.sleep(pause)
    return answer


def jail_of(case: Case, log: Path, **more: str) -> str:
    options = {
        "enabled": "true",
        "filter": case.filter,
        "logpath": f"{log} head",
        "maxretry": "1000000",
        "findtime": "1d",
        "action": "",
        **more,
    }
    return "[bench]\n" + "".join(f"{key} = {value}\n" for key, value in options.items())


def cpu_of_server(case: Case, source: Path, failures: int, directory: Path) -> float:
    """What a running server costs to catch up with a log that appears all at once."""
    log = directory / "bench.log"
    log.write_text("")
    add_filter(directory / "config", case)
    with a_server(directory, jail_of(case, log)) as (pid, link):
        before = cpu_of(pid)
        with source.open("rb") as old, log.open("ab") as new:
            shutil.copyfileobj(old, new, 1 << 22)
        _until(lambda: _total_failed(link) >= failures, _LONGEST)
        return cpu_of(pid) - before


def _total_failed(link: Connection) -> int:
    filter, _ = link.ask(["status", "bench"])
    return int(dict(filter[1])["Total failed"])


def latencies(directory: Path, count: int) -> list[float]:
    """Seconds from a line written to its ban command started, for `count` hosts one after the other."""
    log, out = directory / "bench.log", directory / "out"
    log.write_text("")
    out.write_text("")
    action = directory / "config" / "action.d" / "stamp.conf"
    action.parent.mkdir(parents=True)
    action.write_text(f"[Definition]\nactionban = date +%%s.%%N >> {out}\nactionunban = :\n")
    jail = jail_of(CASES[0], log, maxretry="1", action="stamp")
    times = []
    with a_server(directory, jail), log.open("a") as file:
        for number in range(count):
            line = f"web sshd[{number + 1}]: Failed password for root from {logs.address(number)} port 1 ssh2"
            began = time.time()
            file.write(time.strftime("%b %e %H:%M:%S ") + line + "\n")
            file.flush()
            _until(lambda: out.read_text().count("\n") > number, 10.0, 0.001)  # noqa: B023
            times.append(float(out.read_text().split()[-1]) - began)
    return times


def main() -> None:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lines", type=int, default=200_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", default="")
    chosen = parser.parse_args()
    print(f"{chosen.lines} lines, median of {chosen.repeat}; lines per CPU-second\n")
    print("| log | what | lines/s | against the loop |\n|---|---|---|---|")
    for case in CASES:
        if chosen.only in case.name:
            _measure(case, chosen.lines, chosen.repeat)
    if chosen.only in "latency":
        with tempfile.TemporaryDirectory() as place:
            found = sorted(latencies(Path(place), 60))
        print(f"\nline to ban: median {statistics.median(found) * 1000:.1f} ms, "
              f"slowest {found[-1] * 1000:.1f} ms (of {len(found)}; `date` itself takes about 1 ms)")  # fmt: skip


def _measure(case: Case, count: int, repeat: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        log = directory / "log"
        failures = logs.write(log, case.kind, count, case.share)
        config = directory / "plain"
        shutil.copytree(ROOT / "config", config)
        (config / "jail.local").write_text(jail_of(case, log))
        add_filter(config, case)
        ways: dict[str, Callable[[], float]] = {
            "plain loop": lambda: cpu_of_loop(log, case.regex),
            "wc -l": lambda: cpu_of_command("wc", "-l", str(log)),
            "grep -c": lambda: cpu_of_command("grep", "-cE", case.literal, str(log)),
            "filter alone": lambda: cpu_of_filter(log, case, config),
            "running server": lambda: _fresh(case, log, failures),
        }
        loop = 0.0
        for what, measure in ways.items():
            cost = max(statistics.median(measure() for _ in range(repeat)), 1 / _TICK)
            loop = loop or cost
            print(f"| {case.name} | {what} | {count / cost:,.0f} | {loop / cost:.2f} |", flush=True)


def _fresh(case: Case, log: Path, failures: int) -> float:
    with tempfile.TemporaryDirectory() as place:
        return cpu_of_server(case, log, failures, Path(place))


if __name__ == "__main__":
    main()
