# SPDX-License-Identifier: GPL-2.0-or-later
"""The threads of a jail that act: each action goes its own way, and runs what its enforcer asks for.

It decides nothing, and nobody waits for it but who asks it to end.  What hangs delays no other action.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from typing import Any, TypeVar

from common.errors import CommandError
from common.options import ActionConf
from server.action import Facts, no_facts
from server.enforcer import Enforcer
from server.ledger import folded
from server.patrol import Patrol
from server.plugins import Plugin, Plugins, guarded
from server.records import Ban, Enforce, Lift, Order, Result, ShellCommand
from server.steps import Call, Clocks, Note, Steps

log = logging.getLogger("fail2ban.actions")

T = TypeVar("T")
Task = Callable[[Enforcer], Steps]

LINGER = 5.0  # seconds that a thread stays for more to do
MOST_WAITING = 20_000  # orders; beyond that only what they come to is kept, for each host
_PATIENCE = 60.0  # seconds that an old action stands while a new one takes its place


class Actor:
    """Runs the actions of one jail: each in order, none waiting for another."""

    def __init__(
        self,
        jail: str,
        actions: tuple[ActionConf, ...],
        run: Callable[[ShellCommand], Result],
        facts: Facts = no_facts,
        clocks: Clocks | None = None,
        patrol: Patrol | None = None,
    ) -> None:
        self._jail = jail
        self._run = run
        self._facts = facts
        self._clocks = clocks
        self._patrol = patrol
        self._lanes: dict[str, Lane] = {conf.name: self._lane(conf) for conf in actions}
        self._former: list[Lane] = []  # actions that were taken away, and may still be ending

    def start(self) -> None:
        """Have the actions started, but for those that wait for a first ban."""
        for lane in self._lanes.values():
            lane.do(lambda enforcer: enforcer.start())

    def carry_out(self, orders: Sequence[Order]) -> None:
        """Have `orders` carried out; returns at once."""
        for lane in self._lanes.values() if orders else ():
            lane.carry_out(orders)

    def foresee(self, ends: Mapping[str, float]) -> None:
        """Have hosts shut out that will be ordered to be soon, as far as an action can; and until when.

        With the next call that is over: who was ordered by then stays, all others are let in again.
        """
        for lane in self._lanes.values():
            lane.do(lambda enforcer: enforcer.foresee(ends))

    def clear_away(self, lifts: Sequence[Lift]) -> None:
        """Have that lifted which an earlier run, ended by force, may have left, as `lifts` say."""
        if lifts:
            for lane in self._lanes.values():
                lane.do(lambda enforcer: enforcer.clear_away(lifts))

    def change(self, actions: tuple[ActionConf, ...], bans: Sequence[Ban]) -> None:
        """Have `actions` instead; what stays the same is not touched, what is new gets all `bans`."""
        after: dict[str, Lane] = {}
        begun: list[Future[None]] = []
        for conf in actions:
            lane = self._lanes.pop(conf.name, None)
            if lane is None:
                lane = self._lane(conf)
                lane.do(lambda enforcer: enforcer.start())
                lane.carry_out([Enforce(ban, restored=True) for ban in bans])
                begun.append(lane.do(lambda enforcer: _nothing()))
            else:
                begun.append(lane.change(conf, bans))
            after[conf.name] = lane
        # New walls stand before old ones fall.
        self._former = [lane for lane in self._former if not lane.has_ended]
        for lane in self._lanes.values():
            lane.do(lambda enforcer: _after(begun, enforcer.stop()))
            lane.end()
            self._former.append(lane)
        self._lanes = after

    def adjust(self, bans: Sequence[Ban]) -> None:
        """The time of day was set: have all that counts time by itself told when `bans` end."""
        for lane in self._lanes.values():
            lane.do(lambda enforcer: enforcer.adjust(bans))

    def use(self, conf: ActionConf, request: Callable[[Plugin], T]) -> Future[T]:
        """Have `request` done with the action in Python that `conf` describes, after all that waits."""
        lane = self._lanes.get(conf.name)
        if lane is None:
            raise CommandError(f"the action {conf.name} is not there")
        return lane.use(conf, request)

    def stop(self) -> None:
        """Have all bans taken back and the actions stopped, after all that waits by now."""
        for lane in self._lanes.values():
            lane.do(lambda enforcer: enforcer.stop())

    def settle(self, seconds: float) -> bool:
        """Wait until all that waits by now is done; False if it is not after `seconds`."""
        waiting = [lane.do(lambda enforcer: _nothing()) for lane in self._lanes.values()]
        return not wait_for(waiting, seconds).not_done

    def lead(self, seconds: float) -> None:
        """Wait until each action runs a command for many, or has nothing to do; no longer than `seconds`.

        Threads of Python work in turns: whoever goes on at once keeps the others from their work.
        """
        deadline = time.monotonic() + seconds
        for lane in self._lanes.values():
            lane.lead(max(0.0, deadline - time.monotonic()))

    def end(self) -> None:
        """End the threads when everything that waits by now is done."""
        for lane in self._lanes.values():
            lane.end()

    def join(self, seconds: float) -> bool:
        """Wait until all has ended; False if it has not after `seconds`."""
        deadline = time.monotonic() + seconds
        lanes = (*self._lanes.values(), *self._former)
        return all(lane.join(max(0.0, deadline - time.monotonic())) for lane in lanes)

    @property
    def problems(self) -> tuple[str, ...]:
        """What went wrong last and is not mended."""
        return tuple(problem for lane in self._all() for problem in lane.problems)

    @property
    def enforced(self) -> dict[str, tuple[int, int]]:
        """Of the actions that can tell: how many bans are enforced, and how many should be."""
        return {name: told for lane in self._all() for name, told in lane.enforced.items()}

    def _all(self) -> tuple[Lane, ...]:
        return tuple(self._lanes.values())

    def _lane(self, conf: ActionConf) -> Lane:
        enforcer = Enforcer(self._jail, (conf,), self._facts, self._clocks)
        return Lane(self._jail, conf, enforcer, self._run, self._patrol)


def _nothing() -> Steps:
    yield from ()


def _after(begun: Sequence[Future[None]], steps: Steps) -> Steps:
    wait_for(begun, _PATIENCE)
    yield from steps


class Lane:
    """One action's way: its tasks one after the other, in a thread that is there while there are some.

    The thread of an action in Python stays, as its code may rely on being called by one only.
    """

    def __init__(
        self,
        jail: str,
        conf: ActionConf,
        enforcer: Enforcer,
        run: Callable[[ShellCommand], Result],
        patrol: Patrol | None,
    ) -> None:
        self.problem = ""
        self.enforcer = enforcer
        self._jail = jail
        self._conf = conf
        self._run = run
        self._patrol = patrol
        self._plugins = Plugins(jail)
        # Under `_changed`: what waits (orders, or a task with its answer), and who works.
        self._changed = threading.Condition()
        self._waiting: deque[tuple[list[Order] | Task, Future[None] | None]] = deque()
        self._is_worked = False
        self._is_ending = False
        self._is_looking = False
        self._is_busy = False  # with a task …
        self._is_out = False  # … of which a command for many runs
        self._most = MOST_WAITING

    # -- from any thread

    def carry_out(self, orders: Sequence[Order]) -> None:
        with self._changed:
            last = self._waiting[-1][0] if self._waiting else None
            if isinstance(last, list):
                last.extend(orders)
                if len(last) > self._most:
                    self._fold(last)
            else:
                self._waiting.append((list(orders), None))
            self._wake()

    def do(self, task: Task) -> Future[None]:
        """Have the steps that `task` makes of the enforcer run, after all that waits by now."""
        done: Future[None] = Future()
        with self._changed:
            self._waiting.append((task, done))
            self._wake()
        return done

    def change(self, conf: ActionConf, bans: Sequence[Ban]) -> Future[None]:
        def change(enforcer: Enforcer) -> Steps:
            self._conf = conf
            return enforcer.change((conf,), bans)

        return self.do(change)

    def use(self, conf: ActionConf, request: Callable[[Plugin], T]) -> Future[T]:
        answer: Future[T] = Future()

        def use(enforcer: Enforcer) -> Steps:
            try:
                answer.set_result(guarded(lambda: request(Plugin(self._plugins.find(conf)))))
            except Exception as error:  # it is raised where somebody waits for the answer
                answer.set_exception(error)
            yield from ()

        self.do(use)
        return answer

    def look(self) -> None:
        """Have it seen that all is enforced, unless that waits to be done already."""
        with self._changed:
            if self._is_looking or self._is_ending:
                return
            self._is_looking = True
        self.do(self._look)

    def lead(self, seconds: float) -> None:
        """Wait until a command for many runs, or nothing is left to do; no longer than `seconds`."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_out or not (self._waiting or self._is_busy), seconds
            )

    def end(self) -> None:
        with self._changed:
            self._is_ending = True
            self._changed.notify_all()

    @property
    def has_ended(self) -> bool:
        return self._is_ending and not self._is_worked

    def join(self, seconds: float) -> bool:
        """Wait until nothing is left to do; False if there is after `seconds`."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._is_worked and not self._waiting, seconds
            )

    @property
    def problems(self) -> tuple[str, ...]:
        return (*((self.problem,) if self.problem else ()), *self.enforcer.problems)

    @property
    def enforced(self) -> dict[str, tuple[int, int]]:
        return self.enforcer.enforced

    # -- under `_changed`

    def _fold(self, orders: list[Order]) -> None:
        before = len(orders)
        orders[:] = folded(orders)
        self._most = max(MOST_WAITING, 2 * len(orders))  # else it would be folded again and again
        if len(orders) < before:
            text = "[%s] action %s is behind by %d orders; some came to nothing and are left out"
            log.warning(text, self._jail, self._conf.name, before)

    def _wake(self) -> None:
        if self._is_worked:
            self._changed.notify_all()
            return
        name = f"act:{self._jail}:{self._conf.name}"
        threading.Thread(target=self._work, name=name, daemon=True).start()
        self._is_worked = True

    # -- in the thread of the action

    def _work(self) -> None:
        while (item := self._next()) is not None:
            task, done = item
            try:
                self._drive(task(self.enforcer) if callable(task) else self._carried_out(task))
            except Exception as error:
                self.problem = f"{type(error).__name__}: {error}"
                log.exception("[%s] an action failed in an unforeseen way", self._jail)
            if self._patrol is not None:
                it = self.enforcer
                self._patrol.expect(self, it.due, it.watched, it.rest)
            if done is not None:
                done.set_result(None)

    def _next(self) -> tuple[list[Order] | Task, Future[None] | None] | None:
        """What is to be done next; None if the thread may go."""
        with self._changed:
            self._is_busy = False
            self._changed.notify_all()
            patience = None if self._conf.module is not None else LINGER
            self._changed.wait_for(lambda: self._waiting or self._is_ending, patience)
            if self._waiting:
                self._is_busy = True
                return self._waiting.popleft()
            self._is_worked = False
            if self._is_ending and self._patrol is not None:
                self._patrol.forget(self)
            self._changed.notify_all()
            return None

    def _carried_out(self, orders: Sequence[Order]) -> Steps:
        if self._patrol is not None:
            self._patrol.begin(self, self.enforcer.watched)
        return self.enforcer.carry_out(orders)

    def _look(self, enforcer: Enforcer) -> Steps:
        self._is_looking = False
        return enforcer.look()

    def _drive(self, steps: Steps) -> None:
        answer: Any = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration:
                return
            answer = None
            if isinstance(step, Note):
                log.log(step.level, "[%s] %s", self._jail, step.text)
            elif isinstance(step, Call):
                answer = self._plugins.call(step)
            else:
                answer = self._ran(step)

    def _ran(self, command: ShellCommand) -> Result:
        if not command.input:
            return self._run(command)
        self._go(is_out=True)
        try:
            return self._run(command)
        finally:
            self._go(is_out=False)

    def _go(self, *, is_out: bool) -> None:
        with self._changed:
            self._is_out = is_out
            self._changed.notify_all()
