# SPDX-License-Identifier: GPL-2.0-or-later
"""Several lines that belong together, as those of one connection to sshd: who failed in the end?

One line may tell the address, another the failure; a line that looks bad alone may be followed by a
login.  Lines are kept together by an id that each of them carries (`<F-MLFID>`).  Pure; bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from types import MappingProxyType
from typing import Any, NamedTuple

from server.pattern import Id

# Open conversations; the one silent for longest goes first.  An attacker can open as many as he
# likes, and what is lost is but the evidence of the one.
MOST_OPEN = 1000
_ROOM = 32  # room is made for so large a part of them at once
# Lines and users that one conversation keeps, and how much of each text: 30 MB for all of them.
MOST_LINES = 20
MOST_USERS = 10
LONGEST_TEXT = 1024
# After so many seconds an id is somebody else's: process numbers come round.
LONGEST_SILENCE = 600.0


_NO_FIELDS: Mapping[str, str] = MappingProxyType({})


class Said(NamedTuple):
    """A line of a conversation, as its failregex understood it.

    `is_helper` (`<F-NOFAIL>`): no failure in itself.  `is_gain` (`<F-MLFGAINED>`): it was let in.
    `is_end` (`<F-MLFFORGET>`): nothing more will come.
    """

    lines: tuple[str, ...]
    id: Id | None = None
    fields: Mapping[str, str] = _NO_FIELDS
    is_helper: bool = False
    is_gain: bool = False
    is_end: bool = False

    @property
    def user(self) -> str:
        return self.fields.get("user") or ""


class Told(NamedTuple):
    """A failure, with all that the conversation knows of it."""

    id: Id
    lines: tuple[str, ...]
    fields: Mapping[str, str | tuple[str, ...]] | Mapping[str, str]


class _Conversation:
    """What is known so far.

    `has_tried`: some line names a user and neither lets it in nor says farewell.  `held` are lines that count only if a failure follows; with `is_waiting` there has been one, but
    nobody to blame for it yet.
    """

    __slots__ = ("last", "id", "fields", "users", "has_tried", "held", "is_waiting")

    def __init__(self, last: float) -> None:
        self.last = last
        self.id: Id | None = None
        self.fields: dict[str, str] = {}
        self.users: tuple[str, ...] = ()
        self.has_tried = False
        self.held: tuple[str, ...] = ()
        self.is_waiting = False

    def learn(self, said: Said, when: float) -> None:
        self.last = when
        self.id = said.id or self.id
        for name, value in said.fields.items():
            self.fields[name] = value[:LONGEST_TEXT]
        user = said.user[:LONGEST_TEXT]
        self.has_tried = self.has_tried or bool(user and not said.is_gain and not said.is_end)
        if user and user not in self.users and len(self.users) < MOST_USERS:
            self.users += (user,)

    def hold(self, lines: tuple[str, ...]) -> None:
        self.held = (*self.held, *map(_cut, lines))[-MOST_LINES:]

    def settle(self) -> tuple[str, ...]:
        """What was held; nothing waits any longer."""
        held, self.held, self.is_waiting = self.held, (), False
        return held


# A conversation of which there is but one line: when that was, how to read it if more is said, and what
# that is told.  Most have no second one that matters, and to make nothing of them takes a quarter of the
# time.
_Once = tuple[Any, ...]


class Conversations:
    """All that are open, by id; `is_open(id)` tells of one."""

    def __init__(self, most_open: int = MOST_OPEN) -> None:
        self._open: dict[str, _Conversation | _Once] = {}
        self._most_open = most_open
        self.is_open: Callable[[str], bool] = self._open.__contains__
        # Begin a conversation by the first of its lines, not its last, of which all is known that it
        # tells by itself.  Not more are open than may be after `trim`.
        self.begin: Callable[[str, _Once], None] = self._open.__setitem__

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[str]:
        return iter(self._open)

    def trim(self) -> None:
        """Forget those that have been silent for longest, if more are open than may be."""
        over = len(self._open) - self._most_open
        if over <= 0:
            return
        # Some more are let go of than need be: who stands in front is not found at once.
        room = self._most_open // _ROOM
        if over > self._most_open:  # to put back who stays is quicker
            left = list(islice(reversed(self._open.items()), self._most_open - room))
            self._open.clear()
            self._open.update(reversed(left))
        else:
            for key in list(islice(self._open, over + room)):
                del self._open[key]

    def hear(self, key: str, said: Said, when: float) -> Told | None:
        """Take in a line of the conversation `key`; return the failure that it makes known."""
        talk = self._talk(key, said, when)
        talk.learn(said, when)
        told = self._judged(talk, said)
        if said.is_end:
            del self._open[key]
        return told

    def _talk(self, key: str, said: Said, when: float) -> _Conversation:
        talk = self._open.get(key)
        if isinstance(talk, tuple):
            began, say, *line = talk
            first: Said = say(*line)
            talk = self._open[key] = _Conversation(began)
            talk.learn(first, began)
            self._judged(talk, first)
        if talk is None or when - talk.last > LONGEST_SILENCE or _is_another(talk.id, said.id):
            talk = self._open[key] = _Conversation(when)
        self._open[key] = self._open.pop(key)
        self.trim()
        return talk

    def _judged(self, talk: _Conversation, said: Said) -> Told | None:
        # One who tries a second user in the same connection is guessing: then nothing excuses.
        # The line of farewell names the user once more, and is no try; and where there is nothing but
        # users who were let in, the number of a process came round.
        is_guessing = (
            len(talk.users) > 1
            and talk.has_tried
            and said.user
            and (said.is_gain or not said.is_end)
        )
        if said.is_gain and not is_guessing:
            talk.settle()
            return None
        is_hint = said.is_helper and not said.is_gain and not talk.is_waiting and not is_guessing
        if is_hint or talk.id is None:
            talk.is_waiting = talk.is_waiting or not is_hint
            talk.hold(said.lines)
            return None
        fields: dict[str, str | tuple[str, ...]] = {**talk.fields, **said.fields}
        if len(talk.users) > 1:
            fields["users"] = talk.users
        return Told(talk.id, talk.settle() + said.lines, fields)


def _cut(text: str) -> str:
    return text[:LONGEST_TEXT]


def _is_another(known: Id | None, given: Id | None) -> bool:
    """Whether two ids of one conversation are two hosts: a name may be the other's address."""
    if known is None or given is None or known.is_name or given.is_name:
        return False
    return known != given
