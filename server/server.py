# SPDX-License-Identifier: GPL-2.0-or-later
"""The whole server: one configuration, a worker a jail, and what they share.

The configuration has one owner, a thread of its own: whoever wants it changed hands in a function
from the old to the new, and only the difference is carried out.  Knows no command and no socket.
"""

from __future__ import annotations

import glob
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

from common.errors import Fail2banError, UnknownJailError
from common.logs import Log
from common.options import ActionConf, Config, DaemonConf, JailConf
from server.filter import Filter
from server.jail import Jail
from server.plan import Plan, difference
from server.plugins import Plugin, check
from server.reader import FileState as FileState
from server.records import Order
from server.resolver import origin_of
from server.store import Store
from server.worker import Worker, World, of_filter

log = logging.getLogger("fail2ban.server")

_HOUR = 3600.0
_SYNC_PATIENCE = 2.0  # seconds that a command waits for a slow disk
_STOP_PATIENCE = 60.0  # seconds that a jail may take to end its actions

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Backend:
    """What is open and goes on besides the jails."""

    log: Log
    open_store: Callable[[DaemonConf], Store]
    origin_of: Callable[[str], tuple[str, str, str]] = origin_of


class Server:
    """Jails, and the daemon's own options."""

    def __init__(
        self,
        world: World,
        backend: Backend,
        daemon: DaemonConf,
        pinned: frozenset[str] = frozenset(),
    ) -> None:
        self.config = Config(daemon)
        self.pinned = pinned  # options given on the command line: no configuration changes them
        self.problems: Mapping[str, str] = {}
        self.is_stopping = threading.Event()
        self._world = world
        self._backend = backend
        self._workers: dict[str, Worker] = {}
        self._owner = ThreadPoolExecutor(1, thread_name_prefix="owner")

    # -- configuration -----------------------------------------------------------------------------

    def change(self, edit: Callable[[Config], Config], *, is_lenient: bool = False) -> Config:
        """Have the configuration changed; if `edit` raises an error, nothing is.

        Where `is_lenient`, a log or a database that cannot be had keeps nothing else from starting.
        """
        return self._owner.submit(self._change, edit, is_lenient).result()

    def _change(self, edit: Callable[[Config], Config], is_lenient: bool) -> Config:
        wanted = edit(self.config)
        plan = difference(self.config, wanted)
        filters = self._filters_for(plan)
        wanted = replace(wanted, daemon=self._set_daemon(plan.daemon, wanted.daemon, is_lenient))
        self.config = replace(self.config, daemon=wanted.daemon)
        self._stop(plan.gone)
        with self._world.reader.gathering():
            for conf in plan.new:
                idle = replace(conf, is_started=False)
                worker = self._workers[conf.name] = Worker(idle, filters[conf.name], self._world)
                worker.start()
                worker.change(conf)
            for conf in plan.changed:
                self._workers[conf.name].change(conf, filters.get(conf.name))
        self.config = wanted
        return wanted

    def _filters_for(self, plan: Plan) -> dict[str, Filter]:
        """The filters of all that is new or different, made before anything is touched."""
        running = self.config.jails
        return {
            conf.name: self._world.guard.keep(Filter(conf), conf.name, conf.origins)
            for conf in (*plan.new, *plan.changed)
            if conf.name not in running or of_filter(running[conf.name]) != of_filter(conf)
        }

    def _set_daemon(
        self, fields: tuple[str, ...], wanted: DaemonConf, is_lenient: bool
    ) -> DaemonConf:
        """Carry out what differs in the daemon's own options; return what they are then."""
        ways: dict[str, Callable[[DaemonConf], None]] = {
            "log_target": self._set_log_target,
            "syslog_socket": self._set_log_target,
            "log_level": lambda daemon: self._backend.log.set_level(daemon.log_level),
            "db_file": self._set_store,
            "db_max_matches": self._set_store_limits,
            "db_purge_age": self._set_store_limits,
            "stack_size": lambda daemon: _set_stack_size(daemon.stack_size),
        }
        for name in fields:
            if name not in ways:  # nothing to do but to remember it
                continue
            try:
                ways[name](wanted)
            except Fail2banError as error:
                if not is_lenient:
                    raise
                # A guard without a log book is better than none.
                wanted = replace(wanted, **{name: getattr(self.config.daemon, name)})
                self.problems = {**self.problems, name: str(error)}
                log.error("%s", error)
        return wanted

    def _set_log_target(self, wanted: DaemonConf) -> None:
        self._backend.log.set_target(wanted.log_target, wanted.syslog_socket)

    def _set_store(self, wanted: DaemonConf) -> None:
        store = self._backend.open_store(wanted)
        self._world.store.close()
        self._world = replace(self._world, store=store)

    def _set_store_limits(self, wanted: DaemonConf) -> None:
        self._world.store.set_max_matches(wanted.db_max_matches)
        self._world.store.set_purge_age(wanted.db_purge_age)

    # -- jails -------------------------------------------------------------------------------------

    def worker(self, name: str) -> Worker:
        """The worker of the jail of that name; UnknownJailError where there is none."""
        try:
            return self._workers[name]
        except (KeyError, TypeError):
            raise UnknownJailError(name) from None

    def conf(self, name: str) -> JailConf:
        """How the jail of that name is configured; UnknownJailError where there is none."""
        try:
            return self.config.jails[name]
        except (KeyError, TypeError):
            raise UnknownJailError(name) from None

    def names(self) -> list[str]:
        return sorted(self._workers)

    def files(self, name: str) -> list[FileState]:
        """The log files that a jail follows, and how that goes."""
        return self._world.reader.files(name)

    def problems_of(self, names: Sequence[str]) -> list[tuple[str, str]]:
        """What is wrong now with each of these jails, as pairs of a jail and a problem."""
        of_logs = self._world.reader.problems_of(names)
        return [
            (name, problem)
            for name in names
            for problem in self.worker(name).problems(of_logs[name])
        ]

    def use_action(self, jail: str, action: ActionConf, request: Callable[[Plugin], T]) -> T:
        """Have `request` done with an action in Python of a jail that is started."""
        return self.worker(jail).use(action, request)

    def lift_at_rest(self, request: Callable[[Jail, float], tuple[list[Order], T]]) -> list[T]:
        """What `request` says of each jail that does not run, but has bans in the store to be restored."""
        answers = []
        now, store = self.now(), self._world.store
        for name in [name for name in store.jails if name not in self._workers]:
            jail = Jail(JailConf(name))
            jail.restore(store.bans(name, now), (), now)
            answers.append(request(jail, now)[1])
            store.save(jail.take_progress({}))
        return answers

    def stop_jails(self) -> None:
        """Stop all jails and forget them."""
        self.change(lambda config: replace(config, jails={}))

    def _stop(self, names: tuple[str, ...]) -> None:
        workers = {name: self._workers.pop(name) for name in names}
        for worker in workers.values():
            worker.stop()
        for name, worker in workers.items():
            if not worker.join(_STOP_PATIENCE):
                log.error("[%s] does not end; it is left behind", name)

    # -- the rest of the world ---------------------------------------------------------------------

    def keep_house(self) -> None:
        """Once an hour, have the store forget what nobody needs any more; ends with the server."""
        while not self.is_stopping.wait(_HOUR):
            self.clean_up()

    def make_durable(self) -> None:
        """Wait until what was decided by now survives a crash, but not for long."""
        self._world.store.sync(_SYNC_PATIENCE)

    def clean_up(self) -> None:
        """Have the store forget what nobody needs any more."""
        find_times = {name: conf.find_time for name, conf in self.config.jails.items()}
        self._world.store.purge(self.now(), find_times)

    def now(self) -> float:
        return self._world.clock()

    def wait(self, seconds: float) -> None:
        """Let `seconds` pass, or less if the server is to end."""
        self.is_stopping.wait(seconds)

    def check_actions(self, config: Config) -> None:
        """CommandError if an action in Python, other than those that run, could not be made."""
        for name, conf in config.jails.items():
            running = self.config.jails[name].actions if name in self.config.jails else ()
            for action in conf.actions:
                if action not in running:
                    check(action)

    def origins_of(self, hosts: Sequence[str]) -> list[tuple[str, str, str]]:
        """Operator, country and registry of each of `hosts`; this asks the network."""
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(self._backend.origin_of, hosts))

    def check_log(self, pattern: str) -> None:
        """Raise FileNotFoundError if no log file is there."""
        if not os.path.exists(pattern) and not glob.glob(pattern):
            raise FileNotFoundError(f"File not found: {pattern!r}")

    def reopen_log(self) -> bool:
        """Open our own log file anew; False if the log is no file."""
        return self._backend.log.reopen()

    def warn(self, text: str) -> None:
        log.warning("%s", text)

    def log_problem(self, text: str) -> None:
        log.error("%s", text)

    @property
    def store(self) -> Store:
        return self._world.store

    def close(self) -> None:
        """End all jails, and make durable what they left."""
        self.is_stopping.set()
        try:
            self.stop_jails()
        except Fail2banError:
            log.exception("the jails did not end as they should")
        self._owner.shutdown()
        self._world.reader.stop()
        self._world.resolver.stop()
        self._world.guard.close()
        self._world.store.close()
        log.info("Exiting Fail2ban")


def _set_stack_size(kib: int) -> None:
    threading.stack_size(kib * 1024)
