# SPDX-License-Identifier: GPL-2.0-or-later
"""One action of shell commands at work: started, told whom to ban, looked after, stopped.

Sans-IO as its enforcer is: what should run is yielded, how it ended is sent back.  Knows no other
action, no queue and no thread.  How it is kept ready stands in keeper, how orders are carried out in executor.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping, Sequence

from server.action import FAMILIES, quotable
from server.executor import Executor
from server.keeper import is_hopeless, ran
from server.ledger import Listed, held
from server.records import Ban, Enforce, Lift, Order, ShellCommand
from server.steps import Asking, Note, Steps

_STANDING = ("actionstart", "actionunban", "actionflush")
_AFTER_BANS = 1.0  # seconds from a ban to the look whether it is enforced
_CROWD = 1000  # orders, after which a kernel's table is still being arranged, and not all is listed
_SHARE = 20  # looking takes no more than this part of the time


class Runner(Executor):
    """One action at work.

    `enforced` is of how many bans the tool itself says that they are enforced, and of how many it should.
    """

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

    # -- taking over from another

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
            result = (yield from ran(reload)) if reload is not None else None
            if result is not None and not result.is_success:
                yield self._fault("actionreload", result)
                return False
        return True

    def _inherit(self, old: Runner) -> None:
        self._started, self._ledger, self.problem = old._started, old._ledger, old.problem
        self._fresh, self._figures, self._cost = old._fresh, old._figures, old._cost
        self._look_soon()

    # -- looking whether it is so

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
        result = yield from ran(command)
        if not result.is_success and not is_hopeless(result):
            if not (yield from self._repair(family, "actionlist", result)):
                self._figures[family] = 0, len(self._ledger.of_family(family))
                return None
            result = yield from ran(command)
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
