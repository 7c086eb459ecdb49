# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line of fail2ban-regex, as text in and a record out.  Opens nothing."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from common.errors import CommandError
from common.version import VERSION


@dataclass(frozen=True, slots=True)
class Arguments:
    """What is to be tried, on what, and what is to be shown of it."""

    log: str = ""
    filter: str = ""
    ignore: str = ""
    config: str | None = None
    datepattern: str | None = None
    timezone: str | None = None
    encoding: str | None = None
    usedns: str | None = None
    maxlines: int | None = None
    journalmatch: str | None = None
    out: str | None = None
    is_inverted: bool = False
    checks_all: bool = True
    verbosity: int = 0
    shows_dates: bool = False
    shows_patterns: bool = False
    all_matched: bool = False
    all_missed: bool = False
    all_ignored: bool = False
    no_missed: bool = False
    no_ignored: bool = False
    full_traceback: bool = False
    jail: str | None = None
    verdict: bool = False
    log_level: str = "critical"
    lint: tuple[str, ...] | None = None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise CommandError(f"{message}\n{self.format_usage().strip()}")


def parser() -> argparse.ArgumentParser:
    """What the command line may be; the manual is made from it, too."""
    made = _Parser(
        prog="fail2ban-regex",
        description="Try a filter, or a regular expression, on a log.",
        epilog="LOG is a file, - for standard input, systemd-journal, or a line as it is. "
        "FILTER is a jail, a filter with or without [options], a filter file, or a regular "
        "expression; filter.d/NAME.conf is always the filter.",
        allow_abbrev=True,
    )
    add = made.add_argument
    add("log", metavar="LOG", nargs="?", default="")
    add("filter", metavar="FILTER", nargs="?", default="")
    add("ignore", metavar="IGNOREREGEX", nargs="?", default="")
    add("-c", "--config", help="the configuration's directory")
    add("-d", "--datepattern", help="how dates are written in the log")
    add("--timezone", "--TZ", help="the zone of dates that name none")
    add("-e", "--encoding", help="the log's encoding; the locale's unless given")
    add("-r", "--raw", dest="usedns", action="store_const", const="raw", help="look no names up")
    add("--usedns", metavar="USE", help="yes, warn, no or raw, as in a jail")
    add("-L", "--maxlines", type=int, metavar="N", help="how many lines a failregex may span")
    add("-m", "--journalmatch", metavar="MATCH", help="which entries of the journal")
    add("-o", "--out", metavar="FORM", help="print only this of each match: id, ip, fid, host, ip4, ip6, dns, user, row, msg, matches, raw-ids, stats, or a text with <tags>")  # fmt: skip
    add("-i", "--invert", dest="is_inverted", action="store_true", help="with -o: the lines that do not match")  # fmt: skip
    add("--no-check-all", dest="checks_all", action="store_false", help="count the first regex that matches only")  # fmt: skip
    add("-v", "--verbose", dest="verbosity", action="count", default=0, help="say more; may be given again")  # fmt: skip
    add("--verbosity", dest="level", type=int, metavar="N", help="the same as a number")
    add("--verbose-date", "--VD", dest="shows_dates", action="store_true", help="show what of each line was its date")  # fmt: skip
    add("-D", "--debuggex", dest="shows_patterns", action="store_true", help="show the regexes as they are tried, for a tool to look into")  # fmt: skip
    add("--print-all-matched", dest="all_matched", action="store_true", help="print all lines that match")  # fmt: skip
    add("--print-all-missed", dest="all_missed", action="store_true", help="print all lines that do not")  # fmt: skip
    add("--print-all-ignored", dest="all_ignored", action="store_true", help="print all lines that are ignored")  # fmt: skip
    add("--print-no-missed", dest="no_missed", action="store_true", help="print no lines that do not match")  # fmt: skip
    add("--print-no-ignored", dest="no_ignored", action="store_true", help="print no lines that are ignored")  # fmt: skip
    add(
        "-l",
        "--log-level",
        default="critical",
        help="which messages about the work go to standard error: critical, error, warning (slow rules), notice, info (how it was read), debug",
    )
    add("-n", "--full-traceback", dest="full_traceback", action="store_true", help="show where in the program an unforeseen error came up")  # fmt: skip
    add("-t", "--log-traceback", action="store_true", help="taken, and without effect")
    add("--jail", help="the limits of this jail, for --verdict; also the filter, if none is given")
    add("--verdict", action="store_true", help="show who would have been banned, and when")
    add("--lint", nargs="*", metavar="FILTER", help="look for faults in these filters, or in all; reads no log")  # fmt: skip
    add("-V", action="version", version=VERSION, help="print the bare version")
    add("--version", action="version", version=f"Fail2Ban v{VERSION}", help="print the version")
    return made


def parse(argv: Sequence[str]) -> Arguments:
    """What `argv` (without the program's name) says; CommandError where it says nothing clear."""
    given = vars(parser().parse_args(argv))
    level = given.pop("level")
    given.pop("log_traceback")
    if level is not None:
        given["verbosity"] = level
    if given["lint"] is not None:
        return Arguments(config=given["config"], lint=tuple(given["lint"]))
    if given["jail"] and not given["filter"]:
        given["filter"] = given["jail"]
    if not given["log"] or not given["filter"]:
        raise CommandError(f"what is to be tried, and on what?\n{parser().format_usage().strip()}")
    if given["maxlines"] is not None and given["maxlines"] < 1:
        raise CommandError("--maxlines is a whole number of 1 or more")
    return Arguments(**given)
