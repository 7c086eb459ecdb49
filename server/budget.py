# SPDX-License-Identifier: GPL-2.0-or-later
"""A regex that is tried here only on texts for which that is cheap, and on others elsewhere.

Python's matcher cannot be interrupted and holds up all threads.  So what `ambiguity` does not know to
be cheap is asked of a `Keeper`, who can end it; a regex that takes too long is set aside for such texts.
Knows no process and no clock.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from server.ambiguity import LONGEST, minds_line_feeds, reach_of

# Seconds that a regex may take for one text.
BUDGET = 0.5
# What takes longer than this is dear, and of that there may be so much at once; time pays it back.
DEAR = 0.05
MOST_DEBT = 5.0
PAID_BACK = 0.05  # seconds in a second

_END = 1 << 31
_NOT_KNOWN = -1
_SHOWN = 160  # characters of a text that went wrong

Match = re.Match[str]
Try = Callable[[str], "Match | None"]


class OverBudget(Exception):
    """The regex took longer than `BUDGET`, or more memory than there is for it."""


class Unanswered(Exception):
    """Nobody could try the regex; that is nothing against it."""


class Answer(NamedTuple):
    """What came of a regex and a text, the processor's seconds that it took, and when that was."""

    found: Match | None
    seconds: float
    when: float


@dataclass(frozen=True, slots=True)
class Keeper:
    """Who tries a regex where that may take long, and who is told of one that is set aside.

    `ask(regex, way, text, pos, endpos)`, `way` being "match" or "search", raises OverBudget or
    Unanswered.  `name` is how the regex is called.
    """

    ask: Callable[[re.Pattern[str], str, str, int, int], Answer]
    tell: Callable[[str], None]
    name: str


def named(option: str, number: int, origins: Mapping[str, str]) -> str:
    """How a regex is called: its option, its number if it has one, and where that option is written."""
    name = f"{option} {number}" if number else option
    return f"{name} ({origins[option]})" if option in origins else name


class Watched:
    """A compiled regex with the methods `match` and `search`, as cheap as those or not done here.

    Where `is_tied` says so, which is asked when the first line comes, only `match` is ever asked for.
    Without a `keeper` everything is done here.  `problem` says why and for what the regex is set aside.
    """

    __slots__ = ("regex", "keeper", "problem", "_is_tied", "_reach", "_calm", "_debt", "_owed_at")

    def __init__(self, regex: re.Pattern[str], is_tied: Callable[[], bool]) -> None:
        self.regex = regex
        self.keeper: Keeper | None = None
        self.problem = ""
        self._is_tied = is_tied
        self._reach = self._calm = _NOT_KNOWN
        self._debt = 0.0
        self._owed_at = 0.0

    @property
    def is_harmless(self) -> bool:
        """Whether it is known that no text can take long."""
        self._look()
        return self._reach >= LONGEST

    @property
    def reach(self) -> int:
        """Lines of so many characters are cheap."""
        self._look()
        return self._calm

    @property
    def short(self) -> int:
        """Texts of so many characters are cheap even if they are several lines."""
        self._look()
        if self._reach == _NOT_KNOWN:
            self._reach = reach_of(self.regex, self._is_tied(), is_calm=False)
        return self._reach

    def match(self, text: str, pos: int = 0, endpos: int = _END) -> Match | None:
        if len(text) <= self._reach:
            return self.regex.match(text, pos, endpos)
        return self._careful("match", text, pos, endpos)

    def search(self, text: str, pos: int = 0, endpos: int = _END) -> Match | None:
        if len(text) <= self._reach:
            return self.regex.search(text, pos, endpos)
        return self._careful("search", text, pos, endpos)

    def _look(self) -> None:
        if self._calm == _NOT_KNOWN:
            self._calm = reach_of(self.regex, self._is_tied(), is_calm=True)
            # How it does with several lines is asked for when there are some: hardly ever.
            if not minds_line_feeds(self.regex):
                self._reach = self._calm

    def _careful(self, way: str, text: str, pos: int, endpos: int) -> Match | None:
        self._look()
        size = min(endpos, len(text)) - pos
        keeper = self.keeper
        is_cheap = size <= (self.short if "\n" in text else self._calm)
        if is_cheap or keeper is None:
            attempt = self.regex.match if way == "match" else self.regex.search
            return attempt(text, pos, endpos)
        if self.problem:
            return None
        try:
            answer = keeper.ask(self.regex, way, text, pos, endpos)
        except Unanswered:
            return None
        except OverBudget:
            self._set_aside(f"takes more than {BUDGET:g} s for one line", keeper, text)
            return None
        if answer.seconds > DEAR:
            paid = (answer.when - self._owed_at) * PAID_BACK
            self._debt = max(0.0, self._debt - paid) + answer.seconds
            self._owed_at = answer.when
            if self._debt > MOST_DEBT:
                self._set_aside(
                    f"takes {answer.seconds:.2f} s for lines, again and again", keeper, text
                )
        return answer.found

    def _set_aside(self, why: str, keeper: Keeper, text: str) -> None:
        reach = self.short if "\n" in text else self._calm
        self.problem = (
            f"{keeper.name} {why}, and is set aside for lines of more than {reach} characters "
            f"until it is changed or the jail is restarted: {_shown(self.regex.pattern)}, "
            f"on {_shown(text)}"
        )
        keeper.tell(self.problem)


class Bounded:
    """A regex that looks no further into a text than is cheap, for what stands near its beginning."""

    __slots__ = ("_regex", "_reach")

    def __init__(self, regex: re.Pattern[str]) -> None:
        self._regex = regex
        self._reach = reach_of(regex, is_tied=False, is_calm=False)

    @property
    def is_harmless(self) -> bool:
        return self._reach >= LONGEST

    def match(self, text: str, pos: int = 0, endpos: int = _END) -> Match | None:
        return self._regex.match(text, pos, min(endpos, pos + self._reach))

    def search(self, text: str, pos: int = 0, endpos: int = _END) -> Match | None:
        return self._regex.search(text, pos, min(endpos, pos + self._reach))


def _shown(text: str) -> str:
    """The beginning of `text`, printable."""
    return ascii(text[:_SHOWN]) + ("…" if len(text) > _SHOWN else "")


class Found:
    """What `re.Match` would be, made of where the groups of a match stand.

    Has what the filter asks of a match; `spans` begins with the whole.
    """

    __slots__ = ("re", "string", "_spans")

    def __init__(
        self, regex: re.Pattern[str], text: str, spans: tuple[tuple[int, int], ...]
    ) -> None:
        self.re = regex
        self.string = text
        self._spans = spans

    def span(self, group: int | str = 0) -> tuple[int, int]:
        return self._spans[self._number(group)]

    def start(self, group: int | str = 0) -> int:
        return self.span(group)[0]

    def end(self, group: int | str = 0) -> int:
        return self.span(group)[1]

    def __getitem__(self, group: int | str) -> str | None:
        start, end = self.span(group)
        return None if start < 0 else self.string[start:end]

    def group(self, *groups: int | str) -> Any:
        found = tuple(self[group] for group in groups or (0,))
        return found[0] if len(found) == 1 else found

    def groups(self, default: str | None = None) -> tuple[str | None, ...]:
        every = (self[number] for number in range(1, len(self._spans)))
        return tuple(default if text is None else text for text in every)

    def groupdict(self, default: str | None = None) -> dict[str, str | None]:
        names: Mapping[str, int] = self.re.groupindex
        return {
            name: default if (text := self[number]) is None else text
            for name, number in names.items()
        }

    def _number(self, group: int | str) -> int:
        number = self.re.groupindex[group] if isinstance(group, str) else group
        if not 0 <= number < len(self._spans):
            raise IndexError("no such group")
        return number


def found(
    regex: re.Pattern[str], text: str, spans: tuple[tuple[int, int], ...] | None
) -> Match | None:
    """A match of `regex` in `text` with its groups at `spans`; None without any."""
    return None if spans is None else cast("Match", Found(regex, text, spans))
