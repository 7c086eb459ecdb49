# SPDX-License-Identifier: GPL-2.0-or-later
"""An answer of the server as plain data for JSON.  Pure: the words asked, the answer, out comes data.

The shapes are an interface: doc/json.md has them all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from common.commands import Given, InvalidCommand, parse
from common.wire import RemoteError

_Shape = Callable[[Given, Any], Any]
_SHAPES: dict[str, _Shape] = {}


def as_json(words: Sequence[Any], answer: Any) -> Any:
    """What JSON tells of `answer` to the command `words`."""
    plain = _plain(answer)
    try:
        command, given = parse(words)
    except InvalidCommand:  # one of the client's own, or of another release
        return plain
    shape = _SHAPES.get(command.usage)
    try:
        return shape(given, plain) if shape else plain
    except (AttributeError, LookupError, TypeError, ValueError):  # as another release answers
        return plain


def error_as_json(kind: str, message: str) -> dict[str, Any]:
    """What JSON tells of a failure."""
    return {"error": {"kind": kind, "message": message}}


def problem_as_json(level: str, jail: str | None, text: str) -> dict[str, Any]:
    """What JSON tells of a mistake in the configuration."""
    return {"level": level, "jail": jail or None, "message": text}


def kind_of(error: RemoteError) -> str:
    """The word for what the server refused."""
    if error.kind in _KINDS:
        return _KINDS[error.kind]
    return "invalid_command" if str(error).startswith("Invalid command") else "refused"


_KINDS: Mapping[str, str] = {
    "UnknownJailException": "unknown_jail",
    "DuplicateJailException": "duplicate_jail",
    "RegexException": "bad_regex",
    "IndexError": "invalid_command",
}


def _plain(value: Any) -> Any:
    """`value` of what JSON has; the order of a set is nobody's business, so it is sorted."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(item) for item in value), key=str)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return -1  # JSON has no word for it; "for ever" is -1 everywhere
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)


def _shapes(*usages: str) -> Callable[[_Shape], _Shape]:
    def remember(shape: _Shape) -> _Shape:
        _SHAPES.update(dict.fromkeys(usages, shape))
        return shape

    return remember


# -- status ----------------------------------------------------------------------------------------


def _snake(label: str) -> str:
    """`Banned IP list` as `banned_ip_list`."""
    return re.sub(r"\W+", "_", label.strip().lower()).strip("_")


def _object(rows: Iterable[Sequence[Any]]) -> dict[str, Any]:
    """Pairs of a label and a value; a value of pairs becomes an object, too."""
    return {_snake(label): _object(value) if _is_rows(value) else value for label, value in rows}


def _is_rows(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(row, list) and len(row) == 2 and isinstance(row[0], str) for row in value
        )
        and all(isinstance(row[1], (int, list)) for row in value)
    )


def _overview(rows: Iterable[Sequence[Any]]) -> dict[str, Any]:
    found = _object(rows)
    names = found["jail_list"]
    return {**found, "jail_list": [name for name in names.split(", ") if name]}


def _jail(name: str, status: list[Any]) -> dict[str, Any]:
    if status and isinstance(status[0], str):
        return _figures(name, status)
    return {"jail": name, **{_snake(label): _object(rows) for label, rows in status}}


def _figures(name: str, row: list[Any]) -> dict[str, Any]:
    backend, failed, banned = row
    return {
        "jail": name,
        "backend": backend,
        "failed": dict(zip(("current", "total"), failed, strict=True)),
        "banned": dict(zip(("current", "total"), banned, strict=True)),
    }


@_shapes("status")
def _status(given: Given, answer: Any) -> Any:
    return _overview(answer)


@_shapes("status <jail> [<flavour>]")
def _status_of_jail(given: Given, answer: Any) -> Any:
    return _jail(str(given["jail"][0]), answer)


@_shapes("status --all [<flavour>]")
def _status_of_all(given: Given, answer: Any) -> Any:
    if isinstance(answer, dict):  # flavour stats
        return _stats(given, answer)
    *rows, jails = answer
    return {**_overview(rows), "jails": [_jail(name, status) for name, status in jails.items()]}


@_shapes("stats", "statistic", "statistics")
def _stats(given: Given, answer: Any) -> Any:
    return {"jails": [_figures(name, row) for name, row in answer.items()]}


# -- bans ------------------------------------------------------------------------------------------


@_shapes("banned")
def _banned(given: Given, answer: Any) -> Any:
    return {name: hosts for jail in answer for name, hosts in jail.items()}


@_shapes("banned <ip>...")
def _banned_where(given: Given, answer: Any) -> Any:
    return dict(zip(map(str, given["ip"]), answer, strict=True))


@_shapes("get <jail> banned <ip>...")
def _banned_in(given: Given, answer: Any) -> Any:
    found = answer if isinstance(answer, list) else [answer]
    return {str(host): bool(one) for host, one in zip(given["ip"], found, strict=True)}


_BAN = re.compile(r"(?P<ip>.*?) \t(?P<since>\S+ \S+) \+ (?P<seconds>-?[\d.]+) = (?P<until>\S+ \S+)", re.DOTALL)  # fmt: skip


@_shapes("get <jail> banip --with-time")
def _bans(given: Given, answer: Any) -> Any:
    return [_ban(line) for line in answer]


def _ban(line: str) -> dict[str, Any]:
    """One ban, whose moments stand in `line` in local time, as the server is on this machine."""
    found = _BAN.fullmatch(line)
    if found is None:
        raise ValueError(f"{line!r} is no ban")
    seconds = float(found["seconds"])
    since = datetime.strptime(found["since"], "%Y-%m-%d %H:%M:%S").astimezone()
    until = None if seconds < 0 else since.timestamp() + seconds
    return {
        "ip": found["ip"],
        "seconds": int(seconds) if seconds == int(seconds) else seconds,
        "since": since.isoformat(),
        "since_epoch": int(since.timestamp()),
        "until": None if until is None else _iso(until),
        "until_epoch": None if until is None else int(until),
    }


def _iso(moment: float) -> str:
    try:
        return datetime.fromtimestamp(moment, UTC).astimezone().isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):  # the calendar ends with the year 9999
        return "9999-12-31T23:59:59+00:00"


# -- options ---------------------------------------------------------------------------------------


@_shapes("get <jail> datepattern", "set <jail> datepattern <value>")
def _date_pattern(given: Given, answer: Any) -> Any:
    return None if answer is None else dict(zip(("pattern", "name"), answer, strict=True))


@_shapes("get <jail> ignorecache", "set <jail> ignorecache <value>")
def _cache(given: Given, answer: Any) -> Any:
    if answer is None:
        return None
    return dict(zip(("key", "max_count", "max_time"), answer, strict=True))
