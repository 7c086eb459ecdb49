# SPDX-License-Identifier: GPL-2.0-or-later
"""The thread of a jail that decides: it owns the jail, reads the blocks of its logs, and gives orders.

Everything comes to it through one queue; nothing waits for its actions, the disk or a name server.
"""

from __future__ import annotations

import logging
import math
import queue
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as AnswerTimeout
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain, groupby
from typing import Any, TypeVar

from common.errors import CommandError
from common.logs import say
from common.options import ActionConf, JailConf
from server import screen
from server.action import from_history
from server.actor import Actor
from server.announce import passages_of
from server.border import border_of
from server.exempt import Exempt
from server.filter import Filter
from server.guard import Guard, problems_of
from server.ignore import IgnoreList
from server.jail import Help, Jail
from server.journal import JournalReader, source_of
from server.packing import Failures
from server.patrol import Patrol
from server.plugins import Plugin
from server.portion import Portion
from server.reader import LogReader
from server.records import (
    STANDING,
    Ban,
    Enforce,
    Event,
    Excerpt,
    Failed,
    Failure,
    JournalBlock,
    Lift,
    LogBlock,
    Order,
    Position,
    Progress,
    Prolong,
    Result,
    ShellCommand,
    older_of,
)
from server.resolver import Resolver, name_of
from server.steps import Clocks
from server.store import Store

log = logging.getLogger("fail2ban.jail")

_MOST_SAID = 200  # what is told of at once: so many lines of our own log, or orders
_BLOCKS_WAITING = 2  # deliveries a jail may be behind before its reading pauses
_MOST_HELD = 64  # blocks of one delivery, of which all but the last hold little
_LONGEST_WAIT = 60.0  # seconds; the wall clock may be stepped, or the store lose its file
_STEP = 2.0  # seconds; what the clock deviates by less is drift, and followed
_MANY = 1000  # bans of an earlier run that are worth to be foreseen
_LEAD = 0.5  # seconds that actions may take for them, before more is done here
_REMINDER = 512 * 1024  # bytes before a position that a filter sees again that remembers lines
_PIECE = 1 << 17  # bytes that are read at once where many lines fail …
_DENSE = 1000  # … which is one in so many bytes
_BULK = 1 << 20  # so much of a log leaves memory free in many places when it was read …
_REST = 0.5  # … and when nothing came for so many seconds, it is given back
_POSITION_DELAY = 5.0  # seconds that a position without consequences may stay unsaved

_JUST_FAILURES = {Failed}

T = TypeVar("T")
_Block = LogBlock | Excerpt | JournalBlock


@dataclass(frozen=True, slots=True)
class World:
    """What a jail's threads touch of the world, handed in.

    `uptime` counts seconds evenly, however often the clock is set; None where nobody sets it.
    `sessions` are the addresses from which somebody is logged in.  `tidy_memory` gives back to the system
    what is free of this process's memory.
    """

    clock: Callable[[], float]
    reader: LogReader
    store: Store
    resolver: Resolver
    run: Callable[[ShellCommand], Result]
    journal: JournalReader = field(default_factory=JournalReader)
    uptime: Callable[[], float] | None = None
    sessions: Callable[[], Collection[str]] = tuple
    patrol: Patrol | None = None
    guard: Guard = field(default_factory=Guard)
    tidy_memory: Callable[[], object] = lambda: None


class Worker:
    """One jail at work."""

    def __init__(self, conf: JailConf, filter: Filter, world: World) -> None:
        self.problem = ""
        self._source_problem = ""  # of what is to be read
        self._world = world
        self._jail = Jail(
            conf, Help(self._earlier_bans, self._is_ignored, random.random, world.sessions)
        )
        self._filter = filter
        self._actor: Actor | None = None
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        # As many entries as tasks came that are not done yet; and who has this may look at the jail.
        self._undone: deque[None] = deque()
        self._turn = threading.Lock()
        # Written by the reader's thread: blocks that are handed on with the next one.
        self._held: list[_Block] = []
        # Each written by one thread only: how many deliveries came, how many were done.
        self._blocks_in = 0
        self._blocks_out = 0
        self._is_paused = False
        self._positions: dict[str, Position | str] = {}
        self._unsaved: dict[str, Position | str] = {}
        self._save_by = math.inf
        self._is_dense = False  # whether of the last lines many have failed
        self._read = 0  # bytes of logs since memory was last given back
        self._losses = world.store.losses
        self._begun = world.clock()
        self._offset = self._clock_offset()
        self._exempt = Exempt(world.resolver, world.run)
        self._thread = threading.Thread(target=self._work, name=f"jail:{conf.name}", daemon=True)

    # -- from any thread ---------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def ask(self, request: Callable[[Jail], T], timeout: float = 30.0) -> T:
        """Have `request` done in the jail's own thread; return its answer or raise its error."""
        answer: Future[T] = Future()
        self._put((lambda: request(self._jail), answer))
        return answer.result(timeout)

    def look(self, request: Callable[[Jail], T]) -> T:
        """The same for one that is quick and changes nothing: at once, where the jail has nothing to do."""
        if not self._undone and self._turn.acquire(blocking=False):
            try:
                if not self._undone:
                    return request(self._jail)
            finally:
                self._turn.release()
        return self.ask(request)

    def order(self, request: Callable[[Jail, float], tuple[list[Order], T]]) -> T:
        """The same for a request that gives orders: they are announced and carried out."""

        def obey() -> T:
            orders, answer = request(self._jail, self._world.clock())
            self._tell(orders)
            self._save()
            return answer

        done: Future[T] = Future()
        self._put((obey, done))
        return done.result(30.0)

    def change(self, conf: JailConf, filter: Filter | None = None) -> None:
        """Become what `conf` says; only what differs is touched.  `filter` is new if it differs."""
        done: Future[None] = Future()
        self._put((lambda: self._change(conf, filter), done))
        done.result(60.0)

    def count(self, failures: Sequence[Failure]) -> None:
        """Have `failures` counted as if a log had told of them."""
        self._put((lambda: self._count(failures), None))

    def use(self, conf: ActionConf, request: Callable[[Plugin], T]) -> T:
        """Have `request` done with an action in Python, in the thread where it lives."""
        actor = self._actor
        if actor is None:
            raise CommandError(f"the action {conf.name} is not there until its jail is started")
        try:
            return actor.use(conf, request).result(30.0)
        except AnswerTimeout:
            raise CommandError(f"the action {conf.name} is busy; it has not answered") from None

    def stop(self) -> None:
        """Have the jail end: logs, actions, threads.  `join` waits for it.

        The firewall forgets its bans, the store does not: a later start brings them back.
        """
        self._put((self._end, None))

    def join(self, seconds: float) -> bool:
        """Wait until both threads have ended; False if they have not after `seconds`."""
        deadline = time.monotonic() + seconds
        self._thread.join(seconds)
        actor = self._actor
        acted = actor is None or actor.join(max(0.0, deadline - time.monotonic()))
        has_ended = acted and not self._thread.is_alive()
        if has_ended and actor is not None and not actor.problems:
            self._world.store.save(Progress(self._jail.conf.name, {STANDING: ""}))
        return has_ended

    @property
    def enforced(self) -> dict[str, tuple[int, int]]:
        """Of the actions that can tell: how many bans are enforced, and how many should be."""
        return self._actor.enforced if self._actor else {}

    def problems(self, of_logs: Iterable[str]) -> tuple[str, ...]:
        """What is wrong with this jail now, for `status`; `of_logs` are those of its logs."""
        name = self._jail.conf.name
        crowd = self._jail.crowd(self._world.clock())
        own = (self.problem, self._source_problem, self._world.journal.problem(name), crowd)
        return (
            *(problem for problem in own if problem),
            *problems_of(self._filter),
            *of_logs,
            *(self._actor.problems if self._actor else ()),
        )

    def offer(self, block: _Block) -> bool:
        """Take `block` for the jail, unless so many wait that its reading must pause (False)."""
        if self._blocks_in - self._blocks_out >= _BLOCKS_WAITING:
            self._is_paused = True
            return False
        self._held.append(block)
        can_wait = isinstance(block, Excerpt) and block.can_wait
        if can_wait and len(self._held) < _MOST_HELD:
            return True  # to wake the jail costs more than such a block
        blocks, self._held = self._held, []
        self._blocks_in += 1
        self._put(blocks)
        return True

    def _put(self, task: Any) -> None:
        self._undone.append(None)
        self._inbox.put(task)

    # -- in the jail's own thread ------------------------------------------------------------------

    def _work(self) -> None:
        is_going = True
        while is_going:
            try:
                is_going = self._do_next()
            except Exception as error:
                self._complain(error)

    def _do_next(self) -> bool:
        """Do what comes next; False if that was the end."""
        try:
            task = self._inbox.get(timeout=self._patience())
        except queue.Empty:
            with self._turn:
                self._rest()
            return True
        try:
            with self._turn:
                self._mind_clock()
                self._do(task)
        except _Ended:
            return False
        finally:
            self._undone.popleft()
        return True

    def _rest(self) -> None:
        self._mind_clock()
        self._on_time()
        if self._is_bulky:
            self._read = 0
            self._world.tidy_memory()

    def _complain(self, error: Exception) -> None:
        self.problem = f"{type(error).__name__}: {error}"
        log.exception("[%s] failed in an unforeseen way", self._jail.conf.name)

    def _patience(self) -> float:
        """How long there is nothing to do by itself, in seconds."""
        moment = min(self._jail.next_moment, self._save_by)
        if self._is_bulky:
            moment = min(moment, self._world.clock() + _REST)
        return min(_LONGEST_WAIT, max(0.0, moment - self._world.clock()))

    @property
    def _is_bulky(self) -> bool:
        """Whether so much was read that memory may lie fallow."""
        return self._read >= _BULK

    def _clock_offset(self) -> float:
        uptime = self._world.uptime
        return self._world.clock() - uptime() if uptime else 0.0

    def _mind_clock(self) -> None:
        """Where the clock was stepped, the bans of this run end neither sooner nor later for it.

        Those of earlier runs end when they were to end: which of the clocks was right nobody knows.
        """
        before, self._offset = self._offset, self._clock_offset()
        step = self._offset - before
        if abs(step) < _STEP:
            return
        name, since = self._jail.conf.name, self._begun
        log.warning("[%s] the clock was stepped by %.0f s; bans keep their length", name, step)
        self._save()
        self._world.store.follow_clock(name, step, since)
        self._jail.follow_clock(step, since)
        if self._actor is not None:
            self._actor.adjust(tuple(self._jail.bans))
        self._begun += step
        self._save()

    def _do(self, item: Any) -> None:
        if isinstance(item, tuple):
            request, answer = item
            if answer is None:
                request()
                return
            try:
                answer.set_result(request())
            except Exception as error:
                answer.set_exception(error)
        else:
            try:
                self._on_blocks(item)
            finally:
                self._blocks_out += 1
                # Were it set just now, after our look, the blocks still waiting would look again.
                if self._is_paused:
                    self._is_paused = False
                    self._world.reader.wake(self._jail.conf.name)
                    self._world.journal.wake(self._jail.conf.name)
        self._on_time()

    def _on_blocks(self, blocks: Iterable[_Block]) -> None:
        for filter, some in groupby(blocks, self._filter_of):
            if filter is not None:
                self._try(self._on_excerpts, filter, list(some))
            else:
                for block in some:
                    self._try(self._on_block, block)
        self._save(is_patient=True)
        if trouble := screen.trouble():
            _tell_of_slow_search(trouble)

    def _try(self, do: Callable[..., None], *what: Any) -> None:
        try:
            do(*what)
        except Exception as error:  # one block's fault must not cost the next one
            self._complain(error)

    def _filter_of(self, block: _Block) -> Filter | None:
        """Whose lines those of an excerpt are; None of another block.

        It may have been replaced since; the rules that it found the lines for are its own.
        """
        return (block.filter or self._filter) if isinstance(block, Excerpt) else None

    def _on_excerpts(self, filter: Filter, excerpts: Sequence[Excerpt]) -> None:
        self._tell_of(filter.caught_among(excerpts, self._world.clock(), self._jail.packer))
        for excerpt in excerpts:
            self._get_to_end(excerpt, excerpt.size)

    def _on_block(self, block: LogBlock | JournalBlock) -> None:
        now = self._world.clock()
        for piece in self._pieces_of(block):
            caught = self._filter.caught(piece, now, self._jail.packer)
            if not block.is_known:  # what failed there counts already; what is open is known again
                self._tell_of(caught)
            if isinstance(piece, LogBlock):
                self._is_dense = len(caught) * _DENSE > len(piece.data)
        if isinstance(block, JournalBlock):
            if not block.is_known:
                self._positions[block.source] = self._unsaved[block.source] = block.cursor
        elif not block.is_known:
            self._get_to_end(block, len(block.data))

    def _get_to_end(self, block: LogBlock | Excerpt, size: int) -> None:
        self._read += size
        self._positions[block.path] = self._unsaved[block.path] = block.end
        if block.older is not None:
            before = older_of(block.path)
            self._positions[before] = self._unsaved[before] = block.older

    def _pieces_of(self, block: LogBlock | JournalBlock) -> Iterator[LogBlock | JournalBlock]:
        """`block`, or parts of it where so many lines fail that their records would fill the memory."""
        if not self._is_dense or isinstance(block, JournalBlock):
            yield block
            return
        data, begin = block.data, 0
        while begin < len(data):
            end = data.rfind(b"\n", begin, begin + _PIECE) + 1 or len(data)
            start = replace(block.start, offset=block.start.offset + begin)
            found = block.found and block.found.part(begin, end)
            yield replace(block, data=data[begin:end], start=start, found=found)
            begin = end

    def _on_time(self) -> None:
        now = self._world.clock()
        orders = self._jail.on_time(now)
        if orders:
            self._tell(orders)
        if orders or now >= self._save_by:
            self._save()
        if self._losses != self._world.store.losses:
            self._save_anew()

    def _tell_of(self, caught: Failures) -> None:
        now = self._world.clock()
        for at in range(0, len(caught), _MOST_SAID):
            some = caught[at : at + _MOST_SAID]
            if some.has_names and self._jail.conf.use_dns != "raw":
                said = []
                for failure in some:
                    if failure.is_name:
                        self._look_up(failure)
                    else:
                        said += self._jail.on_failure(failure, now)
            else:
                said = self._jail.on_failures(some, now)
            self._tell(said)

    def _count(self, failures: Sequence[Failure]) -> None:
        self._tell_of(Failures(self._jail.packer, failures))
        self._save()

    def _tell(self, said: Sequence[Order | Event]) -> None:
        """Write what happened into the log, and hand the orders on."""
        self._say(said)
        if set(map(type, said)) == _JUST_FAILURES:
            return
        orders = [one for one in said if isinstance(one, (Enforce, Lift, Prolong))]
        if orders and self._actor is not None:
            self._actor.carry_out(orders)

    def _say(self, said: Sequence[Order | Event]) -> None:
        say(passages_of(self._jail.conf.name, said))

    def _save(self, *, is_patient: bool = False) -> None:
        """Hand what changed to the store; a mere position may wait a little when `is_patient`."""
        if is_patient and not self._jail.has_progress:
            self._save_by = min(self._save_by, self._world.clock() + _POSITION_DELAY)
            return
        progress, self._unsaved = self._jail.take_progress(self._unsaved), {}
        if not progress.is_empty:
            self._world.store.save(progress)
        self._save_by = math.inf

    def _save_anew(self) -> None:
        """Hand all that is known to the store, whose file was damaged and had to begin anew."""
        self._losses = self._world.store.losses
        self._save()
        jail = self._jail
        settled = dict.fromkeys((*jail.failures.hosts(), *(one.host for one in jail.held)))
        failed = Portion.of(chain(jail.failures.everything(), jail.held)) if settled else ()
        bans, positions = tuple(jail.bans), dict(self._positions)
        everything = Progress(jail.conf.name, positions, bans, (), tuple(settled), failed)
        self._world.store.save(everything)

    # -- becoming what the configuration says --------------------------------------------------------

    def _change(self, conf: JailConf, filter: Filter | None) -> None:
        old = self._jail.conf
        self._filter = filter or self._filter
        if filter is None and conf.origins != old.origins:
            self._world.guard.keep(self._filter, conf.name, conf.origins)
        self._jail.change(conf)
        self._ignore_more()
        self._tell(self._jail.spare_ignored(self._world.clock()))
        self._exempt.forget()
        if conf.is_started and not old.is_started:
            self._begin()
            return
        if conf.actions != old.actions and self._actor is not None:
            bans = tuple(self._jail.bans)
            self._actor.change(conf.actions, bans)
        if filter is not None or _of_logs(old) != _of_logs(conf):
            self._follow()

    def _begin(self) -> None:
        """Start the actions, bring back what an earlier run left, and read the logs."""
        conf, now = self._jail.conf, self._world.clock()
        name = conf.name
        world = self._world
        clocks = Clocks(world.clock, time.monotonic)
        self._actor = Actor(name, conf.actions, world.run, self._fact, clocks, world.patrol)
        self._actor.start()
        since = now - conf.find_time
        orders: list[Order] = [Enforce(ban) for ban in self._jail.bans]
        self._actor.carry_out(orders)
        store = self._world.store
        self._positions = dict(store.positions(name))
        unclean_since = self._positions.get(STANDING)  # where an earlier run was ended by force
        self._positions[STANDING] = self._unsaved[STANDING] = unclean_since or repr(now)
        self._save()  # what was lifted meanwhile is not to be restored
        ends = store.ends(name, now)
        if len(ends) >= _MANY:  # they are shut out while their bans are read
            self._actor.foresee({host: end for host, end in ends if not self._jail.is_listed(host)})
            self._actor.lead(_LEAD)
        bans, failures = store.bans(name, now), store.failures(name, since)
        counted = [failure for failure in failures if not self._is_to_look_up(failure)]
        restored = self._jail.restore(bans, counted, now, store.lifted(name, since))
        self._actor.carry_out(restored)
        self._actor.foresee({})
        if unclean_since:
            ended = store.ended(name, float(str(unclean_since)), now)
            self._actor.clear_away(self._jail.lifts_of([*bans, *ended]))
        orders += restored
        if len(orders) > _MOST_SAID:  # there are many lines to write: the bans come first
            self._actor.settle(_LEAD)
        self._say(orders)
        for failure in failures:
            if self._is_to_look_up(failure):  # nobody knew the name yet when the last run ended
                self._look_up(failure, is_saved=True)
        self._save()
        self._follow(is_reminded=self._filter.remembers)
        log.info("[%s] Jail started", name)

    def _follow(self, *, is_reminded: bool = False) -> None:
        """Have the logs read; with `is_reminded` what was read of them last is seen once more."""
        conf = self._jail.conf
        self._source_problem = ""
        is_going = conf.is_started and not conf.is_idle
        if is_going and conf.backend.lower().startswith("systemd"):
            self._world.reader.unfollow(conf.name)
            self._follow_journal(conf, is_reminded)
            return
        self._world.journal.unfollow(conf.name)
        if not is_going:
            self._world.reader.unfollow(conf.name)
            return
        known = {path: at for path, at in self._positions.items() if isinstance(at, Position)}
        is_polling = conf.backend.lower().startswith("polling")
        self._world.reader.follow(
            conf.name,
            conf.log_paths,
            known,
            self.offer,
            is_polling,
            border_of(conf, self._world.clock),
            _REMINDER if is_reminded else 0,
            lambda: self._filter.wanted,
        )

    def _follow_journal(self, conf: JailConf, is_reminded: bool) -> None:
        try:
            source = source_of(conf.backend)
        except ValueError as error:
            self._world.journal.unfollow(conf.name)
            self._source_problem = f"backend = {conf.backend}: {error}"
            log.error("[%s] %s", conf.name, self._source_problem)
            return
        known = self._positions.get(source.name)
        cursor = known if isinstance(known, str) else None
        self._world.journal.follow(
            conf.name,
            source,
            conf.journal_match,
            cursor,
            conf.find_time,
            self.offer,
            is_reminded,
        )

    def _end(self) -> None:
        conf = self._jail.conf
        self._world.reader.unfollow(conf.name)
        self._world.journal.unfollow(conf.name)
        while not self._inbox.empty():
            item = self._inbox.get()
            if isinstance(item, tuple):
                if item[1] is not None:
                    item[1].set_exception(CommandError(f"the jail {conf.name} is ending"))
            else:
                self._on_blocks(item)
        self._on_blocks(self._held)
        self._save()
        if self._actor is not None:
            self._actor.stop()
            self._actor.end()
        log.info("[%s] Jail stopped", conf.name)
        raise _Ended

    # -- what the jail asks of the world ---------------------------------------------------------------

    def _fact(self, tag: str, ban: Ban) -> str | None:
        """What an action's tag stands for, where the ban does not know it itself."""
        jail = self._jail
        figures = {
            "jail.banned": len(jail.bans),
            "jail.banned_total": jail.total_banned,
            "jail.found": len(jail.failures),
            "jail.found_total": jail.total_failed,
        }
        if tag in figures:
            return str(figures[tag])
        if tag == "ip-host":
            return name_of(ban.host)
        return from_history(tag, ban, self._world.store.bans_of)

    def _earlier_bans(self, host: str, jail: str | None) -> int:
        return self._world.store.history(host, jail)[0]

    def _ignore_more(self) -> None:
        """Ignore what the list of ignored hosts does not say itself, but stands for."""
        listed = IgnoreList(self._jail.conf.ignore_ip)
        self._jail.ignore_also(self._exempt.listed(self._jail.conf, listed.files))
        for name in listed.names:
            self._world.resolver.resolve(name, self._ignore_later)

    def _ignore_later(self, addresses: tuple[str, ...]) -> None:
        def ignore() -> None:
            self._jail.ignore_also(addresses)
            self._tell(self._jail.spare_ignored(self._world.clock()))
            self._save()

        self._put((ignore, None))

    def _is_ignored(self, failure: Failure) -> bool:
        return self._exempt.is_friend(self._jail.conf, failure)

    def _is_to_look_up(self, failure: Failure) -> bool:
        return failure.is_name and self._jail.conf.use_dns != "raw"

    def _look_up(self, failure: Failure, *, is_saved: bool = False) -> None:
        """Have a failure with a name in the place of an address counted when that is known.

        Until then it is saved as it is (`is_saved`: it is already), so that it outlives the server.
        """
        use, name = self._jail.conf.use_dns, self._jail.conf.name

        def count(addresses: tuple[str, ...]) -> None:
            if use == "warn" and addresses:
                log.warning(
                    "[%s] the address %s was looked up for %r: a name in a log can be forged",
                    name, ", ".join(addresses), failure.host,
                )  # fmt: skip
            known = [failure._replace(host=one, is_name=False) for one in addresses]
            self._put((lambda: self._count_known(failure, known), None))

        if use == "no":
            if is_saved:
                self._jail.hold(failure)
                self._jail.release(failure)
            return
        self._jail.hold(failure)
        if not self._world.resolver.resolve(failure.host, count):
            log.warning("[%s] too many names to look up; %r is passed over", name, failure.host)
            self._jail.release(failure)

    def _count_known(self, failure: Failure, known: Sequence[Failure]) -> None:
        self._jail.release(failure)
        self._count(known)


class _Ended(Exception):
    """The jail's thread is to end."""


def of_filter(conf: JailConf) -> tuple[Any, ...]:
    """What of `conf` the filter is made of."""
    return (
        conf.prefregex,
        conf.failregex,
        conf.ignoreregex,
        conf.max_lines,
        conf.date_pattern,
        conf.log_time_zone,
        conf.log_encoding,
        conf.use_dns,
    )


def _of_logs(conf: JailConf) -> tuple[Any, ...]:
    return (
        conf.log_paths,
        conf.journal_match,
        conf.backend,
        conf.is_idle,
        conf.is_started,
        conf.find_time,
        conf.date_pattern,
        conf.log_time_zone,
        conf.log_encoding,
        conf.max_lines,
    )


@cache
def _tell_of_slow_search(why: str) -> None:
    """Said once, whoever finds out."""
    log.info(screen.SLOWER, why)
