# SPDX-License-Identifier: GPL-2.0-or-later
"""The options that fail2ban-client and fail2ban-server share, and the help, read from the tables.

Text in, records out: it prints nothing and knows no program.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from common.commands import COMMANDS, INTERNAL
from common.errors import CommandError
from common.version import VERSION


@dataclass(frozen=True, slots=True)
class Switch:
    """An option of the command line.  `names` as they are typed; `sets` a field of `Choices`.

    It takes a word where `word` names one; else it puts `value` there, or adds it to a number.
    """

    names: tuple[str, ...]
    sets: str
    help: str
    word: str = ""
    value: Any = True


# fmt: off
SWITCHES: tuple[Switch, ...] = (
    Switch(("-c", "--conf"), "confdir", "Read the configuration in <dir>.", "dir"),
    Switch(("-s", "--socket"), "socket", "Talk over the socket at <path>.", "path"),
    Switch(("-p", "--pidfile"), "pidfile", "Keep the server's process id in <path>.", "path"),
    Switch(("--pname",), "pname", "Call the server's process <name>.", "name"),
    Switch(("--loglevel",), "loglevel", "Log as much as <level> says, whatever the configuration says.", "level"),
    Switch(("--logtarget",), "logtarget", "Log to <target>: a file, STDOUT, STDERR, SYSLOG, SYSOUT, SYSTEMD-JOURNAL.", "target"),
    Switch(("--syslogsocket",), "syslogsocket", "The socket of syslog: auto or <path>.", "path"),
    Switch(("--dbfile",), "dbfile", "Keep bans and positions in <path>: a file, :memory:, or None.", "path"),
    Switch(("-d",), "dump", "Print the commands that the configuration comes to, and end.", value="plain"),
    Switch(("--dp", "--dump-pretty"), "dump", "The same, made for reading.", value="pretty"),
    Switch(("-t", "--test"), "is_test", "See whether the configuration is right, and end."),
    Switch(("-i",), "is_interactive", "Ask for commands, one after the other."),
    Switch(("-v",), "verbosity", "Say more; may be given again.", value=1),
    Switch(("-q",), "verbosity", "Say less.", value=-1),
    Switch(("-x",), "is_forced", "Replace a socket that a dead server left behind, whoever owns it."),
    Switch(("-b",), "is_foreground", "Have the server run in the background (as it does anyway).", value=False),
    Switch(("-f",), "is_foreground", "Have the server run in the foreground."),
    Switch(("--async",), "is_async", "Have the server start without a configuration: a client sends it."),
    Switch(("--timeout",), "timeout", "Wait no longer than <time> for the server.", "time"),
    Switch(("--str2sec",), "duration", "Print how many seconds <time> is, and end.", "time"),
    Switch(("--format",), "format", "Print answers and errors in <format>: text, or json as doc/json.md tells.", "format"),
    Switch(("--json",), "format", "The same as --format json.", value="json"),
    Switch(("-h", "--help"), "asks_for", "Print this help.", value="help"),
    Switch(("-V",), "asks_for", "Print the bare version.", value="number"),
    Switch(("--version",), "asks_for", "Print the version.", value="version"),
)
# fmt: on


@dataclass(frozen=True, slots=True)
class Choices:
    """What a command line says; None where it says nothing."""

    words: tuple[str, ...] = ()
    confdir: str | None = None
    socket: str | None = None
    pidfile: str | None = None
    pname: str | None = None
    loglevel: str | None = None
    logtarget: str | None = None
    syslogsocket: str | None = None
    dbfile: str | None = None
    dump: str = ""
    is_test: bool = False
    is_interactive: bool = False
    verbosity: int = 0
    is_forced: bool = False
    is_foreground: bool | None = None
    is_async: bool = False
    timeout: str | None = None
    duration: str | None = None
    format: str = "text"
    asks_for: str = ""

    @property
    def is_json(self) -> bool:
        return self.format == "json"


def parse(argv: Sequence[str]) -> Choices:
    """What `argv` (without the program's name) says.  Options end where the command begins."""
    chosen: dict[str, Any] = {}
    rest = list(argv)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        first = rest.pop(0)
        if first == "--":
            break
        switch, word, is_more = _take(first)
        if is_more:
            rest.insert(0, f"-{word}")
            word = None
        if switch.word and word is None:
            if not rest:
                raise CommandError(f"option {first} needs a <{switch.word}>")
            word = rest.pop(0)
        elif not switch.word and word is not None:
            raise CommandError(f"option {switch.names[-1]} takes no word, and got {word!r}")
        if switch.sets == "verbosity":
            chosen["verbosity"] = chosen.get("verbosity", 0) + switch.value
        else:
            chosen[switch.sets] = word if switch.word else switch.value
    return Choices(words=tuple(rest), **chosen)


def _take(text: str) -> tuple[Switch, str | None, bool]:
    """The switch that `text` begins with, what stands with it, and whether that is more switches."""
    if text.startswith("--"):
        name, has_word, word = text.partition("=")
        return _long(name), word if has_word else None, False
    for switch in SWITCHES:
        if text[:2] in switch.names:
            return switch, text[2:] or None, bool(text[2:]) and not switch.word
    raise CommandError(f"there is no option {text[:2]}")


def _long(name: str) -> Switch:
    """The option called `name`, which may be cut short as long as it stays the only one."""
    exact = [switch for switch in SWITCHES if name in switch.names]
    close = exact or [
        switch for switch in SWITCHES if any(full.startswith(name) for full in switch.names)
    ]
    if len(close) == 1:
        return close[0]
    if not close:
        raise CommandError(f"there is no option {name}")
    raise CommandError(f"{name} may be {' or '.join(switch.names[-1] for switch in close)}")


def help_text(program: str) -> str:
    """The help of `program`: every option, every command."""
    lines = [f"Usage: {program} [options] <command>", "", f"Fail2Ban v{VERSION}", ""]
    lines += ["Fail2Ban reads log files and bans hosts that fail too often.", "", "Options:"]
    for switch in SWITCHES:
        word = f" <{switch.word}>" if switch.word else ""
        lines += _row(f"{', '.join(switch.names)}{word}", switch.help)
    group = ""
    groups = list(dict.fromkeys(command.group for command in COMMANDS))
    for command in sorted(COMMANDS, key=lambda command: groups.index(command.group)):
        if command.group == INTERNAL:
            continue
        if command.group != group:
            group = command.group
            lines += ["", f"Commands: {group}"]
        lines += _row(command.usage, command.help)
    return "\n".join(lines)


def _row(left: str, right: str) -> Iterator[str]:
    import textwrap  # only the help needs it

    texts = textwrap.wrap(right, 46)
    if len(left) > 29:
        yield f"  {left}"
        left = ""
    for text in texts:
        yield f"  {left:<29} {text}"
        left = ""
