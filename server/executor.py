# SPDX-License-Identifier: GPL-2.0-or-later
"""Orders become commands of one action: to ban, to make a ban longer, to lift; for many at once or one by one."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby

from server.action import FAMILIES, INET6, ending, family_of_ip, quotable
from server.exchange import exchange_of, overlaps, without_passing
from server.keeper import MOST_FAILURES, Keeper, is_hopeless, ran
from server.ledger import Held, held
from server.records import Ban, Enforce, Lift, Order, Prolong, Result
from server.steps import Asking, Note, Steps

_SOON = 5.0  # seconds: what a tool drops within them needs no command


class Executor(Keeper):
    """An action that carries out orders."""

    def _carry_out(self, orders: Sequence[Order]) -> Steps:
        orders = yield from self._exchange(orders)
        # One ban may take the place of others: the new walls stand before the old ones fall.
        yield from self._enforce_all([order for order in orders if isinstance(order, Enforce)])
        yield from self._prolong_all([order for order in orders if isinstance(order, Prolong)])
        yield from self._lift_all([order for order in orders if isinstance(order, Lift)])

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
        networks: list[str] = []  # what is banned anew
        is_strict = self.action.has("actionexchange_many")
        for order in orders:
            host = order.ban.host
            if isinstance(order, Lift):
                lifted.add(host)
            elif host in lifted or (  # in a turn, lifting comes last
                # What it takes the place of is lifted behind it, and nothing that it could overlap with
                # is to come with it.
                is_strict and "/" in host and (lifted or overlaps(host, networks))
            ):
                yield turn
                turn, lifted, networks = [], set(), []
            if isinstance(order, Enforce) and "/" in host:
                networks.append(host)
            turn.append(order)
        yield turn

    def _exchange(self, orders: Sequence[Order]) -> Asking[Sequence[Order]]:
        """Have networks take each other's place in one go, where the tool wants it; what is left to do."""
        if not self.action.has("actionexchange_many"):
            return orders
        orders = without_passing(orders)
        bans, lifts = exchange_of(orders)
        done: set[int] = set()
        for family in FAMILIES:
            new = [held(order.ban, order.restored) for order in bans]
            new = [one for one in new if one.family == family]
            gone = [lift.ban.host for lift in lifts if family_of_ip(lift.ban.host) == family]
            if not new or not (yield from self._ready(family)):
                continue
            command = self.action.exchange([one.ban for one in new], gone)
            result = (yield from ran(command)) if command is not None else None
            if result is None or not result.is_success:  # one by one it will show what is wrong
                continue
            for host in gone:
                self._ledger.take(host)
                self._ledger.unstick(host)
            self._hold_all(new)
            hosts = {*gone, *(one.ban.host for one in new)}
            done.update(id(order) for order in orders if order.ban.host in hosts)
        return [order for order in orders if id(order) not in done]

    # -- bans

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
            if failures < MOST_FAILURES or not self.action.has("actionban_many", one.family):
                is_done = yield from self._enforce(one)
                failures = 0 if is_done else failures + 1
            else:
                self._ledger.put(one)
        if failures >= MOST_FAILURES:
            text = f"action {self.action.name}: too much fails; of the last bans none is enforced"
            yield self._failed(text)

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
            found = (yield from ran(check)) if check is not None else None
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
        result = yield from ran(command)
        if not result.is_success and (yield from self._may_try_again(one, result)):
            result = yield from ran(command)
        if result.is_success:
            self.problem = ""
            self._hold(one)
        else:
            yield self._fault("actionban", result, f"of {quotable(ban.host)}")
        return result.is_success

    def _may_try_again(self, one: Held, result: Result) -> Asking[bool]:
        """Whether a ban that failed is worth a second try, once what is broken has been repaired."""
        if is_hopeless(result) or not self.action.has("actionstart", one.family):
            return False
        check = self.action.check(one.family)
        found = result if check is None else (yield from ran(check))
        if found.is_success or (check is None and not self.action.has("actionrepair")):
            return True
        self._ledger.take(one.ban.host)
        is_repaired = yield from self._repair(one.family, "actioncheck", found)
        self._seen[one.family] = is_repaired
        self._ledger.put(one)
        return is_repaired

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
                result = yield from ran(command)
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

    # -- bans that grow

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
            if one.ban.host in done or failures >= MOST_FAILURES:
                continue
            command = self.action.prolong(one.ban, one.restored)
            if command is None:
                continue
            result = yield from ran(command)
            if result.is_success:
                self._hold(one)
            else:
                failures += 1
                yield self._fault("actionprolong", result, f"of {quotable(one.ban.host)}")

    def _end_of(self, ban: Ban) -> float:
        """When the tool, told now, drops `ban` by itself."""
        left = self.action.remaining(ban)
        return self._ticks() + left if left else math.inf

    def _differ(self, one: float, other: float) -> bool:
        return one != other and not abs(one - other) < _SOON

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
            if failures >= MOST_FAILURES and self.action.has("actionunban_many"):
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

    def _give_up(self, ban: Ban) -> None:
        one = self._ledger.take(ban.host)
        if one is not None:
            self._ledger.stick(one.ip)

    def _flush(self, place: str | None, members: Collection[str]) -> Steps:
        """Lift all bans of `members` at once; if that fails they stay, to be lifted one by one."""
        flush = self.action.flush(place)
        if flush is None or not self._started:
            return
        result = yield from ran(flush)
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
        result = yield from ran(command)
        if result.is_success:
            return True
        check = None if is_hopeless(result) else self.action.check(one.family)
        found = (yield from ran(check)) if check is not None else None
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

    # -- lifting what is nobody's

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
            if command is None or len(failed) >= MOST_FAILURES:
                continue
            result = yield from ran(command)
            if result.is_success:
                self._ledger.unstick(one.ip)
            else:
                failed.append((one, result))
        return failed
