# SPDX-License-Identifier: GPL-2.0-or-later
"""What a server holds in memory: at rest, with hosts that are being counted, with hosts banned.

    .venv/bin/python -m bench.memory                            prints a Markdown table
    .venv/bin/python -m bench.memory --counted 20000 --banned 2000

Each figure is of a server of its own, from outside, after it has come to rest.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.cases import Surroundings, definition, jail
from bench.manners import TEN
from bench.servers import ROOT, Implementation, Server, wait_until
from bench.yardsticks import memory_of_python

_SETTLED = 2.0  # seconds
_IDLE = 0.02  # of a core; less is no work
_MEGABYTE = 1 << 20
_SPAN = 30.0  # seconds of log


def lines(hosts: int) -> Iterator[str]:
    """An auth.log in which so many hosts fail once each."""
    begin = time.time() - _SPAN
    for number in range(hosts):
        date = time.strftime("%b %e %H:%M:%S", time.gmtime(begin + _SPAN * number / hosts))
        host = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        yield (
            f"{date} web sshd[{1_000_000 + number}]: Failed password for invalid user admin"
            f" from {host} port {1024 + number % 60_000} ssh2\n"
        )


def at_rest(server: Server) -> float:
    """Bytes resident, once there is nothing left to do."""
    time.sleep(_SETTLED)
    return server.resident()


def _is_idle(server: Server) -> bool:
    before = server.cpu()
    time.sleep(_SETTLED)
    return server.cpu() - before < _IDLE * _SETTLED


def with_ten_jails(around: Surroundings, who: Implementation) -> float:
    ten = {name: jail(name, f"{{place}}/{name}.log") for name in TEN}
    with around.server(who, ten) as (server, _):
        return at_rest(server)


def after_failures(
    around: Surroundings, who: Implementation, hosts: int, **options: str
) -> tuple[float, float]:
    """Bytes resident of a server with one jail, before and after so many hosts have failed once."""
    one = {"bench": jail("sshd", "{place}/x.log", **options)}
    nothing = definition(actionban=":", actionunban=":")
    with around.server(who, one, action_nothing=nothing) as (server, place):
        before = at_rest(server)
        with (place / "x.log").open("a") as log:
            log.write("".join(lines(hosts)))
        wait_until(lambda: server.failures("bench") >= hosts, 60 + hosts / 500)
        wait_until(lambda: _is_idle(server), 60 + hosts / 20)  # its actions are through, too
        return before, at_rest(server)


def table(around: Surroundings, who: Implementation, counted: int, banned: int) -> list[str]:
    """All figures, as lines of Markdown."""
    with_ten_jails(around, who)  # Python makes its bytecode, once: that takes 7 MB
    idle = with_ten_jails(around, who)
    before, counting = after_failures(around, who, counted)
    _, shut_out = after_failures(around, who, banned, maxretry="1", bantime="1d", action="nothing")
    rows = [
        ("Python that does nothing", f"{memory_of_python() / _MEGABYTE:.1f} MB"),
        ("a server at rest with ten jails", f"{idle / _MEGABYTE:.1f} MB"),
        (f"a server with {banned:,} hosts banned", f"{shut_out / _MEGABYTE:.1f} MB"),
        (f"a server that counts {counted:,} hosts", f"{counting / _MEGABYTE:.1f} MB"),
        ("of this, a host that is counted", f"{(counting - before) / counted:.0f} bytes"),
    ]
    return ["| what | memory |", "|---|--:|", *(f"| {what} | {much} |" for what, much in rows)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--counted", type=int, default=100_000, help="hosts that fail once")
    parser.add_argument("--banned", type=int, default=10_000, help="hosts that are banned")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fail2ban-bench-") as place:
        around = Surroundings(Path(place), ROOT / "config", 1.0, False)
        print("\n".join(table(around, Implementation("ours", ROOT), given.counted, given.banned)))


if __name__ == "__main__":
    main()
