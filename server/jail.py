# SPDX-License-Identifier: GPL-2.0-or-later
"""The verdict: failures come in, orders go out.  Start reading here.

Knows no log file, no command and no clock: moments come in as arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from common.options import JailConf
from server.bans import BanList
from server.bantime import length_of
from server.counter import FailureCounter
from server.ignore import IgnoreList
from server.records import (
    AlreadyBanned,
    Ban,
    Enforce,
    Event,
    Failure,
    Ignored,
    Lift,
    Order,
    Position,
    Progress,
)

_REMEMBERED = 4096  # hosts of which is known whether they are ignored
# A log's clock may be ahead of ours by so much; a failure from further ahead counts as one of now.
_AHEAD = 60.0


@dataclass(frozen=True, slots=True)
class Help:
    """What a jail asks of the world, handed in: for its decisions and nothing else.

    `earlier_bans(host, jail or None for all)` tells how many bans a host has had; `is_ignored`
    whether the jail's ignorecommand says so of a failure; `chance` is a number from 0 to 1.
    """

    earlier_bans: Callable[[str, str | None], int] = lambda host, jail: 0
    is_ignored: Callable[[Failure], bool] = lambda failure: False
    chance: Callable[[], float] = lambda: 0.0


@dataclass(slots=True)
class _Changes:
    """What has changed since the last `take_progress`, as net effect."""

    banned: dict[str, Ban] = field(default_factory=dict)
    lifted: dict[str, None] = field(default_factory=dict)
    settled: dict[str, None] = field(default_factory=dict)
    failed: dict[str, list[Failure]] = field(default_factory=dict)

    def ban(self, ban: Ban) -> None:
        self.lifted.pop(ban.host, None)
        self.banned[ban.host] = ban

    def lift(self, host: str) -> None:
        # The ban is saved all the same: it is history.
        self.lifted[host] = None

    def settle(self, host: str) -> None:
        self.failed.pop(host, None)
        self.settled[host] = None


class Jail:
    """Who failed, and who is shut out, by the rules of one `JailConf`."""

    def __init__(self, conf: JailConf, help: Help | None = None) -> None:
        self.conf = conf
        self.bans = BanList()
        self.failures = FailureCounter(conf.max_retry, conf.find_time)
        self.total_failed = 0
        self.total_banned = 0
        self._help = help or Help()
        self._ignore(IgnoreList(conf.ignore_ip))
        self._changes = _Changes()

    # -- what happens ------------------------------------------------------------------------------

    def on_failure(self, failure: Failure, now: float) -> list[Order | Event]:
        """A host failed."""
        if failure.when > now + _AHEAD:
            failure = failure._replace(when=now)
        if failure.when < now - self.conf.find_time:
            return []
        if why := self._why_ignored(failure):
            return [Ignored(failure.host, why)]
        self.total_failed += failure.attempts
        said: list[Order | Event] = [failure]
        self._changes.failed.setdefault(failure.host, []).append(failure)
        if self.failures.add(failure) >= self.conf.max_retry:
            said += self._convict(failure.host, now)
        return said

    def on_time(self, now: float) -> list[Order]:
        """Lift the bans that are over by `now`, and forget failures that no longer count."""
        self.failures.drop_older_than(now - self.conf.find_time)
        over = self.bans.take_over(now)
        for ban in over:
            self._changes.lift(ban.host)
        return [Lift(ban) for ban in over]

    @property
    def next_moment(self) -> float:
        """When `on_time` has something to do next."""
        return self.bans.next_end

    def follow_clock(self, step: float, since: float) -> None:
        """The clock was stepped: the bans that began at `since` or later keep their length."""
        for ban in self.bans:
            if ban.since >= since:
                moved = replace(ban, since=ban.since + step)
                self.bans.put(moved)
                self._changes.ban(moved)

    def is_ignored(self, failure: Failure) -> bool:
        """Whether `failure` would count for nothing."""
        return bool(self._why_ignored(failure))

    # -- what people ask for -----------------------------------------------------------------------

    def ban(self, host: str, now: float, failures: tuple[Failure, ...] = ()) -> list[Order]:
        """Shut `host` out, whoever says so; nothing to do if it is already."""
        if host in self.bans:
            return []
        earlier = self._earlier_bans(host)
        length = length_of(
            self.conf.ban_time, earlier, self.conf.ban_time_extra, self._help.chance()
        )
        lines = [line for failure in failures for line in failure.lines]
        ban = Ban(
            jail=self.conf.name,
            host=host,
            since=now,
            seconds=length,
            matches=tuple(lines[-self.conf.max_matches :]) if self.conf.max_matches else (),
            failures=sum(failure.attempts for failure in failures),
            count=earlier + 1,
            fields=_merged(failure.fields for failure in failures),
        )
        self.bans.put(ban)
        self.total_banned += 1
        self._changes.ban(ban)
        return [Enforce(ban)]

    def unban(self, host: str) -> list[Order]:
        """Let `host` in again, and forget its failures; an empty list if it was not shut out."""
        if self.failures.take(host):
            self._changes.settle(host)
        ban = self.bans.take(host)
        if ban is None:
            return []
        self._changes.lift(host)
        return [Lift(ban)]

    def unban_all(self) -> list[Order]:
        """Let everybody in again."""
        return [order for ban in self.bans for order in self.unban(ban.host)]

    def change(self, conf: JailConf) -> None:
        """Go on by the rules of `conf`; who is shut out stays so."""
        self.conf = conf
        self.failures.change(conf.max_retry, conf.find_time)
        self._ignore(IgnoreList(conf.ignore_ip))

    def ignore_also(self, hosts: Iterable[str]) -> None:
        """Ignore `hosts`, too: this machine's own, and what names and files among the ignored say."""
        self._ignore(self._ignored.and_also(hosts))

    # -- across restarts ---------------------------------------------------------------------------

    def restore(self, bans: Iterable[Ban], failures: Iterable[Failure], now: float) -> list[Order]:
        """Take up what an earlier run has left."""
        orders: list[Order] = []
        for failure in failures:
            if failure.when >= now - self.conf.find_time:
                self.failures.add(failure)
        for ban in bans:
            if ban.until > now and ban.host not in self.bans and not self._ignored.covers(ban.host):
                self.bans.put(ban)
                self.total_banned += 1
                orders.append(Enforce(ban, restored=True))
        return orders

    def take_progress(self, positions: Mapping[str, Position | str]) -> Progress:
        """What changed since the last call, with how far the logs have been read by then."""
        changes, self._changes = self._changes, _Changes()
        return Progress(
            jail=self.conf.name,
            positions=positions,
            banned=tuple(changes.banned.values()),
            lifted=tuple(changes.lifted),
            settled=tuple(changes.settled),
            failed=tuple(one for many in changes.failed.values() for one in many),
        )

    # ----------------------------------------------------------------------------------------------

    def _convict(self, host: str, now: float) -> list[Order | Event]:
        failures = self.failures.take(host)
        self._changes.settle(host)
        if host in self.bans:
            return [AlreadyBanned(host)]
        return [*self.ban(host, now, failures)]

    def _ignore(self, hosts: IgnoreList) -> None:
        self._ignored = hosts
        self._is_covered = lru_cache(_REMEMBERED)(hosts.covers)

    def _why_ignored(self, failure: Failure) -> str:
        if self._is_covered(failure.host):
            return "ip"
        return "command" if self._help.is_ignored(failure) else ""

    def _earlier_bans(self, host: str) -> int:
        extra = self.conf.ban_time_extra
        if not extra.get("increment"):
            return 0
        return self._help.earlier_bans(host, None if extra.get("overalljails") else self.conf.name)


def _merged(fields: Iterable[Mapping[str, object]]) -> Mapping[str, object]:
    """What the failures knew; the last one to know a thing has the say."""
    merged: dict[str, object] = {}
    for one in fields:
        merged.update(one)
    return merged
