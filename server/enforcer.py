# SPDX-License-Identifier: GPL-2.0-or-later
"""Orders become commands, in order: what is started, what is enforced, and what to do when it fails.

Sans-IO: a method yields the commands that should run and is sent how each ended.  Runs nothing itself,
and knows no queue and no thread.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import groupby

from common.errors import CommandError
from common.options import ActionConf
from server.action import FAMILIES, Action, Facts, ending, family_of, hint, no_facts, quotable
from server.caller import Caller
from server.records import Ban, Enforce, Lift, Order, Prolong, Result, ShellCommand
from server.singles import orders_for
from server.steps import Asking, Note, Steps

__all__ = ["Enforcer", "Note", "Steps"]

_STANDING = ("actionstart", "actionunban", "actionflush")


class Enforcer:
    """One jail's actions: what is started, and what is enforced."""

    def __init__(self, jail: str, actions: tuple[ActionConf, ...], facts: Facts = no_facts) -> None:
        self._jail = jail
        self._facts = facts
        self._running = tuple(self._runner(conf) for conf in actions)

    @property
    def problems(self) -> tuple[str, ...]:
        """What went wrong last with each action and has not gone well since."""
        return tuple(runner.problem for runner in self._running if runner.problem)

    def start(self) -> Steps:
        """Start the actions, but for those that wait for a first ban."""
        for runner in self._running:
            yield from runner.start()

    def carry_out(self, orders: Sequence[Order]) -> Steps:
        """Carry out all that waits.  Each action gets its orders in order, one action after the other."""
        for runner in self._running:
            yield from runner.carry_out(orders_for(runner.conf, orders))

    def stop(self) -> Steps:
        """Take back all bans and stop the actions."""
        for runner in reversed(self._running):
            yield from runner.stop()

    def change(self, actions: tuple[ActionConf, ...], bans: Sequence[Ban]) -> Steps:
        """Have `actions` instead; what stays the same is not touched, what is new gets all `bans`."""
        before = {runner.conf.name: runner for runner in self._running}
        wanted = {conf.name for conf in actions}
        after: list[_Runner | Caller] = []
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

    def _replace(self, old: _Runner | Caller, new: _Runner | Caller, bans: Sequence[Ban]) -> Steps:
        match old, new:
            case (_Runner(), _Runner()) | (Caller(), Caller()):
                yield from new.take_over(old)  # type: ignore[arg-type]
            case _:
                yield from old.stop()
                yield from new.start()
                again = [Enforce(ban, restored=True) for ban in bans]
                yield from new.carry_out(orders_for(new.conf, again))

    def _runner(self, conf: ActionConf) -> _Runner | Caller:
        if conf.module is not None:
            return Caller(conf, self._facts)
        return _Runner(Action(self._jail, conf, self._facts))


@dataclass(frozen=True, slots=True)
class _Held:
    """A ban that an action has to enforce."""

    ban: Ban
    restored: bool


class _Runner:
    """One action at work.  A *place* is a family it was started for, or None if that makes no difference."""

    def __init__(self, action: Action) -> None:
        self.action = action
        self.conf = action.conf
        self.problem = ""
        self._started: set[str | None] = set()
        self._seen: dict[str, bool] = {}  # whether all was well with a family, in this turn
        self._held: dict[str, _Held] = {}

    # -- what the enforcer asks for

    def start(self) -> Steps:
        yield from self._guarded(self._start_early())

    def carry_out(self, orders: Sequence[Order]) -> Steps:
        self._seen.clear()
        for _, together in groupby(orders, type):
            yield from self._guarded(self._carry_out(list(together)))

    def _carry_out(self, orders: Sequence[Order]) -> Steps:
        yield from self._lift_all([order for order in orders if isinstance(order, Lift)])
        yield from self._enforce_all([order for order in orders if isinstance(order, Enforce)])
        for order in orders:
            if isinstance(order, Prolong):
                yield from self._prolong(order)

    def stop(self) -> Steps:
        self._seen.clear()
        lifts = [Lift(held.ban) for held in self._held.values()]
        yield from self._guarded(self._lift_all(lifts, least=1))
        yield from self._guarded(self._stop())

    def take_over(self, old: _Runner) -> Steps:
        """Become the successor of the same action with other properties."""
        yield from self._guarded(self._take_over(old))

    def _guarded(self, steps: Steps) -> Steps:
        """A property that cannot be rendered is this action's problem, and no other's."""
        try:
            yield from steps
        except CommandError as error:
            yield self._failed(f"action {self.action.name}: {error}")

    # -- starting and stopping

    def _start_early(self) -> Steps:
        if not self.action.starts_on_demand:
            for place in self._places("actionstart"):
                yield from self._start(place)

    def _places(self, key: str) -> tuple[str | None, ...]:
        return FAMILIES if self.action.is_per_family(key) else (None,)

    def _place(self, ban: Ban) -> str | None:
        return family_of(ban) if self.action.is_per_family("actionstart") else None

    def _start(self, place: str | None) -> Asking[bool]:
        """Start for `place` and make the bans there that are held; false where it fails."""
        command = self.action.start(place)
        if command is not None:
            result = yield from _run(command)
            if not result.is_success and not (yield from self._start_anew(place, result)):
                return False
        self._started.add(place)
        self.problem = ""
        yield from self._ban_again(place)
        return True

    def _start_anew(self, place: str | None, result: Result) -> Asking[bool]:
        """A start that failed: perhaps an earlier run, ended by force, has left its things behind."""
        if _is_hopeless(result):
            yield self._fault("actionstart", result)
            return False
        check = self.action.check(place)
        if check is not None and (yield from _run(check)).is_success:
            yield Note(logging.WARNING, f"action {self.action.name}: was started already")
            return True
        stop, start = self.action.stop(place), self.action.start(place)
        assert start is not None
        if stop is not None:
            yield from _run(stop)
        again = yield from _run(start)
        if not again.is_success:
            yield self._fault("actionstart", result)
        return again.is_success

    def _stop(self) -> Steps:
        """Stop what was started, also where only one of the commands differs by family."""
        started, self._started = self._started, set()
        for place in self._places("actionstop") if started else ():
            if place is None or place in started or None in started:
                stop = self.action.stop(place)
                result = (yield from _run(stop)) if stop is not None else None
                if result is not None and not result.is_success:
                    yield self._fault("actionstop", result)

    def _take_over(self, old: _Runner) -> Steps:
        if self._would_do_as(old, "actionstart", "actionstop", "actionban", "actionunban"):
            self._inherit(old)
            return
        # What only tells, and takes nothing back, has nothing standing that could be changed.
        if not any(old.action.has(key) or self.action.has(key) for key in _STANDING):
            self._inherit(old)
            return
        if (
            old._started
            and self.action.has("actionreload")
            and self._would_do_as(old, "actionban", "actionunban")
            and (yield from self._reload(old._started))
        ):
            self._inherit(old)
            return
        bans = [held.ban for held in old._held.values()]
        had_started = bool(old._started)
        yield from old.stop()
        if had_started or not self.action.starts_on_demand:
            yield from self._start_early()
        yield from self.carry_out([Enforce(ban, restored=True) for ban in bans])

    def _would_do_as(self, old: _Runner, *keys: str) -> bool:
        return all(
            old.action.script(key, family) == self.action.script(key, family)
            for key in keys
            for family in FAMILIES
        )

    def _reload(self, places: Collection[str | None]) -> Asking[bool]:
        for place in sorted(places, key=str):
            reload = self.action.reload(place)
            result = (yield from _run(reload)) if reload is not None else None
            if result is not None and not result.is_success:
                yield self._fault("actionreload", result)
                return False
        return True

    def _inherit(self, old: _Runner) -> None:
        self._started, self._held, self.problem = old._started, old._held, old.problem

    # -- being ready

    def _ready(self, ban: Ban) -> Asking[bool]:
        """Start it if need be, and see, once a turn, that it is still there."""
        family = family_of(ban)
        if family not in self._seen:
            self._seen[family] = yield from self._stands(ban)
        return self._seen[family]

    def _stands(self, ban: Ban) -> Asking[bool]:
        place = self._place(ban)
        if place not in self._started:
            return (yield from self._start(place))
        check = self.action.check(family_of(ban))
        result = (yield from _run(check)) if check is not None else None
        if result is None or result.is_success:
            return True
        return (yield from self._repair(ban, result))

    def _repair(self, ban: Ban, found: Result) -> Asking[bool]:
        """Build again what a check has `found` missing, with all bans that were in it."""
        name, place = self.action.name, self._place(ban)
        yield Note(
            logging.WARNING, f"action {name}: actioncheck failed ({ending(found)}); repairing"
        )
        repair = self.action.repair(place)
        if repair is not None:
            result = yield from _run(repair)
            if not result.is_success:
                self._started.discard(place)
                yield self._fault("actionrepair", result)
                return False
            yield from self._ban_again(place)
        else:
            self._started.discard(place)
            stop = self.action.stop(place)
            if stop is not None:
                yield from _run(stop)  # parts may be missing: no matter how it ends
            if not (yield from self._start(place)):
                return False
        check = self.action.check(family_of(ban))
        after = (yield from _run(check)) if check is not None else None
        if after is not None and not after.is_success:
            self._started.discard(place)
            yield self._fault("actioncheck", after, "after a repair")
            return False
        yield Note(logging.WARNING, f"action {name}: repaired, {len(self._held)} bans made again")
        return True

    def _ban_again(self, place: str | None) -> Steps:
        """Make the bans again that were lost; what fails is told once."""
        failed: list[Result] = []
        members = [held for held in self._held.values() if self._place(held.ban) == place]
        done = yield from self._at_once("actionban_many", members)
        for held in members:
            if held.ban.host in done:
                continue
            command = self.action.reban(held.ban, held.restored)
            result = (yield from _run(command)) if command is not None else None
            if result is not None and not result.is_success:
                failed.append(result)
        if failed:
            text = f"for {len(failed)} of {len(members)} bans made again"
            yield self._fault("actionban", failed[0], text)

    # -- bans

    def _enforce_all(self, orders: Sequence[Enforce]) -> Steps:
        wanted = {
            order.ban.host: _Held(order.ban, order.restored)
            for order in orders
            if self.action.is_for_restored or not order.restored
        }
        new = [held for host, held in wanted.items() if host not in self._held]
        for family in FAMILIES:
            some = [held for held in new if family_of(held.ban) == family]
            if len(some) < 2 or not self.action.has("actionban_many", family):
                continue
            if (yield from self._ready(some[0].ban)):
                for host in (yield from self._at_once("actionban_many", some)):
                    self._held[host] = wanted.pop(host)
        for held in wanted.values():
            yield from self._enforce(held)

    def _at_once(self, key: str, members: Sequence[_Held]) -> Asking[dict[str, None]]:
        """Do `key` for many at once, where the action can; the hosts that this was done for."""
        done: dict[str, None] = {}
        for family in FAMILIES:
            bans = [held.ban for held in members if family_of(held.ban) == family]
            for portion, command in self.action.for_many(key, bans) if len(bans) > 1 else ():
                if (yield from _run(command)).is_success:
                    self.problem = ""
                    done |= {ban.host: None for ban in portion}
        return done

    def _enforce(self, held: _Held) -> Steps:
        ban = held.ban
        if not self.action.has("actionban", family_of(ban)):
            return
        self._held.pop(ban.host, None)  # not to be made twice by a start
        is_ready = yield from self._ready(ban)
        self._held[ban.host] = held
        if not is_ready:
            host = quotable(ban.host)
            text = f"action {self.action.name}: {host} is not banned, as it is not started"
            yield Note(logging.ERROR, text)
            return
        command = self.action.ban(ban, held.restored)
        assert command is not None
        result = yield from _run(command)
        if not result.is_success and (yield from self._may_try_again(ban, result)):
            result = yield from _run(command)
        if result.is_success:
            self.problem = ""
        else:
            yield self._fault("actionban", result, f"of {quotable(ban.host)}")

    def _may_try_again(self, ban: Ban, result: Result) -> Asking[bool]:
        """Whether a ban that failed is worth a second try, once what is broken has been repaired."""
        if _is_hopeless(result) or not self.action.has("actionstart", family_of(ban)):
            return False
        check = self.action.check(family_of(ban))
        found = result if check is None else (yield from _run(check))
        if found.is_success or (check is None and not self.action.has("actionrepair")):
            return True
        held = self._held.pop(ban.host)
        self._seen[family_of(ban)] = is_repaired = yield from self._repair(ban, found)
        self._held[ban.host] = held
        return is_repaired

    def _prolong(self, order: Prolong) -> Steps:
        held = self._held.get(order.ban.host)
        if held is None:
            return
        self._held[order.ban.host] = _Held(order.ban, held.restored)
        command = self.action.prolong(order.ban, held.restored)
        if command is not None and self._place(order.ban) in self._started:
            result = yield from _run(command)
            if not result.is_success:
                yield self._fault("actionprolong", result, f"of {quotable(order.ban.host)}")

    def _lift_all(self, lifts: Sequence[Lift], least: int = 2) -> Steps:
        hosts = {lift.ban.host: None for lift in lifts}
        may_flush = len(lifts) >= least and self.action.has("actionflush")
        for place in self._places("actionflush") if may_flush else ():
            members = [
                host
                for host, held in self._held.items()
                if place is None or family_of(held.ban) == place
            ]
            if len(members) >= least and hosts.keys() >= set(members):
                yield from self._flush(place, members)
        for host in (yield from self._at_once("actionunban_many", self._liftable(hosts))):
            del self._held[host]
        for lift in lifts:
            yield from self._lift(lift.ban)

    def _liftable(self, hosts: Collection[str]) -> list[_Held]:
        held = [self._held[host] for host in hosts if host in self._held]
        return [one for one in held if self._place(one.ban) in self._started]

    def _flush(self, place: str | None, members: Collection[str]) -> Steps:
        """Lift all bans of `members` at once; if that fails they stay, to be lifted one by one."""
        flush = self.action.flush(place)
        if flush is None or not self._started:
            return
        result = yield from _run(flush)
        if not result.is_success:
            yield self._fault("actionflush", result)
            return
        for host in members:
            del self._held[host]

    def _lift(self, ban: Ban) -> Steps:
        held = self._held.pop(ban.host, None)
        if held is None or self._place(held.ban) not in self._started:
            return
        command = self.action.unban(held.ban, held.restored)
        if command is None:
            return
        result = yield from _run(command)
        if result.is_success:
            return
        check = None if _is_hopeless(result) else self.action.check(family_of(ban))
        found = (yield from _run(check)) if check is not None else None
        if found is None or found.is_success:
            yield self._fault("actionunban", result, f"of {quotable(ban.host)}")
        elif self.action.repairs_on_unban:
            yield from self._repair(ban, found)
        else:
            host = quotable(ban.host)
            text = f"action {self.action.name}: nothing to lift for {host}: {ending(found)}"
            yield Note(logging.WARNING, text)

    # -- telling

    def _fault(self, key: str, result: Result, about: str = "") -> Note:
        what = f"{key} {about}".strip()
        text = f"action {self.action.name}: {what} failed ({ending(result)})"
        return self._failed(f"{text} {hint(result)}".strip())

    def _failed(self, text: str) -> Note:
        self.problem = text
        return Note(logging.ERROR, text)


def _run(command: ShellCommand) -> Asking[Result]:
    result = yield command
    assert isinstance(result, Result)
    return result


def _is_hopeless(result: Result) -> bool:
    """What is not there, may not run or hangs will do so again."""
    return result.is_timeout or result.status in (126, 127)
