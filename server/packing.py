# SPDX-License-Identifier: GPL-2.0-or-later
"""A failure as few bytes: 150 to 200 where the record with all that hangs on it takes 900.

In front stand moment, offset, the number of its kind, and where its lines begin; then come the texts as
UTF-8: what the regex named, and the lines.  What many failures share (file, failregex, the names of
fields) is their kind; a field that holds no more than the host is but a name there.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, overload

from server.records import Failure

_HEAD = struct.Struct("<dqII")
_MOMENT = struct.Struct("<d")
_WORD = struct.Struct("<I")
_WORDS = struct.Struct("<II")
_KIND_AT, _LINES_AT = 16, 20
_BODY = _HEAD.size
MOMENT = slice(0, 8)  # where the moment stands …
NUMBER = slice(_KIND_AT, _LINES_AT)  # … and the number of the kind
_BETWEEN = "\0"

# Path, rule, is_name, attempts, names of fields; without these, fields and lines are JSON.  Before
# the name of the field that is the host there is `_OWN`, and it is left out.
_OWN = "="
Kind = tuple[str, int, bool, int, tuple[str, ...] | None]

# How failures alike are packed: the number of their kind, the name of the field that is the host, what
# picks the other fields, and how many these are.
_Way = tuple[int, str | None, Callable[[Mapping[str, Any]], Any], int]
_NO_WAY: _Way = (-1, None, lambda fields: "", 0)

# To move failures of a kind from a host to its network: the number of their kind then, where among its
# names the host's was left out, and how many others it has; -1: not known.
_Move = tuple[int, int, int]

# What packs a match: told that, its moment, its line's offset, and the line.
Press = Callable[[Any, float, int, str], bytes]

_json = json.JSONEncoder(default=str, separators=(",", ":")).encode
_pack_head = _HEAD.pack
_words = _WORDS.pack
_word_in = _WORD.unpack_from
# Tuples of one: when a packed failure was; how many of its bytes, those in front, are the same failure
# without its lines.
moment_in = _MOMENT.unpack_from
lines_begin_in = struct.Struct(f"<{_LINES_AT}xI").unpack_from


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """What all matches of a failregex `rule` have in common that name their host in one group.

    The names of fields (more may be there than a match has), which of them is the host, and what reads
    the others, if there are any, from a match.
    """

    rule: int
    names: tuple[str, ...]
    own: str
    others: Callable[[Any], Any] | None


class Packer:
    """Packs failures and unpacks them, as long as it knows their kinds."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget the kinds: nothing that was packed is needed any longer."""
        self.kinds: list[Kind] = []
        self._numbers: dict[Kind, int] = {}
        # By path, rule, is_name, attempts and the names of all fields, as they were met last.
        self._ways: dict[tuple[Any, ...], _Way] = {}
        self._presses: dict[str, _Presses] = {}
        self._moves: dict[int, _Move] = {}
        self.is_each_one = True  # as long as no failure has counted more than once …
        self.has_each_lines = True  # … or came without a line

    def pack(self, failure: Failure) -> bytes:
        """`failure`, all but its host."""
        host, when, lines, is_name, attempts, fields, path, offset, rule = failure
        key = path, rule, is_name, attempts, tuple(fields)
        try:
            number, own, pick, many = self._ways[key]
        except KeyError:
            number, own, pick, many = self._learn(key, failure)
        if _own_of(fields, host) if own is None else fields[own] != host:
            number, own, pick, many = self._learn(key, failure)
        try:
            named = pick(fields) if many < 2 else _BETWEEN.join(pick(fields))
            # Each line stands behind something, if only behind nothing.
            if len(lines) == 1:
                text = named + "\0" + lines[0]
                is_odd = "\0" in lines[0]
            else:
                text = _BETWEEN.join((named, *lines))
                is_odd = any("\0" in line for line in lines)
                self.has_each_lines = self.has_each_lines and bool(lines)
        except TypeError:  # some are several texts, as the users of a conversation
            return self._pack_odd(failure)
        if is_odd or number < 0 or ("\0" in named and named.count("\0") >= (many or 1)):
            return self._pack_odd(failure)
        cut = len(named) if text.isascii() else len(_data(named))
        return _pack_head(when, offset, number, _BODY + cut) + _data(text)

    def _learn(self, key: tuple[Any, ...], failure: Failure) -> _Way:
        """How to pack `failure`, and others that have `key`."""
        self.is_each_one = self.is_each_one and failure.attempts == 1
        if any(name[:1] == _OWN for name in failure.fields):
            return _NO_WAY
        way = self._ways[key] = self._way_of(failure)
        return way

    def _way_of(self, failure: Failure) -> _Way:
        host, _, _, is_name, attempts, fields, path, _, rule = failure
        own = _own_of(fields, host)
        others = [name for name in fields if name != own]
        shown = tuple(_OWN + name if name == own else name for name in fields)
        number = self.number((path, rule, is_name, attempts, shown))
        return number, own, itemgetter(*others) if others else _NO_WAY[2], len(others)

    def _pack_odd(self, failure: Failure) -> bytes:
        """The same as JSON."""
        self.has_each_lines = self.has_each_lines and bool(failure.lines)
        _, when, lines, is_name, attempts, fields, path, offset, rule = failure
        number = self.number((path, rule, is_name, attempts, None))
        named, told = _json(dict(fields)).encode(), _json(lines).encode()
        return _pack_head(when, offset, number, _BODY + len(named)) + named + told

    def unpack(self, host: str, packed: bytes) -> Failure:
        """The failure of `host` that was packed."""
        return unpacked(self.kinds[number_of(packed)], host, packed)

    def presses(self, path: str) -> Mapping[Shape, Press]:
        """What packs matches in lines of `path`, by their shape: a quarter of the work of `pack`.

        A press returns b"" where there is more to it, and raises TypeError where a match lacks a field.
        """
        if path not in self._presses:
            self._presses[path] = _Presses(self, path)
        return self._presses[path]

    def moved(self, host: str, into: str, packed: bytes) -> bytes:
        """What was packed for `host` as a failure of the network `into`, where it was `seen`."""
        number = number_of(packed)
        move = self._moves.get(number)
        if move is None:
            move = self._moves[number] = self._move_of(self.kinds[number])
        to, own, others = move
        if to < 0:
            failure = self.unpack(host, packed)
            fields = {**failure.fields, "seen": host}
            return self.pack(failure._replace(host=into, fields=fields))
        cut, seen = _word_in(packed, _LINES_AT)[0], _data(host)
        named = packed[_BODY:cut].split(b"\0") if others else []
        if own >= 0:
            named.insert(own, seen)
        told = b"\0".join((*named, seen))
        return packed[:_KIND_AT] + _words(to, _BODY + len(told)) + told + packed[cut:]

    def _move_of(self, kind: Kind) -> _Move:
        path, rule, is_name, attempts, names = kind
        if names is None or "seen" in names:
            return -1, -1, 0
        own = next((at for at, name in enumerate(names) if name[:1] == _OWN), -1)
        to = self.number(
            (path, rule, is_name, attempts, (*(name.removeprefix(_OWN) for name in names), "seen"))
        )
        return to, own, len(names) - (own >= 0)

    def attempts_of(self, packed: bytes) -> int:
        return self.kinds[number_of(packed)][3]

    def number(self, kind: Kind) -> int:
        """The number of `kind` here."""
        if kind not in self._numbers:
            self._numbers[kind] = len(self.kinds)
            self.kinds.append(kind)
        return self._numbers[kind]


class _Presses(dict[Shape, Press]):
    """Those for one path, made when they are first asked for."""

    def __init__(self, packer: Packer, path: str) -> None:
        self._packer, self._path = packer, path

    def __missing__(self, shape: Shape) -> Press:
        names = tuple(_OWN + name if name == shape.own else name for name in shape.names)
        number = self._packer.number((self._path, shape.rule, False, 1, names))
        press = self[shape] = _press(number, shape.others, len(names) - 1)
        return press


def _press(number: int, others_of: Callable[[Any], Any] | None, many: int) -> Press:
    pack_head, before = _pack_head, _BODY - 1

    def press(found: Any, when: float, offset: int, line: str) -> bytes:
        others = others_of(found) if others_of is not None else ""
        named = others if many < 2 else _BETWEEN.join(others)
        text = named + "\0" + line
        if "\0" in line or not text.isascii():
            return b""
        return pack_head(when, offset, number, before + len(text) - len(line)) + text.encode()

    return press


class Failures(Sequence[Failure]):
    """Failures in their order, as columns: who, when, and as `packer` has packed them.

    Each is a record only for who asks for it.  With `has_names` some hosts may still have to be resolved.
    """

    __slots__ = ("packer", "hosts", "moments", "packed", "has_names")

    def __init__(self, packer: Packer, failures: Iterable[Failure] = ()) -> None:
        self.packer = packer
        self.hosts: list[str] = []
        self.moments: list[float] = []
        self.packed: list[bytes] = []
        self.has_names = False
        for failure in failures:
            self.add(failure)

    def add(self, failure: Failure) -> None:
        self.hosts.append(failure.host)
        self.moments.append(failure.when)
        self.packed.append(self.packer.pack(failure))
        self.has_names = self.has_names or failure.is_name

    def __len__(self) -> int:
        return len(self.hosts)

    @overload
    def __getitem__(self, at: int) -> Failure: ...
    @overload
    def __getitem__(self, at: slice) -> Failures: ...
    def __getitem__(self, at: int | slice) -> Failure | Failures:
        if not isinstance(at, slice):
            return self.packer.unpack(self.hosts[at], self.packed[at])
        some = Failures(self.packer)
        some.hosts, some.moments = self.hosts[at], self.moments[at]
        some.packed, some.has_names = self.packed[at], self.has_names
        return some


def unpacked(kind: Kind, host: str, packed: bytes) -> Failure:
    """The failure of `host` that was packed as one of `kind`; ValueError if it is none."""
    when, offset, _, cut = _HEAD.unpack_from(packed)
    path, rule, is_name, attempts, names = kind
    if not _BODY <= cut <= len(packed):
        raise ValueError("its lines begin nowhere")
    named, told = packed[_BODY:cut], packed[cut:]
    if names is None:
        fields = {name: _tuples(value) for name, value in json.loads(named).items()}
        lines = tuple(map(str, json.loads(told))) if told else ()
    else:
        others = [name for name in names if name[:1] != _OWN]
        values = dict(zip(others or ("",), _text(named).split(_BETWEEN), strict=True))
        fields = {
            name.removeprefix(_OWN): host if name[:1] == _OWN else values[name] for name in names
        }
        lines = tuple(_text(told).split(_BETWEEN)[1:])  # nothing where they were forgotten
    return Failure(host, when, lines, is_name, attempts, fields, path, offset, rule)


def numbered(packed: bytes, number: int) -> bytes:
    """The same failure where its kind has another number."""
    return packed[:_KIND_AT] + _WORD.pack(number) + packed[_LINES_AT:]


def number_of(packed: bytes) -> int:
    """The number of the kind of a packed failure."""
    number: int = _word_in(packed, _KIND_AT)[0]
    return number


def moment_of(packed: bytes) -> float:
    """When a packed failure was."""
    moment: float = moment_in(packed)[0]
    return moment


def _own_of(fields: Mapping[str, Any], host: str) -> str | None:
    """The name of the field that is the host; None where there is none."""
    get = fields.get
    return "ip4" if get("ip4") == host else "ip6" if get("ip6") == host else None


def _data(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
