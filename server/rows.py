# SPDX-License-Identifier: GPL-2.0-or-later
"""How records become rows of the database, and rows records.  Knows no file and no SQL."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from server.packing import Packer
from server.portion import Portion
from server.records import NO_FIELDS, Ban, Failure, Position

BanRow = tuple[Any, ...]  # host, since, seconds, failures, count, data


def key_of(text: str) -> str | bytes:
    """`text` for a column; names of files may hold what is no Unicode, and then become bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
    return text


def text_of_key(key: str | bytes) -> str:
    """The text that `key_of` made `key` of."""
    return key.decode("utf-8", "surrogatepass") if isinstance(key, bytes) else key


# `json.dumps` with arguments makes an encoder anew each time.
_json = json.JSONEncoder(default=str, separators=(",", ":")).encode


def row_of_ban(ban: Ban, total: int) -> tuple[Any, ...]:
    """`ban` as a row; its host has had `total` bans in that jail."""
    seconds = -1.0 if math.isinf(ban.seconds) else max(ban.seconds, 0.0)
    data = _json(_data_of_ban(ban))
    return (
        key_of(ban.jail),
        key_of(ban.host),
        ban.since,
        seconds,
        ban.failures,
        ban.count,
        total,
        data,
    )


def _data_of_ban(ban: Ban) -> dict[str, Any]:
    """What of a ban has no column of its own; what is as in most is left out."""
    data: dict[str, Any] = {"matches": ban.matches, "fields": dict(ban.fields)}
    if ban.parts:
        data["parts"] = [
            {
                "host": part.host,
                "since": part.since,
                "seconds": -1.0 if math.isinf(part.seconds) else part.seconds,
                "failures": part.failures,
                "count": part.count,
                **_data_of_ban(part),
            }
            for part in ban.parts
        ]
    if ban.is_merged:
        data["is_merged"] = True
    if ban.is_spent:
        data["is_spent"] = True
    return data


def hosts_in(data: Mapping[str, Any]) -> Iterator[str]:
    """The hosts whose bans the ban with this `data` consists of."""
    for part in data.get("parts", ()):
        yield part["host"]
        yield from hosts_in(part)


def outlives(row: BanRow, now: float) -> bool:
    """Whether a ban of which the ban of `row` consists goes on after `now`."""
    (ban,) = bans_of_rows("", [row])
    return any(part.until > now for part in ban.parts)


_PLAIN = 2  # keys in the data of most bans: they are about no network
AT_ONCE = 1000  # texts that are decoded together, for a third of the time that each would take


def bans_of_rows(jail: str, rows: Sequence[BanRow]) -> list[Ban]:
    """The bans of `jail` that `Tables.bans` has read; any thread may make them of it."""
    bans = []
    for at in range(0, len(rows), AT_ONCE):
        some = rows[at : at + AT_ONCE]
        every = json.loads(f"[{','.join([row[-1] for row in some])}]")
        for (host, since, seconds, failures, count, _), more in zip(some, every, strict=True):
            if len(more) == _PLAIN and isinstance(host, str) and seconds >= 0:
                lines, fields = tuple(more["matches"]), more["fields"] or NO_FIELDS
                bans.append(Ban(jail, host, since, seconds, lines, failures, count, fields))
            else:
                bans.append(_ban_of(jail, text_of_key(host), since, seconds, failures, count, more))
    return bans


def ban_of_row(
    jail: str, host: str | bytes, since: float, seconds: float, failures: int, count: int, data: str
) -> Ban:
    """The ban of `jail` whose row this is."""
    return _ban_of(jail, text_of_key(host), since, seconds, failures, count, json.loads(data))


def _parts_of(jail: str, parts: list[dict[str, Any]]) -> tuple[Ban, ...]:
    return tuple(
        _ban_of(jail, p["host"], p["since"], p["seconds"], p["failures"], p["count"], p)
        for p in parts
    )


def _ban_of(
    jail: str,
    host: str,
    since: float,
    seconds: float,
    failures: int,
    count: int,
    more: Mapping[str, Any],
) -> Ban:
    return Ban(
        jail,
        host,
        since,
        math.inf if seconds < 0 else seconds,
        tuple(more["matches"]),
        failures,
        count,
        more["fields"] or NO_FIELDS,
        _parts_of(jail, more["parts"]) if "parts" in more else (),
        more.get("is_merged", False),
        more.get("is_spent", False),
    )


def ban_of_old_row(
    jail: Any, host: Any, since: Any, seconds: Any, count: Any, data: Any
) -> Ban | None:
    """A ban of fail2ban 1; None if the row makes no sense."""
    try:
        more = json.loads(data or "{}")
        lines = more.get("matches") or []
        matches = tuple("".join(map(str, x)) if isinstance(x, list) else str(x) for x in lines)
        length = math.inf if float(seconds) < 0 else float(seconds)
        failures = int(more.get("failures") or 0)
        return Ban(
            str(jail), str(host), float(since), length, matches, failures, max(int(count), 1)
        )
    except (ValueError, TypeError, AttributeError):
        return None


def failure_of_row(host: str | bytes, moment: float, attempts: int, data: str) -> Failure | None:
    """A failure as an older release kept it; None if the row makes no sense."""
    try:
        more = json.loads(data)
        more["lines"] = tuple(more["lines"])
        failure = Failure(host=text_of_key(host), when=moment, attempts=attempts, **more)
        Packer().pack(failure)
    except (ValueError, TypeError, KeyError, AttributeError, struct.error):
        return None
    return failure


def row_of_portion(portion: Portion) -> tuple[Any, ...]:
    """`portion` as the end of a row; number and jail stand before it."""
    return portion.oldest, portion.newest, len(portion), portion.data


def row_of_position(jail: str | bytes, path: str, at: Position | str) -> tuple[Any, ...]:
    """How far the log at `path` was read, in bytes or as a journal's cursor, as a row."""
    if isinstance(at, str):
        return jail, key_of(path), None, None, None, None, key_of(at)
    return jail, key_of(path), str(at.device), str(at.inode), at.offset, at.fingerprint, None
