# SPDX-License-Identifier: GPL-2.0-or-later
"""What is tried: the words of the command line become the `JailConf` whose filter it is.

Reads configuration files, by the client's readers; knows nothing of logs and output.
"""

from __future__ import annotations

import os.path
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from client.filterconf import Command, filter_commands
from client.ini import Problem
from client.stream import read, read_one_filter
from common.errors import ConfigError
from common.options import Config, JailConf
from common.tags import split_name
from server import draft
from tryout.arguments import Arguments

_NAME = re.compile(r"[\w./@+-]+(?:\[.*\])*\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Subject:
    """A filter to try: what it was asked for as, and the jail that has it."""

    kind: str  # "jail", "filter" or "regex"
    name: str
    conf: JailConf
    problems: tuple[Problem, ...] = ()


def read_subject(given: Arguments, confdir: Path) -> Subject:
    """What `given` means; ConfigError, or the filter's own errors, where it means nothing."""
    subject = _of_filter(given, confdir)
    conf = subject.conf
    if given.ignore:
        regexes = _regexes_of(given.ignore, confdir, "ignoreregex")
        conf = replace(conf, ignoreregex=tuple(regexes))
    options: list[tuple[str, Any]] = [
        ("datepattern", given.datepattern),
        ("logtimezone", given.timezone),
        ("maxlines", given.maxlines),
        ("logencoding", given.encoding),
        ("usedns", given.usedns),
    ]
    for key, value in options:
        if value is not None:
            conf = draft.edit_jail(conf, key, (value,))
    return replace(subject, conf=conf)


def limits_of(jail: str, confdir: Path) -> JailConf:
    """The jail of that name, for its limits."""
    return _jail(jail, confdir).conf


def _of_filter(given: Arguments, confdir: Path) -> Subject:
    text = given.filter
    if not _NAME.match(text):
        return Subject("regex", text, _conf([["set", "x", "addfailregex", text]]))
    name = split_name(text)[0]
    if Path(name).is_file() and "/" in name:
        return _filter_file(Path(name), text, confdir, given)
    if name.endswith((".conf", ".local")) or name.startswith("filter.d/"):
        stem = name.removeprefix("filter.d/").removesuffix(".conf").removesuffix(".local")
        return _filter(stem + text[len(name) :], confdir, given)
    if "[" not in text and _is_jail(text, confdir):
        return _jail(text, confdir)
    try:
        return _filter(text, confdir, given)
    except ConfigError:
        if "/" in name or not re.search(r"[<(\\]", text):
            raise
        return Subject("regex", text, _conf([["set", "x", "addfailregex", text]]))


def _filter_file(path: Path, text: str, confdir: Path, given: Arguments) -> Subject:
    arguments = text[text.find("[") :] if "[" in text else ""
    base, name = _place_of(path, confdir)
    return replace(_filter(name + arguments, base, given), name=_stem(path))


def _place_of(path: Path, confdir: Path) -> tuple[Path, str]:
    """To which configuration a filter's file belongs, and what it is called there.

    If it stands in a filter.d, to that around it; any other, with what it includes, is a guest of ours.
    """
    path = path.absolute()
    if path.parent.name == "filter.d":
        return path.parent.parent, _stem(path)
    base = confdir.absolute()
    return base, os.path.relpath(path.parent / _stem(path), base / "filter.d")


def _stem(path: Path) -> str:
    return path.name.removesuffix(".conf").removesuffix(".local")


def _filter(text: str, confdir: Path, given: Arguments) -> Subject:
    logtype = "journal" if given.log.startswith("systemd-journal") else "file"
    found = read_one_filter(confdir, text, logtype=logtype)
    problems = list(found.problems)
    commands = filter_commands("x", found.options, problems)
    backend = "systemd" if logtype == "journal" else "auto"  # only the former keeps a journalmatch
    conf = _conf([["add", "x", backend], *commands])
    return Subject("filter", found.name, conf, tuple(problems))


def _is_jail(name: str, confdir: Path) -> bool:
    from client.stream import read_jail_filter

    try:
        return read_jail_filter(confdir, name) is not None
    except ConfigError:
        return False


def _jail(name: str, confdir: Path) -> Subject:
    reading = read(confdir, jail=name, is_enabled_anyway=True)
    errors = [problem for problem in reading.problems if problem.level == "error"]
    if reading.is_refused or not reading.jails:
        first = errors[0] if errors else None
        text = first.text if first else f"there is no jail {name}"
        raise ConfigError(text, first.where if first else None, first.hint if first else "")
    # A log that is not there is no matter: it is another one that is read.
    commands = [each for each in reading.jails[0].sent if each[0] in ("add", "set", "multi-set")]
    return Subject("jail", name, _conf(commands, name))


def _regexes_of(text: str, confdir: Path, key: str) -> list[str]:
    """A regular expression, or those of the filter that `text` names."""
    if _NAME.match(text):
        base, name = _place_of(Path(text), confdir) if Path(text).is_file() else (confdir, text)
        try:
            value = read_one_filter(base, name).options.get(key)
        except ConfigError:
            value = None
        if value is not None:
            return [line.strip() for line in value.text.split("\n") if line.strip()]
    return [text]


def _conf(commands: list[Command], name: str = "x") -> JailConf:
    first = [] if commands and commands[0][0] == "add" else [["add", name]]
    return draft.read_stream(Config(), [*first, *commands]).config.jails[name]
