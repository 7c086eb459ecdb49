# SPDX-License-Identifier: GPL-2.0-or-later
"""A filter: from filter.d/NAME.conf and arguments to the options that a jail sends.

Knows the options of a filter and what they become as commands; of jails only that one may ask.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from client.expand import Definition
from client.include import Library
from client.ini import Problem, Value
from common.errors import ConfigError, Where
from common.options import JAIL_OPTIONS
from common.tags import split_name

# In the order in which they are looked for.
FILTER_OPTIONS = (
    "usedns",
    "prefregex",
    "maxlines",
    "ignoreregex",
    "failregex",
    "datepattern",
    "journalmatch",
)
# What must be there before a regular expression is read comes first.
_STAGE = {"usedns": 0, "prefregex": 1, "maxlines": 1}
# As filters were written for the first releases.
_OLD_OPTIONS = ("timeregex", "timepattern", "logpath", "maxretry", "maxtime", "findtime")
_OPTIONS = (*FILTER_OPTIONS, *_OLD_OPTIONS)
_OLD_PATTERNS = {"tai64n": "TAI64N", "epoch": "EPOCH"}
# Helpers of a filter are called so; a tag that begins otherwise may be the server's to fill in.
_UNKNOWN_TAG = re.compile(r"(?<!\(\?P)<(_[\w\-./]+)>")

Command = list[Any]


class JailError(ConfigError):
    """A mistake for which one jail is left out.  `told` is what the stream says of it."""

    def __init__(self, told: str, problem: str, value: Value | None, hint: str = "") -> None:
        super().__init__(problem, value.where if value else None, hint)
        self.told = told


@dataclass(frozen=True, slots=True)
class Filter:
    """What a filter says: its options with variables and tags in place; `defaults` are for the jail.

    `known` is what `%(known/name)s` means in a jail that uses it.
    """

    name: str
    options: Mapping[str, Value] = field(default_factory=dict)
    defaults: Mapping[str, Value] = field(default_factory=dict)
    known: Mapping[str, Value] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def over(self, own: Mapping[str, Value]) -> dict[str, Value]:
        """The options, those replaced that a jail has of its `own`, and in the order to send them."""
        left = {key: value for key, value in self.options.items() if key not in own}
        both = {**left, **{key: own[key] for key in FILTER_OPTIONS if key in own}}
        return {key: both[key] for key in sorted(both, key=lambda key: _STAGE.get(key, 2))}


def read_filter(
    library: Library,
    value: Value,
    *,
    variable: Callable[[str], Value | None] = lambda name: None,
    logtype: str = "file",
    is_for_jail: bool = True,
) -> Filter:
    """The filter that `value` names, as `name[key=value]`.

    `variable` gives the jail's options.  Not for a jail (`is_for_jail`), [Init] counts for tags only.
    JailError if there is no such filter; other ConfigErrors mean that nothing can be trusted.
    """
    name, arguments = _named(value)
    conf = library.load(f"filter.d/{name}")
    if conf is None:
        raise _missing(library, name, value)
    own = conf.sections.get("Definition", {})
    forced = {} if "logtype" in own else {"logtype": Value(logtype, None, is_final=True)}
    definition = Definition(conf, arguments, variable, init_counts=is_for_jail, forced=forced)
    definition.check()
    problems = _doubts(conf.paths[0], definition, name, "Definition" in conf.sections)
    options = {}
    for key in FILTER_OPTIONS:
        written = definition.get(key) or definition.init.get(key)
        if written is not None:
            options[key] = definition.render(written, f"{name}: {key}")
    old = {key: got for key in _OLD_OPTIONS if (got := definition.get(key))}
    if "datepattern" not in options and (pattern := old_date_pattern(old, problems)):
        options["datepattern"] = pattern
    problems += _left(options, definition, value)
    known = {key: _render_known(definition, key, name) for key in own} | options
    return Filter(
        name,
        options,
        {key: old[key] for key in ("logpath", "maxretry", "maxtime", "findtime") if key in old},
        {key: each for key, each in known.items() if each is not None},
        tuple(problems),
    )


def _named(value: Value) -> tuple[str, dict[str, Value]]:
    text = value.text
    try:
        name, arguments = split_name(text)
    except ValueError as error:
        told = f"Invalid filter definition {text!r}: {error}"
        hint = (
            'Arguments are written without spaces around "=": name[key=value, other="two words"].'
        )
        raise JailError(told, f"filter = {text}: {error}", value, hint) from None
    return name, {key: Value(given, value.where, is_final=True) for key, given in arguments.items()}


def _missing(library: Library, name: str, value: Value) -> JailError:
    if name != name.strip():
        hint = "No space may stand before the bracket."
    else:
        names = {each for end in (".conf", ".local") for each in library.names("filter.d", end)}
        near = difflib.get_close_matches(name, sorted(names), 1)
        hint = f"Did you mean {near[0]}?" if near else ""
    problem = f"filter = {value.text}: there is no {library.path(f'filter.d/{name}')}.conf"
    return JailError(f"Unable to read the filter {name!r}", problem, value, hint)


def _render_known(definition: Definition, key: str, name: str) -> Value | None:
    value = definition.get(key)
    if value is None:
        return None
    try:
        return definition.render(value, f"{name}: {key}")
    except ConfigError:
        return None  # a helper that cannot stand by itself does no harm


def old_date_pattern(options: Mapping[str, Value], problems: list[Problem]) -> Value | None:
    """What `timepattern` and `timeregex` of the first releases mean as a `datepattern`.

    The pattern alone does: the regular expression only said where in the line the date stands, which
    a date pattern finds by itself.  The regular expression alone says nothing of day and month.
    """
    pattern, regex = options.get("timepattern"), options.get("timeregex")
    if pattern is None:
        if regex is not None:
            text = (
                "timeregex says nothing without timepattern; dates are looked for in the usual ways"
            )
            hint = "Write a datepattern, such as %%d/%%m/%%Y %%H:%%M:%%S."
            problems.append(Problem("warning", text, regex.where, hint))
        return None
    text = pattern.text.strip()
    return Value(_OLD_PATTERNS.get(text.lower(), text), pattern.where, is_final=True)


def _doubts(path: str, definition: Definition, name: str, has_definition: bool) -> list[Problem]:
    if not has_definition:
        text = f"the filter {name} has no section [Definition]: it finds nothing"
        return [Problem("warning", text, Where(path), "Its options belong under that header.")]
    problems = []
    for key, value in definition.unused().items():
        if key not in _OPTIONS and (near := _option_like(key)):
            text = f"[Definition] {key}: no option of a filter, and nothing uses it"
            problems.append(Problem("warning", text, value.where, f"Did you mean {near}?"))
    return problems


@cache
def _option_like(name: str) -> str:
    return next(iter(difflib.get_close_matches(name, _OPTIONS, 1, 0.8)), "")


def _left(options: Mapping[str, Value], definition: Definition, called: Value) -> list[Problem]:
    """Warnings of tags that were meant to be replaced and stand for nothing.

    Where a filter is called with arguments, it is those that name what it does not have.
    """
    problems = []
    for key in ("prefregex", "failregex", "ignoreregex"):
        option = options.get(key, Value(""))
        for tag in dict.fromkeys(_UNKNOWN_TAG.findall(option.text)):
            near = difflib.get_close_matches(tag, sorted(definition.options()), 1)
            hint = f"Did you mean <{near[0]}>?" if near else ""
            text = f"filter = {called.text}: <{tag}> in its {key} stands for nothing"
            where = called.where if definition.arguments and called.where else option.where
            problems.append(Problem("warning", text, where, hint))
    return problems


def filter_commands(
    jail: str, options: Mapping[str, Value], problems: list[Problem]
) -> list[Command]:
    """The commands that give `jail` a filter with these `options`, in their order."""
    commands: list[Command] = []
    for key, value in options.items():
        if key in ("failregex", "ignoreregex"):
            lines = [line.strip() for line in value.text.split("\n") if line.strip()]
            if len(lines) == 1:
                commands.append(["set", jail, f"add{key}", lines[0]])
            elif lines:
                commands.append(["multi-set", jail, f"add{key}", lines])
        elif key == "journalmatch":
            commands += _journal_commands(jail, value)
        elif key == "maxlines":
            number = checked(jail, key, value, problems)
            if number is not None:
                commands.append(["set", jail, key, number])
        else:
            checked(jail, key, value, problems)
            commands.append(["set", jail, key, value.text])
    return commands


def origins(jail: str, options: Mapping[str, Value]) -> list[Command]:
    """The command that tells our server where the regexes of a filter stand; none if nowhere."""
    places = [
        [key, str(options[key].where)]
        for key in ("prefregex", "failregex", "ignoreregex", "datepattern")
        if key in options and options[key].text.strip() and options[key].where
    ]
    return [["multi-set", jail, "origins", places]] if places else []


def _journal_commands(jail: str, value: Value) -> list[Command]:
    commands: list[Command] = []
    for line in value.text.split("\n"):
        try:
            words = shlex.split(line)
        except ValueError as error:
            told = f"Invalid journalmatch {line!r}: {error}"
            raise JailError(told, f"journalmatch = {line}: {error}", value) from None
        if words:
            commands.append(["set", jail, "addjournalmatch", *words])
    return commands


def checked(jail: str, key: str, value: Value, problems: list[Problem]) -> int | None:
    """The number that `value` is, if any; what is wrong with it as a jail's option goes to `problems`."""
    option = JAIL_OPTIONS[key][1]
    try:
        option.kind.read(value.text)
    except ValueError as error:
        text = f"[{jail}] {key} = {value.text!r} {error}"
        problems.append(Problem("error", text, value.where, option.help, jail))
    return whole_number(value.text) if option.sent == "number" else None


def whole_number(text: str) -> int | None:
    try:
        return int(text.strip())
    except ValueError:
        return None
