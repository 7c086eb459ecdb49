# SPDX-License-Identifier: GPL-2.0-or-later
"""Every option of the daemon and of a jail, each said once: key, kind, default, help.

From a line of these tables come the key in a configuration file and its check, `set` and `get`, their
help, completion, and the row in the manual.  Knows no file, no socket and no command.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from common import units


@dataclass(frozen=True, slots=True)
class Kind:
    """What a value may be: `read` makes it of what was written (ValueError says what is wrong)."""

    name: str
    read: Callable[[Any], Any]
    show: Callable[[Any], Any] = lambda value: value


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its key in files and commands, its kind, and a sentence for the manual.

    `sent` says in which form the client sends it: as "text" (as written), "number" or "switch".
    """

    key: str
    kind: Kind
    default: Any
    help: str
    sent: str = "text"


def _duration(given: Any) -> float:
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        return given
    return units.seconds(str(given))


def _ban_duration(given: Any) -> float:
    length = _duration(given)
    return math.inf if length < 0 else length


def _count(least: int) -> Callable[[Any], int]:
    return lambda given: units.whole(str(given), least)


def _number(given: Any) -> int:
    try:
        return int(str(given).strip())
    except ValueError:
        raise ValueError("is not a whole number") from None


def _prefix(given: Any) -> int:
    word = str(given).strip().lower().removeprefix("/")
    if word in ("off", "no", "false", "none"):
        return 128
    try:
        length = int(word)
    except ValueError:
        length = 0
    if not 16 <= length <= 128:
        raise ValueError("is no length of a prefix, from 16 to 128, or off")
    return length


def _use_dns(given: Any) -> str:
    if isinstance(given, bool):
        return "yes" if given else "no"
    word = str(given).strip().lower()
    return word if word in ("yes", "warn", "no", "raw") else "no"


def _optional_text(given: Any) -> str | None:
    return str(given) or None


def _as_seconds(length: float) -> float:
    """On the wire "for ever" is -1, and whole seconds are whole numbers."""
    if math.isinf(length):
        return -1
    return int(length) if length == int(length) else length


TEXT = Kind("text", str)
OPTIONAL_TEXT = Kind("text", _optional_text)
SWITCH = Kind("switch", units.is_on)
COUNT = Kind("count", _count(1))
AMOUNT = Kind("amount", _count(0))
NUMBER = Kind("number", _number)
DURATION = Kind("time", _duration, _as_seconds)
BAN_DURATION = Kind("time", _ban_duration, _as_seconds)
PREFIX = Kind("16..128|off", _prefix)
USE_DNS = Kind("yes|warn|no|raw", _use_dns)


def option(key: str, kind: Kind, default: Any, help: str, sent: str = "text") -> Any:
    """A dataclass field that carries its own `Option`."""
    about = Option(key, kind, default, help, sent)
    return dataclasses.field(default=default, metadata={"option": about})


@dataclass(frozen=True, slots=True)
class LogPath:
    """A log to follow: a path or a glob, read from its `tail` or from its head at first sight."""

    pattern: str
    is_tail: bool = False


@dataclass(frozen=True, slots=True)
class ActionConf:
    """An action of a jail: its name there, and its properties as they were set, in that order.

    `properties` are commands (`actionban`), parameters, `timeout`; `module` is the Python file of an
    action that is none of shell commands, and `arguments` what its class is called with.
    """

    name: str
    properties: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    module: str | None = None
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JailConf:
    """All that makes a jail what it is.  Two equal ones are the same jail."""

    name: str
    backend: str = option("backend", TEXT, "auto", "How the log is followed: auto, pyinotify, polling, systemd.")  # fmt: skip
    is_started: bool = False
    is_idle: bool = False

    use_dns: str = option("usedns", USE_DNS, "warn", "Whether host names in a log are looked up: yes, warn (and say so), no, raw (ban the name).")  # fmt: skip
    prefregex: str = option("prefregex", TEXT, "", "What every line of interest begins with; its <F-CONTENT> is what the failregexes see.")  # fmt: skip
    max_lines: int = option("maxlines", COUNT, 1, "How many lines a failregex may span.", "number")  # fmt: skip
    ignoreregex: tuple[str, ...] = ()
    failregex: tuple[str, ...] = ()
    date_pattern: str | None = option("datepattern", OPTIONAL_TEXT, None, "How dates are written in the log, where it is not one of the usual ways.")  # fmt: skip
    journal_match: tuple[tuple[str, ...], ...] = ()

    max_retry: int = option("maxretry", COUNT, 3, "Failures within findtime that earn a ban.", "number")  # fmt: skip
    max_hosts: int = option("maxhosts", COUNT, 200000, "Hosts whose failures are counted at a time; beyond that, those that failed least are forgotten.", "number")  # fmt: skip
    max_matches: int = option("maxmatches", AMOUNT, 5, "Log lines kept of a host that fails.", "number")  # fmt: skip
    find_time: float = option("findtime", DURATION, 600, "How long a failure counts.")
    ban_time: float = option("bantime", BAN_DURATION, 600, "How long a ban lasts; -1 is for ever.")
    ban_time_extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    ignore_command: str | None = option("ignorecommand", OPTIONAL_TEXT, None, "A command that exits with 0 where a host is not to be banned.")  # fmt: skip
    ignore_self: bool = option("ignoreself", SWITCH, True, "Never ban one of this machine's own addresses.", "switch")  # fmt: skip
    ignore_ip: tuple[str, ...] = ()
    ignore_cache: str | None = option("ignorecache", OPTIONAL_TEXT, None, 'How long answers of ignorecommand are kept: key="<ip>", max-count=100, max-time=5m.')  # fmt: skip
    log_time_zone: str | None = option("logtimezone", OPTIONAL_TEXT, None, "The time zone of dates in the log that name none.")  # fmt: skip
    log_encoding: str = option("logencoding", TEXT, "auto", "The log's encoding; auto is the locale's.")  # fmt: skip

    ipv6_prefix: int = option("ipv6prefix", PREFIX, 128, "The length of the prefix that IPv6 hosts are counted and banned by; off is each address by itself.")  # fmt: skip
    aggregate: int = option("aggregate", AMOUNT, 0, "How many banned hosts of a network (/24 of IPv4, /56 of IPv6) have all of it banned; 0 is never.", "number")  # fmt: skip
    aggregate_time: float = option("aggregatetime", DURATION, 86400, "How far apart their bans may have begun.")  # fmt: skip
    ignore_sessions: bool = option("ignoresessions", SWITCH, False, "Spare addresses from which somebody is logged in now: they are told of, and banned by hand only.", "switch")  # fmt: skip

    log_paths: tuple[LogPath, ...] = ()
    actions: tuple[ActionConf, ...] = ()
    # In which file and line options of the filter stand, where that is known.
    origins: Mapping[str, str] = dataclasses.field(default_factory=dict)


# Options of growing bans: `set <jail> bantime.<key>`; kept in `JailConf.ban_time_extra`.
BAN_TIME_OPTIONS: tuple[Option, ...] = (
    Option("increment", SWITCH, None, "Whether each further ban of a host is longer.", "switch"),
    Option("factor", OPTIONAL_TEXT, None, "What the length of a growing ban is multiplied with."),
    Option("formula", OPTIONAL_TEXT, None, "Arithmetic that gives the length of a growing ban."),
    Option("multipliers", OPTIONAL_TEXT, None, "Factors for the first, second, … ban of a host."),
    Option("maxtime", DURATION, None, "The longest that a growing ban may get."),
    Option("rndtime", DURATION, None, "Up to how much time is added at random to a growing ban."),
    Option("overalljails", SWITCH, None, "Whether bans in other jails count, too.", "switch"),
)


@dataclass(frozen=True, slots=True)
class DaemonConf:
    """The daemon's own options."""

    log_level: str = option("loglevel", TEXT, "INFO", "How much is logged: CRITICAL ERROR WARNING NOTICE INFO DEBUG, or 1 to 4.")  # fmt: skip
    log_target: str = option("logtarget", TEXT, "STDERR", "Where: a file, STDOUT, STDERR, SYSLOG, SYSTEMD-JOURNAL.")  # fmt: skip
    syslog_socket: str = option("syslogsocket", TEXT, "auto", "The socket of syslog; auto finds it.")  # fmt: skip
    allow_ipv6: str = option("allowipv6", TEXT, "auto", "Whether IPv6 is in use: auto, yes, no.")
    db_file: str = option("dbfile", TEXT, "None", "The database; None for none, :memory: for one that is not kept.")  # fmt: skip
    db_max_matches: int = option("dbmaxmatches", AMOUNT, 10, "Log lines kept of a ban in the database.", "number")  # fmt: skip
    db_purge_age: float = option("dbpurgeage", DURATION, 86400, "How long bans that are over are kept in the database.")  # fmt: skip
    stack_size: int = 0


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that commands can configure: the daemon and its jails, in the order of their `add`."""

    daemon: DaemonConf = DaemonConf()
    jails: Mapping[str, JailConf] = dataclasses.field(default_factory=dict)


def options_of(conf: type) -> dict[str, tuple[str, Option]]:
    """Key to (field name, option) of a configuration record."""
    return {
        field.metadata["option"].key: (field.name, field.metadata["option"])
        for field in dataclasses.fields(conf)
        if "option" in field.metadata
    }


JAIL_OPTIONS = options_of(JailConf)
DAEMON_OPTIONS = options_of(DaemonConf)
