# SPDX-License-Identifier: GPL-2.0-or-later
"""Where in a shell script a tag stands, and how a variable is named there so that its value arrives whole.

Reads a script as /bin/sh (dash, bash, busybox) would: quotes, here-documents, substitutions.  A value
itself is never part of the script, so a mistake in here can garble a value but not run it.  Knows
nothing of bans.  Out of reach are programs in other languages, and shells elsewhere: in
`awk "/<F-USER>/"` or `ssh gate "log <F-USER>"` the value becomes part of what those read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from common.errors import CommandError


class Reading(Enum):
    """What will read a value once the shell has expanded it, and so how it must be written."""

    PLAIN = ""
    NUMBER = "number"  # $((…)): a shell may run what stands in there
    FORMAT = "format"  # the first argument of printf
    ESCAPES = "escapes"  # %b of printf
    ECHO = "echo"  # some shells' echo reads \n, others' does not
    ECHO_E = "echo_e"
    SCRIPT = "script"  # eval and sh -c: a second shell, which shall expand the variable itself


TAG = re.compile(r"<([A-Za-z][\w.-]*)>", re.ASCII)
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*\+?=", re.ASCII)
_KEYWORDS = frozenset("if then else elif do while until ! { time command builtin exec".split())
_SHELLS = frozenset("sh bash dash ash ksh mksh zsh busybox".split())
_CONVERSION = re.compile(r"%(?:%|[-+ #0]*[\d*]*(?:\.[\d*]*)?([A-Za-z]))")
_BRACE_NAME = re.compile(r"\$\{[#!]?(?:\w+|[@*#?$!-])?")
_DEFAULTS = re.compile(r":?[-=?+]")  # operators whose word is quoted like what is around it
_SIMPLE_DELIMITER = re.compile(r"\w+", re.ASCII)


@dataclass(slots=True)
class _Command:
    """The simple command that is being read: its whole words, where the next began, and what encloses it."""

    words: list[str] = field(default_factory=list)
    start: int | None = None
    is_redirection: bool = False
    nest: list[str] = field(default_factory=list)

    def reading(self) -> Reading:
        words = [word.strip("'\"").rpartition("/")[2] for word in self.words]
        name = words[0] if words else ""
        if name == "echo":
            has_e = any(_is_echo_e(word) for word in words[1:])
            if "/" in self.words[0]:  # the program, not the shell's own
                return Reading.ESCAPES if has_e else Reading.PLAIN
            return Reading.ECHO_E if has_e else Reading.ECHO
        if name == "printf":
            return _printf_reading(self.words[1:])
        shells = [i for i, word in enumerate(words) if word in _SHELLS]
        if name == "eval" or (shells and any(re.match(r"-\w*c", w) for w in words[shells[0] :])):
            return Reading.SCRIPT
        return Reading.PLAIN


def _is_echo_e(word: str) -> bool:
    return re.fullmatch(r"-[nE]*e[neE]*", word) is not None


def _printf_reading(arguments: list[str]) -> Reading:
    """How printf reads the argument that follows `arguments`; its format serves again and again."""
    while arguments and arguments[0] in ("--", "-v"):
        arguments = arguments[2 if arguments[0] == "-v" else 1 :]
    if not arguments:
        return Reading.FORMAT
    conversions = [found for found in _CONVERSION.findall(arguments[0]) if found]
    at = len(arguments) - 1
    is_b = bool(conversions) and conversions[at % len(conversions)] == "b"
    return Reading.ESCAPES if is_b else Reading.PLAIN


@dataclass(slots=True)
class _Here:
    """A here-document announced on this line: its end, and where its delimiter went in the output."""

    delimiter: str
    is_quoted: bool
    strips_tabs: bool
    place: int
    reading: Reading


Variable = Callable[[str, Reading], str]


def bind(script: str, is_value: Callable[[str], bool], variable: Variable) -> str:
    """`script` with each `<tag>` that `is_value` replaced by a reference to a variable.

    `variable` gives the name of the variable that holds the tag's value, written for that reading.
    Raises CommandError where a tag stands at a place that no value can take.
    """
    if not any(is_value(tag) for tag in TAG.findall(script)):
        return script
    scanner = _Scanner(script, is_value, variable)
    scanner.code("")
    return "".join(scanner.out)


class _Scanner:
    """One pass over a script; each method reads one kind of context up to its end."""

    def __init__(self, text: str, is_value: Callable[[str], bool], variable: Variable) -> None:
        self.text = text
        self.at = 0
        self.out: list[str] = []
        self._is_value = is_value
        self._variable = variable
        self._commands: list[_Command] = []
        self._pending: list[_Here] = []

    # -- small words

    def _peek(self, what: str) -> bool:
        return self.text.startswith(what, self.at)

    def _take(self, length: int = 1) -> None:
        self.out.append(self.text[self.at : self.at + length])
        self.at += length

    def _take_match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        self._take(found.end() - self.at if found else 0)
        return found[0] if found else ""

    def _tag(self, at: int) -> re.Match[str] | None:
        found = TAG.match(self.text, at)
        return found if found and self._is_value(found[1]) else None

    def _holds_values(self, text: str) -> bool:
        return any(self._is_value(tag) for tag in TAG.findall(text))

    def _refer(self, before: str = "", after: str = "", reading: Reading | None = None) -> bool:
        """Replace the tag here, if there is one, by a reference between `before` and `after`."""
        tag = self._tag(self.at)
        if tag is None:
            return False
        if reading is None:
            reading = self._commands[-1].reading() if self._commands else Reading.PLAIN
        name = self._variable(tag[1], reading)
        if reading is Reading.SCRIPT:
            before, after = {'"': ("'", "'"), "'\"": ("", "")}.get(before, ("\\", ""))
        self.at = tag.end()
        following = after or self.text[self.at : self.at + 1]
        is_joined = re.match(r"\w", following) is not None
        self.out.append(f"{before}${{{name}}}{after}" if is_joined else f"{before}${name}{after}")
        return True

    def _sub(self, text: str) -> _Scanner:
        return _Scanner(text, self._is_value, self._variable)

    # -- contexts

    def code(self, closer: str) -> None:
        """Commands, up to `closer` (a parenthesis) or the end."""
        command = _Command()
        self._commands.append(command)
        while self.at < len(self.text):
            char = self.text[self.at]
            if char in " \t\n;&|()<>":
                if self._operator(char, command) and closer:
                    break
            elif char == "#" and command.start is None:
                self._take_match(re.compile(r"[^\n]*"))
            else:
                if command.start is None and not self._peek("\\\n"):
                    command.start = self.at
                self._word_part(char)
        self._end_word(command)
        self._commands.pop()

    def _word_part(self, char: str) -> None:
        if char == "\\":
            if self._tag(self.at + 1):
                self.at += 1  # an escaped digit is the digit
            else:
                self._take(2)
        elif char == "'":
            self._single("'")
        elif char == '"':
            self._take()
            self._double(True)
        elif char == "$":
            self._dollar(is_quoted=False)
        elif char == "`":
            self._backticks(is_quoted=False)
        else:
            self._take()

    def _operator(self, char: str, command: _Command) -> bool:
        """White space and operators end words; true where a parenthesis closes the whole."""
        if char == "<" and self._tag(self.at):
            if command.start is None:
                command.start = self.at
            self._refer('"', '"')
            return False
        is_first = not command.words and command.start is None
        if char in "<>" and self.text[command.start : self.at].isdigit():
            command.start = None  # 2>file
        self._end_word(command)
        if char in "<>":
            self._redirection(command)
        elif char == "(" and is_first and self._peek("(("):
            self._take(2)
            self._arithmetic()
        elif char in " \t":
            self._take()
        else:
            command.words.clear()
            self._take()
            if char == "\n":
                self._here_documents()
            elif char == "(":
                command.nest.append("(")
            elif char == ")":
                return self._close(command)
        return False

    @staticmethod
    def _close(command: _Command) -> bool:
        if not command.nest:
            return True
        if command.nest[-1] == "(":  # else it ends a pattern of `case`
            command.nest.pop()
        return False

    def _end_word(self, command: _Command) -> None:
        if command.start is None:
            return
        word = self.text[command.start : self.at]
        command.start = None
        if command.is_redirection:
            command.is_redirection = False
            return
        if not command.words:
            if word == "esac" and command.nest[-1:] == ["case"]:
                command.nest.pop()
                return
            if word in _KEYWORDS or _ASSIGNMENT.match(word):
                return
            if word == "case":
                command.nest.append("case")
        command.words.append(word)
        if command.words[0] == "case" and command.words[2:] == ["in"]:
            command.words.clear()

    def _redirection(self, command: _Command) -> None:
        if self._peek("<<<"):
            self._take(3)
        elif self._peek("<<"):
            self._take_match(re.compile(r"<<-?"))
            self._here_announced(self.out[-1].endswith("-"), command)
        else:
            self._take_match(re.compile(r"[<>][>&|]?"))
            command.is_redirection = True

    def _single(self, opening: str) -> None:
        """Up to the closing quote; a value leaves the quotes and enters them again."""
        self._take(len(opening))
        while self.at < len(self.text) and not self._peek("'"):
            if self._peek("\\'") and opening == "$'":
                raise CommandError("a tag and \\' cannot stand together in a script with $'…'")
            if not self._refer("'\"", f'"{opening}'):
                self._take()
        self._take()

    def _double(self, ends: bool) -> None:
        """Up to the closing quote, or the end of a here-document; quotes mean nothing in the latter."""
        while self.at < len(self.text):
            if ends and self._peek('"'):
                self._take()
                return
            self._quoted_part()

    def _quoted_part(self) -> None:
        if self._peek("\\"):
            if self._tag(self.at + 1):
                self.out.append("\\")  # it would take the dollar its meaning
                self._take()
            else:
                self._take(2)
        elif self._peek("$"):
            self._dollar(is_quoted=True)
        elif self._peek("`"):
            self._backticks(is_quoted=True)
        elif not self._refer():
            self._take()

    def _dollar(self, is_quoted: bool) -> None:
        if self._peek("$(("):
            self._take(3)
            self._arithmetic()
        elif self._peek("$("):
            self._take(2)
            self.code(")")
        elif self._peek("${"):
            self._brace(is_quoted)
        elif self._peek("$'") and not is_quoted:
            self._single("$'")
        else:
            if self._tag(self.at + 1):
                self.out.append("\\")  # $<tag> is a dollar before the value, never $$
            self._take()

    def _brace(self, is_quoted: bool) -> None:
        """`${name…}`; a value may be part of the word after the operator only."""
        self._take_match(_BRACE_NAME)
        if self._tag(self.at):
            raise CommandError("a tag cannot be the name of a variable: ${" + self.text[self.at :])
        is_literal = bool(self._take_match(_DEFAULTS)) and is_quoted
        while self.at < len(self.text):
            char = self.text[self.at]
            if char == "}":
                self._take()
                return
            if is_quoted and not (char == "'" and not is_literal):
                self._quoted_part()
            elif not self._refer('"', '"'):
                self._word_part(char)

    def _arithmetic(self) -> None:
        depth = 2
        while self.at < len(self.text) and depth:
            if self._refer(reading=Reading.NUMBER):
                continue
            char = self.text[self.at]
            depth += {"(": 1, ")": -1}.get(char, 0)
            if char == "$":
                self._dollar(is_quoted=True)
            else:
                self._take()

    def _backticks(self, is_quoted: bool) -> None:
        """What holds a value becomes `$(…)`, where quotes need no second layer of backslashes."""
        found = re.compile(r"`((?:[^`\\]|\\.)*)`", re.DOTALL).match(self.text, self.at)
        if found is None or not self._holds_values(found[1]):
            self._take(found.end() - self.at if found else 1)
            return
        inner = self._sub(re.sub(r'\\([\\`$"])' if is_quoted else r"\\([\\`$])", r"\1", found[1]))
        inner.code("")
        self.out.append("$( " + "".join(inner.out) + ("\n)" if "#" in found[1] else ")"))
        self.at = found.end()

    # -- here-documents

    def _here_announced(self, strips_tabs: bool, command: _Command) -> None:
        self._take_match(re.compile(r"[ \t]*"))
        place = len(self.out)
        word = self._take_match(re.compile(r"""(?:'[^']*'|"[^"]*"|\\.|[^\s;&|()<>'"\\])+"""))
        delimiter = re.sub(r"""\\(.)|['"]""", r"\1", word)
        names = {word.strip("'\"").rpartition("/")[2] for word in command.words}
        reading = Reading.SCRIPT if names & _SHELLS else Reading.PLAIN
        self._pending.append(_Here(delimiter, delimiter != word, strips_tabs, place, reading))

    def _here_documents(self) -> None:
        """The bodies of all here-documents announced on the line that just ended."""
        pending, self._pending = self._pending, []
        for here in pending:
            body, closing = self._here_body(here)
            if here.is_quoted and self._holds_values(body):
                if here.reading is Reading.PLAIN:
                    # To be expanded it must lose its quotes, and all else in it its meaning.
                    delimiter = _free_delimiter(here.delimiter, body)
                    self.out[here.place] = delimiter
                    closing = "\t" * closing.count("\t") + delimiter + "\n"
                    body = re.sub(r"([\\$`])", r"\\\1", body)
                self.out.append(TAG.sub(self._plain_reference, body))
            elif here.is_quoted:
                self.out.append(body)
            else:
                inner = self._sub(body)
                inner._commands.append(_Command(["eval"] if here.reading is Reading.SCRIPT else []))
                inner._double(ends=False)
                self.out.extend(inner.out)
            self.out.append(closing)

    def _plain_reference(self, found: re.Match[str]) -> str:
        if not self._is_value(found[1]):
            return found[0]
        return f"${{{self._variable(found[1], Reading.PLAIN)}}}"

    def _here_body(self, here: _Here) -> tuple[str, str]:
        start = self.at
        while self.at < len(self.text):
            end = self.text.find("\n", self.at)
            end = len(self.text) if end < 0 else end
            line = self.text[self.at : end]
            if (line.lstrip("\t") if here.strips_tabs else line) == here.delimiter:
                body = self.text[start : self.at]
                closing = self.text[self.at : end + 1]
                self.at = min(end + 1, len(self.text))
                return body, closing
            self.at = min(end + 1, len(self.text))
        return self.text[start:], ""


def _free_delimiter(wanted: str, body: str) -> str:
    """A delimiter that needs no quotes and is no line of `body`."""
    name = wanted if _SIMPLE_DELIMITER.fullmatch(wanted) else "f2b_end"
    while any(line.strip("\t") == name for line in body.split("\n")) and name != wanted:
        name += "_"
    return name
