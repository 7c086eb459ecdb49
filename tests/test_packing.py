# SPDX-License-Identifier: GPL-2.0-or-later
import re
from operator import itemgetter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.packing import Failures, Packer, Shape, lines_begin_in, moment_of
from server.records import Failure
from tests.support import EVE, NOON

TEXTS = st.text(st.characters(codec=None), max_size=20)
FAILURES = st.builds(
    Failure,
    host=st.just(EVE),
    when=st.floats(allow_nan=False),
    lines=st.lists(TEXTS, max_size=3).map(tuple),
    is_name=st.booleans(),
    attempts=st.integers(0, 1000),
    fields=st.dictionaries(
        TEXTS,
        TEXTS | st.lists(TEXTS, max_size=2).map(tuple) | st.none() | st.integers(),
        max_size=3,
    ),
    path=TEXTS,
    offset=st.integers(-1, 2**62),
    rule=st.integers(-1, 100),
)


@given(st.lists(FAILURES, max_size=4))
def test_what_is_packed_comes_out_as_it_was(failures):
    packer = Packer()

    packed = [packer.pack(failure) for failure in failures]

    assert failures == [packer.unpack(EVE, one) for one in packed]
    assert [(one.when, one.attempts) for one in failures] == [
        (moment_of(one), packer.attempts_of(one)) for one in packed
    ]


NETWORK = "192.0.2.0/24"


@given(FAILURES, st.sampled_from([{}, {"ip4": EVE}, {"ip6": EVE}, {"ip4": EVE, "seen": "x"}]))
def test_moved_to_a_network_a_failure_tells_where_it_was_seen(failure, more):
    packer, failure = Packer(), failure._replace(fields={**failure.fields, **more})

    moved = packer.moved(EVE, NETWORK, packer.pack(failure))

    seen = failure._replace(host=NETWORK, fields={**failure.fields, "seen": EVE})
    assert packer.unpack(NETWORK, moved) == seen
    assert list(packer.unpack(NETWORK, moved).fields) == list(seen.fields)
    assert moved == packer.pack(seen)


MATCH = re.compile(r"(?s)(?P<user>.*)\|(?P<port>.*)\|(?P<ip4>.+)")
SHAPES = {
    (): Shape(3, ("ip4",), "ip4", lambda found: ""),
    ("user",): Shape(3, ("user", "ip4"), "ip4", itemgetter(1)),
    ("user", "port"): Shape(3, ("user", "port", "ip4"), "ip4", itemgetter(1, 2)),
}


@given(st.sampled_from(sorted(SHAPES)), TEXTS, TEXTS, st.floats(allow_nan=False), st.text())
def test_a_press_packs_as_others_do_or_leaves_it_to_them(names, user, port, when, path):
    packer, line = Packer(), f"{user}|{port}|{EVE}"
    found = MATCH.fullmatch(line)

    pressed = packer.presses(path)[SHAPES[names]](found, when, 7, line)

    fields = {name: found[name] for name in (*names, "ip4")}
    failure = Failure(EVE, when, (line,), fields=fields, path=path, offset=7, rule=3)
    assert pressed == (packer.pack(failure) if line.isascii() and "\0" not in line else b"")


def test_failures_are_records_for_who_asks_for_one_or_some():
    happened = [Failure(EVE, NOON + n, ("x",), is_name=n == 2) for n in range(4)]

    packed = Failures(Packer(), happened)

    assert happened == list(packed)
    assert happened[1:3] == list(packed[1:3])
    assert happened[-1] == packed[-1]
    assert packed.has_names and not Failures(Packer(), happened[:2]).has_names


@given(FAILURES)
def test_without_its_lines_a_failure_is_otherwise_the_same(failure):
    packer = Packer()
    packed = packer.pack(failure)

    short = packed[: lines_begin_in(packed)[0]]

    assert packer.unpack(EVE, short) == failure._replace(lines=())
    assert lines_begin_in(short)[0] == len(short)


def test_a_line_may_hold_a_nul_and_a_field_be_the_host_now_and_then():
    packer = Packer()
    failures = [
        Failure(EVE, NOON, lines, fields={"user": "x", "ip4": address})
        for lines in (("a",), ("a\0b",), ("a", "b"), ("a\0", "b"))
        for address in (EVE, "192.0.2.1", EVE)
    ]

    assert failures == [packer.unpack(EVE, packer.pack(failure)) for failure in failures]


def test_a_failure_takes_little_more_than_its_texts():
    line = "Failed password for root from 192.0.2.66 port 22 ssh2"
    failure = Failure(
        EVE, NOON, (line,), fields={"user": "root", "ip4": EVE}, path="/var/log/auth.log"
    )

    assert len(Packer().pack(failure)) <= len(line) + len("root") + 25


@pytest.mark.parametrize(
    "fields",
    [
        {"ip4": EVE},
        {"ip6": "2001:db8::1"},
        {"user": "x", "ip6": EVE},
        {"=ip4": EVE, "ip4": EVE},
        {"ip4": "", "": EVE},
        {"user": "a\0b", "ip4": EVE},
        {"user": "a\0b"},
        {"user": "a\0b", "port": "1", "ip4": EVE},
    ],
)
def test_a_field_that_is_the_host_comes_out_in_its_place(fields):
    packer, failure = Packer(), Failure(EVE, NOON, ("x",), fields=fields)

    found = packer.unpack(EVE, packer.pack(failure))

    assert list(found.fields.items()) == list(fields.items())
