# SPDX-License-Identifier: GPL-2.0-or-later
"""Orders become commands, in order, for some actions, one after the other; and one set becomes another.

Sans-IO: a method yields the commands that should run and is sent how each ended.  Runs nothing itself,
and knows no queue and no thread.  How one action works stands in runner and caller.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from common.options import ActionConf
from server.action import Action, Facts, no_facts
from server.caller import Caller
from server.records import Ban, Enforce, Lift, Order
from server.runner import Runner
from server.singles import orders_for
from server.steps import Clocks, Note, Steps

__all__ = ["Enforcer", "Note", "Steps"]


class Enforcer:
    """Actions of one jail: what is started, and what is enforced.

    Without `clocks` no tool is told when a ban ends: each is lifted by a command.
    """

    def __init__(
        self,
        jail: str,
        actions: tuple[ActionConf, ...],
        facts: Facts = no_facts,
        clocks: Clocks | None = None,
    ) -> None:
        self._jail = jail
        self._facts = facts
        self._clocks = clocks
        self._running = tuple(self._runner(conf) for conf in actions)

    @property
    def problems(self) -> tuple[str, ...]:
        """What went wrong last with each action and has not gone well since."""
        return tuple(runner.problem for runner in self._running if runner.problem)

    @property
    def due(self) -> float:
        """When to `look` next."""
        return min((one.due for one in self._running if isinstance(one, Runner)), default=math.inf)

    @property
    def watched(self) -> frozenset[str]:
        """What in the kernel is a reason to look at once."""
        every = [one.watched for one in self._running if isinstance(one, Runner)]
        return frozenset().union(*every)

    @property
    def rest(self) -> float:
        """How many seconds should be between two looks at least."""
        return max((one.rest for one in self._running if isinstance(one, Runner)), default=0.0)

    @property
    def enforced(self) -> dict[str, tuple[int, int]]:
        """Of the actions that can tell: how many bans are enforced, and how many should be."""
        return {
            one.conf.name: one.enforced
            for one in self._running
            if isinstance(one, Runner) and one.enforced is not None
        }

    def look(self) -> Steps:
        """See that what should be enforced is, and mend what is not."""
        for runner in self._running:
            if isinstance(runner, Runner):
                yield from runner.look()

    def adjust(self, bans: Sequence[Ban]) -> Steps:
        """The time of day was set; `bans` say when each ends by now."""
        by_host: Mapping[str, Ban] = {ban.host: ban for ban in bans}
        for runner in self._running:
            if isinstance(runner, Runner):
                yield from runner.adjust(by_host)

    def start(self) -> Steps:
        """Start the actions, but for those that wait for a first ban."""
        for runner in self._running:
            yield from runner.start()

    def carry_out(self, orders: Sequence[Order]) -> Steps:
        """Carry out all that waits.  Each action gets its orders in order, one action after the other."""
        for runner in self._running:
            yield from runner.carry_out(orders_for(runner.conf, orders))

    def foresee(self, ends: Mapping[str, float]) -> Steps:
        """Shut out, until when they say, hosts that will be ordered to be soon."""
        for runner in self._running:
            if isinstance(runner, Runner):
                yield from runner.foresee(ends)

    def clear_away(self, lifts: Sequence[Lift]) -> Steps:
        """Lift what an earlier run, ended by force, may have left, as `lifts` say."""
        for runner in self._running:
            left = [order.ban for order in orders_for(runner.conf, lifts)]
            yield from runner.clear_away(left)

    def stop(self) -> Steps:
        """Take back all bans and stop the actions."""
        for runner in reversed(self._running):
            yield from runner.stop()

    def change(self, actions: tuple[ActionConf, ...], bans: Sequence[Ban]) -> Steps:
        """Have `actions` instead; what stays the same is not touched, what is new gets all `bans`."""
        before = {runner.conf.name: runner for runner in self._running}
        wanted = {conf.name for conf in actions}
        after: list[Runner | Caller] = []
        for conf in actions:
            old = before.get(conf.name)
            if old is not None and old.conf == conf:
                after.append(old)
                continue
            runner = self._runner(conf)
            after.append(runner)
            if old is None:
                yield from runner.start()
                again = [Enforce(ban, restored=True) for ban in bans]
                yield from runner.carry_out(orders_for(conf, again))
            else:
                yield from self._replace(old, runner, bans)
        # New walls stand before old ones fall.
        for runner in self._running:
            if runner.conf.name not in wanted:
                yield from runner.stop()
        self._running = tuple(after)

    def _replace(self, old: Runner | Caller, new: Runner | Caller, bans: Sequence[Ban]) -> Steps:
        match old, new:
            case (Runner(), Runner()) | (Caller(), Caller()):
                yield from new.take_over(old)  # type: ignore[arg-type]
            case _:
                yield from old.stop()
                yield from new.start()
                again = [Enforce(ban, restored=True) for ban in bans]
                yield from new.carry_out(orders_for(new.conf, again))

    def _runner(self, conf: ActionConf) -> Runner | Caller:
        if conf.module is not None:
            return Caller(conf, self._facts)
        clock = self._clocks.now if self._clocks else None
        return Runner(Action(self._jail, conf, self._facts, clock), self._clocks)
