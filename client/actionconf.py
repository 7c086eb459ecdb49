# SPDX-License-Identifier: GPL-2.0-or-later
"""An action: from action.d/NAME.conf (or NAME.py) and arguments to the commands that add it to a jail.

Knows the options of an action; tags that only a ban can fill in stay as they are.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable
from dataclasses import dataclass

from client.expand import Definition
from client.filterconf import Command, JailError
from client.include import Library
from client.ini import Problem, Value
from common.tags import split_list, split_name
from common.units import is_on

# In the order in which they are sent; True marks switches.
ACTION_OPTIONS = {
    "actionstart": False,
    "actionstart_on_demand": True,
    "actionstop": False,
    "actionflush": False,
    "actionreload": False,
    "actioncheck": False,
    "actionrepair": False,
    "actionrepair_on_unban": True,
    "actionban": False,
    "actionban_many": False,
    "actionprolong": False,
    "actionprolong_many": False,
    "actionreban": False,
    "actionunban": False,
    "actionunban_many": False,
    "actionexchange_many": False,
    "actionlist": False,
    "actionplace": False,
    "norestored": True,
}
# What a command for many stands in for, and what is known of how bans are made.  Where one of these comes
# from a later file, it is somebody's own, and that does not know of it.
_STANDS_FOR = {
    "actionban_many": ("actionban", "actionreban"),
    "actionprolong_many": ("actionban", "actionreban", "actionprolong"),
    "actionunban_many": ("actionunban",),
    "actionexchange_many": ("actionban", "actionreban", "actionunban"),
    "actionplace": ("actionban", "actionreban", "actionunban"),
}
# Options that the server understands as properties, too.
_PROPERTIES = ("timeout",)
# What only the time of the ban can say, even where a file or an argument names it.
_LATE = frozenset({"matches", "ipmatches", "ipjailmatches", "bantime", "timeout"})


@dataclass(frozen=True, slots=True)
class Action:
    """An action as a jail wants it: the `name` it goes by there, and the commands that make it."""

    name: str
    commands: tuple[Command, ...]
    problems: tuple[Problem, ...] = ()


def split_actions(value: Value) -> list[Value]:
    """Each of the actions that a jail names, one `name[key=value]` each."""
    return [Value(each, value.where, is_final=True) for each in split_list(value.text)]


def read_action(
    library: Library,
    value: Value,
    jail: str,
    *,
    variable: Callable[[str], Value | None] = lambda name: None,
) -> Action:
    """The action that `value` names, for `jail`, whose options `variable` gives.

    JailError if there is no such action; other ConfigErrors mean that nothing can be trusted.
    """
    text = value.text
    try:
        name, given = split_name(text)
    except ValueError as error:
        told = f"Invalid action definition {text!r}: {error}"
        hint = (
            'Arguments are written without spaces around "=": name[key=value, other="two words"].'
        )
        raise JailError(told, f"action = {text}: {error}", value, hint) from None
    module = _module(library, name)
    if module:
        return _python_action(library, module, given, jail)
    conf = library.load(f"action.d/{name}")
    if conf is None:
        raise _missing(library, name, value)
    handle = given.get("actname") or _handle(name, given.get("name", jail), jail)
    arguments = {
        key: Value(each, value.where, is_final=True)
        for key, each in {**given, **_unless(given, name=jail, actname=handle)}.items()
    }
    definition = Definition(conf, arguments, variable)
    options = _commands(definition, name)
    properties = options + _parameters(definition, {str(key) for key, _ in options})
    commands: list[Command] = [["set", jail, "addaction", handle]]
    if properties:
        commands.append(["multi-set", jail, "action", handle, properties])
    return Action(handle, tuple(commands), tuple(_doubts(definition, name)))


def _unless(given: dict[str, str], **defaults: str) -> dict[str, str]:
    return {key: value for key, value in defaults.items() if key not in given}


def _handle(action: str, name: str, jail: str) -> str:
    if name == jail:
        return action
    return f"{action}-{name.removeprefix(f'{jail}-') or name}"


def _module(library: Library, name: str) -> str | None:
    """The file of an action written in Python, if `name` is one."""
    if name.endswith(".py"):
        return name if library.has(f"action.d/{name}") else None
    if library.has(f"action.d/{name}.py") and library.load(f"action.d/{name}") is None:
        return f"{name}.py"
    return None


def _python_action(library: Library, module: str, given: dict[str, str], jail: str) -> Action:
    handle = given.pop("actname", None) or module.removesuffix(".py")
    path = library.path(f"action.d/{module}")
    command = ["set", jail, "addaction", handle, path, json.dumps(given, ensure_ascii=False)]
    return Action(handle, (command,))


def _missing(library: Library, name: str, value: Value) -> JailError:
    names = {each for end in (".conf", ".local", ".py") for each in library.names("action.d", end)}
    near = difflib.get_close_matches(name, sorted(names), 1)
    hint = f"Did you mean {near[0]}?" if near else ""
    if name == "":
        hint = "No space may stand before the bracket."
    problem = f"action = {value.text}: there is no {library.path(f'action.d/{name}')}.conf"
    return JailError(f"Unable to read action {name!r}", problem, value, hint)


def _commands(definition: Definition, name: str) -> list[list[object]]:
    """The options of the action proper; a switch that depends on a tag comes after the others."""
    keep = _LATE | {
        key.partition("?")[0] for key in (*definition.arguments, *definition.init) if "?" in key
    }
    first: list[list[object]] = []
    last: list[list[object]] = []
    for key, is_switch in ACTION_OPTIONS.items():
        value = definition.get(key)
        if value is None or _is_passed_by(definition, key):
            continue
        text = definition.render(value, f"{name}: {key}", keep).text
        if is_switch:
            (last if "<" in value.text else first).append([key, is_on(text)])
        else:
            first.append([key, text])
    return first + last


def _is_passed_by(definition: Definition, key: str) -> bool:
    """Whether `key` is older than the commands that it relies on, such as one for many."""
    singles = [single for single in _STANDS_FOR.get(key, ()) if definition.get(single)]
    return any(definition.layer(single) > definition.layer(key) for single in singles)


def _parameters(definition: Definition, sent: set[str]) -> list[list[object]]:
    """The arguments and, behind them, what else [Init] says, as they were written."""
    given = {key: value.text for key, value in definition.arguments.items() if key not in sent}
    rest = {}
    for key, value in definition.init.items():
        if key not in given and key not in sent:
            plain = key.partition("?")[0]
            rest[key] = given[plain] if "?" in key and plain in given else value.text
    return [[key, text] for key, text in {**given, **rest}.items()]


def _doubts(definition: Definition, name: str) -> list[Problem]:
    problems = []
    known = (*ACTION_OPTIONS, *_PROPERTIES)
    for key, value in definition.unused().items():
        if key in known:
            continue
        if near := difflib.get_close_matches(key, known, 1, 0.8):
            text = f"[Definition] {key}: no option of the action {name}, and nothing uses it"
            problems.append(Problem("warning", text, value.where, f"Did you mean {near[0]}?"))
    return problems
