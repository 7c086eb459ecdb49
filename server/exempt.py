# SPDX-License-Identifier: GPL-2.0-or-later
"""Who is left alone beyond what `ignoreip` says itself: this machine, hosts in files, friends of a command.

Knows no ban and no log, and decides nothing; whoever asks waits for the command.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from common.options import JailConf
from server.action import render
from server.draft import cache_options
from server.records import Failure, Result, ShellCommand
from server.resolver import Resolver

log = logging.getLogger("fail2ban.jail")


class Exempt:
    """What one jail may know of that."""

    def __init__(self, resolver: Resolver, run: Callable[[ShellCommand], Result]) -> None:
        self._resolver, self._run = resolver, run
        # What ignorecommand said, and until when that holds.
        self._answers: OrderedDict[str, tuple[float, bool]] = OrderedDict()

    def forget(self) -> None:
        """Forget what ignorecommand said."""
        self._answers.clear()

    def listed(self, conf: JailConf, files: Iterable[str]) -> Iterator[str]:
        """The hosts and networks that `ignoreself` and the `files` in `ignoreip` stand for."""
        if conf.ignore_self:
            yield from self._resolver.own_addresses()
        for path in files:
            yield from _entries_of(path, conf.name)

    def is_friend(self, conf: JailConf, failure: Failure) -> bool:
        """Whether ignorecommand says so, asked or remembered."""
        if not conf.ignore_command:
            return False
        values = _values_of(failure)
        cache = cache_options(conf.ignore_cache)
        if cache is None:
            return self._ask(conf.ignore_command, values)
        key, most, seconds = cache
        for name, value in values.items():
            key = key.replace(f"<{name}>", value)
        kept = self._answers.get(key)
        now = time.monotonic()
        if kept is None or kept[0] <= now:
            kept = (now + seconds, self._ask(conf.ignore_command, values))
            self._answers[key] = kept
            while len(self._answers) > most:
                self._answers.popitem(last=False)
        return kept[1]

    def _ask(self, script: str, values: Mapping[str, str]) -> bool:
        return self._run(render(script, {}, values, None)).is_success


def _entries_of(path: str, jail: str) -> list[str]:
    """The words of a file of ignored hosts; # begins a comment."""
    try:
        text = Path(path).read_text(errors="replace")
    except (OSError, ValueError) as error:  # a name with a NUL, too
        log.error("[%s] the list of ignored hosts %s cannot be read: %s", jail, path, error)
        return []
    return [word for line in text.splitlines() for word in line.partition("#")[0].split()]


def _values_of(failure: Failure) -> Mapping[str, str]:
    return {
        "ip": failure.host,
        "fid": failure.host,
        "failures": str(failure.attempts),
        "time": f"{failure.when:.0f}",
        "matches": "\n".join(failure.lines),
    }
