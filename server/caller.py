# SPDX-License-Identifier: GPL-2.0-or-later
"""Orders become calls: an action in Python at work, what it has to enforce, and what when it fails.

Like the enforcer's way with shell commands, but simpler: no families, and nothing to try twice.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import groupby

from common.options import ActionConf
from server.action import BanValues, Facts, family_of, quotable
from server.actionbase import BanInfo
from server.records import Ban, Enforce, Lift, Order, Prolong
from server.steps import Asking, Call, Note, Returned, Steps


class Caller:
    """One action in Python: whether it is started, and what it enforces."""

    def __init__(self, conf: ActionConf, facts: Facts) -> None:
        self.conf = conf
        self.problem = ""
        self._facts = facts
        self._is_started = False
        self._is_checked = False  # in this turn
        self._held: dict[str, Enforce] = {}

    @property
    def bans(self) -> list[Ban]:
        """What it has to enforce."""
        return [order.ban for order in self._held.values()]

    def start(self) -> Steps:
        yield from self._start()

    def carry_out(self, orders: Sequence[Order]) -> Steps:
        self._is_checked = False
        for _, together in groupby(orders, type):
            some = list(together)
            yield from self._flush([order for order in some if isinstance(order, Lift)])
            for order in some:
                yield from self._carry_out(order)

    def clear_away(self, bans: Sequence[Ban]) -> Steps:
        """Lift those of `bans` that an earlier run, ended by force, may have left; they are over."""
        left = [Enforce(ban, restored=True) for ban in bans if ban.host not in self._held]
        self._is_checked = False
        if not left or not (yield from self._is_ready()):
            return
        for order in left:
            done = yield Call(self.conf, "unban", self._about(order))
            assert isinstance(done, Returned)
            if done.problem:  # as a rule since there is nothing left
                text = (
                    f"action {self.conf.name}: what an earlier run left is let be: {done.problem}"
                )
                yield Note(logging.INFO, text)
                return

    def stop(self) -> Steps:
        lifts = [Lift(ban) for ban in self.bans]
        yield from self._flush(lifts, least=1)
        for lift in lifts:
            yield from self._lift(lift.ban)
        if self._is_started:
            self._is_started = False
            yield from self._call("stop")

    def take_over(self, old: Caller) -> Steps:
        """Become the successor of the same action with other arguments."""
        if self._is_as(old) or (old._is_started and (yield from self._reload())):
            self._is_started, self._held, self.problem = old._is_started, old._held, old.problem
            return
        bans = old.bans
        yield from old.stop()
        yield from self._start()
        yield from self.carry_out([Enforce(ban, restored=True) for ban in bans])

    def _is_as(self, old: Caller) -> bool:
        """Only properties differ: the next call sets them."""
        return (self.conf.module, self.conf.arguments) == (old.conf.module, old.conf.arguments)

    def _reload(self) -> Asking[bool]:
        """Tell the running action its new arguments; whether it can go on with them."""
        done = yield Call(self.conf, "reload")
        return isinstance(done, Returned) and not done.problem and done.value is True

    def _start(self) -> Asking[bool]:
        self._is_started = yield from self._call("start")
        return self._is_started

    def _carry_out(self, order: Order) -> Steps:
        if isinstance(order, Enforce):
            yield from self._enforce(order)
        elif isinstance(order, Prolong):
            yield from self._prolong(order)
        else:
            yield from self._lift(order.ban)

    def _enforce(self, order: Enforce) -> Steps:
        host = order.ban.host
        self._held.pop(host, None)  # not to be made twice by a start
        is_ready = yield from self._is_ready()
        self._held[host] = order
        if is_ready:
            yield from self._call("ban", order)
            return
        text = f"action {self.conf.name}: {quotable(host)} is not banned, as it is not started"
        yield Note(logging.ERROR, text)

    def _is_ready(self) -> Asking[bool]:
        """Start it if need be, and see, once a turn, that all of it is still there."""
        if self._is_checked:
            return self._is_started
        self._is_checked = True
        if not self._is_started:
            return (yield from self._start_anew())
        found = yield Call(self.conf, "consistencyCheck")
        assert isinstance(found, Returned)
        if not found.problem and found.value is not False:
            return True
        why = found.problem or "it says that something is missing"
        yield Note(logging.WARNING, f"action {self.conf.name}: is started anew: {why}")
        return (yield from self._start_anew())

    def _start_anew(self) -> Asking[bool]:
        if not (yield from self._start()):
            return False
        for held in list(self._held.values()):
            yield from self._call("reban", held)
        return True

    def _prolong(self, order: Prolong) -> Steps:
        held = self._held.get(order.ban.host)
        if held is not None:
            self._held[order.ban.host] = now = Enforce(order.ban, held.restored)
            yield from self._call("prolong", now)

    def _flush(self, lifts: Sequence[Lift], least: int = 2) -> Steps:
        """Lift everything at once, if that is what is asked for and it can."""
        hosts = {lift.ban.host for lift in lifts}
        if not self._is_started or len(self._held) < least or not hosts >= self._held.keys():
            return
        done = yield Call(self.conf, "flush")
        assert isinstance(done, Returned)
        if not done.problem and done.value is not False:
            self._held.clear()

    def _lift(self, ban: Ban) -> Steps:
        held = self._held.pop(ban.host, None)
        if held is not None and self._is_started:
            yield from self._call("unban", held)

    def _call(self, method: str, order: Enforce | None = None) -> Asking[bool]:
        """Call `method`, about the ban of `order`; whether it went well."""
        done = yield Call(self.conf, method, None if order is None else self._about(order))
        assert isinstance(done, Returned)
        if not done.problem:
            self.problem = ""
            return True
        host = f" of {quotable(order.ban.host)}" if order else ""
        self.problem = f"action {self.conf.name}: {method}{host} failed ({done.problem})"
        yield Note(logging.ERROR, self.problem)
        return False

    def _about(self, order: Enforce) -> BanInfo:
        about = BanInfo(BanValues(order.ban, order.restored, self._facts))
        about["family"] = family_of(order.ban)
        return about
