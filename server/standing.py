# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands about who is banned, and how things stand.

As all answers, they ask the server, and know no socket, thread or file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from common.address import shortest_network
from common.commands import Given
from common.options import BAN_DURATION, JailConf
from server.handlers import handles
from server.jail import Jail
from server.records import Failure, Lift, Order

if TYPE_CHECKING:
    from server.server import FileState, Server

T = TypeVar("T")
_FLAVOURS = ("basic", "short", "stats", "cymru")


def _host(word: Any) -> str:
    """An address or network in its shortest form; any other id as it is."""
    return shortest_network(str(word)) or str(word)


# -- bans ----------------------------------------------------------------------------------------------


def _ordered(
    server: Server, jails: Sequence[str], request: Callable[[Jail, float], tuple[list[Order], T]]
) -> list[T]:
    """What `request` says of each of `jails`; by then what it changed is durable, if the disk can."""
    answers = [server.worker(name).order(request) for name in jails]
    server.make_durable()
    return answers


def _lifted_everywhere(
    server: Server, request: Callable[[Jail, float], tuple[list[Order], T]]
) -> list[T]:
    """What `request` says of each jail, those among them that do not run and would restore their bans."""
    at_rest = server.lift_at_rest(request)
    return [*at_rest, *_ordered(server, server.names(), request)]


@handles("set <jail> banip <ip>...")
def _ban(server: Server, given: Given, words: Sequence[Any]) -> Any:
    hosts = [_host(host) for host in given["ip"]]

    def ban(jail: Jail, now: float) -> tuple[list[Order], int]:
        every = [orders for host in hosts if (orders := jail.ban(host, now))]
        return [order for orders in every for order in orders], len(every)

    return _ordered(server, [given["jail"][0]], ban)[0]


@handles("set <jail> unbanip [--report-absent] <ip>...")
def _unban(server: Server, given: Given, words: Sequence[Any]) -> Any:
    hosts = [_host(host) for host in given["ip"]]
    jails = [given["jail"][0]]
    (lifted,) = _ordered(server, jails, lambda jail, now: _unban_hosts(jail, hosts, now))
    absent = [host for host in hosts if not lifted[host]]
    if absent and given["--report-absent"]:
        raise ValueError(f"not banned: {absent!r}")
    return sum(lifted.values())


def _unban_hosts(
    jail: Jail, hosts: Sequence[str], now: float
) -> tuple[list[Order], dict[str, int]]:
    """The orders to let `hosts` in, and how many bans were lifted for each."""
    every = {host: jail.unban(host, now) for host in hosts}
    lifted = {host: sum(isinstance(one, Lift) for one in orders) for host, orders in every.items()}
    return [order for orders in every.values() for order in orders], lifted


def lift_all(jail: Jail, now: float) -> tuple[list[Order], int]:
    orders = jail.unban_all(now)
    return orders, len(orders)


@handles("unban --all")
def _unban_all_everywhere(server: Server, given: Given, words: Sequence[Any]) -> Any:
    return sum(_lifted_everywhere(server, lift_all))


@handles("unban <ip>...")
def _unban_everywhere(server: Server, given: Given, words: Sequence[Any]) -> Any:
    hosts = [_host(host) for host in given["ip"]]
    every = _lifted_everywhere(server, lambda jail, now: _unban_hosts(jail, hosts, now))
    return sum(sum(lifted.values()) for lifted in every)


@handles("set <jail> attempt <ip> [<text>...]")
def _attempt(server: Server, given: Given, words: Sequence[Any]) -> Any:
    host = _host(given["ip"][0])
    lines = tuple(str(text) for text in given["text"])
    failure = Failure(host, server.now(), lines, attempts=max(1, len(lines)))
    worker = server.worker(given["jail"][0])
    if worker.ask(lambda jail: jail.is_ignored(failure)):
        return 0
    worker.count([failure])
    return 1


@handles("get <jail> banned", "get <jail> banned <ip>...")
def _banned_in(server: Server, given: Given, words: Sequence[Any]) -> Any:
    worker = server.worker(given["jail"][0])
    if not given.get("ip"):
        return worker.look(_hosts)
    hosts = [_host(host) for host in given["ip"]]
    found = [
        1 if is_banned else 0 for is_banned in worker.look(lambda jail: _are_banned(jail, hosts))
    ]
    return found if len(found) > 1 else found[0]


def _are_banned(jail: Jail, hosts: Sequence[str]) -> list[bool]:
    """Whether each of `hosts` is shut out, by itself or with a network."""
    return [jail.bans.covering(host) is not None for host in hosts]


@handles("get <jail> banip [<separator>]", "get <jail> banip --with-time")
def _ban_ip(server: Server, given: Given, words: Sequence[Any]) -> Any:
    bans = server.worker(given["jail"][0]).look(lambda jail: tuple(jail.bans))
    bans = tuple(sorted(bans, key=lambda ban: ban.until))
    if "--with-time" not in words[3:]:
        return [ban.host for ban in bans]
    return [
        f"{ban.host} \t{_date(ban.since)} + {BAN_DURATION.show(ban.seconds)} = {_date(ban.until)}"
        for ban in bans
    ]


def _date(moment: float) -> str:
    if moment > 253402300799:  # the last second of the year 9999
        return "9999-12-31 23:59:59"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


def _hosts(jail: Jail) -> list[str]:
    return [ban.host for ban in jail.bans]


@handles("banned")
def _banned(server: Server, given: Given, words: Sequence[Any]) -> Any:
    return [{name: server.worker(name).look(_hosts)} for name in server.names()]


@handles("banned <ip>...")
def _banned_where(server: Server, given: Given, words: Sequence[Any]) -> Any:
    hosts = [_host(host) for host in given["ip"]]
    banned = {
        name: server.worker(name).look(lambda jail: _are_banned(jail, hosts))
        for name in server.names()
    }
    return [[name for name, found in banned.items() if found[at]] for at in range(len(hosts))]


# -- status ----------------------------------------------------------------------------------------------


@handles("status")
def _status(server: Server, given: Given, words: Sequence[Any]) -> Any:
    names = server.names()
    status: list[Any] = [("Number of jail", len(names)), ("Jail list", ", ".join(names))]
    problems = [*server.problems.values()]
    if server.store.problem:
        problems.append(f"database: {server.store.problem}")
    problems += [f"[{name}] {problem}" for name, problem in server.problems_of(names)]
    if problems:
        status.append(("Problems", problems))
    return status


@handles("status --all [<flavour>]")
def _status_of_all(server: Server, given: Given, words: Sequence[Any]) -> Any:
    flavour = _flavour(server, given)
    every = {name: _status_of(server, name, flavour) for name in server.names()}
    return every if flavour == "stats" else [*_status(server, given, words)[:2], every]


@handles("stats", "statistic", "statistics")
def _stats(server: Server, given: Given, words: Sequence[Any]) -> Any:
    return {name: _status_of(server, name, "stats") for name in server.names()}


@handles("status <jail> [<flavour>]")
def _status_of_jail(server: Server, given: Given, words: Sequence[Any]) -> Any:
    flavour = _flavour(server, given)
    return _status_of(server, given["jail"][0], flavour)


def _flavour(server: Server, given: Given) -> str:
    flavour = str(given["flavour"][0]) if given["flavour"] else "basic"
    if flavour not in _FLAVOURS:
        server.warn(f"Unsupported flavour of status {flavour!r}, taken as basic")
    return flavour


def _status_of(server: Server, name: str, flavour: str) -> Any:
    conf, worker = server.conf(name), server.worker(name)

    def figures(jail: Jail) -> tuple[int, int, int, int, list[str], list[str]]:
        hosts = _hosts(jail) if flavour != "short" else []
        spared = jail.spared(server.now())
        figures = len(jail.failures), jail.total_failed, len(jail.bans), jail.total_banned
        return *figures, hosts, spared

    failed, failed_ever, banned, banned_ever, hosts, spared = worker.look(figures)
    if flavour == "stats":
        backend = conf.backend.lower()
        backend = "pyinotify" if backend == "auto" else backend
        return [backend, (failed, failed_ever), (banned, banned_ever)]
    files = server.files(name)
    found: list[Any] = [("Currently failed", failed), ("Total failed", failed_ever)]
    if conf.backend.lower().startswith("systemd"):
        found.append(("Journal matches", [" ".join(match) for match in conf.journal_match]))
    else:
        found.append(("File list", _paths(conf, files)))
        if missing := [file.path for file in files if file.is_missing]:
            found.append(("Missing files", missing))
        if cut := [f"{file.path}: {file.long_lines}" for file in files if file.long_lines]:
            found.append(("Lines cut", cut))
        if far := [f"{file.path}: {file.progress}" for file in files if file.progress]:
            found.append(("Catching up", far))
    done: list[Any] = [("Currently banned", banned), ("Total banned", banned_ever)]
    if flavour != "short":
        done.append(("Banned IP list", hosts))
    if flavour == "cymru":
        every = server.origins_of(hosts)
        for index, title in enumerate(("ASN", "Country", "RIR")):
            known = sorted({origin[index] for origin in every})
            done.append((f"Banned {title} list", known))
    if spared:
        done.append(("Spared, as logged in", spared))
    if enforced := worker.enforced:
        told = [f"{action} {found}/{all}" for action, (found, all) in enforced.items()]
        done.append(("Enforced", told))
    of_logs = (f"{file.path}: {file.problem}" for file in files if file.problem)
    if problems := worker.problems(of_logs):
        done.append(("Problems", list(problems)))
    return [("Filter", found), ("Actions", done)]


def log_paths(server: Server, name: str) -> list[str]:
    """The files of a jail: those that its globs stand for by now, or what it was told to follow."""
    return _paths(server.conf(name), server.files(name))


def _paths(conf: JailConf, files: Sequence[FileState]) -> list[str]:
    found = [file.path for file in files] if conf.is_started else []
    return found or [log.pattern for log in conf.log_paths]
