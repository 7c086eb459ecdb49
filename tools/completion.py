# SPDX-License-Identifier: GPL-2.0-or-later
"""What a shell may offer at each place of a command line, read from the tables of commands and options.

An `Offer` is one word, and a regular expression of the words before it: a shell needs no more than
to compare.  Writes nothing, and asks no server: where that is needed, the offer says what to ask.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from common.cli import Switch
from common.commands import INTERNAL, Command
from common.options import BAN_TIME_OPTIONS, DAEMON_OPTIONS, JAIL_OPTIONS, SWITCH, Option

# Offers that a shell has to find out about.  In `ASK …`, `%2` is the second word of the command.
FILE, DIRECTORY = "=file", "=dir"
JAILS, SECTIONS = "=jails", "=sections"
FILTERS, ACTIONS = "=names filter.d", "=names action.d"
ASK_BANNED_ANYWHERE = "=ask banned"
ASK_BANNED = "=ask get %2 banned"
ASK_PROPERTIES = "=ask get %2 actionproperties %4"

LEVELS = ("CRITICAL", "ERROR", "WARNING", "NOTICE", "INFO", "DEBUG")
TARGETS = ("STDOUT", "STDERR", "SYSLOG", "SYSTEMD-JOURNAL")

# What an option may be set to, where its kind does not say so.
_VALUES = {
    "loglevel": LEVELS,
    "logtarget": (*TARGETS, FILE),
    "syslogsocket": ("auto", FILE),
    "allowipv6": ("auto", "yes", "no"),
    "dbfile": ("None", ":memory:", FILE),
    "logencoding": ("auto",),
}
_OPTIONS = {
    **{key: option for key, (_, option) in {**DAEMON_OPTIONS, **JAIL_OPTIONS}.items()},
    **{f"bantime.{option.key}": option for option in BAN_TIME_OPTIONS},
}
# What may stand for <name> after a certain word, else after any.
_AFTER = {
    ("add", "jail"): (),  # it is a new one
    ("idle", "value"): ("on", "off"),
    ("unban", "ip"): (ASK_BANNED_ANYWHERE,),
    ("banned", "ip"): (ASK_BANNED_ANYWHERE,),
    ("unbanip", "ip"): (ASK_BANNED,),
    ("delignoreip", "ip"): ("=ask get %2 ignoreip",),
    ("dellogpath", "path"): ("=ask get %2 logpath",),
    ("addaction", "action"): (ACTIONS,),
    ("action", "name"): (ASK_PROPERTIES,),
}
_ANYWHERE = {
    "jail": (JAILS,),
    "backend": ("auto", "pyinotify", "polling", "systemd"),
    "flavour": ("basic", "short", "stats", "cymru"),
    "where": ("head", "tail"),
    "path": (FILE,),
    "file": (FILE,),
    "action": ("=ask get %2 actions",),
    "property": (ASK_PROPERTIES,),
}
# The word of a switch; one that is called as an option of the daemon may be what that may be.
_SWITCHES = {
    **_VALUES,
    "confdir": (DIRECTORY,),
    "socket": (FILE,),
    "pidfile": (FILE,),
}
_OF_REGEX = {
    "config": (DIRECTORY,),
    "usedns": ("yes", "warn", "no", "raw"),
    "out": ("id", "ip", "fid", "host", "user", "row", "msg", "matches", "stats"),
    "jail": (SECTIONS,),
    "log_level": tuple(level.lower() for level in LEVELS),
    "log": (FILE, "systemd-journal", "-"),
    "filter": (FILTERS, SECTIONS, FILE),
    "lint": (FILTERS,),
}


@dataclass(frozen=True, slots=True)
class Offer:
    """`word` may come after words that match `after`, each of them with a space before it.

    Of all offers that match, only those with the lowest `rank` count: `set loglevel` is no jail.
    """

    rank: str
    after: str
    word: str
    help: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """An option of the command line: its names, its help, and the name and offers of its word."""

    names: tuple[str, ...]
    help: str
    word: str = ""
    offers: tuple[str, ...] = ()


def of_commands(commands: Iterable[Command]) -> list[Offer]:
    """What may come after what, lowest rank first."""
    found: dict[tuple[str, str], Offer] = {}
    for command in commands:
        if command.group != INTERNAL:
            for offer in _of_command(command):
                first = found.setdefault((offer.after, offer.word), offer)
                if not first.help:
                    found[offer.after, offer.word] = offer
    return sorted(found.values(), key=lambda offer: (offer.rank, offer.after))


def _of_command(command: Command) -> Iterator[Offer]:
    tokens = command.usage.split(" ")
    words = [token for token in tokens if not token.startswith(("<", "["))]
    before = rank = ""
    switches: list[str] = []
    for token in tokens:
        is_optional, is_many = token.startswith("["), "..." in token
        plain = token.strip("[].")
        if is_optional and not plain.startswith("<"):
            switches.append(plain)
            continue
        if switches:
            repeated = f"({'|'.join(f' {switch}' for switch in switches)})*"
            yield from (Offer(rank, f"{before}{repeated}", each) for each in switches)
            before, switches = before + repeated, []
        prefix, bracket, name = plain.partition("<")
        if not bracket:
            help = command.help if plain == words[-1] else ""
            yield Offer(rank, before, plain, help)
            before, rank = f"{before} {plain.replace('.', '[.]')}", rank + "0"
            continue
        one = f" {prefix.replace('.', '[.]')}[^ ]+"
        again = f"({one})*" if is_many else ""
        for word in _words_for(command, words[-1], name.rstrip(">")) if not prefix else ():
            yield Offer(rank, before + again, word)
        before += again or (f"({one})?" if is_optional else one)
        if not is_optional:
            rank += "1" if prefix else "2"
    if switches:
        repeated = f"({'|'.join(f' {switch}' for switch in switches)})*"
        yield from (Offer(rank, f"{before}{repeated}", each) for each in switches)


def _words_for(command: Command, last: str, name: str) -> tuple[str, ...]:
    """What may be offered for `<name>` of `command`, whose last plain word is `last`."""
    if command.usage.startswith("get <jail>") and name == "ip":
        return (ASK_BANNED,)
    option = option_of(command)
    if option is None or name != "value":
        return _AFTER.get((last, name), _ANYWHERE.get(name, ()))
    if option.kind is SWITCH:
        return ("true", "false")
    return _VALUES.get(option.key) or (
        tuple(option.kind.name.split("|")) if "|" in option.kind.name else ()
    )


def option_of(command: Command) -> Option | None:
    """The option that `command` sets or gets, if it does no more than that."""
    return _OPTIONS.get(command.option)


def of_switches(switches: Sequence[Switch]) -> list[Choice]:
    """The options of fail2ban-client and fail2ban-server."""
    return [
        Choice(switch.names, switch.help, switch.word, _SWITCHES.get(switch.sets, ()))
        for switch in switches
    ]


def of_parser(parser: argparse.ArgumentParser) -> list[Choice]:
    """The options of a program that uses argparse."""
    return [
        Choice(
            tuple(action.option_strings),
            _sentence(action.help or ""),
            (action.metavar or action.dest).lower() if takes_word(action) else "",  # type: ignore[union-attr]
            _OF_REGEX.get(action.dest, ()),
        )
        for action in options_of(parser)
    ]


def of_arguments(parser: argparse.ArgumentParser) -> list[Offer]:
    """What such a program takes besides options, in the form of offers."""
    names = [action.dest for action in parser._actions if not action.option_strings]
    return [
        Offer(str(at), " [^ ]+" * at, word)
        for at, name in enumerate(names)
        for word in _OF_REGEX.get(name, ())
    ]


def options_of(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [action for action in parser._actions if action.option_strings]


def takes_word(option: argparse.Action) -> bool:
    return option.nargs != 0


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:].removesuffix('.')}." if text else ""


# -- as the shells have it


def rows(offers: Iterable[Offer], with_help: bool = False) -> str:
    """A line for each offer: rank, expression, word and perhaps the help, with tabs between."""
    offers = list(offers)
    ranks = sorted({offer.rank for offer in offers})
    lines = []
    for offer in offers:
        cells = [str(ranks.index(offer.rank)), f"^{offer.after}$", offer.word]
        lines.append("\t".join([*cells, offer.help] if with_help else cells))
    return "\n".join(lines)


def option_rows(choices: Iterable[Choice]) -> str:
    """A line for each name of an option: the name, whether it takes a word, and the offers for that."""
    lines = []
    for choice in choices:
        for name in choice.names:
            cells = [name, "1" if choice.word else "0", *choice.offers]
            lines.append("\t".join(cells))
    return "\n".join(lines)


def for_sh(text: str) -> str:
    """`text` in single quotes, for bash and zsh."""
    return "'" + text.replace("'", "'\\''") + "'"


def for_fish(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def zsh_specs(choices: Iterable[Choice]) -> str:
    """What `_arguments` wants to know of options, one a line."""
    lines = []
    for choice in choices:
        once = f"({' '.join(choice.names)})" if choice.names != ("-v",) else "*"
        help = choice.help.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")
        word = f":{choice.word}:{_zsh_action(choice.offers)}" if choice.word else ""
        for name in choice.names:
            equals = "=" if word and name.startswith("--") else ""
            plus = "+" if word and not name.startswith("--") else ""
            lines.append("    " + for_sh(f"{once}{name}{equals}{plus}[{help}]{word}"))
    return "\n".join(lines)


def zsh_arguments(offers: Iterable[Offer]) -> str:
    """The same of what a program takes besides options."""
    places: dict[str, list[str]] = {}
    for offer in offers:
        places.setdefault(offer.rank, []).append(offer.word)
    return " ".join(
        for_sh(f"{int(at) + 1}:word:{_zsh_action(words)}") for at, words in places.items()
    )


def _zsh_action(offers: Sequence[str]) -> str:
    """How to call our function as it stands: with a space before it; `=x` would be a program's path."""
    words = (each.replace(" ", "_").replace("=", "\\=") for each in offers)
    return f" _fail2ban_offer {' '.join(words)}" if offers else " "


def fish_rows(offers: Iterable[Offer]) -> str:
    """The same lines for fish: one word each."""
    return " \\\n    ".join(for_fish(row) for row in rows(offers, with_help=True).split("\n"))


def with_word(choices: Iterable[Choice]) -> list[str]:
    """The names of the options that take a word."""
    return [name for choice in choices if choice.word for name in choice.names]


def fish_options(program: str, choices: Iterable[Choice], condition: str) -> str:
    """A `complete` for each option of `program`, to be offered where `condition` holds."""
    lines = []
    for choice in choices:
        line = f"complete -c {program} -n {condition}"
        for name in choice.names:
            is_old = name.startswith("-") and not name.startswith("--") and len(name) > 2
            line += (
                f" {'-l' if name.startswith('--') else '-o' if is_old else '-s'} {name.lstrip('-')}"
            )
        if choice.word:
            line += " -x"
        if choice.offers:
            line += f" -a {for_fish('(__fail2ban_offer ' + ' '.join(map(for_fish, choice.offers)) + ')')}"
        lines.append(f"{line} -d {for_fish(choice.help)}")
    return "\n".join(lines)
