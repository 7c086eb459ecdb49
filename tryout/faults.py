# SPDX-License-Identifier: GPL-2.0-or-later
"""What is wrong with filters, for `fail2ban-regex --lint`: read, looked at, told.

Reads configuration files, by the client's readers; what a fault is, others know.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from client.filterconf import filter_commands
from client.ini import Problem
from client.stream import read_one_filter
from common.errors import Fail2banError
from common.options import Config
from server import draft
from server.lint import NOTE, PREFIX, WARNING, findings
from server.slow import WHOLE


@dataclass(frozen=True, slots=True)
class Fault:
    """One line of what is told, and the indented ones below it."""

    severity: str
    text: str
    more: tuple[str, ...] = ()

    @property
    def is_fault(self) -> bool:
        return self.severity != NOTE


def filter_names(confdir: Path) -> tuple[str, ...]:
    """All filters but those that are only there to be included."""
    names = (path.stem for path in (confdir / "filter.d").glob("*.conf"))
    return tuple(sorted(name for name in names if not name.endswith("common")))


def found_in(name: str, confdir: Path) -> list[Fault]:
    """The faults of the filter `name`, which may have [options]."""
    problems: list[Problem] = []
    try:
        found = read_one_filter(confdir, name)
        commands = filter_commands("x", found.options, problems)
        conf = draft.read_stream(Config(), [["add", "x"], *commands]).config.jails["x"]
        every = findings(conf)
    except (Fail2banError, ValueError, TypeError) as error:
        return [Fault("error", f"{name}: error: {error}")]
    told = [Fault(WARNING, str(one)) for one in (*found.problems, *problems)]
    for one in every:
        key = "prefregex" if one.rule == PREFIX else "failregex"
        if one.rule == WHOLE:
            key = "maxlines" if "maxlines" in found.options else "Definition"
        value = found.options.get(key)
        where = value.where if value and value.where else name
        rule = f"{key} {one.rule + 1}" if one.rule >= 0 else key
        regex = conf.failregex[one.rule] if one.rule >= 0 else conf.prefregex
        regexes = (regex,) if one.rule != WHOLE else ()
        more = (*regexes, one.advice, *((f"such as: {one.example}",) if one.example else ()))
        told.append(Fault(one.severity, f"{where}: {rule}: {one.severity}: {one.what}", more))
    return told


def faults(names: Sequence[str], found: Sequence[Sequence[Fault]]) -> Iterator[str]:
    """The lines that tell what was found in the filters `names`."""
    for each in found:
        for one in each:
            yield one.text
            yield from (f"    {line}" for line in one.more)
    count = sum(map(len, found))
    filters = f"{len(names)} filter{'' if len(names) == 1 else 's'}"
    yield f"{filters}, {f'{count} findings' if count > 1 else 'one finding' if count else 'nothing found'}"
