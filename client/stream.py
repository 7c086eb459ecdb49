# SPDX-License-Identifier: GPL-2.0-or-later
"""A configuration directory as a stream of commands, with all that is wrong with it.

`read` is the one door to the configuration: files in, a `Reading` out.  It changes nothing, and it
remembers nothing between two calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from client.expand import Scope
from client.filterconf import Command, Filter, JailError, read_filter, whole_number
from client.include import Conf, Files, Library
from client.ini import Problem, Value
from client.jailconf import (
    JailReading,
    is_enabled,
    jail_filter,
    read_jail,
    strange_defaults,
    stranger,
    used_variables,
)
from common.errors import ConfigError, Where
from common.options import DAEMON_OPTIONS

FAILED = 255

# What is sent of [Definition] in fail2ban.conf, in that order, with what holds where it is silent.
_SENT = {
    "syslogsocket": "auto",
    "loglevel": "INFO",
    "logtarget": "STDERR",
    "allowipv6": "auto",
    "dbfile": "None",
    "dbmaxmatches": None,
    "dbpurgeage": "1d",
}
_PLACES = {"socket": "/run/fail2ban/fail2ban.sock", "pidfile": "/run/fail2ban/fail2ban.pid"}
# The word for "where it is right for this installation", and the options that may say so.
AUTO = "auto"
AUTO_OPTIONS = ("socket", "pidfile", "dbfile", "logtarget")
# As fail2ban.conf was written for the first releases.
_OLD = ("background",)
_LEVELS = ("CRITICAL", "ERROR", "WARNING", "NOTICE", "INFO", "DEBUG", "TRACEDEBUG", "HEAVYDEBUG")


@dataclass(frozen=True, slots=True)
class DaemonSettings:
    """What fail2ban.conf says of the daemon itself; needed before there is one to talk to."""

    socket: str = _PLACES["socket"]
    pidfile: str = _PLACES["pidfile"]
    loglevel: str = "INFO"
    logtarget: str = "STDERR"
    syslogsocket: str = "auto"
    dbfile: str = "None"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a configuration came to.

    `commands` is what a dump prints, `sent` what goes to our server: there logs are named as they are
    written, as it waits for those that are missing, and a jail with an error is left out.
    `is_refused` says that a mistake makes all of it doubtful; then there are no commands at all.
    """

    commands: tuple[Command, ...] = ()
    sent: tuple[Command, ...] = ()
    problems: tuple[Problem, ...] = ()
    daemon: DaemonSettings = DaemonSettings()
    is_refused: bool = False
    jails: tuple[JailReading, ...] = ()

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The mistakes that a reload, which is all or nothing, refuses to go on with."""
        return tuple(each for each in self.problems if each.level == "error")


def exit_status(reading: Reading, run: Literal["dump", "test"]) -> int:
    """How the program ends: a dump is content with one good jail, a test wants every one good."""
    if reading.is_refused:
        return FAILED
    states = [jail.state for jail in reading.jails]
    if run == "test":
        if any(problem.jail is None for problem in reading.errors):
            return FAILED
        return FAILED if "bad" in states or "without logs" in states else 0
    return FAILED if "bad" in states and all(state == "bad" for state in states) else 0


def read(
    confdir: Path | str,
    *,
    jail: str | None = None,
    auto: Mapping[str, str] | None = None,
    is_enabled_anyway: bool = False,
    files: Files | None = None,
) -> Reading:
    """Read the configuration in `confdir`, with all of its mistakes at once.

    With `jail`, only that one, and nothing of the daemon's own; `is_enabled_anyway` counts it as
    enabled.  `auto` gives the values of those of `AUTO_OPTIONS` that the files leave open by that word.
    """
    library = Library(confdir, files)
    problems: list[Problem] = []
    is_refused = False
    daemon, commands = DaemonSettings(), list[Command]()
    try:
        daemon, commands = _daemon(library, auto or {}, problems)
    except ConfigError as error:
        problems.append(Problem.of(error))
        is_refused = True
    jails: list[JailReading] = []
    try:
        conf = _jails(library, jail)
    except ConfigError as error:
        problems.append(Problem.of(error))
        is_refused = True
    else:
        problems += strange_defaults(conf)
        for name in conf.sections if jail is None else [jail]:
            try:
                if is_enabled_anyway or is_enabled(conf, name):
                    jails.append(read_jail(library, conf, name))
            except ConfigError as error:
                problems.append(Problem.of(error, name))
                is_refused = True
    problems += [problem for each in jails for problem in each.problems]
    if is_refused:
        return Reading((), (), _once(problems), daemon, True, tuple(jails))
    own = commands if jail is None else []
    printed = [*own, *(one for each in jails for one in each.commands)]
    printed += [["start", each.name] for each in jails if each.is_started]
    sent = [each for each in own if each[-1] is not None]
    sent += [one for each in jails for one in _sent(each)]
    sent += [["start", each.name] for each in jails if each.is_sent]
    return Reading(tuple(printed), tuple(sent), _once(problems), daemon, False, tuple(jails))


def read_daemon(
    confdir: Path | str, *, auto: Mapping[str, str] | None = None, files: Files | None = None
) -> DaemonSettings:
    """What fail2ban.conf says of the daemon, all that is needed to find it; ConfigError if unreadable."""
    return _daemon(Library(confdir, files), auto or {}, [])[0]


def read_one_filter(
    confdir: Path | str, text: str, *, logtype: str = "file", files: Files | None = None
) -> Filter:
    """The filter `text`, as `name[key=value]`, by itself; ConfigError if there is none."""
    library = Library(confdir, files)
    value = Value(text, None, is_final=True)
    return read_filter(library, value, logtype=logtype, is_for_jail=False)


def read_jail_filter(
    confdir: Path | str, jail: str, *, files: Files | None = None
) -> Filter | None:
    """The filter of a jail with what the jail itself says of it; None if there is no such jail."""
    library = Library(confdir, files)
    conf = library.load("jail")
    if conf is None or jail not in conf.sections:
        return None
    return jail_filter(library, conf, jail)


def _once(problems: list[Problem]) -> tuple[Problem, ...]:
    """What concerns one place is said once, however many jails come across it."""
    seen: dict[tuple[str, Where | None], Problem] = {}
    for each in problems:
        seen.setdefault((each.text, each.where), each)
    return tuple(seen.values())


def _sent(jail: JailReading) -> tuple[Command, ...]:
    if jail.is_sent or not jail.is_started:
        return jail.sent
    first = next(each for each in jail.problems if each.level == "error")
    told = f"Jail {jail.name!r} skipped, because of wrong configuration: {first.text}"
    return (["config-error", told],)


def _jails(library: Library, jail: str | None) -> Conf:
    conf = library.load("jail")
    if conf is None:
        problem = "there is no jail.conf"
        raise ConfigError(problem, Where(library.path("jail.conf")), "Is this the right directory?")
    if jail is not None and jail not in conf.sections:
        raise ConfigError(f"there is no jail [{jail}]", Where(library.path("jail.conf")))
    return conf


def _daemon(
    library: Library, auto: Mapping[str, str], problems: list[Problem]
) -> tuple[DaemonSettings, list[Command]]:
    conf = library.load("fail2ban")
    if conf is None:
        text = "there is no fail2ban.conf; the daemon's options are the usual ones"
        problems.append(Problem("warning", text, Where(library.path("fail2ban.conf"))))
        conf = Conf({}, {})
    scope = Scope(conf, "Definition")
    texts: dict[str, str] = {}
    commands = _thread(conf, problems)
    for key, default in {**_PLACES, **_SENT}.items():
        value = scope.get(key) or (None if default is None else Value(default))
        if value is None:
            continue
        if key in AUTO_OPTIONS and value.text.lower() == AUTO:
            value = Value(auto.get(key) or default or "", value.where)
        texts[key] = value.text
        _check(key, value, problems)
        if key in _SENT:
            is_number = DAEMON_OPTIONS[key][1].sent == "number"
            commands.append(["set", key, whole_number(value.text) if is_number else value.text])
    used = used_variables(conf)
    for key, value in conf.sections.get("Definition", {}).items():
        if key not in (*_PLACES, *_SENT, *_OLD) and key not in used:
            keys = frozenset((*_PLACES, *_SENT))
            problems.append(stranger("[Definition]", key, value, keys))
    names = ("socket", "pidfile", "loglevel", "logtarget", "syslogsocket", "dbfile")
    return DaemonSettings(**{name: texts[name] for name in names}), commands


def _check(key: str, value: Value, problems: list[Problem]) -> None:
    if key not in DAEMON_OPTIONS:
        return
    option = DAEMON_OPTIONS[key][1]
    try:
        option.kind.read(value.text)
        if key == "loglevel" and not (
            value.text.upper() in _LEVELS or whole_number(value.text) is not None
        ):
            raise ValueError("is no level")
    except ValueError as error:
        text = f"[Definition] {key} = {value.text!r} {error}"
        problems.append(Problem("error", text, value.where, option.help))


def _thread(conf: Conf, problems: list[Problem]) -> list[Command]:
    value = Scope(conf, "Thread").get("stacksize") if "Thread" in conf.sections else None
    if value is None:
        return []
    size = whole_number(value.text)
    if size is None:
        text = f"[Thread] stacksize = {value.text!r} is not a whole number"
        problems.append(Problem("error", text, value.where, "The stack of a thread in KiB, or 0."))
        return []
    return [["set", "thread", {"stacksize": size}]]


__all__ = [
    "AUTO_OPTIONS",
    "DaemonSettings",
    "Filter",
    "JailError",
    "Reading",
    "exit_status",
    "read",
    "read_daemon",
    "read_jail_filter",
    "read_one_filter",
]
