# SPDX-License-Identifier: GPL-2.0-or-later
"""One INI file: text in, sections of values out, and every value knows its file and line.

The syntax is that of the standard library's configparser.  What stands in the values (variables, tags,
numbers) is not known here; neither are other files.
"""

from __future__ import annotations

import configparser
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, cast

from common.errors import ConfigError, Where

DEFAULT = "DEFAULT"


@dataclass(frozen=True, slots=True)
class Value:
    """What was written for an option.  In a final text a `%` is just a percent sign."""

    text: str
    where: Where | None = None
    is_final: bool = False


Sections = Mapping[str, Mapping[str, Value]]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something to tell the person who wrote a configuration; `jail` if it concerns just one."""

    level: Literal["error", "warning"]
    text: str
    where: Where | None = None
    hint: str = ""
    jail: str | None = None

    @classmethod
    def of(cls, error: ConfigError, jail: str | None = None) -> Problem:
        return cls("error", error.problem, error.where, error.hint, jail)

    def __str__(self) -> str:
        return str(ConfigError(self.text, self.where, self.hint))


class _Key(str):
    """An option's name, in small letters, that remembers its line."""

    line: int


class _Parser(configparser.RawConfigParser):
    """configparser asks `optionxform` for every name as it reads it: there the line is known."""

    def __init__(self) -> None:
        super().__init__(
            interpolation=None,
            delimiters=("=", ":"),
            comment_prefixes=("#", ";"),
            inline_comment_prefixes=(";",),
            strict=True,
        )
        self.line = 0

    def lines(self, text: str) -> Iterator[str]:
        for self.line, line in enumerate(io.StringIO(text, newline=None), start=1):
            yield line

    def optionxform(self, optionstr: str) -> str:
        key = _Key(optionstr.lower())
        key.line = self.line
        return key


def parse(text: str, path: str) -> dict[str, dict[str, Value]]:
    """The sections of the file `path` that has this `text`; ConfigError if it is no INI file."""
    parser = _Parser()
    try:
        parser.read_file(parser.lines(text), path)
    except configparser.Error as error:
        raise _in_our_words(error, text, path) from None
    # Each section's own options are wanted, without those of [DEFAULT] mixed in.
    defaults = dict(parser.defaults())
    cast(dict[str, str], parser.defaults()).clear()
    sections = {DEFAULT: defaults} if defaults else {}
    sections |= {name: dict(parser.items(name, raw=True)) for name in parser.sections()}
    return {
        name: {str(key): _value(key, text, path) for key, text in options.items()}
        for name, options in sections.items()
    }


def _value(key: str, text: str | None, path: str) -> Value:
    return Value(text or "", Where(path, key.line if isinstance(key, _Key) else 0))


def _in_our_words(error: configparser.Error, text: str, path: str) -> ConfigError:
    match error:
        case configparser.DuplicateOptionError():
            problem = f"[{error.section}] {error.option}: the option is there already"
            hint = "Within one file an option may stand only once; take one of the two away."
            return ConfigError(problem, Where(path, error.lineno or 0), hint)
        case configparser.DuplicateSectionError():
            problem = f"[{error.section}]: the section is there already"
            hint = "Within one file a section may stand only once; put the two together."
            return ConfigError(problem, Where(path, error.lineno or 0), hint)
        case configparser.MissingSectionHeaderError():
            problem = f"{error.line.strip()!r} stands before the first section"
            hint = "A section begins with its name in brackets, such as [DEFAULT]."
            return ConfigError(problem, Where(path, error.lineno), hint)
        case configparser.ParsingError():
            first = error.errors[0][0]
            line = io.StringIO(text, newline=None).readlines()[first - 1].strip()
            more = ", ".join(str(number) for number, _ in error.errors[1:])
            problem = f"{line!r} is neither a [section] nor an option = value"
            hint = "Lines that continue a value must be indented."
            if more:
                hint += f"  The same holds for line {more}."
            return ConfigError(problem, Where(path, first), hint)
    return ConfigError(str(error), Where(path))
