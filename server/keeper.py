# SPDX-License-Identifier: GPL-2.0-or-later
"""What the commands of an action need to be run at all: it is started, ready, repaired; for one or many.

Knows which bans are held, since what is built anew is to have them; who comes to be banned others say.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

from common import units
from common.errors import CommandError
from server.action import FAMILIES, Action, ending, hint
from server.ledger import Held, Ledger
from server.records import Ban, Result, ShellCommand
from server.steps import Asking, Clocks, Note, Steps

MOST_FAILURES = 50  # commands that may fail one after the other before the rest is not tried
_INTERVAL = 60.0  # seconds between two looks at what is enforced


class Keeper:
    """An action that is kept ready.  A *place* is a family it was started for, or None if all are one.

    `problem` is what went wrong last and has not gone well since; `due` when to look again.
    """

    def __init__(self, action: Action, clocks: Clocks | None = None) -> None:
        self.action = action
        self.conf = action.conf
        self.problem = ""
        self.due = math.inf
        self._ticks = clocks.ticks if clocks else lambda: 0.0
        self._interval = _interval(action.conf.properties.get("actionlist_interval"))
        self._started: set[str | None] = set()
        self._seen: dict[str, bool] = {}  # whether all was well with a family, in this turn
        self._ledger = Ledger()
        # Of looking: families not looked at since their start, what was seen, how long it took.
        self._fresh: set[str] = set()
        self._figures: dict[str, tuple[int, int]] = {}
        self._strangers: dict[str, int] = {}
        self._cost = 0.0

    def _guarded(self, steps: Steps) -> Steps:
        """A property that cannot be rendered is this action's problem, and no other's."""
        try:
            yield from steps
        except CommandError as error:
            yield self._failed(f"action {self.action.name}: {error}")

    @property
    def _may_look(self) -> bool:
        return self._interval > 0 and bool(self._started) and self.action.has("actionlist")

    # -- starting and stopping

    def _start_early(self) -> Steps:
        if not self.action.starts_on_demand:
            for place in self._places("actionstart"):
                yield from self._start(place)

    def _places(self, key: str) -> tuple[str | None, ...]:
        return FAMILIES if self.action.is_per_family(key) else (None,)

    def _place(self, family: str) -> str | None:
        return family if self.action.is_per_family("actionstart") else None

    def _start(self, place: str | None) -> Asking[bool]:
        """Start for `place` and make the bans there that are held; false where it fails."""
        command = self.action.start(place)
        if command is not None:
            result = yield from ran(command)
            if not result.is_success and not (yield from self._start_anew(place, result)):
                return False
        self._started.add(place)
        self._fresh.update(FAMILIES if place is None else (place,))
        self.problem = ""
        yield from self._ban_again(place)
        return True

    def _start_anew(self, place: str | None, result: Result) -> Asking[bool]:
        """A start that failed: perhaps an earlier run, ended by force, has left its things behind."""
        if is_hopeless(result):
            yield self._fault("actionstart", result)
            return False
        check = self.action.check(place)
        if check is not None and (yield from ran(check)).is_success:
            yield Note(logging.WARNING, f"action {self.action.name}: was started already")
            return True
        stop, start = self.action.stop(place), self.action.start(place)
        assert start is not None
        if stop is not None:
            yield from ran(stop)
        again = yield from ran(start)
        if not again.is_success:
            yield self._fault("actionstart", result)
        return again.is_success

    def _stop(self) -> Steps:
        """Stop what was started, also where only one of the commands differs by family."""
        started, self._started = self._started, set()
        for place in self._places("actionstop") if started else ():
            if place is None or place in started or None in started:
                stop = self.action.stop(place)
                result = (yield from ran(stop)) if stop is not None else None
                if result is not None and not result.is_success:
                    yield self._fault("actionstop", result)

    # -- being ready

    def _ready(self, family: str) -> Asking[bool]:
        """Start it if need be, and see, once a turn, that it is still there."""
        if family not in self._seen:
            self._seen[family] = yield from self._stands(family)
        return self._seen[family]

    def _stands(self, family: str) -> Asking[bool]:
        place = self._place(family)
        if place not in self._started:
            return (yield from self._start(place))
        check = self.action.check(family)
        result = (yield from ran(check)) if check is not None else None
        if result is None or result.is_success:
            return True
        return (yield from self._repair(family, "actioncheck", result))

    def _repair(self, family: str, key: str, found: Result) -> Asking[bool]:
        """Build again what the command `key` has `found` missing, with all bans that were in it."""
        name, place = self.action.name, self._place(family)
        yield Note(logging.WARNING, f"action {name}: {key} failed ({ending(found)}); repairing")
        repair = self.action.repair(place)
        if repair is not None:
            result = yield from ran(repair)
            if not result.is_success:
                self._started.discard(place)
                yield self._fault("actionrepair", result)
                return False
            yield from self._ban_again(place)
        else:
            self._started.discard(place)
            stop = self.action.stop(place)
            if stop is not None:
                yield from ran(stop)  # parts may be missing: no matter how it ends
            if not (yield from self._start(place)):
                return False
        check = self.action.check(family)
        after = (yield from ran(check)) if check is not None else None
        if after is not None and not after.is_success:
            self._started.discard(place)
            yield self._fault("actioncheck", after, "after a repair")
            return False
        yield Note(logging.WARNING, f"action {name}: repaired, {len(self._ledger)} bans made again")
        return True

    def _ban_again(self, place: str | None) -> Steps:
        """Make the bans again that were lost."""
        members = [one for one in self._ledger if self._place(one.family) == place]
        yield from self._make_again(members)

    def _make_again(self, members: Sequence[Held]) -> Steps:
        """Make `members` again; what fails is told once."""
        done, _ = yield from self._at_once("actionban_many", members)
        failed: list[Result] = []
        rest = [one for one in members if one.ban.host not in done]
        for one in rest:
            if len(failed) >= MOST_FAILURES:
                break
            command = self.action.reban(one.ban, one.restored)
            result = (yield from ran(command)) if command is not None else None
            if result is not None and not result.is_success:
                failed.append(result)
            else:
                self._hold(one)
        if failed:
            text = f"for {len(failed)} of {len(members)} bans made again"
            yield self._fault("actionban", failed[0], text)

    # -- many at once

    def _at_once(self, key: str, members: Sequence[Held]) -> Asking[tuple[set[str], bool]]:
        """Do `key` for many, where the action can: the hosts that it is done for, and if some failed."""
        done: set[str] = set()
        tries = [0]
        for family in FAMILIES:
            some = {one.ban.host: one for one in members if one.family == family}
            if len(some) < 2:
                continue
            bans, ips = [m.ban for m in some.values()], [m.ip for m in some.values()]
            for portion, command in self.action.for_many(key, bans, ips):
                well = yield from self._portion(key, portion, command, tries)
                done.update(ban.host for ban in well)
                if key != "actionunban_many":
                    self._hold_all([some[ban.host] for ban in well])
        if done:
            self.problem = ""
        return done, tries[0] > 0

    def _portion(
        self, key: str, portion: Sequence[Ban], command: ShellCommand, tries: list[int]
    ) -> Asking[list[Ban]]:
        """Those of `portion` that `command` was carried out for: halved, for what fails, again and again."""
        result = yield from ran(command)
        if result.is_success:
            return list(portion)
        tries[0] += 1
        if len(portion) < 4 or tries[0] > MOST_FAILURES or is_hopeless(result):
            return []  # one by one it will show what is wrong
        done: list[Ban] = []
        middle = len(portion) // 2
        for half in (portion[:middle], portion[middle:]):
            for part, again in self.action.for_many(key, half):
                done += yield from self._portion(key, part, again, tries)
        return done

    def _hold(self, one: Held) -> None:
        """Note that `one` is enforced from now on."""
        self._hold_all([one])

    def _hold_all(self, some: Sequence[Held]) -> None:
        now, left = self._ticks(), self.action.remainders([one.ban for one in some])
        self._ledger.put_all(
            [
                Held(one.ban, one.restored, one.ip, one.family, now + n if n else math.inf)
                for one, n in zip(some, left, strict=True)
            ]
        )

    # -- telling

    def _fault(self, key: str, result: Result, about: str = "") -> Note:
        what = f"{key} {about}".strip()
        text = f"action {self.action.name}: {what} failed ({ending(result)})"
        return self._failed(f"{text} {hint(result)}".strip())

    def _failed(self, text: str) -> Note:
        self.problem = text
        return Note(logging.ERROR, text)


def _interval(given: object) -> float:
    try:
        return _INTERVAL if given is None else float(units.seconds(str(given)))
    except ValueError:
        return _INTERVAL


def ran(command: ShellCommand) -> Asking[Result]:
    result = yield command
    assert isinstance(result, Result)
    return result


def is_hopeless(result: Result) -> bool:
    """What is not there, may not run or hangs will do so again."""
    return result.is_timeout or result.status in (126, 127)
