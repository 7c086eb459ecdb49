# SPDX-License-Identifier: GPL-2.0-or-later
"""What travels through the server: frozen records, no behaviour beyond arithmetic on themselves.

What happened is a noun (`Failure`), what shall be done an order (`Enforce`).

Moments are seconds since 1970 (float), lengths seconds; "for ever" is `math.inf`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True)
class Position:
    """How far a file has been read: which file it was, and the offset of the next unread byte.

    `fingerprint` is a digest of the first line (at most 1 KiB of it): an inode number alone is given
    again to another file.  While there is no line it is b"", or tells which files there were beside.
    """

    device: int
    inode: int
    offset: int
    fingerprint: bytes = b""


@dataclass(frozen=True, slots=True)
class LogBlock:
    """Whole lines of one file, as bytes; all but a cut-off last one end in a line feed.

    `start` is where the first byte of `data` stands, `end` where reading goes on.  One without data
    only tells that position.  What `is_known` was read by an earlier run, and counted; it is there
    for what one has to remember of it.  `older` is how far the file has been read that stood at the
    path before that of `end`, as long as a service may go on writing to it.  `found` is what one search
    for all jails that read the file has found in it.
    """

    path: str
    data: bytes
    start: Position
    end: Position
    is_known: bool = False
    older: Position | None = None
    found: Any = None  # a server.sharing.Found


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Of a stretch of a file the lines that `filter` wants, read already; all others are passed over.

    They are as `server.lines.Lines.by_itself` has them.  `before` is the last date of what was passed over
    before them, `last` that of all (None: there is none).  `end` and `older` are as in a `LogBlock`, `size`
    is how many bytes it stands for.  It `can_wait` if it holds little, and more is to come at once.
    """

    path: str
    lines: Sequence[tuple[Any, ...]]
    before: float | None
    last: float | None
    end: Position
    older: Position | None
    size: int
    filter: Any  # a server.filter.Filter
    can_wait: bool


def older_of(path: str) -> str:
    """What the position in the file before that of `path` is kept under; no path is called so."""
    return f"{path}\n(older)"


# Beside positions is kept since when an action may enforce bans; it is empty once all were taken back.
STANDING = "\n(standing)"


@dataclass(frozen=True, slots=True)
class JournalBlock:
    """Entries of the systemd journal in their order: moment and text; `cursor` is the last one's.

    `is_known` as in a `LogBlock`.
    """

    source: str
    entries: tuple[tuple[float, str], ...]
    cursor: str
    is_known: bool = False


NO_FIELDS: Mapping[str, Any] = MappingProxyType({})


class Failure(NamedTuple):
    """A host failed.  `host` is an address in its shortest form, a host name, or any other id.

    `is_name` says that `host` is a DNS name that still has to be resolved.  `lines` are the log
    lines that belong to it (as a rule one).  `path`, `offset` and `rule` (index of the failregex)
    are the evidence.  `fields` holds what the regex named: `user`, `ip4`, … and any `<F-NAME>`.
    `attempts` is how often it counts.
    """

    host: str
    when: float
    lines: tuple[str, ...] = ()
    is_name: bool = False
    attempts: int = 1
    fields: Mapping[str, Any] = NO_FIELDS
    path: str = ""
    offset: int = -1
    rule: int = -1


# A tuple, as what is ordered of bans: a hundred thousand may be restored at a start, and a frozen dataclass
# takes four times as long.
class Ban(NamedTuple):
    """A host shut out of one jail from `since` on, for `seconds`.

    `failures` is how many led to it, `matches` (bounded) the log lines, `count` how many bans the
    host has had in this jail, this one included; `fields` what the last failure knew.
    """

    jail: str
    host: str
    since: float
    seconds: float
    matches: tuple[str, ...] = ()
    failures: int = 0
    count: int = 1  # type: ignore[assignment]  # in the place of a tuple's method
    fields: Mapping[str, Any] = NO_FIELDS
    parts: tuple[Ban, ...] = ()
    is_merged: bool = False
    is_spent: bool = False

    @property
    def until(self) -> float:
        return self.since + self.seconds

    def prolonged_to(self, until: float) -> Ban:
        return self._replace(seconds=until - self.since)


class Enforce(NamedTuple):
    """Order: shut `ban.host` out.  `restored` where the ban is older than this run of the server."""

    ban: Ban
    restored: bool = False


class Prolong(NamedTuple):
    """Order: a host that is shut out already stays so for longer."""

    ban: Ban


class Lift(NamedTuple):
    """Order: let `ban.host` in again, with those of its parts that `ban` still names.

    Where `into` names the ban of a network, that one stands in for it: the host stays shut out.
    `is_over` where its time is up, and nobody asked for it.
    """

    ban: Ban
    into: str = ""
    is_over: bool = False


Order = Enforce | Prolong | Lift


class Failed(NamedTuple):
    """Hosts failed, one after the other, each at its moment."""

    hosts: Sequence[str]
    moments: Sequence[float]


@dataclass(frozen=True, slots=True)
class Ignored:
    """A failure that counts for nothing; `why` is what covers its host: `ip`, `command`, …"""

    host: str
    why: str


@dataclass(frozen=True, slots=True)
class AlreadyBanned:
    """A host that is shut out went on failing, enough to be shut out once more."""

    host: str


@dataclass(frozen=True, slots=True)
class Spared:
    """A host failed enough to be shut out, but is not, as `session`, somebody logged in, is of it."""

    host: str
    session: str


@dataclass(frozen=True, slots=True)
class Crowded:
    """More than `most` hosts failed at a time; so many of them were forgotten since the last word."""

    hosts: int
    most: int


Event = Failed | Ignored | AlreadyBanned | Spared | Crowded


@dataclass(frozen=True, slots=True)
class ShellCommand:
    """A script for /bin/sh and the values that it names; the two never meet in one string.

    It may take `timeout` seconds, finds `input` in its standard input, and of what it prints the
    first `output_limit` bytes are kept.
    """

    script: str
    environment: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 60.0
    input: bytes = b""
    output_limit: int = 64 * 1024


@dataclass(frozen=True, slots=True)
class Result:
    """How a `ShellCommand` ended.  `status` is the exit status, -N where signal N ended it.

    `stdout` and `stderr` are cut to a bound; `is_timeout` says that it was ended for taking too long.
    """

    command: ShellCommand
    status: int
    stdout: str = ""
    stderr: str = ""
    is_timeout: bool = False

    @property
    def is_success(self) -> bool:
        return self.status == 0


@dataclass(frozen=True, slots=True)
class Progress:
    """What one step of a jail changed, to be made durable together or not at all.

    `positions` are files read (path to Position) or journals (source to cursor text).  Of the hosts
    in `settled` no earlier failure counts any longer; then `failed` are counted in addition.
    """

    jail: str
    positions: Mapping[str, Position | str] = field(default_factory=dict)
    banned: tuple[Ban, ...] = ()
    lifted: tuple[str, ...] = ()
    settled: tuple[str, ...] = ()
    failed: Collection[Failure] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.positions or self.banned or self.lifted or self.settled or self.failed)
