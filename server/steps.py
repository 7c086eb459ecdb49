# SPDX-License-Identifier: GPL-2.0-or-later
"""What an enforcer asks for, step by step: a command, a call of an action in Python, a line in the log.

Whoever carries the steps out sends back how each ended.  Nothing is done here.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, MutableMapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from common.options import ActionConf
from server.records import Result, ShellCommand

T = TypeVar("T")


class Clocks(NamedTuple):
    """What time it is: `now` the time of day, by which bans end, and `ticks`, which nobody sets.

    The latter counts as kernels count timeouts: not while the machine sleeps.
    """

    now: Callable[[], float]
    ticks: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Note:
    """Something for the log, without the jail's name; `level` is one of the logging module's."""

    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """Call `method` of the action in Python that `action` describes, which is made if need be.

    `about` is what a method for one ban is given: its values by name.
    """

    action: ActionConf
    method: str
    about: MutableMapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Returned:
    """How a `Call` ended: with a `value`, or with a `problem`, the exception in one line."""

    value: Any = None
    problem: str = ""


Step = ShellCommand | Note | Call
Asking = Generator[Step, Result | Returned | None, T]  # steps that lead to an answer
Steps = Asking[None]
