# SPDX-License-Identifier: GPL-2.0-or-later
"""What fail2ban-regex prints: the summary that people know, and `--out`.  Text only."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from common.errors import CommandError
from common.options import JailConf
from server.jail import Jail
from server.records import Enforce, Failure
from tryout.arguments import Arguments
from tryout.subject import Subject
from tryout.tally import IGNORED, MATCHED, MISSED, Hit, Tally


def date_of(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


@dataclass(frozen=True, slots=True)
class Paint:
    """Words for a terminal in colour, or as they are."""

    is_on: bool = False

    def __call__(self, text: str, colour: int) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self.is_on else text


_GREEN, _YELLOW, _CYAN = 32, 33, 36


def head(given: Arguments, subject: Subject, confdir: str, source: str) -> Iterator[str]:
    """What is tried on what."""
    yield ""
    yield "Running tests"
    yield "============="
    yield ""
    if subject.kind == "regex":
        yield f"Use   failregex line : {subject.name}"
    else:
        yield f"Use   failregex {subject.kind:6} : {subject.name}, basedir: {confdir}"
    if given.ignore:
        yield f"Use   ignoreregex line : {given.ignore}"
    if subject.conf.max_lines > 1:
        yield f"Use          maxlines : {subject.conf.max_lines}"
    if subject.conf.date_pattern:
        yield f"Use       datepattern : {subject.conf.date_pattern}"
    yield f"Use          {source}"
    yield f"Use          encoding : {subject.conf.log_encoding}"
    yield ""


def summary(
    given: Arguments, subject: Subject, tally: Tally, seconds: float, paint: Paint
) -> Iterator[str]:
    """What came of it all."""
    yield ""
    yield "Results"
    yield "======="
    yield ""
    if subject.conf.prefregex:
        yield from _titled(
            "Prefregex", [(0, tally.total - tally.fates[MISSED], subject.conf.prefregex)], given, {}
        )
    yield from _titled("Failregex", _rows(subject.conf.failregex, tally.rules), given, tally.hits)
    yield from _titled(
        "Ignoreregex", _rows(subject.conf.ignoreregex, tally.ignore_rules), given, {}
    )
    yield "Date template hits:"
    if tally.dates:
        yield "|- [# of hits] date format"
        for name, count in sorted(tally.dates.items(), key=lambda style: (-style[1], style[0])):
            yield f"|  [{count}] {name}"
        yield "`-"
    yield ""
    fates = ", ".join(
        (
            f"{tally.fates[IGNORED]} ignored",
            paint(f"{tally.fates[MATCHED]} matched", _GREEN),
            paint(f"{tally.fates[MISSED]} missed", _YELLOW),
        )
    )
    yield f"Lines: {tally.total} lines, {fates}"
    yield paint(f"[processed in {seconds:.2f} sec]", _CYAN)
    yield ""
    for fate, prints_all, prints_none in (
        (MATCHED, given.all_matched, not given.all_matched),
        (IGNORED, given.all_ignored, given.no_ignored),
        (MISSED, given.all_missed, given.no_missed),
    ):
        if not prints_none and tally.fates[fate]:
            yield from _lines(fate, tally, prints_all, given.shows_dates)


def _rows(regexes: Sequence[str], counts: Any) -> list[tuple[int, int, str]]:
    return [(number, counts[number], regex) for number, regex in enumerate(regexes)]


def _titled(
    title: str, rows: list[tuple[int, int, str]], given: Arguments, hits: dict[int, list[Hit]]
) -> Iterator[str]:
    yield f"{title}: {sum(count for _, count, _ in rows)} total"
    shown = [row for row in rows if row[1] or given.verbosity]
    if shown:
        yield "|-  #) [# of hits] regular expression"
        for number, count, regex in shown:
            yield f"|  {number + 1:2}) [{count}] {regex}"
            if given.verbosity:
                for hit in hits.get(number, ()):
                    yield f"|      {hit.who}  {date_of(hit.when)}"
        yield "`-"
    yield ""


def _lines(fate: str, tally: Tally, prints_all: bool, shows_dates: bool) -> Iterator[str]:
    count, title = tally.fates[fate], fate.capitalize()
    if count > tally.most_kept and not prints_all:
        yield f"{title} line(s): too many to print.  Use --print-all-{fate} to print all {count} lines"
        return
    yield f"|- {title} line(s):"
    for line, date in tally.kept[fate]:
        yield f"|  {line}" + (f"  [{'no date' if date is None else date}]" if shows_dates else "")
    yield "`-"


# -- --out -----------------------------------------------------------------------------------------

_TAG = re.compile(r"<([\w/-]+)>")
# What is printed of a line and the failure that it made known.
Printer = Callable[[str, Failure], str]


def printer(form: str) -> Printer:
    """What prints a failure as `--out` says; CommandError for a form that is none."""
    if form in _FORMS:
        return _FORMS[form]
    if _TAG.search(form):
        return lambda line, failure: _TAG.sub(lambda tag: _tag(line, failure, tag[1]), form)
    raise CommandError(
        f"--out {form!r} is no form; there are {', '.join(_FORMS)}, stats, and texts with <tags>"
    )


def _field(name: str) -> Printer:
    def show(line: str, failure: Failure) -> str:
        value = failure.fields.get(name)
        return "" if value is None else str(value)

    return show


def _row(line: str, failure: Failure) -> str:
    fields = {**failure.fields, "matches": list(failure.lines)}
    return f"[{failure.host!r}, {failure.when!r}, {fields!r}],"


_FORMS: dict[str, Printer] = {
    "id": lambda line, failure: failure.host,
    "fid": lambda line, failure: failure.host,
    "ip": lambda line, failure: failure.host,
    "raw-ids": lambda line, failure: failure.host,
    "host": lambda line, failure: failure.host,
    "ip4": _field("ip4"),
    "ip6": _field("ip6"),
    "dns": _field("dns"),
    "user": _field("user"),
    "row": _row,
    "msg": lambda line, failure: line,
    "matches": lambda line, failure: "\n".join(failure.lines),
}


def _tag(line: str, failure: Failure, name: str) -> str:
    if name in _FORMS:
        return _FORMS[name](line, failure)
    if name == "time":
        return f"{failure.when:.0f}"
    if name == "failures":
        return str(failure.attempts)
    key = name[2:] if name.startswith("F-") else name
    value = failure.fields.get(key.lower().replace("-", "_"))
    return "" if value is None else str(value)


# -- --verdict -------------------------------------------------------------------------------------


def verdicts(conf: JailConf, failures: Iterable[Failure]) -> Iterator[str]:
    """Who would have been banned, and when, by the limits of `conf` and the log's own clock."""
    jail = Jail(conf)
    bans = 0
    for failure in failures:
        jail.on_time(failure.when)
        for said in jail.on_failure(failure, failure.when):
            if isinstance(said, Enforce):
                bans += 1
                ban = said.ban
                length = "for ever" if ban.seconds == float("inf") else f"for {ban.seconds:.0f} s"
                yield f"{date_of(ban.since)}  {ban.host}  banned {length}, after {ban.failures} failures"
    limits = f"maxretry {conf.max_retry}, findtime {conf.find_time:.0f} s"
    yield f"{bans} bans by the limits of {conf.name}: {limits}; {jail.total_failed} failures in all"
