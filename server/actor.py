# SPDX-License-Identifier: GPL-2.0-or-later
"""The thread of a jail that acts: it runs, one after the other, what the enforcer asks for.

It decides nothing, and nobody waits for it but who asks it to end.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from common.options import ActionConf
from server.enforcer import Enforcer
from server.plugins import Plugin, Plugins, guarded
from server.records import Order, Result, ShellCommand
from server.steps import Call, Note, Steps

log = logging.getLogger("fail2ban.actions")

T = TypeVar("T")
Task = Callable[[Enforcer], Steps]


class Actor:
    """Runs the actions of one jail, in order."""

    def __init__(
        self, jail: str, enforcer: Enforcer, run: Callable[[ShellCommand], Result]
    ) -> None:
        self.problem = ""
        self._jail = jail
        self._enforcer = enforcer
        self._run = run
        self._plugins = Plugins(jail)
        self._tasks: queue.SimpleQueue[
            tuple[Sequence[Order] | Task, Future[None] | None] | None
        ] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"act:{jail}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def carry_out(self, orders: Sequence[Order]) -> None:
        """Have `orders` carried out; returns at once."""
        self._tasks.put((orders, None))

    def do(self, task: Task) -> Future[None]:
        """Have the steps that `task` makes of the enforcer run, after all that waits by now."""
        done: Future[None] = Future()
        self._tasks.put((task, done))
        return done

    def use(self, conf: ActionConf, request: Callable[[Plugin], T]) -> Future[T]:
        """Have `request` done with the action in Python that `conf` describes, after all that waits."""
        answer: Future[T] = Future()

        def use(enforcer: Enforcer) -> Steps:
            try:
                answer.set_result(guarded(lambda: request(Plugin(self._plugins.find(conf)))))
            except Exception as error:  # it is raised where somebody waits for the answer
                answer.set_exception(error)
            yield from ()

        self.do(use)
        return answer

    def end(self) -> None:
        """End the thread when everything that waits by now is done."""
        self._tasks.put(None)

    def join(self, seconds: float) -> bool:
        """Wait until the thread has ended; False if it has not after `seconds`."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    @property
    def problems(self) -> tuple[str, ...]:
        """What went wrong last and is not mended."""
        return (*((self.problem,) if self.problem else ()), *self._enforcer.problems)

    def _work(self) -> None:
        while (first := self._tasks.get()) is not None:
            for task, done in self._all_that_waits(first):
                try:
                    steps = task(self._enforcer) if callable(task) else self._carry_out(task)
                    self._drive(steps)
                except Exception as error:
                    self.problem = f"{type(error).__name__}: {error}"
                    log.exception("[%s] an action failed in an unforeseen way", self._jail)
                if done is not None:
                    done.set_result(None)

    def _carry_out(self, orders: Sequence[Order]) -> Steps:
        return self._enforcer.carry_out(orders)

    def _all_that_waits(
        self, first: tuple[Sequence[Order] | Task, Future[None] | None]
    ) -> list[tuple[Sequence[Order] | Task, Future[None] | None]]:
        """`first` and all orders behind it as one; what is no order keeps its place."""
        together = [first]
        while not self._tasks.empty():
            following = self._tasks.get()
            if following is None:
                self._tasks.put(None)
                break
            last, new = together[-1][0], following[0]
            if callable(last) or callable(new):
                together.append(following)
            else:
                together[-1] = ([*last, *new], None)
        return together

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
                answer = self._run(step)
