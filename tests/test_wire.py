# SPDX-License-Identifier: GPL-2.0-or-later
"""Bytes in, messages out: any cut of them, and any rubbish."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import pickletools
import struct
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common.commands import InvalidCommand
from common.errors import (
    CommandError,
    DuplicateJailError,
    ProtocolError,
    RegexError,
    UnknownJailError,
)
from common.wire import (
    CLOSE,
    END,
    ERROR_NAMES,
    Decoder,
    Leave,
    RemoteError,
    Unreadable,
    encode,
    encode_answer,
    read,
)

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False)
    | st.text(st.characters(), max_size=20)
    | st.just(f"x{END.decode()}y\\u003c\n")
)
MESSAGES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(SCALARS, inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
    ),
    max_leaves=20,
)


def cut(data, places):
    """`data` in pieces, cut at these places."""
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[begin:end] for begin, end in zip(edges, edges[1:], strict=False)]


@given(st.lists(MESSAGES, max_size=4), st.lists(st.integers(0, 10_000), max_size=8))
def test_messages_come_whole_whatever_way_the_bytes_are_cut(messages, places):
    decoder = Decoder()
    data = b"".join(encode(message) for message in messages)

    assert [m for piece in cut(data, places) for m in decoder.feed(piece)] == messages
    assert not decoder.is_amid_message


@given(MESSAGES, st.integers(0, 5))
def test_every_pickle_protocol_is_read(message, protocol):
    assert read(pickle.dumps(message, protocol)) == message


@given(MESSAGES)
def test_any_other_reader_of_pickles_understands_us(message):
    data = encode(message)

    assert data.endswith(END) and data.count(END) == 1
    assert pickle.loads(data[: -len(END)]) == message


def test_bytes_and_sets_are_plain_data():
    message = [b"x", b"y" * 300, {1, "a"}, set(), frozenset({2})]

    assert read(pickle.dumps(message, 5)) == [b"x", b"y" * 300, {1, "a"}, set(), {2}]


def test_texts_of_python_2_are_texts():
    assert read(b"\x80\x02]q\x00(U\x04pingq\x01U\x02\xc3\xbcq\x02e.") == ["ping", "ü"]
    assert read(b"(lp0\nS'status'\np1\naS'\\xc3\\xbc'\na.") == ["status", "ü"]


def test_what_is_no_plain_data_goes_as_text():
    class Word(str):
        pass

    data = encode([Word("a"), range(2), {"k": Word("b")}])

    assert Decoder().feed(data) == [["a", "range(0, 2)", {"k": "b"}]]


def test_taking_leave_is_told_apart():
    assert [type(m) for m in Decoder().feed(CLOSE + END + encode([]))] == [Leave, list]


@given(st.binary(max_size=200))
@example(b"\x80\x05\x95" + bytes(8) + b".")
@example(b"(((((.")
@example(b"]\x94h\x00a.")
def test_rubbish_is_rubbish_and_nothing_else(data):
    with contextlib.suppress(ProtocolError):
        read(data)
    for message in Decoder().feed(data + END):
        assert message is not None or data.endswith(b"N.")


@given(st.data())
def test_a_pickle_with_a_byte_changed_is_read_or_refused(data):
    good = bytearray(pickle.dumps(["set", "a", {"b": [1, 2.5, None]}, ("x",) * 2], 4))
    good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))

    with contextlib.suppress(ProtocolError):
        read(bytes(good))


class Call:
    """An object whose pickle wants `os.system` to be called."""

    def __reduce__(self):
        return os.system, ("true",)


def nested(opening, closing, depth=100_000):
    return opening * depth + closing * depth + b"."


HOSTILE = {
    "a call": pickle.dumps([Call()]),
    "a call, oldest protocol": pickle.dumps([Call()], 0),
    "a class": pickle.dumps(io.BytesIO),
    "an exception, to the server": pickle.dumps(KeyError("x")),
    "an object": b"\x80\x02)\x81.",
    "an instance": b"(ios\nsystem\n.",
    "an object by keywords": b"\x80\x04)}\x92.",
    "persistent": b"Pid\n.",
    "an extension": b"\x80\x02\x82\x01.",
    "a text of gigabytes": b"X\xff\xff\xff\x7fabc.",
    "a text of exabytes": b"\x8d" + b"\xff" * 8 + b"a.",
    "a number of gigabytes": b"\x8b\xff\xff\xff\x7f\x01.",
    "a long number": b"L" + b"9" * 100_000 + b"L\n.",
    "lists in lists": nested(b"(", b"l"),
    "tuples in tuples": b")" + b"\x85" * 100_000 + b".",
    "a key of tuples": b"})" + b"\x85" * 100_000 + b"Ns.",
    "itself": b"]\x94h\x00a.",
    "a key that cannot be one": b"}]Ns.",
    "laughs": b"]\x94" + b"".join(b"](" + b"h%c" % n * 10 + b"e\x94" for n in range(30)) + b".",
    "a shared text": b"X\x00\x00\x10\x00" + b"a" * (1 << 20) + b"\x94](" + b"h\x00" * 1000 + b"e.",
    "marks": b"(" * 1_000_000,
    "nothing": b"",
    "only an end": b".",
    "a mark in the way": b"](Na.",
    "adding to a text": b"X\x01\x00\x00\x00aNa.",
    "a bytearray": pickle.dumps(bytearray(b"x"), 5),
    "two values": b"NN.",
    "more after the end": b"N.N",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pickle_is_refused(name):
    with pytest.raises(ProtocolError):
        read(HOSTILE[name])


def test_a_place_far_out_in_the_memo_takes_no_room():
    tracemalloc.start()
    assert read(b"Nr\xff\xff\xff\x7fr\xff\xff\xff\xfe.") is None
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 1 << 20


def test_only_known_instructions_are_carried_out():
    """Whatever instruction Python knows: ours makes plain data of it, or refuses."""
    acting = {"REDUCE", "BUILD", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "PERSID", "BINPERSID"}
    for opcode in pickletools.opcodes:
        if opcode.name in acting:
            program = b"c" + b"os\nsystem\n" + b"(N" + opcode.code.encode("latin-1") + b"\n."
            with pytest.raises(ProtocolError):
                read(program, names=ERROR_NAMES)


def test_a_message_may_not_be_longer_than_the_limit():
    decoder = Decoder(limit=1000)
    with pytest.raises(ProtocolError):
        for _ in range(100):
            decoder.feed(b"x" * 100)


def test_an_unreadable_message_does_not_harm_the_next():
    bad, good = Decoder().feed(b"rubbish" + END + encode(["ping"]))

    assert isinstance(bad, Unreadable) and good == ["ping"]


ERRORS = [
    (KeyError("x"), "KeyError", ("x",)),
    (IndexError("list index out of range"), "IndexError", ("list index out of range",)),
    (FileNotFoundError(2, "No such file"), "FileNotFoundError", (2, "No such file")),
    (UnknownJailError("sshd"), "UnknownJailException", ("sshd",)),
    (DuplicateJailError("sshd"), "DuplicateJailException", ("sshd",)),
    (RegexError(f"no id in {END.decode()}"), "RegexException", (f"no id in {END.decode()}",)),
    (CommandError("no"), "Exception", ("no",)),
    (InvalidCommand("for people", IndexError("x")), "IndexError", ("x",)),
    (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "ValueError", None),
    (struct.error("odd"), "Exception", ("odd",)),
    (ExceptionGroup("several", [ValueError()]), "Exception", None),
    (SystemExit(3), "Exception", None),
]


@pytest.mark.parametrize(("error", "kind", "args"), ERRORS, ids=[repr(e[0]) for e in ERRORS])
def test_an_exception_comes_as_a_stand_in_of_the_name_that_all_clients_know(error, kind, args):
    (answer,) = Decoder(names=ERROR_NAMES).feed(encode_answer(1, error))

    code, stand_in = answer
    assert (code, stand_in.kind) == (1, kind)
    assert args is None or stand_in.args == args


class Foreign(pickle.Unpickler):
    """What a client of fail2ban 1.1 does, with classes of its own."""

    def find_class(self, module, name):
        if module.startswith("fail2ban"):
            return type(name, (Exception,), {"__module__": module})
        return super().find_class(module, name)


@pytest.mark.parametrize("error", [e[0] for e in ERRORS], ids=repr)
def test_an_exception_can_be_unpickled_by_other_clients(error):
    data = encode_answer(1, error)

    code, made = Foreign(io.BytesIO(data[: -len(END)])).load()
    assert code == 1 and isinstance(made, Exception) and data.count(END) == 1


def test_the_exceptions_of_other_servers_are_understood():
    for protocol in range(2, 6):
        error = ValueError("not banned: ['x']")
        error.add_note("a note")
        data = pickle.dumps((1, error), protocol)
        assert read(data, names=ERROR_NAMES)[1].args == ("not banned: ['x']",)
    unknown = b"\x80\x04\x8c\x13fail2ban.exceptions\x8c\x14UnknownJailException\x93\x8c\x01a\x85R."
    assert read(unknown, names=ERROR_NAMES) == RemoteError("UnknownJailException", ("a",))


def test_a_class_that_is_on_no_list_is_refused_by_the_client_too():
    for hostile in (HOSTILE["a call"], HOSTILE["a class"], b"cbuiltins\neval\n."):
        with pytest.raises(ProtocolError):
            read(hostile, names=ERROR_NAMES)


def test_the_bare_name_of_an_exception_is_no_value():
    with pytest.raises(ProtocolError):
        read(b"cbuiltins\nKeyError\n.", names=ERROR_NAMES)


def test_a_remote_error_says_what_the_exception_would_have_said():
    for error in (KeyError("a"), ValueError("b"), OSError(2, "c"), OSError(2, "c", "d"), Exception(), Exception(1, 2)):  # fmt: skip
        stand_in = read(pickle.dumps(error), names=ERROR_NAMES)
        assert str(stand_in) == str(error)
