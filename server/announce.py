# SPDX-License-Identifier: GPL-2.0-or-later
"""What happened and what is ordered, as the lines of our own log.

Their wording is an interface: other people's filters and scripts read it.  Writes nothing itself.
"""

from __future__ import annotations

import time
from functools import lru_cache
from typing import NamedTuple

from server.records import (
    AlreadyBanned,
    Crowded,
    Enforce,
    Event,
    Failure,
    Ignored,
    Lift,
    Order,
    Prolong,
    Spared,
)

INFO, NOTICE, WARNING = 20, 25, 30


class Line(NamedTuple):
    """A line for the log: which part of the program speaks, how important it is, what it says."""

    logger: str
    level: int
    text: str


def line_of(jail: str, said: Order | Event) -> Line:
    """How `said` reads in the log."""
    if isinstance(said, Enforce):  # these come by the ten thousand
        what = "Restore Ban" if said.restored else "Ban"
        return Line("fail2ban.actions", NOTICE, f"[{jail}] {what} {said.ban.host}")
    match said:
        case Failure(host=host, when=when):
            return Line("fail2ban.filter", INFO, f"[{jail}] Found {host} - {_date(when)}")
        case Ignored(host, why):
            return Line("fail2ban.filter", INFO, f"[{jail}] Ignore {host} by {why}")
        case AlreadyBanned(host):
            return Line("fail2ban.actions", NOTICE, f"[{jail}] {host} already banned")
        case Prolong(ban):
            until = _date(ban.until)
            text = f"[{jail}] Increase Ban {ban.host} ({ban.count} # {ban.seconds:.0f} -> {until})"
            return Line("fail2ban.actions", NOTICE, text)
        case Spared(host, session):
            where = "there" if host == session else session
            text = f"[{jail}] {host} is spared, as somebody is logged in from {where}"
            return Line("fail2ban.actions", NOTICE, f"{text} (ignoresessions)")
        case Crowded(hosts, most):
            text = f"[{jail}] more than {most} hosts fail at a time (maxhosts); {hosts} that failed least"
            return Line("fail2ban.filter", WARNING, f"{text} were forgotten")
        case Lift(ban, into) if into:
            text = f"[{jail}] {ban.host} is shut out with {into} from now on"
            return Line("fail2ban.actions", INFO, text)
        case Lift(ban):
            return Line("fail2ban.actions", NOTICE, f"[{jail}] Unban {ban.host}")


def _date(moment: float) -> str:
    try:
        return _local(moment // 1, time.tzname)
    except (OverflowError, ValueError, OSError):
        return "for ever"


@lru_cache(1024)
def _local(second: float, zone: tuple[str, str]) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
