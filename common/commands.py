# SPDX-License-Identifier: GPL-2.0-or-later
"""Every command, each said once, and how the words of one are told apart.

From a line of this table come the dispatch in the server, `--help`, completion, the error texts and
the manual.  It knows neither server nor client, and does nothing itself: `parse` only says which
command some words are, and which word is what.

In a usage, `<x>` is one word, `<x>...` one or more, `[<x>]` may be left out, `[<x>...]` is any number,
`[--x]` a switch, `x.<y>` one word that begins with `x.`; everything else stands for itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from common.errors import CommandError
from common.options import BAN_TIME_OPTIONS, DAEMON_OPTIONS, JAIL_OPTIONS, Option

Given = Mapping[str, tuple[Any, ...]]

INTERNAL = "BETWEEN CLIENT AND SERVER"


@dataclass(frozen=True, slots=True)
class Command:
    """One command: how it is written, what it does, and where it stands in the help.

    `by_client` says that the client carries it out, with other commands.  `option` is the key of
    the option that it sets or gets (`maxretry`, `bantime.factor`), if it does no more than that.
    """

    usage: str
    help: str
    group: str
    by_client: bool = False
    option: str = ""


class InvalidCommand(CommandError):
    """Words that are no command.  `wire` is what tells so to a client of fail2ban 1.1."""

    def __init__(self, message: str, wire: BaseException) -> None:
        super().__init__(message)
        self.wire = wire


def _options_of_the_daemon() -> Iterator[Command]:
    groups = {"db": "DATABASE", "lo": "LOGGING", "sy": "LOGGING"}
    for key, (_, option) in DAEMON_OPTIONS.items():
        group = groups.get(key[:2], "BASIC")
        yield Command(f"set {key} <value>", option.help, group, option=key)
        if key != "allowipv6":  # as in fail2ban 1.1
            yield Command(f"get {key}", f"Show it: {_as_a_clause(option)}", group, option=key)


def _options_of_a_jail() -> Iterator[Command]:
    about = {key: option for key, (_, option) in JAIL_OPTIONS.items() if key != "backend"}
    about |= {f"bantime.{option.key}": option for option in BAN_TIME_OPTIONS}
    for key, option in about.items():
        yield Command(f"set <jail> {key} <value>", option.help, "JAIL OPTIONS", option=key)
    for key, option in about.items():
        yield Command(f"get <jail> {key}", f"Show it: {_as_a_clause(option)}", "JAIL OPTIONS", option=key)  # fmt: skip


def _as_a_clause(option: Option) -> str:
    return option.help[0].lower() + option.help[1:]


# fmt: off
COMMANDS: tuple[Command, ...] = (
    Command("start", "Start the server and its jails.", "BASIC", by_client=True),
    Command("restart", "Stop the server, if there is one, and start it anew.", "BASIC", by_client=True),
    Command("restart [--unban] [--if-exists] <jail>", "Stop <jail> and start it anew, as the configuration has it now.", "BASIC", by_client=True),
    Command("reload [--restart] [--unban] [--if-exists] [--all]", "Read the configuration again and change what differs; a mistake in it changes nothing.", "BASIC", by_client=True),
    Command("reload [--restart] [--unban] [--if-exists] <jail>", "The same for one jail: --restart starts it anew, --unban lifts its bans first, with --if-exists it need not run.", "BASIC", by_client=True),
    Command("loadconf", "Send the configuration to the running server, all of it or, if there is a mistake in it, nothing.", "BASIC", by_client=True),
    Command("stop", "Stop all jails and end the server.", "BASIC"),
    Command("quit", "The same as stop, as it was first called.", "BASIC", by_client=True),
    Command("status", "How many jails there are, and their names.", "BASIC"),
    Command("status --all [<flavour>]", "The status of all jails.", "BASIC"),
    Command("stats", "A table: failures and bans, current and total, of every jail.", "BASIC"),
    Command("statistic", "The same as plain data.", "BASIC"),
    Command("statistics", "The same as plain data.", "BASIC"),
    Command("banned", "The hosts that are banned, jail by jail.", "BASIC"),
    Command("banned <ip>...", "For each <ip>, the jails that ban it.", "BASIC"),
    Command("unban --all", "Lift all bans in all jails.", "BASIC"),
    Command("unban <ip>...", "Lift the ban on each <ip> in all jails.", "BASIC"),
    Command("ping [<seconds>]", "See whether the server answers, within <seconds>.", "BASIC"),
    Command("echo [<word>...]", "Have the server repeat the words.", "BASIC"),
    Command("sleep <seconds>", "Have the server answer after <seconds>.", "BASIC"),
    Command("version", "Show the server's version.", "BASIC"),
    Command("set thread <sizes>", "Set the stack size of new threads: {'stacksize': KiB}, 0 for the system's own.", "BASIC"),
    Command("get thread", "Show the stack size of new threads.", "BASIC"),

    Command("flushlogs", "Open the log file anew after it was moved, or write out what is held back.", "LOGGING"),
    *_options_of_the_daemon(),

    Command("add <jail> [<backend>]", "Make a jail that follows its logs with <backend>: auto, pyinotify, polling or systemd.", "JAILS"),
    Command("start <jail>", "Start <jail>, also if it is idle.", "JAILS"),
    Command("stop <jail>", "Stop <jail> and lift its bans.", "JAILS"),
    Command("stop --all", "Stop all jails; the server goes on.", "JAILS"),
    Command("status <jail> [<flavour>]", "The status of <jail>; flavours are basic, short, stats and cymru.", "JAILS"),
    Command("set <jail> idle <value>", "Whether <jail> rests: on or off.", "JAILS"),

    Command("set <jail> banip <ip>...", "Ban each <ip>: an address, a network, or any text that the actions understand.", "BANS"),
    Command("set <jail> unbanip [--report-absent] <ip>...", "Lift the ban on each <ip> in <jail>; with --report-absent it is an error if there is none.", "BANS"),
    Command("set <jail> attempt <ip> [<text>...]", "Count a failure of <ip>, one for each <text>.", "BANS"),
    Command("get <jail> banned", "The hosts that <jail> bans, oldest first.", "BANS"),
    Command("get <jail> banned <ip>...", "For each <ip>, 1 if <jail> bans it, else 0.", "BANS"),
    Command("get <jail> banip [<separator>]", "The hosts that <jail> bans, by end of ban.", "BANS"),
    Command("get <jail> banip --with-time", "The same, one a line, with start, length and end.", "BANS"),

    *_options_of_a_jail(),
    Command("set <jail> bantime.<key> <value>", "Keep a value for growing bans under any other <key>.", "JAIL OPTIONS"),
    Command("get <jail> bantime.<key>", "Show a value kept for growing bans.", "JAIL OPTIONS"),

    Command("set <jail> addignoreip [<ip>...]", "Never ban each <ip>: addresses, networks, host names, file:<path>.", "IGNORED HOSTS"),
    Command("set <jail> delignoreip <ip>", "Take <ip> out of the list of hosts never banned.", "IGNORED HOSTS"),
    Command("get <jail> ignoreip", "The hosts that <jail> never bans.", "IGNORED HOSTS"),

    Command("set <jail> addlogpath <path> [<where>]", "Follow a log file from its tail, or first read it from its head.", "LOGS"),
    Command("set <jail> dellogpath <path>", "Follow a log file no longer.", "LOGS"),
    Command("get <jail> logpath", "The log files that <jail> follows.", "LOGS"),
    Command("set <jail> addjournalmatch [<match>...]", "Follow entries of the journal that match; + stands between alternatives.", "LOGS"),
    Command("set <jail> deljournalmatch [<match>...]", "Take a match of journal entries away.", "LOGS"),
    Command("get <jail> journalmatch", "Which entries of the journal <jail> follows.", "LOGS"),

    Command("set <jail> addfailregex <regex>", "Add a regular expression that finds failures.", "REGULAR EXPRESSIONS"),
    Command("set <jail> delfailregex <index>", "Remove the one with this index.", "REGULAR EXPRESSIONS"),
    Command("get <jail> failregex", "The regular expressions that find failures, with their index.", "REGULAR EXPRESSIONS"),
    Command("set <jail> addignoreregex <regex>", "Add a regular expression of lines to pass over.", "REGULAR EXPRESSIONS"),
    Command("set <jail> delignoreregex <index>", "Remove the one with this index.", "REGULAR EXPRESSIONS"),
    Command("get <jail> ignoreregex", "The regular expressions of lines to pass over, with their index.", "REGULAR EXPRESSIONS"),

    Command("set <jail> addaction <action> [<file>] [<json>]", "Add an action; one in Python stands in <file> and is made with the arguments in <json>.", "ACTIONS"),
    Command("set <jail> delaction <action>", "Remove an action.", "ACTIONS"),
    Command("get <jail> actions", "The names of the actions of <jail>.", "ACTIONS"),
    Command("set <jail> action <action> <name> [<value>]", "Set the property <name> of an action, such as actionban or timeout; or call that method of an action in Python, with the arguments in the JSON text <value>.", "ACTIONS"),
    Command("get <jail> action <action> <property>", "A property of an action.", "ACTIONS"),
    Command("get <jail> actionproperties <action>", "The names of an action's properties.", "ACTIONS"),
    Command("get <jail> actionmethods <action>", "The names of an action's methods.", "ACTIONS"),

    Command("server-status", "Say that the server is ready.", INTERNAL),
    Command("config-error <text>", "Write into the log what is wrong with the configuration.", INTERNAL),
    Command("server-stream <commands>", "Carry out a list of commands, up to the first that fails.", INTERNAL),
    Command("reload <jail> <options> <commands>", "Make <jail>, or --all jails, what the list of commands says.", INTERNAL),
    Command("multi-set <jail> addfailregex <list>", "Add several regular expressions.", INTERNAL),
    Command("multi-set <jail> addignoreregex <list>", "Add several regular expressions of lines to pass over.", INTERNAL),
    Command("multi-set <jail> origins <list>", "Say in which files and lines options of the filter of <jail> stand, given as pairs.", INTERNAL),
    Command("multi-set <jail> action <action> <list>", "Set properties of an action, given as pairs.", INTERNAL),
)
# fmt: on


@dataclass(frozen=True, slots=True)
class _Part:
    """What may stand at one place of a command: one of `words`, or anything that begins so."""

    shown: str
    words: frozenset[str] = frozenset()
    name: str = ""
    prefix: str = ""
    least: int = 1
    most: float = 1

    def takes(self, word: Any) -> bool:
        if self.words:
            return isinstance(word, str) and word in self.words
        return not self.prefix or (isinstance(word, str) and word.startswith(self.prefix))

    @property
    def vagueness(self) -> int:
        return 0 if self.words else 1 if self.prefix else 2


_PART = re.compile(
    r"(?P<optional>\[)?(?:(?P<prefix>[^\s<>\[\]]+)?<(?P<name>\w+)>(?P<many>\.\.\.)?"
    r"|(?P<word>[^\s<>\[\]]+))\]?"
)


@cache
def _parts_of(usage: str) -> tuple[_Part, ...]:
    """`usage` taken apart.  Switches that stand side by side may come in any order: one part."""
    parts: list[_Part] = []
    for found in _PART.finditer(usage):
        least = 0 if found["optional"] else 1
        if found["name"]:
            most = float("inf") if found["many"] else 1
            part = _Part(found[0], frozenset(), found["name"], found["prefix"] or "", least, most)
        elif least or not (parts and parts[-1].words and not parts[-1].least):
            part = _Part(found[0], frozenset({found["word"]}), "", "", least, 1)
        else:
            words = parts[-1].words | {found["word"]}
            part = _Part(parts.pop().shown, words, "", "", 0, len(words))
        parts.append(part)
    return tuple(parts)


@dataclass(frozen=True, slots=True)
class _Fit:
    """How far some words go as one command.  `wanted` is what had to follow, None at its end."""

    command: Command
    given: Given
    vagueness: tuple[int, ...]
    reached: int
    is_whole: bool
    wanted: _Part | None


def _fit(command: Command, words: Sequence[Any]) -> _Fit:
    given: dict[str, tuple[Any, ...]] = {}
    vagueness: list[int] = []
    at = 0
    for part in _parts_of(command.usage):
        begin = at
        while at < len(words) and at - begin < part.most and part.takes(words[at]):
            at += 1
        taken = words[begin:at]
        vagueness += [part.vagueness] * len(taken)
        if len(taken) < part.least:
            return _Fit(command, given, tuple(vagueness), at, False, part)
        if part.name:
            given[part.name] = tuple(word[len(part.prefix) :] if part.prefix else word for word in taken)  # fmt: skip
        elif not part.least:
            given |= {switch: (switch,) * (switch in taken) for switch in part.words}
    return _Fit(command, given, tuple(vagueness), at, at == len(words), None)


@cache
def _landmark(usage: str) -> tuple[int, str]:
    """A word of `usage` behind the first that stands at a fixed place, and that; "" without any."""
    for at, part in enumerate(_parts_of(usage)):
        if part.least != 1 or part.most != 1:
            break
        if at and len(part.words) == 1:
            return at, next(iter(part.words))
    return 0, ""


class _Rows:
    """The commands that begin with one word."""

    def __init__(self, commands: Iterable[Command]) -> None:
        self.all = tuple(commands)

    @cached_property
    def _by_landmark(self) -> dict[tuple[int, str], list[Command]]:
        rows: dict[tuple[int, str], list[Command]] = {}
        for command in self.all:
            rows.setdefault(_landmark(command.usage), []).append(command)
        return rows

    @cached_property
    def _places(self) -> list[int]:
        return sorted({at for at, _ in self._by_landmark})

    def near(self, words: Sequence[Any]) -> Iterator[Command]:
        """Those that are worth a closer look at whether they are `words`; a start asks for thousands."""
        for at in self._places:
            word = words[at] if 0 < at < len(words) else ""
            if (word or not at) and isinstance(word, str):
                yield from self._by_landmark.get((at, word), ())


_Table = Mapping[str, _Rows]


def _table_of(commands: Iterable[Command]) -> _Table:
    """`commands` by their first word."""
    table: dict[str, list[Command]] = {}
    for command in commands:
        table.setdefault(command.usage.split(" ", 1)[0], []).append(command)
    return {first: _Rows(rows) for first, rows in table.items()}


_FOR_SERVER = _table_of(command for command in COMMANDS if not command.by_client)
_FOR_CLIENT = _table_of(command for command in COMMANDS if command.by_client)


def parse(words: Sequence[Any]) -> tuple[Command, Given]:
    """Which command of the server `words` are, and which of them is what; else InvalidCommand."""
    return _parse(words, _FOR_SERVER)


def parse_for_client(words: Sequence[Any]) -> tuple[Command, Given] | None:
    """The same for the commands that the client carries out; None where `words` are none of them.

    `start sshd` goes to the server, `start` does not; `reload` with any words is the client's.
    """
    first = words[0] if words else None
    if not isinstance(first, str) or first not in _FOR_CLIENT:
        return None
    try:
        return _parse(words, _FOR_CLIENT)
    except InvalidCommand:
        if first in _FOR_SERVER and first != "reload":
            return None
        raise


def _parse(words: Sequence[Any], table: _Table) -> tuple[Command, Given]:
    if not words:
        raise InvalidCommand("no command was given", IndexError("list index out of range"))
    first = words[0]
    if not isinstance(first, str) or first not in table:
        raise InvalidCommand(
            f"there is no command {first!r}{_advice(first, table)}", Exception("Invalid command")
        )
    fits = (_fit(command, words) for command in table[first].near(words))
    whole = [fit for fit in fits if fit.is_whole]
    if not whole:
        raise _what_is_wrong(words, [_fit(command, words) for command in table[first].all])
    best = min(whole, key=lambda fit: fit.vagueness)
    return best.command, best.given


def _what_is_wrong(words: Sequence[Any], fits: Sequence[_Fit]) -> InvalidCommand:
    reached = max(fit.reached for fit in fits)
    best = [fit for fit in fits if fit.reached == reached]
    said = " ".join(str(word) for word in words[:reached])
    wanted = [fit.wanted for fit in best if fit.wanted]
    if reached == len(words):
        follows = ", ".join(list(dict.fromkeys(part.shown for part in wanted))[:12])
        return InvalidCommand(
            f"{said!r} is not all; it goes on with: {follows}",
            IndexError("list index out of range"),
        )
    word = words[reached]
    choices = [word for part in wanted for word in sorted(part.words)]
    message = f"{said!r} cannot go on with {word!r}{_advice(word, choices)}"
    if reached == 2 and words[0] == "get":
        wire = Exception("Invalid command (no get action or not yet implemented)")
    elif reached == 2 and words[0] in ("set", "multi-set"):
        wire = Exception(f"Invalid command {word!r} (no set action or not yet implemented)")
    else:
        wire = Exception(f"Invalid command: {message}")
    return InvalidCommand(message, wire)


def _advice(word: Any, choices: Iterable[str]) -> str:
    """What `word` may have been meant to be."""
    import difflib  # only a slip of the pen needs it

    known = list(dict.fromkeys(choices))
    close = difflib.get_close_matches(str(word)[:50], known) if known else []
    few = close or (known if len(known) <= 6 else [])
    return f"; try: {', '.join(few)}" if few else ""


def may_follow(words: Sequence[str]) -> list[str]:
    """The words that may come after `words`, for completion; those of free choice are not named."""
    found: set[str] = set()
    for table in (_FOR_SERVER, _FOR_CLIENT):
        if not words:
            found |= {first for first in table if table[first].all[0].group != INTERNAL}
            continue
        for command in table[words[0]].all if words[0] in table else ():
            if command.group != INTERNAL:
                for part in _open_at_the_end(_parts_of(command.usage), words):
                    found |= part.words
    return sorted(word for word in found if not (word.startswith("-") and word in words))


def _open_at_the_end(parts: Sequence[_Part], words: Sequence[str]) -> Iterator[_Part]:
    """The parts that the word after `words` may belong to."""
    at = 0
    for part in parts:
        begin = at
        while at < len(words) and at - begin < part.most and part.takes(words[at]):
            at += 1
        if at == len(words) and at - begin < part.most:
            yield part
        if at - begin < part.least:
            return
