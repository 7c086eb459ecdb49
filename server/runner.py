# SPDX-License-Identifier: GPL-2.0-or-later
"""One action of shell commands at work: started, told whom to ban, looked after, stopped.

Sans-IO as its enforcer is: what should run is yielded, how it ended is sent back.  Knows no other
action, no queue and no thread.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby

from common import units
from common.errors import CommandError
from server.action import FAMILIES, INET6, Action, ending, family_of_ip, hint, quotable
from server.exchange import exchange_of
from server.ledger import Held, Ledger, Listed, held
from server.records import Ban, Enforce, Lift, Order, Prolong, Result, ShellCommand
from server.steps import Asking, Clocks, Note, Steps

_STANDING = ("actionstart", "actionunban", "actionflush")
_INTERVAL = 60.0  # seconds between two looks at what is enforced
_AFTER_BANS = 1.0  # seconds from a ban to the look whether it is enforced
_CROWD = (
    1000  # orders, after which a tool may not list all at once: a kernel's table grows meanwhile
)
_SHARE = 20  # looking takes no more than this part of the time
_SOON = 5.0  # seconds: what a tool drops within them needs no command
_MOST_FAILURES = 50  # commands that may fail one after the other before the rest is not tried


class Runner:
    """One action at work.  A *place* is a family it was started for, or None if that makes no difference.

    `problem` is what went wrong last and has not gone well since; `due` when to `look` again;
    `enforced`, of how many bans the tool itself says that they are enforced, and of how many it should.
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

    @property
    def enforced(self) -> tuple[int, int] | None:
        """How many bans are enforced, and how many should be; None where nobody can tell."""
        if not self._figures:
            return None
        found, wanted = zip(*self._figures.values(), strict=True)
        return sum(found), sum(wanted)

    @property
    def watched(self) -> frozenset[str]:
        """The table and the sets of nftables in which a change is a reason to look."""
        words = [
            (self.action.script("actionlist_watch", family) or "").split() for family in FAMILIES
        ]
        return frozenset(
            name for kind, *names in filter(None, words) if kind == "nftables" for name in names
        )

    @property
    def rest(self) -> float:
        """How many seconds should be between two looks at least."""
        return max(_AFTER_BANS, _SHARE * self._cost)

    # -- what the enforcer asks for

    def start(self) -> Steps:
        yield from self._guarded(self._start_early())

    def carry_out(self, orders: Sequence[Order]) -> Steps:
        self._seen.clear()
        self._ledger.prune(self._ticks())
        for together in self._turns(orders):
            yield from self._guarded(self._carry_out(together))
        if len(orders) >= _CROWD:
            self.due = math.inf
        self._look_soon()

    def stop(self) -> Steps:
        self._seen.clear()
        lifts = [Lift(one.ban) for one in self._ledger]
        yield from self._guarded(self._lift_all(lifts, least=1))
        yield from self._guarded(self._stop())
        self.due = math.inf
        self._figures.clear()

    def foresee(self, ends: Mapping[str, float]) -> Steps:
        """Shut out hosts, and until when, that will be ordered to be soon; those of the last call were."""
        self._seen.clear()
        over, self._ledger.foreseen = self._ledger.foreseen, {}
        left = [held(Ban(self.action.jail, ip, 0.0, 0.0), restored=True) for ip in over]
        yield from self._guarded(self._drop_all(left))
        if ends and self.action.is_for_restored:
            yield from self._guarded(self._foresee(ends))

    def clear_away(self, bans: Sequence[Ban]) -> Steps:
        """Lift those of `bans` that an earlier run, ended by force, may have left; they are over."""
        self._seen.clear()
        yield from self._guarded(self._clear_away(bans))

    def take_over(self, old: Runner) -> Steps:
        """Become the successor of the same action with other properties."""
        yield from self._guarded(self._take_over(old))

    def adjust(self, bans: Mapping[str, Ban]) -> Steps:
        """The time of day was set: have `bans`, by host, end when they say, by whatever clock."""
        moved = []
        for one in self._ledger:
            now = one._replace(ban=bans.get(one.ban.host, one.ban))
            self._ledger.put(now)
            if self._differ(self._end_of(now.ban), now.ends):
                moved.append(now)
        yield from self._guarded(self._renew(moved))

    def look(self) -> Steps:
        """See that what is held is enforced, and what is not held is not; mend it if need be."""
        begun = self._ticks()
        self._seen.clear()
        yield from self._guarded(self._look())
        ended = self._ticks()
        self._cost = ended - begun
        self.due = ended + self._interval if self._may_look else math.inf

    def _guarded(self, steps: Steps) -> Steps:
        """A property that cannot be rendered is this action's problem, and no other's."""
        try:
            yield from steps
        except CommandError as error:
            yield self._failed(f"action {self.action.name}: {error}")

    def _turns(self, orders: Sequence[Order]) -> Iterator[Sequence[Order]]:
        """`orders` as they may be carried out together: one host's in their order."""
        if not self.action.has("actionban_many"):
            for _, together in groupby(orders, type):
                yield list(together)
            return
        if Lift not in {type(order) for order in orders}:
            yield orders
            return
        turn: list[Order] = []
        lifted: set[str] = set()
        for order in orders:
            if isinstance(order, Lift):
                lifted.add(order.ban.host)
            elif order.ban.host in lifted:  # in a turn, lifting comes last
                yield turn
                turn, lifted = [], set()
            turn.append(order)
        yield turn

    def _carry_out(self, orders: Sequence[Order]) -> Steps:
        orders = yield from self._exchange(orders)
        # One ban may take the place of others: the new walls stand before the old ones fall.
        yield from self._enforce_all([order for order in orders if isinstance(order, Enforce)])
        yield from self._prolong_all([order for order in orders if isinstance(order, Prolong)])
        yield from self._lift_all([order for order in orders if isinstance(order, Lift)])

    def _exchange(self, orders: Sequence[Order]) -> Asking[Sequence[Order]]:
        """Have networks take each other's place in one go, where the tool wants it; what is left to do."""
        if not self.action.has("actionexchange_many"):
            return orders
        bans, lifts = exchange_of(orders)
        done: set[int] = set()
        for family in FAMILIES:
            new = [held(order.ban, order.restored) for order in bans]
            new = [one for one in new if one.family == family]
            gone = [lift.ban.host for lift in lifts if family_of_ip(lift.ban.host) == family]
            if not new or not (yield from self._ready(family)):
                continue
            command = self.action.exchange([one.ban for one in new], gone)
            result = (yield from _run(command)) if command is not None else None
            if result is None or not result.is_success:  # one by one it will show what is wrong
                continue
            for host in gone:
                self._ledger.take(host)
                self._ledger.unstick(host)
            self._hold_all(new)
            # What was banned and lifted by the same orders comes to nothing.
            hosts = {*gone, *(one.ban.host for one in new)}
            done.update(id(order) for order in orders if order.ban.host in hosts)
        return [order for order in orders if id(order) not in done]

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
            result = yield from _run(command)
            if not result.is_success and not (yield from self._start_anew(place, result)):
                return False
        self._started.add(place)
        self._fresh.update(FAMILIES if place is None else (place,))
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

    def _take_over(self, old: Runner) -> Steps:
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
        if self._places_of_bans & old._places_of_bans and (yield from self._may_stay(old)):
            yield from self._exchange_bans(old)
            return
        # New walls stand before old ones fall, but for those that would stand in the same place.
        is_apart = bool(self._places_of_bans and old._places_of_bans)
        is_apart = is_apart and not self._places_of_bans & old._places_of_bans
        bans = [Enforce(one.ban, restored=True) for one in old._ledger]
        had_started = bool(old._started)
        if not is_apart:
            yield from old.stop()
        if had_started or not self.action.starts_on_demand:
            yield from self._start_early()
        yield from self.carry_out(bans)
        if is_apart:
            yield from old.stop()

    @property
    def _places_of_bans(self) -> frozenset[str]:
        """What names where the bans stand, as far as the action says so."""
        places = [self.action.script("actionplace", family) for family in FAMILIES]
        return frozenset(filter(None, places))

    def _may_stay(self, old: Runner) -> Asking[bool]:
        """Whether what the bans of `old` stand in can be kept, or has been changed without letting it go."""
        if not old._started:
            return False
        if self._would_do_as(old, "actionstart", "actionstop"):
            return True
        return self.action.has("actionreload") and (yield from self._reload(old._started))

    def _exchange_bans(self, old: Runner) -> Steps:
        """Make the bans of `old` as they are made by now, in the same place, before it lifts its own."""
        members = list(old._ledger)
        self._started = set(old._started)
        yield from self._make_again(members)
        yield from old._lift_all([Lift(one.ban) for one in members], least=len(members) + 1)
        # To a tool the old and the new may be one, in part or wholly.
        yield from self._make_again(members)
        self._look_soon()

    def _would_do_as(self, old: Runner, *keys: str) -> bool:
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

    def _inherit(self, old: Runner) -> None:
        self._started, self._ledger, self.problem = old._started, old._ledger, old.problem
        self._fresh, self._figures, self._cost = old._fresh, old._figures, old._cost
        self._look_soon()

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
        result = (yield from _run(check)) if check is not None else None
        if result is None or result.is_success:
            return True
        return (yield from self._repair(family, "actioncheck", result))

    def _repair(self, family: str, key: str, found: Result) -> Asking[bool]:
        """Build again what the command `key` has `found` missing, with all bans that were in it."""
        name, place = self.action.name, self._place(family)
        yield Note(logging.WARNING, f"action {name}: {key} failed ({ending(found)}); repairing")
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
        check = self.action.check(family)
        after = (yield from _run(check)) if check is not None else None
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
            if len(failed) >= _MOST_FAILURES:
                break
            command = self.action.reban(one.ban, one.restored)
            result = (yield from _run(command)) if command is not None else None
            if result is not None and not result.is_success:
                failed.append(result)
            else:
                self._hold(one)
        if failed:
            text = f"for {len(failed)} of {len(members)} bans made again"
            yield self._fault("actionban", failed[0], text)

    # -- bans

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

    def _end_of(self, ban: Ban) -> float:
        """When the tool, told now, drops `ban` by itself."""
        left = self.action.remaining(ban)
        return self._ticks() + left if left else math.inf

    def _differ(self, one: float, other: float) -> bool:
        return one != other and not abs(one - other) < _SOON

    def _enforce_all(self, orders: Sequence[Enforce]) -> Steps:
        wanted = {
            order.ban.host: held(order.ban, order.restored)
            for order in orders
            if self.action.is_for_restored or not order.restored
        }
        if self._ledger.foreseen:
            self._take_foreseen(wanted)
        new = [one for host, one in wanted.items() if host not in self._ledger]
        for family in FAMILIES:
            some = [one for one in new if one.family == family]
            if len(some) < 2 or not self.action.has("actionban_many", family):
                continue
            if (yield from self._ready(family)):
                for host in (yield from self._ban_many(family, some)):
                    del wanted[host]
        failures = 0
        for one in wanted.values():
            if failures < _MOST_FAILURES or not self.action.has("actionban_many", one.family):
                is_done = yield from self._enforce(one)
                failures = 0 if is_done else failures + 1
            else:
                self._ledger.put(one)
        if failures >= _MOST_FAILURES:
            text = f"action {self.action.name}: too much fails; of the last bans none is enforced"
            yield self._failed(text)

    def _foresee(self, ends: Mapping[str, float]) -> Steps:
        for family in FAMILIES:
            some = {
                ip: end
                for ip, end in ends.items()
                if (":" in ip) == (family == INET6) and "/" not in ip and ip not in self._ledger
            }
            if len(some) < 2 or not self.action.has("actionunban_many", family):
                continue
            if not (yield from self._ready(family)):
                continue
            for ips, command in self.action.for_ends("actionban_many", family, some):
                result = yield from _run(command)
                if result.is_success:  # else it will be seen when they are ordered
                    self._ledger.foreseen.update((ip, some[ip]) for ip in ips)

    def _take_foreseen(self, wanted: dict[str, Held]) -> None:
        """Hold those of `wanted` that are enforced already, and leave the others."""
        foreseen = self._ledger.foreseen
        done = [
            one
            for one in wanted.values()
            if one.restored and foreseen.get(one.ip) == one.ban.since + one.ban.seconds
        ]
        for one in done:
            del foreseen[one.ip]
            del wanted[one.ban.host]
        self._hold_all(done)

    def _ban_many(self, family: str, members: Sequence[Held]) -> Asking[set[str]]:
        """Ban `members` together; the hosts of those that are.  What is broken is mended once."""
        now = self._ticks()
        lingering, some = [], list(members)
        if not self._ledger.is_tidy:
            lingering = [one for one in members if self._ledger.may_linger(one.ip, now)]
            some = [one for one in members if not self._ledger.may_linger(one.ip, now)]
        done, has_failed = yield from self._at_once("actionban_many", some)
        if has_failed:
            check = self.action.check(family)
            found = (yield from _run(check)) if check is not None else None
            if found is not None and not found.is_success:
                self._seen[family] = yield from self._repair(family, "actioncheck", found)
                rest = [one for one in some if one.ban.host not in done]
                again, _ = yield from self._at_once("actionban_many", rest)
                done |= again
        if lingering:
            # Some tools leave an entry that is there its old end.
            renewed, _ = yield from self._at_once("actionprolong_many", lingering)
            done |= renewed
        return done

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
        result = yield from _run(command)
        if result.is_success:
            return list(portion)
        tries[0] += 1
        if len(portion) < 4 or tries[0] > _MOST_FAILURES or _is_hopeless(result):
            return []  # one by one it will show what is wrong
        done: list[Ban] = []
        middle = len(portion) // 2
        for half in (portion[:middle], portion[middle:]):
            for part, again in self.action.for_many(key, half):
                done += yield from self._portion(key, part, again, tries)
        return done

    def _enforce(self, one: Held) -> Asking[bool]:
        """Ban one host; whether that is so."""
        ban = one.ban
        if not self.action.has("actionban", one.family):
            return True
        self._ledger.take(ban.host)  # not to be made twice by a start
        is_ready = yield from self._ready(one.family)
        lingers = self._ledger.may_linger(one.ip, self._ticks())
        self._ledger.put(one)
        if not is_ready:
            host = quotable(ban.host)
            text = f"action {self.action.name}: {host} is not banned, as it is not started"
            yield Note(logging.ERROR, text)
            return False
        command = self.action.ban(ban, one.restored)
        assert command is not None
        if lingers and self.action.expires:
            command = self.action.prolong(ban, one.restored) or command
        result = yield from _run(command)
        if not result.is_success and (yield from self._may_try_again(one, result)):
            result = yield from _run(command)
        if result.is_success:
            self.problem = ""
            self._hold(one)
        else:
            yield self._fault("actionban", result, f"of {quotable(ban.host)}")
        return result.is_success

    def _may_try_again(self, one: Held, result: Result) -> Asking[bool]:
        """Whether a ban that failed is worth a second try, once what is broken has been repaired."""
        if _is_hopeless(result) or not self.action.has("actionstart", one.family):
            return False
        check = self.action.check(one.family)
        found = result if check is None else (yield from _run(check))
        if found.is_success or (check is None and not self.action.has("actionrepair")):
            return True
        self._ledger.take(one.ban.host)
        is_repaired = yield from self._repair(one.family, "actioncheck", found)
        self._seen[one.family] = is_repaired
        self._ledger.put(one)
        return is_repaired

    def _prolong_all(self, orders: Sequence[Prolong]) -> Steps:
        members = []
        for order in orders:
            before = self._ledger.get(order.ban.host)
            if before is not None:
                now = before._replace(ban=order.ban)
                self._ledger.put(now)
                if self._place(now.family) in self._started:
                    members.append(now)
        yield from self._renew(members)

    def _renew(self, members: Sequence[Held]) -> Steps:
        """Tell the tool when `members`, which it bans already, end by now."""
        done, _ = yield from self._at_once("actionprolong_many", members)
        failures = 0
        for one in members:
            if one.ban.host in done or failures >= _MOST_FAILURES:
                continue
            command = self.action.prolong(one.ban, one.restored)
            if command is None:
                continue
            result = yield from _run(command)
            if result.is_success:
                self._hold(one)
            else:
                failures += 1
                yield self._fault("actionprolong", result, f"of {quotable(one.ban.host)}")

    # -- lifting

    def _lift_all(self, lifts: Sequence[Lift], least: int = 2) -> Steps:
        lifts = self._without_those_gone(lifts)
        hosts = {lift.ban.host: None for lift in lifts}
        may_flush = len(lifts) >= least and self.action.has("actionflush")
        for place in self._places("actionflush") if may_flush else ():
            members = [one.ban.host for one in self._ledger if place is None or one.family == place]
            if len(members) >= least and hosts.keys() >= set(members):
                yield from self._flush(place, members)
        liftable = [one for host in hosts if (one := self._ledger.get(host)) is not None]
        liftable = [one for one in liftable if self._place(one.family) in self._started]
        done, _ = yield from self._at_once("actionunban_many", liftable)
        for host in done:
            self._ledger.take(host)
        failures = 0
        for lift in lifts:
            if failures >= _MOST_FAILURES and self.action.has("actionunban_many"):
                self._give_up(lift.ban)
                continue
            is_done = yield from self._lift(lift.ban)
            failures = 0 if is_done else failures + 1

    def _without_those_gone(self, lifts: Sequence[Lift]) -> Sequence[Lift]:
        """`lifts` without those for which the tool needs no telling, as their time is over there, too."""
        soon = self._ticks() + _SOON
        left = []
        for lift in lifts:
            one = self._ledger.get(lift.ban.host)
            if lift.is_over and one is not None and one.ends <= soon:
                self._ledger.take(lift.ban.host)
                self._ledger.leave(one)
            else:
                left.append(lift)
        return left

    def _clear_away(self, bans: Sequence[Ban]) -> Steps:
        if not self.action.is_for_restored:
            return
        ours = {one.ip for one in self._ledger}
        for family in FAMILIES:
            left = [held(ban, restored=True) for ban in bans if ban.host not in self._ledger]
            left = [one for one in left if one.family == family and one.ip not in ours]
            # What was left of a family that nobody is banned of may go with its start, or a look.
            if not left or not self.action.has("actionunban", family):
                continue
            if not (yield from self._ready(family)) or self.action.has("actionlist", family):
                continue
            failed = yield from self._drop(left)
            text = f"action {self.action.name}: {len(left)} bans that ended while no server ran"
            if failed:  # as a rule since they are not there any more
                yield Note(logging.INFO, f"{text}: lifting failed ({ending(failed[0][1])})")
            else:
                yield Note(logging.INFO, f"{text} are lifted")

    def _give_up(self, ban: Ban) -> None:
        one = self._ledger.take(ban.host)
        if one is not None:
            self._ledger.stick(one.ip)

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
            self._ledger.take(host)

    def _lift(self, ban: Ban) -> Asking[bool]:
        one = self._ledger.take(ban.host)
        if one is None or self._place(one.family) not in self._started:
            return True
        command = self.action.unban(one.ban, one.restored)
        if command is None:
            return True
        result = yield from _run(command)
        if result.is_success:
            return True
        check = None if _is_hopeless(result) else self.action.check(one.family)
        found = (yield from _run(check)) if check is not None else None
        if found is None or found.is_success:
            if self._may_look:
                self._ledger.stick(one.ip)
            yield self._fault("actionunban", result, f"of {quotable(ban.host)}")
        elif self.action.repairs_on_unban:
            yield from self._repair(one.family, "actioncheck", found)
        else:
            host = quotable(ban.host)
            text = f"action {self.action.name}: nothing to lift for {host}: {ending(found)}"
            yield Note(logging.WARNING, text)
        return False

    # -- looking whether it is so

    @property
    def _may_look(self) -> bool:
        return self._interval > 0 and bool(self._started) and self.action.has("actionlist")

    def _look_soon(self) -> None:
        """What has changed is to be looked at: soon, but not all the time."""
        if self._may_look:
            self.due = min(self.due, self._ticks() + self.rest)

    def _look(self) -> Steps:
        for family in FAMILIES:
            command = self.action.listing(family)
            if command is None or self._place(family) not in self._started:
                continue
            listed = yield from self._listed(family, command)
            if listed is None:
                continue
            mended = yield from self._mend(family, listed)
            if mended:
                listed = (yield from self._listed(family, command)) or listed
            yield from self._report(family, listed, mended)
            self._fresh.discard(family)

    def _listed(self, family: str, command: ShellCommand) -> Asking[Listed | None]:
        """What the tool says it enforces, once what was broken is built again; None where it tells nothing."""
        result = yield from _run(command)
        if not result.is_success and not _is_hopeless(result):
            if not (yield from self._repair(family, "actionlist", result)):
                self._figures[family] = 0, len(self._ledger.of_family(family))
                return None
            result = yield from _run(command)
        if not result.is_success:
            yield self._fault("actionlist", result)
            self._figures.pop(family, None)
            return None
        if len(result.stdout) >= command.output_limit:
            yield Note(logging.WARNING, f"action {self.action.name}: actionlist prints too much")
            return None
        return Listed(result.stdout)

    def _mend(self, family: str, listed: Listed) -> Asking[str]:
        """Make true what `listed` shows to be otherwise; in words, empty if there was nothing to do."""
        found = self._ledger.differences(family, listed, self._ticks())
        stuck = {*self._ledger.stuck(family)} & {*listed.ends}
        for ip in self._ledger.stuck(family):
            if ip not in stuck:
                self._ledger.unstick(ip)
        # Of what stood there before we came nobody knows whose it is; its bans are over.
        left = found.extra if family in self._fresh else sorted(stuck)
        over = [held(Ban(self.action.jail, ip, 0.0, 0.0), restored=True) for ip in left]
        missing = found.missing
        if any("/" in ip for ip in left):
            wanted = [Enforce(one.ban, one.restored) for one in missing]
            rest = yield from self._exchange([*wanted, *(Lift(one.ban) for one in over)])
            hosts = {order.ban.host for order in rest}
            missing, over = ([one for one in some if one.ip in hosts] for some in (missing, over))
        yield from self._make_again(missing)
        yield from self._renew(found.stale if self.action.expires else ())
        yield from self._drop_all(over)
        words = (
            (found.missing, "missing and banned again"),
            (found.stale if self.action.expires else (), "with another end, now right"),
            (left, "left over, now lifted"),
        )
        return ", ".join(f"{len(some)} {text}" for some, text in words if some)

    def _drop_all(self, members: Sequence[Held]) -> Steps:
        for one, result in (yield from self._drop(members)):
            yield self._fault("actionunban", result, f"of {quotable(one.ip)}")

    def _drop(self, members: Sequence[Held]) -> Asking[list[tuple[Held, Result]]]:
        """Lift `members`, which are banned for nobody; those for which that failed, and how."""
        done, _ = yield from self._at_once("actionunban_many", members)
        failed: list[tuple[Held, Result]] = []
        for one in members:
            if one.ban.host in done:
                self._ledger.unstick(one.ip)
                continue
            command = self.action.unban(one.ban, restored=True)
            if command is None or len(failed) >= _MOST_FAILURES:
                continue
            result = yield from _run(command)
            if result.is_success:
                self._ledger.unstick(one.ip)
            else:
                failed.append((one, result))
        return failed

    def _report(self, family: str, listed: Listed, mended: str) -> Steps:
        name, wanted = self.action.name, len(self._ledger.of_family(family))
        found = self._ledger.differences(family, listed, self._ticks())
        self._figures[family] = wanted - len(found.missing), wanted
        text = f"action {name}: enforced {wanted - len(found.missing)}/{wanted}"
        if found.missing:
            hosts = ", ".join(quotable(one.ban.host) for one in found.missing[:3])
            yield self._failed(f"{text}; missing: {hosts}{', …' if len(found.missing) > 3 else ''}")
        elif mended:
            yield Note(logging.WARNING, f"{text} ({mended})")
        else:
            is_new = family in self._fresh
            yield Note(logging.INFO if is_new else logging.DEBUG, text)
        if all(found == wanted for found, wanted in self._figures.values()):
            self.problem = ""
        if found.extra and self._strangers.get(family) != len(found.extra):
            hosts = ", ".join(map(quotable, found.extra[:3]))
            more = ", …" if len(found.extra) > 3 else ""
            yield Note(
                logging.WARNING,
                f"action {name}: {len(found.extra)} banned there by somebody else, and left alone:"
                f" {hosts}{more}",
            )
        self._strangers[family] = len(found.extra)

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


def _run(command: ShellCommand) -> Asking[Result]:
    result = yield command
    assert isinstance(result, Result)
    return result


def _is_hopeless(result: Result) -> bool:
    """What is not there, may not run or hangs will do so again."""
    return result.is_timeout or result.status in (126, 127)
