# SPDX-License-Identifier: GPL-2.0-or-later
"""What can be said of a stream of commands before it is carried out: all of its mistakes at once.

Pure: which programs are installed, and whether code can be loaded, is asked of what is handed in.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isinf
from typing import Any

from common.commands import InvalidCommand, parse
from common.errors import CommandError, Fail2banError, RegexError
from common.options import ActionConf, Config, JailConf
from server import lint
from server.action import FAMILIES, Action, BanValues, no_facts, render
from server.ambiguity import Work, work_of
from server.budget import BUDGET, named
from server.draft import edit, message_of, told
from server.filter import Filter
from server.pattern import Pattern
from server.records import Ban
from server.slow import slow_rules

_EXAMPLE = 60  # characters of a line that shows what a regex does
# Work is worth a word if it grows with the cube of a line's length, or with its square and lines of
# a usual length may be dear.
_STEEP = 3
_WORTH_A_WORD = 2
_USUAL_LENGTH = 250
_MISTAKES = (Fail2banError, ValueError, TypeError, LookupError)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to tell about a jail ("" for the daemon's own options).

    An "error" is what a start or reload refuses; a "warning" may be meant so.  `kind` is "regex",
    "slow", "value", "action", "tag" or "tool".
    """

    level: str
    kind: str
    jail: str
    text: str


def inspect(
    stream: Sequence[Any],
    has_tool: Callable[[str], bool],
    check_action: Callable[[ActionConf], None],
) -> list[Finding]:
    """Everything that is wrong with `stream`, or may be.

    `has_tool(name)` says whether a program is there; `check_action` raises CommandError for an action
    in Python that cannot be made.
    """
    findings, config = _read(stream)
    tools: dict[str, list[str]] = {}
    for conf in config.jails.values():
        findings += _of_filter(conf)
        for action in conf.actions:
            head = f"[{conf.name}] action {action.name}"
            try:
                if action.module is not None:
                    check_action(action)
                    continue
                scripts = list(_scripts(Action(conf.name, action)))
                findings += _of_tags(Action(conf.name, action), scripts, head)
            except CommandError as error:
                text = f"{head}: {message_of(error)}"
                findings.append(Finding("error", "action", conf.name, text))
                continue
            for tool in dict.fromkeys(name for _, script in scripts for name in tools_of(script)):
                tools.setdefault(tool, []).append(f"[{conf.name}] {action.name}")
    for tool, users in tools.items():
        if not has_tool(tool):
            text = f"{tool} is not installed, or not in the PATH of the server; it is needed by"
            findings.append(Finding("warning", "tool", "", f"{text} {', '.join(users)}"))
    return findings


# -- commands --------------------------------------------------------------------------------------


def _read(stream: Sequence[Any]) -> tuple[list[Finding], Config]:
    """What each command by itself is refused for, and what the others come to."""
    config, findings = Config(), list[Finding]()
    for words in _one_by_one(stream):
        try:
            config = edit(config, words)
        except _MISTAKES as error:
            jail = str(words[1]) if len(words) > 1 and not _is_daemon_s(words) else ""
            text = f"{' '.join(map(str, words))}: {message_of(error)}"
            text = told(words, error) if jail and len(words) > 2 else text
            findings.append(Finding("error", _kind(error), jail, text))
    return findings, config


def _one_by_one(stream: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """The commands of `stream`, where each regex is a command of its own."""
    for words in stream:
        if not isinstance(words, (list, tuple)) or not words or words[0] == "config-error":
            continue  # the client has said that one itself
        is_list = words[0] == "multi-set" and len(words) == 4 and isinstance(words[3], list)
        if is_list and str(words[2]).endswith("regex"):
            yield from (["set", *words[1:3], regex] for regex in words[3])
        else:
            yield words


def _is_daemon_s(words: Sequence[Any]) -> bool:
    try:
        return "<jail>" not in parse(words)[0].usage
    except InvalidCommand:
        return False


def _kind(error: BaseException) -> str:
    return "regex" if isinstance(error, RegexError) else "value"


def _of_filter(conf: JailConf) -> Iterator[Finding]:
    """What only the filter as a whole is refused for, or else what may be wrong with its regexes."""
    try:
        Filter(conf, has_screen=False)
    except _MISTAKES as error:
        yield Finding("error", _kind(error), conf.name, f"[{conf.name}] {message_of(error)}")
        return
    yield from _of_work(conf)
    for found in lint.findings(conf):
        if found.severity != lint.NOTE and found.kind != "nested repeats":  # told above
            option, number = ("failregex", found.rule + 1) if found.rule >= 0 else ("prefregex", 0)
            which = named(option, number, conf.origins)
            text = f"[{conf.name}] {which} {found.what}. {found.advice}"
            yield Finding("warning", "regex", conf.name, text)
    for slow in slow_rules(conf):
        text = f"[{conf.name}] {slow.rule_name} is slow: {slow.what}. {slow.advice}"
        yield Finding("warning", "slow", conf.name, text)


def _of_work(conf: JailConf) -> Iterator[Finding]:
    """Which regexes a line made for it can make work long; the others are only watched."""
    given = {"failregex": conf.failregex, "ignoreregex": conf.ignoreregex}
    every = [(key, n, text) for key, texts in given.items() for n, text in enumerate(texts, 1)]
    if conf.prefregex:
        every.append(("prefregex", 0, conf.prefregex))
    for option, number, text in every:
        pattern = Pattern(text, is_multiline=conf.max_lines > 1)
        work = work_of(pattern.regex, pattern.is_tied)
        told = _doubling(work) if isinf(work.degree) else _growing(work)
        if told:
            which = named(option, number, conf.origins)
            yield Finding("warning", "regex", conf.name, f"[{conf.name}] {which} makes work {told}")


def _doubling(work: Work) -> str:
    return (
        f"that doubles with every few characters of a line made for it{_such_as(work)}. One line that "
        f"takes it more than {BUDGET:g} s, and it is set aside for all of more than "
        f"{work.calm_reach} characters. Let no repeat stand in another one, unless the inner one "
        "ends with a character that it cannot match itself."
    )


def _growing(work: Work) -> str:
    """What is to be said of work that grows, but does not double; empty where it is little."""
    if work.degree < _STEEP and (work.degree < _WORTH_A_WORD or work.calm_reach >= _USUAL_LENGTH):
        return ""
    return (
        f"that grows with the length of a line made for it, {work.name}{_such_as(work)}. Lines of up to "
        f"{work.calm_reach} characters are cheap all the same; longer ones take a detour. Let no two "
        "repeats follow one another that can match the same."
    )


def _such_as(work: Work) -> str:
    line = work.example(_EXAMPLE)
    return f", such as {ascii(line)}" if line else ""


# -- actions ---------------------------------------------------------------------------------------

_FOR_ONE = ("actionban", "actionunban", "actionprolong", "actionreban")
_FOR_MANY = ("actionban_many", "actionunban_many", "actionexchange_many")
_FOR_ALL = ("actionstart", "actionstop", "actioncheck", "actionrepair", "actionflush", "actionreload")  # fmt: skip
_TAG = re.compile(r"(?<!\(\?P)<([A-Za-z][\w.-]*(?:/[\w.-]+)*)>")
_ANYBODY = BanValues(Ban("", "", 0, 0), False, no_facts)


def _scripts(action: Action) -> Iterator[tuple[str, str]]:
    """Each command of `action` with its text, for either family."""
    for key in (*_FOR_ALL, *_FOR_ONE, *_FOR_MANY):
        for script in dict.fromkeys(action.script(key, family) for family in FAMILIES):
            if script is not None:
                yield key, script


def _of_tags(action: Action, scripts: Sequence[tuple[str, str]], head: str) -> Iterator[Finding]:
    """The tags that are left in a command as nobody knows them, each once.

    What a property stands for may be meant to stand in `<>`, as an address of mail does.
    """
    known = {_worth(action, str(value)) for value in action.conf.properties.values()}
    for key, script in scripts:
        for tag in _TAG.findall(script):
            is_known = (key in _FOR_ONE and tag in _ANYBODY) or (key in _FOR_MANY and tag == "ips")
            if not is_known and tag not in known:
                known.add(tag)
                text = f"{head}: {key}: nothing says what <{tag}> is"
                yield Finding("warning", "tag", action.jail, text)


def _worth(action: Action, value: str) -> str:
    try:
        return render(value, {**action.conf.properties, "name": action.jail}, {}).script
    except CommandError:  # it is told where it is used
        return value


# -- what a script runs ----------------------------------------------------------------------------

# The shell does these itself, or they are no commands at all.
_SHELL_S = frozenset(
    """
    alias bg break cd command continue echo eval exec exit export false fg getopts hash jobs kill let
    local printf pwd read readonly return set shift source test times trap true type ulimit umask
    unalias unset wait . : [ [[ for in select function case esac fi done } ]]
    """.split()
)
_GO_ON = frozenset("if then else elif do while until ! {".split())  # a command follows these
_NAME = re.compile(r"(?=.*[A-Za-z])[\w./+-]+")
_ENDS = ";&|()\n"


def tools_of(script: str) -> Iterator[str]:
    """The programs that `script` begins commands with, as far as that is plain to see.

    Where it takes a shell to tell (`case`, here-documents, names in variables) it says nothing.
    """
    if re.search(r"<<|\bcase\b", script):
        return
    text = re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*$", "", script))
    words = shlex.shlex(text, posix=True, punctuation_chars=_ENDS)
    words.whitespace, words.commenters = " \t\r", ""
    try:
        tokens = list(words)
    except ValueError:  # a quotation mark without its other half
        return
    functions = {
        name for name, after in zip(tokens, tokens[1:], strict=False) if after.startswith("()")
    }
    is_command = True
    for token in tokens:
        if set(token) <= set(_ENDS):
            is_command = token == "()" or not token.endswith(")")
        elif token in _GO_ON:
            pass
        elif is_command and "=" not in token:
            is_command = False
            if _NAME.fullmatch(token) and token not in _SHELL_S and token not in functions:
                yield token
