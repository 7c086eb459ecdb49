# SPDX-License-Identifier: GPL-2.0-or-later
"""Cases of log lines: what one costs a running server, on logs of several kinds and sizes."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from functools import partial
from io import RawIOBase

from bench import inside, journal, logs, yardsticks
from bench.cases import LINES, Case, Quantity, Surroundings, Trial, Values, definition, jail
from bench.machine import ran
from bench.servers import Implementation, append, environment, wait_until

_MILLION = 1_000_000
_A_SECOND, _LIVE = 200, 10  # lines a second, for so many seconds


@dataclass(frozen=True, slots=True)
class Subject:
    """A kind of log, and who reads it: a filter, `grep` with its literals, a loop with a regex."""

    kind: str
    share: float
    filter: str
    literals: str
    regex: str
    failregex: str = ""  # of a filter that is not a stock one

    @property
    def files(self) -> dict[str, str]:
        if not self.failregex:
            return {}
        return {f"filter_{self.filter}": definition(failregex=self.failregex)}


_SSH = (
    "Failed password|: Invalid user|not listed in AllowUsers|maximum authentication attempts",
    r"sshd\[\d+\]: (?:error: )?(?:Failed password for|Invalid user|User|maximum authentication attempts"
    r" exceeded for) (?:invalid user )?(?:\S* ?from )?(\S+) (?:port \d+(?: ssh2)?|not allowed because)",
)
_WORDS = r"wp-login|phpMyAdmin|phpmyadmin|cgi-bin|roundcube|pma/|\.env|xmlrpc"
_PROBE = (_WORDS, rf'^(\S+) \S+ \S+ \[[^]]+\] "(?:GET|POST) /\S*(?:{_WORDS})\S* \S+" 404 ')
_LOGIN = (
    "login failed",
    r"AuthService - login failed user=\S+ ip=(\S+) ",
    r"^\s*WARN\s+\[[^]]+\] \S+\.AuthService - login failed user=<F-USER>\S+</F-USER> ip=<ADDR> ",
)

RARE_SSH = Subject("auth", 0.001, "sshd", *_SSH)
SOME_SSH = Subject("auth", 0.1, "sshd", *_SSH)
MOSTLY_SSH = Subject("auth", 0.9, "sshd", *_SSH)
PROBES = Subject("access", 0.01, "nginx-botsearch", *_PROBE)
ALL_PROBES = Subject("access", 1.0, "nginx-botsearch", *_PROBE)
LOGINS = Subject("app", 0.01, "bench-app", *_LOGIN)
AMONG_TWENTY = Subject("busy-access", 0.01, "nginx-botsearch", *_PROBE)


def _written(subject: Subject, count: int, surroundings: Surroundings) -> logs.Log:
    path = surroundings.place / f"{subject.kind}-{subject.share}-{count}.log"
    return logs.write(path, subject.kind, count, subject.share)


def _cost(
    surroundings: Surroundings, subject: Subject, log: logs.Log, who: Implementation
) -> float:
    """CPU seconds of a running server in whose log all of `log` appears at once."""
    one = {"bench": jail(subject.filter, "{place}/x.log")}
    with surroundings.server(who, one, **subject.files) as (server, place):
        return server.cpu_until_found(
            {"bench": log.failures}, partial(append, log.path, place / "x.log")
        )


def _of_a_log(subject: Subject, usual: int, surroundings: Surroundings) -> Trial:
    log = _written(subject, surroundings.lines(usual), surroundings)

    def measured(who: Implementation) -> Values:
        return {"lines": log.lines / _cost(surroundings, subject, log, who)}

    def limits() -> dict[str, Values]:
        found = yardsticks.of_lines(log, subject.literals, subject.regex)
        alone = inside.cpu_of_filter(log.path, subject, surroundings)
        return {"lines": {"our filter alone": log.lines / alone, **found}}

    return Trial(measured, limits)


def _growing(subject: Subject, sizes: tuple[int, ...], surroundings: Surroundings) -> Trial:
    chosen = sizes if surroundings.is_full else sizes[:-1]
    written = {str(size): _written(subject, size, surroundings) for size in chosen}

    def measured(who: Implementation) -> Values:
        return {
            size: _cost(surroundings, subject, log, who) / log.lines * _MILLION
            for size, log in written.items()
        }

    def loops() -> dict[str, Values]:
        return {
            size: {"`re` loop": yardsticks.cpu_of_loop(log, subject.regex) / log.lines * _MILLION}
            for size, log in written.items()
        }

    return Trial(measured, loops)


def _of_a_journal(usual: int, surroundings: Surroundings) -> Trial:
    place = surroundings.place
    written = journal.write(place / "whole.journal", surroundings.lines(usual), SOME_SSH.share)
    begun = journal.write(place / "begun.journal", 20, 0.0, ago=logs.SPAN)  # one must be there

    def measured(who: Implementation) -> Values:
        with surroundings.empty_directory() as folder:
            journal.put(begun.path, folder / "system.journal")
            backend, match = f"systemd[journalpath={folder}]", "_COMM=sshd"
            one = {"bench": jail("sshd", "{place}/x.log", backend=backend, journalmatch=match)}
            with surroundings.server(who, one) as (server, _):
                expected = {"bench": begun.failures + written.failures}
                feed = partial(journal.put, written.path, folder / "system@2.journal")
                cost = server.cpu_until_found(expected, feed)
        return {"entries": written.entries / cost}

    def loop() -> dict[str, Values]:
        cost = journal.cpu_of_loop(written, SOME_SSH.regex)
        return {"entries": {"`journal.Reader` loop": written.entries / cost}}

    return Trial(measured, loop)


_ONE_OF_TWENTY = {"first": jail("nginx-botsearch", "{place}/x.log")}
_TWENTY = _ONE_OF_TWENTY | {
    word: jail(f"bench-{word}", "{place}/x.log") for word in logs.OTHER_PROBES
}
_FILTERS_OF_TWENTY = {
    f"filter_bench-{word}": definition(
        failregex=rf'^<ADDR> \S+ \S+ \[\] "(?:GET|POST|HEAD) /{re.escape(word)}/[^"]*" 404 '
    )
    for word in logs.OTHER_PROBES
}


def _twenty(surroundings: Surroundings) -> Trial:
    log = _written(AMONG_TWENTY, surroundings.lines(_MILLION), surroundings)

    def cost(who: Implementation, jails: dict[str, dict[str, str]]) -> float:
        with surroundings.server(who, jails, **_FILTERS_OF_TWENTY) as (server, place):
            expected = {name: log.others[name] for name in jails} | {"first": log.failures}
            return server.cpu_until_found(expected, partial(append, log.path, place / "x.log"))

    def measured(who: Implementation) -> Values:
        alone = cost(who, _ONE_OF_TWENTY)
        return {"ratio": cost(who, _TWENTY) / alone}

    return Trial(measured, dict)


def _live(surroundings: Surroundings) -> Trial:
    """As they come: so many lines a second, one by one."""
    begun, count = 3000, _A_SECOND * _LIVE
    log = _written(AMONG_TWENTY, begun + count, surroundings)
    lines = log.path.read_bytes().splitlines(keepends=True)

    def share(who: Implementation, jails: dict[str, dict[str, str]]) -> float:
        with surroundings.server(who, jails, **_FILTERS_OF_TWENTY) as (server, place):
            with (place / "x.log").open("ab", buffering=0) as file:
                file.write(b"".join(lines[:begun]))
                time.sleep(1.5)  # what is done for the first lines is done
                before, began = server.cpu(), time.perf_counter()
                _dribble(file, lines[begun:], began)
                time.sleep(0.5)
                used = server.cpu() - before
            wait_until(lambda: server.failures("first") >= log.failures, 20)
            server.check_found({"first": log.failures})
            return used / _LIVE * 100

    def measured(who: Implementation) -> Values:
        return {"one": share(who, _ONE_OF_TWENTY), "twenty": share(who, _TWENTY)}

    def tail() -> dict[str, Values]:
        with surroundings.empty_directory() as place:
            path = place / "x.log"
            path.touch()
            with (
                yardsticks.tail_and_grep(path, PROBES.literals) as used,
                path.open("ab", buffering=0) as file,
            ):
                _dribble(file, lines[begun:], time.perf_counter())
                cpu = used()
        alike = {"`tail -F`, `grep -cE`": cpu / _LIVE * 100}
        return {"one": alike, "twenty": alike}

    return Trial(measured, tail)


def _dribble(file: RawIOBase, lines: list[bytes], began: float) -> None:
    for number, line in enumerate(lines):
        time.sleep(max(0.0, began + number / _A_SECOND - time.perf_counter()))
        file.write(line)


def _tool(subject: Subject, usual: int, surroundings: Surroundings) -> Trial:
    log = _written(subject, surroundings.lines(usual), surroundings)
    filter = surroundings.stock / "filter.d" / f"{subject.filter}.conf"

    def measured(who: Implementation) -> Values:
        words = who.command("fail2ban-regex", str(log.path), str(filter))
        done = ran(words, environment(surroundings.place))
        told = re.search(rb"Lines: (\d+) lines, \d+ ignored, (\d+) matched", done.output)
        if not told or (log.lines, log.failures) != (int(told[1]), int(told[2])):
            raise AssertionError(
                f"not {log.lines} lines and {log.failures} failures: {done.output[-1000:]!r}"
            )
        return {"lines": log.lines / done.cpu, "real": log.lines / done.real}

    def limits() -> dict[str, Values]:
        found = yardsticks.of_lines(log, subject.literals, subject.regex)
        return {"lines": found, "real": {"`re` loop": found["`re` loop"]}}

    return Trial(measured, limits)


def _log_case(
    name: str, title: str, subject: Subject, usual: int, goal: float, earlier: float
) -> Case:
    quantity = Quantity(title, LINES, goal, earlier)
    return Case(name, {"lines": quantity}, partial(_of_a_log, subject, usual))


def _growing_case(name: str, title: str, subject: Subject, sizes: tuple[int, ...]) -> Case:
    quantities = {
        str(size): Quantity(f"{title}, {size:,} lines", "µs of CPU a line") for size in sizes
    }
    return Case(name, quantities, partial(_growing, subject, sizes))


def _tool_case(name: str, title: str, subject: Subject, usual: int) -> Case:
    quantities = {
        "lines": Quantity(f"fail2ban-regex, {title}", LINES),
        "real": Quantity("the same, by the clock on the wall", "lines per second"),
    }
    return Case(name, quantities, partial(_tool, subject, usual))


# So long that what a filter does once, with its first lines, counts for little: a tenth of a second.
LOG_CASES = (
    _log_case("auth-0.1", "auth.log, 0.1 % failures, stock sshd", RARE_SSH, 4 * _MILLION, 4_200_000, 42_000),
    _log_case("auth-10", "auth.log, 10 % failures, stock sshd", SOME_SSH, _MILLION, 500_000, 20_000),
    _log_case("auth-90", "auth.log, 90 % failures, stock sshd", MOSTLY_SSH, 300_000, 100_000, 6_100),
    _log_case("access-1", "nginx access log, 1 % probes, stock nginx-botsearch", PROBES, _MILLION, 2_400_000, 48_000),
    _log_case("access-all", "access log of which every line matches, stock nginx-botsearch", ALL_PROBES, 300_000, 100_000, 2_400),
    _log_case("app-1", "application log with ISO dates, 1 % failures", LOGINS, _MILLION, 2_500_000, 62_000),
)  # fmt: skip
_JOURNAL_CASES = (
    (
        Case(
            "journal",
            {
                "entries": Quantity(
                    "the journal, entries of sshd of which a fifth fails, stock sshd",
                    "entries per CPU-second",
                    means="a file with all of them is put into the journal's directory",
                )
            },
            partial(_of_a_journal, 80_000),
        ),
    )
    if journal.is_here()
    else ()
)
CASES = (
    *LOG_CASES,
    *_JOURNAL_CASES,
    Case(
        "twenty-jails",
        {
            "ratio": Quantity(
                "twenty jails on one access log, CPU against one of them", "times", 1.5, 20,
                "stock nginx-botsearch alone (1 % of lines), then with nineteen jails that look for "
                "other things (0.1 % of lines together)",
            )
        },
        _twenty,
    ),
    Case(
        "live",
        {
            "one": Quantity(
                "an access log with 200 lines a second, one jail", "% of a core",
                means="written one by one, for ten seconds",
            ),
            "twenty": Quantity("the same, twenty jails", "% of a core"),
        },
        _live,
    ),
    _growing_case("growing-0.1", "auth.log, 0.1 % failures", RARE_SSH, (10**5, 10**6, 10**7)),
    _growing_case("growing-10", "auth.log, 10 % failures", SOME_SSH, (10**5, 10**6, 10**7)),
    _tool_case("regex-0.1", "auth.log, 0.1 % failures, stock sshd", RARE_SSH, _MILLION),
    _tool_case("regex-10", "auth.log, 10 % failures, stock sshd", SOME_SSH, 400_000),
)  # fmt: skip
