# SPDX-License-Identifier: GPL-2.0-or-later
"""The verdict: failures come in, orders go out.  Start reading here.

Knows no log file, no command and no clock: moments come in as arguments.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from common.address import holds, place_of
from common.options import JailConf
from server.bans import BanList
from server.bantime import length_of
from server.counter import FailureCounter
from server.ignore import IgnoreList
from server.networks import (
    counted_as,
    group_of,
    nested,
    network_for,
    parts_from,
    remains,
    single_of,
)
from server.packing import Failures, Packer
from server.pardons import Pardons
from server.portion import Portion
from server.records import (
    AlreadyBanned,
    Ban,
    Crowded,
    Enforce,
    Event,
    Failed,
    Failure,
    Ignored,
    Lift,
    Order,
    Position,
    Progress,
    Spared,
)

# Hosts of which is known whether they are ignored, and what they are counted as.
_REMEMBERED = 8192
# A log's clock may be ahead of ours by so much; a failure from further ahead counts as one of now.
_AHEAD = 60.0
# Of hosts forgotten at the ceiling the log tells so often; after such a pause they are counted anew.
_CROWD_WORD = 600.0
_CROWD_OVER = 86400.0
_SPARED = (86400.0, 100)  # who was spared is told for so many seconds, and so many of them


@dataclass(frozen=True, slots=True)
class Help:
    """What a jail asks of the world, handed in: for its decisions and nothing else.

    `earlier_bans(host, jail or None for all)` tells how many bans a host has had; `is_ignored`
    whether the jail's ignorecommand says so of a failure; `chance` is a number from 0 to 1;
    `sessions` are the addresses from which somebody is logged in now.
    """

    earlier_bans: Callable[[str, str | None], int] = lambda host, jail: 0
    is_ignored: Callable[[Failure], bool] = lambda failure: False
    chance: Callable[[], float] = lambda: 0.0
    sessions: Callable[[], Collection[str]] = tuple


@dataclass(slots=True)
class _Changes:
    """What has changed since the last `take_progress`, as net effect."""

    banned: dict[str, Ban] = field(default_factory=dict)
    lifted: dict[str, None] = field(default_factory=dict)
    # Hosts whose failures up to there count no longer: so many of those below, and all before.
    settled: dict[str, int] = field(default_factory=dict)
    # Who failed, and what a packer has made of it.
    hosts: list[str] = field(default_factory=list)
    packed: list[bytes] = field(default_factory=list)
    # No failure was before, and none after.
    oldest: float = math.inf
    newest: float = -math.inf

    def ban(self, ban: Ban) -> None:
        self.lifted.pop(ban.host, None)
        self.banned[ban.host] = ban

    def lift(self, host: str) -> None:
        # The ban is saved all the same: it is history.
        self.lifted[host] = None

    def fail(self, hosts: Iterable[str], moments: Sequence[float], packed: Iterable[bytes]) -> None:
        self.hosts += hosts
        self.packed += packed
        self.oldest = min(self.oldest, min(moments))
        self.newest = max(self.newest, max(moments))

    def settle(self, host: str) -> None:
        self.settled[host] = len(self.hosts)

    def failed(self, packer: Packer) -> Collection[Failure]:
        """The failures that still count."""
        hosts, packed = self.hosts, self.packed
        span: tuple[float, float] | None = (self.oldest, self.newest)
        if self.settled:
            upto = self.settled.get
            left = [at for at, host in enumerate(hosts) if upto(host, 0) <= at]
            hosts, packed = [hosts[at] for at in left], [packed[at] for at in left]
            span = None
        return Portion(packer.kinds, hosts, packed, span) if packed else ()


@dataclass(slots=True)
class _Crowd:
    """How many hosts were forgotten since more failed at a time than are counted."""

    hosts: int = 0
    last: float = -math.inf
    untold: int = 0
    next_word: float = -math.inf

    def grow(self, hosts: int, most: int, now: float) -> list[Event]:
        """So many more were; what is to be said of it now, once in a while."""
        if self.last < now - _CROWD_OVER:
            self.hosts = 0
        self.hosts, self.last, self.untold = self.hosts + hosts, now, self.untold + hosts
        if now < self.next_word:
            return []
        said, self.untold, self.next_word = Crowded(self.untold, most), 0, now + _CROWD_WORD
        return [said]

    def told(self, horizon: float, most: int) -> str:
        if self.last < horizon:
            return ""
        return (
            f"more hosts fail than can be counted at a time (maxhosts = {most});"
            f" {self.hosts} that failed least were forgotten"
        )


class Jail:
    """Who failed, and who is shut out, by the rules of one `JailConf`."""

    def __init__(self, conf: JailConf, help: Help | None = None) -> None:
        self.conf = conf
        self.bans = BanList()
        self.packer = Packer()
        self.failures = FailureCounter(
            conf.max_retry, conf.find_time, conf.max_hosts, conf.max_matches, self.packer
        )
        self.total_failed = 0
        self.total_banned = 0
        self._help = help or Help()
        self._pardons = Pardons()
        self._spared: dict[str, float] = {}
        self._crowd = _Crowd()
        self._ignore(IgnoreList(conf.ignore_ip))
        self._changes = _Changes()
        self._held: dict[str, list[Failure]] = {}

    # -- what happens ------------------------------------------------------------------------------

    def on_failure(self, failure: Failure, now: float) -> list[Order | Event]:
        """A host failed."""
        return self.on_failures(Failures(self.packer, (failure,)), now)

    def on_failures(self, failures: Failures, now: float) -> list[Order | Event]:
        """Hosts failed, one after the other, as `packer` has packed it; what comes of it, in their order."""
        said: list[Order | Event] = []
        counted = self._all_counted(failures.hosts)
        begin = 0
        for at in self._odd_among(failures, counted, now):
            if begin < at:
                self._count(failures[begin:at], counted[begin:at], now, said)
            self._look_at(failures[at : at + 1], counted[at], now, said)
            begin = at + 1
        self._count(failures[begin:], counted[begin:], now, said)
        return said

    def _odd_among(self, failures: Failures, counted: Sequence[str], now: float) -> Iterable[int]:
        """Which failures, by their places, may be more than just counted."""
        if self.conf.ignore_command:
            return range(len(failures))
        latest, horizon, moments = now + _AHEAD, now - self.conf.find_time, failures.moments
        forgive = self._pardons.forgive if self._pardons else None
        is_now = not moments or horizon <= min(moments) <= max(moments) <= latest
        if is_now and all(counted) and forgive is None:
            return ()
        each = enumerate(zip(failures.hosts, counted, moments, strict=True))
        return [
            at
            for at, (host, into, when) in each
            if not into or not horizon <= when <= latest or (forgive and forgive(host, when))
        ]

    def _look_at(self, one: Failures, counted: str, now: float, said: list[Order | Event]) -> None:
        """A host failed, of which not more is known."""
        (host,), (when,) = one.hosts, one.moments
        if when < now - self.conf.find_time:
            return
        if when > now + _AHEAD:
            when, one = now, Failures(self.packer, (one[0]._replace(when=now),))
        if self._pardons and self._pardons.forgive(host, when):
            return
        if not counted:
            said.append(Ignored(host, "ip"))
        elif self.conf.ignore_command and self._help.is_ignored(one[0]):
            said.append(Ignored(host, "command"))
        else:
            self._count(one, [counted], now, said)

    def _count(
        self, failures: Failures, counted: list[str], now: float, said: list[Order | Event]
    ) -> None:
        """Hosts failed, which count as `counted`."""
        hosts, moments, packed = failures.hosts, failures.moments, failures.packed
        if counted != hosts:
            packed = [
                one if into == host else self.packer.moved(host, into, one)
                for host, into, one in zip(hosts, counted, packed, strict=True)
            ]
        is_each_one = self.packer.is_each_one
        self.total_failed += (
            len(hosts) if is_each_one else sum(map(self.packer.attempts_of, packed))
        )
        counter, most, begin = self.failures, self.conf.max_retry, 0
        while begin < len(hosts):
            upto, times = counter.put(counted, moments, packed, begin, most)
            self._changes.fail(counted[begin:upto], moments[begin:upto], packed[begin:upto])
            said.append(Failed(hosts[begin:upto], moments[begin:upto]))
            begin = upto
            if times >= most:
                said += self._convict(counted[upto - 1], now)
            if counter.forgotten:
                forgotten = self._settle_forgotten()
                said += self._crowd.grow(forgotten, self.conf.max_hosts, now)

    def hold(self, failure: Failure) -> None:
        """Keep in mind, and save, a failure by a name until `release`; it counts for nothing yet."""
        self._held.setdefault(failure.host, []).append(failure)
        self._changes.fail((failure.host,), (failure.when,), (self.packer.pack(failure),))

    def release(self, failure: Failure) -> None:
        """It is known whose `failure` was; what that comes to is saved together with this."""
        held = self._held.get(failure.host, [])
        if failure not in held:
            return
        held.remove(failure)
        self._changes.settle(failure.host)
        for one in held:
            self._changes.fail((one.host,), (one.when,), (self.packer.pack(one),))
        if not held:
            del self._held[failure.host]

    @property
    def held(self) -> list[Failure]:
        return [failure for held in self._held.values() for failure in held]

    def on_time(self, now: float) -> list[Order]:
        """Lift the bans that are over by `now`, and forget failures that no longer count."""
        self.failures.drop_older_than(now - self.conf.find_time)
        if not self.failures and not self._changes.packed:
            self.packer.clear()
        self._pardons.drop_older_than(now - self.conf.find_time)
        orders: list[Order] = []
        for ban in self.bans.take_over(now):
            orders += self._exchange(ban, ban.parts, now, is_over=True)
        return orders

    @property
    def next_moment(self) -> float:
        """When `on_time` has something to do next."""
        return self.bans.next_end

    def follow_clock(self, step: float, since: float) -> None:
        """The clock was stepped: bans that began at `since` or later keep their length, failures
        since then their age.
        """
        for ban in self.bans:
            if ban.since >= since:
                moved = _moved(ban, step, since)
                self.bans.put(moved)
                self._changes.ban(moved)
        self._pardons.follow_clock(step)
        recent = [one.host for one in self.failures.everything() if one.when >= since]
        for host in dict.fromkeys(recent):
            self._changes.settle(host)
            for one in self.failures.take(host):
                then = one.when + step if one.when >= since else one.when
                self._note(one._replace(when=then))

    def is_ignored(self, failure: Failure) -> bool:
        """Whether `failure` would count for nothing."""
        if self._ignored.covers(failure.host):
            return True
        return bool(self.conf.ignore_command) and self._help.is_ignored(failure)

    # -- what people ask for -----------------------------------------------------------------------

    def ban(self, host: str, now: float) -> list[Order]:
        """Shut `host` out, as somebody says so; nothing to do if it is already."""
        self._spared.pop(host, None)
        around = self.bans.covering(host)
        if around is None:
            return self._shut_out(self._sentence(host, now, ()))
        running = {part.host for part in around.parts if part.until > now}
        if around.host == host or host in running:
            return []
        return [self._keep_in(around, self._sentence(host, now, ()))]

    def unban(self, host: str, now: float) -> list[Order]:
        """Let `host`, an address or a network, in again, and forget what it did until `now`.

        An empty list if it was not shut out.  Of a network's ban all stays that has nothing to do with
        `host` (see `networks.remains`).
        """
        self._pardons.pardon(host, now)
        self._forget(host)
        self._changes.lift(host)  # in the store, too, where it may wait to be restored
        orders: list[Order] = []
        for ban in self.bans.meeting(host):
            orders += self._exchange(self.bans.take(ban.host) or ban, remains(ban, host), now)
        if self.conf.aggregate:
            self._spend(host)
        return orders

    def unban_all(self, now: float) -> list[Order]:
        """Let everybody in again."""
        self._pardons.pardon_all(now)
        self._spared.clear()
        orders: list[Order] = []
        for ban in self.bans:
            if self.failures.take(ban.host):
                self._changes.settle(ban.host)
            orders += self._exchange(self.bans.take(ban.host) or ban, (), now)
        return orders

    def spared(self, now: float) -> list[str]:
        """Who would be shut out, were nobody logged in from there."""
        return [host for host, moment in self._spared.items() if moment > now - _SPARED[0]]

    def crowd(self, now: float) -> str:
        """What is to be said of hosts that were forgotten at the ceiling within findtime."""
        return self._crowd.told(now - self.conf.find_time, self.conf.max_hosts)

    def change(self, conf: JailConf) -> None:
        """Go on by the rules of `conf`; who is shut out stays so."""
        self.conf = conf
        self.failures.change(conf.max_retry, conf.find_time, conf.max_hosts, conf.max_matches)
        self._settle_forgotten()
        self._ignore(IgnoreList(conf.ignore_ip))

    def spare_ignored(self, now: float) -> list[Order]:
        """Split the bans of networks in which an address is ignored by now."""
        orders: list[Order] = []
        for ban in self.bans.networks():
            if (ban.is_merged or ban.failures) and self._ignored.meets(ban.host):
                single = single_of(ban)
                stay = [*ban.parts, *((single,) if single and not ban.is_merged else ())]
                stay = [each for each in stay if not self._ignored.meets(each.host)]
                orders += self._exchange(self.bans.take(ban.host) or ban, stay, now)
        return orders

    def ignore_also(self, hosts: Iterable[str]) -> None:
        """Ignore `hosts`, too: this machine's own, and what names and files among the ignored say."""
        self._ignore(self._ignored.and_also(hosts))

    # -- across restarts ---------------------------------------------------------------------------

    def restore(
        self,
        bans: Iterable[Ban],
        failures: Iterable[Failure],
        now: float,
        lifted: Mapping[str, float] | None = None,
    ) -> list[Order]:
        """Take up what an earlier run has left; `lifted` is what was let in by hand, and when."""
        orders = self._restore_bans(bans, now)
        self._pardons.take_up(lifted or {})
        for failure in failures:
            if failure.when < now - self.conf.find_time:
                continue
            if not self._pardons.forgive(failure.host, failure.when):
                self.failures.add(self._counted_anew(failure))
                self._settle_forgotten()
        return orders

    def is_listed(self, host: str) -> bool:
        """Whether `host` is among the ignored."""
        return self._ignored.covers(host)

    def _restore_bans(self, bans: Iterable[Ban], now: float) -> list[Order]:
        bans, orders = list(bans), []
        if (
            not self._pardons
            and not self.bans.has_networks
            and not any("/" in b.host for b in bans)
        ):
            return self._restore_hosts(bans, now)
        for ban in bans:
            for left in self._unpardoned(ban):
                if left.until <= now:
                    orders += self._take_up_parts(left, now)
                elif not self._ignored.covers(left.host):
                    orders += self._take_up(left)
        return [*orders, *self.spare_ignored(now)]

    def _restore_hosts(self, bans: Sequence[Ban], now: float) -> list[Order]:
        """The same where nothing stands in the way, as it is with the hundred thousand of a busy server."""
        is_ignored = self._ignored.covers
        new = [
            ban
            for ban in bans
            if ban.since + ban.seconds > now
            if ban.host not in self.bans and not is_ignored(ban.host)
        ]
        self.bans.put_hosts(new)
        self.total_banned += len(new)
        return [Enforce(ban, restored=True) for ban in new]

    def lifts_of(self, bans: Iterable[Ban]) -> list[Lift]:
        """For whoever may still enforce `bans` of an earlier run: what is to be lifted of them."""
        lifts: dict[str, Lift] = {}
        for ban in bans:
            around = self.bans.covering(ban.host)
            if around is None or around.host != ban.host:
                lifts[ban.host] = Lift(ban, into=around.host if around else "")
        return list(lifts.values())

    @property
    def has_progress(self) -> bool:
        """Whether something changed since the last `take_progress`."""
        changes = self._changes
        return bool(changes.hosts or changes.banned or changes.lifted or changes.settled)

    def take_progress(self, positions: Mapping[str, Position | str]) -> Progress:
        """What changed since the last call, with how far the logs have been read by then."""
        changes, self._changes = self._changes, _Changes()
        return Progress(
            jail=self.conf.name,
            positions=positions,
            banned=tuple(changes.banned.values()),
            lifted=tuple(changes.lifted),
            settled=tuple(changes.settled),
            failed=changes.failed(self.packer),
        )

    # ----------------------------------------------------------------------------------------------

    def _as_counted(self, failure: Failure) -> Failure:
        """`failure` as one of what is banned for it: an address, or the prefix that it lies in."""
        # One of an earlier run may have been counted by another prefix.
        address = failure.host
        if "/" in address and (seen := str(failure.fields.get("seen") or "")):
            place, inner = place_of(address), place_of(seen)
            if place and inner and holds(place, inner):  # else a line said so, not we
                address = seen
        host = self._counted_host(address)
        if host == failure.host:
            return failure
        fields = failure.fields if host == address else {**failure.fields, "seen": address}
        return failure._replace(host=host, fields=fields)

    def _counted_host(self, address: str) -> str:
        if ":" not in address:  # it is no IPv6 address, which alone have prefixes
            return address
        host = counted_as(address, self.conf.ipv6_prefix)
        return address if host != address and self._ignored.meets(host) else host

    def _counted_anew(self, failure: Failure) -> Failure:
        """A failure of an earlier run, kept in the store as it is counted now."""
        counted = self._as_counted(failure)
        if counted.host != failure.host:
            self._changes.settle(failure.host)
            self._changes.fail((counted.host,), (counted.when,), (self.packer.pack(counted),))
        return counted

    def _settle_forgotten(self) -> int:
        """Have the store forget who was forgotten at the ceiling; how many they were."""
        forgotten = self.failures.pop_forgotten()
        for host in forgotten:
            self._changes.settle(host)
        return len(forgotten)

    def _convict(self, host: str, now: float) -> list[Order | Event]:
        failures = self.failures.take(host)
        self._changes.settle(host)
        if self.bans.covering(host) is not None:
            return [AlreadyBanned(host)]
        if session := self._session_in(host):
            self._spared.pop(host, None)
            self._spared[host] = now
            if len(self._spared) > _SPARED[1]:
                del self._spared[next(iter(self._spared))]
            return [Spared(host, session)]
        orders = self._shut_out(self._sentence(host, now, failures))
        return [*orders, *self._shut_out_network(host, now)]

    def _session_in(self, host: str) -> str:
        """The address of somebody who is logged in from `host`, which may be a network."""
        place = place_of(host) if self.conf.ignore_sessions else None
        if place is not None:
            for session in self._help.sessions():
                other = place_of(session)
                if other is not None and holds(place, other):
                    return session
        return ""

    def _sentence(self, host: str, now: float, failures: tuple[Failure, ...]) -> Ban:
        """The ban that `host` deserves."""
        earlier = self._earlier_bans(host)
        length = length_of(
            self.conf.ban_time, earlier, self.conf.ban_time_extra, self._help.chance()
        )
        lines = [line for failure in failures for line in failure.lines]
        return Ban(
            jail=self.conf.name,
            host=host,
            since=now,
            seconds=length,
            matches=self._last(lines),
            failures=sum(failure.attempts for failure in failures),
            count=earlier + 1,
            fields=_merged(failure.fields for failure in failures),
        )

    def _last(self, lines: list[str]) -> tuple[str, ...]:
        return tuple(lines[-self.conf.max_matches :]) if self.conf.max_matches else ()

    def _shut_out_network(self, host: str, now: float) -> list[Order]:
        """Shut out the network of `host`, just banned, if enough others of it were lately."""
        group = group_of(host) if self.conf.aggregate else None
        if group is None:
            return []
        begun = now - self.conf.aggregate_time
        counting = [
            ban for ban in self.bans.within(group) if ban.since >= begun and not ban.is_spent
        ]
        network = network_for(host, counting, self.conf.aggregate, self._may_ban)
        if network is None:
            return []
        inside = sorted(self.bans.within(network), key=lambda ban: ban.since)
        ban = self._sentence(network, now, ())._replace(
            failures=sum(each.failures for each in inside),
            matches=self._last([line for each in inside for line in each.matches]),
            is_merged=True,
        )
        return self._shut_out(ban)

    def _may_ban(self, network: str) -> bool:
        return not self._ignored.meets(network) and not self._session_in(network)

    def _shut_out(self, ban: Ban, *, restored: bool = False) -> list[Order]:
        """Have `ban` stand, and stand in for those of hosts in its network."""
        inside = self.bans.within(ban.host)
        if inside:
            ban = ban._replace(parts=(*ban.parts, *parts_from(inside)))
        for each in inside:
            self.bans.take(each.host)
            self._changes.lift(each.host)
        self.bans.put(ban)
        self.total_banned += 1
        if inside or not restored:
            self._changes.ban(ban)
        if not inside:
            return [Enforce(ban, restored)]
        return [Enforce(ban, restored), *(Lift(each, into=ban.host) for each in inside)]

    def _keep_in(self, around: Ban, ban: Ban) -> Order:
        """Have `around`, the ban of a network, stand in for `ban`, too."""
        others = (part for part in around.parts if part.host != ban.host)
        wider = around._replace(parts=(*others, ban))
        self.bans.put(wider)
        self._changes.ban(wider)
        self._changes.ban(ban)
        self._changes.lift(ban.host)
        return Lift(ban, into=around.host)

    def _take_up(self, ban: Ban) -> list[Order]:
        """Have a ban of an earlier run stand."""
        around = self.bans.covering(ban.host)
        if around is None:
            return self._shut_out(ban, restored=True)
        known = {around.host, *(part.host for part in around.parts)}
        return [] if ban.host in known else [self._keep_in(around, ban)]

    def _take_up_parts(self, gone: Ban, now: float) -> list[Order]:
        """Have those of its parts stand that outlive a network's ban which ended while no server ran."""
        self._changes.lift(gone.host)
        orders: list[Order] = []
        for part in gone.parts:
            if part.until > now and not self._ignored.covers(part.host):
                orders += self._take_up(part)
                if self.bans.get(part.host) == part:
                    self._changes.ban(part)
        return orders

    def _exchange(
        self, gone: Ban, stay: Iterable[Ban], now: float, *, is_over: bool = False
    ) -> list[Order]:
        """Lift `gone`, which has been taken out, and have those of `stay` stand that still run."""
        stay = nested(each for each in stay if each.until > now)
        self._changes.lift(gone.host)
        for each in stay:
            self.bans.put(each)
            self._changes.ban(each)
        kept = {each.host for each in _all_in(stay)}
        if any(part.host in kept for part in gone.parts):
            gone = gone._replace(parts=tuple(p for p in gone.parts if p.host not in kept))
        # Those that stay are shut out by themselves before the wall around them falls.
        return [*(Enforce(each, restored=True) for each in stay), Lift(gone, is_over=is_over)]

    def _unpardoned(self, ban: Ban) -> tuple[Ban, ...]:
        """What is left of a ban, to be taken up, after what was let in since it began."""
        left: tuple[Ban, ...] = (ban,)
        for host in self._pardons.since(ban.since, ban.host) if self._pardons else ():
            left = tuple(rest for each in left for rest in remains(each, host))
        return left

    def _forget(self, host: str) -> None:
        """Forget what `host`, or anybody in it, has done."""
        self._spared.pop(host, None)
        hosts = {host, self._counted_host(host)}
        if "/" in host and (place := place_of(host)) is not None:
            everybody = self.failures.hosts()
            hosts |= {one for one in everybody if (at := place_of(one)) and holds(place, at)}
        for one in hosts:
            if self.failures.take(one):
                self._changes.settle(one)

    def _spend(self, host: str) -> None:
        """Once `host` was let in, it takes others than those banned by now to have it shut out."""
        group = group_of(host)
        for ban in self.bans.within(group) if group else ():
            if not ban.is_spent:
                spent = ban._replace(is_spent=True)
                self.bans.put(spent)
                self._changes.ban(spent)

    def _ignore(self, hosts: IgnoreList) -> None:
        self._ignored = hosts
        self._known: dict[str, str] = {}

    def _note(self, failure: Failure) -> None:
        """Count `failure`, and have it saved."""
        packed = self.packer.pack(failure)
        self._changes.fail((failure.host,), (failure.when,), (packed,))
        self.failures.put((failure.host,), (failure.when,), (packed,))

    def _all_counted(self, hosts: Iterable[str]) -> list[str]:
        """What stands for each of `hosts` when it is counted; empty where it is ignored."""
        known = self._known
        try:
            return list(map(known.__getitem__, hosts))
        except KeyError:
            pass
        counted = [known.get(host) for host in hosts]  # before what is known of them makes room
        both = zip(hosts, counted, strict=True)
        return [self._judge(host) if one is None else one for host, one in both]

    def _judge(self, host: str) -> str:
        """What stands for `host` when it is counted; empty if it is ignored."""
        counted = "" if self._ignored.covers(host) else self._counted_host(host)
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[host] = counted
        return counted

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


def _moved(ban: Ban, step: float, since: float) -> Ban:
    """`ban` as begun `step` later, with those of its parts that began at `since` or after."""
    parts = tuple(_moved(p, step, since) if p.since >= since else p for p in ban.parts)
    return ban._replace(since=ban.since + step, parts=parts)


def _all_in(bans: Iterable[Ban]) -> Iterator[Ban]:
    for ban in bans:
        yield ban
        yield from _all_in(ban.parts)
