# SPDX-License-Identifier: GPL-2.0-or-later
"""What happened and what is ordered, as the lines of our own log.

Their wording is an interface: other people's filters and scripts read it.  Writes nothing itself.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from server.records import (
    AlreadyBanned,
    Crowded,
    Enforce,
    Event,
    Failed,
    Ignored,
    Lift,
    Order,
    Prolong,
    Spared,
)

_Single = Ignored | AlreadyBanned | Spared | Crowded

INFO, NOTICE, WARNING = 20, 25, 30


class Passage(NamedTuple):
    """Lines for the log: which part of the program speaks, how important it is, what it says."""

    logger: str
    level: int
    texts: list[str]


def passages_of(jail: str, said: Iterable[Order | Event]) -> Iterator[Passage]:
    """How `said` reads in the log; hosts that failed one after the other are told together."""
    for one in said:
        if isinstance(one, Failed):
            yield Passage("fail2ban.filter", INFO, _found(jail, one))
        else:
            logger, level, text = _line_of(jail, one)
            yield Passage(logger, level, [text])


def _found(jail: str, failed: Failed) -> list[str]:
    """One line each, for a third of a microsecond: there may be as many as a log has lines."""
    texts, known, date = list[str](), math.nan, ""
    for host, when in zip(failed.hosts, failed.moments, strict=True):
        if when != known:
            known, date = when, _date(when)
        texts.append(f"[{jail}] Found {host} - {date}")
    return texts


def _line_of(jail: str, said: Order | _Single) -> tuple[str, int, str]:
    if isinstance(said, Enforce):  # these come by the ten thousand
        what = "Restore Ban" if said.restored else "Ban"
        return "fail2ban.actions", NOTICE, f"[{jail}] {what} {said.ban.host}"
    match said:
        case Ignored(host, why):
            return "fail2ban.filter", INFO, f"[{jail}] Ignore {host} by {why}"
        case AlreadyBanned(host):
            return "fail2ban.actions", NOTICE, f"[{jail}] {host} already banned"
        case Prolong(ban):
            until = _date(ban.until)
            text = f"[{jail}] Increase Ban {ban.host} ({ban.count} # {ban.seconds:.0f} -> {until})"
            return "fail2ban.actions", NOTICE, text
        case Spared(host, session):
            where = "there" if host == session else session
            text = f"[{jail}] {host} is spared, as somebody is logged in from {where}"
            return "fail2ban.actions", NOTICE, f"{text} (ignoresessions)"
        case Crowded(hosts, most):
            text = f"[{jail}] more than {most} hosts fail at a time (maxhosts); {hosts} that failed least"
            return "fail2ban.filter", WARNING, f"{text} were forgotten"
        case Lift(ban, into) if into:
            text = f"[{jail}] {ban.host} is shut out with {into} from now on"
            return "fail2ban.actions", INFO, text
        case Lift(ban):
            return "fail2ban.actions", NOTICE, f"[{jail}] Unban {ban.host}"


def _date(moment: float) -> str:
    try:
        return _local(moment // 1, time.tzname)
    except (OverflowError, ValueError, OSError):
        return "for ever"


@lru_cache(1024)
def _local(second: float, zone: tuple[str, str]) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
