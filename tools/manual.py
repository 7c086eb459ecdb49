#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes what is read from the tables: man pages, reference in doc/, completion for shells.

`python tools/manual.py` writes, with `--check` it says what is not as the tables have it.  A text of
`tools/texts` becomes a file; a name between two `@` in it stands for what comes from a table.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from common.cli import SWITCHES, Switch  # noqa: E402
from common.commands import COMMANDS, INTERNAL, Command  # noqa: E402
from common.options import BAN_TIME_OPTIONS, DAEMON_OPTIONS, JAIL_OPTIONS, Option  # noqa: E402
from common.version import VERSION  # noqa: E402
from tools import answers, completion, markup, wording  # noqa: E402
from tryout.arguments import parser  # noqa: E402

TEXTS = ROOT / "tools" / "texts"
# Which text becomes which file.
FILES = {
    "man/fail2ban-client.1": "fail2ban-client.1",
    "man/fail2ban-server.1": "fail2ban-server.1",
    "man/fail2ban-regex.1": "fail2ban-regex.1",
    "man/jail.conf.5": "jail.conf.5",
    "man/fail2ban.conf.5": "fail2ban.conf.5",
    "doc/commands.md": "commands.md",
    "doc/options.md": "options.md",
    "completions/fail2ban-client.bash": "fail2ban-client.bash",
    "completions/fail2ban-server.bash": "other.bash",
    "completions/fail2ban-regex.bash": "other.bash",
    "completions/_fail2ban": "_fail2ban",
    "completions/fail2ban-client.fish": "fail2ban-client.fish",
    "completions/fail2ban-server.fish": "other.fish",
    "completions/fail2ban-regex.fish": "other.fish",
}
_MARK = re.compile(r"@(\w+)@")


def files(
    commands: Sequence[Command] = COMMANDS, switches: Sequence[Switch] = SWITCHES
) -> dict[str, str]:
    """Every file, by its path in the project, as these tables have it."""
    tables = {
        **_about_pages(),
        **_about_options(),
        **_about_commands(commands, switches),
        **_about_completion(commands, switches),
    }
    return {path: _filled(TEXTS / text, tables) for path, text in FILES.items()}


def _filled(path: Path, tables: Mapping[str, Callable[[], str]]) -> str:
    return _MARK.sub(lambda mark: tables[mark[1]](), path.read_text("utf-8"))


def _about_pages() -> dict[str, Callable[[], str]]:
    return {
        "made": lambda: "Made by tools/manual.py; change tools/texts or the tables instead.",
        "version": lambda: VERSION,
        "date": lambda: wording.DATE,
    }


def _about_options() -> dict[str, Callable[[], str]]:
    """Options of the configuration's files."""
    groups: dict[str, Iterable[Option]] = {
        "jail": _of_a_jail(),
        "growing": [_with_prefix(option) for option in BAN_TIME_OPTIONS],
        "filter": _in_order(completion.FILTER_KEYS),
        "old_filter": wording.OLD_FILTER_OPTIONS,
        "action": wording.action_options(),
        "daemon": [*wording.DAEMON_MORE, *(option for _, option in DAEMON_OPTIONS.values())],
        "thread": wording.THREAD_OPTIONS,
    }
    made: dict[str, Callable[[], str]] = {}
    for name, options in groups.items():
        made[f"{name}_options"] = lambda options=tuple(options): markup.roff_options(options)  # type: ignore[misc]
        made[f"{name}_rows"] = lambda options=tuple(options): markup.table_of_options(options)  # type: ignore[misc]
    made["tags"] = lambda: markup.roff_terms(wording.TAGS)
    made["tag_rows"] = lambda: markup.table(("tag", "what it is"), wording.TAGS)
    made["filter_tags"] = lambda: markup.roff_terms(wording.FILTER_TAGS)
    made["filter_tag_rows"] = lambda: markup.table(("tag", "what it matches"), wording.FILTER_TAGS)
    return made
