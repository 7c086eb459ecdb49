# SPDX-License-Identifier: GPL-2.0-or-later
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.packing import Packer, moment_of, without_lines
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


@given(FAILURES)
def test_without_its_lines_a_failure_is_otherwise_the_same(failure):
    packer = Packer()

    packed = without_lines(packer.pack(failure))

    assert packer.unpack(EVE, packed) == failure._replace(lines=())
    assert without_lines(packed) == packed


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
