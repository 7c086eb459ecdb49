# SPDX-License-Identifier: GPL-2.0-or-later
"""Who answers which command: a table that fills itself where the answers stand.

Knows none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from common.commands import Given

if TYPE_CHECKING:
    from server.server import Server

Answer = Callable[["Server", Given, Sequence[Any]], Any]

# By the usage of the command.
HANDLERS: dict[str, Answer] = {}


def handles(*usages: str) -> Callable[[Answer], Answer]:
    """The decorated function answers the commands of these usages."""

    def register(answer: Answer) -> Answer:
        for usage in usages:
            HANDLERS[usage] = answer
        return answer

    return register
