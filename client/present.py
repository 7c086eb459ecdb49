# SPDX-License-Identifier: GPL-2.0-or-later
"""An answer of the server as text for a person.  Pure: the words asked, the answer, out comes text.

The wording is an interface: scripts and exporters read it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from common.commands import Given, InvalidCommand, parse
from common.wire import RemoteError

_Show = Callable[[Given, Any], str]
_SHOWS: dict[str, _Show] = {}


def present(words: Sequence[Any], answer: Any, *, has_boxes: bool = True) -> str:
    """What to print for `answer` to the command `words`.

    `has_boxes` says that the terminal has box characters.
    """
    try:
        command, given = parse(words)
    except InvalidCommand:  # a server of another release may know it
        return str(answer)
    show = _SHOWS.get(command.usage)
    try:
        text = show(given, answer) if show else str(answer)
    except (
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
    ):  # another release may answer in another shape
        return str(answer)
    return text if has_boxes else text.translate(_WITHOUT_BOXES)


def present_error(error: RemoteError) -> str:
    """What to print where the server refused."""
    first = error.args[0] if error.args else ""
    match error.kind:
        case "UnknownJailException":
            return f"Sorry but the jail '{first}' does not exist"
        case "DuplicateJailException":
            return f"The jail '{first}' already exists"
        case "IndexError":
            return "Sorry but the command is invalid"
    return str(error)


def without_control(text: str) -> str:
    """`text` without what could make a terminal do something: ids may be anybody's words."""
    return text.translate(_CONTROLS)


_CONTROLS = {
    code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"
}
_WITHOUT_BOXES = str.maketrans("║│═─╬╫╟╩", "||--xxxx")


def _shows(*usages: str) -> Callable[[_Show], _Show]:
    def remember(show: _Show) -> _Show:
        _SHOWS.update(dict.fromkeys(usages, show))
        return show

    return remember


def _show_text(usage: str, text: str) -> None:
    """Answer `usage` with `text`, in which `<answer>` and the names of the command are filled in."""

    def show(given: Given, answer: Any) -> str:
        filled = text.replace("<answer>", str(answer))
        for name, words in given.items():
            filled = filled.replace(f"<{name}>", " ".join(map(str, words)))
        return filled

    _SHOWS[usage] = show


for _usage, _text in {
    "ping [<seconds>]": "Server replied: <answer>",
    "stop": "Shutdown successful",
    "stop --all": "Jail stopped",
    "stop <jail>": "Jail stopped",
    "start <jail>": "Jail started",
    "add <jail> [<backend>]": "Added jail <jail>",
    "flushlogs": "logs: <answer>",
    "get loglevel": "Current logging level is '<answer>'",
    "get logtarget": "Current logging target is:\n`- <answer>",
    "get syslogsocket": "Current syslog socket is:\n`- <answer>",
    "get <jail> logencoding": "Current log encoding is set to:\n<answer>",
}.items():
    _show_text(_usage, _text)


@_shows("echo [<word>...]")
def _echo(given: Given, answer: Any) -> str:
    return " ".join(map(str, answer))


@_shows("get dbfile")
def _database(given: Given, answer: Any) -> str:
    if answer is None:
        return "Database currently disabled"
    return f"Current database file is:\n`- {answer}"


@_shows("get dbpurgeage")
def _purge_age(given: Given, answer: Any) -> str:
    if answer is None:
        return "Database currently disabled"
    return f"Current database purge age is:\n`- {answer}seconds"


# lists


def _list(title: str, items: Sequence[str], if_none: str) -> str:
    if not items:
        return if_none
    return "\n".join([title, *(f"|- {item}" for item in items[:-1]), f"`- {items[-1]}"])


@_shows(
    "get <jail> logpath",
    "set <jail> addlogpath <path> [<where>]",
    "set <jail> dellogpath <path>",
)
def _log_paths(given: Given, answer: Any) -> str:
    return _list("Current monitored log file(s):", answer, "No file is currently monitored")


@_shows(
    "get <jail> ignoreip", "set <jail> addignoreip [<ip>...]", "set <jail> delignoreip <ip>"
)  # fmt: skip
def _ignored(given: Given, answer: Any) -> str:
    title = "These IP addresses/networks are ignored:"
    return _list(title, answer, "No IP address/network is ignored")


@_shows(
    *(
        usage.format(kind)
        for kind in ("failregex", "ignoreregex")
        for usage in ("get <jail> {}", "set <jail> add{} <regex>", "set <jail> del{} <index>")
    )
)
def _regexes(given: Given, answer: Any) -> str:
    numbered = [f"[{index}]: {regex}" for index, regex in enumerate(answer)]
    title = "The following regular expression are defined:"
    return _list(title, numbered, "No regular expression is defined")


@_shows("get <jail> banip [<separator>]")
def _banned(given: Given, answer: Any) -> str:
    separator = given["separator"][0] if given["separator"] else " "
    return str(separator).join(map(str, answer))


@_shows("get <jail> banip --with-time")
def _banned_with_time(given: Given, answer: Any) -> str:
    return "\n".join(map(str, answer))


@_shows("get <jail> journalmatch")
def _journal_match(given: Given, answer: Any) -> str:
    if not answer:
        return "No journal match filter set"
    return "Current match filter:\n" + " + ".join(" ".join(words) for words in answer)


@_shows("get <jail> datepattern")
def _date_pattern(given: Given, answer: Any) -> str:
    if answer is None:
        shown = "Not set/required"
    else:
        pattern, name = answer
        shown = name if pattern is None else f"{pattern} ({name})"
    return f"Current date pattern set to: {shown}"


@_shows("get <jail> actions")
def _actions(given: Given, answer: Any) -> str:
    jail = given["jail"][0]
    if not answer:
        return f"No actions for jail {jail}"
    return f"The jail {jail} has the following actions:\n{', '.join(answer)}"


@_shows("get <jail> actionproperties <action>")
def _properties(given: Given, answer: Any) -> str:
    return _of_action(given, "properties", answer)


@_shows("get <jail> actionmethods <action>")
def _methods(given: Given, answer: Any) -> str:
    return _of_action(given, "methods", answer)


def _of_action(given: Given, what: str, names: Iterable[str]) -> str:
    jail, action = given["jail"][0], given["action"][0]
    return f"The jail {jail} action {action} has the following {what}:\n{', '.join(names)}"


# trees


@_shows("status")
def _status(given: Given, answer: Any) -> str:
    return "\n".join(["Status", *_tree(answer)])


@_shows("status <jail> [<flavour>]")
def _jail_status(given: Given, answer: Any) -> str:
    jail = given["jail"][0]
    if answer and not isinstance(answer[0], tuple):  # flavour stats
        return _table({jail: answer})
    return "\n".join([f"Status for the jail: {jail}", *_tree(answer)])


@_shows("status --all [<flavour>]")
def _status_of_all(given: Given, answer: Any) -> str:
    if isinstance(answer, dict):  # flavour stats
        return _table(answer)
    *rows, jails = answer
    named = [(f"Jail: {name}", status) for name, status in jails.items()]
    return "\n".join(["Status", *_tree([*rows, ("Status for the jails:", named)])])


_TEXTS = ("Problems", "Lines cut", "Catching up")  # lists, each member of which has a line


def _tree(rows: Sequence[tuple[str, Any]]) -> Iterator[str]:
    """A line for each of `rows`, and under it those of what it holds."""
    for index, (label, value) in enumerate(rows):
        is_last = index == len(rows) - 1
        branch, side = ("`- ", "   ") if is_last else ("|- ", "|  ")
        if _has_rows(value):
            yield f"{branch}{label}"
            yield from (side + line for line in _tree(value))
        elif label in _TEXTS and isinstance(value, (list, tuple)):
            yield f"{branch}{label}:"
            for number, text in enumerate(value, 1):
                yield f"{side}{'`- ' if number == len(value) else '|- '}{' '.join(str(text).split())}"
        else:
            text = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
            yield f"{branch}{label}:\t{text}"


def _has_rows(value: Any) -> bool:
    return (
        isinstance(value, (list, tuple))
        and bool(value)
        and all(isinstance(row, (list, tuple)) and len(row) == 2 for row in value)
    )


# the table


@_shows("stats")
def _stats(given: Given, answer: Any) -> str:
    return _table(answer)


def _table(jails: Mapping[str, Any]) -> str:
    """Jails with backend, failures and bans, each current and total."""
    if not jails:
        return "No jails found."
    rows = [
        (str(name), str(backend), *(str(number) for pair in pairs for number in pair))
        for name, (backend, *pairs) in jails.items()
    ]
    wide = [
        max(least, *(len(row[column]) for row in rows))
        for column, least in enumerate((8, 8, 3, 3, 3, 3))
    ]
    names = f"{{:<{wide[0] + 2}}}║{{:<{wide[1] + 2}}}"
    failed, banned = wide[2] + wide[3] + 5, wide[4] + wide[5] + 5

    def numbers(a: str, b: str, c: str, d: str) -> str:
        return f"║ {a:>{wide[2]}} │ {b:>{wide[3]}} ║ {c:>{wide[4]}} │ {d:>{wide[5]}}"

    def rule(cross: str) -> str:
        return cross.join("═" * width for width in (wide[0] + 2, wide[1] + 2, failed, banned))

    blank = names.format("", "")
    lines = [
        blank + f"║{' Filter':<{failed}}║{' Actions':<{banned - 1}}",
        names.format(" Jail", " Backend") + f"╟{'─' * failed}╫{'─' * banned}",
        blank + numbers("cur", "tot", "cur", "tot"),
        rule("╬"),
        *(names.format(f" {row[0]}", f" {row[1]}") + numbers(*row[2:]) for row in rows),
        rule("╩"),
    ]
    return "\n".join(lines)
