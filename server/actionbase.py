# SPDX-License-Identifier: GPL-2.0-or-later
"""What an action in Python is made of: the class that it inherits, and what it is told of a ban.

Code of other people's stands upon these names; they import them from `fail2ban.server.action`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class JailName:
    """The jail that an action belongs to, as far as it may know it."""

    name: str

    def __str__(self) -> str:
        return self.name


class ActionBase:
    """An action in Python: a class `Action` that inherits this, in a file of `action.d`.

    It is made as `Action(jail, name, **arguments)`; all of its methods are called by one thread, one
    after the other.  A method that raises an exception has failed, whatever it returns otherwise.
    `norestored = True` says that bans of an earlier run of the server are none of its business.
    """

    norestored = False

    def __init__(self, jail: Any, name: str) -> None:
        self._jail = jail
        self._name = name
        self._logSys = logging.getLogger("fail2ban.action")

    def start(self) -> None:
        """The jail starts."""

    def stop(self) -> None:
        """The jail ends; the bans are lifted by now."""

    def ban(self, aInfo: Mapping[str, Any]) -> None:
        """Shut `aInfo["ip"]` out."""

    def reban(self, aInfo: Mapping[str, Any]) -> None:
        """Shut it out again, as what there was has been lost."""
        self.ban(aInfo)

    def prolong(self, aInfo: Mapping[str, Any]) -> None:
        """A ban lasts longer than was said."""

    def unban(self, aInfo: Mapping[str, Any]) -> None:
        """Let `aInfo["ip"]` in again."""

    def flush(self) -> Any:
        """Lift all bans at once; False where this cannot be done, so that each is lifted by itself."""
        return False

    def reload(self, **arguments: Any) -> Any:
        """Go on with other arguments; False where this cannot be done, so that it is made anew."""
        return False

    def consistencyCheck(self) -> Any:
        """Whether what was started still stands; with False it is started, and every ban made, again."""
        return True


class CallingMap(MutableMapping[str, Any]):
    """Values by name; what is a function is called when it is asked for.

    Actions that were written for earlier releases fill in their texts with it.
    """

    def __init__(self, *values: Any, **more: Any) -> None:
        self.data: dict[str, Any] = dict(*values, **more)

    def __getitem__(self, name: str) -> Any:
        value = self.data[name]
        return value() if callable(value) else value

    def __setitem__(self, name: str, value: Any) -> None:
        self.data[name] = value

    def __delitem__(self, name: str) -> None:
        del self.data[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)


class BanInfo(MutableMapping[str, Any]):
    """The values of a ban by name, each worked out when it is first asked for.

    Numbers are numbers.  What an action puts in stays in for as long as that method runs.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self._known: dict[str, Any] = {}
        self._gone: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        if name not in self._known:
            if name in self._gone:
                raise KeyError(name)
            text = self._values[name]
            self._known[name] = _KINDS.get(name, str)(text)
        return self._known[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._known[name] = value
        self._gone.discard(name)

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        self._known.pop(name, None)
        self._gone.add(name)

    def __contains__(self, name: object) -> bool:
        return name in self._known or (name not in self._gone and name in self._values)

    def __iter__(self) -> Iterator[str]:
        names = dict.fromkeys((*self._values, *self._known))
        return (name for name in names if name not in self._gone)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def copy(self) -> dict[str, Any]:
        """All of them, worked out."""
        return dict(self)


_KINDS: Mapping[str, Callable[[str], Any]] = {
    **dict.fromkeys(("failures", "ipfailures", "ipjailfailures", "bancount", "bantime"), int),
    "time": float,
    "restored": lambda text: text == "1",
}
