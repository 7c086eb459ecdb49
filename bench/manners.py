# SPDX-License-Identifier: GPL-2.0-or-later
"""Cases of a server's manners: how soon it bans, starts and stops, and what it costs at rest."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from random import Random

from bench import logs, yardsticks
from bench.cases import Case, Quantity, Surroundings, Trial, Values, definition, jail
from bench.servers import Implementation, wait_until

_BANS = 30  # a round
_AT_REST = 60.0  # seconds; a minute holds all that comes round: looks at logs, jails that look at the clock
_SETTLED = 8.0  # by then what a start leaves to be saved is saved
_JAILS = 50
TEN = (
    "sshd postfix dovecot nginx-botsearch nginx-http-auth apache-auth vsftpd proftpd exim recidive"
).split()
_STAMP = "date +%s.%N"


def _latency(surroundings: Surroundings) -> Trial:
    stamp = definition(actionban=f"{_STAMP} >>{{place}}/bans", actionunban=":")
    one = {"bench": jail("sshd", "{place}/x.log", maxretry="1", action="stamp")}

    def measured(who: Implementation) -> Values:
        with surroundings.server(who, one, action_stamp=stamp) as (_, place):
            waits = _waits(place)
        return {"median": statistics.median(waits), "p95": waits[int(0.95 * len(waits))]}

    def shells() -> dict[str, Values]:
        waits = sorted(yardsticks.start_of_shell(_STAMP) * 1000 for _ in range(_BANS))
        return {
            "median": {"a shell that says when": statistics.median(waits)},
            "p95": {"a shell that says when": waits[int(0.95 * len(waits))]},
        }

    return Trial(measured, shells)


def _waits(place: Path) -> list[float]:
    """Milliseconds from a line written to its ban command at work, sorted; a host after the other."""
    log, bans = place / "x.log", place / "bans"
    bans.touch()
    chance = Random("at odd moments, so that no rhythm of a server fits")
    waits = []
    with log.open("a") as file:
        time.sleep(1)
        for number in range(_BANS):
            time.sleep(chance.uniform(0.05, 0.2))
            began = time.time()
            date = time.strftime("%b %e %H:%M:%S", time.gmtime(began))
            host = logs.address(number)
            file.write(f"{date} web sshd[{number + 1}]: Failed password for root from {host} port 1025 ssh2\n")  # fmt: skip
            file.flush()
            wait_until(lambda: bans.read_bytes().count(b"\n") > number, 20, 0.002)  # noqa: B023
            waits.append((float(bans.read_text().split()[-1]) - began) * 1000)
    return sorted(waits)


def _idle(surroundings: Surroundings) -> Trial:
    fifty = {f"bench{number}": jail("sshd", f"{{place}}/{number}.log") for number in range(_JAILS)}

    def measured(who: Implementation) -> Values:
        with surroundings.server(who, fifty) as (server, _):
            time.sleep(_SETTLED)
            before, began = server.cpu(), time.perf_counter()
            time.sleep(_AT_REST)
            share = (server.cpu() - before) / (time.perf_counter() - began) * 100
            return {"cpu": share, "stop": server.seconds_to_stop()}

    return Trial(measured, lambda: {"stop": {"start of Python": yardsticks.start_of_python()}})


def _start(surroundings: Surroundings) -> Trial:
    filters = [
        path.stem
        for path in sorted((surroundings.stock / "filter.d").glob("*.conf"))
        if not path.stem.endswith("common")
    ]
    different = {name: jail(name, f"{{place}}/{name}.log") for name in filters[:_JAILS]}

    def measured(who: Implementation) -> Values:
        with surroundings.server(who, different) as (server, _):
            return {"start": server.start, "cpu": server.cpu()}

    def interpreter() -> dict[str, Values]:
        seconds = yardsticks.start_of_python()
        return {name: {"start of Python": seconds} for name in ("start", "cpu")}

    return Trial(measured, interpreter)


def _ten(surroundings: Surroundings) -> Trial:
    ten = {name: jail(name, f"{{place}}/{name}.log") for name in TEN}

    def measured(who: Implementation) -> Values:
        with surroundings.server(who, ten) as (server, _):
            time.sleep(_SETTLED)
            return {"memory": server.resident() / (1 << 20)}

    def interpreter() -> dict[str, Values]:
        return {"memory": {"Python at rest": yardsticks.memory_of_python() / (1 << 20)}}

    return Trial(measured, interpreter)


CASES = (
    Case(
        "latency",
        {
            "median": Quantity("line written to ban command started, median", "ms", 10, 344),
            "p95": Quantity("the same, 95th of a hundred", "ms"),
        },
        _latency,
    ),
    Case(
        "idle",
        {
            "cpu": Quantity("50 idle jails: CPU", "% of a core", 0.1, 1.9),
            "stop": Quantity("50 idle jails: time to stop", "s", 1, 57),
        },
        _idle,
    ),
    Case(
        "start",
        {
            "start": Quantity("start with 50 stock filters, until all jails are there", "s", 1),
            "cpu": Quantity("the same, CPU", "s of CPU"),
        },
        _start,
    ),
    Case("ten-jails", {"memory": Quantity("idle with ten jails: memory", "MB", 32, 23)}, _ten),
)
