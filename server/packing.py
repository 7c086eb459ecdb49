# SPDX-License-Identifier: GPL-2.0-or-later
"""A failure as few bytes: 150 to 200 where the record with all that hangs on it takes 900.

Moment and offset stand in front, then the texts as UTF-8: what the regex named, and the lines.  What
many failures share (file, failregex, the names of fields) is kept once, under a number.
"""

from __future__ import annotations

import marshal
import struct
from typing import Any

from server.records import Failure

_HEAD = struct.Struct("<dqI")  # moment, offset, which of the kinds
_MOMENT = struct.Struct("<d")
_BETWEEN = "\0"
_BETWEEN_BYTE = b"\0"
_ODD = -1  # in the place of the number of lines: texts that do not fit into one

# Path, rule, is_name, attempts, number of lines, names of fields.
_Kind = tuple[Any, ...]


class Packer:
    """Packs failures and unpacks them; what it packed, no other can read."""

    def __init__(self) -> None:
        self._kinds: list[_Kind] = []
        self._numbers: dict[_Kind, int] = {}
        # By number of a kind: that of the same without lines, and how many fields it has.
        self._short: dict[int, tuple[int, int]] = {}

    def clear(self) -> None:
        """Forget the kinds: nothing that was packed is needed any longer."""
        self._kinds, self._numbers, self._short = [], {}, {}

    def pack(self, failure: Failure) -> bytes:
        """`failure`, all but its host."""
        _, when, lines, is_name, attempts, fields, path, offset, rule = failure
        kind = (path, rule, is_name, attempts, len(lines), *fields)
        number = self._numbers.get(kind)
        if number is None:
            number = self._number(kind)
        try:
            text = _BETWEEN.join((*fields.values(), *lines))
            if text.count(_BETWEEN) == len(kind) - 6 + len(lines):
                return _HEAD.pack(when, offset, number) + text.encode("utf-8", "surrogatepass")
        except TypeError:  # some are lists of texts, as the users of a conversation
            pass
        number = self._number((path, rule, is_name, attempts, _ODD))
        # The interpreter's own form; it never leaves this process.
        return _HEAD.pack(when, offset, number) + marshal.dumps((lines, dict(fields)))

    def unpack(self, host: str, packed: bytes) -> Failure:
        """The failure of `host` that was packed."""
        when, offset, number = _HEAD.unpack_from(packed)
        path, rule, is_name, attempts, many, *names = self._kinds[number]
        body = packed[_HEAD.size :]
        if many == _ODD:
            lines, fields = marshal.loads(body)
        else:
            texts = body.decode("utf-8", "surrogatepass").split(_BETWEEN) if many or names else []
            fields = dict(zip(names, texts[: len(names)], strict=True))
            lines = tuple(texts[len(names) :])
        return Failure(host, when, lines, is_name, attempts, fields, path, offset, rule)

    def attempts_of(self, packed: bytes) -> int:
        attempts: int = self._kinds[_HEAD.unpack_from(packed)[2]][3]
        return attempts

    def without_lines(self, packed: bytes) -> bytes:
        """The same failure, its lines forgotten."""
        when, offset, number = _HEAD.unpack_from(packed)
        short = self._short.get(number)
        if short is None:
            kind = self._kinds[number]
            if not kind[4]:
                return packed
            if kind[4] == _ODD:
                return self.pack(self.unpack("", packed)._replace(lines=()))
            short = self._number((*kind[:4], 0, *kind[5:])), len(kind) - 5
            self._short[number] = short
        if not short[1]:
            return _HEAD.pack(when, offset, short[0])
        end = _HEAD.size - 1
        for _ in range(short[1]):
            end = packed.index(_BETWEEN_BYTE, end + 1)
        return _HEAD.pack(when, offset, short[0]) + packed[_HEAD.size : end]

    def _number(self, kind: _Kind) -> int:
        if kind not in self._numbers:
            self._numbers[kind] = len(self._kinds)
            self._kinds.append(kind)
        return self._numbers[kind]


def moment_of(packed: bytes) -> float:
    """When a packed failure was."""
    moment: float = _MOMENT.unpack_from(packed)[0]
    return moment
