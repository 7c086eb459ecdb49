# SPDX-License-Identifier: GPL-2.0-or-later
"""The errors that speak to a person, sorted by whose fault it is.

What an attacker writes into a log is never an error, and a program that fails is a `Result`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Where:
    """A place in a file; `line` counts from 1, 0 means the file as a whole."""

    path: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" if self.line else self.path


class Fail2banError(Exception):
    """Whatever this program refuses, with a text for the person who can mend it."""


class ConfigError(Fail2banError):
    """Something in a configuration file is wrong.

    `problem` says what, `where` in which file and line, `hint` what would be right.
    """

    def __init__(self, problem: str, where: Where | None = None, hint: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        hint = f"\n  {self.hint}" if self.hint else ""
        return f"{place}{self.problem}{hint}"


class CommandError(Fail2banError):
    """A command that cannot be carried out as it was given."""


class ProtocolError(Fail2banError):
    """The other side of the socket sent what is no message."""


class UnknownJailError(Fail2banError):
    """No jail has this name.  On the wire: `fail2ban.exceptions.UnknownJailException(name)`."""


class DuplicateJailError(Fail2banError):
    """A jail has this name already.  On the wire: `DuplicateJailException(name)`."""


class RegexError(Fail2banError):
    """A regular expression that cannot be used.  On the wire: `RegexException(text)`."""
