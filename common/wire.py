# SPDX-License-Identifier: GPL-2.0-or-later
"""How messages look on the control socket.  Bytes in, messages out; it knows no socket.

A message is a pickle and the marker `END`.  Pickle is only the encoding here: what others send is
read by a reader of our own that knows the instructions for plain data and no others.  It can make
None, bool, int, float, str, bytes, list, tuple, dict and set; it imports nothing, calls nothing, and
holds to bounds.  (The standard library's unpickler, even with every global refused, can be made to
allocate gigabytes by six bytes, to nest until the interpreter's stack overflows, and to build lists
that are small to hold and endless to print.)
"""

from __future__ import annotations

import builtins
import pickle
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from common.commands import InvalidCommand
from common.errors import (
    DuplicateJailError,
    Fail2banError,
    ProtocolError,
    RegexError,
    UnknownJailError,
)

END = b"<F2B_END_COMMAND>"
CLOSE = b"<F2B_CLOSE_COMMAND>"

# Enough for the stream of a thousand jails; an answer may list a million bans.
REQUEST_LIMIT = 16 << 20
ANSWER_LIMIT = 256 << 20

_DEEPEST = 64
_LONGEST_NUMBER = 9  # bytes: whatever fits into 64 bits; numbers that are longer are slow to handle


@dataclass(frozen=True, slots=True)
class Leave:
    """The other side takes leave and awaits no answer."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A whole message that could not be read, and why."""

    why: str


@dataclass(frozen=True, slots=True)
class RemoteError:
    """An exception of the other side: the name of its class and its arguments, and no more."""

    kind: str
    args: tuple[Any, ...] = ()

    def __str__(self) -> str:
        if len(self.args) >= 2 and issubclass(_BUILTIN_ERRORS.get(self.kind, Exception), OSError):
            return f"[Errno {self.args[0]}] {self.args[1]}" + "".join(
                f": {name!r}" for name in self.args[2:3]
            )
        if len(self.args) == 1:
            return repr(self.args[0]) if self.kind == "KeyError" else str(self.args[0])
        return str(self.args) if self.args else ""


# Classes that a pickle may name where exceptions are expected: (module, class) to what we call it.
_BUILTIN_ERRORS = {
    name: error
    for name, error in vars(builtins).items()
    if isinstance(error, type)
    and issubclass(error, Exception)
    and not issubclass(error, BaseExceptionGroup)
}
_FOREIGN_ERRORS: Mapping[type[Fail2banError], tuple[str, str]] = {
    UnknownJailError: ("fail2ban.exceptions", "UnknownJailException"),
    DuplicateJailError: ("fail2ban.exceptions", "DuplicateJailException"),
    RegexError: ("fail2ban.server.failregex", "RegexException"),
}
ERROR_NAMES: Mapping[tuple[str, str], str] = {
    **{("builtins", name): name for name in _BUILTIN_ERRORS},
    **{("exceptions", name): name for name in _BUILTIN_ERRORS},
    **{(module, name): name for module, name in _FOREIGN_ERRORS.values()},
    ("json.decoder", "JSONDecodeError"): "JSONDecodeError",
    ("re", "error"): "error",
    ("re._constants", "error"): "error",
    ("sre_constants", "error"): "error",
    **{("sqlite3", name): name for name in ("DatabaseError", "IntegrityError", "OperationalError")},
}


class Decoder:
    """Cuts a stream of bytes into messages.

    `names` are the exceptions that a message may contain; a server knows none.
    """

    def __init__(
        self, limit: int = REQUEST_LIMIT, names: Mapping[tuple[str, str], str] | None = None
    ) -> None:
        self._limit = limit
        self._names = names or {}
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Any]:
        """Every message completed by `data`; what is left over waits for the next call.

        A message that makes no sense comes as `Unreadable`.  ProtocolError: one that is too long,
        after which nothing can be told apart any more.
        """
        searched = max(0, len(self._rest) - len(END) + 1)  # END may come in pieces
        self._rest += data
        messages = []
        begin = 0
        while (end := self._rest.find(END, max(begin, searched))) >= 0:
            self._check(end - begin)
            messages.append(self._message(bytes(self._rest[begin:end])))
            begin = end + len(END)
        del self._rest[:begin]
        self._check(len(self._rest))
        return messages

    @property
    def is_amid_message(self) -> bool:
        return bool(self._rest)

    def _check(self, length: int) -> None:
        if length > self._limit:
            raise ProtocolError(f"a message longer than {self._limit} bytes")

    def _message(self, frame: bytes) -> Any:
        if frame == CLOSE:
            return Leave()
        try:
            return read(frame, self._limit, self._names)
        except ProtocolError as error:
            return Unreadable(str(error))


def encode(message: Any) -> bytes:
    """`message` as it travels.  What is no plain data goes as text."""
    data = pickle.dumps(_plain(message), pickle.HIGHEST_PROTOCOL)
    if END in data:
        # Somebody's text holds the marker.  Only protocol 0 has a way to write it otherwise.
        data = pickle.dumps(_plain(message, is_oldest=True), 0)
        data = data.replace(END, b"\\u003c" + END[1:])
    return data + END


def encode_answer(code: int, value: Any) -> bytes:
    """An answer: 0 and a result, or 1 and an exception, which a client of fail2ban 1.1 can read."""
    if not isinstance(value, BaseException):
        return encode((code, value))
    module, name, args = _as_foreign(value)
    # As there is no such module here, the reference to the class is written by hand.  Protocol 3
    # has no frames, so that what is pickled of its own can stand in the midst of a pickle.
    arguments = pickle.dumps(_plain(args, is_oldest=True), 3)[2:-1]
    if END in arguments:
        arguments = pickle.dumps(_plain(args, is_oldest=True), 0)[:-1]
        arguments = arguments.replace(END, b"\\u003c" + END[1:])
    head = b"\x80\x03K" + bytes([code])
    return head + f"c{module}\n{name}\n".encode("ascii") + arguments + b"R\x86." + END


def _as_foreign(error: BaseException) -> tuple[str, str, tuple[Any, ...]]:
    """Module, class and arguments of the exception that other clients know for `error`."""
    if isinstance(error, InvalidCommand):
        error = error.wire
    for kind, (module, name) in _FOREIGN_ERRORS.items():
        if isinstance(error, kind):
            return module, name, (str(error),)
    if isinstance(error, Fail2banError):
        return "builtins", "Exception", (str(error),)
    if isinstance(error, UnicodeError) and len(error.args) != 1:
        return "builtins", "ValueError", (str(error),)
    for cls in type(error).__mro__:
        if _BUILTIN_ERRORS.get(cls.__name__) is cls:
            return "builtins", cls.__name__, error.args
    return "builtins", "Exception", (f"{type(error).__name__}: {error}",)


def _plain(value: Any, is_oldest: bool = False) -> Any:
    """`value` as plain data; with `is_oldest` such as pickle's first protocol has, too."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape") if is_oldest else bytes(value)
    if isinstance(value, tuple):
        return tuple(_plain(item, is_oldest) for item in value)
    if isinstance(value, list):
        return [_plain(item, is_oldest) for item in value]
    if isinstance(value, Mapping):
        return {_plain(key, is_oldest): _plain(item, is_oldest) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        items = (_plain(item, is_oldest) for item in value)
        return list(items) if is_oldest else set(items)
    if isinstance(value, int):
        return int(value)
    return float(value) if isinstance(value, float) else str(value)


def read(
    data: bytes, limit: int = REQUEST_LIMIT, names: Mapping[tuple[str, str], str] | None = None
) -> Any:
    """What the pickle `data` holds, if that is plain data within bounds; else ProtocolError."""
    try:
        value = _Reader(data, limit // 16, names or {}).run()
        _measure(value, 2 * limit)
    except (ValueError, TypeError, LookupError, struct.error) as error:
        raise ProtocolError(f"what was sent is no message: {error}") from None
    return value


_SCALARS = (str, int, float, bytes, type(None))


def _measure(value: Any, limit: int) -> None:
    """Refuse what nests too deep, contains itself, or is much longer when written out."""
    size = 0
    waiting = [(value, 0)]
    while waiting:
        item, depth = waiting.pop()
        size += 1 + (len(item) if isinstance(item, (str, bytes)) else 0)
        if size > limit:
            raise ValueError("it holds too much")
        if depth > _DEEPEST:
            raise ValueError("it nests too deep")
        inside: Any = ()
        if isinstance(item, (list, tuple, set)):
            inside = item
        elif isinstance(item, dict):
            inside = (*item, *item.values())
        elif isinstance(item, RemoteError):
            inside = item.args
        elif not isinstance(item, _SCALARS):
            raise ValueError("it holds the name of a class")
        if size + len(waiting) + len(inside) > limit:
            raise ValueError("it holds too much")
        waiting.extend((one, depth + 1) for one in inside)


@dataclass(frozen=True, slots=True)
class _Name:
    """A class that is on the list of exceptions; it is never looked for."""

    kind: str


class _Reader:
    """The stack machine that a pickle is a program for, without the instructions that act."""

    def __init__(self, data: bytes, steps: int, names: Mapping[tuple[str, str], str]) -> None:
        self._data = data
        self._at = 0
        self._steps = steps
        self._names = names
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        for _ in range(self._steps):
            code = self._bytes(1)[0]
            if code == _STOP:
                if len(self._stack) != 1 or self._marks or self._at != len(self._data):
                    raise ValueError("it ends where it should not")
                return self._stack[0]
            step = _STEPS.get(code)
            if step is None:
                raise ValueError(f"instruction {bytes([code])!r} is not for plain data")
            step(self)
        raise ValueError("it is too long a program")

    # what stands in the pickle

    def _bytes(self, length: int) -> bytes:
        begin, self._at = self._at, self._at + length
        if self._at > len(self._data):
            raise ValueError("it is cut off")
        return self._data[begin : self._at]

    def _line(self) -> bytes:
        end = self._data.find(b"\n", self._at)
        if end < 0:
            raise ValueError("it is cut off")
        begin, self._at = self._at, end + 1
        return self._data[begin:end]

    def _number(self, form: str) -> int:
        (number,) = struct.unpack(form, self._bytes(struct.calcsize(form)))
        return int(number)

    # what lies on the stack

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop(self) -> Any:
        if self._marks and self._marks[-1] == len(self._stack):
            raise ValueError("a mark lies in the way")
        return self._stack.pop()

    def _pop_to_mark(self) -> list[Any]:
        begin = self._marks.pop()
        items = self._stack[begin:]
        del self._stack[begin:]
        return items

    def _top(self, kind: type) -> Any:
        top = self._stack[-1]
        if not isinstance(top, kind) or (self._marks and self._marks[-1] == len(self._stack)):
            raise ValueError(f"no {kind.__name__} to add to")
        return top

    # the instructions

    def _proto(self) -> None:
        if self._bytes(1)[0] > 5:
            raise ValueError("a pickle protocol above 5")

    def _int_as_text(self) -> None:
        line = self._line()
        self._push({b"00": False, b"01": True}[line] if line in (b"00", b"01") else _int(line))

    def _long(self, form: str) -> None:
        length = self._number(form)
        if not 0 <= length <= _LONGEST_NUMBER:
            raise ValueError("too large a number")
        self._push(int.from_bytes(self._bytes(length), "little", signed=True))

    def _text(self, form: str) -> None:
        self._push(self._bytes(self._number(form)).decode("utf-8", "surrogatepass"))

    def _string(self, form: str) -> None:
        """A text of Python 2, which was bytes."""
        self._push(self._bytes(self._number(form)).decode("utf-8", "surrogateescape"))

    def _quoted_string(self) -> None:
        line = self._line()
        if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1]:
            raise ValueError("a text without quotes")
        written = line[1:-1].decode("ascii").encode("latin-1").decode("unicode-escape")
        self._push(written.encode("latin-1").decode("utf-8", "surrogateescape"))

    def _tuple(self, length: int) -> None:
        items = [self._pop() for _ in range(length)]
        self._push(tuple(reversed(items)))

    def _append(self) -> None:
        item = self._pop()
        self._top(list).append(item)

    def _extend(self) -> None:
        items = self._pop_to_mark()
        self._top(list).extend(items)

    def _set_item(self) -> None:
        value, key = self._pop(), self._pop()
        self._top(dict)[_key(key)] = value

    def _set_items(self) -> None:
        pairs = _pairs(self._pop_to_mark())
        self._top(dict).update(pairs)

    def _add_items(self) -> None:
        items = self._pop_to_mark()
        self._top(set).update(map(_key, items))

    def _remember(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _global(self, module: Any, name: Any) -> None:
        kind = self._names.get((module, name)) if isinstance(module, str) else None
        if kind is None:
            raise ValueError(f"class {str(module)[:80]}.{str(name)[:80]} is not known here")
        self._push(_Name(kind))

    def _global_in_lines(self) -> None:
        module, name = self._line().decode("utf-8"), self._line().decode("utf-8")
        self._global(module, name)

    def _global_on_stack(self) -> None:
        name, module = self._pop(), self._pop()
        self._global(module, _key(name))

    def _make_error(self) -> None:
        args, name = self._pop(), self._pop()
        if not isinstance(name, _Name) or not isinstance(args, tuple):
            raise ValueError("it wants something to be called")
        self._push(RemoteError(name.kind, args))

    def _forget_state(self) -> None:
        """An exception may have attributes; nobody here asks for them."""
        self._pop()
        self._top(RemoteError)


def _int(line: bytes) -> int:
    if len(line) > 24:
        raise ValueError("too large a number")
    return int(line.removesuffix(b"L"))


def _key(value: Any) -> Any:
    """`value`, if it may be a key: to hash or compare it takes no time worth mentioning."""
    flat = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(item, _SCALARS) for item in flat):
        raise ValueError("a key that is no plain value")
    return value


def _pairs(items: list[Any]) -> dict[Any, Any]:
    if len(items) % 2:
        raise ValueError("a key without a value")
    return {_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)}


_STOP = ord(".")
_STEPS: Mapping[int, Callable[[_Reader], object]] = {
    0x80: _Reader._proto,
    0x95: lambda r: r._bytes(8),  # frames are only a hint
    ord("("): lambda r: r._marks.append(len(r._stack)),
    ord("0"): lambda r: r._pop(),
    ord("1"): lambda r: r._pop_to_mark(),
    # plain values
    ord("N"): lambda r: r._push(None),
    0x88: lambda r: r._push(True),
    0x89: lambda r: r._push(False),
    ord("I"): _Reader._int_as_text,
    ord("L"): lambda r: r._push(_int(r._line())),
    ord("K"): lambda r: r._push(r._number("<B")),
    ord("M"): lambda r: r._push(r._number("<H")),
    ord("J"): lambda r: r._push(r._number("<i")),
    0x8A: lambda r: r._long("<B"),
    0x8B: lambda r: r._long("<i"),
    ord("F"): lambda r: r._push(float(r._line())),
    ord("G"): lambda r: r._push(struct.unpack(">d", r._bytes(8))[0]),
    ord("V"): lambda r: r._push(str(r._line(), "raw-unicode-escape")),
    0x8C: lambda r: r._text("<B"),
    ord("X"): lambda r: r._text("<I"),
    0x8D: lambda r: r._text("<Q"),
    ord("S"): _Reader._quoted_string,
    ord("U"): lambda r: r._string("<B"),
    ord("T"): lambda r: r._string("<I"),
    ord("C"): lambda r: r._push(r._bytes(r._number("<B"))),
    ord("B"): lambda r: r._push(r._bytes(r._number("<I"))),
    0x8E: lambda r: r._push(r._bytes(r._number("<Q"))),
    # what holds others
    ord(")"): lambda r: r._push(()),
    ord("t"): lambda r: r._push(tuple(r._pop_to_mark())),
    0x85: lambda r: r._tuple(1),
    0x86: lambda r: r._tuple(2),
    0x87: lambda r: r._tuple(3),
    ord("]"): lambda r: r._push([]),
    ord("l"): lambda r: r._push(r._pop_to_mark()),
    ord("a"): _Reader._append,
    ord("e"): _Reader._extend,
    ord("}"): lambda r: r._push({}),
    ord("d"): lambda r: r._push(_pairs(r._pop_to_mark())),
    ord("s"): _Reader._set_item,
    ord("u"): _Reader._set_items,
    0x8F: lambda r: r._push(set()),
    0x90: _Reader._add_items,
    0x91: lambda r: r._push(set(map(_key, r._pop_to_mark()))),
    # the same thing once more
    ord("p"): lambda r: r._remember(_int(r._line())),
    ord("q"): lambda r: r._remember(r._number("<B")),
    ord("r"): lambda r: r._remember(r._number("<I")),
    0x94: lambda r: r._remember(len(r._memo)),
    ord("g"): lambda r: r._push(r._memo[_int(r._line())]),
    ord("h"): lambda r: r._push(r._memo[r._number("<B")]),
    ord("j"): lambda r: r._push(r._memo[r._number("<I")]),
    # exceptions, where names are given
    ord("c"): _Reader._global_in_lines,
    0x93: _Reader._global_on_stack,
    ord("R"): _Reader._make_error,
    ord("b"): _Reader._forget_state,
}
