# SPDX-License-Identifier: GPL-2.0-or-later
"""Failures packed together: as they wait for the disk, and as they stand there.

A portion explains itself: whatever packed it, anybody can read it.  What is damaged is found out by a
checksum, and what is read is text and numbers, never more of them than there are bytes.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from operator import itemgetter
from typing import Any, NamedTuple

from server.packing import MOMENT, NUMBER, Kind, Packer, moment_of, number_of, numbered, unpacked
from server.records import Failure

# In the one hosts are JSON, in the other lines; who reads one of them reads both.
_JSON_HOSTS, _PLAIN_HOSTS = 1, 2
# Version, checksum of what follows it, how many failures, bytes of the kinds and of the hosts.  Kinds
# are JSON; behind the hosts come the lengths of the failures, and these.
_HEAD = struct.Struct("<BIIII")
_CHECKED = 5  # from here on the checksum looks
_LENGTH = 4
# So much is put together when portions are written anew.
_MOST = 2000
_LARGEST = 512 * 1024

# For so many failures, to look which kinds they are takes longer than to write down one too many.
_FAILURES_A_KIND = 100

_NUMBER, _MOMENT = itemgetter(NUMBER), itemgetter(MOMENT)
_json = json.JSONEncoder(separators=(",", ":")).encode


_NONSENSE = (ValueError, TypeError, LookupError, AttributeError, RecursionError, struct.error)


class SpoiltError(ValueError):
    """These bytes are no portion, or one of a later release."""


def _kind_of(told: list[Any]) -> tuple[int, Kind]:
    number, path, rule, is_name, attempts, names = told
    known = names if names is None else tuple(map(str, names))
    return number, (str(path), int(rule), bool(is_name), int(attempts), known)


class Portion(Collection[Failure]):
    """Some failures in their order, at least one."""

    __slots__ = ("data", "oldest", "newest", "_many")

    def __init__(
        self,
        kinds: Sequence[Kind],
        hosts: Sequence[str],
        failures: Sequence[bytes],
        span: tuple[float, float] | None = None,
    ) -> None:
        """The failures of `hosts` as a packer has packed them that knows `kinds`.

        `span` is when the oldest and the newest were, if that is known.
        """
        many = len(failures)
        # All of them at once: there may be as many as a log has lines.
        numbers: Iterable[int] = range(len(kinds))
        if len(kinds) * _FAILURES_A_KIND > many:
            numbers = sorted(int.from_bytes(each, "little") for each in set(map(_NUMBER, failures)))
        told = _json([(number, *kinds[number]) for number in numbers]).encode()
        version, whose = _PLAIN_HOSTS, "\n".join(hosts).encode("utf-8", "surrogatepass")
        if whose.count(b"\n") >= many:  # it was no log that named them
            version, whose = _JSON_HOSTS, _json(hosts).encode()
        lengths = struct.pack(f"<{many}I", *map(len, failures))
        rest = b"".join((told, whose, lengths, *failures))
        head = _HEAD.pack(version, 0, many, len(told), len(whose))
        checksum = zlib.crc32(rest, zlib.crc32(head[_CHECKED:], version - 1))
        self.data = _HEAD.pack(version, checksum, many, len(told), len(whose)) + rest
        if span is None:
            moments = struct.unpack(f"<{many}d", b"".join(map(_MOMENT, failures)))
            span = min(moments), max(moments)
        self.oldest, self.newest = span
        self._many = many

    @classmethod
    def of(cls, failures: Iterable[Failure]) -> Portion:
        packer = Packer()
        both = [(failure.host, packer.pack(failure)) for failure in failures]
        return cls(packer.kinds, [host for host, _ in both], [packed for _, packed in both])

    def __len__(self) -> int:
        return self._many

    def __iter__(self) -> Iterator[Failure]:
        return self.parts.unpacked()

    @property
    def parts(self) -> Parts:
        return Parts.of(self.data)

    def __contains__(self, failure: object) -> bool:
        return any(one == failure for one in self)


class Parts(NamedTuple):
    """What a portion consists of: kinds by their numbers, hosts, and their failures."""

    kinds: dict[int, Kind]
    hosts: list[str]
    failures: list[bytes]

    @classmethod
    def of(cls, data: bytes) -> Parts:
        """Raises SpoiltError."""
        try:
            version, checksum, many, told, whose = _HEAD.unpack_from(data)
            if version not in (_JSON_HOSTS, _PLAIN_HOSTS):
                raise SpoiltError(f"it is of version {version}")
            if checksum != zlib.crc32(data[_CHECKED:], version - 1):
                raise SpoiltError("its checksum is another")
            at = _HEAD.size + told + whose
            kinds = dict(map(_kind_of, json.loads(data[_HEAD.size : _HEAD.size + told])))
            hosts = _hosts_in(data[at - whose : at], version)
            lengths = struct.unpack_from(f"<{many}I", data, at)
            bounds = list(accumulate(lengths, initial=at + _LENGTH * many))
            failures = [data[start:end] for start, end in pairwise(bounds)]
            if bounds[-1] != len(data) or len(hosts) != many or not isinstance(hosts, list):
                raise SpoiltError("it is not as long as it says")
            if not kinds.keys() >= set(map(number_of, failures)) or set(map(type, hosts)) != {str}:
                raise SpoiltError("it speaks of what it does not hold")
        except _NONSENSE as error:
            raise error if isinstance(error, SpoiltError) else SpoiltError(str(error)) from None
        return cls(kinds, hosts, failures)

    def unpacked(self) -> Iterator[Failure]:
        """Raises SpoiltError."""
        try:
            for host, packed in zip(self.hosts, self.failures, strict=True):
                yield unpacked(self.kinds[number_of(packed)], host, packed)
        except _NONSENSE as error:
            raise SpoiltError(str(error)) from None

    def kept(self, is_kept: Callable[[str, float], bool]) -> Parts:
        """Those failures that `is_kept`, told by host and moment."""
        both = zip(self.hosts, self.failures, strict=True)
        left = [(host, one) for host, one in both if is_kept(host, moment_of(one))]
        return Parts(self.kinds, [host for host, _ in left], [one for _, one in left])


def _hosts_in(data: bytes, version: int) -> Any:
    if version == _JSON_HOSTS:
        return json.loads(data)
    return data.decode("utf-8", "surrogatepass").split("\n")


def together(many: Iterable[Parts]) -> Iterator[Portion]:
    """The same failures in fewer and larger portions."""
    packer, hosts, failures, size = Packer(), list[str](), list[bytes](), 0
    for parts in many:
        anew = {number: packer.number(kind) for number, kind in parts.kinds.items()}
        hosts += parts.hosts
        failures += [numbered(one, anew[number_of(one)]) for one in parts.failures]
        size += sum(map(len, parts.failures))
        if len(failures) >= _MOST or size >= _LARGEST:
            yield Portion(packer.kinds, hosts, failures)
            packer, hosts, failures, size = Packer(), [], [], 0
    if failures:
        yield Portion(packer.kinds, hosts, failures)
