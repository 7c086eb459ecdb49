# SPDX-License-Identifier: GPL-2.0-or-later
"""A jail: from its section of jail.conf to the commands that set it up.

Knows the options of a jail and their order; the tables of `common.options` say what a value may be.  Whether
a log file is there it asks the library's files.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, replace
from typing import Literal

from client.actionconf import read_action, split_actions
from client.expand import Scope, referred
from client.filterconf import (
    FILTER_OPTIONS,
    Command,
    Filter,
    JailError,
    checked,
    filter_commands,
    old_date_pattern,
    origins,
    read_filter,
    whole_number,
)
from client.include import Conf, Library
from client.ini import Problem, Value
from common.errors import ConfigError, Where
from common.options import BAN_TIME_OPTIONS, JAIL_OPTIONS, Option
from common.units import is_on

# What a jail sends besides its filter's options, in that order; None stands for `addignoreip`.
_BAN_TIME = {f"bantime.{option.key}": option for option in BAN_TIME_OPTIONS}
_IGNORE_IP = "ignoreip"
_SENT = (
    "maxretry", "maxmatches", "findtime", "bantime", *_BAN_TIME, "ignorecommand", "ignoreself",
    _IGNORE_IP, "ignorecache", "logtimezone", "logencoding", "ipv6prefix", "aggregate",
    "aggregatetime", "ignoresessions", "maxhosts",
)  # fmt: skip
_BACKENDS = ("auto", "pyinotify", "polling", "systemd")
_OLD = ("timeregex", "timepattern", "maxtime")
_KEYS = frozenset(
    {
        *JAIL_OPTIONS, *_SENT, *FILTER_OPTIONS, *_OLD, "enabled", "filter", "action", "logpath",
        "skip_if_nologs", "systemd_if_nologs", "host",
    }
)  # fmt: skip
# Names that configurations give to variables of their own: defining one and not using it is no mistake.
_USUAL = frozenset(
    {
        "port", "protocol", "chain", "mode", "name", "banaction", "banaction_allports", "destemail",
        "sender", "sendername", "mta", "fail2ban_agent", "blocktype",
    }
)  # fmt: skip
# Where a journal is, one of them.
_JOURNALS = ("/run/systemd/journal", "/run/log/journal", "/var/log/journal")
# The options of a jail that `%(name)s` means in its filter and actions.
_VARIABLES = frozenset({*_SENT, "enabled", "backend", "logpath"})

State = Literal["good", "bad", "skipped", "without logs"]


@dataclass(frozen=True, slots=True)
class JailReading:
    """What came of a jail's section: the commands to print, those to send, all but the `start`.

    Those sent also tell where the filter's regexes are written.  Without logs, a jail is good for the server, which waits for them, but fails a test.
    """

    name: str
    state: State
    commands: tuple[Command, ...] = ()
    sent: tuple[Command, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def is_started(self) -> bool:
        return self.state in ("good", "without logs")

    @property
    def is_sent(self) -> bool:
        return self.is_started and all(each.level != "error" for each in self.problems)


def is_enabled(conf: Conf, name: str) -> bool:
    value = Scope(conf, name).get("enabled")
    return value is not None and is_on(value.text)


def read_jail(library: Library, conf: Conf, name: str) -> JailReading:
    """The jail of section `name`.  ConfigError if something makes all of the configuration doubtful."""
    return _JailReader(library, conf, name).read()


def jail_filter(library: Library, conf: Conf, name: str) -> Filter:
    """The filter of the jail `name`, with what the jail itself says of it in place."""
    reader = _JailReader(library, conf, name)
    own_filter = reader.filter()
    return replace(own_filter, options=reader.filter_options(own_filter))


@dataclass(slots=True)
class _Logs:
    """The log files of a jail: the commands for those found, and for all that are named."""

    found: list[Command] = field(default_factory=list)
    named: list[Command] = field(default_factory=list)


class _JailReader:
    """Reads one section, once, from top to bottom."""

    def __init__(self, library: Library, conf: Conf, name: str) -> None:
        self._library = library
        self._conf = conf
        self._name = name
        self._scope = Scope(conf, name)
        self._problems: list[Problem] = []
        self._defaults: dict[str, Value] = {}
        self._is_turned = False  # to the journal, for want of a log

    def read(self) -> JailReading:
        state: State = "good"
        try:
            own_filter = self.filter()
            options = self.filter_options(own_filter)
            commands = filter_commands(self._name, options, self._problems)
            commands += self._options()
            backend = self._backend()
            logs = _Logs()
            if not backend.startswith("systemd"):
                logs = self._logs()
                if not logs.found:
                    backend, state = self._without_logs(backend, logs, commands)
            if self._is_turned:
                own_filter = self.filter()  # its entries do not look like a file's lines
                options = self.filter_options(own_filter)
                commands = filter_commands(self._name, options, self._problems)
                commands += self._options()
                self._problems = list(dict.fromkeys(self._problems))
            if state == "skipped":
                return self._skipped()
            actions = self._actions()
        except JailError as error:
            return self._bad(error)
        self._look_for_strangers()
        add: Command = ["add", self._name, backend]
        return JailReading(
            self._name,
            state,
            (add, *commands, *logs.found, *actions),
            (add, *commands, *logs.named, *actions, *origins(self._name, options)),
            tuple(self._problems),
        )

    # Ends that are none: each jail that is left out says so in the stream.

    def _bad(self, error: JailError) -> JailReading:
        self._error(f"[{self._name}] {error.problem}", error.where, error.hint)
        self._read_on()
        told = f"Jail {self._name!r} skipped, because of wrong configuration: {error.told}"
        command: Command = ["config-error", told]
        problems = tuple(dict.fromkeys(self._problems))  # some steps were gone twice
        return JailReading(self._name, "bad", (command,), (command,), problems)

    def _read_on(self) -> None:
        """A jail is bad already; find what else is wrong with it, all of it to be told at once."""
        for step in (self._options, self._backend, self._logs, self._actions):
            try:
                step()
            except JailError as error:
                self._error(f"[{self._name}] {error.problem}", error.where, error.hint)
            except ConfigError as error:
                self._error(error.problem, error.where, error.hint)
        self._look_for_strangers()

    def _skipped(self) -> JailReading:
        told = f"Jail {self._name!r} skipped, because of missing log files."
        command: Command = ["config-error", told]
        return JailReading(self._name, "skipped", (command,), (command,), tuple(self._problems))

    def _error(self, text: str, where: Where | None, hint: str = "") -> None:
        self._problems.append(Problem("error", text, where, hint, self._name))

    def _warn(self, text: str, value: Value | None, hint: str = "") -> None:
        where = value.where if value else None
        self._problems.append(Problem("warning", text, where, hint, self._name))

    # The parts, in the order in which they are sent.

    def filter(self) -> Filter:
        value = self._scope.get("filter")
        if value is None or not value.text:
            is_needed = self._scope.raw("failregex") is None
            hint = "Name a filter (filter = sshd) or give a failregex." if is_needed else ""
            self._warn(f"No filter set for jail {self._name}", value, hint)
            return Filter("")
        own_filter = read_filter(
            self._library, value, variable=self._variable, logtype=self._logtype()
        )
        self._problems += [replace(each, jail=self._name) for each in own_filter.problems]
        self._scope = Scope(self._conf, self._name, known=own_filter.known)
        self._defaults = dict(own_filter.defaults)
        return own_filter

    def filter_options(self, own_filter: Filter) -> dict[str, Value]:
        own = {key: value for key in FILTER_OPTIONS if (value := self._scope.get(key))}
        if "datepattern" not in own:
            old = {key: value for key in _OLD if (value := self._scope.get(key))}
            if pattern := old_date_pattern(old, self._problems):
                own["datepattern"] = pattern
        options = own_filter.over(own)
        if own_filter.name and not options.get("failregex", Value("")).text.strip():
            self._warn(
                f"No failregex set for jail {self._name}",
                self._scope.get("filter"),
                f"The filter {own_filter.name} has none; the jail finds nothing.",
            )
        return options

    def _get(self, key: str) -> Value | None:
        """The jail's option, else what its filter has for it, else what it was called once."""
        value = self._scope.get(key) or self._defaults.get(key)
        if value is None and key == "findtime":
            value = self._scope.get("maxtime") or self._defaults.get("maxtime")
        return value

    def _options(self) -> list[Command]:
        commands: list[Command] = []
        for key in _SENT:
            value = self._get(key)
            if value is None:
                continue
            if key == _IGNORE_IP:
                words = value.text.replace(",", " ").split()
                commands.append(["set", self._name, "addignoreip", *words])
            else:
                commands.append(["set", self._name, key, self._as_sent(key, value)])
        return commands

    def _as_sent(self, key: str, value: Value) -> object:
        extra = _BAN_TIME.get(key)
        option = extra or JAIL_OPTIONS[key][1]
        number = None
        if extra is None:
            number = checked(self._name, key, value, self._problems)
        elif value.text:
            self._check(key, value, extra)
        if option.sent == "number":
            return number
        return is_on(value.text) if option.sent == "switch" else value.text

    def _check(self, key: str, value: Value, option: Option) -> None:
        try:
            option.kind.read(value.text)
        except ValueError as error:
            text = f"[{self._name}] {key} = {value.text!r} {error}"
            self._error(text, value.where, option.help)

    def _backend(self) -> str:
        value = self._scope.get("backend")
        if value is None or not value.text:
            return "auto"
        if value.text.partition("[")[0].strip().lower() not in _BACKENDS:
            text = f"[{self._name}] backend = {value.text!r} is no backend"
            hint = f"Backends are {', '.join(_BACKENDS)}."
            self._error(text, value.where, hint)
        return value.text

    def _logtype(self) -> str:
        value = self._scope.get("backend")
        if self._is_turned:
            return "journal"
        return "journal" if value and value.text.startswith("systemd") else "file"

    def _logs(self) -> _Logs:
        logs = _Logs()
        value = self._get("logpath")
        for line in value.text.split("\n") if value else ():
            words = line.strip().rsplit(maxsplit=1)
            if not words:
                continue
            path, end = words if len(words) == 2 else (words[0], "head")
            if value and end not in ("head", "tail"):
                text = f"[{self._name}] logpath = {line.strip()}: {end!r} is neither head nor tail"
                hint = "Where a path has a space in it, one of the two must stand behind it."
                self._error(text, value.where, hint)
            logs.named.append(["set", self._name, "addlogpath", path, end])
            logs.found += [
                ["set", self._name, "addlogpath", each, end]
                for each in self._library.files.glob(path)
            ]
        return logs

    def _without_logs(
        self, backend: str, logs: _Logs, commands: list[Command]
    ) -> tuple[str, State]:
        """No log file was found: the backend to use, and what becomes of the jail.

        A jail with a journalmatch turns to the journal.  So does one whose filter alone has it, if
        systemd_if_nologs is set to say so, and there is a journal here; fail2ban 1.1 would not.
        """
        value = self._get("logpath")
        text = f"Have not found any log file for {self._name!r} jail."
        journal = self._scope.get("journalmatch")
        may_turn = self._scope.get("systemd_if_nologs")
        if backend == "auto" and (may_turn is None or is_on(may_turn.text)):
            is_own = bool(journal and journal.text)
            self._is_turned = (
                not is_own
                and may_turn is not None
                and any("addjournalmatch" in command[:3] for command in commands)
                and any(self._library.files.glob(place) for place in _JOURNALS)
            )
            if is_own or self._is_turned:
                self._warn(f"{text} Jail will monitor systemd journal.", value)
                logs.named.clear()
                return "systemd", "good"
        skip = self._scope.get("skip_if_nologs")
        if skip is not None and is_on(skip.text):
            self._warn(text, value)
            self._warn(f"Jail {self._name!r} skipped, because of missing log files.", skip)
            return backend, "skipped"
        hint = "The server starts to read it when it appears." if logs.named else "Set a logpath."
        self._warn(text, value, hint)
        return backend, "without logs"

    def _actions(self) -> list[Command]:
        value = self._scope.get("action")
        commands: list[Command] = []
        names: set[str] = set()
        for each in split_actions(value) if value else ():
            action = read_action(self._library, each, self._name, variable=self._variable)
            if action.name in names:
                text = f"[{self._name}] two actions are called {action.name}"
                hint = "Give one of them another name: action[actname=other]."
                self._error(text, each.where, hint)
            names.add(action.name)
            commands += action.commands
            self._problems += [replace(one, jail=self._name) for one in action.problems]
        if not names:
            self._warn(f"No actions were defined for {self._name}", value)
        return commands

    def _variable(self, name: str) -> Value | None:
        """The jail's options that its filter and actions may ask for."""
        if name not in _VARIABLES:
            return None
        value = self._get(name)
        if value is None:
            return None
        if name in JAIL_OPTIONS and JAIL_OPTIONS[name][1].sent == "number":
            number = whole_number(value.text)
            return None if number is None else Value(str(number), value.where, is_final=True)
        return value

    def _look_for_strangers(self) -> None:
        """Warn of options that are none and that nothing refers to."""
        own = self._conf.sections[self._name]
        strangers = {key: value for key, value in own.items() if key not in _KEYS | _USUAL}
        if not strangers:
            return
        used = used_variables(self._conf)
        for key, value in strangers.items():
            if key not in used:
                self._problems.append(
                    replace(stranger(f"[{self._name}]", key, value), jail=self._name)
                )


def used_variables(conf: Conf) -> set[str]:
    """The options of `conf` that variables somewhere in it name."""
    sections = (conf.defaults, *conf.sections.values())
    return referred(value.text for options in sections for value in options.values())


def stranger(section: str, key: str, value: Value, keys: frozenset[str] = _KEYS) -> Problem:
    near = difflib.get_close_matches(key, sorted(keys), 1)
    hint = f"Did you mean {near[0]}?" if near else ""
    return Problem(
        "warning", f"{section} {key}: no such option, and nothing uses it", value.where, hint
    )


def strange_defaults(conf: Conf) -> list[Problem]:
    """Warnings of what stands in [DEFAULT], is no option, is not used, and looks like a slip.

    An underscore tells variables, such as `action_mw`, from options that were mistyped.
    """
    strangers = {
        key: value
        for key, value in conf.defaults.items()
        if key not in _KEYS | _USUAL and "_" not in key
    }
    used = used_variables(conf) if strangers else set()
    return [
        stranger("[DEFAULT]", key, value)
        for key, value in strangers.items()
        if key not in used and difflib.get_close_matches(key, sorted(_KEYS), 1, 0.8)
    ]
